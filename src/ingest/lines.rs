//! Finds the records in a stream, in bounded memory.
//!
//! A [`Window`] is the part of the stream that is in memory; a [`Splitter`] says where in it the next
//! record ends. A splitter never reads: it may be asked again with the same bytes and more behind
//! them, and goes on where it stopped. So the cost is one look at each byte, in whatever pieces a slow
//! pipe delivers them, and the caller knows when reading may block.

use std::io::{self, ErrorKind, Read};

use super::MAX_RECORD_BYTES;

/// How much is read at once: about a thousand records.
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

    /// What is in memory and not yet consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Whether nothing follows what is in memory.
    pub(super) fn at_end(&self) -> bool {
        self.at_end
    }

    /// Where in the stream it begins.
    pub(super) fn byte(&self) -> u64 {
        self.byte
    }

    /// In which line it begins, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Lets go of the first `length` bytes.
    pub(super) fn consume(&mut self, length: usize) {
        let consumed = &self.buffer[self.start..self.start + length];
        self.line += consumed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.byte += length as u64;
        self.start += length;
    }

    /// Reads more, as much as there is; blocks while there is nothing.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() - self.end < READ_BYTES {
            // A splitter gives up on records beyond the limit, so this ends.
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

/// What a splitter finds at the beginning of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A record in the first `text` bytes; `length` go with it.
    Record { text: usize, length: usize },
    /// Nothing of interest for so many bytes.
    Skip(usize),
    /// The beginning of a record that is too long; the rest of it will be skipped.
    TooLong(usize),
    /// A line that cannot be understood, and why; the next one is looked at afresh.
    Broken {
        text: usize,
        length: usize,
        reason: &'static str,
    },
    /// More must be read.
    Wait,
    /// There is nothing left.
    End,
    /// There is nothing left, but there should be.
    Unfinished(&'static str),
}

/// Finds records in a window.
#[derive(Debug)]
pub(super) enum Splitter {
    Lines(Lines),
    Array(Array),
    Rows(Rows),
}

impl Splitter {
    pub(super) fn step(&mut self, bytes: &[u8], at_end: bool) -> Step {
        match self {
            Splitter::Lines(lines) => lines.step(bytes, at_end),
            Splitter::Array(array) => array.step(bytes, at_end),
            Splitter::Rows(rows) => rows.step(bytes, at_end),
        }
    }
}

/// Every line is a record. Blank lines are none.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// So much of the window holds no line end.
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

/// Every element of an array is a record, over as many lines as it likes.
///
/// Elements are told apart by brackets, quotes and commas alone; what each is worth, the parser says
/// later, so one that is wrong does not hide the next. Behind an array may follow more arrays, or
/// lines with an object each.
#[derive(Debug, Default)]
pub(super) struct Array {
    place: Place,
    /// So much of the window has been looked at.
    scanned: usize,
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// Within an element that is too long.
    skipping: bool,
    outside: Lines,
}

/// Where in an array the window begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Outside,
    /// Behind `[`, or behind the last element: `]` may follow.
    MayEnd,
    /// Behind a comma: an element must follow.
    MustGoOn,
    /// The stream ended inside.
    CutOff,
}

impl Array {
    fn step(&mut self, bytes: &[u8], at_end: bool) -> Step {
        let inside_record = self.scanned > 0 || self.skipping || self.outside.skipping;
        if !inside_record {
            let blank = bytes.len() - bytes.trim_ascii_start().len();
            if blank > 0 {
                return Step::Skip(blank);
            }
        }
        match (self.place, bytes.first()) {
            (Place::CutOff, _) => Step::Unfinished("ends inside the array"),
            (Place::Outside, Some(b'[')) if !inside_record => {
                self.place = Place::MayEnd;
                Step::Skip(1)
            }
            (Place::Outside, _) => self.outside.step(bytes, at_end),
            (Place::MayEnd, Some(b']')) if !inside_record => {
                self.place = Place::Outside;
                Step::Skip(1)
            }
            // The empty element will be refused as such.
            (Place::MustGoOn, Some(b']')) if !inside_record => {
                self.place = Place::MayEnd;
                Step::Record { text: 0, length: 0 }
            }
            _ => self.element(bytes, at_end),
        }
    }

    fn element(&mut self, bytes: &[u8], at_end: bool) -> Step {
        while let Some(byte) = bytes.get(self.scanned) {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'[' | b'{' => self.depth += 1,
                b',' if self.depth == 0 => return self.end_of_element(bytes, Place::MustGoOn),
                b']' if self.depth == 0 => return self.end_of_element(bytes, Place::MayEnd),
                b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            self.scanned += 1;
        }
        if self.scanned > MAX_RECORD_BYTES || self.skipping {
            let too_long = !std::mem::replace(&mut self.skipping, true);
            self.scanned = 0;
            return match too_long {
                true => Step::TooLong(bytes.len()),
                false if bytes.is_empty() && at_end => Step::Unfinished("ends inside the array"),
                false => skip_all(bytes, at_end),
            };
        }
        match at_end {
            false => Step::Wait,
            true => {
                self.place = Place::CutOff;
                record(bytes, bytes.len())
            }
        }
    }

    /// The element ends where the scan stands; a comma goes with it, a bracket does not.
    fn end_of_element(&mut self, bytes: &[u8], next: Place) -> Step {
        let end = std::mem::take(&mut self.scanned);
        let length = end + usize::from(next == Place::MustGoOn);
        self.place = next;
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

/// Every row of CSV is a record; in quotes it may hold line ends.
///
/// A quote too many would swallow the lines behind it, up to the next quote or the end. So when
/// quotes do not work out, only the line where it began is refused, and the next is looked at afresh.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// So much of the window has been looked at.
    scanned: usize,
    cell: Cell,
    /// Within a line that is too long.
    skipping: bool,
}

/// Where in a row the scan stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Cell {
    #[default]
    Start,
    Plain,
    Quoted,
    /// Behind a quote inside quotes: the end of the cell, or the first of two.
    Quote,
    Broken,
}

impl Rows {
    fn step(&mut self, bytes: &[u8], at_end: bool) -> Step {
        if self.skipping {
            let end = find_line_end(bytes, 0);
            self.skipping = end.is_none();
            return match end {
                Some(end) => Step::Skip(end + 1),
                None => skip_all(bytes, at_end),
            };
        }
        while self.cell != Cell::Broken
            && let Some(byte) = bytes.get(self.scanned)
        {
            self.cell = match (self.cell, byte) {
                (Cell::Start, b'"') | (Cell::Quote, b'"') => Cell::Quoted,
                (Cell::Quoted, b'"') => Cell::Quote,
                (Cell::Quoted, _) => Cell::Quoted,
                (_, b'\n') => {
                    let end = self.scanned;
                    *self = Rows::default();
                    return record(&bytes[..end], end + 1);
                }
                (_, b',') => Cell::Start,
                // Before a line end it belongs to that, elsewhere to the cell.
                (Cell::Quote, b'\r') => Cell::Quote,
                (Cell::Quote, _) => Cell::Broken,
                _ => Cell::Plain,
            };
            self.scanned += 1;
        }
        let too_long = bytes.len() > MAX_RECORD_BYTES;
        let reason = match self.cell {
            Cell::Broken => "has text behind a closing quote",
            Cell::Quoted if at_end || too_long => "has a quote that never ends",
            _ if too_long => {
                *self = Rows {
                    skipping: true,
                    ..Rows::default()
                };
                return Step::TooLong(bytes.len());
            }
            _ if !at_end => return Step::Wait,
            _ if bytes.is_empty() => return Step::End,
            _ => {
                *self = Rows::default();
                return record(bytes, bytes.len());
            }
        };
        // Only its first line; the others may be good.
        let (text, length) = match find_line_end(bytes, 0) {
            Some(end) => (end, end + 1),
            None if at_end => (bytes.len(), bytes.len()),
            None if too_long => {
                *self = Rows {
                    skipping: true,
                    ..Rows::default()
                };
                return Step::TooLong(bytes.len());
            }
            None => return Step::Wait,
        };
        *self = Rows::default();
        match text {
            _ if text > MAX_RECORD_BYTES => Step::TooLong(length),
            _ => Step::Broken {
                text: without_carriage_return(&bytes[..text]).len(),
                length,
                reason,
            },
        }
    }
}

/// The record that `text` is, unless it is blank or too long.
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

fn find_line_end(bytes: &[u8], from: usize) -> Option<usize> {
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

    /// What `splitter` finds in `input` when it is delivered in pieces of `piece` bytes: each record
    /// with its line, and a word for whatever is none.
    fn found(mut splitter: Splitter, input: &[u8], piece: usize) -> Vec<(u64, String)> {
        struct Trickle<'a>(&'a [u8], usize);
        impl Read for Trickle<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let count = self.1.min(into.len());
                self.0.read(&mut into[..count])
            }
        }
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

    fn lines() -> Splitter {
        Splitter::Lines(Lines::default())
    }

    fn array() -> Splitter {
        Splitter::Array(Array::default())
    }

    fn rows() -> Splitter {
        Splitter::Rows(Rows::default())
    }

    #[track_caller]
    fn assert_finds(splitter: fn() -> Splitter, input: &str, expected: &[(u64, &str)]) {
        for piece in [1, 7, usize::MAX] {
            let found = found(splitter(), input.as_bytes(), piece);
            let found: Vec<_> = found
                .iter()
                .map(|(line, text)| (*line, text.as_str()))
                .collect();
            assert_eq!(found, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn lines_end_with_or_without_a_carriage_return_and_the_last_without_either() {
        assert_finds(lines, "a\r\n\n  \nb\n c", &[(1, "a"), (4, "b"), (5, " c")]);
        assert_finds(lines, "", &[]);
        assert_finds(lines, "\n\n", &[]);
    }

    #[test]
    fn elements_of_an_array_may_span_lines_and_hold_brackets_in_texts() {
        let input = "[\n {\"a\": \"],}\\\"\"},\n {\n \"b\":[1,{}]\n },3 ]\n";
        let expected = [
            (2, "{\"a\": \"],}\\\"\"}"),
            (3, "{\n \"b\":[1,{}]\n }"),
            (5, "3"),
        ];
        assert_finds(array, input, &expected);
        assert_finds(array, "[]", &[]);
        assert_finds(array, "[1][2]\n{}\n", &[(1, "1"), (1, "2"), (2, "{}")]);
    }

    #[test]
    fn what_is_wrong_with_an_array_shows() {
        assert_finds(array, "[1,,2,]", &[(1, "1"), (1, ""), (1, "2"), (1, "")]);
        assert_finds(
            array,
            "[1,{\"a\"",
            &[(1, "1"), (1, "{\"a\""), (1, "<unfinished>")],
        );
        assert_finds(array, "[1,", &[(1, "1"), (1, "<unfinished>")]);
        assert_finds(array, "[", &[(1, "<unfinished>")]);
        assert_finds(array, "[{]},2]", &[(1, "{]}"), (1, "2")]);
        assert_finds(array, "[1] x y\n", &[(1, "1"), (1, "x y")]);
    }

    #[test]
    fn rows_hold_line_ends_in_quotes_only() {
        let input = "a,b\r\n\"x\ny\",2\r\n\n3,\"q\"\"q\"\n4,5\"";
        let expected = [
            (1, "a,b"),
            (2, "\"x\ny\",2"),
            (5, "3,\"q\"\"q\""),
            (6, "4,5\""),
        ];
        assert_finds(rows, input, &expected);
    }

    #[test]
    fn a_stray_quote_costs_its_own_line_only() {
        assert_finds(
            rows,
            "1,\"x\n2,y\n3,\"z\"\n4,w\n",
            &[
                (1, "<has text behind a closing quote> 1,\"x"),
                (2, "2,y"),
                (3, "3,\"z\""),
                (4, "4,w"),
            ],
        );
        assert_finds(
            rows,
            "1,\"x\n2,y\n",
            &[(1, "<has a quote that never ends> 1,\"x"), (2, "2,y")],
        );
        assert_finds(
            rows,
            "\"a\"b\nc",
            &[(1, "<has text behind a closing quote> \"a\"b"), (2, "c")],
        );
    }

    #[test]
    fn a_record_that_is_too_long_is_passed_over_and_never_held() {
        let long = "x".repeat(3 * MAX_RECORD_BYTES);
        let after_lines = format!("a\n{long}\nb\n");
        assert_finds_whole(lines, &after_lines, &["a", "<too long> xxx", "b"]);
        assert_finds_whole(rows, &after_lines, &["a", "<too long> xxx", "b"]);
        let quoted = format!("a\n\"{long}\nb\n");
        assert_finds_whole(rows, &quoted, &["a", "<too long> \"xx", "b"]);
        let in_array = format!("[1,[{long}],2]");
        assert_finds_whole(array, &in_array, &["1", "<too long> [xx", "2"]);
        assert_finds_whole(
            array,
            &format!("[[{long}"),
            &["<too long> [xx", "<unfinished>"],
        );
        let after_array = format!("[1]{long}\n[2]");
        assert_finds_whole(array, &after_array, &["1", "<too long> xxx", "2"]);
    }

    #[track_caller]
    fn assert_finds_whole(splitter: fn() -> Splitter, input: &str, expected: &[&str]) {
        for piece in [64 * 1024, usize::MAX] {
            let found = found(splitter(), input.as_bytes(), piece);
            let texts: Vec<_> = found.iter().map(|(_, text)| text.as_str()).collect();
            assert_eq!(texts, expected);
        }
    }

    proptest! {
        #[test]
        fn the_pieces_in_which_a_stream_arrives_make_no_difference(
            input in "[\\[\\]{}\",a \n\r\\\\]{0,60}",
            piece in 1_usize..9,
        ) {
            for splitter in [lines, array, rows] {
                let whole = found(splitter(), input.as_bytes(), usize::MAX);
                let pieces = found(splitter(), input.as_bytes(), piece);
                prop_assert_eq!(whole, pieces);
            }
        }

        #[test]
        fn every_byte_of_lines_is_in_a_record_or_blank(input in "[a \n]{0,60}") {
            let found = found(lines(), input.as_bytes(), usize::MAX);
            let expected: Vec<String> = input
                .split('\n')
                .filter(|line| !line.trim().is_empty())
                .map(str::to_owned)
                .collect();
            let texts: Vec<String> = found.into_iter().map(|(_, text)| text).collect();
            prop_assert_eq!(texts, expected);
        }
    }
}
