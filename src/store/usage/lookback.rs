//! Finding changed hours without the triggers: the rows are compared with `usagectl_fingerprints`, which holds what an
//! earlier look found, and each hour that differs is marked as dirty. What follows is as with the triggers.
//!
//! The rows are read before the transaction that marks, so that no writer waits. A row that changes meanwhile differs
//! from the stored fingerprint and is found by the next look.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::sql_types::Timestamp;

use super::{dirty, read, settings};
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::fingerprint::{Fingerprint, Fingerprints, changed};
use crate::domain::usage::read_plan::RowRange;
use crate::domain::usage::rollup::ApiPeriod;
use crate::domain::usage::settings::{Mode, Settings};
use crate::error::Error;
use crate::store::migrations::TriggerSet;
use crate::store::prelude::*;
use crate::store::schema::usagectl_fingerprints;
use crate::store::time::TimeBoundary;

/// How long a run looks for changes in hours before the look-back.
const BUDGET: Duration = Duration::from_secs(10);

/// How changed hours are found; nothing if the triggers are missing, which is not by choice.
pub fn mode(db: &mut Db, settings: Settings) -> QueryResult<Option<Mode>> {
    if settings.mode == Mode::Lookback || TriggerSet::Usage.misses_changes(db)? {
        return Ok(Some(Mode::Lookback));
    }
    Ok(TriggerSet::Usage.is_in_place(db)?.then_some(Mode::Triggers))
}

/// Whether each change of a row leaves a mark at once, so that roll-ups without a mark are not stale.
pub fn marks_at_once(db: &mut Db) -> Result<bool, Error> {
    let settings = settings::load(db)?;
    Ok(mode(db, settings)? == Some(Mode::Triggers))
}

/// Whether `aggregate` does without triggers, by choice or since they would miss rows.
pub fn is_chosen(db: &mut Db) -> QueryResult<bool> {
    Ok(settings::mode(db)? == Some(Mode::Lookback) || TriggerSet::Usage.misses_changes(db)?)
}

/// The hours that every run compares.
pub fn recent(settings: Settings, now: DateTime<Utc>) -> Window {
    let from = now.checked_sub_signed(settings.lookback);
    let from = from.unwrap_or(Window::ALL.from).max(Window::ALL.from);
    Window::new(Granularity::Hourly.start_of(from), Window::ALL.to)
}

/// Marks the changed hours of the look-back, and those before it that it finds within a budget. The first time without a
/// budget. Returns the time from which on older hours are left to the next run.
pub fn mark_changed(
    db: &mut Db,
    settings: Settings,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Error> {
    let recent = recent(settings, now);
    mark(db, recent)?;
    let position = settings::lookback_position(db)?;
    let deadline = position.and_then(|_| Instant::now().checked_add(BUDGET));
    let from = position.unwrap_or(Window::ALL.from).min(recent.from);
    let mut left = mark_until(db, Window::new(from, recent.from), deadline)?;
    if left.is_none() {
        left = mark_until(db, Window::new(Window::ALL.from, from), deadline)?;
    }
    let reached = left.unwrap_or(from);
    if position != Some(reached) {
        settings::save_lookback_position(db, reached)?;
    }
    Ok(left)
}

/// Marks the changed hours of a window.
pub fn mark(db: &mut Db, window: Window) -> Result<(), Error> {
    if matches!(db, Db::Sqlite(_)) {
        db.write_tx(dirty::relist_odd_timestamps)?;
    }
    mark_until(db, window, None)?;
    Ok(())
}

/// Marks the changed hours of a window, some days at a time. Returns the time that it reached at the deadline.
fn mark_until(
    db: &mut Db,
    window: Window,
    deadline: Option<Instant>,
) -> Result<Option<DateTime<Utc>>, Error> {
    const DAYS: TimeDelta = TimeDelta::days(7);
    let mut from = window.from;
    while let Some(first) = first_hour(db, Window::new(from, window.to))? {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(Some(first));
        }
        let to = first.checked_add_signed(DAYS).unwrap_or(window.to);
        let days = Window::new(first, to.min(window.to));
        let found = db.read_tx(|db| find(db, days))?;
        db.write_tx(|db| -> Result<(), Error> {
            dirty::lock_for_taking(db)?;
            let stored = stored(db, days)?;
            Ok(save(db, &stored, &found)?)
        })?;
        from = days.to;
    }
    Ok(None)
}

/// The hours of a window whose rows changed; writes nothing. In one transaction.
pub fn changed_hours(db: &mut Db, window: Window) -> QueryResult<BTreeSet<ApiPeriod>> {
    let (stored, found) = (stored(db, window)?, find(db, window)?);
    Ok(changed(&stored, &found).into_iter().cloned().collect())
}

/// The first hour of a window that has or had rows.
fn first_hour(db: &mut Db, window: Window) -> QueryResult<Option<DateTime<Utc>>> {
    use usagectl_fingerprints::dsl;
    let row = dirty::oldest_row(db, window)?;
    let stored: Option<UtcTimestamp> = on!(db, |conn| dsl::usagectl_fingerprints
        .filter(dsl::hour.ge(TimeBoundary(window.from)))
        .filter(dsl::hour.lt(TimeBoundary(window.to)))
        .select(dsl::hour)
        .order(dsl::hour)
        .first(conn)
        .optional())?;
    let row = row.map(|at| Granularity::Hourly.start_of(at));
    Ok(row.into_iter().chain(stored.map(UtcTimestamp::utc)).min())
}

/// The fingerprints of the rows of whole hours.
fn find(db: &mut Db, window: Window) -> QueryResult<Fingerprints> {
    let mut found = Fingerprints::new();
    let Db::Pg(postgres) = db else {
        read::for_each_with(db, &RowRange::of_all(window), "id", |row| {
            let call = row.call;
            let cost = call.cost_credits.map(f64::to_bits);
            // Another version of the standard library may hash otherwise: all hours are then counted again, once.
            let mut hasher = DefaultHasher::new();
            let sizes = (call.response_time, call.request_size, call.response_size);
            let outcome = (call.success, call.status_code, call.error_type, call.cached);
            // By its id too: of two equal calls one may be pruned.
            (row.group, row.at, row.endpoint, sizes, outcome, cost).hash(&mut hasher);
            let hour = ApiPeriod {
                start: Granularity::Hourly.start_of(row.at),
                api_name: row.api_name.to_owned(),
            };
            let sum = found.entry(hour).or_default();
            sum.row_count += 1;
            sum.hash_sum = sum
                .hash_sum
                .wrapping_add(hasher.finish().cast_signed() >> 24);
        })?;
        return Ok(found);
    };
    // Only sums, which the shards of a distributed table add up.
    let query = diesel::sql_query(
        "SELECT api_name, date_trunc('hour', timestamp) AS hour, count(*) AS row_count,
             sum(hash_record_extended(ROW(
                 id, timestamp, endpoint, success, status_code, response_time, request_size, response_size, error_type,
                 cost_credits, cached
             ), 0) >> 24)::bigint AS hash_sum
         FROM api_usage WHERE timestamp >= $1 AND timestamp < $2 GROUP BY 1, 2",
    );
    let rows: Vec<Row> = postgres.run(|conn| {
        query
            .bind::<Timestamp, _>(TimeBoundary(window.from))
            .bind::<Timestamp, _>(TimeBoundary(window.to))
            .load(conn)
    })?;
    found.extend(rows.into_iter().map(Row::read));
    Ok(found)
}

#[derive(Insertable, Queryable, QueryableByName)]
#[diesel(table_name = usagectl_fingerprints)]
struct Row {
    api_name: String,
    hour: UtcTimestamp,
    row_count: i64,
    hash_sum: i64,
}

impl Row {
    fn new(hour: &ApiPeriod, print: &Fingerprint) -> Row {
        Row {
            api_name: hour.api_name.clone(),
            hour: hour.start.into(),
            row_count: print.row_count,
            hash_sum: print.hash_sum,
        }
    }

    fn read(self) -> (ApiPeriod, Fingerprint) {
        let hour = ApiPeriod {
            start: self.hour.utc(),
            api_name: self.api_name,
        };
        let print = Fingerprint {
            row_count: self.row_count,
            hash_sum: self.hash_sum,
        };
        (hour, print)
    }
}

fn stored(db: &mut Db, window: Window) -> QueryResult<Fingerprints> {
    use usagectl_fingerprints::dsl;
    let rows: Vec<Row> = on!(db, |conn| dsl::usagectl_fingerprints
        .filter(dsl::hour.ge(TimeBoundary(window.from)))
        .filter(dsl::hour.lt(TimeBoundary(window.to)))
        .load(conn))?;
    Ok(rows.into_iter().map(Row::read).collect())
}

/// Stores the fingerprints that differ, and marks their hours; in a transaction.
fn save(db: &mut Db, stored: &Fingerprints, found: &Fingerprints) -> QueryResult<()> {
    use usagectl_fingerprints::dsl;
    let changed = changed(stored, found);
    for hour in changed.iter().filter(|hour| stored.contains_key(**hour)) {
        let row = dsl::usagectl_fingerprints.find((UtcTimestamp::new(hour.start), &hour.api_name));
        on!(db, |conn| diesel::delete(row).execute(conn))?;
    }
    let prints = changed.iter().filter_map(|hour| found.get_key_value(*hour));
    let prints: Vec<Row> = prints.map(|(hour, print)| Row::new(hour, print)).collect();
    // Of one statement; SQLite allows 32,766 values.
    for rows in prints.chunks(5_000) {
        on!(db, |conn| diesel::insert_into(dsl::usagectl_fingerprints)
            .values(rows)
            .execute(conn))?;
    }
    let changed: Vec<&ApiPeriod> = changed.into_iter().collect();
    dirty::mark_compared(db, &changed)
}
