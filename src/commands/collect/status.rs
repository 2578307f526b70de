//! `collect status`: the last runs and the newest values.

use crate::commands::prelude::*;
use crate::output::collect::CollectStatus;
use crate::store::metrics::{collector_runs, days};

/// Show the last run of each collector and the newest value of each series
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl collect status")]
pub struct StatusArgs {}

pub fn run(context: &mut Context, _: StatusArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    super::import::refresh(context, &mut db)?;
    let runs = collector_runs::last(&mut db, None)?;
    let latest = days::latest(&mut db, context.now)?;
    context.finish(&CollectStatus {
        now: context.now,
        runs,
        latest,
    })
}
