use proptest::prelude::*;
use rust_decimal::prelude::ToPrimitive;

use super::*;
use crate::domain::metrics::names::{Metric, Priority, Service};
use crate::domain::plans::limit::LimitFault;
use crate::domain::recommendation::prose::summary::summary;
use crate::domain::recommendation::sample::{assessed, assessed_with, facts, growing, limit, now};
use crate::domain::testing::decimal as d;

/// The limit of a plan of this origin and name.
fn limit_by(origin: Origin, plan: &str) -> LimitInForce {
    LimitInForce {
        origin,
        plan: plan.to_owned(),
        ..limit()
    }
}

/// Why a choice is not recommended.
fn against<'a>(facts: &'a Facts, choice: &str) -> Option<&'a str> {
    let mut compared = facts.compared.iter();
    let found = compared.find(|one| one.choice.to_string() == choice);
    found.unwrap().against.as_deref()
}

/// The facts recommended for a store that grows towards this limit.
fn recommended(limit: &LimitInForce, business: Business) -> Box<Facts> {
    match assessed(limit, &growing(145.0, 1.4), business, now()) {
        Assessment::Recommend(facts) => facts,
        other => panic!("{other:?}"),
    }
}

/// The facts recommended for a store with these daily sizes.
fn recommended_for(levels: &[f64]) -> Box<Facts> {
    match assessed(&limit(), levels, Business::default(), now()) {
        Assessment::Recommend(facts) => facts,
        other => panic!("{other:?}"),
    }
}

#[test]
fn maximum_of_a_plan_that_bills_all_usage_is_named() {
    let maximum = LimitInForce {
        value: 100_000.0,
        at_limit: AtLimit::Bill,
        ..limit_by(limit().origin, "payg")
    };
    let levels = growing(70_000.0, 450.0);
    let Assessment::Recommend(facts) = assessed(&maximum, &levels, Business::default(), now())
    else {
        panic!("not recommended");
    };
    let ceiling = facts.ceiling.as_ref().map(Figure::short).unwrap();
    let text = format!("usage continues and is billed, up to {ceiling}");
    assert!(summary(&facts).contains(&text), "{}", summary(&facts));
}

#[test]
fn nearly_full_store_moves_to_cheapest_larger_plan() {
    let facts = facts();
    assert_eq!(facts.recommended_plan(), "payg");
    let answer = (facts.kind, facts.priority);
    assert_eq!(answer, (Kind::Upgrade, Priority::High));
    let against = against(&facts, "fixed-250mb");
    assert_eq!(against, Some("holds no more than the plan in use"));
    // 6,000 commands on each of the 28 days of February, at $0.20 for 100,000.
    assert_eq!(facts.money.extra.short(), "$0.34");
    assert_eq!(facts.compared[0].choice, facts.target);
    for choice in ["stay and pay", "use less", "ask for a contract"] {
        let mut compared = facts.compared.iter();
        let is_listed = compared.any(|one| one.choice.to_string() == choice);
        assert!(is_listed, "{choice}");
    }
}

#[test]
fn cheapest_projection_is_of_a_plan_that_is_large_enough() {
    let facts = facts();
    for projection in &facts.money.projections {
        // The free plan is too small, and no larger plan is cheaper than the recommended one.
        assert_eq!(projection.current.value, Some(Decimal::ZERO));
        assert_eq!(projection.cheapest, projection.target);
    }
    let budget = limit_by(Origin::Budget, "budget");
    let facts = recommended(&budget, Business::default());
    for projection in &facts.money.projections {
        assert_eq!(projection.cheapest, Figure::unknown(Unit::Usd));
    }
}

#[test]
fn figures_without_business_inputs_are_unknown() {
    let facts = facts();
    let money = &facts.money;
    for unknown in [&money.avoided_loss, &money.net, &money.roi] {
        assert_eq!(unknown.value, None);
    }
    let even = money.break_even_revenue.value;
    assert!(even.is_some_and(|even| even > Decimal::ZERO));
    let unknown = facts.inputs.iter().filter(|it| it.value.is_none());
    let unknown: Vec<_> = unknown.map(|it| it.name.as_str()).collect();
    let expected = ["revenue_per_hour", "affected_fraction", "time_to_fix_hours"];
    assert_eq!(unknown, expected);
    assert_eq!(facts.numbers().roi, None);
    // Every input that a figure names is listed, or is a figure itself.
    let figures = facts.figures();
    let known = |name: &String| {
        facts.inputs.iter().any(|input| input.name == *name)
            || figures.iter().any(|(figure, _)| figure == name)
    };
    for (figure, value) in &figures {
        let inputs = &value.inputs;
        assert!(inputs.iter().all(known), "{figure}: {inputs:?}");
    }
}

#[test]
fn business_inputs_make_loss_and_roi_known() {
    let business = Business {
        revenue_per_hour: Some(d("10")),
        affected_fraction: Some(d("0.5")),
        time_to_fix_hours: Some(d("4")),
        tolerance: None,
    };
    let facts = recommended(&limit(), business);
    let money = &facts.money;
    // In nearly every case it is full before the end of February, and fixed after four hours.
    let hours = money.hours_blocked.value.unwrap();
    assert!(hours > d("3.5") && hours <= d("4"), "{hours}");
    let loss = money.avoided_loss.value.unwrap();
    assert_eq!(loss, (hours * d("5")).round_dp(2));
    let extra = money.extra.value.unwrap();
    assert_eq!(money.net.value, Some(loss - extra));
    assert_eq!(money.roi.value, Some(((loss - extra) / extra).round_dp(2)));
}

#[test]
fn room_is_clear_and_faulty_limit_is_unknown() {
    let flat = [60.0; 60];
    let clear = assessed(&limit(), &flat, Business::default(), now());
    assert_eq!(clear, Assessment::Clear);
    let mut old = limit();
    old.fault = Some(LimitFault::Value(0.0));
    let unknown = assessed(&old, &flat, Business::default(), now());
    assert_eq!(unknown, Assessment::Unknown);
}

#[test]
fn budget_has_no_target_plan() {
    let facts = recommended(&limit_by(Origin::Budget, "budget"), Business::default());
    let answer = (facts.kind, &facts.target);
    assert_eq!(answer, (Kind::Budget, &Choice::UseLess));
    assert_eq!(facts.money.hours_blocked.value, None);
}

#[test]
fn plan_outside_catalogue_has_unknown_price() {
    let facts = recommended(&limit_by(Origin::User, "ours"), Business::default());
    assert_eq!(facts.money.current.value, None);
    assert_eq!(facts.money.extra.value, None);
    assert_eq!(facts.recommended_plan(), "payg");
}

/// The limit of a larger plan of the catalogue.
fn limit_of(plan: &str) -> LimitInForce {
    let value = Catalogue::embedded().unwrap();
    let plan = value.plan("upstash", plan).unwrap();
    let tariff = Tariff::of(plan, None);
    let size =
        tariff.allowances[&Meter::Application(Service::VercelKv, Metric::StorageMb)].stops_at();
    LimitInForce {
        plan: plan.name.clone(),
        value: size.unwrap().to_f64().unwrap(),
        ..limit()
    }
}

fn target(limit: &LimitInForce, levels: &[f64], commands: Option<f64>) -> Option<(Kind, String)> {
    match assessed_with(limit, levels, commands, Business::default(), now()) {
        Assessment::Recommend(facts) => Some((facts.kind, facts.target.to_string())),
        Assessment::Clear => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn downgrade_takes_two_forecast_periods() {
    let limit = limit_of("fixed-5gb");
    let assessed = |levels: &[f64]| target(&limit, levels, Some(1_000.0));
    let free = Some((Kind::Downgrade, "free".to_owned()));
    assert_eq!(assessed(&[100.0; 60]), free);
    // Too few days for a forecast: only the next period is known.
    assert_eq!(assessed(&[100.0; 5]), None);
}

#[test]
fn downgrade_takes_measurements_of_every_limited_meter() {
    let limit = limit_of("fixed-5gb");
    let assessed = |commands| target(&limit, &[100.0; 60], commands);
    // The free plan also limits commands, which are not measured here.
    let unmeasured = assessed(None);
    assert_ne!(unmeasured, assessed(Some(1_000.0)));
    let is_free = unmeasured.is_some_and(|(_, plan)| plan == "free");
    assert!(!is_free, "commands are not measured");
}

#[test]
fn unknown_consequence_is_reported_and_not_paid() {
    let unknown = LimitInForce {
        at_limit: AtLimit::Unknown,
        ..limit_by(Origin::User, "free")
    };
    let facts = recommended(&unknown, Business::default());
    assert_ne!(facts.target, Choice::Stay);
    let against = against(&facts, "stay and pay");
    assert_eq!(against, Some("the consequence at its limit is unknown"));
    let mut compared = facts.compared.iter();
    let stay = compared.find(|one| one.choice == Choice::Stay).unwrap();
    let unknown = [&stay.cost, &facts.money.current, &facts.money.extra];
    assert_eq!(unknown.map(|figure| figure.value), [None; 3]);
    assert!(!summary(&facts).contains("more than now"));
    assert!(summary(&facts).contains("At the limit, the consequence is unknown."));
}

#[test]
fn break_even_revenue_of_a_saving_is_zero() {
    // Full within the month, on a plan that costs more than the one that is large enough.
    let facts = recommended(&limit_by(Origin::User, "fixed-5gb"), Business::default());
    let extra = facts.money.extra.value.unwrap();
    assert!(extra < Decimal::ZERO, "{extra}");
    assert_eq!(facts.money.break_even_revenue.value, Some(Decimal::ZERO));
}

#[test]
fn figures_of_a_single_reading_are_unknown() {
    let facts = recommended_for(&[250.0]);
    let of = |facts: &Facts, choice: Choice| {
        let mut compared = facts.compared.iter();
        compared.find(|one| one.choice == choice).unwrap().clone()
    };
    let stay = of(&facts, Choice::Stay);
    assert_eq!(stay.chance_exceeded.short(), "unknown");
    assert_eq!(facts.compared[0].chance_exceeded.short(), "unknown");
    assert_eq!(facts.money.hours_blocked.short(), "unknown");
    let use_less = of(&facts, Choice::UseLess).against.unwrap();
    assert_eq!(use_less, "required reduction unknown");
    // The plan in use may be too small, and the size that another needs is unknown.
    let cheapest = &facts.money.projections[0].cheapest;
    assert_eq!((&facts.target, cheapest.value), (&Choice::Watch, None));
    // At the limit it is too small already.
    let facts = recommended_for(&[260.0]);
    assert_eq!(of(&facts, Choice::Stay).chance_exceeded.short(), "100.0%");
    let use_less = of(&facts, Choice::UseLess).against.unwrap();
    assert_eq!(use_less, "requires at least 4 MB less usage");
    assert_eq!(facts.outlook.days_to_limit.value, Some(Decimal::ZERO));
    assert_eq!(facts.meters[0].days_to_limit.value, Some(Decimal::ZERO));
}

#[test]
fn enormous_usage_requires_a_contract() {
    let facts = recommended_for(&[1e20]);
    assert_eq!(facts.target, Choice::Contract);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn figures_are_finite_and_unknown_without_inputs(
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
        if let Assessment::Recommend(facts) | Assessment::Keep(facts) = assessment {
            let money = &facts.money;
            for (name, figure) in facts.figures() {
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
