//! `status`: migrations, drift and counts, by a role or file that may only be read.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use diesel::connection::SimpleConnection;

use crate::support::assert_snapshot;
use serde_json::Value;
use usagectl::store::db::Db;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, OtherRole, Run, TestDatabase};
use rstest::rstest;

/// The report without the engine's name and the durations.
fn shown(run: &Run) -> String {
    // The last column is as wide as its longest number.
    let milliseconds = |line: &str| -> String {
        let line = line.trim_end_matches("MS");
        let line = line.strip_suffix("  -").unwrap_or(line);
        let line = line.trim_end_matches(|c: char| c.is_ascii_digit() || c == ',');
        line.trim_end().to_owned() + "\n"
    };
    let lines = run.snapshot().lines().map(milliseconds).collect::<String>();
    lines
        .replace("PostgreSQL", "[engine]")
        .replace("SQLite", "[engine]")
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap()
}

#[rstest]
fn migrated_database_is_in_sync(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    assert_snapshot!(shown(&db.usagectl(["status"]).run()), @"
        VERSION         NAME                           STATE    APPLIED
        20260101000000  create_api_usage               applied  2026-01-31T12:00:00Z
        20260123210146  enhance_api_monitoring         applied  2026-01-31T12:00:00Z
        20260124093000  add_infrastructure_monitoring  applied  2026-01-31T12:00:00Z
        20260201000000  create_usagectl_bookkeeping    applied  2026-01-31T12:00:00Z
        20260201000100  mark_existing_usage            applied  2026-01-31T12:00:00Z
        20260202000000  add_alerting                   applied  2026-01-31T12:00:00Z
        20260203000000  add_capacity                   applied  2026-01-31T12:00:00Z
        20260204000000  add_drop_reason                applied  2026-01-31T12:00:00Z
        roll-ups: up to date
        in sync: all 8 migrations are applied ([engine] [version])
        [exit status: 0]
        ");
    let json = json(&db.usagectl(["status", "--format", "json"]).run());
    assert_eq!(json["in_sync"], true);
    assert_eq!(json["verdict"], "in_sync");
    assert_eq!(json["drift"], Value::Array(Vec::new()));
    assert_eq!(json["migrations"][0]["state"], "applied");
    assert_eq!(
        json["migrations"][0]["applied_at"],
        "2026-01-31T12:00:00.000Z"
    );
    let csv = db
        .usagectl(["status", "--format", "csv"])
        .run()
        .success()
        .stdout;
    assert!(
        csv.starts_with(
            "version,name,state,applied_at,duration_ms\n20260101000000,create_api_usage,applied,"
        ),
        "{csv}"
    );
}

#[rstest]
fn pending_migrations(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.usagectl(["rollback", "--steps", "5", "--yes"])
        .run()
        .success();
    assert_snapshot!(shown(&db.usagectl(["status"]).run()), @"
        VERSION         NAME                           STATE    APPLIED
        20260101000000  create_api_usage               applied  2026-01-31T12:00:00Z
        20260123210146  enhance_api_monitoring         applied  2026-01-31T12:00:00Z
        20260124093000  add_infrastructure_monitoring  applied  2026-01-31T12:00:00Z
        20260201000000  create_usagectl_bookkeeping    pending  -
        20260201000100  mark_existing_usage            pending  -
        20260202000000  add_alerting                   pending  -
        20260203000000  add_capacity                   pending  -
        20260204000000  add_drop_reason                pending  -
        pending: 5 of 8 migrations ([engine] [version])
        ------- stderr -------
        next: usagectl migrate
        [exit status: 3]
        ");
}

#[rstest]
fn drift_names_each_difference_once(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let trigger = match db.engine() {
        Engine::Sqlite => "DROP TRIGGER usagectl_after_update",
        Engine::Postgresql => "DROP TRIGGER usagectl_after_update ON api_usage",
    };
    db.execute(&format!(
        "DROP INDEX api_usage_success_timestamp_idx; DROP INDEX api_alerts_api_name_alert_type_period_key;
             ALTER TABLE api_alerts DROP COLUMN threshold; DROP TABLE usagectl_stale_periods; {trigger}"
    ));
    let run = db.usagectl(["status"]).run();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    let drift: Vec<&str> = run
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("drift: "))
        .collect();
    assert_eq!(
        drift,
        [
            "column api_alerts.threshold is missing",
            "column usagectl_stale_periods.aggregation_type is missing",
            "column usagectl_stale_periods.api_name is missing",
            "column usagectl_stale_periods.period_start is missing",
            "index api_usage (success, timestamp) is missing",
            "table usagectl_stale_periods is missing",
            "trigger api_usage.usagectl_after_update is missing",
            "unique api_alerts (api_name, alert_type, period) is missing",
            "unique usagectl_stale_periods (aggregation_type, period_start, api_name) is missing",
        ]
    );
    assert_eq!(
        run.stderr,
        "next: restore the objects listed above, then run usagectl status\n"
    );
}

#[rstest]
fn additional_objects_and_index_names_are_no_drift(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.execute(
        "CREATE TABLE notes (id INTEGER);
             CREATE INDEX of_my_own ON api_usage (user_id);
             CREATE VIEW slow AS SELECT id FROM api_usage WHERE response_time > 1000;
             DROP INDEX api_alerts_api_name_enabled_idx;
             CREATE INDEX under_another_name ON api_alerts (api_name, enabled)",
    );
    db.usagectl(["status"]).run().success();
}

#[rstest]
fn dirty_hours_do_not_change_the_exit_code(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.execute(
        "INSERT INTO api_usage (id, api_name, timestamp) VALUES
                 ('1', 'tmdb', '2026-01-31T10:30:00.000+00:00'), ('2', 'tmdb', '2026-01-31T10:40:00.000+00:00'),
                 ('3', 'rawg', '2026-01-31T11:00:00.000+00:00')",
    );
    let run = db.usagectl(["status"]).run().success();
    assert!(
        run.stdout
            .contains("roll-ups: 2 hours pending, oldest 2026-01-31T10:00:00Z (2h ago)\n"),
        "{}",
        run.stdout
    );
    let json = json(&db.usagectl(["status", "--format", "json"]).run());
    assert_eq!(json["rollups"]["hours_waiting"], 2);
    assert_eq!(json["rollups"]["oldest"], "2026-01-31T10:00:00.000Z");
}

#[rstest]
fn wait_ends_when_migrations_are_applied(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    let mut waiting = db.usagectl(["status", "-v", "--wait", "60s"]).spawn();
    // On SQLite it polls for the file first.
    if engine == Engine::Postgresql {
        waiting.wait_for_stderr("using ");
    }
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    assert!(waiting.child.try_wait().unwrap().is_none());
    db.usagectl(["migrate"]).run().success();
    waiting.wait().success();
    db.usagectl(["rollback", "--yes"]).run().success();
    let run = db.usagectl(["status", "--wait", "10ms"]).run();
    assert_eq!(run.code, 3, "{}", run.snapshot());
}

#[test]
fn missing_file_is_unreachable_and_not_created_sqlite() {
    let db = TestDatabase::empty(Engine::Sqlite);
    let run = db.usagectl(["status"]).run();
    assert_eq!(run.code, 7, "{}", run.snapshot());
    assert!(
        run.stderr.ends_with("next: usagectl migrate\n"),
        "{}",
        run.stderr
    );
    assert!(!db.path().exists());
}

#[test]
fn empty_database_is_pending_postgresql() {
    let db = TestDatabase::empty(Engine::Postgresql);
    let run = db.usagectl(["status"]).run();
    assert_eq!(run.code, 3, "{}", run.snapshot());
    assert!(
        run.stdout.contains("pending: 8 of 8 migrations"),
        "{}",
        run.stdout
    );
    assert_eq!(
        db.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'usagectl'"),
        [""; 0]
    );
}

#[test]
fn disabled_trigger_invalid_index_and_changed_columns_are_drift_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    db.execute(
        "ALTER TABLE api_usage DISABLE TRIGGER usagectl_after_insert;
         ALTER TABLE api_usage ALTER success DROP NOT NULL, ALTER status_code TYPE BIGINT, ALTER method DROP DEFAULT;
         ALTER TYPE \"MetricType\" ADD VALUE 'WATTS';
         DROP INDEX api_alerts_api_name_alert_type_period_key;
         INSERT INTO api_alerts (id, api_name, alert_type, threshold, period, updated_at)
         VALUES ('1', 'tmdb', 'ERROR_SPIKE', 1, 'HOUR', now()), ('2', 'tmdb', 'ERROR_SPIKE', 1, 'HOUR', now())",
    );
    // Fails because of the two equal rows, and leaves an invalid index.
    let unique = "CREATE UNIQUE INDEX CONCURRENTLY again ON public.api_alerts (api_name, alert_type, period)";
    let Db::Pg(mut postgres) = db.open() else {
        panic!("the test is about PostgreSQL");
    };
    let created = postgres.outside_transaction(|connection| connection.batch_execute(unique));
    assert!(created.is_err());
    let run = db.usagectl(["status"]).run();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    let drift: Vec<&str> = run
        .stdout
        .lines()
        .filter(|line| line.starts_with("drift: "))
        .collect();
    assert_snapshot!(drift.join("\n"), @"
    drift: column api_usage.method is `text`, expected `text default 'GET'::text`
    drift: column api_usage.status_code is `bigint`, expected `integer`
    drift: column api_usage.success is `boolean default true`, expected `boolean not null default true`
    drift: enum MetricType is `STORAGE_MB, STORAGE_GB, COMMANDS_PER_DAY, CONNECTIONS, LATENCY_MS, BANDWIDTH_GB, INVOCATIONS, BUILD_MINUTES, REQUEST_COUNT, COST_USD, USAGE_PERCENT, WATTS`, expected `STORAGE_MB, STORAGE_GB, COMMANDS_PER_DAY, CONNECTIONS, LATENCY_MS, BANDWIDTH_GB, INVOCATIONS, BUILD_MINUTES, REQUEST_COUNT, COST_USD, USAGE_PERCENT`
    drift: trigger api_usage.usagectl_after_insert is disabled
    drift: unique api_alerts (api_name, alert_type, period) is invalid
    ");
}

/// The two accepted differences of applications' databases.
#[test]
fn nullable_cached_and_default_of_updated_at_are_no_drift_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    db.execute(
        "ALTER TABLE api_usage ALTER cached DROP NOT NULL;
         ALTER TABLE api_alerts ALTER updated_at SET DEFAULT now();
         ALTER TABLE api_alerts ALTER created_at SET DEFAULT now()",
    );
    db.usagectl(["status"]).run().success();
}

#[test]
fn select_only_role_and_read_only_session_are_sufficient_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    let role = OtherRole::new(&db);
    db.execute(&format!(
        "GRANT USAGE ON SCHEMA public, usagectl TO {name}; GRANT SELECT ON ALL TABLES IN SCHEMA public, usagectl TO {name}",
        name = role.name
    ));
    role.usagectl(["status"]).run().success();
    let read_only = db
        .usagectl(["status"])
        .env("PGOPTIONS", "-c default_transaction_read_only=on");
    read_only.run().success();
    let pending = db.usagectl(["rollback", "--yes"]).run();
    pending.success();
    assert_eq!(role.usagectl(["status"]).run().code, 3);
}

#[test]
fn read_only_file_is_sufficient_and_unchanged_sqlite() {
    let db = TestDatabase::migrated(Engine::Sqlite);
    let before = fs::read(db.path()).unwrap();
    fs::set_permissions(db.path(), fs::Permissions::from_mode(0o400)).unwrap();
    db.usagectl(["status"]).run().success();
    assert_eq!(fs::read(db.path()).unwrap(), before);
}

#[test]
fn unreadable_timestamps_are_counted_sqlite() {
    let db = TestDatabase::migrated(Engine::Sqlite);
    db.execute("INSERT INTO api_usage (id, api_name, timestamp) VALUES ('1', 'tmdb', 'yesterday')");
    let run = db.usagectl(["status"]).run().success();
    assert!(
        run.stdout
            .contains("timestamps: 1 row of api_usage unreadable and in no roll-up\n"),
        "{}",
        run.stdout
    );
}
