//! Reading `api_usage`: only the columns that are counted, row by row, so that memory stays flat.

use std::collections::HashMap;
use std::thread;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::connection::DefaultLoadingMode;
use diesel::dsl::{auto_type, sql};
use diesel::pg::PgRowByRowLoadingMode;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::dirty::CANONICAL;
use super::second_reader::SecondReader;
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::read_plan::RowRange;
use crate::domain::usage::rollup::Call;
use crate::store::db::{Db, on};
use crate::store::schema::{api_usage, usagectl_odd_timestamps};
use crate::store::time::{StoredTimestamp, TimeBoundary, UtcTimestamp};
use crate::store::types::{LenientBool, LenientFloat, LenientInt};

/// The counted columns of one row.
#[derive(Clone, Copy, Debug)]
pub struct UsageRow<'a> {
    pub api_name: &'a str,
    /// Empty if the row has none.
    pub endpoint: &'a str,
    pub at: DateTime<Utc>,
    pub call: Call<'a>,
    /// The value that [`for_each_with`] reads.
    pub group: Option<&'a str>,
}

/// The bounds of a range in stored timestamps, which have milliseconds: one between two of them is rounded up.
fn bounds(window: Window) -> (TimeBoundary, TimeBoundary) {
    let to = window.to + TimeDelta::nanoseconds(999_999);
    (TimeBoundary(window.from), TimeBoundary(to))
}

/// The range of rowids that holds the rows of a window, if few other rows are in it.
///
/// Rows are mostly inserted in the order of time. A scan of the table is then twice as fast as looking up each
/// row from the index of timestamps, which here is read alone.
fn dense_rowids(conn: &mut SqliteConnection, window: Window) -> QueryResult<Option<Rowids>> {
    type Spread = (Option<i64>, Option<i64>, i64);
    let (from, to) = bounds(window);
    let (first, last, count): Spread = api_usage::table
        .filter(api_usage::timestamp.ge(from))
        .filter(api_usage::timestamp.lt(to))
        .select((
            sql::<Nullable<BigInt>>("min(rowid)"),
            sql::<Nullable<BigInt>>("max(rowid)"),
            sql::<BigInt>("count(*)"),
        ))
        .get_result(conn)?;
    let spread = first.zip(last);
    Ok(spread.filter(|(first, last)| last.saturating_sub(*first) / 2 < count))
}

/// The first and the last one.
type Rowids = (i64, i64);

#[derive(Queryable, Selectable)]
#[diesel(table_name = api_usage)]
struct Found {
    api_name: String,
    endpoint: Option<String>,
    timestamp: StoredTimestamp,
    success: LenientBool,
    status_code: Option<LenientInt>,
    response_time: Option<LenientInt>,
    request_size: Option<LenientInt>,
    response_size: Option<LenientInt>,
    error_type: Option<String>,
    cost_credits: Option<LenientFloat>,
    cached: LenientBool,
}

impl Found {
    /// When it is counted. `hour` is that of an odd timestamp: the database decides it; ours must not differ.
    fn instant(&self, hour: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
        match (self.timestamp, hour) {
            (StoredTimestamp::Canonical(at), _) => Some(at),
            (StoredTimestamp::NonCanonical(at), Some(hour)) => {
                let within = at.filter(|at| Granularity::Hourly.start_of(*at) == hour);
                Some(within.unwrap_or(hour))
            }
            (StoredTimestamp::NonCanonical(_), None) => None,
        }
    }

    fn row(&self, at: DateTime<Utc>) -> UsageRow<'_> {
        UsageRow {
            api_name: &self.api_name,
            endpoint: self.endpoint.as_deref().unwrap_or_default(),
            at,
            group: None,
            call: Call {
                success: self.success.0,
                status_code: self.status_code.map(|status| status.0),
                response_time: self.response_time.map(|ms| ms.0),
                request_size: self.request_size.map(|bytes| bytes.0),
                response_size: self.response_size.map(|bytes| bytes.0),
                error_type: self.error_type.as_deref(),
                cost_credits: self.cost_credits.map(|cost| cost.0),
                cached: self.cached.0,
            },
        }
    }
}

/// Deletes at most `most` rows of a window and calls `work` with each; returns their number. In a write transaction.
pub fn delete_some(
    db: &mut Db,
    window: Window,
    most: i64,
    mut work: impl FnMut(UsageRow<'_>),
) -> QueryResult<usize> {
    let (from, to) = (TimeBoundary(window.from), TimeBoundary(window.to));
    let ranged = || {
        api_usage::timestamp
            .ge(from)
            .and(api_usage::timestamp.lt(to))
    };
    let canonical = api_usage::table
        .filter(ranged())
        .select(api_usage::id)
        .limit(most);
    let (mut ids, odd): (Vec<String>, HashMap<String, UtcTimestamp>) = match db {
        Db::Pg(postgres) => (postgres.run(|conn| canonical.load(conn))?, HashMap::new()),
        Db::Sqlite(conn) => {
            let form = canonical.filter(sql::<Bool>(&format!("timestamp {CANONICAL}")));
            let odd: Vec<(String, UtcTimestamp)> = usagectl_odd_timestamps::table
                .filter(usagectl_odd_timestamps::hour.ge(from))
                .filter(usagectl_odd_timestamps::hour.lt(to))
                .select((
                    usagectl_odd_timestamps::usage_id,
                    usagectl_odd_timestamps::hour.assume_not_null(),
                ))
                .limit(most)
                .load(conn)?;
            (form.load(conn)?, odd.into_iter().collect())
        }
    };
    ids.extend(odd.keys().cloned());
    let by_id = api_usage::id.eq_any(&ids);
    macro_rules! columns {
        () => {
            (api_usage::id, Found::as_select())
        };
    }
    let deleted: Vec<(String, Found)> = match db {
        // A row may have been moved since.
        Db::Pg(postgres) => postgres.run(|conn| {
            diesel::delete(api_usage::table.filter(by_id).filter(ranged()))
                .returning(columns!())
                .load(conn)
        })?,
        Db::Sqlite(conn) => {
            // Without the triggers nothing else does.
            let listed = usagectl_odd_timestamps::usage_id.eq_any(odd.keys());
            diesel::delete(usagectl_odd_timestamps::table.filter(listed)).execute(conn)?;
            diesel::delete(api_usage::table.filter(by_id))
                .returning(columns!())
                .load(conn)?
        }
    };
    for (id, row) in &deleted {
        if let Some(at) = row.instant(odd.get(id).map(|hour| hour.utc())) {
            work(row.row(at));
        }
    }
    Ok(deleted.len())
}

/// Calls `work` with the ids and rows of these ids.
pub fn for_ids(
    db: &mut Db,
    ids: &[String],
    mut work: impl FnMut(&str, UsageRow<'_>),
) -> QueryResult<()> {
    let rows: Vec<(String, Found)> = on!(db, |conn| api_usage::table
        .filter(api_usage::id.eq_any(ids))
        .select((api_usage::id, Found::as_select()))
        .load(conn))?;
    let odd: Vec<(String, Option<UtcTimestamp>)> = match db {
        Db::Pg(_) => Vec::new(),
        Db::Sqlite(conn) => usagectl_odd_timestamps::table
            .filter(usagectl_odd_timestamps::usage_id.eq_any(ids))
            .select((
                usagectl_odd_timestamps::usage_id,
                usagectl_odd_timestamps::hour,
            ))
            .load(conn)?,
    };
    let odd: HashMap<String, Option<UtcTimestamp>> = odd.into_iter().collect();
    for (id, row) in &rows {
        let hour = odd.get(id).copied().flatten();
        if let Some(at) = row.instant(hour.map(UtcTimestamp::utc)) {
            work(id, row.row(at));
        }
    }
    Ok(())
}

/// Restricts the rows in the list of odd timestamps to an API. By an expression: SQLite would begin with all rows of the
/// API, while the list is short or empty.
#[auto_type(no_type_alias)]
pub fn is_odd_call_of<'a>(api_name: &'a str) -> _ {
    api_usage::api_name.concat("").eq(api_name)
}

/// Folds the rows of `range`, in no particular order: into one value, or with a second reader into one of each half.
pub fn fold<T: Send>(
    db: &mut Db,
    second: Option<&mut SecondReader>,
    range: &RowRange,
    new: impl Fn() -> T + Sync,
    add: impl Fn(&mut T, UsageRow<'_>) + Sync,
) -> QueryResult<Vec<T>> {
    /// Fewer rows are read before a thread has begun.
    const FEWEST: i64 = 10_000;
    let mut folded = new();
    let (Db::Sqlite(conn), Some(second), None) = (&mut *db, second, &range.api_name) else {
        for_each(db, range, |row| add(&mut folded, row))?;
        return Ok(vec![folded]);
    };
    let dense = dense_rowids(conn, range.window)?;
    let Some((first, last)) = dense.filter(|(first, last)| last - first >= FEWEST) else {
        sqlite_rows(conn, range, dense, NO_GROUP, &mut |row| {
            add(&mut folded, row)
        })?;
        odd_rows(conn, range, NO_GROUP, &mut |row| add(&mut folded, row))?;
        return Ok(vec![folded]);
    };
    let middle = first + (last - first) / 2;
    let half = |conn: &mut SqliteConnection, rowids, folded: &mut T| {
        let mut emit = |row: UsageRow<'_>| add(folded, row);
        sqlite_rows(conn, range, Some(rowids), NO_GROUP, &mut emit)
    };
    let other_half = (middle + 1, last);
    let (read, other) = thread::scope(|scope| {
        let other = scope.spawn(|| {
            second.shared(|conn| {
                let mut folded = new();
                half(conn, other_half, &mut folded).map(|()| folded)
            })
        });
        let read = half(conn, (first, middle), &mut folded);
        (read, other.join())
    });
    read?;
    let other = other.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    if other.is_none() {
        half(conn, other_half, &mut folded)?;
    }
    odd_rows(conn, range, NO_GROUP, &mut |row| add(&mut folded, row))?;
    Ok(std::iter::once(folded).chain(other).collect())
}

/// The rows of a range.
macro_rules! ranged {
    ($range:expr, $group:expr) => {{
        let (from, to) = bounds($range.window);
        let rows = api_usage::table
            .select((Found::as_select(), sql::<Nullable<Text>>($group)))
            .filter(api_usage::timestamp.ge(from))
            .filter(api_usage::timestamp.lt(to))
            .into_boxed();
        match &$range.api_name {
            Some(api) => rows.filter(api_usage::api_name.eq(api)),
            None => rows,
        }
    }};
}

/// Calls `work` with each row of `range`, in no particular order.
pub fn for_each(db: &mut Db, range: &RowRange, work: impl FnMut(UsageRow<'_>)) -> QueryResult<()> {
    for_each_with(db, range, NO_GROUP, work)
}

/// The same, and reads a further column as text.
pub fn for_each_with(
    db: &mut Db,
    range: &RowRange,
    group: &'static str,
    mut work: impl FnMut(UsageRow<'_>),
) -> QueryResult<()> {
    match db {
        Db::Pg(postgres) => postgres.run(|conn| {
            for row in ranged!(range, group).load_iter::<Row, PgRowByRowLoadingMode>(conn)? {
                emit_canonical(range, &row?, &mut work);
            }
            Ok(())
        }),
        Db::Sqlite(conn) => {
            let dense = match range.api_name {
                None => dense_rowids(conn, range.window)?,
                Some(_) => None,
            };
            sqlite_rows(conn, range, dense, group, &mut work)?;
            odd_rows(conn, range, group, &mut work)
        }
    }
}

/// The columns of a row, and a further one.
type Row = (Found, Option<String>);

/// No further column.
const NO_GROUP: &str = "NULL";

/// Emits a row with a canonical timestamp. Others are listed as odd.
fn emit_canonical(range: &RowRange, row: &Row, work: &mut impl FnMut(UsageRow<'_>)) {
    if let StoredTimestamp::Canonical(at) = row.0.timestamp {
        emit(range, row, at, work);
    }
}

fn emit(
    range: &RowRange,
    (found, group): &Row,
    at: DateTime<Utc>,
    work: &mut impl FnMut(UsageRow<'_>),
) {
    if range.window.contains(at) {
        let group = group.as_deref();
        work(UsageRow {
            group,
            ..found.row(at)
        });
    }
}

/// The rows with canonical timestamps: of these rowids, or found by an index.
fn sqlite_rows(
    conn: &mut SqliteConnection,
    range: &RowRange,
    rowids: Option<Rowids>,
    group: &'static str,
    work: &mut impl FnMut(UsageRow<'_>),
) -> QueryResult<()> {
    let rows = match rowids {
        // Without another filter, or SQLite might prefer an index.
        Some((first, last)) => api_usage::table
            .select((Found::as_select(), sql::<Nullable<Text>>(group)))
            .filter(
                sql::<Bool>("api_usage.rowid BETWEEN ")
                    .bind::<BigInt, _>(first)
                    .sql(" AND ")
                    .bind::<BigInt, _>(last),
            )
            .into_boxed(),
        None => ranged!(range, group),
    };
    for row in rows.load_iter::<Row, DefaultLoadingMode>(conn)? {
        emit_canonical(range, &row?, work);
    }
    Ok(())
}

/// The rows with other timestamps.
fn odd_rows(
    conn: &mut SqliteConnection,
    range: &RowRange,
    group: &'static str,
    work: &mut impl FnMut(UsageRow<'_>),
) -> QueryResult<()> {
    let hours = range.window.widened(Granularity::Hourly);
    let mut odd = usagectl_odd_timestamps::table
        .inner_join(api_usage::table.on(api_usage::id.eq(usagectl_odd_timestamps::usage_id)))
        .select((
            usagectl_odd_timestamps::hour.assume_not_null(),
            (Found::as_select(), sql::<Nullable<Text>>(group)),
        ))
        .filter(usagectl_odd_timestamps::hour.ge(TimeBoundary(hours.from)))
        .filter(usagectl_odd_timestamps::hour.lt(TimeBoundary(hours.to)))
        .into_boxed();
    if let Some(api_name) = &range.api_name {
        odd = odd.filter(is_odd_call_of(api_name));
    }
    for row in odd.load_iter::<(UtcTimestamp, Row), DefaultLoadingMode>(conn)? {
        let (hour, row) = row?;
        if let StoredTimestamp::NonCanonical(_) = row.0.timestamp
            && let Some(at) = row.0.instant(Some(hour.utc()))
        {
            emit(range, &row, at, work);
        }
    }
    Ok(())
}
