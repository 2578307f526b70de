//! Writes the rows and values of an export back.
//!
//! Batches commit one by one, and a second run finds every row as it should be, so an interrupted run is repeated.
//! A row or value that was written since the rollback is kept: a row is inserted if no row has its keys, a value
//! is written where its column has the default.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::Path;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::BoxedSqlQuery;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Double, Nullable, Text};
use diesel::sqlite::Sqlite;
use serde_json::Value;

use super::archive;
use super::dependents::ATTACHED;
use super::ledger::{DONE, STARTED};
use super::losses::constant_default;
use super::rows::{TableColumns, fix_text_forms};
use super::run::{LogContext, Retry};
use super::{Direction, Migration, partitioned_tables};
use crate::domain::schema::dependents::DependentKind;
use crate::domain::schema::manifest::{ColumnExport, Line, TableExport, UserObject};
use crate::domain::schema::objects::SchemaObjects;
use crate::domain::schema::value::{self, InvalidValue, Kind, Stored};
use crate::error::{Error, Exit, Result};
use crate::fault;
use crate::store::db::{Db, OWN_SCHEMA, on, quote_identifier};
use crate::store::tuples::LoadTuples;

/// What became of the rows of a table's export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoredRows {
    /// Rows inserted, or with a value written.
    pub written: u64,
    /// As exported already.
    pub unchanged: u64,
    /// Rows that still differ, because they were written since.
    pub kept: u64,
    /// Rows whose values cannot be written, because they were deleted since.
    pub missing: u64,
    /// Rows with a value that the table cannot hold.
    pub refused: u64,
    /// The column, key and reason of the first of them.
    pub problems: Vec<String>,
}

impl RestoredRows {
    fn add(&mut self, other: RestoredRows) {
        self.written += other.written;
        self.unchanged += other.unchanged;
        self.kept += other.kept;
        self.missing += other.missing;
        self.refused += other.refused;
        self.problems.extend(other.problems);
        self.problems.truncate(MAX_PROBLEMS);
    }
}

/// Refused rows that are named.
const MAX_PROBLEMS: usize = 20;

/// Rows of one statement: a few milliseconds of locks.
const BATCH_ROWS: usize = 500;

/// Parameters of one statement; SQLite allows 32,766.
const BATCH_PARAMETERS: usize = 30_000;

/// Bytes of one statement's values.
const BATCH_BYTES: usize = 4 << 20;

/// Restores one table.
pub fn restore_table(
    db: &mut Db,
    folder: &Path,
    table: &TableExport,
    found: &SchemaObjects,
    retry: &mut Retry<'_>,
) -> Result<RestoredRows> {
    let target = Target::new(db, table, found)?;
    let mut sum = RestoredRows::default();
    let mut batch = Batch::default();
    let limit = BATCH_ROWS.min(BATCH_PARAMETERS / table.columns.len().max(1));
    let mut flush = |db: &mut Db, batch: &mut Batch| -> Result<()> {
        fault::point("batch");
        sum.add(target.write_possible(db, &batch.rows, retry)?);
        *batch = Batch::default();
        Ok(())
    };
    // The last parts first: a row of a later part replaces the one of an earlier.
    let mut replaced: HashSet<String> = HashSet::new();
    for (place, part) in table.parts.iter().enumerate().rev() {
        let mut truncated = false;
        let mut keys = Vec::new();
        archive::for_each_line(folder, table, part, |line| {
            let values = match line {
                Line::Truncated => {
                    truncated = true;
                    return Ok(());
                }
                Line::Deleted(key) => {
                    keys.push(key_text(&key));
                    return Ok(());
                }
                Line::Row(values) => values,
            };
            let key = key_text(values.get(..table.key.len()).unwrap_or_default());
            if replaced.contains(&key) {
                return Ok(());
            }
            if place > 0 {
                keys.push(key);
            }
            batch.push(values);
            if batch.rows.len() >= limit || batch.bytes >= BATCH_BYTES {
                flush(db, &mut batch)?;
            }
            Ok::<(), Error>(())
        })?;
        replaced.extend(keys);
        if truncated {
            break;
        }
    }
    if !batch.rows.is_empty() {
        flush(db, &mut batch)?;
    }
    if let Db::Pg(postgres) = db
        && table.dropped
    {
        let query = sql_query(SEQUENCES).bind::<Text, _>(quote_identifier(&table.table));
        let statements: Vec<String> = postgres.run(|conn| query.rows(conn))?;
        for sql in statements {
            db.batch_execute(&sql)?;
        }
    }
    Ok(sum)
}

/// The statements that move each sequence of a table's columns past their values.
const SEQUENCES: &str = "
SELECT format('SELECT setval(%L, value) FROM %s, (SELECT %s(%I)::bigint AS value FROM %s) AS v WHERE value BETWEEN %s',
    q.oid::regclass, q.oid::regclass, CASE WHEN s.seqincrement > 0 THEN 'max' ELSE 'min' END, a.attname, a.attrelid::regclass,
    CASE WHEN s.seqincrement > 0 THEN 'last_value AND ' || s.seqmax ELSE s.seqmin || ' AND last_value' END)
FROM pg_depend o
JOIN pg_class q ON q.oid = o.objid
JOIN pg_sequence s ON s.seqrelid = q.oid
JOIN pg_attribute a ON a.attrelid = o.refobjid AND a.attnum = o.refobjsubid
WHERE o.classid = 'pg_class'::regclass AND o.refclassid = 'pg_class'::regclass AND o.deptype IN ('a', 'i')
  AND o.refobjid = to_regclass($1) AND a.atttypid = ANY ('{smallint,integer,bigint}'::regtype[])";

/// A restore of the data of migrations, for the log.
#[derive(Clone, Debug)]
pub struct RestoreLog {
    pub migrations: Vec<&'static Migration>,
    /// Absolute.
    pub folder: String,
}

impl RestoreLog {
    /// Records that it begins; the log must exist.
    pub fn start(&self, db: &mut Db, entry: LogContext<'_>, retry: &mut Retry<'_>) -> Result<()> {
        self.write(db, entry, retry, STARTED)
    }

    /// Records that it is complete.
    pub fn complete(
        &self,
        db: &mut Db,
        entry: LogContext<'_>,
        retry: &mut Retry<'_>,
    ) -> Result<()> {
        self.write(db, entry, retry, DONE)
    }

    fn write(
        &self,
        db: &mut Db,
        entry: LogContext<'_>,
        retry: &mut Retry<'_>,
        state: &'static str,
    ) -> Result<()> {
        retry.transaction(db, &[], |db| {
            for migration in &self.migrations {
                let checksums = migration.checksums(db);
                let mut row = entry.log_row(migration, Direction::Up, [1, 1], &checksums);
                row.action = "restore";
                row.state = state;
                row.detail = Some(&self.folder);
                fault::point("log");
                row.insert(db)?;
            }
            Ok(())
        })
    }
}

/// Creates an object of the user again; false if it exists, or if it is a trigger of ours, which migrations create.
pub fn restore_object(db: &mut Db, object: &UserObject, retry: &mut Retry<'_>) -> Result<bool> {
    if object.kind == DependentKind::Trigger && object.name.starts_with("usagectl_") {
        return Ok(false);
    }
    let query = match db {
        Db::Pg(_) => {
            "definitions (sql) AS (SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indisvalid
             UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger
             UNION ALL SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext
             UNION ALL SELECT pg_get_ruledef(oid) FROM pg_rewrite
             UNION ALL SELECT 'ALTER TABLE ' || conrelid::regclass || ' ADD CONSTRAINT ' || quote_ident(conname) || ' '
                 || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid <> 0
             UNION ALL SELECT $1 FROM pg_class WHERE relkind IN ('i', 'I') AND pg_table_is_visible(oid)
                 AND starts_with($1, 'ALTER INDEX ') AND right($1, length(relname) + 2) = '\"' || relname || '\"'
             UNION ALL SELECT sql FROM attached),
             -- Without its place among the others.
             enum_values (sql) AS (SELECT 'ALTER TYPE \"' || t.typname || '\" ADD VALUE IF NOT EXISTS '
                 || quote_literal(e.enumlabel) || ' ' FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
                 WHERE pg_type_is_visible(t.oid))
             SELECT (SELECT count(*) FROM definitions WHERE sql = $1)
                 + (SELECT count(*) FROM enum_values WHERE starts_with($1, sql))"
        }
        Db::Sqlite(_) => "SELECT count(*) FROM sqlite_master WHERE sql = ?",
    };
    let query = match db {
        Db::Pg(_) => format!("WITH attached AS ({ATTACHED}), {query}"),
        Db::Sqlite(_) => query.to_owned(),
    };
    let found = sql_query(&query).bind::<Text, _>(&object.sql);
    let found: i64 = on!(db, |conn| found.row(conn))?;
    if found > 0 {
        return Ok(false);
    }
    // One statement: the text is a file's.
    let is_partitioned = partitioned_tables(db)?.contains(&object.table);
    match db {
        Db::Pg(postgres) if object.kind == DependentKind::Index && !is_partitioned => {
            // Of a restore that was killed. If the server still builds it, this waits for its end.
            let leftover = sql_query(INVALID_INDEX).bind::<Text, _>(&object.sql);
            let leftover: Option<String> = postgres.run(|conn| leftover.row(conn).optional())?;
            if let Some(name) = leftover {
                let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {name}");
                retry.change_index(db, &object.name, &drop)?;
            }
            fault::point("object");
            let sql = object.sql.replacen(" INDEX ", " INDEX CONCURRENTLY ", 1);
            retry.change_index(db, &object.name, &sql)?;
        }
        _ => {
            fault::point("object");
            retry.transaction(db, std::slice::from_ref(&object.table), |db| {
                let sql = match object.kind {
                    // The server's definition leaves the partitions out.
                    DependentKind::Index => &object.sql.replacen(" ON ONLY ", " ON ", 1),
                    _ => &object.sql,
                };
                Ok(on!(db, |conn| sql_query(sql).execute(conn))?)
            })?;
        }
    }
    fault::point("object");
    Ok(true)
}

/// An index with this definition, quoted, that was not built to its end.
const INVALID_INDEX: &str = "SELECT indexrelid::regclass::text FROM pg_index
     WHERE NOT indisvalid AND pg_get_indexdef(indexrelid) = $1";

fn key_text(key: &[Value]) -> String {
    Value::Array(key.to_vec()).to_string()
}

#[derive(Default)]
struct Batch {
    rows: Vec<Vec<Value>>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, row: Vec<Value>) {
        let sizes = row.iter().map(|value| match value {
            Value::String(text) => text.len(),
            Value::Object(object) => object.values().map(|it| it.to_string().len()).sum(),
            _ => 8,
        });
        self.bytes += sizes.sum::<usize>();
        self.rows.push(row);
    }
}

/// The statements that add the columns of these tables that neither exist nor are created by `expected`, qualified.
pub fn missing_columns<'a>(
    db: &mut Db,
    tables: impl Iterator<Item = &'a TableExport>,
    expected: &SchemaObjects,
    application_schema: &str,
    engine: &str,
) -> QueryResult<Vec<String>> {
    let mut statements = Vec::new();
    for table in tables {
        let name = &table.table;
        let existing = TableColumns::read(db, name)?;
        let schema = match (&*db, name.starts_with("usagectl_")) {
            (Db::Sqlite(_), _) => String::new(),
            (Db::Pg(_), true) => format!("{OWN_SCHEMA}."),
            (Db::Pg(_), false) => quote_identifier(application_schema) + ".",
        };
        let has = |column: &String| {
            let exists = existing
                .as_ref()
                .is_some_and(|it| it.get(column).is_some() || it.generated.contains(column));
            let what = format!("column {name}.{column}");
            exists || expected.get(&what).is_some()
        };
        // Those of another engine are in its SQL.
        let definitions = match engine == db.engine() {
            true => table.definitions.as_slice(),
            false => &[],
        };
        let undefined = table.columns.iter().filter(|column| {
            let mut definitions = definitions.iter();
            !definitions.any(|it| it.name == column.name)
        });
        let undefined = undefined.map(|it| {
            let sql = format!("{} {}", quote_identifier(&it.name), it.declared);
            (&it.name, sql)
        });
        let definitions = definitions.iter().map(|it| (&it.name, it.sql.clone()));
        let missing = definitions.chain(undefined).filter(|(name, _)| !has(name));
        statements.extend(missing.map(|(_, sql)| {
            let table = quote_identifier(name);
            format!("ALTER TABLE {schema}{table} ADD COLUMN {sql};")
        }));
    }
    Ok(statements)
}

/// The table to write to, and its statements.
pub struct Target {
    table: String,
    dropped: bool,
    key_count: usize,
    /// The columns here.
    columns: Vec<ColumnExport>,
    /// Their types in the export.
    exported_types: Vec<String>,
    /// Their kinds here.
    kinds: Vec<Kind>,
    statements: Statements,
}

/// The text before and after the values.
struct Statements {
    write: String,
    /// Counts the rows that exist, and those that are as exported.
    compare: String,
    /// `values(v0, v1)`.
    head: String,
}

impl Target {
    pub fn new(db: &mut Db, table: &TableExport, found: &SchemaObjects) -> Result<Target> {
        let name = &table.table;
        let Some(existing) = TableColumns::read(db, name)? else {
            return Err(Error::message(
                Exit::Failed,
                format!("cannot restore table {name}: it does not exist"),
            )
            .with_next("usagectl migrate"));
        };
        let columns = table.columns.iter().map(|column| {
            existing.get(&column.name).cloned().ok_or_else(|| {
                let message = format!(
                    "cannot restore column {name}.{}: it does not exist",
                    column.name
                );
                Error::message(Exit::Refused, message).with_next(format!(
                    "add the column, of type {}, then run the same command again",
                    column.declared
                ))
            })
        });
        let columns: Vec<ColumnExport> = columns.collect::<Result<_>>()?;
        let exported = table.columns.iter();
        Ok(Target {
            table: name.clone(),
            dropped: table.dropped,
            key_count: table.key.len(),
            exported_types: exported.map(|it| it.declared.clone()).collect(),
            kinds: columns.iter().map(|it| Kind::of(&it.declared)).collect(),
            statements: Statements::new(db, table, &columns, found),
            columns,
        })
    }

    /// Writes the rows that the table can hold, each part in a transaction of its own.
    fn write_possible(
        &self,
        db: &mut Db,
        rows: &[Vec<Value>],
        retry: &mut Retry<'_>,
    ) -> Result<RestoredRows> {
        let error = match retry.transaction(db, std::slice::from_ref(&self.table), |db| {
            self.write(db, rows)
        }) {
            Err(error) if error.is_of_database() => error,
            done => return done,
        };
        if let [row] = rows {
            return match self.problem(db, row, &error)? {
                None => Err(error.context(format!("cannot restore table {}", self.table))),
                Some(problem) => Ok(RestoredRows {
                    refused: 1,
                    problems: vec![problem],
                    ..RestoredRows::default()
                }),
            };
        }
        let (first, second) = rows.split_at(rows.len() / 2);
        let mut sum = self.write_possible(db, first, retry)?;
        sum.add(self.write_possible(db, second, retry)?);
        Ok(sum)
    }

    /// The column whose value prevents that `row` is written, the row's key, and the reason. Nothing if the error is
    /// not about the row.
    fn problem(&self, db: &mut Db, row: &[Value], error: &Error) -> Result<Option<String>> {
        let Some(DieselError::DatabaseError(kind, information)) = error.find() else {
            return Ok(None);
        };
        let is_postgres = matches!(db, Db::Pg(_));
        let mut reason = information.message().to_owned();
        let is_named = |it: &&ColumnExport| match information.column_name() {
            Some(name) => name == it.name,
            // SQLite has it in the message only, as its name or in the condition of the check.
            None => !is_postgres && reason.split([' ', '.', '"']).any(|word| word == it.name),
        };
        let mut column = self.columns.iter().find(is_named);
        let is_constraint = matches!(
            kind,
            DatabaseErrorKind::NotNullViolation
                | DatabaseErrorKind::CheckViolation
                | DatabaseErrorKind::ForeignKeyViolation
        );
        if !is_constraint && let Db::Pg(postgres) = db {
            let row = [row.to_vec()];
            let values = postgres_values(&self.converted(&row), &self.kinds).map_err(invalid)?;
            for (it, value) in self.columns.iter().zip(&values) {
                let cast = format!("SELECT CAST($1 AS {}) IS NULL", it.declared);
                let cast = sql_query(cast).bind::<Nullable<Text>, _>(value.as_deref());
                let done: QueryResult<bool> = postgres.run(|conn| cast.row(conn));
                if let Err(DieselError::DatabaseError(_, information)) = done {
                    reason = information.message().to_owned();
                    column = Some(it);
                    break;
                }
            }
        }
        if !is_constraint && (column.is_none() || !is_postgres) {
            return Ok(None);
        }
        let key = self.columns.iter().zip(row).take(self.key_count);
        let key: Vec<String> = key
            .map(|(column, value)| format!("{} {value}", column.name))
            .collect();
        let place = column.map_or_else(String::new, |it| format!(".{}", it.name));
        let (table, key) = (&self.table, key.join(", "));
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Some(format!("{table}{place}, row {key}: {reason}")))
    }

    /// The rows with the values that the columns here hold.
    fn converted<'a>(&self, rows: &'a [Vec<Value>]) -> Cow<'a, [Vec<Value>]> {
        let types = || self.exported_types.iter().zip(&self.columns);
        let is_list = |declared: &str| declared.ends_with("[]");
        if types().all(|(from, to)| is_list(from) == is_list(&to.declared)) {
            return rows.into();
        }
        let row = |row: &Vec<Value>| {
            let values = row.iter().cloned().zip(types());
            let values =
                values.map(|(it, (from, to))| value::between_types(from, &to.declared, it));
            values.collect()
        };
        rows.iter().map(row).collect()
    }

    /// Writes some rows; in a transaction.
    pub fn write(&self, db: &mut Db, rows: &[Vec<Value>]) -> Result<RestoredRows> {
        fix_text_forms(db)?;
        let rows = &self.converted(rows);
        let Statements {
            write,
            compare,
            head,
        } = &self.statements;
        let (written, (existing, same)): (usize, (i64, i64)) = match db {
            Db::Pg(postgres) => {
                let values = postgres_values(rows, &self.kinds).map_err(invalid)?;
                let list = value_list(rows, |number| format!("${number}"));
                let query = |text: &str| {
                    let sql = format!("WITH {head} AS (VALUES {list}) {text}");
                    let query = sql_query(sql).into_boxed::<Pg>();
                    values.iter().fold(query, |query, value| {
                        query.bind::<Nullable<Text>, _>(value.as_deref())
                    })
                };
                postgres.run(|conn| {
                    let written = query(write).execute(conn)?;
                    Ok::<_, DieselError>((written, query(compare).row(conn)?))
                })?
            }
            Db::Sqlite(conn) => {
                let values = rows.iter().flatten().map(value::to_sqlite);
                let values: Vec<Stored> = values.collect::<Result<_, _>>().map_err(invalid)?;
                let list = value_list(rows, |number| match &values[number - 1] {
                    Stored::InvalidText(_) => "CAST(? AS TEXT)".to_owned(),
                    _ => "?".to_owned(),
                });
                let query = |text: &str| {
                    let sql = format!("WITH {head} AS (VALUES {list}) {text}");
                    let query = sql_query(sql).into_boxed::<Sqlite>();
                    values.iter().fold(query, bind)
                };
                (query(write).execute(conn)?, query(compare).row(conn)?)
            }
        };
        let all = rows.len() as u64;
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        let (existing, same, written) = (count(existing), count(same), written as u64);
        let missing = if self.dropped { 0 } else { all - existing };
        // What still differs: also a row that exists under another key only.
        let kept = (all - missing).saturating_sub(same);
        Ok(RestoredRows {
            written,
            unchanged: (all - missing - kept).saturating_sub(written),
            kept,
            missing,
            ..RestoredRows::default()
        })
    }
}

fn invalid(error: InvalidValue) -> Error {
    Error::new(Exit::Refused, error).with_next("restore from an unchanged copy of the export")
}

impl Statements {
    fn new(
        db: &Db,
        table: &TableExport,
        columns: &[ColumnExport],
        found: &SchemaObjects,
    ) -> Statements {
        let is_postgres = matches!(db, Db::Pg(_));
        let key_count = table.key.len();
        let name = quote_identifier(&table.table);
        let names: Vec<String> = columns
            .iter()
            .map(|it| quote_identifier(&it.name))
            .collect();
        let value = |place: usize| match columns.get(place) {
            Some(column) if is_postgres => format!("CAST(v.v{place} AS {})", column.declared),
            _ => format!("v.v{place}"),
        };
        // Some types of PostgreSQL have no equality (json, xml, point), and a dropped table may have columns of any type.
        let compared = |place: usize, text: String| match columns.get(place) {
            Some(column) if is_postgres && (table.dropped || column.declared == "json") => {
                format!("({text})::text")
            }
            _ => text,
        };
        let differs = |place: usize| {
            let current = compared(place, format!("t.{}", names[place]));
            format!(
                "{current} IS DISTINCT FROM {}",
                compared(place, value(place))
            )
        };
        let any = |conditions: Vec<String>| match conditions.as_slice() {
            [] => "false".to_owned(),
            conditions => conditions.join(" OR "),
        };
        let same_key: Vec<String> = (0..key_count)
            .map(|place| format!("t.{} = {}", names[place], value(place)))
            .collect();
        let same_key = same_key.join(" AND ");
        let others = || key_count..columns.len();
        let write = if table.dropped {
            let overriding = if is_postgres {
                " OVERRIDING SYSTEM VALUE"
            } else {
                ""
            };
            let values: Vec<String> = (0..columns.len()).map(value).collect();
            format!(
                "INSERT INTO {name} ({}){overriding} SELECT {} FROM v WHERE true ON CONFLICT DO NOTHING",
                names.join(", "),
                values.join(", ")
            )
        } else {
            // The value that a column has after `migrate`.
            let is_default = |place: usize| {
                let what = format!("column {}.{}", table.table, columns[place].name);
                let default = found
                    .get(&what)
                    .and_then(constant_default)
                    .unwrap_or("NULL");
                let current = compared(place, format!("t.{}", names[place]));
                format!("{current} IS NOT DISTINCT FROM {default}")
            };
            let sets = others().map(|place| {
                let column = &names[place];
                let default = is_default(place);
                format!(
                    "{column} = CASE WHEN {default} THEN {} ELSE t.{column} END",
                    value(place)
                )
            });
            let sets: Vec<String> = sets.collect();
            let changes =
                others().map(|place| format!("({} AND {})", is_default(place), differs(place)));
            format!(
                "UPDATE {name} AS t SET {} FROM v WHERE {same_key} AND ({})",
                sets.join(", "),
                any(changes.collect())
            )
        };
        let differences = any(others().map(differs).collect());
        let compare = format!(
            "SELECT count(*), count(CASE WHEN {differences} THEN NULL ELSE 1 END)
             FROM v JOIN {name} t ON {same_key}"
        );
        let values: Vec<String> = (0..columns.len())
            .map(|place| format!("v{place}"))
            .collect();
        Statements {
            write,
            compare,
            head: format!("v({})", values.join(", ")),
        }
    }
}

/// `($1, $2), ($3, $4)`.
fn value_list(rows: &[Vec<Value>], parameter: impl Fn(usize) -> String) -> String {
    let mut number = 0;
    let rows = rows.iter().map(|row| {
        let values = row.iter().map(|_| {
            number += 1;
            parameter(number)
        });
        format!("({})", values.collect::<Vec<_>>().join(", "))
    });
    rows.collect::<Vec<_>>().join(", ")
}

fn postgres_values(
    rows: &[Vec<Value>],
    kinds: &[Kind],
) -> Result<Vec<Option<String>>, InvalidValue> {
    let values = rows.iter().flat_map(|row| row.iter().zip(kinds));
    values
        .map(|(value, kind)| value::to_postgres(*kind, value))
        .collect()
}

fn bind<'a, Query>(
    query: BoxedSqlQuery<'a, Sqlite, Query>,
    value: &'a Stored,
) -> BoxedSqlQuery<'a, Sqlite, Query> {
    match value {
        Stored::Null => query.bind::<Nullable<Text>, _>(None::<&str>),
        Stored::Integer(value) => query.bind::<BigInt, _>(*value),
        Stored::Real(value) => query.bind::<Double, _>(*value),
        Stored::Text(text) => query.bind::<Text, _>(text.as_str()),
        Stored::InvalidText(bytes) | Stored::Blob(bytes) => {
            query.bind::<Binary, _>(bytes.as_slice())
        }
    }
}
