//! The usage recorded in this database: requests to AI APIs, and their credits.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, TimeDelta, Utc};

use super::{CollectContext, Collected, points_at};
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{NewPoint, Reading, midnight};
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::credits::Credits;
use crate::domain::usage::settings::Mode;
use crate::error::Error;
use crate::store::db::Db;
use crate::store::usage::{dirty, lookback, rollups, settings};

/// The user's budget and price of credits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prices {
    /// Credits per month.
    pub budget: Option<f64>,
    /// US dollars per credit.
    pub credit_usd: Option<f64>,
}

/// As long as forecasts look back, and more.
const LONGEST: TimeDelta = TimeDelta::days(366);

/// Sums up the roll-ups of these APIs: the days since the last collection, and the month's credits against the budget.
pub fn usage(
    db: &mut Db,
    apis: &[String],
    prices: Prices,
    context: &CollectContext,
) -> Result<Collected, CollectorError> {
    let now = context.now;
    let today = midnight(now);
    let first = context.first_day(LONGEST);
    let month = today.with_day(1).unwrap_or(today);
    let window = Window::new(month.min(first), today + TimeDelta::days(1));
    let apis: BTreeSet<&str> = apis.iter().map(String::as_str).collect();
    let failed = |error: Error| CollectorError::new(error, "usagectl aggregate --verify");
    let hours = rollups::merge(db, Granularity::Hourly, Some, &apis, window).map_err(failed)?;
    let covered = covered_days(db, &apis, window).map_err(failed)?;
    let mut days: BTreeMap<DateTime<Utc>, (u64, Credits)> = BTreeMap::new();
    for (hour, rollup) in &hours {
        let (requests, credits) = days.entry(midnight(hour.start)).or_default();
        *requests += rollup.total.total_requests;
        *credits = credits.plus(rollup.total.total_cost);
    }
    for day in covered {
        days.entry(day).or_default();
    }
    let mut collected = Collected {
        revises: true,
        ..Collected::default()
    };
    if days.is_empty() {
        let note = "these APIs have no roll-ups; run usagectl aggregate first";
        collected.notes.push(note.to_owned());
        return Ok(collected);
    }
    let derived = |metric, value, at| -> NewPoint {
        let new = points_at(MetricSource::Usage, Service::AiCredits, at);
        new(metric, value).with("quality", "derived")
    };
    for (day, (requests, credits)) in days.range(first..) {
        let credits = credits.to_f64();
        let requests = derived(Metric::RequestCount, *requests as f64, *day);
        let requests = requests.with_reading(Reading::Amount);
        collected.points.push(requests.with("credits", credits));
        if let Some(usd) = prices.credit_usd {
            let cost = derived(Metric::CostUsd, credits * usd, *day);
            let cost = cost.with_reading(Reading::Amount);
            collected.points.push(cost.with("credit_usd", usd));
        }
    }
    if let Some(budget) = prices.budget {
        let of_month = days.range(month..).map(|(_, (_, credits))| *credits);
        let used = of_month.fold(Credits::ZERO, Credits::plus).to_f64();
        let percent = derived(Metric::UsagePercent, used / budget * 100.0, now);
        let percent = percent.with("credits", used).with("budget", budget);
        collected.points.push(percent);
    }
    Ok(collected)
}

/// The days of a window whose calls the roll-ups count, even if there are none: those since the first call of these APIs
/// in which no hour waits for `usagectl aggregate`.
fn covered_days(
    db: &mut Db,
    apis: &BTreeSet<&str>,
    window: Window,
) -> Result<Vec<DateTime<Utc>>, Error> {
    let settings = settings::load(db)?;
    let mode = lookback::mode(db, settings)?;
    let (Some(first), Some(mode)) = (rollups::first_hour(db, apis)?, mode) else {
        return Ok(Vec::new());
    };
    let mut waiting = dirty::dirty_hours(db, window)?;
    let stale = rollups::stale_in(db, window)?.into_iter();
    let stale = stale.filter(|(granularity, _)| *granularity == Granularity::Hourly);
    waiting.extend(stale.map(|(_, hour)| hour));
    if mode == Mode::Lookback {
        waiting.extend(lookback::changed_hours(db, window)?);
    }
    let of_apis = waiting
        .iter()
        .filter(|hour| apis.contains(hour.api_name.as_str()));
    let waiting: BTreeSet<DateTime<Utc>> = of_apis.map(|hour| midnight(hour.start)).collect();
    let days = std::iter::successors(Some(window.from.max(midnight(first))), |day| {
        Some(*day + TimeDelta::days(1))
    });
    let days = days.take_while(|day| *day < window.to);
    Ok(days.filter(|day| !waiting.contains(day)).collect())
}
