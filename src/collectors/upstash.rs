//! Upstash: the account API, which bills are made from, or the REST interface of one database.

use std::time::Duration;

use chrono::Datelike;
use serde_json::Value;

use super::redis::{Info, from_info};
use super::vendor::{encoded, number};
use super::{CollectContext, Collected, Collector, Endpoint, points_at};
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::midnight;
use crate::http::Request;

#[derive(Clone, Debug)]
pub enum Upstash {
    /// The account API: the counts that are billed.
    Account {
        /// Its key is the account's.
        endpoint: Endpoint,
        email: String,
        database_id: String,
    },
    /// The REST interface of one database, which answers INFO.
    Rest(Endpoint),
}

impl Collector for Upstash {
    fn source(&self) -> MetricSource {
        MetricSource::Upstash
    }

    fn address(&self) -> String {
        match self {
            Upstash::Account { database_id, .. } => database_id.clone(),
            Upstash::Rest(endpoint) => endpoint.base.to_string(),
        }
    }

    fn collect(&self, context: &CollectContext) -> Result<Collected, CollectorError> {
        match self {
            Upstash::Account {
                endpoint,
                email,
                database_id,
            } => account_stats(endpoint, email, database_id, context),
            Upstash::Rest(endpoint) => {
                let info = command(endpoint, "INFO", context.timeout)?;
                let of = (MetricSource::Upstash, self.address());
                from_info(of, &Info::parse(&info), 0.0, context)
            }
        }
    }
}

fn account_stats(
    endpoint: &Endpoint,
    email: &str,
    database_id: &str,
    context: &CollectContext,
) -> Result<Collected, CollectorError> {
    let url = endpoint.url(&format!("/v2/redis/stats/{}", encoded(database_id)))?;
    let request = Request::get(url).basic(email, &endpoint.key);
    let stats = endpoint.json(endpoint.send(request, context.timeout)?)?;
    let day = midnight(context.now);
    let (month, day) = (day.with_day(1).or(Some(day)), Some(day));
    let fields = [
        ("current_storage", Metric::StorageMb, 1e-6, None),
        ("daily_net_commands", Metric::CommandsPerDay, 1.0, day),
        ("total_monthly_requests", Metric::RequestCount, 1.0, month),
        ("total_monthly_bandwidth", Metric::BandwidthGb, 1e-9, month),
        ("total_monthly_billing", Metric::CostUsd, 1.0, month),
    ];
    let new = points_at(MetricSource::Upstash, Service::VercelKv, context.now);
    let mut collected = Collected::default();
    for (field, metric, scale, since) in fields {
        let value = number(&stats, field).map_err(|()| endpoint.unexpected(field))?;
        let Some(value) = value else {
            let note = format!("`{field}` is missing in Upstash's answer");
            collected.notes.push(note);
            continue;
        };
        let point = new(metric, value * scale);
        collected.points.push(match since {
            Some(since) => point.with_period_start(since),
            None => point,
        });
    }
    if collected.points.is_empty() {
        return Err(endpoint.unexpected("current_storage"));
    }
    Ok(collected)
}

/// Runs a command without arguments that answers with a text.
fn command(endpoint: &Endpoint, name: &str, timeout: Duration) -> Result<String, CollectorError> {
    let body = serde_json::json!([name]).to_string().into_bytes();
    let request = Request::post_json(endpoint.url("")?, body).bearer(&endpoint.key);
    let answer = endpoint.json(endpoint.send(request, timeout)?)?;
    match answer.get("result") {
        Some(Value::String(text)) => Ok(text.clone()),
        _ if answer.get("error").is_some() => {
            let hint = format!("set a token that may run {name}");
            Err(endpoint.error(format_args!("refuses {name}"), &hint))
        }
        _ => Err(endpoint.unexpected("result")),
    }
}
