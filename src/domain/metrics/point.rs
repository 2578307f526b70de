//! Measurements of infrastructure: one value of one metric at one instant.
//!
//! The application's table has no columns for the measured resource or the reading of a value; both are kept in
//! its `metadata`, which [`PointMetadata`] parses.

use std::fmt;

use chrono::{DateTime, NaiveTime, Utc};
use serde_json::{Map, Value};

use super::focus_bill::BillPart;
use super::names::{Metric, Service};
use crate::domain::named::{Named, name_key, named};
use crate::domain::{format, id};

/// Above any measurement. Sums of such numbers still fit a decimal.
pub const LARGEST: f64 = 1e24;

/// Whether a value may be a measurement: finite, and not larger than any.
pub fn is_measurable(value: f64) -> bool {
    value.abs() <= LARGEST
}

/// Whether a value is below zero where only a cost may be.
pub fn is_negative(metric: Metric, value: f64) -> bool {
    value < 0.0 && metric != Metric::CostUsd
}

named! {
    /// How to read a value.
    Reading, "reading" {
        /// The state at the time.
        Level = "level",
        /// The usage since the start of the period: a counter.
        Cumulative = "cumulative",
        /// The usage in a stretch of time that no other value covers.
        Amount = "amount",
    }
}

impl Reading {
    /// The reading of a value without one in its metadata.
    pub fn default_of(metric: Metric) -> Reading {
        match metric {
            Metric::StorageMb
            | Metric::StorageGb
            | Metric::Connections
            | Metric::LatencyMs
            | Metric::UsagePercent => Reading::Level,
            Metric::CommandsPerDay
            | Metric::BandwidthGb
            | Metric::Invocations
            | Metric::BuildMinutes
            | Metric::RequestCount
            | Metric::CostUsd => Reading::Cumulative,
        }
    }
}

/// The identity of a series of measurements.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series {
    pub service: Service,
    pub metric: Metric,
    /// The database, project or team; empty for the only one.
    pub resource: String,
}

impl Series {
    pub fn new(service: Service, metric: Metric, resource: impl Into<String>) -> Series {
        Series {
            service,
            metric,
            resource: resource.into(),
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.service, self.metric)?;
        match self.resource.as_str() {
            "" => Ok(()),
            resource => write!(f, " {resource}"),
        }
    }
}

/// A measurement to store.
#[derive(Clone, Debug, PartialEq)]
pub struct NewPoint {
    /// The id it came with, if any.
    pub id: Option<String>,
    pub series: Series,
    pub value: f64,
    pub at: DateTime<Utc>,
    pub metadata: Map<String, Value>,
}

impl NewPoint {
    pub fn new(series: Series, value: f64, at: DateTime<Utc>) -> NewPoint {
        let mut point = NewPoint {
            id: None,
            series,
            value,
            at,
            metadata: Map::new(),
        };
        if !point.series.resource.is_empty() {
            let resource = point.series.resource.clone();
            point = point.with("resource", resource);
        }
        point
    }

    /// Adds an entry to the metadata.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> NewPoint {
        self.metadata.insert(name.to_owned(), value.into());
        self
    }

    pub fn with_reading(self, reading: Reading) -> NewPoint {
        self.with("reading", reading.as_str())
    }

    /// Marks the value as the usage since `start`.
    pub fn with_period_start(self, start: DateTime<Utc>) -> NewPoint {
        self.with_reading(Reading::Cumulative)
            .with("period_start", format::time_ms(start))
    }

    /// The point as one of a database, project or team. A series that has a name within it keeps that.
    #[must_use]
    pub fn of_resource(mut self, resource: &str) -> NewPoint {
        if resource.is_empty() {
            return self;
        }
        let name = match self.series.resource.as_str() {
            "" => resource.to_owned(),
            own => format!("{resource}/{own}"),
        };
        // An own id does not depend on the series.
        let id = self.id.take();
        self.id = id.map(|id| id::derived(self.at, format!("{id}|{name}").as_bytes()).to_string());
        self.series.resource.clone_from(&name);
        self.with("resource", name)
    }

    /// The point as one of a meter that the application has no metric for, within its resource.
    #[must_use]
    pub fn of_meter(mut self, meter: &str) -> NewPoint {
        let resource = std::mem::replace(&mut self.series.resource, meter.to_owned());
        self.with("resource", meter).of_resource(&resource)
    }

    /// Its own id, or one derived from series and time, so that a value that is read twice is one row.
    pub fn id(&self) -> String {
        self.id.clone().unwrap_or_else(|| {
            let series = &self.series;
            let facts = format!("{}|{}|{}", series.service, series.metric, series.resource);
            id::derived(self.at, facts.as_bytes()).to_string()
        })
    }
}

/// Counts of saved points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Saved {
    pub inserted: u64,
    /// Stored before with another value or other metadata, and replaced.
    pub updated: u64,
    pub unchanged: u64,
}

/// The known entries of a row's metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PointMetadata {
    pub resource: String,
    pub reading: Option<Reading>,
    /// The start of the period that a cumulative value counts.
    pub period_start: Option<DateTime<Utc>>,
    pub source: Option<String>,
    /// The part of a bill that it is from.
    pub bill: Option<BillPart>,
    /// Hashes of its charges, equal for the same charges in another file.
    pub charges: Vec<String>,
}

impl PointMetadata {
    /// Parses metadata as stored; invalid entries are ignored.
    pub fn parse(metadata: Option<&str>) -> PointMetadata {
        let Some(Value::Object(entries)) =
            metadata.and_then(|text| serde_json::from_str(text).ok())
        else {
            return PointMetadata::default();
        };
        PointMetadata::of(&entries)
    }

    pub fn of(entries: &Map<String, Value>) -> PointMetadata {
        let text = |name: &str| entries.get(name).and_then(Value::as_str);
        let bill = || {
            Some(BillPart {
                provider: name_key(text("provider")?),
                account: text("account")?.to_owned(),
                billed_from: text("billed_from")?.parse().ok()?,
            })
        };
        let charges = entries.get("charges").and_then(Value::as_array);
        let charges = charges.into_iter().flatten().filter_map(Value::as_str);
        let start = |text| DateTime::parse_from_rfc3339(text).ok();
        PointMetadata {
            resource: text("resource").unwrap_or_default().to_owned(),
            reading: text("reading").and_then(Reading::named),
            period_start: text("period_start").and_then(start).map(|at| at.to_utc()),
            source: text("source").map(str::to_owned),
            bill: bill(),
            charges: charges.map(str::to_owned).collect(),
        }
    }
}

/// A stored measurement of a known series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub at: DateTime<Utc>,
    pub value: f64,
    pub reading: Reading,
    /// The start of the period it counts, if it is cumulative and the start is known.
    pub period_start: Option<DateTime<Utc>>,
}

impl Point {
    /// `None` if the value is not finite, or negative and not a cost: programs write -1 where a reading failed.
    pub fn from_row(
        metric: Metric,
        at: DateTime<Utc>,
        value: f64,
        metadata: &PointMetadata,
    ) -> Option<Point> {
        let is_valid = value.is_finite() && !is_negative(metric, value);
        let value = is_valid.then_some(value)?;
        let default = || Reading::default_of(metric);
        let reading = metadata.reading.unwrap_or_else(default);
        // The metric's name implies the period.
        let implied = || (metric == Metric::CommandsPerDay).then(|| midnight(at));
        let period_start = match reading {
            Reading::Cumulative => metadata.period_start.or_else(implied),
            Reading::Level | Reading::Amount => None,
        };
        Some(Point {
            at,
            value,
            reading,
            period_start,
        })
    }
}

/// The start of the UTC day that contains `at`.
pub fn midnight(at: DateTime<Utc>) -> DateTime<Utc> {
    at.date_naive().and_time(NaiveTime::MIN).and_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(resource: &str) -> Series {
        Series::new(Service::VercelKv, Metric::CommandsPerDay, resource)
    }

    #[test]
    fn same_series_and_time_have_the_same_id() {
        let at = DateTime::UNIX_EPOCH;
        let point = |resource, value| NewPoint::new(series(resource), value, at);
        assert_eq!(point("a", 1.0).id(), point("a", 2.0).id());
        assert_ne!(point("a", 1.0).id(), point("b", 1.0).id());
    }

    #[test]
    fn metadata_round_trips() {
        let at = DateTime::UNIX_EPOCH;
        let point = NewPoint::new(series("cache"), 1.0, at)
            .with_period_start(at)
            .with("source", "redis");
        let text = serde_json::to_string(&point.metadata).unwrap();
        let expected = PointMetadata {
            resource: "cache".to_owned(),
            reading: Some(Reading::Cumulative),
            period_start: Some(at),
            source: Some("redis".to_owned()),
            ..PointMetadata::default()
        };
        assert_eq!(PointMetadata::parse(Some(&text)), expected);
    }

    #[test]
    fn invalid_metadata_is_ignored() {
        let odd = r#"{"reading":7,"resource":[1],"period_start":"soon"}"#;
        let texts = ["", "[]", "null", "{", odd].map(Some);
        for text in texts.into_iter().chain([None]) {
            let parsed = PointMetadata::parse(text);
            assert_eq!(parsed, PointMetadata::default(), "{text:?}");
        }
    }

    #[test]
    fn value_that_is_not_finite_or_negative_is_no_point() {
        let of = |metric, value| {
            let metadata = PointMetadata::default();
            Point::from_row(metric, DateTime::UNIX_EPOCH, value, &metadata)
        };
        for value in [f64::NAN, f64::INFINITY, -0.5] {
            assert_eq!(of(Metric::StorageMb, value), None);
        }
        let credit = of(Metric::CostUsd, -0.5);
        assert_eq!(credit.map(|point| point.value), Some(-0.5));
    }
}
