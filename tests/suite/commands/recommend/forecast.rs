//! Forecasts and backtests of stored series and files.

use crate::support::assert_snapshot;
use serde_json::Value;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, Sandbox, TestDatabase};
use rstest::rstest;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/metrics.ndjson");
const SERIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/series");

fn put_limit(db: &TestDatabase, service: &str, metric: &str, plan: &str, value: u32) {
    db.execute(&format!(
        "INSERT INTO \"InfrastructureLimit\"
             (id, service, metric, \"currentPlan\", \"limitValue\", \"warningPercent\", \"criticalPercent\",
              \"createdAt\", \"updatedAt\")
         VALUES ('{service} {metric}', '{service}', '{metric}', '{plan}', {value}, 75, 90,
              '2026-01-01T00:00:00.000+00:00', '2026-01-01T00:00:00.000+00:00')"
    ));
}

fn put_example(db: &TestDatabase) {
    db.usagectl(["collect", "import", EXAMPLE]).run().success();
    put_limit(db, "VERCEL_KV", "STORAGE_MB", "free", 256);
    put_limit(db, "VERCEL_KV", "COMMANDS_PER_DAY", "free", 10_000);
    put_limit(db, "VERCEL_BANDWIDTH", "BANDWIDTH_GB", "pro", 600);
    put_limit(db, "VERCEL_POSTGRES", "LATENCY_MS", "hobby", 5);
}

fn json(db: &TestDatabase, arguments: &[&str]) -> Value {
    let run = db
        .usagectl(arguments)
        .arg("--format")
        .arg("json")
        .run()
        .success();
    serde_json::from_str(&run.stdout).expect("the answer is JSON")
}

#[rstest]
fn every_series_is_listed(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_example(&db);
    assert_snapshot!(db.usagectl(["recommend", "forecast"]).run().snapshot(), @"
        SERVICE           METRIC                 NOW   LIMIT   USED  DAYS TO LIMIT  30D     PERIOD END
        VERCEL_KV         STORAGE_MB          228.39     256  89.2%  21 (19 to 23)  100.0%           -
        VERCEL_KV         COMMANDS_PER_DAY     5,887  10,000  58.9%  33 (18 to 51)  36.2%            -
        VERCEL_KV         REQUEST_COUNT      206,433       -      -  -              -          209,284
        VERCEL_POSTGRES   STORAGE_MB          195.02       -      -  -              -                -
        VERCEL_POSTGRES   CONNECTIONS             11       -      -  -              -                -
        VERCEL_POSTGRES   LATENCY_MS            3.63       5  72.6%  -              -                -
        VERCEL_BUILD      BUILD_MINUTES     1,935.55       -      -  -              -         1,958.74
        VERCEL_FUNCTIONS  INVOCATIONS        791,941       -      -  -              -       801,623.24
        VERCEL_BANDWIDTH  BANDWIDTH_GB        582.29     600  97.0%  55 (27 to 58)  36.4%       589.53
        AI_OPENAI         COST_USD            $41.29       -      -  -              -           $41.76
        [exit status: 0]
        ");
}

#[rstest]
fn one_series_is_drawn_and_explained(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_example(&db);
    let explain = [
        "recommend",
        "forecast",
        "--service",
        "vercel_kv",
        "--metric",
        "storage_mb",
        "--explain",
    ];
    assert_snapshot!(db.usagectl(explain).run().snapshot(), @"
        VERCEL_KV STORAGE_MB, plan free: 228.39 of 256 (89.2%), measured 2026-01-31T11:55:00Z

        THRESHOLD  VALUE  DAYS           WITHIN 7D     30D     90D
        warning      192  reached           100.0%  100.0%  100.0%
        critical   230.4  2 (1 to 3)        100.0%  100.0%  100.0%
        limit        256  21 (19 to 23)       0.0%  100.0%  100.0%

        362.68 │                                                           ░░░◦◦
               │                                                   ░░◦◦◦◦◦◦◦◦◦░░
               │                                           ░░◦◦◦◦◦◦◦◦◦░░
               │                                   ░◦◦◦◦◦◦◦◦◦░░
               │───────────────────────────◦◦◦◦◦◦◦◦◦░░────────────────────────── limit 256
               │───────────────────••••••◦◦◦──────────────────────────────────── critical 230.4
               │──────────••••••••••──────────────────────────────────────────── warning 192
        167.39 │  •••••••••
               │••
               │
               │
               │
               │
             0 │
               └────────────────────────────────────────────────────────────────
                2025-12-03                                            2026-05-01

          history: 60 days, 2025-12-03 to 2026-01-31
          trend: +1.38 a day
          smoothing: alpha 0.8 (0: fixed line, 1: random walk)
          band: 0.95 times the model's own, calibrated on 25 past forecasts
        [exit status: 0]
        ");
    let period = ["recommend", "forecast", "--metric", "BANDWIDTH_GB"];
    let period = db.usagectl(period).now("2026-01-16T12:00:00Z").run();
    assert_snapshot!(period.snapshot(), @"
        VERCEL_BANDWIDTH BANDWIDTH_GB, plan pro: 293.72 of 600 (48.9%), measured 2026-01-16T11:55:00Z

        THRESHOLD  VALUE  DAYS             WITHIN 7D     30D  90D
        warning      450  8 (7 to 9)           15.2%  100.0%    -
        critical     540  13 (12 to 14)         0.0%   99.2%    -
        limit        600  >64 (14 to >64)       0.0%   33.0%    -

        2026-01-01 to 2026-02-01: used 293.72, expected total 590.17 (564.94 to 620.46); 33.0% chance to exceed 600, expected overage 5.43

        620.46 │────────────────────────────────────────────────────────────░──░ limit 600
               │                                                        ░ ◦ ◦  ◦
               │────────────────────────────────────────────────────░─◦─◦─░───── critical 540
               │                                                ░ ◦ ◦ ░
               │────────────────────────────────────────────◦─◦─◦─░───────────── warning 450
               │                                     ░ ◦  ◦ ░
               │                                 ◦ ◦ ◦
        286.36 │                             • •
               │                         • •
               │                • •  • •
               │            • •
               │        • •
               │  • • •
             0 │•
               └────────────────────────────────────────────────────────────────
                2026-01-01                                            2026-01-31
        [exit status: 0]
        ");
}

#[rstest]
fn forecast_is_deterministic_and_short_history_has_low_confidence(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    put_example(&db);
    let forecast = ["recommend", "forecast"];
    assert_eq!(json(&db, &forecast), json(&db, &forecast));
    let early = json(
        &db,
        &["recommend", "forecast", "--now", "2025-12-07T12:00:00Z"],
    );
    let storage = early["series"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["metric"] == "STORAGE_MB")
        .unwrap();
    // The pace between the first and the last of five days.
    assert_eq!(
        (
            &storage["outcome"],
            &storage["confidence"],
            &storage["horizon_days"]
        ),
        (&"forecast".into(), &"low".into(), &7.into())
    );
    let sooner = json(
        &db,
        &["recommend", "forecast", "--now", "2025-12-12T12:00:00Z"],
    );
    let storage = sooner["series"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["metric"] == "STORAGE_MB")
        .unwrap();
    assert_eq!(
        (&storage["confidence"], &storage["horizon_days"]),
        (&"low".into(), &15.into())
    );
}

#[rstest]
fn database_without_measurements_has_a_hint(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    for command in ["forecast", "backtest"] {
        let run = db
            .usagectl(["recommend", command, "--service", "AI_OPENAI"])
            .run()
            .success();
        assert!(run.stderr.contains("no measurements"), "{}", run.snapshot());
    }
}

#[rstest]
fn database_series_are_backtested(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_example(&db);
    let backtest = [
        "recommend",
        "backtest",
        "--service",
        "VERCEL_KV",
        "--horizons",
        "7",
        "--origins",
        "4",
    ];
    let answer = json(&db, &backtest);
    let names: Vec<&Value> = answer["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(
        names,
        [
            "VERCEL_KV STORAGE_MB",
            "VERCEL_KV COMMANDS_PER_DAY",
            "VERCEL_KV REQUEST_COUNT"
        ]
    );
    assert_eq!(answer["all"]["forecasts"], 12);
    let trials = answer["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 12);
    let last = &trials[11];
    assert_eq!(last["horizon_days"], 7);
    for name in ["low", "high", "forecast", "actual"] {
        assert!(last[name].is_number(), "{last}");
    }
    for rule in ["mean_28d", "same_weekday", "pro_rata", "linear"] {
        assert!(last["rules"][rule].is_number(), "{last}");
    }
}

/// The coverage of the 80 % bands must be 70 to 93 % pooled and at least 60 % for each series. docs/forecast.md has
/// the whole table.
#[test]
fn real_series_bands_are_covered() {
    let sandbox = Sandbox::new();
    let (mut held, mut made) = (0.0, 0.0);
    for (name, kind) in [
        ("cpu_utilization_asg_misconfiguration", "gauge"),
        ("machine_temperature_system_failure", "gauge"),
        ("Twitter_volume_AAPL", "period"),
        ("Twitter_volume_GOOG", "period"),
        ("Twitter_volume_UPS", "period"),
        ("elb_request_count_8c0756", "period"),
        ("nyc_taxi", "period"),
    ] {
        let file = format!("{SERIES}/{name}.csv");
        let backtest = [
            "recommend",
            "backtest",
            "--file",
            &file,
            "--kind",
            kind,
            "--format",
            "json",
        ];
        let program = sandbox.usagectl(backtest).arg("--horizons").arg("7,14");
        let answer: Value = serde_json::from_str(&program.run().success().stdout).unwrap();
        let all = &answer["all"];
        let forecasts = all["forecasts"].as_f64().unwrap();
        let coverage = all["coverage"]["band_80"].as_f64().unwrap();
        // A few origins say nothing.
        assert!(coverage >= 0.6 || forecasts < 10.0, "{name}: {all}");
        (held, made) = (held + coverage * forecasts, made + forecasts);
    }
    assert!((0.70..=0.93).contains(&(held / made)), "{}", held / made);
}

#[test]
fn invalid_file_is_rejected_with_its_line() {
    let sandbox = Sandbox::new();
    sandbox.file(
        "bad.csv",
        "timestamp,value\n2026-01-01,1\n2026-01-02,many\n",
    );
    sandbox.file("short.csv", "timestamp,value\n2026-01-01,1\n");
    let backtest = |arguments: &[&str]| {
        let program = sandbox.usagectl(["recommend", "backtest"]);
        arguments
            .iter()
            .fold(program, |program, argument| program.arg(argument))
            .run()
    };
    assert_snapshot!(backtest(&["--file", "bad.csv", "--kind", "gauge"]).snapshot(), @"
    ------- stderr -------
    error: cannot read bad.csv: line 3: `many` is not a number
    next: usagectl recommend backtest --help
    [exit status: 1]
    ");
    assert_snapshot!(backtest(&["--file", "none.csv", "--kind", "gauge"]).snapshot(), @"
    ------- stderr -------
    error: cannot read none.csv: No such file or directory (os error 2)
    next: usagectl recommend backtest --help
    [exit status: 1]
    ");
    assert_snapshot!(backtest(&["--file", "short.csv", "--kind", "period", "--horizons", "7"]).snapshot(), @"
    SERIES  DAYS  N  80%  ERROR  28D MEAN  WEEKDAY  PRO RATA  LINEAR
    short      7  0    -      -         -        -         -       -
    ------- stderr -------
    warning: no trials: the longest series has 1 day, and a trial requires a week of days up to its origin, and all days of its horizon
    next: give a longer history, shorter --horizons, or a wider --from and --to
    [exit status: 12]
    ");
    for wrong in [
        &["--file", "short.csv"][..],
        &["--kind", "gauge"],
        &["--file", "short.csv", "--kind", "rate"],
        &["--horizons", "1"],
        &["--horizons", "400"],
        &["--from", "soon"],
    ] {
        assert_eq!(backtest(wrong).code, 2, "{wrong:?}");
    }
}

/// The table of `docs/forecast.md`, regenerated by its command.
#[test]
fn documented_backtests_are_those_of_the_program() {
    let documented = include_str!("../../../../docs/forecast.md");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let documented: Vec<String> = documented.lines().map(words).collect();
    let sandbox = Sandbox::new();
    let files = std::fs::read_dir(SERIES).expect("the series are there");
    let mut rows = 0;
    for file in files.map(|file| file.expect("it is readable").path()) {
        let Some(name) = file.to_str().filter(|it| it.ends_with(".csv")) else {
            continue;
        };
        let is_gauge = name.contains("cpu") || name.contains("temperature");
        let kind = if is_gauge { "gauge" } else { "period" };
        let arguments = ["recommend", "backtest", "--file", name, "--kind", kind];
        let run = sandbox.usagectl(arguments).run().success();
        let series = file
            .file_stem()
            .and_then(|it| it.to_str())
            .unwrap_or_default();
        for line in run.stdout.lines().filter(|it| it.starts_with(series)) {
            assert!(documented.contains(&words(line)), "{line}");
            rows += 1;
        }
    }
    assert_eq!(rows, 21);
}
