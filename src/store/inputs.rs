//! `usagectl_inputs`: what only the user knows.

use diesel::prelude::*;

use super::backend::{Db, on};
use super::schema::usagectl_inputs;
use crate::domain::infrastructure::{Named, Service};

/// The value of an input: the one for this service, else the one for all.
///
/// # Errors
///
/// Whatever the engine reports.
pub fn value(db: &mut Db, name: &str, service: Service) -> QueryResult<Option<String>> {
    let found: Vec<(String, String)> = on!(db, |conn| usagectl_inputs::table
        .filter(usagectl_inputs::name.eq(name))
        .filter(usagectl_inputs::service.eq_any([service.as_str(), ""]))
        .select((usagectl_inputs::service, usagectl_inputs::value))
        .load(conn))?;
    // The one for all has no service, and is the least.
    Ok(found.into_iter().max().map(|(_, value)| value))
}
