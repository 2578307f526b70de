//! `aggregate`: roll usage up into hours, days and months.
//!
//! ```text
//! mod     the arguments; taking the marks; what is said at the end
//! stages  one granularity after the other: count or merge, compare, save
//! verify  the same without saving: what is stored against what it should be
//! ```

mod stages;
mod verify;

use std::time::Instant;

use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args, ValueEnum};

use crate::args::{ApiFilter, LockWait, parse_instant};
use crate::commands::stats::require_known;
use crate::context::Context;
use crate::domain::format::counted;
use crate::domain::period::{Granularity, Window, shown};
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::Format;
use crate::output::aggregate::{Kept, RunAnswer};
use crate::store::db::{Access, Db};
use crate::store::lock::{RunKind, RunLock};
use crate::store::usage::dirty::RepairError;
use crate::store::usage::{dirty, rollups};

/// Roll usage up into hours, days and months
///
/// Only hours in which a row appeared, changed or went since the last run are counted, however old they
/// are and whoever wrote them; the days and months that contain them follow. A second run finds nothing to
/// do. The current hour, day and month are included and change with the next run.
///
/// The results are in api_usage_aggregates. A row there that another program wrote and that counts more
/// requests than there are rows left is the last record of deleted rows: it stays and is named, and the
/// exit code is 4. --rebuild takes the rows as the truth and replaces it.
///
/// Errors are counted as the application counts them, by what a row says: rate limits and timeouts by
/// their type; server errors by type or by a status of 500 and more, so that a timeout with status 504 is
/// both. Averages are over calls that say how long they took. Percentiles, which `usagectl stats` shows,
/// are at most 0.8% off.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db aggregate --period daily",
    group = ArgGroup::new("range").args(["rebuild", "verify"])
)]
pub struct AggregateArgs {
    /// What to bring up to date; the shorter periods it is made of come first
    #[arg(long, value_enum, value_name = "PERIOD", default_value_t = Longest::All)]
    period: Longest,

    #[command(flatten)]
    filter: ApiFilter,

    /// Count everything anew, or what --from and --to enclose; also brings back missing triggers
    #[arg(long)]
    rebuild: bool,

    /// Recount and compare what is stored, print each difference, write nothing
    #[arg(long)]
    verify: bool,

    /// Where --rebuild or --verify begins (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = parse_instant, requires = "range")]
    from: Option<DateTime<Utc>>,

    /// Where --rebuild or --verify ends (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = parse_instant, requires = "range")]
    to: Option<DateTime<Utc>>,

    #[command(flatten)]
    wait: LockWait,
}

/// The longest periods that a run brings up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Longest {
    /// Hours; days and months wait
    Hourly,
    /// Hours and days; months wait
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

/// So many new roll-ups change what the planner of PostgreSQL should know.
const MANY_HOURS: u64 = 1_000;

/// How many rows that were kept are named one by one.
const NAMED: usize = 20;

/// Brings the roll-ups up to date, or verifies them.
pub fn run(context: &mut Context, args: AggregateArgs) -> Result<Outcome> {
    let window = window(&args)?;
    let url = context.database_url(false)?;
    if args.verify {
        let mut db = context.open_migrated(&url, Access::Read)?;
        return verify::run(context, &mut db, &args, window);
    }
    let started = Instant::now();
    let mut db = context.open_migrated(&url, Access::Write)?;
    let _lock = RunLock::acquire(&url, RunKind::Aggregate, args.wait.lock_wait)?;
    let rows_rule = args.rebuild.then_some(window);
    take_marks(&mut db, &args, window)?;
    let known = rollups::known_apis(&mut db)?;
    require_known(&mut db, &args.filter.apis, &known)?;
    let mut answer = stages::run(context, &mut db, &args, known.len(), rows_rule)?;
    if answer.hours_rewritten >= MANY_HOURS {
        rollups::refresh_statistics(&mut db)?;
    }
    answer.rows_with_unreadable_time = dirty::count_unreadable(&mut db)?;
    answer.seconds = started.elapsed().as_secs_f64();
    report(context, &answer)?;
    Ok(outcome(&answer))
}

/// What --from and --to enclose, in whole hours; everything if they are not given.
fn window(args: &AggregateArgs) -> Result<Window> {
    let window = Window {
        from: args.from.unwrap_or(Window::ALL.from).max(Window::ALL.from),
        to: args.to.unwrap_or(Window::ALL.to).min(Window::ALL.to),
    };
    if window.from >= window.to {
        return Err(Error::usage("--from must be before --to"));
    }
    Ok(window.widened(Granularity::Hourly))
}

/// Moves what is marked, and what --rebuild adds to it, to the list of stale periods.
fn take_marks(db: &mut Db, args: &AggregateArgs, window: Window) -> Result<()> {
    let everything = args.rebuild && window == Window::ALL && args.filter.apis.is_empty();
    let in_place = dirty::triggers_are_in_place(db)?;
    if !in_place && !everything {
        return Err(Error::message(
            Exit::Untrustworthy,
            "the triggers on api_usage are missing or disabled, so nobody knows which rows changed",
        )
        .with_next("usagectl aggregate --rebuild"));
    }
    db.write_tx(|db| -> Result<_> {
        if !in_place {
            dirty::restore_triggers(db).map_err(|error| match error {
                RepairError::NothingCreated => Error::new(Exit::Failed, error)
                    .with_next("usagectl status, which names what differs"),
                RepairError::Database(error) => error.into(),
            })?;
        }
        if everything {
            dirty::relist_odd_timestamps(db)?;
        }
        if args.rebuild {
            dirty::mark_hours_with_rows(db, window, &args.filter.apis)?;
            rollups::mark_stored(db, window, &args.filter.apis)?;
        }
        Ok(dirty::move_to_stale(db, &args.filter.apis)?)
    })
}

/// Says what was done, and what could not be.
fn report(context: &mut Context, answer: &RunAnswer) -> Result<()> {
    context.detail(answer.summary());
    if answer.hours_emptied > 0 {
        context.info(format_args!(
            "removed the roll-ups of {} whose rows are gone",
            counted(answer.hours_emptied, "hour")
        ));
    }
    for kept in answer.kept.iter().take(NAMED) {
        context.warn(kept);
    }
    if answer.kept.len() > NAMED {
        let more = answer.kept.len() - NAMED;
        context.warn(format_args!(
            "and {} of the kind",
            counted(more as u64, "more row")
        ));
    }
    for warning in answer.warnings() {
        context.warn(warning);
    }
    if context.format != Format::Table {
        context.answer(answer)?;
    }
    Ok(())
}

fn outcome(answer: &RunAnswer) -> Outcome {
    let spans = |kept: &Kept| {
        (
            kept.period.start,
            kept.granularity.end_of(kept.period.start),
        )
    };
    let from = answer.kept.iter().map(|kept| spans(kept).0).min();
    let to = answer.kept.iter().map(|kept| spans(kept).1).max();
    match from.zip(to) {
        None => Outcome::DONE,
        Some((from, to)) => Outcome::with_next(
            Exit::Untrustworthy,
            format!(
                "keep them as they are, or let the rows rule: usagectl aggregate --rebuild --from {} --to {}",
                shown(from),
                shown(to)
            ),
        ),
    }
}
