//! SQLite after `prisma db push`, which deletes our tables and keeps our triggers. `tests/prisma/sqlite.ts` tests it with
//! the real Prisma.

use std::collections::BTreeSet;

use rstest::rstest;
use usagectl::store::migrations::own_tables;

use crate::support::{Engine, Sandbox, TestDatabase};

const INSERT: &str = "INSERT INTO api_usage (id, api_name, timestamp)
                      VALUES ('b', 'finnhub', '2026-01-31T11:00:00.000+00:00')";

/// A database with one recorded call, whose own tables were deleted.
pub(super) fn pushed() -> TestDatabase {
    let db = TestDatabase::migrated(Engine::Sqlite);
    db.usagectl(["record", "--api", "finnhub", "--id", "a"])
        .run()
        .success();
    for table in own_tables() {
        db.execute(&format!("DROP TABLE {table}"));
    }
    db
}

#[test]
fn deleted_tables_are_reported_by_status() {
    let db = pushed();
    let error = db.open().batch_execute(INSERT).unwrap_err();
    assert!(error.to_string().contains("no such table"), "{error}");
    let run = db.usagectl(["status"]).run();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    for table in ["api_usage", "InfrastructureMetric"] {
        let line = format!("broken: every write to {table} fails: usagectl's tables were deleted");
        assert!(run.stdout.contains(&line), "{}", run.snapshot());
    }
    assert!(run.stderr.ends_with("next: usagectl migrate --adopt\n"));
    let json = db.usagectl(["status", "--format", "json"]).run();
    assert!(json.stdout.contains("api_usage.usagectl_after_insert"));
    let run = db.usagectl(["record", "--api", "finnhub"]).run();
    assert!(
        run.stderr.ends_with("next: usagectl migrate --adopt\n"),
        "{}",
        run.snapshot()
    );
}

#[rstest]
fn adoption_repairs_writes_and_statistics(#[values(false, true)] by_script: bool) {
    let db = pushed();
    if by_script {
        let run = db.usagectl(["migrate", "--adopt", "--sql"]).run().success();
        let sqlite3 = db.sandbox().command("sqlite3").arg(db.path());
        sqlite3.stdin(&run.stdout).run().success();
    } else {
        let run = db.usagectl(["migrate", "--adopt", "--yes"]).run().success();
        let dropped =
            "dropped the triggers that made writes to InfrastructureMetric, api_usage fail\n";
        assert!(run.stderr.contains(dropped), "{}", run.snapshot());
    }
    db.execute(INSERT);
    db.usagectl(["status"]).run().success();
    db.usagectl(["aggregate"]).run().success();
    assert_eq!(
        db.rows("SELECT total_requests FROM api_usage_aggregates WHERE aggregation_type = 'DAILY'"),
        ["2"]
    );
}

/// As `prisma db push` leaves a table that it redefines when the last statement fails.
fn lose_rename(db: &TestDatabase, table: &str) {
    let query = format!("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = '{table}'");
    let create = db.rows(&query).concat();
    let create = create.replacen(table, &format!("new_{table}"), 1);
    db.execute(&format!(
        "{create}; ALTER TABLE \"new_{table}\" ADD COLUMN region TEXT DEFAULT 'eu';
         INSERT INTO \"new_{table}\" SELECT *, 'us' FROM \"{table}\"; DROP TABLE \"{table}\""
    ));
}

#[rstest]
fn table_that_was_not_renamed_is_named_and_restored(
    #[values("api_usage", "api_usage_aggregates", "InfrastructureLimit")] table: &str,
    #[values(true, false)] has_lost_tables: bool,
) {
    let db = TestDatabase::migrated(Engine::Sqlite);
    db.usagectl(["record", "--api", "finnhub"]).run().success();
    db.usagectl(["aggregate"]).run().success();
    db.usagectl(["limits", "init"]).run().success();
    let count = format!("SELECT count(*) FROM \"{table}\"");
    let before = db.rows(&count);
    if has_lost_tables {
        for own in own_tables() {
            db.execute(&format!("DROP TABLE {own}"));
        }
    }
    lose_rename(&db, table);
    let rename = format!("ALTER TABLE \"new_{table}\" RENAME TO \"{table}\"");
    let found = format!("{table} is missing, and new_{table} has ");
    let status = db.usagectl(["status"]).run();
    assert_eq!(status.code, 4, "{}", status.snapshot());
    assert!(status.stdout.contains(&found), "{}", status.snapshot());
    let migrate = db.usagectl(["migrate"]).run();
    assert_eq!(migrate.code, 5, "{}", migrate.snapshot());
    assert!(migrate.stderr.contains(&found), "{}", migrate.snapshot());
    assert!(migrate.stderr.ends_with("next: usagectl migrate --adopt\n"));
    let fix = match has_lost_tables {
        true => db.usagectl(["migrate", "--adopt", "--sql"]).run().stdout,
        false => {
            let adopt = db.usagectl(["migrate", "--adopt"]).run();
            assert!(adopt.stderr.contains(&rename), "{}", adopt.snapshot());
            let lines = status.stdout.lines();
            let lines: Vec<&str> = lines.filter_map(|it| it.strip_prefix("  fix: ")).collect();
            lines.join("\n") + "\n"
        }
    };
    assert!(fix.contains(&rename), "{fix}");
    let sqlite3 = db.sandbox().command("sqlite3").arg(db.path());
    sqlite3.stdin(&fix).run().success();
    db.usagectl(["migrate", "--adopt", "--yes"]).run().success();
    db.usagectl(["status"]).run().success();
    assert_eq!(db.rows(&count), before);
}

#[test]
fn triggers_that_prevented_the_rename_are_dropped_and_the_only_table_is_kept() {
    let db = pushed();
    lose_rename(&db, "api_usage");
    let rename = "ALTER TABLE new_api_usage RENAME TO api_usage";
    assert!(db.open().batch_execute(rename).is_err());
    let adopt = db.usagectl(["migrate", "--adopt", "--yes"]).run();
    assert_eq!(adopt.code, 5, "{}", adopt.snapshot());
    let dropped = "dropped the triggers that made writes to InfrastructureMetric fail\n";
    assert!(adopt.stderr.contains(dropped), "{}", adopt.snapshot());
    let printed = "ALTER TABLE \"new_api_usage\" RENAME TO \"api_usage\";\n";
    assert!(adopt.stdout.contains(printed), "{}", adopt.snapshot());
    // As if the application had no other tables.
    let others = "api_usage_aggregates api_alerts InfrastructureLimit InfrastructureMetric UpgradeRecommendation";
    for table in others.split(' ') {
        db.execute(&format!("DROP TABLE \"{table}\""));
    }
    let status = db.usagectl(["status"]).run();
    assert_eq!(status.code, 4, "{}", status.snapshot());
    assert_eq!(db.usagectl(["migrate"]).run().code, 5);
    let adopt = db.usagectl(["migrate", "--adopt", "--yes"]).run();
    assert_eq!(adopt.code, 5, "{}", adopt.snapshot());
    let next = "next: ALTER TABLE \"new_api_usage\" RENAME TO \"api_usage\"; then usagectl migrate --adopt\n";
    assert!(adopt.stderr.ends_with(next), "{}", adopt.snapshot());
    db.execute(rename);
    assert_eq!(db.rows("SELECT id FROM api_usage"), ["a"]);
}

#[test]
fn triggers_of_an_interrupted_copy_are_dropped_by_migrate() {
    let db = TestDatabase::migrated(Engine::Sqlite);
    db.execute(
        "CREATE TRIGGER \"usagectl_copy_insert\" AFTER INSERT ON api_usage
         BEGIN DELETE FROM \"usagectl_new_api_usage\"; END",
    );
    let run = db.usagectl(["status"]).run();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    assert!(
        run.stderr.ends_with("next: usagectl migrate\n"),
        "{}",
        run.stderr
    );
    let plan = db.usagectl(["migrate", "--dry-run"]).run().success();
    assert!(
        plan.stdout
            .contains("drop trigger api_usage.usagectl_copy_insert, whose tables are missing\n"),
        "{}",
        plan.stdout
    );
    let sql = db.usagectl(["migrate", "--sql"]).run().success();
    let drop = "DROP TRIGGER IF EXISTS \"usagectl_copy_insert\";\n";
    assert!(sql.stdout.contains(drop), "{}", sql.stdout);
    let run = db.usagectl(["migrate"]).run().success();
    let dropped = "dropped the trigger api_usage.usagectl_copy_insert, which made writes fail\n";
    assert!(run.stdout.starts_with(dropped), "{}", run.snapshot());
    db.execute(INSERT);
    db.usagectl(["status"]).run().success();
}

#[test]
fn migrate_lists_all_tables_that_are_not_of_the_application() {
    let sandbox = Sandbox::new();
    let migrate = |url: &str| sandbox.usagectl(["migrate", "--database-url", url]).run();
    let printed = migrate("file:dev.db").success().stderr;
    let listed: BTreeSet<&str> = printed.split('"').skip(1).step_by(2).collect();
    let query = "SELECT name FROM sqlite_master WHERE type = 'table'";
    let tables = sandbox.command("sqlite3").arg("dev.db").arg(query).run();
    let of_application = [
        "api_usage",
        "api_usage_aggregates",
        "api_alerts",
        "InfrastructureMetric",
        "InfrastructureLimit",
        "UpgradeRecommendation",
    ];
    let tables = tables.success().stdout;
    let ours: BTreeSet<&str> = tables
        .lines()
        .filter(|table| !of_application.contains(table))
        .collect();
    assert_eq!(listed, ours);
    // Nothing new was applied, or Prisma does not use the file.
    assert_eq!(migrate("file:dev.db").success().stderr, "");
    assert_eq!(migrate("sqlite:other.db").success().stderr, "");
}
