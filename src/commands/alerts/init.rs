//! `alerts init`: the rules that the application had.

use clap::Args;

use super::advice;
use crate::context::Context;
use crate::domain::alert::defaults::{Usual, usual};
use crate::domain::alert::rule::Rule;
use crate::domain::id;
use crate::error::{Outcome, Result};
use crate::output::alerts::rule::{Change, Changed, Done};
use crate::store::alerting::rules;
use crate::store::db::Access;

/// Add the usual rules of the seven APIs
///
/// For finnhub, coinmarketcap, rawg, tmdb, jikan, espn and openweather: a warning of calls per minute, at 60
/// to 80% of the limit; for some, one of calls, costs or failures besides. Each says why it is as it is.
///
/// A rule that is there already, for the same API, type and period, stays as it is, whatever it says. So a
/// second run adds nothing.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl --database-url sqlite:usage.db alerts init")]
pub struct InitArgs {}

/// Adds those that are not there.
pub fn run(context: &mut Context, _: InitArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    let now = context.now;
    let rules = db.write_tx(|db| -> Result<Vec<Change>> {
        let there = rules::rules(db)?;
        let mut changes = Vec::new();
        for Usual { mut rule, why } in usual() {
            let same = there.iter().find(|known| known.place() == rule.place());
            if let Some(same) = same {
                changes.push(Change {
                    done: Done::Nothing,
                    rule: same.clone(),
                    why: None,
                });
                continue;
            }
            rule.id = id::scattered(now, rule.to_string().as_bytes()).to_string();
            rules::add(db, &rule, now)?;
            changes.push(Change {
                done: Done::Added,
                rule,
                why: Some(why),
            });
        }
        Ok(changes)
    })?;
    let changed = Changed { rules };
    context.answer(&changed)?;
    let added = changed.rules.into_iter();
    let added: Vec<Rule> = added
        .filter(|change| change.done == Done::Added)
        .map(|change| change.rule)
        .collect();
    advice::warn_of_limits(context, &mut db, &added)?;
    Ok(Outcome::DONE)
}
