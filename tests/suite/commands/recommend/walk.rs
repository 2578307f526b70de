//! From measurements to a decision and its outcome.

use serde_json::Value;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

const METRICS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/metrics.ndjson");

fn json(db: &TestDatabase, args: &[&str]) -> Value {
    let run = db
        .usagectl(args)
        .arg("--format")
        .arg("json")
        .run()
        .success();
    serde_json::from_str(&run.stdout).unwrap()
}

#[rstest]
fn metrics_lead_to_an_implemented_recommendation_with_outcome(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    db.usagectl(["collect", "import", METRICS]).run().success();
    db.usagectl(["limits", "init", "--plan", "upstash=free"])
        .run()
        .success();
    db.usagectl(["recommend", "run"]).run().success();
    let list = json(&db, &["recommend", "list"]);
    let [it] = &list["recommendations"].as_array().unwrap()[..] else {
        panic!("{list}")
    };
    assert_eq!(
        [
            "service",
            "metric",
            "status",
            "current_plan",
            "recommended_plan"
        ]
        .map(|name| &it[name]),
        ["VERCEL_KV", "STORAGE_MB", "PENDING", "free", "fixed-1gb"]
    );
    let id = it["id"].as_str().unwrap();

    // Without new data nothing changes.
    db.usagectl(["recommend", "run"]).run().success();
    let page = json(&db, &["recommend", "show", id]);
    assert_eq!(page["history"].as_array().unwrap().len(), 1);
    assert_eq!(page["narrative"]["source"], "template");

    db.usagectl([
        "recommend",
        "review",
        id,
        "--by",
        "ann",
        "--if-version",
        "1",
    ])
    .run()
    .success();
    db.usagectl([
        "recommend",
        "approve",
        id,
        "--by",
        "bob",
        "--if-version",
        "2",
    ])
    .run()
    .success();
    // Approved figures are frozen.
    let facts = || json(&db, &["recommend", "show", id])["recommendation"]["facts"].clone();
    let decided = facts();
    db.usagectl(["recommend", "run"])
        .now("2026-02-01T06:00:00Z")
        .run()
        .success();
    assert_eq!(facts(), decided);
    db.usagectl(["recommend", "implement", id, "--by", "bob"])
        .run()
        .success();
    assert_eq!(
        db.rows("SELECT status, \"reviewedBy\", \"implementedAt\" FROM \"UpgradeRecommendation\""),
        ["IMPLEMENTED|bob|2026-01-31T12:00:00.000+00:00"]
    );
    let steps = json(&db, &["recommend", "history", id]);
    let steps = steps["history"].as_array().unwrap().iter();
    let kinds: Vec<_> = steps
        .map(|step| (step["actor_kind"].clone(), step["to"].clone()))
        .collect();
    assert_eq!(
        kinds
            .iter()
            .map(|(kind, to)| (kind.as_str().unwrap(), to.as_str().unwrap()))
            .collect::<Vec<_>>(),
        [
            ("ENGINE", "PENDING"),
            ("PERSON", "REVIEWED"),
            ("PERSON", "APPROVED"),
            ("PERSON", "IMPLEMENTED")
        ]
    );

    // The outcome is measured 14 days later.
    assert_eq!(
        json(&db, &["recommend", "show", id])["outcome"],
        Value::Null
    );
    let storage = [
        "collect",
        "set",
        "--service",
        "VERCEL_KV",
        "--metric",
        "STORAGE_MB",
        "243.5",
    ];
    db.usagectl(storage)
        .now("2026-02-15T12:00:00Z")
        .run()
        .success();
    db.usagectl(["recommend", "run"])
        .now("2026-02-15T12:00:00Z")
        .run()
        .success();
    let outcome = json(&db, &["recommend", "show", id])["outcome"].clone();
    assert_eq!(
        (&outcome["usage"], &outcome["would_be_over"]),
        (&243.5.into(), &false.into())
    );
    let page = db
        .usagectl(["recommend", "show", id, "--all"])
        .run()
        .success()
        .stdout;
    assert!(
        page.contains("\nusage                    243.5\n"),
        "{page}"
    );
}
