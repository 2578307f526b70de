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

use crate::domain::named::{Named, named};
use crate::output::prelude::*;

named! {
    /// The action of a command on a rule, a channel or a silence.
    Action, "action" {
        Added = "added",
        Changed = "changed",
        Enabled = "enabled",
        Disabled = "disabled",
        Removed = "removed",
        Expired = "expired",
        /// Not added, because it could not be evaluated.
        LeftOut = "left_out",
        /// It was so already.
        Unchanged = "unchanged",
    }
}

impl Action {
    /// In tables and CSV.
    fn words(self) -> String {
        self.as_str().replace('_', " ")
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
