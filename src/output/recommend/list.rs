//! The answer of `recommend list`.

use rust_decimal::Decimal;

use super::plans;
use crate::domain::format::time_ms;
use crate::domain::recommendation::Recommendation;
use crate::domain::recommendation::figure::Interval;
use crate::domain::recommendation::lifecycle::transition::version;
use crate::output::prelude::*;

/// The listed recommendations.
#[derive(Debug)]
pub struct List {
    pub recommendations: Vec<Recommendation>,
    /// The ids of all recommendations, for unique short ids.
    pub ids: Vec<String>,
}

/// A recommendation in JSON: the application's columns and ours.
pub(super) fn recommendation_json(it: &Recommendation) -> impl Serialize {
    let tracking = it.tracking.as_ref();
    object! {
        ..it,
        resource: tracking.map(|own| &own.resource),
        kind: tracking.map(|own| own.kind),
        version: tracking.map(|_| version(it, 0)),
        last_seen_at: tracking.map(|own| time_ms(own.last_seen_at)),
        snoozed_until: tracking.and_then(|own| own.snoozed_until.map(time_ms)),
        predecessor_id: tracking.and_then(|own| own.predecessor_id.as_ref()),
        facts_hash: tracking.map(|own| &own.facts.hash),
        facts: it.facts(),
    }
}

/// The days to the limit with their interval, from the facts or else from the application's column.
fn days_to_limit(it: &Recommendation) -> Option<String> {
    let days = it.facts().map(|facts| &facts.outlook.days_to_limit);
    let Some((days, value)) = days.and_then(|days| Some((days, days.value?))) else {
        return it.numbers.days_to_limit.map(format::count);
    };
    let whole = |days: Decimal| days.round().to_string();
    Some(match days.interval {
        Some(Interval { low, high }) => {
            format!("{} ({} to {})", whole(value), whole(low), whole(high))
        }
        None => whole(value),
    })
}

fn extra_cost(it: &Recommendation) -> Cell {
    let extra = it.facts().map(|facts| facts.money.extra.value);
    let extra = extra.unwrap_or_else(|| Decimal::try_from(it.numbers.upgrade_cost?).ok());
    Cell::or_missing(extra, Cell::Usd)
}

fn columns(ids: &[String]) -> Vec<Column<'_, Recommendation>> {
    type Col<'a> = Column<'a, Recommendation>;
    let number = |number: Option<f64>| Cell::or_missing(number, Cell::Number);
    vec![
        Col::table_only("ID", |it| Cell::text(format::short_id(&it.id, ids))),
        Col::csv_only("id", |it| Cell::text(&it.id)),
        Col::left("PRIORITY", "priority", |it| Cell::text(it.priority)),
        Col::left("STATUS", "status", |it| Cell::text(it.status)),
        Col::left("SERVICE", "service", |it| Cell::text(it.service)),
        Col::left("METRIC", "metric", |it| Cell::maybe(it.metric)),
        Col::table_only("PLAN", |it| Cell::text(plans(it))),
        Col::csv_only("current_plan", |it| Cell::text(&it.current_plan)),
        Col::csv_only("recommended_plan", |it| Cell::text(&it.recommended_plan)),
        Col::right("USED", "usage_percent", |it| {
            Cell::or_missing(it.numbers.usage_percent, Cell::Percent)
        })
        .dropped(1),
        Col::table_only("DAYS TO LIMIT", |it| Cell::maybe(days_to_limit(it))).dropped(3),
        Col::csv_only("days_to_limit", |it| Cell::maybe(it.numbers.days_to_limit)),
        Column::right("EXTRA COST", "upgrade_cost", extra_cost).dropped(2),
        Col::csv_only("current_cost", move |it| number(it.numbers.current_cost)),
        Col::csv_only("projected_cost", move |it| {
            number(it.numbers.projected_cost)
        }),
        Col::csv_only("roi", move |it| number(it.numbers.roi)),
        Col::csv_only("reason", |it| Cell::text(&it.reason)),
    ]
}

impl Answer for List {
    fn table(&self, width: Option<usize>) -> String {
        if self.recommendations.is_empty() {
            return "no recommendations\n".to_owned();
        }
        columns::table(&columns(&self.ids), &self.recommendations, width)
    }

    fn json(&self) -> impl Serialize {
        let all = self.recommendations.iter().map(recommendation_json);
        object! { recommendations: all.collect::<Vec<_>>() }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&columns(&self.ids), &self.recommendations)
    }
}
