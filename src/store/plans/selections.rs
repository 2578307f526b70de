//! `usagectl_plan_choices`: the plans of each provider that are, were or will be in use.

use diesel::result::Error::DeserializationError;

use crate::domain::plans::selection::{Billing, PlanSelection};
use crate::store::prelude::*;
use crate::store::schema::usagectl_plan_choices::{self, dsl};

#[derive(Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = usagectl_plan_choices, treat_none_as_default_value = false)]
struct Row {
    id: String,
    provider: String,
    plan: String,
    seats: Option<i32>,
    region: Option<String>,
    anchor_day: i32,
    time_zone: String,
    valid_from: UtcTimestamp,
    chosen_by: String,
    created_at: UtcTimestamp,
}

impl Row {
    fn selection(self) -> Result<PlanSelection, Box<dyn std::error::Error + Send + Sync>> {
        Ok(PlanSelection {
            id: self.id,
            provider: self.provider,
            plan: self.plan,
            seats: self.seats.map(u32::try_from).transpose()?,
            region: self.region,
            billing: Billing {
                anchor_day: self.anchor_day.try_into()?,
                zone: self.time_zone.parse()?,
            },
            valid_from: self.valid_from.utc(),
            chosen_by: self.chosen_by,
            created_at: self.created_at.utc(),
        })
    }
}

/// Every selection, by provider and start.
pub fn all(db: &mut Db) -> QueryResult<Vec<PlanSelection>> {
    let order = (
        dsl::provider.asc(),
        dsl::valid_from.asc(),
        dsl::created_at.asc(),
        dsl::id.asc(),
    );
    let rows: Vec<Row> = on!(db, |conn| dsl::usagectl_plan_choices
        .select(Row::as_select())
        .order(order)
        .load(conn))?;
    let selections: Result<_, _> = rows.into_iter().map(Row::selection).collect();
    selections.map_err(DeserializationError)
}

/// Inserts selections; earlier ones stay as history.
pub fn insert(db: &mut Db, selections: &[PlanSelection]) -> QueryResult<()> {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let row = |selection: &PlanSelection| Row {
        id: selection.id.clone(),
        provider: selection.provider.clone(),
        plan: selection.plan.clone(),
        seats: selection.seats.map(number),
        region: selection.region.clone(),
        anchor_day: number(selection.billing.anchor_day),
        time_zone: selection.billing.zone.name().to_owned(),
        valid_from: selection.valid_from.into(),
        chosen_by: selection.chosen_by.clone(),
        created_at: selection.created_at.into(),
    };
    let rows: Vec<Row> = selections.iter().map(row).collect();
    on!(db, |conn| diesel::insert_into(dsl::usagectl_plan_choices)
        .values(&rows)
        .execute(conn))?;
    Ok(())
}
