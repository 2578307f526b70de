//! Several thresholds of a rule, each with its severity and channels, and what their notices say.

use serde_json::Value;

use super::check::{checked, json};
use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alerts::{at, put_calls, put_channel, put_one_rule};
use crate::support::http::{HttpServer, Reply};
use crate::support::{Engine, TestDatabase};
use chrono::TimeDelta;
use rstest::rstest;

fn words(command: &str) -> Vec<&str> {
    command.split_whitespace().collect()
}

/// The notices of one channel, in order.
fn notices(db: &TestDatabase, channel: &str) -> Vec<Value> {
    let history = words("alerts history --notices --last 1d --format json");
    let history = json(
        db.usagectl(history)
            .now("2026-01-31T13:00:00Z")
            .run()
            .success(),
    );
    let notices = history["notices"].as_array().unwrap().iter();
    let notices = notices.filter(|it| it["channel"] == channel && it["delivery"] != "DROPPED");
    notices.map(|it| it["content"].clone()).collect()
}

/// Kind, severity and threshold of each.
fn facts(notices: &[Value]) -> Vec<String> {
    let facts = notices.iter().map(|it| {
        let text = |field: &str| it[field].as_str().unwrap().to_owned();
        format!("{} {} {}", text("kind"), text("severity"), it["threshold"])
    });
    facts.collect()
}

/// A check that delivers to the channels of kind stdout.
fn check(db: &TestDatabase, minute: i64) -> String {
    let now = at(minute) + TimeDelta::seconds(20);
    let check = db.usagectl(["alerts", "check"]).now(&now.to_rfc3339());
    check.run().success().stdout
}

/// A rule of tmdb with warnings to slack and critical alerts to the pager.
fn put_routed_rule(db: &TestDatabase) {
    put_channel(db, "slack");
    put_channel(db, "pager");
    put_calls(db, "finnhub", -100, 1);
    db.usagectl(words("limits set --api finnhub --per MINUTE 100"))
        .run()
        .success();
    let add = words(
        "alerts add --api finnhub --type RATE_LIMIT_WARNING --period MINUTE --threshold 50:warning:slack \
         --threshold 80:warning:slack --threshold 100:critical:pager",
    );
    let added = db.usagectl(add).run().success().stdout;
    assert!(
        added.contains("thresholds 50.0% to slack, 80.0% to slack, 100.0% critical to pager"),
        "{added}"
    );
}

#[rstest]
fn warning_goes_to_slack_and_critical_to_the_pager(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_routed_rule(&db);
    check(&db, 0);
    for (minute, calls) in [(0, 60), (1, 85), (2, 105), (3, 70), (4, 110), (5, 1)] {
        put_calls(&db, "finnhub", minute, calls);
        check(&db, minute + 1);
    }
    let slack = notices(&db, "slack");
    let expected = [
        "FIRING WARNING 50.0",
        "FIRING WARNING 80.0",
        "RESOLVED WARNING 50.0",
    ];
    assert_eq!(facts(&slack), expected);
    assert_eq!(
        slack[1]["summary"],
        "WARNING: finnhub 85 % of 100 calls per minute, threshold 80 %, firing since 2026-01-31T12:01:00Z"
    );
    let pager = notices(&db, "pager");
    let rise = ["FIRING CRITICAL 100.0", "RESOLVED CRITICAL 100.0"];
    assert_eq!(facts(&pager), [rise, rise].concat());
    let episode = |n: usize| pager[n]["episode"].as_str().unwrap();
    assert_eq!((episode(0), episode(2)), (episode(1), episode(3)));
    assert_ne!(episode(0), episode(2));
    assert_eq!(
        pager[1]["summary"],
        "RESOLVED: finnhub 75 % of 100 calls per minute, threshold 100 %: the value fell below the threshold; \
         fired from 2026-01-31T12:03:00Z to 2026-01-31T12:04:00Z"
    );
    // The rule has one episode, and its changes are events.
    let events = db.rows(
        "SELECT kind, severity, threshold FROM usagectl_alert_events WHERE withdrawn_at IS NULL ORDER BY at",
    );
    let expected = [
        "STATE|WARNING|50",
        "SEVERITY|WARNING|80",
        "SEVERITY|CRITICAL|100",
        "SEVERITY|WARNING|50",
        "SEVERITY|CRITICAL|100",
        "STATE|WARNING|50",
    ];
    let events: Vec<String> = events.iter().map(|it| it.replace(".0", "")).collect();
    assert_eq!(events.len(), expected.len(), "{events:?}");
    assert_eq!(events[..5], expected[..5]);
    let episodes = db.rows("SELECT DISTINCT episode FROM usagectl_alert_events");
    assert_eq!(episodes.len(), 1);
}

#[rstest]
fn late_rows_and_repeated_checks_notify_the_pager_once(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    put_routed_rule(&db);
    check(&db, 0);
    put_calls(&db, "finnhub", 1, 60);
    check(&db, 2);
    put_calls(&db, "finnhub", 3, 1);
    check(&db, 5);
    // Rows of the same minute arrive late: it had reached 100 %.
    db.execute(
        "INSERT INTO api_usage (id, api_name, endpoint, method, timestamp, success, status_code, cached, created_at)
         SELECT id || '-late', api_name, endpoint, method, timestamp, success, status_code, cached, created_at
         FROM api_usage WHERE id LIKE 'finnhub-1-%'",
    );
    check(&db, 6);
    check(&db, 7);
    assert_eq!(facts(&notices(&db, "pager")), ["LATE CRITICAL 100.0"]);
    assert_eq!(
        facts(&notices(&db, "slack")),
        ["FIRING WARNING 50.0", "RESOLVED WARNING 50.0"]
    );
    // Without them it had not.
    db.execute("DELETE FROM api_usage WHERE id LIKE '%-late'");
    check(&db, 8);
    check(&db, 9);
    assert_eq!(facts(&notices(&db, "pager")), ["LATE CRITICAL 100.0"]);
}

#[rstest]
fn channel_with_minimum_severity_gets_critical_alerts_only(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    db.usagectl(words(
        "alerts channel add pager stdout --min-severity critical",
    ))
    .run()
    .success();
    db.usagectl(words("alerts set rule --critical 95"))
        .run()
        .success();
    check(&db, 0);
    for (minute, calls) in [(0, 50), (1, 58), (2, 50), (3, 50)] {
        put_calls(&db, "finnhub", minute, calls);
        check(&db, minute + 1);
    }
    assert_eq!(
        facts(&notices(&db, "pager")),
        ["FIRING CRITICAL 95.0", "RESOLVED CRITICAL 95.0"]
    );
    assert_eq!(
        facts(&notices(&db, "ops")),
        ["FIRING WARNING 80.0", "FIRING CRITICAL 95.0"]
    );
    let list = words("alerts channel list --format json");
    let list = json(db.usagectl(list).run().success());
    assert_eq!(list["channels"][1]["min_severity"], "CRITICAL");
}

#[rstest]
fn silence_by_pattern_lasts_until_the_alert_has_resolved(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    let add = words("alerts silence add --api finn* --until-resolved --reason release");
    let early = db.usagectl(&add).run();
    assert_eq!(early.code, 5);
    assert!(
        early.stderr.contains("no matching rule is firing"),
        "{}",
        early.stderr
    );
    put_calls(&db, "finnhub", 0, 50);
    checked(&db, 1);
    let added = db.usagectl(&add).run().success().stdout;
    assert!(
        added.contains("silence of finn* from 2026-01-31T12:00:00Z to when resolved"),
        "{added}"
    );
    put_calls(&db, "finnhub", 1, 58);
    let list = words("alerts list --format json");
    let list = json(db.usagectl(list).run().success());
    let state = &list["rules"][0]["states"][0];
    assert_eq!(
        (&state["silenced"], &state["silenced_until"]),
        (&true.into(), &Value::Null)
    );
    check(&db, 2);
    let ends = || db.rows("SELECT ends_at FROM usagectl_silences");
    assert_eq!(ends(), ["NULL"]);
    put_calls(&db, "finnhub", 2, 1);
    check(&db, 3);
    assert_eq!(ends(), ["2026-01-31T12:03:20.000+00:00"]);
    put_calls(&db, "finnhub", 5, 50);
    check(&db, 6);
    let kinds = facts(&notices(&db, "ops"));
    assert_eq!(kinds.last().unwrap(), "FIRING WARNING 80.0", "{kinds:?}");
}

#[rstest]
fn end_of_silence_sends_the_state_of_then(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    db.usagectl(words("alerts set rule --critical 95"))
        .run()
        .success();
    let until = "alerts silence add --api f?nnhub --until 2026-01-31T12:02:00Z --reason release";
    db.usagectl(words(until)).run().success();
    put_calls(&db, "finnhub", 0, 58);
    assert!(!check(&db, 1).contains("CRITICAL:"));
    put_calls(&db, "finnhub", 1, 50);
    let printed = check(&db, 2);
    assert!(
        printed.contains("WARNING: finnhub 83.3 % of 60 calls per minute, threshold 80 %"),
        "{printed}"
    );
    assert_eq!(facts(&notices(&db, "ops")), ["FIRING WARNING 80.0"]);
}

#[rstest]
fn resolved_names_the_limit_of_then_and_the_reason(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    put_calls(&db, "finnhub", 0, 55);
    check(&db, 1);
    db.usagectl(words("limits set --api finnhub --per MINUTE 600"))
        .run()
        .success();
    put_calls(&db, "finnhub", 1, 55);
    let printed = check(&db, 2);
    let resolved = "RESOLVED: finnhub 9.2 % of 600 calls per minute, threshold 80 %: the limit was changed; \
                    fired from 2026-01-31T12:01:00Z to 2026-01-31T12:02:00Z; the limit was 60 calls";
    assert!(printed.contains(resolved), "{printed}");
    // A limit that is removed does not end the episode.
    db.usagectl(words("limits set --api finnhub --per MINUTE 60"))
        .run()
        .success();
    put_calls(&db, "finnhub", 2, 55);
    check(&db, 3);
    db.usagectl(words("limits remove --api finnhub --per MINUTE"))
        .run()
        .success();
    let now = at(5).to_rfc3339();
    let unknown = db.usagectl(["alerts", "check"]).now(&now).run().stdout;
    let expected = "UNKNOWN: finnhub RATE_LIMIT_WARNING per MINUTE since 2026-01-31T12:04:00Z: \
                    no limit per MINUTE is set";
    assert!(unknown.contains(expected), "{unknown}");
    // It sends no reminders while it is unknown.
    let now = at(70).to_rfc3339();
    let later = db.usagectl(["alerts", "check"]).now(&now).run().stdout;
    assert_eq!(later, "");
    db.usagectl(words("alerts disable rule")).run().success();
    let now = at(71).to_rfc3339();
    let disabled = db.usagectl(["alerts", "check"]).now(&now).run().stdout;
    assert!(
        disabled.contains(": the rule is disabled; fired from"),
        "{disabled}"
    );
}

#[rstest]
fn alertmanager_is_sent_the_current_value(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_one_rule(&db);
    let server = HttpServer::with(std::iter::repeat_n(Reply::ok(""), 3));
    let add = [
        "alerts",
        "channel",
        "add",
        "am",
        "alertmanager",
        "--url",
        &server.url(""),
    ];
    db.usagectl(add).run().success();
    for (minute, calls) in [(0, 50), (1, 59)] {
        put_calls(&db, "finnhub", minute, calls);
        check(&db, minute + 1);
    }
    let annotations = server
        .received()
        .iter()
        .map(|it| it.json()[0]["annotations"].clone())
        .collect::<Vec<_>>();
    assert_eq!(annotations.len(), 2);
    let summary = annotations[1]["summary"].as_str().unwrap();
    assert!(
        summary.starts_with("WARNING: finnhub 98.3 % of 60 calls"),
        "{summary}"
    );
    assert!(
        annotations[0]["value"]
            .as_str()
            .unwrap()
            .starts_with("83.3")
    );
    assert!(
        annotations[1]["value"]
            .as_str()
            .unwrap()
            .starts_with("98.3")
    );
    let refused = [
        "alerts",
        "channel",
        "add",
        "b",
        "alertmanager",
        "--url",
        &server.url(""),
        "--label",
        "severity=x",
    ];
    let refused = db.usagectl(refused).run();
    assert_eq!(refused.code, 2);
    assert!(
        refused.stderr.contains("every alert has a label severity"),
        "{}",
        refused.stderr
    );
}
