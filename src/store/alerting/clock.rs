//! Times that the clock of this host is compared with.

use chrono::{DateTime, Utc};
use diesel::sql_types::Timestamp;

use crate::store::prelude::*;
use crate::store::schema::api_usage;
use crate::store::time::{StoredTimestamp, TimeBoundary};

/// The time of the database server; none for a file.
pub fn server_time(db: &mut Db) -> QueryResult<Option<DateTime<Utc>>> {
    #[derive(QueryableByName)]
    struct Clock {
        #[diesel(sql_type = Timestamp)]
        now: UtcTimestamp,
    }
    let Db::Pg(postgres) = db else {
        return Ok(None);
    };
    let query = diesel::sql_query("SELECT clock_timestamp() AT TIME ZONE 'UTC' AS now");
    let clock: Clock = postgres.run(|conn| query.get_result(conn))?;
    Ok(Some(clock.now.utc()))
}

/// The time of the newest call after `after`.
pub fn newest_row(db: &mut Db, after: DateTime<Utc>) -> QueryResult<Option<DateTime<Utc>>> {
    let row: Option<StoredTimestamp> = on!(db, |conn| api_usage::table
        .filter(api_usage::timestamp.gt(TimeBoundary(after)))
        .order(api_usage::timestamp.desc())
        .select(api_usage::timestamp)
        .first(conn)
        .optional())?;
    Ok(row.and_then(|row| row.instant()))
}
