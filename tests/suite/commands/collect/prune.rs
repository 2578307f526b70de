//! Pruning of old points.

use crate::support::assert_snapshot;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/metrics.ndjson");

fn days(db: &TestDatabase) -> Vec<String> {
    db.rows("SELECT service, metric, day, points, last_value, used FROM usagectl_metric_days ORDER BY 1, 2, 3")
}

fn points(db: &TestDatabase) -> Vec<String> {
    db.rows("SELECT count(*), min(timestamp) FROM \"InfrastructureMetric\"")
}

#[rstest]
fn points_are_pruned_after_their_day_is_summarized(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.usagectl(["collect", "import", EXAMPLE]).run().success();
    // Written by another program and not summarized yet.
    db.execute(
        "INSERT INTO \"InfrastructureMetric\" (id, service, metric, value, timestamp)
             VALUES ('old', 'VERCEL_KV', 'STORAGE_MB', 7, '2025-11-01T12:00:00.000+00:00')",
    );
    let prune = ["collect", "prune", "--older-than", "30d"];
    assert_snapshot!(db.usagectl(prune).arg("--dry-run").run().success().stdout, @"would remove 262 points up to 2025-12-31
");
    assert_eq!(days(&db).len(), 540);
    assert_snapshot!(db.usagectl(prune).run().success().stdout, @"removed 262 points up to 2025-12-31; their daily summaries are kept
");
    let before = days(&db);
    assert_eq!(before.len(), 541);
    assert_eq!(points(&db), ["279|2026-01-01T11:55:00.000+00:00"]);
    db.usagectl(prune).run().success();
    assert_eq!(days(&db), before);
    let late = "{\"service\":\"VERCEL_KV\",\"metric\":\"STORAGE_MB\",\"value\":9,\"timestamp\":\"2025-12-05T13:00:00Z\"}";
    let late = db
        .usagectl(["collect", "import"])
        .stdin(late)
        .run()
        .success();
    assert!(
        late.stderr.contains("late points in 1 pruned day"),
        "{}",
        late.stderr
    );
    assert_eq!(days(&db), before);
    assert_eq!(
        db.usagectl(["collect", "prune", "--older-than", "1h"])
            .run()
            .code,
        2
    );
}

#[test]
fn sqlite_unreadable_timestamps_are_not_pruned() {
    let db = TestDatabase::migrated(crate::support::Engine::Sqlite);
    // The first four are in 2025.
    for (index, timestamp) in [
        "'2025-12-31T12:00:00.000+00:00'",
        "'2025-12-31 12:00:00'",
        "1767182400000",
        "'2026-01-01T08:00:00+09:00'",
        "1769860800000",
        "'2025-12-31T23:00:00-05:00'",
        "'soon'",
        "x'00'",
        "'2025-02-30T12:00:00.000+00:00'",
    ]
    .iter()
    .enumerate()
    {
        db.execute(&format!(
            "INSERT INTO \"InfrastructureMetric\" (id, service, metric, value, timestamp)
             VALUES ('{index}', 'VERCEL_KV', 'STORAGE_MB', 1, {timestamp})"
        ));
    }
    db.usagectl(["collect", "prune", "--older-than", "30d"])
        .run()
        .success();
    let left = db.rows("SELECT id FROM \"InfrastructureMetric\" ORDER BY id");
    assert_eq!(left, ["4", "5", "6", "7", "8"]);
    assert_eq!(
        db.rows("SELECT day, points, sealed FROM usagectl_metric_days ORDER BY day"),
        [
            "2025-12-31T00:00:00.000+00:00|4|1",
            "2026-01-01T00:00:00.000+00:00|1|0",
            "2026-01-31T00:00:00.000+00:00|1|0",
        ]
    );
}
