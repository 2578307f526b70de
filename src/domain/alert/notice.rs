//! Notices: notifications to channels about a rule that fires or resolves, each sent once.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::rule::{AlertRef, Severity};
use super::state::Observation;
use crate::domain::format;
use crate::domain::named::{Named, named};
use crate::domain::plans::Unit;

named! {
    NoticeKind, "kind of notice" {
        /// The rule fires, or it reached a higher threshold.
        Firing = "FIRING",
        Reminder = "REMINDER",
        Resolved = "RESOLVED",
        /// The rule fired and resolved before its channel was notified.
        Missed = "MISSED",
        /// The rule fired and resolved, found in data that arrived late.
        Late = "LATE",
        /// A period was not evaluated.
        Skipped = "SKIPPED",
        /// The rule cannot be evaluated.
        Unknown = "UNKNOWN",
        /// It can be evaluated again.
        Known = "KNOWN",
        /// The channel is tested; nothing fires.
        Test = "TEST",
    }
}

named! {
    EndReason, "reason of the end" {
        /// The value fell below the threshold.
        Value = "VALUE",
        /// Calls are missing: none succeeded since the value was at the threshold.
        NoData = "NO_DATA",
        /// The window had fewer calls than the rule requires.
        FewCalls = "FEW_CALLS",
        /// The limit was raised.
        LimitChanged = "LIMIT_CHANGED",
        /// The threshold or another setting was changed, or the threshold was removed.
        RuleChanged = "RULE_CHANGED",
        RuleDisabled = "RULE_DISABLED",
        RuleRemoved = "RULE_REMOVED",
        /// The API of a rule for all APIs is not known any more.
        ApiRemoved = "API_REMOVED",
        /// The data changed: by the current data the rule did not fire.
        DataChanged = "DATA_CHANGED",
    }
}

impl EndReason {
    /// The reason in words; none where the note of the notice explains it.
    pub fn text(self) -> Option<&'static str> {
        match self {
            EndReason::Value => Some("the value fell below the threshold"),
            EndReason::NoData => Some("for lack of data: no call has succeeded since"),
            EndReason::FewCalls => Some("fewer calls than the rule requires"),
            EndReason::LimitChanged => Some("the limit was changed"),
            EndReason::RuleChanged => Some("the rule was changed"),
            EndReason::RuleDisabled => Some("the rule is disabled"),
            EndReason::RuleRemoved => Some("the rule was removed"),
            EndReason::ApiRemoved => Some("the API is not known any more"),
            EndReason::DataChanged => None,
        }
    }
}

impl NoticeKind {
    pub fn is_last(self) -> bool {
        use NoticeKind::{Firing, Reminder, Unknown};
        !matches!(self, Firing | Reminder | Unknown)
    }
}

/// The JSON that webhooks and programs receive. It is self-contained: the rule, the API or the limit may be removed
/// before it is sent. Fields may be added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// [`CONTENT_SCHEMA`]: incremented when a field is removed or changes its meaning.
    pub schema: u32,
    /// The same in every attempt to deliver this notice, and unique to it.
    pub key: String,
    pub kind: NoticeKind,
    /// The same for all notices of one episode, from firing to resolved.
    pub episode: String,
    #[serde(flatten)]
    pub alert: AlertRef,
    pub severity: Severity,
    #[serde(flatten)]
    pub observed: Observation,
    #[serde(default)]
    pub limit_unit: Option<Unit>,
    #[serde(default)]
    pub unknown_reason: Option<String>,
    /// The number of the channel's thresholds that are reached; the highest number if the episode ended.
    #[serde(default)]
    pub level: u32,
    /// Of a condition: how bad it is in each respect, as in [`super::condition::Level`].
    #[serde(default)]
    pub steps: Option<[u32; 2]>,
    /// Why the episode ended; only for RESOLVED.
    #[serde(default)]
    pub reason: Option<EndReason>,
    /// When the rule began to fire, by the data.
    #[serde(serialize_with = "format::serialize_time")]
    pub fired_at: DateTime<Utc>,
    /// When it resolved, by the data; null while it fires.
    #[serde(serialize_with = "format::serialize_maybe_time")]
    pub ended_at: Option<DateTime<Utc>>,
    /// When the notice was stored.
    #[serde(serialize_with = "format::serialize_time")]
    pub created_at: DateTime<Utc>,
    /// Why the notice differs from that of an evaluation in time: late or changed data, or a changed limit or threshold.
    #[serde(default)]
    pub note: Option<String>,
    pub summary: String,
}

pub const CONTENT_SCHEMA: u32 = 1;

impl Content {
    /// A warning without values and details, of an episode that begins at `at`.
    pub fn new(
        kind: NoticeKind,
        key: String,
        episode: String,
        alert: AlertRef,
        at: DateTime<Utc>,
    ) -> Content {
        Content {
            schema: CONTENT_SCHEMA,
            key,
            kind,
            episode,
            alert,
            severity: Severity::Warning,
            observed: Observation::default(),
            limit_unit: None,
            unknown_reason: None,
            level: 0,
            steps: None,
            reason: None,
            fired_at: at,
            ended_at: None,
            created_at: at,
            note: None,
            summary: String::new(),
        }
    }
}

/// Notices of all kinds, with and without values, to try templates with.
pub fn samples() -> impl Iterator<Item = Content> {
    NoticeKind::ALL.iter().flat_map(|kind| {
        let content = sample(*kind);
        let unknown = Content {
            observed: Observation::default(),
            ended_at: Some(content.fired_at),
            note: Some("found in data that arrived late".to_owned()),
            severity: Severity::Critical,
            ..content.clone()
        };
        [content, unknown]
    })
}

pub(crate) fn sample(kind: NoticeKind) -> Content {
    let at = DateTime::from_timestamp_millis(1_769_860_800_000).unwrap_or_default();
    let (key, episode) = ("019c1234".to_owned(), "019c0000".to_owned());
    Content {
        observed: Observation {
            value: Some(91.7),
            threshold: Some(80.0),
            limit_value: Some(60.0),
        },
        limit_unit: Some(Unit::Calls),
        level: 1,
        summary: "finnhub uses 91.7% of its limit of 60 calls a minute".to_owned(),
        ..Content::new(kind, key, episode, AlertRef::sample(), at)
    }
}
