//! One number of a recommendation: its value, interval, unit and inputs. An unknown value stays unknown.

use std::fmt;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};

use crate::domain::format;
use crate::domain::metrics::names::Metric;
use crate::domain::named::named;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// US dollars.
    Usd,
    /// US dollars an hour.
    UsdPerHour,
    Percent,
    /// Days from now.
    Days,
    Hours,
    /// A multiple of the extra cost.
    Ratio,
    /// The unit of a metric, written as its name.
    #[serde(untagged)]
    Of(Metric),
}

impl Unit {
    /// The word after a number, for one and for many; empty where the number itself shows the unit.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Unit::Usd | Unit::Ratio | Unit::Percent => ("", ""),
            Unit::UsdPerHour => (" an hour", " an hour"),
            Unit::Days => (" day", " days"),
            Unit::Hours => (" hour", " hours"),
            Unit::Of(metric) => match metric {
                Metric::StorageMb => (" MB", " MB"),
                Metric::StorageGb | Metric::BandwidthGb => (" GB", " GB"),
                Metric::CommandsPerDay => (" command a day", " commands a day"),
                Metric::Connections => (" connection", " connections"),
                Metric::LatencyMs => (" ms", " ms"),
                Metric::Invocations => (" invocation", " invocations"),
                Metric::BuildMinutes => (" build minute", " build minutes"),
                Metric::RequestCount => (" request", " requests"),
                Metric::CostUsd | Metric::UsagePercent => ("", ""),
            },
        }
    }
}

/// The range that holds 80 % of the simulated cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// The 10th percentile.
    pub low: Decimal,
    /// The 90th percentile; none beyond the forecast.
    pub high: Option<Decimal>,
}

/// A number that may be unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// The median; none if unknown.
    pub value: Option<Decimal>,
    /// Present where a forecast or a range of prices went into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    pub unit: Unit,
    /// Whether something that is not measured comes on top.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
    /// Whether the cost of something that is not measured comes off it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_most: bool,
    /// Names of the inputs it was computed from, as in [`super::facts::Facts::inputs`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
}

impl Figure {
    /// A number without an interval; unknown without a value.
    pub fn new(value: Option<Decimal>, unit: Unit) -> Figure {
        Figure {
            value,
            interval: None,
            unit,
            at_least: false,
            at_most: false,
            inputs: Vec::new(),
        }
    }

    pub fn exact(value: Decimal, unit: Unit) -> Figure {
        Figure::new(Some(value), unit)
    }

    /// A number with its interval, whose end may be unknown.
    pub fn between(
        value: Decimal,
        low: Decimal,
        high: impl Into<Option<Decimal>>,
        unit: Unit,
    ) -> Figure {
        let high = high.into();
        Figure {
            interval: (Some(low) != high).then_some(Interval { low, high }),
            ..Figure::exact(value, unit)
        }
    }

    pub fn unknown(unit: Unit) -> Figure {
        Figure::new(None, unit)
    }

    /// Turns a known number into a lower bound: the low end of its interval.
    #[must_use]
    pub fn at_least(mut self, at_least: bool) -> Figure {
        if at_least && self.value.is_some() {
            self.keep_end(|it| Some(it.low));
            self.at_least = true;
        }
        self
    }

    /// Turns a known number into an upper bound: the high end of its interval.
    #[must_use]
    pub fn at_most(mut self, at_most: bool) -> Figure {
        if at_most && self.value.is_some() {
            self.keep_end(|it| it.high);
            self.at_most = true;
        }
        self
    }

    fn keep_end(&mut self, end: impl Fn(Interval) -> Option<Decimal>) {
        let interval = self.interval.take();
        self.value = interval.and_then(end).or(self.value);
    }

    /// The value, unless it is a bound.
    pub fn exact_value(&self) -> Option<Decimal> {
        self.value.filter(|_| !self.at_least && !self.at_most)
    }

    /// `at least`, `at most`, or nothing.
    pub fn bound(&self) -> &'static str {
        match (self.at_least, self.at_most) {
            (true, _) => "at least",
            (_, true) => "at most",
            _ => "",
        }
    }

    /// Names the inputs it was computed from.
    pub fn from_inputs<S: Into<String>>(mut self, inputs: impl IntoIterator<Item = S>) -> Figure {
        self.inputs = inputs.into_iter().map(Into::into).collect();
        self
    }

    pub fn as_float(&self) -> Option<f64> {
        self.value.as_ref().and_then(Decimal::to_f64)
    }

    /// For the application's columns, which are floats and have no place for a bound.
    pub fn exact_float(&self) -> Option<f64> {
        self.exact_value()?.to_f64()
    }

    /// The number with its unit and without its interval.
    pub fn short(&self) -> String {
        let text = |value| match (self.bound(), with_unit(value, self.unit)) {
            ("", number) => number,
            (bound, number) => format!("{bound} {number}"),
        };
        self.value.map_or_else(|| "unknown".to_owned(), text)
    }

    /// ` (80%: 22 to 58)`, or nothing.
    pub fn interval_text(&self) -> String {
        let bare = |value| number(value, self.unit);
        let range = self
            .interval
            .and_then(|it| format::range(bare(it.low), it.high.map(bare)));
        range.map_or_else(String::new, |range| format!(" (80%: {range})"))
    }

    /// The same amount with the opposite sign.
    pub fn negated(&self) -> Figure {
        let opposite = |it: Interval| {
            Some(Interval {
                low: -it.high?,
                high: Some(-it.low),
            })
        };
        Figure {
            value: self.value.map(|value| -value),
            interval: self.interval.and_then(opposite),
            at_least: self.at_most,
            at_most: self.at_least,
            ..self.clone()
        }
    }
}

impl fmt::Display for Figure {
    /// `$31.00 (80%: $22.00 to $58.00)`, or `unknown`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.short(), self.interval_text())
    }
}

/// A number with its unit: `228.4 MB`, `1 day`, `$0.34`.
pub fn with_unit(value: Decimal, unit: Unit) -> String {
    let number = number(value, unit);
    let (one, many) = unit.words();
    let words = if number == "1" { one } else { many };
    format!("{number}{words}")
}

fn number(value: Decimal, unit: Unit) -> String {
    let float = |value: Decimal| value.to_f64().unwrap_or(f64::NAN);
    match unit {
        Unit::Usd | Unit::UsdPerHour | Unit::Of(Metric::CostUsd) => format::usd(value),
        Unit::Percent | Unit::Of(Metric::UsagePercent) => format::percent(float(value)),
        Unit::Days => format::number(float(value.round())),
        Unit::Hours | Unit::Ratio | Unit::Of(_) => format::number(float(value)),
    }
}

named! {
    /// What would make an unknown input known.
    Needed, "need" {
        /// A measurement of the metric.
        Measurement = "measurement",
        /// The plan in use, with its prices.
        Plan = "plan",
        /// A price that the provider does not publish.
        Price = "price",
        /// A business input of the user.
        Input = "input",
    }
}

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "provenance", rename_all = "snake_case")]
pub enum Provenance {
    /// Measured; `at` is the newest measurement.
    Measured {
        #[serde(serialize_with = "format::serialize_time")]
        at: DateTime<Utc>,
    },
    /// From the catalogue of plans and prices.
    Catalogue {
        /// The page, or the name of the source.
        source: Option<String>,
        /// The date on that page, as precisely as it is given there.
        page_date: Option<String>,
        version: Option<String>,
    },
    /// Set by the user.
    User,
    Unknown {
        needs: Needed,
    },
}

/// Something a figure was computed from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The name that figures refer to.
    pub name: String,
    /// The formatted value; none if unknown.
    pub value: Option<String>,
    #[serde(flatten)]
    pub provenance: Provenance,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::decimal;

    #[test]
    fn figure_prints_unit_and_interval() {
        let [value, low, high] = ["31", "22.004", "1058.5"].map(decimal);
        let cost = Figure::between(value, low, high, Unit::Usd);
        assert_eq!(cost.to_string(), "$31.00 (80%: $22.00 to $1,058.50)");
        let saving = cost.negated().to_string();
        assert_eq!(saving, "-$31.00 (80%: -$1,058.50 to -$22.00)");
        let open = Figure::between(decimal("16"), decimal("12"), None, Unit::Days);
        assert_eq!(open.to_string(), "16 days (80%: from 12)");
        assert_eq!(Figure::unknown(Unit::UsdPerHour).to_string(), "unknown");
        let [low, high] = ["20", "20.00"].map(decimal);
        let fixed = Figure::between(low, low, high, Unit::Usd);
        assert_eq!(fixed.to_string(), "$20.00");
        let cases = [
            ("0", Unit::Usd, "$0.00"),
            ("0.00228", Unit::UsdPerHour, "$0.0023 an hour"),
            ("228.39", Unit::Of(Metric::StorageMb), "228.39 MB"),
            ("89.21", Unit::Percent, "89.2%"),
            ("1.4", Unit::Days, "1 day"),
            ("19", Unit::Days, "19 days"),
            ("1", Unit::Of(Metric::Connections), "1 connection"),
            ("200.5", Unit::Hours, "200.5 hours"),
        ];
        for (value, unit, expected) in cases {
            assert_eq!(Figure::exact(decimal(value), unit).to_string(), expected);
        }
    }

    #[test]
    fn bound_is_no_exact_number() {
        let least = Figure::exact(decimal("20"), Unit::Usd).at_least(true);
        assert_eq!(
            (least.short(), least.exact_float()),
            ("at least $20.00".to_owned(), None)
        );
        assert_eq!(least.negated().short(), "at most -$20.00");
        let most = Figure::exact(decimal("10.11"), Unit::Ratio).at_most(true);
        assert_eq!(
            (most.short(), most.exact_float()),
            ("at most 10.11".to_owned(), None)
        );
        assert_eq!(Figure::unknown(Unit::Usd).at_most(true).short(), "unknown");
        assert_eq!(
            Figure::exact(decimal("2"), Unit::Usd).exact_float(),
            Some(2.0)
        );
    }

    #[test]
    fn figure_round_trips_through_json() {
        let inputs = ["usage", "price of pro"];
        let figure = Figure::between(decimal("0.1"), decimal("0"), decimal("0.30"), Unit::Usd)
            .from_inputs(inputs);
        let json = serde_json::to_string(&figure).unwrap();
        let expected = r#"{"value":"0.1","interval":{"low":"0","high":"0.30"},"unit":"usd","inputs":["usage","price of pro"]}"#;
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<Figure>(&json).unwrap(), figure);
        let unit = Unit::Of(Metric::StorageMb);
        let json = serde_json::to_string(&unit).unwrap();
        assert_eq!(json, r#""STORAGE_MB""#);
        assert_eq!(serde_json::from_str::<Unit>(&json).unwrap(), unit);
    }
}
