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

/// Every allowed move: from, to, by whom. IMPLEMENTED is final: if the condition returns, that is a new
/// recommendation. A dismissal and a reopening by a person require a note, as the command line checks.
pub const MOVES: [(Status, Status, Actor); 15] = {
    use Actor::{Engine, Person};
    use Status::{Approved, Dismissed, Expired, Implemented, Pending, Reviewed};
    [
        (Pending, Reviewed, Person),
        (Pending, Dismissed, Person),
        (Reviewed, Approved, Person),
        (Reviewed, Dismissed, Person),
        (Approved, Implemented, Person),
        // The approval is withdrawn.
        (Approved, Reviewed, Person),
        (Approved, Dismissed, Person),
        (Dismissed, Pending, Person),
        (Expired, Pending, Person),
        // The figures changed materially.
        (Reviewed, Pending, Engine),
        // See `is_cleared` and `is_unseen_too_long`.
        (Pending, Expired, Engine),
        (Reviewed, Expired, Engine),
        // Another plan is in use.
        (Approved, Expired, Engine),
        // See `dismissal_has_ended` and `may_return`.
        (Dismissed, Pending, Engine),
        (Expired, Pending, Engine),
    ]
};

pub fn is_allowed(from: Status, to: Status, by: Actor) -> bool {
    MOVES.contains(&(from, to, by))
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
pub fn path(from: Status, to: Status, single_reviewer: bool) -> Result<Vec<Status>, Refusal> {
    if single_reviewer && (from, to) == (Status::Pending, Status::Approved) {
        Ok(vec![Status::Reviewed, Status::Approved])
    } else if is_allowed(from, to, Actor::Person) {
        Ok(vec![to])
    } else {
        Err(Refusal { from, to })
    }
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
pub fn actions(of: Status) -> impl Iterator<Item = &'static str> {
    let by_person =
        move |(from, _, by): &&(Status, Status, Actor)| (*from, *by) == (of, Actor::Person);
    MOVES
        .iter()
        .filter(by_person)
        .filter_map(|(_, to, _)| action(*to))
}

/// A person's move that the table does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub from: Status,
    pub to: Status,
}

impl fmt::Display for Refusal {
    /// The text follows the id of the recommendation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { from, to } = *self;
        if from == to {
            write!(f, "is already {from}")
        } else if from == Status::Implemented {
            write!(f, "is IMPLEMENTED, which is final")
        } else {
            let allowed: Vec<&str> = actions(from).collect();
            let allowed = allowed.join(", ");
            write!(f, "is {from} and cannot become {to}; allowed: {allowed}")
        }
    }
}

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
        // p: a person; s: a single reviewer; e: the engine.
        let table = [
            // PEND REV APPR IMPL DISM EXP
            ["", "p", "s", "", "p", "e"],
            ["e", "", "p", "", "p", "e"],
            ["", "p", "", "p", "p", "e"],
            ["", "", "", "", "", ""],
            ["pe", "", "", "", "", ""],
            ["pe", "", "", "", "", ""],
        ];
        for (row, from) in table.iter().zip(Status::ALL) {
            for (who, to) in row.iter().zip(Status::ALL) {
                let pair = format!("{from} to {to}");
                let [usual, single] = [false, true].map(|single| path(*from, *to, single));
                assert_eq!(usual.is_ok(), who.contains('p'), "{pair}");
                assert_eq!(single.is_ok(), who.contains(['p', 's']), "{pair}");
                let by = |actor| is_allowed(*from, *to, actor);
                assert_eq!(by(Actor::Engine), who.contains('e'), "{pair}");
                assert!(!by(Actor::Application), "{pair}");
            }
        }
    }

    #[test]
    fn refusal_names_allowed_actions() {
        use Status::{Approved, Implemented, Pending};
        let not_allowed = "is PENDING and cannot become APPROVED; allowed: review, dismiss";
        for (from, to, text) in [
            (Pending, Approved, not_allowed),
            (Approved, Approved, "is already APPROVED"),
            (Implemented, Pending, "is IMPLEMENTED, which is final"),
        ] {
            assert_eq!(Refusal { from, to }.to_string(), text);
        }
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
