//! The answer of `status`.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::columns::{Cell, Column, csv, table};
use super::json::object;
use super::{Answer, printable};
use crate::domain::format::{self, count, counted, counted_as};
use crate::domain::metrics::names::Priority;
use crate::domain::schema::migration::{MigrationState, MigrationStatus};
use crate::domain::schema::status::{
    AlertCounts, CapacitySummary, StaleMetric, StatusReport, Verdict,
};

/// The report and its time.
#[derive(Debug)]
pub struct Status<'a> {
    pub report: &'a StatusReport,
    pub now: DateTime<Utc>,
}

fn columns() -> [Column<'static, MigrationStatus>; 5] {
    type Col<'a> = Column<'a, MigrationStatus>;
    [
        Col::left("VERSION", "version", |migration| {
            Cell::text(&migration.version)
        }),
        Col::left("NAME", "name", |migration| {
            Cell::maybe(migration.name.as_ref())
        }),
        Col::left("STATE", "state", |migration| Cell::text(migration.state)),
        Col::left("APPLIED", "applied_at", |migration| {
            Cell::or_missing(migration.applied_at, Cell::Time)
        }),
        Col::right("MS", "duration_ms", |migration| {
            let logged = migration.logged.as_ref();
            Cell::or_missing(logged.map(|entry| entry.duration_ms), Cell::count)
        }),
    ]
}

impl Status<'_> {
    fn verdict_line(&self) -> String {
        let report = self.report;
        let all = report.migrations.len();
        let pending = report.count(&[MigrationState::Pending]);
        let engine = match report.engine {
            "postgresql" => "PostgreSQL",
            _ => "SQLite",
        };
        let verdict = match report.verdict() {
            Verdict::InSync => format!("in sync: all {all} migrations are applied"),
            Verdict::Pending => format!("pending: {pending} of {all} migrations"),
            Verdict::Untrustworthy => {
                "untrustworthy: the schema differs from the migrations, see above".to_owned()
            }
        };
        format!("{verdict} ({engine} {})\n", report.engine_version)
    }

    /// Differences and facts, a line each.
    fn findings(&self) -> Vec<String> {
        let report = self.report;
        let mut lines: Vec<String> = report.drift.iter().map(|d| format!("drift: {d}")).collect();
        lines.extend(
            report
                .origin
                .iter()
                .map(|origin| format!("created by {origin}")),
        );
        let conflicts = report.conflicts.iter();
        lines.extend(conflicts.map(|object| {
            format!("conflict: {object} exists, but no migration of usagectl created it")
        }));
        if let Some(found) = report.freshness {
            lines.push(match found.oldest {
                None => "roll-ups: up to date".to_owned(),
                Some(oldest) => format!(
                    "roll-ups: {} pending, oldest {}",
                    counted(found.hours_waiting.unsigned_abs(), "hour"),
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
            lines
                .extend(stale.map(|metric| format!("stale: {}: {}", metric.series, metric.reason)));
        }
        if let Some(rows @ 1..) = report.unreadable_timestamps {
            lines.push(format!(
                "timestamps: {} of api_usage unreadable and in no roll-up",
                counted_as(rows, "row", "rows")
            ));
        }
        lines
    }
}

fn alerts_line(found: AlertCounts) -> String {
    let mut parts = vec![match (found.firing, found.critical) {
        (firing, 0) => format!("{} firing", count(firing)),
        (firing, critical) => format!("{} firing ({} critical)", count(firing), count(critical)),
    }];
    let others = [
        (found.unknown, "unknown"),
        (found.unchecked, "not evaluated yet"),
    ];
    let others = others.iter().filter(|(number, _)| *number > 0);
    parts.extend(others.map(|(number, state)| format!("{} {state}", count(*number))));
    if found.notices_waiting > 0 {
        let notifications = counted(found.notices_waiting, "undelivered notification");
        parts.push(notifications);
    }
    let rules = counted(found.rules, "rule");
    format!("alerts: {rules}, {}", parts.join(", "))
}

/// Nothing if no recommendation is open.
fn recommendations_line(open: &[(Priority, u64)]) -> Option<String> {
    let all: u64 = open.iter().map(|(_, number)| number).sum();
    let by_priority: Vec<String> = open
        .iter()
        .map(|(priority, number)| format!("{} {priority}", count(*number)))
        .collect();
    let by_priority = by_priority.join(", ");
    (all > 0).then(|| format!("recommendations: {} open ({by_priority})", count(all)))
}

/// An hour and how long ago it began.
fn age(now: DateTime<Utc>, hour: DateTime<Utc>) -> String {
    let time = format::time(hour);
    if hour > now {
        return time;
    }
    format!("{time} ({} ago)", format::duration(now - hour))
}

impl Answer for Status<'_> {
    fn table(&self, width: Option<usize>) -> String {
        let mut text = table(&columns(), &self.report.migrations, width);
        for line in self.findings() {
            text.push_str(&printable(&line));
            text.push('\n');
        }
        text + &self.verdict_line()
    }

    fn json(&self) -> impl Serialize {
        let report = self.report;
        let verdict = report.verdict();
        let capacity = report.capacity.as_ref();
        let migrations = report.migrations.iter().map(|migration| {
            let logged = migration.logged.as_ref();
            object! {
                version: &migration.version,
                name: migration.name.as_deref(),
                state: migration.state.to_string(),
                applied_at: migration.applied_at.map(format::time_ms),
                duration_ms: logged.map(|entry| entry.duration_ms),
                applied_by: logged.map(|entry| entry.by.as_str()),
                tool_version: logged.map(|entry| entry.tool_version.as_str()),
            }
        });
        let rollups = report.freshness.map(|found| {
            object! {
                hours_waiting: found.hours_waiting,
                oldest: found.oldest.map(format::time_ms),
            }
        });
        let recommendations = capacity.map(|CapacitySummary { open, .. }| {
            let number = |wanted: Priority| {
                let found = open.iter().find(|(priority, _)| *priority == wanted);
                found.map_or(0, |(_, number)| *number)
            };
            object! {
                open: open.iter().map(|(_, number)| number).sum::<u64>(),
                critical: number(Priority::Critical),
                high: number(Priority::High),
                medium: number(Priority::Medium),
                low: number(Priority::Low),
            }
        });
        let stale = |StaleMetric { series, reason }: &StaleMetric| {
            object! {
                service: series.service,
                metric: series.metric,
                resource: series.resource.clone(),
                reason: reason.clone(),
            }
        };
        object! {
            engine: report.engine,
            engine_version: &report.engine_version,
            in_sync: verdict == Verdict::InSync,
            verdict: verdict,
            migrations: migrations.collect::<Vec<_>>(),
            drift: &report.drift,
            conflicts: &report.conflicts,
            origin: &report.origin,
            rollups: rollups,
            alerts: report.alerts,
            recommendations: recommendations,
            stale_metrics: capacity.map(|it| it.stale.iter().map(stale).collect::<Vec<_>>()),
            unreadable_timestamps: report.unreadable_timestamps,
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        csv(&columns(), &self.report.migrations)
    }
}
