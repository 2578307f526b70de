//! `alerts history` and `alerts ack`.

use crate::support::assert_snapshot;
use serde_json::Value;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alerts::{put_event, put_rules_with_states};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

#[rstest]
fn acknowledgement_is_stored_and_shown(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rules_with_states(&db);
    let ack = [
        "alerts",
        "ack",
        "aaaa",
        "--note",
        "key exchanged",
        "--by",
        "anna",
    ];
    assert_snapshot!(db.usagectl(ack).run().success().snapshot(), @"
        acknowledged finnhub RATE_LIMIT_WARNING per MINUTE, firing since 2026-01-31T11:40:00Z, by anna
        [exit status: 0]
        ");
    let known =
        "SELECT acknowledged_by, acknowledged_at, acknowledged_note FROM usagectl_alert_states
             WHERE acknowledged_by IS NOT NULL";
    assert_eq!(
        db.rows(known),
        ["anna|2026-01-31T12:00:00.000+00:00|key exchanged"]
    );
    assert_snapshot!(db.usagectl(["alerts", "history"]).run().success().stdout, @"
    AT                    API      TYPE                PERIOD  EVENT         VALUE  THRESHOLD  NOTE
    2026-01-31T12:00:00Z  finnhub  RATE_LIMIT_WARNING  MINUTE  ACKNOWLEDGED  96.7%      80.0%  by anna: key exchanged
    ");
    assert!(
        db.usagectl(["alerts"])
            .run()
            .success()
            .stdout
            .contains("critical; acknowledged by anna")
    );
    let json = db
        .usagectl(["alerts", "show", "aaaa", "--format", "json"])
        .run();
    let json: Value = serde_json::from_str(&json.success().stdout).unwrap();
    assert_eq!(json["states"][0]["acknowledged_by"], "anna");
    // A rule that is not firing cannot be acknowledged; then the other one is not either.
    let other = db
        .usagectl(["alerts", "ack", "cccc", "bbbb", "--by", "ben"])
        .run();
    assert_snapshot!(other.snapshot(), @"
    ------- stderr -------
    error: coinmarketcap COST_THRESHOLD per DAY is not firing; nothing was changed
    next: usagectl alerts status
    [exit status: 5]
    ");
    assert_eq!(db.rows(known).len(), 1);
    db.usagectl(["alerts", "ack", "cccc", "--api", "tmdb", "--by", "ben"])
        .run()
        .success();
    assert_eq!(
        db.usagectl(["alerts", "ack", "cccc", "--api", "finnhub"])
            .run()
            .code,
        5
    );
    assert_eq!(db.rows("SELECT count(*) FROM usagectl_alert_events"), ["2"]);
}

#[rstest]
fn history_filters_by_time_api_and_rule(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    for (n, at, rule, api) in [
        (1, "2026-01-20T12:00:00.000+00:00", "old", "finnhub"),
        (2, "2026-01-31T11:00:00.000+00:00", "aaaaaaaa-1", "finnhub"),
        (3, "2026-01-31T12:00:00.000+00:00", "aaaaaaaa-1", "tmdb"),
    ] {
        put_event(&db, n, at, rule, api);
    }
    let ids = |args: &[&str]| {
        let json = db
            .usagectl(["alerts", "history", "--format", "json"].iter().chain(args))
            .run()
            .success()
            .stdout;
        let json: Value = serde_json::from_str(&json).unwrap();
        let events = json["events"].as_array().unwrap().clone();
        events
            .iter()
            .map(|event| event["id"].as_str().unwrap().to_owned())
            .collect::<String>()
    };
    assert_eq!(ids(&[]), "23");
    assert_eq!(ids(&["--last", "30d"]), "123");
    assert_eq!(ids(&["--last", "30d", "--api", "finnhub"]), "12");
    assert_eq!(ids(&["--last", "30d", "--rule", "aaaa"]), "23");
    assert_eq!(ids(&["--rule", "finnhub/rate_limit_warning/MINUTE"]), "2");
    assert_eq!(
        ids(&[
            "--from",
            "2026-01-01T00:00:00Z",
            "--to",
            "2026-01-31T11:00:00Z"
        ]),
        "1"
    );
    assert_snapshot!(db.usagectl(["alerts", "history"]).run().success().stdout, @"
    AT                    API      TYPE                PERIOD  EVENT         VALUE  THRESHOLD  NOTE
    2026-01-31T11:00:00Z  finnhub  RATE_LIMIT_WARNING  MINUTE  OK -> FIRING  81.3%      80.0%
    2026-01-31T12:00:00Z  tmdb     RATE_LIMIT_WARNING  MINUTE  OK -> FIRING  81.3%      80.0%
    ");
    assert_snapshot!(db.usagectl(["alerts", "history", "--format", "csv"]).run().success().stdout, @"
    at,kind,alert_id,api_name,alert_type,period,from_state,to_state,severity,value,threshold,limit_value,episode,actor,note,withdrawn_at
    2026-01-31T11:00:00.000Z,STATE,aaaaaaaa-1,finnhub,RATE_LIMIT_WARNING,MINUTE,OK,FIRING,WARNING,81.25,80,60,,,,
    2026-01-31T12:00:00.000Z,STATE,aaaaaaaa-1,tmdb,RATE_LIMIT_WARNING,MINUTE,OK,FIRING,WARNING,81.25,80,60,,,,
    ");
    assert_snapshot!(db.usagectl(["alerts", "history", "--notices"]).run().success().stdout, @"no notices from 2026-01-24T12:00:00Z to 2026-01-31T12:00:00Z");
    let backwards = [
        "alerts",
        "history",
        "--from",
        "2026-02-02T00:00:00Z",
        "--to",
        "2026-02-01T00:00:00Z",
    ];
    assert_eq!(db.usagectl(backwards).run().code, 2);
}

/// As `alerts show` does.
#[rstest]
fn history_finds_rule_by_unique_prefix_or_place(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let at = "2026-01-31T11:00:00.000+00:00";
    for (n, rule, api) in [(1, "aaaa-1", "finnhub"), (2, "aaaa-2", "tmdb")] {
        put_event(&db, n, at, rule, api);
    }
    let history = |rule| db.usagectl(["alerts", "history", "--rule", rule]).run();
    let several = history("aaaa");
    assert_eq!(several.code, 2);
    let message = "`aaaa` is a prefix of 2 rules: aaaa-1, aaaa-2";
    assert!(several.stderr.contains(message), "{}", several.snapshot());
    assert_eq!(history("aaaa-2").success().stdout.lines().count(), 2);
    let of_other_case = history("Tmdb/RATE_LIMIT_WARNING/MINUTE").success();
    assert!(
        of_other_case.stdout.starts_with("no events"),
        "{}",
        of_other_case.snapshot()
    );
}

#[rstest]
fn history_of_an_unknown_rule_is_warned_of(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let rule = "tmdb/ERROR_SPIKE/HOUR";
    let history = ["alerts", "history", "--rule", rule, "--api", "finnhub"];
    let run = db.usagectl(history).run().success();
    assert!(
        run.stderr
            .contains(&format!("there is no rule `{rule}` now"))
    );
    let add = "alerts add --api tmdb --type ERROR_SPIKE --period HOUR --threshold 5";
    db.usagectl(add.split(' ')).run().success();
    let run = db.usagectl(history).run().success();
    assert!(!run.stderr.contains("no rule"), "{}", run.stderr);
    let add = "alerts add --api * --type ERROR_SPIKE --period DAY --threshold 5";
    db.usagectl(add.split(' ')).run().success();
    let history = ["alerts", "history", "--rule", "tmdb/ERROR_SPIKE/DAY"];
    let run = db.usagectl(history).run().success();
    assert!(!run.stderr.contains("no rule"), "{}", run.stderr);
    let id = db
        .rows("SELECT id FROM api_alerts WHERE api_name = '*'")
        .remove(0);
    put_event(&db, 1, "2026-01-31T11:00:00.000+00:00", &id, "tmdb");
    let history = ["alerts", "history", "--rule", "*/ERROR_SPIKE/DAY"];
    let run = db.usagectl(history).run().success();
    assert_eq!(run.stdout.lines().count(), 2, "{}", run.snapshot());
}
