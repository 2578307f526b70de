//! `status`: the truth about the schema, for people and for CI. It writes nothing and waits for no lock.

use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use clap::Args;

use crate::args::parse_duration;
use crate::commands::limits::check;
use crate::context::Context;
use crate::domain::capacity::limit_status;
use crate::domain::metrics::point::Series;
use crate::domain::schema::migration::State;
use crate::domain::schema::status::{Capacity, Report, StaleMetric, Verdict};
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::status::Status;
use crate::store::db::{Access, Db};
use crate::store::migrations;
use crate::store::url::DatabaseUrl;
use crate::store::usage::dirty;
use crate::store::{schema_objects, status};

/// Say whether the database is in order
///
/// Shows each migration, compares the tables, columns, indexes, triggers and types that are there with what
/// the applied migrations made, says how far the roll-ups are behind, how many alert rules fire, how many recommendations are
/// open and which metrics are stale. Only reads: a role that may only SELECT, a replica or a read-only file will do.
///
/// Exits 0 when all is in sync, 3 when migrations are pending, 4 when the database is not what the
/// migrations made (drift, an edited or an unknown migration), 7 when it cannot be reached.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl --database-url sqlite:usage.db status --format json")]
pub struct StatusArgs {
    /// Wait up to this long until the database is reachable and nothing is pending
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wait: Option<Duration>,
}

/// How often `--wait` looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Looks, prints the report and turns its verdict into the exit code.
pub fn run(context: &mut Context, args: StatusArgs) -> Result<Outcome> {
    let url = context.database_url(false)?;
    let deadline = args.wait.and_then(|wait| Instant::now().checked_add(wait));
    let report = loop {
        let looked = look(context, &url);
        let may_change = match &looked {
            Ok(report) => report.verdict() == Verdict::Pending,
            Err(error) => error.exit() == Exit::Unreachable,
        };
        if !may_change || deadline.is_none_or(|deadline| Instant::now() >= deadline) {
            break looked?;
        }
        thread::sleep(LOOK_AGAIN);
    };
    context.answer(&Status {
        report: &report,
        now: context.now,
    })?;
    Ok(outcome(&report))
}

/// Gathers the report, all of it as of one moment.
fn look(context: &mut Context, url: &DatabaseUrl) -> Result<Report> {
    let now = context.now;
    let mut db = context.open_unchecked(url, Access::Read)?;
    db.read_tx(|db| report(db, migrations::application_schema(url), now))
}

fn report(db: &mut Db, application_schema: &str, now: DateTime<Utc>) -> Result<Report> {
    let survey = migrations::survey(db)?;
    if let Err(error) = survey.bookkeeping.check_application(application_schema) {
        return Err(Error::from(error).with_exit(Exit::Untrustworthy));
    }
    let found = schema_objects::read(db)?;
    let expected = migrations::expected(db, &survey.standings);
    let pending: Vec<_> = survey
        .standings
        .iter()
        .filter(|standing| standing.state == State::Pending)
        .map(|standing| standing.version.clone())
        .collect();
    let pending = migrations::with_versions(&pending);
    let has_table = |name: &str| found.get(&format!("table {name}")).is_some();
    let alerting = ["api_alerts", "usagectl_alert_states", "usagectl_notices"];
    let drift = expected.differences(&found);
    // One that is pending has its tables not yet, and tables that differ cannot be read.
    let has_capacity = drift.is_empty()
        && [
            "UpgradeRecommendation",
            "InfrastructureMetric",
            "usagectl_limit_origins",
        ]
        .into_iter()
        .all(has_table);
    let has_marks = has_table("usagectl_dirty_hours") && has_table("usagectl_stale_periods");
    Ok(Report {
        engine: db.engine(),
        engine_version: status::engine_version(db)?,
        drift,
        migrations: survey.standings,
        in_the_way: migrations::already_there(db, &pending, &found),
        freshness: has_marks.then(|| status::freshness(db)).transpose()?,
        alerts: alerting
            .into_iter()
            .all(has_table)
            .then(|| status::alerts(db))
            .transpose()?,
        capacity: has_capacity.then(|| capacity(db, now)).transpose()?,
        unreadable_timestamps: (has_marks && has_table("api_usage"))
            .then(|| dirty::count_unreadable(db))
            .transpose()?,
    })
}

/// What is open, and what `limits check` calls stale.
fn capacity(db: &mut Db, now: DateTime<Utc>) -> Result<Capacity> {
    let stale = |it: limit_status::Standing| {
        let series = Series {
            service: it.limit.service,
            metric: it.limit.metric,
            resource: it.resource,
        };
        let reason = it.reason.unwrap_or_default();
        let stale = StaleMetric { series, reason };
        (it.state == limit_status::State::Stale).then_some(stale)
    };
    let standings = check::standings(db, |_| true, now, None)?;
    let mut stale: Vec<StaleMetric> = standings.into_iter().filter_map(stale).collect();
    // A budget stands beside the limit of the plan.
    stale.dedup_by(|a, b| a.series == b.series);
    Ok(Capacity {
        open: status::open_recommendations(db)?,
        stale,
    })
}

fn outcome(report: &Report) -> Outcome {
    match report.verdict() {
        Verdict::InSync => Outcome::DONE,
        Verdict::Pending => Outcome::with_next(Exit::Incomplete, "usagectl migrate"),
        Verdict::Untrustworthy => Outcome::with_next(Exit::Untrustworthy, cure(report)),
    }
}

/// What to do about a database that is not what it should be.
fn cure(report: &Report) -> String {
    let is = |state: State| report.migrations.iter().find(move |s| s.state == state);
    if let Some(modified) = is(State::Modified) {
        let by = modified.done.as_ref().map(|done| &done.tool_version);
        return match by {
            Some(version) => format!(
                "use usagectl {version}, which applied {}",
                modified.full_name()
            ),
            None => "use the version of usagectl that applied it".to_owned(),
        };
    }
    if is(State::Unknown).is_some() {
        return "use the version of usagectl that applied what is unknown here".to_owned();
    }
    if report.drift.is_empty() {
        return "use an empty database, or go on with the tool that made this one".to_owned();
    }
    let only_triggers = report
        .drift
        .iter()
        .all(|difference| difference.what.starts_with("trigger "));
    if only_triggers {
        return "usagectl aggregate --rebuild".to_owned();
    }
    "bring back what is named above, then usagectl status".to_owned()
}
