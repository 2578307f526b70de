//! `alerts remove`: rules that nobody needs.

use clap::Args;

use super::{chosen, gone};
use crate::context::Context;
use crate::domain::alert::rule::Rule;
use crate::error::{Outcome, Result};
use crate::output::alerts::rule::{Changed, Done};
use crate::store::alerts;
use crate::store::backend::Access;

/// Remove rules
///
/// Their history stays. A rule that fires is removed all the same; the next `usagectl alerts check` tells
/// those who were told that it fires.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts remove \
finnhub/RATE_LIMIT_WARNING/MINUTE"
)]
pub struct RemoveArgs {
    /// Which rules: an id, the beginning of one, or API/TYPE/PERIOD
    #[arg(required = true, value_name = "RULE")]
    rules: Vec<String>,
}

/// Removes them, all or none.
///
/// # Errors
///
/// When there is no such rule, or the database cannot be written.
pub fn run(context: &mut Context, args: RemoveArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    let rules = db.write_tx(|db| -> Result<Vec<Rule>> {
        let rules = chosen(&alerts::rules(db)?, &args.rules)?;
        for rule in &rules {
            if !alerts::remove(db, &rule.id)? {
                return Err(gone(rule));
            }
        }
        Ok(rules)
    })?;
    context.answer(&Changed::all(Done::Removed, rules))?;
    Ok(Outcome::DONE)
}
