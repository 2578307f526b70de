//! Everything that recommendations are made from, as of one moment: limits, measurements, plans and inputs.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::Topic;
use super::assess::{Assessment, Evidence, Gap, assess};
use super::inputs::{Business, StoredInput};
use crate::domain::capacity::trend::{Trend, TrendRequest};
use crate::domain::metrics::day::MetricDay;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::Series;
use crate::domain::plans::catalogue::{Catalogue, default_kind};
use crate::domain::plans::{LimitInForce, selection};

/// The state of all limits and series.
#[derive(Debug)]
pub struct Snapshot {
    pub limits: Vec<LimitInForce>,
    inputs: Vec<StoredInput>,
    catalogue: Catalogue,
    selections: Vec<selection::PlanSelection>,
    days: BTreeMap<Series, Vec<MetricDay>>,
    /// The trend of every series, as its provider bills it.
    trends: BTreeMap<Series, Trend>,
    now: DateTime<Utc>,
}

/// A topic and its assessment.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessed {
    pub topic: Topic,
    pub assessment: Assessment,
}

impl Snapshot {
    /// `days` are those of all series, each in order.
    pub fn new(
        limits: Vec<LimitInForce>,
        inputs: Vec<StoredInput>,
        catalogue: Catalogue,
        selections: Vec<selection::PlanSelection>,
        days: Vec<MetricDay>,
        now: DateTime<Utc>,
    ) -> Snapshot {
        let mut by_series: BTreeMap<Series, Vec<MetricDay>> = BTreeMap::new();
        for day in days {
            by_series.entry(day.series.clone()).or_default().push(day);
        }
        let trend = |(series, days): (&Series, &Vec<MetricDay>)| {
            let (kind, period) = default_kind(series.metric);
            let provider = catalogue.provider_of(series.service);
            let plan = provider.and_then(|it| selection::current(&selections, it, now));
            let request = TrendRequest {
                kind,
                period,
                billing: plan.map(|plan| plan.billing).unwrap_or_default(),
                thresholds: &[],
                now,
            };
            Some((series.clone(), Trend::of(days, request)?))
        };
        Snapshot {
            trends: by_series.iter().filter_map(trend).collect(),
            limits,
            inputs,
            catalogue,
            selections,
            days: by_series,
            now,
        }
    }

    /// Assesses every limit, in the order of services and metrics.
    pub fn assess(&self) -> Vec<Assessed> {
        let limits = self.limits.iter();
        limits.flat_map(|limit| self.assess_limit(limit)).collect()
    }

    /// The newest measurement of a series.
    pub fn newest(
        &self,
        service: Service,
        metric: Metric,
        resource: &str,
    ) -> Option<(DateTime<Utc>, f64)> {
        let trend = self.trends.get(&Series::new(service, metric, resource))?;
        Some((trend.measured_at, trend.usage))
    }

    fn assess_limit(&self, limit: &LimitInForce) -> Vec<Assessed> {
        let assessed = |resource: &str, assessment| Assessed {
            topic: Topic {
                service: limit.service,
                metric: limit.metric,
                resource: resource.to_owned(),
                plan: limit.plan.clone(),
            },
            assessment,
        };
        let thresholds = [limit.warning_percent, limit.critical_percent, 100.0]
            .map(|percent| limit.value * percent / 100.0);
        let request = TrendRequest {
            kind: limit.kind,
            period: limit.period,
            billing: limit.billing,
            thresholds: &thresholds,
            now: self.now,
        };
        let of_metric = self
            .days
            .iter()
            .filter(|(series, _)| (series.service, series.metric) == (limit.service, limit.metric));
        let mut all: Vec<Assessed> = of_metric
            .filter_map(|(series, days)| {
                let trend = Trend::of(days, request)?;
                let assessment = self.assess_series(limit, series, &trend);
                Some(assessed(&series.resource, assessment))
            })
            .collect();
        if all.is_empty() {
            all.push(assessed("", Assessment::Unknown(Gap::NotMeasured)));
        }
        all
    }

    fn assess_series(&self, limit: &LimitInForce, series: &Series, trend: &Trend) -> Assessment {
        let provider = limit.provider.as_deref();
        let all: Vec<&Series> = self.trends.keys().collect();
        let has_provider = |service| self.catalogue.provider_of(service) == provider;
        let together = billed_together(&series.resource, &all, has_provider);
        let trends = together.filter_map(|series| self.trends.get(series));
        let trends: Vec<&Trend> = trends.collect();
        let plan = provider.and_then(|it| selection::current(&self.selections, it, self.now));
        assess(Evidence {
            limit,
            resource: &series.resource,
            trend,
            trends: &trends,
            catalogue: &self.catalogue,
            seats: plan.and_then(|plan| plan.seats),
            business: Business::of(&self.inputs, limit.service),
            now: self.now,
        })
    }
}

/// The series on one bill: those of the provider's services that have this resource or exist only once.
fn billed_together<'a>(
    resource: &str,
    all: &[&'a Series],
    has_provider: impl Fn(Service) -> bool,
) -> impl Iterator<Item = &'a Series> {
    let is_unique = |series: &Series| {
        let same = |it: &&&Series| (it.service, it.metric) == (series.service, series.metric);
        all.iter().filter(same).count() == 1
    };
    all.iter()
        .copied()
        .filter(move |it| has_provider(it.service) && (it.resource == resource || is_unique(it)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bill_has_series_of_the_resource_and_unique_series_of_the_provider() {
        let all = [
            Series::new(Service::VercelKv, Metric::StorageMb, "cache"),
            Series::new(Service::VercelKv, Metric::StorageMb, "sessions"),
            Series::new(Service::VercelKv, Metric::CommandsPerDay, "cache"),
            // The only series of its metric.
            Series::new(Service::VercelKv, Metric::BandwidthGb, ""),
            Series::new(Service::VercelPostgres, Metric::StorageMb, "cache"),
        ];
        let all: Vec<&Series> = all.iter().collect();
        // COMMANDS_PER_DAY exists only once, so that it is on the bill of the other resource too.
        for resource in ["cache", "sessions"] {
            let has_provider = |service| service == Service::VercelKv;
            let billed = billed_together(resource, &all, has_provider);
            assert_eq!(
                billed.map(ToString::to_string).collect::<Vec<_>>(),
                [
                    &format!("VERCEL_KV STORAGE_MB {resource}"),
                    "VERCEL_KV COMMANDS_PER_DAY cache",
                    "VERCEL_KV BANDWIDTH_GB",
                ]
            );
        }
    }
}
