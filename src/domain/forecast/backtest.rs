//! Backtests: forecasts from days in the past, compared with the actual values.
//!
//! The forecast at an origin uses only the days up to it, also for its calibration. It is compared with plain rules.

use serde::Serialize;

use super::answer::forecast;
use super::robust::{median_of, quantile_of};
use super::rules::{Begun, Rules};
use super::series::{DailySeries, DayNumber, ForecastRequest, MetricKind};

/// The forecasts to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Number of origins, evenly spaced.
    pub origins: usize,
    /// Gauges: days ahead. Counters: days per period, of which the first third is known.
    pub horizons: Vec<u32>,
    /// The first allowed origin.
    pub from: Option<DayNumber>,
    pub to: Option<DayNumber>,
}

/// One forecast and the actual value.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The last known day.
    pub origin: DayNumber,
    /// As in [`Plan::horizons`].
    pub horizon: u32,
    /// The level at the horizon, or the period's total.
    pub actual: f64,
    pub median: f64,
    /// Those of 50, 80 and 95 %.
    pub bands: [Interval; 3],
    pub rules: Rules,
}

/// The forecasts of one series for one horizon.
#[derive(Clone, Debug, PartialEq)]
pub struct Trials {
    /// As in [`Plan::horizons`].
    pub horizon: u32,
    /// In the order of origins.
    pub trials: Vec<Trial>,
    /// Number of origins with insufficient data.
    pub refused: usize,
}

/// The forecasts of the plan, for each horizon.
pub fn backtest(series: &DailySeries, plan: &Plan) -> Vec<Trials> {
    let days = series.usable(DayNumber::MAX);
    let test = |horizon: &u32| HorizonTest {
        kind: series.kind,
        name: &series.name,
        days: &days,
        horizon: *horizon,
    };
    let tests = plan.horizons.iter().map(test);
    tests.map(|test| test.run(plan)).collect()
}

/// A series and a horizon.
struct HorizonTest<'a> {
    kind: MetricKind,
    name: &'a str,
    days: &'a [(DayNumber, f64)],
    horizon: u32,
}

/// The data of one forecast.
struct Origin {
    /// The index of the last known day.
    index: usize,
    day: DayNumber,
    /// The known part of the period.
    begun: Begun,
    /// Number of days to forecast.
    ahead: i32,
    actual: f64,
}

impl HorizonTest<'_> {
    fn run(&self, plan: &Plan) -> Trials {
        let wanted = |origin: &Origin| {
            plan.from.is_none_or(|from| from <= origin.day)
                && plan.to.is_none_or(|to| origin.day <= to)
        };
        let possible = (0..self.days.len()).filter_map(|index| self.origin(index));
        let chosen: Vec<Origin> = possible.filter(wanted).collect();
        let mut trials = Trials {
            horizon: self.horizon,
            trials: Vec::new(),
            refused: 0,
        };
        for origin in evenly(&chosen, plan.origins) {
            match self.trial(origin) {
                Some(trial) => trials.trials.push(trial),
                None => trials.refused += 1,
            }
        }
        trials
    }

    /// The origin at a day, if a week before it and the actual value are known.
    fn origin(&self, index: usize) -> Option<Origin> {
        let day = self.days[index].0;
        let horizon = i32::try_from(self.horizon).ok()?;
        let span = day - self.days[0].0 + 1;
        if span < 7 {
            return None;
        }
        let at = |day: DayNumber| self.days.binary_search_by_key(&day, |(day, _)| *day).ok();
        match self.kind {
            MetricKind::Gauge | MetricKind::Rate => Some(Origin {
                index,
                day,
                begun: Begun::default(),
                ahead: horizon,
                actual: self.days[at(day + horizon)?].1,
            }),
            MetricKind::Period => {
                let used_days = (horizon / 3).max(1);
                let ahead = horizon - used_days;
                // A period with missing days has no actual total.
                let start = at(day + 1 - used_days)?;
                let end = at(day + ahead)?;
                if end - start + 1 != horizon as usize || ahead < 1 {
                    return None;
                }
                let sum = |from: usize, to: usize| -> f64 {
                    let days = self.days[from..=to].iter();
                    days.map(|(_, amount)| amount).sum()
                };
                Some(Origin {
                    index,
                    day,
                    begun: Begun {
                        used: sum(start, index),
                        days: used_days,
                    },
                    ahead,
                    actual: sum(start, end),
                })
            }
        }
    }

    fn trial(&self, origin: &Origin) -> Option<Trial> {
        let known = &self.days[..=origin.index];
        let series = DailySeries::new(self.name, self.kind, known.iter().copied());
        let today = match self.kind {
            MetricKind::Gauge | MetricKind::Rate => origin.day,
            // The forecast starts with the next day.
            MetricKind::Period => origin.day + 1,
        };
        let request = ForecastRequest {
            today,
            days: usize::try_from(origin.ahead).ok()?,
            ..ForecastRequest::default()
        };
        let paths = forecast(&series, &request).ok()?.paths;
        let end = origin.day + origin.ahead;
        let mut outcomes = match self.kind {
            MetricKind::Gauge | MetricKind::Rate => paths.on(end),
            MetricKind::Period => {
                let rest = paths.sums(origin.day + 1, end + 1).into_iter();
                rest.map(|sum| origin.begun.used + sum).collect()
            }
        };
        Some(Trial {
            origin: origin.day,
            horizon: self.horizon,
            actual: origin.actual,
            median: quantile_of(&mut outcomes, 0.5),
            bands: BANDS.map(|share| Interval {
                low: quantile_of(&mut outcomes, (1.0 - share) / 2.0),
                high: quantile_of(&mut outcomes, (1.0 + share) / 2.0),
            }),
            rules: Rules::after(known, self.kind, origin.ahead, origin.begun),
        })
    }
}

/// `count` evenly spaced items, from the first to the last.
fn evenly<T>(all: &[T], count: usize) -> Vec<&T> {
    match count {
        _ if all.len() <= count => all.iter().collect(),
        0 => Vec::new(),
        1 => vec![&all[all.len() - 1]],
        _ => {
            let place = |n: usize| n * (all.len() - 1) / (count - 1);
            (0..count).map(|n| &all[place(n)]).collect()
        }
    }
}

/// The nominal coverage of the three bands.
const BANDS: [f64; 3] = [0.5, 0.8, 0.95];

/// The share of outcomes inside each band.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Coverage {
    pub band_50: f64,
    pub band_80: f64,
    pub band_95: f64,
}

/// A forecast band.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    /// Whether `value` lies inside, up to rounding errors.
    fn contains(self, value: f64) -> bool {
        let slack = 1e-9 * value.abs();
        self.low - slack <= value && value <= self.high + slack
    }
}

/// Scores of several forecasts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    pub forecasts: usize,
    pub coverage: Coverage,
    pub median_error: f64,
    /// The same of the plain rules.
    pub rules: Rules,
}

impl Scores {
    /// The scores of these forecasts; `None` without any. Only shares can be pooled across series.
    pub fn of<'a>(trials: impl IntoIterator<Item = &'a Trial>) -> Option<Scores> {
        let trials: Vec<&Trial> = trials.into_iter().collect();
        if trials.is_empty() {
            return None;
        }
        let error_of = |said: &dyn Fn(&Trial) -> f64| {
            let errors = trials.iter().map(|trial| said(trial) - trial.actual);
            median_of(&mut errors.map(f64::abs).collect::<Vec<f64>>())
        };
        let covered = |band: usize| {
            let is_inside = |it: &&&Trial| it.bands[band].contains(it.actual);
            trials.iter().filter(is_inside).count() as f64 / trials.len() as f64
        };
        let pro_rata = trials.iter().all(|it| it.rules.pro_rata.is_some());
        Some(Scores {
            forecasts: trials.len(),
            coverage: Coverage {
                band_50: covered(0),
                band_80: covered(1),
                band_95: covered(2),
            },
            median_error: error_of(&|trial| trial.median),
            rules: Rules {
                mean_28d: error_of(&|trial| trial.rules.mean_28d),
                same_weekday: error_of(&|trial| trial.rules.same_weekday),
                pro_rata: pro_rata.then(|| error_of(&|trial| trial.rules.pro_rata.unwrap_or(0.0))),
                linear: error_of(&|trial| trial.rules.linear),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::math::exp;
    use super::super::random::Random;
    use super::*;

    fn series(kind: MetricKind, value: impl Fn(i32) -> f64) -> DailySeries {
        DailySeries::new("x", kind, (0..60).map(|day| (day, value(day))))
    }

    fn plan(horizon: u32) -> Plan {
        Plan {
            origins: 5,
            horizons: vec![horizon],
            from: None,
            to: None,
        }
    }

    fn origins(tested: &[Trials]) -> Vec<DayNumber> {
        tested[0].trials.iter().map(|trial| trial.origin).collect()
    }

    #[test]
    fn later_values_do_not_change_a_forecast() {
        let calm = |day: i32| 100.0 + f64::from(day) + f64::from(day % 4);
        let before = backtest(&series(MetricKind::Gauge, calm), &plan(7));
        let wild = |day: i32| match day {
            ..=30 => calm(day),
            _ => 1e6 * f64::from(day % 5),
        };
        let after = backtest(&series(MetricKind::Gauge, wild), &plan(7));
        let known = |tested: &[Trials]| -> Vec<_> {
            let trials = tested[0].trials.iter().filter(|it| it.origin <= 30);
            let forecast = |it: &Trial| (it.bands, it.rules);
            trials.map(forecast).collect()
        };
        assert!(known(&before).len() >= 2);
        assert_eq!(known(&before), known(&after));
    }

    #[test]
    fn origins_are_evenly_spaced_within_bounds() {
        let of = |plan| origins(&backtest(&series(MetricKind::Gauge, f64::from), &plan));
        assert_eq!(of(plan(7)), [6, 17, 29, 40, 52]);
        let bounded = Plan {
            from: Some(20),
            to: Some(22),
            ..plan(7)
        };
        assert_eq!(of(bounded), [20, 21, 22]);
        let some = |origins| Plan { origins, ..plan(7) };
        assert_eq!(of(some(1)), [52]);
        assert!(of(some(0)).is_empty() && of(plan(90)).is_empty());
    }

    #[test]
    fn period_is_forecast_after_its_first_third() {
        let usage = series(MetricKind::Period, |day| 10.0 + f64::from(day % 2));
        let trials = &backtest(&usage, &plan(30))[0].trials;
        for trial in trials {
            assert_eq!(trial.actual, 315.0);
            assert_eq!(trial.rules.pro_rata, Some(315.0));
            assert!((trial.median - 315.0).abs() < 8.0, "{}", trial.median);
        }
        let scores = Scores::of(trials).unwrap();
        assert_eq!(scores.forecasts, 5);
        assert_eq!(scores.rules.pro_rata, Some(0.0));
        // A period with a missing day has no actual total.
        let mut gap = series(MetricKind::Period, |_| 10.0);
        gap.days.remove(30);
        assert_eq!(origins(&backtest(&gap, &plan(30))), [9]);
    }

    #[test]
    fn amounts_that_are_often_zero_or_grow_or_fall_are_inside_the_band() {
        let mut random = Random::named("zeros");
        let zeros = |random: &mut Random, _: f64| match random.below(4) {
            0 => 50.0 + random.below(100) as f64,
            _ => 0.0,
        };
        let trend = |random: &mut Random, growth: f64| {
            exp(growth) * (1000.0 + random.below(100) as f64).round()
        };
        type Amount = fn(&mut Random, f64) -> f64;
        let cases: [(Amount, f64); 3] = [(zeros, 0.0), (trend, 0.02), (trend, -0.02)];
        for (amount, growth) in cases {
            let mut of_series = |horizon| {
                let days = (0..110).map(|day| (day, amount(&mut random, growth * f64::from(day))));
                let usage = DailySeries::new("x", MetricKind::Period, days);
                let many = Plan {
                    origins: 20,
                    from: Some(42),
                    ..plan(horizon)
                };
                backtest(&usage, &many).remove(0).trials
            };
            for horizon in [7, 14, 30] {
                let trials: Vec<Trial> = (0..4).flat_map(|_| of_series(horizon)).collect();
                let covered = Scores::of(&trials).unwrap().coverage.band_80;
                assert!(covered > 0.7, "{growth}, {horizon}: {covered}");
            }
        }
    }

    #[test]
    fn origin_with_little_history_is_refused() {
        let mut sparse = series(MetricKind::Gauge, f64::from);
        sparse.days.retain(|(day, _)| *day >= 30 || day % 10 == 0);
        let many = Plan {
            origins: 100,
            ..plan(7)
        };
        let refused = backtest(&sparse, &many)[0].refused;
        assert!(refused >= 2, "{refused}");
    }
}
