//! Filled in by the work that needs it.

use clap::Args;

use crate::context::Context;
use crate::error::{Error, Outcome, Result};

/// Show what happened
#[derive(Args, Debug)]
pub struct StatsArgs {}

/// Runs the command.
///
/// # Errors
///
/// Always, for now.
pub fn run(_context: &mut Context, _args: StatsArgs) -> Result<Outcome> {
    Err(Error::usage("not there yet"))
}
