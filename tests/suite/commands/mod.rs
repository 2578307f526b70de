//! Whole commands, one file for each.

mod connection;
mod migrate;
mod record;
mod rollback;
mod status;
