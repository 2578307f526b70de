//! Brings the roll-ups up to date, one granularity after the other: hours are counted from rows, days are merged
//! from hours, months from days. A step saves its periods, deletes them from the list of stale ones and lists
//! those that contain them, all in one transaction: after a crash the next run continues.
//!
//! Counting reads outside of that transaction, so writers do not wait for it. A row that is inserted meanwhile
//! brings a dirty hour, and the next run counts that hour again.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use indicatif::{ProgressBar, ProgressStyle};

use super::AggregateArgs;
use crate::commands::prelude::*;
use crate::domain::format;
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::aggregate_row::{self, Counts, RowChange, TooLarge};
use crate::domain::usage::aggregate_step::AggregateStep;
use crate::domain::usage::read_plan::RowRange;
use crate::domain::usage::rollup::{ApiPeriod, ApiRollup, Tally};
use crate::output::aggregate::{KeptRow, RunAnswer};
use crate::store::usage::{aggregates, read, rollups};

/// A run with fewer stale periods ends before a progress bar could be read.
const PROGRESS_BAR_FROM: u64 = 2_000;

/// Runs the stages. In the window `rows_win` other programs' rows in the application's table are replaced.
pub(super) fn run(
    context: &Context,
    db: &mut Db,
    args: &AggregateArgs,
    known_apis: usize,
    rows_win: Option<Window>,
) -> Result<RunAnswer> {
    let mut stages = Stages {
        db,
        apis: &args.filter.apis,
        rows_win,
        now: context.now,
        known_apis,
        answer: RunAnswer::default(),
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
    Ok(stages.answer)
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
    rows_win: Option<Window>,
    now: DateTime<Utc>,
    known_apis: usize,
    answer: RunAnswer,
    bar: ProgressBar,
}

impl Stages<'_> {
    fn run(&mut self, granularity: Granularity) -> Result<()> {
        let mut from = Window::ALL.from;
        loop {
            let most = AggregateStep::MOST;
            let stale = rollups::stale(self.db, granularity, self.apis, from, most)?;
            let Some(step) = AggregateStep::first(granularity, stale) else {
                return Ok(());
            };
            let counts = self.count(&step)?;
            self.save(&step, &counts)?;
            self.bar.inc(step.periods.len() as u64);
            // All earlier ones are done; looking there again would search through deleted rows.
            from = step.last.start;
        }
    }

    fn count(&mut self, step: &AggregateStep) -> Result<Counts> {
        let (granularity, window, apis) = (step.granularity, step.window, step.apis());
        self.db.read_tx(|db| {
            let before = rollups::load_to_replace(db, granularity, &apis, window)?;
            let after = match granularity.below() {
                None => count_rows(db, &step.periods, self.known_apis, &mut self.answer)?,
                Some(below) => rollups::merge(db, below, granularity, &apis, window)?,
            };
            Ok(Counts::of(&step.periods, before, after))
        })
    }

    fn save(&mut self, step: &AggregateStep, counts: &Counts) -> Result<()> {
        let granularity = step.granularity;
        let (rewritten, kept) = self.db.write_tx(|db| -> Result<_> {
            let mut rewritten = step.changed(counts);
            for period in &rewritten {
                if counts.before.contains_key(period) {
                    rollups::delete(db, granularity, period)?;
                }
            }
            let new = counts.after.iter();
            rollups::insert(db, granularity, new.filter(|new| rewritten.contains(new.0)))?;

            let mut new = Vec::new();
            let mut kept = Vec::new();
            // In the same transaction, since the application writes to the table at any time.
            let found = aggregates::find(db, granularity, &step.apis(), step.window)?;
            let changes =
                aggregate_row::changes(granularity, &step.periods, counts, &found, self.rows_win);
            for (period, change) in changes.map_err(|e| too_large(granularity, e))? {
                match change {
                    RowChange::Insert(row) => new.push((period, row)),
                    RowChange::Replace(id, row) => {
                        aggregates::replace(db, granularity, &id, period.start, row, self.now)?;
                    }
                    RowChange::Delete(id) => aggregates::delete(db, &id)?,
                    RowChange::Keep { published, counted } => {
                        kept.push(KeptRow {
                            api_name: period.api_name.clone(),
                            aggregation_type: granularity,
                            period_start: period.start,
                            published_requests: published,
                            counted_requests: counted,
                        });
                        continue;
                    }
                }
                rewritten.insert(period);
            }
            aggregates::insert(db, granularity, new, self.now).map_err(inserted_meanwhile)?;

            if let Some((above, containing)) = step.above() {
                rollups::add_stale(db, above, &containing)?;
            }
            rollups::delete_stale(db, granularity, self.apis, &step.last)?;
            Ok((rewritten.len() as u64, kept))
        })?;
        *self.answer.rewritten(granularity) += rewritten;
        if granularity == Granularity::Hourly {
            let emptied = counts.before.keys();
            let emptied = emptied.filter(|hour| !counts.after.contains_key(hour));
            self.answer.hours_emptied += emptied.count() as u64;
        }
        self.answer.kept.extend(kept);
        Ok(())
    }
}

/// Counts hours from their rows.
fn count_rows(
    db: &mut Db,
    hours: &[ApiPeriod],
    known_apis: usize,
    answer: &mut RunAnswer,
) -> Result<BTreeMap<ApiPeriod, ApiRollup>> {
    let mut tally = Tally::of(hours);
    for range in RowRange::of_hours(hours, known_apis) {
        read::for_each(db, &range, |row| {
            let hour = Granularity::Hourly.start_of(row.at);
            tally.add(row.api_name, row.endpoint, hour, &row.call);
        })?;
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
        .with_next("usagectl aggregate --period daily, which leaves the months alone")
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
