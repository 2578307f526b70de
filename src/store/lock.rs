//! The run lock, which admits one run of a kind at a time. A run that ends or dies leaves no stale lock.
//!
//! * PostgreSQL, `migrate` and `rollback`: an advisory lock of an open transaction on a connection of its own,
//!   since the tables may not exist yet. An idle READ COMMITTED transaction holds no snapshot, so nothing else
//!   waits for it. The lock is polled: a blocking waiter deadlocks with `CREATE INDEX CONCURRENTLY`. A
//!   transaction pooler is refused.
//! * PostgreSQL, other runs: a lease, see `store::run_locks`.
//! * SQLite: an exclusive lock on a file beside the database, `<database>-migrate-lock` and so on. Not on the
//!   database itself, since closing any handle of it in this process would release SQLite's locks. The file
//!   contains its holder.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::dsl::sql_query;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::Integer;

use super::db;
use super::db::{Access, Db};
use super::lock_file;
use super::postgres::{Kind, Postgres};
use super::process;
use super::run_locks;
use super::tuples::LoadTuples;
use super::url::{DatabaseTarget, DatabaseUrl};
use crate::domain::format::shell_word;
use crate::domain::named::{Named, named};
use crate::domain::run_lock::Holder;
use crate::error::{Error, Exit, Result};

named! {
    /// The kinds of run; runs of different kinds do not exclude each other.
    RunKind, "kind of run" {
        /// `migrate` and `rollback`.
        Migrate = "migrate",
        Aggregate = "aggregate",
        /// The evaluation of `alerts check`.
        Alerts = "alerts",
        /// `recommend run`.
        Recommend = "recommend",
        /// `collect run`: two at once would count the same increase twice.
        Collect = "collect",
    }
}

impl RunKind {
    /// The second half of the PostgreSQL key.
    pub(super) fn number(self) -> i32 {
        self as i32 + 1
    }
}

/// The first half of the PostgreSQL keys: "USGC" in ASCII.
pub(super) const KEY_SPACE: i32 = 0x5553_4743;

/// The polling interval.
const POLL: Duration = Duration::from_millis(50);

/// A held lock; dropping it releases it. A lease is released with its connection, or by [`RunLock::release`].
#[derive(Debug)]
pub struct RunLock {
    held: Held,
}

#[derive(Debug)]
enum Held {
    Transaction(Box<Postgres>),
    Lease,
    File(File),
}

impl Drop for RunLock {
    fn drop(&mut self) {
        match &mut self.held {
            // Without it the server releases the lock only when it notices the closed connection.
            Held::Transaction(postgres) => postgres.roll_back(),
            // So that a waiting run does not take this one for the next holder.
            Held::File(file) => {
                let _ = file.set_len(0);
            }
            Held::Lease => {}
        }
    }
}

/// A lock to acquire.
#[derive(Clone, Copy, Debug)]
pub struct LockRequest {
    pub kind: RunKind,
    /// [`Exit::Busy`] after it.
    pub wait: Duration,
    /// The start of the run.
    pub now: DateTime<Utc>,
}

impl RunLock {
    /// Releases the lock before the connection of the run is closed.
    pub fn release(self, db: &mut Db) -> QueryResult<()> {
        match (&self.held, db) {
            (Held::Lease, Db::Pg(postgres)) => postgres.release_lease(),
            _ => Ok(()),
        }
    }

    /// Acquires the lock for the run that uses `db`. `on_wait` gets the holder that is waited for, if it is
    /// known, once.
    pub fn acquire(
        db: &mut Db,
        url: &DatabaseUrl,
        request: LockRequest,
        on_wait: &mut dyn FnMut(Option<&Holder>),
    ) -> Result<RunLock> {
        let kind = request.kind;
        let held = match (db, &url.target) {
            (Db::Pg(postgres), _) if kind == RunKind::Migrate => {
                let mut second = second_connection(postgres, url)?;
                // Each try is a transaction of its own: CREATE INDEX CONCURRENTLY of the holder would wait for
                // one that stays open between tries.
                until_free(request, on_wait, || {
                    second.begin(Kind::Write)?;
                    let tried = second.run(|conn| try_advisory_lock(conn, kind))?;
                    if tried.is_err() {
                        second.roll_back();
                    }
                    Ok(tried)
                })?;
                // A simple query closes the portal of the query before it, which keeps a snapshot.
                second.batch_execute("SELECT")?;
                Held::Transaction(Box::new(second))
            }
            (Db::Pg(postgres), _) => {
                until_free(request, on_wait, || {
                    let leased = postgres.outside_transaction(|conn| {
                        run_locks::acquire(conn, kind, &url.application, request.now)
                    })?;
                    Ok(leased.map(|lease| postgres.set_lease(lease)).map_err(Some))
                })?;
                Held::Lease
            }
            (Db::Sqlite(_), DatabaseTarget::Sqlite(path)) => {
                lock_file(path, url, request, on_wait).map(Held::File)?
            }
            (Db::Sqlite(_), DatabaseTarget::Postgres(_)) => {
                let message = "the connection is not to the database that the URL names";
                return Err(Error::message(Exit::Failed, message));
            }
        };
        Ok(RunLock { held })
    }
}

/// Opens the connection that holds the lock of `migrate`. Refuses a transaction pooler: statements of
/// `migrate` run outside a transaction and depend on settings of the session.
fn second_connection(first: &mut Postgres, url: &DatabaseUrl) -> Result<Postgres> {
    // A pooler in statement pooling mode refuses the first transaction, with an error of its own.
    first.batch_execute("SELECT")?;
    let opened = db::open(url, Access::Write).map_err(|error| {
        Error::from(error)
            .context("migrate and rollback require a second session")
            .with_next(
                "set DIRECT_URL to the URL of the server itself, or run the same command again when the pool or the \
                 server has two free sessions",
            )
    });
    let Db::Pg(mut second) = opened? else {
        return Err(Error::message(Exit::Failed, "not a PostgreSQL database"));
    };
    if shares_sessions(first, &mut second)? {
        let message = "a pooler such as PgBouncer gives its clients other server sessions in turn; \
                       nothing was changed";
        return Err(Error::message(Exit::Refused, message).with_next(
            "set DIRECT_URL to the URL of the server itself, then run the same command again",
        ));
    }
    Ok(second)
}

/// Whether two connections have the same server session, or one of them another one each time. The session of
/// a connection to the server itself is its own and never changes.
fn shares_sessions(first: &mut Postgres, second: &mut Postgres) -> QueryResult<bool> {
    const ROUNDS: usize = 3;
    let mut of_first = Vec::new();
    let mut of_second = Vec::new();
    for _ in 0..ROUNDS {
        of_first.push(session(first)?);
        of_second.push(session(second)?);
    }
    let changes = |sessions: &[i32]| sessions.windows(2).any(|pair| pair[0] != pair[1]);
    Ok(changes(&of_first) || changes(&of_second) || of_first == of_second)
}

/// The process id of the server session that a transaction gets.
fn session(postgres: &mut Postgres) -> QueryResult<i32> {
    postgres.outside_transaction(|conn| sql_query("SELECT pg_backend_pid()").row(conn))
}

/// A try; the inner result is the holder that prevents it.
type Tried<T> = Result<T, Option<Holder>>;

fn try_advisory_lock(conn: &mut PgConnection, kind: RunKind) -> Result<Tried<()>> {
    let is_locked: bool = sql_query("SELECT pg_try_advisory_xact_lock($1, $2)")
        .bind::<Integer, _>(KEY_SPACE)
        .bind::<Integer, _>(kind.number())
        .row(conn)?;
    if is_locked {
        return Ok(Ok(()));
    }
    Ok(Err(advisory_lock_holder(conn, kind)?))
}

fn advisory_lock_holder(conn: &mut PgConnection, kind: RunKind) -> QueryResult<Option<Holder>> {
    // Alone, since joining pg_stat_activity takes three times as long, and usually no lock is held.
    let pid: Option<i32> = sql_query(
        "SELECT pid FROM pg_locks
         WHERE locktype = 'advisory' AND granted AND objsubid = 2
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND classid::bigint = $1 AND objid::bigint = $2",
    )
    .bind::<Integer, _>(KEY_SPACE)
    .bind::<Integer, _>(kind.number())
    .row(conn)
    .optional()?;
    let Some(pid) = pid else {
        return Ok(None);
    };
    // Null for sessions of other roles.
    type Session = (Option<String>, Option<DateTime<Utc>>);
    let session: Option<Session> = sql_query(
        "SELECT nullif(application_name, ''), backend_start FROM pg_stat_activity WHERE pid = $1",
    )
    .bind::<Integer, _>(pid)
    .row(conn)
    .optional()?;
    let (application, since) = session.unwrap_or_default();
    Ok(Some(Holder {
        application: application.unwrap_or_else(|| "unknown".to_owned()),
        process: format!("server process {pid}"),
        since,
    }))
}

/// The `migrate` or `rollback` that is running. Waits for nothing and creates no file.
pub fn running_migrate(db: &mut Db, url: &DatabaseUrl) -> Result<Option<Holder>> {
    let path = match (db, &url.target) {
        (Db::Pg(postgres), _) => {
            return Ok(postgres.run(|conn| advisory_lock_holder(conn, RunKind::Migrate))?);
        }
        (Db::Sqlite(_), DatabaseTarget::Sqlite(path)) => path,
        (Db::Sqlite(_), DatabaseTarget::Postgres(_)) => return Ok(None),
    };
    let file = File::open(lock_file::path(path, RunKind::Migrate.as_str()));
    Ok(file.ok().and_then(|file| match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => holder_in(&file),
        _ => None,
    }))
}

fn lock_file(
    database: &Path,
    url: &DatabaseUrl,
    request: LockRequest,
    on_wait: &mut dyn FnMut(Option<&Holder>),
) -> Result<File> {
    let path = lock_file::path(database, request.kind.as_str());
    let failed = |error: io::Error| {
        let next = match error.kind() {
            io::ErrorKind::PermissionDenied => format!(
                "let this user read and write the directory and {}",
                shell_word(&path.display().to_string())
            ),
            _ => "check the database's directory".to_owned(),
        };
        Error::new(Exit::Failed, error)
            .context(format!("cannot use the lock file {}", path.display()))
            .with_next(next)
    };
    let mut file = lock_file::open(&path, database).map_err(failed)?;
    until_free(request, on_wait, || match file.try_lock() {
        Ok(()) => Ok(Ok(())),
        Err(TryLockError::WouldBlock) => Ok(Err(holder_in(&file))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    })?;
    let holder = Holder {
        application: url.application.clone(),
        process: format!("process {} on {}", process::id(), process::host_name()),
        since: Some(request.now),
    };
    let text = serde_json::to_vec(&holder)?;
    // The content is only for messages: on a full disk, or in a file that may only be read, the lock holds too.
    let _ = file
        .rewind()
        .and_then(|()| file.set_len(0))
        .and_then(|()| file.write_all(&text));
    Ok(file)
}

/// The holder that the file names; none while it is being written.
fn holder_in(mut file: &File) -> Option<Holder> {
    let mut text = Vec::new();
    file.rewind().ok()?;
    file.read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn until_free<T>(
    request: LockRequest,
    on_wait: &mut dyn FnMut(Option<&Holder>),
    mut try_once: impl FnMut() -> Result<Tried<T>>,
) -> Result<T> {
    let deadline = Instant::now() + request.wait;
    let mut is_first = true;
    loop {
        let holder = match try_once()? {
            Ok(acquired) => return Ok(acquired),
            Err(holder) => holder,
        };
        if Instant::now() >= deadline {
            let mut message = format!("another `usagectl {}` is running", request.kind);
            if let Some(holder) = holder {
                message = format!("{message}: {holder}");
            }
            return Err(Error::message(Exit::Busy, message)
                .with_next("run the same command again with --lock-wait 60s"));
        }
        if std::mem::take(&mut is_first) {
            on_wait(holder.as_ref());
        }
        thread::sleep(POLL);
    }
}
