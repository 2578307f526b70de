//! `recommend history`.

use super::{IdArg, one};
use crate::commands::prelude::*;
use crate::output::recommend::history::History;
use crate::store::recommendation::history;

/// Show the history of a recommendation
///
/// Lists every entry, oldest first: author, status, note and changed figures. Entries are never changed or deleted.
#[derive(Args, Debug)]
#[command(after_help = example!("recommend history 019c0d2e"))]
pub struct HistoryArgs {
    #[command(flatten)]
    target: IdArg,
}

pub fn run(context: &mut Context, args: HistoryArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let (recommendation, entries) = db.read_tx(|db| -> Result<_> {
        let recommendation = one(db, &args.target.id)?;
        let entries = history::find(db, &recommendation.id)?;
        Ok((recommendation, entries))
    })?;
    context.finish(&History {
        recommendation: &recommendation,
        entries: &entries,
    })
}
