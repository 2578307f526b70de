//! The answer of the commands that change rules.

use serde::Serialize;

use super::super::columns::{self, Cell, Column};
use super::super::{Answer, printable};
use super::Action;
use super::rule::{RuleJson, settings_line};
use crate::domain::alert::rule::Rule;
use crate::domain::format::short_id;

/// A rule and the action on it.
#[derive(Debug)]
pub struct RuleChange {
    pub action: Action,
    /// The rule after the change; a removed one as it was.
    pub rule: Rule,
    /// Why a default rule has its threshold.
    pub reason: Option<&'static str>,
}

/// The changes, in order.
#[derive(Debug)]
pub struct RuleChanges {
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

#[derive(Serialize)]
struct RuleChangesJson<'a> {
    rules: Vec<RuleChangeJson<'a>>,
}

#[derive(Serialize)]
struct RuleChangeJson<'a> {
    action: Action,
    reason: Option<&'static str>,
    #[serde(flatten)]
    rule: RuleJson<'a>,
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
            let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
            let (action, id) = (action.as_str(), short_id(&rule.id, &ids));
            let text = format!("{action} {id}  {rule}, {}{reason}", settings_line(rule));
            printable(&text).into_owned() + "\n"
        };
        self.changes.iter().map(line).collect()
    }

    fn json(&self) -> impl Serialize {
        let rules = self.changes.iter().map(|change| RuleChangeJson {
            action: change.action,
            reason: change.reason,
            rule: RuleJson::new(&change.rule),
        });
        RuleChangesJson {
            rules: rules.collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let columns = [
            Column::csv_only("action", |change: &RuleChange| {
                Cell::text(change.action.as_str())
            }),
            Column::csv_only("id", |change: &RuleChange| Cell::text(&change.rule.id)),
            Column::csv_only("api_name", |change: &RuleChange| {
                Cell::text(&change.rule.api_name)
            }),
            Column::csv_only("alert_type", |change: &RuleChange| {
                Cell::text(&change.rule.alert_type)
            }),
            Column::csv_only("period", |change: &RuleChange| {
                Cell::text(&change.rule.period)
            }),
            Column::csv_only("threshold", |change: &RuleChange| {
                Cell::Number(change.rule.threshold)
            }),
        ];
        columns::csv(&columns, &self.changes)
    }
}
