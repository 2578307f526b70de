//! The answer of `record`: the number of lines by outcome.

use crate::output::prelude::*;

use std::time::Duration;

use chrono::{DateTime, Utc};

/// The lines that were read, by outcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Lines that are not blank: the sum of the next four and `rolled_back`.
    pub read: u64,
    pub inserted: u64,
    /// Stored before, with the same content.
    pub duplicate: u64,
    /// Refused: the same id is stored with other content.
    pub conflict: u64,
    /// Refused: the line is invalid.
    pub refused: u64,
    /// Not inserted, with `--atomic`, because of other lines.
    pub rolled_back: u64,
    /// Records whose error message was truncated.
    pub cut: u64,
    /// Records that a second run would insert again.
    pub unrepeatable: u64,
    /// The earliest call among those that are stored, now or before.
    #[serde(serialize_with = "super::json::maybe_time")]
    pub from: Option<DateTime<Utc>>,
    /// The latest one.
    #[serde(serialize_with = "super::json::maybe_time")]
    pub to: Option<DateTime<Utc>>,
    /// Whether all inputs were read to their ends.
    pub complete: bool,
    pub seconds: f64,
    pub lines_per_second: f64,
}

impl Summary {
    /// Takes a stored call into the period from `from` to `to`.
    pub fn extend(&mut self, at: DateTime<Utc>) {
        self.from = Some(self.from.map_or(at, |from| from.min(at)));
        self.to = Some(self.to.map_or(at, |to| to.max(at)));
    }

    /// Sets the time that it took.
    pub fn set_elapsed(&mut self, elapsed: Duration) {
        self.seconds = elapsed.as_millis() as f64 / 1_000.0;
        // Under a millisecond no rate is meaningful.
        self.lines_per_second = (self.read as f64 / elapsed.as_secs_f64().max(0.001)).round();
    }
}

type Count = (&'static str, fn(&Summary) -> u64);

const COUNTS: [Count; 8] = [
    ("read", |it| it.read),
    ("inserted", |it| it.inserted),
    ("duplicate", |it| it.duplicate),
    ("conflict", |it| it.conflict),
    ("refused", |it| it.refused),
    ("rolled_back", |it| it.rolled_back),
    ("cut", |it| it.cut),
    ("unrepeatable", |it| it.unrepeatable),
];

impl Answer for Summary {
    fn table(&self, _width: Option<usize>) -> String {
        let mut text = String::new();
        for (index, (name, number)) in COUNTS.into_iter().enumerate() {
            let number = number(self);
            // The last three are exceptions.
            if index < 5 || number > 0 {
                let name = name.replace('_', " ");
                text.push_str(&format!("{name:<13}{:>13}\n", format::count(number)));
            }
        }
        if let Some((from, to)) = self.from.zip(self.to) {
            let (from, to) = (format::time(from), format::time(to));
            text.push_str(&format!("from  {from}\nto    {to}\n"));
        }
        let rate = format::number(self.lines_per_second);
        let seconds = format::number(self.seconds);
        text.push_str(&format!("in {seconds} s, {rate} lines/s\n"));
        text
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        type Col<'a> = Column<'a, Summary>;
        let mut list: Vec<Column<'_, Summary>> = COUNTS
            .into_iter()
            .map(|(name, number)| Col::csv_only(name, move |it| Cell::count(number(it))))
            .collect();
        let time = |at: Option<DateTime<Utc>>| Cell::or_missing(at, Cell::Time);
        list.extend([
            Col::csv_only("from", move |it| time(it.from)),
            Col::csv_only("to", move |it| time(it.to)),
            Col::csv_only("complete", |it| Cell::Bool(it.complete)),
            Col::csv_only("seconds", |it| Cell::Number(it.seconds)),
            Col::csv_only("lines_per_second", |it| Cell::Number(it.lines_per_second)),
        ]);
        columns::csv(&list, std::slice::from_ref(self))
    }
}

/// The answer of `record --list-presets`.
pub struct PresetList(pub Vec<(&'static str, String)>);

impl PresetList {
    fn columns() -> [Column<'static, (&'static str, String)>; 2] {
        [
            Column::left("PRESET", "preset", |it: &(&str, String)| Cell::text(it.0)),
            Column::left("INPUT", "input", |it: &(&str, String)| Cell::text(&it.1)),
        ]
    }
}

impl Answer for PresetList {
    fn table(&self, width: Option<usize>) -> String {
        columns::table(&Self::columns(), &self.0, width)
    }

    fn json(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct Presets {
            presets: Vec<columns::Object>,
        }
        let rows = self.0.iter();
        Presets {
            presets: rows.map(|row| columns::object(&Self::columns(), row)).collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&Self::columns(), &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let mut summary = Summary {
            read: 1_200,
            inserted: 1_200,
            complete: true,
            ..Summary::default()
        };
        summary.set_elapsed(Duration::from_millis(500));
        summary
    }

    #[test]
    fn table_omits_exceptions_that_are_zero() {
        let plain = summary();
        assert_eq!(
            plain.table(None),
            "read                 1,200\n\
             inserted             1,200\n\
             duplicate                0\n\
             conflict                 0\n\
             refused                  0\n\
             in 0.5 s, 2,400 lines/s\n"
        );
        let cut = Summary { cut: 3, ..plain };
        assert!(cut.table(None).contains("cut                      3\n"));
    }

    #[test]
    fn csv_has_times_in_milliseconds() {
        let mut summary = summary();
        summary.extend(DateTime::UNIX_EPOCH);
        let [header, row] = &summary.csv()[..] else {
            panic!("a header and a row");
        };
        assert_eq!(header.len(), row.len());
        assert_eq!(row[8], "1970-01-01T00:00:00.000Z");
        assert_eq!(row[10..], ["true", "0.5", "2400"]);
    }
}
