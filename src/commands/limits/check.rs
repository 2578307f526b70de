//! `limits check`: how near the limits are.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use clap::{Args, ValueEnum};

use crate::args::parse_duration;
use crate::context::Context;
use crate::domain::capacity::limit_status;
use crate::domain::capacity::limit_status::{Standing, State};
use crate::domain::metrics::names::MetricKind;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::Point;
use crate::domain::plans::LimitInForce;
use crate::error::{Exit, Outcome, Result};
use crate::output::limits::check::Check;
use crate::store::db::{Access, Db};
use crate::store::metrics::points;
use crate::store::plans::limits;

/// Show how near the limits of the plans in use are, by what was measured last
///
/// Of a limit per period also how much of the billing period has passed: to have used more of the limit than has
/// passed of the period is no alarm, but worth a look. Of a rate the peak of the last 24 hours counts. A value is
/// stale when three more should have come since, or when it is of an earlier period. What was not measured is never
/// taken for zero.
///
/// Exits with 12 if there is a limit of which nobody knows how near it is, or none at all. That one is near is no
/// failure, unless --fail-on says so.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl limits check --fail-on critical || echo 'look at the limits'"
)]
pub struct CheckArgs {
    /// Only this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<Service>,

    /// Only this metric
    #[arg(long, value_name = "METRIC")]
    metric: Option<Metric>,

    /// Exit with 10 if a limit is at its warning, with 11 if one is critical; `critical`: the latter only
    #[arg(long, value_enum, value_name = "STATE")]
    fail_on: Option<FailOn>,

    /// For how long a value counts; until three more should have come, unless given
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    stale_after: Option<Duration>,

    /// Answer as a plugin of Nagios: one line, and an exit code of 0 to 3
    #[arg(long, conflicts_with = "fail_on")]
    nagios: bool,
}

/// What makes a check fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A limit that is at its warning, or further
    Warning,
    /// A limit that is critical
    Critical,
}

/// Judges and answers.
pub fn run(context: &mut Context, args: CheckArgs) -> Result<Outcome> {
    if !args.nagios {
        let check = check(context, &args)?;
        context.answer(&check)?;
        return Ok(outcome(&check, args.fail_on));
    }
    let (line, status) = match check(context, &args) {
        Ok(check) => check.nagios(),
        Err(error) => (format!("UNKNOWN - {error}"), 3),
    };
    writeln!(context.stdout(), "{line}")?;
    let exit = match status {
        0 => return Ok(Outcome::DONE),
        1 => Exit::Failed,
        2 => Exit::Usage,
        _ => Exit::Incomplete,
    };
    Ok(Outcome::with_next(exit, "usagectl limits check"))
}

fn outcome(check: &Check, fail_on: Option<FailOn>) -> Outcome {
    if check.standings.is_empty() {
        let next = "usagectl limits init --plan PROVIDER=PLAN";
        return Outcome::with_next(Exit::Unknown, next);
    }
    let unknown = |state: State| {
        let mut standings = check.standings.iter();
        standings.find(|standing| standing.state == state)
    };
    if unknown(State::Unknown).is_some() {
        return Outcome::with_next(Exit::Unknown, "usagectl limits list");
    }
    if let Some(standing) = unknown(State::NoData).or_else(|| unknown(State::Stale)) {
        let (service, metric) = (standing.limit.service, standing.limit.metric);
        let next = format!(
            "usagectl collect run, or usagectl collect set --service {service} --metric {metric} VALUE"
        );
        return Outcome::with_next(Exit::Unknown, next);
    }
    let any = |wanted: fn(State) -> bool| check.standings.iter().any(|it| wanted(it.state));
    let next = "usagectl recommend run";
    match fail_on {
        Some(_) if any(State::is_critical) => Outcome::with_next(Exit::Critical, next),
        Some(FailOn::Warning) if any(|state| state == State::Warning) => {
            Outcome::with_next(Exit::Warning, next)
        }
        _ => Outcome::DONE,
    }
}

fn check(context: &mut Context, args: &CheckArgs) -> Result<Check> {
    let now = context.now;
    let stale_after = args
        .stale_after
        .map(|span| TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX));
    let is_wanted = |limit: &LimitInForce| {
        args.service.is_none_or(|service| service == limit.service)
            && args.metric.is_none_or(|metric| metric == limit.metric)
    };
    let mut db = context.open(Access::Read)?;
    let standings = db.read_tx(|db| standings(db, is_wanted, now, stale_after))?;
    Ok(Check { standings, now })
}

/// How near each of the wanted limits in force is, by series; of one without measurements, that there are none.
pub(crate) fn standings(
    db: &mut Db,
    is_wanted: impl Fn(&LimitInForce) -> bool,
    now: DateTime<Utc>,
    stale_after: Option<TimeDelta>,
) -> Result<Vec<Standing>> {
    let mut standings = Vec::new();
    let limits = limits::limits_in_force(db, now)?;
    for limit in limits.iter().filter(|limit| is_wanted(limit)) {
        let judge = |resource: &str, points: &[Point]| {
            limit_status::judge(limit, resource, points, now, stale_after)
        };
        let series = series(db, limit, now)?;
        if series.is_empty() {
            standings.push(judge("", &[]));
        }
        let judged = series
            .iter()
            .map(|(resource, points)| judge(resource, points));
        standings.extend(judged);
    }
    Ok(standings)
}

/// The points that tell how near a limit is, by resource: no more than it takes.
fn series(
    db: &mut Db,
    limit: &LimitInForce,
    now: DateTime<Utc>,
) -> Result<BTreeMap<String, Vec<Point>>> {
    // A few days tell how often values come; if there are none, how old the newest is.
    const DAYS: [u64; 3] = [4, 70, 800];
    let today = now.date_naive();
    let tomorrow = today.checked_add_days(Days::new(1)).unwrap_or(today);
    let period = limit.period.filter(|_| limit.kind == MetricKind::Period);
    let start = period.map(|period| limit.billing.period(period, now).from.date_naive());
    let mut series: BTreeMap<String, Vec<Point>> = BTreeMap::new();
    for days in DAYS {
        let back = today
            .checked_sub_days(Days::new(days))
            .unwrap_or(NaiveDate::MIN);
        let from = start.map_or(back, |start| start.min(back));
        for (of, point) in points::points(db, limit.service, limit.metric, from, tomorrow)? {
            series.entry(of.resource).or_default().push(point);
        }
        if !series.is_empty() {
            break;
        }
    }
    Ok(series)
}
