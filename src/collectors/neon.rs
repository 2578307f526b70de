//! Neon's consumption API, which does not wake a database that sleeps. Paid plans only.
//!
//! Storage is billed in byte-months, which say nothing about a moment: the size of a database is measured by
//! the postgres collector. What has no metric of its own is kept in the metadata.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value};

use super::vendor::{encoded, number};
use super::{CollectContext, Collected, Collector, Endpoint};
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{NewPoint, Reading, Series, midnight};

/// How Neon is asked.
#[derive(Clone, Debug)]
pub struct Neon {
    pub endpoint: Endpoint,
    /// The organisation, which some keys need.
    pub organisation: Option<String>,
    /// One project; all if there is none.
    pub project: Option<String>,
}

const METRICS: &str = "compute_unit_seconds,root_branch_bytes_month,child_branch_bytes_month,\
instant_restore_bytes_month,public_network_transfer_bytes,private_network_transfer_bytes";

/// Days that may still be revised.
const LAST_DAYS: TimeDelta = TimeDelta::days(3);

/// No account has more projects than these pages hold.
const MOST_PAGES: usize = 50;

impl Collector for Neon {
    fn source(&self) -> MetricSource {
        MetricSource::Neon
    }

    fn collect(&self, moment: &CollectContext) -> Result<Collected, CollectorError> {
        let mut days: BTreeMap<DateTime<Utc>, Day> = BTreeMap::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let path = self.path(moment.now, cursor.as_deref());
            let answer = self.endpoint.get(&path, moment.timeout)?;
            let answer = self.endpoint.json(answer)?;
            let found = self.add(&answer, &mut days)?;
            let next = answer.pointer("/pagination/cursor").and_then(Value::as_str);
            match next {
                Some(next) if found > 0 && cursor.as_deref() != Some(next) => {
                    cursor = Some(next.to_owned());
                }
                _ => break,
            }
        }
        Ok(Collected {
            points: days
                .into_iter()
                .filter_map(|(at, day)| day.point(at))
                .collect(),
            revises: true,
            ..Collected::default()
        })
    }
}

/// What was consumed on a day, by all projects.
#[derive(Default)]
struct Day {
    transfer_bytes: Option<f64>,
    all: BTreeMap<String, f64>,
}

impl Day {
    fn point(self, at: DateTime<Utc>) -> Option<NewPoint> {
        let series = Series {
            service: Service::VercelPostgres,
            metric: Metric::BandwidthGb,
            resource: String::new(),
        };
        let consumed: Map<String, Value> = self
            .all
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect();
        let point = NewPoint::new(series, self.transfer_bytes? / 1e9, at);
        Some(
            point
                .with_reading(Reading::Amount)
                .with("source", "neon")
                .with("quality", "measured")
                .with("consumption", consumed),
        )
    }
}

impl Neon {
    fn path(&self, now: DateTime<Utc>, cursor: Option<&str>) -> String {
        let stamp = |at: DateTime<Utc>| encoded(&at.to_rfc3339_opts(SecondsFormat::Secs, true));
        let from = stamp(midnight(now) - LAST_DAYS);
        let to = stamp(midnight(now) + TimeDelta::days(1));
        let mut path = format!(
            "/api/v2/consumption_history/v2/projects?from={from}&to={to}&granularity=daily&limit=100&metrics={METRICS}"
        );
        let more = [
            ("org_id", self.organisation.as_deref()),
            ("project_ids", self.project.as_deref()),
            ("cursor", cursor),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        path
    }

    /// Adds a page; says how many projects it has.
    fn add(
        &self,
        answer: &Value,
        days: &mut BTreeMap<DateTime<Utc>, Day>,
    ) -> Result<usize, CollectorError> {
        let unexpected = |field: &'static str| move || self.endpoint.unexpected(field);
        let list = |value: &Value, field: &'static str| {
            value
                .get(field)
                .and_then(Value::as_array)
                .cloned()
                .ok_or_else(unexpected(field))
        };
        let projects = list(answer, "projects")?;
        for project in &projects {
            for period in list(project, "periods")? {
                for stretch in list(&period, "consumption")? {
                    let start = stretch.get("timeframe_start").and_then(Value::as_str);
                    let start = start.and_then(|start| DateTime::parse_from_rfc3339(start).ok());
                    let start = start.ok_or_else(unexpected("timeframe_start"))?.to_utc();
                    let day = days.entry(midnight(start)).or_default();
                    for metric in list(&stretch, "metrics")? {
                        let name = metric.get("metric_name").and_then(Value::as_str);
                        let name = name.ok_or_else(unexpected("metric_name"))?;
                        let value = number(&metric, "value")
                            .map_err(|()| self.endpoint.unexpected("value"))?;
                        let value = value.ok_or_else(unexpected("value"))?;
                        *day.all.entry(name.to_owned()).or_default() += value;
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
