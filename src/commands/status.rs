//! Filled in by the work that needs it.

use clap::Args;

use crate::context::Context;
use crate::error::{Error, Outcome, Result};

/// Say whether the database is in order
#[derive(Args, Debug)]
pub struct StatusArgs {}

/// Runs the command.
///
/// # Errors
///
/// Always, for now.
pub fn run(_context: &mut Context, _args: StatusArgs) -> Result<Outcome> {
    Err(Error::usage("not there yet"))
}
