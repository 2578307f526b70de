//! The database schema: its objects, the migrations, plans to apply or revert them, and their status.

pub mod migration;
pub mod objects;
pub mod plan;
pub mod status;
