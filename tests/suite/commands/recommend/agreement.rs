//! `limits check`, `recommend forecast`, `run`, `list` and `show` say the same about the same data.

use std::fmt::Write as _;

use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alerts::put_channel;
use crate::support::{Engine, TestDatabase};

pub(super) const NOW: &str = "2026-11-25T12:30:00Z";

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// Lines for `collect import`: a value every `hours` hours of a number of days up to now.
pub(super) fn lines(
    (service, metric): (&str, &str),
    from: &str,
    hours: i64,
    extra: &[(&str, &str)],
    value: impl Fn(f64, DateTime<Utc>) -> Option<f64>,
) -> String {
    let (start, end) = (at(from), at(NOW));
    let mut text = String::new();
    let mut time = start;
    while time <= end {
        let days = (time - start).num_seconds() as f64 / 86_400.0;
        if let Some(value) = value(days, time) {
            let mut line = json!({
                "service": service,
                "metric": metric,
                "value": value,
                "timestamp": time.to_rfc3339(),
            });
            for (name, value) in extra {
                line[*name] = (*value).into();
            }
            writeln!(text, "{line}").unwrap();
        }
        time += TimeDelta::hours(hours);
    }
    text
}

pub(super) struct Case {
    pub(super) db: TestDatabase,
}

impl Case {
    pub(super) fn new(engine: Engine, plan: &str) -> Case {
        let case = Case {
            db: TestDatabase::migrated(engine),
        };
        case.run(&["limits", "init", "--plan", plan]);
        case
    }

    pub(super) fn run(&self, args: &[&str]) -> String {
        self.db.usagectl(args).now(NOW).run().success().stdout
    }

    pub(super) fn import(&self, lines: &str) {
        let import = self.db.usagectl(["collect", "import", "-"]).now(NOW);
        import.stdin(lines).run().success();
    }

    pub(super) fn json(&self, args: &[&str]) -> Value {
        let run = self.db.usagectl(args).arg("--format=json").now(NOW).run();
        serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.snapshot()))
    }

    /// The limit of a metric as `limits check` reports it.
    pub(super) fn check(&self, metric: &str) -> Value {
        let answer = self.json(&["limits", "check"]);
        let limits = answer["limits"].as_array().unwrap().iter();
        let mut found = limits.filter(|limit| limit["metric"] == metric);
        found.next().unwrap().clone()
    }

    pub(super) fn forecast(&self, metric: &str) -> Value {
        let answer = self.json(&["recommend", "forecast", "--metric", metric]);
        answer["series"][0].clone()
    }

    /// Runs, and returns the open recommendations.
    pub(super) fn recommend(&self) -> Vec<Value> {
        self.run(&["recommend", "run"]);
        let answer = self.json(&["recommend", "list"]);
        answer["recommendations"].as_array().unwrap().clone()
    }
}

pub(super) fn facts(it: &Value) -> &Value {
    &it["facts"]
}

pub(super) fn compared<'a>(it: &'a Value, plan: &str) -> &'a Value {
    let mut all = facts(it)["compared"].as_array().unwrap().iter();
    all.find(|one| one["choice"]["plan"] == plan).unwrap()
}

/// The month's commands are measured, or derived from those of the days.
#[rstest]
#[case::both_measured(true)]
#[case::only_days_measured(false)]
fn filter_of_a_forecast_leaves_its_answer(
    #[case] both: bool,
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let case = Case::new(engine, "upstash=free");
    let meter = |metric| ("VERCEL_KV", metric);
    let start = "2026-09-01T00:00:00Z";
    let commands = |_, at: DateTime<Utc>| Some(f64::from(at.hour()) * 200.0);
    case.import(&lines(meter("COMMANDS_PER_DAY"), start, 6, &[], commands));
    if both {
        let amounts = [("reading", "amount")];
        case.import(&lines(
            meter("REQUEST_COUNT"),
            start,
            24,
            &amounts,
            |_, _| Some(3_900.0),
        ));
    }
    let all = case.json(&["recommend", "forecast"]);
    let all = all["series"].as_array().unwrap();
    for metric in ["REQUEST_COUNT", "COMMANDS_PER_DAY"] {
        let of_metric: Vec<&Value> = all.iter().filter(|it| it["metric"] == metric).collect();
        let filtered = case.json(&["recommend", "forecast", "--metric", metric]);
        let filtered: Vec<&Value> = filtered["series"].as_array().unwrap().iter().collect();
        assert_eq!((of_metric.len(), &filtered), (1, &of_metric), "{metric}");
    }
}

#[rstest]
fn usage_of_a_period_without_data_is_unknown(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "vercel=hobby");
    let meter = ("VERCEL_BANDWIDTH", "BANDWIDTH_GB");
    let october = |_, at: DateTime<Utc>| (at.month() == 10).then_some(3.0);
    let start = "2026-10-01T00:00:00Z";
    case.import(&lines(meter, start, 24, &[("reading", "amount")], october));
    let found = case.forecast("BANDWIDTH_GB");
    // Nor are the days to the limit and the total: no command has an answer from it.
    assert_eq!(
        (&found["value"], &found["period"]),
        (&Value::Null, &Value::Null),
        "{found}"
    );
    assert_eq!(found["thresholds"], json!([]), "{found}");
    assert_eq!(case.check("BANDWIDTH_GB")["state"], "STALE");
}

#[rstest]
fn plan_that_rejects_at_its_limit_is_never_stay_and_pay(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let case = Case::new(engine, "neon=free");
    let storage = ("VERCEL_POSTGRES", "STORAGE_MB");
    let growth = |days, _| Some(300.0 + 3.0 * days);
    case.import(&lines(storage, "2026-09-25T00:00:00Z", 6, &[], growth));
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(
        (&it["priority"], &it["kind"]),
        (&"CRITICAL".into(), &"UPGRADE".into())
    );
    // Launch bills by usage, and its compute is not measured.
    assert_eq!(it["recommended_plan"], "launch");
    assert_eq!(facts(it)["money"]["target"]["at_least"], true);
    let unmeasured = compared(it, "launch")["unmeasured"].as_array().unwrap();
    assert!(
        unmeasured.contains(&"Compute (CU hour)".into()),
        "{unmeasured:?}"
    );
    let page = case.run(&["recommend", "show", it["id"].as_str().unwrap()]);
    assert!(page.lines().count() <= 24, "{page}");
    assert!(page.contains("not measured: Compute (CU hour)"), "{page}");
    assert!(!page.contains("no added cost"), "{page}");
}

#[rstest]
fn limit_set_by_hand_keeps_its_consequence(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    let set = "limits set --service VERCEL_KV --metric STORAGE_MB 252";
    case.run(&set.split(' ').collect::<Vec<_>>());
    assert_eq!(case.check("STORAGE_MB")["at_limit"], "REJECT");
    let storage = ("VERCEL_KV", "STORAGE_MB");
    let growth = |days: f64, _| Some(248.0 - 2.1 * (61.5 - days));
    case.import(&lines(storage, "2026-09-25T00:00:00Z", 6, &[], growth));
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(it["recommended_plan"], "fixed-1gb");
    assert_eq!(compared(it, "payg")["cost"]["at_least"], true);
}

#[rstest]
fn unknown_price_beyond_the_limit_leads_to_a_larger_plan(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let case = Case::new(engine, "upstash=free");
    let set = "limits set --service VERCEL_KV --metric STORAGE_MB --at-limit BILL";
    case.run(&set.split(' ').collect::<Vec<_>>());
    let storage = ("VERCEL_KV", "STORAGE_MB");
    let growth = |days: f64, _| Some(248.0 - 2.1 * (61.5 - days));
    case.import(&lines(storage, "2026-09-25T00:00:00Z", 6, &[], growth));
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(it["recommended_plan"], "fixed-1gb");
    assert_eq!(compared(it, "fixed-5gb")["against"], "costs more");
    let mut all = facts(it)["compared"].as_array().unwrap().iter();
    let stay = all.find(|one| one["choice"]["do"] == "stay").unwrap();
    assert_eq!(
        (&stay["cost"]["value"], &stay["against"]),
        (&Value::Null, &"cost beyond the limit unknown".into())
    );
}

#[rstest]
fn unmeasured_meter_makes_no_saving(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=fixed-250mb");
    let storage = ("VERCEL_KV", "STORAGE_MB");
    let growth = |days: f64, _| Some(120.0 + 2.1 * days + 3.0 * (days * 24.0 / 7.0).sin());
    case.import(&lines(storage, "2026-09-25T00:00:00Z", 1, &[], growth));
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(it["recommended_plan"], "fixed-1gb");
    let payg = compared(it, "payg");
    assert_eq!(
        payg["against"],
        "not measured: VERCEL_KV BANDWIDTH_GB, VERCEL_KV REQUEST_COUNT"
    );
    // With all its meters measured, its price is known.
    let amount = [("reading", "amount")];
    let commands = ("VERCEL_KV", "REQUEST_COUNT");
    let start = "2026-09-25T00:00:00Z";
    case.import(&lines(commands, start, 1, &amount, |_, _| Some(2e6 / 24.0)));
    case.import(&lines(
        ("VERCEL_KV", "BANDWIDTH_GB"),
        start,
        24,
        &amount,
        |_, _| Some(0.1),
    ));
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(it["recommended_plan"], "fixed-1gb");
    let payg = compared(it, "payg");
    assert_eq!(
        (&payg["against"], &payg["unmeasured"]),
        (&"costs more".into(), &Value::Null)
    );
    let cost: f64 = payg["cost"]["value"].as_str().unwrap().parse().unwrap();
    assert!((110.0..130.0).contains(&cost), "{cost}");
}

#[rstest]
fn plan_with_less_of_an_unmeasured_meter_has_no_known_size(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let case = Case::new(engine, "upstash=free");
    let commands = ("VERCEL_KV", "REQUEST_COUNT");
    let amount = [("reading", "amount")];
    let start = "2026-09-25T00:00:00Z";
    let import = |meter, value: f64| {
        case.import(&lines(meter, start, 24, &amount, |_, _| Some(value)));
    };
    import(commands, 25_000.0);
    import(("VERCEL_KV", "BANDWIDTH_GB"), 0.01);
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    // 250 MB instead of 256, and the storage is not measured.
    let smaller = compared(it, "fixed-250mb");
    assert_eq!(smaller["chance_exceeded"]["value"], Value::Null);
    assert_eq!(smaller["against"], "not measured: VERCEL_KV STORAGE_MB");
    assert_eq!(smaller["cost"]["value"], "10");
    assert_eq!(it["recommended_plan"], "fixed-1gb");
    let all = ["recommend", "show", it["id"].as_str().unwrap(), "--all"];
    let page = case.run(&all);
    assert!(page.contains("  unlimited  not measured  "), "{page}");
    // Measured, it is a plan as any other.
    let levels = lines(("VERCEL_KV", "STORAGE_MB"), start, 24, &[], |_, _| {
        Some(20.0)
    });
    case.import(&levels);
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    let smaller = compared(it, "fixed-250mb");
    assert_eq!(smaller["chance_exceeded"]["value"], "0");
}

#[rstest]
fn certain_exhaustion_is_recommended_from_two_readings_on(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    for from in [
        "2026-11-24T12:00:00Z",
        "2026-11-18T12:00:00Z",
        "2026-11-06T12:00:00Z",
    ] {
        let case = Case::new(engine, "upstash=free");
        let days = (at("2026-11-25T12:00:00Z") - at(from)).num_days() as f64;
        let growth = |day: f64, _| Some(220.0 - 10.0 * (days - day));
        case.import(&lines(("VERCEL_KV", "STORAGE_MB"), from, 6, &[], growth));
        let forecast = case.forecast("STORAGE_MB");
        assert_eq!(forecast["thresholds"][2]["days"]["p50"], 4, "{from}");
        assert_eq!(forecast["confidence"], "low");
        let [it] = &case.recommend()[..] else {
            panic!("{from}")
        };
        assert_eq!(it["priority"], "CRITICAL", "{from}");
        assert_eq!(it["days_to_limit"], 4, "{from}");
    }
    let case = Case::new(engine, "upstash=free");
    let set = "collect set --service VERCEL_KV --metric STORAGE_MB 250";
    case.run(&set.split(' ').collect::<Vec<_>>());
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(it["priority"], "CRITICAL");
    assert_eq!(case.check("STORAGE_MB")["state"], "CRITICAL");
}

#[rstest]
fn connections_count_with_their_peak_everywhere(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "neon=free");
    let set = "limits set --service VERCEL_POSTGRES --metric CONNECTIONS --plan free --at-limit REJECT 100";
    case.run(&set.split(' ').collect::<Vec<_>>());
    let noon = |days: f64, time: DateTime<Utc>| {
        let hour = f64::from(time.hour()) - 14.0;
        Some((5.0 + (30.0 + days) * (-(hour / 3.0).powi(2)).exp()).round())
    };
    case.import(&lines(
        ("VERCEL_POSTGRES", "CONNECTIONS"),
        "2026-09-25T00:00:00Z",
        1,
        &[],
        noon,
    ));
    let check = case.check("CONNECTIONS");
    assert_eq!(
        (&check["value"], &check["state"]),
        (&96.0.into(), &"CRITICAL".into())
    );
    let forecast = case.forecast("CONNECTIONS");
    assert_eq!(forecast["value"], check["value"]);
    assert_eq!(forecast["thresholds"][1]["reached"], true);
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(
        (&it["metric"], &it["current_usage"]),
        (&"CONNECTIONS".into(), &96.0.into())
    );
    assert_eq!(it["now"]["percent"], check["percent"]);
}

#[rstest]
fn missing_days_are_reported_and_widen_the_answer(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "vercel=hobby");
    let amounts = |days: f64, _| (days <= 70.0 || days >= 80.0).then_some(3.2);
    let transfer = ("VERCEL_BANDWIDTH", "BANDWIDTH_GB");
    let amount = [("reading", "amount")];
    case.import(&lines(
        transfer,
        "2026-09-01T00:00:00Z",
        24,
        &amount,
        amounts,
    ));
    let check = case.check("BANDWIDTH_GB");
    assert_eq!(check["state"], "UNKNOWN");
    assert_eq!(check["reason"], "9 of 25 days missing");
    let total = case.forecast("BANDWIDTH_GB")["period"]["total"]["p50"]
        .as_f64()
        .unwrap();
    assert!((total - 96.0).abs() < 2.0, "{total}");
    assert_eq!(case.recommend(), [Value::Null; 0]);
    let run = case.run(&["recommend", "run"]);
    let unknown = "unknown: VERCEL_BANDWIDTH BANDWIDTH_GB (hobby): 9 of 25 days missing";
    assert!(run.contains(unknown), "{run}");
}

/// Amounts of the bandwidth of `vercel=hobby`, whose limit is 100, by the days since 1 September.
fn hobby(engine: Engine, amount: impl Fn(f64) -> Option<f64>) -> Case {
    let case = Case::new(engine, "vercel=hobby");
    let transfer = ("VERCEL_BANDWIDTH", "BANDWIDTH_GB");
    let extra = [("reading", "amount")];
    let start = "2026-09-01T00:00:00Z";
    case.import(&lines(transfer, start, 24, &extra, |days, _| amount(days)));
    case
}

#[rstest]
fn measured_part_of_an_amount_decides_a_certain_state(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let case = hobby(engine, |days| (days != 70.0 && days != 72.0).then_some(4.1));
    let check = case.check("BANDWIDTH_GB");
    assert_eq!(
        (&check["state"], &check["reason"]),
        (&"CRITICAL".into(), &"2 of 25 days missing".into())
    );
    let table = case.run(&["limits", "check", "--metric", "BANDWIDTH_GB"]);
    let note =
        "\nVERCEL_BANDWIDTH BANDWIDTH_GB hobby CRITICAL at least 94.3%, 2 of 25 days missing\n";
    assert!(table.contains(note), "{table}");
    for (args, words) in [
        (&["limits", "check"][..], "at least 94.3  "),
        (&["limits", "check"], "at least 94.3%  "),
        (
            &["recommend", "forecast"],
            ": at least 94.3 of 100 (at least 94.3%), measured",
        ),
        (&["recommend", "forecast"], "used at least 94.3, "),
        (&["recommend", "run"], ""),
        (&["recommend", "list"], "at least 94.3%  at least 94.3%"),
    ] {
        let of_metric = ["--metric", "BANDWIDTH_GB"];
        let args = match args[1] {
            "check" | "forecast" => [args, &of_metric].concat(),
            _ => args.to_vec(),
        };
        let text = case.run(&args);
        assert!(text.contains(words), "{words}: {text}");
    }
    let critical = [
        "limits",
        "check",
        "--metric",
        "BANDWIDTH_GB",
        "--fail-on",
        "critical",
    ];
    assert_eq!(case.db.usagectl(critical).now(NOW).run().code, 11);
    assert_eq!(case.forecast("BANDWIDTH_GB")["state"], "CRITICAL");
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(
        (&it["priority"], &it["now"]["state"]),
        (&"CRITICAL".into(), &check["state"])
    );
    assert_eq!(facts(it)["usage"]["at_least"], true);
    let meter = &facts(it)["meters"][0];
    assert_eq!(
        (
            &meter["usage"]["at_least"],
            &meter["usage_percent"]["at_least"]
        ),
        (&true.into(), &true.into())
    );
    assert_eq!(it["now"]["at_least"], true);
    let reason = it["reason"].as_str().unwrap();
    let usage = "VERCEL_BANDWIDTH BANDWIDTH_GB is at least 94.3 GB, ";
    assert!(reason.starts_with(usage), "{reason}");
    let run = case.run(&["recommend", "run"]);
    assert!(
        !run.contains("unknown: VERCEL_BANDWIDTH BANDWIDTH_GB"),
        "{run}"
    );

    let single = Case::new(engine, "vercel=hobby");
    let amount = [("reading", "amount")];
    let calls = ("VERCEL_FUNCTIONS", "INVOCATIONS");
    let start = "2026-11-25T00:00:00Z";
    single.import(&lines(calls, start, 24, &amount, |_, _| Some(980_000.0)));
    assert_eq!(single.check("INVOCATIONS")["state"], "CRITICAL");
    assert_eq!(single.recommend().len(), 1);
}

#[rstest]
fn forecast_that_adds_missing_days_is_recommended(#[values(Sqlite, Postgresql)] engine: Engine) {
    let missing = |days: f64| days > 60.0 && days < 67.0;
    let case = hobby(engine, |days| {
        (days < 85.0 && !missing(days)).then_some(3.6)
    });
    // 64.8 of 100 are measured: the warning threshold may be reached or not.
    let check = case.check("BANDWIDTH_GB");
    assert_eq!(check["state"], "UNKNOWN");
    let chance = case.forecast("BANDWIDTH_GB")["period"]["chance_over"].clone();
    assert!(chance.as_f64().unwrap() > 0.9, "{chance}");
    put_channel(&case.db, "ops");
    let run = case.run(&["recommend", "run"]);
    let notice = "CRITICAL: VERCEL_BANDWIDTH BANDWIDTH_GB (hobby) is at least 64.8 GB of 100 GB, at least 64.8%, full in 3 days (3 to 4); 6 of 24 days missing";
    assert!(run.contains(notice), "{run}");
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(facts(it)["usage_percent"]["at_least"], true);
    // The share of an unknown state is as much a lower bound as the usage.
    let forecast = case.forecast("BANDWIDTH_GB");
    for of in [&check, &forecast, &it["now"]] {
        let share = of["percent"].as_f64().unwrap();
        assert!(
            (share - 64.8).abs() < 1e-9 && of["at_least"] == true,
            "{of}"
        );
    }
    assert_eq!(facts(it)["meters"][0]["usage_percent"]["at_least"], true);
}

#[rstest]
fn expected_overrun_is_recommended_early_in_the_period(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    for (each, expected) in [(4.0, 1), (2.0, 0)] {
        let case = hobby(engine, |days| (days < 71.0).then_some(each));
        // Day 10 of November.
        let now = "2026-11-10T12:30:00Z";
        let run = |args: &[&str]| case.db.usagectl(args).now(now).run().success().stdout;
        let run = run(&["recommend", "run"]);
        let found = run.matches("VERCEL_BANDWIDTH  BANDWIDTH_GB").count();
        assert_eq!(found, expected, "{run}");
    }
}

#[rstest]
fn share_of_the_period_is_the_same_everywhere(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = hobby(engine, |_| Some(4.1));
    let elapsed = case.check("BANDWIDTH_GB")["elapsed_percent"].clone();
    assert!(elapsed.as_f64().is_some());
    assert_eq!(
        case.forecast("BANDWIDTH_GB")["period"]["elapsed_percent"],
        elapsed
    );
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    let stated: f64 = facts(it)["outlook"]["period"]["elapsed"]["value"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((stated - elapsed.as_f64().unwrap()).abs() < 0.1);
}

#[rstest]
fn number_beyond_all_measurements_is_short(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    let set = "collect set --service VERCEL_KV --metric STORAGE_MB 1e20";
    case.run(&set.split(' ').collect::<Vec<_>>());
    assert_eq!(case.check("STORAGE_MB")["state"], "OVER");
    let nagios = ["limits", "check", "--nagios", "--metric", "STORAGE_MB"];
    let nagios = case.db.usagectl(nagios).now(NOW).run().stdout;
    assert!(
        nagios.contains("3.91e19%") && nagios.contains("=3.90625e19%;"),
        "{nagios}"
    );
}

#[rstest]
fn single_reading_names_what_a_forecast_requires(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    let set = "collect set --service VERCEL_KV --metric STORAGE_MB 100";
    case.run(&set.split(' ').collect::<Vec<_>>());
    let text = case.run(&["recommend", "forecast", "--metric", "STORAGE_MB"]);
    let needed = "insufficient data: two readings, an hour apart, are required";
    assert!(text.contains(needed), "{text}");
    let forecast = case.forecast("STORAGE_MB");
    assert_eq!(
        (&forecast["readings_needed"], &forecast["days_needed"]),
        (&2.into(), &Value::Null)
    );
}

#[rstest]
fn growth_of_a_counter_over_an_outage_is_spread(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    let month = |days: f64, time: DateTime<Utc>| {
        let begin = at(&time.format("%Y-%m-01T00:00:00Z").to_string());
        let used = 15_000.0 * (time - begin).num_seconds() as f64 / 86_400.0;
        (days <= 70.0 || days >= 80.0).then_some(used.round())
    };
    case.import(&lines(
        ("VERCEL_KV", "REQUEST_COUNT"),
        "2026-09-01T00:00:00Z",
        6,
        &[],
        month,
    ));
    let forecast = case.forecast("REQUEST_COUNT");
    let chance = forecast["thresholds"][2]["chance_within_30_days"]
        .as_f64()
        .unwrap();
    assert!(chance < 0.1, "{chance}");
    assert_eq!(case.recommend(), [Value::Null; 0]);
}

#[rstest]
fn pace_is_advisory_and_a_resource_has_one_recommendation(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let case = Case::new(engine, "upstash=free");
    let start = "2026-11-25T06:00:00Z";
    case.import(&lines(
        ("VERCEL_KV", "COMMANDS_PER_DAY"),
        start,
        6,
        &[],
        |_, _| Some(17_000.0),
    ));
    case.import(&lines(
        ("VERCEL_KV", "REQUEST_COUNT"),
        start,
        6,
        &[],
        |_, _| Some(100_000.0),
    ));
    assert_eq!(case.check("COMMANDS_PER_DAY")["state"], "WARNING");
    assert_eq!(case.recommend(), [Value::Null; 0]);

    let case = Case::new(engine, "upstash=fixed-1gb");
    let start = "2026-09-25T00:00:00Z";
    let amount = [("reading", "amount")];
    case.import(&lines(
        ("VERCEL_KV", "STORAGE_MB"),
        start,
        24,
        &[],
        |_, _| Some(50.0),
    ));
    case.import(&lines(
        ("VERCEL_KV", "REQUEST_COUNT"),
        start,
        24,
        &amount,
        |_, _| Some(100.0),
    ));
    case.import(&lines(
        ("VERCEL_KV", "BANDWIDTH_GB"),
        start,
        24,
        &amount,
        |_, _| Some(0.01),
    ));
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(
        (&it["kind"], &it["recommended_plan"]),
        (&"DOWNGRADE".into(), &"free".into())
    );
    // The resource of the plan is in the lists once there is more than one.
    let second = [("resource", "sessions")];
    case.import(&lines(
        ("VERCEL_KV", "STORAGE_MB"),
        start,
        24,
        &second,
        |_, _| Some(990.0),
    ));
    let all = case.recommend();
    let mut resources: Vec<_> = all
        .iter()
        .map(|it| it["resource"].as_str().unwrap())
        .collect();
    resources.sort_unstable();
    assert_eq!(resources, ["", "sessions"]);
    assert!(case.run(&["recommend"]).contains("RESOURCE"));
}

/// The bandwidth of the only named resource is on the bill of the account.
#[rstest]
fn meter_of_another_resource_on_the_bill_is_measured(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    let growth = |days: f64, _| Some(248.0 - 2.1 * (61.5 - days));
    let start = "2026-09-25T00:00:00Z";
    case.import(&lines(("VERCEL_KV", "STORAGE_MB"), start, 6, &[], growth));
    let cache = [("reading", "amount"), ("resource", "cache")];
    let transfer = |_, _| Some(0.25);
    let meter = ("VERCEL_KV", "BANDWIDTH_GB");
    case.import(&lines(meter, start, 24, &cache, transfer));
    let all = case.recommend();
    let account = all.iter().find(|it| it["resource"] == "").unwrap();
    let mut meters = facts(account)["meters"].as_array().unwrap().iter();
    let transfer = meters.find(|it| it["metric"] == "BANDWIDTH_GB").unwrap();
    let found = [
        &transfer["resource"],
        &transfer["state"],
        &transfer["usage"]["value"],
    ];
    assert_eq!(found, [&json!("cache"), &json!("OK"), &json!("6.25")]);
}

#[rstest]
fn implemented_asks_for_the_new_plan(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "upstash=free");
    let growth = |days: f64, _| Some(248.0 - 2.1 * (61.5 - days));
    case.import(&lines(
        ("VERCEL_KV", "STORAGE_MB"),
        "2026-09-25T00:00:00Z",
        6,
        &[],
        growth,
    ));
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    let id = it["id"].as_str().unwrap().to_owned();
    case.run(&["recommend", "review", &id]);
    case.run(&["recommend", "approve", &id]);
    let done = case
        .db
        .usagectl(["recommend", "implement", &id])
        .now(NOW)
        .run()
        .success();
    let next = "select the new plan: usagectl limits plan upstash fixed-1gb";
    assert!(done.stderr.contains(next), "{}", done.stderr);
    // The plan in use is still the old one a day later.
    let day_later = |args: &[&str]| {
        let run = case.db.usagectl(args).now("2026-11-26T13:00:00Z").run();
        run.success().stdout
    };
    let more = r#"{"service":"VERCEL_KV","metric":"STORAGE_MB","value":270,"timestamp":"2026-11-26T12:00:00Z"}"#;
    let import = case
        .db
        .usagectl(["collect", "import", "-"])
        .now("2026-11-26T13:00:00Z");
    import.stdin(more).run().success();
    assert!(day_later(&["recommend", "run"]).contains("new"));
    day_later(&["limits", "plan", "upstash", "fixed-1gb"]);
    let run = case.db.usagectl(["recommend", "run"]);
    let run = run.now("2026-11-26T13:00:00Z").run().success();
    assert!(run.stdout.contains("expired"), "{}", run.snapshot());
    // Neither of the two is approved.
    assert!(!run.stderr.contains("is approved"), "{}", run.snapshot());
}

#[rstest]
fn plan_holds_the_present_level_and_an_hour_is_urgent(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let storage = ("VERCEL_KV", "STORAGE_MB");
    let set = |case: &Case, hour: u32, size: f64| {
        let start = format!("2026-11-25T{hour:02}:00:00Z");
        let line = lines(storage, &start, 24, &[], |days, _| {
            (days == 0.0).then_some(size)
        });
        case.import(&line);
    };
    let case = Case::new(engine, "upstash=free");
    set(&case, 8, 6_000.0);
    set(&case, 12, 5_000.0);
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    // It is far too small now, although usage falls.
    assert_ne!(it["recommended_plan"], "fixed-1gb", "{it}");
    let small = compared(it, "fixed-1gb");
    assert_eq!(small["chance_exceeded"]["value"], "100", "{small}");
    let case = Case::new(engine, "upstash=free");
    set(&case, 10, 250.0);
    set(&case, 12, 252.0);
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(it["priority"], "CRITICAL", "{it}");
}

#[rstest]
fn approved_is_implemented_by_the_plan_and_stays_on_another(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let case = Case::new(engine, "upstash=free");
    let growth = |days: f64, _| Some(248.0 - 2.1 * (61.5 - days));
    let storage = ("VERCEL_KV", "STORAGE_MB");
    case.import(&lines(storage, "2026-09-25T00:00:00Z", 6, &[], growth));
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    let id = it["id"].as_str().unwrap().to_owned();
    case.run(&["recommend", "review", &id]);
    case.run(&["recommend", "approve", &id]);
    let status = || case.json(&["recommend", "show", &id])["recommendation"]["status"].clone();
    case.run(&["limits", "plan", "upstash", "fixed-5gb"]);
    case.run(&["recommend", "run"]);
    assert_eq!(status(), "APPROVED");
    case.run(&["limits", "plan", "upstash", "fixed-1gb"]);
    assert!(case.run(&["recommend", "run"]).contains("implemented"));
    assert_eq!(status(), "IMPLEMENTED");
    let page = case.json(&["recommend", "show", &id]);
    assert!(page["recommendation"]["implemented_at"].is_string());
    let last = page["history"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&last["actor_kind"], &last["to"]),
        (&"ENGINE".into(), &"IMPLEMENTED".into())
    );
}

/// The transfer of two projects counts together, as the provider counts it.
#[rstest]
fn limit_of_the_account_is_compared_with_the_sum(#[values(Sqlite, Postgresql)] engine: Engine) {
    let case = Case::new(engine, "vercel=hobby");
    for project in ["blog", "shop"] {
        let extra = [("reading", "amount"), ("resource", project)];
        let meter = ("VERCEL_BANDWIDTH", "BANDWIDTH_GB");
        let start = "2026-09-01T00:00:00Z";
        case.import(&lines(meter, start, 24, &extra, |_, _| Some(2.5)));
    }
    let check = case.check("BANDWIDTH_GB");
    let found = [&check["state"], &check["value"], &check["resources"]];
    assert_eq!(found, [&json!("OVER"), &json!(125.0), &json!(2)]);
    let forecast = case.forecast("BANDWIDTH_GB");
    let total = forecast["period"]["total"]["p50"].as_f64().unwrap();
    assert!((total - 150.0).abs() < 0.1, "{total}");
    let [it] = &case.recommend()[..] else {
        panic!()
    };
    assert_eq!(it["now"]["value"], 125.0);
    let id = it["id"].as_str().unwrap();
    for (args, words) in [
        (
            &["limits", "check", "--metric", "BANDWIDTH_GB"][..],
            "  2 resources  ",
        ),
        (
            &["recommend", "forecast", "--metric", "BANDWIDTH_GB"],
            ": 125 of 100 (125.0%), over 2 resources, ",
        ),
        (
            &["recommend", "show", id],
            "is at 125 GB over 2 resources, 125.0% of the",
        ),
    ] {
        let text = case.run(args);
        assert!(text.contains(words), "{text}");
    }
    // Each database has the storage of its plan.
    let case = Case::new(engine, "upstash=free");
    for database in ["cache", "queue"] {
        let extra = [("resource", database)];
        let meter = ("VERCEL_KV", "STORAGE_MB");
        let start = "2026-11-01T00:00:00Z";
        case.import(&lines(meter, start, 24, &extra, |_, _| Some(160.0)));
    }
    let check = case.check("STORAGE_MB");
    assert_eq!(
        (&check["value"], &check["state"]),
        (&json!(160.0), &json!("OK"))
    );
}

/// A metric with the kind of its values, and values by their age in days.
type Generated<'a> = ((&'a str, &'a str, &'a str), Vec<(i64, Option<f64>)>);

/// The commands agree about any data.
#[rstest]
fn commands_agree_about_any_data(#[values(Sqlite, Postgresql)] engine: Engine) {
    const CASES: u32 = 8;
    let metric = prop::sample::select(vec![
        ("VERCEL_KV", "STORAGE_MB", "level"),
        ("VERCEL_KV", "CONNECTIONS", "level"),
        ("VERCEL_KV", "REQUEST_COUNT", "amount"),
        ("VERCEL_KV", "REQUEST_COUNT", "cumulative"),
        ("VERCEL_KV", "BANDWIDTH_GB", "amount"),
        // Two projects of one account.
        ("VERCEL_BANDWIDTH", "BANDWIDTH_GB", "amount"),
        ("VERCEL_BANDWIDTH", "BANDWIDTH_GB", "cumulative"),
    ]);
    let values = prop::collection::vec(
        (0_i64..60, prop::option::weighted(0.9, 0.0_f64..90.0)),
        1..60,
    );
    let config = Config {
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::with_cases(CASES)
    };
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let agree = |((service, metric, reading), values): Generated<'_>| {
        let is_of_account = service == "VERCEL_BANDWIDTH";
        let (provider, plan) = match is_of_account {
            true => ("vercel", "hobby"),
            false => ("upstash", "free"),
        };
        let case = Case::new(engine, &format!("{provider}={plan}"));
        let set = format!(
            "limits set --service {service} --metric {metric} --plan {plan} --at-limit REJECT 100"
        );
        case.run(&set.split(' ').collect::<Vec<_>>());
        let mut text = String::new();
        for (days, value) in values {
            let Some(value) = value else { continue };
            let time = at(NOW) - TimeDelta::hours(18 * days + 1);
            let project = if is_of_account && days % 2 == 1 {
                "shop"
            } else {
                ""
            };
            let line = json!({
                "service": service, "metric": metric, "value": value, "reading": reading,
                "timestamp": time.to_rfc3339(), "resource": project,
            });
            writeln!(text, "{line}").unwrap();
        }
        if text.is_empty() {
            return Ok(());
        }
        let import = case.db.usagectl(["collect", "import", "-"]).now(NOW);
        import.stdin(&text).run();
        let (check, forecast) = (case.check(metric), case.forecast(metric));
        for field in [
            "value",
            "percent",
            "state",
            "measured_at",
            "missing_days",
            "at_least",
            "measure",
            "resources",
        ] {
            prop_assert_eq!(&check[field], &forecast[field], "{}", field);
        }
        let state = check["state"].as_str().unwrap_or_default().to_owned();
        if let (Some(percent), Some(limit)) =
            (check["percent"].as_f64(), forecast["thresholds"].get(2))
        {
            prop_assert_eq!(&limit["reached"], &Value::Bool(percent >= 100.0));
        }
        let all = case.recommend();
        prop_assert!(all.len() <= 1, "{all:?}");
        if let [it] = &all[..] {
            // Money and amounts are kept to four places.
            let [stated, used] =
                [&it["current_usage"], &check["value"]].map(|it| it.as_f64().unwrap());
            prop_assert!((stated - used).abs() < 1e-4, "{} {}", stated, used);
            prop_assert_eq!(&it["now"]["percent"], &check["percent"]);
            prop_assert_eq!(&it["now"]["state"], &check["state"]);
            prop_assert_eq!(&it["now"]["at_least"], &check["at_least"]);
            let bound = facts(it)["usage"]["at_least"] == true;
            prop_assert_eq!(&check["at_least"], &Value::Bool(bound));
            let show = case.json(&["recommend", "show", it["id"].as_str().unwrap()]);
            prop_assert_eq!(&show["live"], &forecast);
        }
        if ["CRITICAL", "OVER"].contains(&state.as_str()) && reading == "level" {
            prop_assert_eq!(all.len(), 1, "{} without a recommendation", state);
        }
        let period = &forecast["period"];
        let over = period["chance_over"].as_f64().unwrap_or(0.0);
        if ["STALE", "NO_DATA"].contains(&state.as_str()) {
            prop_assert_eq!(all.len(), 0);
        } else if over >= 0.5 {
            prop_assert_eq!(all.len(), 1, "{} {} without a recommendation", state, over);
        } else if state == "UNKNOWN" {
            let soon = |name| forecast["thresholds"][2][name].as_f64().unwrap_or(0.0);
            let chance = over.max(soon("chance_within_30_days"));
            prop_assert!(all.is_empty() || chance >= 0.2, "{} {}", state, chance);
        }
        if period.is_object() {
            prop_assert_eq!(&period["elapsed_percent"], &check["elapsed_percent"]);
        }
        // With days missing, an amount has at least the state of its measured part.
        let used = check["value"].as_f64().unwrap_or(0.0);
        if reading == "amount" && used >= 75.0 && used == period["used"].as_f64().unwrap_or(0.0) {
            prop_assert!(
                ["WARNING", "CRITICAL", "OVER"].contains(&state.as_str()),
                "{}",
                state
            );
        }
        Ok(())
    };
    runner.run(&(metric, values), agree).unwrap();
}
