//! `status`: migrations, drift and counts, by a role or file that may only be read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;

use crate::support::assert_snapshot;
use serde_json::Value;
use usagectl::store::db::Db;
use usagectl::store::lock::RunKind;
use usagectl::store::schema_objects;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::adoption::pushed;
use crate::support::postgres::Server;
use crate::support::{Engine, OtherRole, Run, Sandbox, TestDatabase};
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
            "kind,version,name,state,detail,applied_at,duration_ms\n\
             migration,20260101000000,create_api_usage,applied,,2026-01-31T12:00:00.000Z,"
        ),
        "{csv}"
    );
    assert!(csv.ends_with("\nverdict,,,in_sync,,,\n"), "{csv}");
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
fn each_missing_column_is_drift(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let found = schema_objects::read(&mut db.open()).unwrap();
    let columns = found.objects().filter_map(|(what, _)| {
        let (table, column) = what.strip_prefix("column ")?.split_once('.')?;
        table.starts_with("api_").then_some((table, column))
    });
    for (table, column) in columns {
        let rename = |from: &str, to: &str| {
            db.execute(&format!(
                "ALTER TABLE {table} RENAME COLUMN \"{from}\" TO \"{to}\""
            ));
        };
        rename(column, "other");
        let run = db.usagectl(["status"]).run();
        assert_eq!(run.code, 4, "{table}.{column}: {}", run.snapshot());
        let drift = format!("drift: column {table}.{column} is missing\n");
        assert!(run.stdout.contains(&drift), "{}", run.snapshot());
        rename("other", column);
    }
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
            "index api_usage (success, timestamp) is missing",
            "table usagectl_stale_periods is missing",
            "trigger api_usage.usagectl_after_update is missing",
            "unique api_alerts (api_name, alert_type, period) is missing",
        ]
    );
    // It creates the table of usagectl again; the others are the user's.
    assert_eq!(run.stderr, "next: usagectl migrate --adopt\n");
    let adopt = db.usagectl(["migrate", "--adopt", "--yes"]).run();
    assert_eq!(adopt.code, 4, "{}", adopt.snapshot());
    let run = db.usagectl(["status"]).run();
    assert_eq!(
        run.stderr,
        "next: run the SQL listed above, then usagectl status\n"
    );
    let fix = |run: &Run| {
        let lines = run.stdout.lines();
        let lines = lines.filter_map(|line| line.strip_prefix("  fix: "));
        lines.map(|line| line.to_owned() + "\n").collect::<String>()
    };
    if engine == Engine::Sqlite {
        assert!(
            fix(&run).contains("ADD COLUMN \"threshold\""),
            "{}",
            run.stdout
        );
        return;
    }
    db.run_script(&fix(&run));
    db.usagectl(["status"]).run().success();
    db.execute("ALTER TABLE api_usage ALTER COLUMN status_code TYPE text");
    db.run_script(&fix(&db.usagectl(["status"]).run()));
    db.usagectl(["status"]).run().success();
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

/// A unique index on the same columns in another order refuses the same rows.
#[rstest]
fn unique_index_in_another_order_is_no_drift(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.execute(
        "DROP INDEX api_usage_aggregates_api_name_aggregation_type_period_start_key;
         CREATE UNIQUE INDEX other ON api_usage_aggregates (period_start DESC, api_name, aggregation_type);
         DROP INDEX \"InfrastructureLimit_service_metric_currentPlan_key\";
         CREATE UNIQUE INDEX another ON \"InfrastructureLimit\" (\"currentPlan\", service, metric)",
    );
    db.usagectl(["status"]).run().success();
    db.usagectl(["limits", "init"]).run().success();
    db.execute("INSERT INTO api_usage (id, api_name, timestamp) VALUES ('1', 'tmdb', '2026-01-31T10:30:00.000+00:00')");
    db.usagectl(["aggregate"]).run().success();
    db.execute(
        "DROP INDEX other; CREATE UNIQUE INDEX other ON api_usage_aggregates (period_start, aggregation_type)",
    );
    assert_eq!(db.usagectl(["status"]).run().code, 4);
}

/// A command that inserts into a table of the application, and its input.
const INSERTING: [(&str, &str, &str); 6] = [
    (
        "api_usage",
        "record",
        r#"{"api_name":"tmdb","timestamp":"2026-01-31T10:00:00Z"}"#,
    ),
    ("api_usage_aggregates", "aggregate", ""),
    (
        "api_alerts",
        "alerts add --api tmdb --type ERROR_SPIKE --threshold 5 --period DAY",
        "",
    ),
    ("InfrastructureLimit", "limits init --plan vercel=hobby", ""),
    (
        "InfrastructureMetric",
        "collect set --service VERCEL_KV --metric STORAGE_MB 250",
        "",
    ),
    ("UpgradeRecommendation", "recommend run", ""),
];

#[rstest]
fn required_column_of_the_application_is_reported_with_its_default(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    db.usagectl(["limits", "init", "--plan", "upstash=free"])
        .run()
        .success();
    let set = "collect set --service VERCEL_KV --metric STORAGE_MB --at 2026-01-31T11:00:00Z 250";
    db.usagectl(set.split(' ')).run().success();
    db.execute("DELETE FROM \"InfrastructureLimit\" WHERE service <> 'VERCEL_KV'");
    db.execute("INSERT INTO api_usage (id, api_name, timestamp) VALUES ('1', 'tmdb', '2026-01-31T10:30:00.000+00:00')");
    for (table, command, input) in INSERTING {
        // A table with rows gets a required column by way of a default.
        db.execute(&match engine {
            Engine::Postgresql => format!(
                "ALTER TABLE \"{table}\" ADD tenant text NOT NULL DEFAULT 'a', ADD \"Org Unit\" text NOT NULL DEFAULT 'b';
                 ALTER TABLE \"{table}\" ALTER tenant DROP DEFAULT, ALTER \"Org Unit\" DROP DEFAULT"
            ),
            Engine::Sqlite => format!(
                "ALTER TABLE \"{table}\" ADD COLUMN tenant text NOT NULL DEFAULT 'a';
                 ALTER TABLE \"{table}\" ADD COLUMN \"Org Unit\" text NOT NULL DEFAULT 'b';
                 UPDATE \"{table}\" SET tenant = 'a', \"Org Unit\" = 'b';
                 PRAGMA writable_schema = ON;
                 UPDATE sqlite_schema SET sql = replace(replace(sql, ' DEFAULT ''a''', ''), ' DEFAULT ''b''', '')
                 WHERE name = '{table}';
                 PRAGMA writable_schema = RESET"
            ),
        });
        let run = db.usagectl(command.split(' ')).stdin(input).run();
        assert_eq!(run.code, 4, "{command}: {}", run.snapshot());
        let problem = format!("column {table}.tenant is required, and usagectl does not write it");
        assert!(run.stderr.contains(&problem), "{}", run.snapshot());
        let next = match engine {
            Engine::Postgresql => format!(
                "next: give it a default: ALTER TABLE \"{table}\" ALTER COLUMN \"tenant\" SET DEFAULT <value>;\n"
            ),
            Engine::Sqlite => "next: see the SQL for it: usagectl status\n".to_owned(),
        };
        assert!(run.stderr.ends_with(&next), "{}", run.snapshot());

        let run = db.usagectl(["status"]).run();
        assert_eq!(run.code, 4, "{}", run.snapshot());
        let drift = lines(&run, "drift");
        assert_eq!(drift.len(), 2, "{}", run.stdout);
        let text = match engine {
            Engine::Postgresql => "text",
            Engine::Sqlite => "TEXT",
        };
        let wanted = format!(
            "column {table}.tenant is `{text} not null`, expected `{text} not null default <value>`"
        );
        assert!(drift.contains(&wanted.as_str()), "{}", run.stdout);
        let decisions = run.stdout.lines();
        let decisions = decisions.filter_map(|line| line.strip_prefix("  fix: -- "));
        let sql: Vec<String> = decisions
            .filter(|line| !line.starts_with("to be decided: "))
            .map(|line| line.replace("<value>", "'x'"))
            .collect();
        db.run_script(&sql.join("\n"));
        db.usagectl(["status", "--verify"]).run().success();
        let run = db.usagectl(command.split(' ')).stdin(input).run();
        assert!([0, 3, 10, 11].contains(&run.code), "{}", run.snapshot());
        let filled = format!("SELECT count(*) > 0 FROM \"{table}\" WHERE tenant = 'x'");
        assert_eq!(db.rows(&filled), ["1"], "{command}: {}", run.snapshot());
    }
}

/// Lines that no column takes are kept: they are not at fault.
#[rstest]
fn record_keeps_all_lines_where_a_column_refuses_them(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values(3, 1_200)] lines: usize,
) {
    let db = TestDatabase::migrated(engine);
    db.execute("ALTER TABLE api_usage ADD COLUMN tenant text NOT NULL DEFAULT 'a'");
    db.execute(match engine {
        Engine::Postgresql => "ALTER TABLE api_usage ALTER tenant DROP DEFAULT",
        Engine::Sqlite => {
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = replace(sql, ' DEFAULT ''a''', '') WHERE name = 'api_usage';
             PRAGMA writable_schema = RESET"
        }
    });
    let call = r#"{"api_name":"tmdb","timestamp":"2026-01-31T10:00:00Z"}"#;
    let input = format!("{call}\n").repeat(lines);
    let rejects = db.sandbox().work().join("rejects.ndjson");
    let record = |args: &[&str]| {
        let program = db.usagectl(["record", "--rejects"]).arg(&rejects);
        program.args(args).stdin(&input).run()
    };
    let run = record(&[]);
    assert_eq!(run.code, 4, "{}", run.snapshot());
    assert!(!run.stderr.contains("correct"), "{}", run.snapshot());
    assert_eq!(db.rows("SELECT count(*) FROM api_usage"), ["0"]);
    let kept = fs::read_to_string(&rejects).unwrap();
    assert_eq!(kept.lines().count(), lines);
    db.execute("ALTER TABLE api_usage DROP COLUMN tenant");
    let replay = db.usagectl(["record", "--replay"]).arg(&rejects).run();
    replay.success();
    let stored = db.rows("SELECT count(*) FROM api_usage");
    assert_eq!(stored, [lines.to_string()]);
}

#[test]
fn required_column_with_a_value_is_no_drift_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    db.execute(
        "CREATE DOMAIN code AS text DEFAULT 'x' NOT NULL;
         ALTER TABLE api_usage ADD number integer NOT NULL GENERATED ALWAYS AS IDENTITY,
             ADD serial serial NOT NULL, ADD size integer NOT NULL GENERATED ALWAYS AS (1) STORED,
             ADD code code, ADD optional text, ADD tenant text NOT NULL;
         CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN NEW.tenant := ''a''; RETURN NEW; END';
         CREATE TRIGGER fill BEFORE INSERT ON api_usage FOR EACH ROW EXECUTE FUNCTION fill()",
    );
    db.usagectl(["status"]).run().success();
    let call = r#"{"api_name":"tmdb","timestamp":"2026-01-31T10:00:00Z"}"#;
    db.usagectl(["record"]).stdin(call).run().success();
    db.execute("ALTER TABLE api_usage DISABLE TRIGGER fill");
    let drift = |args: &[&str]| {
        let run = db.usagectl(["status"]).args(args).run();
        assert_eq!(run.code, 4, "{}", run.snapshot());
        let lines = lines(&run, "drift").into_iter();
        lines.filter(|it| it.contains(".tenant ")).count()
    };
    assert_eq!(drift(&[]), 1);
    assert_eq!(drift(&["--strict"]), 1);
    db.execute("ALTER TABLE api_usage ALTER tenant DROP NOT NULL");
    db.usagectl(["status"]).run().success();
    db.execute(
        "CREATE DOMAIN required AS text NOT NULL; ALTER TABLE api_alerts ADD owner required",
    );
    let run = db.usagectl(["status"]).run();
    let expected = "column api_alerts.owner is `required not null`, expected `required not null default <value>`";
    assert_eq!(lines(&run, "drift"), [expected]);
}

#[test]
fn required_column_with_a_value_is_no_drift_sqlite() {
    let db = TestDatabase::migrated(Engine::Sqlite);
    db.execute(
        "ALTER TABLE api_alerts ADD COLUMN size integer NOT NULL AS (1);
         ALTER TABLE api_alerts ADD COLUMN owner text NOT NULL DEFAULT 'a';
         ALTER TABLE api_alerts ADD COLUMN note text;
         CREATE TABLE notes (id integer PRIMARY KEY NOT NULL, body text NOT NULL)",
    );
    db.usagectl(["status"]).run().success();
}

#[rstest]
fn migrations_of_another_diesel_program_are_left_alone(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let (ledger, before) = match engine {
        Engine::Sqlite => ("__diesel_schema_migrations", ""),
        Engine::Postgresql => (
            "usagectl.__diesel_schema_migrations",
            "CREATE SCHEMA usagectl;",
        ),
    };
    let db = TestDatabase::empty(engine);
    if engine == Engine::Sqlite {
        fs::File::create(db.path()).unwrap();
    }
    db.execute(&format!(
        "{before} CREATE TABLE {ledger} (
             version VARCHAR(50) PRIMARY KEY NOT NULL, run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
         );
         INSERT INTO {ledger} (version) VALUES ('20200101000000'), ('20260301000000');
         CREATE TABLE posts (id INTEGER PRIMARY KEY)"
    ));
    let others = ["20200101000000", "20260301000000", "20990101000000"];
    let versions = || db.rows(&format!("SELECT version FROM {ledger} ORDER BY version"));
    let line = "also has 2 migrations of another Diesel program, which usagectl leaves alone: \
                20200101000000, 20260301000000";
    let run = db.usagectl(["status"]).run();
    assert_eq!(run.code, 3, "{}", run.snapshot());
    assert_eq!(lines(&run, "ledger"), [line]);
    assert!(!run.stdout.contains("created by"), "{}", run.snapshot());
    let run = db.usagectl(["stats"]).run();
    assert!(
        run.stderr.ends_with("next: usagectl migrate\n"),
        "{}",
        run.stderr
    );

    db.usagectl(["migrate"]).run().success();
    // Its next migration.
    db.execute(&format!(
        "INSERT INTO {ledger} (version) VALUES ('20990101000000')"
    ));
    db.usagectl(["status", "--verify"]).run().success();
    let found = json(&db.usagectl(["status", "--format", "json"]).run());
    assert_eq!(found["other_migrations"], serde_json::json!(others));
    let call = r#"{"api_name":"tmdb","timestamp":"2026-01-31T10:00:00Z"}"#;
    db.usagectl(["record"]).stdin(call).run().success();
    db.usagectl(["aggregate"]).run().success();
    db.usagectl(["migrate"]).run().success();

    // A lost row of ours, and all of them.
    for lost in [
        "= '20260202000000'",
        "NOT IN ('20200101000000', '20260301000000', '20990101000000')",
    ] {
        db.execute(&format!("DELETE FROM {ledger} WHERE version {lost}"));
        let run = db.usagectl(["status"]).run();
        assert_eq!(run.code, 4, "{}", run.snapshot());
        db.usagectl(["migrate", "--adopt", "--yes"]).run().success();
        db.usagectl(["status"]).run().success();
    }
    let back = ["rollback", "--all", "--yes", "--accept-data-loss"];
    db.usagectl(back).run().success();
    assert_eq!(versions(), others);
    db.usagectl(["migrate"]).run().success();
    db.usagectl(["status"]).run().success();
    assert_eq!(versions().len(), 11);
}

#[rstest]
fn tables_beside_the_ledger_of_a_diesel_program_are_adopted(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = pushed(engine, 2);
    let (ledger, before) = match engine {
        Engine::Sqlite => ("__diesel_schema_migrations", ""),
        Engine::Postgresql => (
            "usagectl.__diesel_schema_migrations",
            "CREATE SCHEMA usagectl;",
        ),
    };
    db.execute(&format!(
        "{before} CREATE TABLE {ledger} (
             version VARCHAR(50) PRIMARY KEY NOT NULL, run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
         );
         INSERT INTO {ledger} VALUES ('20270101000000', '2025-06-01 12:00:00')"
    ));
    let run = db.usagectl(["status"]).run();
    let created = "created by another Diesel program (its migrations are in the ledger)\n";
    assert!(run.stdout.contains(created), "{}", run.snapshot());
    assert!(
        run.stderr.ends_with("next: usagectl migrate --adopt\n"),
        "{}",
        run.stderr
    );
    db.usagectl(["migrate", "--adopt", "--yes"]).run().success();
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

/// Neither run waits for the other.
#[rstest]
fn running_migrate_is_named(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let held_by =
        || json(&db.usagectl(["status", "--format", "json"]).run())["lock"]["held_by"].clone();
    assert_eq!(held_by(), serde_json::Value::Null);
    let lock = db.lock(RunKind::Migrate);
    let holder = held_by();
    let holder = holder.as_str().unwrap();
    assert!(holder.starts_with("`usagectl test` ("), "{holder}");
    let text = db.usagectl(["status"]).run();
    assert_eq!(text.code, 0, "{}", text.snapshot());
    assert!(
        text.stdout.contains(&format!("\nrunning: {holder}\n")),
        "{}",
        text.stdout
    );
    drop(lock);
    assert_eq!(held_by(), serde_json::Value::Null);
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

/// The lines of the report that begin with `start: `, without it.
fn lines<'a>(run: &'a Run, start: &str) -> Vec<&'a str> {
    let lines = run.stdout.lines();
    lines
        .filter_map(|line| line.strip_prefix(start)?.strip_prefix(": "))
        .collect()
}

#[test]
fn disabled_trigger_invalid_index_and_changed_columns_are_drift_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    db.execute(
        "ALTER TABLE api_usage DISABLE TRIGGER usagectl_after_insert;
         ALTER TABLE api_usage ALTER success DROP NOT NULL, ALTER method DROP DEFAULT;
         ALTER TYPE \"MetricType\" RENAME VALUE 'LATENCY_MS' TO 'LATENCY';
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
    assert_snapshot!(lines(&run, "drift").join("\n"), @"
    column api_usage.method is `text`, expected `text default 'GET'::text`
    column api_usage.success is `boolean default true`, expected `boolean not null default true`
    enum MetricType lacks LATENCY_MS
    trigger api_usage.usagectl_after_insert is disabled
    unique api_alerts (api_name, alert_type, period) is invalid
    ");
    let csv = db.usagectl(["status", "--format", "csv"]).run().stdout;
    let last: Vec<&str> = csv.lines().rev().take(2).collect();
    assert_eq!(
        last,
        [
            "verdict,,,untrustworthy,,,",
            "drift,,\"unique api_alerts (api_name, alert_type, period)\",,\"unique api_alerts (api_name, alert_type, period) is invalid\",,",
        ]
    );
}

#[test]
fn invalid_index_is_rebuilt_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    let role = OtherRole::new(&db);
    let invalidate = |index: &str| {
        role.administer(&[&format!(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{index}'::regclass"
        )]);
        let run = db.usagectl(["status"]).run();
        assert_eq!(run.code, 4, "{}", run.snapshot());
        run
    };
    let status = || db.usagectl(["status", "--verify"]).run();

    let index = "api_usage_success_timestamp_idx";
    let run = invalidate(index);
    assert!(run.stderr.ends_with("next: usagectl migrate\n"));
    let plan = db.usagectl(["migrate", "--dry-run"]).run().stdout;
    let planned = format!("rebuild the invalid index {index} on api_usage\n");
    assert!(plan.ends_with(&planned), "{plan}");
    let run = db.usagectl(["migrate"]).run().success();
    let rebuilt = format!("rebuilt the invalid index {index}\n0 migrations applied, 0 pending\n");
    assert_eq!(run.stdout, rebuilt);
    status().success();

    invalidate(index);
    db.run_script(&db.usagectl(["migrate", "--sql"]).run().stdout);
    status().success();

    // A unique index and that of a primary key too.
    for index in [
        "api_alerts_api_name_alert_type_period_key",
        "api_usage_pkey",
        "api_usage_aggregates_pkey",
    ] {
        let run = invalidate(index);
        assert!(run.stdout.contains(index), "{}", run.stdout);
        assert!(
            run.stderr.ends_with("next: usagectl migrate\n"),
            "{}",
            run.stderr
        );
        let run = db.usagectl(["migrate"]).run().success();
        let rebuilt = format!("rebuilt the invalid index {index}\n");
        assert!(run.stdout.starts_with(&rebuilt), "{}", run.stdout);
        status().success();
    }

    // The printed SQL does the same.
    let run = invalidate("api_alerts_api_name_alert_type_period_key");
    let fix = run.stdout.lines();
    let fix: Vec<&str> = fix
        .filter_map(|line| line.strip_prefix("  fix: "))
        .collect();
    db.run_script(&fix.join("\n"));
    status().success();
}

/// Limits of the role or the database that the queries cannot keep. On a busy machine the first statement of a transaction,
/// which lifts them, may exceed them too.
#[test]
fn time_limits_do_not_end_a_command_that_reads_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    let settings = [
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "statement_timeout",
    ];
    let set = settings.map(|setting| {
        format!("EXECUTE format('ALTER DATABASE %I SET {setting} = 10', current_database());")
    });
    db.execute(&format!("DO $$ BEGIN {} END $$", set.concat()));
    for command in [&["status"][..], &["stats"], &["status", "--verify"]] {
        let mut runs = (0..10).map(|_| db.usagectl(command).run().code);
        assert!(runs.any(|code| code == 0), "{command:?}");
    }
}

#[test]
fn publication_of_our_tables_does_not_end_a_run_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    // Only a superuser may create one FOR ALL TABLES.
    db.execute(
        "CREATE PUBLICATION ours FOR TABLE api_usage, usagectl.usagectl_dirty_hours,
             usagectl.usagectl_dirty_metric_days",
    );
    let without_identity = "SELECT relname::text FROM pg_class c
         WHERE relnamespace = 'usagectl'::regnamespace AND relkind = 'r' AND relreplident = 'd'
           AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)";
    assert!(db.rows(without_identity).is_empty());
    for command in [
        &["record", "--api", "tmdb"][..],
        &["aggregate"],
        &["alerts", "check"],
    ] {
        db.usagectl(command).run().success();
    }
    // Ours is not listed as the user's.
    let plan = db.usagectl(["rollback", "--all", "--dry-run"]).run();
    assert!(
        plan.stdout.contains("drop table usagectl_dirty_hours"),
        "{}",
        plan.stdout
    );
    assert!(!plan.stdout.contains("replica identity"), "{}", plan.stdout);
}

#[test]
fn settings_that_change_the_text_of_definitions_are_no_drift_postgresql() {
    let db = TestDatabase::empty(Engine::Postgresql);
    let change = |statements: [&str; 2]| {
        let changes = statements
            .map(|it| format!("EXECUTE format('ALTER DATABASE %I {it}', current_database());"));
        db.execute(&format!("DO $$ BEGIN {} END $$", changes.concat()));
    };
    change([
        "SET standard_conforming_strings = off",
        "SET quote_all_identifiers = on",
    ]);
    db.usagectl(["migrate"]).run().success();
    db.usagectl(["status", "--verify"]).run().success();
    change([
        "RESET standard_conforming_strings",
        "RESET quote_all_identifiers",
    ]);
    db.usagectl(["status", "--verify"]).run().success();
}

/// Each by itself is drift, and is named in exactly one line.
#[rstest]
#[case(
    "DROP INDEX api_usage_timestamp_idx; CREATE INDEX api_usage_timestamp_idx ON api_usage (timestamp)"
)]
#[case(
    "DROP INDEX api_usage_timestamp_idx; CREATE INDEX api_usage_timestamp_idx ON api_usage USING brin (timestamp)"
)]
#[case(
    "DROP INDEX api_usage_timestamp_idx; CREATE INDEX api_usage_timestamp_idx ON api_usage (timestamp DESC) WHERE success"
)]
#[case(
    "DROP INDEX api_alerts_api_name_alert_type_period_key; CREATE INDEX ON api_alerts (api_name, alert_type, period)"
)]
#[case(
    "DROP INDEX api_alerts_api_name_alert_type_period_key;
        ALTER TABLE api_alerts ADD UNIQUE (api_name, alert_type, period) DEFERRABLE"
)]
#[case("ALTER TABLE api_usage ALTER endpoint TYPE varchar(50)")]
#[case("ALTER TABLE api_usage ALTER created_at TYPE timestamptz(3)")]
#[case("ALTER TABLE api_usage ALTER response_time TYPE smallint")]
#[case("ALTER TABLE api_usage ALTER cost_credits TYPE numeric")]
#[case("ALTER TABLE api_usage ALTER endpoint SET NOT NULL")]
#[case("ALTER TABLE api_usage ALTER api_name DROP NOT NULL")]
#[case("ALTER TABLE api_usage ALTER timestamp DROP DEFAULT")]
#[case("ALTER TABLE api_usage ALTER timestamp SET DEFAULT (now() AT TIME ZONE 'Asia/Seoul')")]
#[case("ALTER TABLE api_usage ALTER success SET DEFAULT false")]
#[case("ALTER TABLE api_usage DROP error_message")]
#[case("ALTER TABLE api_usage RENAME error_message TO message")]
#[case(
    "ALTER TABLE api_usage_aggregates DROP cached_count,
        ADD cached_count integer NOT NULL GENERATED ALWAYS AS (0) STORED"
)]
#[case("ALTER TYPE \"RecommendationStatus\" RENAME VALUE 'DISMISSED' TO 'REJECTED'")]
#[case("ALTER TABLE api_usage DISABLE TRIGGER usagectl_after_delete")]
#[case("ALTER TABLE api_usage ENABLE REPLICA TRIGGER usagectl_after_delete")]
#[case("DROP TRIGGER usagectl_metrics_after_update ON \"InfrastructureMetric\"")]
#[case("CREATE OR REPLACE FUNCTION usagectl.usagectl_mark_new_rows() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN NULL; END'")]
#[case("ALTER FUNCTION usagectl.usagectl_mark_new_rows() SECURITY INVOKER")]
#[case("ALTER FUNCTION usagectl.usagectl_mark_new_rows() RESET search_path")]
#[case("DROP TABLE api_alerts")]
#[case(
    "UPDATE usagectl.usagectl_migration_log SET up_sha256 = 'x' WHERE version = '20260202000000'"
)]
#[case("INSERT INTO usagectl.__diesel_schema_migrations (version) VALUES ('20260115000000')")]
#[case("DELETE FROM usagectl.usagectl_migration_log WHERE version = '20260202000000'")]
#[case("DROP TABLE usagectl.usagectl_migration_log")]
fn tampering_is_found_postgresql(#[case] sql: &str) {
    let db = TestDatabase::migrated(Engine::Postgresql);
    db.execute(sql);
    let run = db.usagectl(["status", "--format", "json"]).run();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    let json = json(&run);
    assert_eq!(json["in_sync"], false);
    assert_eq!(json["verdict"], "untrustworthy");
    let migrations = json["migrations"].as_array().unwrap().iter();
    let changed = migrations.filter(|it| it["state"] != "applied").count();
    let drift = json["drift"].as_array().unwrap().len();
    // Without the log no migration is logged.
    let expected = if sql.starts_with("DROP TABLE usagectl.") {
        9
    } else {
        1
    };
    assert_eq!(changed + drift, expected, "{}", run.stdout);
}

#[test]
fn other_spellings_and_wider_objects_are_no_drift_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    db.execute(
        "ALTER TABLE api_usage ALTER cached DROP NOT NULL,
             ALTER id SET DEFAULT gen_random_uuid(),
             ALTER created_at SET DEFAULT CURRENT_TIMESTAMP(3),
             ALTER timestamp SET DEFAULT (now() AT TIME ZONE 'utc'),
             ALTER status_code TYPE bigint, ALTER response_time TYPE bigint,
             ALTER endpoint TYPE varchar,
             ADD COLUMN region text;
         ALTER TABLE api_alerts ALTER updated_at SET DEFAULT now(),
             ALTER created_at SET DEFAULT timezone('utc', now());
         ALTER TABLE \"InfrastructureLimit\" ALTER \"updatedAt\" SET DEFAULT now(),
             ALTER \"warningPercent\" SET DEFAULT 75.0;
         ALTER TABLE \"UpgradeRecommendation\" ALTER benefits DROP DEFAULT,
             ALTER benefits TYPE text[] USING NULL, ALTER risks TYPE text[] USING NULL;
         ALTER TYPE \"MetricType\" ADD VALUE 'WATTS' BEFORE 'STORAGE_MB';
         DROP INDEX api_usage_success_timestamp_idx;
         CREATE INDEX wider ON api_usage (success, timestamp, api_name) INCLUDE (user_id);
         CREATE INDEX own ON api_usage (user_id);
         CREATE TABLE notes (id integer)",
    );
    let run = db.usagectl(["status"]).run().success();
    assert_eq!(lines(&run, "drift"), [""; 0], "{}", run.stdout);
    let strict = db.usagectl(["status", "--strict"]).run();
    assert_eq!(strict.code, 4);
    assert_snapshot!(lines(&strict, "drift").join("\n"), @"
    column api_usage.region is in no migration
    enum MetricType also has WATTS
    index api_usage (success, timestamp, api_name) is in no migration
    index api_usage (user_id) is in no migration
    ");
    assert!(
        strict.stderr.ends_with(
            "next: remove the objects that no migration creates, or run usagectl status without --strict\n"
        ),
        "{}",
        strict.stderr
    );
}

/// Every command reads and writes columns that the application has widened.
#[test]
fn widened_integers_are_read_and_written_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    db.execute(
        "ALTER TABLE api_usage ALTER status_code TYPE bigint, ALTER response_time TYPE bigint,
             ALTER request_size TYPE bigint, ALTER response_size TYPE bigint;
         ALTER TABLE api_usage_aggregates ALTER total_requests TYPE bigint, ALTER success_count TYPE bigint,
             ALTER error_count TYPE bigint, ALTER cached_count TYPE bigint, ALTER max_response_time TYPE bigint,
             ALTER min_response_time TYPE bigint, ALTER rate_limit_errors TYPE bigint,
             ALTER timeout_errors TYPE bigint, ALTER server_errors TYPE bigint;
         ALTER TABLE \"UpgradeRecommendation\" ALTER \"daysToLimit\" TYPE bigint;
         INSERT INTO \"UpgradeRecommendation\"
             (id, service, \"currentPlan\", \"recommendedPlan\", priority, reason, \"daysToLimit\", \"updatedAt\")
         VALUES ('1', 'VERCEL_KV', 'free', 'pro', 'HIGH', 'full', 12, now())",
    );
    db.usagectl(["status"]).run().success();
    let call = r#"{"id":"1","api_name":"tmdb","timestamp":"2026-01-31T10:00:00Z","status_code":200,"response_time":7}"#;
    db.usagectl(["record"]).stdin(call).run().success();
    db.usagectl(["record"]).stdin(call).run().success();
    let other = call.replace(":7}", ":8}");
    let run = db.usagectl(["record"]).stdin(&other).run();
    assert_eq!(run.code, 3, "{}", run.snapshot());
    db.usagectl(["aggregate"]).run().success();
    db.usagectl(["aggregate", "--rebuild"]).run().success();
    db.usagectl(["aggregate", "--verify"]).run().success();
    db.usagectl(["stats"]).run().success();
    let run = db.usagectl(["recommend"]).run().success();
    assert!(run.stdout.contains("VERCEL_KV"), "{}", run.stdout);
    assert_eq!(
        db.rows("SELECT total_requests, max_response_time FROM api_usage_aggregates WHERE aggregation_type = 'HOURLY'"),
        ["1|7"]
    );
}

#[rstest]
fn missing_triggers_are_restored_by_migrate(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values(true, false)] of_usage: bool,
) {
    let db = TestDatabase::migrated(engine);
    let whole = crate::support::whole_catalogue(&db);
    let (table, trigger) = match of_usage {
        true => ("api_usage", "usagectl_after_insert"),
        false => ("InfrastructureMetric", "usagectl_metrics_after_insert"),
    };
    let dirty = || {
        db.rows(match of_usage {
            true => "SELECT DISTINCT api_name, hour FROM usagectl_dirty_hours ORDER BY hour",
            false => "SELECT DISTINCT metric, day FROM usagectl_dirty_metric_days ORDER BY day",
        })
    };
    let insert = |id: &str, day: &str| {
        let at = format!("'{day}T10:30:00.000+00:00'");
        db.execute(&match of_usage {
            true => format!(
                "INSERT INTO api_usage (id, api_name, timestamp) VALUES ('{id}', 'tmdb', {at})"
            ),
            false => format!(
                "INSERT INTO \"InfrastructureMetric\" (id, service, metric, value, timestamp)
                 VALUES ('{id}', 'VERCEL_KV', 'STORAGE_MB', 1, {at})"
            ),
        });
    };
    db.execute(&match engine {
        Engine::Sqlite => format!("DROP TRIGGER {trigger}"),
        Engine::Postgresql => format!("DROP TRIGGER {trigger} ON \"{table}\""),
    });
    insert("missed", "2026-01-29");
    assert_eq!(dirty(), [""; 0]);
    let run = db.usagectl(["status"]).run();
    assert_eq!(run.code, 4);
    assert_eq!(
        lines(&run, "drift"),
        [format!("trigger {table}.{trigger} is missing")]
    );
    assert!(
        run.stderr.ends_with("next: usagectl migrate\n"),
        "{}",
        run.stderr
    );
    // The commands that depend on the marks point to the same cure.
    let depends = match of_usage {
        true => "aggregate",
        false => "collect",
    };
    let run = match of_usage {
        true => db.usagectl([depends]).run(),
        false => db.usagectl([depends, "status"]).run(),
    };
    assert_eq!(run.code, 4, "{}", run.snapshot());
    assert!(
        run.stderr.ends_with("next: usagectl migrate\n"),
        "{}",
        run.stderr
    );

    let run = db.usagectl(["migrate"]).run().success();
    assert!(
        run.stdout
            .starts_with(&format!("restored the triggers on {table}\n")),
        "{}",
        run.stdout
    );
    db.usagectl(["status"]).run().success();
    assert_eq!(crate::support::whole_catalogue(&db), whole);
    insert("marked", "2026-01-30");
    let days: Vec<String> = dirty();
    assert_eq!(days.len(), 2, "{days:?}");
    let run = db.usagectl(["migrate"]).run().success();
    assert_eq!(run.stdout, "nothing to do, 0 pending\n");
}

#[rstest]
fn missing_log_or_ledger_row_is_untrustworthy(#[values(Sqlite, Postgresql)] engine: Engine) {
    let ledger = match engine {
        Engine::Sqlite => "__diesel_schema_migrations",
        Engine::Postgresql => "usagectl.__diesel_schema_migrations",
    };
    for (sql, line) in [
        (
            "DELETE FROM usagectl_migration_log WHERE version = '20260101000000'".to_owned(),
            "unlogged: 20260101000000_create_api_usage is applied, but the log has no record of it",
        ),
        (
            "DROP TABLE usagectl_migration_log".to_owned(),
            "drift: table usagectl_migration_log is missing",
        ),
        (
            format!("DROP TABLE {ledger}"),
            "drift: table __diesel_schema_migrations is missing",
        ),
    ] {
        let db = TestDatabase::migrated(engine);
        db.execute(&sql);
        let run = db.usagectl(["status"]).run();
        assert_eq!(run.code, 4, "{}", run.snapshot());
        assert!(
            run.stdout.lines().any(|found| found == line),
            "{}",
            run.stdout
        );
        assert!(
            run.stderr.ends_with("next: usagectl migrate --adopt\n"),
            "{}",
            run.stderr
        );
    }
}

#[rstest]
fn pending_migrations_are_allowed_on_request(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.usagectl(["rollback", "--yes"]).run().success();
    assert_eq!(db.usagectl(["status"]).run().code, 3);
    db.usagectl(["status", "--allow-pending"]).run().success();
    db.usagectl(["status", "--allow-pending", "--wait", "1h"])
        .run()
        .success();
    db.execute("DROP INDEX api_usage_success_timestamp_idx");
    assert_eq!(db.usagectl(["status", "--allow-pending"]).run().code, 4);
}

/// A rollback of the deployment must not stop recording.
#[rstest]
fn older_version_reads_and_records_into_newer_database(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let ledger = match engine {
        Engine::Sqlite => "__diesel_schema_migrations",
        Engine::Postgresql => "usagectl.__diesel_schema_migrations",
    };
    db.execute(&format!(
        "INSERT INTO {ledger} (version) VALUES ('20990101000000')"
    ));
    let run = db.usagectl(["status"]).run();
    assert_eq!(run.code, 4);
    assert!(
        run.stdout
            .contains("ahead: 1 migration is of a newer version ("),
        "{}",
        run.stdout
    );
    assert!(
        run.stderr.ends_with("or add --allow-ahead\n"),
        "{}",
        run.stderr
    );
    let run = db
        .usagectl(["status", "--allow-ahead", "--format", "json"])
        .run()
        .success();
    assert_eq!(json(&run)["verdict"], "ahead");

    let record = |id: &str| {
        let call =
            format!(r#"{{"id":"{id}","api_name":"tmdb","timestamp":"2026-01-31T10:00:00Z"}}"#);
        db.usagectl(["record"]).stdin(&call).run()
    };
    let warning = "warning: a newer version of usagectl has migrated the database (20990101000000); \
                   the tables this command uses are unchanged\n";
    let recorded = record("1").success();
    assert!(recorded.stderr.contains(warning), "{}", recorded.stderr);
    for reads in [
        &["stats"][..],
        &["alerts"],
        &["limits"],
        &["recommend"],
        &["aggregate", "--verify"],
        &["collect", "status"],
    ] {
        let run = db.usagectl(reads).run();
        assert!(run.stderr.contains(warning), "{reads:?}: {}", run.stderr);
        assert_ne!(run.code, 4, "{reads:?}");
    }
    for changes in [
        &["aggregate"][..],
        &["alerts", "check"],
        &["limits", "init"],
        &["migrate"],
    ] {
        let run = db.usagectl(changes).run();
        assert_eq!(run.code, 4, "{changes:?}: {}", run.snapshot());
    }
    // A table that only other commands use.
    db.execute("ALTER TABLE api_alerts DROP COLUMN threshold");
    record("2").success();
    assert_eq!(db.usagectl(["stats"]).run().code, 4);
    db.execute("ALTER TABLE api_usage DROP COLUMN error_message");
    assert_eq!(record("3").code, 4);
    assert_eq!(db.usagectl(["status", "--allow-ahead"]).run().code, 4);
    assert_eq!(db.rows("SELECT id FROM api_usage ORDER BY id"), ["1", "2"]);
}

#[test]
fn verify_finds_defects_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    let verify = || db.usagectl(["status", "--verify"]).run();
    verify().success();
    let role = OtherRole::new(&db);
    db.execute(&format!(
        "INSERT INTO api_usage (id, api_name, endpoint, timestamp) VALUES ('1', 'tmdb', '/', now()), ('2', 'tmdb', '/', now());
         GRANT USAGE ON SCHEMA public TO {role};
         GRANT USAGE, CREATE ON SCHEMA usagectl TO {role};
         ALTER TABLE api_usage ADD CONSTRAINT positive CHECK (status_code > 0) NOT VALID;
         ALTER TABLE api_alerts SET UNLOGGED;
         ALTER TABLE \"InfrastructureLimit\" ENABLE ROW LEVEL SECURITY;
         ALTER FUNCTION usagectl.usagectl_mark_new_rows() OWNER TO {role};
         ALTER TABLE usagectl.usagectl_channels OWNER TO {role};
         ALTER SEQUENCE usagectl.usagectl_migration_log_id_seq RESTART WITH 3;
         SELECT nextval('usagectl.usagectl_migration_log_id_seq');
         GRANT SELECT ON ALL TABLES IN SCHEMA public, usagectl TO {role};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA usagectl TO {role}",
        role = role.name
    ));
    let unique = "CREATE UNIQUE INDEX CONCURRENTLY own ON public.api_usage (endpoint)";
    let Db::Pg(mut postgres) = db.open() else {
        panic!("the test is about PostgreSQL");
    };
    let created = postgres.outside_transaction(|connection| connection.batch_execute(unique));
    assert!(created.is_err());
    let newest = db
        .rows("SELECT max(id) FROM usagectl_migration_log")
        .concat();
    db.usagectl(["status"]).run().success();
    let run = role.usagectl(["status", "--verify"]).run();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    assert!(
        run.stderr.ends_with(
            "next: remove the defects listed above, then run usagectl status --verify\n"
        ),
        "{}",
        run.stderr
    );
    let findings: Vec<&str> = run
        .stdout
        .lines()
        .filter(|line| line.starts_with("defect: ") || line.starts_with("  fix: "))
        .collect();
    // The SQL that is offered removes them.
    db.execute("DELETE FROM api_usage WHERE id = '2'");
    for line in &findings {
        let sql = line.strip_prefix("  fix: ").unwrap_or_default();
        for statement in sql.split_inclusive(';') {
            db.execute(statement);
        }
    }
    let again = role.usagectl(["status", "--verify"]).run();
    db.execute("ALTER FUNCTION usagectl.usagectl_mark_new_rows() OWNER TO CURRENT_USER");
    assert_eq!(lines(&again, "defect"), [""; 0], "{}", again.stdout);
    verify().success();
    assert_eq!(
        findings
            .join("\n")
            .replace(&role.name, "[role]")
            .replace(&format!("row {newest},"), "row [newest],")
            .replace(&format!(" {newest});"), " [newest]);"),
        "\
defect: constraint positive of api_usage is not validated
  fix: ALTER TABLE public.api_usage VALIDATE CONSTRAINT positive;
defect: function usagectl_mark_new_rows runs as [role], who may not insert into usagectl.usagectl_dirty_hours
  fix: GRANT USAGE ON SCHEMA usagectl TO [role]; GRANT INSERT ON usagectl.usagectl_dirty_hours TO [role];
defect: index own on api_usage is invalid
  fix: REINDEX INDEX CONCURRENTLY public.own;
defect: table InfrastructureLimit has row security, and no policy allows SELECT to [role]
  fix: CREATE POLICY usagectl_select_[role] ON public.\"InfrastructureLimit\" FOR SELECT TO [role] USING (true);
defect: table api_alerts is unlogged: a crash empties it
  fix: ALTER TABLE public.api_alerts SET LOGGED;
defect: table usagectl_channels is owned by [role], the migration ledger by app
  fix: ALTER TABLE usagectl.usagectl_channels OWNER TO app;
defect: table usagectl_migration_log has row [newest], but its sequence is at 3
  fix: SELECT setval('usagectl.usagectl_migration_log_id_seq', [newest]);"
    );
}

#[test]
fn sessions_that_fire_no_triggers_are_a_defect_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    let role = OtherRole::new(&db);
    let set = |object: &str, value: &str| {
        role.administer(&[&format!(
            "DO $$ BEGIN EXECUTE format('ALTER {object} SET session_replication_role = {value}', current_database()); END $$"
        )]);
    };
    set("DATABASE %I", "replica");
    set(&format!("ROLE {} IN DATABASE %I", role.name), "''Replica''");
    let run = db.usagectl(["status", "--verify"]).run();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    let fixes = lines(&run, "  fix");
    assert_eq!(fixes.len(), 2, "{}", run.snapshot());
    for fix in &fixes {
        role.administer(&[fix]);
    }
    db.usagectl(["status", "--verify"]).run().success();
}

#[test]
fn server_whose_sessions_fire_no_triggers_is_a_defect_postgresql() {
    let server = Server::configured("session_replication_role = replica");
    server.administer(&["CREATE DATABASE shop OWNER app"]);
    let url = server.url("shop");
    let sandbox = Sandbox::new();
    let usagectl = |args: &[&str]| sandbox.usagectl(args).database(&url).run();
    usagectl(&["migrate"]).success();
    let run = usagectl(&["status", "--verify"]);
    assert_eq!(run.code, 4, "{}", run.snapshot());
    let fixes = lines(&run, "  fix");
    assert_eq!(fixes.len(), 1, "{}", run.snapshot());
    server.administer_in("shop", &fixes);
    usagectl(&["status", "--verify"]).success();
}

#[test]
fn row_security_is_reported_for_each_command_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    let role = OtherRole::new(&db);
    role.administer(&[&format!(
        "GRANT USAGE ON SCHEMA public, usagectl TO {0};
         GRANT ALL ON ALL TABLES IN SCHEMA public, usagectl TO {0};
         GRANT ALL ON ALL SEQUENCES IN SCHEMA usagectl TO {0}",
        role.name
    )]);
    db.execute(
        "ALTER TABLE api_usage ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON api_usage FOR SELECT USING (true)",
    );
    // The owner is not subject to it.
    db.usagectl(["status", "--verify"]).run().success();
    let verify = || role.usagectl(["status", "--verify"]).run();
    let run = verify();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    let denied = ["DELETE", "INSERT", "UPDATE"].map(|command| {
        let role = &role.name;
        format!("table api_usage has row security, and no policy allows {command} to {role}")
    });
    assert_eq!(lines(&run, "defect"), denied);
    let record = || role.usagectl(["record", "--api", "tmdb"]).run();
    let refused = record();
    assert_eq!(refused.code, 1, "{}", refused.snapshot());
    let reason = format!("row security has no policy for the role `{}`", role.name);
    assert!(refused.stderr.contains(&reason), "{}", refused.snapshot());
    let (_, next) = refused.stderr.split_once("next: as a superuser, ").unwrap();
    assert_eq!(next.matches("CREATE POLICY").count(), 1, "{next}");
    db.execute(next);
    record().success();
    let run = verify();
    for fix in run
        .stdout
        .lines()
        .filter_map(|it| it.strip_prefix("  fix: "))
    {
        db.execute(fix);
    }
    verify().success();
}

#[rstest]
fn verify_finds_triggers_of_an_interrupted_export(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.execute(match engine {
        Sqlite => {
            "CREATE TABLE usagectl_export_1 (key);
             CREATE TRIGGER usagectl_export_1_delete AFTER DELETE ON api_alerts
             BEGIN INSERT INTO usagectl_export_1 VALUES (old.id); END"
        }
        Postgresql => {
            "CREATE UNLOGGED TABLE usagectl.usagectl_export_1 (key text);
             CREATE FUNCTION usagectl.usagectl_export_1() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO usagectl.usagectl_export_1 VALUES (old.id); RETURN NULL; END';
             CREATE TRIGGER usagectl_export_1_delete AFTER DELETE ON usagectl.usagectl_channels
             FOR EACH ROW EXECUTE FUNCTION usagectl.usagectl_export_1()"
        }
    });
    let verify = || db.usagectl(["status", "--verify"]).run();
    let run = verify();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    let defect = "capture usagectl_export_1 records each change for an export: unless `usagectl rollback` is running, \
                  it was left by an interrupted one";
    assert_eq!(lines(&run, "defect"), [defect]);
    let fix = run.stdout.lines().find_map(|it| it.strip_prefix("  fix: "));
    // In a session with any search path.
    db.run_script(fix.unwrap());
    verify().success();
}

#[test]
fn infinite_timestamps_are_counted_as_unreadable_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    db.execute(
        "INSERT INTO api_usage (id, api_name, timestamp) VALUES ('1', 'tmdb', '-infinity'),
             ('2', 'tmdb', 'infinity'), ('3', 'tmdb', '4000-01-01 BC'), ('4', 'tmdb', '2026-01-31 11:00')",
    );
    let unreadable = || {
        let run = db
            .usagectl(["status", "--verify", "--format", "json"])
            .run();
        let status = json(&run.success());
        let oldest = &status["rollups"]["oldest"];
        (status["unreadable_timestamps"].clone(), oldest.clone())
    };
    assert_eq!(unreadable().0, 3);
    db.usagectl(["alerts", "check"]).run().success();
    db.usagectl(["aggregate"]).run().success();
    assert_eq!(unreadable(), (3.into(), Value::Null));
}

/// Between the two steps the triggers are dropped, on which the utilization of limits depends.
#[rstest]
fn interrupted_rollback_is_named_by_every_command(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.usagectl(["limits", "init", "--plan", "vercel=pro"])
        .run()
        .success();
    let killed = db
        .usagectl(["rollback", "--steps", "2", "--yes", "--accept-data-loss"])
        .env("USAGECTL_FAULT", "kill:committed:2")
        .run();
    assert_eq!(killed.code, 137, "{}", killed.snapshot());
    let next = "next: usagectl rollback --to add_alerting\n";
    let status = db.usagectl(["status"]).run();
    assert_eq!(status.code, 4, "{}", status.snapshot());
    let state = "partial (down at step 2 of 2)";
    assert!(status.stdout.contains(state), "{}", status.stdout);
    assert!(status.stderr.ends_with(next), "{}", status.stderr);
    for command in [
        &["record", "--api", "tmdb"] as &[&str],
        &["aggregate"],
        &["stats"],
        &["limits", "check"],
        &["migrate"],
    ] {
        let run = db.usagectl(command).run();
        assert_eq!(run.code, 4, "{}", run.snapshot());
        let error = "error: 20260203000000_add_capacity is partly reverted\n";
        assert_eq!(run.stderr, format!("{error}{next}"), "{command:?}");
    }
    db.usagectl(["rollback", "--yes", "--accept-data-loss"])
        .run()
        .success();
    db.usagectl(["migrate"]).run().success();
}

#[test]
fn verify_finds_damaged_file_sqlite() {
    let db = TestDatabase::migrated(Engine::Sqlite);
    db.usagectl(["status", "--verify"]).run().success();
    db.execute(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'usagectl_channels')
         WHERE name = 'usagectl_counters'",
    );
    let run = db.usagectl(["status", "--verify"]).run();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    assert!(
        lines(&run, "defect")
            .iter()
            .any(|line| line.starts_with("file is damaged: ")),
        "{}",
        run.stdout
    );
}

/// Rows that the application writes with values of its own stop no command and are kept.
#[rstest]
#[case::service_of_limit(
    "InfrastructureLimit.service", "VERCEL_CRON",
    "INSERT INTO \"InfrastructureLimit\" (id, service, metric, \"currentPlan\", \"limitValue\", \"updatedAt\")
     VALUES ('x', 'VERCEL_CRON', 'STORAGE_MB', 'free', 1, '2026-01-01T00:00:00.000+00:00')"
)]
#[case::metric_of_limit(
    "InfrastructureLimit.metric", "WATTS",
    "INSERT INTO \"InfrastructureLimit\" (id, service, metric, \"currentPlan\", \"limitValue\", \"updatedAt\")
     VALUES ('x', 'VERCEL_KV', 'WATTS', 'free', 1, '2026-01-01T00:00:00.000+00:00')"
)]
#[case::service_of_metric(
    "InfrastructureMetric.service",
    "AI_ANTHROPIC",
    "INSERT INTO \"InfrastructureMetric\" (id, service, metric, value, timestamp)
     VALUES ('x', 'AI_ANTHROPIC', 'COST_USD', 1, '2026-01-01T00:00:00.000+00:00')"
)]
#[case::metric_of_metric(
    "InfrastructureMetric.metric",
    "TOKENS",
    "INSERT INTO \"InfrastructureMetric\" (id, service, metric, value, timestamp)
     VALUES ('x', 'AI_OPENAI', 'TOKENS', 1, '2026-01-01T00:00:00.000+00:00')"
)]
#[case::service_of_recommendation(
    "UpgradeRecommendation.service",
    "VERCEL_CRON",
    "INSERT INTO \"UpgradeRecommendation\"
         (id, service, \"currentPlan\", \"recommendedPlan\", priority, reason, \"updatedAt\")
     VALUES ('x', 'VERCEL_CRON', 'free', 'pro', 'HIGH', 'full', '2026-01-01T00:00:00.000+00:00')"
)]
#[case::metric_of_recommendation(
    "UpgradeRecommendation.metric", "WATTS",
    "INSERT INTO \"UpgradeRecommendation\"
         (id, service, metric, \"currentPlan\", \"recommendedPlan\", priority, reason, \"updatedAt\")
     VALUES ('x', 'VERCEL_KV', 'WATTS', 'free', 'pro', 'HIGH', 'full', '2026-01-01T00:00:00.000+00:00')"
)]
#[case::priority(
    "UpgradeRecommendation.priority",
    "URGENT",
    "INSERT INTO \"UpgradeRecommendation\"
         (id, service, \"currentPlan\", \"recommendedPlan\", priority, reason, \"updatedAt\")
     VALUES ('x', 'VERCEL_KV', 'free', 'pro', 'URGENT', 'full', '2026-01-01T00:00:00.000+00:00')"
)]
#[case::status(
    "UpgradeRecommendation.status", "ARCHIVED",
    "INSERT INTO \"UpgradeRecommendation\"
         (id, service, \"currentPlan\", \"recommendedPlan\", priority, status, reason, \"updatedAt\")
     VALUES ('x', 'VERCEL_KV', 'free', 'pro', 'HIGH', 'ARCHIVED', 'full', '2026-01-01T00:00:00.000+00:00')"
)]
fn rows_with_unknown_values_are_kept_and_skipped(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[case] column: &str,
    #[case] value: &str,
    #[case] insert: &str,
) {
    let db = TestDatabase::migrated(engine);
    if engine == Engine::Postgresql {
        let set = match column.rsplit('.').next().unwrap() {
            "service" => "InfrastructureService",
            "metric" => "MetricType",
            "priority" => "RecommendationPriority",
            _ => "RecommendationStatus",
        };
        db.execute(&format!("ALTER TYPE \"{set}\" ADD VALUE '{value}'"));
    }
    db.usagectl(["limits", "init"]).run().success();
    db.usagectl([
        "collect",
        "set",
        "--service",
        "VERCEL_KV",
        "--metric",
        "STORAGE_MB",
        "200",
    ])
    .run()
    .success();
    db.execute(insert);
    let (table, column_name) = column.split_once('.').unwrap();
    let set = column_name;
    let stored = || {
        db.rows(&format!(
            "SELECT id, CAST({column_name} AS TEXT) FROM \"{table}\" WHERE id = 'x'"
        ))
    };
    let expected = [format!("x|{value}")];
    let mut warned = Vec::new();
    for command in [
        "limits",
        "limits list",
        "limits check",
        "limits init",
        "limits audit",
        "limits show upstash",
        "limits set --service VERCEL_KV --metric STORAGE_MB --plan free 300",
        "collect status",
        "collect prune --older-than 1d",
        "recommend run",
        "recommend",
        "recommend list --all",
        "recommend forecast",
        "recommend backtest",
        "status",
    ] {
        let arguments: Vec<&str> = command.split(' ').collect();
        let run = db.usagectl(&arguments).run();
        // Limits without measurements, or nothing to forecast.
        assert!(
            ![1, 2, 4].contains(&run.code),
            "{command}: {}",
            run.snapshot()
        );
        let warning = format!(
            "warning: rows with {set} {value} are skipped: unknown to this version of usagectl"
        );
        let warnings = run.stderr.lines().filter(|line| **line == warning);
        match warnings.count() {
            0 => {}
            1 => warned.push(command),
            _ => panic!("{command}: {}", run.stderr),
        }
        assert_eq!(stored(), expected, "{command}");
    }
    assert!(!warned.is_empty());
    let run = db.usagectl(["status"]).run().success();
    assert_eq!(
        lines(&run, "unknown"),
        [format!(
            "{column} has {value}; its rows are kept and skipped"
        )]
    );
    let json = json(&db.usagectl(["status", "--format", "json"]).run());
    assert_eq!(json["unknown_values"][0]["column"], column);
    assert_eq!(json["unknown_values"][0]["value"], value);
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

#[test]
fn wait_ends_at_once_where_it_cannot_help() {
    let sandbox = Sandbox::new();
    let text = "longer than the header of a database".repeat(9);
    sandbox.file("notes.txt", text);
    let mut cases = vec![
        ("sqlite:.", 7),
        ("sqlite:notes.txt", 7),
        ("sqlite:notes.txt/usage.db", 7),
        ("mysql://127.0.0.1/shop", 2),
        ("postgresql://127.0.0.1:1/shop?connect_timeout=soon", 7),
    ];
    if !cfg!(feature = "tls") {
        cases.push(("postgresql://127.0.0.1:1/shop?sslmode=require", 7));
    }
    for (url, code) in cases {
        let status = sandbox.usagectl(["status", "--wait", "1h"]);
        let run = status.database(url).run();
        assert_eq!(run.code, code, "{}", run.snapshot());
    }
}

/// Drift of other tables does not hide them.
#[rstest]
fn recommendations_and_stale_metrics_are_shown_beside_other_drift(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values(
        "DROP TABLE api_alerts",
        "DROP TABLE usagectl_inputs",
        "DROP INDEX \"InfrastructureMetric_timestamp_idx\"",
        "ALTER TABLE api_usage_aggregates DROP COLUMN timeout_errors"
    )]
    drift: &str,
) {
    let db = TestDatabase::migrated(engine);
    let run = |command: &str, now: &str| db.usagectl(command.split(' ')).now(now).run();
    let then = "2026-01-31T12:00:00Z";
    run("limits init --plan upstash=free", then).success();
    let set = "collect set --service VERCEL_KV --metric STORAGE_MB 250";
    run(set, then).success();
    run("recommend run", then).success();
    db.execute("INSERT INTO api_usage (id, api_name, timestamp) VALUES ('1', 'tmdb', '2026-01-31T10:30:00.000+00:00')");
    db.execute(drift);
    let status = run("status", "2026-02-10T12:00:00Z");
    assert_eq!(status.code, 4, "{}", status.snapshot());
    for line in ["recommendations", "stale", "roll-ups"] {
        assert_eq!(
            lines(&status, line).len(),
            1,
            "{line}: {}",
            status.snapshot()
        );
    }
}

/// Drift of what they are read from.
#[rstest]
fn recommendations_and_stale_metrics_are_left_out_where_they_are_unreadable(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values(
        "DROP TABLE usagectl_limit_origins",
        "DROP TABLE usagectl_metric_days",
        "DROP TABLE usagectl_catalogues",
        "ALTER TABLE \"InfrastructureMetric\" RENAME COLUMN value TO amount",
        "DELETE FROM usagectl_limit_origins; DROP TABLE \"InfrastructureLimit\""
    )]
    drift: &str,
) {
    let db = TestDatabase::migrated(engine);
    db.execute(drift);
    let status = db.usagectl(["status"]).run();
    assert_eq!(status.code, 4, "{}", status.snapshot());
    assert_eq!(
        json(&db.usagectl(["status", "--format", "json"]).run())["recommendations"],
        Value::Null
    );
}

#[rstest]
#[case::missing_file("sqlite:usage.db")]
#[case::no_server("postgresql://127.0.0.1:1/shop")]
#[case::no_host("postgresql://nowhere.invalid/shop")]
fn wait_lasts_as_long_as_it_can_help(#[case] url: &str) {
    let began = Instant::now();
    let run = Sandbox::new()
        .usagectl(["status", "--wait", "1s"])
        .database(url)
        .run();
    assert_eq!(run.code, 7, "{}", run.snapshot());
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "{}",
        run.snapshot()
    );
}
