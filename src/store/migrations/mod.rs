//! The migrations: their list, the ledger of what was applied, and running them.
//!
//! Diesel's harness runs each migration and writes Diesel's own ledger, so `diesel_cli` reads our
//! databases too. The list is ours and not `embed_migrations!`, because that keeps its SQL to itself, and
//! we need the text: for the checksums that tell an edited migration, for `--sql`, for `--dry-run`.
//!
//! ```text
//! mod     the list: every migration with its texts for both engines
//! ledger  what was applied, when, by whom: Diesel's ledger and our log beside it
//! run     migrations up or down, each in one transaction with its ledger and log rows
//! losses  what a migration drops, counted
//! script  the same as `run`, as SQL for psql or sqlite3
//! ```

mod ledger;
mod losses;
mod run;
mod script;

use std::borrow::Cow;
use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use sha2::{Digest, Sha256};

use super::db::{Db, OWN_SCHEMA, quote_identifier};
use super::url::{DatabaseTarget, DatabaseUrl};
use crate::domain::schema::migration;
use crate::domain::schema::migration::{Done, Known, Standing};
use crate::domain::schema::objects::{Catalogue, Effect};
use crate::domain::schema::plan::Step;
use crate::error::Result;

pub use ledger::{Bookkeeping, SchemaError, require_current};
pub use losses::{count_losses, lock_tables};
pub use run::{Entry, patiently, run};
pub use script::script;

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
    effect: &'static str,
}

/// Which way a migration is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
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

/// Every migration this program knows, in the order they are applied. A test compares the list with
/// the folders.
pub const ALL: &[Migration] = migrations![
    "20260101000000" "create_api_usage",
    "20260123210146" "enhance_api_monitoring",
    "20260124093000" "add_infrastructure_monitoring",
    "20260201000000" "create_usagectl_bookkeeping" + "triggers.sql",
    "20260201000100" "mark_existing_usage",
    "20260202000000" "add_alerting",
    "20260203000000" "add_capacity",
    "20260204000000" "add_drop_reason",
];

impl Migration {
    /// The migration with this version.
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

    /// What applying it does to the catalogue.
    pub fn effect(&self, db: &Db) -> Effect {
        Effect::parse(&lf(self.script(db).effect))
    }

    /// The step of a plan that applies or undoes it; losses are not counted yet.
    pub fn step(&self, db: &Db, direction: Direction) -> Step {
        let effect = self.effect(db);
        let effect = match direction {
            Direction::Up => effect,
            Direction::Down => effect.reversed(),
        };
        Step::new(self.version, self.name, &effect)
    }

    fn script(&self, db: &Db) -> &Script {
        match db {
            Db::Pg(_) => &self.postgres,
            Db::Sqlite(_) => &self.sqlite,
        }
    }
}

/// The triggers that write dirty hours, as SQL for the engine that `db` is connected to.
pub fn usage_triggers(db: &Db) -> Cow<'static, str> {
    lf(match db {
        Db::Pg(_) => include_str!("../../../migrations/postgres/triggers.sql"),
        Db::Sqlite(_) => include_str!("../../../migrations/sqlite/triggers.sql"),
    })
}

/// Those of our migrations whose versions these are, in the same order.
pub fn with_versions(versions: &[String]) -> Vec<&'static Migration> {
    versions
        .iter()
        .filter_map(|version| Migration::find(version))
        .collect()
}

/// Where a database stands.
#[derive(Debug)]
pub struct Survey {
    /// Every migration, ours and those only the database has, in the order of versions.
    pub standings: Vec<Standing>,
    /// What was applied, in that order.
    pub order: Vec<Done>,
    pub bookkeeping: Bookkeeping,
}

/// Reads where the database stands; writes nothing.
pub fn survey(db: &mut Db) -> QueryResult<Survey> {
    let bookkeeping = Bookkeeping::read(db)?;
    let checksums: Vec<String> = ALL
        .iter()
        .map(|migration| checksum(&migration.sql(db, Direction::Up)))
        .collect();
    let known: Vec<Known<'_>> = ALL
        .iter()
        .zip(&checksums)
        .map(|(migration, checksum)| Known {
            version: migration.version,
            name: migration.name,
            checksum,
        })
        .collect();
    let order = bookkeeping.applications();
    Ok(Survey {
        standings: migration::survey(&known, &bookkeeping.applied, &order),
        order,
        bookkeeping,
    })
}

/// What the applied migrations have made of the catalogue, by their own account.
pub fn expected(db: &Db, standings: &[Standing]) -> Catalogue {
    let mut expected = Catalogue::default();
    for standing in standings.iter().filter(|standing| standing.is_applied()) {
        if let Some(migration) = Migration::find(&standing.version) {
            expected.apply(&migration.effect(db));
        }
    }
    expected
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
pub fn checksum(text: &str) -> String {
    let digest = Sha256::digest(text.trim_end().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The schema that holds the application's tables.
pub fn application_schema(url: &DatabaseUrl) -> &str {
    match &url.target {
        DatabaseTarget::Postgres(target) => &target.application_schema,
        // What SQLite itself calls it.
        DatabaseTarget::Sqlite(_) => "main",
    }
}

/// What these migrations would make and is in the database already.
pub fn already_there(db: &Db, plan: &[&Migration], found: &Catalogue) -> Vec<String> {
    let effects: Vec<Effect> = plan.iter().map(|migration| migration.effect(db)).collect();
    effects
        .iter()
        .flat_map(|effect| effect.already_in(found))
        .map(str::to_owned)
        .collect()
}

/// Makes ready for migrations: the statements of [`setup`], and WAL mode for a SQLite file, once.
pub fn prepare(
    db: &mut Db,
    application_schema: &str,
    found: &Bookkeeping,
    lock_timeout: Duration,
) -> Result<()> {
    if matches!(db, Db::Sqlite(_)) {
        // For the switch nobody else may be reading.
        let limit = run::lock_limit(db, lock_timeout);
        db.batch_execute(&limit)?;
        run::try_again(lock_timeout, || {
            Ok(db.batch_execute("PRAGMA journal_mode = WAL")?)
        })?;
    }
    for statement in setup(db, application_schema, found)? {
        db.batch_execute(&statement)?;
    }
    Ok(())
}

/// What must be run before the first migration: the schemas that are missing, the application's too,
/// as Prisma does it; ledger and log.
///
/// It looks before it creates. CREATE SCHEMA IF NOT EXISTS wants the right to create one even when it
/// exists, and an administrator may have made it for a role without that right.
pub fn setup(
    db: &mut Db,
    application_schema: &str,
    found: &Bookkeeping,
) -> QueryResult<Vec<String>> {
    let mut statements = Vec::new();
    if let Db::Pg(conn) = db {
        for schema in [application_schema, OWN_SCHEMA] {
            let exists: bool = diesel::select(
                sql::<Bool>("EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = ")
                    .bind::<Text, _>(schema)
                    .sql(")"),
            )
            .get_result(conn)?;
            if !exists {
                statements.push(format!("CREATE SCHEMA {};\n", quote_identifier(schema)));
            }
        }
    }
    if !found.exists {
        statements.push(ledger::tables(db).to_owned());
    }
    Ok(statements)
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
