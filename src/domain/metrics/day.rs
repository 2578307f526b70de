//! One summary for each UTC day of a series, from which forecasts are made without reading every point.
//!
//! A day depends only on its own points and on the last point before it. So days can be rebuilt one at a time,
//! with the same result as rebuilding all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use chrono::{DateTime, NaiveDate, Utc};

use super::point::{Point, Reading, Series};

/// The summary of one UTC day of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricDay {
    pub series: Series,
    pub day: NaiveDate,
    pub points: u32,
    pub first_value: f64,
    pub last_value: f64,
    pub min_value: f64,
    /// The mean of the two middle values for an even number of points.
    pub median_value: f64,
    pub max_value: f64,
    /// The smallest value that 95 % of the points do not exceed.
    pub p95_value: f64,
    /// The usage since the last point before this day, of counters and amounts. `None` for levels, and for
    /// counters whose earlier value is unknown.
    pub used: Option<f64>,
    /// Number of times a counter restarted, except for scheduled restarts at midnight.
    pub resets: u32,
    pub first_at: DateTime<Utc>,
    pub last_at: DateTime<Utc>,
    pub reading: Reading,
    /// The start of the period that the last value counts, if it is cumulative and the start is known.
    pub period_start: Option<DateTime<Utc>>,
    /// Whether its points were pruned; it is never rebuilt then.
    pub sealed: bool,
}

/// The newest value of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    pub series: Series,
    /// The newest point that is not in the future. For amounts, it is only the last of many: add up `used`.
    pub point: Point,
}

/// A counter that falls by less than this share was corrected by its provider; otherwise it restarted.
const CORRECTION: f64 = 0.01;

impl MetricDay {
    /// Summarizes the points of one day; `None` without points. `before` is the last earlier day with points.
    pub fn from_points(
        series: &Series,
        mut points: Vec<Point>,
        before: Option<&MetricDay>,
    ) -> Option<MetricDay> {
        // The order of two points at the same instant is unknown; it must still be the same every time.
        points.sort_by(|a, b| a.at.cmp(&b.at).then(a.value.total_cmp(&b.value)));
        let (first, last) = (points.first()?.clone(), points.last()?.clone());
        let used = DayUsage::of(&points, before);
        let mut values: Vec<f64> = points.iter().map(|point| point.value).collect();
        values.sort_by(f64::total_cmp);
        Some(MetricDay {
            series: series.clone(),
            day: first.at.date_naive(),
            points: u32::try_from(points.len()).unwrap_or(u32::MAX),
            first_value: first.value,
            last_value: last.value,
            min_value: values.first().copied()?,
            median_value: median(&values),
            max_value: values.last().copied()?,
            p95_value: nearest_rank(&values, 0.95),
            used: used.total,
            resets: used.resets,
            first_at: first.at,
            last_at: last.at,
            reading: last.reading,
            period_start: last.period_start,
            sealed: false,
        })
    }

    pub fn last_point(&self) -> Point {
        Point {
            at: self.last_at,
            value: self.last_value,
            reading: self.reading,
            period_start: self.period_start,
        }
    }
}

#[derive(Default)]
struct DayUsage {
    /// `None` while unknown.
    total: Option<f64>,
    resets: u32,
}

impl DayUsage {
    fn of(points: &[Point], before: Option<&MetricDay>) -> DayUsage {
        let mut usage = DayUsage::default();
        let mut before = before.map(MetricDay::last_point);
        for point in points {
            match point.reading {
                Reading::Level => {}
                Reading::Amount => usage.add(point.value),
                Reading::Cumulative => {
                    let counter = before.filter(|old| old.reading == Reading::Cumulative);
                    usage.count(point, counter.as_ref());
                }
            }
            before = Some(point.clone());
        }
        // A correction lowers the usage of an earlier day; the usage of this one is not negative.
        if points.iter().any(|it| it.reading == Reading::Cumulative) {
            usage.total = usage.total.map(|total| total.max(0.0));
        }
        usage
    }

    fn count(&mut self, point: &Point, before: Option<&Point>) {
        let Some(before) = before else {
            // Without an earlier value, only a period that started today is known from its start.
            let started_today = |start: &DateTime<Utc>| start.date_naive() == point.at.date_naive();
            if point.period_start.as_ref().is_some_and(started_today) {
                self.add(point.value);
            }
            return;
        };
        let restarted = match (before.period_start, point.period_start) {
            (Some(before), Some(now)) if before != now => true,
            _ => point.value < before.value * (1.0 - CORRECTION),
        };
        let base = if restarted { 0.0 } else { before.value };
        self.add(point.value - base);
        let at_midnight = point
            .period_start
            .is_some_and(|start| start.date_naive() == point.at.date_naive() && before.at < start);
        self.resets += u32::from(restarted && !at_midnight);
    }

    fn add(&mut self, value: f64) {
        self.total = Some(self.total.unwrap_or(0.0) + value);
    }
}

/// The median of sorted values.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted {
        [] => f64::NAN,
        _ if sorted.len() % 2 == 1 => sorted[middle],
        // Halved first: the sum of two large numbers may overflow.
        _ => sorted[middle - 1] / 2.0 + sorted[middle] / 2.0,
    }
}

/// The smallest of sorted values that a share `rank` of them does not exceed.
fn nearest_rank(sorted: &[f64], rank: f64) -> f64 {
    let place = (sorted.len() as f64 * rank).ceil() as usize;
    let found = sorted.get(place.saturating_sub(1)).or(sorted.last());
    found.copied().unwrap_or(f64::NAN)
}

/// The changes to the stored days of a series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DayChanges {
    /// New or changed days.
    pub store: Vec<MetricDay>,
    /// Days without points.
    pub remove: Vec<NaiveDate>,
    /// Number of sealed days with late points, which cannot be added.
    pub sealed: u64,
}

/// Rebuilds the days in `dirty`, and the following day of each one that changed, since its usage begins where
/// the changed day ends.
///
/// `stored` and `points` need only contain the dirty days and the stored day before and after each.
pub fn rebuild_days(
    series: &Series,
    stored: &BTreeMap<NaiveDate, MetricDay>,
    points: &BTreeMap<NaiveDate, Vec<Point>>,
    dirty: &BTreeSet<NaiveDate>,
) -> DayChanges {
    let mut changes = DayChanges::default();
    let mut days = stored.clone();
    let mut pending = dirty.clone();
    while let Some(day) = pending.pop_first() {
        let of_day = points.get(&day).cloned().unwrap_or_default();
        let old = days.get(&day);
        if old.is_some_and(|old| old.sealed) {
            changes.sealed += u64::from(!of_day.is_empty());
            continue;
        }
        let before = days.range(..day).next_back().map(|(_, before)| before);
        let new = MetricDay::from_points(series, of_day, before);
        if new.as_ref() == old {
            continue;
        }
        match new {
            Some(new) => {
                changes.store.push(new.clone());
                days.insert(day, new);
            }
            None => {
                changes.remove.push(day);
                days.remove(&day);
            }
        }
        let after = days.range((Bound::Excluded(day), Bound::Unbounded)).next();
        pending.extend(after.map(|(after, _)| *after));
    }
    changes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::metrics::names::{Metric, Service};
    use crate::domain::metrics::point::PointMetadata;
    use crate::domain::testing::{at, cases};

    fn series(metric: Metric) -> Series {
        Series::new(Service::VercelKv, metric, "")
    }

    fn point(metric: Metric, when: &str, value: f64) -> Point {
        let at = at(&format!("2026-01-{when}:00Z"));
        Point::from_row(metric, at, value, &PointMetadata::default()).unwrap()
    }

    fn days(metric: Metric, points: &[(&str, f64)]) -> Vec<MetricDay> {
        let points = points
            .iter()
            .map(|(when, value)| point(metric, when, *value));
        let days = from_scratch(&series(metric), &by_day(points));
        days.into_values().collect()
    }

    fn by_day(points: impl IntoIterator<Item = Point>) -> BTreeMap<NaiveDate, Vec<Point>> {
        let mut days: BTreeMap<NaiveDate, Vec<Point>> = BTreeMap::new();
        for point in points {
            days.entry(point.at.date_naive()).or_default().push(point);
        }
        days
    }

    fn from_scratch(
        series: &Series,
        points: &BTreeMap<NaiveDate, Vec<Point>>,
    ) -> BTreeMap<NaiveDate, MetricDay> {
        let mut made: BTreeMap<NaiveDate, MetricDay> = BTreeMap::new();
        for (day, points) in points {
            let before = made.values().next_back();
            if let Some(new) = MetricDay::from_points(series, points.clone(), before) {
                made.insert(*day, new);
            }
        }
        made
    }

    #[test]
    fn level_day_has_no_usage() {
        let points = [
            ("05T03:00", 4.0),
            ("05T01:00", 1.0),
            ("05T23:59", 2.0),
            ("05T02:00", 3.0),
        ];
        let [day] = days(Metric::StorageMb, &points).try_into().unwrap();
        assert_eq!((day.first_value, day.last_value), (1.0, 2.0));
        assert_eq!((day.min_value, day.max_value), (1.0, 4.0));
        assert_eq!((day.median_value, day.p95_value), (2.5, 4.0));
        assert_eq!((day.points, day.used, day.resets), (4, None, 0));
        assert_eq!(day.first_at, at("2026-01-05T01:00:00Z"));
        assert_eq!(day.last_at, at("2026-01-05T23:59:00Z"));
    }

    #[test]
    fn counter_uses_the_difference_to_the_day_before() {
        // The points, and of each day the usage and the number of restarts. The value at the midnight before the
        // first point of a month is unknown.
        let table = "\
monthly                 | BANDWIDTH_GB     | 30T12:00 100, 31T06:00 103, 31T12:00 110                 | - 0, 10 0
falling                 | BANDWIDTH_GB     | 10T12:00 100, 11T12:00 4, 12T12:00 9                     | - 0, 4 1, 5 0
falling by less than 1% | BANDWIDTH_GB     | 10T12:00 1000, 11T06:00 995, 11T12:00 1025, 12T12:00 1020 | - 0, 25 0, 0 0
daily                   | COMMANDS_PER_DAY | 10T12:00 50, 11T12:00 70, 11T18:00 90, 12T12:00 95       | 50 0, 90 0, 95 0
falling within a day    | COMMANDS_PER_DAY | 10T12:00 50, 10T18:00 3                                  | 53 1";
        for [case, metric, points, expected] in cases(table) {
            let points = points.split(", ").map(|it| it.split_once(' ').unwrap());
            let points = points.map(|(when, value)| (when, value.parse().unwrap()));
            let days = days(metric.parse().unwrap(), &points.collect::<Vec<_>>());
            let used = days.iter().map(|day| {
                let used = day.used.map_or("-".to_owned(), |used| used.to_string());
                format!("{used} {}", day.resets)
            });
            assert_eq!(used.collect::<Vec<_>>().join(", "), expected, "{case}");
        }
    }

    #[test]
    fn new_period_start_restarts_a_counter_that_does_not_fall() {
        let counted = |when: &str, value, start: &str| Point {
            period_start: Some(at(start)),
            ..point(Metric::BandwidthGb, when, value)
        };
        let points = by_day([
            counted("14T12:00", 5.0, "2025-12-15T00:00:00Z"),
            counted("15T12:00", 5.5, "2026-01-15T00:00:00Z"),
            counted("16T12:00", 1.0, "2026-01-15T00:00:00Z"),
        ]);
        let days = from_scratch(&series(Metric::BandwidthGb), &points);
        let used: Vec<_> = days.values().map(|day| day.used).collect();
        assert_eq!(used, [None, Some(5.5), Some(1.0)]);
    }

    #[test]
    fn amounts_of_a_day_are_summed() {
        let amount = |when, value| Point {
            reading: Reading::Amount,
            ..point(Metric::CostUsd, when, value)
        };
        let points = by_day([
            amount("10T12:00", 1.5),
            amount("10T13:00", 2.0),
            amount("11T12:00", -0.5),
        ]);
        let days = from_scratch(&series(Metric::CostUsd), &points);
        let used: Vec<_> = days.values().map(|day| day.used).collect();
        assert_eq!(used, [Some(3.5), Some(-0.5)]);
    }

    #[test]
    fn sealed_day_is_unchanged_and_counts_late_points() {
        let points = by_day([point(Metric::StorageMb, "10T12:00", 5.0)]);
        let mut stored = from_scratch(&series(Metric::StorageMb), &points);
        stored.values_mut().for_each(|day| day.sealed = true);
        let dirty = stored.keys().copied().collect();
        let late = by_day([point(Metric::StorageMb, "10T13:00", 9.0)]);
        let rebuild = |points| rebuild_days(&series(Metric::StorageMb), &stored, points, &dirty);
        let changes = |sealed| DayChanges {
            sealed,
            ..DayChanges::default()
        };
        assert_eq!(rebuild(&late), changes(1));
        assert_eq!(rebuild(&BTreeMap::new()), changes(0));
    }

    fn any_reading() -> impl Strategy<Value = Reading> {
        prop_oneof![
            3 => Just(Reading::Cumulative),
            1 => Just(Reading::Level),
            1 => Just(Reading::Amount),
        ]
    }

    proptest! {
        /// Points are added and removed in any order; after each step the changed days are rebuilt.
        #[test]
        fn incremental_rebuild_equals_full_rebuild(
            steps in prop::collection::vec(
                (any::<prop::sample::Index>(), 0_i64..20 * 24, -10.0..1_000.0_f64, any_reading(), any::<bool>()),
                1..40,
            ),
        ) {
            let series = series(Metric::BandwidthGb);
            let mut points: Vec<Point> = Vec::new();
            let mut stored = BTreeMap::new();
            for (which, hour, value, reading, marks_together) in steps {
                let mut dirty = BTreeSet::new();
                if hour % 4 == 0 && !points.is_empty() {
                    dirty.insert(points.swap_remove(which.index(points.len())).at.date_naive());
                }
                if hour % 4 != 0 || marks_together {
                    let at = at("2026-01-01T00:30:00Z") + chrono::TimeDelta::hours(hour);
                    points.push(Point { at, value, reading, period_start: None });
                    dirty.insert(at.date_naive());
                }
                let all = by_day(points.clone());
                let changes = rebuild_days(&series, &stored, &all, &dirty);
                stored.extend(changes.store.into_iter().map(|day| (day.day, day)));
                for day in changes.remove {
                    stored.remove(&day);
                }
                prop_assert_eq!(&stored, &from_scratch(&series, &all));
            }
        }
    }
}
