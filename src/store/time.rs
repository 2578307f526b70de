//! Timestamps in the database: one form for each engine.
//!
//! PostgreSQL has `TIMESTAMP(3)` without a zone, holding UTC. SQLite has no type for time; the one
//! form we write is the text `YYYY-MM-DDTHH:MM:SS.mmm+00:00`, which is what Prisma's adapter writes
//! and which sorts and compares as text. Reading is lenient: whatever Prisma or SQLite's own
//! functions may have written is understood, integers as milliseconds since 1970.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, SubsecRound, Timelike, Utc};
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{BigInt, Double, Text, Timestamp};
use diesel::sqlite::{Sqlite, SqliteType, SqliteValue};

use crate::domain::period::Window;

/// The text form of an instant in SQLite; exactly 29 bytes for the years 0 to 9999.
pub const SQLITE_FORM: &str = "%Y-%m-%dT%H:%M:%S%.3f+00:00";

/// An instant in UTC, to the millisecond, as both engines store it.
#[derive(AsExpression, Clone, Copy, Debug, Eq, FromSqlRow, Hash, Ord, PartialEq, PartialOrd)]
#[diesel(sql_type = Timestamp)]
pub struct Ts(DateTime<Utc>);

impl Ts {
    /// Cuts `at` to the millisecond, as the column would.
    pub fn new(at: DateTime<Utc>) -> Ts {
        Ts(at.trunc_subsecs(3))
    }

    /// The instant.
    pub fn utc(self) -> DateTime<Utc> {
        self.0
    }

    /// Writes it in [`SQLITE_FORM`], many times faster than a format string does.
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

    /// Reads any spelling of a timestamp found in a SQLite file, bringing foreign offsets to UTC.
    pub fn from_sqlite_text(text: &str) -> Option<Ts> {
        if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            return Some(Ts::new(at.to_utc()));
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
        .map(|naive| Ts::new(naive.and_utc()))
        .or_else(|| {
            let at = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%:z").ok()?;
            Some(Ts::new(at.to_utc()))
        })
    }
}

impl From<DateTime<Utc>> for Ts {
    fn from(at: DateTime<Utc>) -> Ts {
        Ts::new(at)
    }
}

impl From<Ts> for DateTime<Utc> {
    fn from(ts: Ts) -> DateTime<Utc> {
        ts.0
    }
}

impl ToSql<Timestamp, Pg> for Ts {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let naive = self.0.naive_utc();
        <NaiveDateTime as ToSql<Timestamp, Pg>>::to_sql(&naive, &mut out.reborrow())
    }
}

impl FromSql<Timestamp, Pg> for Ts {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Ts> {
        let naive = <NaiveDateTime as FromSql<Timestamp, Pg>>::from_sql(value)?;
        Ok(Ts::new(naive.and_utc()))
    }
}

impl ToSql<Timestamp, Sqlite> for Ts {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        let mut text = String::with_capacity(29);
        self.write_sqlite_text(&mut text)?;
        out.set_value(text);
        Ok(IsNull::No)
    }
}

impl FromSql<Timestamp, Sqlite> for Ts {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Ts> {
        let ts = match value.value_type() {
            Some(SqliteType::Integer | SqliteType::Long | SqliteType::SmallInt) => {
                let ms = <i64 as FromSql<BigInt, Sqlite>>::from_sql(value)?;
                DateTime::from_timestamp_millis(ms).map(Ts)
            }
            Some(SqliteType::Float | SqliteType::Double) => {
                let ms = <f64 as FromSql<Double, Sqlite>>::from_sql(value)?;
                // `as` saturates, and chrono refuses what lies outside its years.
                DateTime::from_timestamp_millis(ms as i64).map(Ts)
            }
            _ => Ts::from_sqlite_text(&<String as FromSql<Text, Sqlite>>::from_sql(value)?),
        };
        ts.ok_or_else(|| "a timestamp that no known form fits".into())
    }
}

/// The start of an hour, to compare timestamps with.
///
/// In SQLite it is cut where the minutes begin: a timestamp of the one form belongs to the hour that its
/// first thirteen characters say.
#[derive(AsExpression, Clone, Copy, Debug)]
#[diesel(sql_type = Timestamp)]
pub struct HourEdge(pub DateTime<Utc>);

impl ToSql<Timestamp, Pg> for HourEdge {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        <Ts as ToSql<Timestamp, Pg>>::to_sql(&Ts::new(self.0), &mut out.reborrow())
    }
}

impl ToSql<Timestamp, Sqlite> for HourEdge {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        let text = if self.0 < Window::ALL.to {
            self.0.format("%Y-%m-%dT%H:").to_string()
        } else {
            // Comes after every digit.
            ":".to_owned()
        };
        out.set_value(text);
        Ok(IsNull::No)
    }
}

/// A timestamp as it is found.
#[derive(Clone, Copy, Debug, FromSqlRow, PartialEq)]
pub enum Stamp {
    /// In the form that is searched by text.
    Canonical(DateTime<Utc>),
    /// In any other, if anybody can read it. SQLite only; the triggers list such rows.
    Odd(Option<DateTime<Utc>>),
}

impl FromSql<Timestamp, Pg> for Stamp {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Stamp> {
        let ts = <Ts as FromSql<Timestamp, Pg>>::from_sql(value)?;
        Ok(Stamp::Canonical(ts.utc()))
    }
}

impl FromSql<Timestamp, Sqlite> for Stamp {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Stamp> {
        if value.value_type() != Some(SqliteType::Text) {
            let ts = <Ts as FromSql<Timestamp, Sqlite>>::from_sql(value);
            return Ok(Stamp::Odd(ts.ok().map(Ts::utc)));
        }
        let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
        Ok(Stamp::of_text(&text))
    }
}

impl Stamp {
    /// The instant, if anybody can read it.
    pub fn instant(self) -> Option<DateTime<Utc>> {
        match self {
            Stamp::Canonical(at) => Some(at),
            Stamp::Odd(at) => at,
        }
    }

    fn of_text(text: &str) -> Stamp {
        match canonical(text.as_bytes()) {
            Some(at) => Stamp::Canonical(at),
            None => Stamp::Odd(Ts::from_sqlite_text(text).map(Ts::utc)),
        }
    }
}

/// The instant, if it is spelled in the one form: what the triggers' GLOB accepts, and a date and a time
/// that exist.
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

    fn ms(text: &str) -> Option<i64> {
        Ts::from_sqlite_text(text).map(|ts| ts.utc().timestamp_millis())
    }

    #[test]
    fn every_spelling_that_prisma_or_sqlite_writes_is_read_as_the_same_instant() {
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
    fn text_order_is_time_order() {
        let form = |ms| {
            let at = DateTime::from_timestamp_millis(ms).unwrap();
            let mut text = String::new();
            Ts::new(at).write_sqlite_text(&mut text).unwrap();
            assert_eq!(text, at.format(SQLITE_FORM).to_string());
            text
        };
        let instants = [-1, 0, 999, 1_000, 1_767_225_600_123, 253_402_300_799_999];
        let texts: Vec<_> = instants.iter().map(|ms| form(*ms)).collect();
        assert!(texts.is_sorted() && texts.iter().all(|text| text.len() == 29));
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn the_common_form_is_read_to_the_millisecond() {
        assert_eq!(
            Stamp::of_text("2026-01-31T12:34:56.789+00:00"),
            Stamp::Canonical(at("2026-01-31T12:34:56.789Z"))
        );
    }

    #[test]
    fn only_the_one_form_is_canonical() {
        assert_eq!(
            Stamp::of_text("2026-01-31T12:34:56.789+00:00"),
            Stamp::Canonical(at("2026-01-31T12:34:56.789Z"))
        );
    }

    #[test]
    fn everything_else_is_odd() {
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
            assert_eq!(Stamp::of_text(text), Stamp::Odd(instant), "{text}");
        }
    }
}
