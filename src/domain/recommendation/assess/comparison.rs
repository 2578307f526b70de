//! The compared choices: every plan of the provider, staying, using less, and a contract.

use rust_decimal::Decimal;

use super::cases::included;
use super::outlook::percent;
use super::{Assessor, provenance, share_of_limit};
use crate::domain::capacity::Capacity;
use crate::domain::metrics::names::{Measure, Metric};
use crate::domain::plans::{AtLimit, Origin};
use crate::domain::recommendation::candidates::{Against, Candidate, Selection};
use crate::domain::recommendation::cost::{Meter, Tariff, decimal, quantile};
use crate::domain::recommendation::facts::{Choice, Compared, MeterFacts, Part};
use crate::domain::recommendation::figure::{Figure, Unit};

impl<'a> Assessor<'a> {
    /// All choices, the selected one first.
    pub(super) fn compared(&self, selection: &Selection<'_>) -> Vec<Compared> {
        let is_selected = |choice: &Choice| *choice == selection.choice;
        let against =
            |choice: &Choice, reason: &str| (!is_selected(choice)).then(|| reason.to_owned());
        let plan = |candidate: &Candidate<'_>| {
            let against = candidate.against.as_ref().map(ToString::to_string);
            let mut one = self.compare(Some(candidate.tariff), candidate.choice(), against);
            if let Some(Against::Unmeasured(_)) = candidate.against {
                one.against = one.lacks();
            }
            one
        };
        let mut all: Vec<Compared> = selection.candidates.iter().map(plan).collect();
        let stay = match self.in_force.at_limit {
            _ if self.is_dearer(selection) => Some(Against::CostsMore.to_string()),
            AtLimit::Bill if self.current.expected(self.cases()).is_none() => {
                Some(Against::of_unknown_cost(&self.current).to_string())
            }
            AtLimit::Bill => against(&Choice::Stay, "costs more"),
            AtLimit::Unknown => Some("the consequence at its limit is unknown".to_owned()),
            _ => Some("stops at its limit".to_owned()),
        };
        // A budget is not paid more for.
        let is_budget = self.in_force.origin == Origin::Budget;
        if !is_budget {
            all.push(self.compare(Some(&self.current), Choice::Stay, stay));
        }
        let reduction = self.reduction();
        let reduction = match reduction.value {
            None => "required reduction unknown".to_owned(),
            Some(less) if less.is_zero() => "not expected to be too small".to_owned(),
            Some(_) => format!("requires {} less usage", reduction.short()),
        };
        let use_less = against(&Choice::UseLess, &reduction);
        // The usage that is left may still be billed.
        let fixed = Figure::new(self.current.fixed, Unit::Usd);
        let fixed = fixed.at_least(!self.current.billed.is_empty());
        all.push(Compared {
            parts: self.fixed_part(),
            cost: fixed.clone(),
            expected_cost: fixed,
            chance_exceeded: Figure::unknown(Unit::Percent),
            ..self.compare(Some(&self.current), Choice::UseLess, use_less)
        });
        if selection.choice == Choice::Watch {
            all.push(self.compare(Some(&self.current), Choice::Watch, None));
        }
        let contract = against(&Choice::Contract, "price by negotiation");
        if !is_budget {
            all.push(self.compare(None, Choice::Contract, contract));
        }
        // The sort is stable: the others keep their order.
        all.sort_by_key(|one| !is_selected(&one.choice));
        all
    }

    /// Whether the plan in use costs more than the selected one.
    fn is_dearer(&self, selection: &Selection<'_>) -> bool {
        let mut candidates = selection.candidates.iter();
        let selected = candidates.find(|it| it.choice() == selection.choice);
        let costs = self.current.expected(self.cases());
        let costs = costs.zip(selected.and_then(|it| it.expected));
        costs.is_some_and(|(now, target)| now > target)
    }

    /// A choice with its tariff; a contract has none.
    fn compare(
        &self,
        tariff: Option<&Tariff>,
        choice: Choice,
        against: Option<String>,
    ) -> Compared {
        let allowance = tariff.and_then(|tariff| tariff.allowances.get(&self.meter()));
        let inputs = tariff.map_or(Vec::new(), provenance::of_price);
        let lacking = tariff.map_or(Vec::new(), |it| it.lacking(&self.current, self.cases()));
        let billed = tariff.map_or(0, |it| it.unmeasured(self.cases()).len());
        let holds_less = lacking.len() > billed;
        let (unforecast, unmeasured): (Vec<Meter>, Vec<Meter>) =
            lacking.into_iter().partition(|meter| self.is_read(meter));
        let names = |meters: Vec<Meter>| meters.iter().map(ToString::to_string).collect();
        // A plan without known terms may be too small in any share of the cases. At least none is no number.
        let exceeded = tariff.filter(|_| allowance.is_some());
        let exceeded = exceeded.and_then(|it| self.chance_exceeded(it));
        let exceeded = exceeded.filter(|chance| !holds_less || *chance > 0.0);
        let expected = tariff.and_then(|tariff| tariff.expected(self.cases()));
        let bill = tariff.and_then(|tariff| tariff.shown_bill(self.cases()));
        Compared {
            included: Figure::new(allowance.and_then(|it| it.included), self.unit),
            unlimited: allowance.is_some_and(|it| it.included.is_none() && it.ceiling.is_none()),
            chance_exceeded: percent(exceeded).at_least(holds_less),
            cost: self.cost(tariff, 1).from_inputs(inputs.clone()),
            expected_cost: Figure::new(expected, Unit::Usd)
                .from_inputs(inputs)
                .at_least(billed > 0),
            unmeasured: names(unmeasured),
            unforecast: names(unforecast),
            // Without a bill the cost is unknown, and has no parts.
            parts: bill.map_or(Vec::new(), |bill| bill.parts()),
            choice,
            against,
        }
    }

    /// The chance that a plan is too small. Where usage has no forecast, it is known only if that is so already, or if
    /// the plan does not limit it.
    pub(super) fn chance_exceeded(&self, tariff: &Tariff) -> Option<f64> {
        let chance = tariff.chance_exceeded(self.cases());
        let allowance = tariff.allowances.get(&self.meter());
        let is_known = chance > 0.0
            || self.capacity.known_forecast().is_some()
            || allowance.is_some_and(|it| it.stops_at().is_none());
        is_known.then_some(chance)
    }

    /// Whether a meter has any current measurement.
    pub(super) fn is_read(&self, meter: &Meter) -> bool {
        let mut read = self
            .evidence
            .billed
            .iter()
            .filter(|it| !it.state.is_unknown());
        read.any(|it| {
            let (service, metric) = (it.series.service, it.series.metric);
            let share = self.plan_in_use().and_then(|plan| included(it, plan));
            *meter == Meter::Application(service, metric) || share.is_some_and(|it| it.0 == *meter)
        })
    }

    /// The limit itself if the resource has measurements of it, or else the other series of its meter on the same bill.
    fn measured(&self, limited: &'a Capacity) -> Vec<&'a Capacity> {
        let meter = |it: &Capacity| (it.series.service, it.series.metric);
        let plan = |it: &'a Capacity| it.limit.as_ref().map(|limit| &limit.plan);
        let mut found = self.evidence.billed.to_vec();
        found.retain(|it| meter(it) == meter(limited) && plan(it) == plan(limited));
        if limited.measured_at.is_some() || found.is_empty() {
            vec![limited]
        } else {
            found
        }
    }

    /// Every limit of the plan, the most urgent first.
    pub(super) fn meters(&self) -> Vec<MeterFacts> {
        let meter = |capacity: &Capacity| {
            let limit = capacity.limit.as_ref()?;
            let unit = Unit::Of(limit.metric);
            let crossing = capacity.crossing(2);
            let days = crossing.and_then(|crossing| crossing.days[1]);
            let days = days.or_else(|| (capacity.percent()? >= 100.0).then_some(0));
            let known = capacity.usage.filter(|_| capacity.measured_at.is_some());
            let is_partial = capacity.is_at_least();
            Some(MeterFacts {
                service: limit.service,
                metric: limit.metric,
                resource: capacity.resource().to_owned(),
                resources: capacity.resources,
                state: capacity.state,
                usage: Figure::new(known.and_then(decimal), unit).at_least(is_partial),
                limit: Figure::new(decimal(limit.value), unit),
                usage_percent: Figure::new(
                    capacity.percent().and_then(share_of_limit),
                    Unit::Percent,
                )
                .at_least(is_partial),
                days_to_limit: Figure::new(days.map(Decimal::from), Unit::Days),
                chance: percent(crossing.map(|crossing| crossing.soon.1)),
            })
        };
        let limited = self.evidence.limited.iter();
        let limited = limited.flat_map(|it| self.measured(it));
        let mut meters: Vec<MeterFacts> = limited.filter_map(meter).collect();
        let lead = &self.capacity.series;
        meters.sort_by_key(|it| {
            (it.service, it.metric, &it.resource) != (lead.service, lead.metric, &lead.resource)
        });
        meters
    }

    fn fixed_part(&self) -> Vec<Part> {
        let fixed = self.current.fixed.map(|fixed| Part {
            name: "fixed price".to_owned(),
            amount: Figure::exact(fixed, Unit::Usd),
        });
        fixed.into_iter().collect()
    }

    /// By how much usage must fall to stay within the plan in use in 95 % of the cases, or a budget in the period that
    /// exceeds it. No more than is in use can go.
    pub(super) fn reduction(&self) -> Figure {
        let whole = |less: Decimal| match self.in_force.metric {
            Metric::Connections | Metric::Invocations | Metric::RequestCount => less.ceil(),
            _ => less,
        };
        // Where this period is expected to keep it, the next one is the reason.
        let next = self.capacity.chance_over().is_some_and(|over| over < 0.5);
        let forecast = self.capacity.known_forecast();
        let total = forecast.and_then(|it| decimal(it.periods.get(usize::from(next))?.total.p50));
        if let (Origin::Budget, Some(total)) = (self.in_force.origin, total) {
            let less = (total - self.limit).max(Decimal::ZERO);
            return Figure::exact(whole(less), self.unit);
        }
        let meter = self.meter();
        let periods = self.cases().iter().filter_map(|cases| {
            let uses = cases.iter().filter_map(|case| case.get(&meter).copied());
            quantile(&mut uses.collect::<Vec<Decimal>>(), 95)
        });
        let in_use = match self.capacity.measure {
            Measure::Amount => Decimal::MAX,
            Measure::Level | Measure::Peak | Measure::Pace => self.usage,
        };
        let reduction = |most: Decimal| whole((most - self.limit).max(Decimal::ZERO)).min(in_use);
        let is_forecast = self.capacity.known_forecast().is_some();
        let reduction = periods.max().map(reduction);
        let reduction = reduction.filter(|less| is_forecast || !less.is_zero());
        Figure::new(reduction, self.unit).at_least(!is_forecast)
    }
}
