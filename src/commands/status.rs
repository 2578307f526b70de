//! `status`: shows the state of the schema. It writes nothing and takes no lock.

use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use clap::Args;

use crate::args::{example, parse_duration};
use crate::commands::limits::check;
use crate::commands::migrate::{COUNT_TIMEOUT, PrismaArgs};
use crate::context::Context;
use crate::domain::capacity::Capacity;
use crate::domain::capacity::state::UnknownReason;
use crate::domain::schema::migration::{Direction, MigrationState, MigrationStatus};
use crate::domain::schema::objects::{Difference, SchemaObjects};
use crate::domain::schema::status::{CapacitySummary, Defect, StaleMetric, StatusReport, Verdict};
use crate::domain::usage::retention;
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::status::Status;
use crate::store::db::{self, Access, Db};
use crate::store::lock;
use crate::store::migrations::{self, Survey, adopt};
use crate::store::url::DatabaseUrl;
use crate::store::usage::dirty;
use crate::store::{schema_objects, status, unknown_values, verification};

/// Check the schema and show the state of the database
///
/// Lists the migrations, and compares tables, columns, indexes, triggers and types with those that the applied
/// migrations created. The application's own columns, indexes and enum values are no difference. Also shows
/// outdated roll-ups, firing alerts, open recommendations and stale metrics. Only reads: a SELECT-only role, a
/// replica or a read-only file is sufficient.
///
/// Exits with 3 if migrations are pending, 4 if the schema differs from the migrations, a migration is edited,
/// unlogged or unknown, or a restore is not complete, or if another program deleted the oldest rows and whether their
/// calls still count is undecided, 7 if the database cannot be reached.
#[derive(Args, Debug)]
#[command(after_help = example!("status --format json"))]
pub struct StatusArgs {
    /// Also check for defects
    ///
    /// On both engines: migrations that Prisma's ledger records otherwise than ours. On PostgreSQL: invalid indexes,
    /// unvalidated constraints, unlogged tables, row security without a policy, missing rights of trigger functions,
    /// sequences behind their column, owners. On SQLite: the integrity of the file, which takes time in proportion to
    /// its size.
    #[arg(long)]
    verify: bool,

    #[command(flatten)]
    prisma: PrismaArgs,

    /// Also report columns, indexes and triggers that no migration creates, and exit with 4
    ///
    /// Those on the tables of the migrations, and further values of their enums.
    #[arg(long)]
    strict: bool,

    /// Exit with 0 when migrations are pending
    #[arg(long)]
    allow_pending: bool,

    /// Exit with 0 when a newer version of usagectl has migrated the database
    #[arg(long)]
    allow_ahead: bool,

    /// Maximum time to wait until the database is reachable, no migration is pending or partial, and no restore is
    /// incomplete
    ///
    /// Not used where waiting cannot help: the path is a directory or not a SQLite database, or the URL requires TLS and
    /// usagectl was built without it.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
}

/// The tables that recommendations, limits and their measurements are read from.
const CAPACITY: &str = "InfrastructureLimit InfrastructureMetric UpgradeRecommendation usagectl_catalogues \
     usagectl_dirty_metric_days usagectl_limit_origins usagectl_metric_days usagectl_plan_choices";

/// Whether [`CAPACITY`] cannot be read, or its triggers do not mark what changes.
fn hides_capacity(difference: &Difference) -> bool {
    let (kind, _) = difference.what.split_once(' ').unwrap_or_default();
    let is_of_capacity = CAPACITY.split(' ').any(|table| difference.is_of(table));
    match kind {
        "enum" => true,
        "column" | "trigger" => is_of_capacity && !difference.is_unfilled(),
        _ => false,
    }
}

/// The interval of `--wait`.
const POLL: Duration = Duration::from_millis(500);

pub fn run(context: &mut Context, args: StatusArgs) -> Result<Outcome> {
    let url = context.database_url(false)?;
    let deadline = args.wait.and_then(|wait| Instant::now().checked_add(wait));
    let report = loop {
        let result = open_and_report(context, &url, &args);
        let may_change = match &result {
            // A partial migration may be running.
            Ok(report) => {
                report.count(&[MigrationState::Partial]) > 0
                    || report.restoring.is_some()
                    || report.verdict() == Verdict::Pending && !args.allow_pending
            }
            Err(error) => db::may_pass(error),
        };
        if !may_change || deadline.is_none_or(|deadline| Instant::now() >= deadline) {
            break result.map_err(other_next_step)?;
        }
        thread::sleep(POLL);
    };
    // The answer lists them.
    unknown_values::take_skipped();
    context.answer(&Status {
        report: &report,
        now: context.now,
    })?;
    Ok(outcome(&report, &args))
}

/// An unexpected database error points to `status`, which cannot point to itself.
fn other_next_step(error: Error) -> Error {
    match error.next() {
        Some("usagectl status") => error.with_next("check the database and its log"),
        _ => error,
    }
}

/// Gathers the report in one transaction.
fn open_and_report(
    context: &mut Context,
    url: &DatabaseUrl,
    args: &StatusArgs,
) -> Result<StatusReport> {
    let now = context.now;
    let mut db = context.open_unchecked(url, Access::Read)?;
    let report = db.read_tx(|db| report(db, url, args, now))?;
    if args.verify {
        let prisma = args.prisma.read(&mut db, false)?;
        let applied = report.migrations.iter().filter(|it| it.is_applied());
        args.prisma
            .warn_of_unknown(context, &prisma, applied.map(|it| it.version.as_str()))?;
        args.prisma.note_without_folder(context, &prisma)?;
    }
    Ok(report)
}

/// Which parts of the database can be read: their tables and columns exist.
struct Readable {
    rollups: bool,
    usage: bool,
    /// The rows of `api_usage` whose timestamps cannot be read.
    timestamps: bool,
    /// The roll-ups that the application reads.
    published: bool,
    alerts: bool,
    capacity: bool,
}

impl Readable {
    fn new(db: &Db, survey: &Survey, found: &SchemaObjects, drift: &[Difference]) -> Readable {
        let lacks_column = |table: &str| {
            let mut missing = drift.iter().filter(|it| it.found.is_none());
            missing.any(|it| it.column().is_some_and(|(of, _)| of == table))
        };
        let has_tables = |names: &str| {
            let mut names = names.split(' ');
            names.all(|name| found.get(&format!("table {name}")).is_some() && !lacks_column(name))
        };
        // A partial migration may have dropped the triggers.
        let is_partial = survey.statuses.iter().any(|it| it.progress.is_some());
        let capacity = !is_partial && has_tables(CAPACITY) && !drift.iter().any(hides_capacity);
        let rollups = has_tables(
            "usagectl_dirty_hours usagectl_stale_periods usagectl_rollups usagectl_settings",
        );
        let alerts =
            has_tables("api_alerts usagectl_alert_rules usagectl_alert_states usagectl_notices");
        let usage = rollups && has_tables("api_usage");
        let timestamps = match db {
            Db::Pg(_) => usage,
            Db::Sqlite(_) => usage && has_tables("usagectl_odd_timestamps"),
        };
        let published = usage
            && has_tables("api_usage_aggregates")
            && !drift.iter().any(|it| it.is_of("api_usage_aggregates"));
        Readable {
            rollups,
            usage,
            timestamps,
            published,
            alerts,
            capacity,
        }
    }
}

/// The differences that `migrate` leaves, and whether it removes a part of each.
fn not_restored(db: &mut Db, drift: &[Difference]) -> Result<(Vec<Difference>, bool)> {
    let (mut closed, mut is_restorable) = (Vec::new(), true);
    for difference in drift {
        let restored = migrations::is_restorable(db, difference)?;
        is_restorable = is_restorable && restored;
        if !restored || !difference.is_restorable() {
            closed.push(difference.clone());
        }
    }
    Ok((closed, is_restorable))
}

fn report(
    db: &mut Db,
    url: &DatabaseUrl,
    args: &StatusArgs,
    now: DateTime<Utc>,
) -> Result<StatusReport> {
    let mut survey = migrations::survey(db)?;
    if let Err(error) = survey.bookkeeping.check_application(url) {
        return Err(Error::from(error).with_exit(Exit::Untrustworthy));
    }
    let found = migrations::found(db)?;
    let expected = migrations::expected(db, &survey.statuses);
    let pending = survey.pending();
    let is_adoptable = adopt::is_needed(db, &survey, &found);
    let mut origin = None;
    if is_adoptable {
        origin = adopt::origin(db, &survey, &found)?;
        adopt::mark_unadopted(db, &mut survey, &found);
    }
    // `aggregate` creates the triggers of new partitions.
    let drift = migrations::drift(db, &survey.bookkeeping, &expected, &found, args.verify)?;
    let (closed, is_restorable) = not_restored(db, &drift)?;
    let fix = match closed.is_empty() || is_adoptable {
        true => Vec::new(),
        false => {
            let schema = migrations::application_schema(url);
            adopt::script_of(db, &closed, &expected, schema)?
        }
    };
    let readable = Readable::new(db, &survey, &found, &drift);
    let mut extras = expected.extras(&found);
    extras.retain(|extra| drift.iter().all(|it| it.what != extra.what));
    // PostgreSQL's own types hold only their values.
    let may_have_unknown_values = match db {
        Db::Pg(_) => extras.iter().any(|extra| extra.what.starts_with("enum ")),
        Db::Sqlite(_) => true,
    };
    let restoring = survey.bookkeeping.restoring();
    let restored = match restoring.is_empty() {
        true => String::new(),
        false => migrations::held_data(db, &restoring, Instant::now() + COUNT_TIMEOUT)?,
    };
    let mut defects = match args.verify {
        true => Some(self::defects(db, url, args, &survey, &expected)?),
        false => None,
    };
    // Else the SQL that ends the drift names them.
    if fix.is_empty()
        && let unrenamed = adopt::unrenamed(db, &found)?
        && !unrenamed.is_empty()
    {
        defects.get_or_insert_default().extend(unrenamed);
    }
    if !is_adoptable && let Some(taken) = migrations::taken_name(db, &survey, &pending)? {
        defects.get_or_insert_default().push(Defect {
            problem: taken.problem(),
            object: taken.object(),
            fix: Some(taken.rename),
        });
    }
    Ok(StatusReport {
        engine: db.engine(),
        engine_version: status::engine_version(db)?,
        defects,
        extras: if args.strict { extras } else { Vec::new() },
        drift,
        fix,
        is_restorable,
        restoring: survey.bookkeeping.interrupted_restore().map(str::to_owned),
        restored,
        interrupted_rollback: survey.bookkeeping.interrupted_rollback,
        running: lock::running_migrate(db, url)?,
        others: survey.bookkeeping.others.into_iter().collect(),
        migrations: survey.statuses,
        conflicts: migrations::conflicts(db, &pending, &found),
        origin,
        orphaned_triggers: schema_objects::orphaned_triggers(db)?,
        freshness: readable
            .rollups
            .then(|| status::freshness(db, readable.usage, readable.published))
            .transpose()?,
        alerts: readable.alerts.then(|| status::alerts(db)).transpose()?,
        capacity: readable.capacity.then(|| capacity(db, now)).transpose()?,
        unknown_values: if readable.capacity && may_have_unknown_values {
            unknown_values::find(db)?
        } else {
            Vec::new()
        },
        unreadable_timestamps: readable
            .timestamps
            .then(|| dirty::count_unreadable(db))
            .transpose()?,
    })
}

/// The findings of `--verify`.
fn defects(
    db: &mut Db,
    url: &DatabaseUrl,
    args: &StatusArgs,
    survey: &Survey,
    expected: &SchemaObjects,
) -> Result<Vec<Defect>> {
    let mut defects = verification::defects(db, expected, survey.bookkeeping.has_log)?;
    let prisma = args.prisma.read(db, false)?;
    let schema = migrations::application_schema(url);
    defects.extend(prisma.defects(db, &survey.statuses, schema));
    defects.extend(migrations::owner_defects(db)?);
    defects.extend(migrations::capture_defects(db)?);
    Ok(defects)
}

/// Open recommendations, and the stale metrics of `limits check`.
fn capacity(db: &mut Db, now: DateTime<Utc>) -> Result<CapacitySummary> {
    let stale = |it: Capacity| {
        let reason = it.reason.filter(|reason| {
            use UnknownReason::{EarlierPeriod, Old};
            matches!(reason, Old(_) | EarlierPeriod)
        })?;
        Some(StaleMetric {
            series: it.series,
            reason: reason.to_string(),
        })
    };
    let standings = check::limited(db, (None, None), now, None)?;
    let mut stale: Vec<StaleMetric> = standings.into_iter().filter_map(stale).collect();
    // A series may have a budget beside the limit of its plan.
    stale.dedup_by(|a, b| a.series == b.series);
    Ok(CapacitySummary {
        open: status::open_recommendations(db)?,
        stale,
    })
}

fn outcome(report: &StatusReport, args: &StatusArgs) -> Outcome {
    let undecided = report.freshness.and_then(|found| found.undecided);
    match report.verdict() {
        Verdict::InSync => match undecided {
            None => Outcome::DONE,
            Some(window) => Outcome::with_next(Exit::Untrustworthy, retention::next_step(window)),
        },
        Verdict::Pending if args.allow_pending => Outcome::DONE,
        Verdict::Pending => {
            let rollback = report.interrupted_rollback.as_deref();
            Outcome::with_next(Exit::Incomplete, rollback.unwrap_or("usagectl migrate"))
        }
        Verdict::Ahead if args.allow_ahead => Outcome::DONE,
        Verdict::Ahead => Outcome::with_next(
            Exit::Untrustworthy,
            "use the version of usagectl that applied the unknown migrations, or add --allow-ahead",
        ),
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
            // The row was edited, or this is another build of the version.
            Some(entry) if entry.tool_version == env!("CARGO_PKG_VERSION") => {
                let schema = match report.engine {
                    "postgresql" => "usagectl.",
                    _ => "",
                };
                format!(
                    "the log has another checksum for {name}; to record it again: DELETE FROM \
                     {schema}usagectl_migration_log WHERE version = '{}'; then usagectl migrate --adopt",
                    modified.version
                )
            }
            Some(entry) => format!("use usagectl {}, which applied {name}", entry.tool_version),
            None => format!("use the version of usagectl that applied {name}"),
        };
    }
    if let Some(unknown) = find(MigrationState::Unknown) {
        let name = unknown.full_name();
        return format!("use the version of usagectl that applied {name}");
    }
    let partial = find(MigrationState::Partial).and_then(MigrationStatus::partial);
    // A restore completes its migrations first.
    if let Some(folder) = report
        .restoring
        .as_ref()
        .filter(|_| partial != Some(Direction::Down))
    {
        return migrations::restore_next(folder);
    }
    if let Some(partial) = partial {
        let rollback = report.interrupted_rollback.clone();
        let rollback = rollback.filter(|_| partial == Direction::Down);
        return rollback.unwrap_or_else(|| partial.command().to_owned());
    }
    let unlogged = find(MigrationState::Unlogged);
    if report.origin.is_some() || unlogged.is_some() || report.has_lost_tables() {
        return migrations::ADOPT.to_owned();
    }
    if !report.conflicts.is_empty() {
        return "use an empty database, or the tool that created this one".to_owned();
    }
    let next = match report.drift.as_slice() {
        [] if !report.orphaned_triggers.is_empty() => "usagectl migrate",
        [] if report.extras.is_empty() => {
            "remove the defects listed above, then run usagectl status --verify"
        }
        [] => {
            "remove the objects that no migration creates, or run usagectl status without --strict"
        }
        _ if report.is_restorable => "usagectl migrate",
        _ => "run the SQL listed above, then usagectl status",
    };
    next.to_owned()
}
