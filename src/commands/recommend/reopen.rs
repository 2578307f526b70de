//! `recommend reopen`.

use clap::Args;

use super::transition::{self, MoveArgs, RequiredWhyArgs};
use crate::context::Context;
use crate::domain::metrics::names::Status;
use crate::error::{Outcome, Result};

/// Bring back what was dismissed or has expired
///
/// From DISMISSED or EXPIRED to PENDING, as the same recommendation. If another one that is open answers the
/// same question, that one stands.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db recommend reopen 019c0d2e --note \"the contract ended\""
)]
pub struct ReopenArgs {
    #[command(flatten)]
    step: MoveArgs,
    #[command(flatten)]
    why: RequiredWhyArgs,
}

/// Moves it.
pub fn run(context: &mut Context, args: ReopenArgs) -> Result<Outcome> {
    let note = Some(args.why.note.as_str());
    transition::run(context, &args.step, Some(Status::Pending), note, None)
}
