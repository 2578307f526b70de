//! usagectl beside what people use otherwise, in one run on one machine.
//!
//! ```text
//! cargo bench                                      all of it, on a million records
//! cargo bench -- --records 10000000 late stats     some of it, on ten million
//! cargo bench -- --rounds 3 record                 each side three times, in turn; the best counts
//! ```
//!
//! Both engines are durable (fsync on); `api_usage` has its primary key and its five indexes. The peers,
//! `psql` and `sqlite3`, work on a table without our triggers, from a CSV file that is ready to load.
//! What is recorded and rolled up is compared with the generator's own count on the way.
//!
//! Needs `sqlite3`, `psql`, PostgreSQL's server programs, and Linux for the resident memory.

// A program for the command line of developers: it prints, and it gives up when something is amiss.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::unwrap_used)]
#![allow(unreachable_pub, missing_docs)]

#[allow(dead_code)]
#[path = "../examples/generate/data/mod.rs"]
mod data;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Parser, ValueEnum};
use tempfile::TempDir;

use data::lines::{self, Case};
use data::usage::{self, Call, Calls, Plan, Summary};

/// Where the generated data ends; every command runs at this moment.
const NOW: &str = "2026-01-31T12:00:00Z";

/// A server that a careful administrator would run on such a machine.
const SETTINGS: &str = "\
shared_buffers = 512MB
max_wal_size = 8GB
checkpoint_timeout = 30min
";

/// What `record` writes, in the order of the peers' CSV files.
const COLUMNS: &str = "id, api_name, endpoint, timestamp, success, status_code, created_at, method, \
    response_time, request_size, response_size, error_type, error_message, cost_credits, cached, user_id";

#[derive(Parser)]
struct Args {
    /// What to measure
    #[arg(value_enum)]
    works: Vec<Work>,
    /// How many rows
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// How often each side runs, in turn
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Only one engine
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// Said by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Work {
    /// Recording, beside the engine's own loader
    Record,
    /// The full roll-up, beside one GROUP BY
    Rollup,
    /// One late row, rolled up
    Late,
    /// The application's inserts, with and without our triggers
    Triggers,
    /// `stats` and `status`
    Stats,
    /// A hundred alert rules, beside one query a rule
    Alerts,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Engine {
    Sqlite,
    Postgresql,
}

fn main() {
    let args = Args::parse();
    let all = [
        Work::Record,
        Work::Rollup,
        Work::Late,
        Work::Triggers,
        Work::Stats,
        Work::Alerts,
    ];
    let works = if args.works.is_empty() {
        &all[..]
    } else {
        &args.works
    };
    println!(
        "{:<52} {:>9} {:>11} {:>11} {:>7}",
        "work", "goal", "peer", "ours", "ratio"
    );
    for engine in [Engine::Sqlite, Engine::Postgresql] {
        if args.engine.is_none_or(|only| only == engine) {
            let mut bench = Bench::new(engine, args.records, args.rounds);
            for work in works {
                match work {
                    Work::Record => bench.record(),
                    Work::Rollup => bench.rollup(),
                    Work::Late => bench.late(),
                    Work::Triggers => bench.triggers(),
                    Work::Stats => bench.stats(),
                    Work::Alerts => bench.alerts(),
                }
            }
        }
    }
}

/// One engine, and the data for it.
struct Bench {
    engine: Engine,
    records: u64,
    rounds: u32,
    directory: TempDir,
    server: Option<Server>,
    summary: Summary,
    /// Whether the databases `raw` and `rolled` are there.
    raw: bool,
    rolled: bool,
}

// ------------------------------------------------------------------------------------------- the works

impl Bench {
    fn record(&mut self) {
        self.need_raw();
        self.write_ready_csv();
        let input = self.path("usage.ndjson");
        let (mut peer, mut ours) = (Best::default(), Best::default());
        for _ in 0..self.rounds {
            self.fresh("peer");
            self.set_triggers("peer", false);
            peer.add(self.load_ready_csv("peer"));
            self.fresh("ours");
            ours.add(timed(
                self.usagectl("ours")
                    .args(["record", "--quiet"])
                    .arg(&input),
            ));
        }
        let goal = match self.engine {
            Engine::Sqlite => 0.8,
            // At least 1.5 times as fast.
            Engine::Postgresql => 0.667,
        };
        self.row(
            "record, beside the engine's own loader",
            Goal::Ratio(goal),
            Some(peer),
            ours,
        );
        assert_eq!(
            self.count("ours", "SELECT count(*) FROM api_usage"),
            self.records
        );

        self.fresh("ours");
        let megabytes = memory(
            self.usagectl("ours")
                .args(["record", "--quiet"])
                .arg(&input),
        );
        self.line(
            "record, resident memory",
            "< 64 MB",
            "",
            &format!("{megabytes:.1} MB"),
            "",
            megabytes < 64.0,
        );
    }

    fn rollup(&mut self) {
        self.need_raw();
        let (mut peer, mut ours) = (Best::default(), Best::default());
        for _ in 0..self.rounds {
            self.copy("raw", "peer");
            peer.add(timed(&mut self.sql("peer", GROUP_BY[self.engine as usize])));
            self.copy("raw", "rolled");
            ours.add(timed(
                self.usagectl("rolled").args(["aggregate", "--quiet"]),
            ));
        }
        self.rolled = true;
        self.row(
            "full roll-up, beside one GROUP BY hour",
            Goal::Ratio(0.6),
            Some(peer),
            ours,
        );
        self.check_rollup();
    }

    fn late(&mut self) {
        self.need_rolled();
        let mut ours = Best::default();
        for n in 0..10 {
            let at = until() - chrono::Duration::hours(100 + n);
            let row = format!(
                "INSERT INTO api_usage (id, api_name, endpoint, timestamp, created_at)
                 VALUES ('late-{n}', 'finnhub', '/quote', '{at}', '{at}')",
                at = self.instant(at)
            );
            run(&mut self.sql("rolled", &row));
            ours.add(timed(
                self.usagectl("rolled").args(["aggregate", "--quiet"]),
            ));
        }
        let goal = match self.engine {
            Engine::Sqlite => 100.0,
            Engine::Postgresql => 200.0,
        };
        self.row("one late row, aggregate", Goal::Ms(goal), None, ours);
    }

    fn triggers(&mut self) {
        self.need_raw();
        self.copy("raw", "application");
        let kinds = [
            ("single rows", 1, 5_000, 1.10),
            ("batches of 1,000", 1_000, 100_000, 1.05),
        ];
        let mut seed = 1;
        for (name, batch, rows, goal) in kinds {
            let (mut without, mut with) = (Best::default(), Best::default());
            for _ in 0..self.rounds.max(3) {
                for (triggers, best) in [(false, &mut without), (true, &mut with)] {
                    seed += 1;
                    let script = self.inserts(seed, rows, batch);
                    self.set_triggers("application", triggers);
                    best.add(timed(&mut self.script("application", &script)));
                }
            }
            let work = format!("the application's inserts with our triggers, {name}");
            self.row(&work, Goal::Ratio(goal), Some(without), with);
        }
    }

    fn stats(&mut self) {
        self.need_rolled();
        let goals = match self.engine {
            Engine::Sqlite => [10.0, 5.0],
            // The contract names no time for `stats` on PostgreSQL; connecting alone takes several.
            Engine::Postgresql => [20.0, 10.0],
        };
        for (command, goal) in ["stats", "status"].into_iter().zip(goals) {
            let mut mean = Best::default();
            for _ in 0..self.rounds.max(3) {
                let start = Instant::now();
                for _ in 0..20 {
                    run(self.usagectl("rolled").arg(command));
                }
                mean.add(start.elapsed() / 20);
            }
            self.row(command, Goal::Ms(goal), None, mean);
        }
    }
}

/// As many as are checked; there are a few more types and periods of seven APIs.
const RULES: usize = 100;

impl Bench {
    fn alerts(&mut self) {
        self.need_rolled();
        // Half an hour past the full one: rolling windows begin and end within hours, whose rows are counted.
        let now = until() - chrono::Duration::minutes(30);
        let queries = self.put_rules(now);
        let path = self.path("queries.sql");
        fs::write(&path, queries).unwrap();
        let check = |minute: i64| {
            let now = now + chrono::Duration::seconds(60 * minute + 20);
            let mut command = self.usagectl("rolled");
            command.args(["alerts", "check", "--no-send", "--quiet", "--now"]);
            command.arg(now.to_rfc3339());
            command
        };
        // The first check begins; each that follows judges one minute.
        run(&mut check(-1));
        let (mut peer, mut ours) = (Best::default(), Best::default());
        for minute in 0..self.rounds.max(5).into() {
            ours.add(timed(&mut check(minute)));
        }
        for _ in 0..self.rounds {
            peer.add(timed(&mut self.script("rolled", &path)));
        }
        let goal = match self.engine {
            Engine::Sqlite => 50.0,
            Engine::Postgresql => 200.0,
        };
        let work = format!("{RULES} alert rules, beside one query a rule");
        self.row(&work, Goal::Ms(goal), Some(peer), ours);
    }

    /// A rule for each API, type and period, with limits that are far away; and what one would ask instead.
    fn put_rules(&self, now: DateTime<Utc>) -> String {
        let apis = output(&mut self.sql(
            "rolled",
            "SELECT DISTINCT api_name FROM api_usage_aggregates",
        ));
        let periods = ["SECOND", "MINUTE", "HOUR", "DAY", "MONTH"];
        let (mut rules, mut limits, mut queries) = (Vec::new(), Vec::new(), Vec::new());
        for api in apis.lines() {
            for period in periods {
                let then = self.instant(now);
                limits.push(format!(
                    "('{api}', '{period}', 'CALLS', 1000000000, 'USER', '{then}')"
                ));
                let from = match period {
                    "MONTH" => now - chrono::Months::new(1),
                    "DAY" => now - chrono::Duration::days(1),
                    "HOUR" => now - chrono::Duration::hours(1),
                    _ => now - chrono::Duration::minutes(1),
                };
                let from = self.instant(from);
                for (alert_type, sum, filter) in [
                    ("RATE_LIMIT_WARNING", "count(*)", "AND NOT cached"),
                    ("COST_THRESHOLD", "sum(cost_credits)", ""),
                    ("ERROR_SPIKE", "count(*)", "AND NOT success"),
                ] {
                    let id = rules.len();
                    rules.push(format!(
                        "('rule-{id}', '{api}', '{alert_type}', 1000000000, '{period}', true, '{then}')"
                    ));
                    queries.push(format!(
                        "SELECT {sum} FROM api_usage WHERE api_name = '{api}' AND timestamp >= '{from}'
                         AND timestamp < '{then}' {filter};"
                    ));
                }
            }
        }
        rules.truncate(RULES);
        queries.truncate(RULES);
        let statement = format!(
            "INSERT INTO api_alerts (id, api_name, alert_type, threshold, period, enabled, updated_at)
             VALUES {};
             INSERT INTO usagectl_api_limits (api_name, period, unit, limit_value, origin, updated_at)
             VALUES {};",
            rules.join(", "),
            limits.join(", ")
        );
        // Ours has a schema of its own on PostgreSQL.
        let statement = match self.engine {
            Engine::Sqlite => statement,
            Engine::Postgresql => statement.replace("INTO usagectl_", "INTO usagectl.usagectl_"),
        };
        run(&mut self.sql("rolled", &statement));
        queries.join("\n")
    }
}

/// What one would write by hand: everything api_usage_aggregates has, by hour.
const GROUP_BY: [&str; 2] = [
    "CREATE TABLE by_hand AS
     SELECT api_name, substr(timestamp, 1, 13) AS hour, count(*) AS total, sum(success) AS succeeded,
         sum(NOT success) AS failed, sum(cached) AS cached, avg(response_time) AS average,
         max(response_time) AS longest, min(response_time) AS shortest,
         sum(NOT success AND error_type = 'RATE_LIMIT') AS rate_limit,
         sum(NOT success AND error_type = 'TIMEOUT') AS timeout,
         sum(NOT success AND (error_type = 'SERVER_ERROR' OR status_code >= 500)) AS server,
         sum(cost_credits) AS cost
     FROM api_usage GROUP BY 1, 2",
    "CREATE TABLE by_hand AS
     SELECT api_name, date_trunc('hour', timestamp) AS hour, count(*) AS total,
         count(*) FILTER (WHERE success) AS succeeded, count(*) FILTER (WHERE NOT success) AS failed,
         count(*) FILTER (WHERE cached) AS cached, avg(response_time) AS average,
         max(response_time) AS longest, min(response_time) AS shortest,
         count(*) FILTER (WHERE NOT success AND error_type = 'RATE_LIMIT') AS rate_limit,
         count(*) FILTER (WHERE NOT success AND error_type = 'TIMEOUT') AS timeout,
         count(*) FILTER (WHERE NOT success AND (error_type = 'SERVER_ERROR' OR status_code >= 500)) AS server,
         sum(cost_credits) AS cost
     FROM api_usage GROUP BY 1, 2",
];

// -------------------------------------------------------------------------------------------- the data

fn until() -> DateTime<Utc> {
    NOW.parse().unwrap()
}

impl Bench {
    fn new(engine: Engine, records: u64, rounds: u32) -> Bench {
        let mut bench = Bench {
            engine,
            records,
            rounds,
            directory: TempDir::with_prefix("usagectl-bench-").unwrap(),
            server: (engine == Engine::Postgresql).then(Server::start),
            summary: Summary::new(),
            raw: false,
            rolled: false,
        };
        let mut out = BufWriter::new(File::create(bench.path("usage.ndjson")).unwrap());
        for call in Calls::new(bench.plan(7, records)) {
            usage::count(&mut bench.summary, &call);
            writeln!(out, "{}", lines::ndjson(&call, Case::Snake)).unwrap();
        }
        out.flush().unwrap();
        bench
    }

    fn plan(&self, seed: u64, records: u64) -> Plan {
        Plan {
            records,
            seed,
            days: 30,
            until: until(),
            ids: 0.1,
            late: 0.03,
        }
    }

    /// The database `raw`: all records, nothing rolled up.
    fn need_raw(&mut self) {
        if !self.raw {
            self.fresh("raw");
            let input = self.path("usage.ndjson");
            run(self.usagectl("raw").args(["record", "--quiet"]).arg(input));
            run(&mut self.sql("raw", "ANALYZE"));
            self.raw = true;
        }
    }

    /// The database `rolled`: the same, rolled up.
    fn need_rolled(&mut self) {
        if !self.rolled {
            self.need_raw();
            self.copy("raw", "rolled");
            run(self.usagectl("rolled").args(["aggregate", "--quiet"]));
            self.rolled = true;
        }
    }

    /// The rows of `raw` as CSV that needs no more work.
    fn write_ready_csv(&self) {
        let path = self.path("ready.csv");
        if path.exists() {
            return;
        }
        let query = format!("SELECT {COLUMNS} FROM api_usage");
        match self.engine {
            Engine::Sqlite => {
                let file = self.path("raw.db");
                let out = File::create(path).unwrap();
                run(Command::new("sqlite3")
                    .arg("-csv")
                    .arg(file)
                    .arg(query)
                    .stdout(out));
            }
            Engine::Postgresql => {
                let copy = format!("\\copy ({query}) TO '{}' CSV", path.display());
                run(&mut self.sql("raw", &copy));
            }
        }
    }

    /// The peer's loader.
    fn load_ready_csv(&self, name: &str) -> Duration {
        let path = self.path("ready.csv");
        let path = path.display();
        match self.engine {
            Engine::Sqlite => {
                // `.import` takes the columns in the table's order, which is that of COLUMNS.
                let import = format!(".import --csv {path} api_usage");
                timed(&mut self.sql(name, &import))
            }
            Engine::Postgresql => {
                let copy = format!("\\copy api_usage ({COLUMNS}) FROM '{path}' CSV");
                timed(&mut self.sql(name, &copy))
            }
        }
    }

    /// A script of INSERT statements, each of `batch` rows and a transaction of its own.
    fn inserts(&self, seed: u64, rows: u64, batch: usize) -> PathBuf {
        let calls: Vec<Call> = Calls::new(self.plan(seed, rows)).collect();
        let path = self.path("inserts.sql");
        let mut out = BufWriter::new(File::create(&path).unwrap());
        for (number, calls) in calls.chunks(batch).enumerate() {
            let rows: Vec<String> = calls
                .iter()
                .enumerate()
                .map(|(row, call)| self.values(&format!("app-{seed}-{number:07}-{row:04}"), call))
                .collect();
            writeln!(
                out,
                "INSERT INTO api_usage (id, api_name, endpoint, timestamp, success, status_code, \
                 response_time, error_type, cached, user_id, created_at) VALUES {};",
                rows.join(", ")
            )
            .unwrap();
        }
        out.flush().unwrap();
        path
    }

    fn values(&self, id: &str, call: &Call) -> String {
        let text =
            |value: Option<&str>| value.map_or("NULL".to_owned(), |text| format!("'{text}'"));
        let number = |value: Option<u32>| value.map_or("NULL".to_owned(), |n| n.to_string());
        let at = self.instant(call.timestamp);
        format!(
            "('{id}', '{}', '{}', '{at}', {}, {}, {}, {}, {}, {}, '{at}')",
            call.api_name,
            call.endpoint,
            call.success(),
            number(call.status_code.map(u32::from)),
            number(call.response_time),
            text(call.error_type),
            call.cached,
            text(call.user_id.as_deref()),
        )
    }

    /// An instant as the engine's column wants it.
    fn instant(&self, at: DateTime<Utc>) -> String {
        match self.engine {
            Engine::Sqlite => at.format("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string(),
            Engine::Postgresql => at.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        }
    }

    /// Compares the roll-up with what the generator counted, hour by hour.
    fn check_rollup(&self) {
        let hour = match self.engine {
            Engine::Sqlite => "substr(period_start, 1, 13)",
            Engine::Postgresql => "to_char(period_start, 'YYYY-MM-DD\"T\"HH24')",
        };
        let query = format!(
            "SELECT api_name, {hour}, total_requests, success_count, error_count, cached_count,
                 rate_limit_errors, timeout_errors, server_errors
             FROM api_usage_aggregates WHERE aggregation_type = 'HOURLY' ORDER BY 1, 2"
        );
        let expected: Vec<String> = self
            .summary
            .iter()
            .map(|((api, hour), n)| {
                let hour = hour.to_rfc3339_opts(SecondsFormat::Secs, true);
                format!(
                    "{api}|{}|{}|{}|{}|{}|{}|{}|{}",
                    &hour[..13],
                    n.requests,
                    n.success,
                    n.errors,
                    n.cached,
                    n.rate_limit,
                    n.timeout,
                    n.server
                )
            })
            .collect();
        let stored = output(&mut self.sql("rolled", &query));
        assert!(
            stored.lines().eq(expected.iter().map(String::as_str)),
            "the roll-up is wrong"
        );
    }
}

// ---------------------------------------------------------------------------------------- the databases

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn usagectl(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_usagectl"));
        let url = match &self.server {
            None => format!("sqlite:{}", self.path(&format!("{name}.db")).display()),
            Some(server) => server.url(name),
        };
        command
            .env("DATABASE_URL", url)
            .env_remove("DIRECT_URL")
            .env("USAGECTL_NOW", NOW)
            .current_dir(self.directory.path());
        command
    }

    /// The engine's own program, on a statement.
    fn sql(&self, name: &str, statement: &str) -> Command {
        let mut command = self.shell(name);
        match self.engine {
            Engine::Sqlite => command.arg(statement),
            Engine::Postgresql => command.arg("-c").arg(statement),
        };
        command
    }

    /// The engine's own program, on a file of statements.
    fn script(&self, name: &str, path: &Path) -> Command {
        let mut command = self.shell(name);
        match self.engine {
            Engine::Sqlite => command.stdin(File::open(path).unwrap()),
            Engine::Postgresql => command.arg("-f").arg(path),
        };
        command
    }

    fn shell(&self, name: &str) -> Command {
        match &self.server {
            None => {
                let mut command = Command::new("sqlite3");
                // What usagectl sets for itself, too.
                for setting in [
                    "synchronous = FULL",
                    "cache_size = -16384",
                    "foreign_keys = ON",
                ] {
                    command.arg("-cmd").arg(format!("PRAGMA {setting}"));
                }
                command.arg("-bail").arg(self.path(&format!("{name}.db")));
                command
            }
            Some(server) => {
                let mut command = Command::new("psql");
                command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
                command.arg(server.url(name));
                command
            }
        }
    }

    fn count(&self, name: &str, query: &str) -> u64 {
        output(&mut self.sql(name, query)).trim().parse().unwrap()
    }

    /// An empty migrated database, in the place of what was there.
    fn fresh(&self, name: &str) {
        self.drop_database(name);
        if self.server.is_some() {
            run(&mut self.sql("postgres", &format!("CREATE DATABASE {name}")));
        }
        run(self.usagectl(name).args(["migrate", "--quiet"]));
    }

    fn copy(&self, from: &str, to: &str) {
        self.drop_database(to);
        match self.engine {
            Engine::Sqlite => {
                run(&mut self.sql(from, "PRAGMA wal_checkpoint(TRUNCATE)"));
                let path = |name: &str| self.path(&format!("{name}.db"));
                fs::copy(path(from), path(to)).unwrap();
            }
            Engine::Postgresql => {
                let create = format!("CREATE DATABASE {to} TEMPLATE {from} STRATEGY FILE_COPY");
                run(&mut self.sql("postgres", &create));
            }
        }
    }

    fn drop_database(&self, name: &str) {
        match self.engine {
            Engine::Sqlite => {
                for end in ["", "-wal", "-shm"] {
                    let _ = fs::remove_file(self.path(&format!("{name}.db{end}")));
                }
            }
            Engine::Postgresql => {
                run(&mut self.sql("postgres", &format!("DROP DATABASE IF EXISTS {name}")));
            }
        }
    }

    /// Switches our triggers on api_usage on or off.
    fn set_triggers(&self, name: &str, on: bool) {
        match self.engine {
            Engine::Sqlite => {
                let kept = self.path("triggers.sql");
                if !kept.exists() {
                    let all = "SELECT sql || ';' FROM sqlite_master WHERE type = 'trigger'";
                    fs::write(&kept, output(&mut self.sql(name, all))).unwrap();
                }
                let drop = "SELECT 'DROP TRIGGER ' || name || ';' FROM sqlite_master WHERE type = 'trigger'";
                let drop = output(&mut self.sql(name, drop));
                run(&mut self.sql(name, &drop));
                if on {
                    run(&mut self.script(name, &kept));
                }
            }
            Engine::Postgresql => {
                let action = if on { "ENABLE" } else { "DISABLE" };
                run(&mut self.sql(
                    name,
                    &format!("ALTER TABLE api_usage {action} TRIGGER USER"),
                ));
            }
        }
    }
}

/// A private PostgreSQL; it ends with us, see the script.
struct Server {
    port: String,
    _keeper: Child,
}

impl Server {
    fn start() -> Server {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/suite/support/postgres.sh"
        );
        let mut keeper = Command::new("sh")
            .arg(script)
            .env("SETTINGS", SETTINGS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut ready = BufReader::new(keeper.stdout.take().unwrap());
        ready.read_line(&mut line).unwrap();
        let port = line
            .split(' ')
            .nth(1)
            .expect("PostgreSQL starts")
            .to_owned();
        Server {
            port,
            _keeper: keeper,
        }
    }

    fn url(&self, name: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{name}", self.port)
    }
}

// ------------------------------------------------------------------------------------------- measuring

/// The best of several times.
#[derive(Default)]
struct Best(Option<Duration>);

impl Best {
    fn add(&mut self, time: Duration) {
        self.0 = Some(self.0.map_or(time, |best| best.min(time)));
    }

    fn ms(&self) -> f64 {
        self.0.unwrap_or_default().as_secs_f64() * 1000.0
    }
}

enum Goal {
    /// Ours is at most this part of the peer's.
    Ratio(f64),
    /// Ours is at most so many milliseconds.
    Ms(f64),
}

impl Bench {
    fn row(&self, work: &str, goal: Goal, peer: Option<Best>, ours: Best) {
        let ms = |time: f64| match time {
            ..100.0 => format!("{time:.1} ms"),
            _ => format!("{:.2} s", time / 1000.0),
        };
        let ratio = peer.as_ref().map(|peer| ours.ms() / peer.ms());
        let (goal, met) = match goal {
            Goal::Ratio(most) => (
                format!("{most:.2} x"),
                ratio.is_some_and(|ratio| ratio <= most),
            ),
            Goal::Ms(most) => (format!("< {most} ms"), ours.ms() < most),
        };
        let peer = peer.map_or(String::new(), |peer| ms(peer.ms()));
        let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2} x"));
        self.line(work, &goal, &peer, &ms(ours.ms()), &ratio, met);
    }

    fn line(&self, work: &str, goal: &str, peer: &str, ours: &str, ratio: &str, met: bool) {
        let engine = match self.engine {
            Engine::Sqlite => "SQLite",
            Engine::Postgresql => "PostgreSQL",
        };
        let work = format!("{engine}: {work}");
        let met = if met { "" } else { "  missed" };
        println!("{work:<68} {goal:>9} {peer:>11} {ours:>11} {ratio:>7}{met}");
    }
}

/// Runs a command to its end and says how long that took.
fn timed(command: &mut Command) -> Duration {
    let start = Instant::now();
    run(command);
    start.elapsed()
}

fn run(command: &mut Command) {
    output(command);
}

fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command and says how many megabytes of memory it had at most.
fn memory(command: &mut Command) -> f64 {
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut kilobytes = 0.0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kilobytes = number.unwrap_or(kilobytes);
        thread::sleep(Duration::from_millis(20));
    }
    kilobytes / 1024.0
}
