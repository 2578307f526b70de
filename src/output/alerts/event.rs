//! An event, as JSON has it.

use crate::domain::named::Named;
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::domain::alert::event::Event;
use crate::domain::alert::rule::Severity;
use crate::domain::alert::state::AlertStatus;

/// What happened to a rule.
#[derive(Serialize)]
pub(super) struct EventJson<'a> {
    id: &'a str,
    at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
    kind: &'static str,
    alert_id: &'a str,
    api_name: &'a str,
    alert_type: &'a str,
    period: &'a str,
    from_state: Option<&'static str>,
    to_state: Option<&'static str>,
    severity: Option<&'static str>,
    episode: Option<&'a str>,
    value: Option<f64>,
    threshold: Option<f64>,
    limit_value: Option<f64>,
    actor: Option<&'a str>,
    note: Option<&'a str>,
}

impl EventJson<'_> {
    pub(super) fn new(event: &Event) -> EventJson<'_> {
        let alert = &event.alert;
        EventJson {
            id: &event.id,
            at: event.at,
            recorded_at: event.recorded_at,
            kind: event.kind.as_str(),
            alert_id: &alert.alert_id,
            api_name: &alert.api_name,
            alert_type: &alert.alert_type,
            period: &alert.period,
            from_state: event.from_state.map(AlertStatus::as_str),
            to_state: event.to_state.map(AlertStatus::as_str),
            severity: event.severity.map(Severity::as_str),
            episode: event.episode.as_deref(),
            value: event.value,
            threshold: event.threshold,
            limit_value: event.limit_value,
            actor: event.actor.as_deref(),
            note: event.note.as_deref(),
        }
    }
}
