//! `alerts channel`.

use crate::support::assert_snapshot;
use serde_json::Value;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::http::{HttpServer, Reply};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

#[rstest]
fn list_marks_missing_secrets(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let add = |words: &[&str]| {
        let command = ["alerts", "channel", "add"].iter().chain(words);
        db.usagectl(command).env("TOKEN", "s3cret").run().success()
    };
    assert_snapshot!(db.usagectl(["alerts", "channel"]).run().snapshot(), @"
    no channels: add one with `usagectl alerts channel add`
    [exit status: 0]
    ");
    let slack = add(&["ops", "slack", "--url-env", "SLACK_WEBHOOK_URL"]);
    assert_snapshot!(slack.snapshot(), @"
    added ops  slack to $SLACK_WEBHOOK_URL
    ------- stderr -------
    warning: $SLACK_WEBHOOK_URL has no secret here, neither in the environment nor in a .env file; notices wait until it has one where they are sent
    [exit status: 0]
    ");
    add(&[
        "desk",
        "webhook",
        "--url",
        "https://desk.example.com/hook?team=a",
        "--bearer-env",
        "TOKEN",
    ]);
    add(&["pager", "alertmanager", "--url", "http://localhost:9093"]);
    add(&[
        "mail",
        "exec",
        "--",
        "mail",
        "-s",
        "usage",
        "ops@example.com",
    ]);
    add(&["terminal", "stdout", "--json"]);
    let list = db
        .usagectl(["alerts", "channel", "list"])
        .env("TOKEN", "s3cret")
        .run()
        .success();
    assert_snapshot!(list.snapshot(), @"
    CHANNEL   KIND          TO                             SECRETS        WAITING
    desk      webhook       https://desk.example.com/hook  $TOKEN               0
    mail      exec          mail -s usage ops@example.com  -                    0
    ops       slack         $SLACK_WEBHOOK_URL             URL (missing)        0
    pager     alertmanager  http://localhost:9093          -                    0
    terminal  stdout        standard output, as JSON       -                    0
    [exit status: 0]
    ");
    let json = db
        .usagectl(["alerts", "channel", "list", "--format", "json"])
        .run()
        .success()
        .stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["channels"].as_array().unwrap().len(), 5);
    assert_eq!(json["channels"][0]["secrets"][0]["present"], false);
    let csv = db
        .usagectl(["alerts", "channel", "list", "--format", "csv"])
        .run()
        .success()
        .stdout;
    assert_eq!(csv.lines().count(), 6);
    assert!(!format!("{slack:?}{list:?}{json}{csv}").contains("s3cret"));
}

#[rstest]
fn invalid_channel_is_refused_without_repeating_secrets(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let refused = |words: &[&str], code: i32, says: &str| {
        let command = ["alerts", "channel", "add"].iter().chain(words);
        let run = db.usagectl(command).run();
        assert_eq!(run.code, code, "{}", run.snapshot());
        assert!(run.stderr.contains(says), "{}", run.snapshot());
        assert!(!run.stderr.contains("s3cret"), "{}", run.snapshot());
    };
    refused(
        &["ops", "webhook", "--url", "http://example.com/s3cret"],
        5,
        "plain HTTP",
    );
    refused(
        &["ops", "webhook", "--url", "https://me:s3cret@example.com/"],
        2,
        "password",
    );
    refused(
        &["ops", "webhook", "--url", "example.com/s3cret"],
        2,
        "invalid --url: expected a URL",
    );
    refused(
        &[
            "ops",
            "slack",
            "--url-env",
            "https://hooks.slack.com/s3cret",
        ],
        2,
        "invalid name",
    );
    refused(
        &[
            "ops",
            "webhook",
            "--url",
            "http://localhost/",
            "--timeout",
            "0s",
        ],
        2,
        "--timeout",
    );
    refused(&["ops/../x", "stdout"], 2, "name");
    refused(&["ops", "webhook"], 2, "--url");
    refused(
        &["ops", "slack", "--url", "https://example.com"],
        2,
        "--url",
    );
    refused(
        &[
            "ops",
            "alertmanager",
            "--url",
            "http://localhost/",
            "--label",
            "a-b=c",
        ],
        2,
        "label",
    );
    refused(
        &[
            "ops",
            "webhook",
            "--url",
            "http://localhost/",
            "--user",
            "me",
        ],
        2,
        "password",
    );
    assert!(db.rows("SELECT name FROM usagectl_channels").is_empty());
    db.usagectl(["alerts", "channel", "add", "ops", "stdout"])
        .run()
        .success();
    refused(&["ops", "stdout"], 5, "already");
    let insecure = [
        "alerts",
        "channel",
        "add",
        "far",
        "webhook",
        "--allow-insecure-http",
        "--url",
        "http://example.com/",
    ];
    db.usagectl(insecure).run().success();
}

#[rstest]
fn test_notice_reports_delivery_and_failure(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::with([Reply::ok(""), Reply::Status(404, "no_service".to_owned())]);
    let add = [
        "alerts",
        "channel",
        "add",
        "ops",
        "webhook",
        "--url",
        &server.url("/"),
    ];
    db.usagectl(add).run().success();
    let test = ["alerts", "channel", "test", "ops"];
    db.usagectl(test).run().success();
    let [received] = &server.received()[..] else {
        panic!()
    };
    assert_eq!(
        (&received.json()["kind"], &received.json()["alert_type"]),
        (&"TEST".into(), &"TEST".into())
    );
    let shown = db
        .usagectl(test)
        .run()
        .snapshot()
        .replace(&server.url(""), "[server]");
    assert_snapshot!(shown, @"
        ------- stderr -------
        error: the channel `ops` failed: [server] answered 404 (no_service)
        next: correct the channel, then run the same command again
        [exit status: 12]
        ");
    assert_snapshot!(db.usagectl(["alerts", "channel", "test", "opps"]).run().snapshot(), @"
    ------- stderr -------
    error: no channel `opps`; expected one of ops
    next: usagectl alerts channel list
    [exit status: 2]
    ");
    assert!(db.rows("SELECT id FROM usagectl_notices").is_empty());
}

#[rstest]
fn removing_only_channel_of_rule_warns(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.usagectl(["alerts", "channel", "add", "ops", "stdout"])
        .run()
        .success();
    db.usagectl([
        "alerts",
        "add",
        "--api",
        "finnhub",
        "--type",
        "error_spike",
        "--threshold",
        "10",
        "--period",
        "hour",
        "--channel",
        "ops",
    ])
    .run()
    .success();
    assert_snapshot!(db.usagectl(["alerts", "channel", "remove", "ops"]).run().snapshot(), @"
    removed ops  stdout to standard output
    ------- stderr -------
    warning: finnhub/ERROR_SPIKE/HOUR has a threshold without a channel now
    [exit status: 0]
    ");
    assert_eq!(
        db.usagectl(["alerts", "channel", "remove", "ops"])
            .run()
            .code,
        2
    );
}

#[rstest]
fn url_with_token_is_refused_and_masked_where_stored(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let urls = [
        "https://hooks.slack.com/services/T0/B0/s3cret",
        "https://desk.example.com/hook?token=s3cret",
        "https://desk.example.com/5ebe2294ecd0e0f08eab7690d2a6ee69",
    ];
    for url in urls {
        for kind in ["webhook", "alertmanager"] {
            let command = ["alerts", "channel", "add", "ops", kind, "--url", url];
            let run = db.usagectl(command).run();
            assert_eq!(run.code, 2, "{}", run.snapshot());
            assert!(run.stderr.contains("carries a token"), "{}", run.snapshot());
            assert!(run.stderr.contains("--url-env VAR"), "{}", run.snapshot());
            assert!(!run.stderr.contains("s3cret"), "{}", run.snapshot());
        }
    }
    let settings = format!(
        r#"{{"http":{{"address":{{"url":"{}"}},"auth":null,"insecure_http":false,"timeout_ms":1}},"secret":null}}"#,
        urls[0]
    );
    db.execute(&format!(
        "INSERT INTO usagectl_channels (name, kind, settings, created_at)
         VALUES ('ops', 'WEBHOOK', '{settings}', '2026-01-31T12:00:00.000+00:00')"
    ));
    for format in ["table", "json", "csv"] {
        let list = ["alerts", "channel", "list", "--format", format];
        let list = db.usagectl(list).run().success().stdout;
        assert!(list.contains("https://hooks.slack.com/***"), "{list}");
        assert!(!list.contains("s3cret"), "{list}");
    }
}

#[rstest]
fn channel_may_be_named_like_a_kind(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let add = |words: &[&str]| {
        let command = ["alerts", "channel", "add"].iter().chain(words);
        db.usagectl(command).run()
    };
    add(&["slack", "slack", "--url-env", "X"]).success();
    add(&["webhook", "exec", "--", "true"]).success();
    add(&["stdout", "stdout"]).success();
    add(&["--replace", "stdout", "stdout", "--json"]).success();
    add(&["help", "stdout"]).success();
    // The options of all kinds may follow the kind too.
    let after = [
        "webhook",
        "exec",
        "--replace",
        "--min-severity",
        "critical",
        "--",
        "true",
    ];
    add(&after).success();
    let severity = "SELECT min_severity FROM usagectl_channels WHERE name = 'webhook'";
    assert_eq!(db.rows(severity), ["CRITICAL"]);
    let names = db.rows("SELECT name, kind FROM usagectl_channels ORDER BY name");
    let expected = [
        "help|STDOUT",
        "slack|SLACK",
        "stdout|STDOUT",
        "webhook|EXEC",
    ];
    assert_eq!(names, expected);
    let missing = add(&["slack", "--url-env", "X"]);
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("<NAME>"), "{}", missing.snapshot());
}
