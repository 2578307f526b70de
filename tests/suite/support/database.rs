//! A database for one test.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::deserialize::{self, FromSql, QueryableByName};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::row::{Field, NamedRow, Row};
use diesel::sql_types::{BigInt, Binary, Double, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteType};
use usagectl::store::db;
use usagectl::store::db::{Access, Db, OWN_SCHEMA};
use usagectl::store::lock::{LockRequest, RunKind, RunLock};
use usagectl::store::postgres::Kind;
use usagectl::store::url::{self, UrlSource};

use super::postgres;
use super::program::{NOW, Program, Sandbox};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgresql,
}

/// A database of one test, dropped after it, and a sandbox to run the program with it.
pub struct TestDatabase {
    engine: Engine,
    url: String,
    /// On PostgreSQL.
    name: Option<String>,
    sandbox: Sandbox,
}

impl TestDatabase {
    /// An unmigrated database; on SQLite the file does not exist.
    pub fn empty(engine: Engine) -> TestDatabase {
        TestDatabase::new(engine, None)
    }

    /// A database on which `usagectl migrate` has run.
    pub fn migrated(engine: Engine) -> TestDatabase {
        match engine {
            Engine::Sqlite => {
                let db = TestDatabase::empty(engine);
                let path = db.path();
                fs::write(&path, migrated_file()).expect("the sandbox is writable");
                let mode = fs::Permissions::from_mode(0o600);
                fs::set_permissions(&path, mode).expect("the file is ours");
                db
            }
            Engine::Postgresql if postgres::server().private => {
                TestDatabase::new(engine, Some(migrated_template()))
            }
            Engine::Postgresql => {
                let db = TestDatabase::empty(engine);
                db.migrate();
                db
            }
        }
    }

    fn new(engine: Engine, template: Option<&str>) -> TestDatabase {
        let sandbox = Sandbox::new();
        let (url, name) = match engine {
            Engine::Sqlite => {
                let path = sandbox.path().join("usage.db");
                (format!("sqlite:{}", path.display()), None)
            }
            Engine::Postgresql => {
                let name = postgres::server().create_database(template);
                (postgres::server().url(&name), Some(name))
            }
        };
        TestDatabase {
            engine,
            url,
            name,
            sandbox,
        }
    }

    /// A database on the coordinator of a cluster, which USAGECTL_TEST_CITUS names; it is used again by the next test.
    pub fn of_cluster() -> Option<TestDatabase> {
        let url = std::env::var("USAGECTL_TEST_CITUS").ok()?;
        let db = TestDatabase {
            engine: Engine::Postgresql,
            url,
            name: None,
            sandbox: Sandbox::new(),
        };
        db.migrate();
        Some(db)
    }

    fn migrate(&self) {
        self.usagectl(["migrate"]).run().success();
    }

    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// For `--database-url` and `DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The sandbox of [`TestDatabase::usagectl`].
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The SQLite file.
    pub fn path(&self) -> PathBuf {
        let path = self.url.strip_prefix("sqlite:");
        path.expect("only SQLite has a file").into()
    }

    /// Connects as the program does; creates a missing SQLite file.
    pub fn open(&self) -> Db {
        let url = url::parse(&self.url, UrlSource::Flag).expect("the URL is valid");
        db::open(&url, Access::Create).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Acquires a run lock, as the command `usagectl test` that began at noon.
    pub fn lock(&self, kind: RunKind) -> HeldLock {
        self.try_lock(kind)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`TestDatabase::lock`], without waiting.
    pub fn try_lock(&self, kind: RunKind) -> usagectl::error::Result<HeldLock> {
        let mut url = url::parse(&self.url, UrlSource::Flag).expect("the URL is valid");
        url.application = "usagectl test".to_owned();
        let mut db = db::open(&url, Access::Create)?;
        let request = LockRequest {
            kind,
            wait: Duration::ZERO,
            now: NOW.parse().expect("it is a time"),
        };
        let lock = RunLock::acquire(&mut db, &url, request, &mut |_| {})?;
        Ok(HeldLock { _lock: lock, db })
    }

    /// Runs statements in a transaction that stays open until the connection runs `COMMIT` or `ROLLBACK`. On
    /// SQLite it is a writing one.
    pub fn open_transaction(&self, sql: &str) -> Db {
        let mut db = self.open();
        let begun = match &mut db {
            Db::Pg(postgres) => postgres.begin(Kind::Write),
            Db::Sqlite(connection) => connection.batch_execute("BEGIN IMMEDIATE"),
        };
        let done = begun.and_then(|()| db.batch_execute(sql));
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
        db
    }

    /// On PostgreSQL: makes the insert of each row take this long.
    pub fn slow_down_inserts(&self, milliseconds: u32) {
        self.execute(&format!(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pg_sleep({milliseconds} / 1000.0); RETURN NEW; END $$;
             CREATE TRIGGER slow BEFORE INSERT ON api_usage FOR EACH ROW EXECUTE FUNCTION slow()"
        ));
    }

    /// Runs statements; panics with the engine's message.
    pub fn execute(&self, sql: &str) {
        let done = match self.open() {
            // The statements may contain transactions of their own.
            Db::Pg(mut postgres) => postgres.outside_transaction(|connection| {
                connection.batch_execute(&format!("SET search_path TO public, {OWN_SCHEMA}"))?;
                connection.batch_execute(sql)
            }),
            Db::Sqlite(mut connection) => connection.batch_execute(sql),
        };
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Runs a script with psql or sqlite3.
    pub fn run_script(&self, script: &str) {
        let client = match self.engine {
            Engine::Sqlite => self.sandbox.command("sqlite3").arg(self.path()),
            Engine::Postgresql => {
                self.sandbox
                    .command("psql")
                    .args(["-q", "-v", "ON_ERROR_STOP=1", &self.url])
            }
        };
        client.stdin(script).run().success();
    }

    /// The rows of a query, each as its values joined by `|`.
    ///
    /// Values have the same text on both engines: NULL as `NULL`, booleans as `1` and `0`, timestamps as
    /// `2026-01-31T12:00:00.000+00:00`, bytes as hexadecimal digits, `10.0` as `10`.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        let sql = sql.trim().trim_end_matches(';');
        let rows = match self.open() {
            Db::Sqlite(mut connection) => diesel::sql_query(sql).load::<TextRow>(&mut connection),
            Db::Pg(mut postgres) => postgres.run(|connection| {
                let first = diesel::sql_query(sql).get_result::<Width>(connection);
                match first.optional()? {
                    None => Ok(Vec::new()),
                    Some(Width(width)) => {
                        diesel::sql_query(with_text_values(sql, width)).load::<TextRow>(connection)
                    }
                }
            }),
        };
        let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.into_iter().map(|row| row.0.join("|")).collect()
    }

    /// The program with these arguments and this database.
    pub fn usagectl<I>(&self, args: I) -> Program
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.sandbox.usagectl(args).database(&self.url)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            postgres::server().drop_database(name);
        }
    }
}

/// A run lock and the connection of its run.
#[derive(Debug)]
pub struct HeldLock {
    _lock: RunLock,
    pub db: Db,
}

/// A PostgreSQL role without rights on the database.
pub struct OtherRole<'a> {
    db: &'a TestDatabase,
    pub name: String,
}

impl OtherRole<'_> {
    pub fn new(db: &TestDatabase) -> OtherRole<'_> {
        let database = db.name.as_deref().expect("only PostgreSQL has roles");
        let name = format!("role_of_{database}");
        db.execute(&format!(
            "CREATE ROLE {name}; GRANT {name} TO CURRENT_USER; GRANT CONNECT ON DATABASE {database} TO {name}"
        ));
        OtherRole { db, name }
    }

    /// As [`TestDatabase::usagectl`], with the rights of the role.
    pub fn usagectl<I>(&self, args: I) -> Program
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let program = self.db.usagectl(args);
        program.env("PGOPTIONS", format!("-c role={}", self.name))
    }

    /// Runs statements in the database as the administrator.
    pub fn administer(&self, statements: &[&str]) {
        let database = self.db.name.as_deref().expect("only PostgreSQL has roles");
        postgres::server().administer_in(database, statements);
    }
}

impl Drop for OtherRole<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        self.db
            .execute(&format!("DROP OWNED BY {name} CASCADE; DROP ROLE {name}"));
    }
}

/// Waits until a session of a PostgreSQL database waits for a lock, which `condition` describes in terms of
/// `pg_locks`.
pub fn wait_for_lock(db: &TestDatabase, condition: &str) {
    let query = format!(
        "SELECT 1 FROM pg_locks WHERE NOT granted AND {condition}
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    );
    wait_for_rows(db, &query);
}

/// Waits until a query returns a row.
pub fn wait_for_rows(db: &TestDatabase, query: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while db.rows(query).is_empty() {
        assert!(Instant::now() < deadline, "no rows: {query}");
    }
}

/// The bytes of a migrated SQLite file.
fn migrated_file() -> &'static [u8] {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    FILE.get_or_init(|| {
        let db = TestDatabase::empty(Engine::Sqlite);
        db.migrate();
        fs::read(db.path()).expect("migrate made the file")
    })
}

/// The name of a migrated PostgreSQL database; copying it is several times faster than migrating.
fn migrated_template() -> &'static str {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let mut db = TestDatabase::empty(Engine::Postgresql);
        db.migrate();
        // It is dropped with the server.
        db.name.take().expect("PostgreSQL's databases have names")
    })
}

/// A row as text.
struct TextRow(Vec<String>);

impl QueryableByName<Sqlite> for TextRow {
    fn build<'a>(row: &impl NamedRow<'a, Sqlite>) -> deserialize::Result<TextRow> {
        let spell = |index| {
            let field = Row::get(row, index).ok_or("a column is missing")?;
            let Some(value) = field.value() else {
                return Ok("NULL".to_owned());
            };
            Ok(match value.value_type() {
                Some(SqliteType::Double | SqliteType::Float) => {
                    <f64 as FromSql<Double, Sqlite>>::from_sql(value)?.to_string()
                }
                Some(SqliteType::Text) => <String as FromSql<Text, Sqlite>>::from_sql(value)?,
                Some(SqliteType::Binary) => {
                    let bytes = <Vec<u8> as FromSql<Binary, Sqlite>>::from_sql(value)?;
                    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
                }
                _ => <i64 as FromSql<BigInt, Sqlite>>::from_sql(value)?.to_string(),
            })
        };
        let values: deserialize::Result<_> = (0..row.field_count()).map(spell).collect();
        Ok(TextRow(values?))
    }
}

impl QueryableByName<Pg> for TextRow {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<TextRow> {
        let spell = |index| {
            let field = Row::get(row, index).ok_or("a column is missing")?;
            let text =
                <Option<String> as FromSql<Nullable<Text>, Pg>>::from_nullable_sql(field.value())?;
            Ok(text.unwrap_or_else(|| "NULL".to_owned()))
        };
        let values: deserialize::Result<_> = (0..row.field_count()).map(spell).collect();
        Ok(TextRow(values?))
    }
}

/// The number of columns of a PostgreSQL row.
struct Width(usize);

impl QueryableByName<Pg> for Width {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Width> {
        Ok(Width(row.field_count()))
    }
}

/// The query with every value as SQLite's text.
fn with_text_values(sql: &str, width: usize) -> String {
    let names: Vec<String> = (1..=width).map(|n| format!("c{n}")).collect();
    let spell = |name: &String| {
        format!(
            "CASE pg_typeof({name})::text
             WHEN 'boolean' THEN CASE {name}::text WHEN 'true' THEN '1' WHEN 'false' THEN '0' END
             WHEN 'timestamp without time zone' THEN
                 to_char(({name}::text)::timestamp, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS+00:00')
             WHEN 'bytea' THEN substr({name}::text, 3)
             ELSE {name}::text END AS {name}"
        )
    };
    let values: Vec<String> = names.iter().map(spell).collect();
    format!(
        "SELECT {} FROM ({sql}) AS query({})",
        values.join(", "),
        names.join(", ")
    )
}
