//! Inserting usage records: text is stored unchanged, ids are unique.

use std::cell::RefCell;
use std::sync::Barrier;
use std::thread;

use chrono::DateTime;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use usagectl::domain::usage::batch::UsageBatch;
use usagectl::domain::usage::record::{Defaulted, NewUsage, UsageRecord};
use usagectl::store::db::Db;
use usagectl::store::time::UtcTimestamp;
use usagectl::store::usage::insert::{Loaded, Refused, load, was_recorded};

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
    let now = UtcTimestamp::new(DateTime::UNIX_EPOCH);
    db.write_tx(|db| load(db, batch, now))
        .expect("the batch is inserted")
}

fn without_refusals(inserted: u64, duplicate: u64) -> Loaded {
    Loaded {
        inserted,
        duplicate,
        refused: Vec::new(),
    }
}

/// PostgreSQL's COPY needs escapes for many characters.
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
    db.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$;
         CREATE TRIGGER slow BEFORE INSERT ON api_usage FOR EACH ROW EXECUTE FUNCTION slow()",
    );
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
