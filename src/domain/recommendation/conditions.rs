//! What channels are notified of: limits that are near or reached, and open recommendations.

use chrono::{DateTime, TimeDelta, Utc};

use super::cost::decimal;
use super::figure::{Unit, with_unit};
use super::reconcile::is_too_old;
use super::risk::{Decision, MARGIN, Risk};
use super::{Recommendation, is_open};
use crate::domain::alert::condition::{Condition, LIMIT, Level, RECOMMENDATION};
use crate::domain::alert::rule::Severity;
use crate::domain::alert::state::Observation;
use crate::domain::capacity::Capacity;
use crate::domain::capacity::state::{LimitState, UnknownReason};
use crate::domain::forecast::DayNumber;
use crate::domain::format::{count, counted, number, percent, with_range};
use crate::domain::metrics::names::{Measure, Priority, Status};
use crate::domain::plans::LimitInForce;
use crate::domain::recommendation::prose::summary::effect;

/// The condition of a limit; none for a pace, which is that of another limit.
pub fn of_limit(capacity: &Capacity, now: DateTime<Utc>) -> Option<Condition> {
    /// Two weeks, with the days before and after.
    const MOST_DAYS: DayNumber = 16;
    let limit = capacity.limit.as_ref()?;
    if capacity.measure == Measure::Pace {
        return None;
    }
    let (level, threshold) = level(capacity, limit, now);
    let series = &capacity.series;
    let (service, metric, resource) = (series.service, series.metric, &series.resource);
    let id = format!("limit/{service}/{metric}/{resource}");
    let subject = series.to_string();
    let mut text = limit_text(capacity, limit);
    if let Level::At { steps, .. } = level {
        text.extend(chance_text(capacity).filter(|_| steps[1] > 0));
        text.push_str(&format!("; at the limit, {}", effect(limit.at_limit)));
    }
    let held = (1..=MOST_DAYS).filter_map(|days| capacity.highest(days));
    let held =
        held.map(|most| reached(most / limit.value * 100.0 + MARGIN, thresholds(limit)) as u32);
    let condition = Condition::new(LIMIT, &id, subject, level, text);
    Some(Condition {
        held_for_days: held.collect(),
        observed: Observation {
            value: capacity.percent(),
            threshold,
            limit_value: Some(limit.value),
        },
        ..condition
    })
}

/// The level of a limit, and the highest threshold in percent that it has reached, or else that of its forecast: 1 likely
/// to be reached, 2 warning, 3 critical or likely within days, 4 reached. Its steps are the threshold (1 warning, 2
/// critical, 3 limit) and the forecast (1 likely, 2 likely within days): each is news of its own.
fn level(capacity: &Capacity, limit: &LimitInForce, now: DateTime<Utc>) -> (Level, Option<f64>) {
    const URGENT: u32 = 3;
    /// At the start of a billing period, vendors report it a few days late.
    const LATE: TimeDelta = TimeDelta::days(3);
    if capacity.state == LimitState::Stale {
        // A short gap of readings, such as one every night, says nothing new.
        if matches!(capacity.reason, Some(UnknownReason::Old(age)) if age < TimeDelta::days(1)) {
            return (Level::KEEP, None);
        }
        let is_late = capacity.measured_at.is_some_and(|at| now - at > LATE);
        let is_old = is_late || matches!(capacity.reason, Some(UnknownReason::Old(_)));
        let unknown = Level::Unknown { begins: true };
        return (if is_old { unknown } else { Level::KEEP }, None);
    }
    if !capacity.is_assessable() {
        return (Level::KEEP, None);
    }
    let risk = Risk::of(capacity, limit);
    let (used, decision) = (risk.used_percent, risk.decision());
    let is_likely = decision == Decision::Recommend;
    let is_urgent = is_likely && risk.priority() == Priority::Critical;
    let thresholds = thresholds(limit);
    let reached = |used: f64| reached(used, thresholds);
    let (usage, held) = (reached(used), reached(used + MARGIN));
    let forecast = usize::from(is_likely) + usize::from(is_urgent);
    match [usage, forecast] {
        // The days that are missing may hold more.
        [0, 0] if capacity.state.is_unknown() => (Level::KEEP, None),
        [0, 0] if decision == Decision::Keep || held > 0 => {
            let held = held as u32;
            (Level::Keep { held }, None)
        }
        [0, 0] => (Level::Clear, None),
        steps => {
            let level = [0, 2, 3, 4][usage].max([0, 1, URGENT][forecast]);
            // A forecast has no margin: it holds while the limit is likely to be reached, or nearly is; and with the
            // critical threshold, from which on a limit without a forecast is urgent.
            let held_forecast = if is_likely || held > 1 { 2 } else { 1 };
            let at = Level::At {
                level,
                severity: severity(level, URGENT),
                steps: steps.map(|step| step as u32),
                held: [held as u32, held_forecast],
            };
            let threshold = usage.checked_sub(1).map_or(100.0, |last| thresholds[last]);
            (at, Some(threshold))
        }
    }
}

fn thresholds(limit: &LimitInForce) -> [f64; 3] {
    [limit.warning_percent, limit.critical_percent, 100.0]
}

/// The number of the thresholds that a usage in percent has reached.
fn reached(used: f64, thresholds: [f64; 3]) -> usize {
    let highest = thresholds.iter().rposition(|from| used >= *from);
    highest.map_or(0, |index| index + 1)
}

fn severity(level: u32, critical: u32) -> Severity {
    if level >= critical {
        Severity::Critical
    } else {
        Severity::Warning
    }
}

/// `(free) is at 240 MB of 256 MB, 93.8%, full in 4 days (3 to 5)`.
fn limit_text(capacity: &Capacity, limit: &LimitInForce) -> String {
    let amount = |value: f64| match decimal(value) {
        Some(exact) => with_unit(exact, Unit::Of(limit.metric)),
        None => number(value),
    };
    let [used, value] = [capacity.usage.unwrap_or(f64::NAN), limit.value].map(amount);
    let share = capacity.usage.map(|usage| usage / limit.value * 100.0);
    let percent = percent(share.unwrap_or(f64::NAN));
    let (at, bound) = match capacity.is_at_least() {
        true => ("", "at least "),
        false => ("at ", ""),
    };
    if let (LimitState::Stale, Some(reason)) = (capacity.state, capacity.reason_text()) {
        return format!(
            "({}) was {at}{bound}{used} of {value}; {reason}",
            limit.plan
        );
    }
    let mut text = format!(
        "({}) is {at}{bound}{used} of {value}, {bound}{percent}",
        limit.plan
    );
    text.push_str(&capacity.span());
    if let Some([Some(early), Some(days), late]) = days_to_limit(capacity) {
        text.push_str(&match days {
            0 => ", full today".to_owned(),
            days => {
                let days = counted(u64::from(days), "day");
                let days = with_range(days, count(early), late.map(count));
                format!(", full in {days}")
            }
        });
    }
    if let Some(reason) = capacity.reason_text().filter(|_| capacity.is_assessable()) {
        text.push_str(&format!("; {reason}"));
    }
    text
}

/// The days until a limit that is not reached yet.
fn days_to_limit(capacity: &Capacity) -> Option<[Option<u32>; 3]> {
    let crossing = capacity.crossing(2).filter(|it| !it.reached)?;
    Some(crossing.days)
}

/// Why a limit is listed that most likely is not reached: the chance that it is.
fn chance_text(capacity: &Capacity) -> Option<String> {
    if days_to_limit(capacity)?[1].is_some() {
        return None;
    }
    let (days, soon) = capacity.crossing(2)?.soon;
    let over = capacity.chance_over().filter(|over| *over >= soon);
    let event = match over {
        Some(_) => "to exceed the limit in this period".to_owned(),
        None => format!("to be full within {}", counted(days as u64, "day")),
    };
    let chance = over.unwrap_or(soon);
    // Near the limit, a pace of zero is no reason.
    (chance > 0.0).then(|| format!(", {} chance {event}", percent(chance * 100.0)))
}

/// The condition of a recommendation. One that is decided goes on until it is closed.
pub fn of_recommendation(it: &Recommendation, now: DateTime<Utc>) -> Option<Condition> {
    let tracking = it.tracking.as_ref()?;
    let is_too_old = is_too_old(it, now);
    let level = match it.status {
        Status::Pending | Status::Reviewed if is_too_old => Level::Unknown { begins: false },
        Status::Pending | Status::Reviewed => {
            let level = it.priority as u32 + 1;
            let worst = Priority::Critical as u32 + 1;
            Level::At {
                level,
                severity: severity(level, worst),
                steps: [level, 0],
                held: [worst, 0],
            }
        }
        status if is_open(status) => Level::KEEP,
        _ => Level::Clear,
    };
    let subject = format!("{} {}", it.service, it.current_plan);
    let subject = match tracking.resource.as_str() {
        "" => subject,
        resource => format!("{subject} {resource}"),
    };
    let text = match is_open(it.status) {
        true if is_too_old => format!(
            "has a recommendation whose measurements are older than 14 days; usagectl recommend show {}",
            it.id
        ),
        true => format!(
            "has a recommendation of priority {}: {}; usagectl recommend show {}",
            it.priority,
            it.facts().map_or_else(
                || it.recommended_plan.clone(),
                |facts| facts.target.to_string()
            ),
            it.id
        ),
        false => format!("has a recommendation that is now {}", it.status),
    };
    let id = format!("recommendation/{}", it.id);
    Some(Condition::new(RECOMMENDATION, &id, subject, level, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::capacity::readings::SeriesDays;
    use crate::domain::metrics::day::MetricDay;
    use crate::domain::metrics::point::{Point, PointMetadata, Series};
    use crate::domain::testing::at;

    #[test]
    fn chance_of_zero_is_no_reason() {
        let limit = LimitInForce::sample();
        let series = Series::new(limit.service, limit.metric, "");
        let hour = |hour: i64| at("2026-01-16T01:00:00Z") + TimeDelta::hours(hour);
        let metadata = PointMetadata::default();
        let points = (0..2).filter_map(|it| {
            Point::from_row(limit.metric, hour(it), limit.value * 0.95, &metadata)
        });
        let day = MetricDay::from_points(&series, points.collect(), None);
        let days = SeriesDays::of_days(&day.into_iter().collect::<Vec<_>>()).unwrap();
        let capacity = Capacity::new(&days, Some(&limit), hour(1), None);
        let condition = of_limit(&capacity, hour(1)).unwrap();
        let is_critical = matches!(
            condition.level,
            Level::At {
                severity: Severity::Critical,
                ..
            }
        );
        assert!(
            is_critical && !condition.text.contains("chance"),
            "{condition:?}"
        );
    }

    #[test]
    fn gap_of_less_than_a_day_keeps_the_level() {
        let limit = LimitInForce::sample();
        let series = Series::new(limit.service, limit.metric, "");
        let hour = |hour: i64| at("2026-01-16T01:00:00Z") + TimeDelta::hours(hour);
        let metadata = PointMetadata::default();
        let points = (0..6).filter_map(|it| {
            Point::from_row(limit.metric, hour(it), limit.value * 0.95, &metadata)
        });
        let day = MetricDay::from_points(&series, points.collect(), None);
        let days = SeriesDays::of_days(&day.into_iter().collect::<Vec<_>>()).unwrap();
        let level = |now| {
            let capacity = Capacity::new(&days, Some(&limit), now, None);
            of_limit(&capacity, now).unwrap().level
        };
        assert!(matches!(level(hour(6)), Level::At { .. }));
        assert_eq!(level(hour(14)), Level::KEEP);
        assert_eq!(level(hour(31)), Level::Unknown { begins: true });
    }
}
