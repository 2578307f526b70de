//! `alerts check`: evaluation, and the events and notices that it saves.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use crate::support::assert_snapshot;
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, Utc};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use usagectl::store::lock::RunKind;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alerts::{
    at, put_calls, put_channel, put_limit, put_one_rule, put_rule, put_settings,
};
use crate::support::calls::{Call, insert};
use crate::support::http::{HttpServer, Received};
use crate::support::program::NOW;
use crate::support::{Engine, Run, Running, TestDatabase};
use rstest::rstest;

/// A check 20 seconds after this minute.
pub(super) fn check_with(db: &TestDatabase, minute: i64, args: &[&str]) -> Run {
    let now = at(minute) + TimeDelta::seconds(20);
    let program = db.usagectl(["alerts", "check", "--no-send"].iter().chain(args));
    program.now(&now.to_rfc3339()).run()
}

pub(super) fn checked(db: &TestDatabase, minute: i64) -> Run {
    check_with(db, minute, &[])
}

pub(super) fn json(run: Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap()
}

/// Marks all waiting notices as delivered.
fn deliver(db: &TestDatabase) {
    db.execute(
        "UPDATE usagectl_notices SET delivery = 'DELIVERED', delivered_at = created_at
         WHERE delivery = 'WAITING'",
    );
}

/// The events, in order of time.
fn events(db: &TestDatabase) -> Vec<String> {
    db.rows(
        "SELECT substr(CAST(at AS TEXT), 12, 5), api_name, kind, from_state, to_state, severity, value, note
         FROM usagectl_alert_events ORDER BY at, api_name, kind",
    )
}

fn notices(db: &TestDatabase) -> Vec<String> {
    db.rows(
        "SELECT kind, channel, delivery FROM usagectl_notices
         ORDER BY created_at, CASE kind WHEN 'RESOLVED' THEN 0 ELSE 1 END, kind, channel",
    )
}

#[rstest]
fn rule_goes_through_pending_firing_recovering_to_ok(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    put_settings(&db, "rule", 2, "60", 2);
    for (minute, count) in [
        (0, 10),
        (1, 50),
        (2, 55),
        (3, 50),
        (4, 40),
        (5, 30),
        (6, 10),
        (7, 1),
    ] {
        put_calls(&db, "finnhub", minute, count);
    }
    let quiet = checked(&db, 1).success();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    assert_snapshot!(checked(&db, 2).success().stdout, @"
        AT                    API      TYPE                PERIOD  EVENT          VALUE  THRESHOLD  NOTE
        2026-01-31T12:02:00Z  finnhub  RATE_LIMIT_WARNING  MINUTE  OK -> PENDING  83.3%      80.0%
        1 event, 0 new notices
        ");
    for minute in 3..=4 {
        checked(&db, minute).success();
    }
    let found = json(check_with(&db, 4, &["--format", "json"]).success());
    assert_eq!(found["firing"], 1);
    assert_eq!(found["findings"][0]["value"], 100.0 * 50.0 / 60.0);
    assert_eq!(found["findings"][0]["limit_value"], 60.0);
    let failed = check_with(&db, 4, &["--fail-on", "warning"]);
    assert_eq!(failed.code, 10);
    assert!(
        failed.stderr.ends_with("alerts show rule\n"),
        "{}",
        failed.stderr
    );
    check_with(&db, 4, &["--fail-on", "critical"]).success();
    deliver(&db);
    for minute in 5..=9 {
        checked(&db, minute).success();
    }
    assert_eq!(
        events(&db),
        [
            "12:02|finnhub|STATE|OK|PENDING|NULL|83.33333333333333|NULL",
            "12:04|finnhub|STATE|PENDING|FIRING|WARNING|83.33333333333333|NULL",
            "12:06|finnhub|STATE|FIRING|RECOVERING|WARNING|50|NULL",
            "12:08|finnhub|STATE|RECOVERING|OK|WARNING|1.6666666666666667|NULL",
        ]
    );
    assert_eq!(
        notices(&db),
        ["FIRING|ops|DELIVERED", "RESOLVED|ops|WAITING"]
    );
    let fired = db.rows("SELECT last_triggered, updated_at FROM api_alerts");
    assert_eq!(
        fired,
        ["2026-01-31T12:04:00.000+00:00|2026-01-31T12:04:20.000+00:00"]
    );
}

#[rstest]
fn oscillation_about_threshold_sends_two_notices(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    put_settings(&db, "rule", 0, "60", 0);
    for minute in 0..60 {
        put_calls(
            &db,
            "finnhub",
            minute,
            if minute % 2 == 0 { 47 } else { 49 },
        );
    }
    put_calls(&db, "finnhub", 61, 1);
    for minute in (1..=66).step_by(5) {
        checked(&db, minute).success();
        deliver(&db);
    }
    assert_eq!(
        notices(&db),
        ["FIRING|ops|DELIVERED", "RESOLVED|ops|DELIVERED"]
    );
}

#[rstest]
fn six_missed_hours_are_caught_up(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    put_settings(&db, "rule", 2, "60", 0);
    checked(&db, 0).success();
    // Over the threshold for three minutes, twice, and again when the checks resume.
    for minute in [60, 61, 62, 200, 201, 202, 203, 358, 359, 360, 361] {
        put_calls(&db, "finnhub", minute, 50);
    }
    for minute in [63, 204] {
        put_calls(&db, "finnhub", minute, 1);
    }
    let caught_up = json(check_with(&db, 361, &["--format", "json"]).success());
    assert_eq!(caught_up["events"].as_array().unwrap().len(), 3 + 3 + 2);
    assert_eq!(
        notices(&db),
        [
            "FIRING|ops|WAITING",
            "MISSED|ops|WAITING",
            "MISSED|ops|WAITING"
        ]
    );
    let expected = events(&db);

    // A check at each of these minutes finds the same.
    db.execute("DELETE FROM usagectl_alert_states");
    db.execute("DELETE FROM usagectl_alert_events");
    checked(&db, 0).success();
    for minute in [
        1, 59, 61, 62, 63, 64, 199, 202, 203, 204, 205, 359, 360, 361,
    ] {
        checked(&db, minute).success();
    }
    assert_eq!(events(&db), expected);
}

#[rstest]
fn gap_beyond_catch_up_is_recorded_as_skipped(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    checked(&db, 0).success();
    put_calls(&db, "finnhub", 10, 50);
    put_calls(&db, "finnhub", 1_500, 1);
    check_with(&db, 1_510, &["--max-catch-up", "1h"]).success();
    assert_eq!(
        events(&db),
        [
            "12:00|finnhub|SKIPPED|NULL|NULL|NULL|NULL|2026-01-31T12:00:00Z to 2026-02-01T12:10:00Z: \
              longer ago than the maximum catch-up time"
        ]
    );
}

#[rstest]
fn states_are_printed_under_verbose_and_when_they_decide_the_exit_code(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    put_calls(&db, "finnhub", 1, 50);
    assert_eq!(
        check_with(&db, 2, &["--quiet"]).snapshot(),
        "[exit status: 0]\n"
    );
    // Without changes.
    assert_eq!(checked(&db, 2).snapshot(), "[exit status: 0]\n");
    let states = "FIRING  WARNING   finnhub  RATE_LIMIT_WARNING  MINUTE  2026-01-31T12:02:00Z  83.3 % of 60 per minute, threshold 80 %\n\
                  0 events, 0 new notices\n";
    let verbose = check_with(&db, 2, &["--verbose"]).success();
    assert!(verbose.stdout.ends_with(states), "{verbose:?}");
    let failing = check_with(&db, 2, &["--fail-on", "warning"]);
    assert_eq!(failing.code, 10);
    assert!(failing.stdout.ends_with(states), "{failing:?}");
    assert_eq!(failing.stderr, "next: usagectl alerts show rule\n");
    put_calls(&db, "finnhub", 2, 1);
    check_with(&db, 3, &["--quiet"]).success();
    let verbose = check_with(&db, 3, &["--verbose"]).success();
    assert_eq!(
        verbose.stdout,
        "all rules are OK\n0 events, 0 new notices\n"
    );
}

#[rstest]
fn rule_without_limit_is_unknown_and_names_next_command(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values(false, true)] is_quiet: bool,
) {
    let db = TestDatabase::migrated(engine);
    put_rule(&db, "rule", "finnhub", "RATE_LIMIT_WARNING", "80", "MINUTE");
    put_calls(&db, "finnhub", 0, 1);
    if is_quiet {
        let quiet = check_with(&db, 1, &["-q"]);
        assert_eq!(
            (quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()),
            (12, "", "")
        );
        return;
    }
    let unknown = checked(&db, 1);
    assert_snapshot!(unknown.snapshot(), @"
        AT                    API      TYPE                PERIOD  EVENT         VALUE  THRESHOLD  NOTE
        2026-01-31T12:01:00Z  finnhub  RATE_LIMIT_WARNING  MINUTE  - -> UNKNOWN      -      80.0%  no limit per MINUTE is set
        1 event, 0 new notices
        ------- stderr -------
        next: usagectl limits set --api finnhub --per MINUTE N
        [exit status: 12]
        ");
    let nagios = check_with(&db, 1, &["--nagios"]);
    assert_eq!(nagios.code, 3);
    assert!(
        nagios
            .stdout
            .starts_with("UNKNOWN - finnhub RATE_LIMIT_WARNING MINUTE: no limit")
    );
    put_limit(&db, "finnhub", "MINUTE", 60);
    checked(&db, 2).success();
    assert_eq!(
        check_with(&db, 2, &["--nagios"]).success().stdout,
        "OK - 1 rule, none firing | firing=0 pending=0 unknown=0 undelivered=0 \
         'finnhub/RATE_LIMIT_WARNING/MINUTE'=0%;80\n"
    );
}

#[rstest]
fn api_without_calls_is_unknown(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rule(&db, "rule", "finhub", "COST_THRESHOLD", "80", "DAY");
    let run = checked(&db, 1);
    assert_eq!(run.code, 12);
    assert!(run.stdout.contains("no call to this API was recorded"));
}

#[rstest]
fn removed_rule_resolves_once(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    put_calls(&db, "finnhub", 0, 50);
    checked(&db, 1).success();
    deliver(&db);
    db.execute("DELETE FROM api_alerts");
    for minute in 2..5 {
        checked(&db, minute).success();
    }
    assert_eq!(
        notices(&db),
        ["FIRING|ops|DELIVERED", "RESOLVED|ops|WAITING"]
    );
    assert_eq!(
        events(&db)[1],
        "12:02|finnhub|SETTLED|FIRING|NULL|WARNING|83.33333333333333|the rule was removed"
    );
    assert_eq!(db.rows("SELECT * FROM usagectl_alert_states"), [""; 0]);
}

#[rstest]
fn disabled_or_changed_rule_resolves_once(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    put_rule(&db, "other", "tmdb", "RATE_LIMIT_WARNING", "80", "MINUTE");
    put_limit(&db, "tmdb", "MINUTE", 60);
    put_limit(&db, "themoviedb", "MINUTE", 60);
    for api in ["finnhub", "tmdb", "themoviedb"] {
        put_calls(&db, api, 0, 50);
        put_calls(&db, api, 1, 10);
    }
    checked(&db, 1).success();
    deliver(&db);
    db.execute("UPDATE api_alerts SET enabled = false WHERE id = 'rule'");
    db.execute("UPDATE api_alerts SET api_name = 'themoviedb' WHERE id = 'other'");
    for minute in 2..5 {
        checked(&db, minute).success();
    }
    let settled: Vec<_> = events(&db)
        .into_iter()
        .filter(|event| event.contains("SETTLED"))
        .collect();
    assert_eq!(
        settled,
        [
            "12:02|finnhub|SETTLED|FIRING|NULL|WARNING|83.33333333333333|the rule is disabled",
            "12:02|tmdb|SETTLED|FIRING|NULL|WARNING|83.33333333333333|the rule was changed",
        ]
    );
    let resolved = notices(&db)
        .into_iter()
        .filter(|notice| notice.starts_with("RESOLVED"));
    assert_eq!(resolved.count(), 2);
}

#[rstest]
fn unreadable_columns_end_no_check(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    let nan = match db.engine() {
        Engine::Sqlite => "'a lot'",
        Engine::Postgresql => "'NaN'",
    };
    put_rule(
        &db,
        "",
        "=1+1\u{7}",
        "LATENCY; DROP TABLE",
        nan,
        "FORTNIGHT",
    );
    put_rule(&db, "zero", "finnhub", "ERROR_SPIKE", "0", "HOUR");
    put_rule(&db, "huge", "finnhub", "COST_THRESHOLD", "1e308", "DAY");
    put_rule(&db, "negative", "finnhub", "COST_THRESHOLD", "-1", "HOUR");
    put_calls(&db, "finnhub", 0, 50);
    let run = checked(&db, 1);
    assert_eq!(run.code, 12);
    let states =
        db.rows("SELECT alert_id, state, reason FROM usagectl_alert_states ORDER BY alert_id");
    assert_eq!(
        states,
        [
            "|UNKNOWN|unknown alert type \"LATENCY; DROP TABLE\"",
            "huge|OK|NULL",
            "negative|UNKNOWN|invalid threshold -1: expected a number above 0",
            "rule|FIRING|NULL",
            "zero|UNKNOWN|invalid threshold 0: expected a number above 0",
        ]
    );
}

#[rstest]
fn clock_set_back_repeats_nothing(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    put_calls(&db, "finnhub", 100, 50);
    put_calls(&db, "finnhub", 101, 1);
    checked(&db, 90).success();
    checked(&db, 101).success();
    let before = events(&db);
    let back = checked(&db, 50).success();
    assert!(
        back.stderr.contains("the clock was wrong"),
        "{}",
        back.stderr
    );
    // Steps later than now are no evidence. The notice was not sent yet, so it is dropped.
    let valid = "SELECT count(*) FROM usagectl_alert_events WHERE withdrawn_at IS NULL";
    assert_eq!(
        (events(&db), db.rows(valid)),
        (before.clone(), vec!["0".to_owned()])
    );
    assert_eq!(notices(&db), ["FIRING|ops|DROPPED"]);
    checked(&db, 102).success();
    assert_eq!(events(&db)[..1], before);
    assert_eq!(db.rows(valid), ["2"]);
    assert_eq!(notices(&db), ["FIRING|ops|DROPPED", "MISSED|ops|WAITING"]);
    // A state from years ahead is evaluated again from now.
    db.execute("UPDATE usagectl_alert_states SET evaluated_to = '2031-01-01T00:00:00.000+00:00'");
    checked(&db, 103).success();
    assert_eq!(
        db.rows("SELECT state, evaluated_to FROM usagectl_alert_states"),
        ["OK|2026-01-31T13:43:00.000+00:00"]
    );
}

#[rstest]
fn rule_for_all_apis_has_state_per_api(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rule(&db, "all", "*", "RATE_LIMIT_WARNING", "80", "MINUTE");
    put_channel(&db, "ops");
    for (api, count) in [("finnhub", 50), ("tmdb", 10)] {
        put_limit(&db, api, "MINUTE", 60);
        put_calls(&db, api, 0, count);
    }
    // Without a limit it is left out.
    put_calls(&db, "jikan", 0, 10);
    checked(&db, 1).success();
    let states = db.rows("SELECT api_name, state FROM usagectl_alert_states ORDER BY api_name");
    assert_eq!(states, ["finnhub|FIRING", "tmdb|OK"]);
}

#[rstest]
fn saved_notices_are_sent_once(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    put_calls(&db, "finnhub", 0, 50);
    put_calls(&db, "finnhub", 1, 1);
    let run = |minute: i64| {
        let now = at(minute) + TimeDelta::seconds(20);
        db.usagectl(["alerts", "check"])
            .now(&now.to_rfc3339())
            .run()
            .success()
            .stdout
    };
    let printed: Vec<String> = (1..4).map(run).collect();
    assert!(
        printed[0].contains("WARNING: finnhub 83.3 % of 60 calls per minute, threshold 80 %"),
        "{printed:?}"
    );
    assert!(printed[1].contains("RESOLVED: finnhub"), "{printed:?}");
    assert_eq!(printed[2], "");
    assert_eq!(
        notices(&db),
        ["FIRING|ops|DELIVERED", "RESOLVED|ops|DELIVERED"]
    );
}

#[rstest]
fn missing_channel_warns_unless_exit_code_notifies(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    db.execute("DELETE FROM usagectl_channels");
    put_calls(&db, "finnhub", 1, 50);
    let run = |minute: i64, args: &[&str]| {
        let now = at(minute) + TimeDelta::seconds(20);
        db.usagectl(["alerts", "check"].iter().chain(args))
            .now(&now.to_rfc3339())
            .run()
    };
    assert_eq!(run(1, &[]).success().stderr, "");
    assert_snapshot!(run(2, &[]).snapshot(), @"
        AT                    API      TYPE                PERIOD  EVENT         VALUE  THRESHOLD  NOTE
        2026-01-31T12:02:00Z  finnhub  RATE_LIMIT_WARNING  MINUTE  OK -> FIRING  83.3%      80.0%
        1 event, 0 new notices
        ------- stderr -------
        warning: a rule fires of which a threshold has no channel; `usagectl alerts show` names the channels, `usagectl alerts channel add` adds one
        [exit status: 0]
        ");
    // Cron sends one mail.
    assert_eq!(run(2, &[]).success().stderr, "");
    for args in [
        &["--nagios"][..],
        &["--fail-on", "critical"],
        &["--no-send"],
    ] {
        let check = run(2, args);
        assert!(!check.stderr.contains("no channel"), "{}", check.snapshot());
    }
    // A channel that is added while the rule fires is notified.
    db.usagectl(["alerts", "channel", "add", "ops", "stdout"])
        .run()
        .success();
    let check = run(2, &[]).success();
    assert_eq!(
        (notices(&db), check.stderr.as_str()),
        (vec!["FIRING|ops|DELIVERED".to_owned()], "")
    );
}

#[rstest]
fn undelivered_notice_exits_12_and_becomes_missed(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    db.execute("UPDATE usagectl_channels SET kind = 'EXEC', settings = '{\"command\":[\"/bin/false\"],\"pass_env\":[],\"timeout_ms\":5000}'");
    put_calls(&db, "finnhub", 0, 50);
    let now = at(1) + TimeDelta::seconds(20);
    let run = db
        .usagectl(["alerts", "check", "--fail-on", "warning"])
        .now(&now.to_rfc3339())
        .run();
    assert_eq!(run.code, 12);
    let next = "next: usagectl alerts channel test ops && usagectl alerts deliver --force\n";
    assert!(run.stderr.ends_with(next), "{}", run.stderr);
    // The episode ends before its notice is delivered: one notice covers both.
    put_calls(&db, "finnhub", 1, 1);
    checked(&db, 2).success();
    assert_eq!(notices(&db), ["FIRING|ops|DROPPED", "MISSED|ops|WAITING"]);
}

#[rstest]
fn killed_checks_lose_nothing_and_duplicate_no_key(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::with([]);
    let twin = TestDatabase::migrated(db.engine());
    // Over the threshold for three of every six minutes.
    for db in [&db, &twin] {
        put_one_rule(db);
        db.execute("DELETE FROM usagectl_channels");
        for minute in 0..24 {
            put_calls(db, "finnhub", minute, if minute % 6 < 3 { 55 } else { 5 });
        }
    }
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

    // The first check evaluates one step; it is not killed.
    checked(&db, 0).success();
    checked(&twin, 0).success();
    let mut killed = 0;
    for minute in 1..=24 {
        checked(&twin, minute).success();
        for attempt in 0..3 {
            let run = match attempt {
                1 => db.usagectl(["alerts", "deliver"]),
                _ => db.usagectl(["alerts", "check", "--lock-wait", "10s"]),
            };
            let mut run = run
                .now(&(at(minute) + TimeDelta::seconds(20)).to_rfc3339())
                .spawn();
            // Killed while it holds the lock, each time a little later. A probe holds the lock for a moment
            // itself, so there is a pause between two.
            let busy = || db.try_lock(RunKind::Alerts).is_err();
            let is_over = |run: &mut Running| run.child.try_wait().unwrap().is_some();
            let mut is_locked = busy();
            while !is_locked && !is_over(&mut run) {
                thread::sleep(Duration::from_millis(1));
                is_locked = busy();
            }
            let delay = u64::try_from((minute * 3 + attempt) % 8).unwrap();
            thread::sleep(Duration::from_millis(delay));
            run.child.kill().unwrap();
            killed += i32::from(run.wait().code == 128 + 9 && is_locked);
        }
    }
    assert!(
        killed >= 12,
        "only {killed} of 72 kills hit a run that held the lock"
    );
    let late = at(24) + TimeDelta::seconds(20);
    // The last attempt of a killed run may not be due again yet; then the check exits with 12.
    let check = db
        .usagectl(["alerts", "check", "--lock-wait", "10s"])
        .now(&late.to_rfc3339())
        .run();
    assert!([0, 12].contains(&check.code), "{}", check.snapshot());
    let deliver = ["alerts", "deliver", "--force"];
    db.usagectl(deliver).now(&late.to_rfc3339()).run().success();

    // The events are those of a database whose checks were not killed.
    assert_eq!(events(&db), events(&twin));
    // Nothing is waiting, and nothing was saved twice.
    let waiting = "SELECT id FROM usagectl_notices WHERE delivery = 'WAITING'";
    assert_eq!(db.rows(waiting), Vec::<String>::new());
    let twice = "SELECT episode FROM usagectl_notices GROUP BY episode, kind, number, channel HAVING count(*) > 1";
    assert_eq!(db.rows(twice), Vec::<String>::new());
    // Each notice has one key, and each episode ended once: RESOLVED, or MISSED if no delivery of FIRING was
    // recorded; FIRING may have been sent by a run that was killed before it recorded that.
    let mut sent: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    let whole = |received: &Received| {
        received.header("content-length") == Some(&received.body.len().to_string())
    };
    for received in server.received().into_iter().filter(whole) {
        let contents = match received.json() {
            Value::Array(contents) => contents,
            content => vec![content],
        };
        for content in contents {
            let [episode, kind, key] =
                ["episode", "kind", "key"].map(|name| content[name].as_str().unwrap().to_owned());
            let kinds = sent.entry(episode).or_default();
            kinds.entry(kind).or_default().insert(key);
        }
    }
    let episodes = db.rows(
        "SELECT DISTINCT episode FROM usagectl_alert_events WHERE episode IS NOT NULL ORDER BY 1",
    );
    assert_eq!(sent.keys().cloned().collect::<Vec<_>>(), episodes);
    assert_eq!(episodes.len(), 4);
    for kinds in sent.values() {
        assert!(kinds.values().all(|keys| keys.len() == 1), "{sent:?}");
        let kinds: Vec<_> = kinds.keys().map(String::as_str).collect();
        let right = [
            &["FIRING", "RESOLVED"][..],
            &["MISSED"],
            &["FIRING", "MISSED"],
        ];
        assert!(right.contains(&&kinds[..]), "{sent:?}");
    }
    let keys: BTreeSet<_> = sent
        .values()
        .flat_map(BTreeMap::values)
        .flatten()
        .cloned()
        .collect();
    let delivered = db.rows("SELECT id FROM usagectl_notices WHERE delivery = 'DELIVERED'");
    assert!(
        delivered.iter().all(|key| keys.contains(key)),
        "{delivered:?} of {keys:?}"
    );
}

/// The kinds of the notices of channel `ops` that a check at `minute` sends.
fn sent(db: &TestDatabase, minute: i64) -> Vec<String> {
    let before = notices(db).len();
    checked(db, minute).success();
    deliver(db);
    let new = notices(db).into_iter().skip(before);
    new.filter(|notice| notice.ends_with("|ops|DELIVERED"))
        .collect()
}

#[rstest]
fn silence_holds_notices_back_until_it_ends(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    for minute in 0..20 {
        put_calls(&db, "finnhub", minute, 50);
    }
    let add = ["alerts", "silence", "add", "--api", "finnhub"];
    db.usagectl(add.iter().chain(&["--for", "10m", "--reason", "release"]))
        .run()
        .success();
    assert_eq!(sent(&db, 1), [""; 0]);
    assert_eq!(notices(&db), ["FIRING|ops|SILENCED"]);
    assert_eq!(sent(&db, 9), [""; 0]);
    checked(&db, 10).success();
    assert_eq!(notices(&db), ["FIRING|ops|DROPPED", "FIRING|ops|WAITING"]);
}

#[rstest]
fn reminders_follow_repeat_and_stop_after_acknowledgement(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    for minute in 0..80 {
        put_calls(&db, "finnhub", minute, 50);
    }
    db.usagectl(["alerts", "set", "rule", "--repeat", "20m"])
        .run()
        .success();
    assert_eq!(sent(&db, 1), ["FIRING|ops|DELIVERED"]);
    assert_eq!(sent(&db, 20), [""; 0]);
    assert_eq!(sent(&db, 21), ["REMINDER|ops|DELIVERED"]);
    db.usagectl(["alerts", "ack", "rule"]).run().success();
    assert_eq!(sent(&db, 42), [""; 0]);
    assert_eq!(sent(&db, 70), [""; 0]);
}

#[rstest]
fn rule_with_channel_notifies_no_other(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    put_channel(&db, "mail");
    db.usagectl(["alerts", "set", "rule", "--channel", "mail"])
        .run()
        .success();
    put_calls(&db, "finnhub", 0, 50);
    checked(&db, 1).success();
    assert_eq!(notices(&db), ["FIRING|mail|WAITING"]);
}

#[rstest]
fn second_check_is_busy(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    let lock = db.lock(RunKind::Alerts);
    assert_eq!(checked(&db, 1).code, 6);
    drop(lock);
    checked(&db, 1).success();
}

fn any_rules(db: &TestDatabase) {
    for (number, (alert_type, threshold)) in [
        ("RATE_LIMIT_WARNING", "80"),
        ("COST_THRESHOLD", "5"),
        ("ERROR_SPIKE", "3"),
    ]
    .into_iter()
    .enumerate()
    {
        for period in ["SECOND", "MINUTE", "HOUR", "DAY", "MONTH"] {
            let id = format!("{number}-{period}");
            put_rule(db, &id, "*", alert_type, threshold, period);
        }
    }
    for api in ["finnhub", "tmdb", "jikan"] {
        for period in ["SECOND", "MINUTE", "HOUR", "DAY", "MONTH"] {
            put_limit(db, api, period, 10);
        }
    }
}

/// The findings of a check, without any earlier state.
fn findings(db: &TestDatabase, now: DateTime<Utc>) -> Value {
    db.execute("DELETE FROM usagectl_alert_states");
    db.execute("DELETE FROM usagectl_alert_events");
    let program = db.usagectl(["alerts", "check", "--no-send", "--format", "json"]);
    let found = json(program.now(&now.to_rfc3339()).run());
    found["findings"].clone()
}

/// Values depend neither on the roll-ups nor on the format of timestamps.
fn roll_ups_change_no_value(engine: Engine) {
    let db = TestDatabase::migrated(engine);
    any_rules(&db);
    let seen = std::cell::Cell::new(0);
    let strategy = (
        vec(Call::any(), 1..120),
        vec(Call::any(), 0..20),
        0..90_i64,
        0..3_600_i64,
    );
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(8)
    };
    proptest!(config, |((before, after, hour, second) in strategy)| {
        seen.set(seen.get() + 1);
        db.execute("DELETE FROM api_usage");
        db.usagectl(["aggregate", "--rebuild"]).run().success();
        let named = |calls: Vec<Call>, part: &str| {
            let name = |(n, call): (usize, Call)| Call { id: format!("{}-{part}-{n}", seen.get()), ..call };
            calls.into_iter().enumerate().map(name).collect::<Vec<_>>()
        };
        let (before, after) = (named(before, "a"), named(after, "b"));
        let start: DateTime<Utc> = "2024-02-28T21:30:00Z".parse().unwrap();
        let now = start + TimeDelta::hours(hour) + TimeDelta::seconds(second);
        insert(&db, &before);
        // Part of it is rolled up, part of it changed since.
        db.usagectl(["aggregate"]).run();
        insert(&db, &after);
        let mixed = findings(&db, now);
        db.usagectl(["aggregate"]).run();
        let rolled_up = findings(&db, now);
        prop_assert_eq!(&mixed, &rolled_up);

        let last = now - TimeDelta::seconds(10);
        let last = DateTime::from_timestamp_secs(last.timestamp().div_euclid(60) * 60).unwrap();
        for finding in mixed.as_array().unwrap() {
            let api = finding["api_name"].as_str().unwrap();
            let Some(value) = finding["value"].as_f64() else { continue };
            let alert_type = finding["alert_type"].as_str().unwrap();
            let midnight = (last - TimeDelta::milliseconds(1)).date_naive();
            let start_of = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc();
            // Of a minute the busiest since the previous step counts.
            let mut ends = 0..1;
            let length = match (finding["period"].as_str().unwrap(), alert_type) {
                ("MINUTE", _) => {
                    ends = 0..60;
                    TimeDelta::minutes(1)
                }
                ("HOUR", _) => TimeDelta::hours(1),
                ("DAY", "ERROR_SPIKE") => TimeDelta::days(1),
                ("MONTH", "ERROR_SPIKE") => TimeDelta::days(30),
                ("DAY", _) => last - start_of(midnight),
                ("MONTH", _) => last - start_of(midnight.with_day(1).unwrap()),
                _ => continue,
            };
            let values = ends.map(|second| {
                let end = last - TimeDelta::seconds(second);
                let calls = before.iter().chain(&after).filter(|call| call.api == api);
                let calls = calls.filter(|call| end - length <= call.at && call.at < end);
                match alert_type {
                    "RATE_LIMIT_WARNING" => calls.filter(|call| !call.cached).count() as f64 * 10.0,
                    "ERROR_SPIKE" => calls.filter(|call| !call.success).count() as f64,
                    _ => calls.filter_map(|call| call.cost).sum::<i64>() as f64 / 10.0,
                }
            });
            prop_assert_eq!(value, values.fold(0.0, f64::max), "{}", finding);
        }
    });
}

#[test]
fn roll_ups_change_no_value_sqlite() {
    roll_ups_change_no_value(Engine::Sqlite);
}

#[test]
fn roll_ups_change_no_value_postgresql() {
    roll_ups_change_no_value(Engine::Postgresql);
}

#[rstest]
fn limit_in_credits_excludes_cached_calls(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rule(&db, "rule", "finnhub", "RATE_LIMIT_WARNING", "80", "DAY");
    put_limit(&db, "finnhub", "DAY", 100);
    db.execute("UPDATE usagectl_api_limits SET unit = 'CREDITS'");
    let call = |number: i64| Call {
        at: at(-600 + number),
        cost: Some(20),
        cached: number % 2 == 0,
        ..Call::new(&format!("c{number}"), "finnhub", NOW)
    };
    insert(&db, &(0..80).map(call).collect::<Vec<_>>());
    let value = |minute: i64| {
        checked(&db, minute);
        db.rows("SELECT value FROM usagectl_alert_states")
    };
    // 40 calls of 2 credits each; 40 cached ones.
    assert_eq!(value(1), ["80"]);
    db.usagectl(["aggregate"]).run().success();
    assert_eq!(value(2), ["80"]);
}
