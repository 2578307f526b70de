//! The forecast of one measured series as recommendations need it: the crossings of its limit's thresholds, and
//! how much of the limit each of the next billing periods will use.

use chrono::{DateTime, Timelike, Utc};

use crate::domain::forecast::{
    DailySeries, DayNumber, Forecast, ForecastRequest, day_number, forecast,
};
use crate::domain::metrics::day::MetricDay;
use crate::domain::metrics::names::{Metric, MetricKind};
use crate::domain::metrics::point::Reading;
use crate::domain::period::Window;
use crate::domain::plans::catalogue::LimitPeriod;
use crate::domain::plans::selection::Billing;
use crate::domain::recommendation::cost::Meter;

/// Number of whole billing periods that are simulated.
const PERIODS: usize = 3;

/// The billing period that contains `now`, and those that follow it.
pub fn periods(
    billing: Billing,
    period: LimitPeriod,
    now: DateTime<Utc>,
    count: usize,
) -> Vec<Window> {
    let mut periods = vec![billing.period(period, now)];
    while periods.len() < count {
        let Some(last) = periods.last() else { break };
        let next = billing.period(period, last.to);
        periods.push(next);
    }
    periods
}

/// A series and its forecast.
#[derive(Clone, Debug)]
pub struct Trend {
    pub meter: Meter,
    pub kind: MetricKind,
    /// Gauges: the current level. Counters: usage in the current period. Rates: the 95th percentile of the last
    /// day.
    pub usage: f64,
    pub measured_at: DateTime<Utc>,
    /// The current period of the limit; `None` unless the series is a counter.
    pub period: Option<Window>,
    /// Number of days with measurements.
    pub days: usize,
    /// `None` with too few days.
    pub forecast: Option<Forecast>,
}

/// How to read and forecast a series.
#[derive(Clone, Copy, Debug)]
pub struct TrendRequest<'a> {
    pub kind: MetricKind,
    /// The period of a counter.
    pub period: Option<LimitPeriod>,
    pub billing: Billing,
    /// Warning, critical, limit; empty without a limit.
    pub thresholds: &'a [f64],
    pub now: DateTime<Utc>,
}

impl Trend {
    /// The trend of one series from its days, in their order; `None` without any day up to now.
    pub fn of(days: &[MetricDay], request: TrendRequest<'_>) -> Option<Trend> {
        let today = request.now.date_naive();
        let days: Vec<&MetricDay> = days.iter().filter(|day| day.day <= today).collect();
        let last = *days.last()?;
        let kind = request.kind;
        let value = |day: &MetricDay| match kind {
            MetricKind::Gauge => Some(day.last_value),
            MetricKind::Period => day.used,
            MetricKind::Rate => Some(day.p95_value),
        };
        let values = days
            .iter()
            .filter_map(|day| Some((day_number(day.day), value(day)?)));
        let series = DailySeries::new(last.series.to_string(), kind, values);
        let period = request.period.filter(|_| kind == MetricKind::Period);
        let (billing, month) = (request.billing, LimitPeriod::BillingMonth);
        let months = periods(billing, month, request.now, PERIODS + 1);
        let days_to = |month: &Window| (month.to - request.now).num_days() + 1;
        let ahead = usize::try_from(months.last().map_or(0, days_to)).unwrap_or(0);
        let current = period.map(|period| billing.period(period, request.now));
        let used = current.and_then(|window| used_in(&days, window));
        let starts = period.map_or(Vec::new(), |period| {
            let count = match period {
                LimitPeriod::Day => ahead + 2,
                LimitPeriod::Month | LimitPeriod::BillingMonth => PERIODS + 2,
            };
            let windows = periods(billing, period, request.now, count).into_iter();
            windows
                .map(|window| day_number(window.from.date_naive()))
                .collect()
        });
        let forecast_request = ForecastRequest {
            today: day_number(today),
            elapsed: if last.day == today {
                f64::from(last.last_at.num_seconds_from_midnight()) / 86_400.0
            } else {
                0.0
            },
            days: ahead,
            thresholds: request.thresholds.to_vec(),
            periods: starts,
            used: used.filter(|_| current.is_some()),
        };
        let usage = match (kind, current) {
            (MetricKind::Gauge, _) => last.last_value,
            (MetricKind::Rate, _) => last.p95_value,
            (MetricKind::Period, window) => used.unwrap_or_else(|| {
                let within =
                    |day: &&&MetricDay| window.is_none_or(|window| window.contains(day.last_at));
                days.iter().filter(within).filter_map(|day| day.used).sum()
            }),
        };
        Some(Trend {
            meter: (last.series.service, last.series.metric),
            kind: request.kind,
            usage,
            measured_at: last.last_at,
            period: current,
            days: series.days.len(),
            forecast: match kind {
                // Rates are compared with their limit and not forecast.
                MetricKind::Rate => None,
                MetricKind::Gauge | MetricKind::Period => forecast(&series, &forecast_request).ok(),
            },
        })
    }

    /// Whether anything was measured in the current period. Until then its usage is unknown, not zero.
    pub fn has_begun(&self) -> bool {
        let period = self.period;
        period.is_none_or(|period| self.measured_at >= period.from)
    }

    /// The usage between two days on each path: the sum of a counter, the highest level of a gauge. Without a
    /// forecast, a gauge keeps its level and the usage of a counter is unknown.
    pub fn uses(&self, from: DayNumber, to: DayNumber) -> Option<Vec<f64>> {
        let Some(forecast) = &self.forecast else {
            let stays = self.kind != MetricKind::Period;
            return stays.then(|| vec![self.usage]);
        };
        Some(match self.kind {
            MetricKind::Period => forecast.paths.sums(from, to),
            MetricKind::Gauge | MetricKind::Rate => {
                self.by_day(from, to, |levels| levels.fold(0.0, f64::max))
            }
        })
    }

    /// On each path, the hours between two days that lie after the threshold was crossed.
    pub fn hours_beyond(&self, threshold: f64, from: DayNumber, to: DayNumber) -> Option<Vec<f64>> {
        let hours = f64::from(to - from) * 24.0;
        if self.forecast.is_none() {
            let stays = self.kind != MetricKind::Period;
            return stays.then(|| vec![if self.usage > threshold { hours } else { 0.0 }]);
        }
        let counts = self.kind == MetricKind::Period;
        Some(self.by_day(from, to, |levels| {
            let mut sum = 0.0;
            let mut crossed = levels.enumerate().filter_map(|(index, value)| {
                sum = if counts { sum + value } else { value };
                (sum > threshold).then_some(index)
            });
            let first = crossed.next();
            first.map_or(0.0, |index| (hours - index as f64 * 24.0).max(0.0))
        }))
    }

    fn by_day(
        &self,
        from: DayNumber,
        to: DayNumber,
        fold: impl Fn(&mut dyn Iterator<Item = f64>) -> f64,
    ) -> Vec<f64> {
        let Some(forecast) = &self.forecast else {
            return Vec::new();
        };
        let first = forecast.paths.first;
        let index = |day: DayNumber| usize::try_from(day - first).unwrap_or(0);
        let folded = |path: &[f64]| {
            let to = index(to).min(path.len());
            let days = path.get(index(from).min(to)..to).unwrap_or_default();
            fold(&mut days.iter().copied())
        };
        forecast.paths.iter().map(folded).collect()
    }
}

/// The usage of the current period, if the newest reading is a counter of that period.
fn used_in(days: &[&MetricDay], window: Window) -> Option<f64> {
    let last = days.last()?;
    let counts = last.reading == Reading::Cumulative
        && last.series.metric != Metric::CommandsPerDay
        && last.last_at >= window.from;
    // A counter without a period start counts the calendar month.
    let began = match last.period_start {
        Some(start) => start == window.from,
        None => {
            let month = LimitPeriod::Month;
            Billing::default().period(month, last.last_at).from == window.from
        }
    };
    (counts && began).then_some(last.last_value)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::domain::recommendation::sample::{days, now};

    #[test]
    fn usage_is_unknown_before_the_first_reading_of_a_period() {
        let (metric, reading) = (Metric::CommandsPerDay, Reading::Amount);
        let commands = days(metric, reading, &[6_000.0; 10], now());
        let trend = |now: DateTime<Utc>| {
            let request = TrendRequest {
                kind: MetricKind::Period,
                period: Some(LimitPeriod::Day),
                billing: Billing::default(),
                thresholds: &[],
                now,
            };
            Trend::of(&commands, request).unwrap()
        };
        assert!(trend(now()).has_begun());
        assert!(!trend(now() + TimeDelta::days(1)).has_begun());
    }
}
