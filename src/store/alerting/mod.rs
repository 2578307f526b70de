//! Alert rules, their states and events, and the notices that follow.

pub mod channels;
pub mod clock;
pub mod events;
pub mod late_hours;
pub mod notices;
pub mod rules;
pub mod silences;
pub mod states;
pub mod usage;
