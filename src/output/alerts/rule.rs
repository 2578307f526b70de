//! A rule as JSON has it, and what was done to some of them.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::super::{Answer, printable};
use super::{measured, span};
use crate::domain::alert::lookup::telling_length;
use crate::domain::alert::rule::Rule;

/// What was done to a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Added,
    /// It says something else now.
    Changed,
    /// It is judged again.
    Enabled,
    /// It is judged no more.
    Disabled,
    Removed,
    /// It was so already.
    Nothing,
}

impl Done {
    /// As JSON spells it.
    fn as_str(self) -> &'static str {
        match self {
            Done::Added => "added",
            Done::Changed => "changed",
            Done::Enabled => "enabled",
            Done::Disabled => "disabled",
            Done::Removed => "removed",
            Done::Nothing => "unchanged",
        }
    }
}

/// A rule, and what was done to it.
#[derive(Debug)]
pub struct Change {
    pub done: Done,
    /// The rule as it is now, or was when it went.
    pub rule: Rule,
    /// Why it is as it is, where we say so.
    pub why: Option<&'static str>,
}

/// Rules, and what was done to each.
#[derive(Debug)]
pub struct Changed {
    /// In the order it was done.
    pub rules: Vec<Change>,
}

impl Changed {
    /// The same to all of them.
    pub fn all(done: Done, rules: Vec<Rule>) -> Changed {
        Changed {
            rules: rules
                .into_iter()
                .map(|rule| Change {
                    done,
                    rule,
                    why: None,
                })
                .collect(),
        }
    }
}

#[derive(Serialize)]
struct ChangedJson<'a> {
    rules: Vec<ChangeJson<'a>>,
}

#[derive(Serialize)]
struct ChangeJson<'a> {
    done: &'static str,
    why: Option<&'static str>,
    #[serde(flatten)]
    rule: RuleJson<'a>,
}

/// A rule as programs get it.
#[derive(Serialize)]
pub(super) struct RuleJson<'a> {
    id: &'a str,
    api_name: &'a str,
    alert_type: &'a str,
    period: &'a str,
    threshold: Option<f64>,
    critical_threshold: Option<f64>,
    severity: &'static str,
    enabled: bool,
    window: &'static str,
    time_zone: &'static str,
    for_ms: i64,
    clear_below: Option<f64>,
    clear_for_ms: i64,
    repeat_ms: i64,
    min_requests: u64,
    include_cached: bool,
    baseline_ms: Option<i64>,
    baseline_factor: Option<f64>,
    channels: &'a [String],
    last_triggered: Option<DateTime<Utc>>,
    /// Why it cannot be judged.
    problem: Option<String>,
}

impl RuleJson<'_> {
    pub(super) fn new(rule: &Rule) -> RuleJson<'_> {
        let settings = &rule.settings;
        let finite = |value: f64| value.is_finite().then_some(value);
        RuleJson {
            id: &rule.id,
            api_name: &rule.api_name,
            alert_type: rule.alert_type.as_str(),
            period: rule.period.as_str(),
            threshold: finite(rule.threshold),
            critical_threshold: settings.critical_threshold.and_then(finite),
            severity: settings.severity.as_str(),
            enabled: rule.enabled,
            window: settings.window.as_str(),
            time_zone: settings.time_zone.name(),
            for_ms: settings.hold.num_milliseconds(),
            clear_below: settings.clear_below.and_then(finite),
            clear_for_ms: settings.clear_hold.num_milliseconds(),
            repeat_ms: settings.repeat.num_milliseconds(),
            min_requests: settings.min_requests,
            include_cached: settings.include_cached,
            baseline_ms: settings.baseline.map(|base| base.over.num_milliseconds()),
            baseline_factor: settings.baseline.and_then(|base| finite(base.factor)),
            channels: &rule.channels,
            last_triggered: rule.last_triggered,
            problem: rule.check().err().map(|problem| problem.to_string()),
        }
    }
}

/// The beginning of an id, `length` characters of it.
pub(super) fn short_id(id: &str, length: usize) -> String {
    id.chars().take(length).collect()
}

/// What a rule says, in the order and words of the command line; nothing that every rule says.
pub(super) fn said(rule: &Rule) -> String {
    let settings = &rule.settings;
    let usual = crate::domain::alert::rule::Settings::default();
    let value = |value| measured(&rule.alert_type, value);
    let mut words = vec![format!("at {}", value(rule.threshold))];
    if let Some(critical) = settings.critical_threshold {
        words.push(format!("critical at {}", value(critical)));
    }
    if settings.severity != usual.severity {
        words.push("critical".to_owned());
    }
    if let Some(baseline) = settings.baseline {
        words.push(format!(
            "and {} times the average of {}",
            super::number(baseline.factor),
            span(baseline.over)
        ));
    }
    if settings.hold != usual.hold {
        words.push(format!("for {}", span(settings.hold)));
    }
    if let Some(clear_below) = settings.clear_below {
        words.push(format!("clear below {}", value(clear_below)));
    }
    if settings.clear_hold != usual.clear_hold {
        words.push(format!("clear for {}", span(settings.clear_hold)));
    }
    if settings.repeat != usual.repeat {
        words.push(format!("repeat {}", span(settings.repeat)));
    }
    if settings.min_requests != usual.min_requests {
        words.push(format!("with {} calls or more", settings.min_requests));
    }
    if settings.include_cached {
        words.push("cached calls too".to_owned());
    }
    if settings.window != usual.window {
        words.push(format!("calendar of {}", settings.time_zone));
    }
    if !rule.channels.is_empty() {
        words.push(format!("to {}", rule.channels.join(" ")));
    }
    words.join(", ")
}

impl Answer for Changed {
    fn table(&self, _width: Option<usize>) -> String {
        let length = telling_length(self.rules.iter().map(|change| change.rule.id.as_str()));
        let line = |change: &Change| {
            let rule = &change.rule;
            let why = change.why.map_or(String::new(), |why| format!(" ({why})"));
            let done = change.done.as_str();
            let id = short_id(&rule.id, length);
            let text = format!("{done} {id}  {rule}, {}{why}", said(rule));
            printable(&text).into_owned() + "\n"
        };
        self.rules.iter().map(line).collect()
    }

    fn json(&self) -> impl Serialize {
        let rules = self.rules.iter();
        ChangedJson {
            rules: rules
                .map(|change| ChangeJson {
                    done: change.done.as_str(),
                    why: change.why,
                    rule: RuleJson::new(&change.rule),
                })
                .collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "done",
            "id",
            "api_name",
            "alert_type",
            "period",
            "threshold",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(self.rules.iter().map(|Change { done, rule, .. }| {
            vec![
                done.as_str().to_owned(),
                rule.id.clone(),
                rule.api_name.clone(),
                rule.alert_type.to_string(),
                rule.period.to_string(),
                rule.threshold.to_string(),
            ]
        }));
        rows
    }
}
