//! Notices about limits and recommendations: once for each change, through the channels of `alerts`.

use rstest::rstest;
use serde_json::Value;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alerts::put_channel;
use crate::support::http::{HttpServer, Reply};
use crate::support::{Engine, Run, TestDatabase};

/// A database with the limit of 256 MB of upstash free, which rejects writes.
fn prepare(engine: Engine) -> TestDatabase {
    let db = TestDatabase::migrated(engine);
    let init = ["limits", "init", "--plan", "upstash=free"];
    db.usagectl(init).run().success();
    db
}

/// A minute of the day.
fn at(minute: u32) -> String {
    format!("2026-01-31T12:{minute:02}:00Z")
}

/// Stores a measurement of storage in MB and runs the assessment.
fn run(db: &TestDatabase, minute: u32, storage_mb: u32, flags: &[&str]) -> Run {
    run_at(db, &at(minute), storage_mb, flags)
}

fn run_at(db: &TestDatabase, now: &str, storage_mb: u32, flags: &[&str]) -> Run {
    let set = "collect set --service VERCEL_KV --metric STORAGE_MB";
    db.usagectl(set.split(' '))
        .arg(storage_mb.to_string())
        .now(now)
        .run()
        .success();
    db.usagectl(["recommend", "run"].iter().chain(flags))
        .now(now)
        .run()
}

/// Kind and severity of the notices of limits, in order.
fn limits(db: &TestDatabase) -> Vec<String> {
    let history = [
        "alerts",
        "history",
        "--notices",
        "--last",
        "1d",
        "--format",
        "json",
    ];
    let run = db.usagectl(history).now(&at(59)).run().success();
    let history: Value = serde_json::from_str(&run.stdout).unwrap();
    let notices = history["notices"].as_array().unwrap().iter();
    let notices = notices.map(|it| &it["content"]);
    let limits = notices.filter(|it| it["alert_type"] == "LIMIT");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    limits
        .map(|it| format!("{} {}", text(&it["kind"]), text(&it["severity"])))
        .collect()
}

#[rstest]
fn each_change_of_a_limit_is_notified_once(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = prepare(engine);
    put_channel(&db, "ops");
    let quiet = |minute, storage_mb| run(&db, minute, storage_mb, &["-q"]).success().stdout;
    assert_eq!(quiet(0, 100), "");
    let warning = quiet(1, 200);
    let expected =
        "2026-01-31T12:01:00Z WARNING: VERCEL_KV STORAGE_MB (free) is at 200 MB of 256 MB, 78.1%";
    assert!(warning.starts_with(expected), "{warning}");
    // Nothing changes, so that cron sends no mail.
    assert_eq!(quiet(2, 201), "");
    let critical = quiet(3, 250);
    assert!(
        critical.contains("CRITICAL: VERCEL_KV STORAGE_MB"),
        "{critical}"
    );
    assert!(
        critical.contains("has a recommendation of priority"),
        "{critical}"
    );
    assert_eq!(quiet(4, 250), "");
    let watched = run(&db, 4, 250, &["-q", "--fail-on", "high"]);
    assert_eq!(
        (
            watched.code,
            watched.stdout.as_str(),
            watched.stderr.as_str()
        ),
        (11, "", "")
    );
    assert!(quiet(5, 256).contains("is at 256 MB of 256 MB, 100.0%"));
    let fallen = quiet(6, 220);
    assert!(
        fallen
            .contains("WARNING, less urgent than before: VERCEL_KV STORAGE_MB (free) is at 220 MB"),
        "{fallen}"
    );
    let resolved = quiet(7, 10);
    let expected = "RESOLVED: VERCEL_KV STORAGE_MB (free) is at 10 MB of 256 MB, 3.9%; fired from";
    assert!(resolved.contains(expected), "{resolved}");
    assert_eq!(quiet(8, 10), "");
    let day_later = |minute: u32| {
        let now = format!("2026-02-01T12:{minute:02}:00Z");
        run_at(&db, &now, 10, &["-q"]).success().stdout
    };
    assert_eq!(day_later(6), "");
    let expired = day_later(7);
    let expected = "RESOLVED: VERCEL_KV free has a recommendation that is now EXPIRED";
    assert!(expired.contains(expected), "{expired}");
    let expected = [
        "FIRING WARNING",
        "FIRING CRITICAL",
        "FIRING CRITICAL",
        "FIRING WARNING",
        "RESOLVED WARNING",
    ];
    assert_eq!(limits(&db), expected);
}

/// 91 and 80 % of 256 MB, and two runs in a row with the latter.
#[rstest]
fn usage_about_a_threshold_has_one_recommendation_and_the_exit_code_of_now(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = prepare(engine);
    put_channel(&db, "ops");
    let fail_on = ["-q", "--fail-on", "low"];
    let mut notified = 0;
    for (minute, storage_mb) in (0..).zip([233, 205, 205, 233, 205, 205, 233]) {
        let run = run(&db, minute, storage_mb, &fail_on);
        assert_eq!(run.code, if storage_mb == 233 { 11 } else { 0 }, "{run:?}");
        notified += run.stdout.matches("has a recommendation").count();
    }
    let all = "SELECT status FROM \"UpgradeRecommendation\"";
    assert_eq!((notified, db.rows(all)), (1, vec!["PENDING".to_owned()]));
    // The approved one keeps its figures, and the exit code follows the usage.
    let id = db
        .rows("SELECT id FROM \"UpgradeRecommendation\"")
        .remove(0);
    for step in ["review", "approve"] {
        let step = db.usagectl(["recommend", step, &id]).now(&at(7));
        step.run().success();
    }
    for (minute, storage_mb, code) in [(8, 205, 0), (9, 205, 0), (10, 250, 11)] {
        let run = run(&db, minute, storage_mb, &fail_on);
        assert_eq!(run.code, code, "{run:?}");
    }
    assert_eq!(db.rows(all), ["APPROVED"]);
    // Without measurements nothing is known, until it is closed.
    let ended = || {
        let run = ["recommend", "run", "--fail-on", "low"];
        db.usagectl(run).now("2026-04-01T12:00:00Z").run()
    };
    let unmeasured = ended();
    assert_eq!(unmeasured.code, 12, "{unmeasured:?}");
    let close = format!("usagectl recommend dismiss {id} --note TEXT");
    assert!(unmeasured.stderr.contains(&close), "{unmeasured:?}");
    let dismiss = ["recommend", "dismiss", &id, "--note", "gone"];
    db.usagectl(dismiss).run().success();
    assert_eq!(ended().code, 0);
}

#[rstest]
fn critical_threshold_without_a_forecast_has_a_margin(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = prepare(engine);
    put_channel(&db, "ops");
    let notified = |(minute, storage_mb): (u32, u32)| {
        let lines = run(&db, minute, storage_mb, &["-q"]).success().stdout;
        lines.contains("STORAGE_MB (free)")
    };
    // 91, 89 and 86 % of 256 MB, and 83.6 %, which is clearly below 90.
    let levels = [100, 233, 228, 233, 221, 233, 214, 233, 228];
    let all: Vec<bool> = (0..).zip(levels).map(notified).collect();
    let expected = [false, true, false, false, false, false, true, true, false];
    assert_eq!(all, expected);
}

/// 92 % by day and 84 % by night, below the critical threshold by more than the margin.
#[rstest]
fn daily_rhythm_is_notified_until_it_has_returned(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = prepare(engine);
    put_channel(&db, "ops");
    let notices = |day: u32, levels: [(u32, u32); 4]| -> usize {
        let notified = levels.map(|(hour, storage_mb)| {
            let now = format!("2026-02-{day:02}T{hour:02}:00:00Z");
            let lines = run_at(&db, &now, storage_mb, &["-q"]).success().stdout;
            lines.matches("STORAGE_MB (free)").count()
        });
        notified.into_iter().sum()
    };
    let rhythm = [(3, 215), (9, 235), (15, 235), (21, 215)];
    let all: Vec<usize> = (1..=8).map(|day| notices(day, rhythm)).collect();
    assert_eq!(all, [3, 1, 0, 0, 0, 0, 0, 0]);
    // A day below it is a fall.
    assert_eq!(notices(9, rhythm.map(|(hour, _)| (hour, 215))), 1);
}

/// 94 % on one day of the week, and 39 % on the others.
#[rstest]
fn weekly_rhythm_is_notified_until_it_has_returned(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = prepare(engine);
    put_channel(&db, "ops");
    let notices = |day: u32| {
        let storage_mb = if day % 7 == 2 { 240 } else { 100 };
        let now = format!("2026-02-{day:02}T12:00:00Z");
        let lines = run_at(&db, &now, storage_mb, &["-q"]).success().stdout;
        let lines = lines.lines().filter(|it| it.contains("STORAGE_MB (free)"));
        let start = |line: &str| line.split(": VERCEL").next().unwrap().to_owned();
        lines.map(start).collect::<Vec<_>>()
    };
    let all: Vec<String> = (1..=25).flat_map(notices).collect();
    let expected = [
        "2026-02-02T12:00:00Z CRITICAL",
        "2026-02-03T12:00:00Z RESOLVED",
        "2026-02-09T12:00:00Z CRITICAL, again after its end on 2026-02-03",
    ];
    assert_eq!(all, expected);
}

#[rstest]
fn early_notice_states_the_chance(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = prepare(engine);
    put_channel(&db, "ops");
    let mut last = String::new();
    for (day, storage_mb) in (20..26).zip([100, 109, 118, 127, 136, 145]) {
        let now = format!("2026-01-{day}T12:00:00Z");
        let set = "collect set --service VERCEL_KV --metric STORAGE_MB";
        let set = db
            .usagectl(set.split(' '))
            .arg(storage_mb.to_string())
            .now(&now);
        set.run().success();
        let run = db.usagectl(["recommend", "run", "-q"]).now(&now).run();
        last = run.success().stdout;
        if !last.is_empty() {
            break;
        }
    }
    let reason = "% chance to be full within ";
    assert!(last.contains(reason), "{last}");
    let page = db.usagectl(["recommend", "list", "--format=json"]);
    let list: Value = serde_json::from_str(&page.run().success().stdout).unwrap();
    let it = &list["recommendations"][0];
    let reason = it["reason"].as_str().unwrap();
    assert!(reason.contains("(a chance of "), "{reason}");
}

#[rstest]
fn thresholds_reached_after_an_urgent_forecast_are_notified(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = prepare(engine);
    put_channel(&db, "ops");
    let day = |day: u32, storage_mb: u32| {
        let now = format!("2026-01-{day:02}T12:00:00Z");
        let set = "collect set --service VERCEL_KV --metric STORAGE_MB";
        let set = db.usagectl(set.split(' ')).arg(storage_mb.to_string());
        set.now(&now).run().success();
        let run = db.usagectl(["recommend", "run", "-q"]).now(&now).run();
        let lines = run.success().stdout;
        lines
            .lines()
            .filter(|line| line.contains("STORAGE_MB (free)"))
            .count()
    };
    let levels = [100, 101, 150, 195, 196, 235, 236, 256, 257];
    let numbers: Vec<usize> = (20..)
        .zip(levels)
        .map(|(at, level)| day(at, level))
        .collect();
    // Likely within days, the warning and the critical threshold, the limit.
    assert_eq!(numbers, [0, 0, 1, 1, 0, 1, 0, 1, 0]);
}

#[rstest]
fn closed_recommendation_is_notified(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = prepare(engine);
    put_channel(&db, "ops");
    run(&db, 0, 250, &[]).success();
    let id = db
        .rows("SELECT id FROM \"UpgradeRecommendation\"")
        .remove(0);
    db.usagectl(["recommend", "dismiss", &id, "--note", "we delete data"])
        .now(&at(1))
        .run()
        .success();
    let closed = run(&db, 2, 250, &["-q"]).success().stdout;
    let expected = "RESOLVED: VERCEL_KV free has a recommendation that is now DISMISSED";
    assert!(closed.contains(expected), "{closed}");
    assert_eq!(run(&db, 3, 250, &["-q"]).success().stdout, "");
}

#[rstest]
fn old_measurements_are_notified_once_and_never_as_resolved(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = prepare(engine);
    put_channel(&db, "ops");
    run(&db, 0, 250, &["-q"]).success();
    let quiet = |day: &str| {
        let run = db.usagectl(["recommend", "run", "-q"]);
        run.now(&format!("{day}T12:00:00Z")).run().success().stdout
    };
    let unknown = quiet("2026-02-06");
    let expected =
        "UNKNOWN: VERCEL_KV STORAGE_MB (free) was at 250 MB of 256 MB; newest value is 6d old";
    assert!(unknown.contains(expected), "{unknown}");
    assert_eq!(quiet("2026-02-07"), "");
    // It stays open, not reproduced for more than a week.
    for day in 8..14 {
        let watched = db.usagectl(["recommend", "run", "-q", "--fail-on", "low"]);
        let watched = watched.now(&format!("2026-02-{day:02}T12:00:00Z")).run();
        assert_eq!((watched.code, watched.stdout.as_str()), (11, ""), "{day}");
    }
    let old = quiet("2026-02-15");
    let expected = "UNKNOWN: VERCEL_KV free has a recommendation whose measurements are older than 14 days; usagectl recommend show ";
    assert!(old.contains(expected), "{old}");
    assert!(!old.contains("RESOLVED"), "{old}");
    assert_eq!(quiet("2026-02-16"), "");
    // Unknown is never healthy: with --dry-run too.
    for more in [&["critical"][..], &["low", "--dry-run"]] {
        let watched = [&["recommend", "run", "--fail-on"], more].concat();
        let watched = db.usagectl(watched).now("2026-02-16T12:00:00Z").run();
        assert_eq!(watched.code, 12, "{watched:?}");
        let next =
            "next: measure it by `usagectl collect run`, or close it: usagectl recommend dismiss ";
        assert!(watched.stderr.starts_with(next), "{watched:?}");
    }
    let set = "collect set --service VERCEL_KV --metric STORAGE_MB 250";
    let set = db.usagectl(set.split(' ')).now("2026-02-17T11:00:00Z");
    set.run().success();
    let known = quiet("2026-02-17");
    for expected in [
        "CRITICAL: VERCEL_KV STORAGE_MB (free) is at 250 MB of 256 MB",
        "WARNING: VERCEL_KV free has a recommendation of priority HIGH",
    ] {
        assert!(known.contains(expected), "{known}");
    }
    assert_eq!(quiet("2026-02-17"), "");
}

#[rstest]
fn undelivered_notice_is_sent_by_the_next_run(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = prepare(engine);
    let server = HttpServer::with([Reply::status(500), Reply::ok(""), Reply::ok("")]);
    let add = ["alerts", "channel", "add", "ops", "webhook", "--url"];
    db.usagectl(add).arg(server.url("/hook")).run().success();
    let failed = run(&db, 0, 250, &["-q"]);
    assert_eq!(failed.code, 12, "{}", failed.snapshot());
    // Nothing is due, and the notices still wait.
    let waiting = run(&db, 0, 250, &["-q"]);
    for run in [failed, waiting] {
        let error = "error: 2 notices not delivered yet; next attempt at ";
        assert!(
            run.code == 12 && run.stderr.contains(error),
            "{}",
            run.snapshot()
        );
    }
    run(&db, 5, 250, &["-q"]).success();
    let received = server.received();
    assert_eq!(received.len(), 2);
    // The same notices, with the same key.
    assert_eq!(received[0].body, received[1].body);
    let body: Value = serde_json::from_str(&received[0].body).unwrap();
    let limit = &body[0];
    assert_eq!(limit["alert_id"], "capacity/limit/VERCEL_KV/STORAGE_MB/");
    assert_eq!(limit["api_name"], "VERCEL_KV STORAGE_MB");
    assert_eq!(
        (&limit["limit_value"], &limit["level"]),
        (&256.0.into(), &3.into())
    );
    assert_eq!(body[1]["alert_type"], "RECOMMENDATION");
    run(&db, 6, 250, &["-q"]).success();
    assert_eq!(server.received().len(), 2);
}

#[rstest]
fn silence_dry_run_and_no_send_send_nothing(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = prepare(engine);
    put_channel(&db, "ops");
    let silence = "alerts silence add --api VERCEL_KV* --for 5m --reason load-test";
    db.usagectl(silence.split(' ')).now(&at(0)).run().success();
    assert_eq!(run(&db, 1, 250, &["-q"]).success().stdout, "");
    let dry = run(&db, 6, 250, &["--dry-run"]).success().stdout;
    assert!(!dry.contains("CRITICAL: VERCEL_KV"), "{dry}");
    assert_eq!(run(&db, 7, 250, &["-q", "--no-send"]).success().stdout, "");
    assert_eq!(limits(&db), ["FIRING CRITICAL"]);
    let sent = db.usagectl(["alerts", "deliver", "-q"]).now(&at(8)).run();
    assert!(
        sent.success()
            .stdout
            .contains("CRITICAL: VERCEL_KV STORAGE_MB")
    );
}
