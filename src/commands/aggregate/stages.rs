//! One granularity after the other: hours are counted from rows, days are merged from hours, months from
//! days. Each step takes the first stale periods off the list, and what it saves, it saves in one
//! transaction with striking them off and listing the periods above: killed anywhere, the next run goes on.
//!
//! Counting reads outside of that transaction, so writers do not wait for it. A row that comes in
//! between brings a mark of its own, and the next run counts its hour again.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use indicatif::{ProgressBar, ProgressStyle};

use super::AggregateArgs;
use crate::context::Context;
use crate::domain::period::{Granularity, Window, shown};
use crate::domain::usage::aggregate_row;
use crate::domain::usage::aggregate_row::{TooLarge, Verdict};
use crate::domain::usage::read_plan::slices;
use crate::domain::usage::rollup::{ApiPeriod, ApiRollup, Tally};
use crate::error::{Error, Exit, Result};
use crate::output::aggregate::{Kept, RunAnswer};
use crate::store::db::Db;
use crate::store::usage::{aggregates, read, rollups};

/// How many periods one step takes: enough that a transaction is worth its while, few enough that their
/// roll-ups, one for each endpoint, fit into little memory.
const STEP: usize = 500;

/// A run with fewer stale hours is over before a bar could be read.
const WORTH_A_BAR: u64 = 2_000;

/// How far the periods of one step may lie apart: all that is stored between them is read to compare.
fn longest_step(granularity: Granularity) -> TimeDelta {
    match granularity {
        Granularity::Hourly => TimeDelta::days(3),
        Granularity::Daily => TimeDelta::days(62),
        Granularity::Monthly => TimeDelta::days(732),
    }
}

/// Runs the stages. In the stretch of time `rows_rule` the rows are the truth, whatever another program
/// has written into the application's table.
pub(super) fn run(
    context: &Context,
    db: &mut Db,
    args: &AggregateArgs,
    known_apis: usize,
    rows_rule: Option<Window>,
) -> Result<RunAnswer> {
    let mut stages = Stages {
        db,
        apis: &args.filter.apis,
        rows_rule,
        now: context.now,
        known_apis,
        answer: RunAnswer::default(),
        bar: ProgressBar::hidden(),
    };
    for granularity in args.period.stages() {
        let waiting = rollups::count_stale(stages.db, *granularity, &args.filter.apis)?;
        if context.progress && waiting >= WORTH_A_BAR {
            stages.bar = bar(*granularity, waiting);
        }
        stages.run(*granularity)?;
        stages.bar.finish_and_clear();
        stages.bar = ProgressBar::hidden();
    }
    Ok(stages.answer)
}

fn bar(granularity: Granularity, length: u64) -> ProgressBar {
    let what = granularity.unit();
    let template =
        format!("{{bar:40}} {{human_pos}} of {{human_len}} {what}, {{per_sec}}, {{eta}} left");
    let style =
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

struct Stages<'a> {
    db: &'a mut Db,
    apis: &'a [String],
    rows_rule: Option<Window>,
    now: DateTime<Utc>,
    known_apis: usize,
    answer: RunAnswer,
    bar: ProgressBar,
}

impl Stages<'_> {
    fn run(&mut self, granularity: Granularity) -> Result<()> {
        let mut from = Window::ALL.from;
        loop {
            let mut step = rollups::stale(self.db, granularity, self.apis, from, STEP)?;
            let Some(first) = step.first() else {
                return Ok(());
            };
            let end = first.start + longest_step(granularity);
            step.retain(|period| period.start < end);
            let counts = self.db.read_tx(|db| -> Result<_> {
                let (apis, window) = (apis_of(&step), span(granularity, &step));
                let mut before = rollups::load_to_replace(db, granularity, &apis, window)?;
                let mut after = match granularity.below() {
                    None => count(db, &step, self.known_apis, &mut self.answer)?,
                    Some(below) => rollups::merge(db, below, granularity, &apis, window)?,
                };
                let wanted: BTreeSet<&ApiPeriod> = step.iter().collect();
                before.retain(|period, _| wanted.contains(period));
                after.retain(|period, _| wanted.contains(period));
                Ok(Counts { before, after })
            })?;
            self.save(granularity, &step, &counts)?;
            self.bar.inc(step.len() as u64);
            // All before it is done; looking there again would cost a search through what was deleted.
            from = step.last().map_or(end, |last| last.start);
        }
    }

    fn save(
        &mut self,
        granularity: Granularity,
        step: &[ApiPeriod],
        counts: &Counts,
    ) -> Result<()> {
        let Some(last) = step.last() else {
            return Ok(());
        };
        let (apis, rows_rule, now) = (self.apis, self.rows_rule, self.now);
        let (rewritten, kept) = self.db.write_tx(|db| -> Result<_> {
            let mut rewritten = store(db, granularity, step, counts)?;
            let published = publish(db, granularity, step, counts, rows_rule, now)?;
            rewritten.extend(published.rewritten);
            if let Some(above) = granularity.above() {
                let containing = step.iter().map(|period| ApiPeriod {
                    start: above.start_of(period.start),
                    api_name: period.api_name.clone(),
                });
                rollups::add_stale(db, above, &containing.collect())?;
            }
            rollups::remove_stale(db, granularity, apis, last)?;
            Ok((rewritten.len() as u64, published.kept))
        })?;
        *self.answer.rewritten(granularity) += rewritten;
        if granularity == Granularity::Hourly {
            let gone = counts
                .before
                .keys()
                .filter(|hour| !counts.after.contains_key(hour));
            self.answer.hours_emptied += gone.count() as u64;
        }
        self.answer.kept.extend(kept);
        Ok(())
    }
}

/// What was stored of the periods of a step, and what is to be. A period without calls has no roll-up.
struct Counts {
    before: BTreeMap<ApiPeriod, ApiRollup>,
    after: BTreeMap<ApiPeriod, ApiRollup>,
}

/// Stores what changed, and returns which periods that were.
fn store<'a>(
    db: &mut Db,
    granularity: Granularity,
    step: &'a [ApiPeriod],
    counts: &Counts,
) -> Result<BTreeSet<&'a ApiPeriod>> {
    let Counts { before, after } = counts;
    let changed = step
        .iter()
        .filter(|period| before.get(period) != after.get(period));
    let changed: BTreeSet<&ApiPeriod> = changed.collect();
    for period in &changed {
        if before.contains_key(period) {
            rollups::remove(db, granularity, period)?;
        }
    }
    let new = after.iter().filter(|(period, _)| changed.contains(period));
    rollups::insert(db, granularity, new)?;
    Ok(changed)
}

struct PublishedStep<'a> {
    rewritten: Vec<&'a ApiPeriod>,
    kept: Vec<Kept>,
}

/// Brings the application's table up to date. It is read in the same transaction, since the application
/// writes to it when it likes.
fn publish<'a>(
    db: &mut Db,
    granularity: Granularity,
    step: &'a [ApiPeriod],
    counts: &Counts,
    rows_rule: Option<Window>,
    now: DateTime<Utc>,
) -> Result<PublishedStep<'a>> {
    let mut done = PublishedStep {
        rewritten: Vec::new(),
        kept: Vec::new(),
    };
    let mut new = Vec::new();
    let rows = aggregates::find(db, granularity, &apis_of(step), span(granularity, step))?;
    for period in step {
        let found = rows.get(period);
        let counted = counts.after.get(period).map(|rollup| &rollup.total);
        let verdict = aggregate_row::judge(
            found.map(|row| &row.published),
            counts.before.get(period).map(|rollup| &rollup.total),
            counted,
            rows_rule.is_some_and(|window| window.encloses(granularity, period.start)),
        );
        let verdict = verdict.map_err(|error| too_large(error, granularity, period))?;
        match (verdict, found) {
            (Verdict::Insert(row), _) => new.push((period, row)),
            (Verdict::Replace(row), Some(found)) => {
                aggregates::replace(db, granularity, &found.id, period.start, row, now)?;
            }
            (Verdict::Remove, Some(found)) => aggregates::remove(db, &found.id)?,
            (Verdict::Keep, Some(found)) => {
                done.kept.push(Kept {
                    granularity,
                    period: period.clone(),
                    published: found.published.total_requests,
                    counted: counted.map_or(0, |total| total.total_requests),
                });
                continue;
            }
            (Verdict::Right, Some(found)) if !found.canonical => {
                let row = found.published.clone();
                aggregates::replace(db, granularity, &found.id, period.start, row, now)?;
            }
            _ => continue,
        }
        done.rewritten.push(period);
    }
    aggregates::insert(db, granularity, new, now).map_err(written_meanwhile)?;
    Ok(done)
}

/// Counts the hours of a step from their rows.
fn count(
    db: &mut Db,
    hours: &[ApiPeriod],
    known_apis: usize,
    answer: &mut RunAnswer,
) -> Result<BTreeMap<ApiPeriod, ApiRollup>> {
    let mut tally = Tally::of(hours);
    for slice in slices(hours, known_apis) {
        read::for_each(db, &slice, |row| {
            let hour = Granularity::Hourly.start_of(row.at);
            tally.add(row.api_name, row.endpoint, hour, &row.call);
        })?;
    }
    answer.rows_read += tally.rows;
    answer.costs_left_out += tally.left_out.costs;
    answer.response_times_left_out += tally.left_out.response_times;
    Ok(tally.finish())
}

fn apis_of(step: &[ApiPeriod]) -> BTreeSet<&str> {
    step.iter().map(|period| period.api_name.as_str()).collect()
}

/// From the start of the first to the end of the last, which is the order of the list.
fn span(granularity: Granularity, step: &[ApiPeriod]) -> Window {
    let from = step.first().map_or(Window::ALL.from, |first| first.start);
    Window {
        from,
        to: step
            .last()
            .map_or(from, |last| granularity.end_of(last.start)),
    }
}

fn too_large(error: TooLarge, granularity: Granularity, period: &ApiPeriod) -> Error {
    let start = shown(period.start);
    Error::new(Exit::Failed, error)
        .context(format!("{} {granularity} {start}", period.api_name))
        .with_next("usagectl aggregate --period daily, which leaves the months alone")
}

fn written_meanwhile(error: DieselError) -> Error {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Error::message(
            Exit::Busy,
            "another program wrote a roll-up of the same period meanwhile",
        )
        .with_next("run the same command again"),
        error => error.into(),
    }
}
