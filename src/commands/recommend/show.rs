//! `recommend show`.

use std::io::Write;

use clap::Args;

use super::ai::{self, AiArgs};
use super::one;
use crate::context::Context;
use crate::error::{Outcome, Result};
use crate::output::recommend::show::Show;
use crate::store::backend::Access;
use crate::store::recommendation_history;

/// Show all there is to know about a recommendation
///
/// A summary in words, every figure with its interval, the plans that were compared, where each input comes from,
/// what would make more known, and what happened to it so far.
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
///
/// # Errors
///
/// When there is no such recommendation, the database cannot be read, or with `--ai` written, or no endpoint is
/// named.
pub fn run(context: &mut Context, args: ShowArgs) -> Result<Outcome> {
    let access = match args.ai.ai && !args.ai.ai_dry_run {
        true => Access::Write,
        false => Access::Read,
    };
    let mut db = context.open(access)?;
    let (recommendation, history) = db.read_tx(|db| -> Result<_> {
        let recommendation = one(db, &args.id)?;
        let history = recommendation_history::of(db, &recommendation.id)?;
        Ok((recommendation, history))
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
        history: &history,
    })?;
    Ok(Outcome::DONE)
}
