//! The selected plans.

use chrono::{DateTime, Utc};

use super::changes::{self, changes_table};
use crate::domain::format::time_ms;
use crate::domain::plans::PlanSelection;
use crate::domain::plans::sync::Changes;
use crate::output::prelude::*;

#[derive(Debug)]
pub struct Selections {
    /// By start, with whether each is in use.
    pub selections: Vec<(PlanSelection, bool)>,
    pub now: DateTime<Utc>,
    /// The outcome of selecting a plan.
    pub selected: Option<Selected>,
}

/// The outcome of selecting a plan.
#[derive(Debug, Serialize)]
pub struct Selected {
    /// Whether it was not in use already.
    pub is_new: bool,
    /// Without the unchanged limits.
    #[serde(flatten, serialize_with = "changes::json")]
    pub changes: Changes,
}

impl Selections {
    fn columns(&self) -> Vec<Column<'_, (PlanSelection, bool)>> {
        type Row = (PlanSelection, bool);
        type Col<'a> = Column<'a, Row>;
        vec![
            Col::left("PROVIDER", "provider", |it| Cell::text(&it.0.provider)),
            Col::left("PLAN", "plan", |it| Cell::text(&it.0.plan)),
            Col::table_only("STATE", |it| {
                Cell::text(match it {
                    (_, true) => "IN USE",
                    (it, _) if it.valid_from > self.now => "LATER",
                    _ => "BEFORE",
                })
            }),
            Col::csv_only("in_use", |it| Cell::Bool(it.1)),
            Col::left("FROM", "valid_from", |it| Cell::Time(it.0.valid_from)),
            Col::right("SEATS", "seats", |it| {
                Cell::or_missing(it.0.seats, Cell::count)
            }),
            Col::left("REGION", "region", |it| Cell::maybe(it.0.region.as_ref())),
            Col::right("BILLING DAY", "anchor_day", |it| {
                Cell::count(it.0.billing.anchor_day)
            }),
            Col::left("TIME ZONE", "time_zone", |it| {
                Cell::text(it.0.billing.zone.name())
            }),
            Col::left("BY", "chosen_by", |it| Cell::text(&it.0.chosen_by)),
            Col::csv_only("created_at", |it| Cell::Time(it.0.created_at)),
        ]
    }
}

impl Answer for Selections {
    fn table(&self, width: Option<usize>) -> String {
        if self.selections.is_empty() {
            return "no plan selected\n".to_owned();
        }
        let mut text = columns::table(&self.columns(), &self.selections, width);
        if let Some(selected) = &self.selected {
            text = format!("{text}\n{}", changes_table(&selected.changes, width));
        }
        text
    }

    fn json(&self) -> impl Serialize {
        let selections = self.selections.iter();
        let selections = selections.map(|(selection, in_use)| selection_json(selection, *in_use));
        object! { plans: selections.collect::<Vec<_>>(), ..&self.selected }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&self.columns(), &self.selections)
    }
}

pub(super) fn selection_json(it: &PlanSelection, in_use: bool) -> impl Serialize {
    object! {
        provider: &it.provider,
        plan: &it.plan,
        in_use: in_use,
        valid_from: time_ms(it.valid_from),
        seats: it.seats,
        region: &it.region,
        anchor_day: it.billing.anchor_day,
        time_zone: it.billing.zone.name(),
        chosen_by: &it.chosen_by,
        created_at: time_ms(it.created_at),
    }
}
