//! `recommend dismiss`.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::Args;

use super::transition::{self, MoveArgs, RequiredWhyArgs};
use crate::args::parse_instant;
use crate::context::Context;
use crate::domain::metrics::names::Status;
use crate::error::{Error, Outcome, Result};

/// Decide that a recommendation shall not be done
///
/// From PENDING, REVIEWED or APPROVED to DISMISSED. It comes back by itself when it is more urgent than it is now,
/// and with --until also when that day has come and its reason still holds.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db recommend dismiss 019c0d2e --note \"clean-up planned\" --until 2026-03-01"
)]
pub struct DismissArgs {
    #[command(flatten)]
    step: MoveArgs,
    #[command(flatten)]
    why: RequiredWhyArgs,

    /// Only until this day (UTC) or moment (RFC 3339)
    #[arg(long, value_name = "DATE", value_parser = parse_day)]
    until: Option<DateTime<Utc>>,
}

fn parse_day(text: &str) -> Result<DateTime<Utc>, String> {
    match text.parse::<NaiveDate>() {
        Ok(day) => Ok(day.and_time(NaiveTime::MIN).and_utc()),
        Err(_) => parse_instant(text)
            .map_err(|_| "not a day such as 2026-03-01, nor an RFC 3339 time".to_owned()),
    }
}

/// Moves it.
pub fn run(context: &mut Context, args: DismissArgs) -> Result<Outcome> {
    if args.until.is_some_and(|until| until <= context.now) {
        return Err(
            Error::usage("--until is not in the future").with_next("give a later day, or none")
        );
    }
    let note = Some(args.why.note.as_str());
    transition::run(
        context,
        &args.step,
        Some(Status::Dismissed),
        note,
        args.until,
    )
}
