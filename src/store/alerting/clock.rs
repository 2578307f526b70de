//! Times of the database server and of calls to any API, with which the clock of this host is compared.

use std::cell::{Cell, RefCell};

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::alert::outage::Outage;
use crate::domain::period::Window;
use crate::store::prelude::*;
use crate::store::schema::api_usage;
use crate::store::time::{StoredTimestamp, TimeBoundary};

/// The time of the database server; none for a file.
pub fn server_time(db: &mut Db) -> QueryResult<Option<DateTime<Utc>>> {
    let Db::Pg(postgres) = db else {
        return Ok(None);
    };
    let query = diesel::sql_query("SELECT clock_timestamp()");
    postgres.run(|conn| query.row(conn)).map(Some)
}

/// The outage of the recorder that lasts at `now`. Calls that are recorded late, such as by a nightly import, are missing
/// until then: a shorter time without calls than the delay of any call looked at is none.
pub fn outage(db: &mut Db, now: DateTime<Utc>) -> QueryResult<Option<Outage>> {
    let (db, delay) = (RefCell::new(db), Cell::new(TimeDelta::zero()));
    let time = |call: Option<Call>| {
        let call = call?;
        delay.set(delay.get().max(call.delay));
        Some(call.at)
    };
    let last_before = |at| last_call(&mut db.borrow_mut(), at).map(time);
    let first_from = |at| first_call(&mut db.borrow_mut(), at).map(time);
    let outage = Outage::find(now, last_before, first_from)?;
    Ok(outage.filter(|outage| delay.get() < outage.usual))
}

/// When a call was made, and how much later it was recorded.
pub struct Call {
    pub at: DateTime<Utc>,
    delay: TimeDelta,
}

impl Call {
    fn read(row: Option<(StoredTimestamp, StoredTimestamp)>) -> Option<Call> {
        let (at, created_at) = row?;
        let (at, created_at) = (at.instant()?, created_at.instant());
        let delay = created_at.map_or(TimeDelta::MAX, |created_at| created_at - at);
        Some(Call { at, delay })
    }
}

/// The last call before an instant.
pub fn last_call(db: &mut Db, before: DateTime<Utc>) -> QueryResult<Option<Call>> {
    let row = on!(db, |conn| api_usage::table
        .filter(api_usage::timestamp.ge(TimeBoundary(Window::ALL.from)))
        .filter(api_usage::timestamp.lt(TimeBoundary(before)))
        .order(api_usage::timestamp.desc())
        .select((api_usage::timestamp, api_usage::created_at))
        .first(conn)
        .optional())?;
    Ok(Call::read(row))
}

/// The first call from an instant on.
fn first_call(db: &mut Db, from: DateTime<Utc>) -> QueryResult<Option<Call>> {
    let row = on!(db, |conn| api_usage::table
        .filter(api_usage::timestamp.ge(TimeBoundary(from)))
        .order(api_usage::timestamp.asc())
        .select((api_usage::timestamp, api_usage::created_at))
        .first(conn)
        .optional())?;
    Ok(Call::read(row))
}
