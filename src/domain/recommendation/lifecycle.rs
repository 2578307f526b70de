//! The life of a recommendation: which status may follow which, on whose word, and what for.
//!
//! [`MOVES`] is the whole of it. The application is not in the table: it writes its own column as it likes, and
//! what it wrote is how things stand.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::metrics::names::{Priority, Status};
use crate::domain::named::named;

named! {
    /// Who moves a recommendation.
    Actor, "kind of actor" {
        /// Somebody, by a command.
        Person = "PERSON",
        /// `recommend run`.
        Engine = "ENGINE",
        /// The application, by writing its own column.
        Application = "APPLICATION",
    }
}

/// What a move needs beside the right status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Nothing,
    /// A note that says why.
    Note,
    /// Figures so different that whoever looked at them must look again.
    MaterialChange,
    /// That the reason is gone, as [`is_unseen_too_long`] and [`is_cleared`] tell, or the plan or its figures.
    ReasonGone,
    /// That the dismissal has ended, as [`dismissal_has_ended`] tells.
    DismissalEnded,
    /// That it expired lately, as [`may_return`] tells.
    ExpiredLately,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub from: Status,
    pub to: Status,
    pub by: Actor,
    pub needs: Need,
}

const fn person(from: Status, to: Status, needs: Need) -> Move {
    let by = Actor::Person;
    Move {
        from,
        to,
        by,
        needs,
    }
}

const fn engine(from: Status, to: Status, needs: Need) -> Move {
    let by = Actor::Engine;
    Move {
        from,
        to,
        by,
        needs,
    }
}

/// Every move there is. IMPLEMENTED is final: when its reason comes back, that is a new recommendation.
pub const MOVES: [Move; 14] = {
    use Need::{DismissalEnded, ExpiredLately, MaterialChange, Note, Nothing, ReasonGone};
    use Status::{Approved, Dismissed, Expired, Implemented, Pending, Reviewed};
    [
        person(Pending, Reviewed, Nothing),
        person(Pending, Dismissed, Note),
        person(Reviewed, Approved, Nothing),
        person(Reviewed, Dismissed, Note),
        person(Approved, Implemented, Nothing),
        // Approval is withdrawn.
        person(Approved, Reviewed, Nothing),
        person(Approved, Dismissed, Note),
        person(Dismissed, Pending, Note),
        person(Expired, Pending, Note),
        engine(Reviewed, Pending, MaterialChange),
        engine(Pending, Expired, ReasonGone),
        engine(Reviewed, Expired, ReasonGone),
        engine(Dismissed, Pending, DismissalEnded),
        engine(Expired, Pending, ExpiredLately),
    ]
};

/// The move from one status to another by `by`, if there is one.
pub fn find(from: Status, to: Status, by: Actor) -> Option<&'static Move> {
    let same = |row: &&Move| (row.from, row.to, row.by) == (from, to, by);
    MOVES.iter().find(same)
}

/// Whether a recommendation of this status is open: there is one open answer to a question at most.
pub fn is_open(status: Status) -> bool {
    matches!(
        status,
        Status::Pending | Status::Reviewed | Status::Approved
    )
}

/// Whether its figures stay as they are: somebody decided by them.
pub fn is_frozen(status: Status) -> bool {
    !matches!(status, Status::Pending | Status::Reviewed)
}

/// Where a recommendation stands: its status, and the version that `--if-version` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub status: Status,
    /// One more with every step.
    pub version: i32,
}

/// Where it stands, from what we last wrote and what the application's column says now. A change by the
/// application is a step like any other, even before anybody has written it down.
pub fn standing(ours: Standing, theirs: Status) -> Standing {
    let moved = i32::from(ours.status != theirs);
    Standing {
        status: theirs,
        version: ours.version.saturating_add(moved),
    }
}

/// The steps by which a person brings a recommendation from one status to another.
///
/// It is one step, but for approving what nobody has reviewed: where a `single_reviewer` does both, both steps
/// are taken.
pub fn steps(
    from: Status,
    to: Status,
    note: Option<&str>,
    single_reviewer: bool,
) -> Result<Vec<Status>, Refusal> {
    if single_reviewer && (from, to) == (Status::Pending, Status::Approved) {
        return Ok(vec![Status::Reviewed, Status::Approved]);
    }
    let Some(row) = find(from, to, Actor::Person) else {
        return Err(Refusal::NoSuchMove { from, to });
    };
    let has_note = note.is_some_and(|note| !note.trim().is_empty());
    if row.needs == Need::Note && !has_note {
        return Err(Refusal::NoNote { to });
    }
    Ok(vec![to])
}

/// What a person calls the move to a status; nobody but the engine lets a recommendation expire.
pub fn verb(to: Status) -> Option<&'static str> {
    match to {
        Status::Reviewed => Some("review"),
        Status::Approved => Some("approve"),
        Status::Implemented => Some("implement"),
        Status::Dismissed => Some("dismiss"),
        Status::Pending => Some("reopen"),
        Status::Expired => None,
    }
}

/// What a person may do with a recommendation of this status.
pub fn verbs(from: Status) -> impl Iterator<Item = &'static str> {
    MOVES
        .iter()
        .filter(move |row| row.from == from && row.by == Actor::Person)
        .filter_map(|row| verb(row.to))
}

/// Why a person's move is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The table does not have it.
    NoSuchMove {
        from: Status,
        /// The status that was wanted.
        to: Status,
    },
    /// It must be said why.
    NoNote {
        /// The status that was wanted.
        to: Status,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Refusal::NoNote { to } => {
                let verb = verb(to).unwrap_or("do that");
                write!(f, "to {verb} needs a note that says why")
            }
            Refusal::NoSuchMove { from, to } if from == to => write!(f, "it is {from} already"),
            Refusal::NoSuchMove {
                from: Status::Implemented,
                ..
            } => write!(f, "it is IMPLEMENTED, which is final"),
            Refusal::NoSuchMove { from, to } => {
                let allowed: Vec<&str> = verbs(from).collect();
                write!(
                    f,
                    "it is {from} and cannot become {to}; allowed are: {}",
                    allowed.join(", ")
                )
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// Whether a recommendation that was not reproduced for some time has lost its reason. One failed collection
/// is not enough, and neither are many within a few days.
pub fn is_unseen_too_long(
    unseen_count: i32,
    unseen_since: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> bool {
    const RUNS: i32 = 3;
    const DAYS: i64 = 7;
    unseen_count >= RUNS && unseen_since.is_some_and(|since| now - since >= TimeDelta::days(DAYS))
}

/// Whether the condition has gone for good. A single run without it may be the noise of the forecast.
pub fn is_cleared(cleared_count: i32) -> bool {
    cleared_count >= 2
}

/// Whether the engine may bring back what was dismissed: its snooze is over, or it is more urgent now.
/// Without a snooze only the latter counts.
pub fn dismissal_has_ended(
    snoozed_until: Option<DateTime<Utc>>,
    dismissed: Option<Priority>,
    priority: Priority,
    now: DateTime<Utc>,
) -> bool {
    let awake = snoozed_until.is_some_and(|until| until <= now);
    awake || dismissed.is_some_and(|dismissed| priority > dismissed)
}

/// Whether what expired comes back as itself; later it is a new recommendation with a predecessor.
pub fn may_return(expired_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    now - expired_at <= TimeDelta::days(30)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::named::Named;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn of_all_pairs_only_the_table_passes() {
        // A row for each status before, a column for each after, in the order of the application's enum.
        // p: a person; n: a person with a note; e: the engine.
        let table = [
            // PEND REV APPR IMPL DISM EXP
            ["", "p", "", "", "n", "e"],
            ["e", "", "p", "", "n", "e"],
            ["", "p", "", "p", "n", ""],
            ["", "", "", "", "", ""],
            ["ne", "", "", "", "", ""],
            ["ne", "", "", "", "", ""],
        ];
        for (row, from) in table.iter().zip(Status::ALL) {
            for (who, to) in row.iter().zip(Status::ALL) {
                let pair = format!("{from} to {to}");
                let bare = steps(*from, *to, None, false);
                let noted = steps(*from, *to, Some("why"), false);
                assert_eq!(bare.is_ok(), who.contains('p'), "{pair}");
                assert_eq!(noted.is_ok(), who.contains(['p', 'n']), "{pair}");
                assert_eq!(steps(*from, *to, Some(" \n"), false), bare, "{pair}");
                let engine = find(*from, *to, Actor::Engine);
                assert_eq!(engine.is_some(), who.contains('e'), "{pair}");
                assert_eq!(find(*from, *to, Actor::Application), None, "{pair}");
            }
        }
    }

    #[test]
    fn a_single_reviewer_changes_only_the_one_step_over_review() {
        for from in Status::ALL {
            for to in Status::ALL {
                let usual = steps(*from, *to, Some("why"), false);
                let single = steps(*from, *to, Some("why"), true);
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
    fn every_move_is_there_once_and_leads_elsewhere() {
        for row in MOVES {
            assert_eq!(find(row.from, row.to, row.by), Some(&row));
            assert_ne!(row.from, row.to);
            assert_eq!(
                MOVES.iter().filter(|other| **other == row).count(),
                1,
                "{row:?}"
            );
        }
    }

    #[test]
    fn a_refusal_names_what_is_allowed() {
        let refused = |from, to| steps(from, to, None, false).unwrap_err().to_string();
        assert_eq!(
            refused(Status::Pending, Status::Approved),
            "it is PENDING and cannot become APPROVED; allowed are: review, dismiss"
        );
        assert_eq!(
            refused(Status::Approved, Status::Approved),
            "it is APPROVED already"
        );
        assert_eq!(
            refused(Status::Implemented, Status::Pending),
            "it is IMPLEMENTED, which is final"
        );
        assert_eq!(
            refused(Status::Pending, Status::Dismissed),
            "to dismiss needs a note that says why"
        );
    }

    #[test]
    fn what_the_application_did_is_a_step() {
        let ours = Standing {
            status: Status::Pending,
            version: 3,
        };
        assert_eq!(standing(ours, Status::Pending), ours);
        let moved = standing(ours, Status::Dismissed);
        assert_eq!((moved.status, moved.version), (Status::Dismissed, 4));
    }

    #[test]
    fn open_is_what_waits_for_somebody_and_only_the_undecided_is_refreshed() {
        let open = Status::ALL.iter().filter(|status| is_open(**status));
        assert_eq!(
            open.copied().collect::<Vec<_>>(),
            [Status::Pending, Status::Reviewed, Status::Approved]
        );
        assert!(!is_frozen(Status::Reviewed) && is_frozen(Status::Approved));
    }

    #[test]
    fn a_dismissal_ends_with_its_snooze_or_when_it_is_more_urgent() {
        let now = at("2026-01-31T12:00:00Z");
        let ended =
            |until, priority| dismissal_has_ended(until, Some(Priority::Medium), priority, now);
        assert!(!ended(None, Priority::Medium));
        assert!(ended(None, Priority::High));
        assert!(!ended(Some(now + TimeDelta::seconds(1)), Priority::Low));
        assert!(ended(Some(now), Priority::Low));
    }

    #[test]
    fn an_expiry_needs_runs_and_days() {
        let now = at("2026-01-31T12:00:00Z");
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
