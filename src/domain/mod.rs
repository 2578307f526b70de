//! The decisions: plain values in, plain values out. Nothing here knows clap, Diesel, a terminal or a
//! clock, so everything here can be tested with values alone.

pub mod catalogue;
pub mod histogram;
pub mod id;
pub mod migration;
pub mod period;
pub mod rollup;
pub mod usage;
