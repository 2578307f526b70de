//! Deletions of the oldest rows by another program, such as a job that keeps 90 days.
//!
//! Roll-ups are the history, so they do not follow such a deletion. It is recognized by its position: everything before
//! the oldest remaining row is gone, and nothing after it. Few older rows may remain: late ones, or those that the job
//! did not find. A row that is deleted inside the kept history, also in the hour of the oldest remaining row, is a
//! correction and is followed.

use chrono::{DateTime, Utc};

use super::rollup::ApiRollup;
use crate::domain::format;
use crate::domain::period::Window;

/// The number of deleted calls for each older row that remains.
const FOR_EACH_ROW: u64 = 5;

/// The greatest number of older rows.
const MOST_ROWS: usize = 10_000;

/// The number of the oldest rows that [`end`] needs.
pub fn rows_needed(missing: &[(DateTime<Utc>, u64)]) -> usize {
    let calls: u64 = missing.iter().map(|(_, calls)| calls).sum();
    usize::try_from(calls / FOR_EACH_ROW + 1).map_or(MOST_ROWS, |rows| rows.min(MOST_ROWS))
}

/// The newest deleted row of a deletion of the oldest rows. `missing` has the newest deleted row of each hour, in order,
/// and the number of its calls whose rows are gone.
pub fn end(
    missing: &[(DateTime<Utc>, u64)],
    oldest_rows: &[DateTime<Utc>],
) -> Option<DateTime<Utc>> {
    let mut sum = 0;
    let ends = missing.iter().filter(|(to, calls)| {
        sum += calls;
        let older = oldest_rows.partition_point(|row| row < to);
        older < MOST_ROWS && older as u64 * FOR_EACH_ROW <= sum
    });
    ends.last().map(|(to, _)| *to)
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
        let oldest = [at("01-30T09:40")];
        for to in ["01-30T08:59", "01-30T09:40"] {
            assert_eq!(end(&[(at(to), 4)], &oldest), Some(at(to)));
        }
        assert_eq!(end(&[(at("01-30T09:41"), 4)], &oldest), None);
        assert_eq!(end(&[(at("01-30T10:00"), 1)], &[]), Some(at("01-30T10:00")));
    }

    #[test]
    fn few_older_rows_do_not_end_the_deletion() {
        let rows = [at("01-02T09:00"), at("01-20T00:00")];
        let missing = [("01-02T09:30", 1), ("01-05T09:00", 4), ("01-21T10:00", 3)];
        let missing = missing.map(|(to, calls)| (at(to), calls));
        assert_eq!(end(&missing, &rows), Some(at("01-05T09:00")));
        assert_eq!(end(&missing[2..], &rows), None);
        assert_eq!((rows_needed(&missing), rows_needed(&missing[..1])), (2, 1));
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
