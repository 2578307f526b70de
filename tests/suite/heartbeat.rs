//! `--heartbeat-env`.

use std::time::{Duration, Instant};

use rstest::rstest;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::http::{HttpServer, Reply};
use crate::support::{Engine, TestDatabase};

const COMMANDS: [&[&str]; 3] = [
    &["alerts", "check"],
    &["aggregate"],
    &["collect", "run", "--usage-api", "finnhub"],
];

fn paths(server: &HttpServer) -> Vec<String> {
    let received = server.received().into_iter();
    received.map(|received| received.path).collect()
}

#[rstest]
fn start_and_result_are_sent(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let empty = TestDatabase::empty(engine);
    for command in COMMANDS {
        let server = HttpServer::with([]);
        let run = |db: &TestDatabase| {
            let program = db.usagectl(command).args(["--heartbeat-env", "BEAT"]);
            program.env("BEAT", server.url("/s3cret?rid=1")).run()
        };
        let good = run(&db).success();
        assert_eq!(good.stderr, "", "{command:?}");
        let bad = run(&empty);
        let failed = format!("/s3cret/{}?rid=1", bad.code);
        let expected = [
            "/s3cret/start?rid=1",
            "/s3cret?rid=1",
            "/s3cret/start?rid=1",
            &failed,
        ];
        assert_eq!(paths(&server), expected, "{command:?}");
        assert!(!format!("{good:?}{bad:?}").contains("s3cret"));
    }
}

#[rstest]
fn failed_heartbeat_is_a_warning(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    for command in COMMANDS {
        let run = |url: &str| {
            let program = db.usagectl(command).args(["--heartbeat-env", "BEAT"]);
            program.env("BEAT", url).run().success()
        };
        let server = HttpServer::answering(|_| Reply::status(404));
        let refused = run(&server.url("/s3cret"));
        let warning = format!(
            "warning: the heartbeat of $BEAT failed: {} answered 404\n",
            server.url("")
        );
        assert_eq!(refused.stderr, warning.repeat(2));
        let invalid = run("s3cret");
        assert!(
            invalid
                .stderr
                .starts_with("warning: the heartbeat of $BEAT failed: expected a URL")
        );
        assert!(!format!("{refused:?}{invalid:?}").contains("s3cret"));
    }
    let unset = db
        .usagectl(["aggregate", "--heartbeat-env", "BEAT"])
        .run()
        .success();
    let warning =
        "warning: the heartbeat of $BEAT failed: the environment variable BEAT is not set";
    assert!(unset.stderr.starts_with(warning), "{}", unset.stderr);
}

#[rstest]
fn state_is_no_failure_and_dot_env_has_the_url(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::with([]);
    db.sandbox()
        .file(".env", format!("BEAT={}\n", server.url("/x")));
    let check = ["alerts", "check", "--nagios", "--heartbeat-env", "BEAT"];
    let without_nagios = ["alerts", "check", "--heartbeat-env", "BEAT"];
    db.usagectl(without_nagios).run().success();
    crate::support::alerts::put_rule(&db, "rule", "finnhub", "RATE_LIMIT_WARNING", "80", "MINUTE");
    let unknown = db.usagectl(check).run();
    assert_eq!(unknown.code, 3, "{}", unknown.snapshot());
    assert_eq!(paths(&server), ["/x/start", "/x", "/x/start", "/x/3"]);
}

#[test]
fn unresponsive_heartbeat_costs_a_bounded_time() {
    let db = TestDatabase::migrated(Sqlite);
    let server = HttpServer::answering(|received| match &received.path[..] {
        "/start" => Reply::Stall,
        _ => Reply::ok(""),
    });
    let begun = Instant::now();
    let aggregate = db.usagectl(["aggregate", "--heartbeat-env", "BEAT"]);
    let run = aggregate.env("BEAT", server.url("/")).run().success();
    let time = begun.elapsed();
    let range = Duration::from_secs(4)..Duration::from_secs(20);
    assert!(range.contains(&time), "{time:?}");
    assert_eq!(run.stderr.matches("did not answer within 5 s").count(), 1);
}
