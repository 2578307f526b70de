//! `alerts silence`.

use crate::support::assert_snapshot;
use serde_json::Value;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alerts::{put_calls, put_rules_with_states};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

#[rstest]
fn silence_is_added_listed_and_expired(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rules_with_states(&db);
    let add = [
        "alerts",
        "silence",
        "add",
        "--api",
        "finnhub",
        "--for",
        "2h",
        "--reason",
        "new release",
    ];
    assert_snapshot!(db.usagectl(add).run().success().snapshot(), @"
        added 2d577d2d  silence of finnhub from 2026-01-31T12:00:00Z to 2026-01-31T14:00:00Z: new release
        [exit status: 0]
        ");
    let rule = [
        "alerts",
        "silence",
        "add",
        "--rule",
        "bbbb",
        "--until",
        "2026-02-02T00:00:00Z",
        "--from",
        "2026-02-01T00:00:00Z",
        "--reason",
        "inventory",
    ];
    db.usagectl(rule).run().success();
    let list = |args: &[&str]| {
        let list = db
            .usagectl(["alerts", "silence", "list"].iter().chain(args))
            .env("USER", "anna");
        let table = list.run().success().stdout;
        let line = |line: &str| {
            line.split("  ")
                .filter(|cell| !cell.is_empty() && !cell.contains('@'))
                .collect::<Vec<_>>()
                .join("|")
        };
        table.lines().map(line).collect::<Vec<_>>().join("\n")
    };
    assert_snapshot!(list(&[]), @"
    ID|STATE|MATCHES|STARTS|ENDS|BY| REASON
    2d577d2d|ACTIVE| finnhub|2026-01-31T12:00:00Z|2026-01-31T14:00:00Z|new release
    4dbff197|PENDING|rule bbbbbbbb-2|2026-02-01T00:00:00Z|2026-02-02T00:00:00Z|inventory
    ");
    let json = db
        .usagectl(["alerts", "list", "--api", "finnhub", "--format", "json"])
        .run()
        .success()
        .stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["rules"][0]["states"][0]["silenced_until"],
        "2026-01-31T14:00:00.000Z"
    );
    let id = db
        .rows("SELECT id FROM usagectl_silences WHERE api_name = 'finnhub'")
        .remove(0);
    db.usagectl(["alerts", "silence", "expire", &id[..8]])
        .now("2026-01-31T13:00:00Z")
        .run()
        .success();
    let ends = db.rows("SELECT ends_at FROM usagectl_silences WHERE api_name = 'finnhub'");
    assert_eq!(ends, ["2026-01-31T13:00:00.000+00:00"]);
    let again = db
        .usagectl(["alerts", "silence", "expire", &id])
        .now("2026-01-31T13:30:00Z")
        .run();
    assert_eq!(again.code, 2);
    assert!(
        again.stderr.contains("next: usagectl alerts silence list"),
        "{}",
        again.stderr
    );
    db.usagectl(["alerts", "silence", "expire", "--all"])
        .run()
        .success();
    assert_snapshot!(list(&["--all"]), @"
    ID|STATE|MATCHES|STARTS|ENDS|BY| REASON
    2d577d2d|EXPIRED|finnhub|2026-01-31T12:00:00Z|2026-01-31T12:00:00Z|new release
    4dbff197|EXPIRED|rule bbbbbbbb-2|2026-02-01T00:00:00Z|2026-02-01T00:00:00Z|inventory
    ");
}

#[rstest]
fn pattern_warns_only_if_no_api_with_calls_matches(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rules_with_states(&db);
    put_calls(&db, "finnhub", 0, 1);
    for (pattern, is_unknown) in [
        ("fin*", false),
        ("?innhub", false),
        ("*", false),
        ("ope*", true),
    ] {
        let add = [
            "alerts", "silence", "add", "--for", "1h", "--reason", "x", "--api",
        ];
        let run = db.usagectl(add.iter().chain([&pattern])).run().success();
        let warns = run.stderr.contains("no calls to");
        assert_eq!(warns, is_unknown, "{pattern}: {}", run.stderr);
    }
}

#[rstest]
fn silence_without_reason_end_or_matcher_is_refused(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    for args in [
        &["--api", "finnhub", "--for", "2h"][..],
        &["--api", "finnhub", "--reason", "x"],
        &["--for", "2h", "--reason", "x"],
        &["--api", "finnhub", "--for", "2h", "--reason", " "],
        &["--api", "finnhub", "--for", "0s", "--reason", "x"],
        &["--all", "--until", "2026-01-31T11:00:00Z", "--reason", "x"],
        &["--all", "--api", "finnhub", "--for", "2h", "--reason", "x"],
    ] {
        let run = db
            .usagectl(["alerts", "silence", "add"].iter().chain(args))
            .run();
        assert_eq!(run.code, 2, "{args:?}: {}", run.stderr);
    }
    let no_rule = [
        "alerts", "silence", "add", "--rule", "zzzz", "--for", "2h", "--reason", "x",
    ];
    assert_eq!(db.usagectl(no_rule).run().code, 2);
    assert_eq!(db.rows("SELECT count(*) FROM usagectl_silences"), ["0"]);
    let unmatched = [
        "alerts", "silence", "add", "--api", "tmbd", "--for", "2h", "--reason", "x",
    ];
    let unmatched = db.usagectl(unmatched).run().success();
    assert!(
        unmatched.stderr.contains("no rule matches"),
        "{}",
        unmatched.stderr
    );
}

#[rstest]
fn silence_of_limits_is_not_reported_as_unmatched(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let add = |of: &[&str]| {
        let add = ["alerts", "silence", "add", "--for", "1h", "--reason", "x"];
        let add = db.usagectl(add.iter().chain(of));
        add.run().success().stderr
    };
    for pattern in ["VERCEL_KV*", "VERCEL_KV STORAGE_MB"] {
        assert_eq!(add(&["--api", pattern]), "", "{pattern}");
    }
    let unmatched = add(&["--api", "VERCEL_KV*", "--type", "NO_DATA"]);
    assert!(
        unmatched.contains("no rule matches the silence now"),
        "{unmatched}"
    );
}
