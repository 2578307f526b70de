//! What a collector did, once.

use chrono::{DateTime, Utc};

/// How a run of a collector ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunResult {
    /// It found something.
    Ok,
    /// It was answered that there is nothing to tell, which is no failure.
    Empty,
    /// It failed.
    Failed,
}

impl RunResult {
    /// The word for it, in the table and in answers.
    #[must_use]
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
    /// Which collector.
    pub collector: String,
    /// When.
    pub started_at: DateTime<Utc>,
    /// How long it took.
    pub duration_ms: i64,
    /// How it ended.
    pub result: RunResult,
    /// How many values it wrote that were not there before, or other.
    pub written: i32,
    /// Why it failed.
    pub error: Option<String>,
}
