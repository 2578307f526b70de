//! `alerts set`: another threshold, other settings.

use clap::Args;

use super::options::{RuleOptions, number};
use super::{advice, chosen, gone};
use crate::context::Context;
use crate::domain::alert::rule::Rule;
use crate::error::{Error, Outcome, Result};
use crate::output::alerts::rule::{Changed, Done};
use crate::store::alerting::rules;
use crate::store::db::Access;

/// Change rules
///
/// What is not given stays as it is. Rules that the application wrote can be changed like any other: the
/// threshold in api_alerts, the rest in a table of our own, so that the application sees nothing new.
///
/// A rule that fires is judged by what it says now from the next check on.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts set \
finnhub/RATE_LIMIT_WARNING/MINUTE --threshold 75 --critical 95 --clear-below 60"
)]
pub struct SetArgs {
    /// Which rules: an id, the beginning of one, or API/TYPE/PERIOD
    #[arg(required = true, value_name = "RULE")]
    rules: Vec<String>,

    /// From where on it fires
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true)]
    threshold: Option<f64>,

    #[command(flatten)]
    options: RuleOptions,
}

/// Changes them, all or none.
pub fn run(context: &mut Context, args: SetArgs) -> Result<Outcome> {
    if args.threshold.is_none() && args.options.is_empty() {
        return Err(
            Error::usage("nothing to change was given").with_next("usagectl alerts set --help")
        );
    }
    let mut db = context.open(Access::Write)?;
    let now = context.now;
    let rules = db.write_tx(|db| -> Result<Vec<Rule>> {
        let mut rules = chosen(&rules::rules(db)?, &args.rules)?;
        for rule in &mut rules {
            rule.threshold = args.threshold.unwrap_or(rule.threshold);
            args.options.apply(rule)?;
        }
        if args.options.names_channels() {
            advice::require_channels(db, &rules)?;
        }
        for rule in &rules {
            if !rules::set(db, rule, now)? {
                return Err(gone(rule));
            }
        }
        Ok(rules)
    })?;
    advice::warn(context, &mut db, &rules)?;
    context.answer(&Changed::all(Done::Changed, rules))?;
    Ok(Outcome::DONE)
}
