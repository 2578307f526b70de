//! `alerts check`: data that arrives or changes after its steps were evaluated, and clocks that are wrong.

use chrono::{DateTime, TimeDelta, Utc};
use rstest::rstest;

use super::check::{check_with, checked, json};
use crate::commands::aggregate::drop_all_triggers;
use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alerts::{at, put_calls, put_channel, put_rule};
use crate::support::calls::{Call, insert, insert_sql};
use crate::support::{Engine, Run, TestDatabase};

/// A rule of tmdb that fires at ten failed calls a minute, checked at minute 5. One call succeeds each minute.
fn put_spike(db: &TestDatabase) {
    put_rule(db, "rule", "tmdb", "ERROR_SPIKE", "10", "MINUTE");
    put_channel(db, "ops");
    for minute in 0..15 {
        put_calls(db, "tmdb", minute, 1);
    }
    checked(db, 5).success();
}

/// `count` failed calls in a minute.
fn failures(minute: i64, count: i64) -> Vec<Call> {
    let call = |n: i64| Call {
        at: at(minute) + TimeDelta::milliseconds(n),
        success: false,
        status: Some(500),
        ..Call::new(
            &format!("{minute}-{n}"),
            "tmdb",
            crate::support::program::NOW,
        )
    };
    (0..count).map(call).collect()
}

fn delete(db: &TestDatabase, minute: i64) {
    db.execute(&format!("DELETE FROM api_usage WHERE id LIKE '{minute}-%'"));
}

/// Kind, beginning and end of each notice.
fn notices(db: &TestDatabase) -> Vec<String> {
    let history = [
        "alerts",
        "history",
        "--notices",
        "--format",
        "json",
        "--last",
        "90d",
    ];
    let notices = json(
        db.usagectl(history)
            .now("2026-03-01T00:00:00Z")
            .run()
            .success(),
    );
    let time = |text: &serde_json::Value| {
        text.as_str()
            .map_or("-".to_owned(), |it| it[11..16].to_owned())
    };
    let of = |notice: &serde_json::Value| {
        let notice = &notice["content"];
        let kind = notice["kind"].as_str().unwrap();
        format!(
            "{kind} {} {}",
            time(&notice["fired_at"]),
            time(&notice["ended_at"])
        )
    };
    notices["notices"]
        .as_array()
        .unwrap()
        .iter()
        .map(of)
        .collect()
}

fn late_hours(db: &TestDatabase) -> Vec<String> {
    db.rows("SELECT count(*) FROM usagectl_late_hours")
}

#[rstest]
fn batch_after_its_minute_is_notified_once(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_spike(&db);
    insert(&db, &failures(3, 50));
    checked(&db, 6).success();
    checked(&db, 90).success();
    assert_eq!(notices(&db), ["LATE 12:04 12:05"]);
    let summary = db.rows("SELECT content FROM usagectl_notices");
    assert!(
        summary[0].contains("found at 2026-01-31T12:06:20Z in data that arrived late"),
        "{summary:?}"
    );
    // The history is the one that a replay finds.
    let backtest = [
        "alerts",
        "backtest",
        "rule",
        "--from",
        "2026-01-31T12:00:00Z",
        "--to",
        "2026-01-31T12:10:00Z",
        "--diff",
        "--format",
        "json",
    ];
    let replay = json(db.usagectl(backtest).run().success());
    let only_in = |side: &str| replay[side][0]["only_in"].clone();
    assert_eq!(
        [only_in("episodes"), only_in("compared_episodes")],
        [(); 2].map(|()| serde_json::Value::Null)
    );
    assert_eq!(
        replay["compared_episodes"].as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(late_hours(&db), ["0"]);
}

#[rstest]
fn nightly_import_fires_the_rule_of_yesterday(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rule(&db, "rule", "openai", "COST_THRESHOLD", "100", "DAY");
    put_channel(&db, "ops");
    let set = ["alerts", "set", "rule", "--window", "calendar"];
    db.usagectl(set).run().success();
    let check = |now: &str| db.usagectl(["alerts", "check", "--no-send"]).now(now).run();
    let line = |hour: i64, cost: f64| {
        let at = at(0) - TimeDelta::hours(11 - hour);
        format!(
            "{{\"api_name\":\"openai\",\"timestamp\":\"{}\",\"cost_credits\":{cost}}}\n",
            at.to_rfc3339()
        )
    };
    let record = |text: &str, now: &str| {
        db.usagectl(["record", "-"])
            .stdin(text)
            .now(now)
            .run()
            .success();
    };
    record(&line(0, 0.01), "2026-01-31T01:00:00Z");
    for hour in [2, 12, 23] {
        check(&format!("2026-01-31T{hour:02}:00:20Z")).success();
    }
    check("2026-02-01T00:00:20Z").success();
    record(&line(23, 0.01), "2026-02-01T00:00:50Z");
    let day: String = (0..10).map(|hour| line(hour + 8, 50.0)).collect();
    record(&day, "2026-02-01T00:10:00Z");
    check("2026-02-01T00:10:20Z").success();
    check("2026-02-01T00:11:20Z").success();
    // The second call of 50 credits, at 10:00, reaches 100; at midnight the day ends.
    assert_eq!(notices(&db), ["LATE 10:01 00:01"]);
}

#[test]
fn transaction_that_commits_after_the_check_is_evaluated_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    put_spike(&db);
    let mut open = db.open_transaction(&insert_sql(Postgresql, &failures(5, 20)));
    // Eighty seconds later it still is not committed.
    checked(&db, 6).success();
    checked(&db, 7).success();
    assert_eq!(notices(&db), [""; 0]);
    usagectl::store::db::Db::batch_execute(&mut open, "COMMIT").unwrap();
    checked(&db, 8).success();
    assert_eq!(notices(&db), ["LATE 12:06 12:07"]);
}

#[rstest]
fn aggregate_between_record_and_check_hides_nothing(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_spike(&db);
    insert(&db, &failures(3, 50));
    db.usagectl(["aggregate"]).run().success();
    assert_eq!(db.rows("SELECT count(*) FROM usagectl_dirty_hours"), ["0"]);
    assert_eq!(late_hours(&db), ["1"]);
    checked(&db, 6).success();
    assert_eq!(notices(&db), ["LATE 12:04 12:05"]);
}

#[rstest]
fn check_keeps_the_dirty_hours_for_aggregate(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_spike(&db);
    insert(&db, &failures(3, 50));
    insert(&db, &failures(4, 1));
    checked(&db, 6).success();
    let dirty = "SELECT api_name, seen FROM usagectl_dirty_hours";
    assert_eq!(db.rows(dirty).len(), 1);
    db.usagectl(["aggregate"]).run().success();
    // The hour was seen: it is not late a second time.
    assert_eq!(late_hours(&db), ["0"]);
    let rolled_up =
        "SELECT total_requests FROM api_usage_aggregates WHERE aggregation_type = 'HOURLY'";
    assert_eq!(db.rows(rolled_up), ["66"]);
    delete(&db, 4);
    checked(&db, 7).success();
    // The hour of the oldest row: its deletions are not followed by themselves.
    db.usagectl(["aggregate", "--rebuild"]).run().success();
    assert_eq!(db.rows(rolled_up), ["65"]);
}

#[rstest]
fn deleted_rows_correct_the_history(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_spike(&db);
    insert(&db, &failures(5, 20));
    checked(&db, 6).success();
    db.execute("UPDATE usagectl_notices SET delivery = 'DELIVERED', attempts = 1, delivered_at = created_at");
    delete(&db, 5);
    let corrected = json(check_with(&db, 7, &["--format", "json"]).success());
    assert_eq!(
        (&corrected["withdrawn"], &corrected["firing"]),
        (&1.into(), &0.into())
    );
    assert_eq!(notices(&db), ["FIRING 12:06 -", "RESOLVED 12:06 12:07"]);
    let resolved = db.rows("SELECT content FROM usagectl_notices WHERE kind = 'RESOLVED'");
    assert!(
        resolved[0].contains("its data changed: by the current data it did not fire"),
        "{resolved:?}"
    );
    let history = db
        .usagectl(["alerts", "history"])
        .now("2026-01-31T13:00:00Z")
        .run();
    let history = history.success().stdout;
    assert!(
        history.contains("corrected at 2026-01-31T12:07:20Z"),
        "{history}"
    );
    // The same rows again: the event is valid again, and the channel is reminded.
    insert(&db, &failures(5, 20));
    checked(&db, 8).success();
    let valid = "SELECT to_state FROM usagectl_alert_events WHERE withdrawn_at IS NULL ORDER BY at";
    assert_eq!(db.rows(valid), ["FIRING", "OK"]);
}

#[rstest]
fn check_that_fails_to_save_leaves_the_late_hours(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_spike(&db);
    let (refuse, allow) = match engine {
        Sqlite => (
            "CREATE TRIGGER refuse BEFORE INSERT ON usagectl_notices BEGIN SELECT RAISE(ABORT, 'refused'); END",
            "DROP TRIGGER refuse",
        ),
        Postgresql => (
            "ALTER TABLE usagectl_notices ADD CONSTRAINT refuse CHECK (kind <> 'LATE')",
            "ALTER TABLE usagectl_notices DROP CONSTRAINT refuse",
        ),
    };
    db.execute(refuse);
    insert(&db, &failures(3, 50));
    assert_ne!(checked(&db, 6).code, 0);
    assert_eq!(
        (late_hours(&db), notices(&db)),
        (vec!["1".to_owned()], vec![])
    );
    db.execute(allow);
    checked(&db, 7).success();
    assert_eq!(notices(&db), ["LATE 12:04 12:05"]);
}

#[rstest]
fn clock_twenty_hours_ahead_switches_nothing_off(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_spike(&db);
    let ahead = "2026-02-01T08:00:30Z";
    db.usagectl(["alerts", "check", "--no-send"])
        .now(ahead)
        .run()
        .success();
    let status = ["alerts", "status", "--nagios"];
    let status = db.usagectl(status).now("2026-01-31T12:06:00Z").run();
    assert_eq!(status.code, 3);
    assert!(status.stdout.contains("in the future"), "{}", status.stdout);
    insert(&db, &failures(9, 500));
    let back = check_with(&db, 12, &["--nagios"]);
    assert!(
        back.stderr.contains("the clock was wrong"),
        "{}",
        back.stderr
    );
    assert_eq!(notices(&db), ["LATE 12:10 12:11"]);
    insert(&db, &failures(12, 500));
    let firing = check_with(&db, 13, &["--fail-on", "warning"]);
    assert_eq!((firing.code, firing.stderr.contains("clock")), (10, false));
    assert_eq!(notices(&db), ["LATE 12:10 12:11", "FIRING 12:13 -"]);
}

#[rstest]
fn rows_after_the_first_check_do_not_correct_it(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rule(&db, "rule", "tmdb", "ERROR_SPIKE", "10", "MINUTE");
    put_channel(&db, "ops");
    insert(&db, &failures(0, 20));
    checked(&db, 1).success();
    put_calls(&db, "tmdb", 2, 1);
    let second = checked(&db, 3).success();
    assert!(!second.stdout.contains("withdrawn"), "{}", second.stdout);
    let states = "SELECT to_state FROM usagectl_alert_events ORDER BY at";
    assert_eq!(db.rows(states), ["FIRING", "OK"]);
}

#[rstest]
fn call_of_the_future_exits_12(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let check = |args: &[&str]| -> Run {
        let program = db.usagectl(["alerts", "check", "--no-send"].iter().chain(args));
        program.without_env("USAGECTL_NOW").run()
    };
    put_rule(&db, "rule", "tmdb", "ERROR_SPIKE", "10", "MINUTE");
    put_calls(&db, "tmdb", 0, 1);
    check(&[]).success();
    let later = Call {
        at: DateTime::from_timestamp_secs(Utc::now().timestamp() + 600).unwrap(),
        ..Call::new("later", "tmdb", crate::support::program::NOW)
    };
    insert(&db, &[later]);
    let found = check(&[]);
    assert_eq!(found.code, 12);
    assert!(
        found.stderr.contains("but a call was recorded for"),
        "{}",
        found.stderr
    );
    let status = db.usagectl(["alerts", "status", "--nagios"]);
    let status = status.without_env("USAGECTL_NOW").run();
    for nagios in [check(&["--nagios"]), status] {
        assert_eq!(
            (nagios.code, nagios.stdout.starts_with("UNKNOWN - it is ")),
            (3, true)
        );
    }
}

#[rstest]
fn rule_waits_as_long_as_its_own_settle_time(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_spike(&db);
    let run = db
        .usagectl(["alerts", "set", "rule", "--settle", "25h"])
        .run();
    assert_eq!(run.code, 2, "{}", run.stderr);
    db.usagectl(["alerts", "set", "rule", "--settle", "3m"])
        .run()
        .success();
    insert(&db, &failures(6, 20));
    checked(&db, 8).success();
    assert_eq!(notices(&db), [""; 0]);
    checked(&db, 10).success();
    assert_eq!(notices(&db), ["FIRING 12:07 -"]);
    db.usagectl(["alerts", "set", "rule", "--settle", "none"])
        .run()
        .success();
    checked(&db, 11).success();
    assert_eq!(notices(&db).len(), 2);
}

#[rstest]
fn gap_beyond_catch_up_is_notified_and_shown(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_spike(&db);
    let found = json(check_with(&db, 200, &["--max-catch-up", "1h", "--format", "json"]).success());
    assert_eq!(found["skipped_from"], "2026-01-31T12:05:00.000Z");
    assert_eq!(found["skipped_to"], "2026-01-31T14:20:00.000Z");
    assert_eq!(notices(&db), ["SKIPPED 12:05 14:20"]);
}

#[rstest]
fn without_triggers_the_last_hour_is_evaluated_again(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_spike(&db);
    db.execute(match engine {
        Sqlite => "DROP TRIGGER usagectl_after_insert",
        Postgresql => "DROP TRIGGER usagectl_after_insert ON api_usage",
    });
    insert(&db, &failures(3, 50));
    let run = checked(&db, 6);
    assert!(
        run.stderr.contains("the triggers on api_usage are missing"),
        "{}",
        run.stderr
    );
    assert_eq!(notices(&db), ["LATE 12:04 12:05"]);
}

#[rstest]
fn hour_marked_before_the_triggers_were_lost_is_evaluated_again(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    put_spike(&db);
    checked(&db, 200).success();
    insert(&db, &failures(3, 50));
    db.execute(match engine {
        Sqlite => "DROP TRIGGER usagectl_after_insert",
        Postgresql => "DROP TRIGGER usagectl_after_insert ON api_usage",
    });
    checked(&db, 201);
    assert_eq!(notices(&db), ["LATE 12:04 12:05"]);
}

#[rstest]
fn without_triggers_by_choice_late_rows_are_found_as_with_them(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let found = ["triggers", "lookback"].map(|mode| {
        let db = TestDatabase::migrated(engine);
        put_spike(&db);
        if mode == "lookback" {
            drop_all_triggers(&db);
        }
        db.usagectl(["aggregate", "--mode", mode]).run().success();
        // Later than the last hour.
        insert(&db, &failures(3, 50));
        let run = checked(&db, 130);
        assert!(!run.stderr.contains("triggers"), "{}", run.stderr);
        delete(&db, 3);
        checked(&db, 131);
        notices(&db)
    });
    let [with, without] = found;
    assert!(with.contains(&"LATE 12:04 12:05".to_owned()), "{with:?}");
    assert_eq!(with, without);
}
