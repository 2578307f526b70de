//! `alerts init`: adds default rules.

use super::rule_warnings;
use crate::commands::prelude::*;
use crate::domain::alert::defaults::{DefaultRule, default_rules};
use crate::domain::alert::rule::Rule;
use crate::domain::id;
use crate::output::alerts::Action;
use crate::output::alerts::rule_changes::{RuleChange, RuleChanges};
use crate::store::alerting::rules;

/// Add default rules for seven common APIs
///
/// For finnhub, coinmarketcap, rawg, tmdb, jikan, espn and openweather: a warning at 60 to 80 percent of the
/// limit of calls per minute, and for some of them a rule for daily calls, costs or failures. The answer
/// gives the reason for each threshold.
///
/// A rule that exists already for the same API, type and period is left unchanged.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts init"))]
pub struct InitArgs {}

pub fn run(context: &mut Context, _: InitArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    let now = context.now;
    let changes = db.write_tx(|db| -> Result<Vec<RuleChange>> {
        let existing = rules::all(db)?;
        let mut changes = Vec::new();
        for DefaultRule { mut rule, why } in default_rules() {
            let same = existing.iter().find(|known| known.place() == rule.place());
            if let Some(same) = same {
                changes.push(RuleChange {
                    action: Action::Unchanged,
                    rule: same.clone(),
                    reason: None,
                });
                continue;
            }
            rule.id = id::scattered(now, rule.to_string().as_bytes()).to_string();
            rules::add(db, &rule, now)?;
            changes.push(RuleChange {
                action: Action::Added,
                rule,
                reason: Some(why),
            });
        }
        Ok(changes)
    })?;
    let answer = RuleChanges { changes };
    context.answer(&answer)?;
    let added = answer.changes.into_iter();
    let added = added.filter(|change| change.action == Action::Added);
    let added: Vec<Rule> = added.map(|change| change.rule).collect();
    rule_warnings::warn_of_limits(context, &mut db, &added)?;
    Ok(Outcome::DONE)
}
