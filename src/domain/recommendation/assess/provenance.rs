//! Where the figures come from: measurements, catalogue entries and the user's inputs.

use rust_decimal::Decimal;

use super::Assessor;
use super::cases::included;
use crate::domain::format;
use crate::domain::plans::catalogue::{Plan, PlanLimit};
use crate::domain::plans::{AtLimit, Origin};
use crate::domain::recommendation::candidates::Selection;
use crate::domain::recommendation::cost::{Tariff, decimal};
use crate::domain::recommendation::figure::{Figure, Input, Needed, Provenance, Unit, with_unit};

/// The names of the inputs of a cost.
pub(super) fn of_price(tariff: &Tariff) -> Vec<String> {
    vec!["usage".to_owned(), price_name(tariff)]
}

fn price_name(tariff: &Tariff) -> String {
    format!("price of {}", tariff.plan)
}

fn input(name: impl Into<String>, value: Option<String>, provenance: Provenance) -> Input {
    Input {
        name: name.into(),
        value,
        provenance,
    }
}

fn unknown(needs: Needed) -> Provenance {
    Provenance::Unknown { needs }
}

impl Assessor<'_> {
    pub(super) fn inputs(&self, selection: &Selection<'_>) -> Vec<Input> {
        let (limit, capacity) = (self.in_force, self.capacity);
        let measured = Provenance::Measured {
            at: capacity.measured_at.unwrap_or(self.evidence.now),
        };
        let limit_provenance = match limit.origin {
            Origin::Catalogue => Provenance::Catalogue {
                source: limit.citation.source.clone(),
                page_date: limit.citation.page_date.map(|date| date.to_string()),
                version: limit.citation.catalogue_version.clone(),
            },
            Origin::User | Origin::Budget | Origin::Application => Provenance::User,
        };
        let usage = Figure::exact(self.usage, self.unit).at_least(capacity.is_at_least());
        let usage = usage.short();
        let history = format::counted(capacity.daily.days.len() as u64, "day");
        let limit = with_unit(self.limit, self.unit);
        let mut inputs = vec![
            input("usage", Some(usage), measured.clone()),
            input("history", Some(history), measured),
            input("limit", Some(limit), limit_provenance),
        ];
        let selected = selection.candidates.iter();
        let selected = selected.filter(|candidate| candidate.against.is_none());
        let tariffs = std::iter::once(&self.current).chain(selected.map(|one| one.tariff));
        let tariffs: Vec<&Tariff> = tariffs.collect();
        inputs.extend(tariffs.iter().flat_map(|tariff| self.price_inputs(tariff)));
        inputs.extend(self.other_usage());
        inputs.extend(self.shares());
        // Every priced meter of these plans is listed, measured or not.
        let current = &self.current;
        let unmeasured = tariffs
            .iter()
            .flat_map(|it| it.lacking(current, self.cases()));
        for name in unmeasured.filter(|meter| !self.is_read(meter)) {
            let name = format!("usage of {name}");
            if !inputs.iter().any(|input| input.name == name) {
                inputs.push(input(name, None, unknown(Needed::Measurement)));
            }
        }
        inputs.extend(self.evidence.business.inputs());
        inputs
    }

    /// The usage of the other meters on the same bill.
    fn other_usage(&self) -> impl Iterator<Item = Input> {
        let others = self.evidence.billed.iter();
        let others = others.filter(|other| other.series != self.capacity.series);
        others.map(|other| {
            let (service, metric) = (other.series.service, other.series.metric);
            let name = format!("usage of {service} {metric}");
            let usage = other.usage.filter(|_| !other.state.is_unknown());
            let usage = usage.and_then(decimal);
            match (usage, other.measured_at) {
                (Some(usage), Some(at)) => {
                    let usage = Figure::exact(usage, Unit::Of(metric));
                    let usage = usage.at_least(other.is_at_least()).short();
                    input(name, Some(usage), Provenance::Measured { at })
                }
                _ => input(name, None, unknown(Needed::Measurement)),
            }
        })
    }

    /// The usage of the meters that are measured in percent of what the plan in use includes.
    fn shares(&self) -> impl Iterator<Item = Input> {
        let billed = self.evidence.billed.iter();
        billed.filter(|it| !it.state.is_unknown()).filter_map(|it| {
            let (meter, included) = included(it, self.plan_in_use()?)?;
            let used = decimal(it.usage?)?.saturating_mul(included) / Decimal::ONE_HUNDRED;
            let name = match it.resource().rsplit_once('/') {
                Some((resource, _)) => format!("usage of {meter} of {resource}"),
                None => format!("usage of {meter}"),
            };
            let at = it.measured_at?;
            Some(input(
                name,
                Some(format::decimal(used)),
                Provenance::Measured { at },
            ))
        })
    }

    fn price_inputs(&self, tariff: &Tariff) -> Vec<Input> {
        let catalogue = self.evidence.catalogue;
        let provider = self.in_force.provider.as_deref();
        let plan = provider.and_then(|provider| catalogue.plan(provider, &tariff.plan));
        let Some(plan) = plan else {
            return vec![input(price_name(tariff), None, unknown(Needed::Plan))];
        };
        let listed = |source: &str| {
            let page = catalogue.source(source);
            Provenance::Catalogue {
                source: Some(page.map_or_else(|| source.to_owned(), |page| page.url.clone())),
                page_date: page.map(|page| page.page_date.to_string()),
                version: Some(catalogue.version.to_string()),
            }
        };
        let fixed = tariff.fixed.map(|price| with_unit(price, Unit::Usd));
        let provenance = match fixed {
            Some(_) => listed(&plan.cited.source),
            None => unknown(Needed::Price),
        };
        let mut inputs = vec![input(price_name(tariff), fixed, provenance)];
        inputs.extend(overages(plan, tariff).map(|(limit, value)| {
            let name = format!("overage of {}: {}", plan.name, limit.limited);
            input(name, Some(value), listed(&limit.cited.source))
        }));
        inputs
    }
}

/// What a plan bills beyond its included amounts.
fn overages<'p>(
    plan: &'p Plan,
    tariff: &'p Tariff,
) -> impl Iterator<Item = (&'p PlanLimit, String)> {
    plan.limits_in_use().filter_map(|limit| {
        let allowance = tariff.allowances.get(&limit.limited)?;
        let is_billed = allowance.at_limit == AtLimit::Bill;
        let price = allowance.overage.filter(|_| is_billed)?;
        let included = format::decimal(allowance.included?);
        // Prices of a unit keep all their digits.
        let [low, high, unit] = [price.low, price.high, price.unit].map(format::decimal);
        let range = if low == high {
            format!("${low}")
        } else {
            format!("${low} to ${high}")
        };
        Some((limit, format!("{range} for {unit} beyond {included}")))
    })
}
