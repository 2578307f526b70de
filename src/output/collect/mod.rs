//! What `collect` answers; one file for each answer.

mod import;

pub use import::Imported;
