//! A plan as a script for psql or sqlite3: the statements and transactions of `run`.

use std::fmt::Write;
use std::time::Duration;

use chrono::DateTime;

use super::ledger::NewLogRow;
use super::prisma::{PrismaSync, Recording};
use super::run::{LogContext, lock_limit, search_paths};
use super::{Direction, Migration, checksum};
use crate::store::db::Db;
use crate::store::lock;

/// The script that does what running `plan` would do; `setup` is run first.
pub fn script(
    db: &Db,
    plan: &[&Migration],
    direction: Direction,
    application_schema: &str,
    lock_timeout: Duration,
    setup: &[String],
    prisma: &PrismaSync,
) -> String {
    let entry = LogContext {
        application_schema,
        done_by: "a script",
        // Unused: the script reads the engine's clock when it is run.
        at: DateTime::UNIX_EPOCH.into(),
        prisma,
    };
    let mut out = String::new();
    // A script that continues after an error would commit part of a migration.
    let limit = lock_limit(db, lock_timeout);
    match db {
        Db::Pg(_) => out.push_str("\\set ON_ERROR_STOP on\n"),
        Db::Sqlite(_) => {
            let _ = write!(out, ".bail on\n{limit};\n");
        }
    }
    if matches!(db, Db::Sqlite(_)) && direction == Direction::Up {
        out.push_str("PRAGMA journal_mode = WAL;\n");
    }
    let begin = match db {
        Db::Pg(_) => format!(
            "BEGIN;\n{limit};\nDO $$ BEGIN PERFORM pg_advisory_xact_lock({}, {}); END $$;\n",
            lock::KEY_SPACE,
            lock::RunKind::Migrate.number()
        ),
        Db::Sqlite(_) => "BEGIN IMMEDIATE;\n".to_owned(),
    };
    if !setup.is_empty() && !plan.is_empty() {
        let _ = write!(out, "\n{begin}{}COMMIT;\n", setup.concat());
    }
    // One transaction for each migration applied, one for all that are reverted.
    let groups: Vec<&[&Migration]> = match direction {
        Direction::Up => plan.chunks(1).collect(),
        Direction::Down if plan.is_empty() => Vec::new(),
        Direction::Down => vec![plan],
    };
    for group in groups {
        let _ = write!(out, "\n{begin}");
        for migration in group {
            step(&mut out, db, migration, direction, entry);
        }
        out.push_str("COMMIT;\n");
    }
    out
}

fn step(
    out: &mut String,
    db: &Db,
    migration: &Migration,
    direction: Direction,
    entry: LogContext<'_>,
) {
    let version = literal(migration.version);
    let ledger = match direction {
        Direction::Up => {
            format!("INSERT INTO __diesel_schema_migrations (version) VALUES ({version});")
        }
        Direction::Down => {
            format!("DELETE FROM __diesel_schema_migrations WHERE version = {version};")
        }
    };
    let checksums = [Direction::Up, Direction::Down].map(|way| checksum(&migration.sql(db, way)));
    let log = log_statement(db, &entry.log_row(migration, direction, &checksums));
    let how = match direction {
        Direction::Up => Recording::Applied,
        Direction::Down => Recording::Reverted,
    };
    let prisma = entry.prisma.script(db, migration, how, now(db));
    let sql = migration.sql(db, direction);
    let sql = sql.trim_end();
    let _ = match db {
        Db::Pg(_) => {
            let [before, after] = search_paths(entry.application_schema);
            write!(out, "{before};\n{sql}\n{after};\n{ledger}\n{log}\n{prisma}")
        }
        Db::Sqlite(_) => write!(out, "{sql}\n{ledger}\n{log}\n{prisma}"),
    };
}

/// The time at which the script is run.
pub(super) fn now(db: &Db) -> &'static str {
    match db {
        Db::Pg(_) => "clock_timestamp() AT TIME ZONE 'UTC'",
        Db::Sqlite(_) => "strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')",
    }
}

/// The time is that of running the script, not `row.at`.
pub(super) fn log_statement(db: &Db, row: &NewLogRow<'_>) -> String {
    let now = now(db);
    let texts = [
        row.version,
        row.name,
        row.action,
        row.state,
        row.up_sha256,
        row.down_sha256,
        row.application_schema,
        row.tool_version,
        row.done_by,
    ];
    let detail = row.detail.map_or("NULL".to_owned(), literal);
    format!(
        "INSERT INTO usagectl_migration_log (version, name, action, state, up_sha256, down_sha256, \
         application_schema, tool_version, done_by, at, duration_ms, step, step_count, detail)\n    VALUES ({}, {now}, 0, {}, {}, {detail});",
        texts.map(literal).join(", "),
        row.step,
        row.step_count
    )
}

pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
