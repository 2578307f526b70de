//! CSV: a header of field names, and rows under it; and lines of words, as web servers log them.

use std::borrow::Cow;

use super::fields::{RawEvent, Target, Value};
use super::mapping::Mapping;
use super::{Code, LineError};

/// How the cells of a row are separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// By this byte; in quotes, where quotes are doubled.
    Delimiter(u8),
    /// By spaces; in quotes, where a backslash escapes, or in brackets.
    Words,
}

/// Separators to detect, the most likely first.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

impl Dialect {
    /// The separator that a header line has most often outside quotes.
    pub(super) fn detect(header: &[u8]) -> Dialect {
        let count = |delimiter: u8| {
            let mut in_quotes = false;
            let found = header.iter().filter(|byte| {
                in_quotes ^= **byte == b'"';
                **byte == delimiter && !in_quotes
            });
            found.count()
        };
        // Of equals the last is the greatest.
        let best = DELIMITERS
            .into_iter()
            .rev()
            .max_by_key(|delimiter| count(*delimiter));
        Dialect::Delimiter(best.unwrap_or(b','))
    }

    pub(super) fn delimiter(self) -> u8 {
        match self {
            Dialect::Delimiter(delimiter) => delimiter,
            Dialect::Words => b' ',
        }
    }
}

/// The columns of a file, each with its meaning; nothing where it is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header<F> {
    columns: Vec<Option<F>>,
    dialect: Dialect,
}

impl<F: Copy + PartialEq> Header<F> {
    pub(super) fn new(columns: Vec<Option<F>>, dialect: Dialect) -> Header<F> {
        Header { columns, dialect }
    }

    /// Reads a header line; `field` finds the field of a name, nothing for one to ignore. Trailing columns
    /// without a name are dropped.
    ///
    /// An invalid header makes every row unreadable, so it is an error of the file.
    pub(super) fn parse(
        text: &str,
        dialect: Dialect,
        field: impl Fn(&str) -> Result<Option<F>, String>,
    ) -> Result<Header<F>, String> {
        let names: Result<Vec<_>, _> = Cells::new(text, dialect).collect();
        let names = names.map_err(|problem| format!("the header {problem}"))?;
        let named = names.iter().rposition(|name| !name.trim().is_empty());
        let mut columns = Vec::new();
        for name in &names[..named.map_or(0, |last| last + 1)] {
            let field = field(name.trim())?;
            if field.is_some() && columns.contains(&field) {
                return Err(format!("the header has two columns for `{}`", name.trim()));
            }
            columns.push(field);
        }
        Ok(Header { columns, dialect })
    }

    pub(super) fn has(&self, field: F) -> bool {
        self.columns.contains(&Some(field))
    }

    /// The fields of the columns that are not ignored.
    pub(super) fn fields(&self) -> impl Iterator<Item = F> {
        self.columns.iter().copied().flatten()
    }

    /// Reads a row and passes on its cells that are not empty.
    pub(super) fn read_row<'a>(
        &self,
        text: &'a str,
        mut set: impl FnMut(F, Cow<'a, str>),
    ) -> Result<(), LineError> {
        let mut count = 0;
        let mut has_more = false;
        for cell in Cells::new(text, self.dialect) {
            let cell = cell.map_err(|problem| LineError::new(Code::Csv, problem))?;
            match self.columns.get(count) {
                Some(Some(field)) if !cell.is_empty() => set(*field, cell),
                Some(_) => {}
                None => has_more |= !cell.is_empty(),
            }
            count += 1;
        }
        let expected = self.columns.len();
        match self.dialect {
            Dialect::Delimiter(_) if count < expected || has_more => {
                let message = format!("has {count} cells, expected {expected} as in the header");
                Err(LineError::new(Code::Csv, message))
            }
            // Servers add words to their lines from version to version.
            Dialect::Words if count < self.used() => {
                let message = format!("has {count} words, expected at least {}", self.used());
                Err(LineError::new(Code::Csv, message))
            }
            _ => Ok(()),
        }
    }

    /// The number of columns up to the last that is not ignored.
    fn used(&self) -> usize {
        let last = self.columns.iter().rposition(Option::is_some);
        last.map_or(0, |last| last + 1)
    }
}

impl Header<Target> {
    pub(super) fn event<'a>(
        &self,
        text: &'a str,
        mapping: &Mapping,
    ) -> Result<RawEvent<'a>, LineError> {
        let mut event = mapping.event();
        self.read_row(text, |target, cell| {
            // PostgreSQL and MySQL write these for NULL.
            let value = match cell.as_ref() {
                "\\N" | "NULL" => Value::Absent,
                // Where commas are decimal, spreadsheets separate columns by semicolons.
                text if self.dialect == Dialect::Delimiter(b';')
                    && text.contains(',')
                    && !text.contains('.')
                    && mapping.is_number(target) =>
                {
                    Value::Text(text.replacen(',', ".", 1).into())
                }
                _ => Value::Text(cell),
            };
            event.put(target, mapping.clean(value));
        })?;
        mapping.apply(&mut event);
        Ok(event)
    }
}

struct Cells<'a> {
    /// The unread part of the row; nothing after its last cell.
    rest: Option<&'a str>,
    dialect: Dialect,
}

impl<'a> Cells<'a> {
    fn new(row: &'a str, dialect: Dialect) -> Cells<'a> {
        Cells {
            rest: Some(row),
            dialect,
        }
    }

    /// Takes a quoted cell from `text`, which begins after the opening quote.
    fn quoted(&mut self, text: &'a str, delimiter: char) -> Result<Cow<'a, str>, &'static str> {
        let mut from = 0;
        let mut doubled = false;
        loop {
            let end = from + text[from..].find('"').ok_or("has an unclosed quote")?;
            let behind = &text[end + 1..];
            if behind.starts_with('"') {
                doubled = true;
                from = end + 2;
                continue;
            }
            self.rest = match behind.strip_prefix(delimiter) {
                Some(rest) => Some(rest),
                None if behind.is_empty() => None,
                None => return Err("has text after a closing quote"),
            };
            let cell = &text[..end];
            return Ok(if doubled {
                Cow::Owned(cell.replace("\"\"", "\""))
            } else {
                Cow::Borrowed(cell)
            });
        }
    }

    /// Takes a word: up to a space, or in quotes or brackets.
    fn word(&mut self, row: &'a str) -> Option<Result<Cow<'a, str>, &'static str>> {
        let row = row.trim_start_matches(' ');
        let (open, close) = match row.as_bytes().first()? {
            b'"' => (1, '"'),
            // Not an address with a port: `[::1]:443`.
            b'[' if !row.split(' ').next()?.contains("]:") => (1, ']'),
            _ => (0, ' '),
        };
        let text = &row[open..];
        let mut is_escaped = false;
        let mut has_escape = false;
        let end = text.find(|c| {
            let ends = c == close && !is_escaped;
            is_escaped = close == '"' && c == '\\' && !is_escaped;
            has_escape |= is_escaped;
            ends
        });
        let word = match end {
            None if open > 0 => return Some(Err("has an unclosed quote or bracket")),
            None => text,
            Some(end) => {
                self.rest = Some(&text[end + 1..]);
                &text[..end]
            }
        };
        Some(Ok(match has_escape {
            true => word.replace("\\\"", "\"").replace("\\\\", "\\").into(),
            false => word.into(),
        }))
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Result<Cow<'a, str>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rest.take()?;
        let Dialect::Delimiter(delimiter) = self.dialect else {
            return self.word(row);
        };
        let delimiter = char::from(delimiter);
        if let Some(text) = row.strip_prefix('"') {
            return Some(self.quoted(text, delimiter));
        }
        let cell = match row.split_once(delimiter) {
            Some((cell, rest)) => {
                self.rest = Some(rest);
                cell
            }
            None => row,
        };
        Some(Ok(Cow::Borrowed(cell)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::UnknownFields;
    use crate::ingest::fields::Field;

    const COMMA: Dialect = Dialect::Delimiter(b',');

    fn cells(row: &str) -> Vec<Result<String, &'static str>> {
        Cells::new(row, COMMA)
            .map(|cell| cell.map(Cow::into_owned))
            .collect()
    }

    fn texts(row: &str) -> Vec<String> {
        cells(row).into_iter().map(Result::unwrap).collect()
    }

    fn header(text: &str) -> Result<Header<Target>, String> {
        Mapping::default().header(text, Dialect::detect(text.as_bytes()))
    }

    fn event<'a>(header: &Header<Target>, row: &'a str) -> Result<RawEvent<'a>, LineError> {
        header.event(row, &Mapping::default())
    }

    #[test]
    fn cells_are_split_at_commas_outside_quotes() {
        assert_eq!(texts("a,b"), ["a", "b"]);
        assert_eq!(texts(",,"), ["", "", ""]);
        assert_eq!(texts(""), [""]);
        let quoted = "\"a,b\",\"say \"\"hi\"\"\",\"\"";
        assert_eq!(texts(quoted), ["a,b", "say \"hi\"", ""]);
        assert_eq!(texts("\"two\nlines\",5\" wide"), ["two\nlines", "5\" wide"]);
        assert!(cells("\"a\"b,c")[0].is_err());
        assert!(cells("a,\"b")[1].is_err());
    }

    #[test]
    fn words_are_split_at_spaces_outside_quotes_and_brackets() {
        let words = |row| {
            let words = Cells::new(row, Dialect::Words).map(|word| word.unwrap().into_owned());
            words.collect::<Vec<_>>()
        };
        let line =
            r#"1.2.3.4 - [30/Jan/2026:10:00:00 +0000]  "GET /a?q=\"x y\\\" HTTP/1.1" 200 """#;
        let (time, request) = ("30/Jan/2026:10:00:00 +0000", r#"GET /a?q="x y\" HTTP/1.1"#);
        assert_eq!(words(line), ["1.2.3.4", "-", time, request, "200", ""]);
        let addresses = words("[2001:db8::7]:2817 [::1] -");
        assert_eq!(addresses, ["[2001:db8::7]:2817", "::1", "-"]);
        let unclosed = Cells::new("a [b c", Dialect::Words).nth(1);
        assert!(unclosed.unwrap().is_err());
    }

    #[test]
    fn header_accepts_any_spelling_of_names() {
        for text in [
            "apiName, status_code ,\"cached\"",
            "API Name;STATUS_CODE;Cached",
            "api-name\tStatus Code\tcached",
            "api_name|status_code|cached|",
        ] {
            let header = header(text).unwrap();
            let row = "tmdb,200,".replace(',', &char::from(header.dialect.delimiter()).to_string());
            let event = event(&header, &row).unwrap();
            for (field, value) in [(Field::ApiName, "tmdb"), (Field::StatusCode, "200")] {
                assert_eq!(*event.get(field), Value::Text(value.into()), "{text}");
            }
            assert_eq!(*event.get(Field::Cached), Value::Absent);
        }
    }

    #[test]
    fn invalid_header_is_an_error() {
        let wrong = |text| header(text).unwrap_err();
        assert!(wrong("api_name,region").contains("unknown column `region`"));
        assert!(wrong("api_name,apiName").contains("two columns"));
        assert!(wrong("endpoint,method").contains("no column `api_name`"));
        assert!(wrong(",api_name").contains("unknown column ``"));
        assert!(wrong("\"api_name").contains("quote"));
        let ignore = Mapping::own(UnknownFields::Ignore);
        let header = ignore.header("region,api_name,,region", COMMA).unwrap();
        assert!(header.event("eu,tmdb,,x", &ignore).is_ok());
    }

    #[test]
    fn mapped_column_must_exist() {
        let mut mapping = Mapping::default();
        mapping.map("path", Field::Endpoint, None).unwrap();
        let missing = mapping.header("api_name,url", COMMA).unwrap_err();
        assert!(missing.contains("unknown column `url`"), "{missing}");
        mapping.map("url", Field::Endpoint, None).unwrap();
        let header = mapping.header("api_name,url", COMMA).unwrap();
        let event = header.event("tmdb,/x", &mapping).unwrap();
        assert_eq!(*event.get(Field::Endpoint), Value::Text("/x".into()));
        let missing = mapping.header("api_name", COMMA).unwrap_err();
        assert!(missing.contains("no column `path`"), "{missing}");
    }

    #[test]
    fn row_has_as_many_cells_as_header() {
        let header = header("api_name,method").unwrap();
        let ragged = event(&header, "tmdb").unwrap_err();
        assert_eq!(ragged.message, "has 1 cells, expected 2 as in the header");
        assert_eq!(event(&header, "tmdb,GET,1").unwrap_err().code, Code::Csv);
        assert!(event(&header, "tmdb,GET,,").is_ok());
    }
}
