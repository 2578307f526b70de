//! `alerts set`: changes rules.

use super::rule_options::{RuleOptions, ThresholdOption, names_channels, threshold};
use super::{RuleRefs, gone, rule_warnings};
use crate::commands::prelude::*;
use crate::domain::alert::rule::Rule;
use crate::output::alerts::Action;
use crate::output::alerts::rule_changes::RuleChanges;
use crate::store::alerting::rules;

/// Change rules
///
/// Options that are not given keep their values. The threshold is stored in api_alerts, all else in a table
/// of usagectl, so rules of the application can be changed without the application noticing.
///
/// A firing rule is evaluated with its new settings from the next check on.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts set finnhub/RATE_LIMIT_WARNING/MINUTE --threshold 75 --critical 95 --clear-below 60"))]
pub struct SetArgs {
    #[command(flatten)]
    rules: RuleRefs,

    /// Threshold: percent, credits, failed calls or periods, by type; repeat for more
    ///
    /// A single number changes the lowest threshold and keeps the others. Anything else replaces all of them;
    /// see `usagectl alerts add --help`.
    #[arg(long = "threshold", value_name = "N[:SEVERITY[:CHANNEL,...]]", value_parser = threshold, conflicts_with = "percent", allow_hyphen_values = true)]
    thresholds: Vec<ThresholdOption>,

    #[command(flatten)]
    options: RuleOptions,
}

/// Changes all of the rules or none.
pub fn run(context: &mut Context, args: SetArgs) -> Result<Outcome> {
    if args.thresholds.is_empty() && args.options.is_empty() {
        return Err(Error::usage("expected at least one option to change")
            .with_next("usagectl alerts set --help"));
    }
    let mut db = context.open(Access::Write)?;
    let now = context.now;
    let (rules, counting) = db.write_tx(|db| -> Result<(Vec<Rule>, Vec<String>)> {
        let mut rules = args.rules.find(&rules::all(db)?)?;
        let mut counting = Vec::new();
        for rule in &mut rules {
            if !args.thresholds.is_empty() && rule.settings.percent {
                rule.settings.percent = false;
                counting.push(rule.reference());
            }
            args.options.set_thresholds(rule, &args.thresholds)?;
            args.options.apply(rule)?;
        }
        if args.options.names_channels() || names_channels(&args.thresholds) {
            rule_warnings::require_channels(db, &rules)?;
        }
        for rule in &rules {
            if !rules::set(db, rule, now)? {
                return Err(gone(rule));
            }
        }
        Ok((rules, counting))
    })?;
    for name in counting {
        context.warn(format_args!(
            "the threshold of {} was a percentage and is a number of failed calls now",
            printable(&name)
        ));
    }
    rule_warnings::warn(context, &mut db, &rules)?;
    context.finish(&RuleChanges::all(Action::Changed, rules))
}
