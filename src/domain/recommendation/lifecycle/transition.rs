//! Carrying out a move: the recommendation afterwards, and its history entries.

use chrono::{DateTime, Utc};

use super::history::Entry;
use super::{Actor, Refusal, is_open, path};
use crate::domain::metrics::names::Status;
use crate::domain::recommendation::Recommendation;

/// A person's request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The status to move to; none to add a note only.
    pub to: Option<Status>,
    pub by: &'a str,
    pub note: Option<&'a str>,
    /// End of a dismissal.
    pub until: Option<DateTime<Utc>>,
    /// Whether a pending recommendation is reviewed and approved in one go.
    pub single_reviewer: bool,
}

/// A request that was carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    pub after: Recommendation,
    pub version: i32,
    /// New history entries, in order.
    pub entries: Vec<Entry>,
}

/// The current version. A change by the application counts, even before it is recorded; a recommendation of
/// another program has as many versions as history entries.
pub fn version(it: &Recommendation, entries: usize) -> i32 {
    match &it.tracking {
        Some(tracking) => {
            let moved = i32::from(tracking.status != it.status);
            tracking.version.saturating_add(moved)
        }
        None => i32::try_from(entries).unwrap_or(i32::MAX),
    }
}

/// Carries out a request on a recommendation at `version`.
pub fn carry_out(
    before: &Recommendation,
    version: i32,
    request: &Request<'_>,
    now: DateTime<Utc>,
) -> Result<Transition, Refusal> {
    let path = match request.to {
        Some(to) => path(before.status, to, request.single_reviewer)?,
        None => vec![before.status],
    };
    let mut after = before.clone();
    if let Some(tracking) = &mut after.tracking {
        (tracking.status, tracking.version) = (before.status, version);
    }
    let mut entries: Vec<Entry> = Entry::of_application(before, now).into_iter().collect();
    let mut version = version;
    for to in path {
        version = version.saturating_add(1);
        entries.push(Entry {
            note: request.note.map(str::to_owned),
            ..Entry::new(&after, Actor::Person, request.by, to, now)
        });
        apply(&mut after, to);
        if request.to.is_some() {
            after.updated_at = Some(now);
            record_decision(&mut after, request, now);
        }
    }
    Ok(Transition {
        after,
        version,
        entries,
    })
}

/// Sets the status of both rows and increments the version, for moves by people and by the engine.
///
/// Moving it to PENDING clears the review, the dismissal and the counters of runs.
pub fn apply(it: &mut Recommendation, to: Status) {
    let from = std::mem::replace(&mut it.status, to);
    let becomes_pending = to == Status::Pending && from != to;
    if becomes_pending {
        // The former reviewer stays in the history.
        it.reviewed_by = None;
        it.reviewed_at = None;
        it.review_notes = None;
    }
    let Some(tracking) = &mut it.tracking else {
        return;
    };
    tracking.status = to;
    tracking.version = tracking.version.saturating_add(1);
    if becomes_pending {
        tracking.dismissed_priority = None;
        tracking.snoozed_until = None;
        tracking.reset_absence();
        let reopened = i32::from(!is_open(from));
        tracking.reopened_count = tracking.reopened_count.saturating_add(reopened);
    }
}

fn record_decision(it: &mut Recommendation, request: &Request<'_>, now: DateTime<Utc>) {
    match it.status {
        Status::Reviewed | Status::Approved | Status::Dismissed => {
            it.reviewed_by = Some(request.by.to_owned());
            it.reviewed_at = Some(now);
            if let Some(note) = request.note {
                it.review_notes = Some(note.to_owned());
            }
        }
        Status::Implemented => it.implemented_at = Some(now),
        Status::Pending | Status::Expired => {}
    }
    if it.status == Status::Dismissed
        && let Some(tracking) = &mut it.tracking
    {
        tracking.dismissed_priority = Some(it.priority);
        tracking.snoozed_until = request.until;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::recommendation::sample::{now, recommendation};

    #[test]
    fn reopening_clears_dismissal_review_and_counters() {
        let mut it = recommendation();
        apply(&mut it, Status::Dismissed);
        (it.reviewed_by, it.review_notes) = (Some("ann".to_owned()), Some("no".to_owned()));
        it.reviewed_at = Some(now());
        let tracking = it.tracking.as_mut().unwrap();
        (tracking.dismissed_priority, tracking.snoozed_until) = (Some(it.priority), Some(now()));
        (tracking.unseen_count, tracking.cleared_count) = (2, 1);
        tracking.unseen_since = Some(now());
        apply(&mut it, Status::Pending);
        let mut expected = recommendation();
        let tracking = expected.tracking.as_mut().unwrap();
        (tracking.version, tracking.reopened_count) = (3, 1);
        assert_eq!(it, expected);
    }

    #[test]
    fn review_withdrawn_by_engine_is_no_reopening() {
        let mut it = recommendation();
        apply(&mut it, Status::Reviewed);
        apply(&mut it, Status::Pending);
        assert_eq!(it.tracking.unwrap().reopened_count, 0);
    }
}
