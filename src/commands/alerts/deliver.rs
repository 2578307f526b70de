//! `alerts deliver`: notices that did not arrive are tried again.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;

use crate::args::parse_duration;
use crate::context::Context;
use crate::domain::alert::delivery::{Delivery, Notice, is_worth_retrying};
use crate::domain::format::counted;
use crate::error::{Outcome, Result};
use crate::notify::{self, MAX_ATTEMPTS, Options};
use crate::output::alerts::deliveries::Deliveries;
use crate::store::alerting::notices;
use crate::store::db::{Access, Db};
use crate::store::lock::{RunKind, RunLock};

/// Send the notices that wait
///
/// `usagectl alerts check` does this too, after each check. A notice that its channel did not take is tried
/// again after 30 seconds at most, then after twice as long each time, up to an hour; of each wait only
/// between a half and all, so that not all come back at once. Every try carries the same key. After
/// --max-attempts failed tries it is dropped, which the history shows.
///
/// If anything did not arrive, the exit code is 12.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl --database-url sqlite:usage.db alerts deliver --force")]
pub struct DeliverArgs {
    /// After how many failed tries a notice is dropped
    #[arg(long, value_name = "N", default_value_t = MAX_ATTEMPTS, value_parser = clap::value_parser!(i32).range(1..))]
    max_attempts: i32,

    /// Also try what is not due yet
    #[arg(long)]
    force: bool,

    /// Give what was dropped one more try, unless it is over and that was told
    #[arg(long)]
    retry_dropped: bool,

    /// How long to wait for another run to end
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "0s")]
    lock_wait: Duration,
}

/// Sends and answers.
pub fn run(context: &mut Context, args: DeliverArgs) -> Result<Outcome> {
    let url = context.database_url(false)?;
    let mut db = context.open_migrated(&url, Access::Write)?;
    let _lock = RunLock::acquire(&url, RunKind::Alerts, args.lock_wait)?;
    if args.retry_dropped {
        let now = context.now;
        let revived = db.write_tx(|db| -> Result<usize> {
            let dropped = notices::find_by_delivery(db, Delivery::Dropped)?;
            revive(db, dropped, now)
        })?;
        context.detail(format_args!(
            "{} to try again",
            counted(revived as u64, "dropped notice")
        ));
    }
    let options = Options {
        max_attempts: args.max_attempts,
        force: args.force,
        ..Options::default()
    };
    let report = notify::deliver(context, &mut db, &options)?;
    context.answer(&Deliveries {
        notices: &report.notices,
    })?;
    Ok(report.outcome())
}

/// Has dropped notices wait again, those that still have something to tell. Says how many.
pub(super) fn revive(db: &mut Db, dropped: Vec<Notice>, now: DateTime<Utc>) -> Result<usize> {
    let episodes: BTreeSet<String> = dropped
        .iter()
        .map(|notice| notice.content.episode.clone())
        .collect();
    let family = notices::find_by_episodes(db, &episodes)?;
    let open = notices::open_episodes(db)?;
    let keys: Vec<&str> = dropped
        .iter()
        .filter(|notice| is_worth_retrying(notice, &family, &open))
        .map(|notice| notice.content.key.as_str())
        .collect();
    notices::set_waiting(db, &keys, now)?;
    Ok(keys.len())
}
