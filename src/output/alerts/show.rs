//! The answer of `alerts show`: one rule in detail.

use serde::Serializer;

use super::super::chart;
use super::history::event_table;
use super::list::{detail, since, status_name};
use super::measured;
use super::rule::settings_line;
use crate::domain::alert::event::Event;
use crate::domain::alert::rule::Rule;
use crate::domain::alert::state::{Level, Measurement};
use crate::domain::alert::summary::Line;
use crate::domain::alert::wording;
use crate::domain::format::{time, time_ms};
use crate::domain::period::Period;
use crate::domain::plans::Unit;
use crate::output::prelude::*;

/// A rule with its states, its recent values and its last events.
#[derive(Debug, Serialize)]
pub struct RuleDetails {
    pub rule: Rule,
    #[serde(rename = "states")]
    pub lines: Vec<Line>,
    /// By API; empty if the rule cannot be evaluated.
    pub measured: Vec<ApiReadings>,
    /// In order of time.
    pub events: Vec<Event>,
}

/// The values of a rule for one API in successive windows, the oldest first.
#[derive(Debug, Serialize)]
pub struct ApiReadings {
    pub api_name: String,
    #[serde(rename = "windows", serialize_with = "windows")]
    pub readings: Vec<Measurement>,
    /// The unit of the limit.
    #[serde(skip)]
    pub unit: Option<Unit>,
}

fn windows<S: Serializer>(readings: &[Measurement], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(readings.iter().map(|reading| {
        object! {
            at: time_ms(reading.at),
            ..reading.observed
        }
    }))
}

impl RuleDetails {
    fn facts(&self) -> String {
        let rule = &self.rule;
        let channels = if rule.channels.is_empty() {
            "all".to_owned()
        } else {
            rule.channels.join(", ")
        };
        let facts = [
            ("rule", rule.to_string()),
            ("id", rule.id.clone()),
            (
                "enabled",
                (if rule.enabled { "yes" } else { "no" }).to_owned(),
            ),
            ("settings", settings_line(rule)),
            ("channels", channels),
            (
                "last fired",
                rule.last_triggered.map_or("never".to_owned(), time),
            ),
        ];
        let line = |(name, fact): &(&str, String)| format!("{name:<11} {}\n", printable(fact));
        facts.iter().map(line).collect()
    }

    /// The state for an API, and the value of the newest window.
    fn headline(&self, api: &ApiReadings) -> String {
        let mut parts = Vec::new();
        if let Some(line) = self.lines.iter().find(|line| line.api_name == api.api_name) {
            let since =
                since(line).map_or(String::new(), |since| format!(" since {}", time(since)));
            parts.push(format!("{}{since}", status_name(line)));
            parts.extend(Some(detail(line)).filter(|detail| !detail.is_empty()));
        }
        if let Some(now) = api.readings.last() {
            let value = now
                .observed
                .value
                .map(|value| measured(self.rule.is_percentage(), value));
            parts.push(match (&now.level, value, now.observed.limit_value) {
                (Level::Unknown(reason), ..) => format!("now unknown: {reason}"),
                (_, Some(value), Some(limit)) => {
                    format!("now {value} of {}", wording::limit(limit, api.unit))
                }
                (_, Some(value), None) => format!("now {value}"),
                (_, None, _) => "now unknown".to_owned(),
            });
        }
        format!("{}: {}", api.api_name, parts.join("; "))
    }

    fn chart(&self, api: &ApiReadings) -> String {
        const HEIGHT: usize = 6;
        let values: Vec<Option<f64>> = api
            .readings
            .iter()
            .map(|read| read.observed.value)
            .collect();
        let (Some(first), Some(last)) = (api.readings.first(), api.readings.last()) else {
            return String::new();
        };
        if values.iter().all(Option::is_none) {
            return String::new();
        }
        let label = |value| measured(self.rule.is_percentage(), value);
        let chart = chart::columns(&values, last.observed.threshold, HEIGHT, label);
        let column = match self.rule.period {
            Period::Second => "minute (its busiest second)",
            Period::Minute => "minute (its busiest 60 seconds)",
            Period::Hour => "hour",
            Period::Day => "day",
            Period::Month => "month",
            Period::Other(_) => "minute",
        };
        let (first, last) = (time(first.at), time(last.at));
        format!("{chart}windows ending {first} to {last}, one column per {column}\n")
    }
}

impl Answer for RuleDetails {
    fn table(&self, width: Option<usize>) -> String {
        let mut text = self.facts();
        if let Err(problem) = self.rule.check() {
            text.push_str(&format!("\nUNKNOWN: {problem}\n"));
        }
        for api in &self.measured {
            let headline = self.headline(api);
            text.push_str(&format!("\n{}\n", printable(&headline)));
            text.push_str(&self.chart(api));
        }
        if !self.events.is_empty() {
            text.push_str("\nlast events\n");
            text.push_str(&event_table(&self.events, width));
        }
        text
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        type Row<'a> = (&'a str, &'a Measurement);
        type Col<'a> = Column<'a, Row<'a>>;
        let columns = [
            Col::csv_only("at", |(_, read)| Cell::Time(read.at)),
            Col::csv_only("api_name", |(api, _)| Cell::text(api)),
            Col::csv_only("value", |(_, read)| Cell::number(read.observed.value)),
            Col::csv_only("threshold", |(_, read)| {
                Cell::number(read.observed.threshold)
            }),
            Col::csv_only("limit_value", |(_, read)| {
                Cell::number(read.observed.limit_value)
            }),
        ];
        let rows = self.measured.iter().flat_map(|api| {
            let readings = api.readings.iter();
            readings.map(|read| (api.api_name.as_str(), read))
        });
        columns::csv(&columns, &rows.collect::<Vec<Row<'_>>>())
    }
}
