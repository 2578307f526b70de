//! The result of a forecast: dates, probabilities and totals, computed from the simulated paths.

use std::ops::RangeInclusive;

use chrono::NaiveDate;
use serde::Serialize;

use super::calibrate::{Calibration, calibrate};
use super::paths::{Paths, prepare};
use super::random::Random;
use super::robust::quantile_of;
use super::series::{DailySeries, DayNumber, ForecastRequest, MetricKind, Pace, day_date};

/// The longest horizon.
pub const HORIZON_DAYS: usize = 90;
/// Days of history that a forecast requires, and below which its confidence is low.
const FEWEST_DAYS: usize = 7;
const CONFIDENT_DAYS: usize = 28;
/// The horizon of a pace between two readings, in days: an hour between them allows a day, up to a week. So little says
/// nothing about a time that is longer by more.
const PACE_HORIZON: RangeInclusive<f64> = 1.0..=7.0;
const PACE_REACH: f64 = 24.0;
/// Number of simulated paths.
const PATHS: usize = 500;

/// Too few days of history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InsufficientData {
    pub days: usize,
    pub needed: usize,
}

/// The amount of history behind a forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Less than four weeks.
    Low,
    /// Four weeks or more.
    Normal,
}

/// The median and the 80 % interval of a value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Band {
    pub p10: f64,
    pub p50: f64,
    pub p90: f64,
}

impl Band {
    /// The band of these values; `None` without any.
    pub fn of(values: &mut [f64]) -> Option<Band> {
        (!values.is_empty()).then(|| {
            let [p10, p50, p90] = [0.1, 0.5, 0.9].map(|share| quantile_of(values, share));
            Band { p10, p50, p90 }
        })
    }
}

/// When a threshold is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Crossing {
    pub threshold: f64,
    /// Whether it is reached today.
    pub reached: bool,
    /// Days from today until 10 %, 50 % and 90 % of the paths have reached it; `None` beyond the horizon, 0 for
    /// today or earlier.
    pub days: [Option<u32>; 3],
    /// The shares of paths that reach it within 7, 30 and 90 days; `None` beyond the horizon.
    pub probabilities: [Option<f64>; 3],
    /// Days of the furthest horizon up to 30 days, and the share of paths that reach it within.
    pub soon: (usize, f64),
}

/// The forecast total of a billing period.
#[derive(Clone, Debug, PartialEq)]
pub struct PeriodTotal {
    pub from: DayNumber,
    /// Exclusive.
    pub to: DayNumber,
    /// Usage so far.
    pub used: f64,
    /// The total at the end.
    pub total: Band,
    /// The total on each path, in the order of [`Paths::iter`].
    pub totals: Vec<f64>,
}

impl PeriodTotal {
    /// The probability that the total reaches `included`: exactly at the limit is at the limit.
    pub fn chance_over(&self, included: f64) -> f64 {
        const ROUNDING: f64 = 1e-9;
        let least = included * (1.0 - ROUNDING);
        let over = self.totals.iter().filter(|total| **total >= least);
        over.count() as f64 / self.totals.len().max(1) as f64
    }

    /// The mean overage of all paths.
    pub fn expected_overage(&self, included: f64) -> f64 {
        let over = self.totals.iter().map(|total| (total - included).max(0.0));
        over.sum::<f64>() / self.totals.len().max(1) as f64
    }
}

/// The inputs and the fitted model of a forecast, to explain it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Basis {
    /// Number of days with values.
    #[serde(skip)]
    pub days: usize,
    pub first: NaiveDate,
    /// The last complete day.
    pub last: NaiveDate,
    /// Whether the first day of the paths has begun, so that they only contain the rest of it.
    #[serde(skip)]
    pub under_way: bool,
    /// Whether the level may drop again before it is higher than ever.
    #[serde(skip)]
    pub may_drop: bool,
    /// Number of isolated spikes that were ignored.
    pub spikes: usize,
    /// Days on which the level dropped, or rose in one step, and stayed.
    pub resets: Vec<NaiveDate>,
    /// Whether there is a weekly pattern.
    pub weekdays: bool,
    /// The increase per day.
    pub drift: f64,
    /// The increase per day in the last two weeks.
    pub recent_drift: f64,
    /// The share of paths that continue with the recent drift.
    pub recent_share: f64,
    /// Whether the drifts are relative, as for counters, and not absolute.
    pub drift_is_share: bool,
    /// The smoothing parameter: 0 is a fixed line, 1 a random walk.
    pub alpha: f64,
    #[serde(flatten)]
    pub calibration: Calibration,
}

/// The forecast of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    pub kind: MetricKind,
    pub confidence: Confidence,
    /// Number of days ahead for which dates are given.
    pub horizon: usize,
    pub latest: f64,
    /// For counters: the usage of the current period so far, with an estimate of its missing days.
    pub used: Option<Band>,
    /// In the order of the requested thresholds.
    pub crossings: Vec<Crossing>,
    /// For counters: the current period, and those that end within the simulated days.
    pub periods: Vec<PeriodTotal>,
    pub paths: Paths,
    pub basis: Basis,
}

impl Forecast {
    /// Whether it only continues the pace between few readings.
    pub fn is_pace(&self) -> bool {
        self.basis.days < FEWEST_DAYS
    }

    /// The band of each day within the horizon: of levels, or of daily amounts.
    pub fn daily_bands(&self) -> Vec<(DayNumber, Band)> {
        let days = self.days_ahead(self.horizon);
        // The paths only contain the rest of a day that has begun.
        let whole = days.skip(usize::from(self.basis.under_way));
        let band = |day| Some((day, Band::of(&mut self.paths.on(day))?));
        whole.filter_map(band).collect()
    }

    /// The band of the current period's running total on each remaining day.
    pub fn period_bands(&self) -> Vec<(DayNumber, Band)> {
        let Some(period) = self.periods.first() else {
            return Vec::new();
        };
        // The totals less the days ahead.
        let ahead = self.paths.sums(period.from, period.to);
        let sums = period.totals.iter().zip(ahead);
        let mut sums: Vec<f64> = sums.map(|(total, ahead)| total - ahead).collect();
        let days = self.days_ahead(self.paths.days);
        let days = days.take_while(|day| *day < period.to);
        let band = |day| {
            for (sum, amount) in sums.iter_mut().zip(self.paths.on(day)) {
                *sum += amount;
            }
            Some((day, Band::of(&mut sums.clone())?))
        };
        days.filter_map(band).collect()
    }

    fn days_ahead(&self, count: usize) -> impl Iterator<Item = DayNumber> + use<> {
        let first = self.paths.first;
        (0..).map(move |day| first + day).take(count)
    }
}

/// Forecasts `series`.
pub fn forecast(
    series: &DailySeries,
    request: &ForecastRequest,
) -> Result<Forecast, InsufficientData> {
    let mut whole = series.usable(request.today);
    request.fixed.leave_out(&mut whole);
    let newest = whole.last().copied();
    let is_amount = series.kind == MetricKind::Period;
    let (read_day, read_part) = request.read_to.unwrap_or((request.today, 0.0));
    let is_partial = read_day == request.today || read_part < 1.0;
    // The amount of an incomplete day is too low.
    let under_way = whole.pop_if(|(day, _)| is_amount && is_partial && *day == read_day);
    let (Some((first, _)), Some((last, _)), Some((_, latest)), FEWEST_DAYS..) =
        (whole.first(), whole.last(), newest, whole.len())
    else {
        let known: Vec<(DayNumber, f64)> = whole.iter().copied().chain(under_way).collect();
        let at_pace = |pace| at_pace(series.kind, &known, pace, request);
        return request.pace.map(at_pace).ok_or(InsufficientData {
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
    prepared.shrink(&mut paths, calibration.rule_weight);
    prepared.scale(&mut paths, calibration.factor);
    prepared.doubt(&mut paths);
    if is_amount && (request.read_to.is_some() || under_way.is_some()) {
        paths.begin_after(read_day, read_part);
    }
    request.fixed.add_to(&mut paths, read_day.max(*last));
    let span = usize::try_from(last - first + 1).unwrap_or(0);
    let paths_begin = paths.first;
    let mut forecast = Forecast {
        kind: series.kind,
        confidence: if whole.len() < CONFIDENT_DAYS {
            Confidence::Low
        } else {
            Confidence::Normal
        },
        horizon: HORIZON_DAYS.min(span * 3 / 2).min(request.days.max(1)),
        latest,
        used: None,
        crossings: Vec::new(),
        periods: Vec::new(),
        paths,
        basis: Basis {
            days: whole.len(),
            first: day_date(*first),
            last: day_date(*last),
            under_way: is_amount && paths_begin == read_day,
            may_drop: prepared
                .recurrence
                .as_ref()
                .is_some_and(|it| it.contains(latest)),
            spikes: prepared.spikes,
            weekdays: fit.weekday.is_some(),
            drift: fit.drift,
            recent_drift: fit.recent_drift,
            recent_share: fit.recent_share,
            drift_is_share: prepared.is_logarithmic(),
            alpha: fit.alpha,
            calibration,
            resets: prepared.resets.into_iter().map(day_date).collect(),
        },
    };
    let known: Vec<(DayNumber, f64)> = whole.into_iter().chain(under_way).collect();
    forecast.answer(&known, request);
    Ok(forecast)
}

/// The forecast that the pace so far continues.
fn at_pace(
    kind: MetricKind,
    known: &[(DayNumber, f64)],
    pace: Pace,
    request: &ForecastRequest,
) -> Forecast {
    let days = request.days.max(1);
    let last = known.last().map_or(request.today, |(day, _)| *day);
    let read_to = request.read_to.filter(|_| kind == MetricKind::Period);
    let first = read_to.map_or(last + 1, |(day, _)| day);
    let ahead = days + usize::try_from(request.today - first).unwrap_or(0);
    let rest = request.fixed.of_pace(pace);
    let mut paths = Paths::at_pace(kind, rest, first, ahead, PATHS);
    if let Some((day, part)) = read_to {
        paths.begin_after(day, part);
    }
    let read = read_to.map_or(last, |(day, _)| day);
    request.fixed.add_to(&mut paths, read);
    let mut forecast = Forecast {
        kind,
        confidence: Confidence::Low,
        horizon: pace_horizon(pace.span).min(days),
        latest: pace.level,
        used: None,
        crossings: Vec::new(),
        periods: Vec::new(),
        basis: Basis {
            days: known.len(),
            first: day_date(known.first().map_or(request.today, |(day, _)| *day)),
            last: day_date(last),
            under_way: read_to.is_some_and(|(day, _)| paths.first == day),
            drift: pace.per_day,
            recent_drift: pace.per_day,
            ..Basis::default()
        },
        paths,
    };
    forecast.answer(known, request);
    forecast
}

fn pace_horizon(span: f64) -> usize {
    let nearest = (span * PACE_REACH).clamp(*PACE_HORIZON.start(), *PACE_HORIZON.end());
    nearest.max(span * 1.5) as usize
}

impl Forecast {
    /// Answers a request from the paths.
    fn answer(&mut self, known: &[(DayNumber, f64)], request: &ForecastRequest) {
        match self.kind {
            MetricKind::Gauge => {
                let now = request.used.unwrap_or(self.latest);
                self.crossings = crossings(self, request, now, |_, path, line| {
                    path.iter().position(|level| *level >= line)
                });
            }
            MetricKind::Period => {
                let measured = measured(known, request);
                let used = used_so_far(self, measured, request);
                self.used = Band::of(&mut used.clone());
                self.crossings = sums_reach(self, request, measured, &used);
                self.periods = totals(&self.paths, request, measured, used);
            }
            MetricKind::Rate => {}
        }
    }
}

/// The measured usage of the current period.
fn measured(known: &[(DayNumber, f64)], request: &ForecastRequest) -> f64 {
    let start = request.periods.first().copied().unwrap_or(request.today);
    let in_period = known.iter().filter(|(day, _)| *day >= start);
    let sum = || in_period.map(|(_, amount)| amount).sum();
    request.used.unwrap_or_else(sum)
}

/// The usage of the current period on each path: the measured amount, and for days without a
/// measurement the amount of as many days of the path.
fn used_so_far(forecast: &Forecast, measured: f64, request: &ForecastRequest) -> Vec<f64> {
    const WEEK: DayNumber = 7;
    // The rest of a day that has begun is no whole day.
    let from = forecast.paths.first + DayNumber::from(forecast.basis.under_way);
    let weeks = forecast.paths.sums(from, from + WEEK);
    let missing = request.missing / f64::from(WEEK);
    let used = |week| measured + missing * week;
    weeks.into_iter().map(used).collect()
}

/// When the running total of a billing period reaches each threshold, in this period or a later one.
fn sums_reach(
    forecast: &Forecast,
    request: &ForecastRequest,
    measured: f64,
    used: &[f64],
) -> Vec<Crossing> {
    let paths = &forecast.paths;
    let mut begins = vec![false; paths.days];
    for start in request.periods.iter().skip(1) {
        if let Some(begins) = paths.index(*start).and_then(|at| begins.get_mut(at)) {
            *begins = true;
        }
    }
    let reaches = |index: usize, path: &[f64], threshold: f64| {
        let mut sum = used[index];
        path.iter().zip(&begins).position(|(amount, begins)| {
            sum = if *begins { *amount } else { sum + amount };
            sum >= threshold
        })
    };
    crossings(forecast, request, measured, reaches)
}

/// When each threshold is reached; `first_at` is the index of the day at which a path first reaches it.
fn crossings(
    forecast: &Forecast,
    request: &ForecastRequest,
    now: f64,
    first_at: impl Fn(usize, &[f64], f64) -> Option<usize>,
) -> Vec<Crossing> {
    let count = forecast.paths.iter().len();
    // Days of the paths before today, for which there is no data.
    let passed = usize::try_from(request.today - forecast.paths.first).unwrap_or(0);
    let early = usize::try_from(forecast.paths.first - request.today).unwrap_or(0);
    let rank = |share: f64| (share * count as f64).ceil() as usize - 1;
    let soon = forecast.horizon.min(30);
    let crossing = |threshold: &f64| {
        let reached = now >= *threshold;
        let days_to = |(index, path): (usize, &[f64])| {
            if reached {
                return Some(0);
            }
            Some((first_at(index, path, *threshold)? + early).saturating_sub(passed))
        };
        let days = forecast.paths.iter().enumerate().filter_map(days_to);
        let days = days.filter(|days| *days <= forecast.horizon);
        let mut days: Vec<u32> = days.filter_map(|days| u32::try_from(days).ok()).collect();
        days.sort_unstable();
        let share = |within: usize| {
            let reached = days.partition_point(|days| *days as usize <= within);
            reached as f64 / count.max(1) as f64
        };
        let chance = |within: usize| (within <= forecast.horizon).then(|| share(within));
        Crossing {
            threshold: *threshold,
            reached,
            days: [0.1, 0.5, 0.9].map(|share| days.get(rank(share)).copied()),
            probabilities: [7, 30, 90].map(chance),
            soon: (soon, share(soon)),
        }
    };
    request.thresholds.iter().map(crossing).collect()
}

/// The totals of the current period and of those that end within the paths.
fn totals(
    paths: &Paths,
    request: &ForecastRequest,
    mut measured: f64,
    mut used: Vec<f64>,
) -> Vec<PeriodTotal> {
    let end = paths.first + DayNumber::try_from(paths.days).unwrap_or(0);
    let periods = request.periods.windows(2).map(|it| (it[0], it[1]));
    let mut totals = Vec::new();
    for (from, to) in periods.take_while(|(_, to)| *to <= end) {
        let sums = paths.sums(from, to).into_iter().zip(&used);
        let sums: Vec<f64> = sums.map(|(sum, used)| used + sum).collect();
        if let Some(total) = Band::of(&mut sums.clone()) {
            totals.push(PeriodTotal {
                from,
                to,
                used: measured,
                total,
                totals: sums,
            });
        }
        measured = 0.0;
        used.fill(0.0);
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(kind: MetricKind, days: i32, value: impl Fn(i32) -> f64) -> DailySeries {
        let days = (0..days).map(|day| (day, value(day)));
        DailySeries::new("VERCEL_KV STORAGE_MB", kind, days)
    }

    fn request(today: DayNumber, thresholds: &[f64]) -> ForecastRequest {
        let months = (0..8).map(|month| month * 30);
        ForecastRequest {
            today,
            days: 90,
            thresholds: thresholds.to_vec(),
            periods: months.filter(|start| start + 30 > today).collect(),
            ..ForecastRequest::default()
        }
    }

    /// About 100.
    fn amount(day: i32) -> f64 {
        100.0 + f64::from(day * 7 % 5) - 2.0
    }

    /// Grows by 2 a day, from 100.
    fn growing(day: i32) -> f64 {
        100.0 + 2.0 * f64::from(day) + f64::from(day * 7 % 5) - 2.0
    }

    #[test]
    fn growing_level_reaches_its_thresholds() {
        let request = request(59, &[150.0, 250.0, 5_000.0]);
        let forecast = forecast(&series(MetricKind::Gauge, 60, growing), &request).unwrap();
        let [over, soon, never] = &forecast.crossings[..] else {
            panic!("{forecast:?}")
        };
        assert_eq!(over.days, [Some(0); 3]);
        // 250 is 16 days of growth away.
        let days = soon.days.map(Option::unwrap);
        assert!(days.is_sorted() && (12..19).contains(&days[1]), "{days:?}");
        let likely = soon.probabilities.map(|chance| chance.unwrap() > 0.95);
        assert_eq!(likely, [false, true, true]);
        assert_eq!(never.days, [None; 3]);
        assert_eq!(never.probabilities, [Some(0.0); 3]);
    }

    #[test]
    fn short_history_has_no_forecast_or_low_confidence_and_horizon() {
        let ask = |days: i32| {
            let request = request(days - 1, &[1e6]);
            forecast(&series(MetricKind::Gauge, days, growing), &request)
        };
        assert_eq!(ask(6).unwrap_err(), InsufficientData { days: 6, needed: 7 });
        let short = ask(10).unwrap();
        assert_eq!((short.confidence, short.horizon), (Confidence::Low, 15));
        assert_eq!(short.crossings[0].soon, (15, 0.0));
        assert_eq!(ask(27).unwrap().confidence, Confidence::Low);
        let known = short.crossings[0].probabilities.map(|it| it.is_some());
        assert_eq!(known, [true, false, false]);
        let long = ask(80).unwrap();
        assert_eq!((long.confidence, long.horizon), (Confidence::Normal, 90));
    }

    #[test]
    fn pace_of_two_readings_has_a_forecast_of_low_confidence() {
        let request = ForecastRequest {
            pace: Some(Pace {
                per_day: 10.0,
                level: 220.0,
                span: 1.0,
            }),
            ..request(1, &[192.0, 256.0])
        };
        let two = series(MetricKind::Gauge, 2, |day| 210.0 + 10.0 * f64::from(day));
        let forecast = forecast(&two, &request).unwrap();
        let found = (forecast.confidence, forecast.horizon);
        assert_eq!(found, (Confidence::Low, 7));
        // An hour allows a day, a quarter of a day six.
        let horizons = [1.0 / 24.0, 0.25, 1.0, 6.0].map(pace_horizon);
        assert_eq!(horizons, [1, 6, 7, 9]);
        let limit = &forecast.crossings[1];
        assert_eq!(limit.days[1], Some(4));
        assert!(limit.soon.1 > 0.5, "{limit:?}");
    }

    #[test]
    fn old_burst_does_not_lower_the_total() {
        for (day, burst) in [(3, 60.0), (14, 30.0), (40, 15.0), (40, 60.0), (50, 60.0)] {
            let value = |at| if at == day { burst } else { 3.0 };
            let series = series(MetricKind::Period, 85, value);
            let forecast = forecast(&series, &request(85, &[])).unwrap();
            let total = forecast.periods[1].total;
            assert!(
                (88.0..94.0).contains(&total.p50),
                "{day} {burst}: {total:?}"
            );
        }
    }

    #[test]
    fn credit_leaves_the_pace() {
        for credit in [-200.0, -50.0, -1.0] {
            let value = |day| if day == 14 { credit } else { 3.0 };
            let series = series(MetricKind::Period, 85, value);
            let forecast = forecast(&series, &request(85, &[])).unwrap();
            let total = forecast.periods[0].total;
            assert!((total.p50 - 90.0).abs() < 1.0, "{total:?}");
            assert!(total.p90 - total.p10 < 3.0, "{total:?}");
        }
    }

    #[test]
    fn missing_days_raise_and_widen_the_total() {
        let total = |missing| {
            let request = ForecastRequest {
                missing,
                ..request(40, &[])
            };
            let series = series(MetricKind::Period, 40, amount);
            forecast(&series, &request).unwrap().periods[0].total
        };
        let (whole, gaps) = (total(0.0), total(5.0));
        assert!((gaps.p50 - whole.p50 - 500.0).abs() < 20.0, "{gaps:?}");
        assert!(gaps.p90 - gaps.p10 > whole.p90 - whole.p10);
    }

    #[test]
    fn period_total_is_usage_plus_remaining_days() {
        // Ten days of the second period are over.
        let request = request(40, &[1_500.0, 9_000.0]);
        let forecast = forecast(&series(MetricKind::Period, 40, amount), &request).unwrap();
        let now = &forecast.periods[0];
        assert_eq!((now.from, now.to), (30, 60));
        assert!((now.used - 1_000.0).abs() < 3.0, "{}", now.used);
        assert!((now.total.p50 - 3_000.0).abs() < 60.0, "{:?}", now.total);
        assert_eq!(now.chance_over(4_500.0), 0.0);
        assert!((now.expected_overage(2_000.0) - 1_000.0).abs() < 80.0);
        let next = &forecast.periods[1];
        let width = |period: &PeriodTotal| period.total.p90 - period.total.p10;
        assert!(next.used == 0.0 && width(next) > width(now));
        // 500 more are five days' worth; the other threshold is reached in no period.
        let [soon, never] = [0, 1].map(|index| &forecast.crossings[index]);
        assert!((4..=6).contains(&soon.days[1].unwrap()), "{soon:?}");
        assert_eq!(never.days, [None; 3]);
    }

    #[test]
    fn current_day_contributes_only_its_rest() {
        let mut used = series(MetricKind::Period, 41, |_| 100.0);
        used.days[40].1 = 75.0;
        let request = ForecastRequest {
            read_to: Some((40, 0.75)),
            ..request(40, &[])
        };
        let forecast = forecast(&used, &request).unwrap();
        assert_eq!(forecast.basis.last, day_date(39));
        assert!((forecast.periods[0].total.p50 - 3_000.0).abs() < 10.0);
        let known_better = ForecastRequest {
            used: Some(2_000.0),
            ..request
        };
        let forecast = super::forecast(&used, &known_better).unwrap();
        assert_eq!(forecast.periods[0].used, 2_000.0);
    }

    #[test]
    fn daily_limit_has_periods_of_one_day() {
        let amount = |day: i32| 100.0 + f64::from(day) + f64::from(day * 7 % 5);
        let daily = ForecastRequest {
            periods: (60..200).collect(),
            ..request(60, &[175.0])
        };
        let forecast = forecast(&series(MetricKind::Period, 60, amount), &daily).unwrap();
        let crossing = &forecast.crossings[0];
        assert!((8..25).contains(&crossing.days[1].unwrap()), "{crossing:?}");
        assert!(forecast.periods.len() >= 60);
    }

    #[test]
    fn forecast_is_deterministic_and_ignores_the_order_of_days() {
        let one = series(MetricKind::Gauge, 60, growing);
        let mut other = one.clone();
        other.days.reverse();
        let request = request(59, &[250.0]);
        assert_eq!(forecast(&one, &request), forecast(&other, &request));
        other.name.push('x');
        let paths = |series: &DailySeries| forecast(series, &request).unwrap().paths;
        assert_ne!(paths(&one), paths(&other));
    }

    #[test]
    fn values_that_are_not_finite_are_ignored() {
        for value in [0.0, -1.0, 1e-300, 1e300, 7.0] {
            for kind in [MetricKind::Gauge, MetricKind::Period] {
                let mut odd = series(kind, 40, |day| if day % 3 == 0 { value } else { 7.0 });
                odd.days[20].1 = f64::NAN;
                odd.days[21].1 = f64::INFINITY;
                let forecast = forecast(&odd, &request(40, &[7.5])).unwrap();
                assert_eq!(forecast.basis.days, 38);
                let mut values = forecast.paths.iter().flatten();
                assert!(values.all(|value| value.is_finite()), "{value} {kind:?}");
            }
        }
    }

    /// A different result means that every forecast has changed, or differs between machines.
    #[test]
    fn forecast_bits_are_the_same_on_every_machine() {
        let mut bits = 0_u64;
        for kind in [MetricKind::Gauge, MetricKind::Period] {
            let forecast = forecast(&series(kind, 60, growing), &request(59, &[])).unwrap();
            for value in forecast.paths.iter().flatten() {
                bits = bits.rotate_left(5) ^ value.to_bits();
            }
        }
        assert_eq!(bits, BITS, "{bits:#x}");
    }

    const BITS: u64 = 0x3755_4643_0e00_1c08;
}
