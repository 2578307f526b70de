//! Runs at the same time: checks and deliveries while another run is sending.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use usagectl::domain::alert::delivery::Notice;
use usagectl::domain::alert::notice::NoticeKind;

use super::deliver::{add, all_keys, notice, put, states};
use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alerts::{at, put_calls, put_one_rule};
use crate::support::http::{HttpServer, Reply};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

/// A server that answers after three seconds, and whether it has been asked.
fn slow_server() -> (HttpServer, &'static AtomicBool) {
    let asked: &'static AtomicBool = Box::leak(Box::default());
    let server = HttpServer::answering(|_| {
        asked.store(true, Ordering::Relaxed);
        thread::sleep(Duration::from_secs(3));
        Reply::ok("ok")
    });
    (server, asked)
}

fn wait_until(is_true: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(10));
    }
}

#[rstest]
fn check_during_a_slow_delivery_ends_normally(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let (server, asked) = slow_server();
    put_one_rule(&db);
    add(&db, &["--replace", "webhook", "--url", &server.url("/")]);
    for minute in 0..2 {
        put_calls(&db, "finnhub", minute, 50);
    }
    let check = |minute: i64| {
        let now = at(minute) + TimeDelta::seconds(20);
        db.usagectl(["alerts", "check"]).now(&now.to_rfc3339())
    };
    let first = check(1).spawn();
    wait_until(|| asked.load(Ordering::Relaxed));
    // It evaluates the same minute: its clock has not advanced.
    let second = check(1).run();
    assert_eq!(second.code, 0, "{}", second.snapshot());
    assert!(server.received().is_empty(), "the delivery was over");
    first.wait().success();
    assert_eq!(check(2).run().code, 0);
    assert_eq!(all_keys(&server).len(), 1);
}

#[rstest]
fn end_of_an_episode_waits_for_the_notice_in_flight(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let (server, asked) = slow_server();
    add(&db, &["webhook", "--url", &server.url("/")]);
    put(&db, &[notice("n1", NoticeKind::Firing, "e1", 0)]);
    let first = db.usagectl(["alerts", "deliver"]).spawn();
    wait_until(|| asked.load(Ordering::Relaxed));
    put(&db, &[notice("n2", NoticeKind::Resolved, "e1", 0)]);
    let second = db.usagectl(["alerts", "deliver"]).run();
    assert_eq!(second.code, 0, "{}", second.snapshot());
    first.wait().success();
    assert_eq!(states(&db), ["n1|DELIVERED|1|", "n2|WAITING|0|"]);
    db.usagectl(["alerts", "deliver"]).run().success();
    assert_eq!(all_keys(&server), [["n1"], ["n2"]]);
}

#[rstest]
fn deliveries_at_the_same_time_send_each_notice_once(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::with([]);
    let out = db.sandbox().work().join("out");
    let script = format!("echo $USAGECTL_NOTICE_KEY >>{}; sleep 0.1", out.display());
    add(&db, &["exec", "--", "sh", "-c", &script]);
    let desk = ["alerts", "channel", "add", "desk", "webhook", "--url"];
    db.usagectl(desk).arg(server.url("/")).run().success();
    for channel in ["ops", "desk"] {
        let notice = |number| {
            let key = format!("{channel}-{number}");
            Notice {
                channel: channel.to_owned(),
                ..notice(&key, NoticeKind::Firing, &key, 0)
            }
        };
        put(&db, &(0..15).map(notice).collect::<Vec<_>>());
    }
    let runs = [(); 3].map(|()| db.usagectl(["alerts", "deliver"]).spawn());
    for run in runs {
        run.wait().success();
    }
    let written = std::fs::read_to_string(out).unwrap();
    let mut keys: Vec<String> = written.lines().map(str::to_owned).collect();
    keys.extend(all_keys(&server).into_iter().flatten());
    let sent = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!((sent, keys.len()), (30, 30), "{keys:?}");
    let delivered = states(&db);
    let is_delivered = |state: &String| state.ends_with("|DELIVERED|1|");
    assert!(delivered.iter().all(is_delivered), "{delivered:?}");
}
