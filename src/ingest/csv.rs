//! CSV: a header of field names, and rows under it.

use std::borrow::Cow;

use super::fields::{Field, Mapping, RawEvent, UnknownFields, Value};
use super::{Code, LineError};

/// The columns of a file, from its first line, each with the field it holds; nothing where it is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header<F> {
    columns: Vec<Option<F>>,
}

impl<F: Copy + PartialEq> Header<F> {
    /// Reads a header line; `field` finds the field of a name, nothing for one to ignore.
    ///
    /// An invalid header makes every row unreadable, so it is an error of the file.
    pub(super) fn parse(
        text: &str,
        field: impl Fn(&str) -> Result<Option<F>, String>,
    ) -> Result<Header<F>, String> {
        let mut columns = Vec::new();
        for name in Cells::new(text) {
            let name = name.map_err(|problem| format!("the header {problem}"))?;
            let field = field(name.trim())?;
            if field.is_some() && columns.contains(&field) {
                return Err(format!("the header has two columns `{}`", name.trim()));
            }
            columns.push(field);
        }
        Ok(Header { columns })
    }

    /// Reads a row and passes on its cells that are not empty.
    pub(super) fn read_row<'a>(
        &self,
        text: &'a str,
        mut set: impl FnMut(F, Cow<'a, str>),
    ) -> Result<(), LineError> {
        let mut count = 0;
        for cell in Cells::new(text) {
            let cell = cell.map_err(|problem| LineError::new(Code::Csv, problem))?;
            if let Some(Some(field)) = self.columns.get(count)
                && !cell.is_empty()
            {
                set(*field, cell);
            }
            count += 1;
        }
        let expected = self.columns.len();
        if count != expected {
            let message = format!("has {count} cells, expected {expected} as in the header");
            return Err(LineError::new(Code::Csv, message));
        }
        Ok(())
    }
}

impl Mapping {
    /// Reads the header of a file of usage records.
    pub(super) fn header(&self, text: &str) -> Result<Header<Field>, String> {
        let header = Header::parse(text, |name| match self.field(name) {
            None if self.unknown == UnknownFields::Refuse => Err(format!(
                "the header has an unknown column `{}`; rename it with --map, or drop it with --unknown ignore",
                name.chars().take(60).collect::<String>()
            )),
            field => Ok(field),
        })?;
        if header.columns.contains(&Some(Field::ApiName)) {
            Ok(header)
        } else {
            Err("the header has no column `api_name`".to_owned())
        }
    }
}

impl Header<Field> {
    /// Reads a row as a usage record.
    pub(super) fn event<'a>(&self, text: &'a str) -> Result<RawEvent<'a>, LineError> {
        let mut event = RawEvent::default();
        self.read_row(text, |field, cell| event.set(field, Value::Cell(cell)))?;
        Ok(event)
    }
}

/// The cells of one row: separated by commas; in quotes, where quotes are doubled.
struct Cells<'a> {
    /// The unread part of the row; nothing after its last cell.
    rest: Option<&'a str>,
}

impl<'a> Cells<'a> {
    fn new(row: &'a str) -> Cells<'a> {
        Cells { rest: Some(row) }
    }

    /// Takes a quoted cell from `text`, which begins after the opening quote.
    fn quoted(&mut self, text: &'a str) -> Result<Cow<'a, str>, &'static str> {
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
            self.rest = match behind.strip_prefix(',') {
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
}

impl<'a> Iterator for Cells<'a> {
    type Item = Result<Cow<'a, str>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rest.take()?;
        if let Some(text) = row.strip_prefix('"') {
            return Some(self.quoted(text));
        }
        let cell = match row.split_once(',') {
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

    fn cells(row: &str) -> Vec<Result<String, &'static str>> {
        Cells::new(row)
            .map(|cell| cell.map(Cow::into_owned))
            .collect()
    }

    fn texts(row: &str) -> Vec<String> {
        cells(row).into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn cells_are_split_at_commas_outside_quotes() {
        assert_eq!(texts("a,b"), ["a", "b"]);
        assert_eq!(texts(",,"), ["", "", ""]);
        assert_eq!(texts(""), [""]);
        assert_eq!(
            texts("\"a,b\",\"say \"\"hi\"\"\",\"\""),
            ["a,b", "say \"hi\"", ""]
        );
        assert_eq!(texts("\"two\nlines\",5\" wide"), ["two\nlines", "5\" wide"]);
        assert!(cells("\"a\"b,c")[0].is_err());
        assert!(cells("a,\"b")[1].is_err());
    }

    #[test]
    fn header_accepts_both_spellings() {
        let header = Mapping::default().header("apiName, status_code ,\"cached\"");
        let event = header.as_ref().unwrap().event("tmdb,200,").unwrap();
        assert_eq!(*event.get(Field::ApiName), Value::Cell("tmdb".into()));
        assert_eq!(*event.get(Field::StatusCode), Value::Cell("200".into()));
        assert_eq!(*event.get(Field::Cached), Value::Absent);
    }

    #[test]
    fn invalid_header_is_an_error() {
        let wrong = |text| Mapping::default().header(text).unwrap_err();
        assert!(wrong("api_name,region").contains("unknown column `region`"));
        assert!(wrong("api_name,apiName").contains("two columns"));
        assert!(wrong("endpoint,method").contains("no column `api_name`"));
        assert!(wrong("api_name,").contains("unknown column ``"));
        assert!(wrong("\"api_name").contains("quote"));
        let ignore = Mapping {
            unknown: UnknownFields::Ignore,
            ..Mapping::default()
        };
        let header = ignore.header("region,api_name,,region").unwrap();
        assert!(header.event("eu,tmdb,,x").is_ok());
    }

    #[test]
    fn row_has_as_many_cells_as_header() {
        let header = Mapping::default().header("api_name,method").unwrap();
        let ragged = header.event("tmdb").unwrap_err();
        assert_eq!(ragged.message, "has 1 cells, expected 2 as in the header");
        assert_eq!(header.event("tmdb,GET,1").unwrap_err().code, Code::Csv);
    }
}
