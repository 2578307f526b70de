//! The numbers of `stats`: roll-ups, rows and surplus of a window, summed per API or endpoint, and over time.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use super::aggregate_row::Surplus;
use super::read_plan::StalePeriods;
use super::rollup::{ApiPeriod, Call, LeftOut, Rollup};
use crate::domain::period::{Granularity, Window};

/// The cells of a trend: equal numbers of whole periods that together cover a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    pub granularity: Granularity,
    /// Periods in one cell.
    pub per_cell: usize,
    pub count: usize,
    pub start: DateTime<Utc>,
}

impl Cells {
    const MOST: usize = 24;

    /// At most 24 cells: of hours up to eight days, of days up to four months, else of months. So the trend
    /// is read from the same few hundred roll-ups as the numbers.
    pub fn new(window: Window) -> Cells {
        let periods = |granularity: Granularity| {
            let whole = window.widened(granularity);
            granularity.count_between(whole.from, whole.to)
        };
        let granularity = if periods(Granularity::Hourly) <= 8 * 24 + 1 {
            Granularity::Hourly
        } else if periods(Granularity::Daily) <= 124 {
            Granularity::Daily
        } else {
            Granularity::Monthly
        };
        let per_cell = periods(granularity).div_ceil(Cells::MOST).max(1);
        Cells {
            granularity,
            per_cell,
            count: periods(granularity).div_ceil(per_cell),
            start: granularity.start_of(window.from),
        }
    }

    pub fn index_of(&self, at: DateTime<Utc>) -> usize {
        let periods = self.granularity.count_between(self.start, at);
        (periods / self.per_cell).min(self.count.saturating_sub(1))
    }
}

/// The sums of an API or an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub rollup: Rollup,
    /// Requests in each of the [`Cells`].
    pub over_time: Vec<u64>,
    /// Requests known only from the application's aggregates, because their rows were deleted.
    pub surplus: u64,
}

#[derive(Debug)]
pub struct Lines {
    cells: Cells,
    by_api: HashMap<String, HashMap<String, Line>>,
    surplus_months: BTreeSet<ApiPeriod>,
    pub left_out: LeftOut,
}

impl Lines {
    pub fn new(cells: Cells) -> Lines {
        Lines {
            cells,
            by_api: HashMap::new(),
            surplus_months: BTreeSet::new(),
            left_out: LeftOut::default(),
        }
    }

    /// Adds one call. `endpoint` is empty where endpoints are summed.
    pub fn add_call(&mut self, api: &str, endpoint: &str, at: DateTime<Utc>, call: &Call<'_>) {
        let mut left_out = self.left_out;
        let cell = self.cells.index_of(at);
        self.change(api, endpoint, |line| {
            line.rollup.add(call, &mut left_out);
            line.over_time[cell] += 1;
        });
        self.left_out = left_out;
    }

    pub fn add_stored(&mut self, api: &str, endpoint: &str, start: DateTime<Utc>, stored: &Rollup) {
        let cell = self.cells.index_of(start);
        self.change(api, endpoint, |line| {
            line.rollup.merge(stored);
            line.over_time[cell] += stored.total_requests;
        });
    }

    /// The periods of `window` whose surplus counts, in the order to add them: whole months, whole days, and
    /// whole hours outside of the whole days.
    pub fn surplus_windows(window: Window) -> Vec<(Granularity, Window)> {
        let days = window.narrowed(Granularity::Daily);
        let [before, after] = window.narrowed(Granularity::Hourly).without(days);
        let mut windows = vec![
            (Granularity::Monthly, window.narrowed(Granularity::Monthly)),
            (Granularity::Daily, days),
            (Granularity::Hourly, before),
            (Granularity::Hourly, after),
        ];
        windows.retain(|(_, window)| !window.is_empty());
        windows
    }

    /// Adds a surplus, unless its month was added or its rows are counted elsewhere.
    pub fn add_surplus(&mut self, surplus: &Surplus, stale: Option<&StalePeriods>) {
        let ApiPeriod { start, api_name } = &surplus.period;
        let month = ApiPeriod {
            start: Granularity::Monthly.start_of(*start),
            api_name: api_name.clone(),
        };
        if self.surplus_months.contains(&month) || !surplus.lacks_rows(stale) {
            return;
        }
        if surplus.granularity == Granularity::Monthly {
            self.surplus_months.insert(month);
        }
        // A day cannot be drawn into one of its hours.
        let is_drawn = surplus.granularity <= self.cells.granularity;
        let cell = self.cells.index_of(*start);
        self.change(api_name, "", |line| {
            line.rollup.merge(&surplus.rollup);
            line.surplus += surplus.rollup.total_requests;
            if is_drawn {
                line.over_time[cell] += surplus.rollup.total_requests;
            }
        });
    }

    fn change(&mut self, api: &str, endpoint: &str, change: impl FnOnce(&mut Line)) {
        let found = self.by_api.get_mut(api);
        match found.and_then(|endpoints| endpoints.get_mut(endpoint)) {
            Some(line) => change(line),
            None => {
                let mut line = Line::new(self.cells);
                change(&mut line);
                let endpoints = self.by_api.entry(api.to_owned()).or_default();
                endpoints.insert(endpoint.to_owned(), line);
            }
        }
    }

    /// The lines with API and endpoint, and their total. APIs are ordered by name, the endpoints of each by
    /// requests, most first.
    pub fn finish(self) -> (Vec<(String, String, Line)>, Line) {
        let mut total = Line::new(self.cells);
        let mut lines: Vec<_> = self
            .by_api
            .into_iter()
            .flat_map(|(api, endpoints)| {
                let named = move |(endpoint, line)| (api.clone(), endpoint, line);
                endpoints.into_iter().map(named)
            })
            .collect();
        for (_, _, line) in &lines {
            total.rollup.merge(&line.rollup);
            total.surplus += line.surplus;
            for (sum, more) in total.over_time.iter_mut().zip(&line.over_time) {
                *sum += more;
            }
        }
        lines.sort_by(
            |(api, endpoint, line), (other_api, other_endpoint, other)| {
                let requests = other.rollup.total_requests.cmp(&line.rollup.total_requests);
                api.cmp(other_api)
                    .then(requests)
                    .then(endpoint.cmp(other_endpoint))
            },
        );
        (lines, total)
    }
}

impl Line {
    fn new(cells: Cells) -> Line {
        Line {
            rollup: Rollup::default(),
            over_time: vec![0; cells.count],
            surplus: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::testing::{at, window};

    use Granularity::{Daily, Hourly, Monthly};

    #[test]
    fn trend_has_hours_for_a_day_and_days_for_a_month() {
        let cells = |window| {
            let cells = Cells::new(window);
            (cells.granularity, cells.per_cell, cells.count)
        };
        assert_eq!(cells(window("01-30T12:00", "01-31T12:00")), (Hourly, 1, 24));
        assert_eq!(cells(window("01-24T12:00", "01-31T12:00")), (Hourly, 7, 24));
        assert_eq!(cells(window("01-01T00:00", "02-01T00:00")), (Daily, 2, 16));
        let decade = Window::new(at("01-01T00:00") - TimeDelta::days(3652), at("01-01T00:00"));
        assert_eq!(cells(decade), (Monthly, 5, 24));
    }

    fn surplus(granularity: Granularity, start: &str) -> Surplus {
        Surplus {
            granularity,
            period: ApiPeriod {
                start: at(start),
                api_name: "tmdb".to_owned(),
            },
            is_rolled_up: false,
            rollup: Rollup {
                total_requests: 10,
                ..Rollup::default()
            },
        }
    }

    #[test]
    fn surplus_of_a_month_includes_that_of_its_days() {
        let asked = window("01-31T22:30", "04-02T01:15");
        let expected = [
            (Monthly, window("02-01T00:00", "04-01T00:00")),
            (Daily, window("02-01T00:00", "04-02T00:00")),
            (Hourly, window("01-31T23:00", "02-01T00:00")),
            (Hourly, window("04-02T00:00", "04-02T01:00")),
        ];
        assert_eq!(Lines::surplus_windows(asked), expected);

        let mut lines = Lines::new(Cells::new(asked));
        lines.add_surplus(&surplus(Monthly, "02-01T00:00"), None);
        lines.add_surplus(&surplus(Daily, "02-07T00:00"), None);
        lines.add_surplus(&surplus(Daily, "04-01T00:00"), None);
        let (_, total) = lines.finish();
        assert_eq!((total.surplus, total.rollup.total_requests), (20, 20));
        // The trend has daily cells, so the month is not drawn.
        assert_eq!(total.over_time.iter().sum::<u64>(), 10);
    }

    #[test]
    fn surplus_of_a_stale_period_is_added_only_if_rolled_up() {
        let mut stale = StalePeriods::default();
        stale.insert(Hourly, at("02-07T05:00"));
        let mut lines = Lines::new(Cells::new(window("02-01T00:00", "03-01T00:00")));
        let mut day = surplus(Daily, "02-07T00:00");
        lines.add_surplus(&day, Some(&stale));
        assert_eq!(lines.by_api.len(), 0);
        day.is_rolled_up = true;
        lines.add_surplus(&day, Some(&stale));
        assert_eq!(lines.finish().1.surplus, 10);
    }

    proptest! {
        #[test]
        fn cells_cover_the_window(
            start in 0..2_000_000_000_000_i64,
            length in 1..40_000_000_000_i64,
        ) {
            let from = DateTime::from_timestamp_millis(start).unwrap();
            let asked = Window { from, to: from + TimeDelta::milliseconds(length) };
            let cells = Cells::new(asked);
            prop_assert!((1..=Cells::MOST).contains(&cells.count));
            prop_assert_eq!(cells.index_of(asked.from), 0);
            prop_assert_eq!(cells.index_of(asked.to - TimeDelta::milliseconds(1)), cells.count - 1);
        }
    }
}
