//! What is answered: dates, probabilities and totals, read off the simulated paths.

use super::calibrate::{Calibration, calibrate};
use super::paths::{Paths, prepare};
use super::random::Random;
use super::robust::quantile_of;
use super::series::{DailySeries, DayNumber, ForecastRequest, MetricKind};

/// Nothing is said about what lies further ahead.
pub const HORIZON_DAYS: usize = 90;
/// With fewer days there is no forecast, and below the second number its confidence is low.
const FEWEST_DAYS: usize = 7;
const CONFIDENT_DAYS: usize = 14;
/// How many futures are simulated.
const PATHS: usize = 500;

/// There are too few days to say anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InsufficientData {
    pub days: usize,
    pub needed: usize,
}

/// How much history a forecast rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// Less than two weeks.
    Low,
    /// Two weeks or more.
    Normal,
}

/// The middle and the edges of what is likely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    /// One in ten lies below.
    pub p10: f64,
    /// The middle.
    pub p50: f64,
    /// One in ten lies above.
    pub p90: f64,
}

impl Band {
    /// The band of these values; `None` of none.
    pub fn of(values: &mut [f64]) -> Option<Band> {
        (!values.is_empty()).then(|| {
            let [p10, p50, p90] = [0.1, 0.5, 0.9].map(|share| quantile_of(values, share));
            Band { p10, p50, p90 }
        })
    }
}

/// How likely something is within so many days.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probability {
    /// The days.
    pub within: usize,
    /// The share of paths; `None` if that is further ahead than the forecast looks.
    pub value: Option<f64>,
}

/// When a threshold is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Crossing {
    pub threshold: f64,
    /// Whether it is reached already.
    pub reached: bool,
    /// Days from today until one path in ten, half of them and nine in ten have reached it. `None` is: not
    /// within the horizon. 0 is today, or before.
    pub days: [Option<u32>; 3],
    /// How likely within 7, 30 and 90 days.
    pub probabilities: [Probability; 3],
}

/// What a billing period comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct PeriodTotal {
    /// Its first day.
    pub from: DayNumber,
    /// The first day after it.
    pub to: DayNumber,
    /// What was used of it already.
    pub used: f64,
    /// The total at its end.
    pub total: Band,
    /// The total on each path, in the order of [`Paths::iter`].
    pub totals: Vec<f64>,
}

impl PeriodTotal {
    /// How likely the total exceeds `included`.
    pub fn chance_over(&self, included: f64) -> f64 {
        let over = self
            .totals
            .iter()
            .filter(|total| **total > included)
            .count();
        over as f64 / self.totals.len().max(1) as f64
    }

    /// By how much, on average over all paths.
    pub fn expected_overage(&self, included: f64) -> f64 {
        let over = self.totals.iter().map(|total| (total - included).max(0.0));
        over.sum::<f64>() / self.totals.len().max(1) as f64
    }
}

/// What the forecast was made from, to be explained.
#[derive(Clone, Debug, PartialEq)]
pub struct Basis {
    /// How many days there were.
    pub days: usize,
    pub first: DayNumber,
    /// The last of them that was over.
    pub last: DayNumber,
    /// Whether the first day of the paths is partly over, so that they only have what the rest of it adds.
    pub under_way: bool,
    /// How many isolated spikes were set aside.
    pub spikes: usize,
    /// The days on which the level fell and stayed down.
    pub resets: Vec<DayNumber>,
    /// Whether weekdays differ by more than chance.
    pub weekdays: bool,
    /// What a day adds.
    pub drift: f64,
    /// What it added in the last two weeks.
    pub recent_drift: f64,
    /// The share of paths that go on with the latter.
    pub recent_share: f64,
    /// Whether what a day adds is a share of the amount, as with counters, and not an amount.
    pub drift_is_share: bool,
    /// Which part of an error the level follows: 0 around a fixed threshold, 1 in a random walk.
    pub alpha: f64,
    /// By how much past misses widened or narrowed the band, and how many they were.
    pub calibration: Calibration,
}

/// Where a series is trend.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// How the series is read.
    pub kind: MetricKind,
    /// How much it rests on.
    pub confidence: Confidence,
    /// How many days ahead dates are named.
    pub horizon: usize,
    pub latest: f64,
    /// A crossing for each threshold of the request, in its order.
    pub crossings: Vec<Crossing>,
    /// For counters: the period under way, and those that follow within the simulated days.
    pub periods: Vec<PeriodTotal>,
    /// What everything above was read off.
    pub paths: Paths,
    /// What it was made from.
    pub basis: Basis,
}

impl Forecast {
    /// What is likely on each simulated day, as far as dates are named: levels, or amounts of a day.
    pub fn daily_bands(&self) -> Vec<(DayNumber, Band)> {
        let days = self.days_ahead(self.horizon);
        // Of a day that is partly over, the paths only have the rest.
        let whole = days.skip(usize::from(self.basis.under_way));
        let band = |day| Some((day, Band::of(&mut self.paths.on(day))?));
        whole.filter_map(band).collect()
    }

    /// What the period under way is likely to have come to on each of its days that remain.
    pub fn period_bands(&self) -> Vec<(DayNumber, Band)> {
        let Some(period) = self.periods.first() else {
            return Vec::new();
        };
        let mut sums = vec![period.used; self.paths.iter().len()];
        let days = self
            .days_ahead(self.paths.days)
            .take_while(|day| *day < period.to);
        let band = |day| {
            let amounts = self.paths.on(day);
            sums.iter_mut()
                .zip(amounts)
                .for_each(|(sum, amount)| *sum += amount);
            Some((day, Band::of(&mut sums.clone())?))
        };
        days.filter_map(band).collect()
    }

    fn days_ahead(&self, count: usize) -> impl Iterator<Item = DayNumber> + use<> {
        let first = self.paths.first;
        (0..).map(move |day| first + day).take(count)
    }
}

/// Answers `request` about `series`.
pub fn forecast(
    series: &DailySeries,
    request: &ForecastRequest,
) -> Result<Forecast, InsufficientData> {
    let mut whole = series.usable(request.today);
    let newest = whole.last().copied();
    // The amount of a day that is not over would look like a bad day.
    let under_way = match series.kind {
        MetricKind::Period => whole.pop_if(|(day, _)| *day == request.today),
        MetricKind::Gauge | MetricKind::Rate => None,
    };
    let (Some((first, _)), Some((last, _)), Some((_, latest)), FEWEST_DAYS..) =
        (whole.first(), whole.last(), newest, whole.len())
    else {
        return Err(InsufficientData {
            days: whole.len(),
            needed: FEWEST_DAYS,
        });
    };
    let prepared = prepare(series.kind, &whole);
    let fit = prepared.fit();
    let mut random = Random::named(&series.name);
    let calibration = calibrate(&prepared, &mut random);
    let ahead = request.days.max(1) + usize::try_from(request.today - last).unwrap_or(0);
    let mut paths = prepared.simulate(&fit, ahead, PATHS, &mut random);
    prepared.scale(&mut paths, calibration.factor);
    if under_way.is_some() {
        paths.shorten(request.today, 1.0 - request.elapsed.clamp(0.0, 1.0));
    }
    let span = usize::try_from(last - first + 1).unwrap_or(0);
    let mut forecast = Forecast {
        kind: series.kind,
        confidence: if whole.len() < CONFIDENT_DAYS {
            Confidence::Low
        } else {
            Confidence::Normal
        },
        horizon: HORIZON_DAYS.min(span * 3 / 2).min(request.days.max(1)),
        latest,
        crossings: Vec::new(),
        periods: Vec::new(),
        paths,
        basis: Basis {
            days: whole.len(),
            first: *first,
            last: *last,
            under_way: under_way.is_some(),
            spikes: prepared.spikes,
            weekdays: fit.weekday.is_some(),
            drift: fit.drift,
            recent_drift: fit.recent_drift,
            recent_share: fit.recent_share,
            drift_is_share: prepared.is_logarithmic(),
            alpha: fit.alpha,
            calibration,
            resets: prepared.resets,
        },
    };
    let known: Vec<(DayNumber, f64)> = whole.into_iter().chain(under_way).collect();
    match series.kind {
        MetricKind::Gauge => forecast.crossings = levels_reach(&forecast, request),
        MetricKind::Period => {
            let used = used_so_far(&known, request);
            forecast.crossings = sums_reach(&forecast, request, used);
            forecast.periods = totals(&forecast.paths, request, used);
        }
        MetricKind::Rate => {}
    }
    Ok(forecast)
}

/// What was used of the period under way.
fn used_so_far(known: &[(DayNumber, f64)], request: &ForecastRequest) -> f64 {
    let start = request.periods.first().copied().unwrap_or(request.today);
    let in_period = known.iter().filter(|(day, _)| *day >= start);
    request
        .used
        .unwrap_or_else(|| in_period.map(|(_, amount)| amount).sum())
}

/// When the level reaches each threshold.
fn levels_reach(forecast: &Forecast, request: &ForecastRequest) -> Vec<Crossing> {
    let crossing = |threshold: &f64| {
        let reached = |path: &[f64]| path.iter().position(|level| level >= threshold);
        crossing(forecast, request, *threshold, forecast.latest, reached)
    };
    request.thresholds.iter().map(crossing).collect()
}

/// When what a billing period adds up to reaches each threshold, in the period under way or one to come.
fn sums_reach(forecast: &Forecast, request: &ForecastRequest, used: f64) -> Vec<Crossing> {
    let paths = &forecast.paths;
    let mut begins = vec![false; paths.days];
    for start in request.periods.iter().skip(1) {
        if let Some(begins) = paths.index(*start).and_then(|at| begins.get_mut(at)) {
            *begins = true;
        }
    }
    let crossing = |threshold: &f64| {
        let reached = |path: &[f64]| {
            let mut sum = used;
            path.iter().zip(&begins).position(|(amount, begins)| {
                sum = if *begins { *amount } else { sum + amount };
                sum >= *threshold
            })
        };
        crossing(forecast, request, *threshold, used, reached)
    };
    request.thresholds.iter().map(crossing).collect()
}

/// When `threshold` is reached; `first_at` says at which of its days a path first does.
fn crossing(
    forecast: &Forecast,
    request: &ForecastRequest,
    threshold: f64,
    now: f64,
    first_at: impl Fn(&[f64]) -> Option<usize>,
) -> Crossing {
    let reached = now >= threshold;
    let count = forecast.paths.iter().len();
    // Days of the paths before today, of which there is no data, have passed.
    let passed = usize::try_from(request.today - forecast.paths.first).unwrap_or(0);
    let early = usize::try_from(forecast.paths.first - request.today).unwrap_or(0);
    let days_to = |path: &[f64]| match reached {
        true => Some(0),
        false => Some((first_at(path)? + early).saturating_sub(passed)),
    };
    let mut days: Vec<u32> = forecast
        .paths
        .iter()
        .filter_map(days_to)
        .filter(|days| *days <= forecast.horizon)
        .filter_map(|days| u32::try_from(days).ok())
        .collect();
    days.sort_unstable();
    let by = |share: f64| {
        days.get((share * count as f64).ceil() as usize - 1)
            .copied()
    };
    let chance = |within: usize| Probability {
        within,
        value: (within <= forecast.horizon).then(|| {
            let reached = days.partition_point(|days| *days as usize <= within);
            reached as f64 / count.max(1) as f64
        }),
    };
    Crossing {
        threshold,
        reached,
        days: [0.1, 0.5, 0.9].map(by),
        probabilities: [7, 30, 90].map(chance),
    }
}

/// The totals of the period under way and of those that end within the paths.
fn totals(paths: &Paths, request: &ForecastRequest, used: f64) -> Vec<PeriodTotal> {
    let end = paths.first + DayNumber::try_from(paths.days).unwrap_or(0);
    let mut used = used;
    let periods = request
        .periods
        .windows(2)
        .map(|period| (period[0], period[1]));
    let mut totals = Vec::new();
    for (from, to) in periods.take_while(|(_, to)| *to <= end) {
        let sums: Vec<f64> = paths.sums(from, to).iter().map(|sum| used + sum).collect();
        if let Some(total) = Band::of(&mut sums.clone()) {
            totals.push(PeriodTotal {
                from,
                to,
                used,
                total,
                totals: sums,
            });
        }
        used = 0.0;
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::super::series::DailyValue;
    use super::*;

    fn series(kind: MetricKind, days: i32, value: impl Fn(i32) -> f64) -> DailySeries {
        DailySeries {
            name: "VERCEL_KV STORAGE_MB".to_owned(),
            kind,
            days: (0..days)
                .map(|day| DailyValue {
                    day,
                    value: value(day),
                })
                .collect(),
        }
    }

    fn asked(today: DayNumber, thresholds: &[f64]) -> ForecastRequest {
        ForecastRequest {
            today,
            elapsed: 0.0,
            days: 90,
            thresholds: thresholds.to_vec(),
            periods: (0..8)
                .map(|month| month * 30)
                .filter(|start| start + 30 > today)
                .collect(),
            used: None,
        }
    }

    /// Grows by 2 a day, from 100.
    fn growing(day: i32) -> f64 {
        100.0 + 2.0 * f64::from(day) + f64::from(day * 7 % 5) - 2.0
    }

    #[test]
    fn a_level_reaches_its_lines_when_it_grows_into_them() {
        let forecast = forecast(
            &series(MetricKind::Gauge, 60, growing),
            &asked(59, &[150.0, 250.0, 5_000.0]),
        )
        .unwrap();
        let [over, soon, never] = &forecast.crossings[..] else {
            panic!("{forecast:?}")
        };
        assert_eq!(over.days, [Some(0); 3]);
        // 250 is 16 days of growth away.
        let days = soon.days.map(Option::unwrap);
        assert!(days.is_sorted() && (12..19).contains(&days[1]), "{days:?}");
        assert_eq!(
            soon.probabilities
                .map(|chance| chance.value.unwrap() > 0.95),
            [false, true, true]
        );
        assert_eq!(never.days, [None; 3]);
        assert_eq!(
            never.probabilities.map(|chance| chance.value),
            [Some(0.0); 3]
        );
    }

    #[test]
    fn too_few_days_are_no_forecast_and_a_few_more_a_doubtful_one_that_looks_less_far() {
        let ask = |days: i32| {
            forecast(
                &series(MetricKind::Gauge, days, growing),
                &asked(days - 1, &[1e6]),
            )
        };
        assert_eq!(ask(6).unwrap_err(), InsufficientData { days: 6, needed: 7 });
        let short = ask(10).unwrap();
        assert_eq!((short.confidence, short.horizon), (Confidence::Low, 15));
        assert_eq!(
            short.crossings[0]
                .probabilities
                .map(|chance| chance.value.is_some()),
            [true, false, false]
        );
        let long = ask(80).unwrap();
        assert_eq!((long.confidence, long.horizon), (Confidence::Normal, 90));
    }

    #[test]
    fn a_period_comes_to_what_was_used_and_what_the_remaining_days_add() {
        let amount = |day: i32| 100.0 + f64::from(day * 7 % 5) - 2.0;
        // Ten days of the second period are over.
        let forecast = forecast(
            &series(MetricKind::Period, 40, amount),
            &asked(40, &[1_500.0, 9_000.0]),
        )
        .unwrap();
        let now = &forecast.periods[0];
        assert_eq!((now.from, now.to), (30, 60));
        assert!((now.used - 1_000.0).abs() < 3.0, "{}", now.used);
        assert!((now.total.p50 - 3_000.0).abs() < 60.0, "{:?}", now.total);
        assert_eq!(now.chance_over(4_500.0), 0.0);
        assert!((now.expected_overage(2_000.0) - 1_000.0).abs() < 80.0);
        let next = &forecast.periods[1];
        assert!(
            next.used == 0.0 && next.total.p90 - next.total.p10 > now.total.p90 - now.total.p10
        );
        // 500 more are five days' worth; the other threshold is reached in no period.
        assert!(
            (4..=6).contains(&forecast.crossings[0].days[1].unwrap()),
            "{:?}",
            forecast.crossings
        );
        assert_eq!(forecast.crossings[1].days, [None; 3]);
    }

    #[test]
    fn of_the_day_under_way_only_the_rest_is_to_come() {
        let mut used = series(MetricKind::Period, 41, |_| 100.0);
        used.days[40].value = 75.0;
        let request = ForecastRequest {
            elapsed: 0.75,
            ..asked(40, &[])
        };
        let forecast = forecast(&used, &request).unwrap();
        assert_eq!(forecast.basis.last, 39);
        assert!((forecast.periods[0].total.p50 - 3_000.0).abs() < 10.0);
        let known_better = ForecastRequest {
            used: Some(2_000.0),
            ..request
        };
        let forecast = super::forecast(&used, &known_better).unwrap();
        assert_eq!(forecast.periods[0].used, 2_000.0);
    }

    #[test]
    fn a_limit_of_each_day_is_a_period_of_a_day() {
        let amount = |day: i32| 100.0 + f64::from(day) + f64::from(day * 7 % 5);
        let daily = ForecastRequest {
            periods: (60..200).collect(),
            ..asked(60, &[175.0])
        };
        let forecast = forecast(&series(MetricKind::Period, 60, amount), &daily).unwrap();
        assert!(
            (8..25).contains(&forecast.crossings[0].days[1].unwrap()),
            "{:?}",
            forecast.crossings
        );
        assert!(forecast.periods.len() >= 60);
    }

    #[test]
    fn the_same_question_has_the_same_answer_and_the_order_of_days_is_no_matter() {
        let one = series(MetricKind::Gauge, 60, growing);
        let mut other = one.clone();
        other.days.reverse();
        let request = asked(59, &[250.0]);
        assert_eq!(forecast(&one, &request), forecast(&other, &request));
        other.name.push('x');
        assert_ne!(
            forecast(&one, &request).unwrap().paths,
            forecast(&other, &request).unwrap().paths
        );
    }

    #[test]
    fn nothing_that_is_no_number_gets_in_and_none_comes_out() {
        for value in [0.0, -1.0, 1e-300, 1e300, 7.0] {
            for kind in [MetricKind::Gauge, MetricKind::Period] {
                let mut odd = series(kind, 40, |day| if day % 3 == 0 { value } else { 7.0 });
                odd.days[20].value = f64::NAN;
                odd.days[21].value = f64::INFINITY;
                let forecast = forecast(&odd, &asked(40, &[7.5])).unwrap();
                assert_eq!(forecast.basis.days, 38);
                assert!(
                    forecast
                        .paths
                        .iter()
                        .flatten()
                        .all(|value| value.is_finite()),
                    "{value} {kind:?}"
                );
            }
        }
    }

    /// What everything rests on: if this changes, so does every forecast, on this machine or another.
    #[test]
    fn a_forecast_is_the_same_to_the_last_bit_everywhere() {
        let mut bits = 0_u64;
        for kind in [MetricKind::Gauge, MetricKind::Period] {
            let forecast = forecast(&series(kind, 60, growing), &asked(59, &[])).unwrap();
            for value in forecast.paths.iter().flatten() {
                bits = bits.rotate_left(5) ^ value.to_bits();
            }
        }
        assert_eq!(bits, BITS, "{bits:#x}");
    }

    const BITS: u64 = 0xe8ee_04d5_91fe_092e;
}
