//! `alerts add`: adds a rule.

use super::rule_options::{RuleOptions, ThresholdOption, alert_period, alert_type, threshold};
use super::rule_warnings;
use crate::commands::prelude::*;
use crate::domain::alert::rule::{AlertType, Rule};
use crate::domain::format::shell_word;
use crate::domain::id;
use crate::domain::period::Period;
use crate::output::alerts::Action;
use crate::output::alerts::rule_changes::RuleChanges;
use crate::store::alerting::rules;

/// Add a rule
///
/// An API has one rule per type and period. The rule fires when the value of its evaluation window reaches
/// the threshold:
///
/// RATE_LIMIT_WARNING: calls in percent of the API's limit for the period, see `usagectl limits set`. Cached
/// calls do not count.
///
/// COST_THRESHOLD: credits spent.
///
/// ERROR_SPIKE: failed calls, or with --percent their share of the calls.
///
/// NO_DATA: the time since the last call, in periods: `--threshold 30 --period MINUTE` fires after 30 minutes without
/// a call. The application does not have this type: its rules are in a table of usagectl.
///
/// A rule that fires resolves when a call succeeds. If calls are missing altogether it is UNKNOWN, see --no-data.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts add --api finnhub --type RATE_LIMIT_WARNING --threshold 90 --period DAY --for 2m"))]
pub struct AddArgs {
    /// API, or '*' for each of them
    #[arg(long, value_name = "NAME")]
    api: String,

    /// Rule type
    #[arg(long = "type", value_name = "TYPE", value_parser = alert_type(), ignore_case = true)]
    alert_type: AlertType,

    /// Threshold: percent, credits, failed calls or periods, by --type; repeat for more
    ///
    /// Each may have a severity and channels of its own: 80:warning:slack, 100:critical:pager,mail. A channel is
    /// notified when the value reaches a threshold that names it, and of the end when it falls below all of
    /// those.
    #[arg(long = "threshold", value_name = "N[:SEVERITY[:CHANNEL,...]]", value_parser = threshold, required_unless_present = "percent", conflicts_with = "percent", allow_hyphen_values = true)]
    thresholds: Vec<ThresholdOption>,

    /// Evaluation window
    #[arg(long, value_name = "PERIOD", value_parser = alert_period(), ignore_case = true)]
    period: Period,

    #[command(flatten)]
    options: RuleOptions,
}

pub fn run(context: &mut Context, args: AddArgs) -> Result<Outcome> {
    // Without a threshold, --percent is one.
    let mut rule = Rule::new(&args.api, args.alert_type, args.period, f64::NAN);
    args.options.set_thresholds(&mut rule, &args.thresholds)?;
    args.options.apply(&mut rule)?;
    rule.id = id::scattered(context.now, rule.to_string().as_bytes()).to_string();
    let mut db = context.open(Access::Write)?;
    let now = context.now;
    let rules = [rule];
    let [rule] = &rules;
    db.write_tx(|db| {
        rule_warnings::require_channels(db, &rules)?;
        if rules::add(db, rule, now)? {
            Ok(())
        } else {
            Err(already_exists(rule))
        }
    })?;
    rule_warnings::warn(context, &mut db, &rules)?;
    context.finish(&RuleChanges::all(Action::Added, rules.into()))
}

fn already_exists(rule: &Rule) -> Error {
    let reference = shell_word(&rule.reference());
    let message = format!("a rule for {rule} already exists; nothing was changed");
    let option = match rule.settings.percent {
        true => "--percent",
        false => "--threshold",
    };
    let threshold = rule.threshold;
    let next = format!("usagectl alerts set {reference} {option} {threshold}");
    Error::message(Exit::Refused, message).with_next(next)
}
