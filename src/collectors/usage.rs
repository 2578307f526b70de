//! What this database itself has recorded: requests to the APIs of AI, and their credits.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, TimeDelta, Utc};

use super::{Collected, point};
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{NewPoint, Reading, midnight};
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::credits::Credits;
use crate::error::Error;
use crate::store::db::Db;
use crate::store::usage::rollups;

/// What only the user knows about credits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prices {
    /// How many credits a month may cost.
    pub budget: Option<f64>,
    /// How many US dollars a credit costs.
    pub credit_usd: Option<f64>,
}

/// Days that may still get late rows.
const LAST_DAYS: TimeDelta = TimeDelta::days(3);

/// Adds up what the roll-ups say of these APIs: the last days, and the month's credits against the budget.
pub fn usage(
    db: &mut Db,
    apis: &[String],
    prices: Prices,
    now: DateTime<Utc>,
) -> Result<Collected, CollectorError> {
    let today = midnight(now);
    let month = today.with_day(1).unwrap_or(today);
    let window = Window {
        from: month.min(today - LAST_DAYS),
        to: today + TimeDelta::days(1),
    };
    let apis: BTreeSet<&str> = apis.iter().map(String::as_str).collect();
    let failed = |error: Error| CollectorError::new(error, "usagectl aggregate --verify");
    let hours = rollups::load(db, Granularity::Hourly, &apis, window).map_err(failed)?;
    let mut days: BTreeMap<DateTime<Utc>, (u64, Credits)> = BTreeMap::new();
    for (hour, rollup) in &hours {
        let (requests, credits) = days.entry(midnight(hour.start)).or_default();
        *requests += rollup.total.total_requests;
        *credits = credits.plus(rollup.total.total_cost);
    }
    let mut told = Collected {
        revises: true,
        ..Collected::default()
    };
    if days.is_empty() {
        told.notes
            .push("nothing is rolled up of these APIs; usagectl aggregate does so".to_owned());
        return Ok(told);
    }
    let of = |metric, value, at| -> NewPoint {
        point(MetricSource::Usage, Service::AiCredits, metric, value, at).with("quality", "derived")
    };
    for (day, (requests, credits)) in days.range(today - LAST_DAYS..) {
        let credits = credits.to_f64();
        told.points.push(
            of(Metric::RequestCount, *requests as f64, *day)
                .with_reading(Reading::Amount)
                .with("credits", credits),
        );
        if let Some(usd) = prices.credit_usd {
            let cost = of(Metric::CostUsd, credits * usd, *day);
            told.points
                .push(cost.with_reading(Reading::Amount).with("credit_usd", usd));
        }
    }
    if let Some(budget) = prices.budget {
        let of_month = days.range(month..).map(|(_, (_, credits))| *credits);
        let used = of_month.fold(Credits::ZERO, Credits::plus).to_f64();
        let percent = of(Metric::UsagePercent, used / budget * 100.0, now);
        told.points
            .push(percent.with("credits", used).with("budget", budget));
    }
    Ok(told)
}
