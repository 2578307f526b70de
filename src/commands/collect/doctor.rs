//! `collect doctor`: checks every configured source.

use super::run::{collect, outcome, print_warnings, report};
use super::targets::TargetArgs;
use crate::commands::known_apis::warn_of_unknown;
use crate::commands::prelude::*;
use crate::domain::metrics::point::Saved;
use crate::output::collect::DoctorReport;

/// Check credentials, permissions and latency of every source
///
/// Queries the sources as `collect run` does and writes nothing. Shows how to fix a failure and how to configure a
/// missing source; without any, it lists them all.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl collect doctor --only usage --usage-api finnhub")]
pub struct DoctorArgs {
    #[command(flatten)]
    targets: TargetArgs,
}

pub fn run(context: &mut Context, args: DoctorArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    warn_of_unknown(context, &mut db, &args.targets.usage_api)?;
    let (finished, not_configured) = collect(context, &mut db, &args.targets)?;
    let mut collectors = Vec::new();
    for finished in &finished {
        print_warnings(context, finished);
        collectors.push(report(context, finished, Saved::default()));
    }
    context.answer(&DoctorReport {
        collectors,
        not_configured,
    })?;
    Ok(outcome(&finished))
}
