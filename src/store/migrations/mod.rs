//! The migrations: their list, the ledger and log, and running them.
//!
//! The ledger is Diesel's own and its rows are written by Diesel's harness, so `diesel_cli` can list our migrations.
//! The statements are run here: the harness has no steps, and `embed_migrations!` hides the SQL, which checksums,
//! `--sql` and `--dry-run` need.
//!
//! ```text
//! mod     the list of migrations with their scripts for both engines
//! ledger  Diesel's ledger and our log: the applied migrations, their time and author
//! run     runs a migration up or down, step by step, with its ledger and log rows
//! indexes reads the indexes that steps create and drop
//! names  finds objects of the user under the names of new ones
//! tables  the parts of a script that depend on the table it replaces
//! estimate  the locks and the duration of the steps of a plan
//! losses  counts the data that a rollback would drop
//! dependents  finds the user's objects that depend on it
//! export  writes that data to files before it is dropped; `archive` is the folder, `rows` the values
//! restore  writes it back
//! script  the statements of `run` as a script for psql or sqlite3
//! owners  the owner of the application's tables
//! adopt   records migrations whose objects exist
//! prisma  Prisma's migration ledger and folder
//! triggers  the triggers that mark changed data, and their repair
//! ```

pub mod adopt;
pub mod archive;
mod dependents;
mod estimate;
mod export;
mod indexes;
mod ledger;
mod losses;
mod names;
mod owners;
pub mod prisma;
mod restore;
pub(super) mod rows;
mod run;
mod script;
mod tables;
mod triggers;

use std::borrow::Cow;
use std::collections::BTreeSet;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Bool, Text};
use sha2::{Digest, Sha256};

use super::db::{Db, OWN_SCHEMA, quote_identifier};
use super::schema_objects;
use super::tuples::LoadTuples;
use super::url::{DatabaseTarget, DatabaseUrl};
use crate::domain::format::hex;
use crate::domain::schema::dialect::Dialect;
use crate::domain::schema::migration;
pub use crate::domain::schema::migration::Direction;
use crate::domain::schema::migration::{KnownMigration, MigrationState, MigrationStatus, Progress};
use crate::domain::schema::objects::{Effect, SchemaObjects};
use crate::domain::schema::plan::PlanStep;
use crate::error::Result;
use crate::fault;

pub use dependents::{mentions, own_indexes, read as dependents, renamed_indexes};
pub use estimate::{estimate, estimate_repairs, planned_steps};
pub use export::{
    Export, ExportOrigin, MigrationExporter, capture_defects, exported_tables, has_capture,
    remove_capture,
};
pub use indexes::{broken_indexes, is_restorable, rebuild_index};
pub use ledger::{ADOPT, Bookkeeping, SchemaError, require_current, restore_command, restore_next};
pub use losses::{
    count_losses, drops_types, first_loss, further_drops, held_data, lock_tables, locked_tables,
};
pub use names::{TakenName, taken_name};
pub use owners::{
    OtherOwner, defects as owner_defects, other_owner, returned as returned_to_owner,
};
pub use restore::{RestoreLog, Target, missing_columns, restore_object, restore_table};
pub use run::{
    Event, Locks, LogContext, Observer, Retry, RollbackLog, TableHolder, Task, blocking_session,
    deadlock_session, run, stop,
};

pub use script::script;
pub use triggers::{TriggerSet, broken_triggers, cover_partitions, drift};

#[derive(Debug, PartialEq, Eq)]
pub struct Migration {
    /// The timestamp that orders migrations and identifies them in the ledger.
    pub version: &'static str,
    pub name: &'static str,
    postgres: Script,
    sqlite: Script,
}

#[derive(Debug, PartialEq, Eq)]
struct Script {
    up: &'static str,
    down: &'static str,
    effect: &'static str,
}

macro_rules! text {
    ($engine:literal, $version:literal, $name:literal, $file:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/migrations/",
            $engine,
            "/",
            $version,
            "_",
            $name,
            "/",
            $file
        ))
    };
}

/// `$file`, if any, is shared by the migrations of an engine and appended to `up.sql`.
macro_rules! script {
    ($engine:literal, $version:literal, $name:literal $(, $file:literal)?) => {
        Script {
            up: concat!(
                text!($engine, $version, $name, "up.sql")
                $(, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/", $engine, "/", $file)))?
            ),
            down: text!($engine, $version, $name, "down.sql"),
            effect: text!($engine, $version, $name, "effect.txt"),
        }
    };
}

macro_rules! migrations {
    ($($version:literal $name:literal $(+ $file:literal)?,)+) => {
        &[$(Migration {
            version: $version,
            name: $name,
            postgres: script!("postgres", $version, $name $(, $file)?),
            sqlite: script!("sqlite", $version, $name $(, $file)?),
        }),+]
    };
}

/// All migrations in order. A test compares the list with the folders.
pub const ALL: &[Migration] = migrations![
    "20260101000000" "create_api_usage",
    "20260123210146" "enhance_api_monitoring",
    "20260124093000" "add_infrastructure_monitoring",
    "20260201000000" "create_usagectl_bookkeeping" + "usage_triggers.sql",
    "20260201000100" "mark_existing_usage",
    "20260202000000" "add_alerting",
    "20260203000000" "add_capacity" + "metric_triggers.sql",
    "20260204000000" "add_drop_reason",
];

impl Migration {
    pub fn find(version: &str) -> Option<&'static Migration> {
        ALL.iter().find(|migration| migration.version == version)
    }

    /// The SQL for the engine that `db` is connected to.
    pub fn sql(&self, db: &Db, direction: Direction) -> Cow<'static, str> {
        let script = self.script(db);
        lf(match direction {
            Direction::Up => script.up,
            Direction::Down => script.down,
        })
    }

    /// The SQL that is run: PostgreSQL builds no index of a partitioned table concurrently, and triggers are left out
    /// where they would miss rows.
    pub fn runnable_sql(
        &self,
        db: &mut Db,
        direction: Direction,
    ) -> QueryResult<Cow<'static, str>> {
        let sql = self.sql(db, direction);
        if sql.contains(CONCURRENTLY) && partitioned_tables(db)?.contains("api_usage") {
            return Ok(sql.replace(CONCURRENTLY, " ").into());
        }
        Ok(match sql.find(FIRST_USAGE_TRIGGER) {
            Some(start) if TriggerSet::Usage.misses_changes(db)? => sql[..start].to_owned().into(),
            _ => sql,
        })
    }

    pub fn effect(&self, db: &Db) -> Effect {
        Effect::parse(&lf(self.script(db).effect))
    }

    /// The checksums of its `up.sql` and `down.sql`.
    fn checksums(&self, db: &Db) -> [String; 2] {
        [Direction::Up, Direction::Down].map(|way| checksum(&self.sql(db, way)))
    }

    /// Its step in a plan; data loss is not counted yet.
    pub fn step(&self, db: &Db, direction: Direction) -> PlanStep {
        let effect = self.effect(db);
        let effect = match direction {
            Direction::Up => effect,
            Direction::Down => effect.reversed(),
        };
        PlanStep::new(self.version, self.name, &effect)
    }

    /// Whether it creates tables of the application, not ours.
    pub fn is_application(&self) -> bool {
        let effect = self.postgres.effect;
        effect.contains("+ table ") && !effect.contains("usagectl_")
    }

    fn script(&self, db: &Db) -> &Script {
        match db {
            Db::Pg(_) => &self.postgres,
            Db::Sqlite(_) => &self.sqlite,
        }
    }
}

/// The triggers of `api_usage` are the end of their migration.
const FIRST_USAGE_TRIGGER: &str = "CREATE TRIGGER usagectl_after_insert ";

/// Only indexes of `api_usage` are built and dropped so.
const CONCURRENTLY: &str = " CONCURRENTLY ";

/// The names of the partitioned tables, which are the application's.
pub fn partitioned_tables(db: &mut Db) -> QueryResult<BTreeSet<String>> {
    let query =
        "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = ANY (current_schemas(false)) AND c.relkind = 'p'";
    let found: Vec<String> = match db {
        Db::Pg(postgres) => postgres.run(|conn| sql_query(query).rows(conn))?,
        Db::Sqlite(_) => Vec::new(),
    };
    Ok(found.into_iter().collect())
}

/// The names of our tables in a SQLite database, where they stand among the application's.
pub fn own_tables() -> Vec<String> {
    let mut all = SchemaObjects::default();
    for migration in ALL {
        all.apply(&Effect::parse(&lf(migration.sqlite.effect)));
    }
    let tables = all
        .objects()
        .filter_map(|(what, _)| what.strip_prefix("table "));
    let own = tables.filter(|name| name.starts_with("usagectl_"));
    let mut names: Vec<String> = own.chain(ledger::TABLES).map(str::to_owned).collect();
    names.sort();
    names
}

pub fn with_versions(versions: &[String]) -> Vec<&'static Migration> {
    versions
        .iter()
        .filter_map(|version| Migration::find(version))
        .collect()
}

#[derive(Debug)]
pub struct Survey {
    /// Every migration, of this program and of the database, in the order of versions.
    pub statuses: Vec<MigrationStatus>,
    pub bookkeeping: Bookkeeping,
}

impl Survey {
    /// The number of its steps that an interrupted run completed.
    pub fn steps_done(&self, migration: &Migration) -> usize {
        self.progress(migration).map_or(0, Progress::done)
    }

    /// The migrations that are pending.
    pub fn pending(&self) -> Vec<&'static Migration> {
        let pending = self.statuses.iter();
        let pending = pending.filter(|status| status.state == MigrationState::Pending);
        pending
            .filter_map(|status| Migration::find(&status.version))
            .collect()
    }

    /// The states after these migrations are applied.
    fn after(&self, plan: &[&Migration]) -> Vec<MigrationStatus> {
        let mut statuses = self.statuses.clone();
        for status in &mut statuses {
            if plan.iter().any(|it| it.version == status.version) {
                status.state = MigrationState::Applied;
                status.applied_at.get_or_insert_default();
            }
        }
        statuses
    }

    /// Whether its last run was interrupted.
    pub fn is_partial(&self, migration: &Migration) -> bool {
        self.progress(migration).is_some()
    }

    fn progress(&self, migration: &Migration) -> Option<&Progress> {
        let mut statuses = self.statuses.iter();
        let status = statuses.find(|status| status.version == migration.version);
        status.and_then(|status| status.progress.as_ref())
    }
}

/// Reads the migration state; writes nothing.
pub fn survey(db: &mut Db) -> QueryResult<Survey> {
    let bookkeeping = Bookkeeping::read(db)?;
    let known = |migration: &Migration| {
        let [checksum, down_checksum] = migration.checksums(db);
        KnownMigration {
            version: migration.version,
            name: migration.name,
            checksum,
            down_checksum,
        }
    };
    let known: Vec<KnownMigration> = ALL.iter().map(known).collect();
    let log = bookkeeping.applications();
    Ok(Survey {
        statuses: migration::statuses(&known, &bookkeeping.applied, &log, &bookkeeping.progress()),
        bookkeeping,
    })
}

/// The objects that the applied migrations have created, by their effects. Those that a partial migration
/// creates or drops may exist or not.
pub fn expected(db: &Db, statuses: &[MigrationStatus]) -> SchemaObjects {
    let mut expected = SchemaObjects::default();
    for status in statuses {
        let Some(migration) = Migration::find(&status.version) else {
            continue;
        };
        let mut effect = migration.effect(db);
        if status.state == MigrationState::Partial {
            effect.added.clear();
        } else if !status.is_applied() {
            continue;
        }
        expected.apply(&effect);
    }
    // A later migration than a pending one has changed tables that do not exist yet.
    expected.remove_parts_without_table();
    expected
}

/// Refuses a database that lacks expected tables; with `restores_own` only if they are the application's.
pub fn require_tables(
    db: &mut Db,
    expected: &SchemaObjects,
    found: &SchemaObjects,
    restores_own: bool,
) -> Result<()> {
    let is_missing = |it: &&str| {
        let is_restored = restores_own && it.starts_with("usagectl_");
        !is_restored && found.get(&format!("table {it}")).is_none()
    };
    let missing: Vec<String> = expected
        .tables()
        .filter(is_missing)
        .map(str::to_owned)
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(ledger::lost_tables(db, &missing)?.into()),
    }
}

fn dialect(db: &Db) -> Dialect {
    match db {
        Db::Pg(_) => Dialect::Postgres,
        Db::Sqlite(_) => Dialect::Sqlite,
    }
}

/// The objects that all migrations up to this version create.
pub fn created_up_to(db: &Db, version: &str) -> SchemaObjects {
    let mut created = SchemaObjects::default();
    for migration in ALL.iter().filter(|it| it.version <= version) {
        created.apply(&migration.effect(db));
    }
    created
}

/// The objects that exist.
///
/// A SQLite file whose definitions are, to the letter, those of our migrations has their objects. To read them column
/// by column takes longer than the rest of `status`.
pub fn found(db: &mut Db) -> QueryResult<SchemaObjects> {
    let definitions = schema_objects::definitions_sha256(db)?;
    match ALL.last() {
        Some(newest) if definitions.as_deref() == Some(AS_MIGRATED) => {
            Ok(created_up_to(db, newest.version))
        }
        _ => schema_objects::read(db),
    }
}

/// The checksum of the definitions that all migrations leave in a SQLite file.
const AS_MIGRATED: &str = "ff74a1809a0fb4e8f47811720a9af7c646fc849560ae35936c300ec881c839d6";

/// Normalises line ends to LF, so that a checkout on another system has the same checksums.
fn lf(text: &'static str) -> Cow<'static, str> {
    if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The SHA-256 of a script without white space at its end.
pub fn checksum(text: &str) -> String {
    hex(&Sha256::digest(text.trim_end()))
}

pub fn application_schema(url: &DatabaseUrl) -> &str {
    match &url.target {
        DatabaseTarget::Postgres(target) => &target.application_schema,
        DatabaseTarget::Sqlite(_) => "main",
    }
}

/// The objects that these migrations would create and that exist.
pub fn conflicts(db: &Db, plan: &[&Migration], found: &SchemaObjects) -> Vec<String> {
    let effects: Vec<Effect> = plan.iter().map(|migration| migration.effect(db)).collect();
    effects
        .iter()
        .flat_map(|effect| effect.conflicts(found))
        .map(str::to_owned)
        .collect()
}

/// Runs the statements of [`setup`], and switches a SQLite file to WAL mode.
pub fn prepare(
    db: &mut Db,
    application_schema: &str,
    found: &Bookkeeping,
    locks: Locks,
    observer: &mut dyn Observer,
) -> Result<()> {
    if matches!(db, Db::Sqlite(_)) {
        // The switch requires that no other connection reads.
        let limit = run::lock_limit(db, locks.timeout);
        db.batch_execute(&limit)?;
        run::retry_while_busy(db, locks, &[], observer, |db, _| {
            Ok(db.batch_execute("PRAGMA journal_mode = WAL")?)
        })?;
    }
    let statements = setup(db, application_schema, found)?;
    if statements.is_empty() {
        return Ok(());
    }
    run::in_locked_transaction(db, locks, &[], observer, |db, _| {
        for statement in &statements {
            fault::point("prepare");
            db.batch_execute(statement)?;
        }
        Ok(())
    })?;
    fault::point("prepared");
    Ok(())
}

/// The statements to run before the first migration: they create missing schemas (the application's too,
/// as Prisma does), ledger and log.
///
/// Existing schemas are left out, since CREATE SCHEMA IF NOT EXISTS requires the right to create one even
/// then, which the role may lack.
pub fn setup(
    db: &mut Db,
    application_schema: &str,
    found: &Bookkeeping,
) -> QueryResult<Vec<String>> {
    let mut statements = Vec::new();
    if let Db::Pg(postgres) = db {
        for schema in [application_schema, OWN_SCHEMA] {
            let exists = sql::<Bool>("EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = ")
                .bind::<Text, _>(schema)
                .sql(")");
            let exists: bool = postgres.run(|conn| diesel::select(exists).get_result(conn))?;
            if !exists {
                statements.push(format!("CREATE SCHEMA {};\n", quote_identifier(schema)));
            }
        }
    }
    if !found.exists() {
        statements.push(ledger::tables(db));
    }
    Ok(statements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::db;

    #[test]
    fn versions_are_unique_and_sorted() {
        assert!(ALL.is_sorted_by(|a, b| a.version < b.version));
    }

    /// An edited script is refused by every database that has its checksum.
    #[test]
    fn released_scripts_are_unchanged() {
        let mut found = String::new();
        for migration in ALL {
            let scripts = [
                ("postgres", &migration.postgres),
                ("sqlite", &migration.sqlite),
            ];
            for (engine, script) in scripts {
                for (file, sql) in [("up", script.up), ("down", script.down)] {
                    let checksum = checksum(&lf(sql));
                    found += &format!("{checksum}  {engine}/{migration}/{file}.sql\n");
                }
            }
        }
        let released = include_str!("../../../migrations/checksums.txt");
        assert_eq!(found, lf(released));
    }

    #[test]
    fn definitions_of_a_migrated_file_are_recognised() {
        let mut db = db::open_in_memory().unwrap();
        for migration in ALL {
            db.batch_execute(&migration.sql(&db, Direction::Up))
                .unwrap();
        }
        let definitions = schema_objects::definitions_sha256(&mut db).unwrap();
        assert_eq!(definitions.as_deref(), Some(AS_MIGRATED));
        let read = schema_objects::read(&mut db).unwrap();
        assert_eq!(found(&mut db).unwrap(), read);

        db.batch_execute("ALTER TABLE api_usage ADD COLUMN note TEXT")
            .unwrap();
        let column = "column api_usage.note";
        assert!(found(&mut db).unwrap().get(column).is_some());
    }

    #[test]
    fn checksum_ignores_line_ends_and_trailing_space() {
        assert_eq!(lf("a\r\nb\r\n"), "a\nb\n");
        assert_eq!(checksum("a\nb\n"), checksum("a\nb"));
        assert_ne!(checksum("a\nb"), checksum("a\nc"));
    }
}
