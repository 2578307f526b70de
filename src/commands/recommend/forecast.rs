//! `recommend forecast`: forecasts each metric.

use chrono::{DateTime, TimeDelta, Utc};

use crate::commands::prelude::*;
use crate::domain::capacity::forecast::{HISTORY_DAYS, LimitedSeries, RecentRate, by_series};
use crate::domain::forecast::HORIZON_DAYS;
use crate::domain::metrics::day::MetricDay;
use crate::domain::metrics::names::{Metric, MetricKind, Service};
use crate::domain::plans::LimitInForce;
use crate::output::recommend::forecast::{Forecasts, Item};
use crate::store::metrics::days;
use crate::store::plans::limits;

/// Forecast when metrics reach their limits, and the totals of billing periods
///
/// Levels such as storage: days until the warning, critical and limit thresholds are reached, as the median and
/// 80% interval of 500 simulated paths, and the probability within 7, 30 and 90 days. Amounts of a billing
/// period, such as bandwidth: also the total at its end, the probability of exceeding the limit, and the expected
/// overage. Latency is compared with its limit and not forecast.
///
/// Requires 7 days of data; below 14 days the confidence is low. The horizon is 90 days, or 1.5 times the history
/// if that is shorter. The same data gives the same forecast. `usagectl recommend backtest` measures the accuracy
/// on your data.
#[derive(Args, Debug)]
#[command(after_help = example!("recommend forecast --service VERCEL_KV"))]
pub struct ForecastArgs {
    /// Only this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<Service>,

    /// Only this metric
    #[arg(long, value_name = "METRIC")]
    metric: Option<Metric>,

    /// Show each series with a chart and the basis of its forecast
    #[arg(long)]
    explain: bool,
}

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
        context.info("no measurements: run `usagectl collect run` or `usagectl collect import`");
    }
    context.finish(&Forecasts {
        now,
        items,
        explain: args.explain,
    })
}

/// The forecast of one series from its days, in order; `None` without days.
pub(super) fn item(
    days: &[MetricDay],
    limits: &[LimitInForce],
    now: DateTime<Utc>,
) -> Option<Item> {
    let series = LimitedSeries::new(days.first()?.series.clone(), limits);
    let limit = series.limit.as_ref().map(|limit| limit.value);
    let recent = match series.kind {
        MetricKind::Rate => RecentRate::of(days, limit, now),
        MetricKind::Gauge | MetricKind::Period => None,
    };
    Some(Item {
        forecast: series.forecast(days, now, HORIZON_DAYS),
        past: series.daily(days, now).days,
        newest: days
            .iter()
            .rev()
            .find(|day| day.last_at <= now)
            .map(MetricDay::last_point),
        series,
        recent,
    })
}
