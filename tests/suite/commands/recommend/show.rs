//! `recommend show`: the page, and its summary by a language model.

use serde_json::{Value, json};
use usagectl::domain::metrics::names::Status;
use usagectl::domain::recommendation::StoredFacts;
use usagectl::domain::recommendation::facts::Facts;
use usagectl::store::recommendation::recommendations::{find_by_prefix, insert, update};

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::http::{HttpServer, Reply};
use crate::support::program::Program;
use crate::support::recommendations::{facts, recommendation};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

fn put(db: &TestDatabase, facts: Facts) {
    let mut it = recommendation("abc", "q", Status::Pending);
    it.tracking.as_mut().unwrap().facts = StoredFacts::new(facts).unwrap();
    db.open().write_tx(|db| insert(db, &it)).unwrap();
}

fn answer(sentence: &str) -> Reply {
    let content = json!({ "sentences": [sentence] }).to_string();
    Reply::ok(json!({ "choices": [{ "message": { "content": content } }] }).to_string())
}

const HONEST: &str = "For {{subject}} with {{usage}}, a team may {{action}}, with {{extra_cost}}.";

fn with_endpoint(program: Program, server: &HttpServer) -> Program {
    program
        .env("USAGECTL_AI_URL", server.url("/v1"))
        .env("USAGECTL_AI_MODEL", "small-1")
        .env("USAGECTL_AI_KEY_VARIABLE", "AI_KEY")
        .env("AI_KEY", "s3cret")
}

fn show_ai(db: &TestDatabase, server: &HttpServer) -> Program {
    let args = [
        "recommend",
        "show",
        "abc",
        "--ai",
        "--ai-timeout",
        "1s",
        "--format",
        "json",
    ];
    with_endpoint(db.usagectl(args), server)
}

fn narrative(program: Program) -> Value {
    let run = program.run().success();
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    json["narrative"].clone()
}

#[rstest]
fn page_shows_figures_history_and_summary(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put(&db, facts());
    db.usagectl(["recommend", "review", "abc", "--by", "ann"])
        .run()
        .success();
    let page = db
        .usagectl(["recommend", "show", "a"])
        .run()
        .success()
        .stdout;
    for part in [
        "VERCEL_KV STORAGE_MB: free -> payg\nHIGH, REVIEWED, version 2, id abc\n\n",
        "\nVERCEL_KV STORAGE_MB has 228.4 MB in use, 89.2% of the limit, on the plan free with a limit of 256\nMB.",
        "\n\nnot measured\n\nFIGURE",
        "  19 days (80%: 14 to 27)\n",
        "\navoided loss  ",
        "\n1  2026-01-31T12:00:00Z  ann  PENDING -> REVIEWED\n",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

#[rstest]
fn summary_by_model_is_stored_until_figures_change(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put(&db, facts());
    let server = HttpServer::with([answer(HONEST), answer(HONEST)]);
    let written = narrative(show_ai(&db, &server));
    assert_eq!(
        (&written["source"], &written["model"]),
        (&"model".into(), &"small-1".into())
    );
    assert_eq!(
        written["text"],
        "For VERCEL_KV STORAGE_MB with 228.4 MB in use, a team may change to the plan payg, with an extra cost \
             of $0.44 a billing period (80%: $0.40 to $0.48)."
    );
    assert_eq!(narrative(show_ai(&db, &server)), written);
    assert_eq!(server.received().len(), 1);
    // Without --ai it is the template, and no request is sent.
    let plain = db.usagectl(["recommend", "show", "abc", "--format", "json"]);
    assert_eq!(narrative(plain)["source"], "template");

    let mut conn = db.open();
    let before = find_by_prefix(&mut conn, "abc").unwrap().remove(0);
    let mut after = before.clone();
    let mut changed = facts();
    changed.current_plan = "hobby".to_owned();
    after.tracking.as_mut().unwrap().facts = StoredFacts::new(changed).unwrap();
    assert_eq!(conn.write_tx(|db| update(db, &before, &after)), Ok(true));
    narrative(show_ai(&db, &server));
    assert_eq!(server.received().len(), 2);
}

#[rstest]
fn refused_summary_leaves_template_and_reason(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put(&db, facts());
    let rows = || {
        db.rows(
        "SELECT version, ours.status, its.status, facts_hash, \"currentUsage\", reason
             FROM \"UpgradeRecommendation\" AS its JOIN usagectl_recommendations AS ours ON recommendation_id = id",
    )
    };
    let before = rows();
    let lie = "For {{subject}} with {{usage}}, pay {{extra_cost}} for 7 days and {{action}}.";
    let server = HttpServer::with([answer(lie), answer(lie), Reply::Stall]);
    let run = show_ai(&db, &server).run().success();
    assert_eq!(
        run.stderr,
        "warning: the summary is the template: sentence 1 has the character `7`\n"
    );
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["narrative"]["source"], "template");
    assert_eq!(
        json["narrative"]["refused"],
        "sentence 1 has the character `7`"
    );
    assert!(
        json["narrative"]["text"]
            .as_str()
            .unwrap()
            .contains("19 days until the limit")
    );
    assert_eq!(
        db.rows("SELECT model, refused FROM usagectl_narratives"),
        ["small-1|sentence 1 has the character `7`"]
    );
    let run = show_ai(&db, &server).run().success();
    assert!(
        run.stderr.contains("did not answer within 1 s"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("s3cret"));
    assert_eq!(rows(), before);
}

#[rstest]
fn missing_or_unsafe_endpoint_is_a_usage_error(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put(&db, facts());
    let ai = |args: &[&str]| {
        let args = [&["recommend", "show", "abc", "--ai"], args].concat();
        let run = db.usagectl(args).run();
        assert_eq!(run.code, 2, "{}", run.snapshot());
        run.stderr
    };
    assert!(ai(&[]).contains("--ai requires --ai-url or USAGECTL_AI_URL"));
    let url = ["--ai-url", "http://models.example/v1", "--ai-model", "m"];
    assert!(ai(&url).contains("plain HTTP to http://models.example is refused"));
    let local = ["--ai-url", "http://127.0.0.1:9/v1"];
    assert!(ai(&local).contains("--ai requires --ai-model"));
    let keyless = [
        &local[..],
        &["--ai-model", "m", "--ai-key-variable", "NO_SUCH"],
    ]
    .concat();
    assert!(ai(&keyless).contains("the environment variable NO_SUCH is not set"));
}

#[rstest]
fn dry_run_prints_the_request_and_sends_nothing(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put(&db, facts());
    let server = HttpServer::with([]);
    let run = show_ai(&db, &server).arg("--ai-dry-run").run().success();
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["key_variable"], "AI_KEY");
    assert_eq!(json["body"]["model"], "small-1");
    let args = ["recommend", "show", "abc", "--ai-dry-run"];
    let run = with_endpoint(db.usagectl(args), &server).run().success();
    assert!(
        run.stdout.starts_with("POST http://127.0.0.1:"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout
            .contains("Authorization: Bearer (the value of AI_KEY)\n\n{\"model\":\"small-1\"")
    );
    assert!(!run.stdout.contains("s3cret") && !run.stdout.contains("228"));
    assert!(server.received().is_empty());
}
