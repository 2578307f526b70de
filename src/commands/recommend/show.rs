//! `recommend show`.

use super::ai::{self, AiArgs};
use super::{IdArg, measured, one};
use crate::commands::prelude::*;
use crate::output::recommend::forecast::Item;
use crate::output::recommend::show::Show;
use crate::store::recommendation::history;

/// Show a recommendation in detail
///
/// Prints a summary, the limits of the plan, three plans and one range of costs. With --all: a chart of past and forecast
/// usage, all figures with their intervals, all compared plans, projections, the source of each input, missing inputs and
/// the history. An approved recommendation also shows current values beside the approved ones.
#[derive(Args, Debug)]
#[command(after_help = example!("recommend show 019c0d2e"))]
pub struct ShowArgs {
    #[command(flatten)]
    target: IdArg,

    /// Show everything that is known about it
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    ai: AiArgs,
}

pub fn run(context: &mut Context, args: ShowArgs) -> Result<Outcome> {
    let now = context.now;
    let mut db = context.open(Access::Read)?;
    let (recommendation, history, all) = db.read_tx(|db| -> Result<_> {
        let recommendation = one(db, &args.target.id)?;
        let history = history::find(db, &recommendation.id)?;
        Ok((recommendation, history, measured(db, (None, None), now)?))
    })?;
    if args.ai.ai_dry_run {
        context.answer(&ai::request(&recommendation, &args.ai)?)?;
        return Ok(Outcome::DONE);
    }
    // No transaction is open while the endpoint is asked.
    let summary = ai::summary(context, &mut db, &recommendation, &args.ai)?;
    let live = recommendation.capacity(&all).cloned().map(Item);
    context.finish(&Show {
        recommendation: &recommendation,
        summary,
        live: live.as_ref(),
        now: recommendation.most_urgent(&all),
        history: &history,
        all: args.all,
    })
}
