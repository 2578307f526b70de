//! Applied migrations: Diesel's ledger of those in the database now, and our log of every migration applied
//! and reverted, with time, user and checksums.
//!
//! Both are created by the runner, not by a migration. On PostgreSQL they are in the schema `usagectl`,
//! which Prisma does not look at. The log also records the application's schema: a database has one schema
//! `usagectl`, so it serves one application.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::{DateTime, Utc};
use diesel::backend::Backend;
use diesel::connection::BoxableConnection;
use diesel::migration::{MigrationMetadata, MigrationName, MigrationVersion};
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_query;
use diesel::sql_types::{Bool, Text};
use diesel_migrations::MigrationHarness;

use super::names::{TakenName, taken_name};
use super::script::literal;
use super::{ALL, Migration, application_schema};
use crate::domain::format::shell_word;
use crate::domain::format::{counted_as, time_ms};
use crate::domain::schema::manifest::MANIFEST;
use crate::domain::schema::migration::{
    self, Direction, LogEntry, LoggedStep, Progress, Use, may_use_newer,
};
use crate::domain::schema::objects::{Difference, SchemaObjects};
use crate::error::{Error, Exit, Result};
use crate::store::db::{Db, OWN_SCHEMA, on};
use crate::store::schema_objects;
use crate::store::time::UtcTimestamp;
use crate::store::tuples::LoadTuples;
use crate::store::url::{self, DatabaseTarget, DatabaseUrl};

diesel::table! {
    usagectl_migration_log (id) {
        id -> BigInt,
        version -> Text,
        name -> Text,
        action -> Text,
        state -> Text,
        step -> Integer,
        step_count -> Integer,
        up_sha256 -> Text,
        down_sha256 -> Text,
        application_schema -> Text,
        tool_version -> Text,
        done_by -> Text,
        at -> Timestamp,
        duration_ms -> BigInt,
        detail -> Nullable<Text>,
    }
}

/// Their names.
pub(super) const TABLES: [&str; 2] = ["__diesel_schema_migrations", "usagectl_migration_log"];

/// The statements that create both. The ledger's is Diesel's own, so that `diesel_cli` works with it.
pub(super) fn tables(db: &Db) -> String {
    let (schema, id, time) = match db {
        Db::Pg(_) => (
            "usagectl.",
            "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            "TIMESTAMP(3)",
        ),
        Db::Sqlite(_) => ("", "INTEGER PRIMARY KEY", "DATETIME"),
    };
    format!(
        "CREATE TABLE IF NOT EXISTS {schema}__diesel_schema_migrations (
    version VARCHAR(50) PRIMARY KEY NOT NULL,
    run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE IF NOT EXISTS {schema}usagectl_migration_log (
    id {id},
    version TEXT NOT NULL,
    name TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('up', 'down', 'adopt', 'restore')),
    state TEXT NOT NULL CHECK (state IN ('started', 'done')),
    step INTEGER NOT NULL,
    step_count INTEGER NOT NULL,
    up_sha256 TEXT NOT NULL,
    down_sha256 TEXT NOT NULL,
    application_schema TEXT NOT NULL,
    tool_version TEXT NOT NULL,
    done_by TEXT NOT NULL,
    at {time} NOT NULL,
    duration_ms BIGINT NOT NULL,
    detail TEXT
);
"
    )
}

/// The command that records the migrations of tables that exist.
pub const ADOPT: &str = "usagectl migrate --adopt";

/// The command that completes a restore.
pub fn restore_command(folder: &str) -> String {
    format!("usagectl migrate --restore {}", shell_word(folder))
}

/// The next step after an interrupted restore: a decision of a person, if its folder is not here.
pub fn restore_next(folder: &str) -> String {
    let command = restore_command(folder);
    match Path::new(folder).join(MANIFEST).is_file() {
        true => command,
        false => format!(
            "find the folder {folder}, then {command}; if it is lost, {KEEP_RESTORED}, which keeps the rows as they are"
        ),
    }
}

/// The command that ends a restore whose export is lost.
const KEEP_RESTORED: &str = "usagectl migrate --accept-data-loss";

/// The state of the log row that is committed together with its step.
pub(super) const DONE: &str = "done";
/// The state of the log row that is written before a step that is not a transaction.
pub(super) const STARTED: &str = "started";

/// The database's migrations are not exactly this program's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SchemaError {
    #[error("the database is not migrated")]
    NotMigrated,
    /// Its tables exist, but not in our ledger or log.
    #[error("the database was not created by usagectl, or its migration ledger is incomplete")]
    NotAdopted,
    #[error("{} pending", counted_as(*.0 as u64, "migration is", "migrations are"))]
    Behind(usize),
    /// A run was interrupted.
    #[error("{migration} is partly {}", direction.participle())]
    Partial {
        migration: String,
        direction: Direction,
        /// The command that continues it.
        next: String,
    },
    /// Tables of applied migrations were dropped, renamed or replaced.
    #[error("tables of applied migrations are missing: {}", .0.join(", "))]
    MissingTables(Vec<String>),
    #[error("{}", migration::restore_message(.0))]
    Restoring(String),
    #[error("the database has migrations unknown to this program: {0}")]
    Ahead(String),
    #[error(
        "this database's usagectl tables belong to the application schema `{served}`, not to `{requested}`"
    )]
    OtherApplication { served: String, requested: String },
    /// Another program that uses Diesel has migrations of the same versions, or all tables and the log were dropped.
    #[error(
        "the ledger {ledger} has {versions}, but the log and all tables are missing: they were dropped, or other migrations \
         have these versions; nothing was changed"
    )]
    NoTables {
        ledger: &'static str,
        versions: String,
    },
    /// New tables would be a second set.
    #[error("the table api_usage is in the schema `{found}`, not in `{requested}`")]
    OtherSchema { found: String, requested: String },
    /// Its triggers and columns are those of another table.
    #[error(
        "api_usage in the schema `{schema}` is a partition of {of}, not the application's table"
    )]
    Partition {
        schema: String,
        of: String,
        next: String,
    },
    #[error("the {} {}; nothing was changed", .0.object(), .0.problem())]
    NameTaken(TakenName),
}

impl From<SchemaError> for Error {
    fn from(error: SchemaError) -> Error {
        let (exit, next) = match &error {
            SchemaError::NotMigrated | SchemaError::Behind(_) => {
                (Exit::Failed, "usagectl migrate".to_owned())
            }
            SchemaError::NotAdopted => (Exit::Untrustworthy, ADOPT.to_owned()),
            SchemaError::Partial { next, .. } => (Exit::Untrustworthy, next.clone()),
            SchemaError::MissingTables(tables) => {
                let is_own = tables.iter().any(|it| it.starts_with("usagectl_"));
                let next = match is_own {
                    true => ADOPT,
                    false => "see the SQL for them: usagectl status",
                };
                (Exit::Untrustworthy, next.to_owned())
            }
            SchemaError::Restoring(folder) => (Exit::Untrustworthy, restore_next(folder)),
            SchemaError::Ahead(_) => (
                Exit::Untrustworthy,
                "use the version of usagectl that applied them".to_owned(),
            ),
            SchemaError::OtherApplication { served, .. } => (
                Exit::Refused,
                format!(
                    "add ?schema={} to the URL, or use another database",
                    url::encoded(served)
                ),
            ),
            SchemaError::NoTables { ledger, versions } => (
                Exit::Refused,
                format!(
                    "use another database; or, if no other program needs these rows: DELETE FROM {ledger} WHERE version \
                     IN ({versions}); then usagectl migrate"
                ),
            ),
            SchemaError::OtherSchema { found, requested } => (
                Exit::Refused,
                format!(
                    "add ?schema={} to the URL, or ?schema={} for new tables",
                    url::encoded(found),
                    url::encoded(requested)
                ),
            ),
            SchemaError::Partition { next, .. } => (Exit::Refused, next.clone()),
            SchemaError::NameTaken(taken) => (
                Exit::Refused,
                format!("{} then usagectl migrate", taken.rename),
            ),
        };
        Error::new(exit, error).with_next(next)
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = usagectl_migration_log)]
struct LogRow {
    version: String,
    name: String,
    action: String,
    state: String,
    step: i32,
    step_count: i32,
    up_sha256: String,
    down_sha256: String,
    application_schema: String,
    tool_version: String,
    done_by: String,
    at: UtcTimestamp,
    duration_ms: i64,
    detail: Option<String>,
}

impl LogRow {
    fn step(self) -> LoggedStep {
        LoggedStep {
            action: self.action,
            is_done: self.state == DONE,
            step: self.step,
            step_count: self.step_count,
            entry: LogEntry {
                version: self.version,
                name: self.name,
                checksum: self.up_sha256,
                at: self.at.utc(),
                duration_ms: self.duration_ms,
                by: self.done_by,
                tool_version: self.tool_version,
            },
            down_checksum: self.down_sha256,
            detail: self.detail,
        }
    }
}

#[derive(Debug, Insertable)]
#[diesel(table_name = usagectl_migration_log)]
pub(super) struct NewLogRow<'a> {
    pub(super) version: &'a str,
    pub(super) name: &'a str,
    pub(super) action: &'static str,
    pub(super) state: &'static str,
    /// Of `step_count`, from 1.
    pub(super) step: i32,
    pub(super) step_count: i32,
    pub(super) up_sha256: &'a str,
    pub(super) down_sha256: &'a str,
    pub(super) application_schema: &'a str,
    pub(super) tool_version: &'a str,
    pub(super) done_by: &'a str,
    pub(super) at: UtcTimestamp,
    pub(super) duration_ms: i64,
    /// The evidence of an adoption, the folder of an export, the command of a rollback.
    pub(super) detail: Option<&'a str>,
}

impl NewLogRow<'_> {
    pub(super) fn insert(&self, db: &mut Db) -> QueryResult<()> {
        on!(db, |conn| diesel::insert_into(
            usagectl_migration_log::table
        )
        .values(self)
        .execute(conn))?;
        Ok(())
    }
}

#[derive(Debug, Default)]
pub struct Bookkeeping {
    pub has_ledger: bool,
    pub has_log: bool,
    /// The ledger: version and time, in the order of versions.
    pub applied: Vec<(String, DateTime<Utc>)>,
    /// The versions in the ledger that another program wrote.
    pub others: BTreeSet<String>,
    /// The log, oldest row first, without the rows of whole rollbacks.
    log: Vec<LoggedStep>,
    /// The command of a rollback that did not end.
    pub interrupted_rollback: Option<String>,
    /// How many migrations it has reverted.
    pub reverted_before_interrupt: usize,
    /// Of the last row of the log.
    served: Option<String>,
    /// Without a ledger, an `api_usage` that is not the application's table in the search path.
    elsewhere: Option<Elsewhere>,
    /// Without a log and any table, the recorded versions of ours, and the ledger.
    without_tables: Option<(&'static str, String)>,
}

impl Bookkeeping {
    /// Reads ledger and log. Diesel's own reader begins with CREATE TABLE, which fails for a read-only role
    /// and on a replica.
    pub fn read(db: &mut Db) -> QueryResult<Bookkeeping> {
        let (has_ledger, has_log) = existing(db)?;
        let mut found = Bookkeeping {
            has_ledger,
            has_log,
            elsewhere: match has_ledger {
                true => None,
                false => elsewhere(db)?,
            },
            ..Bookkeeping::default()
        };
        if has_ledger {
            let ledger = ledger_name(db);
            let query = format!("SELECT version, run_on FROM {ledger} ORDER BY version");
            let rows: Vec<(String, UtcTimestamp)> = on!(db, |conn| sql_query(query).rows(conn))?;
            let rows = rows.into_iter();
            found.applied = rows.map(|(version, at)| (version, at.utc())).collect();
        }
        if has_log {
            let rows: Vec<LogRow> = on!(db, |conn| usagectl_migration_log::table
                .select(LogRow::as_select())
                .order(usagectl_migration_log::id)
                .load(conn))?;
            found.served = rows.last().map(|row| row.application_schema.clone());
            found.log = rows.into_iter().map(LogRow::step).collect();
            if let Some((command, reverted)) = migration::interrupted_rollback(&found.log) {
                found.reverted_before_interrupt = reverted;
                found.interrupted_rollback = Some(command.to_owned());
            }
            found.log.retain(|row| !row.is_whole_rollback());
        }
        let known: Vec<&str> = ALL.iter().map(|it| it.version).collect();
        let is_logged = |version: &str| found.log.iter().any(|it| it.entry.version == version);
        found.others = migration::of_other_programs(&known, &found.applied, is_logged);
        found
            .applied
            .retain(|(version, _)| !found.others.contains(version));
        if !has_log && !found.applied.is_empty() && missing_tables(db)? == all_tables(db) {
            let versions = found.applied.iter().map(|(version, _)| literal(version));
            let versions = versions.collect::<Vec<_>>().join(", ");
            found.without_tables = Some((ledger_name(db), versions));
        }
        Ok(found)
    }

    /// Whether the log's last entry for this version is not that it was reverted.
    pub(super) fn is_logged(&self, version: &str) -> bool {
        let mut entries = self.log.iter();
        let last = entries.rfind(|row| row.entry.version == version && row.is_done);
        last.is_some_and(|row| row.action != "down")
    }

    /// Whether the migration was reverted at this time, in RFC 3339 with milliseconds, or later.
    pub(super) fn is_reverted_since(&self, version: &str, time: &str) -> bool {
        let mut reverted = self
            .log
            .iter()
            .filter(|row| row.action == "down" && row.is_last());
        reverted.any(|row| row.entry.version == version && time_ms(row.entry.at).as_str() >= time)
    }

    /// All migrations ever applied or adopted, oldest first; reverted ones included.
    pub(super) fn applications(&self) -> Vec<LogEntry> {
        migration::applications(&self.log)
    }

    /// The migrations whose last run did not complete, by version.
    pub(super) fn progress(&self) -> BTreeMap<String, Progress> {
        migration::progress(&self.log)
    }

    /// The folder of a restore that was started and not completed.
    pub fn interrupted_restore(&self) -> Option<&str> {
        let found = migration::interrupted_restores(&self.log);
        found.last().map(|(_, folder)| *folder)
    }

    /// The migrations whose data is restored in part.
    pub fn restoring(&self) -> Vec<&'static Migration> {
        let found = migration::interrupted_restores(&self.log).into_iter();
        found
            .filter_map(|(version, _)| Migration::find(version))
            .collect()
    }

    /// The command that continues a migration that is partly applied or reverted.
    pub fn continuing(&self, direction: Direction) -> String {
        let rollback = self.interrupted_rollback.clone();
        let rollback = rollback.filter(|_| direction == Direction::Down);
        rollback.unwrap_or_else(|| direction.command().to_owned())
    }

    /// Whether ledger and log exist.
    pub fn exists(&self) -> bool {
        self.has_ledger && self.has_log
    }

    /// The table that is missing beside the other one, which has rows.
    pub fn differences(&self) -> Vec<Difference> {
        let missing = match (self.has_ledger, self.has_log) {
            (true, false) if !self.applied.is_empty() => "table usagectl_migration_log",
            (false, true) if !self.log.is_empty() => "table __diesel_schema_migrations",
            _ => return Vec::new(),
        };
        vec![Difference {
            what: missing.to_owned(),
            expected: Some(String::new()),
            found: None,
        }]
    }

    /// Refuses another application schema than the recorded one, or than that of the application's tables if the
    /// URL names none.
    pub fn check_application(&self, url: &DatabaseUrl) -> Result<(), SchemaError> {
        let requested = application_schema(url).to_owned();
        let is_used = !(self.applied.is_empty() && self.progress().is_empty());
        let served = self.served.clone();
        if let Some(served) = served.filter(|served| *served != requested && is_used) {
            return Err(SchemaError::OtherApplication { served, requested });
        }
        if let Some((ledger, versions)) = self.without_tables.clone() {
            return Err(SchemaError::NoTables { ledger, versions });
        }
        self.check_schema(url)
    }

    /// Refuses a partition, and a schema without the application's tables if another one has them and the URL names none.
    fn check_schema(&self, url: &DatabaseUrl) -> Result<(), SchemaError> {
        match (&url.target, self.elsewhere.clone()) {
            (DatabaseTarget::Postgres(target), Some(found))
                if found.is_requested || !target.names_schema =>
            {
                Err(found.error(application_schema(url)))
            }
            _ => Ok(()),
        }
    }
}

/// A table `api_usage` of PostgreSQL.
#[derive(Clone, Debug)]
struct Elsewhere {
    schema: String,
    /// The table that it is a partition of, and the schema of that one if it is another `api_usage`.
    partition_of: Option<(String, Option<String>)>,
    /// Whether it is in the search path; then it is a partition.
    is_requested: bool,
}

impl Elsewhere {
    fn error(self, requested: &str) -> SchemaError {
        let add = |schema: &str| format!("add ?schema={} to the URL", url::encoded(schema));
        match self.partition_of {
            None => SchemaError::OtherSchema {
                found: self.schema,
                requested: requested.to_owned(),
            },
            Some((of, root)) => SchemaError::Partition {
                schema: self.schema,
                of,
                next: match root {
                    Some(root) => add(&root),
                    None if self.is_requested => {
                        "use the schema of the application's tables".to_owned()
                    }
                    None => add(requested) + " for new tables",
                },
            },
        }
    }
}

/// The table `api_usage` that a command without a ledger must not take for the application's, if any: a partition in the
/// search path, or one of another schema if the search path has none.
fn elsewhere(db: &mut Db) -> QueryResult<Option<Elsewhere>> {
    type Row = (String, Option<String>, Option<String>, bool);
    let Db::Pg(postgres) = db else {
        return Ok(None);
    };
    let query = "SELECT n.nspname::text, root.oid::regclass::text, s.nspname::text, n.nspname = ANY (current_schemas(false))
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         LEFT JOIN pg_class root ON c.relispartition AND root.oid = pg_partition_root(c.oid)
         LEFT JOIN pg_namespace s ON s.oid = root.relnamespace AND root.relname = 'api_usage'
         WHERE c.relname = 'api_usage' AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
         ORDER BY 4 DESC, c.relispartition, 1
         LIMIT 1";
    let found: Option<Row> = postgres.run(|conn| sql_query(query).row(conn).optional())?;
    Ok(found.and_then(|(schema, of, root, is_requested)| {
        let partition_of = of.map(|of| (of, root));
        (partition_of.is_some() || !is_requested).then_some(Elsewhere {
            schema,
            partition_of,
            is_requested,
        })
    }))
}

/// Adds a migration to Diesel's ledger, or removes it; inside a transaction. Diesel's harness writes the row.
pub(super) fn record(db: &mut Db, migration: &Migration, direction: Direction) -> QueryResult<()> {
    let migration = Completed(migration);
    match db {
        Db::Pg(postgres) => postgres.run(|conn| {
            // The harness does not qualify its table, and the application's schema may contain one too.
            let path: String = diesel::select(current_setting("search_path")).get_result(conn)?;
            let set = |path: &str| diesel::select(set_config("search_path", path.to_owned(), true));
            set(OWN_SCHEMA).execute(conn)?;
            write_row(conn, &migration, direction)?;
            set(&path).execute(conn)?;
            Ok(())
        }),
        Db::Sqlite(conn) => write_row(conn, &migration, direction),
    }
}

#[declare_sql_function]
extern "SQL" {
    fn current_setting(name: Text) -> Text;
    fn set_config(name: Text, value: Text, is_local: Bool) -> Text;
}

fn write_row<DB: Backend>(
    conn: &mut impl MigrationHarness<DB>,
    migration: &Completed<'_>,
    direction: Direction,
) -> QueryResult<()> {
    let done = match direction {
        Direction::Up => conn.run_migration(migration),
        Direction::Down => conn.revert_migration(migration),
    };
    // The harness boxes Diesel's errors.
    let unbox = |error: Box<dyn std::error::Error + Send + Sync>| match error.downcast() {
        Ok(error) => *error,
        Err(other) => DieselError::QueryBuilderError(other),
    };
    done.map(drop).map_err(unbox)
}

/// A migration whose steps have run, so that the harness only records it: it does not know steps.
struct Completed<'a>(&'a Migration);

impl<DB: Backend> diesel::migration::Migration<DB> for Completed<'_> {
    fn run(&self, _: &mut dyn BoxableConnection<DB>) -> diesel::migration::Result<()> {
        Ok(())
    }

    fn revert(&self, _: &mut dyn BoxableConnection<DB>) -> diesel::migration::Result<()> {
        Ok(())
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        self
    }

    fn name(&self) -> &dyn MigrationName {
        self.0
    }
}

/// With the default: in a transaction.
impl MigrationMetadata for Completed<'_> {}

impl MigrationName for Migration {
    fn version(&self) -> MigrationVersion<'_> {
        MigrationVersion::from(self.version)
    }
}

/// Diesel's ledger; qualified, since the application's schema may contain one too.
pub(super) fn ledger_name(db: &Db) -> &'static str {
    match db {
        Db::Pg(_) => "usagectl.__diesel_schema_migrations",
        Db::Sqlite(_) => "__diesel_schema_migrations",
    }
}

/// Whether ledger and log exist. Fails if the role may not use the schema of an existing `api_usage`, which would
/// look like an empty one.
fn existing(db: &mut Db) -> QueryResult<(bool, bool)> {
    let [ledger, log] = TABLES.map(|name| exists(db, "usagectl.", name));
    let query = format!("SELECT {ledger}, {log}");
    match db {
        Db::Pg(postgres) => {
            let schema = postgres.application_schema().to_owned();
            let query = format!(
                "{query} WHERE CASE WHEN EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                     WHERE n.nspname = $1 AND c.relname = 'api_usage')
                 THEN to_regclass(format('%I.api_usage', $1)) IS NOT NULL ELSE true END"
            );
            postgres.run(|conn| sql_query(query).bind::<Text, _>(schema).row(conn))
        }
        Db::Sqlite(conn) => sql_query(query).row(conn),
    }
}

/// The condition that a table exists. On PostgreSQL it fails without the right to use the schema, as reading the table
/// would.
pub(super) fn exists(db: &Db, schema: &str, name: &str) -> String {
    match db {
        Db::Pg(_) => format!("to_regclass('{schema}{name}') IS NOT NULL"),
        Db::Sqlite(_) => {
            format!("EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{name}')")
        }
    }
}

/// Whether the application's schema has a table of this name, which may be any.
pub(super) fn has_table(db: &mut Db, name: &str) -> QueryResult<bool> {
    let query = match db {
        Db::Pg(_) => "SELECT to_regclass(quote_ident($1)) IS NOT NULL",
        Db::Sqlite(_) => {
            "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1)"
        }
    };
    on!(db, |conn| sql_query(query).bind::<Text, _>(name).row(conn))
}

/// Checks in one query that exactly this program's migrations are applied. A database that a newer version has
/// migrated may be enough for `how` it is used; then returns the unknown versions.
pub fn require_current(db: &mut Db, url: &DatabaseUrl, how: Use) -> Result<Vec<String>> {
    // Version, served and requested schema, whether a restore was ever started.
    type Applied = (String, Option<String>, Option<String>, bool);
    let ledger = ledger_name(db);
    let requested = match db {
        Db::Pg(_) => "(current_schemas(false))[1]::text",
        Db::Sqlite(_) => "'main'",
    };
    let query = format!(
        "SELECT version,
                (SELECT application_schema FROM usagectl_migration_log ORDER BY id DESC LIMIT 1), {requested},
                EXISTS (SELECT 1 FROM usagectl_migration_log WHERE action = 'restore' AND state = '{STARTED}')
         FROM {ledger}"
    );
    let rows: Vec<Applied> = match on!(db, |conn| sql_query(query).rows(conn)) {
        Ok(rows) => rows,
        // Not by the message, which is in the server's language.
        Err(error) => {
            return Err(match existing(db)? {
                (true, true) => error.into(),
                _ => not_migrated(db, url, SchemaError::NotMigrated)?.into(),
            });
        }
    };
    let Some(first) = rows.first() else {
        return Err(not_migrated(db, url, SchemaError::NotMigrated)?.into());
    };
    let (_, served, requested, was_restored) = first;
    if let (Some(served), Some(requested)) = (served, requested)
        && served != requested
    {
        existing(db)?;
        return Err(SchemaError::OtherApplication {
            served: served.clone(),
            requested: requested.clone(),
        }
        .into());
    }
    // A restore keeps new records.
    if *was_restored
        && how != Use::Record
        && let Some(folder) = Bookkeeping::read(db)?.interrupted_restore()
    {
        return Err(SchemaError::Restoring(folder.to_owned()).into());
    }
    let versions = rows.iter().map(|(version, ..)| version.as_str());
    let (known, mut unknown): (Vec<&str>, Vec<&str>) =
        versions.partition(|version| Migration::find(version).is_some());
    if !unknown.is_empty() {
        let others = Bookkeeping::read(db)?.others;
        unknown.retain(|version| !others.contains(*version));
    }
    let missing = ALL.len() - known.len();
    if unknown.is_empty() {
        return match missing {
            _ if known.is_empty() => Err(not_migrated(db, url, SchemaError::NotMigrated)?.into()),
            0 => match missing_tables(db)?.as_slice() {
                [] => Ok(Vec::new()),
                tables => Err(lost_tables(db, tables)?.into()),
            },
            missing => Err(not_migrated(db, url, SchemaError::Behind(missing))?.into()),
        };
    }
    let last = ALL.last().map_or("", |migration| migration.version);
    let is_newer = missing == 0 && unknown.iter().all(|version| *version > last);
    if is_newer && how != Use::Change {
        let mut expected = SchemaObjects::default();
        for migration in ALL {
            expected.apply(&migration.effect(db));
        }
        if may_use_newer(how, &expected.differences(&schema_objects::read(db)?)) {
            return Ok(unknown.into_iter().map(str::to_owned).collect());
        }
    }
    Err(SchemaError::Ahead(unknown.join(", ")).into())
}

/// The tables of all migrations that are missing or are not tables.
fn missing_tables(db: &mut Db) -> QueryResult<Vec<String>> {
    let expected = all_tables(db);
    let names: Vec<String> = expected.iter().map(|it| literal(it)).collect();
    let names = names.join(", ");
    let query = match db {
        Db::Pg(_) => format!(
            "SELECT c.relname::text FROM pg_class c
             WHERE c.relname IN ({names}) AND c.relkind IN ('r', 'p')
               AND c.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname = ANY (current_schemas(false)))"
        ),
        Db::Sqlite(_) => {
            format!("SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ({names})")
        }
    };
    let found: Vec<String> = on!(db, |conn| sql_query(query).rows(conn))?;
    let missing = expected.into_iter().filter(|it| !found.contains(it));
    Ok(missing.collect())
}

/// The error about missing tables. It names the objects that have their names.
pub(super) fn lost_tables(db: &mut Db, tables: &[String]) -> QueryResult<SchemaError> {
    let names: Vec<String> = tables.iter().map(|it| literal(it)).collect();
    let names = names.join(", ");
    let query = match db {
        Db::Pg(_) => format!(
            "SELECT c.relname::text, CASE c.relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view'
                 WHEN 'f' THEN 'a foreign table' ELSE 'a table' END || ' in the schema ' || quote_ident(n.nspname)
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relname IN ({names}) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
             ORDER BY n.nspname <> ALL (current_schemas(false)), n.nspname"
        ),
        Db::Sqlite(_) => format!(
            "SELECT name, 'a view' FROM sqlite_master WHERE type = 'view' AND name IN ({names})"
        ),
    };
    let found: Vec<(String, String)> = on!(db, |conn| sql_query(query).rows(conn))?;
    let described = tables.iter().map(|table| {
        let same = found.iter().find(|(name, _)| name == table);
        let what = same.map(|(_, what)| format!(" ({what} has this name)"));
        table.clone() + &what.unwrap_or_default()
    });
    Ok(SchemaError::MissingTables(described.collect()))
}

/// The tables of all migrations.
fn all_tables(db: &Db) -> Vec<String> {
    let last = ALL.last().map_or("", |migration| migration.version);
    let created = super::created_up_to(db, last);
    created.tables().map(str::to_owned).collect()
}

/// `reason`, unless a run was interrupted or the objects of a pending migration exist.
fn not_migrated(db: &mut Db, url: &DatabaseUrl, reason: SchemaError) -> Result<SchemaError> {
    let survey = super::survey(db)?;
    if let Err(error) = survey.bookkeeping.check_schema(url) {
        return Ok(error);
    }
    let mut statuses = survey.statuses.iter();
    let partial = statuses.find_map(|status| Some((status.full_name(), status.partial()?)));
    let is_reverted = matches!(partial, Some((_, Direction::Down)));
    // A restore completes its migrations first.
    if let Some(folder) = survey
        .bookkeeping
        .interrupted_restore()
        .filter(|_| !is_reverted)
    {
        return Ok(SchemaError::Restoring(folder.to_owned()));
    }
    if let Some((migration, direction)) = partial {
        return Ok(SchemaError::Partial {
            migration,
            direction,
            next: survey.bookkeeping.continuing(direction),
        });
    }
    let found = schema_objects::read(db)?;
    if super::adopt::is_needed(db, &survey, &found) {
        return Ok(SchemaError::NotAdopted);
    }
    let taken = taken_name(db, &survey, &survey.pending())?;
    Ok(taken.map_or(reason, SchemaError::NameTaken))
}
