//! Queries of `status`: engine version, outdated roll-ups, alert rules and open recommendations.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamp};

use super::db::{Db, on};
use super::schema::upgrade_recommendation::dsl;
use super::time::UtcTimestamp;
use super::types::EnumColumn;
use crate::domain::metrics::names::{Priority, Status};
use crate::domain::named::Named;
use crate::domain::recommendation::is_open;
use crate::domain::schema::status::{AlertCounts, Freshness};

pub fn engine_version(db: &mut Db) -> QueryResult<String> {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = Text)]
        version: String,
    }
    let query = match db {
        Db::Pg(_) => "SELECT current_setting('server_version') AS version",
        Db::Sqlite(_) => "SELECT sqlite_version() AS version",
    };
    let found: Version = on!(db, |conn| diesel::sql_query(query).get_result(conn))?;
    // A package name may follow the number.
    let number = found.version.split(' ').next();
    Ok(number.unwrap_or_default().to_owned())
}

/// Counts the dirty hours and those that a running `aggregate` has taken over.
pub fn freshness(db: &mut Db) -> QueryResult<Freshness> {
    #[derive(QueryableByName)]
    struct Pending {
        #[diesel(sql_type = BigInt)]
        hours: i64,
        #[diesel(sql_type = Nullable<Timestamp>)]
        oldest: Option<UtcTimestamp>,
    }
    let query = "SELECT count(*) AS hours, min(hour) AS oldest FROM (
                     SELECT api_name, hour FROM usagectl_dirty_hours
                     UNION
                     SELECT api_name, period_start FROM usagectl_stale_periods
                     WHERE aggregation_type = 'HOURLY'
                 ) AS pending";
    let found: Pending = on!(db, |conn| diesel::sql_query(query).get_result(conn))?;
    Ok(Freshness {
        hours_waiting: found.hours,
        oldest: found.oldest.map(UtcTimestamp::utc),
    })
}

/// Counts the alert rules by state, and undelivered notifications.
pub fn alerts(db: &mut Db) -> QueryResult<AlertCounts> {
    #[derive(QueryableByName)]
    struct Counts {
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
    // States of deleted, disabled and renamed rules are left to the next `alerts check`.
    let query = "WITH standing AS (
                     SELECT states.state, states.severity, states.alert_id
                     FROM usagectl_alert_states AS states
                     JOIN api_alerts ON api_alerts.id = states.alert_id
                     WHERE api_alerts.enabled AND api_alerts.api_name IN ('*', states.api_name)
                 )
                 SELECT (SELECT count(*) FROM api_alerts WHERE enabled) AS rules,
                     (SELECT count(*) FROM standing WHERE state IN ('FIRING', 'RECOVERING')) AS firing,
                     (SELECT count(*) FROM standing
                      WHERE state IN ('FIRING', 'RECOVERING') AND severity = 'CRITICAL') AS critical,
                     (SELECT count(*) FROM standing WHERE state = 'UNKNOWN') AS unknown,
                     (SELECT count(*) FROM api_alerts
                      WHERE enabled AND id NOT IN (SELECT alert_id FROM standing)) AS unchecked,
                     (SELECT count(*) FROM usagectl_notices WHERE delivery = 'WAITING') AS notices_waiting";
    let found: Counts = on!(db, |conn| diesel::sql_query(query).get_result(conn))?;
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(AlertCounts {
        rules: count(found.rules),
        firing: count(found.firing),
        critical: count(found.critical),
        unknown: count(found.unknown),
        unchecked: count(found.unchecked),
        notices_waiting: count(found.notices_waiting),
    })
}

/// Counts the open recommendations by priority, the most urgent first.
pub fn open_recommendations(db: &mut Db) -> QueryResult<Vec<(Priority, u64)>> {
    let open = Status::ALL.iter().filter(|status| is_open(**status));
    let open = open.map(|status| EnumColumn(*status));
    let query = dsl::upgrade_recommendation
        .filter(dsl::status.eq_any(open.collect::<Vec<_>>()))
        .group_by(dsl::priority)
        .select((dsl::priority, diesel::dsl::count_star()));
    let found: Vec<(EnumColumn<Priority>, i64)> = on!(db, |conn| query.load(conn))?;
    let count = |(priority, number): (EnumColumn<Priority>, i64)| {
        (priority.0, u64::try_from(number).unwrap_or(0))
    };
    let mut counts: Vec<_> = found.into_iter().map(count).collect();
    counts.sort_by(|a, b| b.cmp(a));
    Ok(counts)
}
