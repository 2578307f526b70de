//! Forecasts of the past: what would have been said, day by day, and what came.
//!
//! At each origin the forecast sees the days up to it and none after, not even to calibrate itself. It is
//! compared with the rules of thumb that people use instead: the last value stays; the line from the first
//! value to the last goes on; a period goes on as it began (pro rata).

use super::answer::forecast;
use super::robust::{mean, median, quantile_of, spread};
use super::score::{BANDS, Interval, Reliability, Verdict, brier, median_error, reliability};
use super::series::{DailySeries, DailyValue, DayNumber, ForecastRequest, MetricKind};

/// Which forecasts are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// From how many days of the past, evenly spaced.
    pub origins: usize,
    /// For a gauge, how many days ahead. For a counter, how long its periods are: a third of each is over.
    pub horizons: Vec<u32>,
    /// Origins are not before this day, if any.
    pub from: Option<DayNumber>,
    pub to: Option<DayNumber>,
}

/// A rule of thumb's forecast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peers {
    pub last: f64,
    /// The line from the first value to the last goes on.
    pub first_last: f64,
    /// The period goes on as it began; only for counters.
    pub pro_rata: Option<f64>,
}

impl Peers {
    /// The one that people use for this kind of series.
    fn usual(&self) -> f64 {
        self.pro_rata.unwrap_or(self.first_last)
    }
}

/// One forecast, and what came.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The last day that was known.
    pub origin: DayNumber,
    /// As in [`Plan::horizons`].
    pub horizon: u32,
    /// What came: the level so many days later, or the period's total.
    pub actual: f64,
    /// The middle of the forecast.
    pub middle: f64,
    /// Its bands, as [`BANDS`].
    pub bands: [Interval; 3],
    /// What rules of thumb said.
    pub peers: Peers,
    /// The usual rule of thumb with a band: as wide as four in five of its own past errors.
    pub peer_band: Interval,
    /// For a few limits: how likely they were said to be reached, and whether they were.
    pub verdicts: Vec<Verdict>,
    /// The same of the usual rule of thumb, whose chances are 0 and 1.
    pub peer_verdicts: Vec<Verdict>,
}

/// The forecasts of one series for one horizon.
#[derive(Clone, Debug, PartialEq)]
pub struct Trials {
    /// As in [`Plan::horizons`].
    pub horizon: u32,
    /// In the order of their origins.
    pub trials: Vec<Trial>,
    /// How often there was too little data to say anything.
    pub refused: usize,
}

/// Makes the forecasts of the plan, a list for each horizon.
pub fn backtest(series: &DailySeries, plan: &Plan) -> Vec<Trials> {
    let days = series.usable(DayNumber::MAX);
    let of = |horizon: &u32| {
        Past {
            kind: series.kind,
            name: &series.name,
            days: &days,
            horizon: *horizon,
        }
        .run(plan)
    };
    plan.horizons.iter().map(of).collect()
}

/// A series, looked at for one horizon.
struct Past<'a> {
    kind: MetricKind,
    name: &'a str,
    days: &'a [(DayNumber, f64)],
    horizon: u32,
}

/// What is known at an origin, and what is to be said.
struct Origin {
    /// The index of the last known day.
    index: usize,
    day: DayNumber,
    /// What was used of the period.
    used: f64,
    used_days: i32,
    /// The days that are forecast.
    ahead: i32,
    actual: f64,
}

impl Past<'_> {
    fn run(&self, plan: &Plan) -> Trials {
        let possible: Vec<Origin> = (0..self.days.len())
            .filter_map(|index| self.origin(index))
            .collect();
        let wanted = |origin: &&Origin| {
            plan.from.is_none_or(|from| from <= origin.day)
                && plan.to.is_none_or(|to| origin.day <= to)
        };
        let chosen: Vec<&Origin> = possible.iter().filter(wanted).collect();
        let mut trials = Trials {
            horizon: self.horizon,
            trials: Vec::new(),
            refused: 0,
        };
        for origin in evenly(&chosen, plan.origins) {
            match self.trial(origin, &possible) {
                Some(trial) => trials.trials.push(trial),
                None => trials.refused += 1,
            }
        }
        trials
    }

    /// A day from which a forecast can be checked: a week is known, and so is what came.
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
                used: 0.0,
                used_days: 0,
                ahead: horizon,
                actual: self.days[at(day + horizon)?].1,
            }),
            MetricKind::Period => {
                let used_days = (horizon / 3).max(1);
                let ahead = horizon - used_days;
                // A period with missing days has no total to compare with.
                let start = at(day + 1 - used_days)?;
                let end = at(day + ahead)?;
                if end - start + 1 != horizon as usize || ahead < 1 {
                    return None;
                }
                let sum = |from: usize, to: usize| {
                    self.days[from..=to]
                        .iter()
                        .map(|(_, amount)| amount)
                        .sum::<f64>()
                };
                Some(Origin {
                    index,
                    day,
                    used: sum(start, index),
                    used_days,
                    ahead,
                    actual: sum(start, end),
                })
            }
        }
    }

    fn trial(&self, origin: &Origin, possible: &[Origin]) -> Option<Trial> {
        let known = &self.days[..=origin.index];
        let series = DailySeries {
            name: self.name.to_owned(),
            kind: self.kind,
            days: known
                .iter()
                .map(|(day, value)| DailyValue {
                    day: *day,
                    value: *value,
                })
                .collect(),
        };
        let today = match self.kind {
            MetricKind::Gauge | MetricKind::Rate => origin.day,
            // The day after is about to begin.
            MetricKind::Period => origin.day + 1,
        };
        let request = ForecastRequest {
            today,
            elapsed: 0.0,
            days: usize::try_from(origin.ahead).ok()?,
            thresholds: Vec::new(),
            periods: Vec::new(),
            used: None,
        };
        let paths = forecast(&series, &request).ok()?.paths;
        let end = origin.day + origin.ahead;
        let mut outcomes = match self.kind {
            MetricKind::Gauge | MetricKind::Rate => paths.on(end),
            MetricKind::Period => paths
                .sums(origin.day + 1, end + 1)
                .iter()
                .map(|sum| origin.used + sum)
                .collect(),
        };
        let peers = self.peers(origin);
        let (verdicts, peer_verdicts) = match self.kind {
            MetricKind::Gauge | MetricKind::Rate => {
                let most: Vec<f64> = paths
                    .iter()
                    .map(|path| path.iter().copied().fold(f64::MIN, f64::max))
                    .collect();
                let came = self.days[origin.index + 1..]
                    .iter()
                    .take_while(|(day, _)| *day <= end);
                let came = came.map(|(_, level)| *level).fold(f64::MIN, f64::max);
                let peer = known[origin.index].1.max(peers.first_last);
                self.verdicts(&self.levels(known), &most, came, peer)
            }
            MetricKind::Period => self.verdicts(
                &self.allowances(known),
                &outcomes,
                origin.actual,
                peers.usual(),
            ),
        };
        let half = self.past_error(origin, possible);
        let peer = peers.usual();
        Some(Trial {
            origin: origin.day,
            horizon: self.horizon,
            actual: origin.actual,
            middle: quantile_of(&mut outcomes, 0.5),
            bands: BANDS.map(|share| Interval {
                low: quantile_of(&mut outcomes, (1.0 - share) / 2.0),
                high: quantile_of(&mut outcomes, (1.0 + share) / 2.0),
            }),
            peers,
            peer_band: Interval {
                low: peer - half,
                high: peer + half,
            },
            verdicts,
            peer_verdicts,
        })
    }

    fn peers(&self, origin: &Origin) -> Peers {
        let ((first_day, first), (day, last)) = (self.days[0], self.days[origin.index]);
        let slope = (last - first) / f64::from((day - first_day).max(1));
        let ahead = f64::from(origin.ahead);
        match self.kind {
            MetricKind::Gauge | MetricKind::Rate => Peers {
                last,
                first_last: last + slope * ahead,
                pro_rata: None,
            },
            MetricKind::Period => Peers {
                last: origin.used + last * ahead,
                first_last: origin.used + last * ahead + slope * ahead * (ahead + 1.0) / 2.0,
                pro_rata: Some(origin.used * f64::from(self.horizon) / f64::from(origin.used_days)),
            },
        }
    }

    /// How far the usual rule of thumb was off in four of five forecasts that could be checked by then.
    fn past_error(&self, origin: &Origin, possible: &[Origin]) -> f64 {
        let checked = possible
            .iter()
            .filter(|past| past.day + past.ahead <= origin.day);
        let mut errors: Vec<f64> = checked
            .map(|past| (self.peers(past).usual() - past.actual).abs())
            .collect();
        quantile_of(&mut errors, 0.8)
    }

    /// Limits a little, rather and far above the newest level, by how far it moved in as many days before.
    fn levels(&self, known: &[(DayNumber, f64)]) -> Vec<f64> {
        let moves: Vec<f64> = known
            .iter()
            .filter_map(|(day, level)| {
                let later = known
                    .binary_search_by_key(&(day + self.horizon as i32), |(day, _)| *day)
                    .ok()?;
                Some((known[later].1 - level).abs())
            })
            .collect();
        let values: Vec<f64> = known.iter().map(|(_, level)| *level).collect();
        let step = if moves.is_empty() {
            spread(&values)
        } else {
            median(&moves)
        };
        let newest = values[values.len() - 1];
        [0.5, 1.0, 2.0].map(|times| newest + times * step).to_vec()
    }

    /// Allowances around what an average period came to so far.
    fn allowances(&self, known: &[(DayNumber, f64)]) -> Vec<f64> {
        let amounts: Vec<f64> = known.iter().map(|(_, amount)| *amount).collect();
        let period = mean(&amounts) * f64::from(self.horizon);
        [0.8, 0.9, 1.0, 1.1, 1.25]
            .map(|share| share * period)
            .to_vec()
    }

    fn verdicts(
        &self,
        limits: &[f64],
        outcomes: &[f64],
        came: f64,
        peer: f64,
    ) -> (Vec<Verdict>, Vec<Verdict>) {
        let both = limits.iter().map(|limit| {
            let reached = outcomes.iter().filter(|outcome| *outcome >= limit).count();
            let happened = came >= *limit;
            let chance = reached as f64 / outcomes.len().max(1) as f64;
            let certain = f64::from(u8::from(peer >= *limit));
            (
                Verdict { chance, happened },
                Verdict {
                    chance: certain,
                    happened,
                },
            )
        });
        both.unzip()
    }
}

/// So many of them, from the first to the last.
fn evenly<'a, T>(all: &[&'a T], count: usize) -> Vec<&'a T> {
    if all.len() <= count {
        return all.to_vec();
    }
    match count {
        0 => Vec::new(),
        1 => vec![all[all.len() - 1]],
        _ => (0..count)
            .map(|n| all[n * (all.len() - 1) / (count - 1)])
            .collect(),
    }
}

/// How good forecasts were, together.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    pub forecasts: usize,
    /// The share of outcomes in each of [`BANDS`].
    pub coverage: [f64; 3],
    /// The mean score of the 80 % band.
    pub winkler: f64,
    /// The usual rule of thumb's: of its bare number.
    pub peer_winkler: f64,
    /// The same, of its number with a band as wide as four in five of its own past errors.
    pub peer_band_winkler: f64,
    pub error: f64,
    /// The same, if the last value had stayed.
    pub last_error: f64,
    /// The same, if the line from the first value to the last had gone on.
    pub first_last_error: f64,
    /// The same, if the period had gone on as it began.
    pub pro_rata_error: Option<f64>,
    /// Brier's score of whether limits are reached.
    pub brier: Option<f64>,
    /// The usual rule of thumb's.
    pub peer_brier: Option<f64>,
    /// Whether chances were what they said.
    pub reliability: Vec<Reliability>,
}

impl Scores {
    /// The scores of these forecasts; `None` of none. Only shares mean anything across different series.
    pub fn of<'a>(trials: impl IntoIterator<Item = &'a Trial>) -> Option<Scores> {
        let trials: Vec<&Trial> = trials.into_iter().collect();
        let mean_of = |score: &dyn Fn(&Trial) -> f64| {
            let scores: Vec<f64> = trials.iter().map(|trial| score(trial)).collect();
            mean(&scores)
        };
        let error_of = |said: &dyn Fn(&Trial) -> f64| {
            let errors: Vec<f64> = trials
                .iter()
                .map(|trial| said(trial) - trial.actual)
                .collect();
            median_error(&errors)
        };
        let covered = |band: usize| {
            mean_of(&|trial| f64::from(u8::from(trial.bands[band].holds(trial.actual))))
        };
        let point = |value: f64| Interval {
            low: value,
            high: value,
        };
        let verdicts: Vec<Verdict> = trials
            .iter()
            .flat_map(|trial| trial.verdicts.clone())
            .collect();
        let peer_verdicts: Vec<Verdict> = trials
            .iter()
            .flat_map(|trial| trial.peer_verdicts.clone())
            .collect();
        let pro_rata = trials.iter().all(|trial| trial.peers.pro_rata.is_some());
        Some(Scores {
            forecasts: trials.len(),
            coverage: [covered(0), covered(1), covered(2)],
            winkler: mean_of(&|trial| trial.bands[1].winkler(trial.actual, BANDS[1])),
            peer_winkler: mean_of(&|trial| {
                point(trial.peers.usual()).winkler(trial.actual, BANDS[1])
            }),
            peer_band_winkler: mean_of(&|trial| trial.peer_band.winkler(trial.actual, BANDS[1])),
            error: error_of(&|trial| trial.middle)?,
            last_error: error_of(&|trial| trial.peers.last)?,
            first_last_error: error_of(&|trial| trial.peers.first_last)?,
            pro_rata_error: if pro_rata {
                error_of(&|trial| trial.peers.usual())
            } else {
                None
            },
            brier: brier(&verdicts),
            peer_brier: brier(&peer_verdicts),
            reliability: reliability(&verdicts),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(kind: MetricKind, value: impl Fn(i32) -> f64) -> DailySeries {
        DailySeries {
            name: "x".to_owned(),
            kind,
            days: (0..60)
                .map(|day| DailyValue {
                    day,
                    value: value(day),
                })
                .collect(),
        }
    }

    fn plan(horizon: u32) -> Plan {
        Plan {
            origins: 5,
            horizons: vec![horizon],
            from: None,
            to: None,
        }
    }

    #[test]
    fn what_came_later_changes_no_forecast() {
        let calm = |day: i32| 100.0 + f64::from(day) + f64::from(day % 4);
        let before = backtest(&series(MetricKind::Gauge, calm), &plan(7));
        let wild = |day: i32| {
            if day <= 30 {
                calm(day)
            } else {
                1e6 * f64::from(day % 5)
            }
        };
        let after = backtest(&series(MetricKind::Gauge, wild), &plan(7));
        let same = before[0]
            .trials
            .iter()
            .zip(&after[0].trials)
            .filter(|(before, _)| before.origin <= 30);
        let mut compared = 0;
        for (before, after) in same {
            assert_eq!(
                (before.bands, before.peers, before.peer_band),
                (after.bands, after.peers, after.peer_band)
            );
            compared += 1;
        }
        assert!(compared >= 2);
    }

    #[test]
    fn origins_are_spread_from_the_first_possible_to_the_last_and_can_be_bounded() {
        let of = |plan| {
            let trials = backtest(&series(MetricKind::Gauge, f64::from), &plan)
                .remove(0)
                .trials;
            trials.iter().map(|trial| trial.origin).collect::<Vec<_>>()
        };
        assert_eq!(of(plan(7)), [6, 17, 29, 40, 52]);
        assert_eq!(
            of(Plan {
                from: Some(20),
                to: Some(22),
                ..plan(7)
            }),
            [20, 21, 22]
        );
        assert_eq!(
            of(Plan {
                origins: 1,
                ..plan(7)
            }),
            [52]
        );
        assert!(
            of(Plan {
                origins: 0,
                ..plan(7)
            })
            .is_empty()
                && of(plan(90)).is_empty()
        );
    }

    #[test]
    fn a_period_is_forecast_when_a_third_of_it_is_over() {
        let trials = backtest(
            &series(MetricKind::Period, |day| 10.0 + f64::from(day % 2)),
            &plan(30),
        )
        .remove(0);
        for trial in &trials.trials {
            assert_eq!(trial.actual, 315.0);
            assert_eq!(trial.peers.pro_rata, Some(315.0));
            assert!((trial.middle - 315.0).abs() < 8.0, "{}", trial.middle);
        }
        let scores = Scores::of(&trials.trials).unwrap();
        assert_eq!((scores.forecasts, scores.pro_rata_error), (5, Some(0.0)));
        // A day is missing: no period around it has a total to compare with.
        let mut gap = series(MetricKind::Period, |_| 10.0);
        gap.days.remove(30);
        let trials = &backtest(&gap, &plan(30))[0].trials;
        assert_eq!(
            trials.iter().map(|trial| trial.origin).collect::<Vec<_>>(),
            [9]
        );
    }

    #[test]
    fn too_little_history_is_counted_as_refused() {
        let mut sparse = series(MetricKind::Gauge, f64::from);
        sparse.days.retain(|day| day.day >= 30 || day.day % 10 == 0);
        let trials = backtest(
            &sparse,
            &Plan {
                origins: 100,
                ..plan(7)
            },
        )
        .remove(0);
        assert!(trials.refused >= 2, "{}", trials.refused);
    }
}
