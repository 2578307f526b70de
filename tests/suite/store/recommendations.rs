//! Recommendations: two rows read and written as one, and never two open answers to one question.

use usagectl::domain::metrics::names::{Priority, Status};
use usagectl::store::recommendation::recommendations::{
    all, find, insert, release_deleted, update,
};

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::recommendations::recommendation;
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

#[rstest]
fn what_is_written_is_read_back(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut conn = db.open();
    let one = recommendation("a%_1", "q", Status::Pending);
    conn.write_tx(|db| insert(db, &one)).unwrap();
    conn.write_tx(|db| insert(db, &recommendation("a%_12", "q", Status::Expired)))
        .unwrap();
    assert_eq!(find(&mut conn, "a%_1"), Ok(vec![one.clone()]));
    assert_eq!(find(&mut conn, "a%").unwrap().len(), 2);
    assert_eq!(find(&mut conn, "%"), Ok(vec![]));
    assert_eq!(all(&mut conn).unwrap().len(), 2);
    assert_eq!(
        db.rows(
            "SELECT benefits, risks, priority FROM \"UpgradeRecommendation\" WHERE id = 'a%_1'"
        ),
        ["[\"Room \\\"enough\\\"\"]|NULL|HIGH"]
    );
}

#[rstest]
fn one_question_has_one_open_answer(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut conn = db.open();
    conn.write_tx(|db| insert(db, &recommendation("a", "q", Status::Reviewed)))
        .unwrap();
    let second = conn.write_tx(|db| insert(db, &recommendation("b", "q", Status::Pending)));
    assert!(
        second
            .unwrap_err()
            .to_string()
            .to_lowercase()
            .contains("unique")
    );
    for closed in [Status::Dismissed, Status::Expired, Status::Implemented] {
        let id = closed.to_string();
        conn.write_tx(|db| insert(db, &recommendation(&id, "q", closed)))
            .unwrap();
    }
    // Another program deletes what it does not want to see.
    db.execute("DELETE FROM \"UpgradeRecommendation\" WHERE id = 'a'");
    assert_eq!(release_deleted(&mut conn), Ok(1));
    conn.write_tx(|db| insert(db, &recommendation("b", "q", Status::Pending)))
        .unwrap();
}

#[rstest]
fn nobody_is_overwritten(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut conn = db.open();
    let before = recommendation("a", "q", Status::Pending);
    conn.write_tx(|db| insert(db, &before)).unwrap();
    let mut after = before.clone();
    after.priority = Priority::Critical;
    after.own.as_mut().unwrap().version = 2;
    assert_eq!(conn.write_tx(|db| update(db, &before, &after)), Ok(true));
    // Whoever read it before that is too late.
    let mut late = before.clone();
    late.own.as_mut().unwrap().seen_count = 9;
    assert_eq!(conn.savepoint(|db| update(db, &before, &late)), Ok(false));
    // The application knows nothing of versions.
    db.execute("UPDATE \"UpgradeRecommendation\" SET status = 'DISMISSED'");
    let mut again = after.clone();
    again.priority = Priority::Low;
    assert_eq!(conn.savepoint(|db| update(db, &after, &again)), Ok(false));
}

#[rstest]
fn what_another_program_made_is_there_too(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.execute(
        "INSERT INTO \"UpgradeRecommendation\" (id, service, \"currentPlan\", \"recommendedPlan\", priority, reason,
                 benefits, \"updatedAt\")
             VALUES ('cl1', 'VERCEL_BUILD', 'hobby', 'pro', 'LOW', 'why not', '{\"a\": 1}',
                 '2026-01-30T15:00:00.000+00:00')",
    );
    let found = all(&mut db.open()).unwrap();
    assert_eq!(found[0].own, None);
    assert_eq!((found[0].status, found[0].metric), (Status::Pending, None));
    assert_eq!(found[0].benefits, ["{\"a\": 1}"]);
}
