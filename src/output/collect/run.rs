//! The answers of `collect run` and `collect doctor`: each collector, and the values it read.

use serde::Serializer;

use crate::domain::format::{counted, time_ms};
use crate::domain::metrics::collector::{MetricSource, RunResult};
use crate::domain::metrics::point::{NewPoint, Saved};
use crate::output::prelude::*;

#[derive(Clone, Debug, Serialize)]
pub struct CollectorReport {
    pub collector: MetricSource,
    /// Database, project or team; empty for the only one.
    pub resource: String,
    pub result: RunResult,
    #[serde(flatten)]
    pub saved: Saved,
    pub duration_ms: u64,
    /// Why there are no values.
    pub reason: Option<String>,
    pub error: Option<String>,
    /// How to fix the error.
    pub next: Option<String>,
    #[serde(serialize_with = "values")]
    pub values: Vec<NewPoint>,
}

/// In JSON, a value that is not finite is null.
fn values<S: Serializer>(points: &[NewPoint], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(points.iter().map(|point| {
        object! {
            service: point.series.service,
            metric: point.series.metric,
            resource: &point.series.resource,
            value: point.value,
            timestamp: time_ms(point.at),
            metadata: &point.metadata,
        }
    }))
}

/// The outcome of all collectors, in the order of the sources.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CollectReport {
    pub dry_run: bool,
    pub collectors: Vec<CollectorReport>,
}

/// As [`CollectReport`], with the sources that are not configured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DoctorReport {
    pub collectors: Vec<CollectorReport>,
    pub not_configured: Vec<NotConfigured>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct NotConfigured {
    pub collector: MetricSource,
    /// How to configure it.
    pub next: &'static str,
}

fn report_columns() -> Vec<Column<'static, CollectorReport>> {
    type Col<'a> = Column<'a, CollectorReport>;
    vec![
        Col::left("COLLECTOR", "collector", |it| Cell::text(it.collector)),
        Col::left("RESOURCE", "resource", |it| Cell::text(&it.resource)).if_any(),
        Col::left("RESULT", "result", |it| Cell::text(it.result)),
        Col::right("INSERTED", "inserted", |it| Cell::count(it.saved.inserted)),
        Col::right("UPDATED", "updated", |it| Cell::count(it.saved.updated)),
        Col::right("UNCHANGED", "unchanged", |it| {
            Cell::count(it.saved.unchanged)
        }),
        Col::right("MS", "duration_ms", |it| Cell::count(it.duration_ms)),
        Col::left("REASON", "reason", |it| {
            Cell::maybe(it.error.as_ref().or(it.reason.as_ref()))
        }),
    ]
}

/// The table of the values read, after a blank line; empty without values.
fn values_table(collectors: &[CollectorReport], width: Option<usize>) -> String {
    type Row<'a> = &'a NewPoint;
    type Col<'a> = Column<'a, Row<'a>>;
    let values: Vec<Row<'_>> = collectors.iter().flat_map(|it| &it.values).collect();
    if values.is_empty() {
        return String::new();
    }
    let columns = [
        Col::left("SERVICE", "service", |it| Cell::text(it.series.service)),
        Col::left("METRIC", "metric", |it| Cell::text(it.series.metric)),
        Col::left("RESOURCE", "resource", |it| Cell::text(&it.series.resource)).if_any(),
        Col::right("VALUE", "value", |it| {
            Cell::measured(it.series.metric, Some(it.value))
        }),
        Col::left("TIME", "timestamp", |it| Cell::Time(it.at)),
    ];
    format!("\n{}", columns::table(&columns, &values, width))
}

impl Answer for CollectReport {
    fn table(&self, width: Option<usize>) -> String {
        let mut text = columns::table(&report_columns(), &self.collectors, width);
        text.push_str(&values_table(&self.collectors, width));
        if self.dry_run {
            text.push_str("\ndry run: nothing was written\n");
        }
        text
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&report_columns(), &self.collectors)
    }
}

impl Answer for DoctorReport {
    fn table(&self, width: Option<usize>) -> String {
        struct Row {
            collector: MetricSource,
            resource: String,
            state: &'static str,
            duration_ms: Option<u64>,
            detail: String,
        }
        let collected = self.collectors.iter().map(|report| {
            let (state, detail) = match (&report.error, &report.next) {
                (Some(error), Some(next)) => ("FAILED", format!("{error}: {next}")),
                (Some(error), None) => ("FAILED", error.clone()),
                (None, _) => match &report.reason {
                    Some(reason) => ("EMPTY", reason.clone()),
                    None => ("OK", counted(report.values.len() as u64, "value")),
                },
            };
            Row {
                collector: report.collector,
                resource: report.resource.clone(),
                state,
                duration_ms: Some(report.duration_ms),
                detail,
            }
        });
        let not_configured = self.not_configured.iter().map(|it| Row {
            collector: it.collector,
            resource: String::new(),
            state: "not configured",
            duration_ms: None,
            detail: it.next.to_owned(),
        });
        let rows: Vec<Row> = collected.chain(not_configured).collect();
        type Col<'a> = Column<'a, Row>;
        let columns = [
            Col::left("COLLECTOR", "collector", |row| Cell::text(row.collector)),
            Col::left("RESOURCE", "resource", |row| Cell::text(&row.resource)).if_any(),
            Col::left("STATE", "state", |row| Cell::text(row.state)),
            Col::right("MS", "duration_ms", |row| {
                Cell::or_missing(row.duration_ms, Cell::count)
            }),
            Col::left("DETAIL", "detail", |row| Cell::text(&row.detail)),
        ];
        columns::table(&columns, &rows, width) + &values_table(&self.collectors, width)
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&report_columns(), &self.collectors)
    }
}
