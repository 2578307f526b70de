//! The store, one file for each table.

mod notices;
mod recommendations;
mod usage;
