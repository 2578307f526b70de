//! Recommendations, their history, and the user's inputs.

pub mod history;
pub mod inputs;
pub mod recommendations;
pub mod write;
