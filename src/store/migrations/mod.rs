//! The migrations: their list, the ledger of what was applied, and running them.
//!
//! Diesel's harness runs each migration and writes Diesel's own ledger, so `diesel_cli` reads our
//! databases too. The list is ours and not `embed_migrations!`, because that keeps its SQL to itself, and
//! we need the text: for the checksums that tell an edited migration, for `--sql`, for `--dry-run`.
//!
//! ```text
//! mod     the list: every migration with its texts for both engines
//! ledger  what was applied, when, by whom: Diesel's ledger and our log beside it
//! run     one migration up or down, in one transaction with its ledger and log rows
//! ```

mod ledger;
mod run;

use std::borrow::Cow;

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use sha2::{Digest, Sha256};

use super::backend::{Db, OWN_SCHEMA, quote_identifier};
use super::url::{DatabaseUrl, Target};
use crate::error::Result;

pub use ledger::{Bookkeeping, LogRow, SchemaError, require_current};
pub use run::{Direction, Entry, run};

/// One step of the schema, the same for both engines.
#[derive(Debug, PartialEq, Eq)]
pub struct Migration {
    /// The stamp that orders migrations and names them in the ledger.
    pub version: &'static str,
    /// What it does, as its folder says behind the stamp.
    pub name: &'static str,
    postgres: Script,
    sqlite: Script,
}

/// A migration's texts for one engine.
#[derive(Debug, PartialEq, Eq)]
struct Script {
    up: &'static str,
    down: &'static str,
}

macro_rules! script {
    ($engine:literal, $version:literal, $name:literal) => {
        Script {
            up: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/migrations/",
                $engine,
                "/",
                $version,
                "_",
                $name,
                "/up.sql"
            )),
            down: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/migrations/",
                $engine,
                "/",
                $version,
                "_",
                $name,
                "/down.sql"
            )),
        }
    };
}

macro_rules! migrations {
    ($($version:literal $name:literal,)+) => {
        &[$(Migration {
            version: $version,
            name: $name,
            postgres: script!("postgres", $version, $name),
            sqlite: script!("sqlite", $version, $name),
        }),+]
    };
}

/// Every migration this program knows, in the order they are applied. A test compares the list with
/// the folders.
pub const ALL: &[Migration] = migrations![
    "20260101000000" "create_api_usage",
    "20260123210146" "enhance_api_monitoring",
    "20260124093000" "add_infrastructure_monitoring",
    "20260201000000" "create_usagectl_bookkeeping",
    "20260201000100" "mark_existing_usage",
];

impl Migration {
    /// The migration with this version.
    #[must_use]
    pub fn find(version: &str) -> Option<&'static Migration> {
        ALL.iter().find(|migration| migration.version == version)
    }

    /// The SQL for the engine that `db` is connected to.
    #[must_use]
    pub fn sql(&self, db: &Db, direction: Direction) -> Cow<'static, str> {
        let script = match db {
            Db::Pg(_) => &self.postgres,
            Db::Sqlite(_) => &self.sqlite,
        };
        lf(match direction {
            Direction::Up => script.up,
            Direction::Down => script.down,
        })
    }
}

/// The text with the line ends of Unix: a checkout on another system must give the same database and
/// the same checksums.
fn lf(text: &'static str) -> Cow<'static, str> {
    if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The checksum that the log keeps of a migration's text; blank space at its end does not count.
#[must_use]
pub fn checksum(text: &str) -> String {
    let digest = Sha256::digest(text.trim_end().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The schema that holds the application's tables.
#[must_use]
pub fn application_schema(url: &DatabaseUrl) -> &str {
    match &url.target {
        Target::Postgres(target) => &target.application_schema,
        // What SQLite itself calls it.
        Target::Sqlite(_) => "main",
    }
}

/// Makes ledger and log if they are missing and returns what they say; under the run lock only.
///
/// Also makes the application's schema when the URL names one that is not there, as Prisma does, and
/// puts a SQLite file into WAL mode.
///
/// # Errors
///
/// When the database serves another application schema, or the engine refuses.
pub fn prepare(db: &mut Db, application_schema: &str) -> Result<Bookkeeping> {
    let found = Bookkeeping::read(db)?;
    found.check_application(application_schema)?;
    match db {
        Db::Pg(conn) => {
            for schema in [application_schema, OWN_SCHEMA] {
                create_schema(conn, schema)?;
            }
        }
        Db::Sqlite(_) => db.batch_execute("PRAGMA journal_mode = WAL")?,
    }
    if !found.exists {
        Bookkeeping::create(db)?;
    }
    Ok(found)
}

/// Looks before it creates: CREATE SCHEMA IF NOT EXISTS wants the right to create one even when it
/// exists, and an administrator may have made it for a role without that right.
fn create_schema(conn: &mut PgConnection, schema: &str) -> QueryResult<()> {
    let exists: bool = diesel::select(
        sql::<Bool>("EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = ")
            .bind::<Text, _>(schema)
            .sql(")"),
    )
    .get_result(conn)?;
    if !exists {
        conn.batch_execute(&format!("CREATE SCHEMA {}", quote_identifier(schema)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_unique_and_in_order() {
        assert!(ALL.is_sorted_by(|a, b| a.version < b.version));
    }

    #[test]
    fn a_checksum_does_not_depend_on_line_ends_or_on_the_last_one() {
        assert_eq!(lf("a\r\nb\r\n"), "a\nb\n");
        assert_eq!(checksum("a\nb\n"), checksum("a\nb"));
        assert_ne!(checksum("a\nb"), checksum("a\nc"));
    }
}
