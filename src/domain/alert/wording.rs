//! The text of a notice: its value with unit, limit and threshold, in one sentence.

use super::notice::{Content, EndReason, NoticeKind};
use chrono::TimeDelta;

use super::rule::{AlertRef, AlertType};
use super::state::Observation;
use crate::domain::format;
use crate::domain::period::Period;
use crate::domain::plans::Unit;

pub fn summary(content: &Content) -> String {
    let (alert, observed, unit) = (&content.alert, &content.observed, content.limit_unit);
    let api = &alert.api_name;
    let measured = measured(alert, observed, unit, content.unknown_reason.as_deref());
    let after_colon = |reason: Option<&str>| reason.map_or(String::new(), |it| format!(": {it}"));
    let fired = format::time(content.fired_at);
    let ended = content
        .ended_at
        .map_or_else(|| format::DASH.to_owned(), format::time);
    let severity = content.severity;
    let text = match content.kind {
        NoticeKind::Firing => format!("{severity}: {api} {measured}, firing since {fired}"),
        NoticeKind::Reminder => {
            format!("{severity} (reminder): {api} {measured}, firing since {fired}")
        }
        NoticeKind::Resolved => {
            let is_known =
                |it: &EndReason| *it != EndReason::Value || content.observed.value.is_some();
            let reason = content.reason.filter(is_known).and_then(EndReason::text);
            let reason = after_colon(reason);
            format!("RESOLVED: {api} {measured}{reason}; fired from {fired} to {ended}")
        }
        NoticeKind::Unknown => {
            let reason = after_colon(content.unknown_reason.as_deref());
            format!("UNKNOWN: {alert} since {fired}{reason}")
        }
        // The value may be that of a step at which it was unknown.
        NoticeKind::Known if content.observed.value.is_none() => {
            format!("KNOWN: {alert}; unknown from {fired} to {ended}")
        }
        NoticeKind::Known => {
            let reason = after_colon(content.reason.and_then(EndReason::text));
            format!("KNOWN: {api} {measured}{reason}; unknown from {fired} to {ended}")
        }
        kind @ (NoticeKind::Missed | NoticeKind::Late | NoticeKind::Skipped | NoticeKind::Test) => {
            format!("{kind}: {api} {measured}; fired from {fired} to {ended} and has resolved")
        }
    };
    match &content.note {
        Some(note) => format!("{text}; {note}"),
        None => text,
    }
}

/// `160 % of 100 credits per day, threshold 80 %`.
pub fn measured(
    alert: &AlertRef,
    observed: &Observation,
    limit_unit: Option<Unit>,
    reason: Option<&str>,
) -> String {
    let (alert_type, period) = (AlertType::named(&alert.alert_type), &alert.period);
    let number = |it| value(alert, observed, it);
    let threshold = observed.threshold;
    let threshold = threshold.map_or_else(|| "unknown".to_owned(), number);
    let Some(value) = observed.value else {
        if alert_type == AlertType::NoData && reason.is_none() {
            return "calls are recorded".to_owned();
        }
        let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
        return format!("value unknown{reason}, threshold {threshold}");
    };
    let shown = number(value);
    let amount = match &alert_type {
        AlertType::RateLimitWarning => {
            let limit = observed.limit_value.map(|it| limit(it, limit_unit));
            format!("{shown} of {}", limit.as_deref().unwrap_or("the limit"))
        }
        AlertType::CostThreshold => amount(value, Unit::Credits),
        AlertType::ErrorSpike if observed.is_percentage(&alert_type) => {
            let calls = observed.limit_value.unwrap_or_default();
            format!("{shown} of {} failed", self::amount(calls, Unit::Calls))
        }
        AlertType::NoData => {
            let threshold = observed.threshold.and_then(|it| lasting(it, period));
            return match lasting(value, period).zip(threshold) {
                Some((value, threshold)) => format!("no call for {value}, threshold {threshold}"),
                None => "calls recorded".to_owned(),
            };
        }
        AlertType::ErrorSpike if shown == "1" => "1 failed call".to_owned(),
        AlertType::ErrorSpike => format!("{shown} failed calls"),
        AlertType::Other(name) => format!("{name} {shown}"),
    };
    let period = period.to_ascii_lowercase();
    format!("{amount} per {period}, threshold {threshold}")
}

/// A value or threshold of a rule.
pub fn value(alert: &AlertRef, observed: &Observation, value: f64) -> String {
    match observed.is_percentage(&AlertType::named(&alert.alert_type)) {
        true => format::percentage(value),
        false => format::number(value),
    }
}

/// The length of a number of periods.
fn lasting(periods: f64, period: &str) -> Option<String> {
    let length = Period::named(period).length()?;
    let ms = length.num_milliseconds() as f64 * periods;
    TimeDelta::try_milliseconds(ms as i64).map(format::duration)
}

/// A limit with its unit, if that is known: `100 credits`.
pub fn limit(value: f64, unit: Option<Unit>) -> String {
    unit.map_or_else(|| format::number(value), |unit| amount(value, unit))
}

fn amount(value: f64, unit: Unit) -> String {
    let shown = format::number(value);
    let unit = match unit {
        Unit::Calls => "call",
        Unit::Credits => "credit",
    };
    let plural = if shown == "1" { "" } else { "s" };
    format!("{shown} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::notice::sample;
    use crate::domain::alert::state::Observation;

    fn measured(content: &Content) -> String {
        let (observed, reason) = (&content.observed, content.unknown_reason.as_deref());
        super::measured(&content.alert, observed, content.limit_unit, reason)
    }

    fn content(alert_type: AlertType, observed: [Option<f64>; 3]) -> Content {
        let mut content = sample(NoticeKind::Firing);
        content.alert.alert_type = alert_type.to_string();
        content.alert.period = "DAY".to_owned();
        let [value, threshold, limit_value] = observed;
        content.observed = Observation {
            value,
            threshold,
            limit_value,
        };
        content
    }

    #[test]
    fn amounts_have_separators_and_units() {
        let observed = [Some(1_600.28), Some(80.0), Some(10_000.0)];
        let rate = |unit| Content {
            limit_unit: unit,
            ..content(AlertType::RateLimitWarning, observed)
        };
        for (unit, limit) in [
            (Some(Unit::Credits), "10,000 credits"),
            (Some(Unit::Calls), "10,000 calls"),
            (None, "10,000"),
        ] {
            let expected = format!("1,600.3 % of {limit} per day, threshold 80 %");
            assert_eq!(measured(&rate(unit)), expected);
        }
        let observed = [Some(1_500.01), Some(1_000.0), None];
        let cost = content(AlertType::CostThreshold, observed);
        assert_eq!(measured(&cost), "1,500.01 credits per day, threshold 1,000");
        for (value, failed) in [(1_012.0, "1,012 failed calls"), (1.0, "1 failed call")] {
            let errors = content(AlertType::ErrorSpike, [Some(value), Some(1.0), None]);
            let expected = format!("{failed} per day, threshold 1");
            assert_eq!(measured(&errors), expected);
        }
    }

    #[test]
    fn unknown_value_has_its_reason() {
        let mut unknown = content(AlertType::RateLimitWarning, [None, Some(80.0), None]);
        assert_eq!(measured(&unknown), "value unknown, threshold 80 %");
        unknown.unknown_reason = Some("no limit per DAY is set".to_owned());
        let expected = "value unknown: no limit per DAY is set, threshold 80 %";
        assert_eq!(measured(&unknown), expected);
        unknown.observed.threshold = None;
        assert!(measured(&unknown).ends_with(", threshold unknown"));
    }

    #[test]
    fn end_without_a_value_does_not_name_one() {
        let mut resolved = content(AlertType::NoData, [None, Some(30.0), None]);
        (resolved.kind, resolved.reason) = (NoticeKind::Resolved, Some(EndReason::Value));
        resolved.ended_at = Some(resolved.fired_at);
        let expected = "RESOLVED: finnhub calls are recorded; fired from 2026-01-31T12:00:00Z to 2026-01-31T12:00:00Z";
        assert_eq!(summary(&resolved), expected);
        let mut known = content(AlertType::ErrorSpike, [None, Some(30.0), None]);
        known.kind = NoticeKind::Known;
        let expected = "KNOWN: finnhub ERROR_SPIKE per DAY; unknown from 2026-01-31T12:00:00Z to -";
        assert_eq!(summary(&known), expected);
    }
}
