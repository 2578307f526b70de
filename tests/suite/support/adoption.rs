//! Databases that usagectl did not create: by `prisma migrate deploy`, by `prisma db push`, by hand.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Engine, TestDatabase};

/// The application's migrations, in order.
pub const PRISMA_MIGRATIONS: [&str; 3] = [
    "20260101000000_init",
    "20260123210146_enhance_api_monitoring",
    "20260125081512_add_infrastructure_monitoring",
];

fn data(engine: Engine) -> PathBuf {
    let engine = match engine {
        Engine::Sqlite => "sqlite",
        Engine::Postgresql => "postgres",
    };
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/adopt")
        .join(engine)
}

/// A file of `tests/data/adopt`.
pub fn fixture(engine: Engine, name: &str) -> String {
    let path = data(engine).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn migration_sql(engine: Engine, name: &str) -> String {
    fixture(engine, &format!("prisma/migrations/{name}/migration.sql"))
}

/// The checksum that Prisma records.
pub fn prisma_checksum(engine: Engine, name: &str) -> String {
    let digest = Sha256::digest(migration_sql(engine, name));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The tables of the first `count` migrations, without a ledger.
pub fn pushed(engine: Engine, count: usize) -> TestDatabase {
    let db = TestDatabase::empty(engine);
    for name in &PRISMA_MIGRATIONS[..count] {
        db.execute(&migration_sql(engine, name));
    }
    db
}

/// The first `count` migrations as `prisma migrate deploy` leaves them.
pub fn deployed(engine: Engine, count: usize) -> TestDatabase {
    let db = pushed(engine, count);
    db.execute(&fixture(engine, "prisma/ledger.sql"));
    for name in &PRISMA_MIGRATIONS[..count] {
        insert_prisma_row(&db, name, "finished");
    }
    db
}

/// Inserts a ledger row that is finished, failed or rolled_back.
pub fn insert_prisma_row(db: &TestDatabase, name: &str, state: &str) {
    let at = "'2026-01-30T09:00:00.000+00:00'";
    let (finished, rolled_back) = match state {
        "finished" => (at, "NULL"),
        "failed" => ("NULL", "NULL"),
        "rolled_back" => ("NULL", at),
        other => panic!("{other} is no state"),
    };
    let rows = db.rows("SELECT count(*) FROM _prisma_migrations");
    let checksum = prisma_checksum(db.engine(), name);
    db.execute(&format!(
        "INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name, rolled_back_at, started_at, applied_steps_count)
         VALUES ('id-{}', '{checksum}', {finished}, '{name}', {rolled_back}, {at}, 1)",
        rows[0]
    ));
}

/// Prisma's ledger in its order: name, finished or not, rolled back or not, steps, logs.
pub fn prisma_rows(db: &TestDatabase) -> Vec<String> {
    db.rows(
        "SELECT migration_name,
             CASE WHEN finished_at IS NULL THEN 'unfinished' ELSE 'finished' END,
             CASE WHEN rolled_back_at IS NULL THEN 'kept' ELSE 'rolled back' END,
             applied_steps_count, logs
         FROM _prisma_migrations ORDER BY started_at, migration_name",
    )
}

/// Copies `prisma/migrations` into the working directory of the program.
pub fn copy_prisma_folder(db: &TestDatabase) {
    for name in PRISMA_MIGRATIONS {
        let target = db.sandbox().work().join("prisma/migrations").join(name);
        fs::create_dir_all(&target).expect("the sandbox is writable");
        let sql = migration_sql(db.engine(), name);
        fs::write(target.join("migration.sql"), sql).expect("the sandbox is writable");
    }
}
