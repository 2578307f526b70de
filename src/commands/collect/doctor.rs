//! `collect doctor`: whether everything that is configured can be asked.

use clap::Args;

use super::run::{ask, outcome, told};
use super::targets::TargetArgs;
use crate::context::Context;
use crate::domain::metrics::point::Saved;
use crate::error::{Outcome, Result};
use crate::output::collect::Examined;
use crate::store::db::Access;

/// Check credentials, rights and latency of every source
///
/// Asks as `collect run` does, and writes nothing. For what fails it says what to do; for what is not
/// configured it says what would configure it.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl collect doctor --only usage --usage-api finnhub")]
pub struct DoctorArgs {
    #[command(flatten)]
    targets: TargetArgs,
}

/// Examines.
pub fn run(context: &mut Context, args: DoctorArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let (finished, targets) = ask(context, &mut db, &args.targets)?;
    let mut examined = Examined {
        skipped: targets.skipped,
        ..Examined::default()
    };
    for finished in &finished {
        let one = told(context, finished, Saved::default());
        examined.collectors.push(one);
    }
    context.answer(&examined)?;
    Ok(outcome(&finished))
}
