//! The sources of metrics, and what became of asking one.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::domain::named::{Named, UnknownName};

/// Where metrics come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
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

impl Named for Source {
    const SET: &'static str = "source";
    const ALL: &'static [Source] = &[
        Source::Postgres,
        Source::Redis,
        Source::Upstash,
        Source::Neon,
        Source::Vercel,
        Source::Openai,
        Source::Prometheus,
        Source::Usage,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Source::Postgres => "postgres",
            Source::Redis => "redis",
            Source::Upstash => "upstash",
            Source::Neon => "neon",
            Source::Vercel => "vercel",
            Source::Openai => "openai",
            Source::Prometheus => "prometheus",
            Source::Usage => "usage",
        }
    }
}

impl FromStr for Source {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Source, UnknownName> {
        Source::named(name).ok_or_else(|| {
            let known: Vec<_> = Source::ALL.iter().map(|source| source.as_str()).collect();
            UnknownName {
                name: name.to_owned(),
                set: Self::SET,
                known: known.join(", "),
            }
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a collector found nothing, and what to do about it. Neither holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub message: String,
    pub cure: String,
}

impl Failure {
    /// A failure and its cure.
    pub fn new(message: impl fmt::Display, cure: impl Into<String>) -> Failure {
        Failure {
            message: message.to_string(),
            cure: cure.into(),
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
