//! Compares usagectl with the engines' own programs, in one run on one machine.
//!
//! ```text
//! cargo bench                                      all workloads, on a million records
//! cargo bench -- --records 10000000 late stats     some of them, on ten million
//! cargo bench -- --rounds 1 record                 one run instead of the median of five
//! ```
//!
//! Both engines are durable (fsync on); `api_usage` has its primary key and its five indexes. The peers, `psql`
//! and `sqlite3`, load a prepared CSV file into a table without our triggers. The recorded and rolled-up rows
//! are compared with the generator's count.
//!
//! Requires `sqlite3`, `psql`, PostgreSQL's server programs, and Linux for the resident memory. Peers that are not
//! installed are left out: `sqlx`, `refinery` and `dbmate`, and DuckDB (see `group_by_duckdb.py`).

// A development program: it prints, and it panics on any error.
#![allow(clippy::disallowed_methods, reason = "it writes input, not answers")]
#![allow(clippy::expect_used, clippy::print_stdout, clippy::unwrap_used)]
#![allow(unreachable_pub, missing_docs)]

#[allow(dead_code)]
#[path = "../examples/generate/data/mod.rs"]
mod data;
mod server;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Parser, ValueEnum};
use tempfile::TempDir;

use data::lines::{self, Case};
use data::usage::{self, Call, Calls, Plan, Summary};
use server::Server;

/// The end of the generated data and the clock of every command.
const NOW: &str = "2026-01-31T12:00:00Z";

/// Server settings for a machine of this size.
const SETTINGS: &str = "\
shared_buffers = 512MB
max_wal_size = 8GB
checkpoint_timeout = 30min
";

/// The columns that `record` writes, in the order of the peers' CSV files.
const COLUMNS: &str = "id, api_name, endpoint, timestamp, success, status_code, created_at, method, \
    response_time, request_size, response_size, error_type, error_message, cost_credits, cached, user_id";

#[derive(Parser)]
struct Args {
    /// Workloads to measure [default: all]
    #[arg(value_enum)]
    workloads: Vec<Workload>,
    /// Number of records
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Number of runs of each side; the median counts
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Only this engine
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Workload {
    /// Recording, against the engine's own loader
    Record,
    /// The full roll-up, against one GROUP BY, a materialized view and DuckDB
    Rollup,
    /// The roll-up of one late row, with another endpoint in each record
    Endpoints,
    /// The roll-up after inserts of single rows, against a rebuild
    Marks,
    /// The roll-up of one late row, and of none
    Late,
    /// The application's inserts, with and without our triggers
    Triggers,
    /// `stats` and `status`
    Stats,
    /// A hundred and a thousand alert rules, against one query per rule; a day of late rows
    Alerts,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Engine {
    Sqlite,
    Postgresql,
}

fn main() {
    let args = Args::parse();
    println!(
        "{:<68} {:>9} {:>11} {:>11} {:>7}",
        "workload", "goal", "peer", "ours", "ratio"
    );
    for engine in [Engine::Sqlite, Engine::Postgresql] {
        if args.engine.is_some_and(|only| only != engine) {
            continue;
        }
        let mut bench = Bench::new(engine, args.records, args.rounds);
        for workload in Workload::value_variants() {
            if !args.workloads.is_empty() && !args.workloads.contains(workload) {
                continue;
            }
            match workload {
                Workload::Record => bench.record(),
                Workload::Rollup => bench.rollup(),
                Workload::Endpoints => bench.endpoints(),
                Workload::Marks => bench.marks(),
                Workload::Late => bench.late(),
                Workload::Triggers => bench.triggers(),
                Workload::Stats => bench.stats(),
                Workload::Alerts => bench.alerts(),
            }
        }
    }
}

/// One engine and its data.
struct Bench {
    engine: Engine,
    records: u64,
    rounds: u32,
    directory: TempDir,
    server: Option<Server>,
    summary: Summary,
    /// Whether the databases `raw` and `rolled` exist.
    raw: bool,
    rolled: bool,
}

// --------------------------------------------------------------------------------------- the workloads

impl Bench {
    fn record(&mut self) {
        self.need_raw();
        self.write_ready_csv();
        let (mut peer, mut first, mut again) =
            (Times::default(), Times::default(), Times::default());
        for _ in 0..self.rounds {
            self.fresh("peer");
            self.set_triggers("peer", false);
            peer.add(self.load_ready_csv("peer"));
            self.fresh("ours");
            first.add(timed(&mut self.record_into("ours")));
            again.add(timed(&mut self.record_into("ours")));
        }
        assert_eq!(
            self.count("ours", "SELECT count(*) FROM api_usage"),
            self.records
        );
        // On PostgreSQL at least 1.5 times as fast.
        let goal = self.by_engine(0.8, 0.667);
        self.row(
            "record, against the engine's own loader",
            Goal::Ratio(goal),
            Some(peer),
            &first,
        );
        self.row(
            "record the same lines again, against the first time",
            Goal::Ratio(1.2),
            Some(first),
            &again,
        );

        self.fresh("ours");
        let megabytes = memory(&mut self.record_into("ours"));
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
        let (mut peer, mut ours) = (Times::default(), Times::default());
        for _ in 0..self.rounds {
            self.copy("raw", "peer");
            peer.add(timed(&mut self.sql("peer", GROUP_BY[self.engine as usize])));
            self.copy("raw", "rolled");
            ours.add(timed(&mut self.aggregate()));
        }
        self.rolled = true;
        self.row(
            "full roll-up, against one GROUP BY hour",
            Goal::Ratio(0.6),
            Some(peer),
            &ours,
        );
        self.check_rollup();
        match self.engine {
            Engine::Sqlite => self.compare_with_duckdb(&ours),
            Engine::Postgresql => self.compare_with_view(&ours),
        }
    }

    /// Against a materialized view of one GROUP BY hour.
    fn compare_with_view(&self, ours: &Times) {
        let query = GROUP_BY[self.engine as usize];
        let view = query.replace("CREATE TABLE", "CREATE MATERIALIZED VIEW");
        run(&mut self.sql("rolled", &format!("{view} WITH NO DATA")));
        let mut peer = Times::default();
        for _ in 0..self.rounds {
            let refresh = "REFRESH MATERIALIZED VIEW by_hand";
            peer.add(timed(&mut self.sql("rolled", refresh)));
        }
        run(&mut self.sql("rolled", "DROP MATERIALIZED VIEW by_hand"));
        let workload = "full roll-up, against a refreshed materialized view";
        self.row(workload, Goal::Ratio(0.6), Some(peer), ours);
    }

    fn compare_with_duckdb(&self, ours: &Times) {
        let duckdb = || {
            let mut command = Command::new("python3");
            command
                .arg(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/benches/group_by_duckdb.py"
                ))
                .arg(self.path("rolled.db"));
            command
        };
        if !duckdb()
            .output()
            .is_ok_and(|output| output.status.success())
        {
            println!("DuckDB does not run, so the roll-up is not compared with it");
            return;
        }
        let mut peer = Times::default();
        for _ in 0..self.rounds {
            peer.add(timed(&mut duckdb()));
        }
        let workload = "full roll-up, against DuckDB's GROUP BY endpoint and hour";
        self.row(workload, Goal::Ratio(1.2), Some(peer), ours);
    }

    fn late(&mut self) {
        self.need_rolled();
        let (mut late, mut nothing) = (Times::default(), Times::default());
        for n in 0..self.rounds {
            self.insert_late("rolled", n);
            late.add(timed(&mut self.aggregate()));
            nothing.add(timed(&mut self.aggregate()));
        }
        let goal = self.by_engine(100.0, 200.0);
        self.row("aggregate, one late row", Goal::Ms(goal), None, &late);
        let goal = self.by_engine(5.0, 10.0);
        self.row("aggregate, nothing to do", Goal::Ms(goal), None, &nothing);
    }

    fn insert_late(&self, database: &str, number: u32) {
        let at = until() - chrono::Duration::hours(100 + i64::from(number));
        let row = format!(
            "INSERT INTO api_usage (id, api_name, endpoint, timestamp, created_at)
             VALUES ('late-{number}', 'finnhub', '/quote', '{at}', '{at}')",
            at = self.instant(at)
        );
        run(&mut self.sql(database, &row));
    }

    fn endpoints(&mut self) {
        self.need_raw();
        self.copy("raw", "endpoints");
        let endpoint = "UPDATE api_usage SET endpoint = '/of/' || id";
        run(&mut self.sql("endpoints", endpoint));
        let aggregate = |options: &[&str]| {
            let mut command = self.usagectl("endpoints");
            command.args(["aggregate", "--quiet"]).args(options);
            command
        };
        let all = self.records.to_string();
        for (number, (name, most)) in (0..).zip([("1,000", "1000"), ("all", &all)]) {
            run(&mut aggregate(&[
                "--endpoints",
                "raw",
                "--max-endpoints",
                most,
            ]));
            let mut ours = Times::default();
            for round in 0..self.rounds {
                self.insert_late("endpoints", number * self.rounds + round);
                ours.add(timed(&mut aggregate(&[])));
            }
            let workload = format!("aggregate, one late row, {name} of an endpoint a record");
            let goal = self.by_engine(100.0, 200.0);
            self.row(&workload, Goal::Ms(goal), None, &ours);
            self.insert_late("endpoints", 90 + number);
            let megabytes = memory(&mut aggregate(&[]));
            let found = format!("{megabytes:.1} MB");
            let met = megabytes < 64.0;
            self.line("the same, resident memory", "< 64 MB", "", &found, "", met);
        }
    }

    fn marks(&self) {
        self.fresh("marks");
        let path = self.path("marks.sql");
        let mut out = BufWriter::new(File::create(&path).unwrap());
        let inserts = File::open(self.inserts(3, self.records, 1)).unwrap();
        // In long transactions: only the number of statements counts.
        out.write_all(b"BEGIN;\n").unwrap();
        for (number, line) in (1..).zip(BufReader::new(inserts).lines()) {
            writeln!(out, "{}", line.unwrap()).unwrap();
            if number % 10_000 == 0 {
                out.write_all(b"COMMIT; BEGIN;\n").unwrap();
            }
        }
        out.write_all(b"COMMIT;\n").unwrap();
        drop(out);
        run(&mut self.script("marks", &path));
        let aggregate = |options: &[&str]| {
            let mut command = self.usagectl("marks");
            command.args(["aggregate", "--quiet"]).args(options);
            timed(&mut command)
        };
        let (mut peer, mut ours) = (Times::default(), Times::default());
        ours.add(aggregate(&[]));
        for _ in 0..self.rounds {
            peer.add(aggregate(&["--rebuild"]));
        }
        let workload = "aggregate after inserts of single rows, against --rebuild";
        self.row(workload, Goal::Ratio(3.0), Some(peer), &ours);
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
            let (mut without, mut with) = (Times::default(), Times::default());
            for _ in 0..self.rounds {
                for (triggers, times) in [(false, &mut without), (true, &mut with)] {
                    seed += 1;
                    let script = self.inserts(seed, rows, batch);
                    self.set_triggers("application", triggers);
                    times.add(timed(&mut self.script("application", &script)));
                }
            }
            let workload = format!("the application's inserts with our triggers, {name}");
            self.row(&workload, Goal::Ratio(goal), Some(without), &with);
        }
    }

    fn stats(&mut self) {
        self.need_rolled();
        // No goal is set for `stats` on PostgreSQL, where connecting alone takes several milliseconds.
        let (stats, status) = (self.by_engine(10.0, 20.0), self.by_engine(5.0, 10.0));
        let ours = self.times(|bench| {
            let mut command = bench.usagectl("rolled");
            command.arg("stats");
            command
        });
        self.row("stats", Goal::Ms(stats), None, &ours);
        let peers =
            [Peer::Sqlx, Peer::Dbmate, Peer::Refinery].map(|peer| (peer, self.migrate_with(peer)));
        let ours = self.times(|bench| {
            let mut command = bench.usagectl("rolled");
            command.arg("status");
            command
        });
        for (peer, is_there) in peers {
            let program = peer.program();
            if !is_there {
                println!("{program} is not on the PATH, so `status` is not compared with it");
                continue;
            }
            let theirs = self.times(|bench| bench.peer(peer, peer.status()));
            let workload = format!("status, nothing pending, against {program}");
            self.row(&workload, Goal::Ms(status), Some(theirs), &ours);
        }
        if peers.iter().all(|(_, is_there)| !is_there) {
            self.row("status, nothing pending", Goal::Ms(status), None, &ours);
        }
    }

    fn times(&self, command: impl Fn(&Bench) -> Command) -> Times {
        let mut times = Times::default();
        for _ in 0..20 * self.rounds {
            times.add(timed(&mut command(self)));
        }
        times
    }

    /// Applies as many migrations as ours with another tool; whether it is installed.
    fn migrate_with(&self, peer: Peer) -> bool {
        let program = peer.program();
        let found = Command::new(program).arg("--version").output();
        if !found.is_ok_and(|output| output.status.success()) {
            return false;
        }
        let folder = self.path(program);
        fs::create_dir(&folder).unwrap();
        for number in 1..=usagectl::store::migrations::ALL.len() {
            let table = format!("CREATE TABLE t{number} (id INTEGER);\n");
            let (name, sql) = match peer {
                Peer::Sqlx => (format!("{number}_table.sql"), table),
                Peer::Dbmate => (
                    format!("{number}_table.sql"),
                    format!("-- migrate:up\n{table}-- migrate:down\n"),
                ),
                Peer::Refinery => (format!("V{number}__table.sql"), table),
            };
            fs::write(folder.join(name), sql).unwrap();
        }
        self.drop_database(program);
        match self.engine {
            Engine::Sqlite => drop(File::create(self.path(&format!("{program}.db"))).unwrap()),
            Engine::Postgresql => {
                run(&mut self.sql("postgres", &format!("CREATE DATABASE {program}")));
            }
        }
        let config = match &self.server {
            None => format!("db_type = \"Sqlite\"\ndb_path = \"{program}.db\"\n"),
            Some(server) => format!(
                "db_type = \"Postgres\"\ndb_host = \"127.0.0.1\"\ndb_port = \"{}\"\n\
                 db_user = \"postgres\"\ndb_name = \"{program}\"\n",
                server.port
            ),
        };
        fs::write(self.path("refinery.toml"), format!("[main]\n{config}")).unwrap();
        run(&mut self.peer(peer, peer.migrate()));
        true
    }

    fn peer(&self, peer: Peer, arguments: &[&str]) -> Command {
        let program = peer.program();
        let url = match &self.server {
            None => format!("sqlite:{}", self.path(&format!("{program}.db")).display()),
            Some(server) => format!("{}?sslmode=disable", server.url(program)),
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("DATABASE_URL", url)
            .current_dir(self.directory.path());
        command
    }

    fn record_into(&self, name: &str) -> Command {
        let mut command = self.usagectl(name);
        command
            .args(["record", "--quiet"])
            .arg(self.path("usage.ndjson"));
        command
    }

    fn aggregate(&self) -> Command {
        let mut command = self.usagectl("rolled");
        command.args(["aggregate", "--quiet"]);
        command
    }

    fn by_engine(&self, sqlite: f64, postgresql: f64) -> f64 {
        match self.engine {
            Engine::Sqlite => sqlite,
            Engine::Postgresql => postgresql,
        }
    }
}

/// Other tools that apply migrations.
#[derive(Clone, Copy)]
enum Peer {
    Sqlx,
    Dbmate,
    Refinery,
}

impl Peer {
    fn program(self) -> &'static str {
        match self {
            Peer::Sqlx => "sqlx",
            Peer::Dbmate => "dbmate",
            Peer::Refinery => "refinery",
        }
    }

    fn migrate(self) -> &'static [&'static str] {
        match self {
            Peer::Sqlx => &["migrate", "run", "--source", "sqlx"],
            Peer::Dbmate => &["--migrations-dir", "dbmate", "--no-dump-schema", "migrate"],
            Peer::Refinery => &["migrate", "-c", "./refinery.toml", "-p", "refinery"],
        }
    }

    fn status(self) -> &'static [&'static str] {
        match self {
            Peer::Sqlx => &["migrate", "info", "--source", "sqlx"],
            Peer::Dbmate => &["--migrations-dir", "dbmate", "status", "--exit-code"],
            // It has no status: its migrate finds nothing to do.
            Peer::Refinery => self.migrate(),
        }
    }
}

impl Bench {
    fn alerts(&mut self) {
        self.need_rolled();
        self.check_rules("rolled", 100, 50.0);
        self.need_many_apis();
        self.check_rules("many", 1_000, 250.0);
        self.check_late_day("many");
    }

    /// Half past the hour: rolling windows begin and end within hours, whose rows are counted.
    fn time_of_check() -> DateTime<Utc> {
        until() - chrono::Duration::minutes(30)
    }

    fn check(&self, database: &str, minute: i64) -> Command {
        let now = Self::time_of_check() + chrono::Duration::seconds(60 * minute + 20);
        let mut command = self.usagectl(database);
        command.args(["alerts", "check", "--no-send", "--quiet", "--now"]);
        command.arg(now.to_rfc3339());
        command
    }

    fn check_rules(&self, database: &str, rules: usize, goal_ms: f64) {
        let queries = self.put_rules(database, rules);
        let path = self.path("queries.sql");
        fs::write(&path, queries).unwrap();
        // Each check after the first evaluates one minute.
        run(&mut self.check(database, -1));
        let (mut peer, mut ours) = (Times::default(), Times::default());
        for minute in 0..self.rounds.into() {
            ours.add(timed(&mut self.check(database, minute)));
            peer.add(timed(&mut self.script(database, &path)));
        }
        let workload = format!("{rules} alert rules, against one query per rule");
        self.row(&workload, Goal::Ms(goal_ms), Some(peer), &ours);
    }

    /// A late row in each hour of the last day, of each API.
    fn check_late_day(&self, database: &str) {
        let rounds = i64::from(self.rounds);
        let mut ours = Times::default();
        for round in 0..rounds {
            let rows = (1..=24).map(|hour| {
                let at = Self::time_of_check() - chrono::Duration::hours(hour);
                format!("('{round}-{hour}', '{at}')", at = self.instant(at))
            });
            let rows: Vec<String> = rows.collect();
            let time = match self.engine {
                Engine::Sqlite => "late.at",
                Engine::Postgresql => "late.at::timestamp",
            };
            let insert = format!(
                "WITH late(id, at) AS (VALUES {})
                 INSERT INTO api_usage (id, api_name, endpoint, timestamp, created_at)
                 SELECT late.id || '-' || api.api_name, api.api_name, '/', {time}, {time}
                 FROM late, (SELECT DISTINCT api_name FROM api_usage_aggregates) AS api",
                rows.join(", ")
            );
            run(&mut self.sql(database, &insert));
            ours.add(timed(&mut self.check(database, rounds + round)));
        }
        let workload = "1,000 alert rules, a late row in each hour of a day";
        self.row(workload, Goal::Ms(2_000.0), None, &ours);
    }

    /// Inserts rules for each API, type and period, with limits out of reach. Returns a query for each rule.
    fn put_rules(&self, database: &str, number: usize) -> String {
        let now = Self::time_of_check();
        let apis = output(&mut self.sql(
            database,
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
        assert!(rules.len() >= number, "{} rules", rules.len());
        rules.truncate(number);
        queries.truncate(number);
        let statement = format!(
            "INSERT INTO api_alerts (id, api_name, alert_type, threshold, period, enabled, updated_at)
             VALUES {};
             INSERT INTO usagectl_api_limits (api_name, period, unit, limit_value, origin, updated_at)
             VALUES {};",
            rules.join(", "),
            limits.join(", ")
        );
        // On PostgreSQL our tables are in a schema of their own.
        let statement = match self.engine {
            Engine::Sqlite => statement,
            Engine::Postgresql => statement.replace("INTO usagectl_", "INTO usagectl.usagectl_"),
        };
        // Longer than an argument may be.
        let path = self.path("rules.sql");
        fs::write(&path, statement).unwrap();
        run(&mut self.script(database, &path));
        queries.join("\n")
    }
}

/// A handwritten query for all numbers of api_usage_aggregates, by hour.
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
            server: (engine == Engine::Postgresql).then(|| Server::start(SETTINGS)),
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

    /// Makes the database `raw`: all records, nothing rolled up.
    fn need_raw(&mut self) {
        if !self.raw {
            self.fresh("raw");
            run(&mut self.record_into("raw"));
            run(&mut self.sql("raw", "ANALYZE"));
            self.raw = true;
        }
    }

    /// Makes the database `rolled`: the same, rolled up.
    fn need_rolled(&mut self) {
        if !self.rolled {
            self.need_raw();
            self.copy("raw", "rolled");
            run(&mut self.aggregate());
            self.rolled = true;
        }
    }

    /// Makes the database `many`: the same records, of ten times as many APIs.
    fn need_many_apis(&self) {
        let (from, to) = (self.path("usage.ndjson"), self.path("many.ndjson"));
        let mut out = BufWriter::new(File::create(&to).unwrap());
        for (number, line) in BufReader::new(File::open(from).unwrap())
            .lines()
            .enumerate()
        {
            let (start, rest) = line
                .as_deref()
                .unwrap()
                .split_once("\"api_name\":\"")
                .unwrap();
            let (api, end) = rest.split_once('"').unwrap();
            writeln!(out, "{start}\"api_name\":\"{api}-{}\"{end}", number % 10).unwrap();
        }
        out.flush().unwrap();
        self.fresh("many");
        run(self.usagectl("many").args(["record", "--quiet"]).arg(&to));
        run(self.usagectl("many").args(["aggregate", "--quiet"]));
        run(&mut self.sql("many", "ANALYZE"));
        fs::remove_file(to).unwrap();
    }

    /// Writes the rows of `raw` as CSV for the peer's loader.
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

    /// Runs the peer's loader.
    fn load_ready_csv(&self, name: &str) -> Duration {
        let path = self.path("ready.csv");
        let path = path.display();
        match self.engine {
            Engine::Sqlite => {
                // `.import` expects the columns in the table's order, which is that of COLUMNS.
                let import = format!(".import --csv {path} api_usage");
                timed(&mut self.sql(name, &import))
            }
            Engine::Postgresql => {
                let copy = format!("\\copy api_usage ({COLUMNS}) FROM '{path}' CSV");
                timed(&mut self.sql(name, &copy))
            }
        }
    }

    /// Writes a script of INSERT statements, each of `batch` rows and its own transaction.
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

    /// An instant in the form of the engine's column.
    fn instant(&self, at: DateTime<Utc>) -> String {
        match self.engine {
            Engine::Sqlite => at.format("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string(),
            Engine::Postgresql => at.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        }
    }

    /// Compares the roll-up with the generator's count, hour by hour.
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

    /// The engine's own program with a statement.
    fn sql(&self, name: &str, statement: &str) -> Command {
        let mut command = self.shell(name);
        match self.engine {
            Engine::Sqlite => command.arg(statement),
            Engine::Postgresql => command.arg("-c").arg(statement),
        };
        command
    }

    /// The engine's own program with a file of statements.
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
                // As usagectl sets them.
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

    /// Makes an empty migrated database in place of the one of this name.
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

/// A private PostgreSQL server, which ends with this process (see the script).
// ------------------------------------------------------------------------------------------- measuring

#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    fn median_ms(&self) -> f64 {
        let mut times = self.0.clone();
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1000.0
    }
}

enum Goal {
    /// The maximum ratio of our time to the peer's.
    Ratio(f64),
    /// The maximum of our time in milliseconds.
    Ms(f64),
}

impl Bench {
    fn row(&self, workload: &str, goal: Goal, peer: Option<Times>, ours: &Times) {
        let ms = |time: f64| match time {
            ..100.0 => format!("{time:.1} ms"),
            _ => format!("{:.2} s", time / 1000.0),
        };
        let ratio = peer
            .as_ref()
            .map(|peer| ours.median_ms() / peer.median_ms());
        let (goal, met) = match goal {
            Goal::Ratio(most) => (
                format!("{most:.2} x"),
                ratio.is_some_and(|ratio| ratio <= most),
            ),
            Goal::Ms(most) => (format!("< {most} ms"), ours.median_ms() < most),
        };
        let peer = peer.map_or(String::new(), |peer| ms(peer.median_ms()));
        let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2} x"));
        self.line(workload, &goal, &peer, &ms(ours.median_ms()), &ratio, met);
    }

    fn line(&self, workload: &str, goal: &str, peer: &str, ours: &str, ratio: &str, met: bool) {
        let engine = match self.engine {
            Engine::Sqlite => "SQLite",
            Engine::Postgresql => "PostgreSQL",
        };
        let workload = format!("{engine}: {workload}");
        let met = if met { "" } else { "  missed" };
        println!("{workload:<68} {goal:>9} {peer:>11} {ours:>11} {ratio:>7}{met}");
    }
}

/// Runs a command to its end and returns its duration.
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
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command and returns its maximum resident memory in megabytes.
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
