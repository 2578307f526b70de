//! Brings the stored limits in line with the catalogue in force and the plans in use: what `init`, `plan` and
//! `import` have in common.

use crate::domain::plans::Catalogue;
use crate::domain::plans::sync;
use crate::domain::plans::sync::{Actor, ApiLimitChange, Change, LimitChange};
use crate::error::{Error, Result};
use crate::store::db::Db;
use crate::store::plans::{api_limits, limits, selections};

/// What became of every limit.
#[derive(Debug, Default)]
pub struct Applied {
    /// Of plans.
    pub limits: Vec<LimitChange>,
    /// Of APIs.
    pub api_limits: Vec<ApiLimitChange>,
}

/// Decides and writes, within a transaction of the caller.
pub fn apply(db: &mut Db, catalogue: &Catalogue, actor: Actor<'_>) -> Result<Applied> {
    let choices = selections::all(db)?;
    let rows = limits::rows(db)?;
    let stored = api_limits::all(db)?;
    let applied = Applied {
        limits: sync::limits(catalogue, &choices, &rows, actor),
        api_limits: sync::api_limits(catalogue, &choices, &stored, actor.now),
    };
    for change in applied.limits.iter().filter(|it| it.change.writes()) {
        limits::write(db, &change.row, actor.now)?;
    }
    for change in &applied.api_limits {
        match change.change {
            Change::Added | Change::Updated => api_limits::set(db, &change.limit)?,
            Change::Removed => {
                let limit = &change.limit;
                api_limits::remove(db, &limit.api_name, Some(&limit.period))?;
            }
            Change::Unchanged | Change::Kept => {}
        }
    }
    Ok(applied)
}

/// Runs `work` in one transaction, that leaves nothing behind if it is a rehearsal.
pub fn rehearsable<T>(
    db: &mut Db,
    is_rehearsal: bool,
    work: impl FnOnce(&mut Db) -> Result<T>,
) -> Result<T> {
    let done = db.write_tx(|db| match work(db) {
        Ok(answer) if is_rehearsal => Err(Undone::Rehearsed(answer)),
        Ok(answer) => Ok(answer),
        Err(error) => Err(Undone::Failed(error)),
    });
    match done {
        Ok(answer) | Err(Undone::Rehearsed(answer)) => Ok(answer),
        Err(Undone::Failed(error)) => Err(error),
    }
}

/// How a transaction ends that leaves nothing behind.
enum Undone<T> {
    Rehearsed(T),
    Failed(Error),
}

impl<T> From<diesel::result::Error> for Undone<T> {
    fn from(error: diesel::result::Error) -> Undone<T> {
        Undone::Failed(error.into())
    }
}
