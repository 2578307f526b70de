//! The history of a recommendation. Entries are only ever appended.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Actor;
use crate::domain::format::serialize_time;
use crate::domain::metrics::names::Status;
use crate::domain::recommendation::Recommendation;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// For the application, when its change was noticed.
    #[serde(serialize_with = "serialize_time")]
    pub at: DateTime<Utc>,
    /// The name that the actor gave; not authenticated.
    pub actor: String,
    pub actor_kind: Actor,
    /// The status before; none for the first entry.
    pub from: Option<Status>,
    /// The status after; unchanged for a note, or when only figures changed.
    pub to: Status,
    pub note: Option<String>,
    pub changes: Vec<Change>,
    pub catalogue_version: String,
    /// Hash of the facts at that time.
    pub facts_hash: String,
}

impl Entry {
    /// An entry for moving `it` to `to`, with its current facts.
    pub fn new(
        it: &Recommendation,
        actor_kind: Actor,
        actor: &str,
        to: Status,
        now: DateTime<Utc>,
    ) -> Entry {
        let tracking = it.tracking.as_ref();
        let catalogue_version = tracking.map(|own| own.catalogue_version.clone());
        let facts_hash = tracking.map(|own| own.facts.hash.clone());
        Entry {
            at: now,
            actor: actor.to_owned(),
            actor_kind,
            from: Some(it.status),
            to,
            note: None,
            changes: Vec::new(),
            catalogue_version: catalogue_version.unwrap_or_default(),
            facts_hash: facts_hash.unwrap_or_default(),
        }
    }

    /// The change of status that the application made since we last read or wrote the recommendation.
    pub fn of_application(it: &Recommendation, now: DateTime<Utc>) -> Option<Entry> {
        let tracking = it.tracking.as_ref()?;
        let moved = tracking.status != it.status;
        moved.then(|| Entry {
            from: Some(tracking.status),
            ..Entry::new(it, Actor::Application, "application", it.status, now)
        })
    }
}

/// A figure that changed; both values are formatted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub name: String,
    pub from: String,
    pub to: String,
}
