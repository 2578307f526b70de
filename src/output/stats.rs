//! What `stats` counted.

use serde::Serialize;

use super::Answer;
use super::chart::sparkline;
use super::table::{Side, layout};
use crate::domain::format::count;
use crate::domain::period::{Granularity, Window, shown};
use crate::domain::usage::histogram;
use crate::domain::usage::rollup::{ErrorClasses, Rollup};
use crate::domain::usage::stats::{Cells, Line};

/// The answer of `stats`.
#[derive(Debug)]
pub struct Stats {
    /// The stretch of time that was asked about.
    pub window: Window,
    /// What each sparkline is drawn from.
    pub cells: Cells,
    /// Whether each line is an endpoint.
    pub by_endpoint: bool,
    /// The lines, with API and endpoint.
    pub lines: Vec<(String, String, Line)>,
    /// All of them together.
    pub total: Line,
}

/// Median, 95th and 99th percentile.
const PERMILLES: [u16; 3] = [500, 950, 990];

/// What an unknown number looks like in a table.
const UNKNOWN: &str = "-";

/// The error classes, by their columns' names and as a table heads them.
fn classes(errors: &ErrorClasses) -> [(&'static str, &'static str, u64); 6] {
    [
        ("rate_limit_errors", "RATE LIMIT", errors.rate_limit),
        ("timeout_errors", "TIMEOUT", errors.timeout),
        ("server_errors", "SERVER", errors.server),
        ("client_errors", "CLIENT", errors.client),
        ("network_errors", "NETWORK", errors.network),
        ("other_errors", "OTHER", errors.other),
    ]
}

impl Answer for Stats {
    fn table(&self, _width: Option<usize>) -> String {
        let span = format!("{} to {}", shown(self.window.from), shown(self.window.to));
        if self.total.rollup.total_requests == 0 {
            return format!("no requests from {span}\n");
        }
        // A class that nobody met would only take room.
        let met = classes(&self.total.rollup.errors).map(|(_, _, count)| count > 0);
        let mut columns = vec![("API", Side::Left)];
        if self.by_endpoint {
            columns.push(("ENDPOINT", Side::Left));
        }
        columns.extend([
            ("REQUESTS", Side::Right),
            ("SUCCESS", Side::Right),
            ("ERRORS", Side::Right),
            ("RATE", Side::Right),
        ]);
        let headings = classes(&self.total.rollup.errors).map(|(_, heading, _)| heading);
        let wanted = headings.iter().zip(met).filter(|(_, met)| *met);
        columns.extend(wanted.map(|(heading, _)| (*heading, Side::Right)));
        columns.extend([
            ("AVG MS", Side::Right),
            ("P50", Side::Right),
            ("P95", Side::Right),
            ("P99", Side::Right),
            ("COST", Side::Right),
            ("CACHED", Side::Right),
            ("REQUESTS OVER TIME", Side::Left),
        ]);
        let total = ("all".to_owned(), String::new(), &self.total);
        let lines = self.lines.iter().map(|(api, endpoint, line)| {
            let endpoint = match endpoint.as_str() {
                "" => UNKNOWN,
                endpoint => endpoint,
            };
            (api.clone(), endpoint.to_owned(), line)
        });
        let several = self.lines.len() > 1;
        let rows = lines
            .chain(several.then_some(total))
            .map(|(api, endpoint, line)| {
                let mut cells = vec![api];
                if self.by_endpoint {
                    cells.push(endpoint);
                }
                cells.extend(numbers(&line.rollup, met));
                let values: Vec<_> = line
                    .over_time
                    .iter()
                    .map(|count| Some(*count as f64))
                    .collect();
                cells.push(sparkline(&values));
                cells
            });
        let table = layout(&columns, rows);
        format!(
            "{span}, a column of the chart is {}\n\n{table}",
            cell_length(self.cells)
        )
    }

    fn json(&self) -> impl Serialize {
        let lines = self.lines.iter().map(|(api, endpoint, line)| LineJson {
            api_name: api,
            endpoint: Some(endpoint.as_str()).filter(|endpoint| !endpoint.is_empty()),
            numbers: NumbersJson::new(line),
        });
        Json {
            from: shown(self.window.from),
            to: shown(self.window.to),
            by: if self.by_endpoint { "endpoint" } else { "api" },
            percentiles: PercentilesJson {
                method: "histogram",
                relative_error: histogram::RELATIVE_ERROR,
            },
            over_time: CellsJson {
                from: shown(self.cells.start()),
                unit: self.cells.granularity.unit(),
                length: self.cells.per_cell,
            },
            lines: lines.collect(),
            total: NumbersJson::new(&self.total),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let mut header = vec!["api_name"];
        if self.by_endpoint {
            header.push("endpoint");
        }
        header.extend([
            "total_requests",
            "success_count",
            "error_count",
            "cached_count",
        ]);
        header.extend(classes(&ErrorClasses::default()).map(|(name, _, _)| name));
        header.extend([
            "error_rate",
            "cache_hit_rate",
            "avg_response_time",
            "min_response_time",
            "max_response_time",
            "p50_response_time",
            "p95_response_time",
            "p99_response_time",
            "total_cost",
        ]);
        let header = header.into_iter().map(str::to_owned).collect();
        let rows = self.lines.iter().map(|(api, endpoint, line)| {
            let rollup = &line.rollup;
            let times = &rollup.response_times;
            let mut row = vec![api.clone()];
            if self.by_endpoint {
                row.push(endpoint.clone());
            }
            let counts = [
                rollup.total_requests,
                rollup.success_count,
                rollup.error_count,
                rollup.cached_count,
            ];
            row.extend(counts.map(|count| count.to_string()));
            row.extend(classes(&rollup.errors).map(|(_, _, count)| count.to_string()));
            let measures = [
                rollup.error_rate(),
                rollup.cache_hit_rate(),
                times.average(),
            ];
            row.extend(
                measures.map(|measure| measure.map_or_else(String::new, |it| it.to_string())),
            );
            let times = [times.min, times.max]
                .into_iter()
                .chain(PERMILLES.map(|p| times.quantile(p)));
            row.extend(times.map(|ms| ms.map_or_else(String::new, |ms| ms.to_string())));
            row.push(rollup.total_cost.to_string());
            row
        });
        std::iter::once(header).chain(rows).collect()
    }
}

/// The numbers of a line of the table.
fn numbers(rollup: &Rollup, met: [bool; 6]) -> Vec<String> {
    let times = &rollup.response_times;
    let ms = |ms: Option<u32>| ms.map_or_else(|| UNKNOWN.to_owned(), count);
    let mut cells = vec![
        count(rollup.total_requests),
        count(rollup.success_count),
        count(rollup.error_count),
        percent(rollup.error_rate()),
    ];
    let classes = classes(&rollup.errors).into_iter().zip(met);
    cells.extend(
        classes
            .filter(|(_, met)| *met)
            .map(|((_, _, errors), _)| count(errors)),
    );
    cells.push(
        times
            .average()
            .map_or_else(|| UNKNOWN.to_owned(), |average| format!("{average:.1}")),
    );
    cells.extend(PERMILLES.map(|permille| ms(times.quantile(permille))));
    cells.push(cost(rollup.total_cost.to_f64()));
    cells.push(percent(rollup.cache_hit_rate()));
    cells
}

/// A share as people read it; one that is not nothing does not look like nothing.
fn percent(share: Option<f64>) -> String {
    match share {
        None => UNKNOWN.to_owned(),
        Some(share) if share > 0.0 && share < 0.0005 => "<0.1%".to_owned(),
        Some(share) => format!("{:.1}%", share * 100.0),
    }
}

/// Credits to four digits behind the point, at most.
fn cost(credits: f64) -> String {
    let text = format!("{credits:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn cell_length(cells: Cells) -> String {
    match (cells.granularity, cells.per_cell) {
        (Granularity::Hourly, 1) => "an hour".to_owned(),
        (Granularity::Daily, 1) => "a day".to_owned(),
        (Granularity::Monthly, 1) => "a month".to_owned(),
        (granularity, several) => format!("{several} {}", granularity.unit()),
    }
}

#[derive(Serialize)]
struct Json<'a> {
    from: String,
    to: String,
    by: &'static str,
    percentiles: PercentilesJson,
    over_time: CellsJson,
    lines: Vec<LineJson<'a>>,
    total: NumbersJson<'a>,
}

/// How percentiles were made: at most this far from the exact ones.
#[derive(Serialize)]
struct PercentilesJson {
    method: &'static str,
    relative_error: f64,
}

/// What each number in a line's `requests_over_time` spans.
#[derive(Serialize)]
struct CellsJson {
    from: String,
    unit: &'static str,
    length: usize,
}

#[derive(Serialize)]
struct LineJson<'a> {
    api_name: &'a str,
    endpoint: Option<&'a str>,
    #[serde(flatten)]
    numbers: NumbersJson<'a>,
}

#[derive(Serialize)]
struct NumbersJson<'a> {
    total_requests: u64,
    success_count: u64,
    error_count: u64,
    cached_count: u64,
    rate_limit_errors: u64,
    timeout_errors: u64,
    server_errors: u64,
    client_errors: u64,
    network_errors: u64,
    other_errors: u64,
    error_rate: Option<f64>,
    cache_hit_rate: Option<f64>,
    avg_response_time: Option<f64>,
    min_response_time: Option<u32>,
    max_response_time: Option<u32>,
    p50_response_time: Option<u32>,
    p95_response_time: Option<u32>,
    p99_response_time: Option<u32>,
    total_cost: f64,
    /// Of the requests, those known only from the application's aggregates.
    requests_without_rows: u64,
    requests_over_time: &'a [u64],
}

impl<'a> NumbersJson<'a> {
    fn new(line: &'a Line) -> NumbersJson<'a> {
        let rollup = &line.rollup;
        let times = &rollup.response_times;
        NumbersJson {
            total_requests: rollup.total_requests,
            success_count: rollup.success_count,
            error_count: rollup.error_count,
            cached_count: rollup.cached_count,
            rate_limit_errors: rollup.errors.rate_limit,
            timeout_errors: rollup.errors.timeout,
            server_errors: rollup.errors.server,
            client_errors: rollup.errors.client,
            network_errors: rollup.errors.network,
            other_errors: rollup.errors.other,
            error_rate: rollup.error_rate(),
            cache_hit_rate: rollup.cache_hit_rate(),
            avg_response_time: times.average(),
            min_response_time: times.min,
            max_response_time: times.max,
            p50_response_time: times.quantile(500),
            p95_response_time: times.quantile(950),
            p99_response_time: times.quantile(990),
            total_cost: rollup.total_cost.to_f64(),
            requests_without_rows: line.surplus,
            requests_over_time: &line.over_time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(
            [0.0, 0.15, 449.0, 1.23456].map(cost),
            ["0", "0.15", "449", "1.2346"]
        );
        let shares = [None, Some(0.0), Some(0.0001), Some(0.5), Some(1.0)];
        assert_eq!(
            shares.map(percent),
            ["-", "0.0%", "<0.1%", "50.0%", "100.0%"]
        );
    }
}
