//! `migrate --adopt`: databases of Prisma at every stage, of other shapes, partial ones, and lost ledgers.

use std::fs;

use usagectl::store::lock::RunKind;
use usagectl::store::migrations::ALL;
use usagectl::store::schema_objects;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::adoption::{
    PRISMA_MIGRATIONS, copy_prisma_folder, deployed, fixture, insert_prisma_row, prisma_checksum,
    prisma_rows, pushed,
};
use crate::support::{Engine, OtherRole, TestDatabase, assert_snapshot, whole_catalogue};
use rstest::rstest;
use sha2::{Digest, Sha256};

/// The name of one of our tables in SQL.
fn own(engine: Engine, table: &str) -> String {
    match engine {
        Sqlite => table.to_owned(),
        Postgresql => format!("usagectl.{table}"),
    }
}

fn ledger(db: &TestDatabase) -> Vec<String> {
    let table = own(db.engine(), "__diesel_schema_migrations");
    db.rows(&format!("SELECT version FROM {table} ORDER BY version"))
}

fn log(db: &TestDatabase) -> Vec<String> {
    let table = own(db.engine(), "usagectl_migration_log");
    db.rows(&format!(
        "SELECT DISTINCT action, version FROM {table} ORDER BY version, action"
    ))
}

fn all_versions() -> Vec<String> {
    ALL.iter().map(|it| it.version.to_owned()).collect()
}

/// The objects of the application, without our triggers.
fn application_objects(db: &TestDatabase) -> Vec<String> {
    let lines = whole_catalogue(db).into_iter();
    let lines = lines.filter(|line| !line.contains("usagectl"));
    lines
        .filter(|line| !line.contains("_prisma_migrations"))
        .collect()
}

/// Adds calls that the application made.
pub(super) fn add_calls(db: &TestDatabase) {
    for (id, hour) in [("a", "08"), ("b", "09")] {
        db.execute(&format!(
            "INSERT INTO api_usage (id, api_name, timestamp) VALUES ('{id}', 'tmdb', '2026-01-31T{hour}:00:00.000+00:00')"
        ));
    }
}

fn adopt(db: &TestDatabase) -> crate::support::Run {
    db.usagectl(["migrate", "--adopt", "--yes"]).run()
}

/// Runs the main commands on an adopted database.
fn assert_works(db: &TestDatabase) {
    let record = db
        .usagectl(["record", "--api", "tmdb", "--status", "200"])
        .run();
    record.success();
    db.usagectl(["aggregate"]).run().success();
    db.usagectl(["aggregate", "--verify"]).run().success();
    db.usagectl(["stats"]).run().success();
    db.usagectl(["limits", "init", "--plan", "upstash=free"])
        .run()
        .success();
    db.usagectl(["alerts", "check"]).run().success();
    db.usagectl(["status"]).run().success();
}

#[rstest]
fn unadopted_database_is_named_by_every_command(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values(1, 2, 3)] stage: usize,
) {
    let db = deployed(engine, stage);
    let before = whole_catalogue(&db);
    let commands: [(&[&str], i32); 13] = [
        (&["status"], 4),
        (&["migrate"], 5),
        (&["migrate", "--dry-run"], 5),
        (&["migrate", "--sql"], 5),
        (&["rollback", "--dry-run"], 5),
        (&["rollback", "--yes", "--accept-data-loss"], 5),
        (&["record", "--api", "tmdb"], 4),
        (&["aggregate"], 4),
        (&["stats"], 4),
        (&["alerts"], 4),
        (&["limits"], 4),
        (&["collect", "run"], 4),
        (&["recommend", "run"], 4),
    ];
    for (command, code) in commands {
        let run = db.usagectl(command).run();
        assert_eq!(run.code, code, "{command:?}: {}", run.snapshot());
        let next = "\nnext: usagectl migrate --adopt\n";
        assert!(
            run.stderr.ends_with(next) || run.stderr == next[1..],
            "{}",
            run.stderr
        );
    }
    let status = db.usagectl(["status"]).run().stdout;
    let last = PRISMA_MIGRATIONS[stage - 1];
    let line = format!("created by prisma migrate ({stage} applied, last {last})\n");
    assert!(status.contains(&line), "{status}");
    assert_eq!(whole_catalogue(&db), before);
}

#[rstest]
fn database_of_every_stage_is_adopted(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values(1, 2, 3)] stage: usize,
) {
    let db = deployed(engine, stage);
    copy_prisma_folder(&db);
    add_calls(&db);
    let before = application_objects(&db);
    let refused = db.usagectl(["migrate", "--adopt"]).run();
    assert_eq!(refused.code, 5, "{}", refused.snapshot());
    assert!(
        refused
            .stderr
            .ends_with("next: usagectl migrate --adopt --yes\n")
    );
    assert_eq!(application_objects(&db), before);

    adopt(&db).success();
    assert_eq!(ledger(&db), all_versions());
    let actions: Vec<String> = ALL
        .iter()
        .enumerate()
        .map(|(index, it)| {
            format!(
                "{}|{}",
                if index < stage { "adopt" } else { "up" },
                it.version
            )
        })
        .collect();
    assert_eq!(log(&db), actions);
    if stage == 3 {
        assert_eq!(application_objects(&db), before);
    }
    // As after the application's own `prisma migrate deploy`.
    let rows = PRISMA_MIGRATIONS.map(|name| format!("{name}|finished|kept|1|NULL"));
    assert_eq!(prisma_rows(&db), rows);
    let checksums = db.rows("SELECT checksum FROM _prisma_migrations ORDER BY started_at");
    assert_eq!(
        checksums,
        PRISMA_MIGRATIONS.map(|name| prisma_checksum(engine, name))
    );

    assert_works(&db);
    let hours = "SELECT total_requests FROM api_usage_aggregates WHERE aggregation_type = 'HOURLY' ORDER BY period_start";
    assert_eq!(db.rows(hours), ["1", "1", "1"]);
    let again = db.usagectl(["migrate", "--adopt"]).run();
    assert_snapshot!(again.success().stdout.lines().last().unwrap(), @"nothing to do, 0 pending");
}

#[rstest]
fn evidence_is_shown_before_the_adoption(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = deployed(engine, 2);
    let run = db
        .usagectl(["migrate", "--adopt", "--dry-run"])
        .run()
        .success();
    // The objects of our own tables, and the steps, differ between the engines.
    let (evidence, plan) = run
        .stdout
        .split_once("\napply 20260124093000_add_infrastructure_monitoring\n")
        .unwrap();
    assert!(
        plan.contains("  1     api_usage") || plan.contains("  1 position"),
        "{plan}"
    );
    let lines: Vec<&str> = evidence.lines().collect();
    let shown = [&lines[..3], &lines[9..]].concat().join("\n");
    assert_snapshot!(shown, @"
    VERSION         NAME                           FOUND   OF  PRISMA                       VERDICT
    20260101000000  create_api_usage                   9    9  20260101000000_init applied  adopt
    20260123210146  enhance_api_monitoring            50   50  20260123210146 applied       adopt
    created by prisma migrate (2 applied, last 20260123210146_enhance_api_monitoring)
    ");
    // Prisma's folder was not found.
    assert!(
        lines[3].contains("  -  ") && lines[3].ends_with("  pending"),
        "{}",
        lines[3]
    );
    let json = db
        .usagectl(["migrate", "--adopt", "--dry-run", "--format", "json"])
        .run();
    let answer: serde_json::Value = serde_json::from_str(&json.success().stdout).unwrap();
    assert_eq!(answer["origin"]["created_by"], "prisma_migrate");
    assert_eq!(answer["migrations"][1]["verdict"], "adopt");
    assert_eq!(
        answer["migrations"][1]["prisma"]["name"],
        PRISMA_MIGRATIONS[1]
    );
    assert_eq!(answer["migrations"][2]["verdict"], "pending");
    assert_eq!(answer["adopted"], false);
}

#[rstest]
fn terminal_is_asked(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = deployed(engine, 2);
    let no = db.usagectl(["migrate", "--adopt"]).run_on_terminal("n\n");
    assert_eq!(no.code, 5, "{}", no.snapshot());
    let question = "Record 2 migrations as applied and apply 6 pending migrations? [y/N] ";
    assert!(no.stderr.contains(question), "{}", no.stderr);
    assert_eq!(db.usagectl(["status"]).run().code, 4);
    db.usagectl(["migrate", "--adopt"])
        .run_on_terminal("y\n")
        .success();
    db.usagectl(["status"]).run().success();
}

#[rstest]
fn failed_migration_of_prisma_is_resolved(#[values(Sqlite, Postgresql)] engine: Engine) {
    let [_, enhance, infrastructure] = PRISMA_MIGRATIONS;
    // Failed without a trace, and failed after its objects were created.
    for stage in [1, 2] {
        let db = deployed(engine, 1);
        if stage == 2 {
            db.execute(&fixture(
                engine,
                &format!("prisma/migrations/{enhance}/migration.sql"),
            ));
        }
        insert_prisma_row(&db, enhance, "failed");
        copy_prisma_folder(&db);
        let status = db.usagectl(["status"]).run();
        assert!(
            status.stdout.contains(&format!("; failed: {enhance})")),
            "{}",
            status.stdout
        );
        adopt(&db).success();
        let steps = if stage == 2 { "0|" } else { "1|NULL" };
        let rows = prisma_rows(&db);
        assert!(
            rows.contains(&format!("{enhance}|unfinished|rolled back|1|NULL")),
            "{rows:?}"
        );
        assert!(
            rows.contains(&format!("{enhance}|finished|kept|{steps}")),
            "{rows:?}"
        );
        assert!(
            rows.contains(&format!("{infrastructure}|finished|kept|1|NULL")),
            "{rows:?}"
        );
        assert_eq!(rows.len(), 4);
        assert_works(&db);
    }
}

/// Prisma would never make the other changes of a migration that is recorded as applied.
#[rstest]
fn migration_of_prisma_that_changes_other_tables_is_left_to_prisma(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values("absent", "failed", "rolled_back")] state: &str,
    #[values(false, true)] is_adopted: bool,
) {
    let [_, enhance, _] = PRISMA_MIGRATIONS;
    let db = deployed(engine, 1);
    if is_adopted {
        let to = ["migrate", "--adopt", "--yes", "--to", "create_api_usage"];
        db.usagectl(to).run().success();
    }
    if state != "absent" {
        insert_prisma_row(&db, enhance, state);
    }
    copy_prisma_folder(&db);
    let file = db.sandbox().work().join("prisma/migrations").join(enhance);
    let file = file.join("migration.sql");
    let sql = fs::read_to_string(&file).unwrap();
    let other = match is_adopted {
        true => "ALTER TABLE \"orders\" ADD COLUMN \"name\" TEXT;",
        false => "CREATE TABLE \"orders\" (\n    \"id\" TEXT\n);",
    };
    fs::write(&file, format!("{sql}\n{other}\n")).unwrap();
    let rows = prisma_rows(&db);
    let command = match is_adopted {
        true => "migrate",
        false => "migrate --adopt --yes",
    };
    for options in ["", " --dry-run", " --sql"] {
        let run = db.usagectl(format!("{command}{options}").split(' ')).run();
        assert_eq!(run.code, 5, "{}", run.snapshot());
        assert!(
            run.stderr
                .contains("also changes orders; nothing was changed"),
            "{}",
            run.stderr
        );
        let next = "npx prisma migrate deploy, then usagectl migrate --adopt";
        assert!(run.stderr.contains(next), "{}", run.stderr);
        let resolve = format!("npx prisma migrate resolve --rolled-back {enhance}, then ");
        assert_eq!(
            run.stderr.contains(&resolve),
            state == "failed",
            "{}",
            run.stderr
        );
    }
    assert_eq!(prisma_rows(&db), rows);

    // With our objects alone it is not applied either.
    db.execute(&fixture(
        engine,
        &format!("prisma/migrations/{enhance}/migration.sql"),
    ));
    let run = adopt(&db);
    assert_eq!(run.code, 5, "{}", run.snapshot());
    let message = "also creates orders; nothing was changed";
    assert!(run.stderr.contains(message), "{}", run.stderr);
    assert_eq!(prisma_rows(&db), rows);
    db.execute("CREATE TABLE orders (id TEXT, name TEXT)");
    adopt(&db).success();
    assert!(prisma_rows(&db).contains(&format!("{enhance}|finished|kept|0|")));
    assert_works(&db);
}

/// Also one whose tables are unknown.
#[rstest]
fn failed_migration_of_prisma_alone_is_reported_by_verify(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = deployed(engine, 3);
    copy_prisma_folder(&db);
    adopt(&db).success();
    insert_prisma_row(&db, PRISMA_MIGRATIONS[2], "rolled_back");
    let name = "20260301000000_add_orders";
    db.execute(&format!(
        "UPDATE _prisma_migrations SET migration_name = '{name}', rolled_back_at = NULL WHERE rolled_back_at IS NOT NULL"
    ));
    let run = db.usagectl(["status", "--verify"]).run();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    let defect = format!("defect: Prisma's migration {name} failed, or is running");
    assert!(run.stdout.contains(&defect), "{}", run.stdout);
    db.usagectl(["status"]).run().success();
    db.execute(
        "UPDATE _prisma_migrations SET rolled_back_at = started_at WHERE finished_at IS NULL",
    );
    db.usagectl(["status", "--verify"]).run().success();
}

#[rstest]
fn rolled_back_migration_of_prisma_is_applied(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = deployed(engine, 1);
    insert_prisma_row(&db, PRISMA_MIGRATIONS[1], "rolled_back");
    adopt(&db).success();
    let rows = prisma_rows(&db);
    let again = format!("{}|finished|kept|1|NULL", PRISMA_MIGRATIONS[1]);
    assert!(rows.contains(&again), "{rows:?}");
    // Without the folder the name of the next one is unknown.
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert_works(&db);
}

#[rstest]
fn ledger_with_integer_dates_keeps_them(#[values(1, 2)] stage: usize) {
    let db = deployed(Sqlite, stage);
    copy_prisma_folder(&db);
    db.execute(
        "UPDATE _prisma_migrations SET started_at = 1769763600000, finished_at = 1769763600000",
    );
    add_calls(&db);
    db.execute("UPDATE api_usage SET timestamp = 1769846400000 WHERE id = 'a'");
    adopt(&db).success();
    let types =
        db.rows("SELECT DISTINCT typeof(started_at), typeof(finished_at) FROM _prisma_migrations");
    assert_eq!(types, ["integer|integer"]);
    assert_works(&db);
}

#[rstest]
fn database_without_ledger_is_adopted(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values(1, 2, 3)] stage: usize,
) {
    let db = pushed(engine, stage);
    let status = db.usagectl(["status"]).run().stdout;
    let created = "created by prisma db push, by hand or by another tool (no ledger)\n";
    assert!(status.contains(created), "{status}");
    adopt(&db).success();
    assert_works(&db);
    assert_eq!(db.rows("SELECT count(*) FROM api_usage"), ["1"]);
}

#[rstest]
fn first_table_without_indexes_is_adopted(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = pushed(engine, 1);
    db.execute("DROP INDEX api_usage_timestamp_idx; DROP INDEX api_usage_api_name_timestamp_idx");
    adopt(&db).success();
    assert_works(&db);
}

#[rstest]
fn shapes_of_the_original_applications_are_adopted(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values("original.sql", "variant.sql")] shape: &str,
) {
    let db = deployed(engine, 3);
    db.execute(&fixture(engine, shape));
    add_calls(&db);
    let before = application_objects(&db);
    adopt(&db).success();
    assert_eq!(application_objects(&db), before);
    assert_works(&db);
}

#[test]
fn recommendations_are_written_into_text_arrays() {
    let db = deployed(Postgresql, 3);
    db.execute(&fixture(Postgresql, "original.sql"));
    db.execute(
        r#"INSERT INTO "UpgradeRecommendation" (id, service, "currentPlan", "recommendedPlan", priority, reason, benefits, risks, "updatedAt")
           VALUES ('theirs', 'VERCEL_KV', 'free', 'pro', 'HIGH', 'growth', '{"more, \"storage\"",speed}', NULL, '2026-01-30')"#,
    );
    adopt(&db).success();
    db.usagectl(["limits", "init", "--plan", "upstash=free"])
        .run()
        .success();
    let set = [
        "collect",
        "set",
        "--service",
        "VERCEL_KV",
        "--metric",
        "STORAGE_MB",
    ];
    db.usagectl(set)
        .arg("--at")
        .arg("2026-01-31T11:00:00Z")
        .arg("250")
        .run()
        .success();
    let run = db.usagectl(["recommend", "run"]).run();
    assert!([0, 3].contains(&run.code), "{}", run.snapshot());
    let written = db.rows(
        r#"SELECT pg_typeof(benefits)::text, array_length(benefits, 1) > 0 FROM "UpgradeRecommendation"
           WHERE id <> 'theirs'"#,
    );
    assert_eq!(written, ["text[]|1"]);
    let list = db
        .usagectl(["recommend", "list", "--all", "--format", "json"])
        .run()
        .success();
    assert!(list.stdout.contains("theirs"), "{}", list.stdout);
    // A row that is changed is read and written whole.
    db.usagectl(["recommend", "review", "theirs", "--by", "ann"])
        .run()
        .success();
    let kept = db.rows(
        r#"SELECT benefits[1], benefits[2], risks FROM "UpgradeRecommendation" WHERE id = 'theirs'"#,
    );
    assert_eq!(kept, [r#"more, "storage"|speed|NULL"#]);
}

#[rstest]
fn partial_database_is_refused_until_the_printed_sql_is_run(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let mut losses = vec![
        "DROP INDEX api_usage_success_timestamp_idx",
        "DROP INDEX api_alerts_api_name_alert_type_period_key",
        "DROP TABLE api_alerts",
        "DROP INDEX api_usage_timestamp_idx; CREATE INDEX api_usage_timestamp_idx ON api_usage (timestamp)",
        "ALTER TABLE api_usage DROP COLUMN user_id",
        "ALTER TABLE \"InfrastructureMetric\" DROP COLUMN metadata",
        "ALTER TABLE api_usage DROP COLUMN user_id; DROP TABLE \"InfrastructureLimit\"",
        "ALTER TABLE api_usage DROP COLUMN cached",
    ];
    if engine == Postgresql {
        losses.extend([
            "ALTER TABLE api_usage ALTER COLUMN response_time TYPE text",
            "ALTER TABLE api_usage ALTER COLUMN success DROP DEFAULT,
                 ALTER COLUMN success TYPE integer USING success::integer, ALTER COLUMN success SET DEFAULT 1",
            "ALTER TABLE \"UpgradeRecommendation\" ALTER COLUMN status DROP DEFAULT,
                 ALTER COLUMN status TYPE text, ALTER COLUMN status SET DEFAULT 'PENDING'",
            "ALTER TABLE api_usage ALTER COLUMN method DROP DEFAULT",
            "ALTER TABLE api_alerts DROP CONSTRAINT api_alerts_pkey",
            "ALTER TABLE api_usage ALTER COLUMN api_name DROP NOT NULL",
            "DROP TABLE \"UpgradeRecommendation\"; DROP TYPE \"RecommendationPriority\"",
            "ALTER TYPE \"MetricType\" RENAME VALUE 'COST_USD' TO 'OLD_COST'",
        ]);
    }
    for loss in losses {
        let db = deployed(engine, 3);
        add_calls(&db);
        db.execute(loss);
        let before = whole_catalogue(&db);
        for arguments in [
            ["migrate", "--adopt", "--yes"],
            ["migrate", "--adopt", "--dry-run"],
        ] {
            let run = db.usagectl(arguments).run();
            assert_eq!(run.code, 5, "{loss}: {}", run.snapshot());
            assert!(
                run.stdout.contains("\ndifference: "),
                "{loss}: {}",
                run.stdout
            );
        }
        assert_eq!(whole_catalogue(&db), before, "{loss}");
        let sql = db.usagectl(["migrate", "--adopt", "--sql"]).run();
        assert_eq!(sql.code, 5, "{loss}");
        db.run_script(&sql.stdout);
        let run = adopt(&db);
        assert_eq!(run.code, 0, "{loss}: {}{}", sql.stdout, run.snapshot());
        if loss.contains("api_alerts_pkey") {
            let keys = "SELECT contype FROM pg_constraint WHERE conname = 'api_alerts_pkey'";
            assert_eq!(db.rows(keys), ["p"]);
        }
        assert_works(&db);
        assert_eq!(db.rows("SELECT count(*) FROM api_usage"), ["3"]);
    }
}

/// The application's tables with every column nullable, and a row of NULLs in each, which PostgreSQL refuses in a
/// primary key.
fn nullable(engine: Engine, has_defaults: bool) -> TestDatabase {
    let db = TestDatabase::empty(engine);
    for name in PRISMA_MIGRATIONS {
        let sql = fixture(engine, &format!("prisma/migrations/{name}/migration.sql"));
        let lines = sql.lines().map(|line| match line.split_once(" DEFAULT ") {
            Some((column, default)) if !has_defaults => {
                let end = default.find([',', ';']).unwrap_or(default.len());
                format!("{column}{}\n", &default[end..])
            }
            _ => format!("{line}\n"),
        });
        db.execute(&lines.collect::<String>().replace(" NOT NULL", ""));
    }
    let objects = ALL[..3].iter().flat_map(|it| it.effect(&db.open()).added);
    let columns = objects.filter_map(|it| Some(it.what.strip_prefix("column ")?.to_owned()));
    for column in columns.collect::<Vec<_>>() {
        let (table, column) = column.split_once('.').unwrap();
        let id = if engine == Sqlite { "NULL" } else { "'null'" };
        db.execute(&format!(
            "INSERT INTO \"{table}\" (id) SELECT {id} WHERE NOT EXISTS (SELECT 1 FROM \"{table}\");
             UPDATE \"{table}\" SET \"{column}\" = NULL WHERE '{column}' <> 'id'"
        ));
    }
    db
}

#[rstest]
fn printed_sql_gives_defaults_to_null_values_and_lists_the_others(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values(true, false)] has_defaults: bool,
) {
    let db = nullable(engine, has_defaults);
    let objects = schema_objects::read(&mut db.open()).unwrap();
    let required = ALL[..3].iter().flat_map(|it| it.effect(&db.open()).added);
    let required = required.filter(|it| it.how.contains(" not null"));
    // Without those that are required in the database or may be NULL.
    let required = required.filter(|it| {
        let found = objects.get(&it.what).unwrap();
        !found.contains(" not null") && (!has_defaults || it.what != "column api_usage.cached")
    });
    let (filled, undecided): (Vec<_>, Vec<_>) =
        required.partition(|it| it.how.contains(" default ") && !it.what.ends_with(".timestamp"));
    assert_eq!(filled.len(), if has_defaults { 13 } else { 14 });
    let sql = db.usagectl(["migrate", "--adopt", "--sql"]).run();
    assert_eq!(sql.code, 5, "{}", sql.snapshot());
    db.run_script(&sql.stdout);
    for column in filled {
        let (table, name) = column.parts().1.split_once('.').unwrap();
        let values = format!("SELECT count(\"{name}\"), count(*) FROM \"{table}\"");
        assert_eq!(db.rows(&values), ["1|1"], "{}", column.what);
    }
    let values = "SELECT success, cached, method FROM api_usage";
    let cached = if has_defaults { "NULL" } else { "0" };
    // Not a required column.
    assert_eq!(db.rows(values), [format!("1|{cached}|NULL")]);

    let again = db.usagectl(["migrate", "--adopt", "--sql"]).run().stdout;
    let lines = again.lines();
    let listed = lines.filter_map(|line| line.strip_prefix("-- to be decided: "));
    let mut listed: Vec<String> = listed.map(str::to_owned).collect();
    let mut expected: Vec<String> = undecided
        .iter()
        .map(|it| {
            let what = &it.what;
            format!("1 row has no value of the required {what}; set one or delete such rows:")
        })
        .collect();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected, "{again}");
    let queries = again
        .lines()
        .filter_map(|line| line.strip_prefix("-- SELECT * "));
    for query in queries {
        db.execute(&format!("DELETE {query}"));
    }
    let sql = db.usagectl(["migrate", "--adopt", "--sql"]).run().stdout;
    db.run_script(&sql);
    let run = adopt(&db);
    assert_eq!(run.code, 0, "{sql}{}", run.snapshot());
    assert_works(&db);
}

/// Values that the tool would have to invent, and rows of which one would have to go.
#[rstest]
#[case::required_column(
    "DROP INDEX api_usage_api_name_timestamp_idx; DROP INDEX api_usage_api_name_success_timestamp_idx;
     DROP INDEX api_usage_api_name_endpoint_timestamp_idx; ALTER TABLE api_usage DROP COLUMN api_name",
    "2 rows have no value of the required column api_usage.api_name; set one or delete such rows:",
    "UPDATE api_usage SET api_name = 'tmdb'"
)]
#[case::time_of_an_event(
    "ALTER TABLE \"InfrastructureMetric\" RENAME COLUMN timestamp TO at;
     INSERT INTO \"InfrastructureMetric\" (id, service, metric, value, at)
     VALUES ('m', 'VERCEL_KV', 'STORAGE_MB', 1, '2026-01-31T12:00:00.000+00:00')",
    "1 row has no value of the required column InfrastructureMetric.timestamp; set one or delete such rows:",
    "UPDATE \"InfrastructureMetric\" SET timestamp = at"
)]
#[case::time_of_a_row("ALTER TABLE api_usage DROP COLUMN created_at", "", "")]
#[case::repeated_values(
    "DROP INDEX api_alerts_api_name_alert_type_period_key;
     INSERT INTO api_alerts (id, api_name, alert_type, threshold, period, updated_at)
     VALUES ('1', 'tmdb', 'ERROR_SPIKE', 1, 'HOUR', '2026-01-31T12:00:00.000+00:00'),
         ('2', 'tmdb', 'ERROR_SPIKE', 2, 'HOUR', '2026-01-31T12:00:00.000+00:00')",
    "unique api_alerts (api_name, alert_type, period) has 1 value of several rows; keep one row of each:",
    "DELETE FROM api_alerts WHERE id = '2'"
)]
fn printed_sql_leaves_decisions_to_the_user(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[case] loss: &str,
    #[case] decision: &str,
    #[case] decided: &str,
) {
    let db = deployed(engine, 3);
    add_calls(&db);
    db.execute(loss);
    let close = || {
        let sql = db.usagectl(["migrate", "--adopt", "--sql"]).run();
        assert_eq!(sql.code, 5, "{}", sql.snapshot());
        db.run_script(&sql.stdout);
        sql.stdout
    };
    let sql = close();
    if !decision.is_empty() {
        assert!(
            sql.contains(&format!("-- to be decided: {decision}\n-- SELECT ")),
            "{sql}"
        );
        db.execute(decided);
        close();
    }
    let run = adopt(&db);
    assert_eq!(run.code, 0, "{sql}{}", run.snapshot());
    assert_eq!(db.rows("SELECT count(created_at) FROM api_usage"), ["2"]);
    assert_works(&db);
}

#[rstest]
#[case::sqlite(
    Sqlite,
    "ALTER TABLE api_usage DROP COLUMN response_time; ALTER TABLE api_usage ADD COLUMN response_time TEXT",
    "INTEGER"
)]
#[case::postgresql(
    Postgresql,
    "ALTER TABLE api_usage ALTER response_time TYPE text",
    "integer"
)]
fn printed_sql_converts_values_and_lists_those_of_no_other_type(
    #[case] engine: Engine,
    #[case] change: &str,
    #[case] data_type: &str,
) {
    let db = deployed(engine, 3);
    add_calls(&db);
    db.execute(change);
    db.execute("UPDATE api_usage SET response_time = CASE id WHEN 'a' THEN '120' ELSE 'n/a' END");
    let close = || {
        let sql = db.usagectl(["migrate", "--adopt", "--sql"]).run().stdout;
        db.run_script(&sql);
        sql
    };
    let decision = format!(
        "-- to be decided: 1 row has a value of the column api_usage.response_time that is no {data_type}; change it or \
         delete such rows:\n-- SELECT * "
    );
    let sql = close();
    let (_, query) = sql.split_once(&decision).unwrap_or_else(|| panic!("{sql}"));
    let query = query.lines().next().unwrap();
    assert_eq!(db.rows(&format!("SELECT id {query}")), ["b"]);
    db.execute("UPDATE api_usage SET response_time = NULL WHERE id = 'b'");
    close();
    adopt(&db).success();
    let sum = db.rows("SELECT id, response_time + 1 FROM api_usage ORDER BY id");
    assert_eq!(sum, ["a|121", "b|NULL"]);
    assert_works(&db);
}

#[rstest]
#[case("TEXT", "")]
#[case("TEXT NOT NULL", " WITHOUT ROWID")]
#[case("TEXT", " WITHOUT ROWID")]
#[case("TEXT", " STRICT")]
#[case("TEXT NOT NULL", " WITHOUT ROWID, STRICT")]
fn replaced_table_keeps_what_the_application_has_on_it_sqlite(
    #[case] id: &str,
    #[case] options: &str,
) {
    let db = TestDatabase::empty(Sqlite);
    let [time, boolean] = match options.contains("STRICT") {
        true => ["TEXT", "INTEGER"],
        false => ["DATETIME", "BOOLEAN"],
    };
    db.execute(&format!(
        "CREATE TABLE api_usage (
             id {id} PRIMARY KEY CHECK (id <> ''), -- the key
             api_name TEXT COLLATE NOCASE, endpoint TEXT, timestamp {time} NOT NULL DEFAULT CURRENT_TIMESTAMP,
             success {boolean} NULL DEFAULT (1), status_code INTEGER, created_at {time},
             region TEXT DEFAULT 'eu, us', host TEXT AS (region || '1'), UNIQUE (region, id)){options};
         CREATE INDEX api_usage_api_name_timestamp_idx ON api_usage (api_name, timestamp);
         CREATE INDEX api_usage_timestamp_idx ON api_usage (timestamp);
         CREATE INDEX own ON api_usage (region) WHERE success;
         CREATE TABLE owners (id TEXT PRIMARY KEY, call TEXT REFERENCES api_usage (id) ON DELETE CASCADE);
         CREATE VIEW slow AS SELECT id, region, host FROM api_usage;
         CREATE TRIGGER own_trigger AFTER DELETE ON api_usage BEGIN
             UPDATE owners SET call = NULL WHERE call = old.id;
         END;
         INSERT INTO api_usage (id, api_name, success, status_code) VALUES
             ('a', 'tmdb', NULL, NULL), ('b', 'tmdb', NULL, 500);
         INSERT INTO owners VALUES ('o', 'a')"
    ));
    let others = "SELECT type, name, sql FROM sqlite_master
                  WHERE name NOT LIKE 'sqlite%' AND name <> 'api_usage' ORDER BY type, name";
    let before = db.rows(others);
    let sql = db.usagectl(["migrate", "--adopt", "--sql"]).run();
    db.run_script(&sql.stdout);
    assert_eq!(db.rows(others), before);
    let row =
        "SELECT u.id, api_name, success, host, call FROM api_usage u JOIN owners ON call = u.id";
    assert_eq!(db.rows(row), ["a|tmdb|1|eu, us1|a"]);
    let failed = "SELECT id FROM api_usage WHERE NOT success";
    assert_eq!(db.rows(failed), ["b"]);
    let table = db.rows("SELECT sql FROM sqlite_master WHERE name = 'api_usage'");
    assert!(!table[0].contains("ROWID"), "{table:?}");
    assert!(!table[0].contains("STRICT"), "{table:?}");
    for kept in [
        "CHECK (id <> '')",
        "-- the key",
        "COLLATE NOCASE",
        "AS (region || '1')",
        "UNIQUE (region, id)",
    ] {
        assert!(table[0].contains(kept), "{table:?}");
    }
    adopt(&db).success();
    assert_works(&db);
}

/// The new table has an index of its key.
#[rstest]
#[case("INTEGER NOT NULL PRIMARY KEY", "")]
#[case("INTEGER PRIMARY KEY AUTOINCREMENT", "")]
#[case("INTEGER", ", PRIMARY KEY (id)")]
fn replaced_table_has_one_index_of_its_key_sqlite(#[case] id: &str, #[case] constraint: &str) {
    let db = TestDatabase::empty(Sqlite);
    db.execute(&format!(
        "CREATE TABLE api_usage (id {id}, api_name TEXT NOT NULL, endpoint TEXT,
             timestamp DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL DEFAULT true,
             status_code INTEGER, created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP{constraint})"
    ));
    let insert = "INSERT INTO api_usage (api_name, timestamp) VALUES ('tmdb', '2026-01-31T10:00:00.000+00:00')";
    db.execute(insert);
    let sql = db.usagectl(["migrate", "--adopt", "--sql"]).run();
    db.run_script(&sql.stdout);
    let unique = "SELECT count(*) FROM pragma_index_list('api_usage') WHERE \"unique\"";
    assert_eq!(db.rows(unique), ["1"]);
    adopt(&db).success();
    // The application's inserts go on.
    db.execute(insert);
    assert_eq!(
        db.rows("SELECT typeof(id), id = '1' FROM api_usage ORDER BY rowid"),
        ["text|1", "text|0"]
    );
    let strict = db.usagectl(["status", "--strict"]).run().success();
    assert!(!strict.stdout.contains("id_key"), "{}", strict.stdout);
    assert_works(&db);
}

/// A type and its default change in one statement, and fail in one.
#[test]
fn printed_sql_names_the_view_that_prevents_it_and_keeps_the_default() {
    let db = pushed(Postgresql, 3);
    db.execute(
        "ALTER TABLE api_usage ALTER COLUMN timestamp TYPE timestamptz(3) USING timestamp AT TIME ZONE 'UTC';
         CREATE VIEW calls AS SELECT id, timestamp FROM api_usage",
    );
    let sql = db.usagectl(["migrate", "--adopt", "--sql"]).run().stdout;
    assert!(sql.contains("-- to be decided: the type of the column api_usage.timestamp can only be changed without view calls;"), "{sql}");
    assert!(!sql.contains("\"timestamp\" TYPE"), "{sql}");
    db.run_script(&sql);
    db.execute("INSERT INTO api_usage (id, api_name) VALUES ('a', 'tmdb'); DROP VIEW calls");
    let sql = db.usagectl(["migrate", "--adopt", "--sql"]).run().stdout;
    let expected = "ALTER TABLE \"api_usage\" ALTER COLUMN \"timestamp\" DROP DEFAULT, ALTER COLUMN \"timestamp\" TYPE";
    assert!(sql.contains(expected), "{sql}");
    db.run_script(&sql);
    adopt(&db).success();
}

/// PostgreSQL refuses to change the type of a column that such an object uses.
#[rstest]
#[case(
    "CREATE TABLE notes (usage uuid REFERENCES api_usage (id))",
    "foreign key notes_usage_fkey of notes",
    "DROP TABLE notes"
)]
#[case(
    "ALTER TABLE api_usage ADD COLUMN mark text GENERATED ALWAYS AS (id::text) STORED",
    "column api_usage.mark",
    "ALTER TABLE api_usage DROP COLUMN mark"
)]
#[case(
    "CREATE POLICY mine ON api_usage USING (id IS NOT NULL)",
    "policy mine of api_usage",
    "DROP POLICY mine ON api_usage"
)]
fn printed_sql_names_what_prevents_a_change_of_type(
    #[case] object: &str,
    #[case] name: &str,
    #[case] removal: &str,
) {
    let db = pushed(Postgresql, 3);
    db.execute("ALTER TABLE api_usage ALTER COLUMN id TYPE uuid USING id::uuid");
    db.execute(object);
    let printed = || db.usagectl(["migrate", "--adopt", "--sql"]).run().stdout;
    let sql = printed();
    assert!(sql.contains(&format!("without {name};")), "{sql}");
    db.run_script(&sql);
    db.execute(removal);
    db.run_script(&printed());
    adopt(&db).success();
}

/// The application's table is renamed, replaced by a view, or dropped.
#[rstest]
fn missing_table_is_named_by_every_command_and_printed_sql_restores_it(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values("api_usage", "api_usage_aggregates", "InfrastructureMetric")] table: &str,
    #[values("rename", "view", "drop")] how: &str,
) {
    let db = TestDatabase::migrated(engine);
    add_calls(&db);
    let old = format!("old_{table}");
    if how == "drop" {
        db.execute(&format!("DROP TABLE \"{table}\""));
    } else {
        db.execute(&format!("ALTER TABLE \"{table}\" RENAME TO \"{old}\""));
    }
    if how == "view" {
        db.execute(&format!(
            "CREATE VIEW \"{table}\" AS SELECT * FROM \"{old}\""
        ));
    }
    let commands: [&[&str]; 10] = [
        &["migrate"],
        &["migrate", "--adopt", "--yes"],
        &["record", "--api", "tmdb"],
        &["aggregate"],
        &["stats"],
        &["alerts", "check"],
        &["limits", "check"],
        &["recommend", "run"],
        &["prune", "--older-than", "1000d"],
        &["rollback", "--dry-run"],
    ];
    for command in commands {
        let run = db.usagectl(command).run();
        assert_eq!(run.code, 4, "{command:?}: {}", run.snapshot());
        let view = match (how, engine) {
            ("view", Sqlite) => " (a view has this name)",
            ("view", Postgresql) => " (a view in the schema public has this name)",
            _ => "",
        };
        let error = format!("error: tables of applied migrations are missing: {table}{view}\n");
        assert!(
            run.stderr.contains(&error),
            "{command:?}: {}",
            run.snapshot()
        );
        assert!(
            run.stderr
                .ends_with("next: see the SQL for them: usagectl status\n"),
            "{command:?}: {}",
            run.snapshot()
        );
    }
    let restore = || {
        let run = db.usagectl(["status"]).run();
        assert_eq!(run.code, 4, "{}", run.snapshot());
        let lines = run.stdout.lines();
        let lines: Vec<&str> = lines.filter_map(|it| it.strip_prefix("  fix: ")).collect();
        db.run_script(&(lines.join("\n") + "\n"));
    };
    restore();
    if how == "view" {
        db.execute(&format!("DROP VIEW \"{table}\""));
        restore();
    }
    db.usagectl(["migrate"]).run().success();
    db.usagectl(["status", "--verify"]).run().success();
    if how != "drop" {
        assert_eq!(db.rows("SELECT id FROM api_usage ORDER BY id"), ["a", "b"]);
    }
    assert_works(&db);
}

/// A table without all of its columns is no renamed one; its indexes keep the names of the new table's.
#[rstest]
fn printed_sql_avoids_the_index_names_of_another_table(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    db.execute("ALTER TABLE api_usage RENAME TO old; ALTER TABLE old ADD COLUMN more TEXT");
    let run = db.usagectl(["status", "--format", "json"]).run();
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let sql = report["fix"].as_array().unwrap().iter();
    let sql: Vec<&str> = sql.map(|it| it.as_str().unwrap()).collect();
    db.run_script(&(sql.join("\n") + "\n"));
    db.usagectl(["migrate"]).run().success();
    db.usagectl(["status"]).run().success();
}

#[test]
fn printed_sql_keeps_the_instants_of_timestamps_with_time_zone() {
    let db = pushed(Postgresql, 3);
    add_calls(&db);
    db.execute(
        "ALTER TABLE api_usage ALTER COLUMN timestamp TYPE timestamptz(3) USING timestamp AT TIME ZONE 'UTC'",
    );
    let sql = db.usagectl(["migrate", "--adopt", "--sql"]).run().stdout;
    db.run_script(&format!("SET TIME ZONE 'Asia/Seoul';\n{sql}"));
    adopt(&db).success();
    let hours = db.rows("SELECT timestamp FROM api_usage ORDER BY id");
    assert_eq!(
        hours,
        [
            "2026-01-31T08:00:00.000+00:00",
            "2026-01-31T09:00:00.000+00:00"
        ]
    );
}

/// The first table, partitioned.
fn partitioned(by: &str, key: &str, partition: &str) -> TestDatabase {
    let db = TestDatabase::empty(Postgresql);
    db.execute(&format!(
        "CREATE TABLE api_usage (id text NOT NULL, api_name text NOT NULL, endpoint text,
             timestamp timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, success boolean NOT NULL DEFAULT true,
             status_code integer, created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY ({key}))
             PARTITION BY {by};
         CREATE TABLE api_usage_1 PARTITION OF api_usage FOR VALUES {partition};
         CREATE INDEX ON api_usage (api_name, timestamp);
         CREATE INDEX ON api_usage (timestamp)"
    ));
    db
}

#[test]
fn partitioned_table_is_adopted_and_its_indexes_are_not_built_concurrently() {
    let partition = "WITH (MODULUS 1, REMAINDER 0)";
    let db = partitioned("HASH (id)", "id", partition);
    add_calls(&db);
    adopt(&db).success();
    assert_works(&db);
    let run = db
        .usagectl([
            "rollback",
            "--to",
            "create_api_usage",
            "--yes",
            "--accept-data-loss",
        ])
        .run();
    run.success();
    let sql = db.usagectl(["migrate", "--sql"]).run().success().stdout;
    assert!(!sql.contains("CONCURRENTLY"), "{sql}");
    db.usagectl(["migrate"]).run().success();
}

#[rstest]
fn renamed_column_or_value_is_hinted_at(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let schema = match engine {
        Sqlite => "DROP TABLE usagectl_migration_log; DROP TABLE __diesel_schema_migrations",
        Postgresql => {
            r#"DROP SCHEMA usagectl CASCADE;
               ALTER TYPE "RecommendationStatus" RENAME VALUE 'DISMISSED' TO 'REJECTED'"#
        }
    };
    db.execute(&format!(
        r#"ALTER TABLE api_usage RENAME COLUMN response_time TO duration_ms;
           ALTER TABLE "InfrastructureLimit" RENAME COLUMN "limitValue" TO limit_value; {schema}"#
    ));
    let run = db.usagectl(["migrate", "--adopt", "--sql"]).run();
    assert_eq!(run.code, 5, "{}", run.snapshot());
    let comments = run.stdout.lines().filter_map(|it| it.strip_prefix("-- "));
    let hints: Vec<&str> = comments.filter(|it| it.contains(" RENAME ")).collect();
    assert_eq!(hints.len(), 2 + usize::from(engine == Postgresql));
    for sql in hints {
        db.execute(sql);
    }
    adopt(&db).success();
    db.usagectl(["status", "--verify"]).run().success();
}

/// The script of an answer that is refused for its differences, as psql runs it.
fn run_printed(db: &TestDatabase, args: &[&str]) {
    let printed = db.usagectl(args).run().stdout;
    let fixes = printed
        .lines()
        .map(|line| line.strip_prefix("  fix: ").unwrap_or(line));
    let is_sql = |line: &&str| line.ends_with(';') && !line.starts_with("--");
    for statement in fixes.filter(is_sql) {
        db.execute(statement);
    }
}

#[test]
fn indexes_of_partitioned_metrics_are_created_by_the_printed_sql() {
    let db = TestDatabase::empty(Postgresql);
    db.usagectl(["migrate", "--to", "add_infrastructure_monitoring"])
        .run()
        .success();
    db.execute(
        r#"CREATE TABLE parts (LIKE "InfrastructureMetric" INCLUDING DEFAULTS, PRIMARY KEY (id, timestamp))
               PARTITION BY RANGE (timestamp);
           CREATE TABLE part_1 PARTITION OF parts DEFAULT;
           DROP TABLE "InfrastructureMetric";
           ALTER TABLE parts RENAME TO "InfrastructureMetric";
           CREATE INDEX m ON ONLY "InfrastructureMetric" (timestamp);
           DROP SCHEMA usagectl CASCADE"#,
    );
    run_printed(&db, &["migrate", "--adopt", "--sql"]);
    adopt(&db).success();
    db.usagectl(["status", "--verify"]).run().success();
    // By the printed SQL of status, too; migrate cannot build it while the table is written to.
    for change in [
        r#"DROP INDEX "InfrastructureMetric_timestamp_idx""#,
        r#"DROP INDEX "InfrastructureMetric_timestamp_idx";
           CREATE INDEX n ON ONLY "InfrastructureMetric" (timestamp)"#,
    ] {
        db.execute(change);
        let status = db.usagectl(["status"]).run();
        assert_eq!(status.code, 4, "{}", status.snapshot());
        assert!(
            status.stderr.contains("run the SQL listed above"),
            "{}",
            status.snapshot()
        );
        run_printed(&db, &["status"]);
        db.usagectl(["status", "--verify"]).run().success();
    }
    // An invalid index of another table is rebuilt nevertheless.
    OtherRole::new(&db).administer(&[
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'api_usage_timestamp_idx'::regclass",
    ]);
    db.usagectl(["migrate"]).run().success();
    db.usagectl(["status", "--verify"]).run().success();
}

/// The range of the first partition.
const JANUARY: &str = "FROM ('2026-01-01') TO ('2026-01-31')";

/// An adopted table of two partitions with a call every half hour, twelve hours on both sides of their border.
fn adopted_partitions() -> TestDatabase {
    let db = partitioned("RANGE (timestamp)", "id, timestamp", JANUARY);
    db.execute(
        "CREATE TABLE api_usage_2 PARTITION OF api_usage FOR VALUES FROM ('2026-01-31') TO ('2026-03-01');
         INSERT INTO api_usage (id, api_name, timestamp)
         SELECT n::text, 'tmdb', timestamp '2026-01-30 12:00' + n * interval '30 minutes' FROM generate_series(0, 47) n",
    );
    adopt(&db).success();
    db
}

/// A partition may be in another schema, with any name.
#[rstest]
fn printed_script_creates_the_triggers_on_partitions_as_the_command_does(
    #[values(&["migrate", "--adopt", "--yes"], &["migrate"])] command: &[&str],
) {
    let databases = [(); 2].map(|()| {
        let db = partitioned("RANGE (timestamp)", "id, timestamp", JANUARY);
        db.execute(
            "CREATE SCHEMA old;
             CREATE TABLE old.\"New.One\" PARTITION OF api_usage FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
        );
        if command.len() == 1 {
            adopt(&db).success();
            let back = ["rollback", "--to", "create_api_usage", "--yes"];
            db.usagectl(back).run().success();
        }
        db
    });
    let [db, scripted] = &databases;
    let triggers = |db: &TestDatabase| {
        db.rows("SELECT tgrelid::regclass || ' ' || tgname FROM pg_trigger WHERE tgname LIKE 'usagectl%' ORDER BY 1")
    };
    assert_eq!(triggers(db), [""; 0]);
    let plan = scripted.usagectl(command).arg("--dry-run").run();
    let plan = plan.success().stdout;
    for (name, table) in [
        ("api_usage_1", "api_usage_1"),
        ("old.\"New.One\"", "old.\"New.One\""),
    ] {
        let line = format!("create the triggers on the partition {name}\n");
        let (migrations, estimate) = plan.split_once(&line).unwrap_or_else(|| panic!("{plan}"));
        assert!(migrations.contains("apply "), "{plan}");
        let estimate = estimate.lines().nth(1).unwrap_or_default();
        assert!(
            estimate.contains(table) && estimate.contains("ACCESS EXCLUSIVE"),
            "{plan}"
        );
    }
    let script = scripted.usagectl(command).arg("--sql").run().success();
    scripted.run_script(&script.stdout);
    db.usagectl(command).run().success();
    assert_eq!(triggers(db).len(), 14);
    assert_eq!(triggers(scripted), triggers(db));
    assert_eq!(whole_catalogue(scripted), whole_catalogue(db));
    let again = scripted.usagectl(["migrate"]).run().success();
    assert_eq!(again.stdout, "nothing to do, 0 pending\n");

    db.execute("DROP TRIGGER usagectl_after_insert ON api_usage_1");
    let sql = db.usagectl(["migrate", "--sql"]).run().success().stdout;
    db.run_script(&sql);
    assert_eq!(triggers(scripted), triggers(db));
}

/// A statement trigger fires only for the table that the statement names.
#[test]
fn rows_written_to_a_partition_by_its_name_are_counted() {
    let db = adopted_partitions();
    db.usagectl(["status"]).run().success();
    let aggregated = || {
        db.usagectl(["aggregate"]).run().success();
        db.rows("SELECT sum(total_requests) FROM api_usage_aggregates WHERE aggregation_type = 'MONTHLY'")
    };
    assert_eq!(aggregated(), ["48"]);
    let by_name = |partition: &str, id: &str, at: &str| {
        db.execute(&format!(
            "INSERT INTO {partition} (id, api_name, timestamp) VALUES ('{id}', 'tmdb', '{at}')"
        ));
    };
    by_name("api_usage_1", "a", "2026-01-02 10:00");
    assert_eq!(aggregated(), ["49"]);
    db.execute("DELETE FROM api_usage_2 WHERE id = '47'");
    assert_eq!(aggregated(), ["48"]);
    // Once, not by the triggers of both tables.
    db.execute(
        "INSERT INTO api_usage (id, api_name, timestamp) VALUES ('b', 'tmdb', '2026-01-03 10:00')",
    );
    assert_eq!(
        db.rows("SELECT count(*) FROM usagectl.usagectl_dirty_hours"),
        ["1"]
    );
    assert_eq!(aggregated(), ["49"]);

    db.execute("CREATE TABLE \"New.One\" PARTITION OF api_usage FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')");
    // `aggregate` creates its triggers.
    db.usagectl(["status"]).run().success();
    let run = db.usagectl(["status", "--verify"]).run();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    let missing = "trigger \"New.One\".usagectl_after_insert is missing";
    assert!(run.stdout.contains(missing), "{}", run.snapshot());
    assert_eq!(aggregated(), ["49"]);
    // Between the count and the triggers, too.
    db.execute("ALTER TABLE \"New.One\" DISABLE TRIGGER USER");
    by_name("\"New.One\"", "c", "2026-03-03 10:00");
    db.usagectl(["migrate"]).run().success();
    by_name("\"New.One\"", "d", "2026-03-04 10:00");
    db.usagectl(["status"]).run().success();
    assert_eq!(aggregated(), ["51"]);

    db.execute("ALTER TABLE api_usage DETACH PARTITION \"New.One\"");
    let rollback = [
        "rollback",
        "--to",
        "create_api_usage",
        "--yes",
        "--accept-data-loss",
    ];
    db.usagectl(rollback).run().success();
    let left = "SELECT tgname FROM pg_trigger WHERE tgname LIKE 'usagectl%'";
    assert_eq!(db.rows(left), [""; 0]);
    by_name("api_usage_1", "e", "2026-01-02 10:00");
    db.usagectl(["migrate"]).run().success();
    assert_eq!(db.rows(left).len(), 14);
}

/// An hour that waits for `aggregate` and is in a partition that changed.
#[test]
fn hour_is_pending_once() {
    let db = adopted_partitions();
    db.usagectl(["aggregate"]).run().success();
    db.execute("ALTER TABLE api_usage DETACH PARTITION api_usage_2");
    db.execute("DELETE FROM api_usage_2 WHERE id = '47'");
    db.execute("ALTER TABLE api_usage ATTACH PARTITION api_usage_2 FOR VALUES FROM ('2026-01-31') TO ('2026-03-01')");
    db.execute("UPDATE api_usage SET success = false WHERE id = '46'");
    let run = db.usagectl(["status", "--format", "json"]).run().success();
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["rollups"]["hours_waiting"], 1, "{}", run.stdout);
}

/// Nothing was compared, and the number of rows is the same.
#[test]
fn rows_that_a_version_without_triggers_on_partitions_counted_are_counted_again() {
    let db = adopted_partitions();
    db.usagectl(["aggregate"]).run().success();
    db.execute(
        "DELETE FROM usagectl.usagectl_settings WHERE name = 'partitions';
         DROP TRIGGER usagectl_after_insert ON api_usage_1;
         DROP TRIGGER usagectl_after_update ON api_usage_1;
         DROP TRIGGER usagectl_after_delete ON api_usage_1;
         UPDATE api_usage_1 SET success = false WHERE id = '3'",
    );
    db.usagectl(["migrate"]).run().success();
    db.usagectl(["aggregate"]).run().success();
    db.usagectl(["aggregate", "--verify"]).run().success();
}

/// The partitions of another role, whose tables `aggregate` may not alter.
#[test]
fn partition_of_another_role_without_triggers_is_named_by_verify() {
    let db = adopted_partitions();
    let role = OtherRole::new(&db);
    role.administer(&[&format!(
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO \"{0}\"; GRANT USAGE ON SCHEMA usagectl TO \"{0}\";
         GRANT ALL ON ALL TABLES IN SCHEMA usagectl TO \"{0}\"",
        role.name
    )]);
    db.execute("CREATE TABLE api_usage_3 PARTITION OF api_usage FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')");
    let run = role.usagectl(["aggregate"]).run().success();
    let failed = "api_usage_3 lacks triggers, and rows written to it by its name are not counted";
    assert!(run.stderr.contains(failed), "{}", run.snapshot());
    let run = db.usagectl(["status", "--verify"]).run();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    assert_eq!(
        db.rows("SELECT count(*) FROM api_usage_aggregates WHERE aggregation_type = 'MONTHLY'"),
        ["1"]
    );
    db.usagectl(["migrate"]).run().success();
    db.usagectl(["status", "--verify"]).run().success();
}

/// Rows of a partition that is attached change without a trigger.
#[test]
fn partition_that_is_attached_again_is_counted_once() {
    let db = adopted_partitions();
    let aggregate = |flag: &str| db.usagectl(["aggregate", flag]).run();
    let calls = || {
        db.rows(
            "SELECT aggregation_type, sum(total_requests) FROM api_usage_aggregates GROUP BY 1 ORDER BY 1",
        )
    };
    aggregate("-q").success();
    let counted = calls();
    db.execute("ALTER TABLE api_usage DETACH PARTITION api_usage_1");
    assert_eq!(aggregate("-q").code, 4);
    aggregate("--seal").success();
    let attach = format!("ALTER TABLE api_usage ATTACH PARTITION api_usage_1 FOR VALUES {JANUARY}");
    db.execute(
        "INSERT INTO api_usage_1 (id, api_name, timestamp) VALUES ('new', 'tmdb', '2026-01-30 13:10')",
    );
    db.execute(&attach);
    let refused = aggregate("--repair");
    let range = "error: hours from 2026-01-30T13:00:00Z to 2026-01-30T14:00:00Z have rows of an attached partition";
    for refused in [refused, aggregate("-q")] {
        assert_eq!(refused.code, 4, "{}", refused.snapshot());
        assert!(refused.stderr.starts_with(range), "{}", refused.stderr);
    }
    let status = db.usagectl(["status"]).run();
    assert_eq!(status.code, 4, "{}", status.snapshot());
    assert_eq!(calls(), counted);
    assert_eq!(db.usagectl(["prune", "--older-than", "12h"]).run().code, 4);
    db.execute(
        "ALTER TABLE api_usage DETACH PARTITION api_usage_1; DELETE FROM api_usage_1 WHERE id = 'new'",
    );
    db.execute(&attach);
    aggregate("-q").success();
    aggregate("--verify").success();
    db.usagectl(["status"]).run().success();
    assert_eq!(calls(), counted);
}

/// Hours that have all their rows again, and no further ones, are not a question.
#[test]
fn rows_of_an_attached_partition_count_as_the_user_decides() {
    let monthly = |db: &TestDatabase| {
        db.rows(
            "SELECT sum(total_requests) FROM api_usage_aggregates WHERE aggregation_type = 'MONTHLY'",
        )
    };
    let aggregate =
        |db: &TestDatabase, flags: &[&str]| db.usagectl([&["aggregate"], flags].concat()).run();
    let range = [
        "--rebuild",
        "--from",
        "2026-01-30T12:00:00Z",
        "--to",
        "2026-01-31T00:00:00Z",
    ];
    for (decision, calls) in [(&range[..], "49"), (&["--seal"], "51")] {
        let db = adopted_partitions();
        aggregate(&db, &[]).success();
        db.execute("ALTER TABLE api_usage DETACH PARTITION api_usage_1");
        assert_eq!(aggregate(&db, &[]).code, 4);
        db.execute(&format!(
            "ALTER TABLE api_usage ATTACH PARTITION api_usage_1 FOR VALUES {JANUARY};
             INSERT INTO api_usage (id, api_name, timestamp) VALUES ('new', 'tmdb', '2026-01-30 13:10')"
        ));
        assert_eq!(aggregate(&db, &[]).code, 4);
        assert_eq!(monthly(&db), ["48"]);
        let stats = db.usagectl(["stats", "--last", "24h", "--format", "json"]);
        let stats: serde_json::Value = serde_json::from_str(&stats.run().stdout).unwrap();
        assert_eq!(stats["total"]["total_requests"], 48);
        let run = aggregate(&db, decision);
        assert_eq!(run.code, 0, "{}", run.snapshot());
        assert_eq!(monthly(&db), [calls], "{decision:?}");
        aggregate(&db, &["--verify"]).success();
    }
}

#[test]
fn changed_partitions_in_the_middle_are_found() {
    let db = adopted_partitions();
    let aggregate = |flags: &[&str]| db.usagectl([&["aggregate"], flags].concat()).run();
    let monthly = || {
        db.rows(
            "SELECT total_requests FROM api_usage_aggregates WHERE aggregation_type = 'MONTHLY'
             ORDER BY period_start",
        )
    };
    // An older row, so that the first partition is not the oldest.
    db.execute(
        "CREATE TABLE api_usage_0 PARTITION OF api_usage FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
         INSERT INTO api_usage (id, api_name, timestamp) VALUES ('old', 'tmdb', '2025-12-30 13:10')",
    );
    aggregate(&[]).success();
    assert_eq!(monthly(), ["1", "48"]);
    // One whose rows no trigger saw.
    db.execute(
        "CREATE TABLE api_usage_3 (LIKE api_usage INCLUDING ALL);
         INSERT INTO api_usage_3 (id, api_name, timestamp) VALUES ('more', 'tmdb', '2026-03-02 10:00');
         ALTER TABLE api_usage ATTACH PARTITION api_usage_3 FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')",
    );
    let status = db.usagectl(["status"]).run().success();
    assert!(status.stdout.contains("1 hour"), "{}", status.stdout);
    aggregate(&[]).success();
    assert_eq!(monthly(), ["1", "48", "1"]);
    for change in ["TRUNCATE api_usage_1", "DROP TABLE api_usage_1"] {
        db.execute(change);
        let run = aggregate(&[]);
        let range = "--from 2026-01-30T12:00:00Z --to 2026-01-31T00:00:00Z\n";
        match change.starts_with("TRUNCATE") {
            true => assert!(run.stderr.ends_with(range), "{}", run.snapshot()),
            false => assert_eq!(run.code, 0, "{}", run.snapshot()),
        }
        assert_eq!(monthly(), ["1", "48", "1"]);
        assert_eq!(db.usagectl(["status"]).run().code, 4);
        aggregate(&["--verify"]).success();
    }
    let follow = [
        "--rebuild",
        "--from",
        "2026-01-30T12:00:00Z",
        "--to",
        "2026-01-31T00:00:00Z",
    ];
    aggregate(&follow).success();
    assert_eq!(monthly(), ["1", "24", "1"]);
    db.usagectl(["status"]).run().success();
}

#[test]
fn partition_key_in_the_primary_key_is_no_difference_and_a_dropped_partition_keeps_its_counts() {
    let db = adopted_partitions();
    let aggregate = |flags: &[&str]| {
        let command = [&["aggregate"], flags].concat();
        db.usagectl(command).run()
    };
    let monthly = || {
        db.rows(
            "SELECT total_requests FROM api_usage_aggregates WHERE aggregation_type = 'MONTHLY'",
        )
    };
    aggregate(&[]).success();
    db.execute("DROP TABLE api_usage_1");
    let run = aggregate(&[]);
    assert_eq!(run.code, 4, "{}", run.snapshot());
    let range = "--from 2026-01-30T12:00:00Z --to 2026-01-31T00:00:00Z\n";
    assert!(run.stderr.ends_with(range), "{}", run.snapshot());
    assert_eq!(monthly(), ["48"]);
    aggregate(&["--seal"]).success();
    aggregate(&["--verify"]).success();
    assert_eq!(monthly(), ["48"]);
    // Without a unique id in any partition, or one that a call recorded again would not have, no index can help.
    for (by, key) in [
        ("RANGE (timestamp)", "timestamp"),
        ("RANGE (created_at)", "id, created_at"),
    ] {
        let db = partitioned(by, key, JANUARY);
        let run = db.usagectl(["migrate", "--adopt", "--sql"]).run();
        assert_eq!(run.code, 5, "{by}: {}", run.snapshot());
        let comment = "-- not possible where the partition key is another column: CREATE UNIQUE INDEX \"api_usage_id_key\"";
        assert!(run.stdout.contains(comment), "{}", run.stdout);
    }
}

const BEFORE_ADOPTION: [(&[&str], i32); 4] = [
    (&["status"], 4),
    (&["migrate"], 5),
    (&["migrate", "--adopt", "--yes"], 5),
    (&["record", "--api", "tmdb"], 5),
];

/// Of another table, or of the application's in another schema.
#[test]
fn partition_is_not_taken_for_the_table() {
    let create = |schema: &str, table: &str| {
        let db = TestDatabase::empty(Postgresql);
        db.execute(&format!(
            "CREATE SCHEMA parts; CREATE SCHEMA IF NOT EXISTS {schema};
             CREATE TABLE {schema}.{table} (id text, api_name text) PARTITION BY LIST (api_name);
             CREATE TABLE parts.api_usage PARTITION OF {schema}.{table} FOR VALUES IN ('x')"
        ));
        db
    };
    let (other, moved) = (create("public", "events"), create("zoo", "api_usage"));
    let cases = [
        (
            &other,
            "",
            "public to the URL for new tables",
            "a partition of events",
        ),
        (
            &other,
            "?schema=parts",
            "use the schema of the application's tables",
            "a partition of public.events",
        ),
        (
            &moved,
            "",
            "add ?schema=zoo to the URL, or ?schema=public for new tables",
            "in the schema `zoo`",
        ),
        (
            &moved,
            "?schema=parts",
            "add ?schema=zoo to the URL",
            "a partition of zoo.api_usage",
        ),
    ];
    for (db, schema, next, message) in cases {
        let url = format!("{}{schema}", db.url());
        for (command, code) in BEFORE_ADOPTION {
            let run = db.sandbox().usagectl(command).database(&url).run();
            assert_eq!(run.code, code, "{command:?}: {}", run.snapshot());
            assert!(run.stderr.contains(message), "{}", run.snapshot());
            assert!(
                run.stderr.ends_with(&format!("{next}\n")),
                "{}",
                run.snapshot()
            );
        }
    }
}

#[rstest]
fn view_with_the_name_of_the_table_is_named(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    let view = "CREATE VIEW api_usage AS SELECT * FROM calls";
    db.execute(&format!("CREATE TABLE calls (id TEXT PRIMARY KEY); {view}"));
    for (command, code) in BEFORE_ADOPTION {
        let run = db.usagectl(command).run();
        assert_eq!(run.code, code, "{command:?}: {}", run.snapshot());
        let problem = "view api_usage has the name of a table that a pending migration creates";
        let output = run.stdout.clone() + &run.stderr;
        assert!(output.contains(problem), "{}", run.snapshot());
    }
    let status = db.usagectl(["status"]).run().stdout;
    let (_, fix) = status
        .split_once("  fix: ")
        .unwrap_or_else(|| panic!("{status}"));
    db.run_script(fix.lines().next().unwrap());
    db.usagectl(["migrate"]).run().success();

    let db = TestDatabase::migrated(engine);
    db.execute(&format!("ALTER TABLE api_usage RENAME TO calls; {view}"));
    for command in [
        &["migrate"][..],
        &["migrate", "--adopt", "--yes"],
        &["record", "--api", "tmdb"],
    ] {
        let run = db.usagectl(command).run();
        assert_eq!(run.code, 4, "{}", run.snapshot());
        assert!(
            run.stderr.contains("are missing: api_usage (a view "),
            "{}",
            run.snapshot()
        );
    }
    let status = db.usagectl(["status"]).run();
    assert!(
        status.stdout.contains("api_usage is a view;"),
        "{}",
        status.snapshot()
    );
}

#[test]
fn tables_in_another_schema_are_not_created_again() {
    let db = pushed(Postgresql, 3);
    db.execute("ALTER SCHEMA public RENAME TO \"Tenant B\"; CREATE SCHEMA public");
    let next = "next: add ?schema=Tenant%20B to the URL, or ?schema=public for new tables\n";
    let commands: [(&[&str], i32); 4] = [
        (&["status"], 4),
        (&["migrate"], 5),
        (&["migrate", "--dry-run"], 5),
        (&["migrate", "--adopt", "--yes"], 5),
    ];
    for (command, code) in commands {
        let run = db.usagectl(command).run();
        assert_eq!(run.code, code, "{command:?}: {}", run.snapshot());
        assert!(run.stderr.ends_with(next), "{}", run.snapshot());
    }
    let with_schema = |schema: &str, command: &[&str]| {
        let url = format!("{}?schema={schema}", db.url());
        db.sandbox().usagectl(command).database(&url).run()
    };
    let planned = with_schema("public", &["migrate", "--dry-run"]).success();
    assert!(planned.stdout.contains("create table api_usage\n"));
    with_schema("Tenant%20B", &["migrate", "--adopt", "--yes"]).success();
}

#[rstest]
fn partial_difference_is_printed_with_its_sql(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = pushed(engine, 3);
    db.execute(
        "ALTER TABLE api_usage DROP COLUMN user_id; DROP INDEX api_usage_success_timestamp_idx",
    );
    let run = db.usagectl(["migrate", "--adopt", "--yes"]).run();
    let lines = run
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with("created by"));
    let shown: Vec<&str> = lines.filter(|line| !line.starts_with("SET ")).collect();
    let shown = shown
        .join("\n")
        .replace(" CONCURRENTLY", "")
        .replace("TEXT;", "text;");
    assert_snapshot!(shown, @r#"
    created by prisma db push, by hand or by another tool (no ledger)
    difference: column api_usage.user_id is missing
    difference: index api_usage (success, timestamp) is missing
    ALTER TABLE "api_usage" ADD COLUMN "user_id" text;
    CREATE INDEX "api_usage_success_timestamp_idx" ON "api_usage" ("success", "timestamp");
    "#);
    assert_snapshot!(run.stderr, @"
    error: only partly in the database: 20260123210146_enhance_api_monitoring (48 of 50 objects); no migration was recorded or applied
    next: run the SQL of `usagectl migrate --adopt --sql`, change by hand each object with only a comment, then: usagectl migrate --adopt
    ");
}

/// The derived SQL names everything as our migrations, and thus Prisma, do.
#[rstest]
fn derived_sql_creates_the_application_tables_of_the_migrations(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = pushed(engine, 3);
    let other = TestDatabase::empty(engine);
    // One column of each migration is left: the rest is missing.
    other.execute("CREATE TABLE api_usage (id TEXT NOT NULL PRIMARY KEY)");
    other.execute("CREATE TABLE api_alerts (id TEXT NOT NULL PRIMARY KEY)");
    other.execute("CREATE TABLE \"InfrastructureMetric\" (id TEXT NOT NULL PRIMARY KEY)");
    let sql = other.usagectl(["migrate", "--adopt", "--sql"]).run();
    assert_eq!(sql.code, 5, "{}", sql.snapshot());
    other.run_script(&sql.stdout);
    let objects = |db: &TestDatabase| schema_objects::read(&mut db.open()).unwrap();
    assert_eq!(objects(&other), objects(&db));
    let names = match engine {
        Sqlite => "SELECT name FROM sqlite_master WHERE type = 'index' ORDER BY name",
        Postgresql => "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
    };
    assert_eq!(other.rows(names), db.rows(names));
}

#[rstest]
fn lost_ledger_or_log_is_repaired(#[values(Sqlite, Postgresql)] engine: Engine) {
    let ledger_table = own(engine, "__diesel_schema_migrations");
    let log_table = own(engine, "usagectl_migration_log");
    let losses = [
        format!("DROP TABLE {ledger_table}"),
        format!("DELETE FROM {ledger_table}"),
        format!("DELETE FROM {ledger_table} WHERE version = '20260123210146'"),
        format!("DELETE FROM {ledger_table} WHERE version > '20260201'"),
        format!("DROP TABLE {log_table}"),
        format!("DROP TABLE {log_table}; DROP TABLE {ledger_table}"),
        format!("DELETE FROM {log_table}; DELETE FROM {ledger_table}"),
    ];
    for loss in losses {
        let db = TestDatabase::migrated(engine);
        add_calls(&db);
        db.usagectl(["limits", "set", "--api", "tmdb", "--per", "MINUTE", "40"])
            .run()
            .success();
        let before = whole_catalogue(&db);
        db.execute(&loss);
        for command in [
            ["status"].as_slice(),
            &["stats"],
            &["rollback", "--dry-run"],
            &["migrate"],
        ] {
            let run = db.usagectl(command).run();
            let next = "next: usagectl migrate --adopt\n";
            assert!(
                run.stderr.ends_with(next),
                "{loss}: {command:?}: {}",
                run.snapshot()
            );
        }
        let status = db.usagectl(["status", "--verify"]).run().stdout;
        // Without the log, a migration of data has left nothing.
        let is_pending = loss.contains(&log_table) && loss.contains("__diesel");
        assert_eq!(
            status.contains(" pending   "),
            is_pending,
            "{loss}: {status}"
        );
        assert_eq!(
            status.contains(" unadopted "),
            loss.contains("__diesel"),
            "{loss}: {status}"
        );
        adopt(&db).success();
        assert_eq!(whole_catalogue(&db), before, "{loss}");
        assert_eq!(ledger(&db), all_versions(), "{loss}");
        assert_works(&db);
        let limits = db.usagectl(["limits"]).run().success();
        assert!(limits.stdout.contains("tmdb"), "{loss}: {}", limits.stdout);
        // The newest migration, not the one that was recorded last.
        db.usagectl(["rollback", "--yes", "--accept-data-loss"])
            .run()
            .success();
        assert_eq!(db.usagectl(["status"]).run().code, 3, "{loss}");
        assert_eq!(
            ledger(&db),
            all_versions()[..ALL.len() - 1].to_vec(),
            "{loss}"
        );
    }
}

/// As `prisma db push` deletes those that are missing in its list of tables to keep.
#[rstest]
fn lost_tables_of_ours_are_created_again(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values(false, true)] by_script: bool,
) {
    let insert = |db: &TestDatabase, id: &str| {
        let values = format!("('{id}', 'tmdb', '2026-01-31T10:00:00.000+00:00')");
        let sql = format!("INSERT INTO api_usage (id, api_name, timestamp) VALUES {values}");
        db.open().batch_execute(&sql)
    };
    let lists = [
        "usagectl_dirty_hours",
        "usagectl_rollups",
        "usagectl_settings usagectl_notices",
        "usagectl_migration_log usagectl_odd_timestamps",
        "all but the ledger",
    ];
    for list in lists {
        let db = TestDatabase::migrated(engine);
        add_calls(&db);
        db.usagectl(["aggregate"]).run().success();
        let before = schema_objects::read(&mut db.open()).unwrap();
        let all = whole_catalogue(&db).len();
        let tables = before
            .objects()
            .filter_map(|(what, _)| what.strip_prefix("table "));
        let is_lost = |it: &&str| match list {
            "all but the ledger" => it.starts_with("usagectl_"),
            list => list.split(' ').any(|name| name == *it),
        };
        let mut lost: Vec<&str> = tables.filter(is_lost).collect();
        if list.contains("usagectl_migration_log") {
            lost.push("usagectl_migration_log");
        }
        for table in &lost {
            db.execute(&format!("DROP TABLE {}", own(engine, table)));
        }
        let breaks_inserts = insert(&db, "c").is_err();
        let status = db.usagectl(["status"]).run();
        assert_eq!(status.code, 4, "{list}: {}", status.snapshot());
        let next = "next: usagectl migrate --adopt\n";
        assert!(
            status.stderr.ends_with(next),
            "{list}: {}",
            status.snapshot()
        );
        let is_broken = status
            .stdout
            .contains("broken: every write to api_usage fails");
        assert_eq!(
            is_broken,
            breaks_inserts && engine == Sqlite,
            "{list}: {}",
            status.snapshot()
        );
        let migrate = db.usagectl(["migrate"]).run();
        assert_eq!(migrate.code, 5, "{list}: {}", migrate.snapshot());
        assert!(
            migrate.stderr.ends_with(next),
            "{list}: {}",
            migrate.snapshot()
        );
        if by_script {
            let sql = db.usagectl(["migrate", "--adopt", "--sql"]).run().success();
            db.run_script(&sql.stdout);
        } else {
            let run = adopt(&db).success();
            for table in lost.iter().filter(|it| !it.ends_with("_log")) {
                let line = format!("created the table {table} again\n");
                assert!(run.stderr.contains(&line), "{list}: {}", run.snapshot());
            }
        }
        insert(&db, "d").unwrap();
        assert_eq!(
            schema_objects::read(&mut db.open()).unwrap(),
            before,
            "{list}"
        );
        assert_eq!(whole_catalogue(&db).len(), all, "{list}");
        db.usagectl(["status", "--verify"]).run().success();
        assert_works(&db);
        let rows = db.rows("SELECT count(*) FROM api_usage");
        let counted =
            "SELECT sum(total_requests) FROM api_usage_aggregates WHERE aggregation_type = 'DAILY'";
        assert_eq!(db.rows(counted), rows, "{list}");
    }
}

/// The ledger alone and with each other table of ours, with two, and with all of them.
#[rstest]
fn ledger_lost_with_other_tables_is_repaired_in_one_run(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    add_calls(&db);
    let before = schema_objects::read(&mut db.open()).unwrap();
    let names = before.objects();
    let names = names.filter_map(|(what, _)| what.strip_prefix("table usagectl_"));
    let all: Vec<&str> = names.collect();
    let mut lists: Vec<Vec<&str>> = all.iter().map(|name| vec![*name]).collect();
    lists.push(vec!["migration_log", "dirty_hours"]);
    lists.push(vec!["migration_log", "notices", "settings"]);
    lists.push(all);
    for mut list in lists {
        list.sort_unstable();
        for name in &list {
            let table = own(engine, &format!("usagectl_{name}"));
            db.execute(&format!("DROP TABLE {table}"));
        }
        let table = own(engine, "__diesel_schema_migrations");
        db.execute(&format!("DROP TABLE {table}"));
        adopt(&db).success();
        let run = db.usagectl(["status", "--verify"]).run();
        assert_eq!(run.code, 0, "{list:?}: {}", run.snapshot());
        let found = schema_objects::read(&mut db.open()).unwrap();
        assert_eq!(found, before, "{list:?}");
    }
    assert_works(&db);
}

/// The first table is gone, or has another kind, and later migrations exist.
#[rstest]
fn missing_first_table_is_printed_whole(#[values(Sqlite, Postgresql)] engine: Engine) {
    for is_view in [false, true] {
        let db = deployed(engine, 3);
        db.execute("DROP TABLE api_usage");
        if is_view {
            db.execute("CREATE VIEW api_usage AS SELECT 1 AS id");
        }
        let run = adopt(&db);
        assert_eq!(run.code, 5, "{}", run.snapshot());
        let line = "\ndifference: table api_usage is missing\n";
        assert!(run.stdout.contains(line), "{}", run.snapshot());
        if is_view {
            let line = "\n-- to be decided: api_usage is a view; rename or drop it";
            assert!(run.stdout.contains(line), "{}", run.snapshot());
            assert!(!run.stdout.contains("\nALTER TABLE"), "{}", run.snapshot());
            db.execute("DROP VIEW api_usage");
        }
        let sql = db.usagectl(["migrate", "--adopt", "--sql"]).run();
        assert_eq!(sql.code, 5, "{}", sql.snapshot());
        db.run_script(&sql.stdout);
        adopt(&db).success();
        assert_works(&db);
    }
}

#[rstest]
fn printed_script_adopts_as_the_command_does(#[values(Sqlite, Postgresql)] engine: Engine) {
    for stage in [1, 3] {
        let db = deployed(engine, stage);
        let scripted = deployed(engine, stage);
        copy_prisma_folder(&scripted);
        copy_prisma_folder(&db);
        let before = whole_catalogue(&scripted);
        let sql = scripted
            .usagectl(["migrate", "--adopt", "--sql"])
            .run()
            .success()
            .stdout;
        scripted
            .usagectl(["migrate", "--adopt", "--dry-run"])
            .run()
            .success();
        assert_eq!(whole_catalogue(&scripted), before);
        scripted.run_script(&sql);
        adopt(&db).success();
        assert_eq!(whole_catalogue(&scripted), whole_catalogue(&db));
        assert_eq!(ledger(&scripted), ledger(&db));
        assert_eq!(log(&scripted), log(&db));
        let mut rows = prisma_rows(&scripted);
        rows.sort();
        assert_eq!(rows, prisma_rows(&db));
        assert_works(&scripted);
    }
}

#[rstest]
fn concurrent_adoptions_succeed(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values(1, 3)] stage: usize,
) {
    let db = deployed(engine, stage);
    add_calls(&db);
    let start = |_| db.usagectl(["migrate", "--adopt", "--yes"]).spawn();
    let runs: Vec<_> = (0..4).map(start).collect();
    let runs: Vec<_> = runs.into_iter().map(|it| it.wait().success()).collect();
    let adopted = runs.iter().filter(|it| it.stdout.contains("\nadopted "));
    assert_eq!(adopted.count(), 1);
    assert_eq!(ledger(&db), all_versions());
    assert_works(&db);
}

/// What another run has done so far is no partial database.
#[rstest]
fn running_migrate_is_waited_for_before_the_evidence_is_read(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = deployed(engine, 2);
    db.execute("DROP INDEX api_usage_success_timestamp_idx");
    let lock = db.lock(RunKind::Migrate);
    let adopt = ["migrate", "--adopt", "--yes", "--lock-wait", "0s"];
    let run = db.usagectl(adopt).run();
    assert_eq!((run.code, &*run.stdout), (6, ""), "{}", run.snapshot());
    drop(lock);
    assert_eq!(db.usagectl(adopt).run().code, 5);
}

/// In WAL mode nothing before the first write waits for the writer.
#[test]
fn writer_is_waited_for_before_the_ledger_is_created_sqlite() {
    let db = pushed(Sqlite, 3);
    db.execute("PRAGMA journal_mode = WAL");
    let mut other = db.open_transaction(
        "INSERT INTO api_usage (id, api_name, timestamp, created_at)
         VALUES ('w', 'tmdb', '2026-01-31T11:00:00.000+00:00', '2026-01-31T11:00:00.000+00:00')",
    );
    let mut run = db.usagectl(["migrate", "-v", "--adopt", "--yes"]).spawn();
    run.wait_for_stderr(" is in use");
    other.batch_execute("COMMIT").unwrap();
    run.wait().success();
    db.usagectl(["status"]).run().success();
}

#[test]
fn running_prisma_migrate_is_waited_for() {
    let db = deployed(Postgresql, 2);
    copy_prisma_folder(&db);
    let mut prisma = db.open();
    prisma
        .batch_execute("SELECT pg_advisory_lock(72707369)")
        .unwrap();
    let run = db
        .usagectl([
            "migrate",
            "--adopt",
            "--yes",
            "--lock-timeout",
            "10ms",
            "--to",
            "enhance_api_monitoring",
        ])
        .run();
    // Both migrations are in Prisma's ledger already.
    run.success();
    let run = db
        .usagectl([
            "migrate",
            "--lock-timeout",
            "10ms",
            "--lock-wait",
            "1s",
            "--to",
            "add_infrastructure_monitoring",
        ])
        .run();
    assert_eq!(run.code, 6, "{}", run.snapshot());
    assert!(
        run.stderr.contains("`prisma migrate` is running"),
        "{}",
        run.stderr
    );
    assert_eq!(prisma_rows(&db).len(), 2);
    assert_eq!(ledger(&db).len(), 2);
    drop(prisma);
    db.usagectl(["migrate"]).run().success();
    assert_eq!(prisma_rows(&db).len(), 3);
}

#[rstest]
fn rollback_keeps_history_of_prisma_true(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = deployed(engine, 3);
    copy_prisma_folder(&db);
    adopt(&db).success();
    let rollback = [
        "rollback",
        "--to",
        "enhance_api_monitoring",
        "--yes",
        "--accept-data-loss",
    ];
    let warned = db.usagectl(rollback).run().success();
    let name = PRISMA_MIGRATIONS[2];
    assert!(
        warned
            .stderr
            .contains(&format!("Prisma's ledger keeps {name} as applied")),
        "{}",
        warned.stderr
    );
    assert!(prisma_rows(&db).contains(&format!("{name}|finished|kept|1|NULL")));
    // Applied again, the ledger is true.
    db.usagectl(["migrate"]).run().success();
    assert_eq!(prisma_rows(&db).len(), 3);

    let silent = db
        .usagectl(rollback)
        .arg("--prisma-history")
        .run()
        .success();
    assert!(!silent.stderr.contains("Prisma"), "{}", silent.stderr);
    assert!(prisma_rows(&db).contains(&format!("{name}|finished|rolled back|1|NULL")));
    db.usagectl(["migrate"]).run().success();
    assert!(prisma_rows(&db).contains(&format!("{name}|finished|kept|1|NULL")));
    assert_eq!(prisma_rows(&db).len(), 4);
    assert_works(&db);
}

/// One migration of Prisma creates what two of ours do.
#[rstest]
fn migration_of_prisma_is_rolled_back_as_a_whole_or_not_at_all(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = deployed(engine, 2);
    copy_prisma_folder(&db);
    let folder = db.sandbox().work().join("prisma/migrations");
    let sql: String = PRISMA_MIGRATIONS[..2]
        .iter()
        .map(|name| {
            let part = folder.join(name);
            let sql = fs::read_to_string(part.join("migration.sql")).unwrap();
            fs::remove_dir_all(part).unwrap();
            sql
        })
        .collect();
    fs::create_dir(folder.join("0_squashed")).unwrap();
    fs::write(folder.join("0_squashed/migration.sql"), &sql).unwrap();
    let checksum = Sha256::digest(&sql);
    let checksum: String = checksum.iter().map(|it| format!("{it:02x}")).collect();
    db.execute(&format!(
        "DELETE FROM _prisma_migrations WHERE migration_name LIKE '%init';
         UPDATE _prisma_migrations SET migration_name = '0_squashed', checksum = '{checksum}'"
    ));
    adopt(&db).success();
    let verify = || db.usagectl(["status", "--verify"]).run();
    verify().success();
    let rollback = |to: &[&str]| {
        let options = ["--yes", "--accept-data-loss", "--prisma-history"];
        db.usagectl(["rollback"])
            .args(to)
            .args(options)
            .run()
            .success()
    };
    let infrastructure = format!("{}|finished|rolled back|1|NULL", PRISMA_MIGRATIONS[2]);
    let partly = rollback(&["--to", "create_api_usage"]);
    let warning = "warning: Prisma's ledger keeps 0_squashed as applied";
    assert!(partly.stderr.contains(warning), "{}", partly.stderr);
    assert!(
        partly
            .stderr
            .contains("it creates other tables than those that are dropped"),
        "{}",
        partly.stderr
    );
    assert_eq!(
        prisma_rows(&db),
        ["0_squashed|finished|kept|1|NULL", &infrastructure]
    );
    let run = verify();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    let problem = "migration 20260123210146_enhance_api_monitoring is pending, but other parts of Prisma's 0_squashed are applied";
    assert!(run.stdout.contains(problem), "{}", run.stdout);
    assert_eq!(run.stdout.matches("  fix: ").count(), 1, "{}", run.stdout);
    assert!(
        run.stdout.contains("  fix: usagectl migrate\n"),
        "{}",
        run.stdout
    );
    db.usagectl(["migrate"]).run().success();
    verify().success();

    rollback(&["--to", "create_api_usage"]);
    let whole = rollback(&["--all"]);
    assert!(
        !whole.stderr.contains("Prisma's ledger keeps"),
        "{}",
        whole.stderr
    );
    assert!(prisma_rows(&db).contains(&"0_squashed|finished|rolled back|1|NULL".to_owned()));
    // Recorded with the last of its parts.
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    let applied = "0_squashed|finished|kept|1|NULL".to_owned();
    assert!(!prisma_rows(&db).contains(&applied));
    db.usagectl(["migrate"]).run().success();
    assert!(prisma_rows(&db).contains(&applied));
    verify().success();
}

#[test]
fn dump_of_the_application_schema_is_adopted() {
    let db = TestDatabase::migrated(Postgresql);
    add_calls(&db);
    // As `pg_dump -n public` leaves it: the functions of the triggers were not there.
    db.execute("DROP SCHEMA usagectl CASCADE");
    let status = db.usagectl(["status"]).run();
    assert!(
        status.stderr.ends_with("next: usagectl migrate --adopt\n"),
        "{}",
        status.stderr
    );
    adopt(&db).success();
    assert_works(&db);
    assert_eq!(
        db.rows("SELECT count(*) FROM api_usage_aggregates WHERE aggregation_type = 'HOURLY'"),
        ["3"]
    );
}

#[test]
fn prisma_8_is_named() {
    let db = pushed(Postgresql, 3);
    db.execute("CREATE SCHEMA prisma_contract");
    let status = db.usagectl(["status"]).run();
    assert!(
        status
            .stdout
            .contains("created by Prisma 8 or newer (schema prisma_contract)"),
        "{}",
        status.stdout
    );
    adopt(&db).success();
    assert_works(&db);
    let history = db.usagectl(["rollback", "--prisma-history"]).run();
    assert_eq!(history.code, 5);
    let reason = "no table _prisma_migrations, which is Prisma's ledger up to version 7";
    assert!(history.stderr.contains(reason), "{}", history.snapshot());
    let rollback = ["rollback", "--to", "create_api_usage", "--dry-run"];
    let run = db.usagectl(rollback).run().success();
    let warning = "the schema prisma_contract, is not changed: Prisma takes the reverted migrations for applied";
    assert!(run.stderr.contains(warning), "{}", run.snapshot());
    // Its migrations create only our tables.
    let run = db.usagectl(["rollback", "--dry-run"]).run().success();
    assert_eq!(run.stderr, "");
}

/// A required column without a default, which the application fills.
#[rstest]
fn adoption_ends_as_status_judges(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = pushed(engine, 3);
    db.execute(match engine {
        Postgresql => "ALTER TABLE api_usage_aggregates ADD tenant text NOT NULL",
        Sqlite => {
            "ALTER TABLE api_usage_aggregates ADD COLUMN tenant TEXT NOT NULL DEFAULT 'a';
             PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = replace(sql, ' DEFAULT ''a''', '') WHERE name = 'api_usage_aggregates';
             PRAGMA writable_schema = RESET"
        }
    });
    let run = adopt(&db);
    assert_eq!(run.code, 4, "{}", run.snapshot());
    assert!(
        run.stdout
            .contains("applied 20260204000000_add_drop_reason")
    );
    let problem = "warning: column api_usage_aggregates.tenant is ";
    assert!(run.stderr.contains(problem), "{}", run.snapshot());
    let next = "next: run the SQL that usagectl status prints, then usagectl status\n";
    assert!(run.stderr.ends_with(next), "{}", run.snapshot());
    assert_eq!(db.usagectl(["status"]).run().code, 4);
}

#[rstest]
fn missing_prisma_folder_is_named(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = deployed(engine, 3);
    let run = db
        .usagectl(["migrate", "--adopt", "--prisma-migrations", "nowhere"])
        .run();
    assert_eq!(run.code, 2, "{}", run.snapshot());
    assert!(run.stderr.contains("cannot read nowhere"), "{}", run.stderr);
}

/// The folder is that of an older checkout, or empty.
#[rstest]
fn migrations_that_the_prisma_folder_lacks_are_named_and_not_recorded(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values(0, 1)] kept: usize,
) {
    let db = deployed(engine, 1);
    copy_prisma_folder(&db);
    let folder = db.sandbox().work().join("prisma/migrations");
    for name in &PRISMA_MIGRATIONS[kept..] {
        fs::remove_dir_all(folder.join(name)).unwrap();
    }
    let run = adopt(&db).success();
    let verified = db.usagectl(["status", "--verify"]).run().success();
    for run in [&run, &verified] {
        let names =
            "20260123210146_enhance_api_monitoring, 20260124093000_add_infrastructure_monitoring";
        assert!(
            run.stderr.contains("prisma/migrations has no migration"),
            "{}",
            run.snapshot()
        );
        assert!(run.stderr.contains(names), "{}", run.snapshot());
    }
    let is_noted = verified.stderr.contains(": 20260101000000_init;");
    assert_eq!(is_noted, kept == 0, "{}", verified.snapshot());
    let rows = ["20260101000000_init|finished|kept|1|NULL"];
    assert_eq!(prisma_rows(&db), rows);
    copy_prisma_folder(&db);
    let problem = "is applied, but not recorded in Prisma's ledger";
    assert_eq!(repair_prisma_ledger(&db), [problem; 2]);
}

/// Runs the SQL that `status --verify` prints for the defects of migrations, and returns the problems.
fn repair_prisma_ledger(db: &TestDatabase) -> Vec<String> {
    let run = db
        .usagectl(["status", "--verify", "--format", "json"])
        .run();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let defects = report["defects"].as_array().unwrap().iter();
    let problems = defects.map(|defect| {
        db.execute(defect["fix"].as_str().unwrap());
        defect["problem"].as_str().unwrap().to_owned()
    });
    let problems = problems.collect();
    db.usagectl(["status", "--verify"]).run().success();
    problems
}

#[rstest]
fn edited_migration_of_prisma_is_named(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = deployed(engine, 2);
    copy_prisma_folder(&db);
    let edited = db
        .sandbox()
        .work()
        .join("prisma/migrations")
        .join(PRISMA_MIGRATIONS[1])
        .join("migration.sql");
    fs::write(&edited, fs::read_to_string(&edited).unwrap() + "-- later\n").unwrap();
    let warning = format!(
        "warning: {} has another checksum in Prisma's ledger than its migration.sql",
        PRISMA_MIGRATIONS[1]
    );
    let plan = db.usagectl(["migrate", "--adopt", "--dry-run"]).run();
    for run in [plan, adopt(&db)] {
        assert_eq!(
            run.stderr.matches(&warning).count(),
            1,
            "{}",
            run.snapshot()
        );
        run.success();
    }
    repair_prisma_ledger(&db);
}

#[rstest]
fn unknown_names_of_prisma_are_not_recorded(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = deployed(engine, 1);
    add_calls(&db);
    let sql = db.usagectl(["migrate", "--adopt", "--sql"]).run().success();
    assert!(
        !sql.stdout
            .contains("20260124093000_add_infrastructure_monitoring'"),
        "{}",
        sql.stdout
    );
    let run = adopt(&db).success();
    let warning = "warning: Prisma's migrations folder was not found (prisma/migrations in ";
    for run in [&run, &db.usagectl(["status", "--verify"]).run().success()] {
        assert!(run.stderr.contains(warning), "{}", run.snapshot());
        assert!(
            run.stderr.contains("add --prisma-migrations DIR"),
            "{}",
            run.snapshot()
        );
    }
    assert_eq!(
        prisma_rows(&db),
        ["20260101000000_init|finished|kept|1|NULL"]
    );
    // The folder is found later.
    copy_prisma_folder(&db);
    let problem = "is applied, but not recorded in Prisma's ledger";
    assert_eq!(repair_prisma_ledger(&db), [problem; 2]);
    let recorded = "SELECT migration_name, checksum FROM _prisma_migrations ORDER BY 1";
    let expected =
        PRISMA_MIGRATIONS.map(|name| format!("{name}|{}", prisma_checksum(engine, name)));
    assert_eq!(db.rows(recorded), expected);

    db.execute(
        "UPDATE _prisma_migrations SET checksum = 'other' WHERE migration_name LIKE '%infra%';
         INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name, started_at)
         SELECT 'stray', 'ours', finished_at, '20260124093000_add_infrastructure_monitoring', started_at
         FROM _prisma_migrations WHERE migration_name LIKE '%infra%'",
    );
    let [edited, stray] = repair_prisma_ledger(&db).try_into().unwrap();
    assert!(
        edited.starts_with("has another checksum in Prisma's ledger"),
        "{edited}"
    );
    assert!(stray.contains("which has no folder"), "{stray}");
    assert_eq!(db.rows(recorded), expected);
}

#[rstest]
fn prismas_folder_is_found_by_its_configuration(
    #[values("package.json", "prisma.config.ts")] file: &str,
) {
    let db = deployed(Sqlite, 1);
    copy_prisma_folder(&db);
    let work = db.sandbox().work();
    fs::rename(work.join("prisma"), work.join("db")).unwrap();
    let text = match file {
        "package.json" => r#"{"prisma": {"schema": "db/schema.prisma"}}"#,
        _ => "export default defineConfig({ migrations: { path: \"db/migrations\" } })",
    };
    fs::write(work.join(file), text).unwrap();
    fs::write(work.join("db/schema.prisma"), "").unwrap();
    let run = adopt(&db).success();
    assert!(!run.stderr.contains("warning"), "{}", run.snapshot());
    assert_eq!(prisma_rows(&db).len(), 3);
}

/// The printed SQL makes the two ledgers agree.
#[rstest]
fn verify_compares_the_ledgers(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = deployed(engine, 3);
    copy_prisma_folder(&db);
    adopt(&db).success();
    let name = PRISMA_MIGRATIONS[2];
    let repair = |problem: &str| {
        let run = db
            .usagectl(["status", "--verify", "--format", "json"])
            .run();
        assert_eq!(run.code, 4, "{}", run.snapshot());
        let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        let [defect] = report["defects"].as_array().unwrap().as_slice() else {
            panic!("{}", run.stdout);
        };
        assert_eq!(
            defect["object"],
            "migration 20260124093000_add_infrastructure_monitoring"
        );
        assert_eq!(defect["problem"], problem);
        let printed = db.usagectl(["status", "--verify"]).run().stdout;
        let lines = printed.lines().filter_map(|it| it.strip_prefix("  fix: "));
        let fix: Vec<&str> = lines.collect();
        let lines = defect["fix"].as_str().unwrap().lines();
        assert_eq!(lines.count(), fix.len());
        assert!(fix[0].starts_with("BEGIN") && fix.last() == Some(&"COMMIT;"));
        db.run_script(&fix.join("\n"));
    };
    let verify = || db.usagectl(["status", "--verify"]).run();
    verify().success();
    for (change, problem) in [
        ("DELETE FROM _prisma_migrations", "not recorded"),
        (
            "UPDATE _prisma_migrations SET rolled_back_at = started_at",
            "rolled back",
        ),
        ("UPDATE _prisma_migrations SET finished_at = NULL", "failed"),
    ] {
        db.execute(&format!("{change} WHERE migration_name = '{name}'"));
        repair(&format!("is applied, but {problem} in Prisma's ledger"));
        verify().success();
    }
    let to = ["rollback", "--yes", "--to", "enhance_api_monitoring"];
    db.usagectl(to).run().success();
    repair("is pending, but applied in Prisma's ledger");
    assert_eq!(verify().code, 3);
}

/// Another program that uses Diesel has a migration of the same version.
#[rstest]
fn recorded_version_without_any_table_is_refused_with_both_ways_out_sqlite(
    #[values(0, 1, 2, 5)] place: usize,
) {
    let db = TestDatabase::empty(Sqlite);
    let version = ALL[place].version;
    db.execute(&format!(
        "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL,
             run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
         INSERT INTO __diesel_schema_migrations (version) VALUES ('{version}')"
    ));
    let delete = format!("DELETE FROM __diesel_schema_migrations WHERE version IN ('{version}');");
    let commands: [(&[&str], i32); 4] = [
        (&["status"], 4),
        (&["migrate"], 5),
        (&["migrate", "--adopt", "--yes"], 5),
        (&["rollback", "--yes"], 5),
    ];
    for (command, code) in commands {
        let run = db.usagectl(command).run();
        assert_eq!(run.code, code, "{}", run.snapshot());
        assert!(run.stderr.contains(&delete), "{}", run.stderr);
    }
    let run = db.usagectl(["record", "--api", "tmdb"]).run();
    assert!(
        run.stderr.ends_with("next: usagectl migrate --adopt\n"),
        "{}",
        run.stderr
    );
    db.execute(&delete);
    db.usagectl(["migrate"]).run().success();
    assert_works(&db);
}

#[rstest]
fn recorded_version_without_its_tables_has_sql_that_creates_them_sqlite(
    #[values(1, 2)] place: usize,
) {
    let db = pushed(Sqlite, 1);
    let version = ALL[place].version;
    db.execute(&format!(
        "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL,
             run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
         INSERT INTO __diesel_schema_migrations (version) VALUES ('{version}')"
    ));
    let run = db.usagectl(["migrate", "--adopt", "--yes"]).run();
    assert_eq!(run.code, 5, "{}", run.snapshot());
    assert!(
        run.stderr.contains("usagectl migrate --adopt --sql"),
        "{}",
        run.stderr
    );
    let sql = db.usagectl(["migrate", "--adopt", "--sql"]).run().stdout;
    db.run_script(&sql);
    adopt(&db).success();
    assert_works(&db);
}

/// Without it a call would count as successful in an insert of the application.
#[rstest]
fn generated_column_is_left_to_the_user(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    let (time, stored) = match engine {
        Sqlite => ("DATETIME", "VIRTUAL"),
        Postgresql => ("timestamp(3)", "STORED"),
    };
    db.execute(&format!(
        "CREATE TABLE api_usage (id TEXT NOT NULL PRIMARY KEY, api_name TEXT NOT NULL, endpoint TEXT,
             timestamp {time} NOT NULL DEFAULT CURRENT_TIMESTAMP, status_code INTEGER,
             success BOOLEAN GENERATED ALWAYS AS (status_code < 400) {stored},
             created_at {time} NOT NULL DEFAULT CURRENT_TIMESTAMP)"
    ));
    let sql = db.usagectl(["migrate", "--adopt", "--sql"]).run();
    assert_eq!(sql.code, 5, "{}", sql.snapshot());
    let decision = "-- to be decided: the column api_usage.success is generated, ";
    assert!(sql.stdout.contains(decision), "{}", sql.stdout);
    db.run_script(&sql.stdout);
    db.execute("INSERT INTO api_usage (id, api_name, status_code) VALUES ('a', 'tmdb', 500)");
    let (_, decided) = sql.stdout.split_once(decision).unwrap();
    let statements = decided.lines().filter_map(|it| it.strip_prefix("-- "));
    db.run_script(&statements.collect::<Vec<_>>().join("\n"));
    let sql = db.usagectl(["migrate", "--adopt", "--sql"]).run();
    db.run_script(&sql.stdout);
    assert_eq!(db.rows("SELECT success FROM api_usage"), ["0"]);
    adopt(&db).success();
    assert_works(&db);
}

#[test]
fn column_that_a_domain_or_a_check_requires_is_named_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    db.execute("CREATE DOMAIN given AS text NOT NULL; ALTER TABLE api_usage ADD tenant given");
    let run = db.usagectl(["record", "--api", "tmdb"]).run();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    let problem = "error: column api_usage.tenant is required, and usagectl does not write it";
    assert!(run.stderr.contains(problem), "{}", run.stderr);
    db.execute(
        "ALTER TABLE \"InfrastructureLimit\" ADD tenant text CONSTRAINT tenant_given CHECK (tenant IS NOT NULL)",
    );
    let run = db
        .usagectl(["limits", "init", "--plan", "vercel=pro"])
        .run();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    let next = "next: give the columns of that check a default that it allows";
    assert!(run.stderr.contains(next), "{}", run.stderr);
}

/// Names of our own columns.
#[rstest]
fn own_columns_of_any_name_do_not_disturb(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = pushed(engine, 3);
    add_calls(&db);
    let names = [
        "hour",
        "usage_id",
        "seen",
        "deleted_to",
        "done",
        "until",
        "last",
    ];
    let columns = names.map(|it| format!("ALTER TABLE api_usage ADD COLUMN {it} TEXT;"));
    db.execute(&columns.concat());
    adopt(&db).success();
    db.execute("INSERT INTO api_usage (id, api_name, timestamp) VALUES ('own', 'tmdb', '2026-01-31 08:10:00')");
    db.usagectl(["aggregate"]).run().success();
    db.usagectl(["aggregate", "--rebuild"]).run().success();
    db.usagectl(["aggregate", "--verify"]).run().success();
    let calls =
        "SELECT sum(total_requests) FROM api_usage_aggregates WHERE aggregation_type = 'HOURLY'";
    assert_eq!(db.rows(calls), ["3"]);
    db.usagectl(["prune", "--older-than", "1h"]).run().success();
    db.usagectl(["status"]).run().success();
}

/// The values of some types, and what uses the column, are for the user to decide.
#[rstest]
#[case::range(
    "int4range USING NULL",
    "",
    "no statement can be derived: column api_usage.status_code is `int4range`"
)]
#[case::numbered(
    "integer",
    "ALTER TABLE api_usage ALTER COLUMN id TYPE bigint USING 1, ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY",
    "no statement can be derived: column api_usage.id is `bigint not null`"
)]
#[case::domain("number USING 1::number", "", "")]
#[case::own_enum(
    "code USING NULL",
    "",
    "no statement can be derived: column api_usage.status_code is `code`"
)]
#[case::index(
    "text",
    "CREATE INDEX by_code ON api_usage (status_of(status_code))",
    "can only be changed without index by_code"
)]
#[case::check(
    "text",
    "ALTER TABLE api_usage ADD CONSTRAINT digits CHECK (status_code ~ '^2')",
    "can only be changed without constraint digits of api_usage"
)]
#[case::check_of_numbers("numeric(9)", "ALTER TABLE api_usage ADD CHECK (status_code > 0)", "")]
fn type_that_cannot_be_changed_is_left_to_the_user(
    #[case] data_type: &str,
    #[case] user: &str,
    #[case] decision: &str,
) {
    let db = pushed(Postgresql, 3);
    db.execute(&format!(
        "CREATE TYPE code AS ENUM ('ok');
         CREATE DOMAIN number AS smallint;
         CREATE FUNCTION status_of(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT length($1)';
         DROP INDEX IF EXISTS api_usage_success_timestamp_idx;
         ALTER TABLE api_usage ALTER COLUMN status_code TYPE {data_type};
         {user}"
    ));
    let run = db.usagectl(["migrate", "--adopt", "--sql"]).run();
    assert!(run.stdout.contains(decision), "{}", run.snapshot());
    db.run_script(&run.stdout);
    if decision.is_empty() {
        adopt(&db).success();
    }
}

/// The application's inserts rely on the default of a serial key.
#[test]
fn column_whose_type_is_changed_keeps_its_default_postgresql() {
    let db = pushed(Postgresql, 3);
    db.execute(
        "CREATE SEQUENCE calls;
         TRUNCATE api_usage;
         ALTER TABLE api_usage ALTER COLUMN id TYPE bigint USING 1, ALTER COLUMN id SET DEFAULT nextval('calls');",
    );
    let insert =
        "INSERT INTO api_usage (api_name, endpoint, timestamp) VALUES ('tmdb', '/', now())";
    db.execute(insert);
    let run = db.usagectl(["migrate", "--adopt", "--sql"]).run();
    db.run_script(&run.stdout);
    adopt(&db).success();
    db.execute(insert);
    assert_eq!(db.rows("SELECT id FROM api_usage ORDER BY 1"), ["1", "2"]);
    db.usagectl(["status", "--verify"]).run().success();
}
