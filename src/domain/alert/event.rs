//! An event: what happened to a rule, in order, kept for good.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::evaluate::Subject;
use super::rule::Severity;
use super::state::{Change, State};
use crate::domain::id;
use crate::domain::period::{Window, shown};

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    State,
    /// It became worse or less bad.
    Severity,
    /// Somebody said that they know.
    Acknowledged,
    /// A stretch of time that nobody looked into.
    Skipped,
    /// An open end was tied up: the rule is gone, or is about something else now.
    Settled,
}

impl EventKind {
    /// All of them.
    pub const ALL: [EventKind; 5] = [
        EventKind::State,
        EventKind::Severity,
        EventKind::Acknowledged,
        EventKind::Skipped,
        EventKind::Settled,
    ];

    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::State => "STATE",
            EventKind::Severity => "SEVERITY",
            EventKind::Acknowledged => "ACKNOWLEDGED",
            EventKind::Skipped => "SKIPPED",
            EventKind::Settled => "SETTLED",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<EventKind> {
        EventKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// Which rule and API something is about, in words that outlive both.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Concern {
    pub alert_id: String,
    pub api_name: String,
    pub alert_type: String,
    pub period: String,
}

impl Concern {
    /// What a rule, applied to an API, is about.
    pub fn of(subject: &Subject<'_>) -> Concern {
        Concern {
            alert_id: subject.rule.id.clone(),
            api_name: subject.api_name.to_owned(),
            alert_type: subject.rule.alert_type.to_string(),
            period: subject.rule.period.to_string(),
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Time-ordered, and the same whenever the same is found out again.
    pub id: String,
    pub concern: Concern,
    /// When it was so, by the data.
    pub at: DateTime<Utc>,
    /// When it was found out.
    pub recorded_at: DateTime<Utc>,
    pub kind: EventKind,
    pub from_state: Option<State>,
    pub to_state: Option<State>,
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
        concern: Concern,
        kind: EventKind,
        at: DateTime<Utc>,
        recorded_at: DateTime<Utc>,
    ) -> Event {
        let mut event = Event {
            id: String::new(),
            concern,
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
    pub fn of_change(concern: Concern, change: &Change, recorded_at: DateTime<Utc>) -> Event {
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
            ..Event::new(concern, kind, change.at, recorded_at)
        };
        event.identify();
        event
    }

    /// A stretch of time that was not looked into, and why.
    pub fn skipped(concern: Concern, gap: Window, why: &str, recorded_at: DateTime<Utc>) -> Event {
        let note = format!("{} to {}: {why}", shown(gap.from), shown(gap.to));
        Event {
            note: Some(note),
            ..Event::new(concern, EventKind::Skipped, gap.from, recorded_at)
        }
    }

    fn identify(&mut self) {
        let Concern {
            alert_id, api_name, ..
        } = &self.concern;
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
