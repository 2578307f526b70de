//! Parses a catalogue from TOML and reports every fault with its line and its row.
//!
//! Nothing is guessed and nothing is dropped: an unknown key, an inexact number and a row without a source are
//! errors. All of them are reported at once, so that a file can be corrected in one pass.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use toml::Spanned;

use super::api_limit::Unit;
use super::catalogue::{
    AtLimit, Budget, Catalogue, Cited, Included, InvalidCatalogue, Limited, Overage, Plan,
    PlanLimit, Price, PriceScope, Problem, PublishedApiLimit, Source, Version,
};
use super::raw::{
    Amount, Field, RawApiLimit, RawBudget, RawFile, RawLimit, RawOverage, RawPlan, RawPrice,
    RawSource,
};
use super::source::PageDate;
use crate::domain::api_name;
use crate::domain::metrics::names::{Metric, MetricKind, Service};
use crate::domain::period::Period;

pub const EMBEDDED: &str = include_str!("catalogue.toml");

const SCHEMA: i64 = 1;

/// The largest file accepted; ours has not a twentieth of it.
pub const LARGEST_BYTES: usize = 1 << 20;

/// The share of a limit at which it warns, unless its row has another.
pub const DEFAULT_WARNING: Decimal = Decimal::from_parts(75, 0, 0, false, 0);
/// The share of a limit at which it is critical, unless its row has another.
pub const DEFAULT_CRITICAL: Decimal = Decimal::from_parts(90, 0, 0, false, 0);

impl Catalogue {
    pub fn embedded() -> Result<Catalogue, InvalidCatalogue> {
        parse(EMBEDDED)
    }
}

pub fn parse_bytes(bytes: &[u8]) -> Result<Catalogue, InvalidCatalogue> {
    if bytes.len() > LARGEST_BYTES {
        return Err(InvalidCatalogue::at_line(1, "larger than 1 MiB"));
    }
    match str::from_utf8(bytes) {
        Ok(text) => parse(text),
        Err(_) => Err(InvalidCatalogue::at_line(1, "not UTF-8 text")),
    }
}

pub fn parse(text: &str) -> Result<Catalogue, InvalidCatalogue> {
    let file: RawFile = toml::from_str(text).map_err(|error| {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        InvalidCatalogue::at_line(line, error.message())
    })?;
    let mut reader = Reader {
        text,
        at: 0,
        place: String::new(),
        problems: Vec::new(),
    };
    let catalogue = reader.catalogue(file);
    let mut problems = reader.problems;
    match catalogue {
        Some(catalogue) if problems.is_empty() => Ok(catalogue),
        _ => {
            problems.sort_by_key(|problem| problem.line);
            Err(InvalidCatalogue { problems })
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    1 + before.filter(|byte| **byte == b'\n').count()
}

/// Reads row after row and collects the faults. A row with a fault may be left out, as the whole file is refused
/// in the end.
struct Reader<'a> {
    text: &'a str,
    /// Where the row that is being read begins.
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

    fn require(&mut self, is_met: bool, what: impl Into<String>) {
        if !is_met {
            self.problem(what);
        }
    }

    fn enter<T>(&mut self, row: Spanned<T>, place: impl FnOnce(&T) -> String) -> T {
        self.at = row.span().start;
        let row = row.into_inner();
        self.place = place(&row);
        row
    }

    fn read<T>(&mut self, key: &str, field: Field<T>) -> Option<T> {
        let fault = |fault| self.problem(format!("{key}: {fault}"));
        field.0.map_err(fault).ok()
    }

    fn read_or<T>(&mut self, key: &str, field: Option<Field<T>>, default: T) -> Option<T> {
        match field {
            Some(field) => self.read(key, field),
            None => Some(default),
        }
    }

    fn amount(&mut self, key: &str, field: Option<Field<Amount>>) -> Option<Decimal> {
        let amount = field.and_then(|field| self.read(key, field));
        amount.map(|amount| amount.0)
    }

    fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, key: &str, text: &str) -> Option<T> {
        let parsed = text.parse().map_err(|error: T::Err| error.to_string());
        self.read(key, Field(parsed))
    }

    fn catalogue(&mut self, file: RawFile) -> Option<Catalogue> {
        let (schema, version) = (file.schema, &file.version);
        let unknown = format!("schema: unknown version {schema}; expected {SCHEMA}");
        self.require(schema == SCHEMA, unknown);
        let invalid = format!(
            "version: invalid version `{version}`; expected numbers with dots, such as 2026.11.21"
        );
        let version = Version::parse(version);
        self.require(version.is_some(), invalid);
        let has_rows = !(file.plan.is_empty() && file.budget.is_empty());
        self.require(has_rows, "no plans");
        let mut catalogue = Catalogue {
            version: version?,
            currency: self.currency(file.currency, "USD"),
            sources: Vec::new(),
            plans: Vec::new(),
            prices: Vec::new(),
            budgets: Vec::new(),
        };
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
        let row = self.enter(row, |row| format!("source {}", row.id));
        self.require(!row.id.is_empty(), "id: missing");
        self.require(catalogue.source(&row.id).is_none(), "duplicate id");
        self.require(!row.url.trim().is_empty(), "url: missing");
        let page_date = self.read("page_date", row.page_date);
        let read_on = self.read("read_on", row.read_on);
        let grade = self.read("confidence", row.confidence);
        let (Some(page_date), Some(read_on), Some(grade)) = (page_date, read_on, grade) else {
            return;
        };
        let PageDate::Day(read_on) = read_on else {
            return self.problem(format!("read_on: expected a day, found {read_on}"));
        };
        catalogue.sources.push(Source {
            id: row.id,
            url: row.url,
            page_date,
            read_on,
            grade,
            note: row.note,
        });
    }

    fn plan(&mut self, catalogue: &mut Catalogue, row: Spanned<RawPlan>) {
        let row = self.enter(row, |row| format!("plan {} {}", row.provider, row.plan));
        let place = self.place.clone();
        self.name("provider", &row.provider);
        self.name("plan", &row.plan);
        let of_limits = row.limit.iter().map(|it| &it.as_ref().source);
        let of_api_limits = row.api_limit.iter().map(|it| &it.as_ref().source);
        let sources = std::iter::once(&row.source)
            .chain(of_limits)
            .chain(of_api_limits);
        let source = sources.flatten().next().cloned();
        let cited = self.cited(catalogue, source, row.enabled, row.note);
        let (scope, default) = (row.fixed_price_scope, PriceScope::Provider);
        let scope = self.read_or("fixed_price_scope", scope, default);
        let plan = Plan {
            currency: self.currency(row.currency, &catalogue.currency),
            fixed_price: self.amount("fixed_price", row.fixed_price),
            scope: scope.unwrap_or(default),
            credit: self.amount("credit", row.credit).unwrap_or(Decimal::ZERO),
            seats_included: row.seats_included,
            seat_price: self.amount("seat_price", row.seat_price),
            fallback: row.fallback,
            cited: cited.unwrap_or_default(),
            limits: Vec::new(),
            api_limits: Vec::new(),
            provider: row.provider,
            name: row.plan,
        };
        let is_same = |other: &Plan| other.provider == plan.provider && other.name == plan.name;
        let another_fallback =
            |other: &Plan| other.provider == plan.provider && other.fallback && !is_same(other);
        if plan.fallback && catalogue.plans.iter().any(another_fallback) {
            self.problem("fallback: the provider has another fallback plan");
        }
        // Rows of one plan for several services are one plan.
        let known = catalogue.plans.iter().position(is_same);
        let index = known.unwrap_or(catalogue.plans.len());
        match catalogue.plans.get(index) {
            Some(before) => self.require(
                before.currency == plan.currency
                    && before.fixed_price == plan.fixed_price
                    && before.scope == plan.scope
                    && before.credit == plan.credit
                    && before.seat_price == plan.seat_price,
                "the price differs from that of an earlier row of this plan",
            ),
            None => catalogue.plans.push(plan),
        }
        for limit in row.limit {
            self.limit(catalogue, index, &place, row.service.as_deref(), limit);
        }
        for limit in row.api_limit {
            self.api_limit(catalogue, index, &place, limit);
        }
    }

    fn limit(
        &mut self,
        catalogue: &mut Catalogue,
        plan: usize,
        place: &str,
        service: Option<&str>,
        row: Spanned<RawLimit>,
    ) {
        let row = self.enter(row, |row| {
            let name = row.metric.as_deref().or(row.vendor_metric.as_deref());
            let names = [row.service.as_deref().or(service), name];
            let names: Vec<&str> = names.into_iter().flatten().collect();
            format!("{place}, limit {}", names.join(" "))
        });
        let service = row.service.as_deref().or(service);
        let service: Option<Service> = service.and_then(|name| self.parsed("service", name));
        let limited = match (row.metric, service, row.vendor_metric) {
            (Some(metric), Some(service), _) => self
                .parsed("metric", &metric)
                .map(|metric| Limited::Application(service, metric)),
            (None, service, Some(name)) if !row.unit.trim().is_empty() => Some(Limited::Vendor {
                service,
                name,
                unit: row.unit,
            }),
            (metric, _, name) => {
                self.problem(match (metric, name) {
                    (Some(_), _) => "service: required with metric",
                    (None, Some(_)) => "unit: required with vendor_metric",
                    (None, None) => "metric, or vendor_metric and unit: missing",
                });
                None
            }
        };
        let kind = self.read("kind", row.kind);
        let period = row.period.and_then(|period| self.read("period", period));
        if kind == Some(MetricKind::Period) && period.is_none() {
            self.problem("period: required with kind PERIOD");
        }
        if kind == Some(MetricKind::Gauge) && period.is_some() {
            self.problem("period: not allowed with kind GAUGE");
        }
        let included = self.read("included", row.included);
        let ceiling = self.amount("ceiling", row.ceiling);
        if let (Some(Included::Amount(included)), Some(ceiling)) = (included, ceiling) {
            self.require(ceiling >= included, "ceiling: below the included amount");
        }
        // An unknown consequence must be stated: it is never taken for one that only costs money.
        let at_limit = match (row.at_limit, included) {
            (None, Some(Included::Unlimited)) => Some(AtLimit::Unknown),
            (at_limit, _) => self.read("at_limit", at_limit.unwrap_or_default()),
        };
        let overage = row.overage.and_then(|overage| self.overage(overage));
        if overage.is_some() && at_limit != Some(AtLimit::Bill) {
            self.problem("overage: only allowed with at_limit BILL");
        }
        let (warning_percent, critical_percent) = self.percents(row.warning_pct, row.critical_pct);
        let cited = self.cited(catalogue, row.source, row.enabled, row.note);
        let (Some(limited), Some(kind), Some(included), Some(at_limit), Some(cited)) =
            (limited, kind, included, at_limit, cited)
        else {
            return;
        };
        let others = &catalogue.plans[plan].limits;
        let is_new = others.iter().all(|other| other.limited != limited);
        self.require(is_new, "duplicate limit of this metric");
        if let Limited::Application(service, _) = limited
            && let Some(other) = catalogue.provider_of(service)
            && other != catalogue.plans[plan].provider
        {
            self.problem(format!("{service} already belongs to provider {other}"));
        }
        catalogue.plans[plan].limits.push(PlanLimit {
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
            cited,
        });
    }

    fn api_limit(
        &mut self,
        catalogue: &mut Catalogue,
        plan: usize,
        place: &str,
        row: Spanned<RawApiLimit>,
    ) {
        let row = self.enter(row, |row| format!("{place}, api_limit {}", row.per));
        let period = self.parsed::<Period>("per", &row.per);
        let unit = self.read_or("unit", row.unit, Unit::Calls);
        let value = self.read("value", row.value);
        let has_amount = |value: Included| value.amount().is_some_and(|it| !it.is_zero());
        if value.is_some_and(|value| value != Included::Unknown && !has_amount(value)) {
            self.problem("value: expected an amount above 0, or \"unknown\"");
        }
        let overage = row.overage.and_then(|overage| self.overage(overage));
        let cited = self.cited(catalogue, row.source, row.enabled, row.note);
        let plan = &mut catalogue.plans[plan];
        let mut others = plan.api_limits.iter();
        let is_new = others.all(|other| Some(&other.period) != period.as_ref());
        self.require(is_new, "duplicate limit for this period");
        let api = api_name::parse(&plan.provider).map_err(|error| error.to_string());
        self.read("provider", Field(api));
        if let (Some(period), Some(unit), Some(cited)) = (period, unit, cited) {
            plan.api_limits.push(PublishedApiLimit {
                period,
                unit,
                value: value.and_then(Included::amount),
                overage,
                cited,
            });
        }
    }

    fn price(&mut self, catalogue: &mut Catalogue, row: Spanned<RawPrice>) {
        let row = self.enter(row, |row| format!("price {} {}", row.provider, row.item));
        self.name("provider", &row.provider);
        let price = self.overage(row.price);
        let cited = self.cited(catalogue, row.source, row.enabled, row.note);
        let currency = self.currency(row.currency, &catalogue.currency);
        if let (Some(price), Some(cited)) = (price, cited) {
            catalogue.prices.push(Price {
                provider: row.provider,
                item: row.item,
                unit: row.unit,
                price,
                currency,
                cited,
            });
        }
    }

    fn budget(&mut self, catalogue: &mut Catalogue, row: Spanned<RawBudget>) {
        let row = self.enter(row, |row| format!("budget {} {}", row.service, row.metric));
        let service = self.parsed::<Service>("service", &row.service);
        let metric = self.parsed::<Metric>("metric", &row.metric);
        let amount = self.amount("amount", Some(row.amount));
        let is_zero = amount.is_some_and(|amount| amount.is_zero());
        self.require(!is_zero, "amount: expected an amount above 0");
        let (warning_percent, critical_percent) = self.percents(row.warning_pct, row.critical_pct);
        let (Some(service), Some(metric), Some(amount)) = (service, metric, amount) else {
            return;
        };
        let is_same = |other: &Budget| (other.service, other.metric) == (service, metric);
        let is_new = !catalogue.budgets.iter().any(is_same);
        self.require(is_new, "duplicate budget of this metric");
        catalogue.budgets.push(Budget {
            service,
            metric,
            amount,
            warning_percent,
            critical_percent,
            note: row.note,
        });
    }

    /// Names are typed on the command line: lower case only, so that there is one spelling.
    fn name(&mut self, key: &str, name: &str) {
        let is_allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        self.require(
            (1..=64).contains(&name.len()) && name.chars().all(is_allowed),
            format!("{key}: invalid name; expected 1 to 64 of a-z, 0-9, `-`, `_` and `.`"),
        );
    }

    fn currency(&mut self, given: Option<String>, default: &str) -> String {
        let currency = given.unwrap_or_else(|| default.to_owned());
        self.require(
            currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase()),
            format!("currency: invalid currency `{currency}`; expected a code such as USD"),
        );
        currency
    }

    fn overage(&mut self, raw: RawOverage) -> Option<Overage> {
        let unit = self.amount("overage.unit", Some(raw.unit));
        let low = self.amount("overage.low", Some(raw.low));
        let high = match raw.high {
            Some(high) => self.amount("overage.high", Some(high)),
            None => low,
        };
        let (unit, low, high) = (unit?, low?, high?);
        self.require(!unit.is_zero(), "overage.unit: expected an amount above 0");
        self.require(high >= low, "overage.high: below overage.low");
        Some(Overage { unit, low, high })
    }

    fn percents(
        &mut self,
        warning: Option<Field<Amount>>,
        critical: Option<Field<Amount>>,
    ) -> (Decimal, Decimal) {
        let warning = self.read_or("warning_pct", warning, Amount(DEFAULT_WARNING));
        let critical = self.read_or("critical_pct", critical, Amount(DEFAULT_CRITICAL));
        let (Some(Amount(warning)), Some(Amount(critical))) = (warning, critical) else {
            return (DEFAULT_WARNING, DEFAULT_CRITICAL);
        };
        if warning.is_zero() || warning >= critical || critical > Decimal::ONE_HUNDRED {
            self.problem(format!(
                "warning_pct {warning}, critical_pct {critical}: expected 0 < warning_pct < critical_pct <= 100"
            ));
        }
        (warning, critical)
    }

    /// The source of a row, and whether the row is used: never if the source is of grade C.
    fn cited(
        &mut self,
        catalogue: &Catalogue,
        id: Option<String>,
        enabled: Option<bool>,
        note: Option<String>,
    ) -> Option<Cited> {
        let Some(source) = id else {
            self.problem("source: missing");
            return None;
        };
        let Some(page) = catalogue.source(&source) else {
            self.problem(format!("source: unknown source `{source}`"));
            return None;
        };
        let is_usable = page.grade.is_usable();
        if enabled == Some(true) && !is_usable {
            self.problem("enabled: a row with a source of grade C cannot be enabled");
        }
        Some(Cited {
            source,
            enabled: enabled.unwrap_or(is_usable),
            note,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = r#"
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

    /// The problems of the valid file with one piece replaced.
    fn problems(piece: &str, by: &str) -> Vec<String> {
        assert!(VALID.contains(piece), "{piece}");
        match parse(&VALID.replacen(piece, by, 1)) {
            Ok(_) => Vec::new(),
            Err(invalid) => invalid.problems.iter().map(Problem::to_string).collect(),
        }
    }

    #[test]
    fn prices_and_limits_are_exact() {
        let catalogue = parse(VALID).unwrap();
        let plan = catalogue.plan("vercel", "pro").unwrap();
        assert_eq!(plan.fixed_price, Decimal::from_str_exact("20.00").ok());
        assert_eq!(plan.cited.source, "page");
        let (service, metric) = (Service::VercelBandwidth, Metric::BandwidthGb);
        let limit = plan.limit(service, metric).unwrap();
        assert_eq!(limit.included, Included::Amount(Decimal::from(1000)));
        assert_eq!(limit.overage.unwrap().high, Decimal::new(35, 2));
        assert_eq!(catalogue.provider_of(service), Some("vercel"));
        assert_eq!(catalogue.provider_of(Service::VercelKv), None);
    }

    #[test]
    fn problem_names_line_row_key_and_expectation() {
        const SOURCE: &str = "line 5: source page: ";
        const PLAN: &str = "line 12: plan vercel pro: ";
        const LIMIT: &str = "line 20: plan vercel pro, limit VERCEL_BANDWIDTH ";
        // A piece of the file, its replacement, and the problem.
        let cases = r#"
schema = 1 > schema = 2 > line 1: schema: unknown version 2; expected 1
2026.1 > spring > line 1: version: invalid version `spring`; expected numbers with dots, such as 2026.11.21
page_date = 2026-01-02 >  > SOURCE page_date: missing
"A" > "D" > SOURCE confidence: invalid grade `D`; expected one of A, B, C
read_on = 2026-01-03 > read_on = 2026 > SOURCE read_on: expected a day, found 2026
"20.00" > 20.00 > PLAN fixed_price: write decimals as text: "20"
"20.00" > "-1" > PLAN fixed_price: invalid amount `-1`; expected a decimal from 0 to 10^15
"vercel" > "Vercel" > line 12: plan Vercel pro: provider: invalid name; expected 1 to 64 of a-z, 0-9, `-`, `_` and `.`
source = "page" > source = "other" > LIMIT BANDWIDTH_GB: source: unknown source `other`
source = "page" >  > LIMIT BANDWIDTH_GB: source: missing
critical_pct = 90 > critical_pct = 75 > LIMIT BANDWIDTH_GB: warning_pct 75, critical_pct 75: expected 0 < warning_pct < critical_pct <= 100
at_limit = "bill" >  > LIMIT BANDWIDTH_GB: at_limit: missing
unit = "1",  >  > LIMIT BANDWIDTH_GB: overage.unit: missing
high = "0.35" > high = "0.1" > LIMIT BANDWIDTH_GB: overage.high: below overage.low
period = "billing_month" >  > LIMIT BANDWIDTH_GB: period: required with kind PERIOD
included = "1000" > included = nan > LIMIT BANDWIDTH_GB: included: write decimals as text: "NaN"
included = "1000" > included = "1e400" > LIMIT BANDWIDTH_GB: included: invalid amount `1e400`; expected a decimal from 0 to 10^15
metric = "BANDWIDTH_GB" > vendor_metric = "transfer" > LIMIT transfer: unit: required with vendor_metric
BANDWIDTH_GB > PETABYTES > LIMIT PETABYTES: metric: invalid metric `PETABYTES`; expected one of STORAGE_MB, STORAGE_GB, COMMANDS_PER_DAY, CONNECTIONS, LATENCY_MS, BANDWIDTH_GB, INVOCATIONS, BUILD_MINUTES, REQUEST_COUNT, COST_USD, USAGE_PERCENT
"#;
        for case in cases.trim().lines() {
            let parts: Vec<&str> = case.splitn(3, " > ").collect();
            let expected = parts[2]
                .replace("SOURCE ", SOURCE)
                .replace("PLAN ", PLAN)
                .replace("LIMIT ", LIMIT);
            let found = problems(parts[0], parts[1]);
            assert!(found.contains(&expected), "{found:#?}\n{expected}");
        }
    }

    #[test]
    fn all_problems_are_reported_at_once_and_invalid_toml_by_its_line() {
        let text = VALID.replace("\"A\"", "\"Z\"");
        let text = text.replace("\"1000\"", "\"many\"");
        assert_eq!(parse(&text).unwrap_err().problems.len(), 4);
        let invalid = parse("schema = 1\nversion = [").unwrap_err();
        assert_eq!(invalid.problems[0].line, 2);
        let unknown = problems("credit =", "discount =");
        let expected = "unknown field `discount`";
        assert!(unknown[0].contains(expected), "{unknown:?}");
        for bytes in [&b"\x00\xff\xfe"[..], &[b' '; LARGEST_BYTES + 1], b"", b"{}"] {
            assert!(parse_bytes(bytes).is_err());
        }
    }

    #[test]
    fn rows_with_source_of_grade_c_are_disabled_and_cannot_be_enabled() {
        let text = VALID.replace("\"A\"", "\"C\"");
        let catalogue = parse(&text).unwrap();
        assert!(!catalogue.plans[0].cited.enabled);
        assert_eq!(catalogue.plans[0].limits_in_use().count(), 0);
        let text = text.replace("source = \"page\"", "source = \"page\"\nenabled = true");
        let invalid = parse(&text).unwrap_err();
        let expected = "enabled: a row with a source of grade C cannot be enabled";
        assert_eq!(invalid.problems[0].what, expected);
    }

    #[test]
    fn rows_of_one_plan_are_merged_if_their_prices_agree() {
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
at_limit = "bill"
source = "page"
"#;
        let both = format!("{VALID}{more}");
        let plans = parse(&both).unwrap().plans;
        assert_eq!((plans.len(), plans[0].limits.len()), (1, 2));
        let dearer = format!("{VALID}{}", more.replace("20.00", "25.00"));
        assert!(parse(&dearer).is_err());
        let twice = format!("{VALID}{}", VALID.split_once("[[plan]]").unwrap().1);
        let twice = twice.replacen("confidence = \"A\"", "confidence = \"A\"\n[[plan]]", 1);
        assert!(parse(&twice).is_err());
    }
}
