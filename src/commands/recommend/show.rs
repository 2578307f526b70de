//! `recommend show`.

use std::io::Write;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;

use super::ai::{self, AiArgs};
use super::{forecast, one};
use crate::context::Context;
use crate::domain::capacity::forecast::HISTORY_DAYS;
use crate::domain::recommendation::Recommendation;
use crate::error::{Outcome, Result};
use crate::output::recommend::forecast::Item;
use crate::output::recommend::show::Show;
use crate::store::db::{Access, Db};
use crate::store::metrics::days;
use crate::store::plans::limits;
use crate::store::recommendation::history;

/// Show all there is to know about a recommendation
///
/// A summary in words, a chart of what was measured and what is forecast, every figure with its interval, the
/// plans that were compared, where each input comes from, what would make more known, and what happened to it
/// so far. Beside the figures that were approved stands what is measured now.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl --database-url sqlite:usage.db recommend show 019c0d2e")]
pub struct ShowArgs {
    /// Which recommendation: its id, or as much of the beginning as no other has
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    ai: AiArgs,
}

/// Reads and shows it.
pub fn run(context: &mut Context, args: ShowArgs) -> Result<Outcome> {
    let access = match args.ai.ai && !args.ai.ai_dry_run {
        true => Access::Write,
        false => Access::Read,
    };
    let now = context.now;
    let mut db = context.open(access)?;
    let (recommendation, history, live) = db.read_tx(|db| -> Result<_> {
        let recommendation = one(db, &args.id)?;
        let history = history::of(db, &recommendation.id)?;
        let live = live(db, &recommendation, now)?;
        Ok((recommendation, history, live))
    })?;
    if args.ai.ai_dry_run {
        let request = ai::dry_run(&recommendation, &args.ai)?;
        context.stdout().write_all(request.as_bytes())?;
        return Ok(Outcome::DONE);
    }
    // No transaction is open while an endpoint is asked.
    let prose = ai::prose(context, &mut db, &recommendation, &args.ai)?;
    context.answer(&Show {
        recommendation: &recommendation,
        prose: prose.as_ref(),
        live: live.as_ref(),
        history: &history,
    })?;
    Ok(Outcome::DONE)
}

/// Where its metric is trend now; nothing if it was not measured.
fn live(db: &mut Db, it: &Recommendation, now: DateTime<Utc>) -> Result<Option<Item>> {
    let Some(metric) = it.metric else {
        return Ok(None);
    };
    let today = now.date_naive();
    let from = today - TimeDelta::days(HISTORY_DAYS);
    let mut days = days::days(db, Some(it.service), Some(metric), from, today)?;
    let resource = it.own.as_ref().map_or("", |own| own.resource.as_str());
    days.retain(|day| day.series.resource == resource);
    // A budget may stand beside the limit that it is about.
    let mut limits = limits::limits_in_force(db, now)?;
    limits.retain(|limit| limit.plan == it.current_plan);
    Ok(forecast::item(&days, &limits, now))
}
