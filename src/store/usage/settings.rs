//! `usagectl_settings`: choices that hold for all roll-ups of a database.

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::format;
use crate::domain::period::Calendar;
use crate::domain::usage::partitions::Partition;
use crate::domain::usage::settings::{Mode, Settings};
use crate::domain::zone::Zone;
use crate::error::{Error, Exit};
use crate::store::prelude::*;
use crate::store::schema::usagectl_settings::dsl;

const TIME_ZONE: &str = "time_zone";
const KEEP_DELETED: &str = "keep_deleted";
const ENDPOINTS: &str = "endpoints";
const MAX_ENDPOINTS: &str = "max_endpoints";
const MODE: &str = "mode";
const LOOKBACK_SECONDS: &str = "lookback_seconds";
/// Up to where hours before the look-back are compared.
const LOOKBACK_POSITION: &str = "lookback_position";
/// Those of the last `aggregate`, as JSON.
const PARTITIONS: &str = "partitions";

/// Reads the settings; those that are missing have their defaults.
pub fn load(db: &mut Db) -> Result<Settings, Error> {
    let rows: Vec<(String, String)> = on!(db, |conn| dsl::usagectl_settings.load(conn))?;
    let mut settings = Settings::default();
    for (name, value) in rows {
        let known = match name.as_str() {
            TIME_ZONE => value
                .parse::<Zone>()
                .map(|zone| settings.calendar = Calendar { zone })
                .is_ok(),
            KEEP_DELETED => value
                .parse()
                .map(|keep| settings.keep_deleted = keep)
                .is_ok(),
            ENDPOINTS => value
                .parse()
                .map(|names| settings.endpoints = names)
                .is_ok(),
            MAX_ENDPOINTS => value
                .parse()
                .map(|most| settings.max_endpoints = most)
                .is_ok(),
            MODE => value.parse().map(|mode| settings.mode = mode).is_ok(),
            LOOKBACK_SECONDS => value
                .parse()
                .ok()
                .and_then(TimeDelta::try_seconds)
                .map(|lookback| settings.lookback = lookback)
                .is_some(),
            // Of a newer version, or no choice.
            _ => true,
        };
        if !known {
            let message = format!("usagectl_settings: invalid {name} `{value}`");
            return Err(Error::message(Exit::Untrustworthy, message)
                .with_next("usagectl aggregate --tz ZONE"));
        }
    }
    Ok(settings)
}

/// Saves the settings that differ from those that are `stored`.
pub fn save(db: &mut Db, stored: Settings, settings: Settings) -> QueryResult<()> {
    let values = |settings: Settings| {
        [
            (TIME_ZONE, settings.calendar.zone.name().to_owned()),
            (KEEP_DELETED, settings.keep_deleted.to_string()),
            (ENDPOINTS, settings.endpoints.to_string()),
            (MAX_ENDPOINTS, settings.max_endpoints.to_string()),
            (MODE, settings.mode.to_string()),
            (
                LOOKBACK_SECONDS,
                settings.lookback.num_seconds().to_string(),
            ),
        ]
    };
    let changed = values(settings).into_iter().zip(values(stored));
    for ((name, value), _) in changed.filter(|(new, old)| new != old) {
        put(db, name, &value)?;
    }
    Ok(())
}

fn put(db: &mut Db, name: &str, value: &str) -> QueryResult<()> {
    on!(db, |conn| diesel::insert_into(dsl::usagectl_settings)
        .values((dsl::name.eq(name), dsl::value.eq(value)))
        .on_conflict(dsl::name)
        .do_update()
        .set(dsl::value.eq(value))
        .execute(conn))?;
    Ok(())
}

fn find(db: &mut Db, name: &str) -> QueryResult<Option<String>> {
    let row = dsl::usagectl_settings.find(name).select(dsl::value);
    on!(db, |conn| row.first(conn).optional())
}

/// The stored mode; nothing if none is stored, or a newer version stored it.
pub fn mode(db: &mut Db) -> QueryResult<Option<Mode>> {
    Ok(find(db, MODE)?.and_then(|mode| mode.parse().ok()))
}

/// Nothing before all hours were compared once, or if it is unreadable.
pub fn lookback_position(db: &mut Db) -> QueryResult<Option<DateTime<Utc>>> {
    Ok(find(db, LOOKBACK_POSITION)?.and_then(|at| at.parse().ok()))
}

pub fn save_lookback_position(db: &mut Db, at: DateTime<Utc>) -> QueryResult<()> {
    put(db, LOOKBACK_POSITION, &format::time(at))
}

/// Nothing before the first `aggregate` of a partitioned table, or if they are unreadable.
pub fn partitions(db: &mut Db) -> QueryResult<Option<Vec<Partition>>> {
    let stored = find(db, PARTITIONS)?;
    Ok(stored.and_then(|text| serde_json::from_str(&text).ok()))
}

pub fn save_partitions(db: &mut Db, partitions: &[Partition]) -> Result<(), Error> {
    Ok(put(db, PARTITIONS, &serde_json::to_string(partitions)?)?)
}
