//! `alerts disable`: rules that are not judged for a while.

use clap::Args;

use super::enable::switch;
use crate::context::Context;
use crate::error::{Outcome, Result};

/// Switch rules off
///
/// They stay, with their settings, and are judged no more. To keep judging and say nothing for a while, use
/// `usagectl alerts silence add`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts disable \
finnhub/RATE_LIMIT_WARNING/MINUTE"
)]
pub struct DisableArgs {
    /// Which rules: an id, the beginning of one, or API/TYPE/PERIOD
    #[arg(required = true, value_name = "RULE")]
    rules: Vec<String>,
}

/// Switches them off, all or none.
pub fn run(context: &mut Context, args: DisableArgs) -> Result<Outcome> {
    switch(context, &args.rules, false)?;
    Ok(Outcome::DONE)
}
