//! Filled in by the work that needs it.

use super::backend::Db;
use crate::error::Result;

/// Makes sure that the schema is the one this program works with.
///
/// # Errors
///
/// When it is not, with the command that cures it.
pub fn require_current(_db: &mut Db) -> Result<()> {
    Ok(())
}
