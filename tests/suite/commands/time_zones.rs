//! Days and months of a time zone: they agree with the rows and with their hours across changes of clocks.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use rstest::rstest;
use serde_json::Value;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::calls::{Call, insert};
use crate::support::{Engine, TestDatabase};

/// A year of calls, one every 194 minutes, and one every minute around the changes of clocks.
fn year() -> Vec<DateTime<Utc>> {
    let start: DateTime<Utc> = "2025-02-01T00:00:00Z".parse().unwrap();
    let sparse = (0..2_700).map(|n| start + TimeDelta::minutes(194 * n));
    let changes = [
        "2025-03-29",
        "2025-10-25",
        "2025-03-08",
        "2025-11-01",
        "2025-04-05",
        "2025-10-04",
    ];
    let dense = changes.iter().flat_map(|date| {
        let noon: DateTime<Utc> = format!("{date}T12:00:00Z").parse().unwrap();
        (0..30).map(move |n| noon + TimeDelta::minutes(61 * n + 7))
    });
    sparse.chain(dense).collect()
}

fn put(db: &TestDatabase) -> Vec<DateTime<Utc>> {
    let times = year();
    let calls: Vec<Call> = times
        .iter()
        .enumerate()
        .map(|(n, at)| Call {
            at: *at,
            endpoint: Some(["/a", "/b"][n % 2].to_owned()),
            ..Call::new(&n.to_string(), "tmdb", "2026-01-01T00:00:00Z")
        })
        .collect();
    for part in calls.chunks(1_000) {
        insert(db, part);
    }
    times
}

/// The calls of each local date and of each local month.
fn naive(times: &[DateTime<Utc>], zone: Tz) -> [BTreeMap<NaiveDate, u64>; 2] {
    let mut counts = [BTreeMap::new(), BTreeMap::new()];
    for at in times {
        let date = at.with_timezone(&zone).date_naive();
        *counts[0].entry(date).or_default() += 1;
        *counts[1].entry(date.with_day(1).unwrap()).or_default() += 1;
    }
    counts
}

/// The days or months in the application's table, by their local date.
fn stored(db: &TestDatabase, kind: &str, zone: Tz) -> BTreeMap<NaiveDate, u64> {
    let rows = db.rows(&format!(
        "SELECT period_start, total_requests FROM api_usage_aggregates WHERE aggregation_type = '{kind}'"
    ));
    let parsed = rows.iter().map(|row| {
        let (start, count) = row.split_once('|').unwrap();
        let start: DateTime<Utc> = start.parse().unwrap();
        let local = start.with_timezone(&zone).naive_local();
        assert_eq!(
            local.time(),
            chrono::NaiveTime::MIN,
            "{zone} {kind} {start}"
        );
        (local.date(), count.parse().unwrap())
    });
    parsed.collect()
}

fn check(db: &TestDatabase, times: &[DateTime<Utc>], zone: Tz) {
    db.usagectl(["aggregate", "--tz", zone.name(), "--lock-wait", "10s"])
        .run()
        .success();
    let [days, months] = naive(times, zone);
    assert_eq!(stored(db, "DAILY", zone), days, "{zone}");
    assert_eq!(stored(db, "MONTHLY", zone), months, "{zone}");
    let verified = db.usagectl(["aggregate", "--verify"]).run();
    assert_eq!((verified.code, verified.stdout.as_str()), (0, ""), "{zone}");
}

const ZONES: [Tz; 6] = [
    Tz::Europe__Madrid,
    Tz::America__New_York,
    Tz::Asia__Kathmandu,
    Tz::Australia__Lord_Howe,
    Tz::Asia__Seoul,
    Tz::UTC,
];

#[rstest]
fn days_and_months_agree_with_the_rows_in_every_zone_also_after_prune(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let mut times = put(&db);
    for zone in ZONES {
        check(&db, &times, zone);
    }
    db.usagectl(["prune", "--older-than", "60d"])
        .run()
        .success();
    for zone in [
        Tz::Asia__Kathmandu,
        Tz::Australia__Lord_Howe,
        Tz::Europe__Madrid,
    ] {
        check(&db, &times, zone);
        // Stored once: a run without --tz keeps it.
        let again = db
            .usagectl(["aggregate", "--format", "json"])
            .run()
            .success();
        let again: Value = serde_json::from_str(&again.stdout).unwrap();
        assert_eq!(again["days_rewritten"], 0);
    }
    // A late row just after local midnight, in a pruned hour.
    let late = "2025-06-14T18:20:00Z";
    insert(&db, &[Call::new("late", "tmdb", late)]);
    times.push(late.parse().unwrap());
    for zone in [Tz::Asia__Kathmandu, Tz::Europe__Madrid] {
        check(&db, &times, zone);
    }
}

#[rstest]
fn stats_by_day_are_those_of_any_zone(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let times = put(&db);
    for stored in [Tz::UTC, Tz::Asia__Kathmandu] {
        db.usagectl(["aggregate", "--tz", stored.name()])
            .run()
            .success();
        // The second window is so short that the trend has cells of hours.
        let windows = [("2025-02-10", "2025-12-01"), ("2025-04-04", "2025-04-07")];
        for (zone, (from, to)) in ZONES.iter().flat_map(|zone| windows.map(|it| (*zone, it))) {
            let run = db
                .usagectl(["stats", "--group-by", "day", "--from", from, "--to", to])
                .args(["--format", "json", "--tz", zone.name()])
                .run()
                .success();
            let answer: Value = serde_json::from_str(&run.stdout).unwrap();
            let lines = answer["lines"].as_array().unwrap().iter();
            let found: BTreeMap<NaiveDate, u64> = lines
                .map(|line| {
                    let day = line["group"].as_str().unwrap().parse().unwrap();
                    (day, line["total_requests"].as_u64().unwrap())
                })
                .collect();
            let [mut days, _] = naive(&times, zone);
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            days.retain(|day, _| (from..to).contains(day));
            assert_eq!(found, days, "{zone}, stored {stored}, from {from}");
        }
    }
    // Without --tz the stored zone counts.
    let today = db
        .usagectl(["stats", "--last", "today", "--format", "json"])
        .run()
        .success();
    let today: Value = serde_json::from_str(&today.stdout).unwrap();
    assert_eq!(today["from"], "2026-01-30T18:15:00.000Z");
    assert_eq!(today["time_zone"], "Asia/Kathmandu");
}

#[rstest]
fn dates_are_those_of_the_stored_zone(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    // In the first hour of yesterday, in the first of today, which begins within it, and today.
    let times = ["29T18:20:00Z", "30T18:30:00Z", "30T19:30:00Z"];
    for (id, time) in ["a", "b", "c"].iter().zip(times) {
        insert(&db, &[Call::new(id, "tmdb", &format!("2026-01-{time}"))]);
    }
    let answer = |args: &[&str]| -> Value {
        let run = db.usagectl(args).args(["--format", "json"]).run().success();
        serde_json::from_str(&run.stdout).unwrap()
    };
    answer(&["aggregate", "--tz", "Asia/Kathmandu"]);
    let rebuild = ["--rebuild", "--from", "yesterday", "--to", "2026-01-31"];
    let rebuilt = answer(&[&["aggregate"], &rebuild[..]].concat());
    assert_eq!(rebuilt["rows_read"], 2);
    let rule = ["--api", "tmdb", "--type", "ERROR_SPIKE", "--period", "HOUR"];
    let backtest = ["--threshold", "1", "--from", "today"];
    let backtest = answer(&[&["alerts", "backtest"], &rule[..], &backtest[..]].concat());
    let history = answer(&["alerts", "history", "--from", "today"]);
    for found in [backtest, history] {
        assert_eq!(found["from"], "2026-01-30T18:15:00.000Z");
    }
}
