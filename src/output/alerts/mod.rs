//! Answers of the `alerts` commands.

pub mod ack;
pub mod backtest;
pub mod channels;
pub mod check;
pub mod deliveries;
pub mod history;
pub mod list;
pub mod nagios;
mod rule;
pub mod rule_changes;
pub mod show;
pub mod silence;
pub mod status;

use crate::output::prelude::*;

/// The action of a command on a rule, a channel or a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Added,
    Changed,
    Enabled,
    Disabled,
    Removed,
    Expired,
    /// Not added, because it could not be evaluated.
    #[serde(rename = "left_out")]
    LeftOut,
    /// It was so already.
    Unchanged,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Action::Added => "added",
            Action::Changed => "changed",
            Action::Enabled => "enabled",
            Action::Disabled => "disabled",
            Action::Removed => "removed",
            Action::Expired => "expired",
            Action::LeftOut => "left out",
            Action::Unchanged => "unchanged",
        }
    }
}

/// A value or threshold of a rule: a percentage of the limit or of the calls, or a number.
fn value_cell(is_percentage: bool, value: Option<f64>) -> Cell {
    Cell::or_missing(value, |value| match is_percentage {
        true => Cell::Percent(value),
        false => Cell::Number(value),
    })
}

/// The same as text.
fn measured(is_percentage: bool, value: f64) -> String {
    match is_percentage {
        true => format::percent(value),
        false => format::number(value),
    }
}
