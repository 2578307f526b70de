//! `recommend forecast`: where each metric is trend.

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;

use crate::context::Context;
use crate::domain::capacity::forecast::{HISTORY_DAYS, LimitedSeries, RecentRate, by_series};
use crate::domain::forecast::HORIZON_DAYS;
use crate::domain::metrics::day::MetricDay;
use crate::domain::metrics::names::{Metric, MetricKind, Service};
use crate::domain::plans::LimitInForce;
use crate::error::{Outcome, Result};
use crate::output::recommend::forecast::{Forecasts, Item};
use crate::store::db::Access;
use crate::store::metrics::days;
use crate::store::plans::limits;

/// Forecast when metrics reach their limits, and what billing periods come to
///
/// Levels such as storage: in how many days the warning, the critical value and the limit are reached, as the
/// middle of 500 simulated futures with the range of four in five of them, and how likely within 7, 30 and 90
/// days. Amounts of a billing period, such as bandwidth: also the total at its end, how likely it exceeds what
/// is included, and by how much. Latency is compared with its limit and not forecast.
///
/// It takes seven days of data; with less than fourteen the confidence is low. Nothing is said about what lies
/// further ahead than 90 days or one and a half times the history. The same data gives the same answer. How
/// good the forecasts are on your data, `usagectl recommend backtest` says.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db recommend forecast --service VERCEL_KV"
)]
pub struct ForecastArgs {
    /// Only this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<Service>,

    /// Only this metric
    #[arg(long, value_name = "METRIC")]
    metric: Option<Metric>,

    /// Show each series with a chart, and what its forecast is made from
    #[arg(long)]
    explain: bool,
}

/// Reads the days, forecasts and answers.
pub fn run(context: &mut Context, args: ForecastArgs) -> Result<Outcome> {
    let now = context.now;
    let mut db = context.open(Access::Write)?;
    days::refresh(&mut db)?;
    let today = now.date_naive();
    let from = today - TimeDelta::days(HISTORY_DAYS);
    let (days, limits) = db.read_tx(|db| -> Result<_> {
        let days = days::days(db, args.service, args.metric, from, today)?;
        Ok((days, limits::limits_in_force(db, now)?))
    })?;
    let items = by_series(&days).filter_map(|days| item(days, &limits, now));
    let items: Vec<Item> = items.collect();
    if items.is_empty() {
        context.info("nothing was measured: `usagectl collect run` does, `usagectl collect import` reads files");
    }
    context.answer(&Forecasts {
        now,
        items,
        explain: args.explain,
    })?;
    Ok(Outcome::DONE)
}

/// The forecast of one series from its days, in their order; nothing without any.
pub(super) fn item(
    days: &[MetricDay],
    limits: &[LimitInForce],
    now: DateTime<Utc>,
) -> Option<Item> {
    let subject = LimitedSeries::new(days.first()?.series.clone(), limits);
    let limit = subject.limit.as_ref().map(|limit| limit.value);
    let lately = match subject.kind {
        MetricKind::Rate => RecentRate::of(days, limit, now),
        MetricKind::Gauge | MetricKind::Period => None,
    };
    Some(Item {
        answer: subject.forecast(days, now, HORIZON_DAYS),
        past: subject.daily(days, now).days,
        newest: days
            .iter()
            .rev()
            .find(|day| day.last_at <= now)
            .map(MetricDay::last_point),
        subject,
        lately,
    })
}
