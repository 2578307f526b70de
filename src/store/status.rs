//! Queries of `status`: engine version, outdated roll-ups, alert rules and open recommendations.

use chrono::TimeDelta;
use diesel::{QueryResult, sql_query};

use super::db::{Db, on};
use super::time::UtcTimestamp;
use super::tuples::LoadTuples;
use super::unknown_values::known;
use super::usage::partitions::{self, Changes};
use super::usage::rollups;
use crate::domain::metrics::names::{Priority, Status};
use crate::domain::named::Named;
use crate::domain::period::{Granularity, Window};
use crate::domain::recommendation::is_open;
use crate::domain::schema::status::{AlertCounts, Freshness};
use crate::domain::usage::partitions::Change;

/// The dirty hours and those that a running `aggregate` has taken over. `{}`: the condition of an hour that is a time;
/// PostgreSQL also has infinity.
const FRESHNESS: &str = "SELECT count(*) AS hours, min(CASE WHEN {} THEN hour END) AS oldest,
         (SELECT min(period_start) FROM usagectl_rollups
          WHERE aggregation_type = 'UNDECIDED' AND scope = 'API') AS undecided_from,
         (SELECT max(period_start) FROM usagectl_rollups
          WHERE aggregation_type = 'UNDECIDED' AND scope = 'API') AS undecided_to
     FROM (
         SELECT api_name, hour FROM usagectl_dirty_hours
         UNION
         SELECT api_name, period_start FROM usagectl_stale_periods
         WHERE aggregation_type = 'HOURLY'
     ) AS pending";

/// The alert rules by state, and undelivered notifications. States of deleted, disabled and renamed rules are
/// left to the next `alerts check`.
const ALERTS: &str = "WITH all_rules AS (
         SELECT id, api_name, enabled FROM api_alerts
         UNION ALL
         SELECT id, api_name, enabled FROM usagectl_alert_rules
     )
     SELECT (SELECT count(*) FROM all_rules WHERE enabled) AS rules,
         count(CASE WHEN state IN ('FIRING', 'RECOVERING') THEN 1 END) AS firing,
         count(CASE WHEN state IN ('FIRING', 'RECOVERING') AND severity = 'CRITICAL' THEN 1 END) AS critical,
         count(CASE WHEN state = 'UNKNOWN' THEN 1 END) AS unknown,
         (SELECT count(*) FROM all_rules
          WHERE enabled AND NOT EXISTS (
              SELECT 1 FROM usagectl_alert_states AS found
              WHERE found.alert_id = all_rules.id AND all_rules.api_name IN ('*', found.api_name)
          )) AS unchecked,
         (SELECT count(*) FROM usagectl_notices WHERE delivery = 'WAITING') AS notices_waiting
     FROM usagectl_alert_states AS states
     JOIN all_rules ON all_rules.id = states.alert_id
     WHERE all_rules.enabled AND all_rules.api_name IN ('*', states.api_name)";

pub fn engine_version(db: &mut Db) -> QueryResult<String> {
    let version = match db {
        Db::Pg(_) => "SHOW server_version",
        Db::Sqlite(_) => "SELECT sqlite_version()",
    };
    let version: String = on!(db, |conn| sql_query(version).row(conn))?;
    // A package name may follow the number.
    Ok(version.split(' ').next().unwrap_or_default().to_owned())
}

/// `has_usage` and `has_published`: whether the application's rows and its table of aggregates can be compared with the
/// roll-ups.
pub fn freshness(db: &mut Db, has_usage: bool, has_published: bool) -> QueryResult<Freshness> {
    type Found = (
        i64,
        Option<UtcTimestamp>,
        Option<UtcTimestamp>,
        Option<UtcTimestamp>,
    );
    let is_time = match db {
        Db::Pg(_) => "isfinite(hour)",
        Db::Sqlite(_) => "true",
    };
    let query = FRESHNESS.replace("{}", is_time);
    let (hours_waiting, oldest, from, last): Found = on!(db, |conn| sql_query(query).row(conn))?;
    let changes = match has_usage {
        true => partitions::changes(db)?,
        false => Changes::default(),
    };
    let changed = changes.all_hours();
    let unclear = partitions::span(changes.hours(Change::Unclear));
    let undecided = from.zip(last).map(|(from, last)| {
        let after = last.utc() + TimeDelta::milliseconds(1);
        Window::new(from.utc(), after).widened(Granularity::Hourly)
    });
    let both = |a: Window, b: Window| Window::new(a.from.min(b.from), a.to.max(b.to));
    let oldest = oldest.map(UtcTimestamp::utc);
    Ok(Freshness {
        hours_waiting: hours_waiting + i64::try_from(changed.len() - changes.waiting).unwrap_or(0),
        oldest: oldest
            .into_iter()
            .chain(changed.first().map(|hour| hour.start))
            .min(),
        is_incomplete: has_published && !rollups::lost(db)?.is_empty(),
        undecided: undecided.into_iter().chain(unclear).reduce(both),
    })
}

pub fn alerts(db: &mut Db) -> QueryResult<AlertCounts> {
    let counts: (i64, i64, i64, i64, i64, i64) = on!(db, |conn| sql_query(ALERTS).row(conn))?;
    let (rules, firing, critical, unknown, unchecked, notices_waiting) = counts;
    Ok(AlertCounts {
        rules: unsigned(rules),
        firing: unsigned(firing),
        critical: unsigned(critical),
        unknown: unsigned(unknown),
        unchecked: unsigned(unchecked),
        notices_waiting: unsigned(notices_waiting),
    })
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// Counts the open recommendations by priority, the most urgent first.
///
/// The enums are compared as text: Diesel would ask PostgreSQL for the type of an array of them first.
pub fn open_recommendations(db: &mut Db) -> QueryResult<Vec<(Priority, u64)>> {
    let open = Status::ALL.iter().filter(|status| is_open(**status));
    let open: Vec<String> = open.map(|status| format!("'{status}'")).collect();
    let query = format!(
        "SELECT CAST(priority AS TEXT), count(*) FROM \"UpgradeRecommendation\"
         WHERE CAST(status AS TEXT) IN ({}) GROUP BY 1",
        open.join(", ")
    );
    let found: Vec<(String, i64)> = on!(db, |conn| sql_query(query).rows(conn))?;
    let count = |(priority, count): (String, i64)| Some((known(&priority)?, unsigned(count)));
    let mut counts: Vec<_> = found.into_iter().filter_map(count).collect();
    counts.sort_by(|a, b| b.cmp(a));
    Ok(counts)
}
