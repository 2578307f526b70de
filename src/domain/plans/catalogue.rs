//! The catalogue: what each plan of each provider includes and costs, and on which page that is written.
//!
//! One is compiled into the program; users import their own. [`parse`](super::parse) reads it from TOML and checks
//! it.

use std::cmp::Ordering;
use std::fmt;

use chrono::NaiveDate;
use rust_decimal::Decimal;

use super::api_limit::Unit;
use super::source::{Grade, PageDate};
use crate::domain::metrics::names::{Metric, MetricKind, Service};
use crate::domain::named::named;
use crate::domain::period::Period;

named! {
    /// How long the period of a limit is.
    LimitPeriod, "period" {
        /// A day of UTC.
        Day = "DAY",
        /// A month of the calendar.
        Month = "MONTH",
        /// A month that begins on the provider's day.
        BillingMonth = "BILLING_MONTH",
    }
}

named! {
    /// What the provider does when a limit is reached.
    AtLimit, "consequence" {
        /// Goes on, and sends a bill.
        Bill = "BILL",
        /// Turns the service off for a time.
        Pause = "PAUSE",
        Throttle = "THROTTLE",
        Reject = "REJECT",
        /// Deletes what is oldest.
        Evict = "EVICT",
        /// Nobody has written it down.
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
    /// For what a plan's fixed price is paid once.
    PriceScope, "scope" {
        /// For everything of the provider together.
        Provider = "PROVIDER",
        /// For each database, project or the like.
        Resource = "RESOURCE",
    }
}

/// What kind of series a metric is, unless its limit says otherwise.
pub fn usual_kind(metric: Metric) -> (MetricKind, Option<LimitPeriod>) {
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

/// How much of something a plan includes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Included {
    /// This much; zero where every bit is billed.
    Amount(Decimal),
    /// As much as one likes.
    Unlimited,
    /// Nobody has written it down.
    Unknown,
}

impl Included {
    /// How much, if that is a number.
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

/// What more than the included costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overage {
    /// For how much of the limit's unit the price is.
    pub unit: Decimal,
    /// The price where it is lowest.
    pub low: Decimal,
    /// The price where it is highest; regions differ.
    pub high: Decimal,
}

/// A page on which numbers are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// How rows of this catalogue name it.
    pub id: String,
    pub url: String,
    pub page_date: PageDate,
    pub read_on: NaiveDate,
    pub grade: Grade,
    /// What else there is to say.
    pub note: Option<String>,
}

/// What is limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Something that the application measures.
    Application(Service, Metric),
    /// Something that it has no name for; kept in the provider's words, never written to its tables.
    Vendor {
        /// The service it belongs to, where there is one.
        service: Option<Service>,
        /// The provider's name of it.
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

/// One limit of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanLimit {
    pub limited: Limited,
    /// For each of what, such as `database`; for the account, unless given.
    pub each: Option<String>,
    pub kind: MetricKind,
    /// In how long a time; only for periods, and some rates.
    pub period: Option<LimitPeriod>,
    /// How much there is for the fixed price.
    pub included: Included,
    /// How much there is at most, for any price.
    pub ceiling: Option<Decimal>,
    pub at_limit: AtLimit,
    pub overage: Option<Overage>,
    /// From which share on to warn.
    pub warning_percent: Decimal,
    /// From which share on it is critical.
    pub critical_percent: Decimal,
    /// The id of its source.
    pub source: String,
    /// Whether it is used; never if the source is of grade C.
    pub enabled: bool,
    /// What else there is to say.
    pub note: Option<String>,
}

impl PlanLimit {
    /// The application's names of what is limited.
    pub fn application(&self) -> Option<(Service, Metric)> {
        match self.limited {
            Limited::Application(service, metric) => Some((service, metric)),
            Limited::Vendor { .. } => None,
        }
    }

    /// Beyond how much something happens: the included amount, or the ceiling where more is billed and there
    /// is one. Nothing where there is no such number, or it is zero since everything is billed.
    pub fn line(&self) -> Option<Decimal> {
        let line = match (self.included, self.ceiling) {
            (Included::Amount(amount), _) if !amount.is_zero() => Some(amount),
            (_, ceiling) => ceiling,
        };
        line.filter(|line| !line.is_zero())
    }
}

/// A rate or quota of an API.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedApiLimit {
    /// In how long a time.
    pub period: Period,
    pub unit: Unit,
    /// How many; nothing where the provider says nothing.
    pub value: Option<Decimal>,
    pub overage: Option<Overage>,
    /// The id of its source.
    pub source: String,
    /// Whether it is used; never if the source is of grade C.
    pub enabled: bool,
    /// What else there is to say.
    pub note: Option<String>,
}

/// A plan of a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Who offers it; for an API, its name in `api_usage`.
    pub provider: String,
    /// What it is called there.
    pub name: String,
    /// In which money its prices are.
    pub currency: String,
    /// What it costs a month; nothing where the price is by contract.
    pub fixed_price: Option<Decimal>,
    /// For what the fixed price is paid once.
    pub scope: PriceScope,
    /// How much of what is billed each month is free.
    pub credit: Decimal,
    /// How many seats the fixed price includes.
    pub seats_included: u32,
    /// What one more costs a month.
    pub seat_price: Option<Decimal>,
    /// Whether an API's limits are taken from this plan as long as none is chosen.
    pub fallback: bool,
    /// The id of the source of its price.
    pub source: String,
    /// Whether it can be chosen; never if the source is of grade C.
    pub enabled: bool,
    /// What else there is to say.
    pub note: Option<String>,
    /// What it includes of what infrastructure uses.
    pub limits: Vec<PlanLimit>,
    /// What it allows callers of an API.
    pub api_limits: Vec<PublishedApiLimit>,
}

impl Plan {
    /// The limits that are used.
    pub fn limits_in_use(&self) -> impl Iterator<Item = &PlanLimit> {
        self.limits.iter().filter(|limit| limit.enabled)
    }

    /// What it says about a metric of the application, if that is used.
    pub fn limit(&self, service: Service, metric: Metric) -> Option<&PlanLimit> {
        let mut limits = self.limits_in_use();
        limits.find(|limit| limit.application() == Some((service, metric)))
    }
}

/// A price that belongs to no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    pub provider: String,
    pub item: String,
    pub unit: String,
    /// The price of so many.
    pub price: Overage,
    pub currency: String,
    /// The id of its source.
    pub source: String,
    /// Whether it is used; never if the source is of grade C.
    pub enabled: bool,
    /// What else there is to say.
    pub note: Option<String>,
}

/// A ceiling of the user's own. No published catalogue has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub service: Service,
    pub metric: Metric,
    pub amount: Decimal,
    /// From which share on to warn.
    pub warning_percent: Decimal,
    /// From which share on it is critical.
    pub critical_percent: Decimal,
    /// What else there is to say.
    pub note: Option<String>,
}

/// What version a catalogue is: the day of its review, such as `2026.11.21`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    text: String,
    numbers: Vec<u64>,
}

impl Version {
    /// Reads numbers with dots between them.
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

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        // Of equal numbers, so that what is equal in order is equal.
        (&self.numbers, &self.text).cmp(&(&other.numbers, &other.text))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line it begins on.
    pub line: usize,
    /// What it belongs to; empty for the file as a whole.
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

/// A text that is no catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Everything that is wrong with it, in the order of the file; at least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        f.write_str("this is no sound catalogue")?;
        for problem in self.problems.iter().take(SHOWN) {
            write!(f, "\n  {problem}")?;
        }
        match self.problems.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for Invalid {}

impl Invalid {
    /// A fault of the file as a whole.
    pub(super) fn whole(what: impl Into<String>) -> Invalid {
        Invalid {
            problems: vec![Problem {
                line: 1,
                place: String::new(),
                what: what.into(),
            }],
        }
    }
}

/// Plans, prices, and where they are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalogue {
    /// Stored with every limit and recommendation that comes from it.
    pub version: Version,
    /// The money of plans that name none.
    pub currency: String,
    pub sources: Vec<Source>,
    /// The plans, in the order of the file.
    pub plans: Vec<Plan>,
    pub prices: Vec<Price>,
    pub budgets: Vec<Budget>,
}

impl Catalogue {
    /// The source of this id.
    pub fn source(&self, id: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.id == id)
    }

    /// Who has plans here, in the order of the file.
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

    /// A plan by its names.
    pub fn plan(&self, provider: &str, name: &str) -> Option<&Plan> {
        let same = |plan: &&Plan| plan.provider == provider && plan.name == name;
        self.plans.iter().find(same)
    }

    /// Who sells a service.
    pub fn provider_of(&self, service: Service) -> Option<&str> {
        let of_service = |limit: &PlanLimit| match limit.limited {
            Limited::Application(of, _) => of == service,
            Limited::Vendor { service: of, .. } => of == Some(service),
        };
        let plan = self
            .plans
            .iter()
            .find(|plan| plan.limits.iter().any(of_service));
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
    fn the_embedded_catalogue_is_sound_and_says_what_its_pages_say() {
        let catalogue = embedded();
        assert_eq!(catalogue.version.as_str(), "2026.11.21");
        let included = |provider, plan, service, metric| {
            let plan = catalogue.plan(provider, plan).unwrap();
            plan.limit(service, metric)
                .map(|limit| limit.included.to_string())
        };
        let kv = |plan| included("upstash", plan, Service::VercelKv, Metric::StorageMb);
        assert_eq!(kv("free").as_deref(), Some("256"));
        assert_eq!(kv("fixed-250mb").as_deref(), Some("250"));
        let pro = |service, metric| included("vercel", "pro", service, metric);
        let transfer = pro(Service::VercelBandwidth, Metric::BandwidthGb);
        assert_eq!(transfer.as_deref(), Some("1000"));
        let calls = pro(Service::VercelFunctions, Metric::Invocations);
        assert_eq!(calls.as_deref(), Some("0"));
        // Of grade C, so there is none.
        let minutes = included(
            "vercel",
            "hobby",
            Service::VercelBuild,
            Metric::BuildMinutes,
        );
        assert_eq!(minutes, None);
        assert_eq!(
            catalogue.plan("vercel", "enterprise").unwrap().fixed_price,
            None
        );
    }

    #[test]
    fn nothing_of_grade_c_is_used_and_no_budget_is_shipped() {
        let catalogue = embedded();
        let sound = |id: &str| catalogue.source(id).unwrap().grade.is_sound();
        for plan in &catalogue.plans {
            assert_eq!(plan.enabled, sound(&plan.source), "{}", plan.name);
            for limit in &plan.limits {
                assert_eq!(limit.enabled, sound(&limit.source), "{}", limit.limited);
            }
            for limit in &plan.api_limits {
                assert_eq!(limit.enabled, sound(&limit.source), "{}", plan.provider);
            }
        }
        assert_eq!(catalogue.budgets, []);
    }

    #[test]
    fn every_service_that_is_sold_has_one_provider_and_every_api_one_fallback() {
        let catalogue = embedded();
        for service in Service::ALL {
            let sold = *service != Service::AiCredits;
            assert_eq!(catalogue.provider_of(*service).is_some(), sold, "{service}");
        }
        for api in [
            "coinmarketcap",
            "finnhub",
            "jikan",
            "openweather",
            "rawg",
            "tmdb",
        ] {
            let fallbacks = catalogue.plans_of(api).filter(|plan| plan.fallback);
            assert_eq!(fallbacks.count(), 1, "{api}");
        }
        assert!(catalogue.plans_of("espn").all(|plan| !plan.enabled));
    }

    #[test]
    fn the_line_is_where_something_happens() {
        let catalogue = embedded();
        let line = |provider, plan, service, metric| {
            let plan = catalogue.plan(provider, plan).unwrap();
            plan.limit(service, metric)
                .unwrap()
                .line()
                .map(|line| line.to_string())
        };
        let kv = |plan, metric| line("upstash", plan, Service::VercelKv, metric);
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
