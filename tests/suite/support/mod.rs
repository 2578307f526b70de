//! The test support: a database for each test on either engine, and a sandbox for the program.
//!
//! A test of the database takes its engine as `#[values(Sqlite, Postgresql)]` and runs once for each.

pub mod adoption;
pub mod alertmanager;
pub mod alerts;
pub mod calls;
pub mod catalogue;
pub mod database;
pub mod http;
pub mod postgres;
pub mod program;
pub mod recommendations;
pub mod servers;

pub use catalogue::whole_catalogue;
pub use database::{Engine, OtherRole, TestDatabase, wait_for_lock, wait_for_rows};
pub use program::{Program, Run, Running, Sandbox, hide_differences};

/// `insta::assert_snapshot!` with one inline snapshot for both engines.
macro_rules! assert_snapshot {
    ($($arguments:tt)*) => {
        insta::allow_duplicates! { insta::assert_snapshot!($($arguments)*) }
    };
}

pub(crate) use assert_snapshot;
