//! `alerts`: evaluation windows, reminder intervals and percentages.

use chrono::TimeDelta;
use rstest::rstest;
use serde_json::{Value, json};

use super::check::{check_with, checked, json};
use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alerts::{at, put_calls, put_channel, put_limit, put_rule};
use crate::support::calls::{Call, insert};
use crate::support::program::NOW;
use crate::support::{Engine, TestDatabase};

/// A call that costs `credits`, at an instant.
fn spend(db: &TestDatabase, at: &str, credits: i64) {
    let call = Call {
        cost: Some(credits * 10),
        ..Call::new(at, "openai", at)
    };
    insert(db, &[call]);
}

fn add(db: &TestDatabase, options: &str) -> String {
    let words = ["alerts", "add", "--api"]
        .into_iter()
        .chain(options.split(' '));
    db.usagectl(words).run().success().stdout
}

/// A plan in use since the beginning of the year.
fn put_plan(db: &TestDatabase, provider: &str, zone: &str, anchor_day: u32) {
    let then = "2026-01-01T00:00:00.000+00:00";
    db.execute(&format!(
        "INSERT INTO usagectl_plan_choices (id, provider, plan, anchor_day, time_zone, valid_from, chosen_by, created_at)
         VALUES ('1', '{provider}', 'tier', {anchor_day}, '{zone}', '{then}', 'ops', '{then}')"
    ));
}

/// The value of the only rule, at an instant.
fn value(db: &TestDatabase, now: &str) -> Value {
    let check = ["alerts", "check", "--no-send", "--format", "json"];
    let check = json(db.usagectl(check).now(now).run().success());
    check["findings"][0]["value"].clone()
}

#[rstest]
fn rules_of_the_application_have_the_defaults_of_type_and_period(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    for (n, (alert_type, period)) in [
        ("COST_THRESHOLD", "MONTH"),
        ("ERROR_SPIKE", "DAY"),
        ("RATE_LIMIT_WARNING", "DAY"),
        ("RATE_LIMIT_WARNING", "MINUTE"),
    ]
    .into_iter()
    .enumerate()
    {
        put_rule(&db, &format!("r{n}"), "tmdb", alert_type, "80", period);
    }
    let list = db.usagectl(["alerts", "list", "--format", "json"]).run();
    let list = json(list.success());
    let rules = list["rules"].as_array().unwrap().iter();
    let defaults = rules.map(|rule| (rule["window"].clone(), rule["repeat_ms"].clone()));
    let hours = |hours: i64| json!(hours * 3_600_000);
    let expected = [
        (json!("ROLLING"), hours(1)),
        (json!("CALENDAR"), hours(12)),
        (json!("CALENDAR"), hours(24)),
        (json!("ROLLING"), hours(12)),
    ];
    assert_eq!(defaults.collect::<Vec<_>>(), expected);
}

#[rstest]
fn month_of_a_quota_begins_with_the_calendar_or_on_its_day(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    // The last day of February is the first of a cycle of the 31st.
    for (options, expected) in [
        ("", [4, 4, 4]),
        (" --month-starts 17", [6, 6, 0]),
        (" --month-starts 31", [4, 4, 0]),
        (" --window rolling", [7, 7, 4]),
        (" --tz America/New_York", [7, 0, 0]),
    ] {
        let db = TestDatabase::migrated(engine);
        for (at, credits) in [
            ("2026-01-16T12:00:00Z", 1),
            ("2026-01-20T12:00:00Z", 2),
            ("2026-02-01T02:00:00Z", 4),
        ] {
            spend(&db, at, credits);
        }
        add(
            &db,
            &format!("openai --type COST_THRESHOLD --threshold 100 --period MONTH{options}"),
        );
        let values = [
            "2026-02-01T02:30:20Z",
            "2026-02-01T05:30:20Z",
            "2026-02-28T12:00:20Z",
        ];
        let found = values.map(|now| value(&db, now));
        assert_eq!(
            found,
            expected.map(|value| json!(f64::from(value))),
            "{options}"
        );
    }
}

#[rstest]
fn billing_cycle_of_the_plan_in_use_is_the_default(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_plan(&db, "openai", "UTC", 17);
    spend(&db, "2026-01-16T12:00:00Z", 1);
    spend(&db, "2026-01-20T12:00:00Z", 2);
    add(
        &db,
        "openai --type COST_THRESHOLD --threshold 100 --period MONTH",
    );
    assert_eq!(value(&db, "2026-02-01T00:00:20Z"), json!(2.0));
}

/// Used calls of a limit of 100 calls per day: the value of the rule, and the use that `stats` shows.
fn used_of_a_day(db: &TestDatabase, minute: i64) -> [Value; 2] {
    let stats = [
        "stats",
        "--last",
        "48h",
        "--tz",
        "Asia/Tokyo",
        "--format",
        "json",
    ];
    let stats = json(
        db.usagectl(stats)
            .now(&at(minute).to_rfc3339())
            .run()
            .success(),
    );
    let limits = stats["lines"][0]["limits"].as_array().unwrap();
    assert_eq!(limits.len(), 1);
    let check = at(minute) + TimeDelta::seconds(20);
    [value(db, &check.to_rfc3339()), limits[0]["used"].clone()]
}

#[rstest]
fn zone_of_the_database_is_the_default_of_alerts_and_stats(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    for (options, expected) in [
        // The day of New York begins at 05:00.
        ("", 4.0),
        (" --tz UTC", 6.0),
        (" --window rolling", 7.0),
        (" --include-cached", 12.0),
    ] {
        let db = TestDatabase::migrated(engine);
        for (hour, calls) in [(-23, 1), (-10, 2), (-6, 4)] {
            put_calls(&db, "tmdb", hour * 60, calls);
        }
        let cached = |n: i64| Call {
            cached: true,
            at: at(-5 * 60) + TimeDelta::milliseconds(n),
            ..Call::new(&format!("cached-{n}"), "tmdb", NOW)
        };
        insert(&db, &(0..8).map(cached).collect::<Vec<_>>());
        let zone = ["aggregate", "--tz", "America/New_York"];
        db.usagectl(zone).run().success();
        put_limit(&db, "tmdb", "DAY", 100);
        let rule = "tmdb --type RATE_LIMIT_WARNING --threshold 80 --period DAY";
        add(&db, &format!("{rule}{options}"));
        assert_eq!(
            used_of_a_day(&db, 0),
            [(); 2].map(|()| json!(expected)),
            "{options}"
        );
        if options.is_empty() {
            put_plan(&db, "tmdb", "Asia/Kolkata", 1);
            // Of the provider: from 18:30 the day before.
            assert_eq!(used_of_a_day(&db, 1), [(); 2].map(|()| json!(6.0)));
        }
    }
}

#[rstest]
fn burst_across_the_full_minute_fires(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rule(
        &db,
        "rule",
        "finnhub",
        "RATE_LIMIT_WARNING",
        "100",
        "MINUTE",
    );
    put_limit(&db, "finnhub", "MINUTE", 60);
    put_channel(&db, "ops");
    put_calls(&db, "finnhub", -10, 1);
    // 116 calls in 15 s, 58 in each minute.
    let call = |n: i64| Call {
        at: at(1) + TimeDelta::milliseconds((n - 58) * 130),
        ..Call::new(&format!("burst-{n}"), "finnhub", NOW)
    };
    insert(&db, &(0..116).map(call).collect::<Vec<_>>());
    checked(&db, 1).success();
    let found = json(check_with(&db, 2, &["--format", "json"]).success());
    assert_eq!(found["firing"], 1);
    assert_eq!(found["findings"][0]["value"], json!(100.0 * 116.0 / 60.0));
}

#[rstest]
fn error_spike_in_percent_shows_percentages(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_channel(&db, "ops");
    let added = add(
        &db,
        "tmdb --type ERROR_SPIKE --percent 5 --period HOUR --min-requests 20",
    );
    assert!(added.contains("threshold 5.0%, min requests 20"), "{added}");
    put_calls(&db, "tmdb", 0, 17);
    let failed = |n: i64| Call {
        success: false,
        at: at(2) + TimeDelta::seconds(n),
        ..Call::new(&format!("failed-{n}"), "tmdb", NOW)
    };
    insert(&db, &[failed(0), failed(1)]);
    // 2 of 19 are too few calls.
    assert_eq!(checked(&db, 3).success().stdout, "");
    insert(&db, &[failed(60)]);
    let firing = checked(&db, 4).success().stdout;
    assert!(
        firing.contains("OK -> FIRING  15.0%       5.0%"),
        "{firing}"
    );
    let summary = db.rows("SELECT content FROM usagectl_notices").remove(0);
    let expected = "WARNING: tmdb 15 % of 20 calls failed per hour, threshold 5 %";
    assert!(summary.contains(expected), "{summary}");
    let list = db.usagectl(["alerts", "list"]).run().success().stdout;
    assert!(
        list.contains("15.0%       5.0%  % of calls  FIRING"),
        "{list}"
    );
    let set = ["alerts", "set", "tmdb/ERROR_SPIKE/HOUR", "--threshold", "5"];
    let changed = db.usagectl(set).run().success();
    assert!(
        changed.stdout.contains("threshold 5, min"),
        "{}",
        changed.stdout
    );
    let warning = "tmdb/ERROR_SPIKE/HOUR was a percentage and is a number of failed calls now";
    assert!(changed.stderr.contains(warning), "{}", changed.stderr);
}

#[rstest]
fn contradictory_options_are_usage_errors(#[values(Sqlite)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    for (options, message) in [
        ("--type ERROR_SPIKE --period HOUR", "--threshold"),
        (
            "--type ERROR_SPIKE --period HOUR --percent 5 --threshold 5",
            "cannot be used with",
        ),
        (
            "--type ERROR_SPIKE --period HOUR --percent 101",
            "expected at most 100",
        ),
        (
            "--type COST_THRESHOLD --period HOUR --percent 5",
            "requires a rule of type ERROR_SPIKE",
        ),
        (
            "--type COST_THRESHOLD --period DAY --threshold 5 --month-starts 17",
            "--month-starts requires --period MONTH",
        ),
        (
            "--type COST_THRESHOLD --period MONTH --threshold 5 --month-starts 32",
            "1..=31",
        ),
        (
            "--type NO_DATA --period HOUR --threshold 5 --no-data 1h",
            "of another type",
        ),
    ] {
        let words = ["alerts", "add", "--api", "tmdb"]
            .into_iter()
            .chain(options.split(' '));
        let run = db.usagectl(words).run();
        assert_eq!(run.code, 2, "{options}");
        assert!(run.stderr.contains(message), "{options}: {}", run.stderr);
    }
    assert_eq!(db.rows("SELECT count(*) FROM api_alerts"), ["0"]);
}
