//! `recommend list`.

use super::measured;
use crate::commands::prelude::*;
use crate::domain::capacity::Capacity;
use crate::domain::metrics::names::{Service, Status};
use crate::domain::recommendation::{Recommendation, by_urgency, is_open};
use crate::output::recommend::list::{List, Listed};
use crate::store::recommendation::recommendations;

/// List recommendations by priority
///
/// Lists open recommendations (PENDING, REVIEWED, APPROVED) unless --status or --all is given. USED is the utilization
/// that the recommendation states, which an approval freezes; NOW is the current one.
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
            _ => measured(db, (args.service, None), now)?,
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
        now: current(&capacities, &it),
        it,
    });
    context.finish(&List {
        recommendations: listed.collect(),
        ids,
    })
}

/// The capacity of a recommendation's metric: under the plan that it is about, or else under the plan in use.
pub(super) fn current(all: &[Capacity], it: &Recommendation) -> Option<Capacity> {
    let own = it.tracking.as_ref().map(|own| own.resource.as_str());
    let resource = it.facts().map(|facts| facts.resource.as_str()).or(own);
    let is_it = |capacity: &&Capacity| {
        (capacity.series.service, Some(capacity.series.metric)) == (it.service, it.metric)
            && resource.is_none_or(|resource| capacity.resource() == resource)
    };
    let is_plan = |capacity: &&Capacity| {
        let limit = capacity.limit.as_ref();
        limit.is_some_and(|limit| limit.plan == it.current_plan)
    };
    let mut found = all.iter().filter(is_it);
    let of_plan = found.clone().find(is_plan);
    of_plan.or_else(|| found.next()).cloned()
}
