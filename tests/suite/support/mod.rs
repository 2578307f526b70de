//! What every test stands on: a database of its own on either engine, and the program run in clean
//! surroundings.
//!
//! A test of the database is written once, inside [`both_engines!`], and runs twice.

pub mod alertmanager;
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

/// Makes a module of two tests, `sqlite` and `postgresql`, out of one body that is handed a migrated database.
macro_rules! both_engines {
    ($($(#[$about:meta])* fn $name:ident($db:ident : $type:ty) $body:block)+) => {
        $crate::support::both_engines_from!(migrated: $($(#[$about])* fn $name($db: $type) $body)+);
    };
}

/// As [`both_engines!`], on a database that nobody has migrated; on SQLite there is no file yet.
macro_rules! both_engines_empty {
    ($($(#[$about:meta])* fn $name:ident($db:ident : $type:ty) $body:block)+) => {
        $crate::support::both_engines_from!(empty: $($(#[$about])* fn $name($db: $type) $body)+);
    };
}

macro_rules! both_engines_from {
    ($state:ident: $($(#[$about:meta])* fn $name:ident($db:ident : $type:ty) $body:block)+) => {
        $(
            $(#[$about])*
            mod $name {
                #[allow(unused_imports, reason = "a body may need nothing from its module")]
                use super::*;

                fn check($db: $type) {
                    // Both engines are to answer alike.
                    insta::allow_duplicates! { $body }
                }

                #[test]
                fn sqlite() {
                    check($crate::support::TestDatabase::$state($crate::support::Engine::Sqlite));
                }

                #[test]
                fn postgresql() {
                    check($crate::support::TestDatabase::$state($crate::support::Engine::Postgresql));
                }
            }
        )+
    };
}

pub(crate) use {both_engines, both_engines_empty, both_engines_from};
