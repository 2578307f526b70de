//! `alerts add`: a new rule.

use clap::Args;

use super::advice;
use super::options::{RuleOptions, alert_period, alert_type, number};
use crate::context::Context;
use crate::domain::alert::rule::{AlertType, Rule};
use crate::domain::id;
use crate::domain::period::Period;
use crate::error::{Error, Exit, Outcome, Result, shell_word};
use crate::output::alerts::rule::{Changed, Done};
use crate::store::alerting::rules;
use crate::store::db::Access;

/// Add a rule
///
/// There is one rule for each API, type and period. What it compares with the threshold depends on its
/// type:
///
/// RATE_LIMIT_WARNING: the calls in the period, in percent of the API's limit for it, which `usagectl limits
/// set` tells. Calls that a cache answered do not count.
///
/// COST_THRESHOLD: the credits spent in the period.
///
/// ERROR_SPIKE: the failed calls in the period.
///
/// Reaching the threshold is enough. The period is the stretch of time that ends now, unless
/// --window calendar is given.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts add --api finnhub \
--type RATE_LIMIT_WARNING --threshold 90 --period DAY --for 2m"
)]
pub struct AddArgs {
    /// Which API, or '*' for all, each by itself
    #[arg(long, value_name = "NAME")]
    api: String,

    /// What to watch
    #[arg(long = "type", value_name = "TYPE", value_parser = alert_type(), ignore_case = true)]
    alert_type: AlertType,

    /// From where on it fires: percent, credits or calls, as the type says
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true)]
    threshold: f64,

    /// How long a stretch of time it is about
    #[arg(long, value_name = "PERIOD", value_parser = alert_period(), ignore_case = true)]
    period: Period,

    #[command(flatten)]
    options: RuleOptions,
}

/// Adds it, and says what it lacks.
pub fn run(context: &mut Context, args: AddArgs) -> Result<Outcome> {
    let mut rule = Rule::new(&args.api, args.alert_type, args.period, args.threshold);
    args.options.apply(&mut rule)?;
    rule.id = id::scattered(context.now, rule.to_string().as_bytes()).to_string();
    let mut db = context.open(Access::Write)?;
    let now = context.now;
    let rules = [rule];
    let [rule] = &rules;
    db.write_tx(|db| {
        advice::require_channels(db, &rules)?;
        match rules::add(db, rule, now)? {
            true => Ok(()),
            false => Err(exists(rule)),
        }
    })?;
    advice::warn(context, &mut db, &rules)?;
    context.answer(&Changed::all(Done::Added, rules.into()))?;
    Ok(Outcome::DONE)
}

fn exists(rule: &Rule) -> Error {
    let place = shell_word(&rule.reference());
    Error::message(
        Exit::Refused,
        format_args!("there is a rule for {rule} already; nothing was changed"),
    )
    .with_next(format!(
        "usagectl alerts set {place} --threshold {}",
        rule.threshold
    ))
}
