//! What a gauge's history leaves open: growth that may compound, and a drop that may be the first of many.
//!
//! A share of the paths continues in each of these ways, so that the bands include it. The shares were chosen on generated
//! series, of which `docs/forecast.md` lists the results.

use super::math::{exp, ln};
use super::robust::mean;
use super::rules::regression;
use super::series::DayNumber;
use super::smooth::Point;

/// Growth whose line through the logarithms of the levels fits about as well as that through the levels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Growth {
    /// The squared errors of the line through the logarithms, as a share of those of the other.
    error_ratio: f64,
    is_large: bool,
    level: f64,
    /// Per day, of the logarithm.
    rate: f64,
    /// Per day, of the level.
    slope: f64,
}

impl Growth {
    /// The growth of the last weeks, if it is no accident.
    pub(super) fn of(points: &[Point]) -> Option<Growth> {
        const LONGEST: usize = 56;
        const FEWEST: usize = 14;
        const LARGE: f64 = 1.15;
        /// The slope in standard errors.
        const SIGNIFICANT: f64 = 2.0;
        let points = &points[points.len().saturating_sub(LONGEST)..];
        let (first, last) = (points.first()?.0, points.last()?.0);
        if points.len() < 3 || points.iter().any(|(_, value)| *value <= 0.0) {
            return None;
        }
        let days = |day: DayNumber| f64::from(day - first);
        let logs = points.iter().map(|(day, value)| (*day, ln(*value)));
        let logs: Vec<Point> = logs.collect();
        let squares = |(at, slope): (f64, f64), level: &dyn Fn(f64) -> f64| -> f64 {
            let error = |(day, value): &Point| level(at + slope * days(*day)) - value;
            points.iter().map(error).map(|error| error * error).sum()
        };
        let (line, curve) = (regression(points), regression(&logs));
        let errors = squares(line, &|level| level);
        let all: Vec<f64> = points.iter().map(|(day, _)| days(*day)).collect();
        let middle = mean(&all);
        let spread: f64 = all.iter().map(|day| (day - middle).powi(2)).sum();
        let slope_error = (errors / (points.len() - 2) as f64 / spread).sqrt();
        let grown = curve.1 * days(last);
        (line.1 > SIGNIFICANT * slope_error).then(|| Growth {
            error_ratio: squares(curve, &exp) / errors.max(f64::MIN_POSITIVE),
            is_large: points.len() >= FEWEST && grown >= ln(LARGE),
            level: exp(curve.0 + grown),
            rate: curve.1,
            slope: line.1,
        })
    }

    /// Whether it compounds beyond doubt.
    pub(super) fn compounds(&self) -> bool {
        self.is_large && self.error_ratio < 0.6
    }

    /// The share of the paths on which it compounds.
    pub(super) fn share(&self) -> f64 {
        /// Less than half: the median stays on the line.
        const MOST: f64 = 0.45;
        (MOST * (1.5 - self.error_ratio) / 0.4).clamp(0.0, MOST)
    }

    /// The difference between compounding growth and a line, this number of days ahead.
    pub(super) fn excess(&self, days: usize) -> f64 {
        /// Growth is not made up by a few noisy days.
        const MOST: f64 = 3.0;
        let grown = exp((self.rate * days as f64).min(MOST));
        (self.level * (grown - 1.0) - self.slope * days as f64).max(0.0)
    }
}

/// A drop to the level with which the history began: perhaps a retention, of which one cycle was seen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Recurrence {
    last: DayNumber,
    /// The shortest possible cycle.
    shortest_days: f64,
    /// The level after the drop.
    bottom: f64,
    /// The level before it.
    top: f64,
}

impl Recurrence {
    /// The share of the paths on which the level drops again.
    pub(super) const SHARE: f64 = 0.45;

    /// The recurrence after the last of the `drops`, which are indexes and sizes.
    pub(super) fn of(points: &[Point], drops: &[(usize, f64)]) -> Option<Recurrence> {
        const TOLERANCE: f64 = 0.35;
        let (at, size) = *drops.last()?;
        let (last, bottom) = *points.get(at)?;
        let before = points.get(..at)?;
        let levels = before.iter().map(|(_, level)| *level);
        let lowest = levels.fold(f64::INFINITY, f64::min);
        let span = (last - before.first()?.0).max(points.last()?.0 - last + 1);
        (bottom <= lowest + TOLERANCE * size).then(|| Recurrence {
            last,
            shortest_days: f64::from(span),
            bottom,
            top: bottom + size,
        })
    }

    /// Whether the level is one of the cycle that was seen.
    pub(super) fn contains(&self, level: f64) -> bool {
        level <= self.top
    }

    /// The level of a day on a path on which the drop recurs. `place`, from 0 to 1, decides the length of the cycle:
    /// up to twice the shortest.
    pub(super) fn level(&self, day: DayNumber, level: f64, place: f64) -> f64 {
        let length = (self.shortest_days * (1.0 + place * place)).round();
        let since = f64::from(day - self.last);
        let drops = (since / length).floor();
        let rise = (level - self.bottom) * length / (since + 1.0);
        level - drops * rise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(level: impl Fn(f64) -> f64) -> Vec<Point> {
        (0..40).map(|day| (day, level(f64::from(day)))).collect()
    }

    #[test]
    fn doubt_is_between_a_line_and_certain_compounding() {
        let noise = |day: f64| 1.0 + 0.05 * ((day * 7.0) % 5.0 - 2.0);
        let share = |level: &dyn Fn(f64) -> f64| Growth::of(&points(level)).map(|it| it.share());
        assert_eq!(share(&|_| 100.0), None);
        assert_eq!(share(&|day| 100.0 + 40.0 * day), Some(0.0));
        let doubtful = share(&|day| noise(day) * 100.0 * exp(0.02 * day));
        assert_eq!(doubtful, Some(0.45));
        let certain = Growth::of(&points(|day| 100.0 * exp(0.03 * day))).unwrap();
        assert!(certain.compounds());
        let error = certain.excess(10) - 332.0 * (exp(0.3) - 1.0) + certain.slope * 10.0;
        assert!(error.abs() < 40.0, "{error}");
    }

    #[test]
    fn drop_to_the_begin_may_recur_and_a_clean_up_may_not() {
        let sawtooth = points(|day| 100.0 + 5.0 * (day % 30.0));
        let again = Recurrence::of(&sawtooth, &[(30, 150.0)]).unwrap();
        assert_eq!(again.shortest_days, 30.0);
        // On the path with the shortest cycle, the level falls to the bottom on day 60.
        assert_eq!(again.level(59, 245.0, 0.0), 245.0);
        let fallen = again.level(60, 250.0, 0.0);
        assert!((fallen - 105.0).abs() < 1.0, "{fallen}");
        let cleaned = points(|day| 100.0 + 5.0 * day - if day < 30.0 { 0.0 } else { 50.0 });
        assert_eq!(Recurrence::of(&cleaned, &[(30, 55.0)]), None);
    }
}
