//! What happened to a recommendation, step by step. Nothing in it is ever changed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::lifecycle::Actor;
use crate::domain::metrics::names::Status;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, or when it was seen: the application does not say when it changed something.
    pub at: DateTime<Utc>,
    /// Who, as they call themselves. A record, and no proof.
    pub actor: String,
    pub actor_kind: Actor,
    /// The status before; none for the first.
    pub from: Option<Status>,
    /// The status after; the same for a note, or when only figures changed.
    pub to: Status,
    /// Why, in the actor's words.
    pub note: Option<String>,
    pub changes: Vec<Change>,
    /// From which catalogue the prices were.
    pub catalogue_version: String,
    /// What it said at that moment.
    pub facts_hash: String,
}

/// A figure that changed; both sides are spelled for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub name: String,
    pub from: String,
    pub to: String,
}
