//! Standard output: one line for each notice.

use super::Failure;
use crate::domain::alert::channel::Stdout;
use crate::domain::alert::notice::Content;
use crate::domain::format::{self, printable};

/// The line of a notice: JSON, or its time and summary.
pub fn line(settings: &Stdout, content: &Content) -> Result<String, Failure> {
    if settings.json {
        serde_json::to_string(content).map_err(Failure::of_notice)
    } else {
        let time = format::time(content.created_at);
        Ok(printable(&format!("{time} {}", content.summary)).into_owned())
    }
}
