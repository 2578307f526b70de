//! `alerts silence list`: who is silent, until when, and why.

use clap::Args;

use crate::context::Context;
use crate::error::{Outcome, Result};
use crate::output::alerts::silence::Silences;
use crate::store::alerting::silences;
use crate::store::db::Access;

/// List the silences that are in force or to come
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts silence list --all"
)]
pub struct ListArgs {
    /// Also those that are over
    #[arg(long)]
    all: bool,
}

/// Reads and answers.
pub fn run(context: &mut Context, args: ListArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let silences = match args.all {
        true => silences::all(&mut db)?,
        false => silences::not_over(&mut db, context.now)?,
    };
    let now = context.now;
    context.answer(&Silences::listed(silences, now))?;
    Ok(Outcome::DONE)
}
