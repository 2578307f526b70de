//! `migrate` and `rollback` ended at every fault point: the next run completes, and the log records it.

use std::fs;
use std::path::Path;

use rstest::rstest;

use super::adopt::add_calls;
use super::prisma_push::pushed as pushed_after_migrate;
use super::restore::{contents, export_folder};
use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::adoption::{
    PRISMA_MIGRATIONS, copy_prisma_folder, fixture, insert_prisma_row, prisma_rows, pushed,
};
use crate::support::{Engine, TestDatabase, wait_for_rows, whole_catalogue};

fn log(db: &TestDatabase) -> Vec<String> {
    let schema = match db.engine() {
        Sqlite => "",
        Postgresql => "usagectl.",
    };
    let exists = match db.engine() {
        Sqlite => "SELECT 1 FROM sqlite_master WHERE name = 'usagectl_migration_log'",
        Postgresql => {
            "SELECT 1 FROM pg_class WHERE oid = to_regclass('usagectl.usagectl_migration_log')"
        }
    };
    if db.rows(exists).is_empty() {
        return Vec::new();
    }
    db.rows(&format!(
        "SELECT version, action, step, step_count, state FROM {schema}usagectl_migration_log
         WHERE step > 0 ORDER BY id"
    ))
}

/// Ends `command` with a signal at its first point, then at its second, and so on; whenever a step was completed,
/// the points of the next run begin behind it. Returns the number of ended runs.
fn end_at_every_point(db: &TestDatabase, command: &[&str], signal: &str, code: i32) -> usize {
    let mut ended = 0;
    // A concurrent step that is begun again is no progress, nor is a restore that is repeated.
    let is_progress = |row: &&String| row.ends_with("|done") && !row.contains("|restore|");
    let steps_done = || log(db).iter().filter(is_progress).count();
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
        // A repeated run does not pass the points of completed steps.
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
    let next = "next: usagectl rollback --to create_api_usage\n";
    assert!(refused.stderr.ends_with(next), "{}", refused.stderr);
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

    let mut run = db.usagectl(["migrate"]).spawn();
    wait_for_rows(&db, waiting);
    // A snapshot that began during the build.
    let mut late = db.open_transaction(
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET LOCAL application_name = 'late';
         SELECT count(*) FROM api_usage",
    );
    writer.batch_execute("COMMIT").unwrap();
    run.wait_for_stderr(
        "waiting with the index api_usage_api_name_success_timestamp_idx for older transactions, the oldest of late (pid ",
    );
    late.batch_execute("COMMIT").unwrap();
    run.wait().success();
    assert_eq!(db.rows(invalid), [""; 0]);
    let whole = TestDatabase::migrated(Postgresql);
    assert_eq!(whole_catalogue(&db), whole_catalogue(&whole));
}

#[test]
fn index_build_waits_for_a_transaction_as_long_as_the_lock_wait_postgresql() {
    let db = TestDatabase::empty(Postgresql);
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    db.execute("CREATE TABLE other (id text)");
    let reader = db.open_transaction(
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET LOCAL application_name = 'pg_dump';
         SELECT count(*) FROM other",
    );
    for command in [
        &["migrate", "--lock-wait", "1s"] as &[&str],
        &["migrate", "--lock-wait", "0s"],
    ] {
        let run = db.usagectl(command).run();
        assert_eq!(run.code, 6, "{}", run.snapshot());
        let name = "api_usage_api_name_success_timestamp_idx";
        let expected =
            format!("the index {name} waits for older transactions, the oldest of pg_dump (pid ");
        assert!(run.stderr.contains(&expected), "{}", run.stderr);
        let next = "next: end that transaction and run the same command again, or wait longer for it with --lock-wait\n";
        assert!(run.stderr.ends_with(next), "{}", run.stderr);
    }
    drop(reader);
    db.usagectl(["migrate"]).run().success();
    db.usagectl(["status"]).run().success();
    let invalid = "SELECT 1 FROM pg_index WHERE NOT indisvalid";
    assert_eq!(db.rows(invalid), [""; 0]);
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

/// Two migrations of Prisma, the second recorded as failed, with rows.
fn half_deployed(engine: Engine) -> TestDatabase {
    let db = pushed(engine, 2);
    db.execute(&fixture(engine, "prisma/ledger.sql"));
    insert_prisma_row(&db, PRISMA_MIGRATIONS[0], "finished");
    insert_prisma_row(&db, PRISMA_MIGRATIONS[1], "failed");
    copy_prisma_folder(&db);
    add_calls(&db);
    db
}

/// One migration is applied after the adoption of two.
const ADOPT: [&str; 5] = [
    "migrate",
    "--adopt",
    "--yes",
    "--to",
    "add_infrastructure_monitoring",
];

/// The rows that were there before the adoption.
fn calls(db: &TestDatabase) -> Vec<String> {
    db.rows("SELECT id, api_name, timestamp, created_at FROM api_usage ORDER BY id")
}

fn assert_adopted(db: &TestDatabase) {
    let whole = half_deployed(db.engine());
    whole.usagectl(ADOPT).run().success();
    assert_eq!(whole_catalogue(db), whole_catalogue(&whole));
    assert_eq!(prisma_rows(db), prisma_rows(&whole));
    let adopted = |db: &TestDatabase| {
        let log = log(db).into_iter();
        log.filter(|row| row.contains("|adopt|"))
            .collect::<Vec<_>>()
    };
    assert_eq!(adopted(db).len(), 2);
    assert_eq!(adopted(db), adopted(&whole));
    db.usagectl(["migrate"]).run().success();
    db.usagectl(["status"]).run().success();
    whole.usagectl(["migrate"]).run().success();
    assert_eq!(whole_catalogue(db), whole_catalogue(&whole));
}

#[rstest]
fn adoption_killed_at_every_point_is_completed(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = half_deployed(engine);
    let before = calls(&db);
    let ended = end_at_every_point(&db, &ADOPT, "kill", 137);
    assert!(ended > 15, "{ended}");
    assert_adopted(&db);
    assert_eq!(calls(&db), before);
}

#[rstest]
fn signal_during_adoption_prints_state(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values("int", "term")] signal: &str,
) {
    let db = half_deployed(engine);
    for (point, state) in [
        ("prepare:1", "no migration is applied"),
        ("prisma:1", "no migration is applied"),
        (
            "statement:1",
            "20260123210146_enhance_api_monitoring is applied",
        ),
    ] {
        let fault = format!("{signal}:{point}");
        let run = db.usagectl(ADOPT).env("USAGECTL_FAULT", fault).run();
        assert_eq!(run.code, 1, "{}", run.snapshot());
        let printed = format!("error: interrupted; {state}\nnext: usagectl migrate --adopt\n");
        assert!(run.stderr.ends_with(&printed), "{}", run.stderr);
    }
    db.usagectl(ADOPT).run().success();
    assert_adopted(&db);
}

/// Orphaned triggers are dropped first.
#[test]
fn adoption_after_prisma_db_push_killed_at_every_point_is_completed_sqlite() {
    let db = pushed_after_migrate();
    let whole = pushed_after_migrate();
    let adopt = ["migrate", "--adopt", "--yes"];
    whole.usagectl(adopt).run().success();
    let ended = end_at_every_point(&db, &adopt, "kill", 137);
    assert!(ended > 50, "{ended}");
    assert_eq!(whole_catalogue(&db), whole_catalogue(&whole));
    db.usagectl(["status"]).run().success();
    let dirty = "SELECT api_name, hour FROM usagectl_dirty_hours";
    assert_eq!(db.rows(dirty), whole.rows(dirty));
}

#[rstest]
fn trigger_repair_killed_at_every_point_is_completed(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let whole = whole_catalogue(&db);
    for (trigger, table) in [
        ("usagectl_after_insert", "api_usage"),
        ("usagectl_metrics_after_update", "\"InfrastructureMetric\""),
    ] {
        let on_table = match engine {
            Sqlite => String::new(),
            Postgresql => format!(" ON {table}"),
        };
        db.execute(&format!("DROP TRIGGER {trigger}{on_table}"));
        if table == "api_usage" {
            add_calls(&db);
        }
        let ended = end_at_every_point(&db, &["migrate"], "kill", 137);
        assert!(ended > 6, "{ended}");
        assert_eq!(whole_catalogue(&db), whole);
    }
    db.usagectl(["status"]).run().success();
    let dirty = match engine {
        Sqlite => "usagectl_dirty_hours",
        Postgresql => "usagectl.usagectl_dirty_hours",
    };
    assert_eq!(
        db.rows(&format!("SELECT DISTINCT hour FROM {dirty}")).len(),
        2
    );
}

/// Migrations with data and an index of the user in them.
fn with_rows(engine: Engine) -> TestDatabase {
    let db = TestDatabase::empty(engine);
    db.usagectl(["migrate", "--to", "mark_existing_usage"])
        .run()
        .success();
    db.execute(
        "INSERT INTO api_usage (id, api_name, timestamp, method, cached, response_time, user_id) VALUES
             ('1', 'tmdb', '2026-01-31T11:00:00.000+00:00', 'GET', false, 12, NULL),
             ('2', 'tmdb', '2026-01-31T11:00:00.000+00:00', 'POST', true, 0, 'u'),
             ('3', 'tmdb', '2026-01-31T11:00:00.000+00:00', NULL, false, NULL, 'v');
         INSERT INTO api_alerts (id, api_name, alert_type, threshold, period, updated_at) VALUES
             ('1', 'tmdb', 'ERROR_SPIKE', 1, 'HOUR', '2026-01-31T11:00:00.000+00:00');
         CREATE INDEX mine ON api_usage (user_id, response_time)",
    );
    db
}

const EXPORT: [&str; 5] = ["rollback", "--to", "create_api_usage", "--yes", "--export"];

fn assert_no_capture(db: &TestDatabase) {
    let catalogue = whole_catalogue(db);
    let left = catalogue
        .iter()
        .filter(|line| line.contains("usagectl_export"));
    assert_eq!(left.collect::<Vec<_>>(), [""; 0]);
}

/// The manifest is complete, and names all files of the folder.
fn assert_export_is_complete(folder: &Path) {
    let manifest = fs::read_to_string(folder.join("manifest.json")).unwrap();
    assert!(manifest.contains("\"complete\": true"), "{manifest}");
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name == "manifest.json" || manifest.contains(&name),
            "{name}"
        );
    }
}

#[rstest]
fn export_and_restore_killed_at_every_point_are_completed(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = with_rows(engine);
    let start = TestDatabase::empty(engine);
    start
        .usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    let before = contents(&db);
    let whole = whole_catalogue(&db);
    let folder = export_folder(&db);
    let export = [&EXPORT[..], &[folder.to_str().unwrap()]].concat();
    let ended = end_at_every_point(&db, &export, "kill", 137);
    assert!(ended > 100, "{ended}");
    assert_eq!(whole_catalogue(&db), whole_catalogue(&start));
    assert_log_is_complete(&log(&db));
    assert_export_is_complete(&folder);

    db.usagectl(["migrate", "--to", "mark_existing_usage"])
        .run()
        .success();
    let restore = ["migrate", "--restore", folder.to_str().unwrap()];
    let ended = end_at_every_point(&db, &restore, "kill", 137);
    assert!(ended > 10, "{ended}");
    assert_eq!(contents(&db), before);
    assert_eq!(whole_catalogue(&db), whole);
    let log = log(&db);
    let restored = |version: &str| {
        let entry = format!("{version}|restore|1|1|done");
        log.contains(&entry)
    };
    assert!(restored("20260123210146"), "{log:#?}");
    db.usagectl(["migrate"]).run().success();
    db.usagectl(["status"]).run().success();
}

#[test]
fn triggers_of_an_interrupted_copy_are_not_exported_sqlite() {
    let db = with_rows(Sqlite);
    db.usagectl(["migrate"]).run().success();
    let before = contents(&db);
    let folder = export_folder(&db);
    let folder = folder.to_str().unwrap();
    let export = ["rollback", "--all", "--yes", "--export", folder];
    let copy = "SELECT name FROM sqlite_master WHERE name LIKE 'usagectl_copy_insert'";
    while db.rows(copy).is_empty() {
        let run = db
            .usagectl(export)
            .env("USAGECTL_FAULT", "kill:log:2")
            .run();
        assert_eq!(run.code, 137, "{}", run.snapshot());
    }
    let run = db.usagectl(export).run().success();
    assert!(!run.stdout.contains("drop trigger"), "{}", run.snapshot());
    let restore = ["migrate", "--restore", folder];
    db.usagectl(restore).run().success();
    assert_eq!(contents(&db), before);
    assert!(db.rows(copy).is_empty());
    db.usagectl(["status"]).run().success();
}

#[rstest]
fn restore_that_was_interrupted_is_named_until_it_is_complete(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values("kill", "term")] signal: &str,
) {
    let db = with_rows(engine);
    db.usagectl(["migrate"]).run().success();
    let before = contents(&db);
    let whole = whole_catalogue(&db);
    let folder = export_folder(&db);
    let export = [&EXPORT[..], &[folder.to_str().unwrap()]].concat();
    db.usagectl(&export).run().success();
    let state = format!("the restore of {} is not complete", folder.display());
    let next = format!("next: usagectl migrate --restore {}\n", folder.display());
    let restore = ["migrate", "--restore", folder.to_str().unwrap()];
    // The points of the migrations, the rows, and the user's index.
    for point in ["log:20", "batch:1", "batch:2", "object:1"] {
        let fault = format!("{signal}:{point}");
        let run = db.usagectl(restore).env("USAGECTL_FAULT", fault).run();
        assert!([1, 137].contains(&run.code), "{point}: {}", run.snapshot());
        let status = db.usagectl(["status"]).run();
        assert_eq!(status.code, 4, "{point}: {}", status.snapshot());
        assert!(status.stdout.contains(&state), "{point}: {}", status.stdout);
        assert!(status.stderr.ends_with(&next), "{}", status.stderr);
        for command in ["stats", "aggregate"] {
            let run = db.usagectl([command]).run();
            assert_eq!(run.code, 4, "{}", run.snapshot());
            assert!(run.stderr.contains(&state), "{}", run.stderr);
            assert!(run.stderr.ends_with(&next), "{}", run.stderr);
        }
    }
    let migrate = db.usagectl(["migrate"]).run();
    assert_eq!(migrate.code, 4, "{}", migrate.snapshot());
    assert!(migrate.stderr.ends_with(&next), "{}", migrate.stderr);
    db.usagectl(restore).run().success();
    assert_eq!(contents(&db), before);
    assert_eq!(whole_catalogue(&db), whole);
    db.usagectl(["status"]).run().success();
    db.usagectl(["stats"]).run().success();
}

#[rstest]
fn rows_of_a_restore_whose_export_is_lost_are_kept(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = with_rows(engine);
    let folder = export_folder(&db);
    let export = [&EXPORT[..], &[folder.to_str().unwrap()]].concat();
    db.usagectl(["migrate"]).run().success();
    db.usagectl(&export).run().success();
    let restore = ["migrate", "--restore", folder.to_str().unwrap()];
    let run = db.usagectl(restore).env("USAGECTL_FAULT", "kill:object:1");
    assert_eq!(run.run().code, 137);
    let rows = contents(&db);
    let moved = db.sandbox().path().join("moved");
    fs::rename(&folder, &moved).unwrap();
    let folder = folder.display();
    let state = format!("the restore of {folder} is not complete");
    let next = format!(
        "next: find the folder {folder}, then usagectl migrate --restore {folder}; if it is lost, \
         usagectl migrate --accept-data-loss, which keeps the rows as they are\n"
    );
    for command in [&["status"] as &[&str], &["stats"], &["migrate"], &restore] {
        let run = db.usagectl(command).run();
        assert!([4, 5].contains(&run.code), "{}", run.snapshot());
        let printed = run.stdout + &run.stderr;
        assert!(printed.contains(&state), "{command:?}: {printed}");
        assert!(printed.ends_with(&next), "{command:?}: {printed}");
        let has_rows = printed.contains("so far: ") && printed.contains("api_usage.user_id ");
        assert!(has_rows || command == ["stats"], "{command:?}: {printed}");
    }
    let run = db
        .usagectl(["migrate", "--accept-data-loss"])
        .run()
        .success();
    assert!(
        run.stderr.contains("the rows are kept as they are: "),
        "{}",
        run.stderr
    );
    assert_eq!(contents(&db), rows);
    db.usagectl(["status"]).run().success();
    db.usagectl(["stats"]).run().success();
}

/// `status` prints the whole command.
#[rstest]
fn killed_rollback_is_continued_by_the_command_in_its_log(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values("catch up:1", "log:1", "manifest:8")] point: &str,
) {
    let db = with_rows(engine);
    db.usagectl(["migrate"]).run().success();
    let before = contents(&db);
    let export = [
        "rollback",
        "--to",
        "create_api_usage",
        "--yes",
        "--export",
        "rows",
    ];
    let killed = db
        .usagectl(export)
        .env("USAGECTL_FAULT", format!("kill:{point}"));
    assert_eq!(killed.run().code, 137);
    let status = db.usagectl(["status"]).run();
    let work = db.sandbox().work().canonicalize().unwrap();
    let work = work.display();
    let command = format!("usagectl rollback --to create_api_usage --export {work}/rows");
    let end = match status.code {
        4 => "",
        _ => ", and usagectl migrate ends it",
    };
    let line = format!("rollback: not complete; {command} continues it{end}\n");
    assert!(status.stdout.contains(&line), "{}", status.stdout);
    if status.code != 0 {
        assert!(
            status.stderr.ends_with(&format!("next: {command}\n")),
            "{}",
            status.stderr
        );
    }
    if status.code == 0 {
        // Nothing was reverted, and nothing need be.
        db.usagectl(["migrate"]).run().success();
        let status = db.usagectl(["status"]).run().success();
        assert!(!status.stdout.contains("rollback:"), "{}", status.stdout);
    }
    let elsewhere = db.usagectl(command.split(' ').skip(1)).arg("--yes");
    elsewhere.current_dir("/").run().success();
    let status = db.usagectl(["status"]).run();
    assert!(!status.stdout.contains("rollback:"), "{}", status.stdout);
    let folder = format!("{work}/rows");
    db.usagectl(["migrate", "--restore", &folder])
        .run()
        .success();
    assert_eq!(contents(&db), before);
}

/// Not four more.
#[rstest]
fn killed_rollback_of_steps_is_completed_by_the_same_command(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values("log:2", "log:4")] point: &str,
) {
    let db = with_rows(engine);
    db.usagectl(["migrate"]).run().success();
    let rollback = ["rollback", "--steps", "4", "--yes", "--accept-data-loss"];
    let killed = db
        .usagectl(rollback)
        .env("USAGECTL_FAULT", format!("kill:{point}"));
    assert_eq!(killed.run().code, 137);
    db.usagectl(rollback).run().success();
    let applied = || {
        let status = db.usagectl(["status"]).run().stdout;
        status
            .lines()
            .filter(|line| line.contains("  applied  "))
            .count()
    };
    assert_eq!(applied(), 4);
    // It has ended: another one begins.
    db.usagectl(["rollback", "--yes", "--accept-data-loss"])
        .run()
        .success();
    assert_eq!(applied(), 3);
}

#[rstest]
fn signal_during_export_and_restore_prints_state(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values("int", "term")] signal: &str,
) {
    let db = with_rows(engine);
    let before = contents(&db);
    let whole = whole_catalogue(&db);
    let folder = export_folder(&db);
    let folder = folder.to_str().unwrap();
    let interrupted = |command: &[&str], point: &str, state: &str| {
        let fault = format!("{signal}:{point}");
        let run = db.usagectl(command).env("USAGECTL_FAULT", fault).run();
        assert_eq!(run.code, 1, "{}", run.snapshot());
        assert!(run.stderr.contains(state), "{}", run.stderr);
        run.stderr
    };
    let export = [&EXPORT[..], &[folder]].concat();
    let next = format!("next: usagectl rollback --to create_api_usage --export {folder}\n");
    let triggers = "; the next rollback or migrate removes the triggers of the export\n";
    for (point, state) in [
        (
            "manifest:1",
            "error: interrupted; 20260201000100_mark_existing_usage is applied\n",
        ),
        ("catch up:1", triggers),
        ("manifest:8", triggers),
        ("file:3", triggers),
    ] {
        let printed = interrupted(&export, point, state);
        assert!(printed.ends_with(&next), "{printed}");
    }
    db.usagectl(&export).run().success();
    assert_no_capture(&db);
    assert_export_is_complete(Path::new(folder));

    let restore = ["migrate", "--restore", folder];
    let state = format!("; the restore of {folder} is not complete\n");
    for point in ["statement:2", "batch:1", "batch:2"] {
        let printed = interrupted(&restore, point, &state);
        let next = format!("next: usagectl migrate --restore {folder}\n");
        assert!(printed.ends_with(&next), "{printed}");
    }
    db.usagectl(restore).run().success();
    assert_eq!(contents(&db), before);
    assert_eq!(whole_catalogue(&db), whole);
}
