//! Filled in by the work that needs it.

use clap::Args;

use crate::context::Context;
use crate::error::{Error, Outcome, Result};

/// Record API usage
#[derive(Args, Debug)]
pub struct RecordArgs {}

/// Runs the command.
///
/// # Errors
///
/// Always, for now.
pub fn run(_context: &mut Context, _args: RecordArgs) -> Result<Outcome> {
    Err(Error::usage("not there yet"))
}
