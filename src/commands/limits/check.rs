//! `limits check`: the status of the limits in force.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};

use crate::args::{FailOn, parse_duration};
use crate::commands::answer_nagios;
use crate::commands::prelude::*;
use crate::domain::capacity::limit_status::{self, LimitState, LimitStatus};
use crate::domain::metrics::names::{Metric, MetricKind, Service};
use crate::domain::metrics::point::Point;
use crate::domain::plans::LimitInForce;
use crate::output::limits::check::Check;
use crate::store::metrics::points;
use crate::store::plans::limits;

/// Show the utilization of the limits in force
///
/// Utilization is that of the newest measurement; of a rate, the peak of the last 24 hours. PERIOD is the share of the
/// billing period that has passed. A value is STALE when three expected measurements are missing, or when it is of an
/// earlier period. A missing measurement never counts as zero.
///
/// Exits with 12 if a state is unknown or there are no limits. Warning and critical states exit with 0 unless
/// --fail-on is given.
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

    /// State from which on to exit with 10 (warning) or 11 (critical)
    #[arg(long, value_enum, value_name = "STATE")]
    fail_on: Option<FailOn>,

    /// Age at which a value is stale [default: three missing measurements]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    stale_after: Option<Duration>,

    /// Answer as a Nagios plugin: one line, exit code 0 to 3
    #[arg(long, conflicts_with = "fail_on")]
    nagios: bool,
}

pub fn run(context: &mut Context, args: CheckArgs) -> Result<Outcome> {
    if args.nagios {
        let answer = check(context, &args).map(|check| check.nagios());
        return answer_nagios(context, answer);
    }
    let check = check(context, &args)?;
    context.answer(&check)?;
    Ok(outcome(&check, args.fail_on))
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
    let limits = db.read_tx(|db| statuses(db, is_wanted, now, stale_after))?;
    Ok(Check { limits, now })
}

/// The exit code and the next step.
fn outcome(check: &Check, fail_on: Option<FailOn>) -> Outcome {
    let with_state = |state| check.limits.iter().find(|it| it.state == state);
    if check.limits.is_empty() {
        let next = "usagectl limits init --plan PROVIDER=PLAN";
        return Outcome::with_next(Exit::Unknown, next);
    }
    if with_state(LimitState::Unknown).is_some() {
        return Outcome::with_next(Exit::Unknown, "usagectl limits list");
    }
    let unmeasured = with_state(LimitState::NoData).or_else(|| with_state(LimitState::Stale));
    if let Some(LimitStatus { limit, .. }) = unmeasured {
        let (service, metric) = (limit.service, limit.metric);
        let next = format!(
            "usagectl collect run, or usagectl collect set --service {service} --metric {metric} VALUE"
        );
        return Outcome::with_next(Exit::Unknown, next);
    }
    let has_warning = with_state(LimitState::Warning).is_some();
    let has_critical = check.any(LimitState::is_critical);
    match fail_on.map(|fail_on| fail_on.exit(has_warning, has_critical)) {
        None | Some(Exit::Done) => Outcome::DONE,
        Some(exit) => Outcome::with_next(exit, "usagectl recommend run"),
    }
}

/// The status of the wanted limits in force, one for each series; NO_DATA for a limit without measurements.
pub(crate) fn statuses(
    db: &mut Db,
    is_wanted: impl Fn(&LimitInForce) -> bool,
    now: DateTime<Utc>,
    stale_after: Option<TimeDelta>,
) -> Result<Vec<LimitStatus>> {
    let mut statuses = Vec::new();
    let limits = limits::limits_in_force(db, now)?;
    for limit in limits.iter().filter(|limit| is_wanted(limit)) {
        let mut series = series(db, limit, now)?;
        if series.is_empty() {
            series.insert(String::new(), Vec::new());
        }
        statuses.extend(series.iter().map(|(resource, points)| {
            limit_status::status(limit, resource, points, now, stale_after)
        }));
    }
    Ok(statuses)
}

/// The points of a limit by resource, no more than needed.
fn series(
    db: &mut Db,
    limit: &LimitInForce,
    now: DateTime<Utc>,
) -> Result<BTreeMap<String, Vec<Point>>> {
    // A few days give the interval between values; if they are empty, older ones the age of the newest.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::metrics::point::Reading;

    /// A check with a limit in each of the states.
    fn check(states: &[LimitState]) -> Check {
        let now = DateTime::UNIX_EPOCH;
        let point = Point {
            at: now,
            value: 10.0,
            reading: Reading::Level,
            period_start: None,
        };
        let status = limit_status::status(&LimitInForce::sample(), "", &[point], now, None);
        let limits = states.iter().map(|state| LimitStatus {
            state: *state,
            ..status.clone()
        });
        Check {
            limits: limits.collect(),
            now,
        }
    }

    #[test]
    fn exit_code_follows_states_and_fail_on() {
        use FailOn::{Critical as OnCritical, Warning as OnWarning};
        use LimitState::{Critical, NoData, Ok, Over, Stale, Unknown, Warning};
        let cases: [(&[LimitState], Option<FailOn>, Exit); 12] = [
            (&[], None, Exit::Unknown),
            (&[Ok], None, Exit::Done),
            (&[Ok, Over], None, Exit::Done),
            (&[Ok], Some(OnWarning), Exit::Done),
            (&[Ok, Warning], Some(OnWarning), Exit::Warning),
            (&[Ok, Warning], Some(OnCritical), Exit::Done),
            (&[Warning, Critical], Some(OnWarning), Exit::Critical),
            (&[Over], Some(OnCritical), Exit::Critical),
            (&[Ok, NoData], None, Exit::Unknown),
            (&[Ok, Stale], Some(OnCritical), Exit::Unknown),
            (&[Critical, Unknown], Some(OnCritical), Exit::Unknown),
            (&[NoData, Unknown], None, Exit::Unknown),
        ];
        for (states, fail_on, exit) in cases {
            let outcome = outcome(&check(states), fail_on);
            assert_eq!(outcome.exit, exit, "{states:?} {fail_on:?}");
            assert_eq!(outcome.next.is_none(), exit == Exit::Done);
        }
    }

    #[test]
    fn next_step_names_the_unmeasured_metric() {
        let next = |states: &[LimitState]| outcome(&check(states), None).next;
        let collect = "usagectl collect run, or usagectl collect set --service VERCEL_KV --metric STORAGE_MB VALUE";
        assert_eq!(next(&[LimitState::Stale]).as_deref(), Some(collect));
        let unknown = next(&[LimitState::NoData, LimitState::Unknown]);
        assert_eq!(unknown.as_deref(), Some("usagectl limits list"));
    }
}
