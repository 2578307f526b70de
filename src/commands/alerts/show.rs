//! `alerts show`: all there is about a rule, with a chart of what it measured.

use std::collections::BTreeMap;

use chrono::{DateTime, Months, TimeDelta, Utc};
use clap::Args;

use super::{chosen, overview, reading};
use crate::context::Context;
use crate::domain::alert::evaluate::{Needs, Subject};
use crate::domain::alert::event::Event;
use crate::domain::alert::rule::{ALL_APIS, Rule};
use crate::domain::alert::summary::Line;
use crate::domain::alert::window::Grid;
use crate::domain::period::Period;
use crate::domain::period::Window;
use crate::error::{Outcome, Result};
use crate::output::alerts::show::{Measured, RuleShown};
use crate::store::alerting::{events, rules};
use crate::store::db::{Access, Db};
use crate::store::plans::api_limits;
use crate::store::usage::{dirty, rollups};

/// Show all there is about a rule, with a chart of what it measured
///
/// What it says, whom it tells, where it stands for each API, and what happened to it of late. The chart is
/// computed now, from the data, with a line where the threshold is: a column for each of the last windows.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts show \
finnhub/RATE_LIMIT_WARNING/MINUTE"
)]
pub struct ShowArgs {
    /// Which rule: an id, the beginning of one, or API/TYPE/PERIOD
    #[arg(value_name = "RULE")]
    rule: String,

    /// Of a rule for all APIs, only what it says of this one
    #[arg(long, value_name = "NAME")]
    api: Option<String>,
}

/// A chart is at most this wide.
const COLUMNS: u32 = 60;

/// A rule for all APIs has at most so many charts; `--api` asks for others.
const CHARTS: usize = 10;

/// So many events are shown, the last ones.
const EVENTS: usize = 10;

/// When the last check would have judged: its calls have come in.
const SETTLE: TimeDelta = TimeDelta::seconds(10);

/// Reads, computes and answers.
pub fn run(context: &mut Context, args: ShowArgs) -> Result<Outcome> {
    let now = context.now;
    let mut db = context.open(Access::Read)?;
    let shown = db.read_tx(|db| -> Result<RuleShown> {
        let mut rules = chosen(&rules::rules(db)?, std::slice::from_ref(&args.rule))?;
        let rule = rules.remove(0);
        let mut lines = overview::read(db, now, |known| known.id == rule.id)?;
        if let Some(api) = &args.api {
            lines.retain(|line| line.api_name == *api);
        }
        Ok(RuleShown {
            measured: measure(db, &rule, &lines, args.api.as_deref(), now)?,
            events: events(db, &rule, now)?,
            lines,
            rule,
        })
    })?;
    context.answer(&shown)?;
    Ok(Outcome::DONE)
}

/// What the rule measured in its last windows, for each API.
fn measure(
    db: &mut Db,
    rule: &Rule,
    lines: &[Line],
    asked: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Vec<Measured>> {
    if rule.check().is_err() {
        return Ok(Vec::new());
    }
    let apis: Vec<String> = match (asked, rule.api_name.as_str()) {
        (Some(api), _) => vec![api.to_owned()],
        (None, ALL_APIS) => match lines {
            [line] if line.api_name == ALL_APIS => rollups::known_apis(db)?.into_iter().collect(),
            lines => lines.iter().map(|line| line.api_name.clone()).collect(),
        },
        (None, api) => vec![api.to_owned()],
    };
    let grid = Grid::MINUTES;
    let steps = steps(&rule.period, grid.at_or_before(now - SETTLE));
    let limits = api_limits::all(db)?;
    let subjects: Vec<_> = apis
        .iter()
        .take(CHARTS)
        .map(|api| reading::subject(rule, api, &limits))
        .collect();
    let needs: BTreeMap<&str, Vec<Needs>> = subjects
        .iter()
        .map(|subject| {
            let needs = steps.iter().map(|at| subject.needs(*at, grid));
            (subject.api_name, needs.collect())
        })
        .collect();
    let triggers_are_in_place = dirty::triggers_are_in_place(db)?;
    let usage = reading::read(db, &needs, triggers_are_in_place)?;
    let measured = |subject: &Subject<'_>| {
        let usage = usage.get(subject.api_name)?;
        let read = |at: &DateTime<Utc>| subject.read(*at, grid, &usage.series, usage.begins);
        Some(Measured {
            api_name: subject.api_name.to_owned(),
            readings: steps.iter().map(read).collect(),
        })
    };
    Ok(subjects.iter().filter_map(measured).collect())
}

/// The ends of the last windows, a period apart, from the oldest. Seconds are judged minute by minute.
fn steps(period: &Period, last: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let (count, apart) = match period {
        Period::Hour => (48, TimeDelta::hours(1)),
        Period::Day => (30, TimeDelta::days(1)),
        Period::Month => (12, TimeDelta::zero()),
        _ => (COLUMNS, TimeDelta::minutes(1)),
    };
    let back = |steps: u32| match period {
        Period::Month => last.checked_sub_months(Months::new(steps)),
        _ => last.checked_sub_signed(apart * i32::try_from(steps).unwrap_or(0)),
    };
    (0..count).rev().filter_map(back).collect()
}

/// What happened to the rule of late.
fn events(db: &mut Db, rule: &Rule, now: DateTime<Utc>) -> Result<Vec<Event>> {
    let to = now + TimeDelta::milliseconds(1);
    let mut events = events::between(db, Window::ALL.from, to)?;
    events.retain(|event| event.concern.alert_id == rule.id);
    let old = events.len().saturating_sub(EVENTS);
    Ok(events.split_off(old))
}
