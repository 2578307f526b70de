//! `alerts init`: adds default rules.

use crate::commands::prelude::*;
use crate::domain::alert::defaults::{DefaultRule, default_rules};
use crate::domain::id;
use crate::domain::plans::api_limit;
use crate::domain::plans::sync::{self, ApiLimitChange, SyncAction};
use crate::output::alerts::Action;
use crate::output::alerts::rule_changes::{RuleChange, RuleChanges};
use crate::store::alerting::rules;
use crate::store::plans::{api_limits, catalogues, selections};
use crate::store::usage::rollups;

/// Add default rules for seven common APIs
///
/// For finnhub, coinmarketcap, rawg, tmdb, jikan, espn and openweather: a warning at 60 to 80 percent of the
/// limit of calls per minute, and for some of them a rule for daily calls, costs or failures. The answer
/// gives the reason for each threshold.
///
/// A rule that exists already for the same API, type and period is left unchanged. A rule that cannot be evaluated is
/// left out and listed: no call to its API is recorded, or its limit is not set.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts init"))]
pub struct InitArgs {}

pub fn run(context: &mut Context, _: InitArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    let now = context.now;
    let changes = db.write_tx(|db| -> Result<Vec<RuleChange>> {
        let existing = rules::all(db)?;
        let limits = api_limits::all(db)?;
        let (catalogue, selections) = (catalogues::active(db)?, selections::all(db)?);
        let published = sync::api_limits(&catalogue, &selections, None, &limits, now);
        let known = rollups::known_apis(db)?;
        let mut changes = Vec::new();
        for DefaultRule { mut rule, why } in default_rules() {
            let same = existing.iter().find(|known| known.place() == rule.place());
            let limit = api_limit::find(&limits, &rule.api_name, &rule.period);
            let (action, reason) = match same {
                Some(same) => {
                    rule = same.clone();
                    (Action::Unchanged, None)
                }
                None if !known.contains(&rule.api_name) => {
                    let reason = "no call to this API was recorded".to_owned();
                    (Action::LeftOut, Some(reason))
                }
                None if rule.needs_limit() && limit.is_none() => {
                    let (api, period) = (&rule.api_name, &rule.period);
                    let is_added = |it: &ApiLimitChange| {
                        it.change == SyncAction::Added
                            && (&it.limit.api_name, &it.limit.period) == (api, period)
                    };
                    let set = match published.iter().any(is_added) {
                        true => "init".to_owned(),
                        false => format!("set --api {api} --per {period} N"),
                    };
                    let reason = format!("no limit is set: usagectl limits {set}");
                    (Action::LeftOut, Some(reason))
                }
                None => {
                    rule.id = id::scattered(now, rule.to_string().as_bytes()).to_string();
                    rules::add(db, &rule, now)?;
                    (Action::Added, Some(why.to_owned()))
                }
            };
            changes.push(RuleChange {
                action,
                rule,
                reason,
            });
        }
        Ok(changes)
    })?;
    let answer = RuleChanges { changes };
    context.answer(&answer)?;
    if answer.changes.iter().any(|it| it.action == Action::LeftOut) {
        context.info(
            "run `usagectl alerts init` again when these APIs have calls, and limits where the reason names one",
        );
    }
    Ok(Outcome::DONE)
}
