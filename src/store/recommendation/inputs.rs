//! `usagectl_inputs`: the user's business inputs.

use chrono::{DateTime, Utc};

use crate::domain::metrics::names::Service;
use crate::domain::recommendation::inputs::{InputName, StoredInput};
use crate::store::prelude::*;
use crate::store::schema::usagectl_inputs;

/// All inputs, ordered by name and service.
pub fn all(db: &mut Db) -> QueryResult<Vec<StoredInput>> {
    let rows: Vec<(String, String, String, String)> = on!(db, |conn| usagectl_inputs::table
        .select((
            usagectl_inputs::name,
            usagectl_inputs::service,
            usagectl_inputs::value,
            usagectl_inputs::updated_by,
        ))
        .order((usagectl_inputs::name, usagectl_inputs::service))
        .load(conn))?;
    let input = |(name, service, value, updated_by): (_, String, _, _)| {
        Some(StoredInput {
            name,
            service: match service.as_str() {
                "" => None,
                // A service of a later version is skipped.
                name => Some(Service::named(name)?),
            },
            value,
            updated_by,
        })
    };
    Ok(rows.into_iter().filter_map(input).collect())
}

pub fn upsert(db: &mut Db, input: &StoredInput, now: DateTime<Utc>) -> QueryResult<()> {
    let service = input.service.map_or("", Service::as_str);
    let values = (
        usagectl_inputs::value.eq(&input.value),
        usagectl_inputs::updated_by.eq(&input.updated_by),
        usagectl_inputs::updated_at.eq(UtcTimestamp::new(now)),
    );
    on!(db, |conn| diesel::insert_into(usagectl_inputs::table)
        .values((
            usagectl_inputs::name.eq(&input.name),
            usagectl_inputs::service.eq(service),
            values,
        ))
        .on_conflict((usagectl_inputs::name, usagectl_inputs::service))
        .do_update()
        .set(values)
        .execute(conn))?;
    Ok(())
}

/// Returns whether the input existed.
pub fn remove(db: &mut Db, name: InputName, service: Option<Service>) -> QueryResult<bool> {
    let service = service.map_or("", Service::as_str);
    let removed = on!(db, |conn| diesel::delete(
        usagectl_inputs::table.find((name.as_str(), service))
    )
    .execute(conn))?;
    Ok(removed > 0)
}
