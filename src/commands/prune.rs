//! `prune`: deletes old rows that are rolled up, an hour at a time, and puts archived ones back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{LockWait, parse_duration};
use crate::commands::prelude::*;
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::settings::{Mode, Settings};
use crate::output::Format;
use crate::output::prune::{PruneAnswer, RestoreAnswer};
use crate::store::lock::RunKind;
use crate::store::migrations::{ExportOrigin, TriggerSet, application_schema};
use crate::store::url::DatabaseUrl;
use crate::store::usage::prune::{self, Archive, Slice};
use crate::store::usage::{dirty, lookback, partitions, settings};

/// Delete old rows and keep their roll-ups
///
/// Deletes the rows of api_usage in whole hours that are rolled up. Hours, days and months keep their numbers, to which
/// a late row is added. An hour that changed since the last `usagectl aggregate` is left out, and the exit code is 3.
/// Rows are deleted in small transactions, so that writers do not wait; an interrupted run is simply run again.
///
/// Afterwards a window of `usagectl stats` that begins or ends in a pruned hour is exact to a quarter of an hour.
#[derive(Args, Debug)]
#[command(after_help = example!("prune --older-than 90d"))]
pub struct PruneArgs {
    /// Age up to which rows are kept
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, required_unless_present = "restore")]
    older_than: Option<Duration>,

    /// Maximum time to delete rows; the rest is left to the next run
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    budget: Option<Duration>,

    /// Write the rows to this folder first: one zstd NDJSON file for each UTC day, and a manifest
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,

    /// Show the number of rows, and delete nothing
    #[arg(long)]
    dry_run: bool,

    /// Return the freed space: VACUUM of the table, or of the SQLite file, which writers wait for
    #[arg(long)]
    vacuum: bool,

    /// Verify the archive in this folder and put its rows back; the roll-ups keep their numbers
    #[arg(long, value_name = "DIR", conflicts_with_all = ["older_than", "budget", "archive", "dry_run", "vacuum"])]
    restore: Option<PathBuf>,

    #[command(flatten)]
    wait: LockWait,
}

/// The time that the deletion of a slice should take: a writer waits not much longer for it.
const SLICE: Duration = Duration::from_millis(4);

/// The pause after a slice, as a multiple of the time of its deletion.
const PAUSE: u32 = 3;
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Rows of a slice.
const FEWEST: i64 = 50;
const MOST: i64 = 5_000;

/// Slices whose marks a slice reads in less than a millisecond.
const SLICES_BETWEEN_VACUUMS: u64 = 200;

pub fn run(context: &mut Context, args: PruneArgs) -> Result<Outcome> {
    let url = context.database_url(false)?;
    let access = if args.dry_run {
        Access::Read
    } else {
        Access::Write
    };
    let mut db = context.open_migrated(&url, access)?;
    let settings = settings::load(&mut db)?;
    let Some(mode) = lookback::mode(&mut db, settings)? else {
        return Err(TriggerSet::Usage.missing());
    };
    let _lock = match args.dry_run {
        true => None,
        false => Some(context.lock(&mut db, &url, RunKind::Aggregate, args.wait.lock_wait)?),
    };
    if let Some(folder) = &args.restore {
        // With older rows before it, the deletion would look like one inside the history, which is followed.
        let mut is_deleted = || {
            db.write_tx(|db| {
                dirty::move_to_stale(db, &[])?;
                Ok::<_, Error>(dirty::deleted_to(db)?.is_some())
            })
        };
        if mode == Mode::Triggers && is_deleted()? {
            let message = "another program deleted the oldest rows since the last aggregate";
            return Err(Error::message(Exit::Refused, message).with_next("usagectl aggregate"));
        }
        return restore(context, &mut db, folder);
    }
    let keep = args
        .older_than
        .and_then(|age| TimeDelta::from_std(age).ok());
    let before = keep.and_then(|age| context.now.checked_sub_signed(age));
    let before = before.unwrap_or(Window::ALL.from).max(Window::ALL.from);
    let window = Window::new(Window::ALL.from, Granularity::Hourly.start_of(before));
    let changes = db.read_tx(partitions::changes)?;
    if changes
        .all_hours()
        .iter()
        .any(|hour| window.contains(hour.start))
    {
        let message = "partitions of api_usage were attached, detached, dropped or truncated since the last aggregate";
        return Err(Error::message(Exit::Untrustworthy, message).with_next("usagectl aggregate"));
    }
    let mut answer = PruneAnswer {
        before: window.to,
        dry_run: args.dry_run,
        rows_remaining: prune::count_rows(&mut db, window)?,
        bytes_before: prune::size_bytes(&mut db)?,
        ..PruneAnswer::default()
    };
    if args.dry_run {
        let unmarked = match mode {
            Mode::Lookback => lookback::changed_hours(&mut db, window)?,
            Mode::Triggers => BTreeSet::new(),
        };
        let (hours, rows) = prune::count_changed(&mut db, window, &unmarked)?;
        answer.hours_changed = hours;
        answer.rows_remaining -= rows.min(answer.rows_remaining);
    } else {
        if mode == Mode::Lookback {
            lookback::mark(&mut db, window)?;
        }
        let archive = match &args.archive {
            Some(folder) => Some(Archive::open(&mut db, folder, origin(context, &url))?),
            None => None,
        };
        delete(
            context,
            &mut db,
            &args,
            settings,
            window,
            archive,
            &mut answer,
        )?;
        answer.rows_remaining = prune::count_rows(&mut db, window)?;
        if args.vacuum {
            prune::vacuum(&mut db, application_schema(&url))?;
        }
    }
    answer.bytes_after = prune::size_bytes(&mut db)?;
    // Made for cron: prints nothing unless something is left.
    let is_wanted = args.dry_run || answer.rows_remaining > 0 || context.is_watched();
    if is_wanted || context.format != Format::Table {
        context.answer(&answer)?;
    }
    Ok(match () {
        () if answer.hours_changed > 0 => {
            Outcome::with_next(Exit::Incomplete, "usagectl aggregate")
        }
        () if answer.dry_run || answer.rows_remaining == 0 => Outcome::DONE,
        () => Outcome::with_next(Exit::Incomplete, "run the same command again"),
    })
}

fn origin(context: &Context, url: &DatabaseUrl) -> ExportOrigin {
    ExportOrigin {
        database: url.target.to_string(),
        application_schema: application_schema(url).to_owned(),
        at: crate::domain::format::time_ms(context.now),
    }
}

/// Deletes the rows of a window, the oldest first.
fn delete(
    context: &mut Context,
    db: &mut Db,
    args: &PruneArgs,
    settings: Settings,
    window: Window,
    mut archive: Option<Archive<'_>>,
    answer: &mut PruneAnswer,
) -> Result<()> {
    let deadline = args
        .budget
        .and_then(|budget| Instant::now().checked_add(budget));
    let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let bar = match context.progress {
        true => bar(answer.rows_remaining),
        false => ProgressBar::hidden(),
    };
    let names = settings.endpoints;
    let mut most = FEWEST;
    let mut slices = 0_u64;
    let mut archived: Option<DateTime<Utc>> = None;
    let mut from = window.from;
    while !is_over()
        && let Some(oldest) = dirty::oldest_row(db, Window::new(from, window.to))?
    {
        let hour = Granularity::Hourly.start_of(oldest);
        let day = Granularity::Daily.start_of(oldest);
        if let Some(archive) = &mut archive
            && archived != Some(day)
        {
            let end = Granularity::Daily.end_of(day).min(window.to);
            answer.rows_archived += archive.write(db, Window::new(hour, end))?;
            archived = Some(day);
        }
        let before = answer.rows_deleted;
        while !is_over() {
            let Slice::Deleted(rows, took) = prune::prune_some(db, names, hour, most)? else {
                answer.hours_changed += 1;
                break;
            };
            answer.rows_deleted += rows as u64;
            bar.inc(rows as u64);
            if rows == 0 {
                break;
            }
            most = if took > SLICE { most / 2 } else { most * 2 };
            most = most.clamp(FEWEST, MOST);
            slices += 1;
            if slices.is_multiple_of(SLICES_BETWEEN_VACUUMS) {
                prune::vacuum_marks(db)?;
            }
            // Writers of a SQLite file take turns, and on PostgreSQL they share the disk.
            thread::sleep((took * PAUSE).min(LONGEST_PAUSE));
        }
        answer.hours_pruned += u64::from(answer.rows_deleted > before);
        from = Granularity::Hourly.end_of(hour);
    }
    bar.finish_and_clear();
    Ok(())
}

fn bar(rows: u64) -> ProgressBar {
    let template = "{bar:40} {human_pos} of {human_len} rows, {per_sec}, {eta} left";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(rows).with_style(style)
}

fn restore(context: &mut Context, db: &mut Db, folder: &Path) -> Result<Outcome> {
    let done = prune::restore(db, folder)?;
    context.finish(&RestoreAnswer {
        rows_restored: done.restored,
        rows_existing: done.existing,
        rows_deleted_since: done.deleted_since,
    })
}
