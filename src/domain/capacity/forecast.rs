//! The forecast of a measured series against its limit: the value of each day, the billing periods and the
//! thresholds.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, TimeDelta, Timelike, Utc};

use serde::Serialize;

use crate::domain::forecast;
use crate::domain::forecast::{
    DailyValue, DayNumber, Forecast, ForecastRequest, InsufficientData, day_number,
};
use crate::domain::metrics::day::MetricDay;
use crate::domain::metrics::names::{Metric, MetricKind};
use crate::domain::metrics::point::{Reading, Series};
use crate::domain::period::Window;
use crate::domain::plans::{Billing, LimitInForce, LimitPeriod, default_kind};

/// Days of history that a forecast uses.
pub const HISTORY_DAYS: i64 = 180;

/// A series and its limit.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitedSeries {
    pub series: Series,
    pub kind: MetricKind,
    /// Only for counters.
    pub period: Option<LimitPeriod>,
    pub billing: Billing,
    /// The limit in force, if there is a valid one.
    pub limit: Option<LimitInForce>,
}

impl LimitedSeries {
    /// The series and its limit; of several limits, the smallest.
    pub fn new(series: Series, limits: &[LimitInForce]) -> LimitedSeries {
        let of_series = limits.iter().filter(|limit| {
            let same = limit.service == series.service && limit.metric == series.metric;
            same && limit.fault.is_none()
        });
        let limit = of_series.min_by(|a, b| a.value.total_cmp(&b.value));
        let (kind, period) = match limit {
            Some(limit) => (limit.kind, limit.period),
            None => default_kind(series.metric),
        };
        LimitedSeries {
            kind,
            period,
            billing: limit.map(|limit| limit.billing).unwrap_or_default(),
            limit: limit.cloned(),
            series,
        }
    }

    /// Warning, critical and limit; empty without a limit.
    pub fn thresholds(&self) -> Vec<f64> {
        let of = |limit: &LimitInForce| {
            let percents = [limit.warning_percent, limit.critical_percent, 100.0];
            percents.map(|percent| limit.value * percent / 100.0)
        };
        self.limit.iter().flat_map(of).collect()
    }

    /// The input of the forecast. `days` are the series' days, in order.
    pub fn daily(&self, days: &[MetricDay], now: DateTime<Utc>) -> forecast::DailySeries {
        let today = now.date_naive();
        let peaks = self.series.metric == Metric::Connections;
        let mut values = Vec::with_capacity(days.len());
        let mut before: Option<NaiveDate> = None;
        for day in days.iter().filter(|day| day.day <= today) {
            let value = match self.kind {
                // A pool is exhausted at its peak, and the peak of the current day is not known yet.
                MetricKind::Gauge if peaks => Some(day.max_value).filter(|_| day.day < today),
                MetricKind::Gauge => Some(day.last_value),
                MetricKind::Rate => Some(day.p95_value),
                // The increase over days without a reading belongs to no single day.
                MetricKind::Period => day.used.filter(|_| {
                    day.reading != Reading::Cumulative
                        || before.is_none_or(|before| before + TimeDelta::days(1) == day.day)
                }),
            };
            before = Some(day.day);
            values.extend(value.map(|value| (day_number(day.day), value)));
        }
        forecast::DailySeries::new(self.series.to_string(), self.kind, values)
    }

    /// The request to forecast `ahead` days from `now`.
    pub fn request(&self, days: &[MetricDay], now: DateTime<Utc>, ahead: usize) -> ForecastRequest {
        let today = now.date_naive();
        let newest = days.iter().rev().find(|day| day.last_at <= now);
        let read_today = newest.filter(|day| day.day == today);
        let (periods, used) = match self.kind {
            MetricKind::Period => self.periods(newest, now, ahead),
            MetricKind::Gauge | MetricKind::Rate => (Vec::new(), None),
        };
        ForecastRequest {
            today: day_number(today),
            // Usage since the newest reading is not measured yet.
            elapsed: read_today.map_or(0.0, |day| part_of_day(day.last_at)),
            days: ahead,
            thresholds: self.thresholds(),
            periods,
            used,
        }
    }

    /// The first days of the billing periods from the current one on, and the usage of the current one if a counter
    /// reports it.
    fn periods(
        &self,
        newest: Option<&MetricDay>,
        now: DateTime<Utc>,
        ahead: usize,
    ) -> (Vec<DayNumber>, Option<f64>) {
        let length = self.period.unwrap_or(LimitPeriod::BillingMonth);
        let mut period = self.billing.period(length, now);
        let begins_with = |start: DateTime<Utc>| start == period.from;
        let counts = |day: &&MetricDay| {
            day.reading == Reading::Cumulative
                && period.contains(day.last_at)
                && day.period_start.is_none_or(begins_with)
        };
        let used = newest.filter(counts).map(|day| day.last_value.max(0.0));
        let end = day_number(now.date_naive()) + DayNumber::try_from(ahead).unwrap_or(0) + 2;
        let mut starts = vec![nearest_day(period.from)];
        while starts.last().is_some_and(|start| *start < end) {
            let Window { to, .. } = period;
            period = self.billing.period(length, to);
            starts.push(nearest_day(to));
            // Periods end with the supported years.
            if period.to <= to {
                break;
            }
        }
        (starts, used)
    }

    /// Forecasts the crossings of the thresholds and the totals of the periods.
    pub fn forecast(
        &self,
        days: &[MetricDay],
        now: DateTime<Utc>,
        ahead: usize,
    ) -> Result<Forecast, InsufficientData> {
        forecast::forecast(&self.daily(days, now), &self.request(days, now, ahead))
    }
}

/// Recent values of a rate, which is compared with its limit and not forecast.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RecentRate {
    /// Number of days with values among the last 28.
    pub days: usize,
    /// The median of the daily 95th percentiles.
    pub p95: f64,
    pub worst: f64,
    /// Number of days on which it reached the limit.
    pub days_over: usize,
}

impl RecentRate {
    /// `None` without values.
    pub fn of(days: &[MetricDay], limit: Option<f64>, now: DateTime<Utc>) -> Option<RecentRate> {
        let from = now.date_naive() - TimeDelta::days(28);
        let recent = days
            .iter()
            .filter(|day| day.day > from && day.last_at <= now);
        let mut values: Vec<f64> = recent.map(|day| day.p95_value).collect();
        values.sort_by(f64::total_cmp);
        let over = values
            .iter()
            .filter(|value| limit.is_some_and(|limit| **value >= limit));
        Some(RecentRate {
            days: values.len(),
            p95: values.get(values.len() / 2).copied()?,
            worst: values.last().copied()?,
            days_over: over.count(),
        })
    }
}

/// The days of several series, one series after the other.
pub fn by_series(days: &[MetricDay]) -> impl Iterator<Item = &[MetricDay]> {
    days.chunk_by(|a, b| a.series == b.series)
}

/// Daily values from single values: the last level of each day, or the sum of its amounts.
///
/// A day with fewer than 60 % of the usual number of amounts is incomplete and left out.
pub fn days_of(kind: MetricKind, values: &[(DateTime<Utc>, f64)]) -> Vec<DailyValue> {
    let mut by_day: BTreeMap<DayNumber, Vec<(DateTime<Utc>, f64)>> = BTreeMap::new();
    for (at, value) in values {
        let day = by_day.entry(day_number(at.date_naive())).or_default();
        day.push((*at, *value));
    }
    let mut counts: Vec<usize> = by_day.values().map(Vec::len).collect();
    counts.sort_unstable();
    let usual = counts.get(counts.len() / 2).copied().unwrap_or(0);
    let day = |(day, values): (DayNumber, Vec<(DateTime<Utc>, f64)>)| {
        let value = match kind {
            MetricKind::Period if values.len() * 5 < usual * 3 => return None,
            MetricKind::Period => values.iter().map(|(_, value)| value).sum(),
            MetricKind::Gauge | MetricKind::Rate => values.iter().max_by_key(|(at, _)| *at)?.1,
        };
        Some(DailyValue { day, value })
    };
    by_day.into_iter().filter_map(day).collect()
}

/// The UTC day whose start is nearest to `at`: periods in other time zones start within a UTC day.
fn nearest_day(at: DateTime<Utc>) -> DayNumber {
    day_number(at.date_naive()) + DayNumber::from(at.hour() >= 12)
}

fn part_of_day(at: DateTime<Utc>) -> f64 {
    f64::from(at.num_seconds_from_midnight()) / 86_400.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::forecast::day_date;
    use crate::domain::metrics::names::Service;
    use crate::domain::metrics::point::Point;
    use crate::domain::testing::at;

    fn subject(metric: Metric) -> LimitedSeries {
        LimitedSeries::new(Series::new(Service::VercelBandwidth, metric, ""), &[])
    }

    /// Days with one point each.
    fn days(metric: Metric, reading: Reading, points: &[(&str, f64)]) -> Vec<MetricDay> {
        let mut days: Vec<MetricDay> = Vec::new();
        for (time, value) in points {
            let point = Point {
                at: at(time),
                value: *value,
                reading,
                period_start: None,
            };
            let day = MetricDay::from_points(&subject(metric).series, vec![point], days.last());
            days.extend(day);
        }
        days
    }

    #[test]
    fn counter_reports_the_usage_of_the_period() {
        let points = [
            ("2026-01-29T12:00:00Z", 30.0),
            ("2026-01-31T06:00:00Z", 50.0),
        ];
        let days = days(Metric::BandwidthGb, Reading::Cumulative, &points);
        let subject = subject(Metric::BandwidthGb);
        let now = at("2026-01-31T12:00:00Z");
        let request = subject.request(&days, now, 60);
        assert_eq!((request.used, request.elapsed), (Some(50.0), 0.25));
        let periods = request.periods.iter().map(|day| day_date(*day).to_string());
        let expected = ["01", "02", "03", "04", "05"].map(|month| format!("2026-{month}-01"));
        assert_eq!(periods.collect::<Vec<_>>(), expected);
        // The usage is of two days, and the first day has no earlier value.
        assert!(subject.daily(&days, now).days.is_empty());
        // The counter was not read yet in the next month.
        let request = subject.request(&days, at("2026-02-01T01:00:00Z"), 60);
        assert_eq!((request.used, request.elapsed), (None, 0.0));
    }

    #[test]
    fn level_is_the_last_value_and_connections_the_peak() {
        let points = [
            ("2026-01-30T12:00:00Z", 30.0),
            ("2026-01-31T06:00:00Z", 50.0),
        ];
        let now = at("2026-01-31T12:00:00Z");
        let values = |metric| {
            let daily = subject(metric).daily(&days(metric, Reading::Level, &points), now);
            daily.days.iter().map(|day| day.value).collect::<Vec<_>>()
        };
        assert_eq!(values(Metric::StorageMb), [30.0, 50.0]);
        assert_eq!(values(Metric::Connections), [30.0]);
    }

    #[test]
    fn periods_in_another_zone_start_on_the_nearest_day() {
        let mut seoul = subject(Metric::BandwidthGb);
        seoul.billing.zone = chrono_tz::Tz::Asia__Seoul;
        let request = seoul.request(&[], at("2026-01-10T00:00:00Z"), 1);
        assert_eq!(day_date(request.periods[0]).to_string(), "2026-01-01");
        let mut daily = subject(Metric::CommandsPerDay);
        daily.billing.zone = chrono_tz::Tz::Asia__Seoul;
        let request = daily.request(&[], at("2026-01-10T00:00:00Z"), 3);
        assert_eq!(day_date(request.periods[0]).to_string(), "2026-01-10");
        assert_eq!(request.periods.len(), 6);
    }

    #[test]
    fn rates_are_summarized() {
        let points = [
            ("2025-12-01T12:00:00Z", 900.0),
            ("2026-01-29T12:00:00Z", 30.0),
            ("2026-01-30T12:00:00Z", 60.0),
            ("2026-01-31T06:00:00Z", 50.0),
        ];
        let days = days(Metric::LatencyMs, Reading::Level, &points);
        let lately = RecentRate::of(&days, Some(50.0), at("2026-01-31T12:00:00Z"));
        let expected = RecentRate {
            days: 3,
            p95: 50.0,
            worst: 60.0,
            days_over: 2,
        };
        assert_eq!(lately, Some(expected));
    }

    #[test]
    fn incomplete_day_is_a_level_but_no_amount() {
        let start = at("2026-01-01T00:00:00Z");
        let values: Vec<_> = (0..60)
            .map(|hour| (start + TimeDelta::hours(hour), hour as f64))
            .collect();
        let of = |kind| -> Vec<f64> {
            let days = days_of(kind, &values).into_iter();
            days.map(|day| day.value).collect()
        };
        assert_eq!(of(MetricKind::Gauge), [23.0, 47.0, 59.0]);
        assert_eq!(of(MetricKind::Period), [276.0, 852.0]);
    }
}
