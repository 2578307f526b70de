//! `alerts remove`: deletes rules.

use super::{RuleRefs, gone};
use crate::commands::prelude::*;
use crate::domain::alert::rule::Rule;
use crate::domain::alert::state::AlertRecord;
use crate::domain::format::time;
use crate::output::alerts::Action;
use crate::output::alerts::rule_changes::RuleChanges;
use crate::store::alerting::{rules, states};

/// Remove rules
///
/// Their history is kept. If a removed rule was firing, the next `usagectl alerts check` resolves it and
/// notifies the channels that were notified before.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts remove finnhub/RATE_LIMIT_WARNING/MINUTE"))]
pub struct RemoveArgs {
    #[command(flatten)]
    rules: RuleRefs,
}

/// Removes all of the rules or none.
pub fn run(context: &mut Context, args: RemoveArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    let (rules, firing) = db.write_tx(|db| -> Result<(Vec<Rule>, Vec<String>)> {
        let rules = args.rules.find(&rules::all(db)?)?;
        let firing = firing(&states::all(db)?, &rules);
        for rule in &rules {
            if !rules::remove(db, &rule.id)? {
                return Err(gone(rule));
            }
        }
        Ok((rules, firing))
    })?;
    warn_of_firing(context, &firing);
    context.finish(&RuleChanges::all(Action::Removed, rules))
}

/// Describes the states of `rules` that are firing.
pub(super) fn firing(states: &[AlertRecord], rules: &[Rule]) -> Vec<String> {
    let fired = |stored: &AlertRecord| {
        let alert = &stored.alert;
        let is_of_rules = rules.iter().any(|rule| rule.id == alert.alert_id);
        let episode = stored.state.episode.as_ref().filter(|_| is_of_rules)?;
        let since = time(episode.fired_at);
        Some(format!("{alert} is firing since {since}"))
    };
    states.iter().filter_map(fired).collect()
}

/// Warns of rules that are removed or disabled while they are firing.
pub(super) fn warn_of_firing(context: &mut Context, firing: &[String]) {
    for fired in firing {
        context.warn(format_args!(
            "{}: the next `usagectl alerts check` resolves it and sends notices",
            printable(fired)
        ));
    }
}
