//! `recommend review`.

use clap::Args;

use super::transition::{self, MoveArgs};
use crate::args::Note;
use crate::context::Context;
use crate::domain::metrics::names::Status;
use crate::error::{Outcome, Result};

/// Mark a recommendation as reviewed
///
/// Moves it from PENDING to REVIEWED, or from APPROVED back to REVIEWED to withdraw the approval. Its figures are
/// still refreshed; if they change materially, it becomes PENDING again.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db recommend review 019c0d2e --by ann"
)]
pub struct ReviewArgs {
    #[command(flatten)]
    target: MoveArgs,
    #[command(flatten)]
    note: Note,
}

pub fn run(context: &mut Context, args: ReviewArgs) -> Result<Outcome> {
    let note = args.note.note.as_deref();
    transition::run(context, &args.target, Some(Status::Reviewed), note, None)
}
