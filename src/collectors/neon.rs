//! Neon's consumption API, which does not wake a suspended database. Paid plans only.
//!
//! Neon bills storage in byte-months, so the size of a database comes from the postgres collector instead.
//! Quantities without a metric of their own are kept in the metadata.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

use super::vendor::{encoded, number};
use super::{CollectContext, Collected, Collector, Endpoint, point};
use crate::domain::format;
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{NewPoint, Reading, midnight};

#[derive(Clone, Debug)]
pub struct Neon {
    pub endpoint: Endpoint,
    /// Some keys require it.
    pub organisation: Option<String>,
    /// All projects without it.
    pub project: Option<String>,
}

const METRICS: &str = "compute_unit_seconds,root_branch_bytes_month,child_branch_bytes_month,\
instant_restore_bytes_month,public_network_transfer_bytes,private_network_transfer_bytes";

/// Days that may still be revised.
const REVISED_DAYS: TimeDelta = TimeDelta::days(3);

/// More pages than any account has, against a server that repeats itself.
const MAX_PAGES: usize = 50;

impl Collector for Neon {
    fn source(&self) -> MetricSource {
        MetricSource::Neon
    }

    fn collect(&self, context: &CollectContext) -> Result<Collected, CollectorError> {
        let mut days: BTreeMap<DateTime<Utc>, Consumption> = BTreeMap::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let path = self.path(context.now, cursor.as_deref());
            let answer = self.endpoint.get(&path, context.timeout)?;
            let answer = self.endpoint.json(answer)?;
            let projects = self.add_page(&answer, &mut days)?;
            let next = answer.pointer("/pagination/cursor").and_then(Value::as_str);
            match next {
                Some(next) if projects > 0 && cursor.as_deref() != Some(next) => {
                    cursor = Some(next.to_owned());
                }
                _ => break,
            }
        }
        let points = days.into_iter().filter_map(|(at, day)| day.point(at));
        Ok(Collected {
            points: points.collect(),
            revises: true,
            ..Collected::default()
        })
    }
}

/// The consumption of all projects on one day.
#[derive(Default)]
struct Consumption {
    transfer_bytes: Option<f64>,
    by_name: BTreeMap<String, f64>,
}

impl Consumption {
    fn point(self, at: DateTime<Utc>) -> Option<NewPoint> {
        let value = self.transfer_bytes? / 1e9;
        let (service, metric) = (Service::VercelPostgres, Metric::BandwidthGb);
        let by_name = self.by_name.into_iter();
        let by_name: Map<String, Value> = by_name.map(|(name, sum)| (name, sum.into())).collect();
        Some(
            point(MetricSource::Neon, service, metric, value, at)
                .with_reading(Reading::Amount)
                .with("consumption", by_name),
        )
    }
}

impl Neon {
    fn path(&self, now: DateTime<Utc>, cursor: Option<&str>) -> String {
        let time = |at: DateTime<Utc>| encoded(&format::time(at));
        let from = time(midnight(now) - REVISED_DAYS);
        let to = time(midnight(now) + TimeDelta::days(1));
        let mut path = format!(
            "/api/v2/consumption_history/v2/projects?from={from}&to={to}&granularity=daily&limit=100&metrics={METRICS}"
        );
        let parameters = [
            ("org_id", self.organisation.as_deref()),
            ("project_ids", self.project.as_deref()),
            ("cursor", cursor),
        ];
        for (name, value) in parameters {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        path
    }

    /// Adds a page to the days and returns its number of projects.
    fn add_page(
        &self,
        answer: &Value,
        days: &mut BTreeMap<DateTime<Utc>, Consumption>,
    ) -> Result<usize, CollectorError> {
        let endpoint = &self.endpoint;
        let projects = endpoint.list(answer, "projects")?;
        for project in projects {
            for period in endpoint.list(project, "periods")? {
                for timeframe in endpoint.list(period, "consumption")? {
                    let start = endpoint.text(timeframe, "timeframe_start")?;
                    let start = DateTime::parse_from_rfc3339(start)
                        .map_err(|_| endpoint.unexpected("timeframe_start"))?;
                    let day = days.entry(midnight(start.to_utc())).or_default();
                    for metric in endpoint.list(timeframe, "metrics")? {
                        let name = endpoint.text(metric, "metric_name")?;
                        let value = number(metric, "value").ok().flatten();
                        let value = value.ok_or_else(|| endpoint.unexpected("value"))?;
                        *day.by_name.entry(name.to_owned()).or_default() += value;
                        if name == "public_network_transfer_bytes" {
                            *day.transfer_bytes.get_or_insert(0.0) += value;
                        }
                    }
                }
            }
        }
        Ok(projects.len())
    }
}
