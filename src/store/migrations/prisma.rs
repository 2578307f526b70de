//! Prisma's migration ledger, `_prisma_migrations` in the application's schema, and its folder
//! `prisma/migrations`.
//!
//! A migration that we apply or adopt is recorded there as Prisma records its own, so that `prisma migrate
//! deploy` finds nothing to do. Prisma's lock is held while its ledger is written: it is tried, not waited
//! for, inside the transaction of our own ledger row, and the whole transaction is repeated while Prisma holds
//! it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use diesel::sql_types::{Text, Timestamp};
use diesel::{QueryResult, RunQueryDsl, sql_query};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::run::search_path;
use super::script::{self, literal};
use super::{ALL, Direction, Migration, ledger};
use crate::domain::format::hex;
use crate::domain::schema::migration::{MigrationState, MigrationStatus};
use crate::domain::schema::prisma::{
    OwnMigration, PrismaFolder, PrismaMigration, PrismaRow, PrismaState, matching, names_in_state,
    tables_after, without_folder,
};
use crate::domain::schema::status::Defect;
use crate::error::{Error, Exit, Result};
use crate::fault;
use crate::store::db::{Db, on};
use crate::store::prisma_path::migrations_directories;
use crate::store::time::UtcTimestamp;
use crate::store::tuples::LoadTuples;

/// The key of the advisory lock that `prisma migrate` holds.
const LOCK_KEY: i64 = 72_707_369;

pub(super) fn is_true(db: &mut Db, query: &str) -> QueryResult<bool> {
    on!(db, |conn| sql_query(query).row(conn))
}

/// Whether the application's schema has Prisma's ledger.
pub fn exists(db: &mut Db) -> QueryResult<bool> {
    let exists = ledger::exists(db, "", "_prisma_migrations");
    is_true(db, &format!("SELECT {exists}"))
}

/// Whether Prisma 8 or newer manages the database: it has a schema of its own for its ledger.
pub fn has_contract(db: &mut Db) -> QueryResult<bool> {
    match db {
        Db::Pg(_) => is_true(
            db,
            "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = 'prisma_contract')",
        ),
        Db::Sqlite(_) => Ok(false),
    }
}

/// The rows in the order in which they were started; nothing if there is no ledger.
pub fn read(db: &mut Db) -> QueryResult<Option<Vec<PrismaRow>>> {
    if !exists(db)? {
        return Ok(None);
    }
    let query =
        "SELECT migration_name, checksum, finished_at IS NOT NULL, rolled_back_at IS NOT NULL
                 FROM _prisma_migrations ORDER BY started_at, migration_name";
    let rows: Vec<(String, String, bool, bool)> = on!(db, |conn| sql_query(query).rows(conn))?;
    let row = |(name, checksum, is_finished, is_rolled_back)| PrismaRow {
        name,
        checksum,
        is_finished,
        is_rolled_back,
    };
    Ok(Some(rows.into_iter().map(row).collect()))
}

/// Reads the folders of `prisma/migrations` in the order of their names.
pub fn read_folders(directory: &Path) -> Result<Vec<PrismaFolder>> {
    let failed = |path: &Path, error: std::io::Error| {
        Error::new(Exit::Usage, error)
            .context(format!("cannot read {}", path.display()))
            .with_next("usagectl migrate --help")
    };
    let entries = fs::read_dir(directory).map_err(|error| failed(directory, error))?;
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(directory, error))?;
        let path = entry.path().join("migration.sql");
        if !path.is_file() {
            continue;
        }
        let sql = fs::read(&path).map_err(|error| failed(&path, error))?;
        let text = String::from_utf8_lossy(&sql);
        let unix = text.replace("\r\n", "\n");
        let windows = unix.replace('\n', "\r\n");
        folders.push(PrismaFolder {
            name: entry.file_name().to_string_lossy().into_owned(),
            checksum: hex(&Sha256::digest(&sql)),
            other_checksums: [unix, windows]
                .map(|text| hex(&Sha256::digest(text)))
                .to_vec(),
            tables: tables_after("CREATE", &text),
            altered_tables: tables_after("ALTER", &text),
        });
    }
    folders.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(folders)
}

/// Finds `prisma/migrations`, or the folder that Prisma's configuration names, in `from` or a directory above it.
pub fn find_directory(from: &Path) -> Option<PathBuf> {
    let mut directories = from.ancestors().flat_map(migrations_directories);
    directories.find(|it| it.is_dir())
}

/// How Prisma's ledger is kept true during a run.
#[derive(Clone, Debug, Default)]
pub struct PrismaSync {
    /// Prisma's migration for each of ours, by our version.
    migrations: BTreeMap<&'static str, PrismaMigration>,
    /// Ours that are neither in Prisma's ledger nor in its folder: Prisma may have them under any name. They are not
    /// recorded.
    unknown: Vec<&'static Migration>,
    /// Recorded migrations that the folder lacks.
    without_folder: Vec<String>,
    /// Failed migrations that correspond to none of ours.
    failed: Vec<String>,
    /// Whether a reverted migration is marked as rolled back.
    writes_history: bool,
}

impl PrismaSync {
    /// Matches our migrations with Prisma's; nothing is matched if there is no ledger.
    ///
    /// `folders` is nothing if `prisma/migrations` was not found.
    pub fn read(
        db: &mut Db,
        folders: Option<&[PrismaFolder]>,
        writes_history: bool,
    ) -> QueryResult<PrismaSync> {
        let mut sync = PrismaSync {
            writes_history,
            ..PrismaSync::default()
        };
        let Some(rows) = read(db)? else {
            return Ok(sync);
        };
        let matched = match_all(db, &rows, folders);
        let not_found = folders.map(|folders| without_folder(&rows, folders));
        sync.without_folder = not_found.unwrap_or_default();
        for (migration, found) in matched {
            match found {
                Some(found) => {
                    sync.migrations.insert(migration.version, found);
                }
                None => sync.unknown.push(migration),
            }
        }
        sync.failed = names_in_state(&rows, PrismaState::Failed);
        let matched = || sync.migrations.values();
        sync.failed
            .retain(|name| matched().all(|it| it.name != *name));
        Ok(sync)
    }

    /// Our migrations that are not recorded because Prisma's names of them are unknown.
    pub fn unknown(&self) -> &[&'static Migration] {
        &self.unknown
    }

    /// The recorded migrations that the folder lacks, if it was found.
    pub fn without_folder(&self) -> &[String] {
        &self.without_folder
    }

    /// Refuses to record a migration of Prisma as applied that also changes other tables than ours: Prisma would never
    /// change them. `pending` are applied next; of the `adopted` it is enough that those tables exist.
    pub fn check_others(
        &self,
        db: &mut Db,
        pending: &[&Migration],
        adopted: &[&'static str],
    ) -> Result<()> {
        let pending = pending.iter().map(|it| (it.version, true));
        let adopted = adopted.iter().map(|version| (*version, false));
        for (version, is_pending) in pending.chain(adopted) {
            let Some(prisma) = self
                .find(version)
                .filter(|it| it.state != PrismaState::Applied)
            else {
                continue;
            };
            let mut others = Vec::new();
            for table in &prisma.others {
                if is_pending || !ledger::has_table(db, table)? {
                    others.push(table.as_str());
                }
            }
            if others.is_empty() {
                continue;
            }
            let (name, others) = (&prisma.name, others.join(", "));
            let verb = match is_pending {
                true => "changes",
                false => "creates",
            };
            let message =
                format!("Prisma's {prisma} and also {verb} {others}; nothing was changed");
            let next = match (is_pending, prisma.state) {
                (false, _) => {
                    format!("run the rest of {name}/migration.sql, then the same command again")
                }
                (true, PrismaState::Failed) => format!(
                    "npx prisma migrate resolve --rolled-back {name}, then npx prisma migrate deploy, then usagectl migrate --adopt"
                ),
                (true, _) => "npx prisma migrate deploy, then usagectl migrate --adopt".to_owned(),
            };
            return Err(Error::message(Exit::Refused, message).with_next(next));
        }
        Ok(())
    }

    /// Prisma's migration for one of ours.
    pub fn find(&self, version: &str) -> Option<&PrismaMigration> {
        self.migrations.get(version)
    }

    /// Prisma's migration for one of ours that completes it. Prisma's may contain several of ours: it is applied with the
    /// last of them, and reverted with the first.
    fn completed_by(&self, version: &str, how: Recording) -> Option<&PrismaMigration> {
        let prisma = self.find(version)?;
        let mut parts = self.parts(prisma);
        let completing = match how {
            Recording::Reverted => parts.next(),
            Recording::Applied | Recording::Adopted => parts.last(),
        };
        (completing == Some(version)).then_some(prisma)
    }

    /// The versions of ours that a migration of Prisma contains.
    fn parts(&self, prisma: &PrismaMigration) -> impl Iterator<Item = &'static str> {
        let all = self.migrations.iter();
        all.filter(|(_, it)| it.name == prisma.name)
            .map(|(version, _)| *version)
    }

    /// The migrations among `reverted` that Prisma will still take for applied, and whether [`Self::writes_history`]
    /// would change that.
    pub fn left_applied(&self, reverted: &[&Migration]) -> BTreeMap<&str, bool> {
        let found = reverted.iter().filter_map(|it| self.find(it.version));
        let applied = found.filter(|it| it.state == PrismaState::Applied);
        let is_whole = |prisma: &PrismaMigration| {
            let mut completed = reverted
                .iter()
                .filter_map(|it| self.completed_by(it.version, Recording::Reverted));
            prisma.is_ours && completed.any(|it| it.name == prisma.name)
        };
        let all = applied.map(|it| (it.name.as_str(), is_whole(it)));
        all.filter(|(_, is_whole)| !(self.writes_history && *is_whole))
            .collect()
    }

    /// The migrations whose state in Prisma's ledger is not that in ours, with the SQL that makes them agree.
    pub fn defects(
        &self,
        db: &Db,
        statuses: &[MigrationStatus],
        application_schema: &str,
    ) -> Vec<Defect> {
        let of_states = statuses.iter();
        let of_states = of_states
            .filter_map(|status| self.state_defect(db, status, statuses, application_schema));
        let of_rows = statuses.iter().filter_map(|status| {
            let migration = Migration::find(&status.version)?;
            let prisma = self.completed_by(migration.version, Recording::Reverted)?;
            Some(row_defects(migration, prisma))
        });
        let failed = self.failed.iter().map(|name| Defect {
            object: format!("Prisma's migration {name}"),
            problem: "failed, or is running: `prisma migrate deploy` applies nothing until it is resolved"
                .to_owned(),
            fix: Some(format!(
                "npx prisma migrate resolve --rolled-back {name} -- or --applied, if all its changes are in the database"
            )),
        });
        of_states.chain(of_rows.flatten()).chain(failed).collect()
    }

    /// The difference between the state of a migration in Prisma's ledger and that in ours.
    fn state_defect(
        &self,
        db: &Db,
        status: &MigrationStatus,
        statuses: &[MigrationStatus],
        application_schema: &str,
    ) -> Option<Defect> {
        let migration = Migration::find(&status.version)?;
        let prisma = self.find(migration.version)?;
        let parts: Vec<&str> = self.parts(prisma).collect();
        let parts = statuses
            .iter()
            .filter(|it| parts.contains(&it.version.as_str()));
        let mut states = parts.map(|it| it.state);
        let is_divided = states.any(|it| it != status.state);
        let (problem, how) = match (status.state, prisma.state) {
            (MigrationState::Partial | MigrationState::Unadopted, _) => return None,
            // Neither state of Prisma's ledger would be true.
            (MigrationState::Pending, _) if is_divided => {
                return Some(Defect {
                    object: format!("migration {migration}"),
                    problem: format!(
                        "is pending, but other parts of Prisma's {} are applied",
                        prisma.name
                    ),
                    fix: Some("usagectl migrate".to_owned()),
                });
            }
            _ if is_divided => return None,
            (MigrationState::Pending, PrismaState::Applied) => (
                "is pending, but applied in Prisma's ledger",
                Recording::Reverted,
            ),
            (MigrationState::Pending, _) | (_, PrismaState::Applied) => return None,
            (_, PrismaState::Failed) => (
                "is applied, but failed in Prisma's ledger",
                Recording::Adopted,
            ),
            (_, PrismaState::RolledBack) => (
                "is applied, but rolled back in Prisma's ledger",
                Recording::Adopted,
            ),
            (_, PrismaState::Absent) => (
                "is applied, but not recorded in Prisma's ledger",
                Recording::Adopted,
            ),
        };
        self.completed_by(migration.version, how)?;
        let sync = PrismaSync {
            writes_history: true,
            ..self.clone()
        };
        // Prisma's lock is held until the end of the transaction.
        let begin = match db {
            Db::Pg(_) => format!("BEGIN;\n{};\n", search_path(application_schema)),
            Db::Sqlite(_) => "BEGIN IMMEDIATE;\n".to_owned(),
        };
        let fix = sync.script(db, migration, how, script::now(db));
        Some(Defect {
            object: format!("migration {migration}"),
            problem: problem.to_owned(),
            fix: (!fix.is_empty()).then(|| format!("{begin}{fix}COMMIT;")),
        })
    }

    /// Records that `migration` was applied or reverted, inside the transaction of our own ledger row.
    /// [`Exit::Busy`] if `prisma migrate` is running.
    pub(super) fn write(
        &self,
        db: &mut Db,
        migration: &Migration,
        how: Recording,
        at: UtcTimestamp,
    ) -> Result<()> {
        let Some(prisma) = self.completed_by(migration.version, how) else {
            return Ok(());
        };
        let is_true = match how {
            Recording::Reverted => !(self.writes_history && prisma.is_ours),
            _ => prisma.state == PrismaState::Applied,
        };
        if is_true {
            return Ok(());
        }
        lock(db)?;
        let update = update(db, how, "$1", "$2");
        let at = in_order(migration, at);
        fault::point("prisma");
        on!(db, |conn| sql_query(&update)
            .bind::<Timestamp, _>(at)
            .bind::<Text, _>(&prisma.name)
            .execute(conn))?;
        if how != Recording::Reverted {
            let insert = insert(db, how, "$1", "$2", "$3", "$4");
            fault::point("prisma");
            on!(db, |conn| sql_query(&insert)
                .bind::<Text, _>(Uuid::new_v4().to_string())
                .bind::<Text, _>(&prisma.checksum)
                .bind::<Timestamp, _>(at)
                .bind::<Text, _>(&prisma.name)
                .execute(conn))?;
        }
        Ok(())
    }

    /// The statements of [`PrismaSync::write`] for psql or sqlite3; `now` is the engine's clock.
    pub(super) fn script(
        &self,
        db: &Db,
        migration: &Migration,
        how: Recording,
        now: &str,
    ) -> String {
        let Some(prisma) = self.completed_by(migration.version, how) else {
            return String::new();
        };
        let name = literal(&prisma.name);
        let lock = match db {
            Db::Pg(_) => {
                format!("DO $$ BEGIN PERFORM pg_advisory_xact_lock({LOCK_KEY}); END $$;\n")
            }
            Db::Sqlite(_) => String::new(),
        };
        let update = update(db, how, now, &name);
        if how == Recording::Reverted {
            return match self.writes_history && prisma.is_ours {
                true => format!("{lock}{update};\n"),
                false => String::new(),
            };
        }
        let id = literal(&Uuid::new_v4().to_string());
        let insert = insert(db, how, &id, &literal(&prisma.checksum), now, &name);
        format!("{lock}{update};\n{insert};\n")
    }
}

/// The rows of Prisma's ledger for a migration that Prisma itself objects to.
fn row_defects(migration: &Migration, prisma: &PrismaMigration) -> Vec<Defect> {
    let mut defects = Vec::new();
    let name = literal(&prisma.name);
    let mut add = |problem: String, sql: String| {
        defects.push(Defect {
            object: format!("migration {migration}"),
            problem,
            fix: Some(sql),
        });
    };
    if prisma.is_edited {
        let problem = format!(
            "has another checksum in Prisma's ledger than {}",
            prisma.name
        );
        let checksum = literal(&prisma.checksum);
        let sql = format!(
            "UPDATE _prisma_migrations SET checksum = {checksum} \
             WHERE migration_name = {name} AND rolled_back_at IS NULL;"
        );
        add(problem, sql);
    }
    if prisma.has_stray_row {
        let stray = migration.to_string();
        let problem = format!(
            "is in Prisma's ledger as {stray}, which has no folder: Prisma calls it {}",
            prisma.name
        );
        let stray = literal(&stray);
        let sql = format!("DELETE FROM _prisma_migrations WHERE migration_name = {stray};");
        add(problem, sql);
    }
    defects
}

/// What happened to a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recording {
    /// Recorded as by `prisma migrate deploy`.
    Applied,
    /// Recorded as by `prisma migrate resolve --applied`.
    Adopted,
    /// Marked as rolled back, so that `prisma migrate deploy` applies it again.
    Reverted,
}

impl From<Direction> for Recording {
    fn from(direction: Direction) -> Recording {
        match direction {
            Direction::Up => Recording::Applied,
            Direction::Down => Recording::Reverted,
        }
    }
}

/// Matches our migrations that create tables of the application.
fn match_all(
    db: &Db,
    rows: &[PrismaRow],
    folders: Option<&[PrismaFolder]>,
) -> Vec<(&'static Migration, Option<PrismaMigration>)> {
    let application = || ALL.iter().filter(|it| it.is_application());
    let effects: Vec<_> = application().map(|it| it.effect(db)).collect();
    let own: Vec<OwnMigration<'_>> = application()
        .zip(&effects)
        .map(|(migration, effect)| OwnMigration {
            version: migration.version,
            name: migration.name,
            tables: effect.tables().collect(),
        })
        .collect();
    application().zip(matching(&own, rows, folders)).collect()
}

/// Tries Prisma's lock until the end of the transaction. On SQLite our write transaction excludes Prisma's.
fn lock(db: &mut Db) -> Result<()> {
    let is_locked = match db {
        Db::Pg(_) => {
            let query = format!("SELECT pg_try_advisory_xact_lock({LOCK_KEY})");
            is_true(db, &query)?
        }
        Db::Sqlite(_) => true,
    };
    if is_locked {
        return Ok(());
    }
    Err(Error::message(
        Exit::Busy,
        "`prisma migrate` is running (it holds advisory lock 72707369)",
    )
    .with_next("run the same command again with --lock-wait 60s"))
}

/// The time of the row: Prisma reads its ledger in this order.
fn in_order(migration: &Migration, at: UtcTimestamp) -> UtcTimestamp {
    let index = ALL.iter().position(|it| it == migration).unwrap_or(0);
    let milliseconds = i64::try_from(index).unwrap_or_default();
    UtcTimestamp::new(at.utc() + TimeDelta::milliseconds(milliseconds))
}

/// Marks rows as rolled back: of a reverted migration the finished ones, else the failed ones.
fn update(db: &Db, how: Recording, at: &str, name: &str) -> String {
    let finished = match how {
        Recording::Reverted => "",
        Recording::Applied | Recording::Adopted => " AND finished_at IS NULL",
    };
    format!(
        "UPDATE _prisma_migrations SET rolled_back_at = {} \
         WHERE migration_name = {name} AND rolled_back_at IS NULL{finished}",
        time(db, at)
    )
}

/// Inserts an applied row, unless there is one. The values are SQL expressions.
fn insert(db: &Db, how: Recording, id: &str, checksum: &str, at: &str, name: &str) -> String {
    let (logs, steps) = match how {
        Recording::Adopted => ("''", 0),
        Recording::Applied | Recording::Reverted => ("NULL", 1),
    };
    let at = time(db, at);
    format!(
        "INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name, logs, started_at, \
             applied_steps_count) \
         SELECT {id}, {checksum}, {at}, {name}, {logs}, {at}, {steps} WHERE NOT EXISTS ( \
             SELECT 1 FROM _prisma_migrations \
             WHERE migration_name = {name} AND finished_at IS NOT NULL AND rolled_back_at IS NULL)"
    )
}

/// A time in UTC as Prisma's ledger stores it: on SQLite text, or milliseconds if other rows have them.
fn time(db: &Db, at: &str) -> String {
    match db {
        Db::Pg(_) => format!("CAST({at} AS timestamp) AT TIME ZONE 'UTC'"),
        Db::Sqlite(_) => format!(
            "CASE (SELECT typeof(started_at) FROM _prisma_migrations LIMIT 1) \
             WHEN 'integer' THEN CAST(strftime('%s', {at}) AS INTEGER) * 1000 ELSE {at} END"
        ),
    }
}
