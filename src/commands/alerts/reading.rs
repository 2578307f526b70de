//! Reads the usage that rules are evaluated by.

use std::collections::{BTreeMap, HashMap};

use crate::commands::prelude::*;
use crate::domain::alert::evaluate::{Allowance, ApiUsage, RequiredWindows, RuleTarget};
use crate::domain::alert::rule::Rule;
use crate::domain::alert::series::Demand;
use crate::domain::period::{Period, Window};
use crate::domain::plans::{ApiLimit, Unit};
use crate::domain::usage::read_plan::StalePeriods;
use crate::store::alerting::usage;
use crate::store::usage::rollups;

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

/// A rule, applied to an API and its limit.
pub(super) fn target<'a>(rule: &'a Rule, api_name: &'a str, limits: &[ApiLimit]) -> RuleTarget<'a> {
    let fits = |limit: &&ApiLimit| limit.api_name == api_name && limit.period == rule.period;
    RuleTarget {
        rule,
        api_name,
        limit: limits.iter().find(fits).map(allowance),
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
    let windows = windows
        .flat_map(|needs| [needs.window, needs.baseline])
        .flatten();
    let whole = windows.reduce(|a, b| Window::new(a.from.min(b.from), a.to.max(b.to)));
    let stale = match whole {
        Some(whole) => rollups::stale_by_api(db, whole)?,
        None => HashMap::new(),
    };
    let fresh = StalePeriods::default();
    let mut usage = HashMap::new();
    for (api_name, needs) in needs {
        let windows = needs
            .iter()
            .flat_map(|needs| [needs.window, needs.baseline]);
        let seconds = needs.iter().filter_map(|needs| needs.seconds);
        let demand = if triggers_are_in_place {
            let stale = stale.get(*api_name).unwrap_or(&fresh);
            Demand::new(windows.flatten(), seconds, stale)
        } else {
            Demand::of_rows(windows.flatten(), seconds)
        };
        let series = usage::read(db, api_name, demand)?;
        let begins = usage::first_call_hour(db, api_name)?;
        usage.insert(*api_name, ApiUsage { series, begins });
    }
    Ok(usage)
}
