//! Times of the database server and of calls to any API, with which the clock of this host is compared.

use chrono::{DateTime, Utc};
use diesel::sql_types::Timestamp;

use crate::domain::alert::outage::Outage;
use crate::domain::period::Window;
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

/// The outage of the recorder that lasts at `now`.
pub fn outage(db: &mut Db, now: DateTime<Utc>) -> QueryResult<Option<Outage>> {
    let db = std::cell::RefCell::new(db);
    let last_before = |at| last_call(&mut db.borrow_mut(), at);
    Outage::find(now, last_before, |at| first_call(&mut db.borrow_mut(), at))
}

/// The last call before an instant.
fn last_call(db: &mut Db, before: DateTime<Utc>) -> QueryResult<Option<DateTime<Utc>>> {
    let row: Option<StoredTimestamp> = on!(db, |conn| api_usage::table
        .filter(api_usage::timestamp.ge(TimeBoundary(Window::ALL.from)))
        .filter(api_usage::timestamp.lt(TimeBoundary(before)))
        .order(api_usage::timestamp.desc())
        .select(api_usage::timestamp)
        .first(conn)
        .optional())?;
    Ok(row.and_then(|row| row.instant()))
}

/// The first call from an instant on.
fn first_call(db: &mut Db, from: DateTime<Utc>) -> QueryResult<Option<DateTime<Utc>>> {
    let row: Option<StoredTimestamp> = on!(db, |conn| api_usage::table
        .filter(api_usage::timestamp.ge(TimeBoundary(from)))
        .order(api_usage::timestamp.asc())
        .select(api_usage::timestamp)
        .first(conn)
        .optional())?;
    Ok(row.and_then(|row| row.instant()))
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
