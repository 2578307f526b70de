//! The model under both gauges and counters: exponential smoothing with a drift, whose own past errors are
//! its future ones.
//!
//! A value is a level, plus the offset of its weekday, plus an error; the level moves by the drift every day
//! and by a part `alpha` of the error. With `alpha` 0 that is a line with noise, with 1 a random walk; storage
//! mostly is near 1, a temperature in between, and which it is the past errors decide. Futures are simulated:
//! each path draws a level, a drift and an `alpha` from what is plausible, and week by week a week of past
//! errors, so that bad days which come together stay together.

use std::f64::consts::SQRT_2;

use super::math::normal_quantile;
use super::random::Random;
use super::robust::{deviation, mean, median, median_of, slope, spread};

/// A value on a day.
pub(super) type Point = (i32, f64);

/// In what series differ before anything is known of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// The largest part of an error that the level follows.
    pub most_alpha: f64,
    /// Errors beyond so many spreads move the level no further.
    pub clip: f64,
    /// What is left of the drift after a day.
    pub damping: f64,
    /// How large a drift may well be; one that is known less well than that is believed less.
    pub usual_drift: f64,
    /// How much the level of a week may differ, as long as no two weeks have been seen.
    pub unseen_week: f64,
    /// Whether errors drawn from a few weeks are made larger for it. Those of logarithms are not: as amounts
    /// they would grow out of all proportion.
    pub widen_errors: bool,
}

/// A fitted model.
#[derive(Clone, Debug)]
pub(super) struct Fit {
    shape: Shape,
    /// The newest day.
    pub last: i32,
    /// Where the level is on it, without the weekday.
    pub level: f64,
    pub level_sd: f64,
    pub alpha: f64,
    /// What the level gains in a day.
    pub drift: f64,
    pub drift_sd: f64,
    /// What it gained in a day lately, and the share of paths that go on with that.
    pub recent_drift: f64,
    pub recent_share: f64,
    /// Offsets from the level, if the weekdays differ by more than chance; the first is Thursday's, as day 0 was.
    pub weekday: Option<[f64; 7]>,
    /// Errors of forecasts for the next day, around zero.
    pub residuals: Vec<f64>,
    /// What these forecasts were: of the second day to the last.
    pub predicted: Vec<f64>,
}

const ALPHAS: [f64; 9] = [0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0];
/// How many days "lately" are.
const RECENT_DAYS: i32 = 14;
/// How far, in squared errors, the drift of late must lie from the other until half of the paths take it.
const RECENT_DOUBT: f64 = 6.0;
/// No pace keeps better than to this part of itself, however steady it was.
const STEADIEST: f64 = 0.05;
/// Errors are drawn in runs of so many days.
const BLOCK: usize = 7;

/// Fits the model to points in the order of their days.
pub(super) fn fit(points: &[Point], shape: Shape) -> Fit {
    let weekday = weekday_offsets(points);
    let offsets = weekday.unwrap_or_default();
    let offset = |day: i32| offsets[weekday_of(day)];
    let plain: Vec<Point> = points
        .iter()
        .map(|(day, value)| (*day, value - offset(*day)))
        .collect();
    let pace = Pace::of(&plain, shape.usual_drift);
    let limit = match shape.clip.is_finite() {
        true => shape.clip * pace.spread,
        false => f64::INFINITY,
    };

    let mut run = Run::default();
    let mut least = f64::INFINITY;
    for alpha in ALPHAS
        .into_iter()
        .filter(|alpha| *alpha <= shape.most_alpha)
    {
        let (drift, _) = pace.at(alpha);
        let candidate = Run::new(&plain, alpha, drift, limit);
        let cost: f64 = candidate.errors.iter().map(|error| error.abs()).sum();
        // The smallest alpha among equals: a calm series needs no following.
        if cost < least * 0.999 {
            (run, least) = (candidate, cost);
        }
    }
    let alpha = run.alpha;
    let (drift, drift_sd) = pace.at(alpha);
    let (recent_drift, recent_share) = recently(&plain, &pace, alpha, drift, shape.usual_drift);
    // Even a level that never moved is only known from so many days.
    let count = plain.len().max(1) as f64;
    let known = (alpha / (2.0 - alpha)).max(1.0 / count).sqrt() * (1.0 - alpha);
    let level_sd = deviation(&run.errors) * known;
    let unseen = if plain.len() < 2 * BLOCK {
        shape.unseen_week
    } else {
        0.0
    };
    let wander = STEADIEST * drift;
    let centre = mean(&run.errors);
    let days = plain.iter().skip(1).map(|(day, _)| *day);
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
        predicted: run
            .predicted
            .iter()
            .zip(days)
            .map(|(value, day)| value + offset(day))
            .collect(),
    }
}

/// The drift of the last two weeks, and how far to believe that it goes on: not at all unless it stands out
/// from the other by more than its error.
fn recently(points: &[Point], pace: &Pace, alpha: f64, drift: f64, usual: f64) -> (f64, f64) {
    let last = points.last().map_or(0, |(day, _)| *day);
    let from = points.partition_point(|(day, _)| *day < last - RECENT_DAYS);
    let recent = &points[from..];
    if recent.len() < BLOCK || points.len() < 3 * BLOCK {
        return (drift, 0.0);
    }
    // Its noise is that of all days; two weeks tell too little about it.
    let lately = Pace {
        noise: pace.noise,
        ..Pace::of(recent, usual)
    };
    let (lately, sd) = lately.at(alpha);
    let apart = (lately - drift) / sd.max(f64::MIN_POSITIVE);
    let square = apart * apart;
    match square >= 1.0 {
        true => (lately, square / (square + RECENT_DOUBT)),
        false => (drift, 0.0),
    }
}

/// What a series gains in a day, seen in two ways.
struct Pace {
    /// The slope of a line through the points.
    line: f64,
    /// The mean of what one day adds.
    rate: f64,
    /// How much one day differs from what it usually adds.
    noise: f64,
    /// The same, as far as a day's own error makes it: a day differs from the next by the errors of both.
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
            // No single day counts for more than eight spreads.
            sum += gap * within(*rate, least, most);
        }
        let noise: Vec<f64> = increments(points)
            .map(|(gap, gain)| (gain - middle * gap) / gap.sqrt())
            .collect();
        Pace {
            line: slope(points),
            rate: if days > 0.0 { sum / days } else { 0.0 },
            noise: calm_deviation(noise),
            spread: usually / SQRT_2,
            count: points.len().max(1) as f64,
            usual,
        }
    }

    /// The drift of a level that follows a part `alpha` of the errors, and how well it is known.
    fn at(&self, alpha: f64) -> (f64, f64) {
        // Around a line the increments of neighbours cancel, and its slope is best; in a walk all pairs of
        // points share their errors, and the increments are best.
        let drift = (1.0 - alpha) * self.line + alpha * self.rate;
        // An increment is an error less the part of the one before that the level did not follow.
        let noise = self.noise / (1.0 + (1.0 - alpha) * (1.0 - alpha)).sqrt();
        let n = self.count;
        let sd = noise * (alpha * alpha / n + (1.0 - alpha) * 12.0 / (n * n * n)).sqrt();
        // Seen in the light of how large drifts usually are.
        let (known, usual) = (sd * sd, self.usual * self.usual);
        let share = usual / (usual + known).max(f64::MIN_POSITIVE);
        (drift * share, (known * share).sqrt())
    }
}

/// The standard deviation, no value counting for more than four spreads.
fn calm_deviation(mut values: Vec<f64>) -> f64 {
    let limit = 4.0 * spread(&values);
    values
        .iter_mut()
        .for_each(|value| *value = within(*value, -limit, limit));
    deviation(&values)
}

/// As `clamp`, for edges that may be no numbers: sums of huge values are none.
fn within(value: f64, least: f64, most: f64) -> f64 {
    value.max(least).min(most)
}

/// From each point to the next: how many days, and how much more.
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
        // The level on the first day, as the first week sees it.
        let week = points.iter().take(BLOCK);
        let mut start: Vec<f64> = week
            .map(|(day, value)| value - drift * f64::from(day - first.0))
            .collect();
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
            // After a gap the level is less known: the error is larger, and more of it is news.
            let (share, size) = match gap > 1.0 {
                true => (
                    gap / (gap - 1.0 + 1.0 / alpha),
                    (1.0 + (gap - 1.0) * alpha * alpha).sqrt(),
                ),
                false => (alpha, 1.0),
            };
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

/// How far each weekday lies from its week, if there are three weeks to see it in and it is more than chance.
fn weekday_offsets(points: &[Point]) -> Option<[f64; 7]> {
    let points = &points[points.len().saturating_sub(8 * BLOCK)..];
    if points.last()?.0 - points.first()?.0 + 1 < 21 {
        return None;
    }
    let mut by_weekday: [Vec<f64>; 7] = Default::default();
    for (index, (day, value)) in points.iter().enumerate() {
        // The week around it; at the ends, the nearest whole week.
        let from = index
            .saturating_sub(3)
            .min(points.len().saturating_sub(BLOCK));
        let week = &points[from..(from + BLOCK).min(points.len())];
        if week.len() == BLOCK && week[6].0 - week[0].0 == 6 {
            let sum: f64 = week.iter().map(|(_, value)| value).sum();
            by_weekday[weekday_of(*day)].push(value - sum / BLOCK as f64);
        }
    }
    let weeks = by_weekday
        .iter()
        .map(Vec::len)
        .min()
        .filter(|weeks| *weeks >= 3)? as f64;
    let mut offsets = [0.0; 7];
    let mut inside = Vec::with_capacity(points.len());
    for (offset, values) in offsets.iter_mut().zip(&by_weekday) {
        let middle = median(values);
        inside.extend(values.iter().map(|value| value - middle));
        // A little less than seen: the first weeks tell least.
        let count = values.len() as f64;
        *offset = middle * count / (count + 1.0);
    }
    let centre = mean(&offsets);
    offsets.iter_mut().for_each(|offset| *offset -= centre);
    // Medians of pure noise differ by about 1.25 of its spread over the root of their number.
    let chance = 1.25 * spread(&inside) / weeks.sqrt();
    (deviation(&offsets) > 1.5 * chance).then_some(offsets)
}

/// Simulated values of the days after the newest, path after path.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Futures {
    pub days: usize,
    pub values: Vec<f64>,
}

impl Fit {
    /// Draws `count` futures of `days` days.
    pub(super) fn simulate(&self, count: usize, days: usize, random: &mut Random) -> Futures {
        let length = self.residuals.len();
        let block = BLOCK.min(length);
        // A sample of few weeks is narrower than what it was drawn from.
        let blocks = length as f64 / BLOCK as f64;
        let widen = ((blocks + 1.0) / (blocks - 1.0).max(0.5)).sqrt().min(1.6);
        let widen_errors = if self.shape.widen_errors { widen } else { 1.0 };
        // So well is alpha known from so many errors.
        let alpha_sd = 1.0 / ((length + 1) as f64).sqrt();
        let levels = spread_normals(count, random);
        let drifts = spread_normals(count, random);
        let alphas = spread_normals(count, random);
        let turns = shuffled(count, random);
        let offsets = self.weekday.unwrap_or_default();
        let with_recent = (self.recent_share * count as f64).round() as usize;
        let mut values = Vec::with_capacity(count * days);
        for path in 0..count {
            let centre = match turns[path] < with_recent {
                true => self.recent_drift,
                false => self.drift,
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
        Futures { days, values }
    }
}

/// `count` values of the standard normal distribution, one from each part of equal probability, in random
/// order: fewer paths are needed than if they were drawn.
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
        unseen_week: 0.0,
        widen_errors: true,
    };

    /// Noise without any drift, from a seed.
    fn noise(count: i32) -> Vec<f64> {
        let mut random = Random::named("noise");
        (0..count)
            .map(|_| normal_quantile((random.below(1_000) as f64 + 0.5) / 1_000.0))
            .collect()
    }

    fn points(value: impl Fn(i32, f64) -> f64) -> Vec<Point> {
        let noise = noise(60);
        (0..60)
            .map(|day| (day, value(day, noise[day as usize])))
            .collect()
    }

    #[test]
    fn a_line_is_not_followed_and_a_walk_is() {
        let line = fit(
            &points(|day, noise| 3.0 * f64::from(day) + 2.0 * noise),
            PLAIN,
        );
        assert!(line.alpha <= 0.1, "{}", line.alpha);
        assert!((line.drift - 3.0).abs() < 0.1, "{}", line.drift);
        let mut level = 0.0;
        let steps = noise(60);
        let walk: Vec<Point> = (0..60)
            .map(|day| {
                level += 1.0 + 2.0 * steps[day as usize];
                (day, level)
            })
            .collect();
        let walk = fit(&walk, PLAIN);
        assert!(walk.alpha >= 0.6, "{}", walk.alpha);
        assert!(walk.drift_sd > 1.5 * line.drift_sd);
    }

    #[test]
    fn weekdays_are_seen_where_they_differ_and_only_there() {
        let week = fit(
            &points(|day, noise| if day % 7 < 2 { noise } else { 10.0 + noise }),
            PLAIN,
        );
        let offsets = week.weekday.unwrap();
        assert!(offsets[0] < -5.0 && offsets[3] > 1.5, "{offsets:?}");
        assert_eq!(fit(&points(|_, noise| noise), PLAIN).weekday, None);
    }

    #[test]
    fn a_new_pace_is_taken_by_some_of_the_paths() {
        let bent = fit(
            &points(|day, noise| f64::from(day + 4 * (day - 45).max(0)) + noise),
            PLAIN,
        );
        assert!(
            bent.recent_share > 0.3 && bent.recent_drift > bent.drift + 1.0,
            "{bent:?}"
        );
        let straight = fit(&points(|day, noise| f64::from(day) + noise), PLAIN);
        assert!(straight.recent_drift < straight.drift + 0.3, "{straight:?}");
    }

    #[test]
    fn gaps_are_no_jumps() {
        let all = points(|day, noise| 2.0 * f64::from(day) + noise);
        let some: Vec<Point> = all
            .iter()
            .copied()
            .filter(|(day, _)| !(30..40).contains(day))
            .collect();
        let (all, some) = (fit(&all, PLAIN), fit(&some, PLAIN));
        assert!((all.drift - some.drift).abs() < 0.05);
        assert!((all.level - some.level).abs() < 1.0);
    }

    #[test]
    fn paths_go_on_from_the_level_with_the_drift() {
        let fit = fit(&points(|day, noise| 2.0 * f64::from(day) + noise), PLAIN);
        let futures = fit.simulate(200, 10, &mut Random::named("x"));
        assert_eq!(futures.values.len(), 2_000);
        let mut last: Vec<f64> = futures.values.chunks(10).map(|path| path[9]).collect();
        assert!((median_of(&mut last) - 2.0 * 69.0).abs() < 1.0);
        assert_eq!(futures, fit.simulate(200, 10, &mut Random::named("x")));
    }

    #[test]
    fn nothing_and_nearly_nothing_are_fitted_too() {
        for count in 0..9 {
            let fit = fit(&points(|_, _| 5.0)[..count], PLAIN);
            let values = fit.simulate(3, 2, &mut Random::named("x")).values;
            let expected = if count == 0 { 0.0 } else { 5.0 };
            assert!(
                values.iter().all(|value| (value - expected).abs() < 1e-9),
                "{values:?}"
            );
        }
    }
}
