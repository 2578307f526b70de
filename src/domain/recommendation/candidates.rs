//! Which plan to change to: of all that the provider lists, the one that costs least among those that are large
//! enough. There is no ladder from one plan to the next: names and fixed prices say little about how much a
//! plan holds.

use std::fmt;

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;

use super::cost::{Cases, Meter, Tariff};
use super::facts::Choice;

/// Why a plan is not the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Against {
    /// It holds less of the metric in question than the plan in use, or no more.
    Smaller,
    /// Nothing is known of how much it holds of the metric in question.
    SizeUnknown,
    /// It would be exceeded in more cases than are tolerated.
    Exceeded {
        /// In how many of 100 cases.
        percent: Decimal,
    },
    /// Nobody lists its price, or one that it needs.
    PriceUnknown,
    /// Another one costs less, or as little and changes less.
    Dearer,
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Against::Smaller => f.write_str("holds no more than the plan in use"),
            Against::SizeUnknown => f.write_str("nobody says how much it holds"),
            Against::Exceeded { percent } => {
                write!(f, "too small in {percent} of 100 cases")
            }
            Against::PriceUnknown => f.write_str("its price is not listed"),
            Against::Dearer => f.write_str("costs more"),
        }
    }
}

/// A plan that was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate<'a> {
    pub tariff: &'a Tariff,
    /// In which share of the cases it is too small, from 0 to 1.
    pub chance_exceeded: f64,
    /// Its mean cost of a billing period.
    pub expected: Option<Decimal>,
    /// Why it is not the answer; none: it is.
    pub against: Option<Against>,
}

/// What was found: what to do, and everything that was looked at, in the order of the catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<'a> {
    pub choice: Choice,
    /// The plans, without the one in use.
    pub candidates: Vec<Candidate<'a>>,
}

impl<'a> Found<'a> {
    /// The plans that are large enough: the answer, and those that only cost more.
    pub fn fitting(&self) -> impl Iterator<Item = &'a Tariff> {
        let fits = |it: &&Candidate<'_>| matches!(it.against, None | Some(Against::Dearer));
        self.candidates.iter().filter(fits).map(|it| it.tariff)
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    pub now: &'a Tariff,
    /// All plans of the provider; the one in use may be among them.
    pub plans: &'a [Tariff],
    /// The metric whose limit is in question.
    pub meter: Meter,
    pub cases: &'a Cases,
    /// In which share of the cases a plan may turn out too small, from 0 to 1.
    pub tolerance: f64,
}

impl<'a> Search<'a> {
    /// The plan to change to when the one in use is too small, or whether to stay on it and pay.
    ///
    /// A plan that holds no more of the metric in question is never the answer, whatever it costs.
    pub fn larger(&self) -> Found<'a> {
        let size = self.size(self.now);
        let mut candidates = self.candidates(|tariff| match (self.size(tariff), size) {
            (Size::Nobody, _) => Some(Against::SizeUnknown),
            (Size::Endless, _) => None,
            (Size::Amount(_), Size::Nobody) => None,
            (Size::Amount(size), Size::Amount(now)) if size > now => None,
            (Size::Amount(_), _) => Some(Against::Smaller),
        });
        // To stay is a plan like any other if it only costs money.
        let stays = self.now.chance_exceeded(self.cases) <= self.tolerance;
        let stay = self.now.expected(self.cases).filter(|_| stays);
        let best = cheapest(&candidates);
        let choice = match (best, stay) {
            (Some((index, cost)), stay) if stay.is_none_or(|stay| cost < stay) => {
                choose(&mut candidates, Some(index))
            }
            (_, Some(_)) => {
                choose(&mut candidates, None);
                Choice::Stay
            }
            _ if stays => Choice::UseLess,
            _ => Choice::Contract,
        };
        Found { choice, candidates }
    }

    /// A plan that costs less and is still far larger than what is used: in nine of ten cases less than `share`
    /// of what it holds, of every metric, in every period.
    pub fn smaller(&self, share: Decimal) -> Option<Found<'a>> {
        let cost = self.now.expected(self.cases)?;
        let roomy = |tariff: &Tariff| {
            let holds = |percent_used: &Decimal, tariff: &Tariff, meter: &Meter| {
                let line = tariff.allowances.get(meter).and_then(|a| a.size());
                line.is_none_or(|line| *percent_used < line * share)
            };
            self.cases.iter().all(|period| {
                let meters = period.iter().flat_map(|case| case.keys());
                let meters: std::collections::BTreeSet<&Meter> = meters.collect();
                meters.into_iter().all(|meter| {
                    let mut uses: Vec<Decimal> = period
                        .iter()
                        .filter_map(|case| case.get(meter).copied())
                        .collect();
                    super::cost::quantile(&mut uses, 90)
                        .is_none_or(|used| holds(&used, tariff, meter))
                })
            })
        };
        let mut candidates = self.candidates(|tariff| match self.size(tariff) {
            Size::Nobody => Some(Against::SizeUnknown),
            _ if !roomy(tariff) => Some(Against::Smaller),
            _ => None,
        });
        let (index, best) = cheapest(&candidates)?;
        (best < cost).then(|| Found {
            choice: choose(&mut candidates, Some(index)),
            candidates,
        })
    }

    fn size(&self, tariff: &Tariff) -> Size {
        match tariff.allowances.get(&self.meter) {
            None => Size::Nobody,
            Some(allowance) => allowance.size().map_or(Size::Endless, Size::Amount),
        }
    }

    fn candidates(&self, against: impl Fn(&Tariff) -> Option<Against>) -> Vec<Candidate<'a>> {
        let others = self
            .plans
            .iter()
            .filter(|tariff| tariff.plan != self.now.plan);
        let candidate = |tariff: &'a Tariff| {
            let chance_exceeded = tariff.chance_exceeded(self.cases);
            let expected = tariff.expected(self.cases);
            let against = against(tariff).or_else(|| {
                if chance_exceeded > self.tolerance {
                    let percent = Decimal::from_f64(chance_exceeded * 100.0)?.round_dp(0);
                    Some(Against::Exceeded { percent })
                } else {
                    expected.is_none().then_some(Against::PriceUnknown)
                }
            });
            Candidate {
                tariff,
                chance_exceeded,
                expected,
                against,
            }
        };
        others.map(candidate).collect()
    }
}

/// How much a plan holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// The plan does not mention the metric.
    Nobody,
    /// So much, before it stops or is billed.
    Amount(Decimal),
    /// As much as one likes.
    Endless,
}

/// The first of the cheapest that nothing speaks against.
fn cheapest(candidates: &[Candidate<'_>]) -> Option<(usize, Decimal)> {
    let fits = candidates
        .iter()
        .enumerate()
        .filter_map(|(index, candidate)| {
            let fits = candidate.against.is_none();
            fits.then_some((index, candidate.expected?))
        });
    fits.min_by_key(|(_, cost)| *cost)
}

/// All the others cost more.
fn choose(candidates: &mut [Candidate<'_>], chosen: Option<usize>) -> Choice {
    let mut choice = Choice::Stay;
    for (index, candidate) in candidates.iter_mut().enumerate() {
        if Some(index) == chosen {
            choice = Choice::Change {
                plan: candidate.tariff.plan.clone(),
            };
        } else if candidate.against.is_none() {
            candidate.against = Some(Against::Dearer);
        }
    }
    choice
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::metrics::names::{Metric, Service};
    use crate::domain::plans::Catalogue;
    use crate::domain::recommendation::cost::Case;

    const STORAGE: Meter = (Service::VercelKv, Metric::StorageMb);
    const COMMANDS: Meter = (Service::VercelKv, Metric::RequestCount);
    const TRANSFER: Meter = (Service::VercelBandwidth, Metric::BandwidthGb);

    fn tariffs(provider: &str) -> Vec<Tariff> {
        let catalogue = Catalogue::embedded().unwrap();
        let plans = catalogue.plans_of(provider).filter(|plan| plan.enabled);
        plans.map(|plan| Tariff::of(plan, None)).collect()
    }

    /// One period in which so much is used, give or take nothing.
    fn cases(uses: &[(Meter, i64)]) -> Vec<Vec<Case>> {
        let uses = uses
            .iter()
            .map(|(meter, used)| (*meter, Decimal::from(*used)));
        vec![vec![uses.collect()]]
    }

    fn larger(
        plans: &[Tariff],
        now: &str,
        meter: Meter,
        uses: &[(Meter, i64)],
    ) -> (Choice, String) {
        let now = plans.iter().find(|tariff| tariff.plan == now).unwrap();
        let cases = cases(uses);
        let found = Search {
            now,
            plans,
            meter,
            cases: &cases,
            tolerance: 0.05,
        }
        .larger();
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
    fn a_full_free_store_is_never_sent_to_a_plan_that_holds_less() {
        let plans = tariffs("upstash");
        for used in [200, 250, 255, 256, 300] {
            for commands in [0, 100_000, 10_000_000, 100_000_000] {
                let uses = [(STORAGE, used), (COMMANDS, commands)];
                let (choice, verdicts) = larger(&plans, "free", STORAGE, &uses);
                assert_ne!(choice, change("fixed-250mb"));
                assert!(
                    verdicts.contains("fixed-250mb: holds no more than the plan in use"),
                    "{verdicts}"
                );
            }
        }
    }

    #[test]
    fn the_cheapest_that_is_large_enough_depends_on_what_is_used() {
        let plans = tariffs("upstash");
        let uses = |storage, commands| [(STORAGE, storage), (COMMANDS, commands)];
        let few = larger(&plans, "free", STORAGE, &uses(300, 180_000));
        assert_eq!(few.0, change("payg"));
        // At $0.20 for 100,000 commands the fixed price of $20 is less from ten million on.
        let many = larger(&plans, "free", STORAGE, &uses(300, 11_000_000));
        assert_eq!(many.0, change("fixed-1gb"));
        let large = larger(&plans, "free", STORAGE, &uses(4_000, 90_000_000));
        assert_eq!(large.0, change("fixed-5gb"));
        assert!(large.1.contains("fixed-1gb: too small in 100 of 100 cases"));
        let larger_than_any = larger(&plans, "fixed-500gb", STORAGE, &uses(600_000, 1));
        assert_eq!(larger_than_any.0, Choice::Contract);
    }

    #[test]
    fn to_stay_and_pay_is_a_choice_like_any_other() {
        let plans = tariffs("vercel");
        let (choice, verdicts) = larger(&plans, "pro", TRANSFER, &[(TRANSFER, 1_200)]);
        assert_eq!(choice, Choice::Stay);
        assert!(
            verdicts.contains("hobby: holds no more than the plan in use"),
            "{verdicts}"
        );
        let (choice, _) = larger(&plans, "hobby", TRANSFER, &[(TRANSFER, 120)]);
        assert_eq!(choice, change("pro"));
    }

    #[test]
    fn a_smaller_plan_must_be_cheaper_and_roomy() {
        let plans = tariffs("upstash");
        let now = plans
            .iter()
            .find(|tariff| tariff.plan == "fixed-5gb")
            .unwrap();
        let smaller = |uses: &[(Meter, i64)]| {
            let cases = cases(uses);
            let search = Search {
                now,
                plans: &plans,
                meter: STORAGE,
                cases: &cases,
                tolerance: 0.05,
            };
            let share = Decimal::new(6, 1);
            search.smaller(share).map(|found| found.choice)
        };
        let many = 50_000_000;
        assert_eq!(
            smaller(&[(STORAGE, 500), (COMMANDS, many)]),
            Some(change("fixed-1gb"))
        );
        assert_eq!(smaller(&[(STORAGE, 700), (COMMANDS, many)]), None);
        assert_eq!(
            smaller(&[(STORAGE, 100), (COMMANDS, 1_000)]),
            Some(change("free"))
        );
    }
}
