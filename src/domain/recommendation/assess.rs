//! From a limit, where its metric is heading and the prices of the plans to [`Facts`], or to why there are none.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::{FromPrimitive, ToPrimitive};

use super::candidates::{Candidate, Found, Search};
use super::cost;
use super::cost::{Allowance, Case, Meter, Tariff, decimal, mean};
use super::facts::{
    Choice, Compared, Facts, Kind, Missing, Money, Outlook, Part, PeriodOutlook, Projection,
};
use super::figure::{Figure, Input, Provenance, Unit};
use super::inputs::{Business, USUAL_TOLERANCE};
use super::priority::{self, priority};
use super::trigger::{self, Reason, reason};
use crate::domain::capacity::trend::{Trend, periods};
use crate::domain::forecast::{Confidence, Crossing, day_number};
use crate::domain::metrics::names::{Metric, MetricKind};
use crate::domain::period::Window;
use crate::domain::plans::catalogue::{self, Catalogue, LimitPeriod, Plan};
use crate::domain::plans::{AtLimit, LimitInForce, Origin};

/// A limit, and everything that is known about it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub limit: &'a LimitInForce,
    /// Which database, project or team; empty where it has no name of its own.
    pub resource: &'a str,
    /// The trend of the metric.
    pub trend: &'a Trend,
    /// Where everything is heading that the same provider bills, this metric among it.
    pub trends: &'a [&'a Trend],
    pub catalogue: &'a Catalogue,
    /// How many seats are paid for, if the user said.
    pub seats: Option<u32>,
    /// What only the user knows.
    pub business: Business,
    /// The moment of it all.
    pub now: DateTime<Utc>,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Assessment {
    /// There is a reason: this is what to say.
    Holds(Box<Facts>),
    /// Not enough of one to begin with; what was said is still true, with these figures.
    Weak(Box<Facts>),
    /// There is no reason.
    Gone,
    /// Nobody can tell, for this reason.
    Unknown(String),
}

/// The whole billing periods that follow the one under way, of which costs are told.
const WHOLE_PERIODS: usize = 3;

/// From so many days on, twelve billing periods are extrapolated.
const DAYS_FOR_A_YEAR: usize = 60;

/// A smaller plan must be used up to this share at most.
const ROOMY: Decimal = Decimal::from_parts(6, 0, 0, false, 1);

/// Assesses one limit.
pub fn assess(subject: Subject<'_>) -> Assessment {
    let (limit, trend) = (subject.limit, subject.trend);
    if let Some(fault) = &limit.fault {
        return Assessment::Unknown(fault.clone());
    }
    if !trigger::is_fresh(trend.measured_at, subject.now) {
        return Assessment::Unknown(format!(
            "nothing was measured since {}",
            trend.measured_at.format("%Y-%m-%d %H:%M UTC")
        ));
    }
    Work::new(subject).map_or_else(
        || Assessment::Unknown("its numbers are out of all measure".to_owned()),
        |work| work.assess(),
    )
}

/// The cases, the plans and what was derived from them on the way.
struct Work<'a> {
    it: Subject<'a>,
    unit: Unit,
    used_percent: f64,
    provider: String,
    now: Tariff,
    plans: Vec<Tariff>,
    cases: Vec<Vec<Case>>,
    whole: Vec<Window>,
}

impl<'a> Work<'a> {
    fn new(it: Subject<'a>) -> Option<Work<'a>> {
        let limit = it.limit;
        let meter = (limit.service, limit.metric);
        decimal(limit.value)?;
        decimal(it.trend.usage)?;
        let provider = limit.provider.clone().unwrap_or_default();
        let listed = it.catalogue.plans_of(&provider);
        let plans: Vec<Tariff> = listed
            .filter(|plan| plan.enabled)
            .map(|plan| Tariff::of(plan, it.seats))
            .collect();
        // What the limit in force says goes before what the catalogue says of the same plan.
        let mut now = plans
            .iter()
            .find(|tariff| tariff.plan == limit.plan)
            .cloned()
            .unwrap_or_else(|| Tariff {
                plan: limit.plan.clone(),
                fixed: None,
                credit: Decimal::ZERO,
                allowances: Default::default(),
            });
        if limit.origin != Origin::Catalogue {
            let listed = now.allowances.get(&meter);
            let overage = listed.and_then(|allowance| allowance.overage);
            now.allowances.insert(
                meter,
                Allowance {
                    included: decimal(limit.value),
                    ceiling: None,
                    at_limit: limit.at_limit,
                    overage,
                },
            );
        }
        let mut whole = periods(
            limit.billing,
            LimitPeriod::BillingMonth,
            it.now,
            WHOLE_PERIODS + 1,
        );
        whole.remove(0);
        // No further than the forecast of the metric in question may look.
        let horizon = it.trend.forecast.as_ref().map_or(0, |found| found.horizon);
        let horizon = i64::try_from(horizon).unwrap_or(0);
        let near = |window: &Window| (window.from - it.now).num_days() + 15 <= horizon;
        let count = whole.iter().take_while(|window| near(window)).count();
        whole.truncate(count.max(1));
        let cases = cases(it.trends, &whole);
        Some(Work {
            unit: Unit::Of(limit.metric),
            used_percent: it.trend.usage / limit.value * 100.0,
            it,
            provider,
            now,
            plans,
            cases,
            whole,
        })
    }

    fn meter(&self) -> Meter {
        (self.it.limit.service, self.it.limit.metric)
    }

    /// In which share of the cases a plan may turn out too small.
    fn tolerance(&self) -> f64 {
        let share = self.it.business.tolerance.unwrap_or(USUAL_TOLERANCE);
        share.to_f64().unwrap_or(0.0)
    }

    fn crossing(&self, line: usize) -> Option<&Crossing> {
        self.it.trend.forecast.as_ref()?.crossings.get(line)
    }

    fn assess(self) -> Assessment {
        let limit = self.it.limit;
        let chance = |index: usize| self.crossing(2)?.probabilities.get(index)?.value;
        let forecast = self.it.trend.forecast.as_ref();
        let period = forecast.and_then(|forecast| forecast.periods.first());
        let chance_over = period.map(|period| period.chance_over(limit.value));
        let urgency = priority::Signs {
            chance_7: chance(0),
            chance_30: chance(1),
            chance_90: chance(2),
            is_over: self.used_percent >= 100.0,
            is_billed: limit.at_limit == AtLimit::Bill,
            saves: false,
        };
        let found = reason(trigger::Signs {
            used_percent: self.used_percent,
            critical_percent: limit.critical_percent,
            chance_30: chance(1),
            chance_over,
            priority: priority(urgency),
        });
        let search = Search {
            now: &self.now,
            plans: &self.plans,
            meter: self.meter(),
            cases: &self.cases,
            tolerance: self.tolerance(),
        };
        if found == Reason::Gone {
            return self.saving(&search, urgency);
        }
        let (kind, answer) = if limit.origin == Origin::Budget {
            let candidates = Vec::new();
            let choice = Choice::UseLess;
            (Kind::Budget, Found { choice, candidates })
        } else {
            let answer = search.larger();
            let kind = match answer.choice {
                Choice::Change { .. } | Choice::Contract => Kind::Upgrade,
                Choice::Stay | Choice::UseLess => Kind::Reduce,
            };
            (kind, answer)
        };
        let facts = Box::new(self.facts(kind, &answer, urgency, chance_over));
        match found {
            Reason::Holds => Assessment::Holds(facts),
            _ => Assessment::Weak(facts),
        }
    }

    /// A smaller plan, if there is one that is surely large enough. It takes two whole periods to be sure, and
    /// every other metric of the provider that is billed to be measured.
    fn saving(&self, search: &Search<'_>, urgency: priority::Signs) -> Assessment {
        let sure = self.cases.len() >= 2 && self.it.limit.origin == Origin::Catalogue;
        let measured = |tariff: &Tariff| {
            let first = self.cases.first().and_then(|cases| cases.first());
            tariff
                .allowances
                .iter()
                .filter(|(_, allowance)| allowance.stops_at().is_some())
                .all(|(meter, _)| first.is_some_and(|case| case.contains_key(meter)))
        };
        let plans: Vec<Tariff> = self
            .plans
            .iter()
            .filter(|it| measured(it))
            .cloned()
            .collect();
        let search = Search {
            plans: &plans,
            ..*search
        };
        match search.smaller(ROOMY).filter(|_| sure) {
            None => Assessment::Gone,
            Some(answer) => {
                let urgency = priority::Signs {
                    saves: true,
                    ..urgency
                };
                Assessment::Holds(Box::new(self.facts(
                    Kind::Downgrade,
                    &answer,
                    urgency,
                    None,
                )))
            }
        }
    }

    fn facts(
        &self,
        kind: Kind,
        answer: &Found<'_>,
        urgency: priority::Signs,
        chance_over: Option<f64>,
    ) -> Facts {
        let (limit, trend) = (self.it.limit, self.it.trend);
        let target = match &answer.choice {
            Choice::Change { plan } => self.plans.iter().find(|tariff| tariff.plan == *plan),
            Choice::Stay | Choice::UseLess => Some(&self.now),
            Choice::Contract => None,
        };
        let exact = |value: f64, unit| match decimal(value) {
            Some(value) => Figure::exact(value, unit),
            None => Figure::unknown(unit),
        };
        Facts {
            service: limit.service,
            metric: limit.metric,
            resource: self.it.resource.to_owned(),
            kind,
            provider: self.provider.clone(),
            current_plan: limit.plan.clone(),
            target: answer.choice.clone(),
            priority: priority(urgency),
            measured_at: trend.measured_at,
            usage: exact(trend.usage, self.unit).from_inputs(["usage"]),
            limit: exact(limit.value, self.unit).from_inputs(["limit"]),
            usage_percent: exact(self.used_percent, Unit::Percent).from_inputs(["usage", "limit"]),
            at_limit: limit.at_limit,
            outlook: self.outlook(chance_over),
            compared: self.compared(answer),
            money: self.money(target, answer),
            inputs: self.inputs(answer),
            missing: self
                .it
                .business
                .missing()
                .into_iter()
                .filter(|_| limit.at_limit.blocks())
                .map(|name| Missing {
                    name: name.to_string(),
                    unlocks: name.unlocks().to_owned(),
                })
                .collect(),
            catalogue_version: self.it.catalogue.version.to_string(),
            baseline: None,
        }
    }

    fn outlook(&self, chance_over: Option<f64>) -> Outlook {
        let made_from = ["usage", "history", "limit"];
        let days = |line| {
            let figure = || {
                let [early, middle, late] = self.crossing(line)?.days;
                let middle = Decimal::from(middle?);
                // Where the latest paths stay below the line, nobody can say how late it may be.
                Some(match (early, late) {
                    (Some(early), Some(late)) => {
                        Figure::between(middle, early.into(), late.into(), Unit::Days)
                    }
                    _ => Figure::exact(middle, Unit::Days),
                })
            };
            let figure = figure().unwrap_or_else(|| Figure::unknown(Unit::Days));
            figure.from_inputs(made_from)
        };
        let chance = |index: usize| {
            let share = || self.crossing(2)?.probabilities.get(index)?.value;
            percent(share()).from_inputs(made_from)
        };
        let forecast = self.it.trend.forecast.as_ref();
        let period = || {
            let (total, window) = (forecast?.periods.first()?, self.it.trend.period?);
            let elapsed = (self.it.now - window.from).num_seconds() as f64
                / (window.to - window.from).num_seconds().max(1) as f64;
            let [low, middle, high] =
                [total.total.p10, total.total.p50, total.total.p90].map(decimal);
            Some(PeriodOutlook {
                from: window.from,
                to: window.to,
                elapsed: percent(Some(elapsed)),
                total: Figure::between(middle?, low?, high?, self.unit).from_inputs(made_from),
                chance_over: percent(chance_over).from_inputs(made_from),
                overage: Figure::exact(
                    decimal(total.expected_overage(self.it.limit.value))?,
                    self.unit,
                )
                .from_inputs(made_from),
            })
        };
        let horizon = forecast.map_or(0, |forecast| forecast.horizon);
        Outlook {
            low_confidence: forecast.is_none_or(|found| found.confidence == Confidence::Low),
            horizon: Figure::exact(Decimal::from(horizon), Unit::Days),
            days_to_warning: days(0),
            days_to_critical: days(1),
            days_to_limit: days(2),
            chance_7: chance(0),
            chance_30: chance(1),
            chance_90: chance(2),
            period: period(),
        }
    }

    /// Everything that was compared, the answer first.
    fn compared(&self, answer: &Found<'_>) -> Vec<Compared> {
        let meter = self.meter();
        let compared = |tariff: &Tariff, choice: Choice, against: Option<String>| {
            let allowance = tariff.allowances.get(&meter);
            let parts = tariff.middle_bill(&self.cases).map(|bill| bill.parts());
            let unknown = Figure::unknown(self.unit);
            let included = allowance.and_then(|allowance| allowance.included);
            let inputs = price_inputs(tariff);
            Compared {
                included: included.map_or(unknown, |amount| Figure::exact(amount, self.unit)),
                unlimited: allowance.is_some_and(|allowance| allowance.size().is_none()),
                chance_exceeded: percent(Some(tariff.chance_exceeded(&self.cases))),
                cost: tariff.cost(&self.cases, 1).from_inputs(inputs.clone()),
                expected_cost: dollars(tariff.expected(&self.cases)).from_inputs(inputs),
                parts: parts.unwrap_or_default(),
                choice,
                against,
            }
        };
        let plan = |candidate: &Candidate<'_>| {
            let choice = Choice::Change {
                plan: candidate.tariff.plan.clone(),
            };
            let against = candidate.against.as_ref().map(ToString::to_string);
            compared(candidate.tariff, choice, against)
        };
        let is_answer = |choice: &Choice| *choice == answer.choice;
        let against = |choice: &Choice, why: &str| (!is_answer(choice)).then(|| why.to_owned());
        let billed = self.it.limit.at_limit == AtLimit::Bill;
        let stay = match billed {
            true => against(&Choice::Stay, "costs more"),
            false => Some("stops at its limit".to_owned()),
        };
        let mut all: Vec<Compared> = answer.candidates.iter().map(plan).collect();
        all.push(compared(&self.now, Choice::Stay, stay));
        let needed = self.reduction();
        let use_less = Compared {
            parts: self.fixed_part(),
            cost: dollars(self.now.fixed),
            expected_cost: dollars(self.now.fixed),
            chance_exceeded: Figure::unknown(Unit::Percent),
            ..compared(
                &self.now,
                Choice::UseLess,
                Some(format!("takes {needed} less")).filter(|_| !is_answer(&Choice::UseLess)),
            )
        };
        all.push(use_less);
        all.push(Compared {
            choice: Choice::Contract,
            included: Figure::unknown(self.unit),
            unlimited: false,
            chance_exceeded: Figure::unknown(Unit::Percent),
            cost: Figure::unknown(Unit::Usd),
            expected_cost: Figure::unknown(Unit::Usd),
            parts: Vec::new(),
            against: against(&Choice::Contract, "its price is a matter of talks"),
        });
        // The sort is stable: the answer, then the others as they are listed.
        all.sort_by_key(|one| !is_answer(&one.choice));
        all
    }

    fn fixed_part(&self) -> Vec<Part> {
        let fixed = self.now.fixed.map(|fixed| Part {
            name: "fixed price".to_owned(),
            amount: Figure::exact(fixed, Unit::Usd),
        });
        fixed.into_iter().collect()
    }

    /// How much less must be used for the plan in use to do, in all but the tolerated cases.
    fn reduction(&self) -> Figure {
        let line = decimal(self.it.limit.value).unwrap_or_default();
        let periods = self.cases.iter().map(|cases| {
            let meter = self.meter();
            let uses = cases.iter().filter_map(|case| case.get(&meter).copied());
            cost::quantile(&mut uses.collect::<Vec<Decimal>>(), 95)
        });
        match periods.flatten().max() {
            Some(most) => Figure::exact((most - line).max(Decimal::ZERO), self.unit),
            None => Figure::unknown(self.unit),
        }
    }

    fn money(&self, target: Option<&Tariff>, answer: &Found<'_>) -> Money {
        let usd = || Figure::unknown(Unit::Usd);
        let business = self.it.business;
        let (mut prices, now_prices) = (Vec::new(), price_inputs(&self.now));
        if let Some(target) = target {
            prices = price_inputs(target);
        }
        let both: Vec<String> = now_prices.iter().chain(&prices).cloned().collect();
        let extra = |periods| match target {
            Some(target) => cost::extra(target, &self.now, &self.cases, periods),
            None => usd(),
        };
        let cost = |tariff: Option<&Tariff>, periods| {
            tariff.map_or_else(usd, |tariff| tariff.cost(&self.cases, periods))
        };
        let stays = self.now.chance_exceeded(&self.cases) <= self.tolerance();
        let fitting = answer.fitting().chain(stays.then_some(&self.now));
        let priced = fitting.filter_map(|tariff| Some((tariff.expected(&self.cases)?, tariff)));
        let cheapest = priced
            .min_by_key(|(cost, _)| *cost)
            .map(|(_, tariff)| tariff);
        let history = self.it.trend.days;
        let projections = [1, 3, 12].into_iter().filter(|periods| {
            *periods <= self.cases.len() || (*periods <= 3 || history >= DAYS_FOR_A_YEAR)
        });
        let hours = self.hours_blocked();
        let first = extra(1).from_inputs(both.clone());
        let stops = ["usage", "history", "limit", "time_to_fix_hours"];
        let worth = (business.revenue_per_hour, business.affected_fraction);
        let loss = match (hours.as_ref(), worth) {
            (Some(hours), (Some(revenue), Some(fraction))) => mean(hours)
                .and_then(|hours| hours.checked_mul(revenue))
                .and_then(|loss| loss.checked_mul(fraction))
                .map(|loss| loss.round_dp(2)),
            _ => None,
        };
        let net = loss.zip(first.value).map(|(loss, extra)| loss - extra);
        let roi = net
            .zip(first.value.filter(|extra| *extra > Decimal::ZERO))
            .and_then(|(net, extra)| net.checked_div(extra))
            .map(|roi| roi.round_dp(2));
        let mean_hours = hours.as_ref().and_then(|hours| mean(hours));
        let fraction = business.affected_fraction.unwrap_or(Decimal::ONE);
        let even = first.value.and_then(|extra| {
            let lost = mean_hours?.checked_mul(fraction)?;
            // Where nothing stops there is nothing to be avoided.
            let lost = (lost > Decimal::ZERO).then_some(lost)?;
            Some(extra.max(Decimal::ZERO).checked_div(lost)?.round_dp(4))
        });
        let figure = |value: Option<Decimal>, unit| match value {
            Some(value) => Figure::exact(value, unit),
            None => Figure::unknown(unit),
        };
        let worth_inputs = ["revenue_per_hour", "affected_fraction"];
        let period = self.whole.first().copied().unwrap_or(Window::ALL);
        Money {
            from: period.from,
            to: period.to,
            current: cost(Some(&self.now), 1).from_inputs(now_prices),
            target: cost(target, 1).from_inputs(prices),
            projections: projections
                .map(|periods| Projection {
                    periods: u32::try_from(periods).unwrap_or(u32::MAX),
                    extrapolated: periods > self.cases.len(),
                    current: cost(Some(&self.now), periods),
                    target: cost(target, periods),
                    cheapest: cost(cheapest, periods),
                    extra: extra(periods),
                })
                .collect(),
            break_even_use: target.map_or_else(
                || Figure::unknown(self.unit),
                |target| cost::break_even_use(target, &self.now, self.meter()),
            ),
            hours_blocked: figure(mean_hours, Unit::Hours).from_inputs(stops),
            avoided_loss: figure(loss, Unit::Usd)
                .from_inputs(stops.into_iter().chain(worth_inputs)),
            net: figure(net, Unit::Usd).from_inputs(["avoided_loss", "extra_cost"]),
            roi: figure(roi, Unit::Ratio).from_inputs(["net", "extra_cost"]),
            break_even_revenue: figure(even, Unit::UsdPerHour).from_inputs([
                "extra_cost",
                "hours_blocked",
                "affected_fraction",
            ]),
            extra: first,
        }
    }

    /// For how long the plan in use stops the service in the next whole period, on each path.
    fn hours_blocked(&self) -> Option<Vec<Decimal>> {
        let limit = self.it.limit;
        if limit.at_limit == AtLimit::Unknown || limit.origin == Origin::Budget {
            return None;
        }
        let period = self.whole.first()?;
        let (from, to) = (
            day_number(period.from.date_naive()),
            day_number(period.to.date_naive()),
        );
        if !limit.at_limit.blocks() {
            return Some(vec![Decimal::ZERO]);
        }
        let most = self.it.business.time_to_fix_hours.unwrap_or(Decimal::MAX);
        let hours = self.it.trend.hours_beyond(limit.value, from, to)?;
        hours
            .into_iter()
            .map(|hours| Some(Decimal::from_f64(hours)?.min(most)))
            .collect()
    }

    fn inputs(&self, answer: &Found<'_>) -> Vec<Input> {
        let (limit, trend) = (self.it.limit, self.it.trend);
        let measured = Provenance::Measured {
            at: trend.measured_at,
        };
        let spell =
            |value: f64, unit| decimal(value).map(|value| super::figure::spell(value, unit));
        let mut inputs = vec![
            Input {
                name: "usage".to_owned(),
                value: spell(trend.usage, self.unit),
                provenance: measured.clone(),
            },
            Input {
                name: "history".to_owned(),
                value: Some(format!("{} days", trend.days)),
                provenance: measured,
            },
            Input {
                name: "limit".to_owned(),
                value: spell(limit.value, self.unit),
                provenance: match limit.origin {
                    Origin::Catalogue => Provenance::Catalogue {
                        source: limit.source.clone().unwrap_or_default(),
                        page_date: limit.page_date.map(|date| date.to_string()),
                        version: limit.catalogue_version.clone().unwrap_or_default(),
                    },
                    Origin::User | Origin::Budget | Origin::Application => Provenance::User,
                },
            },
        ];
        let answer = answer.candidates.iter().filter(|one| one.against.is_none());
        let tariffs = std::iter::once(&self.now).chain(answer.map(|one| one.tariff));
        for tariff in tariffs {
            inputs.extend(self.price_provenance(tariff));
        }
        // What else the same bill was made from.
        for other in self.it.trends {
            if other.meter != trend.meter {
                let usage = spell(other.usage, Unit::Of(other.meter.1));
                inputs.push(Input {
                    name: format!("usage of {} {}", other.meter.0, other.meter.1),
                    value: usage.filter(|_| other.has_begun()),
                    provenance: if other.has_begun() {
                        Provenance::Measured {
                            at: other.measured_at,
                        }
                    } else {
                        Provenance::Unknown {
                            cure: "usagectl collect run".to_owned(),
                        }
                    },
                });
            }
        }
        inputs.extend(self.it.business.inputs());
        inputs
    }

    fn price_provenance(&self, tariff: &Tariff) -> Vec<Input> {
        let Some(plan) = self.it.catalogue.plan(&self.provider, &tariff.plan) else {
            return vec![Input {
                name: format!("price of {}", tariff.plan),
                value: None,
                provenance: Provenance::Unknown {
                    cure: format!("usagectl limits plan {} PLAN", self.provider),
                },
            }];
        };
        let source = |id: &str| {
            let page = self.it.catalogue.source(id);
            Provenance::Catalogue {
                source: page.map_or_else(|| id.to_owned(), |page| page.url.clone()),
                page_date: page.map(|page| page.page_date.to_string()),
                version: self.it.catalogue.version.to_string(),
            }
        };
        let mut inputs = vec![Input {
            name: format!("price of {}", tariff.plan),
            value: tariff
                .fixed
                .map(|price| super::figure::spell(price, Unit::Usd)),
            provenance: match tariff.fixed {
                Some(_) => source(&plan.source),
                None => Provenance::Unknown {
                    cure: "ask the provider".to_owned(),
                },
            },
        }];
        inputs.extend(overages(plan, tariff).map(|(limit, value)| Input {
            name: overage_name(plan, limit),
            value: Some(value),
            provenance: source(&limit.source),
        }));
        inputs
    }
}

/// The names of the prices that a tariff is billed by.
fn price_inputs(tariff: &Tariff) -> Vec<String> {
    vec!["usage".to_owned(), format!("price of {}", tariff.plan)]
}

fn overage_name(plan: &Plan, limit: &catalogue::PlanLimit) -> String {
    format!("overage of {}: {}", plan.name, limit.limited)
}

/// What a plan bills beyond what it includes, as it is told.
fn overages<'p>(
    plan: &'p Plan,
    tariff: &'p Tariff,
) -> impl Iterator<Item = (&'p catalogue::PlanLimit, String)> {
    plan.limits_in_use().filter_map(|limit| {
        let allowance = tariff.allowances.get(&limit.application()?)?;
        let price = allowance
            .overage
            .filter(|_| allowance.at_limit == AtLimit::Bill)?;
        let included = allowance.included?;
        let range = if price.low == price.high {
            format!("${}", price.low.normalize())
        } else {
            format!("${} to {}", price.low.normalize(), price.high.normalize())
        };
        let unit = price.unit.normalize();
        let included = included.normalize();
        Some((limit, format!("{range} for {unit} beyond {included}")))
    })
}

/// What is used in each of the whole periods, on each path. A series without a forecast is the same on all;
/// what nobody can say of is left out.
fn cases(trends: &[&Trend], whole: &[Window]) -> Vec<Vec<Case>> {
    let paths = |trend: &&Trend| {
        let forecast = trend.forecast.as_ref();
        forecast.map_or(1, |forecast| forecast.paths.iter().len())
    };
    let paths = trends.iter().map(paths).max().unwrap_or(1);
    let period = |window: &Window| {
        let mut cases = vec![Case::new(); paths];
        let (from, to) = (
            day_number(window.from.date_naive()),
            day_number(window.to.date_naive()),
        );
        for trend in trends {
            let Some(uses) = trend.uses(from, to) else {
                continue;
            };
            for (case, used) in cases.iter_mut().zip(uses.iter().cycle()) {
                let Some(used) = decimal(*used) else { continue };
                // Plans count commands by the month, and the application by the day.
                let by_day =
                    trend.meter.1 == Metric::CommandsPerDay && trend.kind == MetricKind::Period;
                if by_day {
                    let by_month = (trend.meter.0, Metric::RequestCount);
                    case.entry(by_month).or_insert(used);
                } else {
                    case.insert(trend.meter, used);
                }
            }
        }
        cases
    };
    whole.iter().map(period).collect()
}

fn percent(share: Option<f64>) -> Figure {
    let value = share.and_then(|share| decimal(share * 100.0));
    value.map_or_else(
        || Figure::unknown(Unit::Percent),
        |value| Figure::exact(value.round_dp(1), Unit::Percent),
    )
}

fn dollars(value: Option<Decimal>) -> Figure {
    value.map_or_else(
        || Figure::unknown(Unit::Usd),
        |value| Figure::exact(value, Unit::Usd),
    )
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::super::sample::{assessed, facts, growing, limit, now};
    use super::*;
    use crate::domain::metrics::names::Priority;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn a_store_that_is_nearly_full_is_sent_to_what_costs_least_and_never_to_less_room() {
        let facts = facts();
        assert_eq!(facts.recommended_plan(), "payg");
        assert_eq!(
            (facts.kind, facts.priority),
            (Kind::Upgrade, Priority::High)
        );
        let smaller = facts.compared.iter().find(|one| {
            one.choice
                == Choice::Change {
                    plan: "fixed-250mb".to_owned(),
                }
        });
        let against = smaller.unwrap().against.as_deref();
        assert_eq!(against, Some("holds no more than the plan in use"));
        // 6,000 commands on each of the 28 days of February, at $0.20 for 100,000.
        assert_eq!(facts.money.extra.short(), "$0.34");
        assert_eq!(facts.compared[0].choice, facts.target);
        let choices: Vec<_> = facts
            .compared
            .iter()
            .map(|one| one.choice.to_string())
            .collect();
        for choice in ["stay and pay", "use less", "ask for a contract"] {
            assert!(choices.contains(&choice.to_owned()), "{choices:?}");
        }
    }

    #[test]
    fn the_cheapest_of_those_large_enough_is_not_the_plan_that_is_about_to_be_full() {
        let facts = facts();
        for projection in &facts.money.projections {
            // The free plan costs nothing and will be full; nothing that holds more costs less than the answer.
            assert_eq!(projection.current.value, Some(Decimal::ZERO));
            assert_eq!(projection.cheapest, projection.target);
        }
        let mut budget = limit();
        (budget.origin, budget.plan) = (Origin::Budget, "budget".to_owned());
        let Assessment::Holds(facts) =
            assessed(&budget, &growing(145.0, 1.4), Business::default(), now())
        else {
            panic!("there is a reason");
        };
        for projection in &facts.money.projections {
            assert_eq!(projection.cheapest, Figure::unknown(Unit::Usd));
        }
    }

    #[test]
    fn what_nobody_gave_is_unknown_and_named() {
        let facts = facts();
        let money = &facts.money;
        for unknown in [&money.avoided_loss, &money.net, &money.roi] {
            assert_eq!(unknown.value, None);
        }
        assert!(
            money
                .break_even_revenue
                .value
                .is_some_and(|even| even > Decimal::ZERO)
        );
        let missing: Vec<_> = facts.missing.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(
            missing,
            ["revenue_per_hour", "affected_fraction", "time_to_fix_hours"]
        );
        assert_eq!(facts.numbers().roi, None);
        // Every input that a figure names is there, or is a figure itself.
        let figures = facts.figures();
        let known = |name: &String| {
            facts.inputs.iter().any(|input| input.name == *name)
                || figures.iter().any(|(figure, _, _)| figure == name)
        };
        for (figure, _, value) in &figures {
            assert!(
                value.inputs.iter().all(known),
                "{figure}: {:?}",
                value.inputs
            );
        }
    }

    #[test]
    fn what_an_hour_is_worth_makes_the_loss_and_the_return_known() {
        let business = Business {
            revenue_per_hour: Some(d("10")),
            affected_fraction: Some(d("0.5")),
            time_to_fix_hours: Some(d("4")),
            tolerance: None,
        };
        let Assessment::Holds(facts) = assessed(&limit(), &growing(145.0, 1.4), business, now())
        else {
            panic!("there is a reason");
        };
        let money = &facts.money;
        // In nearly every case it is full before the end of February, and somebody comes after four hours.
        let hours = money.hours_blocked.value.unwrap();
        assert!(hours > d("3.5") && hours <= d("4"), "{hours}");
        let loss = money.avoided_loss.value.unwrap();
        assert_eq!(loss, (hours * d("5")).round_dp(2));
        let extra = money.extra.value.unwrap();
        assert_eq!(money.net.value, Some(loss - extra));
        assert_eq!(money.roi.value, Some(((loss - extra) / extra).round_dp(2)));
        assert!(facts.missing.is_empty());
    }

    #[test]
    fn a_store_with_room_and_one_that_nobody_measured_are_two_things() {
        let flat = [60.0; 60];
        assert_eq!(
            assessed(&limit(), &flat, Business::default(), now()),
            Assessment::Gone
        );
        let mut old = limit();
        old.fault = Some("nobody knows the plan".to_owned());
        let unknown = assessed(&old, &flat, Business::default(), now());
        assert_eq!(
            unknown,
            Assessment::Unknown("nobody knows the plan".to_owned())
        );
    }

    #[test]
    fn a_budget_has_no_plan_to_change_to() {
        let mut budget = limit();
        (budget.origin, budget.plan) = (Origin::Budget, "budget".to_owned());
        let assessment = assessed(&budget, &growing(145.0, 1.4), Business::default(), now());
        let Assessment::Holds(facts) = assessment else {
            panic!("there is a reason");
        };
        assert_eq!(
            (facts.kind, &facts.target),
            (Kind::Budget, &Choice::UseLess)
        );
        assert_eq!(facts.money.hours_blocked.value, None);
    }

    #[test]
    fn a_limit_of_the_users_own_on_a_plan_that_nobody_lists_leaves_its_price_unknown() {
        let mut own = limit();
        (own.origin, own.plan) = (Origin::User, "ours".to_owned());
        let Assessment::Holds(facts) =
            assessed(&own, &growing(145.0, 1.4), Business::default(), now())
        else {
            panic!("there is a reason");
        };
        assert_eq!(facts.money.current.value, None);
        assert_eq!(facts.money.extra.value, None);
        assert_eq!(facts.recommended_plan(), "payg");
    }

    #[test]
    fn what_was_measured_the_day_before_yesterday_says_nothing_about_today() {
        let later = now() + TimeDelta::days(2);
        let thresholds = [192.0, 230.4, 256.0];
        let days = super::super::sample::days(
            Metric::StorageMb,
            crate::domain::metrics::point::Reading::Level,
            &[250.0; 20],
            now(),
        );
        let asked = crate::domain::capacity::trend::TrendRequest {
            kind: MetricKind::Gauge,
            period: None,
            billing: Default::default(),
            thresholds: &thresholds,
            now: later,
        };
        let trend = Trend::of(&days, asked).unwrap();
        let assessment = assess(Subject {
            limit: &limit(),
            resource: "",
            trend: &trend,
            trends: &[&trend],
            catalogue: &Catalogue::embedded().unwrap(),
            seats: None,
            business: Business::default(),
            now: later,
        });
        assert!(
            matches!(assessment, Assessment::Unknown(_)),
            "{assessment:?}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn no_figure_is_invented_and_none_is_no_number(
            levels in prop::collection::vec(0.0_f64..1e6, 1..40),
            value in 1.0_f64..1e6,
            revenue in prop::option::of(0_i64..1_000_000),
        ) {
            let mut any = limit();
            any.value = value;
            any.origin = Origin::User;
            let business = Business {
                revenue_per_hour: revenue.map(Decimal::from),
                affected_fraction: Some(Decimal::ONE),
                ..Business::default()
            };
            let assessment = assessed(&any, &levels, business, now());
            if let Assessment::Holds(facts) | Assessment::Weak(facts) = assessment {
                let money = &facts.money;
                for (name, _, figure) in facts.figures() {
                    prop_assert!(figure.as_float().is_none_or(f64::is_finite), "{name}");
                }
                let positive = money.extra.value.is_some_and(|extra| extra > Decimal::ZERO);
                if money.roi.value.is_some() {
                    prop_assert!(positive && money.avoided_loss.value.is_some());
                }
                if revenue.is_none() {
                    prop_assert_eq!(money.avoided_loss.value, None);
                }
                if let Choice::Change { plan } = &facts.target {
                    let chosen = facts.compared.first().unwrap();
                    prop_assert!(chosen.unlimited || chosen.included.value > facts.limit.value
                        || plan == "payg");
                }
                for one in &facts.compared {
                    let sum: Decimal = one.parts.iter().filter_map(|part| part.amount.value).sum();
                    if let Some(cost) = one.cost.value {
                        prop_assert_eq!(sum, cost);
                    }
                }
            }
        }
    }
}
