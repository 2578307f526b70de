//! The JSON of an event.

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use super::super::json;
use crate::domain::alert::event::{AlertRef, Event, EventKind};
use crate::domain::alert::rule::Severity;
use crate::domain::alert::state::AlertStatus;

#[derive(Serialize)]
struct EventJson<'a> {
    id: &'a str,
    #[serde(serialize_with = "json::time")]
    at: DateTime<Utc>,
    #[serde(serialize_with = "json::time")]
    recorded_at: DateTime<Utc>,
    kind: EventKind,
    #[serde(flatten)]
    alert: &'a AlertRef,
    from_state: Option<AlertStatus>,
    to_state: Option<AlertStatus>,
    severity: Option<Severity>,
    episode: &'a Option<String>,
    value: Option<f64>,
    threshold: Option<f64>,
    limit_value: Option<f64>,
    actor: &'a Option<String>,
    note: &'a Option<String>,
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = EventJson {
            id: &self.id,
            at: self.at,
            recorded_at: self.recorded_at,
            kind: self.kind,
            alert: &self.alert,
            from_state: self.from_state,
            to_state: self.to_state,
            severity: self.severity,
            episode: &self.episode,
            value: self.value,
            threshold: self.threshold,
            limit_value: self.limit_value,
            actor: &self.actor,
            note: &self.note,
        };
        event.serialize(serializer)
    }
}
