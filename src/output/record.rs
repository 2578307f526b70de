//! The answer of `record`: the number of lines by outcome.

use crate::output::prelude::*;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serializer;

use crate::domain::usage::batch::UsageBatch;
use crate::domain::usage::record::UsageRecord;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Lines that are not blank: the sum of the next four, `rolled_back` and `unwritten`.
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
    /// Read, but not written because the database failed.
    pub unwritten: u64,
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
    /// The `created_at` of the rows inserted.
    #[serde(serialize_with = "super::json::maybe_time")]
    pub created_at: Option<DateTime<Utc>>,
    pub dry_run: bool,
    /// The first records of a dry run.
    #[serde(serialize_with = "records")]
    pub records: UsageBatch,
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

    pub fn set_elapsed(&mut self, elapsed: Duration) {
        self.seconds = elapsed.as_millis() as f64 / 1_000.0;
        // Under a millisecond no rate is meaningful.
        self.lines_per_second = (self.read as f64 / elapsed.as_secs_f64().max(0.001)).round();
    }
}

fn record_columns<'a>() -> Vec<Column<'static, UsageRecord<'a>>> {
    type C<'a> = Column<'static, UsageRecord<'a>>;
    let whole = |value: Option<i32>| Cell::or_missing(value, Cell::count);
    vec![
        C::left("TIME", "timestamp", |it| Cell::Time(it.timestamp)),
        C::left("API", "api_name", |it| Cell::text(it.api_name)),
        C::left("METHOD", "method", |it| Cell::maybe(it.method)),
        C::left("ENDPOINT", "endpoint", |it| Cell::maybe(it.endpoint)),
        C::right("STATUS", "status_code", move |it| whole(it.status_code)),
        C::left("SUCCESS", "success", |it| Cell::Bool(it.success)),
        C::left("ERROR", "error_type", |it| Cell::maybe(it.error_type)).if_any(),
        C::left("MESSAGE", "error_message", |it| {
            Cell::maybe(it.error_message)
        })
        .if_any(),
        C::right("MS", "response_time", move |it| whole(it.response_time)),
        C::right("SENT", "request_size", move |it| whole(it.request_size)).if_any(),
        C::right("RECEIVED", "response_size", move |it| {
            whole(it.response_size)
        })
        .if_any(),
        C::right("COST", "cost_credits", |it| Cell::number(it.cost_credits)).if_any(),
        C::left("CACHED", "cached", |it| Cell::Bool(it.cached)).if_any(),
        C::left("USER", "user_id", |it| Cell::maybe(it.user_id)).if_any(),
    ]
}

fn records<S: Serializer>(records: &UsageBatch, serializer: S) -> Result<S::Ok, S::Error> {
    let columns = record_columns();
    let records = records.iter();
    serializer.collect_seq(records.map(|usage| columns::object(&columns, &usage.record)))
}

type Count = (&'static str, fn(&Summary) -> u64);

const COUNTS: [Count; 9] = [
    ("read", |it| it.read),
    ("inserted", |it| it.inserted),
    ("duplicate", |it| it.duplicate),
    ("conflict", |it| it.conflict),
    ("refused", |it| it.refused),
    ("rolled_back", |it| it.rolled_back),
    ("unwritten", |it| it.unwritten),
    ("cut", |it| it.cut),
    ("unrepeatable", |it| it.unrepeatable),
];

impl Answer for Summary {
    fn table(&self, width: Option<usize>) -> String {
        let mut text = String::new();
        if self.dry_run {
            let records = self.records.iter().map(|usage| usage.record);
            let records: Vec<UsageRecord<'_>> = records.collect();
            text = columns::table(&record_columns(), &records, width) + "\n";
        }
        for (index, (name, number)) in COUNTS.into_iter().enumerate() {
            let number = number(self);
            // The last four are exceptions.
            if index < 5 || number > 0 {
                let name = name.replace('_', " ");
                text.push_str(&format!("{name:<13}{:>13}\n", format::count(number)));
            }
        }
        if let Some((from, to)) = self.from.zip(self.to) {
            let (from, to) = (format::time(from), format::time(to));
            text.push_str(&format!("from  {from}\nto    {to}\n"));
        }
        if self.dry_run {
            text.push_str("dry run: nothing was written\n");
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
        list.extend([
            Col::csv_only("from", |it| Cell::time(it.from)),
            Col::csv_only("to", |it| Cell::time(it.to)),
            Col::csv_only("created_at", |it| Cell::time(it.created_at)),
            Col::csv_only("dry_run", |it| Cell::Bool(it.dry_run)),
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
        let rows = self.0.iter();
        let rows = rows.map(|row| columns::object(&Self::columns(), row));
        object! { presets: rows.collect::<Vec<_>>() }
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
        assert_eq!(row[9], "1970-01-01T00:00:00.000Z");
        assert_eq!(row[11..], ["", "false", "true", "0.5", "2400"]);
    }
}
