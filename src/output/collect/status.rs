//! What `collect status` answers: the last run of each collector, the newest value of each series.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;

use super::value;
use crate::domain::format::count;
use crate::domain::metrics::collector::CollectorRun;
use crate::domain::metrics::day::Latest;
use crate::domain::metrics::point::Reading;
use crate::output::Answer;
use crate::output::table::{Side, layout};

/// Where collecting stands.
#[derive(Clone, Debug)]
pub struct Status {
    /// The moment that ages are told for.
    pub now: DateTime<Utc>,
    /// The last run of each collector.
    pub runs: Vec<CollectorRun>,
    /// The newest value of each series.
    pub latest: Vec<Latest>,
}

#[derive(Serialize)]
struct StatusJson {
    collectors: Vec<RunJson>,
    series: Vec<SeriesJson>,
}

#[derive(Serialize)]
struct RunJson {
    collector: String,
    at: String,
    result: &'static str,
    written: i32,
    duration_ms: i64,
    error: Option<String>,
}

#[derive(Serialize)]
struct SeriesJson {
    service: String,
    metric: String,
    resource: String,
    value: f64,
    reading: Reading,
    at: String,
    age_seconds: i64,
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// How long ago, in the largest unit that says enough.
fn age(age: TimeDelta) -> String {
    match (age.num_days(), age.num_hours(), age.num_minutes()) {
        (2.., _, _) => format!("{} d", age.num_days()),
        (_, 2.., _) => format!("{} h", age.num_hours()),
        (_, _, 1..) => format!("{} min", age.num_minutes()),
        _ => format!("{} s", age.num_seconds().max(0)),
    }
}

impl Answer for Status {
    fn table(&self, _width: Option<usize>) -> String {
        let mut text = String::new();
        if !self.runs.is_empty() {
            let columns = [
                ("COLLECTOR", Side::Left),
                ("LAST RUN", Side::Right),
                ("RESULT", Side::Left),
                ("WRITTEN", Side::Right),
                ("", Side::Left),
            ];
            let line = |run: &CollectorRun| {
                vec![
                    run.collector.clone(),
                    format!("{} ago", age(self.now - run.started_at)),
                    run.result.as_str().to_owned(),
                    count(run.written),
                    run.error.clone().unwrap_or_default(),
                ]
            };
            text = format!("{}\n", layout(&columns, self.runs.iter().map(line)));
        }
        if self.latest.is_empty() {
            return format!("{text}no metrics yet\n");
        }
        let columns = [
            ("SERVICE", Side::Left),
            ("METRIC", Side::Left),
            ("RESOURCE", Side::Left),
            ("VALUE", Side::Right),
            ("READ AS", Side::Left),
            ("AGE", Side::Right),
        ];
        let line = |latest: &Latest| {
            vec![
                latest.series.service.to_string(),
                latest.series.metric.to_string(),
                latest.series.resource.clone(),
                value(latest.point.value),
                latest.point.reading.to_string(),
                age(self.now - latest.point.at),
            ]
        };
        text + &layout(&columns, self.latest.iter().map(line))
    }

    fn json(&self) -> impl Serialize {
        let run = |run: &CollectorRun| RunJson {
            collector: run.collector.clone(),
            at: instant(run.started_at),
            result: run.result.as_str(),
            written: run.written,
            duration_ms: run.duration_ms,
            error: run.error.clone(),
        };
        let series = |latest: &Latest| SeriesJson {
            service: latest.series.service.to_string(),
            metric: latest.series.metric.to_string(),
            resource: latest.series.resource.clone(),
            value: latest.point.value,
            reading: latest.point.reading,
            at: instant(latest.point.at),
            age_seconds: (self.now - latest.point.at).num_seconds(),
        };
        StatusJson {
            collectors: self.runs.iter().map(run).collect(),
            series: self.latest.iter().map(series).collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = ["service", "metric", "resource", "value", "reading", "at"];
        let line = |latest: &Latest| {
            vec![
                latest.series.service.to_string(),
                latest.series.metric.to_string(),
                latest.series.resource.clone(),
                latest.point.value.to_string(),
                latest.point.reading.to_string(),
                instant(latest.point.at),
            ]
        };
        let header = header.map(str::to_owned).to_vec();
        std::iter::once(header)
            .chain(self.latest.iter().map(line))
            .collect()
    }
}
