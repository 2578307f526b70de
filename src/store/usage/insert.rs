//! Inserts usage records into `api_usage`.
//!
//! A batch is inserted within one transaction of the caller, straight into the table: by COPY on PostgreSQL and by
//! statements of many rows on SQLite. The database refuses a statement in which an id exists. Then the stored rows
//! are read and compared, and the rows whose ids are new are inserted alone: the same content is a duplicate, other
//! content is refused. Rows that another session of PostgreSQL inserts at the same time are waited for, and found.
//!
//! Why not row by row on SQLite? In case a statement fails half-way, SQLite sets aside every page that it changes on
//! a table with triggers: eighteen writes for every single row, or for every statement of many rows.
//!
//! A row that the database refuses although it passed every check (a CHECK or a trigger of the application, a
//! character its encoding lacks) does not fail the batch: its statement is repeated in parts, and these in halves,
//! until the row stands alone.

use std::collections::HashMap;
use std::io::{self, Write};

use chrono::{DateTime, Utc};
use diesel::pg::{CopyFormat, Pg};
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{Array, Bool, Double, Integer, Nullable, Text, Timestamp};
use diesel::sqlite::Sqlite;

use super::bulk::Bulk;
use crate::domain::usage::batch::UsageBatch;
use crate::domain::usage::record::{NewUsage, UsageRecord};
use crate::store::db::{Db, is_busy, is_canceled, is_full, on, unfilled_column};
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

/// Inserts a batch into `api_usage`, within a transaction of the caller. If its ids are probably stored, as in a
/// second run, they are looked up first.
pub fn load(
    db: &mut Db,
    batch: &UsageBatch,
    created_at: UtcTimestamp,
    are_known: bool,
) -> QueryResult<Loaded> {
    let mut order: Vec<usize> = (0..batch.len()).collect();
    // In the order of ids, so that two runs that insert the same ids never deadlock. The sort is stable:
    // of equal ids the first line is inserted.
    order.sort_by_key(|row| batch.id(*row));
    let is_repeated =
        |place: usize| place > 0 && batch.id(order[place]) == batch.id(order[place - 1]);
    let (repeated, first): (Vec<usize>, Vec<usize>) =
        (0..order.len()).partition(|place| is_repeated(*place));
    let mut load = Load {
        batch,
        created_at,
        are_known,
        copies: may_copy(db, batch.len())?,
        bulk: match are_known {
            false => Bulk::begin(db, batch.len())?,
            true => None,
        },
        loaded: Loaded::default(),
        doubt: None,
    };
    for places in [first, repeated] {
        let rows: Vec<usize> = places.into_iter().map(|place| order[place]).collect();
        let at_once = if load.copies {
            rows.len()
        } else {
            STATEMENT_ROWS
        };
        for rows in rows.chunks(at_once.max(1)) {
            load.rows(db, rows)?;
        }
        load.are_known = true;
    }
    if let Some(bulk) = load.bulk.take() {
        bulk.end(db)?;
    }
    load.finish()
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

struct Load<'b> {
    batch: &'b UsageBatch,
    created_at: UtcTimestamp,
    /// Whether the ids of the last rows were stored already.
    are_known: bool,
    /// Whether many rows are inserted by COPY.
    copies: bool,
    /// On SQLite, what takes the place of the triggers.
    bulk: Option<Bulk>,
    loaded: Loaded,
    /// The first error that may have another cause than the row.
    doubt: Option<DieselError>,
}

impl Load<'_> {
    fn rows(&mut self, db: &mut Db, rows: &[usize]) -> QueryResult<()> {
        if self.are_known {
            let new = self.compare(db, rows)?;
            self.add(db, &new)
        } else {
            self.add(db, rows)
        }
    }

    /// Inserts rows whose ids should be new.
    fn add(&mut self, db: &mut Db, rows: &[usize]) -> QueryResult<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let (batch, created_at, copies) = (self.batch, self.created_at, self.copies);
        let inserted = db.savepoint(|db| match db {
            Db::Pg(postgres) if copies && rows.len() > STATEMENT_ROWS => postgres.run(|conn| {
                diesel::copy_from(api_usage::table)
                    .from_raw_data(COLUMNS, |out: &mut dyn Write| {
                        copy(batch, rows, created_at, out)
                    })
                    .with_format(CopyFormat::Binary)
                    .execute(conn)
                    .map_err(|CopyError(error)| error)
            }),
            db => {
                let new = new_rows(batch, rows, created_at).collect();
                on!(db, |conn| match rows.len() {
                    STATEMENT_ROWS => InsertRows::<true>(new).execute(conn),
                    _ => InsertRows::<false>(new).execute(conn),
                })
            }
        });
        let Err(error) = inserted else {
            self.loaded.inserted += rows.len() as u64;
            if let Some(bulk) = &mut self.bulk {
                for NewUsage { record, .. } in rows.iter().filter_map(|row| batch.get(*row)) {
                    bulk.add(record.api_name, record.timestamp);
                }
            }
            return Ok(());
        };
        if blame(&error) == Blame::Elsewhere {
            return Err(error);
        }
        if let DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) = error {
            let new = self.compare(db, rows)?;
            if new.len() < rows.len() {
                return self.add(db, &new);
            }
        }
        match rows {
            [row] => self.refuse(*row, error),
            _ => rows
                .chunks(STATEMENT_ROWS.min(rows.len().div_ceil(2)))
                .try_for_each(|rows| self.add(db, rows)),
        }
    }

    fn refuse(&mut self, row: usize, error: DieselError) -> QueryResult<()> {
        if let DieselError::DatabaseError(_, information) = &error {
            let words: Vec<&str> = information.message().split_whitespace().collect();
            let refused = Refused::Database(words.join(" "));
            self.loaded.refused.push((row, refused));
        }
        if blame(&error) == Blame::InDoubt {
            let is_hopeless = self.loaded.refused.len() >= HOPELESS && !self.was_any_accepted();
            let first = self.doubt.get_or_insert(error);
            if is_hopeless {
                return Err(std::mem::replace(first, DieselError::RollbackTransaction));
            }
        }
        Ok(())
    }

    fn was_any_accepted(&self) -> bool {
        let is_conflict = |(_, refused): &(usize, Refused)| matches!(refused, Refused::Conflict(_));
        self.loaded.inserted + self.loaded.duplicate > 0
            || self.loaded.refused.iter().any(is_conflict)
    }

    /// Compares rows with those stored under their ids, and returns those whose ids are new.
    fn compare(&mut self, db: &mut Db, rows: &[usize]) -> QueryResult<Vec<usize>> {
        let mut new = Vec::new();
        for rows in rows.chunks(STATEMENT_ROWS) {
            let ids: Vec<&str> = rows.iter().map(|row| self.batch.id(*row)).collect();
            let stored = stored(db, &ids)?;
            for row in rows {
                let stored = stored.get(self.batch.id(*row));
                match stored.zip(self.batch.get(*row)) {
                    Some((stored, usage)) => match stored.first_difference(&usage) {
                        Some(field) => self.loaded.refused.push((*row, Refused::Conflict(field))),
                        None => self.loaded.duplicate += 1,
                    },
                    None => new.push(*row),
                }
            }
        }
        self.are_known = new.len() < rows.len();
        Ok(new)
    }

    fn finish(mut self) -> QueryResult<Loaded> {
        let was_any_accepted = self.was_any_accepted();
        match self.doubt.take() {
            // An ambiguous error is about single rows if others were accepted.
            Some(error) if !was_any_accepted => Err(error),
            _ => {
                self.loaded.refused.sort_by_key(|(row, _)| *row);
                Ok(self.loaded)
            }
        }
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
    let is_own =
        |(table, column): (&str, &str)| !table.starts_with("api_usage") || NAMES.contains(&column);
    match error {
        // A column of the application that no record fills; that of a domain has no name.
        error if unfilled_column(error).is_some_and(|it| !is_own(it)) => Blame::Elsewhere,
        DieselError::DatabaseError(Kind::NotNullViolation, _)
            if unfilled_column(error).is_none() =>
        {
            Blame::Elsewhere
        }
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
            if !is_busy(error) && !is_full(information.message()) && !is_canceled(error) =>
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

/// The stored rows with these ids.
fn stored(db: &mut Db, ids: &[&str]) -> QueryResult<HashMap<String, Stored>> {
    // Statistics may be missing or those of an empty table, and then the planner reads the whole table.
    if let Db::Pg(postgres) = db {
        postgres.batch_execute("SET LOCAL enable_seqscan = off")?;
    }
    let found: Vec<(String, Stored)> = on!(db, |conn| api_usage::table
        .filter(api_usage::id.eq_any(ids))
        .select((api_usage::id, Stored::as_select()))
        .load(conn))?;
    Ok(found.into_iter().collect())
}

/// A row to insert.
struct NewRow<'a> {
    record: UsageRecord<'a>,
    at: UtcTimestamp,
    created_at: UtcTimestamp,
}

fn new_rows<'a>(
    batch: &'a UsageBatch,
    rows: &[usize],
    created_at: UtcTimestamp,
) -> impl Iterator<Item = NewRow<'a>> {
    let rows = rows.iter().filter_map(|row| batch.get(*row));
    rows.map(move |NewUsage { record, .. }| NewRow {
        record,
        at: UtcTimestamp::new(record.timestamp),
        created_at,
    })
}

/// Passes the columns of a row to a macro: name, Diesel's type, PostgreSQL's type, value.
macro_rules! usage_columns {
    ($then:ident $($args:tt)*) => {
        $then! {
            [$($args)*]
            id [Text] "text" record.id,
            api_name [Text] "text" record.api_name,
            endpoint [Nullable<Text>] "text" record.endpoint,
            timestamp [Timestamp] "timestamp without time zone" at,
            success [Bool] "boolean" record.success,
            status_code [Nullable<Integer>] "integer" record.status_code,
            created_at [Timestamp] "timestamp without time zone" created_at,
            method [Nullable<Text>] "text" record.method,
            response_time [Nullable<Integer>] "integer" record.response_time,
            request_size [Nullable<Integer>] "integer" record.request_size,
            response_size [Nullable<Integer>] "integer" record.response_size,
            error_type [Nullable<Text>] "text" record.error_type,
            error_message [Nullable<Text>] "text" record.error_message,
            cost_credits [Nullable<Double>] "double precision" record.cost_credits,
            cached [Bool] "boolean" record.cached,
            user_id [Nullable<Text>] "text" record.user_id,
        }
    };
}

macro_rules! column_names {
    ([] $($column:ident [$($sql_type:tt)+] $type:literal $($value:ident).+,)+) => {
        const COLUMNS: Columns = ($(api_usage::$column,)+);
        type Columns = ($(api_usage::$column,)+);
        const NAMES: &[&str] = &[$(stringify!($column)),+];
        const TYPES: &[&str] = &[$($type),+];
    };
}
usage_columns!(column_names);

/// The most rows in a statement that is no COPY. SQLite gains little from more.
const STATEMENT_ROWS: usize = 500;

/// `INSERT INTO api_usage ... VALUES`. If `IS_FULL`, it has [`STATEMENT_ROWS`] rows, and SQLite keeps it prepared.
struct InsertRows<'a, const IS_FULL: bool>(Vec<NewRow<'a>>);

impl<const IS_FULL: bool> QueryId for InsertRows<'_, IS_FULL> {
    type QueryId = InsertRows<'static, IS_FULL>;
    const HAS_STATIC_QUERY_ID: bool = IS_FULL;
}

impl<C, const IS_FULL: bool> RunQueryDsl<C> for InsertRows<'_, IS_FULL> {}

macro_rules! insert_rows {
    ([$backend:ty] $($column:ident [$($sql_type:tt)+] $type:literal $($value:ident).+,)+) => {
        impl<const IS_FULL: bool> QueryFragment<$backend> for InsertRows<'_, IS_FULL> {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, $backend>) -> QueryResult<()> {
                if !IS_FULL {
                    out.unsafe_to_cache_prepared();
                }
                out.push_sql("INSERT INTO api_usage (");
                out.push_sql(&NAMES.join(", "));
                let mut before = ") VALUES ";
                for row in &self.0 {
                    out.push_sql(before);
                    before = "), ";
                    let mut before = "(";
                    $(
                        out.push_sql(before);
                        out.push_bind_param::<$($sql_type)+, _>(&row.$($value).+)?;
                        before = ", ";
                    )+
                    let _ = before;
                }
                out.push_sql(")");
                Ok(())
            }
        }
    };
}
usage_columns!(insert_rows Pg);
usage_columns!(insert_rows Sqlite);

/// Whether a batch of this many rows is inserted by COPY.
///
/// COPY is refused under row-level security, and its binary form requires the exact type of each column; an adopted
/// table may have others, to which an INSERT converts.
fn may_copy(db: &mut Db, rows: usize) -> QueryResult<bool> {
    let Db::Pg(postgres) = db else {
        return Ok(false);
    };
    if rows <= STATEMENT_ROWS {
        return Ok(false);
    }
    let query = diesel::sql_query(PREPARE)
        .bind::<Array<Text>, _>(NAMES)
        .bind::<Array<Text>, _>(TYPES);
    postgres.run(|conn| query.row(conn))
}

/// Lets the server notice within a second that the client was killed, for the rest of the transaction: a batch may
/// take seconds on a slow server. The setting is new in PostgreSQL 14, and some platforms refuse it.
const PREPARE: &str = "
    SELECT setting.count >= 0 AND NOT row_security_active('api_usage') AND NOT EXISTS (
        SELECT FROM unnest($1, $2) AS expected (name, type)
        LEFT JOIN pg_attribute a ON a.attrelid = 'api_usage'::regclass AND a.attname = expected.name
        LEFT JOIN pg_type t ON t.oid = a.atttypid
        WHERE expected.type IS DISTINCT FROM
            CASE t.typcategory WHEN 'S' THEN 'text' ELSE format_type(t.oid, NULL) END
    ) AS may_copy
    FROM (
        SELECT count(set_config(name, '1s', true)) FROM pg_settings
        WHERE name = 'client_connection_check_interval' AND version() LIKE '%linux%'
    ) AS setting";

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

/// Writes rows in PostgreSQL's binary format.
fn copy(
    batch: &UsageBatch,
    rows: &[usize],
    created_at: UtcTimestamp,
    out: &mut dyn Write,
) -> Result<(), CopyError> {
    let mut bytes = Vec::with_capacity(COPY_BYTES + COPY_BYTES / 4);
    bytes.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
    // No flags, and no extension of the header.
    bytes.extend_from_slice(&[0; 8]);
    for row in new_rows(batch, rows, created_at) {
        copy_row(&row, &mut bytes);
        if bytes.len() >= COPY_BYTES {
            out.write_all(&bytes)?;
            bytes.clear();
        }
    }
    bytes.extend_from_slice(&(-1_i16).to_be_bytes());
    Ok(out.write_all(&bytes)?)
}

macro_rules! copy_row {
    ([] $($column:ident [$($sql_type:tt)+] $type:literal $($value:ident).+,)+) => {
        fn copy_row(row: &NewRow<'_>, out: &mut Vec<u8>) {
            out.extend_from_slice(&(NAMES.len() as i16).to_be_bytes());
            $(row.$($value).+.copy(out);)+
        }
    };
}
usage_columns!(copy_row);

/// A value in the binary format: its length and its bytes.
trait CopyValue {
    fn copy(self, out: &mut Vec<u8>);
}

impl<V: CopyValue> CopyValue for Option<V> {
    fn copy(self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.copy(out),
            None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }
}

impl CopyValue for &[u8] {
    fn copy(self, out: &mut Vec<u8>) {
        // The limits of a record are far below 2 GiB.
        out.extend_from_slice(&(self.len() as i32).to_be_bytes());
        out.extend_from_slice(self);
    }
}

impl CopyValue for &str {
    fn copy(self, out: &mut Vec<u8>) {
        self.as_bytes().copy(out);
    }
}

impl CopyValue for bool {
    fn copy(self, out: &mut Vec<u8>) {
        [u8::from(self)].as_slice().copy(out);
    }
}

impl CopyValue for i32 {
    fn copy(self, out: &mut Vec<u8>) {
        self.to_be_bytes().as_slice().copy(out);
    }
}

impl CopyValue for f64 {
    fn copy(self, out: &mut Vec<u8>) {
        self.to_be_bytes().as_slice().copy(out);
    }
}

impl CopyValue for UtcTimestamp {
    fn copy(self, out: &mut Vec<u8>) {
        /// 2000-01-01, from which PostgreSQL counts microseconds.
        const EPOCH_MS: i64 = 946_684_800_000;
        let micros = (self.utc().timestamp_millis() - EPOCH_MS) * 1000;
        micros.to_be_bytes().as_slice().copy(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_copied_with_their_length() {
        fn copied(value: impl CopyValue) -> Vec<u8> {
            let mut out = Vec::new();
            value.copy(&mut out);
            out
        }
        assert_eq!(copied(Some("é")), [0, 0, 0, 2, 0xc3, 0xa9]);
        assert_eq!(copied(Some("")), [0; 4]);
        assert_eq!(copied(None::<&str>), [0xff; 4]);
        assert_eq!(copied(true), [0, 0, 0, 1, 1]);
        assert_eq!(copied(-2), [0, 0, 0, 4, 0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(copied(1.0), [0, 0, 0, 8, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
        let at = UtcTimestamp::new(DateTime::from_timestamp_millis(946_684_800_001).unwrap());
        assert_eq!(copied(at), [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 3, 0xe8]);
    }
}
