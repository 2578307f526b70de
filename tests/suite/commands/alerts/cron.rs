//! A day of the README's crontab line.

use chrono::TimeDelta;
use rstest::rstest;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alerts::{at, put_calls, put_rule};
use crate::support::calls::{Call, insert};
use crate::support::program::NOW;
use crate::support::{Engine, TestDatabase};

/// The arguments of `usagectl` in the README's crontab line that evaluates alerts.
fn crontab_arguments() -> Vec<String> {
    let readme = include_str!("../../../../README.md");
    let lines = readme.lines().filter(|line| line.starts_with("* * * * * "));
    let [line] = lines.collect::<Vec<_>>()[..] else {
        panic!("the README has one crontab line that runs each minute");
    };
    let words = line.split_whitespace().skip(5).map(str::to_owned);
    let words: Vec<String> = words.collect();
    assert_eq!(words[..3], ["usagectl", "alerts", "check"], "{line}");
    words[1..].to_vec()
}

#[rstest]
fn day_of_cron_prints_nothing_without_changes(#[values(Sqlite, Postgresql)] engine: Engine) {
    const MINUTES: i64 = 1_440;
    let db = TestDatabase::migrated(engine);
    put_rule(&db, "firing", "finnhub", "ERROR_SPIKE", "10", "DAY");
    put_rule(&db, "no-limit", "rawg", "RATE_LIMIT_WARNING", "80", "DAY");
    put_rule(&db, "foreign", "tmdb", "LATENCY", "10", "WEEK");
    put_rule(&db, "fine", "tmdb", "ERROR_SPIKE", "10", "HOUR");
    db.usagectl(["alerts", "channel", "add", "ops", "exec", "--", "/bin/true"])
        .run()
        .success();
    let failure = |n: i64| Call {
        success: false,
        ..Call::new(&format!("failure-{n}"), "finnhub", NOW)
    };
    insert(&db, &(0..12).map(failure).collect::<Vec<_>>());
    for api in ["finnhub", "rawg", "tmdb"] {
        for minute in (0..MINUTES).step_by(10) {
            put_calls(&db, api, minute, 1);
        }
    }

    let arguments = crontab_arguments();
    let mut bytes = Vec::new();
    for minute in (1..=MINUTES).step_by(5) {
        let now = at(minute) + TimeDelta::seconds(20);
        let run = db.usagectl(&arguments).now(&now.to_rfc3339()).run();
        assert_eq!(run.code, 12, "two rules cannot be evaluated: {run:?}");
        let length = run.stdout.len() + run.stderr.len();
        if length > 0 {
            bytes.push((minute, run.stdout + &run.stderr));
        }
    }
    let [(1, first)] = &bytes[..] else {
        panic!("output beside the first changes: {bytes:?}");
    };
    for change in ["- -> FIRING", "- -> UNKNOWN", "next: usagectl "] {
        assert!(first.contains(change), "{first}");
    }
    let reminders = "SELECT COUNT(*) FROM usagectl_notices WHERE kind = 'REMINDER'";
    assert_ne!(db.rows(reminders), ["0"], "reminders are sent silently");
}
