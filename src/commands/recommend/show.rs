//! `recommend show`.

use chrono::{DateTime, TimeDelta, Utc};

use super::ai::{self, AiArgs};
use super::{IdArg, forecast, one};
use crate::commands::prelude::*;
use crate::domain::capacity::forecast::HISTORY_DAYS;
use crate::domain::recommendation::Recommendation;
use crate::output::recommend::forecast::Item;
use crate::output::recommend::show::Show;
use crate::store::metrics::days;
use crate::store::plans::limits;
use crate::store::recommendation::history;

/// Show a recommendation in detail
///
/// Prints a summary, a chart of past and forecast usage, all figures with their intervals, the compared plans, the
/// source of each input, missing inputs and the history. An approved recommendation also shows current values beside
/// the approved ones.
#[derive(Args, Debug)]
#[command(after_help = example!("recommend show 019c0d2e"))]
pub struct ShowArgs {
    #[command(flatten)]
    target: IdArg,
    #[command(flatten)]
    ai: AiArgs,
}

pub fn run(context: &mut Context, args: ShowArgs) -> Result<Outcome> {
    let access = if args.ai.writes() {
        Access::Write
    } else {
        Access::Read
    };
    let now = context.now;
    let mut db = context.open(access)?;
    let (recommendation, history, live) = db.read_tx(|db| -> Result<_> {
        let recommendation = one(db, &args.target.id)?;
        let history = history::find(db, &recommendation.id)?;
        let live = live(db, &recommendation, now)?;
        Ok((recommendation, history, live))
    })?;
    if args.ai.ai_dry_run {
        context.answer(&ai::request(&recommendation, &args.ai)?)?;
        return Ok(Outcome::DONE);
    }
    // No transaction is open while the endpoint is asked.
    let summary = ai::summary(context, &mut db, &recommendation, &args.ai)?;
    context.finish(&Show {
        recommendation: &recommendation,
        summary,
        live: live.as_ref(),
        history: &history,
    })
}

/// The current forecast of its metric; none if it was not measured.
fn live(db: &mut Db, it: &Recommendation, now: DateTime<Utc>) -> Result<Option<Item>> {
    let Some(metric) = it.metric else {
        return Ok(None);
    };
    let today = now.date_naive();
    let from = today - TimeDelta::days(HISTORY_DAYS);
    let mut days = days::days(db, Some(it.service), Some(metric), from, today)?;
    let resource = it.tracking.as_ref();
    let resource = resource.map_or("", |tracking| tracking.resource.as_str());
    days.retain(|day| day.series.resource == resource);
    // Drops budgets beside the limit of the plan.
    let mut limits = limits::limits_in_force(db, now)?;
    limits.retain(|limit| limit.plan == it.current_plan);
    Ok(forecast::item(&days, &limits, now))
}
