//! Inserting usage records: text is stored unchanged, ids are unique.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use usagectl::domain::period::{Calendar, Window};
use usagectl::domain::usage::batch::UsageBatch;
use usagectl::domain::usage::endpoint::EndpointNames;
use usagectl::domain::usage::read_plan::RowRange;
use usagectl::domain::usage::record::{Defaulted, NewUsage, UsageRecord};
use usagectl::domain::usage::rollup::Tally;
use usagectl::store::db::Db;
use usagectl::store::time::UtcTimestamp;
use usagectl::store::usage::insert::{Loaded, Refused, load, was_recorded};
use usagectl::store::usage::read;
use usagectl::store::usage::second_reader::SecondReader;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

fn usage<'a>(id: &'a str, text: &'a str) -> NewUsage<'a> {
    NewUsage {
        record: UsageRecord {
            id,
            api_name: text,
            endpoint: Some(text),
            method: Some(text),
            timestamp: DateTime::UNIX_EPOCH,
            success: true,
            status_code: Some(200),
            response_time: None,
            request_size: Some(0),
            response_size: Some(i32::MAX),
            error_type: Some(text),
            error_message: Some(text),
            cost_credits: Some(0.1 + 0.2),
            cached: false,
            user_id: Some(text),
        },
        defaulted: Defaulted::default(),
    }
}

fn batch<'a>(usages: impl IntoIterator<Item = NewUsage<'a>>) -> UsageBatch {
    let mut batch = UsageBatch::default();
    usages.into_iter().for_each(|usage| batch.push(&usage));
    batch
}

fn insert_now(db: &mut Db, batch: &UsageBatch) -> Loaded {
    insert(db, batch, false)
}

fn insert(db: &mut Db, batch: &UsageBatch, are_known: bool) -> Loaded {
    let now = UtcTimestamp::new(DateTime::UNIX_EPOCH);
    db.write_tx(|db| load(db, batch, now, are_known))
        .expect("the batch is inserted")
}

fn without_refusals(inserted: u64, duplicate: u64) -> Loaded {
    Loaded {
        inserted,
        duplicate,
        refused: Vec::new(),
    }
}

#[rstest]
fn any_text_is_stored_unchanged(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let conn = RefCell::new(db.open());
    let number = RefCell::new(0);
    let texts = prop::collection::vec("([^\0]|[\\\\\t\n\r.N\"'])*", 2..8);
    let mut runner = TestRunner::new(Config::with_cases(60));
    let result = runner.run(&texts, |texts| {
        let ids: Vec<String> = texts
            .iter()
            .map(|_| {
                *number.borrow_mut() += 1;
                format!("{:09}", number.borrow())
            })
            .collect();
        let batch = batch(ids.iter().zip(&texts).map(|(id, text)| usage(id, text)));
        let conn = &mut *conn.borrow_mut();
        let count = texts.len() as u64;
        prop_assert_eq!(insert_now(conn, &batch), without_refusals(count, 0));
        prop_assert_eq!(insert_now(conn, &batch), without_refusals(0, count));
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    // And for any other program.
    let special = "tab\tnewline\nreturn\rbackslash\\ \\N \\. quote'\" é \u{10ffff}";
    insert_now(
        &mut db.open(),
        &batch([usage("special", special), usage("other", "")]),
    );
    assert_eq!(
        db.rows("SELECT api_name, endpoint, error_message, cost_credits FROM api_usage WHERE id = 'special'"),
        [format!("{special}|{special}|{special}|0.30000000000000004")]
    );
}

#[rstest]
fn first_of_equal_ids_is_inserted_and_others_are_compared(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let mut conn = db.open();
    let batch = batch([
        usage("b", "x"),
        usage("a", "x"),
        usage("b", "x"),
        usage("a", "y"),
    ]);
    let expected = Loaded {
        inserted: 2,
        duplicate: 1,
        refused: vec![(3, Refused::Conflict("api_name"))],
    };
    assert_eq!(insert_now(&mut conn, &batch), expected);
    assert_eq!(
        db.rows("SELECT id, api_name FROM api_usage ORDER BY id"),
        ["a|x", "b|x"]
    );
    assert_eq!(
        insert_now(&mut conn, &UsageBatch::default()),
        without_refusals(0, 0)
    );
}

/// More rows than one statement takes: COPY on PostgreSQL, several statements on SQLite.
#[rstest]
fn large_batch_is_inserted_compared_and_refused_row_by_row(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values(false, true)] are_known: bool,
) {
    let db = TestDatabase::migrated(engine);
    db.execute(match engine {
        Sqlite => {
            "CREATE TRIGGER refuse BEFORE INSERT ON api_usage WHEN NEW.user_id = 'bad'
             BEGIN SELECT RAISE(ABORT, 'bad user'); END"
        }
        Postgresql => "ALTER TABLE api_usage ADD CONSTRAINT \"bad user\" CHECK (user_id <> 'bad')",
    });
    let mut conn = db.open();
    let ids: Vec<String> = (0..1_300).map(|number| format!("{number:04}")).collect();
    let text = |number: usize| match number {
        700 => "bad",
        _ => ["x", "tab\tnewline\n\\N \\.", "é\u{10ffff}", ""][number % 4],
    };
    let rows = |numbers: Range<usize>| {
        batch(numbers.map(|number| {
            let mut usage = usage(&ids[number], text(number));
            usage.record.success = number % 3 > 0;
            usage.record.response_time = (number % 2 > 0).then_some(number as i32);
            usage.record.timestamp += TimeDelta::milliseconds(number as i64);
            usage
        }))
    };
    let check = |loaded: Loaded, inserted, duplicate| {
        assert_eq!((loaded.inserted, loaded.duplicate), (inserted, duplicate));
        let [(700, Refused::Database(reason))] = loaded.refused.as_slice() else {
            panic!("{:?}", loaded.refused);
        };
        assert!(reason.contains("bad user"), "{reason}");
    };
    check(insert(&mut conn, &rows(0..1_200), are_known), 1_199, 0);
    check(insert(&mut conn, &rows(0..1_300), are_known), 100, 1_199);
    let stored = db.rows("SELECT id, error_message, response_time, success, timestamp FROM api_usage WHERE id = '0001'");
    assert_eq!(stored.len(), 1);
    assert!(
        stored[0].starts_with("0001|tab\tnewline\n\\N \\.|1|"),
        "{stored:?}"
    );
    assert!(stored[0].contains("00:00:00.001"), "{stored:?}");
    // Every column is compared.
    let mut changed = ids
        .iter()
        .enumerate()
        .map(|(number, id)| usage(id, text(number)));
    let changed = insert(&mut conn, &batch(changed.by_ref().take(600)), are_known);
    assert_eq!((changed.inserted, changed.duplicate), (0, 0));
    let conflict =
        |field| move |(_, refused): &(usize, Refused)| *refused == Refused::Conflict(field);
    assert_eq!(
        changed
            .refused
            .iter()
            .filter(|it| conflict("timestamp")(it))
            .count(),
        599
    );
    assert_eq!(changed.refused[0], (0, Refused::Conflict("success")));
}

/// COPY is refused under row-level security, and its binary form for columns of other types.
#[rstest]
#[case(
    "ALTER TABLE api_usage ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY all_rows ON api_usage USING (true)"
)]
#[case("ALTER TABLE api_usage ALTER response_size TYPE bigint, ALTER user_id TYPE varchar(10)")]
fn large_batch_is_inserted_where_copy_is_refused(#[case] sql: &str) {
    let db = TestDatabase::migrated(Postgresql);
    db.execute(sql);
    let mut conn = db.open();
    let ids: Vec<String> = (0..1_100).map(|number| format!("{number:04}")).collect();
    let batch = batch(ids.iter().map(|id| usage(id, "x")));
    assert_eq!(insert_now(&mut conn, &batch), without_refusals(1_100, 0));
    assert_eq!(insert_now(&mut conn, &batch), without_refusals(0, 1_100));
    assert_eq!(
        db.rows("SELECT DISTINCT response_size, user_id FROM api_usage"),
        [format!("{}|x", i32::MAX)]
    );
}

#[rstest]
fn lone_row_with_other_content_is_a_conflict(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut conn = db.open();
    insert_now(&mut conn, &batch([usage("a", "x")]));
    let expected = Loaded {
        refused: vec![(0, Refused::Conflict("api_name"))],
        ..Loaded::default()
    };
    assert_eq!(insert_now(&mut conn, &batch([usage("a", "y")])), expected);
}

/// Slow inserts make the two transactions overlap.
#[test]
fn same_ids_in_opposite_order_do_not_deadlock() {
    let db = TestDatabase::migrated(Postgresql);
    db.slow_down_inserts(20);
    let ids: Vec<String> = (0..20).map(|number| format!("{number:02}")).collect();
    let forwards = batch(ids.iter().map(|id| usage(id, "x")));
    let backwards = batch(ids.iter().rev().map(|id| usage(id, "x")));
    let start = Barrier::new(2);
    let insert = |batch: &UsageBatch| {
        let mut conn = db.open();
        start.wait();
        insert_now(&mut conn, batch)
    };
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| insert(&forwards));
        let second = insert(&backwards);
        (first.join().expect("no deadlock"), second)
    });
    assert_eq!(first.inserted + second.inserted, 20);
    assert_eq!(first.duplicate + second.duplicate, 20);
}

#[rstest]
fn row_was_recorded_at_its_time_and_not_before(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut conn = db.open();
    insert_now(&mut conn, &batch([usage("a", "x")]));
    let at = |ms| UtcTimestamp::new(DateTime::from_timestamp_millis(ms).unwrap());
    assert_eq!(was_recorded(&mut conn, "a", at(0)), Ok(true));
    assert_eq!(was_recorded(&mut conn, "a", at(-1)), Ok(false));
    assert_eq!(was_recorded(&mut conn, "b", at(0)), Ok(false));
}

/// A large batch on SQLite drops the insert triggers for its transaction.
#[test]
fn large_batch_marks_the_hours_of_new_rows_and_leaves_the_triggers() {
    let schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY name";
    let marks = "SELECT api_name, hour FROM usagectl_dirty_hours WHERE NOT seen ORDER BY 1, 2";
    let ids: Vec<String> = (0..6_000).map(|number| format!("{number:04}")).collect();
    let hour_of = |number: i64| DateTime::UNIX_EPOCH + TimeDelta::hours(number % 7);
    let rows = (0..).zip(&ids).map(|(number, id)| {
        let mut usage = usage(id, if number % 2 == 0 { "tmdb" } else { "omdb" });
        usage.record.timestamp = hour_of(number) + TimeDelta::minutes(5);
        usage
    });
    let large = batch(rows.clone());
    let [of_triggers, of_batch] = [10, 6_000].map(|at_once| {
        let db = TestDatabase::migrated(Sqlite);
        db.execute(
            "CREATE TABLE log (id TEXT);
             CREATE TRIGGER theirs AFTER INSERT ON api_usage BEGIN INSERT INTO log VALUES (NEW.id); END",
        );
        let before = db.rows(schema);
        let mut conn = db.open();
        insert_now(&mut conn, &batch(rows.clone().take(1)));
        db.execute("UPDATE usagectl_dirty_hours SET seen = 1");
        let rest: Vec<_> = rows.clone().collect();
        for rows in rest.chunks(at_once) {
            insert_now(&mut conn, &batch(rows.iter().cloned()));
        }
        assert_eq!(insert(&mut conn, &large, true), without_refusals(0, 6_000));
        assert_eq!(db.rows(schema), before);
        assert_eq!(db.rows("SELECT count(*) FROM log"), ["6000"]);
        db.rows(marks)
    });
    assert_eq!(of_batch.len(), 14);
    assert_eq!(of_batch, of_triggers);
}

/// When another connection commits a row.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Commit {
    Never,
    BeforeSnapshot,
    AfterSnapshot,
}

#[rstest]
#[case::never(Commit::Never, 2, 30_300)]
#[case::before_snapshot(Commit::BeforeSnapshot, 1, 30_301)]
#[case::after_snapshot(Commit::AfterSnapshot, 1, 30_300)]
fn second_reader_shares_the_snapshot_or_does_not_read(
    #[case] commit: Commit,
    #[case] parts: usize,
    #[case] rows: u64,
) {
    let db = TestDatabase::migrated(Sqlite);
    db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 30299)
         INSERT INTO api_usage (id, api_name, timestamp)
         SELECT 'row-' || i, 'finnhub',
                strftime('%Y-%m-%dT%H:%M:%S', 1769904000 + i * 60, 'unixepoch')
                    || CASE WHEN i % 101 = 0 THEN 'Z' ELSE '.000+00:00' END
         FROM n",
    );
    let insert = "INSERT INTO api_usage (id, api_name, timestamp)
                  VALUES ('late', 'finnhub', '2026-02-10T00:00:00.000+00:00')";
    let mut conn = db.open();
    let mut second = SecondReader::open(&mut conn).expect("a second processor");
    second.note_state().unwrap();
    if commit == Commit::BeforeSnapshot {
        db.execute(insert);
    }
    let tallies = AtomicUsize::new(0);
    let found = conn.read_tx(|conn| {
        was_recorded(conn, "row-0", UtcTimestamp::new(DateTime::UNIX_EPOCH))?;
        if commit == Commit::AfterSnapshot {
            db.execute(insert);
        }
        let february = [(2, 1), (3, 1)].map(|(month, day)| {
            let date = NaiveDate::from_ymd_opt(2026, month, day).unwrap();
            date.and_time(NaiveTime::MIN).and_utc()
        });
        let range = RowRange::of_all(Window::new(february[0], february[1]));
        let new = || {
            tallies.fetch_add(1, Ordering::Relaxed);
            Tally::new(EndpointNames::Raw)
        };
        read::count(conn, Some(&mut second), &range, Calendar::UTC, new)
    });
    assert_eq!((tallies.into_inner(), found.unwrap().rows), (parts, rows));
}
