//! The answer of the commands that change rules.

use super::Action;
use super::rule::settings_line;
use crate::domain::alert::rule::Rule;
use crate::domain::format::short_id;
use crate::output::prelude::*;

/// A rule and the action on it.
#[derive(Debug, Serialize)]
pub struct RuleChange {
    pub action: Action,
    /// Why a default rule has its threshold, or was left out.
    pub reason: Option<String>,
    /// The rule after the change; a removed one as it was.
    #[serde(flatten)]
    pub rule: Rule,
}

/// The changes, in order.
#[derive(Debug, Serialize)]
pub struct RuleChanges {
    #[serde(rename = "rules")]
    pub changes: Vec<RuleChange>,
}

impl RuleChanges {
    /// The same action on all of them.
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
        let line = |RuleChange {
                        action,
                        rule,
                        reason,
                    }: &RuleChange| {
            let reason = reason
                .as_ref()
                .map_or(String::new(), |reason| format!(" ({reason})"));
            let (action, id) = (action.as_str(), short_id(&rule.id, &ids));
            // A rule that was not added has no id.
            let name = format!("{action} {id}");
            let text = format!(
                "{}  {rule}, {}{reason}",
                name.trim_end(),
                settings_line(rule)
            );
            printable(&text).into_owned() + "\n"
        };
        self.changes.iter().map(line).collect()
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        type Column<'a> = columns::Column<'a, RuleChange>;
        let columns = [
            Column::csv_only("action", |change| Cell::text(change.action.as_str())),
            Column::csv_only("id", |change| Cell::text(&change.rule.id)),
            Column::csv_only("api_name", |change| Cell::text(&change.rule.api_name)),
            Column::csv_only("alert_type", |change| Cell::text(&change.rule.alert_type)),
            Column::csv_only("period", |change| Cell::text(&change.rule.period)),
            Column::csv_only("threshold", |change| Cell::Number(change.rule.threshold)),
        ];
        columns::csv(&columns, &self.changes)
    }
}
