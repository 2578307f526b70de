//! `usagectl_metric_days`, one row for each UTC day of each series, and `usagectl_dirty_metric_days`, the
//! marks of days whose points changed since.
//!
//! As with the roll-ups of usage, a mark and the row it speaks of become visible together. [`refresh`]
//! takes the marks it sees, then reads the points, then writes the days, in one transaction: a point
//! that commits later brings a mark of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamp};

use super::points;
use crate::domain::metrics::day::{DayChanges, Latest, MetricDay, rebuild_days};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{Point, Reading, Series};
use crate::domain::named::Named;
use crate::domain::period::Window;
use crate::store::db::{Db, on};
use crate::store::schema::{usagectl_dirty_metric_days as marks, usagectl_metric_days as days};
use crate::store::time::{HourBoundary, StoredTimestamp, UtcTimestamp};

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
        let whole = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        Row {
            service: day.series.service.to_string(),
            metric: day.series.metric.to_string(),
            resource: day.series.resource.clone(),
            day: begin(day.day),
            points: whole(day.points),
            first_value: day.first_value,
            last_value: day.last_value,
            min_value: day.min_value,
            median_value: day.median_value,
            max_value: day.max_value,
            p95_value: day.p95_value,
            used: day.used,
            resets: whole(day.resets),
            first_at: day.first_at.into(),
            last_at: day.last_at.into(),
            reading: day.reading.as_str().to_owned(),
            period_start: day.period_start.map(UtcTimestamp::new),
            sealed: day.sealed,
        }
    }

    /// None for words that a later version of this program may have written.
    fn read(self) -> Option<MetricDay> {
        let whole = |number: i32| u32::try_from(number).unwrap_or(0);
        Some(MetricDay {
            series: Series {
                service: Service::named(&self.service)?,
                metric: Metric::named(&self.metric)?,
                resource: self.resource,
            },
            day: self.day.utc().date_naive(),
            points: whole(self.points),
            first_value: self.first_value,
            last_value: self.last_value,
            min_value: self.min_value,
            median_value: self.median_value,
            max_value: self.max_value,
            p95_value: self.p95_value,
            used: self.used,
            resets: whole(self.resets),
            first_at: self.first_at.utc(),
            last_at: self.last_at.utc(),
            reading: Reading::named(&self.reading)?,
            period_start: self.period_start.map(UtcTimestamp::utc),
            sealed: self.sealed,
        })
    }
}

fn begin(day: NaiveDate) -> UtcTimestamp {
    UtcTimestamp::new(day.and_time(NaiveTime::MIN).and_utc())
}

/// The stored days of a series, or of several, from one to another; both included.
///
/// Narrow it with a service and a metric; leave them out for all.
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
            .filter(days::day.ge(edge(from)))
            .filter(days::day.lt(edge_after(to)))
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
    Ok(rows.into_iter().filter_map(Row::read).collect())
}

/// The start of a day, to compare with; days that no column can hold are brought to the nearest one.
fn edge(day: NaiveDate) -> HourBoundary {
    let at = day.and_time(NaiveTime::MIN).and_utc();
    HourBoundary(at.clamp(Window::ALL.from, Window::ALL.to))
}

fn edge_after(day: NaiveDate) -> HourBoundary {
    edge(day.succ_opt().unwrap_or(NaiveDate::MAX))
}

/// The newest value of every series as of `now`, in the order of the series. It knows what [`refresh`]
/// has seen.
pub fn latest(db: &mut Db, now: DateTime<Utc>) -> QueryResult<Vec<Latest>> {
    let mut latest = Vec::new();
    for day in newest(db, edge_after(now.date_naive()), None)? {
        latest.extend(newest_point(db, day, now)?);
    }
    latest.sort_by(|a, b| a.series.cmp(&b.series));
    Ok(latest)
}

/// The last point of a day that is not after `now`, or of a day before it.
fn newest_point(
    db: &mut Db,
    mut day: MetricDay,
    now: DateTime<Utc>,
) -> QueryResult<Option<Latest>> {
    while day.last_at > now {
        let Series {
            service, metric, ..
        } = day.series;
        let points = points::points(db, service, metric, day.day, day.day)?;
        let mut past: Vec<Point> = points
            .into_iter()
            .filter(|(series, point)| *series == day.series && point.at <= now)
            .map(|(_, point)| point)
            .collect();
        past.sort_by_key(|point| point.at);
        let series = day.series.clone();
        if let Some(point) = past.pop() {
            return Ok(Some(Latest { series, point }));
        }
        let earlier = newest(db, edge(day.day), Some((service, metric)))?;
        match earlier.into_iter().find(|day| day.series == series) {
            Some(earlier) => day = earlier,
            None => return Ok(None),
        }
    }
    let point = day.end();
    let series = day.series;
    Ok(Some(Latest { series, point }))
}

/// The last day of every series before `edge`.
fn newest(
    db: &mut Db,
    edge: HourBoundary,
    of: Option<(Service, Metric)>,
) -> QueryResult<Vec<MetricDay>> {
    neighbours(db, "max(day) AS day", "day < $1", edge, of)
}

/// The first day of every series of a metric after `day`.
fn following(db: &mut Db, day: NaiveDate, of: (Service, Metric)) -> QueryResult<Vec<MetricDay>> {
    neighbours(
        db,
        "min(day) AS day",
        "day >= $1",
        edge_after(day),
        Some(of),
    )
}

fn neighbours(
    db: &mut Db,
    which: &str,
    condition: &str,
    edge: HourBoundary,
    of: Option<(Service, Metric)>,
) -> QueryResult<Vec<MetricDay>> {
    let query = format!(
        "SELECT found.* FROM (
             SELECT service, metric, resource, {which} FROM usagectl_metric_days
             WHERE {condition} AND ($2 IS NULL OR service = $2) AND ($3 IS NULL OR metric = $3)
             GROUP BY service, metric, resource
         ) AS nearest
         JOIN usagectl_metric_days AS found
           ON found.service = nearest.service AND found.metric = nearest.metric
          AND found.resource = nearest.resource AND found.day = nearest.day"
    );
    let (service, metric) = of.unzip();
    let rows: Vec<Row> = on!(db, |conn| diesel::sql_query(query)
        .bind::<Timestamp, _>(edge)
        .bind::<Nullable<Text>, _>(service.map(Service::as_str))
        .bind::<Nullable<Text>, _>(metric.map(Metric::as_str))
        .load(conn))?;
    Ok(rows.into_iter().filter_map(Row::read).collect())
}

/// What [`refresh`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Days that were made anew, or removed because they have no points any more.
    pub days: u64,
    /// Days whose points were pruned and that have points again, which cannot be added any more.
    pub sealed: u64,
}

/// So many marked days are worked off in one transaction.
const STEP: u32 = 500;

/// So far apart the days may lie whose points are read at once.
const STRETCH: TimeDelta = TimeDelta::days(31);

/// Makes anew the days whose points changed.
pub fn refresh(db: &mut Db) -> QueryResult<Refreshed> {
    let mut done = Refreshed::default();
    while any_mark(db)? {
        db.write_tx(|db| refresh_step(db, &mut done))?;
    }
    Ok(done)
}

fn any_mark(db: &mut Db) -> QueryResult<bool> {
    let any = diesel::dsl::exists(marks::table.select(marks::day));
    on!(db, |conn| diesel::select(any).get_result(conn))
}

fn refresh_step(db: &mut Db, done: &mut Refreshed) -> QueryResult<()> {
    if let Db::Pg(conn) = db {
        // A day is made from the one before it: two runs at once could each miss what the other changes.
        // Readers do not wait.
        conn.batch_execute("LOCK TABLE usagectl_metric_days IN SHARE ROW EXCLUSIVE MODE")?;
    }
    for ((service, metric), dirty) in take_marks(db)? {
        let mut dirty: VecDeque<NaiveDate> = dirty.into_iter().collect();
        while let Some(first) = dirty.pop_front() {
            let mut stretch = BTreeSet::from([first]);
            while let Some(day) = dirty.pop_front_if(|day| *day - first < STRETCH) {
                stretch.insert(day);
            }
            refresh_stretch(db, service, metric, &stretch, done)?;
        }
    }
    Ok(())
}

#[derive(QueryableByName)]
struct Mark {
    #[diesel(sql_type = Text)]
    service: String,
    #[diesel(sql_type = Text)]
    metric: String,
    #[diesel(sql_type = Timestamp)]
    day: StoredTimestamp,
}

type Marks = BTreeMap<(Service, Metric), BTreeSet<NaiveDate>>;

/// Deletes the first marks and returns them. Only what is deleted here is worked off: a mark that becomes
/// visible a moment later stays.
fn take_marks(db: &mut Db) -> QueryResult<Marks> {
    // What lies outside of the years that both engines can hold, such as PostgreSQL's infinity.
    let outside = marks::day
        .lt(HourBoundary(Window::ALL.from))
        .or(marks::day.ge(HourBoundary(Window::ALL.to)));
    on!(db, |conn| diesel::delete(marks::table.filter(outside))
        .execute(conn))?;
    let taken: Vec<Mark> = on!(db, |conn| diesel::sql_query(format!(
        "DELETE FROM usagectl_dirty_metric_days WHERE (service, metric, day) <= (
             SELECT service, metric, day FROM (
                 SELECT DISTINCT service, metric, day FROM usagectl_dirty_metric_days
                 ORDER BY service, metric, day LIMIT {STEP}
             ) AS first_ones
             ORDER BY service DESC, metric DESC, day DESC LIMIT 1
         )
         RETURNING service, metric, day"
    ))
    .load(conn))?;
    let mut marks = Marks::new();
    for mark in taken {
        let series = (Service::named(&mark.service), Metric::named(&mark.metric));
        if let ((Some(service), Some(metric)), Some(day)) = (series, mark.day.instant()) {
            let days = marks.entry((service, metric)).or_default();
            days.insert(day.date_naive());
        }
    }
    Ok(marks)
}

/// What there is of one series around the days that are made anew.
#[derive(Default)]
struct Around {
    stored: BTreeMap<NaiveDate, MetricDay>,
    points: BTreeMap<NaiveDate, Vec<Point>>,
}

fn refresh_stretch(
    db: &mut Db,
    service: Service,
    metric: Metric,
    dirty: &BTreeSet<NaiveDate>,
    done: &mut Refreshed,
) -> QueryResult<()> {
    let (Some(first), Some(last)) = (dirty.first().copied(), dirty.last().copied()) else {
        return Ok(());
    };
    let of = (service, metric);
    let after = following(db, last, of)?;
    let mut points = points::points(db, service, metric, first, last)?;
    for day in after.iter().map(|day| day.day).collect::<BTreeSet<_>>() {
        points.extend(points::points(db, service, metric, day, day)?);
    }
    let mut stored = newest(db, edge(first), Some(of))?;
    stored.extend(days(db, Some(service), Some(metric), first, last)?);
    stored.extend(after);

    let mut around: BTreeMap<Series, Around> = BTreeMap::new();
    for day in stored {
        let of_series = around.entry(day.series.clone()).or_default();
        of_series.stored.insert(day.day, day);
    }
    for (series, point) in points {
        let of_series = around.entry(series).or_default();
        let of_day = of_series.points.entry(point.at.date_naive()).or_default();
        of_day.push(point);
    }
    for (series, Around { stored, points }) in around {
        let changes = rebuild_days(&series, &stored, &points, dirty);
        done.days += (changes.store.len() + changes.remove.len()) as u64;
        done.sealed += changes.sealed;
        save(db, &series, &changes)?;
    }
    Ok(())
}

fn save(db: &mut Db, series: &Series, changes: &DayChanges) -> QueryResult<()> {
    let stored = changes.store.iter().map(|day| day.day);
    let gone = stored.chain(changes.remove.iter().copied());
    let gone: Vec<UtcTimestamp> = gone.map(begin).collect();
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

/// So a row's day is found on SQLite, whatever its timestamp looks like; nothing for what nobody can read.
const SQLITE_DAY: &str = "CASE typeof(timestamp)
    WHEN 'text' THEN CASE WHEN date(substr(timestamp, 1, 10), '+0 days') = substr(timestamp, 1, 10)
        THEN strftime('%Y-%m-%d', timestamp) END
    WHEN 'blob' THEN NULL
    ELSE strftime('%Y-%m-%d', timestamp / 1000.0, 'unixepoch') END";

/// The condition of points on days before the one that is bound, and on none that nobody can read.
fn is_before(db: &Db) -> String {
    match db {
        Db::Pg(_) => "timestamp >= '0001-01-01' AND timestamp < $1::date".to_owned(),
        Db::Sqlite(_) => format!("({SQLITE_DAY}) >= '0001-01-01' AND ({SQLITE_DAY}) < $1"),
    }
}

/// How many points there are before a day.
pub fn count_before(db: &mut Db, day: NaiveDate) -> QueryResult<u64> {
    #[derive(QueryableByName)]
    struct Counted {
        #[diesel(sql_type = BigInt)]
        points: i64,
    }
    let condition = is_before(db);
    let query =
        format!("SELECT count(*) AS points FROM \"InfrastructureMetric\" WHERE {condition}");
    let counted: Counted = on!(db, |conn| diesel::sql_query(query)
        .bind::<Text, _>(bound(day))
        .get_result(conn))?;
    Ok(u64::try_from(counted.points).unwrap_or(0))
}

/// Removes the points before a day, having summed up what is not; their days are sealed. In one
/// transaction that sees one instant, so that no point goes that was not counted.
pub fn prune(db: &mut Db, day: NaiveDate) -> QueryResult<u64> {
    db.write_tx(|db| {
        if let Db::Pg(conn) = db {
            conn.batch_execute(
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
                 LOCK TABLE usagectl_metric_days IN SHARE ROW EXCLUSIVE MODE",
            )?;
        }
        let mut done = Refreshed::default();
        while any_mark(db)? {
            refresh_step(db, &mut done)?;
        }
        on!(db, |conn| diesel::update(days::table)
            .filter(days::day.lt(edge(day)))
            .filter(days::sealed.eq(false))
            .set(days::sealed.eq(true))
            .execute(conn))?;
        let condition = is_before(db);
        let query = format!("DELETE FROM \"InfrastructureMetric\" WHERE {condition}");
        let removed = on!(db, |conn| diesel::sql_query(query)
            .bind::<Text, _>(bound(day))
            .execute(conn))?;
        Ok(removed as u64)
    })
}

/// A day as text, within the years that both engines know.
fn bound(day: NaiveDate) -> String {
    let at = day.and_time(NaiveTime::MIN).and_utc();
    at.clamp(Window::ALL.from, Window::ALL.to - TimeDelta::days(1))
        .date_naive()
        .to_string()
}
