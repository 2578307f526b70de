//! Reading `api_usage`: only the columns that are counted, row by row or in small groups, so that memory stays flat.

use std::collections::HashMap;
use std::thread;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::connection::{DefaultLoadingMode, SimpleConnection};
use diesel::dsl::{auto_type, sql};
use diesel::pg::PgRowByRowLoadingMode;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Double, Integer, Nullable, Text, Timestamp};

use super::dirty::CANONICAL;
use super::second_reader::SecondReader;
use crate::domain::period::{Calendar, Granularity, Window};
use crate::domain::usage::read_plan::RowRange;
use crate::domain::usage::rollup::{Call, Tally};
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

/// Counts the rows of `range`, which begins and ends with an hour, into the pieces of its hours. With a second reader
/// half of the rows of SQLite each.
pub fn count(
    db: &mut Db,
    second: Option<&mut SecondReader>,
    range: &RowRange,
    calendar: Calendar,
    new: impl Fn() -> Tally + Sync,
) -> QueryResult<Tally> {
    /// Fewer rows are read before a thread has begun.
    const FEWEST: i64 = 10_000;
    let pieces = calendar.pieces(range.window);
    let mut tally = new();
    let conn = match db {
        Db::Sqlite(conn) => conn,
        Db::Pg(postgres) => {
            postgres.run(|conn| count_groups(conn, range, &pieces, &mut tally))?;
            return Ok(tally);
        }
    };
    let add = |tally: &mut Tally, row: UsageRow<'_>| {
        let after = pieces.partition_point(|piece| *piece <= row.at);
        if let Some(piece) = pieces[..after].last() {
            tally.add(row.api_name, row.endpoint, *piece, [row.call]);
        }
    };
    let dense = match range.api_name {
        None => dense_rowids(conn, range.window)?,
        Some(_) => None,
    };
    let read = |conn: &mut SqliteConnection, rowids, tally: &mut Tally| {
        sqlite_rows(conn, range, rowids, NO_GROUP, &mut |row| add(tally, row))
    };
    let many = dense.filter(|(first, last)| last - first >= FEWEST);
    match many.zip(second) {
        None => read(conn, dense, &mut tally)?,
        Some(((first, last), second)) => {
            let middle = first + (last - first) / 2;
            let other_half = Some((middle + 1, last));
            let (read_half, other) = thread::scope(|scope| {
                let other = scope.spawn(|| {
                    second.shared(|conn| {
                        let mut tally = new();
                        read(conn, other_half, &mut tally).map(|()| tally)
                    })
                });
                let read_half = read(conn, Some((first, middle)), &mut tally);
                (read_half, other.join())
            });
            read_half?;
            match other.unwrap_or_else(|panic| std::panic::resume_unwind(panic))? {
                Some(other) => tally.merge(other),
                None => read(conn, other_half, &mut tally)?,
            }
        }
    }
    odd_rows(conn, range, NO_GROUP, &mut |row| add(&mut tally, row))?;
    Ok(tally)
}

/// Calls that the server found alike but for their measurements.
#[derive(QueryableByName)]
struct Group {
    #[diesel(sql_type = Text)]
    api_name: String,
    #[diesel(sql_type = Nullable<Text>)]
    endpoint: Option<String>,
    /// The number of its piece, from 1 on.
    #[diesel(sql_type = Integer)]
    piece: i32,
    #[diesel(sql_type = Bool)]
    success: bool,
    #[diesel(sql_type = Nullable<Integer>)]
    status_code: Option<LenientInt>,
    #[diesel(sql_type = Nullable<Text>)]
    error_type: Option<String>,
    #[diesel(sql_type = Bool)]
    cached: bool,
    #[diesel(sql_type = BigInt)]
    calls: i64,
    #[diesel(sql_type = Nullable<Array<Integer>>)]
    response_times: Option<Vec<LenientInt>>,
    #[diesel(sql_type = Nullable<BigInt>)]
    request_bytes: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    response_bytes: Option<i64>,
    #[diesel(sql_type = Nullable<Array<Double>>)]
    costs: Option<Vec<f64>>,
}

impl Group {
    /// Calls with the same sums: each with any of the response times and costs, the first with all bytes.
    fn calls(&self) -> impl Iterator<Item = Call<'_>> {
        let response_times = self.response_times.as_deref().unwrap_or_default();
        let costs = self.costs.as_deref().unwrap_or_default();
        (0..usize::try_from(self.calls).unwrap_or(0)).map(move |number| Call {
            success: self.success,
            status_code: self.status_code.map(|status| status.0),
            response_time: response_times.get(number).map(|ms| ms.0),
            request_size: self.request_bytes.filter(|_| number == 0),
            response_size: self.response_bytes.filter(|_| number == 0),
            error_type: self.error_type.as_deref(),
            cost_credits: costs.get(number).copied(),
            cached: self.cached,
        })
    }
}

/// Counts rows that the server has grouped: transferred one by one they would take several times as long. It only counts,
/// collects and adds whole numbers; sums of binary fractions would depend on their order.
fn count_groups(
    conn: &mut PgConnection,
    range: &RowRange,
    pieces: &[DateTime<Utc>],
    tally: &mut Tally,
) -> QueryResult<()> {
    /// Pieces of a part: its groups fit into memory, and there are parts for parallel workers.
    const TOGETHER: usize = 6;
    // Without overflow. A negative size is not a size.
    let bytes = |size| {
        let sum = format!("sum({size}) FILTER (WHERE {size} >= 0)");
        format!(
            "CASE WHEN {sum} > {most} THEN {most} ELSE {sum} END::bigint",
            most = i64::MAX
        )
    };
    let part = |first: usize| {
        let end = pieces.len().min(first + TOGETHER) + 1;
        let (before, first) = (first, first + 1);
        format!(
            "SELECT api_name, endpoint, width_bucket(timestamp, $2[{first}:{end}]) + {before} AS piece,
                 coalesce(success, false) AS success, status_code, error_type, coalesce(cached, false) AS cached,
                 count(*) AS calls,
                 array_agg(response_time) FILTER (WHERE response_time IS NOT NULL) AS response_times,
                 {} AS request_bytes, {} AS response_bytes,
                 array_agg(cost_credits::float8) FILTER (WHERE cost_credits IS NOT NULL) AS costs
             FROM api_usage
             WHERE timestamp >= $2[{first}] AND timestamp < $2[{end}] AND ($1 IS NULL OR api_name = $1)
             GROUP BY 1, 2, 3, 4, 5, 6, 7",
            bytes("request_size"),
            bytes("response_size"),
        )
    };
    let parts: Vec<String> = (0..pieces.len()).step_by(TOGETHER).map(part).collect();
    let bounds = pieces.iter().chain([&range.window.to]);
    let bounds: Vec<UtcTimestamp> = bounds.map(|at| UtcTimestamp::new(*at)).collect();
    let query = diesel::sql_query(parts.join(" UNION ALL "))
        .bind::<Nullable<Text>, _>(&range.api_name)
        .bind::<Array<Timestamp>, _>(bounds);
    let is_large = parts.len() > 1;
    if is_large {
        // The planner expects a group for each row, and would sort the rows. It also expects large groups.
        conn.batch_execute("SET LOCAL enable_sort = off; SET LOCAL work_mem = '64MB'")?;
    }
    for group in query.load_iter::<Group, PgRowByRowLoadingMode>(conn)? {
        let group = group?;
        let number = usize::try_from(group.piece - 1).unwrap_or(usize::MAX);
        if let Some(piece) = pieces.get(number) {
            let endpoint = group.endpoint.as_deref().unwrap_or_default();
            tally.add(&group.api_name, endpoint, *piece, group.calls());
        }
    }
    if is_large {
        conn.batch_execute("SET LOCAL enable_sort TO DEFAULT; SET LOCAL work_mem TO DEFAULT")?;
    }
    Ok(())
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
