//! `aggregate`: after any writes, by any program and in any order, the roll-ups equal their rows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{slice, thread};

use crate::support::assert_snapshot;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use usagectl::store::lock::RunKind;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::calls::{
    Call, Sum, TimeForm, aggregates, expected_aggregates, expected_aggregates_in, insert,
    insert_sql, replace_sql, update_sql,
};
use crate::support::{Engine, OtherRole, Program, Run, TestDatabase};
use rstest::rstest;

pub(super) fn aggregate(db: &TestDatabase) -> Run {
    db.usagectl(["aggregate"]).run()
}

/// The JSON answer of a run.
fn report(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).expect("the answer is JSON")
}

/// The content of every table that holds roll-ups.
pub(super) fn everything(db: &TestDatabase) -> Vec<String> {
    let mut rows = db.rows("SELECT * FROM api_usage_aggregates ORDER BY id");
    rows.extend(db.rows(
        "SELECT * FROM usagectl_rollups ORDER BY aggregation_type, scope, api_name, period_start, endpoint",
    ));
    rows.extend(db.rows("SELECT * FROM usagectl_stale_periods ORDER BY 1, 2, 3"));
    rows.extend(db.rows("SELECT * FROM usagectl_dirty_hours ORDER BY 1, 2"));
    rows
}

/// A change of the table of calls, or a run.
#[derive(Clone, Debug)]
enum Event {
    Insert(Vec<Call>),
    /// Puts another call in place of one, under the same id.
    Replace(usize, Call),
    Update(usize, Call),
    Delete(usize),
    Aggregate(&'static str),
    /// Ends `aggregate`, `prune` or `prune --restore` at one of its transactions.
    Kill(u8, u8),
    /// Prunes the rows before an hour, counted from 2024-02-28T21:00:00Z, with an archive.
    Prune(i64),
    Restore,
    Zone(Tz),
}

impl Event {
    fn make_canonical(&mut self) {
        let calls = match self {
            Event::Insert(calls) => calls.as_mut_slice(),
            Event::Replace(_, call) | Event::Update(_, call) => slice::from_mut(call),
            _ => &mut [],
        };
        calls
            .iter_mut()
            .for_each(|call| call.form = TimeForm::Canonical);
    }
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => vec(Call::any(), 1..12).prop_map(Event::Insert),
        2 => (any::<usize>(), Call::any()).prop_map(|(which, call)| Event::Replace(which, call)),
        2 => (any::<usize>(), Call::any()).prop_map(|(which, call)| Event::Update(which, call)),
        2 => any::<usize>().prop_map(Event::Delete),
        2 => proptest::sample::select(vec!["hourly", "daily", "monthly", "all"]).prop_map(Event::Aggregate),
        1 => (1..9_u8).prop_map(|point| Event::Kill(0, point)),
    ];
    vec(event, 1..12)
}

/// Also with retention and changes of the time zone.
fn events_of_a_long_life() -> impl Strategy<Value = Vec<Event>> {
    let zones = vec![
        Tz::UTC,
        Tz::Europe__Madrid,
        Tz::Asia__Kathmandu,
        Tz::Australia__Lord_Howe,
    ];
    let event = prop_oneof![
        4 => vec(Call::any(), 1..12).prop_map(Event::Insert),
        1 => (any::<usize>(), Call::any()).prop_map(|(which, call)| Event::Replace(which, call)),
        1 => (any::<usize>(), Call::any()).prop_map(|(which, call)| Event::Update(which, call)),
        1 => any::<usize>().prop_map(Event::Delete),
        2 => proptest::sample::select(vec!["hourly", "all"]).prop_map(Event::Aggregate),
        2 => (0..3_u8, 1..9_u8).prop_map(|(command, point)| Event::Kill(command, point)),
        3 => (1..70_i64).prop_map(Event::Prune),
        1 => Just(Event::Restore),
        2 => proptest::sample::select(zones).prop_map(Event::Zone),
    ];
    vec(event, 1..14)
}

/// The lock of a killed PostgreSQL session goes when the server notices.
const WAIT: [&str; 2] = ["--lock-wait", "10s"];

/// A database, and a model of its content.
struct Life<'a> {
    db: &'a TestDatabase,
    rows: BTreeMap<String, Call>,
    /// Calls whose rows are pruned.
    pruned: BTreeMap<String, Call>,
    folder: tempfile::TempDir,
    zone: Tz,
    ids: u32,
}

impl<'a> Life<'a> {
    fn new(db: &'a TestDatabase) -> Life<'a> {
        let mut life = Life {
            db,
            rows: BTreeMap::new(),
            pruned: BTreeMap::new(),
            folder: tempfile::tempdir().unwrap(),
            zone: Tz::UTC,
            ids: 0,
        };
        life.insert_oldest();
        life
    }

    fn id(&mut self) -> String {
        self.ids += 1;
        format!("call-{}", self.ids)
    }

    /// The oldest row is never deleted: deletions of the oldest are tested in `prune`.
    fn insert_oldest(&mut self) {
        let oldest = Call::new(&self.id(), "tmdb", "2024-02-27T00:00:00Z");
        insert(self.db, slice::from_ref(&oldest));
        self.rows.insert(oldest.id.clone(), oldest);
    }

    fn row(&self, which: usize) -> Option<String> {
        let start: DateTime<Utc> = "2024-02-28T00:00:00Z".parse().unwrap();
        let others = self.rows.values().filter(|call| call.at > start);
        let ids: Vec<&String> = others.map(|call| &call.id).collect();
        ids.get(which % ids.len().max(1)).map(|id| (*id).clone())
    }

    fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    fn prune(&self, hours: i64) -> Program {
        let start: DateTime<Utc> = "2024-02-28T21:00:00Z".parse().unwrap();
        let now = (start + TimeDelta::hours(hours)).to_rfc3339();
        self.db
            .usagectl(["prune", "--older-than", "0s", "--archive"])
            .arg(self.archive())
            .args(WAIT)
            .now(&now)
    }

    fn restore(&self) -> Program {
        self.db
            .usagectl(["prune", "--restore"])
            .arg(self.archive())
            .args(WAIT)
    }

    /// Follows a prune or a restore, complete or not.
    fn follow(&mut self) {
        let left = self.db.rows("SELECT id FROM api_usage");
        let mut calls = std::mem::take(&mut self.rows);
        calls.append(&mut self.pruned);
        (self.rows, self.pruned) = calls.into_iter().partition(|(id, _)| left.contains(id));
        let start: DateTime<Utc> = "2024-02-28T00:00:00Z".parse().unwrap();
        if !self.rows.values().any(|call| call.at < start) {
            self.insert_oldest();
        }
    }

    fn play(&mut self, event: &Event) {
        match event {
            Event::Insert(calls) => {
                let mut named = calls.clone();
                named.iter_mut().for_each(|call| call.id = self.id());
                insert(self.db, &named);
                let named = named.into_iter().map(|call| (call.id.clone(), call));
                self.rows.extend(named);
            }
            Event::Replace(which, call) => {
                if let Some(id) = self.row(*which) {
                    let mut call = call.clone();
                    call.id = id.clone();
                    self.db.execute(&replace_sql(self.db.engine(), &call));
                    self.rows.insert(id, call);
                }
            }
            Event::Update(which, call) => {
                if let Some(old) = self.row(*which) {
                    let mut new = call.clone();
                    new.id = self.id();
                    self.db.execute(&update_sql(self.db.engine(), &old, &new));
                    self.rows.remove(&old);
                    self.rows.insert(new.id.clone(), new);
                }
            }
            Event::Delete(which) => {
                if let Some(old) = self.row(*which) {
                    self.db
                        .execute(&format!("DELETE FROM api_usage WHERE id = '{old}'"));
                    self.rows.remove(&old);
                }
            }
            Event::Aggregate(period) => {
                let run = self.db.usagectl(["aggregate", "--period", period]);
                run.args(WAIT).run().success();
            }
            Event::Kill(command, point) => {
                let run = match command {
                    0 => self.db.usagectl(["aggregate"]).args(WAIT),
                    1 => self.prune(i64::from(*point) * 9),
                    _ if !self.archive().exists() => return,
                    _ => self.restore(),
                };
                let fault = format!("kill:step:{point}");
                let run = run.env("USAGECTL_FAULT", fault).run();
                assert!([0, 3, 137].contains(&run.code), "{}", run.stderr);
                self.follow();
            }
            Event::Prune(hours) => {
                let run = self.prune(*hours).run();
                assert!([0, 3].contains(&run.code), "{}", run.stderr);
                self.follow();
            }
            Event::Restore => {
                if self.archive().exists() {
                    self.restore().run().success();
                    self.follow();
                }
            }
            Event::Zone(new) => {
                let run = self.db.usagectl(["aggregate", "--tz", new.name()]);
                run.args(WAIT).run().success();
                self.zone = *new;
            }
        }
    }

    fn calls(&self) -> Vec<Call> {
        let all = self.rows.values().chain(self.pruned.values());
        all.cloned().collect()
    }
}

/// Applies the events to the database and returns the calls that count, and the time zone.
fn play(db: &TestDatabase, events: &[Event]) -> (Vec<Call>, Tz) {
    let mut life = Life::new(db);
    events.iter().for_each(|event| life.play(event));
    (life.calls(), life.zone)
}

/// A database in which changed hours are found in this way; --lookback for the other.
fn life_of(engine: Engine, mode: &str) -> TestDatabase {
    let db = TestDatabase::migrated(engine);
    if mode == "lookback" {
        drop_all_triggers(&db);
    }
    db
}

/// Empties all tables and chooses the mode again.
fn begin_again(db: &TestDatabase, mode: &str, lookback: &str) {
    forget_everything(db);
    db.usagectl(["aggregate", "--mode", mode, "--lookback", lookback])
        .args(WAIT)
        .run()
        .success();
}

/// Many more with USAGECTL_CASES.
fn cases(few: u32) -> TestRunner {
    let cases = std::env::var("USAGECTL_CASES");
    TestRunner::new(Config {
        cases: cases.map_or(few, |cases| cases.parse().expect("a number")),
        failure_persistence: None,
        ..Config::default()
    })
}

fn forget_everything(db: &TestDatabase) {
    db.execute(
        "DELETE FROM api_usage; DELETE FROM api_usage_aggregates; DELETE FROM usagectl_rollups;
         DELETE FROM usagectl_stale_periods; DELETE FROM usagectl_dirty_hours; DELETE FROM usagectl_settings;
         DELETE FROM usagectl_fingerprints",
    );
}

/// A query of `stats`.
#[derive(Clone, Debug)]
struct Query {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    group_by: &'static str,
}

/// Windows in the sixty hours of [`Call::any`] and longer ones, so that hours, days and months are read.
fn queries() -> impl Strategy<Value = Query> {
    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;
    let window = prop_oneof![
        2 => (0..64 * HOUR, 0..70 * HOUR),
        1 => (-8 * DAY..DAY, 8 * DAY..100 * DAY),
        1 => (-150 * DAY..DAY, 150 * DAY..300 * DAY),
        1 => (Just(-28 * DAY - 20 * HOUR), Just(366 * DAY)),
    ];
    (window, any::<bool>()).prop_map(|((from, length), by_endpoint)| {
        let start: DateTime<Utc> = "2024-02-28T20:00:00Z".parse().unwrap();
        let from = start + TimeDelta::milliseconds(from);
        Query {
            from,
            to: from + TimeDelta::milliseconds(length + 1),
            group_by: if by_endpoint { "endpoint" } else { "api" },
        }
    })
}

/// Compares the answer of `stats` with the rows.
fn check_stats(db: &TestDatabase, rows: &[Call], query: &Query) {
    let Query { from, to, group_by } = query.clone();
    let (from_text, to_text) = (from.to_rfc3339(), to.to_rfc3339());
    let run = db
        .usagectl([
            "stats",
            "--format",
            "json",
            "--group-by",
            group_by,
            "--from",
            &from_text,
            "--to",
            &to_text,
        ])
        .run()
        .success();
    let answer = report(&run);
    let mut groups: BTreeMap<(&str, &str), Vec<&Call>> = BTreeMap::new();
    for call in rows.iter().filter(|call| from <= call.at && call.at < to) {
        let endpoint = match group_by {
            // The query is left out.
            "endpoint" => call
                .endpoint
                .as_deref()
                .unwrap_or("")
                .split('?')
                .next()
                .unwrap(),
            _ => "",
        };
        groups.entry((&call.api, endpoint)).or_default().push(call);
    }
    let lines = answer["lines"].as_array().unwrap();
    let named: BTreeMap<(&str, &str), &Value> = lines
        .iter()
        .map(|line| {
            (
                (
                    line["api_name"].as_str().unwrap(),
                    line["endpoint"].as_str().unwrap_or(""),
                ),
                line,
            )
        })
        .collect();
    assert!(named.keys().eq(groups.keys()), "{from} to {to}: {named:?}");
    for (key, calls) in groups {
        check_numbers(named[&key], &Sum::of(calls));
    }
    let within = rows.iter().filter(|call| from <= call.at && call.at < to);
    check_numbers(&answer["total"], &Sum::of(within));
}

fn check_numbers(line: &Value, sum: &Sum) {
    let counts = [
        ("total_requests", sum.requests),
        ("success_count", sum.success),
        ("error_count", sum.errors),
        ("cached_count", sum.cached),
        ("rate_limit_errors", sum.rate_limit),
        ("timeout_errors", sum.timeout),
        ("server_errors", sum.server),
        ("requests_without_rows", 0),
    ];
    for (name, count) in counts {
        assert_eq!(line[name].as_u64(), Some(count), "{name}");
    }
    assert_eq!(line["avg_response_time"].as_f64(), sum.average());
    assert_eq!(line["total_cost"].as_f64(), Some(sum.credits()));
    let cells = line["requests_over_time"].as_array().unwrap();
    assert_eq!(
        cells.iter().filter_map(Value::as_u64).sum::<u64>(),
        sum.requests
    );
    for (name, permille) in [
        ("p50_response_time", 500),
        ("p95_response_time", 950),
        ("p99_response_time", 990),
    ] {
        let exact = sum.quantile(permille).map(f64::from);
        match (line[name].as_f64(), exact) {
            (Some(estimate), Some(exact)) => assert!(
                (estimate - exact).abs() <= exact * 0.008,
                "{name} {estimate} {exact}"
            ),
            (estimate, exact) => assert_eq!(estimate, exact),
        }
    }
}

#[rstest]
fn roll_ups_equal_their_rows_after_any_events(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values("triggers", "lookback")] mode: &str,
) {
    let db = life_of(engine, mode);
    let checked = cases(12).run(&(events(), vec(queries(), 3)), |(mut events, queries)| {
        begin_again(&db, mode, "1000d");
        if mode == "lookback" {
            // Others are unknown to `stats` before the next run.
            events.iter_mut().for_each(Event::make_canonical);
        }
        let (rows, _) = play(&db, &events);
        // Before the last run, from roll-ups and rows; after it, from roll-ups.
        queries
            .iter()
            .for_each(|query| check_stats(&db, &rows, query));
        db.usagectl(["aggregate"]).args(WAIT).run().success();
        assert_eq!(aggregates(&db), expected_aggregates(&rows));
        queries
            .iter()
            .for_each(|query| check_stats(&db, &rows, query));
        let verified = db.usagectl(["aggregate", "--verify"]).run();
        assert_eq!((verified.code, verified.stdout.as_str()), (0, ""));
        Ok(())
    });
    checked.unwrap();
}

#[rstest]
fn pruned_hour_of_a_local_midnight_stays_between_late_rows(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = life_of(engine, "triggers");
    begin_again(&db, "triggers", "3d");
    let call = |at: &str| Call::new("", "finnhub", at);
    let events = [
        Event::Zone(Tz::Asia__Kathmandu),
        Event::Insert(vec![call("2024-03-01T18:30:00Z")]),
        Event::Aggregate("all"),
        Event::Insert(vec![
            call("2024-03-01T05:20:51Z"),
            call("2024-03-02T06:18:17Z"),
        ]),
        Event::Prune(55),
    ];
    let (calls, zone) = play(&db, &events);
    db.usagectl(["aggregate"]).run().success();
    assert_eq!(aggregates(&db), expected_aggregates_in(zone, &calls));
    assert_eq!(db.usagectl(["aggregate", "--verify"]).run().code, 0);
}

#[rstest]
fn restored_row_that_moves_before_the_next_run_counts_once(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values("triggers", "lookback")] mode: &str,
) {
    let db = life_of(engine, mode);
    begin_again(&db, mode, "3d");
    let call = |at: &str| Call::new("", "finnhub", at);
    let events = [
        Event::Insert(vec![call("2024-02-28T21:30:00Z")]),
        Event::Aggregate("all"),
        Event::Prune(69),
        Event::Zone(Tz::Europe__Madrid),
        Event::Restore,
        Event::Update(0, call("2024-03-02T08:33:01Z")),
    ];
    let (calls, zone) = play(&db, &events);
    db.usagectl(["aggregate"]).run().success();
    assert_eq!(aggregates(&db), expected_aggregates_in(zone, &calls));
    assert_eq!(db.usagectl(["aggregate", "--verify"]).run().code, 0);
}

#[rstest]
fn roll_ups_equal_all_calls_after_prune_restore_and_change_of_zone(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values("triggers", "lookback")] mode: &str,
) {
    let db = life_of(engine, mode);
    let checked = cases(12).run(&events_of_a_long_life(), |events| {
        // In both ways: by every run, and within the budget.
        let lookback = if events.len() % 2 == 0 { "3d" } else { "1000d" };
        begin_again(&db, mode, lookback);
        let most = ["1", "2", "1000"][events.len() % 3];
        db.usagectl(["aggregate", "--max-endpoints", most])
            .args(WAIT)
            .run()
            .success();
        let (calls, zone) = play(&db, &events);
        db.usagectl(["aggregate"]).args(WAIT).run().success();
        assert_eq!(aggregates(&db), expected_aggregates_in(zone, &calls));
        let verified = db.usagectl(["aggregate", "--verify"]).run();
        assert_eq!((verified.code, verified.stdout.as_str()), (0, ""));
        db.usagectl(["aggregate", "--rebuild"]).run().success();
        assert_eq!(aggregates(&db), expected_aggregates_in(zone, &calls));
        Ok(())
    });
    checked.unwrap();
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test must be visible")]
fn roll_ups_of_a_distributed_table_equal_their_rows_citus() {
    let Some(db) = TestDatabase::of_cluster() else {
        return eprintln!("skipped: USAGECTL_TEST_CITUS names no cluster");
    };
    drop_all_triggers(&db);
    db.execute(
        "SELECT create_distributed_table('api_usage', 'id') WHERE NOT EXISTS (
             SELECT 1 FROM pg_dist_partition WHERE logicalrelid = 'api_usage'::regclass
         )",
    );
    let checked = cases(12).run(&events_of_a_long_life(), |events| {
        forget_everything(&db);
        // The distribution column cannot be updated.
        let is_possible = |event: &&Event| !matches!(event, Event::Update(..));
        let events: Vec<Event> = events.iter().filter(is_possible).cloned().collect();
        let (calls, zone) = play(&db, &events);
        aggregate(&db).success();
        assert_eq!(aggregates(&db), expected_aggregates_in(zone, &calls));
        db.usagectl(["status"]).run().success();
        Ok(())
    });
    checked.unwrap();
}

/// Logical replication fires no statement triggers.
#[test]
fn rows_that_a_subscription_writes_are_counted_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    let administrator = OtherRole::new(&db);
    // A subscription would require a second server.
    administrator.administer(&[
        "SET allow_system_table_mods = on",
        "INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate) VALUES (1, 'api_usage'::regclass, 'r')",
    ]);
    for (id, total) in [("a", "1"), ("b", "2")] {
        administrator.administer(&[
            "SET session_replication_role = replica",
            &format!("INSERT INTO api_usage (id, api_name, timestamp) VALUES ('{id}', 'tmdb', '2026-01-31 10:00')"),
        ]);
        aggregate(&db).success();
        let counted =
            "SELECT total_requests FROM api_usage_aggregates WHERE aggregation_type = 'MONTHLY'";
        assert_eq!(db.rows(counted), [total]);
    }
}

/// A trigger of the table sees no row that is written to a table that inherits from it, as TimescaleDB's chunks do; on a
/// hypertable ours would make the next insert fail.
#[test]
fn rows_in_tables_that_inherit_are_counted_without_triggers_postgresql() {
    let add = |db: &TestDatabase, table: &str, id: &str, at: &str| {
        db.execute(&format!(
            "INSERT INTO {table} (id, api_name, timestamp) VALUES ('{id}', 'tmdb', '{at}')"
        ));
    };
    let aggregated = |db: &TestDatabase| {
        db.usagectl(["aggregate"]).run().success();
        db.usagectl(["status"]).run().success();
        db.rows("SELECT sum(total_requests) FROM api_usage_aggregates WHERE aggregation_type = 'MONTHLY'")
    };
    let child = "CREATE TABLE api_usage_old () INHERITS (api_usage)";

    // Inherited from before the triggers: none is created.
    let db = TestDatabase::empty(Postgresql);
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    db.execute(child);
    add(&db, "api_usage_old", "a", "2026-01-02 10:00");
    db.usagectl(["migrate"]).run().success();
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'usagectl_after%'";
    assert_eq!(db.rows(triggers), ["0"]);
    assert_eq!(aggregated(&db), ["1"]);
    add(&db, "api_usage_old", "b", "2026-01-03 10:30");
    add(&db, "api_usage", "c", "2026-01-31 10:00");
    assert_eq!(aggregated(&db), ["3"]);
    db.execute("DELETE FROM api_usage_old WHERE id = 'b'");
    assert_eq!(aggregated(&db), ["2"]);
    db.usagectl(["migrate"]).run().success();
    assert_eq!(db.rows(triggers), ["0"]);

    // Inherited from afterwards: the triggers are not relied on.
    let db = TestDatabase::migrated(Postgresql);
    add(&db, "api_usage", "a", "2026-01-31 10:00");
    assert_eq!(aggregated(&db), ["1"]);
    db.execute(child);
    add(&db, "api_usage_old", "b", "2026-01-30 10:30");
    assert_eq!(aggregated(&db), ["2"]);

    // A hypertable without chunks.
    let db = TestDatabase::empty(Postgresql);
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    db.execute(
        "CREATE FUNCTION blocker() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER ts_insert_blocker BEFORE INSERT ON api_usage FOR EACH ROW EXECUTE FUNCTION blocker()",
    );
    db.usagectl(["migrate"]).run().success();
    assert_eq!(db.rows(triggers), ["0"]);
    db.usagectl(["status"]).run().success();
}

#[rstest]
fn without_triggers_by_choice_everything_goes_on(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let whole = crate::support::whole_catalogue(&db);
    let mut calls = steady(200, 60);
    insert(&db, &calls);
    aggregate(&db).success();
    drop_all_triggers(&db);
    let lookback = ["aggregate", "--mode", "lookback", "--lookback", "2d"];
    db.usagectl(lookback).run().success();
    db.usagectl(["status"]).run().success();
    let without = crate::support::whole_catalogue(&db);
    db.usagectl(["migrate"]).run().success();
    assert_eq!(crate::support::whole_catalogue(&db), without);

    // New, changed and deleted rows, within the look-back and before it.
    for (id, at) in [
        ("new", "2026-01-31T11:59:00Z"),
        ("late", "2026-01-02T00:30:00Z"),
    ] {
        let mut call = Call::new(id, "polygon", at);
        // `stats` does not know such a row before the next run.
        if id == "late" {
            call.form = TimeForm::Space;
        }
        insert(&db, &[call.clone()]);
        calls.push(call);
    }
    db.execute("UPDATE api_usage SET success = false WHERE id = 'steady-100'");
    calls[100].success = false;
    db.execute("DELETE FROM api_usage WHERE id = 'steady-150'");
    calls.remove(150);
    let stats = db
        .usagectl(["stats", "--format", "json", "--last", "1h"])
        .run();
    let stats = report(&stats.success());
    assert_eq!(stats["total"]["total_requests"], 1);
    let found = db
        .usagectl(["aggregate", "--format", "json"])
        .run()
        .success();
    assert_eq!(report(&found)["hours_rewritten"], 4);
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
    let again = db
        .usagectl(["aggregate", "--format", "json"])
        .run()
        .success();
    assert_eq!(report(&again)["hours_rewritten"], 0);
    assert_eq!(db.usagectl(["aggregate", "--verify"]).run().code, 0);
    db.usagectl(["prune", "--older-than", "28d"])
        .run()
        .success();
    aggregate(&db).success();
    assert_eq!(aggregates(&db), expected_aggregates(&calls));

    // Back.
    assert_eq!(
        db.usagectl(["aggregate", "--mode", "triggers"]).run().code,
        4
    );
    db.usagectl(["migrate"]).run().success();
    assert_eq!(crate::support::whole_catalogue(&db), whole);
    aggregate(&db).success();
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
}

/// Also where the old or the new timestamp is odd.
#[test]
fn replaced_row_is_counted_once_sqlite() {
    let db = TestDatabase::migrated(Engine::Sqlite);
    let forms = [TimeForm::Canonical, TimeForm::Milliseconds, TimeForm::Seoul];
    let pairs = forms
        .iter()
        .flat_map(|old| forms.iter().map(move |new| (*old, *new)));
    for (old, new) in pairs {
        forget_everything(&db);
        let mut calls = vec![
            Call::new("anchor", "tmdb", "2026-01-01T00:00:00Z"),
            Call::new("1", "tmdb", "2026-01-30T10:00:00Z"),
        ];
        calls[1].form = old;
        insert(&db, &calls);
        aggregate(&db).success();
        calls[1] = Call::new("1", "jikan", "2026-01-31T11:00:00Z");
        calls[1].form = new;
        db.execute(&replace_sql(db.engine(), &calls[1]));
        aggregate(&db).success();
        assert_eq!(
            aggregates(&db),
            expected_aggregates(&calls),
            "{old:?} {new:?}"
        );
        assert_eq!(db.usagectl(["aggregate", "--verify"]).run().code, 0);
        // The old hour is pruned without the row.
        db.usagectl(["prune", "--older-than", "1h"]).run().success();
        assert_eq!(db.rows("SELECT count(*) FROM api_usage"), ["1"]);
        // A row that is there already is no change.
        db.execute(&replace_sql(db.engine(), &calls[1]).replacen("REPLACE", "IGNORE", 1));
        assert_eq!(db.rows("SELECT * FROM usagectl_dirty_hours"), [""; 0]);
    }
}

/// `count` calls to three APIs, one every `minutes`.
pub(super) fn steady(count: i64, minutes: i64) -> Vec<Call> {
    let call = |n: i64| {
        let api = ["finnhub", "tmdb", "jikan"][n as usize % 3];
        let mut call = Call::new(&format!("steady-{n}"), api, "2026-01-01T00:00:00Z");
        call.at += TimeDelta::minutes(n * minutes);
        call.response_time = Some((n % 700) as i32);
        call.cost = Some(n % 7);
        call
    };
    (0..count).map(call).collect()
}

/// Runs `sql` without the triggers.
fn behind_the_triggers(db: &TestDatabase, sql: &str) {
    match db.engine() {
        Engine::Postgresql => db.execute(&format!(
            "ALTER TABLE api_usage DISABLE TRIGGER USER; {sql}; ALTER TABLE api_usage ENABLE TRIGGER USER"
        )),
        Engine::Sqlite => {
            let triggers = db.rows("SELECT sql FROM sqlite_schema WHERE type = 'trigger'");
            let names = db.rows("SELECT name FROM sqlite_schema WHERE type = 'trigger'");
            for name in names {
                db.execute(&format!("DROP TRIGGER {name}"));
            }
            db.execute(sql);
            db.execute(&triggers.join(";\n"));
        }
    }
}

pub(super) fn drop_all_triggers(db: &TestDatabase) {
    let triggers = match db.engine() {
        Engine::Postgresql => {
            "SELECT 'DROP TRIGGER ' || tgname || ' ON api_usage' FROM pg_trigger
             WHERE tgrelid = 'api_usage'::regclass"
        }
        Engine::Sqlite => {
            "SELECT 'DROP TRIGGER ' || name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'api_usage'"
        }
    };
    for drop in db.rows(triggers) {
        db.execute(&drop);
    }
}

fn drop_triggers(db: &TestDatabase) {
    match db.engine() {
        Engine::Postgresql => db.execute("DROP TRIGGER usagectl_after_insert ON api_usage"),
        Engine::Sqlite => {
            db.execute("DROP TRIGGER usagectl_after_insert; DROP TRIGGER usagectl_after_insert_odd")
        }
    }
}

#[rstest]
fn second_run_and_rebuild_change_nothing(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    insert(&db, &steady(500, 7));
    aggregate(&db).success();
    let before = everything(&db);
    let again = db
        .usagectl(["aggregate", "--format", "json"])
        .now("2026-02-01T00:00:00Z")
        .run()
        .success();
    let again = report(&again);
    assert_eq!(
        (
            again["hours_rewritten"].as_u64(),
            again["rows_read"].as_u64()
        ),
        (Some(0), Some(0))
    );
    assert_eq!(everything(&db), before);

    let rebuilt = db
        .usagectl(["aggregate", "--rebuild", "--format", "json"])
        .now("2026-02-01T00:00:00Z")
        .run()
        .success();
    let rebuilt = report(&rebuilt);
    assert_eq!(
        (
            rebuilt["hours_rewritten"].as_u64(),
            rebuilt["rows_read"].as_u64()
        ),
        (Some(0), Some(500))
    );
    assert_eq!(everything(&db), before);
}

#[rstest]
fn late_row_rewrites_only_its_own_periods(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    insert(&db, &steady(3000, 7));
    aggregate(&db).success();
    let ids = || db.rows("SELECT id, created_at FROM api_usage_aggregates ORDER BY id");
    let before = ids();
    insert(
        &db,
        &[Call::new("late", "tmdb", "2026-01-03T04:59:59.999Z")],
    );
    let run = db
        .usagectl(["aggregate", "--format", "json"])
        .now("2026-02-02T00:00:00Z")
        .run()
        .success();
    let run = report(&run);
    let in_that_hour = "SELECT count(*) FROM api_usage WHERE api_name = 'tmdb'
            AND timestamp >= '2026-01-03T04:00:00.000+00:00' AND timestamp < '2026-01-03T05:00:00.000+00:00'";
    assert_eq!(run["rows_read"].to_string(), db.rows(in_that_hour)[0]);
    let rewritten =
        ["hours_rewritten", "days_rewritten", "months_rewritten"].map(|name| run[name].as_u64());
    assert_eq!(rewritten, [Some(1); 3]);
    assert_eq!(ids(), before, "ids and the time of creation stay");
    let touched = db.rows(
        "SELECT aggregation_type, period_start FROM api_usage_aggregates
             WHERE updated_at = '2026-02-02T00:00:00.000+00:00' ORDER BY period_start DESC",
    );
    assert_eq!(
        touched,
        [
            "HOURLY|2026-01-03T04:00:00.000+00:00",
            "DAILY|2026-01-03T00:00:00.000+00:00",
            "MONTHLY|2026-01-01T00:00:00.000+00:00",
        ]
    );
}

#[rstest]
fn deletion_of_all_rows_is_followed_on_rebuild(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    insert(&db, &steady(200, 60));
    aggregate(&db).success();
    db.execute(match db.engine() {
        Engine::Postgresql => "TRUNCATE api_usage",
        Engine::Sqlite => "DELETE FROM api_usage",
    });
    let all = everything(&db).len();
    assert_snapshot!(aggregate(&db).snapshot(), @"
        ------- stderr -------
        warning: another program deleted the rows of 200 requests from 2026-01-01T00:00:00Z to 2026-01-09T08:00:00Z; their roll-ups are kept
        next: keep them: usagectl aggregate --seal; or follow the rows: usagectl aggregate --rebuild --from 2026-01-01T00:00:00Z --to 2026-01-09T08:00:00Z
        [exit status: 4]
        ");
    assert!(everything(&db).len() > all);
    assert_snapshot!(db.usagectl(["aggregate", "--rebuild"]).run().snapshot(), @"
        ------- stderr -------
        removed the roll-ups of 200 hours whose rows are gone
        [exit status: 0]
        ");
    assert_eq!(everything(&db), Vec::<String>::new());
}

#[rstest]
fn deletion_of_the_oldest_rows_of_one_api_is_followed_with_a_warning(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    insert(&db, &steady(200, 60));
    aggregate(&db).success();
    let delete = |before: &str| {
        let of_api = "DELETE FROM api_usage WHERE api_name = 'tmdb' AND timestamp <";
        db.execute(&format!("{of_api} '2026-01-{before}:00:00.000+00:00'"));
        db.usagectl(["aggregate", "-q"]).run().success().stderr
    };
    assert_eq!(delete("01T02"), "");
    let warning = "warning: removed the roll-ups of 32 hours whose rows are gone\n";
    assert_eq!(delete("05T02"), warning);
}

#[rstest]
fn period_also_rolls_up_shorter_periods_only(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let calls = steady(100, 60);
    insert(&db, &calls);
    let kinds = || db.rows("SELECT DISTINCT aggregation_type FROM api_usage_aggregates ORDER BY 1");
    db.usagectl(["aggregate", "--period", "hourly"])
        .run()
        .success();
    assert_eq!(kinds(), ["HOURLY"]);
    db.usagectl(["aggregate", "--period", "daily"])
        .run()
        .success();
    assert_eq!(kinds(), ["DAILY", "HOURLY"]);
    aggregate(&db).success();
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
}

#[rstest]
fn api_filter_rolls_up_one_api_and_rejects_unknown_names(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let calls = steady(90, 60);
    insert(&db, &calls);
    db.usagectl(["aggregate", "--api", "tmdb"]).run().success();
    let of_tmdb = calls.iter().filter(|call| call.api == "tmdb");
    assert_eq!(aggregates(&db), expected_aggregates(of_tmdb));
    assert_snapshot!(db.usagectl(["aggregate", "--api", "tmdb", "--api", "finhub"]).run().snapshot(), @"
        ------- stderr -------
        error: unknown API `finhub`: expected one of finnhub, jikan, tmdb
        next: correct --api, or omit it for all APIs
        [exit status: 2]
        ");
    aggregate(&db).success();
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
}

#[rstest]
fn rebuild_of_a_range_leaves_other_days(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let calls = steady(300, 60);
    insert(&db, &calls);
    aggregate(&db).success();
    // A change of our own table by hand, on two days.
    db.execute(
        "UPDATE usagectl_rollups SET total_requests = 77
             WHERE aggregation_type = 'HOURLY' AND period_start IN
             ('2026-01-02T05:00:00.000+00:00', '2026-01-05T05:00:00.000+00:00')",
    );
    let wrong =
        || db.rows("SELECT count(*) FROM usagectl_rollups WHERE total_requests = 77")[0].clone();
    let both = wrong();
    db.usagectl([
        "aggregate",
        "--rebuild",
        "--from",
        "2026-01-02T05:30:00Z",
        "--to",
        "2026-01-02T05:31:00Z",
    ])
    .run()
    .success();
    assert_ne!(wrong(), both);
    assert_ne!(wrong(), "0");
    db.usagectl(["aggregate", "--rebuild"]).run().success();
    assert_eq!(wrong(), "0");
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
}

#[rstest]
fn missing_triggers_are_reported_and_migrate_restores_them(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let mut calls = steady(50, 60);
    insert(&db, &calls);
    aggregate(&db).success();
    let whole = crate::support::whole_catalogue(&db);
    drop_triggers(&db);
    let mut unseen = Call::new("unseen", "tmdb", "2026-01-01T00:30:00Z");
    unseen.form = TimeForm::Space;
    insert(&db, &[unseen.clone()]);
    calls.push(unseen);
    assert_snapshot!(aggregate(&db).snapshot(), @"
        ------- stderr -------
        error: the triggers on api_usage are missing or disabled: which rows changed is unknown
        next: usagectl migrate
        [exit status: 4]
        ");
    assert_snapshot!(db.usagectl(["stats", "--api", "tmdb", "--format", "csv"]).run().stderr, @"
        warning: the triggers on api_usage are missing or disabled: rows changed since then may not be counted
        next: usagectl migrate
        ");
    assert_eq!(db.usagectl(["aggregate", "--rebuild"]).run().code, 4);
    db.usagectl(["migrate"]).run().success();
    aggregate(&db).success();
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
    assert_eq!(crate::support::whole_catalogue(&db), whole);
    db.execute("UPDATE api_usage SET success = false WHERE id = 'unseen'");
    calls
        .iter_mut()
        .filter(|call| call.id == "unseen")
        .for_each(|call| call.success = false);
    aggregate(&db).success();
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
}

/// A disabled trigger still exists, so its name alone says nothing.
#[test]
fn disabled_trigger_is_reported_by_every_command_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    insert(&db, &steady(10, 60));
    aggregate(&db).success();
    for state in ["DISABLE", "ENABLE REPLICA"] {
        db.execute(&format!(
            "ALTER TABLE api_usage {state} TRIGGER usagectl_after_update"
        ));
        // `alerts check` counts from the rows instead.
        for (command, code) in [
            (&["aggregate"][..], 4),
            (&["stats"], 4),
            (&["alerts", "check", "--no-send"], 0),
        ] {
            let run = db.usagectl(command).run();
            assert!(
                run.stderr
                    .contains("the triggers on api_usage are missing or disabled"),
                "{command:?}: {}",
                run.stderr
            );
            assert_eq!(run.code, code, "{command:?}");
        }
    }
    db.usagectl(["migrate"]).run().success();
    for command in ["aggregate", "stats"] {
        db.usagectl([command]).run().success();
    }
}

#[rstest]
fn verify_finds_unmarked_changes_and_writes_nothing(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    insert(&db, &steady(60, 60));
    aggregate(&db).success();
    assert_snapshot!(db.usagectl(["aggregate", "--verify", "-v"]).run().snapshot(), @"
        ------- stderr -------
        using [database] (from DATABASE_URL)
        compared 72 roll-ups, found 0 differences
        [exit status: 0]
        ");
    behind_the_triggers(
        &db,
        &insert_sql(
            db.engine(),
            &[Call::new("unseen", "tmdb", "2026-01-01T01:30:00Z")],
        ),
    );
    db.execute(
        "UPDATE api_usage_aggregates SET avg_response_time = 1
             WHERE aggregation_type = 'DAILY' AND period_start = '2026-01-02T00:00:00.000+00:00' AND api_name = 'jikan'",
    );
    db.execute(
        "UPDATE usagectl_rollups SET total_cost = '1000'
             WHERE aggregation_type = 'MONTHLY' AND scope = 'API' AND api_name = 'finnhub'",
    );
    // A dirty hour is no difference.
    insert(
        &db,
        &[Call::new("waiting", "jikan", "2026-01-01T09:30:00Z")],
    );
    let before = everything(&db);
    let run = db.usagectl(["aggregate", "--verify"]).run();
    assert_snapshot!(run.snapshot(), @"
        API      PERIOD   START                 FIELD              STORED  FOUND  IN
        tmdb     HOURLY   2026-01-01T01:00:00Z  total_requests          1      2  rows
        jikan    DAILY    2026-01-02T00:00:00Z  avg_response_time    36.5      1  api_usage_aggregates
        finnhub  MONTHLY  2026-01-01T00:00:00Z  total_cost           1000    5.9  DAILY
        finnhub  MONTHLY  2026-01-01T00:00:00Z  total_cost           1000    5.9  api_usage_aggregates
        ------- stderr -------
        not compared: 1 hour (counted for each API) with rows changed since the last `usagectl aggregate`, and the days and months that contain them
        next: usagectl aggregate --repair --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z
        [exit status: 4]
        ");
    assert_eq!(everything(&db), before);
    let json = db
        .usagectl(["aggregate", "--verify", "--format", "json", "--api", "tmdb"])
        .run();
    let json = report(&json);
    assert_eq!(json["differences"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["hours_waiting"].as_u64(), Some(0));

    let next = run.stderr.trim().rsplit("next: usagectl ").next().unwrap();
    db.usagectl(next.split(' ')).run().success();
    assert_eq!(db.usagectl(["aggregate", "--verify"]).run().code, 0);
}

#[rstest]
fn verify_without_comparable_hour_is_unknown(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let call = |id: &str, api: &str| Call::new(id, api, "2026-01-01T09:30:00Z");
    insert(&db, &[call("1", "tmdb")]);
    let verify = |options: &[&str]| {
        let command = ["aggregate", "--verify"].iter().chain(options);
        db.usagectl(command).run()
    };
    assert_snapshot!(verify(&[]).snapshot(), @"
        ------- stderr -------
        not compared: 1 hour (counted for each API) with rows changed since the last `usagectl aggregate`, and the days and months that contain them
        next: usagectl aggregate && usagectl aggregate --verify
        [exit status: 12]
        ");
    aggregate(&db).success();
    assert_eq!(verify(&[]).success().stderr, "");
    // Another API, and another day of the same month.
    insert(&db, &[call("2", "jikan")]);
    assert_eq!(verify(&["--api", "tmdb"]).success().stderr, "");
    assert_eq!(verify(&["--to", "2026-01-01"]).success().stderr, "");
    assert_eq!(verify(&["--api", "jikan"]).code, 12);
    let unknown = verify(&["--api", "tmbd"]);
    assert_eq!(unknown.code, 2, "{}", unknown.snapshot());
}

/// By TRUNCATE, DELETE or a table that was dropped and created again.
#[rstest]
fn deleted_rows_of_the_applications_table_are_written_again(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values("UTC", "Europe/Madrid")] zone: &str,
) {
    let db = TestDatabase::migrated(engine);
    insert(&db, &steady(60, 1_500));
    db.usagectl(["aggregate", "--tz", zone]).run().success();
    db.usagectl(["prune", "--older-than", "1h"]).run().success();
    let before = aggregates(&db);
    let midnight = match zone {
        "UTC" => "2026-01-20T00:00:00.000+00:00",
        _ => "2026-01-19T23:00:00.000+00:00",
    };
    let check = |text: &str| {
        let run = db.usagectl(["status"]).run().success();
        assert!(run.stdout.contains(text), "{text}: {}", run.snapshot());
    };
    let is_missing =
        "roll-ups: another program deleted rows of them; usagectl aggregate writes them again\n";
    check("roll-ups: up to date\n");
    for sql in [
        "DELETE FROM api_usage_aggregates",
        "DELETE FROM api_usage_aggregates WHERE api_name = 'tmdb'",
        "DELETE FROM api_usage_aggregates WHERE aggregation_type = 'HOURLY'",
        "DELETE FROM api_usage_aggregates WHERE aggregation_type = 'HOURLY' AND api_name = 'tmdb'",
        "DELETE FROM api_usage_aggregates WHERE aggregation_type = 'MONTHLY'",
        "DELETE FROM api_usage_aggregates WHERE period_start < '{midnight}'",
        "DELETE FROM api_usage_aggregates WHERE period_start >= '{midnight}'",
    ] {
        let sql = &sql.replace("{midnight}", midnight);
        db.execute(sql);
        check(is_missing);
        aggregate(&db).success();
        assert_eq!(aggregates(&db), before, "{sql}");
        db.usagectl(["aggregate", "--verify"]).run().success();
        check("roll-ups: up to date\n");
    }
    for sql in [
        "DROP TABLE api_usage_aggregates",
        "ALTER TABLE api_usage_aggregates DROP COLUMN total_cost",
        "ALTER TABLE api_usage_aggregates DROP COLUMN success_count",
        "ALTER TABLE api_usage_aggregates DROP COLUMN avg_response_time",
    ] {
        db.execute(sql);
        let run = db.usagectl(["status"]).run();
        assert_eq!(run.code, 4, "{}", run.snapshot());
        let fix = run.stdout.lines();
        let fix: Vec<&str> = fix
            .filter_map(|line| line.strip_prefix("  fix: "))
            .collect();
        db.run_script(&fix.join("\n"));
        aggregate(&db).success();
        assert_eq!(aggregates(&db), before, "{sql}");
        db.usagectl(["aggregate", "--verify"]).run().success();
    }
}

#[rstest]
fn deleted_roll_ups_are_counted_again(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let calls = steady(60, 60);
    insert(&db, &calls);
    aggregate(&db).success();
    db.execute("DELETE FROM usagectl_rollups");
    let run = db.usagectl(["status"]).run().success();
    let text =
        "roll-ups: another program deleted rows of them; usagectl aggregate writes them again\n";
    assert!(run.stdout.contains(text), "{}", run.snapshot());
    aggregate(&db).success();
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
    db.usagectl(["aggregate", "--verify"]).run().success();
    // The hours alone, as with --period hourly.
    let db = TestDatabase::migrated(engine);
    insert(&db, &calls);
    let hourly = ["aggregate", "--period", "hourly"];
    db.usagectl(hourly).run().success();
    let before = aggregates(&db);
    db.execute("DELETE FROM api_usage_aggregates");
    db.usagectl(hourly).run().success();
    assert_eq!(aggregates(&db), before);
}

#[rstest]
fn larger_row_of_another_program_is_kept_and_counted_by_stats(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    // As the application writes them: two calls, and the aggregate row of a day whose other calls were deleted.
    db.execute(
        "INSERT INTO api_usage (id, api_name, endpoint, method, timestamp, success, status_code, response_time,
                 error_type, error_message, cached, created_at) VALUES
             ('clx1', 'finnhub', '/quote', 'GET', '2026-01-30T09:15:00.000+00:00', true, 200, 245, NULL, NULL, false,
                 '2026-01-30T09:15:00.000+00:00'),
             ('clx2', 'finnhub', '/quote', 'GET', '2026-01-30T09:16:00.000+00:00', false, 429, 120, 'RATE_LIMIT',
                 'Rate limit exceeded: 60 requests per minute', false, '2026-01-30T09:16:00.000+00:00');
             INSERT INTO api_usage_aggregates (id, api_name, aggregation_type, period_start, period_end,
                 total_requests, success_count, error_count, cached_count, avg_response_time, max_response_time,
                 min_response_time, rate_limit_errors, timeout_errors, server_errors, total_cost, updated_at) VALUES
             ('clx3', 'finnhub', 'DAILY', '2026-01-30T00:00:00.000+00:00', '2026-01-31T00:00:00.000+00:00', 1500, 1450,
                 50, 200, 180.5, 890, 45, 10, 5, 35, 0.15, '2026-01-31T00:00:00.000+00:00'),
             ('clx4', 'tmdb', 'DAILY', '2025-06-01T00:00:00.000+00:00', '2025-06-02T00:00:00.000+00:00', 70, 70,
                 0, 0, NULL, NULL, NULL, 0, 0, 0, NULL, '2026-01-31T00:00:00.000+00:00');
             INSERT INTO api_alerts (id, api_name, alert_type, threshold, period, enabled, updated_at) VALUES
             ('clx5', 'finnhub', 'RATE_LIMIT_WARNING', 80, 'MINUTE', true, '2026-01-31T00:00:00.000+00:00')",
    );
    assert_snapshot!(aggregate(&db).snapshot(), @"
        ------- stderr -------
        warning: finnhub DAILY 2026-01-30T00:00:00Z: kept another program's row in api_usage_aggregates, which counts 1,500 requests; only 2 have rows
        next: keep them, or replace them by the numbers of the rows: usagectl aggregate --rebuild --from 2026-01-30T00:00:00Z --to 2026-01-31T00:00:00Z
        [exit status: 4]
        ");
    let daily = "SELECT id, total_requests FROM api_usage_aggregates WHERE aggregation_type = 'DAILY' ORDER BY id";
    assert_eq!(db.rows(daily), ["clx3|1500", "clx4|70"]);
    // The next run reports nothing; --verify reports it again.
    aggregate(&db).success();
    assert_eq!(db.usagectl(["aggregate", "--verify"]).run().code, 4);

    let day = [
        "stats",
        "--from",
        "2026-01-30T00:00:00Z",
        "--to",
        "2026-01-31T00:00:00Z",
    ];
    assert_snapshot!(db.usagectl(day).run().success().snapshot(), @"
        2026-01-30T00:00:00Z to 2026-01-31T00:00:00Z; one cell of TREND is 1 hour

        API      REQUESTS  ERRORS  RATE  P50  P95  P99  COST  CACHED  TREND
        finnhub     1,500      50  3.3%  120  245  245  0.15   13.3%  ·········█··············
        ------- stderr -------
        1,498 requests known only from api_usage_aggregates, without response times
        [exit status: 0]
        ");
    for grouping in ["endpoint", "user", "hour", "day"] {
        let run = db.usagectl(day).args(["--group-by", grouping]);
        let run = report(&run.args(["--format", "json"]).run().success());
        assert_eq!(run["total"]["total_requests"], 1_500, "{grouping}");
    }
    let year = [
        "stats",
        "--from",
        "2025-01-01T00:00:00Z",
        "--to",
        "2026-01-31T00:00:00Z",
        "--format",
        "csv",
    ];
    assert_snapshot!(db.usagectl(year).run().success().stdout, @"
        api_name,endpoint,group,total_requests,share,previous_requests,change,success_count,error_count,error_rate,rate_limit_errors,timeout_errors,server_errors,client_errors,network_errors,other_errors,avg_response_time,min_response_time,max_response_time,p50_response_time,p95_response_time,p99_response_time,request_bytes,response_bytes,total_cost,cached_count,cache_hit_rate
        finnhub,,,1500,0.9554140127388535,,,1450,50,0.03333333333333333,10,5,35,0,0,0,182.5,120,245,120,245,245,,,0.15,200,0.13333333333333333
        tmdb,,,70,0.044585987261146494,,,70,0,0,0,0,0,0,0,0,,,,,,,,,0,0,0
        ");

    // The row counts more until the user replaces it.
    insert(&db, &[Call::new("more", "finnhub", "2026-01-30T10:00:00Z")]);
    let run = aggregate(&db);
    assert_eq!(run.code, 4);
    let (_, rebuild) = run.stderr.split_once("of the rows: usagectl ").unwrap();
    db.usagectl(rebuild.trim().split(' ')).run().success();
    assert_eq!(db.rows(daily), ["clx3|3", "clx4|70"]);
    assert_eq!(db.usagectl(["aggregate", "--verify"]).run().code, 0);
}

#[rstest]
fn smaller_row_of_another_program_is_replaced_and_keeps_its_id(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let start = match db.engine() {
        Engine::Postgresql => "'2026-01-30T00:00:00.000+00:00'".to_owned(),
        // As Prisma's older engines write it.
        Engine::Sqlite => "1769731200000".to_owned(),
    };
    db.execute(&format!(
        "INSERT INTO api_usage_aggregates (id, api_name, endpoint, aggregation_type, period_start, period_end,
                 total_requests, success_count, error_count, cached_count, updated_at) VALUES
             ('theirs', 'finnhub', '/quote', 'DAILY', {start}, {start}, 1, 1, 0, 0, {start})",
    ));
    let calls =
        ["2026-01-30T09:00:00Z", "2026-01-30T10:00:00Z"].map(|at| Call::new(at, "finnhub", at));
    insert(&db, &calls);
    aggregate(&db).success();
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
    assert_eq!(
        db.rows("SELECT id FROM api_usage_aggregates WHERE aggregation_type = 'DAILY'"),
        ["theirs"]
    );
}

#[rstest]
fn invalid_values_are_left_out_with_a_warning(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let (infinite, not_a_number) = match db.engine() {
        Engine::Postgresql => ("'infinity'", "'NaN'"),
        Engine::Sqlite => ("9e999", "'free'"),
    };
    db.execute(&format!(
        "INSERT INTO api_usage (id, api_name, timestamp, response_time, cost_credits) VALUES
             ('1', 'tmdb', '2026-01-30T09:00:00.000+00:00', -5, {infinite}),
             ('2', 'tmdb', '2026-01-30T09:00:00.000+00:00', 100, {not_a_number}),
             ('3', 'tmdb', '2026-01-30T09:00:00.000+00:00', 200, 1e300),
             ('4', 'tmdb', '2026-01-30T09:00:00.000+00:00', NULL, 0.25)",
    ));
    assert_snapshot!(aggregate(&db).snapshot(), @"
        ------- stderr -------
        warning: left out 3 costs: not finite or beyond 1e15; their calls are counted
        warning: left out 1 response time: negative, too large or not a number; their calls are counted
        [exit status: 0]
        ");
    let row = db.rows(
        "SELECT total_requests, avg_response_time, min_response_time, total_cost FROM api_usage_aggregates
             WHERE aggregation_type = 'DAILY'",
    );
    assert_eq!(row, ["4|150|100|0.25"]);
}

#[rstest]
fn rows_with_unreadable_time_are_left_out_with_a_warning(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let [never, nowhere] = match db.engine() {
        Engine::Postgresql => ["infinity", "20000-01-01"],
        // The second looks canonical to the triggers.
        Engine::Sqlite => ["now", "2026-02-30T12:00:00.000+00:00"],
    };
    db.execute(&format!(
        "INSERT INTO api_usage (id, api_name, timestamp) VALUES
             ('1', 'tmdb', '{never}'), ('2', 'tmdb', '{nowhere}'), ('3', 'tmdb', '2026-01-30T09:00:00.000+00:00')",
    ));
    assert_snapshot!(aggregate(&db).snapshot(), @"
        ------- stderr -------
        warning: left out 2 rows: timestamp unreadable or not in the years 1 to 9999
        [exit status: 0]
        ");
    let right = Call {
        status: None,
        ..Call::new("3", "tmdb", "2026-01-30T09:00:00Z")
    };
    assert_eq!(aggregates(&db), expected_aggregates([&right]));
    // Once corrected, they count.
    db.execute(
        "UPDATE api_usage SET timestamp = '2026-01-30T09:30:00.000+00:00' WHERE id IN ('1', '2')",
    );
    let run = aggregate(&db).success();
    assert_eq!(run.stderr, "");
    let total = db
        .rows("SELECT total_requests FROM api_usage_aggregates WHERE aggregation_type = 'MONTHLY'");
    assert_eq!(total, ["3"]);
    assert_eq!(db.usagectl(["aggregate", "--verify"]).run().code, 0);
}

#[rstest]
fn hours_before_1970_are_rolled_up(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let calls = [
        "0001-01-01T00:00:00Z",
        "1969-12-31T22:00:00Z",
        "1969-12-31T23:00:00Z",
        "1970-01-01T00:00:00Z",
    ]
    .map(|at| Call::new(at, "tmdb", at));
    insert(&db, &calls);
    aggregate(&db).success();
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
}

#[rstest]
fn count_beyond_the_applications_column_is_an_error(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    insert(&db, &[Call::new("1", "tmdb", "2026-01-30T09:00:00Z")]);
    db.usagectl(["aggregate", "--period", "hourly"])
        .run()
        .success();
    db.execute(
        "UPDATE usagectl_rollups SET total_requests = 3000000000, success_count = 3000000000",
    );
    let before = everything(&db);
    assert_snapshot!(aggregate(&db).snapshot(), @"
        ------- stderr -------
        error: tmdb DAILY 2026-01-30T00:00:00Z: 3000000000 exceeds 2147483647, the maximum in api_usage_aggregates
        next: leave the months as they are: usagectl aggregate --period daily
        [exit status: 1]
        ");
    assert_eq!(everything(&db), before);
}

#[rstest]
fn damaged_roll_up_is_reported_and_rebuild_repairs_it(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let calls = steady(20, 60);
    insert(&db, &calls);
    aggregate(&db).success();
    db.execute(
        "UPDATE usagectl_rollups SET total_cost = 'much'
             WHERE aggregation_type = 'HOURLY' AND period_start = '2026-01-01T03:00:00.000+00:00'",
    );
    insert(&db, &[Call::new("new", "finnhub", "2026-01-01T04:30:00Z")]);
    assert_snapshot!(aggregate(&db).snapshot(), @"
        ------- stderr -------
        error: the stored roll-up of finnhub HOURLY 2026-01-01T03:00:00Z is damaged: a cost that is not a decimal number
        next: usagectl aggregate --rebuild
        [exit status: 4]
        ");
    let stats = [
        "stats",
        "--from",
        "2026-01-01T03:00:00Z",
        "--to",
        "2026-01-01T04:00:00Z",
    ];
    assert_eq!(db.usagectl(stats).run().code, 4);
    db.usagectl(["aggregate", "--rebuild"]).run().success();
    db.usagectl(stats).run().success();
    assert_eq!(db.usagectl(["aggregate", "--verify"]).run().code, 0);
}

#[rstest]
fn concurrent_run_waits_as_long_as_lock_wait(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    insert(&db, &steady(20, 60));
    let lock = db.lock(RunKind::Aggregate);
    assert_snapshot!(aggregate(&db).snapshot(), @"
        ------- stderr -------
        error: another `usagectl aggregate` is running: `usagectl test` (process [pid] on [host], since 2026-01-31T12:00:00Z)
        next: run the same command again with --lock-wait 60s
        [exit status: 6]
        ");
    let started = Instant::now();
    let busy = db.usagectl(["aggregate", "--lock-wait", "300ms"]).run();
    assert_eq!(busy.code, 6);
    assert!(started.elapsed() >= Duration::from_millis(300));
    let mut waiting = db.usagectl(["aggregate", "--lock-wait", "60s"]).spawn();
    waiting.wait_for_stderr("waiting up to 1m for `usagectl test` (process ");
    drop(lock);
    waiting.wait().success();
    assert_eq!(aggregates(&db), expected_aggregates(&steady(20, 60)));
}

#[rstest]
fn finished_run_releases_its_lock(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    for _ in 0..25 {
        aggregate(&db).success();
    }
}

#[rstest]
fn next_run_continues_after_a_kill(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let calls = steady(9_000, 13);
    for part in calls.chunks(1_000) {
        insert(&db, part);
    }
    // Each run is killed after it has committed a step, and long before it is done.
    for hours in [1, 1_000, 2_000] {
        let mut run = db.usagectl(["aggregate", "--lock-wait", "10s"]).spawn();
        let committed = "SELECT count(*) FROM api_usage_aggregates";
        while db.rows(committed)[0].parse::<u32>().unwrap() < hours {
            assert_eq!(run.child.try_wait().unwrap(), None, "it was done before");
            thread::yield_now();
        }
        run.signal("KILL");
        assert_eq!(run.wait().code, 137);
    }
    // The lock of a killed PostgreSQL session goes when the server notices.
    db.usagectl(["aggregate", "--lock-wait", "10s"])
        .run()
        .success();
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
    assert_eq!(db.usagectl(["aggregate", "--verify"]).run().code, 0);
}

#[rstest]
fn verbose_and_json_report_the_work(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    insert(&db, &steady(20, 60));
    assert_snapshot!(db.usagectl(["aggregate", "-v"]).run().snapshot(), @"
        ------- stderr -------
        using [database] (from DATABASE_URL)
        rewrote 20 hours, 3 days, 3 months from 20 rows in [time] s
        [exit status: 0]
        ");
    assert_snapshot!(aggregate(&db).snapshot(), @"[exit status: 0]");
    let json = db
        .usagectl(["aggregate", "--format", "json"])
        .run()
        .success()
        .stdout;
    assert_snapshot!(json.lines().filter(|line| !line.contains("seconds")).collect::<Vec<_>>().join("\n"), @r#"
        {
          "schema": 1,
          "hours_rewritten": 0,
          "days_rewritten": 0,
          "months_rewritten": 0,
          "hours_emptied": 0,
          "rows_read": 0,
          "costs_left_out": 0,
          "response_times_left_out": 0,
          "rows_with_unreadable_time": 0,
          "unchecked_from": null,
          "kept": [],
          "deleted": null,
          "differences": 0,
        }
        "#);
    assert_snapshot!(db.usagectl(["aggregate", "--format", "csv"]).run().stdout, @"
        hours_rewritten,days_rewritten,months_rewritten,hours_emptied,rows_read,costs_left_out,response_times_left_out,rows_with_unreadable_time,kept,requests_without_rows,differences
        0,0,0,0,0,0,0,0,0,0,0
        ");
    assert_snapshot!(db.usagectl(["aggregate", "--from", "2026-01-01T00:00:00Z"]).run().snapshot(), @"
        ------- stderr -------
        error: the following required arguments were not provided:
          <--rebuild|--verify|--repair>

        Usage: usagectl aggregate --from <TIME> <--rebuild|--verify|--repair>

        For more information, try '--help'.
        next: usagectl aggregate --help
        [exit status: 2]
        ");
    let backwards = [
        "aggregate",
        "--verify",
        "--from",
        "2026-01-02T00:00:00Z",
        "--to",
        "2026-01-01T00:00:00Z",
    ];
    assert_snapshot!(db.usagectl(backwards).run().snapshot(), @"
        ------- stderr -------
        error: --from must be earlier than --to
        next: usagectl aggregate --help
        [exit status: 2]
        ");
}

/// The application may hold a transaction open during a run; its rows become visible later.
#[test]
fn row_committed_late_is_counted_by_the_next_run_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    let first = Call::new("first", "tmdb", "2026-01-30T09:00:00Z");
    let late = Call::new("late", "tmdb", "2026-01-30T09:10:00Z");
    insert(&db, slice::from_ref(&first));
    let mut open = db.open_transaction(&insert_sql(Engine::Postgresql, slice::from_ref(&late)));
    aggregate(&db).success();
    assert_eq!(aggregates(&db), expected_aggregates([&first]));
    open.batch_execute("COMMIT").unwrap();
    aggregate(&db).success();
    assert_eq!(aggregates(&db), expected_aggregates([&first, &late]));
}

/// The server groups calls. Their values may be missing, negative or beyond 32 bits.
#[test]
fn calls_in_wider_columns_are_counted_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    db.execute(
        "ALTER TABLE api_usage ALTER status_code TYPE bigint, ALTER response_time TYPE bigint,
             ALTER request_size TYPE bigint, ALTER response_size TYPE bigint, ALTER cached DROP NOT NULL;
         INSERT INTO api_usage (id, api_name, endpoint, timestamp, success, status_code, response_time, request_size,
             response_size, error_type, cost_credits, cached)
         SELECT n, 'tmdb', '/movie/' || n % 3, timestamp '2026-01-30 00:10' + n / 5 * interval '1 hour', n % 5 > 0,
             CASE WHEN n % 5 = 0 THEN 503 END, nullif(n % 5, 2) * 100, nullif(n % 5, 3) - 2, 5000000000,
             CASE WHEN n % 10 = 0 THEN 'TIMEOUT' END, nullif(n % 5, 1) * 0.1, nullif(n % 5, 4) = 3
         FROM generate_series(0, 99) AS n",
    );
    aggregate(&db).success();
    let row = db.rows(
        "SELECT total_requests, error_count, timeout_errors, server_errors, cached_count, min_response_time,
             max_response_time, avg_response_time, total_cost
         FROM api_usage_aggregates WHERE aggregation_type = 'DAILY'",
    );
    assert_eq!(row, ["100|20|10|20|20|0|400|200|18"]);
    let rolled_up = db.rows(
        "SELECT aggregation_type, sum(total_requests), sum(request_bytes), sum(response_bytes)
         FROM usagectl_rollups WHERE scope = 'ENDPOINT' AND endpoint = '/movie/{id}' GROUP BY 1 ORDER BY 1",
    );
    let expected = ["DAILY", "HOURLY", "MONTHLY"].map(|it| format!("{it}|100|40|500000000000"));
    assert_eq!(rolled_up, expected);
}

/// The application may connect as a role without rights on our schema.
#[test]
fn rows_of_a_role_without_rights_on_our_schema_are_counted_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    let role = OtherRole::new(&db);
    let call = Call::new("theirs", "tmdb", "2026-01-30T09:00:00Z");
    db.execute(&format!(
        "GRANT USAGE ON SCHEMA public TO {name}; GRANT INSERT ON api_usage TO {name}; SET ROLE {name}; {}",
        insert_sql(Engine::Postgresql, slice::from_ref(&call)),
        name = role.name
    ));
    aggregate(&db).success();
    assert_eq!(aggregates(&db), expected_aggregates([&call]));
}

/// Eight runs at once: seven wait for the first.
#[test]
fn concurrent_runs_do_the_work_of_one_sqlite() {
    let db = TestDatabase::migrated(Engine::Sqlite);
    let calls = steady(600, 13);
    insert(&db, &calls);
    let runs: Vec<_> = (0..8)
        .map(|_| db.usagectl(["aggregate", "--lock-wait", "60s"]).spawn())
        .collect();
    for run in runs {
        run.wait().success();
    }
    assert_eq!(aggregates(&db), expected_aggregates(&calls));
}

/// SQLite's date functions would read these as other times.
#[test]
fn text_that_only_begins_like_a_time_is_unreadable_sqlite() {
    let db = TestDatabase::migrated(Engine::Sqlite);
    for (id, at) in [
        "2026-02-30T10:00:00Z",
        "12:00",
        "2026-01-30T10:zz+00:00",
        "0000-01-30T10:00:00Z",
    ]
    .iter()
    .enumerate()
    {
        db.execute(&format!(
            "INSERT INTO api_usage (id, api_name, timestamp) VALUES ('{id}', 'tmdb', '{at}')"
        ));
    }
    for arguments in [&["aggregate"][..], &["aggregate", "--rebuild"]] {
        let run = db.usagectl(arguments).run().success();
        assert!(
            run.stderr.starts_with("warning: left out 4 rows:"),
            "{}",
            run.stderr
        );
        assert_eq!(aggregates(&db), expected_aggregates(&[] as &[Call]));
    }
}
