//! `recommend history`.

use clap::Args;

use super::one;
use crate::context::Context;
use crate::error::{Outcome, Result};
use crate::output::recommend::history::History;
use crate::store::db::Access;
use crate::store::recommendation::history;

/// Show what happened to a recommendation
///
/// Every step, the first one first: who did it, why, and which figures changed. Nothing in it is ever changed.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db recommend history 019c0d2e"
)]
pub struct HistoryArgs {
    /// Which recommendation: its id, or as much of the beginning as no other has
    #[arg(value_name = "ID")]
    id: String,
}

/// Reads and shows it.
pub fn run(context: &mut Context, args: HistoryArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let (recommendation, entries) = db.read_tx(|db| -> Result<_> {
        let recommendation = one(db, &args.id)?;
        let entries = history::of(db, &recommendation.id)?;
        Ok((recommendation, entries))
    })?;
    context.answer(&History {
        recommendation: &recommendation,
        entries: &entries,
    })?;
    Ok(Outcome::DONE)
}
