//! One row of CSV to the values of its fields.

use std::borrow::Cow;

use super::fields::{Field, Mapping, RawEvent, Unknown, Value};
use super::{Code, Problem};

/// The columns of a file, from its first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// What each column stands for; nothing where it is left out.
    columns: Vec<Option<Field>>,
}

impl Header {
    /// Reads a header line.
    ///
    /// What is wrong here is wrong for every line, so it is a problem of the file.
    pub(super) fn parse(text: &str, mapping: &Mapping) -> Result<Header, String> {
        let mut columns = Vec::new();
        for name in Cells::new(text) {
            let name = name.map_err(|problem| format!("the header {problem}"))?;
            let name = name.trim();
            let field = mapping.field(name);
            if field.is_none() && mapping.unknown == Unknown::Refuse {
                return Err(format!(
                    "the header has an unknown column `{}`; rename it with --map, or leave it out with --unknown ignore",
                    name.chars().take(60).collect::<String>()
                ));
            }
            if field.is_some() && columns.contains(&field) {
                return Err(format!("the header has two columns `{name}`"));
            }
            columns.push(field);
        }
        if !columns.contains(&Some(Field::ApiName)) {
            return Err("the header has no column `api_name`".to_owned());
        }
        Ok(Header { columns })
    }

    /// Reads a row.
    pub(super) fn event<'a>(&self, text: &'a str) -> Result<RawEvent<'a>, Problem> {
        let mut event = RawEvent::default();
        let mut count = 0;
        for cell in Cells::new(text) {
            let cell = cell.map_err(|problem| Problem::new(Code::Csv, problem))?;
            if let Some(Some(field)) = self.columns.get(count)
                && !cell.is_empty()
            {
                event.set(*field, Value::Cell(cell));
            }
            count += 1;
        }
        if count != self.columns.len() {
            let expected = self.columns.len();
            return Err(Problem::new(
                Code::Csv,
                format!("has not as many cells as the header: {count} and not {expected}"),
            ));
        }
        Ok(event)
    }
}

/// The cells of one row: separated by commas; in quotes, where quotes are doubled.
pub(super) struct Cells<'a> {
    /// What is left of the row; nothing once its last cell was read.
    rest: Option<&'a str>,
}

impl<'a> Cells<'a> {
    pub(super) fn new(row: &'a str) -> Cells<'a> {
        Cells { rest: Some(row) }
    }

    /// Takes a cell in quotes from `text`, which begins behind the first of them.
    fn quoted(&mut self, text: &'a str) -> Result<Cow<'a, str>, &'static str> {
        let mut from = 0;
        let mut doubled = false;
        loop {
            let end = from
                + text[from..]
                    .find('"')
                    .ok_or("has a quote that never ends")?;
            let behind = &text[end + 1..];
            if behind.starts_with('"') {
                doubled = true;
                from = end + 2;
                continue;
            }
            self.rest = match behind.strip_prefix(',') {
                Some(rest) => Some(rest),
                None if behind.is_empty() => None,
                None => return Err("has text behind a closing quote"),
            };
            let cell = &text[..end];
            return Ok(match doubled {
                true => Cow::Owned(cell.replace("\"\"", "\"")),
                false => Cow::Borrowed(cell),
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
    fn the_header_names_fields_in_either_spelling() {
        let header = Header::parse("apiName, status_code ,\"cached\"", &Mapping::default());
        let event = header.as_ref().unwrap().event("tmdb,200,").unwrap();
        assert_eq!(*event.get(Field::ApiName), Value::Cell("tmdb".into()));
        assert_eq!(*event.get(Field::StatusCode), Value::Cell("200".into()));
        assert_eq!(*event.get(Field::Cached), Value::Absent);
    }

    #[test]
    fn a_wrong_header_says_why() {
        let wrong = |text| Header::parse(text, &Mapping::default()).unwrap_err();
        assert!(wrong("api_name,region").contains("unknown column `region`"));
        assert!(wrong("api_name,apiName").contains("two columns"));
        assert!(wrong("endpoint,method").contains("no column `api_name`"));
        assert!(wrong("api_name,").contains("unknown column ``"));
        assert!(wrong("\"api_name").contains("quote"));
        let ignore = Mapping {
            unknown: Unknown::Ignore,
            ..Mapping::default()
        };
        let header = Header::parse("region,api_name,,region", &ignore).unwrap();
        assert!(header.event("eu,tmdb,,x").is_ok());
    }

    #[test]
    fn a_row_must_have_as_many_cells_as_the_header() {
        let header = Header::parse("api_name,method", &Mapping::default()).unwrap();
        let ragged = header.event("tmdb").unwrap_err();
        assert_eq!(
            ragged.message,
            "has not as many cells as the header: 1 and not 2"
        );
        assert_eq!(header.event("tmdb,GET,1").unwrap_err().code, Code::Csv);
    }
}
