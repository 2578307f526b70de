//! `alerts`: APIs whose calls cease, and rules that cannot be evaluated.

use chrono::TimeDelta;
use rstest::rstest;
use serde_json::{Value, json};

use super::check::{check_with, checked, json};
use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alerts::{at, put_calls, put_channel, put_rule};
use crate::support::calls::{Call, TimeForm, insert};
use crate::support::program::NOW;
use crate::support::{Engine, Run, TestDatabase};

/// Three days, in minutes.
const THREE_DAYS: i64 = 72 * 60;

fn failures(db: &TestDatabase, minute: i64, count: i64) {
    let call = |n: i64| Call {
        at: at(minute) + TimeDelta::milliseconds(n),
        success: false,
        status: Some(500),
        ..Call::new(&format!("failed-{minute}-{n}"), "tmdb", NOW)
    };
    insert(db, &(0..count).map(call).collect::<Vec<_>>());
}

/// The kinds of the notices in order, all of which are then delivered.
fn kinds(db: &TestDatabase) -> Vec<String> {
    db.execute(
        "UPDATE usagectl_notices SET delivery = 'DELIVERED', attempts = 1, delivered_at = created_at
         WHERE delivery = 'WAITING'",
    );
    db.rows("SELECT kind FROM usagectl_notices ORDER BY created_at, kind DESC")
}

fn run(db: &TestDatabase, args: &[&str]) -> Run {
    db.usagectl(args.iter().copied()).run()
}

fn only_state(db: &TestDatabase) -> Value {
    let list = json(run(db, &["alerts", "list", "--format", "json"]).success());
    list["rules"][0]["states"][0].clone()
}

#[rstest]
#[case::minute("MINUTE", 40)]
#[case::hour("HOUR", 70)]
#[case::day("DAY", 25 * 60)]
fn recorder_that_dies_while_a_rule_fires_is_unknown(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[case] period: &str,
    #[case] unknown_after: i64,
) {
    let db = TestDatabase::migrated(engine);
    put_rule(&db, "rule", "tmdb", "ERROR_SPIKE", "10", period);
    put_channel(&db, "ops");
    put_calls(&db, "tmdb", 0, 1);
    for minute in 0..5 {
        failures(&db, minute, 12);
        checked(&db, minute + 1).success();
    }
    checked(&db, 10).success();
    assert_eq!(kinds(&db), ["FIRING"]);
    let unknown = checked(&db, unknown_after);
    assert_eq!(unknown.code, 12);
    assert!(
        unknown
            .stdout
            .contains("no call was recorded since 2026-01-31T12:04:00Z")
    );
    assert_eq!(kinds(&db), ["FIRING", "UNKNOWN"]);
    let later = check_with(&db, THREE_DAYS, &["--nagios"]);
    assert_eq!((later.code, later.stdout.contains("OK - ")), (1, false));
    assert_eq!(kinds(&db), ["FIRING", "UNKNOWN"]);
    // A call alone shows that calls are recorded; one that succeeds ends the episode.
    failures(&db, THREE_DAYS, 1);
    checked(&db, THREE_DAYS + 1).success();
    let known = ["FIRING", "UNKNOWN", "REMINDER", "KNOWN"];
    assert_eq!(kinds(&db), known);
    assert_eq!(only_state(&db)["state"], "FIRING");
    put_calls(&db, "tmdb", THREE_DAYS + 1, 1);
    checked(&db, THREE_DAYS + 2).success();
    assert_eq!(kinds(&db), [&known[..], &["RESOLVED"]].concat());
    assert_eq!(only_state(&db)["state"], "OK");
}

#[rstest]
fn dead_recorder_is_notified_once_while_all_rules_are_ok(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    put_rule(&db, "rule", "tmdb", "ERROR_SPIKE", "10", "MINUTE");
    put_channel(&db, "ops");
    // A call every 20 minutes for eight days.
    let call = |n: i64| Call {
        at: at(-20 * n),
        ..Call::new(&format!("call-{n}"), "tmdb", NOW)
    };
    insert(&db, &(0..=8 * 72).map(call).collect::<Vec<_>>());
    // Imported at once, calls may be missing until the next import.
    checked(&db, 59).success();
    checked(&db, 100).success();
    db.execute("UPDATE api_usage SET created_at = timestamp");
    for minute in [101, 110] {
        let dead = checked(&db, minute);
        assert_eq!((dead.code, dead.stdout.as_str()), (12, ""));
        assert_eq!(kinds(&db), ["UNKNOWN"]);
    }
    let expected = "no call to any API was recorded since 2026-01-31T12:00:00Z";
    let summary = db.rows("SELECT content FROM usagectl_notices").remove(0);
    assert!(summary.contains(expected), "{summary}");
    let later = at(111).to_rfc3339();
    let status = db.usagectl(["alerts", "status", "--nagios"]).now(&later);
    for nagios in [status.run(), check_with(&db, 111, &["--nagios"])] {
        assert_eq!((nagios.code, nagios.stdout.contains(expected)), (3, true));
    }
    put_calls(&db, "tmdb", 112, 1);
    checked(&db, 113).success();
    assert_eq!(kinds(&db), ["UNKNOWN"]);
}

#[rstest]
fn late_episode_that_still_fires_shows_its_cause(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rule(&db, "rule", "tmdb", "ERROR_SPIKE", "10", "MINUTE");
    put_channel(&db, "ops");
    put_calls(&db, "tmdb", 0, 1);
    checked(&db, 5).success();
    failures(&db, 2, 12);
    checked(&db, 6).success();
    let summary = db.rows("SELECT content FROM usagectl_notices").remove(0);
    let expected =
        "WARNING: tmdb 12 failed calls per minute, threshold 10, firing since 2026-01-31T12:03:00Z";
    assert!(summary.contains(expected), "{summary}");
}

#[rstest]
fn quiet_api_whose_rule_never_fired_stays_ok(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rule(&db, "rule", "tmdb", "ERROR_SPIKE", "10", "MINUTE");
    put_channel(&db, "ops");
    put_calls(&db, "tmdb", 0, 1);
    for minute in [1, 60, THREE_DAYS] {
        let run = checked(&db, minute).success();
        assert_eq!(run.stdout, "");
    }
    assert_eq!(kinds(&db), [""; 0]);
}

#[rstest]
fn no_data_time_of_a_rule_applies_also_while_it_is_ok(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values(TimeForm::Canonical, TimeForm::Milliseconds)] form: TimeForm,
) {
    let db = TestDatabase::migrated(engine);
    put_channel(&db, "ops");
    let add =
        "alerts add --api tmdb --type ERROR_SPIKE --threshold 10 --period MINUTE --no-data 30m";
    run(&db, &add.split(' ').collect::<Vec<_>>()).success();
    let call = |minute: i64| {
        let id = format!("call-{minute}");
        let at = at(minute);
        let call = Call {
            at,
            form,
            ..Call::new(&id, "tmdb", NOW)
        };
        insert(&db, &[call]);
    };
    call(0);
    call(5);
    checked(&db, 6).success();
    assert_eq!(checked(&db, 34).code, 0);
    let unknown = checked(&db, 35);
    assert_eq!(unknown.code, 12);
    assert!(
        unknown
            .stdout
            .contains("no call was recorded since 2026-01-31T12:05:00Z")
    );
    for minute in [36, 100] {
        assert_eq!(checked(&db, minute).code, 12);
    }
    assert_eq!(kinds(&db), ["UNKNOWN"]);
    call(100);
    checked(&db, 101).success();
    assert_eq!(kinds(&db), ["UNKNOWN", "KNOWN"]);
    assert_eq!(checked(&db, 140).code, 12);
    assert_eq!(kinds(&db), ["UNKNOWN", "KNOWN", "UNKNOWN"]);
    // A call that arrives late is no second notice.
    call(103);
    assert_eq!(checked(&db, 141).code, 12);
    assert_eq!(kinds(&db), ["UNKNOWN", "KNOWN", "UNKNOWN"]);
    assert_eq!(only_state(&db)["since"], "2026-01-31T14:13:00.000Z");
}

#[rstest]
fn removed_calls_are_known_by_their_roll_ups(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let add = "alerts add --api tmdb --type ERROR_SPIKE --threshold 10 --period HOUR --no-data 2h";
    run(&db, &add.split(' ').collect::<Vec<_>>()).success();
    put_calls(&db, "tmdb", -60, 3);
    run(&db, &["aggregate"]).success();
    db.execute("DELETE FROM api_usage");
    // They ended at noon at the latest.
    assert_eq!(checked(&db, 119).code, 0);
    let unknown = checked(&db, 120);
    assert_eq!(unknown.code, 12);
    assert!(
        unknown
            .stdout
            .contains("no call was recorded since 2026-01-31T11:59:59Z")
    );
}

#[rstest]
fn zero_resolves_without_calls_with_a_note(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rule(&db, "rule", "tmdb", "ERROR_SPIKE", "10", "MINUTE");
    put_channel(&db, "ops");
    run(&db, &["alerts", "set", "rule", "--no-data", "0s"]).success();
    failures(&db, 0, 12);
    checked(&db, 1).success();
    assert_eq!(kinds(&db), ["FIRING"]);
    checked(&db, 2).success();
    assert_eq!(kinds(&db), ["FIRING", "RESOLVED"]);
    let contents = db.rows("SELECT content FROM usagectl_notices WHERE kind = 'RESOLVED'");
    assert!(
        contents[0].contains("for lack of data: no call has succeeded since"),
        "{contents:?}"
    );
}

#[rstest]
fn rule_of_our_own_type_fires_when_calls_cease(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_channel(&db, "ops");
    put_calls(&db, "tmdb", 0, 1);
    let add = "alerts add --api tmdb --type no_data --threshold 30 --period minute";
    run(&db, &add.split(' ').collect::<Vec<_>>()).success();
    assert_eq!(run(&db, &add.split(' ').collect::<Vec<_>>()).code, 5);
    assert_eq!(db.rows("SELECT count(*) FROM api_alerts"), ["0"]);
    checked(&db, 29).success();
    assert_eq!(kinds(&db), [""; 0]);
    let firing = check_with(&db, 45, &["--fail-on", "warning"]);
    assert_eq!(firing.code, 10);
    assert_eq!(kinds(&db), ["FIRING"]);
    let summary = db.rows("SELECT content FROM usagectl_notices").remove(0);
    let expected =
        "WARNING: tmdb no call for 45m, threshold 30m, firing since 2026-01-31T12:30:00Z";
    assert!(summary.contains(expected), "{summary}");
    put_calls(&db, "tmdb", 45, 1);
    checked(&db, 46).success();
    assert_eq!(kinds(&db), ["FIRING", "RESOLVED"]);
    let place = "tmdb/NO_DATA/MINUTE";
    let rule = |args: &[&str]| run(&db, &[&["alerts"], args].concat()).success().stdout;
    assert!(rule(&["list"]).contains("NO_DATA"));
    assert!(rule(&["show", place]).contains("threshold 30"));
    assert!(rule(&["set", place, "--threshold", "60"]).contains("threshold 60"));
    assert!(rule(&["disable", place]).starts_with("disabled"));
    assert!(rule(&["enable", place]).starts_with("enabled"));
    let from = ["--from", NOW, "--to", "2026-01-31T13:30:00Z"];
    let backtest = rule(&[&["backtest", place], &from[..], &["--set", "threshold=20"]].concat());
    assert!(backtest.contains("2 episodes"), "{backtest}");
    let status = json(run(&db, &["status", "--format", "json"]));
    assert_eq!(status["alerts"]["rules"], json!(1), "{status}");
    let last =
        db.rows("SELECT substr(CAST(last_triggered AS TEXT), 12, 5) FROM usagectl_alert_rules");
    assert_eq!(last, ["12:30"]);
    assert!(rule(&["remove", place]).starts_with("removed"));
    assert_eq!(db.rows("SELECT count(*) FROM usagectl_alert_rules"), ["0"]);
}

#[rstest]
fn rule_without_limit_is_notified_once_as_unknown(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rule(&db, "rule", "tmdb", "RATE_LIMIT_WARNING", "80", "MINUTE");
    put_channel(&db, "ops");
    put_calls(&db, "tmdb", 0, 1);
    for minute in 1..4 {
        assert_eq!(checked(&db, minute).code, 12);
        assert_eq!(kinds(&db), ["UNKNOWN"]);
    }
    run(
        &db,
        &["limits", "set", "--api", "tmdb", "--per", "MINUTE", "60"],
    )
    .success();
    checked(&db, 4).success();
    assert_eq!(kinds(&db), ["UNKNOWN", "KNOWN"]);
}
