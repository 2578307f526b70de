//! `alerts deliver`: sends pending notices.

use crate::commands::delivery::{self, DeliverWithin, MAX_ATTEMPTS, Options};
use crate::commands::prelude::*;
use crate::domain::alert::delivery::Delivery;
use crate::domain::format::counted;
use crate::output::alerts::deliveries::Deliveries;
use crate::store::alerting::notices;

/// Send pending notices
///
/// `usagectl alerts check` does this after each check. A notice that could not be delivered is tried again
/// after at most 30 seconds, then after twice as long each time, up to an hour; each wait is shortened by a
/// random part of up to a half. Every attempt carries the same key. After --max-attempts failed attempts the
/// notice is dropped, which the history shows.
///
/// Several notices to a webhook or to Slack are sent as one message. A receiver that answers with Retry-After gets
/// nothing before that time; waits of up to 5 seconds are waited for. It is safe to run this command during a check or
/// another delivery: each notice is sent by one of them.
///
/// Exits with 12 if a notice was not delivered.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts deliver --force"))]
pub struct DeliverArgs {
    /// Number of failed attempts after which a notice is dropped
    #[arg(long, value_name = "N", default_value_t = MAX_ATTEMPTS, value_parser = clap::value_parser!(i32).range(1..))]
    max_attempts: i32,

    /// Send notices before their next attempt is due
    #[arg(long)]
    force: bool,

    /// Try dropped notices once more, unless their episode has ended
    #[arg(long)]
    retry_dropped: bool,

    #[command(flatten)]
    within: DeliverWithin,
}

pub fn run(context: &mut Context, args: DeliverArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    if args.retry_dropped {
        let now = context.now;
        let revived = db.write_tx(|db| -> Result<usize> {
            let dropped = notices::find_by_delivery(db, Delivery::Dropped)?;
            delivery::revive(db, &dropped, now)
        })?;
        let notices = counted(revived as u64, "dropped notice");
        context.detail(format_args!("{notices} to try again"));
    }
    let options = Options {
        max_attempts: args.max_attempts,
        force: args.force,
        to_stderr: false,
        within: args.within,
    };
    let report = delivery::deliver(context, &mut db, options)?;
    report.warn(context);
    context.answer(&Deliveries {
        notices: &report.notices,
    })?;
    Ok(report.outcome())
}
