//! `recommend note`.

use clap::Args;

use super::transition::{self, MoveArgs, RequiredWhyArgs};
use crate::context::Context;
use crate::error::{Outcome, Result};

/// Write something into the history of a recommendation
///
/// Whatever its status, which stays.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db recommend note 019c0d2e --note \"asked the provider\""
)]
pub struct NoteArgs {
    #[command(flatten)]
    step: MoveArgs,
    #[command(flatten)]
    why: RequiredWhyArgs,
}

/// Notes it.
pub fn run(context: &mut Context, args: NoteArgs) -> Result<Outcome> {
    transition::run(context, &args.step, None, Some(&args.why.note), None)
}
