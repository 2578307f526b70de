//! One file or folder for each command. `run` fetches, asks the domain, saves and answers; the doc comment of
//! the arguments is the command's manual page.

pub mod aggregate;
pub mod alerts;
pub mod collect;
pub mod completions;
pub(crate) mod database_error;
pub(crate) mod known_apis;
pub mod limits;
pub mod man;
pub mod migrate;
mod prelude;
pub mod recommend;
pub mod record;
mod refused;
pub mod rollback;
pub mod stats;
pub mod status;

use std::io::Write;

use crate::context::Context;
use crate::domain::nagios::{NagiosAnswer, NagiosStatus};
use crate::error::{Exit, Outcome, Result};

/// Prints the line of a `--nagios` check, whose status becomes the exit code. A check that failed is UNKNOWN.
fn answer_nagios(
    context: &mut Context,
    check: Result<NagiosAnswer>,
    next: &str,
) -> Result<Outcome> {
    let failed = |error| NagiosAnswer::new(NagiosStatus::Unknown, &format!("{error}"), "");
    let answer = check.unwrap_or_else(failed);
    writeln!(context.stdout(), "{}", answer.line)?;
    if answer.status == NagiosStatus::Ok {
        return Ok(Outcome::DONE);
    }
    Ok(Outcome::with_next(Exit::Nagios(answer.status), next))
}
