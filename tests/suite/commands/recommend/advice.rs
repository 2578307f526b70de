//! What `recommend` advises, and in which words.

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use rstest::rstest;
use serde_json::json;

use super::agreement::{Case, NOW, lines};
use crate::support::Engine;
use crate::support::Engine::{Postgresql, Sqlite};

const COST: (&str, &str) = ("AI_OPENAI", "COST_USD");
const STORAGE: (&str, &str) = ("VERCEL_KV", "STORAGE_MB");
const AMOUNT: [(&str, &str); 1] = [("reading", "amount")];

fn budget(engine: Engine, dollars: &str) -> Case {
    let case = Case::new(engine, "upstash=free");
    let set = "limits set --service AI_OPENAI --metric COST_USD --budget";
    case.run(&set.split(' ').chain([dollars]).collect::<Vec<_>>());
    case
}

/// $2.50 a day less $20 a month is $55.
#[rstest]
#[case::on_the_first_day(0)]
#[case::on_the_last_day(1)]
fn credit_of_each_month_counts_in_a_budget(
    #[case] days: i64,
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let case = budget(engine, "60");
    let cost = |_, at: DateTime<Utc>| {
        let is_credit = (at + TimeDelta::days(days)).day() == 1;
        let noise = f64::from(at.day() % 3) * 0.2 - 0.2;
        Some(2.5 + noise - if is_credit { 20.0 } else { 0.0 })
    };
    case.import(&lines(COST, "2026-09-01T00:00:00Z", 24, &AMOUNT, cost));
    let forecast = case.forecast("COST_USD");
    let total = forecast["period"]["total"]["p50"].as_f64().unwrap();
    assert!((total - 55.0).abs() < 1.0, "{forecast}");
    // Until the credit of its last day, a month is above the budget.
    assert_eq!(case.recommend().len(), usize::try_from(days).unwrap());
}

/// A fee that is on the bill to the month's end is no guess, and a budget that it uses exactly is used up.
#[rstest]
fn fee_of_the_month_is_known_to_its_end(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "vercel=hobby");
    let bill = r#"{"ServiceName":"Seats","ProviderName":"Vercel","BilledCost":55,"BillingCurrency":"USD","BillingPeriodStart":"2026-11-01T00:00:00Z","ChargePeriodStart":"2026-11-01T00:00:00Z","ChargePeriodEnd":"2026-12-01T00:00:00Z"}"#;
    let import = ["collect", "import", "--kind", "focus", "-"];
    let import = case.db.usagectl(import).now(NOW).stdin(bill);
    import.run().success();
    for (dollars, chance) in [("60", 0.0), ("55", 1.0)] {
        let set = "limits set --service VERCEL_PLATFORM --metric COST_USD --budget";
        case.run(&set.split(' ').chain([dollars]).collect::<Vec<_>>());
        let period = case.forecast("COST_USD")["period"].clone();
        for total in ["p10", "p50", "p90"] {
            let total = period["total"][total].as_f64().unwrap();
            assert!((total - 55.0).abs() < 1e-6, "{period}");
        }
        assert_eq!(period["chance_over"], chance, "{dollars}");
    }
}

#[rstest]
fn less_than_a_day_of_readings_chooses_no_plan(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    let start = "2026-11-25T11:00:00Z";
    let growth = |days: f64, _| Some(200.0 + 200.0 * days);
    case.import(&lines(STORAGE, start, 1, &[], growth));
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    let target = [&it["facts"]["target"]["do"], &it["recommended_plan"]];
    assert_eq!(target, [&json!("watch"), &json!("free")]);
    let page = case.run(&["recommend", "show", it["id"].as_str().unwrap()]);
    let words = "Recommended: collect readings for a day before choosing a plan.";
    assert!(page.replace('\n', " ").contains(words), "{page}");
    // At the limit there is nothing to wait for.
    let case = Case::new(engine, "upstash=free");
    let growth = |days: f64, _| Some(250.0 + 200.0 * days);
    case.import(&lines(STORAGE, start, 1, &[], growth));
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(it["facts"]["target"]["do"], "change");
}

/// From 100 to 240 of 256 MB within 14 days; the second rise is nearly as high.
#[rstest]
fn level_that_dropped_once_is_not_critical(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    let sawtooth = |days: f64, _| Some(100.0 + 10.0 * (days.floor() % 14.0));
    case.import(&lines(STORAGE, "2026-10-30T12:00:00Z", 24, &[], sawtooth));
    let forecast = case.forecast("STORAGE_MB");
    let chance = forecast["thresholds"][2]["chance_within_7_days"].as_f64();
    assert!(chance.unwrap() >= 0.5, "{forecast}");
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(it["priority"], "HIGH");
}

/// Another limit of the plan is worse now than the one that was approved.
#[rstest]
fn now_is_the_most_urgent_limit_of_the_plan(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    let growth = |days: f64, _| Some(248.0 - 2.1 * (61.5 - days));
    let start = "2026-09-25T00:00:00Z";
    case.import(&lines(STORAGE, start, 6, &[], growth));
    let commands = ("VERCEL_KV", "REQUEST_COUNT");
    case.import(&lines(commands, start, 24, &AMOUNT, |_, _| Some(1_000.0)));
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    let id = it["id"].as_str().unwrap().to_owned();
    assert_eq!(it["now"]["metric"], "STORAGE_MB");
    case.run(&["recommend", "review", &id]);
    case.run(&["recommend", "approve", &id]);
    let burst = r#"{"service":"VERCEL_KV","metric":"REQUEST_COUNT","value":600000,"reading":"amount","timestamp":"2026-11-25T12:00:00Z"}"#;
    case.import(burst);
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    let found = [&it["metric"], &it["now"]["metric"], &it["now"]["state"]];
    assert_eq!(found, ["STORAGE_MB", "REQUEST_COUNT", "OVER"]);
    let list = case.run(&["recommend", "list"]);
    assert!(list.contains("  125.0%  REQUEST_COUNT"), "{list}");
    let page = case.run(&["recommend", "show", &id]);
    assert!(page.contains("; now 125.0% REQUEST_COUNT, OVER"), "{page}");
    let page = case.json(&["recommend", "show", &id]);
    assert_eq!(page["now"], it["now"]);
}

/// The storage of another resource is a question of its own, although the bill has both.
#[rstest]
fn now_is_a_limit_of_the_own_resource(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    let start = "2026-11-01T00:00:00Z";
    let transfer = ("VERCEL_KV", "BANDWIDTH_GB");
    case.import(&lines(transfer, start, 24, &AMOUNT, |_, _| Some(0.38)));
    let shop = [("resource", "shop")];
    case.import(&lines(STORAGE, start, 6, &shop, |_, _| Some(270.0)));
    let both = case.recommend();
    assert_eq!(both.len(), 2, "{both:?}");
    for it in both {
        assert_eq!(it["now"]["metric"], it["metric"]);
        assert_eq!(it["now"]["resource"], it["resource"]);
    }
}

/// Two ids of one minute begin alike.
#[rstest]
fn id_in_a_run_is_unique_among_all(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    let put = |resource: &str| {
        let extra = [("resource", resource)];
        let growth = |days: f64, _| Some(248.0 - 2.1 * (61.5 - days));
        case.import(&lines(STORAGE, "2026-09-25T00:00:00Z", 6, &extra, growth));
        case.run(&["recommend", "run"])
    };
    put("cache");
    let run = put("queue");
    let line = run.lines().find(|line| line.contains("queue")).unwrap();
    let id = line.split_whitespace().next().unwrap();
    case.run(&["recommend", "show", id]);
}

#[rstest]
fn budget_is_called_a_budget(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = budget(engine, "60");
    case.import(&lines(COST, "2026-09-01T00:00:00Z", 24, &AMOUNT, |_, _| {
        Some(2.4)
    }));
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    let page = case.run(&["recommend", "show", it["id"].as_str().unwrap()]);
    let words = "is at $60.00, 100.0% of the budget of $60.00. ";
    assert!(page.replace('\n', " ").contains(words), "{page}");
    let forecast = case.run(&["recommend", "forecast", "--metric", "COST_USD"]);
    assert!(
        forecast.starts_with("AI_OPENAI COST_USD, budget: $60.00 of"),
        "{forecast}"
    );
}

#[rstest]
fn bound_and_maximum_are_named(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "vercel=hobby");
    let amounts = |days: f64, _| (days <= 70.0 || days >= 80.0).then_some(3.2);
    let transfer = ("VERCEL_BANDWIDTH", "BANDWIDTH_GB");
    case.import(&lines(
        transfer,
        "2026-09-01T00:00:00Z",
        24,
        &AMOUNT,
        amounts,
    ));
    let page = case.run(&["recommend", "forecast", "--metric", "BANDWIDTH_GB"]);
    assert!(
        page.contains(": at least 51.2 of 100 (at least 51.2%)"),
        "{page}"
    );
    let case = Case::new(engine, "upstash=payg");
    case.import(&lines(STORAGE, "2026-09-25T00:00:00Z", 24, &[], |_, _| {
        Some(120_000.0)
    }));
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    let page = case.run(&["recommend", "show", it["id"].as_str().unwrap()]);
    let words = "At the limit, usage is billed up to 100,000 MB, which is reached.";
    assert!(page.replace('\n', " ").contains(words), "{page}");
}

#[rstest]
fn backtest_without_trials_has_a_reason(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    case.import(&lines(STORAGE, "2026-11-20T12:00:00Z", 24, &[], |_, _| {
        Some(100.0)
    }));
    let run = case.db.usagectl(["recommend", "backtest"]).now(NOW).run();
    let reason = "no trials: the longest series has 6 days, and a trial requires a week of days";
    assert!(
        run.code == 12 && run.stderr.contains(reason),
        "{}",
        run.snapshot()
    );
}
