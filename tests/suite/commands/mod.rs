//! Whole commands, one file for each.

mod connection;
mod migrate;
mod rollback;
mod status;
