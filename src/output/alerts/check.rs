//! The answer of `alerts check`.

use chrono::{DateTime, Utc};

use super::history::event_table;
use super::list::NO_RULES;
use super::nagios;
use crate::domain::alert::clock::ClockProblem;
use crate::domain::alert::event::Event;
use crate::domain::alert::outage::Outage;
use crate::domain::alert::rule::{AlertRef, Severity};
use crate::domain::alert::state::{AlertState, AlertStatus};
use crate::domain::alert::wording;
use crate::domain::format::{counted, time, time_ms};
use crate::domain::nagios::NagiosAnswer;
use crate::domain::period::Window;
use crate::output::prelude::*;

/// What the table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The events of this check.
    Changes,
    /// The rules that are not OK.
    States,
}

#[derive(Debug)]
pub struct Check {
    pub scope: Scope,
    pub now: DateTime<Utc>,
    /// The number of enabled rules.
    pub rules: usize,
    pub clock: Option<ClockProblem>,
    pub outage: Option<Outage>,
    pub findings: Vec<Finding>,
    pub events: Vec<Event>,
    /// The number of events that did not happen by the current data.
    pub withdrawn: usize,
    /// The period that was not evaluated.
    pub skipped: Option<Window>,
    pub new_notices: usize,
    pub undelivered: u64,
}

/// The state of a rule for one API.
#[derive(Debug)]
pub struct Finding {
    pub alert: AlertRef,
    pub state: AlertState,
    /// The command that makes an unknown state known.
    pub cure: Option<String>,
    /// The thresholds of each severity, as far as the rule has them.
    pub warning: Option<f64>,
    pub critical: Option<f64>,
}

impl Check {
    /// Whether the state of a rule changed, or events were withdrawn or steps skipped.
    pub fn has_changes(&self) -> bool {
        !self.events.is_empty() || self.withdrawn > 0 || self.skipped.is_some()
    }

    /// All rules that are not OK.
    fn states(&self, width: Option<usize>) -> String {
        let is_wanted = |finding: &&Finding| finding.state.status != AlertStatus::Ok;
        let not_ok: Vec<&Finding> = self.findings.iter().filter(is_wanted).collect();
        if not_ok.is_empty() {
            return match self.rules {
                0 => NO_RULES.to_owned(),
                _ => "all rules are OK\n".to_owned(),
            };
        }
        columns::table(&columns(), &not_ok, width)
    }

    /// The most severe firing rule; of several the first.
    pub fn worst(&self) -> Option<(Severity, &Finding)> {
        let severity = |finding: &Finding| finding.state.severity.unwrap_or(Severity::Warning);
        let findings = self.findings.iter();
        let firing = findings.filter(|finding| finding.state.episode.is_some());
        let firing = firing.map(|finding| (severity(finding), finding));
        firing.rev().max_by_key(|(severity, _)| *severity)
    }

    fn count(&self, status: AlertStatus) -> usize {
        let findings = self.findings.iter();
        findings.filter(|it| it.state.status == status).count()
    }

    pub fn nagios(&self) -> NagiosAnswer {
        if self.rules == 0 {
            return NagiosAnswer::failed("no enabled rules");
        }
        let clock = self.clock.as_ref().map(ToString::to_string);
        let problem = clock.or(self.outage.map(|it| it.to_string()));
        nagios::answer(&self.findings, self.undelivered, problem)
    }
}

impl Finding {
    /// The rule, and its value and threshold or why they are unknown.
    pub(super) fn line(&self) -> String {
        let AlertRef {
            api_name,
            alert_type,
            period,
            ..
        } = &self.alert;
        let text = format!("{api_name} {alert_type} {period}: {}", self.detail());
        printable(&text).into_owned()
    }

    /// The value and the threshold, or why they are unknown.
    fn detail(&self) -> String {
        let measured = || wording::measured(&self.alert, &self.state.observed, None, None);
        self.state.reason.clone().unwrap_or_else(measured)
    }
}

fn columns<'a>() -> Vec<Column<'a, &'a Finding>> {
    type Col<'a> = Column<'a, &'a Finding>;
    vec![
        Col::left("STATE", "state", |it| Cell::text(it.state.status)),
        Col::left("SEVERITY", "severity", |it| Cell::maybe(it.state.severity)),
        Col::csv_only("alert_id", |it| Cell::text(&it.alert.alert_id)),
        Col::left("API", "api_name", |it| Cell::text(&it.alert.api_name)),
        Col::left("TYPE", "alert_type", |it| Cell::text(&it.alert.alert_type)),
        Col::left("PERIOD", "period", |it| Cell::text(&it.alert.period)),
        Col::left("SINCE", "since", |it| Cell::Time(it.state.since)),
        Col::table_only("DETAIL", |it| Cell::text(it.detail())),
        Col::csv_only("value", |it| Cell::number(it.state.observed.value)),
        Col::csv_only("threshold", |it| Cell::number(it.state.observed.threshold)),
        Col::csv_only("limit_value", |it| {
            Cell::number(it.state.observed.limit_value)
        }),
        Col::csv_only("reason", |it| Cell::maybe(it.state.reason.as_ref())),
    ]
}

impl Answer for Check {
    fn table(&self, width: Option<usize>) -> String {
        let mut text = match self.scope {
            Scope::States => self.states(width),
            Scope::Changes if self.events.is_empty() => String::new(),
            Scope::Changes => event_table(&self.events, width),
        };
        if let Some(outage) = self.outage {
            text.push_str(&format!("{outage}\n"));
        }
        let events = counted(self.events.len() as u64, "event");
        let notices = counted(self.new_notices as u64, "new notice");
        text.push_str(&format!("{events}, {notices}"));
        if self.withdrawn > 0 {
            let withdrawn = counted(self.withdrawn as u64, "event");
            text.push_str(&format!(", {withdrawn} withdrawn"));
        }
        if self.undelivered > 0 {
            let undelivered = counted(self.undelivered, "notice");
            text.push_str(&format!(", {undelivered} not delivered"));
        }
        text.push('\n');
        if let Some(Window { from, to }) = self.skipped {
            let (from, to) = (time(from), time(to));
            text.push_str(&format!(
                "skipped: {from} to {to}, longer ago than --max-catch-up\n"
            ));
        }
        text
    }

    fn json(&self) -> impl Serialize {
        let findings = self.findings.iter().map(|it| {
            let Finding {
                alert, state, cure, ..
            } = it;
            let episode = state.episode.as_ref();
            object! {
                ..alert,
                state: state.status,
                severity: state.severity,
                since: time_ms(state.since),
                episode: episode.map(|episode| &episode.id),
                fired_at: episode.map(|episode| time_ms(episode.fired_at)),
                evaluated_to: time_ms(state.evaluated_to),
                value: state.observed.value,
                threshold: state.observed.threshold,
                limit_value: state.observed.limit_value,
                reason: &state.reason,
                cure: cure,
            }
        });
        object! {
            now: time_ms(self.now),
            rules: self.rules,
            ok: self.count(AlertStatus::Ok),
            pending: self.count(AlertStatus::Pending),
            firing: self.count(AlertStatus::Firing),
            recovering: self.count(AlertStatus::Recovering),
            unknown: self.count(AlertStatus::Unknown),
            new_notices: self.new_notices,
            undelivered: self.undelivered,
            clock_problem: self.clock.as_ref().map(ToString::to_string),
            no_call_since: self.outage.map(|it| time_ms(it.since)),
            withdrawn: self.withdrawn,
            skipped_from: self.skipped.map(|gap| time_ms(gap.from)),
            skipped_to: self.skipped.map(|gap| time_ms(gap.to)),
            findings: findings.collect::<Vec<_>>(),
            events: &self.events,
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let findings: Vec<&Finding> = self.findings.iter().collect();
        columns::csv(&columns(), &findings)
    }
}
