//! `recommend show`: the page, and its summary by a language model.

use serde_json::{Value, json};
use usagectl::domain::metrics::names::Status;
use usagectl::domain::recommendation::StoredFacts;
use usagectl::domain::recommendation::facts::Facts;
use usagectl::domain::recommendation::figure::{Figure, Unit};
use usagectl::store::recommendation::recommendations::insert;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::http::{HttpServer, Reply};
use crate::support::program::Program;
use crate::support::recommendations::{facts, recommendation};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

fn put(db: &TestDatabase, facts: Facts) {
    let mut it = recommendation("abc", "q", Status::Pending);
    it.tracking.as_mut().unwrap().facts = StoredFacts::new(facts);
    db.open().write_tx(|db| insert(db, &it)).unwrap();
}

fn answer(situation: &str) -> Reply {
    let fields = json!({ "situation": situation, "action": "Change the plan.", "risk": "" });
    let content = fields.to_string();
    Reply::ok(json!({ "choices": [{ "message": { "content": content } }] }).to_string())
}

const HONEST: &str = "Storage is at 228.4 MB, 89.2% of the limit.";

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
fn interval_without_an_end_has_its_start(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut facts = facts();
    facts.outlook.days_to_limit = Figure::between(40.into(), 25.into(), None, Unit::Days);
    put(&db, facts);
    for (args, expected) in [
        (&["recommend", "list"][..], "40 (from 25)"),
        (
            &["recommend", "show", "abc", "--all"],
            "40 days (80%: from 25)",
        ),
    ] {
        let page = db.usagectl(args).run().success().stdout;
        assert!(page.contains(expected), "{page}");
    }
}

#[rstest]
fn page_fits_one_screen_and_all_has_the_rest(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put(&db, facts());
    db.usagectl(["recommend", "review", "abc", "--by", "ann"])
        .run()
        .success();
    let show = |args: &[&str]| {
        let args = [&["recommend", "show", "a"], args].concat();
        db.usagectl(args).run().success().stdout
    };
    let page = show(&[]);
    assert!(page.lines().count() <= 24, "{page}");
    let head = "VERCEL_KV STORAGE_MB: free -> payg\nHIGH, REVIEWED, version 2, id abc\n\n\
         VERCEL_KV STORAGE_MB is at 228.4 MB, 89.2% of the limit of 256 MB on the plan free.";
    assert!(page.starts_with(head), "{page}");
    assert!(
        page.ends_with("\nMore: usagectl recommend show abc --all\n"),
        "{page}"
    );
    let all = show(&["--all"]);
    for part in [
        head,
        "\n\nnot measured\n\nFIGURE",
        "  19 days (80%: 14 to 27)\n",
        "\navoided loss  ",
        "\n1  2026-01-31T12:00:00Z  ann  PENDING -> REVIEWED\n",
    ] {
        assert!(all.contains(part), "{part}\n{all}");
    }
}

#[rstest]
fn summary_by_model_is_labelled(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put(&db, facts());
    let server = HttpServer::with([answer(HONEST), answer(HONEST)]);
    let written = narrative(show_ai(&db, &server));
    assert_eq!(
        (&written["source"], &written["model"], &written["text"]),
        (
            &"model".into(),
            &"small-1".into(),
            &format!("{HONEST} Change the plan.").into()
        )
    );
    let args = ["recommend", "show", "abc", "--ai"];
    let page = with_endpoint(db.usagectl(args), &server).run().success();
    let label = format!("{HONEST} Change the plan.\n(written by small-1)\n");
    assert!(page.stdout.contains(&label), "{}", page.stdout);
    // Without --ai it is the template, and no request is sent.
    let plain = db.usagectl(["recommend", "show", "abc", "--format", "json"]);
    assert_eq!(narrative(plain)["source"], "template");
    assert_eq!(server.received().len(), 2);
}

#[rstest]
fn number_outside_the_facts_leaves_template_and_reason(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    put(&db, facts());
    let server = HttpServer::with([answer("Full in 7 weeks."), Reply::Stall]);
    let run = show_ai(&db, &server).run().success();
    let reason = "the situation of the answer has `7`, a number, time, plan or name that is not in its facts";
    assert_eq!(
        run.stderr,
        format!("warning: the summary is the template: {reason}\n")
    );
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["narrative"]["source"], "template");
    assert_eq!(json["narrative"]["refused"], reason);
    let text = json["narrative"]["text"].as_str().unwrap();
    assert!(text.contains("reached in 19 days"), "{text}");
    let run = show_ai(&db, &server).run().success();
    let stalled = run.stderr.contains("did not answer within 1 s");
    assert!(stalled && !run.stderr.contains("s3cret"), "{}", run.stderr);
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
            .contains("Authorization: Bearer (the value of AI_KEY)\n\n{")
    );
    // The facts are sent, and no resource, id or key.
    assert!(!run.stdout.contains("s3cret") && !run.stdout.contains("abc"));
    assert!(server.received().is_empty());
}
