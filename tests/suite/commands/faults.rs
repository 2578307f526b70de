//! `migrate` and `rollback` ended at every fault point: the next run completes, and the log records it.

use rstest::rstest;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase, wait_for_rows, whole_catalogue};

fn log(db: &TestDatabase) -> Vec<String> {
    let schema = match db.engine() {
        Sqlite => "",
        Postgresql => "usagectl.",
    };
    db.rows(&format!(
        "SELECT version, action, step, step_count, state FROM {schema}usagectl_migration_log ORDER BY id"
    ))
}

/// Ends `command` with a signal at its first point, then at its second, and so on; whenever a step was completed,
/// the points of the next run begin behind it. Returns the number of ended runs.
fn end_at_every_point(db: &TestDatabase, command: &[&str], signal: &str, code: i32) -> usize {
    let mut ended = 0;
    // A concurrent step that is begun again is no progress.
    let steps_done = || log(db).iter().filter(|row| row.ends_with("|done")).count();
    let mut done = steps_done();
    let mut point = 1;
    loop {
        let run = db
            .usagectl(command)
            .env("USAGECTL_FAULT", format!("{signal}:*:{point}"))
            .run();
        if run.code == 0 {
            return ended;
        }
        assert_eq!(run.code, code, "at point {point}: {}", run.snapshot());
        ended += 1;
        let now_done = steps_done();
        // Points of what is done by now are not passed again.
        point = if now_done > done { 1 } else { point + 1 };
        done = now_done;
        assert!(ended < 2_000, "no progress: {:?}", log(db).last());
    }
}

/// Each step of each migration in order, done exactly once, after at most some starts.
fn assert_log_is_complete(log: &[String]) {
    let mut expected = 1;
    for row in log {
        let [_, action, step, count, state] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        assert!(["up", "down"].contains(&action), "{row}");
        assert_eq!(step.parse(), Ok(expected), "{row} in {log:#?}");
        if state == "done" {
            expected = if step == count { 1 } else { expected + 1 };
        }
    }
    assert_eq!(expected, 1);
}

#[rstest]
fn run_killed_at_every_point_is_completed(#[values(Sqlite, Postgresql)] engine: Engine) {
    let whole = TestDatabase::migrated(engine);
    let db = TestDatabase::empty(engine);
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    let start = whole_catalogue(&db);
    db.execute(
        "INSERT INTO api_usage (id, api_name, timestamp, created_at) VALUES
             ('1', 'tmdb', '2026-01-31T11:00:00.000+00:00', '2026-01-31T11:00:00.000+00:00')",
    );
    let ended = end_at_every_point(&db, &["migrate"], "kill", 137);
    assert!(ended > 100, "{ended}");
    assert_eq!(whole_catalogue(&db), whole_catalogue(&whole));
    assert_log_is_complete(&log(&db));
    db.usagectl(["status"]).run().success();
    // The row was marked for aggregation.
    let dirty = "SELECT api_name, hour FROM usagectl_dirty_hours";
    let dirty = match engine {
        Sqlite => dirty.to_owned(),
        Postgresql => dirty.replace("FROM ", "FROM usagectl."),
    };
    assert_eq!(db.rows(&dirty), ["tmdb|2026-01-31T11:00:00.000+00:00"]);

    let rollback = [
        "rollback",
        "--to",
        "create_api_usage",
        "--yes",
        "--accept-data-loss",
    ];
    let ended = end_at_every_point(&db, &rollback, "kill", 137);
    assert!(ended > 50, "{ended}");
    assert_eq!(whole_catalogue(&db), start);
    assert_log_is_complete(&log(&db));
    assert_eq!(db.rows("SELECT id FROM api_usage"), ["1"]);
}

#[rstest]
fn signal_rolls_step_back_and_prints_state(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values("int", "term")] signal: &str,
) {
    let db = TestDatabase::empty(engine);
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    let interrupted = |command: &[&str], point: &str| {
        let fault = format!("{signal}:{point}");
        let run = db.usagectl(command).env("USAGECTL_FAULT", fault).run();
        assert_eq!(run.code, 1, "{}", run.snapshot());
        run.stderr
    };
    let steps = match engine {
        Sqlite => 6,
        Postgresql => 9,
    };
    // Before the commit of the first step.
    assert_eq!(
        interrupted(&["migrate"], "before commit:1"),
        "error: interrupted; 20260101000000_create_api_usage is applied\nnext: usagectl migrate\n"
    );
    assert_eq!(
        interrupted(&["migrate"], "log:2"),
        format!(
            "error: interrupted; 20260101000000_create_api_usage is applied, \
             20260123210146_enhance_api_monitoring is partly applied, at step 2 of {steps}\n\
             next: usagectl migrate\n"
        )
    );
    let status = db.usagectl(["status"]).run();
    assert_eq!(status.code, 4, "{}", status.snapshot());
    let state = format!("partial (up at step 2 of {steps})");
    assert!(status.stdout.contains(&state), "{}", status.stdout);
    // A partly applied migration is completed before anything is reverted.
    let refused = db.usagectl(["rollback", "--yes"]).run();
    assert_eq!(refused.code, 4, "{}", refused.snapshot());
    assert!(refused.stderr.ends_with("next: usagectl migrate\n"));
    db.usagectl(["migrate", "--to", "enhance_api_monitoring"])
        .run()
        .success();

    let back = ["rollback", "--yes", "--accept-data-loss"];
    let printed = interrupted(&back, "log:3");
    let partly = "20260123210146_enhance_api_monitoring is partly reverted, at step";
    assert!(printed.contains(partly), "{printed}");
    assert!(printed.ends_with("next: usagectl rollback\n"), "{printed}");
    let refused = db.usagectl(["migrate"]).run();
    assert_eq!(refused.code, 4, "{}", refused.snapshot());
    assert!(refused.stderr.ends_with("next: usagectl rollback\n"));
    db.usagectl(back).run().success();
    assert_eq!(db.usagectl(["status"]).run().code, 3);
}

/// The settings of the database would end the build.
#[test]
fn interrupted_index_build_is_cancelled_and_repeated_postgresql() {
    let db = TestDatabase::empty(Postgresql);
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    for setting in ["statement_timeout", "lock_timeout"] {
        db.execute(&format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {setting} = 100', current_database()); END $$"
        ));
    }
    let killed = db
        .usagectl(["migrate"])
        .env("USAGECTL_FAULT", "kill:committed:1")
        .run();
    assert_eq!(killed.code, 137, "{}", killed.snapshot());
    let waiting = "SELECT 1 FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event = 'virtualxid'";
    // The build waits for this transaction, and so does dropping its leftover.
    let mut writer =
        db.open_transaction("INSERT INTO api_usage (id, api_name) VALUES ('1', 'tmdb')");
    let mut run = db.usagectl(["migrate", "-v"]).spawn();
    run.wait_for_stderr("step 2 of 9");
    wait_for_rows(&db, waiting);
    run.signal("TERM");
    let run = run.wait();
    assert_eq!(run.code, 1, "{}", run.snapshot());
    let status = db.usagectl(["status"]).run();
    let state = "partial (up at step 2 of 9)";
    assert!(status.stdout.contains(state), "{}", status.stdout);
    let building = "SELECT 1 FROM pg_stat_progress_create_index WHERE datname = current_database()";
    assert_eq!(db.rows(building), [""; 0]);
    let invalid = "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE NOT indisvalid";
    assert_eq!(
        db.rows(invalid),
        ["api_usage_api_name_success_timestamp_idx"]
    );

    let mut run = db.usagectl(["migrate", "-v"]).spawn();
    run.wait_for_stderr("step 2 of 9");
    wait_for_rows(&db, waiting);
    writer.batch_execute("COMMIT").unwrap();
    run.wait().success();
    assert_eq!(db.rows(invalid), [""; 0]);
    let whole = TestDatabase::migrated(Postgresql);
    assert_eq!(whole_catalogue(&db), whole_catalogue(&whole));
}

/// Indexes of other names are found by definition; those of the user stay.
#[rstest]
fn renamed_and_missing_indexes_are_reverted_and_foreign_ones_stay(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::empty(engine);
    db.usagectl(["migrate", "--to", "enhance_api_monitoring"])
        .run()
        .success();
    // SQLite cannot rename an index.
    db.execute(
        "DROP INDEX api_usage_success_timestamp_idx;
         CREATE INDEX renamed ON api_usage (success, timestamp);
         DROP INDEX api_usage_api_name_endpoint_timestamp_idx;
         ALTER TABLE api_usage ADD COLUMN mine TEXT DEFAULT '{}';
         CREATE INDEX mine ON api_usage (mine, timestamp);
         INSERT INTO api_usage (id, api_name, method, mine) VALUES ('1', 'tmdb', 'POST', 'kept')",
    );
    db.usagectl(["rollback", "--yes", "--accept-data-loss"])
        .run()
        .success();
    assert_eq!(db.rows("SELECT id, mine FROM api_usage"), ["1|kept"]);
    let indexes = match engine {
        Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'api_usage' AND sql IS NOT NULL
             ORDER BY name"
        }
        Postgresql => {
            "SELECT indexname FROM pg_indexes WHERE tablename = 'api_usage' AND indexname NOT LIKE '%pkey'
             ORDER BY indexname"
        }
    };
    let expected = [
        "api_usage_api_name_timestamp_idx",
        "api_usage_timestamp_idx",
        "mine",
    ];
    assert_eq!(db.rows(indexes), expected);
    db.usagectl(["migrate"]).run().success();
    db.usagectl(["status"]).run().success();
    assert!(db.rows(indexes).contains(&"mine".to_owned()));
}
