//! The names that nearly every answer uses.

pub(super) use serde::Serialize;

pub(super) use super::columns::{self, Cell, Column};
pub(super) use super::json::{self, object};
pub(super) use super::{Answer, lines};
pub(super) use crate::domain::format;
pub(super) use crate::domain::format::printable;
