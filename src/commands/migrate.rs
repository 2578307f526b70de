//! Filled in by the work that needs it.

use clap::Args;

use crate::context::Context;
use crate::error::{Error, Outcome, Result};

/// Apply pending migrations
#[derive(Args, Debug)]
pub struct MigrateArgs {}

/// Runs the command.
///
/// # Errors
///
/// Always, for now.
pub fn run(_context: &mut Context, _args: MigrateArgs) -> Result<Outcome> {
    Err(Error::usage("not there yet"))
}
