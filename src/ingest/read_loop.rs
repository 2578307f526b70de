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
    let stream = match input.into_reader() {
        Ok(stream) => stream,
        Err(error) => return Err(failure(&name, 1, explain(&error))),
    };
    let mut reading = Reading {
        name,
        window: Window::new(stream),
        consumer,
    };
    let Some((format, root)) = reading.detect(layout)? else {
        return Ok(());
    };
    let dialect = match format {
        Format::Csv => reading.preamble(layout)?,
        _ => Dialect::Words,
    };
    let mut splitter = Splitter::new(format, root, dialect.delimiter());
    let syntax = match format {
        Format::Csv => match reading.header(&mut splitter, dialect, layout)? {
            Some(header) => Syntax::Csv { header },
            None => return Ok(()),
        },
        Format::Text => Syntax::Text,
        _ => Syntax::Json,
    };
    let origin = Arc::new(Origin {
        input: reading.name.clone(),
        source,
        syntax,
    });
    while let Some(found) = reading.next(&mut splitter)? {
        reading.record(found, &origin)?;
    }
    Ok(())
}

/// A format, and the path to its records.
type Detected = (Format, Vec<String>);

fn failure<S>(input: &str, line: u64, reason: String) -> ReadError<S> {
    ReadError::Input(InputFailure {
        input: input.to_owned(),
        line,
        reason,
    })
}

/// A record at the beginning of the window.
struct Found {
    /// How many bytes of the window are its text.
    text: usize,
    /// How many bytes to consume after it.
    length: usize,
    raw_is: Option<RawIs>,
    problem: Option<LineError>,
}

/// An input that is being read.
struct Reading<'a, C, R> {
    name: String,
    window: Window<R>,
    consumer: &'a mut C,
}

impl<C: Consumer, R: Read> Reading<'_, C, R> {
    fn failure(&self, reason: String) -> ReadError<C::Stop> {
        failure(&self.name, self.window.line(), reason)
    }

    fn fill(&mut self) -> Result<(), ReadError<C::Stop>> {
        self.consumer.before_wait().map_err(ReadError::Stopped)?;
        let line = self.window.line();
        let filled = self.window.fill();
        filled.map_err(|error| failure(&self.name, line, explain(&error)))
    }

    /// The format, and where its records are; none if the input is empty.
    fn detect(&mut self, layout: &Layout) -> Result<Option<Detected>, ReadError<C::Stop>> {
        loop {
            skip_beginning(&mut self.window);
            let at_end = self.window.at_end();
            let consumer = &*self.consumer;
            let knows = |name: &str| consumer.knows(name);
            match self.window.bytes().first() {
                None if at_end => return Ok(None),
                None => {}
                Some(_) => {
                    let found = layout.detect(self.window.bytes(), at_end, &knows);
                    if found.is_some() {
                        return Ok(found);
                    }
                }
            }
            self.fill()?;
        }
    }

    /// Skips the lines before the header of a CSV input, and returns its dialect.
    fn preamble(&mut self, layout: &Layout) -> Result<Dialect, ReadError<C::Stop>> {
        loop {
            let (bytes, at_end) = (self.window.bytes(), self.window.at_end());
            if let Some((dialect, length)) = preamble(bytes, at_end, layout.delimiter) {
                self.window.consume(length);
                return Ok(dialect);
            }
            self.fill()?;
        }
    }

    /// The next record; none at the end.
    fn next(&mut self, splitter: &mut Splitter) -> Result<Option<Found>, ReadError<C::Stop>> {
        loop {
            let found = |text, length, problem| Found {
                text,
                length,
                raw_is: None,
                problem,
            };
            match splitter.step(self.window.bytes(), self.window.at_end()) {
                Step::Record { text, length } => return Ok(Some(found(text, length, None))),
                Step::Broken {
                    text,
                    length,
                    reason,
                } => {
                    let problem = LineError::new(Code::Csv, reason);
                    return Ok(Some(found(text, length, Some(problem))));
                }
                Step::TooLong(length) => {
                    let message = format!("is longer than {} MiB", MAX_RECORD_BYTES / 1024 / 1024);
                    let problem = LineError::new(Code::TooLong, message);
                    return Ok(Some(Found {
                        raw_is: Some(RawIs::Cut),
                        ..found(KEPT_BYTES.min(length), length, Some(problem))
                    }));
                }
                Step::Skip(length) => self.window.consume(length),
                Step::Wait => self.fill()?,
                Step::End => return Ok(None),
                Step::Unfinished(reason) => return Err(self.failure(reason.to_owned())),
            }
        }
    }

    /// Reads the header of a CSV input; none if there is no line.
    fn header(
        &mut self,
        splitter: &mut Splitter,
        dialect: Dialect,
        layout: &Layout,
    ) -> Result<Option<String>, ReadError<C::Stop>> {
        let Some(found) = self.next(splitter)? else {
            return Ok(None);
        };
        let hint = match layout.format {
            None => {
                " (read as CSV because it starts with neither { nor [; set another format with --input-format)"
            }
            Some(_) => "",
        };
        let raw = &self.window.bytes()[..found.text];
        let text = found.problem.map_or_else(|| utf8(raw), Err);
        let header = text
            .map_err(|problem| format!("the header {}", problem.message))
            .and_then(|header| self.consumer.header(header, dialect).map(|()| header));
        let header = match header {
            Ok(header) => header.to_owned(),
            Err(reason) => return Err(self.failure(reason + hint)),
        };
        self.window.consume(found.length);
        Ok(Some(header))
    }

    /// Hands a record to the consumer.
    fn record(&mut self, found: Found, origin: &Arc<Origin>) -> Result<(), ReadError<C::Stop>> {
        let raw = &self.window.bytes()[..found.text];
        let text = found.problem.map_or_else(|| utf8(raw), Err);
        let line = RawLine {
            raw,
            origin,
            line: self.window.line(),
            byte: self.window.byte(),
            raw_is: found.raw_is,
        };
        let taken = self.consumer.record(&line, text);
        taken.map_err(ReadError::Stopped)?;
        self.window.consume(found.length);
        Ok(())
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
