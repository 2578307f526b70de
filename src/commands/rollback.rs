//! `rollback`: reverts migrations after printing the data loss.

use std::io::{self, IsTerminal};

use clap::Args;

use super::migrate::{LockArgs, PrismaArgs, plan_error, report_retry};
use crate::context::{Context, current_user};
use crate::domain::schema::migration;
use crate::domain::schema::migration::RollbackTarget;
use crate::domain::schema::plan::PlanStep;
use crate::error::{Error, Exit, Outcome, Result, shell_word};
use crate::output::Format;
use crate::output::migrations::{Plan, PlanAction, Script};
use crate::store::db::{Access, Db};
use crate::store::lock::RunKind;
use crate::store::migrations::prisma::PrismaSync;
use crate::store::migrations::{self, Direction, LogContext, Migration, SchemaError};
use crate::store::schema_objects;
use crate::store::url::DatabaseUrl;

/// Revert migrations
///
/// Reverts the last applied migration, or more with --steps, --to or --all, in one transaction. The plan
/// lists every dropped table with its rows, and every dropped column with the number of its values that are
/// neither null nor the default.
///
/// On a terminal it asks for confirmation; if data would be lost, by the name of the migration. Without a
/// terminal it requires --yes, and --accept-data-loss if data would be lost. Without consent, or if rows were
/// added after the plan was printed, nothing is changed (exit code 5).
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl --database-url sqlite:usage.db rollback --dry-run")]
pub struct RollbackArgs {
    /// Number of migrations to revert
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with_all = ["to", "all"])]
    steps: usize,

    /// Revert all migrations applied after this one
    #[arg(long, value_name = "MIGRATION", conflicts_with = "all")]
    to: Option<String>,

    /// Revert all migrations
    #[arg(long)]
    all: bool,

    /// Print the plan with its data loss and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Print the SQL for psql or sqlite3 and change nothing
    #[arg(long, conflicts_with = "dry_run")]
    sql: bool,

    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,

    /// Accept the data loss that the plan shows
    #[arg(long)]
    accept_data_loss: bool,

    /// Mark the reverted migrations as rolled back in Prisma's ledger
    #[arg(long)]
    prisma_history: bool,

    #[command(flatten)]
    prisma: PrismaArgs,

    #[command(flatten)]
    locks: LockArgs,
}

pub fn run(context: &mut Context, args: RollbackArgs) -> Result<Outcome> {
    let url = context.database_url(true)?;
    let preview = args.dry_run || args.sql;
    let access = if preview { Access::Read } else { Access::Write };
    let mut db = context.open_unchecked(&url, access)?;
    require_adopted(&mut db)?;
    // Planned without a lock, so that a prompt does not block other runs.
    let migrations = plan(&mut db, &url, &args)?;
    let prisma = args.prisma.read(&mut db, args.prisma_history)?;
    for name in prisma.left_applied(&migrations) {
        context.warn(left_applied(name, args.prisma_history));
    }
    if args.sql {
        let sql = migrations::script(
            &db,
            &migrations,
            Direction::Down,
            migrations::application_schema(&url),
            args.locks.lock_timeout,
            &[],
            &prisma,
        );
        context.answer(&Script { sql })?;
        return Ok(Outcome::DONE);
    }
    let steps = counted_steps(&mut db, &migrations)?;
    let mut shown = Plan::new(PlanAction::Rollback, &steps);
    let is_preview = args.dry_run || migrations.is_empty();
    // A document is printed once, at the end; a table before the prompt.
    let is_document = context.format != Format::Table;
    if is_preview || !is_document {
        context.answer(&shown)?;
        context.flush()?;
    }
    if is_preview {
        return Ok(Outcome::DONE);
    }
    let result = check_consent(context, &args, &steps)
        .and_then(|()| revert(context, &mut db, &url, &args, &migrations, &steps, &prisma));
    shown.done = result.is_ok();
    if is_document || shown.done {
        context.answer(&shown)?;
    }
    result.map(|()| Outcome::DONE)
}

/// Refuses a database whose tables are not in its ledger: nothing there could be reverted.
fn require_adopted(db: &mut Db) -> Result<()> {
    let survey = migrations::survey(db)?;
    let found = schema_objects::read(db)?;
    match migrations::adopt::is_needed(db, &survey, &found) {
        true => Err(Error::from(SchemaError::NotAdopted).with_exit(Exit::Refused)),
        false => Ok(()),
    }
}

/// Reverts all of `plan` or nothing, if plan and data loss are still as shown.
fn revert(
    context: &mut Context,
    db: &mut Db,
    url: &DatabaseUrl,
    args: &RollbackArgs,
    plan: &[&'static Migration],
    shown: &[PlanStep],
    prisma: &PrismaSync,
) -> Result<()> {
    let _lock = context.lock(db, url, RunKind::Migrate, args.locks.lock_wait)?;
    if self::plan(db, url, args)? != plan {
        return Err(changed_since("the list of applied migrations"));
    }
    let log = LogContext {
        application_schema: migrations::application_schema(url),
        done_by: &current_user(),
        at: context.now.into(),
        prisma,
    };
    let on_retry = &mut |pause| report_retry(context, pause);
    migrations::with_lock_retry(db, args.locks.lock_timeout, on_retry, |db| {
        let found = schema_objects::read(db)?;
        migrations::lock_tables(db, shown, &found)?;
        // Counted again, since no row can be added any more.
        let now = counted_steps(db, plan)?;
        for (now, shown) in now.iter().zip(shown) {
            if let Some(object) = now.exceeds(shown) {
                return Err(changed_since(object));
            }
        }
        for migration in plan {
            migrations::run(db, migration, Direction::Down, log)?;
        }
        Ok(())
    })
}

fn plan(db: &mut Db, url: &DatabaseUrl, args: &RollbackArgs) -> Result<Vec<&'static Migration>> {
    let survey = migrations::survey(db)?;
    let application_schema = migrations::application_schema(url);
    survey.bookkeeping.check_application(application_schema)?;
    let target = match (&args.to, args.all) {
        (Some(to), _) => RollbackTarget::To(to.clone()),
        (None, true) => RollbackTarget::All,
        (None, false) => RollbackTarget::Steps(args.steps),
    };
    let versions =
        migration::plan_down(&survey.statuses, &survey.log, &target).map_err(plan_error)?;
    Ok(migrations::with_versions(&versions))
}

fn counted_steps(db: &mut Db, plan: &[&'static Migration]) -> Result<Vec<PlanStep>> {
    let found = schema_objects::read(db)?;
    let mut steps = Vec::with_capacity(plan.len());
    for migration in plan {
        let mut step = migration.step(db, Direction::Down);
        migrations::count_losses(db, &mut step, &found)?;
        steps.push(step);
    }
    Ok(steps)
}

/// Requires consent by flag or at the terminal.
fn check_consent(context: &mut Context, args: &RollbackArgs, steps: &[PlanStep]) -> Result<()> {
    let loses = steps.iter().any(PlanStep::loses_data);
    let accepts_loss = !loses || args.accept_data_loss;
    if args.yes && accepts_loss {
        return Ok(());
    }
    if args.yes || !io::stdin().is_terminal() {
        let reason = if accepts_loss {
            "stdin is not a terminal"
        } else {
            "data would be lost"
        };
        let mut command = args.without_consent();
        command.push_str(if loses {
            " --yes --accept-data-loss"
        } else {
            " --yes"
        });
        let message = format!("{reason}; nothing was changed");
        return Err(Error::message(Exit::Refused, message).with_next(command));
    }
    let oldest = steps.last().map(|step| step.name.as_str());
    let confirmed = match oldest {
        Some(name) if !accepts_loss => {
            context.prompt(format_args!("This loses data. Type {name} to continue: "))? == name
        }
        _ => {
            let answer = context.prompt("Continue? [y/N] ")?;
            matches!(answer.to_lowercase().as_str(), "y" | "yes")
        }
    };
    if confirmed {
        Ok(())
    } else {
        let message = "not confirmed; nothing was changed";
        Err(Error::message(Exit::Refused, message).with_next("usagectl status"))
    }
}

impl RollbackArgs {
    /// The same command without its consent flags.
    fn without_consent(&self) -> String {
        let command = "usagectl rollback";
        match (&self.to, self.all, self.steps) {
            (Some(to), _, _) => format!("{command} --to {}", shell_word(to)),
            (None, true, _) => format!("{command} --all"),
            (None, false, 1) => command.to_owned(),
            (None, false, steps) => format!("{command} --steps {steps}"),
        }
    }
}

/// The warning about a migration that Prisma will take for applied after the rollback.
fn left_applied(name: &str, writes_history: bool) -> String {
    let reason = match writes_history {
        true => "it also creates other tables, or its folder was not found",
        false => "use --prisma-history to mark it as rolled back",
    };
    format!(
        "Prisma's ledger keeps {name} as applied, so `prisma migrate deploy` will not apply it again: {reason}"
    )
}

fn changed_since(object: &str) -> Error {
    Error::message(
        Exit::Refused,
        format!("{object} changed after the plan was printed; nothing was reverted"),
    )
    .with_next("usagectl rollback --dry-run")
}
