//! A row of `api_usage_aggregates`, which the application reads, and how a roll-up changes it.
//!
//! The table belongs to the application, and its own aggregation may have written rows there. Such a row can be
//! the only record of deleted rows, so a roll-up replaces another program's row only if it counts at least as
//! many requests.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::read_plan::StalePeriods;
use super::rollup::{ApiPeriod, ApiRollup, Difference, Rollup, first_difference, or_dash};
use crate::domain::period::{Calendar, Granularity, Window};

#[derive(Clone, Debug, PartialEq)]
pub struct AggregateRow {
    pub total_requests: i32,
    pub success_count: i32,
    pub error_count: i32,
    pub cached_count: i32,
    /// Milliseconds, over the calls that have a response time.
    pub avg_response_time: Option<f64>,
    /// Milliseconds.
    pub max_response_time: Option<i32>,
    /// Milliseconds.
    pub min_response_time: Option<i32>,
    pub rate_limit_errors: i32,
    pub timeout_errors: i32,
    pub server_errors: i32,
    /// Credits. Null only in rows of other programs.
    pub total_cost: Option<f64>,
}

#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0} exceeds 2147483647, the maximum in api_usage_aggregates")]
pub struct TooLarge(pub u64);

impl AggregateRow {
    pub fn of(rollup: &Rollup) -> Result<AggregateRow, TooLarge> {
        let fit = |count: u64| i32::try_from(count).map_err(|_| TooLarge(count));
        let ms = |ms: Option<u32>| ms.map(|ms| fit(ms.into())).transpose();
        Ok(AggregateRow {
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

    /// The first number in which the row differs from the `found` one.
    pub fn difference(&self, found: &AggregateRow) -> Option<Difference> {
        let numbers = |row: &AggregateRow| {
            [
                ("total_requests", row.total_requests.to_string()),
                ("success_count", row.success_count.to_string()),
                ("error_count", row.error_count.to_string()),
                ("cached_count", row.cached_count.to_string()),
                ("avg_response_time", or_dash(row.avg_response_time)),
                ("max_response_time", or_dash(row.max_response_time)),
                ("min_response_time", or_dash(row.min_response_time)),
                ("rate_limit_errors", row.rate_limit_errors.to_string()),
                ("timeout_errors", row.timeout_errors.to_string()),
                ("server_errors", row.server_errors.to_string()),
                ("total_cost", or_dash(row.total_cost)),
            ]
        };
        first_difference(numbers(self), numbers(found))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct FoundRow {
    /// Stays when the row is replaced.
    pub id: String,
    pub row: AggregateRow,
    /// Whether its period start has the form that is searched and compared as text. SQLite only.
    pub is_canonical: bool,
}

/// A row that counts more requests than the roll-up of its period: another program's record of deleted rows.
#[derive(Clone, Debug)]
pub struct Surplus {
    pub granularity: Granularity,
    pub period: ApiPeriod,
    /// Whether a roll-up of that period exists.
    pub is_rolled_up: bool,
    /// The numbers beyond the roll-up, without response times, which are unknown.
    pub rollup: Rollup,
}

impl Surplus {
    /// Whether its rows were deleted. The rows of a stale period that was never rolled up may exist.
    pub fn lacks_rows(&self, stale: &StalePeriods) -> bool {
        self.is_rolled_up || stale.is_fresh(self.granularity, self.period.start)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum RowChange {
    Insert(AggregateRow),
    /// The id stays.
    Replace(String, AggregateRow),
    /// The period has no calls left.
    Delete(String),
    /// Another program wrote it and it counts more requests than there are rows: it stays.
    Keep {
        published: i32,
        counted: u64,
    },
}

/// The change that brings the row `found` of a period up to date, whose roll-up was `before` and is `after`.
///
/// A row is ours if it equals the row of `before`. With `rows_win` other programs' rows are replaced too.
fn change(
    found: Option<&FoundRow>,
    before: Option<&Rollup>,
    after: Option<&Rollup>,
    rows_win: bool,
) -> Result<Option<RowChange>, TooLarge> {
    let wanted = after.map(AggregateRow::of).transpose()?;
    let Some(found) = found else {
        return Ok(wanted.map(RowChange::Insert));
    };
    if wanted.as_ref() == Some(&found.row) && found.is_canonical {
        return Ok(None);
    }
    let is_ours = before.is_some_and(|before| AggregateRow::of(before).as_ref() == Ok(&found.row));
    let counted = wanted.as_ref().map_or(0, |wanted| wanted.total_requests);
    Ok(Some(match wanted {
        _ if !is_ours && !rows_win && found.row.total_requests > counted => RowChange::Keep {
            published: found.row.total_requests,
            counted: after.map_or(0, |rollup| rollup.total_requests),
        },
        Some(wanted) => RowChange::Replace(found.id.clone(), wanted),
        None => RowChange::Delete(found.id.clone()),
    }))
}

/// The roll-ups of some periods, as stored and as they are now. A period without calls has none.
#[derive(Debug, Default)]
pub struct Counts {
    pub before: BTreeMap<ApiPeriod, ApiRollup>,
    pub after: BTreeMap<ApiPeriod, ApiRollup>,
}

impl Counts {
    /// Drops the roll-ups of other periods.
    pub fn of(
        periods: &[ApiPeriod],
        mut before: BTreeMap<ApiPeriod, ApiRollup>,
        mut after: BTreeMap<ApiPeriod, ApiRollup>,
    ) -> Counts {
        let periods: BTreeSet<&ApiPeriod> = periods.iter().collect();
        before.retain(|period, _| periods.contains(period));
        after.retain(|period, _| periods.contains(period));
        Counts { before, after }
    }
}

/// The changes that publish the roll-ups of `periods`. In the window `rows_win` other programs' rows are
/// replaced; an error names the period whose numbers do not fit.
pub fn changes<'a>(
    granularity: Granularity,
    calendar: Calendar,
    periods: &'a [ApiPeriod],
    counts: &Counts,
    found: &HashMap<ApiPeriod, FoundRow>,
    rows_win: Option<Window>,
) -> Result<Vec<(&'a ApiPeriod, RowChange)>, (&'a ApiPeriod, TooLarge)> {
    let mut changes = Vec::new();
    for period in periods {
        let change = change(
            found.get(period),
            counts.before.get(period).map(|rollup| &rollup.total),
            counts.after.get(period).map(|rollup| &rollup.total),
            rows_win.is_some_and(|window| {
                window.from <= period.start
                    && calendar.end_of(granularity, period.start) <= window.to
            }),
        );
        let change = change.map_err(|error| (period, error))?;
        changes.extend(change.map(|change| (period, change)));
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{at, window};

    fn rollup(total_requests: u64) -> Rollup {
        Rollup {
            total_requests,
            success_count: total_requests,
            ..Rollup::default()
        }
    }

    fn row(total_requests: u64) -> AggregateRow {
        AggregateRow::of(&rollup(total_requests)).unwrap()
    }

    fn found(row: AggregateRow) -> FoundRow {
        FoundRow {
            id: "id".to_owned(),
            row,
            is_canonical: true,
        }
    }

    fn change_of(
        found_count: Option<u64>,
        before: Option<u64>,
        after: Option<u64>,
    ) -> Option<RowChange> {
        let (before, after) = (before.map(rollup), after.map(rollup));
        let found = found_count.map(|count| found(row(count)));
        change(found.as_ref(), before.as_ref(), after.as_ref(), false).unwrap()
    }

    fn replace(count: u64) -> Option<RowChange> {
        Some(RowChange::Replace("id".to_owned(), row(count)))
    }

    #[test]
    fn own_row_follows_its_calls() {
        let expected = Some(RowChange::Insert(row(3)));
        assert_eq!(change_of(None, None, Some(3)), expected);
        assert_eq!(change_of(Some(3), Some(3), Some(3)), None);
        assert_eq!(change_of(Some(3), Some(3), Some(5)), replace(5));
        assert_eq!(change_of(Some(3), Some(3), Some(2)), replace(2));
        let expected = Some(RowChange::Delete("id".to_owned()));
        assert_eq!(change_of(Some(3), Some(3), None), expected);
        assert_eq!(change_of(None, Some(3), None), None);
    }

    #[test]
    fn row_of_another_program_stays_if_it_counts_more() {
        let keep = |counted| {
            Some(RowChange::Keep {
                published: 1500,
                counted,
            })
        };
        assert_eq!(change_of(Some(1500), None, Some(2)), keep(2));
        assert_eq!(change_of(Some(1500), None, None), keep(0));
        // Also later, when a roll-up exists from which the row does not derive.
        assert_eq!(change_of(Some(1500), Some(2), Some(3)), keep(3));
        assert_eq!(change_of(Some(1500), None, Some(1501)), replace(1501));
    }

    #[test]
    fn row_of_another_program_is_replaced_if_it_counts_the_same() {
        let theirs = AggregateRow {
            success_count: 0,
            ..row(7)
        };
        let found = found(theirs);
        let change = change(Some(&found), None, Some(&rollup(7)), false);
        assert_eq!(change, Ok(replace(7)));
    }

    #[test]
    fn row_of_another_program_is_replaced_where_rows_win() {
        let found = found(row(1500));
        let change = |after: Option<Rollup>| change(Some(&found), None, after.as_ref(), true);
        assert_eq!(change(Some(rollup(2))), Ok(replace(2)));
        assert_eq!(change(None), Ok(Some(RowChange::Delete("id".to_owned()))));
    }

    #[test]
    fn correct_row_with_odd_period_start_is_rewritten() {
        let found = FoundRow {
            is_canonical: false,
            ..found(row(3))
        };
        let change = change(Some(&found), None, Some(&rollup(3)), false);
        assert_eq!(change, Ok(replace(3)));
    }

    #[test]
    fn rows_win_only_in_whole_periods_of_the_window() {
        let period = |start: &str| ApiPeriod {
            start: at(start),
            api_name: "tmdb".to_owned(),
        };
        let periods = ["01-30T00:00", "01-31T00:00"].map(period);
        let rows = periods
            .iter()
            .map(|it| (it.clone(), found(row(1500))))
            .collect();
        let window = Some(window("01-30T01:00", "02-01T00:00"));
        let none = Counts::default();
        let changes = changes(
            Granularity::Daily,
            Calendar::UTC,
            &periods,
            &none,
            &rows,
            window,
        );
        let keep = RowChange::Keep {
            published: 1500,
            counted: 0,
        };
        let delete = RowChange::Delete("id".to_owned());
        let expected = Ok(vec![(&periods[0], keep), (&periods[1], delete)]);
        assert_eq!(changes, expected);
    }

    #[test]
    fn count_beyond_the_column_is_an_error() {
        let huge = rollup(1 << 31);
        assert_eq!(AggregateRow::of(&huge), Err(TooLarge(1 << 31)));
    }
}
