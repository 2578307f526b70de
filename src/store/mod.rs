//! The database: rows in, rows out. One file for each table, holding its row structs and every query
//! on it. No rule is decided here and nothing is printed.

pub mod aggregates;
pub mod alert_events;
pub mod alert_states;
pub mod alert_usage;
pub mod alerts;
pub mod api_limits;
pub mod backend;
pub mod catalogue;
pub mod catalogues;
pub mod channels;
pub mod collector_runs;
pub mod counters;
pub mod enums;
pub mod inputs;
pub mod json;
pub mod lenient;
pub mod limits;
pub mod lock;
pub mod marks;
pub mod metric_days;
pub mod metrics;
pub mod migrations;
pub mod narratives;
pub mod notices;
pub mod plan_choices;
pub mod recommendation_history;
pub mod recommendations;
pub mod rollups;
#[expect(missing_docs, reason = "diesel's macro writes the modules")]
pub mod schema;
pub mod silences;
pub mod status;
pub mod time;
pub mod url;
pub mod usage;
pub mod usage_read;
