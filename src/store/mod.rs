//! The database: rows in, rows out. A folder for each subject, one file for each table, holding its row
//! structs and every query on it. No rule is decided here and nothing is printed.

pub mod alerting;
pub mod db;
pub mod lock;
mod lock_file;
pub mod metrics;
pub mod migrations;
pub mod place;
pub mod plans;
pub mod postgres;
mod prelude;
mod prisma_path;
mod process;
pub mod recommendation;
pub mod rights;
pub mod run_locks;
pub mod schema;
pub mod schema_objects;
pub mod status;
pub mod time;
pub mod tuples;
pub mod types;
pub mod unknown_values;
pub mod unreadable;
pub mod url;
pub mod usage;
pub mod verification;
