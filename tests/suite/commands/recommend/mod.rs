//! `recommend` and its subcommands.

mod lifecycle;
