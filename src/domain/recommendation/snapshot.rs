//! Everything that recommendations are made from, as of one moment: limits, measurements, plans and inputs.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::assess::{Assessment, Evidence, assess};
use super::conditions::{of_limit, of_recommendation};
use super::cost::decimal;
use super::inputs::{Business, StoredInput};
use super::{Recommendation, Topic};
use crate::domain::alert::condition::Condition;
use crate::domain::capacity::Capacity;
use crate::domain::capacity::readings::SeriesDays;
use crate::domain::capacity::state::UnknownReason;
use crate::domain::metrics::names::{Measure, Metric};
use crate::domain::metrics::point::Series;
use crate::domain::plans::{Catalogue, LimitInForce, Origin, PlanLimit, selection};

/// The state of all limits and series.
#[derive(Debug)]
pub struct Snapshot {
    pub limits: Vec<LimitInForce>,
    /// Of every limit and every series.
    pub capacities: Vec<Capacity>,
    pub inputs: Vec<StoredInput>,
    pub catalogue: Catalogue,
    pub selections: Vec<selection::PlanSelection>,
    pub now: DateTime<Utc>,
}

/// A topic and its assessment.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessed {
    pub topic: Topic,
    pub assessment: Assessment,
}

/// A limit that cannot be assessed.
#[derive(Clone, Debug, PartialEq)]
pub struct Unknown {
    pub series: Series,
    pub plan: String,
    pub reason: UnknownReason,
}

impl Snapshot {
    /// Assesses every question: the plan of each provider's resource, and each budget.
    pub fn assess(&self) -> Vec<Assessed> {
        let mut questions: Vec<(Topic, Vec<&Capacity>)> = Vec::new();
        for capacity in &self.capacities {
            let Some(topic) = Topic::of_capacity(capacity) else {
                continue;
            };
            match questions.iter_mut().find(|(known, _)| *known == topic) {
                Some((_, limited)) => limited.push(capacity),
                None => questions.push((topic, vec![capacity])),
            }
        }
        // A limit without any series is one of every resource that has series.
        let is_empty = |limited: &[&Capacity]| limited.iter().all(|it| it.measured_at.is_none());
        let others = questions.iter().filter(|(_, limited)| !is_empty(limited));
        let others: Vec<Topic> = others.map(|(topic, _)| topic.clone()).collect();
        questions.retain(|(topic, limited)| {
            let same = |it: &Topic| {
                (&it.provider, &it.plan, it.budget) == (&topic.provider, &topic.plan, topic.budget)
            };
            !(is_empty(limited) && topic.resource.is_empty() && others.iter().any(same))
        });
        let assessed = questions.into_iter().map(|(topic, limited)| Assessed {
            assessment: self.assess_question(&topic, &limited),
            topic,
        });
        assessed.collect()
    }

    /// The limits that cannot be assessed, and why.
    pub fn unknown(&self) -> Vec<Unknown> {
        let unknown = |capacity: &Capacity| {
            let limit = capacity.limit.as_ref()?;
            let reason = capacity.reason.clone();
            let reason = reason.filter(|_| capacity.state.is_unknown());
            let too_large = || {
                let mut values = capacity.usage.into_iter().chain([limit.value]);
                let value = values.find(|value| decimal(*value).is_none())?;
                Some(UnknownReason::TooLarge(value))
            };
            Some(Unknown {
                series: capacity.series.clone(),
                plan: limit.plan.clone(),
                reason: reason.or_else(too_large)?,
            })
        };
        self.capacities.iter().filter_map(unknown).collect()
    }

    /// The conditions of all limits, and of the recommendations of this program.
    pub fn conditions(&self, recommendations: &[Recommendation]) -> Vec<Condition> {
        let limits = self.capacities.iter();
        let limits = limits.filter_map(|it| of_limit(it, self.now));
        let recommendations = recommendations.iter();
        let recommendations = recommendations.filter_map(|it| of_recommendation(it, self.now));
        limits.chain(recommendations).collect()
    }

    /// The limits of the question's plan that its resource has no series for.
    fn unmeasured(&self, topic: &Topic, limited: &[&Capacity]) -> Vec<Capacity> {
        let is_missing = |limit: &&LimitInForce| {
            let meter = (limit.service, limit.metric);
            let mut known = limited.iter();
            limit.origin != Origin::Budget
                && Topic::of(limit, &topic.resource) == *topic
                && !known.any(|it| (it.series.service, it.series.metric) == meter)
        };
        let none = |limit: &LimitInForce| {
            let series = Series::new(limit.service, limit.metric, &topic.resource);
            Capacity::new(&SeriesDays::empty(series), Some(limit), self.now, None)
        };
        let missing = self.limits.iter().filter(is_missing).map(none);
        missing.filter(|it| it.measure != Measure::Pace).collect()
    }

    fn assess_question(&self, topic: &Topic, limited: &[&Capacity]) -> Assessment {
        let Some(limit) = limited.first().and_then(|it| it.limit.as_ref()) else {
            return Assessment::Unknown;
        };
        let provider = limit.provider.as_deref();
        let mut billed: Vec<&Capacity> = self.capacities.iter().collect();
        billed.retain(|it| it.measured_at.is_some());
        // A series may have a budget beside the limit of its plan, and be a part of a sum.
        let meter = |it: &Capacity| (it.series.service, it.series.metric);
        let sums = billed.iter().filter(|it| it.resources > 1);
        let sums: Vec<_> = sums.map(|it| meter(it)).collect();
        billed.retain(|it| match topic.budget {
            Some(_) => it.resources <= 1,
            None => it.resources > 1 || !sums.contains(&meter(it)),
        });
        let mut seen: BTreeSet<&Series> = BTreeSet::new();
        billed.retain(|it| seen.insert(&it.series));
        let mut all = limited.iter();
        let is_shared = all.any(|it| it.resources > 1 || it.resource() != topic.resource);
        let has_provider = |service| self.catalogue.provider_of(service) == provider;
        let listed = provider.and_then(|provider| self.catalogue.plan(provider, &topic.plan));
        // An allowance of the whole account is one of all its resources.
        let is_of_account = |series: &Series| {
            let limit = listed.and_then(|plan| plan.limit(series.service, series.metric));
            limit.is_some_and(PlanLimit::is_of_account)
        };
        let all: Vec<&Series> = billed.iter().map(|it| &it.series).collect();
        let of_provider = all.into_iter().filter(|it| has_provider(it.service));
        let of_provider: Vec<&Series> = of_provider.collect();
        let together: Vec<&Series> =
            billed_together(&topic.resource, &of_provider, is_of_account).collect();
        billed.retain(|it| {
            together.contains(&&it.series) || is_shared && has_provider(it.series.service)
        });
        let unmeasured = self.unmeasured(topic, limited);
        let limited: Vec<&Capacity> = limited.iter().copied().chain(&unmeasured).collect();
        let plan = provider.and_then(|it| selection::current(&self.selections, it, self.now));
        assess(Evidence {
            limited: &limited,
            billed: &billed,
            catalogue: &self.catalogue,
            seats: plan.and_then(|plan| plan.seats),
            business: Business::of(&self.inputs, limit.service),
            now: self.now,
        })
    }
}

/// The series of a provider on the bill of one resource: its own, those of the account, and where there is only one
/// resource, those without a name.
fn billed_together<'a>(
    resource: &str,
    all: &[&'a Series],
    is_of_account: impl Fn(&Series) -> bool,
) -> impl Iterator<Item = &'a Series> {
    // The resource of a percentage is a meter.
    let named = all.iter().filter(|it| it.metric != Metric::UsagePercent);
    let names: BTreeSet<&str> = named.map(|it| it.resource.as_str()).collect();
    let is_alone = names.iter().filter(|name| !name.is_empty()).count() <= 1;
    let is_unique = move |series: &Series| {
        let same = |it: &&&Series| (it.service, it.metric) == (series.service, series.metric);
        is_alone && all.iter().filter(same).count() == 1
    };
    all.iter()
        .copied()
        .filter(move |it| it.resource == resource || is_unique(it) || is_of_account(it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::metrics::names::Service;

    #[test]
    fn bill_has_series_of_the_resource_and_of_the_account() {
        let all = [
            Series::new(Service::VercelKv, Metric::StorageMb, "cache"),
            Series::new(Service::VercelKv, Metric::StorageMb, "sessions"),
            Series::new(Service::VercelKv, Metric::CommandsPerDay, "cache"),
            // Its resource is unknown.
            Series::new(Service::VercelKv, Metric::BandwidthGb, ""),
            Series::new(Service::VercelKv, Metric::RequestCount, "team"),
        ];
        let all: Vec<&Series> = all.iter().collect();
        let is_of_account = |series: &Series| series.metric == Metric::RequestCount;
        let billed = |resource, all: &[&Series]| {
            let billed = billed_together(resource, all, is_of_account);
            billed.map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            billed("sessions", &all),
            [
                "VERCEL_KV STORAGE_MB sessions",
                "VERCEL_KV REQUEST_COUNT team"
            ]
        );
        assert_eq!(
            billed("cache", &all),
            [
                "VERCEL_KV STORAGE_MB cache",
                "VERCEL_KV COMMANDS_PER_DAY cache",
                "VERCEL_KV REQUEST_COUNT team",
            ]
        );
        // Series without a name belong to a single resource.
        let one = [all[0], all[3]];
        assert_eq!(
            billed("cache", &one),
            ["VERCEL_KV STORAGE_MB cache", "VERCEL_KV BANDWIDTH_GB"]
        );
    }
}
