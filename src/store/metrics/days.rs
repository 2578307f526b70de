//! `usagectl_metric_days`, one row for each UTC day of each series, and `usagectl_dirty_metric_days`, the days
//! whose points changed since.
//!
//! A trigger marks a day dirty in the transaction that changes a point. [`refresh`] deletes the marks it sees,
//! then reads the points, then writes the days, in one transaction: a point that commits later comes with a
//! mark of its own. Where points are written past the triggers, every day is compared.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use diesel::dsl::{min, sql};
use diesel::expression::SqlLiteral;
use diesel::sql_types::{BigInt, Bool, Nullable, Text, Timestamp};

use super::points;
use crate::domain::metrics::day::{DayChanges, Latest, MetricDay, rebuild_days};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{Point, Reading, Series};
use crate::domain::period::Window;
use crate::error::Result;
use crate::store::migrations::TriggerSet;
use crate::store::prelude::*;
use crate::store::schema::infrastructure_metric::dsl::{
    infrastructure_metric as metrics, timestamp,
};
use crate::store::schema::{
    usagectl_dirty_metric_days as dirty_days, usagectl_metric_days as days,
};
use crate::store::time::{StoredTimestamp, TimeBoundary};
use crate::store::unknown_values::{is_known, known};

#[derive(Insertable, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = days, treat_none_as_default_value = false)]
struct Row {
    service: String,
    metric: String,
    resource: String,
    day: UtcTimestamp,
    points: i32,
    first_value: f64,
    last_value: f64,
    min_value: f64,
    median_value: f64,
    max_value: f64,
    p95_value: f64,
    used: Option<f64>,
    resets: i32,
    first_at: UtcTimestamp,
    last_at: UtcTimestamp,
    reading: String,
    period_start: Option<UtcTimestamp>,
    sealed: bool,
}

impl Row {
    fn new(day: &MetricDay) -> Row {
        let integer = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        Row {
            service: day.series.service.to_string(),
            metric: day.series.metric.to_string(),
            resource: day.series.resource.clone(),
            day: start_of(day.day),
            points: integer(day.points),
            first_value: day.first_value,
            last_value: day.last_value,
            min_value: day.min_value,
            median_value: day.median_value,
            max_value: day.max_value,
            p95_value: day.p95_value,
            used: day.used,
            resets: integer(day.resets),
            first_at: day.first_at.into(),
            last_at: day.last_at.into(),
            reading: day.reading.as_str().to_uppercase(),
            period_start: day.period_start.map(UtcTimestamp::new),
            sealed: day.sealed,
        }
    }

    /// `None` for names that are unknown to this version.
    fn into_day(self) -> Option<MetricDay> {
        let unsigned = |number: i32| u32::try_from(number).unwrap_or(0);
        Some(MetricDay {
            series: Series {
                service: Service::named(&self.service)?,
                metric: Metric::named(&self.metric)?,
                resource: self.resource,
            },
            day: self.day.utc().date_naive(),
            points: unsigned(self.points),
            first_value: self.first_value,
            last_value: self.last_value,
            min_value: self.min_value,
            median_value: self.median_value,
            max_value: self.max_value,
            p95_value: self.p95_value,
            used: self.used,
            resets: unsigned(self.resets),
            first_at: self.first_at.utc(),
            last_at: self.last_at.utc(),
            reading: Reading::named(&self.reading)?,
            period_start: self.period_start.map(UtcTimestamp::utc),
            sealed: self.sealed,
        })
    }
}

fn start_of(day: NaiveDate) -> UtcTimestamp {
    UtcTimestamp::new(day.and_time(NaiveTime::MIN).and_utc())
}

/// The resources with stored days of a metric, in the order of their first day.
pub fn resources(db: &mut Db, service: Service, metric: Metric) -> QueryResult<Vec<String>> {
    on!(db, |conn| days::table
        .filter(days::service.eq(service.as_str()))
        .filter(days::metric.eq(metric.as_str()))
        .group_by(days::resource)
        .order((min(days::day), days::resource))
        .select(days::resource)
        .load(conn))
}

/// The stored days from `from` to `to`, both included, of all series or of one service and metric.
pub fn days(
    db: &mut Db,
    service: Option<Service>,
    metric: Option<Metric>,
    from: NaiveDate,
    to: NaiveDate,
) -> QueryResult<Vec<MetricDay>> {
    let rows: Vec<Row> = on!(db, |conn| {
        let mut query = days::table
            .select(Row::as_select())
            .filter(days::day.ge(bound(from)))
            .filter(days::day.lt(bound_after(to)))
            .order((days::service, days::metric, days::resource, days::day))
            .into_boxed();
        if let Some(service) = service {
            query = query.filter(days::service.eq(service.as_str()));
        }
        if let Some(metric) = metric {
            query = query.filter(days::metric.eq(metric.as_str()));
        }
        query.load(conn)
    })?;
    Ok(rows.into_iter().filter_map(Row::into_day).collect())
}

/// As [`days()`], with dirty days rebuilt in memory: up to date without writing. A series whose last day is earlier has
/// that day.
pub fn current_days(
    db: &mut Db,
    service: Option<Service>,
    metric: Option<Metric>,
    from: NaiveDate,
    to: NaiveDate,
) -> Result<Vec<MetricDay>> {
    if !TriggerSet::Metrics.is_in_place(db)? {
        return Err(TriggerSet::Metrics.missing());
    }
    let is_wanted = |series: &Series| {
        service.is_none_or(|it| it == series.service) && metric.is_none_or(|it| it == series.metric)
    };
    let mut all: BTreeMap<(Series, NaiveDate), MetricDay> = BTreeMap::new();
    let key = |day: &MetricDay| (day.series.clone(), day.day);
    let old = days_before(db, bound_after(to), None)?;
    let old = old.into_iter().filter(|day| is_wanted(&day.series));
    all.extend(old.map(|day| (key(&day), day)));
    let stored = days(db, service, metric, from, to)?;
    all.extend(stored.into_iter().map(|day| (key(&day), day)));
    for ((service, metric), span) in spans(dirty(db, from, to)?) {
        for (series, changes) in rebuild_span(db, service, metric, &span)? {
            for day in changes.remove {
                all.remove(&(series.clone(), day));
            }
            all.extend(changes.store.into_iter().map(|day| (key(&day), day)));
        }
    }
    all.retain(|(series, day), _| is_wanted(series) && *day <= to);
    Ok(all.into_values().collect())
}

/// The start of a day as a bound, clamped to the years that both engines can store.
fn bound(day: NaiveDate) -> TimeBoundary {
    let at = day.and_time(NaiveTime::MIN).and_utc();
    TimeBoundary(at.clamp(Window::ALL.from, Window::ALL.to))
}

fn bound_after(day: NaiveDate) -> TimeBoundary {
    bound(day.succ_opt().unwrap_or(NaiveDate::MAX))
}

/// Every day that has points or was rebuilt.
const ALL_DAYS: &str = "SELECT service::text, metric::text, date_trunc('day', timestamp) AS day
    FROM \"InfrastructureMetric\"
    UNION SELECT service, metric, day FROM usagectl_metric_days";

/// The days whose points changed since the last [`refresh`], or may have.
fn dirty(db: &mut Db, from: NaiveDate, to: NaiveDate) -> QueryResult<DirtyDays> {
    let days = match TriggerSet::Metrics.misses_changes(db)? {
        true => format!("({ALL_DAYS}) AS days"),
        false => "usagectl_dirty_metric_days".to_owned(),
    };
    let marked = format!("SELECT service, metric, day FROM {days} WHERE day >= $1 AND day < $2");
    let marks = on!(db, |conn| diesel::sql_query(&marked)
        .bind::<Timestamp, _>(bound(from))
        .bind::<Timestamp, _>(bound_after(to))
        .rows(conn))?;
    Ok(by_metric(marks))
}

/// The newest value of every series as of `now`, in the order of the series; writes nothing.
pub fn latest(db: &mut Db, now: DateTime<Utc>) -> Result<Vec<Latest>> {
    let today = now.date_naive();
    let dirty = dirty(db, NaiveDate::MIN, today)?;
    let first = dirty.values().filter_map(BTreeSet::first).min();
    let days = current_days(db, None, None, *first.unwrap_or(&today), today)?;
    // In the order of days.
    let last = days.into_iter().map(|day| (day.series.clone(), day));
    let mut latest = Vec::new();
    for day in last.collect::<BTreeMap<_, _>>().into_values() {
        latest.extend(newest_point(db, day, now)?);
    }
    Ok(latest)
}

/// The last point of `day` that is not after `now`, or else of an earlier day.
fn newest_point(
    db: &mut Db,
    mut day: MetricDay,
    now: DateTime<Utc>,
) -> QueryResult<Option<Latest>> {
    while day.last_at > now {
        let (service, metric) = (day.series.service, day.series.metric);
        let mut past = points::points(db, service, metric, day.day, day.day)?;
        past.retain(|(series, point)| *series == day.series && point.at <= now);
        past.sort_by_key(|(_, point)| point.at);
        if let Some((series, point)) = past.pop() {
            return Ok(Some(Latest { series, point }));
        }
        let series = day.series;
        let earlier = days_before(db, bound(day.day), Some((service, metric)))?;
        match earlier.into_iter().find(|day| day.series == series) {
            Some(earlier) => day = earlier,
            None => return Ok(None),
        }
    }
    let point = day.last_point();
    let series = day.series;
    Ok(Some(Latest { series, point }))
}

/// The last day of every series before `end`, or of the series of one service and metric.
fn days_before(
    db: &mut Db,
    end: TimeBoundary,
    of: Option<(Service, Metric)>,
) -> QueryResult<Vec<MetricDay>> {
    let (service, metric) = of.unzip();
    let rows: Vec<Row> = on!(db, |conn| diesel::sql_query(include_str!("day_before.sql"))
        .bind::<Timestamp, _>(end)
        .bind::<Nullable<Text>, _>(service.map(Service::as_str))
        .bind::<Nullable<Text>, _>(metric.map(Metric::as_str))
        .load(conn))?;
    Ok(rows.into_iter().filter_map(Row::into_day).collect())
}

/// The first day of every series of a metric after `day`.
fn days_after(
    db: &mut Db,
    day: NaiveDate,
    (service, metric): (Service, Metric),
) -> QueryResult<Vec<MetricDay>> {
    let rows: Vec<Row> = on!(db, |conn| diesel::sql_query(include_str!("day_from.sql"))
        .bind::<Timestamp, _>(bound_after(day))
        .bind::<Text, _>(service.as_str())
        .bind::<Text, _>(metric.as_str())
        .load(conn))?;
    Ok(rows.into_iter().filter_map(Row::into_day).collect())
}

/// The outcome of [`refresh`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Days that were rebuilt, or removed since they have no points left.
    pub days: u64,
    /// Pruned days with late points, which can no longer be added.
    pub sealed: u64,
}

/// Dirty days per transaction.
const STEP: i64 = 500;

/// Dirty days within this span are read with one query.
const SPAN: TimeDelta = TimeDelta::days(31);

/// Rebuilds the dirty days. Fails without the triggers: then it is unknown which days are dirty.
pub fn refresh(db: &mut Db) -> Result<Refreshed> {
    if !TriggerSet::Metrics.is_in_place(db)? {
        return Err(TriggerSet::Metrics.missing());
    }
    let mut done = Refreshed::default();
    mark_unseen(db)?;
    while any_dirty(db)? {
        db.write_tx(|db| refresh_step(db, &mut done))?;
    }
    Ok(done)
}

/// Marks every day, where points can change without a mark.
fn mark_unseen(db: &mut Db) -> QueryResult<()> {
    if !TriggerSet::Metrics.misses_changes(db)? {
        return Ok(());
    }
    let mark = format!("INSERT INTO usagectl_dirty_metric_days (service, metric, day) {ALL_DAYS}");
    on!(db, |conn| diesel::sql_query(&mark).execute(conn))?;
    Ok(())
}

fn any_dirty(db: &mut Db) -> QueryResult<bool> {
    let any = diesel::dsl::exists(dirty_days::table.select(dirty_days::day));
    on!(db, |conn| diesel::select(any).get_result(conn))
}

fn refresh_step(db: &mut Db, done: &mut Refreshed) -> QueryResult<()> {
    if let Db::Pg(postgres) = db {
        // A day depends on the one before it: two concurrent runs could each miss the other's changes.
        // Readers do not wait for this lock.
        postgres.batch_execute("LOCK TABLE usagectl_metric_days IN SHARE ROW EXCLUSIVE MODE")?;
    }
    for ((service, metric), span) in spans(take_dirty(db)?) {
        for (series, changes) in rebuild_span(db, service, metric, &span)? {
            done.days += (changes.store.len() + changes.remove.len()) as u64;
            done.sealed += changes.sealed;
            save(db, &series, &changes)?;
        }
    }
    Ok(())
}

/// The dirty days of each metric, in spans that are read with one query each.
fn spans(dirty: DirtyDays) -> Vec<((Service, Metric), BTreeSet<NaiveDate>)> {
    let mut spans = Vec::new();
    for (of, dirty) in dirty {
        let mut dirty: VecDeque<NaiveDate> = dirty.into_iter().collect();
        while let Some(first) = dirty.pop_front() {
            let mut span = BTreeSet::from([first]);
            while let Some(day) = dirty.pop_front_if(|day| *day - first < SPAN) {
                span.insert(day);
            }
            spans.push((of, span));
        }
    }
    spans
}

/// Its service, metric and day.
type DirtyDay = (String, String, StoredTimestamp);

type DirtyDays = BTreeMap<(Service, Metric), BTreeSet<NaiveDate>>;

/// Deletes the first marks and returns their days. A mark that becomes visible later stays for the next call.
fn take_dirty(db: &mut Db) -> QueryResult<DirtyDays> {
    // Days outside of the years that both engines can store, such as PostgreSQL's infinity.
    let outside = dirty_days::day
        .lt(TimeBoundary(Window::ALL.from))
        .or(dirty_days::day.ge(TimeBoundary(Window::ALL.to)));
    on!(db, |conn| diesel::delete(dirty_days::table.filter(outside))
        .execute(conn))?;
    let taken: Vec<DirtyDay> = on!(db, |conn| diesel::sql_query(include_str!(
        "take_dirty_days.sql"
    ))
    .bind::<BigInt, _>(STEP)
    .rows(conn))?;
    Ok(by_metric(taken))
}

fn by_metric(marks: Vec<DirtyDay>) -> DirtyDays {
    let mut dirty = DirtyDays::new();
    for (service, metric, day) in marks {
        let series = (known(&service), known(&metric));
        if let ((Some(service), Some(metric)), Some(day)) = (series, day.instant()) {
            let days = dirty.entry((service, metric)).or_default();
            days.insert(day.date_naive());
        }
    }
    dirty
}

/// The stored days and points of one series around its dirty days.
#[derive(Default)]
struct Rebuild {
    stored: BTreeMap<NaiveDate, MetricDay>,
    points: BTreeMap<NaiveDate, Vec<Point>>,
}

/// The changes to the stored days of every series of a metric that follow from its points.
fn rebuild_span(
    db: &mut Db,
    service: Service,
    metric: Metric,
    dirty: &BTreeSet<NaiveDate>,
) -> QueryResult<Vec<(Series, DayChanges)>> {
    let (Some(first), Some(last)) = (dirty.first().copied(), dirty.last().copied()) else {
        return Ok(Vec::new());
    };
    let of = (service, metric);
    let after = days_after(db, last, of)?;
    let mut points = points::points(db, service, metric, first, last)?;
    for day in after.iter().map(|day| day.day).collect::<BTreeSet<_>>() {
        points.extend(points::points(db, service, metric, day, day)?);
    }
    let mut stored = days_before(db, bound(first), Some(of))?;
    stored.extend(days(db, Some(service), Some(metric), first, last)?);
    stored.extend(after);

    let mut by_series: BTreeMap<Series, Rebuild> = BTreeMap::new();
    for day in stored {
        let of_series = by_series.entry(day.series.clone()).or_default();
        of_series.stored.insert(day.day, day);
    }
    for (series, point) in points {
        let of_series = by_series.entry(series).or_default();
        let of_day = of_series.points.entry(point.at.date_naive()).or_default();
        of_day.push(point);
    }
    let changes = |(series, Rebuild { stored, points })| {
        let changes = rebuild_days(&series, &stored, &points, dirty);
        (series, changes)
    };
    Ok(by_series.into_iter().map(changes).collect())
}

fn save(db: &mut Db, series: &Series, changes: &DayChanges) -> QueryResult<()> {
    let stored = changes.store.iter().map(|day| day.day);
    let gone = stored.chain(changes.remove.iter().copied());
    let gone: Vec<UtcTimestamp> = gone.map(start_of).collect();
    if gone.is_empty() {
        return Ok(());
    }
    on!(db, |conn| diesel::delete(days::table)
        .filter(days::service.eq(series.service.as_str()))
        .filter(days::metric.eq(series.metric.as_str()))
        .filter(days::resource.eq(&series.resource))
        .filter(days::day.eq_any(&gone))
        .execute(conn))?;
    let rows: Vec<Row> = changes.store.iter().map(Row::new).collect();
    on!(db, |conn| diesel::insert_into(days::table)
        .values(&rows)
        .execute(conn))?;
    Ok(())
}

/// The condition of points before a day on SQLite, unreadable timestamps excluded. The last day is appended.
const IS_OLD_IN_SQLITE: &str =
    concat!(include_str!("day_sqlite.sql"), " BETWEEN '0001-01-01' AND ");

/// The condition of points of a known service and metric; others are never aggregated.
fn is_aggregated() -> SqlLiteral<Bool> {
    let (service, metric) = (is_known::<Service>("service"), is_known::<Metric>("metric"));
    sql(&format!("({service} AND {metric})"))
}

/// The number of aggregated points before a day.
pub fn count_before(db: &mut Db, day: NaiveDate) -> QueryResult<u64> {
    let points = match db {
        Db::Pg(postgres) => postgres.run(|conn| {
            metrics
                .filter(timestamp.ge(bound(NaiveDate::MIN)))
                .filter(timestamp.lt(bound(day)))
                .filter(is_aggregated())
                .count()
                .get_result(conn)
        })?,
        Db::Sqlite(conn) => metrics
            .filter(sql::<Bool>(IS_OLD_IN_SQLITE).bind::<Text, _>(last_before(day)))
            .filter(is_aggregated())
            .count()
            .get_result::<i64>(conn)?,
    };
    Ok(u64::try_from(points).unwrap_or(0))
}

/// Removes the aggregated points before a day, after refreshing their days, and seals these days. It runs in one
/// transaction with one snapshot, so that no uncounted point is removed.
pub fn prune(db: &mut Db, day: NaiveDate) -> QueryResult<u64> {
    db.write_tx(|db| {
        if let Db::Pg(postgres) = db {
            postgres.batch_execute(
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
                 LOCK TABLE usagectl_metric_days IN SHARE ROW EXCLUSIVE MODE",
            )?;
        }
        let mut done = Refreshed::default();
        mark_unseen(db)?;
        while any_dirty(db)? {
            refresh_step(db, &mut done)?;
        }
        on!(db, |conn| diesel::update(days::table)
            .filter(days::day.lt(bound(day)))
            .filter(days::sealed.eq(false))
            .set(days::sealed.eq(true))
            .execute(conn))?;
        let removed = match db {
            Db::Pg(postgres) => postgres.run(|conn| {
                diesel::delete(metrics)
                    .filter(timestamp.ge(bound(NaiveDate::MIN)))
                    .filter(timestamp.lt(bound(day)))
                    .filter(is_aggregated())
                    .execute(conn)
            })?,
            Db::Sqlite(conn) => diesel::delete(metrics)
                .filter(sql::<Bool>(IS_OLD_IN_SQLITE).bind::<Text, _>(last_before(day)))
                .filter(is_aggregated())
                .execute(conn)?,
        };
        Ok(removed as u64)
    })
}

/// The day before `day` as text, within the years that both engines can store.
fn last_before(day: NaiveDate) -> String {
    let at = day.and_time(NaiveTime::MIN).and_utc();
    let at = at.clamp(Window::ALL.from, Window::ALL.to - TimeDelta::days(1));
    (at - TimeDelta::days(1)).date_naive().to_string()
}
