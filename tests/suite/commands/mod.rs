//! Whole commands, one file for each.

mod connection;
mod migrate;
