//! A selected plan in JSON.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::domain::plans::PlanSelection;
use crate::output::json;

#[derive(Serialize)]
pub(super) struct SelectionJson<'a> {
    provider: &'a str,
    plan: &'a str,
    in_use: bool,
    #[serde(serialize_with = "json::time")]
    valid_from: DateTime<Utc>,
    seats: Option<u32>,
    region: Option<&'a str>,
    anchor_day: u32,
    time_zone: &'static str,
    chosen_by: &'a str,
    #[serde(serialize_with = "json::time")]
    created_at: DateTime<Utc>,
}

impl SelectionJson<'_> {
    pub(super) fn new(selection: &PlanSelection, in_use: bool) -> SelectionJson<'_> {
        SelectionJson {
            provider: &selection.provider,
            plan: &selection.plan,
            in_use,
            valid_from: selection.valid_from,
            seats: selection.seats,
            region: selection.region.as_deref(),
            anchor_day: selection.billing.anchor_day,
            time_zone: selection.billing.zone.name(),
            chosen_by: &selection.chosen_by,
            created_at: selection.created_at,
        }
    }
}
