//! Runs a migration: its SQL, Diesel's ledger row and our log row in one transaction.

use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::BoxableConnection;
use diesel::migration::{self, MigrationMetadata, MigrationName, MigrationVersion};
use diesel::pg::Pg;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sqlite::Sqlite;
use diesel_migrations::MigrationHarness;

use super::ledger::{DONE, NewLogRow};
use super::prisma::{PrismaSync, Recording};
use super::{Direction, Migration, checksum};
use crate::error::{Error, Exit, Result};
use crate::store::db::{Db, OWN_SCHEMA, quote_identifier};
use crate::store::time::UtcTimestamp;

/// What the log records beside the migration itself.
#[derive(Clone, Copy, Debug)]
pub struct LogContext<'a> {
    pub application_schema: &'a str,
    /// As `user@host`.
    pub done_by: &'a str,
    pub at: UtcTimestamp,
    pub prisma: &'a PrismaSync,
}

impl LogContext<'_> {
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
            step: 1,
            step_count: 1,
            up_sha256: &checksums[0],
            down_sha256: &checksums[1],
            application_schema: self.application_schema,
            tool_version: env!("CARGO_PKG_VERSION"),
            done_by: self.done_by,
            at: self.at,
            duration_ms: 0,
            detail: None,
        }
    }
}

/// Pauses before retries while a table is locked, in quarters of the lock timeout. In a pause the sessions
/// that queue behind us can proceed.
const PAUSES: [u32; 4] = [1, 2, 4, 8];

/// Runs `work` in a transaction that waits at most `lock_timeout` for each table lock, and retries a few
/// times: a session that waits for a table blocks all later readers and writers of it. `on_retry` gets the
/// length of each pause. [`Exit::Busy`] if no try got its locks.
pub fn with_lock_retry<T>(
    db: &mut Db,
    lock_timeout: Duration,
    on_retry: &mut dyn FnMut(Duration),
    mut work: impl FnMut(&mut Db) -> Result<T>,
) -> Result<T> {
    let limit = lock_limit(db, lock_timeout);
    match db {
        Db::Pg(_) => {
            retry_while_busy(lock_timeout, on_retry, || {
                db.write_tx(|db| {
                    db.batch_execute(&limit)?;
                    // Makes the server release the tables soon after this program is killed. Not every platform
                    // supports it.
                    let check = "SET LOCAL client_connection_check_interval = '1s'";
                    let _ = db.savepoint(|db| db.batch_execute(check));
                    work(db)
                })
            })
        }
        Db::Sqlite(_) => {
            db.batch_execute(&limit)?;
            retry_while_busy(lock_timeout, on_retry, || db.write_tx(&mut work))
        }
    }
}

/// Calls `work` up to five times, until it does not fail with [`Exit::Busy`].
pub(super) fn retry_while_busy<T>(
    lock_timeout: Duration,
    on_retry: &mut dyn FnMut(Duration),
    mut work: impl FnMut() -> Result<T>,
) -> Result<T> {
    for quarters in PAUSES {
        match work() {
            Err(error) if error.exit() == Exit::Busy => {
                let pause = lock_timeout * quarters / 4;
                on_retry(pause);
                thread::sleep(pause);
            }
            result => return result,
        }
    }
    work()
}

/// The statement that sets the lock timeout: on PostgreSQL of the transaction, on SQLite of the connection.
pub(super) fn lock_limit(db: &Db, lock_timeout: Duration) -> String {
    // On PostgreSQL 0 means no timeout; both engines accept 31 bits.
    let ms = lock_timeout.as_millis().clamp(1, i32::MAX as u128);
    match db {
        Db::Pg(_) => format!("SET LOCAL lock_timeout = {ms}"),
        Db::Sqlite(_) => format!("PRAGMA busy_timeout = {ms}"),
    }
}

/// Runs `migration` inside the current transaction, and returns the duration of its SQL.
pub fn run(
    db: &mut Db,
    migration: &Migration,
    direction: Direction,
    entry: LogContext<'_>,
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
        (Db::Pg(postgres), direction) => postgres.run(|conn| {
            let done = match direction {
                Direction::Up => conn.run_migration(&runnable),
                Direction::Down => conn.revert_migration(&runnable),
            };
            done.map_err(unbox)
        }),
        (Db::Sqlite(conn), Direction::Up) => conn.run_migration(&runnable).map_err(unbox),
        (Db::Sqlite(conn), Direction::Down) => conn.revert_migration(&runnable).map_err(unbox),
    };
    done.map_err(|error| explain(error, migration))?;
    let took = started.elapsed();
    let checksums = [checksum(&up), checksum(&down)];
    let mut row = entry.log_row(migration, direction, &checksums);
    row.duration_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
    row.insert(db)?;
    let how = match direction {
        Direction::Up => Recording::Applied,
        Direction::Down => Recording::Reverted,
    };
    entry.prisma.write(db, migration, how, entry.at)?;
    Ok(took)
}

/// Adds the migration's name, and the detail that names a dependent object.
fn explain(error: DieselError, migration: &Migration) -> Error {
    let detail = match &error {
        // Such as the objects that depend on a dropped column. Violated constraints, whose details contain
        // values of rows, have kinds of their own.
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
    let error = error.context(format!("{name} failed and was rolled back"));
    match next {
        Some(next) if error.exit() != Exit::Failed => error.with_next(next),
        _ => error.with_next("remove the cause, then run the same command again"),
    }
}

/// The harness boxes Diesel's errors.
fn unbox(error: Box<dyn std::error::Error + Send + Sync>) -> DieselError {
    match error.downcast::<DieselError>() {
        Ok(error) => *error,
        Err(other) => DieselError::QueryBuilderError(other),
    }
}

/// A migration as Diesel's harness requires it.
struct Runnable<'a> {
    migration: &'a Migration,
    up: &'a str,
    down: &'a str,
    application_schema: &'a str,
}

impl Runnable<'_> {
    /// Runs a script with the application's schema as search path, then puts `usagectl` first, so that the
    /// ledger is found even if the application has one too.
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

/// The search path for a migration's SQL, and for its ledger and log rows.
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

/// Every migration runs in a transaction; inside the caller's, the harness uses a savepoint.
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
