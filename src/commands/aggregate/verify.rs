//! `aggregate --verify`: compares hours with their rows, days with hours, months with days, and the application's
//! table with all of them. It writes nothing.
//!
//! Stale hours are skipped, with the days and months that contain them: their rows are known to have changed. What
//! remains to be found are changes without a dirty hour.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::AggregateArgs;
use crate::commands::known_apis::require_known;
use crate::commands::prelude::*;
use crate::domain::format::{self, DASH, counted};
use crate::domain::named::Named;
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::aggregate_row::{AggregateRow, FoundRow};
use crate::domain::usage::read_plan::RowRange;
use crate::domain::usage::rollup::{ApiPeriod, ApiRollup, Difference, Rollup, Tally};
use crate::domain::usage::settings::{Mode, Settings};
use crate::output::Format;
use crate::output::aggregate::{FoundDifference, VerifyAnswer};
use crate::store::usage::rollups::Level;
use crate::store::usage::{aggregates, dirty, lookback, read, rollups, settings};

pub(super) fn run(context: &mut Context, db: &mut Db, args: &AggregateArgs) -> Result<Outcome> {
    let answer = db.read_tx(|db| {
        let settings = settings::load(db)?;
        let window = super::window(args, context.now, settings.calendar)?;
        let apis = &args.filter.apis;
        if !apis.is_empty() {
            let known = rollups::known_apis(db)?;
            require_known(db, apis, &known)?;
        }
        differences(db, args, settings, window)
    })?;
    context.detail(format_args!(
        "compared {}, found {}",
        counted(answer.compared, "roll-up"),
        counted(answer.differences.len() as u64, "difference")
    ));
    if answer.hours_waiting > 0 {
        context.info(format_args!(
            "not compared: {} (counted for each API) with rows changed since the last `usagectl aggregate`, and the \
             days and months that contain them",
            counted(answer.hours_waiting, "hour")
        ));
    }
    if !answer.differences.is_empty() || context.format != Format::Table {
        context.answer(&answer)?;
    }
    Ok(match answer.span() {
        None if answer.compared == 0 && answer.hours_waiting > 0 => {
            let next = "usagectl aggregate && usagectl aggregate --verify";
            Outcome::with_next(Exit::Unknown, next)
        }
        None => Outcome::DONE,
        Some(span) => Outcome::with_next(
            Exit::Untrustworthy,
            format!(
                "usagectl aggregate --repair --from {} --to {}",
                format::time(span.from),
                format::time(span.to)
            ),
        ),
    })
}

/// Compares all roll-ups of a window; in one transaction.
pub(super) fn differences(
    db: &mut Db,
    args: &AggregateArgs,
    settings: Settings,
    window: Window,
) -> Result<VerifyAnswer> {
    let mut verification = Verification::new(db, args, settings, window)?;
    for granularity in args.period.stages() {
        verification.compare(db, *granularity)?;
    }
    Ok(verification.answer)
}

/// Lists the periods that differ as stale; in a transaction.
pub(super) fn list_as_stale(db: &mut Db, found: &VerifyAnswer) -> Result<()> {
    for granularity in Granularity::ALL {
        let differences = found.differences.iter();
        let of_this = differences.filter(|it| it.aggregation_type == granularity);
        let periods = of_this.map(|it| ApiPeriod {
            start: it.period_start,
            api_name: it.api_name.clone(),
        });
        rollups::add_stale(db, granularity, &periods.collect())?;
    }
    Ok(())
}

struct Verification<'a> {
    only: &'a [String],
    settings: Settings,
    window: Window,
    apis: BTreeSet<String>,
    days: BTreeSet<DateTime<Utc>>,
    stale: BTreeSet<(Granularity, ApiPeriod)>,
    answer: VerifyAnswer,
}

impl<'a> Verification<'a> {
    fn new(
        db: &mut Db,
        args: &'a AggregateArgs,
        settings: Settings,
        window: Window,
    ) -> Result<Verification<'a>> {
        let calendar = settings.calendar;
        let months = calendar.widened(Granularity::Monthly, window);
        let months = months.widened(Granularity::Hourly);
        let dirty = dirty::dirty_hours(db, months)?;
        let mut stale: BTreeSet<_> = rollups::stale_in(db, months)?.into_iter().collect();
        stale.extend(dirty.into_iter().map(|hour| (Granularity::Hourly, hour)));
        if lookback::mode(db, settings)? == Some(Mode::Lookback) {
            let unmarked = lookback::changed_hours(db, window)?.into_iter();
            stale.extend(unmarked.map(|hour| (Granularity::Hourly, hour)));
        }
        // A period that contains a stale one is stale too.
        for granularity in [Granularity::Hourly, Granularity::Daily] {
            let parts = stale.iter().filter(|(of, _)| *of == granularity);
            let within = parts.flat_map(|(_, part)| part.within(granularity, calendar));
            let above: Vec<_> = within
                .filter_map(|period| Some((granularity.above()?, period)))
                .collect();
            stale.extend(above);
        }
        let mut days = dirty::days_with_rows(db, window)?;
        for granularity in Granularity::ALL {
            let window = calendar.widened(granularity, window);
            let starts = rollups::stored_starts(db, granularity, window)?.into_iter();
            days.extend(starts.map(|start| Granularity::Daily.start_of(start)));
        }
        let mut verification = Verification {
            only: &args.filter.apis,
            settings,
            window,
            apis: rollups::all_apis(db)?,
            days,
            stale,
            answer: VerifyAnswer::default(),
        };
        let hours = verification.stale.iter();
        let waiting = hours
            .filter(|(of, hour)| *of == Granularity::Hourly && verification.is_wanted(*of, hour));
        verification.answer.hours_waiting = waiting.count() as u64;
        Ok(verification)
    }

    /// Compares all roll-ups of a granularity, a day or a month at a time.
    fn compare(&mut self, db: &mut Db, granularity: Granularity) -> Result<()> {
        let (settings, calendar) = (self.settings, self.settings.calendar);
        for unit in self.units(granularity) {
            let apis: BTreeSet<&str> = self.apis.iter().map(String::as_str).collect();
            let stored = rollups::merge(db, granularity, Some, &apis, unit)?;
            let mut in_pieces = BTreeMap::new();
            let (expected, compared_with) = match granularity.below() {
                None => {
                    let hours = count_rows(db, settings, &apis, unit, &mut in_pieces)?;
                    (hours, "rows")
                }
                Some(below) => (
                    rollups::merge_shorter(db, granularity, settings, &apis, unit)?,
                    below.as_str(),
                ),
            };
            let stored_pieces = match in_pieces.is_empty() {
                true => BTreeMap::new(),
                false => rollups::merge(db, Level::Piece, Some, &apis, unit)?,
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
                let from_pieces = || {
                    let cut = calendar
                        .cut_of(period.start)
                        .filter(|_| granularity == Granularity::Hourly)?;
                    [period.clone(), period.at(cut)].iter().find_map(|piece| {
                        let stored = stored_pieces.get(piece).unwrap_or(&none);
                        stored.difference(in_pieces.get(piece).unwrap_or(&none))
                    })
                };
                let from_parts = rollup
                    .unwrap_or(&none)
                    .difference(expected.get(period).unwrap_or(&none))
                    .or_else(from_pieces);
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
                            period_end: calendar.end_of(granularity, period.start),
                            compared_with,
                            difference,
                        }));
                }
            }
        }
        Ok(())
    }

    /// The windows that are compared at a time: UTC days of hours, days, months.
    fn units(&self, granularity: Granularity) -> BTreeSet<Window> {
        let last_moment = TimeDelta::days(1) - TimeDelta::milliseconds(1);
        let days = self.days.iter().flat_map(|day| [*day, *day + last_moment]);
        let unit = |at| match granularity {
            Granularity::Hourly => {
                let start = Granularity::Daily.start_of(at);
                Window::new(start, Granularity::Daily.end_of(start))
            }
            _ => {
                let start = self.settings.calendar.start_of(granularity, at);
                Window::new(start, self.settings.calendar.end_of(granularity, start))
            }
        };
        days.map(unit).collect()
    }

    fn is_compared(&self, granularity: Granularity, period: &ApiPeriod) -> bool {
        self.is_wanted(granularity, period) && !self.stale.contains(&(granularity, period.clone()))
    }

    fn is_wanted(&self, granularity: Granularity, period: &ApiPeriod) -> bool {
        let end = self.settings.calendar.end_of(granularity, period.start);
        (self.only.is_empty() || self.only.contains(&period.api_name))
            && period.start < self.window.to
            && end > self.window.from
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

/// Counts the hours of a window from their rows and the calls without rows; `pieces` gets the parts of hours in which a
/// local day begins.
fn count_rows(
    db: &mut Db,
    settings: Settings,
    apis: &BTreeSet<&str>,
    window: Window,
    pieces: &mut BTreeMap<ApiPeriod, ApiRollup>,
) -> Result<BTreeMap<ApiPeriod, ApiRollup>> {
    let calendar = settings.calendar;
    let range = RowRange::of_all(window);
    let tally = read::count(db, None, &range, calendar, || {
        Tally::new(settings.endpoints)
    })?;
    let mut counted = tally.finish();
    rollups::add_calls_without_rows(db, settings, apis, window, &mut counted)?;
    let mut hours: BTreeMap<ApiPeriod, ApiRollup> = BTreeMap::new();
    for (piece, calls) in counted {
        let hour = piece.at(Granularity::Hourly.start_of(piece.start));
        hours.entry(hour).or_default().merge(&calls);
        if calendar
            .cut_of(Granularity::Hourly.start_of(piece.start))
            .is_some()
        {
            pieces.insert(piece, calls);
        }
    }
    let capped = hours.values_mut().chain(pieces.values_mut());
    capped.for_each(|rollup| rollup.cap(settings.max_endpoints));
    Ok(hours)
}
