//! Reads the calls of an API that alert rules require, from roll-ups and rows.

use chrono::{DateTime, Utc};
use diesel::connection::DefaultLoadingMode;
use diesel::pg::PgRowByRowLoadingMode;
use diesel::prelude::*;

use crate::domain::alert::series::{Demand, Series, Tally};
use crate::domain::named::Named;
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::credits::Credits;
use crate::error::{Error, Exit, Result};
use crate::store::db::{Db, on};
use crate::store::schema::{
    api_usage, usagectl_dirty_hours, usagectl_odd_timestamps, usagectl_rollups,
};
use crate::store::time::{HourBoundary, StoredTimestamp, UtcTimestamp};
use crate::store::types::{LenientBool, LenientFloat};

/// The hour of the first known call to an API, from rows, roll-ups or dirty hours.
pub fn first_call_hour(db: &mut Db, api_name: &str) -> QueryResult<Option<DateTime<Utc>>> {
    let row: Option<StoredTimestamp> = on!(db, |conn| api_usage::table
        .filter(api_usage::api_name.eq(api_name))
        .filter(api_usage::timestamp.ge(HourBoundary(Window::ALL.from)))
        .order(api_usage::timestamp)
        .select(api_usage::timestamp)
        .first(conn)
        .optional())?;
    let row = match row {
        Some(StoredTimestamp::Canonical(at)) => Some(at),
        Some(StoredTimestamp::NonCanonical(at)) => at,
        None => None,
    };
    let rolled_up: Option<UtcTimestamp> = on!(db, |conn| {
        use usagectl_rollups::dsl;
        dsl::usagectl_rollups
            .filter(dsl::aggregation_type.eq(Granularity::Hourly.as_str()))
            .filter(dsl::scope.eq("API"))
            .filter(dsl::api_name.eq(api_name))
            .order(dsl::period_start)
            .select(dsl::period_start)
            .first(conn)
            .optional()
    })?;
    // Rows with non-canonical timestamps are found by their dirty hours.
    let marked: Option<StoredTimestamp> = on!(db, |conn| usagectl_dirty_hours::table
        .filter(usagectl_dirty_hours::api_name.eq(api_name))
        .order(usagectl_dirty_hours::hour)
        .select(usagectl_dirty_hours::hour)
        .first(conn)
        .optional())?;
    let marked = match marked {
        Some(StoredTimestamp::Canonical(hour)) => Some(hour),
        _ => None,
    };
    let first = [row, rolled_up.map(UtcTimestamp::utc), marked];
    let first = first.into_iter().flatten().min();
    Ok(first.map(|at| Granularity::Hourly.start_of(at)))
}

/// Reads the calls of an API.
pub fn read(db: &mut Db, api_name: &str, demand: Demand) -> Result<Series> {
    let (stored, rows) = (demand.stored.clone(), demand.rows.clone());
    let mut series = Series::new(demand);
    for (granularity, window) in stored {
        read_stored(db, api_name, granularity, window, &mut series)?;
    }
    for window in rows {
        read_rows(db, api_name, window, &mut series)?;
    }
    Ok(series.finish())
}

fn read_stored(
    db: &mut Db,
    api_name: &str,
    granularity: Granularity,
    window: Window,
    series: &mut Series,
) -> Result<()> {
    use usagectl_rollups::dsl;
    type Read = (UtcTimestamp, i64, i64, i64, String);
    let rows: Vec<Read> = on!(db, |conn| dsl::usagectl_rollups
        .filter(dsl::aggregation_type.eq(granularity.as_str()))
        .filter(dsl::scope.eq("API"))
        .filter(dsl::api_name.eq(api_name))
        .filter(dsl::period_start.ge(HourBoundary(window.from)))
        .filter(dsl::period_start.lt(HourBoundary(window.to)))
        .select((
            dsl::period_start,
            dsl::total_requests,
            dsl::cached_count,
            dsl::error_count,
            dsl::total_cost,
        ))
        .load(conn))?;
    for (start, calls, cached, failed, cost) in rows {
        let count = |number: i64| u64::try_from(number).ok();
        let tally = || {
            Some(Tally {
                calls: count(calls)?,
                cached: count(cached)?,
                failed: count(failed)?,
                cost: cost.parse::<Credits>().ok()?,
            })
        };
        let damaged = || {
            let what = format!("a {granularity} roll-up of {api_name} is damaged");
            Error::message(Exit::Untrustworthy, what).with_next("usagectl aggregate --rebuild")
        };
        series.add_stored(granularity, start.utc(), tally().ok_or_else(damaged)?);
    }
    Ok(())
}

#[derive(Queryable)]
struct Found {
    timestamp: StoredTimestamp,
    success: LenientBool,
    cached: LenientBool,
    cost_credits: Option<LenientFloat>,
}

impl Found {
    fn tally(&self) -> Tally {
        let cost = self.cost_credits.map(|cost| cost.0);
        Tally::of_call(self.success.0, self.cached.0, cost)
    }
}

/// The columns of [`Found`], in its order.
type Columns = (
    api_usage::timestamp,
    api_usage::success,
    api_usage::cached,
    api_usage::cost_credits,
);

const COLUMNS: Columns = (
    api_usage::timestamp,
    api_usage::success,
    api_usage::cached,
    api_usage::cost_credits,
);

fn read_rows(db: &mut Db, api_name: &str, window: Window, series: &mut Series) -> QueryResult<()> {
    macro_rules! rows {
        () => {
            api_usage::table
                .filter(api_usage::api_name.eq(api_name))
                .filter(api_usage::timestamp.ge(UtcTimestamp::new(window.from)))
                .filter(api_usage::timestamp.lt(UtcTimestamp::new(window.to)))
                .select(COLUMNS)
        };
    }
    match db {
        Db::Pg(postgres) => postgres.run(|conn| {
            for row in rows!().load_iter::<Found, PgRowByRowLoadingMode>(conn)? {
                let row = row?;
                if let StoredTimestamp::Canonical(at) = row.timestamp {
                    series.add_rows(at, row.tally());
                }
            }
            QueryResult::Ok(())
        })?,
        Db::Sqlite(conn) => {
            for row in rows!().load_iter::<Found, DefaultLoadingMode>(conn)? {
                let row = row?;
                // Non-canonical timestamps follow below.
                if let StoredTimestamp::Canonical(at) = row.timestamp {
                    series.add_rows(at, row.tally());
                }
            }
            let hours = window.widened(Granularity::Hourly);
            // Not filtered by API: SQLite would then scan all its rows, whereas the list of odd timestamps is short.
            let odd = usagectl_odd_timestamps::table
                .inner_join(
                    api_usage::table.on(api_usage::id.eq(usagectl_odd_timestamps::usage_id)),
                )
                .filter(usagectl_odd_timestamps::hour.ge(HourBoundary(hours.from)))
                .filter(usagectl_odd_timestamps::hour.lt(HourBoundary(hours.to)))
                .select((
                    usagectl_odd_timestamps::hour.assume_not_null(),
                    api_usage::api_name,
                    COLUMNS,
                ));
            for row in odd.load_iter::<(UtcTimestamp, String, Found), DefaultLoadingMode>(conn)? {
                let (hour, api, row) = row?;
                if let StoredTimestamp::NonCanonical(at) = row.timestamp
                    && api == api_name
                {
                    // As in roll-ups, the hour that the trigger recorded takes precedence.
                    let hour = hour.utc();
                    let within = at.filter(|at| Granularity::Hourly.start_of(*at) == hour);
                    let at = within.unwrap_or(hour);
                    if window.contains(at) {
                        series.add_rows(at, row.tally());
                    }
                }
            }
        }
    }
    Ok(())
}
