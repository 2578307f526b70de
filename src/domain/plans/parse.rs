//! A catalogue from TOML, and everything that is wrong with it, each with its place.
//!
//! Nothing is guessed and nothing is dropped: a key that nobody knows, a number that is no exact decimal, a row
//! without a source are all refused, and all at once, so that a file is put right in one go.

use std::fmt;

use chrono::NaiveDate;
use rust_decimal::Decimal;
use serde::Deserialize;
use toml::{Spanned, Value};

use super::api_limit::Unit;
use super::catalogue::{
    AtLimit, Budget, Catalogue, Included, Invalid, LimitPeriod, Limited, Overage, Plan, PlanLimit,
    Price, PriceScope, Problem, PublishedApiLimit, Source, Version,
};
use super::source::{Grade, PageDate};
use crate::domain::api_name;
use crate::domain::metrics::names::MetricKind;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::named::Named;
use crate::domain::period::Period;

/// The version of the file's own shape.
const SCHEMA: i64 = 1;

/// How large a catalogue may be; ours has not a twentieth of it.
pub const LARGEST_BYTES: usize = 1 << 20;

/// Above this a number is a mistake.
const LARGEST_AMOUNT: i64 = 1_000_000_000_000_000;

/// From which share of a limit on to warn, unless its row says otherwise.
pub const USUAL_WARNING: Decimal = Decimal::from_parts(75, 0, 0, false, 0);
/// From which share of a limit on it is critical, unless its row says otherwise.
pub const USUAL_CRITICAL: Decimal = Decimal::from_parts(90, 0, 0, false, 0);

/// The catalogue that is compiled in.
pub const EMBEDDED: &str = include_str!("catalogue.toml");

impl Catalogue {
    /// The catalogue that is compiled in.
    pub fn embedded() -> Result<Catalogue, Invalid> {
        parse(EMBEDDED)
    }
}

/// Reads a catalogue out of a file's bytes.
pub fn parse_bytes(bytes: &[u8]) -> Result<Catalogue, Invalid> {
    if bytes.len() > LARGEST_BYTES {
        return Err(Invalid::whole("it is larger than a catalogue can be"));
    }
    match str::from_utf8(bytes) {
        Ok(text) => parse(text),
        Err(_) => Err(Invalid::whole("it is no text in UTF-8")),
    }
}

/// Reads a catalogue out of TOML.
pub fn parse(text: &str) -> Result<Catalogue, Invalid> {
    let file: RawFile = toml::from_str(text).map_err(|error| Invalid {
        problems: vec![Problem {
            line: line_of(text, error.span().map_or(0, |span| span.start)),
            place: String::new(),
            what: error.message().to_owned(),
        }],
    })?;
    let mut reader = Reader {
        text,
        at: 0,
        place: String::new(),
        problems: Vec::new(),
    };
    let catalogue = reader.catalogue(file);
    match (catalogue, reader.problems.is_empty()) {
        (Some(catalogue), true) => Ok(catalogue),
        _ => {
            reader.problems.sort_by_key(|problem| problem.line);
            Err(Invalid {
                problems: reader.problems,
            })
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    1 + before.filter(|byte| **byte == b'\n').count()
}

// The file as it is written. Numbers and dates are read as whatever they are, so that a wrong one is told with
// the others.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    schema: i64,
    version: String,
    currency: Option<String>,
    #[serde(default)]
    source: Vec<Spanned<RawSource>>,
    #[serde(default)]
    plan: Vec<Spanned<RawPlan>>,
    #[serde(default)]
    price: Vec<Spanned<RawPrice>>,
    #[serde(default)]
    budget: Vec<Spanned<RawBudget>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    id: String,
    url: String,
    page_date: Option<Value>,
    read_on: Option<Value>,
    confidence: String,
    note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlan {
    provider: String,
    plan: String,
    service: Option<String>,
    currency: Option<String>,
    fixed_price: Option<Value>,
    fixed_price_scope: Option<String>,
    credit: Option<Value>,
    seats_included: Option<u32>,
    seat_price: Option<Value>,
    #[serde(default)]
    fallback: bool,
    source: Option<String>,
    enabled: Option<bool>,
    note: Option<String>,
    #[serde(default)]
    limit: Vec<Spanned<RawLimit>>,
    #[serde(default)]
    api_limit: Vec<Spanned<RawApiLimit>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimit {
    service: Option<String>,
    metric: Option<String>,
    vendor_metric: Option<String>,
    unit: Option<String>,
    each: Option<String>,
    kind: String,
    period: Option<String>,
    included: Option<Value>,
    ceiling: Option<Value>,
    at_limit: Option<String>,
    overage: Option<RawOverage>,
    warning_pct: Option<Value>,
    critical_pct: Option<Value>,
    source: Option<String>,
    enabled: Option<bool>,
    note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOverage {
    unit: Option<Value>,
    low: Value,
    high: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApiLimit {
    per: String,
    unit: Option<String>,
    value: Option<Value>,
    overage: Option<RawOverage>,
    source: Option<String>,
    enabled: Option<bool>,
    note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrice {
    provider: String,
    item: String,
    unit: String,
    currency: Option<String>,
    price: RawOverage,
    source: Option<String>,
    enabled: Option<bool>,
    note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBudget {
    service: String,
    metric: String,
    amount: Value,
    warning_pct: Option<Value>,
    critical_pct: Option<Value>,
    note: Option<String>,
}

/// Reads row after row and notes what is wrong. A row of which something is missing is left out; then the whole
/// is refused in the end.
struct Reader<'a> {
    text: &'a str,
    /// The row that is being read: where it begins, and what it is.
    at: usize,
    place: String,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, what: impl Into<String>) {
        self.problems.push(Problem {
            line: line_of(self.text, self.at),
            place: self.place.clone(),
            what: what.into(),
        });
    }

    /// The value, unless it is an error; that is noted, with the key it stands at.
    fn expect<T, E: fmt::Display>(&mut self, key: &str, value: Result<T, E>) -> Option<T> {
        value
            .map_err(|error| self.problem(format!("{key}: {error}")))
            .ok()
    }

    fn catalogue(&mut self, file: RawFile) -> Option<Catalogue> {
        if file.schema != SCHEMA {
            self.problem(format!(
                "schema: {} is unknown; this program reads {SCHEMA}",
                file.schema
            ));
        }
        let version = Version::parse(&file.version);
        if version.is_none() {
            self.problem("version: numbers with dots between them, such as 2026.11.21");
        }
        let mut catalogue = Catalogue {
            version: version?,
            currency: self.currency(file.currency, "USD"),
            sources: Vec::new(),
            plans: Vec::new(),
            prices: Vec::new(),
            budgets: Vec::new(),
        };
        if file.plan.is_empty() && file.budget.is_empty() {
            self.problem("it has no plans");
        }
        for row in file.source {
            self.source(&mut catalogue, row);
        }
        for row in file.plan {
            self.plan(&mut catalogue, row);
        }
        for row in file.price {
            self.price(&mut catalogue, row);
        }
        for row in file.budget {
            self.budget(&mut catalogue, row);
        }
        Some(catalogue)
    }

    fn source(&mut self, catalogue: &mut Catalogue, row: Spanned<RawSource>) {
        self.at = row.span().start;
        let row = row.into_inner();
        self.place = format!("source {}", row.id);
        if catalogue.source(&row.id).is_some() {
            self.problem("there is another source of this id");
        }
        if row.url.trim().is_empty() {
            self.problem("url: a source is found somewhere");
        }
        let page_date = self.page_date(row.page_date);
        let read_on = self.day("read_on", row.read_on);
        let grade = self.expect("confidence", row.confidence.parse::<Grade>());
        if let (Some(page_date), Some(read_on), Some(grade)) = (page_date, read_on, grade) {
            catalogue.sources.push(Source {
                id: row.id,
                url: row.url,
                page_date,
                read_on,
                grade,
                note: row.note,
            });
        }
    }

    fn plan(&mut self, catalogue: &mut Catalogue, row: Spanned<RawPlan>) {
        self.at = row.span().start;
        let row = row.into_inner();
        let place = format!("plan {} {}", row.provider, row.plan);
        self.place.clone_from(&place);
        self.name("provider", &row.provider);
        self.name("plan", &row.plan);
        // Rows of one plan for several services are one plan.
        let known = catalogue
            .plans
            .iter()
            .position(|plan| plan.provider == row.provider && plan.name == row.plan);
        let first_source = row
            .limit
            .iter()
            .find_map(|limit| limit.as_ref().source.clone());
        let first_api_source = || {
            let mut limits = row.api_limit.iter();
            limits.find_map(|limit| limit.as_ref().source.clone())
        };
        let source = row
            .source
            .clone()
            .or(first_source)
            .or_else(first_api_source);
        let source = self.source_id(catalogue, source);
        let enabled = self.enabled(catalogue, source.as_deref(), row.enabled);
        let scope = row.fixed_price_scope.as_deref().unwrap_or("provider");
        let scope = self.expect("fixed_price_scope", scope.parse::<PriceScope>());
        let plan = Plan {
            currency: self.currency(row.currency, &catalogue.currency),
            fixed_price: self.amount("fixed_price", row.fixed_price),
            scope: scope.unwrap_or(PriceScope::Provider),
            credit: self.amount("credit", row.credit).unwrap_or(Decimal::ZERO),
            seats_included: row.seats_included.unwrap_or(0),
            seat_price: self.amount("seat_price", row.seat_price),
            fallback: row.fallback,
            source: source.unwrap_or_default(),
            enabled,
            note: row.note,
            limits: Vec::new(),
            api_limits: Vec::new(),
            provider: row.provider,
            name: row.plan,
        };
        let another_fallback = |other: &Plan| {
            other.provider == plan.provider && other.name != plan.name && other.fallback
        };
        if plan.fallback && catalogue.plans.iter().any(another_fallback) {
            self.problem("fallback: the provider has another one");
        }
        let index = match known {
            Some(index) => {
                let before = &catalogue.plans[index];
                let terms = |plan: &Plan| {
                    (
                        plan.currency.clone(),
                        plan.fixed_price,
                        plan.scope,
                        plan.credit,
                        plan.seat_price,
                    )
                };
                if terms(before) != terms(&plan) {
                    self.problem("its price differs from that of the same plan further up");
                }
                index
            }
            None => {
                catalogue.plans.push(plan);
                catalogue.plans.len() - 1
            }
        };
        let service = row.service;
        for limit in row.limit {
            self.place.clone_from(&place);
            self.limit(catalogue, index, service.as_deref(), limit);
        }
        for limit in row.api_limit {
            self.place.clone_from(&place);
            self.api_limit(catalogue, index, limit);
        }
    }

    fn limit(
        &mut self,
        catalogue: &mut Catalogue,
        plan: usize,
        service: Option<&str>,
        row: Spanned<RawLimit>,
    ) {
        self.at = row.span().start;
        let row = row.into_inner();
        let service = row.service.as_deref().or(service);
        let name = row.metric.as_deref().or(row.vendor_metric.as_deref());
        let named = [service, name].into_iter().flatten();
        self.place = format!(
            "{}, limit {}",
            self.place,
            named.collect::<Vec<_>>().join(" ")
        );
        let service = service.and_then(|name| self.expect("service", name.parse::<Service>()));
        let limited = match (row.metric, service, row.vendor_metric, row.unit) {
            (Some(metric), Some(service), _, _) => self
                .expect("metric", metric.parse::<Metric>())
                .map(|metric| Limited::Application(service, metric)),
            (Some(_), None, _, _) => {
                self.problem("a metric is that of a service: give service");
                None
            }
            (None, service, Some(name), Some(unit)) if !unit.trim().is_empty() => {
                Some(Limited::Vendor {
                    service,
                    name,
                    unit,
                })
            }
            (None, _, Some(_), _) => {
                self.problem("unit: what a vendor_metric counts must be said");
                None
            }
            (None, _, None, _) => {
                self.problem("give metric, or vendor_metric and unit");
                None
            }
        };
        let kind = self.expect("kind", row.kind.parse::<MetricKind>());
        let period = row
            .period
            .and_then(|period| self.expect("period", period.parse::<LimitPeriod>()));
        match (kind, period) {
            (Some(MetricKind::Period), None) => self.problem("period: kind \"period\" needs one"),
            (Some(MetricKind::Gauge), Some(_)) => self.problem("period: a gauge has none"),
            _ => {}
        }
        let included = self.included(row.included);
        let ceiling = self.amount("ceiling", row.ceiling);
        if let (Some(Included::Amount(included)), Some(ceiling)) = (included, ceiling)
            && ceiling < included
        {
            self.problem("ceiling: less than is included");
        }
        let at_limit = row.at_limit.as_deref().unwrap_or("unknown");
        let at_limit = self.expect("at_limit", at_limit.parse::<AtLimit>());
        let overage = row.overage.and_then(|overage| self.overage(overage));
        if overage.is_some() && at_limit != Some(AtLimit::Bill) {
            self.problem("overage: only where at_limit is \"bill\"");
        }
        let (warning_percent, critical_percent) = self.percents(row.warning_pct, row.critical_pct);
        let source = self.source_id(catalogue, row.source);
        let enabled = self.enabled(catalogue, source.as_deref(), row.enabled);
        let (Some(limited), Some(kind), Some(included), Some(at_limit), Some(source)) =
            (limited, kind, included, at_limit, source)
        else {
            return;
        };
        let limit = PlanLimit {
            limited,
            each: row.each,
            kind,
            period,
            included,
            ceiling,
            at_limit,
            overage,
            warning_percent,
            critical_percent,
            source,
            enabled,
            note: row.note,
        };
        self.check_neighbours(catalogue, plan, &limit);
        catalogue.plans[plan].limits.push(limit);
    }

    /// What a limit must not share with the others.
    fn check_neighbours(&mut self, catalogue: &Catalogue, plan: usize, limit: &PlanLimit) {
        let plan = &catalogue.plans[plan];
        let same = |other: &&PlanLimit| other.limited == limit.limited;
        if plan.limits.iter().any(|other| same(&other)) {
            self.problem("the plan has another limit of this metric");
        }
        if let Limited::Application(service, _) = limit.limited
            && let Some(other) = catalogue.provider_of(service)
            && other != plan.provider
        {
            self.problem(format!("{service} is already sold by {other}"));
        }
    }

    fn api_limit(&mut self, catalogue: &mut Catalogue, plan: usize, row: Spanned<RawApiLimit>) {
        self.at = row.span().start;
        let row = row.into_inner();
        self.place = format!("{}, api_limit {}", self.place, row.per);
        let is_named = |period: &Period| period.as_str().eq_ignore_ascii_case(&row.per);
        let period = Period::KNOWN.into_iter().find(is_named);
        if period.is_none() {
            self.problem("per: there are SECOND, MINUTE, HOUR, DAY, MONTH");
        }
        let unit = row.unit.as_deref().unwrap_or(Unit::Calls.as_str());
        let unit = self.expect("unit", unit.parse::<Unit>());
        let value = match row.value {
            Some(Value::String(text)) if text == "unknown" => None,
            Some(value) => {
                let value = self.amount("value", Some(value));
                if value.is_some_and(|value| value.is_zero()) {
                    self.problem("value: nobody may call it at all; write \"unknown\"");
                }
                value
            }
            None => {
                self.problem("value: give one, or \"unknown\"");
                None
            }
        };
        let overage = row.overage.and_then(|overage| self.overage(overage));
        let source = self.source_id(catalogue, row.source);
        let enabled = self.enabled(catalogue, source.as_deref(), row.enabled);
        let plan = &mut catalogue.plans[plan];
        if let Some(period) = &period
            && plan.api_limits.iter().any(|other| other.period == *period)
        {
            self.problem("the plan has another limit for this period");
        }
        let named = self.expect("provider", api_name::parse(&plan.provider));
        if let (Some(period), Some(unit), Some(source), Some(_)) = (period, unit, source, named) {
            plan.api_limits.push(PublishedApiLimit {
                period,
                unit,
                value,
                overage,
                source,
                enabled,
                note: row.note,
            });
        }
    }

    fn price(&mut self, catalogue: &mut Catalogue, row: Spanned<RawPrice>) {
        self.at = row.span().start;
        let row = row.into_inner();
        self.place = format!("price {} {}", row.provider, row.item);
        self.name("provider", &row.provider);
        let price = self.overage(row.price);
        let source = self.source_id(catalogue, row.source);
        let enabled = self.enabled(catalogue, source.as_deref(), row.enabled);
        let currency = self.currency(row.currency, &catalogue.currency);
        if let (Some(price), Some(source)) = (price, source) {
            catalogue.prices.push(Price {
                provider: row.provider,
                item: row.item,
                unit: row.unit,
                price,
                currency,
                source,
                enabled,
                note: row.note,
            });
        }
    }

    fn budget(&mut self, catalogue: &mut Catalogue, row: Spanned<RawBudget>) {
        self.at = row.span().start;
        let row = row.into_inner();
        self.place = format!("budget {} {}", row.service, row.metric);
        let service = self.expect("service", row.service.parse::<Service>());
        let metric = self.expect("metric", row.metric.parse::<Metric>());
        let amount = self.amount("amount", Some(row.amount));
        if amount.is_some_and(|amount| amount.is_zero()) {
            self.problem("amount: nothing can be compared with zero");
        }
        let (warning_percent, critical_percent) = self.percents(row.warning_pct, row.critical_pct);
        let (Some(service), Some(metric), Some(amount)) = (service, metric, amount) else {
            return;
        };
        let same = |other: &Budget| (other.service, other.metric) == (service, metric);
        if catalogue.budgets.iter().any(same) {
            self.problem("there is another budget of this metric");
        }
        catalogue.budgets.push(Budget {
            service,
            metric,
            amount,
            warning_percent,
            critical_percent,
            note: row.note,
        });
    }

    /// A name that people type: lower case, so that it is typed in one way.
    fn name(&mut self, key: &str, name: &str) {
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            self.problem(format!(
                "{key}: lower-case letters, digits, - _ . and not more than 64 of them"
            ));
        }
    }

    fn currency(&mut self, given: Option<String>, otherwise: &str) -> String {
        let currency = given.unwrap_or_else(|| otherwise.to_owned());
        if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            self.problem("currency: three capital letters, such as USD");
        }
        currency
    }

    /// An amount from zero on. A number with a point must be text, since a float is not what was written.
    fn amount(&mut self, key: &str, value: Option<Value>) -> Option<Decimal> {
        let amount = match value? {
            Value::String(text) => Decimal::from_str_exact(&text).ok(),
            Value::Integer(number) => Some(Decimal::from(number)),
            Value::Float(number) => {
                self.problem(format!("{key}: write it as text, \"{number}\""));
                return None;
            }
            _ => None,
        };
        let limit = Decimal::from(LARGEST_AMOUNT);
        let sound = |amount: &Decimal| !amount.is_sign_negative() && *amount <= limit;
        let amount = amount.filter(sound);
        if amount.is_none() {
            self.problem(format!("{key}: a decimal number from 0 to 10^15, as text"));
        }
        amount
    }

    fn included(&mut self, value: Option<Value>) -> Option<Included> {
        match value {
            Some(Value::String(text)) if text == "unlimited" => Some(Included::Unlimited),
            Some(Value::String(text)) if text == "unknown" => Some(Included::Unknown),
            Some(value) => self.amount("included", Some(value)).map(Included::Amount),
            None => {
                self.problem("included: give an amount, \"unlimited\" or \"unknown\"");
                None
            }
        }
    }

    fn overage(&mut self, raw: RawOverage) -> Option<Overage> {
        if raw.unit.is_none() {
            self.problem("overage: unit: say for how much the price is");
        }
        let unit = self.amount("overage: unit", raw.unit);
        if unit.is_some_and(|unit| unit.is_zero()) {
            self.problem("overage: unit: above zero");
        }
        let low = self.amount("overage: low", Some(raw.low));
        let high = match raw.high {
            Some(high) => self.amount("overage: high", Some(high)),
            None => low,
        };
        let (unit, low, high) = (unit?, low?, high?);
        if high < low {
            self.problem("overage: high is less than low");
        }
        Some(Overage { unit, low, high })
    }

    fn percents(&mut self, warning: Option<Value>, critical: Option<Value>) -> (Decimal, Decimal) {
        let warning = match warning {
            Some(value) => self.amount("warning_pct", Some(value)),
            None => Some(USUAL_WARNING),
        };
        let critical = match critical {
            Some(value) => self.amount("critical_pct", Some(value)),
            None => Some(USUAL_CRITICAL),
        };
        let (Some(warning), Some(critical)) = (warning, critical) else {
            return (USUAL_WARNING, USUAL_CRITICAL);
        };
        if warning.is_zero() || warning >= critical || critical > Decimal::ONE_HUNDRED {
            self.problem("warning_pct is above 0 and less than critical_pct, that is at most 100");
        }
        (warning, critical)
    }

    fn source_id(&mut self, catalogue: &Catalogue, id: Option<String>) -> Option<String> {
        match id {
            None => {
                self.problem("source: every number is written somewhere");
                None
            }
            Some(id) if catalogue.source(&id).is_none() => {
                self.problem(format!("source: there is no source `{id}`"));
                None
            }
            known => known,
        }
    }

    /// Whether a row is used: as it says, but never on the word of a source of grade C.
    fn enabled(&mut self, catalogue: &Catalogue, source: Option<&str>, said: Option<bool>) -> bool {
        let source = source.and_then(|id| catalogue.source(id));
        let sound = source.is_some_and(|source| source.grade.is_sound());
        if said == Some(true) && source.is_some() && !sound {
            self.problem("enabled: what is of grade C is not used");
        }
        said.unwrap_or(sound)
    }

    fn page_date(&mut self, value: Option<Value>) -> Option<PageDate> {
        match value {
            Some(Value::String(text)) => self.expect("page_date", text.parse()),
            Some(Value::Datetime(date)) => self.expect("page_date", date.to_string().parse()),
            Some(Value::Integer(year)) => self.expect("page_date", year.to_string().parse()),
            Some(_) => {
                self.problem("page_date: a date such as 2026-02-27");
                None
            }
            None => {
                self.problem("page_date: give the date on the page, or \"undated\"");
                None
            }
        }
    }

    fn day(&mut self, key: &str, value: Option<Value>) -> Option<NaiveDate> {
        let text = match value {
            Some(Value::String(text)) => text,
            Some(Value::Datetime(date)) => date.to_string(),
            _ => String::new(),
        };
        let day = text.parse().ok();
        if day.is_none() {
            self.problem(format!("{key}: a day such as 2026-02-27"));
        }
        day
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = r#"
schema = 1
version = "2026.1"

[[source]]
id = "page"
url = "https://example.com/prices"
page_date = 2026-01-02
read_on = 2026-01-03
confidence = "A"

[[plan]]
service = "VERCEL_BANDWIDTH"
provider = "vercel"
plan = "pro"
fixed_price = "20.00"
fixed_price_scope = "provider"
credit = "20.00"

[[plan.limit]]
metric = "BANDWIDTH_GB"
kind = "period"
period = "billing_month"
included = "1000"
at_limit = "bill"
overage = { unit = "1", low = "0.15", high = "0.35" }
warning_pct = 75
critical_pct = 90
source = "page"
"#;

    /// The problems of the sound file with one piece replaced.
    fn problems(piece: &str, by: &str) -> Vec<String> {
        assert!(SOUND.contains(piece), "{piece}");
        match parse(&SOUND.replacen(piece, by, 1)) {
            Ok(_) => Vec::new(),
            Err(invalid) => invalid.problems.iter().map(Problem::to_string).collect(),
        }
    }

    #[test]
    fn a_plan_is_read_with_its_price_to_the_last_digit() {
        let catalogue = parse(SOUND).unwrap();
        let plan = catalogue.plan("vercel", "pro").unwrap();
        assert_eq!(plan.fixed_price, Decimal::from_str_exact("20.00").ok());
        assert_eq!(plan.source, "page");
        let limit = plan
            .limit(Service::VercelBandwidth, Metric::BandwidthGb)
            .unwrap();
        assert_eq!(limit.included, Included::Amount(Decimal::from(1000)));
        assert_eq!(limit.overage.unwrap().high, Decimal::new(35, 2));
        assert_eq!(
            catalogue.provider_of(Service::VercelBandwidth),
            Some("vercel")
        );
        assert_eq!(catalogue.provider_of(Service::VercelKv), None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_its_row() {
        let cases = [
            (
                "schema = 1",
                "schema = 2",
                "line 1: schema: 2 is unknown; this program reads 1",
            ),
            (
                "2026.1",
                "spring",
                "line 1: version: numbers with dots between them, such as 2026.11.21",
            ),
            (
                "page_date = 2026-01-02\n",
                "",
                "line 5: source page: page_date: give the date on the page, or \"undated\"",
            ),
            (
                "\"A\"",
                "\"D\"",
                "line 5: source page: confidence: `D` is no grade; there are A, B, C",
            ),
            (
                "\"20.00\"",
                "20.00",
                "line 12: plan vercel pro: fixed_price: write it as text, \"20\"",
            ),
            (
                "\"20.00\"",
                "\"-1\"",
                "line 12: plan vercel pro: fixed_price: a decimal number from 0 to 10^15, as text",
            ),
            (
                "\"vercel\"",
                "\"Vercel\"",
                "line 12: plan Vercel pro: provider: lower-case letters, digits, - _ . and not more than 64 of them",
            ),
            (
                "source = \"page\"",
                "source = \"other\"",
                "line 20: plan vercel pro, limit VERCEL_BANDWIDTH BANDWIDTH_GB: source: there is no source `other`",
            ),
            (
                "source = \"page\"",
                "",
                "line 20: plan vercel pro, limit VERCEL_BANDWIDTH BANDWIDTH_GB: source: every number is written somewhere",
            ),
            (
                "critical_pct = 90",
                "critical_pct = 75",
                "line 20: plan vercel pro, limit VERCEL_BANDWIDTH BANDWIDTH_GB: warning_pct is above 0 and less than critical_pct, that is at most 100",
            ),
            (
                "metric = \"BANDWIDTH_GB\"",
                "vendor_metric = \"transfer\"",
                "line 20: plan vercel pro, limit VERCEL_BANDWIDTH transfer: unit: what a vendor_metric counts must be said",
            ),
            (
                "unit = \"1\", ",
                "",
                "line 20: plan vercel pro, limit VERCEL_BANDWIDTH BANDWIDTH_GB: overage: unit: say for how much the price is",
            ),
            (
                "high = \"0.35\"",
                "high = \"0.1\"",
                "line 20: plan vercel pro, limit VERCEL_BANDWIDTH BANDWIDTH_GB: overage: high is less than low",
            ),
            (
                "included = \"1000\"",
                "included = nan",
                "line 20: plan vercel pro, limit VERCEL_BANDWIDTH BANDWIDTH_GB: included: write it as text, \"NaN\"",
            ),
            (
                "included = \"1000\"",
                "included = \"1e400\"",
                "line 20: plan vercel pro, limit VERCEL_BANDWIDTH BANDWIDTH_GB: included: a decimal number from 0 to 10^15, as text",
            ),
            (
                "BANDWIDTH_GB",
                "PETABYTES",
                "line 20: plan vercel pro, limit VERCEL_BANDWIDTH PETABYTES: metric: `PETABYTES` is no metric; there are STORAGE_MB, STORAGE_GB, COMMANDS_PER_DAY, CONNECTIONS, LATENCY_MS, BANDWIDTH_GB, INVOCATIONS, BUILD_MINUTES, REQUEST_COUNT, COST_USD, USAGE_PERCENT",
            ),
        ];
        for (piece, by, problem) in cases {
            let found = problems(piece, by);
            assert!(
                found.iter().any(|found| found == problem),
                "{found:#?}\n{problem}"
            );
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_and_what_is_no_toml_by_its_line() {
        let text = SOUND
            .replace("\"A\"", "\"Z\"")
            .replace("\"1000\"", "\"many\"");
        assert_eq!(parse(&text).unwrap_err().problems.len(), 4);
        assert_eq!(
            parse("schema = 1\nversion = [").unwrap_err().problems[0].line,
            2
        );
        let unknown = problems("credit =", "discount =");
        assert!(
            unknown[0].contains("unknown field `discount`"),
            "{unknown:?}"
        );
        for bytes in [&b"\x00\xff\xfe"[..], &[b' '; LARGEST_BYTES + 1], b"", b"{}"] {
            assert!(parse_bytes(bytes).is_err());
        }
    }

    #[test]
    fn a_source_of_grade_c_turns_its_rows_off_and_they_cannot_be_turned_on() {
        let text = SOUND.replace("\"A\"", "\"C\"");
        let catalogue = parse(&text).unwrap();
        assert!(!catalogue.plans[0].enabled);
        assert_eq!(catalogue.plans[0].limits_in_use().count(), 0);
        let text = text.replace("source = \"page\"", "source = \"page\"\nenabled = true");
        let invalid = parse(&text).unwrap_err();
        assert_eq!(
            invalid.problems[0].what,
            "enabled: what is of grade C is not used"
        );
    }

    #[test]
    fn a_plan_in_several_pieces_is_one_if_they_agree_on_its_price() {
        let more = r#"
[[plan]]
service = "VERCEL_EDGE_REQUESTS"
provider = "vercel"
plan = "pro"
fixed_price = "20.00"
credit = "20.00"

[[plan.limit]]
metric = "REQUEST_COUNT"
kind = "period"
period = "billing_month"
included = "10000000"
source = "page"
"#;
        let both = format!("{SOUND}{more}");
        let catalogue = parse(&both).unwrap();
        assert_eq!(
            (catalogue.plans.len(), catalogue.plans[0].limits.len()),
            (1, 2)
        );
        let dearer = format!("{SOUND}{}", more.replace("20.00", "25.00"));
        assert!(parse(&dearer).is_err());
        let twice = format!("{SOUND}{}", SOUND.split_once("[[plan]]").unwrap().1);
        assert!(
            parse(&twice.replacen("confidence = \"A\"", "confidence = \"A\"\n[[plan]]", 1))
                .is_err()
        );
    }
}
