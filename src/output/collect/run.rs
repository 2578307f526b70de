//! What `collect run` and `collect doctor` answer: each collector, and what it measured.

use std::time::Duration;

use serde::Serialize;

use super::value;
use crate::domain::format::count;
use crate::domain::metrics::collector::{CollectorError, MetricSource, RunResult};
use crate::domain::metrics::point::{NewPoint, Saved};
use crate::output::Answer;
use crate::output::table::{Side, layout};

/// What became of one collector.
#[derive(Clone, Debug)]
pub struct RanOne {
    pub source: MetricSource,
    pub result: RunResult,
    pub saved: Saved,
    pub took: Duration,
    pub points: Vec<NewPoint>,
    pub failure: Option<CollectorError>,
}

/// What became of all of them.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    /// Each, in the order of the sources.
    pub collectors: Vec<RanOne>,
    pub dry_run: bool,
}

/// As [`Ran`], with what to do.
#[derive(Clone, Debug, Default)]
pub struct Examined {
    /// Each, in the order of the sources.
    pub collectors: Vec<RanOne>,
    /// What is not configured, and what would configure it.
    pub skipped: Vec<(MetricSource, &'static str)>,
}

impl RanOne {
    fn ms(&self) -> u64 {
        u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX)
    }

    fn json(&self) -> CollectorJson<'_> {
        let value = |point: &NewPoint| ValueJson {
            service: point.series.service.to_string(),
            metric: point.series.metric.to_string(),
            value: Some(point.value).filter(|value| value.is_finite()),
            timestamp: point
                .at
                .to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            metadata: point.metadata.clone(),
        };
        CollectorJson {
            collector: self.source,
            result: self.result.as_str(),
            inserted: self.saved.inserted,
            updated: self.saved.updated,
            unchanged: self.saved.unchanged,
            duration_ms: self.ms(),
            error: self
                .failure
                .as_ref()
                .map(|failure| failure.message.as_str()),
            next: self.failure.as_ref().map(|failure| failure.hint.as_str()),
            values: self.points.iter().map(value).collect(),
        }
    }

    fn csv(&self) -> Vec<String> {
        let error = self.failure.as_ref().map(|failure| failure.message.clone());
        vec![
            self.source.to_string(),
            self.result.as_str().to_owned(),
            self.saved.inserted.to_string(),
            self.saved.updated.to_string(),
            self.saved.unchanged.to_string(),
            self.ms().to_string(),
            error.unwrap_or_default(),
        ]
    }
}

#[derive(Serialize)]
struct CollectorJson<'a> {
    collector: MetricSource,
    result: &'static str,
    inserted: u64,
    updated: u64,
    unchanged: u64,
    duration_ms: u64,
    error: Option<&'a str>,
    next: Option<&'a str>,
    values: Vec<ValueJson>,
}

#[derive(Serialize)]
struct ValueJson {
    service: String,
    metric: String,
    value: Option<f64>,
    timestamp: String,
    metadata: serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize)]
struct RanJson<'a> {
    dry_run: bool,
    collectors: Vec<CollectorJson<'a>>,
}

#[derive(Serialize)]
struct ExaminedJson<'a> {
    collectors: Vec<CollectorJson<'a>>,
    not_configured: Vec<NotConfigured>,
}

#[derive(Serialize)]
struct NotConfigured {
    collector: MetricSource,
    next: &'static str,
}

fn header() -> Vec<String> {
    [
        "collector",
        "result",
        "inserted",
        "updated",
        "unchanged",
        "duration_ms",
        "error",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// What was measured, a line each; empty if nothing was.
fn values(collectors: &[RanOne]) -> String {
    let line = |point: &NewPoint| {
        let series = &point.series;
        let at = point.at.format("%Y-%m-%d %H:%M").to_string();
        vec![
            series.service.to_string(),
            series.metric.to_string(),
            value(point.value),
            at,
        ]
    };
    let lines: Vec<_> = collectors
        .iter()
        .flat_map(|one| one.points.iter().map(line))
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    let columns = [
        ("SERVICE", Side::Left),
        ("METRIC", Side::Left),
        ("VALUE", Side::Right),
        ("AT (UTC)", Side::Left),
    ];
    format!("\n{}", layout(&columns, lines))
}

impl Answer for Ran {
    fn table(&self, _width: Option<usize>) -> String {
        let columns = [
            ("COLLECTOR", Side::Left),
            ("RESULT", Side::Left),
            ("WRITTEN", Side::Right),
            ("MS", Side::Right),
            ("", Side::Left),
        ];
        let line = |one: &RanOne| {
            let written = one.saved.inserted + one.saved.updated;
            let failure = one.failure.as_ref().map(|failure| failure.message.clone());
            vec![
                one.source.to_string(),
                one.result.as_str().to_owned(),
                count(written.cast_signed()),
                count(one.ms().cast_signed()),
                failure.unwrap_or_default(),
            ]
        };
        let table = layout(&columns, self.collectors.iter().map(line));
        let end = if self.dry_run {
            "\nnothing was written\n"
        } else {
            ""
        };
        format!("{table}{}{end}", values(&self.collectors))
    }

    fn json(&self) -> impl Serialize {
        RanJson {
            dry_run: self.dry_run,
            collectors: self.collectors.iter().map(RanOne::json).collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let rows = self.collectors.iter().map(RanOne::csv);
        std::iter::once(header()).chain(rows).collect()
    }
}

impl Answer for Examined {
    fn table(&self, _width: Option<usize>) -> String {
        let columns = [
            ("COLLECTOR", Side::Left),
            ("STATE", Side::Left),
            ("MS", Side::Right),
            ("", Side::Left),
        ];
        let asked = self.collectors.iter().map(|one| {
            let (state, detail) = match &one.failure {
                Some(failure) => ("FAILED", format!("{}: {}", failure.message, failure.hint)),
                None => ("OK", format!("{} values", one.points.len())),
            };
            vec![
                one.source.to_string(),
                state.to_owned(),
                count(one.ms().cast_signed()),
                detail,
            ]
        });
        let skipped = self.skipped.iter().map(|(source, hint)| {
            vec![
                source.to_string(),
                "not configured".to_owned(),
                "-".to_owned(),
                (*hint).to_owned(),
            ]
        });
        format!(
            "{}{}",
            layout(&columns, asked.chain(skipped)),
            values(&self.collectors)
        )
    }

    fn json(&self) -> impl Serialize {
        let skipped = self.skipped.iter();
        ExaminedJson {
            collectors: self.collectors.iter().map(RanOne::json).collect(),
            not_configured: skipped
                .map(|(collector, next)| NotConfigured {
                    collector: *collector,
                    next,
                })
                .collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let rows = self.collectors.iter().map(RanOne::csv);
        std::iter::once(header()).chain(rows).collect()
    }
}
