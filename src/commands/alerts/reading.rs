//! Reads the usage that rules are evaluated by.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};

use crate::commands::prelude::*;
use crate::domain::alert::evaluate::{Allowance, ApiUsage, RequiredWindows, RuleTarget};
use crate::domain::alert::gaps::Gaps;
use crate::domain::alert::rule::Rule;
use crate::domain::alert::series::Demand;
use crate::domain::period::{Period, Window};
use crate::domain::plans::selection::{self, Billing};
use crate::domain::plans::{ApiLimit, Unit};
use crate::store::alerting::usage;
use crate::store::plans::selections;
use crate::store::usage::{rollups, settings};

/// The limits, as rules compare with them.
pub(super) fn allowances(limits: &[ApiLimit]) -> HashMap<(String, Period), Allowance> {
    let key = |limit: &ApiLimit| (limit.api_name.clone(), limit.period.clone());
    let entries = limits.iter().map(|limit| (key(limit), allowance(limit)));
    entries.collect()
}

fn allowance(limit: &ApiLimit) -> Allowance {
    Allowance {
        value: limit.value,
        of_credits: limit.unit == Unit::Credits,
    }
}

/// The calendar of each provider that a plan is in use of.
pub(super) fn billing(db: &mut Db, now: DateTime<Utc>) -> Result<HashMap<String, Billing>> {
    let selections = selections::all(db)?;
    let in_use = selection::in_use(&selections, now);
    Ok(in_use.map(|it| (it.provider.clone(), it.billing)).collect())
}

/// A rule, applied to an API, its limit and its provider's calendar.
pub(super) fn target<'a>(
    rule: &'a Rule,
    api_name: &'a str,
    limits: &[ApiLimit],
    billing: &HashMap<String, Billing>,
) -> RuleTarget<'a> {
    let fits = |limit: &&ApiLimit| limit.api_name == api_name && limit.period == rule.period;
    RuleTarget {
        rule,
        api_name,
        limit: limits.iter().find(fits).map(allowance),
        billing: billing.get(api_name).copied().unwrap_or_default(),
    }
}

/// Reads the required windows of each API, each part once. Without the triggers roll-ups may be stale, so all
/// calls are counted from the rows.
pub(super) fn read<'a>(
    db: &mut Db,
    needs: &BTreeMap<&'a str, Vec<RequiredWindows>>,
    triggers_are_in_place: bool,
) -> Result<HashMap<&'a str, ApiUsage>> {
    let windows = needs.values().flatten();
    let windows = windows.flat_map(RequiredWindows::tallied);
    let whole = windows.reduce(|a, b| Window::new(a.from.min(b.from), a.to.max(b.to)));
    let calendar = settings::load(db)?.calendar;
    let whole = whole.unwrap_or(Window::new(Window::ALL.from, Window::ALL.from));
    let stale = rollups::stale_by_api(db, calendar, whole)?;
    let mut usage = HashMap::new();
    for (api_name, needs) in needs {
        let windows = needs.iter().flat_map(RequiredWindows::tallied);
        let seconds = needs.iter().filter_map(|needs| needs.seconds);
        let demand = if triggers_are_in_place {
            Demand::new(windows, seconds, stale.of(api_name))
        } else {
            Demand::of_rows(windows, seconds)
        };
        let series = usage::read(db, api_name, demand)?;
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
        usage.insert(*api_name, api_usage);
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
