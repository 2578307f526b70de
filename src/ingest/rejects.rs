//! Rejects files: refused lines, kept and read back.
//!
//! Each is a line of NDJSON with the problem and the line itself, to be corrected there, and with all that
//! is needed to read it as if it stood in its original input.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Code, MAX_RECORD_BYTES, Origin, Refusal, Syntax};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reject {
    pub(super) input: String,
    pub(super) line: u64,
    pub(super) byte: u64,
    pub(super) code: Code,
    pub(super) field: Option<String>,
    pub(super) message: String,
    /// The line, for the user to correct.
    pub(super) raw: String,
    /// Why `raw` differs from the original line; the user removes it once `raw` is correct.
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

/// Why a kept line differs from the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RawIs {
    /// Only its beginning: the whole was too long.
    Cut,
    /// It was not UTF-8; invalid bytes were replaced by U+FFFD.
    Lossy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RejectFormat {
    Json,
    Csv,
    Text,
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
            Syntax::Text => (RejectFormat::Text, None),
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

    pub(super) fn origin(&self) -> Origin {
        let syntax = match (&self.format, &self.header) {
            (RejectFormat::Csv, Some(header)) => Syntax::Csv {
                header: header.clone(),
            },
            (RejectFormat::Text, _) => Syntax::Text,
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
/// Lines are appended, because those of earlier runs may still need correction. A file that was created
/// and stayed empty is removed again.
#[derive(Debug)]
pub struct RejectsFile {
    path: PathBuf,
    file: BufWriter<File>,
    was_made: bool,
    is_empty: bool,
}

/// Whether a file is empty or begins with a refused line.
fn is_rejects_file(path: &Path) -> io::Result<bool> {
    let mut line = Vec::new();
    let file = BufReader::new(File::open(path)?);
    file.take(4 * MAX_RECORD_BYTES as u64)
        .read_until(b'\n', &mut line)?;
    Ok(line.is_empty() || serde_json::from_slice::<Reject>(&line).is_ok())
}

impl RejectsFile {
    /// Opens the file, or creates one that only its owner may read.
    ///
    /// A file with other content is not touched.
    pub fn open(path: &Path) -> io::Result<RejectsFile> {
        if path.is_file() && !is_rejects_file(path)? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it has other content than rejected lines",
            ));
        }
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

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing was written to it by this run.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    pub fn write(&mut self, refusal: &Refusal, at: DateTime<Utc>) -> io::Result<()> {
        self.is_empty = false;
        serde_json::to_writer(&mut self.file, &Reject::new(refusal, at))?;
        self.file.write_all(b"\n")
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Closes it, and removes it if it was created for nothing.
    pub fn close(mut self) -> io::Result<()> {
        self.file.flush()?;
        if self.is_empty && self.was_made {
            fs::remove_file(&self.path)?;
        }
        Ok(())
    }
}
