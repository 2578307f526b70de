//! What `alerts check` answers.

use crate::domain::named::Named;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::super::table::{Side, layout};
use super::super::{Answer, printable};
use crate::domain::alert::event::{AlertRef, Event};
use crate::domain::alert::notification_policy::brief;
use crate::domain::alert::rule::{AlertType, Severity};
use crate::domain::alert::state::{AlertState, AlertStatus};
use crate::domain::format::counted;
use crate::domain::nagios::{NagiosAnswer, NagiosStatus};
use crate::domain::period::shown;

/// What a check found.
#[derive(Debug)]
pub struct Check {
    pub now: DateTime<Utc>,
    /// How many rules are enabled.
    pub rules: usize,
    /// Where they stand, for each API.
    pub findings: Vec<Finding>,
    /// What happened since the last check.
    pub events: Vec<Event>,
    /// How many notices were written.
    pub new_notices: usize,
    /// How many could not be delivered so far.
    pub undelivered: u64,
}

/// Where a rule stands, for one API.
#[derive(Debug)]
pub struct Finding {
    /// The rule and the API.
    pub alert: AlertRef,
    pub state: AlertState,
    /// The command that makes it known what is unknown, if there is one.
    pub cure: Option<String>,
}

impl Check {
    /// Whether nothing needs to be looked at.
    pub fn is_well(&self) -> bool {
        let ok = |finding: &Finding| finding.state.status == AlertStatus::Ok;
        self.findings.iter().all(ok) && self.events.is_empty() && self.undelivered == 0
    }

    /// The worst of what fires.
    pub fn worst(&self) -> Option<(Severity, &Finding)> {
        let firing = self
            .findings
            .iter()
            .filter(|finding| finding.state.episode.is_some());
        let severity = |finding: &Finding| finding.state.severity.unwrap_or(Severity::Warning);
        // Of several the first in the list.
        let firing = firing.map(|finding| (severity(finding), finding)).rev();
        firing.max_by_key(|(severity, _)| *severity)
    }

    fn count(&self, state: AlertStatus) -> usize {
        let in_state = |finding: &&Finding| finding.state.status == state;
        self.findings.iter().filter(in_state).count()
    }

    /// The line and the status that Nagios reads. There critical is worse than warning, and that worse than
    /// unknown.
    pub fn nagios(&self) -> NagiosAnswer {
        let firing = self
            .findings
            .iter()
            .filter(|finding| finding.state.episode.is_some());
        let firing = firing.count();
        let unknown = self
            .findings
            .iter()
            .find(|finding| finding.state.status == AlertStatus::Unknown);
        let (status, text) = match (self.worst(), unknown) {
            (Some((severity, finding)), _) => {
                let status = match severity {
                    Severity::Warning => NagiosStatus::Warning,
                    Severity::Critical => NagiosStatus::Critical,
                };
                let more = match firing {
                    1 => String::new(),
                    more => format!(", and {} more", more - 1),
                };
                (status, finding.line() + &more)
            }
            (None, Some(finding)) => (NagiosStatus::Unknown, finding.line()),
            (None, None) if self.undelivered > 0 => {
                let notices = counted(self.undelivered, "notice");
                (NagiosStatus::Unknown, format!("{notices} not delivered"))
            }
            (None, None) => (
                NagiosStatus::Ok,
                counted(self.rules as u64, "rule") + ", none fires",
            ),
        };
        let data = format!(
            "firing={firing} pending={} unknown={} undelivered={}",
            self.count(AlertStatus::Pending),
            self.count(AlertStatus::Unknown),
            self.undelivered
        );
        NagiosAnswer::new(status, &text, &data)
    }
}

impl Finding {
    /// All of it on one line.
    fn line(&self) -> String {
        let AlertRef {
            api_name,
            alert_type,
            period,
            ..
        } = &self.alert;
        let text = format!("{api_name} {alert_type} {period}: {}", self.says());
        printable(&text).into_owned()
    }

    /// What was measured, or why nothing was.
    fn says(&self) -> String {
        if let Some(reason) = &self.state.reason {
            return reason.clone();
        }
        let unit = match AlertType::named(&self.alert.alert_type) {
            AlertType::RateLimitWarning => "%",
            _ => "",
        };
        let said = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), brief) + unit;
        let AlertState {
            value, threshold, ..
        } = self.state;
        format!("{}, threshold {}", said(value), said(threshold))
    }
}

#[derive(Serialize)]
struct CheckJson<'a> {
    now: DateTime<Utc>,
    rules: usize,
    ok: usize,
    pending: usize,
    firing: usize,
    recovering: usize,
    unknown: usize,
    new_notices: usize,
    undelivered: u64,
    findings: Vec<FindingJson<'a>>,
    events: &'a [Event],
}

#[derive(Serialize)]
struct FindingJson<'a> {
    alert_id: &'a str,
    api_name: &'a str,
    alert_type: &'a str,
    period: &'a str,
    state: &'static str,
    severity: Option<&'static str>,
    since: DateTime<Utc>,
    episode: Option<&'a str>,
    fired_at: Option<DateTime<Utc>>,
    evaluated_to: DateTime<Utc>,
    value: Option<f64>,
    threshold: Option<f64>,
    limit_value: Option<f64>,
    reason: Option<&'a str>,
    cure: Option<&'a str>,
}

impl FindingJson<'_> {
    fn new(finding: &Finding) -> FindingJson<'_> {
        let Finding { alert, state, cure } = finding;
        let episode = state.episode.as_ref();
        FindingJson {
            alert_id: &alert.alert_id,
            api_name: &alert.api_name,
            alert_type: &alert.alert_type,
            period: &alert.period,
            state: state.status.as_str(),
            severity: state.severity.map(Severity::as_str),
            since: state.since,
            episode: episode.map(|episode| &*episode.id),
            fired_at: episode.map(|episode| episode.fired_at),
            evaluated_to: state.evaluated_to,
            value: state.value,
            threshold: state.threshold,
            limit_value: state.limit_value,
            reason: state.reason.as_deref(),
            cure: cure.as_deref(),
        }
    }
}

impl Answer for Check {
    fn table(&self, _width: Option<usize>) -> String {
        let columns = [
            ("STATE", Side::Left),
            ("SEVERITY", Side::Left),
            ("API", Side::Left),
            ("TYPE", Side::Left),
            ("PERIOD", Side::Left),
            ("SINCE", Side::Left),
            ("FOUND", Side::Left),
        ];
        let troubled = self
            .findings
            .iter()
            .filter(|finding| finding.state.status != AlertStatus::Ok);
        let rows: Vec<Vec<String>> = troubled
            .map(|finding| {
                let Finding { alert, state, .. } = finding;
                let severity = state.severity.map_or("-", Severity::as_str);
                vec![
                    state.status.to_string(),
                    severity.to_owned(),
                    alert.api_name.clone(),
                    alert.alert_type.clone(),
                    alert.period.clone(),
                    shown(state.since),
                    finding.says(),
                ]
            })
            .collect();
        let mut text = match rows.is_empty() {
            true => "all rules are OK\n".to_owned(),
            false => layout(&columns, rows),
        };
        let events = counted(self.events.len() as u64, "event");
        let notices = counted(self.new_notices as u64, "new notice");
        text.push_str(&format!("{events}, {notices}"));
        if self.undelivered > 0 {
            text.push_str(&format!(
                ", {} not delivered",
                counted(self.undelivered, "notice")
            ));
        }
        text.push('\n');
        text
    }

    fn json(&self) -> impl Serialize {
        CheckJson {
            now: self.now,
            rules: self.rules,
            ok: self.count(AlertStatus::Ok),
            pending: self.count(AlertStatus::Pending),
            firing: self.count(AlertStatus::Firing),
            recovering: self.count(AlertStatus::Recovering),
            unknown: self.count(AlertStatus::Unknown),
            new_notices: self.new_notices,
            undelivered: self.undelivered,
            findings: self.findings.iter().map(FindingJson::new).collect(),
            events: &self.events,
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "state",
            "severity",
            "alert_id",
            "api_name",
            "alert_type",
            "period",
            "since",
            "value",
            "threshold",
            "limit_value",
            "reason",
        ];
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let row = |finding: &Finding| {
            let Finding { alert, state, .. } = finding;
            let severity = state.severity.map_or("", Severity::as_str);
            vec![
                state.status.to_string(),
                severity.to_owned(),
                alert.alert_id.clone(),
                alert.api_name.clone(),
                alert.alert_type.clone(),
                alert.period.clone(),
                shown(state.since),
                number(state.value),
                number(state.threshold),
                number(state.limit_value),
                state.reason.clone().unwrap_or_default(),
            ]
        };
        let header = header.map(str::to_owned).to_vec();
        std::iter::once(header)
            .chain(self.findings.iter().map(row))
            .collect()
    }
}
