//! `usagectl_recommendation_history`: rows are only ever appended.

use diesel::dsl::max;
use diesel::result::Error::{DeserializationError, SerializationError};

use super::recommendations::parse;
use crate::domain::recommendation::lifecycle::history::Entry;
use crate::store::prelude::*;
use crate::store::schema::usagectl_recommendation_history as history;

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = history)]
struct Row {
    recommendation_id: String,
    number: i32,
    at: UtcTimestamp,
    actor: String,
    actor_kind: String,
    from_status: Option<String>,
    to_status: String,
    note: Option<String>,
    changes: Option<String>,
    catalogue_version: String,
    facts_hash: String,
}

/// Appends entries in order, inside the transaction that wrote the recommendation: its row lock keeps the numbers
/// unique.
pub fn append(db: &mut Db, id: &str, entries: &[Entry]) -> QueryResult<()> {
    let last: Option<i32> = on!(db, |conn| history::table
        .filter(history::recommendation_id.eq(id))
        .select(max(history::number))
        .first(conn))?;
    for (number, entry) in (last.unwrap_or(0) + 1..).zip(entries) {
        let row = row(id, number, entry)?;
        on!(db, |conn| diesel::insert_into(history::table)
            .values(&row)
            .execute(conn))?;
    }
    Ok(())
}

/// The entries of a recommendation, oldest first.
pub fn find(db: &mut Db, id: &str) -> QueryResult<Vec<Entry>> {
    let rows: Vec<Row> = on!(db, |conn| history::table
        .filter(history::recommendation_id.eq(id))
        .order(history::number)
        .select(Row::as_select())
        .load(conn))?;
    rows.into_iter().map(entry).collect()
}

fn row(id: &str, number: i32, entry: &Entry) -> QueryResult<Row> {
    let changes = (!entry.changes.is_empty()).then(|| serde_json::to_string(&entry.changes));
    let changes = changes.transpose();
    Ok(Row {
        recommendation_id: id.to_owned(),
        number,
        at: entry.at.into(),
        actor: entry.actor.clone(),
        actor_kind: entry.actor_kind.as_str().to_owned(),
        from_status: entry.from.map(|status| status.as_str().to_owned()),
        to_status: entry.to.as_str().to_owned(),
        note: entry.note.clone(),
        changes: changes.map_err(|error| SerializationError(error.into()))?,
        catalogue_version: entry.catalogue_version.clone(),
        facts_hash: entry.facts_hash.clone(),
    })
}

fn entry(row: Row) -> QueryResult<Entry> {
    let changes = row.changes.as_deref().map(serde_json::from_str);
    let changes = changes
        .transpose()
        .map_err(|error| DeserializationError(error.into()))?;
    Ok(Entry {
        at: row.at.utc(),
        actor_kind: parse(&row.actor_kind)?,
        actor: row.actor,
        from: row.from_status.as_deref().map(parse).transpose()?,
        to: parse(&row.to_status)?,
        note: row.note,
        changes: changes.unwrap_or_default(),
        catalogue_version: row.catalogue_version,
        facts_hash: row.facts_hash,
    })
}
