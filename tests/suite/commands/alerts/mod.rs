//! `alerts`, a file for each part of it.

mod channel;
mod check;
mod deliver;
mod rules;
