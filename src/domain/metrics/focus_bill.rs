//! Bills in the FOCUS format (focus.finops.org): charges, added up to amounts for each day.
//!
//! Money is added in decimals. What a service's name stands for is a list of our own: a name that is not
//! in it is told, its cost is in the sum, and its amounts are kept in the sum's metadata.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{NaiveDate, NaiveTime};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::{Value, json};

use super::names::{Metric, Service};
use super::point::{NewPoint, Reading, Series};

/// One line of a bill.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    /// What was used, in the provider's words.
    pub service: String,
    /// On which UTC day.
    pub day: NaiveDate,
    /// What it costs, in US dollars. Credits are negative.
    pub billed: Decimal,
    /// How much of it was used, and in which unit.
    pub consumed: Option<(Decimal, String)>,
}

/// Charges, added up.
#[derive(Clone, Debug, Default)]
pub struct Bill {
    days: BTreeMap<NaiveDate, BTreeMap<String, Line>>,
    left_out: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
struct Line {
    billed: Decimal,
    consumed: BTreeMap<String, Decimal>,
}

/// Names of services as Vercel's bills have them, and what they are here.
const KNOWN: [(&str, Service, Metric); 6] = [
    (
        "Fast Data Transfer",
        Service::VercelBandwidth,
        Metric::BandwidthGb,
    ),
    (
        "Function Invocations",
        Service::VercelFunctions,
        Metric::Invocations,
    ),
    (
        "Edge Requests",
        Service::VercelEdgeRequests,
        Metric::RequestCount,
    ),
    ("ISR Reads", Service::VercelIsrReads, Metric::RequestCount),
    ("Build Minutes", Service::VercelBuild, Metric::BuildMinutes),
    (
        "Build CPU Minutes",
        Service::VercelBuild,
        Metric::BuildMinutes,
    ),
];

impl Bill {
    /// Adds a charge.
    pub fn add(&mut self, charge: &Charge) {
        let day = self.days.entry(charge.day).or_default();
        let line = day.entry(charge.service.clone()).or_default();
        // No bill reaches the end of 96 bits; if it did, the sum would stay below.
        line.billed = line.billed.saturating_add(charge.billed);
        if let Some((quantity, unit)) = &charge.consumed {
            let sum = line.consumed.entry(unit.clone()).or_default();
            *sum = sum.saturating_add(*quantity);
        }
        if meaning(charge).is_none() {
            self.left_out.insert(charge.service.clone());
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// The names that stand for nothing here, in order.
    pub fn left_out(&self) -> Vec<String> {
        self.left_out.iter().cloned().collect()
    }

    /// What was used and billed on each day.
    pub fn points(&self, source: &str, resource: &str) -> Vec<NewPoint> {
        let mut points = Vec::new();
        for (day, lines) in &self.days {
            let at = day.and_time(NaiveTime::MIN).and_utc();
            let point = |service, metric, value: Decimal| {
                let series = Series {
                    service,
                    metric,
                    resource: resource.to_owned(),
                };
                NewPoint::new(series, value.to_f64().unwrap_or(f64::NAN), at)
                    .with_reading(Reading::Amount)
                    .with("source", source)
                    .with("quality", "measured")
            };
            let mut amounts: BTreeMap<(Service, Metric), Decimal> = BTreeMap::new();
            let mut total = Decimal::ZERO;
            for (name, line) in lines {
                total = total.saturating_add(line.billed);
                for (unit, quantity) in &line.consumed {
                    if let Some((service, metric, factor)) = named(name, unit) {
                        let sum = amounts.entry((service, metric)).or_default();
                        *sum = sum.saturating_add(quantity.saturating_mul(factor));
                    }
                }
            }
            let of_day = amounts.iter();
            points.extend(of_day.map(|((service, metric), sum)| point(*service, *metric, *sum)));
            let cost = point(Service::VercelPlatform, Metric::CostUsd, total);
            points.push(cost.with("services", itemised(lines)));
        }
        points
    }
}

/// The lines of a day as they were billed, so that nothing is lost that has no place of its own.
fn itemised(lines: &BTreeMap<String, Line>) -> Value {
    let item = |(name, line): (&String, &Line)| {
        let text = |sum: &Decimal| sum.normalize().to_string();
        let consumed: BTreeMap<&String, String> = line
            .consumed
            .iter()
            .map(|(unit, sum)| (unit, text(sum)))
            .collect();
        let value = json!({ "billed_usd": text(&line.billed), "consumed": consumed });
        (name.clone(), value)
    };
    lines
        .iter()
        .map(item)
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// What a charge stands for. Some of what is billed is not used up, such as seats: that is known as well.
fn meaning(charge: &Charge) -> Option<()> {
    match &charge.consumed {
        Some((_, unit)) => named(&charge.service, unit).map(|_| ()),
        None => Some(()),
    }
}

fn named(name: &str, unit: &str) -> Option<(Service, Metric, Decimal)> {
    let known = KNOWN
        .iter()
        .find(|(known, _, _)| known.eq_ignore_ascii_case(name.trim()));
    let (_, service, metric) = *known?;
    Some((service, metric, factor(metric, unit)?))
}

/// How many of the metric's unit one of `unit` is.
fn factor(metric: Metric, unit: &str) -> Option<Decimal> {
    let unit = unit.trim().to_ascii_lowercase();
    let (number, scale) = match (metric, unit.as_str()) {
        (Metric::BandwidthGb, "gb" | "gigabyte" | "gigabytes") => (1, 0),
        (Metric::BandwidthGb, "tb" | "terabyte" | "terabytes") => (1_000, 0),
        (Metric::BandwidthGb, "mb" | "megabyte" | "megabytes") => (1, 3),
        (Metric::BandwidthGb, "kb" | "kilobytes") => (1, 6),
        (Metric::BandwidthGb, "b" | "byte" | "bytes") => (1, 9),
        (Metric::BandwidthGb, "gib") => (1_073_741_824, 9),
        (Metric::BuildMinutes, "minute" | "minutes" | "min") => (1, 0),
        (Metric::BuildMinutes, "hour" | "hours") => (60, 0),
        (Metric::Invocations | Metric::RequestCount, "invocations" | "requests" | "reads") => {
            (1, 0)
        }
        (Metric::Invocations | Metric::RequestCount, "units" | "unit" | "count" | "each") => (1, 0),
        _ => return None,
    };
    Some(Decimal::new(number, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(service: &str, day: u32, billed: &str, consumed: Option<(&str, &str)>) -> Charge {
        Charge {
            service: service.to_owned(),
            day: NaiveDate::from_ymd_opt(2026, 1, day).unwrap(),
            billed: billed.parse().unwrap(),
            consumed: consumed.map(|(quantity, unit)| (quantity.parse().unwrap(), unit.to_owned())),
        }
    }

    fn bill(charges: &[Charge]) -> Bill {
        let mut bill = Bill::default();
        charges.iter().for_each(|charge| bill.add(charge));
        bill
    }

    fn points(bill: &Bill) -> Vec<(String, f64)> {
        let shown = |point: NewPoint| {
            (
                format!("{} {}", point.at.date_naive(), point.series),
                point.value,
            )
        };
        bill.points("vercel", "").into_iter().map(shown).collect()
    }

    #[test]
    fn charges_of_a_day_are_added_up_and_credits_taken_off() {
        let bill = bill(&[
            charge("Fast Data Transfer", 5, "0.10", Some(("1.5", "GB"))),
            charge("Fast Data Transfer", 5, "0.20", Some(("500", "MB"))),
            charge("Function Invocations", 5, "0", Some(("12", "Invocations"))),
            charge("Credit", 5, "-0.25", None),
            charge("Fast Data Transfer", 6, "1", Some(("2", "GB"))),
        ]);
        let expected = [
            ("2026-01-05 VERCEL_FUNCTIONS INVOCATIONS", 12.0),
            ("2026-01-05 VERCEL_BANDWIDTH BANDWIDTH_GB", 2.0),
            ("2026-01-05 VERCEL_PLATFORM COST_USD", 0.05),
            ("2026-01-06 VERCEL_BANDWIDTH BANDWIDTH_GB", 2.0),
            ("2026-01-06 VERCEL_PLATFORM COST_USD", 1.0),
        ];
        assert_eq!(
            points(&bill),
            expected.map(|(name, value)| (name.to_owned(), value))
        );
        assert_eq!(bill.left_out(), [""; 0]);
    }

    #[test]
    fn a_name_or_a_unit_that_nobody_knows_is_told_and_not_lost() {
        let bill = bill(&[
            charge("Warp Drive", 5, "7", Some(("3", "Parsecs"))),
            charge("Edge Requests", 5, "1", Some(("3", "Bushels"))),
        ]);
        assert_eq!(bill.left_out(), ["Edge Requests", "Warp Drive"]);
        assert_eq!(
            points(&bill),
            [("2026-01-05 VERCEL_PLATFORM COST_USD".to_owned(), 8.0)]
        );
        let kept = &bill.points("vercel", "")[0].metadata["services"]["Warp Drive"];
        assert_eq!(
            *kept,
            json!({ "billed_usd": "7", "consumed": { "Parsecs": "3" } })
        );
    }
}
