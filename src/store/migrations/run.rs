//! Runs the steps of a migration. Each is one transaction with its log row, the last also with Diesel's
//! ledger row; a concurrent index build is logged before and after.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_query;
use diesel::sql_types::{Array, Integer, Text};

use super::ledger::{self, DONE, NewLogRow, STARTED};
use super::prisma::{PrismaSync, Recording};
use super::{Direction, Migration, application_schema, indexes, owners, tables};
use crate::domain::named::Named;
use crate::domain::schema::index::{self, IndexAction};
use crate::domain::schema::migration::WHOLE_ROLLBACK;
use crate::domain::schema::script::{self, IndexChange, Step};
use crate::error::{Error, Exit, Result};
use crate::fault;
use crate::store::db::{Db, OWN_SCHEMA, on, quote_identifier};
use crate::store::time::UtcTimestamp;
use crate::store::tuples::LoadTuples;
use crate::store::url::DatabaseUrl;

/// What the log records beside the migration itself.
#[derive(Clone, Copy, Debug)]
pub struct LogContext<'a> {
    pub application_schema: &'a str,
    /// As `user@host`.
    pub done_by: &'a str,
    pub at: UtcTimestamp,
    pub prisma: &'a PrismaSync,
}

impl<'a> LogContext<'a> {
    pub fn new(
        url: &'a DatabaseUrl,
        done_by: &'a str,
        now: DateTime<Utc>,
        prisma: &'a PrismaSync,
    ) -> LogContext<'a> {
        LogContext {
            application_schema: application_schema(url),
            done_by,
            at: now.into(),
            prisma,
        }
    }

    /// Of a script, which reads the engine's clock when it is run.
    pub fn of_script(url: &'a DatabaseUrl, prisma: &'a PrismaSync) -> LogContext<'a> {
        LogContext::new(url, "a script", DateTime::UNIX_EPOCH, prisma)
    }

    /// The row of a step: its number, from 1, and the number of steps.
    pub(super) fn log_row(
        &self,
        migration: &'a Migration,
        direction: Direction,
        [number, count]: [usize; 2],
        checksums: &'a [String; 2],
    ) -> NewLogRow<'a> {
        let number_of = |steps: usize| i32::try_from(steps).unwrap_or(i32::MAX);
        NewLogRow {
            version: migration.version,
            name: migration.name,
            action: direction.as_str(),
            state: DONE,
            step: number_of(number),
            step_count: number_of(count),
            up_sha256: &checksums[0],
            down_sha256: &checksums[1],
            application_schema: self.application_schema,
            tool_version: env!("CARGO_PKG_VERSION"),
            done_by: self.done_by,
            at: self.at,
            duration_ms: 0,
            detail: None,
        }
    }
}

/// The log record of a rollback: the command that continues it if it is interrupted.
#[derive(Clone, Debug)]
pub struct RollbackLog<'a> {
    pub command: &'a str,
    pub log: LogContext<'a>,
}

impl RollbackLog<'_> {
    /// Records that it begins.
    pub fn start(&self, db: &mut Db, retry: &mut Retry<'_>) -> Result<()> {
        self.write(db, retry, STARTED)
    }

    /// Records that it has ended.
    pub fn end(&self, db: &mut Db, retry: &mut Retry<'_>) -> Result<()> {
        self.write(db, retry, DONE)
    }

    fn write(&self, db: &mut Db, retry: &mut Retry<'_>, state: &'static str) -> Result<()> {
        // Of no migration in particular.
        let Some(migration) = super::ALL.first() else {
            return Ok(());
        };
        let checksums = migration.checksums(db);
        let mut row = self
            .log
            .log_row(migration, Direction::Down, [0, 0], &checksums);
        row.step = WHOLE_ROLLBACK;
        row.state = state;
        row.detail = Some(self.command);
        retry_while_busy(db, retry.locks, &[], retry.observer, |db, _| {
            commit_guarded(db, |db| Ok(row.insert(db)?))
        })
    }
}

/// How long to wait for tables in use.
#[derive(Clone, Copy, Debug)]
pub struct Locks {
    /// For each attempt: a session that waits for a table blocks all later readers and writers of it.
    pub timeout: Duration,
    /// For all attempts of a step together.
    pub total: Duration,
}

/// A migration to be run.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    pub migration: &'static Migration,
    pub direction: Direction,
    /// The steps that an interrupted run completed.
    pub done: usize,
    pub log: LogContext<'a>,
    pub locks: Locks,
}

/// What happens during a run.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    Step {
        migration: &'static Migration,
        direction: Direction,
        /// From 1.
        number: usize,
        count: usize,
        title: &'a str,
    },
    /// A table is in use; the attempt is repeated after the pause.
    Retry {
        pause: Duration,
        /// If known.
        holder: Option<TableHolder>,
    },
    /// The server still builds the index for a run that was interrupted.
    Building { index: &'a str },
    /// A concurrent build or drop of the index waits for another session's transaction.
    Waiting { index: &'a str, holder: String },
}

/// Follows a run, and adds to its last step, in which a rollback drops data.
pub trait Observer {
    fn event(&mut self, event: Event<'_>);

    /// Before the last step, outside a transaction.
    fn before_last_step(&mut self, _db: &mut Db) -> Result<()> {
        Ok(())
    }

    /// At the beginning of the last step's transaction; again if it is retried.
    fn in_last_step(&mut self, _db: &mut Db) -> Result<()> {
        Ok(())
    }

    /// Before a transaction that waited for a table is retried.
    fn before_retry(&mut self, _db: &mut Db) {}
}

/// Held around each commit, and by [`stop`] until the program ends.
static COMMIT: Mutex<()> = Mutex::new(());
static IS_STOPPED: AtomicBool = AtomicBool::new(false);

/// Waits for a commit in progress, and prevents all later ones: the next one blocks for ever.
pub fn stop() -> MutexGuard<'static, ()> {
    IS_STOPPED.store(true, Ordering::SeqCst);
    commit_guard()
}

fn commit_guard() -> MutexGuard<'static, ()> {
    // Nothing panics while it is held, and it protects no value.
    COMMIT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Blocks for ever after [`stop`]: the thread that called it ends the program.
fn block_if_stopped() {
    if IS_STOPPED.load(Ordering::SeqCst) {
        drop(commit_guard());
    }
}

/// On SQLite, how long to pause after transactions that a writer may have waited for. SQLite's busy handler
/// sleeps up to 100 ms between two attempts, so that a shorter pause could be missed.
const SQLITE_PAUSE: Duration = Duration::from_millis(120);
/// How long transactions may follow each other without a pause.
const SHORT: Duration = Duration::from_millis(50);

/// The longest pause between two attempts to lock a table.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a concurrent build runs before the session that it waits for is reported.
const FIRST_REPORT: Duration = Duration::from_secs(1);

/// The interval of looking for the end of a concurrent build.
const POLL: Duration = Duration::from_millis(250);

/// Runs the steps of a migration that are not done yet, and returns their duration.
pub fn run(db: &mut Db, task: Task<'_>, observer: &mut dyn Observer) -> Result<Duration> {
    let started = Instant::now();
    let sql = task.migration.runnable_sql(db, task.direction)?;
    let steps = script::parse(&sql);
    if matches!(db, Db::Sqlite(_)) {
        // Replacing a table would delete the rows that refer to it. It cannot be changed in a transaction.
        db.batch_execute("PRAGMA foreign_keys = OFF")?;
        // Writers wait while an index is built. On a busy machine its sort took two thirds of the time with more threads.
        db.batch_execute("PRAGMA threads = 4")?;
    }
    for (position, step) in steps.iter().enumerate().skip(task.done) {
        let step = RunningStep {
            task,
            script: &sql,
            step,
            number: position + 1,
            count: steps.len(),
        };
        observer.event(Event::Step {
            migration: task.migration,
            direction: task.direction,
            number: step.number,
            count: step.count,
            title: step.step.title,
        });
        match step.step.concurrent() {
            Some(change) => step.run_concurrently(db, change, observer),
            None => step.run_in_transactions(db, observer),
        }
        .map_err(|error| {
            // A cancelled statement is not a failure.
            block_if_stopped();
            step.explain(error)
        })?;
    }
    Ok(started.elapsed())
}

/// A step at work.
struct RunningStep<'a> {
    task: Task<'a>,
    /// All steps.
    script: &'a str,
    step: &'a Step<'a>,
    /// From 1.
    number: usize,
    count: usize,
}

impl RunningStep<'_> {
    fn is_last(&self) -> bool {
        self.number == self.count
    }

    fn run_in_transactions(&self, db: &mut Db, observer: &mut dyn Observer) -> Result<()> {
        if self.is_last() {
            observer.before_last_step(db)?;
        }
        let started = Instant::now();
        let tables = self.identifiers();
        let mut retry = Retry::new(self.task.locks, observer);
        loop {
            let changed = retry.observed_transaction(db, &tables, |db, observer| {
                if self.is_last() {
                    observer.in_last_step(db)?;
                }
                let changed = self.execute(db)?;
                if changed == 0 || self.step.repeat.is_none() {
                    self.log(db, DONE, started.elapsed())?;
                }
                Ok(changed)
            })?;
            if changed == 0 || self.step.repeat.is_none() {
                return Ok(());
            }
        }
    }

    /// Runs the statements, and returns the number of rows that the last one changed.
    fn execute(&self, db: &mut Db) -> Result<usize> {
        let others = match self.step.keep {
            Some(table) => tables::others_objects(db, table, self.script)?,
            None => Vec::new(),
        };
        let mut changed = 0;
        for statement in &self.step.statements {
            let sql = match &statement.index {
                None => tables::expand(db, statement.sql)?,
                Some(change) => match index::action(change, &indexes::read(db)?) {
                    IndexAction::Run { name } => {
                        indexes::statement(statement.sql, change, &name, None).into()
                    }
                    // Neither exists outside concurrent builds.
                    IndexAction::Nothing | IndexAction::Rebuild | IndexAction::Wait => continue,
                },
            };
            fault::point("statement");
            let done = on!(db, |conn| sql_query(sql).execute(conn));
            changed = done.map_err(with_detail)?;
            fault::point("statement done");
        }
        let owned = owners::statements(db, self.step)?;
        for sql in others.iter().chain(&owned) {
            db.batch_execute(sql).map_err(with_detail)?;
        }
        Ok(changed)
    }

    /// Builds or drops an index outside a transaction, then checks that it is done.
    fn run_concurrently(
        &self,
        db: &mut Db,
        change: &IndexChange,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let started = Instant::now();
        let sql = self.step.statements.last();
        let sql = sql.map(|statement| statement.sql).unwrap_or_default();
        let schema = Some(self.task.log.application_schema);
        let statement = |name: &str| indexes::statement(sql, change, name, schema);
        let deadline = started + self.task.locks.total;
        loop {
            let statements = match index::action(change, &indexes::read(db)?) {
                IndexAction::Nothing => break,
                IndexAction::Run { name } => vec![statement(&name)],
                IndexAction::Rebuild => {
                    let leftover = indexes::drop_leftover(change, schema);
                    vec![leftover, statement(&change.name)]
                }
                IndexAction::Wait if Instant::now() < deadline => {
                    observer.event(Event::Building {
                        index: &change.name,
                    });
                    thread::sleep(POLL);
                    continue;
                }
                IndexAction::Wait => {
                    let name = &change.name;
                    let message = format!(
                        "the server is still building the index {name} for an interrupted run"
                    );
                    let error = Error::message(Exit::Busy, message);
                    return Err(error.with_next("run the same command again"));
                }
            };
            commit_guarded(db, |db| self.log(db, STARTED, Duration::ZERO))?;
            for sql in statements {
                fault::point("statement");
                change_index(db, &change.name, &sql, self.task.locks.total, observer)?;
                fault::point("statement done");
            }
            if index::action(change, &indexes::read(db)?) == IndexAction::Nothing {
                break;
            }
            // Such as a build that ended with an invalid index.
            let message = format!("the index {} is not in the expected state", change.name);
            return Err(Error::message(Exit::Failed, message));
        }
        commit_guarded(db, |db| self.log(db, DONE, started.elapsed()))?;
        fault::point("committed");
        Ok(())
    }

    /// Writes the log row, and the ledger row if this completes the migration.
    fn log(&self, db: &mut Db, state: &'static str, took: Duration) -> Result<()> {
        let migration = self.task.migration;
        let checksums = migration.checksums(db);
        let mut row = self.task.log.log_row(
            migration,
            self.task.direction,
            [self.number, self.count],
            &checksums,
        );
        row.state = state;
        row.duration_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        fault::point("log");
        row.insert(db)?;
        if state == DONE && self.is_last() {
            fault::point("ledger");
            ledger::record(db, migration, self.task.direction)?;
            let entry = self.task.log;
            let how = Recording::from(self.task.direction);
            entry.prisma.write(db, migration, how, entry.at)?;
        }
        fault::point("logged");
        Ok(())
    }

    /// The names in the statements, among them the tables.
    fn identifiers(&self) -> Vec<String> {
        let statements = self.step.statements.iter();
        let quoted = statements.flat_map(|it| it.sql.split('"').skip(1).step_by(2));
        let names: BTreeSet<&str> = quoted.collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// Adds what failed, and the next step.
    fn explain(&self, error: Error) -> Error {
        let exit = error.exit();
        let next = error.next().map(str::to_owned);
        let what = match (exit, self.step.concurrent()) {
            // By the observer; its message is complete.
            (Exit::Refused, _) => return error,
            (Exit::Busy, _) => "is waiting for another session",
            (_, Some(_)) => "failed",
            (_, None) => "failed and was rolled back",
        };
        let migration = self.task.migration;
        let step = match self.count {
            1 => String::new(),
            count => format!(" at step {} of {count}", self.number),
        };
        let error = error.context(format!("{migration} {what}{step}"));
        match next {
            // An unexpected error of the database points to `status`.
            Some(next) if next != "usagectl status" => error.with_next(next),
            _ => error.with_next("remove the cause, then run the same command again"),
        }
    }
}

/// Adds the detail that names a dependent object.
fn with_detail(error: DieselError) -> Error {
    // Such as the objects that depend on a dropped column. Violated constraints, whose details contain
    // values of rows, have kinds of their own.
    let DieselError::DatabaseError(DatabaseErrorKind::Unknown, information) = &error else {
        return error.into();
    };
    let Some(detail) = information.details().map(str::to_owned) else {
        return error.into();
    };
    let error = Error::from(error);
    let next = error.next().map(str::to_owned);
    let error = Error::message(error.exit(), format!("{error} ({detail})"));
    next.into_iter().fold(error, Error::with_next)
}

/// Transactions outside the steps of a migration that wait for tables in use.
pub struct Retry<'a> {
    locks: Locks,
    observer: &'a mut dyn Observer,
    /// How long the transactions since the last pause took.
    busy: Duration,
}

impl<'a> Retry<'a> {
    pub fn new(locks: Locks, observer: &'a mut dyn Observer) -> Retry<'a> {
        Retry {
            locks,
            observer,
            busy: Duration::ZERO,
        }
    }

    /// Runs `work` in a transaction that waits at most the timeout for each table lock, and repeats it for a while.
    /// [`Exit::Busy`] if no attempt got its locks; with the session that uses one of the tables.
    pub fn transaction<T>(
        &mut self,
        db: &mut Db,
        tables: &[String],
        mut work: impl FnMut(&mut Db) -> Result<T>,
    ) -> Result<T> {
        self.observed_transaction(db, tables, |db, _| work(db))
    }

    fn observed_transaction<T>(
        &mut self,
        db: &mut Db,
        tables: &[String],
        mut work: impl FnMut(&mut Db, &mut dyn Observer) -> Result<T>,
    ) -> Result<T> {
        let mut began = Instant::now();
        let observer = &mut *self.observer;
        let done = in_locked_transaction(db, self.locks, tables, observer, |db, observer| {
            began = Instant::now();
            work(db, observer)
        })?;
        fault::point("committed");
        self.busy += began.elapsed();
        if matches!(db, Db::Sqlite(_)) && self.busy > SHORT {
            thread::sleep(SQLITE_PAUSE);
            self.busy = Duration::ZERO;
        }
        Ok(done)
    }

    /// Runs a statement that builds or drops an index concurrently.
    pub(super) fn change_index(&mut self, db: &mut Db, index: &str, sql: &str) -> Result<()> {
        change_index(db, index, sql, self.locks.total, self.observer)
    }
}

/// Runs `work` in a transaction that waits at most `locks.timeout` for each table lock, and repeats it until
/// `locks.total` has passed. [`Exit::Busy`] if no attempt got its locks.
pub(super) fn in_locked_transaction<T>(
    db: &mut Db,
    locks: Locks,
    tables: &[String],
    observer: &mut dyn Observer,
    mut work: impl FnMut(&mut Db, &mut dyn Observer) -> Result<T>,
) -> Result<T> {
    let limit = lock_limit(db, locks.timeout);
    if matches!(db, Db::Sqlite(_)) {
        db.batch_execute(&limit)?;
    }
    retry_while_busy(db, locks, tables, observer, |db, observer| {
        commit_guarded(db, |db| {
            if matches!(db, Db::Pg(_)) {
                db.batch_execute(&limit)?;
                // Makes the server release the tables soon after this program is killed. Not every platform
                // supports it.
                let _ = db.savepoint(|db| {
                    db.batch_execute("SET LOCAL client_connection_check_interval = '1s'")
                });
            }
            let done = work(db, observer)?;
            fault::point("before commit");
            Ok(done)
        })
    })
}

/// Runs `work` in a transaction that is not committed after [`stop`].
pub(super) fn commit_guarded<T>(db: &mut Db, work: impl FnOnce(&mut Db) -> Result<T>) -> Result<T> {
    let mut guard = None;
    db.write_tx(|db| {
        let done = work(db)?;
        guard = Some(commit_guard());
        Ok(done)
    })
}

/// Repeats `work` while it fails with [`Exit::Busy`], until `locks.total` has passed.
pub(super) fn retry_while_busy<T>(
    db: &mut Db,
    locks: Locks,
    tables: &[String],
    observer: &mut dyn Observer,
    mut work: impl FnMut(&mut Db, &mut dyn Observer) -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + locks.total;
    let mut longest = locks.timeout / 2;
    loop {
        let error = match work(db, observer) {
            Err(error) if error.exit() == Exit::Busy => error,
            result => return result,
        };
        let holder = holder(db, tables, &[]);
        // At least half of the longest, so that those who queued behind us proceed; at random, so that two
        // programs do not meet again.
        let pause = longest.mul_f64(0.5 + random() / 2.0);
        if Instant::now() + pause > deadline {
            return Err(match holder {
                Some(holder) => error.context(holder),
                None => error,
            });
        }
        observer.event(Event::Retry { pause, holder });
        thread::sleep(pause);
        observer.before_retry(db);
        longest = (longest * 2).min(LONGEST_PAUSE);
    }
}

/// A number from 0 to 1. Random enough to keep two programs apart.
fn random() -> f64 {
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    (low % 1024) as f64 / 1023.0
}

/// A table and the session that uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableHolder {
    pub table: String,
    pub session: String,
}

impl std::fmt::Display for TableHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the table {} is in use by {}", self.table, self.session)
    }
}

/// The modes of table locks that a read or a write waits for, the strongest first.
const BLOCKING_MODES: [&str; 4] = [
    "AccessExclusiveLock",
    "ExclusiveLock",
    "ShareRowExclusiveLock",
    "ShareLock",
];

/// The modes of a transaction that may have locked rows.
const ROW_MODES: [&str; 2] = ["RowExclusiveLock", "RowShareLock"];

/// The session that a command waited for which reads and writes rows: it has locked a table, or else it may have
/// locked rows of one of `tables`.
pub fn blocking_session(db: &mut Db, tables: &[String]) -> Option<TableHolder> {
    let locked = holder(db, &[], &BLOCKING_MODES);
    locked.or_else(|| holder(db, tables, &ROW_MODES))
}

/// The session that the victim of a deadlock waited for, by the details of the server's error.
pub fn deadlock_session(db: &mut Db, details: &str) -> Option<String> {
    // "Process 1 waits for ShareLock on transaction 2; blocked by process 3.", a line for each, the victim first. In
    // the server's language, but the numbers stand in this order.
    let line = details.lines().next()?;
    let mut numbers = line.rsplit(|c: char| !c.is_ascii_digit());
    let process: i32 = numbers.find(|it| !it.is_empty())?.parse().ok()?;
    let query = format!("SELECT {SESSION} FROM pg_stat_activity a WHERE a.pid = $1");
    let Db::Pg(postgres) = db else { return None };
    let query = sql_query(query).bind::<Integer, _>(process);
    postgres
        .run(|conn| query.row(conn).optional())
        .ok()
        .flatten()
}

/// The session that has used one of these tables for the longest time, if the server shows it. With `modes` only
/// locks of these, the first ones first. Without `tables` any table of the schemas in the search path.
fn holder(db: &mut Db, tables: &[String], modes: &[&str]) -> Option<TableHolder> {
    let Db::Pg(_) = db else { return None };
    let query = format!(
        "SELECT c.relname::text, {SESSION}
         FROM pg_locks l
         JOIN pg_class c ON c.oid = l.relation
         JOIN pg_stat_activity a ON a.pid = l.pid
         WHERE l.granted AND l.pid <> pg_backend_pid()
             AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
             AND c.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname = ANY (current_schemas(false)))
             AND (c.relname = ANY ($1) OR cardinality($1) = 0 AND c.relkind IN ('r', 'p') AND cardinality($2) > 0)
             AND (l.mode = ANY ($2) OR cardinality($2) = 0)
         ORDER BY coalesce(array_position($2, l.mode), 0), a.xact_start NULLS LAST, c.relname
         LIMIT 1"
    );
    // Only for a message: a failure here must not hide the one it explains.
    let found = db.read_tx(|db| match db {
        Db::Pg(postgres) => postgres.run(|conn| {
            let query = sql_query(query)
                .bind::<Array<Text>, _>(tables)
                .bind::<Array<Text>, _>(modes);
            query.row(conn).optional()
        }),
        Db::Sqlite(_) => Ok(None),
    });
    let (table, session) = found.ok().flatten()?;
    Some(TableHolder { table, session })
}

/// Runs a statement that builds or drops an index concurrently, and reports the sessions that it waits for.
/// [`Exit::Busy`] if it waits for longer than `limit`; the next run replaces the invalid index that it leaves.
pub(super) fn change_index(
    db: &mut Db,
    index: &str,
    sql: &str,
    limit: Duration,
    observer: &mut dyn Observer,
) -> Result<()> {
    let Db::Pg(postgres) = db else {
        return outside_transaction(db, sql);
    };
    let url = postgres.url().to_owned();
    let process = postgres.server_process()?;
    thread::scope(|scope| {
        let (sender, ended) = mpsc::channel();
        scope.spawn(move || {
            // It is received, unless the program ends.
            let _ = sender.send(outside_transaction(db, sql));
        });
        let mut watcher = None;
        let mut pause = FIRST_REPORT.min(limit);
        // Since when it waits, and for which session it was cancelled.
        let mut waits_since = None;
        let mut cancelled: Option<String> = None;
        loop {
            match ended.recv_timeout(pause) {
                Ok(Err(error)) => {
                    return Err(match cancelled {
                        None => error,
                        Some(holder) => waited_too_long(index, &holder),
                    });
                }
                Ok(done) => return done,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let message = format!("the change of the index {index} was interrupted");
                    return Err(Error::message(Exit::Failed, message));
                }
            }
            // Only for a message.
            watcher = watcher.or_else(|| PgConnection::establish(&url).ok());
            let found = watcher
                .as_mut()
                .and_then(|conn| blocker(conn, process).ok());
            pause = FIRST_REPORT;
            let (Some(holder), Some(watcher)) = (found.flatten(), &mut watcher) else {
                waits_since = None;
                continue;
            };
            let waited = waits_since.get_or_insert_with(Instant::now).elapsed();
            if waited < limit {
                observer.event(Event::Waiting { index, holder });
                pause = LONGEST_PAUSE.min(limit.saturating_sub(waited));
            } else {
                let cancel = sql_query("SELECT pg_cancel_backend($1)");
                // Tried again as long as it waits.
                let _ = cancel.bind::<Integer, _>(process).execute(watcher);
                cancelled = Some(holder);
            }
        }
    })
}

fn waited_too_long(index: &str, holder: &str) -> Error {
    let message = format!("the index {index} waits for older transactions, the oldest of {holder}");
    Error::message(Exit::Busy, message).with_next(
        "end that transaction and run the same command again, or wait longer for it with --lock-wait",
    )
}

/// The session that this process of the server waits for, if the server shows it: of those that have a lock, a
/// snapshot or a transaction the oldest.
fn blocker(conn: &mut PgConnection, process: i32) -> QueryResult<Option<String>> {
    let query = format!(
        "SELECT {SESSION}
         FROM pg_stat_activity a
         WHERE a.pid = ANY (pg_blocking_pids($1))
         ORDER BY a.xact_start
         LIMIT 1"
    );
    let query = sql_query(query).bind::<Integer, _>(process);
    query.row(conn).optional()
}

/// A session of `pg_stat_activity` as text.
const SESSION: &str = "concat(coalesce(nullif(a.application_name, ''), a.backend_type), ' (pid ', a.pid,
             coalesce(', user ' || a.usename, ''),
             ', since ' || to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC', ')')";

/// The statement that sets the lock timeout: on PostgreSQL of the transaction, on SQLite of the connection.
pub(super) fn lock_limit(db: &Db, lock_timeout: Duration) -> String {
    // On PostgreSQL 0 means no timeout; both engines accept 31 bits.
    let ms = lock_timeout.as_millis().clamp(1, i32::MAX as u128);
    match db {
        Db::Pg(_) => format!("SET LOCAL lock_timeout = {ms}"),
        Db::Sqlite(_) => format!("PRAGMA busy_timeout = {ms}"),
    }
}

/// Runs a statement that PostgreSQL does not allow in a transaction. It waits for all transactions that can see
/// the old state, on any table, so it has no time limit; it holds no lock that blocks reads or writes.
///
/// Outside a transaction a setting belongs to the session, so it is reset afterwards.
pub(super) fn outside_transaction(db: &mut Db, sql: &str) -> Result<()> {
    let Db::Pg(postgres) = db else {
        return Ok(db.batch_execute(sql)?);
    };
    let [before, after] = SESSION_LIMITS;
    postgres.outside_transaction(|conn| {
        conn.batch_execute(before)?;
        // Makes the server end the build soon after this program is killed. Not every platform supports it.
        let _ = conn.batch_execute("SET client_connection_check_interval = '1s'");
        let result = conn.batch_execute(sql);
        let reset = conn.batch_execute(after);
        result.map_err(with_detail)?;
        Ok(reset?)
    })
}

/// Statements that lift the time limits of the session, and that restore them.
pub(super) const SESSION_LIMITS: [&str; 2] = [
    "SELECT set_config(name, '0', false) FROM pg_settings
     WHERE name IN ('lock_timeout', 'statement_timeout', 'transaction_timeout')",
    "SELECT set_config(name, reset_val, false) FROM pg_settings
     WHERE name IN ('lock_timeout', 'statement_timeout', 'transaction_timeout', 'client_connection_check_interval')",
];

/// The search path for a migration's SQL; ledger and log are qualified.
pub(super) fn search_path(application_schema: &str) -> String {
    let schema = quote_identifier(application_schema);
    format!("SET LOCAL search_path TO {schema}, {OWN_SCHEMA}")
}

impl std::fmt::Display for Migration {
    /// The name of its folder.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", self.version, self.name)
    }
}
