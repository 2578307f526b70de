//! How much of each limit is used, by the newest measurements.
//!
//! A missing measurement is never taken for zero, and an old one never for a current one.

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::format;
use crate::domain::metrics::names::MetricKind;
use crate::domain::metrics::point::{Point, Reading};
use crate::domain::named::named;
use crate::domain::plans::limit::{LimitFault, LimitInForce};

named! {
    /// The state of a limit.
    LimitState, "state" {
        Ok = "OK",
        Warning = "WARNING",
        Critical = "CRITICAL",
        /// At the limit or beyond.
        Over = "OVER",
        /// The newest value is too old.
        Stale = "STALE",
        NoData = "NO_DATA",
        /// The limit itself is invalid or ambiguous.
        Unknown = "UNKNOWN",
    }
}

impl LimitState {
    pub fn is_unknown(self) -> bool {
        matches!(
            self,
            LimitState::Stale | LimitState::NoData | LimitState::Unknown
        )
    }

    pub fn is_critical(self) -> bool {
        matches!(self, LimitState::Critical | LimitState::Over)
    }

    /// The state at a percentage of the limit.
    fn at(percent: f64, limit: &LimitInForce) -> LimitState {
        if percent >= 100.0 {
            LimitState::Over
        } else if percent >= limit.critical_percent {
            LimitState::Critical
        } else if percent >= limit.warning_percent {
            LimitState::Warning
        } else {
            LimitState::Ok
        }
    }
}

/// Why the state of a limit is not known.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum UnknownReason {
    #[error("no measurements")]
    NoData,
    #[error("newest value is of an earlier period")]
    EarlierPeriod,
    #[error("newest value is {} old", format::duration(*.0))]
    Old(TimeDelta),
    #[error(transparent)]
    Fault(#[from] LimitFault),
}

/// The status of one limit for one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitStatus {
    pub limit: LimitInForce,
    /// The database, project or team; empty where the series has no name of its own.
    pub resource: String,
    pub state: LimitState,
    /// The usage, if known.
    pub value: Option<f64>,
    /// The usage in percent of the limit.
    pub percent: Option<f64>,
    pub measured_at: Option<DateTime<Utc>>,
    /// Of a limit per period: the percentage of the period that has passed.
    pub elapsed_percent: Option<f64>,
    /// Why the state is not known, if so.
    pub reason: Option<UnknownReason>,
}

/// The shortest time that a value counts, so that a late run raises no alarm.
const SHORTEST: TimeDelta = TimeDelta::hours(1);

/// How long a value counts where the interval between values is unknown.
const DEFAULT: TimeDelta = TimeDelta::hours(24);

/// The number of expected values that may be missing.
const MISSED: i32 = 3;

/// A rate counts with its highest value of this time.
const PEAK: TimeDelta = TimeDelta::hours(24);

/// A value this far in the future comes from a clock that is ahead.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// The status of a limit by the points of one series.
pub fn status(
    limit: &LimitInForce,
    resource: &str,
    points: &[Point],
    now: DateTime<Utc>,
    stale_after: Option<TimeDelta>,
) -> LimitStatus {
    let period = limit.period.filter(|_| limit.kind == MetricKind::Period);
    let window = period.map(|period| limit.billing.period(period, now));
    let start = window.map(|window| window.from);
    let mut points: Vec<&Point> = points.iter().filter(|it| it.at <= now + AHEAD).collect();
    points.sort_by_key(|point| point.at);
    let mut status = LimitStatus {
        limit: limit.clone(),
        resource: resource.to_owned(),
        state: LimitState::NoData,
        value: usage(limit.kind, &points, start),
        percent: None,
        measured_at: points.last().map(|point| point.at),
        elapsed_percent: window.map(|window| {
            let all = (window.to - window.from).num_milliseconds() as f64;
            (now - window.from).num_milliseconds() as f64 / all * 100.0
        }),
        reason: None,
    };
    let missing = match points.last() {
        None => Some(UnknownReason::NoData),
        Some(newest) if start.is_some_and(|start| is_before_period(newest, start)) => {
            Some(UnknownReason::EarlierPeriod)
        }
        Some(newest) => {
            let longest = stale_after.unwrap_or_else(|| (interval(&points) * MISSED).max(SHORTEST));
            let age = now - newest.at;
            (age > longest).then_some(UnknownReason::Old(age))
        }
    };
    let fault = limit.fault.clone().map(UnknownReason::Fault);
    let reason = fault.or(missing);
    status.state = match (&reason, status.value) {
        (Some(UnknownReason::Fault(_)), _) => LimitState::Unknown,
        (Some(UnknownReason::NoData), _) | (None, None) => LimitState::NoData,
        (Some(UnknownReason::EarlierPeriod | UnknownReason::Old(_)), _) => LimitState::Stale,
        (None, Some(value)) => {
            let percent = value / limit.value * 100.0;
            status.percent = Some(percent).filter(|percent| percent.is_finite());
            LimitState::at(percent, limit)
        }
    };
    status.reason = reason;
    status
}

/// The usage by the points of a series, which are in order of time.
fn usage(kind: MetricKind, points: &[&Point], start: Option<DateTime<Utc>>) -> Option<f64> {
    let newest = points.last()?;
    Some(match (kind, newest.reading) {
        (MetricKind::Period, Reading::Amount) => {
            let in_period = points.iter().filter(|it| {
                it.reading == Reading::Amount && start.is_none_or(|start| it.at >= start)
            });
            in_period.map(|point| point.value).sum()
        }
        (MetricKind::Rate, _) => {
            let recent = points.iter().filter(|it| it.at > newest.at - PEAK);
            recent.map(|point| point.value).fold(newest.value, f64::max)
        }
        _ => newest.value,
    })
}

fn is_before_period(newest: &Point, start: DateTime<Utc>) -> bool {
    // A provider's period may begin some hours before or after the one that is configured.
    let earliest = start - TimeDelta::days(1);
    newest.at < start || newest.period_start.is_some_and(|since| since < earliest)
}

/// The usual time between two values: the median of the newest.
fn interval(points: &[&Point]) -> TimeDelta {
    const NEWEST: usize = 20;
    let recent = &points[points.len().saturating_sub(NEWEST)..];
    let gaps = recent.windows(2).map(|pair| pair[1].at - pair[0].at);
    let mut gaps: Vec<TimeDelta> = gaps.filter(|gap| *gap > TimeDelta::zero()).collect();
    gaps.sort();
    let median = gaps.get(gaps.len() / 2);
    median.copied().unwrap_or(DEFAULT / MISSED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plans::{Billing, LimitPeriod};
    use crate::domain::testing::at;

    fn now() -> DateTime<Utc> {
        at("2026-01-16T12:00:00Z")
    }

    fn limit(kind: MetricKind) -> LimitInForce {
        LimitInForce {
            kind,
            period: (kind == MetricKind::Period).then_some(LimitPeriod::BillingMonth),
            ..LimitInForce::sample()
        }
    }

    fn point(hours_ago: i64, value: f64, reading: Reading) -> Point {
        Point {
            at: now() - TimeDelta::hours(hours_ago),
            value,
            reading,
            period_start: None,
        }
    }

    fn level(value: f64) -> Vec<Point> {
        vec![point(1, value, Reading::Level)]
    }

    fn state(limit: &LimitInForce, points: &[Point]) -> (LimitState, Option<f64>) {
        let status = status(limit, "", points, now(), None);
        (status.state, status.percent.map(f64::round))
    }

    #[test]
    fn percent_of_limit_decides_state() {
        let limit = limit(MetricKind::Gauge);
        for (value, expected) in [
            (0.0, LimitState::Ok),
            (191.9, LimitState::Ok),
            (192.0, LimitState::Warning),
            (230.4, LimitState::Critical),
            (256.0, LimitState::Over),
            (1e9, LimitState::Over),
        ] {
            assert_eq!(state(&limit, &level(value)).0, expected, "{value}");
        }
    }

    #[test]
    fn missing_and_future_values_are_no_data() {
        let limit = limit(MetricKind::Gauge);
        assert_eq!(state(&limit, &[]), (LimitState::NoData, None));
        let future = [point(-1, 5.0, Reading::Level)];
        assert_eq!(state(&limit, &future), (LimitState::NoData, None));
    }

    #[test]
    fn value_is_stale_after_three_missing_ones() {
        let limit = limit(MetricKind::Gauge);
        let every = |hours: i64, newest: i64| -> Vec<Point> {
            let ago = (0..5).map(|n| newest + n * hours);
            ago.map(|ago| point(ago, 10.0, Reading::Level)).collect()
        };
        assert_eq!(state(&limit, &every(24, 71)).0, LimitState::Ok);
        assert_eq!(state(&limit, &every(24, 73)).0, LimitState::Stale);
        assert_eq!(state(&limit, &every(1, 4)), (LimitState::Stale, None));
        // The interval of a single value is unknown.
        for (ago, expected) in [(23, LimitState::Ok), (25, LimitState::Stale)] {
            let points = [point(ago, 10.0, Reading::Level)];
            assert_eq!(state(&limit, &points).0, expected);
        }
        let two_hours = Some(TimeDelta::hours(2));
        let given = status(&limit, "", &every(24, 71), now(), two_hours);
        assert_eq!(given.state, LimitState::Stale);
    }

    #[test]
    fn value_of_earlier_period_is_stale() {
        let limit = limit(MetricKind::Period);
        let points = [point(1, 128.0, Reading::Cumulative)];
        let half = status(&limit, "", &points, now(), None);
        assert_eq!((half.state, half.percent), (LimitState::Ok, Some(50.0)));
        assert_eq!(half.elapsed_percent, Some(50.0));
        let anchored = LimitInForce {
            billing: Billing {
                anchor_day: 16,
                ..Billing::default()
            },
            ..limit.clone()
        };
        // Measured before this period began.
        let points = [point(13, 128.0, Reading::Cumulative)];
        let before = status(&anchored, "", &points, now(), None);
        assert_eq!((before.state, before.percent), (LimitState::Stale, None));
        assert_eq!(before.reason, Some(UnknownReason::EarlierPeriod));
        let mut counter = point(1, 128.0, Reading::Cumulative);
        counter.period_start = Some(at("2025-12-16T00:00:00Z"));
        assert_eq!(state(&anchored, &[counter]).0, LimitState::Stale);
    }

    #[test]
    fn amounts_are_summed_over_the_period_and_rates_count_with_their_peak() {
        let amounts = [500, 48, 24, 1].map(|ago| point(ago, 64.0, Reading::Amount));
        let by_amounts = state(&limit(MetricKind::Period), &amounts);
        assert_eq!(by_amounts, (LimitState::Warning, Some(75.0)));
        let rates = [(30, 999.0), (20, 240.0), (1, 5.0)];
        let rates = rates.map(|(ago, value)| point(ago, value, Reading::Level));
        let by_rates = state(&limit(MetricKind::Rate), &rates);
        assert_eq!(by_rates, (LimitState::Critical, Some(94.0)));
    }

    #[test]
    fn invalid_limit_is_unknown() {
        for value in [0.0, f64::NAN] {
            let limit = LimitInForce {
                value,
                fault: Some(LimitFault::Value(value)),
                ..limit(MetricKind::Gauge)
            };
            assert_eq!(state(&limit, &level(10.0)), (LimitState::Unknown, None));
            assert_eq!(state(&limit, &[]), (LimitState::Unknown, None));
        }
    }
}
