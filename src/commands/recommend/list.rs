//! `recommend list`: the recommendations, the most urgent first.

use clap::Args;

use crate::context::Context;
use crate::domain::metrics::names::{Service, Status};
use crate::domain::recommendation::{by_urgency, is_open};
use crate::error::{Outcome, Result};
use crate::output::recommend::list::List;
use crate::store::db::Access;
use crate::store::recommendation::recommendations;

/// List recommendations, the most urgent first
///
/// Those that are open, unless --status or --all asks for others: PENDING, REVIEWED and APPROVED.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db recommend list --status PENDING"
)]
pub struct ListArgs {
    /// Only those of this status; may be given several times
    #[arg(long = "status", value_name = "STATUS", conflicts_with = "all")]
    statuses: Vec<Status>,

    /// Only those of this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<Service>,

    /// Also those that are done, dismissed or expired
    #[arg(long)]
    all: bool,
}

/// Reads and lists.
pub fn run(context: &mut Context, args: ListArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let all = db.read_tx(recommendations::all)?;
    let ids: Vec<String> = all.iter().map(|one| one.id.clone()).collect();
    let wanted = |status: Status| match args.statuses.as_slice() {
        [] => args.all || is_open(status),
        statuses => statuses.contains(&status),
    };
    let mut recommendations: Vec<_> = all
        .into_iter()
        .filter(|one| wanted(one.status) && args.service.is_none_or(|s| s == one.service))
        .collect();
    recommendations.sort_by(by_urgency);
    context.answer(&List {
        recommendations,
        ids,
    })?;
    Ok(Outcome::DONE)
}
