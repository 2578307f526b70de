//! `alerts channel test`.

use super::find;
use crate::commands::delivery;
use crate::commands::prelude::*;
use crate::context;
use crate::domain::alert::notice::{CONTENT_SCHEMA, Content, NoticeKind};
use crate::domain::alert::rule::{ALL_APIS, AlertRef, Severity};
use crate::domain::alert::state::Observation;
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
    let content = Content {
        schema: CONTENT_SCHEMA,
        key: id::unique(now).to_string(),
        kind: NoticeKind::Test,
        episode: id::unique(now).to_string(),
        alert: AlertRef {
            alert_id: "usagectl".to_owned(),
            api_name: ALL_APIS.to_owned(),
            alert_type: "TEST".to_owned(),
            period: String::new(),
        },
        severity: Severity::Warning,
        observed: Observation::default(),
        limit_unit: None,
        unknown_reason: None,
        level: 0,
        steps: None,
        reason: None,
        fired_at: now,
        ended_at: Some(now),
        created_at: now,
        note: None,
        summary: format!(
            "TEST: {} sent this notice to test the channel {}; nothing fires",
            context::current_user(),
            channel.name
        ),
    };
    delivery::send_one(context, &channel, &content)?;
    context.finish(&ChannelTest {
        kind: channel.kind.word(),
        channel: channel.name,
        key: content.key,
    })
}
