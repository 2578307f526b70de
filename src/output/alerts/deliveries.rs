//! What `alerts deliver` answers.

use crate::domain::named::Named;
use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use super::super::table::{Side, layout};
use super::super::{Answer, json};
use crate::domain::alert::delivery::{Delivery, DropReason, Notice};
use crate::domain::alert::notice::Content;
use crate::domain::format::{counted, time};

/// Notices, and how far each has come.
#[derive(Debug)]
pub struct Deliveries<'a> {
    /// In the order they were to be told.
    pub notices: &'a [Notice],
}

#[derive(Serialize)]
struct DeliveriesJson<'a> {
    delivered: usize,
    waiting: usize,
    dropped: usize,
    notices: &'a [Notice],
}

/// A notice and its delivery.
#[derive(Serialize)]
struct NoticeJson<'a> {
    channel: &'a str,
    number: i32,
    delivery: Delivery,
    attempts: i32,
    #[serde(serialize_with = "json::maybe_time")]
    next_attempt_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "json::maybe_time")]
    delivered_at: Option<DateTime<Utc>>,
    error: Option<&'a str>,
    drop_reason: Option<DropReason>,
    content: &'a Content,
}

impl Serialize for Notice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let notice = NoticeJson {
            channel: &self.channel,
            number: self.number,
            delivery: self.delivery,
            attempts: self.attempts,
            next_attempt_at: next_attempt(self),
            delivered_at: self.delivered_at,
            error: self.error.as_deref(),
            drop_reason: self.drop_reason,
            content: &self.content,
        };
        notice.serialize(serializer)
    }
}

/// When it is tried next, if it is.
fn next_attempt(notice: &Notice) -> Option<DateTime<Utc>> {
    (notice.delivery == Delivery::Waiting).then_some(notice.next_attempt_at)
}

/// Why a notice was dropped, or why the last attempt failed.
pub fn detail(notice: &Notice) -> Option<String> {
    let error = notice.error.as_deref();
    match notice.drop_reason {
        None => error.map(str::to_owned),
        Some(DropReason::NoChannel) => Some("no channel of this name".to_owned()),
        Some(DropReason::Superseded) => Some("the episode ended first".to_owned()),
        Some(DropReason::GaveUp) => {
            let attempts = counted(u64::from(notice.attempts.unsigned_abs()), "attempt");
            let error = error.map_or(String::new(), |error| format!(": {error}"));
            Some(format!("gave up after {attempts}{error}"))
        }
    }
}

impl Deliveries<'_> {
    fn count(&self, delivery: Delivery) -> usize {
        let notices = self.notices.iter();
        notices.filter(|notice| notice.delivery == delivery).count()
    }
}

impl Answer for Deliveries<'_> {
    fn table(&self, _width: Option<usize>) -> String {
        if self.notices.is_empty() {
            return "nothing waits to be delivered\n".to_owned();
        }
        let columns = [
            ("CHANNEL", Side::Left),
            ("KIND", Side::Left),
            ("API", Side::Left),
            ("TYPE", Side::Left),
            ("PERIOD", Side::Left),
            ("CREATED", Side::Left),
            ("DELIVERY", Side::Left),
            ("TRIES", Side::Right),
            ("NEXT TRY", Side::Left),
            ("WHY", Side::Left),
        ];
        let rows = self.notices.iter().map(|notice| {
            let content = &notice.content;
            vec![
                notice.channel.clone(),
                content.kind.as_str().to_owned(),
                content.api_name.clone(),
                content.alert_type.clone(),
                content.period.clone(),
                time(content.created_at),
                notice.delivery.as_str().to_owned(),
                notice.attempts.to_string(),
                next_attempt(notice).map_or(String::new(), time),
                detail(notice).unwrap_or_default(),
            ]
        });
        layout(&columns, rows)
    }

    fn json(&self) -> impl Serialize {
        DeliveriesJson {
            delivered: self.count(Delivery::Delivered),
            waiting: self.count(Delivery::Waiting),
            dropped: self.count(Delivery::Dropped),
            notices: self.notices,
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "key",
            "channel",
            "kind",
            "api_name",
            "alert_type",
            "period",
            "severity",
            "created_at",
            "delivery",
            "attempts",
            "next_attempt_at",
            "error",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(self.notices.iter().map(|notice| {
            let content = &notice.content;
            vec![
                content.key.clone(),
                notice.channel.clone(),
                content.kind.as_str().to_owned(),
                content.api_name.clone(),
                content.alert_type.clone(),
                content.period.clone(),
                content.severity.to_string(),
                time(content.created_at),
                notice.delivery.as_str().to_owned(),
                notice.attempts.to_string(),
                next_attempt(notice).map_or(String::new(), time),
                detail(notice).unwrap_or_default(),
            ]
        }));
        rows
    }
}
