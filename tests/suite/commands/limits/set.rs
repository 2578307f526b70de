//! Limits of services, set by hand.

use crate::support::assert_snapshot;

use super::json;
use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

#[rstest]
fn a_limit_and_a_budget_are_set_listed_and_removed(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let set = [
        "limits",
        "set",
        "--service",
        "VERCEL_KV",
        "--metric",
        "STORAGE_MB",
        "--plan",
        "free",
        "--warning",
        "60",
        "--critical",
        "80",
        "--by",
        "ops",
        "256",
    ];
    assert_snapshot!(db.usagectl(set).run().snapshot(), @"
        ------- stderr -------
        VERCEL_KV STORAGE_MB on free: 256, warning at 60%, critical at 80%
        [exit status: 0]
        ");
    let budget = [
        "limits",
        "set",
        "--service",
        "AI_OPENAI",
        "--metric",
        "COST_USD",
        "--budget",
        "--note",
        "agreed in January",
        "50",
    ];
    db.usagectl(budget).run().success();
    assert_snapshot!(db.usagectl(["limits"]).run().success().stdout, @"
        SERVICE    METRIC      PLAN    LIMIT  WARNING  CRITICAL  PER            HOLDS  ORIGIN  GRADE  PAGE OF  SOURCE
        VERCEL_KV  STORAGE_MB  free      256      60%       80%  -              yes    USER    -      -        -
        AI_OPENAI  COST_USD    budget     50      75%       90%  BILLING_MONTH  yes    BUDGET  -      -        -
        ");
    let answer = json(&db, ["limits", "list", "--service", "AI_OPENAI"]);
    assert_eq!(answer["limits"][0]["note"], "agreed in January");
    assert_eq!(answer["limits"].as_array().unwrap().len(), 1);
    assert_eq!(answer["api_limits"].as_array().unwrap().len(), 0);
    // Another plan is in use now, so the limit of this one no longer holds; the budget does.
    db.usagectl(["limits", "plan", "upstash", "payg"])
        .run()
        .success();
    let held = json(&db, ["limits", "list"]);
    let held: Vec<_> = held["limits"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|limit| limit["in_force"] == true)
        .map(|limit| limit["plan"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(held, ["payg", "payg", "budget"]);
    let remove = [
        "limits",
        "remove",
        "--service",
        "AI_OPENAI",
        "--metric",
        "COST_USD",
        "--plan",
        "budget",
    ];
    db.usagectl(remove).run().success();
    assert_eq!(db.usagectl(remove).run().code, 1);
    assert_eq!(
        db.rows("SELECT * FROM usagectl_limit_origins WHERE service = 'AI_OPENAI'"),
        Vec::<String>::new()
    );
}

#[rstest]
fn the_plan_in_use_needs_no_name(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let set = [
        "limits",
        "set",
        "--service",
        "VERCEL_KV",
        "--metric",
        "STORAGE_MB",
        "300",
    ];
    assert_snapshot!(db.usagectl(set).run().snapshot(), @"
        ------- stderr -------
        error: nobody has said which plan of upstash is in use
        next: give --plan, or say so: usagectl limits plan upstash PLAN
        [exit status: 2]
        ");
    db.usagectl(["limits", "plan", "upstash", "free"])
        .run()
        .success();
    db.usagectl(set).run().success();
    let stored = "SELECT \"currentPlan\", \"limitValue\" FROM \"InfrastructureLimit\" WHERE metric = 'STORAGE_MB'";
    assert_eq!(db.rows(stored), ["free|300"]);
    let credits = [
        "limits",
        "set",
        "--service",
        "AI_CREDITS",
        "--metric",
        "USAGE_PERCENT",
        "100",
    ];
    assert_eq!(db.usagectl(credits).run().code, 2);
}

#[rstest]
fn what_makes_no_sense_is_refused(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let set = [
        "limits",
        "set",
        "--service",
        "VERCEL_KV",
        "--metric",
        "STORAGE_MB",
        "--plan",
        "free",
    ];
    for args in [
        &["0"][..],
        &["-1"],
        &["nan"],
        &["1e300"],
        &["inf"],
        &["--warning", "90", "--critical", "80", "256"],
        &["--warning", "0", "256"],
        &["--warning", "nan", "256"],
        &["--critical", "1e9", "256"],
        &["--period", "DAY", "256"],
        &["--kind", "speed", "256"],
        &["--api", "finnhub", "--per", "MINUTE", "256"],
        &["--unit", "credits", "256"],
        &[],
    ] {
        let run = db.usagectl(set.iter().chain(args)).run();
        assert_eq!(run.code, 2, "{args:?}: {}", run.snapshot());
    }
    assert_eq!(
        db.usagectl(["limits", "set", "--service", "VERCEL_KV", "256"])
            .run()
            .code,
        2
    );
    assert_eq!(db.usagectl(["limits", "set", "256"]).run().code, 2);
    assert_eq!(
        db.rows("SELECT * FROM \"InfrastructureLimit\""),
        Vec::<String>::new()
    );
}

#[rstest]
fn rows_that_make_no_sense_are_listed_and_said_to_be_unknown(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let row = |id: &str, metric: &str, plan: &str, value: &str, warning: &str| {
        db.execute(&format!(
            "INSERT INTO \"InfrastructureLimit\"
                     (id, service, metric, \"currentPlan\", \"limitValue\", \"warningPercent\", \"createdAt\", \"updatedAt\")
                 VALUES ('{id}', 'VERCEL_KV', '{metric}', '{plan}', {value}, {warning}, {at}, {at})",
            at = match db.engine() {
                // Prisma's integer milliseconds.
                crate::support::Engine::Sqlite => "1767225600000",
                crate::support::Engine::Postgresql => "'2026-01-01'",
            }
        ));
    };
    row("1", "STORAGE_MB", "free", "256", "95");
    row("2", "CONNECTIONS", "free", "0", "75");
    row("3", "LATENCY_MS", "a", "100", "75");
    row("4", "LATENCY_MS", "b", "200", "75");
    if db.engine() == crate::support::Engine::Postgresql {
        row("5", "BANDWIDTH_GB", "free", "'NaN'", "'Infinity'");
    } else {
        row("5", "BANDWIDTH_GB", "free", "'much'", "9e999");
    }
    let answer = json(&db, ["limits", "list"]);
    let faults: Vec<_> = answer["limits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|limit| {
            format!(
                "{} {} {}",
                limit["metric"].as_str().unwrap(),
                limit["in_force"],
                limit["fault"].as_str().unwrap_or("-")
            )
        })
        .collect();
    assert_eq!(
        faults,
        [
            "STORAGE_MB false it warns at 95% and is critical at 90%",
            "CONNECTIONS false 0 is no limit",
            "LATENCY_MS false there are limits of a, b, and nobody has said which plan is in use",
            "LATENCY_MS false -",
            "BANDWIDTH_GB false NaN is no limit",
        ]
    );
    db.usagectl(["limits", "list"]).run().success();
    db.usagectl(["limits", "init", "--plan", "upstash=free"])
        .run()
        .success();
}
