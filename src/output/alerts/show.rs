//! What `alerts show` answers.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::super::chart::columns;
use super::super::{Answer, printable};
use super::event::EventJson;
use super::history::event_table;
use super::list::{StateJson, remarks, state};
use super::rule::{RuleJson, said};
use super::{measured, number};
use crate::domain::alert::event::Event;
use crate::domain::alert::rule::Rule;
use crate::domain::alert::state::{Level, Reading};
use crate::domain::alert::summary::Line;
use crate::domain::period::Period;
use crate::domain::period::shown;

/// All there is about a rule.
#[derive(Debug)]
pub struct RuleShown {
    pub rule: Rule,
    pub lines: Vec<Line>,
    /// What it measured; nothing if it cannot be judged at all.
    pub measured: Vec<Measured>,
    /// What happened to it last, in order.
    pub events: Vec<Event>,
}

/// What a rule measured of an API.
#[derive(Debug)]
pub struct Measured {
    pub api_name: String,
    /// Window after window, from the oldest.
    pub readings: Vec<Reading>,
}

#[derive(Serialize)]
struct RuleShownJson<'a> {
    rule: RuleJson<'a>,
    states: Vec<StateJson<'a>>,
    measured: Vec<MeasuredJson<'a>>,
    events: Vec<EventJson<'a>>,
}

#[derive(Serialize)]
struct MeasuredJson<'a> {
    api_name: &'a str,
    windows: Vec<WindowJson>,
}

#[derive(Serialize)]
struct WindowJson {
    at: DateTime<Utc>,
    value: Option<f64>,
    threshold: Option<f64>,
    limit_value: Option<f64>,
}

impl WindowJson {
    fn new(reading: &Reading) -> WindowJson {
        WindowJson {
            at: reading.at,
            value: reading.value,
            threshold: reading.threshold,
            limit_value: reading.limit_value,
        }
    }
}

impl RuleShown {
    fn facts(&self) -> String {
        let rule = &self.rule;
        let channels = match rule.channels.is_empty() {
            true => "all channels".to_owned(),
            false => rule.channels.join(", "),
        };
        let fired = rule
            .last_triggered
            .map_or_else(|| "never".to_owned(), shown);
        let enabled = if rule.enabled { "" } else { ", switched off" };
        let facts = [
            ("rule", format!("{rule}{enabled}")),
            ("id", rule.id.clone()),
            ("fires", said(rule)),
            ("tells", channels),
            ("last fired", fired),
        ];
        let line = |(name, fact): &(&str, String)| format!("{name:<11} {}\n", printable(fact));
        facts.iter().map(line).collect()
    }

    /// Where it stands for an API, and what it measures now.
    fn headline(&self, measured_now: &Measured) -> String {
        let api = &measured_now.api_name;
        let mut parts = Vec::new();
        if let Some(line) = self.lines.iter().find(|line| line.api_name == *api) {
            let since = line.standing.as_ref().map(|standing| standing.since);
            let since = since.map_or(String::new(), |since| format!(" since {}", shown(since)));
            parts.push(format!("{}{since}", state(line)));
            parts.extend(Some(remarks(line)).filter(|remarks| !remarks.is_empty()));
        }
        if let Some(now) = measured_now.readings.last() {
            parts.push(match (&now.level, now.value, now.limit_value) {
                (Level::Unknown(reason), ..) => format!("now unknown: {reason}"),
                (_, Some(value), Some(limit)) => format!(
                    "now {} of {}",
                    measured(&self.rule.alert_type, value),
                    number(limit)
                ),
                (_, Some(value), None) => {
                    format!("now {}", measured(&self.rule.alert_type, value))
                }
                (_, None, _) => "now unknown".to_owned(),
            });
        }
        format!("{api}: {}", parts.join("; "))
    }

    fn chart(&self, of_api: &Measured) -> String {
        const HEIGHT: usize = 6;
        let values: Vec<Option<f64>> = of_api.readings.iter().map(|read| read.value).collect();
        let (Some(first), Some(last)) = (of_api.readings.first(), of_api.readings.last()) else {
            return String::new();
        };
        if values.iter().all(Option::is_none) {
            return String::new();
        }
        let label = |value| measured(&self.rule.alert_type, value);
        let chart = columns(&values, last.threshold, HEIGHT, label);
        let column = match self.rule.period {
            Period::Second => "the busiest second of a minute",
            Period::Hour => "an hour",
            Period::Day => "a day",
            Period::Month => "a month",
            Period::Minute | Period::Other(_) => "a minute",
        };
        let (first, last) = (shown(first.at), shown(last.at));
        format!("{chart}windows that end from {first} to {last}, a column is {column}\n")
    }
}

impl Answer for RuleShown {
    fn table(&self, _width: Option<usize>) -> String {
        let mut text = self.facts();
        if let Err(senseless) = self.rule.check() {
            let line = format!("\nUNKNOWN: {senseless}\n");
            text.push_str(&line);
        }
        for of_api in &self.measured {
            let headline = self.headline(of_api);
            text.push_str(&format!("\n{}\n", printable(&headline)));
            text.push_str(&self.chart(of_api));
        }
        if !self.events.is_empty() {
            text.push_str("\nlast events\n");
            text.push_str(&event_table(&self.events));
        }
        text
    }

    fn json(&self) -> impl Serialize {
        RuleShownJson {
            rule: RuleJson::new(&self.rule),
            states: self.lines.iter().map(StateJson::new).collect(),
            measured: self
                .measured
                .iter()
                .map(|of_api| MeasuredJson {
                    api_name: &of_api.api_name,
                    windows: of_api.readings.iter().map(WindowJson::new).collect(),
                })
                .collect(),
            events: self.events.iter().map(EventJson::new).collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = ["at", "api_name", "value", "threshold", "limit_value"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        let plain = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        for of_api in &self.measured {
            rows.extend(of_api.readings.iter().map(|read| {
                vec![
                    shown(read.at),
                    of_api.api_name.clone(),
                    plain(read.value),
                    plain(read.threshold),
                    plain(read.limit_value),
                ]
            }));
        }
        rows
    }
}
