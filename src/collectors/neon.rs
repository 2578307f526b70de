//! Neon's API, which does not wake a suspended database: the consumption of each day on paid plans, and the usage of the
//! billing period of one project on every plan.
//!
//! Neon bills storage in byte-months, so the size of a database comes from the postgres collector instead.
//! Quantities without a metric of their own are kept in the metadata.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::{FromPrimitive, ToPrimitive};
use serde_json::{Map, Value};

use super::vendor::{encoded, number, query};
use super::{CollectContext, Collected, Collector, Endpoint, points_at};
use crate::domain::format;
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{NewPoint, Reading, midnight};

#[derive(Clone, Debug)]
pub struct Neon {
    pub endpoint: Endpoint,
    /// Without it, only the project's own usage can be read.
    pub organisation: Option<String>,
    /// All projects without it.
    pub project: Option<String>,
}

const METRICS: &str = "compute_unit_seconds,root_branch_bytes_month,child_branch_bytes_month,\
instant_restore_bytes_month,public_network_transfer_bytes,private_network_transfer_bytes";

/// The past days that the API answers with.
const LONGEST: TimeDelta = TimeDelta::days(60);

/// More pages than any account has, against a server that repeats itself.
const MAX_PAGES: usize = 50;

/// The catalogue's name of compute time.
const COMPUTE: &str = "Compute";

impl Collector for Neon {
    fn source(&self) -> MetricSource {
        MetricSource::Neon
    }

    fn address(&self) -> String {
        let parts = [self.organisation.as_deref(), self.project.as_deref()];
        parts.map(Option::unwrap_or_default).join("/")
    }

    fn collect(&self, context: &CollectContext) -> Result<Collected, CollectorError> {
        match (&self.project, &self.organisation) {
            (Some(project), None) => self.project_usage(project, context),
            (project, _) => {
                let path = self.path(context, None);
                let answer = self.endpoint.get(&path, context.timeout)?;
                // The answer of free plans, which have no history.
                if let (Some(project), 403 | 404) = (project, answer.status) {
                    return self.project_usage(project, context);
                }
                let reason = self.endpoint.reason(&answer);
                let is_missing = reason.as_ref().is_none_or(|it| it.contains("org"));
                if answer.status == 400 && self.organisation.is_none() && is_missing {
                    let hint = "set NEON_ORG_ID, or NEON_PROJECT_ID for one project";
                    let reason = reason
                        .as_deref()
                        .unwrap_or("this key requires an organisation");
                    let message = format_args!("answers 400: {reason}");
                    return Err(self.endpoint.error(message, hint));
                }
                self.history(self.endpoint.json(answer)?, context)
            }
        }
    }
}

/// The consumption of all projects on one day.
#[derive(Default)]
struct Consumption {
    transfer_bytes: Option<f64>,
    by_name: BTreeMap<String, f64>,
}

impl Consumption {
    fn points(self, at: DateTime<Utc>, context: &CollectContext) -> Vec<NewPoint> {
        let new = points_at(MetricSource::Neon, Service::VercelPostgres, at);
        let new = |metric, value| new(metric, value).with_reading(Reading::Amount);
        let seconds = self.by_name.get("compute_unit_seconds");
        let percent = seconds.and_then(|seconds| compute_percent(*seconds, context));
        let compute = percent.map(|percent| new(Metric::UsagePercent, percent).of_meter(COMPUTE));
        let by_name = self.by_name.into_iter();
        let by_name: Map<String, Value> = by_name.map(|(name, sum)| (name, sum.into())).collect();
        let transfer = self
            .transfer_bytes
            .map(|bytes| new(Metric::BandwidthGb, bytes / 1e9).with("consumption", by_name));
        transfer.into_iter().chain(compute).collect()
    }
}

/// The percentage of the plan's compute time; `None` where the plan has no limit of it.
fn compute_percent(seconds: f64, context: &CollectContext) -> Option<f64> {
    let meter = context.meter(Service::VercelPostgres, COMPUTE)?;
    let percent = meter.percent(Decimal::from_f64(seconds)?, "seconds")?;
    percent.to_f64()
}

impl Neon {
    /// The consumption of each day, of all pages.
    fn history(
        &self,
        mut answer: Value,
        context: &CollectContext,
    ) -> Result<Collected, CollectorError> {
        let mut days: BTreeMap<DateTime<Utc>, Consumption> = BTreeMap::new();
        let mut cursors: Vec<String> = Vec::new();
        for _ in 0..MAX_PAGES {
            let next = answer.pointer("/pagination/cursor").and_then(Value::as_str);
            // The cursor names the last project: the page was added before.
            if cursors.iter().any(|it| Some(it.as_str()) == next) {
                break;
            }
            let projects = self.add_page(&answer, &mut days)?;
            match next {
                Some(next) if projects > 0 => cursors.push(next.to_owned()),
                _ => break,
            }
            let path = self.path(context, cursors.last().map(String::as_str));
            answer = self.endpoint.get_json(&path, context.timeout)?;
        }
        if cursors.len() == MAX_PAGES {
            return Err(self.endpoint.too_many_pages(MAX_PAGES));
        }
        let points = days.into_iter();
        let points = points.flat_map(|(at, day)| day.points(at, context));
        Ok(Collected {
            points: points.collect(),
            revises: true,
            ..Collected::default()
        })
    }

    /// The usage of one project since its billing period began.
    fn project_usage(
        &self,
        project: &str,
        context: &CollectContext,
    ) -> Result<Collected, CollectorError> {
        let endpoint = &self.endpoint;
        let path = format!("/api/v2/projects/{}", encoded(project));
        let answer = endpoint.get_json(&path, context.timeout)?;
        let usage = answer.get("project");
        let usage = usage.ok_or_else(|| endpoint.unexpected("project"))?;
        let start = endpoint.time(usage, "consumption_period_start")?;
        let read = |field: &str| number(usage, field).map_err(|()| endpoint.unexpected(field));
        let new = points_at(MetricSource::Neon, Service::VercelPostgres, context.now);
        let mut collected = Collected::default();
        if let Some(bytes) = read("data_transfer_bytes")? {
            let transfer = new(Metric::BandwidthGb, bytes / 1e9).with_period_start(start);
            collected.points.push(transfer);
        }
        if let Some(seconds) = read("compute_time_seconds")?
            && let Some(percent) = compute_percent(seconds, context)
        {
            let compute = new(Metric::UsagePercent, percent).with_period_start(start);
            let compute = compute.with("compute_time_seconds", seconds);
            collected.points.push(compute.of_meter(COMPUTE));
        }
        Ok(collected)
    }

    fn path(&self, context: &CollectContext, cursor: Option<&str>) -> String {
        let time = |at: DateTime<Utc>| encoded(&format::time(at));
        let from = time(context.first_day(LONGEST));
        let to = time(midnight(context.now) + TimeDelta::days(1));
        let path = format!(
            "/api/v2/consumption_history/v2/projects?from={from}&to={to}&granularity=daily&limit=100&metrics={METRICS}"
        );
        let parameters = [
            ("org_id", self.organisation.as_deref()),
            ("project_ids", self.project.as_deref()),
            ("cursor", cursor),
        ];
        path + &query(&parameters)
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
                    let start = endpoint.time(timeframe, "timeframe_start")?;
                    let day = days.entry(midnight(start)).or_default();
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
