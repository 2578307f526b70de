//! Alert rules, their states and events, and the notices that follow.

pub mod channels;
pub mod events;
pub mod notices;
pub mod rules;
pub mod silences;
pub mod states;
pub mod usage;
