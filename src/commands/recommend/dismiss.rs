//! `recommend dismiss`.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};

use super::transition::{self, MoveArgs};
use crate::args::parse_instant;
use crate::commands::prelude::*;
use crate::domain::format;
use crate::domain::metrics::names::Status;

/// Dismiss a recommendation
///
/// Moves it from PENDING, REVIEWED or APPROVED to DISMISSED. It reopens automatically when its priority rises, and
/// with --until also when that time has passed and its condition persists.
#[derive(Args, Debug)]
#[command(mut_arg("note", |note| note.required(true)))]
#[command(after_help = example!("recommend dismiss 019c0d2e --note \"clean-up planned\" --until 2026-03-01"))]
pub struct DismissArgs {
    #[command(flatten)]
    target: MoveArgs,

    /// End of the dismissal: a date (UTC) or an RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = parse_day)]
    until: Option<DateTime<Utc>>,
}

fn parse_day(text: &str) -> Result<DateTime<Utc>, String> {
    match text.parse::<NaiveDate>() {
        Ok(day) => Ok(day.and_time(NaiveTime::MIN).and_utc()),
        Err(_) => parse_instant(text)
            .map_err(|_| "expected a date such as 2026-03-01 or an RFC 3339 time".to_owned()),
    }
}

pub fn run(context: &mut Context, args: DismissArgs) -> Result<Outcome> {
    if let Some(until) = args.until.filter(|until| *until <= context.now) {
        let message = format!(
            "invalid --until {}: expected a time in the future",
            format::time(until)
        );
        return Err(Error::usage(message).with_next("usagectl recommend dismiss --help"));
    }
    transition::run(context, &args.target, Status::Dismissed, args.until)
}
