//! The triggers on `api_usage` and the dirty hours they write: `usagectl_dirty_hours`, and on SQLite
//! `usagectl_odd_timestamps`.
//!
//! A row and its dirty hour become visible together. A run that takes the dirty hours it sees and then reads
//! the rows therefore misses none: a row that commits later brings a dirty hour of its own.
//!
//! One change writes no dirty hour: SQLite's UPDATE OR REPLACE, when it changes the id of a row to that of another.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::dsl::{count_star, sql};
use diesel::sql_types::{BigInt, Bool, Nullable, Text, Timestamp};

use crate::domain::period::{Granularity, Window};
use crate::domain::usage::retention;
use crate::domain::usage::rollup::ApiPeriod;
use crate::store::prelude::*;
use crate::store::schema::{api_usage, usagectl_dirty_hours, usagectl_odd_timestamps};
use crate::store::time::{StoredTimestamp, TimeBoundary};

/// What the text of a canonical timestamp matches, as in the triggers.
pub(super) const CANONICAL: &str = "GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'";

/// Keeps another run from taking dirty hours until the end of the transaction; the triggers go on writing them.
pub fn lock_for_taking(db: &mut Db) -> QueryResult<()> {
    match db {
        Db::Pg(postgres) => {
            postgres.batch_execute("LOCK TABLE usagectl_dirty_hours IN SHARE UPDATE EXCLUSIVE MODE")
        }
        // Writers take turns.
        Db::Sqlite(_) => Ok(()),
    }
}

/// Marks hours of APIs, as the triggers of SQLite do for an inserted row.
pub(super) fn mark<'a>(
    conn: &mut SqliteConnection,
    hours: impl Iterator<Item = (&'a str, DateTime<Utc>)>,
) -> QueryResult<()> {
    use usagectl_dirty_hours::dsl;
    for (api_name, hour) in hours {
        let hour = dsl::hour.eq(UtcTimestamp::new(hour));
        diesel::insert_into(dsl::usagectl_dirty_hours)
            .values((dsl::api_name.eq(api_name), hour))
            .on_conflict((dsl::api_name, dsl::hour))
            .do_update()
            .set(dsl::seen.eq(false))
            .execute(conn)?;
    }
    Ok(())
}

/// Marks hours that differ from their fingerprints. Rows may have been deleted, now or until the hour is counted, at an
/// unknown time: the start of the hour is taken.
pub(super) fn mark_compared(db: &mut Db, hours: &[&ApiPeriod]) -> QueryResult<()> {
    use usagectl_dirty_hours::dsl;
    let mark = |hour: &&ApiPeriod| {
        let start = UtcTimestamp::new(hour.start);
        (
            dsl::api_name.eq(hour.api_name.clone()),
            dsl::hour.eq(start),
            dsl::deleted_to.eq(Some(start)),
        )
    };
    // Of one statement; SQLite allows 32,766 values.
    for hours in hours.chunks(5_000) {
        let marks: Vec<_> = hours.iter().map(mark).collect();
        match db {
            Db::Pg(postgres) => postgres.run(|conn| {
                diesel::insert_into(dsl::usagectl_dirty_hours)
                    .values(marks)
                    .execute(conn)
            })?,
            Db::Sqlite(conn) => diesel::replace_into(dsl::usagectl_dirty_hours)
                .values(marks)
                .execute(conn)?,
        };
    }
    Ok(())
}

/// Whether `alerts check` evaluates the hour of `dirty` again. Not an hour without all of its rows: the minutes in it are
/// unknown.
pub fn is_late(db: &Db) -> &'static str {
    match db {
        Db::Pg(_) => {
            "dirty.api_name IN (SELECT api_name FROM usagectl_alert_states)
             AND dirty.hour >= '0001-01-01' AND dirty.hour < '10000-01-01'
             AND NOT EXISTS (
                 SELECT 1 FROM usagectl_rollups AS gone
                 WHERE gone.aggregation_type IN ('SEALED', 'UNDECIDED') AND gone.scope = 'API'
                   AND gone.api_name = dirty.api_name
                   AND gone.period_start >= dirty.hour AND gone.period_start < dirty.hour + interval '1 hour'
             )"
        }
        Db::Sqlite(_) => {
            "dirty.api_name IN (SELECT api_name FROM usagectl_alert_states)
             AND NOT EXISTS (
                 SELECT 1 FROM usagectl_rollups AS gone
                 WHERE gone.aggregation_type IN ('SEALED', 'UNDECIDED') AND gone.scope = 'API'
                   AND gone.api_name = dirty.api_name
                   AND gone.period_start >= dirty.hour AND gone.period_start < substr(dirty.hour, 1, 13) || ';'
             )"
        }
    }
}

/// Moves the dirty hours of some APIs, or of all, to the list of stale periods, and those that `alerts check` has not
/// seen also to its list of late hours; in one transaction.
///
/// Dirty hours that no roll-up can have are dropped; [`count_unreadable`] counts their rows.
pub fn move_to_stale(db: &mut Db, apis: &[String]) -> QueryResult<()> {
    // One statement sees one instant: it deletes the dirty hours that it copies, and one that is committed
    // meanwhile stays for the next run.
    let postgres = [format!(
        "WITH taken AS (
             DELETE FROM usagectl_dirty_hours WHERE $1 IS NULL OR api_name = $1
             RETURNING api_name, hour, seen, deleted_to
         ),
         late AS (
             INSERT INTO usagectl_late_hours (api_name, hour)
             SELECT DISTINCT api_name, hour FROM taken AS dirty WHERE NOT seen AND {}
         )
         INSERT INTO usagectl_stale_periods AS stale (aggregation_type, period_start, api_name, deleted_to)
         SELECT 'HOURLY', hour, api_name, max(deleted_to)
         FROM taken
         WHERE hour >= '0001-01-01' AND hour < '10000-01-01' GROUP BY hour, api_name
         ON CONFLICT (aggregation_type, period_start, api_name)
         DO UPDATE SET deleted_to = greatest(stale.deleted_to, excluded.deleted_to)",
        is_late(db)
    )];
    let late = format!(
        "INSERT INTO usagectl_late_hours (api_name, hour)
         SELECT api_name, hour FROM usagectl_dirty_hours AS dirty
         WHERE (?1 IS NULL OR api_name = ?1) AND NOT seen AND {}",
        is_late(db)
    );
    let sqlite = [
        late.as_str(),
        // A date that does not exist comes out of strftime as another one, or as null.
        "INSERT INTO usagectl_stale_periods (aggregation_type, period_start, api_name, deleted_to)
         SELECT 'HOURLY', hour, api_name, deleted_to FROM usagectl_dirty_hours
         WHERE (?1 IS NULL OR api_name = ?1) AND hour >= '0001'
           AND hour = strftime('%Y-%m-%dT%H:00:00.000+00:00', hour)
         ON CONFLICT DO UPDATE SET
             deleted_to = nullif(max(coalesce(deleted_to, ''), coalesce(excluded.deleted_to, '')), '')",
        // Rows with such a date look canonical to the triggers: list them as odd.
        // CROSS JOIN keeps SQLite from beginning with the rows: such dirty hours are rare.
        "INSERT INTO usagectl_odd_timestamps (usage_id, timestamp)
         SELECT id, timestamp
         FROM usagectl_dirty_hours AS dirty
         CROSS JOIN api_usage ON api_usage.api_name = dirty.api_name
           AND timestamp >= substr(dirty.hour, 1, 14) AND timestamp < substr(dirty.hour, 1, 13) || ';'
         WHERE (?1 IS NULL OR dirty.api_name = ?1)
           AND (dirty.hour < '0001' OR dirty.hour IS NOT strftime('%Y-%m-%dT%H:00:00.000+00:00', dirty.hour))
         ON CONFLICT DO NOTHING",
        "DELETE FROM usagectl_dirty_hours WHERE ?1 IS NULL OR api_name = ?1",
    ];
    let statements: Vec<&str> = match db {
        Db::Pg(_) => postgres.iter().map(String::as_str).collect(),
        Db::Sqlite(_) => sqlite.to_vec(),
    };
    lock_for_taking(db)?;
    if let Db::Sqlite(conn) = db {
        // INSERT OR REPLACE put another timestamp in place of the odd one.
        conn.batch_execute(
            "DELETE FROM usagectl_odd_timestamps
             WHERE (hour IS NULL OR hour IN (SELECT hour FROM usagectl_dirty_hours)) AND EXISTS (
                 SELECT 1 FROM api_usage
                 WHERE id = usagectl_odd_timestamps.usage_id AND api_usage.timestamp IS NOT usagectl_odd_timestamps.timestamp
             )",
        )?;
    }
    for api in each(apis) {
        for statement in &statements {
            on!(db, |conn| diesel::sql_query(*statement)
                .bind::<Nullable<Text>, _>(api)
                .execute(conn))?;
        }
    }
    Ok(())
}

/// The number of rows whose timestamp is unreadable or outside the years that are rolled up.
pub fn count_unreadable(db: &mut Db) -> QueryResult<u64> {
    let count: i64 = match db {
        Db::Pg(postgres) => {
            // Two searches of the index; also finds infinity.
            let query = diesel::sql_query(
                "SELECT (SELECT count(*) FROM api_usage WHERE timestamp < $1)
                      + (SELECT count(*) FROM api_usage WHERE timestamp >= $2) AS rows",
            )
            .bind::<Timestamp, _>(TimeBoundary(Window::ALL.from))
            .bind::<Timestamp, _>(TimeBoundary(Window::ALL.to));
            postgres.run(|conn| query.row(conn))?
        }
        Db::Sqlite(conn) => usagectl_odd_timestamps::table
            .filter(usagectl_odd_timestamps::hour.is_null())
            .select(count_star())
            .get_result(conn)?,
    };
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Whether `api_usage` has rows.
pub(super) fn has_rows(db: &mut Db) -> QueryResult<bool> {
    let rows = diesel::dsl::exists(api_usage::table.select(api_usage::id));
    on!(db, |conn| diesel::select(rows).get_result(conn))
}

/// Lists the rows with odd timestamps again: without the triggers none were listed.
pub fn relist_odd_timestamps(db: &mut Db) -> QueryResult<()> {
    match db {
        // PostgreSQL refuses an empty statement.
        Db::Pg(_) => Ok(()),
        Db::Sqlite(_) => db.batch_execute(&relist_sql(db)),
    }
}

/// Lists those of these rows that have an odd timestamp: without the triggers they are not listed.
pub fn list_odd_timestamps(db: &mut Db, ids: &[String]) -> QueryResult<()> {
    let Db::Sqlite(conn) = db else {
        return Ok(());
    };
    let odd = api_usage::table
        .select((api_usage::id, api_usage::timestamp))
        .filter(api_usage::id.eq_any(ids))
        .filter(sql::<Bool>(&format!("timestamp NOT {CANONICAL}")));
    diesel::insert_or_ignore_into(usagectl_odd_timestamps::table)
        .values(odd)
        .into_columns((
            usagectl_odd_timestamps::usage_id,
            usagectl_odd_timestamps::timestamp,
        ))
        .execute(conn)?;
    Ok(())
}

fn relist_sql(db: &Db) -> String {
    match db {
        Db::Pg(_) => String::new(),
        Db::Sqlite(_) => format!(
            "DELETE FROM usagectl_odd_timestamps;
             INSERT INTO usagectl_odd_timestamps (usage_id, timestamp)
             SELECT id, timestamp FROM api_usage
             WHERE timestamp NOT {CANONICAL}
                 OR substr(timestamp, 1, 13) IS NOT strftime('%Y-%m-%dT%H', timestamp);"
        ),
    }
}

/// Marks every hour of `window` that has rows as dirty.
pub fn mark_hours_with_rows(db: &mut Db, window: Window, apis: &[String]) -> QueryResult<()> {
    let statements = mark_statements(db, |at| {
        format!("{at} >= $1 AND {at} < $2 AND ($3 IS NULL OR api_name = $3)")
    });
    for api in each(apis) {
        for statement in &statements {
            on!(db, |conn| diesel::sql_query(statement)
                .bind::<Timestamp, _>(TimeBoundary(window.from))
                .bind::<Timestamp, _>(TimeBoundary(window.to))
                .bind::<Nullable<Text>, _>(api)
                .execute(conn))?;
        }
    }
    Ok(())
}

/// The statements that list all rows with odd timestamps again and mark every hour that has rows as dirty.
pub fn mark_all_sql(db: &Db) -> String {
    let marks = mark_statements(db, |at| format!("{at} IS NOT NULL"));
    let marks = marks.iter().map(|statement| format!("{statement};\n"));
    relist_sql(db) + &marks.collect::<String>()
}

/// The statements that mark hours; `condition` selects rows by a column with their time.
fn mark_statements(db: &Db, condition: impl Fn(&str) -> String) -> Vec<String> {
    let of_rows = condition("timestamp");
    match db {
        Db::Pg(_) => vec![format!(
            "INSERT INTO usagectl_dirty_hours (api_name, hour)
             SELECT DISTINCT api_name, date_trunc('hour', timestamp) FROM api_usage
             WHERE {of_rows}"
        )],
        Db::Sqlite(_) => vec![
            format!(
                "INSERT INTO usagectl_dirty_hours (api_name, hour)
                 SELECT DISTINCT api_name, substr(timestamp, 1, 13) || ':00:00.000+00:00' FROM api_usage
                 WHERE {of_rows} AND timestamp {CANONICAL}
                 ON CONFLICT DO NOTHING"
            ),
            format!(
                "INSERT INTO usagectl_dirty_hours (api_name, hour)
                 SELECT DISTINCT api_name, odd.hour
                 FROM usagectl_odd_timestamps AS odd CROSS JOIN api_usage ON id = odd.usage_id
                 WHERE {}
                 ON CONFLICT DO NOTHING",
                condition("odd.hour")
            ),
        ],
    }
}

/// The value to bind for each API; a single null, which stands for all of them, if none is named.
fn each(apis: &[String]) -> Vec<Option<&str>> {
    if apis.is_empty() {
        vec![None]
    } else {
        apis.iter().map(|api| Some(api.as_str())).collect()
    }
}

pub fn dirty_hours(db: &mut Db, window: Window) -> QueryResult<BTreeSet<ApiPeriod>> {
    Ok(marked(db, window)?.into_keys().collect())
}

/// Forgets the changes of this transaction in a window that had no dirty hour before.
pub fn forget_own(db: &mut Db, window: Window) -> QueryResult<()> {
    let query = match db {
        Db::Pg(_) => {
            "DELETE FROM usagectl_dirty_hours
             WHERE hour >= $1 AND hour < $2 AND xmin = pg_current_xact_id()::xid"
        }
        Db::Sqlite(_) => "DELETE FROM usagectl_dirty_hours WHERE hour >= $1 AND hour < $2",
    };
    on!(db, |conn| diesel::sql_query(query)
        .bind::<Timestamp, _>(TimeBoundary(window.from))
        .bind::<Timestamp, _>(TimeBoundary(window.to))
        .execute(conn))?;
    Ok(())
}

/// The dirty hours of a window, each with the time of its newest deleted row.
pub fn marked(
    db: &mut Db,
    window: Window,
) -> QueryResult<BTreeMap<ApiPeriod, Option<DateTime<Utc>>>> {
    use usagectl_dirty_hours::dsl;
    type Mark = (StoredTimestamp, String, Option<UtcTimestamp>);
    let marks: Vec<Mark> = on!(db, |conn| dsl::usagectl_dirty_hours
        .select((dsl::hour, dsl::api_name, dsl::deleted_to))
        .filter(dsl::hour.ge(TimeBoundary(window.from)))
        .filter(dsl::hour.lt(TimeBoundary(window.to)))
        .distinct()
        .load(conn))?;
    let mut hours = BTreeMap::new();
    for (hour, api_name, deleted_to) in marks {
        if let Some(start) = hour.instant() {
            let newest: &mut Option<DateTime<Utc>> =
                hours.entry(ApiPeriod { start, api_name }).or_default();
            *newest = (*newest).max(deleted_to.map(UtcTimestamp::utc));
        }
    }
    Ok(hours)
}

/// A query for the number of rows between two times, of an API or of all.
pub(super) fn count_query(db: &Db, from: &str, to: &str, api: Option<&str>) -> String {
    let api = api.map_or(String::new(), |api| {
        format!(" AND api_usage.api_name = {api}")
    });
    match db {
        Db::Pg(_) => format!(
            "SELECT count(*) FROM api_usage WHERE timestamp >= {from} AND timestamp < {to}{api}"
        ),
        Db::Sqlite(_) => format!(
            "SELECT count(*) + (
                 SELECT count(*) FROM usagectl_odd_timestamps AS odd CROSS JOIN api_usage ON id = odd.usage_id
                 WHERE odd.hour >= {from} AND odd.hour < {to}{api}
             ) FROM api_usage WHERE timestamp >= {from} AND timestamp < {to} AND timestamp {CANONICAL}{api}"
        ),
    }
}

/// The newest deleted row of each stale hour, in order, and the number of calls in the hour that were counted and have no
/// row any more.
fn missing_calls(db: &mut Db) -> QueryResult<Vec<(DateTime<Utc>, u64)>> {
    let end = match db {
        Db::Pg(_) => "hour.period_start + interval '1 hour'",
        Db::Sqlite(_) => "substr(hour.period_start, 1, 13) || ';'",
    };
    let rows = count_query(db, "hour.period_start", end, Some("hour.api_name"));
    let query = format!(
        "SELECT hour.deleted_to, CAST(
             sum(CASE calls.aggregation_type WHEN 'HOURLY' THEN total_requests ELSE -total_requests END) - ({rows})
         AS BIGINT)
         FROM usagectl_stale_periods AS hour JOIN usagectl_rollups AS calls
           ON calls.aggregation_type IN ('HOURLY', 'SEALED', 'UNDECIDED') AND calls.scope = 'API'
           AND calls.api_name = hour.api_name
           AND calls.period_start >= hour.period_start AND calls.period_start < {end}
         WHERE hour.aggregation_type = 'HOURLY' AND hour.deleted_to IS NOT NULL
         GROUP BY hour.period_start, hour.api_name, hour.deleted_to ORDER BY hour.deleted_to"
    );
    let found: Vec<(UtcTimestamp, i64)> = on!(db, |conn| diesel::sql_query(&query).rows(conn))?;
    let calls = |calls: i64| u64::try_from(calls).unwrap_or(0);
    let missing = found
        .into_iter()
        .map(|(to, count)| (to.utc(), calls(count)));
    Ok(missing.collect())
}

/// The newest deleted row of a deletion of the oldest rows, among the stale hours.
pub fn deleted_to(db: &mut Db) -> QueryResult<Option<DateTime<Utc>>> {
    let missing = missing_calls(db)?;
    let oldest = oldest_rows(db, Window::ALL, retention::rows_needed(&missing))?;
    Ok(retention::end(&missing, &oldest))
}

/// The time of the oldest row of a window.
pub fn oldest_row(db: &mut Db, window: Window) -> QueryResult<Option<DateTime<Utc>>> {
    Ok(oldest_rows(db, window, 1)?.first().copied())
}

/// The times of the oldest rows of a window, at most `most`, in order.
pub fn oldest_rows(db: &mut Db, window: Window, most: usize) -> QueryResult<Vec<DateTime<Utc>>> {
    let query = match db {
        Db::Pg(_) => {
            "SELECT timestamp AS at, NULL::timestamp AS hour FROM api_usage WHERE timestamp >= $1 AND timestamp < $2
             ORDER BY timestamp LIMIT $3"
                .to_owned()
        }
        Db::Sqlite(_) => format!(
            "SELECT * FROM (
                 SELECT timestamp AS at, NULL AS hour FROM api_usage
                 WHERE timestamp >= $1 AND timestamp < $2 AND timestamp {CANONICAL} ORDER BY timestamp LIMIT $3
             )
             UNION ALL
             SELECT timestamp, hour FROM usagectl_odd_timestamps WHERE hour >= $1 AND hour <= coalesce((
                 SELECT hour FROM usagectl_odd_timestamps WHERE hour >= $1 AND hour < $2
                 ORDER BY hour LIMIT 1 OFFSET $3 - 1
             ), $2)"
        ),
    };
    let found: Vec<(StoredTimestamp, Option<UtcTimestamp>)> =
        on!(db, |conn| diesel::sql_query(query)
            .bind::<Timestamp, _>(TimeBoundary(window.from))
            .bind::<Timestamp, _>(TimeBoundary(window.to))
            .bind::<BigInt, _>(i64::try_from(most).unwrap_or(i64::MAX))
            .rows(conn))?;
    // As when it is counted: the database decides the hour of an odd timestamp.
    let instant = |(at, hour): (StoredTimestamp, Option<UtcTimestamp>)| {
        let at = at.instant();
        let Some(hour) = hour.map(UtcTimestamp::utc) else {
            return at;
        };
        let within = at.filter(|at| Granularity::Hourly.start_of(*at) == hour);
        Some(within.unwrap_or(hour))
    };
    let mut rows: Vec<DateTime<Utc>> = found.into_iter().filter_map(instant).collect();
    rows.sort();
    rows.truncate(most);
    Ok(rows)
}

pub fn days_with_rows(db: &mut Db, window: Window) -> QueryResult<BTreeSet<DateTime<Utc>>> {
    let query = match db {
        Db::Pg(_) => {
            "SELECT DISTINCT date_trunc('day', timestamp) AS day FROM api_usage
             WHERE timestamp >= $1 AND timestamp < $2"
        }
        Db::Sqlite(_) => {
            "SELECT DISTINCT substr(timestamp, 1, 10) || 'T00:00:00.000+00:00' AS day FROM api_usage
             WHERE timestamp >= $1 AND timestamp < $2
             UNION
             SELECT substr(hour, 1, 10) || 'T00:00:00.000+00:00' FROM usagectl_odd_timestamps
             WHERE hour >= $1 AND hour < $2"
        }
    };
    let days: Vec<StoredTimestamp> = on!(db, |conn| diesel::sql_query(query)
        .bind::<Timestamp, _>(TimeBoundary(window.from))
        .bind::<Timestamp, _>(TimeBoundary(window.to))
        .rows(conn))?;
    Ok(days
        .into_iter()
        .filter_map(StoredTimestamp::instant)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form_is_that_of_the_triggers() {
        let triggers = include_str!("../../../migrations/sqlite/usage_triggers.sql");
        assert!(triggers.matches("GLOB").count() == triggers.matches(CANONICAL).count());
    }
}
