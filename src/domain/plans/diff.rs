//! The rows of a catalogue as text, and how two catalogues differ.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde::Serialize;

use super::catalogue::{Catalogue, Cited, Included, Overage, Plan, PlanLimit, PublishedApiLimit};
use super::source::Citation;
use crate::domain::format::{decimal, usd};
use crate::domain::named::named;

named! {
    /// How a row of two catalogues differs.
    Difference, "difference" {
        Added = "ADDED",
        Changed = "CHANGED",
        Removed = "REMOVED",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiffRow {
    pub difference: Difference,
    pub row: String,
    /// Its terms in the old catalogue, or its page where only that differs.
    pub before: Option<String>,
    /// The same in the new one.
    pub now: Option<String>,
}

/// A row of a catalogue as text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CatalogueRow {
    /// Empty for the user's own budgets.
    #[serde(skip)]
    pub provider: String,
    /// None for what belongs to no plan.
    pub plan: Option<String>,
    /// The limit or price.
    pub what: String,
    pub terms: String,
    #[serde(flatten)]
    pub citation: Citation,
    pub note: Option<String>,
}

impl CatalogueRow {
    /// Every row of a catalogue, in its order.
    pub fn all(catalogue: &Catalogue) -> Vec<CatalogueRow> {
        let row = |(provider, plan): (&str, Option<&str>), what, terms, cited: &Cited| {
            let prefix = if cited.enabled { "" } else { "disabled: " };
            CatalogueRow {
                provider: provider.to_owned(),
                plan: plan.map(str::to_owned),
                what,
                terms: format!("{prefix}{terms}"),
                citation: catalogue.citation(&cited.source),
                note: cited.note.clone(),
            }
        };
        let mut rows = Vec::new();
        for plan in &catalogue.plans {
            let owner = (plan.provider.as_str(), Some(plan.name.as_str()));
            let price = "price".to_owned();
            rows.push(row(owner, price, price_terms(plan), &plan.cited));
            rows.extend(plan.limits.iter().map(|limit| {
                let terms = limit_terms(limit, &plan.currency);
                row(owner, limit.limited.to_string(), terms, &limit.cited)
            }));
            rows.extend(plan.api_limits.iter().map(|limit| {
                let what = format!("{} per {}", limit.unit, limit.period);
                let terms = api_terms(limit, &plan.currency);
                row(owner, what, terms, &limit.cited)
            }));
        }
        rows.extend(catalogue.prices.iter().map(|price| {
            let terms = overage_terms(price.price, &price.currency);
            let terms = format!("{terms} {}", price.unit);
            let owner = (price.provider.as_str(), None);
            row(owner, price.item.clone(), terms, &price.cited)
        }));
        rows.extend(catalogue.budgets.iter().map(|budget| CatalogueRow {
            provider: String::new(),
            plan: None,
            what: format!("budget {} {}", budget.service, budget.metric),
            terms: decimal(budget.amount),
            citation: Citation::default(),
            note: budget.note.clone(),
        }));
        rows
    }

    fn name(&self) -> String {
        match (self.provider.as_str(), &self.plan) {
            ("", _) => self.what.clone(),
            (provider, Some(plan)) => format!("{provider} {plan}: {}", self.what),
            (provider, None) => format!("{provider}: {}", self.what),
        }
    }

    fn page(&self) -> String {
        match (&self.citation.source, self.citation.page_date) {
            (Some(url), Some(date)) => format!("{url} of {date}"),
            _ => String::new(),
        }
    }
}

/// The rows that differ in their terms, or else in their page; by name.
pub fn diff(old: &Catalogue, new: &Catalogue) -> Vec<DiffRow> {
    let by_name = |catalogue| -> BTreeMap<String, CatalogueRow> {
        let rows = CatalogueRow::all(catalogue).into_iter();
        rows.map(|row| (row.name(), row)).collect()
    };
    let (old, new) = (by_name(old), by_name(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let compare = |name: &String| {
        let (before, now) = (old.get(name), new.get(name));
        let terms = |row: Option<&CatalogueRow>| row.map(|row| row.terms.clone());
        let page = |row: Option<&CatalogueRow>| row.map(CatalogueRow::page);
        let (before, now) = if terms(before) == terms(now) {
            (page(before), page(now))
        } else {
            (terms(before), terms(now))
        };
        let difference = match (&before, &now) {
            (None, _) => Difference::Added,
            (_, None) => Difference::Removed,
            (before, now) if before == now => return None,
            _ => Difference::Changed,
        };
        Some(DiffRow {
            difference,
            row: name.clone(),
            before,
            now,
        })
    };
    names.into_iter().filter_map(compare).collect()
}

fn price_terms(plan: &Plan) -> String {
    let mut terms = match plan.fixed_price {
        Some(amount) => format!("{} a month", price(amount, &plan.currency)),
        None => "by contract".to_owned(),
    };
    if !plan.credit.is_zero() {
        terms += &format!(", credit {}", price(plan.credit, &plan.currency));
    }
    if let Some(seat) = plan.seat_price {
        let (included, seat) = (plan.seats_included, price(seat, &plan.currency));
        terms += &format!(", {included} seats included, {seat} for each more");
    }
    terms
}

fn limit_terms(limit: &PlanLimit, currency: &str) -> String {
    let mut terms = amount_terms(limit.included);
    if let Some(period) = limit.period {
        terms += &format!(" per {period}");
    }
    if let Some(each) = &limit.each {
        terms += &format!(", each {each}");
    }
    if let Some(ceiling) = limit.ceiling {
        terms += &format!(", at most {}", decimal(ceiling));
    }
    match limit.overage {
        Some(overage) => terms += &format!(", then {}", overage_terms(overage, currency)),
        None if limit.included != Included::Unlimited => {
            terms += &format!(", then {}", limit.at_limit);
        }
        None => {}
    }
    terms
}

fn api_terms(limit: &PublishedApiLimit, currency: &str) -> String {
    let included = limit.value.map_or(Included::Unknown, Included::Amount);
    let mut terms = amount_terms(included);
    if let Some(overage) = limit.overage {
        terms += &format!(", then {}", overage_terms(overage, currency));
    }
    terms
}

fn amount_terms(included: Included) -> String {
    let amount = included.amount().map(decimal);
    amount.unwrap_or_else(|| included.to_string())
}

fn overage_terms(overage: Overage, currency: &str) -> String {
    let [low, high] = [overage.low, overage.high].map(|it| price(it, currency));
    let range = if low == high {
        low
    } else {
        format!("{low} to {high}")
    };
    format!("{range} for {}", decimal(overage.unit))
}

/// An amount of money, with all digits of a price below a cent.
fn price(amount: Decimal, currency: &str) -> String {
    match currency {
        "USD" if amount.normalize().scale() <= 2 => usd(amount),
        "USD" => format!("${}", decimal(amount)),
        _ => format!("{} {currency}", decimal(amount)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plans::parse::{self, EMBEDDED};

    #[test]
    fn rows_that_differ_are_listed_with_terms_or_page() {
        let old = Catalogue::embedded().unwrap();
        assert_eq!(diff(&old, &old), []);
        let text = EMBEDDED
            .replace("included = \"256\"", "included = \"300\"")
            .replace("plan = \"fixed-5gb\"", "plan = \"fixed-6gb\"")
            .replace("low = \"0.15\"", "low = \"0.12\"");
        let found = diff(&old, &parse::parse(&text).unwrap());
        let short = |it: &DiffRow| format!("{} {}", it.difference, it.row);
        let found_names: Vec<String> = found.iter().map(short).collect();
        // A limit, a price, and the five rows of a plan under two names.
        assert_eq!(found_names.len(), 12, "{found_names:#?}");
        assert!(found_names.contains(&"CHANGED upstash free: VERCEL_KV STORAGE_MB".to_owned()));
        assert!(found_names.contains(&"REMOVED upstash fixed-5gb: price".to_owned()));
        let transfer = found.iter().find(|it| it.row.starts_with("vercel pro:"));
        let terms = "1,000 per BILLING_MONTH, then $0.12 to $0.35 for 1";
        assert_eq!(transfer.unwrap().now.as_deref(), Some(terms));
        let moved = EMBEDDED.replace("page_date = 2026-06-18", "page_date = 2026-11-30");
        let moved = diff(&old, &parse::parse(&moved).unwrap());
        let page =
            "https://github.com/upstash/docs/blob/1384707c/redis/overall/billing.mdx of 2026-11-30";
        assert!(moved.iter().all(|it| it.now.as_deref() == Some(page)));
    }
}
