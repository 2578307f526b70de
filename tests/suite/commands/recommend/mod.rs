//! `recommend` and its subcommands.

mod advice;
mod agreement;
mod forecast;
mod lifecycle;
mod notify;
mod prices;
mod run;
mod show;
mod walk;
