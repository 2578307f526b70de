//! `alerts deliver`, with receivers that accept, refuse or fail.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};
use usagectl::domain::named::Named;

use crate::support::assert_snapshot;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::Value;
use usagectl::domain::alert::delivery::{Delivery, Notice};
use usagectl::domain::alert::notice::{CONTENT_SCHEMA, Content, NoticeKind};
use usagectl::domain::alert::rule::{AlertRef, Severity};
use usagectl::domain::alert::state::Observation;
use usagectl::store::alerting::notices;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alertmanager::Alertmanager;
use crate::support::http::{HttpServer, Received, Reply};
use crate::support::program::NOW;
use crate::support::{Engine, Run, TestDatabase};
use rstest::rstest;

pub(super) fn now() -> DateTime<Utc> {
    NOW.parse().unwrap()
}

/// A notice for the channel `ops`, written `minute` minutes after noon.
pub(super) fn notice(key: &str, kind: NoticeKind, episode: &str, minute: i64) -> Notice {
    notice_at(now() + TimeDelta::minutes(minute), key, kind, episode)
}

fn notice_at(at: DateTime<Utc>, key: &str, kind: NoticeKind, episode: &str) -> Notice {
    let content = Content {
        schema: CONTENT_SCHEMA,
        key: key.to_owned(),
        kind,
        episode: episode.to_owned(),
        alert: AlertRef {
            alert_id: "rule-1".to_owned(),
            api_name: "finnhub".to_owned(),
            alert_type: "RATE_LIMIT_WARNING".to_owned(),
            period: "MINUTE".to_owned(),
        },
        severity: Severity::Warning,
        observed: Observation {
            value: Some(92.0),
            threshold: Some(80.0),
            limit_value: Some(60.0),
        },
        limit_unit: None,
        unknown_reason: None,
        level: 1,
        steps: None,
        reason: None,
        fired_at: at,
        ended_at: kind.is_last().then_some(at),
        created_at: at,
        note: None,
        summary: format!("{}: finnhub 92% of the limit of 60", kind.as_str()),
    };
    Notice::new(content, 1, "ops")
}

pub(super) fn put(db: &TestDatabase, notices: &[Notice]) {
    notices::insert(&mut db.open(), notices).unwrap();
}

/// Stores an open episode.
fn open_episode(db: &TestDatabase, episode: &str) {
    db.execute(&format!(
        "INSERT INTO usagectl_alert_states (alert_id, api_name, alert_type, period, state, since, episode, evaluated_to)
         VALUES ('rule-{episode}', 'finnhub', 'RATE_LIMIT_WARNING', 'MINUTE', 'FIRING',
             '2026-01-31T12:00:00.000+00:00', '{episode}', '2026-01-31T12:00:00.000+00:00')"
    ));
}

pub(super) fn add(db: &TestDatabase, words: &[&str]) {
    let command = ["alerts", "channel", "add", "ops"].iter().chain(words);
    db.usagectl(command).run().success();
}

pub(super) fn deliver(db: &TestDatabase, minute: i64) -> Run {
    let at = now() + TimeDelta::minutes(minute);
    let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    db.usagectl(["alerts", "deliver"]).now(&at).run()
}

pub(super) fn states(db: &TestDatabase) -> Vec<String> {
    db.rows(
        "SELECT id, delivery, attempts, coalesce(drop_reason, error, '') FROM usagectl_notices ORDER BY id",
    )
}

/// The keys of the notices in a request.
pub(super) fn keys(received: &Received) -> Vec<String> {
    let contents = match received.json() {
        Value::Array(contents) => contents,
        content => vec![content],
    };
    let key = |content: &Value| content["key"].as_str().unwrap().to_owned();
    contents.iter().map(key).collect()
}

/// The keys of the notices in all requests, in order.
pub(super) fn all_keys(server: &HttpServer) -> Vec<Vec<String>> {
    server.received().iter().map(keys).collect()
}

#[rstest]
fn webhook_gets_signed_notice_with_same_key_on_every_attempt(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::with((0..5).map(|_| Reply::status(500)));
    add(
        &db,
        &[
            "webhook",
            "--url",
            &server.url("/hook?x=y"),
            "--secret-env",
            "SECRET",
        ],
    );
    put(&db, &[notice("n1", NoticeKind::Firing, "e1", 0)]);
    for attempt in 1..=6 {
        let run = db
            .usagectl(["alerts", "deliver", "--force"])
            .env("SECRET", "s3cret")
            .run();
        assert!(!format!("{run:?}").contains("s3cret"));
        assert_eq!(
            run.code,
            if attempt == 6 { 0 } else { 12 },
            "{}",
            run.snapshot()
        );
    }
    assert_eq!(states(&db), ["n1|DELIVERED|6|"]);
    let received = server.received();
    assert_eq!(received.len(), 6);
    for received in received {
        assert_eq!(received.path, "/hook?x=y");
        assert_eq!(received.header("idempotency-key"), Some("n1"));
        assert_eq!(received.header("x-usagectl-event"), Some("FIRING"));
        let timestamp = received.header("x-usagectl-timestamp").unwrap();
        let since = timestamp.parse::<i64>().unwrap() - now().timestamp();
        assert!((0..60).contains(&since), "{timestamp}");
        assert_eq!(received.header("webhook-id"), Some("n1"));
        assert_eq!(received.header("webhook-timestamp"), Some(timestamp));
        let content = received.json();
        assert_eq!(
            (&content["schema"], &content["kind"]),
            (&Value::from(1), &"FIRING".into())
        );
        // Computed by another program.
        let computed = |signed: &str, script: &str| {
            let shell = db.sandbox().command("sh").args(["-c", script]);
            shell.stdin(signed).run().success().stdout.trim().to_owned()
        };
        let signed = format!("{timestamp}.{}", received.body);
        let own = computed(&signed, "openssl dgst -sha256 -hmac s3cret -r | cut -c1-64");
        let own = format!("sha256={own}");
        assert_eq!(received.header("x-usagectl-signature"), Some(&own[..]));
        let signed = format!("n1.{signed}");
        let standard = "openssl dgst -sha256 -hmac s3cret -binary | openssl base64";
        let standard = format!("v1,{}", computed(&signed, standard));
        assert_eq!(received.header("webhook-signature"), Some(&standard[..]));
    }
}

#[rstest]
fn failed_notice_backs_off_and_is_finally_dropped(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::answering(|_| Reply::status(503));
    add(&db, &["webhook", "--url", &server.url("/")]);
    put(
        &db,
        &[
            notice("n1", NoticeKind::Firing, "e1", 0),
            notice("n2", NoticeKind::Firing, "e2", 0),
        ],
    );
    let shown = deliver(&db, 0)
        .snapshot()
        .replace(&server.url(""), "[server]");
    assert_snapshot!(shown, @"
        CHANNEL  KIND    API      TYPE                PERIOD  CREATED               DELIVERY  TRIES  NEXT TRY              DETAIL
        ops      FIRING  finnhub  RATE_LIMIT_WARNING  MINUTE  2026-01-31T12:00:00Z  WAITING       1  2026-01-31T12:00:24Z  [server] answered 503
        ops      FIRING  finnhub  RATE_LIMIT_WARNING  MINUTE  2026-01-31T12:00:00Z  WAITING       1  2026-01-31T12:00:18Z  [server] answered 503
        ------- stderr -------
        warning: the channel `ops` failed: [server] answered 503
        warning: 2 notices not delivered yet; next attempt at 2026-01-31T12:00:18Z
        next: usagectl alerts channel test ops && usagectl alerts deliver --force
        [exit status: 12]
        ");
    assert_eq!(server.received().len(), 1);
    for minute in 1..60 {
        let at = now() + TimeDelta::minutes(minute);
        let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
        db.usagectl(["alerts", "deliver", "--max-attempts", "5"])
            .now(&at)
            .run();
    }
    // Together or not, each is sent five times.
    assert_eq!(all_keys(&server).concat().len(), 10);
    assert_eq!(
        states(&db),
        ["n1|DROPPED|5|GAVE_UP", "n2|DROPPED|5|GAVE_UP"]
    );
    let error = format!("{} answered 503", server.url(""));
    let errors = db.rows("SELECT error FROM usagectl_notices");
    assert_eq!(errors, [error.as_str(), &error]);
    assert_eq!(deliver(&db, 61).code, 0);
    // The first still fires; the end of the second was delivered.
    open_episode(&db, "e1");
    let retry = ["alerts", "deliver", "--retry-dropped"];
    assert_eq!(
        db.usagectl(retry).now("2026-01-31T14:00:00Z").run().code,
        12
    );
    assert_eq!(all_keys(&server).concat().len(), 11);
}

#[rstest]
fn unresponsive_receiver_costs_one_timeout_per_run(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    for (n, reply) in [
        Reply::Stall,
        Reply::Close,
        Reply::Gibberish,
        Reply::FloodOfHeaders,
        Reply::redirect(302, "http://example.com/"),
        Reply::redirect(307, "https://example.com/"),
    ]
    .into_iter()
    .enumerate()
    {
        let server = HttpServer::with([reply.clone()]);
        db.sandbox().file("url", server.url("/?token=s3cret"));
        add(
            &db,
            &[
                "--replace",
                "webhook",
                "--timeout",
                "500ms",
                "--url-file",
                "url",
            ],
        );
        let keys = [format!("{n}a"), format!("{n}b")];
        put(
            &db,
            &keys
                .clone()
                .map(|key| notice(&key, NoticeKind::Firing, &key, 0)),
        );
        let begun = Instant::now();
        let run = deliver(&db, 0);
        assert!(begun.elapsed() < Duration::from_secs(5), "{reply:?}");
        assert_eq!(run.code, 12, "{}", run.snapshot());
        assert!(!format!("{run:?}").contains("s3cret"), "{run:?}");
        let retried = db
            .usagectl(["alerts", "deliver", "--force"])
            .run()
            .success();
        assert!(retried.stderr.is_empty(), "{retried:?}");
        let [first, second] = &server.received()[..] else {
            panic!("{:?}", server.received());
        };
        assert_eq!(
            first.header("idempotency-key"),
            second.header("idempotency-key")
        );
        assert_eq!(all_keys(&server), [keys.clone(), keys]);
    }
    // A body without an end is no failure: the status came.
    let server = HttpServer::answering(|_| Reply::Flood);
    add(
        &db,
        &[
            "--replace",
            "webhook",
            "--timeout",
            "2s",
            "--url",
            &server.url("/"),
        ],
    );
    put(&db, &[notice("flood", NoticeKind::Firing, "flood", 0)]);
    assert_eq!(deliver(&db, 0).code, 0);
    assert!(
        db.rows("SELECT error FROM usagectl_notices WHERE error LIKE '%s3cret%'")
            .is_empty()
    );
}

#[rstest]
fn retry_after_postpones_the_next_attempt(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let header = ("Retry-After".to_owned(), "1800".to_owned());
    let server = HttpServer::with([Reply::Headers(429, vec![header], String::new())]);
    add(&db, &["webhook", "--url", &server.url("/")]);
    put(&db, &[notice("n1", NoticeKind::Firing, "e1", 0)]);
    assert_eq!(deliver(&db, 0).code, 12);
    assert_eq!(
        db.rows("SELECT next_attempt_at FROM usagectl_notices"),
        ["2026-01-31T12:30:00.000+00:00"]
    );
    assert_eq!(deliver(&db, 29).code, 12);
    assert_eq!(server.received().len(), 1);
    assert_eq!(deliver(&db, 30).code, 0);
}

#[rstest]
fn episode_order_is_kept_and_ended_episode_does_not_fire(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let server =
        HttpServer::answering(|received| match keys(received).contains(&"n1".to_owned()) {
            true => Reply::status(400),
            false => Reply::ok(""),
        });
    add(&db, &["webhook", "--url", &server.url("/")]);
    put(
        &db,
        &[
            notice("n1", NoticeKind::Firing, "e1", 0),
            notice("n2", NoticeKind::Reminder, "e1", 1),
            notice("n3", NoticeKind::Firing, "e2", 1),
        ],
    );
    let rejected = deliver(&db, 2);
    let reason = "warning: the channel `ops` failed: http://";
    assert_eq!(
        (rejected.code, rejected.stderr.contains(reason)),
        (12, true),
        "{rejected:?}"
    );
    assert!(rejected.stderr.contains("answered 400"), "{rejected:?}");
    // The group and the first are refused, so the second waits for it; the third has nothing to do with them.
    let first = [&["n1", "n3", "n2"][..], &["n1"], &["n3"]];
    assert_eq!(all_keys(&server), first);
    put(&db, &[notice("n4", NoticeKind::Missed, "e1", 3)]);
    assert_eq!(deliver(&db, 10).code, 0);
    assert_eq!(all_keys(&server)[3..], [["n4"]]);
    assert_eq!(
        states(&db),
        [
            "n1|DROPPED|2|SUPERSEDED",
            "n2|DROPPED|1|SUPERSEDED",
            "n3|DELIVERED|2|",
            "n4|DELIVERED|1|",
        ]
    );
}

#[rstest]
fn missing_secret_costs_no_attempt(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::with([]);
    let file = db.sandbox().work().join("url");
    add(&db, &["slack", "--url-file", "url"]);
    put(&db, &[notice("n1", NoticeKind::Firing, "e1", 0)]);
    let shown = deliver(&db, 0).snapshot();
    assert_snapshot!(shown, @"
        CHANNEL  KIND    API      TYPE                PERIOD  CREATED               DELIVERY  TRIES  NEXT TRY              DETAIL
        ops      FIRING  finnhub  RATE_LIMIT_WARNING  MINUTE  2026-01-31T12:00:00Z  WAITING       0  2026-01-31T12:00:00Z  cannot read the secret in [dir]/app/url: No such file or directory (os error 2)
        ------- stderr -------
        warning: the channel `ops` failed: cannot read the secret in [dir]/app/url: No such file or directory (os error 2)
        warning: 1 notice not delivered yet; next attempt at 2026-01-31T12:00:00Z
        next: usagectl alerts channel test ops && usagectl alerts deliver
        [exit status: 12]
        ");
    assert!(states(&db)[0].starts_with("n1|WAITING|0|cannot read the secret in"));
    std::fs::write(file, server.url("/services/s3cret\n")).unwrap();
    assert_eq!(deliver(&db, 1).code, 0);
    let [received] = &server.received()[..] else {
        panic!()
    };
    assert_eq!(received.path, "/services/s3cret");
    assert_eq!(
        received.json()["text"],
        "FIRING: finnhub 92% of the limit of 60"
    );
    assert!(
        db.rows("SELECT settings FROM usagectl_channels WHERE settings LIKE '%s3cret%'")
            .is_empty()
    );
}

#[rstest]
fn channel_added_again_sends_its_dropped_notices(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::with([]);
    add(&db, &["webhook", "--url", &server.url("/")]);
    put(
        &db,
        &[
            notice("n1", NoticeKind::Firing, "e1", 0),
            notice("n2", NoticeKind::Firing, "e2", 0),
            notice("n3", NoticeKind::Resolved, "e3", 0),
        ],
    );
    let removed = db
        .usagectl(["alerts", "channel", "remove", "ops"])
        .run()
        .success();
    assert!(
        removed
            .stderr
            .contains("3 waiting notices to `ops` dropped"),
        "{}",
        removed.stderr
    );
    put(&db, &[notice("n4", NoticeKind::Missed, "e4", 0)]);
    let shown = deliver(&db, 0).snapshot();
    assert_snapshot!(shown, @"
        CHANNEL  KIND    API      TYPE                PERIOD  CREATED               DELIVERY  TRIES  NEXT TRY  DETAIL
        ops      MISSED  finnhub  RATE_LIMIT_WARNING  MINUTE  2026-01-31T12:00:00Z  DROPPED       0  -         no channel of this name
        ------- stderr -------
        warning: 1 notice to `ops` dropped: no channel of this name
        next: to send them: usagectl alerts channel add ops KIND
        [exit status: 12]
        ");
    assert_eq!(deliver(&db, 1).code, 0);
    // Only e1 is still open.
    open_episode(&db, "e1");
    add(&db, &["webhook", "--url", &server.url("/")]);
    assert_eq!(deliver(&db, 2).code, 0);
    let got: BTreeSet<String> = all_keys(&server).into_iter().flatten().collect();
    assert_eq!(got, BTreeSet::from(["n1", "n3", "n4"].map(str::to_owned)));
}

#[rstest]
fn killed_run_sends_again_under_the_same_key(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::with([Reply::Stall]);
    add(
        &db,
        &["webhook", "--url", &server.url("/"), "--timeout", "60s"],
    );
    put(&db, &[notice("n1", NoticeKind::Firing, "e1", 0)]);
    let running = db.usagectl(["alerts", "deliver"]).spawn();
    let begun = Instant::now();
    while server.received().is_empty() && begun.elapsed() < Duration::from_secs(20) {
        thread::sleep(Duration::from_millis(20));
    }
    running.signal("KILL");
    running.wait();
    assert_eq!(states(&db), ["n1|WAITING|1|"]);
    // The other run might still be sending it.
    let early = db.usagectl(["alerts", "deliver", "--force"]).run();
    assert_eq!(early.success().stdout, "no pending notices\n");
    assert_eq!(deliver(&db, 2).code, 0);
    let keys: Vec<_> = server
        .received()
        .iter()
        .map(|received| received.header("idempotency-key").unwrap().to_owned())
        .collect();
    assert_eq!(keys, ["n1", "n1"]);
}

#[rstest]
fn exec_and_stdout_channels_receive_notices(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let out = db.sandbox().work().join("out");
    let script = format!("cat >>{}; exit $CODE", out.display());
    add(
        &db,
        &["exec", "--pass-env", "CODE", "--", "sh", "-c", &script],
    );
    put(&db, &[notice("n1", NoticeKind::Firing, "e1", 0)]);
    let failed = db.usagectl(["alerts", "deliver"]).env("CODE", "3").run();
    assert_eq!(failed.code, 12);
    assert_eq!(states(&db), ["n1|WAITING|1|sh ended in 3"]);
    let run = db
        .usagectl(["alerts", "deliver", "--force"])
        .env("CODE", "0")
        .run();
    assert_eq!(run.code, 0, "{}", run.snapshot());
    let written = std::fs::read_to_string(out).unwrap();
    let documents: Vec<Content> = serde_json::Deserializer::from_str(&written)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(
        documents
            .iter()
            .map(|content| &content.key[..])
            .collect::<Vec<_>>(),
        ["n1", "n1"]
    );

    add(&db, &["--replace", "stdout"]);
    put(&db, &[notice("n2", NoticeKind::Resolved, "e1", 1)]);
    assert_snapshot!(deliver(&db, 2).snapshot(), @"
        2026-01-31T12:01:00Z RESOLVED: finnhub 92% of the limit of 60
        CHANNEL  KIND      API      TYPE                PERIOD  CREATED               DELIVERY   TRIES  NEXT TRY  DETAIL
        ops      RESOLVED  finnhub  RATE_LIMIT_WARNING  MINUTE  2026-01-31T12:01:00Z  DELIVERED      1  -         -
        [exit status: 0]
        ");
    put(&db, &[notice("n3", NoticeKind::Missed, "e3", 3)]);
    let json = db
        .usagectl(["alerts", "deliver", "--format", "json"])
        .now("2026-01-31T12:04:00Z")
        .run()
        .success();
    let answer: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (&answer["schema"], &answer["delivered"]),
        (&Value::from(1), &Value::from(1))
    );
    assert_eq!(answer["notices"][0]["content"]["key"], "n3");
    assert!(json.stderr.contains("MISSED: finnhub"), "{}", json.stderr);
}

#[rstest]
fn alertmanager_notifies_once_per_change_of_an_episode(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let alertmanager = Alertmanager::start();
    add(
        &db,
        &[
            "alertmanager",
            "--url",
            &alertmanager.url,
            "--label",
            "team=payments",
            "--hold",
            "10m",
        ],
    );
    let real = Utc::now();
    let run = |minutes: i64| {
        let at = real + TimeDelta::minutes(minutes);
        let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
        db.usagectl(["alerts", "deliver", "-v"])
            .now(&at)
            .run()
            .success()
    };
    let begun = real - TimeDelta::minutes(1);
    put(&db, &[notice_at(begun, "n1", NoticeKind::Firing, "e1")]);
    open_episode(&db, "e1");
    run(0);
    assert_eq!(alertmanager.sent(1), ["firing warning"]);
    let [first] = &alertmanager.alerts()[..] else {
        panic!()
    };
    assert_eq!(first["labels"]["alertname"], "ApiRateLimitWarning");
    assert_eq!(first["labels"]["team"], "payments");

    // Eight minutes later it is held for ten more; Alertmanager sends nothing new.
    let held = run(8);
    assert!(
        held.stderr
            .contains("sending 1 firing alert to `ops` again"),
        "{}",
        held.stderr
    );
    let [again] = &alertmanager.alerts()[..] else {
        panic!()
    };
    assert_eq!(again["fingerprint"], first["fingerprint"]);
    let end = |alert: &Value| {
        alert["endsAt"]
            .as_str()
            .unwrap()
            .parse::<DateTime<Utc>>()
            .unwrap()
    };
    assert_eq!((end(again) - end(first)).num_minutes(), 8);

    // It becomes critical: the warning ends and another alert begins.
    let mut critical = notice_at(real, "n2", NoticeKind::Firing, "e1");
    critical.content.fired_at = begun;
    critical.content.severity = Severity::Critical;
    critical.number = 2;
    put(&db, &[critical.clone()]);
    run(0);
    let sent: BTreeSet<String> = alertmanager.sent(3).into_iter().skip(1).collect();
    assert_eq!(
        sent,
        BTreeSet::from(["firing critical", "resolved warning"].map(str::to_owned))
    );

    // It resolves at both severities.
    let mut over = notice_at(real, "n3", NoticeKind::Resolved, "e1");
    over.content.fired_at = begun;
    over.content.severity = Severity::Critical;
    put(&db, &[over]);
    db.execute("DELETE FROM usagectl_alert_states");
    run(0);
    assert_eq!(alertmanager.sent(4)[3..], ["resolved critical"]);
    run(0);

    // An episode that ended before the first check is sent as well, and nothing came in between.
    let missed = notice_at(begun, "n4", NoticeKind::Missed, "e2");
    put(&db, &[missed]);
    run(0);
    assert_eq!(alertmanager.sent(5)[4..], ["firing warning"]);
    let waiting = notices::count(&mut db.open(), Delivery::Waiting).unwrap();
    assert_eq!(waiting, 0);
}

#[rstest]
fn alertmanager_receives_all_alerts_after_an_outage(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let down = HttpServer::with([Reply::status(503), Reply::Close]);
    add(
        &db,
        &[
            "alertmanager",
            "--url",
            &down.url("/am"),
            "--user",
            "me",
            "--password-env",
            "PASSWORD",
        ],
    );
    put(&db, &[notice("n1", NoticeKind::Firing, "e1", 0)]);
    open_episode(&db, "e1");
    let run = || {
        db.usagectl(["alerts", "deliver", "--force"])
            .env("PASSWORD", "s3cret")
            .run()
    };
    assert_eq!([run().code, run().code, run().code], [12, 12, 0]);
    // Firing alerts are sent again even without new notices.
    assert_eq!(run().code, 0);
    let received = down.received();
    assert_eq!(received.len(), 4);
    for received in received {
        assert_eq!(received.path, "/am/api/v2/alerts");
        // me:s3cret
        assert_eq!(received.header("authorization"), Some("Basic bWU6czNjcmV0"));
    }
}
