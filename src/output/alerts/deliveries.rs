//! The answer of `alerts deliver`.

use chrono::{DateTime, Utc};
use serde::Serializer;

use crate::domain::alert::delivery::{Delivery, DropReason, Notice};
use crate::domain::alert::notice::Content;
use crate::domain::format::{counted, time_ms};
use crate::output::prelude::*;

/// The notices of a delivery run, in the order of their creation.
#[derive(Debug)]
pub struct Deliveries<'a> {
    pub notices: &'a [Notice],
}

impl Serialize for Notice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let notice = object! {
            channel: &self.channel,
            number: self.number,
            delivery: self.delivery,
            attempts: self.attempts,
            next_attempt_at: next_attempt(self).map(time_ms),
            delivered_at: self.delivered_at.map(time_ms),
            error: &self.error,
            drop_reason: self.drop_reason,
            content: &self.content,
        };
        notice.serialize(serializer)
    }
}

fn next_attempt(notice: &Notice) -> Option<DateTime<Utc>> {
    (notice.delivery == Delivery::Waiting).then_some(notice.next_attempt_at)
}

/// Why a notice was dropped, or why the last attempt failed.
pub fn detail(notice: &Notice) -> Option<String> {
    let error = notice.error.as_deref();
    match notice.drop_reason {
        None => error.map(str::to_owned),
        Some(DropReason::NoChannel) => Some("no channel of this name".to_owned()),
        Some(DropReason::Superseded) => Some("a later notice replaces it".to_owned()),
        Some(DropReason::GaveUp) => {
            let attempts = counted(u64::from(notice.attempts.unsigned_abs()), "attempt");
            let error = error.map_or(String::new(), |error| format!(": {error}"));
            Some(format!("gave up after {attempts}{error}"))
        }
    }
}

/// The columns of notices, as `alerts deliver` and `alerts history --notices` show them.
pub(super) fn notice_columns() -> Vec<Column<'static, Notice>> {
    type Col<'a> = Column<'a, Notice>;
    let content = |of: fn(&Content) -> String| move |it: &Notice| Cell::Text(of(&it.content));
    vec![
        Column::csv_only("key", content(|it| it.key.clone())),
        Col::left("CHANNEL", "channel", |it| Cell::text(&it.channel)),
        Column::left("KIND", "kind", content(|it| it.kind.to_string())),
        Column::left("API", "api_name", content(|it| it.alert.api_name.clone())),
        Column::left(
            "TYPE",
            "alert_type",
            content(|it| it.alert.alert_type.clone()),
        ),
        Column::left("PERIOD", "period", content(|it| it.alert.period.clone())),
        Column::csv_only("severity", content(|it| it.severity.to_string())),
        Col::left("CREATED", "created_at", |it| {
            Cell::Time(it.content.created_at)
        })
        .dropped(1),
        Col::left("DELIVERY", "delivery", |it| Cell::text(it.delivery)),
        Col::right("TRIES", "attempts", |it| Cell::count(it.attempts)),
        Col::left("NEXT TRY", "next_attempt_at", |it| {
            Cell::time(next_attempt(it))
        })
        .dropped(2),
        Col::csv_only("delivered_at", |it| {
            Cell::or_missing(it.delivered_at, Cell::Time)
        }),
        Column::csv_only("summary", content(|it| it.summary.clone())),
        Col::left("DETAIL", "detail", |it| Cell::maybe(detail(it))),
    ]
}

impl Answer for Deliveries<'_> {
    fn table(&self, width: Option<usize>) -> String {
        if self.notices.is_empty() {
            return "no pending notices\n".to_owned();
        }
        columns::table(&notice_columns(), self.notices, width)
    }

    fn json(&self) -> impl Serialize {
        let count = |delivery| {
            let notices = self.notices.iter();
            notices.filter(|notice| notice.delivery == delivery).count()
        };
        object! {
            delivered: count(Delivery::Delivered),
            waiting: count(Delivery::Waiting),
            dropped: count(Delivery::Dropped),
            notices: self.notices,
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&notice_columns(), self.notices)
    }
}
