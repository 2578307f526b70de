//! What a gauge's history leaves open: growth that may compound, and a drop that may be the first of many.
//!
//! A share of the paths continues in each of these ways, so that the bands include it. The shares were chosen on generated
//! series, of which `docs/forecast.md` lists the results.

use super::math::{exp, ln, normal_quantile};
use super::robust::{deviation, mean};
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

/// The trend of daily amounts: of the means of up to eight weeks, or of two to four weeks between equal weekdays.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trend {
    /// The logarithm of an amount on the newest day.
    level: f64,
    /// Per day, of the logarithm.
    rate: f64,
    /// The standard error of the rate.
    error: f64,
}

impl Trend {
    /// The trend of points that are logarithms.
    pub(super) fn of(points: &[Point]) -> Option<Trend> {
        const WEEK: usize = 7;
        const WEEKS: usize = 8;
        const FEWEST: usize = 5;
        let values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
        let weeks = values.rchunks_exact(WEEK).take(WEEKS).map(mean).enumerate();
        let weeks = weeks.map(|(week, mean)| (-(week as DayNumber), mean));
        let weeks: Vec<Point> = weeks.rev().collect();
        let (per_week, error) = if weeks.len() < FEWEST {
            let later = points.iter().filter_map(|(day, value)| {
                let before = points.binary_search_by_key(&(day - 7), |(day, _)| *day);
                Some(value - points[before.ok()?].1)
            });
            let growth: Vec<f64> = later.collect();
            if growth.len() < WEEK {
                return None;
            }
            // Days of one week have errors in common: they count as one week's.
            let weeks = growth.len() as f64 / WEEK as f64;
            let usual = mean(&growth);
            let errors: Vec<f64> = growth.iter().map(|it| it - usual).collect();
            (usual, deviation(&errors) / weeks.sqrt())
        } else {
            let (at, slope) = regression(&weeks);
            let (mut squares, mut spread) = (0.0, 0.0);
            let middle = (weeks.len() - 1) as f64 / 2.0;
            for (index, (_, value)) in weeks.iter().enumerate() {
                squares += (value - at - slope * index as f64).powi(2);
                spread += (index as f64 - middle).powi(2);
            }
            (slope, (squares / (weeks.len() - 2) as f64 / spread).sqrt())
        };
        let rate = per_week / WEEK as f64;
        let newest: Vec<f64> = values.iter().rev().take(WEEK).map(|it| exp(*it)).collect();
        Some(Trend {
            level: ln(mean(&newest)) + rate * 3.0,
            rate,
            error: error / WEEK as f64,
        })
    }

    fn standard_errors(&self) -> f64 {
        self.rate.abs() / self.error.max(f64::MIN_POSITIVE)
    }

    /// Whether amounts grow beyond doubt.
    pub(super) fn is_sure_growth(&self) -> bool {
        const SURE: f64 = 3.5;
        self.rate > 0.0 && self.standard_errors() > SURE
    }

    /// The share of the paths that follow it without damping.
    pub(super) fn share(&self) -> f64 {
        /// Less than half: the median stays on the damped forecast.
        const MOST: f64 = 0.45;
        const SURE: f64 = 2.0;
        MOST * (self.standard_errors() / SURE).min(1.0)
    }

    /// A factor on the amount this number of days ahead, by how far the rate is from its estimate: `place` is its rank.
    pub(super) fn doubt(&self, days: usize, place: f64) -> f64 {
        exp(self.error * normal_quantile(place) * days as f64)
    }

    /// The amount this number of days ahead.
    pub(super) fn amount(&self, days: usize) -> f64 {
        /// Growth is not made up by a few noisy days.
        const MOST: f64 = 3.0;
        exp(self.level + (self.rate * days as f64).clamp(-MOST, MOST))
    }

    /// A factor on amounts in the direction of the trend only.
    pub(super) fn apart(&self, factor: f64) -> f64 {
        if self.rate > 0.0 {
            factor.max(1.0)
        } else {
            factor.min(1.0)
        }
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
