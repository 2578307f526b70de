//! `recommend run`, `list` and `inputs`, with the example metrics.

use std::thread;

use crate::support::assert_snapshot;
use serde_json::Value;
use usagectl::store::lock::RunKind;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, OtherRole, Run, TestDatabase};
use rstest::rstest;

/// Imports the example metrics and their limits.
fn prepare(db: &TestDatabase) {
    let metrics = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/metrics.ndjson");
    db.usagectl(["collect", "import", metrics]).run().success();
    let plans = ["vercel=pro", "upstash=free", "neon=launch"];
    let mut init = db.usagectl(["limits", "init"]);
    for plan in plans {
        init = init.arg("--plan").arg(plan);
    }
    init.run().success();
}

fn recommend(db: &TestDatabase, args: &[&str]) -> Run {
    db.usagectl(["recommend"].iter().chain(args)).run()
}

fn count(db: &TestDatabase, table: &str) -> String {
    db.rows(&format!("SELECT count(*) FROM {table}")).remove(0)
}

#[rstest]
fn repeated_runs_keep_one_recommendation(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    prepare(&db);
    let dry = recommend(&db, &["run", "--dry-run"]).success();
    assert!(dry.stdout.contains("nothing was written"), "{}", dry.stdout);
    assert_eq!(count(&db, "\"UpgradeRecommendation\""), "0");
    for _ in 0..5 {
        recommend(&db, &["run"]).success();
    }
    let list = recommend(&db, &["list", "--status", "pending"])
        .success()
        .stdout;
    assert_snapshot!(list, @"
        ID        PRIORITY  STATUS   SERVICE    METRIC      PLAN                USED    NOW  DAYS TO LIMIT  EXTRA COST
        019c13ec  HIGH      PENDING  VERCEL_KV  STORAGE_MB  free -> fixed-1gb  89.2%  89.2%  21 (19 to 23)      $20.00
        ");
    assert_eq!(count(&db, "usagectl_recommendation_history"), "1");
    assert_eq!(
        db.rows(
            "SELECT \"recommendedPlan\", \"currentCost\", \"revenueImpact\", \"profitImpact\", roi, \"expiresAt\"
                 FROM \"UpgradeRecommendation\""
        ),
        ["fixed-1gb|0|NULL|NULL|NULL|2026-02-14T11:55:00.000+00:00"]
    );
    let json = recommend(&db, &["list", "--format", "json"])
        .success()
        .stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    let it = &json["recommendations"][0];
    assert_eq!(it["facts"]["catalogue_version"], "2026.11.21");
    assert_eq!(it["seen_count"], Value::Null);
}

#[rstest]
fn status_counts_open_recommendations_and_lists_stale_metrics(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let lines = |at: &str| -> Vec<String> {
        let status = db.usagectl(["status"]).now(at).run().success().stdout;
        let ours = |line: &&str| line.starts_with("recommendations:") || line.starts_with("stale:");
        status.lines().filter(ours).map(str::to_owned).collect()
    };
    let now = "2026-01-31T12:00:00Z";
    assert_eq!(lines(now), [""; 0]);
    prepare(&db);
    recommend(&db, &["run"]).success();
    assert_eq!(lines(now), ["recommendations: 1 open (1 HIGH)"]);
    // The metrics that `limits check` reports as stale.
    let check = db
        .usagectl(["limits", "check", "--format", "json"])
        .now("2026-02-10T12:00:00Z")
        .run()
        .stdout;
    let check: Value = serde_json::from_str(&check).unwrap();
    let limits = check["limits"].as_array().unwrap();
    let stale = limits
        .iter()
        .filter(|limit| limit["state"] == "STALE")
        .count();
    let later = lines("2026-02-10T12:00:00Z");
    assert_eq!(later.len(), 1 + stale, "{later:?}");
    assert!(
        later.contains(&"stale: VERCEL_KV STORAGE_MB: newest value is 10d old".to_owned()),
        "{later:?}"
    );
    let json = db
        .usagectl(["status", "--format", "json"])
        .now("2026-02-10T12:00:00Z")
        .run()
        .success()
        .stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (
            &json["recommendations"]["open"],
            &json["recommendations"]["high"]
        ),
        (&1.into(), &1.into())
    );
    assert_eq!(json["stale_metrics"].as_array().unwrap().len(), stale);
    recommend(&db, &["dismiss", "019c13ec", "--by", "ann", "--note", "no"]).success();
    assert_eq!(lines(now), [""; 0]);
    // Without the tables it is null.
    db.usagectl(["rollback", "--steps", "2", "--yes", "--accept-data-loss"])
        .run()
        .success();
    let json = db.usagectl(["status", "--format", "json"]).run().stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["recommendations"], Value::Null);
}

#[rstest]
fn concurrent_runs_create_one_recommendation(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    prepare(&db);
    let waiting = ["run", "--lock-wait", "60s"];
    let codes = thread::scope(|scope| {
        let runs: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| recommend(&db, &waiting).code))
            .collect();
        runs.into_iter()
            .map(|run| run.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(codes, [0, 0]);
    assert_eq!(count(&db, "\"UpgradeRecommendation\""), "1");
    assert_eq!(count(&db, "usagectl_recommendation_history"), "1");
}

#[rstest]
fn run_beside_another_run_is_busy(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    prepare(&db);
    let lock = db.lock(RunKind::Recommend);
    assert_eq!(recommend(&db, &["run"]).code, 6);
    // A dry run writes no recommendation and takes no lock.
    recommend(&db, &["run", "--dry-run"]).success();
    assert_eq!(count(&db, "\"UpgradeRecommendation\""), "0");
    drop(lock);
    recommend(&db, &["run"]).success();
}

#[rstest]
fn decision_by_application_is_kept(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    prepare(&db);
    recommend(&db, &["run"]).success();
    db.execute("UPDATE \"UpgradeRecommendation\" SET status = 'DISMISSED'");
    for _ in 0..3 {
        recommend(&db, &["run"]).success();
    }
    assert_eq!(recommend(&db, &[]).success().stdout, "no recommendations\n");
    assert_eq!(
        db.rows(
            "SELECT actor_kind, from_status, to_status FROM usagectl_recommendation_history ORDER BY number"
        ),
        ["ENGINE|NULL|PENDING", "APPLICATION|PENDING|DISMISSED"]
    );
    // It may also delete the row: the question can be answered again.
    db.execute("DELETE FROM \"UpgradeRecommendation\"");
    let again = db
        .usagectl(["recommend", "run"])
        .now("2026-01-31T12:15:00Z")
        .run()
        .success();
    assert!(again.stdout.contains("new"), "{}", again.stdout);
}

#[rstest]
fn second_open_answer_by_application_expires(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    prepare(&db);
    recommend(&db, &["run"]).success();
    // After the implementation a new one is created; then the application reopens the old one.
    db.execute("UPDATE \"UpgradeRecommendation\" SET status = 'IMPLEMENTED'");
    let old = db
        .rows("SELECT id FROM \"UpgradeRecommendation\"")
        .remove(0);
    let later = || {
        db.usagectl(["recommend", "run"])
            .now("2026-01-31T12:15:00Z")
            .run()
    };
    later().success();
    assert_eq!(count(&db, "\"UpgradeRecommendation\""), "2");
    db.execute(&format!(
        "UPDATE \"UpgradeRecommendation\" SET status = 'PENDING' WHERE id = '{old}'"
    ));
    let run = later().success();
    assert!(run.stdout.contains("expired"), "{}", run.stdout);
    let open = "SELECT count(*) FROM \"UpgradeRecommendation\" WHERE status = 'PENDING'";
    assert_eq!(db.rows(open), ["1"]);
    let history = format!(
        "SELECT actor_kind, from_status, to_status FROM usagectl_recommendation_history
             WHERE recommendation_id = '{old}' ORDER BY number"
    );
    assert_eq!(
        db.rows(&history)[2..],
        ["APPLICATION|IMPLEMENTED|PENDING", "ENGINE|PENDING|EXPIRED"]
    );
    let run = later().success();
    assert!(run.stdout.contains("refreshed"), "{}", run.stdout);
}

#[rstest]
fn unreadable_values_do_not_fail_a_run(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    prepare(&db);
    recommend(&db, &["run"]).success();
    let (odd, number) = match db.engine() {
        Engine::Sqlite => ("'yesterday'", "'much'"),
        Engine::Postgresql => ("'infinity'", "'NaN'"),
    };
    db.execute(&format!(
        "UPDATE \"UpgradeRecommendation\" SET \"createdAt\" = {odd}, \"expiresAt\" = {odd},
                \"updatedAt\" = {odd}, \"reviewedAt\" = {odd}, roi = {number}, \"currentCost\" = {number}"
    ));
    let list = recommend(&db, &["list", "--format", "json"])
        .success()
        .stdout;
    assert!(!list.contains("NaN") && !list.contains("1970"), "{list}");
    recommend(&db, &["show", "019c13ec"]).success();
    recommend(&db, &["run"]).success();
    assert_eq!(
        db.rows(
            "SELECT \"currentCost\", \"expiresAt\" FROM \"UpgradeRecommendation\" WHERE roi IS NULL"
        ),
        ["0|2026-02-14T11:55:00.000+00:00"]
    );
}

#[rstest]
fn approved_figures_are_frozen(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    prepare(&db);
    recommend(&db, &["run"]).success();
    recommend(&db, &["review", "019c13ec"]).success();
    recommend(&db, &["approve", "019c13ec"]).success();
    let figures = "SELECT \"currentUsage\", \"daysToLimit\", reason FROM \"UpgradeRecommendation\"";
    let decided = db.rows(figures);
    let more = r#"{"service":"VERCEL_KV","metric":"STORAGE_MB","value":255,"timestamp":"2026-02-01T11:55:00Z"}"#;
    let later = |args: &[&str]| db.usagectl(args).now("2026-02-01T12:00:00Z");
    later(&["collect", "import", "-"])
        .stdin(more)
        .run()
        .success();
    let run = later(&["recommend", "run"]).run().success();
    assert!(run.stdout.contains("frozen"), "{}", run.stdout);
    assert_eq!(db.rows(figures), decided);
    // The list and the screen have the current utilization beside the approved one.
    let list = later(&["recommend"]).run().success().stdout;
    assert!(list.contains("89.2%  99.6%"), "{list}");
    let screen = later(&["recommend", "show", "019c13ec"]).run().success();
    let beside = "APPROVED at 89.2% of the limit; now 99.6%, CRITICAL\n";
    assert!(screen.stdout.contains(beside), "{}", screen.stdout);
    let show = ["recommend", "show", "019c13ec", "--all"];
    let page = later(&show).run().success().stdout;
    for part in [beside, " limit 256\n", "░"] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    let json = later(&[&show[..], &["--format", "json"]].concat())
        .run()
        .success()
        .stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["live"]["value"], 255.0);
    assert_eq!(json["live"]["thresholds"][2]["name"], "limit");
    db.execute("DELETE FROM \"InfrastructureMetric\" WHERE timestamp < '2026-01-30'");
    later(&["recommend", "run"]).run().success();
    let page = later(&show).run().success().stdout;
    assert!(page.contains("\nVERCEL_KV STORAGE_MB"), "{page}");
}

#[rstest]
fn change_of_plan_expires_the_recommendation(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    prepare(&db);
    recommend(&db, &["run"]).success();
    let later = |args: &[&str]| {
        db.usagectl(args)
            .now("2026-01-31T12:05:00Z")
            .run()
            .success()
    };
    later(&["limits", "plan", "upstash", "fixed-1gb"]);
    let run = later(&["recommend", "run"]);
    assert!(run.stdout.contains("expired"), "{}", run.stdout);
    assert_eq!(
        db.rows("SELECT status FROM \"UpgradeRecommendation\""),
        ["EXPIRED"]
    );
}

/// With stale days, while another program holds SQLite's write lock, and by a PostgreSQL role that may only read.
#[rstest]
#[case::recommend_run("recommend run --dry-run")]
#[case::collect_prune("collect prune --older-than 30d --dry-run")]
#[case::limits_init("limits init --plan upstash=payg --dry-run")]
#[case::limits_import("limits import catalogue.toml --dry-run")]
fn dry_run_only_reads(#[case] command: &str, #[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    prepare(&db);
    db.execute("UPDATE \"InfrastructureMetric\" SET value = value + 1 WHERE service = 'VERCEL_KV'");
    let catalogue = db.usagectl(["limits", "catalogue"]).run().success().stdout;
    let newer = catalogue.replacen("version = \"2026.", "version = \"2027.", 1);
    db.sandbox().file("catalogue.toml", newer);
    let everything = || {
        [
            "SELECT count(*) FROM usagectl_dirty_metric_days",
            "SELECT service, metric, day, last_value FROM usagectl_metric_days ORDER BY 1, 2, 3",
            "SELECT plan FROM usagectl_plan_choices ORDER BY 1",
            "SELECT version FROM usagectl_catalogues",
        ]
        .map(|query| db.rows(query))
    };
    let before = everything();
    assert_ne!(before[0], ["0"]);
    let words = command.split(' ');
    match engine {
        Sqlite => {
            let _writer = db.open_transaction("SELECT 1");
            db.usagectl(words).run().success();
        }
        Postgresql => {
            let role = OtherRole::new(&db);
            let name = &role.name;
            db.execute(&format!(
                "GRANT USAGE ON SCHEMA public, usagectl TO {name};
                 GRANT SELECT ON ALL TABLES IN SCHEMA public, usagectl TO {name}"
            ));
            role.usagectl(words).run().success();
        }
    }
    assert_eq!(everything(), before);
}

#[rstest]
fn unmeasured_limit_is_reported_as_unknown(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let set = "usagectl limits init --plan PROVIDER=PLAN";
    let none = recommend(&db, &["run"]).success();
    assert_eq!(none.stderr, format!("no limits are set: run {set}\n"));
    let none = recommend(&db, &["run", "--fail-on", "low"]);
    assert_eq!(none.code, 12);
    assert!(none.stderr.ends_with(&format!("next: {set}\n")), "{none:?}");
    db.usagectl(["limits", "init", "--plan", "upstash=free"])
        .run()
        .success();
    let run = recommend(&db, &["run"]).success();
    let unknown = "unknown: VERCEL_KV STORAGE_MB (free): no measurements";
    assert!(run.stdout.contains(unknown), "{}", run.stdout);
}

#[rstest]
fn inputs_are_set_and_removed(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    recommend(&db, &["inputs", "set", "revenue_per_hour", "120.50"]).success();
    recommend(&db, &["inputs", "set", "revenue_per_hour", "130"]).success();
    recommend(
        &db,
        &[
            "inputs",
            "set",
            "affected_fraction",
            "--service",
            "vercel_kv",
            "0.3",
        ],
    )
    .success();
    assert_eq!(
        db.rows("SELECT name, service, value FROM usagectl_inputs ORDER BY name"),
        ["affected_fraction|VERCEL_KV|0.3", "revenue_per_hour||130"]
    );
    let refused = recommend(&db, &["inputs", "set", "affected_fraction", "3"]);
    assert_eq!(refused.code, 2, "{}", refused.snapshot());
    let removed = recommend(&db, &["inputs", "remove", "revenue_per_hour"]).success();
    assert_eq!(
        removed.stdout,
        "revenue_per_hour removed for all services\n"
    );
    // As every name that does not exist.
    assert_eq!(
        recommend(&db, &["inputs", "remove", "revenue_per_hour"]).code,
        2
    );
    let list = recommend(&db, &["inputs"]).success().stdout;
    assert!(
        list.contains("revenue_per_hour   -          not set"),
        "{list}"
    );
}
