//! The triggers on `api_usage` and the marks they leave: `usagectl_dirty_hours`, and on SQLite
//! `usagectl_odd_timestamps`.
//!
//! A mark and the row it speaks of become visible together. Whoever takes the marks that are visible and
//! then reads the rows can therefore miss none: a row that commits later brings a mark of its own.
//!
//! One thing leaves no mark: SQLite's INSERT OR REPLACE removes a row without firing the trigger for
//! deletes, unless the program that runs it has set `recursive_triggers`. A trigger that looks for such a row
//! before every insert would cost each of them a tenth of its time. Where the new row is of another hour than
//! the old one, `aggregate --verify` finds the difference.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::dsl::count_star;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamp};

use crate::domain::period::Window;
use crate::domain::usage::rollup::ApiPeriod;
use crate::store::db::{Db, on};
use crate::store::migrations::{Direction, Migration};
use crate::store::schema::{api_usage, usagectl_dirty_hours, usagectl_odd_timestamps};
use crate::store::time::{HourBoundary, StoredTimestamp};

const POSTGRES_TRIGGERS: [&str; 4] = [
    "usagectl_after_insert",
    "usagectl_after_update",
    "usagectl_after_delete",
    "usagectl_after_truncate",
];

const SQLITE_TRIGGERS: [&str; 4] = [
    "usagectl_after_insert",
    "usagectl_after_insert_odd",
    "usagectl_after_update",
    "usagectl_after_delete",
];

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    counted: i64,
}

/// Whether every trigger is there and fires. `prisma migrate reset` and the like drop them silently.
pub fn triggers_are_in_place(db: &mut Db) -> QueryResult<bool> {
    let (found, wanted) = match db {
        Db::Pg(conn) => {
            // 'O' fires in ordinary sessions, 'A' always; 'D' is disabled, 'R' for replicas only.
            let found = diesel::sql_query(
                "SELECT count(*) AS counted FROM pg_trigger
                 WHERE tgrelid = to_regclass('api_usage') AND tgenabled IN ('O', 'A')
                   AND tgname = ANY($1)",
            )
            .bind::<diesel::sql_types::Array<Text>, _>(POSTGRES_TRIGGERS.as_slice())
            .get_result::<Counted>(conn)?;
            (found.counted, POSTGRES_TRIGGERS.len())
        }
        Db::Sqlite(conn) => {
            let [a, b, c, d] = SQLITE_TRIGGERS;
            let found = diesel::sql_query(
                "SELECT count(*) AS counted FROM sqlite_schema
                 WHERE type = 'trigger' AND tbl_name = 'api_usage' AND name IN (?, ?, ?, ?)",
            )
            .bind::<Text, _>(a)
            .bind::<Text, _>(b)
            .bind::<Text, _>(c)
            .bind::<Text, _>(d)
            .get_result::<Counted>(conn)?;
            (found.counted, SQLITE_TRIGGERS.len())
        }
    };
    Ok(usize::try_from(found) == Ok(wanted))
}

/// Puts the triggers back as the migration made them. What changed while they were away nobody knows, so
/// everything must be marked afterwards.
pub fn restore_triggers(db: &mut Db) -> QueryResult<()> {
    let Some(migration) = Migration::find("20260201000000") else {
        return Err(diesel::result::Error::NotFound);
    };
    let sql = migration.sql(db, Direction::Up);
    let (_, triggers) = sql.split_once("-- The marks.").unwrap_or_default();
    // What is left of the sentence that opens the section.
    let triggers = format!("--{triggers}");
    match db {
        Db::Pg(conn) => {
            // Behind a long query the lock would be waited for, and every writer would wait behind us.
            conn.batch_execute("SET LOCAL lock_timeout = '5s'")?;
            for name in POSTGRES_TRIGGERS {
                conn.batch_execute(&format!("DROP TRIGGER IF EXISTS {name} ON api_usage"))?;
            }
            conn.batch_execute(&triggers.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
        }
        Db::Sqlite(conn) => {
            for name in SQLITE_TRIGGERS {
                conn.batch_execute(&format!("DROP TRIGGER IF EXISTS {name}"))?;
            }
            conn.batch_execute(&triggers)
        }
    }
}

/// Moves the marks of some APIs, or of all, to the list of stale periods; in one transaction.
///
/// Marks of hours that no roll-up can have are dropped; [`count_unreadable`] tells of their rows.
pub fn collect(db: &mut Db, apis: &[String]) -> QueryResult<()> {
    for api in each(apis) {
        match db {
            // One statement sees one instant: what it deletes is what it copies, and a mark that is
            // committed meanwhile stays for the next run.
            Db::Pg(conn) => {
                diesel::sql_query(
                    "WITH taken AS (
                         DELETE FROM usagectl_dirty_hours WHERE $1 IS NULL OR api_name = $1
                         RETURNING api_name, hour
                     )
                     INSERT INTO usagectl_stale_periods (aggregation_type, period_start, api_name)
                     SELECT DISTINCT 'HOURLY', hour, api_name FROM taken
                     WHERE hour >= '0001-01-01' AND hour < '10000-01-01'
                     ON CONFLICT DO NOTHING",
                )
                .bind::<Nullable<Text>, _>(api)
                .execute(conn)?;
            }
            Db::Sqlite(conn) => {
                for statement in [
                    // A date that does not exist comes out of strftime as another one, or as none.
                    "INSERT INTO usagectl_stale_periods (aggregation_type, period_start, api_name)
                     SELECT 'HOURLY', hour, api_name FROM usagectl_dirty_hours
                     WHERE (?1 IS NULL OR api_name = ?1) AND hour >= '0001'
                       AND hour = strftime('%Y-%m-%dT%H:00:00.000+00:00', hour)
                     ON CONFLICT DO NOTHING",
                    // Rows with such a date look right to the triggers and are wrong: list them as odd.
                    // CROSS JOIN keeps SQLite from beginning with the rows: such marks hardly exist.
                    "INSERT INTO usagectl_odd_timestamps (usage_id, hour)
                     SELECT id, NULL
                     FROM usagectl_dirty_hours AS mark
                     CROSS JOIN api_usage ON api_usage.api_name = mark.api_name
                       AND timestamp >= substr(hour, 1, 14) AND timestamp < substr(hour, 1, 13) || ';'
                     WHERE (?1 IS NULL OR mark.api_name = ?1)
                       AND (hour < '0001' OR hour IS NOT strftime('%Y-%m-%dT%H:00:00.000+00:00', hour))
                     ON CONFLICT DO NOTHING",
                    "DELETE FROM usagectl_dirty_hours WHERE ?1 IS NULL OR api_name = ?1",
                ] {
                    diesel::sql_query(statement)
                        .bind::<Nullable<Text>, _>(api)
                        .execute(conn)?;
                }
            }
        }
    }
    Ok(())
}

/// How many rows have a timestamp that nobody can read, or outside the years that are rolled up.
pub fn count_unreadable(db: &mut Db) -> QueryResult<u64> {
    let count: i64 = match db {
        Db::Pg(conn) => {
            use api_usage::dsl;
            // Two searches of the index; also finds infinity.
            let before = dsl::api_usage
                .filter(dsl::timestamp.lt(HourBoundary(Window::ALL.from)))
                .select(count_star());
            let after = dsl::api_usage
                .filter(dsl::timestamp.ge(HourBoundary(Window::ALL.to)))
                .select(count_star());
            before.get_result::<i64>(conn)? + after.get_result::<i64>(conn)?
        }
        Db::Sqlite(conn) => usagectl_odd_timestamps::table
            .filter(usagectl_odd_timestamps::hour.is_null())
            .select(count_star())
            .get_result(conn)?,
    };
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Lists the rows with odd timestamps anew: while the triggers were away nobody did.
pub fn relist_odd_timestamps(db: &mut Db) -> QueryResult<()> {
    match db {
        Db::Pg(_) => Ok(()),
        Db::Sqlite(conn) => conn.batch_execute(
            "DELETE FROM usagectl_odd_timestamps;
             INSERT INTO usagectl_odd_timestamps (usage_id, hour)
             SELECT id, CASE typeof(timestamp)
                 WHEN 'text' THEN CASE
                     WHEN timestamp GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
                         AND timestamp >= '0001-' AND date(substr(timestamp, 1, 10), '+0 days') = substr(timestamp, 1, 10)
                     THEN strftime('%Y-%m-%dT%H:00:00.000+00:00', timestamp) END
                 WHEN 'blob' THEN NULL
                 ELSE strftime('%Y-%m-%dT%H:00:00.000+00:00', timestamp / 1000.0, 'unixepoch') END
             FROM api_usage
             WHERE timestamp NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00';",
        ),
    }
}

/// Marks every hour of `window` that has rows.
pub fn mark_rows(db: &mut Db, window: Window, apis: &[String]) -> QueryResult<()> {
    let statements: &[&str] = match db {
        Db::Pg(_) => &["INSERT INTO usagectl_dirty_hours (api_name, hour)
             SELECT DISTINCT api_name, date_trunc('hour', timestamp) FROM api_usage
             WHERE timestamp >= $1 AND timestamp < $2 AND ($3 IS NULL OR api_name = $3)"],
        Db::Sqlite(_) => &[
            "INSERT INTO usagectl_dirty_hours (api_name, hour)
             SELECT DISTINCT api_name, substr(timestamp, 1, 13) || ':00:00.000+00:00' FROM api_usage
             WHERE timestamp >= ?1 AND timestamp < ?2 AND (?3 IS NULL OR api_name = ?3)
               AND timestamp GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
             ON CONFLICT DO NOTHING",
            "INSERT INTO usagectl_dirty_hours (api_name, hour)
             SELECT DISTINCT api_name, hour
             FROM usagectl_odd_timestamps CROSS JOIN api_usage ON id = usage_id
             WHERE hour >= ?1 AND hour < ?2 AND (?3 IS NULL OR api_name = ?3)
             ON CONFLICT DO NOTHING",
        ],
    };
    for api in each(apis) {
        for statement in statements {
            on!(db, |conn| diesel::sql_query(*statement)
                .bind::<Timestamp, _>(HourBoundary(window.from))
                .bind::<Timestamp, _>(HourBoundary(window.to))
                .bind::<Nullable<Text>, _>(api)
                .execute(conn))?;
        }
    }
    Ok(())
}

/// What to bind for each API; once nothing, which stands for all of them, if none is named.
fn each(apis: &[String]) -> Vec<Option<&str>> {
    if apis.is_empty() {
        vec![None]
    } else {
        apis.iter().map(|api| Some(api.as_str())).collect()
    }
}

/// The hours of `window` that are marked.
pub fn dirty_hours(db: &mut Db, window: Window) -> QueryResult<BTreeSet<ApiPeriod>> {
    use usagectl_dirty_hours::dsl;
    let marks: Vec<(StoredTimestamp, String)> = on!(db, |conn| dsl::usagectl_dirty_hours
        .select((dsl::hour, dsl::api_name))
        .filter(dsl::hour.ge(HourBoundary(window.from)))
        .filter(dsl::hour.lt(HourBoundary(window.to)))
        .distinct()
        .load(conn))?;
    let readable = |(hour, api_name)| match hour {
        StoredTimestamp::Canonical(start) => Some(ApiPeriod { start, api_name }),
        StoredTimestamp::NonCanonical(_) => None,
    };
    Ok(marks.into_iter().filter_map(readable).collect())
}

/// The days of `window` that have rows.
pub fn days_with_rows(db: &mut Db, window: Window) -> QueryResult<BTreeSet<DateTime<Utc>>> {
    #[derive(QueryableByName)]
    struct Day {
        #[diesel(sql_type = Timestamp)]
        day: StoredTimestamp,
    }
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
    let days: Vec<Day> = on!(db, |conn| diesel::sql_query(query)
        .bind::<Timestamp, _>(HourBoundary(window.from))
        .bind::<Timestamp, _>(HourBoundary(window.to))
        .load(conn))?;
    let readable = |day: Day| match day.day {
        StoredTimestamp::Canonical(start) => Some(start),
        StoredTimestamp::NonCanonical(_) => None,
    };
    Ok(days.into_iter().filter_map(readable).collect())
}
