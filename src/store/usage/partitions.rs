//! Partitions of `api_usage`, and what their changes since the last `aggregate` mean for its hours.

use std::collections::BTreeSet;

use diesel::sql_types::Timestamp;

use super::settings;
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::partitions::{self, Change, Partition};
use crate::domain::usage::rollup::ApiPeriod;
use crate::store::prelude::*;
use crate::store::time::TimeBoundary;

/// A row of `pg_inherits` is a new one when a partition is attached, a file when it is truncated, and our triggers
/// after rows may have been written without them, which a foreign table cannot have.
const PARTITIONS: &str = r"
    SELECT c.oid::regclass::text,
           i.xmin::text || ' ' || c.relfilenode || coalesce((
               SELECT ' ' || string_agg(g.oid::text, ',' ORDER BY g.oid) FROM pg_trigger g
               WHERE g.tgrelid = c.oid AND g.tgenabled IN ('O', 'A') AND g.tgname LIKE 'usagectl\_after\_%'
               HAVING count(*) = 3
           ), CASE c.relkind WHEN 'f' THEN ' -' ELSE '' END),
           CASE WHEN p.partstrat = 'r' AND p.partnatts = 1 AND a.attname = 'timestamp'
                THEN pg_get_expr(c.relpartbound, c.oid) END
    FROM pg_partition_tree(to_regclass('api_usage')) AS tree
    JOIN pg_class c ON c.oid = tree.relid
    JOIN pg_inherits i ON i.inhrelid = c.oid
    JOIN pg_partitioned_table p ON p.partrelid = i.inhparent
    LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
    ORDER BY 1";

/// The hours of a window with other rows than were counted: calls, those of them without rows, and rows. New rows in an
/// hour that is waiting for `aggregate` are no difference.
const DIFFERENT_HOURS: &str = "
    SELECT hour, api_name, coalesce(counted, 0), coalesce(kept, 0), coalesce(rows, 0), is_waiting
    FROM (
        SELECT api_name, date_trunc('hour', period_start) AS hour,
               sum(total_requests) FILTER (WHERE aggregation_type = 'HOURLY')::bigint AS counted,
               sum(total_requests) FILTER (WHERE aggregation_type <> 'HOURLY')::bigint AS kept
        FROM usagectl_rollups
        WHERE aggregation_type IN ('HOURLY', 'SEALED', 'UNDECIDED') AND scope = 'API'
          AND period_start >= $1 AND period_start < $2
        GROUP BY 1, 2
    ) AS calls
    FULL JOIN (
        SELECT api_name, date_trunc('hour', timestamp) AS hour, count(*) AS rows
        FROM api_usage WHERE timestamp >= $1 AND timestamp < $2 GROUP BY 1, 2
    ) AS found USING (api_name, hour)
    CROSS JOIN LATERAL (
        SELECT EXISTS (
            SELECT FROM usagectl_dirty_hours AS dirty WHERE dirty.api_name = found.api_name AND dirty.hour = found.hour
            UNION ALL
            SELECT FROM usagectl_stale_periods AS stale
            WHERE aggregation_type = 'HOURLY' AND stale.api_name = found.api_name AND period_start = found.hour
        ) AS is_waiting
    ) AS waiting
    WHERE coalesce(counted, 0) - coalesce(kept, 0) <> coalesce(rows, 0)
      AND (kept > 0 OR counted > coalesce(rows, 0) OR NOT is_waiting)";

/// What changed with the partitions since the last `aggregate`.
#[derive(Debug, Default)]
pub struct Changes {
    pub now: Vec<Partition>,
    pub windows: Vec<Window>,
    /// The hours with other rows than were counted.
    hours: Vec<(ApiPeriod, Change)>,
    /// How many of them wait for `aggregate` also without it.
    pub waiting: usize,
    /// Whether the partitions are those that the last `aggregate` saved.
    pub is_saved: bool,
}

impl Changes {
    pub fn hours(&self, of: Change) -> impl Iterator<Item = &ApiPeriod> {
        let of_it = self.hours.iter().filter(move |(_, change)| *change == of);
        of_it.map(|(hour, _)| hour)
    }

    /// The hours that `aggregate` must count again.
    pub fn all_hours(&self) -> BTreeSet<&ApiPeriod> {
        self.hours.iter().map(|(hour, _)| hour).collect()
    }
}

/// From the start of the first hour to the end of the last.
pub fn span<'a>(hours: impl IntoIterator<Item = &'a ApiPeriod>) -> Option<Window> {
    let starts: BTreeSet<_> = hours.into_iter().map(|hour| hour.start).collect();
    let (first, last) = starts.first().zip(starts.last())?;
    Some(Window::new(*first, Granularity::Hourly.end_of(*last)))
}

/// The partitions, in the order of their names; none on SQLite.
pub fn read(db: &mut Db) -> QueryResult<Vec<Partition>> {
    let Db::Pg(postgres) = db else {
        return Ok(Vec::new());
    };
    let rows: Vec<(String, String, Option<String>)> =
        postgres.run(|conn| diesel::sql_query(PARTITIONS).rows(conn))?;
    let partition = |(name, identity, bound)| Partition {
        name,
        identity,
        bound,
    };
    Ok(rows.into_iter().map(partition).collect())
}

/// The changes since the partitions that the last `aggregate` saved; in a transaction.
pub fn changes(db: &mut Db) -> QueryResult<Changes> {
    if matches!(db, Db::Sqlite(_)) {
        return Ok(Changes::default());
    }
    let now = read(db)?;
    let saved = settings::partitions(db)?;
    // The first time they are not compared.
    let before = saved.as_ref().unwrap_or(&now);
    let mut windows = partitions::changed_windows(before, &now, Partition::identity);
    // A truncated or rewritten partition has no rows that were without it.
    let attached = partitions::changed_windows(before, &now, Partition::attachment);
    let may_return = |start| attached.iter().any(|window| window.contains(start));
    let mut hours = Vec::new();
    let mut waiting = 0;
    if let Db::Pg(postgres) = db {
        for window in &windows {
            type Row = (UtcTimestamp, String, i64, i64, i64, bool);
            let query = diesel::sql_query(DIFFERENT_HOURS)
                .bind::<Timestamp, _>(TimeBoundary(window.from))
                .bind::<Timestamp, _>(TimeBoundary(window.to));
            let rows: Vec<Row> = postgres.run(|conn| query.rows(conn))?;
            hours.extend(rows.into_iter().filter_map(
                |(hour, api_name, counted, kept, rows, is_waiting)| {
                    let start = Granularity::Hourly.start_of(hour.utc());
                    let [counted, kept, rows] = [counted, kept, rows].map(i64::unsigned_abs);
                    let change = partitions::change(counted, kept, rows, is_waiting)?;
                    let is_of_rows = [Change::Returned, Change::Unclear].contains(&change);
                    (!is_of_rows || may_return(start)).then_some(())?;
                    waiting += usize::from(is_waiting);
                    Some((ApiPeriod { start, api_name }, change))
                },
            ));
        }
    }
    // A version that saved none had no triggers on them: changes of rows by a partition's name may have been missed.
    if saved.is_none() && !now.is_empty() {
        windows.push(Window::ALL);
    }
    Ok(Changes {
        is_saved: saved.as_ref() == Some(&now),
        now,
        windows,
        hours,
        waiting,
    })
}
