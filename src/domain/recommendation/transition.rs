//! A person's move, made: what a recommendation is afterwards, and what its history gets.

use chrono::{DateTime, Utc};

use super::Recommendation;
use super::history::Entry;
use super::lifecycle::{self, Actor, Refusal, Standing};
use crate::domain::metrics::names::Status;

/// What a person wants.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// The status to move to; none for a note alone.
    pub to: Option<Status>,
    pub by: &'a str,
    pub note: Option<&'a str>,
    /// Of a dismissal: until when.
    pub until: Option<DateTime<Utc>>,
    /// Whether one person may review and approve in one go.
    pub single_reviewer: bool,
}

/// A move that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// The recommendation as it is now.
    pub after: Recommendation,
    pub version: i32,
    /// What its history gets, in order.
    pub entries: Vec<Entry>,
}

/// Where a recommendation stands. Of one that another program made, `steps` in its history make the version.
pub fn standing(it: &Recommendation, steps: usize) -> Standing {
    match &it.own {
        Some(own) => lifecycle::standing(
            Standing {
                status: own.status,
                version: own.version,
            },
            it.status,
        ),
        None => Standing {
            status: it.status,
            version: i32::try_from(steps).unwrap_or(i32::MAX),
        },
    }
}

/// What the application did to a recommendation since we last wrote or saw it.
pub fn done_by_application(it: &Recommendation, now: DateTime<Utc>) -> Option<Entry> {
    let own = it.own.as_ref().filter(|own| own.status != it.status)?;
    Some(Entry {
        from: Some(own.status),
        ..entry(it, Actor::Application, "application", it.status, now)
    })
}

/// A step of a recommendation, with what it says at that moment.
pub fn entry(
    it: &Recommendation,
    actor_kind: Actor,
    actor: &str,
    to: Status,
    now: DateTime<Utc>,
) -> Entry {
    let own = it.own.as_ref();
    Entry {
        at: now,
        actor: actor.to_owned(),
        actor_kind,
        from: Some(it.status),
        to,
        note: None,
        changes: Vec::new(),
        catalogue_version: own.map_or(String::new(), |own| own.catalogue_version.clone()),
        facts_hash: own.map_or(String::new(), |own| own.facts.hash.clone()),
    }
}

/// Makes a move, from where the recommendation truly stands.
pub fn make(
    before: &Recommendation,
    standing: Standing,
    wish: &Wish,
    now: DateTime<Utc>,
) -> Result<Moved, Refusal> {
    let steps = match wish.to {
        Some(to) => lifecycle::steps(before.status, to, wish.note, wish.single_reviewer)?,
        None => vec![before.status],
    };
    let mut after = before.clone();
    let mut entries: Vec<Entry> = done_by_application(before, now).into_iter().collect();
    let taken = i32::try_from(steps.len()).unwrap_or(i32::MAX);
    let version = standing.version.saturating_add(taken);
    for step in steps {
        entries.push(Entry {
            note: wish.note.map(str::to_owned),
            ..entry(&after, Actor::Person, wish.by, step, now)
        });
        if wish.to.is_some() {
            take(&mut after, step, wish, now);
        }
    }
    if let Some(own) = &mut after.own {
        own.version = version;
        own.status = after.status;
    }
    Ok(Moved {
        after,
        version,
        entries,
    })
}

fn take(it: &mut Recommendation, to: Status, wish: &Wish, now: DateTime<Utc>) {
    it.status = to;
    it.updated_at = now;
    match to {
        Status::Reviewed | Status::Approved | Status::Dismissed => {
            it.reviewed_by = Some(wish.by.to_owned());
            it.reviewed_at = Some(now);
            if let Some(note) = wish.note {
                it.review_notes = Some(note.to_owned());
            }
        }
        Status::Implemented => it.implemented_at = Some(now),
        // Nobody has looked at what is pending; who did before is in the history.
        Status::Pending => {
            it.reviewed_by = None;
            it.reviewed_at = None;
            it.review_notes = None;
        }
        Status::Expired => {}
    }
    let Some(own) = &mut it.own else { return };
    match to {
        Status::Dismissed => {
            own.dismissed_priority = Some(it.priority);
            own.snoozed_until = wish.until;
        }
        Status::Pending => {
            own.dismissed_priority = None;
            own.snoozed_until = None;
            own.reopened_count = own.reopened_count.saturating_add(1);
            own.unseen_count = 0;
            own.unseen_since = None;
            own.cleared_count = 0;
        }
        _ => {}
    }
}
