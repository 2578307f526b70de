//! What `recommend list` answers.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::short_id;
use crate::domain::metrics::names::{Metric, Priority, Service, Status};
use crate::domain::named::Named;
use crate::domain::recommendation::figure::{Figure, Interval};
use crate::domain::recommendation::transition::standing;
use crate::domain::recommendation::{Facts, Kind, Numbers, Recommendation};
use crate::output::Answer;
use crate::output::table::{Side, layout};

/// Recommendations, in the order they are shown.
#[derive(Debug)]
pub struct List {
    /// Those that were asked for.
    pub recommendations: Vec<Recommendation>,
    /// The ids of all there are, to tell how much of one must be typed.
    pub ids: Vec<String>,
}

/// A recommendation for programs.
#[derive(Serialize)]
pub(super) struct RecommendationJson<'a> {
    id: &'a str,
    service: Service,
    metric: Option<Metric>,
    resource: Option<&'a str>,
    kind: Option<Kind>,
    current_plan: &'a str,
    recommended_plan: &'a str,
    priority: Priority,
    status: Status,
    version: Option<i32>,
    #[serde(flatten)]
    numbers: Numbers,
    reason: &'a str,
    benefits: &'a [String],
    risks: &'a [String],
    reviewed_by: Option<&'a str>,
    review_notes: Option<&'a str>,
    reviewed_at: Option<DateTime<Utc>>,
    implemented_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    last_seen_at: Option<DateTime<Utc>>,
    snoozed_until: Option<DateTime<Utc>>,
    predecessor_id: Option<&'a str>,
    facts_hash: Option<&'a str>,
    facts: Option<&'a Facts>,
}

impl<'a> From<&'a Recommendation> for RecommendationJson<'a> {
    fn from(it: &'a Recommendation) -> RecommendationJson<'a> {
        let own = it.own.as_ref();
        RecommendationJson {
            id: &it.id,
            service: it.service,
            metric: it.metric,
            resource: own.map(|own| own.resource.as_str()),
            kind: own.map(|own| own.kind),
            current_plan: &it.current_plan,
            recommended_plan: &it.recommended_plan,
            priority: it.priority,
            status: it.status,
            // The step that the application took counts, even if nobody has written it down.
            version: own.map(|_| standing(it, 0).version),
            numbers: it.numbers,
            reason: &it.reason,
            benefits: &it.benefits,
            risks: &it.risks,
            reviewed_by: it.reviewed_by.as_deref(),
            review_notes: it.review_notes.as_deref(),
            reviewed_at: it.reviewed_at,
            implemented_at: it.implemented_at,
            expires_at: it.expires_at,
            created_at: it.created_at,
            updated_at: it.updated_at,
            last_seen_at: own.map(|own| own.last_seen_at),
            snoozed_until: own.and_then(|own| own.snoozed_until),
            predecessor_id: own.and_then(|own| own.predecessor_id.as_deref()),
            facts_hash: own.map(|own| own.facts.hash.as_str()),
            facts: it.facts(),
        }
    }
}

/// The days to the limit with their interval, from the facts, else from the application's column.
fn days(it: &Recommendation) -> String {
    let from_column = || it.numbers.days_to_limit.map(|days| days.to_string());
    let from_facts = |figure: &Figure| {
        let middle = figure.value?.round();
        Some(match figure.interval {
            Some(Interval { low, high }) => {
                format!("{middle} ({} to {})", low.round(), high.round())
            }
            None => middle.to_string(),
        })
    };
    it.facts()
        .and_then(|facts| from_facts(&facts.outlook.days_to_limit))
        .or_else(from_column)
        .unwrap_or_else(|| "-".to_owned())
}

fn extra_cost(it: &Recommendation) -> String {
    match (it.facts(), it.numbers.upgrade_cost) {
        (Some(facts), _) => facts.money.extra.to_string(),
        (None, Some(cost)) => format!("${cost:.2}"),
        (None, None) => "unknown".to_owned(),
    }
}

impl Answer for List {
    fn table(&self, _width: Option<usize>) -> String {
        if self.recommendations.is_empty() {
            return "no recommendations\n".to_owned();
        }
        let columns = [
            ("ID", Side::Left),
            ("PRIORITY", Side::Left),
            ("STATUS", Side::Left),
            ("SERVICE", Side::Left),
            ("METRIC", Side::Left),
            ("USED", Side::Right),
            ("DAYS TO LIMIT", Side::Left),
            ("PLAN", Side::Left),
            ("EXTRA COST A MONTH", Side::Left),
        ];
        let row = |it: &Recommendation| {
            let used = it.numbers.usage_percent;
            vec![
                short_id(&it.id, &self.ids).to_owned(),
                it.priority.as_str().to_owned(),
                it.status.as_str().to_owned(),
                it.service.as_str().to_owned(),
                it.metric.map_or("-", Named::as_str).to_owned(),
                used.map_or("-".to_owned(), |used| format!("{used:.0} %")),
                days(it),
                super::plans(it),
                extra_cost(it),
            ]
        };
        layout(&columns, self.recommendations.iter().map(row))
    }

    fn json(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct ListJson<'a> {
            recommendations: Vec<RecommendationJson<'a>>,
        }
        ListJson {
            recommendations: self.recommendations.iter().map(Into::into).collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "id",
            "priority",
            "status",
            "service",
            "metric",
            "current_plan",
            "recommended_plan",
            "usage_percent",
            "days_to_limit",
            "current_cost",
            "projected_cost",
            "upgrade_cost",
            "roi",
            "reason",
        ];
        let number =
            |number: Option<f64>| number.map_or(String::new(), |number| number.to_string());
        let row = |it: &Recommendation| {
            let days = it.numbers.days_to_limit;
            vec![
                it.id.clone(),
                it.priority.to_string(),
                it.status.to_string(),
                it.service.to_string(),
                it.metric.map_or(String::new(), |metric| metric.to_string()),
                it.current_plan.clone(),
                it.recommended_plan.clone(),
                number(it.numbers.usage_percent),
                days.map_or(String::new(), |days| days.to_string()),
                number(it.numbers.current_cost),
                number(it.numbers.projected_cost),
                number(it.numbers.upgrade_cost),
                number(it.numbers.roi),
                it.reason.clone(),
            ]
        };
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(self.recommendations.iter().map(row));
        rows
    }
}
