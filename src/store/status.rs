//! What `status` asks beside the migrations: the engine, and how far the roll-ups are behind.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamp};

use super::backend::{Db, on};
use super::time::Ts;
use crate::domain::status::Freshness;

/// The engine's version, as it says itself.
///
/// # Errors
///
/// Whatever the engine reports.
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
    // What follows the number is the name of the package.
    let number = found.version.split(' ').next();
    Ok(number.unwrap_or_default().to_owned())
}

/// The hours that were marked since they were counted, and those still on the work list.
///
/// # Errors
///
/// Whatever the engine reports.
pub fn freshness(db: &mut Db) -> QueryResult<Freshness> {
    #[derive(QueryableByName)]
    struct Waiting {
        #[diesel(sql_type = BigInt)]
        hours: i64,
        #[diesel(sql_type = Nullable<Timestamp>)]
        oldest: Option<Ts>,
    }
    let query = "SELECT count(*) AS hours, min(hour) AS oldest FROM (
                     SELECT api_name, hour FROM usagectl_dirty_hours
                     UNION
                     SELECT api_name, period_start FROM usagectl_stale_periods
                     WHERE aggregation_type = 'HOURLY'
                 ) AS waiting";
    let found: Waiting = on!(db, |conn| diesel::sql_query(query).get_result(conn))?;
    Ok(Freshness {
        hours_waiting: found.hours,
        oldest: found.oldest.map(Ts::utc),
    })
}
