//! Episodes that a re-evaluation finds instead of others: an episode that overlaps a withdrawn one replaces it, and
//! takes over its notices, so that a channel is notified of it once.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::event::Event;
use super::history::{begins_episode, ends_episode};

/// The time that an episode covers; it is open without an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpisodeSpan {
    pub id: String,
    pub fired_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
}

impl EpisodeSpan {
    fn overlaps(&self, other: &EpisodeSpan) -> bool {
        let is_before_end =
            |at: DateTime<Utc>, it: &EpisodeSpan| it.ended_at.is_none_or(|end| at < end);
        is_before_end(self.fired_at, other) && is_before_end(other.fired_at, self)
    }
}

/// The episodes that begin in `events`, which are in order.
pub fn spans<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<EpisodeSpan> {
    let mut spans: Vec<EpisodeSpan> = Vec::new();
    for event in events {
        let Some(id) = &event.episode else {
            continue;
        };
        if begins_episode(event) {
            spans.push(EpisodeSpan {
                id: id.clone(),
                fired_at: event.at,
                ended_at: None,
            });
        } else if ends_episode(event)
            && let Some(span) = spans.iter_mut().find(|span| span.id == *id)
        {
            span.ended_at = Some(event.at);
        }
    }
    spans
}

/// The times in which the rule is UNKNOWN that begin in `events`, which are in order.
pub fn unknown_spans<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<EpisodeSpan> {
    let mut spans: Vec<EpisodeSpan> = Vec::new();
    for event in events {
        if let Some(span) = spans.last_mut().filter(|_| event.ends_unknown()) {
            span.ended_at.get_or_insert(event.at);
        }
        spans.extend(event.unknown_episode().map(|episode| EpisodeSpan {
            id: episode.id,
            fired_at: event.at,
            ended_at: None,
        }));
    }
    spans
}

/// The episodes of `before` that are not in `after`, each with the first new episode that overlaps it.
pub fn replaced(before: &[EpisodeSpan], after: &[EpisodeSpan]) -> BTreeMap<String, Option<String>> {
    let is_in = |spans: &[EpisodeSpan], id: &str| spans.iter().any(|span| span.id == id);
    let withdrawn = before.iter().filter(|old| !is_in(after, &old.id));
    let replacement = |old: &EpisodeSpan| {
        let mut new = after.iter().filter(|new| !is_in(before, &new.id));
        new.find(|new| new.overlaps(old)).map(|new| new.id.clone())
    };
    withdrawn
        .map(|old| (old.id.clone(), replacement(old)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at_minute as at;

    fn span(id: &str, fired_at: i64, ended_at: Option<i64>) -> EpisodeSpan {
        EpisodeSpan {
            id: id.to_owned(),
            fired_at: at(fired_at),
            ended_at: ended_at.map(at),
        }
    }

    fn pairs(before: &[EpisodeSpan], after: &[EpisodeSpan]) -> Vec<(String, Option<String>)> {
        replaced(before, after).into_iter().collect()
    }

    #[test]
    fn overlapping_new_episode_replaces_withdrawn_one() {
        let (old, new) = (span("old", 5, Some(8)), span("new", 3, Some(6)));
        let replaced = ("old".to_owned(), Some("new".to_owned()));
        assert_eq!(pairs(std::slice::from_ref(&old), &[new]), [replaced]);
        let before = span("new", 3, Some(5));
        assert_eq!(pairs(&[old], &[before]), [("old".to_owned(), None)]);
    }

    #[test]
    fn one_episode_may_replace_two_and_two_replace_one_once() {
        let two = [span("a", 1, Some(2)), span("b", 4, None)];
        let one = [span("c", 0, None)];
        let to = |it: &str| Some(it.to_owned());
        let merged = [("a".to_owned(), to("c")), ("b".to_owned(), to("c"))];
        assert_eq!(pairs(&two, &one), merged);
        assert_eq!(pairs(&one, &two), [("c".to_owned(), to("a"))]);
    }

    #[test]
    fn kept_episode_is_neither_replaced_nor_a_replacement() {
        let kept = span("kept", 1, Some(9));
        let shorter = span("kept", 1, Some(3));
        assert_eq!(pairs(&[kept], &[shorter, span("new", 5, Some(9))]), []);
    }
}
