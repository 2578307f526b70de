//! Many notices at once: groups, rate limits, slow channels and the time limit of a delivery.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use usagectl::domain::alert::delivery::Notice;
use usagectl::domain::alert::notice::NoticeKind;

use super::deliver::{add, all_keys, deliver, keys, notice, now, put, states};
use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alerts::{at, put_rule};
use crate::support::calls::{Call, insert};
use crate::support::http::{HttpServer, Received, Reply};
use crate::support::program::NOW;
use crate::support::{Engine, Run, TestDatabase};
use rstest::rstest;

/// Firing notices of as many episodes for a channel.
fn notices_to(channel: &str, count: usize) -> Vec<Notice> {
    let notice = |number| {
        let key = format!("{channel}-{number:03}");
        Notice {
            channel: channel.to_owned(),
            ..notice(&key, NoticeKind::Firing, &key, 0)
        }
    };
    (0..count).map(notice).collect()
}

/// A server that accepts one request per second.
fn one_per_second(accept: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> HttpServer {
    let last: Mutex<Option<Instant>> = Mutex::new(None);
    HttpServer::answering(move |received| {
        let mut last = last.lock().unwrap();
        let now = Instant::now();
        if last.is_some_and(|last| now - last < Duration::from_secs(1)) {
            let header = ("Retry-After".to_owned(), "1".to_owned());
            return Reply::Headers(429, vec![header], String::new());
        }
        *last = Some(now);
        accept(received)
    })
}

fn add_channel(db: &TestDatabase, name: &str, words: &[&str]) {
    let command = ["alerts", "channel", "add", name];
    db.usagectl(command).args(words).run().success();
}

/// A Slack channel, whose URL is in a file.
fn add_slack(db: &TestDatabase, server: &HttpServer) {
    db.sandbox().file("slack", server.url("/"));
    add_channel(db, "team", &["slack", "--url-file", "slack"]);
}

fn check(db: &TestDatabase, at: DateTime<Utc>) -> Run {
    let check = db.usagectl(["alerts", "check"]);
    check.now(&at.to_rfc3339()).run()
}

/// The number of notices in each delivery state.
fn deliveries(db: &TestDatabase) -> Vec<String> {
    db.rows("SELECT delivery, count(*) FROM usagectl_notices GROUP BY delivery ORDER BY delivery")
}

#[rstest]
fn flood_is_one_message_per_channel(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let [desk, slack] = [(); 2].map(|()| one_per_second(|_| Reply::ok("ok")));
    add_channel(&db, "desk", &["webhook", "--url", &desk.url("/")]);
    add_slack(&db, &slack);
    put_rule(&db, "rule", "*", "ERROR_SPIKE", "1", "MINUTE");
    let failed = |number: i32| Call {
        success: false,
        at: at(0),
        ..Call::new(&format!("c{number}"), &format!("api-{number}"), NOW)
    };
    insert(&db, &(0..40).map(failed).collect::<Vec<_>>());
    let run = check(&db, at(1) + TimeDelta::seconds(20));
    assert_eq!(run.code, 0, "{}", run.snapshot());
    assert_eq!(deliveries(&db), ["DELIVERED|80"]);

    let [group] = &desk.received()[..] else {
        panic!("{} requests", desk.received().len());
    };
    assert_eq!(keys(group).len(), 40);
    assert_eq!(group.header("x-usagectl-event"), Some("GROUP"));
    assert_eq!(group.header("webhook-id"), group.header("idempotency-key"));
    let [message] = &slack.received()[..] else {
        panic!("{} requests", slack.received().len());
    };
    let blocks = message.json()["blocks"].clone();
    assert_eq!(blocks.as_array().unwrap().len(), 40);
}

#[rstest]
fn rejected_group_is_sent_one_by_one_at_the_pace_of_the_server(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let server = one_per_second(|received| match received.json() {
        Value::Array(_) => Reply::status(400),
        _ => Reply::ok("ok"),
    });
    add(&db, &["webhook", "--url", &server.url("/")]);
    put(&db, &notices_to("ops", 4));
    let run = deliver(&db, 0);
    assert_eq!(run.code, 0, "{}", run.snapshot());
    assert_eq!(deliveries(&db), ["DELIVERED|4"]);
    let sent = all_keys(&server);
    assert_eq!(sent[0].len(), 4);
    let mut single: Vec<String> = sent[1..].concat();
    single.dedup();
    assert_eq!(single, ["ops-000", "ops-001", "ops-002", "ops-003"]);
}

#[rstest]
fn groups_are_limited_and_slack_is_paced(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let arrivals: &'static Mutex<Vec<Instant>> = Box::leak(Box::default());
    let slack = HttpServer::answering(|_| {
        arrivals.lock().unwrap().push(Instant::now());
        Reply::ok("ok")
    });
    let desk = HttpServer::with([]);
    add_slack(&db, &slack);
    add_channel(&db, "desk", &["webhook", "--url", &desk.url("/")]);
    put(&db, &notices_to("team", 101));
    put(&db, &notices_to("desk", 101));
    let run = deliver(&db, 0);
    assert_eq!(run.code, 0, "{}", run.snapshot());
    let sizes: Vec<usize> = all_keys(&desk).iter().map(Vec::len).collect();
    assert_eq!(sizes, [100, 1]);
    let blocks = |received: &Received| received.json()["blocks"].as_array().unwrap().len();
    // A single notice has two blocks.
    let blocks: Vec<usize> = slack.received().iter().map(blocks).collect();
    assert_eq!(blocks, [50, 50, 2]);
    let arrivals = arrivals.lock().unwrap();
    assert!(arrivals[2] - arrivals[0] > Duration::from_millis(1_900));
}

#[rstest]
fn receiver_that_always_refuses_uses_few_attempts(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::answering(|_| {
        let header = ("Retry-After".to_owned(), "1".to_owned());
        Reply::Headers(429, vec![header], String::new())
    });
    add(&db, &["webhook", "--url", &server.url("/")]);
    put(&db, &notices_to("ops", 2));
    assert_eq!(deliver(&db, 0).code, 12);
    assert_eq!(server.received().len(), 4);
    let states = states(&db);
    assert!(
        states.iter().all(|it| it.contains("|WAITING|4|")),
        "{states:?}"
    );
}

#[rstest]
fn slow_channel_delays_no_other_and_no_run(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let arrivals: &'static Mutex<Vec<Instant>> = Box::leak(Box::default());
    let fast = HttpServer::answering(|_| {
        arrivals.lock().unwrap().push(Instant::now());
        Reply::ok("ok")
    });
    // Its name is the first, and its program takes one notice at a time.
    let slow = ["exec", "--timeout", "4s", "--", "sleep", "3"];
    add_channel(&db, "a-slow", &slow);
    add_channel(&db, "fast", &["webhook", "--url", &fast.url("/")]);
    put(&db, &notices_to("a-slow", 8));
    put(&db, &notices_to("fast", 8));
    let start = Instant::now();
    let run = db
        .usagectl(["alerts", "deliver", "--deliver-within", "8s"])
        .run();
    let time = start.elapsed();
    assert_eq!(run.code, 12, "{}", run.snapshot());
    assert!(
        run.stderr.contains("6 notices not delivered yet"),
        "{run:?}"
    );
    assert!(
        run.stderr
            .ends_with("next: usagectl alerts deliver --deliver-within 10m\n"),
        "{run:?}"
    );
    let delay = arrivals.lock().unwrap()[0] - start;
    assert!(delay < Duration::from_secs(2), "{delay:?}");
    let range = Duration::from_secs(6)..Duration::from_secs(10);
    assert!(range.contains(&time), "{time:?}");
    assert_eq!(deliveries(&db), ["DELIVERED|10", "WAITING|6"]);
    // The time limit does not apply to the first request of a channel.
    let short = ["alerts", "deliver", "--deliver-within", "0s"];
    db.usagectl(short).run();
    assert_eq!(deliveries(&db), ["DELIVERED|11", "WAITING|5"]);
}

/// A server that refuses its first request with these headers.
fn refusing(headers: &[(&str, &str)]) -> HttpServer {
    let headers = headers.iter();
    let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    HttpServer::with([Reply::Headers(429, headers.collect(), String::new())])
}

#[rstest]
fn retry_after_stops_all_notices_of_the_channel(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let server = refusing(&[("Retry-After", "3600")]);
    add(&db, &["webhook", "--url", &server.url("/")]);
    let put_one = |minute: i64| {
        let key = format!("n{minute}");
        put(&db, &[notice(&key, NoticeKind::Firing, &key, minute)]);
    };
    put_one(0);
    assert_eq!(check(&db, at(0)).code, 12);
    for minute in 1..=3 {
        put_one(minute);
        let run = check(&db, at(minute));
        // The failure was reported when it happened.
        assert_eq!(run.code, 12, "{}", run.snapshot());
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    }
    let deliver = db.usagectl(["alerts", "deliver"]).now(&at(3).to_rfc3339());
    let stderr = deliver.run().stderr;
    assert!(
        stderr.contains("next attempt at 2026-01-31T13:0"),
        "{stderr}"
    );
    assert!(
        stderr.ends_with("next: usagectl alerts deliver --force\n"),
        "{stderr}"
    );
    assert_eq!(server.received().len(), 1);
    let all = ["n0", "n1", "n2", "n3"];
    let forced = db.usagectl(["alerts", "deliver", "--force"]);
    forced.now(&at(4).to_rfc3339()).run().success();
    assert_eq!(all_keys(&server)[1..], [all]);
}

#[rstest]
fn retry_after_is_a_date_and_ends_when_the_channel_is_replaced(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    // The server's clock is a day ahead.
    let server = refusing(&[
        ("Date", "Sun, 01 Feb 2026 12:00:00 GMT"),
        ("Retry-After", "Sun, 01 Feb 2026 12:10:00 GMT"),
    ]);
    let webhook = ["webhook", "--url", &server.url("/")];
    add(&db, &webhook);
    put(&db, &[notice("n1", NoticeKind::Firing, "e1", 0)]);
    assert_eq!(deliver(&db, 0).code, 12);
    let listed = db.usagectl(["alerts", "channel", "list", "--format", "json"]);
    let listed: Value = serde_json::from_str(&listed.run().success().stdout).unwrap();
    let not_before = listed["channels"][0]["not_before"].as_str().unwrap();
    let not_before: DateTime<Utc> = not_before.parse().unwrap();
    assert_eq!((not_before - now()).num_minutes(), 10);
    put(&db, &[notice("n2", NoticeKind::Firing, "e2", 0)]);
    assert_eq!(deliver(&db, 9).code, 12);
    assert_eq!(server.received().len(), 1);
    add(&db, &[&["--replace"][..], &webhook].concat());
    assert_eq!(deliver(&db, 0).code, 0);
    assert_eq!(all_keys(&server)[1..], [["n1", "n2"]]);
}
