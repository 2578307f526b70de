//! Refused lines, kept in a file and read back.
//!
//! Each is a line of NDJSON that says what was wrong and holds the line itself, so that a person can
//! correct it there, and all that is needed to read it as if it stood where it came from.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Code, Origin, Refusal, Syntax};

/// A refused line as it is kept.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reject {
    /// The input it came from, as messages name it.
    pub(super) input: String,
    pub(super) line: u64,
    pub(super) byte: u64,
    pub(super) code: Code,
    /// The field that is wrong, where it is one.
    pub(super) field: Option<String>,
    pub(super) message: String,
    /// The line: this is what to correct.
    pub(super) raw: String,
    /// What keeps `raw` from being the whole original; to be removed once `raw` is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) raw_is: Option<RawIs>,
    pub(super) format: RejectFormat,
    /// The header of its file, for CSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) header: Option<String>,
    /// The name of its input in derived ids.
    pub(super) source: String,
    pub(super) at: DateTime<Utc>,
}

/// Why a kept line is not the line as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RawIs {
    /// Only its beginning: the rest was too long to keep.
    Cut,
    /// It was not UTF-8; what could not be read was replaced by U+FFFD.
    Lossy,
}

/// How a kept line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RejectFormat {
    Json,
    /// A row of CSV.
    Csv,
}

impl Reject {
    fn new(refusal: &Refusal, at: DateTime<Utc>) -> Reject {
        let raw = String::from_utf8_lossy(&refusal.raw);
        let raw_is = match &raw {
            _ if refusal.raw_is.is_some() => refusal.raw_is,
            Cow::Owned(_) => Some(RawIs::Lossy),
            Cow::Borrowed(_) => None,
        };
        let (format, header) = match &refusal.origin.syntax {
            Syntax::Json => (RejectFormat::Json, None),
            Syntax::Csv { header } => (RejectFormat::Csv, Some(header.clone())),
        };
        Reject {
            input: refusal.origin.input.clone(),
            line: refusal.line,
            byte: refusal.byte,
            code: refusal.problem.code,
            field: refusal.problem.field.clone(),
            message: refusal.problem.message.clone(),
            raw: raw.into_owned(),
            raw_is,
            format,
            header,
            source: refusal.origin.source.clone(),
            at,
        }
    }

    /// Where the line came from in the first place.
    pub(super) fn origin(&self) -> Origin {
        let syntax = match (&self.format, &self.header) {
            (RejectFormat::Csv, Some(header)) => Syntax::Csv {
                header: header.clone(),
            },
            _ => Syntax::Json,
        };
        Origin {
            input: self.input.clone(),
            source: self.source.clone(),
            syntax,
        }
    }
}

/// The file that refused lines are written to.
///
/// Lines are added behind those that are there: what nobody has looked at yet must not be lost. A file
/// that was made for nothing is removed again.
#[derive(Debug)]
pub struct RejectsFile {
    path: PathBuf,
    file: BufWriter<File>,
    was_made: bool,
    is_empty: bool,
}

impl RejectsFile {
    /// Opens the file, or makes one that only its owner may read.
    pub fn open(path: &Path) -> io::Result<RejectsFile> {
        let make = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let (file, was_made) = match make {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (OpenOptions::new().append(true).open(path)?, false)
            }
            Err(error) => return Err(error),
        };
        Ok(RejectsFile {
            path: path.to_owned(),
            file: BufWriter::new(file),
            was_made,
            is_empty: true,
        })
    }

    /// Whether `path` is this very file.
    pub fn is(&self, path: &Path) -> io::Result<bool> {
        let (ours, other) = (self.file.get_ref().metadata()?, fs::metadata(path)?);
        Ok((ours.dev(), ours.ino()) == (other.dev(), other.ino()))
    }

    /// Its path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing was written to it yet.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Writes a line that is refused at `at`.
    pub fn write(&mut self, refusal: &Refusal, at: DateTime<Utc>) -> io::Result<()> {
        self.is_empty = false;
        serde_json::to_writer(&mut self.file, &Reject::new(refusal, at))?;
        self.file.write_all(b"\n")
    }

    /// Hands on to the file what is still held back.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Ends it.
    pub fn close(mut self) -> io::Result<()> {
        self.file.flush()?;
        if self.is_empty && self.was_made {
            fs::remove_file(&self.path)?;
        }
        Ok(())
    }
}
