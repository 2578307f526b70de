//! Bills in the FOCUS format (focus.finops.org), 1.0 and later: charges, summed to amounts for each day.
//!
//! Money is added in decimals. A charge for several days is spread over them. The amounts of one account, service,
//! region and charge period in one file are one point a day, so that several files of a bill add up and a file that is
//! imported again replaces its points. Days without a charge, within the time that a bill covers, are zero. A table maps
//! service names to metrics; other quantities are kept in the metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Serialize;

use super::names::{Metric, Service};
use super::point::{NewPoint, Reading, Series};
use crate::domain::format::usd;
use crate::domain::id;
use crate::domain::named::name_key;
use crate::domain::plans::meter::{VendorMeter, factor};

/// One line of a bill.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    pub owner: Owner,
    /// Resource, SKU and the like: they distinguish the lines of an owner.
    pub item: String,
    /// Whether a resource or SKU is named: two lines of one item and period in one bill are rare then.
    pub is_named: bool,
    /// The start of the billing period, if the line has it.
    pub billed_from: Option<DateTime<Utc>>,
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

impl Charge {
    /// The same for a line with the same content in another file; `None` without an amount.
    pub fn fingerprint(&self) -> Option<u64> {
        ChargeHash::of(self)?;
        Some(short_hash(self.from, &format!("{self:?}")))
    }
}

/// `$2.00 for EC2 on 2025-11-05`.
impl Display for Charge {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (cost, day) = (usd(self.billed), self.from.date_naive());
        write!(f, "{cost} for {} on {day}", self.owner.service)
    }
}

/// What a charge is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Empty if it is unknown.
    pub provider: String,
    /// The billing account and the sub-account.
    pub account: String,
    pub project: String,
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

/// Charges, summed by day, owner and charge period.
#[derive(Clone, Debug, Default)]
pub struct Bill {
    /// Meters that the plan in use limits and no metric measures.
    meters: Vec<VendorMeter>,
    today: NaiveDate,
    /// The first day that the source was asked for; the bill covers none before.
    asked_from: Option<NaiveDate>,
    /// The names of providers as first written, by their keys.
    providers: BTreeMap<String, String>,
    lines: BTreeMap<(NaiveDate, Owner, ChargePeriod), Line>,
    /// The days that the bill covers, by provider.
    covered: BTreeMap<String, Covered>,
    unknown: BTreeSet<UnknownService>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ChargePeriod {
    from: DateTime<Utc>,
    to: Option<DateTime<Utc>>,
    /// The first day of the billing period.
    billed_from: NaiveDate,
}

#[derive(Clone, Debug, Default)]
struct Line {
    billed: Decimal,
    effective: Decimal,
    consumed: BTreeMap<String, Decimal>,
    charges: BTreeSet<ChargeHash>,
}

/// Differs between the charges of an owner and charge period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ChargeHash {
    item: u64,
    amounts: u64,
    is_named: bool,
}

/// What separates a named item from the amounts in a stored hash. Without a name, only equal amounts show that it is the
/// same item.
const ITEM_ENDS: &str = "-";

#[derive(Clone, Debug)]
struct Covered {
    account: String,
    first: NaiveDate,
    /// The last day with a charge of at most a day: a longer charge does not show that the usage of its days is known.
    last: Option<NaiveDate>,
    /// The first days of the billing periods.
    billed_from: BTreeSet<NaiveDate>,
}

/// The part of a provider's bill that one file replaces as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BillPart {
    pub provider: String,
    pub account: String,
    /// The first day of the billing period.
    pub billed_from: NaiveDate,
}

/// The provider whose services have metrics; other providers are resources of its platform.
const VERCEL: &str = "vercel";

/// The resource of charges without a provider.
const UNKNOWN_PROVIDER: &str = "unknown";

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
    pub fn new(meters: Vec<VendorMeter>, now: DateTime<Utc>) -> Bill {
        Bill {
            meters,
            today: now.date_naive(),
            ..Bill::default()
        }
    }

    /// The bill of a source that was asked for the days from `first` on.
    #[must_use]
    pub fn asked_from(mut self, first: DateTime<Utc>) -> Bill {
        self.asked_from = Some(first.date_naive());
        self
    }

    /// Providers that have a stored bill; their names are not changed.
    #[must_use]
    pub fn with_providers(mut self, names: Vec<String>) -> Bill {
        for name in names {
            self.providers.entry(name_key(&name)).or_insert(name);
        }
        self
    }

    pub fn add(&mut self, charge: &Charge) {
        let mut charge = charge.clone();
        let written = charge.owner.provider.trim().to_owned();
        let first = self.providers.entry(name_key(&written));
        charge.owner.provider.clone_from(first.or_insert(written));
        let charge = &charge;
        let shares = days(charge.from, charge.to);
        let split = |amount: Decimal| split(amount, &shares);
        let effective = charge.effective.unwrap_or(charge.billed);
        let quantity = charge.consumed.as_ref();
        let quantity = quantity.map(|(quantity, _)| split(*quantity));
        let amounts = split(charge.billed).into_iter().zip(split(effective));
        let period = ChargePeriod::of(charge);
        self.cover(charge, period, &shares);
        let hash = ChargeHash::of(charge);
        for (index, ((day, _), (billed, effective))) in shares.iter().zip(amounts).enumerate() {
            let key = (*day, charge.owner.clone(), period);
            let line = self.lines.entry(key).or_default();
            line.charges.extend(hash);
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

    fn cover(&mut self, charge: &Charge, period: ChargePeriod, days: &[(NaiveDate, i64)]) {
        let first = charge.from.date_naive();
        let billed_from = charge.billed_from.map_or(first, |at| at.date_naive());
        let first = first.min(billed_from);
        let provider = charge.owner.provider.clone();
        let covered = self.covered.entry(provider).or_insert_with(|| Covered {
            account: charge.owner.account.clone(),
            first,
            last: None,
            billed_from: BTreeSet::new(),
        });
        covered.first = covered.first.min(first);
        covered.billed_from.insert(period.billed_from);
        let is_short = charge
            .to
            .is_none_or(|to| to - charge.from <= TimeDelta::days(1));
        if is_short {
            let last = days.last().map(|(day, _)| *day);
            covered.last = covered.last.max(last);
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

    /// The amounts and the cost of each day, owner and charge period, and zeros for the days without. `source` is the
    /// file or the collector.
    pub fn points(&self, source: &str, resource: &str, cost: CostKind) -> Vec<NewPoint> {
        let mut points = Vec::new();
        let mut days: BTreeMap<(&str, Series), BTreeSet<NaiveDate>> = BTreeMap::new();
        for ((day, owner, period), line) in &self.lines {
            let first = points.len();
            let at = day.and_time(NaiveTime::MIN).and_utc();
            let resource = match (resource, owner.provider.as_str()) {
                ("", "") => UNKNOWN_PROVIDER,
                ("", provider) if is_vercel(provider) => "",
                ("", provider) => provider,
                (resource, _) => resource,
            };
            let facts = [
                &owner.provider,
                &owner.account,
                &owner.project,
                &owner.service,
                &owner.region,
                &format!("{:?}", (period.from, period.to)),
            ];
            let facts = facts.map(String::as_str).join("|");
            let part = BillPart {
                provider: owner.provider.clone(),
                account: owner.account.clone(),
                billed_from: period.billed_from,
            };
            let point = |service, metric, value: Decimal| {
                let series = Series::new(service, metric, resource);
                let facts = format!("{series}|{facts}|{}|{source}", period.billed_from);
                let value = value.to_f64().unwrap_or(f64::NAN);
                let point = new_point(series, value, at, source, &part, &facts);
                point.with("service_name", owner.service.as_str())
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
            let within = |it: ChargeHash| it.within(at, &format!("{resource}|{facts}"));
            let charges: Vec<String> = line.hashes().map(within).collect();
            if !charges.is_empty() {
                cost = cost.with("charges", charges);
            }
            points.push(cost);
            for point in &points[first..] {
                let of_series = (owner.provider.as_str(), point.series.clone());
                days.entry(of_series).or_default().insert(*day);
            }
        }
        for ((provider, series), days) in days {
            points.extend(self.zeros(provider, &series, &days, source));
        }
        points
    }

    /// Zeros of the covered days on which a series has no charge.
    fn zeros(
        &self,
        provider: &str,
        series: &Series,
        days: &BTreeSet<NaiveDate>,
        source: &str,
    ) -> Vec<NewPoint> {
        let covered = self.covered.get(provider);
        let Some((covered, last)) = covered.and_then(|it| Some((it, it.last?))) else {
            return Vec::new();
        };
        /// Longer ago than any forecast looks back.
        const LONGEST: TimeDelta = TimeDelta::days(366);
        let last = last.min(self.today);
        let asked_from = self.asked_from.unwrap_or(covered.first);
        let first = covered
            .first
            .max(asked_from)
            .max(last.checked_sub_signed(LONGEST).unwrap_or(last));
        let missing = first.iter_days().take_while(|day| *day <= last);
        let missing = missing.filter(|day| !days.contains(day));
        let zero = |day: NaiveDate| {
            let periods = &covered.billed_from;
            let billed_from = periods.range(..=day).next_back().or(periods.first());
            let part = BillPart {
                provider: provider.to_owned(),
                account: covered.account.clone(),
                billed_from: *billed_from.unwrap_or(&day),
            };
            let at = day.and_time(NaiveTime::MIN).and_utc();
            let facts = format!("{series}|{provider}|{}|{source}", part.account);
            new_point(series.clone(), 0.0, at, source, &part, &facts)
        };
        missing.map(zero).collect()
    }
}

impl ChargePeriod {
    /// Without a billing period, it is the calendar month.
    fn of(charge: &Charge) -> ChargePeriod {
        let first = charge.from.date_naive();
        let month = first.with_day(1).unwrap_or(first);
        ChargePeriod {
            from: charge.from,
            to: charge.to,
            billed_from: charge.billed_from.map_or(month, |at| at.date_naive()),
        }
    }
}

impl ChargeHash {
    /// `None` without an amount: it is in no sum.
    fn of(charge: &Charge) -> Option<ChargeHash> {
        let quantity = charge.consumed.as_ref().map(|(quantity, _)| *quantity);
        let amounts = [Some(charge.billed), charge.effective, quantity];
        let is_zero = amounts.iter().flatten().all(Decimal::is_zero);
        let amounts = amounts.map(|it| it.map(|it| it.normalize()));
        let amounts = format!("{:?}|{:?}", amounts[0], amounts[2]);
        let amounts = short_hash(charge.from, &amounts);
        let item = short_hash(charge.from, &charge.item);
        let is_named = charge.is_named;
        (!is_zero).then_some(ChargeHash {
            item,
            amounts,
            is_named,
        })
    }

    /// The stored form, for a charge of this day and owner.
    fn within(self, at: DateTime<Utc>, owner: &str) -> String {
        let separator = if self.is_named { ITEM_ENDS } else { "" };
        let item = short_hash(at, &format!("{owner}|{}", self.item)) >> 24;
        format!("{item:010x}{separator}{:06x}", self.amounts >> 40)
    }
}

/// The named item of a stored charge: the same in two files where only the amounts differ.
pub fn item_of(charge: &str) -> Option<&str> {
    Some(charge.split_once(ITEM_ENDS)?.0)
}

/// The part of a stored charge that depends on its time and amounts only, and not on its owner.
pub fn amounts_of(charge: &str) -> &str {
    const DIGITS: usize = 6;
    let at = charge.len().saturating_sub(DIGITS);
    charge.get(at..).unwrap_or(charge)
}

impl Line {
    /// The hashes of its charges; of many, the smallest, which two bills with the same charges share.
    fn hashes(&self) -> impl Iterator<Item = ChargeHash> {
        const MOST: usize = 1_000;
        self.charges.iter().copied().take(MOST)
    }
}

fn short_hash(at: DateTime<Utc>, facts: &str) -> u64 {
    id::scattered(at, facts.as_bytes()).as_u64_pair().1
}

fn new_point(
    series: Series,
    value: f64,
    at: DateTime<Utc>,
    source: &str,
    part: &BillPart,
    facts: &str,
) -> NewPoint {
    let mut point = NewPoint::new(series, value, at)
        .with_reading(Reading::Amount)
        .with("source", source)
        .with("quality", "measured")
        .with("provider", part.provider.as_str())
        .with("account", part.account.as_str())
        .with("billed_from", part.billed_from.to_string());
    point.id = Some(id::derived(at, facts.as_bytes()).to_string());
    point
}

fn is_vercel(provider: &str) -> bool {
    name_key(provider).starts_with(VERCEL)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(service: &str, day: u32, billed: &str, consumed: Option<(&str, &str)>) -> Charge {
        Charge {
            owner: Owner {
                provider: "Vercel".to_owned(),
                service: service.to_owned(),
                ..Owner::default()
            },
            item: String::new(),
            is_named: true,
            billed_from: None,
            from: format!("2026-01-{day:02}T00:00:00Z").parse().unwrap(),
            to: None,
            billed: billed.parse().unwrap(),
            effective: None,
            consumed: consumed.map(|(quantity, unit)| (quantity.parse().unwrap(), unit.to_owned())),
        }
    }

    fn bill(charges: &[Charge]) -> Bill {
        let mut bill = Bill::new(Vec::new(), "2026-02-01T00:00:00Z".parse().unwrap());
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
            ("2026-01-06 VERCEL_FUNCTIONS INVOCATIONS", 0.0),
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
        assert_eq!(of("", "a", "bill.csv").series.resource, "unknown");
    }

    #[test]
    fn charges_of_other_periods_or_items_are_not_the_same() {
        let of = |from: &str, item: &str, billed: &str, source: &str| {
            let mut one = charge("EC2", 5, billed, None);
            one.from = format!("2026-01-05T{from}:00Z").parse().unwrap();
            one.item = item.to_owned();
            let points = bill(&[one]).points(source, "", CostKind::Billed);
            let charges = points[0].metadata.get("charges").cloned();
            (points[0].id(), charges)
        };
        let one = of("00:00", "i-1", "1", "a.csv");
        let (id, charges) = of("00:00", "i-1", "1.0", "b.csv");
        assert!(id != one.0 && charges == one.1 && charges.is_some());
        let later = of("12:00", "i-1", "1", "a.csv");
        assert!(later.0 != one.0 && later.1 != one.1);
        assert_ne!(of("00:00", "i-2", "1", "b.csv").1, one.1);
        let other = of("00:00", "i-1", "2", "b.csv");
        assert_ne!(other.1, one.1);
        let item = |charges: &Option<serde_json::Value>| {
            let charge = charges.as_ref().unwrap()[0].as_str().unwrap();
            item_of(charge).unwrap().to_owned()
        };
        assert_eq!(item(&other.1), item(&one.1));
        // A line without cost or quantity is in no sum.
        assert_eq!(of("00:00", "i-1", "0", "a.csv").1, None);
    }

    #[test]
    fn overlap_of_bills_with_many_charges_is_seen() {
        let hashes = |items: std::ops::Range<u32>| {
            let one = |item: u32| Charge {
                item: item.to_string(),
                ..charge("EC2", 5, "1", None)
            };
            let bill = bill(&items.map(one).collect::<Vec<_>>());
            let line = bill.lines.values().next().unwrap();
            line.hashes().collect::<BTreeSet<_>>()
        };
        let stored = hashes(0..5_000);
        assert_eq!(stored.len(), 1_000);
        assert!(!stored.is_disjoint(&hashes(4_000..9_000)));
        assert!(stored.is_disjoint(&hashes(5_000..9_000)));
    }

    #[test]
    fn days_without_a_charge_are_zero_within_the_covered_time() {
        let values = |bill: &Bill| {
            let day = |(name, value): (String, f64)| (name[8..10].to_owned(), value);
            let days: Vec<(String, f64)> = sums(points(bill)).into_iter().map(day).collect();
            let text = |(day, value): &(String, f64)| format!("{day}={value}");
            days.iter().map(text).collect::<Vec<_>>().join(" ")
        };
        let mut first = charge("Seats", 3, "1", None);
        let last = charge("Seats", 5, "2", None);
        assert_eq!(
            values(&bill(&[first.clone(), last.clone()])),
            "03=1 04=0 05=2"
        );
        first.billed_from = Some("2026-01-01T00:00:00Z".parse().unwrap());
        let both = bill(&[first.clone(), last]);
        assert_eq!(values(&both), "01=0 02=0 03=1 04=0 05=2");
        let asked = both.asked_from("2026-01-03T00:00:00Z".parse().unwrap());
        assert_eq!(values(&asked), "03=1 04=0 05=2");
        // A charge for a long time does not show that other days of it are known.
        let mut month = charge("Support", 1, "3", None);
        month.to = Some("2026-01-04T00:00:00Z".parse().unwrap());
        month.owner.provider = "AWS".to_owned();
        let other = Charge {
            owner: Owner {
                service: "EC2".to_owned(),
                ..month.owner.clone()
            },
            ..charge("EC2", 2, "1", None)
        };
        assert_eq!(values(&bill(&[month, other])), "01=1 02=2 03=1");
    }

    #[test]
    fn meter_without_a_metric_is_measured_in_percent_of_the_plan() {
        let meter = VendorMeter {
            service: Service::VercelFunctions,
            name: "Active CPU".to_owned(),
            unit: "CPU hour".to_owned(),
            included: Decimal::from(4),
        };
        let mut bill = Bill::new(vec![meter], DateTime::UNIX_EPOCH);
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
