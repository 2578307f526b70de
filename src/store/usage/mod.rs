//! Usage rows, the hours they make dirty, and the roll-ups.

pub mod aggregates;
mod bulk;
pub mod dirty;
pub mod insert;
pub mod lookback;
pub mod partitions;
pub mod prune;
pub mod read;
pub mod rollups;
pub mod second_reader;
pub mod settings;
