//! `recommend list`.

use super::measured;
use crate::commands::prelude::*;
use crate::domain::metrics::names::{Service, Status};
use crate::domain::recommendation::{by_urgency, is_open};
use crate::output::recommend::list::{List, Listed};
use crate::store::recommendation::recommendations;

/// List recommendations by priority
///
/// Lists open recommendations (PENDING, REVIEWED, APPROVED) unless --status or --all is given. USED is the
/// utilization that the recommendation states, which an approval freezes; NOW is the current one of the most urgent
/// limit of the plan, with its metric if that is another one.
#[derive(Args, Debug)]
#[command(after_help = example!("recommend list --status PENDING"))]
pub struct ListArgs {
    /// Only this status; repeat for more
    #[arg(long = "status", value_name = "STATUS", conflicts_with = "all")]
    statuses: Vec<Status>,

    /// Only this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<Service>,

    /// Include implemented, dismissed and expired ones
    #[arg(long)]
    all: bool,
}

pub fn run(context: &mut Context, args: ListArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let now = context.now;
    let (mut recommendations, capacities) = db.read_tx(|db| -> Result<_> {
        let all = recommendations::all(db)?;
        // Without a recommendation nothing is measured for it.
        let capacities = match all.as_slice() {
            [] => Vec::new(),
            _ => measured(db, (None, None), now)?,
        };
        Ok((all, capacities))
    })?;
    let ids: Vec<String> = recommendations.iter().map(|it| it.id.clone()).collect();
    let is_wanted = |status: Status| match args.statuses.as_slice() {
        [] => args.all || is_open(status),
        statuses => statuses.contains(&status),
    };
    recommendations.retain(|it| {
        is_wanted(it.status) && args.service.is_none_or(|service| service == it.service)
    });
    recommendations.sort_by(by_urgency);
    let listed = recommendations.into_iter().map(|it| Listed {
        now: it.most_urgent(&capacities).cloned(),
        it,
    });
    context.finish(&List {
        recommendations: listed.collect(),
        ids,
    })
}
