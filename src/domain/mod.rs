//! The decisions: plain values in, plain values out. Nothing here knows clap, Diesel, a terminal or a
//! clock, so everything here can be tested with values alone.

pub mod alert;
pub mod batch;
pub mod catalogue;
pub mod collector;
pub mod counter;
pub mod credits;
pub mod focus;
pub mod forecast;
pub mod histogram;
pub mod id;
pub mod infrastructure;
pub mod metric;
pub mod metric_day;
pub mod metric_forecast;
pub mod migration;
pub mod period;
pub mod plans;
pub mod published;
pub mod recommendation;
pub mod rollup;
pub mod slices;
pub mod stats;
pub mod status;
pub mod step;
pub mod usage;
