//! `alerts channel list`.

use crate::commands::prelude::*;
use crate::domain::alert::delivery::Delivery;
use crate::output::alerts::channels::{ChannelStatus, Channels};
use crate::store::alerting::{channels, notices};

/// List channels
///
/// Shows the destination of each channel, its secrets, those of them that this process cannot read, and the
/// number of waiting notices.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts channel list"))]
pub struct ListArgs {}

pub fn run(context: &mut Context, _args: ListArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let (channels, waiting) = db.read_tx(|db| -> Result<_> {
        let waiting = notices::find_by_delivery(db, Delivery::Waiting)?;
        Ok((channels::all(db)?, waiting))
    })?;
    let channels = channels.into_iter().map(|channel| {
        let waiting = waiting.iter();
        let waiting = waiting.filter(|notice| notice.channel == channel.name);
        let waiting = waiting.count() as u64;
        ChannelStatus::new(channel, super::is_present, waiting)
    });
    context.finish(&Channels {
        action: None,
        channels: channels.collect(),
    })
}
