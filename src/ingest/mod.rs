//! Bytes in, checked records out.
//!
//! Files and streams of NDJSON, JSON or CSV, compressed or not, become [`NewUsage`]s, complete and
//! safe for either engine, or [`Refusal`]s that name line, field and reason. A refused line never
//! stops the good ones. Nothing here knows the database the records go to.
//!
//! ```text
//! source   opens files and stdin, sees through gzip and zstd
//! lines    finds the records in a stream: lines, elements of an array, rows of CSV, in bounded memory
//! json     one object to the values of its fields
//! csv      one row to the values of its fields
//! fields   the names of the fields, and what a line says about each
//! check    what a line says to a record: types, ranges, times, defaults
//! key      the ids of records that have none
//! rejects  refused lines, kept in a file and read back
//! points   measurements and bills instead of usage: a loop of their own, with the same lines and rejects
//! block    what is handed on: records and refusals, in the order of their lines
//! reader   the loop through all of it
//! ```

mod block;
mod check;
mod csv;
mod fields;
mod json;
mod key;
mod lines;
mod points;
mod reader;
mod rejects;
mod source;

pub use block::{Block, Place, Replayed};
pub use check::{Rules, TimeUnit, zone_from_text};
pub use fields::{Field, Mapping, Unknown};
pub use key::{EventHash, derived_id};
pub use points::{Broken, Found, Line, Said, read_lines};
pub use reader::{Ended, Failure, Format, Job, read};
pub use rejects::{RawIs, RejectsFile};
pub use source::{Input, OpenError};

use std::sync::Arc;

#[cfg(doc)]
use crate::domain::usage::record::NewUsage;

/// The longest record that is read. Longer ones are refused, and never held in memory.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// Where records come from; shared by everything that was read there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The input as messages name it.
    pub input: String,
    /// The name that goes into derived ids: a file's name without its directories, `-` for stdin.
    pub source: String,
    /// How a record is written there.
    pub syntax: Syntax,
}

/// How one record is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Syntax {
    Json,
    /// A row of CSV under this header.
    Csv {
        /// The header line as it was written.
        header: String,
    },
}

/// A line that is not recorded, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub origin: Arc<Origin>,
    /// Its line in the input, from 1; of a record of several lines, the first.
    pub line: u64,
    /// Where it begins in the input, decompressed.
    pub byte: u64,
    /// What is wrong with it.
    pub problem: Problem,
    /// The line itself, without its end.
    pub raw: Vec<u8>,
    /// Why `raw` is not the line as it was.
    pub raw_is: Option<RawIs>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind of reason, for programs.
    pub code: Code,
    /// The field, where it is one.
    pub field: Option<String>,
    /// The reason, for people: what is wrong, and the cure where we know it.
    pub message: String,
}

impl Problem {
    /// A problem with the line as a whole.
    pub fn new(code: Code, message: impl Into<String>) -> Problem {
        Problem {
            code,
            field: None,
            message: message.into(),
        }
    }

    /// A problem with one field.
    pub fn with(code: Code, field: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem {
            code,
            field: Some(field.into()),
            message: message.into(),
        }
    }
}

/// The kind of reason for a refusal. The names are a promise to programs that read rejects.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Not UTF-8.
    Utf8,
    /// Not JSON, or not an object.
    Json,
    /// Not a row of CSV under its header.
    Csv,
    /// Longer than is read or stored.
    TooLong,
    /// A field that nobody knows.
    UnknownField,
    /// A field that is said twice.
    DuplicateField,
    /// A field that must be there.
    Missing,
    /// A value of another type.
    Type,
    /// A value out of its range.
    Range,
    /// A time that cannot be understood or cannot be true.
    Time,
    /// A text with a NUL in it, which PostgreSQL cannot store.
    Nul,
    /// The same id is stored with other content.
    Conflict,
    /// The database refuses the row.
    Database,
    /// A kept line whose text is not the whole original.
    Raw,
}
