//! `aggregate`: roll usage up into hours, days and months.
//!
//! ```text
//! mod     the arguments; dirty hours; changed partitions; the report
//! stages  one granularity after the other: count or merge, compare, save
//! verify  the same without saving: compares the stored numbers with the expected ones
//! ```

mod stages;
mod verify;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use clap::{ArgGroup, ValueEnum};

use crate::args::{ApiFilter, LockWait, one_of, parse_duration};
use crate::commands::heartbeat::{HeartbeatArgs, with_heartbeat};
use crate::commands::known_apis::require_known;
use crate::commands::prelude::*;
use crate::domain::format::{self, counted};
use crate::domain::moment::Moment;
use crate::domain::period::{Calendar, Granularity, Window};
use crate::domain::usage::endpoint::EndpointNames;
use crate::domain::usage::partitions::{Change, Partition};
use crate::domain::usage::retention;
use crate::domain::usage::settings::{Mode, Settings};
use crate::domain::zone::Zone;
use crate::output::Format;
use crate::output::aggregate::RunAnswer;
use crate::store::lock::RunKind;
use crate::store::migrations::{self, Locks, Retry, TriggerSet};
use crate::store::usage::partitions::Changes;
use crate::store::usage::rollups::Level;
use crate::store::usage::{dirty, lookback, partitions, rollups, settings};

/// Roll usage up into hours, days and months
///
/// Only hours in which a row was inserted, updated or deleted since the last run are counted, by any writer
/// and however old they are; the days and months that contain them follow. A second run has nothing to do.
/// The current hour, day and month are included and change with the next run.
///
/// Days and months are those of UTC, or of the time zone that --tz sets for the database; changing it rolls them up
/// again. Days with a change of clocks have 23 or 25 hours.
///
/// Where another program deleted the oldest rows, all but a few of them and up to any moment, the roll-ups are the
/// only record of their calls: they stay, a warning names the range, and the exit code is 4. --seal keeps them,
/// also in the future; --rebuild follows the rows. Deletions inside the kept history are followed, also those of one
/// API's oldest rows, with a warning where 24 hours or more have no row left.
///
/// The same holds where a partition of the table was dropped, detached or truncated. If one is attached again, its rows
/// count instead of the kept calls; if the numbers differ, nothing is counted until --seal counts both, or --rebuild only
/// the rows.
///
/// The results are in api_usage_aggregates. A row there that another program wrote and that counts more
/// requests than there are rows is the last record of deleted rows: it stays, a warning names it, and the exit
/// code is 4. --rebuild replaces it by the numbers of the rows.
///
/// Triggers on the table mark the changed hours. Without them, as on a table that Citus distributes or from which
/// other tables inherit, --mode lookback compares the rows of the last days, and of older ones as far as 10 seconds
/// suffice, with what an earlier run found.
///
/// Errors are counted as the application counts them: rate limits and timeouts by error type; server errors by
/// error type or a status of 500 or higher, so a timeout with status 504 counts as both. Averages are over calls
/// that have a response time. Percentiles, which `usagectl stats` shows, are off by at most 0.8%.
#[derive(Args, Debug)]
#[command(
    after_help = example!("aggregate --period daily"),
    group = ArgGroup::new("range").args(["rebuild", "verify", "repair"])
)]
pub struct AggregateArgs {
    /// Aggregation period; the shorter periods that it consists of are rolled up first
    #[arg(long, value_enum, value_name = "PERIOD", default_value_t = Longest::All)]
    period: Longest,

    #[command(flatten)]
    filter: ApiFilter,

    /// Recompute all periods from the rows, or those from --from to --to
    ///
    /// Pruned hours keep their counts; calls whose rows another program deleted are no longer counted.
    #[arg(long)]
    rebuild: bool,

    /// Recompute and compare, print each difference, write nothing
    ///
    /// Hours with rows that changed since the last run are not compared. Exits with 12 if there are no others.
    #[arg(long)]
    verify: bool,

    /// Recompute and compare, and correct each difference
    #[arg(long)]
    repair: bool,

    /// Keep the calls whose rows another program deleted, from now on without a report
    #[arg(long, conflicts_with = "range")]
    seal: bool,

    /// Time zone of days and months, such as Europe/Madrid; stored in the database [default: UTC]
    #[arg(long, value_name = "ZONE")]
    tz: Option<Zone>,

    /// Names of endpoints in roll-ups; stored in the database [default: template]
    ///
    /// template leaves out the query and replaces numbers, UUIDs, hashes and long tokens: /movie/{id}. raw keeps
    /// endpoints as written. Changing it rolls everything up again.
    #[arg(long, value_name = "NAMES", value_parser = one_of::<EndpointNames>())]
    endpoints: Option<EndpointNames>,

    /// Maximum number of endpoints of an API in a period; the calls of the others are one endpoint, (other); stored in
    /// the database [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_endpoints: Option<u32>,

    /// How changed hours are found; stored in the database [default: triggers, or lookback where Citus distributes
    /// api_usage or other tables inherit from it]
    ///
    /// lookback requires no triggers, see docs/scale-out.md. Its first run counts all hours.
    #[arg(long, value_name = "MODE", value_parser = one_of::<Mode>())]
    mode: Option<Mode>,

    /// How far back each run of --mode lookback compares all rows; stored in the database [default: 3d]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    lookback: Option<Duration>,

    /// Start of --rebuild, --verify or --repair: RFC 3339, a date, today, yesterday or this-month
    #[arg(long, value_name = "TIME", requires = "range")]
    from: Option<Moment>,

    /// End of --rebuild, --verify or --repair, which is not in it: as --from
    #[arg(long, value_name = "TIME", requires = "range")]
    to: Option<Moment>,

    #[command(flatten)]
    wait: LockWait,

    #[command(flatten)]
    heartbeat: HeartbeatArgs,
}

/// The longest periods that a run brings up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Longest {
    /// Hours only
    Hourly,
    /// Hours and days
    Daily,
    /// Hours, days and months
    Monthly,
    /// Hours, days and months
    All,
}

impl Longest {
    fn stages(self) -> &'static [Granularity] {
        match self {
            Longest::Hourly => &Granularity::ALL[..1],
            Longest::Daily => &Granularity::ALL[..2],
            Longest::Monthly | Longest::All => &Granularity::ALL,
        }
    }
}

/// From this number of new roll-ups on, the statistics of PostgreSQL's planner are updated.
const ANALYZE_FROM: u64 = 1_000;

/// How many kept rows are named one by one.
const NAMED: usize = 20;

pub fn run(context: &mut Context, args: AggregateArgs) -> Result<Outcome> {
    with_heartbeat(context, &args.heartbeat, |context| {
        aggregate(context, &args)
    })
}

fn aggregate(context: &mut Context, args: &AggregateArgs) -> Result<Outcome> {
    let url = context.database_url(false)?;
    if args.verify {
        let mut db = context.open_migrated(&url, Access::Read)?;
        return verify::run(context, &mut db, args);
    }
    let started = Instant::now();
    let mut db = context.open_migrated(&url, Access::Write)?;
    let _lock = context.lock(&mut db, &url, RunKind::Aggregate, args.wait.lock_wait)?;
    let mut answer = RunAnswer::default();
    let Prepared {
        mut settings,
        wanted,
        window,
        mode,
        start,
    } = db.write_tx(|db| prepare(db, args, context.now))?;
    match mode {
        Some(Mode::Triggers) => {}
        Some(Mode::Lookback) => {
            answer.unchecked_from = lookback::mark_changed(&mut db, wanted, context.now)?;
        }
        None => {
            // So that `migrate` restores the triggers.
            let mode = wanted.mode;
            settings::save(&mut db, settings, Settings { mode, ..settings })?;
            return Err(TriggerSet::Usage.missing());
        }
    }
    if wanted.calendar != settings.calendar {
        // In the old zone first, in whose pieces deleted calls are found.
        let start = db.write_tx(|db| begin(db, args, window, settings))?;
        stages::run(context, &mut db, args, settings, &start, &mut answer)?;
    }
    if wanted != settings {
        db.write_tx(|db| change_settings(db, settings, wanted))?;
        settings = wanted;
    }
    let mut start = match start {
        Some(start) => start,
        None => db.write_tx(|db| begin(db, args, window, settings))?,
    };
    if args.repair {
        let found = db.read_tx(|db| verify::differences(db, args, settings, window))?;
        start.rows_win = found.span();
        start.has_stale |= start.rows_win.is_some();
        answer.differences = found.differences.len() as u64;
        db.write_tx(|db| verify::list_as_stale(db, &found))?;
    }
    stages::run(context, &mut db, args, settings, &start, &mut answer)?;
    let is_new = !start.partitions.is_saved && !start.partitions.now.is_empty();
    if is_new && args.filter.apis.is_empty() {
        db.write_tx(|db| settings::save_partitions(db, &start.partitions.now))?;
    }
    if answer.hours_rewritten >= ANALYZE_FROM {
        rollups::refresh_statistics(&mut db)?;
    }
    answer.rows_with_unreadable_time = start.rows_with_unreadable_time;
    answer.seconds = started.elapsed().as_secs_f64();
    report(context, &answer, settings, args.rebuild)?;
    let mut partitions = start.partitions.now.iter();
    let is_whole = mode == Some(Mode::Triggers) && args.filter.apis.is_empty();
    if is_whole && !partitions.all(Partition::has_triggers) {
        cover_partitions(context, &mut db)?;
    }
    Ok(outcome(&answer, settings))
}

/// Creates the triggers of new partitions, after this run has saved the partitions without them: so the next run compares
/// them again, with the rows that were added meanwhile.
fn cover_partitions(context: &mut Context, db: &mut Db) -> Result<()> {
    let statuses = migrations::survey(db)?.statuses;
    let locks = Locks {
        timeout: Duration::from_millis(200),
        total: Duration::from_secs(5),
    };
    let (_, error) = migrations::cover_partitions(db, &statuses, &mut Retry::new(locks, context))?;
    if let Some(error) = error {
        context.info(error);
    }
    Ok(())
}

fn change_settings(db: &mut Db, old: Settings, new: Settings) -> Result<()> {
    if new.calendar != old.calendar {
        rollups::change_calendar(db, old.calendar, new.calendar)?;
    }
    if new.keep_deleted {
        rollups::seal_undecided(db)?;
    }
    if (new.endpoints, new.max_endpoints) != (old.endpoints, old.max_endpoints) {
        rollups::list_stored_as_stale(db, &Granularity::ALL, new.calendar, Window::ALL, &[])?;
    }
    Ok(settings::save(db, old, new)?)
}

/// The window from --from to --to in whole hours; all of time if they are not given.
fn window(args: &AggregateArgs, now: DateTime<Utc>, calendar: Calendar) -> Result<Window> {
    let all = Window::ALL;
    let [from, to] = [(args.from, all.from), (args.to, all.to)].map(|(given, end)| {
        given.map_or(end, |moment| {
            moment.start(now, calendar).clamp(all.from, all.to)
        })
    });
    let window = Window::new(from, to);
    if window.is_empty() {
        return Err(Error::usage("--from must be earlier than --to"));
    }
    Ok(window.widened(Granularity::Hourly))
}

struct Prepared {
    settings: Settings,
    wanted: Settings,
    window: Window,
    mode: Option<Mode>,
    start: Option<Start>,
}

/// Reads the settings, and begins at once where nothing must be done before: most runs have nothing to do, and each
/// transaction would take its time. In a transaction.
fn prepare(db: &mut Db, args: &AggregateArgs, now: DateTime<Utc>) -> Result<Prepared> {
    let settings = settings::load(db)?;
    let lookback = args.lookback.map(TimeDelta::from_std).and_then(Result::ok);
    let wanted = Settings {
        calendar: args.tz.map_or(settings.calendar, |zone| Calendar { zone }),
        keep_deleted: settings.keep_deleted || args.seal,
        endpoints: args.endpoints.unwrap_or(settings.endpoints),
        max_endpoints: args.max_endpoints.unwrap_or(settings.max_endpoints),
        mode: args.mode.unwrap_or(settings.mode),
        lookback: lookback.unwrap_or(settings.lookback),
    };
    let window = window(args, now, wanted.calendar)?;
    let mode = lookback::mode(db, wanted)?;
    let is_ready = mode == Some(Mode::Triggers) && wanted == settings;
    Ok(Prepared {
        settings,
        wanted,
        window,
        mode,
        start: match is_ready {
            true => Some(begin(db, args, window, settings)?),
            false => None,
        },
    })
}

/// What a run begins with.
struct Start {
    has_stale: bool,
    known_apis: usize,
    rows_with_unreadable_time: u64,
    /// Where other programs' rows in the application's table are replaced, and deletions are followed.
    rows_win: Option<Window>,
    partitions: Changes,
}

/// Moves the dirty hours, and the periods that --rebuild adds, to the list of stale periods; in one transaction.
fn begin(db: &mut Db, args: &AggregateArgs, window: Window, settings: Settings) -> Result<Start> {
    let apis = &args.filter.apis;
    let is_complete = args.rebuild && window == Window::ALL && apis.is_empty();
    if is_complete {
        dirty::relist_odd_timestamps(db)?;
    }
    if args.rebuild {
        dirty::mark_hours_with_rows(db, window, apis)?;
        rollups::forget(db, Level::Undecided, window, apis)?;
        rollups::list_stored_as_stale(db, &Granularity::ALL, settings.calendar, window, apis)?;
    }
    let partitions = partitions::changes(db)?;
    follow_partitions(db, args, window, &partitions)?;
    dirty::move_to_stale(db, apis)?;
    // --repair finds and counts them itself.
    if !args.repair {
        rollups::list_lost_as_stale(db, settings.calendar)?;
    }
    let has_stale = rollups::has_stale(db, apis)?;
    let mut known = BTreeSet::new();
    if has_stale || args.repair || !apis.is_empty() {
        known = rollups::known_apis(db)?;
        require_known(db, apis, &known)?;
    }
    Ok(Start {
        has_stale,
        known_apis: known.len(),
        rows_win: args.rebuild.then_some(window),
        rows_with_unreadable_time: dirty::count_unreadable(db)?,
        partitions,
    })
}

/// Marks the hours of partitions that changed. Where rows are there again whose calls were kept without them, the rows
/// count. If other rows may be among them, the user decides; in a transaction.
fn follow_partitions(
    db: &mut Db,
    args: &AggregateArgs,
    window: Window,
    changes: &Changes,
) -> Result<()> {
    let apis = &args.filter.apis;
    let (replaced, undecided): (Vec<_>, Vec<_>) = changes
        .hours(Change::Unclear)
        .filter(|hour| !args.seal && (apis.is_empty() || apis.contains(&hour.api_name)))
        .partition(|hour| args.rebuild && window.contains(hour.start));
    if let Some(Window { from, to }) = partitions::span(undecided) {
        let (shown_from, shown_to) = (format::time(from), format::time(to));
        let message = format!(
            "hours from {shown_from} to {shown_to} have rows of an attached partition, and calls that are kept without \
             their rows, but not the same number; nothing was changed"
        );
        return Err(Error::message(Exit::Untrustworthy, message)
            .with_next(retention::next_step(Window::new(from, to))));
    }
    for hour in changes.hours(Change::Returned).chain(replaced) {
        let window = Window::new(hour.start, Granularity::Hourly.end_of(hour.start));
        for level in [Level::Sealed, Level::Undecided] {
            rollups::forget(db, level, window, std::slice::from_ref(&hour.api_name))?;
        }
    }
    for window in &changes.windows {
        dirty::mark_hours_with_rows(db, *window, &[])?;
    }
    let removed = changes.hours(Change::Removed).cloned().collect();
    rollups::add_stale(db, Granularity::Hourly, &removed)?;
    Ok(())
}

/// From this number on, the hours of an API that another program emptied are reported also under -q: it may have deleted
/// the oldest rows of one API, which is followed.
const MANY_HOURS: u64 = 24;

fn report(
    context: &mut Context,
    answer: &RunAnswer,
    settings: Settings,
    rebuild: bool,
) -> Result<()> {
    context.detail(answer.summary());
    if answer.differences > 0 {
        context.info(format_args!(
            "repaired {}",
            counted(answer.differences, "difference")
        ));
    }
    match &answer.deleted {
        Some(deleted) if settings.keep_deleted => context.info(deleted),
        Some(deleted) => context.warn(deleted),
        None => {}
    }
    if answer.hours_emptied > 0 {
        let hours = counted(answer.hours_emptied, "hour");
        let text = format!("removed the roll-ups of {hours} whose rows are gone");
        if rebuild || answer.hours_emptied < MANY_HOURS {
            context.info(text);
        } else {
            context.warn(text);
        }
    }
    if let Some(from) = answer.unchecked_from {
        context.info(format_args!(
            "hours from {} on, before the look-back, were not compared; the next runs go on there",
            format::time(from)
        ));
    }
    for kept in answer.kept.iter().take(NAMED) {
        context.warn(kept);
    }
    if answer.kept.len() > NAMED {
        let more = (answer.kept.len() - NAMED) as u64;
        context.warn(format_args!("kept {} alike", counted(more, "more row")));
    }
    for warning in answer.warnings() {
        context.warn(warning);
    }
    if context.format != Format::Table {
        context.answer(answer)?;
    }
    Ok(())
}

fn outcome(answer: &RunAnswer, settings: Settings) -> Outcome {
    if let Some(deleted) = answer.deleted.as_ref().filter(|_| !settings.keep_deleted) {
        return Outcome::with_next(Exit::Untrustworthy, retention::next_step(deleted.window));
    }
    match answer.kept_span() {
        None => Outcome::DONE,
        Some(span) => Outcome::with_next(
            Exit::Untrustworthy,
            format!(
                "keep them, or replace them by the numbers of the rows: usagectl aggregate --rebuild --from {} --to {}",
                format::time(span.from),
                format::time(span.to)
            ),
        ),
    }
}
