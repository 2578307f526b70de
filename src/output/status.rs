//! The answer of `status`.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Answer;
use super::columns::{Cell, Column, table};
use super::json::object;
use crate::domain::format::printable;
use crate::domain::format::{self, count, counted, counted_as};
use crate::domain::metrics::names::Priority;
use crate::domain::named::Named;
use crate::domain::schema::migration::{MigrationState, MigrationStatus, restore_message};
use crate::domain::schema::orphaned_triggers::OrphanedTrigger;
use crate::domain::schema::status::{
    AlertCounts, CapacitySummary, StaleMetric, StatusReport, UnknownValue, Verdict,
};

#[derive(Debug)]
pub struct Status<'a> {
    pub report: &'a StatusReport,
    pub now: DateTime<Utc>,
}

fn columns() -> [Column<'static, MigrationStatus>; 5] {
    type Col<'a> = Column<'a, MigrationStatus>;
    [
        Col::left("VERSION", "version", |it| Cell::text(&it.version)),
        Col::left("NAME", "name", |it| Cell::maybe(it.name.as_ref())),
        Col::left("STATE", "state", |it| {
            let progress = it.progress.as_ref().map_or(String::new(), |at| {
                format!(
                    " ({} at step {} of {})",
                    at.direction, at.step, at.step_count
                )
            });
            Cell::text(format!("{}{progress}", it.state))
        }),
        Col::left("APPLIED", "applied_at", |it| {
            Cell::or_missing(it.applied_at, Cell::Time)
        }),
        Col::right("MS", "duration_ms", |it| {
            let logged = it.logged.as_ref();
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
            Verdict::Ahead => {
                let unknown = report.count(&[MigrationState::Unknown]);
                let unknown = counted_as(unknown as u64, "migration is", "migrations are");
                format!("ahead: {unknown} of a newer version")
            }
            Verdict::Untrustworthy if report.restoring.is_some() && report.drift.is_empty() => {
                "untrustworthy: a restore is not complete, see above".to_owned()
            }
            Verdict::Untrustworthy => {
                "untrustworthy: the schema differs from the migrations, see above".to_owned()
            }
        };
        format!("{verdict} ({engine} {})\n", report.engine_version)
    }

    /// Differences and facts, a line each.
    fn findings(&self) -> Vec<String> {
        let report = self.report;
        let mut lines = Vec::new();
        for table in OrphanedTrigger::tables(&report.orphaned_triggers) {
            lines.push(format!(
                "broken: every write to {table} fails: usagectl's tables were deleted, as `prisma db push` does, but not \
                 its triggers"
            ));
        }
        if !report.others.is_empty() {
            lines.push(format!(
                "ledger: also has {} of another Diesel program, which usagectl leaves alone: {}",
                counted(report.others.len() as u64, "migration"),
                report.others.join(", ")
            ));
        }
        let running = report.running.iter();
        lines.extend(running.map(|holder| format!("running: {holder}")));
        let restoring = report.restoring.iter();
        lines.extend(restoring.map(|folder| {
            let message = restore_message(folder);
            format!("restore: {message}; so far: {}", report.restored)
        }));
        let rollback = report.interrupted_rollback.iter();
        lines.extend(rollback.map(|it| {
            let is_partial = report.count(&[MigrationState::Partial]) > 0;
            let end = if is_partial {
                ""
            } else {
                ", and usagectl migrate ends it"
            };
            format!("rollback: not complete; {it} continues it{end}")
        }));
        let unlogged = report.migrations.iter();
        let unlogged = unlogged.filter(|it| it.state == MigrationState::Unlogged);
        lines.extend(unlogged.map(|it| {
            let name = it.full_name();
            format!("unlogged: {name} is applied, but the log has no record of it")
        }));
        let differences = report.drift.iter().chain(&report.extras);
        lines.extend(differences.map(|difference| format!("drift: {difference}")));
        let fix = report.fix.iter().flat_map(|sql| sql.lines());
        lines.extend(fix.map(|sql| format!("  fix: {sql}")));
        for defect in report.defects.iter().flatten() {
            lines.push(format!("defect: {} {}", defect.object, defect.problem));
            let fix = defect.fix.iter().flat_map(|sql| sql.lines());
            lines.extend(fix.map(|sql| format!("  fix: {sql}")));
        }
        let origin = report.origin.iter();
        lines.extend(origin.map(|origin| format!("created by {origin}")));
        lines.extend(conflicts_line(&report.conflicts));
        if let Some(found) = report.freshness {
            match found.oldest {
                None if found.is_incomplete => {}
                None => lines.push("roll-ups: up to date".to_owned()),
                Some(oldest) => lines.push(format!(
                    "roll-ups: {} pending, oldest {}",
                    counted(found.hours_waiting.unsigned_abs(), "hour"),
                    age(self.now, oldest)
                )),
            }
            if found.is_incomplete {
                let text =
                    "another program deleted rows of them; usagectl aggregate writes them again";
                lines.push(format!("roll-ups: {text}"));
            }
            lines.extend(found.undecided.map(|window| {
                format!(
                    "roll-ups: another program deleted the rows from {} to {}; they still count",
                    format::time(window.from),
                    format::time(window.to)
                )
            }));
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
        let values = report.unknown_values.iter();
        lines.extend(values.map(|UnknownValue { column, value }| {
            format!("unknown: {column} has {value}; its rows are kept and skipped")
        }));
        if let Some(rows @ 1..) = report.unreadable_timestamps {
            lines.push(format!(
                "timestamps: {} of api_usage unreadable and in no roll-up",
                counted_as(rows, "row", "rows")
            ));
        }
        lines
    }
}

/// Names the tables, or else the objects; nothing if there are none.
fn conflicts_line(conflicts: &[String]) -> Option<String> {
    let tables = conflicts.iter().filter(|it| it.starts_with("table "));
    let mut named: Vec<&str> = tables.map(String::as_str).collect();
    if named.is_empty() {
        named.extend(conflicts.iter().take(3).map(String::as_str));
    }
    let names = named.join(", ");
    let verb = "but no migration in the ledger of usagectl created";
    match (conflicts.len(), conflicts.len() - named.len()) {
        (0, _) => None,
        (1, _) => Some(format!("conflict: {names} exists, {verb} it")),
        (_, 0) => Some(format!("conflict: {names} exist, {verb} them")),
        (_, others) => {
            let others = counted(others as u64, "other object");
            Some(format!("conflict: {names} and {others} exist, {verb} them"))
        }
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
        parts.push(counted(found.notices_waiting, "undelivered notification"));
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
                direction: migration.partial(),
                step: migration.progress.as_ref().map(|progress| progress.step),
                step_count: migration.progress.as_ref().map(|progress| progress.step_count),
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
                incomplete: found.is_incomplete,
                undecided_from: found.undecided.map(|window| format::time_ms(window.from)),
                undecided_to: found.undecided.map(|window| format::time_ms(window.to)),
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
            other_migrations: &report.others,
            lock: object! { held_by: report.running.as_ref().map(ToString::to_string) },
            restoring: report.restoring.as_deref(),
            interrupted_rollback: report.interrupted_rollback.as_deref(),
            drift: report.drift.iter().chain(&report.extras).collect::<Vec<_>>(),
            fix: &report.fix,
            defects: &report.defects,
            conflicts: &report.conflicts,
            origin: &report.origin,
            orphaned_triggers: report.orphaned_triggers.iter().map(OrphanedTrigger::qualified).collect::<Vec<_>>(),
            rollups: rollups,
            alerts: report.alerts,
            recommendations: recommendations,
            stale_metrics: capacity.map(|it| it.stale.iter().map(stale).collect::<Vec<_>>()),
            unknown_values: &report.unknown_values,
            unreadable_timestamps: report.unreadable_timestamps,
        }
    }

    /// The migrations, then the findings, then the verdict.
    fn csv(&self) -> Vec<Vec<String>> {
        let report = self.report;
        let header = "kind version name state detail applied_at duration_ms";
        let mut rows: Vec<Vec<String>> = vec![header.split(' ').map(str::to_owned).collect()];
        rows.extend(report.migrations.iter().map(|it| {
            let duration_ms = it
                .logged
                .as_ref()
                .map(|entry| entry.duration_ms.to_string());
            vec![
                "migration".to_owned(),
                it.version.clone(),
                it.name.clone().unwrap_or_default(),
                it.state.to_string(),
                String::new(),
                it.applied_at.map(format::time_ms).unwrap_or_default(),
                duration_ms.unwrap_or_default(),
            ]
        }));
        let mut finding = |kind: &str, object: &str, state: &str, detail: &str| {
            rows.push(
                [kind, "", object, state, detail, "", ""]
                    .map(str::to_owned)
                    .to_vec(),
            );
        };
        for it in report.drift.iter().chain(&report.extras) {
            finding("drift", &it.what, "", &it.to_string());
        }
        for it in report.defects.iter().flatten() {
            finding("defect", &it.object, "", &it.problem);
        }
        if let Some(folder) = &report.restoring {
            finding("restore", folder, "", &restore_message(folder));
        }
        for object in &report.conflicts {
            finding("conflict", object, "", "");
        }
        for it in &report.unknown_values {
            finding("unknown_value", &it.column, "", &it.value);
        }
        finding("verdict", "", report.verdict().as_str(), "");
        rows
    }
}
