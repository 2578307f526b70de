//! `record --preset`: a sample of each log loads completely, with the right numbers.

use rstest::rstest;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase};

/// A file of `tests/logs`, its options, and its rows: time on 2026-01-30, API, method, endpoint, status, success,
/// error type and message, response time, request and response size, cost, cached, user.
type Sample = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const SAMPLES: &[Sample] = &[
    (
        "nginx-json.log",
        &["--preset", "nginx-json"],
        &[
            "17:53:24.000 api.shop.example GET /v1/products?page=2 200 1 NULL NULL 47 312 615 NULL 1 NULL",
            "17:53:25.000 api.shop.example POST /v1/orders 504 0 TIMEOUT NULL 60001 1480 167 NULL 0 alice",
            "17:53:26.000 api.shop.example GET NULL 400 0 CLIENT_ERROR NULL 0 0 0 NULL 0 NULL",
        ],
    ),
    (
        "combined.log",
        &["--preset", "combined", "--set", "api_name=shop"],
        &[
            "09:00:00.000 shop GET /v1/products?page=2 200 1 NULL NULL NULL NULL 615 NULL 0 NULL",
            "09:00:01.000 shop POST /v1/orders 429 0 RATE_LIMIT NULL NULL NULL NULL NULL 0 alice",
            "09:00:02.000 shop GET NULL 408 0 TIMEOUT NULL NULL NULL 0 NULL 0 NULL",
        ],
    ),
    (
        "caddy.log",
        &["--preset", "caddy"],
        &[
            "10:00:00.524 api.shop.example GET /v1/products?page=2 200 1 NULL NULL 32 0 10900 NULL 0 NULL",
            "10:00:01.250 api.shop.example PUT /v1/orders/7 502 0 SERVER_ERROR NULL 2500 88 0 NULL 0 alice",
            "10:00:02.000 api.shop.example GET /stream NULL 0 NETWORK_ERROR NULL 1 0 0 NULL 0 NULL",
        ],
    ),
    (
        "traefik.log",
        &["--preset", "traefik"],
        &[
            "10:00:00.123 shop@docker GET /v1/products?page=2 200 1 NULL NULL 45 0 615 NULL 0 NULL",
            "10:00:01.000 api.shop.example POST /v1/orders 502 0 SERVER_ERROR NULL 2500 120 21 NULL 0 alice",
        ],
    ),
    (
        "envoy.log",
        &["--preset", "envoy"],
        &[
            "10:00:00.409 finnhub.io GET /v1/quote?symbol=AAPL 200 1 NULL NULL 4 0 135 NULL 0 NULL",
            "10:00:01.000 api.shop.example POST /v1/orders 504 0 TIMEOUT UT 15000 12 24 NULL 0 NULL",
            "10:00:02.000 api.shop.example GET /v1/slow NULL 0 NETWORK_ERROR DC 501 0 0 NULL 0 NULL",
        ],
    ),
    (
        "envoy-json.log",
        &["--preset", "envoy"],
        &[
            "10:00:00.409 finnhub.io GET /v1/quote 200 1 NULL NULL 4 0 135 NULL 0 NULL",
            "10:00:01.000 finnhub.io GET /v1/quote 429 0 RATE_LIMIT RL 0 0 18 NULL 0 NULL",
        ],
    ),
    (
        "istio.log",
        &["--preset", "istio"],
        &[
            "10:00:00.409 httpbin GET /status/418 418 0 CLIENT_ERROR NULL 4 0 135 NULL 0 NULL",
            "10:00:01.000 finnhub.io GET NULL NULL 0 NETWORK_ERROR delayed_connect_error:_111 10 0 0 NULL 0 NULL",
        ],
    ),
    (
        "kong.log",
        &["--preset", "kong"],
        &[
            "10:00:00.123 finnhub GET /v1/quote?symbol=AAPL 200 1 NULL NULL 45 75 934 NULL 0 alice",
            "10:00:01.000 finnhub.io GET /v1/quote 429 0 RATE_LIMIT NULL 2 75 41 NULL 0 NULL",
        ],
    ),
    (
        "alb.log",
        &["--preset", "alb"],
        &[
            "10:00:00.186 api.shop.example GET /v1/products?page=2 200 1 NULL NULL 46 34 366 NULL 0 NULL",
            "10:00:10.186 api.shop.example POST /v1/orders 504 0 TIMEOUT NULL NULL 229 917 NULL 0 NULL",
        ],
    ),
    (
        "apigw.log",
        &["--preset", "apigw", "--set", "api_name=pets"],
        &[
            "10:00:00.045 pets GET /prod/pets 200 1 NULL NULL 12 NULL 45 NULL 0 NULL",
            "10:00:01.000 pets POST /pets 403 0 CLIENT_ERROR Forbidden NULL NULL 23 NULL 0 NULL",
        ],
    ),
    (
        "vercel.log",
        &["--preset", "vercel"],
        &[
            "10:00:00.123 shop GET /api/quote?symbol=AAPL 200 1 NULL NULL NULL NULL NULL NULL 0 NULL",
            "10:00:01.000 shop GET /logo.svg 200 1 NULL NULL NULL NULL NULL NULL 1 NULL",
            "10:00:02.000 shop POST /api/quote NULL 0 NETWORK_ERROR NULL NULL NULL NULL NULL 0 NULL",
        ],
    ),
    (
        "litellm.json",
        &["--preset", "litellm"],
        &[
            "10:00:00.123 openai POST acompletion NULL 1 NULL NULL 1500 NULL NULL 0.0001275 0 u1",
            "10:00:02.000 anthropic POST acompletion 429 0 RATE_LIMIT rate limited NULL NULL NULL 0.5 0 NULL",
            "10:00:03.000 openai POST acompletion NULL 1 NULL NULL NULL NULL NULL 0.25 1 7",
        ],
    ),
    (
        "openai-usage.csv",
        &["--preset", "openai-usage"],
        &[
            "10:00:00.000 openai POST gpt-4o-mini NULL 1 NULL NULL NULL NULL NULL 0.0012 0 NULL",
            "10:00:01.000 openai POST gpt-4o NULL 0 UNKNOWN NULL NULL NULL NULL 0.045 0 NULL",
        ],
    ),
    (
        "har.har",
        &["--preset", "har"],
        &[
            "10:00:00.345 api.shop.example GET /v1/products?page=2 200 1 NULL NULL 221 0 10900 NULL 0 NULL",
            "10:00:01.000 api.shop.example POST /v1/orders NULL 0 NETWORK_ERROR net::ERR_CONNECTION_RESET 13 88 0 NULL 0 NULL",
            "10:00:02.000 cdn.shop.example GET / 200 1 NULL NULL 0 0 0 NULL 1 NULL",
        ],
    ),
];

#[rstest]
fn sample_of_each_preset_is_recorded(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    for (file, options, rows) in SAMPLES {
        db.execute("DELETE FROM api_usage");
        let path = format!("{}/tests/logs/{file}", env!("CARGO_MANIFEST_DIR"));
        for inserted in [rows.len(), 0] {
            let arguments = ["record", "--format", "json", &path].into_iter();
            let run = db.usagectl(arguments.chain(options.iter().copied())).run();
            assert_eq!(run.code, 0, "{file}: {}", run.snapshot());
            let summary: serde_json::Value = serde_json::from_str(&run.stdout).expect("a summary");
            assert_eq!(summary["inserted"], inserted, "{file}");
            assert_eq!(summary["read"], rows.len(), "{file}");
        }
        let stored = db.rows(
            "SELECT timestamp, api_name, method, endpoint, status_code, success, error_type, error_message,
                    response_time, request_size, response_size, cost_credits, cached, user_id
             FROM api_usage ORDER BY timestamp",
        );
        let stored: Vec<String> = stored
            .iter()
            .map(|row| {
                row.replace("2026-01-30T", "")
                    .replace("+00:00", "")
                    .replace('|', " ")
            })
            .collect();
        assert_eq!(stored, *rows, "{file}");
    }
}

#[test]
fn presets_are_listed() {
    let db = TestDatabase::migrated(Sqlite);
    let run = db
        .usagectl(["record", "--list-presets", "--format", "csv"])
        .run();
    let names: Vec<&str> = run
        .stdout
        .lines()
        .skip(1)
        .filter_map(|line| line.split(',').next())
        .collect();
    assert_eq!(run.code, 0);
    for name in names {
        let sampled = SAMPLES
            .iter()
            .any(|(_, options, _)| options.contains(&name));
        assert!(sampled, "{name} has no sample");
    }
    let unknown = db.usagectl(["record", "--preset", "apache", "x.log"]).run();
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("combined"), "{}", unknown.stderr);
}
