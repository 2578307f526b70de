//! Where a database stands among the migrations, and which of them to apply or to undo.

use chrono::{DateTime, Utc};

use super::catalogue::{Catalogue, Effect, Object};

/// A migration as this program has it.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The stamp that orders migrations.
    pub version: &'a str,
    /// What it does.
    pub name: &'a str,
    /// Checksum of the text that applies it.
    pub checksum: &'a str,
}

/// What the log says about the last time a migration was applied.
#[derive(Clone, Debug)]
pub struct Done {
    /// The migration.
    pub version: String,
    /// Its name then.
    pub name: String,
    /// Checksum of the text that was run.
    pub checksum: String,
    /// When.
    pub at: DateTime<Utc>,
    /// How long its SQL took.
    pub duration_ms: i64,
    /// Who did it.
    pub by: String,
    /// With which version of this program.
    pub tool_version: String,
}

/// What is the matter with a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In the database.
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
    #[must_use]
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
    #[must_use]
    pub fn full_name(&self) -> String {
        match &self.name {
            Some(name) => format!("{}_{name}", self.version),
            None => self.version.clone(),
        }
    }

    /// Whether the database has it.
    #[must_use]
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
#[must_use]
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

/// A migration to be applied or undone, and what that does to the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The stamp that orders migrations.
    pub version: String,
    /// What it does.
    pub name: String,
    /// What is dropped and created.
    pub changes: Vec<Change>,
}

/// One object that a step drops or creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Dropped, not created.
    pub drops: bool,
    /// The object, as `domain::catalogue` names it.
    pub what: String,
    /// What goes with it.
    pub loss: Option<Loss>,
}

/// What is lost with a table or a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The rows of the table; or the values of the column that are neither null nor its default.
    pub lost: i64,
    /// The rows of the table.
    pub of: i64,
    /// The next `migrate` makes the content again, so nothing is lost for good.
    pub made_again: bool,
}

impl Step {
    /// The step that has this effect. What belongs to a table that comes or goes as a whole is not
    /// named beside it; what is dropped comes first.
    #[must_use]
    pub fn new(version: &str, name: &str, effect: &Effect) -> Step {
        let change = |drops: bool, object: &Object| Change {
            drops,
            what: object.what.clone(),
            loss: None,
        };
        let tables = |effect: &Effect| -> Vec<Object> {
            let tables = effect.added.iter();
            tables
                .filter(|object| object.parts().0 == "table")
                .cloned()
                .collect()
        };
        let undone = effect.clone().reversed();
        let mut changes = Vec::new();
        changes.extend(tables(&undone).iter().map(|object| change(true, object)));
        changes.extend(undone.beside_tables().map(|object| change(true, object)));
        changes.extend(tables(effect).iter().map(|object| change(false, object)));
        changes.extend(effect.beside_tables().map(|object| change(false, object)));
        Step {
            version: version.to_owned(),
            name: name.to_owned(),
            changes,
        }
    }

    /// Version and name, as its folder spells them.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}_{}", self.version, self.name)
    }

    /// Whether something is lost for good.
    #[must_use]
    pub fn loses(&self) -> bool {
        self.losses()
            .any(|(_, loss)| loss.lost > 0 && !loss.made_again)
    }

    /// The objects with which something goes.
    pub fn losses(&self) -> impl Iterator<Item = (&str, Loss)> {
        self.changes
            .iter()
            .filter_map(|change| Some((change.what.as_str(), change.loss?)))
    }

    /// The first object with which more would go than the user was shown.
    #[must_use]
    pub fn exceeds(&self, shown: &Step) -> Option<&str> {
        let was_shown = |what: &str| {
            let found = shown.losses().find(|(shown, _)| *shown == what);
            found.map_or(0, |(_, loss)| loss.lost)
        };
        self.losses()
            .find(|(what, loss)| !loss.made_again && loss.lost > was_shown(what))
            .map(|(what, _)| what)
    }
}

/// Why nothing is applied or undone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The user named a migration that does not exist.
    #[error("there is no migration `{given}`; there are {}", known.join(", "))]
    NoSuchMigration {
        /// What was given.
        given: String,
        /// The names of all.
        known: Vec<String>,
    },
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
    /// After so many.
    Steps(usize),
    /// Before this one, which stays.
    To(String),
    /// When nothing is left.
    All,
}

/// The versions to apply, in their order: all that are pending, or those up to `to`.
///
/// # Errors
///
/// [`Refusal`].
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
///
/// # Errors
///
/// [`Refusal`].
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

/// Refuses to apply migrations to a database in which some of what they would make is there already.
///
/// Indexes do not count: under whatever name, an operator may have one that a migration is going to make.
///
/// # Errors
///
/// [`Refusal::AlreadyThere`].
pub fn check_absent<'a>(
    effects: impl IntoIterator<Item = &'a Effect>,
    found: &Catalogue,
) -> Result<(), Refusal> {
    let mut there: Vec<String> = Vec::new();
    for effect in effects {
        let added = effect.added.iter().filter(|object| {
            let made_otherwise = effect.removed.iter().any(|old| old.what == object.what);
            let (kind, name) = object.parts();
            // The columns of a table that is there need not be named one by one.
            let in_a_new_table = kind == "column"
                && effect
                    .tables()
                    .any(|table| name.split('.').next() == Some(table));
            !matches!(kind, "index" | "unique") && !made_otherwise && !in_a_new_table
        });
        there.extend(
            added
                .filter(|object| found.get(&object.what).is_some())
                .map(|object| object.what.clone()),
        );
    }
    if there.is_empty() {
        Ok(())
    } else {
        Err(Refusal::AlreadyThere(there))
    }
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

    fn lossy(what: &str, lost: i64, made_again: bool) -> Step {
        let mut step = Step::new("1", "one", &Effect::parse(&format!("- {what}")));
        step.changes[0].loss = Some(Loss {
            lost,
            of: 9,
            made_again,
        });
        step
    }

    #[test]
    fn a_step_names_tables_first_and_not_what_belongs_to_them() {
        let effect =
            Effect::parse("+ column a.x: text\n+ enum e: P, Q\n+ table a\n- index b (y)\n");
        let said = |effect: &Effect| -> Vec<String> {
            let step = Step::new("1", "one", effect);
            step.changes
                .iter()
                .map(|change| {
                    format!(
                        "{} {}",
                        if change.drops { "drop" } else { "create" },
                        change.what
                    )
                })
                .collect()
        };
        assert_eq!(
            said(&effect),
            ["drop index b (y)", "create table a", "create enum e"]
        );
        assert_eq!(
            said(&effect.reversed()),
            ["drop table a", "drop enum e", "create index b (y)"]
        );
    }

    #[test]
    fn only_what_cannot_be_made_again_is_lost() {
        assert!(lossy("table t", 1, false).loses());
        assert!(!lossy("table t", 0, false).loses());
        assert!(!lossy("table t", 1, true).loses());
    }

    #[test]
    fn a_loss_that_grew_since_it_was_shown_is_noticed() {
        let shown = lossy("table t", 3, false);
        assert_eq!(lossy("table t", 3, false).exceeds(&shown), None);
        assert_eq!(lossy("table t", 2, false).exceeds(&shown), None);
        assert_eq!(lossy("table t", 4, false).exceeds(&shown), Some("table t"));
        assert_eq!(lossy("table u", 1, false).exceeds(&shown), Some("table u"));
    }

    #[test]
    fn a_database_that_has_some_of_it_already_is_left_alone() {
        let effect =
            Effect::parse("+ table t\n+ column t.x: text\n+ column old.y: text\n+ index old (y)\n");
        let found = |lines: &[&str]| -> Catalogue {
            lines
                .iter()
                .map(|what| ((*what).to_owned(), String::new()))
                .collect()
        };
        assert_eq!(
            check_absent([&effect], &found(&["table old", "index old (y)"])),
            Ok(())
        );
        assert_eq!(
            check_absent(
                [&effect],
                &found(&["table t", "column t.x", "column old.y"])
            ),
            Err(Refusal::AlreadyThere(vec![
                "table t".into(),
                "column old.y".into()
            ]))
        );
    }
}
