//! What one catalogue says otherwise than another.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::{Catalogue, Included, Overage, Plan, PlanLimit, PublishedApiLimit};
use super::source::{Grade, PageDate};
use crate::domain::named::named;

named! {
    /// How a row of two catalogues differs.
    Difference, "difference" {
        /// Only the new one has it.
        Added = "ADDED",
        /// Both have it, and say something else.
        Changed = "CHANGED",
        /// Only the old one has it.
        Removed = "REMOVED",
    }
}

/// One row that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub difference: Difference,
    pub what: String,
    /// What the old one says.
    pub before: Option<String>,
    /// What the new one says.
    pub after: Option<String>,
}

/// A row of a catalogue in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whose plan; empty for the user's own budgets.
    pub provider: String,
    /// Which plan; none for what belongs to no plan.
    pub plan: Option<String>,
    pub what: String,
    /// What it says about it.
    pub terms: String,
    /// How good its source is.
    pub grade: Option<Grade>,
    /// The date on that page.
    pub page_date: Option<PageDate>,
    pub source: Option<String>,
    /// What else there is to say.
    pub note: Option<String>,
}

impl Said {
    /// Every row of a catalogue, in its order.
    pub fn all(catalogue: &Catalogue) -> Vec<Said> {
        let row = |provider: &str, plan: Option<&str>, what: String, terms: String| Said {
            provider: provider.to_owned(),
            plan: plan.map(str::to_owned),
            what,
            terms,
            grade: None,
            page_date: None,
            source: None,
            note: None,
        };
        let written = |row: Said, source: &str, note: &Option<String>| {
            let source = catalogue.source(source);
            Said {
                grade: source.map(|source| source.grade),
                page_date: source.map(|source| source.page_date),
                source: source.map(|source| source.url.clone()),
                note: note.clone(),
                ..row
            }
        };
        let mut said = Vec::new();
        for plan in &catalogue.plans {
            let of_plan = |what, terms| row(&plan.provider, Some(&plan.name), what, terms);
            let price = of_plan("price".to_owned(), price_terms(plan));
            said.push(written(price, &plan.source, &plan.note));
            for limit in &plan.limits {
                let terms = limit_terms(limit, &plan.currency);
                let limited = of_plan(limit.limited.to_string(), terms);
                said.push(written(limited, &limit.source, &limit.note));
            }
            for limit in &plan.api_limits {
                let what = format!("{} per {}", limit.unit, limit.period);
                let limited = of_plan(what, api_terms(limit, &plan.currency));
                said.push(written(limited, &limit.source, &limit.note));
            }
        }
        for price in &catalogue.prices {
            let terms = off(price.enabled) + &overage_terms(price.price, &price.currency);
            let terms = format!("{terms} {}", price.unit);
            let priced = row(&price.provider, None, price.item.clone(), terms);
            said.push(written(priced, &price.source, &price.note));
        }
        for budget in &catalogue.budgets {
            let what = format!("budget {} {}", budget.service, budget.metric);
            let terms = budget.amount.normalize().to_string();
            let note = budget.note.clone();
            said.push(Said {
                note,
                ..row("", None, what, terms)
            });
        }
        said
    }

    fn name(&self) -> String {
        let plan = self.plan.as_deref().unwrap_or_default();
        let name = format!("{} {plan}: {}", self.provider, self.what);
        name.replace(" : ", ": ")
            .trim_start_matches(": ")
            .to_owned()
    }

    fn page(&self) -> String {
        match (&self.source, self.page_date) {
            (Some(url), Some(date)) => format!("{url} of {date}"),
            _ => String::new(),
        }
    }
}

/// Every row that differs, by its name: in its terms, or else in the page on which they are written.
pub fn diff(old: &Catalogue, new: &Catalogue) -> Vec<Entry> {
    let said = |catalogue| -> BTreeMap<String, (String, String)> {
        let rows = Said::all(catalogue).into_iter();
        rows.map(|row| (row.name(), (row.terms.clone(), row.page())))
            .collect()
    };
    let (old, new) = (said(old), said(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let entry = |name: &String| {
        let (before, after) = (old.get(name), new.get(name));
        let difference = match (before, after) {
            (None, _) => Difference::Added,
            (_, None) => Difference::Removed,
            (before, after) if before == after => return None,
            _ => Difference::Changed,
        };
        let same_terms = before.map(|(terms, _)| terms) == after.map(|(terms, _)| terms);
        let told = |said: &(String, String)| {
            let (terms, page) = said.clone();
            if same_terms { page } else { terms }
        };
        Some(Entry {
            difference,
            what: name.clone(),
            before: before.map(told),
            after: after.map(told),
        })
    };
    names.into_iter().filter_map(entry).collect()
}

fn off(enabled: bool) -> String {
    match enabled {
        true => String::new(),
        false => "not used: ".to_owned(),
    }
}

/// What a plan costs.
fn price_terms(plan: &Plan) -> String {
    let mut terms = off(plan.enabled);
    terms += &match plan.fixed_price {
        Some(price) => format!("{} {} a month", price.normalize(), plan.currency),
        None => "by contract".to_owned(),
    };
    if !plan.credit.is_zero() {
        terms += &format!(", credit {}", plan.credit.normalize());
    }
    if let Some(seat) = plan.seat_price {
        let included = plan.seats_included;
        terms += &format!(", {included} seats, each more {}", seat.normalize());
    }
    terms
}

/// What a plan includes of something.
fn limit_terms(limit: &PlanLimit, currency: &str) -> String {
    let mut terms = off(limit.enabled) + &limit.included.to_string();
    if let Some(period) = limit.period {
        terms += &format!(" per {period}");
    }
    if let Some(each) = &limit.each {
        terms += &format!(", each {each}");
    }
    if let Some(ceiling) = limit.ceiling {
        terms += &format!(", at most {}", ceiling.normalize());
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
    let value = limit.value.map(|value| value.normalize().to_string());
    let mut terms = off(limit.enabled) + value.as_deref().unwrap_or("unknown");
    if let Some(overage) = limit.overage {
        terms += &format!(", then {}", overage_terms(overage, currency));
    }
    terms
}

fn overage_terms(overage: Overage, currency: &str) -> String {
    let (low, high) = (overage.low.normalize(), overage.high.normalize());
    let price = match low == high {
        true => low.to_string(),
        false => format!("{low} to {high}"),
    };
    format!("{price} {currency} for {}", overage.unit.normalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plans::parse::{self, EMBEDDED};

    #[test]
    fn what_differs_is_told_row_by_row() {
        let old = Catalogue::embedded().unwrap();
        assert_eq!(diff(&old, &old), []);
        let text = EMBEDDED
            .replace("included = \"256\"", "included = \"300\"")
            .replace("plan = \"fixed-5gb\"", "plan = \"fixed-6gb\"")
            .replace("low = \"0.15\"", "low = \"0.12\"");
        let found = diff(&old, &parse::parse(&text).unwrap());
        let short = |entry: &Entry| format!("{} {}", entry.difference, entry.what);
        let found_names: Vec<String> = found.iter().map(short).collect();
        // A limit, a price, and the five rows of a plan under two names.
        assert_eq!(found_names.len(), 12, "{found_names:#?}");
        assert!(found_names.contains(&"CHANGED upstash free: VERCEL_KV STORAGE_MB".to_owned()));
        assert!(found_names.contains(&"REMOVED upstash fixed-5gb: price".to_owned()));
        let transfer = found
            .iter()
            .find(|it| it.what.starts_with("vercel pro:"))
            .unwrap();
        let terms = "1000 per BILLING_MONTH, then 0.12 to 0.35 USD for 1";
        assert_eq!(transfer.after.as_deref(), Some(terms));
        let moved = EMBEDDED.replace("page_date = 2026-06-18", "page_date = 2026-11-30");
        let moved = diff(&old, &parse::parse(&moved).unwrap());
        let page =
            "https://github.com/upstash/docs/blob/1384707c/redis/overall/billing.mdx of 2026-11-30";
        assert!(moved.iter().all(|it| it.after.as_deref() == Some(page)));
    }
}
