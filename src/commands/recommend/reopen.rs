//! `recommend reopen`.

use clap::Args;

use super::transition::{self, MoveArgs};
use crate::args::RequiredNote;
use crate::context::Context;
use crate::domain::metrics::names::Status;
use crate::error::{Outcome, Result};

/// Reopen a dismissed or expired recommendation
///
/// Moves it from DISMISSED or EXPIRED to PENDING. Refused while another open recommendation answers the same
/// question.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db recommend reopen 019c0d2e --note \"the contract ended\""
)]
pub struct ReopenArgs {
    #[command(flatten)]
    target: MoveArgs,
    #[command(flatten)]
    note: RequiredNote,
}

pub fn run(context: &mut Context, args: ReopenArgs) -> Result<Outcome> {
    let note = Some(args.note.note.as_str());
    transition::run(context, &args.target, Some(Status::Pending), note, None)
}
