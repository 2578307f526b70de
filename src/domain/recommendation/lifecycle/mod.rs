//! The life cycle of a recommendation: which status may follow which, and who may change it.
//!
//! [`MOVES`] is the whole table. The application is not in it: it writes its own column freely, and that status
//! is then the current one.

pub mod history;
pub mod transition;

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::metrics::names::{Priority, Status};
use crate::domain::named::named;

named! {
    /// Who changes a recommendation.
    Actor, "kind of actor" {
        /// A person, by a command.
        Person = "PERSON",
        /// The run that assesses all limits.
        Engine = "ENGINE",
        /// The application, by writing its own column.
        Application = "APPLICATION",
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub from: Status,
    pub to: Status,
    pub by: Actor,
    pub needs_note: bool,
}

const fn row(from: Status, to: Status, by: Actor, needs_note: bool) -> Move {
    Move {
        from,
        to,
        by,
        needs_note,
    }
}

/// Every allowed move. IMPLEMENTED is final: if the condition returns, that is a new recommendation.
pub const MOVES: [Move; 15] = {
    use Actor::{Engine, Person};
    use Status::{Approved, Dismissed, Expired, Implemented, Pending, Reviewed};
    [
        row(Pending, Reviewed, Person, false),
        row(Pending, Dismissed, Person, true),
        row(Reviewed, Approved, Person, false),
        row(Reviewed, Dismissed, Person, true),
        row(Approved, Implemented, Person, false),
        // The approval is withdrawn.
        row(Approved, Reviewed, Person, false),
        row(Approved, Dismissed, Person, true),
        row(Dismissed, Pending, Person, true),
        row(Expired, Pending, Person, true),
        // The figures changed materially.
        row(Reviewed, Pending, Engine, false),
        // See `is_cleared` and `is_unseen_too_long`.
        row(Pending, Expired, Engine, false),
        row(Reviewed, Expired, Engine, false),
        // Another plan is in use.
        row(Approved, Expired, Engine, false),
        // See `dismissal_has_ended` and `may_return`.
        row(Dismissed, Pending, Engine, false),
        row(Expired, Pending, Engine, false),
    ]
};

/// The move from one status to another by `by`, if it is allowed.
pub fn find(from: Status, to: Status, by: Actor) -> Option<&'static Move> {
    let same = |row: &&Move| (row.from, row.to, row.by) == (from, to, by);
    MOVES.iter().find(same)
}

/// Whether a recommendation of this status is open: at most one answer to a question is.
pub fn is_open(status: Status) -> bool {
    matches!(
        status,
        Status::Pending | Status::Reviewed | Status::Approved
    )
}

/// Whether its figures are kept as they were decided on.
pub fn is_frozen(status: Status) -> bool {
    !matches!(status, Status::Pending | Status::Reviewed)
}

/// The statuses through which a person moves a recommendation to `to`.
///
/// It is one move, except that a `single_reviewer` reviews and approves in one go; both moves are recorded.
pub fn path(
    from: Status,
    to: Status,
    note: Option<&str>,
    single_reviewer: bool,
) -> Result<Vec<Status>, Refusal> {
    if single_reviewer && (from, to) == (Status::Pending, Status::Approved) {
        return Ok(vec![Status::Reviewed, Status::Approved]);
    }
    let Some(row) = find(from, to, Actor::Person) else {
        return Err(Refusal::NotAllowed { from, to });
    };
    let has_note = note.is_some_and(|note| !note.trim().is_empty());
    if row.needs_note && !has_note {
        return Err(Refusal::NoNote { to });
    }
    Ok(vec![to])
}

/// The name of the action that leads to a status; only the engine lets a recommendation expire.
fn action(to: Status) -> Option<&'static str> {
    match to {
        Status::Reviewed => Some("review"),
        Status::Approved => Some("approve"),
        Status::Implemented => Some("implement"),
        Status::Dismissed => Some("dismiss"),
        Status::Pending => Some("reopen"),
        Status::Expired => None,
    }
}

/// The actions that a person may take on a recommendation of this status.
pub fn actions(from: Status) -> impl Iterator<Item = &'static str> {
    MOVES
        .iter()
        .filter(move |row| row.from == from && row.by == Actor::Person)
        .filter_map(|row| action(row.to))
}

/// Why a person's move is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NotAllowed { from: Status, to: Status },
    NoNote { to: Status },
}

impl fmt::Display for Refusal {
    /// The text follows the id of the recommendation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Refusal::NoNote { to } => write!(f, "cannot become {to} without a note"),
            Refusal::NotAllowed { from, to } if from == to => write!(f, "is already {from}"),
            Refusal::NotAllowed {
                from: Status::Implemented,
                ..
            } => write!(f, "is IMPLEMENTED, which is final"),
            Refusal::NotAllowed { from, to } => {
                let allowed: Vec<&str> = actions(from).collect();
                let allowed = allowed.join(", ");
                write!(f, "is {from} and cannot become {to}; allowed: {allowed}")
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// Whether a recommendation that was not reproduced expires. One failed collection is not enough, and neither
/// are many within a few days.
pub fn is_unseen_too_long(
    unseen_count: i32,
    unseen_since: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> bool {
    const RUNS: i32 = 3;
    const DAYS: i64 = 7;
    unseen_count >= RUNS && unseen_since.is_some_and(|since| now - since >= TimeDelta::days(DAYS))
}

/// Whether a recommendation whose condition cleared expires. A single run may be noise of the forecast.
pub fn is_cleared(cleared_count: i32) -> bool {
    cleared_count >= 2
}

/// Whether the engine may reopen a dismissed recommendation: its snooze has ended, or its priority is higher
/// than when it was dismissed.
pub fn dismissal_has_ended(
    snoozed_until: Option<DateTime<Utc>>,
    dismissed: Option<Priority>,
    priority: Priority,
    now: DateTime<Utc>,
) -> bool {
    let awake = snoozed_until.is_some_and(|until| until <= now);
    awake || dismissed.is_some_and(|dismissed| priority > dismissed)
}

/// Whether an expired recommendation is reopened; later a new one with a predecessor is created.
pub fn may_return(expired_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    now - expired_at <= TimeDelta::days(30)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::named::Named;
    use crate::domain::recommendation::sample::now;

    #[test]
    fn only_moves_of_the_table_are_allowed() {
        // A row for each status before, a column for each after, in the order of the application's enum.
        // p: a person; n: a person with a note; e: the engine.
        let table = [
            // PEND REV APPR IMPL DISM EXP
            ["", "p", "", "", "n", "e"],
            ["e", "", "p", "", "n", "e"],
            ["", "p", "", "p", "n", "e"],
            ["", "", "", "", "", ""],
            ["ne", "", "", "", "", ""],
            ["ne", "", "", "", "", ""],
        ];
        for (row, from) in table.iter().zip(Status::ALL) {
            for (who, to) in row.iter().zip(Status::ALL) {
                let pair = format!("{from} to {to}");
                let bare = path(*from, *to, None, false);
                let noted = path(*from, *to, Some("why"), false);
                assert_eq!(bare.is_ok(), who.contains('p'), "{pair}");
                assert_eq!(noted.is_ok(), who.contains(['p', 'n']), "{pair}");
                assert_eq!(path(*from, *to, Some(" \n"), false), bare, "{pair}");
                let engine = find(*from, *to, Actor::Engine);
                assert_eq!(engine.is_some(), who.contains('e'), "{pair}");
                assert_eq!(find(*from, *to, Actor::Application), None, "{pair}");
            }
        }
    }

    #[test]
    fn single_reviewer_approves_pending_in_two_moves() {
        for from in Status::ALL {
            for to in Status::ALL {
                let usual = path(*from, *to, Some("why"), false);
                let single = path(*from, *to, Some("why"), true);
                if (*from, *to) == (Status::Pending, Status::Approved) {
                    assert!(usual.is_err());
                    assert_eq!(single, Ok(vec![Status::Reviewed, Status::Approved]));
                } else {
                    assert_eq!(single, usual);
                }
            }
        }
    }

    #[test]
    fn every_move_is_listed_once() {
        for row in MOVES {
            assert_eq!(find(row.from, row.to, row.by), Some(&row));
            assert_ne!(row.from, row.to);
            let same = MOVES.iter().filter(|other| **other == row);
            assert_eq!(same.count(), 1, "{row:?}");
        }
    }

    #[test]
    fn refusal_names_allowed_actions() {
        let refused = |from, to| path(from, to, None, false).unwrap_err().to_string();
        use Status::{Approved, Dismissed, Implemented, Pending};
        let not_allowed = "is PENDING and cannot become APPROVED; allowed: review, dismiss";
        for (from, to, text) in [
            (Pending, Approved, not_allowed),
            (Approved, Approved, "is already APPROVED"),
            (Implemented, Pending, "is IMPLEMENTED, which is final"),
            (Pending, Dismissed, "cannot become DISMISSED without a note"),
        ] {
            assert_eq!(refused(from, to), text);
        }
    }

    #[test]
    fn undecided_is_open_and_refreshed_approved_is_open_and_frozen() {
        let open = Status::ALL.iter().filter(|status| is_open(**status));
        assert_eq!(
            open.copied().collect::<Vec<_>>(),
            [Status::Pending, Status::Reviewed, Status::Approved]
        );
        assert!(!is_frozen(Status::Reviewed) && is_frozen(Status::Approved));
    }

    #[test]
    fn dismissal_ends_with_its_snooze_or_a_higher_priority() {
        let now = now();
        let ended =
            |until, priority| dismissal_has_ended(until, Some(Priority::Medium), priority, now);
        assert!(!ended(None, Priority::Medium));
        assert!(ended(None, Priority::High));
        assert!(!ended(Some(now + TimeDelta::seconds(1)), Priority::Low));
        assert!(ended(Some(now), Priority::Low));
    }

    #[test]
    fn expiry_takes_several_runs_and_days() {
        let now = now();
        let week_ago = Some(now - TimeDelta::days(7));
        assert!(is_unseen_too_long(3, week_ago, now));
        assert!(!is_unseen_too_long(2, week_ago, now));
        assert!(!is_unseen_too_long(99, Some(now - TimeDelta::days(6)), now));
        assert!(!is_unseen_too_long(3, None, now));
        assert!(is_cleared(2) && !is_cleared(1));
        assert!(may_return(now - TimeDelta::days(30), now));
        assert!(!may_return(now - TimeDelta::days(31), now));
    }
}
