//! The selected plans.

use chrono::{DateTime, Utc};

use super::changes::{self, changes_table};
use crate::domain::plans::PlanSelection;
use crate::domain::plans::sync::Changes;
use crate::output::prelude::*;

#[derive(Debug)]
pub struct Selections {
    /// By start, with whether each is in use.
    pub selections: Vec<Row>,
    pub now: DateTime<Utc>,
    pub selected: Option<Selected>,
}

pub(super) fn selections_json(selections: &[Row]) -> Vec<columns::Object> {
    let columns = columns();
    let object = |row| columns::object(&columns, row);
    selections.iter().map(object).collect()
}

#[derive(Debug, Serialize)]
pub struct Selected {
    /// Whether it was not in use already.
    pub is_new: bool,
    /// Without the unchanged limits.
    #[serde(flatten, serialize_with = "changes::json")]
    pub changes: Changes,
}

/// A selected plan, and whether it is in use.
type Row = (PlanSelection, bool);

fn columns() -> Vec<Column<'static, Row>> {
    type Col = Column<'static, Row>;
    vec![
        Col::left("PROVIDER", "provider", |(it, _)| Cell::text(&it.provider)),
        Col::left("PLAN", "plan", |(it, _)| Cell::text(&it.plan)),
        Col::csv_only("in_use", |(_, in_use)| Cell::Bool(*in_use)),
        Col::left("FROM", "valid_from", |(it, _)| Cell::Time(it.valid_from)),
        Col::right("SEATS", "seats", |(it, _)| {
            Cell::or_missing(it.seats, Cell::count)
        }),
        Col::left("REGION", "region", |(it, _)| {
            Cell::maybe(it.region.as_ref())
        }),
        Col::right("BILLING DAY", "anchor_day", |(it, _)| {
            Cell::count(it.billing.anchor_day)
        }),
        Col::left("TIME ZONE", "time_zone", |(it, _)| {
            Cell::text(it.billing.zone.name())
        }),
        Col::left("BY", "chosen_by", |(it, _)| Cell::text(&it.chosen_by)),
        Col::csv_only("created_at", |(it, _)| Cell::Time(it.created_at)),
    ]
}

impl Answer for Selections {
    fn table(&self, width: Option<usize>) -> String {
        if self.selections.is_empty() {
            return "no plan selected\n".to_owned();
        }
        let state = |row: &Row| match row {
            (_, true) => "IN USE",
            (it, _) if it.valid_from > self.now => "LATER",
            _ => "BEFORE",
        };
        let mut columns = columns();
        let state = Column::table_only("STATE", move |row| Cell::text(state(row)));
        columns.insert(2, state);
        let mut text = columns::table(&columns, &self.selections, width);
        if let Some(selected) = &self.selected {
            text = format!("{text}\n{}", changes_table(&selected.changes, width));
        }
        text
    }

    fn json(&self) -> impl Serialize {
        object! { plans: selections_json(&self.selections), ..&self.selected }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&columns(), &self.selections)
    }
}
