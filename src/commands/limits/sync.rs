//! Brings the stored limits in line with the catalogue in force and the plans in use, for `init`, `plan` and
//! `import`.

use chrono::{DateTime, Utc};

use crate::commands::prelude::*;
use crate::domain::plans::sync::{Changes, Signature, SyncAction};
use crate::domain::plans::{Catalogue, PlanSelection, sync};
use crate::store::plans::{api_limits, limits};

/// The changes for all providers, or for one; writes nothing.
pub fn changes(
    db: &mut Db,
    catalogue: &Catalogue,
    selections: &[PlanSelection],
    provider: Option<&str>,
    signature: Signature<'_>,
) -> Result<Changes> {
    let (rows, stored) = (limits::rows(db)?, api_limits::all(db)?);
    Ok(Changes {
        limits: sync::limits(catalogue, selections, provider, &rows, signature),
        api_limits: sync::api_limits(catalogue, selections, provider, &stored, signature.now),
    })
}

/// Writes changes, in a transaction of the caller.
pub fn save(db: &mut Db, changes: &Changes, now: DateTime<Utc>) -> Result<()> {
    for change in changes.limits.iter().filter(|it| it.change.writes()) {
        limits::write(db, &change.row, now)?;
    }
    for change in &changes.api_limits {
        let limit = &change.limit;
        match change.change {
            SyncAction::Added | SyncAction::Updated => api_limits::set(db, limit)?,
            SyncAction::Removed => {
                api_limits::remove(db, &limit.api_name, Some(&limit.period))?;
            }
            SyncAction::Unchanged | SyncAction::Kept => {}
        }
    }
    Ok(())
}

/// Runs `work` in a transaction, in which a dry run only reads.
pub fn transact<T>(
    context: &mut Context,
    is_dry_run: bool,
    work: impl FnOnce(&mut Context, &mut Db) -> Result<T>,
) -> Result<T> {
    if is_dry_run {
        return context.open(Access::Read)?.read_tx(|db| work(context, db));
    }
    context
        .open(Access::Write)?
        .write_tx(|db| work(context, db))
}
