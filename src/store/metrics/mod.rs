//! Infrastructure metrics: points, day summaries, counter readings, and collector runs.

pub mod collector_runs;
pub mod counters;
pub mod days;
pub mod points;
pub mod readings;
