//! `usagectl` keeps an application's API-usage and infrastructure monitoring database: it migrates
//! and rolls back the schema, records usage piped in, rolls it up, raises alerts, holds limits, collects
//! infrastructure metrics and recommends upgrades.
//!
//! This library is the whole program; `main.rs` only returns its exit code. A call flows like this:
//!
//! ```text
//! cli         parses the arguments into domain values, reads the clock once, dispatches
//! context     what a command is handed: the database to open, now, where to print
//! commands    the story of each command: fetch, decide, save, answer
//! domain      the decisions: values in, values out; knows no database, terminal or clock
//! ingest      bytes in, checked records out
//! collectors  metrics, from where they are measured
//! notify      notices to their channels
//! llm         prose by a language model, if one is asked
//! http        requests to other servers, under one policy
//! store       rows in, rows out; both engines, each query written once
//! output      a finished answer as a table, JSON or CSV
//! error       kinds of error and the one table of exit codes
//! ```
//!
//! `cli -> commands -> domain <- store`; commands also call `store`, `ingest`, `collectors`, `notify`,
//! `llm` and `output`; `output` reads `domain` only.

pub mod args;
pub mod cli;
pub mod collectors;
pub mod commands;
pub mod context;
pub mod domain;
pub mod error;
pub mod http;
pub mod ingest;
pub mod llm;
pub mod notify;
pub mod output;
pub mod store;
