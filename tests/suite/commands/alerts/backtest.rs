//! `alerts backtest`: the result of checks over past data, without writing.

use crate::support::assert_snapshot;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::check::{check_with, checked, json};
use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alerts::{put_calls, put_limit, put_one_rule, put_rule, put_settings};
use crate::support::{Engine, Run, TestDatabase};
use rstest::rstest;

fn backtest(db: &TestDatabase, args: &[&str]) -> Run {
    let program = db.usagectl(["alerts", "backtest"].iter().chain(args));
    program.now("2026-02-28T00:00:00Z").run()
}

/// Two episodes: three minutes of 83 percent, then one of 75.
fn put_episodes(db: &TestDatabase) {
    put_one_rule(db);
    for (minute, count) in [(10, 50), (11, 55), (12, 49), (13, 1), (30, 45), (31, 1)] {
        put_calls(db, "finnhub", minute, count);
    }
}

const RANGE: [&str; 4] = [
    "--from",
    "2026-01-31T12:00:00Z",
    "--to",
    "2026-01-31T13:00:00Z",
];

#[rstest]
fn episodes_are_listed_with_notice_counts(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_episodes(&db);
    let args = [&["rule"][..], &RANGE].concat();
    assert_snapshot!(backtest(&db, &args).success().snapshot(), @"
        finnhub RATE_LIMIT_WARNING per MINUTE, threshold 80.0%: 2026-01-31T12:00:00Z to 2026-01-31T13:00:00Z, 61 steps

        API      FIRED                 ENDED                 DURATION  SEVERITY   PEAK
        finnhub  2026-01-31T12:11:00Z  2026-01-31T12:14:00Z        3m  WARNING   91.7%

        1 episode, firing 3m of 1h, 2 notices (1 FIRING, 1 RESOLVED)
        [exit status: 0]
        ");
    assert_eq!(
        db.rows("SELECT 1 FROM usagectl_alert_events UNION SELECT 1 FROM usagectl_alert_states"),
        [""; 0]
    );
    let described = [
        "--api",
        "finnhub",
        "--type",
        "RATE_LIMIT_WARNING",
        "--period",
        "MINUTE",
    ];
    let mut mistyped = described;
    mistyped[1] = "finhub";
    let mistyped = [&mistyped[..], &RANGE, &["--threshold", "5"]].concat();
    let warning = backtest(&db, &mistyped).success().stderr;
    assert!(warning.contains("did you mean `finnhub`?"), "{warning}");
    let described = backtest(&db, &[&described[..], &RANGE].concat()).success();
    assert_eq!(described.stdout, backtest(&db, &args).stdout);
    let lower = [&args[..], &["--set", "threshold=70", "--diff"]].concat();
    assert_snapshot!(backtest(&db, &lower).success().snapshot(), @"
        finnhub RATE_LIMIT_WARNING per MINUTE, threshold 70.0%: 2026-01-31T12:00:00Z to 2026-01-31T13:00:00Z, 61 steps

        API      FIRED                 ENDED                 DURATION  SEVERITY   PEAK  ONLY IN
        finnhub  2026-01-31T12:11:00Z  2026-01-31T12:14:00Z        3m  WARNING   91.7%  -
        finnhub  2026-01-31T12:31:00Z  2026-01-31T12:32:00Z        1m  WARNING   75.0%  changed

        changed: 2 episodes, firing 4m of 1h, 4 notices (2 FIRING, 2 RESOLVED)
        original: 1 episode, firing 3m of 1h, 2 notices (1 FIRING, 1 RESOLVED)
        [exit status: 0]
        ");
}

#[rstest]
fn described_rule_is_evaluated(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_calls(&db, "tmdb", 10, 50);
    let rule = [
        "--api",
        "tmdb",
        "--type",
        "rate_limit_warning",
        "--period",
        "minute",
        "--threshold",
        "90",
    ];
    let args = [
        &rule[..],
        &RANGE,
        &["--set", "limit=50", "--format", "json"],
    ]
    .concat();
    let found = json(backtest(&db, &args).success());
    assert_eq!(found["episodes"].as_array().unwrap().len(), 1);
    assert_eq!(found["notices"]["firing"], 1);
    assert_eq!(found["episodes"][0]["peak"], 100.0);
    let unknown =
        json(backtest(&db, &[&rule[..], &RANGE, &["--format", "json"]].concat()).success());
    assert_eq!(unknown["unknown_steps"], 61);
}

#[rstest]
fn invalid_change_or_range_is_a_usage_error(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_episodes(&db);
    for set in [
        "threshold",
        "threshold=-1",
        "limit=0",
        "colour=red",
        "for=soon",
    ] {
        let args = [&["rule"][..], &RANGE, &["--set", set]].concat();
        assert_eq!(backtest(&db, &args).code, 2, "{set}");
    }
    let backwards = [
        "rule",
        "--from",
        "2026-02-01T00:00:00Z",
        "--to",
        "2026-01-01T00:00:00Z",
    ];
    assert_eq!(backtest(&db, &backwards).code, 2);
    assert_eq!(
        backtest(&db, &[&["no such rule"][..], &RANGE].concat()).code,
        2
    );
}

#[rstest]
fn missing_rows_are_reported(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_episodes(&db);
    db.execute(
        "INSERT INTO api_usage_aggregates (id, api_name, aggregation_type, period_start, period_end,
                 total_requests, success_count, error_count, cached_count, updated_at)
             VALUES ('old', 'finnhub', 'DAILY', '2026-01-29T00:00:00.000+00:00', '2026-01-30T00:00:00.000+00:00',
                 900, 900, 0, 0, '2026-01-30T00:00:00.000+00:00')",
    );
    let from = [
        "--from",
        "2026-01-29T12:00:00Z",
        "--to",
        "2026-01-31T13:00:00Z",
    ];
    let run = backtest(&db, &[&["rule"][..], &from].concat());
    assert_eq!(run.code, 3);
    assert!(
        run.stdout
            .contains("rows are missing from 2026-01-29T00:00:00Z to 2026-01-30T00:00:00Z")
    );
    backtest(&db, &[&["rule"][..], &RANGE].concat()).success();
}

/// A backtest over the hour finds the events that checks found, whenever they ran.
fn backtest_equals_live(engine: Engine) {
    let config = ProptestConfig {
        failure_persistence: None,
        // A shorter case is not worth minutes.
        max_shrink_iters: 8,
        ..ProptestConfig::with_cases(4)
    };
    let strategy = (
        vec((0..60_i64, 1..14_i64), 0..20),
        vec(1..30_i64, 1..12),
        any::<bool>(),
    );
    proptest!(config, |((calls, gaps, rolled_up) in strategy)| {
        let db = TestDatabase::migrated(engine);
        for (number, (alert_type, threshold, period, hold)) in [
            ("RATE_LIMIT_WARNING", "80", "MINUTE", 1),
            ("RATE_LIMIT_WARNING", "30", "HOUR", 0),
            ("RATE_LIMIT_WARNING", "50", "SECOND", 0),
            ("COST_THRESHOLD", "1", "DAY", 0),
        ]
        .into_iter()
        .enumerate()
        {
            let id = format!("rule-{number}");
            put_rule(&db, &id, "finnhub", alert_type, threshold, period);
            put_settings(&db, &id, hold, "25", hold);
        }
        for (period, limit) in [("SECOND", 4), ("MINUTE", 10), ("HOUR", 100)] {
            put_limit(&db, "finnhub", period, limit);
        }
        put_calls(&db, "finnhub", -600, 1);
        let calls: std::collections::BTreeMap<_, _> = calls.into_iter().collect();
        for (minute, count) in calls {
            put_calls(&db, "finnhub", minute, count);
        }
        if rolled_up {
            db.usagectl(["aggregate"]).run().success();
        }
        let mut minute = 0;
        checked(&db, minute);
        for gap in gaps {
            minute = (minute + gap).min(60);
            checked(&db, minute);
        }
        check_with(&db, 60, &["--max-catch-up", "2h"]);
        for number in 0..4 {
            let id = format!("rule-{number}");
            let live = db.rows(&format!(
                "SELECT id FROM usagectl_alert_events WHERE alert_id = '{id}' ORDER BY at, id"
            ));
            let args = [&[id.as_str()][..], &RANGE, &["--format", "json", "--diff"]].concat();
            let found: Value = json(backtest(&db, &args));
            let ids = found["events"].as_array().unwrap().iter();
            let ids: Vec<_> = ids.map(|event| event["id"].as_str().unwrap().to_owned()).collect();
            prop_assert_eq!(&ids, &live, "{}", found);
            prop_assert_eq!(
                found["episodes"].as_array().unwrap().len(),
                found["compared_episodes"].as_array().unwrap().len()
            );
        }
    });
}

#[test]
fn backtest_equals_live_sqlite() {
    backtest_equals_live(Engine::Sqlite);
}

#[test]
fn backtest_equals_live_postgresql() {
    backtest_equals_live(Engine::Postgresql);
}
