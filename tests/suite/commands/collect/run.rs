//! Collecting from real servers: PostgreSQL, Redis, a Prometheus exporter; and from this database.

use serde_json::Value;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::calls::{Call, insert};
use crate::support::http::{HttpServer, Reply};
use crate::support::postgres::PASSWORD;
use crate::support::program::{Program, Run};
use crate::support::servers::Server;
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.snapshot()))
}

/// The value of a metric in an answer, and its metadata.
fn value<'a>(answer: &'a Value, metric: &str) -> &'a Value {
    let collectors = answer["collectors"].as_array().unwrap();
    let values = collectors
        .iter()
        .flat_map(|one| one["values"].as_array().unwrap());
    let mut found = values.filter(|value| value["metric"] == metric);
    found
        .next()
        .unwrap_or_else(|| panic!("no {metric} in {answer}"))
}

fn stored(db: &TestDatabase) -> Vec<String> {
    db.rows("SELECT metric, value FROM \"InfrastructureMetric\" ORDER BY timestamp, id")
}

fn runs(db: &TestDatabase) -> Vec<String> {
    db.rows(
        "SELECT collector, result, written FROM usagectl_collector_runs ORDER BY started_at, written DESC",
    )
}

/// No output contains a password of the test servers.
#[track_caller]
fn assert_no_secret(run: &Run) {
    assert!(
        !run.stdout.contains(PASSWORD) && !run.stderr.contains(PASSWORD),
        "{}",
        run.snapshot()
    );
}

fn collect(db: &TestDatabase, words: &str) -> Program {
    db.usagectl(words.split(' ')).arg("--format=json")
}

fn url_with_password(redis: &Server) -> String {
    format!("redis://:{PASSWORD}@127.0.0.1:{}", redis.port)
}

#[rstest]
fn postgresql_server_is_measured(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let target = TestDatabase::migrated(Engine::Postgresql);
    let run = || {
        collect(&db, "collect run --only postgres")
            .env("USAGECTL_POSTGRES_URL", target.url())
            .run()
    };
    let first = run().success();
    assert_no_secret(&first);
    let answer = json(&first);
    let size: f64 = target.rows("SELECT pg_database_size(current_database()) / 1e6")[0]
        .parse()
        .unwrap();
    let measured = value(&answer, "STORAGE_MB")["value"].as_f64().unwrap();
    assert!((measured - size).abs() < 1.0, "{measured} and {size}");
    let connections = value(&answer, "CONNECTIONS");
    assert_eq!(connections["metadata"]["maximum"], 197);
    assert!(value(&answer, "LATENCY_MS")["value"].as_f64().unwrap() > 0.0);
    // Collecting again at the same time writes nothing.
    let before = stored(&db);
    assert_eq!(json(&run().success())["collectors"][0]["unchanged"], 3);
    assert_eq!(stored(&db), before);
    assert_eq!(runs(&db), ["postgres|OK|3", "postgres|OK|0"]);
    assert_eq!(db.rows("SELECT count(*) FROM usagectl_metric_days"), ["3"]);
}

#[rstest]
fn redis_server_is_measured_and_commands_counted(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let redis = Server::redis();
    let run = |now: &str| {
        let run = collect(&db, "collect run")
            .env("USAGECTL_REDIS_URL", url_with_password(&redis))
            .now(now)
            .run();
        assert_no_secret(&run);
        json(&run.success())
    };
    let first = run("2026-01-31T12:00:00Z");
    assert!(value(&first, "STORAGE_MB")["value"].as_f64().unwrap() > 0.1);
    assert_eq!(value(&first, "CONNECTIONS")["metadata"]["maximum"], 321.0);
    assert!(!first.to_string().contains("COMMANDS_PER_DAY"));
    let again = run("2026-01-31T12:00:00Z");
    assert_eq!(
        (
            &again["collectors"][0]["inserted"],
            &again["collectors"][0]["unchanged"]
        ),
        (&0.into(), &3.into())
    );
    let today = value(&run("2026-01-31T12:15:00Z"), "COMMANDS_PER_DAY").clone();
    let counted = today["value"].as_f64().unwrap();
    // Two runs: AUTH, INFO and five PINGs each, and CLIENT SETINFO.
    assert!((12.0..40.0).contains(&counted), "{counted}");
    assert_eq!(
        today["metadata"]["period_start"],
        "2026-01-31T00:00:00.000Z"
    );
    // The increase since the last run belongs to both days.
    let next = run("2026-02-01T00:10:00Z");
    let values = next["collectors"][0]["values"].as_array().unwrap();
    let of_day = values
        .iter()
        .filter(|it| it["metric"] == "COMMANDS_PER_DAY");
    let of_day: Vec<f64> = of_day.map(|it| it["value"].as_f64().unwrap()).collect();
    let [yesterday, today] = of_day[..] else {
        panic!("{next}")
    };
    assert!(yesterday > counted && today < 1.0, "{yesterday} {today}");
    drop(redis);
    // A server at another address has a counter of its own.
    let other = Server::redis();
    let first = collect(&db, "collect run -v")
        .env("USAGECTL_REDIS_URL", url_with_password(&other))
        .now("2026-02-01T00:20:00Z")
        .run();
    assert!(
        !first.stdout.contains("COMMANDS_PER_DAY"),
        "{}",
        first.stdout
    );
    let note = "first reading of the command counter";
    assert!(first.stderr.contains(note), "{}", first.stderr);
    let warning = format!(
        "the target is `127.0.0.1:{}`, and the values before are of",
        other.port
    );
    assert!(first.stderr.contains(&warning), "{}", first.stderr);
}

#[rstest]
fn exporter_is_read_by_rules(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let exporter = Server::node_exporter();
    let page = format!("http://127.0.0.1:{}/metrics", exporter.port);
    let rules = db.sandbox().file(
        "rules.toml",
        "map = ['promhttp_metric_handler_requests_total{code=\"200\"}=VERCEL_KV/COMMANDS_PER_DAY']",
    );
    let run = |now: &str| {
        let run = collect(
            &db,
            "collect run --map node_memory_MemTotal_bytes=VERCEL_POSTGRES/STORAGE_MB*1e-6",
        )
        .env("USAGECTL_PROMETHEUS_MAP", &rules)
        .env("USAGECTL_PROMETHEUS_URL", &page)
        .now(now)
        .run()
        .success();
        json(&run)
    };
    let first = run("2026-01-31T12:00:00Z");
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
    let kib: f64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(value(&first, "STORAGE_MB")["value"], kib * 1024.0 * 1e-6);
    assert_eq!(
        first["collectors"][0]["values"].as_array().unwrap().len(),
        1
    );
    assert_eq!(
        value(&run("2026-01-31T12:15:00Z"), "COMMANDS_PER_DAY")["value"],
        1.0
    );
    let several = collect(
        &db,
        "collect run --map promhttp_metric_handler_requests_total=VERCEL_KV/COMMANDS_PER_DAY",
    )
    .env("USAGECTL_PROMETHEUS_URL", &page)
    .run();
    assert_eq!(several.code, 1);
    assert!(
        several.stdout.contains("matches 3 series"),
        "{}",
        several.snapshot()
    );
}

#[rstest]
fn recorded_usage_is_summed(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let calls = [
        Call {
            cost: Some(15),
            ..Call::new("1", "openai", "2026-01-31T10:00:00Z")
        },
        Call {
            cost: Some(25),
            ..Call::new("2", "openai", "2026-01-31T11:00:00Z")
        },
        Call {
            cost: Some(60),
            ..Call::new("3", "openai", "2026-01-03T11:00:00Z")
        },
        Call {
            cost: Some(1000),
            ..Call::new("4", "tmdb", "2026-01-31T11:00:00Z")
        },
    ];
    insert(&db, &calls);
    let run = || {
        json(
            &collect(
                &db,
                "collect run --usage-api openai --credit-budget 40 --credit-usd 0.5",
            )
            .run()
            .success(),
        )
    };
    assert_eq!(run()["collectors"][0]["result"], "EMPTY");
    db.usagectl(["aggregate"]).run().success();
    let answer = run();
    assert_eq!(value(&answer, "USAGE_PERCENT")["value"], 25.0);
    // Days without a call, since the first one, are zero.
    let requests = || {
        let days = db.rows(
            "SELECT day, used FROM usagectl_metric_days WHERE metric = 'REQUEST_COUNT' ORDER BY day",
        );
        let line = |row: &String| {
            let (day, used) = row.split_once('|').unwrap();
            format!("{}|{used}", &day[..10])
        };
        days.iter().map(line).collect::<Vec<_>>()
    };
    let four = [
        "2026-01-28|0",
        "2026-01-29|0",
        "2026-01-30|0",
        "2026-01-31|2",
    ];
    assert_eq!(requests(), four);
    let used = "SELECT metric, used FROM usagectl_metric_days WHERE used IS NULL OR used > 0 ORDER BY metric";
    assert_eq!(
        db.rows(used),
        ["COST_USD|2", "REQUEST_COUNT|2", "USAGE_PERCENT|NULL"]
    );
    // A day whose calls wait for `aggregate` is unknown.
    insert(&db, &[Call::new("5", "openai", "2026-01-26T11:00:00Z")]);
    let since = "collect run --usage-api openai --since 2026-01-01";
    collect(&db, since).run().success();
    let days = requests();
    assert_eq!((days[0].as_str(), days.len()), ("2026-01-03|1", 28));
    assert!(!days.iter().any(|day| day.starts_with("2026-01-26")));
}

#[rstest]
fn failed_source_does_not_stop_the_others(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let target = TestDatabase::migrated(Engine::Postgresql);
    let run = |words: &str| {
        collect(&db, words)
            .env("USAGECTL_POSTGRES_URL", target.url())
            .env(
                "USAGECTL_REDIS_URL",
                format!("redis://user:{PASSWORD}@127.0.0.1:1"),
            )
            .run()
    };
    let both = run("collect run");
    assert_no_secret(&both);
    assert_eq!(both.code, 3, "{}", both.snapshot());
    assert!(
        both.stderr
            .contains("check host, port and password in the URL"),
        "{}",
        both.stderr
    );
    assert_eq!(runs(&db).len(), 2);
    assert_eq!(run("collect run --only redis").code, 1);
    // The last of several runs at one instant is known.
    for _ in 0..4 {
        for (flag, result) in [
            ("", "OK"),
            (" --postgres-url postgresql://127.0.0.1:1/x", "FAILED"),
        ] {
            run(&format!("collect run --only postgres{flag}"));
            let status = json(&collect(&db, "collect status").run().success());
            assert_eq!(status["collectors"][0]["collector"], "postgres");
            assert_eq!(status["collectors"][0]["result"], result);
        }
    }
    for only in ["redis", "redis,postgres"] {
        let quiet = db
            .usagectl([
                "collect",
                "run",
                "-q",
                "--only",
                only,
                "--redis-url",
                "redis://127.0.0.1:1",
            ])
            .env("USAGECTL_POSTGRES_URL", target.url())
            .run();
        assert!(quiet.stdout.is_empty(), "{}", quiet.snapshot());
        assert!(
            quiet.stderr.starts_with("error: redis: connecting: "),
            "{}",
            quiet.stderr
        );
    }
    let before = (stored(&db), runs(&db));
    let doctor = run("collect doctor");
    assert_no_secret(&doctor);
    assert_eq!(doctor.code, 3);
    let answer = json(&doctor);
    assert_eq!(
        answer["not_configured"][0]["next"],
        "set UPSTASH_EMAIL, UPSTASH_API_KEY and UPSTASH_REDIS_ID; or UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN"
    );
    run("collect run --dry-run --only postgres").success();
    assert_eq!((stored(&db), runs(&db)), before);
    let status = db.usagectl(["collect", "status"]).run().success().stdout;
    assert!(
        status.contains("redis") && status.contains("VERCEL_POSTGRES"),
        "{status}"
    );
}

#[rstest]
fn unconfigured_source_has_a_next_step(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let nothing = db.usagectl(["collect", "run"]).run();
    assert_eq!(nothing.code, 2, "{}", nothing.snapshot());
    let named = db
        .usagectl(["collect", "run", "--only", "postgres,redis"])
        .run();
    assert_eq!(named.code, 2);
    assert!(
        named
            .stderr
            .contains("next: give --postgres-url, or set USAGECTL_POSTGRES_URL"),
        "{}",
        named.stderr
    );
    let half = db
        .usagectl(["collect", "run"])
        .env("UPSTASH_API_KEY", PASSWORD)
        .run();
    assert_eq!(half.code, 1);
    assert!(
        half.stderr
            .contains("set UPSTASH_EMAIL beside UPSTASH_API_KEY"),
        "{}",
        half.stderr
    );
    assert_no_secret(&half);
}

#[rstest]
fn unresponsive_source_times_out(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::with([Reply::Stall]);
    let began = std::time::Instant::now();
    let run = db
        .usagectl(["collect", "run", "--timeout", "700ms"])
        .env("NEON_API_KEY", PASSWORD)
        .env("USAGECTL_NEON_API_URL", server.url(""))
        .run();
    assert_eq!(run.code, 1, "{}", run.snapshot());
    assert!(began.elapsed().as_secs() < 20);
    assert_no_secret(&run);
}

#[rstest]
fn status_shows_new_points_without_writing(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.execute(
        "INSERT INTO \"InfrastructureMetric\" (id, service, metric, value, timestamp) VALUES
             ('a', 'VERCEL_KV', 'BANDWIDTH_GB', 1, '2026-01-19T08:00:00.000+00:00'),
             ('b', 'VERCEL_KV', 'BANDWIDTH_GB', 2, '2026-01-20T08:00:00.000+00:00'),
             ('c', 'VERCEL_KV', 'STORAGE_MB', 3, '2026-01-18T08:00:00.000+00:00')",
    );
    let marks = || db.rows("SELECT count(*) FROM usagectl_dirty_metric_days");
    let before = marks();
    let status = json(&collect(&db, "collect status").run().success());
    assert_eq!(marks(), before);
    let values = status["series"].as_array().unwrap().iter();
    let values: Vec<_> = values.map(|it| it["value"].as_f64().unwrap()).collect();
    assert_eq!(values, [3.0, 2.0], "{status}");
}
