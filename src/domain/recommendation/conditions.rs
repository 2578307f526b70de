//! What channels are notified of: limits that are near or reached, and open recommendations.

use super::cost::decimal;
use super::figure::{Figure, Unit};
use super::risk::{Decision, Risk};
use super::{Recommendation, is_open};
use crate::domain::alert::condition::{Condition, LIMIT, Level, RECOMMENDATION};
use crate::domain::alert::rule::Severity;
use crate::domain::alert::state::Observation;
use crate::domain::capacity::Capacity;
use crate::domain::format::{counted, percent};
use crate::domain::metrics::names::{Measure, Priority, Status};
use crate::domain::plans::LimitInForce;
use crate::domain::recommendation::prose::summary::effect;

/// The condition of a limit; none for a pace, which is that of another limit.
pub fn of_limit(capacity: &Capacity) -> Option<Condition> {
    let limit = capacity.limit.as_ref()?;
    if capacity.measure == Measure::Pace {
        return None;
    }
    let (level, threshold) = level(capacity, limit);
    let series = &capacity.series;
    let (service, metric, resource) = (series.service, series.metric, &series.resource);
    let id = format!("limit/{service}/{metric}/{resource}");
    let subject = series.to_string();
    let mut text = limit_text(capacity, limit);
    if matches!(level, Level::At { .. }) {
        text.push_str(&format!("; at the limit, {}", effect(limit.at_limit)));
    }
    let condition = Condition::new(LIMIT, &id, subject, level, text);
    Some(Condition {
        observed: Observation {
            value: capacity.percent(),
            threshold,
            limit_value: Some(limit.value),
        },
        ..condition
    })
}

/// The level of a limit, and the threshold in percent that it follows from: 1 likely to be reached, 2 warning, 3 critical or
/// likely within days, 4 reached.
fn level(capacity: &Capacity, limit: &LimitInForce) -> (Level, Option<f64>) {
    /// Points that usage is below a threshold when it has clearly fallen.
    const MARGIN: f64 = 5.0;
    const URGENT: u32 = 3;
    let Some(used) = capacity.percent() else {
        return (Level::Keep, None);
    };
    let risk = Risk::of(capacity, limit);
    let decision = risk.decision();
    let is_likely = decision == Decision::Recommend;
    let is_urgent = is_likely && risk.priority() == Priority::Critical;
    let (warning, critical) = (limit.warning_percent, limit.critical_percent);
    let levels = [(4, 100.0), (3, critical), (2, warning)];
    let reached = |used: f64| levels.into_iter().find(|(_, from)| used >= *from);
    let forecast = u32::from(is_likely).max(if is_urgent { URGENT } else { 0 });
    let by_usage = reached(used).filter(|(level, _)| *level >= forecast);
    let (level, threshold) = by_usage.unwrap_or((forecast, 100.0));
    let held = reached(used + MARGIN).map_or(0, |(level, _)| level);
    match level {
        0 if decision == Decision::Keep || held > 0 => (Level::Keep, None),
        0 => (Level::Clear, None),
        _ => {
            let at = Level::At {
                level,
                severity: severity(level, URGENT),
                // A forecast has no margin: it holds while the limit is likely to be reached.
                held: held.max(if is_likely { URGENT } else { 0 }),
            };
            (at, Some(threshold))
        }
    }
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
    let amount = |value: f64| Figure::new(decimal(value), Unit::Of(limit.metric)).short();
    let [used, value] = [capacity.usage.unwrap_or(f64::NAN), limit.value].map(amount);
    let percent = percent(capacity.percent().unwrap_or(f64::NAN));
    let mut text = format!("({}) is at {used} of {value}, {percent}", limit.plan);
    if let Some(crossing) = capacity.crossing(2).filter(|it| !it.reached)
        && let [early, Some(days), late] = crossing.days
    {
        text.push_str(&format!(", full in {}", counted(u64::from(days), "day")));
        if let (Some(early), Some(late)) = (early, late) {
            text.push_str(&format!(" ({early} to {late})"));
        }
    }
    text
}

/// The condition of a recommendation. One that is decided goes on until it is closed.
pub fn of_recommendation(it: &Recommendation) -> Option<Condition> {
    let tracking = it.tracking.as_ref()?;
    let level = match it.status {
        Status::Pending | Status::Reviewed => {
            let level = it.priority as u32 + 1;
            let worst = Priority::Critical as u32 + 1;
            Level::At {
                level,
                severity: severity(level, worst),
                held: worst,
            }
        }
        status if is_open(status) => Level::Keep,
        _ => Level::Clear,
    };
    let subject = format!("{} {}", it.service, it.current_plan);
    let subject = match tracking.resource.as_str() {
        "" => subject,
        resource => format!("{subject} {resource}"),
    };
    let text = match is_open(it.status) {
        true => format!(
            "has a recommendation of priority {}: {}; usagectl recommend show {}",
            it.priority, it.recommended_plan, it.id
        ),
        false => format!("has a recommendation that is now {}", it.status),
    };
    let id = format!("recommendation/{}", it.id);
    Some(Condition::new(RECOMMENDATION, &id, subject, level, text))
}
