//! What `alerts status` answers.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::super::table::{Side, layout};
use super::super::{Answer, printable};
use super::list::{StateJson, remarks, state};
use super::measured;
use crate::domain::alert::delivery::Notice;
use crate::domain::alert::rule::Severity;
use crate::domain::alert::silence::Silence;
use crate::domain::alert::summary::{Condition, Line};
use crate::domain::format::{count, counted};
use crate::domain::period::shown;

/// Where everything stands.
#[derive(Debug)]
pub struct AlertsStatus {
    pub lines: Vec<Line>,
    /// The notices that wait to be delivered.
    pub waiting: Vec<Notice>,
    /// How many are held back by a silence.
    pub silenced: u64,
    /// The silences in force or to come.
    pub silences: Vec<Silence>,
    pub now: DateTime<Utc>,
}

#[derive(Serialize)]
struct AlertsStatusJson<'a> {
    firing: u64,
    critical: u64,
    unknown: u64,
    pending: u64,
    ok: u64,
    unchecked: u64,
    disabled: u64,
    notices_waiting: usize,
    notices_silenced: u64,
    silences_active: usize,
    evaluated_to: Option<DateTime<Utc>>,
    /// What fires, is about to, or cannot be judged.
    attention: Vec<AttentionJson<'a>>,
}

#[derive(Serialize)]
struct AttentionJson<'a> {
    alert_id: &'a str,
    alert_type: &'a str,
    period: &'a str,
    #[serde(flatten)]
    state: StateJson<'a>,
}

impl AlertsStatus {
    fn number(&self, is: impl Fn(Condition) -> bool) -> u64 {
        self.lines
            .iter()
            .filter(|line| is(line.condition()))
            .count() as u64
    }

    fn active_silences(&self) -> usize {
        self.silences
            .iter()
            .filter(|silence| silence.is_active(self.now))
            .count()
    }

    /// What somebody should look at, the worst first.
    fn attention(&self) -> Vec<&Line> {
        let weight = |line: &Line| match line.condition() {
            Condition::Firing(Severity::Critical) => 0,
            Condition::Firing(Severity::Warning) => 1,
            Condition::Unknown => 2,
            Condition::Pending => 3,
            Condition::Ok | Condition::Unchecked | Condition::Disabled => 4,
        };
        let mut lines: Vec<&Line> = self.lines.iter().filter(|line| weight(line) < 4).collect();
        lines.sort_by_key(|line| weight(line));
        lines
    }

    fn evaluated_to(&self) -> Option<DateTime<Utc>> {
        let standings = self.lines.iter().filter_map(|line| line.standing.as_ref());
        standings.map(|standing| standing.evaluated_to).max()
    }

    fn numbers(&self) -> AlertsStatusJson<'_> {
        AlertsStatusJson {
            firing: self.number(|is| matches!(is, Condition::Firing(_))),
            critical: self.number(|is| is == Condition::Firing(Severity::Critical)),
            unknown: self.number(|is| is == Condition::Unknown),
            pending: self.number(|is| is == Condition::Pending),
            ok: self.number(|is| is == Condition::Ok),
            unchecked: self.number(|is| is == Condition::Unchecked),
            disabled: self.number(|is| is == Condition::Disabled),
            notices_waiting: self.waiting.len(),
            notices_silenced: self.silenced,
            silences_active: self.active_silences(),
            evaluated_to: self.evaluated_to(),
            attention: self
                .attention()
                .into_iter()
                .map(|line| AttentionJson {
                    alert_id: &line.rule.id,
                    alert_type: line.rule.alert_type.as_str(),
                    period: line.rule.period.as_str(),
                    state: StateJson::new(line),
                })
                .collect(),
        }
    }
}

impl Answer for AlertsStatus {
    fn table(&self, _width: Option<usize>) -> String {
        if self.lines.is_empty() {
            return "no rules; `usagectl alerts init` adds those for the usual APIs\n".to_owned();
        }
        let attention = self.attention();
        let mut text = String::new();
        if !attention.is_empty() {
            let columns = [
                ("STATE", Side::Left),
                ("API", Side::Left),
                ("TYPE", Side::Left),
                ("PERIOD", Side::Left),
                ("VALUE", Side::Right),
                ("SINCE", Side::Left),
                ("", Side::Left),
            ];
            let row = |line: &&Line| {
                let rule = &line.rule;
                let standing = line.standing.as_ref();
                let value = standing.and_then(|standing| standing.value);
                let value = value.map(|value| measured(&rule.alert_type, value));
                vec![
                    state(line).to_owned(),
                    line.api_name.clone(),
                    rule.alert_type.to_string(),
                    rule.period.to_string(),
                    value.unwrap_or_else(|| "-".to_owned()),
                    standing.map_or_else(|| "-".to_owned(), |standing| shown(standing.since)),
                    remarks(line),
                ]
            };
            text = layout(&columns, attention.iter().map(row)) + "\n";
        }
        let numbers = self.numbers();
        let parts = [
            (numbers.firing, "firing"),
            (numbers.unknown, "unknown"),
            (numbers.pending, "pending"),
            (numbers.ok, "ok"),
            (numbers.unchecked, "not checked yet"),
            (numbers.disabled, "disabled"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{} {what}", count(*number)))
            .collect();
        text.push_str(&parts.join(", "));
        if let Some(to) = numbers.evaluated_to {
            text.push_str(&format!("; as of {}", shown(to)));
        }
        text.push('\n');
        if let Some(notice) = self.waiting.first() {
            let waiting = counted(self.waiting.len() as u64, "notice");
            let error = notice.error.as_ref();
            let why = error.map_or(String::new(), |error| format!(": {error}"));
            let line = format!(
                "{waiting} to be delivered, the first to {}{why}",
                notice.channel
            );
            text.push_str(&printable(&line));
            text.push('\n');
        }
        if self.silenced > 0 {
            let held = counted(self.silenced, "notice");
            text.push_str(&format!("{held} held back by a silence\n"));
        }
        if numbers.silences_active > 0 {
            let active = counted(numbers.silences_active as u64, "silence");
            text.push_str(&format!("{active} in force\n"));
        }
        text
    }

    fn json(&self) -> impl Serialize {
        self.numbers()
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = ["state", "number"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        let numbers = self.numbers();
        let lines = [
            ("firing", numbers.firing),
            ("critical", numbers.critical),
            ("unknown", numbers.unknown),
            ("pending", numbers.pending),
            ("ok", numbers.ok),
            ("unchecked", numbers.unchecked),
            ("disabled", numbers.disabled),
        ];
        rows.extend(
            lines
                .iter()
                .map(|(state, number)| vec![(*state).to_owned(), number.to_string()]),
        );
        rows
    }
}
