//! Upgrade recommendations: what to change, why, at what cost, and their life cycle.
//!
//! A recommendation answers one [`Topic`]. Its content is entirely in its [`Facts`]: figures that each name
//! their inputs. The prose and the application's columns derive from them and from nothing else.

pub mod assess;
pub mod candidates;
pub mod conditions;
pub mod cost;
pub mod facts;
pub mod figure;
pub mod inputs;
pub mod lifecycle;
pub mod prose;
pub mod reconcile;
pub mod risk;
#[cfg(test)]
pub(crate) mod sample;
pub mod snapshot;
pub mod topic;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::capacity::Capacity;
use super::format::serialize_maybe_time;
use super::metrics::names::{Metric, Priority, Service, Status};
pub use facts::{Facts, Kind, StoredFacts};
pub use lifecycle::is_open;
use risk::most_urgent;
pub use topic::Topic;

/// The numbers that the application has columns for; unknown ones are null there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Numbers {
    pub current_usage: Option<f64>,
    pub limit_value: Option<f64>,
    pub usage_percent: Option<f64>,
    /// Median of the forecast, counted from the time of the run.
    pub days_to_limit: Option<i32>,
    /// Cost of a billing period on the current plan, in US dollars.
    pub current_cost: Option<f64>,
    /// Cost of a billing period on the recommended plan.
    pub projected_cost: Option<f64>,
    pub upgrade_cost: Option<f64>,
    /// Avoided loss, from the user's business inputs.
    pub revenue_impact: Option<f64>,
    /// Avoided loss minus the extra cost.
    pub profit_impact: Option<f64>,
    /// Profit for each dollar of extra cost.
    pub roi: Option<f64>,
}

/// A row of the application's `UpgradeRecommendation`, and what we track beside it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    pub id: String,
    pub service: Service,
    /// Another program may have left it out.
    pub metric: Option<Metric>,
    pub current_plan: String,
    pub recommended_plan: String,
    pub priority: Priority,
    /// The status in the application's own column.
    pub status: Status,
    #[serde(flatten)]
    pub numbers: Numbers,
    pub reason: String,
    pub benefits: Vec<String>,
    pub risks: Vec<String>,
    pub reviewed_by: Option<String>,
    pub review_notes: Option<String>,
    #[serde(serialize_with = "serialize_maybe_time")]
    pub reviewed_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "serialize_maybe_time")]
    pub implemented_at: Option<DateTime<Utc>>,
    /// When its measurements become too old to act on.
    #[serde(serialize_with = "serialize_maybe_time")]
    pub expires_at: Option<DateTime<Utc>>,
    /// None if it cannot be read.
    #[serde(serialize_with = "serialize_maybe_time")]
    pub created_at: Option<DateTime<Utc>>,
    /// None if it cannot be read.
    #[serde(serialize_with = "serialize_maybe_time")]
    pub updated_at: Option<DateTime<Utc>>,
    /// None if another program created it.
    #[serde(skip)]
    pub tracking: Option<Tracking>,
}

/// Our row beside the application's.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracking {
    /// The key of its topic and kind: see [`Topic::key`].
    pub question: String,
    /// Database, project or team; empty where it has no name of its own.
    pub resource: String,
    pub kind: Kind,
    /// Incremented by every entry in the history.
    pub version: i32,
    /// The status when we last read or wrote it; the application may have changed its column since.
    pub status: Status,
    pub facts: StoredFacts,
    pub catalogue_version: String,
    /// The last run that reproduced it.
    pub last_seen_at: DateTime<Utc>,
    /// Number of runs that reproduced it.
    pub seen_count: i32,
    /// Number of runs since then that did not.
    pub unseen_count: i32,
    /// Number of consecutive runs that found the limit no longer near.
    pub cleared_count: i32,
    /// The first of these runs.
    pub unseen_since: Option<DateTime<Utc>>,
    pub dismissed_priority: Option<Priority>,
    pub snoozed_until: Option<DateTime<Utc>>,
    pub reopened_count: i32,
    /// The recommendation that answered the same question before.
    pub predecessor_id: Option<String>,
    /// Predicted and measured values after it was implemented, as JSON.
    pub outcome: Option<String>,
}

impl Tracking {
    /// Counts a run that reproduced the recommendation.
    fn count_seen(&mut self, now: DateTime<Utc>) {
        self.last_seen_at = now;
        self.seen_count = self.seen_count.saturating_add(1);
        self.reset_absence();
    }

    fn reset_absence(&mut self) {
        self.unseen_count = 0;
        self.unseen_since = None;
        self.cleared_count = 0;
    }
}

impl Recommendation {
    /// Its facts, if this program created it and can read them.
    pub fn facts(&self) -> Option<&Facts> {
        self.tracking.as_ref()?.facts.read.as_ref()
    }

    /// The measured capacity of its metric: under the plan that it is about, or else under the plan in use.
    pub fn capacity<'a>(&self, all: &'a [Capacity]) -> Option<&'a Capacity> {
        let own = self.tracking.as_ref().map(|own| own.resource.as_str());
        let resource = self.facts().map(|facts| facts.resource.as_str()).or(own);
        let is_it = |capacity: &&Capacity| {
            let series = &capacity.series;
            (series.service, Some(series.metric)) == (self.service, self.metric)
                && (capacity.resources > 1
                    || resource.is_none_or(|resource| series.resource == resource))
                && capacity.measured_at.is_some()
        };
        let is_plan = |capacity: &&Capacity| {
            let limit = capacity.limit.as_ref();
            limit.is_some_and(|limit| limit.plan == self.current_plan)
        };
        let mut found = all.iter().filter(is_it);
        let of_plan = found.clone().find(is_plan);
        of_plan.or_else(|| found.next())
    }

    /// The most urgent limit of its question at present: the same limit as in [`Self::capacity`] unless it has several.
    pub fn most_urgent<'a>(&self, all: &'a [Capacity]) -> Option<&'a Capacity> {
        let is_of_question = |it: &&Capacity| {
            let topic = Topic::of_capacity(it).filter(|topic| topic.matches(self));
            topic.is_some_and(|topic| topic.plan == self.current_plan && it.is_assessable())
        };
        let limited = all.iter().filter(is_of_question);
        let limited = limited.filter_map(|it| Some((it, it.limit.as_ref()?)));
        let found = most_urgent(limited).map(|(it, _)| it);
        found.or_else(|| self.capacity(all))
    }
}

/// Display order: by priority, then by days to the limit.
pub fn by_urgency(a: &Recommendation, b: &Recommendation) -> std::cmp::Ordering {
    let days = |it: &Recommendation| it.numbers.days_to_limit.unwrap_or(i32::MAX);
    b.priority
        .cmp(&a.priority)
        .then_with(|| days(a).cmp(&days(b)))
        .then_with(|| a.created_at.cmp(&b.created_at))
        .then_with(|| a.id.cmp(&b.id))
}
