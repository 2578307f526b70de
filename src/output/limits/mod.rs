//! The answers of `limits`.

pub mod list;
