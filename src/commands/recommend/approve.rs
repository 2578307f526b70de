//! `recommend approve`.

use clap::Args;

use super::transition::{self, MoveArgs};
use crate::args::Note;
use crate::context::Context;
use crate::domain::metrics::names::Status;
use crate::error::{Outcome, Result};

/// Approve a recommendation
///
/// Moves it from REVIEWED to APPROVED and freezes its figures as the basis of the decision. If the input
/// `single_reviewer` is true, a PENDING recommendation is reviewed and approved in one go; both moves are recorded.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db recommend approve 019c0d2e --by ann"
)]
pub struct ApproveArgs {
    #[command(flatten)]
    target: MoveArgs,
    #[command(flatten)]
    note: Note,
}

pub fn run(context: &mut Context, args: ApproveArgs) -> Result<Outcome> {
    let note = args.note.note.as_deref();
    transition::run(context, &args.target, Some(Status::Approved), note, None)
}
