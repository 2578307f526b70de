//! Queries of `status`: engine version, outdated roll-ups, alert rules and open recommendations.

use chrono::TimeDelta;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamp};

use super::db::{Db, on};
use super::time::UtcTimestamp;
use super::unknown_values::known;
use crate::domain::metrics::names::{Priority, Status};
use crate::domain::named::Named;
use crate::domain::period::{Granularity, Window};
use crate::domain::recommendation::is_open;
use crate::domain::schema::status::{AlertCounts, Freshness};

/// The version of the engine, and the counts of the parts whose tables exist.
#[derive(Debug)]
pub struct Summary {
    pub engine_version: String,
    pub freshness: Option<Freshness>,
    pub alerts: Option<AlertCounts>,
}

/// The dirty hours and those that a running `aggregate` has taken over.
const FRESHNESS: &str = "SELECT count(*) AS hours, min(hour) AS oldest,
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

/// Reads the summary in one query; the tables of each part must exist if it is wanted.
pub fn summary(db: &mut Db, has_rollups: bool, has_alerts: bool) -> QueryResult<Summary> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        version: String,
        #[diesel(sql_type = BigInt)]
        hours: i64,
        #[diesel(sql_type = Nullable<Timestamp>)]
        oldest: Option<UtcTimestamp>,
        #[diesel(sql_type = Nullable<Timestamp>)]
        undecided_from: Option<UtcTimestamp>,
        /// The last quarter of an hour.
        #[diesel(sql_type = Nullable<Timestamp>)]
        undecided_to: Option<UtcTimestamp>,
        #[diesel(sql_type = BigInt)]
        rules: i64,
        #[diesel(sql_type = BigInt)]
        firing: i64,
        #[diesel(sql_type = BigInt)]
        critical: i64,
        #[diesel(sql_type = BigInt)]
        unknown: i64,
        #[diesel(sql_type = BigInt)]
        unchecked: i64,
        #[diesel(sql_type = BigInt)]
        notices_waiting: i64,
    }
    let version = match db {
        Db::Pg(_) => "current_setting('server_version')",
        Db::Sqlite(_) => "sqlite_version()",
    };
    // In place of a part whose tables are missing; its values are not used.
    let nothing = |columns: &str| format!("SELECT CAST(0 AS BIGINT) AS {columns}");
    let freshness = match has_rollups {
        true => FRESHNESS.to_owned(),
        false => nothing(
            "hours, CAST(NULL AS TIMESTAMP) AS oldest, CAST(NULL AS TIMESTAMP) AS undecided_from,
             CAST(NULL AS TIMESTAMP) AS undecided_to",
        ),
    };
    let alerts = match has_alerts {
        true => ALERTS.to_owned(),
        false => nothing(
            &[
                "rules",
                "firing",
                "critical",
                "unknown",
                "unchecked",
                "notices_waiting",
            ]
            .join(", CAST(0 AS BIGINT) AS "),
        ),
    };
    let query = format!(
        "SELECT {version} AS version, freshness.*, alerts.*
         FROM ({freshness}) AS freshness CROSS JOIN ({alerts}) AS alerts"
    );
    let found: Row = on!(db, |conn| diesel::sql_query(query).get_result(conn))?;
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    // A package name may follow the number.
    let number = found.version.split(' ').next();
    Ok(Summary {
        engine_version: number.unwrap_or_default().to_owned(),
        freshness: has_rollups.then(|| Freshness {
            hours_waiting: found.hours,
            oldest: found.oldest.map(UtcTimestamp::utc),
            undecided: found
                .undecided_from
                .zip(found.undecided_to)
                .map(|(from, to)| {
                    let after = to.utc() + TimeDelta::milliseconds(1);
                    Window::new(from.utc(), after).widened(Granularity::Hourly)
                }),
        }),
        alerts: has_alerts.then(|| AlertCounts {
            rules: count(found.rules),
            firing: count(found.firing),
            critical: count(found.critical),
            unknown: count(found.unknown),
            unchecked: count(found.unchecked),
            notices_waiting: count(found.notices_waiting),
        }),
    })
}

/// Counts the open recommendations by priority, the most urgent first.
///
/// The enums are compared as text: Diesel would ask PostgreSQL for the type of an array of them first.
pub fn open_recommendations(db: &mut Db) -> QueryResult<Vec<(Priority, u64)>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        priority: String,
        #[diesel(sql_type = BigInt)]
        number: i64,
    }
    let open = Status::ALL.iter().filter(|status| is_open(**status));
    let open: Vec<String> = open.map(|status| format!("'{status}'")).collect();
    let query = format!(
        "SELECT CAST(priority AS TEXT) AS priority, count(*) AS number FROM \"UpgradeRecommendation\"
         WHERE CAST(status AS TEXT) IN ({}) GROUP BY 1",
        open.join(", ")
    );
    let found: Vec<Row> = on!(db, |conn| diesel::sql_query(query).load(conn))?;
    let count = |row: Row| {
        Some((
            known(&row.priority)?,
            u64::try_from(row.number).unwrap_or(0),
        ))
    };
    let mut counts: Vec<_> = found.into_iter().filter_map(count).collect();
    counts.sort_by(|a, b| b.cmp(a));
    Ok(counts)
}
