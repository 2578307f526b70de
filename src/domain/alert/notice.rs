//! A notice: what a channel is told, once, about a rule that fires or ceases to.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum NoticeKind {
    /// It began to fire, or became critical.
    Firing,
    Reminder,
    Resolved,
    /// It fired and ended between two checks.
    Missed,
}

impl NoticeKind {
    /// As it is stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            NoticeKind::Firing => "FIRING",
            NoticeKind::Reminder => "REMINDER",
            NoticeKind::Resolved => "RESOLVED",
            NoticeKind::Missed => "MISSED",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<NoticeKind> {
        [
            NoticeKind::Firing,
            NoticeKind::Reminder,
            NoticeKind::Resolved,
            NoticeKind::Missed,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == name)
    }
}

/// The content of a notice: everything a receiver needs, so that it can be sent when the rule, the API or
/// the limit are long gone. This is the JSON that webhooks and programs get; fields may be added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// The version of this document; it rises when a field goes or changes its meaning.
    pub schema: u32,
    /// The same for every try to deliver this notice, and for no other.
    pub key: String,
    pub kind: NoticeKind,
    /// The same for all notices of one episode, from firing to resolved.
    pub episode: String,
    pub alert_id: String,
    pub api_name: String,
    /// In the application's words, such as `RATE_LIMIT_WARNING`.
    pub alert_type: String,
    /// In the application's words, such as `MINUTE`.
    pub period: String,
    /// `WARNING` or `CRITICAL`.
    pub severity: String,
    /// What was measured: percent, credits or calls, as the type says; null is unknown.
    pub value: Option<f64>,
    /// From where on it fires.
    pub threshold: f64,
    /// The API's limit for the period, where the type has one.
    pub limit_value: Option<f64>,
    /// When it began to fire, by the data.
    pub fired_at: DateTime<Utc>,
    /// When it was over, by the data; null while it fires.
    pub ended_at: Option<DateTime<Utc>>,
    /// When this notice was written.
    pub created_at: DateTime<Utc>,
    pub summary: String,
}

/// The version of [`Content`].
pub const CONTENT_SCHEMA: u32 = 1;

/// A notice for tests that are about something else.
#[cfg(test)]
pub(crate) fn sample(kind: NoticeKind) -> Content {
    let at = DateTime::from_timestamp_millis(1_769_860_800_000).unwrap_or_default();
    Content {
        schema: CONTENT_SCHEMA,
        key: "019c1234".to_owned(),
        kind,
        episode: "019c0000".to_owned(),
        alert_id: "rule-1".to_owned(),
        api_name: "finnhub".to_owned(),
        alert_type: "RATE_LIMIT_WARNING".to_owned(),
        period: "MINUTE".to_owned(),
        severity: "WARNING".to_owned(),
        value: Some(91.7),
        threshold: 80.0,
        limit_value: Some(60.0),
        fired_at: at,
        ended_at: None,
        created_at: at,
        summary: "finnhub uses 91.7% of its limit of 60 calls a minute".to_owned(),
    }
}
