//! What every test stands on: a database of its own on either engine, and the program run in clean
//! surroundings.
//!
//! A test of the database takes its engine as `#[values(Sqlite, Postgresql)]` and runs once for each.

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
pub use database::{Engine, OtherRole, TestDatabase};
pub use program::{Run, Sandbox, hide_differences};

/// `insta::assert_snapshot!`, which both engines may reach: an inline snapshot is the same for both.
macro_rules! assert_snapshot {
    ($($arguments:tt)*) => {
        insta::allow_duplicates! { insta::assert_snapshot!($($arguments)*) }
    };
}

pub(crate) use assert_snapshot;
