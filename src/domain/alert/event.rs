//! Alert events: the permanent history of each rule.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::rule::{AlertRef, Severity};
use super::state::{AlertKey, AlertStatus, Change, Episode, Observation, Stage};
use crate::domain::named::{Named, named};
use crate::domain::period::Window;
use crate::domain::{format, id};

named! {
    EventKind, "event kind" {
        /// The status changed.
        State = "STATE",
        /// The severity or the reached thresholds changed while it fires.
        Severity = "SEVERITY",
        Acknowledged = "ACKNOWLEDGED",
        /// A period that was not evaluated.
        Skipped = "SKIPPED",
        /// The alert was closed: its rule was removed, disabled or changed.
        Settled = "SETTLED",
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Time-ordered; the same event found again has the same id.
    pub id: String,
    /// When it happened, by the data.
    #[serde(serialize_with = "format::serialize_time")]
    pub at: DateTime<Utc>,
    /// When it was found.
    #[serde(serialize_with = "format::serialize_time")]
    pub recorded_at: DateTime<Utc>,
    pub kind: EventKind,
    #[serde(flatten)]
    pub alert: AlertRef,
    pub from_state: Option<AlertStatus>,
    pub to_state: Option<AlertStatus>,
    pub severity: Option<Severity>,
    pub episode: Option<String>,
    /// The thresholds above the lowest that are reached since.
    #[serde(skip)]
    pub stages: Vec<Stage>,
    #[serde(flatten)]
    pub observed: Observation,
    /// The author of an acknowledgement.
    pub actor: Option<String>,
    pub note: Option<String>,
    /// When a check found that it did not happen, because data arrived late or changed.
    #[serde(serialize_with = "format::serialize_maybe_time")]
    pub withdrawn_at: Option<DateTime<Utc>>,
}

impl Event {
    pub fn new(
        alert: AlertRef,
        kind: EventKind,
        at: DateTime<Utc>,
        recorded_at: DateTime<Utc>,
    ) -> Event {
        let mut event = Event {
            id: String::new(),
            alert,
            at,
            recorded_at,
            kind,
            from_state: None,
            to_state: None,
            severity: None,
            episode: None,
            stages: Vec::new(),
            observed: Observation::default(),
            actor: None,
            note: None,
            withdrawn_at: None,
        };
        event.identify();
        event
    }

    pub fn of_change(alert: AlertRef, change: &Change, recorded_at: DateTime<Utc>) -> Event {
        let kind = if change.from == Some(change.to) {
            EventKind::Severity
        } else {
            EventKind::State
        };
        let mut event = Event {
            from_state: change.from,
            to_state: Some(change.to),
            severity: change.severity,
            episode: change.episode.as_ref().map(|episode| episode.id.clone()),
            stages: change.stages.clone(),
            observed: change.observed,
            note: change.reason.clone(),
            ..Event::new(alert, kind, change.at, recorded_at)
        };
        event.identify();
        event
    }

    /// The ids of its episodes: that of the rule, and those of the thresholds above the lowest.
    pub fn episodes(&self) -> impl Iterator<Item = String> {
        let alert = AlertKey::of(&self.alert);
        let stages = self.stages.iter();
        let stages = stages.map(move |stage| Episode::of_stage(alert, *stage).id);
        self.episode.clone().into_iter().chain(stages)
    }

    /// The time in which the rule is UNKNOWN, if it begins here.
    pub fn unknown_episode(&self) -> Option<Episode> {
        let unknown = Some(AlertStatus::Unknown);
        let begins =
            self.kind == EventKind::State && self.to_state == unknown && self.from_state != unknown;
        begins.then(|| Episode::of_unknown(AlertKey::of(&self.alert), self.at))
    }

    pub fn ends_unknown(&self) -> bool {
        self.kind == EventKind::State && self.from_state == Some(AlertStatus::Unknown)
    }

    pub fn skipped(alert: AlertRef, gap: Window, why: &str, recorded_at: DateTime<Utc>) -> Event {
        let (from, to) = (format::time(gap.from), format::time(gap.to));
        Event {
            note: Some(format!("{from} to {to}: {why}")),
            ..Event::new(alert, EventKind::Skipped, gap.from, recorded_at)
        }
    }

    fn identify(&mut self) {
        let AlertKey { alert_id, api_name } = AlertKey::of(&self.alert);
        let facts = format!(
            "{}:{alert_id}|{}:{api_name}|{}|{:?}|{:?}|{:?}|{:?}",
            alert_id.len(),
            api_name.len(),
            self.kind.as_str(),
            // A rule that was never evaluated is OK before its first step: late data may move that.
            self.from_state.filter(|it| *it != AlertStatus::Ok),
            self.to_state,
            self.severity,
            self.episode,
        );
        let stage = |it: &Stage| format!("|{}@{}", it.threshold, it.since.timestamp_millis());
        let stages = self.stages.iter().map(stage);
        let facts = stages.fold(facts, |facts, stage| facts + &stage);
        self.id = id::derived(self.at, facts.as_bytes()).to_string();
    }
}
