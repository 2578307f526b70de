//! `usagectl_narratives`: the summary that a language model wrote about a recommendation, or why it was refused.

use crate::domain::recommendation::prose::narrative::Narrative;
use crate::store::prelude::*;
use crate::store::schema::usagectl_narratives;

#[derive(AsChangeset, Insertable, Queryable, Selectable)]
#[diesel(table_name = usagectl_narratives, treat_none_as_null = true)]
struct Row {
    recommendation_id: String,
    facts_hash: String,
    model: String,
    text: String,
    refused: Option<String>,
    created_at: UtcTimestamp,
}

pub fn find(db: &mut Db, id: &str) -> QueryResult<Option<Narrative>> {
    let row: Option<Row> = on!(db, |conn| usagectl_narratives::table
        .find(id)
        .select(Row::as_select())
        .first(conn)
        .optional())?;
    Ok(row.map(|row| Narrative {
        facts_hash: row.facts_hash,
        model: row.model,
        text: row.text,
        refused: row.refused,
        created_at: row.created_at.utc(),
    }))
}

/// Inserts the narrative of a recommendation, or replaces the stored one.
pub fn upsert(db: &mut Db, id: &str, narrative: &Narrative) -> QueryResult<()> {
    let row = Row {
        recommendation_id: id.to_owned(),
        facts_hash: narrative.facts_hash.clone(),
        model: narrative.model.clone(),
        text: narrative.text.clone(),
        refused: narrative.refused.clone(),
        created_at: narrative.created_at.into(),
    };
    on!(db, |conn| diesel::insert_into(usagectl_narratives::table)
        .values(&row)
        .on_conflict(usagectl_narratives::recommendation_id)
        .do_update()
        .set(&row)
        .execute(conn))?;
    Ok(())
}
