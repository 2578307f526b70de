//! Upstash: what its account API bills by, or else what its REST interface tells of a database.

use std::time::Duration;

use serde_json::Value;

use super::redis::{Info, from_info};
use super::vendor::{encoded, number};
use super::{CollectContext, Collected, Collector, Endpoint, point};
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::midnight;
use crate::http::Request;
use chrono::Datelike;

/// How Upstash is asked.
#[derive(Clone, Debug)]
pub struct Upstash {
    pub way: Way,
}

/// An API of Upstash.
#[derive(Clone, Debug)]
pub enum Way {
    /// The account's: the bill's own counts.
    Account(Account),
    /// The database's own, which answers to INFO.
    Rest(Endpoint),
}

/// The account API and a database in it.
#[derive(Clone, Debug)]
pub struct Account {
    /// Where it is; the key is the account's.
    pub endpoint: Endpoint,
    pub email: String,
    pub database_id: String,
}

impl Collector for Upstash {
    fn source(&self) -> MetricSource {
        MetricSource::Upstash
    }

    fn collect(&self, moment: &CollectContext) -> Result<Collected, CollectorError> {
        match &self.way {
            Way::Account(account) => account.collect(moment),
            Way::Rest(endpoint) => rest(endpoint, moment),
        }
    }
}

impl Account {
    fn collect(&self, moment: &CollectContext) -> Result<Collected, CollectorError> {
        let Account {
            endpoint,
            email,
            database_id,
        } = self;
        let url = endpoint.url(&format!("/v2/redis/stats/{}", encoded(database_id)))?;
        let request = Request::get(url).basic(email, &endpoint.key);
        let stats = endpoint.json(endpoint.send(request, moment.timeout)?)?;
        let day = midnight(moment.now);
        let month = day.with_day(1).unwrap_or(day);
        let fields = [
            ("current_storage", Metric::StorageMb, 1e-6, None),
            ("daily_net_commands", Metric::CommandsPerDay, 1.0, Some(day)),
            (
                "total_monthly_requests",
                Metric::RequestCount,
                1.0,
                Some(month),
            ),
            (
                "total_monthly_bandwidth",
                Metric::BandwidthGb,
                1e-9,
                Some(month),
            ),
            ("total_monthly_billing", Metric::CostUsd, 1.0, Some(month)),
        ];
        let mut told = Collected::default();
        for (field, metric, scale, since) in fields {
            let Some(value) = number(&stats, field).map_err(|()| endpoint.unexpected(field))?
            else {
                told.notes
                    .push(format!("`{field}` is not in Upstash's answer"));
                continue;
            };
            let point = point(
                MetricSource::Upstash,
                Service::VercelKv,
                metric,
                value * scale,
                moment.now,
            );
            told.points.push(match since {
                Some(since) => point.with_period_start(since),
                None => point,
            });
        }
        match told.points.is_empty() {
            true => Err(endpoint.unexpected("current_storage")),
            false => Ok(told),
        }
    }
}

fn rest(endpoint: &Endpoint, moment: &CollectContext) -> Result<Collected, CollectorError> {
    let info = command(endpoint, "INFO", moment.timeout)?;
    from_info(MetricSource::Upstash, &Info::parse(&info), 0.0, moment)
}

/// Runs a command without arguments, whose answer is a text.
fn command(endpoint: &Endpoint, name: &str, timeout: Duration) -> Result<String, CollectorError> {
    let body = serde_json::json!([name]).to_string().into_bytes();
    let request = Request::post_json(endpoint.url("")?, body).bearer(&endpoint.key);
    let answer = endpoint.json(endpoint.send(request, timeout)?)?;
    match answer.get("result") {
        Some(Value::String(text)) => Ok(text.clone()),
        _ if answer.get("error").is_some() => {
            let hint = "give a token that may run INFO";
            Err(endpoint.failure(format_args!("refuses {name}"), hint))
        }
        _ => Err(endpoint.unexpected("result")),
    }
}
