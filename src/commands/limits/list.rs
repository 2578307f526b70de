//! `limits list`: every limit, and where it is written.

use clap::Args;

use crate::context::Context;
use crate::error::{Outcome, Result};
use crate::output::limits::list::Limits;
use crate::store::api_limits;
use crate::store::backend::Access;

/// List the limits, and where each is written
#[derive(Args, Debug, Default)]
#[command(after_help = "Example: usagectl limits list --format json")]
pub struct ListArgs {
    /// Only those of this API
    #[arg(long, value_name = "NAME")]
    api: Option<String>,
}

/// Lists them.
///
/// # Errors
///
/// When the database cannot be opened or read.
pub fn run(context: &mut Context, args: ListArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let mut api_limits = api_limits::all(&mut db)?;
    if let Some(api) = &args.api {
        api_limits.retain(|limit| limit.api_name == *api);
    }
    context.answer(&Limits { api_limits })?;
    Ok(Outcome::DONE)
}
