//! Alerting, decided: what a rule is, what it says of the data, what is told to whom.

pub mod notice;
pub mod rule;
