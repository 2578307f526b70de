//! The store, one file for each table.

mod recommendations;
mod usage;
