//! The answer of `stats`.

use std::collections::BTreeMap;

use super::chart::sparkline;
use super::exposition::exposition;
use crate::domain::format::counted;
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::histogram;
use crate::domain::usage::rollup::{ResponseTimes, Rollup};
use crate::domain::usage::stats::{Cells, Grouping, LimitUse, Line, Ordered};
use crate::output::prelude::*;

#[derive(Debug)]
pub struct StatsAnswer {
    pub window: Window,
    /// The cells of each line's trend.
    pub cells: Cells,
    pub grouping: Grouping,
    /// Whether lines have the numbers of the window before.
    pub compared: bool,
    /// Whether the table has all columns, however wide it is.
    pub wide: bool,
    pub found: Ordered,
    pub limits: BTreeMap<String, Vec<LimitUse>>,
}

/// The width of the table where stdout is not a terminal.
const WIDTH: usize = 100;

/// The cells to which a trend may shrink before its column is dropped.
const SHORTEST_TREND: usize = 8;

struct Row<'a> {
    /// Empty where APIs are summed.
    api: &'a str,
    value: Option<&'a str>,
    line: &'a Line,
    limits: &'a [LimitUse],
    /// Requests of all lines.
    all: u64,
}

type Columns<'a> = Vec<Column<'a, Row<'a>>>;

fn count<'a>(
    header: &'static str,
    name: &'static str,
    count: fn(&Rollup) -> u64,
) -> Column<'a, Row<'a>> {
    Column::right(header, name, move |row: &Row<'_>| {
        Cell::count(count(&row.line.rollup))
    })
}

fn ratio<'a>(
    header: &'static str,
    name: &'static str,
    ratio: fn(&Rollup) -> Option<f64>,
) -> Column<'a, Row<'a>> {
    Column::right(header, name, move |row: &Row<'_>| {
        Cell::or_missing(ratio(&row.line.rollup), Cell::Ratio)
    })
}

/// A response time in milliseconds.
fn time<'a>(
    header: &'static str,
    name: &'static str,
    time: fn(&ResponseTimes) -> Option<u32>,
) -> Column<'a, Row<'a>> {
    Column::right(header, name, move |row: &Row<'_>| {
        Cell::or_missing(time(&row.line.rollup.response_times), Cell::count)
    })
}

fn names<'a>(grouping: Grouping) -> Columns<'a> {
    let header = match grouping {
        Grouping::Api | Grouping::Endpoint => "",
        Grouping::User => "USER",
        Grouping::Method => "METHOD",
        Grouping::Status => "STATUS",
        Grouping::ErrorType => "ERROR TYPE",
        Grouping::Hour => "HOUR",
        Grouping::Day => "DAY",
    };
    let of_apis = grouping.is_of_apis();
    let api = move |row: &Row<'_>| Cell::maybe(Some(row.api).filter(|api| !api.is_empty()));
    let endpoint = move |row: &Row<'_>| Cell::maybe(row.value.filter(|_| of_apis));
    let value = move |row: &Row<'_>| Cell::maybe(row.value.filter(|_| !of_apis));
    vec![
        Column::left("API", "api_name", api).in_table(of_apis),
        Column::left("ENDPOINT", "endpoint", endpoint).in_table(grouping == Grouping::Endpoint),
        Column::left(header, "group", value).in_table(!of_apis),
    ]
}

/// The columns of the numbers; only `wide` tables have all of them.
fn numbers<'a>(wide: bool, compared: bool) -> Columns<'a> {
    let share = |row: &Row<'_>| {
        let share = (row.all > 0).then(|| row.line.rollup.total_requests as f64 / row.all as f64);
        Cell::or_missing(share, Cell::Ratio)
    };
    let previous = |row: &Row<'_>| {
        Cell::or_missing(row.line.previous.as_ref(), |it| {
            Cell::count(it.total_requests)
        })
    };
    let change = |row: &Row<'_>| Cell::or_missing(row.line.change(), Cell::Ratio);
    let bytes = |header, name, bytes: fn(&Rollup) -> Option<u64>| {
        let cell = move |row: &Row<'_>| Cell::or_missing(bytes(&row.line.rollup), Cell::count);
        Column::right(header, name, cell).in_table(wide)
    };
    let average =
        |row: &Row<'_>| Cell::or_missing(row.line.rollup.response_times.average(), Cell::Number);
    let cost = |row: &Row<'_>| Cell::Number(row.line.rollup.total_cost.to_f64());
    vec![
        count("REQUESTS", "total_requests", |sum| sum.total_requests),
        Column::right("SHARE", "share", share).in_table(wide),
        Column::right("BEFORE", "previous_requests", previous).in_table(compared),
        Column::right("CHANGE", "change", change).in_table(compared),
        count("SUCCESS", "success_count", |sum| sum.success_count).in_table(wide),
        count("ERRORS", "error_count", |sum| sum.error_count),
        ratio("RATE", "error_rate", Rollup::error_rate).dropped(6),
        count("RATE LIMIT", "rate_limit_errors", |sum| {
            sum.errors.rate_limit
        })
        .in_table(wide),
        count("TIMEOUT", "timeout_errors", |sum| sum.errors.timeout).in_table(wide),
        count("SERVER", "server_errors", |sum| sum.errors.server).in_table(wide),
        count("CLIENT", "client_errors", |sum| sum.errors.client).in_table(wide),
        count("NETWORK", "network_errors", |sum| sum.errors.network).in_table(wide),
        count("OTHER", "other_errors", |sum| sum.errors.other).in_table(wide),
        Column::right("AVG", "avg_response_time", average).in_table(wide),
        time("MIN", "min_response_time", |times| times.min).in_table(wide),
        time("MAX", "max_response_time", |times| times.max).in_table(wide),
        time("P50", "p50_response_time", |times| times.quantile(500)).dropped(5),
        time("P95", "p95_response_time", |times| times.quantile(950)),
        time("P99", "p99_response_time", |times| times.quantile(990)).dropped(4),
        bytes("SENT", "request_bytes", |sum| sum.request_bytes),
        bytes("RECEIVED", "response_bytes", |sum| sum.response_bytes),
        Column::right("COST", "total_cost", cost).dropped(3),
        count("", "cached_count", |sum| sum.cached_count).in_table(false),
        ratio("CACHED", "cache_hit_rate", Rollup::cache_hit_rate).dropped(2),
    ]
}

/// The column of the rate limit that is used most.
fn limit_use<'a>() -> Column<'a, Row<'a>> {
    Column::table_only("LIMIT USE", |row: &Row<'_>| {
        let uses = row
            .limits
            .iter()
            .filter_map(|it| Some((it.utilization()?, &it.period)));
        let most = uses.max_by(|a, b| a.0.total_cmp(&b.0));
        Cell::maybe(
            most.map(|(used, period)| format!("{} {period}", format::percent(used * 100.0))),
        )
    })
}

/// The column of the trend, which draws `merged` cells as one.
fn trend<'a>(merged: usize) -> Column<'a, Row<'a>> {
    let trend = Column::table_only("TREND", move |row: &Row<'_>| {
        let cells = row.line.over_time.chunks(merged);
        let values: Vec<u64> = cells.map(|cells| cells.iter().sum()).collect();
        Cell::Text(sparkline(&values))
    });
    trend.dropped(1)
}

impl StatsAnswer {
    fn columns<'a>(&self, merged: usize) -> Columns<'a> {
        let columns = names(self.grouping).into_iter();
        let columns = columns.chain(numbers(self.wide, self.compared));
        let has_limits = self.wide && !self.limits.is_empty();
        let columns = columns.chain(has_limits.then(limit_use));
        columns.chain([trend(merged)]).collect()
    }

    fn rows(&self) -> Vec<Row<'_>> {
        let rows = self.found.lines.iter().map(|((api, value), line)| Row {
            api,
            value: Some(value.as_str()).filter(|value| !value.is_empty()),
            line,
            limits: self.limits.get(api).map_or(&[], Vec::as_slice),
            all: self.found.total.rollup.total_requests,
        });
        rows.collect()
    }

    fn total_row(&self) -> Row<'_> {
        let name = |shown: bool| if shown { "TOTAL" } else { "" };
        let of_apis = self.grouping.is_of_apis();
        Row {
            api: name(of_apis),
            value: Some(name(!of_apis)).filter(|name| !name.is_empty()),
            line: &self.found.total,
            limits: &[],
            all: self.found.total.rollup.total_requests,
        }
    }

    /// How many cells of the trend must be drawn as one for the table to fit into `width`.
    fn merged_cells(&self, rows: &[Row<'_>], width: usize) -> usize {
        let table = columns::table(&self.columns(1), rows, None);
        let widest = table.lines().map(|line| line.chars().count()).max();
        let excess = widest.unwrap_or(0).saturating_sub(width);
        let cells = self.cells.count.saturating_sub(excess);
        self.cells.count.div_ceil(cells.max(SHORTEST_TREND)).max(1)
    }
}

impl Answer for StatsAnswer {
    fn table(&self, width: Option<usize>) -> String {
        let span = format!(
            "{} to {}",
            format::local_time(self.window.from, self.cells.calendar.zone),
            format::local_time(self.window.to, self.cells.calendar.zone)
        );
        if self.found.lines.is_empty() {
            return format!("no requests from {span}\n");
        }
        let mut rows = self.rows();
        let has_total = rows.len() + self.found.more > 1;
        if has_total {
            rows.push(self.total_row());
        }
        let width = (!self.wide).then(|| width.unwrap_or(WIDTH));
        let merged = width.map_or(1, |width| self.merged_cells(&rows, width));
        let table = columns::table(&self.columns(merged), &rows, width);
        let has_trend = table
            .lines()
            .next()
            .is_some_and(|head| head.ends_with("TREND"));
        let trend = if has_trend {
            let periods = (self.cells.per_cell * merged) as u64;
            let unit = match self.cells.granularity {
                Granularity::Hourly => "hour",
                Granularity::Daily => "day",
                Granularity::Monthly => "month",
            };
            format!("; one cell of TREND is {}", counted(periods, unit))
        } else {
            String::new()
        };
        let (lines, total) = match table.trim_end().rsplit_once('\n') {
            Some((lines, total)) if has_total => (lines, Some(total)),
            _ => (table.trim_end(), None),
        };
        let mut text = format!("{span}{trend}\n\n{lines}\n");
        if self.found.more > 0 {
            text += &format!(
                "{} not shown\n",
                counted(self.found.more as u64, "more line")
            );
        }
        // A line that no name can be, so that the total is no API.
        if let Some(total) = total {
            let width = table.lines().map(|line| line.chars().count()).max();
            text += &format!("{}\n{total}\n", "─".repeat(width.unwrap_or(0)));
        }
        text
    }

    fn json(&self) -> impl Serialize {
        let (columns, rows) = (self.columns(1), self.rows());
        let lines = rows.iter().map(|row| line_json(&columns, row));
        object! {
            from: format::time_ms(self.window.from),
            to: format::time_ms(self.window.to),
            time_zone: self.cells.calendar.zone.name(),
            group_by: self.grouping,
            percentiles: object! {
                method: "histogram",
                relative_error: histogram::RELATIVE_ERROR,
            },
            // The period of each number in a line's `requests_over_time`.
            over_time: object! {
                from: format::time_ms(self.cells.start),
                unit: self.cells.granularity.unit(),
                length: self.cells.per_cell,
            },
            lines: lines.collect::<Vec<_>>(),
            lines_left_out: self.found.more,
            total: line_json(&numbers(true, true), &self.total_row()),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&self.columns(1), &self.rows())
    }

    fn prometheus(&self) -> Option<String> {
        Some(exposition(self))
    }
}

fn limit_json(used: &LimitUse) -> impl Serialize + use<> {
    object! {
        period: used.period.to_string(),
        from: format::time_ms(used.window.from),
        limit: used.limit,
        used: used.used,
        utilization: used.utilization(),
    }
}

fn line_json<'a>(columns: &[Column<'a, Row<'a>>], row: &Row<'a>) -> impl Serialize + use<> {
    object! {
        ..columns::object(columns, row),
        limits: row.limits.iter().map(limit_json).collect::<Vec<_>>(),
        // Known only from the application's aggregates.
        requests_without_rows: row.line.surplus,
        requests_over_time: row.line.over_time.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::period::Calendar;

    #[test]
    fn total_is_no_api() {
        let mut answer = answer("/quote", false);
        let mut other = answer.found.lines[0].clone();
        other.0.0 = "TOTAL".to_owned();
        answer.found.lines.push(other);
        let table = answer.table(None);
        let lines: Vec<&str> = table.lines().rev().take(3).collect();
        assert!(lines[0].starts_with("TOTAL") && lines[2].starts_with("TOTAL"));
        assert!(lines[1].chars().all(|c| c == '─'), "{table}");
    }

    fn answer(endpoint: &str, wide: bool) -> StatsAnswer {
        let window = Window::new(
            "2026-01-30T12:00:00Z".parse().unwrap(),
            "2026-01-31T12:00:00Z".parse().unwrap(),
        );
        let line = Line {
            rollup: Rollup {
                total_requests: 123_456,
                ..Rollup::default()
            },
            over_time: vec![1; 24],
            surplus: 0,
            previous: None,
        };
        StatsAnswer {
            window,
            cells: Cells::new(window, Calendar::UTC),
            grouping: Grouping::Endpoint,
            compared: false,
            wide,
            found: Ordered {
                lines: vec![(("finnhub".to_owned(), endpoint.to_owned()), line.clone())],
                total: line,
                more: 0,
            },
            limits: BTreeMap::new(),
        }
    }

    fn widest(table: &str) -> usize {
        let widths = table.lines().skip(2).map(|line| line.chars().count());
        widths.max().unwrap()
    }

    #[test]
    fn trend_shrinks_before_columns_are_dropped() {
        let table = answer("/quote", false).table(None);
        assert!(table.contains("; one cell of TREND is 1 hour\n"), "{table}");
        let narrower = answer("/quote", false).table(Some(widest(&table) - 1));
        assert!(narrower.contains("is 2 hours\n"), "{narrower}");
        let narrowest = answer("/quote", false).table(Some(widest(&table) - 16));
        assert!(narrowest.contains("is 3 hours\n"), "{narrowest}");
        let without = answer("/quote", false).table(Some(widest(&narrowest) - 1));
        assert!(!without.contains("TREND"), "{without}");
        assert!(without.contains("CACHED"), "{without}");
    }

    #[test]
    fn default_table_fits_a_hundred_characters() {
        let endpoint = "/v1/cryptocurrency/listings/latest/page";
        assert!(widest(&answer(endpoint, false).table(None)) <= WIDTH);
        let wide = answer(endpoint, true).table(Some(WIDTH));
        assert!(wide.contains("RATE LIMIT") && wide.contains("TREND"));
    }

    #[test]
    fn columns_are_dropped_in_the_documented_order() {
        let all = ["TREND", "CACHED", "COST", "P99", "P50", "RATE"];
        let mut left = all.len();
        for width in (40..100).rev() {
            let table = answer("/quote", false).table(Some(width));
            let head = table.lines().find(|line| line.starts_with("API")).unwrap();
            let dropped = all.iter().take_while(|name| !head.contains(**name)).count();
            assert!(all[dropped..].iter().all(|name| head.contains(name)));
            left = left.min(all.len() - dropped);
        }
        assert_eq!(left, 0);
    }
}
