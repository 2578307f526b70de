//! The answer of `alerts check --nagios` and `alerts status --nagios`.

use std::cmp::Reverse;

use super::check::Finding;
use crate::domain::alert::rule::{AlertRef, AlertType, Severity};
use crate::domain::alert::state::AlertStatus;
use crate::domain::format::counted;
use crate::domain::nagios::{NagiosAnswer, NagiosStatus, PerformanceValue};
use crate::domain::named::Named;
use crate::output::prelude::*;

/// Answers for these rules. Nagios ranks critical above warning, and warning above unknown.
///
/// `problem` tells why the states may be wrong: the clock, or the age of the last check.
pub fn answer(findings: &[Finding], undelivered: u64, problem: Option<String>) -> NagiosAnswer {
    let (status, text) = summary(findings, undelivered, problem);
    let is_noteworthy = |it: &&Finding| severity(it).is_some() || is_unknown(it);
    let mut noteworthy: Vec<&Finding> = findings.iter().filter(is_noteworthy).collect();
    // The most severe first; an unknown one has no severity.
    noteworthy.sort_by_key(|it| Reverse(severity(it)));
    let details: Vec<String> = noteworthy
        .iter()
        .map(|it| format!("{}: {}", status_of(it).as_str(), it.line()))
        .collect();
    let count = |status: AlertStatus| {
        let of_status = findings.iter().filter(|it| it.state.status == status);
        of_status.count() as u64
    };
    let firing = findings.iter().filter(|it| severity(it).is_some()).count();
    let mut values = vec![
        PerformanceValue::count("firing", firing as u64),
        PerformanceValue::count("pending", count(AlertStatus::Pending)),
        PerformanceValue::count("unknown", count(AlertStatus::Unknown)),
        PerformanceValue::count("undelivered", undelivered),
    ];
    values.extend(findings.iter().map(performance));
    // The text has the only noteworthy rule.
    let details = if details.len() > 1 {
        details
    } else {
        Vec::new()
    };
    NagiosAnswer::new(status, &text, &details, &values)
}

fn summary(
    findings: &[Finding],
    undelivered: u64,
    problem: Option<String>,
) -> (NagiosStatus, String) {
    let firing: Vec<&Finding> = findings
        .iter()
        .filter(|it| severity(it).is_some())
        .collect();
    // Of several the first.
    if let Some(worst) = firing.iter().rev().max_by_key(|it| severity(it)) {
        let more = match firing.len() {
            1 => String::new(),
            firing => format!(", and {} more", firing - 1),
        };
        return (status_of(worst), worst.line() + &more);
    }
    if let Some(unknown) = findings.iter().find(|it| is_unknown(it)) {
        return (NagiosStatus::Unknown, unknown.line());
    }
    if let Some(problem) = problem {
        return (NagiosStatus::Unknown, printable(&problem).into_owned());
    }
    if undelivered > 0 {
        let notices = counted(undelivered, "notice");
        return (NagiosStatus::Unknown, format!("{notices} not delivered"));
    }
    let rules = counted(findings.len() as u64, "rule");
    (NagiosStatus::Ok, format!("{rules}, none firing"))
}

/// The severity of a rule whose episode is open.
fn severity(finding: &Finding) -> Option<Severity> {
    let state = &finding.state;
    state
        .episode
        .as_ref()
        .map(|_| state.severity.unwrap_or(Severity::Warning))
}

fn is_unknown(finding: &Finding) -> bool {
    finding.state.status == AlertStatus::Unknown
}

fn status_of(finding: &Finding) -> NagiosStatus {
    match severity(finding) {
        Some(Severity::Warning) => NagiosStatus::Warning,
        Some(Severity::Critical) => NagiosStatus::Critical,
        None if is_unknown(finding) => NagiosStatus::Unknown,
        None => NagiosStatus::Ok,
    }
}

/// `'finnhub/RATE_LIMIT_WARNING/MINUTE'=83.3%;80;95`.
fn performance(finding: &Finding) -> PerformanceValue {
    let AlertRef {
        api_name,
        alert_type,
        period,
        ..
    } = &finding.alert;
    let observed = finding.state.observed;
    let is_percentage = observed.is_percentage(&AlertType::named(alert_type));
    PerformanceValue {
        label: printable(&format!("{api_name}/{alert_type}/{period}")).into_owned(),
        // More places would be digits of binary fractions.
        value: observed.value.map(|value| (value * 1e4).round() / 1e4),
        unit: if is_percentage { "%" } else { "" },
        warning: finding.warning,
        critical: finding.critical,
    }
}
