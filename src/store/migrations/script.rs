//! A plan as a script for psql or sqlite3: the statements and transactions of `run`.

use std::fmt::Write;
use std::time::Duration;

use diesel::QueryResult;

use super::estimate::table_size;
use super::ledger::{self, DONE, NewLogRow, STARTED};
use super::run::{LogContext, SESSION_LIMITS, lock_limit, search_path};
use super::triggers::{broken_triggers, of_partitions};
use super::{Direction, Migration, Survey, indexes, owners, tables};
use crate::domain::schema::index::{self, FoundIndex, IndexAction};
use crate::domain::schema::meaning::NOW_IN_SQLITE;
use crate::domain::schema::script::{self, Step};
use crate::store::db::Db;
use crate::store::lock;

/// The script that does what running `plan` would do; `setup` is run first. Each migration is given with statements
/// that drop objects of the user, for its last step.
pub fn script(
    db: &mut Db,
    survey: &Survey,
    plan: &[(&Migration, Vec<String>)],
    direction: Direction,
    entry: LogContext<'_>,
    lock_timeout: Duration,
    setup: &[String],
) -> QueryResult<String> {
    // The indexes at each point of the script.
    let mut found = indexes::read(db)?;
    let mut out = String::new();
    // A script that continues after an error would commit part of a step.
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
    let setup = setup.concat();
    if !setup.is_empty() {
        let _ = write!(out, "\n{begin}{setup}COMMIT;\n");
    }
    let path = match db {
        Db::Pg(_) => search_path(entry.application_schema) + ";\n",
        Db::Sqlite(_) => String::new(),
    };
    if direction == Direction::Up {
        out += &repairs(
            db,
            survey,
            entry.application_schema,
            &format!("{begin}{path}"),
        )?;
    }
    // The SQL up to each point: an object that it names is not as it is now.
    let mut before = String::new();
    for (migration, drops) in plan {
        let sql = migration.runnable_sql(db, direction)?;
        before += &sql;
        before += &drops.concat();
        let steps = script::parse(&sql);
        for (position, step) in steps.iter().enumerate().skip(survey.steps_done(migration)) {
            let (number, count) = (position + 1, steps.len());
            let title = match count {
                1 => migration.to_string(),
                _ => format!("{migration}, step {number} of {count}: {}", step.title),
            };
            let _ = write!(out, "\n-- {title}\n");
            // An index that is built or dropped outside a transaction.
            let schema = step.concurrent().map(|_| entry.application_schema);
            let mut statements = statements(db, step, &before, &mut found, schema)?;
            if number == count {
                statements.insert_str(0, &drops.concat());
            }
            let row = |state| log(db, migration, direction, [number, count], entry, state);
            let done = row(DONE);
            if schema.is_some() {
                let ([before, after], started) = (SESSION_LIMITS, row(STARTED));
                let _ = write!(
                    out,
                    "{begin}{path}{started}COMMIT;\n{before};\n{statements}{after};\n{begin}{path}{done}COMMIT;\n"
                );
                continue;
            }
            if let Some(repeat) = step.repeat {
                // The program repeats the step until nothing is left to do; a script cannot. One more finds nothing
                // left to do, one more is for rows that are added before the script is run.
                let size = table_size(db, repeat.table)?.unwrap_or_default();
                for _ in 0..size.rows.unwrap_or(0).unsigned_abs() / repeat.rows + 2 {
                    let _ = writeln!(out, "{begin}{statements}COMMIT;");
                }
            }
            let _ = writeln!(out, "{begin}{path}{statements}{done}COMMIT;");
        }
    }
    if direction == Direction::Up {
        let plan: Vec<&Migration> = plan.iter().map(|(migration, _)| *migration).collect();
        for (_, sql) in of_partitions(db, &survey.after(&plan))? {
            let _ = write!(
                out,
                "\n-- create the triggers on a partition\n{begin}{path}{sql}\nCOMMIT;\n"
            );
        }
    }
    Ok(out)
}

/// The statements that restore lost triggers and invalid indexes. `begin` opens a transaction.
fn repairs(db: &mut Db, survey: &Survey, schema: &str, begin: &str) -> QueryResult<String> {
    let mut out = String::new();
    for triggers in broken_triggers(db, &survey.statuses)? {
        let table = triggers.table();
        for sql in triggers.repair(db) {
            let _ = write!(
                out,
                "\n-- restore the triggers on {table}\n{begin}{sql}\nCOMMIT;\n"
            );
        }
    }
    let [before, after] = SESSION_LIMITS;
    for (table, name) in indexes::broken_indexes(db, &survey.statuses)? {
        let sql = indexes::rebuild_statements(db, schema, &table, &name)?.join(";\n");
        let _ = write!(
            out,
            "\n-- rebuild an invalid index\n{before};\n{sql};\n{after};\n"
        );
    }
    Ok(out)
}

/// The statements of a step, each with its semicolon; changes `found` as they change the indexes. `before`: the script up
/// to this step.
fn statements(
    db: &mut Db,
    step: &Step<'_>,
    before: &str,
    found: &mut Vec<FoundIndex>,
    schema: Option<&str>,
) -> QueryResult<String> {
    let others = match step.keep {
        Some(table) => tables::others_objects(db, table, before)?,
        None => Vec::new(),
    };
    let mut text = String::new();
    for statement in &step.statements {
        let Some(change) = &statement.index else {
            let _ = writeln!(text, "{};", tables::expand(db, statement.sql)?);
            continue;
        };
        let action = index::action(change, found);
        index::apply(change, found);
        let name = match action {
            IndexAction::Nothing => continue,
            IndexAction::Run { name } => name,
            IndexAction::Rebuild | IndexAction::Wait => {
                let _ = writeln!(text, "{};", indexes::drop_leftover(change, schema));
                change.name.clone()
            }
        };
        let sql = indexes::statement(statement.sql, change, &name, schema);
        let _ = writeln!(text, "{sql};");
    }
    let owned = owners::statements(db, step)?;
    for sql in others.iter().chain(&owned) {
        let _ = writeln!(text, "{sql};");
    }
    Ok(text)
}

/// The log row, and the ledger row if this completes the migration.
fn log(
    db: &Db,
    migration: &Migration,
    direction: Direction,
    [number, count]: [usize; 2],
    entry: LogContext<'_>,
    state: &'static str,
) -> String {
    let checksums = migration.checksums(db);
    let row = NewLogRow {
        state,
        ..entry.log_row(migration, direction, [number, count], &checksums)
    };
    let log = log_statement(db, &row);
    if state == STARTED || number < count {
        return format!("{log}\n");
    }
    let version = literal(migration.version);
    let ledger = ledger::ledger_name(db);
    let ledger = match direction {
        Direction::Up => format!("INSERT INTO {ledger} (version) VALUES ({version});"),
        Direction::Down => format!("DELETE FROM {ledger} WHERE version = {version};"),
    };
    let prisma = entry
        .prisma
        .script(db, migration, direction.into(), now(db));
    format!("{log}\n{ledger}\n{prisma}")
}

/// The time at which the script is run.
pub(super) fn now(db: &Db) -> &'static str {
    match db {
        Db::Pg(_) => "clock_timestamp() AT TIME ZONE 'UTC'",
        Db::Sqlite(_) => NOW_IN_SQLITE,
    }
}

/// The time is that of running the script, not `row.at`.
pub(super) fn log_statement(db: &Db, row: &NewLogRow<'_>) -> String {
    let now = now(db);
    let log = match db {
        Db::Pg(_) => "usagectl.usagectl_migration_log",
        Db::Sqlite(_) => "usagectl_migration_log",
    };
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
        "INSERT INTO {log} (version, name, action, state, up_sha256, down_sha256, \
         application_schema, tool_version, done_by, at, duration_ms, step, step_count, detail)\n    VALUES ({}, {now}, 0, {}, {}, {detail});",
        texts.map(literal).join(", "),
        row.step,
        row.step_count
    )
}

pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
