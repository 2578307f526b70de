//! The use of rate limits, measured as alert rules measure it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::alerts::reading;
use crate::commands::prelude::*;
use crate::domain::alert::evaluate::{RequiredWindows, RuleTarget};
use crate::domain::alert::rule::{ALL_APIS, AlertType, Rule};
use crate::domain::alert::window::Grid;
use crate::domain::plans::ApiLimit;
use crate::domain::usage::settings::Mode;
use crate::domain::usage::stats::LimitUse;
use crate::store::alerting::rules;
use crate::store::plans::api_limits;

/// The use of each limit in the window that ends at `at`, by API. An empty list of APIs is all of them. Unless changed
/// hours are known by their marks, all calls are counted from the rows.
pub(super) fn limit_use(
    db: &mut Db,
    apis: &[String],
    at: DateTime<Utc>,
    mode: Option<Mode>,
) -> Result<BTreeMap<String, Vec<LimitUse>>> {
    let mut limits = api_limits::all(db)?;
    limits.retain(|limit| apis.is_empty() || apis.contains(&limit.api_name));
    let (providers, existing) = (reading::providers(db, at)?, rules::all(db)?);
    let rules: Vec<Rule> = limits.iter().map(|it| rule_of(it, &existing)).collect();
    let targets = rules.iter().zip(&limits);
    let targets: Vec<RuleTarget<'_>> = targets
        .map(|(rule, limit)| providers.target(rule, &limit.api_name, Grid::MINUTES))
        .collect();
    let marked = mode.filter(|mode| *mode == Mode::Triggers);
    let mut needs: BTreeMap<&str, Vec<RequiredWindows>> = BTreeMap::new();
    for target in &targets {
        let of_api = needs.entry(target.api_name).or_default();
        of_api.push(target.needs(at));
    }
    let series = reading::series(db, &needs, marked)?;
    let mut found: BTreeMap<String, Vec<LimitUse>> = BTreeMap::new();
    for (target, limit) in targets.iter().zip(&limits) {
        let series = series.get(target.api_name);
        let used = series.and_then(|series| target.limit_use(at, series));
        let of_api = found.entry(limit.api_name.clone()).or_default();
        of_api.extend(used.map(|(window, used)| LimitUse {
            period: limit.period.clone(),
            window,
            limit: limit.value,
            used,
        }));
    }
    Ok(found)
}

/// The rule that compares with a limit, or one with the default settings.
fn rule_of(limit: &ApiLimit, rules: &[Rule]) -> Rule {
    let rule = |api: &str| {
        Rule::new(
            api,
            AlertType::RateLimitWarning,
            limit.period.clone(),
            100.0,
        )
    };
    let existing = |default: &Rule| rules.iter().find(|rule| rule.place() == default.place());
    let default = rule(&limit.api_name);
    let existing = existing(&default).or_else(|| existing(&rule(ALL_APIS)));
    existing.cloned().unwrap_or(default)
}
