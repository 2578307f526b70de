//! Costs and benefits of the selected choice.

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;

use super::{Assessor, provenance};
use crate::domain::forecast::day_number;
use crate::domain::period::Window;
use crate::domain::plans::{AtLimit, Origin};
use crate::domain::recommendation::candidates::Selection;
use crate::domain::recommendation::cost::{Tariff, break_even_use, extra, mean};
use crate::domain::recommendation::facts::{Money, Projection};
use crate::domain::recommendation::figure::{Figure, Unit};

/// Days of history from which on twelve billing periods are extrapolated.
const DAYS_FOR_A_YEAR: usize = 60;

impl Assessor<'_> {
    /// `target` is the tariff after the change; none for a contract, whose price is unknown.
    pub(super) fn money(&self, target: Option<&Tariff>, selection: &Selection<'_>) -> Money {
        let business = self.evidence.business;
        let now_prices = provenance::of_price(&self.current);
        let target_prices = target.map_or(Vec::new(), provenance::of_price);
        let both = now_prices.iter().chain(&target_prices);
        let extra_cost = self.extra(target, 1).from_inputs(both);
        let hours = self.hours_blocked().and_then(|hours| mean(&hours));
        let loss = || {
            let loss = hours?.checked_mul(business.revenue_per_hour?)?;
            Some(loss.checked_mul(business.affected_fraction?)?.round_dp(2))
        };
        let loss = loss();
        let net = || loss?.checked_sub(extra_cost.value?);
        let net = net();
        // Unmeasured meters raise the cost of the change and lower its value.
        let is_bound = extra_cost.at_least;
        let roi = || {
            let extra = extra_cost.value.filter(|extra| *extra > Decimal::ZERO)?;
            Some(net?.checked_div(extra)?.round_dp(2))
        };
        let break_even_revenue = || {
            let fraction = business.affected_fraction.unwrap_or(Decimal::ONE);
            let lost_hours = hours?.checked_mul(fraction)?;
            // Without an outage nothing is avoided.
            let lost_hours = (lost_hours > Decimal::ZERO).then_some(lost_hours)?;
            let extra = extra_cost.value?.max(Decimal::ZERO);
            Some(extra.checked_div(lost_hours)?.round_dp(4))
        };
        let outage = ["usage", "history", "limit", "time_to_fix_hours"];
        let revenue = ["revenue_per_hour", "affected_fraction"];
        let period = self.periods.first().copied().unwrap_or(Window::ALL);
        Money {
            from: period.from,
            to: period.to,
            current: self.cost(Some(&self.current), 1).from_inputs(now_prices),
            target: self.cost(target, 1).from_inputs(target_prices.clone()),
            projections: self.projections(target, selection),
            break_even_use: target.map_or_else(
                || Figure::unknown(self.unit),
                |target| {
                    break_even_use(
                        target,
                        &self.current,
                        self.cases(),
                        &self.meter(),
                        self.unit,
                    )
                },
            ),
            hours_blocked: Figure::new(hours, Unit::Hours).from_inputs(outage),
            avoided_loss: Figure::new(loss, Unit::Usd)
                .from_inputs(outage.into_iter().chain(revenue)),
            net: Figure::new(net, Unit::Usd)
                .at_most(is_bound)
                .from_inputs(["avoided_loss", "extra_cost"]),
            roi: Figure::new(roi(), Unit::Ratio)
                .at_most(is_bound)
                .from_inputs(["net", "extra_cost"]),
            break_even_revenue: Figure::new(break_even_revenue(), Unit::UsdPerHour)
                .at_least(is_bound)
                .from_inputs(["extra_cost", "hours_blocked", "affected_fraction"]),
            extra: extra_cost,
        }
    }

    pub(super) fn cost(&self, tariff: Option<&Tariff>, periods: usize) -> Figure {
        let unknown = || Figure::unknown(Unit::Usd);
        tariff.map_or_else(unknown, |tariff| tariff.cost(&self.year, periods))
    }

    fn extra(&self, target: Option<&Tariff>, periods: usize) -> Figure {
        let unknown = || Figure::unknown(Unit::Usd);
        let extra = |target| extra(target, &self.current, &self.year, periods);
        target.map_or_else(unknown, extra)
    }

    fn projections(&self, target: Option<&Tariff>, selection: &Selection<'_>) -> Vec<Projection> {
        let chance = self.chance_exceeded(&self.current);
        let may_stay = chance.is_some_and(|chance| chance <= self.tolerance());
        let fitting = selection.fitting().chain(may_stay.then_some(&self.current));
        let priced = fitting.filter_map(|tariff| Some((tariff.expected(self.cases())?, tariff)));
        let cheapest = priced.min_by_key(|(cost, _)| *cost).map(|(_, it)| it);
        let history = self.capacity.daily.days.len();
        let projection = |number: u32| {
            let periods = number as usize;
            Projection {
                periods: number,
                extrapolated: periods > self.cases().len(),
                current: self.cost(Some(&self.current), periods),
                target: self.cost(target, periods),
                cheapest: self.cost(cheapest, periods),
                extra: self.extra(target, periods),
            }
        };
        let numbers = [1, 3, 12].into_iter();
        let numbers = numbers.filter(|number| *number <= 3 || history >= DAYS_FOR_A_YEAR);
        numbers.map(projection).collect()
    }

    /// On each path, the hours of the next whole period in which the plan in use stops the service.
    fn hours_blocked(&self) -> Option<Vec<Decimal>> {
        let limit = self.in_force;
        if limit.at_limit == AtLimit::Unknown || limit.origin == Origin::Budget {
            return None;
        }
        if !limit.at_limit.blocks() {
            return Some(vec![Decimal::ZERO]);
        }
        // After a single reading below the limit, the time to the limit is unknown.
        if self.capacity.known_forecast().is_none() && self.usage < self.limit {
            return None;
        }
        let period = self.periods.first()?;
        let [from, to] = [period.from, period.to].map(|at| day_number(at.date_naive()));
        // Without a time to fix, an outage lasts to the end of the period.
        let most = self.evidence.business.time_to_fix_hours;
        let most = most.unwrap_or(Decimal::MAX);
        let hours = self.capacity.hours_beyond(limit.value, from, to)?;
        let capped = |hours| Some(Decimal::from_f64(hours)?.min(most));
        hours.into_iter().map(capped).collect()
    }
}
