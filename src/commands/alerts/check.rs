//! `alerts check`: evaluates the rules, saves what changed and sends notifications.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use chrono::{TimeDelta, Utc};

use super::reading;
use crate::args::{FailOn, LockWait, parse_duration};
use crate::commands::answer_nagios;
use crate::commands::delivery::{self, DeliverWithin, MAX_ATTEMPTS, Options, Report};
use crate::commands::heartbeat::{HeartbeatArgs, with_heartbeat};
use crate::commands::prelude::*;
use crate::domain::alert::clock::ClockProblem;
use crate::domain::alert::round::{EvaluatedAlert, Round, RoundResult, Schedule, StoredAlerts};
use crate::domain::alert::rule::{ALL_APIS, AlertRef, Rule, Severity};
use crate::domain::alert::state::{AlertRecord, AlertStatus};
use crate::domain::alert::window::Grid;
use crate::domain::format;
use crate::domain::format::shell_word;
use crate::domain::period::Granularity;
use crate::domain::usage::settings::Mode;
use crate::output::Format;
use crate::output::alerts::check::{Check, Finding, Scope};
use crate::store::alerting::{
    channels, clock, events, late_hours, notices, rules, silences, states,
};
use crate::store::lock::RunKind;
use crate::store::usage::{lookback, rollups, settings};

/// Evaluate all rules since the last check and send notifications
///
/// Run it from cron once a minute, or in CI. Every full minute since the last check is evaluated, so that missed
/// runs are caught up automatically. Minutes whose data changed since they were evaluated, because rows arrived late or
/// were updated or deleted, are evaluated again: the history is corrected, and an episode found late is notified once.
/// Changes and notices are saved in one transaction; then the notices are sent, during which the next check may begin.
/// Prints what changed since the last check, and nothing without changes; with -v, on a terminal and when --fail-on
/// decides the exit code also the rules that are not OK.
///
/// Exits with 12 if a rule cannot be evaluated, a notice was not delivered, or the clock of this host differs from
/// that of the database server, or from the newest call, by two minutes. Likewise if no API has had a call for an
/// hour and for three times as long as calls were apart or recorded late in the week before, of which channels are
/// notified once. A firing rule does not change the exit code unless --fail-on is given.
///
/// For crontab: * * * * * DATABASE_URL=file:/srv/app/usage.db usagectl alerts check --lock-wait 50s
#[derive(Args, Debug)]
#[command(after_help = example!("alerts check --fail-on critical"))]
pub struct CheckArgs {
    /// Exit with 10 if a rule fires as a warning, with 11 if one is critical
    #[arg(long, value_enum, value_name = "SEVERITY")]
    fail_on: Option<FailOn>,

    /// Save notices without sending them; `usagectl alerts deliver` sends them
    #[arg(long)]
    no_send: bool,

    /// Answer as a Nagios plugin, with exit code 0 to 3; `alerts status --nagios` only reads
    #[arg(long, conflicts_with = "fail_on")]
    nagios: bool,

    #[command(flatten)]
    steps: StepArgs,

    /// Delay before a step is evaluated, so that its calls are complete; at most 1d
    #[arg(long, value_name = "DURATION", value_parser = parse_settle, default_value = SETTLE.as_str())]
    settle: Duration,

    /// Maximum time to catch up
    ///
    /// Earlier steps are not evaluated, not even when their data arrives late: a gap is recorded and notified as
    /// skipped.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "7d")]
    max_catch_up: Duration,

    #[command(flatten)]
    within: DeliverWithin,

    #[command(flatten)]
    lock_wait: LockWait,

    #[command(flatten)]
    heartbeat: HeartbeatArgs,
}

/// The default of --settle.
static SETTLE: LazyLock<String> = LazyLock::new(|| format::duration(Schedule::SETTLE));

/// The instants at which rules are evaluated.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct StepArgs {
    /// Evaluation interval in whole seconds, at most a day
    #[arg(long, value_name = "DURATION", value_parser = parse_grid, default_value = "1m")]
    pub(super) step: Grid,
}

/// Parses a delay before the evaluation. Calls that arrive after it are counted by another evaluation.
pub(super) fn parse_settle(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_hours(24);
    let settle = parse_duration(text)?;
    if settle > LONGEST {
        return Err(
            "expected at most 1d; steps with later calls are evaluated again anyway".to_owned(),
        );
    }
    Ok(settle)
}

fn parse_grid(text: &str) -> Result<Grid, String> {
    let step = TimeDelta::from_std(parse_duration(text)?).unwrap_or(TimeDelta::MAX);
    Grid::new(step).ok_or_else(|| "expected whole seconds, at most a day".to_owned())
}

pub fn run(context: &mut Context, args: CheckArgs) -> Result<Outcome> {
    with_heartbeat(context, &args.heartbeat, |context| answer(context, &args))
}

fn answer(context: &mut Context, args: &CheckArgs) -> Result<Outcome> {
    if args.nagios {
        let answer = check(context, args).map(|(check, _)| check.nagios());
        return answer_nagios(context, answer);
    }
    let (mut check, report) = check(context, args)?;
    let mut outcome = outcome(&check, args.fail_on, &report);
    if matches!(outcome.exit, Exit::Warning | Exit::Critical) || context.is_watched() {
        check.scope = Scope::States;
    }
    let is_news = check.has_changes() || report.has_failed() || check.scope == Scope::States;
    let is_program = context.format != Format::Table;
    if is_news || is_program {
        context.answer_unless_quiet(&check)?;
    } else {
        outcome.next = None;
    }
    Ok(outcome)
}

fn check(context: &mut Context, args: &CheckArgs) -> Result<(Check, Report)> {
    let url = context.database_url(false)?;
    let mut db = context.open_migrated(&url, Access::Write)?;
    let lock = context.lock(&mut db, &url, RunKind::Alerts, args.lock_wait.lock_wait)?;
    let delta = |duration| TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
    let schedule = Schedule {
        now: context.now,
        grid: args.steps.step,
        settle: delta(args.settle),
        max_catch_up: delta(args.max_catch_up),
    };
    let clock = clock_problem(context, &mut db)?;
    let settings = settings::load(&mut db)?;
    let mode = lookback::mode(&mut db, settings)?;
    if mode == Some(Mode::Lookback) {
        lookback::mark(&mut db, lookback::recent(settings, context.now))?;
    }
    if late_hours::is_any_unseen(&mut db)? {
        db.write_tx(late_hours::list_unseen)?;
    }
    let evaluation = db.read_tx(|db| evaluate(db, schedule, mode))?;
    db.write_tx(|db| save(db, &evaluation, schedule))?;
    lock.release(&mut db)?;
    let Evaluation { round, rules, .. } = evaluation;
    if !context.is_quiet() {
        warn(context, args, &round, mode.is_some());
    }
    if let Some(problem) = &clock {
        context.warn(problem);
    }
    let mut report = Report::default();
    if !args.no_send {
        let options = Options {
            max_attempts: MAX_ATTEMPTS,
            force: false,
            to_stderr: args.nagios,
            within: args.within,
        };
        report = delivery::deliver(context, &mut db, options).map_err(|error| {
            error.context("the evaluation was saved, but not all notices were sent")
        })?;
        // What waits since an earlier failure was reported then.
        if report.has_failed() {
            report.warn(context);
        }
    }
    let check = Check {
        scope: Scope::Changes,
        now: context.now,
        rules: round.rules,
        clock,
        outage: round.outage,
        new_notices: round.notifications.new.len(),
        findings: findings(&round, &rules),
        withdrawn: round.withdrawn.len(),
        skipped: round.gap,
        events: round.events,
        undelivered: report.undelivered(),
    };
    Ok((check, report))
}

pub(super) fn clock_problem(context: &Context, db: &mut Db) -> Result<Option<ClockProblem>> {
    if context.now_is_given {
        return Ok(None);
    }
    let server = clock::server_time(db)?;
    // The check may have waited for the lock.
    let host = Utc::now();
    // Within a century.
    let newest_row = clock::last_call(db, host + TimeDelta::days(36_525))?.map(|call| call.at);
    Ok(ClockProblem::find(host, server, newest_row))
}

/// The evaluation of one snapshot of the database.
struct Evaluation {
    round: RoundResult,
    /// All rules, by their ids.
    rules: BTreeMap<String, Rule>,
    /// The ids of the late hours that were evaluated.
    late_hours: Vec<i64>,
}

fn evaluate(db: &mut Db, schedule: Schedule, mode: Option<Mode>) -> Result<Evaluation> {
    let late = late_hours::all(db)?;
    let mut stored = load(db, schedule)?;
    stored.late_hours = late.by_api;
    if stored.rules.iter().any(|rule| rule.enabled) {
        stored.outage = clock::outage(db, schedule.last(None))?;
    }
    if mode.is_none() {
        add_last_hour(&mut stored, schedule);
    }
    load_history(db, &mut stored, schedule)?;
    let round = Round::new(&stored, schedule);
    let usage = reading::read(db, &round.required_windows(), mode)?;
    let result = round.evaluate(&usage);
    let rules = stored.rules.into_iter();
    Ok(Evaluation {
        round: result,
        rules: rules.map(|rule| (rule.id.clone(), rule)).collect(),
        late_hours: late.ids,
    })
}

fn load(db: &mut Db, schedule: Schedule) -> Result<StoredAlerts> {
    let rules = rules::all(db)?;
    let is_for_all = |rule: &Rule| rule.enabled && rule.api_name == ALL_APIS;
    let mut stored = StoredAlerts {
        records: states::all(db)?,
        silences: silences::find_unexpired(db, schedule.now)?,
        providers: reading::providers(db, schedule.now)?,
        ..StoredAlerts::default()
    };
    for channel in channels::all(db)? {
        let least = channel
            .min_severity
            .map(|least| (channel.name.clone(), least));
        stored.min_severities.extend(least);
        stored.channels.push(channel.name);
    }
    if rules.iter().any(is_for_all) {
        stored.known_apis = rollups::known_apis(db)?;
    }
    stored.rules = rules;
    Ok(stored)
}

/// Where changed hours are unknown, late rows leave no mark: the last hour is evaluated again, too.
fn add_last_hour(stored: &mut StoredAlerts, schedule: Schedule) {
    let hours = [schedule.now - TimeDelta::hours(1), schedule.now];
    let hours = hours.map(|at| Granularity::Hourly.start_of(at));
    for record in &stored.records {
        let api = record.alert.api_name.clone();
        let late = stored.late_hours.entry(api).or_default();
        late.extend(hours);
        late.sort_unstable();
        late.dedup();
    }
}

/// Loads the events of the steps that may be evaluated again, and the notices of their episodes.
fn load_history(db: &mut Db, stored: &mut StoredAlerts, schedule: Schedule) -> Result<()> {
    let changed_from = stored.history_from(schedule);
    if let Some(from) = changed_from {
        stored.history = events::history(db, from)?;
    }
    let evaluated = stored.records.iter().map(|it| it.state.evaluated_to);
    let mut episodes = match evaluated.chain(changed_from).min() {
        Some(from) => events::withdrawn_episodes(db, from)?,
        None => BTreeSet::new(),
    };
    for record in &stored.records {
        let unknown = record.unknown_episode().map(|episode| episode.id);
        episodes.extend(record.episodes().chain(unknown));
    }
    for event in stored.history.values().flatten() {
        let unknown = event.unknown_episode().map(|episode| episode.id);
        episodes.extend(event.episodes().chain(unknown));
    }
    let outage_notices = stored.outage_notices(schedule.now);
    episodes.extend(outage_notices.map(|notice| notice.episode));
    stored.notices = notices::find_by_episodes(db, &episodes)?;
    Ok(())
}

/// Saves the result of a round; in one transaction.
fn save(db: &mut Db, evaluation: &Evaluation, schedule: Schedule) -> Result<()> {
    let round = &evaluation.round;
    for alert in &round.removed {
        states::delete(db, alert)?;
    }
    for (old, new) in &round.replaced {
        states::replace_episode(db, old, new)?;
        notices::move_to_episode(db, old, new)?;
    }
    let records: Vec<AlertRecord> = round.alerts.iter().map(|it| it.record.clone()).collect();
    states::save(db, &records)?;
    events::withdraw(db, &round.withdrawn, schedule.now)?;
    events::insert(db, &round.events)?;
    let notifications = &round.notifications;
    notices::insert(db, &notifications.new)?;
    for silence in &round.silences {
        silences::follow(db, silence)?;
    }
    notices::set_superseded(db, &notifications.dropped, schedule.now)?;
    for (alert_id, fired_at) in &round.fired {
        states::set_last_triggered(db, alert_id, *fired_at, schedule.now)?;
    }
    late_hours::delete(db, &evaluation.late_hours)?;
    Ok(())
}

fn warn(context: &mut Context, args: &CheckArgs, round: &RoundResult, knows_changes: bool) {
    if let Some(until) = round.evaluated_ahead_to {
        context.warn(format_args!(
            "it is {}, but rules were evaluated up to {}: the clock was wrong; later events were withdrawn",
            format::time(context.now),
            format::time(until)
        ));
    }
    if !knows_changes {
        context.warn(
            "the triggers on api_usage are missing or disabled: all calls are counted from the rows; \
             `usagectl migrate` restores the triggers",
        );
    }
    // With these options the caller is notified by the exit code, or sends the notices later.
    let has_other_receiver = args.nagios || args.fail_on.is_some() || args.no_send;
    if round.has_no_channel && !has_other_receiver {
        context.warn(
            "a rule fires of which a threshold has no channel; `usagectl alerts show` names the channels, \
             `usagectl alerts channel add` adds one",
        );
    }
}

fn findings(round: &RoundResult, rules: &BTreeMap<String, Rule>) -> Vec<Finding> {
    let finding = |evaluated: &EvaluatedAlert| {
        let AlertRef {
            alert_id,
            api_name,
            period,
            ..
        } = &evaluated.record.alert;
        let api = shell_word(api_name);
        let set_limit = format!("usagectl limits set --api {api} --per {period} N");
        let threshold = |severity| rules.get(alert_id)?.threshold_of(severity);
        Finding {
            cure: evaluated.lacks_limit.then_some(set_limit),
            warning: threshold(Severity::Warning),
            critical: threshold(Severity::Critical),
            alert: evaluated.record.alert.clone(),
            state: evaluated.record.state.clone(),
        }
    };
    round.alerts.iter().map(finding).collect()
}

fn outcome(check: &Check, fail_on: Option<FailOn>, report: &Report) -> Outcome {
    let show = |finding: &Finding| {
        let id = shell_word(&finding.alert.alert_id);
        format!("usagectl alerts show {id}")
    };
    let mut findings = check.findings.iter();
    if let Some(finding) = findings.find(|it| it.state.status == AlertStatus::Unknown) {
        let cure = check.findings.iter().find_map(|it| it.cure.clone());
        return Outcome::with_next(Exit::Unknown, cure.unwrap_or_else(|| show(finding)));
    }
    if check.clock.is_some() {
        return Outcome::with_next(Exit::Unknown, "correct the clock, for example by NTP");
    }
    if check.outage.is_some() {
        let next = "check that calls are recorded; `usagectl alerts add --type NO_DATA` notifies of each API";
        return Outcome::with_next(Exit::Unknown, next);
    }
    let delivery = report.outcome();
    if delivery.exit != Exit::Done {
        return delivery;
    }
    let Some((fail_on, (severity, finding))) = fail_on.zip(check.worst()) else {
        return Outcome::DONE;
    };
    match fail_on.exit(
        severity == Severity::Warning,
        severity == Severity::Critical,
    ) {
        Exit::Done => Outcome::DONE,
        exit => Outcome::with_next(exit, show(finding)),
    }
}
