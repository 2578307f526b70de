//! `api_usage`: one row for every call to an API. Here: recording.
//!
//! A batch of records goes in within one transaction of the caller. An id that is there already is
//! left alone, whoever wrote it, and the two are compared: the same content is a duplicate, other
//! content is refused.
//!
//! * SQLite: one prepared insert for each row. Nearly all of its time goes into the five indexes.
//! * PostgreSQL: COPY into a temporary table, then one insert of what is not there yet. What another
//!   session inserts at the same moment is waited for, and found.
//!
//! A row that the database refuses although it passed every check (a CHECK or a trigger of the
//! application, a character its encoding lacks) does not cost the batch. SQLite undoes the one
//! statement; on PostgreSQL the batch is halved, in savepoints, until the row stands alone.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::ops::Range;

use chrono::{DateTime, Utc};
use diesel::backend::Backend;
use diesel::connection::SimpleConnection;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{BigInt, Bool, Timestamp};

use super::backend::{Db, is_lock_message, on};
use super::schema::api_usage;
use super::time::Ts;
use crate::domain::batch::UsageBatch;
use crate::domain::usage::{NewUsage, UsageRecord};

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
///
/// # Errors
///
/// What the engine reports; nothing of the batch may then be committed.
pub fn load(db: &mut Db, batch: &UsageBatch, created_at: Ts) -> QueryResult<Loaded> {
    let mut load = Load {
        batch,
        created_at,
        order: (0..batch.len()).collect(),
        loaded: Loaded::default(),
        doubt: None,
    };
    // In the order of ids, so that two runs that insert the same ones never wait for each other in a
    // circle. Of equal ids the first line stays first.
    load.order
        .sort_by_key(|index| batch.get(*index).map(|usage| usage.record.id));
    load.piece(db, 0..batch.len())?;
    load.settle_doubt()?;
    load.loaded.refused.sort_by_key(|(index, _)| *index);
    Ok(load.loaded)
}

/// Whether a row of this id was recorded at or before `until`.
///
/// # Errors
///
/// What the engine reports.
pub fn was_recorded(db: &mut Db, id: &str, until: Ts) -> QueryResult<bool> {
    let row = api_usage::table
        .filter(api_usage::id.eq(id))
        .filter(api_usage::created_at.le(until));
    on!(db, |conn| diesel::select(diesel::dsl::exists(row))
        .get_result(conn))
}

/// After so many refusals and not one row accepted, the rows are not to blame.
const HOPELESS: usize = 100;

struct Load<'b> {
    batch: &'b UsageBatch,
    created_at: Ts,
    /// The rows in the order in which they go in.
    order: Vec<usize>,
    loaded: Loaded,
    /// The first error of which it is not certain that the row is to blame.
    doubt: Option<DieselError>,
}

/// What became of one row.
enum Fate {
    Inserted,
    Duplicate,
    Conflict(&'static str),
}

impl Load<'_> {
    /// Loads a part of the batch.
    fn piece(&mut self, db: &mut Db, range: Range<usize>) -> QueryResult<()> {
        if !matches!(db, Db::Pg(_)) || range.len() < 2 {
            for position in range {
                self.row(db, self.order[position])?;
            }
            return Ok(());
        }
        // Within the caller's transaction this is a savepoint.
        let staged = db.write_tx(|db| match db {
            Db::Pg(conn) => stage(
                conn,
                self.batch,
                &self.order[range.clone()],
                self.created_at,
            ),
            Db::Sqlite(_) => Ok(Loaded::default()),
        });
        match staged {
            Ok(loaded) => {
                self.loaded.inserted += loaded.inserted;
                self.loaded.duplicate += loaded.duplicate;
                self.loaded.refused.extend(loaded.refused);
                Ok(())
            }
            Err(error) if blame(&error) == Blame::Elsewhere => Err(error),
            Err(_) => {
                let middle = range.start + range.len() / 2;
                self.piece(db, range.start..middle)?;
                self.piece(db, middle..range.end)
            }
        }
    }

    /// Loads one row by itself.
    fn row(&mut self, db: &mut Db, index: usize) -> QueryResult<()> {
        let Some(usage) = self.batch.get(index) else {
            return Ok(());
        };
        let fate = match db {
            Db::Sqlite(_) => insert(db, &usage, self.created_at),
            // A statement that fails takes its transaction with it, unless a savepoint is before it.
            Db::Pg(_) => db.write_tx(|db| insert(db, &usage, self.created_at)),
        };
        match fate {
            Ok(Fate::Inserted) => self.loaded.inserted += 1,
            Ok(Fate::Duplicate) => self.loaded.duplicate += 1,
            Ok(Fate::Conflict(field)) => {
                self.loaded.refused.push((index, Refused::Conflict(field)));
            }
            Err(error) => {
                let blame = blame(&error);
                let DieselError::DatabaseError(_, information) = &error else {
                    return Err(error);
                };
                let words: Vec<&str> = information.message().split_whitespace().collect();
                let refused = Refused::Database(words.join(" "));
                self.loaded.refused.push((index, refused));
                match blame {
                    Blame::Row => {}
                    Blame::Elsewhere => return Err(error),
                    Blame::InDoubt => {
                        self.doubt.get_or_insert(error);
                        if self.loaded.refused.len() >= HOPELESS {
                            self.settle_doubt()?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Words of the database that could mean anything are about single rows if other rows fared better.
    fn settle_doubt(&mut self) -> QueryResult<()> {
        let is_conflict = |refused: &Refused| matches!(refused, Refused::Conflict(_));
        let others_went_well = self.loaded.inserted + self.loaded.duplicate > 0
            || self.loaded.refused.iter().any(|(_, why)| is_conflict(why));
        match self.doubt.take() {
            Some(error) if !others_went_well => Err(error),
            _ => Ok(()),
        }
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
        DieselError::DatabaseError(Kind::Unknown, information)
            if !is_lock_message(information.message()) =>
        {
            Blame::InDoubt
        }
        _ => Blame::Elsewhere,
    }
}

/// A row on its way in.
#[derive(Insertable)]
#[diesel(table_name = api_usage, treat_none_as_default_value = false)]
struct NewRow<'a> {
    id: &'a str,
    api_name: &'a str,
    endpoint: Option<&'a str>,
    timestamp: Ts,
    success: bool,
    status_code: Option<i32>,
    created_at: Ts,
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

/// Inserts one row, or compares it with the one that is there.
fn insert(db: &mut Db, usage: &NewUsage<'_>, created_at: Ts) -> QueryResult<Fate> {
    let record = &usage.record;
    let row = NewRow {
        id: record.id,
        api_name: record.api_name,
        endpoint: record.endpoint,
        timestamp: record.timestamp.into(),
        success: record.success,
        status_code: record.status_code,
        created_at,
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
    let inserted = on!(db, |conn| diesel::insert_into(api_usage::table)
        .values(&row)
        .on_conflict(api_usage::id)
        .do_nothing()
        .execute(conn))?;
    if inserted > 0 {
        return Ok(Fate::Inserted);
    }
    let stored: Stored = on!(db, |conn| api_usage::table
        .filter(api_usage::id.eq(record.id))
        .select(stored_columns!())
        .get_result(conn))?;
    Ok(stored.fate_of(usage))
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
use stored_columns;

impl Stored {
    fn fate_of(&self, usage: &NewUsage<'_>) -> Fate {
        let stored = UsageRecord {
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
        };
        usage
            .contradiction(&stored)
            .map_or(Fate::Duplicate, Fate::Conflict)
    }
}

/// A time that may be spelled as nobody can read it, and is then no time of any record.
#[derive(Debug, FromSqlRow)]
struct StoredTime(DateTime<Utc>);

impl<DB: Backend> FromSql<Timestamp, DB> for StoredTime
where
    Ts: FromSql<Timestamp, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<StoredTime> {
        let read = <Ts as FromSql<Timestamp, DB>>::from_sql(value);
        Ok(StoredTime(read.map_or(DateTime::<Utc>::MIN_UTC, Ts::utc)))
    }
}

mod staging {
    diesel::table! {
        /// Rows on their way into `api_usage`, on PostgreSQL.
        pg_temp.usagectl_staged_usage (ordinal) {
            ordinal -> Integer,
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

/// The temporary table: made once a connection, empty at the beginning of every piece.
const PREPARE_STAGING: &str = "
    CREATE TEMPORARY TABLE IF NOT EXISTS usagectl_staged_usage (
        ordinal INTEGER, id TEXT, api_name TEXT, endpoint TEXT, timestamp TIMESTAMP(3), success BOOLEAN,
        status_code INTEGER, method TEXT, response_time INTEGER, request_size INTEGER,
        response_size INTEGER, error_type TEXT, error_message TEXT, cost_credits DOUBLE PRECISION,
        cached BOOLEAN, user_id TEXT
    );
    TRUNCATE pg_temp.usagectl_staged_usage";

/// Counts what it returns, since the tag of such a statement is not to be trusted on Citus.
const INSERT_STAGED: &str = "
    WITH added AS (
        INSERT INTO api_usage (id, api_name, endpoint, timestamp, success, status_code, method, response_time,
            request_size, response_size, error_type, error_message, cost_credits, cached, user_id, created_at)
        SELECT id, api_name, endpoint, timestamp, success, status_code, method, response_time,
            request_size, response_size, error_type, error_message, cost_credits, cached, user_id, $1
        FROM pg_temp.usagectl_staged_usage
        ON CONFLICT (id) DO NOTHING
        RETURNING 1
    )
    SELECT count(*) AS count FROM added";

/// Finds rows that may be in conflict; those that were inserted just now differ in nothing.
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

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Loads the rows of these indexes on PostgreSQL.
fn stage(
    conn: &mut PgConnection,
    batch: &UsageBatch,
    indexes: &[usize],
    created_at: Ts,
) -> QueryResult<Loaded> {
    conn.batch_execute(PREPARE_STAGING)?;
    diesel::copy_from(staged::table)
        .from_raw_data(staged::all_columns, |out: &mut dyn Write| {
            copy(batch, indexes, out)
        })
        .execute(conn)
        .map_err(|CopyError(error)| error)?;
    let inserted = diesel::sql_query(INSERT_STAGED)
        .bind::<Timestamp, _>(created_at)
        .get_result::<Count>(conn)?
        .count
        .unsigned_abs();
    let mut loaded = Loaded {
        inserted,
        ..Loaded::default()
    };
    let there_already = indexes.len() as u64 - inserted;
    if there_already == 0 {
        return Ok(loaded);
    }
    let differing: Vec<(i32, Stored)> = staged::table
        .inner_join(api_usage::table.on(api_usage::id.eq(staged::id)))
        .filter(diesel::dsl::sql::<Bool>(DIFFERS))
        .order(staged::ordinal)
        .select((staged::ordinal, stored_columns!()))
        .load(conn)?;
    for (ordinal, stored) in differing {
        let index = ordinal.unsigned_abs() as usize;
        if let Some(usage) = batch.get(index)
            && let Fate::Conflict(field) = stored.fate_of(&usage)
        {
            loaded.refused.push((index, Refused::Conflict(field)));
        }
    }
    loaded.duplicate = there_already - loaded.refused.len() as u64;
    Ok(loaded)
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
fn copy(batch: &UsageBatch, indexes: &[usize], out: &mut dyn Write) -> Result<(), CopyError> {
    let mut lines = CopyLines::default();
    for index in indexes {
        let Some(NewUsage { record, .. }) = batch.get(*index) else {
            continue;
        };
        lines.value(Some(index));
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

    fn time(&mut self, time: Ts) {
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
