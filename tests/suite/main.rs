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
#![allow(
    clippy::disallowed_methods,
    reason = "tests write the instants of their input"
)]

mod architecture;
mod commands;
mod errors;
mod examples;
mod forecast;
mod heartbeat;
mod help;
mod http;
mod json_docs;
mod migrations;
mod pooler;
mod proxy;
mod readme;
mod schema;
mod store;
mod support;
mod support_test;
