//! A rule in JSON, and its settings in one line.

use chrono::TimeDelta;
use serde::{Serialize, Serializer};

use super::super::json::object;
use super::measured;
use crate::domain::alert::rule::{Rule, Settings, Severity, Threshold, TimeWindow};
use crate::domain::format::{count, duration, number, time_ms};
use crate::domain::named::Named;

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let settings = &self.settings;
        let finite = |value: f64| value.is_finite().then_some(value);
        let rule = object! {
            id: &self.id,
            api_name: &self.api_name,
            alert_type: self.alert_type.as_str(),
            period: self.period.as_str(),
            threshold: finite(self.threshold),
            thresholds: self.thresholds(),
            enabled: self.enabled,
            percent: settings.percent,
            window: self.window().as_str(),
            time_zone: settings.time_zone.map(|zone| zone.name()),
            month_starts: settings.month_starts,
            for_ms: settings.hold.num_milliseconds(),
            clear_below: settings.clear_below.and_then(finite),
            clear_for_ms: settings.clear_hold.num_milliseconds(),
            repeat_ms: self.repeat().num_milliseconds(),
            no_data_ms: settings.no_data.map(|no_data| no_data.num_milliseconds()),
            settle_ms: settings.settle.map(|settle| settle.num_milliseconds()),
            min_requests: settings.min_requests,
            include_cached: settings.include_cached,
            baseline_ms: settings.baseline.map(|base| base.over.num_milliseconds()),
            baseline_factor: settings.baseline.and_then(|base| finite(base.factor)),
            channels: &self.channels,
            last_triggered: self.last_triggered.map(time_ms),
            // Why the rule cannot be evaluated.
            problem: self.check().err().map(|problem| problem.to_string()),
        };
        rule.serialize(serializer)
    }
}

/// `threshold 80.0%`, `thresholds 50.0% to slack, 100.0% critical to pager`.
fn thresholds(rule: &Rule) -> String {
    let thresholds = rule.thresholds();
    let threshold = |it: &Threshold| {
        let severity = match it.severity {
            Severity::Warning => "",
            Severity::Critical => " critical",
        };
        let to = if it.channels.is_empty() { "" } else { " to " };
        let value = measured(rule.is_percentage(), it.value);
        format!("{value}{severity}{to}{}", it.channels.join(" "))
    };
    let texts: Vec<String> = thresholds.iter().map(threshold).collect();
    let plural = if texts.len() == 1 { "" } else { "s" };
    format!("threshold{plural} {}", texts.join(", "))
}

/// The threshold and the settings that differ from those of a new rule, in the order of the options.
pub(super) fn settings_line(rule: &Rule) -> String {
    let (settings, default) = (&rule.settings, Settings::default());
    let value = |value| measured(rule.is_percentage(), value);
    let zone = settings.time_zone.map(|zone| zone.name());
    let window = match (settings.window, zone) {
        (Some(TimeWindow::Rolling), _) => Some("rolling".to_owned()),
        (Some(TimeWindow::Calendar), None) => Some("calendar".to_owned()),
        (_, zone) => zone.map(|zone| format!("calendar of {zone}")),
    };
    let set = |is_set: bool, text: String| is_set.then_some(text);
    let span = |name: &str, span: TimeDelta| format!("{name} {}", duration(span));
    let parts = [
        Some(thresholds(rule)),
        settings.baseline.map(|base| {
            let (factor, over) = (number(base.factor), duration(base.over));
            format!("{factor} times the average of {over}")
        }),
        set(settings.hold != default.hold, span("for", settings.hold)),
        settings
            .clear_below
            .map(|clear| format!("clear below {}", value(clear))),
        set(
            settings.clear_hold != default.clear_hold,
            span("clear for", settings.clear_hold),
        ),
        settings.repeat.map(|repeat| span("repeat", repeat)),
        settings
            .settle
            .map(|settle| format!("settle {}", duration(settle))),
        settings.no_data.map(|no_data| match no_data.is_zero() {
            true => "missing data ignored".to_owned(),
            false => format!("no data after {}", duration(no_data)),
        }),
        set(
            settings.min_requests != default.min_requests,
            format!("min requests {}", count(settings.min_requests)),
        ),
        set(settings.include_cached, "cached calls included".to_owned()),
        window,
        settings
            .month_starts
            .map(|day| format!("months start on day {day}")),
        set(
            !rule.channels.is_empty(),
            format!("to {}", rule.channels.join(" ")),
        ),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::rule::{AlertType, Baseline};
    use crate::domain::period::Period;

    #[test]
    fn settings_line_lists_what_differs_from_defaults() {
        let mut rule = Rule::new("tmdb", AlertType::ErrorSpike, Period::Hour, 10.0);
        assert_eq!(settings_line(&rule), "threshold 10");
        rule.settings = Settings {
            window: Some(TimeWindow::Calendar),
            time_zone: "Europe/Madrid".parse().ok(),
            month_starts: Some(17),
            severity: Severity::Warning,
            lowest_channels: vec!["slack".to_owned(), "mail".to_owned()],
            higher: vec![Threshold {
                value: 2_000.0,
                severity: Severity::Critical,
                channels: Vec::new(),
            }],
            hold: TimeDelta::seconds(90),
            clear_below: Some(7.5),
            clear_hold: TimeDelta::minutes(2),
            repeat: Some(TimeDelta::days(1)),
            min_requests: 1_000,
            include_cached: true,
            baseline: Some(Baseline {
                over: TimeDelta::days(7),
                factor: 2.5,
            }),
            settle: Some(TimeDelta::minutes(5)),
            no_data: Some(TimeDelta::minutes(30)),
            percent: false,
        };
        rule.channels = vec!["desk".to_owned(), "ops".to_owned()];
        assert_eq!(
            settings_line(&rule),
            "thresholds 10 to slack mail, 2,000 critical, 2.5 times the average of 7d, for 1m 30s, \
             clear below 7.5, clear for 2m, repeat 1d, settle 5m, no data after 30m, min requests 1,000, \
             cached calls included, calendar of Europe/Madrid, months start on day 17, to desk ops"
        );
        let mut percent = Rule::new("tmdb", AlertType::ErrorSpike, Period::Hour, 5.0);
        percent.settings.percent = true;
        percent.settings.no_data = Some(TimeDelta::zero());
        assert_eq!(
            settings_line(&percent),
            "threshold 5.0%, missing data ignored"
        );
    }
}
