//! How far the model's past bands missed, and by how much the coming one is widened for it.
//!
//! The model is fitted as it would have been on earlier days, and what came is compared with its band. That
//! sees what no fit can: changes of pace, longer memory, errors that are not alike.

use super::paths::{Paths, Prepared};
use super::random::Random;
use super::robust::quantile_of;
use super::series::MetricKind;

/// The outcome of the comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// By how much every path's distance from the middle one is multiplied.
    pub factor: f64,
    /// How many past forecasts it rests on.
    pub checks: usize,
}

/// The factor of a series without a past, and how many checks it takes to weigh as much as that.
const UNCHECKED: (f64, usize) = (1.2, 8);
/// A band is made a little narrower at most: too narrow is the worse mistake.
const FACTORS: (f64, f64) = (0.9, 2.5);
/// Past forecasts are made from about so many days, and look so many days ahead.
const ORIGINS: usize = 14;
const HORIZONS: [usize; 2] = [7, 14];
/// The first of them needs a week, or two where there are two: by then the model knows of weekdays.
const FEWEST_POINTS: usize = 7;
const PATHS: usize = 64;

pub(super) fn calibrate(prepared: &Prepared, random: &mut Random) -> Calibration {
    let count = prepared.points.len();
    let fewest = if count < 2 * FEWEST_POINTS {
        FEWEST_POINTS
    } else {
        2 * FEWEST_POINTS
    };
    let newest = count.saturating_sub(1);
    let every = (newest.saturating_sub(fewest) / ORIGINS).max(1);
    let mut misses = Vec::new();
    // From the newest origin back: those of today and tomorrow are as many days before their ends.
    for known in (fewest..=newest).rev().step_by(every) {
        let past = prepared.known_at(known);
        let paths = past.simulate(&past.fit(), HORIZONS[1], PATHS, random);
        for horizon in HORIZONS {
            misses.extend(miss(prepared, known, horizon, &paths));
        }
    }
    let checks = misses.len();
    let (unchecked, as_many) = UNCHECKED;
    let weight = checks as f64 / (checks + as_many) as f64;
    let factor = weight * quantile_of(&mut misses, 0.8) + (1.0 - weight) * unchecked;
    Calibration {
        factor: factor.clamp(FACTORS.0, FACTORS.1),
        checks,
    }
}

/// How far what came lay from the middle of the paths, in widths of the half of the 80 % band on its side;
/// `None` if it is not known yet.
fn miss(prepared: &Prepared, known: usize, horizon: usize, paths: &Paths) -> Option<f64> {
    let end = paths.first + i32::try_from(horizon).ok()? - 1;
    let points = &prepared.points;
    let (came, mut simulated) = match prepared.kind {
        MetricKind::Gauge | MetricKind::Rate => {
            let at = points.binary_search_by_key(&end, |(day, _)| *day).ok()?;
            (prepared.value(at), paths.on(end))
        }
        MetricKind::Period => {
            // Sums over different days cannot be compared.
            let to = points.partition_point(|(day, _)| *day <= end);
            if to - known < horizon {
                return None;
            }
            let came = (known..to).map(|at| prepared.value(at)).sum();
            (came, paths.sums(paths.first, end + 1))
        }
    };
    let [low, middle, high] = [0.1, 0.5, 0.9].map(|share| quantile_of(&mut simulated, share));
    let missed = (came - middle).abs();
    let half = if came > middle {
        high - middle
    } else {
        middle - low
    };
    // A series that never moved, and did not now, was forecast well.
    let nothing = f64::EPSILON * middle.abs();
    Some(if missed <= nothing {
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
        calibrate(
            &prepare(MetricKind::Gauge, &points),
            &mut Random::named("x"),
        )
    }

    #[test]
    fn a_series_without_a_past_is_widened_by_what_most_need() {
        let calibration = of(f64::from, 8);
        assert_eq!(
            calibration,
            Calibration {
                factor: 1.2,
                checks: 0
            }
        );
    }

    #[test]
    fn a_change_of_pace_widens_and_a_steady_pace_does_not() {
        let noise = |day: i32| f64::from(day * 7919 % 101) / 20.0;
        let steady = of(|day| f64::from(day) + noise(day), 60);
        let bent = of(
            |day| f64::from(day + 5 * (day - 40).max(0)) + noise(day),
            60,
        );
        assert!(steady.checks > 15 && steady.factor < 1.2, "{steady:?}");
        assert!(bent.factor > 1.5, "{bent:?}");
    }
}
