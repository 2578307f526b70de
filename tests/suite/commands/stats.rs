//! `stats`: the forms of its answer. The tests of `aggregate` compare its numbers with the rows, for any window
//! and any state of the roll-ups.

use crate::support::assert_snapshot;
use serde_json::Value;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::calls::{Call, insert};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

/// Inserts a day of calls to two APIs.
fn put_calls(db: &TestDatabase) {
    let call = |n: i64, api: &str, endpoint: Option<&str>| Call {
        endpoint: endpoint.map(str::to_owned),
        response_time: Some((20 * n) as i32),
        cached: n % 4 == 0,
        at: "2026-01-30T13:00:00Z"
            .parse::<chrono::DateTime<chrono::Utc>>()
            .unwrap()
            + chrono::TimeDelta::minutes(n * n),
        ..Call::new(&format!("{api}-{n}"), api, "2026-01-30T13:00:00Z")
    };
    let quotes = (0..36).map(|n| call(n, "finnhub", Some("/quote")));
    let profiles = (0..4).map(|n| Call {
        id: format!("profile-{n}"),
        cost: Some(1),
        ..call(n, "finnhub", Some("/stock/profile2"))
    });
    let films = (0..9).map(|n| call(n, "tmdb", None));
    let mut calls: Vec<Call> = quotes.chain(profiles).chain(films).collect();
    for (n, status, error_type) in [
        (3, 429, "RATE_LIMIT"),
        (7, 504, "TIMEOUT"),
        (11, 503, "SERVER_ERROR"),
    ] {
        calls[n].success = false;
        calls[n].status = Some(status);
        calls[n].error_type = Some(error_type);
    }
    insert(db, &calls);
}

#[rstest]
fn day_of_another_time_zone_counts_no_call_twice(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_calls(&db);
    db.execute(
        "INSERT INTO api_usage_aggregates (id, api_name, aggregation_type, period_start, period_end,
                 total_requests, success_count, error_count, cached_count, updated_at)
             VALUES ('seoul', 'tmdb', 'DAILY', '2026-01-29T15:00:00.000+00:00', '2026-01-30T15:00:00.000+00:00',
                 9, 9, 0, 2, '2026-01-30T15:00:00.000+00:00')",
    );
    db.usagectl(["aggregate"]).run().success();
    let week = ["stats", "--api", "tmdb", "--last", "7d", "--format", "json"];
    let answer: Value = serde_json::from_str(&db.usagectl(week).run().success().stdout).unwrap();
    assert_eq!(answer["lines"][0]["total_requests"], 9);
}

#[rstest]
fn table_by_api_and_by_endpoint(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_calls(&db);
    let before = db.usagectl(["stats"]).run().success();
    assert_snapshot!(before.snapshot(), @"
        2026-01-30T12:00:00Z to 2026-01-31T12:00:00Z; one cell of TREND is 1 hour

        API      REQUESTS  ERRORS  RATE  P50  P95  P99  COST  CACHED  TREND
        finnhub        40       3  7.5%  302  660  700   0.4   25.0%  ▁█▃▃▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▁▁
        tmdb            9       0  0.0%   80  160  160     0   33.3%  ▁█▂▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁
        all            49       3  6.1%  221  660  700   0.4   26.5%  ▁█▂▂▂▂▁▂▁▂▁▁▁▁▁▁▁▁▁▁▁▁▁▁
        [exit status: 0]
        ");
    db.usagectl(["aggregate"]).run().success();
    assert_eq!(db.usagectl(["stats"]).run().success().stdout, before.stdout);
    let by_endpoint = [
        "stats",
        "--group-by",
        "endpoint",
        "--api",
        "finnhub",
        "--last",
        "7d",
    ];
    assert_snapshot!(db.usagectl(by_endpoint).run().success().stdout, @"
        2026-01-24T12:00:00Z to 2026-01-31T12:00:00Z; one cell of TREND is 14 hours

        API      ENDPOINT         REQUESTS  ERRORS  RATE  P50  P95  P99  COST  CACHED  TREND
        finnhub  /quote                 36       3  8.3%  342  684  700     0   25.0%  ▁▁▁▁▁▁▁▁▁▁█▅
        finnhub  /stock/profile2         4       0  0.0%   20   60   60   0.4   25.0%  ▁▁▁▁▁▁▁▁▁▁█▁
        all      -                      40       3  7.5%  302  660  700   0.4   25.0%  ▁▁▁▁▁▁▁▁▁▁█▄
        ");
    let wide = ["stats", "--wide", "--last", "2h"];
    assert_snapshot!(db.usagectl(wide).now("2026-01-30T15:00:00Z").run().success().stdout, @"
        2026-01-30T13:00:00Z to 2026-01-30T15:00:00Z; one cell of TREND is 1 hour

        API      REQUESTS  SUCCESS  ERRORS   RATE  RATE LIMIT  TIMEOUT  SERVER  CLIENT  NETWORK  OTHER    AVG  MIN  MAX  P50  P95  P99  COST  CACHED  TREND
        finnhub        15       13       2  13.3%           1        1       1       0        0      0  81.33    0  200   60  200  200   0.4   26.7%  █▃
        tmdb            9        9       0   0.0%           0        0       0       0        0      0     80    0  160   80  160  160     0   33.3%  █▂
        all            24       22       2   8.3%           1        1       1       0        0      0  80.83    0  200   60  181  200   0.4   29.2%  █▂
        ");
}

#[rstest]
fn json_and_csv_hold_every_number(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_calls(&db);
    let json = db
        .usagectl(["stats", "--api", "tmdb", "--format", "json"])
        .run()
        .success()
        .stdout;
    let mut json: Value = serde_json::from_str(&json).unwrap();
    // The total of one API is that API.
    let total = json.as_object_mut().unwrap().remove("total").unwrap();
    for (name, value) in total.as_object().unwrap() {
        assert_eq!(&json["lines"][0][name], value);
    }
    assert_snapshot!(serde_json::to_string(&json).unwrap(), @r#"{"from":"2026-01-30T12:00:00.000Z","group_by":"api","lines":[{"api_name":"tmdb","avg_response_time":80.0,"cache_hit_rate":0.3333333333333333,"cached_count":3,"client_errors":0,"endpoint":null,"error_count":0,"error_rate":0.0,"max_response_time":160,"min_response_time":0,"network_errors":0,"other_errors":0,"p50_response_time":80,"p95_response_time":160,"p99_response_time":160,"rate_limit_errors":0,"requests_over_time":[0,8,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"requests_without_rows":0,"server_errors":0,"success_count":9,"timeout_errors":0,"total_cost":0.0,"total_requests":9}],"over_time":{"from":"2026-01-30T12:00:00.000Z","length":1,"unit":"hours"},"percentiles":{"method":"histogram","relative_error":0.0078125},"schema":1,"to":"2026-01-31T12:00:00.000Z"}"#);
    let csv = ["stats", "--group-by", "endpoint", "--format", "csv"];
    assert_snapshot!(db.usagectl(csv).run().success().stdout, @"
        api_name,endpoint,total_requests,success_count,error_count,error_rate,rate_limit_errors,timeout_errors,server_errors,client_errors,network_errors,other_errors,avg_response_time,min_response_time,max_response_time,p50_response_time,p95_response_time,p99_response_time,total_cost,cached_count,cache_hit_rate
        finnhub,/quote,36,33,3,0.08333333333333333,1,1,2,0,0,0,350,0,700,342,684,700,0,9,0.25
        finnhub,/stock/profile2,4,4,0,0,0,0,0,0,0,0,30,0,60,20,60,60,0.4,1,0.25
        tmdb,,9,9,0,0,0,0,0,0,0,0,80,0,160,80,160,160,0,3,0.3333333333333333
        ");
}

#[rstest]
fn unknown_numbers_are_not_zero(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_calls(&db);
    let nothing = [
        "stats",
        "--from",
        "2020-01-01T00:00:00Z",
        "--to",
        "2020-01-02T00:00:00Z",
    ];
    assert_snapshot!(db.usagectl(nothing).run().snapshot(), @"
        no requests from 2020-01-01T00:00:00Z to 2020-01-02T00:00:00Z
        [exit status: 0]
        ");
    let json = db
        .usagectl(nothing)
        .arg("--format=json")
        .run()
        .success()
        .stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["lines"], Value::Array(vec![]));
    for name in [
        "error_rate",
        "cache_hit_rate",
        "avg_response_time",
        "p99_response_time",
    ] {
        assert_eq!(json["total"][name], Value::Null, "{name}");
    }
    assert_eq!(json["total"]["total_requests"], 0);
    insert(&db, &[Call::new("silent", "jikan", "2026-01-31T11:00:00Z")]);
    let silent = db
        .usagectl(["stats", "--api", "jikan"])
        .run()
        .success()
        .stdout;
    assert_snapshot!(silent, @"
        2026-01-30T12:00:00Z to 2026-01-31T12:00:00Z; one cell of TREND is 1 hour

        API    REQUESTS  ERRORS  RATE  P50  P95  P99  COST  CACHED  TREND
        jikan         1       0  0.0%    -    -    -     0    0.0%  ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁█
        ");
}

#[rstest]
fn unknown_api_and_empty_window_are_rejected(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    assert_snapshot!(db.usagectl(["stats", "--api", "finhub"]).run().snapshot(), @"
        ------- stderr -------
        error: unknown API `finhub`: no usage is recorded yet
        next: usagectl record
        [exit status: 1]
        ");
    put_calls(&db);
    assert_snapshot!(db.usagectl(["stats", "--api", "finhub"]).run().snapshot(), @"
        ------- stderr -------
        error: unknown API `finhub`: expected one of finnhub, tmdb
        next: correct --api, or omit it for all APIs
        [exit status: 1]
        ");
    let backwards = [
        "stats",
        "--from",
        "2026-01-02T00:00:00Z",
        "--to",
        "2026-01-01T00:00:00Z",
    ];
    assert_eq!(db.usagectl(backwards).run().code, 2);
    assert_eq!(db.usagectl(["stats", "--last", "0s"]).run().code, 2);
    assert_eq!(
        db.usagectl(["stats", "--last", "1d", "--from", "2026-01-02T00:00:00Z"])
            .run()
            .code,
        2
    );
}

#[rstest]
fn window_may_have_any_length(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_calls(&db);
    let all = [
        "stats",
        "--format",
        "json",
        "--from",
        "0001-01-01T00:00:00Z",
        "--to",
        "9999-12-31T23:59:59Z",
    ];
    for _ in 0..2 {
        let json = db.usagectl(all).run().success().stdout;
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["total"]["total_requests"], 49);
        db.usagectl(["aggregate"]).run().success();
    }
    let longest = db
        .usagectl(["stats", "--last", "365000d", "--format", "json"])
        .run()
        .success()
        .stdout;
    assert!(longest.contains("\"total_requests\": 49"));
}

#[rstest]
fn terminal_controls_and_formulas_in_names_are_neutralized(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    insert(
        &db,
        &[Call {
            endpoint: Some("=cmd()".to_owned()),
            ..Call::new("1", "\u{1b}[31mred", "2026-01-31T11:00:00Z")
        }],
    );
    let table = db
        .usagectl(["stats", "--group-by", "endpoint"])
        .run()
        .success()
        .stdout;
    assert!(table.contains("\\u{1b}[31mred") && !table.contains('\u{1b}'));
    let csv = db
        .usagectl(["stats", "--group-by", "endpoint", "--format", "csv"])
        .run()
        .success()
        .stdout;
    assert!(csv.contains(",'=cmd(),"));
}
