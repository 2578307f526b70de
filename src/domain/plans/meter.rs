//! The meters of a provider that the application has no metric for, such as CPU hours. Their usage is measured in
//! percent of what the plan in use includes: as USAGE_PERCENT, with the meter as its resource.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::catalogue::{Catalogue, Limited, PlanLimit};
use super::selection::{self, PlanSelection};
use crate::domain::metrics::names::{Metric, MetricKind, Service};

/// A meter whose included amount stops the service.
#[derive(Clone, Debug, PartialEq)]
pub struct VendorMeter {
    pub service: Service,
    /// In the provider's words.
    pub name: String,
    pub unit: String,
    pub included: Decimal,
}

impl VendorMeter {
    /// Whether a name on a bill stands for it. A product may precede it, as in `Fluid Active CPU`.
    pub fn has_name(&self, name: &str) -> bool {
        let (name, own) = (name.trim(), self.name.as_str());
        let start = name.len().checked_sub(own.len());
        let parts = start.and_then(|start| name.split_at_checked(start));
        parts.is_some_and(|(before, end)| {
            end.eq_ignore_ascii_case(own) && (before.is_empty() || before.ends_with(' '))
        })
    }

    /// The percentage of the included amount that a quantity is; `None` for a unit that is not its own.
    pub fn percent(&self, quantity: Decimal, unit: &str) -> Option<Decimal> {
        /// Beyond them are only rounding errors of the factor.
        const DIGITS: u32 = 12;
        let used = quantity.checked_mul(factor(unit, &self.unit)?)?;
        let percent = used.checked_mul(Decimal::ONE_HUNDRED)?;
        Some(percent.checked_div(self.included)?.round_dp(DIGITS))
    }
}

/// The meters of the plans in use of which the catalogue limits USAGE_PERCENT.
pub fn vendor_meters(
    catalogue: &Catalogue,
    selections: &[PlanSelection],
    now: DateTime<Utc>,
) -> Vec<VendorMeter> {
    let in_use = selection::in_use(selections, now);
    let plans = in_use.filter_map(|it| catalogue.plan(&it.provider, &it.plan));
    let meters = plans.flat_map(|plan| {
        let is_limited = |service| plan.limit(service, Metric::UsagePercent).is_some();
        let limits = plan.limits_in_use().filter_map(meter);
        limits.filter(move |meter| is_limited(meter.service))
    });
    meters.collect()
}

fn meter(limit: &PlanLimit) -> Option<VendorMeter> {
    let Limited::Vendor {
        service: Some(service),
        name,
        unit,
    } = &limit.limited
    else {
        return None;
    };
    let included = limit.included.amount().filter(|amount| !amount.is_zero())?;
    let stops = limit.kind == MetricKind::Period && limit.at_limit.blocks();
    stops.then(|| VendorMeter {
        service: *service,
        name: name.clone(),
        unit: unit.clone(),
        included,
    })
}

/// The factor from a unit on a bill to another, such as one of the catalogue.
pub fn factor(from: &str, to: &str) -> Option<Decimal> {
    let (from, to) = (plain(from), plain(to));
    if let Some(to) = bytes(&to) {
        return bytes(&from)?.checked_div(to);
    }
    if let Some((of, to)) = seconds(&to) {
        let (from_of, from) = seconds(&from)?;
        let amount = match (bytes(from_of), bytes(of)) {
            (Some(from), Some(to)) => from.checked_div(to)?,
            (None, None) => Decimal::ONE,
            // Only one of the units names the thing that is counted.
            _ if of.is_empty() || from_of.is_empty() => Decimal::ONE,
            _ => return None,
        };
        return from.checked_div(to)?.checked_mul(amount);
    }
    let (count, scale) = match from.strip_prefix("million ") {
        Some(rest) => (rest, Decimal::from(1_000_000)),
        None => (from.as_str(), Decimal::ONE),
    };
    let counts = ["unit", "count", "each", "request", "invocation", "read"];
    (count == to || counts.contains(&count)).then_some(scale)
}

fn bytes(unit: &str) -> Option<Decimal> {
    Some(Decimal::from(match unit {
        "byte" | "b" => 1_i64,
        "kb" | "kilobyte" => 1_000,
        "mb" | "megabyte" => 1_000_000,
        "gb" | "gigabyte" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "tb" | "terabyte" => 1_000_000_000_000,
        _ => return None,
    }))
}

/// A unit of time, after the unit of the counted thing, if there is one: `gb hour`.
fn seconds(unit: &str) -> Option<(&str, Decimal)> {
    let (of, time) = unit.rsplit_once(' ').unwrap_or(("", unit));
    let seconds = match time {
        "hour" | "hr" | "h" => 3600,
        "minute" | "min" => 60,
        "second" | "sec" | "s" => 1,
        _ => return None,
    };
    Some((of, Decimal::from(seconds)))
}

/// A unit in lower case and in the singular.
fn plain(unit: &str) -> String {
    let words = unit.to_ascii_lowercase().replace('-', " ");
    let words = words.split_whitespace().map(|word| match word {
        "s" => word,
        word => word.strip_suffix('s').unwrap_or(word),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_in_use_have_meters() {
        let catalogue = Catalogue::embedded().unwrap();
        let meters = |plan: (&str, &str)| {
            let selections = [PlanSelection::sample(plan.0, plan.1)];
            let meters = vendor_meters(&catalogue, &selections, DateTime::UNIX_EPOCH);
            let name = |it: &VendorMeter| format!("{} {}", it.service, it.name);
            meters.iter().map(name).collect::<Vec<_>>()
        };
        let hobby = [
            "VERCEL_BANDWIDTH Fast Origin Transfer",
            "VERCEL_FUNCTIONS Active CPU",
            "VERCEL_FUNCTIONS Provisioned Memory",
            "VERCEL_PLATFORM Image Transformations",
            "VERCEL_PLATFORM Image Cache Reads",
            "VERCEL_PLATFORM Image Cache Writes",
            "VERCEL_ISR_READS ISR Writes",
        ];
        assert_eq!(meters(("vercel", "hobby")), hobby);
        assert_eq!(meters(("neon", "free")), ["VERCEL_POSTGRES Compute"]);
        assert_eq!(meters(("vercel", "pro")), [""; 0]);
    }

    #[test]
    fn quantity_on_a_bill_is_a_percentage_of_the_included_amount() {
        let percent = |unit: &str, quantity: i64, of: &str| {
            let meter = VendorMeter {
                service: Service::VercelFunctions,
                name: "Active CPU".to_owned(),
                unit: unit.to_owned(),
                included: Decimal::from(4),
            };
            let percent = meter.percent(Decimal::from(quantity), of);
            percent.map_or("unknown".to_owned(), |it| it.normalize().to_string())
        };
        assert_eq!(percent("CPU hour", 1, "Hours"), "25");
        assert_eq!(percent("CPU hour", 3600, "seconds"), "25");
        assert_eq!(percent("GB hour", 2, "GB-Hrs"), "50");
        assert_eq!(percent("GB hour", 2_000, "MB-Hrs"), "50");
        assert_eq!(percent("GB hour", 7_200, "seconds"), "50");
        assert_eq!(percent("CPU hour", 2, "GB-Hrs"), "unknown");
        assert_eq!(percent("GB", 500, "MB"), "12.5");
        assert_eq!(percent("MB", 1, "MiB"), "26.2144");
        assert_eq!(percent("write", 3, "Units"), "75");
        assert_eq!(percent("write", 1, "million writes"), "25000000");
        assert_eq!(percent("write", 1, "GB"), "unknown");
        assert_eq!(percent("CPU hour", 1, "Units"), "unknown");
    }

    #[test]
    fn name_on_a_bill_may_have_a_product_before_it() {
        let meter = VendorMeter {
            service: Service::VercelFunctions,
            name: "Active CPU".to_owned(),
            unit: "CPU hour".to_owned(),
            included: Decimal::ONE,
        };
        for name in ["Active CPU", "fluid active cpu"] {
            assert!(meter.has_name(name), "{name}");
        }
        for name in ["CPU", "Inactive CPU", "é Active GPU"] {
            assert!(!meter.has_name(name), "{name}");
        }
    }
}
