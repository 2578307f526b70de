//! How values are written in JSON where their own form is not ours: for `#[serde(serialize_with)]`.

use chrono::{DateTime, Utc};
use serde::Serializer;

use crate::domain::format;

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
