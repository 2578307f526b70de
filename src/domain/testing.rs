//! Values for unit tests.

use chrono::{DateTime, Utc};

use super::period::Window;

/// An instant: `2026-01-31T12:00:00Z`, or of the year 2026 `01-31T12:00`.
pub(crate) fn at(text: &str) -> DateTime<Utc> {
    let parsed = text.parse();
    parsed
        .or_else(|_| format!("2026-{text}:00Z").parse())
        .unwrap()
}

pub(crate) fn window(from: &str, to: &str) -> Window {
    Window::new(at(from), at(to))
}
