//! The outcome of an implemented recommendation: predicted values beside measured ones.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::{ENGINE, RunAction, Update};
use crate::domain::format;
use crate::domain::metrics::names::Status;
use crate::domain::recommendation::Recommendation;
use crate::domain::recommendation::figure::Figure;
use crate::domain::recommendation::lifecycle::Actor;
use crate::domain::recommendation::lifecycle::history::Entry;

/// Records the outcome once, 14 days after the change or later; without a fresh measurement after 30 days.
pub fn outcome(
    before: &Recommendation,
    measured: Option<(DateTime<Utc>, f64)>,
    now: DateTime<Utc>,
) -> Option<Update> {
    const AFTER: TimeDelta = TimeDelta::days(14);
    const LATEST: TimeDelta = TimeDelta::days(30);
    const FRESH: TimeDelta = TimeDelta::hours(24);
    let tracking = before.tracking.as_ref()?;
    let implemented_at = before.implemented_at?;
    let is_due = before.status == Status::Implemented && tracking.outcome.is_none();
    let fresh = measured.filter(|(at, _)| now - *at <= FRESH);
    let must_wait = fresh.is_none() && now - implemented_at < LATEST;
    if !is_due || now - implemented_at < AFTER || must_wait {
        return None;
    }
    let predicted = before.facts().map(|facts| &facts.outlook.days_to_limit);
    let limit = before.numbers.limit_value;
    let outcome = json!({
        "measured_at": fresh.map(|(at, _)| format::time_ms(at)),
        "usage": fresh.map(|(_, usage)| usage),
        "usage_when_decided": before.numbers.current_usage,
        "limit_when_decided": limit,
        "days_to_limit_predicted": predicted.and_then(Figure::as_float),
        "days_since_implemented": (now - implemented_at).num_days(),
        "would_be_over": fresh.zip(limit).map(|((_, usage), limit)| usage > limit),
        "cost_predicted": before.numbers.projected_cost,
    });
    let mut update = Update::of(before, before.clone(), RunAction::Measured);
    if let Some(tracking) = &mut update.after.tracking {
        tracking.outcome = Some(outcome.to_string());
        tracking.version = tracking.version.saturating_add(1);
    }
    update.entries.push(Entry {
        note: Some("outcome measured".to_owned()),
        ..Entry::new(before, Actor::Engine, ENGINE, before.status, now)
    });
    Some(update)
}
