//! What a plan costs, in decimals, in each of the simulated cases.
//!
//! A case is the usage of one billing period on one path of the forecasts. Every plan is billed for the same
//! cases, so that noise cancels where plans are compared. Price ranges are carried through at both ends.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;

use super::facts::Part;
use super::figure::{Figure, Unit};
use crate::domain::metrics::names::{Measure, Metric};
use crate::domain::metrics::point::LARGEST;
use crate::domain::plans::AtLimit;
use crate::domain::plans::catalogue::{Included, Limited, Overage, Plan, PlanLimit};

/// A billed meter: a metric of the application, or one that only the provider names.
pub type Meter = Limited;

/// The usage of every meter in one billing period of one path: totals of counters, the highest level of gauges.
pub type Case = BTreeMap<Meter, Decimal>;

/// The cases of several billing periods, each with one case per path, in the order of the paths.
pub type Cases = [Vec<Case>];

/// How a plan limits and bills a meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Amount included in the fixed price; none if unlimited or unknown.
    pub included: Option<Decimal>,
    /// Maximum amount at any price.
    pub ceiling: Option<Decimal>,
    pub at_limit: AtLimit,
    /// Price beyond the included amount, where it is billed.
    pub overage: Option<Overage>,
}

impl Allowance {
    /// The amount at which usage stops, or may stop if the consequence is unknown: the included amount, or the ceiling
    /// of billed usage. None where usage only costs money.
    pub fn stops_at(&self) -> Option<Decimal> {
        let included = self.included.filter(|_| self.at_limit != AtLimit::Bill);
        included.or(self.ceiling)
    }
}

/// A plan, as it is billed; by default, without known terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tariff {
    pub plan: String,
    /// Fixed price of a billing period, for all services of the provider; none if by contract or unknown.
    pub fixed: Option<Decimal>,
    /// Overage that is free, in US dollars.
    pub credit: Decimal,
    /// Meters that are not listed are neither limited nor billed.
    pub allowances: BTreeMap<Meter, Allowance>,
    /// Everything that is billed by usage.
    pub billed: Vec<Meter>,
    /// Meters in US dollars, of which all usage is paid on every plan.
    pub paid: Vec<Meter>,
}

/// Which end of a price range counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prices {
    Low,
    Middle,
    High,
}

impl Prices {
    /// The price of a single unit.
    fn per_unit(self, overage: &Overage) -> Option<Decimal> {
        let price = match self {
            Prices::Low => overage.low,
            Prices::Middle => (overage.low + overage.high) / Decimal::TWO,
            Prices::High => overage.high,
        };
        price.checked_div(overage.unit)
    }
}

/// The bill of a billing period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    pub fixed: Decimal,
    /// Overage, or all usage of a meter of money, by meter; only amounts above zero.
    pub overages: Vec<(Meter, Decimal)>,
    /// The part of the overage that is free; positive.
    pub credit: Decimal,
}

impl Bill {
    pub fn total(&self) -> Decimal {
        let overages: Decimal = self.overages.iter().map(|(_, amount)| amount).sum();
        self.fixed + overages - self.credit
    }

    /// Its parts, which add up exactly to the total.
    pub fn parts(&self) -> Vec<Part> {
        let dollars = |name: String, amount| Part {
            name,
            amount: Figure::exact(amount, Unit::Usd),
        };
        let mut parts = vec![dollars("fixed price".to_owned(), self.fixed)];
        let overages = self.overages.iter();
        parts.extend(overages.map(|(meter, amount)| {
            let is_money = matches!(meter, Meter::Application(_, Metric::CostUsd));
            let kind = if is_money { "usage" } else { "overage" };
            dollars(format!("{kind} {meter}"), *amount)
        }));
        if !self.credit.is_zero() {
            parts.push(dollars("credit".to_owned(), -self.credit));
        }
        parts
    }
}

/// The percentiles of an interval.
const LOW: usize = 10;
const HIGH: usize = 90;

/// Decimal places of a dollar: an invocation costs less than a cent.
const DIGITS: u32 = 4;

impl Tariff {
    /// A plan of the catalogue for this number of seats; by default, those that its price includes.
    pub fn of(plan: &Plan, seats: Option<u32>) -> Tariff {
        let more = seats.unwrap_or(0).saturating_sub(plan.seats_included);
        let fixed = plan.fixed_price.and_then(|price| match plan.seat_price {
            Some(seat) => Some(price + seat * Decimal::from(more)),
            None => (more == 0).then_some(price),
        });
        let allowance = |limit: &PlanLimit| Allowance {
            included: limit.included.amount(),
            ceiling: limit.ceiling,
            at_limit: limit.at_limit,
            overage: limit.overage,
        };
        // A limit of spending includes nothing.
        let is_paid = |limit: &PlanLimit| {
            let metric = limit.application().map(|(_, metric)| metric);
            metric == Some(Metric::CostUsd) && limit.at_limit != AtLimit::Bill
        };
        let is_billed = |limit: &&PlanLimit| {
            let is_amount = matches!(limit.included, Included::Amount(_));
            is_paid(limit) || limit.at_limit == AtLimit::Bill && is_amount
        };
        let paid = plan.limits_in_use().filter(|limit| is_paid(limit));
        let billed = plan.limits_in_use().filter(is_billed);
        // A pace is derived from another limit.
        let is_pace = |limit: &PlanLimit| {
            let metric = limit.application().map(|(_, metric)| metric);
            metric.is_some_and(|metric| Measure::of(metric, limit.kind) == Measure::Pace)
        };
        Tariff {
            plan: plan.name.clone(),
            fixed,
            credit: plan.credit,
            // An unknown limit is no limit, and no allowance either.
            allowances: plan
                .limits_in_use()
                .filter(|limit| limit.included != Included::Unknown || limit.ceiling.is_some())
                .filter(|limit| !is_pace(limit))
                .map(|limit| (limit.limited.clone(), allowance(limit)))
                .collect(),
            billed: billed.map(|limit| limit.limited.clone()).collect(),
            paid: paid.map(|limit| limit.limited.clone()).collect(),
        }
    }

    /// The billed meters that the cases do not have: each adds an unknown amount to every cost.
    pub fn unmeasured(&self, cases: &Cases) -> Vec<Meter> {
        let case = cases.first().and_then(|cases| cases.first());
        let is_measured = |meter: &&Meter| case.is_some_and(|case| case.contains_key(*meter));
        let billed = self.billed.iter();
        billed
            .filter(|meter| !is_measured(meter))
            .cloned()
            .collect()
    }

    /// The metrics without measurements that it limits.
    pub fn unmeasured_limits(&self, cases: &Cases) -> impl Iterator<Item = (&Meter, Decimal)> {
        let case = cases.first().and_then(|cases| cases.first());
        let limits = self.allowances.iter();
        let limits = limits.filter_map(|(meter, it)| Some((meter, it.stops_at()?)));
        // What the application has no metric for is measured as a percentage, which has a limit of its own.
        limits.filter(move |(meter, _)| {
            let is_measured = case.is_some_and(|case| case.contains_key(*meter));
            matches!(meter, Meter::Application(..)) && !is_measured
        })
    }

    /// The meters without measurements that matter to a change from `now`: those that it bills, and those of which it
    /// holds less.
    pub fn lacking(&self, now: &Tariff, cases: &Cases) -> Vec<Meter> {
        let mut lacking = self.unmeasured(cases);
        let fits = |meter: &Meter, size: Decimal| {
            let now = now.allowances.get(meter).and_then(Allowance::stops_at);
            now.is_some_and(|now| size >= now)
        };
        let smaller = self.unmeasured_limits(cases);
        let smaller = smaller.filter(|(meter, size)| !fits(meter, *size));
        for (meter, _) in smaller {
            if !lacking.contains(meter) {
                lacking.push(meter.clone());
            }
        }
        lacking
    }

    /// The bill for one case; none if it needs a price that is unknown.
    ///
    /// Usage that stops at its limit is not billed beyond it.
    pub fn bill(&self, case: &Case, prices: Prices) -> Option<Bill> {
        let mut overages = Vec::new();
        for (meter, used) in case {
            if self.paid.contains(meter) {
                overages.push((meter.clone(), used.round_dp(DIGITS)));
                continue;
            }
            let Some(allowance) = self.allowances.get(meter) else {
                continue;
            };
            let (Some(included), AtLimit::Bill) = (allowance.included, allowance.at_limit) else {
                continue;
            };
            let most = allowance.ceiling.unwrap_or(Decimal::MAX);
            let beyond = (*used).min(most) - included;
            if beyond > Decimal::ZERO {
                let price = prices.per_unit(allowance.overage.as_ref()?)?;
                let amount = beyond.checked_mul(price)?.round_dp(DIGITS);
                if !amount.is_zero() {
                    overages.push((meter.clone(), amount));
                }
            }
        }
        let fixed = self.fixed?;
        let add = |sum: Decimal, (_, amount): &(Meter, Decimal)| sum.checked_add(*amount);
        let billed = overages.iter().try_fold(Decimal::ZERO, add)?;
        // The total is a decimal, too.
        fixed.checked_add(billed)?;
        Some(Bill {
            fixed,
            credit: self.credit.clamp(Decimal::ZERO, billed),
            overages,
        })
    }

    /// The total of each path over the first `periods` periods; none beyond the cases, and none where usage reaches a
    /// limit of unknown consequence in more of them than the interval of a cost leaves out.
    fn totals(&self, cases: &Cases, periods: usize, prices: Prices) -> Option<Vec<Decimal>> {
        let cases = cases.get(..periods)?;
        let paths = cases.first()?.len();
        if self.is_beyond_unknown(cases) {
            return None;
        }
        let mut totals = vec![Decimal::ZERO; paths];
        for cases in cases {
            for (total, case) in totals.iter_mut().zip(cases) {
                *total = total.checked_add(self.bill(case, prices)?.total())?;
            }
        }
        Some(totals)
    }

    /// The cost of the first `periods` periods: the median case at middle prices, with an interval from low usage
    /// at low prices to high usage at high prices.
    pub fn cost(&self, cases: &Cases, periods: usize) -> Figure {
        let cost = spread(|prices| self.totals(cases, periods, prices));
        cost.at_least(!self.unmeasured(cases).is_empty())
    }

    /// The mean cost of a period, over all periods with cases.
    pub fn expected(&self, cases: &Cases) -> Option<Decimal> {
        let totals = self.totals(cases, cases.len(), Prices::Middle)?;
        let periods = Decimal::from_usize(cases.len())?;
        mean(&totals)?.checked_div(periods)
    }

    /// The bill of the first period whose total is the cost: the median one, or a low one where that is a lower bound.
    pub fn shown_bill(&self, cases: &Cases) -> Option<Bill> {
        if self.is_beyond_unknown(cases.get(..1)?) {
            return None;
        }
        let (percent, prices) = match self.unmeasured(cases).is_empty() {
            true => (50, Prices::Middle),
            false => (LOW, Prices::Low),
        };
        let bills = cases.first()?.iter();
        let bills: Option<Vec<Bill>> = bills.map(|case| self.bill(case, prices)).collect();
        let mut bills = bills?;
        bills.sort_by_key(Bill::total);
        let shown = rank(bills.len(), percent)?;
        Some(bills.swap_remove(shown))
    }

    /// The share of the paths, from 0 to 1, on which a meter stops at its limit in any of the periods.
    pub fn chance_exceeded(&self, cases: &Cases) -> f64 {
        self.share_at_limit(cases, |_| true)
    }

    fn is_beyond_unknown(&self, cases: &Cases) -> bool {
        const LEFT_OUT: f64 = LOW as f64 / 100.0;
        self.share_at_limit(cases, |it| it.at_limit == AtLimit::Unknown) > LEFT_OUT
    }

    /// The share of the paths on which one of these meters stops at its limit in any of the periods.
    fn share_at_limit(&self, cases: &Cases, counts: impl Fn(&Allowance) -> bool) -> f64 {
        let paths = cases.first().map_or(0, Vec::len);
        let stops = |case: &Case| {
            case.iter().any(|(meter, used)| {
                let allowance = self.allowances.get(meter).filter(|it| counts(it));
                let line = allowance.and_then(Allowance::stops_at);
                // Exactly at the limit is at the limit.
                line.is_some_and(|line| *used >= line && *used > Decimal::ZERO)
            })
        };
        let exceeded = (0..paths).filter(|path| {
            let mut periods = cases.iter().filter_map(|period| period.get(*path));
            periods.any(&stops)
        });
        exceeded.count() as f64 / paths.max(1) as f64
    }
}

/// The cost of `target` minus that of `now` over the first `periods` periods, case by case. A saving never
/// exceeds the cost of `now`. An unmeasured meter makes a saving unknown, and an extra cost a lower bound.
pub fn extra(target: &Tariff, now: &Tariff, cases: &Cases, periods: usize) -> Figure {
    let at = |prices| {
        let target = target.totals(cases, periods, prices)?;
        let now = now.totals(cases, periods, prices)?;
        Some(target.iter().zip(&now).map(|(a, b)| a - b).collect())
    };
    let mut extra = spread(at);
    // With an even number of cases, the difference may take the other of the two median ones.
    if let (Some(value), Some(cost)) = (&mut extra.value, now.cost(cases, periods).value) {
        *value = (*value).max(-cost);
    }
    let [is_more, is_less] = unmeasured_by_one(target, now, cases);
    let saves = extra.value.is_some_and(|value| value.is_sign_negative());
    if (is_less || is_more && saves) && target != now {
        return Figure::unknown(Unit::Usd);
    }
    extra.at_least(is_more)
}

/// Whether the first, and whether the second bills an unmeasured meter that the other does not.
fn unmeasured_by_one(first: &Tariff, second: &Tariff, cases: &Cases) -> [bool; 2] {
    let [first, second] = [first, second].map(|tariff| tariff.unmeasured(cases));
    [(&first, &second), (&second, &first)]
        .map(|(own, other)| own.iter().any(|meter| !other.contains(meter)))
}

/// The usage of a meter above which `target` is cheaper than the overage of `now`.
///
/// Unknown where no overage is billed now, and where the target costs no more or does not include that usage. An
/// unmeasured meter of the target raises it, one of the plan in use lowers it.
pub fn break_even_use(
    target: &Tariff,
    now: &Tariff,
    cases: &Cases,
    meter: &Meter,
    unit: Unit,
) -> Figure {
    let at = |prices: Prices| {
        let allowance = now.allowances.get(meter)?;
        let price = prices.per_unit(allowance.overage.as_ref()?)?;
        let more = target.fixed?.checked_sub(now.fixed?)?;
        let credit = now.credit;
        let beyond = (more > Decimal::ZERO && allowance.at_limit == AtLimit::Bill)
            .then(|| (more + credit).checked_div(price))??;
        let even = allowance.included?.checked_add(beyond)?.round_dp(2);
        let covered = target.allowances.get(meter)?.included;
        Some(even).filter(|even| covered.is_none_or(|covered| covered >= *even))
    };
    // The higher the price, the sooner the target pays.
    let even = match (at(Prices::High), at(Prices::Middle), at(Prices::Low)) {
        (Some(low), Some(middle), Some(high)) => Figure::between(middle, low, high, unit),
        _ => Figure::unknown(unit),
    };
    match unmeasured_by_one(target, now, cases) {
        [true, true] => Figure::unknown(unit),
        [is_more, is_less] => even.at_least(is_more).at_most(is_less),
    }
}

/// The median at middle prices, and the interval from low to high prices.
fn spread(at: impl Fn(Prices) -> Option<Vec<Decimal>>) -> Figure {
    let figure = || {
        let mut middle = at(Prices::Middle)?;
        let (mut low, mut high) = (at(Prices::Low)?, at(Prices::High)?);
        let value = quantile(&mut middle, 50)?;
        // Extra cost may fall as prices rise, so either end can be at either price.
        let least = quantile(&mut low, LOW)?.min(quantile(&mut high, LOW)?);
        let most = quantile(&mut low, HIGH)?.max(quantile(&mut high, HIGH)?);
        let (least, most) = (least.min(value), most.max(value));
        Some(Figure::between(value, least, most, Unit::Usd))
    };
    figure().unwrap_or_else(|| Figure::unknown(Unit::Usd))
}

/// The index of a percentile among `count` sorted values.
///
/// It is rounded away from the median, so that the percentiles of negated values are the negated percentiles, and
/// a median saving never exceeds the median cost.
fn rank(count: usize, percent: usize) -> Option<usize> {
    let last = count.checked_sub(1)?;
    Some(match percent {
        0..=50 => last * percent / 100,
        _ => last - last * (100_usize.saturating_sub(percent)) / 100,
    })
}

/// A percentile: one of the values, never interpolated.
pub fn quantile(values: &mut [Decimal], percent: usize) -> Option<Decimal> {
    values.sort_unstable();
    values.get(rank(values.len(), percent)?).copied()
}

/// The mean, rounded as money is.
pub fn mean(values: &[Decimal]) -> Option<Decimal> {
    let count = Decimal::from_usize(values.len())?;
    let add = |sum: Decimal, value: &Decimal| sum.checked_add(*value);
    let sum = values.iter().try_fold(Decimal::ZERO, add)?;
    Some(sum.checked_div(count)?.round_dp(DIGITS))
}

/// A float as a decimal; none if it is not finite or too large.
pub fn decimal(value: f64) -> Option<Decimal> {
    if !value.is_finite() || value.abs() > LARGEST {
        return None;
    }
    Decimal::from_f64(value).map(|value| value.round_dp(DIGITS))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::metrics::names::Service;
    use crate::domain::plans::Catalogue;
    use crate::domain::testing::decimal as d;

    const STORAGE: Meter = Meter::Application(Service::VercelKv, Metric::StorageMb);
    const TRANSFER: Meter = Meter::Application(Service::VercelBandwidth, Metric::BandwidthGb);

    fn billed(included: &str, unit: &str, low: &str, high: &str) -> Allowance {
        Allowance {
            included: Some(d(included)),
            ceiling: None,
            at_limit: AtLimit::Bill,
            overage: Some(Overage {
                unit: d(unit),
                low: d(low),
                high: d(high),
            }),
        }
    }

    fn tariff(fixed: &str, credit: &str, allowances: &[(Meter, Allowance)]) -> Tariff {
        Tariff {
            plan: "plan".to_owned(),
            fixed: Some(d(fixed)),
            credit: d(credit),
            allowances: allowances.iter().cloned().collect(),
            ..Tariff::default()
        }
    }

    fn case(uses: &[(Meter, &str)]) -> Case {
        let uses = uses.iter();
        uses.map(|(meter, used)| (meter.clone(), d(used))).collect()
    }

    #[test]
    fn bill_is_fixed_price_and_overage_minus_credit() {
        let transfer = (TRANSFER, billed("1000", "1", "0.15", "0.35"));
        let storage = (STORAGE, billed("0", "1000", "0.25", "0.25"));
        let pro = tariff("20", "20", &[transfer, storage]);
        let bill = |used: &[(Meter, &str)], prices| pro.bill(&case(used), prices).unwrap();
        let little = bill(&[(TRANSFER, "1000"), (STORAGE, "400")], Prices::Low);
        assert_eq!((little.total(), little.credit), (d("20"), d("0.1")));
        let much = [(TRANSFER, "1200"), (STORAGE, "4000")];
        assert_eq!(bill(&much, Prices::Low).total(), d("31"));
        assert_eq!(bill(&much, Prices::High).total(), d("71"));
        let parts = bill(&much, Prices::Middle).parts();
        let shown = parts.iter().map(|it| format!("{}: {}", it.name, it.amount));
        let expected = [
            "fixed price: $20.00",
            "overage VERCEL_KV STORAGE_MB: $1.00",
            "overage VERCEL_BANDWIDTH BANDWIDTH_GB: $50.00",
            "credit: -$20.00",
        ];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn stopped_usage_is_not_billed_and_missing_price_is_unknown() {
        let mut free = tariff("0", "0", &[(STORAGE, billed("256", "1", "1", "1"))]);
        let allowance = free.allowances.get_mut(&STORAGE).unwrap();
        allowance.at_limit = AtLimit::Reject;
        assert_eq!(allowance.stops_at(), Some(d("256")));
        let cases = [vec![case(&[(STORAGE, "300")]), case(&[(STORAGE, "200")])]];
        assert_eq!(free.cost(&cases, 1).to_string(), "$0.00");
        assert_eq!(free.chance_exceeded(&cases), 0.5);

        let allowance = free.allowances.get_mut(&STORAGE).unwrap();
        (allowance.at_limit, allowance.overage) = (AtLimit::Bill, None);
        assert_eq!(free.cost(&cases, 1).to_string(), "unknown");
        assert_eq!(free.expected(&cases), None);
        // Usage within the included amount needs no price.
        let within = [vec![case(&[(STORAGE, "200")])]];
        assert_eq!(free.cost(&within, 1).to_string(), "$0.00");

        free.fixed = None;
        assert_eq!(free.cost(&[vec![Case::new()]], 1).to_string(), "unknown");
    }

    #[test]
    fn cost_at_a_limit_of_unknown_consequence_is_unknown() {
        let mut free = tariff("0", "0", &[(STORAGE, billed("256", "1", "1", "1"))]);
        free.allowances.get_mut(&STORAGE).unwrap().at_limit = AtLimit::Unknown;
        let fixed = tariff("20", "0", &[]);
        for (exceeded, known) in [(0, true), (2, true), (3, false), (20, false)] {
            let used = |index| if index < exceeded { "300" } else { "200" };
            let cases = [(0..20).map(|it| case(&[(STORAGE, used(it))])).collect()];
            let found = [
                free.cost(&cases, 1).value.is_some(),
                free.expected(&cases).is_some(),
                free.shown_bill(&cases).is_some(),
                extra(&fixed, &free, &cases, 1).value.is_some(),
            ];
            assert_eq!(found, [known; 4], "{exceeded}");
        }
    }

    #[test]
    fn interval_covers_price_range_and_usage_range() {
        let plan = tariff("0", "0", &[(TRANSFER, billed("0", "1", "1", "3"))]);
        let case = |used: u32| [(TRANSFER, Decimal::from(used))].into();
        let uses: Vec<Case> = (0..=100).map(case).collect();
        let cost = plan.cost(&[uses], 1);
        assert_eq!(cost.to_string(), "$100.00 (80%: $10.00 to $270.00)");
    }

    #[test]
    fn seats_beyond_the_included_ones_are_charged() {
        let catalogue = Catalogue::embedded().unwrap();
        let mut plan = catalogue.plan("vercel", "pro").unwrap().clone();
        (plan.fixed_price, plan.seat_price) = (Some(d("20")), Some(d("15")));
        plan.seats_included = 2;
        let fixed = |plan: &Plan, seats| Tariff::of(plan, seats).fixed;
        assert_eq!(fixed(&plan, None), Some(d("20")));
        assert_eq!(fixed(&plan, Some(2)), Some(d("20")));
        assert_eq!(fixed(&plan, Some(5)), Some(d("65")));
        // Without a price per seat, more seats make the price unknown.
        plan.seat_price = None;
        assert_eq!(fixed(&plan, Some(2)), Some(d("20")));
        assert_eq!(fixed(&plan, Some(3)), None);
    }

    #[test]
    fn spending_is_paid_on_every_tier() {
        let catalogue = Catalogue::embedded().unwrap();
        let spent = Meter::Application(Service::AiOpenai, Metric::CostUsd);
        let tier = |name| Tariff::of(catalogue.plan("openai", name).unwrap(), None);
        let cases = [vec![case(&[(spent, "135")])]];
        let [now, target] = [tier("tier-1"), tier("tier-2")];
        assert_eq!(target.cost(&cases, 1).to_string(), "$135.00");
        assert_eq!(extra(&target, &now, &cases, 1).to_string(), "$0.00");
        assert_eq!(
            (now.chance_exceeded(&cases), target.chance_exceeded(&cases)),
            (1.0, 0.0)
        );
        let unmeasured = target.cost(&[vec![Case::new()]], 1);
        assert_eq!(unmeasured.to_string(), "at least $0.00");
    }

    #[test]
    fn overage_is_billed_up_to_the_ceiling() {
        let mut plan = tariff("0", "0", &[(STORAGE, billed("100", "1", "2", "2"))]);
        let cost = |plan: &Tariff, used| {
            let bill = plan.bill(&case(&[(STORAGE, used)]), Prices::Middle);
            bill.unwrap().total()
        };
        assert_eq!(cost(&plan, "300"), d("400"));
        plan.allowances.get_mut(&STORAGE).unwrap().ceiling = Some(d("150"));
        assert_eq!(cost(&plan, "149"), d("98"));
        assert_eq!(cost(&plan, "150"), d("100"));
        assert_eq!(cost(&plan, "300"), d("100"));
    }

    #[test]
    fn unmeasured_meter_makes_cost_a_lower_bound_and_saving_unknown() {
        let mut plan = tariff("5", "0", &[(TRANSFER, billed("0", "1", "1", "1"))]);
        let compute = Meter::Vendor {
            service: None,
            name: "Compute".to_owned(),
            unit: "hour".to_owned(),
        };
        plan.billed = vec![TRANSFER, compute];
        let fixed = tariff("20", "0", &[]);
        let cases = |case| [vec![case]];
        let unmeasured = cases(Case::new());
        assert_eq!(plan.unmeasured(&unmeasured), plan.billed);
        assert_eq!(plan.cost(&unmeasured, 1).to_string(), "at least $5.00");
        assert_eq!(extra(&plan, &fixed, &unmeasured, 1).value, None);
        assert_eq!(extra(&fixed, &plan, &unmeasured, 1).value, None);
        let free = tariff("0", "0", &[]);
        let more = extra(&plan, &free, &unmeasured, 1);
        assert_eq!(more.to_string(), "at least $5.00");
        plan.billed.pop();
        let measured = cases(case(&[(TRANSFER, "7")]));
        assert_eq!(plan.cost(&measured, 1).to_string(), "$12.00");
        assert_eq!(extra(&plan, &fixed, &measured, 1).to_string(), "-$8.00");
    }

    #[test]
    fn usage_at_the_limit_or_at_an_unknown_consequence_is_exceeded() {
        let chance = |at_limit, used| {
            let mut allowance = billed("256", "1", "1", "1");
            allowance.at_limit = at_limit;
            let plan = tariff("0", "0", &[(STORAGE, allowance)]);
            plan.chance_exceeded(&[vec![case(&[(STORAGE, used)])]])
        };
        assert_eq!(chance(AtLimit::Reject, "256"), 1.0);
        assert_eq!(chance(AtLimit::Reject, "255.9"), 0.0);
        assert_eq!(chance(AtLimit::Unknown, "300"), 1.0);
        assert_eq!(chance(AtLimit::Bill, "300"), 0.0);
    }

    #[test]
    fn bill_beyond_the_range_of_decimals_is_unknown() {
        let plan = tariff("0", "0", &[(TRANSFER, billed("0", "1", "1", "100000"))]);
        let cases = [vec![case(&[(TRANSFER, "1000000000000000000000000")])]];
        assert_eq!(plan.cost(&cases, 1).value, None);
        let metered = || (STORAGE, billed("0", "1", "70000", "70000"));
        let both = tariff("0", "0", &[metered(), (TRANSFER, metered().1)]);
        let used = "1000000000000000000000000";
        let cases = [vec![case(&[(STORAGE, used), (TRANSFER, used)])]];
        assert_eq!(both.cost(&cases, 1).value, None);
    }

    #[test]
    fn equal_prices_have_no_extra_cost() {
        let plan = tariff("20", "0", &[]);
        let nothing = tariff("0", "0", &[]);
        let cases = vec![vec![Case::new()]; 12];
        assert_eq!(extra(&plan, &plan, &cases, 1).to_string(), "$0.00");
        assert_eq!(extra(&nothing, &nothing, &cases, 12).to_string(), "$0.00");
        assert_eq!(extra(&nothing, &plan, &cases, 3).to_string(), "-$60.00");
        // Without cases it is unknown.
        assert_eq!(extra(&plan, &plan, &[], 1).to_string(), "unknown");
        assert_eq!(extra(&plan, &plan, &[vec![]], 1).to_string(), "unknown");
    }

    #[test]
    fn larger_fixed_price_breaks_even_above_some_usage() {
        let included = billed("1000", "1", "0.10", "0.20");
        let now = tariff("20", "20", &[(TRANSFER, included)]);
        let cases = [vec![case(&[(TRANSFER, "1")])]];
        let even = |target: &Tariff| {
            let unit = Unit::Of(Metric::BandwidthGb);
            break_even_use(target, &now, &cases, &TRANSFER, unit).to_string()
        };
        let mut target = tariff("120", "0", &[(TRANSFER, billed("5000", "1", "1", "1"))]);
        // 1,200 GB more at the low price, or 600 GB at the high one, cost as much as the other plan and the lost credit.
        assert_eq!(even(&target), "1,800 GB (80%: 1,600 to 2,200)");
        target.billed = vec![STORAGE];
        assert_eq!(even(&target), "at least 1,600 GB");
        let smaller = billed("1700", "1", "1", "1");
        target.allowances.insert(TRANSFER, smaller);
        assert_eq!(even(&target), "unknown");
        assert_eq!(even(&now), "unknown");
    }

    #[test]
    fn cost_beyond_the_cases_is_unknown() {
        let plan = tariff("10", "0", &[(TRANSFER, billed("0", "1", "1", "1"))]);
        let cases = ["1", "5"].map(|used| vec![case(&[(TRANSFER, used)])]);
        assert_eq!(plan.cost(&cases, 1).value, Some(d("11")));
        assert_eq!(plan.cost(&cases, 2).value, Some(d("26")));
        assert_eq!(plan.cost(&cases, 4).value, None);
        assert_eq!(plan.expected(&cases), Some(d("13")));
    }

    #[test]
    fn float_that_is_not_finite_is_no_decimal() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e25, f64::MAX] {
            assert_eq!(decimal(value), None);
        }
        assert_eq!(decimal(228.39), Some(d("228.39")));
        assert_eq!(decimal(1e20), Some(d("100000000000000000000")));
    }

    fn any_decimal(most: i64) -> impl Strategy<Value = Decimal> + Clone {
        (0..=most, 0_u32..4).prop_map(|(number, scale)| Decimal::new(number, scale))
    }

    fn any_allowance() -> impl Strategy<Value = Allowance> {
        let price = any_decimal(1_000_000);
        let overage = (1_i64..1_000_000, price.clone(), price);
        let at_limit = prop::sample::select(vec![AtLimit::Bill, AtLimit::Pause, AtLimit::Unknown]);
        (
            prop::option::of(any_decimal(1_000_000_000)),
            prop::option::of(any_decimal(1_000_000_000)),
            at_limit,
            prop::option::weighted(0.9, overage),
        )
            .prop_map(|(included, ceiling, at_limit, overage)| Allowance {
                included,
                // The ceiling of a plan is never below its included amount.
                ceiling: ceiling.map(|most| most.max(included.unwrap_or_default())),
                at_limit,
                overage: overage.map(|(unit, low, more)| Overage {
                    unit: unit.into(),
                    low,
                    high: low + more,
                }),
            })
    }

    fn any_tariff() -> impl Strategy<Value = Tariff> {
        (
            prop::option::weighted(0.9, any_decimal(100_000)),
            any_decimal(100_000),
            any_allowance(),
            any_allowance(),
        )
            .prop_map(|(fixed, credit, storage, transfer)| Tariff {
                plan: "any".to_owned(),
                fixed,
                credit,
                allowances: [(STORAGE, storage), (TRANSFER, transfer)].into(),
                ..Tariff::default()
            })
    }

    fn any_cases() -> impl Strategy<Value = Vec<Vec<Case>>> {
        let used = any_decimal(1_000_000_000_000);
        let case = (used.clone(), used)
            .prop_map(|(storage, transfer)| Case::from([(STORAGE, storage), (TRANSFER, transfer)]));
        (1_usize..4, 1_usize..12).prop_flat_map(move |(periods, paths)| {
            prop::collection::vec(prop::collection::vec(case.clone(), paths), periods)
        })
    }

    proptest! {
        #[test]
        fn saving_never_exceeds_cost(
            target in any_tariff(), now in any_tariff(), cases in any_cases(), periods in 1_usize..4,
        ) {
            let (cost, extra) = (now.cost(&cases, periods), extra(&target, &now, &cases, periods));
            if let (Some(cost), Some(extra)) = (cost.value, extra.value) {
                prop_assert!(-extra <= cost, "{extra} saves more than {cost}");
            }
            if let (Some(cost), Some(extra)) = (cost.interval, extra.interval) {
                prop_assert!(Some(-extra.low) <= cost.high);
            }
        }

        #[test]
        fn parts_add_up_to_cost_and_interval_contains_it(plan in any_tariff(), cases in any_cases()) {
            let cost = plan.cost(&cases, 1);
            if let (Some(value), Some(bill)) = (cost.value, plan.shown_bill(&cases)) {
                let sum: Decimal = bill.parts().iter().filter_map(|part| part.amount.value).sum();
                prop_assert_eq!(sum, value);
                prop_assert!(bill.credit <= bill.overages.iter().map(|(_, amount)| amount).sum());
                prop_assert!(bill.total() >= bill.fixed);
            }
            if let (Some(value), Some(interval)) = (cost.value, cost.interval) {
                prop_assert!(interval.low <= value && Some(value) <= interval.high);
            }
            prop_assert!(cost.as_float().is_none_or(f64::is_finite));
        }

        #[test]
        fn more_usage_never_costs_less(plan in any_tariff(), cases in any_cases(), more in any_decimal(1_000_000)) {
            let mut larger = cases.clone();
            for case in larger.iter_mut().flatten() {
                for used in case.values_mut() {
                    *used += more;
                }
            }
            prop_assert!(plan.chance_exceeded(&cases) <= plan.chance_exceeded(&larger));
            if let (Some(before), Some(after)) = (plan.expected(&cases), plan.expected(&larger)) {
                prop_assert!(before <= after);
            }
            if let (Some(before), Some(after)) = (plan.cost(&cases, 1).value, plan.cost(&larger, 1).value) {
                prop_assert!(before <= after);
            }
        }
    }
}
