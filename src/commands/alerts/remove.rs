//! `alerts remove`: rules that nobody needs.

use clap::Args;

use super::{chosen, gone};
use crate::context::Context;
use crate::domain::alert::rule::Rule;
use crate::domain::period::shown;
use crate::error::{Outcome, Result};
use crate::output::alerts::rule::{Changed, Done};
use crate::output::printable;
use crate::store::alerting::states::Stored;
use crate::store::alerting::{rules, states};
use crate::store::db::Access;

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
pub fn run(context: &mut Context, args: RemoveArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    let (rules, firing) = db.write_tx(|db| -> Result<(Vec<Rule>, Vec<String>)> {
        let rules = chosen(&rules::rules(db)?, &args.rules)?;
        let firing = firing(&states::all(db)?, &rules);
        for rule in &rules {
            if !rules::remove(db, &rule.id)? {
                return Err(gone(rule));
            }
        }
        Ok((rules, firing))
    })?;
    warn_of_firing(context, &firing);
    context.answer(&Changed::all(Done::Removed, rules))?;
    Ok(Outcome::DONE)
}

/// Of these rules, those that fire, and since when.
pub(super) fn firing(states: &[Stored], rules: &[Rule]) -> Vec<String> {
    let fired = |stored: &Stored| {
        let concern = &stored.concern;
        let is_mine = rules.iter().any(|rule| rule.id == concern.alert_id);
        let episode = stored.standing.episode.as_ref().filter(|_| is_mine)?;
        Some(format!(
            "{} {} per {} fires since {}",
            concern.api_name,
            concern.alert_type,
            concern.period,
            shown(episode.fired_at)
        ))
    };
    states.iter().filter_map(fired).collect()
}

/// Says what becomes of rules that are judged no more while they fire.
pub(super) fn warn_of_firing(context: &mut Context, firing: &[String]) {
    for fired in firing {
        context.warn(format_args!(
            "{}: the next `usagectl alerts check` ends that, and tells those who were told",
            printable(fired)
        ));
    }
}
