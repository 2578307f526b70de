//! `alerts enable`: resumes the evaluation of rules.

use super::remove::{firing, warn_of_firing};
use super::{RuleRefs, gone};
use crate::commands::prelude::*;
use crate::output::alerts::Action;
use crate::output::alerts::rule_changes::{RuleChange, RuleChanges};
use crate::store::alerting::{rules, states};

/// Enable rules
///
/// The next `usagectl alerts check` evaluates them again, from then on.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts enable finnhub/RATE_LIMIT_WARNING/MINUTE"))]
pub struct EnableArgs {
    #[command(flatten)]
    rules: RuleRefs,
}

/// Enables all of the rules or none.
pub fn run(context: &mut Context, args: EnableArgs) -> Result<Outcome> {
    set_enabled(context, &args.rules, true)
}

/// Enables or disables rules, and warns of those that are firing when they are disabled.
pub(super) fn set_enabled(
    context: &mut Context,
    references: &RuleRefs,
    enabled: bool,
) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    let now = context.now;
    let (changes, firing) = db.write_tx(|db| -> Result<_> {
        let rules = references.find(&rules::all(db)?)?;
        let firing = if enabled {
            Vec::new()
        } else {
            firing(&states::all(db)?, &rules)
        };
        let mut changes = Vec::new();
        for mut rule in rules {
            let action = match (enabled, rule.enabled == enabled) {
                (_, true) => Action::Unchanged,
                (true, false) => Action::Enabled,
                (false, false) => Action::Disabled,
            };
            if action != Action::Unchanged && !rules::set_enabled(db, &rule.id, enabled, now)? {
                return Err(gone(&rule));
            }
            rule.enabled = enabled;
            changes.push(RuleChange {
                action,
                rule,
                reason: None,
            });
        }
        Ok((changes, firing))
    })?;
    warn_of_firing(context, &firing);
    context.finish(&RuleChanges { changes })
}
