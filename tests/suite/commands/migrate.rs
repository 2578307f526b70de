//! `migrate`: applying, refusals, concurrent runs, locked tables and kills.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use crate::support::assert_snapshot;
use usagectl::domain::schema::migration::Use;
use usagectl::error::Exit;
use usagectl::store::db;
use usagectl::store::db::Access;
use usagectl::store::lock::RunKind;
use usagectl::store::migrations::{ALL, Direction, Migration, checksum, require_current};
use usagectl::store::url::{self, UrlSource};

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, OtherRole, TestDatabase, wait_for_lock, whole_catalogue};
use rstest::rstest;

/// The ledger's table.
fn ledger(db: &TestDatabase) -> &'static str {
    match db.engine() {
        Engine::Sqlite => "__diesel_schema_migrations",
        Engine::Postgresql => "usagectl.__diesel_schema_migrations",
    }
}

/// The completed migrations in the log, in order: action and version.
fn log(db: &TestDatabase) -> Vec<String> {
    let table = match db.engine() {
        Engine::Sqlite => "usagectl_migration_log",
        Engine::Postgresql => "usagectl.usagectl_migration_log",
    };
    db.rows(&format!(
        "SELECT action, version FROM {table} WHERE state = 'done' AND step = step_count ORDER BY id"
    ))
}

/// The log in order: action, version, step, number of steps, state.
/// The log without the rows of whole rollbacks, which a script cannot continue.
fn steps(db: &TestDatabase) -> Vec<String> {
    let table = match db.engine() {
        Engine::Sqlite => "usagectl_migration_log",
        Engine::Postgresql => "usagectl.usagectl_migration_log",
    };
    db.rows(&format!(
        "SELECT action, version, step, step_count, state FROM {table} WHERE step > 0 ORDER BY id"
    ))
}

fn each_once() -> Vec<String> {
    ALL.iter()
        .map(|migration| format!("up|{}", migration.version))
        .collect()
}

#[rstest]
fn second_run_finds_nothing_to_do(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    let run = db.usagectl(["migrate"]).run();
    assert_snapshot!(run.snapshot(), @"
        applied 20260101000000_create_api_usage in [time] ms
        applied 20260123210146_enhance_api_monitoring in [time] ms
        applied 20260124093000_add_infrastructure_monitoring in [time] ms
        applied 20260201000000_create_usagectl_bookkeeping in [time] ms
        applied 20260201000100_mark_existing_usage in [time] ms
        applied 20260202000000_add_alerting in [time] ms
        applied 20260203000000_add_capacity in [time] ms
        applied 20260204000000_add_drop_reason in [time] ms
        8 migrations applied, 0 pending
        [exit status: 0]
        ");
    assert_snapshot!(db.usagectl(["migrate", "--yes"]).run().snapshot(), @"
        nothing to do, 0 pending
        [exit status: 0]
        ");
    assert_eq!(log(&db), each_once());
}

#[rstest]
fn dry_run_prints_plan_up_to_a_migration(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    let before = whole_catalogue(&db);
    let run = db
        .usagectl(["migrate", "--dry-run", "--to", "20260123210146"])
        .run();
    let shown = run.snapshot();
    let (database, plan) = shown.split_once('\n').unwrap();
    // The steps differ between the engines.
    let (plan, steps) = plan.split_once("  STEP ").unwrap();
    assert!(steps.ends_with("\n[exit status: 0]\n"), "{steps}");
    assert!(database.starts_with("database "), "{database}");
    assert_snapshot!(plan, @"
        apply 20260123210146_enhance_api_monitoring
          drop index api_usage (api_name, timestamp)
          drop index api_usage (timestamp)
          create table api_alerts
          create table api_usage_aggregates
          add column api_usage.cached
          add column api_usage.cost_credits
          add column api_usage.error_message
          add column api_usage.error_type
          add column api_usage.method
          add column api_usage.request_size
          add column api_usage.response_size
          add column api_usage.response_time
          add column api_usage.user_id
          create index api_usage (api_name, endpoint, timestamp)
          create index api_usage (api_name, success, timestamp)
          create index api_usage (api_name, timestamp desc)
          create index api_usage (success, timestamp)
          create index api_usage (timestamp desc)
        ");
    assert_eq!(whole_catalogue(&db), before);
    let json = db
        .usagectl([
            "migrate",
            "--to",
            "20260123210146_enhance_api_monitoring",
            "--format",
            "json",
        ])
        .run();
    assert_eq!(json.code, 0);
    let answer: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(answer["applied"][0]["name"], "enhance_api_monitoring");
    assert_eq!(answer["pending"], ALL.len() - 2);
    assert_snapshot!(db.usagectl(["migrate", "--to", "nonsense"]).run().snapshot(), @"
        ------- stderr -------
        error: unknown migration `nonsense`; expected one of 20260101000000_create_api_usage, 20260123210146_enhance_api_monitoring, 20260124093000_add_infrastructure_monitoring, 20260201000000_create_usagectl_bookkeeping, 20260201000100_mark_existing_usage, 20260202000000_add_alerting, 20260203000000_add_capacity, 20260204000000_add_drop_reason
        next: usagectl status
        [exit status: 2]
        ");
}

#[rstest]
fn dry_run_and_sql_change_nothing(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    for flag in ["--dry-run", "--sql"] {
        db.usagectl(["migrate", flag]).run().success();
    }
    match db.engine() {
        Engine::Sqlite => assert!(!db.path().exists()),
        Engine::Postgresql => {
            assert_eq!(whole_catalogue(&db), [""; 0]);
            assert_eq!(
                db.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'usagectl'"),
                [""; 0]
            );
        }
    }
}

#[rstest]
fn printed_script_equals_migrate_and_rollback(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    let scripted = TestDatabase::empty(db.engine());
    // Also from an intermediate state, and back.
    for arguments in [
        ["migrate", "--to", "create_api_usage"].as_slice(),
        &["migrate"],
        &["rollback", "--steps", "3"],
        &["migrate"],
    ] {
        let script = scripted
            .usagectl(arguments)
            .arg("--sql")
            .run()
            .success()
            .stdout;
        scripted.run_script(&script);
        let program = db.usagectl(arguments);
        if arguments[0] == "rollback" {
            program.arg("--yes")
        } else {
            program
        }
        .run()
        .success();
        assert_eq!(whole_catalogue(&scripted), whole_catalogue(&db));
        assert_eq!(steps(&scripted), steps(&db));
        let versions = format!("SELECT version FROM {} ORDER BY version", ledger(&db));
        assert_eq!(scripted.rows(&versions), db.rows(&versions));
        assert_eq!(
            scripted.usagectl(["status"]).run().code,
            db.usagectl(["status"]).run().code,
        );
    }
    scripted.usagectl(["status"]).run().success();
}

#[rstest]
fn eight_concurrent_runs_apply_each_migration_once(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    let running: Vec<_> = (0..8).map(|_| db.usagectl(["migrate"]).spawn()).collect();
    for run in running {
        run.wait().success();
    }
    assert_eq!(log(&db), each_once());
    db.usagectl(["status"]).run().success();
}

#[rstest]
fn run_waits_for_lock_and_then_is_busy(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values(&["migrate"], &["rollback", "--yes"])] command: &[&str],
) {
    let db = TestDatabase::migrated(engine);
    let whole = whole_catalogue(&db);
    let _lock = db.lock(RunKind::Migrate);
    let run = db.usagectl(command).args(["--lock-wait", "100ms"]).run();
    let holder = match engine {
        Sqlite => "`usagectl test` (process ",
        Postgresql => "`usagectl test` (server process ",
    };
    assert_eq!(run.code, 6, "{}", run.snapshot());
    for expected in [
        &format!("waiting up to 100ms for {holder}"),
        &format!("error: another `usagectl migrate` is running: {holder}"),
        ", since 2026-",
        "next: run the same command again with --lock-wait 60s",
    ] {
        assert!(run.stderr.contains(expected), "{}", run.snapshot());
    }
    assert_eq!(whole_catalogue(&db), whole);
}

#[rstest]
fn locked_table_is_busy_and_changes_nothing(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    let before = whole_catalogue(&db);
    let mut other = db.open_transaction("SELECT count(*) FROM api_usage");
    let impatient = ["migrate", "--lock-timeout", "20ms", "--lock-wait", "200ms"];
    let run = db.usagectl(impatient).run();
    assert_eq!(run.code, 6, "{}", run.snapshot());
    assert!(
        run.stderr.contains("next: run the same command again"),
        "{}",
        run.stderr
    );
    other.batch_execute("ROLLBACK").unwrap();
    drop(other);
    assert_eq!(whole_catalogue(&db), before);
    db.usagectl(["migrate"]).run().success();
}

#[rstest]
fn locked_table_is_retried(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    let mut other = db.open_transaction("SELECT count(*) FROM api_usage");
    let mut run = db
        .usagectl(["migrate", "-v", "--lock-timeout", "200ms"])
        .spawn();
    // The first attempt has failed.
    run.wait_for_stderr(" is in use");
    other.batch_execute("ROLLBACK").unwrap();
    run.wait().success();
}

#[rstest]
fn name_that_another_object_has_is_refused_with_its_rename(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let view = "CREATE VIEW taken AS SELECT 1 AS one";
    let mut objects = vec![
        ("view", view, "a table", "api_alerts"),
        (
            "view",
            view,
            "an index",
            "api_usage_api_name_success_timestamp_idx",
        ),
        (
            "table",
            "CREATE TABLE taken (id integer)",
            "an index",
            "api_usage_success_timestamp_idx",
        ),
    ];
    if engine == Postgresql {
        objects.extend([
            (
                "sequence",
                "CREATE SEQUENCE taken",
                "a table",
                "InfrastructureLimit",
            ),
            (
                "materialized view",
                "CREATE MATERIALIZED VIEW taken AS SELECT 1 AS one",
                "an index",
                "api_alerts_pkey",
            ),
            (
                "domain",
                "CREATE DOMAIN taken AS text",
                "a type",
                "MetricType",
            ),
            (
                "index",
                "CREATE INDEX taken ON api_usage (id, endpoint)",
                "",
                "api_usage_success_timestamp_idx",
            ),
        ]);
    }
    let db = TestDatabase::empty(engine);
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    for (kind, sql, created, name) in objects {
        db.execute(&sql.replace("taken", &format!("\"{name}\"")));
        let whole = whole_catalogue(&db);
        let refused = db.usagectl(["migrate"]).run();
        assert_eq!(refused.code, 5, "{}", refused.snapshot());
        assert_eq!(whole_catalogue(&db), whole);
        let error = match kind {
            "index" => format!("error: the index {name} has other columns"),
            _ => format!(
                "error: the {kind} {name} has the name of {created} that a pending migration creates"
            ),
        };
        assert!(refused.stderr.starts_with(&error), "{}", refused.stderr);
        let (_, next) = refused.stderr.split_once("next: ").unwrap();
        let (rename, _) = next.split_once(" then run the same command again").unwrap();
        db.run_script(rename);
    }
    db.usagectl(["migrate"]).run().success();
    db.usagectl(["status"]).run().success();
}

/// A server that ends idle transactions does not release the run lock.
#[test]
fn run_lock_survives_idle_transaction_timeout_postgresql() {
    let db = TestDatabase::empty(Engine::Postgresql);
    db.execute(
        "DO $$ BEGIN EXECUTE format(
             'ALTER DATABASE %I SET idle_in_transaction_session_timeout = 50', current_database()
         ); END $$",
    );
    let _lock = db.lock(RunKind::Migrate);
    db.rows("SELECT 1 FROM pg_sleep(0.3)");
    let second = db.try_lock(RunKind::Migrate);
    assert_eq!(second.unwrap_err().exit(), Exit::Busy);
}

#[test]
fn printed_script_waits_for_a_run_postgresql() {
    let db = TestDatabase::empty(Engine::Postgresql);
    let script = db.usagectl(["migrate", "--sql"]).run().success().stdout;
    let lock = db.lock(RunKind::Migrate);
    thread::scope(|scope| {
        let done = scope.spawn(|| db.run_script(&script));
        wait_for_lock(&db, "locktype = 'advisory'");
        assert_eq!(whole_catalogue(&db), [""; 0]);
        drop(lock);
        done.join().unwrap();
    });
    db.usagectl(["status"]).run().success();
}

/// A deferred transaction fails without waiting if another connection writes first.
#[test]
fn printed_script_begins_immediate_transactions_sqlite() {
    let db = TestDatabase::empty(Engine::Sqlite);
    let script = db.usagectl(["migrate", "--sql"]).run().success().stdout;
    let begins: Vec<&str> = script
        .lines()
        .filter(|line| line.starts_with("BEGIN") && line.ends_with(';'))
        .collect();
    assert!(begins.len() > ALL.len(), "{begins:?}");
    assert!(begins.iter().all(|begin| *begin == "BEGIN IMMEDIATE;"));
}

#[rstest]
fn run_after_kills_completes_the_migrations(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    // Enough rows that building the indexes takes a while.
    let rows = match db.engine() {
        Engine::Sqlite => "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
                               INSERT INTO api_usage (id, api_name, timestamp)
                               SELECT 'id' || i, 'api' || i % 7, '2026-01-01T00:00:00.000+00:00' FROM n",
        Engine::Postgresql => "INSERT INTO api_usage (id, api_name)
                                   SELECT 'id' || i, 'api' || i % 7 FROM generate_series(1, 30000) AS i",
    };
    db.execute(rows);
    let mut interrupted = 0;
    for delay_ms in [0, 10, 20, 40, 60, 80, 120, 160] {
        let mut run = db.usagectl(["migrate", "-v"]).spawn();
        run.wait_for_stderr("applying ");
        thread::sleep(Duration::from_millis(delay_ms));
        run.signal("KILL");
        let killed = run.wait().code == 137;
        let status = db.usagectl(["status"]).run();
        assert!([0, 3, 4].contains(&status.code), "{}", status.snapshot());
        if status.code == 0 {
            break;
        }
        interrupted += u32::from(killed);
    }
    assert!(interrupted > 0, "no kill interrupted a migration");
    db.usagectl(["migrate"]).run().success();
    assert_eq!(log(&db), each_once());
    db.usagectl(["status"]).run().success();
    let whole = TestDatabase::migrated(db.engine());
    assert_eq!(whole_catalogue(&db), whole_catalogue(&whole));
    assert_eq!(db.rows("SELECT count(*) FROM api_usage"), ["30000"]);
    if db.engine() == Engine::Sqlite {
        assert_eq!(db.rows("SELECT * FROM pragma_integrity_check"), ["ok"]);
    }
}

#[rstest]
fn failed_migration_is_rolled_back_and_earlier_ones_stay(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::empty(engine);
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    let (prevent, allow) = match engine {
        // Names of columns have no case.
        Sqlite => (
            "ALTER TABLE api_usage ADD COLUMN METHOD TEXT",
            "ALTER TABLE api_usage DROP COLUMN METHOD",
        ),
        Postgresql => (
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
             CREATE EVENT TRIGGER refuse ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION refuse()",
            "DROP EVENT TRIGGER refuse; DROP FUNCTION refuse()",
        ),
    };
    let role = (engine == Postgresql).then(|| OtherRole::new(&db));
    let administer = |sql: &str| match &role {
        Some(role) => role.administer(&[sql]),
        None => db.execute(sql),
    };
    administer(prevent);
    let before = whole_catalogue(&db);
    let run = db.usagectl(["migrate"]).run();
    assert_eq!(run.code, 1, "{}", run.snapshot());
    assert!(
        run.stderr
            .contains("20260123210146_enhance_api_monitoring failed and was rolled back")
    );
    assert_eq!(whole_catalogue(&db), before);
    administer(allow);
    db.usagectl(["migrate"]).run().success();
    assert_eq!(log(&db), each_once());
}

#[rstest]
fn existing_object_is_refused_and_database_unchanged(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    db.execute("CREATE TABLE api_alerts (id TEXT PRIMARY KEY)");
    let before = whole_catalogue(&db);
    let run = db.usagectl(["migrate"]).run();
    assert_snapshot!(run.snapshot(), @"
        ------- stderr -------
        error: objects that a pending migration would create already exist: table api_alerts; nothing was changed
        next: usagectl migrate --adopt
        [exit status: 5]
        ");
    assert_eq!(whole_catalogue(&db), before);
    let status = db.usagectl(["status"]).run();
    assert_eq!(status.code, 4);
    assert!(
        status.stdout.contains(
            "conflict: table api_alerts exists, but no migration in the ledger of usagectl created it\n"
        ),
        "{}",
        status.stdout
    );
}

#[rstest]
fn out_of_order_migration_requires_flag(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    db.usagectl(["migrate", "--to", "add_infrastructure_monitoring"])
        .run()
        .success();
    db.execute(&format!(
        "INSERT INTO {} (version) VALUES ('20260201000100')",
        ledger(&db)
    ));
    let later = Migration::find("20260201000100").unwrap();
    db.execute(&format!(
        "INSERT INTO usagectl_migration_log (version, name, action, state, step, step_count, up_sha256, down_sha256,
             application_schema, tool_version, done_by, at, duration_ms)
         SELECT '20260201000100', 'mark_existing_usage', 'up', 'done', 1, 1, '{}', '', application_schema, '0', 'me', at, 0
         FROM usagectl_migration_log LIMIT 1",
        checksum(&later.sql(&db.open(), Direction::Up))
    ));
    assert_snapshot!(db.usagectl(["migrate"]).run().snapshot(), @"
        ------- stderr -------
        error: pending migrations are older than an applied one: 20260201000000_create_usagectl_bookkeeping
        next: usagectl migrate --allow-out-of-order
        [exit status: 5]
        ");
    db.usagectl([
        "migrate",
        "--allow-out-of-order",
        "--to",
        "create_usagectl_bookkeeping",
    ])
    .run()
    .success();
    assert_eq!(db.usagectl(["status"]).run().code, 3);
    // The newest one is reverted first, not the last one applied.
    let plan = db.usagectl(["rollback", "--dry-run"]).run().success();
    let first = plan.stdout.lines().find(|line| line.starts_with("revert "));
    assert_eq!(
        first,
        Some("revert 20260201000100_mark_existing_usage"),
        "{}",
        plan.stdout
    );
}

#[rstest]
fn column_of_a_pending_table_is_no_drift(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.usagectl(["rollback", "--yes", "--to", "mark_existing_usage"])
        .run()
        .success();
    let ledger = ledger(&db);
    db.execute(&format!(
        "INSERT INTO {ledger} (version) VALUES ('20260204000000')"
    ));
    // Its log row was kept.
    let status = db.usagectl(["status"]).run();
    assert_eq!(status.code, 3, "{}", status.snapshot());
    assert!(
        !status.stdout.contains("drop_reason is"),
        "{}",
        status.snapshot()
    );
    db.usagectl(["migrate", "--allow-out-of-order"])
        .run()
        .success();
    let status = db.usagectl(["status"]).run();
    assert_eq!(status.code, 4, "{}", status.snapshot());
    let missing = "drift: column usagectl_notices.drop_reason is missing";
    assert!(status.stdout.contains(missing), "{}", status.snapshot());
}

#[rstest]
fn edited_row_of_the_log_is_recorded_again(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let log = match engine {
        Sqlite => "usagectl_migration_log",
        Postgresql => "usagectl.usagectl_migration_log",
    };
    db.execute(&format!(
        "UPDATE {log} SET up_sha256 = 'other' WHERE name = 'add_alerting'"
    ));
    let status = db.usagectl(["status"]).run();
    assert_eq!(status.code, 4, "{}", status.snapshot());
    let (_, next) = status.stderr.split_once("to record it again: ").unwrap();
    let (delete, adopt) = next.split_once("; then ").unwrap();
    assert_eq!(adopt, "usagectl migrate --adopt\n");
    db.execute(delete);
    db.usagectl(["migrate", "--adopt", "--yes"]).run().success();
    db.usagectl(["status"]).run().success();
}

#[rstest]
fn edited_or_unknown_migration_stops_every_command(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let log = if db.engine() == Engine::Sqlite {
        "usagectl_migration_log"
    } else {
        "usagectl.usagectl_migration_log"
    };
    db.execute(&format!("UPDATE {log} SET up_sha256 = 'other', tool_version = '9.9' WHERE name = 'enhance_api_monitoring'"));
    let status = db.usagectl(["status"]).run();
    assert_eq!(status.code, 4, "{}", status.snapshot());
    assert!(
        status
            .stdout
            .contains("enhance_api_monitoring         modified"),
        "{}",
        status.stdout
    );
    assert_eq!(
        status.stderr,
        "next: use usagectl 9.9, which applied 20260123210146_enhance_api_monitoring\n"
    );
    for command in [
        ["migrate", "--dry-run"].as_slice(),
        &["migrate"],
        &["rollback", "--dry-run"],
        &["rollback", "--yes"],
    ] {
        let run = db.usagectl(command).run();
        assert_eq!(run.code, 4, "{}", run.snapshot());
        assert!(
            run.stderr
                .contains("20260123210146_enhance_api_monitoring (modified)"),
            "{}",
            run.stderr
        );
    }
    db.execute(&format!(
        "INSERT INTO {} (version) VALUES ('20990101000000')",
        ledger(&db)
    ));
    let run = db.usagectl(["migrate"]).run();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    assert!(
        run.stderr.contains("20990101000000 (unknown)"),
        "{}",
        run.stderr
    );
}

#[rstest]
fn other_commands_require_exactly_our_migrations(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let url = url::parse(db.url(), UrlSource::Flag).unwrap();
    require_current(&mut db.open(), &url, Use::Change).unwrap();
    let refusal = || {
        let error = require_current(&mut db.open(), &url, Use::Change).unwrap_err();
        (error.exit(), error.to_string())
    };
    db.execute(&format!(
        "INSERT INTO {} (version) VALUES ('20990101000000')",
        ledger(&db)
    ));
    assert_eq!(
        refusal(),
        (
            Exit::Untrustworthy,
            "the database has migrations unknown to this program: 20990101000000".into()
        )
    );
    let ledger = ledger(&db);
    db.execute(&format!(
        "DELETE FROM {ledger} WHERE version = '20990101000000'"
    ));
    db.execute(&format!(
        "CREATE TABLE kept AS SELECT version FROM {ledger}"
    ));
    db.execute(&format!(
        "DELETE FROM {ledger} WHERE version > '20260124093000'"
    ));
    let not_adopted =
        "the database was not created by usagectl, or its migration ledger is incomplete";
    assert_eq!(refusal(), (Exit::Untrustworthy, not_adopted.into()));
    db.execute(&format!(
        "INSERT INTO {ledger} (version) SELECT version FROM kept WHERE version > '20260124093000'"
    ));
    let rollback = ["rollback", "--yes", "--accept-data-loss"];
    let to = ["--to", "add_infrastructure_monitoring"];
    db.usagectl(rollback.iter().chain(&to)).run().success();
    assert_eq!(refusal(), (Exit::Failed, "5 migrations are pending".into()));
    db.usagectl(rollback).arg("--all").run().success();
    db.execute(&format!("DROP TABLE {ledger}"));
    assert_eq!(
        refusal(),
        (Exit::Failed, "the database is not migrated".into())
    );
}

#[test]
fn new_file_has_mode_0600_and_wal_sqlite() {
    let db = TestDatabase::empty(Engine::Sqlite);
    db.usagectl(["migrate"]).run().success();
    let mode = std::fs::metadata(db.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(db.rows("SELECT * FROM pragma_journal_mode"), ["wal"]);
}

/// The switch to WAL mode requires that no other connection reads.
#[test]
fn switch_to_wal_waits_for_reader_sqlite() {
    let db = TestDatabase::empty(Engine::Sqlite);
    db.execute("PRAGMA journal_mode = DELETE; CREATE TABLE notes (id INTEGER); INSERT INTO notes VALUES (1)");
    let mut reader = db.open();
    reader.batch_execute("BEGIN; SELECT * FROM notes").unwrap();
    let impatient = ["migrate", "--lock-timeout", "20ms", "--lock-wait", "200ms"];
    let run = db.usagectl(impatient).run();
    assert_eq!(run.code, 6, "{}", run.snapshot());
    assert_eq!(run.stdout, "");
    let mut run = db
        .usagectl(["migrate", "-v", "--lock-timeout", "200ms"])
        .spawn();
    run.wait_for_stderr(" is in use");
    reader.batch_execute("COMMIT").unwrap();
    run.wait().success();
}

#[test]
fn second_application_schema_is_refused_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    let before = whole_catalogue(&db);
    let separator = if db.url().contains('?') { '&' } else { '?' };
    let url = format!("{}{separator}schema=shop", db.url());
    let target = url::parse(&url, UrlSource::Flag).unwrap();
    let mut opened = db::open(&target, Access::Write).unwrap();
    assert_eq!(
        require_current(&mut opened, &target, Use::Change)
            .unwrap_err()
            .exit(),
        Exit::Refused
    );
    for (command, code) in [("migrate", 5), ("rollback", 5), ("status", 4)] {
        let run = db.usagectl([command]).env("DATABASE_URL", &url).run();
        assert_eq!(run.code, code, "{}", run.snapshot());
        assert!(
            run.stderr
                .contains("belong to the application schema `public`, not to `shop`")
        );
    }
    assert_eq!(whole_catalogue(&db), before);
    // After everything is reverted, another schema may be used.
    db.usagectl(["rollback", "--all", "--yes"]).run().success();
    db.usagectl(["migrate"])
        .env("DATABASE_URL", &url)
        .run()
        .success();
}

/// An administrator has created the schemas.
#[test]
fn role_without_create_schema_migrates_into_existing_schemas_postgresql() {
    let db = TestDatabase::empty(Engine::Postgresql);
    let role = OtherRole::new(&db);
    db.execute(&format!(
        "CREATE SCHEMA usagectl; GRANT CREATE, USAGE ON SCHEMA usagectl, public TO {}",
        role.name
    ));
    role.usagectl(["migrate"]).run().success();
    role.usagectl(["status"]).run().success();
}

#[rstest]
fn other_index_with_a_name_of_ours_is_refused_first(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    db.execute(
        "CREATE INDEX api_usage_success_timestamp_idx ON api_usage (endpoint) WHERE endpoint <> ''",
    );
    let whole = whole_catalogue(&db);
    for flags in [&[] as &[&str], &["--dry-run"], &["--sql"]] {
        let run = db.usagectl(["migrate"]).args(flags).run();
        assert_eq!(run.code, 5, "{}", run.snapshot());
        let error = "error: the index api_usage_success_timestamp_idx has other columns";
        assert!(run.stderr.starts_with(error), "{}", run.stderr);
        if engine == Postgresql {
            let next = "next: ALTER INDEX \"public\".\"api_usage_success_timestamp_idx\" RENAME TO \
                        \"own_api_usage_success_timestamp_idx\"; then run the same command again\n";
            assert!(run.stderr.ends_with(next), "{}", run.stderr);
        }
    }
    assert_eq!(whole_catalogue(&db), whole);
    db.execute(match engine {
        Sqlite => "DROP INDEX api_usage_success_timestamp_idx",
        Postgresql => {
            "ALTER INDEX public.api_usage_success_timestamp_idx RENAME TO own_api_usage_success_timestamp_idx"
        }
    });
    db.usagectl(["migrate"]).run().success();
    db.usagectl(["status", "--verify"]).run().success();
}

#[rstest]
fn signal_before_the_first_step_changes_nothing(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values("INT", "TERM")] signal: &str,
) {
    let db = TestDatabase::migrated(engine);
    let whole = whole_catalogue(&db);
    let _lock = db.lock(RunKind::Migrate);
    for (command, next) in [
        (&["migrate"] as &[&str], "usagectl migrate"),
        (
            &["rollback", "--yes", "--accept-data-loss"],
            "usagectl rollback",
        ),
    ] {
        let mut run = db.usagectl(command).spawn();
        let mut stderr = BufReader::new(run.child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("waiting up to") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "stderr ended");
        }
        run.signal(signal);
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        let printed = format!("error: interrupted; nothing was changed\nnext: {next}\n");
        assert_eq!(rest, printed);
        assert_eq!(run.wait().code, 1);
    }
    assert_eq!(whole_catalogue(&db), whole);
}
