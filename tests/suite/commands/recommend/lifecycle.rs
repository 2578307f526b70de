//! `recommend review`, `approve`, `implement`, `dismiss`, `reopen`, `note` and `history`.

use std::sync::Barrier;
use std::thread;

use crate::support::assert_snapshot;
use serde_json::Value;
use usagectl::domain::metrics::names::Status;
use usagectl::domain::named::Named;
use usagectl::store::recommendation::recommendations::insert;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::recommendations::recommendation;
use crate::support::{Engine, Run, TestDatabase};
use rstest::rstest;

fn put(db: &TestDatabase, id: &str, question: &str, status: Status) {
    let it = recommendation(id, question, status);
    db.open().write_tx(|db| insert(db, &it)).unwrap();
}

fn step(db: &TestDatabase, args: &str) -> Run {
    let args: Vec<&str> = args.split(' ').collect();
    let mut program = db.usagectl(["recommend"]);
    for arg in args {
        // A note is one argument.
        program = program.arg(arg.replace('_', " "));
    }
    program.run()
}

/// The application's row and ours.
fn rows(db: &TestDatabase) -> Vec<String> {
    db.rows(
        "SELECT id, its.status, \"reviewedBy\", \"reviewNotes\", \"reviewedAt\" IS NOT NULL,
             \"implementedAt\" IS NOT NULL, version, ours.status, open_question, dismissed_priority,
             snoozed_until, reopened_count
         FROM \"UpgradeRecommendation\" AS its
         JOIN usagectl_recommendations AS ours ON recommendation_id = id
         ORDER BY id",
    )
}

/// The history entries.
fn entries(db: &TestDatabase) -> Vec<String> {
    db.rows(
        "SELECT number, actor, actor_kind, from_status, to_status, note
         FROM usagectl_recommendation_history ORDER BY recommendation_id, number",
    )
}

#[rstest]
fn recommendation_is_reviewed_approved_and_implemented(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    put(&db, "abc-1", "q", Status::Pending);
    assert_snapshot!(step(&db, "review abc --by ann --note looks_right").snapshot(), @r"
        VERCEL_KV abc-1: PENDING -> REVIEWED, version 2
        ------- stderr -------
        next actions: approve, dismiss
        [exit status: 0]
        ");
    assert_eq!(
        rows(&db),
        ["abc-1|REVIEWED|ann|looks right|1|0|2|REVIEWED|q|NULL|NULL|0"]
    );
    step(&db, "approve abc-1 --by bob --if-version 2").success();
    step(&db, "note abc-1 --by cy --note ordered").success();
    step(&db, "implement abc-1 --by bob").success();
    assert_eq!(
        rows(&db),
        ["abc-1|IMPLEMENTED|bob|looks right|1|1|5|IMPLEMENTED|NULL|NULL|NULL|0"]
    );
    assert_eq!(
        entries(&db),
        [
            "1|ann|PERSON|PENDING|REVIEWED|looks right",
            "2|bob|PERSON|REVIEWED|APPROVED|NULL",
            "3|cy|PERSON|APPROVED|APPROVED|ordered",
            "4|bob|PERSON|APPROVED|IMPLEMENTED|NULL",
        ]
    );
    assert_snapshot!(step(&db, "history abc").success().stdout, @r"
        #  AT                    BY   STATUS                   NOTE
        1  2026-01-31T12:00:00Z  ann  PENDING -> REVIEWED      looks right
        2  2026-01-31T12:00:00Z  bob  REVIEWED -> APPROVED
        3  2026-01-31T12:00:00Z  cy   APPROVED                 ordered
        4  2026-01-31T12:00:00Z  bob  APPROVED -> IMPLEMENTED
        ");
    // It is final, but a note can be added.
    for verb in ["review", "approve", "implement"] {
        let run = step(&db, &format!("{verb} abc"));
        assert_eq!(run.code, 5, "{}", run.snapshot());
    }
    step(&db, "note abc --note it_helped").success();
}

#[rstest]
fn move_outside_the_table_is_refused_and_writes_nothing(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    for status in Status::ALL {
        put(&db, status.as_str(), status.as_str(), *status);
    }
    let allowed = [
        ("review", "PENDING APPROVED"),
        ("approve", "REVIEWED"),
        ("implement", "APPROVED"),
        ("dismiss --note n", "PENDING REVIEWED APPROVED"),
        ("reopen --note n", "DISMISSED EXPIRED"),
    ];
    let before = rows(&db);
    for (verb, from) in allowed {
        for status in Status::ALL
            .iter()
            .filter(|s| !from.split(' ').any(|f| f == s.as_str()))
        {
            let (verb, flags) = verb.split_once(' ').unwrap_or((verb, "--by ann"));
            let run = step(&db, &format!("{verb} {status} {flags}"));
            assert_eq!(run.code, 5, "{}", run.snapshot());
            assert!(
                run.stderr.contains("\nnext: usagectl recommend "),
                "{}",
                run.stderr
            );
        }
    }
    assert_eq!((rows(&db), entries(&db).len()), (before, 0));
    assert_snapshot!(step(&db, "approve PENDING").snapshot(), @r"
        ------- stderr -------
        error: PENDING is PENDING and cannot become APPROVED; allowed: review, dismiss
        next: usagectl recommend review PENDING
        [exit status: 5]
        ");
}

#[rstest]
fn single_reviewer_approves_in_one_go_with_two_entries(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    put(&db, "a", "q", Status::Pending);
    db.execute(
        "INSERT INTO usagectl_inputs (name, service, value, updated_by, updated_at) VALUES
                 ('single_reviewer', '', 'true', 'ann', '2026-01-31T12:00:00.000+00:00'),
                 ('single_reviewer', 'AI_OPENAI', 'false', 'ann', '2026-01-31T12:00:00.000+00:00')",
    );
    step(&db, "approve a --by ann --note do_it").success();
    assert_eq!(
        rows(&db),
        ["a|APPROVED|ann|do it|1|0|3|APPROVED|q|NULL|NULL|0"]
    );
    assert_eq!(
        entries(&db),
        [
            "1|ann|PERSON|PENDING|REVIEWED|do it",
            "2|ann|PERSON|REVIEWED|APPROVED|do it",
        ]
    );
}

#[rstest]
fn stale_version_writes_nothing(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put(&db, "a", "q", Status::Pending);
    step(&db, "review a --by ann").success();
    let before = rows(&db);
    assert_snapshot!(step(&db, "approve a --if-version 1").snapshot(), @r"
        ------- stderr -------
        error: a is REVIEWED at version 2; nothing was changed
        next: usagectl recommend show a
        [exit status: 4]
        ");
    assert_eq!((rows(&db), entries(&db).len()), (before, 1));
}

#[rstest]
fn dismissal_requires_a_note_and_may_end(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put(&db, "a", "q", Status::Pending);
    assert_eq!(step(&db, "dismiss a").code, 2);
    assert_eq!(step(&db, "dismiss a --note _").code, 2);
    assert_eq!(step(&db, "dismiss a --note n --until 2026-01-31").code, 2);
    assert_eq!(step(&db, "dismiss a --note n --until soon").code, 2);
    assert_snapshot!(step(&db, "dismiss a --by ann --note clean-up --until 2026-03-01").snapshot(), @r"
        VERCEL_KV a: PENDING -> DISMISSED until 2026-03-01T00:00:00Z, version 2
        ------- stderr -------
        next actions: reopen
        [exit status: 0]
        ");
    assert_eq!(
        rows(&db),
        ["a|DISMISSED|ann|clean-up|1|0|2|DISMISSED|NULL|HIGH|2026-03-01T00:00:00.000+00:00|0"]
    );
    step(&db, "reopen a --by ann --note no_clean-up").success();
    assert_eq!(
        rows(&db),
        ["a|PENDING|NULL|NULL|0|0|3|PENDING|q|NULL|NULL|1"]
    );
}

#[rstest]
fn reopening_beside_another_open_answer_is_refused(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put(&db, "a", "q", Status::Dismissed);
    put(&db, "b", "q", Status::Approved);
    let before = rows(&db);
    assert_snapshot!(step(&db, "reopen a --note again").snapshot(), @r"
        ------- stderr -------
        error: b is APPROVED and answers the same question
        next: usagectl recommend show b
        [exit status: 5]
        ");
    assert_eq!((rows(&db), entries(&db).len()), (before, 0));
}

#[rstest]
fn change_by_application_is_recorded_before_the_move(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put(&db, "a", "q", Status::Reviewed);
    db.execute("UPDATE \"UpgradeRecommendation\" SET status = 'APPROVED'");
    // A version from before that change is stale.
    assert_eq!(step(&db, "implement a --if-version 1").code, 4);
    let refused = step(&db, "approve a");
    assert_eq!(refused.code, 5);
    assert!(
        refused
            .stderr
            .contains("a (changed by the application) is already APPROVED")
    );
    assert_eq!(entries(&db).len(), 0);
    let run = step(&db, "implement a --by ann --if-version 2").success();
    assert_eq!(
        run.stderr,
        "changed by the application before: REVIEWED -> APPROVED\n"
    );
    assert_eq!(
        rows(&db),
        ["a|IMPLEMENTED|NULL|NULL|0|1|3|IMPLEMENTED|NULL|NULL|NULL|0"]
    );
    assert_eq!(
        entries(&db),
        [
            "1|application|APPLICATION|REVIEWED|APPROVED|NULL",
            "2|ann|PERSON|APPROVED|IMPLEMENTED|NULL",
        ]
    );
}

#[rstest]
fn recommendation_of_another_program_can_be_moved(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut theirs = recommendation("theirs", "q", Status::Pending);
    theirs.tracking = None;
    db.open().write_tx(|db| insert(db, &theirs)).unwrap();
    step(&db, "review theirs --by ann").success();
    let run = step(&db, "approve theirs --by ann --if-version 1 --format json").success();
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&json["to"], &json["version"]),
        (&"APPROVED".into(), &2.into())
    );
    assert_eq!(
        db.rows("SELECT status, \"reviewedBy\" FROM \"UpgradeRecommendation\""),
        ["APPROVED|ann"]
    );
}

#[rstest]
fn one_of_two_concurrent_approvals_is_refused(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put(&db, "a", "q", Status::Reviewed);
    let start = Barrier::new(2);
    let approve = |by: &str| {
        start.wait();
        step(&db, &format!("approve a --by {by}")).code
    };
    let mut codes = thread::scope(|scope| {
        let other = scope.spawn(|| approve("ann"));
        [approve("bob"), other.join().unwrap()]
    });
    codes.sort_unstable();
    assert_eq!(codes, [0, 5]);
    assert_eq!(entries(&db).len(), 1);
}

#[rstest]
fn unique_prefix_of_an_id_is_accepted(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put(&db, "019c-1", "one", Status::Pending);
    put(&db, "019c-2", "two", Status::Pending);
    assert_snapshot!(step(&db, "history 019c").snapshot(), @r"
        ------- stderr -------
        error: 2 recommendations have an id that starts with `019c`
        next: usagectl recommend list --all
        [exit status: 2]
        ");
    assert_eq!(step(&db, "history 019d").code, 2);
    assert_eq!(step(&db, "history ").code, 2);
    assert_eq!(
        step(&db, "history 019c-2").success().stdout,
        "no history yet\n"
    );
}
