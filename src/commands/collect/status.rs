//! `collect status`: the last runs and the newest values.

use crate::commands::prelude::*;
use crate::output::collect::CollectStatus;
use crate::store::metrics::{collector_runs, days};

/// Show the last run of each collector and the newest value of each series
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl collect status")]
pub struct StatusArgs {}

pub fn run(context: &mut Context, _: StatusArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let now = context.now;
    let status = db.read_tx(|db| -> Result<_> {
        Ok(CollectStatus {
            now,
            runs: collector_runs::last(db, None)?,
            latest: days::latest(db, now)?,
        })
    })?;
    context.finish(&status)
}
