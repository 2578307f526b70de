//! How near each limit is, by what was measured last.
//!
//! What was not measured is never taken for zero, and an old value never for a new one.

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::metrics::names::MetricKind;
use crate::domain::metrics::point::{Point, Reading};
use crate::domain::named::named;
use crate::domain::plans::limit::LimitInForce;

named! {
    /// Where a limit stands.
    State, "state" {
        Ok = "OK",
        /// From the warning on.
        Warning = "WARNING",
        /// From the critical share on.
        Critical = "CRITICAL",
        /// At the limit or beyond.
        Over = "OVER",
        /// The newest value is too old to judge by.
        Stale = "STALE",
        NoData = "NO_DATA",
        /// It cannot be judged.
        Unknown = "UNKNOWN",
    }
}

impl State {
    /// Whether nobody knows how near the limit is.
    pub fn is_unknown(self) -> bool {
        matches!(self, State::Stale | State::NoData | State::Unknown)
    }

    /// Whether it is critical or worse.
    pub fn is_critical(self) -> bool {
        matches!(self, State::Critical | State::Over)
    }
}

/// One limit, of one resource, and how near it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub limit: LimitInForce,
    /// Which database, project or team; empty where the series has no name of its own.
    pub resource: String,
    pub state: State,
    /// What is used, if that is known.
    pub value: Option<f64>,
    /// That, as percent of the limit.
    pub percent: Option<f64>,
    pub measured_at: Option<DateTime<Utc>>,
    /// Of limits per period: how many percent of the period have passed.
    pub elapsed_percent: Option<f64>,
    /// Why it cannot be judged, if so.
    pub reason: Option<String>,
}

/// How long the newest value counts, at least: a run that comes late is no reason for alarm.
const SHORTEST: TimeDelta = TimeDelta::hours(1);

/// How long it counts where nothing tells how often there is one.
const USUAL: TimeDelta = TimeDelta::hours(24);

/// So many expected values may be missing.
const MISSED: i32 = 3;

/// Of a rate the highest value of this long counts.
const PEAK: TimeDelta = TimeDelta::hours(24);

/// A value of the near future comes from a clock that is ahead.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// Judges a limit by the points of one series.
pub fn judge(
    limit: &LimitInForce,
    resource: &str,
    points: &[Point],
    now: DateTime<Utc>,
    stale_after: Option<TimeDelta>,
) -> Standing {
    let period = limit.period.filter(|_| limit.kind == MetricKind::Period);
    let window = period.map(|period| limit.billing.period(period, now));
    let elapsed = window.map(|window| {
        let all = (window.to - window.from).num_milliseconds() as f64;
        (now - window.from).num_milliseconds() as f64 / all * 100.0
    });
    let mut points: Vec<&Point> = points.iter().filter(|it| it.at <= now + AHEAD).collect();
    points.sort_by_key(|point| point.at);
    let mut standing = Standing {
        limit: limit.clone(),
        resource: resource.to_owned(),
        state: State::NoData,
        value: None,
        percent: None,
        measured_at: points.last().map(|point| point.at),
        elapsed_percent: elapsed,
        reason: None,
    };
    let Some(newest) = points.last().copied() else {
        standing.reason = Some("nothing was measured".to_owned());
        if let Some(fault) = &limit.fault {
            standing.state = State::Unknown;
            standing.reason = Some(fault.clone());
        }
        return standing;
    };
    let start = window.map(|window| window.from);
    let value = match (limit.kind, newest.reading) {
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
    };
    standing.value = Some(value);
    let is_of_earlier = start.is_some_and(|start| {
        // A provider's period may begin some hours beside the one that we were told.
        let with_period_start = newest.period_start;
        newest.at < start
            || with_period_start.is_some_and(|since| since < start - TimeDelta::days(1))
    });
    let longest = stale_after.unwrap_or_else(|| (usual_gap(&points) * MISSED).max(SHORTEST));
    let outdated = if is_of_earlier {
        Some("the newest value is of an earlier period".to_owned())
    } else if now - newest.at > longest {
        Some(format!("the newest value is {} old", span(now - newest.at)))
    } else {
        None
    };
    (standing.state, standing.reason) = match (&limit.fault, outdated) {
        (Some(fault), _) => (State::Unknown, Some(fault.clone())),
        (None, Some(why)) => (State::Stale, Some(why)),
        (None, None) => {
            let percent = value / limit.value * 100.0;
            standing.percent = Some(percent).filter(|percent| percent.is_finite());
            (state_of(limit, percent), None)
        }
    };
    standing
}

fn state_of(limit: &LimitInForce, percent: f64) -> State {
    if percent >= 100.0 {
        State::Over
    } else if percent >= limit.critical_percent {
        State::Critical
    } else if percent >= limit.warning_percent {
        State::Warning
    } else {
        State::Ok
    }
}

/// How long it usually is from one value to the next: the median of the last ones.
fn usual_gap(points: &[&Point]) -> TimeDelta {
    const LOOKED_AT: usize = 20;
    let recent = &points[points.len().saturating_sub(LOOKED_AT)..];
    let gaps = recent.windows(2).map(|pair| pair[1].at - pair[0].at);
    let mut gaps: Vec<TimeDelta> = gaps.filter(|gap| *gap > TimeDelta::zero()).collect();
    gaps.sort();
    match gaps.get(gaps.len() / 2) {
        Some(gap) => *gap,
        None => USUAL / MISSED,
    }
}

/// A length of time as people say it.
fn span(length: TimeDelta) -> String {
    match (length.num_days(), length.num_hours()) {
        (2.., _) => format!("{} days", length.num_days()),
        (_, 2..) => format!("{} hours", length.num_hours()),
        _ => format!("{} minutes", length.num_minutes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::metrics::names::{Metric, Service};
    use crate::domain::plans::{AtLimit, Billing, LimitPeriod, Origin};

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn now() -> DateTime<Utc> {
        at("2026-01-16T12:00:00Z")
    }

    fn limit(kind: MetricKind) -> LimitInForce {
        LimitInForce {
            service: Service::VercelKv,
            metric: Metric::StorageMb,
            plan: "free".to_owned(),
            value: 256.0,
            warning_percent: 75.0,
            critical_percent: 90.0,
            kind,
            period: (kind == MetricKind::Period).then_some(LimitPeriod::BillingMonth),
            at_limit: AtLimit::Reject,
            origin: Origin::User,
            source: None,
            page_date: None,
            grade: None,
            catalogue_version: None,
            provider: None,
            billing: Billing::default(),
            fault: None,
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

    fn state(limit: &LimitInForce, points: &[Point]) -> (State, Option<f64>) {
        let standing = judge(limit, "", points, now(), None);
        (standing.state, standing.percent.map(f64::round))
    }

    #[test]
    fn the_share_decides() {
        let limit = limit(MetricKind::Gauge);
        for (value, expected) in [
            (0.0, State::Ok),
            (191.9, State::Ok),
            (192.0, State::Warning),
            (230.4, State::Critical),
            (256.0, State::Over),
            (1e9, State::Over),
        ] {
            assert_eq!(state(&limit, &level(value)).0, expected, "{value}");
        }
    }

    #[test]
    fn what_was_not_measured_is_not_zero() {
        assert_eq!(state(&limit(MetricKind::Gauge), &[]), (State::NoData, None));
        let future = [point(-1, 5.0, Reading::Level)];
        assert_eq!(
            state(&limit(MetricKind::Gauge), &future),
            (State::NoData, None)
        );
    }

    #[test]
    fn a_value_counts_until_three_are_missing() {
        let limit = limit(MetricKind::Gauge);
        let every = |hours: i64, newest: i64| -> Vec<Point> {
            let ago = (0..5).map(|n| newest + n * hours);
            ago.map(|ago| point(ago, 10.0, Reading::Level)).collect()
        };
        assert_eq!(state(&limit, &every(24, 71)).0, State::Ok);
        assert_eq!(state(&limit, &every(24, 73)).0, State::Stale);
        assert_eq!(state(&limit, &every(1, 4)), (State::Stale, None));
        // A single one tells nothing about how often they come.
        assert_eq!(
            state(&limit, &[point(23, 10.0, Reading::Level)]).0,
            State::Ok
        );
        assert_eq!(
            state(&limit, &[point(25, 10.0, Reading::Level)]).0,
            State::Stale
        );
        let told = judge(&limit, "", &every(24, 71), now(), Some(TimeDelta::hours(2)));
        assert_eq!(told.state, State::Stale);
    }

    #[test]
    fn a_period_is_seen_beside_how_much_of_it_has_passed() {
        let limit = limit(MetricKind::Period);
        let standing = judge(
            &limit,
            "",
            &[point(1, 128.0, Reading::Cumulative)],
            now(),
            None,
        );
        assert_eq!((standing.state, standing.percent), (State::Ok, Some(50.0)));
        assert_eq!(standing.elapsed_percent, Some(50.0));
        let anchored = LimitInForce {
            billing: Billing {
                anchor_day: 16,
                ..Billing::default()
            },
            ..limit.clone()
        };
        // Measured before this period began.
        let before = judge(
            &anchored,
            "",
            &[point(13, 128.0, Reading::Cumulative)],
            now(),
            None,
        );
        assert_eq!((before.state, before.percent), (State::Stale, None));
        assert_eq!(
            before.reason.as_deref(),
            Some("the newest value is of an earlier period")
        );
        let mut counter = point(1, 128.0, Reading::Cumulative);
        counter.period_start = Some(at("2025-12-16T00:00:00Z"));
        assert_eq!(state(&anchored, &[counter]).0, State::Stale);
    }

    #[test]
    fn amounts_of_the_period_are_added_and_of_rates_the_peak_counts() {
        let amounts: Vec<Point> = [500, 48, 24, 1]
            .map(|ago| point(ago, 64.0, Reading::Amount))
            .to_vec();
        assert_eq!(
            state(&limit(MetricKind::Period), &amounts),
            (State::Warning, Some(75.0))
        );
        let rates = [
            point(30, 999.0, Reading::Level),
            point(20, 240.0, Reading::Level),
            point(1, 5.0, Reading::Level),
        ];
        assert_eq!(
            state(&limit(MetricKind::Rate), &rates),
            (State::Critical, Some(94.0))
        );
    }

    #[test]
    fn a_limit_that_makes_no_sense_is_unknown() {
        for value in [0.0, f64::NAN] {
            let limit = LimitInForce {
                value,
                fault: Some("no limit".to_owned()),
                ..limit(MetricKind::Gauge)
            };
            assert_eq!(state(&limit, &level(10.0)), (State::Unknown, None));
            assert_eq!(state(&limit, &[]), (State::Unknown, None));
        }
    }
}
