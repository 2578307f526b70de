//! One number of a recommendation: how much, between what and what, of which unit, and from which inputs.
//!
//! What is not known has no value, and nothing is put in its place.

use std::fmt;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};

use crate::domain::metrics::names::Metric;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// US dollars.
    Usd,
    /// US dollars an hour.
    UsdPerHour,
    /// Percent.
    Percent,
    /// Days from the newest measurement.
    Days,
    /// Hours.
    Hours,
    /// Times the amount that is put in.
    Ratio,
    /// The unit of a metric.
    Of(Metric),
}

impl Unit {
    /// What stands behind the number; dollars stand before it and have none.
    pub fn suffix(self) -> &'static str {
        match self {
            Unit::Usd | Unit::Ratio => "",
            Unit::UsdPerHour => " an hour",
            Unit::Percent | Unit::Of(Metric::UsagePercent) => " %",
            Unit::Days => " days",
            Unit::Hours => " hours",
            Unit::Of(metric) => match metric {
                Metric::StorageMb => " MB",
                Metric::StorageGb | Metric::BandwidthGb => " GB",
                Metric::CommandsPerDay => " commands a day",
                Metric::Connections => " connections",
                Metric::LatencyMs => " ms",
                Metric::Invocations => " invocations",
                Metric::BuildMinutes => " build minutes",
                Metric::RequestCount => " requests",
                Metric::CostUsd | Metric::UsagePercent => "",
            },
        }
    }

    fn is_money(self) -> bool {
        matches!(
            self,
            Unit::Usd | Unit::UsdPerHour | Unit::Of(Metric::CostUsd)
        )
    }
}

/// Between what and what a figure lies in 80 of 100 cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// In one case of ten it is less.
    pub low: Decimal,
    /// In one case of ten it is more.
    pub high: Decimal,
}

/// A number, or that it is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// The middle of what it may be; none: unknown.
    pub value: Option<Decimal>,
    /// Where a forecast or a range of prices is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    pub unit: Unit,
    /// The names of the inputs it was made from, as in [`super::facts::Facts::inputs`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
}

impl Figure {
    /// A number without an interval.
    pub fn exact(value: Decimal, unit: Unit) -> Figure {
        Figure {
            value: Some(value),
            interval: None,
            unit,
            inputs: Vec::new(),
        }
    }

    /// A number and between what and what it lies.
    pub fn between(value: Decimal, low: Decimal, high: Decimal, unit: Unit) -> Figure {
        Figure {
            interval: (low != high).then_some(Interval { low, high }),
            ..Figure::exact(value, unit)
        }
    }

    /// Nobody knows.
    pub fn unknown(unit: Unit) -> Figure {
        Figure {
            value: None,
            interval: None,
            unit,
            inputs: Vec::new(),
        }
    }

    /// Names the inputs it was made from.
    pub fn from_inputs<S: Into<String>>(mut self, inputs: impl IntoIterator<Item = S>) -> Figure {
        self.inputs = inputs.into_iter().map(Into::into).collect();
        self
    }

    /// For the application's columns, which are floats: nothing where it is unknown.
    pub fn as_float(&self) -> Option<f64> {
        self.value.as_ref().and_then(Decimal::to_f64)
    }

    /// The number alone, with its unit and without its interval.
    pub fn short(&self) -> String {
        self.value
            .map_or_else(|| "unknown".to_owned(), |value| spell(value, self.unit))
    }
}

impl fmt::Display for Figure {
    /// `$31.00 (80 %: 22.00 to 58.00)`, or `unknown`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())?;
        if let Some(Interval { low, high }) = self.interval {
            let bare = |value| number(value, self.unit);
            write!(f, " (80 %: {} to {})", bare(low), bare(high))?;
        }
        Ok(())
    }
}

/// A number with its unit, as people write it.
pub fn spell(value: Decimal, unit: Unit) -> String {
    let text = number(value.abs(), unit);
    let sign = if value.is_sign_negative() && !value.is_zero() {
        "-"
    } else {
        ""
    };
    let dollar = if unit.is_money() { "$" } else { "" };
    format!("{sign}{dollar}{text}{}", unit.suffix())
}

/// The digits of a number, thousands set apart: money to the cent, the rest to about three digits that matter.
fn number(value: Decimal, unit: Unit) -> String {
    let is_small_change = !value.is_zero() && value.abs() < Decimal::new(1, 2);
    let digits = match unit {
        // What is less than a cent is not nothing.
        _ if unit.is_money() && is_small_change => 4,
        _ if unit.is_money() => 2,
        Unit::Days => 0,
        Unit::Percent => u32::from(value.abs() < Decimal::TEN),
        Unit::Ratio => 2,
        _ if value.abs() >= Decimal::ONE_HUNDRED => 0,
        _ => 1,
    };
    let rounded = value.round_dp(digits);
    let text = if unit.is_money() {
        format!("{rounded:.*}", digits as usize)
    } else {
        rounded.normalize().to_string()
    };
    thousands(&text)
}

fn thousands(text: &str) -> String {
    let (sign, digits) = text
        .strip_prefix('-')
        .map_or(("", text), |digits| ("-", digits));
    let (whole, part) = digits
        .split_once('.')
        .map_or((digits, None), |(whole, part)| (whole, Some(part)));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let part = part.map_or(String::new(), |part| format!(".{part}"));
    format!("{sign}{grouped}{part}")
}

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "provenance", rename_all = "snake_case")]
pub enum Provenance {
    /// Measured; the newest measurement is of this moment.
    Measured { at: DateTime<Utc> },
    /// From the catalogue of plans and prices.
    Catalogue {
        /// The page, or the name of the source.
        source: String,
        /// The date on that page, as precisely as it stands there.
        page_date: Option<String>,
        version: String,
    },
    /// Given by the user.
    User,
    /// Not known to anybody here.
    Unknown {
        /// What would make it known.
        cure: String,
    },
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Provenance::Measured { at } => {
                write!(f, "measured, {}", at.format("%Y-%m-%d %H:%M UTC"))
            }
            Provenance::Catalogue {
                source,
                page_date,
                version,
            } => {
                let date = page_date.as_deref().unwrap_or("undated");
                write!(f, "catalogue {version}: {source}, {date}")
            }
            Provenance::User => f.write_str("yours"),
            Provenance::Unknown { cure } => write!(f, "unknown; {cure}"),
        }
    }
}

/// Something a figure was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its name, by which figures refer to it.
    pub name: String,
    /// Its value, spelled for people; nothing where it is unknown.
    pub value: Option<String>,
    /// Where it comes from.
    #[serde(flatten)]
    pub provenance: Provenance,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn a_figure_reads_as_people_write_it() {
        let cost = Figure::between(
            decimal("31"),
            decimal("22.004"),
            decimal("1058.5"),
            Unit::Usd,
        );
        assert_eq!(cost.to_string(), "$31.00 (80 %: 22.00 to 1,058.50)");
        let saving = Figure::exact(decimal("-20"), Unit::Usd);
        assert_eq!(saving.to_string(), "-$20.00");
        assert_eq!(Figure::unknown(Unit::UsdPerHour).to_string(), "unknown");
        let small = Figure::exact(decimal("0.00228"), Unit::UsdPerHour);
        assert_eq!(small.to_string(), "$0.0023 an hour");
        assert_eq!(Figure::exact(Decimal::ZERO, Unit::Usd).to_string(), "$0.00");
        let storage = Unit::Of(Metric::StorageMb);
        assert_eq!(
            Figure::exact(decimal("228.39"), storage).to_string(),
            "228 MB"
        );
        assert_eq!(
            Figure::exact(decimal("7.25"), Unit::Percent).to_string(),
            "7.2 %"
        );
        assert_eq!(
            Figure::exact(decimal("89.21"), Unit::Percent).to_string(),
            "89 %"
        );
    }

    #[test]
    fn an_interval_without_width_is_none() {
        let fixed = Figure::between(decimal("20"), decimal("20.00"), decimal("20"), Unit::Usd);
        assert_eq!(fixed.to_string(), "$20.00");
    }

    #[test]
    fn a_figure_survives_being_stored() {
        let inputs = ["usage", "price of pro"];
        let figure = Figure::between(decimal("0.1"), decimal("0"), decimal("0.30"), Unit::Usd)
            .from_inputs(inputs);
        let json = serde_json::to_string(&figure).unwrap();
        assert_eq!(
            json,
            r#"{"value":"0.1","interval":{"low":"0","high":"0.30"},"unit":"usd","inputs":["usage","price of pro"]}"#
        );
        assert_eq!(serde_json::from_str::<Figure>(&json).unwrap(), figure);
        let unit = serde_json::to_string(&Unit::Of(Metric::StorageMb)).unwrap();
        assert_eq!(unit, r#"{"of":"STORAGE_MB"}"#);
    }
}
