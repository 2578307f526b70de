//! Running one migration: its SQL, Diesel's ledger row and our log row, all in one transaction.

use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::BoxableConnection;
use diesel::migration::{self, MigrationMetadata, MigrationName, MigrationVersion};
use diesel::pg::Pg;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sqlite::Sqlite;
use diesel_migrations::MigrationHarness;

use super::ledger::{DONE, NewLogRow};
use super::{Direction, Migration, checksum};
use crate::error::{Error, Exit, Result};
use crate::store::db::{Db, OWN_SCHEMA, quote_identifier};
use crate::store::time::UtcTimestamp;

/// What the log says about a run beside the migration itself.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The schema that holds the application's tables.
    pub application_schema: &'a str,
    /// Who runs it, as user@host.
    pub done_by: &'a str,
    pub at: UtcTimestamp,
}

impl Entry<'_> {
    /// The log row for running `migration`.
    pub(super) fn log_row<'a>(
        &'a self,
        migration: &'a Migration,
        direction: Direction,
        checksums: &'a [String; 2],
    ) -> NewLogRow<'a> {
        NewLogRow {
            version: migration.version,
            name: migration.name,
            action: match direction {
                Direction::Up => "up",
                Direction::Down => "down",
            },
            state: DONE,
            up_sha256: &checksums[0],
            down_sha256: &checksums[1],
            application_schema: self.application_schema,
            tool_version: env!("CARGO_PKG_VERSION"),
            done_by: self.done_by,
            at: self.at,
            duration_ms: 0,
        }
    }
}

/// How long to wait before each further try when a table is locked, in quarters of the lock timeout.
/// Between two tries those who had queued behind us get their turn.
const PAUSES: [u32; 4] = [1, 2, 4, 8];

/// Runs `work` in a transaction that waits no longer than `lock_timeout` for any lock on a table, and
/// tries again a few times: whoever waits for a table makes all later readers and writers wait too.
///
/// # Errors
///
/// [`Exit::Busy`] if it never got its locks; otherwise what `work` returns.
pub fn patiently<T>(
    db: &mut Db,
    lock_timeout: Duration,
    mut work: impl FnMut(&mut Db) -> Result<T>,
) -> Result<T> {
    let limit = lock_limit(db, lock_timeout);
    match db {
        Db::Pg(_) => {
            // A server that notices at once that we are gone, by Ctrl-C for one, lets go of the tables at
            // once. Not every server can.
            let _ = db.batch_execute("SET client_connection_check_interval = '1s'");
            try_again(lock_timeout, || {
                db.write_tx(|db| {
                    db.batch_execute(&limit)?;
                    work(db)
                })
            })
        }
        Db::Sqlite(_) => {
            db.batch_execute(&limit)?;
            try_again(lock_timeout, || db.write_tx(&mut work))
        }
    }
}

/// Calls `work` again, a few times, while it fails because somebody else holds what it needs.
pub(super) fn try_again<T>(
    lock_timeout: Duration,
    mut work: impl FnMut() -> Result<T>,
) -> Result<T> {
    for quarters in PAUSES {
        match work() {
            Err(error) if error.exit() == Exit::Busy => thread::sleep(lock_timeout * quarters / 4),
            result => return result,
        }
    }
    work()
}

/// The statement that limits how long a lock is waited for: on PostgreSQL for one transaction, on SQLite
/// for the connection.
pub(super) fn lock_limit(db: &Db, lock_timeout: Duration) -> String {
    // 0 would mean for ever on PostgreSQL, and both engines count in 31 bits.
    let ms = lock_timeout.as_millis().clamp(1, i32::MAX as u128);
    match db {
        Db::Pg(_) => format!("SET LOCAL lock_timeout = {ms}"),
        Db::Sqlite(_) => format!("PRAGMA busy_timeout = {ms}"),
    }
}

/// Runs `migration` inside the transaction that `db` is in, and returns how long its SQL took.
pub fn run(
    db: &mut Db,
    migration: &Migration,
    direction: Direction,
    entry: Entry<'_>,
) -> Result<Duration> {
    let started = Instant::now();
    let up = migration.sql(db, Direction::Up);
    let down = migration.sql(db, Direction::Down);
    let runnable = Runnable {
        migration,
        up: &up,
        down: &down,
        application_schema: entry.application_schema,
    };
    let done = match (&mut *db, direction) {
        (Db::Pg(conn), Direction::Up) => conn.run_migration(&runnable),
        (Db::Pg(conn), Direction::Down) => conn.revert_migration(&runnable),
        (Db::Sqlite(conn), Direction::Up) => conn.run_migration(&runnable),
        (Db::Sqlite(conn), Direction::Down) => conn.revert_migration(&runnable),
    };
    done.map_err(|error| explain(unbox(error), migration))?;
    let took = started.elapsed();
    let checksums = [checksum(&up), checksum(&down)];
    let mut row = entry.log_row(migration, direction, &checksums);
    row.duration_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
    row.insert(db)?;
    Ok(took)
}

/// Adds which migration it was, and the detail that names what stands in the way.
fn explain(error: DieselError, migration: &Migration) -> Error {
    let detail = match &error {
        // What depends on a dropped column, say. The details of violated constraints repeat rows, and
        // have kinds of their own.
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, information) => {
            information.details().map(str::to_owned)
        }
        _ => None,
    };
    let error = Error::from(error);
    let next = error.next().map(str::to_owned);
    let name = migration.to_string();
    let error = match detail {
        Some(detail) => Error::message(error.exit(), format!("{error} ({detail})")),
        None => error,
    };
    let error = error.context(format!("{name} could not be run and was rolled back"));
    match next {
        Some(next) if error.exit() != Exit::Failed => error.with_next(next),
        _ => error.with_next("remove the cause, then run the same command again"),
    }
}

/// The harness hands on our own errors in a box.
fn unbox(error: Box<dyn std::error::Error + Send + Sync>) -> DieselError {
    match error.downcast::<DieselError>() {
        Ok(error) => *error,
        Err(other) => DieselError::QueryBuilderError(other),
    }
}

/// A migration as Diesel's harness wants to see it.
struct Runnable<'a> {
    migration: &'a Migration,
    up: &'a str,
    down: &'a str,
    application_schema: &'a str,
}

impl Runnable<'_> {
    /// The scripts name the application's tables without a schema, and must find no others; the
    /// ledger must be found even if the application keeps one of its own under the same name.
    fn in_application_schema(
        &self,
        conn: &mut dyn BoxableConnection<Pg>,
        sql: &str,
    ) -> migration::Result<()> {
        let [before, after] = search_paths(self.application_schema);
        conn.batch_execute(&before)?;
        conn.batch_execute(sql)?;
        conn.batch_execute(&after)?;
        Ok(())
    }
}

/// What goes before a migration's SQL and what comes after it, before ledger and log.
pub(super) fn search_paths(application_schema: &str) -> [String; 2] {
    let schema = quote_identifier(application_schema);
    [
        format!("SET LOCAL search_path TO {schema}"),
        format!("SET LOCAL search_path TO {OWN_SCHEMA}, {schema}"),
    ]
}

impl migration::Migration<Pg> for Runnable<'_> {
    fn run(&self, conn: &mut dyn BoxableConnection<Pg>) -> migration::Result<()> {
        self.in_application_schema(conn, self.up)
    }

    fn revert(&self, conn: &mut dyn BoxableConnection<Pg>) -> migration::Result<()> {
        self.in_application_schema(conn, self.down)
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        &InTransaction
    }

    fn name(&self) -> &dyn MigrationName {
        self.migration
    }
}

impl migration::Migration<Sqlite> for Runnable<'_> {
    fn run(&self, conn: &mut dyn BoxableConnection<Sqlite>) -> migration::Result<()> {
        Ok(conn.batch_execute(self.up)?)
    }

    fn revert(&self, conn: &mut dyn BoxableConnection<Sqlite>) -> migration::Result<()> {
        Ok(conn.batch_execute(self.down)?)
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        &InTransaction
    }

    fn name(&self) -> &dyn MigrationName {
        self.migration
    }
}

/// Every migration runs in a transaction; inside the caller's one the harness makes a savepoint.
struct InTransaction;

impl MigrationMetadata for InTransaction {}

impl MigrationName for Migration {
    fn version(&self) -> MigrationVersion<'_> {
        MigrationVersion::from(self.version)
    }
}

impl std::fmt::Display for Migration {
    /// The name of its folder.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", self.version, self.name)
    }
}
