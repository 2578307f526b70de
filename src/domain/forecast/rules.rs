//! Plain rules, which forecasts are compared with and shrunk towards.

use serde::Serialize;

use super::robust::mean;
use super::series::{DayNumber, MetricKind};
use super::smooth::Point;

/// Days of the mean.
const DAYS: usize = 28;

/// The forecasts of plain rules: of a level on a day, or of the total of a period.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rules {
    /// The mean of the last 28 days.
    pub mean_28d: f64,
    /// The mean of the same weekdays in the last 28 days.
    pub same_weekday: f64,
    /// The rate of the period so far, continued; only for amounts.
    pub pro_rata: Option<f64>,
    /// The regression line through the last 56 days.
    pub linear: f64,
}

/// The known part of a period.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Begun {
    pub used: f64,
    pub days: i32,
}

impl Rules {
    /// The rules after `known` days, for the level after `ahead` days or the total of a period with as many days left.
    pub(super) fn after(known: &[Point], kind: MetricKind, ahead: i32, begun: Begun) -> Rules {
        let last = known.last().map_or(0, |(day, _)| *day);
        let (at, slope) = line(known);
        let linear = |day: DayNumber| at + slope * f64::from(day - last);
        match kind {
            MetricKind::Gauge | MetricKind::Rate => Rules {
                mean_28d: mean_28d(known),
                same_weekday: same_weekday(known, last + ahead),
                pro_rata: None,
                linear: linear(last + ahead),
            },
            MetricKind::Period => {
                let rest = |amount: &dyn Fn(DayNumber) -> f64| {
                    let days = last + 1..=last + ahead;
                    begun.used + days.map(amount).sum::<f64>()
                };
                let rate = begun.used / f64::from(begun.days.max(1));
                Rules {
                    mean_28d: rest(&|_| mean_28d(known)),
                    same_weekday: rest(&|day| same_weekday(known, day)),
                    pro_rata: Some(rate * f64::from(begun.days + ahead)),
                    linear: rest(&linear),
                }
            }
        }
    }
}

fn recent(known: &[Point], days: usize) -> &[Point] {
    &known[known.len().saturating_sub(days)..]
}

pub(super) fn mean_28d(known: &[Point]) -> f64 {
    let values = recent(known, DAYS).iter().map(|(_, value)| *value);
    mean(&values.collect::<Vec<f64>>())
}

/// The values of the weekday of `day`.
pub(super) fn of_weekday(known: &[Point], day: DayNumber) -> Vec<f64> {
    let same = recent(known, DAYS).iter();
    let same = same.filter(|(known, _)| (known - day).rem_euclid(7) == 0);
    same.map(|(_, value)| *value).collect()
}

fn same_weekday(known: &[Point], day: DayNumber) -> f64 {
    match of_weekday(known, day).as_slice() {
        [] => mean_28d(known),
        values => mean(values),
    }
}

/// The regression line through the last 56 days: its value on the last day, and its slope.
fn line(known: &[Point]) -> (f64, f64) {
    let points = recent(known, 2 * DAYS);
    let (at, slope) = regression(points);
    let ends = points.first().zip(points.last());
    let days = ends.map_or(0, |((first, _), (last, _))| last - first);
    (at + slope * f64::from(days), slope)
}

/// The line with the smallest squares: its value on the first day, and its slope.
pub(super) fn regression(points: &[Point]) -> (f64, f64) {
    let first = points.first().map_or(0, |(day, _)| *day);
    let pair = |(day, value): &Point| (f64::from(day - first), *value);
    let pairs = || points.iter().map(pair);
    let (days, values): (Vec<f64>, Vec<f64>) = pairs().unzip();
    let (day, value) = (mean(&days), mean(&values));
    let squares: f64 = pairs().map(|(x, _)| (x - day) * (x - day)).sum();
    let products: f64 = pairs().map(|(x, y)| (x - day) * (y - value)).sum();
    let slope = if squares > 0.0 {
        products / squares
    } else {
        0.0
    };
    (value - slope * day, slope)
}

/// The standard error of the slope of a line through points, of which there are more than two.
pub(super) fn slope_error(points: &[Point], (at, slope): (f64, f64)) -> f64 {
    let first = points.first().map_or(0, |(day, _)| *day);
    let days = |(day, _): &Point| f64::from(day - first);
    let middle = mean(&points.iter().map(days).collect::<Vec<f64>>());
    let spread: f64 = points.iter().map(|it| (days(it) - middle).powi(2)).sum();
    let errors = points.iter().map(|it| it.1 - at - slope * days(it));
    let squares: f64 = errors.map(|error| error * error).sum();
    (squares / (points.len() as f64 - 2.0) / spread).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_a_weekly_pattern_and_of_a_line() {
        // Seven on the first day of a week, otherwise one; of eight weeks.
        let weekly: Vec<Point> = (0..56)
            .map(|day| (day, if day % 7 == 0 { 7.0 } else { 1.0 }))
            .collect();
        let begun = Begun {
            used: 13.0,
            days: 7,
        };
        let rules = Rules::after(&weekly, MetricKind::Period, 8, begun);
        assert_eq!(rules.pro_rata, Some(13.0 * 15.0 / 7.0));
        assert!((rules.mean_28d - (13.0 + 8.0 * 13.0 / 7.0)).abs() < 1e-9);
        assert_eq!(rules.same_weekday, 13.0 + 7.0 + 6.0 + 7.0);
        let line: Vec<Point> = (0..60).map(|day| (day, 3.0 * f64::from(day))).collect();
        let rules = Rules::after(&line, MetricKind::Gauge, 10, begun);
        assert!((rules.linear - 207.0).abs() < 1e-9 && rules.pro_rata.is_none());
        assert_eq!(rules.mean_28d, 3.0 * 45.5);
    }
}
