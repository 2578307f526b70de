//! Filled in by the work that needs it.

use clap::Args;

use crate::context::Context;
use crate::error::{Error, Outcome, Result};

/// Roll usage up into hours, days and months
#[derive(Args, Debug)]
pub struct AggregateArgs {}

/// Runs the command.
///
/// # Errors
///
/// Always, for now.
pub fn run(_context: &mut Context, _args: AggregateArgs) -> Result<Outcome> {
    Err(Error::usage("not there yet"))
}
