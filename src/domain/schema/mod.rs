//! The database schema: its objects, the migrations, plans to apply or revert them, and their status.

pub mod adoption;
pub mod closing;
pub mod dependents;
pub mod dialect;
pub mod index;
pub mod locks;
pub mod manifest;
pub mod meaning;
pub mod migration;
pub mod objects;
pub mod orphaned_triggers;
pub mod place;
pub mod plan;
pub mod prisma;
pub mod rebuild;
pub mod rights;
#[cfg(test)]
mod sample;
pub mod script;
pub mod status;
pub mod value;
