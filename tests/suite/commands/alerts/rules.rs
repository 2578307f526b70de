//! `alerts add`, `set`, `enable`, `disable` and `remove`, also of rules that the application wrote.

use crate::support::assert_snapshot;
use serde_json::{Value, json};

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alerts::{put_channel, put_rule};
use crate::support::calls::{Call, insert};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

const MINUTE: [&str; 6] = [
    "--type",
    "RATE_LIMIT_WARNING",
    "--period",
    "MINUTE",
    "--api",
    "finnhub",
];

fn add(db: &TestDatabase) {
    let add = ["alerts", "add", "--threshold", "80"];
    db.usagectl(add.into_iter().chain(MINUTE)).run().success();
}

#[rstest]
fn rule_is_added_changed_disabled_and_removed(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    insert(&db, &[Call::new("1", "finnhub", "2026-01-31T11:00:00Z")]);
    let added = [
        "alerts",
        "add",
        "--api",
        "finnhub",
        "--type",
        "rate_limit_warning",
        "--threshold",
        "80",
        "--period",
        "minute",
        "--for",
        "2m",
        "--clear-below",
        "60",
        "--critical",
        "95",
    ];
    assert_snapshot!(db.usagectl(added).run().snapshot(), @"
    added 3992eda7  finnhub RATE_LIMIT_WARNING per MINUTE, thresholds 80.0%, 95.0% critical, for 2m, clear below 60.0%
    ------- stderr -------
    warning: no limit for finnhub per MINUTE: rules that need it stay UNKNOWN; `usagectl limits init` sets published limits, `usagectl limits set --api finnhub --per MINUTE N` any other
    [exit status: 0]
    ");
    assert_snapshot!(db.usagectl(added).run().snapshot(), @"
    ------- stderr -------
    error: a rule for finnhub RATE_LIMIT_WARNING per MINUTE already exists; nothing was changed
    next: usagectl alerts set finnhub/RATE_LIMIT_WARNING/MINUTE --threshold 80
    [exit status: 5]
    ");
    let place = "finnhub/RATE_LIMIT_WARNING/MINUTE";
    let set = [
        "alerts",
        "set",
        place,
        "--threshold",
        "75",
        "--critical",
        "none",
        "--window",
        "calendar",
        "--tz",
        "Europe/Madrid",
    ];
    assert_snapshot!(db.usagectl(set).now("2026-01-31T13:00:00Z").run().snapshot(), @"
    changed 3992eda7  finnhub RATE_LIMIT_WARNING per MINUTE, threshold 75.0%, for 2m, clear below 60.0%, calendar of Europe/Madrid
    ------- stderr -------
    warning: no limit for finnhub per MINUTE: rules that need it stay UNKNOWN; `usagectl limits init` sets published limits, `usagectl limits set --api finnhub --per MINUTE N` any other
    [exit status: 0]
    ");
    let stored =
        "SELECT threshold, enabled, last_triggered, created_at, updated_at FROM api_alerts";
    assert_eq!(
        db.rows(stored),
        ["75|1|NULL|2026-01-31T12:00:00.000+00:00|2026-01-31T13:00:00.000+00:00"]
    );
    assert_snapshot!(db.usagectl(["alerts", "disable", place]).run().snapshot(), @"
    disabled 3992eda7  finnhub RATE_LIMIT_WARNING per MINUTE, threshold 75.0%, for 2m, clear below 60.0%, calendar of Europe/Madrid
    [exit status: 0]
    ");
    assert_snapshot!(db.usagectl(["alerts", "disable", place]).run().success().stdout, @"unchanged 3992eda7  finnhub RATE_LIMIT_WARNING per MINUTE, threshold 75.0%, for 2m, clear below 60.0%, calendar of Europe/Madrid");
    assert_snapshot!(db.usagectl(["alerts"]).run().success().stdout, @"
    ID        API      TYPE                PERIOD  VALUE  THRESHOLD  UNIT        STATE     AGE  DETAIL
    3992eda7  finnhub  RATE_LIMIT_WARNING  MINUTE      -      75.0%  % of limit  DISABLED  -

    not evaluated yet: run `usagectl alerts check`
    ");
    assert_snapshot!(db.usagectl(["alerts", "enable", place]).run().success().stdout, @"enabled 3992eda7  finnhub RATE_LIMIT_WARNING per MINUTE, threshold 75.0%, for 2m, clear below 60.0%, calendar of Europe/Madrid");
    assert_snapshot!(db.usagectl(["alerts", "remove", place]).run().success().stdout, @"removed 3992eda7  finnhub RATE_LIMIT_WARNING per MINUTE, threshold 75.0%, for 2m, clear below 60.0%, calendar of Europe/Madrid");
    assert_snapshot!(db.usagectl(["alerts", "remove", place]).run().snapshot(), @"
        ------- stderr -------
        error: there is no rule `finnhub/RATE_LIMIT_WARNING/MINUTE`
        next: usagectl alerts list
        [exit status: 2]
        ");
    for table in [
        "api_alerts",
        "usagectl_alert_settings",
        "usagectl_alert_channels",
    ] {
        assert_eq!(
            db.rows(&format!("SELECT count(*) FROM {table}")),
            ["0"],
            "{table}"
        );
    }
}

#[rstest]
fn invalid_rule_is_refused(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    for (options, message) in [
        (
            ["--threshold", "0", "--for", "0s"],
            "expected a number above 0 and below 2^53",
        ),
        (
            ["--threshold", "-5", "--for", "0s"],
            "expected a number above 0 and below 2^53",
        ),
        (
            ["--threshold", "NaN", "--for", "0s"],
            "expected a number above 0 and below 2^53",
        ),
        (
            ["--threshold", "inf", "--for", "0s"],
            "expected a number above 0 and below 2^53",
        ),
        (
            ["--threshold", "1e300", "--for", "0s"],
            "expected a number above 0 and below 2^53",
        ),
        (["--threshold", "many", "--for", "0s"], "expected a number"),
        (
            ["--threshold", "50:warning,80:critical", "--for", "0s"],
            "expected N:warning or N:critical, once in each --threshold",
        ),
        (
            ["--threshold", "90:critical", "--critical", "95"],
            "either as --threshold N:critical or by --critical",
        ),
        (
            ["--threshold", "80%", "--for", "2m"],
            "expected a number without unit and separators",
        ),
        (
            ["--threshold", "80", "--critical", "80"],
            "invalid threshold 80: expected more than the threshold below it, 80",
        ),
        (
            ["--threshold", "80", "--critical", "-1"],
            "invalid --threshold -1: expected a number above 0",
        ),
        (
            ["--threshold", "80", "--clear-below", "90"],
            "invalid --clear-below 90: expected at most --threshold 80",
        ),
        (
            ["--threshold", "80", "--factor", "3"],
            "--factor requires --baseline",
        ),
        (
            ["--threshold", "80", "--baseline", "7d"],
            "--baseline requires a rule of type ERROR_SPIKE",
        ),
        (
            ["--threshold", "80", "--tz", "Moon/Tycho"],
            "expected a time zone",
        ),
        (
            ["--threshold", "80", "--for", "soon"],
            "expected a number and a unit",
        ),
        (
            ["--threshold", "80", "--type", "LATENCY"],
            "RATE_LIMIT_WARNING, COST_THRESHOLD, ERROR_SPIKE",
        ),
    ] {
        let words = ["alerts", "add"].into_iter().chain(options);
        let words: Vec<&str> = match options.contains(&"--type") {
            true => words.chain(MINUTE[2..].iter().copied()).collect(),
            false => words.chain(MINUTE).collect(),
        };
        let run = db.usagectl(&words).run();
        assert_eq!(run.code, 2, "{words:?}");
        assert!(run.stderr.contains(message), "{words:?}: {}", run.stderr);
    }
    assert_eq!(db.rows("SELECT count(*) FROM api_alerts"), ["0"]);
    add(&db);
    let run = db
        .usagectl([
            "alerts",
            "set",
            "finnhub/RATE_LIMIT_WARNING/MINUTE",
            "--clear-below",
            "81",
        ])
        .run();
    assert_eq!(run.code, 2);
    assert_eq!(
        db.usagectl(["alerts", "set", "finnhub/RATE_LIMIT_WARNING/MINUTE"])
            .run()
            .code,
        2
    );
    let rows = db.rows("SELECT clear_below FROM usagectl_alert_settings");
    assert_eq!(rows, ["NULL"]);
}

#[rstest]
fn rules_of_application_can_be_changed(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let (first, second) = ("cmc0exampleid0000000000001", "cmc0exampleid0000000000002");
    put_rule(&db, first, "tmdb", "ERROR_SPIKE", "10", "HOUR");
    put_rule(&db, second, "tmdb", "LATENCY", "500", "WEEK");
    assert_snapshot!(db.usagectl(["alerts", "list"]).run().success().stdout, @r#"
    ID                          API   TYPE         PERIOD  VALUE  THRESHOLD  UNIT          STATE      AGE  DETAIL
    cmc0exampleid0000000000001  tmdb  ERROR_SPIKE  HOUR        -         10  failed calls  UNCHECKED  -
    cmc0exampleid0000000000002  tmdb  LATENCY      WEEK        -        500                UNKNOWN    -    unknown alert type "LATENCY"

    not evaluated yet: run `usagectl alerts check`
    "#);
    let set = [
        "alerts",
        "set",
        "cmc0exampleid0000000000001",
        "--threshold",
        "5",
        "--baseline",
        "7d",
    ];
    assert_snapshot!(db.usagectl(set).run().success().stdout, @"changed cmc0exam  tmdb ERROR_SPIKE per HOUR, threshold 5, 3 times the average of 7d");
    let several = db
        .usagectl(["alerts", "set", "cmc0", "--threshold", "5"])
        .run();
    assert_snapshot!(several.snapshot(), @"
        ------- stderr -------
        error: `cmc0` is a prefix of 2 rules: cmc0exampleid0000000000001, cmc0exampleid0000000000002
        next: usagectl alerts list
        [exit status: 2]
        ");
    let rows = db.rows("SELECT threshold, updated_at FROM api_alerts ORDER BY id");
    assert_eq!(
        rows,
        [
            "5|2026-01-31T12:00:00.000+00:00",
            "500|2026-01-30T19:20:00.000+00:00"
        ]
    );
}

#[rstest]
fn invalid_columns_are_listed_as_unknown(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    match db.engine() {
        Engine::Sqlite => db.execute(
            "INSERT INTO api_alerts (id, api_name, alert_type, threshold, period, enabled, last_triggered,
                     created_at, updated_at)
                 VALUES (x'ff00fe', x'1b5b33316d', '', 'many', '🜁', 'perhaps', 'soon', 'x', -1),
                     ('b', char(27) || '[31m', 'ERROR_SPIKE', 9e999, 'HOUR', 1, 'soon', '', '')",
        ),
        Engine::Postgresql => db.execute(
            "INSERT INTO api_alerts (id, api_name, alert_type, threshold, period, enabled, last_triggered,
                     created_at, updated_at)
                 VALUES ('', E'\\x1b[31m', '', 'NaN', '🜁', false, 'infinity', '-infinity', 'infinity'),
                     ('b', E'\\x1b[31m', 'ERROR_SPIKE', 'Infinity', 'HOUR', true, 'infinity', 'infinity', 'infinity')",
        ),
    }
    let table = db.usagectl(["alerts"]).run().success().stdout;
    assert!(!table.contains('\u{1b}'), "{table}");
    assert!(table.contains("UNKNOWN"), "{table}");
    let json = db
        .usagectl(["alerts", "--format", "json"])
        .run()
        .success()
        .stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["rules"].as_array().map(Vec::len), Some(2));
    for rule in json["rules"].as_array().unwrap() {
        assert_eq!(rule["threshold"], Value::Null);
        assert_ne!(rule["problem"], Value::Null);
        assert_eq!(rule["last_triggered"], Value::Null);
    }
    db.usagectl(["alerts", "--format", "csv"]).run().success();
    db.usagectl(["alerts", "set", "b", "--threshold", "3"])
        .run();
    db.usagectl(["alerts", "remove", "b"]).run().success();
}

#[rstest]
fn channels_of_rule_are_stored_and_shown(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    for name in ["ops", "desk", "pager"] {
        put_channel(&db, name);
    }
    add(&db);
    let reference = "finnhub/RATE_LIMIT_WARNING/MINUTE";
    let set = |options: &[&str]| {
        let command = ["alerts", "set", reference]
            .into_iter()
            .chain(options.iter().copied());
        db.usagectl(command).run()
    };
    let stored = || db.rows("SELECT channel FROM usagectl_alert_channels ORDER BY channel");
    let shown = || {
        let json = db.usagectl(["alerts", "show", reference, "--format", "json"]);
        let json: Value = serde_json::from_str(&json.run().success().stdout).unwrap();
        json["rule"]["channels"].clone()
    };
    assert_eq!((stored().len(), shown()), (0, json!([])));
    let answer = set(&["--channel", "ops", "--channel", "desk"]).success();
    assert!(
        answer.stdout.ends_with(", to desk ops\n"),
        "{}",
        answer.stdout
    );
    assert_eq!(stored(), ["desk", "ops"]);
    assert_eq!(shown(), json!(["desk", "ops"]));
    let table = db.usagectl(["alerts", "show", reference]).run().success();
    assert!(
        table.stdout.contains("channels    desk, ops\n"),
        "{}",
        table.stdout
    );
    // A change of something else keeps them; an unknown one changes nothing.
    set(&["--threshold", "70"]).success();
    let unknown = set(&["--channel", "opps"]);
    assert_eq!(unknown.code, 2);
    assert!(
        unknown.stderr.contains("no channel `opps`"),
        "{}",
        unknown.stderr
    );
    assert_eq!(stored(), ["desk", "ops"]);
    set(&["--channel", "pager"]).success();
    assert_eq!(stored(), ["pager"]);
    set(&["--all-channels"]).success();
    assert_eq!((stored().len(), shown()), (0, json!([])));
}
