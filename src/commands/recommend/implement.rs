//! `recommend implement`.

use clap::Args;

use super::transition::{self, MoveArgs};
use crate::args::Note;
use crate::context::Context;
use crate::domain::metrics::names::Status;
use crate::error::{Outcome, Result};

/// Mark a recommendation as implemented
///
/// Moves it from APPROVED to IMPLEMENTED, which is final. From 14 days later on, `usagectl recommend run` compares
/// the predicted values with measured ones.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db recommend implement 019c0d2e --by ann"
)]
pub struct ImplementArgs {
    #[command(flatten)]
    target: MoveArgs,
    #[command(flatten)]
    note: Note,
}

pub fn run(context: &mut Context, args: ImplementArgs) -> Result<Outcome> {
    let note = args.note.note.as_deref();
    transition::run(context, &args.target, Some(Status::Implemented), note, None)
}
