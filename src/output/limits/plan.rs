//! The plans that were chosen.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::domain::period::shown;
use crate::domain::plans::PlanChoice;
use crate::output::Answer;
use crate::output::table::{Side, layout};

/// The answer of `limits plan`.
#[derive(Debug)]
pub struct Choices {
    /// The choices, in the order in which they begin; which of them are in use.
    pub choices: Vec<(PlanChoice, bool)>,
    pub now: DateTime<Utc>,
}

impl Choices {
    fn state(&self, choice: &PlanChoice, in_use: bool) -> &'static str {
        match in_use {
            true => "IN USE",
            false if choice.valid_from > self.now => "LATER",
            false => "BEFORE",
        }
    }
}

impl Answer for Choices {
    fn table(&self, _width: Option<usize>) -> String {
        if self.choices.is_empty() {
            return "no plan was chosen\n".to_owned();
        }
        let columns = [
            ("PROVIDER", Side::Left),
            ("PLAN", Side::Left),
            ("STATE", Side::Left),
            ("FROM", Side::Left),
            ("SEATS", Side::Right),
            ("REGION", Side::Left),
            ("BILLED FROM DAY", Side::Right),
            ("ZONE", Side::Left),
            ("CHOSEN BY", Side::Left),
        ];
        let dash = || "-".to_owned();
        let rows = self.choices.iter().map(|(choice, in_use)| {
            vec![
                choice.provider.clone(),
                choice.plan.clone(),
                self.state(choice, *in_use).to_owned(),
                shown(choice.valid_from),
                choice.seats.map_or_else(dash, |seats| seats.to_string()),
                choice.region.clone().unwrap_or_else(dash),
                choice.billing.anchor_day.to_string(),
                choice.billing.zone.name().to_owned(),
                choice.chosen_by.clone(),
            ]
        });
        layout(&columns, rows)
    }

    fn json(&self) -> impl Serialize {
        let choices = self.choices.iter();
        Json {
            plans: choices
                .map(|(choice, in_use)| ChoiceJson::new(choice, *in_use))
                .collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "provider",
            "plan",
            "in_use",
            "valid_from",
            "seats",
            "region",
            "anchor_day",
            "time_zone",
            "chosen_by",
            "created_at",
        ];
        let rows = self.choices.iter().map(|(choice, in_use)| {
            vec![
                choice.provider.clone(),
                choice.plan.clone(),
                in_use.to_string(),
                shown(choice.valid_from),
                choice.seats.map_or_else(String::new, |it| it.to_string()),
                choice.region.clone().unwrap_or_default(),
                choice.billing.anchor_day.to_string(),
                choice.billing.zone.name().to_owned(),
                choice.chosen_by.clone(),
                shown(choice.created_at),
            ]
        });
        std::iter::once(header.map(str::to_owned).to_vec())
            .chain(rows)
            .collect()
    }
}

#[derive(Serialize)]
struct Json<'a> {
    plans: Vec<ChoiceJson<'a>>,
}

#[derive(Serialize)]
pub(super) struct ChoiceJson<'a> {
    provider: &'a str,
    plan: &'a str,
    in_use: bool,
    valid_from: String,
    seats: Option<u32>,
    region: Option<&'a str>,
    anchor_day: u32,
    time_zone: &'static str,
    chosen_by: &'a str,
    created_at: String,
}

impl ChoiceJson<'_> {
    pub(super) fn new(choice: &PlanChoice, in_use: bool) -> ChoiceJson<'_> {
        ChoiceJson {
            provider: &choice.provider,
            plan: &choice.plan,
            in_use,
            valid_from: shown(choice.valid_from),
            seats: choice.seats,
            region: choice.region.as_deref(),
            anchor_day: choice.billing.anchor_day,
            time_zone: choice.billing.zone.name(),
            chosen_by: &choice.chosen_by,
            created_at: shown(choice.created_at),
        }
    }
}
