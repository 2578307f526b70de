//! `alerts disable`: stops the evaluation of rules.

use super::RuleRefs;
use super::enable::set_enabled;
use crate::commands::prelude::*;

/// Disable rules
///
/// A disabled rule keeps its settings and is not evaluated. To evaluate it and send nothing for a while, use
/// `usagectl alerts silence add`.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts disable finnhub/RATE_LIMIT_WARNING/MINUTE"))]
pub struct DisableArgs {
    #[command(flatten)]
    rules: RuleRefs,
}

/// Disables all of the rules or none.
pub fn run(context: &mut Context, args: DisableArgs) -> Result<Outcome> {
    set_enabled(context, &args.rules, false)
}
