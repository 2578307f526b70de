//! How values are written in JSON where their own form is not ours: for `#[serde(serialize_with)]`.

use chrono::{DateTime, Utc};
use serde::Serializer;
use serde::ser::SerializeStruct;

use crate::domain::format;
use crate::domain::period::Window;

/// An instant with milliseconds: `2026-01-31T12:00:00.000Z`.
pub fn time<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format::time_ms(*at))
}

/// An instant with milliseconds, or null.
pub fn maybe_time<S: Serializer>(
    at: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => time(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// A window as its fields `from` and `to`; for `#[serde(flatten)]`.
pub fn window<S: Serializer>(window: &Window, serializer: S) -> Result<S::Ok, S::Error> {
    let mut fields = serializer.serialize_struct("Window", 2)?;
    fields.serialize_field("from", &format::time_ms(window.from))?;
    fields.serialize_field("to", &format::time_ms(window.to))?;
    fields.end()
}
