//! `usagectl_inputs`: what only the user knows.

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use crate::domain::metrics::names::Service;
use crate::domain::named::Named;
use crate::domain::recommendation::inputs::Given;
use crate::store::db::{Db, on};
use crate::store::schema::usagectl_inputs;
use crate::store::time::UtcTimestamp;

/// The value of an input: the one for this service, else the one for all.
pub fn value(db: &mut Db, name: &str, service: Service) -> QueryResult<Option<String>> {
    let found: Vec<(String, String)> = on!(db, |conn| usagectl_inputs::table
        .filter(usagectl_inputs::name.eq(name))
        .filter(usagectl_inputs::service.eq_any([service.as_str(), ""]))
        .select((usagectl_inputs::service, usagectl_inputs::value))
        .load(conn))?;
    // The one for all has no service, and is the least.
    Ok(found.into_iter().max().map(|(_, value)| value))
}

/// All that were given, by name and service.
pub fn all(db: &mut Db) -> QueryResult<Vec<Given>> {
    let rows: Vec<(String, String, String, String)> = on!(db, |conn| usagectl_inputs::table
        .select((
            usagectl_inputs::name,
            usagectl_inputs::service,
            usagectl_inputs::value,
            usagectl_inputs::updated_by,
        ))
        .order((usagectl_inputs::name, usagectl_inputs::service))
        .load(conn))?;
    let given = rows
        .into_iter()
        .filter_map(|(name, service, value, updated_by)| {
            Some(Given {
                name,
                service: match service.as_str() {
                    "" => None,
                    // A service of a later version is none of ours to use.
                    name => Some(Service::named(name)?),
                },
                value,
                updated_by,
            })
        });
    Ok(given.collect())
}

/// Writes an input over what was given before.
pub fn set(db: &mut Db, given: &Given, now: DateTime<Utc>) -> QueryResult<()> {
    let service = given.service.map_or("", Service::as_str);
    let values = (
        usagectl_inputs::value.eq(&given.value),
        usagectl_inputs::updated_by.eq(&given.updated_by),
        usagectl_inputs::updated_at.eq(UtcTimestamp::new(now)),
    );
    on!(db, |conn| diesel::insert_into(usagectl_inputs::table)
        .values((
            usagectl_inputs::name.eq(&given.name),
            usagectl_inputs::service.eq(service),
            values,
        ))
        .on_conflict((usagectl_inputs::name, usagectl_inputs::service))
        .do_update()
        .set(values)
        .execute(conn))?;
    Ok(())
}

/// Forgets an input, and returns whether there was one.
pub fn remove(db: &mut Db, name: &str, service: Option<Service>) -> QueryResult<bool> {
    let service = service.map_or("", Service::as_str);
    let removed = on!(db, |conn| diesel::delete(
        usagectl_inputs::table.find((name, service))
    )
    .execute(conn))?;
    Ok(removed > 0)
}
