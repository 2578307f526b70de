//! The answers of `aggregate` and `aggregate --verify`.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::domain::format::{count, counted};
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::rollup::Difference;
use crate::output::prelude::*;

#[derive(Debug, Default, Serialize)]
pub struct RunAnswer {
    pub hours_rewritten: u64,
    pub days_rewritten: u64,
    pub months_rewritten: u64,
    /// Hours whose rows are all gone; included in those rewritten.
    pub hours_emptied: u64,
    pub rows_read: u64,
    pub costs_left_out: u64,
    pub response_times_left_out: u64,
    pub rows_with_unreadable_time: u64,
    /// Without the triggers: the first hour before the look-back that was not compared, if not all were.
    #[serde(serialize_with = "super::json::maybe_time")]
    pub unchecked_from: Option<DateTime<Utc>>,
    pub kept: Vec<KeptRow>,
    /// Calls that stay counted although another program deleted their rows.
    pub deleted: Option<DeletedRows>,
    /// Differences that `--repair` corrected.
    pub differences: u64,
    pub seconds: f64,
}

/// The oldest rows, deleted by another program.
#[derive(Clone, Debug, Serialize)]
pub struct DeletedRows {
    #[serde(flatten, serialize_with = "super::json::window")]
    pub window: Window,
    pub requests: u64,
}

impl fmt::Display for DeletedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "another program deleted the rows of {} from {} to {}; their roll-ups are kept",
            counted(self.requests, "request"),
            format::time(self.window.from),
            format::time(self.window.to)
        )
    }
}

/// A row of `api_usage_aggregates` that another program wrote and that stays.
#[derive(Debug, Serialize)]
pub struct KeptRow {
    pub api_name: String,
    pub aggregation_type: Granularity,
    #[serde(serialize_with = "super::json::time")]
    pub period_start: DateTime<Utc>,
    #[serde(skip)]
    pub period_end: DateTime<Utc>,
    pub published_requests: i32,
    /// Requests whose rows exist.
    pub counted_requests: u64,
}

impl fmt::Display for KeptRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {}: kept another program's row in api_usage_aggregates, which counts {}; only {} have rows",
            crate::domain::format::printable(&self.api_name),
            self.aggregation_type,
            format::time(self.period_start),
            counted(u64::from(self.published_requests.unsigned_abs()), "request"),
            count(self.counted_requests)
        )
    }
}

impl RunAnswer {
    pub fn rewritten(&mut self, granularity: Granularity) -> &mut u64 {
        match granularity {
            Granularity::Hourly => &mut self.hours_rewritten,
            Granularity::Daily => &mut self.days_rewritten,
            Granularity::Monthly => &mut self.months_rewritten,
        }
    }

    /// Adds calls of a part of an hour whose rows are gone.
    pub fn add_gone(&mut self, start: DateTime<Utc>, requests: u64) {
        let hour = Granularity::Hourly.start_of(start);
        let hour = Window::new(hour, Granularity::Hourly.end_of(hour));
        let deleted = self.deleted.get_or_insert(DeletedRows {
            window: hour,
            requests: 0,
        });
        deleted.requests += requests;
        deleted.window.from = deleted.window.from.min(hour.from);
        deleted.window.to = deleted.window.to.max(hour.to);
    }

    pub fn kept_span(&self) -> Option<Window> {
        span(
            self.kept
                .iter()
                .map(|row| Window::new(row.period_start, row.period_end)),
        )
    }

    /// One sentence for each kind of values that could not be counted.
    pub fn warnings(&self) -> Vec<String> {
        let kinds = [
            (
                self.rows_with_unreadable_time,
                "row",
                "timestamp unreadable or not in the years 1 to 9999",
            ),
            (
                self.costs_left_out,
                "cost",
                "not finite or beyond 1e15; their calls are counted",
            ),
            (
                self.response_times_left_out,
                "response time",
                "negative, too large or not a number; their calls are counted",
            ),
        ];
        let warnings = kinds.iter().filter(|(number, _, _)| *number > 0);
        warnings
            .map(|(number, thing, why)| format!("left out {}: {why}", counted(*number, thing)))
            .collect()
    }

    pub fn summary(&self) -> String {
        format!(
            "rewrote {}, {}, {} from {} in {:.2} s",
            counted(self.hours_rewritten, "hour"),
            counted(self.days_rewritten, "day"),
            counted(self.months_rewritten, "month"),
            counted(self.rows_read, "row"),
            self.seconds
        )
    }
}

/// From the start of the first period to the end of the last one.
fn span(periods: impl Iterator<Item = Window>) -> Option<Window> {
    periods.reduce(|all, next| Window::new(all.from.min(next.from), all.to.max(next.to)))
}

impl Answer for RunAnswer {
    fn table(&self, _width: Option<usize>) -> String {
        self.summary() + "\n"
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        type Number = (&'static str, fn(&RunAnswer) -> u64);
        let numbers: [Number; 11] = [
            ("hours_rewritten", |run| run.hours_rewritten),
            ("days_rewritten", |run| run.days_rewritten),
            ("months_rewritten", |run| run.months_rewritten),
            ("hours_emptied", |run| run.hours_emptied),
            ("rows_read", |run| run.rows_read),
            ("costs_left_out", |run| run.costs_left_out),
            ("response_times_left_out", |run| run.response_times_left_out),
            ("rows_with_unreadable_time", |run| {
                run.rows_with_unreadable_time
            }),
            ("kept", |run| run.kept.len() as u64),
            ("requests_without_rows", |run| {
                run.deleted.as_ref().map_or(0, |deleted| deleted.requests)
            }),
            ("differences", |run| run.differences),
        ];
        let columns = numbers.map(|(name, number)| {
            Column::csv_only(name, move |run: &&RunAnswer| Cell::count(number(run)))
        });
        columns::csv(&columns, &[self])
    }
}

#[derive(Debug, Default, Serialize)]
pub struct VerifyAnswer {
    /// Roll-ups compared.
    pub compared: u64,
    /// Hours skipped because their rows changed since they were rolled up.
    pub hours_waiting: u64,
    pub differences: Vec<FoundDifference>,
}

/// A stored number that differs from its source, or from the row derived from it.
#[derive(Debug, Serialize)]
pub struct FoundDifference {
    pub api_name: String,
    pub aggregation_type: Granularity,
    #[serde(serialize_with = "super::json::time")]
    pub period_start: DateTime<Utc>,
    #[serde(skip)]
    pub period_end: DateTime<Utc>,
    /// `rows`, `HOURLY`, `DAILY` or `api_usage_aggregates`.
    pub compared_with: &'static str,
    #[serde(flatten)]
    pub difference: Difference,
}

impl VerifyAnswer {
    pub fn span(&self) -> Option<Window> {
        span(
            self.differences
                .iter()
                .map(|found| Window::new(found.period_start, found.period_end)),
        )
    }
}

fn difference_columns() -> Vec<Column<'static, FoundDifference>> {
    type Col<'a> = Column<'a, FoundDifference>;
    vec![
        Col::left("API", "api_name", |it| Cell::text(&it.api_name)),
        Col::left("PERIOD", "aggregation_type", |it| {
            Cell::text(it.aggregation_type)
        }),
        Col::left("START", "period_start", |it| Cell::Time(it.period_start)),
        Col::left("FIELD", "field", |it| Cell::text(it.difference.field)),
        Col::right("STORED", "stored", |it| Cell::text(&it.difference.stored)),
        Col::right("FOUND", "found", |it| Cell::text(&it.difference.found)),
        Col::left("IN", "compared_with", |it| Cell::text(it.compared_with)),
    ]
}

impl Answer for VerifyAnswer {
    fn table(&self, width: Option<usize>) -> String {
        if self.differences.is_empty() {
            return String::new();
        }
        columns::table(&difference_columns(), &self.differences, width)
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&difference_columns(), &self.differences)
    }
}
