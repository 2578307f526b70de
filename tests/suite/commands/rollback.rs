//! `rollback`: the plan, consent, and that nothing changes without it.

use std::io::{BufRead, BufReader, Read};

use crate::support::assert_snapshot;
use usagectl::store::db::Db;
use usagectl::store::lock::RunKind;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase, wait_for_rows, whole_catalogue};
use rstest::rstest;

const TO_APPLICATION_TABLES: [&str; 3] = ["rollback", "--to", "add_infrastructure_monitoring"];

/// Three calls and one alert; of the calls one has a method of its own, one is cached.
fn put_rows(db: &TestDatabase) {
    db.execute(
        "INSERT INTO api_usage (id, api_name, timestamp, method, cached, response_time) VALUES
             ('1', 'tmdb', '2026-01-31T11:00:00.000+00:00', 'GET', false, 12),
             ('2', 'tmdb', '2026-01-31T11:00:00.000+00:00', 'POST', true, 0),
             ('3', 'tmdb', '2026-01-31T11:00:00.000+00:00', NULL, false, NULL);
         INSERT INTO api_alerts (id, api_name, alert_type, threshold, period, updated_at) VALUES
             ('1', 'tmdb', 'ERROR_SPIKE', 1, 'HOUR', '2026-01-31T11:00:00.000+00:00')",
    );
}

#[rstest]
fn plan_counts_lost_rows_and_values(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rows(&db);
    db.usagectl(TO_APPLICATION_TABLES)
        .arg("--yes")
        .run()
        .success();
    let before = whole_catalogue(&db);
    let run = db
        .usagectl(["rollback", "--to", "create_api_usage", "--dry-run"])
        .run()
        .success();
    let enhance = run.stdout.find("revert 20260123210146").unwrap();
    // The steps differ between the engines.
    let (enhance, _) = run.stdout[enhance..].split_once("  STEP ").unwrap();
    assert_snapshot!(enhance, @"
        revert 20260123210146_enhance_api_monitoring
          drop table api_alerts                1 row
          drop table api_usage_aggregates      0 rows
          drop column api_usage.cached         1 of 3 values
          drop column api_usage.cost_credits   0 of 3 values
          drop column api_usage.error_message  0 of 3 values
          drop column api_usage.error_type     0 of 3 values
          drop column api_usage.method         1 of 3 values
          drop column api_usage.request_size   0 of 3 values
          drop column api_usage.response_size  0 of 3 values
          drop column api_usage.response_time  2 of 3 values
          drop column api_usage.user_id        0 of 3 values
          drop index api_usage (api_name, endpoint, timestamp)
          drop index api_usage (api_name, success, timestamp)
          drop index api_usage (api_name, timestamp desc)
          drop index api_usage (success, timestamp)
          drop index api_usage (timestamp desc)
          create index api_usage (api_name, timestamp)
          create index api_usage (timestamp)
        ");
    assert_eq!(whole_catalogue(&db), before);

    let run = db
        .usagectl([
            "rollback",
            "--to",
            "create_api_usage",
            "--dry-run",
            "--format",
            "json",
        ])
        .run();
    let plan: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&plan["action"], &plan["data_loss"]),
        (&"rollback".into(), &true.into())
    );
    let enhance = &plan["migrations"][1];
    assert_eq!(enhance["name"], "enhance_api_monitoring");
    assert_eq!(enhance["changes"][0]["object"], "table api_alerts");
    assert_eq!(enhance["changes"][0]["lost"], 1);
}

#[rstest]
fn rollback_without_consent_changes_nothing(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rows(&db);
    let whole = whole_catalogue(&db);
    let to_the_start = ["rollback", "--to", "create_api_usage"];
    // Nothing is lost with the first two steps, much with the others.
    for (flags, why) in [
        (["", ""], "data would be lost"),
        (["--yes", ""], "data would be lost"),
        (["--accept-data-loss", ""], "stdin is not a terminal"),
    ] {
        let flags = flags.iter().filter(|flag| !flag.is_empty());
        let run = flags
            .fold(db.usagectl(to_the_start), |run, flag| run.arg(flag))
            .run();
        assert_eq!(run.code, 5, "{}", run.snapshot());
        let consent = match why {
            "data would be lost" => "--export DIR",
            _ => "--accept-data-loss",
        };
        assert_eq!(
            run.stderr,
            format!(
                "error: {why}; nothing was changed\nnext: usagectl rollback --to create_api_usage --yes {consent}\n"
            )
        );
        // The plan is printed all the same.
        assert!(
            run.stdout.contains("drop table api_alerts"),
            "{}",
            run.stdout
        );
        assert_eq!(whole_catalogue(&db), whole);
    }
    let run = db.usagectl(to_the_start).arg("--prisma-history").run();
    let expected = "error: the database has no table _prisma_migrations, which is Prisma's ledger up to version 7; nothing was changed\n\
                    next: usagectl rollback --to create_api_usage\n";
    assert_eq!((run.code, run.stderr.as_str()), (5, expected));
    let run = db.usagectl(TO_APPLICATION_TABLES).run();
    assert_eq!(run.code, 5);
    assert_eq!(
        run.stderr,
        "error: stdin is not a terminal; nothing was changed\nnext: usagectl rollback --to add_infrastructure_monitoring --yes\n"
    );
    assert_eq!(whole_catalogue(&db), whole);

    let run = db
        .usagectl(TO_APPLICATION_TABLES)
        .arg("--yes")
        .run()
        .success();
    assert!(
        run.stdout.ends_with("\n5 migrations reverted\n"),
        "{}",
        run.stdout
    );
    let run = db
        .usagectl(to_the_start)
        .arg("--yes")
        .arg("--accept-data-loss")
        .run()
        .success();
    assert!(
        run.stdout.ends_with("\n2 migrations reverted\n"),
        "{}",
        run.stdout
    );
    assert_eq!(db.rows("SELECT count(*) FROM api_usage"), ["3"]);
}

#[rstest]
fn roll_ups_are_data_loss_and_dirty_hours_are_not(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rows(&db);
    let run = db
        .usagectl(TO_APPLICATION_TABLES)
        .arg("--dry-run")
        .run()
        .success();
    let marks = run
        .stdout
        .lines()
        .find(|line| line.contains("usagectl_dirty_hours"))
        .unwrap();
    assert!(
        marks.ends_with(" 1 row, rebuilt by the next migrate"),
        "{marks}"
    );
    let bytes = match db.open() {
        Db::Pg(_) => "'\\x00'",
        Db::Sqlite(_) => "x'00'",
    };
    db.execute(&format!(
        "INSERT INTO usagectl_rollups VALUES ('HOURLY', 'API', 'tmdb', '2026-01-31T11:00:00.000+00:00', '',
                 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, {bytes}, NULL, NULL, '0', '0')"
    ));
    let run = db.usagectl(TO_APPLICATION_TABLES).arg("--yes").run();
    assert_eq!(run.code, 5, "{}", run.snapshot());
}

#[rstest]
fn migrate_after_rollback_marks_every_hour_dirty(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rows(&db);
    db.usagectl(TO_APPLICATION_TABLES)
        .arg("--yes")
        .run()
        .success();
    db.usagectl(["migrate"]).run().success();
    assert_eq!(
        db.rows("SELECT DISTINCT api_name, hour FROM usagectl_dirty_hours"),
        ["tmdb|2026-01-31T11:00:00.000+00:00"]
    );
}

#[rstest]
fn row_added_after_a_plan_without_loss_stops_rollback(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let lock = db.lock(RunKind::Migrate);
    let mut run = db.usagectl(["rollback", "--all", "--yes", "-q"]).spawn();
    // The rows are counted before the plan is printed.
    let mut plan = BufReader::new(run.child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("drop table api_usage ") {
        line.clear();
        assert!(
            plan.read_line(&mut line).unwrap() > 0,
            "the plan ends early"
        );
    }
    db.execute("INSERT INTO api_usage (id, api_name, timestamp) VALUES ('4', 'tmdb', '2026-01-31T11:00:00.000+00:00')");
    drop(lock);
    plan.read_to_end(&mut Vec::new()).unwrap();
    let run = run.wait();
    assert_snapshot!(run.snapshot(), @"
        ------- stderr -------
        error: table api_usage changed after the plan was printed
        next: usagectl rollback --dry-run
        [exit status: 5]
        ");
    assert_eq!(db.rows("SELECT count(*) FROM api_usage"), ["1"]);
}

#[rstest]
fn index_created_after_the_plan_stops_rollback(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rows(&db);
    let lock = db.lock(RunKind::Migrate);
    let mut run = db
        .usagectl(["rollback", "--all", "--yes", "--accept-data-loss", "-q"])
        .spawn();
    let mut plan = BufReader::new(run.child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("drop table api_usage ") {
        line.clear();
        assert!(
            plan.read_line(&mut line).unwrap() > 0,
            "the plan ends early"
        );
    }
    db.execute("CREATE INDEX mine ON api_usage (response_time)");
    let whole = whole_catalogue(&db);
    drop(lock);
    plan.read_to_end(&mut Vec::new()).unwrap();
    assert_snapshot!(run.wait().snapshot(), @"
        ------- stderr -------
        error: index mine changed after the plan was printed
        next: usagectl rollback --dry-run
        [exit status: 5]
        ");
    assert_eq!(whole_catalogue(&db), whole);
}

#[rstest]
fn rollback_whose_plan_is_not_read_is_refused(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let program = env!("CARGO_BIN_EXE_usagectl");
    let script = format!("sleep 1; {program} rollback --all --yes --accept-data-loss; echo $? >&2");
    let program = db.sandbox().command("sh").env("DATABASE_URL", db.url());
    let run = program.args(["-c", &format!("({script}) | true")]).run();
    assert_eq!(
        run.stderr,
        "error: stdout is closed; nothing was changed\n\
         next: run the same command again, and read all of its output\n5\n"
    );
    db.usagectl(["status"]).run().success();
}

#[rstest]
fn own_objects_of_a_partly_reverted_migration_are_no_loss(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let rollback = ["rollback", "--all", "--yes", "--accept-data-loss"];
    // Until the first step of the migration that creates our tables is reverted, and the second is not.
    let partial = (1..300).find(|point| {
        let run = db
            .usagectl(rollback)
            .env("USAGECTL_FAULT", "kill:committed:1")
            .run();
        assert_ne!(run.code, 0, "at run {point}");
        let status = db.usagectl(["status"]).run().stdout;
        let mut lines = status.lines();
        lines.any(|line| {
            line.contains("create_usagectl_bookkeeping") && line.contains("partial (down")
        })
    });
    assert!(partial.is_some());
    let plan = db
        .usagectl(["rollback", "--all", "--dry-run"])
        .run()
        .success();
    assert!(
        !plan.stdout.contains("which no migration created"),
        "{}",
        plan.stdout
    );
}

#[rstest]
fn view_that_uses_a_dropped_column_is_refused_in_the_plan(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    db.execute("CREATE VIEW slow_calls AS SELECT id FROM api_usage WHERE response_time > 1000");
    let whole = whole_catalogue(&db);
    let run = db
        .usagectl(["rollback", "--all", "--dry-run"])
        .run()
        .success();
    let line = "  blocked by view slow_calls, which uses column api_usage.response_time\n";
    assert!(run.stdout.contains(line), "{}", run.stdout);
    let run = db
        .usagectl(["rollback", "--all", "--yes", "--accept-data-loss"])
        .run();
    assert_eq!(run.code, 5, "{}", run.snapshot());
    assert_eq!(
        run.stderr,
        "error: view slow_calls uses column api_usage.response_time; nothing was changed\n\
         next: DROP VIEW \"slow_calls\"; then run the same command again\n"
            .replace(
                "\"slow_calls\"",
                match engine {
                    Sqlite => "\"slow_calls\"",
                    Postgresql => "public.slow_calls",
                }
            )
    );
    // Nor are the migrations before that one in the plan.
    assert_eq!(whole_catalogue(&db), whole);
    db.usagectl(["status"]).run().success();
}

#[rstest]
fn all_objects_that_prevent_a_rollback_are_listed_with_the_sql_that_drops_them(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    db.execute(
        "CREATE VIEW slow_calls AS SELECT id FROM api_usage WHERE response_time > 1000;
         CREATE VIEW slowest AS SELECT id FROM slow_calls;
         CREATE VIEW open_alerts AS SELECT id FROM api_alerts",
    );
    if engine == Postgresql {
        db.execute(
            "CREATE TABLE mine (alert TEXT REFERENCES api_alerts (id), kind \"MetricType\" DEFAULT 'LATENCY_MS');
             CREATE MATERIALIZED VIEW kept AS SELECT id FROM slowest;
             CREATE FUNCTION one(alert api_alerts) RETURNS text LANGUAGE sql AS 'SELECT (alert).id';
             CREATE DOMAIN kind AS \"MetricType\" CHECK (VALUE <> 'LATENCY_MS');
             CREATE DOMAIN kinds AS \"MetricType\"[];
             CREATE DOMAIN checked AS text CHECK (VALUE::\"MetricType\" IS NOT NULL);
             CREATE TYPE pair AS (alert api_alerts, kind kind);
             CREATE TYPE pairs AS (all_of pair[]);
             CREATE TYPE span AS RANGE (subtype = \"MetricType\");
             CREATE TABLE of_pair OF pair;
             CREATE FUNCTION first_of(kinds) RETURNS kind LANGUAGE sql AS 'SELECT NULL::kind';
             CREATE VIEW no_kind AS SELECT NULL::kind AS kind;
             ALTER TABLE mine ADD COLUMN pairs pairs, ADD COLUMN kinds \"MetricType\"[];
             CREATE FUNCTION label(\"MetricType\") RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1::text';
             CREATE FUNCTION twice(text) RETURNS text LANGUAGE sql IMMUTABLE
                 BEGIN ATOMIC SELECT label('LATENCY_MS') || $1; END;
             CREATE FUNCTION as_json(\"MetricType\") RETURNS json LANGUAGE sql AS 'SELECT to_json($1::text)';
             CREATE CAST (\"MetricType\" AS json) WITH FUNCTION as_json(\"MetricType\");
             CREATE FUNCTION is_named(\"MetricType\", text) RETURNS bool LANGUAGE sql AS 'SELECT $1::text = $2';
             CREATE OPERATOR === (LEFTARG = \"MetricType\", RIGHTARG = text, FUNCTION = is_named);
             CREATE VIEW named AS SELECT kind === 'x' AS x, label(kind) FROM mine;
             ALTER TABLE mine ADD COLUMN doubled text DEFAULT twice('a'), ADD COLUMN spans span_multirange;
             CREATE INDEX ON mine (twice(alert));
             INSERT INTO mine VALUES (NULL)",
        );
    } else {
        db.execute(
            "CREATE TABLE mine (
                 alert TEXT CONSTRAINT of_alert REFERENCES \"api_alerts\" (id) ON DELETE SET NULL NOT NULL, call TEXT,
                 FOREIGN KEY (call) REFERENCES api_usage (id)
             );
             CREATE INDEX of_mine ON mine (call);
             PRAGMA foreign_keys = OFF;
             INSERT INTO mine VALUES ('1', '2')",
        );
    }
    let whole = whole_catalogue(&db);
    let folder = db.sandbox().work().join("export");
    let rollback = || {
        let run = db.usagectl(["rollback", "--all", "--yes", "--export"]);
        run.arg(&folder).run()
    };
    let refused = rollback();
    assert_eq!(refused.code, 5, "{}", refused.snapshot());
    for object in ["view slow_calls", "view slowest", "view open_alerts"] {
        assert!(refused.stderr.contains(object), "{}", refused.stderr);
    }
    assert_eq!(whole_catalogue(&db), whole);
    assert!(!folder.exists());
    // The second time: the other foreign key of a SQLite table.
    for _ in 0..2 {
        let refused = rollback();
        let Some((_, next)) = refused.stderr.split_once("next: ") else {
            break;
        };
        let (sql, _) = next.split_once(" then run the same command again").unwrap();
        db.run_script(sql);
    }
    db.usagectl(["rollback", "--all"]).run().success();
    assert_eq!(db.rows("SELECT count(*) FROM mine"), ["1"]);
}

#[rstest]
fn foreign_key_to_a_dropped_table_is_refused_in_the_plan(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    db.execute("CREATE TABLE mine (alert TEXT REFERENCES api_alerts (id))");
    let run = db
        .usagectl(["rollback", "--to", "create_api_usage", "--yes"])
        .run();
    assert_eq!(run.code, 5, "{}", run.snapshot());
    assert!(run.stderr.contains("table api_alerts"), "{}", run.stderr);
    assert!(run.stderr.contains("of mine") || run.stderr.contains("of table mine"));
}

/// Everything else of PostgreSQL that can depend on a table.
#[test]
fn every_kind_of_dependent_is_listed_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    db.execute(
        "CREATE TABLE child () INHERITS (api_alerts);
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE FUNCTION g(api_alerts) RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE TRIGGER on_alert AFTER INSERT ON api_alerts FOR EACH ROW EXECUTE FUNCTION f();
         CREATE TRIGGER on_method AFTER UPDATE OF method ON api_usage FOR EACH ROW EXECUTE FUNCTION f();
         CREATE STATISTICS both_columns ON method, user_id FROM api_usage;
         CREATE POLICY mine ON api_alerts USING (enabled);
         CREATE PUBLICATION stream FOR TABLE api_alerts;
         CREATE RULE quiet AS ON DELETE TO api_alerts DO INSTEAD NOTHING;
         ALTER TABLE api_usage ADD CONSTRAINT positive CHECK (response_time > 0);
         ALTER TABLE api_usage ADD COLUMN short text GENERATED ALWAYS AS (left(method, 1)) STORED;
         ALTER TABLE api_usage ADD COLUMN service \"InfrastructureService\";
         CREATE MATERIALIZED VIEW counts AS SELECT count(user_id) FROM api_usage",
    );
    let run = db
        .usagectl(["rollback", "--to", "create_api_usage", "--dry-run"])
        .run()
        .success();
    let lines = run
        .stdout
        .lines()
        .filter(|line| line.contains("blocked by") || line.contains("which no migration created"));
    let lines: Vec<&str> = lines.map(str::trim).collect();
    assert_snapshot!(lines.join("\n"), @"
        blocked by column api_usage.service, which uses enum InfrastructureService
        blocked by column api_usage.short, which uses column api_usage.method
        drop constraint positive of api_usage, which no migration created
        blocked by function g(api_alerts), which uses table api_alerts
        drop rule quiet of api_alerts, which no migration created
        drop statistics both_columns, which no migration created
        blocked by table child, which uses table api_alerts
        drop trigger on_alert of api_alerts, which no migration created
        blocked by trigger on_method of api_usage, which uses column api_usage.method
        blocked by view counts, which uses column api_usage.user_id
        drop publication stream of api_alerts, which no migration created
        drop policy mine of api_alerts, which no migration created
        ");
}

/// The server knows no dependency of such a text.
#[test]
fn functions_whose_text_mentions_dropped_objects_are_listed_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    db.execute(
        "CREATE FUNCTION row_type() RETURNS text LANGUAGE plpgsql AS
             'DECLARE r api_usage%ROWTYPE; BEGIN SELECT * INTO r FROM api_usage; RETURN r.user_id; END';
         CREATE FUNCTION column_type() RETURNS int LANGUAGE plpgsql AS
             'DECLARE n public.api_usage.response_time%TYPE; BEGIN RETURN n; END';
         CREATE FUNCTION enum_type() RETURNS text LANGUAGE plpgsql AS
             'BEGIN RETURN ''DAILY''::\"MetricType\"; END';
         CREATE FUNCTION in_sql() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM API_ALERTS';
         CREATE FUNCTION of_trigger() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN NEW.method := upper(NEW.method); RETURN NEW; END';
         CREATE TRIGGER upper BEFORE INSERT ON api_usage FOR EACH ROW EXECUTE FUNCTION of_trigger();
         CREATE FUNCTION of_kept_columns() RETURNS bigint LANGUAGE plpgsql AS
             'BEGIN RETURN (SELECT count(endpoint) FROM api_usage); END';
         CREATE FUNCTION of_other_tables() RETURNS int LANGUAGE plpgsql AS 'DECLARE user_id int; BEGIN RETURN user_id; END'",
    );
    let rollback = ["rollback", "--to", "create_api_usage"];
    let plan = db.usagectl(rollback).arg("--dry-run").run().success();
    let lines = plan.stdout.lines().filter(|it| it.contains(" mentions "));
    let lines: Vec<&str> = lines.map(str::trim).collect();
    assert_snapshot!(lines.join("\n"), @"
    function enum_type() mentions enum MetricType: it may fail
    function column_type() mentions column api_usage.response_time: it may fail
    function in_sql() mentions table api_alerts: it may fail
    function of_trigger() mentions column api_usage.method: it may fail
    function row_type() mentions column api_usage.user_id: it may fail
    ");
    db.usagectl(rollback).arg("--yes").run().success();
}

#[rstest]
fn uncounted_rows_are_a_data_loss(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let run = db
        .usagectl(["rollback", "--all", "--yes", "--count-timeout", "0s"])
        .run();
    assert_eq!(run.code, 5, "{}", run.snapshot());
    let line = "drop table api_usage_aggregates      unknown number of rows";
    assert!(run.stdout.contains(line), "{}", run.stdout);
}

#[rstest]
fn script_begins_with_its_data_loss(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rows(&db);
    let sql = |target| {
        let arguments = ["rollback", "--to", target, "--sql"];
        db.usagectl(arguments).run().success().stdout
    };
    let lossy = sql("create_api_usage");
    assert!(
        lossy.starts_with("-- This script loses data.\n-- database "),
        "{lossy}"
    );
    assert!(
        lossy.contains("--   drop table api_alerts                1 row\n"),
        "{lossy}"
    );
    assert!(!sql("add_capacity").contains("loses data"));
}

/// The script of several migrations is printed before the first is reverted.
#[rstest]
fn script_leaves_the_schema_that_the_run_leaves(#[values(Sqlite, Postgresql)] engine: Engine) {
    let rolled_back = |target: &str, is_script: bool| {
        let db = TestDatabase::migrated(engine);
        put_rows(&db);
        db.execute(
            "CREATE INDEX of_method ON api_usage (method);
             CREATE INDEX of_id ON api_usage (endpoint, id)",
        );
        match is_script {
            true => {
                let sql = ["rollback", "--to", target, "--sql"];
                db.run_script(&db.usagectl(sql).run().success().stdout);
            }
            false => {
                let flags = ["--yes", "--accept-data-loss"];
                let run = db.usagectl(["rollback", "--to", target]).args(flags);
                run.run().success();
            }
        }
        if target == "create_api_usage" {
            db.execute("INSERT INTO api_usage (id, api_name) VALUES ('new', 'tmdb')");
        }
        db.usagectl(["migrate"]).run().success();
        db.usagectl(["status", "--verify"]).run().success();
        let flags = ["--to", target, "--yes", "--accept-data-loss"];
        db.usagectl(["rollback"]).args(flags).run().success();
        whole_catalogue(&db)
    };
    for target in ["add_infrastructure_monitoring", "create_api_usage"] {
        assert_eq!(rolled_back(target, true), rolled_back(target, false));
    }
}

#[rstest]
fn other_database_of_direct_url_requires_its_name(#[values(Sqlite, Postgresql)] engine: Engine) {
    let stage = TestDatabase::migrated(engine);
    let prod = TestDatabase::migrated(engine);
    let run = |flags: &[&str]| {
        let program = stage.usagectl(["rollback", "--yes"]);
        let program = program.env("DIRECT_URL", prod.url());
        flags.iter().fold(program, |run, flag| run.arg(flag)).run()
    };
    let whole = whole_catalogue(&prod);
    let refused = run(&[]);
    assert_eq!(refused.code, 5, "{}", refused.snapshot());
    assert!(
        refused.stderr.contains("error: DIRECT_URL is database "),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains(", but DATABASE_URL is database "));
    assert!(refused.stderr.contains("--confirm-database "));
    let wrong = run(&["--confirm-database", "other"]);
    assert_eq!(wrong.code, 5, "{}", wrong.snapshot());
    assert_eq!(whole_catalogue(&prod), whole);
    // A preview only warns.
    let preview = run(&["--dry-run"]);
    assert!(
        preview.stderr.contains("warning: DIRECT_URL is"),
        "{}",
        preview.stderr
    );
    let migrate = stage.usagectl(["migrate"]).env("DIRECT_URL", prod.url());
    assert_eq!(migrate.run().code, 5);
    let name = match engine {
        Sqlite => prod.url().strip_prefix("sqlite:").unwrap(),
        Postgresql => prod.url().rsplit('/').next().unwrap(),
    };
    let name = name.split('?').next().unwrap();
    let without_consent = stage.usagectl(["rollback", "--confirm-database", name]);
    let refused = without_consent.env("DIRECT_URL", prod.url()).run();
    assert!(
        refused.stderr.contains("rollback --confirm-database "),
        "{}",
        refused.stderr
    );
    assert_eq!(stage.usagectl(["rollback", "--steps", "0"]).run().code, 2);
    assert_eq!(run(&["--confirm-database", name]).code, 0);
    assert_ne!(whole_catalogue(&prod), whole);
    assert_eq!(whole_catalogue(&stage), whole);
}

#[test]
fn other_schema_of_direct_url_requires_its_name_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    let name = db.url().rsplit('/').next().unwrap();
    let name = name.split('?').next().unwrap();
    let joint = if db.url().contains('?') { '&' } else { '?' };
    let other = format!("{}{joint}schema=other", db.url());
    let run = |flags: &[&str]| {
        let program = db.usagectl(["migrate"]).env("DIRECT_URL", db.url());
        let program = program.env("DATABASE_URL", &other);
        flags.iter().fold(program, |run, flag| run.arg(flag)).run()
    };
    let qualified = format!("{name}.public");
    for flags in [&[] as &[&str], &["--confirm-database", name]] {
        let refused = run(flags);
        assert_eq!(refused.code, 5, "{}", refused.snapshot());
        let next = format!("add --confirm-database {qualified}\n");
        assert!(refused.stderr.ends_with(&next), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("schema other"),
            "{}",
            refused.stderr
        );
    }
    let confirmed = run(&["--confirm-database", &qualified]).success();
    assert!(
        confirmed.stderr.contains("warning: DIRECT_URL is"),
        "{}",
        confirmed.stderr
    );
}

#[rstest]
fn locked_table_is_busy_and_changes_nothing(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    let whole = whole_catalogue(&db);
    let mut other = db.open_transaction("SELECT count(*) FROM api_usage");
    let run = db
        .usagectl([
            "rollback",
            "--yes",
            "--lock-timeout",
            "20ms",
            "--lock-wait",
            "1s",
        ])
        .run();
    assert_eq!(run.code, 6, "{}", run.snapshot());
    other.batch_execute("ROLLBACK").unwrap();
    drop(other);
    assert_eq!(whole_catalogue(&db), whole);
}

/// A job that repeats the run may not revert more than was asked for.
#[test]
fn run_by_number_of_steps_is_continued_by_the_same_command_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    let mut other = db.open_transaction("SELECT count(*) FROM api_usage");
    let rollback = ["rollback", "--steps", "5", "--yes", "--accept-data-loss"];
    let run = db.usagectl(rollback).args(["--lock-wait", "1s"]).run();
    let failed = "error: 4 migrations reverted, the next one failed";
    let next = "next: run the same command again\n";
    assert!(
        run.code == 6 && run.stderr.contains(failed) && run.stderr.ends_with(next),
        "{}",
        run.snapshot()
    );
    other.batch_execute("ROLLBACK").unwrap();
    db.usagectl(rollback).run().success();
    let left = db.rows("SELECT version FROM usagectl.__diesel_schema_migrations");
    assert_eq!(left.len(), 3);
}

#[rstest]
fn nothing_to_revert_and_unknown_targets(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.usagectl(["rollback", "--all", "--yes"]).run().success();
    assert_snapshot!(db.usagectl(["rollback", "--yes"]).run().snapshot(), @"
        nothing to do
        [exit status: 0]
        ");
    assert_snapshot!(db.usagectl(["rollback", "--to", "create_api_usage"]).run().snapshot(), @"
        ------- stderr -------
        error: cannot roll back to 20260101000000_create_api_usage: it is not applied
        next: usagectl status
        [exit status: 5]
        ");
    assert_snapshot!(db.usagectl(["rollback", "--to", "1"]).run().snapshot(), @"
        ------- stderr -------
        error: unknown migration `1`; expected one of 20260101000000_create_api_usage, 20260123210146_enhance_api_monitoring, 20260124093000_add_infrastructure_monitoring, 20260201000000_create_usagectl_bookkeeping, 20260201000100_mark_existing_usage, 20260202000000_add_alerting, 20260203000000_add_capacity, 20260204000000_add_drop_reason
        next: usagectl status
        [exit status: 2]
        ");
}

#[rstest]
fn confirmation_on_a_terminal_is_required(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let whole = whole_catalogue(&db);
    // Ctrl-D ends the input.
    for answer in ["n\n", "\n", "yes please\n", "\u{4}"] {
        let run = db.usagectl(["rollback"]).run_on_terminal(answer);
        assert_eq!(run.code, 5, "{answer:?}: {}", run.snapshot());
        assert!(
            run.stderr.contains("? [y/N]") && run.stderr.contains("Change database "),
            "{}",
            run.stderr
        );
        assert!(
            run.stderr
                .contains("error: not confirmed; nothing was changed"),
            "{}",
            run.stderr
        );
        assert_eq!(whole_catalogue(&db), whole);
    }
    let run = db.usagectl(["rollback"]).run_on_terminal("y\n").success();
    assert!(run.stdout.ends_with("\n1 migration reverted\n"));
    db.usagectl(["rollback"]).run_on_terminal("YES\n").success();
}

#[rstest]
fn data_loss_on_a_terminal_requires_the_name(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rows(&db);
    let whole = whole_catalogue(&db);
    let to_the_start = ["rollback", "--to", "create_api_usage"];
    for answer in ["no\n", "y\n", "yes\n", "\n", "create_api_usage\n"] {
        let run = db.usagectl(to_the_start).run_on_terminal(answer);
        assert_eq!(run.code, 5, "{answer:?}: {}", run.snapshot());
        assert!(
            run.stderr
                .contains(". Type enhance_api_monitoring to continue:"),
            "{}",
            run.stderr
        );
        assert_eq!(whole_catalogue(&db), whole);
        assert_eq!(db.rows("SELECT count(*) FROM api_alerts"), ["1"]);
    }
    db.usagectl(to_the_start)
        .run_on_terminal("enhance_api_monitoring\n")
        .success();
}

#[rstest]
fn migrations_changed_after_the_plan_stop_rollback(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let whole = whole_catalogue(&db);
    let lock = db.lock(RunKind::Migrate);
    let mut run = db.usagectl(["rollback", "--yes", "-q"]).spawn();
    let mut plan = BufReader::new(run.child.stdout.take().unwrap());
    plan.read_line(&mut String::new()).unwrap();
    // As if another run had reverted it.
    let ledger = match db.open() {
        Db::Pg(_) => "usagectl.__diesel_schema_migrations",
        Db::Sqlite(_) => "__diesel_schema_migrations",
    };
    db.execute(&format!(
        "DELETE FROM {ledger} WHERE version = (SELECT max(version) FROM {ledger})"
    ));
    drop(lock);
    plan.read_to_end(&mut Vec::new()).unwrap();
    assert_snapshot!(run.wait().snapshot(), @"
        ------- stderr -------
        error: the list of applied migrations changed after the plan was printed
        next: usagectl rollback --dry-run
        [exit status: 5]
        ");
    assert_eq!(whole_catalogue(&db), whole);
}

/// The tables are locked before it is checked that they are empty. Once a migration was reverted, what follows is for the
/// user to decide, and the rollback has ended.
#[rstest]
fn uncommitted_row_of_another_session_stops_rollback_postgresql(
    #[values("create_api_usage", "enhance_api_monitoring")] to: &str,
) {
    let db = TestDatabase::empty(Engine::Postgresql);
    db.usagectl(["migrate", "--to", to]).run().success();
    let mut other =
        db.open_transaction("INSERT INTO api_usage (id, api_name) VALUES ('1', 'tmdb')");
    let run = db
        .usagectl(["rollback", "--all", "--yes"])
        .arg("--lock-timeout=60s")
        .spawn();
    let waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    wait_for_rows(&db, waits);
    other.batch_execute("COMMIT").unwrap();
    let run = run.wait();
    assert_eq!(run.code, 5, "{}", run.snapshot());
    let reason = "table api_usage changed after the plan was printed";
    assert!(run.stderr.contains(reason), "{}", run.snapshot());
    assert_eq!(db.rows("SELECT id FROM api_usage"), ["1"]);
    if to == "create_api_usage" {
        return;
    }
    let reason = "1 migration reverted, the next one failed: table api_usage changed";
    assert!(run.stderr.contains(reason), "{}", run.stderr);
    let last = "SELECT detail FROM usagectl.usagectl_migration_log ORDER BY id DESC LIMIT 1";
    let outcome = "usagectl rollback --all: 1 migration reverted, then: table api_usage changed";
    assert!(db.rows(last)[0].starts_with(outcome), "{:?}", db.rows(last));
    let status = db.usagectl(["status"]).run();
    assert_eq!(status.code, 3, "{}", status.snapshot());
    assert!(!status.stdout.contains("rollback:"), "{}", status.stdout);
    let next = "next: usagectl migrate\n";
    assert!(status.stderr.ends_with(next), "{}", status.stderr);
}

#[rstest]
fn folder_that_cannot_be_used_is_refused_before_consent(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    put_rows(&db);
    std::fs::create_dir(db.sandbox().work().join("full")).unwrap();
    db.sandbox().file("full/file", "");
    for (folder, code, reason) in [
        ("full", 5, "full is not empty\nnext: name a new folder\n"),
        ("full/file", 1, "full/file: cannot read this folder"),
        ("none/new", 1, "none: cannot write to this folder"),
    ] {
        let run = db
            .usagectl(["rollback", "--to", "create_api_usage", "--export", folder])
            .run();
        assert_eq!(run.code, code, "{}", run.snapshot());
        assert!(run.stderr.contains(reason), "{}", run.snapshot());
        assert!(!run.stderr.contains("--export"), "{}", run.snapshot());
    }
}

#[rstest]
fn json_answer_is_one_document(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_rows(&db);
    let arguments = ["rollback", "--to", "create_api_usage", "--format", "json"];
    let run = db.usagectl(arguments).run();
    assert_eq!(run.code, 5);
    let plan: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(plan["data_loss"], true);
    assert_eq!(plan["done"], false);
    let run = db
        .usagectl(arguments)
        .arg("--yes")
        .arg("--accept-data-loss")
        .run()
        .success();
    let plan: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(plan["done"], true);
    let csv = db
        .usagectl(["rollback", "--yes", "--accept-data-loss", "--format", "csv"])
        .run()
        .success()
        .stdout;
    assert_eq!(
        csv,
        "version,name,action,object,lost,of\n20260101000000,create_api_usage,drop,table api_usage,3,3\n"
    );
}
