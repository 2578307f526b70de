//! `alerts check`: evaluates the rules, saves what changed and sends notifications.

use std::time::Duration;

use chrono::TimeDelta;

use super::delivery::{self, Options, Report};
use super::reading;
use crate::args::{FailOn, LockWait, parse_duration};
use crate::commands::answer_nagios;
use crate::commands::prelude::*;
use crate::domain::alert::delivery::{Delivery, DropReason};
use crate::domain::alert::round::{Round, RoundResult, Schedule, StoredAlerts};
use crate::domain::alert::rule::{ALL_APIS, AlertRef, Severity};
use crate::domain::alert::state::{AlertRecord, AlertStatus};
use crate::domain::alert::window::Grid;
use crate::domain::format;
use crate::error::shell_word;
use crate::output::Format;
use crate::output::alerts::check::{Check, Finding};
use crate::store::alerting::{channels, events, notices, rules, silences, states};
use crate::store::lock::RunKind;
use crate::store::migrations::TriggerSet;
use crate::store::plans::api_limits;
use crate::store::usage::rollups;

/// Evaluate all rules since the last check and send notifications
///
/// Run it from cron once a minute, or in CI. Every full minute since the last check is evaluated, so that missed
/// runs are caught up automatically. Changes and notices are saved in one transaction; then the notices are sent.
/// Prints nothing when all rules are OK, otherwise the rules that are not.
///
/// Exits with 12 if a rule cannot be evaluated or a notice was not delivered. A firing rule does not change the
/// exit code unless --fail-on is given.
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

    /// Print one line and exit with 0 to 3, as a Nagios plugin
    #[arg(long, conflicts_with = "fail_on")]
    nagios: bool,

    #[command(flatten)]
    steps: StepArgs,

    /// Delay before a step is evaluated, so that its calls are complete
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
    settle: Duration,

    /// Maximum time to catch up; earlier steps are skipped and recorded as skipped
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "24h")]
    max_catch_up: Duration,

    #[command(flatten)]
    lock_wait: LockWait,
}

/// The instants at which rules are evaluated.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct StepArgs {
    /// Evaluation interval in whole seconds, at most a day
    #[arg(long, value_name = "DURATION", value_parser = parse_grid, default_value = "1m")]
    pub(super) step: Grid,
}

fn parse_grid(text: &str) -> Result<Grid, String> {
    let step = TimeDelta::from_std(parse_duration(text)?).unwrap_or(TimeDelta::MAX);
    Grid::new(step).ok_or_else(|| "expected whole seconds, at most a day".to_owned())
}

pub fn run(context: &mut Context, args: CheckArgs) -> Result<Outcome> {
    if args.nagios {
        let answer = check(context, &args).map(|(check, _)| check.nagios());
        return answer_nagios(context, answer, "usagectl alerts list");
    }
    let (check, report) = check(context, &args)?;
    if !check.is_ok() || context.format != Format::Table {
        context.answer(&check)?;
    }
    Ok(outcome(&check, args.fail_on, &report))
}

fn check(context: &mut Context, args: &CheckArgs) -> Result<(Check, Report)> {
    let url = context.database_url(false)?;
    let mut db = context.open_migrated(&url, Access::Write)?;
    let _lock = context.lock(&mut db, &url, RunKind::Alerts, args.lock_wait.lock_wait)?;
    let delta = |duration| TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
    let schedule = Schedule {
        now: context.now,
        grid: args.steps.step,
        settle: delta(args.settle),
        max_catch_up: delta(args.max_catch_up),
    };
    let (round, has_triggers) = db.read_tx(|db| evaluate(db, schedule))?;
    db.write_tx(|db| save(db, &round, schedule))?;
    warn(context, args, &round, has_triggers);
    let mut report = Report::default();
    if !args.no_send {
        let options = Options {
            to_stderr: args.nagios,
            ..Options::default()
        };
        report = delivery::deliver(context, &mut db, options).map_err(|error| {
            error.context("the evaluation was saved, but not all notices were sent")
        })?;
    }
    let check = Check {
        now: context.now,
        rules: round.rules,
        new_notices: round.notifications.new.len(),
        findings: findings(&round),
        events: round.events,
        undelivered: report.count(Delivery::Waiting),
    };
    Ok((check, report))
}

/// Evaluates the rules by one snapshot of the database. The second value is whether the triggers exist that
/// mark stale roll-ups.
fn evaluate(db: &mut Db, schedule: Schedule) -> Result<(RoundResult, bool)> {
    let stored = load(db, schedule)?;
    let has_triggers = TriggerSet::Usage.is_in_place(db)?;
    let round = Round::new(&stored, schedule);
    let usage = reading::read(db, &round.required_windows(), has_triggers)?;
    Ok((round.evaluate(&usage), has_triggers))
}

fn load(db: &mut Db, schedule: Schedule) -> Result<StoredAlerts> {
    let rules = rules::all(db)?;
    let records = states::all(db)?;
    let is_for_all = |api_name: &str| api_name == ALL_APIS;
    let mut stored = StoredAlerts {
        silences: silences::find_unexpired(db, schedule.now)?,
        channels: channels::all(db)?.into_iter().map(|it| it.name).collect(),
        limits: reading::allowances(&api_limits::all(db)?),
        ..StoredAlerts::default()
    };
    if rules
        .iter()
        .any(|rule| rule.enabled && is_for_all(&rule.api_name))
    {
        stored.known_apis = rollups::known_apis(db)?;
    }
    let episodes = records.iter().filter_map(|it| it.state.episode.as_ref());
    let episodes = episodes.map(|episode| episode.id.clone()).collect();
    stored.notices = notices::find_by_episodes(db, &episodes)?;
    (stored.rules, stored.records) = (rules, records);
    Ok(stored)
}

/// Saves the result of a round; in one transaction.
fn save(db: &mut Db, round: &RoundResult, schedule: Schedule) -> Result<()> {
    for alert in &round.removed {
        states::delete(db, alert)?;
    }
    let records: Vec<AlertRecord> = round.alerts.iter().map(|it| it.record.clone()).collect();
    states::save(db, &records)?;
    events::insert(db, &round.events)?;
    let notifications = &round.notifications;
    notices::insert(db, &notifications.new)?;
    notices::set_waiting(db, &notifications.released, schedule.now)?;
    notices::set_dropped(db, &notifications.dropped, DropReason::Superseded)?;
    for (alert_id, fired_at) in &round.fired {
        states::set_last_triggered(db, alert_id, *fired_at, schedule.now)?;
    }
    Ok(())
}

fn warn(context: &mut Context, args: &CheckArgs, round: &RoundResult, has_triggers: bool) {
    if let Some(until) = round.evaluated_ahead_to {
        context.warn(format_args!(
            "it is {}, but rules were evaluated up to {}: the clock was set back; nothing is evaluated until then",
            format::time(context.now),
            format::time(until)
        ));
    }
    if !has_triggers {
        context.warn(
            "the triggers on api_usage are missing or disabled: all calls are counted from the rows; \
             `usagectl migrate` restores the triggers",
        );
    }
    // With these options the caller is notified by the exit code, or sends the notices later.
    let has_other_receiver = args.nagios || args.fail_on.is_some() || args.no_send;
    if round.has_no_channel && !has_other_receiver {
        context.warn(
            "a rule fires, but no notification was sent: there is no channel; \
             add one with `usagectl alerts channel add`",
        );
    }
}

fn findings(round: &RoundResult) -> Vec<Finding> {
    let finding = |evaluated: &crate::domain::alert::round::EvaluatedAlert| {
        let AlertRef {
            api_name, period, ..
        } = &evaluated.record.alert;
        let api = shell_word(api_name);
        let set_limit = format!("usagectl limits set --api {api} --per {period} N");
        Finding {
            cure: evaluated.lacks_limit.then_some(set_limit),
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
