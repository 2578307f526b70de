//! An event: what happened to a rule, in order, kept for good.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::evaluate::RuleTarget;
use super::rule::Severity;
use super::state::{AlertStatus, Change};
use crate::domain::id;
use crate::domain::named::{Named, named};
use crate::domain::period::{Window, shown};

named! {
    /// What an event reports.
    EventKind, "event kind" {
        /// The status changed.
        State = "STATE",
        /// The severity changed while it fires.
        Severity = "SEVERITY",
        Acknowledged = "ACKNOWLEDGED",
        /// A period that was not evaluated.
        Skipped = "SKIPPED",
        /// The alert was closed: its rule is gone, disabled, or about something else now.
        Settled = "SETTLED",
    }
}

/// Which rule and API something is about, in words that outlive both.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct AlertRef {
    pub alert_id: String,
    pub api_name: String,
    pub alert_type: String,
    pub period: String,
}

impl AlertRef {
    /// What a rule, applied to an API, is about.
    pub fn of(target: &RuleTarget<'_>) -> AlertRef {
        AlertRef {
            alert_id: target.rule.id.clone(),
            api_name: target.api_name.to_owned(),
            alert_type: target.rule.alert_type.to_string(),
            period: target.rule.period.to_string(),
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Time-ordered, and the same whenever the same is found out again.
    pub id: String,
    pub alert: AlertRef,
    /// When it was so, by the data.
    pub at: DateTime<Utc>,
    /// When it was found out.
    pub recorded_at: DateTime<Utc>,
    pub kind: EventKind,
    pub from_state: Option<AlertStatus>,
    pub to_state: Option<AlertStatus>,
    pub severity: Option<Severity>,
    /// The episode it belongs to.
    pub episode: Option<String>,
    pub value: Option<f64>,
    /// From where on it fired.
    pub threshold: Option<f64>,
    pub limit_value: Option<f64>,
    /// Who did it, if somebody did.
    pub actor: Option<String>,
    pub note: Option<String>,
}

impl Event {
    /// An event that says no more than what happened when.
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
            value: None,
            threshold: None,
            limit_value: None,
            actor: None,
            note: None,
        };
        event.identify();
        event
    }

    /// A change that a step brought.
    pub fn of_change(alert: AlertRef, change: &Change, recorded_at: DateTime<Utc>) -> Event {
        let kind = match change.from == Some(change.to) {
            true => EventKind::Severity,
            false => EventKind::State,
        };
        let mut event = Event {
            from_state: change.from,
            to_state: Some(change.to),
            severity: change.severity,
            episode: change.episode.as_ref().map(|episode| episode.id.clone()),
            value: change.value,
            threshold: change.threshold,
            limit_value: change.limit_value,
            note: change.reason.clone(),
            ..Event::new(alert, kind, change.at, recorded_at)
        };
        event.identify();
        event
    }

    /// A stretch of time that was not looked into, and why.
    pub fn skipped(alert: AlertRef, gap: Window, why: &str, recorded_at: DateTime<Utc>) -> Event {
        let note = format!("{} to {}: {why}", shown(gap.from), shown(gap.to));
        Event {
            note: Some(note),
            ..Event::new(alert, EventKind::Skipped, gap.from, recorded_at)
        }
    }

    fn identify(&mut self) {
        let AlertRef {
            alert_id, api_name, ..
        } = &self.alert;
        let facts = format!(
            "{}:{alert_id}|{}:{api_name}|{}|{:?}|{:?}|{:?}",
            alert_id.len(),
            api_name.len(),
            self.kind.as_str(),
            self.from_state,
            self.to_state,
            self.severity,
        );
        self.id = id::derived(self.at, facts.as_bytes()).to_string();
    }
}
