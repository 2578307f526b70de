//! The answers of the commands of `recommend`.

pub mod backtest;
pub mod forecast;
pub mod history;
pub mod inputs;
pub mod list;
pub mod run;
pub mod show;
pub mod transition;

use crate::domain::recommendation::Recommendation;
use crate::output::prelude::*;

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

/// The columns of a list of recommendations: what each is about.
fn columns<'a, T: 'a>(ids: &'a [String], of: fn(&T) -> &Recommendation) -> Vec<Column<'a, T>> {
    let left = |header, name, cell: fn(&Recommendation) -> Cell| {
        Column::left(header, name, move |row| cell(of(row)))
    };
    let csv_only = |name, cell| left("", name, cell).in_table(false);
    vec![
        Column::table_only("ID", move |row| {
            Cell::text(format::short_id(&of(row).id, ids))
        }),
        csv_only("id", |it| Cell::text(&it.id)),
        left("PRIORITY", "priority", |it| Cell::text(it.priority)),
        left("STATUS", "status", |it| Cell::text(it.status)),
        left("SERVICE", "service", |it| Cell::text(it.service)),
        left("METRIC", "metric", |it| Cell::maybe(it.metric)),
        left("RESOURCE", "resource", |it| Cell::text(resource(it))).if_any(),
        Column::table_only("PLAN", move |row| Cell::text(plans(of(row)))),
        csv_only("current_plan", |it| Cell::text(&it.current_plan)),
        csv_only("recommended_plan", |it| Cell::text(&it.recommended_plan)),
    ]
}
