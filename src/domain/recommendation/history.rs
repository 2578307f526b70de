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
    /// What kind of actor.
    pub actor_kind: Actor,
    /// The status before; none for the first.
    pub from: Option<Status>,
    /// The status after; the same for a note, or when only figures changed.
    pub to: Status,
    /// Why, in the actor's words.
    pub note: Option<String>,
    /// Which figures changed.
    pub changes: Vec<Change>,
    /// From which catalogue the prices were.
    pub catalogue_version: String,
    /// What it said at that moment.
    pub facts_hash: String,
}

/// A figure that changed; both sides are spelled for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which figure.
    pub name: String,
    /// Before.
    pub from: String,
    /// After.
    pub to: String,
}
