//! `alerts status`: firing rules, unknown states and undelivered notices.

use std::time::Duration;

use chrono::TimeDelta;

use super::check::clock_problem;
use super::rule_states;
use crate::args::parse_duration;
use crate::commands::answer_nagios;
use crate::commands::prelude::*;
use crate::domain::alert::delivery::Delivery;
use crate::output::alerts::status::AlertsStatus;
use crate::store::alerting::{clock, notices, silences};

/// Show firing rules, unknown states and undelivered notices
///
/// Shows the result of the last check; evaluates and sends nothing, and waits for no lock. With --nagios the exit code
/// tells the state, as that of `usagectl alerts check --fail-on` does.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts status --format json"))]
pub struct StatusArgs {
    /// Answer as a Nagios plugin, with exit code 0 to 3
    #[arg(long)]
    nagios: bool,

    /// Age of the last check from which on --nagios answers UNKNOWN
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10m", requires = "nagios")]
    max_age: Duration,
}

pub fn run(context: &mut Context, args: StatusArgs) -> Result<Outcome> {
    if args.nagios {
        let max_age = TimeDelta::from_std(args.max_age).unwrap_or(TimeDelta::MAX);
        let answer = read(context).map(|status| status.nagios(max_age));
        return answer_nagios(context, answer);
    }
    let status = read(context)?;
    if let Some(problem) = &status.problem {
        context.warn(problem);
    }
    context.finish(&status)
}

fn read(context: &mut Context) -> Result<AlertsStatus> {
    let now = context.now;
    let mut db = context.open(Access::Read)?;
    db.read_tx(|db| -> Result<AlertsStatus> {
        Ok(AlertsStatus {
            lines: rule_states::read(db, now, |_| true)?,
            waiting: notices::find_by_delivery(db, Delivery::Waiting)?,
            silenced: notices::count(db, Delivery::Silenced)?,
            silences: silences::find_unexpired(db, now)?,
            problem: match clock_problem(context, db)? {
                Some(problem) => Some(problem.to_string()),
                None => clock::outage(db, now)?.map(|it| it.to_string()),
            },
            now,
        })
    })
}
