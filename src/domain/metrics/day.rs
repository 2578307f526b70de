//! One row for each UTC day of a series: what forecasts are made from, so that they need not read every
//! point again.
//!
//! A day is made of its own points and of how the day before it ended, nothing else. So days can be
//! made anew one at a time, and are what they would be if all were made from the beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use chrono::{DateTime, NaiveDate, Utc};

use super::point::{Point, Reading, Series};

/// What one UTC day of a series was like.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricDay {
    pub series: Series,
    /// The day.
    pub day: NaiveDate,
    /// How many points it has.
    pub points: u32,
    /// The first value of the day.
    pub first_value: f64,
    /// The last value of the day.
    pub last_value: f64,
    pub min_value: f64,
    /// The median; between the two in the middle of an even number.
    pub median_value: f64,
    pub max_value: f64,
    /// The value that 95 % of the points do not exceed.
    pub p95_value: f64,
    /// What was used since the last point before this day, by counters and amounts. None for levels,
    /// and where nothing tells what a counter stood at before.
    pub used: Option<f64>,
    /// How often a counter began anew, but for those that do so every midnight.
    pub resets: u32,
    /// When the first value was read.
    pub first_at: DateTime<Utc>,
    /// When the last value was read.
    pub last_at: DateTime<Utc>,
    /// How the last value is to be read.
    pub reading: Reading,
    /// Since when the last value counts, if it is cumulative and that is known.
    pub period_start: Option<DateTime<Utc>>,
    /// Whether its points were removed, so that it stays as it is.
    pub sealed: bool,
}

/// The newest value of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    pub series: Series,
    /// Its newest point that is not in the future. Of amounts it says nothing about the others: add up
    /// what was `used`.
    pub point: Point,
}

/// A counter that falls by less than this part was corrected by its provider; by more, it began anew.
const CORRECTION: f64 = 0.01;

impl MetricDay {
    /// Sums up the points of one day. `before` is the last day before it that has points. None without
    /// points.
    pub fn from_points(
        series: &Series,
        mut points: Vec<Point>,
        before: Option<&MetricDay>,
    ) -> Option<MetricDay> {
        // Of two points of one moment nobody knows which was first.
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

    /// Its last point.
    pub fn end(&self) -> Point {
        Point {
            at: self.last_at,
            value: self.last_value,
            reading: self.reading,
            period_start: self.period_start,
        }
    }
}

/// What was used on a day.
#[derive(Default)]
struct DayUsage {
    /// None while nothing is known.
    total: Option<f64>,
    resets: u32,
}

impl DayUsage {
    fn of(points: &[Point], before: Option<&MetricDay>) -> DayUsage {
        let mut usage = DayUsage::default();
        let mut before = before.map(MetricDay::end);
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
        // A correction takes back what an earlier day reported; a day on which less than nothing was
        // used does not exist.
        if points
            .iter()
            .any(|point| point.reading == Reading::Cumulative)
        {
            usage.total = usage.total.map(|total| total.max(0.0));
        }
        usage
    }

    fn count(&mut self, point: &Point, before: Option<&Point>) {
        let Some(before) = before else {
            // Only what began on this very day is known from its beginning.
            let begun_today = |start: &DateTime<Utc>| start.date_naive() == point.at.date_naive();
            if point.period_start.as_ref().is_some_and(begun_today) {
                self.add(point.value);
            }
            return;
        };
        let began_anew = match (before.period_start, point.period_start) {
            (Some(before), Some(now)) if before != now => true,
            _ => point.value < before.value * (1.0 - CORRECTION),
        };
        match began_anew {
            true => self.add(point.value),
            false => self.add(point.value - before.value),
        }
        let at_midnight = point
            .period_start
            .is_some_and(|start| start.date_naive() == point.at.date_naive() && before.at < start);
        self.resets += u32::from(began_anew && !at_midnight);
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
        // Halved first: the sum of two large numbers may be none.
        _ => sorted[middle - 1] / 2.0 + sorted[middle] / 2.0,
    }
}

/// The smallest of sorted values that the part `rank` of them does not exceed.
fn nearest_rank(sorted: &[f64], rank: f64) -> f64 {
    let place = (sorted.len() as f64 * rank).ceil() as usize;
    let found = sorted.get(place.saturating_sub(1)).or(sorted.last());
    found.copied().unwrap_or(f64::NAN)
}

/// What is to be done to the stored days of a series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DayChanges {
    /// Days that are new or other than they were stored.
    pub store: Vec<MetricDay>,
    /// Days that have no points any more.
    pub remove: Vec<NaiveDate>,
    /// Days that are sealed and have points again, which cannot be added.
    pub sealed: u64,
}

/// Makes anew the days in `dirty`, and the day after each of them, whose first increment begins where
/// the other ends.
///
/// `stored` and `points` need only hold the dirty days, the stored day before each, and the stored day
/// after each.
pub fn rebuild_days(
    series: &Series,
    stored: &BTreeMap<NaiveDate, MetricDay>,
    points: &BTreeMap<NaiveDate, Vec<Point>>,
    dirty: &BTreeSet<NaiveDate>,
) -> DayChanges {
    let mut changes = DayChanges::default();
    let mut days = stored.clone();
    let mut waiting = dirty.clone();
    while let Some(day) = waiting.pop_first() {
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
        waiting.extend(after.map(|(after, _)| *after));
    }
    changes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::metrics::names::{Metric, Service};
    use crate::domain::metrics::point::PointMetadata;

    fn series(metric: Metric) -> Series {
        Series {
            service: Service::VercelKv,
            metric,
            resource: String::new(),
        }
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn point(metric: Metric, when: &str, value: f64) -> Point {
        let at = at(&format!("2026-01-{when}:00Z"));
        Point::from_row(metric, at, value, &PointMetadata::default()).unwrap()
    }

    /// The days of these points, each made from the one before it.
    fn days(metric: Metric, points: &[(&str, f64)]) -> Vec<MetricDay> {
        let points = points
            .iter()
            .map(|(when, value)| point(metric, when, *value));
        from_scratch(&series(metric), &by_day(points))
            .into_values()
            .collect()
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

    fn used(metric: Metric, points: &[(&str, f64)]) -> Vec<(Option<f64>, u32)> {
        let days = days(metric, points);
        days.iter().map(|day| (day.used, day.resets)).collect()
    }

    #[test]
    fn a_level_has_an_order_and_nothing_that_was_used() {
        let points = [
            ("05T03:00", 4.0),
            ("05T01:00", 1.0),
            ("05T23:59", 2.0),
            ("05T02:00", 3.0),
        ];
        let [day] = days(Metric::StorageMb, &points).try_into().unwrap();
        let found = (
            day.first_value,
            day.last_value,
            day.min_value,
            day.median_value,
            day.max_value,
            day.p95_value,
        );
        assert_eq!(found, (1.0, 2.0, 1.0, 2.5, 4.0, 4.0));
        assert_eq!((day.points, day.used, day.resets), (4, None, 0));
        assert_eq!(day.first_at, at("2026-01-05T01:00:00Z"));
        assert_eq!(day.last_at, at("2026-01-05T23:59:00Z"));
    }

    #[test]
    fn a_counter_of_the_month_counts_from_the_day_before() {
        let points = [
            ("30T12:00", 100.0),
            ("31T06:00", 103.0),
            ("31T12:00", 110.0),
        ];
        // What the first one stood at the midnight before, nobody knows.
        assert_eq!(
            used(Metric::BandwidthGb, &points),
            [(None, 0), (Some(10.0), 0)]
        );
    }

    #[test]
    fn a_counter_that_falls_began_anew() {
        let points = [("10T12:00", 100.0), ("11T12:00", 4.0), ("12T12:00", 9.0)];
        assert_eq!(
            used(Metric::BandwidthGb, &points)[1..],
            [(Some(4.0), 1), (Some(5.0), 0)]
        );
    }

    #[test]
    fn a_fall_under_one_percent_is_a_correction() {
        let points = [
            ("10T12:00", 1_000.0),
            ("11T06:00", 995.0),
            ("11T12:00", 1_025.0),
            ("12T12:00", 1_020.0),
        ];
        assert_eq!(
            used(Metric::BandwidthGb, &points)[1..],
            [(Some(25.0), 0), (Some(0.0), 0)]
        );
    }

    #[test]
    fn a_counter_of_the_day_begins_at_midnight() {
        let points = [
            ("10T12:00", 50.0),
            ("11T12:00", 70.0),
            ("11T18:00", 90.0),
            ("12T12:00", 95.0),
        ];
        let expected = [(Some(50.0), 0), (Some(90.0), 0), (Some(95.0), 0)];
        assert_eq!(used(Metric::CommandsPerDay, &points), expected);
        let restarted = [("10T12:00", 50.0), ("10T18:00", 3.0)];
        assert_eq!(used(Metric::CommandsPerDay, &restarted), [(Some(53.0), 1)]);
    }

    #[test]
    fn a_period_that_is_told_begins_anew_even_if_the_counter_does_not_fall() {
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
    fn amounts_of_a_day_are_added_up() {
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
    fn a_sealed_day_stays_and_late_points_in_it_are_told() {
        let points = by_day([point(Metric::StorageMb, "10T12:00", 5.0)]);
        let mut stored = from_scratch(&series(Metric::StorageMb), &points);
        stored.values_mut().for_each(|day| day.sealed = true);
        let dirty = stored.keys().copied().collect();
        let late = by_day([point(Metric::StorageMb, "10T13:00", 9.0)]);
        let make = |points| rebuild_days(&series(Metric::StorageMb), &stored, points, &dirty);
        let changes = |sealed| DayChanges {
            sealed,
            ..DayChanges::default()
        };
        assert_eq!(make(&late), changes(1));
        assert_eq!(make(&BTreeMap::new()), changes(0));
    }

    fn any_reading() -> impl Strategy<Value = Reading> {
        prop_oneof![
            3 => Just(Reading::Cumulative),
            1 => Just(Reading::Level),
            1 => Just(Reading::Amount),
        ]
    }

    proptest! {
        /// Points come and go in any order, some days late; after each the days that changed are made
        /// anew.
        #[test]
        fn days_made_anew_one_at_a_time_are_what_they_would_be_from_scratch(
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
