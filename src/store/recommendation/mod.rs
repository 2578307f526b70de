//! Recommendations, their history, and what they are made from.

pub mod history;
pub mod inputs;
pub mod narratives;
pub mod recommendations;
