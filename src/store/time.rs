//! Timestamps in the database: one canonical form for each engine.
//!
//! PostgreSQL has `TIMESTAMP(3)` without a zone, holding UTC. SQLite has no timestamp type; its canonical
//! form is the text `YYYY-MM-DDTHH:MM:SS.mmm+00:00`, which Prisma's adapter writes and which sorts as
//! text. Reading also accepts the other forms that Prisma and SQLite's functions write, and integers as
//! milliseconds since 1970.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, SubsecRound, Timelike, Utc};
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{BigInt, Double, Text, Timestamp};
use diesel::sqlite::{Sqlite, SqliteType, SqliteValue};

use crate::domain::period::{Granularity, Window};

/// The canonical text of an instant in SQLite; 29 bytes for the years 0 to 9999.
pub const SQLITE_FORM: &str = "%Y-%m-%dT%H:%M:%S%.3f+00:00";

/// An instant in UTC, to the millisecond, as both engines store it.
#[derive(AsExpression, Clone, Copy, Debug, Eq, FromSqlRow, Hash, Ord, PartialEq, PartialOrd)]
#[diesel(sql_type = Timestamp)]
pub struct UtcTimestamp(DateTime<Utc>);

impl UtcTimestamp {
    /// Truncates `at` to the millisecond, as the column does.
    pub fn new(at: DateTime<Utc>) -> UtcTimestamp {
        UtcTimestamp(at.trunc_subsecs(3))
    }

    pub fn utc(self) -> DateTime<Utc> {
        self.0
    }

    /// Writes [`SQLITE_FORM`], many times faster than chrono's formatter.
    pub fn write_sqlite_text(self, text: &mut impl fmt::Write) -> fmt::Result {
        let (date, time) = (self.0.date_naive(), self.0.time());
        if !(0..=9999).contains(&date.year()) {
            return write!(text, "{}", self.0.format(SQLITE_FORM));
        }
        let mut form = *b"0000-00-00T00:00:00.000+00:00";
        let numbers = [
            (0..4, date.year().unsigned_abs()),
            (5..7, date.month()),
            (8..10, date.day()),
            (11..13, time.hour()),
            (14..16, time.minute()),
            (17..19, time.second()),
            (20..23, self.0.timestamp_subsec_millis()),
        ];
        for (digits, mut number) in numbers {
            for digit in form[digits].iter_mut().rev() {
                // The remainder of ten is a digit.
                *digit += (number % 10) as u8;
                number /= 10;
            }
        }
        text.write_str(str::from_utf8(&form).unwrap_or_default())
    }

    /// Reads any form of timestamp found in a SQLite file, converted to UTC.
    pub fn from_sqlite_text(text: &str) -> Option<UtcTimestamp> {
        if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            return Some(UtcTimestamp::new(at.to_utc()));
        }
        // SQLite's CURRENT_TIMESTAMP and Diesel's default: a space, no zone, which means UTC.
        let text = text.trim();
        [
            "%Y-%m-%d %H:%M:%S%.f",
            "%Y-%m-%dT%H:%M:%S%.f",
            "%Y-%m-%d %H:%M",
            "%Y-%m-%dT%H:%M",
        ]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .or_else(|| text.parse::<chrono::NaiveDate>().ok()?.and_hms_opt(0, 0, 0))
        .map(|naive| UtcTimestamp::new(naive.and_utc()))
        .or_else(|| {
            let at = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%:z").ok()?;
            Some(UtcTimestamp::new(at.to_utc()))
        })
    }
}

impl From<DateTime<Utc>> for UtcTimestamp {
    fn from(at: DateTime<Utc>) -> UtcTimestamp {
        UtcTimestamp::new(at)
    }
}

impl ToSql<Timestamp, Pg> for UtcTimestamp {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let naive = self.0.naive_utc();
        <NaiveDateTime as ToSql<Timestamp, Pg>>::to_sql(&naive, &mut out.reborrow())
    }
}

impl FromSql<Timestamp, Pg> for UtcTimestamp {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<UtcTimestamp> {
        let naive = <NaiveDateTime as FromSql<Timestamp, Pg>>::from_sql(value)?;
        Ok(UtcTimestamp::new(naive.and_utc()))
    }
}

impl ToSql<Timestamp, Sqlite> for UtcTimestamp {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        let mut text = String::with_capacity(29);
        self.write_sqlite_text(&mut text)?;
        out.set_value(text);
        Ok(IsNull::No)
    }
}

impl FromSql<Timestamp, Sqlite> for UtcTimestamp {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<UtcTimestamp> {
        let ts = match value.value_type() {
            Some(SqliteType::Integer | SqliteType::Long | SqliteType::SmallInt) => {
                let ms = <i64 as FromSql<BigInt, Sqlite>>::from_sql(value)?;
                DateTime::from_timestamp_millis(ms).map(UtcTimestamp)
            }
            Some(SqliteType::Float | SqliteType::Double) => {
                let ms = <f64 as FromSql<Double, Sqlite>>::from_sql(value)?;
                // `as` saturates, and chrono refuses what lies outside its years.
                DateTime::from_timestamp_millis(ms as i64).map(UtcTimestamp)
            }
            _ => {
                UtcTimestamp::from_sqlite_text(&<String as FromSql<Text, Sqlite>>::from_sql(value)?)
            }
        };
        ts.ok_or_else(|| "unknown timestamp format".into())
    }
}

/// A bound of a search by timestamp.
///
/// In SQLite the start of an hour is the text up to the minutes, so that it sorts before every timestamp of its hour;
/// any other instant is in canonical form.
#[derive(AsExpression, Clone, Copy, Debug)]
#[diesel(sql_type = Timestamp)]
pub struct TimeBoundary(pub DateTime<Utc>);

impl ToSql<Timestamp, Pg> for TimeBoundary {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        <UtcTimestamp as ToSql<Timestamp, Pg>>::to_sql(
            &UtcTimestamp::new(self.0),
            &mut out.reborrow(),
        )
    }
}

impl ToSql<Timestamp, Sqlite> for TimeBoundary {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        let mut text = String::new();
        if self.0 >= Window::ALL.to {
            // Sorts after every digit.
            text.push(':');
        } else if Granularity::Hourly.start_of(self.0) == self.0 {
            text = self.0.format("%Y-%m-%dT%H:").to_string();
        } else {
            UtcTimestamp::new(self.0).write_sqlite_text(&mut text)?;
        }
        out.set_value(text);
        Ok(IsNull::No)
    }
}

#[derive(Clone, Copy, Debug, FromSqlRow, PartialEq)]
pub enum StoredTimestamp {
    /// In the canonical form, which text searches find.
    Canonical(DateTime<Utc>),
    /// In another form, if readable. SQLite only; the triggers list such rows.
    NonCanonical(Option<DateTime<Utc>>),
}

impl FromSql<Timestamp, Pg> for StoredTimestamp {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<StoredTimestamp> {
        let ts = <UtcTimestamp as FromSql<Timestamp, Pg>>::from_sql(value)?;
        Ok(StoredTimestamp::Canonical(ts.utc()))
    }
}

impl FromSql<Timestamp, Sqlite> for StoredTimestamp {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<StoredTimestamp> {
        if value.value_type() != Some(SqliteType::Text) {
            let ts = <UtcTimestamp as FromSql<Timestamp, Sqlite>>::from_sql(value);
            return Ok(StoredTimestamp::NonCanonical(
                ts.ok().map(UtcTimestamp::utc),
            ));
        }
        let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
        Ok(StoredTimestamp::of_text(&text))
    }
}

impl StoredTimestamp {
    pub fn instant(self) -> Option<DateTime<Utc>> {
        match self {
            StoredTimestamp::Canonical(at) => Some(at),
            StoredTimestamp::NonCanonical(at) => at,
        }
    }

    fn of_text(text: &str) -> StoredTimestamp {
        match canonical(text.as_bytes()) {
            Some(at) => StoredTimestamp::Canonical(at),
            None => StoredTimestamp::NonCanonical(
                UtcTimestamp::from_sqlite_text(text).map(UtcTimestamp::utc),
            ),
        }
    }
}

/// The instant, if `text` is in the canonical form: accepted by the triggers' GLOB, a valid date and time.
fn canonical(text: &[u8]) -> Option<DateTime<Utc>> {
    let marks = [
        (4, b'-'),
        (7, b'-'),
        (10, b'T'),
        (13, b':'),
        (16, b':'),
        (19, b'.'),
    ];
    let is_form = text.len() == 29
        && text.ends_with(b"+00:00")
        && marks.iter().all(|(at, mark)| text[*at] == *mark);
    if !is_form {
        return None;
    }
    let year = i32::try_from(number(text, 0, 4)?).ok()?;
    let date = NaiveDate::from_ymd_opt(year, number(text, 5, 2)?, number(text, 8, 2)?)?;
    let (hour, minute) = (number(text, 11, 2)?, number(text, 14, 2)?);
    let (second, ms) = (number(text, 17, 2)?, number(text, 20, 3)?);
    // Milliseconds beyond 999, which mean a leap second, have no room in three digits.
    Some(date.and_hms_milli_opt(hour, minute, second, ms)?.and_utc())
}

fn number(text: &[u8], at: usize, length: usize) -> Option<u32> {
    let digits = text.get(at..at + length)?;
    digits.iter().try_fold(0, |sum, digit| match digit {
        b'0'..=b'9' => Some(sum * 10 + u32::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at;

    fn ms(text: &str) -> Option<i64> {
        UtcTimestamp::from_sqlite_text(text).map(|ts| ts.utc().timestamp_millis())
    }

    #[test]
    fn all_forms_of_prisma_and_sqlite_are_read() {
        for text in [
            "2026-01-01T00:00:00.123+00:00",
            "2026-01-01T00:00:00.123Z",
            "2026-01-01T09:00:00.123456+09:00",
            "2026-01-01 00:00:00.123",
            "2026-01-01T00:00:00.123",
            "2026-01-01 01:00:00.123+01:00",
        ] {
            assert_eq!(ms(text), Some(1_767_225_600_123), "{text}");
        }
        assert_eq!(ms("2026-01-01"), Some(1_767_225_600_000));
        assert_eq!(ms("yesterday"), None);
        assert_eq!(ms("2026-13-01T00:00:00.000+00:00"), None);
    }

    #[test]
    fn canonical_text_sorts_by_time() {
        let form = |ms| {
            let at = DateTime::from_timestamp_millis(ms).unwrap();
            let mut text = String::new();
            UtcTimestamp::new(at).write_sqlite_text(&mut text).unwrap();
            assert_eq!(text, at.format(SQLITE_FORM).to_string());
            text
        };
        let instants = [-1, 0, 999, 1_000, 1_767_225_600_123, 253_402_300_799_999];
        let texts: Vec<_> = instants.iter().map(|ms| form(*ms)).collect();
        assert!(texts.is_sorted() && texts.iter().all(|text| text.len() == 29));
    }

    #[test]
    fn canonical_form_is_read_to_the_millisecond() {
        assert_eq!(
            StoredTimestamp::of_text("2026-01-31T12:34:56.789+00:00"),
            StoredTimestamp::Canonical(at("2026-01-31T12:34:56.789Z"))
        );
    }

    #[test]
    fn other_forms_are_not_canonical() {
        let noon = Some(at("2026-01-31T12:00:00Z"));
        let stamps = [
            ("2026-01-31 12:00:00", noon),
            ("2026-01-31T12:00:00Z", noon),
            ("2026-01-31T21:00:00.000+09:00", noon),
            ("2026-02-30T12:00:00.000+00:00", None),
            ("2026-01-31T24:00:00.000+00:00", None),
            ("2026-01-31T12:00:00+00:00", noon),
            ("2026-01-31T12:00:00.000123+00:00", noon),
            ("2026-01-31T12:99:00.000+00:00", None),
            ("2026-01-31T12:nonsense+00:00", None),
            ("soon", None),
            ("", None),
        ];
        for (text, instant) in stamps {
            assert_eq!(
                StoredTimestamp::of_text(text),
                StoredTimestamp::NonCanonical(instant),
                "{text}"
            );
        }
    }
}
