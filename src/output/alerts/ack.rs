//! The answer of `alerts ack`.

use chrono::{DateTime, Utc};

use crate::domain::alert::rule::AlertRef;
use crate::domain::format::time;
use crate::output::prelude::*;

/// The acknowledgement of an episode.
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
        let line = |ack: &AcknowledgedAlert| {
            let text = format!(
                "acknowledged {} {} per {}, firing since {}, by {}",
                ack.alert.api_name,
                ack.alert.alert_type,
                ack.alert.period,
                time(ack.fired_at),
                ack.acknowledged_by
            );
            printable(&text).into_owned() + "\n"
        };
        self.acknowledged.iter().map(line).collect()
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        type Column = columns::Column<'static, AcknowledgedAlert>;
        let columns = [
            Column::csv_only("alert_id", |ack| Cell::text(&ack.alert.alert_id)),
            Column::csv_only("api_name", |ack| Cell::text(&ack.alert.api_name)),
            Column::csv_only("alert_type", |ack| Cell::text(&ack.alert.alert_type)),
            Column::csv_only("period", |ack| Cell::text(&ack.alert.period)),
            Column::csv_only("episode", |ack| Cell::text(&ack.episode)),
            Column::csv_only("fired_at", |ack| Cell::Time(ack.fired_at)),
            Column::csv_only("acknowledged_by", |ack| Cell::text(&ack.acknowledged_by)),
            Column::csv_only("note", |ack| Cell::maybe(ack.note.as_ref())),
        ];
        columns::csv(&columns, &self.acknowledged)
    }
}
