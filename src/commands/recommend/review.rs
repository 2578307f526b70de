//! `recommend review`.

use clap::Args;

use super::transition::{self, MoveArgs, WhyArgs};
use crate::context::Context;
use crate::domain::metrics::names::Status;
use crate::error::{Outcome, Result};

/// Say that somebody has looked at a recommendation
///
/// From PENDING to REVIEWED; also from APPROVED, which withdraws the approval. While it is REVIEWED its figures
/// are still refreshed, and if they change materially it is PENDING again.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db recommend review 019c0d2e --by ann"
)]
pub struct ReviewArgs {
    #[command(flatten)]
    step: MoveArgs,
    #[command(flatten)]
    why: WhyArgs,
}

/// Moves it.
pub fn run(context: &mut Context, args: ReviewArgs) -> Result<Outcome> {
    let note = args.why.note.as_deref();
    transition::run(context, &args.step, Some(Status::Reviewed), note, None)
}
