//! The store, one file for each table.

mod usage;
