//! `alerts channel list`: every channel, and what waits for it.

use clap::Args;

use crate::context::Context;
use crate::domain::alert::delivery::Delivery;
use crate::error::{Outcome, Result};
use crate::output::alerts::channels::{ChannelLine, ChannelList};
use crate::store::alerting::{channels, notices};
use crate::store::db::Access;

/// List the channels
///
/// Says where each sends, which secrets it needs and which of them cannot be read here, and how many
/// notices wait for it.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl --database-url sqlite:usage.db alerts channel list")]
pub struct ListArgs {}

/// Reads and answers.
pub fn run(context: &mut Context, _args: ListArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let (channels, waiting) = db.read_tx(|db| -> Result<_> {
        let waiting = notices::that_are(db, Delivery::Waiting)?;
        Ok((channels::all(db)?, waiting))
    })?;
    let lines = channels.into_iter().map(|channel| {
        let waiting = waiting.iter();
        let waiting = waiting.filter(|notice| notice.channel == channel.name);
        let count = waiting.count() as u64;
        ChannelLine::new(channel, super::is_there, count)
    });
    let lines = lines.collect();
    context.answer(&ChannelList { lines })?;
    Ok(Outcome::DONE)
}
