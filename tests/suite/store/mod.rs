//! The store, one file for each table.

mod metrics;
mod notices;
mod recommendations;
mod usage;
