//! Reads the calls of an API that alert rules require, from roll-ups and rows.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::sql_types::{Array, Text, Timestamp};

use crate::domain::alert::gaps;
use crate::domain::alert::series::{Demand, Series, Tally};
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::read_plan::RowRange;
use crate::error::Result;
use crate::store::postgres::Postgres;
use crate::store::prelude::*;
use crate::store::schema::{
    api_usage, usagectl_dirty_hours, usagectl_odd_timestamps, usagectl_rollups,
};
use crate::store::time::{StoredTimestamp, TimeBoundary};
use crate::store::usage::read::{self, UsageRow};
use crate::store::usage::rollups::{Damage, Level, WITHOUT_ROWS};

/// The hour of the first known call to an API, from rows, roll-ups or dirty hours.
pub fn first_call_hour(db: &mut Db, api_name: &str) -> QueryResult<Option<DateTime<Utc>>> {
    use usagectl_rollups::dsl;
    let row = api_usage::table
        .filter(api_usage::api_name.eq(api_name))
        .filter(api_usage::timestamp.ge(TimeBoundary(Window::ALL.from)))
        .order(api_usage::timestamp)
        .select(api_usage::timestamp)
        .limit(1);
    let rolled_up = dsl::usagectl_rollups
        .filter(dsl::aggregation_type.eq(Granularity::Hourly.as_str()))
        .filter(dsl::scope.eq("API"))
        .filter(dsl::api_name.eq(api_name))
        .order(dsl::period_start)
        .select(dsl::period_start)
        .limit(1);
    // Rows with non-canonical timestamps are found by their dirty hours.
    let marked = usagectl_dirty_hours::table
        .filter(usagectl_dirty_hours::api_name.eq(api_name))
        .order(usagectl_dirty_hours::hour)
        .select(usagectl_dirty_hours::hour)
        .limit(1);
    type Found = Option<StoredTimestamp>;
    let (row, rolled_up, marked): (Found, Found, Found) = on!(db, |conn| diesel::select((
        row.single_value(),
        rolled_up.single_value(),
        marked.single_value(),
    ))
    .get_result(conn))?;
    let marked = marked.filter(|hour| matches!(hour, StoredTimestamp::Canonical(_)));
    let first = [row, rolled_up, marked].into_iter().flatten();
    let first = first.filter_map(StoredTimestamp::instant).min();
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
    let of_api = dsl::usagectl_odd_timestamps
        .inner_join(api_usage::table.on(api_usage::id.eq(dsl::usage_id)))
        .filter(read::is_odd_call_of(api_name))
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

/// Reads the calls of APIs.
pub fn read<'a>(
    db: &mut Db,
    demands: impl Iterator<Item = (&'a str, Demand)>,
) -> Result<HashMap<&'a str, Series>> {
    let mut all: HashMap<&str, Series> = demands
        .map(|(api, demand)| (api, Series::new(demand)))
        .collect();
    for (api_name, series) in &mut all {
        let Demand { stored, rows, .. } = series.demand();
        let stored = stored.iter().map(|(of, part)| (Level::from(*of), *part));
        let without_rows = WITHOUT_ROWS.into_iter();
        let without_rows =
            without_rows.flat_map(|level| rows.iter().map(move |part| (level, *part)));
        let parts: Vec<(Level, Window)> = stored.chain(without_rows).collect();
        for parts in parts.chunks(PARTS_PER_STATEMENT) {
            read_stored(db, api_name, parts, series)?;
        }
        if let Db::Sqlite(_) = db {
            for part in series.demand().rows.clone() {
                read_rows(db, api_name, part, series)?;
            }
        }
    }
    if let Db::Pg(postgres) = db {
        read_counts(postgres, &mut all)?;
    }
    Ok(all
        .into_iter()
        .map(|(api, series)| (api, series.finish()))
        .collect())
}

fn read_rows(db: &mut Db, api_name: &str, window: Window, series: &mut Series) -> QueryResult<()> {
    let range = RowRange {
        api_name: Some(api_name.to_owned()),
        window,
    };
    read::for_each(db, &range, |UsageRow { at, call, .. }| {
        let tally = Tally::of_call(call.success, call.cached, call.cost_credits);
        series.add_rows(at, tally);
    })
}

/// Counts equal calls between two cuts on the server, so that the transfer does not grow with their number: at once
/// for all APIs with the same cuts, since rows are stored in the order of time and not by API. Costs are grouped, not
/// added: the server's sum of binary fractions would depend on their order.
fn read_counts(postgres: &mut Postgres, all: &mut HashMap<&str, Series>) -> QueryResult<()> {
    let mut alike: BTreeMap<[Vec<UtcTimestamp>; 4], Vec<&str>> = BTreeMap::new();
    for (api_name, series) in all.iter() {
        let Demand {
            rows,
            cuts,
            seconds,
            ..
        } = series.demand();
        let instants =
            |all: &mut dyn Iterator<Item = DateTime<Utc>>| all.map(UtcTimestamp::new).collect();
        let key = [
            instants(&mut rows.iter().map(|part| part.from)),
            instants(&mut rows.iter().map(|part| part.to)),
            instants(&mut cuts.iter().copied()),
            instants(&mut seconds.iter().flat_map(|part| [part.from, part.to])),
        ];
        if !rows.is_empty() {
            alike.entry(key).or_default().push(api_name);
        }
    }
    for ([from, to, cuts, seconds], apis) in alike {
        // With OFFSET 0 each part is read from an index. In an odd bucket of the last array each second counts for itself.
        let query = diesel::sql_query(
            "SELECT call.api_name, min(call.timestamp), count(*), call.success, call.cached, call.cost
             FROM unnest($2, $3) AS part (began, ended), LATERAL (
                 SELECT api_name, timestamp, coalesce(success, false) AS success, coalesce(cached, false) AS cached,
                     cost_credits::float8 AS cost
                 FROM api_usage WHERE api_name = ANY ($1) AND timestamp >= part.began AND timestamp < part.ended
                 OFFSET 0
             ) AS call
             GROUP BY width_bucket(call.timestamp, $4), 1, 4, 5, 6,
                 CASE width_bucket(call.timestamp, $5) % 2 WHEN 1 THEN date_trunc('second', call.timestamp) END",
        )
        .bind::<Array<Text>, _>(&apis)
        .bind::<Array<Timestamp>, _>(from)
        .bind::<Array<Timestamp>, _>(to)
        .bind::<Array<Timestamp>, _>(cuts)
        .bind::<Array<Timestamp>, _>(seconds);
        type Counted = (String, UtcTimestamp, i64, bool, bool, Option<f64>);
        let counts: Vec<Counted> = postgres.run(|conn| query.rows(conn))?;
        for (api_name, first, number, success, cached, cost) in counts {
            if let Some(series) = all.get_mut(api_name.as_str()) {
                let number = u64::try_from(number).unwrap_or(0);
                let tally = Tally::of_call(success, cached, cost).times(number);
                series.add_rows(first.utc(), tally);
            }
        }
    }
    Ok(())
}

/// SQLite allows a condition a depth of 1,000.
const PARTS_PER_STATEMENT: usize = 50;

fn read_stored(
    db: &mut Db,
    api_name: &str,
    parts: &[(Level, Window)],
    series: &mut Series,
) -> Result<()> {
    use usagectl_rollups::dsl;
    type Read = (String, UtcTimestamp, i64, i64, i64, String, String);
    let is_in = |(level, window): &(Level, Window)| {
        dsl::aggregation_type
            .eq(level.as_str())
            .and(dsl::scope.eq("API"))
            .and(dsl::api_name.eq(api_name))
            .and(dsl::period_start.ge(TimeBoundary(window.from)))
            .and(dsl::period_start.lt(TimeBoundary(window.to)))
    };
    let rows: Vec<Read> = on!(db, |conn| {
        let query = dsl::usagectl_rollups.select((
            dsl::aggregation_type,
            dsl::period_start,
            dsl::total_requests,
            dsl::cached_count,
            dsl::error_count,
            dsl::total_cost,
            dsl::cached_cost,
        ));
        let parts = parts.iter().map(is_in);
        parts
            .fold(query.into_boxed(), |query, part| query.or_filter(part))
            .load(conn)
    })?;
    for (level, start, calls, cached, failed, cost, cached_cost) in rows {
        let tally = || {
            Ok(Tally {
                calls: calls.try_into()?,
                cached: cached.try_into()?,
                failed: failed.try_into()?,
                cost: cost.parse()?,
                cached_cost: cached_cost.parse()?,
            })
        };
        let tally = tally().map_err(|damage: Damage| damage.of(api_name, &level, start))?;
        // They lie in the parts that are counted from rows; an hour may stand for its derived part.
        match WITHOUT_ROWS.iter().any(|gone| gone.as_str() == level) {
            true => series.add(start.utc(), tally),
            false => series.add_stored(start.utc(), tally),
        }
    }
    Ok(())
}
