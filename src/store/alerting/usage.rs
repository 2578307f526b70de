//! Reads the calls of an API that alert rules require, from roll-ups and rows.

use chrono::{DateTime, Utc};

use crate::domain::alert::series::{Demand, Series, Tally};
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::credits::Credits;
use crate::domain::usage::read_plan::RowRange;
use crate::error::{Error, Exit, Result};
use crate::store::prelude::*;
use crate::store::schema::{api_usage, usagectl_dirty_hours, usagectl_rollups};
use crate::store::time::{StoredTimestamp, TimeBoundary};
use crate::store::usage::read::{self, UsageRow};

/// The hour of the first known call to an API, from rows, roll-ups or dirty hours.
pub fn first_call_hour(db: &mut Db, api_name: &str) -> QueryResult<Option<DateTime<Utc>>> {
    let row: Option<StoredTimestamp> = on!(db, |conn| api_usage::table
        .filter(api_usage::api_name.eq(api_name))
        .filter(api_usage::timestamp.ge(TimeBoundary(Window::ALL.from)))
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
        let range = RowRange {
            api_name: Some(api_name.to_owned()),
            window,
        };
        read::for_each(db, &range, |UsageRow { at, call, .. }| {
            let tally = Tally::of_call(call.success, call.cached, call.cost_credits);
            series.add_rows(at, tally);
        })?;
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
    type Read = (UtcTimestamp, i64, i64, i64, String, String);
    let rows: Vec<Read> = on!(db, |conn| dsl::usagectl_rollups
        .filter(dsl::aggregation_type.eq(granularity.as_str()))
        .filter(dsl::scope.eq("API"))
        .filter(dsl::api_name.eq(api_name))
        .filter(dsl::period_start.ge(TimeBoundary(window.from)))
        .filter(dsl::period_start.lt(TimeBoundary(window.to)))
        .select((
            dsl::period_start,
            dsl::total_requests,
            dsl::cached_count,
            dsl::error_count,
            dsl::total_cost,
            dsl::cached_cost,
        ))
        .load(conn))?;
    for (start, calls, cached, failed, cost, cached_cost) in rows {
        let count = |number: i64| u64::try_from(number).ok();
        let tally = || {
            Some(Tally {
                calls: count(calls)?,
                cached: count(cached)?,
                failed: count(failed)?,
                cost: cost.parse::<Credits>().ok()?,
                cached_cost: cached_cost.parse::<Credits>().ok()?,
            })
        };
        let damaged = || {
            let what = format!("a {granularity} roll-up of {api_name} is damaged");
            Error::message(Exit::Untrustworthy, what).with_next("usagectl aggregate --rebuild")
        };
        series.add_stored(start.utc(), tally().ok_or_else(damaged)?);
    }
    Ok(())
}
