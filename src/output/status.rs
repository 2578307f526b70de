//! What `status` answers.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::table::{Side, layout};
use super::{Answer, printable};
use crate::domain::format::{count, counted};
use crate::domain::metrics::names::Priority;
use crate::domain::schema::migration::{Standing, State};
use crate::domain::schema::status::{AlertCounts, Capacity, Report, StaleMetric, Verdict};

/// The report, and the moment it was made at.
#[derive(Debug)]
pub struct Status<'a> {
    /// What was found.
    pub report: &'a Report,
    /// When.
    pub now: DateTime<Utc>,
}

#[derive(Serialize)]
struct StatusJson<'a> {
    engine: &'a str,
    engine_version: &'a str,
    in_sync: bool,
    verdict: &'static str,
    migrations: Vec<MigrationJson<'a>>,
    drift: Vec<DriftJson<'a>>,
    in_the_way: &'a [String],
    rollups: Option<RollupsJson>,
    alerts: Option<AlertsJson>,
    recommendations: Option<RecommendationsJson>,
    stale_metrics: Option<Vec<StaleJson<'a>>>,
    unreadable_timestamps: Option<u64>,
}

#[derive(Serialize)]
struct MigrationJson<'a> {
    version: &'a str,
    name: Option<&'a str>,
    state: &'static str,
    applied_at: Option<DateTime<Utc>>,
    duration_ms: Option<i64>,
    applied_by: Option<&'a str>,
    tool_version: Option<&'a str>,
}

#[derive(Serialize)]
struct DriftJson<'a> {
    object: &'a str,
    expected: &'a str,
    found: Option<&'a str>,
}

#[derive(Serialize)]
struct RollupsJson {
    hours_waiting: i64,
    oldest: Option<DateTime<Utc>>,
}

#[derive(Serialize)]
struct AlertsJson {
    rules: u64,
    firing: u64,
    critical: u64,
    unknown: u64,
    unchecked: u64,
    notices_waiting: u64,
}

#[derive(Serialize)]
struct RecommendationsJson {
    open: u64,
    critical: u64,
    high: u64,
    medium: u64,
    low: u64,
}

impl From<&Capacity> for RecommendationsJson {
    fn from(capacity: &Capacity) -> RecommendationsJson {
        let of = |wanted: Priority| {
            let mut open = capacity.open.iter();
            let found = open.find(|(priority, _)| *priority == wanted);
            found.map_or(0, |(_, number)| *number)
        };
        RecommendationsJson {
            open: capacity.open.iter().map(|(_, number)| number).sum(),
            critical: of(Priority::Critical),
            high: of(Priority::High),
            medium: of(Priority::Medium),
            low: of(Priority::Low),
        }
    }
}

#[derive(Serialize)]
struct StaleJson<'a> {
    service: String,
    metric: String,
    resource: &'a str,
    reason: &'a str,
}

impl<'a> From<&'a StaleMetric> for StaleJson<'a> {
    fn from(stale: &'a StaleMetric) -> StaleJson<'a> {
        StaleJson {
            service: stale.series.service.to_string(),
            metric: stale.series.metric.to_string(),
            resource: &stale.series.resource,
            reason: &stale.reason,
        }
    }
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

impl Status<'_> {
    fn verdict_line(&self) -> String {
        let report = self.report;
        let all = report.migrations.len();
        let pending = report.count(&[State::Pending]);
        let engine = match report.engine {
            "postgresql" => "PostgreSQL",
            _ => "SQLite",
        };
        let verdict = match report.verdict() {
            Verdict::InSync => format!("in sync: all {all} migrations are applied"),
            Verdict::Pending => format!("pending: {pending} of {all} migrations"),
            Verdict::Untrustworthy => "not trustworthy: see above".to_owned(),
        };
        format!("{verdict} ({engine} {})\n", report.engine_version)
    }

    /// What is wrong and what is worth knowing, a line each.
    fn findings(&self) -> Vec<String> {
        let report = self.report;
        let mut lines: Vec<String> = report.drift.iter().map(|d| format!("drift: {d}")).collect();
        let in_the_way = report.in_the_way.iter();
        lines.extend(in_the_way.map(|what| {
            format!("in the way: {what} is there, and no migration of usagectl made it")
        }));
        if let Some(found) = report.freshness {
            lines.push(match found.oldest {
                None => "roll-ups: up to date".to_owned(),
                Some(oldest) => format!(
                    "roll-ups: {} {} to be counted, the oldest of {}",
                    count(found.hours_waiting),
                    if found.hours_waiting == 1 {
                        "hour waits"
                    } else {
                        "hours wait"
                    },
                    age(self.now, oldest)
                ),
            });
        }
        if let Some(found) = report.alerts.filter(|found| found.rules > 0) {
            lines.push(alerts_line(found));
        }
        if let Some(capacity) = &report.capacity {
            lines.extend(recommendations_line(&capacity.open));
            let stale = capacity.stale.iter();
            lines.extend(stale.map(|it| format!("stale: {}: {}", it.series, it.reason)));
        }
        if let Some(rows @ 1..) = report.unreadable_timestamps {
            lines.push(format!(
                "timestamps: {} of api_usage nobody can read; they are in no roll-up",
                if rows == 1 {
                    "1 row".to_owned()
                } else {
                    format!("{} rows", count(rows))
                }
            ));
        }
        lines
    }
}

/// What alert rules say, and what is still to be told.
fn alerts_line(found: AlertCounts) -> String {
    let mut parts = vec![match (found.firing, found.critical) {
        (firing, 0) => format!("{} firing", count(firing)),
        (firing, critical) => format!("{} firing ({} critical)", count(firing), count(critical)),
    }];
    let others = [
        (found.unknown, "unknown"),
        (found.unchecked, "not checked yet"),
    ];
    let others = others.iter().filter(|(number, _)| *number > 0);
    parts.extend(others.map(|(number, what)| format!("{} {what}", count(*number))));
    if found.notices_waiting > 0 {
        parts.push(format!(
            "{} to be delivered",
            counted(found.notices_waiting, "notice")
        ));
    }
    let rules = counted(found.rules, "rule");
    format!("alerts: {rules}, {}", parts.join(", "))
}

/// How many recommendations are open; nothing if none is.
fn recommendations_line(open: &[(Priority, u64)]) -> Option<String> {
    let all: u64 = open.iter().map(|(_, number)| number).sum();
    let by_priority = open.iter();
    let by_priority =
        by_priority.map(|(priority, number)| format!("{} {priority}", count(*number)));
    let by_priority: Vec<String> = by_priority.collect();
    let line = || {
        format!(
            "recommendations: {} open ({})",
            count(all),
            by_priority.join(", ")
        )
    };
    (all > 0).then(line)
}

/// An hour and how long ago it began.
fn age(now: DateTime<Utc>, hour: DateTime<Utc>) -> String {
    let hours = (now - hour).num_hours();
    match hours {
        ..0 => instant(hour),
        0..48 => format!("{} ({hours} h ago)", instant(hour)),
        _ => format!("{} ({} days ago)", instant(hour), hours / 24),
    }
}

impl Answer for Status<'_> {
    fn table(&self, _width: Option<usize>) -> String {
        let columns = [
            ("VERSION", Side::Left),
            ("NAME", Side::Left),
            ("STATE", Side::Left),
            ("APPLIED", Side::Left),
            ("MS", Side::Right),
        ];
        let row = |standing: &Standing| {
            vec![
                standing.version.clone(),
                standing.name.clone().unwrap_or_default(),
                standing.state.as_str().to_owned(),
                standing.applied_at.map_or(String::new(), instant),
                standing
                    .done
                    .as_ref()
                    .map_or(String::new(), |done| count(done.duration_ms)),
            ]
        };
        let mut text = layout(&columns, self.report.migrations.iter().map(row));
        for line in self.findings() {
            text.push_str(&printable(&line));
            text.push('\n');
        }
        text + &self.verdict_line()
    }

    fn json(&self) -> impl Serialize {
        let report = self.report;
        let verdict = report.verdict();
        StatusJson {
            engine: report.engine,
            engine_version: &report.engine_version,
            in_sync: verdict == Verdict::InSync,
            verdict: verdict.as_str(),
            migrations: report
                .migrations
                .iter()
                .map(|standing| MigrationJson {
                    version: &standing.version,
                    name: standing.name.as_deref(),
                    state: standing.state.as_str(),
                    applied_at: standing.applied_at,
                    duration_ms: standing.done.as_ref().map(|done| done.duration_ms),
                    applied_by: standing.done.as_ref().map(|done| done.by.as_str()),
                    tool_version: standing
                        .done
                        .as_ref()
                        .map(|done| done.tool_version.as_str()),
                })
                .collect(),
            drift: report
                .drift
                .iter()
                .map(|difference| DriftJson {
                    object: &difference.what,
                    expected: &difference.expected,
                    found: difference.found.as_deref(),
                })
                .collect(),
            in_the_way: &report.in_the_way,
            rollups: report.freshness.map(|found| RollupsJson {
                hours_waiting: found.hours_waiting,
                oldest: found.oldest,
            }),
            alerts: report.alerts.map(|found| AlertsJson {
                rules: found.rules,
                firing: found.firing,
                critical: found.critical,
                unknown: found.unknown,
                unchecked: found.unchecked,
                notices_waiting: found.notices_waiting,
            }),
            recommendations: report.capacity.as_ref().map(Into::into),
            stale_metrics: report
                .capacity
                .as_ref()
                .map(|capacity| capacity.stale.iter().map(Into::into).collect()),
            unreadable_timestamps: report.unreadable_timestamps,
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = ["version", "name", "state", "applied_at", "duration_ms"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(self.report.migrations.iter().map(|standing| {
            vec![
                standing.version.clone(),
                standing.name.clone().unwrap_or_default(),
                standing.state.as_str().to_owned(),
                standing.applied_at.map_or(String::new(), instant),
                standing
                    .done
                    .as_ref()
                    .map_or(String::new(), |done| done.duration_ms.to_string()),
            ]
        }));
        rows
    }
}
