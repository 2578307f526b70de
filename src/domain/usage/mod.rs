//! API usage: the records, their roll-ups into hours, days and months, and statistics over any window.

pub mod aggregate_row;
pub mod aggregate_step;
pub mod batch;
pub mod credits;
pub mod endpoint;
pub mod fingerprint;
pub mod histogram;
pub mod partitions;
pub mod read_plan;
pub mod record;
pub mod replaced_parts;
pub mod retention;
pub mod rollup;
pub mod settings;
pub mod stats;
