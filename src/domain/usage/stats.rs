//! How a question about any stretch of time is answered from roll-ups: which months, days and hours of it
//! are stored and trustworthy, and which pieces must be counted from the rows.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use super::rollup::{Call, LeftOut, Rollup};
use crate::domain::period::{Granularity, Window};

/// Periods of one API that are not to be trusted: rows in them changed since they were rolled up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stale(BTreeSet<(Granularity, DateTime<Utc>)>);

impl Stale {
    /// Distrusts the period that starts at `start`, and with it all that contain it.
    pub fn insert(&mut self, granularity: Granularity, start: DateTime<Utc>) {
        self.0.insert((granularity, start));
    }

    /// Whether nothing in the period or in its parts is stale.
    pub fn trusts(&self, granularity: Granularity, start: DateTime<Utc>) -> bool {
        let end = granularity.end_of(start);
        let parts = Granularity::ALL.iter().filter(|part| **part <= granularity);
        !parts.into_iter().any(|part| {
            let mut within = self.0.range((*part, start)..(*part, end));
            within.next().is_some()
        })
    }
}

/// Where the numbers of a window come from. Pieces that touch are one piece; none overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Plan {
    /// Stretches of whole periods, each to be read from the roll-ups of that granularity.
    pub stored: Vec<(Granularity, Window)>,
    /// Stretches to be counted from the rows.
    pub rows: Vec<Window>,
}

impl Plan {
    /// Covers `window` with the longest trustworthy periods, none longer than `longest`.
    pub fn new(window: Window, longest: Granularity, stale: &Stale) -> Plan {
        let mut plan = Plan::default();
        plan.cover(window, longest, stale);
        plan
    }

    fn cover(&mut self, window: Window, granularity: Granularity, stale: &Stale) {
        let mut at = window.from;
        while at < window.to {
            let start = granularity.start_of(at);
            let end = granularity.end_of(start);
            let piece = Window {
                from: at,
                to: end.min(window.to),
            };
            let whole = piece.from == start && piece.to == end;
            if whole && stale.trusts(granularity, start) {
                self.push_stored(granularity, piece);
            } else if let Some(below) = granularity.below() {
                self.cover(piece, below, stale);
            } else {
                self.push_rows(piece);
            }
            at = piece.to;
        }
    }

    fn push_stored(&mut self, granularity: Granularity, piece: Window) {
        match self.stored.last_mut() {
            Some((of, last)) if *of == granularity && last.to == piece.from => last.to = piece.to,
            _ => self.stored.push((granularity, piece)),
        }
    }

    fn push_rows(&mut self, piece: Window) {
        match self.rows.last_mut() {
            Some(last) if last.to == piece.from => last.to = piece.to,
            _ => self.rows.push(piece),
        }
    }
}

/// The cells of a sparkline: equal numbers of whole periods that together cover a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    /// What a cell is made of.
    pub granularity: Granularity,
    /// How many of these make one cell.
    pub per_cell: usize,
    /// How many cells there are.
    pub count: usize,
    start: DateTime<Utc>,
}

impl Cells {
    /// More would not fit beside the numbers on a line.
    const MOST: usize = 32;

    /// As many cells as are worth drawing. Hours up to eight days and days up to four months: so the chart
    /// is drawn from the same few hundred roll-ups that the numbers are read from.
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

    /// The cell that an instant of the window belongs to.
    pub fn index_of(&self, at: DateTime<Utc>) -> usize {
        let periods = self.granularity.count_between(self.start, at);
        (periods / self.per_cell).min(self.count.saturating_sub(1))
    }

    /// The start of the first cell.
    pub fn start(&self) -> DateTime<Utc> {
        self.start
    }
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub rollup: Rollup,
    /// Requests in each of the [`Cells`].
    pub over_time: Vec<u64>,
    /// How many of the requests are known only from the application's aggregates, their rows being gone.
    pub surplus: u64,
}

/// The lines of the answer, as they add up.
#[derive(Debug)]
pub struct Lines {
    cells: Cells,
    by_api: HashMap<String, HashMap<String, Line>>,
    /// What could not be summed up.
    pub left_out: LeftOut,
}

impl Lines {
    /// No lines yet.
    pub fn new(cells: Cells) -> Lines {
        Lines {
            cells,
            by_api: HashMap::new(),
            left_out: LeftOut::default(),
        }
    }

    /// Counts one call. A line that does not tell endpoints apart has an empty one.
    pub fn add_call(&mut self, api: &str, endpoint: &str, at: DateTime<Utc>, call: &Call<'_>) {
        let mut left_out = self.left_out;
        let cell = self.cells.index_of(at);
        self.change(api, endpoint, |line| {
            line.rollup.add(call, &mut left_out);
            line.over_time[cell] += 1;
        });
        self.left_out = left_out;
    }

    /// Counts a period that was rolled up.
    pub fn add_stored(&mut self, api: &str, endpoint: &str, start: DateTime<Utc>, stored: &Rollup) {
        let cell = self.cells.index_of(start);
        self.change(api, endpoint, |line| {
            line.rollup.merge(stored);
            line.over_time[cell] += stored.total_requests;
        });
    }

    /// Counts what only the application's aggregates know of a period.
    pub fn add_surplus(
        &mut self,
        api: &str,
        granularity: Granularity,
        start: DateTime<Utc>,
        surplus: &Rollup,
    ) {
        // A day cannot be drawn into one of its hours.
        let fits = granularity <= self.cells.granularity;
        let cell = self.cells.index_of(start);
        self.change(api, "", |line| {
            line.rollup.merge(surplus);
            line.surplus += surplus.total_requests;
            if fits {
                line.over_time[cell] += surplus.total_requests;
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

    /// The lines with their API and endpoint, and all of them together: APIs by name, the endpoints of
    /// each by their number of requests.
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
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn window(from: &str, to: &str) -> Window {
        Window {
            from: at(from),
            to: at(to),
        }
    }

    #[test]
    fn a_window_is_covered_by_the_longest_periods_and_rows_at_its_edges() {
        let asked = window("2026-01-30T22:30:00Z", "2026-04-02T01:15:00Z");
        let plan = Plan::new(asked, Granularity::Monthly, &Stale::default());
        assert_eq!(
            plan.stored,
            [
                (
                    Granularity::Hourly,
                    window("2026-01-30T23:00:00Z", "2026-01-31T00:00:00Z")
                ),
                (
                    Granularity::Daily,
                    window("2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z")
                ),
                (
                    Granularity::Monthly,
                    window("2026-02-01T00:00:00Z", "2026-04-01T00:00:00Z")
                ),
                (
                    Granularity::Daily,
                    window("2026-04-01T00:00:00Z", "2026-04-02T00:00:00Z")
                ),
                (
                    Granularity::Hourly,
                    window("2026-04-02T00:00:00Z", "2026-04-02T01:00:00Z")
                ),
            ]
        );
        assert_eq!(
            plan.rows,
            [
                window("2026-01-30T22:30:00Z", "2026-01-30T23:00:00Z"),
                window("2026-04-02T01:00:00Z", "2026-04-02T01:15:00Z"),
            ]
        );
    }

    #[test]
    fn a_stale_hour_is_counted_from_its_rows_and_its_neighbours_are_not() {
        let mut stale = Stale::default();
        stale.insert(Granularity::Hourly, at("2026-02-10T05:00:00Z"));
        let asked = window("2026-02-10T00:00:00Z", "2026-02-11T00:00:00Z");
        let plan = Plan::new(asked, Granularity::Monthly, &stale);
        assert_eq!(
            plan.rows,
            [window("2026-02-10T05:00:00Z", "2026-02-10T06:00:00Z")]
        );
        assert_eq!(
            plan.stored,
            [
                (
                    Granularity::Hourly,
                    window("2026-02-10T00:00:00Z", "2026-02-10T05:00:00Z")
                ),
                (
                    Granularity::Hourly,
                    window("2026-02-10T06:00:00Z", "2026-02-11T00:00:00Z")
                ),
            ]
        );
    }

    #[test]
    fn a_stale_day_is_made_of_its_hours() {
        let mut stale = Stale::default();
        stale.insert(Granularity::Daily, at("2026-02-10T00:00:00Z"));
        let asked = window("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z");
        let plan = Plan::new(asked, Granularity::Monthly, &stale);
        assert_eq!(plan.rows, []);
        assert_eq!(
            plan.stored[1],
            (
                Granularity::Hourly,
                window("2026-02-10T00:00:00Z", "2026-02-11T00:00:00Z")
            )
        );
    }

    #[test]
    fn a_sparkline_has_hours_for_a_day_and_days_for_a_month() {
        let day = Cells::new(window("2026-01-30T12:00:00Z", "2026-01-31T12:00:00Z"));
        assert_eq!(
            (day.granularity, day.per_cell, day.count),
            (Granularity::Hourly, 1, 24)
        );
        assert_eq!(day.index_of(at("2026-01-31T11:59:59Z")), 23);
        let week = Cells::new(window("2026-01-24T12:00:00Z", "2026-01-31T12:00:00Z"));
        assert_eq!(
            (week.granularity, week.per_cell, week.count),
            (Granularity::Hourly, 6, 28)
        );
        let month = Cells::new(window("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"));
        assert_eq!((month.granularity, month.count), (Granularity::Daily, 31));
        let years = Cells::new(window("2016-01-01T00:00:00Z", "2026-01-01T00:00:00Z"));
        assert_eq!(
            (years.granularity, years.per_cell, years.count),
            (Granularity::Monthly, 4, 30)
        );
    }

    proptest! {
        #[test]
        fn pieces_cover_the_window_once_and_stored_ones_are_whole_and_fresh(
            start in 0..2_000_000_000_000_i64,
            length in 1..40_000_000_000_i64,
            marks in vec((0..3_usize, 0..40_000_000_000_i64), 0..20),
            longest in 0..3_usize,
        ) {
            let from = DateTime::from_timestamp_millis(start).unwrap();
            let asked = Window { from, to: from + TimeDelta::milliseconds(length) };
            let mut stale = Stale::default();
            for (granularity, ms) in marks {
                let granularity = Granularity::ALL[granularity];
                stale.insert(granularity, granularity.start_of(from + TimeDelta::milliseconds(ms)));
            }
            let longest = Granularity::ALL[longest];
            let plan = Plan::new(asked, longest, &stale);

            let mut pieces = plan.rows.clone();
            for (granularity, piece) in &plan.stored {
                prop_assert!(*granularity <= longest);
                prop_assert_eq!(piece.widened(*granularity), *piece);
                let mut start = piece.from;
                while start < piece.to {
                    prop_assert!(stale.trusts(*granularity, start));
                    start = granularity.end_of(start);
                }
                pieces.push(*piece);
            }
            pieces.sort();
            prop_assert_eq!(pieces[0].from, asked.from);
            prop_assert_eq!(pieces[pieces.len() - 1].to, asked.to);
            prop_assert!(pieces.windows(2).all(|pair| pair[0].to == pair[1].from));

            let cells = Cells::new(asked);
            prop_assert!((1..=Cells::MOST).contains(&cells.count));
            prop_assert_eq!(cells.index_of(asked.from), 0);
            prop_assert_eq!(cells.index_of(asked.to - TimeDelta::milliseconds(1)), cells.count - 1);
        }
    }
}
