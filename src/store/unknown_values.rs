//! Values of the application's enums that this version does not know.
//!
//! The application may add services, metrics, priorities and statuses. A row with such a value is left out of
//! every answer, never changed, and its value remembered for a warning at the end of the command.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::error::Error as StdError;

use diesel::prelude::*;
use diesel::result::Error as DieselError;

use super::db::{Db, on};
use super::tuples::LoadTuples;
use crate::domain::metrics::names::{Metric, Priority, Service, Status};
use crate::domain::named::{Named, UnknownName};
use crate::domain::schema::status::UnknownValue;

thread_local! {
    /// Sets and the unknown names in them.
    static SKIPPED: RefCell<BTreeSet<(&'static str, String)>> = const { RefCell::new(BTreeSet::new()) };
}

/// The unknown names that were met since the last call, with the sets they were expected in.
pub fn take_skipped() -> BTreeSet<(&'static str, String)> {
    SKIPPED.take()
}

/// Remembers an unknown name for [`take_skipped`].
fn skip(set: &'static str, name: &str) {
    SKIPPED.with_borrow_mut(|skipped| skipped.insert((set, name.to_owned())));
}

/// The member of a set, or nothing for an unknown name, which is remembered.
pub fn known<T: Named>(name: &str) -> Option<T> {
    let member = T::named(name);
    if member.is_none() {
        skip(T::SET, name);
    }
    member
}

/// The rows without unknown names.
pub fn known_rows<T>(rows: impl Iterator<Item = QueryResult<T>>) -> QueryResult<Vec<T>> {
    let mut known = Vec::new();
    for row in rows {
        match row {
            Ok(row) => known.push(row),
            Err(error) => match unknown_name(&error) {
                Some(unknown) => skip(unknown.set, &unknown.name),
                None => return Err(error),
            },
        }
    }
    Ok(known)
}

fn unknown_name(error: &DieselError) -> Option<&UnknownName> {
    let DieselError::DeserializationError(error) = error else {
        return None;
    };
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&**error);
    while let Some(error) = cause {
        if let Some(unknown) = error.downcast_ref() {
            return Some(unknown);
        }
        cause = error.source();
    }
    None
}

/// The SQL condition that the value of a column is known.
pub fn is_known<T: Named>(column: &str) -> String {
    let names: Vec<String> = T::ALL
        .iter()
        .map(|member| format!("'{}'", member.as_str()))
        .collect();
    format!("CAST({column} AS TEXT) IN ({})", names.join(", "))
}

/// Reads the unknown values in the application's infrastructure tables.
pub fn find(db: &mut Db) -> QueryResult<Vec<UnknownValue>> {
    let query = include_str!("unknown_values.sql");
    let found: Vec<(String, String)> = on!(db, |conn| diesel::sql_query(query).rows(conn))?;
    let is_known = |place: &str, value: &str| match place.rsplit('.').next() {
        Some("service") => Service::named(value).is_some(),
        Some("metric") => Metric::named(value).is_some(),
        Some("priority") => Priority::named(value).is_some(),
        _ => Status::named(value).is_some(),
    };
    let found = found
        .into_iter()
        .filter(|(column, value)| !is_known(column, value));
    let unknown = found.map(|(column, value)| UnknownValue { column, value });
    Ok(unknown.collect())
}
