//! Whole commands, one file for each.

mod adopt;
mod aggregate;
mod alerts;
mod collect;
mod connection;
mod faults;
mod limits;
mod migrate;
mod plan;
mod presets;
mod prisma_push;
mod prune;
mod recommend;
mod record;
mod record_logs;
mod restore;
mod rights;
mod rollback;
mod sqlite_files;
mod stats;
mod status;
mod time_zones;
