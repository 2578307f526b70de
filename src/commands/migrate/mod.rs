//! `migrate`: applies pending migrations.

mod adopt;
pub(super) mod interrupt;
mod restore;

use std::env;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use crate::args::parse_duration;
use crate::context::{Context, current_user};
use crate::domain::format;
use crate::domain::format::shell_word;
use crate::domain::schema::migration;
use crate::domain::schema::migration::PlanError;
use crate::domain::schema::orphaned_triggers::OrphanedTrigger;
use crate::domain::schema::place::Place;
use crate::domain::schema::status::Defect;
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::migrations::{
    Applied, AppliedMigration, Plan, PlanAction, Script, external_tables,
};
use crate::store::db;
use crate::store::db::{Access, Db};
use crate::store::lock::RunKind;
use crate::store::migrations::prisma::{self, PrismaSync};
use crate::store::migrations::{
    self, Direction, Event, Locks, LogContext, Migration, Observer, RestoreLog, Retry, RollbackLog,
    SchemaError, Survey, TakenName, Task, adopt as adoption,
};
use crate::store::place;
use crate::store::schema_objects;
use crate::store::url::{DatabaseTarget, DatabaseUrl};

/// Apply pending migrations
///
/// Each migration is applied in steps that do not block the application; an interrupted run is continued at its
/// first unfinished step. Concurrent runs are safe: one applies the migrations, the others wait and find nothing
/// to do. A missing SQLite file, or the PostgreSQL schema that the URL names, is created.
///
/// --restore reads an export of `rollback --export`: it verifies the files, applies their migrations, and writes every
/// row and value. Newer values in the database are kept and counted, and rows that were deleted since stay deleted (exit
/// code 3). It may be repeated. If the export of an interrupted one is lost, --accept-data-loss keeps the rows that were
/// restored.
///
/// Fails with exit code 4 if an applied migration was edited or is unknown to this program, and with 5 if an
/// object that it would create already exists. Missing or changed triggers on the application's tables are restored,
/// and all existing rows are marked for the next `aggregate` and `collect`. Invalid indexes are rebuilt.
///
/// With --adopt it takes over a database whose tables exist but are not in its ledger: created by Prisma, by
/// hand, or by usagectl whose ledger was lost. It shows the evidence for each migration, asks (or requires
/// --yes), records the migrations whose objects exist, and applies the others. Tables of usagectl that were deleted,
/// as by `prisma db push`, are created again. The application's tables are not changed, except that triggers are
/// added. If only some objects of a migration exist, nothing is changed (exit code 5), and the SQL that creates the
/// others is printed.
///
/// If Prisma's ledger _prisma_migrations exists, applied and adopted migrations are recorded there too, so that
/// `prisma migrate deploy` finds no pending migration.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: usagectl --database-url sqlite:usage.db migrate")]
pub struct MigrateArgs {
    /// Stop after this migration (version or name)
    #[arg(long, value_name = "MIGRATION")]
    to: Option<String>,

    /// Print the plan, with locks and estimated durations, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Print the SQL for psql or sqlite3 and change nothing
    #[arg(long, conflicts_with = "dry_run")]
    sql: bool,

    /// Also apply pending migrations that are older than an applied one
    #[arg(long)]
    allow_out_of_order: bool,

    /// Record the migrations whose objects exist, and apply the others
    #[arg(long)]
    adopt: bool,

    /// Do not ask for confirmation; only --adopt asks
    #[arg(long, short)]
    yes: bool,

    #[command(flatten)]
    prisma: PrismaArgs,

    /// Restore the data of `rollback --export DIR`, after applying its migrations
    #[arg(long, value_name = "DIR", conflicts_with_all = ["to", "dry_run", "sql", "adopt"])]
    restore: Option<PathBuf>,

    /// Keep the rows of an interrupted --restore as they are, without the rest of its export
    #[arg(long, conflicts_with_all = ["restore", "dry_run", "sql", "adopt"])]
    accept_data_loss: bool,

    #[command(flatten)]
    confirm: ConfirmDatabase,

    #[command(flatten)]
    locks: LockArgs,
}

impl MigrateArgs {
    /// The options that `migrate --adopt` needs again.
    fn repeated(&self, context: &Context) -> String {
        let mut text = " --adopt".to_owned();
        if let Some(to) = &self.to {
            text.push_str(&format!(" --to {}", shell_word(to)));
        }
        text + &context.repeated::<PrismaArgs>() + &context.repeated::<ConfirmDatabase>()
    }
}

#[derive(Args, Clone, Debug)]
pub(super) struct PrismaArgs {
    /// Prisma's migrations folder [default: prisma/migrations here or in a directory above]
    ///
    /// Also found where prisma.config.ts names it, or beside the schema that package.json names. Migrations that
    /// are neither there nor in Prisma's ledger are not recorded in it.
    #[arg(long, value_name = "DIR")]
    prisma_migrations: Option<PathBuf>,
}

impl PrismaArgs {
    /// Reads Prisma's ledger and folder; `writes_history` marks reverted migrations as rolled back.
    pub(super) fn read(&self, db: &mut Db, writes_history: bool) -> Result<PrismaSync> {
        if !prisma::exists(db)? {
            return Ok(PrismaSync::default());
        }
        let directory = self.directory()?;
        let folders = directory.map(|it| prisma::read_folders(&it)).transpose()?;
        Ok(PrismaSync::read(db, folders.as_deref(), writes_history)?)
    }

    /// Prisma's migrations folder, if it is given or found.
    fn directory(&self) -> Result<Option<PathBuf>> {
        Ok(match &self.prisma_migrations {
            Some(directory) => Some(directory.clone()),
            None => prisma::find_directory(&env::current_dir()?),
        })
    }

    /// Prints the recorded migrations that the folder lacks. Prisma refuses nothing because of them.
    pub(super) fn note_without_folder(
        &self,
        context: &mut Context,
        prisma: &PrismaSync,
    ) -> Result<()> {
        let (names, directory) = (prisma.without_folder(), self.directory()?);
        if let (Some(directory), [_, ..]) = (directory, names) {
            context.info(format_args!(
                "Prisma's ledger has migrations that are not in {}: {}; use the checkout that has them",
                directory.display(),
                names.join(", "),
            ));
        }
        Ok(())
    }

    /// Warns of those of `migrations` that are not recorded in Prisma's ledger because they are not in its folder.
    pub(super) fn warn_of_unknown<'a>(
        &self,
        context: &mut Context,
        prisma: &PrismaSync,
        migrations: impl IntoIterator<Item = &'a str>,
    ) -> Result<()> {
        let versions: Vec<&str> = migrations.into_iter().collect();
        let unknown = prisma.unknown().iter();
        let unknown = unknown.filter(|it| versions.contains(&it.version));
        let unknown: Vec<String> = unknown.map(|it| it.to_string()).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let names = unknown.join(", ");
        let place = match self.directory()? {
            Some(directory) => format!(
                "Prisma's migrations folder {} has no migration of these names or tables",
                directory.display()
            ),
            None => {
                let here = env::current_dir()?;
                let here = here.display();
                format!(
                    "Prisma's migrations folder was not found (prisma/migrations in {here} or above it)"
                )
            }
        };
        context.warn(format_args!(
            "{place}, so Prisma's names of {names} are unknown and not in its ledger: add --prisma-migrations DIR, or \
             later run usagectl status --verify --prisma-migrations DIR, which prints the SQL that records them"
        ));
        Ok(())
    }
}

#[derive(Args, Clone, Debug)]
pub(super) struct ConfirmDatabase {
    /// Name of the database or file to change, required if DATABASE_URL and DIRECT_URL name different ones
    ///
    /// If only their schemas differ: DATABASE.SCHEMA.
    #[arg(long, value_name = "NAME")]
    confirm_database: Option<String>,
}

impl ConfirmDatabase {
    /// Returns the place of the database. Requires its name if DATABASE_URL, which all other commands use, is
    /// another database: by the flag, or at the terminal.
    pub(super) fn check(
        &self,
        context: &mut Context,
        url: &DatabaseUrl,
        preview: bool,
    ) -> Result<Place> {
        let place = place::of(&url.target);
        let other = place::other_than(url).map_err(|error| {
            let next = error.next_step();
            Error::new(Exit::Usage, error).with_next(next)
        })?;
        let other = other.as_ref();
        let confirmation = place.confirmation(other);
        let refused = |message: String| {
            let next = format!(
                "correct DIRECT_URL or DATABASE_URL, or add --confirm-database {}",
                shell_word(&confirmation)
            );
            Error::message(Exit::Refused, message).with_next(next)
        };
        let given = self.confirm_database.as_deref();
        if let Some(given) =
            given.filter(|given| !place.is_named(given) && !place.is_confirmed(given, other))
        {
            return Err(refused(format!(
                "this would change {place}, not `{given}`; nothing was changed"
            )));
        }
        let Some(other) = other else {
            return Ok(place);
        };
        let differ = format!("DIRECT_URL is {place}, but DATABASE_URL is {other}");
        let is_confirmed = given.is_some_and(|given| place.is_confirmed(given, Some(other)));
        if preview || is_confirmed {
            context.warn(differ);
            return Ok(place);
        }
        if given.is_some() {
            return Err(refused(format!("{differ}; nothing was changed")));
        }
        if !io::stdin().is_terminal() {
            return Err(refused(format!("{differ}; nothing was changed")));
        }
        context.warn(differ);
        let what = match confirmation == place.name {
            true => "the name of the database to change".to_owned(),
            false => format!("{confirmation} to change this schema"),
        };
        let answer = context.prompt(format_args!("Type {what}: "))?;
        match place.is_confirmed(&answer, Some(other)) {
            true => Ok(place),
            false => Err(refused("not confirmed; nothing was changed".to_owned())),
        }
    }
}

#[derive(Args, Clone, Debug)]
pub(super) struct LockArgs {
    /// Maximum time to wait for another migrate or rollback, for tables in use, and for older transactions
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub(super) lock_wait: Duration,

    /// Maximum time of one attempt to lock a table in use; then a pause and another attempt, up to --lock-wait
    ///
    /// During an attempt other sessions that use the table wait behind it.
    #[arg(long, value_name = "DURATION", default_value = "200ms", value_parser = parse_duration)]
    pub(super) lock_timeout: Duration,
}

impl LockArgs {
    pub(super) fn locks(&self) -> Locks {
        Locks {
            timeout: self.lock_timeout,
            total: self.lock_wait,
        }
    }

    /// For transactions outside the steps of a migration.
    pub(super) fn retry<'a>(&self, observer: &'a mut dyn Observer) -> Retry<'a> {
        Retry::new(self.locks(), observer)
    }
}

pub fn run(context: &mut Context, args: MigrateArgs) -> Result<Outcome> {
    let url = context.database_url(true)?;
    let is_preview = args.dry_run || args.sql;
    let place = args.confirm.check(context, &url, is_preview)?;
    if !is_preview {
        interrupt::end_before_changes(context, args.next())?;
    }
    if args.adopt
        && let Some(outcome) = adopt::run(context, &url, &args)?
    {
        return Ok(outcome);
    }
    if is_preview {
        return preview(context, &url, &place, &args);
    }
    if let Some(folder) = &args.restore {
        return restore::run(context, &url, &args, folder);
    }
    let mut db = context.open_unchecked(&url, Access::Create)?;
    let _lock = context.lock(&mut db, &url, RunKind::Migrate, args.locks.lock_wait)?;
    let mut applied = Applied::default();
    let result = Run::new(context, &mut db, &url, &args).apply_pending(&mut applied);
    // When one fails, the earlier ones stay applied.
    if result.is_ok() || applied.has_changes() {
        context.answer(&applied)?;
    }
    result?;
    if !applied.migrations.is_empty() {
        warn_of_owned(context, &mut db)?;
    }
    let bookkeeping = migrations::survey(&mut db)?.bookkeeping;
    let is_prismas = url.is_prismas_file || prisma::exists(&mut db)?;
    if is_prismas && !applied.migrations.is_empty() {
        list_external_tables(context, &db)?;
    }
    let Some(folder) = bookkeeping.interrupted_restore() else {
        return Ok(Outcome::DONE);
    };
    let deadline = Instant::now() + COUNT_TIMEOUT;
    let restoring = bookkeeping.restoring();
    let held = migrations::held_data(&mut db, &restoring, deadline)?;
    let message = migration::restore_message(folder);
    if !args.accept_data_loss {
        context.warn(format_args!("{message}; so far: {held}"));
        let next = migrations::restore_next(folder);
        return Ok(Outcome::with_next(Exit::Untrustworthy, next));
    }
    let entry = RestoreLog {
        migrations: restoring,
        folder: folder.to_owned(),
    };
    let (user, prisma) = (current_user(), PrismaSync::default());
    let log = LogContext::new(&url, &user, context.now, &prisma);
    entry.complete(&mut db, log, &mut args.locks.retry(context))?;
    context.info(format_args!(
        "{message}; the rows are kept as they are: {held}; the other rows and the objects of the export are lost"
    ));
    Ok(Outcome::DONE)
}

/// How long the rows of an interrupted restore are counted.
pub(in crate::commands) const COUNT_TIMEOUT: Duration = Duration::from_secs(5);

/// Warns if `plan` would create tables that do not belong to the application's role.
fn warn_of_owner(context: &mut Context, db: &mut Db, plan: &[&Migration]) -> Result<()> {
    let owner = match plan.iter().any(|it| it.is_application()) {
        true => migrations::other_owner(db)?,
        false => None,
    };
    if let Some(owner) = owner.filter(|owner| !owner.can_be_given) {
        context.warn(format_args!(
            "the new tables of the application will belong to `{}`, not to `{1}`, the owner of api_usage; run it as `{1}`, \
             or after it the statements that it prints",
            owner.connected, owner.name
        ));
    }
    Ok(())
}

/// Warns of tables that the application's role cannot use, with the statements that end it.
fn warn_of_owned(context: &mut Context, db: &mut Db) -> Result<()> {
    for defect in migrations::owner_defects(db)? {
        let fix = defect.fix.unwrap_or_default();
        let (object, problem) = (defect.object, defect.problem);
        context.warn(format_args!("{object} {problem}; as a superuser: {fix}"));
    }
    Ok(())
}

/// On SQLite, prints the part of prisma.config.ts that protects our tables.
fn list_external_tables(context: &mut Context, db: &Db) -> Result<()> {
    if matches!(db, Db::Sqlite(_)) {
        // After the answer, also where both are one stream.
        context.flush()?;
        context.info(external_tables(&migrations::own_tables()));
    }
    Ok(())
}

impl MigrateArgs {
    /// The command that continues an interrupted one.
    fn next(&self) -> String {
        match &self.restore {
            Some(folder) => migrations::restore_command(&folder.display().to_string()),
            None if self.adopt => migrations::ADOPT.to_owned(),
            None => "usagectl migrate".to_owned(),
        }
    }
}

/// A run that changes the database. The run lock must be held.
struct Run<'a> {
    context: &'a mut Context,
    db: &'a mut Db,
    url: &'a DatabaseUrl,
    args: &'a MigrateArgs,
    /// The restore that this belongs to.
    restore: Option<RestoreLog>,
}

impl<'a> Run<'a> {
    fn new(
        context: &'a mut Context,
        db: &'a mut Db,
        url: &'a DatabaseUrl,
        args: &'a MigrateArgs,
    ) -> Run<'a> {
        Run {
            context,
            db,
            url,
            args,
            restore: None,
        }
    }
}

impl Run<'_> {
    /// Applies the pending migrations, up to `args.to`.
    fn apply_pending(&mut self, applied: &mut Applied) -> Result<()> {
        let survey = migrations::survey(self.db)?;
        let plan = plan(self.db, &survey, self.url, self.args)?;
        let prisma = self.args.prisma.read(self.db, false)?;
        prisma.check_others(self.db, &plan, &[])?;
        let versions = plan.iter().map(|it| it.version);
        self.args
            .prisma
            .warn_of_unknown(self.context, &prisma, versions)?;
        let mut next = interrupt::NextStep::from(self.args.next());
        next.restored = self
            .args
            .restore
            .as_ref()
            .map(|it| it.display().to_string());
        interrupt::end_on_signals(self.context, self.url, self.db, next)?;
        migrations::remove_capture(self.db, &mut self.args.locks.retry(self.context))?;
        self.apply(&survey, plan, &prisma, applied)
    }

    /// Drops our triggers whose tables are gone, restores the triggers of applied migrations that are missing or
    /// differ, rebuilds their invalid indexes, then applies `plan` in order, until one fails.
    fn apply(
        &mut self,
        survey: &Survey,
        plan: Vec<&'static Migration>,
        prisma: &PrismaSync,
        applied: &mut Applied,
    ) -> Result<()> {
        let statuses = survey.statuses.iter();
        applied.pending = statuses.filter(|status| !status.is_applied()).count();
        let user = current_user();
        let log = LogContext::new(self.url, &user, self.context.now, prisma);
        let locks = self.args.locks.locks();
        if !plan.is_empty() || self.restore.is_some() {
            let found = &survey.bookkeeping;
            migrations::prepare(self.db, log.application_schema, found, locks, self.context)?;
        }
        if let Some(restore) = &self.restore {
            restore.start(self.db, log, &mut self.args.locks.retry(self.context))?;
        }
        if let Some(command) = &survey.bookkeeping.interrupted_rollback
            && plan.is_empty()
        {
            let mut retry = self.args.locks.retry(self.context);
            RollbackLog { command, log }.end(self.db, &mut retry)?;
        }
        let orphaned = drop_orphaned(self.db, self.args.locks.retry(self.context))?;
        applied.dropped_triggers = orphaned.iter().map(OrphanedTrigger::qualified).collect();
        for triggers in migrations::broken_triggers(self.db, &survey.statuses)? {
            let table = triggers.table();
            let message = format_args!("restoring the triggers on {table}");
            self.context.detail(message);
            triggers.restore(self.db, &mut self.args.locks.retry(self.context))?;
            applied.restored_triggers.push(table.to_owned());
        }
        for (table, name) in migrations::broken_indexes(self.db, &survey.statuses)? {
            let message = format_args!("rebuilding the invalid index {name}");
            self.context.detail(message);
            let (schema, index) = (log.application_schema, (table.as_str(), name.as_str()));
            let mut retry = self.args.locks.retry(self.context);
            migrations::rebuild_index(self.db, schema, index, &mut retry)?;
            applied.rebuilt_indexes.push(name);
        }
        for migration in plan {
            let task = Task {
                migration,
                direction: Direction::Up,
                done: survey.steps_done(migration),
                log,
                locks,
            };
            let took = migrations::run(self.db, task, self.context)?;
            applied.pending = applied.pending.saturating_sub(1);
            applied.migrations.push(AppliedMigration {
                version: migration.version,
                name: migration.name,
                duration_ms: took.as_millis().try_into().unwrap_or(i64::MAX),
            });
        }
        if migrations::partitioned_tables(self.db)?.contains("api_usage") {
            let statuses = migrations::survey(self.db)?.statuses;
            let mut retry = self.args.locks.retry(self.context);
            let (covered, error) = migrations::cover_partitions(self.db, &statuses, &mut retry)?;
            applied.restored_triggers.extend(covered);
            if let Some(error) = error {
                self.context.warn(error);
            }
        }
        Ok(())
    }
}

/// Prints the events of a run.
impl Observer for Context {
    fn event(&mut self, event: Event<'_>) {
        self.detail(match event {
            Event::Step {
                migration,
                direction,
                number,
                count,
                title,
            } => {
                let verb = match direction {
                    Direction::Up => "applying",
                    Direction::Down => "reverting",
                };
                match count {
                    1 => format!("{verb} {migration}"),
                    _ => format!("{verb} {migration}, step {number} of {count}: {title}"),
                }
            }
            Event::Retry { pause, holder } => {
                let pause = chrono::TimeDelta::from_std(pause).unwrap_or_default();
                let holder = holder.map_or("a table is in use".to_owned(), |it| it.to_string());
                let pause = format::duration(pause);
                format!("{holder}, retrying in {pause}")
            }
            Event::Waiting { index, holder } => {
                return self.info(format_args!(
                    "waiting with the index {index} for older transactions, the oldest of {holder}"
                ));
            }
            Event::Building { index } => {
                format!("waiting for the server, which still builds the index {index}")
            }
        });
    }
}

/// The migrations to apply. Fails if the database is not one to apply them to.
fn plan(
    db: &mut Db,
    survey: &Survey,
    url: &DatabaseUrl,
    args: &MigrateArgs,
) -> Result<Vec<&'static Migration>> {
    survey.bookkeeping.check_application(url)?;
    let found = schema_objects::read(db)?;
    if let [unrenamed, ..] = adoption::unrenamed(db, &found)?.as_slice() {
        return Err(not_renamed(unrenamed).with_next(migrations::ADOPT));
    }
    if adoption::is_needed(db, survey, &found) {
        let conflicts = adoption::unrecorded(db, survey, &found);
        return Err(match conflicts.is_empty() {
            true => Error::from(SchemaError::NotAdopted).with_exit(Exit::Refused),
            false => plan_error(PlanError::AlreadyExists(conflicts)),
        });
    }
    let expected = migrations::expected(db, &survey.statuses);
    let lost = adoption::lost(&expected, &found);
    if !lost.is_empty() {
        let lost = lost.iter().filter_map(|it| it.what.strip_prefix("table "));
        let lost = lost.collect::<Vec<_>>().join(", ");
        let message = format!("tables of usagectl were deleted: {lost}; nothing was changed");
        return Err(Error::message(Exit::Refused, message).with_next(migrations::ADOPT));
    }
    migrations::require_tables(db, &expected, &found, false)?;
    let versions = migration::plan_up(
        &survey.statuses,
        args.to.as_deref(),
        args.allow_out_of_order,
    )
    .map_err(|error| continued(plan_error(error), survey))?;
    let plan = migrations::with_versions(&versions);
    match migrations::taken_name(db, survey, &plan)? {
        Some(taken) => Err(name_taken(taken)),
        None => Ok(plan),
    }
}

/// The error about a table that would be created although its rows exist.
fn not_renamed(table: &Defect) -> Error {
    let message = format!("{} {}; nothing was changed", table.object, table.problem);
    let rename = table.fix.as_deref().unwrap_or_default();
    let next = format!("{rename} then usagectl migrate --adopt");
    Error::message(Exit::Refused, message).with_next(next)
}

/// Drops our triggers whose tables are gone, and returns them.
fn drop_orphaned(db: &mut Db, mut retry: Retry<'_>) -> Result<Vec<OrphanedTrigger>> {
    let orphaned = schema_objects::orphaned_triggers(db)?;
    if !orphaned.is_empty() {
        let drops = schema_objects::drop_triggers(db, &orphaned);
        retry.transaction(db, &[], |db| Ok(db.batch_execute(&drops)?))?;
    }
    Ok(orphaned)
}

/// The error about an object that has the name of another one of a pending migration.
fn name_taken(taken: TakenName) -> Error {
    let next = format!("{} then run the same command again", taken.rename);
    Error::from(SchemaError::NameTaken(taken)).with_next(next)
}

fn preview(
    context: &mut Context,
    url: &DatabaseUrl,
    place: &Place,
    args: &MigrateArgs,
) -> Result<Outcome> {
    let mut db = match &url.target {
        DatabaseTarget::Sqlite(path) if !path.exists() => db::open_in_memory()?,
        _ => context.open_unchecked(url, Access::Read)?,
    };
    let survey = migrations::survey(&mut db)?;
    let plan = plan(&mut db, &survey, url, args)?;
    warn_of_owner(context, &mut db, &plan)?;
    let orphaned = schema_objects::orphaned_triggers(&mut db)?;
    let prisma = args.prisma.read(&mut db, false)?;
    prisma.check_others(&mut db, &plan, &[])?;
    if args.sql {
        args.prisma
            .warn_of_unknown(context, &prisma, plan.iter().map(|it| it.version))?;
        let entry = LogContext::of_script(url, &prisma);
        let mut setup = vec![schema_objects::drop_triggers(&db, &orphaned)];
        setup.extend(migrations::setup(
            &mut db,
            entry.application_schema,
            &survey.bookkeeping,
        )?);
        let timeout = args.locks.lock_timeout;
        let direction = Direction::Up;
        let plan: Vec<_> = plan.into_iter().map(|it| (it, Vec::new())).collect();
        let sql = migrations::script(&mut db, &survey, &plan, direction, entry, timeout, &setup)?;
        return context.finish(&Script { sql });
    }
    let steps = migrations::planned_steps(&mut db, &survey, &plan)?;
    let mut answer = Plan::new(PlanAction::Migrate, place, &steps);
    answer.repairs = migrations::estimate_repairs(&mut db, &survey, &orphaned, &plan)?;
    context.finish(&answer)
}

pub(super) fn not_confirmed() -> Error {
    let message = "not confirmed; nothing was changed";
    Error::message(Exit::Refused, message).with_next("usagectl status")
}

/// Replaces the next step of a partial migration by the command that was interrupted.
pub(super) fn continued(error: Error, survey: &Survey) -> Error {
    match error.next() == Some(Direction::Down.command()) {
        true => error.with_next(survey.bookkeeping.continuing(Direction::Down)),
        false => error,
    }
}

/// Adds exit code and next step.
pub(super) fn plan_error(error: PlanError) -> Error {
    let (exit, next) = match &error {
        PlanError::NoSuchMigration { .. } => (Exit::Usage, "usagectl status"),
        PlanError::NotApplied(_) => (Exit::Refused, "usagectl status"),
        PlanError::Untrustworthy(_) => (Exit::Untrustworthy, "usagectl status"),
        PlanError::Partial { direction, .. } => (Exit::Untrustworthy, direction.command()),
        PlanError::OutOfOrder(_) => (Exit::Refused, "usagectl migrate --allow-out-of-order"),
        PlanError::AlreadyExists(_) => {
            let message = format!("{error}; nothing was changed");
            return Error::message(Exit::Refused, message).with_next(migrations::ADOPT);
        }
    };
    Error::new(exit, error).with_next(next)
}
