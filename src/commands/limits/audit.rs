//! `limits audit`: what speaks against believing the limits.

use clap::Args;

use crate::context::Context;
use crate::domain::plans::audit::{self, Audited};
use crate::error::{Exit, Outcome, Result};
use crate::output::limits::audit::Audit;
use crate::store::db::Access;
use crate::store::plans::{api_limits, catalogues, limits, selections};

/// Show what speaks against believing the limits
///
/// Pages older than 180 days (of a page that names only its month or year the earliest day counts), pages without a
/// date, limits without a source, two that say different things, and what makes no sense. Exits with 3 if there is
/// any.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl limits init && usagectl limits audit || echo 'read the pages again'"
)]
pub struct AuditArgs {}

/// Looks into every stored limit.
pub fn run(context: &mut Context, _: AuditArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let now = context.now;
    let answer = db.read_tx(|db| -> Result<Audit> {
        let catalogue = catalogues::active(db)?;
        let (rows, api_limits) = (limits::rows(db)?, api_limits::all(db)?);
        Ok(Audit {
            looked_into: rows.len() + api_limits.len(),
            findings: audit::audit(Audited {
                rows: &rows,
                api_limits: &api_limits,
                choices: &selections::all(db)?,
                catalogue: &catalogue,
                now,
            }),
            catalogue_version: catalogue.version.to_string(),
        })
    })?;
    context.answer(&answer)?;
    if answer.findings.is_empty() {
        return Ok(Outcome::DONE);
    }
    let next = "read the pages again, then usagectl limits set --source, or limits import a newer catalogue";
    Ok(Outcome::with_next(Exit::Incomplete, next))
}
