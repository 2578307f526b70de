//! Reading `api_usage`: only the columns that are counted, row by row, so that memory stays flat.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::connection::DefaultLoadingMode;
use diesel::dsl::sql;
use diesel::pg::PgRowByRowLoadingMode;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable};

use crate::domain::period::Granularity;
use crate::domain::usage::read_plan::RowRange;
use crate::domain::usage::rollup::Call;
use crate::store::db::Db;
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
}

/// The range of rowids that holds the rows of a window, if few other rows are in it.
///
/// Rows are mostly inserted in the order of time. A scan of the table is then twice as fast as looking up each
/// row from the index of timestamps, which here is read alone.
fn dense_rowids(
    conn: &mut SqliteConnection,
    from: TimeBoundary,
    to: TimeBoundary,
) -> QueryResult<Option<(i64, i64)>> {
    type Spread = (Option<i64>, Option<i64>, i64);
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

#[derive(Queryable, Selectable)]
#[diesel(table_name = api_usage)]
struct Found {
    api_name: String,
    endpoint: Option<String>,
    timestamp: StoredTimestamp,
    success: LenientBool,
    status_code: Option<LenientInt>,
    response_time: Option<LenientInt>,
    error_type: Option<String>,
    cost_credits: Option<LenientFloat>,
    cached: LenientBool,
}

impl Found {
    fn row(&self, at: DateTime<Utc>) -> UsageRow<'_> {
        UsageRow {
            api_name: &self.api_name,
            endpoint: self.endpoint.as_deref().unwrap_or_default(),
            at,
            call: Call {
                success: self.success.0,
                status_code: self.status_code.map(|status| status.0),
                response_time: self.response_time.map(|ms| ms.0),
                error_type: self.error_type.as_deref(),
                cost_credits: self.cost_credits.map(|cost| cost.0),
                cached: self.cached.0,
            },
        }
    }
}

/// Calls `work` with each row of `range`, in no particular order.
pub fn for_each(
    db: &mut Db,
    range: &RowRange,
    mut work: impl FnMut(UsageRow<'_>),
) -> QueryResult<()> {
    let from = TimeBoundary(range.window.from);
    // Stored timestamps have milliseconds: a bound between two of them is rounded up.
    let to = TimeBoundary(range.window.to + TimeDelta::nanoseconds(999_999));
    macro_rules! ranged {
        () => {{
            let rows = api_usage::table
                .select(Found::as_select())
                .filter(api_usage::timestamp.ge(from))
                .filter(api_usage::timestamp.lt(to))
                .into_boxed();
            match &range.api_name {
                Some(api) => rows.filter(api_usage::api_name.eq(api)),
                None => rows,
            }
        }};
    }
    let mut emit = |found: &Found, at: DateTime<Utc>| {
        if range.window.contains(at) {
            work(found.row(at));
        }
    };
    match db {
        Db::Pg(postgres) => postgres.run(|conn| {
            for row in ranged!().load_iter::<Found, PgRowByRowLoadingMode>(conn)? {
                let row = row?;
                if let StoredTimestamp::Canonical(at) = row.timestamp {
                    emit(&row, at);
                }
            }
            QueryResult::Ok(())
        })?,
        Db::Sqlite(conn) => {
            let dense = match range.api_name {
                None => dense_rowids(conn, from, to)?,
                Some(_) => None,
            };
            let rows = match dense {
                // Without another filter, or SQLite might prefer an index.
                Some((first, last)) => api_usage::table
                    .select(Found::as_select())
                    .filter(
                        sql::<Bool>("api_usage.rowid BETWEEN ")
                            .bind::<BigInt, _>(first)
                            .sql(" AND ")
                            .bind::<BigInt, _>(last),
                    )
                    .into_boxed(),
                None => ranged!(),
            };
            for row in rows.load_iter::<Found, DefaultLoadingMode>(conn)? {
                let row = row?;
                // Others are listed as odd and follow below.
                if let StoredTimestamp::Canonical(at) = row.timestamp {
                    emit(&row, at);
                }
            }
            let hours = range.window.widened(Granularity::Hourly);
            // Without a filter by API, with which SQLite would begin with all rows of the API: the list of odd
            // timestamps is short or empty.
            let odd = usagectl_odd_timestamps::table
                .inner_join(
                    api_usage::table.on(api_usage::id.eq(usagectl_odd_timestamps::usage_id)),
                )
                .select((
                    usagectl_odd_timestamps::hour.assume_not_null(),
                    Found::as_select(),
                ))
                .filter(usagectl_odd_timestamps::hour.ge(TimeBoundary(hours.from)))
                .filter(usagectl_odd_timestamps::hour.lt(TimeBoundary(hours.to)));
            for row in odd.load_iter::<(UtcTimestamp, Found), DefaultLoadingMode>(conn)? {
                let (hour, row) = row?;
                let is_wanted = range
                    .api_name
                    .as_ref()
                    .is_none_or(|api| *api == row.api_name);
                if let StoredTimestamp::NonCanonical(at) = row.timestamp
                    && is_wanted
                {
                    // The database decides the hour of an odd timestamp; ours must not differ.
                    let hour = hour.utc();
                    let within = at.filter(|at| Granularity::Hourly.start_of(*at) == hour);
                    emit(&row, within.unwrap_or(hour));
                }
            }
        }
    }
    Ok(())
}
