//! `alerts`, a file for each part of it.

mod backtest;
mod channel;
mod check;
mod deliver;
mod history;
mod overview;
mod rules;
mod silence;
