//! Measurements of infrastructure: one value of one metric at one moment.
//!
//! The application's table has no column for which database or project was measured, nor for how a
//! value is to be read; both stand in its `metadata`, where [`PointMetadata`] finds them again.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Map, Value};

use super::names::{Metric, Service};
use crate::domain::id;
use crate::domain::named::{Named, UnknownName};

/// How a value is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reading {
    /// What there is at this moment.
    Level,
    /// What was used since the period began: a counter.
    Cumulative,
    /// What was used in a stretch of time that no other value speaks of.
    Amount,
}

impl Reading {
    /// The reading of a value that does not say its own.
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

    /// As the metadata says it.
    pub fn word(self) -> &'static str {
        match self {
            Reading::Level => "level",
            Reading::Cumulative => "cumulative",
            Reading::Amount => "amount",
        }
    }
}

impl Named for Reading {
    const SET: &'static str = "reading";
    const ALL: &'static [Reading] = &[Reading::Level, Reading::Cumulative, Reading::Amount];

    fn as_str(self) -> &'static str {
        match self {
            Reading::Level => "LEVEL",
            Reading::Cumulative => "CUMULATIVE",
            Reading::Amount => "AMOUNT",
        }
    }
}

impl FromStr for Reading {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Reading, UnknownName> {
        Reading::named(name).ok_or_else(|| UnknownName {
            name: name.to_owned(),
            set: Self::SET,
            known: "level, cumulative, amount".to_owned(),
        })
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl Serialize for Reading {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// A series of measurements.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series {
    pub service: Service,
    pub metric: Metric,
    /// Which database, project or team; empty where the series has no name of its own.
    pub resource: String,
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

/// A measurement that is to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewPoint {
    /// Its own id, where it has one.
    pub id: Option<String>,
    pub series: Series,
    pub value: f64,
    pub at: DateTime<Utc>,
    /// What else is known about it.
    pub metadata: Map<String, Value>,
}

impl NewPoint {
    /// A measurement of which nothing else is known.
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

    /// Says something about it.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> NewPoint {
        self.metadata.insert(name.to_owned(), value.into());
        self
    }

    /// Says how the value is to be read.
    pub fn with_reading(self, reading: Reading) -> NewPoint {
        self.with("reading", reading.word())
    }

    /// Says that it counts what was used since `start`.
    pub fn with_period_start(self, start: DateTime<Utc>) -> NewPoint {
        let start = start.to_rfc3339_opts(SecondsFormat::Millis, true);
        self.with_reading(Reading::Cumulative)
            .with("period_start", start)
    }

    /// Its own id, or the one that the same moment of the same series always gets: so what is read twice
    /// is one row.
    pub fn id(&self) -> String {
        let Series {
            service,
            metric,
            resource,
        } = &self.series;
        self.id.clone().unwrap_or_else(|| {
            let facts = format!("{service}|{metric}|{resource}");
            id::derived(self.at, facts.as_bytes()).to_string()
        })
    }
}

/// What became of points that were to be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    pub inserted: u64,
    /// There with another value or other metadata, and replaced.
    pub updated: u64,
    pub unchanged: u64,
}

/// What a row's metadata says about how it is to be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PointMetadata {
    /// Which database, project or team.
    pub resource: String,
    /// How the value is to be read, where it says so.
    pub reading: Option<Reading>,
    /// Since when a cumulative value counts, where it says so.
    pub period_start: Option<DateTime<Utc>>,
    /// Where the value comes from, where it says so.
    pub source: Option<String>,
}

impl PointMetadata {
    /// Reads metadata as it is found. What makes no sense there says nothing.
    pub fn parse(metadata: Option<&str>) -> PointMetadata {
        let Some(Value::Object(said)) = metadata.and_then(|text| serde_json::from_str(text).ok())
        else {
            return PointMetadata::default();
        };
        let text = |name: &str| said.get(name).and_then(Value::as_str);
        let start = |text| DateTime::parse_from_rfc3339(text).ok();
        PointMetadata {
            resource: text("resource").unwrap_or_default().to_owned(),
            reading: text("reading").and_then(Reading::named),
            period_start: text("period_start").and_then(start).map(|at| at.to_utc()),
            source: text("source").map(str::to_owned),
        }
    }
}

/// A measurement as it is read back: of a series that is known from elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub at: DateTime<Utc>,
    pub value: f64,
    /// How it is to be read.
    pub reading: Reading,
    /// Since when it counts, if it is cumulative and that is known.
    pub period_start: Option<DateTime<Utc>>,
}

impl Point {
    /// Reads a row. None if its value is no number.
    pub fn from_row(
        metric: Metric,
        at: DateTime<Utc>,
        value: f64,
        provenance: &PointMetadata,
    ) -> Option<Point> {
        let value = Some(value).filter(|value| value.is_finite())?;
        let reading = provenance
            .reading
            .unwrap_or_else(|| Reading::default_of(metric));
        // Its name says which period it counts in.
        let of_name = || (metric == Metric::CommandsPerDay).then(|| midnight(at));
        let period_start = match reading {
            Reading::Cumulative => provenance.period_start.or_else(of_name),
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

/// The beginning of the UTC day that holds `at`.
pub fn midnight(at: DateTime<Utc>) -> DateTime<Utc> {
    at.date_naive().and_time(NaiveTime::MIN).and_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(resource: &str) -> Series {
        Series {
            service: Service::VercelKv,
            metric: Metric::CommandsPerDay,
            resource: resource.to_owned(),
        }
    }

    #[test]
    fn the_same_moment_of_the_same_series_is_the_same_row() {
        let at = DateTime::UNIX_EPOCH;
        let point = |resource, value| NewPoint::new(series(resource), value, at);
        assert_eq!(point("a", 1.0).id(), point("a", 2.0).id());
        assert_ne!(point("a", 1.0).id(), point("b", 1.0).id());
    }

    #[test]
    fn what_a_point_says_about_itself_is_found_again() {
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
        };
        assert_eq!(PointMetadata::parse(Some(&text)), expected);
    }

    #[test]
    fn metadata_that_makes_no_sense_says_nothing() {
        for text in [
            "",
            "[]",
            "null",
            "{",
            r#"{"reading":7,"resource":[1],"period_start":"soon"}"#,
        ] {
            assert_eq!(
                PointMetadata::parse(Some(text)),
                PointMetadata::default(),
                "{text}"
            );
        }
        assert_eq!(PointMetadata::parse(None), PointMetadata::default());
    }

    #[test]
    fn a_value_that_is_no_number_is_no_point() {
        let of = |value| {
            let provenance = PointMetadata::default();
            Point::from_row(Metric::StorageMb, DateTime::UNIX_EPOCH, value, &provenance)
        };
        for value in [f64::NAN, f64::INFINITY] {
            assert_eq!(of(value), None);
        }
        assert_eq!(of(-0.5).map(|point| point.value), Some(-0.5));
    }
}
