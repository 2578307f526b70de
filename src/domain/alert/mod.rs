//! Alerting, decided: what a rule is, what it says of the data, what is told to whom.

pub mod channel;
pub mod choice;
pub mod delivery;
pub mod evaluate;
pub mod event;
pub mod notice;
pub mod overview;
pub mod replay;
pub mod rule;
pub mod series;
pub mod silence;
pub mod sound;
pub mod state;
pub mod tell;
pub mod usual;
pub mod window;
