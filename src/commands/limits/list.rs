//! `limits list`: every limit, and where it is written.

use clap::Args;

use crate::context::Context;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::plans::limit;
use crate::error::{Outcome, Result};
use crate::output::limits::list::{Limits, ListedLimit};
use crate::store::db::Access;
use crate::store::plans::{api_limits, catalogues, limits, selections};

/// List the limits, and where each is written
///
/// Those of services on their plans, whoever wrote them, with which of them hold now; and those of APIs.
#[derive(Args, Debug, Default)]
#[command(after_help = "Example: usagectl limits list --format json")]
pub struct ListArgs {
    /// Only those of this API
    #[arg(long, value_name = "NAME", conflicts_with_all = ["service", "metric", "plan"])]
    api: Option<String>,

    /// Only those of this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<Service>,

    /// Only those of this metric
    #[arg(long, value_name = "METRIC")]
    metric: Option<Metric>,

    /// Only those on this plan
    #[arg(long, value_name = "NAME")]
    plan: Option<String>,
}

/// Lists them.
pub fn run(context: &mut Context, args: ListArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let now = context.now;
    let of_services = args.service.is_some() || args.metric.is_some() || args.plan.is_some();
    let answer = db.read_tx(|db| -> Result<Limits> {
        let rows = limits::rows(db)?;
        let choices = selections::all(db)?;
        let catalogue = catalogues::active(db)?;
        let held = limit::in_force(&rows, &choices, &catalogue, now);
        let is_wanted = |row: &limit::LimitRow| {
            args.api.is_none()
                && args.service.is_none_or(|service| service == row.service)
                && args.metric.is_none_or(|metric| metric == row.metric)
                && args.plan.as_ref().is_none_or(|plan| *plan == row.plan)
        };
        let limits = rows.into_iter().filter(is_wanted).map(|row| {
            let is_it = |limit: &limit::LimitInForce| {
                (limit.service, limit.metric, &limit.plan) == (row.service, row.metric, &row.plan)
            };
            let found = held.iter().find(|limit| is_it(limit));
            ListedLimit {
                in_force: found.is_some_and(|limit| limit.fault.is_none()),
                fault: found
                    .and_then(|limit| limit.fault.clone())
                    .or_else(|| row.fault()),
                row,
            }
        });
        let mut api_limits = match of_services {
            true => Vec::new(),
            false => api_limits::all(db)?,
        };
        api_limits.retain(|limit| args.api.as_ref().is_none_or(|api| *api == limit.api_name));
        Ok(Limits {
            limits: limits.collect(),
            api_limits,
        })
    })?;
    context.answer(&answer)?;
    Ok(Outcome::DONE)
}
