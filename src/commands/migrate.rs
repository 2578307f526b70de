//! `migrate`: apply what is pending.

use std::io::Write;
use std::time::Duration;

use clap::Args;

use crate::args::parse_duration;
use crate::context::{Context, current_user};
use crate::domain::schema::migration;
use crate::domain::schema::migration::Refusal;
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::migrations::{Applied, Plan};
use crate::store::db;
use crate::store::db::{Access, Db};
use crate::store::lock::{RunKind, RunLock};
use crate::store::migrations::{self, Direction, Entry, Migration, Survey};
use crate::store::schema_objects;
use crate::store::url::{DatabaseTarget, DatabaseUrl};

/// Apply pending migrations
///
/// Each migration is one transaction: it is applied as a whole or not at all. Several runs at once are
/// safe: one works, the others wait and then find nothing left to do. Creates the SQLite file, or the
/// schema that the URL names, if it is missing.
///
/// A migration that was edited after it was applied, or that this program does not know, stops it (exit
/// code 4), and so does a database in which some of the tables exist already without having been made by
/// usagectl (5).
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl --database-url sqlite:usage.db migrate")]
pub struct MigrateArgs {
    /// Stop after this migration, named by version or by name
    #[arg(long, value_name = "MIGRATION")]
    to: Option<String>,

    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Print the SQL for psql or sqlite3, and do nothing
    #[arg(long, conflicts_with = "dry_run")]
    sql: bool,

    /// Also apply pending migrations that are older than an applied one
    #[arg(long)]
    allow_out_of_order: bool,

    #[command(flatten)]
    locks: LockArgs,
}

/// How long to wait for whom.
#[derive(Args, Debug)]
pub(super) struct LockArgs {
    /// How long to wait for another migrate or rollback
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(super) lock_wait: Duration,

    /// How long to wait for a table that others use, before letting them pass and trying again
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    pub(super) lock_timeout: Duration,
}

/// Applies every pending migration, or those up to `--to`.
pub fn run(context: &mut Context, args: MigrateArgs) -> Result<Outcome> {
    let url = context.database_url(true)?;
    if args.dry_run || args.sql {
        return preview(context, &url, &args);
    }
    let mut db = context.open_unchecked(&url, Access::Create)?;
    let _lock = RunLock::acquire(&url, RunKind::Migrate, args.locks.lock_wait)?;
    let survey = migrations::survey(&mut db)?;
    let plan = plan(&mut db, &survey, &url, &args)?;
    let standings = survey.standings.iter();
    let mut applied = Applied {
        migrations: Vec::new(),
        pending: standings.filter(|standing| !standing.is_applied()).count(),
    };
    let application_schema = migrations::application_schema(&url);
    let lock_timeout = args.locks.lock_timeout;
    if !plan.is_empty() {
        let found = &survey.bookkeeping;
        migrations::prepare(&mut db, application_schema, found, lock_timeout)?;
    }
    let entry = Entry {
        application_schema,
        done_by: &current_user(),
        at: context.now.into(),
    };
    let mut result = Ok(());
    for migration in plan {
        context.detail(format_args!("applying {migration}"));
        let run = migrations::patiently(&mut db, lock_timeout, |db| {
            migrations::run(db, migration, Direction::Up, entry)
        });
        match run {
            Ok(took) => applied.push(migration.version, migration.name, took),
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    // When one of them failed, the earlier ones are in the database all the same.
    if result.is_ok() || !applied.migrations.is_empty() {
        context.answer(&applied)?;
    }
    result.map(|()| Outcome::DONE)
}

/// The migrations to apply, once it is sure that the database is one to apply them to.
fn plan(
    db: &mut Db,
    survey: &Survey,
    url: &DatabaseUrl,
    args: &MigrateArgs,
) -> Result<Vec<&'static Migration>> {
    let application_schema = migrations::application_schema(url);
    survey.bookkeeping.check_application(application_schema)?;
    let versions = migration::plan_up(
        &survey.standings,
        args.to.as_deref(),
        args.allow_out_of_order,
    )
    .map_err(refused)?;
    let plan = migrations::with_versions(&versions);
    if !plan.is_empty() {
        let found = schema_objects::read(db)?;
        let there = migrations::already_there(db, &plan, &found);
        if !there.is_empty() {
            return Err(refused(Refusal::AlreadyThere(there)));
        }
    }
    Ok(plan)
}

fn preview(context: &mut Context, url: &DatabaseUrl, args: &MigrateArgs) -> Result<Outcome> {
    let mut db = match &url.target {
        DatabaseTarget::Sqlite(path) if !path.exists() => db::open_nothing()?,
        _ => context.open_unchecked(url, Access::Read)?,
    };
    let survey = migrations::survey(&mut db)?;
    let plan = plan(&mut db, &survey, url, args)?;
    if args.sql {
        let application_schema = migrations::application_schema(url);
        let setup = migrations::setup(&mut db, application_schema, &survey.bookkeeping)?;
        let script = migrations::script(
            &db,
            &plan,
            Direction::Up,
            application_schema,
            args.locks.lock_timeout,
            &setup,
        );
        context.stdout().write_all(script.as_bytes())?;
        return Ok(Outcome::DONE);
    }
    let steps: Vec<_> = plan
        .iter()
        .map(|migration| migration.step(&db, Direction::Up))
        .collect();
    context.answer(&Plan {
        steps: &steps,
        undoes: false,
    })?;
    Ok(Outcome::DONE)
}

/// A refusal with its exit code and what to do about it.
pub(super) fn refused(refusal: Refusal) -> Error {
    let (exit, next) = match &refusal {
        Refusal::NoSuchMigration { .. } => (Exit::Usage, "usagectl status"),
        Refusal::NotApplied(_) => (Exit::Refused, "usagectl status"),
        Refusal::Untrustworthy(_) => (Exit::Untrustworthy, "usagectl status"),
        Refusal::OutOfOrder(_) => (
            Exit::Refused,
            "usagectl migrate --dry-run --allow-out-of-order, then without --dry-run",
        ),
        Refusal::AlreadyThere(_) => {
            return Error::message(
                Exit::Refused,
                format!(
                    "{refusal}. Nothing was changed: taking over a database that another tool made is \
                     not part of this version"
                ),
            )
            .with_next("use an empty database, or go on with the tool that made this one");
        }
    };
    Error::new(exit, refusal).with_next(next)
}
