//! `alerts backtest`: replays a rule over past data, without writing.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use clap::FromArgMatches;

use super::check::StepArgs;
use super::rule_options::{RuleOptions, alert_period, alert_type, usage_error};
use super::{find_rules, reading};
use crate::args::parse_number;
use crate::commands::known_apis::warn_of_unknown;
use crate::commands::prelude::*;
use crate::domain::alert::backtest::{PastEpisode, Replay, ReplayResult, recorded_episodes};
use crate::domain::alert::evaluate::{Allowance, Providers, RuleTarget};
use crate::domain::alert::rule::{ALL_APIS, AlertType, Rule};
use crate::domain::alert::window::Grid;
use crate::domain::moment::Moment;
use crate::domain::period::{Granularity, Period, Window};
use crate::domain::plans::api_limit;
use crate::domain::usage::rollup::ApiPeriod;
use crate::domain::usage::settings::Mode;
use crate::output::alerts::backtest::{Backtest, Comparison};
use crate::store::alerting::{events, rules};
use crate::store::usage::lookback;
use crate::store::usage::{aggregates, rollups, settings};

/// Evaluate a rule over past data
///
/// Evaluates every step of a range as `alerts check` does, without writing: lists the episodes and counts the
/// notices that one channel would receive. The rule is an existing one, changed by --set, or described by --api,
/// --type and --period.
///
/// --diff compares the rule changed by --set with the original; without --set, it compares with the episodes that
/// `alerts check` recorded. These differ if limits or the rule changed since, or if data changed that is older than its
/// --max-catch-up: a backtest uses the current data, limits and rule.
///
/// Exits with 3 if api_usage has fewer rows than api_usage_aggregates counts: values are too low there.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts backtest --api finnhub --type ERROR_SPIKE --period HOUR --threshold 10 --from 2026-01-26T12:00:00Z"))]
pub struct BacktestArgs {
    /// Rule: id, unique prefix of an id, or API/TYPE/PERIOD
    #[arg(value_name = "RULE", required_unless_present = "api")]
    rule: Option<String>,

    /// API of a described rule, or '*'
    #[arg(long, value_name = "NAME", conflicts_with = "rule", requires_all = ["alert_type", "period"])]
    api: Option<String>,

    /// Type of a described rule
    #[arg(long = "type", value_name = "TYPE", value_parser = alert_type(), ignore_case = true, requires = "api")]
    alert_type: Option<AlertType>,

    /// Period of a described rule
    #[arg(long, value_name = "PERIOD", value_parser = alert_period(), ignore_case = true, requires = "api")]
    period: Option<Period>,

    /// Threshold of a described rule
    ///
    /// If it is omitted, the existing rule of this API, type and period is used.
    #[arg(long, value_name = "N", value_parser = parse_number, requires = "api")]
    threshold: Option<f64>,

    /// First step to evaluate: RFC 3339, a date, today, yesterday or this-month
    #[arg(long, value_name = "TIME")]
    from: Moment,

    /// Last step to evaluate: as --from [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<Moment>,

    /// Change a setting of the rule for this run; repeatable
    ///
    /// `threshold=70`, `limit=120`, or any option of `alerts set`, such as `for=5m`, `clear-below=60` or
    /// `baseline=7d`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Compare with the original rule or with recorded episodes
    #[arg(long)]
    diff: bool,

    #[command(flatten)]
    steps: StepArgs,
}

pub fn run(context: &mut Context, args: BacktestArgs) -> Result<Outcome> {
    let grid = args.steps.step;
    let mut db = context.open(Access::Read)?;
    let calendar = settings::load(&mut db)?.calendar;
    let time = |moment: Moment| moment.start(context.now, calendar);
    let range = Window {
        // The steps after it include --from itself.
        from: time(args.from) - TimeDelta::milliseconds(1),
        to: grid.at_or_before(args.to.map_or(context.now, time)),
    };
    if range.is_empty() {
        return Err(Error::usage("--from must be before --to"));
    }
    let backtest = db.read_tx(|db| backtest(db, &args, range))?;
    let named = args.api.iter().filter(|api| *api != ALL_APIS);
    warn_of_unknown(context, &mut db, named)?;
    context.answer(&backtest)?;
    if backtest.missing.is_empty() {
        return Ok(Outcome::DONE);
    }
    context.warn(
        "api_usage has fewer rows than api_usage_aggregates counts: values are too low there",
    );
    Ok(Outcome::with_next(Exit::Incomplete, "use a later --from"))
}

fn backtest(db: &mut Db, args: &BacktestArgs, range: Window) -> Result<Backtest> {
    let grid = args.steps.step;
    let original = original(db, args)?;
    let providers = reading::providers(db, range.to)?;
    let known = rollups::known_apis(db)?;
    let apis: Vec<&str> = match original.api_name.as_str() {
        ALL_APIS => known.iter().map(String::as_str).collect(),
        api => vec![api],
    };
    let (changed, changed_providers) = changed(&original, &providers, &apis, &args.set)?;
    let targets = targets(&changed, &apis, &changed_providers, grid);
    let missing = missing_rows(db, &targets, range, grid)?;
    let result = replay(db, targets, range, grid)?;
    let compared_with = if !args.diff {
        None
    } else if args.set.is_empty() {
        Some(Comparison::History(recorded(db, &original, range)?))
    } else {
        let targets = self::targets(&original, &apis, &providers, grid);
        let result = replay(db, targets, range, grid)?;
        Some(Comparison::Original(result))
    };
    Ok(Backtest {
        missing,
        rule: changed,
        from: range.from + TimeDelta::milliseconds(1),
        to: range.to,
        steps: grid.steps(range.from, range.to).count() as u64,
        result,
        compared_with,
    })
}

fn original(db: &mut Db, args: &BacktestArgs) -> Result<Rule> {
    let described = args.api.as_ref().zip(args.alert_type.as_ref());
    let reference = match (described.zip(args.period.as_ref()), args.threshold) {
        (Some(((api, alert_type), period)), Some(threshold)) => {
            let rule = Rule::new(api, alert_type.clone(), period.clone(), threshold);
            rule.validate().map_err(usage_error)?;
            return Ok(rule);
        }
        (Some(((api, alert_type), period)), None) => format!("{api}/{alert_type}/{period}"),
        (None, _) => args.rule.clone().unwrap_or_default(),
    };
    let mut found = find_rules(&rules::all(db)?, &[reference])?;
    found.pop().ok_or_else(|| Error::usage("name a rule"))
}

/// The rule and the limits, changed by --set.
fn changed(
    rule: &Rule,
    providers: &Providers,
    apis: &[&str],
    set: &[String],
) -> Result<(Rule, Providers)> {
    let (mut rule, mut providers) = (rule.clone(), providers.clone());
    if set.is_empty() {
        // Not validated: `check` evaluates invalid rules as well.
        return Ok((rule, providers));
    }
    let mut options = Vec::new();
    for change in set {
        let (key, value) = change.split_once('=').ok_or_else(|| {
            Error::usage(format_args!(
                "--set {change}: expected KEY=VALUE such as threshold=70"
            ))
        })?;
        let invalid = |reason: String| Error::usage(format_args!("--set {change}: {reason}"));
        match key {
            "threshold" => {
                rule.threshold = parse_number(value).map_err(invalid)?;
                rule.settings.percent = false;
            }
            "limit" => {
                let value = parse_number(value).map_err(invalid)?;
                let value =
                    api_limit::check_value(value).map_err(|error| invalid(error.to_string()))?;
                let allowance = Allowance {
                    value,
                    of_credits: false,
                };
                let keys = apis
                    .iter()
                    .map(|api| ((*api).to_owned(), rule.period.clone()));
                providers.limits.extend(keys.map(|key| (key, allowance)));
            }
            _ => options.push(format!("--{change}")),
        }
    }
    let command = RuleOptions::augment_args(clap::Command::new("set").no_binary_name(true));
    let parsed = command
        .try_get_matches_from(options)
        .and_then(|matches| RuleOptions::from_arg_matches(&matches));
    let parsed = parsed.map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        Error::usage(format_args!(
            "--set: {}",
            first.trim_start_matches("error: ")
        ))
    })?;
    parsed.apply(&mut rule)?;
    Ok((rule, providers))
}

/// The period read at once, so that memory does not grow with the range.
const CHUNK: TimeDelta = TimeDelta::days(1);

fn targets<'a>(
    rule: &'a Rule,
    apis: &[&'a str],
    providers: &Providers,
    grid: Grid,
) -> Vec<RuleTarget<'a>> {
    let targets = apis.iter().map(|api| providers.target(rule, api, grid));
    targets.filter(|it| !it.is_left_out()).collect()
}

fn replay(
    db: &mut Db,
    targets: Vec<RuleTarget<'_>>,
    range: Window,
    grid: Grid,
) -> Result<ReplayResult> {
    let mode = lookback::marks_at_once(db)?.then_some(Mode::Triggers);
    let mut replays: Vec<Replay<'_>> = targets.into_iter().map(Replay::new).collect();
    let mut from = range.from;
    while from < range.to {
        let to = range.to.min(from + CHUNK);
        let mut needs = BTreeMap::new();
        for replay in &replays {
            let target = replay.target();
            let steps = grid.steps(from, to);
            let of_api = steps.map(|at| target.needs(at)).collect();
            needs.insert(target.api_name, of_api);
        }
        let usage = reading::read(db, &needs, mode)?;
        for replay in &mut replays {
            if let Some(usage) = usage.get(replay.target().api_name) {
                for at in grid.steps(from, to) {
                    replay.step(at, usage);
                }
            }
        }
        from = to;
    }
    let mut result = ReplayResult::default();
    for Replay { result: of_api, .. } in replays {
        result.episodes.extend(of_api.episodes);
        result.events.extend(of_api.events);
        result.unknown_steps += of_api.unknown_steps;
        for (kind, count) in of_api.notices {
            *result.notices.entry(kind).or_default() += count;
        }
    }
    result
        .events
        .sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    Ok(result)
}

fn recorded(db: &mut Db, rule: &Rule, range: Window) -> Result<Vec<PastEpisode>> {
    let end = range.to + TimeDelta::milliseconds(1);
    let mut events = events::between(db, range.from, end)?;
    events.retain(|event| event.alert.alert_id == rule.id);
    Ok(recorded_episodes(&events))
}

/// The periods of the evaluated data for which api_usage_aggregates counts more calls than there are rows.
fn missing_rows(
    db: &mut Db,
    targets: &[RuleTarget<'_>],
    range: Window,
    grid: Grid,
) -> Result<Vec<Window>> {
    let first = grid.at_or_before(range.from) + grid.step();
    let reach = targets.iter().map(|target| target.reach(first));
    let evaluated = Window {
        from: reach.min().unwrap_or(first),
        to: range.to,
    };
    let is_evaluated = |api: &str| targets.iter().any(|target| target.api_name == api);
    let calendar = settings::load(db)?.calendar;
    let stale = rollups::stale_by_api(db, calendar, evaluated)?;
    let mut missing = BTreeSet::new();
    for granularity in Granularity::ALL {
        let window = calendar.widened(granularity, evaluated);
        for surplus in aggregates::surplus(db, granularity, calendar, window)? {
            let ApiPeriod { start, api_name } = &surplus.period;
            if is_evaluated(api_name) && surplus.lacks_rows(stale.of(api_name)) {
                missing.insert(Window {
                    from: *start,
                    to: calendar.end_of(granularity, *start),
                });
            }
        }
    }
    Ok(crate::domain::alert::series::merged(missing))
}
