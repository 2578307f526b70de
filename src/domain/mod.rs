//! The decisions: plain values in, plain values out. Nothing here knows clap, Diesel, a terminal or a
//! clock, so everything here can be tested with values alone.

pub mod alert;
pub mod api_name;
pub mod capacity;
pub mod forecast;
pub mod format;
pub mod id;
pub mod metrics;
pub mod moment;
pub mod nagios;
pub mod named;
pub mod nearest;
pub mod period;
pub mod plans;
pub mod recommendation;
pub mod run_lock;
pub mod schema;
#[cfg(test)]
pub(crate) mod testing;
pub mod usage;
pub mod zone;
