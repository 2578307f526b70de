//! Assesses one question: from the capacities of a resource and the prices of the plans to [`Facts`], or to why there
//! are none.

mod cases;
mod comparison;
mod money;
mod outlook;
mod provenance;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use self::cases::cases;
use super::candidates::{Search, Selection};
use super::cost::{Allowance, Case, Cases, Meter, Tariff, decimal};
use super::facts::{Choice, Facts, Kind};
use super::figure::{Figure, Unit};
use super::inputs::{Business, DEFAULT_TOLERANCE, LOW_CONFIDENCE_TOLERANCE};
use super::risk::{Decision, Risk, most_urgent};
use crate::domain::capacity::state::UnknownReason;
use crate::domain::capacity::{Capacity, periods};
use crate::domain::forecast::Confidence;
use crate::domain::format;
use crate::domain::period::Window;
use crate::domain::plans::catalogue::{Catalogue, LimitPeriod, Plan};
use crate::domain::plans::{AtLimit, LimitInForce, Origin};

/// The limits of one plan or budget, and everything known about them.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Each with a limit; at least one.
    pub limited: &'a [&'a Capacity],
    /// Everything measured on the same bill, these included.
    pub billed: &'a [&'a Capacity],
    pub catalogue: &'a Catalogue,
    /// Number of paid seats, if the user set it.
    pub seats: Option<u32>,
    pub business: Business,
    pub now: DateTime<Utc>,
}

/// The result of an assessment.
#[derive(Clone, Debug, PartialEq)]
pub enum Assessment {
    Recommend(Box<Facts>),
    /// Not enough for a new recommendation; an open one is refreshed with these facts.
    Keep(Box<Facts>),
    /// The limit is not near.
    Clear,
    /// No limit can be assessed.
    Unknown,
}

/// Number of whole billing periods after the current one that plans are compared for.
const WHOLE_PERIODS: usize = 3;

/// Number of those whose costs are estimated.
const YEAR: usize = 12;

/// The largest share of a smaller plan that usage may take.
const MOST_USED: Decimal = Decimal::from_parts(6, 0, 0, false, 1);

/// Assesses one question.
///
/// The limit that is most urgent leads: the answer states its figures, and a plan must hold more of its metric.
pub fn assess(evidence: Evidence<'_>) -> Assessment {
    let limited = evidence.limited.iter();
    let mut limited: Vec<(&Capacity, &LimitInForce)> = limited
        .filter_map(|it| Some((*it, it.limit.as_ref()?)))
        .collect();
    // A limit that was measured once blocks the others; one that was never measured does not.
    let is_blocked = |(capacity, _): &(&Capacity, &LimitInForce)| {
        let is_faulty = matches!(capacity.reason, Some(UnknownReason::Fault(_)));
        capacity.state.is_unknown() && !is_faulty && capacity.measured_at.is_some()
    };
    let is_any_blocked = limited.iter().any(is_blocked);
    limited.retain(|(capacity, _)| capacity.is_assessable());
    let Some((capacity, limit)) = most_urgent(limited) else {
        return Assessment::Unknown;
    };
    match Assessor::new(evidence, capacity, limit).map(Assessor::assess) {
        // A limit that cannot be assessed may be the reason of an open recommendation.
        Some(Assessment::Clear) if is_any_blocked => Assessment::Unknown,
        Some(assessed) => assessed,
        None => Assessment::Unknown,
    }
}

/// The evidence, with the plans and the simulated cases.
struct Assessor<'a> {
    evidence: Evidence<'a>,
    /// The most urgent limit.
    capacity: &'a Capacity,
    in_force: &'a LimitInForce,
    limit: Decimal,
    usage: Decimal,
    unit: Unit,
    /// The plan in use.
    current: Tariff,
    /// All plans of the provider.
    plans: Vec<Tariff>,
    /// The whole billing periods that follow the current one, as far as the forecast of the metric reaches.
    periods: Vec<Window>,
    /// The cases of a year, whose first ones are those of these periods.
    year: Vec<Vec<Case>>,
}

impl<'a> Assessor<'a> {
    /// None if the numbers are out of range.
    fn new(
        evidence: Evidence<'a>,
        capacity: &'a Capacity,
        limit: &'a LimitInForce,
    ) -> Option<Assessor<'a>> {
        let provider = limit.provider.as_deref().unwrap_or("");
        let listed = evidence.catalogue.plans_of(provider);
        let listed = listed.filter(|plan| plan.cited.enabled);
        let plans: Vec<Tariff> = listed.map(|it| Tariff::of(it, evidence.seats)).collect();
        let year = whole_periods(limit, evidence.now);
        let periods = within_horizon(&year, capacity, evidence.now);
        let in_use = evidence.catalogue.plan(provider, &limit.plan);
        Some(Assessor {
            limit: decimal(limit.value)?,
            usage: decimal(capacity.usage?)?,
            unit: Unit::Of(limit.metric),
            current: current_tariff(evidence.limited, limit, &plans),
            plans,
            capacity,
            in_force: limit,
            year: cases(evidence.billed, &year, in_use),
            periods,
            evidence,
        })
    }

    fn meter(&self) -> Meter {
        Meter::Application(self.in_force.service, self.in_force.metric)
    }

    /// The cases that plans are compared for.
    fn cases(&self) -> &Cases {
        let count = self.periods.len().min(self.year.len());
        &self.year[..count]
    }

    /// The plan in use as the catalogue has it.
    fn plan_in_use(&self) -> Option<&Plan> {
        let provider = self.in_force.provider.as_deref()?;
        self.evidence.catalogue.plan(provider, &self.in_force.plan)
    }

    /// The share of the cases in which a plan may be too small.
    fn tolerance(&self) -> f64 {
        let forecast = self.capacity.known_forecast();
        let is_low = forecast.is_some_and(|it| it.confidence == Confidence::Low);
        let default = if is_low {
            LOW_CONFIDENCE_TOLERANCE
        } else {
            DEFAULT_TOLERANCE
        };
        self.evidence.business.tolerance.unwrap_or(default)
    }

    fn assess(self) -> Assessment {
        let limit = self.in_force;
        let risk = Risk::of(self.capacity, limit);
        let decision = risk.decision();
        if decision == Decision::Clear {
            return match self.capacity.state.is_unknown() {
                true => Assessment::Unknown,
                false => self.downgrade(risk),
            };
        }
        let is_budget = limit.origin == Origin::Budget;
        let without_plans = |choice| Selection {
            choice,
            candidates: Vec::new(),
        };
        let is_short = self.capacity.measured_days().is_none_or(|days| days < 1.0);
        let selection = if is_budget {
            without_plans(Choice::UseLess)
        } else if is_short && risk.used_percent < 100.0 {
            without_plans(Choice::Watch)
        } else {
            self.search(&self.plans).larger()
        };
        let kind = match selection.choice {
            _ if is_budget => Kind::Budget,
            Choice::Change { .. } | Choice::Contract => Kind::Upgrade,
            Choice::Stay | Choice::UseLess | Choice::Watch => Kind::Reduce,
        };
        let facts = Box::new(self.facts(kind, &selection, risk));
        match decision {
            Decision::Recommend => Assessment::Recommend(facts),
            Decision::Keep | Decision::Clear => Assessment::Keep(facts),
        }
    }

    fn search<'s>(&'s self, plans: &'s [Tariff]) -> Search<'s> {
        Search {
            current: &self.current,
            plans,
            meter: self.meter(),
            may_stay: self.in_force.at_limit == AtLimit::Bill,
            cases: self.cases(),
            tolerance: self.tolerance(),
        }
    }

    /// A smaller plan, if one is certain to be large enough: with two forecast periods at least, and with every
    /// metric measured that the plan limits or bills.
    fn downgrade(&self, risk: Risk) -> Assessment {
        let is_certain = self.cases().len() >= 2 && self.in_force.origin == Origin::Catalogue;
        let all_measured = |tariff: &&Tariff| {
            tariff.unmeasured_limits(self.cases()).next().is_none()
                && tariff.unmeasured(self.cases()).is_empty()
        };
        let plans: Vec<Tariff> = self.plans.iter().filter(all_measured).cloned().collect();
        let selection = self.search(&plans).smaller(MOST_USED);
        let Some(selection) = selection.filter(|_| is_certain) else {
            return Assessment::Clear;
        };
        let risk = Risk {
            saves: true,
            ..risk
        };
        let facts = self.facts(Kind::Downgrade, &selection, risk);
        Assessment::Recommend(Box::new(facts))
    }

    fn ceiling(&self) -> Option<Figure> {
        let ceiling = self.current.allowances.get(&self.meter())?.ceiling;
        let is_billed = self.in_force.at_limit == AtLimit::Bill;
        let ceiling = ceiling.filter(|ceiling| is_billed && *ceiling >= self.limit);
        Some(Figure::exact(ceiling?, self.unit).from_inputs(["limit"]))
    }

    fn facts(&self, kind: Kind, selection: &Selection<'_>, risk: Risk) -> Facts {
        let (limit, capacity) = (self.in_force, self.capacity);
        let is_partial = capacity.is_at_least();
        let target = match &selection.choice {
            Choice::Change { plan } => self.plans.iter().find(|tariff| tariff.plan == *plan),
            Choice::Stay | Choice::UseLess | Choice::Watch => Some(&self.current),
            Choice::Contract => None,
        };
        Facts {
            service: limit.service,
            metric: limit.metric,
            resource: capacity.resource().to_owned(),
            kind,
            provider: limit.provider.clone(),
            current_plan: limit.plan.clone(),
            target: selection.choice.clone(),
            priority: risk.priority(),
            measured_at: capacity.measured_at.unwrap_or(self.evidence.now),
            usage: Figure::exact(self.usage, self.unit)
                .at_least(is_partial)
                .from_inputs(["usage"]),
            limit: Figure::exact(self.limit, self.unit).from_inputs(["limit"]),
            usage_percent: Figure::new(share_of_limit(risk.used_percent), Unit::Percent)
                .at_least(is_partial)
                .from_inputs(["usage", "limit"]),
            at_limit: limit.at_limit,
            ceiling: self.ceiling(),
            meters: self.meters(),
            outlook: self.outlook(),
            reduction: self.reduction(),
            compared: self.compared(selection),
            money: self.money(target, selection),
            inputs: self.inputs(selection),
            catalogue_version: self.evidence.catalogue.version.to_string(),
            baseline: None,
        }
    }
}

/// A percentage of a limit, to four decimals.
fn share_of_limit(percent: f64) -> Option<Decimal> {
    decimal(format::rounded_percent(percent, 4))
}

/// The tariff of the plan in use: by the limits in force, which precede the catalogue, or replace it for a plan it lacks.
fn current_tariff(limited: &[&Capacity], lead: &LimitInForce, plans: &[Tariff]) -> Tariff {
    let listed = plans.iter().find(|tariff| tariff.plan == lead.plan);
    let mut current = listed.cloned().unwrap_or_else(|| Tariff {
        plan: lead.plan.clone(),
        ..Tariff::default()
    });
    let limits = limited.iter().filter_map(|it| it.limit.as_ref());
    for limit in limits.filter(|limit| listed.is_none() || limit.origin != Origin::Catalogue) {
        let meter = Meter::Application(limit.service, limit.metric);
        let stored = current.allowances.get(&meter);
        let allowance = Allowance {
            included: decimal(limit.value),
            ceiling: None,
            at_limit: limit.at_limit,
            overage: stored.and_then(|allowance| allowance.overage),
        };
        current.allowances.insert(meter, allowance);
    }
    current
}

/// The whole billing periods of a year after the current one.
fn whole_periods(limit: &LimitInForce, now: DateTime<Utc>) -> Vec<Window> {
    let month = LimitPeriod::BillingMonth;
    let mut whole = periods(limit.billing, month, now, YEAR + 1);
    whole.remove(0);
    whole
}

/// The first of these periods, as far as the forecast of the metric reaches; at least one.
fn within_horizon(whole: &[Window], capacity: &Capacity, now: DateTime<Utc>) -> Vec<Window> {
    let forecast = capacity.known_forecast();
    let horizon = forecast.map_or(0, |forecast| forecast.horizon as i64);
    let is_near = |window: &&Window| (window.from - now).num_days() + 15 <= horizon;
    let near = whole.iter().take(WHOLE_PERIODS).take_while(is_near);
    let count = near.count().max(1).min(whole.len());
    whole[..count].to_vec()
}

#[cfg(test)]
mod tests;
