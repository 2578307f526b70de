//! `limits remove`: a limit goes.

use clap::Args;

use super::parse_period;
use crate::context::Context;
use crate::domain::alert::rule::AlertPeriod;
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::printable;
use crate::output::table::counted;
use crate::store::api_limits;
use crate::store::backend::Access;

/// Remove a limit
///
/// `usagectl limits init` brings a published one back.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl limits set --api tmdb --per SECOND 40 && usagectl limits remove --api tmdb"
)]
pub struct RemoveArgs {
    /// The API
    #[arg(long, value_name = "NAME")]
    api: String,

    /// Only its limit for this period
    #[arg(long, value_name = "PERIOD", value_parser = parse_period)]
    per: Option<AlertPeriod>,
}

/// Removes the limits.
///
/// # Errors
///
/// When there is no such limit, or the database cannot be opened or written.
pub fn run(context: &mut Context, args: RemoveArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    let removed = api_limits::remove(&mut db, &args.api, args.per.as_ref())?;
    let api = printable(&args.api);
    let per = match &args.per {
        Some(period) => format!(" per {period}"),
        None => String::new(),
    };
    if removed == 0 {
        let message = format!("{api} has no limit{per}");
        return Err(Error::message(Exit::Failed, message).with_next("usagectl limits list"));
    }
    context.tell(format_args!(
        "removed {} of {api}{per}",
        counted(removed as u64, "limit")
    ));
    Ok(Outcome::DONE)
}
