//! One file or folder for each command. `run` fetches, asks the domain, saves and answers; the doc comment of
//! the arguments is the command's manual page.

pub mod aggregate;
pub mod alerts;
pub mod collect;
pub mod completions;
pub(crate) mod database_error;
mod delivery;
pub(crate) mod heartbeat;
pub(crate) mod known_apis;
mod limit_use;
pub mod limits;
pub mod man;
pub mod migrate;
mod prelude;
pub mod prune;
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

/// Prints the answer of a `--nagios` check, whose status becomes the exit code. A check that failed is UNKNOWN.
///
/// Nagios reads stdout only: nothing is printed on stderr.
fn answer_nagios(context: &mut Context, check: Result<NagiosAnswer>) -> Result<Outcome> {
    let answer = check.unwrap_or_else(|error| NagiosAnswer::failed(&error.to_string()));
    writeln!(context.stdout(), "{}", answer.text)?;
    let exit = match answer.status {
        NagiosStatus::Ok => Exit::Done,
        status => Exit::Nagios(status),
    };
    Ok(Outcome { exit, next: None })
}
