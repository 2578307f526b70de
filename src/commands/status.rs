//! `status`: shows the state of the schema. It writes nothing and takes no lock.

use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use clap::Args;

use crate::args::{example, parse_duration};
use crate::commands::limits::check;
use crate::context::Context;
use crate::domain::capacity::limit_status::{LimitState, LimitStatus};
use crate::domain::metrics::point::Series;
use crate::domain::schema::migration::MigrationState;
use crate::domain::schema::status::{CapacitySummary, StaleMetric, StatusReport, Verdict};
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::status::Status;
use crate::store::db::{Access, Db};
use crate::store::migrations::{self, adopt};
use crate::store::url::DatabaseUrl;
use crate::store::usage::dirty;
use crate::store::{schema_objects, status};

/// Check the schema and show the state of the database
///
/// Lists the migrations, and compares tables, columns, indexes, triggers and types with those that the applied
/// migrations created. Also shows outdated roll-ups, firing alerts, open recommendations and stale metrics.
/// Only reads: a SELECT-only role, a replica or a read-only file is sufficient.
///
/// Exits with 3 if migrations are pending, 4 if the schema differs from the migrations or a migration is
/// edited or unknown, 7 if the database cannot be reached.
#[derive(Args, Debug)]
#[command(after_help = example!("status --format json"))]
pub struct StatusArgs {
    /// Maximum time to wait until the database is reachable and no migration is pending
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
}

/// The interval of `--wait`.
const POLL: Duration = Duration::from_millis(500);

pub fn run(context: &mut Context, args: StatusArgs) -> Result<Outcome> {
    let url = context.database_url(false)?;
    let deadline = args.wait.and_then(|wait| Instant::now().checked_add(wait));
    let report = loop {
        let result = open_and_report(context, &url);
        let may_change = match &result {
            Ok(report) => report.verdict() == Verdict::Pending,
            Err(error) => error.exit() == Exit::Unreachable,
        };
        if !may_change || deadline.is_none_or(|deadline| Instant::now() >= deadline) {
            break result.map_err(other_next_step)?;
        }
        thread::sleep(POLL);
    };
    context.answer(&Status {
        report: &report,
        now: context.now,
    })?;
    Ok(outcome(&report))
}

/// An unexpected database error points to `status`, which cannot point to itself.
fn other_next_step(error: Error) -> Error {
    match error.next() {
        Some("usagectl status") => error.with_next("check the database and its log"),
        _ => error,
    }
}

/// Gathers the report in one transaction.
fn open_and_report(context: &mut Context, url: &DatabaseUrl) -> Result<StatusReport> {
    let now = context.now;
    let mut db = context.open_unchecked(url, Access::Read)?;
    db.read_tx(|db| report(db, migrations::application_schema(url), now))
}

fn report(db: &mut Db, application_schema: &str, now: DateTime<Utc>) -> Result<StatusReport> {
    let survey = migrations::survey(db)?;
    if let Err(error) = survey.bookkeeping.check_application(application_schema) {
        return Err(Error::from(error).with_exit(Exit::Untrustworthy));
    }
    let found = schema_objects::read(db)?;
    let expected = migrations::expected(db, &survey.statuses);
    let pending: Vec<String> = survey
        .statuses
        .iter()
        .filter(|status| status.state == MigrationState::Pending)
        .map(|status| status.version.clone())
        .collect();
    let pending = migrations::with_versions(&pending);
    let is_adoptable = adopt::is_needed(db, &survey, &found);
    let origin = match is_adoptable {
        true => adopt::origin(db, &survey, &found)?,
        false => None,
    };
    let has_tables = |names: &[&str]| {
        let mut names = names.iter();
        names.all(|name| found.get(&format!("table {name}")).is_some())
    };
    let drift = expected.differences(&found);
    // Tables that differ cannot be read.
    let has_capacity = drift.is_empty()
        && has_tables(&[
            "UpgradeRecommendation",
            "InfrastructureMetric",
            "usagectl_limit_origins",
        ]);
    let has_rollups = has_tables(&["usagectl_dirty_hours", "usagectl_stale_periods"]);
    let has_alerts = has_tables(&["api_alerts", "usagectl_alert_states", "usagectl_notices"]);
    let has_usage = has_rollups && has_tables(&["api_usage"]);
    Ok(StatusReport {
        engine: db.engine(),
        engine_version: status::engine_version(db)?,
        drift,
        migrations: survey.statuses,
        conflicts: migrations::conflicts(db, &pending, &found),
        origin,
        freshness: has_rollups.then(|| status::freshness(db)).transpose()?,
        alerts: has_alerts.then(|| status::alerts(db)).transpose()?,
        capacity: has_capacity.then(|| capacity(db, now)).transpose()?,
        unreadable_timestamps: has_usage.then(|| dirty::count_unreadable(db)).transpose()?,
    })
}

/// Open recommendations, and the stale metrics of `limits check`.
fn capacity(db: &mut Db, now: DateTime<Utc>) -> Result<CapacitySummary> {
    let stale = |it: LimitStatus| {
        let series = Series::new(it.limit.service, it.limit.metric, it.resource);
        let reason = it
            .reason
            .map_or_else(String::new, |reason| reason.to_string());
        let stale = StaleMetric { series, reason };
        (it.state == LimitState::Stale).then_some(stale)
    };
    let standings = check::statuses(db, |_| true, now, None)?;
    let mut stale: Vec<StaleMetric> = standings.into_iter().filter_map(stale).collect();
    // A series may have a budget beside the limit of its plan.
    stale.dedup_by(|a, b| a.series == b.series);
    Ok(CapacitySummary {
        open: status::open_recommendations(db)?,
        stale,
    })
}

fn outcome(report: &StatusReport) -> Outcome {
    match report.verdict() {
        Verdict::InSync => Outcome::DONE,
        Verdict::Pending => Outcome::with_next(Exit::Incomplete, "usagectl migrate"),
        Verdict::Untrustworthy => Outcome::with_next(Exit::Untrustworthy, next_step(report)),
    }
}

/// The next step for an untrustworthy database.
fn next_step(report: &StatusReport) -> String {
    let find = |state: MigrationState| {
        let mut migrations = report.migrations.iter();
        migrations.find(|migration| migration.state == state)
    };
    if let Some(modified) = find(MigrationState::Modified) {
        let name = modified.full_name();
        return match &modified.logged {
            Some(entry) => format!("use usagectl {}, which applied {name}", entry.tool_version),
            None => format!("use the version of usagectl that applied {name}"),
        };
    }
    if let Some(unknown) = find(MigrationState::Unknown) {
        let name = unknown.full_name();
        return format!("use the version of usagectl that applied {name}");
    }
    if report.origin.is_some() {
        return migrations::ADOPT.to_owned();
    }
    let mut drift = report.drift.iter();
    if drift.all(|difference| difference.what.starts_with("trigger ")) {
        return "usagectl aggregate --rebuild".to_owned();
    }
    "restore the objects listed above, then run usagectl status".to_owned()
}
