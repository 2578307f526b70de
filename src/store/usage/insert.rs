//! Inserts usage records into `api_usage`.
//!
//! A batch is inserted within one transaction of the caller: first into a temporary table, by COPY on
//! PostgreSQL and by a prepared insert on SQLite. From there one statement moves the rows whose ids are
//! new. A row whose id exists stays as it is and is compared: the same content is a duplicate, other
//! content is refused. Rows that another session of PostgreSQL inserts at the same time are waited for, and
//! found.
//!
//! Why not row by row on SQLite? In case a statement fails half-way, SQLite sets aside every page that
//! it changes on a table with triggers: eighteen writes for every single row, one or two when a batch
//! is one statement.
//!
//! A row that the database refuses although it passed every check (a CHECK or a trigger of the
//! application, a character its encoding lacks) does not fail the batch: it is moved in halves, and these in
//! halves, until the row stands alone.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::Range;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{BigInt, Integer, Timestamp};

use crate::domain::usage::batch::UsageBatch;
use crate::domain::usage::record::{NewUsage, UsageRecord};
use crate::store::db::{Db, is_busy, is_full, on};
use crate::store::prelude::*;
use crate::store::schema::api_usage;
use crate::store::types::{LenientInt, MaybeTimestamp};

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// New rows.
    pub inserted: u64,
    /// Rows that existed with the same content.
    pub duplicate: u64,
    /// Rows that were refused, by their index in the batch, in its order.
    pub refused: Vec<(usize, Refused)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The id exists with other content; this field is the first that differs.
    Conflict(&'static str),
    /// By the database, with its message.
    Database(String),
}

/// Inserts a batch into `api_usage`, within a transaction of the caller.
pub fn load(db: &mut Db, batch: &UsageBatch, created_at: UtcTimestamp) -> QueryResult<Loaded> {
    let mut order: Vec<usize> = (0..batch.len()).collect();
    // In the order of ids, so that two runs that insert the same ids never deadlock. The sort is stable:
    // of equal ids the first line is inserted.
    order.sort_by_key(|index| batch.id(*index));
    let mut load = Load {
        created_at,
        passed: 0,
        moved: 0,
        refused: Vec::new(),
        doubt: None,
    };
    stage(db, batch, &order)?;
    load.piece(db, 0..order.len())?;
    load.finish(db, batch, &order)
}

/// Whether a row with this id was recorded at or before `until`.
pub fn was_recorded(db: &mut Db, id: &str, until: UtcTimestamp) -> QueryResult<bool> {
    let row = api_usage::table
        .filter(api_usage::id.eq(id))
        .filter(api_usage::created_at.le(until));
    on!(db, |conn| diesel::select(diesel::dsl::exists(row))
        .get_result(conn))
}

/// After this many refusals without an accepted row, the rows are not the cause.
const HOPELESS: usize = 100;

struct Load {
    created_at: UtcTimestamp,
    /// Rows that the database accepts.
    passed: usize,
    /// The new ones among them.
    moved: usize,
    /// Rows that the database refuses, by their place in the temporary table, with its messages.
    refused: Vec<(usize, String)>,
    /// The first error that may have another cause than the row.
    doubt: Option<DieselError>,
}

impl Load {
    /// Moves a part of the temporary table, in halves where the database refuses a row.
    fn piece(&mut self, db: &mut Db, range: Range<usize>) -> QueryResult<()> {
        let moved = db.savepoint(|db| move_staged(db, &range, self.created_at));
        match moved {
            Ok(moved) => {
                self.moved += moved;
                self.passed += range.len();
            }
            Err(error) if blame(&error) == Blame::Elsewhere => return Err(error),
            Err(error) if range.len() < 2 => self.refuse(range.start, error)?,
            Err(_) => {
                let middle = range.start + range.len() / 2;
                self.piece(db, range.start..middle)?;
                self.piece(db, middle..range.end)?;
            }
        }
        Ok(())
    }

    fn refuse(&mut self, place: usize, error: DieselError) -> QueryResult<()> {
        if let DieselError::DatabaseError(_, information) = &error {
            let words: Vec<&str> = information.message().split_whitespace().collect();
            self.refused.push((place, words.join(" ")));
        }
        if blame(&error) == Blame::InDoubt {
            let first = self.doubt.get_or_insert(error);
            if self.passed == 0 && self.refused.len() >= HOPELESS {
                return Err(std::mem::replace(first, DieselError::RollbackTransaction));
            }
        }
        Ok(())
    }

    /// Compares the rows that existed, and adds everything up.
    fn finish(self, db: &mut Db, batch: &UsageBatch, order: &[usize]) -> QueryResult<Loaded> {
        // An ambiguous error is about single rows if others were accepted.
        if let Some(error) = self.doubt
            && self.passed == 0
        {
            return Err(error);
        }
        let mut refused: Vec<(usize, Refused)> = self
            .refused
            .into_iter()
            .map(|(place, words)| (order[place], Refused::Database(words)))
            .collect();
        let mut duplicate = self.passed - self.moved;
        if duplicate > 0 {
            let (places, stored) = differing(db, batch, order)?;
            for place in places {
                let index = order[place];
                let stored = stored.get(batch.id(index));
                let usage = batch.get(index);
                let field = stored
                    .zip(usage)
                    .and_then(|(stored, usage)| stored.first_difference(&usage));
                if let Some(field) = field {
                    refused.push((index, Refused::Conflict(field)));
                    duplicate -= 1;
                }
            }
        }
        refused.sort_by_key(|(index, _)| *index);
        Ok(Loaded {
            inserted: self.moved as u64,
            duplicate: duplicate as u64,
            refused,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Blame {
    Row,
    /// Unknown, because Diesel passes no SQLSTATE: the row, a missing privilege, a full disk.
    InDoubt,
    /// The connection, a lock, a bug.
    Elsewhere,
}

fn blame(error: &DieselError) -> Blame {
    use DatabaseErrorKind as Kind;
    match error {
        DieselError::DatabaseError(
            Kind::UniqueViolation
            | Kind::ForeignKeyViolation
            | Kind::NotNullViolation
            | Kind::CheckViolation
            | Kind::RestrictViolation
            | Kind::ExclusionViolation,
            _,
        ) => Blame::Row,
        DieselError::DatabaseError(Kind::Unknown, information)
            if !is_busy(error)
                && !is_full(information.message())
                && !information.message().contains("canceling statement") =>
        {
            Blame::InDoubt
        }
        _ => Blame::Elsewhere,
    }
}

/// A stored row, by any writer. An adopted database may have NULL in columns that are not nullable here.
#[derive(Queryable, Selectable)]
#[diesel(table_name = api_usage)]
struct Stored {
    api_name: String,
    endpoint: Option<String>,
    timestamp: MaybeTimestamp,
    #[diesel(select_expression = api_usage::success.nullable())]
    success: Option<bool>,
    status_code: Option<LenientInt>,
    method: Option<String>,
    response_time: Option<LenientInt>,
    request_size: Option<LenientInt>,
    response_size: Option<LenientInt>,
    error_type: Option<String>,
    error_message: Option<String>,
    cost_credits: Option<f64>,
    #[diesel(select_expression = api_usage::cached.nullable())]
    cached: Option<bool>,
    user_id: Option<String>,
}

impl Stored {
    /// The first field in which the row differs from the record.
    fn first_difference(&self, usage: &NewUsage<'_>) -> Option<&'static str> {
        usage.first_difference(&UsageRecord {
            id: usage.record.id,
            api_name: &self.api_name,
            endpoint: self.endpoint.as_deref(),
            method: self.method.as_deref(),
            // An unreadable one is earlier than that of any record.
            timestamp: self.timestamp.0.unwrap_or(DateTime::<Utc>::MIN_UTC),
            success: self.success.unwrap_or(true),
            status_code: self.status_code.map(i32::from),
            response_time: self.response_time.map(i32::from),
            request_size: self.request_size.map(i32::from),
            response_size: self.response_size.map(i32::from),
            error_type: self.error_type.as_deref(),
            error_message: self.error_message.as_deref(),
            cost_credits: self.cost_credits,
            cached: self.cached.unwrap_or(false),
            user_id: self.user_id.as_deref(),
        })
    }
}

/// Passes the columns that a record fills to a macro: name, Diesel's type, the type in both engines, and how
/// a field becomes a value, if not as it is.
macro_rules! usage_columns {
    ($then:ident $($args:tt)*) => {
        $then! {
            [$($args)*]
            id [Text] "TEXT",
            api_name [Text] "TEXT",
            endpoint [Nullable<Text>] "TEXT",
            timestamp [Timestamp] "TIMESTAMP(3)" UtcTimestamp::new,
            success [Bool] "BOOLEAN",
            status_code [Nullable<Integer>] "INTEGER",
            method [Nullable<Text>] "TEXT",
            response_time [Nullable<Integer>] "INTEGER",
            request_size [Nullable<Integer>] "INTEGER",
            response_size [Nullable<Integer>] "INTEGER",
            error_type [Nullable<Text>] "TEXT",
            error_message [Nullable<Text>] "TEXT",
            cost_credits [Nullable<Double>] "DOUBLE PRECISION",
            cached [Bool] "BOOLEAN",
            user_id [Nullable<Text>] "TEXT",
        }
    };
}

macro_rules! staged_table {
    ([] $($column:ident [$($sql_type:tt)+] $type:literal $($convert:path)?,)+) => {
        mod staging {
            diesel::table! {
                /// Rows on their way into `api_usage`.
                usagectl_staged_usage (place) {
                    place -> Integer,
                    $($column -> $($sql_type)+,)+
                }
            }
        }

        const COLUMNS: &[&str] = &[$(stringify!($column)),+];
        const COLUMN_DEFINITIONS: &[&str] = &[$(concat!(stringify!($column), " ", $type)),+];
    };
}
usage_columns!(staged_table);
use staging::usagectl_staged_usage as staged;

macro_rules! staged_values {
    ([$place:ident, $record:ident] $($column:ident [$($sql_type:tt)+] $type:literal $($convert:path)?,)+) => {
        (staged::place.eq($place), $(staged::$column.eq($($convert)?($record.$column)),)+)
    };
}

/// The columns that a record fills, for SQL.
fn columns(prefix: &str) -> String {
    let names: Vec<String> = COLUMNS.iter().map(|it| format!("{prefix}{it}")).collect();
    names.join(", ")
}

/// A batch of this many rows may take seconds on a slow server.
const LONG_BATCH: usize = 1_000;

/// Lets the server notice within a second that the client was killed, for the rest of the transaction. The
/// setting is new in PostgreSQL 14, and some platforms refuse it.
const END_WITH_CLIENT: &str = "SELECT set_config(name, '1s', true) FROM pg_settings
     WHERE name = 'client_connection_check_interval' AND version() LIKE '%linux%'";

/// Fills the temporary table with the rows of a batch, in this order. Behind a pooler it must not outlive
/// the transaction.
fn stage(db: &mut Db, batch: &UsageBatch, order: &[usize]) -> QueryResult<()> {
    let prepare = |key: &str, after: &str| {
        let columns = COLUMN_DEFINITIONS.join(", ");
        format!(
            "CREATE TEMPORARY TABLE IF NOT EXISTS usagectl_staged_usage (place INTEGER {key}, {columns}) {after}.usagectl_staged_usage"
        )
    };
    match db {
        Db::Pg(postgres) => postgres.run(|conn| -> QueryResult<()> {
            if batch.len() >= LONG_BATCH {
                conn.batch_execute(END_WITH_CLIENT)?;
            }
            conn.batch_execute(&prepare("", "ON COMMIT DROP; TRUNCATE pg_temp"))?;
            diesel::copy_from(staged::table)
                .from_raw_data(staged::all_columns, |out: &mut dyn Write| {
                    copy(batch, order, out)
                })
                .execute(conn)
                .map_err(|CopyError(error)| error)?;
            Ok(())
        })?,
        Db::Sqlite(conn) => {
            conn.batch_execute(&prepare("PRIMARY KEY", "; DELETE FROM temp"))?;
            for (place, index) in (0_i32..).zip(order) {
                let Some(NewUsage { record, .. }) = batch.get(*index) else {
                    continue;
                };
                diesel::insert_into(staged::table)
                    .values(usage_columns!(staged_values place, record))
                    .execute(conn)?;
            }
        }
    }
    Ok(())
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Moves a part of the temporary table and returns the number of rows; rows whose ids exist stay as they are.
fn move_staged(db: &mut Db, places: &Range<usize>, created_at: UtcTimestamp) -> QueryResult<usize> {
    let (start, end) = (places.start as i64, places.end as i64);
    let columns = columns("");
    // SQLite requires the WHERE, or it would take ON for a join's.
    let insert = format!(
        "INSERT INTO api_usage ({columns}, created_at)
         SELECT {columns}, $1 FROM usagectl_staged_usage WHERE place >= $2 AND place < $3
         ON CONFLICT (id) DO NOTHING"
    );
    match db {
        Db::Sqlite(conn) => diesel::sql_query(insert)
            .bind::<Timestamp, _>(created_at)
            .bind::<BigInt, _>(start)
            .bind::<BigInt, _>(end)
            .execute(conn),
        Db::Pg(postgres) => {
            // Counted, because the command tag of such a statement is wrong on Citus.
            let counted =
                format!("WITH added AS ({insert} RETURNING 1) SELECT count(*) AS count FROM added");
            let added: Count = postgres.run(|conn| {
                diesel::sql_query(counted)
                    .bind::<Timestamp, _>(created_at)
                    .bind::<BigInt, _>(start)
                    .bind::<BigInt, _>(end)
                    .get_result(conn)
            })?;
            Ok(added.count.unsigned_abs() as usize)
        }
    }
}

/// The stored rows that differ from those in the temporary table: the places there, and the rows by id. Rows
/// that were moved just now differ in nothing.
fn differing(
    db: &mut Db,
    batch: &UsageBatch,
    order: &[usize],
) -> QueryResult<(Vec<usize>, HashMap<String, Stored>)> {
    // Each staged row looks its id up. The order is fixed, because statistics may be missing or those of an empty
    // table, and then the planner reads one table for each row of the other.
    let from = match db {
        Db::Pg(_) => format!(
            "usagectl_staged_usage staged
             CROSS JOIN LATERAL (SELECT {} FROM api_usage WHERE api_usage.id = staged.id OFFSET 0) stored",
            columns("api_usage.")
        ),
        Db::Sqlite(_) => {
            "usagectl_staged_usage staged CROSS JOIN api_usage stored ON stored.id = staged.id".to_owned()
        }
    };
    let sql = format!(
        "SELECT staged.place FROM {from} WHERE ({}) IS DISTINCT FROM ({}) ORDER BY staged.place",
        columns("stored."),
        columns("staged."),
    );
    let index_only = |db: &mut Db, setting: &str| match db {
        Db::Pg(postgres) => postgres.batch_execute(&format!("SET LOCAL enable_seqscan {setting}")),
        Db::Sqlite(_) => Ok(()),
    };
    index_only(db, "= off")?;
    let places: Vec<Place> = on!(db, |conn| diesel::sql_query(&sql).load(conn))?;
    let places = places.iter().map(|row| row.place.unsigned_abs() as usize);
    let places: Vec<usize> = places.collect();
    let ids: Vec<&str> = places.iter().map(|place| batch.id(order[*place])).collect();
    let rows: Vec<(String, Stored)> = on!(db, |conn| api_usage::table
        .filter(api_usage::id.eq_any(&ids))
        .select((api_usage::id, Stored::as_select()))
        .load(conn))?;
    index_only(db, "TO DEFAULT")?;
    Ok((places, rows.into_iter().collect()))
}

#[derive(QueryableByName)]
struct Place {
    #[diesel(sql_type = Integer)]
    place: i32,
}

/// Diesel's COPY requires an error that an I/O error converts into.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct CopyError(#[from] DieselError);

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> CopyError {
        CopyError(DieselError::SerializationError(error.into()))
    }
}

/// Bytes passed to libpq at once.
const COPY_BYTES: usize = 64 * 1024;

macro_rules! copy_values {
    ([$lines:ident, $record:ident] $($column:ident [$($sql_type:tt)+] $type:literal $($convert:path)?,)+) => {
        $($lines.value($($convert)?($record.$column));)+
    };
}

/// Writes rows in PostgreSQL's text format.
fn copy(batch: &UsageBatch, order: &[usize], out: &mut dyn Write) -> Result<(), CopyError> {
    let mut lines = CopyLines::default();
    for (place, index) in order.iter().enumerate() {
        let Some(NewUsage { record, .. }) = batch.get(*index) else {
            continue;
        };
        lines.value(place);
        usage_columns!(copy_values lines, record);
        lines.end();
        if lines.0.len() >= COPY_BYTES {
            out.write_all(lines.0.as_bytes())?;
            lines.0.clear();
        }
    }
    Ok(out.write_all(lines.0.as_bytes())?)
}

/// Lines for COPY: values end with a tab.
#[derive(Default)]
struct CopyLines(String);

impl CopyLines {
    fn value(&mut self, value: impl CopyValue) {
        value.write(&mut self.0);
        self.0.push('\t');
    }

    /// Replaces the last value's tab by a line end.
    fn end(&mut self) {
        self.0.pop();
        self.0.push('\n');
    }
}

trait CopyValue {
    fn write(self, out: &mut String);
}

impl<V: CopyValue> CopyValue for Option<V> {
    fn write(self, out: &mut String) {
        match self {
            Some(value) => value.write(out),
            None => out.push_str("\\N"),
        }
    }
}

impl CopyValue for &str {
    fn write(self, out: &mut String) {
        let mut text = self;
        while let Some(at) = text.find(['\\', '\t', '\n', '\r']) {
            let (plain, special) = text.split_at(at);
            out.push_str(plain);
            out.push_str(match special.as_bytes()[0] {
                b'\t' => "\\t",
                b'\n' => "\\n",
                b'\r' => "\\r",
                _ => "\\\\",
            });
            text = &special[1..];
        }
        out.push_str(text);
    }
}

impl CopyValue for UtcTimestamp {
    fn write(self, out: &mut String) {
        // A column without a zone drops the offset, which is always that of UTC.
        let _ = self.write_sqlite_text(out);
    }
}

macro_rules! copy_displayed {
    ($($type:ty),+) => {
        $(impl CopyValue for $type {
            fn write(self, out: &mut String) {
                // Writing to a string does not fail.
                let _ = write!(out, "{self}");
            }
        })+
    };
}
copy_displayed!(bool, i32, usize, f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_escapes_special_characters() {
        let mut lines = CopyLines::default();
        lines.value(Some("a\tb\\\r\n\\N\\.é"));
        lines.value(None::<&str>);
        lines.value(Some(""));
        lines.value(Some(0.1));
        lines.value(None::<i32>);
        lines.value(Some(true));
        lines.value(UtcTimestamp::new(DateTime::UNIX_EPOCH));
        lines.end();
        assert_eq!(
            lines.0,
            "a\\tb\\\\\\r\\n\\\\N\\\\.é\t\\N\t\t0.1\t\\N\ttrue\t1970-01-01T00:00:00.000+00:00\n"
        );
    }
}
