//! Which plan to change to: of all plans of the provider that are large enough, the cheapest. Plans form no
//! ladder: names and fixed prices say little about their size.

use std::collections::BTreeSet;

use rust_decimal::Decimal;

use super::cost::{Allowance, Cases, Meter, Tariff, quantile};
use super::facts::Choice;

/// Why a plan is not recommended.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Against {
    #[error("holds no more than the plan in use")]
    Smaller,
    #[error("included amount unknown")]
    SizeUnknown,
    /// It is exceeded in this share of the cases, from 0 to 1: more than tolerated.
    #[error("too small in {:.0}% of cases", .0 * 100.0)]
    Exceeded(f64),
    #[error("price not published")]
    PriceUnknown,
    /// Usage beyond its limit has no known price.
    #[error("cost beyond the limit unknown")]
    BeyondUnknown,
    /// Something that it bills, or of which it holds less, is not measured, so that it cannot win by its price.
    #[error("not measured: {}", join(.0))]
    Unmeasured(Vec<Meter>),
    /// Another choice costs less.
    #[error("costs more")]
    CostsMore,
    /// Another choice costs the same, and has a lower limit.
    #[error("costs the same")]
    CostsTheSame,
}

impl Against {
    /// The unknown part of the cost of a plan.
    pub fn of_unknown_cost(tariff: &Tariff) -> Against {
        match tariff.fixed {
            None => Against::PriceUnknown,
            Some(_) => Against::BeyondUnknown,
        }
    }
}

fn join(meters: &[Meter]) -> String {
    let names: Vec<String> = meters.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// A plan that was considered.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate<'a> {
    pub tariff: &'a Tariff,
    /// Its mean cost in a billing period, without the unmeasured meters.
    pub expected: Option<Decimal>,
    /// The meters without measurements that it bills, or of which it holds less than the plan in use.
    pub unmeasured: Vec<Meter>,
    /// Why it is not recommended; none for the recommended one.
    pub against: Option<Against>,
}

impl Candidate<'_> {
    pub fn choice(&self) -> Choice {
        Choice::Change {
            plan: self.tariff.plan.clone(),
        }
    }
}

/// The recommended choice, and the plans that were considered, in the order of the catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection<'a> {
    pub choice: Choice,
    /// The plans, without the one in use.
    pub candidates: Vec<Candidate<'a>>,
}

impl<'a> Selection<'a> {
    /// The plans that are large enough: the recommended one, and those that cost no less.
    pub fn fitting(&self) -> impl Iterator<Item = &'a Tariff> {
        use Against::{CostsMore, CostsTheSame};
        let fits =
            |it: &&Candidate<'_>| matches!(it.against, None | Some(CostsMore | CostsTheSame));
        self.candidates.iter().filter(fits).map(|it| it.tariff)
    }
}

/// The search for a plan.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    /// The plan in use.
    pub current: &'a Tariff,
    /// All plans of the provider, the one in use possibly included.
    pub plans: &'a [Tariff],
    /// The metric whose limit is assessed.
    pub meter: Meter,
    /// Whether usage beyond the limit of the plan in use only costs money.
    pub may_stay: bool,
    pub cases: &'a Cases,
    /// The share of the cases in which a plan may be too small, from 0 to 1.
    pub tolerance: f64,
}

impl<'a> Search<'a> {
    /// The plan to change to when the one in use is too small, or to stay on it and pay.
    ///
    /// A plan that holds no more of the metric is never recommended at any price; of billed usage, no more than the
    /// included amount. One with an unmeasured price, or with less of a metric that is not measured, is only
    /// recommended if no other is large enough.
    pub fn larger(&self) -> Selection<'a> {
        let now = self.current.allowances.get(&self.meter);
        let size = match now.and_then(|it| it.included) {
            Some(included) => Size::Amount(included),
            None => self.size(self.current),
        };
        let mut candidates = self.candidates(|tariff| match (self.size(tariff), size) {
            (Size::Unknown, _) => Some(Against::SizeUnknown),
            (Size::Unlimited, _) | (Size::Amount(_), Size::Unknown) => None,
            (Size::Amount(size), Size::Amount(now)) if size > now => None,
            (Size::Amount(_), _) => Some(Against::Smaller),
        });
        let lasts = self.current.chance_exceeded(self.cases) <= self.tolerance;
        // Staying competes with the plans if it only costs money.
        let stay = self.current.expected(self.cases);
        let stay = stay.filter(|_| lasts && self.may_stay);
        let measured = self.cheapest(&candidates, true);
        let best = match stay {
            Some(stay) => measured.filter(|(_, cost)| *cost < stay),
            None => measured.or_else(|| self.cheapest(&candidates, false)),
        };
        let choice = match best {
            Some((index, _)) => candidates[index].choice(),
            None if stay.is_some() => Choice::Stay,
            None if lasts => Choice::UseLess,
            None => Choice::Contract,
        };
        let cost = best.map(|(_, cost)| cost).or(stay);
        reject_others(&mut candidates, &choice, cost);
        Selection { choice, candidates }
    }

    /// A plan that costs less and is still far larger than needed: the 90th percentile of the usage is below
    /// `share` of its included amount, for every metric in every period.
    pub fn smaller(&self, share: Decimal) -> Option<Selection<'a>> {
        let cost = self.current.expected(self.cases)?;
        let roomy = |tariff: &Tariff| {
            self.cases.iter().all(|period| {
                let meters: BTreeSet<&Meter> = period.iter().flat_map(|case| case.keys()).collect();
                meters.into_iter().all(|meter| {
                    let uses = period.iter().filter_map(|case| case.get(meter).copied());
                    let used = quantile(&mut uses.collect::<Vec<Decimal>>(), 90);
                    let size = tariff.allowances.get(meter).and_then(Allowance::stops_at);
                    let pair = used.zip(size);
                    pair.is_none_or(|(used, size)| used < size * share)
                })
            })
        };
        let mut candidates = self.candidates(|tariff| match self.size(tariff) {
            Size::Unknown => Some(Against::SizeUnknown),
            _ if !roomy(tariff) => Some(Against::Smaller),
            _ => None,
        });
        let (index, best) = self.cheapest(&candidates, true)?;
        let choice = candidates[index].choice();
        reject_others(&mut candidates, &choice, Some(best));
        (best < cost).then_some(Selection { choice, candidates })
    }

    fn size(&self, tariff: &Tariff) -> Size {
        match tariff.allowances.get(&self.meter) {
            None => Size::Unknown,
            Some(allowance) => allowance.stops_at().map_or(Size::Unlimited, Size::Amount),
        }
    }

    fn candidates(&self, against: impl Fn(&Tariff) -> Option<Against>) -> Vec<Candidate<'a>> {
        let others = self.plans.iter();
        let others = others.filter(|tariff| tariff.plan != self.current.plan);
        let candidate = |tariff: &'a Tariff| {
            let chance_exceeded = tariff.chance_exceeded(self.cases);
            let expected = tariff.expected(self.cases);
            let against = against(tariff).or_else(|| {
                if chance_exceeded > self.tolerance {
                    return Some(Against::Exceeded(chance_exceeded));
                }
                expected.is_none().then(|| Against::of_unknown_cost(tariff))
            });
            Candidate {
                tariff,
                expected,
                unmeasured: tariff.lacking(self.current, self.cases),
                against,
            }
        };
        others.map(candidate).collect()
    }

    /// The cheapest of the candidates that remain, of equal ones that with the lowest limit; if `measured`, of those
    /// whose whole price is known, and else of those that bill nothing unmeasured, if there are any.
    fn cheapest(&self, candidates: &[Candidate<'_>], measured: bool) -> Option<(usize, Decimal)> {
        let fits = |(index, candidate): (usize, &Candidate<'_>)| {
            let fits = candidate.against.is_none();
            let is_known = !measured || candidate.unmeasured.is_empty();
            (fits && is_known).then_some((index, candidate.expected?))
        };
        let fits = candidates.iter().enumerate().filter_map(fits);
        fits.min_by_key(|(index, cost)| {
            let tariff = candidates[*index].tariff;
            let is_bound = !tariff.unmeasured(self.cases).is_empty();
            (is_bound, *cost, self.size(tariff))
        })
    }
}

/// How much of the metric a plan holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Size {
    /// The plan does not mention the metric.
    Unknown,
    /// This amount, before usage stops or may stop.
    Amount(Decimal),
    /// Also where usage beyond the included amount only costs money.
    Unlimited,
}

/// The candidates that remain beside the chosen one cost more or the same, or as much as is not measured.
fn reject_others(candidates: &mut [Candidate<'_>], chosen: &Choice, cost: Option<Decimal>) {
    let others = candidates.iter_mut().filter(|it| it.choice() != *chosen);
    for candidate in others.filter(|it| it.against.is_none()) {
        candidate.against = Some(match candidate.unmeasured.as_slice() {
            [] if candidate.expected == cost => Against::CostsTheSame,
            [] => Against::CostsMore,
            meters => Against::Unmeasured(meters.to_vec()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::metrics::names::{Metric, Service};
    use crate::domain::plans::{AtLimit, Catalogue};
    use crate::domain::recommendation::cost::Case;

    const STORAGE: Meter = Meter::Application(Service::VercelKv, Metric::StorageMb);
    const COMMANDS: Meter = Meter::Application(Service::VercelKv, Metric::RequestCount);
    const TRANSFER: Meter = Meter::Application(Service::VercelBandwidth, Metric::BandwidthGb);
    const KV_TRANSFER: Meter = Meter::Application(Service::VercelKv, Metric::BandwidthGb);

    fn tariffs(provider: &str) -> Vec<Tariff> {
        let catalogue = Catalogue::embedded().unwrap();
        let plans = catalogue
            .plans_of(provider)
            .filter(|plan| plan.cited.enabled);
        plans.map(|plan| Tariff::of(plan, None)).collect()
    }

    type Uses<'a> = &'a [(Meter, i64)];

    /// One period with exactly this usage.
    fn cases(uses: Uses<'_>) -> Vec<Vec<Case>> {
        let case = |(meter, used): &(Meter, i64)| (meter.clone(), Decimal::from(*used));
        vec![vec![uses.iter().map(case).collect()]]
    }

    /// The search for a plan to change to from the plan `now`.
    fn search<'a>(plans: &'a [Tariff], now: &str, meter: Meter, cases: &'a Cases) -> Search<'a> {
        Search {
            current: plans.iter().find(|tariff| tariff.plan == now).unwrap(),
            plans,
            meter,
            may_stay: now == "pro",
            cases,
            tolerance: 0.05,
        }
    }

    fn larger(plans: &[Tariff], now: &str, meter: Meter, uses: Uses<'_>) -> (Choice, String) {
        let cases = cases(uses);
        let found = search(plans, now, meter, &cases).larger();
        let verdict = |candidate: &Candidate<'_>| {
            let against = candidate.against.as_ref();
            let against = against.map_or("chosen".to_owned(), ToString::to_string);
            format!("{}: {against}", candidate.tariff.plan)
        };
        let verdicts: Vec<String> = found.candidates.iter().map(verdict).collect();
        (found.choice, verdicts.join("; "))
    }

    fn change(plan: &str) -> Choice {
        Choice::Change {
            plan: plan.to_owned(),
        }
    }

    #[test]
    fn smaller_plan_is_never_an_upgrade() {
        let plans = tariffs("upstash");
        for used in [200, 250, 255, 256, 300] {
            for commands in [0, 100_000, 10_000_000, 100_000_000] {
                let uses = [(STORAGE, used), (COMMANDS, commands), (KV_TRANSFER, 1)];
                let (choice, verdicts) = larger(&plans, "free", STORAGE, &uses);
                assert_ne!(choice, change("fixed-250mb"));
                let against = "fixed-250mb: holds no more than the plan in use";
                assert!(verdicts.contains(against), "{verdicts}");
            }
        }
    }

    #[test]
    fn cheapest_large_enough_plan_depends_on_usage() {
        let plans = tariffs("upstash");
        let uses = |storage, commands| [(STORAGE, storage), (COMMANDS, commands), (KV_TRANSFER, 1)];
        let few = larger(&plans, "free", STORAGE, &uses(300, 180_000));
        assert_eq!(few.0, change("payg"));
        // At $0.20 for 100,000 commands the fixed price of $20 is less from ten million on.
        let many = larger(&plans, "free", STORAGE, &uses(300, 11_000_000));
        assert_eq!(many.0, change("fixed-1gb"));
        let large = larger(&plans, "free", STORAGE, &uses(4_000, 90_000_000));
        assert_eq!(large.0, change("fixed-5gb"));
        assert!(large.1.contains("fixed-1gb: too small in 100% of cases"));
        let larger_than_any = larger(&plans, "fixed-500gb", STORAGE, &uses(600_000, 1));
        assert_eq!(larger_than_any.0, Choice::Contract);
    }

    #[test]
    fn plan_with_an_unmeasured_price_wins_only_if_no_other_is_large_enough() {
        let plans = tariffs("upstash");
        let storage = [(STORAGE, 300)];
        let (choice, verdicts) = larger(&plans, "free", STORAGE, &storage);
        assert_eq!(choice, change("fixed-1gb"));
        let unmeasured = "payg: not measured: VERCEL_KV BANDWIDTH_GB, VERCEL_KV REQUEST_COUNT";
        assert!(verdicts.contains(unmeasured), "{verdicts}");
        // Nothing is known of the plan in use.
        let gone = Tariff {
            plan: "gone".to_owned(),
            ..Tariff::default()
        };
        let cases = cases(&storage);
        let search = Search {
            current: &gone,
            ..search(&plans, "free", STORAGE, &cases)
        };
        assert_eq!(search.larger().choice, change("fixed-1gb"));
        let payg: Vec<Tariff> = plans.iter().take(2).cloned().collect();
        let (choice, _) = larger(&payg, "free", STORAGE, &storage);
        assert_eq!(choice, change("payg"));
    }

    #[test]
    fn billing_from_zero_is_room_for_money() {
        let plans = tariffs("upstash");
        // 900,000 commands, of which the free plan takes 500,000.
        let uses = [(STORAGE, 100), (COMMANDS, 900_000), (KV_TRANSFER, 1)];
        let (choice, verdicts) = larger(&plans, "free", COMMANDS, &uses);
        assert_eq!(choice, change("payg"), "{verdicts}");
    }

    #[test]
    fn lowest_sufficient_limit_is_chosen_among_equal_prices() {
        let mut plans = tariffs("openai");
        plans.reverse();
        let spent = Meter::Application(Service::AiOpenai, Metric::CostUsd);
        let (choice, verdicts) = larger(&plans, "tier-1", spent.clone(), &[(spent, 135)]);
        assert_eq!(choice, change("tier-2"));
        assert!(verdicts.contains("tier-3: costs the same"), "{verdicts}");
    }

    #[test]
    fn overage_of_unknown_price_holds_the_included_amount() {
        let mut plans = tariffs("upstash");
        let allowance = plans[0].allowances.get_mut(&STORAGE).unwrap();
        allowance.at_limit = AtLimit::Bill;
        let uses = [(STORAGE, 300), (COMMANDS, 11_000_000), (KV_TRANSFER, 1)];
        let cases = cases(&uses);
        let search = Search {
            may_stay: true,
            ..search(&plans, "free", STORAGE, &cases)
        };
        let found = search.larger();
        assert_eq!(found.choice, change("fixed-1gb"));
        let against = |plan: &str| {
            let mut all = found.candidates.iter();
            let found = all.find(|it| it.tariff.plan == plan).unwrap();
            found.against.clone()
        };
        assert_eq!(against("fixed-250mb"), Some(Against::Smaller));
        assert_eq!(against("fixed-5gb"), Some(Against::CostsMore));
    }

    #[test]
    fn billed_usage_may_move_to_a_plan_that_includes_it() {
        let mut plans = tariffs("vercel");
        for plan in &mut plans {
            plan.allowances.retain(|meter, _| *meter == TRANSFER);
            plan.billed.clear();
        }
        let hobby = plans.iter_mut().find(|it| it.plan == "hobby").unwrap();
        let allowance = hobby.allowances.get_mut(&TRANSFER).unwrap();
        allowance.included = Some(Decimal::from(5_000));
        hobby.fixed = Some(Decimal::from(30));
        // 1,400 GB cost at least $60 beyond those that are included in the price of $20.
        let (choice, verdicts) = larger(&plans, "pro", TRANSFER, &[(TRANSFER, 1_400)]);
        assert_eq!(choice, change("hobby"), "{verdicts}");
        let (choice, _) = larger(&plans, "pro", TRANSFER, &[(TRANSFER, 6_000)]);
        assert_eq!(choice, Choice::Stay);
    }

    #[test]
    fn unknown_consequence_is_never_stay_and_pay() {
        let mut plans = tariffs("upstash");
        plans.truncate(1);
        let allowance = plans[0].allowances.get_mut(&STORAGE).unwrap();
        allowance.at_limit = AtLimit::Unknown;
        for (used, expected) in [(300, Choice::Contract), (250, Choice::UseLess)] {
            let found = larger(&plans, "free", STORAGE, &[(STORAGE, used)]);
            assert_eq!(found.0, expected, "{used}");
        }
    }

    #[test]
    fn staying_and_paying_is_chosen_where_cheaper() {
        let plans = tariffs("vercel");
        let (choice, verdicts) = larger(&plans, "pro", TRANSFER, &[(TRANSFER, 1_200)]);
        assert_eq!(choice, Choice::Stay);
        let against = "hobby: holds no more than the plan in use";
        assert!(verdicts.contains(against), "{verdicts}");
        let (choice, _) = larger(&plans, "hobby", TRANSFER, &[(TRANSFER, 120)]);
        assert_eq!(choice, change("pro"));
    }

    #[test]
    fn downgrade_must_be_cheaper_and_large_enough() {
        let plans = tariffs("upstash");
        let smaller = |storage, commands| {
            let uses = [(STORAGE, storage), (COMMANDS, commands), (KV_TRANSFER, 1)];
            let cases = cases(&uses);
            let search = search(&plans, "fixed-5gb", STORAGE, &cases);
            let share = Decimal::new(6, 1);
            search.smaller(share).map(|found| found.choice)
        };
        assert_eq!(smaller(500, 50_000_000), Some(change("fixed-1gb")));
        assert_eq!(smaller(700, 50_000_000), None);
        assert_eq!(smaller(100, 1_000), Some(change("free")));
    }
}
