//! `stats`: what it shows, in which form. That its numbers are those of the rows, for any window and whatever
//! was rolled up, is tested with `aggregate`.

use crate::support::assert_snapshot;
use serde_json::Value;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::calls::{Call, insert};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

/// A day of two APIs.
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
fn a_day_that_the_application_cut_at_another_midnight_counts_no_call_twice(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
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
fn people_see_a_table(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_calls(&db);
    let before = db.usagectl(["stats"]).run().success();
    assert_snapshot!(before.snapshot(), @"
        2026-01-30T12:00:00Z to 2026-01-31T12:00:00Z, a column of the chart is an hour

        API      REQUESTS  SUCCESS  ERRORS  RATE  RATE LIMIT  TIMEOUT  SERVER  AVG MS  P50  P95  P99  COST  CACHED  REQUESTS OVER TIME
        finnhub        40       37       3  7.5%           1        1       2   318.0  302  660  700   0.4   25.0%  ▁█▃▃▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▁▁
        tmdb            9        9       0  0.0%           0        0       0    80.0   80  160  160     0   33.3%  ▁█▂▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁
        all            49       46       3  6.1%           1        1       2   274.3  221  660  700   0.4   26.5%  ▁█▂▂▂▂▁▂▁▂▁▁▁▁▁▁▁▁▁▁▁▁▁▁
        [exit status: 0]
        ");
    db.usagectl(["aggregate"]).run().success();
    assert_eq!(db.usagectl(["stats"]).run().success().stdout, before.stdout);
    let by_endpoint = [
        "stats", "--by", "endpoint", "--api", "finnhub", "--last", "7d",
    ];
    assert_snapshot!(db.usagectl(by_endpoint).run().success().stdout, @"
        2026-01-24T12:00:00Z to 2026-01-31T12:00:00Z, a column of the chart is 6 hours

        API      ENDPOINT         REQUESTS  SUCCESS  ERRORS  RATE  RATE LIMIT  TIMEOUT  SERVER  AVG MS  P50  P95  P99  COST  CACHED  REQUESTS OVER TIME
        finnhub  /quote                 36       33       3  8.3%           1        1       2   350.0  342  684  700     0   25.0%  ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁█▄▃▃
        finnhub  /stock/profile2         4        4       0  0.0%           0        0       0    30.0   20   60   60   0.4   25.0%  ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁█▁▁▁
        all                             40       37       3  7.5%           1        1       2   318.0  302  660  700   0.4   25.0%  ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁█▄▃▂
        ");
}

#[rstest]
fn programs_get_json_and_csv(#[values(Sqlite, Postgresql)] engine: Engine) {
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
    assert_snapshot!(serde_json::to_string(&json).unwrap(), @r#"{"by":"api","from":"2026-01-30T12:00:00Z","lines":[{"api_name":"tmdb","avg_response_time":80.0,"cache_hit_rate":0.3333333333333333,"cached_count":3,"client_errors":0,"endpoint":null,"error_count":0,"error_rate":0.0,"max_response_time":160,"min_response_time":0,"network_errors":0,"other_errors":0,"p50_response_time":80,"p95_response_time":160,"p99_response_time":160,"rate_limit_errors":0,"requests_over_time":[0,8,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"requests_without_rows":0,"server_errors":0,"success_count":9,"timeout_errors":0,"total_cost":0.0,"total_requests":9}],"over_time":{"from":"2026-01-30T12:00:00Z","length":1,"unit":"hours"},"percentiles":{"method":"histogram","relative_error":0.0078125},"schema":1,"to":"2026-01-31T12:00:00Z"}"#);
    let csv = ["stats", "--by", "endpoint", "--format", "csv"];
    assert_snapshot!(db.usagectl(csv).run().success().stdout, @"
        api_name,endpoint,total_requests,success_count,error_count,cached_count,rate_limit_errors,timeout_errors,server_errors,client_errors,network_errors,other_errors,error_rate,cache_hit_rate,avg_response_time,min_response_time,max_response_time,p50_response_time,p95_response_time,p99_response_time,total_cost
        finnhub,/quote,36,33,3,9,1,1,2,0,0,0,0.08333333333333333,0.25,350,0,700,342,684,700,0
        finnhub,/stock/profile2,4,4,0,1,0,0,0,0,0,0,0,0.25,30,0,60,20,60,60,0.4
        tmdb,,9,9,0,3,0,0,0,0,0,0,0,0.3333333333333333,80,0,160,80,160,160,0
        ");
}

#[rstest]
fn what_is_not_known_is_no_zero(#[values(Sqlite, Postgresql)] engine: Engine) {
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
        2026-01-30T12:00:00Z to 2026-01-31T12:00:00Z, a column of the chart is an hour

        API    REQUESTS  SUCCESS  ERRORS  RATE  AVG MS  P50  P95  P99  COST  CACHED  REQUESTS OVER TIME
        jikan         1        1       0  0.0%       -    -    -    -     0    0.0%  ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁█
        ");
}

#[rstest]
fn a_wrong_name_or_window_is_told(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    assert_snapshot!(db.usagectl(["stats", "--api", "finhub"]).run().snapshot(), @"
        ------- stderr -------
        error: there is no API `finhub`; nothing is recorded yet
        next: usagectl record
        [exit status: 1]
        ");
    put_calls(&db);
    assert_snapshot!(db.usagectl(["stats", "--api", "finhub"]).run().snapshot(), @"
        ------- stderr -------
        error: there is no API `finhub`; there are finnhub, tmdb
        next: name one of these, or none for all
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
fn any_length_of_time_can_be_asked_about(#[values(Sqlite, Postgresql)] engine: Engine) {
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
fn names_that_would_harm_a_terminal_or_a_spreadsheet_do_not(
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
        .usagectl(["stats", "--by", "endpoint"])
        .run()
        .success()
        .stdout;
    assert!(table.contains("\\u{1b}[31mred") && !table.contains('\u{1b}'));
    let csv = db
        .usagectl(["stats", "--by", "endpoint", "--format", "csv"])
        .run()
        .success()
        .stdout;
    assert!(csv.contains(",'=cmd(),"));
}
