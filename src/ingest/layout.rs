//! The format of an input, from its first lines.
//!
//! One line of text before the records does not decide the format; a header with known names does. While the
//! lines in memory leave it open, more are read.

use super::csv::Dialect;
use super::lines::{find_line_end, skip_blank};

/// How records are written in an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A JSON object on each line
    Ndjson,
    /// JSON objects, or arrays of them, over any number of lines
    Json,
    /// Rows under a header line
    Csv,
    /// Lines of words, whose columns a mapping names
    #[value(skip)]
    Text,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    pub(super) format: Option<Format>,
    pub(super) delimiter: Option<u8>,
    /// The path of the array that holds the records.
    pub(super) root: Vec<String>,
    /// Whether lines that are no JSON are words with known columns.
    pub(super) has_words: bool,
}

const LOOK_BYTES: usize = 64 * 1024;

/// Names under which answers of APIs have their lists.
const ROOTS: [&str; 10] = [
    "data", "items", "results", "records", "rows", "entries", "logs", "events", "usage", "value",
];

impl Layout {
    /// Detects the format and root of an input that begins with `bytes`, a byte that is not blank; nothing while
    /// more must be read. `knows` finds the names that have a meaning.
    pub(super) fn detect(
        &self,
        bytes: &[u8],
        at_end: bool,
        knows: &dyn Fn(&str) -> bool,
    ) -> Option<(Format, Vec<String>)> {
        let more = !at_end && bytes.len() < LOOK_BYTES;
        let root = || self.root.clone();
        match self.format {
            Some(Format::Json) if root().is_empty() && bytes.first() == Some(&b'{') => {
                return match wrapper(bytes, knows) {
                    None if more && find_line_end(bytes, 0).is_none() => None,
                    found => Some((Format::Json, found.into_iter().collect())),
                };
            }
            Some(format) => return Some((format, root())),
            None => {}
        }
        match bytes.first()? {
            b'{' if !self.root.is_empty() => Some((Format::Json, root())),
            b'{' => object(bytes, more, knows),
            b'[' => match bytes[1..].trim_ascii_start().first() {
                None if more => None,
                None | Some(b'{' | b'[' | b']' | b'"') => Some((Format::Json, root())),
                Some(_) if self.has_words => Some((Format::Text, root())),
                Some(_) => Some((text(bytes, more, knows)?, root())),
            },
            _ if self.has_words => Some((Format::Text, root())),
            _ => Some((text(bytes, more, knows)?, root())),
        }
    }
}

/// An input that begins with an object: one on each line, over several lines, or around an array.
fn object(bytes: &[u8], more: bool, knows: &dyn Fn(&str) -> bool) -> Option<(Format, Vec<String>)> {
    if let Some(root) = wrapper(bytes, knows) {
        return Some((Format::Json, vec![root]));
    }
    let Some(end) = find_line_end(bytes, 0) else {
        return (!more).then(|| (Format::Ndjson, Vec::new()));
    };
    let format = match open_brackets(&bytes[..end]) {
        // Whole, or broken within a text: a text does not span lines.
        None | Some(0) => Format::Ndjson,
        Some(_) => match skip_blank(&bytes[end..]).first() {
            None if more => return None,
            Some(b'{') => Format::Ndjson,
            _ => Format::Json,
        },
    };
    Some((format, Vec::new()))
}

/// A header of CSV, or a line of text before lines of JSON.
fn text(bytes: &[u8], more: bool, knows: &dyn Fn(&str) -> bool) -> Option<Format> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next()?;
    if !first.ends_with(b"\n") && more {
        return None;
    }
    let header = String::from_utf8_lossy(first);
    let cells = header.split([',', ';', '\t', '|']);
    let mut names = cells.map(|name| name.trim().trim_matches('"'));
    if first.starts_with(b"#") || first.starts_with(b"sep=") || names.any(knows) {
        return Some(Format::Csv);
    }
    if lines.any(|line| line.trim_ascii_start().starts_with(b"{")) {
        return Some(Format::Ndjson);
    }
    (!more).then_some(Format::Csv)
}

/// The number of brackets that are open at the end of a line; nothing within a text.
fn open_brackets(line: &[u8]) -> Option<usize> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in line {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    (!in_text).then_some(depth)
}

/// The name of the array of objects in an object that is no record itself.
fn wrapper(bytes: &[u8], knows: &dyn Fn(&str) -> bool) -> Option<String> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let mut name = 0..0;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => {
                in_text = !in_text;
                name = if in_text {
                    at + 1..at + 1
                } else {
                    name.start..at
                };
            }
            _ if in_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return None,
            b'}' | b']' => depth -= 1,
            b':' if depth == 1 => {
                let name = std::str::from_utf8(&bytes[name.clone()]).ok()?;
                if knows(name) {
                    return None;
                }
                let list = skip_blank(&bytes[at + 1..]).strip_prefix(b"[");
                let is_of_objects = |list| matches!(skip_blank(list).first(), Some(b'{' | b']'));
                if ROOTS.contains(&name) && list.is_some_and(is_of_objects) {
                    return Some(name.to_owned());
                }
            }
            _ => {}
        }
    }
    None
}

/// The separator of CSV, and the length of what stands before the header: comments, and Excel's `sep=;`.
/// Nothing while more must be read.
pub(super) fn preamble(bytes: &[u8], at_end: bool, given: Option<u8>) -> Option<(Dialect, usize)> {
    let mut skipped = 0;
    let mut delimiter = given;
    loop {
        let rest = &bytes[skipped..];
        let line = match find_line_end(rest, 0) {
            Some(end) => &rest[..end + 1],
            None if !at_end && rest.len() < LOOK_BYTES => return None,
            None => rest,
        };
        match line.trim_ascii_end() {
            [b's', b'e', b'p', b'=', separator] => delimiter = delimiter.or(Some(*separator)),
            // A tab ends as a blank.
            b"sep=" => delimiter = delimiter.or(Some(b'\t')),
            [b'#', ..] | [] if !line.is_empty() => {}
            _ => {
                // As it stands: a separator at its end may be the only one.
                let detected = Dialect::detect(line);
                return Some((delimiter.map_or(detected, Dialect::Delimiter), skipped));
            }
        }
        skipped += line.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knows(name: &str) -> bool {
        name == "api_name"
    }

    fn detect(text: &str) -> (Format, String) {
        let layout = Layout::default();
        let (format, root) = layout.detect(text.as_bytes(), true, &knows).unwrap();
        (format, root.join("."))
    }

    #[test]
    fn first_lines_decide_format() {
        for (text, format, root) in [
            ("{\"api_name\":\"a\"}\n", Format::Ndjson, ""),
            ("{\"api_name\":\"a\"}", Format::Ndjson, ""),
            ("{\n  \"api_name\": \"a\"\n}\n", Format::Json, ""),
            ("{\"api_name\": \"a\",\n \"b\": 1}", Format::Json, ""),
            (
                "{\"api_name\":\"a\n{\"api_name\":\"b\"}\n",
                Format::Ndjson,
                "",
            ),
            ("{\"api_name\":\n{\"api_name\":\"b\"}\n", Format::Ndjson, ""),
            ("[{}]", Format::Json, ""),
            ("[\n{", Format::Json, ""),
            ("[info] started\n{\"api_name\":\"b\"}\n", Format::Ndjson, ""),
            (
                "Server started on :3000\n\n{\"api_name\":\"b\"}\n",
                Format::Ndjson,
                "",
            ),
            ("api_name,endpoint\n{x},y\n", Format::Csv, ""),
            ("a,b\n1,2\n", Format::Csv, ""),
            ("sep=;\na;b\n", Format::Csv, ""),
            (
                "{\"object\":\"list\",\"data\":[{\"a\":1}]}",
                Format::Json,
                "data",
            ),
            ("{\n \"data\" : [\n {\"a\":1}]}", Format::Json, "data"),
            ("{\"data\":[1]}\n", Format::Ndjson, ""),
            ("{\"api_name\":\"a\",\"data\":[{}]}\n", Format::Ndjson, ""),
            ("{\"a\":{\"data\":[{}]}}\n", Format::Ndjson, ""),
        ] {
            assert_eq!(detect(text), (format, root.to_owned()), "{text}");
        }
    }

    #[test]
    fn more_is_read_while_format_is_open() {
        let open = |text: &str| {
            Layout::default()
                .detect(text.as_bytes(), false, &knows)
                .is_none()
        };
        for text in [
            "[",
            "{\"a\":1",
            "Server started",
            "Server started\n",
            "{\n",
            "a,b\n",
        ] {
            assert!(open(text), "{text}");
        }
        for text in ["{\"a\":1}\n", "api_name,b\n", "{\n \"a", "[{"] {
            assert!(!open(text), "{text}");
        }
    }

    #[test]
    fn given_layout_takes_precedence() {
        let words = Layout {
            has_words: true,
            ..Layout::default()
        };
        let format = |text: &str| words.detect(text.as_bytes(), true, &knows).unwrap().0;
        assert_eq!(format("1.2.3.4 - -\n"), Format::Text);
        assert_eq!(format("[2026-01-30T10:00:00Z] \"GET"), Format::Text);
        assert_eq!(format("{\"a\":1}\n"), Format::Ndjson);
        let json = Layout {
            format: Some(Format::Json),
            ..Layout::default()
        };
        let found = json.detect(b"{\"data\":[{}]}", true, &knows).unwrap();
        assert_eq!(found, (Format::Json, vec!["data".to_owned()]));
    }

    #[test]
    fn preamble_of_csv_is_skipped() {
        let comma = Dialect::Delimiter(b',');
        assert_eq!(preamble(b"a,b;c\n", false, None), Some((comma, 0)));
        assert_eq!(preamble(b"a,b", false, None), None);
        assert_eq!(preamble(b"a,b", true, None), Some((comma, 0)));
        let semicolon = Dialect::Delimiter(b';');
        assert_eq!(
            preamble(b"sep=;\r\na,b\n", true, None),
            Some((semicolon, 7))
        );
        assert_eq!(
            preamble(b"# export\n\na;b\n", true, None),
            Some((semicolon, 10))
        );
        assert_eq!(preamble(b"a,b\n", true, Some(b';')), Some((semicolon, 0)));
        let tab = Dialect::Delimiter(b'\t');
        assert_eq!(preamble(b"api_name\t\n", true, None), Some((tab, 0)));
        assert_eq!(preamble(b"sep=\t\na\tb\n", true, None), Some((tab, 6)));
    }
}
