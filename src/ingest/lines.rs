//! Finds the records in a stream, in bounded memory.
//!
//! A [`Window`] is the part of the stream that is in memory; a [`Splitter`] finds the end of the next
//! record in it. A splitter never reads: it may be called again with the same bytes and more after
//! them, and continues where it stopped. So each byte is scanned once, however small the pieces in which
//! a slow pipe delivers them, and the caller knows when reading may block.

use std::io::{self, ErrorKind, Read};

use super::{Format, MAX_RECORD_BYTES};

/// Bytes per read: about a thousand records.
const READ_BYTES: usize = 256 * 1024;

/// The part of a stream that is in memory.
pub(super) struct Window<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    at_end: bool,
    byte: u64,
    line: u64,
}

impl<R: Read> Window<R> {
    pub(super) fn new(input: R) -> Window<R> {
        Window {
            input,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            at_end: false,
            byte: 0,
            line: 1,
        }
    }

    /// The bytes in memory that are not consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Whether nothing follows the bytes in memory.
    pub(super) fn at_end(&self) -> bool {
        self.at_end
    }

    pub(super) fn byte(&self) -> u64 {
        self.byte
    }

    /// The line it begins in, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    pub(super) fn consume(&mut self, length: usize) {
        let consumed = &self.buffer[self.start..self.start + length];
        self.line += consumed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.byte += length as u64;
        self.start += length;
    }

    /// Reads the bytes available; blocks while there are none.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() - self.end < READ_BYTES {
            // A splitter skips records beyond the limit, so the buffer stays bounded.
            self.buffer.resize(self.end + READ_BYTES, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.at_end = true,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            return Ok(());
        }
    }
}

/// A splitter's finding at the beginning of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A record in the first `text` bytes; the caller consumes `length` bytes.
    Record {
        text: usize,
        length: usize,
    },
    /// This many bytes hold no record.
    Skip(usize),
    /// The beginning of a record that is too long; its rest will be skipped.
    TooLong(usize),
    /// A line that cannot be split, and why; the next one starts a new record.
    Broken {
        text: usize,
        length: usize,
        reason: &'static str,
    },
    /// More must be read.
    Wait,
    End,
    /// The end of the input, inside of something unfinished.
    Unfinished(&'static str),
}

#[derive(Debug)]
pub(super) enum Splitter {
    Lines(Lines),
    Array(Array),
    Rows(Rows),
}

impl Splitter {
    /// A splitter for records in the array at `root`, if there is one, or for rows with this separator.
    pub(super) fn new(format: Format, root: Vec<String>, delimiter: u8) -> Splitter {
        match format {
            Format::Ndjson | Format::Text => Splitter::Lines(Lines::default()),
            Format::Json => Splitter::Array(Array::new(root)),
            Format::Csv => Splitter::Rows(Rows::new(delimiter)),
        }
    }

    pub(super) fn step(&mut self, bytes: &[u8], at_end: bool) -> Step {
        match self {
            Splitter::Lines(lines) => lines.step(bytes, at_end),
            Splitter::Array(array) => array.step(bytes, at_end),
            Splitter::Rows(rows) => rows.step(bytes, at_end),
        }
    }
}

/// Every line is a record, except blank ones.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The length of the window's beginning that has no line end.
    scanned: usize,
    /// Within a line that is too long.
    skipping: bool,
}

impl Lines {
    fn step(&mut self, bytes: &[u8], at_end: bool) -> Step {
        let end = find_line_end(bytes, self.scanned);
        if self.skipping {
            self.skipping = end.is_none();
            return match end {
                Some(end) => Step::Skip(end + 1),
                None => skip_all(bytes, at_end),
            };
        }
        self.scanned = 0;
        match end {
            Some(end) => record(&bytes[..end], end + 1),
            None if bytes.len() > MAX_RECORD_BYTES => {
                self.skipping = true;
                Step::TooLong(bytes.len())
            }
            None if !at_end => {
                self.scanned = bytes.len();
                Step::Wait
            }
            None if bytes.is_empty() => Step::End,
            None => record(bytes, bytes.len()),
        }
    }
}

/// Every element of an array is a record, and every object outside of one; it may span lines.
///
/// They are found by brackets, quotes and commas alone and parsed later, so an invalid one does not
/// hide the next. After an array there may be more arrays and objects.
#[derive(Debug, Default)]
pub(super) struct Array {
    state: ArrayState,
    /// The length of the window's beginning that was scanned.
    scanned: usize,
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// Within an element that is too long.
    skipping: bool,
    outside: Lines,
    /// Finds the array within an object.
    root: Option<Root>,
}

/// The position of the window relative to an array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ArrayState {
    #[default]
    Outside,
    /// Within an object outside of an array.
    Object,
    /// After `[` or after an element: `]` may follow.
    MayEnd,
    /// After a comma: an element must follow.
    MustGoOn,
    /// The stream ended inside.
    CutOff,
}

impl Array {
    fn new(root: Vec<String>) -> Array {
        Array {
            root: (!root.is_empty()).then(|| Root {
                names: root,
                ..Root::default()
            }),
            ..Array::default()
        }
    }

    fn step(&mut self, bytes: &[u8], at_end: bool) -> Step {
        let inside_record = self.scanned > 0
            || self.skipping
            || self.outside.skipping
            || self.root.as_ref().is_some_and(|root| root.in_text);
        if !inside_record {
            let blank = bytes.len() - skip_blank(bytes).len();
            if blank > 0 {
                return Step::Skip(blank);
            }
        }
        match (self.state, bytes.first()) {
            (ArrayState::CutOff, _) => Step::Unfinished("ends inside the array"),
            (ArrayState::Outside, first) => match &mut self.root {
                Some(root)
                    if first == Some(&b'{')
                        || root.depth > 0
                        || (first.is_none() && at_end && !root.was_found) =>
                {
                    let (length, is_found) = root.seek(bytes);
                    if is_found {
                        self.state = ArrayState::MayEnd;
                    }
                    match length {
                        0 if at_end && root.was_found => Step::Unfinished("ends inside an object"),
                        0 if at_end => Step::Unfinished("has no array at the root of the mapping"),
                        0 => Step::Wait,
                        length => Step::Skip(length),
                    }
                }
                _ if first == Some(&b'[') && !inside_record => {
                    self.state = ArrayState::MayEnd;
                    Step::Skip(1)
                }
                None if first == Some(&b'{') && !inside_record => {
                    self.state = ArrayState::Object;
                    self.element(bytes, at_end)
                }
                _ => self.outside.step(bytes, at_end),
            },
            (ArrayState::MayEnd, Some(b']')) if !inside_record => {
                self.state = ArrayState::Outside;
                Step::Skip(1)
            }
            // The empty element will be refused.
            (ArrayState::MustGoOn, Some(b']')) if !inside_record => {
                self.state = ArrayState::MayEnd;
                Step::Record { text: 0, length: 0 }
            }
            _ => self.element(bytes, at_end),
        }
    }

    fn element(&mut self, bytes: &[u8], at_end: bool) -> Step {
        let is_object = self.state == ArrayState::Object;
        while let Some(byte) = bytes.get(self.scanned) {
            match byte {
                // A text does not span lines, nor does an object begin without indentation in another.
                b'\n'
                    if is_object
                        && (self.in_text || bytes.get(self.scanned + 1) == Some(&b'{')) =>
                {
                    return self.end_of_object(bytes, self.scanned);
                }
                b'\n' if is_object && self.scanned + 1 == bytes.len() && !at_end => break,
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'[' | b'{' => self.depth += 1,
                b',' if self.depth == 0 => return self.end_of_element(bytes, ArrayState::MustGoOn),
                b']' if self.depth == 0 => return self.end_of_element(bytes, ArrayState::MayEnd),
                b']' | b'}' => {
                    self.depth = self.depth.saturating_sub(1);
                    if is_object && self.depth == 0 {
                        return self.end_of_object(bytes, self.scanned + 1);
                    }
                }
                _ => {}
            }
            self.scanned += 1;
        }
        if self.scanned > MAX_RECORD_BYTES || self.skipping {
            let too_long = !std::mem::replace(&mut self.skipping, true);
            self.scanned = 0;
            return if too_long {
                Step::TooLong(bytes.len())
            } else if bytes.is_empty() && at_end {
                Step::Unfinished("ends inside the array")
            } else {
                skip_all(bytes, at_end)
            };
        }
        if !at_end {
            return Step::Wait;
        }
        if is_object {
            return self.end_of_object(bytes, bytes.len());
        }
        self.state = ArrayState::CutOff;
        record(bytes, bytes.len())
    }

    /// An object outside of an array ends at `end`, whole or not.
    fn end_of_object(&mut self, bytes: &[u8], end: usize) -> Step {
        let was_skipping = self.skipping;
        *self = Array {
            root: self.root.take(),
            ..Array::default()
        };
        if was_skipping {
            return Step::Skip(end);
        }
        record(&bytes[..end], end)
    }

    /// The element ends at the scan position; a comma is consumed with it, a bracket is not.
    fn end_of_element(&mut self, bytes: &[u8], next: ArrayState) -> Step {
        let end = std::mem::take(&mut self.scanned);
        let length = end + usize::from(next == ArrayState::MustGoOn);
        self.state = next;
        if std::mem::take(&mut self.skipping) {
            return Step::Skip(length);
        }
        let text = bytes[..end].trim_ascii_end().len();
        match text {
            _ if text > MAX_RECORD_BYTES => Step::TooLong(length),
            _ => Step::Record { text, length },
        }
    }
}

/// Finds the array at a path of names within an object.
#[derive(Debug, Default)]
struct Root {
    names: Vec<String>,
    /// The number of names whose objects are open.
    matched: usize,
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// The last text, as long as a name may be.
    text: Vec<u8>,
    /// Whether the next value is that of the next name.
    is_next: bool,
    was_found: bool,
}

impl Root {
    /// Scans up to the array, to the end of the object, or all bytes. Returns the number of bytes, and whether
    /// the array begins after them.
    fn seek(&mut self, bytes: &[u8]) -> (usize, bool) {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' => {
                    self.in_text = !self.in_text;
                    if self.in_text {
                        self.text.clear();
                    }
                }
                byte if self.in_text && self.text.len() < 256 => self.text.push(*byte),
                _ if self.in_text => {}
                b':' => {
                    let name = self.names.get(self.matched).map(String::as_bytes);
                    self.is_next =
                        self.depth == self.matched + 1 && name == Some(self.text.as_slice());
                }
                b'{' | b'[' => {
                    if std::mem::take(&mut self.is_next) {
                        let is_last = self.matched + 1 == self.names.len();
                        if *byte == b'[' && is_last {
                            self.was_found = true;
                            return (at + 1, true);
                        }
                        self.matched += usize::from(*byte == b'{' && !is_last);
                    }
                    self.depth += 1;
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.matched = self.matched.min(self.depth.saturating_sub(1));
                    if self.depth == 0 && self.was_found {
                        return (at + 1, false);
                    }
                }
                b',' => self.is_next = false,
                _ => {}
            }
        }
        (bytes.len(), false)
    }
}

/// Every row of CSV is a record; it may contain line ends in quotes.
///
/// A stray quote would swallow the lines after it, up to the next quote or the end. So when quotes do
/// not match, only the line in which the row began is refused, and the next one starts a new row.
#[derive(Debug)]
pub(super) struct Rows {
    delimiter: u8,
    /// The length of the window's beginning that was scanned.
    scanned: usize,
    state: RowState,
    /// Within a line that is too long.
    skipping: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum RowState {
    #[default]
    Start,
    Plain,
    Quoted,
    /// After a quote inside quotes: the end of the cell, or the first of two.
    Quote,
    Broken,
}

impl Rows {
    fn new(delimiter: u8) -> Rows {
        Rows {
            delimiter,
            scanned: 0,
            state: RowState::Start,
            skipping: false,
        }
    }

    fn step(&mut self, bytes: &[u8], at_end: bool) -> Step {
        if self.skipping {
            let end = find_line_end(bytes, 0);
            self.skipping = end.is_none();
            return match end {
                Some(end) => Step::Skip(end + 1),
                None => skip_all(bytes, at_end),
            };
        }
        while self.state != RowState::Broken
            && let Some(byte) = bytes.get(self.scanned)
        {
            self.state = match (self.state, byte) {
                (RowState::Start, b'"') | (RowState::Quote, b'"') => RowState::Quoted,
                (RowState::Quoted, b'"') => RowState::Quote,
                (RowState::Quoted, _) => RowState::Quoted,
                (_, b'\n') => {
                    let end = self.scanned;
                    *self = Rows::new(self.delimiter);
                    return record(&bytes[..end], end + 1);
                }
                (_, byte) if *byte == self.delimiter => RowState::Start,
                // Before a line end it is part of the line end, elsewhere of the cell.
                (RowState::Quote, b'\r') => RowState::Quote,
                (RowState::Quote, _) => RowState::Broken,
                _ => RowState::Plain,
            };
            self.scanned += 1;
        }
        let too_long = bytes.len() > MAX_RECORD_BYTES;
        let reason = match self.state {
            RowState::Broken => "has text after a closing quote",
            RowState::Quoted if at_end || too_long => "has an unclosed quote",
            _ if too_long => return self.skip(bytes),
            _ if !at_end => return Step::Wait,
            _ if bytes.is_empty() => return Step::End,
            _ => {
                *self = Rows::new(self.delimiter);
                return record(bytes, bytes.len());
            }
        };
        // Only its first line; the others may be valid.
        let (text, length) = match find_line_end(bytes, 0) {
            Some(end) => (end, end + 1),
            None if at_end => (bytes.len(), bytes.len()),
            None if too_long => return self.skip(bytes),
            None => return Step::Wait,
        };
        *self = Rows::new(self.delimiter);
        match text {
            _ if text > MAX_RECORD_BYTES => Step::TooLong(length),
            _ => Step::Broken {
                text: without_carriage_return(&bytes[..text]).len(),
                length,
                reason,
            },
        }
    }

    fn skip(&mut self, bytes: &[u8]) -> Step {
        *self = Rows {
            skipping: true,
            ..Rows::new(self.delimiter)
        };
        Step::TooLong(bytes.len())
    }
}

/// `text` as a record, unless it is blank or too long.
fn record(text: &[u8], length: usize) -> Step {
    let text = without_carriage_return(text);
    match text.len() {
        _ if text.trim_ascii().is_empty() => Step::Skip(length),
        text if text > MAX_RECORD_BYTES => Step::TooLong(length),
        text => Step::Record { text, length },
    }
}

fn skip_all(bytes: &[u8], at_end: bool) -> Step {
    match bytes.len() {
        0 if at_end => Step::End,
        0 => Step::Wait,
        length => Step::Skip(length),
    }
}

pub(super) fn skip_blank(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii_start()
}

pub(super) fn find_line_end(bytes: &[u8], from: usize) -> Option<usize> {
    let found = bytes[from..].iter().position(|byte| *byte == b'\n');
    found.map(|at| from + at)
}

fn without_carriage_return(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\r").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The records, each with its line, and the errors found in `input` when it arrives in
    /// pieces of `piece` bytes.
    fn found(format: Format, input: &[u8], piece: usize) -> Vec<(u64, String)> {
        found_at("", format, input, piece)
    }

    fn found_at(root: &str, format: Format, input: &[u8], piece: usize) -> Vec<(u64, String)> {
        struct Trickle<'a>(&'a [u8], usize);
        impl Read for Trickle<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let count = self.1.min(into.len());
                self.0.read(&mut into[..count])
            }
        }
        let root = root.split('.').filter(|name| !name.is_empty());
        let mut splitter = Splitter::new(format, root.map(str::to_owned).collect(), b',');
        let mut window = Window::new(Trickle(input, piece));
        let mut found = Vec::new();
        loop {
            let bytes = window.bytes();
            let shown = |length: usize| {
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                (window.line(), text)
            };
            let length = match splitter.step(bytes, window.at_end()) {
                Step::Record { text, length } => {
                    found.push(shown(text));
                    length
                }
                Step::Broken {
                    text,
                    length,
                    reason,
                } => {
                    let (line, text) = shown(text);
                    found.push((line, format!("<{reason}> {text}")));
                    length
                }
                Step::TooLong(length) => {
                    found.push((window.line(), format!("<too long> {}", shown(3).1)));
                    length
                }
                Step::Skip(length) => length,
                Step::Wait => {
                    window.fill().unwrap();
                    0
                }
                Step::End => return found,
                Step::Unfinished(_) => {
                    found.push((window.line(), "<unfinished>".to_owned()));
                    return found;
                }
            };
            window.consume(length);
        }
    }

    #[track_caller]
    fn assert_finds(format: Format, input: &str, expected: &[(u64, &str)]) {
        for piece in [1, 7, usize::MAX] {
            let found = found(format, input.as_bytes(), piece);
            let found: Vec<_> = found
                .iter()
                .map(|(line, text)| (*line, text.as_str()))
                .collect();
            assert_eq!(found, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn line_end_may_have_carriage_return_or_be_missing() {
        let expected = [(1, "a"), (4, "b"), (5, " c")];
        assert_finds(Format::Ndjson, "a\r\n\n  \nb\n c", &expected);
        assert_finds(Format::Ndjson, "", &[]);
        assert_finds(Format::Ndjson, "\n\n", &[]);
    }

    #[test]
    fn array_element_may_span_lines_and_quote_brackets() {
        let input = "[\n {\"a\": \"],}\\\"\"},\n {\n \"b\":[1,{}]\n },3 ]\n";
        let expected = [
            (2, "{\"a\": \"],}\\\"\"}"),
            (3, "{\n \"b\":[1,{}]\n }"),
            (5, "3"),
        ];
        assert_finds(Format::Json, input, &expected);
        assert_finds(Format::Json, "[]", &[]);
        let expected = [(1, "1"), (1, "2"), (2, "{}")];
        assert_finds(Format::Json, "[1][2]\n{}\n", &expected);
    }

    #[test]
    fn object_may_span_lines() {
        let input = "{\n \"a\": {\"b\": \"}\"}\n}\n{\"c\":1} {}\n[{}, 2]\n";
        let expected = [
            (1, "{\n \"a\": {\"b\": \"}\"}\n}"),
            (4, "{\"c\":1}"),
            (4, "{}"),
            (5, "{}"),
            (5, "2"),
        ];
        assert_finds(Format::Json, input, &expected);
    }

    #[test]
    fn broken_object_does_not_hide_the_next() {
        let expected = [
            (1, "{\"a\": \"x"),
            (2, "{\"b\":"),
            (3, "{\"c\":1}"),
            (4, "{"),
        ];
        let input = "{\"a\": \"x\n{\"b\":\n{\"c\":1}\n{";
        assert_finds(Format::Json, input, &expected);
    }

    #[test]
    fn array_within_an_object_is_found() {
        let input = br#"{"entries":[{"no":1}],"log":{"x":{"entries":[0]}, "entries" : [{"a":[1]},
            {"b":2}],"pages":[{"entries":[3]}]},"z":"]"}
            {"log":{"entries":[4]}}"#;
        for piece in [1, 7, usize::MAX] {
            let found = found_at("log.entries", Format::Json, input, piece);
            let expected = [(1, "{\"a\":[1]}"), (2, "{\"b\":2}"), (3, "4")];
            let expected = expected.map(|(line, text)| (line, text.to_owned()));
            assert_eq!(found, expected, "in pieces of {piece}");
            for input in ["{\"log\":[1]}", "{\"log\":{\"entries\":[1"] {
                let found = found_at("log.entries", Format::Json, input.as_bytes(), piece);
                assert_eq!(found.last().unwrap().1, "<unfinished>", "{input}");
            }
        }
    }

    #[test]
    fn malformed_array_is_reported() {
        let expected = [(1, "1"), (1, ""), (1, "2"), (1, "")];
        assert_finds(Format::Json, "[1,,2,]", &expected);
        let expected = [(1, "1"), (1, "{\"a\""), (1, "<unfinished>")];
        assert_finds(Format::Json, "[1,{\"a\"", &expected);
        assert_finds(Format::Json, "[1,", &[(1, "1"), (1, "<unfinished>")]);
        assert_finds(Format::Json, "[", &[(1, "<unfinished>")]);
        assert_finds(Format::Json, "[{]},2]", &[(1, "{]}"), (1, "2")]);
        assert_finds(Format::Json, "[1] x y\n", &[(1, "1"), (1, "x y")]);
    }

    #[test]
    fn row_contains_line_ends_in_quotes_only() {
        let input = "a,b\r\n\"x\ny\",2\r\n\n3,\"q\"\"q\"\n4,5\"";
        let expected = [
            (1, "a,b"),
            (2, "\"x\ny\",2"),
            (5, "3,\"q\"\"q\""),
            (6, "4,5\""),
        ];
        assert_finds(Format::Csv, input, &expected);
    }

    #[test]
    fn stray_quote_refuses_its_own_line_only() {
        let expected = [
            (1, "<has text after a closing quote> 1,\"x"),
            (2, "2,y"),
            (3, "3,\"z\""),
            (4, "4,w"),
        ];
        assert_finds(Format::Csv, "1,\"x\n2,y\n3,\"z\"\n4,w\n", &expected);
        let expected = [(1, "<has an unclosed quote> 1,\"x"), (2, "2,y")];
        assert_finds(Format::Csv, "1,\"x\n2,y\n", &expected);
        let expected = [(1, "<has text after a closing quote> \"a\"b"), (2, "c")];
        assert_finds(Format::Csv, "\"a\"b\nc", &expected);
    }

    #[test]
    fn too_long_record_is_skipped() {
        let long = "x".repeat(3 * MAX_RECORD_BYTES);
        let after_lines = format!("a\n{long}\nb\n");
        assert_finds_whole(Format::Ndjson, &after_lines, &["a", "<too long> xxx", "b"]);
        assert_finds_whole(Format::Csv, &after_lines, &["a", "<too long> xxx", "b"]);
        let quoted = format!("a\n\"{long}\nb\n");
        assert_finds_whole(Format::Csv, &quoted, &["a", "<too long> \"xx", "b"]);
        let in_array = format!("[1,[{long}],2]");
        assert_finds_whole(Format::Json, &in_array, &["1", "<too long> [xx", "2"]);
        let unfinished = ["<too long> [xx", "<unfinished>"];
        assert_finds_whole(Format::Json, &format!("[[{long}"), &unfinished);
        let after_array = format!("[1]{long}\n[2]");
        assert_finds_whole(Format::Json, &after_array, &["1", "<too long> xxx", "2"]);
    }

    #[track_caller]
    fn assert_finds_whole(format: Format, input: &str, expected: &[&str]) {
        for piece in [64 * 1024, usize::MAX] {
            let found = found(format, input.as_bytes(), piece);
            let texts: Vec<_> = found.iter().map(|(_, text)| text.as_str()).collect();
            assert_eq!(texts, expected);
        }
    }

    proptest! {
        #[test]
        fn pieces_of_a_stream_do_not_change_records(
            input in "[\\[\\]{}\",a \n\r\\\\]{0,60}",
            piece in 1_usize..9,
        ) {
            for format in [Format::Ndjson, Format::Json, Format::Csv] {
                let whole = found(format, input.as_bytes(), usize::MAX);
                let pieces = found(format, input.as_bytes(), piece);
                prop_assert_eq!(whole, pieces);
            }
        }

        #[test]
        fn every_line_is_a_record_or_blank(input in "[a \n]{0,60}") {
            let found = found(Format::Ndjson, input.as_bytes(), usize::MAX);
            let texts: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
            let lines = input.split('\n').filter(|line| !line.trim().is_empty());
            prop_assert_eq!(texts, lines.collect::<Vec<_>>());
        }
    }
}
