//! Finds a rule by its id, a prefix of its id, or `API/TYPE/PERIOD`.

use super::rule::Rule;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    #[error("there is no rule `{0}`")]
    None(String),
    /// It is a prefix of several ids.
    #[error("`{word}` is a prefix of {} rules: {}", .ids.len(), .ids.join(", "))]
    Several { word: String, ids: Vec<String> },
}

/// Finds a rule. A whole id takes precedence over longer ids that begin with it.
pub fn find_rule<'a>(rules: &'a [Rule], word: &str) -> Result<&'a Rule, NotFound> {
    let whole = rules
        .iter()
        .find(|rule| rule.id == word || is_place(rule, word));
    if let Some(rule) = whole {
        return Ok(rule);
    }
    let begun = |rule: &&Rule| !word.is_empty() && rule.id.starts_with(word);
    match rules.iter().filter(begun).collect::<Vec<_>>().as_slice() {
        [rule] => Ok(rule),
        [] => Err(NotFound::None(word.to_owned())),
        several => Err(NotFound::Several {
            word: word.to_owned(),
            ids: several.iter().map(|rule| rule.id.clone()).collect(),
        }),
    }
}

fn is_place(rule: &Rule, word: &str) -> bool {
    // From the end: an API name may contain a slash.
    let mut parts = word.rsplitn(3, '/');
    let period = parts.next().unwrap_or_default();
    let alert_type = parts.next().unwrap_or_default();
    parts.next() == Some(rule.api_name.as_str())
        && rule.alert_type.as_str().eq_ignore_ascii_case(alert_type)
        && rule.period.as_str().eq_ignore_ascii_case(period)
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
