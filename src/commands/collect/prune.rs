//! `collect prune`: removes old points and keeps their daily summaries.

use std::time::Duration;

use chrono::{Days, NaiveDate, TimeDelta};

use super::import::refresh;
use crate::args::parse_duration;
use crate::commands::prelude::*;
use crate::domain::metrics::point::midnight;
use crate::output::collect::PruneReport;
use crate::store::metrics::days;

/// Remove old points and keep their daily summaries
///
/// Removes whole UTC days after summarizing them, so that forecasts do not change. A late point in such a day is
/// stored and reported, but not added to its summary.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl collect prune --older-than 90d")]
pub struct PruneArgs {
    /// Age up to which points are kept, at least 1d
    #[arg(long, alias = "keep", value_name = "DURATION", value_parser = parse_duration)]
    older_than: Duration,

    /// Show the number of points, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn run(context: &mut Context, args: PruneArgs) -> Result<Outcome> {
    let keep = TimeDelta::from_std(args.older_than).unwrap_or(TimeDelta::MAX);
    if keep < TimeDelta::days(1) {
        return Err(Error::usage("--older-than must be at least 1d")
            .with_next("usagectl collect prune --older-than 90d"));
    }
    let before = context.now.checked_sub_signed(keep).map(midnight);
    let before = before.map_or(NaiveDate::MIN, |at| at.date_naive());
    let points = if args.dry_run {
        days::count_before(&mut context.open(Access::Read)?, before)?
    } else {
        let mut db = context.open(Access::Write)?;
        refresh(context, &mut db)?;
        let removed = days::prune(&mut db, before)?;
        // The deletes marked the days dirty; they are sealed, so that this only clears the marks.
        days::refresh(&mut db)?;
        removed
    };
    context.finish(&PruneReport {
        points,
        last_day: before.checked_sub_days(Days::new(1)),
        dry_run: args.dry_run,
    })
}
