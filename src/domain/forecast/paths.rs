//! Simulated paths of gauges and counters.
//!
//! A gauge is modelled by its levels, without isolated spikes and with lasting drops, such as a clean-up, closed:
//! earlier levels are lowered by the drop, so that the pace before and after it is estimated together. A counter is
//! modelled by the logarithms of its daily amounts, since weekends, growth and bursts are proportional; a counter
//! that is often zero, by the amounts.

use super::math::{exp, ln};
use super::random::Random;
use super::robust::{mean, median_of, spikes, spread};
use super::series::{DayNumber, MetricKind};
use super::smooth::{Fit, Point, Shape, fit, increments};

/// Equally likely paths of future daily values: levels of a gauge, amounts of a counter.
///
/// All results for one series come from the same paths, so that the noise cancels when they are compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Paths {
    pub first: DayNumber,
    /// Number of days.
    pub days: usize,
    values: Vec<f64>,
}

impl Paths {
    /// The paths, each as its daily values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.values.chunks_exact(self.days.max(1))
    }

    /// The values of one day on all paths; empty for a day that is not simulated.
    pub fn on(&self, day: DayNumber) -> Vec<f64> {
        match self.index(day) {
            Some(at) if at < self.days => self.iter().map(|path| path[at]).collect(),
            _ => Vec::new(),
        }
    }

    /// The sum of each path from `from` to `to`, exclusive.
    pub fn sums(&self, from: DayNumber, to: DayNumber) -> Vec<f64> {
        let at = |day| self.index(day).unwrap_or(0).min(self.days);
        let (from, to) = (at(from), at(to).max(at(from)));
        self.iter()
            .map(|path| path[from..to].iter().sum())
            .collect()
    }

    /// The index of a day in each path; `None` before the first.
    pub(super) fn index(&self, day: DayNumber) -> Option<usize> {
        usize::try_from(day - self.first).ok()
    }

    /// Scales the amounts of a day that has begun to the part left.
    pub(super) fn shorten(&mut self, day: DayNumber, left: f64) {
        if let Some(at) = self.index(day).filter(|at| *at < self.days) {
            for path in self.values.chunks_exact_mut(self.days) {
                path[at] *= left;
            }
        }
    }

    /// Scales the distance of every level from the median of its day.
    fn scale_levels(&mut self, factor: f64) {
        // A few days at a time: the values of one day are scattered in memory.
        const AT_ONCE: usize = 8;
        for from in (0..self.days).step_by(AT_ONCE) {
            let to = (from + AT_ONCE).min(self.days);
            let mut columns: [Vec<f64>; AT_ONCE] = Default::default();
            for path in self.iter() {
                for (column, value) in columns.iter_mut().zip(&path[from..to]) {
                    column.push(*value);
                }
            }
            let middles = columns.map(|mut column| median_of(&mut column));
            for path in self.values.chunks_exact_mut(self.days) {
                for (value, middle) in path[from..to].iter_mut().zip(middles) {
                    *value = middle + factor * (*value - middle);
                }
            }
        }
    }

    /// Scales the distance of every path's first month from the median month. The whole path is scaled by one
    /// factor, so that amounts stay positive.
    fn scale_sums(&mut self, factor: f64) {
        let month = DayNumber::try_from(self.days.min(30)).unwrap_or(0);
        let sums = self.sums(self.first, self.first + month);
        let middle = median_of(&mut sums.clone());
        for (path, sum) in self.values.chunks_exact_mut(self.days.max(1)).zip(sums) {
            if sum > 0.0 {
                let wanted = (middle + factor * (sum - middle)).max(sum * 0.1);
                path.iter_mut().for_each(|value| *value *= wanted / sum);
            }
        }
    }
}

/// A series as the model fits it.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub kind: MetricKind,
    scale: Scale,
    pub points: Vec<Point>,
    /// Number of spikes removed.
    pub spikes: usize,
    /// Days of the closed drops.
    pub resets: Vec<DayNumber>,
    /// No value was negative, so no path will be.
    not_negative: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    Plain,
    /// The logarithm of the value plus a small offset, for zeros.
    Log {
        plus: f64,
    },
}

/// Distance of a spike from the days around it, in spreads.
const SPIKE: f64 = 5.0;
/// Size of a drop, in spreads of the increments.
const DROP: f64 = 6.0;
/// More drops than this are regular and part of the forecast.
const MOST_RESETS: usize = 2;

pub(super) fn prepare(kind: MetricKind, days: &[Point]) -> Prepared {
    let prepared = Prepared {
        kind,
        scale: Scale::Plain,
        points: days.to_vec(),
        spikes: 0,
        resets: Vec::new(),
        not_negative: days.iter().all(|(_, value)| *value >= 0.0),
    };
    match kind {
        MetricKind::Gauge | MetricKind::Rate => prepare_gauge(prepared),
        MetricKind::Period => prepare_period(prepared),
    }
}

fn prepare_gauge(mut prepared: Prepared) -> Prepared {
    let values: Vec<f64> = prepared.points.iter().map(|(_, value)| *value).collect();
    let mut spikes = spikes(&values, SPIKE).into_iter();
    prepared.points.retain(|_| !spikes.next().unwrap_or(false));
    prepared.spikes = values.len() - prepared.points.len();
    let resets = resets(&prepared.points);
    if resets.len() <= MOST_RESETS {
        for (at, drop) in resets {
            prepared.points[..at]
                .iter_mut()
                .for_each(|(_, value)| *value -= drop);
            prepared.resets.push(prepared.points[at].0);
        }
    }
    prepared
}

/// Lasting drops: the index of the first lower value, and the size.
fn resets(points: &[Point]) -> Vec<(usize, f64)> {
    let rates: Vec<f64> = increments(points).map(|(gap, gain)| gain / gap).collect();
    let usual = median_of(&mut rates.clone());
    let far = DROP * spread(&rates);
    let fell = |at: usize| {
        let gap = f64::from(points[at].0 - points[at - 1].0);
        let before = points[at - 1].1;
        let drop = before + usual * gap - points[at].1;
        let after = &points[at..(at + 4).min(points.len())];
        let stayed = after.len() > 1 && after.iter().all(|(_, value)| *value < before - drop / 2.0);
        (drop > 0.0 && drop > far * gap.sqrt() && stayed).then_some((at, drop))
    };
    (1..points.len()).filter_map(fell).collect()
}

fn prepare_period(mut prepared: Prepared) -> Prepared {
    let amounts = prepared.points.iter().map(|(_, value)| *value);
    let mut positive: Vec<f64> = amounts.filter(|value| *value > 0.0).collect();
    let often_zero = positive.len() * 10 < prepared.points.len() * 9;
    if !often_zero && prepared.not_negative {
        let plus = 0.01 * median_of(&mut positive);
        prepared.scale = Scale::Log { plus };
        prepared
            .points
            .iter_mut()
            .for_each(|(_, value)| *value = ln(*value + plus));
    }
    prepared
}

impl Prepared {
    pub(super) fn fit(&self) -> Fit {
        fit(&self.points, self.shape())
    }

    fn shape(&self) -> Shape {
        // One percent a day is a fast growth.
        let percent = match self.scale {
            Scale::Log { .. } => 0.01,
            Scale::Plain => {
                let sizes: Vec<f64> = self.points.iter().map(|(_, value)| value.abs()).collect();
                0.01 * mean(&sizes)
            }
        };
        match self.kind {
            MetricKind::Gauge | MetricKind::Rate => Shape {
                most_alpha: 1.0,
                clip: f64::INFINITY,
                damping: 1.0,
                usual_drift: percent,
                unseen_week: 0.0,
                widen_errors: true,
            },
            MetricKind::Period => Shape {
                // Usage changes slowly; bursts are no new level.
                most_alpha: 0.2,
                clip: 3.0,
                // Half of the growth is left after 60 days.
                damping: 0.988_514,
                usual_drift: percent,
                // A typical weekend effect.
                unseen_week: 20.0 * percent,
                widen_errors: self.scale == Scale::Plain,
            },
        }
    }

    pub(super) fn is_logarithmic(&self) -> bool {
        self.scale != Scale::Plain
    }

    /// The series up to its first `count` points, with drops still closed.
    pub(super) fn known_at(&self, count: usize) -> Prepared {
        Prepared {
            points: self.points[..count].to_vec(),
            resets: Vec::new(),
            ..*self
        }
    }

    /// The measured value of a point.
    pub(super) fn value(&self, index: usize) -> f64 {
        self.measured(self.points[index].1)
    }

    fn measured(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Plain if self.not_negative => value.max(0.0),
            Scale::Plain => value,
            Scale::Log { plus } => (exp(value) - plus).max(0.0),
        }
    }

    /// `count` paths of `days` days from the day after the newest.
    pub(super) fn simulate(
        &self,
        fit: &Fit,
        days: usize,
        count: usize,
        random: &mut Random,
    ) -> Paths {
        let futures = fit.simulate(count, days, random);
        let (factor, max) = match self.scale {
            Scale::Plain => (1.0, f64::INFINITY),
            Scale::Log { .. } => (bias(fit, &self.points), self.max_amount()),
        };
        let measured = |value| (self.measured(value) * factor).min(max);
        Paths {
            first: fit.last + 1,
            days,
            values: futures.into_iter().map(measured).collect(),
        }
    }

    /// The largest simulated amount of a day: 1.5 times the largest one seen. Without it, errors of logarithms
    /// sometimes add up to absurd amounts.
    fn max_amount(&self) -> f64 {
        let amounts = self.points.iter().map(|(_, value)| self.measured(*value));
        1.5 * amounts.fold(0.0, f64::max)
    }

    /// Scales the distance of the paths from their median.
    pub(super) fn scale(&self, paths: &mut Paths, factor: f64) {
        match self.kind {
            MetricKind::Gauge | MetricKind::Rate => paths.scale_levels(factor),
            MetricKind::Period => paths.scale_sums(factor),
        }
        if self.not_negative {
            paths
                .values
                .iter_mut()
                .for_each(|value| *value = value.max(0.0));
        }
    }
}

/// The factor that corrects the mean of amounts forecast in logarithms.
///
/// Transformed back, positive errors of logarithms weigh more than negative ones, and those of a change of level
/// too much. The factor brings the mean of recent one-day forecasts to the mean of the actual amounts, to the
/// degree that the errors are large.
fn bias(fit: &Fit, points: &[Point]) -> f64 {
    let grown: Vec<f64> = fit.residuals.iter().map(|error| exp(*error)).collect();
    let smear = mean(&grown).max(1.0);
    let (mut predicted_sum, mut actual_sum, mut weight) = (0.0, 0.0, 1.0);
    for (predicted, (_, value)) in fit.predicted.iter().zip(points.iter().skip(1)).rev() {
        predicted_sum += weight * exp(*predicted) * smear;
        actual_sum += weight * exp(*value);
        // Half the weight two weeks earlier.
        weight *= 0.951_7;
    }
    if predicted_sum <= 0.0 || actual_sum <= 0.0 {
        return 1.0;
    }
    exp(ln(actual_sum / predicted_sum) * (1.0 - 1.0 / smear)).clamp(1.0 / 3.0, 3.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_up_is_closed_and_sawtooth_is_not() {
        let level = |day: i32| 100.0 + 2.0 * f64::from(day) + f64::from(day % 3);
        let drop = |day: i32| if day < 40 { 0.0 } else { 60.0 };
        let cleaned: Vec<Point> = (0..60).map(|day| (day, level(day) - drop(day))).collect();
        let prepared = prepare(MetricKind::Gauge, &cleaned);
        assert_eq!(prepared.resets, [40]);
        assert_eq!(prepared.points[59].1, cleaned[59].1);
        assert!((prepared.fit().drift - 2.0).abs() < 0.2);
        let sawtooth: Vec<Point> = (0..60)
            .map(|day| (day, 100.0 + f64::from(day % 12) * 8.0))
            .collect();
        assert!(prepare(MetricKind::Gauge, &sawtooth).resets.is_empty());
    }

    #[test]
    fn paths_are_finite_and_not_negative() {
        let falling: Vec<Point> = (0..30).map(|day| (day, f64::from(30 - day))).collect();
        for kind in [MetricKind::Gauge, MetricKind::Period] {
            let prepared = prepare(kind, &falling);
            let mut paths = prepared.simulate(&prepared.fit(), 60, 50, &mut Random::named("x"));
            prepared.scale(&mut paths, 2.5);
            let mut values = paths.iter().flatten();
            assert!(values.all(|value| *value >= 0.0 && value.is_finite()));
        }
    }

    #[test]
    fn sums_cover_the_days_between() {
        let paths = Paths {
            first: 10,
            days: 3,
            values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        };
        assert_eq!(paths.sums(10, 13), [6.0, 15.0]);
        assert_eq!(paths.sums(11, 12), [2.0, 5.0]);
        assert_eq!(paths.sums(5, 11), [1.0, 4.0]);
        assert_eq!(paths.sums(12, 10), [0.0, 0.0]);
        assert_eq!((paths.on(12), paths.on(13)), (vec![3.0, 6.0], vec![]));
    }

    #[test]
    fn amounts_that_are_often_zero_are_not_logarithmic() {
        let amounts = |zeros: i32| -> Vec<Point> {
            (0..40)
                .map(|day| (day, if day % 10 < zeros { 0.0 } else { 50.0 }))
                .collect()
        };
        let logarithmic = |zeros| prepare(MetricKind::Period, &amounts(zeros)).is_logarithmic();
        assert!(logarithmic(0) && !logarithmic(2));
    }
}
