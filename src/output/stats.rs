//! The answer of `stats`.

use super::chart::sparkline;
use crate::domain::format::counted;
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::histogram;
use crate::domain::usage::rollup::{ResponseTimes, Rollup};
use crate::domain::usage::stats::{Cells, Line};
use crate::output::prelude::*;

#[derive(Debug)]
pub struct StatsAnswer {
    pub window: Window,
    /// The cells of each line's trend.
    pub cells: Cells,
    pub by_endpoint: bool,
    /// Whether the table has all columns, however wide it is.
    pub wide: bool,
    /// With API and endpoint, which is empty where endpoints are summed.
    pub lines: Vec<(String, String, Line)>,
    pub total: Line,
}

/// The width of the table where stdout is not a terminal.
const WIDTH: usize = 100;

/// The cells to which a trend may shrink before its column is dropped.
const SHORTEST_TREND: usize = 8;

struct Row<'a> {
    api: &'a str,
    endpoint: Option<&'a str>,
    line: &'a Line,
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

/// The columns of API and endpoint.
fn names<'a>(by_endpoint: bool) -> Columns<'a> {
    let endpoint = |row: &Row<'_>| Cell::maybe(row.endpoint);
    vec![
        Column::left("API", "api_name", |row: &Row<'_>| Cell::text(row.api)),
        Column::left("ENDPOINT", "endpoint", endpoint).in_table(by_endpoint),
    ]
}

/// The columns of the numbers; only `wide` tables have all of them.
fn numbers<'a>(wide: bool) -> Columns<'a> {
    let average =
        |row: &Row<'_>| Cell::or_missing(row.line.rollup.response_times.average(), Cell::Number);
    let cost = |row: &Row<'_>| Cell::Number(row.line.rollup.total_cost.to_f64());
    vec![
        count("REQUESTS", "total_requests", |sum| sum.total_requests),
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
        Column::right("COST", "total_cost", cost).dropped(3),
        count("", "cached_count", |sum| sum.cached_count).in_table(false),
        ratio("CACHED", "cache_hit_rate", Rollup::cache_hit_rate).dropped(2),
    ]
}

/// The column of the trend, which draws `merged` cells as one.
fn trend<'a>(merged: usize) -> Column<'a, Row<'a>> {
    let merge = |cells: &[u64]| Some(cells.iter().sum::<u64>() as f64);
    let trend = Column::table_only("TREND", move |row: &Row<'_>| {
        let values: Vec<_> = row.line.over_time.chunks(merged).map(merge).collect();
        Cell::Text(sparkline(&values))
    });
    trend.dropped(1)
}

impl StatsAnswer {
    fn columns<'a>(&self, merged: usize) -> Columns<'a> {
        let columns = names(self.by_endpoint)
            .into_iter()
            .chain(numbers(self.wide));
        columns.chain([trend(merged)]).collect()
    }

    fn rows(&self) -> Vec<Row<'_>> {
        let rows = self.lines.iter().map(|(api, endpoint, line)| Row {
            api,
            endpoint: Some(endpoint.as_str()).filter(|endpoint| !endpoint.is_empty()),
            line,
        });
        rows.collect()
    }

    fn total_row(&self) -> Row<'_> {
        Row {
            api: "all",
            endpoint: None,
            line: &self.total,
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
            format::time(self.window.from),
            format::time(self.window.to)
        );
        if self.total.rollup.total_requests == 0 {
            return format!("no requests from {span}\n");
        }
        let mut rows = self.rows();
        if rows.len() > 1 {
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
        format!("{span}{trend}\n\n{table}")
    }

    fn json(&self) -> impl Serialize {
        let (columns, rows) = (self.columns(1), self.rows());
        let lines = rows.iter().map(|row| line_json(&columns, row));
        object! {
            from: format::time_ms(self.window.from),
            to: format::time_ms(self.window.to),
            group_by: if self.by_endpoint { "endpoint" } else { "api" },
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
            total: line_json(&numbers(true), &self.total_row()),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&self.columns(1), &self.rows())
    }
}

fn line_json<'a>(columns: &[Column<'a, Row<'a>>], row: &Row<'a>) -> impl Serialize + use<> {
    object! {
        ..columns::object(columns, row),
        // Known only from the application's aggregates.
        requests_without_rows: row.line.surplus,
        requests_over_time: row.line.over_time.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        };
        StatsAnswer {
            window,
            cells: Cells::new(window),
            by_endpoint: true,
            wide,
            lines: vec![("finnhub".to_owned(), endpoint.to_owned(), line.clone())],
            total: line,
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
