//! `alerts status`: firing rules, unknown states and undelivered notices.

use super::rule_states;
use crate::commands::prelude::*;
use crate::domain::alert::delivery::Delivery;
use crate::output::alerts::status::AlertsStatus;
use crate::store::alerting::{notices, silences};

/// Show firing rules, unknown states and undelivered notices
///
/// Shows the result of the last check; evaluates and sends nothing. `usagectl alerts check` has an exit code
/// for each severity.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts status --format json"))]
pub struct StatusArgs {}

pub fn run(context: &mut Context, _: StatusArgs) -> Result<Outcome> {
    let now = context.now;
    let mut db = context.open(Access::Read)?;
    let status = db.read_tx(|db| -> Result<AlertsStatus> {
        Ok(AlertsStatus {
            lines: rule_states::read(db, now, |_| true)?,
            waiting: notices::find_by_delivery(db, Delivery::Waiting)?,
            silenced: notices::count(db, Delivery::Silenced)?,
            silences: silences::find_unexpired(db, now)?,
            now,
        })
    })?;
    context.finish(&status)
}
