//! The answer of `alerts list`: rules with their current states.

use chrono::{DateTime, Utc};
use serde::Serializer;

use super::super::chart::bar;
use super::value_cell;
use crate::domain::alert::rule::Severity;
use crate::domain::alert::summary::{Condition, Line};
use crate::domain::format::{short_id, time, time_ms};
use crate::domain::named::Named;
use crate::output::prelude::*;

/// What `list` and `status` print when there is no rule.
pub(super) const NO_RULES: &str = "no rules: `usagectl alerts init` adds default rules\n";

type Column<'a> = columns::Column<'a, Line>;

/// All rules, by API, type and period.
#[derive(Debug)]
pub struct RuleList {
    pub lines: Vec<Line>,
    pub now: DateTime<Utc>,
    /// With limits, bars and instants.
    pub wide: bool,
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let state = self.state.as_ref();
        let episode = state.and_then(|state| state.episode.as_ref());
        let state = object! {
            api_name: &self.api_name,
            state: status_name(self),
            severity: state.and_then(|state| state.severity),
            since: since(self).map(time_ms),
            value: value(self),
            threshold: state.and_then(|state| state.observed.threshold),
            limit_value: limit(self),
            reason: self.reason(),
            episode: episode.map(|episode| &episode.id),
            fired_at: episode.map(|episode| time_ms(episode.fired_at)),
            evaluated_to: state.map(|state| time_ms(state.evaluated_to)),
            acknowledged_by: &self.acknowledged_by,
            silenced: self.is_silenced,
            silenced_until: self.silenced_until.map(time_ms),
        };
        state.serialize(serializer)
    }
}

pub(super) fn status_name(line: &Line) -> &'static str {
    match (line.condition(), &line.state) {
        (Condition::Disabled, _) => "DISABLED",
        (Condition::Unknown, _) => "UNKNOWN",
        (Condition::Unchecked, _) | (_, None) => "UNCHECKED",
        (_, Some(state)) => state.status.as_str(),
    }
}

pub(super) fn since(line: &Line) -> Option<DateTime<Utc>> {
    line.state.as_ref().map(|state| state.since)
}

pub(super) fn age_cell(line: &Line, now: DateTime<Utc>) -> Cell {
    Cell::or_missing(since(line), |since| Cell::Duration(now - since))
}

pub(super) fn value(line: &Line) -> Option<f64> {
    line.state.as_ref()?.observed.value
}

fn limit(line: &Line) -> Option<f64> {
    let state = line.state.as_ref();
    state
        .and_then(|state| state.observed.limit_value)
        .or(line.limit_value)
}

/// Severity, reason, acknowledgement and silence, as far as there are any.
pub(super) fn detail(line: &Line) -> String {
    let mut parts = Vec::new();
    if line.condition() == Condition::Firing(Severity::Critical) {
        parts.push("critical".to_owned());
    }
    if line.rule.enabled {
        parts.extend(line.reason());
    }
    if let Some(by) = &line.acknowledged_by {
        parts.push(format!("acknowledged by {by}"));
    }
    if line.is_silenced {
        let until = line.silenced_until.map_or("resolved".to_owned(), time);
        parts.push(format!("silenced until {until}"));
    }
    parts.join("; ")
}

/// The value on a scale that ends at the limit, or a little beyond the highest threshold.
fn value_bar(line: &Line) -> Option<String> {
    const WIDTH: usize = 20;
    let threshold = line.state.as_ref()?.observed.threshold?;
    let highest = line.rule.highest_threshold().max(threshold);
    let full = match line.rule.is_percentage() {
        true => highest.max(100.0),
        false => highest * 1.25,
    };
    let has_scale = full.is_finite() && full > 0.0;
    let value = value(line).filter(|_| has_scale)?;
    Some(bar(value, &[threshold], full, WIDTH))
}

impl RuleList {
    fn columns(&self) -> Vec<Column<'_>> {
        let ids: Vec<String> = self.lines.iter().map(|it| it.rule.id.clone()).collect();
        vec![
            Column::table_only("ID", move |it| Cell::text(short_id(&it.rule.id, &ids))).dropped(3),
            Column::csv_only("id", |it| Cell::text(&it.rule.id)),
            Column::table_only("API", |it| match it.rule.api_name == it.api_name {
                true => Cell::text(&it.api_name),
                false => Cell::text(format!("{} {}", it.rule.api_name, it.api_name)),
            }),
            Column::csv_only("api_name", |it| Cell::text(&it.api_name)),
            Column::left("TYPE", "alert_type", |it| Cell::text(&it.rule.alert_type)),
            Column::left("PERIOD", "period", |it| Cell::text(&it.rule.period)),
            Column::right("VALUE", "value", |it| {
                value_cell(it.rule.is_percentage(), value(it))
            }),
            Column::right("THRESHOLD", "threshold", |it| {
                value_cell(it.rule.is_percentage(), Some(it.rule.threshold))
            }),
            Column::left("UNIT", "unit", |it| Cell::text(it.rule.unit())).dropped(2),
            Column::right("LIMIT", "limit_value", |it| Cell::number(limit(it)))
                .in_table(self.wide)
                .dropped(2),
            Column::table_only("", |it| Cell::text(value_bar(it).unwrap_or_default()))
                .in_table(self.wide)
                .dropped(1),
            Column::left("STATE", "state", |it| Cell::text(status_name(it))),
            Column::left("SINCE", "since", |it| Cell::time(since(it)))
                .in_table(self.wide)
                .dropped(4),
            Column::table_only("AGE", |it| age_cell(it, self.now))
                .in_table(!self.wide)
                .dropped(4),
            Column::left("DETAIL", "detail", |it| Cell::text(detail(it))),
        ]
    }
}

impl Answer for RuleList {
    fn table(&self, width: Option<usize>) -> String {
        if self.lines.is_empty() {
            return NO_RULES.to_owned();
        }
        let mut text = columns::table(&self.columns(), &self.lines, width);
        match evaluated_to(&self.lines) {
            Some(to) => text.push_str(&format!("\nas of {}\n", time(to))),
            None => text.push_str("\nnot evaluated yet: run `usagectl alerts check`\n"),
        }
        text
    }

    fn json(&self) -> impl Serialize {
        let same_rule = |a: &Line, b: &Line| a.rule.id == b.rule.id;
        let rules = self.lines.chunk_by(same_rule);
        let rules = rules.map(|lines| object! { ..&lines[0].rule, states: lines });
        object! { rules: rules.collect::<Vec<_>>() }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&self.columns(), &self.lines)
    }
}

pub(super) fn evaluated_to(lines: &[Line]) -> Option<DateTime<Utc>> {
    let states = lines.iter().filter_map(|line| line.state.as_ref());
    states.map(|state| state.evaluated_to).max()
}
