//! Running one migration: its SQL, Diesel's ledger row and our log row, all in one transaction.

use std::time::{Duration, Instant};

use diesel::connection::BoxableConnection;
use diesel::migration::{self, MigrationMetadata, MigrationName, MigrationVersion};
use diesel::pg::Pg;
use diesel::result::Error as DieselError;
use diesel::sqlite::Sqlite;
use diesel_migrations::MigrationHarness;

use super::ledger::NewLogRow;
use super::{Migration, checksum};
use crate::store::backend::{Db, OWN_SCHEMA, quote_identifier};
use crate::store::time::Ts;

/// Which way a migration is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Apply it.
    Up,
    /// Undo it.
    Down,
}

impl Direction {
    /// As the log spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Up => "up",
            Direction::Down => "down",
        }
    }
}

/// What the log says about a run beside the migration itself.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The schema that holds the application's tables.
    pub application_schema: &'a str,
    /// Who runs it, as user@host.
    pub done_by: &'a str,
    /// When.
    pub at: Ts,
}

/// Runs `migration` inside the transaction that `db` is in, and returns how long its SQL took.
///
/// # Errors
///
/// What the engine says to a statement; the caller's transaction is to be rolled back then.
pub fn run(
    db: &mut Db,
    migration: &Migration,
    direction: Direction,
    entry: Entry<'_>,
) -> Result<Duration, DieselError> {
    let started = Instant::now();
    let up = migration.sql(db, Direction::Up);
    let down = migration.sql(db, Direction::Down);
    let step = Step {
        migration,
        up: &up,
        down: &down,
        application_schema: entry.application_schema,
    };
    let done = match (db as &mut Db, direction) {
        (Db::Pg(conn), Direction::Up) => conn.run_migration(&step as &dyn migration::Migration<Pg>),
        (Db::Pg(conn), Direction::Down) => {
            conn.revert_migration(&step as &dyn migration::Migration<Pg>)
        }
        (Db::Sqlite(conn), Direction::Up) => {
            conn.run_migration(&step as &dyn migration::Migration<Sqlite>)
        }
        (Db::Sqlite(conn), Direction::Down) => {
            conn.revert_migration(&step as &dyn migration::Migration<Sqlite>)
        }
    };
    done.map_err(unbox)?;
    let took = started.elapsed();
    NewLogRow {
        version: migration.version,
        name: migration.name,
        action: direction.as_str(),
        up_sha256: &checksum(&up),
        down_sha256: &checksum(&down),
        application_schema: entry.application_schema,
        tool_version: env!("CARGO_PKG_VERSION"),
        done_by: entry.done_by,
        at: entry.at,
        duration_ms: i64::try_from(took.as_millis()).unwrap_or(i64::MAX),
    }
    .insert(db)?;
    Ok(took)
}

/// The harness hands on our own errors in a box.
fn unbox(error: Box<dyn std::error::Error + Send + Sync>) -> DieselError {
    match error.downcast::<DieselError>() {
        Ok(error) => *error,
        Err(other) => DieselError::QueryBuilderError(other),
    }
}

/// A migration as Diesel's harness wants to see it.
struct Step<'a> {
    migration: &'a Migration,
    up: &'a str,
    down: &'a str,
    application_schema: &'a str,
}

impl Step<'_> {
    /// The scripts name the application's tables without a schema, and must find no others; the
    /// ledger must be found even if the application keeps one of its own under the same name.
    fn in_application_schema(
        &self,
        conn: &mut dyn BoxableConnection<Pg>,
        sql: &str,
    ) -> migration::Result<()> {
        let schema = quote_identifier(self.application_schema);
        conn.batch_execute(&format!("SET LOCAL search_path TO {schema}"))?;
        conn.batch_execute(sql)?;
        conn.batch_execute(&format!("SET LOCAL search_path TO {OWN_SCHEMA}, {schema}"))?;
        Ok(())
    }
}

impl migration::Migration<Pg> for Step<'_> {
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

impl migration::Migration<Sqlite> for Step<'_> {
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
