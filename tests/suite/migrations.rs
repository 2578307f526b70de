//! The migrations: their effect on a real database, and that reverting restores the previous schema.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use usagectl::domain::schema::objects::Effect;
use usagectl::store::migrations::{ALL, Migration};
use usagectl::store::schema_objects;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase, whole_catalogue};
use rstest::rstest;

fn folder(engine: Engine) -> PathBuf {
    let name = match engine {
        Engine::Sqlite => "sqlite",
        Engine::Postgresql => "postgres",
    };
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("migrations")
        .join(name)
}

fn folder_of(engine: Engine, migration: &Migration) -> PathBuf {
    folder(engine).join(migration.to_string())
}

#[test]
fn both_folders_hold_exactly_the_listed_migrations() {
    let listed: BTreeSet<String> = ALL.iter().map(Migration::to_string).collect();
    for engine in [Engine::Sqlite, Engine::Postgresql] {
        let found: BTreeSet<String> = fs::read_dir(folder(engine))
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        assert_eq!(found, listed, "{engine:?}");
    }
}

/// `USAGECTL_WRITE_EFFECTS=1` updates the files.
#[rstest]
fn effect_files_match_migrations(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    let mut before = schema_objects::read(&mut db.open()).unwrap();
    for migration in ALL {
        db.usagectl(["migrate", "--to", migration.version])
            .run()
            .success();
        let after = schema_objects::read(&mut db.open()).unwrap();
        let effect = Effect::between(&before, &after);
        let file = folder_of(db.engine(), migration).join("effect.txt");
        if std::env::var_os("USAGECTL_WRITE_EFFECTS").is_some() {
            fs::write(&file, effect.to_string()).unwrap();
        }
        let written = fs::read_to_string(&file).unwrap();
        assert_eq!(effect, Effect::parse(&written), "{}", file.display());
        before = after;
    }
}

/// Inserts a row into every existing table, with a value in every column.
fn put_rows(db: &TestDatabase, round: usize) {
    let found = schema_objects::read(&mut db.open()).unwrap();
    let has = |what: &str| found.get(what).is_some();
    let at = "'2026-01-31T11:00:00.000+00:00'";
    let mut statements = Vec::new();
    if has("table api_usage") {
        statements.push(format!(
            "INSERT INTO api_usage (id, api_name, timestamp, created_at) VALUES ('{round}', 'tmdb', {at}, {at})"
        ));
    }
    if has("column api_usage.method") {
        statements.push(format!(
            "UPDATE api_usage SET method = 'POST', response_time = 1, cached = true, cost_credits = 0.5
             WHERE id = '{round}'"
        ));
    }
    if has("table api_alerts") {
        statements.push(format!(
            "INSERT INTO api_alerts (id, api_name, alert_type, threshold, period, created_at, updated_at)
             VALUES ('{round}', 'tmdb', 'ERROR_SPIKE', 1, 'HOUR{round}', {at}, {at})"
        ));
        statements.push(format!(
            "INSERT INTO api_usage_aggregates (id, api_name, aggregation_type, period_start, period_end,
                 total_requests, success_count, error_count, cached_count, updated_at)
             VALUES ('{round}', 'tmdb', 'HOURLY{round}', {at}, {at}, 1, 1, 0, 0, {at})"
        ));
    }
    if has("table InfrastructureMetric") {
        statements.push(format!(
            "INSERT INTO \"InfrastructureMetric\" (id, service, metric, value, metadata)
             VALUES ('{round}', 'VERCEL_KV', 'STORAGE_MB', 1, '{{}}')"
        ));
        statements.push(format!(
            "INSERT INTO \"InfrastructureLimit\" (id, service, metric, \"currentPlan\", \"limitValue\", \"updatedAt\")
             VALUES ('{round}', 'VERCEL_KV', 'STORAGE_MB', 'free{round}', 1, {at})"
        ));
        statements.push(format!(
            "INSERT INTO \"UpgradeRecommendation\"
                 (id, service, \"currentPlan\", \"recommendedPlan\", priority, reason, \"updatedAt\")
             VALUES ('{round}', 'VERCEL_KV', 'free', 'pro', 'HIGH', 'full', {at})"
        ));
    }
    if has("table usagectl_stale_periods") {
        statements.push(format!(
            "INSERT INTO usagectl_stale_periods (aggregation_type, period_start, api_name)
             VALUES ('HOURLY', {at}, 'api{round}')"
        ));
    }
    for statement in statements {
        db.execute(&statement);
    }
}

/// The columns of every version of `api_usage`.
fn usage(db: &TestDatabase) -> Vec<String> {
    let found = schema_objects::read(&mut db.open()).unwrap();
    match found.get("table api_usage") {
        Some(_) => db
            .rows("SELECT id, api_name, timestamp, success, created_at FROM api_usage ORDER BY id"),
        None => Vec::new(),
    }
}

#[rstest]
fn up_down_up_with_rows_restores_every_schema(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    let mut round = 0;
    let mut next_round = || {
        round += 1;
        put_rows(&db, round);
    };
    let migrate_all = |next_round: &mut dyn FnMut()| -> Vec<Vec<String>> {
        let mut schemas = vec![whole_catalogue(&db)];
        for migration in ALL {
            next_round();
            let rows = usage(&db);
            db.usagectl(["migrate", "--to", migration.name])
                .run()
                .success();
            assert_eq!(usage(&db), rows, "{migration} up");
            schemas.push(whole_catalogue(&db));
        }
        schemas
    };
    let schemas = migrate_all(&mut next_round);
    for (migration, before) in ALL.iter().zip(&schemas).rev() {
        next_round();
        let rows = usage(&db);
        db.usagectl(["rollback", "--yes", "--accept-data-loss"])
            .run()
            .success();
        assert_eq!(&whole_catalogue(&db), before, "{migration} down");
        if migration.name != "create_api_usage" {
            assert_eq!(usage(&db), rows, "{migration} down");
        }
    }
    assert_eq!(migrate_all(&mut next_round), schemas);

    db.usagectl(["status"]).run().success();
}

#[rstest]
fn drop_reasons_convert_from_sentences_and_back(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    db.usagectl(["migrate", "--to", "add_capacity"])
        .run()
        .success();
    let at = "'2026-01-31T11:00:00.000+00:00'";
    for (id, delivery, attempts, error) in [
        ("a", "DROPPED", 0, "there is no channel of this name"),
        ("b", "DROPPED", 2, "it was over before this could be told"),
        ("c", "DROPPED", 1, "given up after 1 failed try: host: busy"),
        ("d", "DROPPED", 20, "given up after 20 failed tries: busy"),
        ("e", "WAITING", 1, "given up: busy"),
    ] {
        db.execute(&format!(
            "INSERT INTO usagectl_notices (id, alert_id, api_name, episode, kind, number, channel, content,
                 created_at, delivery, attempts, next_attempt_at, error)
             VALUES ('{id}', 'r', 'tmdb', 'e', 'FIRING', 1, 'ops', '{{}}', {at}, '{delivery}', {attempts}, {at},
                 '{error}')"
        ));
    }
    let sentences = || db.rows("SELECT id, error FROM usagectl_notices ORDER BY id");
    let before = sentences();
    db.usagectl(["migrate"]).run().success();
    assert_eq!(
        db.rows(
            "SELECT id, coalesce(drop_reason, '-'), coalesce(error, '-') FROM usagectl_notices ORDER BY id"
        ),
        [
            "a|NO_CHANNEL|-",
            "b|SUPERSEDED|-",
            "c|GAVE_UP|host: busy",
            "d|GAVE_UP|busy",
            "e|-|given up: busy",
        ]
    );
    db.usagectl(["rollback", "--to", "add_capacity", "--yes"])
        .run()
        .success();
    assert_eq!(sentences(), before);
}
