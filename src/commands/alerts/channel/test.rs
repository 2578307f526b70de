//! `alerts channel test`.

use super::find;
use crate::commands::delivery;
use crate::commands::prelude::*;
use crate::context;
use crate::domain::alert::notice::{Content, NoticeKind};
use crate::domain::alert::rule::AlertRef;
use crate::domain::id;
use crate::output::alerts::channels::ChannelTest;
use crate::store::alerting::channels;

/// Send a test notice through a channel
///
/// The notice has kind TEST: nothing fires, and nothing has to be resolved. It is not stored. The exit code is
/// 12 if it cannot be delivered.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts channel test console"))]
pub struct TestArgs {
    /// Channel
    name: String,
}

pub fn run(context: &mut Context, args: TestArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let channel = find(channels::all(&mut db)?, &args.name)?;
    let now = context.now;
    let [key, episode] = [(); 2].map(|()| id::unique(now).to_string());
    let alert = AlertRef::of_all_rules("TEST");
    let content = Content {
        ended_at: Some(now),
        summary: format!(
            "TEST: {} sent this notice to test the channel {}; nothing fires",
            context::current_user(),
            channel.name
        ),
        ..Content::new(NoticeKind::Test, key, episode, alert, now)
    };
    delivery::send_one(context, &channel, &content)?;
    context.finish(&ChannelTest {
        kind: channel.kind.word(),
        channel: channel.name,
        key: content.key,
    })
}
