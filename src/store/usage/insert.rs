//! `api_usage`: one row for every call to an API. Here: recording.
//!
//! A batch of records goes in within one transaction of the caller. First into a temporary table: by
//! COPY on PostgreSQL, by a prepared insert on SQLite. From there one statement moves what is not there
//! yet; an id that is there already is left alone, whoever wrote it, and compared: the same content is
//! a duplicate, other content is refused. What another session of PostgreSQL inserts at the same moment
//! is waited for, and found.
//!
//! Why not row by row on SQLite? In case a statement fails half-way, SQLite sets aside every page that
//! it changes on a table with triggers: eighteen writes for every single row, one or two when a batch
//! is one statement.
//!
//! A row that the database refuses although it passed every check (a CHECK or a trigger of the
//! application, a character its encoding lacks) does not cost the batch, which is moved in halves, and
//! these in halves, until the row stands alone.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::ops::Range;

use chrono::{DateTime, Utc};
use diesel::backend::Backend;
use diesel::connection::SimpleConnection;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{BigInt, Bool, Timestamp};

use crate::domain::usage::batch::UsageBatch;
use crate::domain::usage::record::{NewUsage, UsageRecord};
use crate::store::db::{Db, is_busy, on};
use crate::store::schema::api_usage;
use crate::store::time::UtcTimestamp;

/// What became of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Rows that were not there.
    pub inserted: u64,
    /// Rows that were there with the same content.
    pub duplicate: u64,
    /// Rows that are not recorded, by their index in the batch, in its order.
    pub refused: Vec<(usize, Refused)>,
}

/// Why a row is not recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its id is there with other content; this field is the first that differs.
    Conflict(&'static str),
    /// The database's own words.
    Database(String),
}

/// Puts a batch into `api_usage`, within a transaction of the caller.
pub fn load(db: &mut Db, batch: &UsageBatch, created_at: UtcTimestamp) -> QueryResult<Loaded> {
    let mut order: Vec<usize> = (0..batch.len()).collect();
    // In the order of ids, so that two runs that insert the same ones never wait for each other in a
    // circle. Of equal ids the first line stays first.
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

/// Whether a row of this id was recorded at or before `until`.
pub fn was_recorded(db: &mut Db, id: &str, until: UtcTimestamp) -> QueryResult<bool> {
    let row = api_usage::table
        .filter(api_usage::id.eq(id))
        .filter(api_usage::created_at.le(until));
    on!(db, |conn| diesel::select(diesel::dsl::exists(row))
        .get_result(conn))
}

/// After so many refusals and not one row accepted, the rows are not to blame.
const HOPELESS: usize = 100;

struct Load {
    created_at: UtcTimestamp,
    /// Rows that the database does not refuse.
    passed: usize,
    /// Of those, the ones that were not there and are now.
    moved: usize,
    /// Rows that the database refuses, by their place in the temporary table.
    refused: Vec<(usize, String)>,
    /// The first error of which it is not certain that the row is to blame.
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

    /// Looks at the rows that were there already, and adds everything up.
    fn finish(self, db: &mut Db, batch: &UsageBatch, order: &[usize]) -> QueryResult<Loaded> {
        // Words of the database that could mean anything are about single rows if others fared better.
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
            for (place, stored) in differing(db)? {
                let index = order[place.unsigned_abs() as usize];
                let contradiction = batch
                    .get(index)
                    .and_then(|usage| stored.contradicts(&usage));
                if let Some(field) = contradiction {
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

/// What an error is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blame {
    Row,
    /// Diesel hands on no code for it: the row, a missing right, a full disk.
    InDoubt,
    /// The connection, a lock, a bug of ours.
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
        DieselError::DatabaseError(Kind::Unknown, _) if !is_busy(error) => Blame::InDoubt,
        _ => Blame::Elsewhere,
    }
}

/// What a stored row says, whoever wrote it.
#[derive(Queryable)]
struct Stored {
    api_name: String,
    endpoint: Option<String>,
    timestamp: StoredTime,
    success: Option<bool>,
    status_code: Option<i32>,
    method: Option<String>,
    response_time: Option<i32>,
    request_size: Option<i32>,
    response_size: Option<i32>,
    error_type: Option<String>,
    error_message: Option<String>,
    cost_credits: Option<f64>,
    cached: Option<bool>,
    user_id: Option<String>,
}

/// The columns of [`Stored`]. An adopted database may hold NULL in columns that are not to be null.
macro_rules! stored_columns {
    () => {
        (
            api_usage::api_name,
            api_usage::endpoint,
            api_usage::timestamp,
            api_usage::success.nullable(),
            api_usage::status_code,
            api_usage::method,
            api_usage::response_time,
            api_usage::request_size,
            api_usage::response_size,
            api_usage::error_type,
            api_usage::error_message,
            api_usage::cost_credits,
            api_usage::cached.nullable(),
            api_usage::user_id,
        )
    };
}

impl Stored {
    /// The first field in which the row says something else than the record, if any does.
    fn contradicts(&self, usage: &NewUsage<'_>) -> Option<&'static str> {
        usage.contradiction(&UsageRecord {
            id: usage.record.id,
            api_name: &self.api_name,
            endpoint: self.endpoint.as_deref(),
            method: self.method.as_deref(),
            timestamp: self.timestamp.0,
            success: self.success.unwrap_or(true),
            status_code: self.status_code,
            response_time: self.response_time,
            request_size: self.request_size,
            response_size: self.response_size,
            error_type: self.error_type.as_deref(),
            error_message: self.error_message.as_deref(),
            cost_credits: self.cost_credits,
            cached: self.cached.unwrap_or(false),
            user_id: self.user_id.as_deref(),
        })
    }
}

/// A time that may be spelled as nobody can read it, and is then no time of any record.
#[derive(Debug, FromSqlRow)]
struct StoredTime(DateTime<Utc>);

impl<DB: Backend> FromSql<Timestamp, DB> for StoredTime
where
    UtcTimestamp: FromSql<Timestamp, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<StoredTime> {
        let read = <UtcTimestamp as FromSql<Timestamp, DB>>::from_sql(value);
        Ok(StoredTime(
            read.map_or(DateTime::<Utc>::MIN_UTC, UtcTimestamp::utc),
        ))
    }
}

mod staging {
    diesel::table! {
        /// Rows on their way into `api_usage`.
        usagectl_staged_usage (place) {
            place -> Integer,
            id -> Text,
            api_name -> Text,
            endpoint -> Nullable<Text>,
            timestamp -> Timestamp,
            success -> Bool,
            status_code -> Nullable<Integer>,
            method -> Nullable<Text>,
            response_time -> Nullable<Integer>,
            request_size -> Nullable<Integer>,
            response_size -> Nullable<Integer>,
            error_type -> Nullable<Text>,
            error_message -> Nullable<Text>,
            cost_credits -> Nullable<Double>,
            cached -> Bool,
            user_id -> Nullable<Text>,
        }
    }
}
use staging::usagectl_staged_usage::{self, self as staged};

diesel::allow_tables_to_appear_in_same_query!(api_usage, usagectl_staged_usage);

/// A row on its way into the temporary table.
#[derive(Insertable)]
#[diesel(table_name = usagectl_staged_usage, treat_none_as_default_value = false)]
struct StagedRow<'a> {
    place: i32,
    id: &'a str,
    api_name: &'a str,
    endpoint: Option<&'a str>,
    timestamp: UtcTimestamp,
    success: bool,
    status_code: Option<i32>,
    method: Option<&'a str>,
    response_time: Option<i32>,
    request_size: Option<i32>,
    response_size: Option<i32>,
    error_type: Option<&'a str>,
    error_message: Option<&'a str>,
    cost_credits: Option<f64>,
    cached: bool,
    user_id: Option<&'a str>,
}

/// The temporary table: made once a connection, empty at the beginning of every batch.
const PREPARE_POSTGRES: &str = "
    CREATE TEMPORARY TABLE IF NOT EXISTS usagectl_staged_usage (
        place INTEGER, id TEXT, api_name TEXT, endpoint TEXT, timestamp TIMESTAMP(3), success BOOLEAN,
        status_code INTEGER, method TEXT, response_time INTEGER, request_size INTEGER,
        response_size INTEGER, error_type TEXT, error_message TEXT, cost_credits DOUBLE PRECISION,
        cached BOOLEAN, user_id TEXT
    );
    TRUNCATE pg_temp.usagectl_staged_usage";
const PREPARE_SQLITE: &str = "
    CREATE TEMPORARY TABLE IF NOT EXISTS usagectl_staged_usage (
        place INTEGER PRIMARY KEY, id TEXT, api_name TEXT, endpoint TEXT, timestamp DATETIME,
        success BOOLEAN, status_code INTEGER, method TEXT, response_time INTEGER, request_size INTEGER,
        response_size INTEGER, error_type TEXT, error_message TEXT, cost_credits REAL,
        cached BOOLEAN, user_id TEXT
    );
    DELETE FROM temp.usagectl_staged_usage";

/// Fills the temporary table with the rows of a batch, in this order.
fn stage(db: &mut Db, batch: &UsageBatch, order: &[usize]) -> QueryResult<()> {
    match db {
        Db::Pg(conn) => {
            conn.batch_execute(PREPARE_POSTGRES)?;
            diesel::copy_from(staged::table)
                .from_raw_data(staged::all_columns, |out: &mut dyn Write| {
                    copy(batch, order, out)
                })
                .execute(conn)
                .map_err(|CopyError(error)| error)?;
        }
        Db::Sqlite(conn) => {
            conn.batch_execute(PREPARE_SQLITE)?;
            for (place, index) in (0..).zip(order) {
                let Some(NewUsage { record, .. }) = batch.get(*index) else {
                    continue;
                };
                let row = StagedRow {
                    place,
                    id: record.id,
                    api_name: record.api_name,
                    endpoint: record.endpoint,
                    timestamp: record.timestamp.into(),
                    success: record.success,
                    status_code: record.status_code,
                    method: record.method,
                    response_time: record.response_time,
                    request_size: record.request_size,
                    response_size: record.response_size,
                    error_type: record.error_type,
                    error_message: record.error_message,
                    cost_credits: record.cost_credits,
                    cached: record.cached,
                    user_id: record.user_id,
                };
                diesel::insert_into(staged::table)
                    .values(&row)
                    .execute(conn)?;
            }
        }
    }
    Ok(())
}

/// Moves these places of the temporary table; what is there already stays as it is. The `WHERE` is
/// needed on SQLite, which would take `ON` for a join's.
const MOVE: &str = "
    INSERT INTO api_usage (id, api_name, endpoint, timestamp, success, status_code, method, response_time,
        request_size, response_size, error_type, error_message, cost_credits, cached, user_id, created_at)
    SELECT id, api_name, endpoint, timestamp, success, status_code, method, response_time,
        request_size, response_size, error_type, error_message, cost_credits, cached, user_id, $1
    FROM usagectl_staged_usage
    WHERE place >= $2 AND place < $3
    ON CONFLICT (id) DO NOTHING";

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Moves a part of the temporary table and says how many rows that were.
fn move_staged(db: &mut Db, places: &Range<usize>, created_at: UtcTimestamp) -> QueryResult<usize> {
    let (start, end) = (places.start as i64, places.end as i64);
    match db {
        Db::Sqlite(conn) => diesel::sql_query(MOVE)
            .bind::<Timestamp, _>(created_at)
            .bind::<BigInt, _>(start)
            .bind::<BigInt, _>(end)
            .execute(conn),
        Db::Pg(conn) => {
            // Counted, since the tag of such a statement is not to be trusted on Citus.
            let counted =
                format!("WITH added AS ({MOVE} RETURNING 1) SELECT count(*) AS count FROM added");
            let added: Count = diesel::sql_query(counted)
                .bind::<Timestamp, _>(created_at)
                .bind::<BigInt, _>(start)
                .bind::<BigInt, _>(end)
                .get_result(conn)?;
            Ok(added.count.unsigned_abs() as usize)
        }
    }
}

/// Rows that may be in conflict; those that were moved just now differ in nothing.
const DIFFERS: &str = "
    (api_usage.api_name, api_usage.endpoint, api_usage.timestamp, api_usage.success,
        api_usage.status_code, api_usage.method, api_usage.response_time, api_usage.request_size,
        api_usage.response_size, api_usage.error_type, api_usage.error_message,
        api_usage.cost_credits, api_usage.cached, api_usage.user_id)
    IS DISTINCT FROM
    (usagectl_staged_usage.api_name, usagectl_staged_usage.endpoint, usagectl_staged_usage.timestamp,
        usagectl_staged_usage.success, usagectl_staged_usage.status_code, usagectl_staged_usage.method,
        usagectl_staged_usage.response_time, usagectl_staged_usage.request_size,
        usagectl_staged_usage.response_size, usagectl_staged_usage.error_type,
        usagectl_staged_usage.error_message, usagectl_staged_usage.cost_credits,
        usagectl_staged_usage.cached, usagectl_staged_usage.user_id)";

/// The stored rows that differ from those in the temporary table, with their places there.
fn differing(db: &mut Db) -> QueryResult<Vec<(i32, Stored)>> {
    let rows = staged::table
        .inner_join(api_usage::table.on(api_usage::id.eq(staged::id)))
        .filter(diesel::dsl::sql::<Bool>(DIFFERS))
        .order(staged::place)
        .select((staged::place, stored_columns!()));
    // PostgreSQL knows nothing about a temporary table and would rather read all of api_usage.
    let planner = |db: &mut Db, setting| match db {
        Db::Pg(conn) => conn.batch_execute(setting),
        Db::Sqlite(_) => Ok(()),
    };
    planner(
        db,
        "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off",
    )?;
    let found = on!(db, |conn| rows.load(conn))?;
    planner(
        db,
        "SET LOCAL enable_hashjoin TO DEFAULT; SET LOCAL enable_mergejoin TO DEFAULT",
    )?;
    Ok(found)
}

/// Diesel's COPY wants an error of its own that an I/O error turns into.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct CopyError(#[from] DieselError);

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> CopyError {
        CopyError(DieselError::SerializationError(error.into()))
    }
}

/// How many bytes are handed to libpq at once.
const COPY_BYTES: usize = 64 * 1024;

/// Writes rows as COPY reads them.
fn copy(batch: &UsageBatch, order: &[usize], out: &mut dyn Write) -> Result<(), CopyError> {
    let mut lines = CopyLines::default();
    for (place, index) in order.iter().enumerate() {
        let Some(NewUsage { record, .. }) = batch.get(*index) else {
            continue;
        };
        lines.value(Some(place));
        lines.text(Some(record.id));
        lines.text(Some(record.api_name));
        lines.text(record.endpoint);
        lines.time(record.timestamp.into());
        lines.value(Some(record.success));
        lines.value(record.status_code);
        lines.text(record.method);
        lines.value(record.response_time);
        lines.value(record.request_size);
        lines.value(record.response_size);
        lines.text(record.error_type);
        lines.text(record.error_message);
        lines.value(record.cost_credits);
        lines.value(Some(record.cached));
        lines.text(record.user_id);
        lines.end();
        if lines.0.len() >= COPY_BYTES {
            out.write_all(lines.0.as_bytes())?;
            lines.0.clear();
        }
    }
    Ok(out.write_all(lines.0.as_bytes())?)
}

/// Lines in PostgreSQL's text format: values end with a tab, backslashes mark what would not be data.
#[derive(Default)]
struct CopyLines(String);

impl CopyLines {
    fn text(&mut self, text: Option<&str>) {
        let Some(mut text) = text else {
            return self.null();
        };
        while let Some(at) = text.find(['\\', '\t', '\n', '\r']) {
            let (plain, special) = text.split_at(at);
            self.0.push_str(plain);
            self.0.push_str(match special.as_bytes()[0] {
                b'\t' => "\\t",
                b'\n' => "\\n",
                b'\r' => "\\r",
                _ => "\\\\",
            });
            text = &special[1..];
        }
        self.0.push_str(text);
        self.0.push('\t');
    }

    fn value(&mut self, value: Option<impl Display>) {
        let Some(value) = value else {
            return self.null();
        };
        // Writing to a string does not fail.
        let _ = write!(self.0, "{value}\t");
    }

    fn time(&mut self, time: UtcTimestamp) {
        // A column without a zone drops the offset, which is always that of UTC.
        let _ = time.write_sqlite_text(&mut self.0);
        self.0.push('\t');
    }

    fn null(&mut self) {
        self.0.push_str("\\N\t");
    }

    /// Ends the line where the last value's tab stands.
    fn end(&mut self) {
        self.0.pop();
        self.0.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_copy_would_not_take_as_data_is_marked() {
        let mut lines = CopyLines::default();
        lines.text(Some("a\tb\\\r\n\\N\\.é"));
        lines.text(None);
        lines.text(Some(""));
        lines.value(Some(0.1));
        lines.value(None::<i32>);
        lines.value(Some(true));
        lines.time(DateTime::UNIX_EPOCH.into());
        lines.end();
        assert_eq!(
            lines.0,
            "a\\tb\\\\\\r\\n\\\\N\\\\.é\t\\N\t\t0.1\t\\N\ttrue\t1970-01-01T00:00:00.000+00:00\n"
        );
    }
}
