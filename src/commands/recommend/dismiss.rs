//! `recommend dismiss`.

use super::transition::{self, MoveArgs};
use crate::commands::prelude::*;
use crate::domain::format;
use crate::domain::metrics::names::Status;
use crate::domain::moment::Moment;
use crate::domain::period::Calendar;

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
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
}

pub fn run(context: &mut Context, args: DismissArgs) -> Result<Outcome> {
    let now = context.now;
    let until = args.until.map(|until| until.start(now, Calendar::UTC));
    if let Some(until) = until.filter(|until| *until <= now) {
        let until = format::time(until);
        let message = format!("invalid --until {until}: expected a time in the future");
        return Err(Error::usage(message).with_next("usagectl recommend dismiss --help"));
    }
    transition::run(context, &args.target, Status::Dismissed, until)
}
