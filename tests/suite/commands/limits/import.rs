//! `limits import`, `catalogue`, `show` and `audit`: where the numbers come from.

use crate::support::assert_snapshot;

use super::{json, words};
use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;
use serde_json::Value;

/// The catalogue in force with some of it replaced, as a file.
fn changed(db: &TestDatabase, name: &str, pieces: &[(&str, &str)]) {
    let mut text = db.usagectl(["limits", "catalogue"]).run().success().stdout;
    for (piece, by) in pieces {
        assert!(text.contains(piece), "{piece}");
        text = text.replace(piece, by);
    }
    db.sandbox().file(name, text);
}

const NEWER: (&str, &str) = ("version = \"2026.11.21\"", "version = \"2026.12.1\"");

#[rstest]
fn newer_catalogue_updates_its_own_limits_only(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.usagectl(["limits", "init", "--plan", "upstash=free"])
        .run()
        .success();
    let set = words("limits set --service VERCEL_KV --metric REQUEST_COUNT 1000");
    db.usagectl(&set).run().success();
    changed(
        &db,
        "new.toml",
        &[
            NEWER,
            ("included = \"256\"", "included = \"300\""),
            (
                "period = \"month\"\nincluded = \"500000\"",
                "period = \"month\"\nincluded = \"600000\"",
            ),
        ],
    );
    let dry = db
        .usagectl(["limits", "import", "new.toml", "--dry-run"])
        .run()
        .success()
        .stdout;
    assert!(
        dry.starts_with("catalogue 2026.12.1 (was 2026.11.21), dry run: nothing was written\n"),
        "{dry}"
    );
    assert!(dry.contains("256, each database, then REJECT"), "{dry}");
    let differences = json(&db, ["limits", "import", "new.toml", "--dry-run"]);
    let differences: Vec<_> = differences["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            format!(
                "{} {}: {}",
                it["difference"].as_str().unwrap(),
                it["row"].as_str().unwrap(),
                it["now"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        differences,
        [
            "CHANGED upstash free: VERCEL_KV REQUEST_COUNT: 600,000 per MONTH, each database, then REJECT",
            "CHANGED upstash free: VERCEL_KV STORAGE_MB: 300, each database, then REJECT",
        ]
    );
    let stored =
        "SELECT metric, \"limitValue\" FROM \"InfrastructureLimit\" ORDER BY CAST(metric AS TEXT)";
    let before = db.rows(stored);
    assert!(before.contains(&"STORAGE_MB|256".to_owned()));
    let answer = json(&db, ["limits", "import", "new.toml"]);
    assert_eq!(answer["differences"].as_array().unwrap().len(), 2);
    // Only limits with another value are listed.
    let listed = answer["limits"].as_array().unwrap().iter();
    let listed = listed.map(|it| format!("{} {}", it["change"], it["metric"]).replace('"', ""));
    let expected = ["UPDATED STORAGE_MB", "KEPT REQUEST_COUNT"];
    assert_eq!(listed.collect::<Vec<_>>(), expected);
    assert_eq!(answer["api_limits"], Value::Array(Vec::new()));
    assert_eq!(
        db.rows(stored),
        [
            "BANDWIDTH_GB|10",
            "COMMANDS_PER_DAY|16666",
            "REQUEST_COUNT|1000",
            "STORAGE_MB|300"
        ]
    );
    let versions = db.rows(
        "SELECT DISTINCT catalogue_version FROM usagectl_limit_origins WHERE origin = 'CATALOGUE'",
    );
    assert_eq!(versions, ["2026.12.1"]);
    // The same file changes nothing; an older version, or other content of this version, is refused.
    assert_eq!(
        json(&db, ["limits", "import", "new.toml"])["differences"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    changed(
        &db,
        "other.toml",
        &[("included = \"300\"", "included = \"301\"")],
    );
    changed(
        &db,
        "older.toml",
        &[("version = \"2026.12.1\"", "version = \"2025.1.1\"")],
    );
    for file in ["other.toml", "older.toml"] {
        assert_eq!(db.usagectl(["limits", "import", file]).run().code, 5);
    }
    assert_eq!(
        db.rows("SELECT version FROM usagectl_catalogues"),
        ["2026.12.1"]
    );
}

#[rstest]
fn invalid_catalogue_is_refused_with_its_lines(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let file = "schema = 1\nversion = \"2027.1\"\n\n[[plan]]\nprovider = \"vercel\"\nplan = \"pro\"\nfixed_price = 20.5\n\n[[plan.limit]]\nmetric = \"BANDWIDTH_GB\"\nkind = \"period\"\nincluded = \"-1\"\n";
    db.sandbox().file("bad.toml", file);
    assert_snapshot!(db.usagectl(["limits", "import", "bad.toml"]).run().snapshot(), @r#"
        ------- stderr -------
        error: invalid catalogue
          line 4: plan vercel pro: source: missing
          line 4: plan vercel pro: fixed_price: write decimals as text: "20.5"
          line 9: plan vercel pro, limit BANDWIDTH_GB: service: required with metric
          line 9: plan vercel pro, limit BANDWIDTH_GB: period: required with kind PERIOD
          line 9: plan vercel pro, limit BANDWIDTH_GB: included: invalid amount `-1`; expected a decimal from 0 to 10^15
          line 9: plan vercel pro, limit BANDWIDTH_GB: at_limit: missing
          line 9: plan vercel pro, limit BANDWIDTH_GB: source: missing
        next: correct the file, then run the same command again
        [exit status: 1]
        "#);
    db.sandbox().file("binary", [0_u8, 255, 254, 7]);
    for file in ["binary", "/dev/zero", "missing.toml", "/"] {
        let run = db.usagectl(["limits", "import", file]).run();
        assert_eq!(run.code, 1, "{file}: {}", run.snapshot());
    }
    let piped = db.usagectl(["limits", "import", "-"]).stdin(file).run();
    assert_eq!(piped.code, 1);
    assert!(db.rows("SELECT * FROM usagectl_catalogues").is_empty());
}

#[rstest]
fn budgets_and_plans_of_own_catalogue_are_applied(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let own = r#"
schema = 1
version = "2027.1.1"

[[source]]
id = "contract"
url = "contract of 2026-12-01"
page_date = 2026-12-01
read_on = 2026-12-02
confidence = "A"

[[plan]]
service = "VERCEL_POSTGRES"
provider = "in-house"
plan = "large"
source = "contract"

[[plan.limit]]
metric = "CONNECTIONS"
kind = "gauge"
included = 200
at_limit = "reject"
source = "contract"

[[budget]]
service = "AI_OPENAI"
metric = "COST_USD"
amount = "50"
"#;
    db.usagectl(["limits", "init", "--plan", "vercel=pro"])
        .run()
        .success();
    let run = db
        .usagectl(["limits", "import", "-"])
        .stdin(own)
        .run()
        .success();
    assert!(
        run.stderr
            .contains("warning: vercel pro is in use but not in this catalogue"),
        "{}",
        run.snapshot()
    );
    db.usagectl(["limits", "plan", "in-house", "large"])
        .run()
        .success();
    let stored =
        "SELECT service, metric, \"currentPlan\", \"limitValue\" FROM \"InfrastructureLimit\"
            WHERE \"currentPlan\" <> 'pro' ORDER BY 4";
    assert_eq!(
        db.rows(stored),
        [
            "AI_OPENAI|COST_USD|budget|50",
            "VERCEL_POSTGRES|CONNECTIONS|large|200"
        ]
    );
}

#[rstest]
fn show_prints_all_rows_of_a_plan(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.usagectl(["limits", "plan", "vercel", "pro"])
        .run()
        .success();
    let hobby = db
        .usagectl(["limits", "show", "vercel", "--plan", "hobby"])
        .run()
        .success()
        .stdout;
    assert!(
        hobby.starts_with("vercel, catalogue 2026.11.21, plan in use: pro\n"),
        "{hobby}"
    );
    assert!(
        hobby.contains("disabled: 6,000 per BILLING_MONTH, then REJECT"),
        "{hobby}"
    );
    let pro = json(&db, ["limits", "show", "vercel", "--plan", "pro"]);
    assert_eq!(
        pro["rows"][0]["terms"],
        "$20.00 a month, credit $20.00, 1 seats included, $20.00 for each more"
    );
    assert_eq!(
        pro["rows"][1]["terms"],
        "1,000 per BILLING_MONTH, then $0.15 to $0.35 for 1"
    );
    assert_eq!(db.usagectl(["limits", "show", "heroku"]).run().code, 2);
    let unknown = ["limits", "show", "vercel", "--plan", "nix"];
    assert_eq!(db.usagectl(unknown).run().code, 2);
}

#[rstest]
fn audit_reports_conflicts_and_old_sources(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    assert_snapshot!(db.usagectl(["limits", "audit"]).run().snapshot(), @"
        0 limits, no findings
        [exit status: 0]
        ");
    db.usagectl(["limits", "init"]).run().success();
    let undated = db
        .usagectl(["limits", "audit", "--now", "2026-11-25T00:00:00Z"])
        .run();
    assert_snapshot!(undated.snapshot(), @"
        ISSUE    LIMIT                   DETAIL
        UNDATED  jikan CALLS per MINUTE  https://docs.api.jikan.moe has no date, read on 2026-11-21
        UNDATED  jikan CALLS per SECOND  https://docs.api.jikan.moe has no date, read on 2026-11-21

        9 limits, 2 findings
        ------- stderr -------
        next: review the sources, then run usagectl limits set --source, or limits import with a newer catalogue
        [exit status: 3]
        ");
    db.usagectl(["limits", "plan", "upstash", "free"])
        .run()
        .success();
    let set = words("limits set --service VERCEL_KV --metric STORAGE_MB 30");
    db.usagectl(&set).run().success();
    db.usagectl(words("limits set --api finnhub --per MINUTE 300"))
        .run()
        .success();
    let run = db
        .usagectl(["limits", "audit"])
        .now("2026-12-20T00:00:00Z")
        .run();
    assert_eq!(run.code, 4);
    assert!(run.stderr.contains("next: review the sources"));
    let answer = json(&db, ["limits", "audit", "--now", "2026-12-20T00:00:00Z"]);
    let found: Vec<_> = answer["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            format!(
                "{} {}",
                it["issue"].as_str().unwrap(),
                it["of"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            "CONFLICT VERCEL_KV STORAGE_MB free",
            "CONFLICT finnhub CALLS per MINUTE",
            "NO_SOURCE VERCEL_KV STORAGE_MB free",
            "NO_SOURCE finnhub CALLS per MINUTE",
            "OLD_PAGE VERCEL_KV BANDWIDTH_GB free",
            "OLD_PAGE VERCEL_KV COMMANDS_PER_DAY free",
            "OLD_PAGE VERCEL_KV REQUEST_COUNT free",
            "OLD_PAGE coinmarketcap CREDITS per MONTH",
            "OLD_PAGE tmdb CALLS per SECOND",
            "UNDATED jikan CALLS per MINUTE",
            "UNDATED jikan CALLS per SECOND",
        ]
    );
}
