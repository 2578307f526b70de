//! Recommendations: two rows read and written as one, with at most one open answer to a question.

use usagectl::domain::metrics::names::{Priority, Status};
use usagectl::domain::recommendation::Topic;
use usagectl::store::recommendation::recommendations::{
    all, find_by_prefix, find_by_topic, insert, release_deleted, update,
};

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::recommendations::recommendation;
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

#[rstest]
fn written_recommendation_is_read_back(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut conn = db.open();
    let one = recommendation("a%_1", "q", Status::Pending);
    conn.write_tx(|db| insert(db, &one)).unwrap();
    conn.write_tx(|db| insert(db, &recommendation("a%_12", "q", Status::Expired)))
        .unwrap();
    assert_eq!(find_by_prefix(&mut conn, "a%_1"), Ok(vec![one.clone()]));
    assert_eq!(find_by_prefix(&mut conn, "a%").unwrap().len(), 2);
    assert_eq!(find_by_prefix(&mut conn, "%"), Ok(vec![]));
    assert_eq!(all(&mut conn).unwrap().len(), 2);
    assert_eq!(
        db.rows(
            "SELECT benefits, risks, priority FROM \"UpgradeRecommendation\" WHERE id = 'a%_1'"
        ),
        ["[\"Room \\\"enough\\\"\"]|NULL|HIGH"]
    );
}

#[rstest]
fn question_has_one_open_answer(#[values(Sqlite, Postgresql)] engine: Engine) {
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
    // Another program deletes the row.
    db.execute("DELETE FROM \"UpgradeRecommendation\" WHERE id = 'a'");
    assert_eq!(release_deleted(&mut conn), Ok(1));
    conn.write_tx(|db| insert(db, &recommendation("b", "q", Status::Pending)))
        .unwrap();
}

#[rstest]
fn concurrent_change_is_not_overwritten(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut conn = db.open();
    let before = recommendation("a", "q", Status::Pending);
    conn.write_tx(|db| insert(db, &before)).unwrap();
    let mut after = before.clone();
    after.priority = Priority::Critical;
    after.tracking.as_mut().unwrap().version = 2;
    assert_eq!(conn.write_tx(|db| update(db, &before, &after)), Ok(true));
    // An update from the state before is refused.
    let mut late = before.clone();
    late.tracking.as_mut().unwrap().seen_count = 9;
    assert_eq!(conn.savepoint(|db| update(db, &before, &late)), Ok(false));
    // The application changes the status only.
    db.execute("UPDATE \"UpgradeRecommendation\" SET status = 'DISMISSED'");
    let mut again = after.clone();
    again.priority = Priority::Low;
    assert_eq!(conn.savepoint(|db| update(db, &after, &again)), Ok(false));
}

#[rstest]
fn recommendation_of_another_program_is_read(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.execute(
        "INSERT INTO \"UpgradeRecommendation\" (id, service, \"currentPlan\", \"recommendedPlan\", priority, reason,
                 benefits, \"updatedAt\")
             VALUES ('cl1', 'VERCEL_BUILD', 'hobby', 'pro', 'LOW', 'why not', '{\"a\": 1}',
                 '2026-01-30T15:00:00.000+00:00')",
    );
    let found = all(&mut db.open()).unwrap();
    assert_eq!(found[0].tracking, None);
    assert_eq!((found[0].status, found[0].metric), (Status::Pending, None));
    assert_eq!(found[0].benefits, ["{\"a\": 1}"]);
}

#[rstest]
fn topic_finds_its_answers_only(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut conn = db.open();
    let topic = Topic {
        provider: "upstash".to_owned(),
        resource: String::new(),
        plan: "free".to_owned(),
        budget: None,
    };
    let mut put = |id: &str, question: String, status| {
        let it = recommendation(id, &question, status);
        conn.write_tx(|db| insert(db, &it)).unwrap();
    };
    put("a", topic.key(), Status::Pending);
    put("b", topic.key(), Status::Expired);
    put("c", "other".to_owned(), Status::Pending);
    let found = find_by_topic(&mut conn, &topic).unwrap();
    let mut ids: Vec<_> = found.iter().map(|it| it.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["a", "b"]);
}

#[rstest]
fn unreadable_name_is_an_error_and_no_default(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut conn = db.open();
    let it = recommendation("a", "q", Status::Dismissed);
    conn.write_tx(|db| insert(db, &it)).unwrap();
    for columns in [
        "status = 'LATER'",
        "status = 'DISMISSED', dismissed_priority = 'LATER'",
    ] {
        db.execute(&format!("UPDATE usagectl_recommendations SET {columns}"));
        let error = all(&mut conn).unwrap_err().to_string();
        assert!(error.contains("LATER"), "{error}");
    }
}
