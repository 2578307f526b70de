//! The names that nearly every command uses.

pub(super) use clap::Args;

pub(super) use crate::args::example;
pub(super) use crate::context::Context;
pub(super) use crate::domain::format::printable;
pub(super) use crate::error::{Error, Exit, Outcome, Result};
pub(super) use crate::store::db::{Access, Db};
