//! `rollback`: undo migrations, after showing what would be lost.

use std::io::{self, IsTerminal, Write};

use clap::Args;

use super::migrate::{LockArgs, refused};
use crate::context::{Context, current_user};
use crate::domain::schema::migration;
use crate::domain::schema::migration::Undo;
use crate::domain::schema::plan::Step;
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::migrations::Plan;
use crate::store::db::{Access, Db};
use crate::store::lock::{RunKind, RunLock};
use crate::store::migrations::{self, Direction, Entry, Migration};
use crate::store::schema_objects;
use crate::store::url::DatabaseUrl;

/// Undo migrations
///
/// Undoes the migration that was applied last, or more of them with --steps, --to or --all, in one
/// transaction. Always prints what goes first: tables with their rows, columns with their values that are
/// neither null nor the default.
///
/// On a terminal it asks; where something would be lost, for the name of the migration. Elsewhere
/// it needs --yes, and --accept-data-loss where something would be lost. Without consent nothing is
/// changed (exit code 5), and so it is when more rows have come since they were counted.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl --database-url sqlite:usage.db rollback --dry-run")]
pub struct RollbackArgs {
    /// How many migrations to undo
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with_all = ["to", "all"])]
    steps: usize,

    /// Undo what was applied after this migration, which stays
    #[arg(long, value_name = "MIGRATION", conflicts_with = "all")]
    to: Option<String>,

    /// Undo all migrations
    #[arg(long)]
    all: bool,

    /// Show what would be done and lost, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Print the SQL for psql or sqlite3, and do nothing
    #[arg(long, conflicts_with = "dry_run")]
    sql: bool,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,

    /// Agree to the loss of what is shown
    #[arg(long)]
    accept_data_loss: bool,

    #[command(flatten)]
    locks: LockArgs,
}

/// Undoes the migrations that were asked for.
pub fn run(context: &mut Context, args: RollbackArgs) -> Result<Outcome> {
    let url = context.database_url(true)?;
    let preview = args.dry_run || args.sql;
    let access = if preview { Access::Read } else { Access::Write };
    let mut db = context.open_unchecked(&url, access)?;
    // Nobody else is kept waiting while a person reads and decides: no lock yet.
    let plan = plan(&mut db, &url, &args)?;
    if args.sql {
        let script = migrations::script(
            &db,
            &plan,
            Direction::Down,
            migrations::application_schema(&url),
            args.locks.lock_timeout,
            &[],
        );
        context.stdout().write_all(script.as_bytes())?;
        return Ok(Outcome::DONE);
    }
    let shown = counted_steps(&mut db, &plan)?;
    context.answer(&Plan {
        steps: &shown,
        undoes: true,
    })?;
    if args.dry_run || plan.is_empty() {
        return Ok(Outcome::DONE);
    }
    context.flush()?;
    check_consent(context, &args, &shown)?;

    let _lock = RunLock::acquire(&url, RunKind::Migrate, args.locks.lock_wait)?;
    if self::plan(&mut db, &url, &args)? != plan {
        return Err(changed_meanwhile("the migrations in the database"));
    }
    undo(context, &mut db, &url, &args, &plan, &shown)?;
    let count = plan.len();
    let what = if count == 1 {
        "migration"
    } else {
        "migrations"
    };
    context.info(format_args!("{count} {what} undone"));
    Ok(Outcome::DONE)
}

/// Undoes all of `plan` or none of it. What is lost is counted again, now that nobody can add to it.
fn undo(
    context: &Context,
    db: &mut Db,
    url: &DatabaseUrl,
    args: &RollbackArgs,
    plan: &[&'static Migration],
    shown: &[Step],
) -> Result<()> {
    let entry = Entry {
        application_schema: migrations::application_schema(url),
        done_by: &current_user(),
        at: context.now.into(),
    };
    migrations::patiently(db, args.locks.lock_timeout, |db| {
        let found = schema_objects::read(db)?;
        migrations::lock_tables(db, shown, &found)?;
        let now = counted_steps(db, plan)?;
        for (now, shown) in now.iter().zip(shown) {
            if let Some(what) = now.exceeds(shown) {
                return Err(changed_meanwhile(what));
            }
        }
        for migration in plan {
            migrations::run(db, migration, Direction::Down, entry)?;
        }
        Ok(())
    })
}

fn plan(db: &mut Db, url: &DatabaseUrl, args: &RollbackArgs) -> Result<Vec<&'static Migration>> {
    let survey = migrations::survey(db)?;
    let application_schema = migrations::application_schema(url);
    survey.bookkeeping.check_application(application_schema)?;
    let undo = match (&args.to, args.all) {
        (Some(to), _) => Undo::To(to.clone()),
        (None, true) => Undo::All,
        (None, false) => Undo::Steps(args.steps),
    };
    let versions =
        migration::plan_down(&survey.standings, &survey.order, &undo).map_err(refused)?;
    Ok(migrations::with_versions(&versions))
}

fn counted_steps(db: &mut Db, plan: &[&'static Migration]) -> Result<Vec<Step>> {
    let found = schema_objects::read(db)?;
    let mut steps = Vec::with_capacity(plan.len());
    for migration in plan {
        let mut step = migration.step(db, Direction::Down);
        migrations::count_losses(db, &mut step, &found)?;
        steps.push(step);
    }
    Ok(steps)
}

/// Makes sure that somebody agreed: by flag, or now, on the terminal.
fn check_consent(context: &mut Context, args: &RollbackArgs, steps: &[Step]) -> Result<()> {
    let loses = steps.iter().any(Step::loses);
    let agreed_to_loss = !loses || args.accept_data_loss;
    if args.yes && agreed_to_loss {
        return Ok(());
    }
    if args.yes || !io::stdin().is_terminal() {
        let (why, flags) = match (loses, args.accept_data_loss) {
            (true, false) => ("data would be lost", "--yes --accept-data-loss"),
            (true, true) => ("nobody is here to ask", "--yes --accept-data-loss"),
            (false, _) => ("nobody is here to ask", "--yes"),
        };
        return Err(
            Error::message(Exit::Refused, format!("{why}; nothing was changed"))
                .with_next(format!("the same command with {flags}")),
        );
    }
    let oldest = steps.last().map(|step| step.name.as_str());
    let agreed = match oldest {
        Some(name) if !agreed_to_loss => {
            context.prompt(format_args!("This loses data. To go on, type {name}: "))? == name
        }
        _ => {
            let answer = context.prompt("Go on? [y/N] ")?;
            matches!(answer.to_lowercase().as_str(), "y" | "yes")
        }
    };
    if agreed {
        Ok(())
    } else {
        Err(
            Error::message(Exit::Refused, "not agreed to; nothing was changed")
                .with_next("usagectl status"),
        )
    }
}

fn changed_meanwhile(what: &str) -> Error {
    Error::message(
        Exit::Refused,
        format!("{what} changed since this was shown; nothing was undone"),
    )
    .with_next("usagectl rollback --dry-run")
}
