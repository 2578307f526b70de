//! Bills in the FOCUS format (focus.finops.org): charges, summed to amounts for each day.
//!
//! Money is added in decimals. A table maps the bill's service names to metrics. The cost of a service that is
//! not in it counts in the sum, and its quantities are kept in the sum's metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{NaiveDate, NaiveTime};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Serialize;
use serde_json::{Value, json};

use super::names::{Metric, Service};
use super::point::{NewPoint, Reading, Series};

/// One line of a bill.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    /// The provider's name of the service.
    pub service: String,
    pub day: NaiveDate,
    /// In US dollars; credits are negative.
    pub billed: Decimal,
    /// Quantity and unit.
    pub consumed: Option<(Decimal, String)>,
}

/// A service on a bill that no metric stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UnknownService(pub String);

impl fmt::Display for UnknownService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnknownService(name) = self;
        write!(
            f,
            "unknown service `{name}` on the bill: its cost is in COST_USD, its quantity only in the metadata"
        )
    }
}

/// Charges, summed by day and service.
#[derive(Clone, Debug, Default)]
pub struct Bill {
    days: BTreeMap<NaiveDate, BTreeMap<String, Line>>,
    unknown: BTreeSet<UnknownService>,
}

#[derive(Clone, Debug, Default)]
struct Line {
    billed: Decimal,
    consumed: BTreeMap<String, Decimal>,
}

/// Vercel's names of services, and their metrics.
const SERVICES: [(&str, Service, Metric); 6] = {
    use Metric::{BandwidthGb, BuildMinutes, Invocations, RequestCount};
    use Service::*;
    [
        ("Fast Data Transfer", VercelBandwidth, BandwidthGb),
        ("Function Invocations", VercelFunctions, Invocations),
        ("Edge Requests", VercelEdgeRequests, RequestCount),
        ("ISR Reads", VercelIsrReads, RequestCount),
        ("Build Minutes", VercelBuild, BuildMinutes),
        ("Build CPU Minutes", VercelBuild, BuildMinutes),
    ]
};

impl Bill {
    pub fn add(&mut self, charge: &Charge) {
        let day = self.days.entry(charge.day).or_default();
        let line = day.entry(charge.service.clone()).or_default();
        // Saturates at 96 bits, which no bill reaches.
        line.billed = line.billed.saturating_add(charge.billed);
        if let Some((quantity, unit)) = &charge.consumed {
            let sum = line.consumed.entry(unit.clone()).or_default();
            *sum = sum.saturating_add(*quantity);
        }
        // A charge without a quantity, such as for seats, needs no metric.
        let is_known = match &charge.consumed {
            Some((_, unit)) => meter(&charge.service, unit).is_some(),
            None => true,
        };
        if !is_known {
            self.unknown.insert(UnknownService(charge.service.clone()));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// In the order of their names.
    pub fn unknown_services(&self) -> Vec<UnknownService> {
        self.unknown.iter().cloned().collect()
    }

    /// The amounts and the cost of each day.
    pub fn points(&self, source: &str, resource: &str) -> Vec<NewPoint> {
        let mut points = Vec::new();
        for (day, lines) in &self.days {
            let at = day.and_time(NaiveTime::MIN).and_utc();
            let point = |service, metric, value: Decimal| {
                let series = Series::new(service, metric, resource);
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
                    if let Some((service, metric, factor)) = meter(name, unit) {
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

/// The lines of a day as billed, to keep quantities that have no metric.
fn itemised(lines: &BTreeMap<String, Line>) -> Value {
    let item = |(name, line): (&String, &Line)| {
        let text = |sum: &Decimal| sum.normalize().to_string();
        let consumed = line.consumed.iter().map(|(unit, sum)| (unit, text(sum)));
        let consumed: BTreeMap<&String, String> = consumed.collect();
        let value = json!({ "billed_usd": text(&line.billed), "consumed": consumed });
        (name.clone(), value)
    };
    Value::Object(lines.iter().map(item).collect())
}

/// The metric of a service, and the factor from `unit` to the metric's unit.
fn meter(name: &str, unit: &str) -> Option<(Service, Metric, Decimal)> {
    let is_same = |(known, _, _): &&(&str, _, _)| known.eq_ignore_ascii_case(name.trim());
    let (_, service, metric) = *SERVICES.iter().find(is_same)?;
    Some((service, metric, factor(metric, unit)?))
}

/// The factor from `unit` to the metric's unit.
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
        let points = bill.points("vercel", "").into_iter();
        let name = |point: &NewPoint| format!("{} {}", point.at.date_naive(), point.series);
        points.map(|point| (name(&point), point.value)).collect()
    }

    #[test]
    fn charges_of_a_day_are_summed_and_credits_deducted() {
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
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(points(&bill), expected);
        assert_eq!(bill.unknown_services(), []);
    }

    #[test]
    fn unknown_service_or_unit_is_reported_and_kept() {
        let bill = bill(&[
            charge("Warp Drive", 5, "7", Some(("3", "Parsecs"))),
            charge("Edge Requests", 5, "1", Some(("3", "Bushels"))),
        ]);
        let unknown = ["Edge Requests", "Warp Drive"];
        let unknown = unknown.map(|name| UnknownService(name.to_owned()));
        assert_eq!(bill.unknown_services(), unknown);
        let cost = "2026-01-05 VERCEL_PLATFORM COST_USD".to_owned();
        assert_eq!(points(&bill), [(cost, 8.0)]);
        let kept = &bill.points("vercel", "")[0].metadata["services"]["Warp Drive"];
        let expected = json!({ "billed_usd": "7", "consumed": { "Parsecs": "3" } });
        assert_eq!(*kept, expected);
    }
}
