//! `usagectl_rollups`, the state of every roll-up, and `usagectl_stale_periods`, the periods to roll up
//! again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use diesel::connection::DefaultLoadingMode;
use diesel::dsl::sql;
use diesel::pg::PgRowByRowLoadingMode;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::{dirty, partitions};
use crate::domain::format;
use crate::domain::named::{Named, named};
use crate::domain::period::{Calendar, Granularity, Window, quarter_of};
use crate::domain::usage::credits;
use crate::domain::usage::endpoint::OTHER;
use crate::domain::usage::histogram::{self, Histogram};
use crate::domain::usage::partitions::Change;
use crate::domain::usage::read_plan::StalePeriods;
use crate::domain::usage::replaced_parts::{ReplacedParts, StoredPeriod};
use crate::domain::usage::rollup::{ApiPeriod, ApiRollup, Rollup};
use crate::domain::usage::settings::Settings;
use crate::error::{Error, Exit};
use crate::store::prelude::*;
use crate::store::schema::{usagectl_dirty_hours, usagectl_rollups, usagectl_stale_periods};
use crate::store::time::TimeBoundary;

named! {
    /// The roll-up of a whole API or of one of its endpoints.
    Scope, "roll-up scope" {
        Api = "API",
        Endpoint = "ENDPOINT",
    }
}

named! {
    /// The part of time that a stored roll-up covers; its name in `aggregation_type`.
    Level, "roll-up level" {
        Hourly = "HOURLY",
        Daily = "DAILY",
        Monthly = "MONTHLY",
        /// A part of an hour in which a local day begins.
        Piece = "PIECE",
        /// Calls of a quarter of an hour whose rows were pruned. An hour is the sum of these, of the next and of its
        /// rows.
        Sealed = "SEALED",
        /// Calls of a quarter of an hour whose rows another program deleted; the user has not decided about them.
        Undecided = "UNDECIDED",
    }
}

impl From<Granularity> for Level {
    fn from(granularity: Granularity) -> Level {
        match granularity {
            Granularity::Hourly => Level::Hourly,
            Granularity::Daily => Level::Daily,
            Granularity::Monthly => Level::Monthly,
        }
    }
}

/// The calls that are counted although their rows are gone.
pub const WITHOUT_ROWS: [Level; 2] = [Level::Sealed, Level::Undecided];

/// Restricts a boxed query to some APIs, or to none if none is named.
macro_rules! only_apis {
    ($query:ident, $apis:ident) => {
        if !$apis.is_empty() {
            $query = $query.filter(dsl::api_name.eq_any($apis));
        }
    };
}

/// Whether the start of a period is in a window.
macro_rules! within {
    ($start:expr, $window:ident) => {
        $start
            .ge(TimeBoundary($window.from))
            .and($start.lt(TimeBoundary($window.to)))
    };
}

/// Declares the row, whose counts are in the roll-up under the same or the given names.
macro_rules! row {
    ($($column:ident = $first:ident $(. $rest:ident)?,)+) => {
        #[derive(Debug, Insertable, Queryable, Selectable)]
        #[diesel(table_name = usagectl_rollups, treat_none_as_default_value = false)]
        struct Row {
            aggregation_type: String,
            scope: String,
            api_name: String,
            period_start: UtcTimestamp,
            endpoint: String,
            $($column: i64,)+
            min_response_time: Option<i32>,
            max_response_time: Option<i32>,
            response_time_histogram: Vec<u8>,
            request_bytes: Option<i64>,
            response_bytes: Option<i64>,
            total_cost: String,
            cached_cost: String,
        }

        impl Row {
            fn new(
                level: Level,
                scope: Scope,
                period: &ApiPeriod,
                endpoint: &str,
                rollup: &Rollup,
            ) -> Row {
                // No database holds more rows than a BIGINT counts.
                let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
                let ms = |ms: u32| i32::try_from(ms).unwrap_or(i32::MAX);
                Row {
                    aggregation_type: level.as_str().to_owned(),
                    scope: scope.as_str().to_owned(),
                    api_name: period.api_name.clone(),
                    period_start: period.start.into(),
                    endpoint: endpoint.to_owned(),
                    $($column: count(rollup.$first$(.$rest)?),)+
                    min_response_time: rollup.response_times.min.map(ms),
                    max_response_time: rollup.response_times.max.map(ms),
                    response_time_histogram: rollup.response_times.histogram.encode(),
                    request_bytes: rollup.request_bytes.map(count),
                    response_bytes: rollup.response_bytes.map(count),
                    total_cost: rollup.total_cost.to_string(),
                    cached_cost: rollup.cached_cost.to_string(),
                }
            }

            fn read(&self) -> Result<Rollup, Damage> {
                let ms = |ms: Option<i32>| ms.map(u32::try_from).transpose();
                let mut rollup = Rollup::default();
                $(rollup.$first$(.$rest)? = u64::try_from(self.$column)?;)+
                rollup.response_times.min = ms(self.min_response_time)?;
                rollup.response_times.max = ms(self.max_response_time)?;
                let bytes = |sum: Option<i64>| sum.map(u64::try_from).transpose();
                rollup.request_bytes = bytes(self.request_bytes)?;
                rollup.response_bytes = bytes(self.response_bytes)?;
                rollup.response_times.histogram = Histogram::decode(&self.response_time_histogram)?;
                rollup.total_cost = self.total_cost.parse()?;
                rollup.cached_cost = self.cached_cost.parse()?;
                Ok(rollup)
            }
        }
    };
}

row! {
    total_requests = total_requests,
    success_count = success_count,
    error_count = error_count,
    cached_count = cached_count,
    rate_limit_errors = errors.rate_limit,
    timeout_errors = errors.timeout,
    server_errors = errors.server,
    client_errors = errors.client,
    network_errors = errors.network,
    other_errors = errors.other,
    response_time_count = response_times.count,
    response_time_sum = response_times.sum,
}

/// A stored roll-up with values that no version of this program writes.
#[derive(Debug, thiserror::Error)]
#[error("the stored roll-up of {api_name} {granularity} {start} is damaged: {reason}", start = format::time(*.start))]
pub struct Damaged {
    api_name: String,
    granularity: String,
    start: DateTime<Utc>,
    reason: String,
}

impl From<Damaged> for Error {
    fn from(error: Damaged) -> Error {
        Error::new(Exit::Untrustworthy, error).with_next("usagectl aggregate --rebuild")
    }
}

#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum Damage {
    #[error("a negative number")]
    Negative(#[from] std::num::TryFromIntError),
    #[error(transparent)]
    Histogram(#[from] histogram::DecodeError),
    #[error("a cost that is {0}")]
    Cost(#[from] credits::ParseError),
}

impl Damage {
    pub(in crate::store) fn of(
        self,
        api_name: &str,
        granularity: &str,
        start: UtcTimestamp,
    ) -> Damaged {
        Damaged {
            api_name: api_name.to_owned(),
            granularity: granularity.to_owned(),
            start: start.utc(),
            reason: self.to_string(),
        }
    }
}

impl Row {
    fn rollup(&self) -> Result<Rollup, Damaged> {
        let of =
            |damage: Damage| damage.of(&self.api_name, &self.aggregation_type, self.period_start);
        self.read().map_err(of)
    }
}

#[derive(Debug)]
pub struct Stored<'a> {
    pub api_name: &'a str,
    pub start: DateTime<Utc>,
    pub scope: Scope,
    /// Empty in [`Scope::Api`].
    pub endpoint: &'a str,
    pub rollup: Result<Rollup, Damaged>,
}

/// Some of the stored roll-ups of a level.
#[derive(Clone, Copy, Debug)]
pub struct RollupFilter<'a> {
    apis: &'a BTreeSet<&'a str>,
    /// Of the starts of their periods.
    window: Window,
    /// All if none is named.
    only: Option<&'a Parts<'a>>,
}

/// Some endpoints of the parts of a period.
#[derive(Debug)]
struct Parts<'a> {
    /// By these an index finds them among any number of endpoints.
    starts: Vec<UtcTimestamp>,
    endpoints: &'a BTreeSet<&'a str>,
}

impl<'a> RollupFilter<'a> {
    pub fn all(apis: &'a BTreeSet<&'a str>, window: Window) -> RollupFilter<'a> {
        RollupFilter {
            apis,
            window,
            only: None,
        }
    }
}

/// Calls `work` with each of some stored roll-ups, in no particular order.
pub fn for_each(
    db: &mut Db,
    level: impl Into<Level>,
    scopes: &[Scope],
    of: RollupFilter<'_>,
    mut work: impl FnMut(Stored<'_>) -> Result<(), Damaged>,
) -> Result<(), Error> {
    use usagectl_rollups::dsl;
    let level = level.into();
    let window = of.window;
    let mut emit = |row: &Row| {
        work(Stored {
            api_name: &row.api_name,
            start: row.period_start.utc(),
            // A check constraint allows no other.
            scope: Scope::named(&row.scope).unwrap_or(Scope::Endpoint),
            endpoint: &row.endpoint,
            rollup: row.rollup(),
        })
    };
    macro_rules! rows {
        () => {{
            let rows = dsl::usagectl_rollups
                .filter(dsl::aggregation_type.eq(level.as_str()))
                .filter(dsl::scope.eq_any(scopes.iter().map(|scope| scope.as_str())))
                .filter(dsl::api_name.eq_any(of.apis.iter().copied()))
                .filter(within!(dsl::period_start, window))
                .select(Row::as_select())
                .into_boxed();
            match of.only {
                Some(parts) => rows
                    .filter(dsl::period_start.eq_any(&parts.starts))
                    .filter(dsl::endpoint.eq_any(parts.endpoints)),
                None => rows,
            }
        }};
    }
    match db {
        Db::Pg(postgres) => postgres.run(|conn| -> Result<(), Error> {
            for row in rows!().load_iter::<Row, PgRowByRowLoadingMode>(conn)? {
                emit(&row?)?;
            }
            Ok(())
        })?,
        Db::Sqlite(conn) => {
            for row in rows!().load_iter::<Row, DefaultLoadingMode>(conn)? {
                emit(&row?)?;
            }
        }
    }
    Ok(())
}

/// The stored roll-ups of periods that are about to be replaced. A damaged one is empty, unlike any stored one,
/// and so counts as changed.
pub fn load_to_replace(
    db: &mut Db,
    level: impl Into<Level>,
    apis: &BTreeSet<&str>,
    window: Window,
) -> Result<BTreeMap<ApiPeriod, ApiRollup>, Error> {
    let mut found = BTreeMap::new();
    let of = RollupFilter::all(apis, window);
    let empty = |_| Ok(Rollup::default());
    gather(db, level.into(), Some, of, empty, &mut found)?;
    Ok(found)
}

/// The stored roll-ups of a day or month whose `parts` were replaced. Nothing if its total is missing or damaged; a
/// damaged endpoint is empty, as in [`load_to_replace`].
pub fn load_replaced(
    db: &mut Db,
    granularity: Granularity,
    settings: Settings,
    period: &ApiPeriod,
    parts: &ReplacedParts,
) -> Result<Option<StoredPeriod>, Error> {
    use usagectl_rollups::dsl;
    let calendar = settings.calendar;
    let end = calendar.end_of(granularity, period.start);
    let part = match granularity {
        Granularity::Monthly => Granularity::Daily,
        Granularity::Daily | Granularity::Hourly => Granularity::Hourly,
    };
    let next = |start: &DateTime<Utc>| Some(calendar.end_of(part, *start));
    let starts = std::iter::successors(Some(period.start), next);
    let starts = starts.take_while(|start| *start < end);
    let only = Parts {
        // The period itself starts with the first.
        starts: starts.map(UtcTimestamp::new).collect(),
        endpoints: &parts.endpoints(),
    };
    let apis = BTreeSet::from([period.api_name.as_str()]);
    let of = RollupFilter {
        apis: &apis,
        window: Window::new(period.start, end),
        only: Some(&only),
    };
    let mut stored = BTreeMap::new();
    let empty = |_| Ok(Rollup::default());
    gather(db, granularity.into(), Some, of, empty, &mut stored)?;
    let stored = stored.into_values().next();
    let merged = gather_shorter(db, granularity, calendar, of)?;
    let merged = merged.into_values().next();
    // A total without calls is a damaged one.
    let Some((rollup, parts)) = stored
        .zip(merged)
        .filter(|(it, _)| it.total.total_requests > 0)
    else {
        return Ok(None);
    };
    macro_rules! endpoints {
        () => {
            dsl::usagectl_rollups
                .filter(dsl::aggregation_type.eq(granularity.as_str()))
                .filter(dsl::scope.eq(Scope::Endpoint.as_str()))
                .filter(dsl::api_name.eq(&period.api_name))
                .filter(dsl::period_start.eq(UtcTimestamp::new(period.start)))
        };
    }
    let endpoints: i64 = on!(db, |conn| endpoints!().count().get_result(conn))?;
    let endpoints = usize::try_from(endpoints).unwrap_or(0);
    let mut requests = None;
    if endpoints > usize::try_from(settings.max_endpoints).unwrap_or(usize::MAX) {
        let fewest = sql::<Nullable<BigInt>>("min(total_requests)");
        let sum = sql::<Nullable<BigInt>>("CAST(sum(total_requests) AS BIGINT)");
        let found: (Option<i64>, Option<i64>) = on!(db, |conn| endpoints!()
            .filter(dsl::endpoint.ne(OTHER))
            .select((fewest, sum))
            .get_result(conn))?;
        let number = |number: Option<i64>| u64::try_from(number?).ok();
        requests = number(found.0).zip(number(found.1));
    }
    Ok(Some(StoredPeriod {
        rollup,
        parts,
        endpoints,
        requests,
    }))
}

/// The stored roll-ups of a level, merged into the periods that `into` assigns their starts to.
/// They are merged as they are read, so that not all of them are in memory at once.
pub fn merge(
    db: &mut Db,
    level: impl Into<Level>,
    into: impl Fn(DateTime<Utc>) -> Option<DateTime<Utc>>,
    apis: &BTreeSet<&str>,
    window: Window,
) -> Result<BTreeMap<ApiPeriod, ApiRollup>, Error> {
    let mut found = BTreeMap::new();
    let of = RollupFilter::all(apis, window);
    gather(db, level.into(), into, of, Err, &mut found)?;
    Ok(found)
}

/// Adds the calls without rows to the pieces of hours that contain them.
pub fn add_calls_without_rows(
    db: &mut Db,
    settings: Settings,
    apis: &BTreeSet<&str>,
    window: Window,
    pieces: &mut BTreeMap<ApiPeriod, ApiRollup>,
) -> Result<(), Error> {
    let piece = |start| Some(settings.calendar.piece_of(start));
    for level in WITHOUT_ROWS {
        for (piece, calls) in merge(db, level, piece, apis, window)? {
            let sum = pieces.entry(piece).or_default();
            sum.total.merge(&calls.total);
            for (endpoint, calls) in &calls.endpoints {
                // They may have been counted under other names.
                sum.endpoint(&settings.endpoints.of(endpoint)).merge(calls);
            }
        }
    }
    Ok(())
}

/// The days or months of `window`, merged from the next shorter periods: an hour in which a day begins from its pieces.
pub fn merge_shorter(
    db: &mut Db,
    granularity: Granularity,
    settings: Settings,
    apis: &BTreeSet<&str>,
    window: Window,
) -> Result<BTreeMap<ApiPeriod, ApiRollup>, Error> {
    let of = RollupFilter::all(apis, window);
    let mut found = gather_shorter(db, granularity, settings.calendar, of)?;
    found
        .values_mut()
        .for_each(|rollup| rollup.cap(settings.max_endpoints));
    Ok(found)
}

/// Merges without a limit of endpoints.
fn gather_shorter(
    db: &mut Db,
    granularity: Granularity,
    calendar: Calendar,
    of: RollupFilter<'_>,
) -> Result<BTreeMap<ApiPeriod, ApiRollup>, Error> {
    let into = |start| Some(calendar.start_of(granularity, start));
    let mut found = BTreeMap::new();
    if granularity == Granularity::Monthly {
        gather(db, Level::Daily, into, of, Err, &mut found)?;
    } else {
        let whole = |hour| calendar.cut_of(hour).map_or_else(|| into(hour), |_| None);
        gather(db, Level::Hourly, whole, of, Err, &mut found)?;
        if calendar != Calendar::UTC {
            gather(db, Level::Piece, into, of, Err, &mut found)?;
        }
    }
    Ok(found)
}

fn gather(
    db: &mut Db,
    level: Level,
    into: impl Fn(DateTime<Utc>) -> Option<DateTime<Utc>>,
    of: RollupFilter<'_>,
    if_damaged: impl Fn(Damaged) -> Result<Rollup, Damaged>,
    found: &mut BTreeMap<ApiPeriod, ApiRollup>,
) -> Result<(), Error> {
    let both = [Scope::Api, Scope::Endpoint];
    for_each(db, level, &both, of, |stored| {
        let Some(start) = into(stored.start) else {
            return Ok(());
        };
        let period = ApiPeriod {
            start,
            api_name: stored.api_name.to_owned(),
        };
        let of_period = found.entry(period).or_default();
        let rollup = stored.rollup.or_else(&if_damaged)?;
        let sum = match stored.scope {
            Scope::Api => &mut of_period.total,
            Scope::Endpoint => of_period.endpoint(stored.endpoint),
        };
        sum.merge(&rollup);
        Ok(())
    })
}

pub fn delete(db: &mut Db, level: impl Into<Level>, period: &ApiPeriod) -> QueryResult<()> {
    use usagectl_rollups::dsl;
    let level = level.into();
    on!(db, |conn| {
        diesel::delete(dsl::usagectl_rollups)
            .filter(dsl::aggregation_type.eq(level.as_str()))
            .filter(dsl::scope.eq_any([Scope::Api.as_str(), Scope::Endpoint.as_str()]))
            .filter(dsl::api_name.eq(&period.api_name))
            .filter(dsl::period_start.eq(UtcTimestamp::new(period.start)))
            .execute(conn)
    })?;
    Ok(())
}

/// Deletes the total of a period and the endpoints that change, and returns their new values. Most stay, where one of
/// many endpoints has a late row.
pub fn delete_changed(
    db: &mut Db,
    granularity: Granularity,
    period: &ApiPeriod,
    before: &ApiRollup,
    after: &ApiRollup,
) -> QueryResult<ApiRollup> {
    use usagectl_rollups::dsl;
    let differs =
        |endpoint: &&String| before.endpoints.get(*endpoint) != after.endpoints.get(*endpoint);
    let endpoints = before.endpoints.keys().chain(after.endpoints.keys());
    let mut changed: BTreeSet<&str> = endpoints.filter(differs).map(String::as_str).collect();
    // The total, and the calls without an endpoint.
    changed.insert("");
    let names: Vec<&str> = changed.iter().copied().collect();
    for names in names.chunks(5_000) {
        on!(db, |conn| {
            diesel::delete(dsl::usagectl_rollups)
                .filter(dsl::aggregation_type.eq(granularity.as_str()))
                .filter(dsl::scope.eq_any([Scope::Api.as_str(), Scope::Endpoint.as_str()]))
                .filter(dsl::api_name.eq(&period.api_name))
                .filter(dsl::period_start.eq(UtcTimestamp::new(period.start)))
                .filter(dsl::endpoint.eq_any(names))
                .execute(conn)
        })?;
    }
    let endpoints = after.endpoints.iter();
    let endpoints = endpoints.filter(|(endpoint, _)| changed.contains(endpoint.as_str()));
    Ok(ApiRollup {
        total: after.total.clone(),
        endpoints: endpoints
            .map(|(name, it)| (name.clone(), it.clone()))
            .collect(),
    })
}

/// The stored calls without rows of the same quarters of hours as `calls`.
pub fn calls_without_rows(
    db: &mut Db,
    level: Level,
    calls: &BTreeMap<ApiPeriod, ApiRollup>,
) -> Result<BTreeMap<ApiPeriod, ApiRollup>, Error> {
    let (Some(first), Some(last)) = (calls.keys().next(), calls.keys().next_back()) else {
        return Ok(BTreeMap::new());
    };
    let window = Window::new(first.start, Granularity::Hourly.end_of(last.start));
    let apis = calls
        .keys()
        .map(|period| period.api_name.as_str())
        .collect();
    let mut stored = merge(db, level, Some, &apis, window)?;
    stored.retain(|period, _| calls.contains_key(period));
    Ok(stored)
}

/// Whether rows of these times were pruned.
pub fn is_pruned(db: &mut Db, first: DateTime<Utc>, last: DateTime<Utc>) -> QueryResult<bool> {
    use usagectl_rollups::dsl;
    let pruned = dsl::usagectl_rollups
        .filter(dsl::aggregation_type.eq(Level::Sealed.as_str()))
        .filter(dsl::scope.eq(Scope::Api.as_str()))
        .filter(dsl::period_start.ge(TimeBoundary(quarter_of(first))))
        .filter(dsl::period_start.le(UtcTimestamp::new(quarter_of(last))));
    on!(db, |conn| diesel::select(diesel::dsl::exists(pruned))
        .get_result(conn))
}

/// Changes the calls without rows: `change` merges or subtracts those of some quarters of hours. In one transaction.
pub fn change_calls_without_rows(
    db: &mut Db,
    level: Level,
    calls: &BTreeMap<ApiPeriod, ApiRollup>,
    change: fn(&mut ApiRollup, &ApiRollup),
) -> Result<(), Error> {
    let mut stored = calls_without_rows(db, level, calls)?;
    for period in stored.keys() {
        delete(db, level, period)?;
    }
    for (period, calls) in calls {
        change(stored.entry(period.clone()).or_default(), calls);
    }
    stored.retain(|_, rollup| rollup.total.total_requests > 0);
    Ok(insert(db, level, &stored)?)
}

/// Seals the undecided calls; in a transaction.
pub fn seal_undecided(db: &mut Db) -> Result<(), Error> {
    // Nearly always all of them; those of a quarter of an hour with sealed calls are added to these.
    on!(db, |conn| {
        diesel::sql_query(
        "UPDATE usagectl_rollups SET aggregation_type = 'SEALED'
         WHERE aggregation_type = 'UNDECIDED' AND NOT EXISTS (
             SELECT 1 FROM usagectl_rollups AS sealed
             WHERE sealed.aggregation_type = 'SEALED' AND sealed.api_name = usagectl_rollups.api_name
               AND sealed.period_start = usagectl_rollups.period_start
         )"
    )
    .execute(conn)
    })?;
    let apis = all_apis(db)?;
    let apis = apis.iter().map(String::as_str).collect();
    let rest = merge(db, Level::Undecided, Some, &apis, Window::ALL)?;
    change_calls_without_rows(db, Level::Sealed, &rest, ApiRollup::merge)?;
    Ok(forget(db, Level::Undecided, Window::ALL, &[])?)
}

/// Deletes the roll-ups of a level in a window.
pub fn forget(db: &mut Db, level: Level, window: Window, apis: &[String]) -> QueryResult<()> {
    use usagectl_rollups::dsl;
    on!(db, |conn| {
        let mut rows = diesel::delete(dsl::usagectl_rollups)
            .filter(dsl::aggregation_type.eq(level.as_str()))
            .filter(within!(dsl::period_start, window))
            .into_boxed();
        only_apis!(rows, apis);
        rows.execute(conn)
    })?;
    Ok(())
}

/// Cuts days and months again in another time zone; in a transaction.
pub fn change_calendar(db: &mut Db, old: Calendar, new: Calendar) -> QueryResult<()> {
    use usagectl_rollups::dsl;
    forget(db, Level::Piece, Window::ALL, &[])?;
    let longer = [Granularity::Daily, Granularity::Monthly];
    list_stored_as_stale(db, &longer, old, Window::ALL, &[])?;
    let hours: Vec<(UtcTimestamp, String)> = on!(db, |conn| dsl::usagectl_rollups
        .select((dsl::period_start, dsl::api_name))
        .filter(dsl::aggregation_type.eq(Level::Hourly.as_str()))
        .filter(dsl::scope.eq(Scope::Api.as_str()))
        .load(conn))?;
    let hours: Vec<ApiPeriod> = hours.into_iter().map(period).collect();
    let days = hours
        .iter()
        .flat_map(|hour| hour.within(Granularity::Hourly, new));
    add_stale(db, Granularity::Daily, &days.collect())?;
    let in_pieces = hours.iter().filter(|hour| new.cut_of(hour.start).is_some());
    add_stale(db, Granularity::Hourly, &in_pieces.cloned().collect())?;
    Ok(())
}

/// Inserts roll-ups of periods that have none.
pub fn insert<'a>(
    db: &mut Db,
    level: impl Into<Level>,
    rollups: impl IntoIterator<Item = (&'a ApiPeriod, &'a ApiRollup)>,
) -> QueryResult<()> {
    let level = level.into();
    let rows = rollups.into_iter().flat_map(|(period, rollup)| {
        let total = Row::new(level, Scope::Api, period, "", &rollup.total);
        let endpoints = rollup.endpoints.iter().map(move |(endpoint, rollup)| {
            Row::new(level, Scope::Endpoint, period, endpoint, rollup)
        });
        std::iter::once(total).chain(endpoints)
    });
    match db {
        Db::Pg(postgres) => {
            let rows: Vec<Row> = rows.collect();
            postgres.run(|conn| {
                diesel::copy_from(usagectl_rollups::table)
                    .from_insertable(&rows)
                    .execute(conn)
            })?;
        }
        Db::Sqlite(conn) => {
            for row in rows {
                diesel::insert_into(usagectl_rollups::table)
                    .values(&row)
                    .execute(conn)?;
            }
        }
    }
    Ok(())
}

fn period((start, api_name): (UtcTimestamp, String)) -> ApiPeriod {
    ApiPeriod {
        start: start.utc(),
        api_name,
    }
}

/// A stale period, and the time of its newest deleted row.
pub type Stale = (ApiPeriod, Option<DateTime<Utc>>);

/// The first stale periods of a granularity that start at `from` or later, at most `limit`, ordered by start and
/// API.
pub fn stale(
    db: &mut Db,
    granularity: Granularity,
    apis: &[String],
    from: DateTime<Utc>,
    limit: usize,
) -> QueryResult<Vec<Stale>> {
    use usagectl_stale_periods::dsl;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows: Vec<(UtcTimestamp, String, Option<UtcTimestamp>)> = on!(db, |conn| {
        let mut rows = dsl::usagectl_stale_periods
            .select((dsl::period_start, dsl::api_name, dsl::deleted_to))
            .filter(dsl::aggregation_type.eq(granularity.as_str()))
            .filter(dsl::period_start.ge(TimeBoundary(from)))
            .order((dsl::period_start, dsl::api_name))
            .limit(limit)
            .into_boxed();
        only_apis!(rows, apis);
        rows.load(conn)
    })?;
    let stale = |(start, api_name, deleted_to): (_, _, Option<UtcTimestamp>)| {
        (period((start, api_name)), deleted_to.map(UtcTimestamp::utc))
    };
    Ok(rows.into_iter().map(stale).collect())
}

/// Lists periods as stale; returns the number of those that were not.
pub fn add_stale(
    db: &mut Db,
    granularity: Granularity,
    periods: &BTreeSet<ApiPeriod>,
) -> QueryResult<usize> {
    use usagectl_stale_periods::dsl;
    let row = |period: &ApiPeriod| {
        (
            dsl::aggregation_type.eq(granularity.as_str()),
            dsl::period_start.eq(UtcTimestamp::new(period.start)),
            dsl::api_name.eq(period.api_name.clone()),
        )
    };
    let rows: Vec<_> = periods.iter().map(row).collect();
    let mut added = 0;
    // Of one statement; SQLite allows 32,766 values.
    for rows in rows.chunks(5_000) {
        added += on!(db, |conn| diesel::insert_into(dsl::usagectl_stale_periods)
            .values(rows)
            .on_conflict_do_nothing()
            .execute(conn))?;
    }
    Ok(added)
}

/// Deletes the stale periods up to `last`, which was the last of a result of [`stale`].
pub fn delete_stale(
    db: &mut Db,
    granularity: Granularity,
    apis: &[String],
    last: &ApiPeriod,
) -> QueryResult<()> {
    use usagectl_stale_periods::dsl;
    let start = UtcTimestamp::new(last.start);
    on!(db, |conn| {
        let mut done = diesel::delete(dsl::usagectl_stale_periods)
            .filter(dsl::aggregation_type.eq(granularity.as_str()))
            .filter(
                dsl::period_start.lt(start).or(dsl::period_start
                    .eq(start)
                    .and(dsl::api_name.le(&last.api_name))),
            )
            .into_boxed();
        only_apis!(done, apis);
        done.execute(conn)
    })?;
    Ok(())
}

/// Whether a period of these APIs, or of any, is stale.
pub fn has_stale(db: &mut Db, apis: &[String]) -> QueryResult<bool> {
    use usagectl_stale_periods::dsl;
    on!(db, |conn| {
        let mut rows = dsl::usagectl_stale_periods
            .select(dsl::api_name)
            .into_boxed();
        only_apis!(rows, apis);
        diesel::select(diesel::dsl::exists(rows)).get_result(conn)
    })
}

pub fn count_stale(db: &mut Db, granularity: Granularity, apis: &[String]) -> QueryResult<u64> {
    use usagectl_stale_periods::dsl;
    let count: i64 = on!(db, |conn| {
        let mut rows = dsl::usagectl_stale_periods
            .filter(dsl::aggregation_type.eq(granularity.as_str()))
            .into_boxed();
        only_apis!(rows, apis);
        rows.count().get_result(conn)
    })?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Lists all stored periods that overlap `window` as stale.
pub fn list_stored_as_stale(
    db: &mut Db,
    granularities: &[Granularity],
    calendar: Calendar,
    window: Window,
    apis: &[String],
) -> QueryResult<()> {
    use usagectl_rollups::dsl;
    for granularity in granularities {
        let whole = calendar.widened(*granularity, window);
        on!(db, |conn| {
            let mut stored = dsl::usagectl_rollups
                .select((dsl::aggregation_type, dsl::period_start, dsl::api_name))
                .filter(dsl::aggregation_type.eq(granularity.as_str()))
                .filter(dsl::scope.eq(Scope::Api.as_str()))
                .filter(within!(dsl::period_start, whole))
                .into_boxed();
            only_apis!(stored, apis);
            diesel::insert_into(usagectl_stale_periods::table)
                .values(stored)
                .into_columns((
                    usagectl_stale_periods::aggregation_type,
                    usagectl_stale_periods::period_start,
                    usagectl_stale_periods::api_name,
                ))
                .on_conflict_do_nothing()
                .execute(conn)
        })?;
    }
    Ok(())
}

/// The statement that lists all stored periods as stale, for a script that created the application's table of them or
/// a column of it again.
pub const LIST_ALL_AS_STALE: &str =
    "INSERT INTO usagectl_stale_periods (aggregation_type, period_start, api_name)
SELECT aggregation_type, period_start, api_name FROM usagectl_rollups
WHERE aggregation_type IN ('HOURLY', 'DAILY', 'MONTHLY') AND scope = 'API'
ON CONFLICT DO NOTHING;";

/// What another program deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Rows of a granularity in the application's table: of an API, or of all.
    Published(Granularity, Option<String>),
    /// All roll-ups, while `api_usage` has rows and none of them is waiting.
    RollUps,
}

/// Finds deleted days and months in the application's table by their number, hours where all of an API are deleted, and a
/// deletion of all roll-ups. To count hours would take a noticeable time; `aggregate --verify` compares them.
pub fn lost(db: &mut Db) -> QueryResult<Vec<Lost>> {
    // With EXISTS in place of LIMIT 1 SQLite from 3.51 on would look at every hour.
    const QUERY: &str = "
        SELECT aggregation_type, api_name
        FROM (
            SELECT aggregation_type, api_name, count(*) AS periods FROM usagectl_rollups
            WHERE aggregation_type IN ('DAILY', 'MONTHLY') AND scope = 'API'
            GROUP BY aggregation_type, api_name
        ) AS stored
        WHERE periods > (
            SELECT count(*) FROM api_usage_aggregates AS published
            WHERE published.api_name = stored.api_name AND published.aggregation_type = stored.aggregation_type
        )
        UNION ALL
        SELECT 'HOURLY', api_name
        FROM (SELECT DISTINCT api_name FROM usagectl_rollups WHERE aggregation_type = 'DAILY' AND scope = 'API') AS stored
        WHERE NOT EXISTS (
            SELECT 1 FROM api_usage_aggregates AS published
            WHERE published.api_name = stored.api_name AND published.aggregation_type = 'HOURLY'
        )
        UNION ALL
        SELECT 'HOURLY', NULL
        FROM (SELECT 1 FROM usagectl_rollups WHERE aggregation_type = 'HOURLY' LIMIT 1) AS stored
        WHERE NOT EXISTS (SELECT 1 FROM usagectl_rollups WHERE aggregation_type = 'DAILY')
          AND NOT EXISTS (SELECT 1 FROM api_usage_aggregates WHERE aggregation_type = 'HOURLY')
        UNION ALL
        SELECT NULL, NULL
        WHERE NOT EXISTS (SELECT 1 FROM usagectl_rollups)
          AND NOT EXISTS (SELECT 1 FROM usagectl_stale_periods)
          AND NOT EXISTS (SELECT 1 FROM usagectl_dirty_hours)";
    type Row = (Option<String>, Option<String>);
    let rows: Vec<Row> = on!(db, |conn| diesel::sql_query(QUERY).rows(conn))?;
    let lost = |(granularity, api): Row| match granularity.as_deref().and_then(Granularity::named) {
        Some(granularity) => Lost::Published(granularity, api),
        None => Lost::RollUps,
    };
    let mut lost: Vec<Lost> = rows.into_iter().map(lost).collect();
    // Of its own, since Citus distributes that table.
    if lost.contains(&Lost::RollUps) && !dirty::has_rows(db)? {
        lost.retain(|it| *it != Lost::RollUps);
    }
    Ok(lost)
}

/// Lists what another program deleted as stale; in a transaction.
pub fn list_lost_as_stale(db: &mut Db, calendar: Calendar) -> QueryResult<()> {
    for lost in lost(db)? {
        match lost {
            Lost::Published(Granularity::Hourly, api) => {
                let apis: Vec<String> = api.into_iter().collect();
                list_stored_as_stale(db, &[Granularity::Hourly], calendar, Window::ALL, &apis)?;
            }
            Lost::Published(granularity, api) => {
                let apis = [api.unwrap_or_default()];
                let starts = unpublished(db, granularity, &apis[0])?;
                let periods = starts.into_iter();
                let periods = periods.map(|it| Window::new(it, calendar.end_of(granularity, it)));
                for window in Window::joined(periods) {
                    list_stored_as_stale(db, &Granularity::ALL, calendar, window, &apis)?;
                }
            }
            Lost::RollUps => {
                dirty::mark_hours_with_rows(db, Window::ALL, &[])?;
                dirty::move_to_stale(db, &[])?;
            }
        }
    }
    Ok(())
}

/// The starts of the roll-ups of an API that have no row in the application's table, in their order.
fn unpublished(
    db: &mut Db,
    granularity: Granularity,
    api: &str,
) -> QueryResult<Vec<DateTime<Utc>>> {
    let query = diesel::sql_query(
        "SELECT period_start FROM usagectl_rollups AS stored
         WHERE aggregation_type = $1 AND scope = 'API' AND api_name = $2 AND NOT EXISTS (
             SELECT 1 FROM api_usage_aggregates AS published
             WHERE published.api_name = stored.api_name AND published.aggregation_type = stored.aggregation_type
               AND published.period_start = stored.period_start
         )
         ORDER BY period_start",
    );
    let query = query
        .bind::<Text, _>(granularity.as_str())
        .bind::<Text, _>(api);
    let starts: Vec<UtcTimestamp> = on!(db, |conn| query.rows(conn))?;
    Ok(starts.into_iter().map(UtcTimestamp::utc).collect())
}

/// The first hour of these APIs that is rolled up.
pub fn first_hour(db: &mut Db, apis: &BTreeSet<&str>) -> QueryResult<Option<DateTime<Utc>>> {
    use usagectl_rollups::dsl;
    let first: Option<UtcTimestamp> = on!(db, |conn| dsl::usagectl_rollups
        .select(dsl::period_start)
        .filter(dsl::aggregation_type.eq(Granularity::Hourly.as_str()))
        .filter(dsl::scope.eq(Scope::Api.as_str()))
        .filter(dsl::api_name.eq_any(apis))
        .order(dsl::period_start)
        .first(conn)
        .optional())?;
    Ok(first.map(UtcTimestamp::utc))
}

/// The starts of the stored periods of a granularity, of all APIs.
pub fn stored_starts(
    db: &mut Db,
    granularity: Granularity,
    window: Window,
) -> QueryResult<BTreeSet<DateTime<Utc>>> {
    use usagectl_rollups::dsl;
    let starts: Vec<UtcTimestamp> = on!(db, |conn| dsl::usagectl_rollups
        .select(dsl::period_start)
        .filter(dsl::aggregation_type.eq(granularity.as_str()))
        .filter(dsl::scope.eq(Scope::Api.as_str()))
        .filter(within!(dsl::period_start, window))
        .distinct()
        .load(conn))?;
    Ok(starts.into_iter().map(UtcTimestamp::utc).collect())
}

/// The stale periods of every granularity that start in `window`.
pub fn stale_in(db: &mut Db, window: Window) -> QueryResult<Vec<(Granularity, ApiPeriod)>> {
    use usagectl_stale_periods::dsl;
    let mut found = Vec::new();
    for granularity in Granularity::ALL {
        let rows: Vec<(UtcTimestamp, String)> = on!(db, |conn| dsl::usagectl_stale_periods
            .select((dsl::period_start, dsl::api_name))
            .filter(dsl::aggregation_type.eq(granularity.as_str()))
            .filter(within!(dsl::period_start, window))
            .load(conn))?;
        found.extend(rows.into_iter().map(|row| (granularity, period(row))));
    }
    Ok(found)
}

/// The stale periods of each API.
#[derive(Debug)]
pub struct StaleByApi {
    by_api: HashMap<String, StalePeriods>,
    none: StalePeriods,
}

impl StaleByApi {
    pub fn of(&self, api: &str) -> &StalePeriods {
        self.by_api.get(api).unwrap_or(&self.none)
    }

    pub fn insert(&mut self, granularity: Granularity, period: ApiPeriod) {
        let of_api = self.by_api.entry(period.api_name);
        let of_api = of_api.or_insert_with(|| self.none.clone());
        of_api.insert(granularity, period.start);
    }
}

/// The stale periods and dirty hours of each API in the months that `window` touches.
pub fn stale_by_api(db: &mut Db, calendar: Calendar, window: Window) -> QueryResult<StaleByApi> {
    let months = calendar
        .widened(Granularity::Monthly, window)
        .widened(Granularity::Hourly);
    let mut stale = StaleByApi {
        by_api: HashMap::new(),
        none: StalePeriods::none(calendar),
    };
    let dirty = dirty::dirty_hours(db, months)?.into_iter();
    let dirty = dirty.map(|hour| (Granularity::Hourly, hour));
    let mut periods = stale_in(db, months)?;
    periods.extend(dirty);
    if !periods.is_empty() {
        // Their rows and the calls that are kept without rows would both count.
        let changes = partitions::changes(db)?;
        let returned = changes
            .hours(Change::Returned)
            .chain(changes.hours(Change::Unclear));
        let returned: BTreeSet<&ApiPeriod> = returned.collect();
        periods.retain(|(of, period)| *of != Granularity::Hourly || !returned.contains(period));
    }
    for (granularity, period) in periods {
        stale.insert(granularity, period);
    }
    Ok(stale)
}

/// Every API that has usage: rolled up, stale or dirty.
pub fn known_apis(db: &mut Db) -> QueryResult<BTreeSet<String>> {
    use usagectl_rollups::dsl;
    let rolled_up = dsl::usagectl_rollups
        .select(dsl::api_name)
        .filter(dsl::aggregation_type.eq(Granularity::Monthly.as_str()))
        .filter(dsl::scope.eq(Scope::Api.as_str()));
    let stale = usagectl_stale_periods::table.select(usagectl_stale_periods::api_name);
    let dirty = usagectl_dirty_hours::table.select(usagectl_dirty_hours::api_name);
    let apis: Vec<String> = on!(db, |conn| rolled_up.union(stale).union(dirty).load(conn))?;
    Ok(apis.into_iter().collect())
}

/// Every API that has a roll-up of any granularity. Reads all roll-ups.
pub fn all_apis(db: &mut Db) -> QueryResult<BTreeSet<String>> {
    use usagectl_rollups::dsl;
    let apis: Vec<String> = on!(db, |conn| dsl::usagectl_rollups
        .select(dsl::api_name)
        .filter(dsl::scope.eq(Scope::Api.as_str()))
        .distinct()
        .load(conn))?;
    Ok(apis.into_iter().collect())
}

/// Updates the statistics of PostgreSQL's planner. Autovacuum would do so within a minute; until then the
/// joins of `stats` take seconds instead of milliseconds.
pub fn refresh_statistics(db: &mut Db) -> QueryResult<()> {
    match db {
        Db::Pg(postgres) => {
            postgres.batch_execute("ANALYZE (SKIP_LOCKED) usagectl_rollups, api_usage_aggregates")
        }
        Db::Sqlite(_) => Ok(()),
    }
}
