//! How values are written in JSON where their own form is not ours: for `#[serde(serialize_with)]`.

use serde::Serializer;
use serde::ser::SerializeStruct;

use crate::domain::format;
use crate::domain::period::Window;

pub use crate::domain::format::{serialize_maybe_time as maybe_time, serialize_time as time};

/// A window as its fields `from` and `to`; for `#[serde(flatten)]`.
pub fn window<S: Serializer>(window: &Window, serializer: S) -> Result<S::Ok, S::Error> {
    let mut fields = serializer.serialize_struct("Window", 2)?;
    fields.serialize_field("from", &format::time_ms(window.from))?;
    fields.serialize_field("to", &format::time_ms(window.to))?;
    fields.end()
}
