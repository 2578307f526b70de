//! The difference between the events that an evaluation found and those of the history.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::event::Event;
use super::history::{begins_episode, change_of};
use super::replacement::{replaced, spans, unknown_spans};
use super::rule::AlertRef;
use super::state::Change;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Correction {
    /// The events that are not in the history.
    pub added: Vec<Event>,
    /// The ids of the events of the history that were not found again.
    pub withdrawn: Vec<String>,
    /// The episodes that began in withdrawn events, and the episode found instead; likewise the times in which the rule
    /// is UNKNOWN.
    pub replaced: BTreeMap<String, Option<String>>,
}

impl Correction {
    /// Compares the changes after a step with the history after it.
    pub fn new(
        alert: &AlertRef,
        history: &[Event],
        after: DateTime<Utc>,
        changes: &[Change],
        now: DateTime<Utc>,
    ) -> Correction {
        let is_after = |event: &&Event| event.at > after && change_of(event).is_some();
        let stored: Vec<&Event> = history.iter().filter(is_after).collect();
        let found = changes.iter();
        let found: Vec<Event> = found
            .map(|change| Event::of_change(alert.clone(), change, now))
            .collect();
        let replaced = if stored.is_empty() {
            BTreeMap::new()
        } else {
            let before = || stored.iter().copied();
            let mut all = replaced(&spans(before()), &spans(&found));
            all.extend(replaced(&unknown_spans(before()), &unknown_spans(&found)));
            all
        };
        let found_ids: BTreeSet<&str> = found.iter().map(|event| event.id.as_str()).collect();
        let stored_ids: BTreeSet<&str> = stored.iter().map(|event| event.id.as_str()).collect();
        let withdrawn = stored_ids.difference(&found_ids);
        let withdrawn = withdrawn.map(|id| (*id).to_owned()).collect();
        let is_added = |event: &&Event| !stored_ids.contains(event.id.as_str());
        let added = found.iter().filter(is_added).cloned().collect();
        Correction {
            added,
            withdrawn,
            replaced,
        }
    }

    /// Whether the history does not have the beginning of an episode.
    pub fn begins(&self, episode: &str) -> bool {
        let mut added = self.added.iter();
        added.any(|event| begins_episode(event) && event.episode.as_deref() == Some(episode))
    }

    /// Whether the history lacks an event of an episode.
    pub fn adds_to(&self, episode: &str) -> bool {
        let mut added = self.added.iter();
        added.any(|event| event.episode.as_deref() == Some(episode))
    }

    /// Whether the history does not have the beginning of a time in which the rule is UNKNOWN.
    pub fn begins_unknown(&self, episode: &str) -> bool {
        let mut began = self.added.iter().filter_map(Event::unknown_episode);
        began.any(|began| began.id == episode)
    }

    /// Whether the history does not have the end of such a time.
    pub fn ends_unknown(&self, ended_at: DateTime<Utc>) -> bool {
        let mut added = self.added.iter();
        added.any(|event| event.at == ended_at && event.ends_unknown())
    }

    /// Whether `new` is the episode `old`, or the one found instead.
    pub fn is_same_episode(&self, old: &str, new: &str) -> bool {
        let replacement = self.replaced.get(old).and_then(Option::as_deref);
        old == new || replacement == Some(new)
    }
}
