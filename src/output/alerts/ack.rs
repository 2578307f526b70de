//! The answer of `alerts ack`.

use chrono::{DateTime, Utc};

use crate::domain::alert::rule::AlertRef;
use crate::domain::format::time;
use crate::output::prelude::*;

#[derive(Debug, Serialize)]
pub struct AcknowledgedAlert {
    #[serde(flatten)]
    pub alert: AlertRef,
    pub episode: String,
    #[serde(serialize_with = "json::time")]
    pub fired_at: DateTime<Utc>,
    pub acknowledged_by: String,
    pub note: Option<String>,
}

/// The new acknowledgements, in the order in which the rules were given.
#[derive(Debug, Serialize)]
pub struct Acknowledgements {
    pub acknowledged: Vec<AcknowledgedAlert>,
}

impl Answer for Acknowledgements {
    fn table(&self, _width: Option<usize>) -> String {
        lines(&self.acknowledged, |ack| {
            let (alert, since, by) = (&ack.alert, time(ack.fired_at), &ack.acknowledged_by);
            format!("acknowledged {alert}, firing since {since}, by {by}")
        })
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        type Col = Column<'static, AcknowledgedAlert>;
        let columns = [
            Col::csv_only("alert_id", |it| Cell::text(&it.alert.alert_id)),
            Col::csv_only("api_name", |it| Cell::text(&it.alert.api_name)),
            Col::csv_only("alert_type", |it| Cell::text(&it.alert.alert_type)),
            Col::csv_only("period", |it| Cell::text(&it.alert.period)),
            Col::csv_only("episode", |it| Cell::text(&it.episode)),
            Col::csv_only("fired_at", |it| Cell::Time(it.fired_at)),
            Col::csv_only("acknowledged_by", |it| Cell::text(&it.acknowledged_by)),
            Col::csv_only("note", |it| Cell::maybe(it.note.as_ref())),
        ];
        columns::csv(&columns, &self.acknowledged)
    }
}
