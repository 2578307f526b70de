//! Time zones: those of the IANA database, and fixed offsets from UTC.
//!
//! The database is compiled in, as data without pointers: chrono-tz's tables of names cost each command a millisecond
//! at its start, whether it uses them or not.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use chrono::{DateTime, FixedOffset, MappedLocalTime, NaiveDateTime, Offset as _, TimeDelta, Utc};
use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

/// A time zone. Each one that is parsed is kept until the program ends, which takes a few hundred bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(&'static TimeZone);

#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected a time zone such as UTC or Europe/Madrid")]
pub struct UnknownZone;

impl Zone {
    pub const UTC: Zone = {
        static UTC: TimeZone = TimeZone::UTC;
        Zone(&UTC)
    };

    /// An offset that is the same at any time.
    pub fn fixed(offset: FixedOffset) -> Zone {
        let offset = Offset::from_seconds(offset.local_minus_utc());
        offset.map_or(Zone::UTC, |offset| Zone::kept(offset.to_time_zone()))
    }

    fn kept(zone: TimeZone) -> Zone {
        Zone(Box::leak(Box::new(zone)))
    }

    /// The name in the IANA database; `UTC` for a fixed offset.
    pub fn name(self) -> &'static str {
        self.0.iana_name().unwrap_or("UTC")
    }

    pub fn local(self, at: DateTime<Utc>) -> DateTime<FixedOffset> {
        let offset = self.0.to_offset(timestamp(at)).seconds();
        at.with_timezone(&FixedOffset::east_opt(offset).unwrap_or_else(|| Utc.fix()))
    }

    /// The instant of a local time: two if clocks are set back, none if they are set forward over it.
    pub fn instant(self, local: NaiveDateTime) -> MappedLocalTime<DateTime<Utc>> {
        let local = local.and_utc();
        let civil = Offset::UTC.to_datetime(timestamp(local));
        let at =
            |offset: Offset| local.checked_sub_signed(TimeDelta::seconds(offset.seconds().into()));
        let found = match self.0.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => at(offset).map(MappedLocalTime::Single),
            AmbiguousOffset::Fold { before, after } => at(before)
                .zip(at(after))
                .map(|(first, second)| MappedLocalTime::Ambiguous(first, second)),
            AmbiguousOffset::Gap { .. } => None,
        };
        found.unwrap_or(MappedLocalTime::None)
    }
}

/// To the second; the first or last one of jiff's years, -9999 to 9999, for those outside.
fn timestamp(at: DateTime<Utc>) -> Timestamp {
    let seconds = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
    let second = at.timestamp().clamp(*seconds.start(), *seconds.end());
    Timestamp::from_second(second).unwrap_or_default()
}

impl FromStr for Zone {
    type Err = UnknownZone;

    /// Reads a name in any case.
    fn from_str(name: &str) -> Result<Zone, UnknownZone> {
        match name.eq_ignore_ascii_case("UTC") {
            true => Ok(Zone::UTC),
            false => TimeZone::get(name).map(Zone::kept).map_err(|_| UnknownZone),
        }
    }
}

impl Hash for Zone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;
    use proptest::prelude::*;

    use super::*;

    fn zone(name: &str) -> Zone {
        name.parse().unwrap()
    }

    #[test]
    fn name_is_read_in_any_case_and_kept_as_in_the_database() {
        assert_eq!(zone("europe/madrid").name(), "Europe/Madrid");
        assert_eq!(zone("Utc"), Zone::UTC);
        assert_eq!(zone("US/Eastern").name(), "US/Eastern");
        for unknown in ["", "Madrid", "Europe/Atlantis", "+02:00", "../etc/passwd"] {
            assert_eq!(unknown.parse::<Zone>(), Err(UnknownZone), "{unknown}");
        }
    }

    #[test]
    fn every_year_has_a_local_time() {
        for at in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            for name in ["UTC", "Asia/Kathmandu", "America/New_York"] {
                assert_eq!(zone(name).local(at).to_utc(), at);
                zone(name).instant(at.naive_utc());
            }
        }
    }

    proptest! {
        /// The same as chrono-tz, which compiles the same database by other code.
        #[test]
        fn local_times_are_those_of_the_database(
            // Rules of the coming years differ by the versions of the database.
            seconds in 0_i64..1_735_689_600,
            name in proptest::sample::select(vec![
                "Europe/Madrid", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Asia/Seoul",
                "Pacific/Apia", "Africa/Cairo", "America/Sao_Paulo", "UTC",
            ]),
        ) {
            let at = DateTime::from_timestamp_secs(seconds).unwrap();
            let other: chrono_tz::Tz = name.parse().unwrap();
            let local = at.with_timezone(&other).naive_local();
            prop_assert_eq!(zone(name).local(at).naive_local(), local);
            let expected = other.from_local_datetime(&local).map(|at| at.to_utc());
            prop_assert_eq!(zone(name).instant(local), expected);
        }

        #[test]
        fn times_around_a_change_of_clocks_are_those_of_the_database(minutes in -180_i64..180) {
            for (name, change) in [
                ("Europe/Madrid", "2026-03-29T02:00:00"),
                ("Europe/Madrid", "2026-10-25T02:00:00"),
                ("Australia/Lord_Howe", "2024-04-07T02:00:00"),
                ("Australia/Lord_Howe", "2024-10-06T02:00:00"),
                ("Pacific/Apia", "2011-12-30T00:00:00"),
            ] {
                let change: NaiveDateTime = change.parse().unwrap();
                let local = change + TimeDelta::minutes(minutes);
                let other: chrono_tz::Tz = name.parse().unwrap();
                let expected = other.from_local_datetime(&local).map(|at| at.to_utc());
                prop_assert_eq!(zone(name).instant(local), expected, "{} {}", name, local);
            }
        }
    }
}
