//! `prune`, and deletions of old rows by other programs: the roll-ups are the history and keep their numbers.

use rstest::rstest;
use serde_json::Value;

use super::aggregate::{aggregate, everything, steady};
use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::calls::{Call, aggregates, expected_aggregates, insert};
use crate::support::{Engine, Run, TestDatabase};

fn report(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).expect("the answer is JSON")
}

fn prune(db: &TestDatabase, args: &[&str]) -> Run {
    db.usagectl(["prune", "--format", "json"]).args(args).run()
}

fn rows(db: &TestDatabase) -> Vec<String> {
    db.rows("SELECT * FROM api_usage ORDER BY id")
}

fn assert_verified(db: &TestDatabase) {
    let verified = db.usagectl(["aggregate", "--verify"]).run();
    assert_eq!((verified.code, verified.stdout.as_str()), (0, ""));
}

/// Two weeks of calls of three APIs, one every seven minutes, rolled up. Some timestamps have other forms.
fn two_weeks(db: &TestDatabase) -> Vec<Call> {
    let mut calls = steady(2_900, 7);
    for (n, call) in calls.iter_mut().enumerate().step_by(11) {
        call.form = [
            crate::support::calls::TimeForm::Milliseconds,
            crate::support::calls::TimeForm::Space,
        ][n % 2];
        call.endpoint = Some("/quote".to_owned());
    }
    insert(db, &calls);
    aggregate(db).success();
    calls
}

#[rstest]
fn pruned_rows_stay_in_all_roll_ups(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut calls = two_weeks(&db);
    let before = aggregates(&db);
    let dry = prune(&db, &["--older-than", "24d", "--dry-run"]).success();
    let old = report(&dry)["rows_remaining"].as_u64().unwrap();
    assert!(old > 1_000, "{old}");
    assert_eq!(rows(&db).len(), calls.len());

    let done = report(&prune(&db, &["--older-than", "24d", "--vacuum"]).success());
    assert_eq!(done["rows_deleted"].as_u64(), Some(old));
    assert_eq!(done["rows_remaining"], 0);
    // The limit is a whole hour: 2026-01-07T12:00:00Z.
    let left = rows(&db).len() as u64;
    assert_eq!(left, calls.len() as u64 - old);
    assert_eq!(aggregates(&db), before);
    assert_verified(&db);
    for args in [&["--format=json"][..], &["--format=json", "--rebuild"]] {
        let run = report(&db.usagectl(["aggregate"]).args(args).run().success());
        assert_eq!(run["hours_rewritten"], 0);
    }
    assert_eq!(aggregates(&db), before);

    // A late row is counted once, whether or not it is pruned as well.
    let late = Call {
        response_time: Some(9_000),
        ..Call::new("late", "tmdb", "2026-01-03T04:59:59.999Z")
    };
    insert(&db, std::slice::from_ref(&late));
    calls.push(late);
    for args in [&["--dry-run"][..], &[]] {
        let dirty = prune(&db, &[&["--older-than", "24d"], args].concat());
        assert_eq!(dirty.code, 3);
        assert_eq!(report(&dirty)["hours_changed"], 1);
        let rows = u64::from(args.is_empty());
        assert_eq!(report(&dirty)["rows_remaining"], rows);
    }
    for _ in 0..2 {
        aggregate(&db).success();
        assert_eq!(aggregates(&db), expected_aggregates(&calls));
        assert_verified(&db);
        prune(&db, &["--older-than", "24d"]).success();
        assert_eq!(rows(&db).len() as u64, left);
    }
}

#[rstest]
fn interrupted_prune_is_continued(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let calls = two_weeks(&db);
    let none = prune(&db, &["--older-than", "20d", "--budget", "0s"]);
    assert_eq!(none.code, 3);
    assert_eq!(rows(&db).len(), calls.len());
    let mut killed = db.usagectl(["prune", "--older-than", "20d"]).spawn();
    let count = "SELECT count(*) FROM api_usage";
    let full = calls.len().to_string();
    while db.rows(count)[0] == full {
        assert_eq!(killed.child.try_wait().unwrap(), None, "it was done before");
    }
    killed.signal("KILL");
    killed.wait();
    prune(&db, &["--older-than", "20d", "--lock-wait", "10s"]).success();
    aggregate(&db).success();
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
    assert_verified(&db);
}

#[rstest]
fn archived_rows_are_put_back_and_counted_once(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    two_weeks(&db);
    let (before, roll_ups) = (rows(&db), everything(&db));
    let done = prune(&db, &["--older-than", "24d", "--archive", "old"]).success();
    let deleted = report(&done)["rows_deleted"].as_u64().unwrap();
    assert_eq!(report(&done)["rows_archived"].as_u64(), Some(deleted));
    // The next days go into the same folder.
    let more = prune(&db, &["--older-than", "23d", "--archive", "old"]).success();
    let deleted = deleted + report(&more)["rows_deleted"].as_u64().unwrap();
    let folder = db.sandbox().work().join("old");
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let parts = manifest["migrations"][0]["tables"][0]["parts"]
        .as_array()
        .unwrap();
    let counts = parts.iter().map(|part| part["rows"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), deleted);
    assert!(
        parts
            .iter()
            .any(|part| part["file"] == "2026-01-01_api_usage.0.ndjson.zst")
    );

    let restored = db
        .usagectl(["prune", "--restore", "old", "--format", "json"])
        .run();
    assert_eq!(
        report(&restored.success())["rows_restored"].as_u64(),
        Some(deleted)
    );
    assert_eq!(rows(&db), before);
    aggregate(&db).success();
    assert_eq!(everything(&db), roll_ups);
    let again = db
        .usagectl(["prune", "--restore", "old", "--format", "json"])
        .run();
    assert_eq!(
        report(&again.success())["rows_existing"].as_u64(),
        Some(deleted)
    );
    assert_eq!(everything(&db), roll_ups);

    // A row that the application deletes afterwards does not come back.
    let deleted = rows(&db).len();
    insert(&db, &[Call::new("oldest", "tmdb", "2025-12-31T00:00:00Z")]);
    db.execute("DELETE FROM api_usage WHERE id = 'steady-30'");
    let third = report(
        &db.usagectl(["prune", "--restore", "old", "--format", "json"])
            .run()
            .success(),
    );
    assert_eq!(third["rows_deleted_since"], 1);
    assert_eq!(rows(&db).len(), deleted);

    let part = folder.join("2026-01-01_api_usage.0.ndjson.zst");
    let mut bytes = std::fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&part, bytes).unwrap();
    let damaged = db.usagectl(["prune", "--restore", "old"]).run();
    assert_eq!(damaged.code, 5);
    assert!(damaged.stderr.contains("SHA-256"), "{}", damaged.stderr);
}

/// As the application's own retention job does it, in the middle of an hour.
fn delete_before(db: &TestDatabase, time: &str) {
    match db.engine() {
        Postgresql => db.execute(&format!("DELETE FROM api_usage WHERE timestamp < '{time}'")),
        Sqlite => db.execute(&format!(
            "DELETE FROM api_usage WHERE coalesce(julianday(timestamp), timestamp / 86400000.0 + 2440587.5)
                 < julianday('{time}')"
        )),
    }
}

#[rstest]
fn deletion_of_the_oldest_rows_is_reported_once_and_not_followed(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let mut calls = two_weeks(&db);
    let before = aggregates(&db);
    delete_before(&db, "2026-01-05T06:30:00Z");
    let found = aggregate(&db);
    assert_eq!(found.code, 4);
    let warning = "another program deleted the rows of ";
    assert!(found.stderr.contains(warning), "{}", found.stderr);
    assert!(
        found
            .stderr
            .contains("from 2026-01-01T00:00:00Z to 2026-01-05T07:00:00Z; their roll-ups are kept"),
        "{}",
        found.stderr
    );
    assert_eq!(aggregates(&db), before);
    assert_eq!(aggregate(&db).success().stderr, "");
    assert_verified(&db);
    let status = db.usagectl(["status"]).run();
    assert_eq!(status.code, 4, "{}", status.stdout);
    assert!(
        status
            .stdout
            .contains("another program deleted the rows from 2026-01-01T00:00:00Z")
    );

    // A late row in the deleted part, a changed row and a deleted one inside the kept part are followed.
    insert(
        &db,
        &[Call::new("late", "tmdb", "2026-01-03T04:59:59.999Z")],
    );
    calls.push(Call::new("late", "tmdb", "2026-01-03T04:59:59.999Z"));
    db.execute("DELETE FROM api_usage WHERE id = 'steady-2000'");
    calls.retain(|call| call.id != "steady-2000");
    aggregate(&db).success();
    assert_eq!(aggregates(&db), expected_aggregates(&calls));

    db.usagectl(["aggregate", "--seal"]).run().success();
    db.usagectl(["status"]).run().success();
    delete_before(&db, "2026-01-07T06:30:00Z");
    aggregate(&db).success();
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
    assert_verified(&db);
    db.usagectl(["aggregate", "--rebuild"]).run().success();
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
}

#[rstest]
fn restore_is_refused_until_a_deletion_of_the_oldest_rows_is_known(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    two_weeks(&db);
    let before = aggregates(&db);
    prune(&db, &["--older-than", "28d", "--archive", "old"]).success();
    delete_before(&db, "2026-01-05T06:30:00Z");
    let restore = || db.usagectl(["prune", "--restore", "old"]).run();
    let refused = restore();
    assert_eq!(refused.code, 5);
    let reason = "another program deleted the oldest rows since the last aggregate";
    assert!(refused.stderr.contains(reason), "{}", refused.stderr);
    assert_eq!(aggregate(&db).code, 4);
    restore().success();
    aggregate(&db);
    assert_eq!(aggregates(&db), before);
}

#[rstest]
fn few_older_rows_do_not_hide_a_deletion_of_the_oldest(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let mut calls = two_weeks(&db);
    for (late, deleted) in [
        ("2026-01-02T04:59:59.999Z", "2026-01-05T06:30:00Z"),
        ("2025-12-31T04:59:59.999Z", "2026-01-07T06:30:00Z"),
    ] {
        delete_before(&db, deleted);
        // Before the next roll-up, a row arrives that is older than the deleted ones.
        let late = Call::new(late, "late", late);
        insert(&db, std::slice::from_ref(&late));
        calls.push(late);
        assert_eq!(aggregate(&db).code, 4);
        assert_eq!(aggregates(&db), expected_aggregates(&calls));
        assert_verified(&db);
    }
}

#[rstest]
fn recording_of_pruned_times_is_warned_of(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    two_weeks(&db);
    let warning = "as old as rows that `usagectl prune` deleted";
    let record = |at: &str| {
        let line = format!("{{\"api_name\": \"tmdb\", \"timestamp\": \"{at}\"}}");
        let run = db.usagectl(["record", "-q"]).stdin(&line).run().success();
        run.stderr.contains(warning)
    };
    assert!(!record("2026-01-02T10:20:00Z"));
    aggregate(&db).success();
    prune(&db, &["--older-than", "24d"]).success();
    assert!(record("2026-01-02T10:21:00Z"));
    assert!(record("2026-01-02T10:01:00Z"));
    assert!(!record("2026-01-20T10:20:00Z"));
}

#[rstest]
fn single_row_of_the_oldest_hour_is_followed_when_deleted(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let mut calls = two_weeks(&db);
    let id = |call: &Call| call.id.clone();
    let oldest = calls.iter().map(|call| (call.at, id(call))).min().unwrap();
    let other =
        |call: &&Call| call.at > oldest.0 && call.at < oldest.0 + chrono::TimeDelta::hours(1);
    let other = calls.iter().find(other).map(id).unwrap();
    db.execute(&format!("DELETE FROM api_usage WHERE id = '{other}'"));
    calls.retain(|call| call.id != other);
    aggregate(&db).success();
    assert_eq!(aggregates(&db), expected_aggregates(&calls));

    // The oldest row itself may be deleted by a retention job.
    db.execute(&format!("DELETE FROM api_usage WHERE id = '{}'", oldest.1));
    assert_eq!(aggregate(&db).code, 4);
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
}

#[rstest]
fn rebuild_follows_deleted_rows(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut calls = two_weeks(&db);
    // Pruned calls stay.
    prune(&db, &["--older-than", "28d"]).success();
    delete_before(&db, "2026-01-05T06:30:00Z");
    let found = aggregate(&db);
    assert_eq!(found.code, 4);
    let (_, rebuild) = found
        .stderr
        .split_once("or follow the rows: usagectl ")
        .unwrap();
    db.usagectl(rebuild.trim().split(' ')).run().success();
    let (pruned, deleted) = ("2026-01-03T12:00:00Z", "2026-01-05T06:30:00Z");
    let [pruned, deleted] =
        [pruned, deleted].map(|at| at.parse::<chrono::DateTime<chrono::Utc>>().unwrap());
    calls.retain(|call| call.at < pruned || call.at >= deleted);
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
    assert_verified(&db);
    db.usagectl(["status"]).run().success();
}

#[rstest]
fn oldest_row_that_moves_is_followed(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut calls = vec![
        Call::new("1", "tmdb", "2026-01-02T10:00:00Z"),
        Call::new("2", "tmdb", "2026-01-04T10:00:00Z"),
    ];
    insert(&db, &calls);
    aggregate(&db).success();
    db.execute("UPDATE api_usage SET timestamp = '2026-01-05T10:00:00.000+00:00' WHERE id = '1'");
    calls[0].at += chrono::TimeDelta::days(3);
    aggregate(&db).success();
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
}

#[rstest]
fn repair_corrects_every_planted_difference(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    two_weeks(&db);
    prune(&db, &["--older-than", "24d"]).success();
    let before = aggregates(&db);
    for planted in [
        // Of a pruned hour, a day and a month.
        "UPDATE usagectl_rollups SET total_requests = 77 WHERE aggregation_type = 'HOURLY' AND scope = 'API'
             AND period_start = '2026-01-03T04:00:00.000+00:00'",
        "DELETE FROM usagectl_rollups WHERE aggregation_type = 'DAILY' AND scope = 'ENDPOINT'",
        "UPDATE usagectl_rollups SET total_cost = '1' WHERE aggregation_type = 'MONTHLY' AND scope = 'API'",
        "UPDATE api_usage_aggregates SET success_count = 0 WHERE aggregation_type = 'DAILY'",
        "DELETE FROM api_usage_aggregates WHERE aggregation_type = 'HOURLY' AND api_name = 'tmdb'",
    ] {
        db.execute(planted);
        assert_eq!(db.usagectl(["aggregate", "--verify"]).run().code, 4, "{planted}");
        let repaired = db.usagectl(["aggregate", "--repair"]).run().success();
        assert!(repaired.stderr.contains("repaired "), "{}", repaired.stderr);
        assert_eq!(aggregates(&db), before);
        assert_verified(&db);
    }
}

#[test]
fn vacuum_has_no_time_limit_of_the_role_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    db.execute(
        "INSERT INTO api_usage (id, api_name, timestamp)
         SELECT n::text, 'tmdb', timestamp '2026-01-01' + n * interval '1 s' FROM generate_series(1, 3000) n",
    );
    db.usagectl(["aggregate"]).run().success();
    let name = db.rows("SELECT current_database()").concat();
    // A slow VACUUM, and a limit that no other statement reaches.
    for setting in [
        "vacuum_cost_delay = '20ms'",
        "vacuum_cost_limit = 1",
        "statement_timeout = '300ms'",
    ] {
        db.execute(&format!("ALTER DATABASE {name} SET {setting}"));
    }
    let prune = ["prune", "--older-than", "1d", "--vacuum"];
    db.usagectl(prune).run().success();
    assert_eq!(db.rows("SELECT count(*) FROM api_usage"), ["0"]);
}

#[rstest]
fn check_that_refuses_archived_rows_is_named_as_the_cause(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    db.execute("INSERT INTO api_usage (id, api_name, timestamp) VALUES ('1', 'tmdb', '2026-01-02T10:00:00.000+00:00')");
    db.usagectl(["aggregate"]).run().success();
    let prune = ["prune", "--older-than", "1d", "--archive", "rows"];
    db.usagectl(prune).run().success();
    db.execute(match engine {
        Postgresql => "ALTER TABLE api_usage ADD CHECK (method <> 'GET')",
        Sqlite => {
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_master SET sql = replace(sql, '\"method\" TEXT', '\"method\" TEXT CHECK (method <> ''GET'')')
             WHERE name = 'api_usage'"
        }
    });
    let run = db.usagectl(["prune", "--restore", "rows"]).run();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    let next = "next: drop that check, or change it to allow the exported rows, then run the same command again\n";
    assert!(run.stderr.ends_with(next), "{}", run.stderr);
}
