//! `alerts`, a file for each part of it.

mod check;
mod rules;
