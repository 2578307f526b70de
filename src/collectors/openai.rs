//! OpenAI's costs, by whole days. They require an administrator's key, which has a variable of its own.

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::Value;

use super::vendor::query;
use super::{CollectContext, Collected, Collector, Endpoint, points_at};
use crate::domain::format::parse_decimal;
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{Reading, midnight};

#[derive(Clone, Debug)]
pub struct OpenAi {
    pub endpoint: Endpoint,
    /// All projects without it.
    pub project: Option<String>,
}

/// The days that fit on one page, and that are read at most.
const PAGE_DAYS: i64 = 180;

/// Many pages mean a server that repeats itself.
const MAX_PAGES: usize = 10;

impl Collector for OpenAi {
    fn source(&self) -> MetricSource {
        MetricSource::Openai
    }

    fn address(&self) -> String {
        self.project.clone().unwrap_or_default()
    }

    fn collect(&self, context: &CollectContext) -> Result<Collected, CollectorError> {
        let mut collected = Collected {
            revises: true,
            ..Collected::default()
        };
        let mut page: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let path = self.path(context, page.as_deref());
            let answer = self.endpoint.get_json(&path, context.timeout)?;
            for day in self.endpoint.list(&answer, "data")? {
                let (at, cost) = self.day_cost(day, context.now)?;
                let new = points_at(MetricSource::Openai, Service::AiOpenai, at);
                let cost = new(Metric::CostUsd, cost).with_reading(Reading::Amount);
                collected.points.push(cost);
            }
            let has_more = answer.get("has_more").and_then(Value::as_bool);
            match answer.get("next_page").and_then(Value::as_str) {
                Some(next) if page.as_deref() == Some(next) => break,
                Some(next) => page = Some(next.to_owned()),
                None if has_more == Some(true) => {
                    return Err(self.endpoint.unexpected("next_page"));
                }
                None => return Ok(collected),
            }
        }
        Err(self.endpoint.too_many_pages(MAX_PAGES))
    }
}

impl OpenAi {
    fn path(&self, context: &CollectContext, page: Option<&str>) -> String {
        let start = context.first_day(TimeDelta::days(PAGE_DAYS)).timestamp();
        let path =
            format!("/v1/organization/costs?start_time={start}&bucket_width=1d&limit={PAGE_DAYS}");
        path + &query(&[("project_ids", self.project.as_deref()), ("page", page)])
    }

    /// The cost of a day in US dollars: zero without results.
    fn day_cost(
        &self,
        day: &Value,
        now: DateTime<Utc>,
    ) -> Result<(DateTime<Utc>, f64), CollectorError> {
        let unexpected = |field: &str| self.endpoint.unexpected(field);
        let start = day.get("start_time").and_then(Value::as_i64);
        let start = start.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let start = start.filter(|at| *at <= now + TimeDelta::days(1));
        let start = start.ok_or_else(|| unexpected("start_time"))?;
        let mut sum = Decimal::ZERO;
        for result in self.endpoint.list(day, "results")? {
            let currency = result.pointer("/amount/currency").and_then(Value::as_str);
            if !currency.is_some_and(|currency| currency.eq_ignore_ascii_case("usd")) {
                return Err(unexpected("amount.currency"));
            }
            let value = match result.pointer("/amount/value") {
                Some(Value::Number(number)) => number.to_string(),
                Some(Value::String(text)) => text.clone(),
                _ => return Err(unexpected("amount.value")),
            };
            let value = parse_decimal(&value).ok_or_else(|| unexpected("amount.value"))?;
            sum = sum.saturating_add(value);
        }
        let sum = sum.to_f64().ok_or_else(|| unexpected("amount.value"))?;
        Ok((midnight(start), sum))
    }
}
