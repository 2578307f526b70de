//! `usagectl` manages an application's API-usage and infrastructure monitoring database: it migrates and
//! rolls back the schema, records and aggregates usage, raises alerts, checks limits, collects
//! infrastructure metrics and recommends upgrades.
//!
//! This library is the whole program; `main.rs` only returns its exit code.
//!
//! ```text
//! cli         parses the arguments, reads the clock once, dispatches, prints errors
//! args        flag types and groups that several commands share
//! context     the environment of a command: database, current time, output streams
//! commands    each command: fetch, decide, save, answer
//! domain      decisions as pure functions, without database, terminal or clock
//! ingest      parses and checks usage records and metric points
//! collectors  read metrics from services and APIs
//! notify      transports for notifications
//! llm         optional prose by a language model
//! http        the HTTP client and its security policy
//! dot_env     variables in a `.env` file
//! store       tables and queries for both engines
//! output      answers as table, JSON or CSV
//! error       errors and the table of exit codes
//! fault       places at which a test ends a debug build
//! ```
//!
//! Which module may import which, and how data flows, is described in `docs/ARCHITECTURE.md`.

pub mod args;
pub mod cli;
pub mod collectors;
pub mod commands;
pub mod context;
pub mod domain;
mod dot_env;
pub mod error;
pub mod fault;
pub mod http;
pub mod ingest;
pub mod llm;
pub mod notify;
pub mod output;
pub mod store;
