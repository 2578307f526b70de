//! Where the usage of a window is read from: which roll-ups cover it, which parts are counted from rows, and
//! in how many searches the rows of some hours are read.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::rollup::ApiPeriod;
use crate::domain::period::{Calendar, Granularity, Window};

/// Periods of one API whose rows changed since they were rolled up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StalePeriods {
    periods: BTreeSet<(Granularity, DateTime<Utc>)>,
    /// Of the stored days and months.
    calendar: Calendar,
}

impl StalePeriods {
    /// No stale periods.
    pub fn none(calendar: Calendar) -> StalePeriods {
        StalePeriods {
            periods: BTreeSet::new(),
            calendar,
        }
    }

    pub fn calendar(&self) -> Calendar {
        self.calendar
    }

    /// Adds the period that starts at `start`; the periods that contain it are stale with it.
    pub fn insert(&mut self, granularity: Granularity, start: DateTime<Utc>) {
        self.periods.insert((granularity, start));
    }

    /// Whether neither the period nor a part of it is stale.
    pub fn is_fresh(&self, granularity: Granularity, start: DateTime<Utc>) -> bool {
        let end = self.calendar.end_of(granularity, start);
        let mut parts = Granularity::ALL.iter().filter(|part| **part <= granularity);
        parts.all(|part| {
            // An hour in which the period begins is a part of it.
            let from = self.calendar.start_of(*part, start);
            self.periods
                .range((*part, from)..(*part, end))
                .next()
                .is_none()
        })
    }
}

/// The sources that together cover a window. Pieces that touch are one piece; none overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadPlan {
    /// Whole periods, read from the roll-ups of that granularity.
    pub stored: Vec<(Granularity, Window)>,
    /// Windows counted from the rows.
    pub rows: Vec<Window>,
}

impl ReadPlan {
    /// Covers `window` with the longest fresh periods, none longer than `longest`.
    pub fn new(window: Window, longest: Granularity, stale: &StalePeriods) -> ReadPlan {
        let mut plan = ReadPlan::default();
        plan.cover(window, longest, stale);
        plan
    }

    fn cover(&mut self, window: Window, granularity: Granularity, stale: &StalePeriods) {
        let mut at = window.from;
        while at < window.to {
            let start = stale.calendar.start_of(granularity, at);
            let end = stale.calendar.end_of(granularity, start);
            let piece = Window::new(at, end.min(window.to));
            let is_whole = piece.from == start && piece.to == end;
            if is_whole && stale.is_fresh(granularity, start) {
                match self.stored.last_mut() {
                    Some((of, last)) if *of == granularity && last.to == piece.from => {
                        last.to = piece.to;
                    }
                    _ => self.stored.push((granularity, piece)),
                }
            } else if let Some(below) = granularity.below() {
                self.cover(piece, below, stale);
            } else {
                match self.rows.last_mut() {
                    Some(last) if last.to == piece.from => last.to = piece.to,
                    _ => self.rows.push(piece),
                }
            }
            at = piece.to;
        }
    }
}

/// Rows that one search reads: those of one API, or of all, in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowRange {
    pub api_name: Option<String>,
    pub window: Window,
}

impl RowRange {
    fn of_api(api: &str, window: Window) -> RowRange {
        RowRange {
            api_name: Some(api.to_owned()),
            window,
        }
    }

    pub fn of_all(window: Window) -> RowRange {
        RowRange {
            api_name: None,
            window,
        }
    }

    /// The ranges that hold the rows of `apis` in `window`. `known` is the number of all APIs: for most of
    /// them one scan of the window reads each page once.
    pub fn of_apis(apis: &BTreeSet<&str>, window: Window, known: usize) -> Vec<RowRange> {
        if apis.len() > 1 && apis.len() * 2 >= known {
            vec![RowRange::of_all(window)]
        } else {
            let ranges = apis.iter().map(|api| RowRange::of_api(api, window));
            ranges.collect()
        }
    }

    /// The ranges that together hold the rows of all `hours`, which are unique. `known` is the number of all
    /// APIs.
    ///
    /// Adjacent hours of one API are one search of the index of API and time. When most hours of a window
    /// are wanted for most APIs, one scan of the window is several times faster; it may return other rows too.
    pub fn of_hours(hours: &[ApiPeriod], known: usize) -> Vec<RowRange> {
        let mut by_api: BTreeMap<&str, Vec<Window>> = BTreeMap::new();
        let mut sorted: Vec<&ApiPeriod> = hours.iter().collect();
        sorted.sort();
        for hour in &sorted {
            let window = Window::new(hour.start, Granularity::Hourly.end_of(hour.start));
            let windows = by_api.entry(&hour.api_name).or_default();
            match windows.last_mut() {
                Some(last) if last.to == window.from => last.to = window.to,
                _ => windows.push(window),
            }
        }
        let searches = by_api.values().map(Vec::len).sum::<usize>();
        if let [first, .., last] = sorted.as_slice()
            && searches > 1
        {
            let whole = Window::new(first.start, Granularity::Hourly.end_of(last.start));
            let length = Granularity::Hourly.count_between(whole.from, whole.to);
            if hours.len() * 2 >= length * known.max(by_api.len()) {
                return vec![RowRange::of_all(whole)];
            }
        }
        by_api
            .into_iter()
            .flat_map(|(api, windows)| {
                windows
                    .into_iter()
                    .map(move |window| RowRange::of_api(api, window))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::testing::{at, window, zone};
    use crate::domain::zone::Zone;

    use Granularity::{Daily, Hourly, Monthly};

    #[test]
    fn window_is_covered_by_longest_periods_and_rows_at_its_edges() {
        let asked = window("01-30T22:30", "04-02T01:15");
        let plan = ReadPlan::new(asked, Monthly, &StalePeriods::default());
        let expected = [
            (Hourly, window("01-30T23:00", "01-31T00:00")),
            (Daily, window("01-31T00:00", "02-01T00:00")),
            (Monthly, window("02-01T00:00", "04-01T00:00")),
            (Daily, window("04-01T00:00", "04-02T00:00")),
            (Hourly, window("04-02T00:00", "04-02T01:00")),
        ];
        assert_eq!(plan.stored, expected);
        let expected = [
            window("01-30T22:30", "01-30T23:00"),
            window("04-02T01:00", "04-02T01:15"),
        ];
        assert_eq!(plan.rows, expected);
    }

    #[test]
    fn stale_hour_is_counted_from_rows_and_its_neighbours_are_not() {
        let mut stale = StalePeriods::default();
        stale.insert(Hourly, at("02-10T05:00"));
        let plan = ReadPlan::new(window("02-10T00:00", "02-11T00:00"), Monthly, &stale);
        assert_eq!(plan.rows, [window("02-10T05:00", "02-10T06:00")]);
        let expected = [
            (Hourly, window("02-10T00:00", "02-10T05:00")),
            (Hourly, window("02-10T06:00", "02-11T00:00")),
        ];
        assert_eq!(plan.stored, expected);
    }

    #[test]
    fn stale_day_is_read_from_its_hours() {
        let mut stale = StalePeriods::default();
        stale.insert(Daily, at("02-10T00:00"));
        let plan = ReadPlan::new(window("02-01T00:00", "03-01T00:00"), Monthly, &stale);
        assert_eq!(plan.rows, []);
        let expected = (Hourly, window("02-10T00:00", "02-11T00:00"));
        assert_eq!(plan.stored[1], expected);
    }

    proptest! {
        #[test]
        fn pieces_cover_the_window_once_and_stored_ones_are_whole_and_fresh(
            start in 0..2_000_000_000_000_i64,
            length in 1..40_000_000_000_i64,
            changes in vec((0..3_usize, 0..40_000_000_000_i64), 0..20),
            longest in 0..3_usize,
            zone in proptest::sample::select(vec![Zone::UTC, zone("Asia/Kathmandu"), zone("Europe/Madrid")]),
        ) {
            let calendar = Calendar { zone };
            let from = DateTime::from_timestamp_millis(start).unwrap();
            let asked = Window { from, to: from + TimeDelta::milliseconds(length) };
            let mut stale = StalePeriods::none(calendar);
            for (granularity, ms) in changes {
                let granularity = Granularity::ALL[granularity];
                stale.insert(granularity, calendar.start_of(granularity, from + TimeDelta::milliseconds(ms)));
            }
            let longest = Granularity::ALL[longest];
            let plan = ReadPlan::new(asked, longest, &stale);

            let mut pieces = plan.rows.clone();
            for (granularity, piece) in &plan.stored {
                prop_assert!(*granularity <= longest);
                prop_assert_eq!(calendar.widened(*granularity, *piece), *piece);
                let mut start = piece.from;
                while start < piece.to {
                    prop_assert!(stale.is_fresh(*granularity, start));
                    start = calendar.end_of(*granularity, start);
                }
                pieces.push(*piece);
            }
            pieces.sort();
            prop_assert_eq!(pieces[0].from, asked.from);
            prop_assert_eq!(pieces[pieces.len() - 1].to, asked.to);
            prop_assert!(pieces.windows(2).all(|pair| pair[0].to == pair[1].from));
        }
    }

    fn hour(hour: i64) -> DateTime<Utc> {
        at("01-01T00:00") + TimeDelta::hours(hour)
    }

    fn hours(api: &str, hours: impl IntoIterator<Item = i64>) -> Vec<ApiPeriod> {
        let period = |start| ApiPeriod {
            start: hour(start),
            api_name: api.to_owned(),
        };
        hours.into_iter().map(period).collect()
    }

    fn range(api: Option<&str>, from: i64, to: i64) -> RowRange {
        RowRange {
            api_name: api.map(str::to_owned),
            window: Window::new(hour(from), hour(to)),
        }
    }

    #[test]
    fn adjacent_hours_of_one_api_are_one_range() {
        let wanted = hours("tmdb", [3, 4, 5, 9]);
        let expected = [range(Some("tmdb"), 3, 6), range(Some("tmdb"), 9, 10)];
        assert_eq!(RowRange::of_hours(&wanted, 7), expected);
        let day = hours("tmdb", 0..24);
        assert_eq!(RowRange::of_hours(&day, 1), [range(Some("tmdb"), 0, 24)]);
        assert_eq!(RowRange::of_hours(&[], 7), []);
    }

    #[test]
    fn most_hours_of_most_apis_are_one_scan() {
        let wanted = [hours("finnhub", 0..24), hours("tmdb", 2..24)].concat();
        assert_eq!(RowRange::of_hours(&wanted, 3), [range(None, 0, 24)]);
    }

    #[test]
    fn hours_of_few_apis_among_many_are_a_range_each() {
        let wanted = [hours("finnhub", [7]), hours("tmdb", [7])].concat();
        let expected = [range(Some("finnhub"), 7, 8), range(Some("tmdb"), 7, 8)];
        assert_eq!(RowRange::of_hours(&wanted, 7), expected);
    }

    #[test]
    fn most_apis_in_a_window_are_one_scan() {
        let window = range(None, 0, 24).window;
        let two = BTreeSet::from(["finnhub", "tmdb"]);
        assert_eq!(RowRange::of_apis(&two, window, 4), [range(None, 0, 24)]);
        let expected = [range(Some("finnhub"), 0, 24), range(Some("tmdb"), 0, 24)];
        assert_eq!(RowRange::of_apis(&two, window, 5), expected);
        let one = BTreeSet::from(["tmdb"]);
        let expected = [range(Some("tmdb"), 0, 24)];
        assert_eq!(RowRange::of_apis(&one, window, 1), expected);
    }
}
