//! What `aggregate` did, and what `aggregate --verify` found.

use std::fmt;

use serde::Serialize;

use super::Answer;
use super::table::{Side, layout};
use crate::domain::format::{count, counted};
use crate::domain::period::{Granularity, shown};
use crate::domain::usage::rollup::ApiPeriod;

/// What a run did.
#[derive(Debug, Default)]
pub struct RunAnswer {
    /// Periods whose numbers changed.
    pub hours_rewritten: u64,
    /// As above.
    pub days_rewritten: u64,
    /// As above.
    pub months_rewritten: u64,
    /// Hours that were rolled up and have no rows any more. Those rewritten include them.
    pub hours_emptied: u64,
    /// Rows of `api_usage` that were counted.
    pub rows_read: u64,
    /// Costs that no sum can be made of.
    pub costs_left_out: u64,
    /// Response times that are none.
    pub response_times_left_out: u64,
    /// Rows that belong to no period.
    pub rows_with_unreadable_time: u64,
    /// Rows of another program that count more than we do.
    pub kept: Vec<Kept>,
    /// How long it took.
    pub seconds: f64,
}

/// A row of `api_usage_aggregates` that another program wrote and that was left as it is.
#[derive(Debug)]
pub struct Kept {
    /// How long its period is.
    pub granularity: Granularity,
    /// Its API and the start of its period.
    pub period: ApiPeriod,
    /// The requests it counts.
    pub published: i32,
    /// The requests whose rows are there.
    pub counted: u64,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ApiPeriod { start, api_name } = &self.period;
        write!(
            f,
            "{} {} {}: api_usage_aggregates has another program's row of {}, of which {} are left; it stays",
            super::printable(api_name),
            self.granularity,
            shown(*start),
            counted(u64::from(self.published.unsigned_abs()), "request"),
            count(self.counted)
        )
    }
}

impl Kept {
    fn json(&self) -> KeptJson<'_> {
        KeptJson {
            api_name: &self.period.api_name,
            aggregation_type: self.granularity.as_str(),
            period_start: shown(self.period.start),
            published_requests: self.published,
            counted_requests: self.counted,
        }
    }
}

impl RunAnswer {
    /// The count of rewritten periods of a granularity.
    pub fn rewritten(&mut self, granularity: Granularity) -> &mut u64 {
        match granularity {
            Granularity::Hourly => &mut self.hours_rewritten,
            Granularity::Daily => &mut self.days_rewritten,
            Granularity::Monthly => &mut self.months_rewritten,
        }
    }

    /// What could not be counted, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |number, thing: &str, why: &str| {
            if number > 0 {
                warnings.push(format!("left out {}: {why}", counted(number, thing)));
            }
        };
        warn(
            self.rows_with_unreadable_time,
            "row",
            "nobody can read the timestamp, or it is not in the years 1 to 9999",
        );
        warn(
            self.costs_left_out,
            "cost",
            "no finite number, or beyond 1e15; the calls are counted",
        );
        warn(
            self.response_times_left_out,
            "response time",
            "negative, too large or no number; the calls are counted",
        );
        warnings
    }

    /// One line for people.
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

#[derive(Serialize)]
struct RunJson<'a> {
    hours_rewritten: u64,
    days_rewritten: u64,
    months_rewritten: u64,
    hours_emptied: u64,
    rows_read: u64,
    costs_left_out: u64,
    response_times_left_out: u64,
    rows_with_unreadable_time: u64,
    kept: Vec<KeptJson<'a>>,
    seconds: f64,
}

#[derive(Serialize)]
struct KeptJson<'a> {
    api_name: &'a str,
    aggregation_type: &'static str,
    period_start: String,
    published_requests: i32,
    counted_requests: u64,
}

impl Answer for RunAnswer {
    fn table(&self, _width: Option<usize>) -> String {
        self.summary() + "\n"
    }

    fn json(&self) -> impl Serialize {
        RunJson {
            hours_rewritten: self.hours_rewritten,
            days_rewritten: self.days_rewritten,
            months_rewritten: self.months_rewritten,
            hours_emptied: self.hours_emptied,
            rows_read: self.rows_read,
            costs_left_out: self.costs_left_out,
            response_times_left_out: self.response_times_left_out,
            rows_with_unreadable_time: self.rows_with_unreadable_time,
            kept: self.kept.iter().map(Kept::json).collect(),
            seconds: self.seconds,
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let (names, values): (Vec<_>, Vec<_>) = [
            ("hours_rewritten", self.hours_rewritten),
            ("days_rewritten", self.days_rewritten),
            ("months_rewritten", self.months_rewritten),
            ("hours_emptied", self.hours_emptied),
            ("rows_read", self.rows_read),
            ("costs_left_out", self.costs_left_out),
            ("response_times_left_out", self.response_times_left_out),
            ("rows_with_unreadable_time", self.rows_with_unreadable_time),
            ("kept", self.kept.len() as u64),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_string()))
        .into_iter()
        .unzip();
        vec![names, values]
    }
}

/// What `--verify` found.
#[derive(Debug, Default)]
pub struct VerifyAnswer {
    /// How many roll-ups were compared.
    pub compared: u64,
    /// Hours whose rows changed since they were rolled up, and which were therefore passed over.
    pub hours_waiting: u64,
    /// What is not as it should be.
    pub differences: Vec<Difference>,
}

/// Something stored that is not what it should be.
#[derive(Debug)]
pub struct Difference {
    /// How long its period is.
    pub granularity: Granularity,
    /// Its API and the start of its period.
    pub period: ApiPeriod,
    /// What it was compared with: `rows`, `HOURLY`, `DAILY`, `api_usage_aggregates`.
    pub compared_with: &'static str,
    /// The number that differs, by the name of its column.
    pub field: &'static str,
    /// What the roll-up says.
    pub stored: String,
    /// What it was compared with says.
    pub found: String,
}

#[derive(Serialize)]
struct VerifyJson<'a> {
    compared: u64,
    hours_waiting: u64,
    differences: Vec<DifferenceJson<'a>>,
}

#[derive(Serialize)]
struct DifferenceJson<'a> {
    api_name: &'a str,
    aggregation_type: &'static str,
    period_start: String,
    compared_with: &'static str,
    field: &'static str,
    stored: &'a str,
    found: &'a str,
}

impl Difference {
    fn json(&self) -> DifferenceJson<'_> {
        DifferenceJson {
            api_name: &self.period.api_name,
            aggregation_type: self.granularity.as_str(),
            period_start: shown(self.period.start),
            compared_with: self.compared_with,
            field: self.field,
            stored: &self.stored,
            found: &self.found,
        }
    }

    fn cells(&self) -> Vec<String> {
        let json = self.json();
        vec![
            json.api_name.to_owned(),
            json.aggregation_type.to_owned(),
            json.period_start,
            json.field.to_owned(),
            json.stored.to_owned(),
            json.found.to_owned(),
            json.compared_with.to_owned(),
        ]
    }
}

impl Answer for VerifyAnswer {
    fn table(&self, _width: Option<usize>) -> String {
        if self.differences.is_empty() {
            return String::new();
        }
        let columns = [
            ("API", Side::Left),
            ("PERIOD", Side::Left),
            ("START", Side::Left),
            ("FIELD", Side::Left),
            ("STORED", Side::Right),
            ("FOUND", Side::Right),
            ("IN", Side::Left),
        ];
        layout(&columns, self.differences.iter().map(Difference::cells))
    }

    fn json(&self) -> impl Serialize {
        VerifyJson {
            compared: self.compared,
            hours_waiting: self.hours_waiting,
            differences: self.differences.iter().map(Difference::json).collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "api_name",
            "aggregation_type",
            "period_start",
            "field",
            "stored",
            "found",
            "compared_with",
        ];
        let header = header.map(str::to_owned).to_vec();
        let rows = self.differences.iter().map(Difference::cells);
        std::iter::once(header).chain(rows).collect()
    }
}
