//! The vendors' APIs: what they answer when all is well, and every way in which they do not.

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::http::{HttpServer, Received, Reply};
use crate::support::postgres::PASSWORD;
use crate::support::program::Run;
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

/// A vendor: its name, the variables that configure it, the one that says where it is.
struct Vendor {
    name: &'static str,
    variables: &'static [(&'static str, &'static str)],
    address: &'static str,
}

const KEY: &str = PASSWORD;

const VENDORS: [Vendor; 5] = [
    Vendor {
        name: "upstash",
        variables: &[
            ("UPSTASH_API_KEY", KEY),
            ("UPSTASH_EMAIL", "me@example.com"),
            ("UPSTASH_REDIS_ID", "db/1"),
        ],
        address: "USAGECTL_UPSTASH_API_URL",
    },
    Vendor {
        name: "upstash",
        variables: &[("UPSTASH_REDIS_REST_TOKEN", KEY)],
        address: "UPSTASH_REDIS_REST_URL",
    },
    Vendor {
        name: "neon",
        variables: &[("NEON_API_KEY", KEY), ("NEON_ORG_ID", "org-1")],
        address: "USAGECTL_NEON_API_URL",
    },
    Vendor {
        name: "vercel",
        variables: &[("VERCEL_TOKEN", KEY), ("VERCEL_TEAM_ID", "team&1")],
        address: "USAGECTL_VERCEL_API_URL",
    },
    Vendor {
        name: "openai",
        variables: &[("OPENAI_ADMIN_KEY", KEY)],
        address: "USAGECTL_OPENAI_API_URL",
    },
];

impl Vendor {
    fn collect(&self, db: &TestDatabase, server: &HttpServer) -> Run {
        let mut program = db
            .usagectl([
                "collect",
                "run",
                "-v",
                "--timeout",
                "5s",
                "--only",
                self.name,
            ])
            .env(self.address, server.url(""));
        for (name, value) in self.variables {
            program = program.env(name, value);
        }
        let run = program.run();
        assert!(
            !run.stdout.contains(KEY) && !run.stderr.contains(KEY),
            "{}",
            run.snapshot()
        );
        run
    }
}

fn stored(db: &TestDatabase) -> Vec<String> {
    let mut rows =
        db.rows("SELECT service, metric, value, timestamp FROM \"InfrastructureMetric\"");
    rows.sort();
    rows
}

fn last_request(server: &HttpServer) -> Received {
    server.received().pop().expect("a request")
}

const STATS: &str = r#"{"daily_net_commands":420,"current_storage":201500000,"total_monthly_requests":12000,
    "total_monthly_bandwidth":3000000000,"total_monthly_billing":0.24,"throughput":[{"x":"2026","y":1}]}"#;

const CHARGES: &str = concat!(
    r#"{"BilledCost":0.12,"BillingCurrency":"USD","ChargeCategory":"Usage","ChargePeriodStart":"2026-01-30T00:00:00.000Z","ConsumedQuantity":1.5,"ConsumedUnit":"GB","ServiceName":"Fast Data Transfer"}"#,
    "\n",
    r#"{"BilledCost":-0.02,"BillingCurrency":"USD","ChargeCategory":"Credit","ChargePeriodStart":"2026-01-30T00:00:00.000Z","ConsumedQuantity":null,"ServiceName":"Pro Credit"}"#,
    "\n",
    r#"{"BilledCost":0.5,"BillingCurrency":"USD","ChargeCategory":"Usage","ChargePeriodStart":"2026-01-30T00:00:00.000Z","ConsumedQuantity":9,"ConsumedUnit":"Parsecs","ServiceName":"Warp Drive"}"#,
    "\n"
);

const COSTS: &str = r#"{"object":"page","data":[
    {"object":"bucket","start_time":1769731200,"end_time":1769817600,"results":[
        {"amount":{"value":0.06,"currency":"usd"}},{"amount":{"value":"1.24","currency":"usd"}}]},
    {"object":"bucket","start_time":1769817600,"end_time":1769904000,"results":[]}],
    "has_more":false,"next_page":null}"#;

const CONSUMPTION: &str = r#"{"projects":[{"project_id":"p1","periods":[{"consumption":[
    {"timeframe_start":"2026-01-30T00:00:00Z","timeframe_end":"2026-01-31T00:00:00Z","metrics":[
        {"metric_name":"compute_unit_seconds","value":3600},
        {"metric_name":"public_network_transfer_bytes","value":2500000000}]}]}]}],
    "pagination":{"cursor":null}}"#;

#[rstest]
fn upstash_account_counts_are_stored(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::with([Reply::ok(STATS)]);
    VENDORS[0].collect(&db, &server).success();
    assert_eq!(last_request(&server).path, "/v2/redis/stats/db%2F1");
    assert!(
        last_request(&server)
            .header("authorization")
            .is_some_and(|value| value.starts_with("Basic "))
    );
    assert_eq!(
        stored(&db),
        [
            "VERCEL_KV|BANDWIDTH_GB|3|2026-01-31T12:00:00.000+00:00",
            "VERCEL_KV|COMMANDS_PER_DAY|420|2026-01-31T12:00:00.000+00:00",
            "VERCEL_KV|COST_USD|0.24|2026-01-31T12:00:00.000+00:00",
            "VERCEL_KV|REQUEST_COUNT|12000|2026-01-31T12:00:00.000+00:00",
            "VERCEL_KV|STORAGE_MB|201.5|2026-01-31T12:00:00.000+00:00",
        ]
    );
}

#[rstest]
fn upstash_rest_answers_info(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::with([Reply::ok(
        r##"{"result":"# Memory\r\ntotal_data_size:2500000\r\n"}"##,
    )]);
    VENDORS[1].collect(&db, &server).success();
    assert_eq!(last_request(&server).body, r#"["INFO"]"#);
    assert_eq!(
        stored(&db),
        ["VERCEL_KV|STORAGE_MB|2.5|2026-01-31T12:00:00.000+00:00"]
    );
    let refused = HttpServer::with([Reply::ok(r#"{"error":"NOPERM"}"#)]);
    assert_eq!(VENDORS[1].collect(&db, &refused).code, 1);
}

#[rstest]
fn neon_transfer_is_stored_by_day(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::with([Reply::ok(CONSUMPTION)]);
    VENDORS[2].collect(&db, &server).success();
    assert!(last_request(&server).path.contains("&org_id=org%2D1"));
    assert_eq!(
        stored(&db),
        ["VERCEL_POSTGRES|BANDWIDTH_GB|2.5|2026-01-30T00:00:00.000+00:00"]
    );
}

#[rstest]
fn repeated_page_of_neon_is_counted_once(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let page = CONSUMPTION.replace("null", "\"p1\"");
    let server = HttpServer::with([Reply::ok(page.clone()), Reply::ok(page)]);
    VENDORS[2].collect(&db, &server).success();
    assert_eq!(
        stored(&db),
        ["VERCEL_POSTGRES|BANDWIDTH_GB|2.5|2026-01-30T00:00:00.000+00:00"]
    );
}

#[rstest]
fn vercel_bills_are_summed_and_revised(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let revised = CHARGES.replace("0.12", "0.22");
    let server = HttpServer::with([Reply::ok(CHARGES), Reply::ok(revised)]);
    let first = VENDORS[3].collect(&db, &server).success();
    assert!(
        first
            .stderr
            .contains("unknown service or unit `Warp Drive (Parsecs)` on the bill"),
        "{}",
        first.stderr
    );
    assert!(!first.stderr.contains("Pro Credit"), "{}", first.stderr);
    assert_eq!(
        last_request(&server).path,
        "/v1/billing/charges?from=2026%2D01%2D28T00%3A00%3A00%2E000Z&to=2026%2D02%2D01T00%3A00%3A00%2E000Z&teamId=team%261"
    );
    // One point for each account and service of a day.
    let sums = || {
        db.rows(
            "SELECT metric, CAST(round(CAST(sum(value) * 10 AS NUMERIC)) AS INTEGER)
             FROM \"InfrastructureMetric\" GROUP BY metric ORDER BY 1",
        )
    };
    assert_eq!(sums(), ["BANDWIDTH_GB|15", "COST_USD|6"]);
    VENDORS[3].collect(&db, &server).success();
    assert_eq!(sums(), ["BANDWIDTH_GB|15", "COST_USD|7"]);
}

#[rstest]
fn vercel_without_charges_is_empty(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let body = r#"{"error":{"code":"costs_not_found","message":"Costs not found"}}"#;
    let server = HttpServer::with([Reply::Status(404, body.to_owned()), Reply::ok("")]);
    for _ in 0..2 {
        VENDORS[3].collect(&db, &server).success();
    }
    assert_eq!(
        db.rows("SELECT result FROM usagectl_collector_runs"),
        ["EMPTY", "EMPTY"]
    );
    assert_eq!(stored(&db), [""; 0]);
}

#[rstest]
fn openai_costs_are_stored_by_day(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let paged = COSTS.replace("\"next_page\":null", "\"next_page\":\"page 2\"");
    let server = HttpServer::with([
        Reply::ok(paged),
        Reply::ok(COSTS.replace("1769731200", "1769644800")),
    ]);
    VENDORS[4].collect(&db, &server).success();
    assert!(
        last_request(&server).path.ends_with("&page=page%202"),
        "{}",
        last_request(&server).path
    );
    // A day without results is zero.
    assert_eq!(
        stored(&db),
        [
            "AI_OPENAI|COST_USD|0|2026-01-31T00:00:00.000+00:00",
            "AI_OPENAI|COST_USD|1.3|2026-01-29T00:00:00.000+00:00",
            "AI_OPENAI|COST_USD|1.3|2026-01-30T00:00:00.000+00:00",
        ]
    );
}

#[rstest]
#[case::more_without_a_page(
    "\"has_more\":true,\"next_page\":null",
    "`next_page` in the answer is missing"
)]
#[case::same_page_again(
    "\"has_more\":true,\"next_page\":\"p2\"",
    "a repeated page, or more than 10"
)]
fn openai_pages_that_do_not_end_write_nothing(
    #[case] end: &str,
    #[case] message: &str,
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let page = COSTS.replace("\"has_more\":false,\"next_page\":null", end);
    let server = HttpServer::with(vec![Reply::ok(page); 2]);
    let run = VENDORS[4].collect(&db, &server);
    assert!(run.stdout.contains(message), "{}", run.snapshot());
    assert_eq!((run.code, stored(&db)), (1, Vec::new()));
}

#[rstest]
fn openai_amounts_may_have_any_exponent(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let costs = COSTS
        .replace("\"1.24\"", "\"0E-6176\"")
        .replace("0.06", "0.003627500000000000000000000000000000");
    let server = HttpServer::with([Reply::ok(costs)]);
    VENDORS[4].collect(&db, &server).success();
    assert_eq!(
        stored(&db),
        [
            "AI_OPENAI|COST_USD|0.0036275|2026-01-30T00:00:00.000+00:00",
            "AI_OPENAI|COST_USD|0|2026-01-31T00:00:00.000+00:00",
        ]
    );
}

/// A time in milliseconds would be a day in the far future.
#[rstest]
fn openai_day_in_the_future_is_refused(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let costs = COSTS.replace("1769731200", "1769731200000");
    let server = HttpServer::with([Reply::ok(costs)]);
    let run = VENDORS[4].collect(&db, &server);
    let message = "`start_time` in the answer is missing or of an unexpected type";
    assert!(run.stdout.contains(message), "{}", run.snapshot());
    assert_eq!((run.code, stored(&db)), (1, Vec::new()));
}

/// A project of the free plan, which has no history.
const PROJECT: &str = r#"{"project":{"id":"p1","data_transfer_bytes":2500000000,"compute_time_seconds":180000,
    "consumption_period_start":"2026-01-05T00:00:00Z"}}"#;

#[rstest]
fn neon_project_is_measured_on_every_plan(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let init = ["limits", "init", "--plan", "neon=free", "--anchor-day", "5"];
    db.usagectl(init).run().success();
    let run = |server: &HttpServer, organisation: Option<&str>| {
        let program = db
            .usagectl(["collect", "run", "--only", "neon"])
            .env("NEON_API_KEY", KEY)
            .env("NEON_PROJECT_ID", "p1")
            .env("USAGECTL_NEON_API_URL", server.url(""));
        let program = match organisation {
            Some(name) => program.env("NEON_ORG_ID", name),
            None => program,
        };
        program.run().success()
    };
    let server = HttpServer::with([Reply::ok(PROJECT)]);
    run(&server, None);
    assert_eq!(last_request(&server).path, "/api/v2/projects/p1");
    let expected = [
        "VERCEL_POSTGRES|BANDWIDTH_GB|2.5|2026-01-31T12:00:00.000+00:00",
        "VERCEL_POSTGRES|USAGE_PERCENT|50|2026-01-31T12:00:00.000+00:00",
    ];
    assert_eq!(stored(&db), expected);
    let check = db.usagectl(["limits", "check", "--metric", "USAGE_PERCENT"]);
    let check = check.run();
    let line = check.stdout.lines().find(|line| line.contains("Compute"));
    assert!(
        line.is_some_and(|line| line.contains("50.0%")),
        "{}",
        check.snapshot()
    );
    // With an organisation the history is asked for first, which only paid plans have.
    let server = HttpServer::with([Reply::status(403), Reply::ok(PROJECT)]);
    run(&server, Some("org-1"));
    assert_eq!(last_request(&server).path, "/api/v2/projects/p1");
    assert_eq!(stored(&db), expected);
    // Without both, some keys are refused.
    let server = HttpServer::with([Reply::status(400)]);
    let refused = db
        .usagectl(["collect", "run", "--only", "neon"])
        .env("NEON_API_KEY", KEY)
        .env("USAGECTL_NEON_API_URL", server.url(""))
        .run();
    assert!(
        refused.stderr.contains("set NEON_ORG_ID, or"),
        "{}",
        refused.stderr
    );
}

/// The provider's message is shown, unless it repeats the key.
#[rstest]
fn reason_of_a_refused_request_is_shown_without_secrets(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    for (body, expected) in [
        (
            r#"{"message":"the range must not exceed 60 days"}"#.to_owned(),
            "answers 400: the request was refused: the range must not exceed 60 days",
        ),
        (
            format!(r#"{{"message":"bad token {KEY}"}}"#),
            "answers 400: the request was refused",
        ),
    ] {
        let server = HttpServer::answering(move |_| Reply::Status(400, body.clone()));
        for command in ["run", "doctor"] {
            let run = db
                .usagectl(["collect", command, "--only", "neon", "--format", "json"])
                .env("NEON_API_KEY", KEY)
                .env("NEON_ORG_ID", "org-1")
                .env("USAGECTL_NEON_API_URL", server.url(""))
                .run();
            assert!(run.stdout.contains(expected), "{}", run.snapshot());
            let both = run.stdout + &run.stderr;
            assert!(!both.contains(KEY) && !both.contains("doctor -v"), "{both}");
        }
    }
}

#[rstest]
fn past_days_are_read_from_the_last_run_or_the_given_day(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::answering(|_| Reply::ok(CONSUMPTION));
    let from = |now: &str, flags: &[&str]| {
        db.usagectl(["collect", "run", "--only", "neon"])
            .args(flags)
            .env("NEON_API_KEY", KEY)
            .env("NEON_ORG_ID", "org-1")
            .env("USAGECTL_NEON_API_URL", server.url(""))
            .now(now)
            .run()
            .success();
        let path = last_request(&server).path;
        let (_, from) = path.split_once("from=").unwrap();
        from.split('&').next().unwrap().replace("%2D", "-")[..10].to_owned()
    };
    assert_eq!(from("2026-02-10T12:00:00Z", &[]), "2026-02-07");
    assert_eq!(from("2026-02-20T12:00:00Z", &[]), "2026-02-07");
    assert_eq!(from("2026-02-20T12:15:00Z", &[]), "2026-02-17");
    let since = ["--since", "2026-01-02"];
    assert_eq!(from("2026-02-20T12:30:00Z", &since), "2026-01-02");
    // Neon has 60 days.
    assert_eq!(from("2026-04-01T12:30:00Z", &since), "2026-01-31");
}

#[rstest]
fn vercel_meters_are_measured_in_percent_of_the_plan(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let init = ["limits", "init", "--plan", "vercel=hobby"];
    db.usagectl(init).run().success();
    let line = |service: &str, quantity: f64, unit: &str| {
        format!(
            r#"{{"BilledCost":0,"BillingCurrency":"USD","ChargePeriodStart":"2026-01-31T00:00:00Z","ConsumedQuantity":{quantity},"ConsumedUnit":"{unit}","ServiceName":"{service}"}}"#
        ) + "\n"
    };
    let bill = line("Fluid Active CPU", 12.28, "Hours")
        + &line("ISR Writes", 476_000.0, "Units")
        + &line("Fast Origin Transfer", 500.0, "MB");
    let server = HttpServer::with([Reply::ok(bill)]);
    let run = VENDORS[3].collect(&db, &server).success();
    assert!(!run.stderr.contains("unknown service"), "{}", run.stderr);
    let check = db.usagectl(["limits", "check", "--metric", "USAGE_PERCENT"]);
    let check = check.args(["--format", "csv"]).run();
    let state = |resource: &str| {
        let mut lines = check.stdout.lines();
        let line = lines.find(|line| line.contains(resource));
        line.unwrap_or_else(|| panic!("{}", check.snapshot()))
            .to_owned()
    };
    assert!(state("Active CPU").contains("OVER") && state("Active CPU").contains("307"));
    assert!(state("ISR Writes").contains("OVER") && state("ISR Writes").contains("238"));
    // The other days of the period are missing.
    let transfer = state("Fast Origin Transfer");
    assert!(transfer.contains("UNKNOWN,5,100"), "{transfer}");
}

#[test]
fn vendor_errors_have_a_next_step_and_write_nothing() {
    let headers = |status, name: &str, value: &str| {
        Reply::Headers(
            status,
            vec![(name.to_owned(), value.to_owned())],
            String::new(),
        )
    };
    let page = "<!DOCTYPE html><title>Sign in</title>";
    let wrong = [
        (
            Reply::status(401),
            "answers 401: invalid key",
            "next: put a valid key into",
        ),
        (Reply::status(403), "answers 403", "next: give the key in"),
        (Reply::status(404), "answers 404", "next: check the ids"),
        (
            headers(429, "Retry-After", "17"),
            "rate limit exceeded",
            "next: run it again in 17 s",
        ),
        (
            headers(429, "X-RateLimit-Reset", "1769864400"),
            "rate limit exceeded",
            "next: run it again after 13:00:00 UTC",
        ),
        (
            Reply::status(500),
            "answers 500",
            "next: run it again later",
        ),
        (
            Reply::ok(page),
            "answers with a web page",
            "next: see whether a proxy",
        ),
        (
            Reply::ok(r#"{"projects":["#),
            "truncated",
            "next: run it again later",
        ),
        (
            Reply::ok(
                r#"{"projects":7,"data":{},"result":[1],"current_storage":[],"BilledCost":{},"ServiceName":"x","ChargePeriodStart":7}"#,
            ),
            "",
            "next: ",
        ),
        (
            Reply::Close,
            "cannot talk to",
            "next: see whether it can be reached",
        ),
        (Reply::CloseInBody, "", "next: "),
        (Reply::Gibberish, "", "next: "),
        (
            Reply::redirect(302, "http://127.0.0.1:1/"),
            "redirects (302)",
            "next: ",
        ),
    ];
    let db = TestDatabase::migrated(Engine::Sqlite);
    for vendor in &VENDORS {
        for (reply, message, next) in &wrong {
            let server = HttpServer::answering({
                let reply = reply.clone();
                move |_| reply.clone()
            });
            let run = vendor.collect(&db, &server);
            let output = run.snapshot();
            assert_eq!(run.code, 1, "{reply:?}\n{output}");
            // A bill truncated within a line has an invalid line.
            let is_line = vendor.name == "vercel" && *message == "truncated";
            assert!(
                is_line || run.stdout.contains(message),
                "{reply:?}\n{output}"
            );
            assert!(run.stderr.contains(next), "{reply:?}\n{output}");
        }
    }
    assert_eq!(stored(&db), [""; 0]);
    let failed = db.rows("SELECT count(*) FROM usagectl_collector_runs WHERE result = 'FAILED' AND error IS NOT NULL");
    assert_eq!(failed, [(VENDORS.len() * wrong.len()).to_string()]);
}

#[test]
fn endless_answer_is_cut_off() {
    let db = TestDatabase::migrated(Engine::Sqlite);
    let server = HttpServer::with([Reply::Flood]);
    let run = VENDORS[4].collect(&db, &server);
    assert_eq!(run.code, 1, "{}", run.snapshot());
}
