//! Several targets of a kind, from a file; and the counters of exporters.

use std::sync::Mutex;

use rstest::rstest;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::http::{HttpServer, Reply};
use crate::support::{Engine, TestDatabase};

/// An exporter that answers with the page set last.
struct Exporter {
    server: HttpServer,
    page: &'static Mutex<String>,
}

impl Exporter {
    fn new(page: &str) -> Exporter {
        let page: &'static Mutex<String> = Box::leak(Box::new(Mutex::new(page.to_owned())));
        Exporter {
            server: HttpServer::answering(move |_| Reply::ok(page.lock().unwrap().clone())),
            page,
        }
    }

    fn set(&self, page: &str) {
        page.clone_into(&mut self.page.lock().unwrap());
    }

    fn url(&self) -> String {
        self.server.url("/metrics")
    }
}

fn stored(db: &TestDatabase) -> Vec<String> {
    db.rows("SELECT metric, value FROM \"InfrastructureMetric\" ORDER BY timestamp, CAST(metric AS TEXT), value")
}

const INVOCATIONS: &str = "--map=calls_total=VERCEL_FUNCTIONS/INVOCATIONS";

/// A run at a minute past twelve.
fn collect(db: &TestDatabase, minute: u32, url: &str, rule: &str) -> crate::support::Run {
    db.usagectl(["collect", "run", "--prometheus-url", url, rule])
        .now(&format!("2026-01-31T12:{minute:02}:00Z"))
        .run()
}

#[rstest]
fn targets_of_a_file_have_resources(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let exporters = [7, 9].map(|value| Exporter::new(&format!("clients {value}\nsize 5e6\n")));
    let target = |resource: &str, settings: &str| {
        format!(
            "[[target]]\nkind = 'prometheus'\nresource = '{resource}'\n{settings}\n\
             map = ['clients=VERCEL_KV/CONNECTIONS', 'size=VERCEL_KV/STORAGE_MB*1e-6']\n"
        )
    };
    let by_variable = "url_env = 'SESSIONS_URL'\nkey_env = 'SESSIONS_KEY'";
    let file = target("cache", &format!("url = '{}'", exporters[0].url()))
        + &target("sessions", by_variable);
    let file = db.sandbox().file("targets.toml", file);
    let run = |minute: u32, words: &[&str]| {
        db.usagectl(["collect"].iter().chain(words))
            .arg("--config")
            .arg(&file)
            .env("SESSIONS_URL", exporters[1].url())
            .env("SESSIONS_KEY", "s3cret")
            .now(&format!("2026-01-31T12:{minute:02}:00Z"))
            .run()
    };
    let first = run(0, &["run"]).success();
    assert!(!first.stdout.contains("s3cret"), "{}", first.snapshot());
    assert_eq!(
        exporters[1].server.received()[0].header("authorization"),
        Some("Bearer s3cret")
    );
    let points = db.rows(
        "SELECT metric, value FROM \"InfrastructureMetric\"
         WHERE CAST(metadata AS TEXT) LIKE '%cache%' ORDER BY CAST(metric AS TEXT)",
    );
    assert_eq!(points, ["CONNECTIONS|7", "STORAGE_MB|5"]);
    let runs = db.rows("SELECT collector, written FROM usagectl_collector_runs ORDER BY 1");
    assert_eq!(runs, ["prometheus cache|2", "prometheus sessions|2"]);
    // One that fails does not stop the other, and is named.
    exporters[1].set("<html>");
    let failed = run(1, &["run"]);
    assert_eq!(failed.code, 3, "{}", failed.snapshot());
    let line = failed.stdout.lines().find(|it| it.contains("FAILED"));
    assert!(
        line.is_some_and(|it| it.contains("sessions")),
        "{}",
        failed.stdout
    );
    assert_eq!(run(1, &["doctor"]).code, 3);
}

#[rstest]
fn increase_over_a_long_gap_is_spread_over_its_days(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let exporter = Exporter::new("calls_total 1000\n");
    let run = |now: &str| {
        let url = exporter.url();
        let args = ["collect", "run", "--prometheus-url", &url, INVOCATIONS];
        db.usagectl(args).now(now).run().success().stderr
    };
    run("2025-12-01T12:00:00Z");
    exporter.set("calls_total 56000\n");
    run("2026-01-25T12:00:00Z");
    let days = "SELECT count(*), max(used), min(used) FROM usagectl_metric_days";
    assert_eq!(db.rows(days), ["56|1000|500"]);
    let too_long = run("2027-02-25T12:00:00Z");
    assert!(
        too_long.contains("its increase since then is unknown"),
        "{too_long}"
    );
    assert_eq!(db.rows(days), ["56|1000|500"]);
}

#[rstest]
fn reason_of_no_values_is_the_rule_without_a_series(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let exporter = Exporter::new("<html> nonsense\n{\"my.calls\"} 3\n");
    let empty = collect(&db, 0, &exporter.url(), INVOCATIONS).success();
    assert!(
        empty.stdout.contains("matches no series of the exporter"),
        "{}",
        empty.stdout
    );
    assert!(
        empty
            .stderr
            .contains("warning: prometheus: skipped invalid line 1"),
        "{}",
        empty.stderr
    );
    let rule = "--map={\"my.calls\"}=VERCEL_FUNCTIONS/INVOCATIONS";
    collect(&db, 1, &exporter.url(), rule).success();
    assert_eq!(stored(&db), ["INVOCATIONS|3"]);
}

#[rstest]
fn two_rules_for_one_metric_and_a_huge_value_store_nothing(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let exporter = Exporter::new("one 1e300\ntwo 2\n");
    let rules = [
        "--map=one=VERCEL_KV/STORAGE_MB",
        "--map=two=VERCEL_KV/STORAGE_MB",
    ];
    let collect = |rules: &[&str]| {
        let run = db.usagectl(["collect", "run", "--prometheus-url", &exporter.url()]);
        run.args(rules).run()
    };
    let both = collect(&rules);
    let message = "both give VERCEL_KV STORAGE_MB";
    assert!(both.code == 1 && both.stdout.contains(message), "{both:?}");
    let huge = collect(&rules[..1]).success();
    assert!(huge.stdout.contains("has the value 1e300"), "{huge:?}");
    assert_eq!(stored(&db), [""; 0]);
}

#[test]
fn invalid_file_of_targets_is_refused_with_its_line() {
    let db = TestDatabase::migrated(Engine::Sqlite);
    let refused = |content: &str, message: &str| {
        let file = db.sandbox().file("targets.toml", content);
        let run = db.usagectl(["collect", "run", "--config"]).arg(&file).run();
        assert_eq!(run.code, 2, "{content}: {}", run.snapshot());
        assert!(run.stderr.contains(message), "{content}: {}", run.stderr);
    };
    let redis = "[[target]]\nkind = 'redis'\nurl = 'redis://127.0.0.1:1'\n";
    refused("", "no [[target]]");
    refused(&format!("{redis}{redis}"), "two targets `redis`");
    refused(
        &format!("{redis}speed = 3\n"),
        "line 4: unknown field `speed`",
    );
    refused(
        "[[target]]\nkind = 'mysql'\n",
        "line 2: invalid source `mysql`",
    );
    refused("[[target]]\nkind = 'usage'\n", "--usage-api");
    refused(
        "[[target]]\nkind = 'postgres'\nresource = 'shop'\n",
        "postgres shop is not configured\nnext: give the target url, or url_env with",
    );
    let rule = "[[target]]\nkind = 'prometheus'\nurl = 'http://127.0.0.1:1'\nmap = ['a=b']\n";
    refused(rule, "`a=b`: invalid rule");
    let unset = db.sandbox().file(
        "targets.toml",
        "[[target]]\nkind = 'redis'\nurl_env = 'NOWHERE'\n",
    );
    let run = db
        .usagectl(["collect", "run", "--config"])
        .arg(&unset)
        .run();
    assert_eq!(run.code, 1, "{}", run.snapshot());
    assert!(run.stdout.contains("NOWHERE is not set"), "{}", run.stdout);
}

#[rstest]
fn histogram_and_total_are_counters(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let page = |calls: u32| {
        format!(
            "# TYPE request_seconds histogram\nrequest_seconds_bucket{{le=\"+Inf\"}} {calls}\n\
             request_seconds_count {calls}\nrequest_seconds_sum 5\nuntyped_total {calls}\nplain {calls}\n"
        )
    };
    let exporter = Exporter::new(&page(900_000));
    let rule = |name: &str, metric: &str| format!("--map={name}=VERCEL_FUNCTIONS/{metric}");
    let run = |minute: u32| {
        db.usagectl(["collect", "run", "--prometheus-url", &exporter.url()])
            .arg(rule("request_seconds_count", "INVOCATIONS"))
            .arg(rule("untyped_total", "REQUEST_COUNT"))
            .arg(rule("counter(plain)", "BUILD_MINUTES"))
            .now(&format!("2026-01-31T12:{minute:02}:00Z"))
            .run()
            .success()
    };
    let first = run(0);
    assert_eq!(stored(&db), [""; 0], "{}", first.snapshot());
    // The reason is in the answer, without -v.
    let reason = "first reading of a counter";
    assert!(first.stdout.contains("EMPTY") && first.stdout.contains(reason));
    exporter.set(&page(900_150));
    run(10);
    let expected = ["BUILD_MINUTES|150", "INVOCATIONS|150", "REQUEST_COUNT|150"];
    assert_eq!(stored(&db), expected);
}

#[rstest]
fn counter_belongs_to_its_exporter_and_its_start(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let page = |calls: u32, started: &str| {
        let started = chrono::DateTime::parse_from_rfc3339(started).unwrap();
        let started = started.timestamp();
        format!("calls_total {calls}\nprocess_start_time_seconds {started}\n")
    };
    let first = Exporter::new(&page(100, "2026-01-31T10:00:00Z"));
    collect(&db, 0, &first.url(), INVOCATIONS).success();
    // Another exporter has a counter of its own.
    let other = Exporter::new(&page(895_000, "2026-01-31T09:00:00Z"));
    collect(&db, 1, &other.url(), INVOCATIONS).success();
    assert_eq!(stored(&db), [""; 0]);
    // A server that was up before takes over the address.
    first.set(&page(700_000, "2026-01-31T08:00:00Z"));
    collect(&db, 2, &first.url(), INVOCATIONS).success();
    assert_eq!(stored(&db), [""; 0]);
    first.set(&page(700_005, "2026-01-31T08:00:00Z"));
    collect(&db, 3, &first.url(), INVOCATIONS).success();
    // It restarts.
    first.set(&page(7, "2026-01-31T12:03:30Z"));
    collect(&db, 4, &first.url(), INVOCATIONS).success();
    assert_eq!(stored(&db), ["INVOCATIONS|5", "INVOCATIONS|7"]);
}

#[rstest]
fn overlapping_runs_count_once(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let exporter = Exporter::new("calls_total 100\n");
    collect(&db, 0, &exporter.url(), INVOCATIONS).success();
    exporter.set("calls_total 200\n");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let run = collect(&db, 10, &exporter.url(), INVOCATIONS);
                assert!(matches!(run.code, 0 | 6), "{}", run.snapshot());
            });
        }
    });
    assert_eq!(stored(&db), ["INVOCATIONS|100"]);
}

#[test]
fn plain_http_requires_the_flag_and_a_private_address() {
    let db = TestDatabase::migrated(Engine::Sqlite);
    let run = |url: &str, flags: &[&str]| {
        let run = db
            .usagectl(["collect", "run", "--timeout=300ms", INVOCATIONS])
            .args(["--prometheus-url", url])
            .args(flags)
            .run();
        assert_eq!(run.code, 1, "{}", run.snapshot());
        run.stderr
    };
    let private = "http://10.255.255.1:9100/metrics";
    let refused = run(private, &[]);
    assert!(refused.contains("add --allow-http"), "{refused}");
    let public = run("http://198.51.100.7/metrics", &["--allow-http"]);
    assert!(public.contains("private addresses only"), "{public}");
    let allowed = run(private, &["--allow-http"]);
    assert!(!allowed.contains("--allow-http"), "{allowed}");
}

#[rstest]
fn negative_and_impossible_values_are_left_out(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let exporter = Exporter::new("clients -5\nsize nan\ncalls 1e300\n");
    let run = db
        .usagectl(["collect", "run", "--prometheus-url", &exporter.url()])
        .args([
            "--map=clients=VERCEL_KV/CONNECTIONS",
            "--map=size=VERCEL_KV/STORAGE_MB",
            "--map=calls=VERCEL_KV/COMMANDS_PER_DAY",
        ])
        .args(["--resource", "cache"])
        .run()
        .success();
    for warning in [
        "VERCEL_KV CONNECTIONS cache is negative: -5",
        "currently has the value NaN",
        "`calls=VERCEL_KV/COMMANDS_PER_DAY` currently has the value 1e300",
    ] {
        assert!(run.stderr.contains(warning), "{}", run.stderr);
    }
    assert_eq!(stored(&db), [""; 0]);
}

#[rstest]
fn sample_of_another_time_is_left_out(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    // 2014, a day after the run, and ten minutes before it.
    let samples = "old 3 1400000000000\nnew 4 1769947200000\nclients 7 1769860200000\n";
    let exporter = Exporter::new(samples);
    let rules = "--map=clients=VERCEL_KV/CONNECTIONS";
    let run = db
        .usagectl(["collect", "run", "--prometheus-url", &exporter.url(), rules])
        .arg("--map=old=VERCEL_KV/STORAGE_MB")
        .arg("--map=new=VERCEL_KV/BANDWIDTH_GB")
        .now("2026-01-31T12:00:00Z")
        .run()
        .success();
    for at in ["2014-05-13T16:53:20Z", "2026-02-01T12:00:00Z"] {
        let warning = format!("has a sample of {at}, more than 15m from now: left out");
        assert!(run.stderr.contains(&warning), "{}", run.stderr);
    }
    assert_eq!(stored(&db), ["CONNECTIONS|7"]);
}

#[rstest]
fn quiet_run_warns_only_about_a_failure(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let exporter = Exporter::new("clients -5\nsize 7\n");
    let quiet = |only: &str| {
        db.usagectl(["collect", "run", "-q", "--only", only])
            .args(["--prometheus-url", &exporter.url()])
            .args(["--map=clients=VERCEL_KV/CONNECTIONS"])
            .args(["--map=size=VERCEL_KV/STORAGE_MB"])
            .args(["--redis-url", "redis://127.0.0.1:1"])
            .run()
    };
    for _ in 0..2 {
        let run = quiet("prometheus").success();
        assert_eq!((run.stdout, run.stderr), (String::new(), String::new()));
    }
    let failed = quiet("prometheus,redis");
    assert_eq!(failed.code, 3, "{}", failed.snapshot());
    for expected in [
        "warning: prometheus: VERCEL_KV CONNECTIONS is negative: -5",
        "error: redis: connecting: ",
    ] {
        assert!(failed.stderr.contains(expected), "{}", failed.stderr);
    }
}

#[rstest]
fn url_of_another_engine_names_the_setting(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mysql = "[[target]]\nkind = 'postgres'\nurl = 'mysql://u:s3cret@127.0.0.1/x'\n";
    let file = db.sandbox().file("targets.toml", mysql);
    let run = db.usagectl(["collect", "run", "--config"]).arg(&file).run();
    assert_eq!(run.code, 1, "{}", run.snapshot());
    let next = "into the url of the target, --postgres-url or USAGECTL_POSTGRES_URL";
    let text = run.snapshot();
    assert!(
        text.contains(next) && !text.contains("--database-url"),
        "{text}"
    );
    assert!(!text.contains("s3cret"), "{text}");
}

#[rstest]
fn exporter_answer_that_is_no_page_has_its_reason(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    for (reply, reason) in [
        (
            Reply::Headers(429, header("Retry-After", "37"), String::new()),
            "answers 429: rate limit exceeded\nnext: run it again in 37 s",
        ),
        (
            Reply::status(503),
            "answers 503: server error\nnext: run it again later",
        ),
        (
            Reply::status(401),
            "answers 401: a valid token is required\nnext: set USAGECTL_PROMETHEUS_TOKEN",
        ),
        (
            Reply::status(404),
            "answers 404: no metrics\nnext: see that the URL is that of the metrics",
        ),
        (
            Reply::ok("# TYPE x gauge\nx 12"),
            "the answer is truncated: its last line has no end",
        ),
    ] {
        let server = HttpServer::with([reply]);
        let rule = ["--map", "x=VERCEL_KV/CONNECTIONS"];
        let args = ["collect", "run", "--only", "prometheus", "--prometheus-url"];
        let run = db.usagectl(args).arg(server.url("")).args(rule).run();
        assert_eq!(run.code, 1, "{}", run.snapshot());
        let text = format!("{}{}", run.stdout, run.stderr);
        for part in reason.split('\n') {
            assert!(text.contains(part), "{reason}: {text}");
        }
    }
}

#[rstest]
fn exposition_may_end_without_a_line_end_after_its_mark(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::with([Reply::ok("# TYPE x gauge\nx 12\n# EOF")]);
    let args = ["collect", "run", "--only", "prometheus", "--prometheus-url"];
    let run = db.usagectl(args).arg(server.url(""));
    run.args(["--map", "x=VERCEL_KV/CONNECTIONS"])
        .run()
        .success();
    assert_eq!(
        db.rows("SELECT value FROM \"InfrastructureMetric\""),
        ["12"]
    );
}
