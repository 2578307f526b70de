//! `limits check`: how near the limits are.

use crate::support::assert_snapshot;

use super::{json, words};
use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

/// A measurement, as another program writes it.
fn measure(db: &TestDatabase, metric: &str, value: &str, at: &str, metadata: &str) {
    let id = format!("{metric}{at}{metadata}").replace('"', "");
    let cast = match db.engine() {
        Engine::Sqlite => "",
        Engine::Postgresql => "::jsonb",
    };
    db.execute(&format!(
        "INSERT INTO \"InfrastructureMetric\" (id, service, metric, value, timestamp, metadata)
         VALUES ('{id}', 'VERCEL_KV', '{metric}', {value}, '{at}', '{metadata}'{cast})"
    ));
}

fn set(db: &TestDatabase, metric: &str, value: &str) {
    let args = [
        "limits",
        "set",
        "--service",
        "VERCEL_KV",
        "--metric",
        metric,
        "--plan",
        "free",
        value,
    ];
    db.usagectl(args).run().success();
}

#[rstest]
fn limits_are_shown_as_bars_and_numbers(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    set(&db, "STORAGE_MB", "256");
    set(&db, "REQUEST_COUNT", "500000");
    set(&db, "CONNECTIONS", "100");
    measure(
        &db,
        "STORAGE_MB",
        "150",
        "2026-01-30T11:00:00.000+00:00",
        "{}",
    );
    measure(
        &db,
        "STORAGE_MB",
        "235.52",
        "2026-01-31T11:00:00.000+00:00",
        "{}",
    );
    measure(
        &db,
        "REQUEST_COUNT",
        "400000",
        "2026-01-31T11:00:00.000+00:00",
        "{}",
    );
    measure(
        &db,
        "CONNECTIONS",
        "20",
        "2026-01-31T11:00:00.000+00:00",
        "{}",
    );
    assert_snapshot!(db.usagectl(["limits", "check"]).run().snapshot(), @"
        SERVICE    METRIC         PLAN  STATE        USED    LIMIT  % OF LIMIT              PERIOD  AGE
        VERCEL_KV  STORAGE_MB     free  CRITICAL   235.52      256       92.0%  ███████▓▓·       -  1h
        VERCEL_KV  CONNECTIONS    free  OK             20      100       20.0%  ██·····││·       -  1h
        VERCEL_KV  REQUEST_COUNT  free  WARNING   400,000  500,000       80.0%  ███████▓│·   98.4%  1h

        3 limits: 1 OK, 1 warning, 1 critical or over, 0 unknown
        [exit status: 0]
        ");
    let code = |args: &[&str]| {
        db.usagectl(["limits", "check"].iter().chain(args))
            .run()
            .code
    };
    assert_eq!(code(&["--fail-on", "critical"]), 11);
    assert_eq!(code(&["--fail-on", "warning"]), 11);
    assert_eq!(
        code(&["--fail-on", "warning", "--metric", "request_count"]),
        10
    );
    assert_eq!(
        code(&["--fail-on", "critical", "--metric", "request_count"]),
        0
    );
    assert_eq!(
        code(&["--fail-on", "warning", "--metric", "connections"]),
        0
    );
    let nagios = ["limits", "check", "--nagios"];
    assert_snapshot!(db.usagectl(&nagios).run().snapshot(), @"
        CRITICAL - VERCEL_KV STORAGE_MB free CRITICAL 92.0% | 'VERCEL_KV STORAGE_MB free'=92%;75;90 'VERCEL_KV CONNECTIONS free'=20%;75;90 'VERCEL_KV REQUEST_COUNT free'=80%;75;90
        [exit status: 2]
        ");
    assert_eq!(code(&["--nagios", "--metric", "connections"]), 0);
    let answer = json(&db, ["limits", "check", "--metric", "STORAGE_MB"]);
    assert_eq!(answer["limits"][0]["state"], "CRITICAL");
    assert_eq!(answer["limits"][0]["percent"], 92.0);
}

/// The application writes -1 where a reading failed.
#[rstest]
fn negative_value_is_no_measurement(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    set(&db, "STORAGE_MB", "256");
    set(&db, "CONNECTIONS", "100");
    set(&db, "REQUEST_COUNT", "500000");
    let day = |metric, value, time: &str| {
        let at = format!("2026-01-{time}:00.000+00:00");
        measure(&db, metric, value, &at, "{}");
    };
    day("STORAGE_MB", "-1", "31T11:00");
    day("CONNECTIONS", "95", "31T11:00");
    day("CONNECTIONS", "-1", "31T11:30");
    day("REQUEST_COUNT", "400000", "31T10:00");
    day("REQUEST_COUNT", "-1", "31T10:30");
    day("REQUEST_COUNT", "400100", "31T11:00");
    let states = |answer: &serde_json::Value| {
        let limits = answer["limits"].as_array().unwrap().iter();
        let state = |it: &serde_json::Value| format!("{} {}", it["state"], it["value"]);
        limits.map(state).collect::<Vec<_>>().join(", ")
    };
    let answer = json(&db, ["limits", "check"]);
    let expected = r#""NO_DATA" null, "CRITICAL" 95.0, "WARNING" 400100.0"#;
    assert_eq!(states(&answer), expected);
    let forecast = json(&db, ["recommend", "forecast", "--metric", "REQUEST_COUNT"]);
    let text = forecast.to_string();
    assert!(!text.contains("400101"), "{text}");
}

#[rstest]
fn unknown_states_exit_with_12(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    assert_snapshot!(db.usagectl(["limits", "check"]).run().snapshot(), @"
        no limits
        ------- stderr -------
        next: usagectl limits init --plan PROVIDER=PLAN
        [exit status: 12]
        ");
    let quiet = db.usagectl(["limits", "check", "-q"]).run();
    assert_eq!(
        (quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()),
        (12, "", "")
    );
    assert_eq!(db.usagectl(["limits", "check", "--nagios"]).run().code, 3);
    set(&db, "STORAGE_MB", "256");
    set(&db, "CONNECTIONS", "100");
    set(&db, "REQUEST_COUNT", "500000");
    // Of last month, and of a clock that is ahead.
    measure(
        &db,
        "REQUEST_COUNT",
        "400000",
        "2025-12-31T23:00:00.000+00:00",
        "{}",
    );
    measure(
        &db,
        "CONNECTIONS",
        "5",
        "2026-01-27T11:00:00.000+00:00",
        "{}",
    );
    measure(
        &db,
        "CONNECTIONS",
        "500",
        "2026-01-31T18:00:00.000+00:00",
        "{}",
    );
    assert_snapshot!(db.usagectl(["limits", "check"]).run().snapshot(), @"
        SERVICE    METRIC         PLAN  STATE    USED    LIMIT  % OF LIMIT     PERIOD  AGE
        VERCEL_KV  STORAGE_MB     free  NO_DATA     -      256           -  -       -  -
        VERCEL_KV  CONNECTIONS    free  STALE       5      100           -  -       -  4d 1h
        VERCEL_KV  REQUEST_COUNT  free  STALE       -  500,000           -  -   98.4%  30d 13h

        VERCEL_KV STORAGE_MB free NO_DATA no measurements
        VERCEL_KV CONNECTIONS free STALE newest value is 4d 1h old
        VERCEL_KV REQUEST_COUNT free STALE newest value is of an earlier period

        3 limits: 0 OK, 0 warning, 0 critical or over, 3 unknown
        ------- stderr -------
        next: measure it by `usagectl collect run`, or by hand: usagectl collect set --service VERCEL_KV --metric STORAGE_MB VALUE
        [exit status: 12]
        ");
    let later = words("limits check --metric CONNECTIONS --stale-after 7d");
    assert_eq!(db.usagectl(&later).run().code, 0);
    db.execute(
        "UPDATE \"InfrastructureLimit\" SET \"warningPercent\" = 99 WHERE metric = 'CONNECTIONS'",
    );
    let answer = json(&db, ["limits", "check", "--metric", "CONNECTIONS"]);
    assert_eq!(answer["limits"][0]["state"], "UNKNOWN");
    assert_eq!(
        answer["limits"][0]["reason"],
        "invalid thresholds: warning 99%, critical 90%; expected 0 < warning <= critical"
    );
}

#[rstest]
fn resource_without_measurements_of_a_limit_has_a_line(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    set(&db, "STORAGE_MB", "256");
    set(&db, "CONNECTIONS", "100");
    let at = "2026-01-31T11:00:00.000+00:00";
    for (metric, resource) in [
        ("STORAGE_MB", "cache"),
        ("STORAGE_MB", "queue"),
        ("CONNECTIONS", "cache"),
    ] {
        let metadata = format!(r#"{{"resource":"{resource}"}}"#);
        measure(&db, metric, "50", at, &metadata);
    }
    let connections = |args: &[&str]| {
        let args = [&["limits", "check", "--format", "json"], args].concat();
        let run = db.usagectl(&args).run();
        assert_eq!(run.code, 12);
        let answer: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        let all = answer["limits"].as_array().unwrap().clone();
        let all = all.into_iter().filter(|it| it["metric"] == "CONNECTIONS");
        let state = |it: serde_json::Value| format!("{} {}", it["resource"], it["state"]);
        all.map(state).collect::<Vec<_>>()
    };
    let expected = [r#""cache" "OK""#, r#""queue" "NO_DATA""#];
    assert_eq!(connections(&[]), expected);
    assert_eq!(connections(&["--metric", "CONNECTIONS"]), expected);
}

#[rstest]
fn each_resource_has_a_line_and_billing_periods_begin_on_anchor_day(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let plan = words("limits plan upstash free --anchor-day 31 --tz Asia/Seoul");
    db.usagectl(&plan).run().success();
    set(&db, "CONNECTIONS", "100");
    set(&db, "COMMANDS_PER_DAY", "10000");
    db.usagectl(words(
        "limits set --service VERCEL_KV --metric INVOCATIONS 1000",
    ))
    .run()
    .success();
    measure(
        &db,
        "CONNECTIONS",
        "50",
        "2026-01-31T11:00:00.000+00:00",
        r#"{"resource":"cache"}"#,
    );
    measure(
        &db,
        "CONNECTIONS",
        "101",
        "2026-01-31T11:30:00.000+00:00",
        r#"{"resource":"queue"}"#,
    );
    measure(
        &db,
        "INVOCATIONS",
        "600",
        "2026-01-31T11:00:00.000+00:00",
        "{}",
    );
    let answer = json(&db, ["limits", "check"]);
    let lines: Vec<_> = answer["limits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            format!(
                "{} {} {} {:.1}",
                it["metric"].as_str().unwrap(),
                it["resource"].as_str().unwrap(),
                it["state"].as_str().unwrap(),
                it["elapsed_percent"].as_f64().unwrap_or(-1.0)
            )
        })
        .filter(|line| line.starts_with("CONN") || line.starts_with("INVO"))
        .collect();
    // In Seoul the 31st began 21 hours ago.
    assert_eq!(
        lines,
        [
            "CONNECTIONS cache OK -1.0",
            "CONNECTIONS queue OVER -1.0",
            "INVOCATIONS  OK 3.1"
        ]
    );
}
