//! `alerts check`: judges the rules by the data, writes down what changed, and tells who should know.

mod round;

use std::time::Duration;

use chrono::TimeDelta;
use clap::{Args, ValueEnum};

use self::round::{Moment, Round};
use crate::args::parse_duration;
use crate::commands::answer_nagios;
use crate::context::Context;
use crate::domain::alert::delivery::Delivery;
use crate::domain::alert::rule::Severity;
use crate::domain::alert::state::AlertStatus;
use crate::domain::alert::window::Grid;
use crate::domain::period::shown;
use crate::error::{Exit, Outcome, Result, shell_word};
use crate::notify;
use crate::output::Format;
use crate::output::alerts::check::{Check, Finding};
use crate::store::db::{Access, Db};
use crate::store::lock::{RunKind, RunLock};

/// Judge all rules by the data since the last check, and tell who should know
///
/// Made for cron, once a minute, and for CI. Every full minute since the last check is judged from the data:
/// runs that were missed lose nothing, and stretch nothing. What changed is written down in one transaction,
/// notices included; then these are sent. Says nothing when all is well; otherwise lists the rules that are
/// not OK.
///
/// Exits with 12 if a rule cannot be judged or a notice was not delivered. That a rule fires is no failure,
/// unless --fail-on says so.
///
/// A line for crontab: * * * * * DATABASE_URL=file:/srv/app/usage.db usagectl alerts check --lock-wait 50s
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts check --fail-on critical"
)]
pub struct CheckArgs {
    /// Exit with 10 if a rule fires as a warning, with 11 if one is critical; `critical`: the latter only
    #[arg(long, value_enum, value_name = "SEVERITY")]
    fail_on: Option<FailOn>,

    /// Write notices down and leave sending them to `usagectl alerts deliver`
    #[arg(long)]
    no_send: bool,

    /// Answer as a plugin of Nagios: one line, and an exit code of 0 to 3
    #[arg(long, conflicts_with = "fail_on")]
    nagios: bool,

    #[command(flatten)]
    steps: StepArgs,

    /// How old a step must be, so that its calls have come in
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10s")]
    settle: Duration,

    /// How far back to catch up; what is older is skipped, and an event says so
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "24h")]
    max_catch_up: Duration,

    /// How long to wait for another check to end
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "0s")]
    lock_wait: Duration,
}

/// At which instants rules are judged.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct StepArgs {
    /// From one moment at which rules are judged to the next; whole seconds, at most a day
    #[arg(long, value_name = "TIME", value_parser = parse_grid, default_value = "1m")]
    pub(super) step: Grid,
}

fn parse_grid(text: &str) -> Result<Grid, String> {
    let step = TimeDelta::from_std(parse_duration(text)?).unwrap_or(TimeDelta::MAX);
    Grid::new(step).ok_or_else(|| "not a number of whole seconds, at most a day".to_owned())
}

/// What makes a check fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A rule that fires
    Warning,
    /// A rule that is critical
    Critical,
}

/// Judges, writes down, tells, answers.
pub fn run(context: &mut Context, args: CheckArgs) -> Result<Outcome> {
    if !args.nagios {
        let (check, next) = check(context, &args)?;
        if !check.is_well() || context.format != Format::Table {
            context.answer(&check)?;
        }
        return Ok(outcome(&check, &args, next));
    }
    let answer = check(context, &args).map(|(check, _)| check.nagios());
    answer_nagios(context, answer, "usagectl alerts list")
}

/// What was found, and what to do about notices that were not delivered.
fn check(context: &mut Context, args: &CheckArgs) -> Result<(Check, Option<String>)> {
    let url = context.database_url(false)?;
    let mut db = context.open_migrated(&url, Access::Write)?;
    let _lock = RunLock::acquire(&url, RunKind::Alerts, args.lock_wait)?;
    let span = |span| TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX);
    let moment = Moment {
        now: context.now,
        grid: args.steps.step,
        settle: span(args.settle),
        max_catch_up: span(args.max_catch_up),
    };
    let round = db.read_tx(|db| Round::new(db, moment))?;
    db.write_tx(|db| round.save(db, moment.now))?;
    warn(context, args, &round);
    let undelivered = deliver(context, &mut db, args)?;
    let check = answer(context, round, undelivered.count);
    Ok((check, undelivered.next))
}

fn warn(context: &mut Context, args: &CheckArgs, round: &Round) {
    if let Some(until) = round.ahead_until {
        context.warn(format_args!(
            "it is {}, and rules were judged up to {}: the clock was set back; nothing more is judged until then",
            shown(context.now),
            shown(until)
        ));
    }
    if !round.triggers_are_in_place {
        context.warn(
            "the triggers on api_usage are missing or disabled: everything is counted from the rows; \
             `usagectl aggregate --rebuild` puts them back",
        );
    }
    // With these options, whoever runs the check is the one to be told.
    let told_otherwise = args.nagios || args.fail_on.is_some() || args.no_send;
    if round.unheard && !told_otherwise {
        context.warn(
            "a rule fires and nobody is told, for there is no channel; \
             `usagectl alerts channel add` makes one",
        );
    }
}

/// Sends what is due. Says how many notices nobody has got, and what to do about them.
fn deliver(context: &mut Context, db: &mut Db, args: &CheckArgs) -> Result<Undelivered> {
    if args.no_send {
        return Ok(Undelivered::default());
    }
    let options = notify::Options {
        aside: args.nagios,
        ..notify::Options::default()
    };
    let report = notify::deliver(context, db, &options).map_err(|error| {
        error.context("what was found is written down, but not all of it was sent")
    })?;
    Ok(Undelivered {
        count: report.count(Delivery::Waiting),
        next: report.outcome().next,
    })
}

/// Notices that nobody has got.
#[derive(Debug, Default)]
struct Undelivered {
    count: u64,
    next: Option<String>,
}

fn answer(context: &Context, round: Round, undelivered: u64) -> Check {
    let new_notices = round.new_notices();
    let finding = |stand: round::Stand| {
        let alert = &stand.stored.alert;
        let api = shell_word(&alert.api_name);
        let set_limit = format!("usagectl limits set --api {api} --per {} N", alert.period);
        Finding {
            cure: stand.lacks_limit.then_some(set_limit),
            alert: stand.stored.alert,
            state: stand.stored.state,
        }
    };
    Check {
        now: context.now,
        rules: round.rules,
        findings: round.stands.into_iter().map(finding).collect(),
        events: round.events,
        new_notices,
        undelivered,
    }
}

fn outcome(check: &Check, args: &CheckArgs, undelivered: Option<String>) -> Outcome {
    let show = |finding: &Finding| {
        let id = shell_word(&finding.alert.alert_id);
        format!("usagectl alerts show {id}")
    };
    let unknown = |finding: &&Finding| finding.state.status == AlertStatus::Unknown;
    if let Some(finding) = check.findings.iter().find(unknown) {
        let cure = check
            .findings
            .iter()
            .find_map(|finding| finding.cure.clone());
        return Outcome::with_next(Exit::Unknown, cure.unwrap_or_else(|| show(finding)));
    }
    if let Some(next) = undelivered {
        return Outcome::with_next(Exit::Unknown, next);
    }
    match (args.fail_on, check.worst()) {
        (Some(_), Some((Severity::Critical, finding))) => {
            Outcome::with_next(Exit::Critical, show(finding))
        }
        (Some(FailOn::Warning), Some((Severity::Warning, finding))) => {
            Outcome::with_next(Exit::Warning, show(finding))
        }
        _ => Outcome::DONE,
    }
}
