//! The steps that `migrate --dry-run` and `rollback --dry-run` print: locks, sizes, work; and the repair of triggers.

use std::collections::BTreeMap;
use std::thread;

use usagectl::domain::named::Named;
use usagectl::domain::schema::dialect::Dialect;
use usagectl::domain::schema::locks::{Lock, accesses};
use usagectl::domain::schema::script;
use usagectl::store::migrations::{ALL, Direction};

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase, assert_snapshot, wait_for_rows, whole_catalogue};
use rstest::rstest;

/// The committed tables, with the strongest lock that a session holds on each.
fn held_locks(db: &TestDatabase) -> BTreeMap<String, Lock> {
    let rows = db.rows(
        "SELECT c.relname, coalesce(l.mode, 'none') FROM pg_class c
         LEFT JOIN pg_locks l ON l.relation = c.oid AND l.granted AND l.pid <> pg_backend_pid()
             AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
         WHERE c.relkind = 'r' AND c.relnamespace::regnamespace::text IN ('public', 'usagectl')",
    );
    let mut locks = BTreeMap::new();
    for row in rows {
        let (table, mode) = row.split_once('|').unwrap();
        let mode = mode.trim_end_matches("Lock");
        let is_mode = |lock: &&Lock| lock.as_str().replace(' ', "").eq_ignore_ascii_case(mode);
        let lock = Lock::ALL.iter().find(is_mode).unwrap();
        let strongest = locks.entry(table.to_owned()).or_insert(*lock);
        *strongest = (*strongest).max(*lock);
    }
    locks
}

/// The locks of a statement that runs outside a transaction, while it waits for another session.
fn locks_while_waiting(db: &TestDatabase, sql: &str) -> BTreeMap<String, Lock> {
    let mut other = db.open_transaction("LOCK TABLE api_usage IN ROW EXCLUSIVE MODE");
    thread::scope(|scope| {
        scope.spawn(|| db.execute(sql));
        wait_for_rows(
            db,
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
        );
        let locks = held_locks(db);
        other.batch_execute("COMMIT").unwrap();
        locks
    })
}

#[test]
fn locks_are_those_that_postgresql_takes() {
    let db = TestDatabase::empty(Postgresql);
    db.execute("CREATE SCHEMA usagectl");
    let up = ALL.iter().map(|it| (it, Direction::Up));
    let down = ALL.iter().rev().map(|it| (it, Direction::Down));
    for (migration, direction) in up.chain(down) {
        let sql = migration.sql(&db.open(), direction);
        for step in script::parse(&sql) {
            for statement in &step.statements {
                let locks = if step.concurrent().is_some() {
                    locks_while_waiting(&db, statement.sql)
                } else {
                    let mut session = db.open_transaction(statement.sql);
                    let locks = held_locks(&db);
                    session.batch_execute("COMMIT").unwrap();
                    locks
                };
                let mut claimed: BTreeMap<String, Lock> = locks
                    .keys()
                    .map(|table| (table.clone(), Lock::None))
                    .collect();
                for access in accesses(statement, Dialect::Postgres) {
                    if let Some(lock) = claimed.get_mut(&access.table) {
                        *lock = (*lock).max(access.lock);
                    }
                }
                assert_eq!(claimed, locks, "{migration}: {}", statement.sql);
            }
        }
    }
}

/// Calls on the first table: 1,000 rows of about 100 bytes.
fn put_calls(db: &TestDatabase) {
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    db.execute(match db.engine() {
        Sqlite => {
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
                   INSERT INTO api_usage (id, api_name, timestamp)
                   SELECT 'id' || i, 'tmdb', '2026-01-01T00:00:00.000+00:00' FROM n"
        }
        Postgresql => {
            "INSERT INTO api_usage (id, api_name, timestamp)
                       SELECT 'id' || i, 'tmdb', '2026-01-01' FROM generate_series(1, 1000) AS i"
        }
    });
}

/// The steps of the first migration that a plan lists.
fn steps(db: &TestDatabase, arguments: &[&str]) -> String {
    let plan = db.usagectl(arguments).arg("--dry-run").run().success();
    let lines = plan.stdout.lines();
    let lines = lines.skip_while(|line| !line.starts_with("  STEP"));
    let lines: Vec<&str> = lines.take_while(|line| line.starts_with("  ")).collect();
    assert!(
        lines.iter().all(|line| line.chars().count() <= 100),
        "{lines:#?}"
    );
    lines.join("\n")
}

#[test]
fn plan_shows_locks_and_work_of_each_step_postgresql() {
    let db = TestDatabase::empty(Postgresql);
    put_calls(&db);
    assert_snapshot!(steps(&db, &["migrate", "--to", "enhance_api_monitoring"]), @"
    STEP                          TABLE      LOCK                    WORK          ROWS    SIZE  TIME
    1 tables and columns          api_usage  ACCESS EXCLUSIVE        metadata     1,000  72 KiB   <1s
    2 index (api_name, success,   api_usage  SHARE UPDATE EXCLUSIVE  index build  1,000  72 KiB   <1s
      timestamp)
    3 index (success, timestamp)  api_usage  SHARE UPDATE EXCLUSIVE  index build  1,000  72 KiB   <1s
    4 index (api_name, endpoint,  api_usage  SHARE UPDATE EXCLUSIVE  index build  1,000  72 KiB   <1s
      timestamp)
    5 index (api_name, timestamp  api_usage  SHARE UPDATE EXCLUSIVE  index build  1,000  72 KiB   <1s
      desc)
    6 drop index (api_name,       api_usage  SHARE UPDATE EXCLUSIVE  metadata     1,000  72 KiB   <1s
      timestamp)
    7 index (timestamp desc)      api_usage  SHARE UPDATE EXCLUSIVE  index build  1,000  72 KiB   <1s
    8 drop index (timestamp)      api_usage  SHARE UPDATE EXCLUSIVE  metadata     1,000  72 KiB   <1s
    9 names of the new indexes    -          none                    -                -       -     -
    ");
    db.usagectl(["migrate"]).run().success();
    assert_snapshot!(steps(&db, &["rollback", "--to", "mark_existing_usage"]), @"
    STEP  TABLE             LOCK              WORK  ROWS  SIZE  TIME
    1     usagectl_notices  ACCESS EXCLUSIVE  scan     0   0 B   <1s
    ");
}

#[test]
fn plan_shows_locks_and_work_of_each_step_sqlite() {
    let db = TestDatabase::empty(Sqlite);
    put_calls(&db);
    assert_snapshot!(steps(&db, &["migrate", "--to", "enhance_api_monitoring"]), @"
    STEP                                 TABLE      LOCK            WORK          ROWS    SIZE  TIME
    1 tables and columns                 api_usage  database write  metadata     1,000  76 KiB   <1s
    2 index (api_name, success,          api_usage  database write  index build  1,000  76 KiB   <1s
      timestamp)
    3 index (success, timestamp)         api_usage  database write  index build  1,000  76 KiB   <1s
    4 index (api_name, endpoint,         api_usage  database write  index build  1,000  76 KiB   <1s
      timestamp)
    5 index (api_name, timestamp desc)   api_usage  database write  index build  1,000  76 KiB   <1s
      instead of (api_name, timestamp)
    6 index (timestamp desc) instead of  api_usage  database write  index build  1,000  76 KiB   <1s
      (timestamp)
    ");
    db.usagectl(["migrate"]).run().success();
    db.usagectl(["rollback", "--yes", "--to", "mark_existing_usage"])
        .run()
        .success();
    db.usagectl(["rollback", "--yes", "--accept-data-loss"])
        .run()
        .success();
    // Tables without rowids have an unknown number of rows.
    assert_snapshot!(steps(&db, &["rollback"]), @"
    STEP        TABLE                    LOCK            WORK     ROWS   SIZE     TIME
    1 triggers  -                        database write  -           -      -        -
    2 tables    usagectl_settings        database write  scan  unknown  4 KiB  unknown
                usagectl_rollups         database write  scan        0  4 KiB      <1s
                usagectl_stale_periods   database write  scan  unknown  4 KiB  unknown
                usagectl_fingerprints    database write  scan  unknown  4 KiB  unknown
                usagectl_odd_timestamps  database write  scan  unknown  4 KiB  unknown
                usagectl_dirty_hours     database write  scan  unknown  4 KiB  unknown
    ");
    db.usagectl(["rollback", "--yes", "--steps", "2", "--accept-data-loss"])
        .run()
        .success();
    assert_snapshot!(steps(&db, &["rollback"]), @"
    STEP                         TABLE                 LOCK            WORK       ROWS    SIZE  TIME
    1 free the names of the two  api_usage             database write  metadata  1,000  76 KiB   <1s
      indexes
    2 table without the columns  api_usage             database write  scan      1,000  76 KiB   <1s
    3 copy of the rows           api_usage             database write  rewrite   1,000  76 KiB   <1s
    4 drop the other indexes     api_usage             database write  metadata  1,000  76 KiB   <1s
    5 drop tables and columns    api_usage             database write  scan      1,000  76 KiB   <1s
                                 api_alerts            database write  scan          0   4 KiB   <1s
                                 api_usage_aggregates  database write  scan          0   4 KiB   <1s
    ");
}

#[rstest]
fn rows_are_estimated_without_statistics(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    put_calls(&db);
    let json = db
        .usagectl(["migrate", "--dry-run", "--format", "json"])
        .run()
        .success();
    let plan: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let table = &plan["migrations"][0]["steps"][1]["tables"][0];
    assert_eq!(table["table"], "api_usage");
    assert_eq!(table["rows"], 1_000);
    let bytes = table["bytes"].as_i64().unwrap();
    assert!((50_000..200_000).contains(&bytes), "{bytes}");
    // A new table is not in use.
    let last = plan["migrations"].as_array().unwrap().last().unwrap();
    assert_eq!(last["steps"][0]["tables"], serde_json::json!([]));
    let lock = match engine {
        Sqlite => "database write",
        Postgresql => "none",
    };
    assert_eq!(last["steps"][0]["lock"], lock);
}

/// A third of the rows was added after the statistics were collected.
#[test]
fn rows_grow_with_the_table_postgresql() {
    let db = TestDatabase::empty(Postgresql);
    put_calls(&db);
    db.execute("ANALYZE api_usage");
    db.execute(
        "INSERT INTO api_usage (id, api_name, timestamp)
         SELECT 'more' || i, 'tmdb', '2026-01-01' FROM generate_series(1, 500) AS i",
    );
    let steps = steps(&db, &["migrate"]);
    let rows = steps.lines().nth(2).unwrap().split_whitespace();
    let rows: Vec<&str> = rows.filter(|word| word.starts_with("1,")).collect();
    assert_eq!(rows.len(), 1, "{steps}");
    let rows: i64 = rows[0].replace(',', "").parse().unwrap();
    assert!((1_350..1_650).contains(&rows), "{steps}");
}

#[rstest]
fn completed_steps_of_an_interrupted_run_are_not_listed(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::empty(engine);
    put_calls(&db);
    let migrate = db.usagectl(["migrate"]);
    let killed = migrate.env("USAGECTL_FAULT", "kill:committed:2").run();
    assert_eq!(killed.code, 137, "{}", killed.snapshot());
    let steps = steps(&db, &["migrate"]);
    let second = steps.lines().nth(1).unwrap();
    assert!(second.starts_with("  3 index (success"), "{steps}");
}

#[rstest]
fn plan_and_script_repair_triggers_as_migrate_does(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values("--yes", "--to")] to: &str,
) {
    let databases = [(); 2].map(|()| TestDatabase::empty(engine));
    let (arguments, pending) = match to {
        "--to" => (vec!["migrate", "--to", "add_capacity"], "add_drop_reason"),
        _ => (vec!["migrate"], ""),
    };
    for db in &databases {
        put_calls(db);
        db.usagectl(&arguments).run().success();
        let own = |table: &str| match engine {
            Sqlite => table.to_owned(),
            Postgresql => format!("usagectl.{table}"),
        };
        db.execute(&format!("DELETE FROM {}", own("usagectl_dirty_hours")));
        for (trigger, table) in [
            ("usagectl_after_update", "api_usage"),
            ("usagectl_metrics_after_insert", "\"InfrastructureMetric\""),
        ] {
            let on = match engine {
                Sqlite => String::new(),
                Postgresql => format!(" ON {table}"),
            };
            db.execute(&format!("DROP TRIGGER {trigger}{on}"));
        }
    }
    let [db, scripted] = &databases;
    let before = whole_catalogue(db);
    let plan = db.usagectl(["migrate", "--dry-run"]).run().success().stdout;
    assert_eq!(whole_catalogue(db), before);
    for expected in [
        "restore the triggers on api_usage\n  STEP",
        "restore the triggers on InfrastructureMetric\n  STEP",
        pending,
    ] {
        assert!(plan.contains(expected), "{plan}");
    }
    let script = scripted
        .usagectl(["migrate", "--sql"])
        .run()
        .success()
        .stdout;
    scripted.run_script(&script);
    db.usagectl(["migrate"]).run().success();
    for db in [db, scripted] {
        db.usagectl(["status"]).run();
        let hours = "SELECT count(*) FROM usagectl_dirty_hours";
        assert_eq!(db.rows(hours), ["1"]);
        assert_eq!(
            db.usagectl(["migrate", "--dry-run"]).run().stdout,
            "nothing to do\n"
        );
    }
    assert_eq!(whole_catalogue(scripted), whole_catalogue(db));
}
