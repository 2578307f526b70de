//! The read loop: one input from its first byte to its last, record by record.
//!
//! Usage records, metric points and bills differ only in what a record becomes; each is a [`Consumer`].

use std::io::Read;
use std::sync::Arc;

use super::csv::Dialect;
use super::layout::{Format, Layout, preamble};
use super::lines::{Splitter, Step, Window, skip_blank};
use super::rejects::RawIs;
use super::source::{Input, explain};
use super::{Code, LineError, MAX_RECORD_BYTES, Origin, Refusal, Syntax};

pub(super) trait Consumer {
    /// Why a consumer ends reading before the end of the input.
    type Stop;

    /// Runs before a read that may block for any length of time.
    fn before_wait(&mut self) -> Result<(), Self::Stop> {
        Ok(())
    }

    /// Whether a column or a name in JSON has a meaning.
    fn knows(&self, name: &str) -> bool;

    /// Takes the header of a CSV input, or says why no row under it can be read.
    fn header(&mut self, header: &str, dialect: Dialect) -> Result<(), String>;

    /// Takes one record: its text, or why it is refused.
    fn record(
        &mut self,
        line: &RawLine<'_>,
        text: Result<&str, LineError>,
    ) -> Result<(), Self::Stop>;
}

/// The bytes of a record, and where they are from.
#[derive(Clone, Copy)]
pub(super) struct RawLine<'a> {
    pub(super) raw: &'a [u8],
    pub(super) origin: &'a Arc<Origin>,
    pub(super) line: u64,
    pub(super) byte: u64,
    /// Why `raw` differs from the original line.
    pub(super) raw_is: Option<RawIs>,
}

impl RawLine<'_> {
    pub(super) fn refusal(&self, problem: LineError) -> Refusal {
        Refusal {
            origin: Arc::clone(self.origin),
            line: self.line,
            byte: self.byte,
            problem,
            raw: self.raw.to_vec(),
            raw_is: self.raw_is,
        }
    }
}

/// An input that could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFailure {
    /// The input as messages name it.
    pub input: String,
    /// The line at which reading ended; nothing of the input was read when it is 1.
    pub line: u64,
    pub reason: String,
}

#[derive(Debug)]
pub enum ReadError<S> {
    /// The input cannot be read further, or its format is invalid.
    Input(InputFailure),
    /// The consumer ended it.
    Stopped(S),
}

/// The number of bytes kept of a record that is too long.
const KEPT_BYTES: usize = 1_000;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads an input to its end, in the format of `layout` or in the one its first lines indicate.
pub(super) fn read_input<C: Consumer>(
    input: Input,
    layout: &Layout,
    consumer: &mut C,
) -> Result<(), ReadError<C::Stop>> {
    let (name, source) = (input.name.clone(), input.source.clone());
    let failure = |line, reason| {
        ReadError::Input(InputFailure {
            input: name.clone(),
            line,
            reason,
        })
    };
    let stream = input
        .into_reader()
        .map_err(|error| failure(1, explain(&error)))?;
    let mut window = Window::new(stream);
    let fill = |window: &mut Window<_>, consumer: &mut C| {
        consumer.before_wait().map_err(ReadError::Stopped)?;
        let line = window.line();
        window
            .fill()
            .map_err(|error| failure(line, explain(&error)))
    };
    let (format, root) = loop {
        skip_beginning(&mut window);
        let at_end = window.at_end();
        let knows = |name: &str| consumer.knows(name);
        match window.bytes().first() {
            None if at_end => return Ok(()),
            None => {}
            Some(_) => {
                if let Some(found) = layout.detect(window.bytes(), at_end, &knows) {
                    break found;
                }
            }
        }
        fill(&mut window, consumer)?;
    };
    let hint = match layout.format {
        None if format == Format::Csv => {
            " (read as CSV because it starts with neither { nor [; set another format with --input-format)"
        }
        _ => "",
    };
    let mut awaits_header = format == Format::Csv;
    let dialect = loop {
        if !awaits_header {
            break Dialect::Words;
        }
        match preamble(window.bytes(), window.at_end(), layout.delimiter) {
            Some((dialect, length)) => {
                window.consume(length);
                break dialect;
            }
            None => fill(&mut window, consumer)?,
        }
    };
    let mut splitter = Splitter::new(format, root, dialect.delimiter());
    let origin = |syntax| {
        Arc::new(Origin {
            input: name.clone(),
            source: source.clone(),
            syntax,
        })
    };
    let mut current = origin(match format {
        Format::Text => Syntax::Text,
        _ => Syntax::Json,
    });
    loop {
        let bytes = window.bytes();
        let mut raw_is = None;
        let (raw, length, problem) = match splitter.step(bytes, window.at_end()) {
            Step::Record { text, length } => (&bytes[..text], length, None),
            Step::Broken {
                text,
                length,
                reason,
            } => (
                &bytes[..text],
                length,
                Some(LineError::new(Code::Csv, reason)),
            ),
            Step::TooLong(length) => {
                raw_is = Some(RawIs::Cut);
                let message = format!("is longer than {} MiB", MAX_RECORD_BYTES / 1024 / 1024);
                let problem = LineError::new(Code::TooLong, message);
                (&bytes[..KEPT_BYTES.min(length)], length, Some(problem))
            }
            Step::Skip(length) => {
                window.consume(length);
                continue;
            }
            Step::Wait => {
                fill(&mut window, consumer)?;
                continue;
            }
            Step::End => return Ok(()),
            Step::Unfinished(reason) => return Err(failure(window.line(), reason.to_owned())),
        };
        let text = problem.map_or_else(|| utf8(raw), Err);
        if awaits_header {
            let header = text
                .map_err(|problem| format!("the header {}", problem.message))
                .and_then(|header| consumer.header(header, dialect).map(|()| header));
            let header = header.map_err(|reason| failure(window.line(), reason + hint))?;
            current = origin(Syntax::Csv {
                header: header.to_owned(),
            });
            awaits_header = false;
        } else {
            let line = RawLine {
                raw,
                origin: &current,
                line: window.line(),
                byte: window.byte(),
                raw_is,
            };
            consumer.record(&line, text).map_err(ReadError::Stopped)?;
        }
        window.consume(length);
    }
}

/// Skips a byte order mark and blanks.
fn skip_beginning(window: &mut Window<impl Read>) {
    if window.byte() == 0 {
        if window.bytes().len() < BYTE_ORDER_MARK.len() && !window.at_end() {
            return;
        }
        if window.bytes().starts_with(BYTE_ORDER_MARK) {
            window.consume(BYTE_ORDER_MARK.len());
        }
    }
    window.consume(window.bytes().len() - skip_blank(window.bytes()).len());
}

fn utf8(raw: &[u8]) -> Result<&str, LineError> {
    std::str::from_utf8(raw).map_err(|error| {
        let at = error.valid_up_to() + 1;
        LineError::new(Code::Utf8, format!("is not valid UTF-8 at byte {at}"))
    })
}
