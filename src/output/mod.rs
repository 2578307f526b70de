//! Finished answers, rendered: as a table for people, as JSON or CSV for programs.
//!
//! A command builds one answer and hands it over; one file here for each answer says what its table,
//! its JSON and its CSV look like. JSON has structs of its own, so that the inside of the program may
//! change and the format stays.

pub mod aggregate;
pub mod alerts;
pub mod chart;
pub mod collect;
pub mod columns;
pub mod json;
pub mod limits;
pub mod migrations;
pub mod recommend;
pub mod record;
pub mod stats;
pub mod status;
pub mod table;

use std::borrow::Cow;
use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::error::Result;

/// The version of every JSON document. It rises when a field goes or changes its meaning; new
/// fields do not raise it.
pub const JSON_SCHEMA: u32 = 1;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs: one document with `"schema": 1`
    Json,
    /// For spreadsheets: a header line, then a line for each row
    Csv,
}

/// Something a command can answer with.
pub trait Answer {
    /// The human-readable text, complete with its line ends. `width` is the terminal's, in characters, and
    /// nothing when stdout is not a terminal; a list then keeps all its columns.
    fn table(&self, width: Option<usize>) -> String;

    /// The document for programs, without its schema version.
    fn json(&self) -> impl Serialize;

    /// The header and the rows for spreadsheets.
    fn csv(&self) -> Vec<Vec<String>>;
}

/// The width of the terminal that stdout is.
fn terminal_width() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(io::stdout())?;
    Some(usize::from(width.0))
}

#[derive(Serialize)]
struct Document<T> {
    schema: u32,
    #[serde(flatten)]
    body: T,
}

/// Prints `answer` to `out` as `format`.
pub fn print(out: &mut impl Write, format: Format, answer: &impl Answer) -> Result<()> {
    match format {
        Format::Table => out.write_all(answer.table(terminal_width()).as_bytes())?,
        Format::Json => {
            let document = Document {
                schema: JSON_SCHEMA,
                body: answer.json(),
            };
            serde_json::to_writer_pretty(&mut *out, &document)?;
            out.write_all(b"\n")?;
        }
        Format::Csv => {
            let mut writer = csv::Writer::from_writer(out);
            for row in answer.csv() {
                writer.write_record(row.iter().map(|cell| inert(cell).into_owned()))?;
            }
            writer.flush()?;
        }
    }
    Ok(())
}

/// A stored string as people may see it: control characters would move their cursor or colour their
/// terminal, so they are shown escaped.
pub fn printable(text: &str) -> Cow<'_, str> {
    // Also the marks that make a terminal write from right to left, and so show one thing for another.
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| {
        if hidden(c) {
            c.escape_default().collect::<String>()
        } else {
            c.to_string()
        }
    };
    Cow::Owned(text.chars().map(escape).collect())
}

/// A CSV cell that no spreadsheet runs: one that would begin a formula gets an apostrophe before it.
/// Numbers stay numbers.
pub fn inert(cell: &str) -> Cow<'_, str> {
    let starts_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if starts_formula && cell.parse::<f64>().is_err() {
        Cow::Owned(format!("'{cell}"))
    } else {
        Cow::Borrowed(cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(printable("plain ünï"), "plain ünï");
        assert_eq!(printable("a\u{1b}[31mb\nc"), "a\\u{1b}[31mb\\nc");
        assert_eq!(printable("\u{202e}abc"), "\\u{202e}abc");
    }

    #[test]
    fn a_cell_that_a_spreadsheet_would_run_is_neutralised() {
        assert_eq!(inert("=HYPERLINK(\"x\")"), "'=HYPERLINK(\"x\")");
        assert_eq!(inert("@cmd"), "'@cmd");
        assert_eq!(inert("-1.5"), "-1.5");
        assert_eq!(inert("finnhub"), "finnhub");
    }
}
