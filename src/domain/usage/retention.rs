//! Deletions of the oldest rows by another program, such as a job that keeps 90 days.
//!
//! Roll-ups are the history, so they do not follow such a deletion. It is recognized by its position: everything before
//! the oldest remaining row is gone. A row that is deleted inside the kept history is a correction and is followed.

use chrono::{DateTime, Utc};

use super::rollup::ApiRollup;
use crate::domain::format;
use crate::domain::period::{Granularity, Window};

/// The hours from which the oldest rows may have been deleted: up to the one of the oldest remaining row.
#[derive(Clone, Copy, Debug)]
pub struct DeletedHead {
    /// The hour of the oldest remaining row, of any API; nothing if no row remains.
    oldest: Option<DateTime<Utc>>,
}

impl DeletedHead {
    pub fn before(oldest_row: Option<DateTime<Utc>>) -> DeletedHead {
        DeletedHead {
            oldest: oldest_row.map(|at| Granularity::Hourly.start_of(at)),
        }
    }

    pub fn contains(&self, hour: DateTime<Utc>) -> bool {
        self.oldest.is_none_or(|oldest| hour <= oldest)
    }
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
    fn head_ends_with_the_hour_of_the_oldest_row() {
        let head = DeletedHead::before(Some(at("01-30T09:40")));
        assert!(head.contains(at("01-30T08:00")) && head.contains(at("01-30T09:00")));
        assert!(!head.contains(at("01-30T10:00")));
        assert!(DeletedHead::before(None).contains(at("01-30T10:00")));
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
