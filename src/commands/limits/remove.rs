//! `limits remove`: a limit goes.

use clap::{ArgGroup, Args};

use super::parse_period;
use crate::context::Context;
use crate::domain::format::counted;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::period::Period;
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::printable;
use crate::store::db::{Access, Db};
use crate::store::plans::{api_limits, limits};

/// Remove a limit
///
/// Those of an API, or of a service's metric: on all plans, or the one that is named. `usagectl limits init` brings
/// back what the catalogue says of the plans in use.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).args(["api", "service"]))]
#[command(
    after_help = "Example: usagectl limits set --api tmdb --per SECOND 40 && usagectl limits remove --api tmdb"
)]
pub struct RemoveArgs {
    /// The API
    #[arg(long, value_name = "NAME")]
    api: Option<String>,

    /// Only its limit for this period
    #[arg(long, value_name = "PERIOD", value_parser = parse_period, requires = "api")]
    per: Option<Period>,

    /// The service
    #[arg(long, value_name = "SERVICE", requires = "metric")]
    service: Option<Service>,

    /// What of it
    #[arg(long, value_name = "METRIC", requires = "service")]
    metric: Option<Metric>,

    /// Only on this plan; a budget stands under the plan `budget`
    #[arg(long, value_name = "NAME", requires = "service")]
    plan: Option<String>,
}

/// Removes the limits.
pub fn run(context: &mut Context, args: RemoveArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    let (of, removed) = match (&args.api, args.service, args.metric) {
        (Some(api), _, _) => {
            let per = match &args.per {
                Some(period) => format!(" per {period}"),
                None => String::new(),
            };
            let removed = api_limits::remove(&mut db, api, args.per.as_ref())?;
            (format!("{}{per}", printable(api)), removed)
        }
        (None, Some(service), Some(metric)) => {
            let on = match &args.plan {
                Some(plan) => format!(" on {}", printable(plan)),
                None => String::new(),
            };
            let removed =
                db.write_tx(|db| remove_limits(db, service, metric, args.plan.as_deref()))?;
            (format!("{service} {metric}{on}"), removed)
        }
        // clap has seen to it.
        _ => return Err(Error::usage("give --api, or --service and --metric")),
    };
    if removed == 0 {
        let message = format!("there is no limit of {of}");
        return Err(Error::message(Exit::Failed, message).with_next("usagectl limits list"));
    }
    context.info(format_args!(
        "removed {} of {of}",
        counted(removed as u64, "limit")
    ));
    Ok(Outcome::DONE)
}

fn remove_limits(
    db: &mut Db,
    service: Service,
    metric: Metric,
    plan: Option<&str>,
) -> Result<usize> {
    let mut removed = 0;
    for row in limits::rows(db)? {
        let is_meant = (row.service, row.metric) == (service, metric)
            && plan.is_none_or(|plan| plan == row.plan);
        if is_meant && limits::remove(db, service, metric, &row.plan)? {
            removed += 1;
        }
    }
    Ok(removed)
}
