//! Values for unit tests.

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;

use super::period::Window;
use super::zone::Zone;

/// An instant: `2026-01-31T12:00:00Z`, or of the year 2026 `01-31T12:00`.
pub(crate) fn at(text: &str) -> DateTime<Utc> {
    let parsed = text.parse();
    parsed
        .or_else(|_| format!("2026-{text}:00Z").parse())
        .unwrap()
}

/// Milliseconds since 1970.
pub(crate) fn at_ms(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap()
}

/// Minutes after noon of 2026-01-31.
pub(crate) fn at_minute(minute: i64) -> DateTime<Utc> {
    at("01-31T12:00") + TimeDelta::minutes(minute)
}

pub(crate) fn window(from: &str, to: &str) -> Window {
    Window::new(at(from), at(to))
}

pub(crate) fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// The lines of a table of cases, each divided at `|` into trimmed cells.
pub(crate) fn cases<const N: usize>(table: &str) -> impl Iterator<Item = [&str; N]> {
    table.trim().lines().map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        cells.try_into().unwrap()
    })
}

/// A time zone of the database.
pub(crate) fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

/// All of them.
pub(crate) fn zones() -> Vec<Zone> {
    let names = jiff::tz::db().available();
    names.map(|name| zone(name.as_str())).collect()
}
