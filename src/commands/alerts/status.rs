//! `alerts status`: what fires, what cannot be judged, what was not delivered.

use clap::Args;

use super::overview;
use crate::context::Context;
use crate::domain::alert::delivery::Delivery;
use crate::error::{Outcome, Result};
use crate::output::alerts::status::AlertsStatus;
use crate::store::alerting::{notices, silences};
use crate::store::db::Access;

/// Say what fires, what cannot be judged, and what still has to be told
///
/// As the last check found it; nothing is evaluated and nothing sent. `usagectl alerts check` has exit codes
/// for what it finds.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts status --format json"
)]
pub struct StatusArgs {}

/// Reads and answers.
pub fn run(context: &mut Context, _: StatusArgs) -> Result<Outcome> {
    let now = context.now;
    let mut db = context.open(Access::Read)?;
    let status = db.read_tx(|db| -> Result<AlertsStatus> {
        Ok(AlertsStatus {
            lines: overview::read(db, now, |_| true)?,
            waiting: notices::that_are(db, Delivery::Waiting)?,
            silenced: notices::count(db, Delivery::Silenced)?,
            silences: silences::not_over(db, now)?,
            now,
        })
    })?;
    context.answer(&status)?;
    Ok(Outcome::DONE)
}
