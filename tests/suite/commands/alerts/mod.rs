//! The `alerts` commands.

mod backtest;
mod channel;
mod check;
mod cron;
mod deliver;
mod flood;
mod formats;
mod history;
mod integrations;
mod late_data;
mod no_data;
mod overlap;
mod routing;
mod rules;
mod silence;
mod states;
mod windows;
