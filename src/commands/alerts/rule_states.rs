//! Reads rules with their current states, for `list`, `show` and `status`.

use chrono::{DateTime, Utc};
use diesel::QueryResult;

use crate::domain::alert::rule::{AlertRef, Rule};
use crate::domain::alert::summary::{Line, lines};
use crate::domain::plans::api_limit;
use crate::store::alerting::{rules, silences, states};
use crate::store::db::Db;
use crate::store::plans::api_limits;

/// The rules that `keep` accepts, with their states.
pub(super) fn read(
    db: &mut Db,
    now: DateTime<Utc>,
    keep: impl Fn(&Rule) -> bool,
) -> QueryResult<Vec<Line>> {
    let mut rules = rules::all(db)?;
    rules.retain(keep);
    let states: Vec<_> = states::all(db)?
        .into_iter()
        .filter(|stored| rules.iter().any(|rule| is_of_rule(rule, &stored.alert)))
        .map(|stored| {
            let by = stored.acknowledged.map(|acknowledged| acknowledged.by);
            let alert = stored.alert;
            (alert.alert_id, alert.api_name, stored.state, by)
        })
        .collect();
    let limits = api_limits::all(db)?;
    let limit_of = |rule: &Rule, api: &str| {
        let limit = api_limit::find(&limits, api, &rule.period);
        limit.filter(|_| rule.needs_limit()).map(|it| it.value)
    };
    let silences = silences::find_unexpired(db, now)?;
    Ok(lines(rules, &states, limit_of, &silences, now))
}

/// Whether a state belongs to the current rule: the application may have changed its type or period.
fn is_of_rule(rule: &Rule, alert: &AlertRef) -> bool {
    rule.id == alert.alert_id
        && rule.alert_type.as_str() == alert.alert_type
        && rule.period.as_str() == alert.period
}
