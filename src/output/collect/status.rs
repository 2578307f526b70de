//! The answer of `collect status`: the last run of each collector, the newest value of each series.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::domain::metrics::collector::{CollectorRun, RunResult};
use crate::domain::metrics::day::Latest;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::Reading;
use crate::output::Answer;
use crate::output::columns::{self, Cell, Column};

#[derive(Clone, Debug)]
pub struct CollectStatus {
    /// Ages are relative to this time.
    pub now: DateTime<Utc>,
    /// The last run of each collector.
    pub runs: Vec<CollectorRun>,
    pub latest: Vec<Latest>,
}

#[derive(Serialize)]
struct StatusJson<'a> {
    collectors: Vec<RunJson<'a>>,
    series: Vec<SeriesJson<'a>>,
}

#[derive(Serialize)]
struct RunJson<'a> {
    collector: &'a str,
    #[serde(serialize_with = "crate::output::json::time")]
    at: DateTime<Utc>,
    result: RunResult,
    written: i32,
    duration_ms: i64,
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct SeriesJson<'a> {
    service: Service,
    metric: Metric,
    resource: &'a str,
    value: f64,
    reading: Reading,
    #[serde(serialize_with = "crate::output::json::time")]
    at: DateTime<Utc>,
    age_seconds: i64,
}

impl<'a> RunJson<'a> {
    fn new(run: &'a CollectorRun) -> RunJson<'a> {
        RunJson {
            collector: &run.collector,
            at: run.started_at,
            result: run.result,
            written: run.written,
            duration_ms: run.duration_ms,
            error: run.error.as_deref(),
        }
    }
}

impl<'a> SeriesJson<'a> {
    fn new(Latest { series, point }: &'a Latest, now: DateTime<Utc>) -> SeriesJson<'a> {
        SeriesJson {
            service: series.service,
            metric: series.metric,
            resource: &series.resource,
            value: point.value,
            reading: point.reading,
            at: point.at,
            age_seconds: (now - point.at).num_seconds(),
        }
    }
}

impl CollectStatus {
    /// The age of `at` for tables: whole seconds, not negative.
    fn age(&self, at: DateTime<Utc>) -> Cell {
        let seconds = (self.now - at).num_seconds().max(0);
        Cell::Duration(TimeDelta::seconds(seconds))
    }

    fn run_columns(&self) -> Vec<Column<'_, CollectorRun>> {
        type Run = CollectorRun;
        vec![
            Column::left("COLLECTOR", "collector", |run: &Run| {
                Cell::text(&run.collector)
            }),
            Column::right("LAST RUN", "age", |run: &Run| self.age(run.started_at)),
            Column::left("RESULT", "result", |run: &Run| Cell::text(run.result)),
            Column::right("WRITTEN", "written", |run: &Run| Cell::count(run.written)),
            Column::left("ERROR", "error", |run: &Run| {
                Cell::maybe(run.error.as_ref())
            }),
        ]
    }

    fn series_columns(&self) -> Vec<Column<'_, Latest>> {
        vec![
            Column::left("SERVICE", "service", |it: &Latest| {
                Cell::text(it.series.service)
            }),
            Column::left("METRIC", "metric", |it: &Latest| {
                Cell::text(it.series.metric)
            }),
            Column::left("RESOURCE", "resource", |it: &Latest| {
                Cell::text(&it.series.resource)
            }),
            Column::right("VALUE", "value", |it: &Latest| Cell::Number(it.point.value)),
            Column::left("READING", "reading", |it: &Latest| {
                Cell::text(it.point.reading)
            }),
            Column::right("AGE", "age_ms", |it: &Latest| self.age(it.point.at)),
            Column::csv_only("at", |it: &Latest| Cell::Time(it.point.at)),
        ]
    }
}

impl Answer for CollectStatus {
    fn table(&self, width: Option<usize>) -> String {
        let mut text = String::new();
        if !self.runs.is_empty() {
            text = columns::table(&self.run_columns(), &self.runs, width);
            text.push('\n');
        }
        if self.latest.is_empty() {
            text.push_str("no metrics yet\n");
        } else {
            text.push_str(&columns::table(&self.series_columns(), &self.latest, width));
        }
        text
    }

    fn json(&self) -> impl Serialize {
        StatusJson {
            collectors: self.runs.iter().map(RunJson::new).collect(),
            series: self
                .latest
                .iter()
                .map(|latest| SeriesJson::new(latest, self.now))
                .collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&self.series_columns(), &self.latest)
    }
}
