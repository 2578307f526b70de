//! What is stored against what it should be: hours against rows, days against hours, months against days,
//! and the application's table against all of them. It writes nothing.
//!
//! Hours that wait for the next run are passed over, with the days and months that contain them: that
//! their rows changed is known. What is left to find are changes that nobody marked.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::AggregateArgs;
use crate::context::Context;
use crate::domain::format::counted;
use crate::domain::period::{Granularity, Window, shown};
use crate::domain::usage::aggregate_row::Published;
use crate::domain::usage::read_plan::Slice;
use crate::domain::usage::rollup::{ApiPeriod, ApiRollup, Rollup, Tally};
use crate::error::{Exit, Outcome, Result};
use crate::output::Format;
use crate::output::aggregate::{Difference, VerifyAnswer};
use crate::store::db::Db;
use crate::store::usage::aggregates;
use crate::store::usage::aggregates::Found;
use crate::store::usage::{dirty, read, rollups};

pub(super) fn run(
    context: &mut Context,
    db: &mut Db,
    args: &AggregateArgs,
    window: Window,
) -> Result<Outcome> {
    let answer = db.read_tx(|db| -> Result<_> {
        let mut verification = Verification::new(db, args, window)?;
        for granularity in args.period.stages() {
            verification.compare(db, *granularity)?;
        }
        Ok(verification.answer)
    })?;
    context.detail(format_args!(
        "compared {}, found {}; {} changed since the last run and passed over",
        counted(answer.compared, "roll-up"),
        counted(answer.differences.len() as u64, "difference"),
        counted(answer.hours_waiting, "hour")
    ));
    if !answer.differences.is_empty() || context.format != Format::Table {
        context.answer(&answer)?;
    }
    let starts = || answer.differences.iter();
    let from = starts().map(|it| it.period.start).min();
    let to = starts()
        .map(|it| it.granularity.end_of(it.period.start))
        .max();
    Ok(match from.zip(to) {
        None => Outcome::DONE,
        Some((from, to)) => Outcome::with_next(
            Exit::Untrustworthy,
            format!(
                "usagectl aggregate --rebuild --from {} --to {}",
                shown(from),
                shown(to)
            ),
        ),
    })
}

struct Verification<'a> {
    only: &'a [String],
    window: Window,
    apis: BTreeSet<String>,
    days: BTreeSet<DateTime<Utc>>,
    waiting: BTreeSet<(Granularity, ApiPeriod)>,
    answer: VerifyAnswer,
}

impl<'a> Verification<'a> {
    fn new(db: &mut Db, args: &'a AggregateArgs, window: Window) -> Result<Verification<'a>> {
        let months = window.widened(Granularity::Monthly);
        let dirty = dirty::dirty_hours(db, months)?;
        let mut waiting: BTreeSet<_> = rollups::stale_in(db, months)?.into_iter().collect();
        waiting.extend(dirty.into_iter().map(|hour| (Granularity::Hourly, hour)));
        let hours_waiting = waiting
            .iter()
            .filter(|(of, _)| *of == Granularity::Hourly)
            .count();
        // What contains a waiting period waits too.
        for granularity in [Granularity::Hourly, Granularity::Daily] {
            let above: Vec<_> = waiting
                .iter()
                .filter(|(of, _)| *of == granularity)
                .filter_map(|(_, period)| {
                    let above = granularity.above()?;
                    let start = above.start_of(period.start);
                    let api_name = period.api_name.clone();
                    Some((above, ApiPeriod { start, api_name }))
                })
                .collect();
            waiting.extend(above);
        }
        let mut days = dirty::days_with_rows(db, window)?;
        for granularity in Granularity::ALL {
            let stored = rollups::stored_starts(db, granularity, window.widened(granularity))?;
            days.extend(
                stored
                    .iter()
                    .map(|start| Granularity::Daily.start_of(*start)),
            );
        }
        Ok(Verification {
            only: &args.filter.apis,
            window,
            apis: rollups::all_apis(db)?,
            days,
            waiting,
            answer: VerifyAnswer {
                hours_waiting: hours_waiting as u64,
                ..VerifyAnswer::default()
            },
        })
    }

    /// Compares all roll-ups of a granularity, a day or a month at a time.
    fn compare(&mut self, db: &mut Db, granularity: Granularity) -> Result<()> {
        let unit = granularity.max(Granularity::Daily);
        let units: BTreeSet<_> = self.days.iter().map(|day| unit.start_of(*day)).collect();
        for start in units {
            let unit = Window {
                from: start,
                to: unit.end_of(start),
            };
            let apis: BTreeSet<&str> = self.apis.iter().map(String::as_str).collect();
            let stored = rollups::load(db, granularity, &apis, unit)?;
            let (expected, compared_with) = match granularity.below() {
                None => (count(db, unit)?, "rows"),
                Some(below) => (
                    rollups::merge(db, below, granularity, &apis, unit)?,
                    below.as_str(),
                ),
            };
            let published = aggregates::find(db, granularity, &apis, unit)?;
            let periods: BTreeSet<&ApiPeriod> = stored.keys().chain(expected.keys()).collect();
            for period in periods {
                if self.is_asked_for(granularity, period) {
                    self.answer.compared += 1;
                    let roll_up = stored.get(period);
                    let differences = [
                        against(expected.get(period), roll_up, compared_with),
                        roll_up.and_then(|stored| shown_as(&stored.total, published.get(period))),
                    ];
                    for (compared_with, field, stored, found) in differences.into_iter().flatten() {
                        self.answer.differences.push(Difference {
                            granularity,
                            period: period.clone(),
                            compared_with,
                            field,
                            stored,
                            found,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    fn is_asked_for(&self, granularity: Granularity, period: &ApiPeriod) -> bool {
        let end = granularity.end_of(period.start);
        let named = self.only.is_empty() || self.only.contains(&period.api_name);
        named
            && period.start < self.window.to
            && end > self.window.from
            && !self.waiting.contains(&(granularity, period.clone()))
    }
}

/// What it is compared with, the field, what is stored, what was found.
type Finding = (&'static str, &'static str, String, String);

fn against(
    expected: Option<&ApiRollup>,
    stored: Option<&ApiRollup>,
    compared_with: &'static str,
) -> Option<Finding> {
    let nothing = ApiRollup::default();
    let (expected, stored) = (expected.unwrap_or(&nothing), stored.unwrap_or(&nothing));
    let found = |(field, stored, found)| Some((compared_with, field, stored, found));
    if let Some(difference) = stored.total.difference(&expected.total) {
        return found(difference);
    }
    let endpoints: BTreeSet<&String> = stored
        .endpoints
        .keys()
        .chain(expected.endpoints.keys())
        .collect();
    let none = Rollup::default();
    endpoints.into_iter().find_map(|endpoint| {
        let of = |rollup: &'_ ApiRollup| rollup.endpoints.get(endpoint).unwrap_or(&none).clone();
        of(stored).difference(&of(expected)).and_then(found)
    })
}

/// How the row in the application's table differs from the roll-up.
fn shown_as(stored: &Rollup, found: Option<&Found>) -> Option<Finding> {
    let place = "api_usage_aggregates";
    let Some(found) = found else {
        return Some((
            place,
            "total_requests",
            stored.total_requests.to_string(),
            "-".to_owned(),
        ));
    };
    let wanted = Published::of(stored).ok()?;
    let (field, wanted, found) = wanted.difference(&found.published)?;
    Some((place, field, wanted, found))
}

/// Counts the hours of a stretch of time from their rows.
fn count(db: &mut Db, window: Window) -> Result<BTreeMap<ApiPeriod, ApiRollup>> {
    let mut tally = Tally::default();
    let slice = Slice {
        api_name: None,
        window,
    };
    read::for_each(db, &slice, |row| {
        let hour = Granularity::Hourly.start_of(row.at);
        tally.add(row.api_name, row.endpoint, hour, &row.call);
    })?;
    Ok(tally.finish())
}
