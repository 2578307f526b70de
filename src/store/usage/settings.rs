//! `usagectl_settings`: choices that hold for all roll-ups of a database.

use chrono_tz::Tz;

use crate::domain::period::Calendar;
use crate::domain::usage::settings::Settings;
use crate::error::{Error, Exit};
use crate::store::prelude::*;
use crate::store::schema::usagectl_settings::dsl;

const TIME_ZONE: &str = "time_zone";
const KEEP_DELETED: &str = "keep_deleted";
const ENDPOINTS: &str = "endpoints";
const MAX_ENDPOINTS: &str = "max_endpoints";

/// Reads the settings; those that are missing have their defaults.
pub fn load(db: &mut Db) -> Result<Settings, Error> {
    let rows: Vec<(String, String)> = on!(db, |conn| dsl::usagectl_settings.load(conn))?;
    let mut settings = Settings::default();
    for (name, value) in rows {
        let known = match name.as_str() {
            TIME_ZONE => value
                .parse::<Tz>()
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
            // Of a newer version.
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
        ]
    };
    let changed = values(settings).into_iter().zip(values(stored));
    for ((name, value), _) in changed.filter(|(new, old)| new != old) {
        on!(db, |conn| diesel::insert_into(dsl::usagectl_settings)
            .values((dsl::name.eq(name), dsl::value.eq(&value)))
            .on_conflict(dsl::name)
            .do_update()
            .set(dsl::value.eq(&value))
            .execute(conn))?;
    }
    Ok(())
}
