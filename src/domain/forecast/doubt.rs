//! What a history leaves open: of a gauge, growth that may compound, and a drop that may be the first of many; of
//! amounts of a few weeks, whether they go on growing or falling.
//!
//! A share of the paths continues in each of these ways, so that the bands include it. The shares were chosen on
//! generated series, of which `docs/forecast.md` lists the results.

use super::math::{exp, ln, normal_quantile};
use super::robust::mean;
use super::rules::{regression, slope_error};
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
        let grown = curve.1 * days(last);
        (line.1 > SIGNIFICANT * slope_error(points, line)).then(|| Growth {
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

/// The pace at which amounts grow or fall, from less than five weeks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trend {
    /// Per day, of the logarithm.
    rate: f64,
    /// The standard error of the rate, if the errors of a week are one.
    error: f64,
    /// Number of errors that it is from, in weeks.
    weeks: f64,
    /// The logarithm of the newest amount, without its error.
    level: f64,
    /// Days from the middle of the history to the newest.
    half: f64,
}

impl Trend {
    /// Of the logarithms of amounts, which are three at least: by the differences between equal weekdays, or within
    /// two weeks by a line.
    pub(super) fn of(points: &[Point]) -> Trend {
        const WEEK: DayNumber = 7;
        /// A weekend may look like a trend.
        const UNKNOWN_WEEKDAYS: f64 = 1.5;
        let before = |day: DayNumber| {
            let at = points.binary_search_by_key(&(day - WEEK), |(day, _)| *day);
            at.ok().map(|at| points[at].1)
        };
        let growth = points.iter();
        let growth = growth.filter_map(|(day, value)| Some(value - before(*day)?));
        let growth: Vec<f64> = growth.collect();
        let (week, count) = (f64::from(WEEK), growth.len() as f64);
        let (rate, error) = if count < week {
            let line = regression(points);
            (line.1, UNKNOWN_WEEKDAYS * slope_error(points, line))
        } else {
            let mean = mean(&growth);
            let squares: f64 = growth.iter().map(|it| (it - mean).powi(2)).sum();
            (mean / week, (squares / count / week).sqrt() / week)
        };
        let ends = points.first().zip(points.last());
        let half = ends.map_or(0.0, |(first, last)| f64::from(last.0 - first.0) / 2.0);
        let values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
        Trend {
            rate,
            error: error.max(f64::MIN_POSITIVE),
            weeks: (count / week).max(1.0),
            level: mean(&values) + rate * half,
            half,
        }
    }

    /// Whether it is beyond doubt.
    pub(super) fn is_sure(&self) -> bool {
        self.rate.abs() > 2.5 * self.error
    }

    /// The share of the paths that follow it: none within 1.5 standard errors, if all errors are independent.
    pub(super) fn share(&self) -> f64 {
        /// Less than half: the median stays with the model.
        const MOST: f64 = 0.36;
        let certainty = self.rate.abs() / self.error * self.weeks.sqrt();
        (MOST * (certainty / 1.5 - 1.0)).clamp(0.0, MOST)
    }

    /// The amount this number of days after the newest. `place`, from 0 to 1, is that of the rate within its error.
    pub(super) fn amount(&self, days: usize, place: f64) -> f64 {
        /// In a logarithm: twentyfold.
        const MOST: f64 = 3.0;
        let days = days as f64;
        let error = self.error * (days + self.half) * normal_quantile(place.clamp(0.01, 0.99));
        exp(self.level + (self.rate * days + error).clamp(-MOST, MOST))
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
    fn trend_of_amounts_is_followed_as_far_as_it_exceeds_the_noise() {
        let noise = |day: f64| 0.1 * ((day * 7.0) % 5.0 - 2.0);
        let trend = |rate: f64, days: usize| {
            let logs = points(|day| 3.0 + rate * day + noise(day));
            Trend::of(&logs[..days])
        };
        for days in [10, 14, 27] {
            assert_eq!(trend(0.0, days).share(), 0.0, "{days}");
            for rate in [0.1, -0.1] {
                let sure = trend(rate, days);
                assert!(sure.is_sure() && sure.share() == 0.36, "{days} {sure:?}");
                let next = ln(sure.amount(20, 0.5)) - 3.0 - rate * (days + 19) as f64;
                assert!(next.abs() < 0.5, "{days} {next}");
            }
        }
        assert_eq!(
            trend(0.5, 14).amount(90, 0.5),
            exp(trend(0.5, 14).level + 3.0)
        );
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
