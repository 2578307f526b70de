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
    // A day without results is unknown, not zero.
    assert_eq!(
        stored(&db),
        [
            "AI_OPENAI|COST_USD|1.3|2026-01-29T00:00:00.000+00:00",
            "AI_OPENAI|COST_USD|1.3|2026-01-30T00:00:00.000+00:00",
        ]
    );
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
