//! The waits of an application's statements beside each command that changes the schema or deletes rows.
//!
//! ```text
//! cargo bench --bench waits                                  2,000,000 rows on PostgreSQL, 1,500,000 on SQLite
//! cargo bench --bench waits -- --engine sqlite --rows 100000
//! ```
//!
//! One connection inserts a row at a time and another one reads by an index, without a pause longer than 2 ms, from a
//! second before the command to its end. On SQLite both wait up to 5 s for a lock, as Prisma does. The first line of
//! an engine is a peer: an index build by hand in the mildest form, which takes no lock that an insert waits for on
//! PostgreSQL. It shows how long the inserts wait for the disk alone.
//!
//! `USAGECTL` names another program to measure. Requires PostgreSQL's server programs.

// A development program: it prints, and it panics on any error.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::unwrap_used)]
#![allow(missing_docs, unreachable_pub)]

mod server;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;

use server::Server;

#[derive(Parser)]
struct Args {
    /// Number of rows of api_usage
    #[arg(long)]
    rows: Option<u64>,
    /// Only this engine
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Engine {
    Sqlite,
    Postgresql,
}

/// The commands in order; each begins with the database that the one before left.
const COMMANDS: [(&str, &str); 8] = [
    ("", "migrate"),
    (
        CHANGE_VALUES,
        "rollback --to create_api_usage --yes --export EXPORT",
    ),
    ("", "migrate --restore EXPORT"),
    (
        "",
        "rollback --to create_api_usage --yes --accept-data-loss",
    ),
    (FORGET, "migrate --adopt --yes"),
    ("", "aggregate"),
    ("", ALONE),
    ("", "prune --older-than 7d"),
];

/// Ten seconds without a command.
const ALONE: &str = "the application alone";

/// After the last filled hour.
const NOW: &str = "2026-01-31T13:30:00Z";

/// Gives every tenth row values that a rollback would lose.
const CHANGE_VALUES: &str =
    "UPDATE api_usage SET method = 'POST', response_time = 12 WHERE id LIKE '%7'";

/// Marks the place where the ledger is deleted.
const FORGET: &str = "forget";

/// The peer on each engine.
const INDEX_BY_HAND: [&str; 2] = [
    "CREATE INDEX CONCURRENTLY by_hand ON api_usage (api_name, timestamp, success)",
    "CREATE INDEX by_hand ON api_usage (api_name, timestamp, success)",
];

/// Server settings for a machine of this size.
const SETTINGS: &str = "shared_buffers = 512MB\nmax_wal_size = 8GB";

fn main() {
    let args = Args::parse();
    println!(
        "{:<84} {:>8} {:>8} {:>9} {:>11} {:>9} {:>7}",
        "command", "took", "inserts", "99 %", "longest", "read", "failed"
    );
    for (engine, rows) in [(Engine::Postgresql, 2_000_000), (Engine::Sqlite, 1_500_000)] {
        if args.engine.is_none_or(|only| only == engine) {
            measure(engine, args.rows.unwrap_or(rows));
        }
    }
}

fn measure(engine: Engine, rows: u64) {
    let directory = TempDir::new().unwrap();
    let server = (engine == Engine::Postgresql).then(|| Server::start(SETTINGS));
    let url = match &server {
        Some(server) => server.url("postgres"),
        None => format!("sqlite:{}", directory.path().join("usage.db").display()),
    };
    let export = directory.path().join("export").display().to_string();
    run(&url, "migrate --to create_api_usage", &export);
    let mut connection = App::open(engine, &url);
    connection.execute(&fill(engine, rows));
    let by_hand = INDEX_BY_HAND[usize::from(engine == Engine::Sqlite)];
    watch(engine, &url, rows, by_hand, || connection.execute(by_hand));
    connection.execute("DROP INDEX by_hand");
    for (before, command) in COMMANDS {
        match before {
            "" => {}
            FORGET => connection.execute(match engine {
                Engine::Postgresql => "DROP SCHEMA usagectl CASCADE",
                Engine::Sqlite => {
                    "DROP TABLE usagectl_migration_log; DROP TABLE __diesel_schema_migrations"
                }
            }),
            sql => connection.execute(sql),
        }
        watch(engine, &url, rows, command, || match command {
            ALONE => thread::sleep(Duration::from_secs(10)),
            _ => run(&url, command, &export),
        });
    }
}

/// Inserts and reads while `work` runs, and prints the waits.
fn watch(engine: Engine, url: &str, rows: u64, name: &str, work: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    let (took, inserts, reads) = thread::scope(|scope| {
        let inserts = scope.spawn(|| App::open(engine, url).repeat(&stop, insert));
        let reads = scope.spawn(|| App::open(engine, url).repeat(&stop, |_| READ.to_owned()));
        thread::sleep(Duration::from_secs(1));
        let started = Instant::now();
        work();
        let took = started.elapsed();
        stop.store(true, Ordering::SeqCst);
        (took, inserts.join().unwrap(), reads.join().unwrap())
    });
    println!(
        "{:<84} {:>6.1} s {:>8} {:>6.1} ms {:>8} ms {:>6} ms {:>7}",
        format!("{engine:?}, {rows} rows: {name}"),
        took.as_secs_f64(),
        inserts.times.len(),
        inserts.percentile(99).as_secs_f64() * 1000.0,
        inserts.percentile(100).as_millis(),
        reads.percentile(100).as_millis(),
        inserts.failed + reads.failed,
    );
}

const READ: &str = "SELECT count(*) FROM api_usage WHERE api_name = 'api7'
    AND timestamp >= '2026-01-31T11:00:00.000+00:00' AND timestamp < '2026-01-31T11:01:00.000+00:00'";

fn insert(number: u64) -> String {
    format!(
        "INSERT INTO api_usage (id, api_name, timestamp) VALUES
         ('new-{}-{number}', 'api{}', '2026-01-31T12:00:00.000+00:00')",
        uuid::Uuid::new_v4(),
        number % 20
    )
}

/// Fills api_usage with a month of calls to twenty APIs.
fn fill(engine: Engine, rows: u64) -> String {
    let columns = "INSERT INTO api_usage (id, api_name, endpoint, success, status_code, timestamp)";
    let step_ms = 30 * 24 * 3_600_000 / rows;
    match engine {
        Engine::Postgresql => format!(
            "{columns} SELECT 'call-' || n, 'api' || n % 20, '/v1/quote', true, 200,
                 timestamp '2026-01-01' + n * interval '{step_ms} ms'
             FROM generate_series(1, {rows}) AS n; ANALYZE api_usage"
        ),
        Engine::Sqlite => format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})
             {columns} SELECT 'call-' || n, 'api' || n % 20, '/v1/quote', 1, 200,
                 strftime('%Y-%m-%dT%H:%M:%f+00:00', '2026-01-01', (n * {step_ms} / 1000.0) || ' seconds')
             FROM numbers"
        ),
    }
}

fn run(url: &str, command: &str, export: &str) {
    let arguments = command
        .split(' ')
        .map(|word| if word == "EXPORT" { export } else { word });
    let program = std::env::var("USAGECTL");
    let output = Command::new(program.as_deref().unwrap_or(env!("CARGO_BIN_EXE_usagectl")))
        .env("USAGECTL_NOW", NOW)
        .args(["--database-url", url])
        .args(arguments)
        .output()
        .unwrap();
    let code = output.status.code();
    // A restore of values that the application has changed ends with 3.
    assert!(matches!(code, Some(0 | 3)), "{command}: {output:?}");
}

/// The statements of one connection.
#[derive(Default)]
struct Waits {
    times: Vec<Duration>,
    failed: u64,
}

impl Waits {
    /// The time that this percentage of the statements does not exceed.
    fn percentile(&self, percent: usize) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        let rank = (times.len() * percent).div_ceil(100);
        times[rank - 1]
    }
}

/// A connection of the application.
enum App {
    Postgresql(PgConnection),
    Sqlite(SqliteConnection),
}

impl App {
    fn open(engine: Engine, url: &str) -> App {
        match engine {
            Engine::Postgresql => App::Postgresql(PgConnection::establish(url).unwrap()),
            Engine::Sqlite => {
                let path = url.trim_start_matches("sqlite:");
                let mut connection = SqliteConnection::establish(path).unwrap();
                connection
                    .batch_execute("PRAGMA busy_timeout = 5000")
                    .unwrap();
                App::Sqlite(connection)
            }
        }
    }

    fn try_execute(&mut self, sql: &str) -> diesel::QueryResult<()> {
        match self {
            App::Postgresql(connection) => connection.batch_execute(sql),
            App::Sqlite(connection) => connection.batch_execute(sql),
        }
    }

    fn execute(&mut self, sql: &str) {
        self.try_execute(sql).expect(sql);
    }

    fn repeat(&mut self, stop: &AtomicBool, statement: impl Fn(u64) -> String) -> Waits {
        let mut waits = Waits::default();
        while !stop.load(Ordering::SeqCst) {
            let sql = statement(waits.times.len() as u64);
            let started = Instant::now();
            waits.failed += u64::from(self.try_execute(&sql).is_err());
            waits.times.push(started.elapsed());
            thread::sleep(Duration::from_millis(2));
        }
        waits
    }
}
