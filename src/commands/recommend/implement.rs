//! `recommend implement`.

use clap::Args;

use super::transition::{self, MoveArgs, WhyArgs};
use crate::context::Context;
use crate::domain::metrics::names::Status;
use crate::error::{Outcome, Result};

/// Say that a recommendation was done
///
/// From APPROVED to IMPLEMENTED, which is final. Some weeks later `usagectl recommend run` compares what was
/// predicted with what came.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db recommend implement 019c0d2e --by ann"
)]
pub struct ImplementArgs {
    #[command(flatten)]
    step: MoveArgs,
    #[command(flatten)]
    why: WhyArgs,
}

/// Moves it.
pub fn run(context: &mut Context, args: ImplementArgs) -> Result<Outcome> {
    let note = args.why.note.as_deref();
    transition::run(context, &args.step, Some(Status::Implemented), note, None)
}
