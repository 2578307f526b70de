//! The numbers of `stats`: roll-ups, rows and surplus of a window, summed by a dimension, and over time.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use super::aggregate_row::Surplus;
use super::read_plan::StalePeriods;
use super::rollup::{ApiPeriod, Call, LeftOut, Rollup};
use crate::domain::format;
use crate::domain::named::named;
use crate::domain::period::{Calendar, Granularity, Period, Window, quarter_of};

named! {
    /// What a line of the answer stands for.
    Grouping, "dimension" {
        Api = "api",
        /// An endpoint of an API.
        Endpoint = "endpoint",
        User = "user",
        Method = "method",
        Status = "status",
        ErrorType = "error-type",
        Hour = "hour",
        Day = "day",
    }
}

impl Grouping {
    /// Whether its lines belong to an API.
    pub fn is_of_apis(self) -> bool {
        matches!(self, Grouping::Api | Grouping::Endpoint)
    }

    /// Whether its lines follow one another in time.
    pub fn is_of_time(self) -> bool {
        matches!(self, Grouping::Hour | Grouping::Day)
    }

    /// Whether roll-ups lack it, so that rows are counted.
    pub fn is_of_rows(self) -> bool {
        !self.is_of_apis() && !self.is_of_time()
    }
}

named! {
    /// The number by which lines are ordered, the largest first; names from the first.
    Sort, "column" {
        Name = "name",
        Requests = "requests",
        Errors = "errors",
        ErrorRate = "error-rate",
        P50 = "p50",
        P95 = "p95",
        P99 = "p99",
        Cost = "cost",
        Cached = "cached",
        RequestBytes = "request-bytes",
        ResponseBytes = "response-bytes",
        Change = "change",
    }
}

/// The line of calls whose rows are gone, where rows are counted.
pub const WITHOUT_ROWS: &str = "(pruned)";

/// The cells of a trend: equal numbers of whole periods that together cover a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    pub calendar: Calendar,
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
    pub fn new(window: Window, calendar: Calendar) -> Cells {
        let periods = |granularity: Granularity| {
            let whole = calendar.widened(granularity, window);
            calendar.count_between(granularity, whole.from, whole.to)
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
            calendar,
            granularity,
            per_cell,
            count: periods(granularity).div_ceil(per_cell),
            start: calendar.start_of(granularity, window.from),
        }
    }

    pub fn index_of(&self, at: DateTime<Utc>) -> usize {
        let periods = self
            .calendar
            .count_between(self.granularity, self.start, at);
        (periods / self.per_cell).min(self.count.saturating_sub(1))
    }
}

/// The sums of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub rollup: Rollup,
    /// Requests in each of the [`Cells`].
    pub over_time: Vec<u64>,
    /// Requests known only from the application's aggregates, because their rows were deleted.
    pub surplus: u64,
    /// The same in the window before, if it is compared.
    pub previous: Option<Rollup>,
}

/// The use of a rate limit of an API in its own window.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitUse {
    pub period: Period,
    pub window: Window,
    pub limit: f64,
    /// Calls that reached the provider, or their credits.
    pub used: f64,
}

impl LimitUse {
    /// 1 if the limit is reached.
    pub fn utilization(&self) -> Option<f64> {
        (self.limit > 0.0).then(|| self.used / self.limit)
    }
}

/// The API, empty where APIs are summed, and the value of the dimension, empty if it is the API or has none.
pub type LineName = (String, String);

#[derive(Debug)]
pub struct Lines {
    cells: Cells,
    grouping: Grouping,
    by_api: HashMap<String, HashMap<String, Line>>,
    surplus_months: BTreeSet<ApiPeriod>,
    pub left_out: LeftOut,
    /// The last quarter of an hour of a call, with its cell and its hour or day.
    last: Option<(DateTime<Utc>, usize, String)>,
}

/// All lines, or the first of them.
#[derive(Debug)]
pub struct Ordered {
    pub lines: Vec<(LineName, Line)>,
    pub total: Line,
    /// Lines beyond those.
    pub more: usize,
}

impl Lines {
    pub fn new(cells: Cells, grouping: Grouping) -> Lines {
        Lines {
            cells,
            grouping,
            by_api: HashMap::new(),
            surplus_months: BTreeSet::new(),
            left_out: LeftOut::default(),
            last: None,
        }
    }

    /// Adds one call. `value` is that of the dimension; nothing for APIs and for time.
    pub fn add_call(&mut self, api: &str, value: &str, at: DateTime<Utc>, call: &Call<'_>) {
        let mut left_out = self.left_out;
        self.change_at(api, value, at, |line, cell| {
            line.rollup.add(call, &mut left_out);
            line.over_time[cell] += 1;
        });
        self.left_out = left_out;
    }

    pub fn add_stored(&mut self, api: &str, value: &str, start: DateTime<Utc>, stored: &Rollup) {
        self.change_at(api, value, start, |line, cell| {
            line.rollup.merge(stored);
            line.over_time[cell] += stored.total_requests;
        });
    }

    /// Changes the line of an instant, and its cell of the trend.
    fn change_at(
        &mut self,
        api: &str,
        value: &str,
        at: DateTime<Utc>,
        change: impl FnOnce(&mut Line, usize),
    ) {
        // Rows mostly follow one another in time, and the clocks of a zone are slow.
        let quarter = quarter_of(at);
        let last = self.last.take().filter(|(last, ..)| *last == quarter);
        let (_, cell, period) = last.unwrap_or_else(|| {
            let cell = self.cells.index_of(quarter.max(self.cells.start));
            (quarter, cell, self.period_of(quarter))
        });
        match self.grouping {
            Grouping::Api => self.change(api, "", |line| change(line, cell)),
            Grouping::Endpoint => self.change(api, value, |line| change(line, cell)),
            Grouping::Hour | Grouping::Day => self.change("", &period, |line| change(line, cell)),
            _ => self.change("", value, |line| change(line, cell)),
        }
        self.last = Some((quarter, cell, period));
    }

    /// The hour or day of an instant, if lines are of one.
    fn period_of(&self, at: DateTime<Utc>) -> String {
        let calendar = self.cells.calendar;
        match self.grouping {
            Grouping::Hour => format::local_time(Granularity::Hourly.start_of(at), calendar.zone),
            Grouping::Day => calendar.date_of(at).to_string(),
            _ => String::new(),
        }
    }

    /// The periods of `window` whose surplus counts, in the order to add them: whole months, whole days, and
    /// whole hours outside of the whole days.
    pub fn surplus_windows(window: Window, calendar: Calendar) -> Vec<(Granularity, Window)> {
        let days = calendar.narrowed(Granularity::Daily, window);
        let [before, after] = window.narrowed(Granularity::Hourly).without(days);
        let mut windows = vec![
            (
                Granularity::Monthly,
                calendar.narrowed(Granularity::Monthly, window),
            ),
            (Granularity::Daily, days),
            (Granularity::Hourly, before),
            (Granularity::Hourly, after),
        ];
        windows.retain(|(_, window)| !window.is_empty());
        windows
    }

    /// Adds a surplus, unless its month was added or its rows are counted elsewhere.
    pub fn add_surplus(&mut self, surplus: &Surplus, stale: &StalePeriods) {
        let ApiPeriod { start, api_name } = &surplus.period;
        let month = ApiPeriod {
            start: stale.calendar().start_of(Granularity::Monthly, *start),
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
        let longest = match self.grouping {
            Grouping::Day if self.cells.calendar == stale.calendar() => Some(Granularity::Daily),
            Grouping::Hour | Grouping::Day => Some(Granularity::Hourly),
            _ => None,
        };
        let value = match self.grouping {
            Grouping::Api => String::new(),
            _ if longest >= Some(surplus.granularity) => self.period_of(*start),
            _ => WITHOUT_ROWS.to_owned(),
        };
        let api = match self.grouping.is_of_apis() {
            true => api_name,
            false => "",
        };
        self.change(api, &value, |line| {
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

    /// Compares each line with the same line of the window before.
    pub fn compare(&mut self, previous: Lines) {
        for line in self.by_api.values_mut().flat_map(HashMap::values_mut) {
            line.previous = Some(Rollup::default());
        }
        for (api, lines) in previous.by_api {
            for (value, before) in lines {
                self.change(&api, &value, |line| line.previous = Some(before.rollup));
            }
        }
    }

    /// The lines in order, at most `top`, and the total of all.
    ///
    /// Unless `sort` orders them, APIs and hours are in the order of their names, the endpoints of an API and others by
    /// requests, most first.
    pub fn finish(self, sort: Option<Sort>, top: Option<usize>) -> Ordered {
        let mut total = Line::new(self.cells);
        let mut lines: Vec<(LineName, Line)> = self
            .by_api
            .into_iter()
            .flat_map(|(api, lines)| {
                let named = move |(value, line)| ((api.clone(), value), line);
                lines.into_iter().map(named)
            })
            .collect();
        for (_, line) in &lines {
            total.rollup.merge(&line.rollup);
            total.surplus += line.surplus;
            for (sum, more) in total.over_time.iter_mut().zip(&line.over_time) {
                *sum += more;
            }
            if let Some(previous) = &line.previous {
                total.previous.get_or_insert_default().merge(previous);
            }
        }
        let sort = sort.or(top.map(|_| Sort::Requests));
        let by_requests = |line: &Line| Reverse(line.rollup.total_requests);
        lines.sort_by(|(name, line), (other_name, other)| {
            let order = match (sort, self.grouping) {
                (Some(sort), _) => sort.compare(line, other),
                (None, Grouping::Endpoint) => {
                    let requests = by_requests(line).cmp(&by_requests(other));
                    name.0.cmp(&other_name.0).then(requests)
                }
                (None, Grouping::User | Grouping::ErrorType) => {
                    by_requests(line).cmp(&by_requests(other))
                }
                (None, _) => Ordering::Equal,
            };
            order.then_with(|| name.cmp(other_name))
        });
        let more = lines.len().saturating_sub(top.unwrap_or(usize::MAX));
        lines.truncate(lines.len() - more);
        Ordered { lines, total, more }
    }
}

impl Sort {
    /// The larger number first; unknown ones last.
    fn compare(self, line: &Line, other: &Line) -> Ordering {
        let number = |line: &Line| -> Option<f64> {
            let rollup = &line.rollup;
            let time = |permille| rollup.response_times.quantile(permille).map(f64::from);
            match self {
                Sort::Name => None,
                Sort::Requests => Some(rollup.total_requests as f64),
                Sort::Errors => Some(rollup.error_count as f64),
                Sort::ErrorRate => rollup.error_rate(),
                Sort::P50 => time(500),
                Sort::P95 => time(950),
                Sort::P99 => time(990),
                Sort::Cost => Some(rollup.total_cost.to_f64()),
                Sort::Cached => rollup.cache_hit_rate(),
                Sort::RequestBytes => rollup.request_bytes.map(|bytes| bytes as f64),
                Sort::ResponseBytes => rollup.response_bytes.map(|bytes| bytes as f64),
                Sort::Change => line.change(),
            }
        };
        number(other)
            .partial_cmp(&number(line))
            .unwrap_or(Ordering::Equal)
    }
}

impl Line {
    fn new(cells: Cells) -> Line {
        Line {
            rollup: Rollup::default(),
            over_time: vec![0; cells.count],
            surplus: 0,
            previous: None,
        }
    }

    /// The change of requests from the window before, 1 for twice as many; unknown if there were none.
    pub fn change(&self) -> Option<f64> {
        let before = self.previous.as_ref()?.total_requests;
        let now = self.rollup.total_requests;
        (before > 0).then(|| now as f64 / before as f64 - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::testing::{at, window, zone};

    use Granularity::{Daily, Hourly, Monthly};

    #[test]
    fn trend_has_hours_for_a_day_and_days_for_a_month() {
        let cells = |window| {
            let cells = Cells::new(window, Calendar::UTC);
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
        assert_eq!(Lines::surplus_windows(asked, Calendar::UTC), expected);

        let mut lines = lines(asked, Grouping::Api);
        let fresh = StalePeriods::default();
        lines.add_surplus(&surplus(Monthly, "02-01T00:00"), &fresh);
        lines.add_surplus(&surplus(Daily, "02-07T00:00"), &fresh);
        lines.add_surplus(&surplus(Daily, "04-01T00:00"), &fresh);
        let total = lines.finish(None, None).total;
        assert_eq!((total.surplus, total.rollup.total_requests), (20, 20));
        // The trend has daily cells, so the month is not drawn.
        assert_eq!(total.over_time.iter().sum::<u64>(), 10);
    }

    #[test]
    fn surplus_of_a_stale_period_is_added_only_if_rolled_up() {
        let mut stale = StalePeriods::default();
        stale.insert(Hourly, at("02-07T05:00"));
        let mut lines = lines(window("02-01T00:00", "03-01T00:00"), Grouping::Api);
        let mut day = surplus(Daily, "02-07T00:00");
        lines.add_surplus(&day, &stale);
        assert_eq!(lines.by_api.len(), 0);
        day.is_rolled_up = true;
        lines.add_surplus(&day, &stale);
        assert_eq!(lines.finish(None, None).total.surplus, 10);
    }

    fn lines(window: Window, grouping: Grouping) -> Lines {
        Lines::new(Cells::new(window, Calendar::UTC), grouping)
    }

    fn requests(total_requests: u64) -> Rollup {
        Rollup {
            total_requests,
            ..Rollup::default()
        }
    }

    #[test]
    fn lines_are_ordered_and_cut_and_their_total_is_not() {
        let mut all = lines(window("01-30T00:00", "01-31T00:00"), Grouping::User);
        for (user, count) in [("ann", 3), ("bob", 9), ("cy", 5)] {
            all.add_stored("tmdb", user, at("01-30T12:00"), &requests(count));
        }
        let found = all.finish(None, Some(2));
        let names: Vec<&str> = found
            .lines
            .iter()
            .map(|((_, user), _)| user.as_str())
            .collect();
        assert_eq!((names, found.more), (vec!["bob", "cy"], 1));
        assert_eq!(found.total.rollup.total_requests, 17);
    }

    #[test]
    fn days_are_those_of_the_time_zone() {
        let calendar = Calendar {
            zone: zone("Asia/Kathmandu"),
        };
        let window = window("01-29T18:15", "01-31T18:15");
        let mut lines = Lines::new(Cells::new(window, calendar), Grouping::Day);
        for (instant, count) in [("01-30T18:14", 3), ("01-30T18:15", 4)] {
            lines.add_stored("tmdb", "", at(instant), &requests(count));
        }
        let found = lines.finish(None, None).lines.into_iter();
        let found: Vec<_> = found
            .map(|((_, day), line)| (day, line.rollup.total_requests))
            .collect();
        let expected = [("2026-01-30".to_owned(), 3), ("2026-01-31".to_owned(), 4)];
        assert_eq!(found, expected);
    }

    #[test]
    fn line_of_one_window_only_is_compared() {
        let span = window("01-30T00:00", "01-31T00:00");
        let mut now = lines(span, Grouping::Api);
        now.add_stored("tmdb", "", span.from, &requests(6));
        now.add_stored("new", "", span.from, &requests(1));
        let mut before = lines(span, Grouping::Api);
        before.add_stored("tmdb", "", span.from, &requests(4));
        before.add_stored("old", "", span.from, &requests(2));
        now.compare(before);
        let found = now.finish(None, None);
        let changes: Vec<_> = found
            .lines
            .iter()
            .map(|((api, _), line)| (api.as_str(), line.change()))
            .collect();
        assert_eq!(
            changes,
            [("new", None), ("old", Some(-1.0)), ("tmdb", Some(0.5))]
        );
        assert_eq!(found.total.previous, Some(requests(6)));
    }

    proptest! {
        #[test]
        fn cells_cover_the_window(
            start in 0..2_000_000_000_000_i64,
            length in 1..40_000_000_000_i64,
        ) {
            let from = DateTime::from_timestamp_millis(start).unwrap();
            let asked = Window { from, to: from + TimeDelta::milliseconds(length) };
            let cells = Cells::new(asked, Calendar::UTC);
            prop_assert!((1..=Cells::MOST).contains(&cells.count));
            prop_assert_eq!(cells.index_of(asked.from), 0);
            prop_assert_eq!(cells.index_of(asked.to - TimeDelta::milliseconds(1)), cells.count - 1);
        }
    }
}
