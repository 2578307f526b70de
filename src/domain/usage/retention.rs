//! Deletions of the oldest rows by another program, such as a job that keeps 90 days.
//!
//! Roll-ups are the history, so they do not follow such a deletion. It is recognized by its position: everything before
//! the oldest remaining row is gone, and nothing after it. A row that is deleted inside the kept history, also in the hour
//! of the oldest remaining row, is a correction and is followed.

use chrono::{DateTime, Utc};

use super::rollup::ApiRollup;
use crate::domain::format;
use crate::domain::period::Window;

/// Whether the deletions of an hour are of the oldest rows: the newest deleted row is not newer than the oldest remaining
/// row of any API, if one remains.
pub fn is_of_oldest(deleted_to: DateTime<Utc>, oldest_row: Option<DateTime<Utc>>) -> bool {
    oldest_row.is_none_or(|oldest| deleted_to <= oldest)
}

/// The choice that a user has about the calls of a window whose rows were deleted.
pub fn next_step(window: Window) -> String {
    format!(
        "keep them: usagectl aggregate --seal; or follow the rows: usagectl aggregate --rebuild --from {} --to {}",
        format::time(window.from),
        format::time(window.to)
    )
}

/// The calls of an hour that were counted before and are not found any more; nothing if none is missing.
pub fn missing(before: Option<&ApiRollup>, found: Option<&ApiRollup>) -> Option<ApiRollup> {
    let mut missing = before?.clone();
    if let Some(found) = found {
        missing.subtract(found);
    }
    (missing.total.total_requests > 0).then_some(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at;
    use crate::domain::usage::rollup::Rollup;

    #[test]
    fn deletion_up_to_the_oldest_row_is_of_the_oldest() {
        let oldest = Some(at("01-30T09:40"));
        assert!(is_of_oldest(at("01-30T08:59"), oldest) && is_of_oldest(at("01-30T09:40"), oldest));
        assert!(!is_of_oldest(at("01-30T09:41"), oldest));
        assert!(is_of_oldest(at("01-30T10:00"), None));
    }

    #[test]
    fn only_missing_calls_are_kept() {
        let counted = |total_requests| ApiRollup {
            total: Rollup {
                total_requests,
                ..Rollup::default()
            },
            ..ApiRollup::default()
        };
        assert_eq!(
            missing(Some(&counted(5)), Some(&counted(2))),
            Some(counted(3))
        );
        assert_eq!(missing(Some(&counted(5)), None), Some(counted(5)));
        assert_eq!(missing(Some(&counted(5)), Some(&counted(6))), None);
        assert_eq!(missing(None, Some(&counted(2))), None);
    }
}
