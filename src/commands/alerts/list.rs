//! `alerts list`: rules with their current states.

use super::rule_states;
use crate::args::ApiFilter;
use crate::commands::known_apis::warn_of_unknown;
use crate::commands::prelude::*;
use crate::domain::alert::rule::Rule;
use crate::output::alerts::list::RuleList;

/// List rules with their current states
///
/// Lists all rows of api_alerts, by any writer. A rule that cannot be evaluated shows the reason.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts list"))]
pub struct ListArgs {
    #[command(flatten)]
    filter: ApiFilter,

    /// Also show the limit, a bar of the value and the time of the last state change
    #[arg(long)]
    wide: bool,
}

pub fn run(context: &mut Context, args: ListArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let now = context.now;
    let apis = &args.filter.apis;
    warn_of_unknown(context, &mut db, apis)?;
    let is_asked_for = |rule: &Rule| apis.is_empty() || apis.contains(&rule.api_name);
    let lines = db.read_tx(|db| rule_states::read(db, now, is_asked_for))?;
    context.finish(&RuleList {
        lines,
        now,
        wide: args.wide,
    })
}
