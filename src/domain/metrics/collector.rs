//! The sources that metrics are collected from, and the outcome of a run.

use std::fmt;

use chrono::{DateTime, Utc};

use super::names::{Metric, Service};
use super::point::Series;
use crate::domain::named::named;

named! {
    MetricSource, "source" {
        Postgres = "postgres",
        /// A Redis server, over its own protocol.
        Redis = "redis",
        /// Upstash, through its REST or its account API.
        Upstash = "upstash",
        Neon = "neon",
        Vercel = "vercel",
        Openai = "openai",
        /// A Prometheus exporter.
        Prometheus = "prometheus",
        /// The usage recorded in this database.
        Usage = "usage",
    }
}

/// Whether a vendor has the past days of a metric, for `collect run --since`.
pub fn has_history(series: &Series) -> bool {
    use Service::{AiCredits, AiOpenai, VercelKv, VercelPostgres};
    match (series.service, series.metric) {
        (VercelKv, _) => false,
        (VercelPostgres, metric) => matches!(metric, Metric::BandwidthGb | Metric::UsagePercent),
        (AiOpenai | AiCredits, _) => true,
        // Of other providers only bills are known.
        (_, Metric::CostUsd) => series.resource.is_empty(),
        _ => true,
    }
}

/// A source, and the resource that is measured there; empty for the only one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetName {
    pub source: MetricSource,
    pub resource: String,
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.resource.as_str() {
            "" => self.source.fmt(f),
            resource => write!(f, "{} {resource}", self.source),
        }
    }
}

/// Why a collector failed, and how to fix it. Neither text contains a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CollectorError {
    pub message: String,
    pub hint: String,
}

impl CollectorError {
    pub fn new(message: impl fmt::Display, hint: impl Into<String>) -> CollectorError {
        CollectorError {
            message: message.to_string(),
            hint: hint.into(),
        }
    }
}

named! {
    /// The outcome of a collector run.
    RunResult, "run result" {
        Ok = "OK",
        /// The source has no values, which is not a failure.
        Empty = "EMPTY",
        Failed = "FAILED",
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorRun {
    /// The name of its target.
    pub collector: String,
    pub started_at: DateTime<Utc>,
    pub duration_ms: i64,
    pub result: RunResult,
    /// Number of values that were new or changed.
    pub written: i32,
    pub error: Option<String>,
}
