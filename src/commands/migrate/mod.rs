//! `migrate`: applies pending migrations.

use std::time::Duration;

use clap::Args;

use crate::args::parse_duration;
use crate::context::{Context, current_user};
use crate::domain::format;
use crate::domain::schema::migration;
use crate::domain::schema::migration::PlanError;
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::migrations::{Applied, AppliedMigration, Plan, PlanAction, Script};
use crate::store::db;
use crate::store::db::{Access, Db};
use crate::store::lock::{RunKind, RunLock};
use crate::store::migrations::{self, Direction, LogContext, Migration, Survey};
use crate::store::schema_objects;
use crate::store::url::{DatabaseTarget, DatabaseUrl};

/// Apply pending migrations
///
/// Each migration is one transaction. Concurrent runs are safe: one applies the migrations, the others wait
/// and find nothing to do. A missing SQLite file, or the PostgreSQL schema that the URL names, is created.
///
/// Fails with exit code 4 if an applied migration was edited or is unknown to this program, and with 5 if an
/// object that it would create already exists.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl --database-url sqlite:usage.db migrate")]
pub struct MigrateArgs {
    /// Stop after this migration (version or name)
    #[arg(long, value_name = "MIGRATION")]
    to: Option<String>,

    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Print the SQL for psql or sqlite3 and change nothing
    #[arg(long, conflicts_with = "dry_run")]
    sql: bool,

    /// Also apply pending migrations that are older than an applied one
    #[arg(long)]
    allow_out_of_order: bool,

    #[command(flatten)]
    locks: LockArgs,
}

#[derive(Args, Debug)]
pub(super) struct LockArgs {
    /// Maximum time to wait for another migrate or rollback
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub(super) lock_wait: Duration,

    /// Maximum time to wait for a table in use, before a pause and a retry
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    pub(super) lock_timeout: Duration,
}

pub fn run(context: &mut Context, args: MigrateArgs) -> Result<Outcome> {
    let url = context.database_url(true)?;
    if args.dry_run || args.sql {
        return preview(context, &url, &args);
    }
    let mut db = context.open_unchecked(&url, Access::Create)?;
    let _lock = RunLock::acquire(&url, RunKind::Migrate, args.locks.lock_wait)?;
    let survey = migrations::survey(&mut db)?;
    let plan = plan(&mut db, &survey, &url, &args)?;
    let statuses = survey.statuses.iter();
    let mut applied = Applied {
        migrations: Vec::new(),
        pending: statuses.filter(|status| !status.is_applied()).count(),
    };
    let application_schema = migrations::application_schema(&url);
    let lock_timeout = args.locks.lock_timeout;
    if !plan.is_empty() {
        let found = &survey.bookkeeping;
        let on_retry = &mut |pause| report_retry(context, pause);
        migrations::prepare(&mut db, application_schema, found, lock_timeout, on_retry)?;
    }
    let log = LogContext {
        application_schema,
        done_by: &current_user(),
        at: context.now.into(),
    };
    let mut result = Ok(());
    for migration in plan {
        context.detail(format_args!("applying {migration}"));
        let on_retry = &mut |pause| report_retry(context, pause);
        let run = migrations::with_lock_retry(&mut db, lock_timeout, on_retry, |db| {
            migrations::run(db, migration, Direction::Up, log)
        });
        match run {
            Ok(took) => {
                applied.pending = applied.pending.saturating_sub(1);
                applied.migrations.push(AppliedMigration {
                    version: migration.version,
                    name: migration.name,
                    duration_ms: took.as_millis().try_into().unwrap_or(i64::MAX),
                });
            }
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    // When one fails, the earlier ones stay applied.
    if result.is_ok() || !applied.migrations.is_empty() {
        context.answer(&applied)?;
    }
    result.map(|()| Outcome::DONE)
}

pub(super) fn report_retry(context: &mut Context, pause: Duration) {
    let pause = format::duration(chrono::TimeDelta::from_std(pause).unwrap_or_default());
    context.detail(format_args!("a table is locked, retrying in {pause}"));
}

/// The migrations to apply. Fails if the database is not one to apply them to.
fn plan(
    db: &mut Db,
    survey: &Survey,
    url: &DatabaseUrl,
    args: &MigrateArgs,
) -> Result<Vec<&'static Migration>> {
    let application_schema = migrations::application_schema(url);
    survey.bookkeeping.check_application(application_schema)?;
    let versions = migration::plan_up(
        &survey.statuses,
        args.to.as_deref(),
        args.allow_out_of_order,
    )
    .map_err(plan_error)?;
    let plan = migrations::with_versions(&versions);
    if !plan.is_empty() {
        let found = schema_objects::read(db)?;
        let conflicts = migrations::conflicts(db, &plan, &found);
        if !conflicts.is_empty() {
            return Err(plan_error(PlanError::AlreadyExists(conflicts)));
        }
    }
    Ok(plan)
}

fn preview(context: &mut Context, url: &DatabaseUrl, args: &MigrateArgs) -> Result<Outcome> {
    let mut db = match &url.target {
        DatabaseTarget::Sqlite(path) if !path.exists() => db::open_in_memory()?,
        _ => context.open_unchecked(url, Access::Read)?,
    };
    let survey = migrations::survey(&mut db)?;
    let plan = plan(&mut db, &survey, url, args)?;
    if args.sql {
        let application_schema = migrations::application_schema(url);
        let setup = migrations::setup(&mut db, application_schema, &survey.bookkeeping)?;
        let sql = migrations::script(
            &db,
            &plan,
            Direction::Up,
            application_schema,
            args.locks.lock_timeout,
            &setup,
        );
        context.answer(&Script { sql })?;
        return Ok(Outcome::DONE);
    }
    let steps: Vec<_> = plan
        .iter()
        .map(|migration| migration.step(&db, Direction::Up))
        .collect();
    context.answer(&Plan::new(PlanAction::Migrate, &steps))?;
    Ok(Outcome::DONE)
}

/// Adds exit code and next step.
pub(super) fn plan_error(error: PlanError) -> Error {
    let (exit, next) = match &error {
        PlanError::NoSuchMigration { .. } => (Exit::Usage, "usagectl status"),
        PlanError::NotApplied(_) => (Exit::Refused, "usagectl status"),
        PlanError::Untrustworthy(_) => (Exit::Untrustworthy, "usagectl status"),
        PlanError::OutOfOrder(_) => (Exit::Refused, "usagectl migrate --allow-out-of-order"),
        PlanError::AlreadyExists(_) => {
            let message = format!(
                "{error}; nothing was changed. A database created by another tool cannot be adopted"
            );
            return Error::message(Exit::Refused, message)
                .with_next("use an empty database, or the tool that created this one");
        }
    };
    Error::new(exit, error).with_next(next)
}
