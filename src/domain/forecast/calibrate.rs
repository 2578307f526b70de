//! Calibration of the band's width by the model's past errors.
//!
//! The model is fitted to the data up to earlier days, and its bands are compared with the actual values. That
//! covers what one fit cannot see: changes of pace, long memory, errors of changing size.

use serde::Serialize;

use super::paths::{Paths, Prepared};
use super::random::Random;
use super::robust::{mean, quantile_of};
use super::series::MetricKind;
use super::smooth::shortness;

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Factor on the distance of every path from the median.
    #[serde(rename = "calibration_factor")]
    pub factor: f64,
    /// Number of past forecasts.
    #[serde(rename = "calibration_checks")]
    pub checks: usize,
    /// Weight of the plain rules, from 0 to 1: the mean of 28 days and of the same weekdays.
    #[serde(skip)]
    pub rule_weight: f64,
}

impl Default for Calibration {
    /// Bands as simulated.
    fn default() -> Calibration {
        Calibration {
            factor: 1.0,
            checks: 0,
            rule_weight: 0.0,
        }
    }
}

/// The factor without past forecasts, and the number of checks that weighs as much.
const UNCHECKED: (f64, usize) = (1.2, 8);
/// A band becomes only a little narrower, since too narrow is the worse mistake.
const FACTORS: (f64, f64) = (0.9, 2.5);
/// Number of origins and horizons in days of the past forecasts.
const ORIGINS: usize = 14;
const HORIZONS: [usize; 2] = [7, 14];
/// The first origin needs a week of data, or two weeks if available, to see weekdays.
const FEWEST_POINTS: usize = 7;
const PATHS: usize = 64;
/// Factors on the width from four weeks of history on, and with one week: what the checks above leave of the coverage.
const GAUGE_WIDTHS: (f64, f64) = (1.05, 1.1);
const PERIOD_WIDTHS: (f64, f64) = (1.1, 0.88);

pub(super) fn calibrate(prepared: &Prepared, random: &mut Random) -> Calibration {
    let count = prepared.points.len();
    let weeks = if count < 2 * FEWEST_POINTS { 1 } else { 2 };
    let fewest = weeks * FEWEST_POINTS;
    let newest = count.saturating_sub(1);
    let every = (newest.saturating_sub(fewest) / ORIGINS).max(1);
    // Backwards from the newest day, so that the origins move with it.
    let origins = (fewest..=newest).rev().step_by(every);
    let mut past: Vec<(usize, Prepared, Paths)> = Vec::new();
    for known in origins {
        let before = prepared.known_at(known);
        let paths = before.simulate(&before.fit(), HORIZONS[1], PATHS, random);
        past.push((known, before, paths));
    }
    let rule_weight = rule_weight(prepared, &past);
    let mut errors = Vec::new();
    for (known, before, paths) in &mut past {
        before.shrink(paths, rule_weight);
        for horizon in HORIZONS {
            errors.extend(error(prepared, *known, horizon, paths));
        }
    }
    let checks = errors.len();
    let (unchecked, as_many) = UNCHECKED;
    let weight = checks as f64 / (checks + as_many) as f64;
    let factor = weight * quantile_of(&mut errors, 0.8) + (1.0 - weight) * unchecked;
    let (usual, week) = match prepared.kind {
        MetricKind::Period => PERIOD_WIDTHS,
        MetricKind::Gauge | MetricKind::Rate => GAUGE_WIDTHS,
    };
    let short = usual + (week - usual) * shortness(count);
    Calibration {
        factor: factor.clamp(FACTORS.0, FACTORS.1) * short,
        checks,
        rule_weight,
    }
}

/// The weight of the plain rules in the forecast of amounts: the more, the better they did in the past.
fn rule_weight(prepared: &Prepared, past: &[(usize, Prepared, Paths)]) -> f64 {
    if prepared.kind != MetricKind::Period {
        return 0.0;
    }
    /// Both are equally good in as many forecasts before the first one.
    const PRIOR: f64 = 4.0;
    /// A rule without parameters is preferred until the model is clearly better.
    const CAUTION: f64 = 2.2;
    /// The least scale of an error, as a share of the usual total: of amounts that are zero on most days, some totals are
    /// zero.
    const LEAST: f64 = 0.1;
    let amounts = (0..prepared.points.len()).map(|at| prepared.value(at).abs());
    let least = (LEAST * mean(&amounts.collect::<Vec<f64>>())).max(f64::MIN_POSITIVE);
    let (mut own, mut plain, mut checks) = (0.0, 0.0, 0.0);
    for (known, before, paths) in past {
        for horizon in HORIZONS {
            let to = paths.first + horizon as i32;
            let Some(actual) = prepared.sum(*known, to, horizon) else {
                continue;
            };
            let model = quantile_of(&mut paths.sums(paths.first, to), 0.5);
            let rule: f64 = (paths.first..to).map(|day| before.plain_amount(day)).sum();
            let scale = actual.abs().max(least * horizon as f64);
            own += (model - actual).abs() / scale;
            plain += (rule - actual).abs() / scale;
            checks += 1.0;
        }
    }
    let prior = PRIOR * (own + plain + 0.01) / (2.0 * checks + 1.0);
    // The rules know no growth.
    let caution = if prepared.trends() {
        1.0 / CAUTION
    } else {
        CAUTION
    };
    let (own, plain) = ((caution * (own + prior)).powi(2), (plain + prior).powi(2));
    own / (own + plain)
}

/// The distance of the actual value from the median of the paths, in half widths of the 80 % band on that side;
/// `None` if it is not known yet.
fn error(prepared: &Prepared, known: usize, horizon: usize, paths: &Paths) -> Option<f64> {
    let end = paths.first + i32::try_from(horizon).ok()? - 1;
    let points = &prepared.points;
    let (actual, mut simulated) = match prepared.kind {
        MetricKind::Gauge | MetricKind::Rate => {
            let at = points.binary_search_by_key(&end, |(day, _)| *day).ok()?;
            (prepared.value(at), paths.on(end))
        }
        MetricKind::Period => {
            let actual = prepared.sum(known, end + 1, horizon)?;
            (actual, paths.sums(paths.first, end + 1))
        }
    };
    let [low, middle, high] = [0.1, 0.5, 0.9].map(|share| quantile_of(&mut simulated, share));
    let missed = (actual - middle).abs();
    let side = if actual > middle { high } else { low };
    let half = (side - middle).abs();
    // A constant series is forecast without error.
    let rounding = f64::EPSILON * middle.abs();
    Some(if missed <= rounding {
        0.0
    } else {
        missed / half.max(missed * 1e-3)
    })
}

#[cfg(test)]
mod tests {
    use super::super::paths::prepare;
    use super::*;

    fn of(level: impl Fn(i32) -> f64, days: i32) -> Calibration {
        let points: Vec<(i32, f64)> = (0..days).map(|day| (day, level(day))).collect();
        let prepared = prepare(MetricKind::Gauge, &points);
        calibrate(&prepared, &mut Random::named("x"))
    }

    #[test]
    fn short_series_has_the_default_factor() {
        let Calibration { factor, checks, .. } = of(f64::from, 8);
        assert!(checks == 0 && factor > 1.3 && factor < 1.4, "{factor}");
    }

    #[test]
    fn change_of_pace_widens_the_band() {
        let noise = |day: i32| f64::from(day * 7919 % 101) / 20.0;
        let steady = of(|day| f64::from(day) + noise(day), 60);
        let bend = |day: i32| f64::from(day + 5 * (day - 40).max(0)) + noise(day);
        let bent = of(bend, 60);
        assert!(steady.checks > 15 && steady.factor < 1.2, "{steady:?}");
        assert!(bent.factor > 1.5, "{bent:?}");
    }
}
