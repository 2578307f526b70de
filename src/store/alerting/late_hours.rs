//! `usagectl_late_hours`: the hours in which data changed since the last `alerts check`, which evaluates them again.
//!
//! An hour is listed when its dirty hour is taken, by `aggregate` or by the check itself, in the transaction that takes
//! it. A dirty hour is visible together with its row, so a snapshot that shows a late hour also shows the row. The check
//! deletes the ids of its snapshot when it saves its result: if it fails, the next one finds them again.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::store::prelude::*;
use crate::store::schema::{usagectl_dirty_hours, usagectl_late_hours};
use crate::store::time::StoredTimestamp;
use crate::store::usage::dirty;

/// The late hours of a snapshot.
#[derive(Debug, Default)]
pub struct LateHours {
    pub ids: Vec<i64>,
    /// The starts of the hours of each API, in order.
    pub by_api: BTreeMap<String, Vec<DateTime<Utc>>>,
}

/// Whether dirty hours are waiting to be listed.
pub fn is_any_unseen(db: &mut Db) -> QueryResult<bool> {
    let unseen = usagectl_dirty_hours::table.filter(usagectl_dirty_hours::seen.eq(false));
    let found: Option<String> = on!(db, |conn| unseen
        .select(usagectl_dirty_hours::api_name)
        .first(conn)
        .optional())?;
    Ok(found.is_some())
}

/// Lists the dirty hours that changed since they were seen, and marks them as seen; in one transaction. They stay dirty
/// for `aggregate`.
pub fn list_unseen(db: &mut Db) -> QueryResult<()> {
    dirty::lock_for_taking(db)?;
    // On PostgreSQL a dirty hour has a row for each change: they become one.
    let is_late = dirty::is_late(db);
    let statements = match db {
        Db::Pg(_) => vec![format!(
            "WITH changed AS (
                 SELECT DISTINCT api_name, hour FROM usagectl_dirty_hours WHERE NOT seen
             ),
             taken AS (
                 DELETE FROM usagectl_dirty_hours AS dirty USING changed
                 WHERE dirty.api_name = changed.api_name AND dirty.hour = changed.hour
                 RETURNING dirty.api_name, dirty.hour, dirty.deleted_to
             ),
             late AS (
                 INSERT INTO usagectl_late_hours (api_name, hour)
                 SELECT api_name, hour FROM changed AS dirty WHERE {is_late}
             )
             INSERT INTO usagectl_dirty_hours (api_name, hour, seen, deleted_to)
             SELECT api_name, hour, true, max(deleted_to) FROM taken GROUP BY api_name, hour"
        )],
        Db::Sqlite(_) => vec![
            format!(
                "INSERT INTO usagectl_late_hours (api_name, hour)
                 SELECT api_name, hour FROM usagectl_dirty_hours AS dirty WHERE NOT seen AND {is_late}"
            ),
            "UPDATE usagectl_dirty_hours SET seen = 1 WHERE NOT seen".to_owned(),
        ],
    };
    for statement in statements {
        on!(db, |conn| diesel::sql_query(statement).execute(conn))?;
    }
    Ok(())
}

/// All late hours. One that is not a time is listed by its id alone.
pub fn all(db: &mut Db) -> QueryResult<LateHours> {
    let rows: Vec<(i64, String, StoredTimestamp)> =
        on!(db, |conn| usagectl_late_hours::table.load(conn))?;
    let mut late = LateHours::default();
    for (id, api_name, hour) in rows {
        late.ids.push(id);
        if let Some(hour) = hour.instant() {
            late.by_api.entry(api_name).or_default().push(hour);
        }
    }
    for hours in late.by_api.values_mut() {
        hours.sort_unstable();
        hours.dedup();
    }
    Ok(late)
}

/// Fewer than any engine's limit for the values of one statement.
const PER_STATEMENT: usize = 500;

pub fn delete(db: &mut Db, ids: &[i64]) -> QueryResult<()> {
    for ids in ids.chunks(PER_STATEMENT) {
        on!(db, |conn| diesel::delete(usagectl_late_hours::table)
            .filter(usagectl_late_hours::id.eq_any(ids))
            .execute(conn))?;
    }
    Ok(())
}
