//! The migration state of a database, and which migrations to apply or revert.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::objects::Difference;
use crate::domain::named::named;

/// A migration of this program.
#[derive(Clone, Debug)]
pub struct KnownMigration {
    pub version: &'static str,
    pub name: &'static str,
    /// Checksum of its `up.sql`.
    pub checksum: String,
    /// Checksum of its `down.sql`.
    pub down_checksum: String,
}

named! {
    Direction, "direction" {
        Up = "up",
        Down = "down",
    }
}

impl Direction {
    pub fn participle(self) -> &'static str {
        match self {
            Direction::Up => "applied",
            Direction::Down => "reverted",
        }
    }

    /// The command that runs migrations in this direction.
    pub fn command(self) -> &'static str {
        match self {
            Direction::Up => "usagectl migrate",
            Direction::Down => "usagectl rollback",
        }
    }
}

/// A row of the log.
#[derive(Clone, Debug)]
pub struct LoggedStep {
    /// Up, down, adopt or restore.
    pub action: String,
    /// Whether the step is done, not only started.
    pub is_done: bool,
    /// Of `step_count`, from 1.
    pub step: i32,
    pub step_count: i32,
    /// Of its migration, with the duration of this step.
    pub entry: LogEntry,
    /// Checksum of the `down.sql`.
    pub down_checksum: String,
    /// Of a restore its folder, of a rollback its command.
    pub detail: Option<String>,
}

/// The step of the rows that mark the beginning and the end of a rollback.
pub const WHOLE_ROLLBACK: i32 = 0;

impl LoggedStep {
    /// Whether it marks the beginning or the end of a rollback.
    pub fn is_whole_rollback(&self) -> bool {
        self.action == "down" && self.step == WHOLE_ROLLBACK
    }

    /// Whether it completes its migration.
    pub fn is_last(&self) -> bool {
        self.is_done && self.step == self.step_count
    }
}

/// How far a migration has got whose last run did not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub direction: Direction,
    /// The first unfinished step, from 1.
    pub step: i32,
    pub step_count: i32,
    /// Of the script that was run.
    pub checksum: String,
}

impl Progress {
    /// The steps that are done.
    pub fn done(&self) -> usize {
        usize::try_from(self.step - 1).unwrap_or(0)
    }
}

/// The completed applications in the log, oldest first.
pub fn applications(log: &[LoggedStep]) -> Vec<LogEntry> {
    let mut found = Vec::new();
    let mut duration_ms = BTreeMap::new();
    for row in log {
        let sum = duration_ms.entry(row.entry.version.as_str()).or_insert(0);
        *sum += row.entry.duration_ms;
        if row.is_last() {
            let duration_ms = std::mem::take(sum);
            if matches!(row.action.as_str(), "up" | "adopt") {
                let entry = row.entry.clone();
                found.push(LogEntry {
                    duration_ms,
                    ..entry
                });
            }
        }
    }
    found
}

/// The progress of each migration that is partly applied or reverted, by version.
pub fn progress(log: &[LoggedStep]) -> BTreeMap<String, Progress> {
    let mut found = BTreeMap::new();
    for row in log {
        let version = &row.entry.version;
        let (direction, checksum) = match row.action.as_str() {
            "up" if !row.is_last() => (Direction::Up, &row.entry.checksum),
            "down" if !row.is_last() => (Direction::Down, &row.down_checksum),
            "up" | "down" | "adopt" => {
                found.remove(version);
                continue;
            }
            _ => continue,
        };
        let progress = Progress {
            direction,
            step: row.step + i32::from(row.is_done),
            step_count: row.step_count,
            checksum: checksum.clone(),
        };
        found.insert(version.clone(), progress);
    }
    found
}

/// The command of the last rollback that did not end, unless a migration was applied since, and the number of migrations
/// that it has reverted.
pub fn interrupted_rollback(log: &[LoggedStep]) -> Option<(&str, usize)> {
    let mut found: Option<(&str, usize)> = None;
    for row in log {
        match row.action.as_str() {
            "down" if row.is_whole_rollback() => {
                let command = row.detail.as_deref().filter(|_| !row.is_done);
                let before = found.map_or(0, |(_, reverted)| reverted);
                found = command.map(|command| (command, before));
            }
            "down" => found = found.map(|(it, before)| (it, before + usize::from(row.is_last()))),
            "up" | "adopt" => found = None,
            _ => {}
        }
    }
    found
}

/// The restores that were started and neither completed nor reverted: migration and folder, the last one last.
pub fn interrupted_restores(log: &[LoggedStep]) -> Vec<(&str, &str)> {
    let mut started: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (position, row) in log.iter().enumerate() {
        let version = row.entry.version.as_str();
        match row.action.as_str() {
            "restore" if !row.is_done => {
                let folder = row.detail.as_deref().unwrap_or_default();
                started.insert(version, (position, folder));
            }
            "restore" | "down" => {
                started.remove(version);
            }
            _ => {}
        }
    }
    let mut found: Vec<_> = started.into_iter().collect();
    found.sort_by_key(|(_, (position, _))| *position);
    let found = found.into_iter();
    found
        .map(|(version, (_, folder))| (version, folder))
        .collect()
}

/// That a restore is not complete.
pub fn restore_message(folder: &str) -> String {
    format!("the restore of {folder} is not complete")
}

/// The log's record of a migration being applied.
#[derive(Clone, Debug)]
pub struct LogEntry {
    pub version: String,
    pub name: String,
    /// Checksum of the `up.sql` that was run.
    pub checksum: String,
    pub at: DateTime<Utc>,
    pub duration_ms: i64,
    pub by: String,
    /// The version of usagectl that applied it.
    pub tool_version: String,
}

named! {
    MigrationState, "migration state" {
        Applied = "applied",
        Pending = "pending",
        /// Not in the ledger, but its objects exist, or some of them: adoption records it.
        Unadopted = "unadopted",
        /// Applied, but the log has no record of it.
        Unlogged = "unlogged",
        /// Applied, but this program has another text under its version.
        Modified = "modified",
        /// Applied, but not a migration of this program.
        Unknown = "unknown",
        /// Some of its steps are applied or reverted.
        Partial = "partial",
    }
}

/// One migration and its state in the database.
#[derive(Clone, Debug)]
pub struct MigrationStatus {
    pub version: String,
    /// Nothing if neither this program nor the log knows it.
    pub name: Option<String>,
    pub state: MigrationState,
    /// When it was applied.
    pub applied_at: Option<DateTime<Utc>>,
    /// Nothing if another tool applied it.
    pub logged: Option<LogEntry>,
    /// Of a partial migration.
    pub progress: Option<Progress>,
}

impl MigrationStatus {
    /// Its folder's name: version and name.
    pub fn full_name(&self) -> String {
        match &self.name {
            Some(name) => format!("{}_{name}", self.version),
            None => self.version.clone(),
        }
    }

    /// Whether it is in the ledger: its last step adds and removes it.
    pub fn is_applied(&self) -> bool {
        self.applied_at.is_some()
    }

    /// The direction of a partial migration.
    pub fn partial(&self) -> Option<Direction> {
        self.progress.as_ref().map(|progress| progress.direction)
    }

    /// Whether `given` is its version, its name, or both.
    fn is_named(&self, given: &str) -> bool {
        given == self.version || Some(given) == self.name.as_deref() || given == self.full_name()
    }
}

/// The rows of the ledger that another program wrote, which uses Diesel and its table too.
///
/// A newer version of this program logs its migrations. An unknown version without a record is nevertheless taken for one
/// of them, whose record may be lost, unless the ledger has one that this program cannot have written: earlier than
/// all of its migrations, by version or by time.
pub fn of_other_programs(
    known: &[&str],
    ledger: &[(String, DateTime<Utc>)],
    is_logged: impl Fn(&str) -> bool,
) -> BTreeSet<String> {
    let is_known = |version: &str| known.contains(&version);
    let own = ledger.iter().filter(|(version, _)| is_known(version));
    let since = own.map(|(_, at)| *at).min();
    let strange = ledger.iter();
    let strange: Vec<_> = strange
        .filter(|(version, _)| !is_known(version) && !is_logged(version))
        .collect();
    let is_evidence = |(version, at): &&(String, DateTime<Utc>)| {
        let first = known.first().copied().unwrap_or_default();
        version.as_str() < first || since.is_none_or(|since| *at < since)
    };
    match strange.iter().any(is_evidence) {
        true => strange.into_iter().map(|it| it.0.clone()).collect(),
        false => BTreeSet::new(),
    }
}

/// Compares this program's migrations with the ledger (`applied`) and the log: its completed applications,
/// oldest first, and its unfinished runs. The result is ordered by version.
pub fn statuses(
    known: &[KnownMigration],
    applied: &[(String, DateTime<Utc>)],
    log: &[LogEntry],
    progress: &BTreeMap<String, Progress>,
) -> Vec<MigrationStatus> {
    // A run can continue only with the script that it began with.
    let partial = |known: &KnownMigration| {
        let progress = progress.get(known.version)?.clone();
        let checksum = match progress.direction {
            Direction::Up => &known.checksum,
            Direction::Down => &known.down_checksum,
        };
        Some(if progress.checksum == *checksum {
            (MigrationState::Partial, Some(progress))
        } else {
            (MigrationState::Modified, None)
        })
    };
    let versions = known.iter().map(|known| known.version);
    let versions: BTreeSet<&str> = versions
        .chain(applied.iter().map(|(version, _)| version.as_str()))
        .collect();
    let status = |version: &str| {
        let known = known.iter().find(|known| known.version == version);
        let recorded = applied.iter().find(|(it, _)| it == version);
        let logged = recorded.and_then(|_| log.iter().rfind(|entry| entry.version == version));
        let (state, progress) = match (known, logged) {
            (None, _) => (MigrationState::Unknown, None),
            (Some(known), Some(entry)) if entry.checksum != known.checksum => {
                (MigrationState::Modified, None)
            }
            (Some(known), _) => partial(known).unwrap_or((
                match (recorded, logged) {
                    (None, _) => MigrationState::Pending,
                    (Some(_), Some(_)) => MigrationState::Applied,
                    (Some(_), None) => MigrationState::Unlogged,
                },
                None,
            )),
        };
        let name = known.map(|known| known.name);
        let name = name.or(logged.map(|entry| entry.name.as_str()));
        MigrationStatus {
            version: version.to_owned(),
            name: name.map(str::to_owned),
            state,
            applied_at: recorded.map(|(_, at)| logged.map_or(*at, |entry| entry.at)),
            logged: logged.cloned(),
            progress,
        }
    };
    versions.into_iter().map(status).collect()
}

/// Whether a newer version of this program migrated the database: all of this program's migrations are applied,
/// and the unknown ones are later.
pub fn is_newer(statuses: &[MigrationStatus]) -> bool {
    let is_unknown = |status: &MigrationStatus| status.state == MigrationState::Unknown;
    let known = statuses.iter().take_while(|status| !is_unknown(status));
    let known = known.filter(|status| status.is_applied()).count();
    let unknown = statuses
        .iter()
        .rev()
        .take_while(|status| is_unknown(status));
    let unknown = unknown.count();
    unknown > 0 && known + unknown == statuses.len()
}

/// How a command uses a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Read,
    /// Inserts rows into `api_usage` only.
    Record,
    /// Writes roll-ups, states and settings.
    Change,
}

/// Whether a command may use a database that a newer version has migrated, given its differences from this
/// program's schema.
pub fn may_use_newer(how: Use, differences: &[Difference]) -> bool {
    match how {
        Use::Read => differences.is_empty(),
        Use::Record => differences.iter().all(|it| !it.is_of("api_usage")),
        // What a newer version keeps consistent is unknown.
        Use::Change => false,
    }
}

/// The last applied migration and the partial ones, for a message.
pub fn summary(statuses: &[MigrationStatus]) -> String {
    let is_complete = |status: &&MigrationStatus| status.is_applied() && status.progress.is_none();
    let mut text = match statuses.iter().rfind(is_complete) {
        Some(last) => format!("{} is applied", last.full_name()),
        None => "no migration is applied".to_owned(),
    };
    for status in statuses {
        if let Some(progress) = &status.progress {
            let (name, done) = (status.full_name(), progress.direction.participle());
            let (step, count) = (progress.step, progress.step_count);
            text += &format!(", {name} is partly {done}, at step {step} of {count}");
        }
    }
    text
}

/// Why no migration is applied or reverted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("unknown migration `{given}`; expected one of {}", known.join(", "))]
    NoSuchMigration { given: String, known: Vec<String> },
    /// The migration to roll back to.
    #[error("cannot roll back to {0}: it is not applied")]
    NotApplied(String),
    #[error("applied migrations differ from this program's: {}", .0.join(", "))]
    Untrustworthy(Vec<String>),
    #[error("{migration} is partly {}", direction.participle())]
    Partial {
        migration: String,
        direction: Direction,
    },
    #[error("objects that a pending migration would create already exist: {}", .0.join(", "))]
    AlreadyExists(Vec<String>),
    #[error("pending migrations are older than an applied one: {}", .0.join(", "))]
    OutOfOrder(Vec<String>),
}

/// Which migrations to revert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RollbackTarget {
    Steps(usize),
    /// Those applied after this one.
    To(String),
    All,
}

/// The versions to apply, in order: all pending ones, or those up to `to`.
pub fn plan_up(
    statuses: &[MigrationStatus],
    to: Option<&str>,
    allow_out_of_order: bool,
) -> Result<Vec<String>, PlanError> {
    check_trust(statuses, Direction::Up)?;
    let last = match to {
        Some(given) => Some(&find(statuses, given)?.version),
        None => None,
    };
    let planned: Vec<&MigrationStatus> = statuses
        .iter()
        .filter(|status| !status.is_applied() && last.is_none_or(|last| status.version <= *last))
        .collect();
    let newest_applied = statuses.iter().rfind(|status| status.is_applied());
    let late: Vec<String> = planned
        .iter()
        .filter(|planned| newest_applied.is_some_and(|newest| planned.version < newest.version))
        .map(|planned| planned.full_name())
        .collect();
    if !late.is_empty() && !allow_out_of_order {
        return Err(PlanError::OutOfOrder(late));
    }
    Ok(planned.iter().map(|s| s.version.clone()).collect())
}

/// The versions to revert, the newest first: a later migration may change the tables of an earlier one, which may
/// have been applied or adopted after it.
pub fn plan_down(
    statuses: &[MigrationStatus],
    target: &RollbackTarget,
) -> Result<Vec<String>, PlanError> {
    check_trust(statuses, Direction::Down)?;
    let applied = statuses.iter().rev().filter(|it| it.is_applied());
    let mut applied: Vec<&MigrationStatus> = applied.collect();
    // A run that was interrupted is finished first.
    applied.sort_by_key(|status| status.partial().is_none());
    let count = match target {
        RollbackTarget::Steps(steps) => *steps,
        RollbackTarget::All => applied.len(),
        RollbackTarget::To(given) => {
            let kept = find(statuses, given)?;
            applied
                .iter()
                .position(|status| status.version == kept.version)
                .ok_or_else(|| PlanError::NotApplied(kept.full_name()))?
        }
    };
    let reverted = applied.iter().take(count);
    Ok(reverted.map(|status| status.version.clone()).collect())
}

/// Refuses edited and unknown migrations, and those partly run in the other direction.
fn check_trust(statuses: &[MigrationStatus], direction: Direction) -> Result<(), PlanError> {
    use MigrationState::{Modified, Unknown};
    let untrusted = statuses
        .iter()
        .filter(|it| matches!(it.state, Modified | Unknown));
    let untrusted: Vec<String> = untrusted
        .map(|status| format!("{} ({})", status.full_name(), status.state))
        .collect();
    if !untrusted.is_empty() {
        return Err(PlanError::Untrustworthy(untrusted));
    }
    for status in statuses {
        if let Some(partial) = status.partial().filter(|partial| *partial != direction) {
            return Err(PlanError::Partial {
                migration: status.full_name(),
                direction: partial,
            });
        }
    }
    Ok(())
}

fn find<'a>(
    statuses: &'a [MigrationStatus],
    given: &str,
) -> Result<&'a MigrationStatus, PlanError> {
    statuses
        .iter()
        .find(|status| status.is_named(given))
        .ok_or_else(|| PlanError::NoSuchMigration {
            given: given.to_owned(),
            known: statuses.iter().map(MigrationStatus::full_name).collect(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_another_program_are_recognised_by_version_or_time() {
        let others = |rows: &[(&str, i64)], logged: &[&str]| {
            let at = |seconds: i64| DateTime::from_timestamp(seconds, 0).unwrap();
            let rows: Vec<_> = rows
                .iter()
                .map(|(it, s)| ((*it).to_owned(), at(*s)))
                .collect();
            let found = of_other_programs(&["2", "4"], &rows, |it| logged.contains(&it));
            found.into_iter().collect::<Vec<String>>().join(" ")
        };
        assert_eq!(others(&[("2", 1), ("4", 2)], &["2", "4"]), "");
        // A newer version, with and without its record.
        assert_eq!(
            others(&[("2", 1), ("4", 2), ("5", 3)], &["2", "4", "5"]),
            ""
        );
        assert_eq!(others(&[("2", 1), ("4", 2), ("5", 3)], &["2", "4"]), "");
        assert_eq!(others(&[("2", 1), ("3", 3), ("4", 2)], &["2", "4"]), "");
        assert_eq!(others(&[("1", 5), ("2", 1), ("4", 2)], &["2", "4"]), "1");
        assert_eq!(others(&[("2", 1), ("4", 2), ("5", 0)], &["2", "4"]), "5");
        assert_eq!(others(&[("1", 0), ("3", 3), ("4", 1)], &["4"]), "1 3");
        assert_eq!(others(&[("1", 0), ("5", 3), ("6", 3)], &["6"]), "1 5");
        assert_eq!(others(&[("5", 3)], &[]), "5");
        assert_eq!(others(&[("5", 3)], &["5"]), "");
    }

    fn known() -> [KnownMigration; 3] {
        [("1", "one"), ("2", "two"), ("3", "three")].map(|(version, name)| KnownMigration {
            version,
            name,
            checksum: "same".to_owned(),
            down_checksum: "down".to_owned(),
        })
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn logged(version: &str, checksum: &str) -> LogEntry {
        LogEntry {
            version: version.to_owned(),
            name: "logged".to_owned(),
            checksum: checksum.to_owned(),
            at: at(5),
            duration_ms: 1,
            by: "me".to_owned(),
            tool_version: "0".to_owned(),
        }
    }

    /// A database in which these versions were applied.
    fn database(versions: &[&str]) -> Vec<MigrationStatus> {
        let log: Vec<LogEntry> = versions.iter().map(|v| logged(v, "same")).collect();
        let mut applied: Vec<_> = versions.iter().map(|v| ((*v).to_owned(), at(9))).collect();
        applied.sort();
        statuses(&known(), &applied, &log, &BTreeMap::new())
    }

    #[test]
    fn edited_or_unknown_migration_stops_every_plan() {
        let applied = [("1".to_owned(), at(1)), ("9".to_owned(), at(2))];
        let log = [logged("1", "other")];
        let statuses = statuses(&known(), &applied, &log, &BTreeMap::new());
        let states = statuses
            .iter()
            .map(|it| format!("{} {}", it.full_name(), it.state));
        let expected = "1_one modified, 2_two pending, 3_three pending, 9 unknown";
        assert_eq!(states.collect::<Vec<_>>().join(", "), expected);
        let refused =
            PlanError::Untrustworthy(vec!["1_one (modified)".into(), "9 (unknown)".into()]);
        assert_eq!(plan_up(&statuses, None, true), Err(refused.clone()));
        let down = plan_down(&statuses, &RollbackTarget::Steps(1));
        assert_eq!(down, Err(refused));
    }

    #[test]
    fn migration_without_log_entry_is_unlogged_and_has_time_of_ledger() {
        let applied = [("1".to_owned(), at(7))];
        let statuses = statuses(&known(), &applied, &[], &BTreeMap::new());
        assert_eq!(statuses[0].state, MigrationState::Unlogged);
        assert_eq!(statuses[0].applied_at, Some(at(7)));
    }

    #[test]
    fn only_later_unknown_migrations_are_those_of_a_newer_version() {
        let is_newer = |versions: &[&str]| is_newer(&database(versions));
        assert!(is_newer(&["1", "2", "3", "4"]));
        assert!(!is_newer(&["1", "2", "3"]));
        assert!(!is_newer(&["1", "2", "3", "25"]));
        assert!(!is_newer(&["1", "2", "4"]));
    }

    #[test]
    fn newer_database_is_read_and_recorded_into_while_its_tables_are_known() {
        let uses = |objects: &[&str]| {
            let differences = objects.iter().map(|what| Difference::missing(what));
            let differences: Vec<Difference> = differences.collect();
            [Use::Read, Use::Record, Use::Change].map(|how| may_use_newer(how, &differences))
        };
        assert_eq!(uses(&[]), [true, true, false]);
        assert_eq!(uses(&["column api_alerts.period"]), [false, true, false]);
        for of_usage in [
            "column api_usage.method",
            "table api_usage",
            "trigger api_usage.usagectl_after_insert",
        ] {
            assert_eq!(uses(&[of_usage]), [false; 3], "{of_usage}");
        }
    }

    #[test]
    fn migration_is_named_by_version_or_name() {
        let statuses = database(&[]);
        for name in ["2", "two", "2_two"] {
            assert_eq!(plan_up(&statuses, Some(name), false).unwrap(), ["1", "2"]);
        }
        let refused = plan_up(&statuses, Some("zwei"), false).unwrap_err();
        let message = "unknown migration `zwei`; expected one of 1_one, 2_two, 3_three";
        assert_eq!(refused.to_string(), message);
    }

    #[test]
    fn out_of_order_migration_requires_permission() {
        let statuses = database(&["1", "3"]);
        let refused = PlanError::OutOfOrder(vec!["2_two".into()]);
        assert_eq!(plan_up(&statuses, None, false), Err(refused));
        assert_eq!(plan_up(&statuses, None, true).unwrap(), ["2"]);
        // The late migration is not part of this plan.
        assert_eq!(plan_up(&statuses, Some("1"), false).unwrap(), [""; 0]);
    }

    #[test]
    fn newest_migration_is_reverted_first() {
        let statuses = database(&["1", "3", "2"]);
        let plan = |target| plan_down(&statuses, &target).unwrap();
        assert_eq!(plan(RollbackTarget::Steps(1)), ["3"]);
        assert_eq!(plan(RollbackTarget::Steps(9)), ["3", "2", "1"]);
        assert_eq!(plan(RollbackTarget::All), ["3", "2", "1"]);
        assert_eq!(plan(RollbackTarget::To("one".into())), ["3", "2"]);
        assert_eq!(plan(RollbackTarget::To("2".into())), ["3"]);
    }

    #[test]
    fn rollback_to_pending_migration_is_refused() {
        let statuses = database(&["1"]);
        let down = plan_down(&statuses, &RollbackTarget::To("2".into()));
        assert_eq!(down, Err(PlanError::NotApplied("2_two".into())));
    }

    /// A log row: action and version, step of three, done or only started.
    fn step(action: &str, version: &str, step: i32, is_done: bool) -> LoggedStep {
        LoggedStep {
            action: action.to_owned(),
            is_done,
            step,
            step_count: 3,
            entry: logged(version, "same"),
            down_checksum: "down".to_owned(),
            detail: Some(format!("export-{version}")),
        }
    }

    #[test]
    fn restore_is_interrupted_until_it_is_completed_or_reverted() {
        let interrupted_restore = |log: &[LoggedStep]| {
            let found = interrupted_restores(log);
            found.last().map(|(_, folder)| (*folder).to_owned())
        };
        let mut log = vec![step("restore", "1", 1, true)];
        assert_eq!(interrupted_restore(&log), None);
        log.push(step("restore", "1", 1, false));
        log.push(step("restore", "2", 1, false));
        log.push(step("up", "2", 3, true));
        assert_eq!(interrupted_restore(&log).as_deref(), Some("export-2"));
        log.push(step("down", "2", 1, true));
        assert_eq!(interrupted_restore(&log).as_deref(), Some("export-1"));
        log.push(step("restore", "1", 1, true));
        assert_eq!(interrupted_restore(&log), None);
    }

    #[test]
    fn rollback_is_interrupted_until_it_ends_or_a_migration_is_applied() {
        let mut log = vec![step("down", "2", 0, false)];
        assert_eq!(interrupted_rollback(&log), Some(("export-2", 0)));
        log.push(step("down", "2", 3, true));
        assert_eq!(interrupted_rollback(&log), Some(("export-2", 1)));
        // The second attempt goes on.
        log.push(step("down", "2", 0, false));
        log.push(step("down", "1", 1, true));
        assert_eq!(interrupted_rollback(&log), Some(("export-2", 1)));
        let mut applied = log.clone();
        applied.push(step("up", "2", 1, true));
        assert_eq!(interrupted_rollback(&applied), None);
        log.push(step("down", "1", 0, true));
        assert_eq!(interrupted_rollback(&log), None);
    }

    #[test]
    fn application_is_complete_with_its_last_step() {
        let mut log = vec![
            step("up", "1", 1, true),
            step("up", "1", 2, false),
            step("up", "1", 2, true),
        ];
        assert_eq!(applications(&log).len(), 0);
        log.push(step("up", "1", 3, true));
        log.extend([1, 2, 3].map(|number| step("down", "1", number, true)));
        let found = applications(&log);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].duration_ms, 4);
        assert_eq!(progress(&log), BTreeMap::new());
    }

    #[test]
    fn progress_is_the_first_unfinished_step() {
        let at = |log: &[LoggedStep]| {
            let found = progress(log);
            found.get("1").map(|it| (it.direction, it.step, it.done()))
        };
        let mut log = vec![step("up", "1", 1, true)];
        assert_eq!(at(&log), Some((Direction::Up, 2, 1)));
        log.push(step("up", "1", 2, false));
        assert_eq!(at(&log), Some((Direction::Up, 2, 1)));
        log.extend([step("up", "1", 3, true), step("down", "1", 1, true)]);
        assert_eq!(at(&log), Some((Direction::Down, 2, 1)));
    }

    #[test]
    fn partial_migration_continues_in_its_direction_only() {
        let partly = |action, applied: &[(String, DateTime<Utc>)]| {
            let log = [step(action, "1", 1, true)];
            statuses(&known(), applied, &[], &progress(&log))
        };
        let up = partly("up", &[]);
        assert_eq!(up[0].state, MigrationState::Partial);
        assert_eq!(plan_up(&up, Some("1"), false).unwrap(), ["1"]);
        let refused = plan_down(&up, &RollbackTarget::Steps(1)).unwrap_err();
        assert_eq!(refused.to_string(), "1_one is partly applied");
        let expected = "no migration is applied, 1_one is partly applied, at step 2 of 3";
        assert_eq!(summary(&up), expected);

        let applied = [("1".to_owned(), at(1)), ("2".to_owned(), at(1))];
        let down = partly("down", &applied);
        assert_eq!(down[0].state, MigrationState::Partial);
        // Before the one that was applied later.
        let plan = plan_down(&down, &RollbackTarget::Steps(1)).unwrap();
        assert_eq!(plan, ["1"]);
        let refused = plan_up(&down, None, false).unwrap_err();
        assert_eq!(refused.to_string(), "1_one is partly reverted");
        let expected = "2_two is applied, 1_one is partly reverted, at step 2 of 3";
        assert_eq!(summary(&down), expected);
    }

    #[test]
    fn partial_run_of_another_script_is_modified() {
        let mut log = [step("down", "1", 1, true)];
        log[0].down_checksum = "other".to_owned();
        let applied = [("1".to_owned(), at(1))];
        let found = statuses(&known(), &applied, &[], &progress(&log));
        assert_eq!(found[0].state, MigrationState::Modified);
    }
}
