//! What `alerts list` answers: each rule, and where it stands.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::super::Answer;
use super::super::chart::bar;
use super::super::table::{Side, layout};
use super::rule::{RuleJson, short_id};
use super::{measured, number};
use crate::domain::alert::lookup::telling_length;
use crate::domain::alert::rule::{AlertType, Severity};
use crate::domain::alert::summary::{Condition, Line};
use crate::domain::period::shown;

/// All rules.
#[derive(Debug)]
pub struct RuleList {
    /// By API, type and period.
    pub lines: Vec<Line>,
}

#[derive(Serialize)]
struct RuleListJson<'a> {
    rules: Vec<LineJson<'a>>,
}

#[derive(Serialize)]
struct LineJson<'a> {
    #[serde(flatten)]
    rule: RuleJson<'a>,
    states: Vec<StateJson<'a>>,
}

/// Where a rule stands, as programs get it.
#[derive(Serialize)]
pub(super) struct StateJson<'a> {
    api_name: &'a str,
    state: &'static str,
    severity: Option<&'static str>,
    since: Option<DateTime<Utc>>,
    value: Option<f64>,
    threshold: Option<f64>,
    limit_value: Option<f64>,
    reason: Option<String>,
    episode: Option<&'a str>,
    fired_at: Option<DateTime<Utc>>,
    evaluated_to: Option<DateTime<Utc>>,
    acknowledged_by: Option<&'a str>,
    silenced_until: Option<DateTime<Utc>>,
}

impl StateJson<'_> {
    pub(super) fn new(line: &Line) -> StateJson<'_> {
        let standing = line.standing.as_ref();
        let episode = standing.and_then(|standing| standing.episode.as_ref());
        StateJson {
            api_name: &line.api_name,
            state: state(line),
            severity: standing.and_then(|standing| Some(standing.severity?.as_str())),
            since: standing.map(|standing| standing.since),
            value: standing.and_then(|standing| standing.value),
            threshold: standing.and_then(|standing| standing.threshold),
            limit_value: limit(line),
            reason: line.reason(),
            episode: episode.map(|episode| episode.id.as_str()),
            fired_at: episode.map(|episode| episode.fired_at),
            evaluated_to: standing.map(|standing| standing.evaluated_to),
            acknowledged_by: line.acknowledged_by.as_deref(),
            silenced_until: line.silenced_until,
        }
    }
}

/// One word for how a rule is doing.
pub(super) fn state(line: &Line) -> &'static str {
    match (line.condition(), &line.standing) {
        (Condition::Disabled, _) => "DISABLED",
        (Condition::Unchecked, _) => "UNCHECKED",
        (Condition::Unknown, _) => "UNKNOWN",
        (_, Some(standing)) => standing.state.as_str(),
        (_, None) => "UNCHECKED",
    }
}

fn limit(line: &Line) -> Option<f64> {
    let standing = line.standing.as_ref();
    standing
        .and_then(|standing| standing.limit_value)
        .or(line.limit_value)
}

/// What is worth saying beside the state.
pub(super) fn remarks(line: &Line) -> String {
    let mut remarks = Vec::new();
    if line.condition() == Condition::Firing(Severity::Critical) {
        remarks.push("critical".to_owned());
    }
    if line.rule.enabled {
        remarks.extend(line.reason());
    }
    if let Some(by) = &line.acknowledged_by {
        remarks.push(format!("acknowledged by {by}"));
    }
    if let Some(until) = line.silenced_until {
        remarks.push(format!("silent until {}", shown(until)));
    }
    remarks.join("; ")
}

/// The value on a scale that ends at the limit, or a little beyond the highest threshold.
pub(super) fn value_bar(line: &Line) -> Option<String> {
    const WIDTH: usize = 20;
    let standing = line.standing.as_ref()?;
    let (value, threshold) = (standing.value?, standing.threshold?);
    let settings = &line.rule.settings;
    let highest = settings
        .critical_threshold
        .unwrap_or(threshold)
        .max(threshold);
    let full = match line.rule.alert_type {
        AlertType::RateLimitWarning => highest.max(100.0),
        _ => highest * 1.25,
    };
    let is_sound = full.is_finite() && full > 0.0;
    is_sound.then(|| bar(value, threshold, full, WIDTH))
}

impl Answer for RuleList {
    fn table(&self, _width: Option<usize>) -> String {
        if self.lines.is_empty() {
            return "no rules; `usagectl alerts init` adds those for the usual APIs\n".to_owned();
        }
        let length = telling_length(self.lines.iter().map(|line| line.rule.id.as_str()));
        let columns = [
            ("ID", Side::Left),
            ("API", Side::Left),
            ("TYPE", Side::Left),
            ("PERIOD", Side::Left),
            ("VALUE", Side::Right),
            ("THRESHOLD", Side::Right),
            ("LIMIT", Side::Right),
            ("", Side::Left),
            ("STATE", Side::Left),
            ("SINCE", Side::Left),
            ("", Side::Left),
        ];
        let unknown = || "-".to_owned();
        let row = |line: &Line| {
            let rule = &line.rule;
            let standing = line.standing.as_ref();
            let value = standing.and_then(|standing| standing.value);
            vec![
                short_id(&rule.id, length),
                match rule.api_name == line.api_name {
                    true => line.api_name.clone(),
                    false => format!("{} {}", rule.api_name, line.api_name),
                },
                rule.alert_type.to_string(),
                rule.period.to_string(),
                value.map_or_else(unknown, |value| measured(&rule.alert_type, value)),
                measured(&rule.alert_type, rule.threshold),
                limit(line).map_or_else(unknown, number),
                value_bar(line).unwrap_or_default(),
                state(line).to_owned(),
                standing.map_or_else(unknown, |standing| shown(standing.since)),
                remarks(line),
            ]
        };
        let mut text = layout(&columns, self.lines.iter().map(row));
        let checked = self.lines.iter().filter_map(|line| line.standing.as_ref());
        match checked.map(|standing| standing.evaluated_to).max() {
            Some(to) => text.push_str(&format!("\nas of {}\n", shown(to))),
            None => text.push_str("\nnot checked yet; `usagectl alerts check` does\n"),
        }
        text
    }

    fn json(&self) -> impl Serialize {
        let same_rule = |a: &Line, b: &Line| a.rule.id == b.rule.id;
        RuleListJson {
            rules: self
                .lines
                .chunk_by(same_rule)
                .map(|lines| LineJson {
                    rule: RuleJson::new(&lines[0].rule),
                    states: lines.iter().map(StateJson::new).collect(),
                })
                .collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "id",
            "api_name",
            "alert_type",
            "period",
            "value",
            "threshold",
            "limit_value",
            "state",
            "since",
            "remarks",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(self.lines.iter().map(|line| {
            let rule = &line.rule;
            let standing = line.standing.as_ref();
            let value = standing.and_then(|standing| standing.value);
            let plain = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
            vec![
                rule.id.clone(),
                line.api_name.clone(),
                rule.alert_type.to_string(),
                rule.period.to_string(),
                plain(value),
                rule.threshold.to_string(),
                plain(limit(line)),
                state(line).to_owned(),
                standing.map_or(String::new(), |standing| shown(standing.since)),
                remarks(line),
            ]
        }));
        rows
    }
}
