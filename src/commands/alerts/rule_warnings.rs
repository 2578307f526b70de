//! Warnings about valid rules that are probably mistakes: a surprising threshold, an unknown API, a missing
//! limit.

use std::collections::BTreeSet;

use crate::commands::known_apis::warn_of_unknown;
use crate::commands::prelude::*;
use crate::domain::alert::rule::Rule;
use crate::domain::alert::validate::RuleWarning;
use crate::domain::api_name::ALL_APIS;
use crate::domain::format::shell_word;
use crate::domain::plans::api_limit;
use crate::store::alerting::channels;
use crate::store::plans::api_limits;
use crate::store::usage::rollups;

/// Warns of surprising thresholds, APIs without calls and missing limits.
pub(super) fn warn(context: &mut Context, db: &mut Db, rules: &[Rule]) -> Result<()> {
    for rule in rules {
        match rule.warning() {
            Some(RuleWarning::Fraction(threshold)) => context.warn(format_args!(
                "threshold {threshold} is {threshold} % of the limit; for {percent} % use --threshold {percent}",
                percent = (threshold * 10_000.0).round() / 100.0
            )),
            Some(RuleWarning::AboveLimit(threshold)) => context.warn(format_args!(
                "threshold {threshold} % is above the limit: the rule fires only when the limit is exceeded"
            )),
            None => {}
        }
    }
    let apis = rules.iter().map(|rule| rule.api_name.as_str());
    warn_of_unknown(context, db, apis.filter(|api| *api != ALL_APIS))?;
    warn_of_limits(context, db, rules)
}

/// Warns of limits that the rules need and that are not set.
fn warn_of_limits(context: &mut Context, db: &mut Db, rules: &[Rule]) -> Result<()> {
    let limits = api_limits::all(db)?;
    let known = rollups::known_apis(db)?;
    let mut missing = BTreeSet::new();
    for rule in rules.iter().filter(|rule| rule.needs_limit()) {
        let apis = match rule.api_name.as_str() {
            ALL_APIS => known.iter().map(String::as_str).collect(),
            api => vec![api],
        };
        for api in apis {
            if api_limit::find(&limits, api, &rule.period).is_none() {
                missing.insert((api, &rule.period));
            }
        }
    }
    if let Some((api, period)) = missing.first() {
        let list: Vec<String> = missing
            .iter()
            .map(|(api, period)| format!("{} per {period}", printable(api)))
            .collect();
        let consequence = match rules.iter().any(|rule| rule.api_name == ALL_APIS) {
            true => "rules for all APIs leave it out, others stay UNKNOWN",
            false => "rules that need it stay UNKNOWN",
        };
        context.warn(format_args!(
            "no limit for {}: {consequence}; `usagectl limits init` sets published limits, \
             `usagectl limits set --api {} --per {period} N` any other",
            list.join(", "),
            printable(&shell_word(api)),
        ));
    }
    Ok(())
}

/// Refuses channels that do not exist: a mistyped name would suppress all notices.
pub(super) fn require_channels(db: &mut Db, rules: &[Rule]) -> Result<()> {
    let known = channels::all(db)?;
    let of_rule = |rule: &Rule| {
        let thresholds = rule.thresholds().into_iter();
        let named = thresholds.flat_map(|threshold| threshold.channels);
        named.chain(rule.channels.clone()).collect::<Vec<String>>()
    };
    for name in rules.iter().flat_map(of_rule) {
        if known.iter().all(|channel| channel.name != name) {
            let message = format!("no channel `{}`; nothing was changed", printable(&name));
            return Err(Error::usage(message).with_next("usagectl alerts channel list"));
        }
    }
    Ok(())
}
