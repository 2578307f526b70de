//! `alerts channel test`: does a notice arrive?

use clap::Args;

use super::named;
use crate::context::Context;
use crate::domain::alert::notice::{CONTENT_SCHEMA, Content, NoticeKind};
use crate::domain::id;
use crate::error::{Outcome, Result};
use crate::output::printable;
use crate::store::alerting::channels;
use crate::store::db::Access;
use crate::{context, notify};

/// Send a test notice through a channel
///
/// Its type is TEST and its kind MISSED: something that was and is over, so that nothing needs to be
/// resolved. It is not stored. If it does not arrive, the exit code is 12.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts channel test console"
)]
pub struct TestArgs {
    /// Which channel
    name: String,
}

/// Sends it.
pub fn run(context: &mut Context, args: TestArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let channel = named(channels::all(&mut db)?, &args.name)?;
    let now = context.now;
    let content = Content {
        schema: CONTENT_SCHEMA,
        key: id::unique(now).to_string(),
        kind: NoticeKind::Missed,
        episode: id::unique(now).to_string(),
        alert_id: "test".to_owned(),
        api_name: "usagectl".to_owned(),
        alert_type: "TEST".to_owned(),
        period: "MINUTE".to_owned(),
        severity: "WARNING".to_owned(),
        value: None,
        threshold: 1.0,
        limit_value: None,
        fired_at: now,
        ended_at: Some(now),
        created_at: now,
        summary: format!(
            "TEST: {} tries the channel {}",
            context::current_user(),
            channel.name
        ),
    };
    notify::send_one(context, &channel, &content)?;
    let name = printable(&channel.name);
    context.info(format_args!("the channel `{name}` took the test notice"));
    Ok(Outcome::DONE)
}
