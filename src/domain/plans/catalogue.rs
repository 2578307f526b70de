//! The catalogue: what each plan of each provider includes and costs, with the page that publishes it.
//!
//! One is compiled into the program; users import their own. [`parse`](super::parse) reads it from TOML and checks
//! it.

use std::fmt;

use chrono::NaiveDate;
use rust_decimal::Decimal;

use super::api_limit::Unit;
use super::source::{Citation, Grade, PageDate};
use crate::domain::metrics::names::{Metric, MetricKind, Service};
use crate::domain::named::named;
use crate::domain::period::Period;

named! {
    /// The period of a service's limit.
    LimitPeriod, "period" {
        /// A UTC day.
        Day = "DAY",
        /// A calendar month.
        Month = "MONTH",
        /// A month that begins on the provider's billing day.
        BillingMonth = "BILLING_MONTH",
    }
}

named! {
    /// What the provider does when a limit is reached.
    AtLimit, "consequence" {
        /// Usage goes on and is billed.
        Bill = "BILL",
        /// The service is suspended for a time.
        Pause = "PAUSE",
        Throttle = "THROTTLE",
        Reject = "REJECT",
        /// The oldest data is deleted.
        Evict = "EVICT",
        /// Not published.
        Unknown = "UNKNOWN",
    }
}

impl AtLimit {
    /// Whether reaching the limit stops work.
    pub fn blocks(self) -> bool {
        !matches!(self, AtLimit::Bill | AtLimit::Unknown)
    }
}

named! {
    /// What a plan's fixed price covers.
    PriceScope, "scope" {
        /// Everything of the provider together.
        Provider = "PROVIDER",
        /// One database, project or the like.
        Resource = "RESOURCE",
    }
}

/// The kind and period of a metric's limits, unless a limit has its own.
pub fn default_kind(metric: Metric) -> (MetricKind, Option<LimitPeriod>) {
    match metric {
        Metric::StorageMb | Metric::StorageGb | Metric::Connections | Metric::UsagePercent => {
            (MetricKind::Gauge, None)
        }
        Metric::LatencyMs => (MetricKind::Rate, None),
        Metric::CommandsPerDay => (MetricKind::Period, Some(LimitPeriod::Day)),
        Metric::BandwidthGb
        | Metric::Invocations
        | Metric::BuildMinutes
        | Metric::RequestCount
        | Metric::CostUsd => (MetricKind::Period, Some(LimitPeriod::BillingMonth)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Included {
    /// Zero where all usage is billed.
    Amount(Decimal),
    Unlimited,
    /// Not published.
    Unknown,
}

impl Included {
    pub fn amount(self) -> Option<Decimal> {
        match self {
            Included::Amount(amount) => Some(amount),
            Included::Unlimited | Included::Unknown => None,
        }
    }
}

impl fmt::Display for Included {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Included::Amount(amount) => amount.normalize().fmt(f),
            Included::Unlimited => f.pad("unlimited"),
            Included::Unknown => f.pad("unknown"),
        }
    }
}

/// The price of usage beyond the included amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overage {
    /// The amount that the price is for, in the limit's unit.
    pub unit: Decimal,
    /// The price in the cheapest region.
    pub low: Decimal,
    /// The price in the dearest region.
    pub high: Decimal,
}

/// A page that publishes numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The name that rows of this catalogue refer to.
    pub id: String,
    pub url: String,
    pub page_date: PageDate,
    pub read_on: NaiveDate,
    pub grade: Grade,
    pub note: Option<String>,
}

/// The source of a row, and whether it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cited {
    /// The id of its source; of a plan, that of its price.
    pub source: String,
    /// Never with a source of grade C.
    pub enabled: bool,
    pub note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limited {
    Application(Service, Metric),
    /// Something without a name in the application, in the provider's words; never written to its tables.
    Vendor {
        service: Option<Service>,
        name: String,
        unit: String,
    },
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limited::Application(service, metric) => write!(f, "{service} {metric}"),
            Limited::Vendor { name, unit, .. } => write!(f, "{name} ({unit})"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanLimit {
    pub limited: Limited,
    /// The unit that each has the limit, such as `database`; the account, if none.
    pub each: Option<String>,
    pub kind: MetricKind,
    /// Only of periods and some rates.
    pub period: Option<LimitPeriod>,
    /// The amount that the fixed price includes.
    pub included: Included,
    /// The largest amount at any price.
    pub ceiling: Option<Decimal>,
    pub at_limit: AtLimit,
    pub overage: Option<Overage>,
    pub warning_percent: Decimal,
    pub critical_percent: Decimal,
    pub cited: Cited,
}

impl PlanLimit {
    /// Whether all resources of the account share it.
    pub fn is_of_account(&self) -> bool {
        self.each.is_none()
    }

    pub fn application(&self) -> Option<(Service, Metric)> {
        match self.limited {
            Limited::Application(service, metric) => Some((service, metric)),
            Limited::Vendor { .. } => None,
        }
    }

    /// The value at which the consequence sets in: the included amount, or the ceiling where everything is billed.
    /// None where neither is a number above zero.
    pub fn line(&self) -> Option<Decimal> {
        let included = self.included.amount().filter(|amount| !amount.is_zero());
        included.or(self.ceiling.filter(|ceiling| !ceiling.is_zero()))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct PublishedApiLimit {
    pub period: Period,
    pub unit: Unit,
    /// None where it is not published.
    pub value: Option<Decimal>,
    pub overage: Option<Overage>,
    pub cited: Cited,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The provider; for an API, its name in `api_usage`.
    pub provider: String,
    pub name: String,
    pub currency: String,
    /// The price of a month; none where it is by contract.
    pub fixed_price: Option<Decimal>,
    /// What the fixed price covers.
    pub scope: PriceScope,
    /// The amount of money billed usage may cost each month before it is charged.
    pub credit: Decimal,
    /// Seats covered by the fixed price.
    pub seats_included: u32,
    /// The price of another seat for a month.
    pub seat_price: Option<Decimal>,
    /// Whether an API's limits are those of this plan until a plan is selected.
    pub fallback: bool,
    /// One that is not enabled cannot be selected.
    pub cited: Cited,
    pub limits: Vec<PlanLimit>,
    pub api_limits: Vec<PublishedApiLimit>,
}

impl Plan {
    pub fn limits_in_use(&self) -> impl Iterator<Item = &PlanLimit> {
        self.limits.iter().filter(|limit| limit.cited.enabled)
    }

    /// The limit of a metric of the application, if it is used.
    pub fn limit(&self, service: Service, metric: Metric) -> Option<&PlanLimit> {
        let mut limits = self.limits_in_use();
        limits.find(|limit| limit.application() == Some((service, metric)))
    }

    pub fn api_limits_in_use(&self) -> impl Iterator<Item = &PublishedApiLimit> {
        self.api_limits.iter().filter(|limit| limit.cited.enabled)
    }
}

/// A price that belongs to no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    pub provider: String,
    pub item: String,
    pub unit: String,
    pub price: Overage,
    pub currency: String,
    pub cited: Cited,
}

/// The user's own limit on a metric. No published catalogue has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub service: Service,
    pub metric: Metric,
    pub amount: Decimal,
    pub warning_percent: Decimal,
    pub critical_percent: Decimal,
    pub note: Option<String>,
}

/// The version of a catalogue: the day of its review, such as `2026.11.21`.
///
/// The text decides between `1.0` and `1.00`, so that only equal versions compare as equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    numbers: Vec<u64>,
    text: String,
}

impl Version {
    /// Parses numbers separated by dots.
    pub fn parse(text: &str) -> Option<Version> {
        let numbers = text.split('.').map(|part| {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| part.parse().ok()).flatten()
        });
        Some(Version {
            text: text.to_owned(),
            numbers: numbers.collect::<Option<_>>()?,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub line: usize,
    /// The row; empty for the file as a whole.
    pub place: String,
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.what)
    }
}

/// A text that is not a valid catalogue, with all its faults in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidCatalogue {
    pub problems: Vec<Problem>,
}

impl fmt::Display for InvalidCatalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        f.write_str("invalid catalogue")?;
        for problem in self.problems.iter().take(SHOWN) {
            write!(f, "\n  {problem}")?;
        }
        match self.problems.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for InvalidCatalogue {}

impl InvalidCatalogue {
    /// A fault of no single row.
    pub(super) fn at_line(line: usize, what: &str) -> InvalidCatalogue {
        let (place, what) = (String::new(), what.to_owned());
        InvalidCatalogue {
            problems: vec![Problem { line, place, what }],
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Catalogue {
    /// Stored with every limit and recommendation that comes from it.
    pub version: Version,
    /// The currency of plans that name none.
    pub currency: String,
    pub sources: Vec<Source>,
    /// In the order of the file.
    pub plans: Vec<Plan>,
    pub prices: Vec<Price>,
    pub budgets: Vec<Budget>,
}

impl Catalogue {
    pub fn source(&self, id: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.id == id)
    }

    /// The citation of a value of this catalogue, by the id of its source.
    pub fn citation(&self, source: &str) -> Citation {
        let source = self.source(source);
        Citation {
            source: source.map(|source| source.url.clone()),
            page_date: source.map(|source| source.page_date),
            grade: source.map(|source| source.grade),
            catalogue_version: Some(self.version.to_string()),
        }
    }

    /// The providers with plans, in the order of the file.
    pub fn providers(&self) -> Vec<&str> {
        let mut providers = Vec::new();
        for plan in &self.plans {
            if !providers.contains(&plan.provider.as_str()) {
                providers.push(plan.provider.as_str());
            }
        }
        providers
    }

    /// The plans of a provider, in the order of the file.
    pub fn plans_of<'a>(&'a self, provider: &'a str) -> impl Iterator<Item = &'a Plan> {
        let of_provider = move |plan: &&Plan| plan.provider == provider;
        self.plans.iter().filter(of_provider)
    }

    pub fn plan(&self, provider: &str, name: &str) -> Option<&Plan> {
        let same = |plan: &&Plan| plan.provider == provider && plan.name == name;
        self.plans.iter().find(same)
    }

    pub fn provider_of(&self, service: Service) -> Option<&str> {
        let of_service = |limit: &PlanLimit| match limit.limited {
            Limited::Application(of, _) => of == service,
            Limited::Vendor { service: of, .. } => of == Some(service),
        };
        let mut plans = self.plans.iter();
        let plan = plans.find(|plan| plan.limits.iter().any(of_service));
        plan.map(|plan| plan.provider.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::named::Named;

    fn embedded() -> Catalogue {
        Catalogue::embedded().unwrap_or_else(|invalid| panic!("{invalid}"))
    }

    #[test]
    fn embedded_catalogue_has_the_published_amounts() {
        let catalogue = embedded();
        assert_eq!(catalogue.version.to_string(), "2026.11.21");
        let included = |provider, plan, service, metric| {
            let limit = catalogue.plan(provider, plan).unwrap();
            let limit = limit.limit(service, metric);
            limit.map(|limit| limit.included.to_string())
        };
        let kv = |plan| included("upstash", plan, Service::VercelKv, Metric::StorageMb);
        assert_eq!(kv("free").as_deref(), Some("256"));
        assert_eq!(kv("fixed-250mb").as_deref(), Some("250"));
        let pro = |service, metric| included("vercel", "pro", service, metric);
        let transfer = pro(Service::VercelBandwidth, Metric::BandwidthGb);
        assert_eq!(transfer.as_deref(), Some("1000"));
        let calls = pro(Service::VercelFunctions, Metric::Invocations);
        assert_eq!(calls.as_deref(), Some("0"));
        // Its source is of grade C.
        let (service, metric) = (Service::VercelBuild, Metric::BuildMinutes);
        assert_eq!(included("vercel", "hobby", service, metric), None);
        let enterprise = catalogue.plan("vercel", "enterprise").unwrap();
        assert_eq!(enterprise.fixed_price, None);
    }

    #[test]
    fn rows_of_grade_c_are_disabled_and_no_budget_is_shipped() {
        let catalogue = embedded();
        let usable = |id: &str| catalogue.source(id).unwrap().grade.is_usable();
        for plan in &catalogue.plans {
            let limits = plan.limits.iter().map(|limit| &limit.cited);
            let api_limits = plan.api_limits.iter().map(|limit| &limit.cited);
            for cited in limits.chain(api_limits).chain([&plan.cited]) {
                let expected = usable(&cited.source);
                assert_eq!(cited.enabled, expected, "{} {cited:?}", plan.name);
            }
        }
        assert_eq!(catalogue.budgets, []);
    }

    #[test]
    fn every_service_has_one_provider_and_every_api_one_fallback() {
        let catalogue = embedded();
        for service in Service::ALL {
            let sold = *service != Service::AiCredits;
            assert_eq!(catalogue.provider_of(*service).is_some(), sold, "{service}");
        }
        for api in "coinmarketcap finnhub jikan openweather rawg tmdb".split(' ') {
            let fallbacks = catalogue.plans_of(api).filter(|plan| plan.fallback);
            assert_eq!(fallbacks.count(), 1, "{api}");
        }
        assert!(catalogue.plans_of("espn").all(|plan| !plan.cited.enabled));
    }

    #[test]
    fn every_billed_meter_has_a_price() {
        for plan in &embedded().plans {
            let limits = plan.limits.iter();
            let billed = limits.filter(|limit| limit.at_limit == AtLimit::Bill);
            let mut finite = billed.filter(|limit| limit.included.amount().is_some());
            assert!(finite.all(|limit| limit.overage.is_some()), "{}", plan.name);
        }
    }

    #[test]
    fn line_is_included_amount_or_ceiling() {
        let catalogue = embedded();
        let kv = |plan, metric| {
            let plan = catalogue.plan("upstash", plan).unwrap();
            let limit = plan.limit(Service::VercelKv, metric).unwrap();
            limit.line().map(|line| line.to_string())
        };
        assert_eq!(kv("free", Metric::StorageMb).as_deref(), Some("256"));
        assert_eq!(kv("payg", Metric::StorageMb).as_deref(), Some("1000"));
        assert_eq!(kv("payg", Metric::RequestCount), None);
        assert_eq!(kv("fixed-1gb", Metric::RequestCount), None);
    }

    #[test]
    fn versions_are_ordered_as_numbers() {
        let version = |text| Version::parse(text).unwrap();
        assert!(version("2026.9.30") < version("2026.11.21"));
        assert!(version("2026.11.21") < version("2026.11.21.1"));
        for text in ["", ".", "2026.", "v1", "1.-2", "99999999999999999999999"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
