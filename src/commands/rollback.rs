//! `rollback`: reverts migrations after printing the data loss.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::path::{self, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::migrate::{ConfirmDatabase, LockArgs, PrismaArgs, interrupt, not_confirmed, plan_error};
use crate::args::parse_duration;
use crate::context::{Context, current_user};
use crate::domain::format;
use crate::domain::format::shell_word;
use crate::domain::schema::dependents;
use crate::domain::schema::migration;
use crate::domain::schema::migration::{MigrationState, RollbackTarget};
use crate::domain::schema::objects::SchemaObjects;
use crate::domain::schema::place::Place;
use crate::domain::schema::plan::PlanStep;
use crate::domain::schema::rights;
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::Format;
use crate::output::migrations::{Exported, Plan, PlanAction, Script};
use crate::store::db::{Access, Db};
use crate::store::lock::RunKind;
use crate::store::migrations::prisma::{self, PrismaSync};
use crate::store::migrations::{
    self, Direction, Event, Export, ExportOrigin, LogContext, Migration, MigrationExporter,
    Observer, RollbackLog, SchemaError, Survey, Task, archive,
};
use crate::store::rights::held;
use crate::store::schema_objects;
use crate::store::url::DatabaseUrl;

/// Revert migrations
///
/// Reverts the newest applied migration, or more with --steps, --to or --all. The plan lists every dropped table
/// with its rows, every dropped column with the number of its values that are neither null nor the default, and
/// your own objects that depend on them. An index or trigger of yours would be dropped too; a view or foreign key is
/// never dropped and prevents the rollback (exit code 5).
///
/// On a terminal it asks for confirmation; if data would be lost, by the name of the migration. Without a
/// terminal it requires --yes, and --export or --accept-data-loss if data would be lost. Both cover rows that are
/// written until the drop. Without consent nothing is changed (exit code 5).
///
/// --export writes the lost rows, values, indexes and grants to a folder first, including those that the application
/// writes meanwhile; `migrate --restore` reads it back. The same command continues an interrupted export.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: usagectl --database-url sqlite:usage.db rollback --dry-run")]
pub struct RollbackArgs {
    /// Number of migrations to revert
    #[arg(long, value_name = "N", default_value = "1", conflicts_with_all = ["to", "all"])]
    steps: NonZeroUsize,

    /// Revert all migrations newer than this one
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

    /// Export the data that would be lost to this new folder first
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,

    /// Maximum time to count rows; uncounted rows are a data loss
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    count_timeout: Duration,

    #[command(flatten)]
    confirm: ConfirmDatabase,

    #[command(flatten)]
    locks: LockArgs,
}

pub fn run(context: &mut Context, args: RollbackArgs) -> Result<Outcome> {
    let url = context.database_url(true)?;
    let preview = args.dry_run || args.sql;
    let place = args.confirm.check(context, &url, preview)?;
    if !preview {
        interrupt::end_before_changes(context, args.without_consent(context))?;
    }
    let access = if preview { Access::Read } else { Access::Write };
    let mut db = context.open_unchecked(&url, access)?;
    require_adopted(&mut db, &url)?;
    // Planned without a lock, so that a prompt does not block other runs.
    let migrations = plan(&mut db, &url, &args)?;
    let prisma = args.prisma.read(&mut db, args.prisma_history)?;
    if args.prisma_history && !prisma::exists(&mut db)? {
        return Err(without_prisma(context, &args));
    }
    if args.prisma_history {
        let versions = migrations.iter().map(|it| it.version);
        args.prisma.warn_of_unknown(context, &prisma, versions)?;
    }
    for (name, can_be_marked) in prisma.left_applied(&migrations) {
        context.warn(left_applied(name, can_be_marked));
    }
    if migrations.iter().any(|it| it.is_application()) && prisma::has_contract(&mut db)? {
        context.warn(
            "Prisma's ledger since version 8, the schema prisma_contract, is not changed: Prisma takes the reverted \
             migrations for applied",
        );
    }
    let deadline = Instant::now() + args.count_timeout;
    let steps = counted_steps(&mut db, &migrations, deadline)?;
    if args.sql {
        let survey = migrations::survey(&mut db)?;
        let (down, entry) = (Direction::Down, LogContext::of_script(&url, &prisma));
        let timeout = args.locks.lock_timeout;
        let drops = steps
            .iter()
            .map(|step| migrations::further_drops(&db, step));
        let plan: Vec<_> = migrations.iter().copied().zip(drops).collect();
        let sql = migrations::script(&mut db, &survey, &plan, down, entry, timeout, &[])?;
        let sql = Plan::new(PlanAction::Rollback, &place, &steps).as_comment() + &sql;
        return context.finish(&Script { sql });
    }
    let owned = check_owner(&mut db, &url, &steps);
    let mut shown = Plan::new(PlanAction::Rollback, &place, &steps);
    if let (true, false, Some(folder)) = (migrations.is_empty(), args.dry_run, &args.export) {
        let _lock = context.lock(&mut db, &url, RunKind::Migrate, args.locks.lock_wait)?;
        let export = Export::complete_interrupted(folder, &url.target.to_string())?;
        shown.export = export.as_ref().map(exported);
    }
    if migrations.is_empty()
        && !args.dry_run
        && let Some(command) = &migrations::survey(&mut db)?
            .bookkeeping
            .interrupted_rollback
    {
        // Killed after its last migration.
        let _lock = context.lock(&mut db, &url, RunKind::Migrate, args.locks.lock_wait)?;
        let user = current_user();
        let log = LogContext::new(&url, &user, context.now, &prisma);
        RollbackLog { command, log }.end(&mut db, &mut args.locks.retry(context))?;
    }
    let is_preview = args.dry_run || migrations.is_empty();
    // A document is printed once, at the end; a table before the prompt.
    let is_document = context.format != Format::Table;
    if is_preview || !is_document {
        let printed = context.answer(&shown).and_then(|()| context.flush());
        printed.map_err(|error| match error.is_closed_pipe() && !is_preview {
            // It would be a success, and the plan is not carried out.
            true => Error::message(Exit::Refused, "stdout is closed; nothing was changed")
                .with_next("run the same command again, and read all of its output"),
            false => error,
        })?;
    }
    if is_preview {
        if let Err(error) = check_blockers(&steps).and(owned) {
            let next = error.next().unwrap_or_default();
            context.warn(format_args!("{error}; {next}"));
        }
        return Ok(Outcome::DONE);
    }
    let result = check_blockers(&steps)
        .and(owned)
        .and_then(|()| match &args.export {
            // The next step after the refusal names the same folder.
            Some(folder) => Ok(archive::check(folder, &url.target.to_string())?),
            None => Ok(()),
        })
        .and_then(|()| check_consent(context, &args, &place, &steps))
        .and_then(|()| revert(context, &mut db, &url, &args, &migrations, &steps, &prisma));
    shown.done = result.is_ok();
    if let Ok(exported) = &result {
        shown.export = exported.as_ref().map(self::exported);
    }
    if is_document || shown.done {
        context.answer(&shown)?;
    }
    result.map(|_| Outcome::DONE)
}

fn exported(export: &Export) -> Exported {
    Exported {
        folder: export.folder().display().to_string(),
        rows: export.rows(),
    }
}

/// Refuses a database whose tables are not in its ledger, or are missing: nothing there could be reverted.
fn require_adopted(db: &mut Db, url: &DatabaseUrl) -> Result<()> {
    let survey = migrations::survey(db)?;
    survey.bookkeeping.check_application(url)?;
    let found = schema_objects::read(db)?;
    if migrations::adopt::is_needed(db, &survey, &found) {
        return Err(Error::from(SchemaError::NotAdopted).with_exit(Exit::Refused));
    }
    let expected = migrations::expected(db, &survey.statuses);
    migrations::require_tables(db, &expected, &found, false)
}

/// Refuses before the first step what the server would refuse at a later one.
fn check_owner(db: &mut Db, url: &DatabaseUrl, steps: &[PlanStep]) -> Result<()> {
    if matches!(db, Db::Sqlite(_)) {
        return Ok(());
    }
    let found = schema_objects::read(db)?;
    let tables = steps.iter();
    let tables = tables.flat_map(|step| migrations::locked_tables(step, &found));
    let tables: BTreeSet<String> = tables.collect();
    let held = held(db, migrations::application_schema(url), &[])?;
    let with_types = steps.iter().any(migrations::drops_types);
    let statements = rights::missing_ownership(&held, &tables, with_types);
    if statements.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the role `{}` lacks rights on objects that the plan drops or alters; nothing was changed",
        held.role
    );
    Err(Error::message(Exit::Refused, message)
        .with_next(format!("as a superuser, {}", statements.join("; "))))
}

/// Reverts `plan`, if it is still as shown. Returns the export.
fn revert(
    context: &mut Context,
    db: &mut Db,
    url: &DatabaseUrl,
    args: &RollbackArgs,
    plan: &[&'static Migration],
    shown: &[PlanStep],
    prisma: &PrismaSync,
) -> Result<Option<Export>> {
    let _lock = context.lock(db, url, RunKind::Migrate, args.locks.lock_wait)?;
    if self::plan(db, url, args)? != plan {
        return Err(changed_since("the list of applied migrations"));
    }
    // Rows may have been added; an index or a view is another loss than the one that was shown.
    let mut steps = shown.to_vec();
    find_dependents(db, &mut steps)?;
    check_blockers(&steps)?;
    for (step, shown) in steps.iter().zip(shown) {
        if let Some(object) = step.new_loss(shown) {
            return Err(changed_since(&object));
        }
    }
    let user = current_user();
    let log = LogContext::new(url, &user, context.now, prisma);
    interrupt::end_on_signals(context, url, db, args.after_interrupt(context))?;
    migrations::remove_capture(db, &mut args.locks.retry(context))?;
    let survey = migrations::survey(db)?;
    let found = schema_objects::read(db)?;
    let mut export = None;
    if let Some(folder) = &args.export {
        // Before a step of a migration runs.
        for step in &steps {
            migrations::exported_tables(db, step, &found)?;
        }
        let origin = ExportOrigin {
            database: url.target.to_string(),
            application_schema: log.application_schema.to_owned(),
            at: format::time_ms(context.now),
        };
        let opened = export.insert(Export::open(folder, db, origin)?);
        opened.check_replaced(plan, &survey.bookkeeping)?;
    }
    let command = args.continuing(context, &survey, plan)?;
    let rollback = RollbackLog {
        command: &command,
        log,
    };
    rollback.start(db, &mut args.locks.retry(context))?;
    // Consent covers the rows that are written meanwhile. Without it no row may be lost.
    let consented =
        args.accept_data_loss || args.export.is_some() || steps.iter().any(PlanStep::loses_data);
    let mut all = steps.iter();
    let unchanged = all.try_for_each(|step| check_unchanged(db, step, &found, consented));
    let mut reverted = 0;
    let mut run = |(migration, step): (&&'static Migration, &PlanStep)| {
        let task = Task {
            migration,
            direction: Direction::Down,
            done: survey.steps_done(migration),
            log,
            locks: args.locks.locks(),
        };
        let mut observer = Reverting {
            context,
            export: &mut export,
            exporter: None,
            step,
            found: &found,
            consented,
            locks: &args.locks,
        };
        migrations::run(db, task, &mut observer)?;
        reverted += 1;
        Ok::<(), Error>(())
    };
    let result = unchanged.and_then(|()| plan.iter().zip(&steps).try_for_each(&mut run));
    if let Err(error) = &result {
        // The first error is reported; the next run removes the rest.
        let _ = migrations::remove_capture(db, &mut args.locks.retry(context));
        if let Some(export) = export.take_if(|_| reverted == 0) {
            export.discard();
        }
        let survey = migrations::survey(db);
        let is_whole = survey.is_ok_and(|it| it.statuses.iter().all(|it| it.progress.is_none()));
        // After another error the same command continues; after a refusal the user decides.
        if is_whole && (reverted == 0 || error.exit() == Exit::Refused) {
            if let Some(export) = &mut export {
                let _ = export.complete();
            }
            let outcome = format!(
                "{command}: {} reverted, then: {error}",
                format::counted(reverted, "migration")
            );
            let rollback = RollbackLog {
                command: &outcome,
                log,
            };
            let _ = rollback.end(db, &mut args.locks.retry(context));
        }
    }
    result.map_err(|error| after_reverted(error, reverted, &command))?;
    if let Some(export) = &mut export {
        export.complete()?;
    }
    rollback.end(db, &mut args.locks.retry(context))?;
    Ok(export)
}

/// Adds the number of migrations that were reverted before the error.
fn after_reverted(error: Error, reverted: u64, command: &str) -> Error {
    if reverted == 0 {
        return error;
    }
    let count = format::counted(reverted, "migration");
    let next = error.next().unwrap_or_default().to_owned();
    let exit = error.exit();
    let error = error.context(format!("{count} reverted, the next one failed"));
    match exit {
        // It has ended: the same command would revert others.
        Exit::Refused => error.with_next(next.replace("run the same command again", command)),
        _ => error,
    }
}

/// Exports and checks what the last step of a migration drops.
struct Reverting<'a> {
    context: &'a mut Context,
    export: &'a mut Option<Export>,
    /// The export of this migration, once it has begun.
    exporter: Option<MigrationExporter>,
    step: &'a PlanStep,
    found: &'a SchemaObjects,
    consented: bool,
    locks: &'a LockArgs,
}

impl Observer for Reverting<'_> {
    fn event(&mut self, event: Event<'_>) {
        self.context.event(event);
    }

    fn before_last_step(&mut self, db: &mut Db) -> Result<()> {
        let Some(export) = self.export else {
            return Ok(());
        };
        let mut retry = self.locks.retry(self.context);
        self.exporter = Some(export.begin(db, self.step, self.found, &mut retry)?);
        Ok(())
    }

    fn in_last_step(&mut self, db: &mut Db) -> Result<()> {
        migrations::lock_tables(db, self.step, self.found)?;
        check_unchanged(db, self.step, self.found, self.consented)?;
        if let (Some(export), Some(exporter)) = (&mut *self.export, &self.exporter) {
            export.finish(db, exporter)?;
        }
        for sql in migrations::further_drops(db, self.step) {
            db.batch_execute(&sql)?;
        }
        Ok(())
    }

    fn before_retry(&mut self, db: &mut Db) {
        if let (Some(export), Some(exporter)) = (&*self.export, &mut self.exporter) {
            // Rows were written meanwhile. What this does not write, the next attempt does, under its locks.
            let _ = exporter.catch_up(db, export.folder(), Some(self.locks.lock_timeout));
        }
    }
}

/// Refuses a loss where none was shown. Consent to a loss covers rows of the same kind.
fn check_unchanged(
    db: &mut Db,
    step: &PlanStep,
    found: &SchemaObjects,
    consented: bool,
) -> Result<()> {
    if consented {
        return Ok(());
    }
    match migrations::first_loss(db, step, found)? {
        Some(object) => Err(changed_since(&object)),
        None => Ok(()),
    }
}

fn plan(db: &mut Db, url: &DatabaseUrl, args: &RollbackArgs) -> Result<Vec<&'static Migration>> {
    let survey = migrations::survey(db)?;
    survey.bookkeeping.check_application(url)?;
    let target = match (&args.to, args.all) {
        (Some(to), _) => RollbackTarget::To(to.clone()),
        (None, true) => RollbackTarget::All,
        (None, false) => {
            // An interrupted run has done some of them; one that is partly reverted is always completed.
            let done = survey.bookkeeping.reverted_before_interrupt;
            let is_partial = survey.statuses.iter().any(|it| it.progress.is_some());
            let left = args.steps.get().saturating_sub(done);
            let left = left.max(usize::from(is_partial));
            if left == 0 {
                return Ok(Vec::new());
            }
            RollbackTarget::Steps(left)
        }
    };
    let versions = migration::plan_down(&survey.statuses, &target).map_err(plan_error)?;
    Ok(migrations::with_versions(&versions))
}

fn counted_steps(
    db: &mut Db,
    plan: &[&'static Migration],
    deadline: Instant,
) -> Result<Vec<PlanStep>> {
    // One snapshot, since tables are counted in pieces.
    db.read_tx(|db| {
        let found = schema_objects::read(db)?;
        let mut steps = Vec::with_capacity(plan.len());
        for migration in plan {
            let mut step = migration.step(db, Direction::Down);
            migrations::count_losses(db, &mut step, &found, deadline)?;
            steps.push(step);
        }
        find_dependents(db, &mut steps)?;
        let survey = migrations::survey(db)?;
        migrations::estimate(db, &survey, plan, Direction::Down, &mut steps)?;
        Ok(steps)
    })
}

fn find_dependents(db: &mut Db, steps: &mut [PlanStep]) -> Result<()> {
    let found = schema_objects::read(db)?;
    let mut statuses = migrations::survey(db)?.statuses;
    // What a partly reverted migration created is not the user's.
    let partial = statuses.iter_mut().filter(|it| it.progress.is_some());
    partial.for_each(|it| it.state = MigrationState::Applied);
    let expected = migrations::expected(db, &statuses);
    let own = migrations::own_indexes(db);
    for step in steps {
        let dropped = step.dropped(&found);
        // Comments and settings name them.
        step.dependents = migrations::renamed_indexes(db, &own, step, &dropped, &expected)?;
        let others = migrations::dependents(db, &dropped, &expected)?;
        step.dependents.extend(others);
        step.mentions = migrations::mentions(db, &dropped)?;
    }
    Ok(())
}

/// A view or foreign key of the user is never dropped.
fn check_blockers(steps: &[PlanStep]) -> Result<()> {
    let Some((uses, removal)) = dependents::blockers(steps.iter().flat_map(|it| &it.dependents))
    else {
        return Ok(());
    };
    let message = format!("{uses}; nothing was changed");
    let next = format!("{removal} then run the same command again");
    Err(Error::message(Exit::Refused, message).with_next(next))
}

/// Requires consent by flag or at the terminal.
fn check_consent(
    context: &mut Context,
    args: &RollbackArgs,
    place: &Place,
    steps: &[PlanStep],
) -> Result<()> {
    let loses = steps.iter().any(PlanStep::loses_data);
    let accepts_loss = !loses || args.accept_data_loss || args.export.is_some();
    if args.yes && accepts_loss {
        return Ok(());
    }
    if args.yes || !io::stdin().is_terminal() {
        let reason = match accepts_loss {
            true => "stdin is not a terminal",
            false => "data would be lost",
        };
        let mut command = args.without_consent(context);
        command.push_str(match (loses, &args.export) {
            (true, None) if args.accept_data_loss => " --yes --accept-data-loss",
            (true, None) => " --yes --export DIR",
            _ => " --yes",
        });
        let message = format!("{reason}; nothing was changed");
        return Err(Error::message(Exit::Refused, message).with_next(command));
    }
    let oldest = steps.last().map(|step| step.name.as_str());
    let confirmed = match oldest {
        Some(name) if !accepts_loss => {
            let question = format!("This loses data of {place}. Type {name} to continue: ");
            context.prompt(question)? == name
        }
        _ => {
            let answer = context.prompt(format_args!("Change {place}? [y/N] "))?;
            matches!(answer.to_lowercase().as_str(), "y" | "yes")
        }
    };
    match confirmed {
        true => Ok(()),
        false => Err(not_confirmed()),
    }
}

impl RollbackArgs {
    /// The same command: the migrations that are reverted already count.
    fn after_interrupt(&self, context: &Context) -> interrupt::NextStep {
        self.without_consent(context).into()
    }

    /// The command that continues a rollback of `plan` from another directory: with the migration that it stops at
    /// instead of a number, and the whole path of its export.
    fn continuing(
        &self,
        context: &Context,
        survey: &Survey,
        plan: &[&'static Migration],
    ) -> Result<String> {
        let target = RollbackTarget::All;
        let all = migration::plan_down(&survey.statuses, &target).map_err(plan_error)?;
        let all = migrations::with_versions(&all);
        let kept = all.get(plan.len()).map(|it| it.name.to_owned());
        let export = self.export.as_ref().map(path::absolute).transpose()?;
        let same = RollbackArgs {
            all: kept.is_none(),
            to: kept,
            export,
            ..self.clone()
        };
        Ok(same.without_consent(context))
    }

    /// The same command without its consent flags.
    fn without_consent(&self, context: &Context) -> String {
        let mut command = "usagectl rollback".to_owned();
        command += &match (&self.to, self.all, self.steps.get()) {
            (Some(to), _, _) => format!(" --to {}", shell_word(to)),
            (None, true, _) => " --all".to_owned(),
            (None, false, 1) => String::new(),
            (None, false, steps) => format!(" --steps {steps}"),
        };
        if let Some(folder) = &self.export {
            let folder = shell_word(&folder.display().to_string());
            command += &format!(" --export {folder}");
        }
        if self.prisma_history {
            command += " --prisma-history";
        }
        command + &context.repeated::<PrismaArgs>() + &context.repeated::<ConfirmDatabase>()
    }
}

fn without_prisma(context: &Context, args: &RollbackArgs) -> Error {
    let message = "the database has no table _prisma_migrations, which is Prisma's ledger up to version 7; nothing was changed";
    let args = RollbackArgs {
        prisma_history: false,
        ..args.clone()
    };
    Error::message(Exit::Refused, message).with_next(args.without_consent(context))
}

/// The warning about a migration that Prisma will take for applied after the rollback.
fn left_applied(name: &str, can_be_marked: bool) -> String {
    let reason = match can_be_marked {
        true => "use --prisma-history to mark it as rolled back",
        false => "it creates other tables than those that are dropped, or its folder was not found",
    };
    format!(
        "Prisma's ledger keeps {name} as applied, so `prisma migrate deploy` will not apply it again: {reason}"
    )
}

fn changed_since(object: &str) -> Error {
    let message = format!("{object} changed after the plan was printed");
    Error::message(Exit::Refused, message).with_next("usagectl rollback --dry-run")
}
