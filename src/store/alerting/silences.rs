//! `usagectl_silences`: periods in which matching rules send no notifications.

use chrono::{DateTime, Utc};

use crate::domain::alert::rule::AlertType;
use crate::domain::alert::silence::Silence;
use crate::store::prelude::*;
use crate::store::schema::usagectl_silences::{self, dsl};

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = usagectl_silences)]
struct Row {
    id: String,
    api_name: Option<String>,
    alert_type: Option<String>,
    alert_id: Option<String>,
    starts_at: UtcTimestamp,
    ends_at: Option<UtcTimestamp>,
    reason: String,
    created_by: String,
    created_at: UtcTimestamp,
    episodes: Option<String>,
}

impl From<&Silence> for Row {
    fn from(silence: &Silence) -> Row {
        let alert_type = silence.alert_type.as_ref();
        Row {
            id: silence.id.clone(),
            api_name: silence.api_name.clone(),
            alert_type: alert_type.map(|alert_type| alert_type.as_str().to_owned()),
            alert_id: silence.alert_id.clone(),
            starts_at: silence.starts_at.into(),
            ends_at: silence.ends_at.map(UtcTimestamp::from),
            reason: silence.reason.clone(),
            created_by: silence.created_by.clone(),
            created_at: silence.created_at.into(),
            episodes: episodes(silence),
        }
    }
}

impl From<Row> for Silence {
    fn from(row: Row) -> Silence {
        Silence {
            id: row.id,
            api_name: row.api_name,
            alert_type: row.alert_type.as_deref().map(AlertType::named),
            alert_id: row.alert_id,
            starts_at: row.starts_at.utc(),
            ends_at: row.ends_at.map(UtcTimestamp::utc),
            reason: row.reason,
            created_by: row.created_by,
            created_at: row.created_at.utc(),
            episodes: row
                .episodes
                .and_then(|ids| serde_json::from_str(&ids).ok())
                .unwrap_or_default(),
        }
    }
}

/// The ids of its episodes as a JSON array, if it has any.
fn episodes(silence: &Silence) -> Option<String> {
    let waits = !silence.episodes.is_empty();
    waits.then(|| serde_json::json!(silence.episodes).to_string())
}

pub fn add(db: &mut Db, silence: &Silence) -> QueryResult<()> {
    let row = Row::from(silence);
    on!(db, |conn| diesel::insert_into(dsl::usagectl_silences)
        .values(&row)
        .execute(conn))?;
    Ok(())
}

/// The silences that end after `at`, by creation.
pub fn find_unexpired(db: &mut Db, at: DateTime<Utc>) -> QueryResult<Vec<Silence>> {
    let rows: Vec<Row> = on!(db, |conn| dsl::usagectl_silences
        .filter(
            dsl::ends_at
                .gt(UtcTimestamp::new(at))
                .or(dsl::ends_at.is_null())
        )
        .order((dsl::created_at, dsl::id))
        .select(Row::as_select())
        .load(conn))?;
    Ok(rows.into_iter().map(Silence::from).collect())
}

/// All silences, by creation.
pub fn all(db: &mut Db) -> QueryResult<Vec<Silence>> {
    find_unexpired(db, DateTime::<Utc>::UNIX_EPOCH)
}

/// Ends a silence that has not ended; returns whether there is one. A silence that has not begun ends at its start.
pub fn expire(db: &mut Db, id: &str, at: DateTime<Utc>) -> QueryResult<bool> {
    let found = find_unexpired(db, at)?;
    let Some(silence) = found.into_iter().find(|silence| silence.id == id) else {
        return Ok(false);
    };
    let end = silence.starts_at.max(at);
    let ended = on!(db, |conn| diesel::update(dsl::usagectl_silences)
        .filter(dsl::id.eq(id))
        .set(dsl::ends_at.eq(Some(UtcTimestamp::new(end))))
        .execute(conn))?;
    Ok(ended > 0)
}

/// Saves the end and the episodes of a silence, unless it was ended since.
pub fn follow(db: &mut Db, silence: &Silence) -> QueryResult<()> {
    on!(db, |conn| diesel::update(dsl::usagectl_silences)
        .filter(dsl::id.eq(&silence.id))
        .filter(dsl::ends_at.is_null())
        .set((
            dsl::ends_at.eq(silence.ends_at.map(UtcTimestamp::from)),
            dsl::episodes.eq(episodes(silence)),
        ))
        .execute(conn))?;
    Ok(())
}
