//! The answer of `alerts status`.

use chrono::{DateTime, TimeDelta, Utc};

use super::check::Finding;
use super::list::{NO_RULES, age_cell, detail, evaluated_to, status_name, value};
use super::{nagios, value_cell};
use crate::domain::alert::clock::CLOCK_ERROR;
use crate::domain::alert::delivery::Notice;
use crate::domain::alert::rule::{AlertRef, Severity};
use crate::domain::alert::silence::Silence;
use crate::domain::alert::state::{AlertState, AlertStatus};
use crate::domain::alert::summary::{Condition, Line};
use crate::domain::format::{count, counted, duration, time, time_ms};
use crate::domain::nagios::NagiosAnswer;
use crate::output::prelude::*;

#[derive(Debug)]
pub struct AlertsStatus {
    pub lines: Vec<Line>,
    pub waiting: Vec<Notice>,
    /// How many notices a silence holds back.
    pub silenced: u64,
    /// The active and pending silences.
    pub silences: Vec<Silence>,
    /// Why the states may be wrong: a clock, or an outage of the recorder.
    pub problem: Option<String>,
    pub now: DateTime<Utc>,
}

/// A condition by its name, and the number of rules in it.
type Count = (&'static str, u64);

/// How urgent a rule is, 0 first; nothing if it needs no attention.
fn urgency(condition: Condition) -> Option<u8> {
    match condition {
        Condition::Firing(Severity::Critical) => Some(0),
        Condition::Firing(Severity::Warning) => Some(1),
        Condition::Unknown => Some(2),
        Condition::Pending => Some(3),
        Condition::Ok | Condition::Unchecked | Condition::Disabled => None,
    }
}

impl AlertsStatus {
    /// `critical` is a part of `firing`.
    fn counts(&self) -> [Count; 7] {
        let count = |is: fn(Condition) -> bool| {
            let lines = self.lines.iter().filter(|line| is(line.condition()));
            lines.count() as u64
        };
        let critical = count(|is| is == Condition::Firing(Severity::Critical));
        [
            ("firing", count(|is| matches!(is, Condition::Firing(_)))),
            ("critical", critical),
            ("unknown", count(|is| is == Condition::Unknown)),
            ("pending", count(|is| is == Condition::Pending)),
            ("ok", count(|is| is == Condition::Ok)),
            ("unchecked", count(|is| is == Condition::Unchecked)),
            ("disabled", count(|is| is == Condition::Disabled)),
        ]
    }

    /// The answer under `--nagios`; UNKNOWN if the last check is older than `max_age` or the states may be wrong.
    pub fn nagios(&self, max_age: TimeDelta) -> NagiosAnswer {
        let enabled = self.lines.iter().filter(|line| line.rule.enabled);
        let findings: Vec<Finding> = enabled.map(|line| finding(line, self.now)).collect();
        if findings.is_empty() {
            return NagiosAnswer::failed("no enabled rules");
        }
        let failed = self.waiting.iter().filter(|notice| notice.attempts > 0);
        let last = evaluated_to(&self.lines).map(|to| (self.now - to, time(to)));
        let problem = last.and_then(|(age, to)| {
            if age > max_age {
                Some(format!("the last check was {} ago, at {to}", duration(age)))
            } else if -age >= CLOCK_ERROR {
                Some(format!(
                    "the last check was at {to}, in the future: a clock is wrong"
                ))
            } else {
                self.problem.clone()
            }
        });
        nagios::answer(&findings, failed.count() as u64, problem)
    }

    fn active_silences(&self) -> u64 {
        let silences = self.silences.iter();
        let active = silences.filter(|silence| silence.is_active(self.now));
        active.count() as u64
    }

    /// The rules that need attention, the most urgent first.
    fn attention(&self) -> Vec<&Line> {
        let is_urgent = |line: &&Line| urgency(line.condition()).is_some();
        let mut lines: Vec<&Line> = self.lines.iter().filter(is_urgent).collect();
        lines.sort_by_key(|line| urgency(line.condition()));
        lines
    }
}

/// The state of an enabled rule; UNKNOWN if it was never evaluated.
fn finding(line: &Line, now: DateTime<Utc>) -> Finding {
    let unchecked = AlertState {
        status: AlertStatus::Unknown,
        reason: Some("not evaluated yet".to_owned()),
        ..AlertState::ok_since(now)
    };
    let mut state = line.state.clone().unwrap_or(unchecked);
    if line.condition() == Condition::Unknown {
        state.status = AlertStatus::Unknown;
        state.reason = line.reason().or(state.reason);
    }
    Finding {
        alert: AlertRef::new(&line.rule, &line.api_name),
        state,
        cure: None,
        warning: line.rule.threshold_of(Severity::Warning),
        critical: line.rule.threshold_of(Severity::Critical),
    }
}

impl Answer for AlertsStatus {
    fn table(&self, width: Option<usize>) -> String {
        if self.lines.is_empty() {
            return NO_RULES.to_owned();
        }
        let attention = self.attention();
        let mut text = String::new();
        if !attention.is_empty() {
            type Col<'a> = Column<'a, &'a Line>;
            let columns = [
                Col::table_only("STATE", |line| Cell::text(status_name(line))),
                Col::table_only("API", |line| Cell::text(&line.api_name)),
                Col::table_only("TYPE", |line| Cell::text(&line.rule.alert_type)),
                Col::table_only("PERIOD", |line| Cell::text(&line.rule.period)),
                Col::right("VALUE", "", |line| {
                    value_cell(line.rule.is_percentage(), value(line))
                }),
                Col::table_only("UNIT", |line| Cell::text(line.rule.unit())).dropped(2),
                Col::table_only("AGE", |line| age_cell(line, self.now)).dropped(1),
                Col::table_only("DETAIL", |line| Cell::text(detail(line))),
            ];
            text = columns::table(&columns, &attention, width) + "\n";
        }
        let counts = self.counts().into_iter();
        let counts = counts.filter(|(name, number)| *name != "critical" && *number > 0);
        let counts = counts.map(|(name, number)| {
            let name = match name {
                "unchecked" => "not evaluated yet",
                name => name,
            };
            format!("{} {name}", count(number))
        });
        let counts: Vec<String> = counts.collect();
        text.push_str(&counts.join(", "));
        if let Some(to) = evaluated_to(&self.lines) {
            text.push_str(&format!("; as of {}", time(to)));
        }
        text.push('\n');
        if let Some(notice) = self.waiting.first() {
            let waiting = counted(self.waiting.len() as u64, "undelivered notice");
            let error = notice.error.as_ref();
            let error = error.map_or(String::new(), |error| format!(": {error}"));
            let line = format!("{waiting}, the first to {}{error}", notice.channel);
            text.push_str(&printable(&line));
            text.push('\n');
        }
        if self.silenced > 0 {
            text.push_str(&format!(
                "{} held back by a silence\n",
                counted(self.silenced, "notice")
            ));
        }
        if self.active_silences() > 0 {
            text.push_str(&format!(
                "{}\n",
                counted(self.active_silences(), "active silence")
            ));
        }
        text
    }

    fn json(&self) -> impl Serialize {
        let attention = self.attention().into_iter().map(|line| {
            object! {
                alert_id: &line.rule.id,
                alert_type: line.rule.alert_type.as_str(),
                period: line.rule.period.as_str(),
                ..line
            }
        });
        let counts = self.counts().into_iter();
        let counts = counts.map(|(name, number)| (name, Cell::count(number)));
        object! {
            ..counts.collect::<columns::Object>(),
            notices_waiting: self.waiting.len(),
            notices_silenced: self.silenced,
            silences_active: self.active_silences(),
            evaluated_to: evaluated_to(&self.lines).map(time_ms),
            attention: attention.collect::<Vec<_>>(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let columns = [
            Column::csv_only("state", |(state, _): &Count| Cell::text(state)),
            Column::csv_only("number", |(_, number): &Count| Cell::count(*number)),
        ];
        columns::csv(&columns, &self.counts())
    }
}
