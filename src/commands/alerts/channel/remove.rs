//! `alerts channel remove`: a channel that nobody listens to.

use clap::Args;

use super::named;
use crate::context::Context;
use crate::domain::alert::delivery::{Delivery, DropReason};
use crate::domain::format::counted;
use crate::error::{Outcome, Result};
use crate::output::alerts::channels::{ChannelLine, ChannelList};
use crate::output::printable;
use crate::store::alerting::{channels, notices, rules};
use crate::store::db::Access;

/// Remove a channel
///
/// What waits for it is dropped and stays in the history; it is sent if a channel of this name is added
/// again. Rules that name the channel go on naming it: they do not begin to speak through others.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts channel remove console"
)]
pub struct RemoveArgs {
    /// Which channel
    name: String,
}

/// Removes it, and says what that means.
pub fn run(context: &mut Context, args: RemoveArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    let name = &args.name;
    let (channel, dropped, mute) = db.write_tx(|db| -> Result<_> {
        let channel = named(channels::all(db)?, name)?;
        channels::remove(db, name)?;
        let waiting = notices::that_are(db, Delivery::Waiting)?;
        let ours = waiting.iter().filter(|notice| notice.channel == *name);
        let keys: Vec<&str> = ours.map(|notice| notice.content.key.as_str()).collect();
        notices::drop_all(db, &keys, DropReason::NoChannel)?;
        let rules = rules::rules(db)?.into_iter();
        let mute = rules.filter(|rule| rule.channels == [name.clone()]).count();
        Ok((channel, keys.len() as u64, mute as u64))
    })?;
    let shown = printable(name);
    if dropped > 0 {
        let notices = counted(dropped, "notice");
        context.warn(format_args!(
            "{notices} to `{shown}` dropped: no channel of this name"
        ));
    }
    if mute > 0 {
        let rules = counted(mute, "rule");
        context.warn(format_args!(
            "{rules} named no other channel than `{shown}` and cannot be heard now"
        ));
    }
    let line = ChannelLine::new(channel, super::is_there, 0);
    context.answer(&ChannelList { lines: vec![line] })?;
    Ok(Outcome::DONE)
}
