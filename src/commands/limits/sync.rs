//! Brings the stored limits in line with the catalogue in force and the plans in use, for `init`, `plan` and
//! `import`.

use crate::commands::prelude::*;
use crate::domain::plans::sync::{Changes, Signature, SyncAction};
use crate::domain::plans::{Catalogue, sync};
use crate::store::plans::{api_limits, limits, selections};

/// Decides and writes, in a transaction of the caller.
pub fn sync(db: &mut Db, catalogue: &Catalogue, signature: Signature<'_>) -> Result<Changes> {
    let selections = selections::all(db)?;
    let (rows, stored) = (limits::rows(db)?, api_limits::all(db)?);
    let changes = Changes {
        limits: sync::limits(catalogue, &selections, &rows, signature),
        api_limits: sync::api_limits(catalogue, &selections, &stored, signature.now),
    };
    for change in changes.limits.iter().filter(|it| it.change.writes()) {
        limits::write(db, &change.row, signature.now)?;
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
    Ok(changes)
}

/// Runs `work` in a transaction, which is rolled back if it is a dry run.
pub fn write_unless_dry_run<T>(
    db: &mut Db,
    is_dry_run: bool,
    work: impl FnOnce(&mut Db) -> Result<T>,
) -> Result<T> {
    let mut tried = None;
    let written = db.write_tx(|db| {
        let answer = work(db)?;
        if !is_dry_run {
            return Ok(answer);
        }
        tried = Some(answer);
        Err(diesel::result::Error::RollbackTransaction.into())
    });
    tried.map_or(written, Ok)
}
