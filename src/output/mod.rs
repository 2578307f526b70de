//! Answers as a human-readable table, JSON or CSV, one file for each answer.
//!
//! An answer is its own JSON where its fields are the format; otherwise [`json::object`] lists them.

pub mod adoption;
pub mod aggregate;
pub mod alerts;
pub mod chart;
pub mod collect;
pub mod columns;
mod exposition;
pub mod json;
pub mod limits;
pub mod migrations;
mod prelude;
pub mod prune;
pub mod recommend;
pub mod record;
pub mod stats;
pub mod status;
pub mod table;

use std::borrow::Cow;
use std::io::{self, Write};
use std::mem;

use clap::ValueEnum;
use serde::Serialize;

use crate::domain::format::printable;
use crate::error::{JSON_SCHEMA, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Human-readable
    Table,
    /// One document with `"schema": 1`
    Json,
    /// A header line, then a line for each row
    Csv,
    /// Metrics in Prometheus's text format; `stats` only
    #[value(hide = true)]
    Prometheus,
}

pub trait Answer {
    /// The text, with line ends. `width` is that of the terminal in characters, `None` if stdout is not a
    /// terminal; a list then keeps all its columns.
    fn table(&self, width: Option<usize>) -> String;

    /// The JSON document without its schema version.
    fn json(&self) -> impl Serialize;

    /// The header and the rows of the CSV.
    fn csv(&self) -> Vec<Vec<String>>;

    /// Metrics in Prometheus's text format, if the answer has any.
    fn prometheus(&self) -> Option<String> {
        None
    }
}

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
        Format::Prometheus => {
            let text = answer.prometheus().unwrap_or_default();
            out.write_all(text.as_bytes())?;
        }
    }
    Ok(())
}

/// Breaks a text into lines at spaces. A longer word has a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// A line for each row, with control characters escaped.
pub fn lines<T>(rows: &[T], line: impl Fn(&T) -> String) -> String {
    let lines = rows.iter().map(line);
    lines
        .map(|line| format!("{}\n", printable(&line)))
        .collect()
}

/// Prefixes a CSV cell with an apostrophe if a spreadsheet would run it as a formula; numbers stay as they are.
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
    fn text_is_wrapped_at_spaces() {
        assert_eq!(wrap("a bc  def", 4), ["a bc", "def"]);
        assert_eq!(wrap("a longest b", 3), ["a", "longest", "b"]);
        assert_eq!(wrap("", 3), [""]);
    }

    #[test]
    fn formula_is_neutralised() {
        assert_eq!(inert("=HYPERLINK(\"x\")"), "'=HYPERLINK(\"x\")");
        assert_eq!(inert("@cmd"), "'@cmd");
        for start in ["+", "-", "\t", "\r"] {
            assert_eq!(inert(&format!("{start}cmd")), format!("'{start}cmd"));
        }
        assert_eq!(inert("-1.5"), "-1.5");
        assert_eq!(inert("finnhub"), "finnhub");
    }
}
