//! The names that nearly every table's module uses.

pub(super) use diesel::prelude::*;

pub(super) use super::db::{Db, on};
pub(super) use super::time::UtcTimestamp;
pub(super) use super::tuples::LoadTuples as _;
pub(super) use crate::domain::named::Named;
