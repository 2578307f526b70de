//! `alerts show`: one rule in detail, with a chart of its recent values.

use std::collections::BTreeMap;

use chrono::{DateTime, Months, TimeDelta, Utc};

use super::{find_rules, reading, rule_states};
use crate::args::ApiFilter;
use crate::commands::known_apis::warn_of_unknown;
use crate::commands::prelude::*;
use crate::domain::alert::evaluate::{RequiredWindows, RuleTarget};
use crate::domain::alert::round::Schedule;
use crate::domain::alert::rule::Rule;
use crate::domain::alert::summary::Line;
use crate::domain::alert::window::Grid;
use crate::domain::api_name::ALL_APIS;
use crate::domain::period::Period;
use crate::domain::usage::settings::Mode;
use crate::output::alerts::show::{ApiReadings, RuleDetails};
use crate::store::alerting::{events, rules};
use crate::store::usage::lookback;
use crate::store::usage::rollups;

/// Show a rule, its states and a chart of its recent values
///
/// Shows the settings, the channels, the state for each API and the last events. The chart is computed now
/// from the recorded calls: one column per window, and a line at the threshold.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts show finnhub/RATE_LIMIT_WARNING/MINUTE"))]
pub struct ShowArgs {
    /// Rule: id, unique prefix of an id, or API/TYPE/PERIOD
    #[arg(value_name = "RULE")]
    rule: String,

    #[command(flatten)]
    filter: ApiFilter,
}

/// The columns of a chart of minutes.
const COLUMNS: u32 = 60;

/// The most charts of a rule for all APIs; `--api` shows others.
const CHARTS: usize = 10;

const EVENTS: i64 = 10;

pub fn run(context: &mut Context, args: ShowArgs) -> Result<Outcome> {
    let now = context.now;
    let apis = &args.filter.apis;
    let mut db = context.open(Access::Read)?;
    warn_of_unknown(context, &mut db, apis)?;
    let details = db.read_tx(|db| -> Result<RuleDetails> {
        let mut rules = find_rules(&rules::all(db)?, std::slice::from_ref(&args.rule))?;
        let rule = rules.remove(0);
        let mut lines = rule_states::read(db, now, |known| known.id == rule.id)?;
        lines.retain(|line| apis.is_empty() || apis.contains(&line.api_name));
        let until = now + TimeDelta::milliseconds(1);
        Ok(RuleDetails {
            measured: measure(context, db, &rule, &lines, apis)?,
            events: events::last_of_rule(db, &rule.id, apis, until, EVENTS)?,
            lines,
            rule,
        })
    })?;
    context.finish(&details)
}

/// Evaluates the last windows of the rule for each API.
fn measure(
    context: &mut Context,
    db: &mut Db,
    rule: &Rule,
    lines: &[Line],
    asked: &[String],
) -> Result<Vec<ApiReadings>> {
    if rule.check().is_err() {
        return Ok(Vec::new());
    }
    let apis: Vec<String> = match (asked, lines) {
        ([], [line]) if line.api_name == ALL_APIS => rollups::known_apis(db)?.into_iter().collect(),
        ([], lines) => lines.iter().map(|line| line.api_name.clone()).collect(),
        (asked, _) => asked.to_vec(),
    };
    let schedule = Schedule {
        now: context.now,
        grid: Grid::MINUTES,
        settle: Schedule::SETTLE,
        max_catch_up: TimeDelta::zero(),
    };
    let ends = window_ends(&rule.period, schedule.last(rule.settings.settle));
    let providers = reading::providers(db, schedule.now)?;
    let mut targets: Vec<_> = apis
        .iter()
        .map(|api| providers.target(rule, api, schedule.grid))
        .filter(|target| !target.is_left_out())
        .collect();
    if let Some(next) = targets.get(CHARTS) {
        let (all, next) = (targets.len(), printable(next.api_name));
        context.warn(format_args!(
            "only {CHARTS} of {all} APIs are shown; give at most {CHARTS} --api, such as {next}"
        ));
        targets.truncate(CHARTS);
    }
    let needs: BTreeMap<&str, Vec<RequiredWindows>> = targets
        .iter()
        .map(|target| {
            let needs = ends.iter().map(|at| target.needs(*at));
            (target.api_name, needs.collect())
        })
        .collect();
    let mode = lookback::marks_at_once(db)?.then_some(Mode::Triggers);
    let usage = reading::read(db, &needs, mode)?;
    let measured = |target: &RuleTarget<'_>| {
        let usage = usage.get(target.api_name)?;
        let read = |at: &DateTime<Utc>| target.read(*at, usage);
        Some(ApiReadings {
            api_name: target.api_name.to_owned(),
            readings: ends.iter().map(read).collect(),
            unit: target.limit_unit(),
        })
    };
    Ok(targets.iter().filter_map(measured).collect())
}

/// The ends of the last windows, one period apart, the oldest first. A rule per second has one window a
/// minute, that of its busiest second.
fn window_ends(period: &Period, last: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let (count, apart) = match period {
        Period::Hour => (48, TimeDelta::hours(1)),
        Period::Day => (30, TimeDelta::days(1)),
        Period::Month => (12, TimeDelta::zero()),
        _ => (COLUMNS, TimeDelta::minutes(1)),
    };
    let back = |steps: u32| match period {
        Period::Month => last.checked_sub_months(Months::new(steps)),
        _ => last.checked_sub_signed(apart * i32::try_from(steps).ok()?),
    };
    (0..count).rev().filter_map(back).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_end_one_period_apart() {
        let last: DateTime<Utc> = "2026-03-31T12:00:00Z".parse().unwrap();
        let ends = |period| window_ends(&period, last);
        let minutes = ends(Period::Minute);
        assert_eq!(
            (minutes.len(), minutes[0]),
            (60, last - TimeDelta::minutes(59))
        );
        let hours = ends(Period::Hour);
        assert_eq!((hours.len(), hours[0]), (48, last - TimeDelta::hours(47)));
        let months = ends(Period::Month);
        assert_eq!(months.len(), 12);
        // The last day of a shorter month.
        assert_eq!(months[10].to_string(), "2026-02-28 12:00:00 UTC");
    }
}
