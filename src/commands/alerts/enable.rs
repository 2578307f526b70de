//! `alerts enable`, and what `alerts disable` has in common with it.

use clap::Args;

use super::remove::{firing, warn_of_firing};
use super::{chosen, gone};
use crate::context::Context;
use crate::error::{Outcome, Result};
use crate::output::alerts::rule::{Change, Changed, Done};
use crate::store::alerting::{rules, states};
use crate::store::db::Access;

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
pub fn run(context: &mut Context, args: EnableArgs) -> Result<Outcome> {
    switch(context, &args.rules, true)?;
    Ok(Outcome::DONE)
}

/// Switches rules on or off and answers. One that is switched off while it fires is told of.
pub(super) fn switch(context: &mut Context, words: &[String], on: bool) -> Result<()> {
    let mut db = context.open(Access::Write)?;
    let now = context.now;
    let (rules, firing) = db.write_tx(|db| -> Result<(Vec<Change>, Vec<String>)> {
        let rules = chosen(&rules::rules(db)?, words)?;
        let firing = match on {
            true => Vec::new(),
            false => firing(&states::all(db)?, &rules),
        };
        let mut switched = Vec::new();
        for mut rule in rules {
            let done = match (on, rule.enabled == on) {
                (_, true) => Done::Nothing,
                (true, false) => Done::Enabled,
                (false, false) => Done::Disabled,
            };
            if done != Done::Nothing && !rules::set_enabled(db, &rule.id, on, now)? {
                return Err(gone(&rule));
            }
            rule.enabled = on;
            switched.push(Change {
                done,
                rule,
                why: None,
            });
        }
        Ok((switched, firing))
    })?;
    warn_of_firing(context, &firing);
    context.answer(&Changed { rules })
}
