//! The model of both gauges and counters: exponential smoothing with drift, simulated with bootstrapped errors.
//!
//! A value is a level, plus the offset of its weekday, plus an error; each day the level moves by the drift and by
//! a part `alpha` of the error. `alpha` 0 is a line with noise, 1 a random walk; the value with the smallest past
//! errors is chosen. Each simulated path draws a level, a drift and an `alpha` from their uncertainty, and past
//! errors in blocks of a week, so that clusters of bad days stay together.

use std::f64::consts::SQRT_2;

use super::math::normal_quantile;
use super::random::Random;
use super::robust::{deviation, mean, median, median_of, slope, spread};

/// A value on a day.
pub(super) use super::series::DailyValue as Point;

/// Prior assumptions about a kind of series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// The largest `alpha`.
    pub most_alpha: f64,
    /// Errors are clipped at this many spreads when they move the level.
    pub clip: f64,
    /// Factor on the drift per day.
    pub damping: f64,
    /// The prior standard deviation of the drift, towards which uncertain drifts are shrunk.
    pub usual_drift: f64,
    /// Additional uncertainty of the level, which the errors do not show.
    pub unseen: f64,
    /// More of it for a history of one week, as a share of the errors; it decreases to none at four weeks.
    pub unseen_errors: f64,
    /// Whether errors from few weeks of data are scaled up. Errors of logarithms are not, since they would grow
    /// exponentially.
    pub widen_errors: bool,
}

/// A fitted model.
#[derive(Clone, Debug)]
pub(super) struct Fit {
    shape: Shape,
    /// The newest day.
    pub last: i32,
    /// The level on that day, without the weekday offset.
    pub level: f64,
    pub level_sd: f64,
    pub alpha: f64,
    /// The increase of the level per day.
    pub drift: f64,
    pub drift_sd: f64,
    /// The recent drift, and the share of paths that continue with it.
    pub recent_drift: f64,
    pub recent_share: f64,
    /// Offsets of the weekdays from the level, if significant; the first is Thursday's, as of day 0.
    pub weekday: Option<[f64; 7]>,
    /// Centred errors of the one-day forecasts.
    pub residuals: Vec<f64>,
    /// The one-day forecasts, of the second day to the last.
    pub predicted: Vec<f64>,
}

const ALPHAS: [f64; 9] = [0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0];
/// Days of the recent drift.
const RECENT_DAYS: i32 = 14;
/// Squared distance of the recent drift, in standard errors, at which half of the paths take it.
const RECENT_DOUBT: f64 = 6.0;
/// The smallest relative uncertainty of a drift.
const STEADIEST: f64 = 0.05;
/// Days per block of drawn errors.
const BLOCK: usize = 7;

/// Fits the model to points in the order of their days.
pub(super) fn fit(points: &[Point], shape: Shape) -> Fit {
    let weekday = weekday_offsets(points);
    let offsets = weekday.unwrap_or_default();
    let offset = |day: i32| offsets[weekday_of(day)];
    let plain = |(day, value): &Point| (*day, value - offset(*day));
    let plain: Vec<Point> = points.iter().map(plain).collect();
    let pace = Pace::of(&plain, shape.usual_drift);
    let limit = match shape.clip {
        f64::INFINITY => f64::INFINITY,
        clip => clip * pace.spread,
    };
    let mut run = Run::default();
    let mut least = f64::INFINITY;
    let alphas = ALPHAS.into_iter();
    for alpha in alphas.filter(|alpha| *alpha <= shape.most_alpha) {
        let (drift, _) = pace.at(alpha);
        let candidate = Run::new(&plain, alpha, drift, limit);
        let cost: f64 = candidate.errors.iter().map(|error| error.abs()).sum();
        // The smallest of equally good values.
        if cost < least * 0.999 {
            (run, least) = (candidate, cost);
        }
    }
    let alpha = run.alpha;
    let (drift, drift_sd) = pace.at(alpha);
    let (recent_drift, recent_share) = recently(&plain, &pace, alpha, drift, shape.usual_drift);
    // The uncertainty of a constant level decreases with the number of days.
    let count = plain.len().max(1) as f64;
    let known = (alpha / (2.0 - alpha)).max(1.0 / count).sqrt() * (1.0 - alpha);
    let level_sd = deviation(&run.errors) * known;
    let short = shortness(plain.len());
    // Few weeks do not show how a level wanders.
    let unseen = shape.unseen + shape.unseen_errors * deviation(&run.errors) * short;
    let wander = STEADIEST * drift;
    // One burst must not lower all other days.
    let clipped: Vec<f64> = run
        .errors
        .iter()
        .map(|error| within(*error, -limit, limit))
        .collect();
    let centre = mean(&clipped);
    let days = plain.iter().skip(1).map(|(day, _)| *day);
    let predicted = run.predicted.iter().zip(days);
    Fit {
        shape,
        last: plain.last().map_or(0, |(day, _)| *day),
        level: run.level,
        level_sd: (level_sd * level_sd + unseen * unseen).sqrt(),
        alpha,
        drift,
        drift_sd: (drift_sd * drift_sd + wander * wander).sqrt(),
        recent_drift,
        recent_share,
        weekday,
        residuals: run.errors.iter().map(|error| error - centre).collect(),
        predicted: predicted.map(|(value, day)| value + offset(day)).collect(),
    }
}

/// How short a history is: 1 for a week, 0 from four weeks on.
pub(super) fn shortness(points: usize) -> f64 {
    ((4.0 * BLOCK as f64 - points as f64) / (3.0 * BLOCK as f64)).clamp(0.0, 1.0)
}

/// The drift of the last two weeks and the share of paths that continue with it, which is 0 unless it differs from
/// the long-term drift by more than its standard error.
fn recently(points: &[Point], pace: &Pace, alpha: f64, drift: f64, usual: f64) -> (f64, f64) {
    let last = points.last().map_or(0, |(day, _)| *day);
    let from = points.partition_point(|(day, _)| *day < last - RECENT_DAYS);
    let recent = &points[from..];
    if recent.len() < BLOCK || points.len() < 3 * BLOCK {
        return (drift, 0.0);
    }
    // Two weeks are too short to estimate the noise.
    let lately = Pace {
        noise: pace.noise,
        ..Pace::of(recent, usual)
    };
    let (lately, sd) = lately.at(alpha);
    let apart = (lately - drift) / sd.max(f64::MIN_POSITIVE);
    let square = apart * apart;
    if square >= 1.0 {
        (lately, square / (square + RECENT_DOUBT))
    } else {
        (drift, 0.0)
    }
}

/// Two estimates of the increase per day.
struct Pace {
    /// The slope of a line through the points.
    line: f64,
    /// The mean increase per day.
    rate: f64,
    /// The standard deviation of the increase per day.
    noise: f64,
    /// The spread of a single day's error; an increment contains two.
    spread: f64,
    count: f64,
    usual: f64,
}

impl Pace {
    fn of(points: &[Point], usual: f64) -> Pace {
        let rates: Vec<f64> = increments(points).map(|(gap, gain)| gain / gap).collect();
        let middle = median(&rates);
        let usually = spread(&rates);
        let (least, most) = (middle - 8.0 * usually, middle + 8.0 * usually);
        let (mut days, mut sum) = (0.0, 0.0);
        for ((gap, _), rate) in increments(points).zip(&rates) {
            days += gap;
            // Increments are clipped at eight spreads.
            sum += gap * within(*rate, least, most);
        }
        let noise = |(gap, gain): (f64, f64)| (gain - middle * gap) / gap.sqrt();
        Pace {
            line: slope(points),
            rate: if days > 0.0 { sum / days } else { 0.0 },
            noise: calm_deviation(increments(points).map(noise).collect()),
            spread: usually / SQRT_2,
            count: points.len().max(1) as f64,
            usual,
        }
    }

    /// The drift for a given `alpha`, and its standard error.
    fn at(&self, alpha: f64) -> (f64, f64) {
        // For a line with noise the slope is the better estimate, for a random walk the mean increment.
        let drift = (1.0 - alpha) * self.line + alpha * self.rate;
        // An increment is an error less the part of the previous error that the level did not follow.
        let noise = self.noise / (1.0 + (1.0 - alpha) * (1.0 - alpha)).sqrt();
        let n = self.count;
        let sd = noise * (alpha * alpha / n + (1.0 - alpha) * 12.0 / (n * n * n)).sqrt();
        // Shrink towards zero by the prior.
        let (known, usual) = (sd * sd, self.usual * self.usual);
        let share = usual / (usual + known).max(f64::MIN_POSITIVE);
        (drift * share, (known * share).sqrt())
    }
}

/// The standard deviation, with values clipped at four spreads.
fn calm_deviation(mut values: Vec<f64>) -> f64 {
    let limit = 4.0 * spread(&values);
    for value in &mut values {
        *value = within(*value, -limit, limit);
    }
    deviation(&values)
}

/// As `clamp`, but accepts NaN bounds, which sums of huge values produce.
fn within(value: f64, least: f64, most: f64) -> f64 {
    value.max(least).min(most)
}

/// From each point to the next: days and increase.
pub(super) fn increments(points: &[Point]) -> impl Iterator<Item = (f64, f64)> + '_ {
    let increment = |pair: &[Point]| (f64::from(pair[1].0 - pair[0].0), pair[1].1 - pair[0].1);
    points.windows(2).map(increment)
}

/// One pass of the smoothing over the points.
#[derive(Default)]
struct Run {
    alpha: f64,
    level: f64,
    errors: Vec<f64>,
    predicted: Vec<f64>,
}

impl Run {
    fn new(points: &[Point], alpha: f64, drift: f64, limit: f64) -> Run {
        let Some((first, rest)) = points.split_first() else {
            return Run::default();
        };
        // The level on the first day, estimated from the first week.
        let week = points.iter().take(BLOCK);
        let start = week.map(|(day, value)| value - drift * f64::from(day - first.0));
        let mut start: Vec<f64> = start.collect();
        let mut level = median_of(&mut start);
        level += alpha * within(first.1 - level, -limit, limit);
        let mut before = first.0;
        let mut errors = Vec::with_capacity(rest.len());
        let mut predicted = Vec::with_capacity(rest.len());
        for (day, value) in rest {
            let gap = f64::from(day - before);
            before = *day;
            level += drift * gap;
            let error = value - level;
            predicted.push(level);
            // After a gap the level is less certain: the error is larger, and the level follows more of it.
            let (mut share, mut size) = (alpha, 1.0);
            if gap > 1.0 {
                share = gap / (gap - 1.0 + 1.0 / alpha);
                size = (1.0 + (gap - 1.0) * alpha * alpha).sqrt();
            }
            errors.push(error / size);
            level += share * within(error, -limit, limit);
        }
        Run {
            alpha,
            level,
            errors,
            predicted,
        }
    }
}

fn weekday_of(day: i32) -> usize {
    day.rem_euclid(7) as usize
}

/// The offset of each weekday from its week, if there are three weeks of data and the offsets are significant.
fn weekday_offsets(points: &[Point]) -> Option<[f64; 7]> {
    let points = &points[points.len().saturating_sub(8 * BLOCK)..];
    if points.last()?.0 - points.first()?.0 + 1 < 21 {
        return None;
    }
    let mut by_weekday: [Vec<f64>; 7] = Default::default();
    for (index, (day, value)) in points.iter().enumerate() {
        // The week around the day; at the ends, the nearest whole week.
        let last = points.len().saturating_sub(BLOCK);
        let from = index.saturating_sub(3).min(last);
        let week = &points[from..(from + BLOCK).min(points.len())];
        if week.len() == BLOCK && week[6].0 - week[0].0 == 6 {
            let sum: f64 = week.iter().map(|(_, value)| value).sum();
            by_weekday[weekday_of(*day)].push(value - sum / BLOCK as f64);
        }
    }
    let weeks = by_weekday.iter().map(Vec::len).min();
    let weeks = weeks.filter(|weeks| *weeks >= 3)? as f64;
    let mut offsets = [0.0; 7];
    let mut inside = Vec::with_capacity(points.len());
    for (offset, values) in offsets.iter_mut().zip(&by_weekday) {
        let middle = median(values);
        inside.extend(values.iter().map(|value| value - middle));
        // Shrunk, more so with few weeks.
        let count = values.len() as f64;
        *offset = middle * count / (count + 1.0);
    }
    let centre = mean(&offsets);
    offsets.iter_mut().for_each(|offset| *offset -= centre);
    // The standard error of a median is about 1.25 spreads over the root of the count.
    let chance = 1.25 * spread(&inside) / weeks.sqrt();
    (deviation(&offsets) > 1.5 * chance).then_some(offsets)
}

impl Fit {
    /// Simulates `count` paths of the `days` days after the last: their values, path by path.
    pub(super) fn simulate(&self, count: usize, days: usize, random: &mut Random) -> Vec<f64> {
        let length = self.residuals.len();
        let block = BLOCK.min(length);
        // Errors of few weeks underestimate the spread.
        let blocks = length as f64 / BLOCK as f64;
        let widen = ((blocks + 1.0) / (blocks - 1.0).max(0.5)).sqrt().min(1.6);
        let widen_errors = if self.shape.widen_errors { widen } else { 1.0 };
        // The standard error of alpha.
        let alpha_sd = 1.0 / ((length + 1) as f64).sqrt();
        let levels = spread_normals(count, random);
        let drifts = spread_normals(count, random);
        let alphas = spread_normals(count, random);
        let turns = shuffled(count, random);
        let offsets = self.weekday.unwrap_or_default();
        let with_recent = (self.recent_share * count as f64).round() as usize;
        let mut values = Vec::with_capacity(count * days);
        for path in 0..count {
            let centre = if turns[path] < with_recent {
                self.recent_drift
            } else {
                self.drift
            };
            let mut drift = centre + drifts[path] * self.drift_sd * widen;
            let mut level = self.level + levels[path] * self.level_sd * widen;
            let alpha = (self.alpha + alphas[path] * alpha_sd).clamp(0.0, 1.0);
            let mut weekday = weekday_of(self.last);
            let mut left = days;
            while left > 0 {
                let errors = match length {
                    0 => &[0.0; BLOCK][..],
                    _ => {
                        let at = random.below(length + 1 - block);
                        &self.residuals[at..at + block]
                    }
                };
                let errors = &errors[..errors.len().min(left)];
                left -= errors.len();
                for error in errors {
                    let error = error * widen_errors;
                    drift *= self.shape.damping;
                    level += drift;
                    weekday = if weekday == 6 { 0 } else { weekday + 1 };
                    values.push(level + offsets[weekday] + error);
                    level += alpha * error;
                }
            }
        }
        values
    }
}

/// A stratified sample of the standard normal distribution in random order, which needs fewer paths than random
/// draws.
fn spread_normals(count: usize, random: &mut Random) -> Vec<f64> {
    let part = |index: usize| normal_quantile((index as f64 + 0.5) / count as f64);
    shuffled(count, random).into_iter().map(part).collect()
}

fn shuffled(count: usize, random: &mut Random) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for index in (1..count).rev() {
        order.swap(index, random.below(index + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Shape = Shape {
        most_alpha: 1.0,
        clip: f64::INFINITY,
        damping: 1.0,
        usual_drift: 10.0,
        unseen: 0.0,
        unseen_errors: 0.0,
        widen_errors: true,
    };

    /// Noise without any drift, from a seed.
    fn noise(count: i32) -> Vec<f64> {
        let mut random = Random::named("noise");
        let draw = |_| normal_quantile((random.below(1_000) as f64 + 0.5) / 1_000.0);
        (0..count).map(draw).collect()
    }

    fn points(value: impl Fn(i32, f64) -> f64) -> Vec<Point> {
        let days = (0..).zip(noise(60));
        days.map(|(day, noise)| (day, value(day, noise))).collect()
    }

    #[test]
    fn line_has_small_alpha_and_walk_a_large_one() {
        let line = points(|day, noise| 3.0 * f64::from(day) + 2.0 * noise);
        let line = fit(&line, PLAIN);
        assert!(line.alpha <= 0.1, "{}", line.alpha);
        assert!((line.drift - 3.0).abs() < 0.1, "{}", line.drift);
        let mut walk = points(|_, noise| 1.0 + 2.0 * noise);
        for day in 1..walk.len() {
            walk[day].1 += walk[day - 1].1;
        }
        let walk = fit(&walk, PLAIN);
        assert!(walk.alpha >= 0.6, "{}", walk.alpha);
        assert!(walk.drift_sd > 1.5 * line.drift_sd);
    }

    #[test]
    fn weekday_offsets_are_found_only_if_significant() {
        let week = points(|day, noise| if day % 7 < 2 { noise } else { 10.0 + noise });
        let week = fit(&week, PLAIN);
        let offsets = week.weekday.unwrap();
        assert!(offsets[0] < -5.0 && offsets[3] > 1.5, "{offsets:?}");
        assert_eq!(fit(&points(|_, noise| noise), PLAIN).weekday, None);
    }

    #[test]
    fn some_paths_continue_with_the_recent_drift() {
        let bent = points(|day, noise| f64::from(day + 4 * (day - 45).max(0)) + noise);
        let bent = fit(&bent, PLAIN);
        assert!(bent.recent_share > 0.3, "{bent:?}");
        assert!(bent.recent_drift > bent.drift + 1.0, "{bent:?}");
        let straight = fit(&points(|day, noise| f64::from(day) + noise), PLAIN);
        assert!(straight.recent_drift < straight.drift + 0.3, "{straight:?}");
    }

    #[test]
    fn gaps_do_not_change_the_fit() {
        let all = points(|day, noise| 2.0 * f64::from(day) + noise);
        let mut some = all.clone();
        some.retain(|(day, _)| !(30..40).contains(day));
        let (all, some) = (fit(&all, PLAIN), fit(&some, PLAIN));
        assert!((all.drift - some.drift).abs() < 0.05);
        assert!((all.level - some.level).abs() < 1.0);
    }

    #[test]
    fn paths_start_at_the_level_and_follow_the_drift() {
        let fit = fit(&points(|day, noise| 2.0 * f64::from(day) + noise), PLAIN);
        let futures = fit.simulate(200, 10, &mut Random::named("x"));
        assert_eq!(futures.len(), 2_000);
        let mut last: Vec<f64> = futures.chunks(10).map(|path| path[9]).collect();
        assert!((median_of(&mut last) - 2.0 * 69.0).abs() < 1.0);
        assert_eq!(futures, fit.simulate(200, 10, &mut Random::named("x")));
    }

    #[test]
    fn short_series_are_fitted() {
        for count in 0..9 {
            let fit = fit(&points(|_, _| 5.0)[..count], PLAIN);
            let values = fit.simulate(3, 2, &mut Random::named("x"));
            let expected = if count == 0 { 0.0 } else { 5.0 };
            let right = values.iter().all(|value| (value - expected).abs() < 1e-9);
            assert!(right, "{values:?}");
        }
    }
}
