//! The database schema: its objects, the migrations, plans to apply or revert them, and their status.

pub mod adoption;
mod meaning;
pub mod migration;
pub mod objects;
pub mod plan;
pub mod prisma;
pub mod rights;
pub mod status;
