//! What to tell whoever writes a rule: that it lacks something, or most likely says something else than was
//! meant. None of it keeps the rule from being written.

use std::collections::BTreeSet;

use crate::context::Context;
use crate::domain::alert::rule::{ALL_APIS, Rule};
use crate::error::{Error, Exit, Result, shell_word};
use crate::output::printable;
use crate::store::alerting::channels;
use crate::store::db::Db;
use crate::store::plans::api_limits;
use crate::store::usage::{aggregates, rollups};

/// Warns of what the rules lack.
pub(super) fn warn(context: &mut Context, db: &mut Db, rules: &[Rule]) -> Result<()> {
    let known = rollups::known_apis(db)?;
    for rule in rules {
        if let Some(surprise) = rule.surprise() {
            context.warn(surprise);
        }
        if rule.api_name != ALL_APIS
            && !known.contains(&rule.api_name)
            && !aggregates::exist_for(db, &rule.api_name)?
        {
            context.warn(unrecorded(&rule.api_name, &known));
        }
    }
    warn_of_limits(context, db, rules)
}

/// Warns of limits that the rules need and nobody knows.
pub(super) fn warn_of_limits(context: &mut Context, db: &mut Db, rules: &[Rule]) -> Result<()> {
    let limits = api_limits::all(db)?;
    let known = rollups::known_apis(db)?;
    let mut lacking = BTreeSet::new();
    for rule in rules.iter().filter(|rule| rule.needs_limit()) {
        let apis = match rule.api_name.as_str() {
            ALL_APIS => known.iter().map(String::as_str).collect(),
            api => vec![api],
        };
        for api in apis {
            let is_known = limits
                .iter()
                .any(|limit| limit.api_name == api && limit.period == rule.period);
            if !is_known {
                lacking.insert((api, &rule.period));
            }
        }
    }
    if let Some((api, period)) = lacking.first() {
        let missing: Vec<String> = lacking
            .iter()
            .map(|(api, period)| format!("{} per {period}", printable(api)))
            .collect();
        context.warn(format_args!(
            "no limit is known of {}: until it is, rules that compare with it are UNKNOWN; `usagectl limits init` \
             sets the published ones, `usagectl limits set --api {} --per {period} VALUE` any",
            missing.join(", "),
            printable(&shell_word(api)),
        ));
    }
    Ok(())
}

fn unrecorded(api: &str, known: &BTreeSet<String>) -> String {
    const SHOWN: usize = 20;
    let names: Vec<_> = known
        .iter()
        .take(SHOWN)
        .map(|name| printable(name))
        .collect();
    let more = if known.len() > SHOWN { " and more" } else { "" };
    let there = match names.as_slice() {
        [] => "nothing is recorded yet".to_owned(),
        names => format!("there are {}{more}", names.join(", ")),
    };
    format!("no call to `{}` is recorded; {there}", printable(api))
}

/// Makes sure that there are the channels that a rule is told to speak through: a mistyped name would be
/// silence.
pub(super) fn require_channels(db: &mut Db, rules: &[Rule]) -> Result<()> {
    let known = channels::all(db)?;
    let named = rules.iter().flat_map(|rule| &rule.channels);
    for name in named {
        if known.iter().all(|channel| channel.name != *name) {
            let name = printable(name);
            let message = format!("there is no channel `{name}`; nothing was changed");
            return Err(
                Error::message(Exit::Failed, message).with_next("usagectl alerts channel list")
            );
        }
    }
    Ok(())
}
