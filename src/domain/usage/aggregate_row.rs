//! What the application sees of a roll-up: a row of `api_usage_aggregates`, and who has the say about it.
//!
//! The table is the application's, and its own aggregation may have written there long before us. Those
//! rows can be all that is left of rows deleted since, so a roll-up replaces a row of another program only
//! when it counts at least as much.

use super::rollup::Rollup;

/// The numbers of one row of `api_usage_aggregates`.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    pub total_requests: i32,
    pub success_count: i32,
    pub error_count: i32,
    /// Those answered from a cache.
    pub cached_count: i32,
    /// Milliseconds, over the calls that say how long they took.
    pub avg_response_time: Option<f64>,
    /// Milliseconds.
    pub max_response_time: Option<i32>,
    /// Milliseconds.
    pub min_response_time: Option<i32>,
    pub rate_limit_errors: i32,
    pub timeout_errors: i32,
    pub server_errors: i32,
    /// Credits. Only other programs leave it out.
    pub total_cost: Option<f64>,
}

/// A count is larger than the application's column.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0} is more than api_usage_aggregates can hold, which is 2147483647")]
pub struct TooLarge(u64);

impl Published {
    /// The row that a roll-up makes.
    pub fn of(rollup: &Rollup) -> Result<Published, TooLarge> {
        let fit = |count: u64| i32::try_from(count).map_err(|_| TooLarge(count));
        let ms = |ms: Option<u32>| ms.map(|ms| fit(ms.into())).transpose();
        Ok(Published {
            total_requests: fit(rollup.total_requests)?,
            success_count: fit(rollup.success_count)?,
            error_count: fit(rollup.error_count)?,
            cached_count: fit(rollup.cached_count)?,
            avg_response_time: rollup.response_times.average(),
            max_response_time: ms(rollup.response_times.max)?,
            min_response_time: ms(rollup.response_times.min)?,
            rate_limit_errors: fit(rollup.errors.rate_limit)?,
            timeout_errors: fit(rollup.errors.timeout)?,
            server_errors: fit(rollup.errors.server)?,
            total_cost: Some(rollup.total_cost.to_f64()),
        })
    }
}

impl Published {
    /// The first number in which two rows differ, by the name of its column, and both values of it.
    pub fn difference(&self, other: &Published) -> Option<(&'static str, String, String)> {
        fn text<T: ToString>(value: Option<T>) -> String {
            value.map_or_else(|| "-".to_owned(), |value| value.to_string())
        }
        let numbers = |row: &Published| {
            [
                ("total_requests", row.total_requests.to_string()),
                ("success_count", row.success_count.to_string()),
                ("error_count", row.error_count.to_string()),
                ("cached_count", row.cached_count.to_string()),
                ("avg_response_time", text(row.avg_response_time)),
                ("max_response_time", text(row.max_response_time)),
                ("min_response_time", text(row.min_response_time)),
                ("rate_limit_errors", row.rate_limit_errors.to_string()),
                ("timeout_errors", row.timeout_errors.to_string()),
                ("server_errors", row.server_errors.to_string()),
                ("total_cost", text(row.total_cost)),
            ]
        };
        let mut pairs = numbers(self).into_iter().zip(numbers(other));
        let differs = pairs.find(|((_, ours), (_, theirs))| ours != theirs);
        differs.map(|((name, ours), (_, theirs))| (name, ours, theirs))
    }
}

/// What becomes of the row of one period.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It says already what it should, or there is none and should be none.
    Right,
    /// There is none yet.
    Insert(Published),
    /// It is replaced, its id stays.
    Replace(Published),
    /// The period has no calls any more.
    Remove,
    /// Another program wrote it, and it counts more than the rows that are left: it stays.
    Keep,
}

/// Decides about the row `found` of a period whose roll-up was `before` and is `after`.
///
/// A row is ours if it is what `before` makes. With `rows_rule` the user has said that the rows are the truth.
pub fn judge(
    found: Option<&Published>,
    before: Option<&Rollup>,
    after: Option<&Rollup>,
    rows_rule: bool,
) -> Result<Verdict, TooLarge> {
    let wanted = after.map(Published::of).transpose()?;
    let Some(found) = found else {
        return Ok(wanted.map_or(Verdict::Right, Verdict::Insert));
    };
    if wanted.as_ref() == Some(found) {
        return Ok(Verdict::Right);
    }
    let ours = before.is_some_and(|before| Published::of(before).as_ref() == Ok(found));
    let counted = wanted.as_ref().map_or(0, |wanted| wanted.total_requests);
    Ok(match wanted {
        _ if !ours && !rows_rule && found.total_requests > counted => Verdict::Keep,
        Some(wanted) => Verdict::Replace(wanted),
        None => Verdict::Remove,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollup(total_requests: u64) -> Rollup {
        Rollup {
            total_requests,
            success_count: total_requests,
            ..Rollup::default()
        }
    }

    fn row(total_requests: u64) -> Published {
        Published::of(&rollup(total_requests)).unwrap()
    }

    fn verdict(found: Option<u64>, before: Option<u64>, after: Option<u64>) -> Verdict {
        let (before, after) = (before.map(rollup), after.map(rollup));
        judge(
            found.map(row).as_ref(),
            before.as_ref(),
            after.as_ref(),
            false,
        )
        .unwrap()
    }

    #[test]
    fn our_own_row_follows_its_calls_whether_they_grow_or_go() {
        assert_eq!(verdict(None, None, Some(3)), Verdict::Insert(row(3)));
        assert_eq!(verdict(Some(3), Some(3), Some(3)), Verdict::Right);
        assert_eq!(verdict(Some(3), Some(3), Some(5)), Verdict::Replace(row(5)));
        assert_eq!(verdict(Some(3), Some(3), Some(2)), Verdict::Replace(row(2)));
        assert_eq!(verdict(Some(3), Some(3), None), Verdict::Remove);
        assert_eq!(verdict(None, Some(3), None), Verdict::Right);
    }

    #[test]
    fn a_row_of_another_program_stays_if_it_counts_more_than_the_rows_left() {
        assert_eq!(verdict(Some(1500), None, Some(2)), Verdict::Keep);
        assert_eq!(verdict(Some(1500), None, None), Verdict::Keep);
        // Also the next time, when there is a roll-up that it does not come from.
        assert_eq!(verdict(Some(1500), Some(2), Some(3)), Verdict::Keep);
        assert_eq!(
            verdict(Some(1500), None, Some(1501)),
            Verdict::Replace(row(1501))
        );
    }

    #[test]
    fn a_row_of_another_program_goes_if_the_user_says_that_the_rows_rule() {
        let two = rollup(2);
        let found = row(1500);
        assert_eq!(
            judge(Some(&found), None, Some(&two), true),
            Ok(Verdict::Replace(row(2)))
        );
        assert_eq!(judge(Some(&found), None, None, true), Ok(Verdict::Remove));
    }

    #[test]
    fn a_count_that_does_not_fit_is_an_error_and_not_another_count() {
        let huge = rollup(1 << 31);
        assert_eq!(Published::of(&huge), Err(TooLarge(1 << 31)));
    }
}
