//! `alerts enable`, and what `alerts disable` has in common with it.

use clap::Args;

use super::{chosen, gone};
use crate::context::Context;
use crate::domain::alert::rule::Rule;
use crate::error::{Outcome, Result};
use crate::output::alerts::rule::{Changed, Done};
use crate::store::alerts;
use crate::store::backend::Access;

/// Switch rules on
///
/// From the next check on they are judged again, by the data from then on.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts enable \
finnhub/RATE_LIMIT_WARNING/MINUTE"
)]
pub struct EnableArgs {
    /// Which rules: an id, the beginning of one, or API/TYPE/PERIOD
    #[arg(required = true, value_name = "RULE")]
    rules: Vec<String>,
}

/// Switches them on, all or none.
///
/// # Errors
///
/// When there is no such rule, or the database cannot be written.
pub fn run(context: &mut Context, args: EnableArgs) -> Result<Outcome> {
    switch(context, &args.rules, true)?;
    Ok(Outcome::DONE)
}

/// Switches rules on or off, answers, and returns those that were not so before.
pub(super) fn switch(context: &mut Context, words: &[String], on: bool) -> Result<Vec<Rule>> {
    let mut db = context.open(Access::Write)?;
    let now = context.now;
    let rules = db.write_tx(|db| -> Result<Vec<(Done, Rule)>> {
        let mut switched = Vec::new();
        for mut rule in chosen(&alerts::rules(db)?, words)? {
            let done = match (on, rule.enabled == on) {
                (_, true) => Done::Nothing,
                (true, false) => Done::Enabled,
                (false, false) => Done::Disabled,
            };
            if done != Done::Nothing && !alerts::set_enabled(db, &rule.id, on, now)? {
                return Err(gone(&rule));
            }
            rule.enabled = on;
            switched.push((done, rule));
        }
        Ok(switched)
    })?;
    let changed = Changed { rules };
    context.answer(&changed)?;
    let really = changed.rules.into_iter();
    Ok(really
        .filter(|(done, _)| *done != Done::Nothing)
        .map(|(_, rule)| rule)
        .collect())
}
