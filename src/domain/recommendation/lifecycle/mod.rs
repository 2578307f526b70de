//! The life cycle of a recommendation: which status may follow which, and who may change it.
//!
//! [`MOVES`] is the whole table. The application is not in it: it writes its own column freely, and that status
//! is then the current one.

pub mod history;
pub mod transition;

use std::fmt;

use crate::domain::metrics::names::Status;
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
        // The condition cleared, or its limits are gone.
        (Pending, Expired, Engine),
        (Reviewed, Expired, Engine),
        // The recommended plan is in use.
        (Approved, Implemented, Engine),
        // The dismissal ended, or the condition returned.
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
    let to = move |(from, to, by): &(Status, Status, Actor)| {
        let is_allowed = (*from, *by) == (of, Actor::Person);
        is_allowed.then(|| action(*to))?
    };
    MOVES.iter().filter_map(to)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::named::Named;

    #[test]
    fn only_moves_of_the_table_are_allowed() {
        // A row for each status before, a column for each after, in the order of the application's enum.
        // p: a person; s: a single reviewer; e: the engine.
        let table = [
            // PEND REV APPR IMPL DISM EXP
            ["", "p", "s", "", "p", "e"],
            ["e", "", "p", "", "p", "e"],
            ["", "p", "", "pe", "p", ""],
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
}
