//! `alerts list`: every rule, and where it stands.

use clap::Args;

use super::overview;
use crate::context::Context;
use crate::domain::alert::rule::Rule;
use crate::error::{Outcome, Result};
use crate::output::alerts::list::RuleList;
use crate::store::db::Access;

/// List the rules and where each stands
///
/// All rows of api_alerts are listed, whoever wrote them; one that cannot be judged says why.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl --database-url sqlite:usage.db alerts list")]
pub struct ListArgs {
    /// Only rules for this API; may be given several times
    #[arg(long = "api", value_name = "NAME")]
    apis: Vec<String>,
}

/// Reads and answers.
pub fn run(context: &mut Context, args: ListArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let now = context.now;
    let asked = |rule: &Rule| args.apis.is_empty() || args.apis.contains(&rule.api_name);
    let lines = db.read_tx(|db| overview::read(db, now, asked))?;
    context.answer(&RuleList { lines })?;
    Ok(Outcome::DONE)
}
