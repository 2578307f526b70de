//! `recommend` and its subcommands.

mod lifecycle;
mod show;
