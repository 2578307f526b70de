//! `limits check`: the status of the limits in force.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::args::{FailOn, parse_duration};
use crate::commands::answer_nagios;
use crate::commands::prelude::*;
use crate::domain::capacity::Capacity;
use crate::domain::capacity::state::{LimitState, UnknownReason};
use crate::domain::format::shell_word;
use crate::domain::metrics::collector::has_history;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::plans::limit::LimitFault;
use crate::output::limits::check::Check;
use crate::store::metrics::readings;
use crate::store::plans::limits;

/// Show the utilization of the limits in force
///
/// Utilization is that of the newest measurement; of connections and latency, the peak of the last 24 hours; of
/// amounts, the sum of the billing period, of which PERIOD has passed. A value is STALE when three expected
/// measurements are missing, or when it is of an earlier period. A missing measurement never counts as zero; a
/// negative value counts as missing, except of a cost. If days of the period are missing, the sum is a lower bound, and
/// below the warning threshold the state is UNKNOWN if they could change it. A resource has a line for each limit of
/// its plan, measured or not. Where the plan counts all resources of the account together, their sum is compared with
/// the limit. An amount that has reached a threshold keeps its state until the period ends. COMMANDS_PER_DAY is a
/// pace and never critical.
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
    context.answer_unless_quiet(&check)?;
    Ok(outcome(&check, args.fail_on))
}

fn check(context: &mut Context, args: &CheckArgs) -> Result<Check> {
    let now = context.now;
    let stale_after = args
        .stale_after
        .map(|span| TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX));
    let mut db = context.open(Access::Read)?;
    let of = (args.service, args.metric);
    let limits = db.read_tx(|db| limited(db, of, now, stale_after))?;
    Ok(Check { limits, now })
}

/// The exit code and the next step.
fn outcome(check: &Check, fail_on: Option<FailOn>) -> Outcome {
    let with_state = |state| check.limits.iter().find(|it| it.state == state);
    if check.limits.is_empty() {
        return without_limits();
    }
    let is_faulty = |it: &&Capacity| matches!(it.reason, Some(UnknownReason::Fault(_)));
    if let Some(it) = check.limits.iter().find(is_faulty) {
        let provider = it.limit.as_ref().and_then(|it| it.provider.as_ref());
        let next = match (&it.reason, provider) {
            (Some(UnknownReason::Fault(LimitFault::NoPlan(_))), Some(provider)) => {
                format!("usagectl limits plan {provider} PLAN")
            }
            _ => "usagectl limits list".to_owned(),
        };
        return Outcome::with_next(Exit::Unknown, next);
    }
    if let Some(it) = with_state(LimitState::Unknown) {
        let since = it.period.map(|period| period.from.date_naive());
        let since = since.map_or_else(|| "DATE".to_owned(), |since| since.to_string());
        let next = match has_history(&it.series) {
            true => format!("usagectl collect run --since {since}"),
            false => "import the missing days: usagectl collect import FILE".to_owned(),
        };
        return Outcome::with_next(Exit::Unknown, next);
    }
    let unmeasured = with_state(LimitState::NoData).or_else(|| with_state(LimitState::Stale));
    if let Some(it) = unmeasured {
        let (service, metric) = (it.series.service, it.series.metric);
        let resource = match it.unread_resource.as_deref().unwrap_or(it.resource()) {
            "" => String::new(),
            resource => format!(" --resource {}", shell_word(resource)),
        };
        let next = format!(
            "measure it by `usagectl collect run`, or by hand: usagectl collect set --service {service} --metric {metric}{resource} VALUE"
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

pub(crate) const SET_LIMITS: &str = "usagectl limits init --plan PROVIDER=PLAN";

/// The outcome where there are no limits to assess.
pub(crate) fn without_limits() -> Outcome {
    Outcome::with_next(Exit::Unknown, SET_LIMITS)
}

/// The capacity of the limits in force, one for each series; NO_DATA for a limit without measurements.
pub(crate) fn limited(
    db: &mut Db,
    (service, metric): (Option<Service>, Option<Metric>),
    now: DateTime<Utc>,
    stale_after: Option<TimeDelta>,
) -> Result<Vec<Capacity>> {
    let mut limits = limits::limits_in_force(db, now)?;
    let is_wanted = |it: Metric| metric.is_none_or(|metric| metric == it);
    limits.retain(|limit| service.is_none_or(|service| service == limit.service));
    if !limits.iter().any(|limit| is_wanted(limit.metric)) {
        return Ok(Vec::new());
    }
    // Other metrics name the resources, and commands by the month may only be measured by the day.
    let mut all = readings::capacities(db, (service, None), &limits, now, stale_after)?;
    all.retain(|it| it.limit.is_some() && is_wanted(it.series.metric));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::capacity::readings::SeriesDays;
    use crate::domain::metrics::point::Series;
    use crate::domain::plans::LimitInForce;

    /// A check with a limit in each of the states.
    fn check(states: &[LimitState]) -> Check {
        let now = DateTime::UNIX_EPOCH;
        let limit = LimitInForce::sample();
        let none = SeriesDays::empty(Series::new(limit.service, limit.metric, ""));
        let capacity = Capacity::new(&none, Some(&limit), now, None);
        let limits = states.iter().map(|state| {
            let fault = UnknownReason::Fault(LimitFault::Value(0.0));
            let mut one = capacity.clone();
            one.state = *state;
            one.reason = (*state == LimitState::Unknown).then_some(fault);
            one
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
    fn days_are_only_collected_again_where_the_vendor_has_them() {
        let mut unknown = check(&[LimitState::Unknown]);
        unknown.limits[0].reason = None;
        let next = |service, metric, check: &mut Check| {
            check.limits[0].series = Series::new(service, metric, "");
            outcome(check, None).next.unwrap_or_default()
        };
        let import = "import the missing days: usagectl collect import FILE";
        let kv = next(Service::VercelKv, Metric::RequestCount, &mut unknown);
        assert_eq!(kv, import);
        let transfer = (Service::VercelBandwidth, Metric::BandwidthGb);
        let vercel = next(transfer.0, transfer.1, &mut unknown);
        assert!(
            vercel.starts_with("usagectl collect run --since "),
            "{vercel}"
        );
    }

    #[test]
    fn next_step_names_the_unmeasured_metric() {
        let next = |states: &[LimitState]| outcome(&check(states), None).next;
        let collect = "measure it by `usagectl collect run`, or by hand: usagectl collect set --service VERCEL_KV --metric STORAGE_MB VALUE";
        assert_eq!(next(&[LimitState::Stale]).as_deref(), Some(collect));
        let unknown = next(&[LimitState::NoData, LimitState::Unknown]);
        assert_eq!(unknown.as_deref(), Some("usagectl limits list"));
        let mut several = check(&[LimitState::Unknown]);
        let plans = vec!["free".to_owned(), "payg".to_owned()];
        several.limits[0].reason = Some(UnknownReason::Fault(LimitFault::NoPlan(plans)));
        several.limits[0].limit.as_mut().unwrap().provider = Some("upstash".to_owned());
        let next = outcome(&several, None).next;
        assert_eq!(next.as_deref(), Some("usagectl limits plan upstash PLAN"));
    }
}
