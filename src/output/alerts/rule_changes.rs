//! The answer of the commands that change rules.

use super::Action;
use super::rule::settings_line;
use crate::domain::alert::rule::Rule;
use crate::domain::format::short_id;
use crate::output::prelude::*;

#[derive(Debug, Serialize)]
pub struct RuleChange {
    pub action: Action,
    /// Why a default rule has its threshold, or was left out.
    pub reason: Option<String>,
    /// The rule after the change; a removed one as it was.
    #[serde(flatten)]
    pub rule: Rule,
}

#[derive(Debug, Serialize)]
pub struct RuleChanges {
    #[serde(rename = "rules")]
    pub changes: Vec<RuleChange>,
}

impl RuleChanges {
    pub fn all(action: Action, rules: Vec<Rule>) -> RuleChanges {
        let change = |rule| RuleChange {
            action,
            rule,
            reason: None,
        };
        RuleChanges {
            changes: rules.into_iter().map(change).collect(),
        }
    }
}

impl Answer for RuleChanges {
    fn table(&self, _width: Option<usize>) -> String {
        let ids = self.changes.iter().map(|change| change.rule.id.clone());
        let ids: Vec<String> = ids.collect();
        lines(&self.changes, |change| {
            let (rule, reason) = (&change.rule, change.reason.as_ref());
            let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
            // A rule that was not added has no id.
            let name = format!("{} {}", change.action.words(), short_id(&rule.id, &ids));
            let (name, settings) = (name.trim_end(), settings_line(rule));
            format!("{name}  {rule}, {settings}{reason}")
        })
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        type Col<'a> = Column<'a, RuleChange>;
        let columns = [
            Col::csv_only("action", |it| Cell::Text(it.action.words())),
            Col::csv_only("id", |it| Cell::text(&it.rule.id)),
            Col::csv_only("api_name", |it| Cell::text(&it.rule.api_name)),
            Col::csv_only("alert_type", |it| Cell::text(&it.rule.alert_type)),
            Col::csv_only("period", |it| Cell::text(&it.rule.period)),
            Col::csv_only("threshold", |it| Cell::Number(it.rule.threshold)),
        ];
        columns::csv(&columns, &self.changes)
    }
}
