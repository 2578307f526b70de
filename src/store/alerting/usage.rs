//! Reads the calls of an API that alert rules require, from roll-ups and rows.

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::alert::gaps;
use crate::domain::alert::series::{Demand, Series, Tally};
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::credits::Credits;
use crate::domain::usage::read_plan::RowRange;
use crate::error::{Error, Exit, Result};
use crate::store::prelude::*;
use crate::store::schema::{
    api_usage, usagectl_dirty_hours, usagectl_odd_timestamps, usagectl_rollups,
};
use crate::store::time::{StoredTimestamp, TimeBoundary};
use crate::store::usage::read::{self, UsageRow};
use crate::store::usage::rollups::{Level, WITHOUT_ROWS};

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

/// The gaps of at least `least` between the calls of an API, as far as they reach into `window`. `active` are the parts
/// of the window with calls, if they are known.
pub fn gaps(
    db: &mut Db,
    api_name: &str,
    least: TimeDelta,
    window: Window,
    active: Option<&[Window]>,
) -> QueryResult<Vec<Window>> {
    let db = std::cell::RefCell::new(db);
    let before = |at| call_beside(&mut db.borrow_mut(), api_name, at, Side::Before);
    let from = |at| call_beside(&mut db.borrow_mut(), api_name, at, Side::From);
    match active {
        Some(active) => gaps::find_between(least, window, active, before, from),
        None => gaps::find(least, window, before, from),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Before,
    From,
}

/// The last call of an API before an instant, or the first from it on. A call whose row was removed is known by its hour.
fn call_beside(
    db: &mut Db,
    api_name: &str,
    at: DateTime<Utc>,
    side: Side,
) -> QueryResult<Option<DateTime<Utc>>> {
    let times = api_usage::table
        .filter(api_usage::api_name.eq(api_name))
        .select(api_usage::timestamp);
    let row: Option<StoredTimestamp> = match side {
        Side::Before => on!(db, |conn| times
            .filter(api_usage::timestamp.ge(TimeBoundary(Window::ALL.from)))
            .filter(api_usage::timestamp.lt(TimeBoundary(at)))
            .order(api_usage::timestamp.desc())
            .first(conn)
            .optional())?,
        Side::From => on!(db, |conn| times
            .filter(api_usage::timestamp.ge(TimeBoundary(at)))
            .order(api_usage::timestamp.asc())
            .first(conn)
            .optional())?,
    };
    let row = row.and_then(|row| row.instant());
    let odd = match db {
        Db::Pg(_) => None,
        Db::Sqlite(_) => odd_call_beside(db, api_name, at, side)?,
    };
    if side == Side::From {
        return Ok(row.into_iter().chain(odd).min());
    }
    match row.max(odd) {
        Some(call) => Ok(Some(call)),
        None => rolled_up_before(db, api_name, at),
    }
}

/// The same among the rows whose timestamps are in another form, which are not in the order of time.
fn odd_call_beside(
    db: &mut Db,
    api_name: &str,
    at: DateTime<Utc>,
    side: Side,
) -> QueryResult<Option<DateTime<Utc>>> {
    use usagectl_odd_timestamps::dsl;
    // By an expression: SQLite would begin with all rows of the API, while the list is short or empty.
    let of_api = dsl::usagectl_odd_timestamps
        .inner_join(api_usage::table.on(api_usage::id.eq(dsl::usage_id)))
        .filter(api_usage::api_name.concat("").eq(api_name))
        .select(dsl::hour.assume_not_null());
    let bound = Granularity::Hourly.start_of(at);
    let hour: Option<UtcTimestamp> = match side {
        Side::Before => on!(db, |conn| of_api
            .filter(dsl::hour.lt(TimeBoundary(Granularity::Hourly.end_of(bound))))
            .order(dsl::hour.desc())
            .first(conn)
            .optional())?,
        Side::From => on!(db, |conn| of_api
            .filter(dsl::hour.ge(TimeBoundary(bound)))
            .order(dsl::hour.asc())
            .first(conn)
            .optional())?,
    };
    let Some(hour) = hour.map(UtcTimestamp::utc) else {
        return Ok(None);
    };
    let end = Granularity::Hourly.end_of(hour);
    let window = match side {
        Side::Before => Window::new(hour, end.min(at)),
        Side::From => Window::new(hour.max(at), end),
    };
    let mut found: Option<DateTime<Utc>> = None;
    let range = RowRange {
        api_name: Some(api_name.to_owned()),
        window,
    };
    read::for_each(db, &range, |row| {
        found = Some(found.map_or(row.at, |found| match side {
            Side::Before => found.max(row.at),
            Side::From => found.min(row.at),
        }));
    })?;
    // None: its calls in that hour are on the other side.
    let beside = match side {
        Side::Before => hour.checked_sub_signed(TimeDelta::milliseconds(1)),
        Side::From => Some(end),
    };
    match (found, beside) {
        (None, Some(beside)) => odd_call_beside(db, api_name, beside, side),
        (found, _) => Ok(found),
    }
}

/// The end of the last hour before an instant in which calls were rolled up, or the instant itself.
fn rolled_up_before(
    db: &mut Db,
    api_name: &str,
    at: DateTime<Utc>,
) -> QueryResult<Option<DateTime<Utc>>> {
    use usagectl_rollups::dsl;
    let hour: Option<UtcTimestamp> = on!(db, |conn| dsl::usagectl_rollups
        .filter(dsl::aggregation_type.eq(Granularity::Hourly.as_str()))
        .filter(dsl::scope.eq("API"))
        .filter(dsl::api_name.eq(api_name))
        .filter(dsl::period_start.lt(TimeBoundary(at)))
        .filter(dsl::total_requests.gt(0))
        .order(dsl::period_start.desc())
        .select(dsl::period_start)
        .first(conn)
        .optional())?;
    let last = TimeDelta::milliseconds(1);
    Ok(hour.map(|hour| Granularity::Hourly.end_of(hour.utc()).min(at) - last))
}

/// Reads the calls of an API.
pub fn read(db: &mut Db, api_name: &str, demand: Demand) -> Result<Series> {
    let (stored, rows) = (demand.stored.clone(), demand.rows.clone());
    let mut series = Series::new(demand);
    for (granularity, window) in stored {
        read_stored(db, api_name, granularity.into(), window, &mut series)?;
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
        for level in WITHOUT_ROWS {
            read_stored(db, api_name, level, window, &mut series)?;
        }
    }
    Ok(series.finish())
}

fn read_stored(
    db: &mut Db,
    api_name: &str,
    level: Level,
    window: Window,
    series: &mut Series,
) -> Result<()> {
    use usagectl_rollups::dsl;
    type Read = (UtcTimestamp, i64, i64, i64, String, String);
    let rows: Vec<Read> = on!(db, |conn| dsl::usagectl_rollups
        .filter(dsl::aggregation_type.eq(level.as_str()))
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
            let what = format!("a {level} roll-up of {api_name} is damaged");
            Error::message(Exit::Untrustworthy, what).with_next("usagectl aggregate --rebuild")
        };
        series.add_stored(start.utc(), tally().ok_or_else(damaged)?);
    }
    Ok(())
}
