//! Where a database stands among the migrations, and which of them to apply or to undo.

use chrono::{DateTime, Utc};

/// A migration as this program has it.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The stamp that orders migrations.
    pub version: &'a str,
    pub name: &'a str,
    /// Checksum of the text that applies it.
    pub checksum: &'a str,
}

/// What the log says about the last time a migration was applied.
#[derive(Clone, Debug)]
pub struct Done {
    pub version: String,
    pub name: String,
    /// Checksum of the text that was run.
    pub checksum: String,
    pub at: DateTime<Utc>,
    /// How long its SQL took.
    pub duration_ms: i64,
    pub by: String,
    /// With which version of this program.
    pub tool_version: String,
}

/// What is the matter with a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Applied,
    /// Not in the database yet.
    Pending,
    /// In the database, but this program has another text under its version.
    Modified,
    /// In the database, and this program does not have it.
    Unknown,
}

impl State {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Applied => "applied",
            State::Pending => "pending",
            State::Modified => "modified",
            State::Unknown => "unknown",
        }
    }
}

/// One migration and where the database stands with it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The stamp that orders migrations.
    pub version: String,
    /// What it does; unknown if neither this program nor the log has a name for it.
    pub name: Option<String>,
    /// What is the matter with it.
    pub state: State,
    /// When it was applied, if it is.
    pub applied_at: Option<DateTime<Utc>>,
    /// What the log says about that; nothing if another tool applied it.
    pub done: Option<Done>,
}

impl Standing {
    /// Version and name, as its folder spells them.
    pub fn full_name(&self) -> String {
        match &self.name {
            Some(name) => format!("{}_{name}", self.version),
            None => self.version.clone(),
        }
    }

    /// Whether the database has it.
    pub fn is_applied(&self) -> bool {
        self.state != State::Pending
    }

    /// Whether `given` names it: by version, by name, or by both as its folder does.
    fn is_called(&self, given: &str) -> bool {
        given == self.version || Some(given) == self.name.as_deref() || given == self.full_name()
    }
}

/// Compares what this program has with what is recorded in the database.
///
/// `applied` is the ledger; `log` holds the applications of all time, oldest first. The result is in the
/// order of versions.
pub fn survey(
    known: &[Known<'_>],
    applied: &[(String, DateTime<Utc>)],
    log: &[Done],
) -> Vec<Standing> {
    let mut standings: Vec<Standing> = known
        .iter()
        .filter(|known| applied.iter().all(|(version, _)| version != known.version))
        .map(|known| Standing {
            version: known.version.to_owned(),
            name: Some(known.name.to_owned()),
            state: State::Pending,
            applied_at: None,
            done: None,
        })
        .collect();
    for (version, recorded_at) in applied {
        let done = log.iter().rfind(|done| done.version == *version).cloned();
        let known = known.iter().find(|known| known.version == version);
        let state = match (known, &done) {
            (None, _) => State::Unknown,
            (Some(known), Some(done)) if done.checksum != known.checksum => State::Modified,
            _ => State::Applied,
        };
        standings.push(Standing {
            version: version.clone(),
            name: known
                .map(|known| known.name.to_owned())
                .or_else(|| done.as_ref().map(|done| done.name.clone())),
            state,
            applied_at: Some(done.as_ref().map_or(*recorded_at, |done| done.at)),
            done,
        });
    }
    standings.sort_by(|a, b| a.version.cmp(&b.version));
    standings
}

/// Why nothing is applied or undone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The user named a migration that does not exist.
    #[error("there is no migration `{given}`; there are {}", known.join(", "))]
    NoSuchMigration { given: String, known: Vec<String> },
    /// The user wants to go back to where the database never was.
    #[error("{0} is not applied, so nothing can be undone down to it")]
    NotApplied(String),
    /// Applied migrations that this program has otherwise or not at all.
    #[error("the migrations in the database are not the ones this program has: {}", .0.join(", "))]
    Untrustworthy(Vec<String>),
    /// Objects that a pending migration would make and that are there already.
    #[error("the database already has what a pending migration would make: {}", .0.join(", "))]
    AlreadyThere(Vec<String>),
    /// Pending migrations that are older than an applied one.
    #[error("pending although newer migrations are applied: {}", .0.join(", "))]
    OutOfOrder(Vec<String>),
}

/// Where to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undo {
    Steps(usize),
    /// Before this one, which stays.
    To(String),
    /// When nothing is left.
    All,
}

/// The versions to apply, in their order: all that are pending, or those up to `to`.
pub fn plan_up(
    standings: &[Standing],
    to: Option<&str>,
    allow_out_of_order: bool,
) -> Result<Vec<String>, Refusal> {
    check_trust(standings)?;
    let last = match to {
        Some(given) => Some(&find(standings, given)?.version),
        None => None,
    };
    let planned: Vec<&Standing> = standings
        .iter()
        .filter(|standing| {
            !standing.is_applied() && last.is_none_or(|last| standing.version <= *last)
        })
        .collect();
    let newest_applied = standings.iter().rfind(|standing| standing.is_applied());
    let late: Vec<String> = planned
        .iter()
        .filter(|planned| newest_applied.is_some_and(|newest| planned.version < newest.version))
        .map(|planned| planned.full_name())
        .collect();
    if !late.is_empty() && !allow_out_of_order {
        return Err(Refusal::OutOfOrder(late));
    }
    Ok(planned.iter().map(|s| s.version.clone()).collect())
}

/// The versions to undo, in the order to undo them: the last one applied first.
///
/// `order` is what the log says about the order of applying, oldest first; what it does not name was
/// there before it.
pub fn plan_down(
    standings: &[Standing],
    order: &[Done],
    undo: &Undo,
) -> Result<Vec<String>, Refusal> {
    check_trust(standings)?;
    let mut applied: Vec<&Standing> = standings.iter().filter(|s| s.is_applied()).collect();
    applied.sort_by_key(|standing| {
        order
            .iter()
            .rposition(|done| done.version == standing.version)
    });
    applied.reverse();
    let count = match undo {
        Undo::Steps(steps) => *steps,
        Undo::All => applied.len(),
        Undo::To(given) => {
            let stays = find(standings, given)?;
            applied
                .iter()
                .position(|standing| standing.version == stays.version)
                .ok_or_else(|| Refusal::NotApplied(stays.full_name()))?
        }
    };
    Ok(applied
        .iter()
        .take(count)
        .map(|standing| standing.version.clone())
        .collect())
}

fn check_trust(standings: &[Standing]) -> Result<(), Refusal> {
    let doubtful: Vec<String> = standings
        .iter()
        .filter(|standing| matches!(standing.state, State::Modified | State::Unknown))
        .map(|standing| format!("{} ({})", standing.full_name(), standing.state.as_str()))
        .collect();
    if doubtful.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Untrustworthy(doubtful))
    }
}

fn find<'a>(standings: &'a [Standing], given: &str) -> Result<&'a Standing, Refusal> {
    standings
        .iter()
        .find(|standing| standing.is_called(given))
        .ok_or_else(|| Refusal::NoSuchMigration {
            given: given.to_owned(),
            known: standings.iter().map(Standing::full_name).collect(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Known<'static>; 3] = [known("1", "one"), known("2", "two"), known("3", "three")];

    const fn known(version: &'static str, name: &'static str) -> Known<'static> {
        Known {
            version,
            name,
            checksum: "same",
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn done(version: &str, checksum: &str) -> Done {
        Done {
            version: version.to_owned(),
            name: "logged".to_owned(),
            checksum: checksum.to_owned(),
            at: at(5),
            duration_ms: 1,
            by: "me".to_owned(),
            tool_version: "0".to_owned(),
        }
    }

    /// A database in which these versions were applied, in this order.
    fn database(versions: &[&str]) -> (Vec<Standing>, Vec<Done>) {
        let log: Vec<Done> = versions.iter().map(|v| done(v, "same")).collect();
        let mut applied: Vec<_> = versions.iter().map(|v| ((*v).to_owned(), at(9))).collect();
        applied.sort();
        (survey(&KNOWN, &applied, &log), log)
    }

    #[test]
    fn an_edited_and_an_unknown_migration_are_told_apart_and_stop_everything() {
        let applied = [("1".to_owned(), at(1)), ("9".to_owned(), at(2))];
        let standings = survey(&KNOWN, &applied, &[done("1", "other")]);
        let states: Vec<_> = standings.iter().map(|s| (s.full_name(), s.state)).collect();
        assert_eq!(
            states,
            [
                ("1_one".to_owned(), State::Modified),
                ("2_two".to_owned(), State::Pending),
                ("3_three".to_owned(), State::Pending),
                ("9".to_owned(), State::Unknown),
            ]
        );
        let refused = Refusal::Untrustworthy(vec!["1_one (modified)".into(), "9 (unknown)".into()]);
        assert_eq!(plan_up(&standings, None, true), Err(refused.clone()));
        assert_eq!(plan_down(&standings, &[], &Undo::Steps(1)), Err(refused));
    }

    #[test]
    fn what_another_tool_applied_is_applied_at_the_moment_of_the_ledger() {
        let standings = survey(&KNOWN, &[("1".to_owned(), at(7))], &[]);
        assert_eq!(standings[0].state, State::Applied);
        assert_eq!(standings[0].applied_at, Some(at(7)));
    }

    #[test]
    fn a_migration_can_be_named_by_version_by_name_or_by_both() {
        let (standings, _) = database(&[]);
        for name in ["2", "two", "2_two"] {
            assert_eq!(plan_up(&standings, Some(name), false).unwrap(), ["1", "2"]);
        }
        let refused = plan_up(&standings, Some("zwei"), false).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "there is no migration `zwei`; there are 1_one, 2_two, 3_three"
        );
    }

    #[test]
    fn a_pending_migration_older_than_an_applied_one_needs_permission() {
        let (standings, _) = database(&["1", "3"]);
        assert_eq!(
            plan_up(&standings, None, false),
            Err(Refusal::OutOfOrder(vec!["2_two".into()]))
        );
        assert_eq!(plan_up(&standings, None, true).unwrap(), ["2"]);
        // Nothing of that kind is asked for.
        assert_eq!(plan_up(&standings, Some("1"), false).unwrap(), [""; 0]);
    }

    #[test]
    fn the_last_one_applied_is_undone_first_and_not_the_one_with_the_greatest_version() {
        let (standings, log) = database(&["1", "3", "2"]);
        let plan = |undo| plan_down(&standings, &log, &undo).unwrap();
        assert_eq!(plan(Undo::Steps(1)), ["2"]);
        assert_eq!(plan(Undo::Steps(9)), ["2", "3", "1"]);
        assert_eq!(plan(Undo::All), ["2", "3", "1"]);
        assert_eq!(plan(Undo::To("one".into())), ["2", "3"]);
        assert_eq!(plan(Undo::To("2".into())), [""; 0]);
    }

    #[test]
    fn nobody_goes_back_to_where_the_database_never_was() {
        let (standings, log) = database(&["1"]);
        assert_eq!(
            plan_down(&standings, &log, &Undo::To("2".into())),
            Err(Refusal::NotApplied("2_two".into()))
        );
    }
}
