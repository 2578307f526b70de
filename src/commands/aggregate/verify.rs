//! `aggregate --verify`: compares hours with their rows, days with hours, months with days, and the application's
//! table with all of them. It writes nothing.
//!
//! Stale hours are skipped, with the days and months that contain them: their rows are known to have changed. What
//! remains to be found are changes without a dirty hour.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::AggregateArgs;
use crate::commands::prelude::*;
use crate::domain::format::{self, DASH, counted};
use crate::domain::named::Named;
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::aggregate_row::{AggregateRow, FoundRow};
use crate::domain::usage::read_plan::RowRange;
use crate::domain::usage::rollup::{ApiPeriod, ApiRollup, Difference, Rollup, Tally};
use crate::output::Format;
use crate::output::aggregate::{FoundDifference, VerifyAnswer};
use crate::store::usage::{aggregates, dirty, read, rollups};

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
        "compared {}, found {}; skipped {} changed since the last run",
        counted(answer.compared, "roll-up"),
        counted(answer.differences.len() as u64, "difference"),
        counted(answer.hours_waiting, "hour")
    ));
    if !answer.differences.is_empty() || context.format != Format::Table {
        context.answer(&answer)?;
    }
    Ok(match answer.span() {
        None => Outcome::DONE,
        Some(span) => Outcome::with_next(
            Exit::Untrustworthy,
            format!(
                "usagectl aggregate --rebuild --from {} --to {}",
                format::time(span.from),
                format::time(span.to)
            ),
        ),
    })
}

struct Verification<'a> {
    only: &'a [String],
    window: Window,
    apis: BTreeSet<String>,
    days: BTreeSet<DateTime<Utc>>,
    stale: BTreeSet<(Granularity, ApiPeriod)>,
    answer: VerifyAnswer,
}

impl<'a> Verification<'a> {
    fn new(db: &mut Db, args: &'a AggregateArgs, window: Window) -> Result<Verification<'a>> {
        let months = window.widened(Granularity::Monthly);
        let dirty = dirty::dirty_hours(db, months)?;
        let mut stale: BTreeSet<_> = rollups::stale_in(db, months)?.into_iter().collect();
        stale.extend(dirty.into_iter().map(|hour| (Granularity::Hourly, hour)));
        let hours = stale.iter().filter(|(of, _)| *of == Granularity::Hourly);
        let hours_waiting = hours.count() as u64;
        // A period that contains a stale one is stale too.
        for granularity in [Granularity::Daily, Granularity::Monthly] {
            let parts = stale
                .iter()
                .filter(|(of, _)| Some(*of) == granularity.below());
            let above: Vec<_> = parts
                .map(|(_, period)| (granularity, period.within(granularity)))
                .collect();
            stale.extend(above);
        }
        let mut days = dirty::days_with_rows(db, window)?;
        for granularity in Granularity::ALL {
            let starts = rollups::stored_starts(db, granularity, window.widened(granularity))?;
            days.extend(
                starts
                    .into_iter()
                    .map(|start| Granularity::Daily.start_of(start)),
            );
        }
        Ok(Verification {
            only: &args.filter.apis,
            window,
            apis: rollups::all_apis(db)?,
            days,
            stale,
            answer: VerifyAnswer {
                hours_waiting,
                ..VerifyAnswer::default()
            },
        })
    }

    /// Compares all roll-ups of a granularity, a day or a month at a time.
    fn compare(&mut self, db: &mut Db, granularity: Granularity) -> Result<()> {
        let unit = granularity.max(Granularity::Daily);
        let units: BTreeSet<_> = self.days.iter().map(|day| unit.start_of(*day)).collect();
        for start in units {
            let unit = Window::new(start, unit.end_of(start));
            let apis: BTreeSet<&str> = self.apis.iter().map(String::as_str).collect();
            let stored = rollups::merge(db, granularity, granularity, &apis, unit)?;
            let (expected, compared_with) = match granularity.below() {
                None => (count_rows(db, unit)?, "rows"),
                Some(below) => (
                    rollups::merge(db, below, granularity, &apis, unit)?,
                    below.as_str(),
                ),
            };
            let published = aggregates::find(db, granularity, &apis, unit)?;
            let none = ApiRollup::default();
            let periods: BTreeSet<&ApiPeriod> = stored.keys().chain(expected.keys()).collect();
            for period in periods {
                if !self.is_compared(granularity, period) {
                    continue;
                }
                self.answer.compared += 1;
                let rollup = stored.get(period);
                let from_parts = rollup
                    .unwrap_or(&none)
                    .difference(expected.get(period).unwrap_or(&none));
                let from_row =
                    rollup.and_then(|rollup| row_difference(&rollup.total, published.get(period)));
                let differences = [
                    (compared_with, from_parts),
                    ("api_usage_aggregates", from_row),
                ];
                for (compared_with, difference) in differences {
                    self.answer
                        .differences
                        .extend(difference.map(|difference| FoundDifference {
                            api_name: period.api_name.clone(),
                            aggregation_type: granularity,
                            period_start: period.start,
                            compared_with,
                            difference,
                        }));
                }
            }
        }
        Ok(())
    }

    fn is_compared(&self, granularity: Granularity, period: &ApiPeriod) -> bool {
        let end = granularity.end_of(period.start);
        let is_wanted = self.only.is_empty() || self.only.contains(&period.api_name);
        is_wanted
            && period.start < self.window.to
            && end > self.window.from
            && !self.stale.contains(&(granularity, period.clone()))
    }
}

/// How the row in the application's table differs from the roll-up.
fn row_difference(stored: &Rollup, found: Option<&FoundRow>) -> Option<Difference> {
    match found {
        Some(found) => AggregateRow::of(stored).ok()?.difference(&found.row),
        None => Some(Difference {
            field: "total_requests",
            stored: stored.total_requests.to_string(),
            found: DASH.to_owned(),
        }),
    }
}

/// Counts the hours of a window from their rows.
fn count_rows(db: &mut Db, window: Window) -> Result<BTreeMap<ApiPeriod, ApiRollup>> {
    let mut tally = Tally::default();
    read::for_each(db, &RowRange::of_all(window), |row| {
        let hour = Granularity::Hourly.start_of(row.at);
        tally.add(row.api_name, row.endpoint, hour, &row.call);
    })?;
    Ok(tally.finish())
}
