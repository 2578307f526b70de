//! Limits of services, set by hand.

use crate::support::assert_snapshot;

use super::{json, words};
use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alerts::put_calls;
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

#[rstest]
fn limit_and_budget_are_set_listed_and_removed(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let set = words(
        "limits set --service VERCEL_KV --metric STORAGE_MB --plan free --warning 60 --critical 80 --by ops 256",
    );
    assert_snapshot!(db.usagectl(&set).run().snapshot(), @"
        METRIC                PLAN  PER  LIMIT  THRESHOLDS     ACTIVE  ORIGIN
        VERCEL_KV STORAGE_MB  free  -      256  60.0% / 80.0%  yes     USER
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
    db.usagectl(&budget).run().success();
    assert_snapshot!(db.usagectl(["limits"]).run().success().stdout, @"
        METRIC                PLAN    PER             LIMIT  THRESHOLDS     ACTIVE  ORIGIN
        VERCEL_KV STORAGE_MB  free    -                 256  60.0% / 80.0%  yes     USER
        AI_OPENAI COST_USD    budget  BILLING_MONTH  $50.00  75.0% / 90.0%  yes     BUDGET
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
    let remove = words("limits remove --service AI_OPENAI --metric COST_USD --plan budget");
    db.usagectl(&remove).run().success();
    assert_eq!(db.usagectl(&remove).run().code, 2);
    assert_eq!(
        db.rows("SELECT * FROM usagectl_limit_origins WHERE service = 'AI_OPENAI'"),
        Vec::<String>::new()
    );
}

#[rstest]
fn plan_in_use_is_the_default(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let set = words("limits set --service VERCEL_KV --metric STORAGE_MB 300");
    assert_snapshot!(db.usagectl(&set).run().snapshot(), @"
        ------- stderr -------
        error: no plan of upstash is selected
        next: give --plan, or select one: usagectl limits plan upstash PLAN
        [exit status: 2]
        ");
    db.usagectl(["limits", "plan", "upstash", "free"])
        .run()
        .success();
    db.usagectl(&set).run().success();
    let stored = "SELECT \"currentPlan\", \"limitValue\" FROM \"InfrastructureLimit\" WHERE metric = 'STORAGE_MB'";
    assert_eq!(db.rows(stored), ["free|300"]);
    let credits = words("limits set --service AI_CREDITS --metric USAGE_PERCENT 100");
    assert_eq!(db.usagectl(&credits).run().code, 2);
}

#[rstest]
fn set_keeps_omitted_fields(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let set = |change: &str| {
        let command =
            format!("limits set --service VERCEL_KV --metric REQUEST_COUNT --by ops {change}");
        db.usagectl(command.split(' ')).run().success();
        let row = db.rows(
            "SELECT \"currentPlan\", \"limitValue\", \"warningPercent\", \"criticalPercent\"
                FROM \"InfrastructureLimit\"",
        );
        let details = db.rows(
            "SELECT kind, period, at_limit, source, note, origin, updated_by
                FROM usagectl_limit_origins",
        );
        format!("{} {}", row.join(" "), details.join(" "))
    };
    let all = "--plan free --warning 60 --critical 80 --kind period --per day --at-limit reject --source contract --note old 500";
    let steps = [
        (
            all,
            "free|500|60|80 PERIOD|DAY|REJECT|contract|old|USER|ops",
        ),
        (
            "--warning 70",
            "free|500|70|80 PERIOD|DAY|REJECT|contract|old|USER|ops",
        ),
        (
            "--critical 95",
            "free|500|70|95 PERIOD|DAY|REJECT|contract|old|USER|ops",
        ),
        (
            "--per month",
            "free|500|70|95 PERIOD|MONTH|REJECT|contract|old|USER|ops",
        ),
        (
            "--at-limit bill",
            "free|500|70|95 PERIOD|MONTH|BILL|contract|old|USER|ops",
        ),
        (
            "--source mail",
            "free|500|70|95 PERIOD|MONTH|BILL|mail|old|USER|ops",
        ),
        (
            "--note new",
            "free|500|70|95 PERIOD|MONTH|BILL|mail|new|USER|ops",
        ),
        ("600", "free|600|70|95 PERIOD|MONTH|BILL|mail|new|USER|ops"),
        (
            "--kind rate",
            "free|600|70|95 RATE|NULL|BILL|mail|new|USER|ops",
        ),
        (
            "--plan FREE 700",
            "free|700|70|95 RATE|NULL|BILL|mail|new|USER|ops",
        ),
    ];
    for (change, expected) in steps {
        assert_eq!(set(change), expected, "{change}");
    }
}

#[rstest]
fn thresholds_alone_leave_a_limit_to_the_catalogue(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let run = |command: &str| db.usagectl(command.split(' ')).run().success();
    run("limits init --plan upstash=free");
    let set = "limits set --service VERCEL_KV --metric STORAGE_MB";
    run(&format!("{set} --warning 50"));
    let stored = || {
        let list = json(&db, ["limits", "list", "--metric", "STORAGE_MB"]);
        let limit = &list["limits"][0];
        format!(
            "{} {} {} {}",
            limit["limit_value"], limit["warning_percent"], limit["origin"], limit["grade"]
        )
        .replace('"', "")
    };
    assert_eq!(stored(), "256.0 50.0 CATALOGUE A");
    let answer = run("limits init --format csv").stdout;
    assert!(
        answer.contains("UNCHANGED,,VERCEL_KV,STORAGE_MB,free"),
        "{answer}"
    );
    // The catalogue's page does not state another value.
    run(&format!("{set} 300"));
    assert_eq!(stored(), "300.0 50.0 USER null");
}

#[rstest]
fn writes_answer_in_every_format(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let set = "limits set --service VERCEL_KV --metric STORAGE_MB";
    let run = |command: String| db.usagectl(command.split(' ')).run().success().stdout;
    let set_json: serde_json::Value =
        serde_json::from_str(&run(format!("{set} --plan free --format json 256"))).unwrap();
    assert_eq!(set_json["limits"][0]["limit_value"], 256.0);
    let csv = run(format!("{set} --format csv --warning 80"));
    assert!(
        csv.contains(",VERCEL_KV,STORAGE_MB,free,GAUGE,,,256,80,90,"),
        "{csv}"
    );
    let plan = json(&db, ["limits", "plan", "upstash", "free"]);
    assert_eq!(
        (&plan["is_new"], &plan["limits"][0]["change"]),
        (&true.into(), &"KEPT".into())
    );
    let plan = json(&db, ["limits", "plan", "upstash", "free"]);
    assert_eq!(plan["is_new"], false);
    let remove = words("limits remove --service VERCEL_KV --metric STORAGE_MB");
    let removed = json(&db, remove.clone());
    assert_eq!(
        (&removed["removed"], &removed["limits"][0]["plan"]),
        (&1.into(), &"free".into())
    );
    db.usagectl(words("limits init")).run().success();
    let restore = "usagectl limits init restores the published limits of the plans in use\n";
    assert_eq!(db.usagectl(&remove).run().success().stderr, restore);
}

#[rstest]
fn invalid_options_are_refused(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let set = words("limits set --service VERCEL_KV --metric STORAGE_MB --plan free");
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
        &["--critical", "100.5", "256"],
        &["--per", "DAY", "256"],
        &["--kind", "speed", "256"],
        &["--api", "finnhub", "--per", "MINUTE", "256"],
        &["--unit", "credits", "256"],
        &["--warning", "80"],
        &["256MB"],
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
    let of_api = "limits set --api finnhub --per MINUTE 60 --warning 70";
    let of_api = db.usagectl(words(of_api)).run().stderr;
    let reason = "'--api <NAME>' cannot be used with '--warning <PERCENT>'";
    assert!(of_api.contains(reason), "{of_api}");
    for args in [&["1e300"][..], &["--critical", "1e300", "256"]] {
        let run = db.usagectl(set.iter().chain(args)).run();
        let is_short = run.stderr.contains("1e300") && !run.stderr.contains("00000");
        assert!(run.code == 2 && is_short, "{}", run.stderr);
    }
    let rule = "alerts add --api finnhub --type COST_THRESHOLD --period DAY --threshold 1e300";
    let run = db.usagectl(words(rule)).run();
    assert!(run.stderr.contains(" 1e300:"), "{}", run.stderr);
    let unit = db.usagectl(set.iter().chain(&["256MB"])).run();
    assert!(
        unit.stderr.contains("expected a number without unit"),
        "{unit:?}"
    );
    assert_eq!(
        db.rows("SELECT * FROM \"InfrastructureLimit\""),
        Vec::<String>::new()
    );
}

#[rstest]
fn invalid_rows_are_listed_with_their_fault(#[values(Sqlite, Postgresql)] engine: Engine) {
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
            "STORAGE_MB false invalid thresholds: warning 95%, critical 90%; expected 0 < warning <= critical",
            "CONNECTIONS false invalid limit 0: expected a number above 0",
            "LATENCY_MS false no plan selected; there are limits of a, b",
            "LATENCY_MS false -",
            "BANDWIDTH_GB false invalid limit NaN: expected a number above 0",
        ]
    );
    db.usagectl(["limits", "list"]).run().success();
    db.usagectl(["limits", "init", "--plan", "upstash=free"])
        .run()
        .success();
}

#[rstest]
fn unknown_api_is_a_warning(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let set = ["limits", "set", "--per", "MINUTE", "60", "--api"];
    let warned = |command: &[&str], api: &str| {
        let run = db.usagectl(command).arg(api).run().success();
        run.stderr
    };
    let near = "warning: no calls to `finhub` are recorded; did you mean `finnhub`?\n";
    assert_eq!(warned(&set, "finhub"), near);
    for known in ["finnhub", "bank"] {
        assert_eq!(warned(&set, known), "", "before the first record");
    }
    put_calls(&db, "billing", 0, 1);
    for command in [
        &set[..],
        &["limits", "list", "--api"],
        &["alerts", "list", "--api"],
        &["alerts", "history", "--api"],
        &["collect", "run", "--usage-api"],
        &["collect", "doctor", "--usage-api"],
    ] {
        let expected = "warning: no calls to `bank` are recorded; known APIs: billing\n";
        assert_eq!(warned(command, "bank"), expected, "{command:?}");
        assert_eq!(warned(command, "billing"), "", "{command:?}");
    }
    let silence = [
        "alerts", "silence", "add", "--for", "1h", "--reason", "x", "--api",
    ];
    let warning = warned(&silence, "biling");
    assert!(warning.contains("did you mean `billing`?"), "{warning}");
    let rule = [
        "alerts",
        "add",
        "--type",
        "ERROR_SPIKE",
        "--threshold",
        "1",
        "--period",
        "HOUR",
        "--api",
    ];
    let warning = warned(&rule, "biling");
    assert!(warning.contains("did you mean `billing`?"), "{warning}");
}
