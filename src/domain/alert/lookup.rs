//! Finds a rule by its id, a prefix of its id, or `API/TYPE/PERIOD`.

use std::collections::BTreeSet;

use super::rule::{AlertRef, Rule};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    #[error("there is no rule `{0}`")]
    None(String),
    /// It is a prefix of several ids.
    #[error("`{word}` is a prefix of {} rules: {}", .ids.len(), .ids.join(", "))]
    Several { word: String, ids: Vec<String> },
}

/// Finds a rule.
pub fn find_rule<'a>(rules: &'a [Rule], word: &str) -> Result<&'a Rule, NotFound> {
    let alerts = rules.iter().map(|rule| AlertRef::new(rule, &rule.api_name));
    let found = find_alerts(alerts, word)?;
    let mut rules = rules.iter();
    let rule = rules.find(|rule| found.iter().any(|it| it.alert_id == rule.id));
    rule.ok_or_else(|| NotFound::None(word.to_owned()))
}

/// Finds the alerts of a rule, or those of rules that had the same place. A whole id takes precedence over longer ids
/// that begin with it.
pub fn find_alerts(
    alerts: impl Iterator<Item = AlertRef>,
    word: &str,
) -> Result<BTreeSet<AlertRef>, NotFound> {
    let is_whole = |alert: &AlertRef| alert.alert_id == word || is_place(alert, word);
    let begins = |alert: &AlertRef| !word.is_empty() && alert.alert_id.starts_with(word);
    let found: Vec<AlertRef> = alerts.filter(|it| is_whole(it) || begins(it)).collect();
    let whole: BTreeSet<AlertRef> = found.iter().filter(|it| is_whole(it)).cloned().collect();
    if !whole.is_empty() {
        return Ok(whole);
    }
    let ids: BTreeSet<&String> = found.iter().map(|it| &it.alert_id).collect();
    match ids.len() {
        0 => Err(NotFound::None(word.to_owned())),
        1 => Ok(found.into_iter().collect()),
        _ => Err(NotFound::Several {
            word: word.to_owned(),
            ids: ids.into_iter().cloned().collect(),
        }),
    }
}

/// The API, type and period of `API/TYPE/PERIOD`.
pub fn split_place(word: &str) -> Option<[&str; 3]> {
    // From the end: an API name may contain a slash.
    let mut parts = word.rsplitn(3, '/');
    let (period, alert_type) = (parts.next()?, parts.next()?);
    Some([parts.next()?, alert_type, period])
}

fn is_place(alert: &AlertRef, word: &str) -> bool {
    split_place(word).is_some_and(|[api_name, alert_type, period]| {
        alert.api_name == api_name
            && alert.alert_type.eq_ignore_ascii_case(alert_type)
            && alert.period.eq_ignore_ascii_case(period)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::rule::AlertType;
    use crate::domain::period::Period;

    fn rule(id: &str, api: &str, alert_type: AlertType) -> Rule {
        Rule {
            id: id.to_owned(),
            ..Rule::new(api, alert_type, Period::Minute, 80.0)
        }
    }

    #[test]
    fn rule_is_found_by_id_prefix_or_place() {
        let rules = [
            rule("3f2a", "finnhub", AlertType::RateLimitWarning),
            rule("3f2ab", "tmdb", AlertType::RateLimitWarning),
            rule("91c0", "a/b", AlertType::ErrorSpike),
        ];
        let chosen = |word| find_rule(&rules, word).map(|rule| rule.api_name.as_str());
        assert_eq!(chosen("9"), Ok("a/b"));
        assert_eq!(chosen("3f2a"), Ok("finnhub"));
        assert_eq!(chosen("3f2ab"), Ok("tmdb"));
        assert_eq!(chosen("tmdb/rate_limit_warning/MINUTE"), Ok("tmdb"));
        assert_eq!(chosen("a/b/ERROR_SPIKE/minute"), Ok("a/b"));
        assert_eq!(chosen("x"), Err(NotFound::None("x".to_owned())));
        assert_eq!(chosen(""), Err(NotFound::None(String::new())));
        let several = find_rule(&rules, "3f").unwrap_err().to_string();
        assert_eq!(several, "`3f` is a prefix of 2 rules: 3f2a, 3f2ab");
    }
}
