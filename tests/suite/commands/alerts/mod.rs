//! The `alerts` commands.

mod backtest;
mod channel;
mod check;
mod deliver;
mod formats;
mod history;
mod late_data;
mod rules;
mod silence;
mod states;
