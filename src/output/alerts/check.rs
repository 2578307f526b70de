//! What `alerts check` answers.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::super::table::{Side, layout};
use super::super::{Answer, printable};
use super::event::EventJson;
use crate::domain::alert::event::{Concern, Event};
use crate::domain::alert::notification_policy::brief;
use crate::domain::alert::rule::{AlertType, Severity};
use crate::domain::alert::state::{Standing, State};
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
    pub concern: Concern,
    pub standing: Standing,
    /// The command that makes it known what is unknown, if there is one.
    pub cure: Option<String>,
}

impl Check {
    /// Whether nothing needs to be looked at.
    pub fn is_well(&self) -> bool {
        let ok = |finding: &Finding| finding.standing.state == State::Ok;
        self.findings.iter().all(ok) && self.events.is_empty() && self.undelivered == 0
    }

    /// The worst of what fires.
    pub fn worst(&self) -> Option<(Severity, &Finding)> {
        let firing = self
            .findings
            .iter()
            .filter(|finding| finding.standing.episode.is_some());
        let severity = |finding: &Finding| finding.standing.severity.unwrap_or(Severity::Warning);
        // Of several the first in the list.
        let firing = firing.map(|finding| (severity(finding), finding)).rev();
        firing.max_by_key(|(severity, _)| *severity)
    }

    fn count(&self, state: State) -> usize {
        let in_state = |finding: &&Finding| finding.standing.state == state;
        self.findings.iter().filter(in_state).count()
    }

    /// The line and the status that Nagios reads. There critical is worse than warning, and that worse than
    /// unknown.
    pub fn nagios(&self) -> NagiosAnswer {
        let firing = self
            .findings
            .iter()
            .filter(|finding| finding.standing.episode.is_some());
        let firing = firing.count();
        let unknown = self
            .findings
            .iter()
            .find(|finding| finding.standing.state == State::Unknown);
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
            self.count(State::Pending),
            self.count(State::Unknown),
            self.undelivered
        );
        NagiosAnswer::new(status, &text, &data)
    }
}

impl Finding {
    /// All of it on one line.
    fn line(&self) -> String {
        let Concern {
            api_name,
            alert_type,
            period,
            ..
        } = &self.concern;
        let text = format!("{api_name} {alert_type} {period}: {}", self.says());
        printable(&text).into_owned()
    }

    /// What was measured, or why nothing was.
    fn says(&self) -> String {
        if let Some(reason) = &self.standing.reason {
            return reason.clone();
        }
        let unit = match AlertType::named(&self.concern.alert_type) {
            AlertType::RateLimitWarning => "%",
            _ => "",
        };
        let said = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), brief) + unit;
        let Standing {
            value, threshold, ..
        } = self.standing;
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
    events: Vec<EventJson<'a>>,
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
        let Finding {
            concern,
            standing,
            cure,
        } = finding;
        let episode = standing.episode.as_ref();
        FindingJson {
            alert_id: &concern.alert_id,
            api_name: &concern.api_name,
            alert_type: &concern.alert_type,
            period: &concern.period,
            state: standing.state.as_str(),
            severity: standing.severity.map(Severity::as_str),
            since: standing.since,
            episode: episode.map(|episode| &*episode.id),
            fired_at: episode.map(|episode| episode.fired_at),
            evaluated_to: standing.evaluated_to,
            value: standing.value,
            threshold: standing.threshold,
            limit_value: standing.limit_value,
            reason: standing.reason.as_deref(),
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
            .filter(|finding| finding.standing.state != State::Ok);
        let rows: Vec<Vec<String>> = troubled
            .map(|finding| {
                let Finding {
                    concern, standing, ..
                } = finding;
                let severity = standing.severity.map_or("-", Severity::as_str);
                vec![
                    standing.state.to_string(),
                    severity.to_owned(),
                    concern.api_name.clone(),
                    concern.alert_type.clone(),
                    concern.period.clone(),
                    shown(standing.since),
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
            ok: self.count(State::Ok),
            pending: self.count(State::Pending),
            firing: self.count(State::Firing),
            recovering: self.count(State::Recovering),
            unknown: self.count(State::Unknown),
            new_notices: self.new_notices,
            undelivered: self.undelivered,
            findings: self.findings.iter().map(FindingJson::new).collect(),
            events: self.events.iter().map(EventJson::new).collect(),
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
            let Finding {
                concern, standing, ..
            } = finding;
            let severity = standing.severity.map_or("", Severity::as_str);
            vec![
                standing.state.to_string(),
                severity.to_owned(),
                concern.alert_id.clone(),
                concern.api_name.clone(),
                concern.alert_type.clone(),
                concern.period.clone(),
                shown(standing.since),
                number(standing.value),
                number(standing.threshold),
                number(standing.limit_value),
                standing.reason.clone().unwrap_or_default(),
            ]
        };
        let header = header.map(str::to_owned).to_vec();
        std::iter::once(header)
            .chain(self.findings.iter().map(row))
            .collect()
    }
}
