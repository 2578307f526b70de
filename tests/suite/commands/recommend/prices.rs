//! Costs of plans: exact where all meters are measured, and bounds otherwise.

use rstest::rstest;
use serde_json::Value;

use super::agreement::{Case, NOW, compared, facts, lines};
use crate::support::Engine;
use crate::support::Engine::{Postgresql, Sqlite};

/// Daily amounts since September.
fn daily(case: &Case, meter: (&str, &str), resource: &str, amount: f64) {
    let extra = [("reading", "amount"), ("resource", resource)];
    let extra = &extra[..if resource.is_empty() { 1 } else { 2 }];
    let start = "2026-09-01T00:00:00Z";
    case.import(&lines(meter, start, 24, extra, |_, _| Some(amount)));
}

fn page(case: &Case, it: &Value) -> String {
    let page = case.run(&["recommend", "show", it["id"].as_str().unwrap()]);
    page.replace('\n', " ")
}

fn number(figure: &Value) -> f64 {
    let value = figure["value"].as_str();
    value.unwrap_or_else(|| panic!("{figure}")).parse().unwrap()
}

#[rstest]
fn percentage_of_an_included_amount_is_priced(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "neon=free");
    daily(&case, ("VERCEL_POSTGRES", "USAGE_PERCENT"), "Compute", 3.9);
    daily(&case, ("VERCEL_POSTGRES", "BANDWIDTH_GB"), "", 0.05);
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    // At most 3.9 of 100 CU hours on each of 31 days, at $0.106.
    let launch = compared(it, "launch");
    let cost = number(&launch["cost"]);
    assert!((12.0..12.9).contains(&cost), "{cost}");
    let unmeasured = [
        "VERCEL_POSTGRES STORAGE_MB",
        "Restore History (GB month)",
        "Branches (branch month)",
    ];
    let listed = launch["unmeasured"].as_array().unwrap();
    assert_eq!(listed.len(), unmeasured.len(), "{listed:?}");
    assert!(unmeasured.iter().all(|it| listed.contains(&(*it).into())));
    let mut inputs = facts(it)["inputs"].as_array().unwrap().iter();
    let compute = inputs.find(|it| it["name"] == "usage of Compute (CU hour)");
    assert_eq!(compute.unwrap()["value"], "97.5");
}

#[rstest]
fn single_reading_is_measured_without_forecast(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "vercel=hobby");
    let set =
        "collect set --service VERCEL_BANDWIDTH --metric BANDWIDTH_GB --reading cumulative 101";
    case.run(&set.split(' ').collect::<Vec<_>>());
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    let page = page(&case, it);
    assert!(
        page.contains("no forecast yet: VERCEL_BANDWIDTH BANDWIDTH_GB."),
        "{page}"
    );
    let mut inputs = facts(it)["inputs"].as_array().unwrap().iter();
    let name = "usage of VERCEL_BANDWIDTH BANDWIDTH_GB";
    assert!(inputs.all(|it| it["name"] != name));
}

#[rstest]
fn figures_of_a_lower_bound_are_bounds(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "vercel=hobby");
    daily(&case, ("VERCEL_BANDWIDTH", "BANDWIDTH_GB"), "", 4.5);
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    let text = page(&case, it);
    assert!(
        text.contains("It pays from a revenue of at least $0.09 an hour on."),
        "{text}"
    );
    for input in ["revenue_per_hour", "affected_fraction"] {
        case.run(&["recommend", "inputs", "set", input, "1"]);
    }
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    let money = &facts(it)["money"];
    for (figure, bound) in [
        ("extra", "at_least"),
        ("break_even_revenue", "at_least"),
        ("net", "at_most"),
        ("roi", "at_most"),
    ] {
        assert_eq!(money[figure][bound], true, "{figure}");
    }
    let all = case.run(&["recommend", "show", it["id"].as_str().unwrap(), "--all"]);
    assert!(all.contains("\nroi                    at most 1"), "{all}");
    for column in ["projected_cost", "upgrade_cost", "profit_impact", "roi"] {
        assert_eq!(it[column], Value::Null, "{column}");
    }
    assert_eq!(it["current_cost"], 0.0);
}

#[rstest]
fn higher_tier_bills_usage_as_before(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "openai=tier-1");
    daily(&case, ("AI_OPENAI", "COST_USD"), "", 4.5);
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(it["recommended_plan"], "tier-2");
    let cost = number(&facts(it)["money"]["target"]);
    assert!((cost - 139.5).abs() < 2.0, "{cost}");
    assert_eq!(compared(it, "tier-3")["against"], "costs the same");
    let page = page(&case, it);
    assert!(
        page.contains("with no added cost: usage is billed as before."),
        "{page}"
    );
}

#[rstest]
fn year_does_not_depend_on_the_last_simulated_month(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "vercel=pro");
    daily(&case, ("VERCEL_BANDWIDTH", "BANDWIDTH_GB"), "", 45.3);
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    let projections = facts(it)["money"]["projections"].as_array().unwrap();
    let [one, three, twelve] = [0, 1, 2].map(|at| number(&projections[at]["current"]));
    // At least: the low end, at the low price of $0.15 for each GB beyond 1,000, of 45.3 on each of 31, 90 and 365 days.
    for (found, at_low_price) in [(one, 60.65), (three, 161.55), (twelve, 680.2)] {
        let share = found / at_low_price;
        assert!((0.82..1.0).contains(&share), "{found} of {at_low_price}");
    }
}

#[rstest]
fn plan_is_sized_within_the_horizon(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    // 150 MB at 6:00, 200 MB at 12:00 of the next day.
    let start = "2026-11-24T06:00:00Z";
    let growth = |days: f64, _| Some(150.0 + 40.0 * days);
    case.import(&lines(("VERCEL_KV", "STORAGE_MB"), start, 6, &[], growth));
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(it["recommended_plan"], "fixed-1gb");
    assert_eq!(facts(it)["outlook"]["low_confidence"], true);
}

#[rstest]
fn huge_usage_requires_a_contract_or_is_a_named_unknown(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let set = |value: &str| {
        let case = Case::new(engine, "upstash=free");
        let set = "collect set --service VERCEL_KV --metric STORAGE_MB";
        let args: Vec<&str> = set.split(' ').chain([value]).collect();
        case.run(&args);
        case
    };
    let [it] = &set("1e20").recommend()[..] else {
        panic!()
    };
    assert_eq!(it["recommended_plan"], "contract");
    let case = set("1e20");
    let more = "UPDATE \"InfrastructureMetric\" SET value = 1e300";
    case.db.execute(more);
    let run = case.run(&["recommend", "run"]);
    let unknown = "unknown: VERCEL_KV STORAGE_MB (free): 1.00e300 is too large to be assessed";
    assert!(run.contains(unknown), "{run}");
}

#[rstest]
fn plans_of_unknown_size_are_the_reason_for_a_contract(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let case = Case::new(engine, "neon=free");
    for command in [
        "limits set --service VERCEL_POSTGRES --metric CONNECTIONS --plan free --at-limit REJECT 100",
        "collect set --service VERCEL_POSTGRES --metric CONNECTIONS 120",
    ] {
        case.run(&command.split(' ').collect::<Vec<_>>());
    }
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(it["recommended_plan"], "contract");
    let page = page(&case, it);
    let reason = "because the included amounts of the plans launch, scale are unknown";
    assert!(page.contains(reason), "{page}");
}

#[rstest]
fn budget_is_met_by_the_forecast_of_its_period(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    let set = "limits set --service AI_OPENAI --metric COST_USD --budget 50";
    case.run(&set.split(' ').collect::<Vec<_>>());
    daily(&case, ("AI_OPENAI", "COST_USD"), "", 2.4);
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    let total = number(&facts(it)["outlook"]["period"]["total"]);
    let less = number(&facts(it)["reduction"]);
    assert!((total - 50.0 - less).abs() < 0.001, "{total} and {less}");
    let page = page(&case, it);
    assert!(page.contains("Recommended: use less by $"), "{page}");
    // A budget is neither paid more for nor negotiated.
    assert!(
        !page.contains("stay and pay") && !page.contains("contract"),
        "{page}"
    );
}

/// By 2 % a day, November ends at about 85 dollars and December at 155.
#[rstest]
fn budget_exceeded_in_the_next_period_names_it(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    let set = "limits set --service AI_OPENAI --metric COST_USD --budget 92";
    case.run(&set.split(' ').collect::<Vec<_>>());
    let cost = ("AI_OPENAI", "COST_USD");
    let amounts = [("reading", "amount")];
    let growth = |days: f64, _| Some((0.02 * days).exp());
    case.import(&lines(cost, "2026-09-25T00:00:00Z", 24, &amounts, growth));
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    let page = page(&case, it);
    let page = page.replace('\n', " ");
    for part in [
        "to exceed the limit; in the next period, the limit is reached in ",
        "Recommended: use less by $",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

#[rstest]
fn rate_has_no_forecast_with_any_number_of_readings(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    let set =
        "limits set --service VERCEL_KV --metric LATENCY_MS --plan free --at-limit THROTTLE 50";
    case.run(&set.split(' ').collect::<Vec<_>>());
    let latency = ("VERCEL_KV", "LATENCY_MS");
    case.import(&lines(latency, "2026-11-01T00:00:00Z", 6, &[], |_, _| {
        Some(48.0)
    }));
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    let page = page(&case, it);
    assert!(page.contains("A rate has no forecast."), "{page}");
}

#[rstest]
fn page_of_a_resource_has_its_own_usage_only(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    for (resource, size) in [("a", 243.0), ("b", 20.0)] {
        let extra = [("resource", resource)];
        let storage = ("VERCEL_KV", "STORAGE_MB");
        let start = "2026-09-01T00:00:00Z";
        case.import(&lines(storage, start, 6, &extra, |_, _| Some(size)));
    }
    daily(&case, ("VERCEL_KV", "REQUEST_COUNT"), "b", 19_000.0);
    let all = case.recommend();
    let a = all.iter().find(|it| it["resource"] == "a").unwrap();
    let unmeasured = ["VERCEL_KV BANDWIDTH_GB", "VERCEL_KV REQUEST_COUNT"];
    assert_eq!(
        compared(a, "payg")["unmeasured"],
        Value::from(unmeasured.to_vec())
    );
    let meters = facts(a)["meters"].as_array().unwrap().iter();
    let states: Vec<_> = meters.map(|it| (&it["metric"], &it["state"])).collect();
    for metric in ["REQUEST_COUNT", "BANDWIDTH_GB"] {
        assert!(
            states.contains(&(&metric.into(), &"NO_DATA".into())),
            "{states:?}"
        );
    }
    assert!(all.iter().any(|it| it["resource"] == "b"));
}

/// Measurements that ended weeks ago say nothing about a smaller plan, nor about a bill.
#[rstest]
fn meter_whose_measurements_ended_is_not_measured(#[values(Sqlite, Postgresql)] engine: Engine) {
    let until = |last: f64, value: f64| move |day: f64, _| (day <= last).then_some(value);
    let storage = ("VERCEL_KV", "STORAGE_MB");
    let requests = ("VERCEL_KV", "REQUEST_COUNT");
    let case = Case::new(engine, "upstash=fixed-1gb");
    case.import(&lines(
        storage,
        "2026-08-01T00:00:00Z",
        24,
        &[],
        until(40.0, 50.0),
    ));
    daily(&case, ("VERCEL_KV", "BANDWIDTH_GB"), "", 0.04);
    daily(&case, requests, "", 4_000.0);
    assert!(case.recommend().is_empty());

    let case = Case::new(engine, "upstash=free");
    case.import(&lines(
        storage,
        "2026-09-01T00:00:00Z",
        6,
        &[],
        until(99.0, 250.0),
    ));
    daily(&case, ("VERCEL_KV", "BANDWIDTH_GB"), "", 0.04);
    let amount = [("reading", "amount")];
    case.import(&lines(
        requests,
        "2026-09-01T00:00:00Z",
        6,
        &amount,
        until(15.0, 16_000.0),
    ));
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(it["recommended_plan"], "fixed-1gb");
    let payg = compared(it, "payg");
    assert_eq!(payg["cost"]["at_least"], true, "{payg}");
    assert_eq!(
        payg["unmeasured"],
        serde_json::json!(["VERCEL_KV REQUEST_COUNT"])
    );
    let meters = facts(it)["meters"].as_array().unwrap();
    let ended = meters
        .iter()
        .find(|it| it["metric"] == "REQUEST_COUNT")
        .unwrap();
    assert!(ended["days_to_limit"]["value"].is_null(), "{ended}");
}

/// A bill has a charge of each service of a day.
#[rstest]
fn amounts_of_one_time_have_no_pace(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    let requests = ("VERCEL_KV", "REQUEST_COUNT");
    for id in ["a", "b"] {
        let extra = [("reading", "amount"), ("id", id)];
        case.import(&lines(
            requests,
            "2026-11-25T00:00:00Z",
            24,
            &extra,
            |_, _| Some(250_000.0),
        ));
    }
    let forecast = case.run(&["recommend", "forecast", "--metric", "REQUEST_COUNT"]);
    assert!(forecast.contains("insufficient data"), "{forecast}");
}

#[rstest]
fn plan_outside_the_catalogue_keeps_its_included_amounts(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let case = Case::new(engine, "upstash=free");
    let levels = lines(
        ("VERCEL_KV", "STORAGE_MB"),
        "2026-09-25T00:00:00Z",
        6,
        &[],
        |days, _| Some(119.0 + 2.1 * days),
    );
    case.import(&levels);
    let renamed = case.run(&["limits", "catalogue"]).replace(
        "provider = \"upstash\"\nplan = \"free\"",
        "provider = \"upstash\"\nplan = \"starter\"",
    );
    let newer = renamed.replace("version = \"2026.11.21\"", "version = \"2026.12.3\"");
    let import = case.db.usagectl(["limits", "import", "-"]).now(NOW);
    let import = import.stdin(&newer).run().success();
    assert!(
        import
            .stderr
            .ends_with("next: usagectl limits plan upstash PLAN\n"),
        "{}",
        import.stderr
    );
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(it["recommended_plan"], "fixed-1gb");
    let payg = compared(it, "payg");
    assert_eq!(
        payg["against"],
        "not measured: VERCEL_KV BANDWIDTH_GB, VERCEL_KV REQUEST_COUNT"
    );
}

#[rstest]
fn reduction_is_whole_and_no_more_than_is_in_use(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "neon=launch");
    let set = "limits set --service VERCEL_POSTGRES --metric CONNECTIONS 100 --at-limit BILL";
    case.run(&set.split(' ').collect::<Vec<_>>());
    let connections = lines(
        ("VERCEL_POSTGRES", "CONNECTIONS"),
        "2026-11-12T12:00:00Z",
        6,
        &[],
        |days, _| Some((60.0 + 8.0 * days).round()),
    );
    case.import(&connections);
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    let [less, used] = ["reduction", "usage"].map(|name| number(&facts(it)[name]));
    assert!(
        less > 0.0 && less <= used && less.fract() == 0.0,
        "{less} of {used}"
    );
}
