//! `limits audit`: outdated, undated and conflicting limits.

use crate::commands::prelude::*;
use crate::domain::plans::audit::{self, AuditInput, Issue};
use crate::output::limits::audit::Audit;
use crate::store::plans::{api_limits, catalogues, limits, selections};

/// Report outdated, undated and conflicting limits
///
/// Finds sources older than 180 days or without a date, limits without a source, values that differ from the
/// catalogue, and invalid rows. A date without a day or month counts from its first day.
///
/// Exits with 4 if a limit is invalid, differs from the catalogue or has no plan, and with 3 if only sources
/// require a review.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl limits init && usagectl limits audit || echo 'review the sources'"
)]
pub struct AuditArgs {}

pub fn run(context: &mut Context, _: AuditArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let now = context.now;
    let answer = db.read_tx(|db| -> Result<Audit> {
        let catalogue = catalogues::active(db)?;
        let (rows, api_limits) = (limits::rows(db)?, api_limits::all(db)?);
        Ok(Audit {
            limits: rows.len() + api_limits.len(),
            findings: audit::audit(AuditInput {
                rows: &rows,
                api_limits: &api_limits,
                selections: &selections::all(db)?,
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
    let next = "review the sources, then run usagectl limits set --source, or limits import with a newer catalogue";
    let is_wrong = answer.findings.iter().any(|it| it.issue < Issue::NoSource);
    let exit = if is_wrong {
        Exit::Untrustworthy
    } else {
        Exit::Incomplete
    };
    Ok(Outcome::with_next(exit, next))
}
