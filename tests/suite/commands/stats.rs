//! `stats`: the forms of its answer. The tests of `aggregate` compare its numbers with the rows, for any window
//! and any state of the roll-ups.

use crate::support::assert_snapshot;
use serde_json::Value;

use usagectl::domain::named::Named;
use usagectl::domain::usage::stats::Grouping;

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
        finnhub        40       3  7.5%  302  660  700   0.4   25.0%  ·█▃▃▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂··
        tmdb            9       0  0.0%   80  160  160     0   33.3%  ·█▂·····················
        ──────────────────────────────────────────────────────────────────────────────────────
        TOTAL          49       3  6.1%  221  660  700   0.4   26.5%  ·█▂▂▂▂▁▂▁▂▁▁▁▁▁▁▁▁▁▁▁▁··
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
        finnhub  /quote                 36       3  8.3%  342  684  700     0   25.0%  ··········█▅
        finnhub  /stock/profile2         4       0  0.0%   20   60   60   0.4   25.0%  ··········█·
        ───────────────────────────────────────────────────────────────────────────────────────────
        TOTAL    -                      40       3  7.5%  302  660  700   0.4   25.0%  ··········█▄
        ");
    let wide = ["stats", "--wide", "--last", "2h"];
    assert_snapshot!(db.usagectl(wide).now("2026-01-30T15:00:00Z").run().success().stdout, @"
        2026-01-30T13:00:00Z to 2026-01-30T15:00:00Z; one cell of TREND is 1 hour

        API      REQUESTS   SHARE  SUCCESS  ERRORS   RATE  RATE LIMIT  TIMEOUT  SERVER  CLIENT  NETWORK  OTHER    AVG  MIN  MAX  P50  P95  P99  SENT  RECEIVED  COST  CACHED  TREND
        finnhub        15   62.5%       13       2  13.3%           1        1       1       0        0      0  81.33    0  200   60  200  200     -         -   0.4   26.7%  █▃
        tmdb            9   37.5%        9       0   0.0%           0        0       0       0        0      0     80    0  160   80  160  160     -         -     0   33.3%  █▂
        ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
        TOTAL          24  100.0%       22       2   8.3%           1        1       1       0        0      0  80.83    0  200   60  181  200     -         -   0.4   29.2%  █▂
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
    assert_snapshot!(serde_json::to_string(&json).unwrap(), @r#"{"from":"2026-01-30T12:00:00.000Z","group_by":"api","lines":[{"api_name":"tmdb","avg_response_time":80.0,"cache_hit_rate":0.3333333333333333,"cached_count":3,"change":null,"client_errors":0,"endpoint":null,"error_count":0,"error_rate":0.0,"group":null,"limits":[],"max_response_time":160,"min_response_time":0,"network_errors":0,"other_errors":0,"p50_response_time":80,"p95_response_time":160,"p99_response_time":160,"previous_requests":null,"rate_limit_errors":0,"request_bytes":null,"requests_over_time":[0,8,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"requests_without_rows":0,"response_bytes":null,"server_errors":0,"share":1.0,"success_count":9,"timeout_errors":0,"total_cost":0.0,"total_requests":9}],"lines_left_out":0,"over_time":{"from":"2026-01-30T12:00:00.000Z","length":1,"unit":"hours"},"percentiles":{"method":"histogram","relative_error":0.0078125},"schema":1,"time_zone":"UTC","to":"2026-01-31T12:00:00.000Z"}"#);
    let csv = ["stats", "--group-by", "endpoint", "--format", "csv"];
    assert_snapshot!(db.usagectl(csv).run().success().stdout, @"
        api_name,endpoint,group,total_requests,share,previous_requests,change,success_count,error_count,error_rate,rate_limit_errors,timeout_errors,server_errors,client_errors,network_errors,other_errors,avg_response_time,min_response_time,max_response_time,p50_response_time,p95_response_time,p99_response_time,request_bytes,response_bytes,total_cost,cached_count,cache_hit_rate
        finnhub,/quote,,36,0.7346938775510204,,,33,3,0.08333333333333333,1,1,2,0,0,0,350,0,700,342,684,700,,,0,9,0.25
        finnhub,/stock/profile2,,4,0.08163265306122448,,,4,0,0,0,0,0,0,0,0,30,0,60,20,60,60,,,0.4,1,0.25
        tmdb,,,9,0.1836734693877551,,,9,0,0,0,0,0,0,0,0,80,0,160,80,160,160,,,0,3,0.3333333333333333
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
        jikan         1       0  0.0%    -    -    -     0    0.0%  ·······················█
        ");
}

#[rstest]
fn unknown_api_and_empty_window_are_rejected(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    assert_snapshot!(db.usagectl(["stats", "--api", "finhub"]).run().snapshot(), @"
        ------- stderr -------
        error: unknown API `finhub`: no usage is recorded yet
        next: usagectl record
        [exit status: 2]
        ");
    put_calls(&db);
    assert_snapshot!(db.usagectl(["stats", "--api", "finhub"]).run().snapshot(), @"
        ------- stderr -------
        error: unknown API `finhub`: expected one of finnhub, tmdb
        next: correct --api, or omit it for all APIs
        [exit status: 2]
        ");
    let backwards = [
        "stats",
        "--from",
        "2026-01-02T00:00:00Z",
        "--to",
        "2026-01-01T00:00:00Z",
    ];
    assert_eq!(db.usagectl(backwards).run().code, 2);
    for option in [["--top", "0"], ["--sort", "change"]] {
        let run = db.usagectl(["stats"]).args(option).run();
        assert_eq!(run.code, 2, "{}", run.snapshot());
    }
    let none = db.usagectl(["stats", "--last", "0s"]).run();
    assert_eq!(none.code, 2);
    assert!(
        none.stderr.contains("the window is empty: from 2026-01-31"),
        "{}",
        none.stderr
    );
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

fn answer(db: &TestDatabase, args: &[&str]) -> Value {
    let run = db.usagectl(["stats", "--format", "json"]).args(args).run();
    serde_json::from_str(&run.success().stdout).unwrap()
}

/// The names of the lines and a number of each.
fn numbers(answer: &Value, name: &str) -> Vec<(String, f64)> {
    let lines = answer["lines"].as_array().unwrap().iter();
    let named = |line: &Value| {
        let names = ["api_name", "endpoint", "group"].map(|name| line[name].as_str());
        let names: Vec<&str> = names.into_iter().flatten().collect();
        (names.join(" "), line[name].as_f64().unwrap_or(f64::NAN))
    };
    lines.map(named).collect()
}

fn pairs(expected: &[(&str, f64)]) -> Vec<(String, f64)> {
    expected
        .iter()
        .map(|(name, number)| ((*name).to_owned(), *number))
        .collect()
}

#[rstest]
fn lines_are_of_any_dimension_and_pruned_calls_are_a_line(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    db.execute(
        "INSERT INTO api_usage (id, api_name, timestamp, success, status_code, method, user_id, error_type,
             request_size, response_size, cost_credits) VALUES
             ('1', 'tmdb', '2026-01-30T13:00:00.000+00:00', true, 200, 'GET', 'ann', NULL, 10, 100, 0.00003),
             ('2', 'tmdb', '2026-01-30T14:10:00.000+00:00', true, 200, 'POST', 'bob', NULL, 20, NULL, NULL),
             ('3', 'espn', '2026-01-30T14:20:00.000+00:00', false, 503, 'GET', 'bob', 'SERVER_ERROR', NULL, NULL, NULL),
             ('4', 'espn', '2026-01-30T14:40:00.000+00:00', true, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    );
    let by = |group: &str| answer(&db, &["--group-by", group]);
    let requests = |group: &str| numbers(&by(group), "total_requests");
    assert_eq!(
        requests("user"),
        pairs(&[("bob", 2.0), ("", 1.0), ("ann", 1.0)])
    );
    assert_eq!(
        requests("method"),
        pairs(&[("", 1.0), ("GET", 2.0), ("POST", 1.0)])
    );
    assert_eq!(
        requests("status"),
        pairs(&[("", 1.0), ("200", 2.0), ("503", 1.0)])
    );
    assert_eq!(
        requests("error-type"),
        pairs(&[("", 3.0), ("SERVER_ERROR", 1.0)])
    );
    let hours = pairs(&[("2026-01-30T13:00:00Z", 1.0), ("2026-01-30T14:00:00Z", 3.0)]);
    assert_eq!(requests("hour"), hours);
    assert_eq!(requests("day"), pairs(&[("2026-01-30", 4.0)]));
    db.usagectl(["aggregate"]).run().success();
    assert_eq!(requests("hour"), hours);
    assert_eq!(requests("day"), pairs(&[("2026-01-30", 4.0)]));

    let by_api = by("api");
    assert_eq!(
        numbers(&by_api, "share"),
        pairs(&[("espn", 0.5), ("tmdb", 0.5)])
    );
    assert_eq!(by_api["total"]["request_bytes"], 30);
    assert_eq!(by_api["lines"][1]["response_bytes"], 100);
    // Unknown is not zero.
    assert_eq!(by_api["lines"][0]["request_bytes"], Value::Null);
    let table = db
        .usagectl(["stats", "--api", "tmdb"])
        .run()
        .success()
        .stdout;
    assert!(table.contains("0.00003"), "{table}");

    let top = answer(
        &db,
        &[
            "--group-by",
            "user",
            "--top",
            "1",
            "--sort",
            "request-bytes",
        ],
    );
    assert_eq!(numbers(&top, "total_requests"), pairs(&[("bob", 2.0)]));
    assert_eq!(
        (&top["lines_left_out"], &top["total"]["total_requests"]),
        (&2.into(), &4.into())
    );

    let next_day = [
        "--compare",
        "--from",
        "2026-01-30T14:00:00Z",
        "--to",
        "2026-01-30T15:00:00Z",
    ];
    let compared = answer(&db, &next_day);
    let before = pairs(&[("espn", 0.0), ("tmdb", 1.0)]);
    assert_eq!(numbers(&compared, "previous_requests"), before);
    assert_eq!(compared["lines"][0]["change"], Value::Null);
    assert_eq!(compared["total"]["change"], 2.0);

    db.usagectl(["limits", "set", "--api", "espn", "--per", "DAY", "8"])
        .run()
        .success();
    let used = answer(
        &db,
        &[
            "--from",
            "2026-01-30T14:30:00Z",
            "--to",
            "2026-01-30T15:00:00Z",
        ],
    );
    let limit = &used["lines"][0]["limits"][0];
    assert_eq!(
        (&limit["period"], &limit["used"]),
        (&"DAY".into(), &2.0.into())
    );
    assert_eq!(
        (&limit["from"], &limit["utilization"]),
        (&"2026-01-30T00:00:00.000Z".into(), &0.25.into())
    );

    db.usagectl(["prune", "--older-than", "22h"])
        .run()
        .success();
    let expected = pairs(&[("(pruned)", 1.0), ("", 1.0), ("bob", 2.0)]);
    let mut users = requests("user");
    users.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        users,
        [
            expected[1].clone(),
            expected[0].clone(),
            expected[2].clone()
        ]
    );
    assert_eq!(requests("hour"), hours);
}

#[rstest]
fn prometheus_format_is_of_stats_only(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_calls(&db);
    let metrics = db
        .usagectl(["stats", "--format", "prometheus"])
        .run()
        .success()
        .stdout;
    for line in [
        "# TYPE usagectl_window_requests gauge",
        "usagectl_window_requests{api=\"finnhub\"} 40",
        "usagectl_window_class_errors{api=\"finnhub\",class=\"timeout\"} 1",
        "# TYPE usagectl_window_response_time_seconds summary",
        "usagectl_window_response_time_seconds{api=\"tmdb\",quantile=\"0.5\"} 0.08",
        "usagectl_window_response_time_seconds_count{api=\"tmdb\"} 9",
        "usagectl_window_length_seconds 86400",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}: {metrics}");
    }
    let other = db.usagectl(["status", "--format", "prometheus"]).run();
    assert_eq!(other.code, 2);
}

#[rstest]
fn prometheus_metrics_pass_promtool(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_calls(&db);
    for grouping in Grouping::ALL {
        let stats = [
            "stats",
            "--format",
            "prometheus",
            "--group-by",
            grouping.as_str(),
        ];
        let metrics = db.usagectl(stats).run().success().stdout;
        assert!(metrics.contains("usagectl_window_requests{"), "{metrics}");
        let promtool = db
            .sandbox()
            .command("sh")
            .arg("-c")
            .arg("promtool check metrics");
        let check = promtool.stdin(&metrics).run();
        let hint = "promtool is in Debian's package prometheus, which `tests/run.sh` installs";
        assert_eq!(check.code, 0, "{grouping}: {}{hint}", check.snapshot());
    }
}

#[rstest]
fn endpoints_are_templates_and_capped_and_raw_on_request(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let call = |n: usize, endpoint: String| Call {
        endpoint: Some(endpoint),
        ..Call::new(&n.to_string(), "tmdb", "2026-01-31T10:30:00Z")
    };
    let films = (0..30).map(|n| call(n, format!("/movie/{n}?language=en")));
    let words = ["a", "b", "c"].iter().enumerate();
    let words = words.map(|(n, word)| call(100 + n, format!("/{word}")));
    insert(&db, &films.chain(words).collect::<Vec<_>>());
    let requests = || numbers(&answer(&db, &["--group-by", "endpoint"]), "total_requests");
    let templates = pairs(&[
        ("tmdb /movie/{id}", 30.0),
        ("tmdb /a", 1.0),
        ("tmdb /b", 1.0),
        ("tmdb /c", 1.0),
    ]);
    assert_eq!(requests(), templates);
    db.usagectl(["aggregate"]).run().success();
    assert_eq!(requests(), templates);
    let verify = || assert_eq!(db.usagectl(["aggregate", "--verify"]).run().code, 0);
    verify();

    db.usagectl(["aggregate", "--max-endpoints", "2"])
        .run()
        .success();
    let capped = pairs(&[
        ("tmdb /movie/{id}", 30.0),
        ("tmdb (other)", 2.0),
        ("tmdb /a", 1.0),
    ]);
    assert_eq!(requests(), capped);
    verify();
    db.usagectl(["aggregate", "--max-endpoints", "1000", "--endpoints", "raw"])
        .run()
        .success();
    assert_eq!(requests().len(), 33);
    verify();
    // Pruned under one name and counted under another.
    db.usagectl(["prune", "--older-than", "0s"]).run().success();
    db.usagectl(["aggregate", "--endpoints", "template"])
        .run()
        .success();
    assert_eq!(requests(), templates);
    verify();
    let raw = db.rows("SELECT count(*) FROM api_usage_aggregates WHERE total_requests = 33");
    assert_eq!(raw, ["3"]);
}
