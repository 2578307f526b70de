//! Assesses one limit: from the limit, the trend of its metric and the prices of the plans to [`Facts`], or to
//! why there are none.

mod cases;
mod comparison;
mod money;
mod outlook;
mod provenance;

use std::fmt;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use self::cases::cases;
use super::candidates::{Search, Selection};
use super::cost::{Allowance, Case, Meter, Tariff, decimal};
use super::facts::{Choice, Facts, Kind, Missing};
use super::figure::{Figure, Unit};
use super::inputs::{Business, DEFAULT_TOLERANCE};
use super::priority::{Risk, priority};
use super::trigger::{self, Decision, Signals, decide};
use crate::domain::capacity::trend::{Trend, periods};
use crate::domain::forecast::Crossing;
use crate::domain::format;
use crate::domain::period::Window;
use crate::domain::plans::catalogue::{Catalogue, LimitPeriod};
use crate::domain::plans::{AtLimit, LimitInForce, Origin};

/// A limit, and everything known about it.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    pub limit: &'a LimitInForce,
    /// Database, project or team; empty where it has no name of its own.
    pub resource: &'a str,
    pub trend: &'a Trend,
    /// The trends of everything on the same bill, this metric included.
    pub trends: &'a [&'a Trend],
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
    Unknown(Gap),
}

/// Why a limit cannot be assessed.
#[derive(Clone, Debug, PartialEq)]
pub enum Gap {
    /// The limit itself is faulty.
    Limit(String),
    NotMeasured,
    /// Its newest measurement is too old.
    Stale(DateTime<Utc>),
    OutOfRange,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gap::Limit(fault) => f.write_str(fault),
            Gap::NotMeasured => f.write_str("not measured"),
            Gap::Stale(at) => write!(f, "not measured since {}", format::time(*at)),
            Gap::OutOfRange => f.write_str("usage or limit out of range"),
        }
    }
}

/// Number of whole billing periods after the current one whose costs are estimated.
const WHOLE_PERIODS: usize = 3;

/// The largest share of a smaller plan that usage may take.
const MOST_USED: Decimal = Decimal::from_parts(6, 0, 0, false, 1);

/// Assesses one limit.
pub fn assess(evidence: Evidence<'_>) -> Assessment {
    if let Some(fault) = &evidence.limit.fault {
        return Assessment::Unknown(Gap::Limit(fault.to_string()));
    }
    let measured_at = evidence.trend.measured_at;
    if !trigger::is_fresh(measured_at, evidence.now) {
        return Assessment::Unknown(Gap::Stale(measured_at));
    }
    match Assessor::new(evidence) {
        Some(assessor) => assessor.assess(),
        None => Assessment::Unknown(Gap::OutOfRange),
    }
}

/// The evidence, with the plans and the simulated cases.
struct Assessor<'a> {
    evidence: Evidence<'a>,
    limit: Decimal,
    usage: Decimal,
    unit: Unit,
    used_percent: f64,
    /// The plan in use.
    current: Tariff,
    /// All plans of the provider.
    plans: Vec<Tariff>,
    /// The whole billing periods that follow the current one.
    periods: Vec<Window>,
    cases: Vec<Vec<Case>>,
}

impl<'a> Assessor<'a> {
    /// None if the numbers are out of range.
    fn new(evidence: Evidence<'a>) -> Option<Assessor<'a>> {
        let (limit, trend) = (evidence.limit, evidence.trend);
        let provider = limit.provider.as_deref().unwrap_or("");
        let listed = evidence.catalogue.plans_of(provider);
        let listed = listed.filter(|plan| plan.enabled);
        let plans: Vec<Tariff> = listed.map(|it| Tariff::of(it, evidence.seats)).collect();
        let periods = whole_periods(&evidence);
        Some(Assessor {
            limit: decimal(limit.value)?,
            usage: decimal(trend.usage)?,
            unit: Unit::Of(limit.metric),
            used_percent: trend.usage / limit.value * 100.0,
            current: current_tariff(limit, &plans),
            plans,
            cases: cases(evidence.trends, &periods),
            periods,
            evidence,
        })
    }

    fn meter(&self) -> Meter {
        (self.evidence.limit.service, self.evidence.limit.metric)
    }

    /// The share of the cases in which a plan may be too small.
    fn tolerance(&self) -> f64 {
        let share = self.evidence.business.tolerance;
        // A decimal from 0 to 1 is always a float.
        share.unwrap_or(DEFAULT_TOLERANCE).to_f64().unwrap_or(0.0)
    }

    /// The crossing of the warning line (0), the critical line (1) or the limit (2).
    fn crossing(&self, line: usize) -> Option<&Crossing> {
        let forecast = self.evidence.trend.forecast.as_ref()?;
        forecast.crossings.get(line)
    }

    /// The chance of reaching the limit within 7 (0), 30 (1) or 90 days (2).
    fn chance(&self, index: usize) -> Option<f64> {
        *self.crossing(2)?.probabilities.get(index)?
    }

    /// The chance that the current billing period ends over the limit.
    fn chance_over(&self) -> Option<f64> {
        let forecast = self.evidence.trend.forecast.as_ref()?;
        let period = forecast.periods.first()?;
        Some(period.chance_over(self.evidence.limit.value))
    }

    fn assess(self) -> Assessment {
        let limit = self.evidence.limit;
        let risk = Risk {
            chance_7: self.chance(0),
            chance_30: self.chance(1),
            chance_90: self.chance(2),
            is_over: self.used_percent >= 100.0,
            is_billed: limit.at_limit == AtLimit::Bill,
            saves: false,
        };
        let decision = decide(Signals {
            used_percent: self.used_percent,
            critical_percent: limit.critical_percent,
            chance_30: self.chance(1),
            chance_over: self.chance_over(),
            priority: priority(risk),
        });
        if decision == Decision::Clear {
            return self.downgrade(risk);
        }
        let (kind, selection) = if limit.origin == Origin::Budget {
            let selection = Selection {
                choice: Choice::UseLess,
                candidates: Vec::new(),
            };
            (Kind::Budget, selection)
        } else {
            let selection = self.search(&self.plans).larger();
            let kind = match selection.choice {
                Choice::Change { .. } | Choice::Contract => Kind::Upgrade,
                Choice::Stay | Choice::UseLess => Kind::Reduce,
            };
            (kind, selection)
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
            cases: &self.cases,
            tolerance: self.tolerance(),
        }
    }

    /// A smaller plan, if one is certain to be large enough: with two forecast periods at least, and with every
    /// metric measured at which the plan stops.
    fn downgrade(&self, risk: Risk) -> Assessment {
        let is_certain = self.cases.len() >= 2 && self.evidence.limit.origin == Origin::Catalogue;
        let first = self.cases.first().and_then(|cases| cases.first());
        let is_measured = |meter: &Meter| first.is_some_and(|case| case.contains_key(meter));
        let all_measured = |tariff: &&Tariff| {
            let stops = |allowance: &Allowance| allowance.stops_at().is_some();
            let mut allowances = tariff.allowances.iter();
            allowances.all(|(meter, allowance)| !stops(allowance) || is_measured(meter))
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

    fn facts(&self, kind: Kind, selection: &Selection<'_>, risk: Risk) -> Facts {
        let (limit, trend) = (self.evidence.limit, self.evidence.trend);
        let target = match &selection.choice {
            Choice::Change { plan } => self.plans.iter().find(|tariff| tariff.plan == *plan),
            Choice::Stay | Choice::UseLess => Some(&self.current),
            Choice::Contract => None,
        };
        let missing = self.evidence.business.missing();
        Facts {
            service: limit.service,
            metric: limit.metric,
            resource: self.evidence.resource.to_owned(),
            kind,
            provider: limit.provider.clone(),
            current_plan: limit.plan.clone(),
            target: selection.choice.clone(),
            priority: priority(risk),
            measured_at: trend.measured_at,
            usage: Figure::exact(self.usage, self.unit).from_inputs(["usage"]),
            limit: Figure::exact(self.limit, self.unit).from_inputs(["limit"]),
            usage_percent: Figure::new(decimal(self.used_percent), Unit::Percent)
                .from_inputs(["usage", "limit"]),
            at_limit: limit.at_limit,
            outlook: self.outlook(),
            compared: self.compared(selection),
            money: self.money(target, selection),
            inputs: self.inputs(selection),
            missing: missing
                .filter(|_| limit.at_limit.blocks())
                .map(|name| Missing {
                    name: name.to_string(),
                    used_for: name.used_for().to_owned(),
                })
                .collect(),
            catalogue_version: self.evidence.catalogue.version.to_string(),
            baseline: None,
        }
    }
}

/// The tariff of the plan in use. The limit in force takes precedence over the catalogue.
fn current_tariff(limit: &LimitInForce, plans: &[Tariff]) -> Tariff {
    let listed = plans.iter().find(|tariff| tariff.plan == limit.plan);
    let mut current = listed.cloned().unwrap_or_else(|| Tariff {
        plan: limit.plan.clone(),
        fixed: None,
        credit: Decimal::ZERO,
        allowances: Default::default(),
    });
    if limit.origin != Origin::Catalogue {
        let meter = (limit.service, limit.metric);
        let listed = current.allowances.get(&meter);
        let allowance = Allowance {
            included: decimal(limit.value),
            ceiling: None,
            at_limit: limit.at_limit,
            overage: listed.and_then(|allowance| allowance.overage),
        };
        current.allowances.insert(meter, allowance);
    }
    current
}

/// The whole billing periods after the current one, as far as the forecast of the metric reaches; at least one.
fn whole_periods(evidence: &Evidence<'_>) -> Vec<Window> {
    let (billing, month) = (evidence.limit.billing, LimitPeriod::BillingMonth);
    let mut whole = periods(billing, month, evidence.now, WHOLE_PERIODS + 1);
    whole.remove(0);
    let forecast = evidence.trend.forecast.as_ref();
    let horizon = forecast.map_or(0, |forecast| forecast.horizon as i64);
    let is_near = |window: &&Window| (window.from - evidence.now).num_days() + 15 <= horizon;
    let count = whole.iter().take_while(is_near).count();
    whole.truncate(count.max(1));
    whole
}

#[cfg(test)]
mod tests;
