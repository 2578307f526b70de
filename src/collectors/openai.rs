//! OpenAI's costs, in whole days. The key is an administrator's, which is why it has a variable of its own.

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::Value;

use super::vendor::encoded;
use super::{CollectContext, Collected, Collector, Endpoint, point};
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{Reading, midnight};

/// How OpenAI is asked.
#[derive(Clone, Debug)]
pub struct OpenAi {
    pub endpoint: Endpoint,
    /// One project; all if there is none.
    pub project: Option<String>,
}

/// Days that may still be revised.
const LAST_DAYS: TimeDelta = TimeDelta::days(3);

/// Four days fit on one page; more than a few are a server that goes round in a circle.
const MOST_PAGES: usize = 10;

impl Collector for OpenAi {
    fn source(&self) -> MetricSource {
        MetricSource::Openai
    }

    fn collect(&self, moment: &CollectContext) -> Result<Collected, CollectorError> {
        let mut told = Collected {
            revises: true,
            ..Collected::default()
        };
        let mut page: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let answer = self
                .endpoint
                .get(&self.path(moment.now, page.as_deref()), moment.timeout)?;
            let answer = self.endpoint.json(answer)?;
            let days = answer.get("data").and_then(Value::as_array);
            for day in days.ok_or_else(|| self.endpoint.unexpected("data"))? {
                let Some((at, cost)) = self.day(day)? else {
                    continue;
                };
                let cost = point(
                    MetricSource::Openai,
                    Service::AiOpenai,
                    Metric::CostUsd,
                    cost,
                    at,
                );
                told.points.push(cost.with_reading(Reading::Amount));
            }
            page = answer
                .get("next_page")
                .and_then(Value::as_str)
                .map(str::to_owned);
            if page.is_none() {
                return Ok(told);
            }
        }
        Err(self
            .endpoint
            .failure("its answer has no last page", "run it again later"))
    }
}

impl OpenAi {
    fn path(&self, now: DateTime<Utc>, page: Option<&str>) -> String {
        let start = (midnight(now) - LAST_DAYS).timestamp();
        let mut path =
            format!("/v1/organization/costs?start_time={start}&bucket_width=1d&limit=31");
        for (name, value) in [("project_ids", self.project.as_deref()), ("page", page)] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        path
    }

    /// The cost of a day. A day without results tells nothing.
    fn day(&self, day: &Value) -> Result<Option<(DateTime<Utc>, f64)>, CollectorError> {
        let unexpected = |field: &str| self.endpoint.unexpected(field);
        let start = day.get("start_time").and_then(Value::as_i64);
        let start = start.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let start = start.ok_or_else(|| unexpected("start_time"))?;
        let results = day.get("results").and_then(Value::as_array);
        let results = results.ok_or_else(|| unexpected("results"))?;
        let mut sum = Decimal::ZERO;
        for result in results {
            let currency = result.pointer("/amount/currency").and_then(Value::as_str);
            if !currency.is_some_and(|currency| currency.eq_ignore_ascii_case("usd")) {
                return Err(unexpected("amount.currency"));
            }
            let value = match result.pointer("/amount/value") {
                Some(Value::Number(number)) => number.to_string(),
                Some(Value::String(text)) => text.clone(),
                _ => return Err(unexpected("amount.value")),
            };
            let value = Decimal::from_str(&value).or_else(|_| Decimal::from_scientific(&value));
            let value = value.map_err(|_| unexpected("amount.value"))?;
            sum = sum.saturating_add(value);
        }
        let sum = (!results.is_empty()).then_some(sum);
        Ok(sum.and_then(|sum| Some((midnight(start), sum.to_f64()?))))
    }
}
