//! The answer of `collect status`: the last run of each collector, the newest value of each series.

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::format::time_ms;
use crate::domain::metrics::collector::CollectorRun;
use crate::domain::metrics::day::Latest;
use crate::output::prelude::*;

#[derive(Clone, Debug)]
pub struct CollectStatus {
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
        type Col<'a> = Column<'a, CollectorRun>;
        vec![
            Col::left("COLLECTOR", "collector", |run| Cell::text(&run.collector)),
            Col::right("LAST RUN", "age", |run| self.age(run.started_at)),
            Col::left("RESULT", "result", |run| Cell::text(run.result)),
            Col::right("WRITTEN", "written", |run| Cell::count(run.written)),
            Col::left("ERROR", "error", |run| Cell::maybe(run.error.as_ref())),
        ]
    }

    fn series_columns(&self) -> Vec<Column<'_, Latest>> {
        type Col<'a> = Column<'a, Latest>;
        vec![
            Col::left("SERVICE", "service", |it| Cell::text(it.series.service)),
            Col::left("METRIC", "metric", |it| Cell::text(it.series.metric)),
            Col::left("RESOURCE", "resource", |it| Cell::text(&it.series.resource)),
            Col::right("VALUE", "value", |it| {
                Cell::measured(it.series.metric, Some(it.point.value))
            }),
            Col::left("READING", "reading", |it| Cell::text(it.point.reading)),
            Col::right("AGE", "age_ms", |it| self.age(it.point.at)),
            Col::csv_only("at", |it| Cell::Time(it.point.at)),
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
