//! What `alerts list` answers.

use serde::Serialize;

use super::super::Answer;
use super::super::table::{Side, layout};
use super::rule::{RuleJson, short_id};
use super::{measured, span};
use crate::domain::alert::choice::telling_length;
use crate::domain::alert::rule::Rule;

/// All rules.
#[derive(Debug)]
pub struct RuleList {
    /// By API, type and period.
    pub rules: Vec<Rule>,
}

#[derive(Serialize)]
struct RuleListJson<'a> {
    rules: Vec<RuleJson<'a>>,
}

impl Answer for RuleList {
    fn table(&self) -> String {
        if self.rules.is_empty() {
            return "no rules; `usagectl alerts init` adds those for the usual APIs\n".to_owned();
        }
        let columns = [
            ("ID", Side::Left),
            ("API", Side::Left),
            ("TYPE", Side::Left),
            ("PERIOD", Side::Left),
            ("THRESHOLD", Side::Right),
            ("FOR", Side::Right),
            ("STATE", Side::Left),
        ];
        let length = telling_length(self.rules.iter().map(|rule| rule.id.as_str()));
        let row = |rule: &Rule| {
            vec![
                short_id(&rule.id, length),
                rule.api_name.clone(),
                rule.alert_type.to_string(),
                rule.period.to_string(),
                measured(&rule.alert_type, rule.threshold),
                span(rule.settings.hold),
                match (rule.enabled, rule.check()) {
                    (false, _) => "disabled".to_owned(),
                    (true, Err(problem)) => format!("UNKNOWN: {problem}"),
                    (true, Ok(())) => "-".to_owned(),
                },
            ]
        };
        layout(&columns, self.rules.iter().map(row))
    }

    fn json(&self) -> impl Serialize {
        RuleListJson {
            rules: self.rules.iter().map(RuleJson::new).collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "id",
            "api_name",
            "alert_type",
            "period",
            "threshold",
            "enabled",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(self.rules.iter().map(|rule| {
            vec![
                rule.id.clone(),
                rule.api_name.clone(),
                rule.alert_type.to_string(),
                rule.period.to_string(),
                rule.threshold.to_string(),
                rule.enabled.to_string(),
            ]
        }));
        rows
    }
}
