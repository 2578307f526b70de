//! The answer of `collect status`: the last run of each collector, the newest value of each series.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::domain::format::time_ms;
use crate::domain::metrics::collector::CollectorRun;
use crate::domain::metrics::day::Latest;
use crate::output::Answer;
use crate::output::columns::{self, Cell, Column};
use crate::output::json::object;

#[derive(Clone, Debug)]
pub struct CollectStatus {
    /// Ages are relative to this time.
    pub now: DateTime<Utc>,
    /// The last run of each collector.
    pub runs: Vec<CollectorRun>,
    pub latest: Vec<Latest>,
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
        let runs = self.runs.iter().map(|run| {
            object! {
                collector: &run.collector,
                at: time_ms(run.started_at),
                result: run.result,
                written: run.written,
                duration_ms: run.duration_ms,
                error: run.error.as_deref(),
            }
        });
        let series = self.latest.iter().map(|Latest { series, point }| {
            object! {
                service: series.service,
                metric: series.metric,
                resource: &series.resource,
                value: point.value,
                reading: point.reading,
                at: time_ms(point.at),
                age_seconds: (self.now - point.at).num_seconds(),
            }
        });
        object! { collectors: runs.collect::<Vec<_>>(), series: series.collect::<Vec<_>>() }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&self.series_columns(), &self.latest)
    }
}
