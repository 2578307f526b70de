//! `recommend forecast`: forecasts each metric.

use super::measured;
use crate::commands::prelude::*;
use crate::domain::metrics::names::{Metric, Service};
use crate::output::recommend::forecast::{Forecasts, Item};

/// Forecast when metrics reach their limits, and the totals of billing periods
///
/// Levels such as storage: days until the warning, critical and limit thresholds are reached, as the median and
/// 80% interval of 500 simulated paths, and the probability within 7, 30 and 90 days. Amounts of a billing
/// period, such as bandwidth: also the total at its end, the probability of exceeding the limit, and the expected
/// overage. Latency is compared with its limit and not forecast.
///
/// Below 28 days of data the confidence is low; below 7 days, the pace between the first and the last reading
/// continues, which requires two readings an hour apart, of an amount in the period. The horizon is 90 days, or 1.5
/// times the history if that is shorter. The same data gives the same forecast. `usagectl recommend backtest` measures
/// the accuracy on your data.
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
    let mut db = context.open(Access::Read)?;
    let of = (args.service, args.metric);
    let capacities = db.read_tx(|db| measured(db, of, now))?;
    if capacities.is_empty() {
        context.info("no measurements: run `usagectl collect run` or `usagectl collect import`");
    }
    context.finish(&Forecasts {
        now,
        items: capacities.into_iter().map(Item).collect(),
        explain: args.explain,
    })
}
