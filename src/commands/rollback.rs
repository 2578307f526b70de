//! Filled in by the work that needs it.

use clap::Args;

use crate::context::Context;
use crate::error::{Error, Outcome, Result};

/// Undo migrations
#[derive(Args, Debug)]
pub struct RollbackArgs {}

/// Runs the command.
///
/// # Errors
///
/// Always, for now.
pub fn run(_context: &mut Context, _args: RollbackArgs) -> Result<Outcome> {
    Err(Error::usage("not there yet"))
}
