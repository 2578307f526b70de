//! The sources of metrics, and what became of asking one.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::domain::named::{Named, UnknownName};

/// Where metrics come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricSource {
    Postgres,
    /// A Redis server, over its own protocol.
    Redis,
    /// Upstash, by its REST or its account API.
    Upstash,
    Neon,
    Vercel,
    Openai,
    /// An exporter of Prometheus metrics.
    Prometheus,
    /// The usage recorded in this database.
    Usage,
}

impl Named for MetricSource {
    const SET: &'static str = "source";
    const ALL: &'static [MetricSource] = &[
        MetricSource::Postgres,
        MetricSource::Redis,
        MetricSource::Upstash,
        MetricSource::Neon,
        MetricSource::Vercel,
        MetricSource::Openai,
        MetricSource::Prometheus,
        MetricSource::Usage,
    ];

    fn as_str(self) -> &'static str {
        match self {
            MetricSource::Postgres => "postgres",
            MetricSource::Redis => "redis",
            MetricSource::Upstash => "upstash",
            MetricSource::Neon => "neon",
            MetricSource::Vercel => "vercel",
            MetricSource::Openai => "openai",
            MetricSource::Prometheus => "prometheus",
            MetricSource::Usage => "usage",
        }
    }
}

impl FromStr for MetricSource {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<MetricSource, UnknownName> {
        MetricSource::named(name).ok_or_else(|| {
            let known: Vec<_> = MetricSource::ALL
                .iter()
                .map(|source| source.as_str())
                .collect();
            UnknownName {
                name: name.to_owned(),
                set: Self::SET,
                known: known.join(", "),
            }
        })
    }
}

impl fmt::Display for MetricSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a collector found nothing, and what to do about it. Neither holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CollectorError {
    pub message: String,
    pub hint: String,
}

impl CollectorError {
    /// A failure and its hint.
    pub fn new(message: impl fmt::Display, hint: impl Into<String>) -> CollectorError {
        CollectorError {
            message: message.to_string(),
            hint: hint.into(),
        }
    }
}

/// How a run of a collector ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunResult {
    Ok,
    /// It was answered that there is nothing to tell, which is no failure.
    Empty,
    Failed,
}

impl RunResult {
    /// The word for it, in the table and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            RunResult::Ok => "OK",
            RunResult::Empty => "EMPTY",
            RunResult::Failed => "FAILED",
        }
    }
}

/// A run of a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorRun {
    pub collector: String,
    pub started_at: DateTime<Utc>,
    pub duration_ms: i64,
    pub result: RunResult,
    /// How many values it wrote that were not there before, or other.
    pub written: i32,
    pub error: Option<String>,
}
