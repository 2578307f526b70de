//! Where one measured series is heading, asked so that a recommendation can be made of it: the lines of its
//! limit, and how much of it each of the next billing periods will use.

use chrono::{DateTime, NaiveDate, Utc};

use crate::domain::forecast::{DayNumber, Forecast, MetricKind, Question, Series, forecast};
use crate::domain::metrics::day::MetricDay;
use crate::domain::metrics::names::Metric;
use crate::domain::metrics::point::Reading;
use crate::domain::period::Window;
use crate::domain::plans::catalogue::LimitPeriod;
use crate::domain::plans::selection::Billing;
use crate::domain::recommendation::cost::Meter;

/// How many whole billing periods are looked at.
const PERIODS: usize = 3;

/// A day, as forecasts count them.
pub fn day_number(day: NaiveDate) -> DayNumber {
    let days = (day - NaiveDate::default()).num_days();
    // No date that can be written is further away.
    DayNumber::try_from(days).unwrap_or(DayNumber::MAX)
}

/// The billing period that holds `now`, and those that follow it.
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

/// A series and where it is heading.
#[derive(Clone, Debug)]
pub struct Heading {
    pub meter: Meter,
    pub kind: MetricKind,
    /// The level now, what was used in the period under way, or the pace that 95 % of the day did not exceed.
    pub usage: f64,
    pub measured_at: DateTime<Utc>,
    /// The period that its limit is about; nothing of what is not counted by the period.
    pub period: Option<Window>,
    /// On how many days there were measurements.
    pub days: usize,
    /// Nothing if there are too few days.
    pub forecast: Option<Forecast>,
}

/// How a series is to be asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub kind: MetricKind,
    /// By which period it is counted.
    pub period: Option<LimitPeriod>,
    pub billing: Billing,
    /// The values whose reaching is asked about: warning, critical, limit; none where there is no limit.
    pub lines: &'a [f64],
    /// The moment at which it is asked.
    pub now: DateTime<Utc>,
}

impl Heading {
    /// Asks about the days of one series, in their order; nothing without any that count.
    pub fn of(days: &[MetricDay], asked: Asked<'_>) -> Option<Heading> {
        let today = asked.now.date_naive();
        let days: Vec<&MetricDay> = days.iter().filter(|day| day.day <= today).collect();
        let last = *days.last()?;
        let kind = asked.kind;
        let value = |day: &MetricDay| match kind {
            MetricKind::Gauge => Some(day.last_value),
            MetricKind::Period => day.used,
            MetricKind::Rate => Some(day.p95_value),
        };
        let series = Series {
            name: last.series.to_string(),
            kind,
            days: days
                .iter()
                .filter_map(|day| {
                    Some(crate::domain::forecast::Day {
                        day: day_number(day.day),
                        value: value(day)?,
                    })
                })
                .collect(),
        };
        let period = asked.period.filter(|_| kind == MetricKind::Period);
        let months = periods(
            asked.billing,
            LimitPeriod::BillingMonth,
            asked.now,
            PERIODS + 1,
        );
        let ahead = months
            .last()
            .map_or(0, |month| (month.to - asked.now).num_days() + 1);
        let ahead = usize::try_from(ahead).unwrap_or(0);
        let under_way = period.map(|period| asked.billing.period(period, asked.now));
        let used = under_way.and_then(|window| used_in(&days, window));
        let starts = period.map_or(Vec::new(), |period| {
            let count = match period {
                LimitPeriod::Day => ahead + 2,
                LimitPeriod::Month | LimitPeriod::BillingMonth => PERIODS + 2,
            };
            let windows = periods(asked.billing, period, asked.now, count);
            let starts = windows
                .iter()
                .map(|window| day_number(window.from.date_naive()));
            starts.collect()
        });
        let midnight = last.last_at.date_naive().and_time(chrono::NaiveTime::MIN);
        let question = Question {
            today: day_number(today),
            elapsed: if last.day == today {
                (last.last_at - midnight.and_utc()).num_seconds() as f64 / 86_400.0
            } else {
                0.0
            },
            days: ahead,
            lines: asked.lines.to_vec(),
            periods: starts,
            used: used.filter(|_| under_way.is_some()),
        };
        let usage = match (kind, under_way) {
            (MetricKind::Gauge, _) => last.last_value,
            (MetricKind::Rate, _) => last.p95_value,
            (MetricKind::Period, window) => used.unwrap_or_else(|| {
                let within = |day: &&&MetricDay| {
                    window
                        .is_none_or(|window| day.last_at >= window.from && day.last_at < window.to)
                };
                days.iter().filter(within).filter_map(|day| day.used).sum()
            }),
        };
        Some(Heading {
            meter: (last.series.service, last.series.metric),
            kind: asked.kind,
            usage,
            measured_at: last.last_at,
            period: under_way,
            days: series.days.len(),
            forecast: match kind {
                // A pace reaches no date.
                MetricKind::Rate => None,
                MetricKind::Gauge | MetricKind::Period => forecast(&series, &question).ok(),
            },
        })
    }

    /// Whether anything was measured in the period under way: before that, what was used of it is not zero but
    /// unknown.
    pub fn has_begun(&self) -> bool {
        self.period
            .is_none_or(|period| self.measured_at >= period.from)
    }

    /// How much of it is used in a stretch of days, on each path: what it adds up to, or its highest level.
    /// Without a forecast a level stays as it is, and of an amount nobody can say.
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

    /// How many hours of a stretch of days lie after the line was crossed, on each path.
    pub fn hours_beyond(&self, line: f64, from: DayNumber, to: DayNumber) -> Option<Vec<f64>> {
        let hours = f64::from(to - from) * 24.0;
        if self.forecast.is_none() {
            let stays = self.kind != MetricKind::Period;
            return stays.then(|| vec![if self.usage > line { hours } else { 0.0 }]);
        }
        let counts = self.kind == MetricKind::Period;
        Some(self.by_day(from, to, |levels| {
            let mut sum = 0.0;
            let mut crossed = levels.enumerate().filter_map(|(index, value)| {
                sum = if counts { sum + value } else { value };
                (sum > line).then_some(index)
            });
            crossed
                .next()
                .map_or(0.0, |index| (hours - index as f64 * 24.0).max(0.0))
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
        let paths = forecast.paths.iter();
        paths
            .map(|path| {
                let to = index(to).min(path.len());
                let days = path.get(index(from).min(to)..to).unwrap_or_default();
                fold(&mut days.iter().copied())
            })
            .collect()
    }
}

/// What was used of the period under way, where a counter says it itself.
fn used_in(days: &[&MetricDay], window: Window) -> Option<f64> {
    let last = days.last()?;
    let counts = last.reading == Reading::Cumulative
        && last.series.metric != Metric::CommandsPerDay
        && last.last_at >= window.from;
    // A counter that does not say when it began is one of the calendar's month.
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
    fn what_was_not_measured_since_the_period_began_is_not_told_as_nothing_used() {
        let commands = days(
            Metric::CommandsPerDay,
            Reading::Amount,
            &[6_000.0; 10],
            now(),
        );
        let heading = |at| {
            let asked = Asked {
                kind: MetricKind::Period,
                period: Some(LimitPeriod::Day),
                billing: Billing::default(),
                lines: &[],
                now: at,
            };
            Heading::of(&commands, asked).unwrap()
        };
        assert!(heading(now()).has_begun());
        assert!(!heading(now() + TimeDelta::days(1)).has_begun());
    }
}
