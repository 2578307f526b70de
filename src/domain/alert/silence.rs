//! Silences: periods in which matching rules are evaluated but send no notifications.

use chrono::{DateTime, Utc};

use super::rule::{AlertType, Rule};

/// A silence. A field that is None matches anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    pub id: String,
    pub api_name: Option<String>,
    pub alert_type: Option<AlertType>,
    pub alert_id: Option<String>,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    pub reason: String,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
}

impl Silence {
    #[cfg(test)]
    pub(crate) fn sample(starts_at: DateTime<Utc>, ends_at: DateTime<Utc>) -> Silence {
        Silence {
            id: "s".to_owned(),
            api_name: None,
            alert_type: None,
            alert_id: None,
            starts_at,
            ends_at,
            reason: "release".to_owned(),
            created_by: "anna".to_owned(),
            created_at: starts_at,
        }
    }

    pub fn is_active(&self, at: DateTime<Utc>) -> bool {
        self.starts_at <= at && at < self.ends_at
    }

    /// Whether it covers `rule` for `api_name`, at any time.
    pub fn matches(&self, rule: &Rule, api_name: &str) -> bool {
        let alert_type = self.alert_type.as_ref();
        self.api_name.as_ref().is_none_or(|it| it == api_name)
            && self.alert_id.as_ref().is_none_or(|it| *it == rule.id)
            && alert_type.is_none_or(|it| *it == rule.alert_type)
    }
}

/// The active silence for `rule` and `api_name`; of several the one that ends last.
pub fn matching<'a>(
    silences: &'a [Silence],
    rule: &Rule,
    api_name: &str,
    at: DateTime<Utc>,
) -> Option<&'a Silence> {
    silences
        .iter()
        .filter(|silence| silence.is_active(at) && silence.matches(rule, api_name))
        .max_by_key(|silence| silence.ends_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::period::Period;
    use crate::domain::testing::at_ms as at;

    fn silence(api: Option<&str>, alert_type: Option<AlertType>, rule: Option<&str>) -> Silence {
        Silence {
            api_name: api.map(str::to_owned),
            alert_type,
            alert_id: rule.map(str::to_owned),
            ..Silence::sample(at(10), at(20))
        }
    }

    fn rule() -> Rule {
        Rule {
            id: "r".to_owned(),
            ..Rule::new("*", AlertType::ErrorSpike, Period::Hour, 10.0)
        }
    }

    #[test]
    fn omitted_silence_field_matches_every_alert() {
        let matches = |silence: Silence| silence.matches(&rule(), "tmdb");
        let [spike, cost] = [AlertType::ErrorSpike, AlertType::CostThreshold].map(Some);
        assert!(matches(silence(None, None, None)));
        assert!(matches(silence(Some("tmdb"), spike, Some("r"))));
        assert!(!matches(silence(Some("jikan"), None, None)));
        assert!(!matches(silence(None, cost, None)));
        assert!(!matches(silence(None, None, Some("q"))));
    }

    #[test]
    fn silence_includes_its_start_and_excludes_its_end() {
        let longer = Silence {
            ends_at: at(30),
            ..silence(None, None, None)
        };
        let silences = [silence(None, None, None), longer];
        let until = |ms| matching(&silences, &rule(), "tmdb", at(ms)).map(|found| found.ends_at);
        assert_eq!(until(9), None);
        assert_eq!(until(10), Some(at(30)));
        assert_eq!(until(29), Some(at(30)));
        assert_eq!(until(30), None);
    }
}
