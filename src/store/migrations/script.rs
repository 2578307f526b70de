//! A plan as a script for psql or sqlite3: the statements and transactions of `run`.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use diesel::QueryResult;

use super::estimate::table_size;
use super::ledger::{self, NewLogRow, STARTED};
use super::prisma::Recording;
use super::run::{LogContext, SESSION_LIMITS, lock_limit, search_path};
use super::triggers::broken_triggers;
use super::{Direction, Migration, Survey, indexes, tables};
use crate::domain::schema::index::{self, FoundIndex, IndexAction};
use crate::domain::schema::script::{self, Step};
use crate::store::db::Db;
use crate::store::lock;

/// The script that does what running `plan` would do; `setup` is run first.
pub fn script(
    db: &mut Db,
    survey: &Survey,
    plan: &[&Migration],
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
    if !setup.is_empty() && !plan.is_empty() {
        let _ = write!(out, "\n{begin}{}COMMIT;\n", setup.concat());
    }
    if direction == Direction::Up {
        let path = match db {
            Db::Pg(_) => search_path(entry.application_schema) + ";\n",
            Db::Sqlite(_) => String::new(),
        };
        for triggers in broken_triggers(db, &survey.statuses)? {
            let table = triggers.table();
            for sql in triggers.repair(db) {
                let _ = write!(
                    out,
                    "\n-- restore the triggers on {table}\n{begin}{path}{sql}\nCOMMIT;\n"
                );
            }
        }
    }
    for migration in plan {
        let sql = migration.sql(db, direction);
        let steps = script::parse(&sql);
        for (position, step) in steps.iter().enumerate().skip(survey.steps_done(migration)) {
            let number = [position + 1, steps.len()];
            let repetitions = match step.repeat {
                // One more finds nothing left to do, one more is for rows that are added before the script
                // is run.
                Some(repeat) => {
                    let size = table_size(db, repeat.table)?.unwrap_or_default();
                    size.rows.unwrap_or(0).unsigned_abs() / repeat.rows + 3
                }
                None => 1,
            };
            let others = match step.keep {
                Some(table) => tables::others_objects(db, table, &sql)?,
                None => Vec::new(),
            };
            let expanded = step.statements.iter();
            let expanded: QueryResult<Vec<_>> = expanded
                .map(|statement| tables::expand(db, statement.sql))
                .collect();
            let written = ScriptStep {
                db,
                expanded: expanded?,
                others,
                repetitions,
                migration,
                direction,
                step,
                number,
                entry,
                begin: &begin,
            };
            written.write(&mut out, &mut found);
        }
    }
    Ok(out)
}

struct ScriptStep<'a> {
    db: &'a Db,
    migration: &'a Migration,
    direction: Direction,
    step: &'a Step<'a>,
    /// The statements with the definitions and columns of existing tables.
    expanded: Vec<Cow<'a, str>>,
    /// The statements that create objects again that are not ours.
    others: Vec<String>,
    repetitions: u64,
    /// From 1, and the number of steps.
    number: [usize; 2],
    entry: LogContext<'a>,
    /// The statements that begin a transaction.
    begin: &'a str,
}

impl ScriptStep<'_> {
    fn write(&self, out: &mut String, found: &mut Vec<FoundIndex>) {
        let [number, count] = self.number;
        let title = match (count, self.step.title) {
            (1, _) => self.migration.to_string(),
            (_, title) => format!("{}, step {number} of {count}: {title}", self.migration),
        };
        let _ = write!(out, "\n-- {title}\n");
        if self.step.concurrent().is_some() {
            self.write_concurrent(out, found);
            return;
        }
        let statements = self.statements(found, None);
        // The program repeats the step until nothing is left to do; a script cannot.
        for _ in 1..self.repetitions {
            let _ = writeln!(out, "{}{statements}COMMIT;", self.begin);
        }
        let path = match self.db {
            Db::Pg(_) => search_path(self.entry.application_schema) + ";\n",
            Db::Sqlite(_) => String::new(),
        };
        let log = self.log("done");
        let _ = writeln!(out, "{}{path}{statements}{log}COMMIT;", self.begin);
    }

    /// An index that is built or dropped outside a transaction.
    fn write_concurrent(&self, out: &mut String, found: &mut Vec<FoundIndex>) {
        let [before, after] = SESSION_LIMITS;
        let path = search_path(self.entry.application_schema);
        let started = self.log(STARTED);
        let statements = self.statements(found, Some(self.entry.application_schema));
        let done = self.log("done");
        let begin = format!("{}{path};\n", self.begin);
        let _ = write!(
            out,
            "{begin}{started}COMMIT;\n{before};\n{statements}{after};\n{begin}{done}COMMIT;\n"
        );
    }

    /// Each with its semicolon, and their effect on the indexes.
    fn statements(&self, found: &mut Vec<FoundIndex>, schema: Option<&str>) -> String {
        let mut text = String::new();
        for (statement, expanded) in self.step.statements.iter().zip(&self.expanded) {
            let sql = match &statement.index {
                None => expanded.to_string(),
                Some(change) => {
                    let action = index::action(change, found);
                    index::apply(change, found);
                    match action {
                        IndexAction::Run { name } => {
                            indexes::statement(statement.sql, change, &name, schema)
                        }
                        IndexAction::Rebuild | IndexAction::Wait => {
                            let drop = indexes::drop_leftover(change, schema);
                            let name = &change.name;
                            let sql = indexes::statement(statement.sql, change, name, schema);
                            format!("{drop};\n{sql}")
                        }
                        IndexAction::Nothing => continue,
                    }
                }
            };
            let _ = writeln!(text, "{sql};");
        }
        for object in &self.others {
            let _ = writeln!(text, "{object};");
        }
        text
    }

    /// The log row, and the ledger row if this completes the migration.
    fn log(&self, state: &'static str) -> String {
        let checksums = self.migration.checksums(self.db);
        let mut row = self
            .entry
            .log_row(self.migration, self.direction, self.number, &checksums);
        row.state = state;
        let log = log_statement(self.db, &row);
        let [number, count] = self.number;
        if state == STARTED || number < count {
            return format!("{log}\n");
        }
        let version = literal(self.migration.version);
        let ledger = ledger::ledger_name(self.db);
        let ledger = match self.direction {
            Direction::Up => format!("INSERT INTO {ledger} (version) VALUES ({version});"),
            Direction::Down => format!("DELETE FROM {ledger} WHERE version = {version};"),
        };
        let how = Recording::from(self.direction);
        let now = now(self.db);
        let prisma = self.entry.prisma.script(self.db, self.migration, how, now);
        format!("{log}\n{ledger}\n{prisma}")
    }
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
