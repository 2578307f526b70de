//! Alerting: rules, their evaluation, and the notifications that follow.

pub mod backtest;
pub mod channel;
pub mod clock;
pub mod condition;
pub mod correction;
pub mod defaults;
pub mod delivery;
pub mod evaluate;
pub mod event;
pub mod gaps;
pub mod history;
pub mod lookup;
pub mod notice;
pub mod notification_policy;
pub mod origin;
pub mod outage;
pub mod reevaluation;
pub mod replacement;
pub mod round;
pub mod route;
pub mod rule;
pub mod series;
pub mod silence;
#[cfg(test)]
mod simulation;
pub mod stage;
pub mod state;
pub mod summary;
pub mod token_url;
pub mod validate;
pub mod window;
pub mod wording;
