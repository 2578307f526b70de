//! The one test program: whole commands, the store and the migrations, on both engines.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, in its helpers too"
)]
#![allow(
    unreachable_pub,
    reason = "nothing is reachable from outside a test program"
)]

mod commands;
mod examples;
mod help;
mod migrations;
mod readme;
mod schema;
mod store;
#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "tests for all of it are still to come"
)]
mod support;
mod support_test;
