//! The answer of `recommend list`.

use rust_decimal::Decimal;

use crate::domain::capacity::Capacity;
use crate::domain::format::{time_ms, with_range};
use crate::domain::recommendation::figure::Interval;
use crate::domain::recommendation::lifecycle::transition::version;
use crate::domain::recommendation::{Numbers, Recommendation};
use crate::output::prelude::*;

/// A recommendation, and the most urgent limit of its question now, if it was measured.
#[derive(Debug)]
pub struct Listed {
    pub it: Recommendation,
    pub now: Option<Capacity>,
}

/// The present state of the most urgent limit.
pub(super) fn now_json(now: Option<&Capacity>) -> impl Serialize + use<'_> {
    now.map(|now| {
        object! {
            service: now.series.service,
            metric: now.series.metric,
            resource: now.resource(),
            value: now.usage,
            percent: now.percent(),
            at_least: now.is_at_least(),
            state: now.state,
            measured_at: now.measured_at.map(time_ms),
        }
    })
}

/// The metric and resource of the most urgent limit, if it is another one than the recommendation's.
pub(super) fn other_metric(it: &Recommendation, now: &Capacity) -> Option<String> {
    let (service, metric, resources) =
        (now.series.service, now.series.metric, now.resources_text());
    let is_resource = it
        .facts()
        .is_none_or(|facts| facts.resource == now.resource());
    let words = [
        (service != it.service).then(|| service.to_string()),
        (service != it.service || Some(metric) != it.metric).then(|| metric.to_string()),
        (!is_resource).then_some(resources),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[derive(Debug)]
pub struct List {
    pub recommendations: Vec<Listed>,
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
        Some(Interval { low, high }) => with_range(whole(value), whole(low), high.map(whole)),
        None => whole(value),
    })
}

fn extra_cost(it: &Recommendation) -> Cell {
    match it.facts().map(|facts| &facts.money.extra) {
        Some(extra) if extra.at_least => Cell::text(extra.short()),
        Some(extra) => Cell::or_missing(extra.value, Cell::Usd),
        None => {
            let cost = it.numbers.upgrade_cost;
            Cell::or_missing(cost.and_then(|it| Decimal::try_from(it).ok()), Cell::Usd)
        }
    }
}

fn columns(ids: &[String]) -> Vec<Column<'_, Listed>> {
    type Col<'a> = Column<'a, Listed>;
    let now = |row: &Listed| {
        let now = row.now.as_ref();
        let percent = Cell::percent(now.and_then(Capacity::percent));
        percent.at_least(now.is_some_and(Capacity::is_at_least))
    };
    let number = |name, of: fn(&Numbers) -> Option<f64>| {
        Col::csv_only(name, move |row| Cell::number(of(&row.it.numbers)))
    };
    let mut columns = super::columns(ids, |row: &Listed| &row.it);
    columns.extend([
        Col::right("USED", "usage_percent", |row| {
            let facts = row.it.facts();
            let used = Cell::percent(row.it.numbers.usage_percent);
            used.at_least(facts.is_some_and(|facts| facts.usage_percent.at_least))
        }),
        Col::right("NOW", "now_percent", now),
        Col::table_only("NOW METRIC", |row| {
            Cell::maybe(row.now.as_ref().and_then(|now| other_metric(&row.it, now)))
        })
        .if_any(),
        Col::csv_only("now_metric", |row| {
            Cell::maybe(row.now.as_ref().map(|now| now.series.metric))
        }),
        Col::csv_only("now_state", |row| {
            Cell::maybe(row.now.as_ref().map(|now| now.state))
        }),
        Col::table_only("DAYS TO LIMIT", |row| Cell::maybe(days_to_limit(&row.it))).dropped(2),
        Col::csv_only("days_to_limit", |row| {
            Cell::maybe(row.it.numbers.days_to_limit)
        }),
        Column::right("EXTRA COST", "upgrade_cost", |row: &Listed| {
            extra_cost(&row.it)
        })
        .dropped(1),
        number("current_cost", |numbers| numbers.current_cost),
        number("projected_cost", |numbers| numbers.projected_cost),
        number("roi", |numbers| numbers.roi),
        Col::csv_only("reason", |row| Cell::text(&row.it.reason)),
    ]);
    columns
}

impl Answer for List {
    fn table(&self, width: Option<usize>) -> String {
        let (columns, rows) = (columns(&self.ids), &self.recommendations);
        columns::table_or("no recommendations\n", &columns, rows, width)
    }

    fn json(&self) -> impl Serialize {
        let all = self.recommendations.iter();
        let all = all
            .map(|row| object! { now: now_json(row.now.as_ref()), ..recommendation_json(&row.it) });
        object! { recommendations: all.collect::<Vec<_>>() }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&columns(&self.ids), &self.recommendations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::capacity::readings::SeriesDays;
    use crate::domain::metrics::names::Metric;
    use crate::domain::metrics::point::Series;
    use crate::domain::recommendation::sample::{now, recommendation};

    #[test]
    fn another_limit_is_named_with_its_resource() {
        let it = recommendation();
        let other = |metric, resource| {
            let series = SeriesDays::empty(Series::new(it.service, metric, resource));
            other_metric(&it, &Capacity::new(&series, None, now(), None))
        };
        assert_eq!(other(Metric::StorageMb, ""), None);
        assert_eq!(other(Metric::StorageMb, "shop").as_deref(), Some("shop"));
        let connections = other(Metric::Connections, "shop");
        assert_eq!(connections.as_deref(), Some("CONNECTIONS shop"));
    }
}
