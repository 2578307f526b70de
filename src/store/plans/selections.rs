//! `usagectl_plan_choices`: which plan of which provider is in use, and was.

use chrono_tz::Tz;
use diesel::prelude::*;

use crate::domain::plans::selection::{Billing, PlanChoice};
use crate::store::db::{Db, on};
use crate::store::schema::usagectl_plan_choices;
use crate::store::schema::usagectl_plan_choices::dsl;
use crate::store::time::UtcTimestamp;

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
    fn choice(self) -> PlanChoice {
        PlanChoice {
            id: self.id,
            provider: self.provider,
            plan: self.plan,
            seats: self.seats.and_then(|seats| u32::try_from(seats).ok()),
            region: self.region,
            billing: Billing {
                anchor_day: u32::try_from(self.anchor_day).unwrap_or(1),
                zone: self.time_zone.parse().unwrap_or(Tz::UTC),
            },
            valid_from: self.valid_from.utc(),
            chosen_by: self.chosen_by,
            created_at: self.created_at.utc(),
        }
    }
}

/// Every choice, by provider and in the order in which they begin.
pub fn all(db: &mut Db) -> QueryResult<Vec<PlanChoice>> {
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
    Ok(rows.into_iter().map(Row::choice).collect())
}

/// Writes a choice down; those before stay as history.
pub fn insert(db: &mut Db, choice: &PlanChoice) -> QueryResult<()> {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let row = Row {
        id: choice.id.clone(),
        provider: choice.provider.clone(),
        plan: choice.plan.clone(),
        seats: choice.seats.map(number),
        region: choice.region.clone(),
        anchor_day: number(choice.billing.anchor_day),
        time_zone: choice.billing.zone.name().to_owned(),
        valid_from: choice.valid_from.into(),
        chosen_by: choice.chosen_by.clone(),
        created_at: choice.created_at.into(),
    };
    on!(db, |conn| diesel::insert_into(dsl::usagectl_plan_choices)
        .values(&row)
        .execute(conn))?;
    Ok(())
}
