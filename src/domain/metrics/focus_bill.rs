//! Bills in the FOCUS format (focus.finops.org), 1.0 and later: charges, summed to amounts for each day.
//!
//! Money is added in decimals. A charge for several days is spread over them. The amounts of one account, service and
//! region in one file are one point a day, so that several files of a bill add up and a file that is imported again
//! replaces its points. A table maps service names to metrics; other quantities are kept in the metadata.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Serialize;

use super::names::{Metric, Service};
use super::point::{NewPoint, Reading, Series};
use crate::domain::id;
use crate::domain::plans::meter::{VendorMeter, factor};

/// One line of a bill.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    pub owner: Owner,
    pub from: DateTime<Utc>,
    /// Exclusive; where the line has none, the charge is of one day.
    pub to: Option<DateTime<Utc>>,
    /// The invoiced cost in US dollars; credits are negative.
    pub billed: Decimal,
    /// The cost with discounts and prepaid amounts spread; as billed, where the line has none.
    pub effective: Option<Decimal>,
    /// Quantity and unit.
    pub consumed: Option<(Decimal, String)>,
}

/// What a charge is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    pub provider: String,
    /// The accounts and the project.
    pub account: String,
    /// The provider's name of the service.
    pub service: String,
    pub region: String,
}

/// A quantity on a bill that no metric stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[error(
    "unknown service or unit `{0}` on the bill: its cost is in COST_USD, its quantity only in the metadata"
)]
pub struct UnknownService(pub String);

/// The cost that COST_USD holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CostKind {
    #[default]
    Billed,
    Effective,
}

/// Charges, summed by day and owner.
#[derive(Clone, Debug, Default)]
pub struct Bill {
    /// Meters that the plan in use limits and no metric measures.
    meters: Vec<VendorMeter>,
    lines: BTreeMap<(NaiveDate, Owner), Line>,
    unknown: BTreeSet<UnknownService>,
}

#[derive(Clone, Debug, Default)]
struct Line {
    billed: Decimal,
    effective: Decimal,
    consumed: BTreeMap<String, Decimal>,
}

/// The provider whose services have metrics; other providers are resources of its platform.
const VERCEL: &str = "vercel";

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
    pub fn new(meters: Vec<VendorMeter>) -> Bill {
        Bill {
            meters,
            ..Bill::default()
        }
    }

    pub fn add(&mut self, charge: &Charge) {
        let shares = days(charge.from, charge.to);
        let split = |amount: Decimal| split(amount, &shares);
        let effective = charge.effective.unwrap_or(charge.billed);
        let quantity = charge.consumed.as_ref();
        let quantity = quantity.map(|(quantity, _)| split(*quantity));
        let amounts = split(charge.billed).into_iter().zip(split(effective));
        for (index, ((day, _), (billed, effective))) in shares.iter().zip(amounts).enumerate() {
            let key = (*day, charge.owner.clone());
            let line = self.lines.entry(key).or_default();
            // Saturates at 96 bits, which no bill reaches.
            line.billed = line.billed.saturating_add(billed);
            line.effective = line.effective.saturating_add(effective);
            if let (Some((_, unit)), Some(parts)) = (&charge.consumed, &quantity) {
                let sum = line.consumed.entry(unit.clone()).or_default();
                *sum = sum.saturating_add(parts[index]);
            }
        }
        // A charge without a quantity, such as for seats, needs no metric, and other providers have none.
        let service = &charge.owner.service;
        if let Some((_, unit)) = &charge.consumed
            && is_vercel(&charge.owner.provider)
            && meter(service, unit).is_none()
            && self.percent(service, unit, Decimal::ONE).is_none()
        {
            let name = format!("{service} ({unit})");
            self.unknown.insert(UnknownService(name));
        }
    }

    /// The meter of a service, and the percentage of it that a quantity is.
    fn percent(
        &self,
        service: &str,
        unit: &str,
        quantity: Decimal,
    ) -> Option<(&VendorMeter, Decimal)> {
        let mut meters = self.meters.iter().filter(|it| it.has_name(service));
        meters.find_map(|it| Some((it, it.percent(quantity, unit)?)))
    }

    /// The metrics that it may have points of.
    pub fn metrics(&self) -> BTreeSet<(Service, Metric)> {
        let cost = (Service::VercelPlatform, Metric::CostUsd);
        let metered = SERVICES.map(|(_, service, metric)| (service, metric));
        let meters = self.meters.iter();
        let percents = meters.map(|meter| (meter.service, Metric::UsagePercent));
        metered.into_iter().chain([cost]).chain(percents).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// In the order of their names.
    pub fn unknown_services(&self) -> Vec<UnknownService> {
        self.unknown.iter().cloned().collect()
    }

    /// The sums as billed and as effective.
    pub fn totals(&self) -> (Decimal, Decimal) {
        let lines = self.lines.values();
        (
            lines.clone().map(|line| line.billed).sum(),
            lines.map(|line| line.effective).sum(),
        )
    }

    /// The amounts and the cost of each day and owner. `source` is the file or the collector.
    pub fn points(&self, source: &str, resource: &str, cost: CostKind) -> Vec<NewPoint> {
        let mut points = Vec::new();
        for ((day, owner), line) in &self.lines {
            let at = day.and_time(NaiveTime::MIN).and_utc();
            let resource = match (resource, is_vercel(&owner.provider)) {
                ("", true) => "",
                ("", false) => owner.provider.as_str(),
                (resource, _) => resource,
            };
            let point = |service, metric, value: Decimal| {
                let series = Series::new(service, metric, resource);
                let Owner {
                    provider,
                    account,
                    service,
                    region,
                } = owner;
                let facts = format!("{series}|{provider}|{account}|{service}|{region}|{source}");
                let value = value.to_f64().unwrap_or(f64::NAN);
                let mut point = NewPoint::new(series, value, at)
                    .with_reading(Reading::Amount)
                    .with("source", source)
                    .with("quality", "measured")
                    .with("service_name", service.as_str());
                point.id = Some(id::derived(at, facts.as_bytes()).to_string());
                point
            };
            let mut amounts: BTreeMap<(Service, Metric), Decimal> = BTreeMap::new();
            for (unit, quantity) in &line.consumed {
                if let (Some((service, metric, factor)), true) =
                    (meter(&owner.service, unit), is_vercel(&owner.provider))
                {
                    let sum = amounts.entry((service, metric)).or_default();
                    *sum = sum.saturating_add(quantity.saturating_mul(factor));
                }
            }
            let of_day = amounts.iter();
            points.extend(of_day.map(|((service, metric), sum)| point(*service, *metric, *sum)));
            for (unit, quantity) in &line.consumed {
                let percent = self.percent(&owner.service, unit, *quantity);
                if let (Some((meter, percent)), true) = (percent, is_vercel(&owner.provider)) {
                    let of_meter = point(meter.service, Metric::UsagePercent, percent);
                    points.push(of_meter.of_meter(&meter.name));
                }
            }
            let text = |sum: &Decimal| sum.normalize().to_string();
            let consumed = line.consumed.iter();
            let consumed = consumed.map(|(unit, sum)| (unit.clone(), text(sum).into()));
            let consumed: serde_json::Map<String, serde_json::Value> = consumed.collect();
            let usd = match cost {
                CostKind::Billed => line.billed,
                CostKind::Effective => line.effective,
            };
            let mut cost = point(Service::VercelPlatform, Metric::CostUsd, usd)
                .with("billed_usd", text(&line.billed))
                .with("effective_usd", text(&line.effective));
            if !consumed.is_empty() {
                cost = cost.with("consumed", consumed);
            }
            points.push(cost);
        }
        points
    }
}

/// A bill without a provider is Vercel's own.
fn is_vercel(provider: &str) -> bool {
    provider.is_empty() || provider.to_ascii_lowercase().starts_with(VERCEL)
}

/// The days of a charge, each with its seconds.
fn days(from: DateTime<Utc>, to: Option<DateTime<Utc>>) -> Vec<(NaiveDate, i64)> {
    /// A longer charge is a mistake.
    const LONGEST: TimeDelta = TimeDelta::days(3 * 366);
    let first = from.date_naive();
    let to = to.filter(|to| *to > from && *to - from <= LONGEST);
    let Some(to) = to else {
        return vec![(first, 1)];
    };
    let mut days = Vec::new();
    let mut begin = from;
    while begin < to {
        let day = begin.date_naive();
        let next = day.succ_opt().unwrap_or(NaiveDate::MAX);
        let end = next.and_time(NaiveTime::MIN).and_utc().min(to);
        days.push((day, (end - begin).num_seconds()));
        if end <= begin {
            break;
        }
        begin = end;
    }
    days
}

/// The parts of an amount by the seconds of each day; they add up to it exactly.
fn split(amount: Decimal, days: &[(NaiveDate, i64)]) -> Vec<Decimal> {
    const DIGITS: u32 = 12;
    let all = Decimal::from(days.iter().map(|(_, seconds)| seconds).sum::<i64>());
    let mut left = amount;
    let mut parts = Vec::with_capacity(days.len());
    for (index, (_, seconds)) in days.iter().enumerate() {
        let part = amount.checked_mul(Decimal::from(*seconds));
        let part = part.and_then(|part| part.checked_div(all));
        let part = part.unwrap_or_default();
        let is_last = index + 1 == days.len();
        let part = if is_last { left } else { part.round_dp(DIGITS) };
        left -= part;
        parts.push(part);
    }
    parts
}

/// The metric of a service, and the factor from `unit` to the metric's unit.
fn meter(name: &str, unit: &str) -> Option<(Service, Metric, Decimal)> {
    let is_same = |(known, _, _): &&(&str, _, _)| known.eq_ignore_ascii_case(name.trim());
    let (_, service, metric) = *SERVICES.iter().find(is_same)?;
    let own = match metric {
        Metric::BandwidthGb => "GB",
        Metric::BuildMinutes => "minute",
        _ => "unit",
    };
    Some((service, metric, factor(unit, own)?))
}

/// Whether a bill is one that another source has stored: at least half of the values of the smaller one are equal.
/// `points` are those of the bill as that source would store it.
pub fn is_same_bill(points: &[NewPoint], stored: &HashMap<String, f64>) -> bool {
    let is_equal = |it: &&NewPoint| stored.get(&it.id()) == Some(&it.value);
    let counted = || points.iter().filter(|it| it.value != 0.0);
    let smaller = stored.values().filter(|it| **it != 0.0).count();
    let smaller = counted().count().min(smaller);
    smaller > 0 && counted().filter(is_equal).count() * 2 >= smaller
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(service: &str, day: u32, billed: &str, consumed: Option<(&str, &str)>) -> Charge {
        Charge {
            owner: Owner {
                service: service.to_owned(),
                ..Owner::default()
            },
            from: format!("2026-01-{day:02}T00:00:00Z").parse().unwrap(),
            to: None,
            billed: billed.parse().unwrap(),
            effective: None,
            consumed: consumed.map(|(quantity, unit)| (quantity.parse().unwrap(), unit.to_owned())),
        }
    }

    fn bill(charges: &[Charge]) -> Bill {
        let mut bill = Bill::default();
        charges.iter().for_each(|charge| bill.add(charge));
        bill
    }

    /// The sums of each series and day.
    fn sums(points: Vec<NewPoint>) -> Vec<(String, f64)> {
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        for point in points {
            let name = format!("{} {}", point.at.date_naive(), point.series);
            *sums.entry(name).or_default() += point.value;
        }
        sums.into_iter().collect()
    }

    fn points(bill: &Bill) -> Vec<NewPoint> {
        bill.points("vercel", "", CostKind::Billed)
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
            ("2026-01-05 VERCEL_BANDWIDTH BANDWIDTH_GB", 2.0),
            ("2026-01-05 VERCEL_FUNCTIONS INVOCATIONS", 12.0),
            ("2026-01-05 VERCEL_PLATFORM COST_USD", 0.05),
            ("2026-01-06 VERCEL_BANDWIDTH BANDWIDTH_GB", 2.0),
            ("2026-01-06 VERCEL_PLATFORM COST_USD", 1.0),
        ];
        let found = sums(points(&bill));
        for ((name, value), (expected, sum)) in found.iter().zip(expected) {
            let is_near = (value - sum).abs() < 1e-12;
            assert!(name == expected && is_near, "{name} {value}");
        }
        assert_eq!(found.len(), expected.len());
        assert_eq!(bill.unknown_services(), []);
        assert_eq!(bill.totals().0.to_string(), "1.05");
    }

    #[test]
    fn purchase_is_spread_over_its_period_and_adds_up() {
        let mut year = charge("Commitment", 1, "100", None);
        year.to = Some("2026-01-04T00:00:00Z".parse().unwrap());
        year.effective = Some(Decimal::ZERO);
        let year = bill(&[year]);
        let days: Vec<f64> = points(&year).iter().map(|point| point.value).collect();
        assert_eq!(days.len(), 3);
        assert_eq!(days.iter().sum::<f64>(), 100.0);
        assert!((days[0] - 100.0 / 3.0).abs() < 1e-9);
        let effective = year.points("vercel", "", CostKind::Effective);
        assert!(effective.iter().all(|point| point.value == 0.0));
        // An hour is of its day.
        let mut hour = charge("Commitment", 1, "100", None);
        hour.to = Some("2026-01-01T01:00:00Z".parse().unwrap());
        assert_eq!(points(&bill(&[hour])).len(), 1);
    }

    #[test]
    fn owner_and_source_make_the_id_and_the_provider_the_resource() {
        let of = |provider: &str, account: &str, source: &str| {
            let mut one = charge("EC2", 5, "1", None);
            (one.owner.provider, one.owner.account) = (provider.to_owned(), account.to_owned());
            bill(&[one]).points(source, "", CostKind::Billed).remove(0)
        };
        let aws = of("AWS", "a", "bill.csv");
        assert_eq!(aws.id(), of("AWS", "a", "bill.csv").id());
        for (provider, account, source) in [
            ("Microsoft", "a", "bill.csv"),
            ("AWS", "b", "bill.csv"),
            ("AWS", "a", "part-2.csv"),
        ] {
            assert_ne!(of(provider, account, source).id(), aws.id(), "{source}");
        }
        assert_eq!(aws.series.resource, "AWS");
        assert_eq!(of("Vercel Inc.", "a", "bill.csv").series.resource, "");
    }

    #[test]
    fn meter_without_a_metric_is_measured_in_percent_of_the_plan() {
        let meter = VendorMeter {
            service: Service::VercelFunctions,
            name: "Active CPU".to_owned(),
            unit: "CPU hour".to_owned(),
            included: Decimal::from(4),
        };
        let mut bill = Bill::new(vec![meter]);
        bill.add(&charge("Fluid Active CPU", 5, "0", Some(("1", "Hours"))));
        bill.add(&charge("Fluid Active CPU", 5, "0", Some(("1", "Hours"))));
        let expected = [
            ("2026-01-05 VERCEL_FUNCTIONS USAGE_PERCENT Active CPU", 50.0),
            ("2026-01-05 VERCEL_PLATFORM COST_USD", 0.0),
        ];
        let expected = expected.map(|(name, sum)| (name.to_owned(), sum));
        assert_eq!(sums(points(&bill)), expected);
        assert_eq!(bill.unknown_services(), []);
    }

    #[test]
    fn unknown_service_or_unit_is_reported_and_kept() {
        let bill = bill(&[
            charge("Warp Drive", 5, "7", Some(("3", "Parsecs"))),
            charge("Edge Requests", 5, "1", Some(("3", "Bushels"))),
        ]);
        let unknown = ["Edge Requests (Bushels)", "Warp Drive (Parsecs)"];
        let unknown = unknown.map(|name| UnknownService(name.to_owned()));
        assert_eq!(bill.unknown_services(), unknown);
        let cost = "2026-01-05 VERCEL_PLATFORM COST_USD".to_owned();
        assert_eq!(sums(points(&bill)), [(cost, 8.0)]);
        let kept = &points(&bill)[1].metadata["consumed"];
        assert_eq!(*kept, serde_json::json!({ "Parsecs": "3" }));
    }
}
