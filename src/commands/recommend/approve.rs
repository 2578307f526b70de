//! `recommend approve`.

use clap::Args;

use super::transition::{self, MoveArgs, WhyArgs};
use crate::context::Context;
use crate::domain::metrics::names::Status;
use crate::error::{Outcome, Result};

/// Decide that a recommendation shall be done
///
/// From REVIEWED to APPROVED. From then on its figures stay as they are: they are what was decided by. What nobody
/// has reviewed is approved in one step only where the input `single_reviewer` is `true`; both steps are then
/// written down.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db recommend approve 019c0d2e --by ann"
)]
pub struct ApproveArgs {
    #[command(flatten)]
    step: MoveArgs,
    #[command(flatten)]
    why: WhyArgs,
}

/// Moves it.
pub fn run(context: &mut Context, args: ApproveArgs) -> Result<Outcome> {
    let note = args.why.note.as_deref();
    transition::run(context, &args.step, Some(Status::Approved), note, None)
}
