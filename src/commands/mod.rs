//! The story of each command: fetch, decide, save, answer. One file a command; its arguments stand
//! beside its `run`, and the doc comment on them is its manual page.

pub mod aggregate;
pub mod alerts;
pub mod collect;
pub mod completions;
pub mod limits;
pub mod man;
pub mod migrate;
pub mod recommend;
pub mod record;
pub mod rollback;
pub mod stats;
pub mod status;
