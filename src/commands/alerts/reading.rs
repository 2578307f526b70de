//! Reads the usage that rules are evaluated by.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};

use crate::commands::prelude::*;
use crate::domain::alert::evaluate::{ApiUsage, Providers, RequiredWindows};
use crate::domain::alert::gaps::Gaps;
use crate::domain::alert::series::{Demand, Series};
use crate::domain::period::Window;
use crate::domain::plans::selection::BillingCalendars;
use crate::domain::usage::settings::Mode;
use crate::store::alerting::usage;
use crate::store::plans::{api_limits, selections};
use crate::store::usage::{rollups, settings};

/// The limits of all APIs, and the calendars of their providers: that of the plan in use, or else of the database.
pub(in crate::commands) fn providers(db: &mut Db, now: DateTime<Utc>) -> Result<Providers> {
    let zone = settings::load(db)?.calendar.zone;
    let billing = BillingCalendars::new(&selections::all(db)?, now, zone);
    Ok(Providers::new(&api_limits::all(db)?, billing))
}

/// Reads the calls in the required windows of each API, each part once. `mode` is how changed hours were found; if they
/// are unknown, roll-ups may be stale, so all calls are counted from the rows.
pub(in crate::commands) fn series<'a>(
    db: &mut Db,
    needs: &BTreeMap<&'a str, Vec<RequiredWindows>>,
    mode: Option<Mode>,
) -> Result<HashMap<&'a str, Series>> {
    let windows = needs.values().flatten();
    let windows = windows.flat_map(RequiredWindows::tallied);
    let whole = windows.reduce(|a, b| Window::new(a.from.min(b.from), a.to.max(b.to)));
    let calendar = settings::load(db)?.calendar;
    let whole = whole.unwrap_or(Window::new(Window::ALL.from, Window::ALL.from));
    let stale = rollups::stale_by_api(db, calendar, whole)?;
    let demand = |(api_name, needs): (&&'a str, &Vec<RequiredWindows>)| {
        let windows = needs.iter().flat_map(RequiredWindows::tallied);
        let seconds = needs.iter().filter_map(|needs| needs.seconds);
        let demand = match mode {
            Some(mode) => Demand::new(windows, seconds, mode, stale.of(api_name)),
            None => Demand::of_rows(windows, seconds),
        };
        (*api_name, demand)
    };
    usage::read(db, needs.iter().map(demand))
}

/// Reads the usage of each API that the steps require.
pub(super) fn read<'a>(
    db: &mut Db,
    needs: &BTreeMap<&'a str, Vec<RequiredWindows>>,
    mode: Option<Mode>,
) -> Result<HashMap<&'a str, ApiUsage>> {
    let mut usage = HashMap::new();
    for (api_name, series) in series(db, needs, mode)? {
        let needs = needs.get(api_name).map_or(&[][..], Vec::as_slice);
        let begins = usage::first_call_hour(db, api_name)?;
        let mut gaps = Gaps::default();
        let mut recent: Vec<Window> = needs.iter().filter_map(|needs| needs.recent).collect();
        recent.sort_unstable();
        recent.dedup();
        for (least, window) in RequiredWindows::gaps(needs) {
            let steps = steps_of(&recent, least, window);
            let has_calls = |part: &Window| series.tally(*part).calls > 0;
            let found = match steps {
                Some(steps) => {
                    let active: Vec<Window> = steps.iter().copied().filter(has_calls).collect();
                    let from = steps.first().map_or(window.to, |first| first.from);
                    let window = Window::new(from, window.to);
                    usage::gaps(db, api_name, least, window, Some(&active))?
                }
                None => usage::gaps(db, api_name, least, window, None)?,
            };
            gaps.insert(least, found);
        }
        let api_usage = ApiUsage {
            series,
            begins,
            gaps,
        };
        usage.insert(api_name, api_usage);
    }
    Ok(usage)
}

/// The intervals between the steps that require gaps in `window`, if all of them are tallied. `recent` are in order.
fn steps_of(recent: &[Window], least: TimeDelta, window: Window) -> Option<Vec<Window>> {
    let first_step = window.from.checked_add_signed(least)?;
    let mut steps = Vec::new();
    let mut end = window.to;
    for step in recent.iter().rev() {
        if step.to == end && end >= first_step {
            end = step.from;
            steps.push(*step);
        }
    }
    steps.reverse();
    (end < first_step).then_some(steps)
}
