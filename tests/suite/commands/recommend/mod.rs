//! `recommend` and its subcommands.

mod forecast;
mod lifecycle;
mod show;
