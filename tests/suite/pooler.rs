//! Every command behind PgBouncer in transaction mode, beside an application that uses the same pool.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use rstest::rstest;
use usagectl::store::lock::RunKind;

use crate::support::servers::Server;
use crate::support::{Engine, Run, TestDatabase, postgres};

/// A database that usagectl keeps in the schema `tenant`, while the application keeps a table of the same name
/// in `public`.
struct Pooled {
    db: TestDatabase,
    pooler: Server,
    pool_size: usize,
}

impl Pooled {
    fn new(pool_size: usize) -> Pooled {
        Pooled::with_wait(pool_size, 60)
    }

    fn with_wait(pool_size: usize, wait_seconds: u32) -> Pooled {
        Pooled::behind(Server::pgbouncer(pool_size, wait_seconds), pool_size)
    }

    fn behind(pooler: Server, pool_size: usize) -> Pooled {
        let db = TestDatabase::empty(Engine::Postgresql);
        let pooled = Pooled {
            db,
            pooler,
            pool_size,
        };
        pooled.direct(&["migrate"]).success();
        pooled
            .execute_direct("CREATE TABLE public.api_usage (LIKE tenant.api_usage INCLUDING ALL)");
        pooled
    }

    /// The database's URL with the address of the pooler.
    fn url(&self) -> String {
        let to = postgres::server().address();
        let server = format!("{}:{}/", to.host, to.port);
        let pooler = format!("127.0.0.1:{}/", self.pooler.port);
        self.db.url().replace(&server, &pooler)
    }

    /// Runs a command without the pooler.
    fn direct(&self, args: &[&str]) -> Run {
        let program = self.db.usagectl(args);
        let url = format!("{}?schema=tenant", self.db.url());
        program.database(&url).run()
    }

    fn execute_direct(&self, sql: &str) {
        let mut conn = PgConnection::establish(self.db.url()).unwrap();
        conn.batch_execute(sql).unwrap();
    }

    /// A command through the pooler; `parameters` are added to its URL.
    fn usagectl(&self, args: &[&str], parameters: &str) -> crate::support::program::Program {
        let url = format!("{}?schema=tenant{parameters}", self.url());
        self.db
            .usagectl(args)
            .database(&url)
            .env("USAGECTL_POSTGRES_URL", &url)
    }

    fn application(&self) -> Application {
        let name = "the%20application";
        let url = format!("{}?application_name={name}", self.url());
        Application {
            conn: PgConnection::establish(&url).unwrap(),
            inserted: 0,
        }
    }

    /// Asserts that no server session of the pool has a setting, a prepared statement, a temporary table or a
    /// lock that outlives its transaction.
    fn assert_nothing_left(&self, after: &str) {
        let mut clients: Vec<PgConnection> = (0..self.pool_size)
            .map(|_| PgConnection::establish(&self.url()).unwrap())
            .collect();
        // At once, so that each has a session of its own.
        for client in &mut clients {
            client.batch_execute("BEGIN").unwrap();
        }
        let mut sessions = Vec::new();
        for client in &mut clients {
            let left: Vec<Line> = diesel::sql_query(LEFT).load(client).unwrap();
            let left: Vec<String> = left.into_iter().map(|line| line.line).collect();
            assert_eq!(left, [""; 0], "after {after}");
            let session: Number = diesel::sql_query("SELECT pg_backend_pid()::bigint AS number")
                .get_result(client)
                .unwrap();
            sessions.push(session.number);
        }
        sessions.sort_unstable();
        sessions.dedup();
        assert_eq!(sessions.len(), clients.len());
    }
}

/// What a session has beyond its transaction. PgBouncer itself sets the excluded settings for each client; the
/// prepared statements of Diesel in this test are the application's.
const LEFT: &str = "
    SELECT 'setting ' || name || ' = ' || setting AS line FROM pg_settings
    WHERE source = 'session' AND name NOT IN
        ('TimeZone', 'client_encoding', 'DateStyle', 'standard_conforming_strings', 'application_name',
         'transaction_isolation', 'transaction_read_only', 'transaction_deferrable')
    UNION ALL SELECT 'temporary table ' || relname FROM pg_class
    WHERE relnamespace = pg_my_temp_schema()
    UNION ALL SELECT 'lock ' || locktype || coalesce(' on ' || relation::regclass::text, '') FROM pg_locks
    WHERE pid = pg_backend_pid() AND (locktype = 'advisory' OR relation::regclass::text LIKE '%usage%')
    UNION ALL SELECT 'prepared ' || statement FROM pg_prepared_statements WHERE statement LIKE '%usagectl%'";

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// A client of the pool with settings of its own and, as Prisma's, with named prepared statements.
struct Application {
    conn: PgConnection,
    inserted: i64,
}

impl Application {
    /// All settings of its session, without those that exist once PL/pgSQL is loaded.
    fn settings(&mut self) -> BTreeSet<String> {
        let query = "SELECT name || ' = ' || setting AS line FROM pg_settings WHERE name NOT LIKE 'plpgsql.%'";
        let lines: Vec<Line> = diesel::sql_query(query).load(&mut self.conn).unwrap();
        lines.into_iter().map(|line| line.line).collect()
    }

    /// Inserts into the table of its search path.
    fn insert(&mut self) {
        self.inserted += 1;
        let insert = format!(
            "INSERT INTO api_usage (id, api_name) VALUES ('app-{}', 'finnhub')",
            self.inserted
        );
        self.conn.batch_execute(&insert).unwrap();
    }

    fn count(&mut self, table: &str) -> i64 {
        let query = format!("SELECT count(*) AS number FROM {table} WHERE id LIKE 'app-%'");
        let found: Number = diesel::sql_query(query).get_result(&mut self.conn).unwrap();
        found.number
    }
}

const METRICS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/metrics.ndjson");

/// Every command that opens the database, with the exit codes that it may have here.
const COMMANDS: &[(&[&str], &[i32])] = &[
    (&["status"], &[0]),
    (&["record", "calls.ndjson"], &[0]),
    (&["record", "--atomic", "more.ndjson"], &[0]),
    (&["aggregate"], &[0]),
    (&["aggregate", "--verify"], &[0]),
    (&["aggregate", "--rebuild"], &[0]),
    (&["stats"], &[0]),
    (&["stats", "--group-by", "endpoint"], &[0]),
    (&["limits", "init"], &[0]),
    (
        &["limits", "set", "--api", "finnhub", "--per", "MINUTE", "60"],
        &[0],
    ),
    (&["limits"], &[0]),
    (&["limits", "check"], &[0, 10, 11, 12]),
    (
        &[
            "alerts",
            "add",
            "--api",
            "finnhub",
            "--type",
            "ERROR_SPIKE",
            "--threshold",
            "1",
            "--period",
            "HOUR",
        ],
        &[0, 5],
    ),
    (&["alerts", "channel", "list"], &[0]),
    (&["alerts", "check"], &[0, 12]),
    (&["alerts", "deliver"], &[0, 12]),
    (&["alerts"], &[0]),
    (&["alerts", "history"], &[0]),
    (&["collect", "import", METRICS], &[0]),
    (&["collect", "run", "--only", "postgres"], &[0]),
    (&["collect", "status"], &[0]),
    (&["collect", "prune", "--older-than", "400d"], &[0]),
    (&["recommend", "run"], &[0]),
    (&["recommend", "list"], &[0]),
    (&["recommend", "forecast"], &[0]),
    (&["migrate", "--dry-run"], &[0]),
    (&["migrate", "--sql"], &[0]),
    (&["rollback", "--dry-run"], &[0]),
    (&["migrate"], &[5]),
    (&["rollback", "--yes"], &[5]),
];

#[rstest]
fn commands_leave_the_applications_sessions_alone_postgresql(
    #[values(1, 5, 20)] pool_size: usize,
    #[values("", "&pgbouncer=true&connection_limit=1")] parameters: &str,
) {
    let pooled = Pooled::new(pool_size);
    let sandbox = pooled.db.sandbox();
    let mut application = pooled.application();
    // Used sessions have settings and prepared statements of the application. With more than one, it does not
    // know which of them it gets next.
    if pool_size == 1 {
        application
            .conn
            .batch_execute(
                "SET search_path TO public; SET lock_timeout = 4321; SET statement_timeout = 65432;
                 SET idle_in_transaction_session_timeout = 54321; SET default_transaction_isolation = 'repeatable read';
                 SET work_mem = '5MB'; SET DateStyle = 'German'; SET TimeZone = 'America/New_York'",
            )
            .unwrap();
    }
    let settings = application.settings();
    for round in 0..2 {
        for (number, (args, codes)) in COMMANDS.iter().enumerate() {
            let calls = format!(
                r#"{{"id": "{round}-{number}", "api_name": "finnhub", "status_code": 500, "timestamp": "2026-01-31T11:{number:02}:00Z"}}"#
            );
            sandbox.file("calls.ndjson", &calls);
            sandbox.file(
                "more.ndjson",
                calls.replace(r#""id": ""#, r#""id": "more-"#),
            );
            let began = Instant::now();
            let run = pooled.usagectl(args, parameters).run();
            assert!(began.elapsed() < Duration::from_secs(30), "{args:?}");
            assert!(codes.contains(&run.code), "{args:?}: {}", run.snapshot());
            application.insert();
            if pool_size == 1 {
                let changed = &application.settings() - &settings;
                assert!(changed.is_empty(), "after {args:?}: {changed:?}");
            }
        }
    }
    assert_eq!(application.count("public.api_usage"), application.inserted);
    assert_eq!(application.count("tenant.api_usage"), 0);
    if pool_size > 1 {
        drop(application);
        pooled.assert_nothing_left("all commands");
    }
}

const STATEMENT_POOLING: &str = "\
error: a pooler in statement pooling mode is between this program and the server, and refuses transactions; nothing was changed
next: set pool_mode = transaction in the pooler, or set DATABASE_URL and DIRECT_URL to the URL of the server itself
";

#[test]
fn statement_pooling_is_refused_by_every_command_postgresql() {
    let pooled = Pooled::behind(Server::pgbouncer_in_mode("statement", 5, 60), 5);
    let sandbox = pooled.db.sandbox();
    sandbox.file("calls.ndjson", r#"{"id": "1", "api_name": "tmdb"}"#);
    sandbox.file("more.ndjson", r#"{"id": "2", "api_name": "tmdb"}"#);
    let waiting = ["status", "--wait", "1h"];
    let commands = COMMANDS.iter().map(|(args, _)| *args);
    for args in commands.chain([&waiting as &[&str]]) {
        let began = Instant::now();
        let run = pooled.usagectl(args, "").run();
        assert!(began.elapsed() < Duration::from_secs(10), "{args:?}");
        assert_eq!(run.code, 5, "{args:?}: {}", run.snapshot());
        assert!(
            run.stderr.contains(STATEMENT_POOLING),
            "{args:?}: {}",
            run.stderr
        );
    }
    assert_eq!(pooled.db.rows("SELECT * FROM tenant.api_usage"), [""; 0]);
}

#[test]
fn concurrent_runs_share_one_session_postgresql() {
    let pooled = Pooled::new(1);
    let calls: Vec<String> = (0..50)
        .map(|n| {
            format!(
                r#"{{"id": "{n}", "api_name": "tmdb", "timestamp": "2026-01-30T09:{n:02}:00Z"}}"#
            )
        })
        .collect();
    pooled.db.sandbox().file("calls.ndjson", calls.join("\n"));
    pooled
        .usagectl(&["record", "calls.ndjson"], "")
        .run()
        .success();
    let began = Instant::now();
    let aggregates: Vec<_> = (0..8)
        .map(|_| {
            pooled
                .usagectl(&["aggregate", "--lock-wait", "60s"], "")
                .spawn()
        })
        .collect();
    for run in aggregates {
        run.wait().success();
    }
    let total =
        "SELECT total_requests FROM tenant.api_usage_aggregates WHERE aggregation_type = 'MONTHLY'";
    assert_eq!(pooled.db.rows(total), ["50"]);
    assert_eq!(pooled.db.rows("SELECT * FROM usagectl_run_locks"), [""; 0]);

    let migrates: Vec<_> = (0..8)
        .map(|_| {
            pooled
                .usagectl(&["migrate", "--lock-wait", "5s"], "")
                .spawn()
        })
        .collect();
    for run in migrates {
        let run = run.wait();
        assert_eq!(run.code, 5, "{}", run.snapshot());
        assert!(
            run.stderr.contains("next: set DIRECT_URL"),
            "{}",
            run.stderr
        );
    }
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    pooled.assert_nothing_left("concurrent runs");
}

/// The application holds the only session of the pool for a while.
#[test]
fn command_waits_for_a_session_of_the_pool_postgresql() {
    let pooled = Pooled::with_wait(1, 2);
    let mut application = pooled.application();
    application.conn.batch_execute("BEGIN").unwrap();
    let began = Instant::now();
    for args in [["status"], ["migrate"]] {
        let run = pooled.usagectl(&args, "").run();
        assert_eq!(run.code, 7, "{}", run.snapshot());
        let next = "next: run the same command again when the pool has a free session, or enlarge the pool";
        assert!(run.stderr.contains(next), "{}", run.snapshot());
    }
    assert!(began.elapsed() > Duration::from_secs(2));
    let run = pooled.usagectl(&["status"], "").spawn();
    application.conn.batch_execute("COMMIT").unwrap();
    run.wait().success();
}

#[test]
fn migrate_names_direct_url_where_the_pool_has_one_session_postgresql() {
    let pooler = Server::pgbouncer_in_mode("session", 1, 2);
    let pooled = Pooled::behind(pooler, 1);
    let run = pooled.usagectl(&["migrate"], "").run();
    assert_eq!(run.code, 7, "{}", run.snapshot());
    let error = "error: migrate and rollback require a second session: cannot connect to ";
    assert!(run.stderr.starts_with(error), "{}", run.stderr);
    let next = "next: set DIRECT_URL to the URL of the server itself, or";
    assert!(run.stderr.contains(next), "{}", run.stderr);
}

#[rstest]
fn run_that_died_is_followed_at_once_postgresql() {
    let pooled = Pooled::new(5);
    // It blocks in its first write.
    let mut other = pooled
        .db
        .open_transaction("LOCK TABLE usagectl.usagectl_dirty_hours");
    let run = pooled.usagectl(&["aggregate"], "").spawn();
    crate::support::wait_for_lock(
        &pooled.db,
        "relation = 'usagectl.usagectl_dirty_hours'::regclass",
    );
    let busy = pooled.usagectl(&["aggregate"], "").run();
    assert_eq!(busy.code, 6);
    let pid = run.child.id();
    let holder =
        format!("another `usagectl aggregate` is running: `usagectl aggregate` (process {pid} on ");
    assert!(busy.stderr.contains(&holder), "{}", busy.stderr);
    run.signal("KILL");
    run.wait();
    other.batch_execute("COMMIT").unwrap();
    let began = Instant::now();
    pooled
        .usagectl(&["aggregate", "--lock-wait", "20s"], "")
        .run()
        .success();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

/// Makes the stored process look like one of another host.
const ELSEWHERE: &str = "UPDATE usagectl.usagectl_run_locks SET process_space = 'elsewhere'";
const EXPIRED: &str =
    "UPDATE usagectl.usagectl_run_locks SET expires_at = expires_at - interval '1 hour'";

#[test]
fn lease_of_another_host_is_taken_over_once_expired_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    let mut first = db.lock(RunKind::Aggregate);
    // This process runs: only its end would release the lock.
    db.execute(EXPIRED);
    assert!(db.try_lock(RunKind::Aggregate).is_err());
    db.execute(ELSEWHERE);
    let second = db.lock(RunKind::Aggregate);
    // Neither run can write under the other's lock.
    let mut wrote = false;
    let lost = first.db.write_tx(|_| -> usagectl::error::Result<()> {
        wrote = true;
        Ok(())
    });
    let lost = lost.unwrap_err();
    assert_eq!((lost.exit().code(), wrote), (6, false), "{lost}");
    assert_eq!(
        lost.to_string(),
        "another `usagectl aggregate` took over: this run did not reach the server for 60 seconds"
    );
    drop(first);
    assert!(db.try_lock(RunKind::Aggregate).is_err());
    drop(second);
    db.lock(RunKind::Aggregate);
}

#[test]
fn transaction_of_a_run_is_never_taken_over_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    let mut first = db.lock(RunKind::Aggregate);
    for is_write in [true, false] {
        let work = |_: &mut usagectl::store::db::Db| -> usagectl::error::Result<()> {
            // As if the transaction took longer than the lease.
            db.execute(&format!("{EXPIRED}; {ELSEWHERE}"));
            assert!(db.try_lock(RunKind::Aggregate).is_err());
            Ok(())
        };
        if is_write {
            first.db.write_tx(work).unwrap();
        } else {
            first.db.read_tx(work).unwrap();
        }
    }
    let second = db.lock(RunKind::Aggregate);
    assert!(first.db.read_tx(|_| QueryResult::Ok(())).is_err());
    drop(second);
}

#[test]
fn sessions_have_the_command_as_application_name_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    let mut other = db.open_transaction("LOCK TABLE usagectl.usagectl_dirty_hours");
    let run = db.usagectl(["aggregate"]).spawn();
    let named = db
        .usagectl(["aggregate", "--verify"])
        .env("PGAPPNAME", "cron")
        .spawn();
    crate::support::wait_for_lock(&db, "relation = 'usagectl.usagectl_dirty_hours'::regclass");
    let names = "SELECT DISTINCT application_name FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name <> 'usagectl' ORDER BY 1";
    let deadline = Instant::now() + Duration::from_secs(60);
    while db.rows(names) != ["cron", "usagectl aggregate"] {
        assert!(Instant::now() < deadline, "{:?}", db.rows(names));
    }
    other.batch_execute("COMMIT").unwrap();
    run.wait().success();
    named.wait().success();
}
