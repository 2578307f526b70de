//! The answers of the commands of `recommend`.

pub mod backtest;
pub mod forecast;
pub mod history;
pub mod inputs;
pub mod list;
pub mod run;
pub mod show;
pub mod transition;

use crate::domain::format;
use crate::domain::recommendation::Recommendation;

/// The plan in use and the recommended plan or other choice: `free -> payg`, `pro -> stay and pay`.
fn plans(it: &Recommendation) -> String {
    let current = Some(&it.current_plan);
    match it.facts().map(|facts| &facts.target) {
        Some(choice) => format::change(current, choice),
        None if it.current_plan == it.recommended_plan => it.current_plan.clone(),
        None => format::change(current, &it.recommended_plan),
    }
}

/// Database, project or team; empty where it has no name of its own.
fn resource(it: &Recommendation) -> &str {
    it.tracking.as_ref().map_or("", |own| own.resource.as_str())
}
