//! `limits remove`: deletes limits.

use clap::ArgGroup;

use crate::args::parse_api_name;
use crate::commands::prelude::*;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::period::Period;
use crate::domain::plans::limit::{LimitRow, ListedLimit, Origin};
use crate::output::limits::list::{LimitList, RemovedLimits};
use crate::store::plans::{api_limits, limits};

/// Remove limits
///
/// Removes the limits of an API, or those of a service's metric on all plans or one. `usagectl limits init`
/// and `usagectl limits import` restore the limits that the catalogue has for the plans in use;
/// `usagectl limits plan PROVIDER PLAN` restores those of its provider.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).args(["api", "service"]))]
#[command(
    after_help = "Example: usagectl limits set --api tmdb --per SECOND 40 && usagectl limits remove --api tmdb"
)]
pub struct RemoveArgs {
    /// API
    #[arg(long, value_name = "NAME", value_parser = parse_api_name)]
    api: Option<String>,

    /// Only the API's limit for this period
    #[arg(long, value_name = "PERIOD", requires = "api")]
    per: Option<Period>,

    /// Service
    #[arg(long, value_name = "SERVICE", requires = "metric")]
    service: Option<Service>,

    /// Metric
    #[arg(long, value_name = "METRIC", requires = "service")]
    metric: Option<Metric>,

    /// Only this plan; `budget` for a budget
    #[arg(long, value_name = "PLAN", requires = "service")]
    plan: Option<String>,
}

pub fn run(context: &mut Context, args: RemoveArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    let now = context.now;
    let removed = db.write_tx(|db| -> Result<LimitList> {
        let mut list = LimitList::default();
        if let Some(api) = &args.api {
            list.api_limits = api_limits::all(db)?;
            list.api_limits.retain(|limit| {
                limit.api_name == *api && args.per.as_ref().is_none_or(|per| limit.period == *per)
            });
            api_limits::remove(db, api, args.per.as_ref())?;
        } else {
            list.limits = limits::listed(db, now)?;
            list.limits.retain(|limit| is_meant(&args, &limit.row));
            for ListedLimit { row, .. } in &list.limits {
                limits::remove(db, row.service, row.metric, &row.plan)?;
            }
        }
        Ok(list)
    })?;
    if removed.limits.is_empty() && removed.api_limits.is_empty() {
        let message = format!("no limit of {}", description(&args));
        return Err(Error::usage(message).with_next("usagectl limits list"));
    }
    let is_budget = |it: &ListedLimit| it.row.origin() == Origin::Budget;
    let only_budgets = removed.api_limits.is_empty() && removed.limits.iter().all(is_budget);
    context.answer(&RemovedLimits(removed))?;
    if !only_budgets {
        context.info("usagectl limits init restores the published limits of the plans in use");
    }
    Ok(Outcome::DONE)
}

fn is_meant(args: &RemoveArgs, row: &LimitRow) -> bool {
    args.service == Some(row.service)
        && args.metric == Some(row.metric)
        && args.plan.as_ref().is_none_or(|plan| *plan == row.plan)
}

/// The limits that were asked for, in a message.
fn description(args: &RemoveArgs) -> String {
    let named = [
        args.api.clone(),
        args.per.as_ref().map(|per| format!("per {per}")),
        args.service.map(|service| service.to_string()),
        args.metric.map(|metric| metric.to_string()),
        args.plan.as_ref().map(|plan| format!("on plan {plan}")),
    ];
    let named: Vec<String> = named.into_iter().flatten().collect();
    printable(&named.join(" ")).into_owned()
}
