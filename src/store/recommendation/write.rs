//! Optimistic writes of recommendations: one transaction each, retried when another program wrote in between.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::{history, recommendations};
use crate::domain::recommendation::Recommendation;
use crate::domain::recommendation::lifecycle::history::Entry;
use crate::error::{Error, Exit};
use crate::store::db::Db;

/// Why an attempt wrote nothing.
#[derive(Debug)]
pub enum Aborted {
    /// The stored state changed since it was read.
    Conflict,
    /// The question has another open answer.
    OtherOpenAnswer(DieselError),
    Failed(Error),
}

impl From<DieselError> for Aborted {
    fn from(error: DieselError) -> Aborted {
        match error {
            DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => {
                Aborted::OtherOpenAnswer(error)
            }
            other => Aborted::Failed(other.into()),
        }
    }
}

impl From<Error> for Aborted {
    fn from(error: Error) -> Aborted {
        Aborted::Failed(error)
    }
}

impl From<Aborted> for Error {
    fn from(aborted: Aborted) -> Error {
        match aborted {
            Aborted::Failed(error) => error,
            Aborted::OtherOpenAnswer(error) => error.into(),
            Aborted::Conflict => {
                let message =
                    "other programs keep changing the recommendation; nothing was written";
                Error::message(Exit::Busy, message).with_next("run the same command again")
            }
        }
    }
}

/// Runs `attempt` in a write transaction, and again in a new one after a conflict.
pub fn retry<T>(
    db: &mut Db,
    mut attempt: impl FnMut(&mut Db) -> Result<T, Aborted>,
) -> Result<T, Aborted> {
    const RETRIES: usize = 4;
    for _ in 0..RETRIES {
        match db.write_tx(&mut attempt) {
            Err(Aborted::Conflict) => {}
            settled => return settled,
        }
    }
    db.write_tx(attempt)
}

/// Writes a recommendation and appends its history entries, inside a transaction.
pub fn write(
    db: &mut Db,
    before: Option<&Recommendation>,
    after: &Recommendation,
    entries: &[Entry],
) -> Result<(), Aborted> {
    match before {
        None => recommendations::insert(db, after)?,
        Some(before) => {
            if !recommendations::update(db, before, after)? {
                return Err(Aborted::Conflict);
            }
        }
    }
    Ok(history::append(db, &after.id, entries)?)
}
