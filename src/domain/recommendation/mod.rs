//! Recommendations, decided: what they say, and what becomes of them.

pub mod history;
pub mod lifecycle;
