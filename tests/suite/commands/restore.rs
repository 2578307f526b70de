//! `rollback --export` and `migrate --restore`: every row and value returns.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use rstest::rstest;
use usagectl::store::schema_objects;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::adoption::deployed;
use crate::support::calls::{self, Call};
use crate::support::{
    Engine, OtherRole, TestDatabase, assert_snapshot, wait_for_lock, wait_for_rows, whole_catalogue,
};

/// Tables that `migrate` fills.
const REBUILT: [&str; 5] = [
    "usagectl_dirty_hours",
    "usagectl_dirty_metric_days",
    "usagectl_odd_timestamps",
    "usagectl_run_locks",
    "usagectl_stale_periods",
];

/// Every row of every table, but of those that are computed again.
pub(super) fn contents(db: &TestDatabase) -> BTreeMap<String, Vec<String>> {
    let found = schema_objects::read(&mut db.open()).unwrap();
    let tables = found
        .objects()
        .filter_map(|(what, _)| what.strip_prefix("table "));
    tables
        .filter(|table| !REBUILT.contains(table))
        .map(|table| {
            let prefix = format!("column {table}.");
            let columns = found
                .objects()
                .filter_map(|(what, _)| what.strip_prefix(&prefix));
            let columns: Vec<String> = columns.map(|name| format!("\"{name}\"")).collect();
            let mut rows = db.rows(&format!("SELECT {} FROM \"{table}\"", columns.join(", ")));
            rows.sort();
            (table.to_owned(), rows)
        })
        .collect()
}

pub(super) fn export_folder(db: &TestDatabase) -> PathBuf {
    db.sandbox().path().join("export")
}

/// Rolls back to the first table with an export, and returns its folder.
fn exported(db: &TestDatabase) -> PathBuf {
    let folder = export_folder(db);
    db.usagectl(["rollback", "--to", "create_api_usage", "--yes", "--export"])
        .arg(&folder)
        .run()
        .success();
    folder
}

/// Fills nearly every table, as a day's work does.
fn work_a_day(db: &TestDatabase) {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let usage = examples.join("usage.ndjson").display().to_string();
    let metrics = examples.join("metrics.ndjson").display().to_string();
    for command in [
        format!("record {usage}"),
        "aggregate".to_owned(),
        "limits init --plan upstash=free --plan neon=launch".to_owned(),
        "limits set --api finnhub --per MINUTE 60".to_owned(),
        format!("collect import {metrics}"),
        "alerts channel add ops stdout".to_owned(),
        "alerts init".to_owned(),
        "alerts add --api finnhub --type ERROR_SPIKE --threshold 1 --period DAY".to_owned(),
        "alerts silence add --api tmdb --for 2h --reason release".to_owned(),
    ] {
        db.usagectl(command.split(' ')).run().success();
    }
    for command in ["alerts check", "recommend run"] {
        let run = db.usagectl(command.split(' ')).run();
        assert!(matches!(run.code, 0 | 12), "{command}: {}", run.snapshot());
    }
}

#[rstest]
fn export_and_restore_return_every_row_of_every_table(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values("--all", "--to=create_api_usage")] target: &str,
) {
    let db = TestDatabase::migrated(engine);
    work_a_day(&db);
    let before = contents(&db);
    let filled = before.values().filter(|rows| !rows.is_empty()).count();
    assert!(filled >= 18, "{filled} tables have rows");
    let catalogue = whole_catalogue(&db);
    let folder = export_folder(&db);
    let run = db
        .usagectl(["rollback", target, "--yes", "--export"])
        .arg(&folder)
        .run()
        .success();
    assert!(run.stdout.contains("rows exported to"), "{}", run.stdout);
    // The capture is gone, and so is everything else.
    let leftovers: Vec<String> = whole_catalogue(&db)
        .into_iter()
        .filter(|line| line.contains("export"))
        .collect();
    assert_eq!(leftovers, [""; 0]);

    let restore = || db.usagectl(["migrate", "--restore"]).arg(&folder);
    let run = restore().run().success();
    assert!(!run.stdout.contains("cannot"), "{}", run.stdout);
    assert_eq!(contents(&db), before);
    assert_eq!(whole_catalogue(&db), catalogue);
    // Repeated, it changes nothing.
    let run = restore().run().success();
    assert!(
        run.stdout.contains("\nrestored 0 rows from"),
        "{}",
        run.stdout
    );
    assert_eq!(contents(&db), before);
    db.usagectl(["aggregate"]).run().success();
    db.usagectl(["aggregate", "--verify"]).run().success();
    db.usagectl(["status"]).run();
}

#[rstest]
fn random_rows_are_restored_to_the_last_bit(#[values(Sqlite, Postgresql)] engine: Engine) {
    let text = || proptest::option::of("[ -~é\\t\\n\"'\\\\]{0,12}");
    let value = (
        text(),
        proptest::option::of(any::<i32>()),
        proptest::option::of(
            proptest::num::f64::NORMAL | proptest::num::f64::ZERO | proptest::num::f64::SUBNORMAL,
        ),
        any::<bool>(),
        0..4_usize,
    );
    let db = TestDatabase::migrated(engine);
    let mut runner = TestRunner::new(Config {
        cases: 6,
        failure_persistence: None,
        ..Config::default()
    });
    let result = runner.run(&vec(value, 1..40), |values| {
        db.execute("DELETE FROM api_usage; DELETE FROM api_alerts");
        let quoted = |text: &Option<String>| match text {
            Some(text) => format!("'{}'", text.replace('\'', "''")),
            None => "NULL".to_owned(),
        };
        let number = |number: Option<String>| number.unwrap_or_else(|| "NULL".to_owned());
        for (id, (text, int, float, bool, form)) in values.iter().enumerate() {
            // SQLite keeps a timestamp in the form in which it was written.
            let at = match (engine, form) {
                (Sqlite, 1) => "1767225600123",
                (Sqlite, 2) => "'2026-01-01 09:00:00'",
                (Sqlite, 3) => "'soon'",
                _ => "'2026-01-31T11:00:00.123+00:00'",
            };
            let int = number(int.map(|it| it.to_string()));
            let float = number(float.map(|it| format!("{it:e}")));
            let text = quoted(text);
            db.execute(&format!(
                "INSERT INTO api_usage (id, api_name, timestamp, method, response_time, error_message, cost_credits,
                     cached, user_id)
                 VALUES ('{id}', 'tmdb', {at}, {text}, {int}, {text}, {float}, {bool}, {text});
                 INSERT INTO api_alerts (id, api_name, alert_type, threshold, period, enabled, updated_at)
                 VALUES ('{id}', 'tmdb', 'ERROR_SPIKE', coalesce({float}, 1), 'HOUR{id}', {bool},
                     '2026-01-31T11:00:00.000+00:00')"
            ));
        }
        let before = contents(&db);
        let folder = export_folder(&db);
        db.usagectl(["rollback", "--to", "create_api_usage", "--yes", "--export"])
            .arg(&folder)
            .run()
            .success();
        db.usagectl(["migrate", "--restore"])
            .arg(&folder)
            .run()
            .success();
        fs::remove_dir_all(&folder).unwrap();
        prop_assert_eq!(contents(&db), before);
        Ok(())
    });
    result.unwrap();
}

/// Inserts, updates and deletes rows until its columns are dropped.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Written>,
}

/// The rows that a writer wrote, by id: response_time and user_id.
#[derive(Default)]
struct Written {
    rows: BTreeMap<String, String>,
    longest_wait: Duration,
}

impl Writer {
    fn start(db: &TestDatabase) -> Writer {
        let mut connection = db.open();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut written = Written::default();
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let id = format!("live{number}");
                let (statement, row) = match number % 5 {
                    3 => {
                        let id = format!("live{}", number - 3);
                        (
                            format!("UPDATE api_usage SET response_time = -1 WHERE id = '{id}'"),
                            Some((id, format!("-1|u{}", number - 3))),
                        )
                    }
                    4 => {
                        let id = format!("live{}", number - 3);
                        (format!("DELETE FROM api_usage WHERE id = '{id}'"), None)
                    }
                    _ => (
                        format!(
                            "INSERT INTO api_usage (id, api_name, timestamp, response_time, user_id)
                             VALUES ('{id}', 'tmdb', '2026-01-31T11:00:00.000+00:00', {number}, 'u{number}')"
                        ),
                        Some((id, format!("{number}|u{number}"))),
                    ),
                };
                let started = Instant::now();
                if connection.batch_execute(&statement).is_err() {
                    // The columns are gone.
                    break;
                }
                written.longest_wait = written.longest_wait.max(started.elapsed());
                match row {
                    Some((id, values)) => written.rows.insert(id, values),
                    None => written.rows.remove(&format!("live{}", number - 3)),
                };
            }
            written
        });
        Writer { stop, thread }
    }

    fn finish(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn put_old_rows(db: &TestDatabase, count: usize) {
    let values: Vec<String> = (0..count)
        .map(|id| format!("('old{id}', 'tmdb', '2026-01-30T11:00:00.000+00:00', {id}, 'old')"))
        .collect();
    for values in values.chunks(5_000) {
        db.execute(&format!(
            "INSERT INTO api_usage (id, api_name, timestamp, response_time, user_id) VALUES {}",
            values.join(", ")
        ));
    }
}

#[rstest]
fn rows_of_a_live_writer_are_exported_until_the_drop(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_old_rows(&db, 20_000);
    let writer = Writer::start(&db);
    let folder = export_folder(&db);
    let run = db
        .usagectl(["rollback", "--to", "create_api_usage", "--yes", "--export"])
        .arg(&folder)
        .run();
    let written = writer.finish();
    assert_eq!(run.code, 0, "{}", run.snapshot());
    assert!(
        written.rows.len() > 20,
        "{} rows were written",
        written.rows.len()
    );
    let run = db.usagectl(["migrate", "--restore"]).arg(&folder).run();
    // The writer's last statement without the dropped columns may be a deletion.
    let missing = run.stdout.contains("missing: 1 row of api_usage deleted");
    let expected = if missing { 3 } else { 0 };
    assert_eq!(run.code, expected, "{}", run.snapshot());
    let found: BTreeMap<String, String> = db
        .rows("SELECT id, response_time, user_id FROM api_usage WHERE id LIKE 'live%'")
        .into_iter()
        .map(|row| {
            let (id, values) = row.split_once('|').unwrap();
            (id.to_owned(), values.to_owned())
        })
        .collect();
    assert_eq!(found, written.rows);
    assert_eq!(
        db.rows("SELECT count(*), sum(response_time), count(user_id) FROM api_usage WHERE id LIKE 'old%'"),
        ["20000|199990000|20000"]
    );
}

#[rstest]
fn accepted_data_loss_covers_rows_of_a_live_writer(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_old_rows(&db, 5_000);
    let writer = Writer::start(&db);
    let run = db
        .usagectl([
            "rollback",
            "--to",
            "create_api_usage",
            "--yes",
            "--accept-data-loss",
        ])
        .run();
    let written = writer.finish();
    assert_eq!(run.code, 0, "{}", run.snapshot());
    assert_eq!(
        db.rows("SELECT count(*) FROM api_usage"),
        [(5_000 + written.rows.len()).to_string()]
    );
}

#[test]
fn truncate_during_export_is_exported_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    put_old_rows(&db, 10);
    let folder = export_folder(&db);
    let mut other = db.open_transaction("SELECT count(*) FROM api_alerts");
    let run = db
        .usagectl(["rollback", "--to", "create_api_usage", "--yes", "--export"])
        .arg(&folder)
        .arg("--lock-timeout=60s")
        .spawn();
    // The snapshot is written, and api_usage is not locked yet.
    wait_for_lock(&db, "relation = 'api_alerts'::regclass");
    db.execute(
        "TRUNCATE api_usage;
         INSERT INTO api_usage (id, api_name, timestamp, user_id)
         VALUES ('old1', 'tmdb', '2026-01-31T11:00:00.000+00:00', 'after')",
    );
    other.batch_execute("COMMIT").unwrap();
    drop(other);
    run.wait().success();
    db.usagectl(["migrate", "--restore"])
        .arg(&folder)
        .run()
        .success();
    assert_eq!(db.rows("SELECT id, user_id FROM api_usage"), ["old1|after"]);
}

#[rstest]
fn export_is_private_and_readable_by_zstd(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.execute(
        "INSERT INTO api_usage (id, api_name, timestamp, method) VALUES ('a', 'tmdb', '2026-01-31T11:00:00.000+00:00', 'PUT')",
    );
    let folder = exported(&db);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for entry in fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    let manifest = fs::read_to_string(folder.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["complete"], true);
    let enhance = manifest["migrations"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == "enhance_api_monitoring")
        .unwrap();
    let part = &enhance["tables"][0]["parts"][0];
    assert_eq!(part["rows"], 1);
    let file = fs::read(folder.join(part["file"].as_str().unwrap())).unwrap();
    let text = String::from_utf8(zstd::decode_all(file.as_slice()).unwrap()).unwrap();
    assert_eq!(
        text,
        "{\"id\":\"a\",\"method\":\"PUT\",\"response_time\":null,\"request_size\":null,\"response_size\":null,\
         \"error_type\":null,\"error_message\":null,\"cost_credits\":null,\"cached\":false,\"user_id\":null}\n"
    );
}

#[rstest]
fn folder_with_files_is_refused(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let folder = export_folder(&db);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    let whole = whole_catalogue(&db);
    let run = db
        .usagectl(["rollback", "--all", "--yes", "--export"])
        .arg(&folder)
        .run();
    assert_eq!(run.code, 5, "{}", run.snapshot());
    assert!(run.stderr.contains("is not empty"), "{}", run.stderr);
    assert_eq!(whole_catalogue(&db), whole);
    // An empty folder is used.
    fs::remove_file(folder.join("notes.txt")).unwrap();
    db.usagectl(["rollback", "--all", "--yes", "--export"])
        .arg(&folder)
        .run()
        .success();
    let run = db
        .usagectl(["rollback", "--all", "--yes", "--export"])
        .arg(&folder)
        .run();
    // Nothing is left to revert, so nothing is exported.
    assert_eq!(run.code, 0, "{}", run.snapshot());
}

#[rstest]
fn damaged_export_is_refused_before_anything_changes(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_old_rows(&db, 3);
    let folder = exported(&db);
    let whole = whole_catalogue(&db);
    let file = folder.join("20260123210146_api_usage.0.ndjson.zst");
    let good = fs::read(&file).unwrap();
    let manifest = fs::read_to_string(folder.join("manifest.json")).unwrap();
    let restore = || {
        let run = db.usagectl(["migrate", "--restore"]).arg(&folder).run();
        assert_eq!(run.code, 5, "{}", run.snapshot());
        assert_eq!(whole_catalogue(&db), whole);
        run.stderr
    };
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&file, bad).unwrap();
    assert!(restore().contains("its SHA-256 differs"));
    fs::remove_file(&file).unwrap();
    assert!(restore().contains("is missing"));
    fs::write(&file, &good).unwrap();
    fs::write(
        folder.join("manifest.json"),
        manifest.replace("\"rows\": 3", "\"rows\": 4"),
    )
    .unwrap();
    assert!(restore().contains("has 3 rows, the manifest 4"));
    fs::write(folder.join("manifest.json"), "{}").unwrap();
    assert!(restore().contains("is not a manifest"));
    fs::remove_file(folder.join("manifest.json")).unwrap();
    assert!(restore().contains("there is no manifest.json"));
    fs::write(folder.join("manifest.json"), manifest).unwrap();
    db.usagectl(["migrate", "--restore"])
        .arg(&folder)
        .run()
        .success();
    let other = db.usagectl(["prune", "--restore"]).arg(&folder).run();
    assert_eq!(other.code, 5, "{}", other.snapshot());
    let next = "\nnext: usagectl migrate --restore ";
    assert!(other.stderr.contains(next), "{}", other.stderr);
    for command in [
        ["aggregate", "-q"].as_slice(),
        &["prune", "--older-than", "1d", "--archive", "old"],
    ] {
        db.usagectl(command).run().success();
    }
    let other = db.usagectl(["migrate", "--restore", "old"]).run();
    assert_eq!(other.code, 5, "{}", other.snapshot());
    assert!(
        other
            .stderr
            .ends_with("next: usagectl prune --restore old\n")
    );
}

#[test]
fn restore_waits_for_a_locked_row_as_long_as_allowed_and_names_its_holder_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    put_old_rows(&db, 3);
    let folder = export_folder(&db);
    let rollback = ["rollback", "--to", "create_api_usage", "--yes", "--export"];
    db.usagectl(rollback).arg(&folder).run().success();
    db.usagectl(["migrate"]).run().success();
    let mut other = db.open_transaction("UPDATE api_usage SET api_name = 'x' WHERE id = 'old1'");
    let restore = || db.usagectl(["migrate", "--restore"]).arg(&folder);
    let began = Instant::now();
    let run = restore().args(["--lock-wait", "1s"]).run();
    assert!(
        run.code == 6 && run.stderr.contains(" is in use by "),
        "{}",
        run.snapshot()
    );
    assert!(began.elapsed() < Duration::from_secs(20));
    other.batch_execute("ROLLBACK").unwrap();
    restore().run().success();
}

#[rstest]
fn values_of_deleted_rows_remain_in_the_export(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_old_rows(&db, 3);
    let folder = exported(&db);
    db.execute("DELETE FROM api_usage WHERE id = 'old2'");
    let restore = || db.usagectl(["migrate", "--restore"]).arg(&folder).run();
    let run = restore();
    assert_eq!(run.code, 3, "{}", run.snapshot());
    let missing = "missing: 1 row of api_usage deleted since the rollback; the exported values of such rows were not written";
    assert!(run.stdout.contains(missing), "{}", run.snapshot());
    let next = "next: nothing, if the missing rows were deleted on purpose; else insert them again, then: usagectl migrate --restore ";
    assert!(run.stderr.contains(next), "{}", run.snapshot());
    db.execute("INSERT INTO api_usage (id, api_name, timestamp) VALUES ('old2', 'finnhub', '2026-01-01T00:00:00.000+00:00')");
    restore().success();
    assert_eq!(
        db.rows("SELECT user_id FROM api_usage WHERE id = 'old2'"),
        ["old"]
    );
}

#[rstest]
fn newer_values_are_kept_and_reported(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_old_rows(&db, 3);
    db.usagectl(["limits", "set", "--api", "finnhub", "--per", "MINUTE", "60"])
        .run()
        .success();
    let folder = exported(&db);
    db.usagectl(["migrate"]).run().success();
    db.usagectl(["limits", "set", "--api", "finnhub", "--per", "MINUTE", "90"])
        .run()
        .success();
    db.execute("UPDATE api_usage SET response_time = 77 WHERE id = 'old1'; DELETE FROM api_usage WHERE id = 'old2'");
    let run = db.usagectl(["migrate", "--restore"]).arg(&folder).run();
    assert_snapshot!(run.snapshot(), @"
        MIGRATION               TABLE                WRITTEN  UNCHANGED  KEPT  MISSING  REFUSED
        enhance_api_monitoring  api_usage                  2          0     1        1        0
        add_alerting            usagectl_api_limits        0          0     1        0        0
        missing: 1 row of api_usage deleted since the rollback; the exported values of such rows were not written and remain in [dir]/export
        restored 2 rows from [dir]/export
        ------- stderr -------
        next: compare the kept rows with the files of the export
        [exit status: 3]
        ");
    assert_eq!(
        db.rows("SELECT id, response_time, user_id FROM api_usage ORDER BY id"),
        ["old0|0|old", "old1|77|old"]
    );
    assert_eq!(
        db.rows("SELECT limit_value FROM usagectl_api_limits"),
        ["90"]
    );
}

#[rstest]
fn index_of_the_user_is_listed_exported_and_restored(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.execute(
        "CREATE INDEX mine ON api_usage (user_id, response_time);
         CREATE INDEX by_hand ON api_alerts (threshold)",
    );
    let whole = whole_catalogue(&db);
    let to_the_start = ["rollback", "--to", "create_api_usage"];
    let run = db.usagectl(to_the_start).arg("--yes").run();
    assert_eq!(run.code, 5, "{}", run.snapshot());
    for index in ["mine", "by_hand"] {
        let line = format!("  drop index {index}, which no migration created\n");
        assert!(run.stdout.contains(&line), "{}", run.stdout);
    }
    assert_eq!(whole_catalogue(&db), whole);
    let folder = export_folder(&db);
    db.usagectl(to_the_start)
        .arg("--yes")
        .arg("--export")
        .arg(&folder)
        .run()
        .success();
    let run = db
        .usagectl(["migrate", "--restore"])
        .arg(&folder)
        .run()
        .success();
    assert!(
        run.stdout.contains("created index mine\n"),
        "{}",
        run.stdout
    );
    assert_eq!(whole_catalogue(&db), whole);
    let run = db
        .usagectl(["migrate", "--restore"])
        .arg(&folder)
        .run()
        .success();
    assert!(run.stdout.contains("index mine exists\n"), "{}", run.stdout);
}

/// A dropped column is one of the partitions, too, with all that uses it there; and rows may be written to a partition by
/// its name.
#[test]
fn partitions_keep_their_objects_and_rows_postgresql() {
    let db = TestDatabase::empty(Postgresql);
    db.execute(
        "CREATE TABLE api_usage (id text NOT NULL, api_name text NOT NULL, endpoint text,
             timestamp timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, success boolean NOT NULL DEFAULT true,
             status_code integer, created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (id, timestamp))
             PARTITION BY RANGE (timestamp);
         CREATE SCHEMA old;
         CREATE TABLE first PARTITION OF api_usage FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
         CREATE TABLE old.second PARTITION OF api_usage FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
         CREATE INDEX ON api_usage (api_name, timestamp);
         CREATE INDEX ON api_usage (timestamp)",
    );
    db.usagectl(["migrate", "--adopt", "--yes"]).run().success();
    put_old_rows(&db, 3);
    db.execute(
        "CREATE INDEX mine ON api_usage (user_id);
         CREATE INDEX of_first ON first (response_time);
         CREATE INDEX of_second ON old.second (response_time, user_id);
         ALTER TABLE first ADD CONSTRAINT short CHECK (response_time < 1000000);
         CREATE VIEW users AS SELECT user_id FROM old.second",
    );
    let rollback = ["rollback", "--to", "create_api_usage", "--yes"];
    let folder = export_folder(&db);
    let refused = db.usagectl(rollback).arg("--export").arg(&folder).run();
    assert_eq!(refused.code, 5, "{}", refused.snapshot());
    let reason = "view users uses column second.user_id";
    assert!(refused.stderr.contains(reason), "{}", refused.snapshot());
    db.execute("DROP VIEW users");
    let objects = || {
        db.rows(
            "SELECT indrelid::regclass, pg_get_indexdef(indexrelid), indisvalid FROM pg_index
             WHERE indrelid IN (SELECT relid FROM pg_partition_tree('api_usage'))
             UNION ALL
             SELECT conrelid::regclass, pg_get_constraintdef(oid), convalidated FROM pg_constraint WHERE conname = 'short'
             ORDER BY 1, 2",
        )
    };
    let objects_before = objects();

    // The transaction that drops is retried, and rows are written meanwhile.
    let mut reader = db.open_transaction("SELECT count(*) FROM api_alerts");
    let mut run = db
        .usagectl(rollback)
        .args(["-v", "--lock-timeout=50ms", "--export"])
        .arg(&folder)
        .spawn();
    run.wait_for_stderr(" is in use");
    db.execute(
        "INSERT INTO first (id, api_name, timestamp, response_time) VALUES ('a', 'tmdb', '2026-01-20', 1);
         INSERT INTO old.second (id, api_name, timestamp, user_id) VALUES ('b', 'tmdb', '2026-02-20', 'c');
         UPDATE first SET user_id = 'd' WHERE id = 'old1';
         DELETE FROM first WHERE id = 'old2'",
    );
    let query = "SELECT id, response_time, user_id FROM api_usage ORDER BY id";
    let before = db.rows(query);
    reader.batch_execute("COMMIT").unwrap();
    drop(reader);
    run.wait().success();
    for created in [true, false] {
        let program = db.usagectl(["migrate", "--restore"]).arg(&folder);
        let restored = program.run().success().stdout;
        for index in ["mine", "of_first", "of_second"] {
            let line = match created {
                true => format!("created index {index}\n"),
                false => format!("index {index} exists\n"),
            };
            assert!(restored.contains(&line), "{line}: {restored}");
        }
        assert_eq!(db.rows(query), before);
        assert_eq!(objects(), objects_before);
    }
}

/// An export of one engine is restored into the other.
#[rstest]
fn export_is_restored_into_the_other_engine(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let calls = vec(Call::any(), 50).new_tree(&mut TestRunner::deterministic());
    let mut calls = calls.unwrap().current();
    for (id, call) in calls.iter_mut().enumerate() {
        call.id = format!("{id:03}");
    }
    calls::insert(&db, &calls);
    db.usagectl(["aggregate"]).run().success();
    let folder = export_folder(&db);
    let other = TestDatabase::empty(match engine {
        Sqlite => Postgresql,
        Postgresql => Sqlite,
    });
    db.usagectl(["rollback", "--all", "--yes", "--export"])
        .arg(&folder)
        .run()
        .success();
    for db in [&db, &other] {
        db.usagectl(["migrate", "--restore"])
            .arg(&folder)
            .run()
            .success();
    }
    let same = |query: &str| assert_eq!(other.rows(query), db.rows(query), "{query}");
    same(
        "SELECT id, api_name, success, status_code, response_time, cost_credits, cached FROM api_usage ORDER BY id",
    );
    same(
        "SELECT id, api_name, period_start, total_requests, total_cost FROM api_usage_aggregates ORDER BY id",
    );
    same(
        "SELECT api_name, period_start, endpoint, response_time_histogram FROM usagectl_rollups ORDER BY 1, 2, 3, 4",
    );
    other.usagectl(["aggregate"]).run().success();
    other.usagectl(["aggregate", "--verify"]).run().success();
}

/// The application's own types: lists in place of JSON, and more values of an enum.
#[rstest]
fn values_of_the_applications_own_types_are_restored(#[values(Sqlite, Postgresql)] target: Engine) {
    let db = deployed(Postgresql, 3);
    db.execute("ALTER TABLE \"UpgradeRecommendation\" ALTER benefits TYPE text[] USING NULL");
    db.execute("ALTER TYPE \"InfrastructureService\" ADD VALUE 'VERCEL_CRON' AFTER 'VERCEL_KV'");
    db.execute(
        "INSERT INTO \"UpgradeRecommendation\"
             (id, service, \"currentPlan\", \"recommendedPlan\", priority, reason, benefits, \"updatedAt\")
         VALUES ('a', 'VERCEL_KV', 'free', 'pro', 'LOW', 'x', ARRAY['one', 'two \"2\"', NULL], '2026-01-31'),
             ('b', 'VERCEL_KV', 'free', 'pro', 'LOW', 'x', '{}', '2026-01-31');
         INSERT INTO \"InfrastructureMetric\" (id, service, metric, value)
         VALUES ('a', 'VERCEL_KV', 'STORAGE_MB', 1), ('c', 'VERCEL_CRON', 'STORAGE_MB', 1)",
    );
    db.usagectl(["migrate", "--adopt", "--yes"]).run().success();
    let folder = export_folder(&db);
    let back = ["rollback", "--to=enhance_api_monitoring", "--yes"];
    let run = db.usagectl(back).arg("--export").arg(&folder).run();
    let value = "enum value InfrastructureService.VERCEL_CRON";
    assert!(run.stdout.contains(value), "{}", run.snapshot());
    run.success();
    let benefits = "SELECT id || ' ' || benefits FROM \"UpgradeRecommendation\" ORDER BY id";
    let metrics = "SELECT id || ' ' || service FROM \"InfrastructureMetric\" ORDER BY id";
    if target == Sqlite {
        let other = TestDatabase::empty(Sqlite);
        let run = other.usagectl(["migrate", "--restore"]).arg(&folder).run();
        run.success();
        assert_eq!(other.rows(metrics), ["a VERCEL_KV", "c VERCEL_CRON"]);
        let lists = ["a [\"one\",\"two \\\"2\\\"\",null]", "b []"];
        assert_eq!(other.rows(benefits), lists);
        return;
    }
    let restore = || db.usagectl(["migrate", "--restore"]).arg(&folder).run();
    let run = restore().success();
    let created = format!("\ncreated {value}\n");
    assert!(run.stdout.contains(&created), "{}", run.snapshot());
    assert_eq!(db.rows(metrics), ["a VERCEL_KV", "c VERCEL_CRON"]);
    let lists = ["a [\"one\", \"two \\\"2\\\"\", null]", "b []"];
    assert_eq!(db.rows(benefits), lists);
    let order = "SELECT string_agg(enumlabel, ' ' ORDER BY enumsortorder) FROM pg_enum e
                 JOIN pg_type t ON t.oid = e.enumtypid WHERE typname = 'InfrastructureService'";
    assert!(db.rows(order)[0].starts_with("VERCEL_KV VERCEL_CRON "));
    let again = restore().success();
    assert!(again.stdout.contains(&format!("{value} exists")));
    db.usagectl(["status", "--verify"]).run().success();
}

#[rstest]
fn value_that_the_table_cannot_hold_is_named(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_old_rows(&db, 1_203);
    db.execute("UPDATE api_usage SET method = 'x' WHERE id IN ('old7', 'old900')");
    let folder = export_folder(&db);
    let back = ["rollback", "--all", "--yes", "--export"];
    db.usagectl(back).arg(&folder).run().success();
    db.usagectl(["migrate"]).run().success();
    // Meanwhile the application changed its table.
    match engine {
        Postgresql => db.execute(
            "ALTER TABLE api_usage DROP CONSTRAINT IF EXISTS c, ADD CONSTRAINT c CHECK (method <> 'x')",
        ),
        Sqlite => db.execute(
            "CREATE TRIGGER c BEFORE INSERT ON api_usage WHEN NEW.id IN ('old7', 'old900')
             BEGIN SELECT RAISE(ABORT, 'refused'); END",
        ),
    }
    let run = db.usagectl(["migrate", "--restore"]).arg(&folder).run();
    let written =
        || db.rows("SELECT count(*), count(CASE method WHEN 'x' THEN 1 END) FROM api_usage");
    if engine == Sqlite {
        // An error that no value explains stops the command.
        assert_eq!(run.code, 1, "{}", run.snapshot());
        assert!(
            run.stderr
                .contains("cannot restore table api_usage: refused"),
            "{}",
            run.stderr
        );
        return;
    }
    assert_eq!(run.code, 3, "{}", run.snapshot());
    assert_eq!(written(), ["1203|0"]);
    let problem =
        "row id \"old900\": new row for relation \"api_usage\" violates check constraint \"c\"";
    assert!(run.stdout.contains(problem), "{}", run.snapshot());
    let next = "next: change the columns named above so that they can hold the values, then: usagectl migrate --restore";
    assert!(run.stderr.contains(next), "{}", run.stderr);
    db.execute("ALTER TABLE api_usage DROP CONSTRAINT c");
    db.usagectl(["migrate", "--restore"])
        .arg(&folder)
        .run()
        .success();
    assert_eq!(written(), ["1203|2"]);
}

/// The last transaction is retried while another session reads the table, and rows are written meanwhile.
#[test]
fn rows_written_between_retries_are_exported_postgresql() {
    let db = TestDatabase::empty(Postgresql);
    db.usagectl(["migrate", "--to", "enhance_api_monitoring"])
        .run()
        .success();
    put_old_rows(&db, 3);
    let folder = export_folder(&db);
    let mut reader = db.open_transaction("SELECT count(*) FROM api_alerts");
    let mut run = db
        .usagectl(["rollback", "--yes", "-v", "--lock-timeout=50ms", "--export"])
        .arg(&folder)
        .spawn();
    run.wait_for_stderr(" is in use");
    // More than are left for the transaction that drops.
    for block in ["a", "b"] {
        db.execute(&format!(
            "INSERT INTO api_usage (id, api_name, timestamp, response_time)
             SELECT '{block}' || n, 'tmdb', '2026-01-31T11:00:00', n FROM generate_series(1, 600) n;
             UPDATE api_usage SET user_id = '{block}' WHERE id = 'old1';
             DELETE FROM api_usage WHERE id = '{block}7'"
        ));
        // They are written before the next attempt.
        let recorded = "SELECT 1 FROM usagectl.usagectl_export_1 HAVING count(*) <= 500";
        wait_for_rows(&db, recorded);
    }
    db.execute("UPDATE api_usage SET user_id = 'c' WHERE id = 'old2'");
    let query = "SELECT id, response_time, user_id FROM api_usage ORDER BY id";
    let before = db.rows(query);
    reader.batch_execute("COMMIT").unwrap();
    drop(reader);
    run.wait().success();
    db.usagectl(["migrate", "--restore"])
        .arg(&folder)
        .run()
        .success();
    assert_eq!(before.len(), 1_201);
    assert_eq!(db.rows(query), before);
}

/// Counting, exporting and restoring take longer than the settings of the database allow.
#[test]
fn time_limits_of_the_database_do_not_end_a_rollback_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    put_old_rows(&db, 3);
    // Reading a row takes longer than the limit.
    db.execute(
        "CREATE FUNCTION public.slow() RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT true FROM pg_sleep(0.4)';
         CREATE POLICY slow ON api_usage USING (public.slow());
         ALTER TABLE api_usage FORCE ROW LEVEL SECURITY;
         ALTER TABLE api_usage ENABLE ROW LEVEL SECURITY",
    );
    let before = db.rows("SELECT id, user_id FROM api_usage ORDER BY id");
    for setting in ["statement_timeout", "idle_in_transaction_session_timeout"] {
        db.execute(&format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {setting} = 300', current_database()); END $$"
        ));
    }
    let folder = export_folder(&db);
    let rollback = ["rollback", "--to", "create_api_usage"];
    db.usagectl(rollback).arg("--dry-run").run().success();
    db.usagectl(rollback)
        .args(["--yes", "--export"])
        .arg(&folder)
        .run()
        .success();
    db.usagectl(["migrate", "--restore"])
        .arg(&folder)
        .run()
        .success();
    db.execute("ALTER TABLE api_usage DISABLE ROW LEVEL SECURITY");
    assert_eq!(
        db.rows("SELECT id, user_id FROM api_usage ORDER BY id"),
        before
    );
}

/// An interrupted export whose migration was applied again has the only copy of the dropped rows.
#[rstest]
fn dropped_rows_are_not_replaced_by_a_later_export(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_old_rows(&db, 3);
    let folder = export_folder(&db);
    let rollback = || {
        let command = ["rollback", "--to", "create_api_usage", "--yes", "--export"];
        db.usagectl(command).arg(&folder)
    };
    rollback().run().success();
    // As a run that was killed before it completed the manifest leaves it.
    let path = folder.join("manifest.json");
    let manifest = fs::read_to_string(&path).unwrap();
    let manifest = manifest.replace("\"complete\": true", "\"complete\": false");
    fs::write(&path, &manifest).unwrap();
    db.usagectl(["migrate"]).run().success();
    let whole = whole_catalogue(&db);
    let run = rollback().run();
    assert_eq!(run.code, 5, "{}", run.snapshot());
    let expected = "which was applied again since; nothing was changed\n\
                    next: name a new folder\n";
    assert!(run.stderr.ends_with(expected), "{}", run.stderr);
    assert_eq!(whole_catalogue(&db), whole);
    assert_eq!(fs::read_to_string(&path).unwrap(), manifest);
    db.usagectl(["migrate", "--restore"])
        .arg(&folder)
        .run()
        .success();
    assert_eq!(db.rows("SELECT count(user_id) FROM api_usage"), ["3"]);
}

#[test]
fn grants_are_listed_exported_and_restored_postgresql() {
    let db = TestDatabase::empty(Postgresql);
    let role = OtherRole::new(&db);
    let name = &role.name;
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    // Given again with each table, hence not lost.
    db.execute(&format!(
        "ALTER DEFAULT PRIVILEGES IN SCHEMA usagectl GRANT SELECT ON TABLES TO {name}"
    ));
    db.usagectl(["migrate"]).run().success();
    let plan = || {
        let command = ["rollback", "--to", "create_api_usage", "--dry-run"];
        db.usagectl(command).run().success().stdout
    };
    assert!(!plan().contains("drop grant"), "{}", plan());
    db.execute(&format!(
        "GRANT SELECT, INSERT ON api_alerts TO {name} WITH GRANT OPTION;
         GRANT SELECT ON api_usage TO {name};
         GRANT UPDATE (user_id, api_name) ON api_usage TO {name};
         GRANT SELECT ON usagectl.usagectl_rollups TO PUBLIC"
    ));
    let rights = || {
        db.rows(
            "SELECT c.oid::regclass, a.attname, p.grantee, p.privilege_type, p.is_grantable
             FROM pg_class c
             CROSS JOIN LATERAL (
                 SELECT NULL AS attname, c.relacl AS acl
                 UNION ALL SELECT attname, attacl FROM pg_attribute WHERE attrelid = c.oid AND NOT attisdropped
             ) a
             CROSS JOIN LATERAL aclexplode(a.acl) p
             WHERE c.relkind = 'r' AND p.grantee <> c.relowner
               AND c.relnamespace IN ('public'::regnamespace, 'usagectl'::regnamespace)
             ORDER BY 1, 2, 3, 4",
        )
    };
    let before = rights();
    let plan = plan();
    let listed = plan.lines().filter(|line| line.contains("drop grant"));
    let listed: Vec<String> = listed.map(|line| line.replace(name, "[role]")).collect();
    assert_snapshot!(listed.join("\n"), @"
    drop grant SELECT on usagectl_rollups to PUBLIC, which no migration created
    drop grant INSERT, SELECT on api_alerts to [role] WITH GRANT OPTION, which no migration created
    drop grant UPDATE (user_id) on api_usage to [role], which no migration created
    ");
    let folder = exported(&db);
    let restore = || {
        let program = db.usagectl(["migrate", "--restore"]).arg(&folder);
        program.run().success().stdout
    };
    let restored = restore();
    let created = format!("created grant UPDATE (user_id) on api_usage to {name}\n");
    assert!(restored.contains(&created), "{restored}");
    assert_eq!(rights(), before);
    assert!(!restore().contains("created"));
    assert_eq!(rights(), before);
}

#[rstest]
fn names_of_indexes_are_restored_or_named_as_lost(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let rollback = ["rollback", "--to", "create_api_usage"];
    let plan = || {
        let program = db.usagectl(rollback).arg("--dry-run");
        program.run().success().stdout
    };
    assert!(!plan().contains("drop setting"), "{}", plan());
    db.execute(match engine {
        Postgresql => {
            "ALTER INDEX api_alerts_pkey RENAME TO \"my Key\";
             ALTER INDEX api_alerts_api_name_enabled_idx RENAME TO mine;
             COMMENT ON INDEX mine IS 'index';
             ALTER INDEX api_usage_timestamp_idx RENAME TO newest"
        }
        Sqlite => {
            "DROP INDEX api_usage_timestamp_idx;
             CREATE INDEX newest ON api_usage (timestamp DESC)"
        }
    });
    let names = || match engine {
        Postgresql => db.rows(
            "SELECT indexname, obj_description(quote_ident(indexname)::regclass) FROM pg_indexes
             WHERE indexname IN ('my Key', 'mine', 'newest') ORDER BY 1",
        ),
        Sqlite => Vec::new(),
    };
    let before = names();
    let lost =
        "drop setting name newest of index api_usage (timestamp desc), which no migration created";
    let lost = match engine {
        Postgresql => format!("{lost}\n"),
        Sqlite => format!("{lost} and no restore brings back\n"),
    };
    assert!(plan().contains(&lost), "{}", plan());
    let folder = export_folder(&db);
    let export = ["--yes", "--export", folder.to_str().unwrap()];
    db.usagectl(rollback).args(export).run().success();
    for created in [true, false] {
        let program = db.usagectl(["migrate", "--restore"]).arg(&folder);
        let restored = program.run().success().stdout;
        assert!(!restored.contains("cannot"), "{restored}");
        let is_created = restored.contains("created setting name");
        assert_eq!(is_created, created && engine == Postgresql, "{restored}");
        assert_eq!(names(), before);
    }
}

#[test]
fn owner_and_rights_of_enums_are_restored_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    let role = OtherRole::new(&db);
    let name = &role.name;
    role.administer(&[
        &format!("GRANT ALL ON SCHEMA public TO {name}"),
        &format!("ALTER TYPE \"MetricType\" OWNER TO {name}"),
        "REVOKE USAGE ON TYPE \"RecommendationStatus\" FROM PUBLIC",
        &format!("GRANT USAGE ON TYPE \"RecommendationStatus\" TO {name}"),
    ]);
    let rights = || {
        db.rows(
            "SELECT typname, typowner::regrole, typacl::text FROM pg_type
             WHERE typname IN ('MetricType', 'RecommendationStatus') ORDER BY 1",
        )
    };
    let before = rights();
    let folder = export_folder(&db);
    let rollback = ["rollback", "--to", "create_api_usage", "--yes", "--export"];
    let plan = db.usagectl(rollback).arg(&folder).run().success();
    for line in [
        format!("drop setting owner {name} of enum MetricType"),
        format!("drop grant USAGE on enum RecommendationStatus to {name}"),
        "drop setting revoked USAGE on enum RecommendationStatus".to_owned(),
    ] {
        assert!(plan.stdout.contains(&line), "{line}: {}", plan.stdout);
    }
    let program = db.usagectl(["migrate", "--restore"]).arg(&folder);
    program.run().success();
    assert_eq!(rights(), before);
}

#[test]
fn settings_and_comments_are_listed_exported_and_restored_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    db.execute(
        "ALTER TABLE api_alerts ALTER COLUMN id SET DEFAULT gen_random_uuid();
         ALTER TABLE \"InfrastructureLimit\" ALTER COLUMN \"updatedAt\" SET DEFAULT now();
         CREATE SEQUENCE numbers OWNED BY api_alerts.period;
         ALTER TABLE api_alerts ALTER COLUMN period SET DEFAULT nextval('numbers');
         INSERT INTO api_alerts (api_name, alert_type, threshold, updated_at) VALUES ('tmdb', 'ERROR_SPIKE', 1, now());
         CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         COMMENT ON TABLE api_alerts IS 'it''s ours';
         COMMENT ON COLUMN api_alerts.period IS 'per';
         COMMENT ON COLUMN api_usage.user_id IS 'who';
         COMMENT ON TYPE \"MetricType\" IS 'kinds';
         COMMENT ON CONSTRAINT api_alerts_pkey ON api_alerts IS 'key';
         ALTER TABLE api_alerts SET (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_enabled = false);
         ALTER TABLE usagectl.usagectl_rollups SET (fillfactor = 80);
         ALTER TABLE api_alerts ALTER COLUMN period SET STATISTICS 50;
         ALTER TABLE api_usage ALTER COLUMN user_id SET STATISTICS 60;
         ALTER TABLE api_usage ALTER COLUMN user_id SET STORAGE EXTERNAL;
         ALTER TABLE api_usage ALTER COLUMN user_id SET (n_distinct = 5);
         ALTER TABLE api_alerts ALTER COLUMN api_name SET COMPRESSION pglz;
         CREATE UNIQUE INDEX mine ON api_alerts (id, period);
         COMMENT ON INDEX mine IS 'index';
         ALTER TABLE api_alerts REPLICA IDENTITY USING INDEX mine;
         ALTER TABLE \"InfrastructureMetric\" REPLICA IDENTITY FULL;
         ALTER TABLE api_alerts CLUSTER ON mine;
         ALTER TABLE api_alerts ENABLE ROW LEVEL SECURITY;
         ALTER TABLE api_alerts FORCE ROW LEVEL SECURITY;
         CREATE POLICY \"all of it\" ON api_alerts AS RESTRICTIVE FOR UPDATE TO PUBLIC USING (threshold > 0) WITH CHECK (threshold > 1);
         CREATE POLICY other ON api_alerts USING (true);
         COMMENT ON POLICY other ON api_alerts IS 'policy';
         CREATE TRIGGER watch AFTER INSERT ON api_alerts EXECUTE FUNCTION nothing();
         ALTER TABLE api_alerts DISABLE TRIGGER watch;
         COMMENT ON TRIGGER watch ON api_alerts IS 'trigger';
         CREATE RULE r AS ON DELETE TO api_alerts DO ALSO NOTHING;
         ALTER TABLE api_alerts ENABLE ALWAYS RULE r;
         CREATE STATISTICS s ON api_name, period FROM api_alerts;
         ALTER STATISTICS s SET STATISTICS 70;
         COMMENT ON STATISTICS s IS 'statistics';
         CREATE PUBLICATION stream FOR TABLE api_alerts (id, api_name) WHERE (id <> 'x')",
    );
    let settings = || {
        let comments = "SELECT pg_describe_object(classoid, objoid, objsubid), description FROM pg_description
             WHERE description IN ('it''s ours', 'per', 'who', 'kinds', 'key', 'index', 'policy', 'trigger', 'statistics')
             ORDER BY 1";
        let tables = "SELECT relname, reloptions, relreplident, relrowsecurity, relforcerowsecurity,
                 (SELECT reloptions FROM pg_class t WHERE t.oid = c.reltoastrelid)
             FROM pg_class c WHERE relkind = 'r' AND relnamespace IN ('public'::regnamespace, 'usagectl'::regnamespace)
             ORDER BY 1";
        let columns = "SELECT attrelid::regclass, attname, attstattarget, attoptions, attstorage, attcompression
             FROM pg_attribute WHERE attrelid IN ('api_alerts'::regclass, 'api_usage'::regclass) AND attnum > 0
               AND NOT attisdropped ORDER BY 1, 2";
        let others = "SELECT 'policy', polname, polcmd, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
             FROM pg_policy
             UNION ALL SELECT 'index', indexrelid::regclass::text, NULL, indisclustered::text, indisreplident::text
             FROM pg_index WHERE indrelid = 'api_alerts'::regclass
             UNION ALL SELECT 'trigger', tgname, tgenabled, NULL, NULL FROM pg_trigger WHERE tgname = 'watch'
             UNION ALL SELECT 'rule', rulename, ev_enabled, NULL, NULL FROM pg_rewrite WHERE rulename = 'r'
             UNION ALL SELECT 'statistics', stxname, NULL, stxstattarget::text, NULL FROM pg_statistic_ext
             UNION ALL SELECT 'default', column_name, NULL, column_default, NULL FROM information_schema.columns
             WHERE table_name IN ('api_alerts', 'InfrastructureLimit')
             UNION ALL SELECT 'publication', tablename, NULL, attnames::text, rowfilter FROM pg_publication_tables
             ORDER BY 1, 2";
        [comments, tables, columns, others].map(|query| db.rows(query))
    };
    let before = settings();
    let rollback = ["rollback", "--to", "create_api_usage"];
    let plan = db
        .usagectl(rollback)
        .arg("--dry-run")
        .run()
        .success()
        .stdout;
    for line in [
        "drop setting fillfactor=70, autovacuum_enabled=false, toast.autovacuum_enabled=false of api_alerts",
        "drop setting replica identity of api_alerts",
        "drop setting statistics target of column user_id of api_usage",
        "drop setting default of column id of api_alerts",
        "drop setting default of column updatedAt of \"InfrastructureLimit\"",
        "drop policy all of it of api_alerts",
        "drop publication stream of api_alerts",
        "drop comment column user_id of api_usage",
    ] {
        let line = format!("{line}, which no migration created");
        assert!(plan.contains(&line), "{line}: {plan}");
    }
    assert_eq!(plan.matches("drop setting default").count(), 3, "{plan}");
    let refused = db.usagectl(rollback).arg("--yes").run();
    assert_eq!(refused.code, 5, "{}", refused.snapshot());
    let (_, sql) = refused.stderr.split_once("next: ").unwrap();
    let (sql, _) = sql.split_once(" then run the same command again").unwrap();
    assert_eq!(sql, "ALTER SEQUENCE public.numbers OWNED BY NONE;");
    db.run_script(sql);
    let folder = export_folder(&db);
    db.usagectl(rollback)
        .args(["--yes", "--export"])
        .arg(&folder)
        .run()
        .success();
    let restore = || {
        let program = db.usagectl(["migrate", "--restore"]).arg(&folder);
        program.run().success().stdout
    };
    let restored = restore();
    assert!(!restored.contains("cannot"), "{restored}");
    assert_eq!(settings(), before);
    assert!(!restore().contains("created"));
    db.execute("INSERT INTO api_alerts (api_name, alert_type, threshold, updated_at) VALUES ('rawg', 'ERROR_SPIKE', 1, now())");
    let periods = db.rows("SELECT period FROM api_alerts ORDER BY 1");
    assert_eq!(periods, ["1", "2"]);
}

#[test]
fn index_whose_build_was_interrupted_is_built_again_postgresql() {
    let db = TestDatabase::empty(Postgresql);
    db.usagectl(["migrate", "--to", "enhance_api_monitoring"])
        .run()
        .success();
    db.execute("CREATE INDEX mine ON api_usage (user_id)");
    let folder = export_folder(&db);
    db.usagectl(["rollback", "--yes", "--export"])
        .arg(&folder)
        .run()
        .success();
    db.usagectl(["migrate", "--to", "enhance_api_monitoring"])
        .run()
        .success();
    db.execute("CREATE INDEX mine ON api_usage (user_id)");
    OtherRole::new(&db).administer(&[
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'mine'::regclass",
    ]);
    let run = db.usagectl(["migrate", "--restore"]).arg(&folder).run();
    let restored = run.success().stdout;
    assert!(restored.contains("created index mine\n"), "{restored}");
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'mine'::regclass";
    assert_eq!(db.rows(valid), ["1"]);
}

#[rstest]
fn columns_of_the_application_are_listed_and_named_before_a_restore(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let columns = [
        "ALTER TABLE api_alerts ADD COLUMN tenant text",
        "ALTER TABLE api_alerts ADD COLUMN \"Seen by\" integer NOT NULL DEFAULT (-1)",
        "ALTER TABLE api_alerts ADD COLUMN code text GENERATED ALWAYS AS ('x' || period) STORED",
        "ALTER TABLE api_alerts ADD COLUMN size numeric(5,2) DEFAULT 1.5 CHECK (size > 0)",
        "ALTER TABLE api_alerts ADD COLUMN number serial",
        "ALTER TABLE api_alerts ADD COLUMN place bigint GENERATED ALWAYS AS IDENTITY",
        "ALTER TABLE api_alerts ADD COLUMN word text COLLATE \"C\" NOT NULL DEFAULT 'it''s; so'",
        // Without equality.
        "ALTER TABLE api_alerts ADD COLUMN spot point DEFAULT '(1.5,2)'",
        "ALTER TABLE api_alerts ADD COLUMN spots point[]",
    ];
    let columns = match engine {
        Postgresql => columns.to_vec(),
        Sqlite => {
            let text = columns[3].replace("numeric", "decimal");
            let stored = columns[2]
                .replace("STORED", "VIRTUAL")
                .replace("|| period", "|| \"period\"");
            let columns = [columns[0], columns[1], &stored, &text];
            columns.iter().for_each(|sql| db.execute(sql));
            Vec::new()
        }
    };
    columns.iter().for_each(|sql| db.execute(sql));
    let before = whole_catalogue(&db);
    db.execute(
        "INSERT INTO api_alerts (id, api_name, alert_type, threshold, period, updated_at, tenant, \"Seen by\")
             VALUES ('1', 'tmdb', 'ERROR_SPIKE', 1, 'HOUR', '2026-01-31T11:00:00.000+00:00', 'a', 7)",
    );
    if engine == Postgresql {
        db.execute(
            "UPDATE api_alerts SET number = 7; ALTER SEQUENCE api_alerts_number_seq RESTART WITH 8",
        );
    }
    let folder = export_folder(&db);
    let rollback = ["rollback", "--to", "create_api_usage"];
    let plan = db.usagectl(rollback).arg("--dry-run").run().success();
    for column in ["tenant", "Seen by"] {
        let line = format!("drop column api_alerts.{column}, which no migration created");
        assert!(plan.stdout.contains(&line), "{}", plan.stdout);
    }
    let lacking = match engine {
        Sqlite => 4,
        Postgresql => 9,
    };
    let export = ["--yes", "--export", folder.to_str().unwrap()];
    db.usagectl(rollback).args(export).run().success();
    let whole = whole_catalogue(&db);
    let restore = || db.usagectl(["migrate", "--restore"]).arg(&folder).run();
    let refused = restore();
    assert_eq!(refused.code, 5, "{}", refused.snapshot());
    assert_eq!(whole_catalogue(&db), whole);
    let error =
        format!("error: the database lacks {lacking} columns of the export; nothing was changed\n");
    let steps = refused.stderr.strip_prefix(&error).unwrap();
    let steps = steps
        .strip_prefix("next: first usagectl migrate --to ")
        .unwrap();
    let (to, sql) = steps.split_once(", then ").unwrap();
    db.usagectl(["migrate", "--to", to]).run().success();
    let (sql, _) = sql.split_once(" then run the same command again").unwrap();
    db.run_script(sql);
    restore().success();
    let restored = "SELECT id, tenant, \"Seen by\" FROM api_alerts";
    assert_eq!(db.rows(restored), ["1|a|7"]);
    assert_eq!(whole_catalogue(&db), before);
    if engine == Postgresql {
        db.execute(
            "INSERT INTO api_alerts (id, api_name, alert_type, threshold, period, updated_at)
             VALUES ('2', 'tmdb', 'RATE_LIMIT', 1, 'HOUR', '2026-01-31T11:00:00.000+00:00')",
        );
        let numbers = db.rows("SELECT number, place FROM api_alerts ORDER BY id");
        assert_eq!(numbers, ["7|1", "8|2"]);
    }
}

/// SQLite stores any bytes as text, and any value in any column.
#[test]
fn text_that_is_not_utf8_is_restored_byte_for_byte_sqlite() {
    let db = TestDatabase::migrated(Sqlite);
    db.execute(
        "INSERT INTO api_usage (id, api_name, timestamp, error_message, method, response_time) VALUES
             ('1', 'tmdb', '2026-01-31T11:00:00.000+00:00', CAST(x'fe00ff' AS TEXT), x'00ff', 'slow'),
             (CAST(x'ff' AS TEXT), 'tmdb', '2026-01-31T11:00:00.000+00:00', CAST(x'c328' AS TEXT), 'GET', 1);
         INSERT INTO api_alerts (id, api_name, alert_type, threshold, period, updated_at) VALUES
             ('1', CAST(x'80' AS TEXT), 'ERROR_SPIKE', 'many', 'HOUR', '2026-01-31T11:00:00.000+00:00')",
    );
    let stored = || {
        let column = |name: &str| format!("typeof({name}), hex({name})");
        let usage = ["id", "error_message", "method", "response_time"].map(column);
        let alerts = ["id", "api_name", "threshold"].map(column);
        [
            ("api_usage", usage.join(", ")),
            ("api_alerts", alerts.join(", ")),
        ]
        .map(|(table, columns)| db.rows(&format!("SELECT {columns} FROM {table} ORDER BY id")))
    };
    let before = stored();
    let folder = export_folder(&db);
    let rollback = ["rollback", "--to", "create_api_usage", "--yes", "--export"];
    db.usagectl(rollback).arg(&folder).run().success();
    let restore = || {
        let program = db.usagectl(["migrate", "--restore"]).arg(&folder);
        program.run().success()
    };
    for _ in 0..2 {
        restore();
        assert_eq!(stored(), before);
    }
}

#[test]
fn table_without_a_key_is_refused_before_the_first_step_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    db.execute("ALTER TABLE api_usage DROP CONSTRAINT api_usage_pkey");
    let before = whole_catalogue(&db);
    let folder = export_folder(&db);
    let rollback = ["rollback", "--to", "create_api_usage", "--yes", "--export"];
    let refused = db.usagectl(rollback).arg(&folder).run();
    assert_eq!(refused.code, 5, "{}", refused.snapshot());
    let problem =
        "error: cannot export table api_usage: it has no primary key; nothing was changed";
    assert!(refused.stderr.contains(problem), "{}", refused.stderr);
    assert_eq!(whole_catalogue(&db), before);
    assert!(!folder.exists());
    let log = "SELECT count(*) FROM usagectl.usagectl_migration_log WHERE action = 'down'";
    assert_eq!(db.rows(log), ["0"]);
}
