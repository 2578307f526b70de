//! `alerts channel remove`.

use super::find;
use crate::commands::prelude::*;
use crate::domain::alert::delivery::{Delivery, DropReason};
use crate::domain::alert::route::is_muted;
use crate::domain::alert::rule::Rule;
use crate::domain::format::counted;
use crate::output::alerts::Action;
use crate::output::alerts::channels::{ChannelStatus, Channels};
use crate::store::alerting::{channels, notices, rules};

/// Remove a channel
///
/// Its waiting notices are dropped and stay in the history; they are sent if a channel of the same name is
/// added again. Rules that name the channel keep naming it, so that they do not notify other channels
/// instead.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts channel remove console"))]
pub struct RemoveArgs {
    /// Channel
    name: String,
}

pub fn run(context: &mut Context, args: RemoveArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    let name = &args.name;
    let (channel, dropped, muted) = db.write_tx(|db| -> Result<_> {
        let channel = find(channels::all(db)?, name)?;
        channels::remove(db, name)?;
        let waiting = notices::find_by_delivery(db, Delivery::Waiting)?;
        let ours = waiting.iter().filter(|notice| notice.channel == *name);
        let keys: Vec<&str> = ours.map(|notice| notice.content.key.as_str()).collect();
        notices::set_dropped(db, &keys, DropReason::NoChannel)?;
        let left: Vec<String> = channels::all(db)?.into_iter().map(|it| it.name).collect();
        let muted = rules::all(db)?.into_iter();
        let muted: Vec<Rule> = muted.filter(|rule| is_muted(rule, &left)).collect();
        Ok((channel, keys.len() as u64, muted))
    })?;
    let name = printable(name);
    if dropped > 0 {
        let notices = counted(dropped, "waiting notice");
        context.warn(format_args!("{notices} to `{name}` dropped"));
    }
    for rule in &muted {
        context.warn(format_args!(
            "{} has a threshold without a channel now",
            printable(&rule.reference())
        ));
    }
    context.finish(&Channels {
        action: Some(Action::Removed),
        channels: vec![ChannelStatus::new(channel, super::is_present, 0)],
    })
}
