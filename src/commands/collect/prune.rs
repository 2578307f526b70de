//! `collect prune`: removes old points whose days are summed up.

use std::time::Duration;

use chrono::{Days, TimeDelta};
use clap::Args;

use crate::args::parse_duration;
use crate::context::Context;
use crate::domain::metrics::point::midnight;
use crate::error::{Error, Outcome, Result};
use crate::output::collect::Pruned;
use crate::store::db::Access;
use crate::store::metrics::days;

/// Remove old points; their days stay
///
/// Only whole days are removed, and only after they are summed up: forecasts lose nothing. A point that
/// comes late into such a day is stored, and told as not counted.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl collect prune --keep 90d")]
pub struct PruneArgs {
    /// Keep the points of this long
    #[arg(long, value_name = "SPAN", value_parser = parse_duration)]
    keep: Duration,

    /// Say how many would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// Prunes.
pub fn run(context: &mut Context, args: PruneArgs) -> Result<Outcome> {
    let keep = TimeDelta::from_std(args.keep).unwrap_or(TimeDelta::MAX);
    if keep < TimeDelta::days(1) {
        return Err(Error::usage("--keep is less than a day")
            .with_next("usagectl collect prune --keep 90d"));
    }
    let before = context.now.checked_sub_signed(keep).map(midnight);
    let before = before.map_or(chrono::NaiveDate::MIN, |at| at.date_naive());
    let mut db = context.open(Access::Write)?;
    super::import::refresh(context, &mut db)?;
    let points = match args.dry_run {
        true => days::count_before(&mut db, before)?,
        false => {
            let removed = days::prune(&mut db, before)?;
            // The triggers marked the days; they are sealed, so nothing changes.
            days::refresh(&mut db)?;
            removed
        }
    };
    context.answer(&Pruned {
        points,
        last_day: before.checked_sub_days(Days::new(1)),
        dry_run: args.dry_run,
    })?;
    Ok(Outcome::DONE)
}
