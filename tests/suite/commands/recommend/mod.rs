//! `recommend` and its subcommands.

mod forecast;
mod lifecycle;
mod run;
mod show;
mod walk;
