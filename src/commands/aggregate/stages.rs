//! Brings the roll-ups up to date, one granularity after the other: hours are counted from rows, days are merged
//! from hours, months from days. A step saves its periods, deletes them from the list of stale ones and lists
//! those that contain them, all in one transaction: after a crash the next run continues.
//!
//! Counting reads outside of that transaction, so writers do not wait for it. A row that is inserted meanwhile
//! brings a dirty hour, and the next run counts that hour again.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use indicatif::{ProgressBar, ProgressStyle};

use super::{AggregateArgs, Start};
use crate::commands::prelude::*;
use crate::domain::format;
use crate::domain::period::{Calendar, Granularity, Window};
use crate::domain::usage::aggregate_row::{self, Counts, RowChange, TooLarge};
use crate::domain::usage::aggregate_step::AggregateStep;
use crate::domain::usage::partitions::Change;
use crate::domain::usage::read_plan::RowRange;
use crate::domain::usage::replaced_parts::Replacements;
use crate::domain::usage::retention;
use crate::domain::usage::rollup::{ApiPeriod, ApiRollup, Tally};
use crate::domain::usage::settings::Settings;
use crate::fault;
use crate::output::aggregate::{KeptRow, RunAnswer};
use crate::store::usage::partitions::Changes;
use crate::store::usage::rollups::Level;
use crate::store::usage::second_reader::SecondReader;
use crate::store::usage::{aggregates, dirty, partitions, read, rollups};

/// From this number of hours on, a second reader is opened.
const LARGE_STEP: usize = 48;

/// A run with fewer stale periods ends before a progress bar could be read.
const PROGRESS_BAR_FROM: u64 = 2_000;

/// Runs the stages.
pub(super) fn run(
    context: &Context,
    db: &mut Db,
    args: &AggregateArgs,
    settings: Settings,
    start: &Start,
    answer: &mut RunAnswer,
) -> Result<()> {
    if !start.has_stale {
        return Ok(());
    }
    let mut stages = Stages {
        db,
        apis: &args.filter.apis,
        settings,
        rows_win: start.rows_win,
        partitions: &start.partitions,
        now: context.now,
        known_apis: start.known_apis,
        second: None,
        deleted_to: None,
        replaced: Replacements::default(),
        answer,
        bar: ProgressBar::hidden(),
    };
    for granularity in args.period.stages() {
        if context.progress {
            let stale = rollups::count_stale(stages.db, *granularity, &args.filter.apis)?;
            if stale >= PROGRESS_BAR_FROM {
                stages.bar = bar(*granularity, stale);
            }
        }
        stages.run(*granularity)?;
        stages.bar.finish_and_clear();
        stages.bar = ProgressBar::hidden();
    }
    Ok(())
}

fn bar(granularity: Granularity, length: u64) -> ProgressBar {
    let unit = granularity.unit();
    let template =
        format!("{{bar:40}} {{human_pos}} of {{human_len}} {unit}, {{per_sec}}, {{eta}} left");
    let style =
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

struct Stages<'a> {
    db: &'a mut Db,
    apis: &'a [String],
    settings: Settings,
    rows_win: Option<Window>,
    partitions: &'a Changes,
    now: DateTime<Utc>,
    known_apis: usize,
    /// Reads half of the rows of a step.
    second: Option<SecondReader>,
    /// The end of a deletion of the oldest rows.
    deleted_to: Option<DateTime<Utc>>,
    /// In the periods of the last stage, by those that contain them.
    replaced: Replacements,
    answer: &'a mut RunAnswer,
    bar: ProgressBar,
}

impl Stages<'_> {
    fn run(&mut self, granularity: Granularity) -> Result<()> {
        if granularity == Granularity::Hourly {
            self.deleted_to = self.db.read_tx(dirty::deleted_to)?;
        }
        let below = std::mem::take(&mut self.replaced);
        let mut from = Window::ALL.from;
        loop {
            let most = AggregateStep::MOST;
            let stale = rollups::stale(self.db, granularity, self.apis, from, most)?;
            let calendar = self.settings.calendar;
            let Some(step) = AggregateStep::first(granularity, calendar, stale) else {
                return Ok(());
            };
            let found = self.count(&step, &below)?;
            self.save(&step, &found)?;
            self.bar.inc(step.periods.len() as u64);
            // All earlier ones are done; looking there again would search through deleted rows.
            from = step.last.start;
        }
    }

    fn count(&mut self, step: &AggregateStep, below: &Replacements) -> Result<Found> {
        let (granularity, window, apis) = (step.granularity, step.window, step.apis());
        let settings = self.settings;
        let calendar = settings.calendar;
        let (answer, known_apis, rows_win) = (&mut *self.answer, self.known_apis, self.rows_win);
        let is_large = granularity == Granularity::Hourly && step.periods.len() >= LARGE_STEP;
        if is_large && self.second.is_none() {
            self.second = SecondReader::open(self.db);
        }
        let mut second = self.second.as_mut().filter(|_| is_large);
        if let Some(second) = &mut second {
            second.note_state()?;
        }
        let (deleted_to, partitions) = (self.deleted_to, self.partitions);
        self.db.read_tx(|db| {
            if let Some(counts) = replace_parts(db, settings, step, below)? {
                return Ok(Found {
                    counts,
                    ..Found::default()
                });
            }
            let before = rollups::load_to_replace(db, granularity, &apis, window)?;
            if granularity != Granularity::Hourly {
                let after = rollups::merge_shorter(db, granularity, settings, &apis, window)?;
                return Ok(Found {
                    counts: Counts::of(&step.periods, before, after),
                    ..Found::default()
                });
            }
            let mut pieces = count_rows(db, settings, &step.periods, known_apis, second, answer)?;
            rollups::add_calls_without_rows(db, settings, &apis, window, &mut pieces)?;
            let mut gone = gone(
                db,
                calendar,
                step,
                (deleted_to, partitions),
                &before,
                &pieces,
            )?;
            gone.retain(|part, _| rows_win.is_none_or(|window| !window.contains(part.start)));
            for (quarter, calls) in &gone {
                let piece = quarter.at(calendar.piece_of(quarter.start));
                pieces.entry(piece).or_default().merge(calls);
            }
            let mut hours: BTreeMap<ApiPeriod, ApiRollup> = BTreeMap::new();
            for (piece, calls) in &pieces {
                let hour = piece.at(granularity.start_of(piece.start));
                hours.entry(hour).or_default().merge(calls);
            }
            let most = settings.max_endpoints;
            let capped = hours.values_mut().chain(pieces.values_mut());
            capped.for_each(|rollup| rollup.cap(most));
            // Calls without rows are those of the whole window.
            let counted: BTreeSet<&ApiPeriod> = step.periods.iter().collect();
            pieces.retain(|piece, _| {
                let hour = piece.at(granularity.start_of(piece.start));
                counted.contains(&hour) && calendar.cut_of(hour.start).is_some()
            });
            Ok(Found {
                counts: Counts::of(&step.periods, before, hours),
                pieces,
                gone,
            })
        })
    }

    fn save(&mut self, step: &AggregateStep, found: &Found) -> Result<()> {
        let (granularity, calendar) = (step.granularity, self.settings.calendar);
        let Found { counts, .. } = found;
        let above = step.above().map(|(above, mut containing)| {
            // Those of the steps before are listed.
            containing.retain(|period| !self.replaced.contains(period));
            (above, containing)
        });
        let (rewritten, kept, was_listed) = self.db.write_tx(|db| -> Result<_> {
            // Rows of an attached partition may have been counted with calls that are kept without them.
            if granularity == Granularity::Hourly && partitions::read(db)? != self.partitions.now {
                let message = "the partitions of api_usage changed meanwhile";
                return Err(
                    Error::message(Exit::Busy, message).with_next("run the same command again")
                );
            }
            let mut rewritten = step.changed(counts);
            let mut parts = BTreeMap::new();
            for period in &rewritten {
                match (counts.before.get(period), counts.after.get(period)) {
                    (Some(before), Some(after)) => {
                        let part = rollups::delete_changed(db, granularity, period, before, after)?;
                        parts.insert((*period).clone(), part);
                    }
                    (Some(_), None) => rollups::delete(db, granularity, period)?,
                    (None, _) => {}
                }
            }
            let is_new =
                |period: &ApiPeriod| rewritten.contains(period) && !parts.contains_key(period);
            let new = counts.after.iter().filter(|(period, _)| is_new(period));
            rollups::insert(db, granularity, new.chain(&parts))?;
            save_parts(db, self.settings, step, found)?;

            let mut new = Vec::new();
            let mut kept = Vec::new();
            // In the same transaction, since the application writes to the table at any time.
            let found = aggregates::find(db, granularity, &step.apis(), step.window)?;
            let changes = aggregate_row::changes(
                granularity,
                calendar,
                &step.periods,
                counts,
                &found,
                self.rows_win,
            );
            for (period, change) in changes.map_err(|e| too_large(granularity, e))? {
                match change {
                    RowChange::Insert(row) => new.push((period, row)),
                    RowChange::Replace(id, row) => {
                        let end = calendar.end_of(granularity, period.start);
                        let window = Window::new(period.start, end);
                        aggregates::replace(db, &id, window, row, self.now)?;
                    }
                    RowChange::Delete(id) => aggregates::delete(db, &id)?,
                    RowChange::Keep { published, counted } => {
                        kept.push(KeptRow {
                            api_name: period.api_name.clone(),
                            aggregation_type: granularity,
                            period_start: period.start,
                            period_end: calendar.end_of(granularity, period.start),
                            published_requests: published,
                            counted_requests: counted,
                        });
                        continue;
                    }
                }
                rewritten.insert(period);
            }
            aggregates::insert(db, granularity, calendar, new, self.now)
                .map_err(inserted_meanwhile)?;

            let mut was_listed = false;
            if let Some((above, containing)) = &above {
                was_listed = rollups::add_stale(db, *above, containing)? < containing.len();
            }
            rollups::delete_stale(db, granularity, self.apis, &step.last)?;
            fault::point("step");
            Ok((rewritten.len() as u64, kept, was_listed))
        })?;
        fault::point("step");
        self.replaced.note(step, counts);
        if let Some((_, containing)) = above.filter(|_| was_listed) {
            // An earlier run changed parts of some of them.
            containing
                .into_iter()
                .for_each(|it| self.replaced.give_up(it));
        }
        *self.answer.rewritten(granularity) += rewritten;
        if granularity == Granularity::Hourly {
            let emptied = counts.before.keys();
            let emptied = emptied.filter(|hour| !counts.after.contains_key(hour));
            self.answer.hours_emptied += emptied.count() as u64;
        }
        self.answer.kept.extend(kept);
        for (quarter, calls) in &found.gone {
            self.answer
                .add_gone(quarter.start, calls.total.total_requests);
        }
        Ok(())
    }
}

/// The counts of the periods of a step.
#[derive(Default)]
struct Found {
    counts: Counts,
    /// Of hours in which a local day begins.
    pieces: BTreeMap<ApiPeriod, ApiRollup>,
    /// Calls whose rows another program deleted from the head of the table, by quarter of an hour. They stay counted.
    gone: BTreeMap<ApiPeriod, ApiRollup>,
}

/// The counts of days or months from their replaced parts, if these are known of each and suffice.
fn replace_parts(
    db: &mut Db,
    settings: Settings,
    step: &AggregateStep,
    below: &Replacements,
) -> Result<Option<Counts>> {
    let mut counts = Counts::default();
    for period in &step.periods {
        let Some(parts) = below.of(period) else {
            return Ok(None);
        };
        let stored = rollups::load_replaced(db, step.granularity, settings, period, parts)?;
        let Some(stored) = stored else {
            return Ok(None);
        };
        let Some(after) = parts.applied(&stored, settings.max_endpoints) else {
            return Ok(None);
        };
        counts.before.insert(period.clone(), stored.rollup);
        counts.after.insert(period.clone(), after);
    }
    Ok(Some(counts))
}

/// Saves the pieces of hours, and the calls without rows.
fn save_parts(db: &mut Db, settings: Settings, step: &AggregateStep, found: &Found) -> Result<()> {
    if step.granularity != Granularity::Hourly {
        return Ok(());
    }
    for hour in &step.periods {
        if let Some(cut) = settings.calendar.cut_of(hour.start) {
            rollups::delete(db, Level::Piece, hour)?;
            rollups::delete(db, Level::Piece, &hour.at(cut))?;
        }
    }
    rollups::insert(db, Level::Piece, &found.pieces)?;
    let level = match settings.keep_deleted {
        true => Level::Sealed,
        false => Level::Undecided,
    };
    rollups::change_calls_without_rows(db, level, &found.gone, ApiRollup::merge)
}

/// The calls of hours at the head of the table that were counted before and whose rows are gone.
fn gone(
    db: &mut Db,
    calendar: Calendar,
    step: &AggregateStep,
    (deleted_to, partitions): (Option<DateTime<Utc>>, &Changes),
    before: &BTreeMap<ApiPeriod, ApiRollup>,
    found: &BTreeMap<ApiPeriod, ApiRollup>,
) -> Result<BTreeMap<ApiPeriod, ApiRollup>> {
    // Also rows that were deleted after this run took the dirty hours.
    let mut deleted = step.deleted_to.clone();
    for (hour, to) in dirty::marked(db, step.window)? {
        if let Some(to) = to {
            let newest = deleted.entry(hour).or_insert(to);
            *newest = to.max(*newest);
        }
    }
    let periods: BTreeSet<&ApiPeriod> = step.periods.iter().collect();
    let is_counted = |hour: &ApiPeriod| periods.contains(hour) && before.contains_key(hour);
    deleted.retain(|hour, _| is_counted(hour));
    let of_partitions = partitions.hours(Change::Removed);
    let of_partitions: Vec<_> = of_partitions.filter(|hour| is_counted(hour)).collect();
    if deleted.is_empty() && of_partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let kept = Window::new(deleted_to.unwrap_or(Window::ALL.from), Window::ALL.to);
    let oldest = dirty::oldest_row(db, kept)?;
    deleted.retain(|_, to| Some(*to) <= deleted_to || oldest.is_none_or(|oldest| *to <= oldest));
    let deleted: BTreeSet<&ApiPeriod> = deleted.keys().chain(of_partitions).collect();
    let before_pieces = rollups::load_to_replace(db, Level::Piece, &step.apis(), step.window)?;
    let mut gone = BTreeMap::new();
    for hour in deleted {
        let parts = match calendar.cut_of(hour.start) {
            Some(cut) => vec![
                (hour.clone(), &before_pieces),
                (hour.at(cut), &before_pieces),
            ],
            None => vec![(hour.clone(), before)],
        };
        for (part, before) in parts {
            let missing = retention::missing(before.get(&part), found.get(&part));
            gone.extend(missing.map(|calls| (part, calls)));
        }
    }
    Ok(gone)
}

/// Counts hours from their rows: whole, or in two pieces where a local day begins.
fn count_rows(
    db: &mut Db,
    settings: Settings,
    hours: &[ApiPeriod],
    known_apis: usize,
    mut second: Option<&mut SecondReader>,
    answer: &mut RunAnswer,
) -> Result<BTreeMap<ApiPeriod, ApiRollup>> {
    let calendar = settings.calendar;
    let pieces = hours.iter().flat_map(|hour| {
        let cut = calendar.cut_of(hour.start).map(|cut| hour.at(cut));
        std::iter::once(hour.clone()).chain(cut)
    });
    let pieces: Vec<ApiPeriod> = pieces.collect();
    let new = || Tally::of(settings.endpoints, &pieces);
    let mut tally = new();
    for range in RowRange::of_hours(hours, known_apis) {
        tally.merge(read::count(
            db,
            second.as_deref_mut(),
            &range,
            calendar,
            new,
        )?);
    }
    answer.rows_read += tally.rows;
    answer.costs_left_out += tally.left_out.costs;
    answer.response_times_left_out += tally.left_out.response_times;
    Ok(tally.finish())
}

fn too_large(granularity: Granularity, (period, error): (&ApiPeriod, TooLarge)) -> Error {
    let start = format::time(period.start);
    Error::new(Exit::Failed, error)
        .context(format!("{} {granularity} {start}", period.api_name))
        .with_next("leave the months as they are: usagectl aggregate --period daily")
}

fn inserted_meanwhile(error: DieselError) -> Error {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Error::message(
            Exit::Busy,
            "another program inserted an aggregate row of the same period meanwhile",
        )
        .with_next("run the same command again"),
        error => error.into(),
    }
}
