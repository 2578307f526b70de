//! `alerts list`, `status`, `show` and `init`.

use crate::support::assert_snapshot;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alerts::{
    at, put_calls, put_event, put_limit, put_rule, put_rules_with_states,
};
use crate::support::calls::{Call, insert};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;
use usagectl::store::lock::RunKind;

#[rstest]
fn list_shows_state_of_each_rule(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    assert_snapshot!(db.usagectl(["alerts"]).run().success().snapshot(), @"
    no rules: `usagectl alerts init` adds default rules
    [exit status: 0]
    ");
    put_rules_with_states(&db);
    assert_snapshot!(db.usagectl(["alerts"]).run().success().stdout, @r#"
    ID        API            TYPE                PERIOD    VALUE  THRESHOLD  UNIT          STATE       AGE  DETAIL
    cccccccc  * finnhub      ERROR_SPIKE         HOUR         12         10  failed calls  PENDING     15m
    cccccccc  * tmdb         ERROR_SPIKE         HOUR          2         10  failed calls  RECOVERING  15m
    bbbbbbbb  coinmarketcap  COST_THRESHOLD      DAY     1,234.5      8,000  credits       OK          15m
    dddddddd  espn           RATE_LIMIT_WARNING  MINUTE        -      60.0%  % of limit    UNKNOWN     15m  no limit per MINUTE is set
    aaaaaaaa  finnhub        RATE_LIMIT_WARNING  MINUTE    96.7%      80.0%  % of limit    FIRING      15m  critical
    eeeeeeee  tmdb           LATENCY             WEEK          -        500                UNKNOWN     -    unknown alert type "LATENCY"

    as of 2026-01-31T12:00:00Z
    "#);
    assert_snapshot!(db.usagectl(["alerts", "--wide"]).run().success().stdout, @r#"
    ID        API            TYPE                PERIOD    VALUE  THRESHOLD  UNIT          LIMIT                        STATE       SINCE                 DETAIL
    cccccccc  * finnhub      ERROR_SPIKE         HOUR         12         10  failed calls      -  ███████████████▓███·  PENDING     2026-01-31T11:45:00Z
    cccccccc  * tmdb         ERROR_SPIKE         HOUR          2         10  failed calls      -  ███············│····  RECOVERING  2026-01-31T11:45:00Z
    bbbbbbbb  coinmarketcap  COST_THRESHOLD      DAY     1,234.5      8,000  credits           -  ██·············│····  OK          2026-01-31T11:45:00Z
    dddddddd  espn           RATE_LIMIT_WARNING  MINUTE        -      60.0%  % of limit        -                        UNKNOWN     2026-01-31T11:45:00Z  no limit per MINUTE is set
    aaaaaaaa  finnhub        RATE_LIMIT_WARNING  MINUTE    96.7%      80.0%  % of limit       60  ███████████████▓███·  FIRING      2026-01-31T11:45:00Z  critical
    eeeeeeee  tmdb           LATENCY             WEEK          -        500                    -                        UNKNOWN     -                     unknown alert type "LATENCY"

    as of 2026-01-31T12:00:00Z
    "#);
    assert_snapshot!(db.usagectl(["alerts", "list", "--api", "finnhub", "--format", "csv"]).run().success().stdout, @"
    id,api_name,alert_type,period,value,threshold,unit,limit_value,state,since,detail
    aaaaaaaa-1,finnhub,RATE_LIMIT_WARNING,MINUTE,96.6666,80,% of limit,60,FIRING,2026-01-31T11:45:00.000Z,critical
    ");
    let json = db
        .usagectl(["alerts", "list", "--format", "json"])
        .run()
        .success()
        .stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["schema"], 1);
    let all = &json["rules"][0];
    assert_eq!(all["api_name"], "*");
    assert_eq!(all["states"].as_array().map(Vec::len), Some(2));
    assert_eq!(all["states"][1]["state"], "RECOVERING");
    assert_eq!(all["states"][1]["fired_at"], "2026-01-31T11:40:00.000Z");
}

#[rstest]
fn status_lists_most_urgent_rules_first(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    assert_snapshot!(db.usagectl(["alerts", "status"]).run().success().stdout, @"no rules: `usagectl alerts init` adds default rules");
    put_rules_with_states(&db);
    db.usagectl(["alerts", "disable", "bbbb"]).run().success();
    assert_snapshot!(db.usagectl(["alerts", "status"]).run().success().stdout, @r#"
    STATE       API      TYPE                PERIOD  VALUE  UNIT          AGE  DETAIL
    FIRING      finnhub  RATE_LIMIT_WARNING  MINUTE  96.7%  % of limit    15m  critical
    RECOVERING  tmdb     ERROR_SPIKE         HOUR        2  failed calls  15m
    UNKNOWN     espn     RATE_LIMIT_WARNING  MINUTE      -  % of limit    15m  no limit per MINUTE is set
    UNKNOWN     tmdb     LATENCY             WEEK        -                -    unknown alert type "LATENCY"
    PENDING     finnhub  ERROR_SPIKE         HOUR       12  failed calls  15m

    2 firing, 2 unknown, 1 pending, 1 disabled; as of 2026-01-31T12:00:00Z
    "#);
    let json = db
        .usagectl(["alerts", "status", "--format", "json"])
        .run()
        .success()
        .stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["firing"], 2);
    assert_eq!(json["attention"][0]["alert_id"], "aaaaaaaa-1");
    db.usagectl(["alerts", "status", "--format", "csv"])
        .run()
        .success();
    db.execute("DELETE FROM usagectl_alert_states");
    let unchecked = db.usagectl(["alerts", "status"]).run().success().stdout;
    let expected = "1 unknown, 3 not evaluated yet, 1 disabled\n";
    assert!(unchecked.ends_with(expected), "{unchecked}");
}

#[rstest]
fn status_answers_nagios_without_a_lock(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let nagios = |minute: i64, args: &[&str]| {
        let status = ["alerts", "status", "--nagios"];
        let command = db.usagectl(status.iter().chain(args));
        command.now(&at(minute).to_rfc3339()).run()
    };
    assert_snapshot!(nagios(0, &[]).snapshot(), @"
    UNKNOWN - no enabled rules
    [exit status: 3]
    ");
    put_rules_with_states(&db);
    let lock = db.lock(RunKind::Alerts);
    assert_snapshot!(nagios(1, &[]).snapshot(), @r#"
    CRITICAL - finnhub RATE_LIMIT_WARNING MINUTE: 96.7 % of 60 per minute, threshold 80 %, and 1 more | firing=2 pending=1 unknown=2 undelivered=0 'finnhub/ERROR_SPIKE/HOUR'=12;10 'tmdb/ERROR_SPIKE/HOUR'=2;10 'coinmarketcap/COST_THRESHOLD/DAY'=1234.5;8000 'espn/RATE_LIMIT_WARNING/MINUTE'=U;60 'finnhub/RATE_LIMIT_WARNING/MINUTE'=96.6666%;80 'tmdb/LATENCY/WEEK'=U;500
    CRITICAL: finnhub RATE_LIMIT_WARNING MINUTE: 96.7 % of 60 per minute, threshold 80 %
    WARNING: tmdb ERROR_SPIKE HOUR: 2 failed calls per hour, threshold 10
    UNKNOWN: espn RATE_LIMIT_WARNING MINUTE: no limit per MINUTE is set
    UNKNOWN: tmdb LATENCY WEEK: unknown alert type "LATENCY"
    [exit status: 2]
    "#);
    drop(lock);
    db.execute("DELETE FROM api_alerts WHERE id NOT LIKE 'bbbb%'");
    db.execute("UPDATE usagectl_alert_states SET state = 'OK', severity = NULL, episode = NULL, fired_at = NULL");
    assert_eq!(nagios(10, &[]).code, 0);
    let stale = nagios(11, &[]);
    let text = "UNKNOWN - the last check was 11m ago, at 2026-01-31T12:00:00Z | firing=0 ";
    assert!(stale.stdout.starts_with(text), "{stale:?}");
    assert_eq!(stale.code, 3);
    assert_eq!(nagios(11, &["--max-age", "1h"]).code, 0);
}

#[rstest]
fn top_level_status_counts_rules(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let line = |db: &TestDatabase| {
        let status = db.usagectl(["status"]).run().success().stdout;
        let line = status.lines().find(|line| line.starts_with("alerts:"));
        line.map(str::to_owned)
    };
    assert_eq!(line(&db), None);
    put_rules_with_states(&db);
    let expected = "alerts: 5 rules, 2 firing (1 critical), 1 unknown, 1 not evaluated yet";
    assert_eq!(line(&db).as_deref(), Some(expected));
    // States of disabled, removed and changed rules do not count.
    db.usagectl(["alerts", "disable", "cccc"]).run().success();
    db.usagectl(["alerts", "remove", "dddd"]).run().success();
    db.execute("UPDATE api_alerts SET api_name = 'iex' WHERE id = 'aaaaaaaa-1'");
    let expected = "alerts: 3 rules, 0 firing, 2 not evaluated yet";
    assert_eq!(line(&db).as_deref(), Some(expected));
    let json = db
        .usagectl(["status", "--format", "json"])
        .run()
        .success()
        .stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["alerts"]["unchecked"], 2);
}

#[rstest]
fn removing_firing_rule_warns(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rules_with_states(&db);
    assert_snapshot!(db.usagectl(["alerts", "remove", "aaaa", "cccc"]).run().success().snapshot(), @"
    removed aaaaaaaa  finnhub RATE_LIMIT_WARNING per MINUTE, threshold 80.0%
    removed cccccccc  * ERROR_SPIKE per HOUR, threshold 10
    ------- stderr -------
    warning: finnhub RATE_LIMIT_WARNING per MINUTE is firing since 2026-01-31T11:40:00Z: the next `usagectl alerts check` resolves it and sends notices
    warning: tmdb ERROR_SPIKE per HOUR is firing since 2026-01-31T11:40:00Z: the next `usagectl alerts check` resolves it and sends notices
    [exit status: 0]
    ");
    assert_eq!(db.rows("SELECT count(*) FROM usagectl_alert_states"), ["5"]);
}

#[rstest]
fn init_adds_default_rules_once(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let own = [
        "alerts",
        "add",
        "--api",
        "jikan",
        "--type",
        "RATE_LIMIT_WARNING",
        "--threshold",
        "50",
        "--period",
        "MINUTE",
    ];
    db.usagectl(own).run().success();
    for (api, period) in [("finnhub", "MINUTE"), ("openweather", "DAY")] {
        put_limit(&db, api, period, 60);
    }
    for api in ["coinmarketcap", "espn", "finnhub", "openweather", "rawg"] {
        put_calls(&db, api, 0, 1);
    }
    assert_snapshot!(db.usagectl(["alerts", "init"]).run().success().snapshot(), @"
    added 3992eda7  finnhub RATE_LIMIT_WARNING per MINUTE, threshold 80.0% (calls beyond the limit are answered with 429 and work again a minute later)
    left out  coinmarketcap RATE_LIMIT_WARNING per MINUTE, threshold 70.0% (no limit is set: usagectl limits set --api coinmarketcap --per MINUTE N)
    left out  rawg RATE_LIMIT_WARNING per MINUTE, threshold 80.0% (no limit is set: usagectl limits set --api rawg --per MINUTE N)
    left out  tmdb RATE_LIMIT_WARNING per MINUTE, threshold 80.0% (no call to this API was recorded)
    unchanged 58f9049c  jikan RATE_LIMIT_WARNING per MINUTE, threshold 50.0%
    left out  espn RATE_LIMIT_WARNING per MINUTE, threshold 60.0% (no limit is set: usagectl limits set --api espn --per MINUTE N)
    left out  openweather RATE_LIMIT_WARNING per MINUTE, threshold 70.0% (no limit is set: usagectl limits init)
    added 7cdd44ab  openweather RATE_LIMIT_WARNING per DAY, threshold 90.0% (calls beyond the free ones of a day are charged)
    added 860fb200  finnhub ERROR_SPIKE per HOUR, threshold 10 (a few failures an hour are usual, ten are not)
    added 037dcb96  coinmarketcap COST_THRESHOLD per DAY, threshold 8,000 (more than half of a month's free credits in a day)
    ------- stderr -------
    run `usagectl alerts init` again when these APIs have calls, and limits where the reason names one
    [exit status: 0]
    ");
    for api in ["coinmarketcap", "rawg", "tmdb", "espn", "openweather"] {
        put_limit(&db, api, "MINUTE", 60);
    }
    put_calls(&db, "tmdb", 0, 1);
    let rest = db.usagectl(["alerts", "init"]).run().success();
    let added = rest.stdout.lines().filter(|it| it.starts_with("added "));
    assert_eq!((added.count(), rest.stderr.as_str()), (5, ""));
    let rows = "SELECT * FROM api_alerts ORDER BY id";
    let before = db.rows(rows);
    assert_eq!(before.len(), 10);
    let again = db
        .usagectl(["alerts", "init"])
        .now("2026-02-01T12:00:00Z")
        .run()
        .success();
    assert!(
        again
            .stdout
            .lines()
            .all(|line| line.starts_with("unchanged ")),
        "{}",
        again.stdout
    );
    assert_eq!(again.stderr, "");
    assert_eq!(db.rows(rows), before);
}

#[rstest]
fn show_draws_chart_of_last_windows(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let start: DateTime<Utc> = "2026-01-31T11:20:00Z".parse().unwrap();
    // One more call each minute, until noon.
    let calls: Vec<Call> = (0..40)
        .flat_map(|minute| (0..=minute).map(move |n| (minute, n)))
        .map(|(minute, n)| Call {
            at: start + TimeDelta::minutes(minute) + TimeDelta::milliseconds(n),
            ..Call::new(&format!("{minute}-{n}"), "finnhub", "2026-01-31T11:20:00Z")
        })
        .collect();
    insert(&db, &calls);
    put_rules_with_states(&db);
    db.usagectl(["limits", "set", "--api", "finnhub", "--per", "MINUTE", "40"])
        .run()
        .success();
    db.usagectl(["alerts", "ack", "aaaa", "--by", "anna"])
        .run()
        .success();
    let show = db
        .usagectl(["alerts", "show", "aaaa"])
        .now("2026-01-31T12:00:30Z")
        .run()
        .success();
    assert_snapshot!(show.stdout, @"
    rule        finnhub RATE_LIMIT_WARNING per MINUTE
    id          aaaaaaaa-1
    enabled     yes
    settings    threshold 80.0%
    channels    all
    last fired  never

    finnhub: FIRING since 2026-01-31T11:45:00Z; critical; acknowledged by anna; now 100.0% of 40 calls
    100.0% ┤                                                     ▁▂▄▅▆▇█
     80.0% ┼──────────────────────────────────────────────▁▂▃▄▆▇████████
     66.7% ┤                                        ▂▃▄▅▆███████████████
     50.0% ┤                                 ▁▂▄▅▆▇█████████████████████
     33.3% ┤                          ▁▂▃▄▆▇████████████████████████████
     16.7% ┤                    ▂▃▄▅▆███████████████████████████████████
    windows ending 2026-01-31T11:01:00Z to 2026-01-31T12:00:00Z, one column per minute (its busiest 60 seconds)

    last events
    AT                    API      TYPE                PERIOD  EVENT         VALUE  THRESHOLD  NOTE
    2026-01-31T12:00:00Z  finnhub  RATE_LIMIT_WARNING  MINUTE  ACKNOWLEDGED  96.7%      80.0%  by anna
    ");
    assert_snapshot!(db.usagectl(["alerts", "show", "eeee"]).run().success().stdout, @r#"
    rule        tmdb LATENCY per WEEK
    id          eeeeeeee-5
    enabled     yes
    settings    threshold 500
    channels    all
    last fired  never

    UNKNOWN: unknown alert type "LATENCY"
    "#);
    let unchecked = db
        .usagectl(["alerts", "show", "dddd"])
        .run()
        .success()
        .stdout;
    assert!(
        unchecked.contains("now unknown: no limit per MINUTE"),
        "{unchecked}"
    );
    let json = db
        .usagectl(["alerts", "show", "cccc", "--format", "json"])
        .run()
        .success()
        .stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["measured"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        json["measured"][0]["windows"].as_array().map(Vec::len),
        Some(48)
    );
    let csv = db
        .usagectl(["alerts", "show", "aaaa", "--format", "csv"])
        .run()
        .success()
        .stdout;
    assert_eq!(csv.lines().count(), 61);
    assert_eq!(db.usagectl(["alerts", "show", "zzzz"]).run().code, 2);
}

#[rstest]
fn show_reports_cut_charts_and_events_of_its_apis(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rule(&db, "rule", "*", "RATE_LIMIT_WARNING", "80", "MINUTE");
    // Eleven APIs without a limit precede eleven with one.
    for n in 0..22 {
        let api = format!("api-{n:02}");
        put_calls(&db, &api, 0, 1);
        if n >= 11 {
            put_limit(&db, &api, "MINUTE", 60);
        }
        let event_at = format!("2026-01-31T11:{n:02}:00.000+00:00");
        put_event(&db, n, &event_at, "rule", &api);
    }
    put_event(&db, 99, "2026-01-31T11:59:00.000+00:00", "other", "api-00");
    let show = |options: &[&str]| {
        let command = ["alerts", "show", "rule", "--format", "json"];
        let run = db.usagectl(command.iter().chain(options)).run().success();
        let json: Value = serde_json::from_str(&run.stdout).unwrap();
        let names = |list: &str| -> Vec<String> {
            let items = json[list].as_array().unwrap().iter();
            items
                .map(|it| it["api_name"].as_str().unwrap().to_owned())
                .collect()
        };
        (names("measured"), names("events"), run.stderr)
    };
    let api = |n: u32| format!("api-{n:02}");
    let (measured, events, stderr) = show(&[]);
    assert_eq!(measured, (11..21).map(api).collect::<Vec<_>>());
    assert_eq!(events, (12..22).map(api).collect::<Vec<_>>());
    let cut = "warning: only 10 of 11 APIs are shown; give at most 10 --api, such as api-21\n";
    assert_eq!(stderr, cut);
    let one = vec![api(11)];
    assert_eq!(
        show(&["--api", "api-11"]),
        (one.clone(), one, String::new())
    );
}

#[rstest]
fn show_waits_as_long_as_its_rule(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_calls(&db, "tmdb", -60, 1);
    let add = "alerts add --api tmdb --type ERROR_SPIKE --period HOUR --threshold 5 --settle 10m";
    db.usagectl(add.split(' ')).run().success();
    let show = db.usagectl(["alerts", "show", "tmdb/ERROR_SPIKE/HOUR"]);
    let show = show.run().success().stdout;
    assert!(
        show.contains("to 2026-01-31T11:50:00Z, one column per hour"),
        "{show}"
    );
}
