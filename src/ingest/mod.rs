//! Bytes in, checked records out.
//!
//! Files and streams of NDJSON, JSON or CSV, compressed or not, become [`NewUsage`]s, metric points or
//! charges, complete and safe for either engine, or [`Refusal`]s that name line, field and reason. A refused
//! line never stops the others.
//!
//! ```text
//! source     opens files and stdin, decompresses gzip and zstd; source_name is their name in ids
//! lines      finds the records in a stream: lines, array elements, CSV rows, in bounded memory
//! read_loop  reads one input and passes its records to a consumer
//! reader     the consumer for usage records: checks, ids, blocks, replay of rejects files
//! points     the consumer for metric points and bills
//! layout     the format of an input, from its first lines
//! mapping    how the names and values of foreign logs become fields; presets
//! json, csv  one object or row as the values of its fields
//! fields     the fields of a usage record
//! check      values to a record: types, ranges, defaults
//! time       forms, units and zones of times
//! key        the ids of records that have none
//! spill      ordinals of identical records, on disk when memory is full
//! rejects    refused lines, kept in a file and read back
//! block      records and refusals, in the order of their lines
//! ```

mod block;
mod check;
mod csv;
mod fields;
mod json;
mod key;
mod layout;
mod lines;
mod mapping;
mod points;
mod read_loop;
mod reader;
mod rejects;
mod source;
mod source_name;
mod spill;
mod time;

pub use block::{Block, Replayed};
pub use fields::{Field, UnknownFields};
pub use key::{EventHash, derived_id};
pub use layout::Format;
pub use mapping::{Mapping, parse_delimiter, presets};
pub use points::{FromLine, read_lines};
pub use read_loop::{InputFailure, ReadError};
pub use reader::{BLOCK_BYTES, BLOCK_LINES, Job, ReadSummary, read};
pub use rejects::{RawIs, RejectsFile};
pub use source::{Input, OpenError};
pub use time::{TimeOptions, TimeUnit, parse_time_format, parse_zone};

use std::sync::Arc;

#[cfg(doc)]
use crate::domain::usage::record::NewUsage;

/// The longest record. Longer ones are refused and never held in memory.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// An input, shared by everything that was read from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The input as messages name it.
    pub input: String,
    /// The name that goes into derived ids: a file's name without directories and rotation, `-` for stdin.
    pub source: String,
    pub syntax: Syntax,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Syntax {
    Json,
    /// A row of CSV under this header line.
    Csv {
        header: String,
    },
    /// Words, whose columns the mapping names.
    Text,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub origin: Arc<Origin>,
    /// The line in the input, from 1; the first one of a record of several lines.
    pub line: u64,
    /// Its offset in the decompressed input.
    pub byte: u64,
    pub problem: LineError,
    /// The line itself, without its end.
    pub raw: Vec<u8>,
    /// Why `raw` differs from the original line.
    pub raw_is: Option<RawIs>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    pub code: Code,
    /// The field, unless the line as a whole is at fault.
    pub field: Option<String>,
    /// The problem and, if known, its solution, to follow the name of the field in a sentence.
    pub message: String,
}

impl LineError {
    pub fn new(code: Code, message: impl Into<String>) -> LineError {
        LineError {
            code,
            field: None,
            message: message.into(),
        }
    }

    /// A problem with one field.
    pub fn with(code: Code, field: impl Into<String>, message: impl Into<String>) -> LineError {
        LineError {
            code,
            field: Some(field.into()),
            message: message.into(),
        }
    }
}

/// The kind of a problem. The names are part of the format of rejects files.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    Utf8,
    /// Not JSON, or not an object.
    Json,
    /// Not a row of CSV under its header.
    Csv,
    /// Longer than is read or stored.
    TooLong,
    UnknownField,
    DuplicateField,
    Missing,
    Type,
    Range,
    /// A time that is invalid or implausible.
    Time,
    /// Text with a NUL, which PostgreSQL cannot store.
    Nul,
    /// The same id is stored with other content.
    Conflict,
    /// The database refuses the row.
    Database,
    /// A kept line whose text differs from the original.
    Raw,
}
