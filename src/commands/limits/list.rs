//! `limits list`: the stored limits.

use crate::args::ApiFilter;
use crate::commands::known_apis::warn_of_unknown;
use crate::commands::prelude::*;
use crate::domain::metrics::names::{Metric, Service};
use crate::output::limits::list::LimitList;
use crate::store::plans::{api_limits, limits};

/// List limits and their sources
///
/// ACTIVE is yes for the limits of the plans in use and for budgets. The address of a source is shown by --wide,
/// --format csv and --format json.
#[derive(Args, Debug, Default)]
#[command(after_help = "Example: usagectl limits list --wide")]
pub struct ListArgs {
    #[command(flatten)]
    apis: ApiFilter,

    /// Only this service
    #[arg(long, value_name = "SERVICE", conflicts_with = "apis")]
    service: Option<Service>,

    /// Only this metric
    #[arg(long, value_name = "METRIC", conflicts_with = "apis")]
    metric: Option<Metric>,

    /// Only this plan
    #[arg(long, value_name = "PLAN", conflicts_with = "apis")]
    plan: Option<String>,

    /// Also show grade, source date and source
    #[arg(long)]
    wide: bool,
}

pub fn run(context: &mut Context, args: ListArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let (now, apis) = (context.now, &args.apis.apis);
    warn_of_unknown(context, &mut db, apis)?;
    let of_services = args.service.is_some() || args.metric.is_some() || args.plan.is_some();
    let answer = db.read_tx(|db| -> Result<LimitList> {
        let mut limits = limits::listed(db, now)?;
        limits.retain(|limit| {
            let row = &limit.row;
            apis.is_empty()
                && args.service.is_none_or(|service| service == row.service)
                && args.metric.is_none_or(|metric| metric == row.metric)
                && args.plan.as_ref().is_none_or(|plan| *plan == row.plan)
        });
        let mut api_limits = api_limits::all(db)?;
        api_limits
            .retain(|limit| !of_services && (apis.is_empty() || apis.contains(&limit.api_name)));
        Ok(LimitList {
            limits,
            api_limits,
            wide: args.wide,
        })
    })?;
    context.finish(&answer)
}
