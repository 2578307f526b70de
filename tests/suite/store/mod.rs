//! The store, one file for each table.
