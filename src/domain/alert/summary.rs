//! Rules with their states, as `alerts list` and `alerts status` show them.

use chrono::{DateTime, Utc};

use super::rule::{ALL_APIS, Rule, Severity};
use super::silence::{Silence, matching};
use super::state::{AlertState, AlertStatus};

/// A rule for one API.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub rule: Rule,
    /// The API; [`ALL_APIS`] for a rule for all APIs that was never evaluated.
    pub api_name: String,
    /// The state after the last evaluation.
    pub state: Option<AlertState>,
    pub limit_value: Option<f64>,
    pub acknowledged_by: Option<String>,
    pub is_silenced: bool,
    /// The end of the silence, if it is known.
    pub silenced_until: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condition {
    /// It fires or recovers: its episode is open.
    Firing(Severity),
    Unknown,
    Pending,
    Ok,
    Unchecked,
    Disabled,
}

/// The rules with their states, in the order of the rules. Each state comes with its rule's id, its API and the
/// author of an acknowledgement.
pub fn lines(
    rules: Vec<Rule>,
    states: &[(String, String, AlertState, Option<String>)],
    limit_of: impl Fn(&Rule, &str) -> Option<f64>,
    silences: &[Silence],
    now: DateTime<Utc>,
) -> Vec<Line> {
    let mut lines = Vec::new();
    for rule in rules {
        let is_about = |api: &str| rule.api_name == ALL_APIS || rule.api_name == api;
        let mine = states
            .iter()
            .filter(|(id, api, ..)| *id == rule.id && is_about(api));
        let before = lines.len();
        let silence = |api: &str| matching(silences, &rule, api, now);
        let line = |api: &str, state: Option<AlertState>, acknowledged_by: Option<String>| Line {
            api_name: api.to_owned(),
            limit_value: limit_of(&rule, api),
            is_silenced: silence(api).is_some(),
            silenced_until: silence(api).and_then(|silence| silence.ends_at),
            state,
            acknowledged_by,
            rule: rule.clone(),
        };
        lines.extend(mine.map(|(_, api, state, acknowledged_by)| {
            line(api, Some(state.clone()), acknowledged_by.clone())
        }));
        if lines.len() == before {
            lines.push(line(&rule.api_name, None, None));
        }
    }
    lines
}

impl Line {
    pub fn condition(&self) -> Condition {
        if !self.rule.enabled {
            return Condition::Disabled;
        }
        if self.rule.check().is_err() {
            return Condition::Unknown;
        }
        let Some(state) = &self.state else {
            return Condition::Unchecked;
        };
        match state.status {
            AlertStatus::Firing | AlertStatus::Recovering => {
                Condition::Firing(state.severity.unwrap_or(self.rule.settings.severity))
            }
            AlertStatus::Unknown => Condition::Unknown,
            AlertStatus::Pending => Condition::Pending,
            AlertStatus::Ok => Condition::Ok,
        }
    }

    pub fn reason(&self) -> Option<String> {
        if let Err(fault) = self.rule.check() {
            return Some(fault.to_string());
        }
        self.state.as_ref()?.reason.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::rule::AlertType;
    use crate::domain::period::Period;
    use crate::domain::testing::at_ms as at;

    fn rule(id: &str, api: &str) -> Rule {
        Rule {
            id: id.to_owned(),
            ..Rule::new(api, AlertType::ErrorSpike, Period::Hour, 10.0)
        }
    }

    fn state(status: AlertStatus) -> AlertState {
        AlertState::sample(status, at(0))
    }

    #[test]
    fn rule_for_all_apis_has_a_line_per_api() {
        let known =
            |id: &str, api: &str, status| (id.to_owned(), api.to_owned(), state(status), None);
        let states = [
            known("all", "finnhub", AlertStatus::Firing),
            known("all", "tmdb", AlertStatus::Ok),
            // The application has renamed the API of this one since.
            known("one", "jikan", AlertStatus::Firing),
            known("gone", "jikan", AlertStatus::Firing),
        ];
        let rules = vec![rule("all", ALL_APIS), rule("one", "tmdb")];
        let lines = lines(rules, &states, |_, _| None, &[], at(0));
        let shown = lines
            .iter()
            .map(|line| (&*line.rule.id, &*line.api_name, line.condition()));
        let expected = [
            ("all", "finnhub", Condition::Firing(Severity::Warning)),
            ("all", "tmdb", Condition::Ok),
            ("one", "tmdb", Condition::Unchecked),
        ];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }
}
