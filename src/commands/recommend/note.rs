//! `recommend note`.

use clap::Args;

use super::transition::{self, MoveArgs};
use crate::args::RequiredNote;
use crate::context::Context;
use crate::error::{Outcome, Result};

/// Add a note to the history of a recommendation
///
/// The status does not change.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db recommend note 019c0d2e --note \"asked the provider\""
)]
pub struct NoteArgs {
    #[command(flatten)]
    target: MoveArgs,
    #[command(flatten)]
    note: RequiredNote,
}

pub fn run(context: &mut Context, args: NoteArgs) -> Result<Outcome> {
    let note = Some(args.note.note.as_str());
    transition::run(context, &args.target, None, note, None)
}
