//! The run lock, which admits one run of a kind at a time. It is released when its process ends, so there are
//! no stale locks.
//!
//! * PostgreSQL: an advisory lock of an open transaction on a connection of its own. A transaction keeps
//!   its server connection behind a pooler, where a session lock could be left behind; an idle READ
//!   COMMITTED transaction holds no snapshot, so nothing else waits for it. The lock is polled: a blocking
//!   waiter deadlocks with `CREATE INDEX CONCURRENTLY`.
//! * SQLite: an exclusive lock on a file beside the database, `<database>-migrate-lock` and so on. Not on the
//!   database itself, since closing any handle of it in this process would release SQLite's locks.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_types::{Bool, Integer};

use super::db;
use super::db::{Access, Db};
use super::lock_file;
use super::postgres::Kind;
use super::url::{DatabaseTarget, DatabaseUrl};
use crate::error::{Error, Exit, Result, shell_word};

/// The kinds of run; runs of different kinds do not exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// `migrate` and `rollback`.
    Migrate,
    /// `aggregate`.
    Aggregate,
    /// `alerts check` and `alerts deliver`, so that no notification is sent twice.
    Alerts,
    /// `recommend run`.
    Recommend,
}

impl RunKind {
    fn name(self) -> &'static str {
        match self {
            RunKind::Migrate => "migrate",
            RunKind::Aggregate => "aggregate",
            RunKind::Alerts => "alerts",
            RunKind::Recommend => "recommend",
        }
    }

    /// The second half of the PostgreSQL key.
    pub(super) fn number(self) -> i32 {
        match self {
            RunKind::Migrate => 1,
            RunKind::Aggregate => 2,
            RunKind::Alerts => 3,
            RunKind::Recommend => 4,
        }
    }
}

/// The first half of the PostgreSQL keys: "USGC" in ASCII.
pub(super) const KEY_SPACE: i32 = 0x5553_4743;

/// The polling interval.
const POLL: Duration = Duration::from_millis(50);

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct RunLock {
    held: Held,
}

#[derive(Debug)]
enum Held {
    Connection { db: Db },
    File { _file: File },
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // Without it the server releases the lock only when it notices the closed connection.
        if let Held::Connection {
            db: Db::Pg(postgres),
        } = &mut self.held
        {
            postgres.roll_back();
        }
    }
}

impl RunLock {
    /// Acquires the lock, or fails with [`Exit::Busy`] after `wait`.
    pub fn acquire(url: &DatabaseUrl, kind: RunKind, wait: Duration) -> Result<RunLock> {
        let deadline = Instant::now() + wait;
        let held = match &url.target {
            DatabaseTarget::Postgres(_) => lock_connection(url, kind, deadline)?,
            DatabaseTarget::Sqlite(path) => lock_file(path, kind, deadline)?,
        };
        Ok(RunLock { held })
    }
}

#[derive(QueryableByName)]
struct Locked {
    #[diesel(sql_type = Bool)]
    locked: bool,
}

fn lock_connection(url: &DatabaseUrl, kind: RunKind, deadline: Instant) -> Result<Held> {
    let mut db = db::open(url, Access::Write)?;
    if let Db::Pg(postgres) = &mut db {
        postgres.begin(Kind::Write)?;
        // A server that ends idle transactions would release the lock during the run.
        postgres.batch_execute("SET LOCAL idle_in_transaction_session_timeout = 0")?;
        until_free(kind, deadline, || {
            let tried = diesel::sql_query("SELECT pg_try_advisory_xact_lock($1, $2) AS locked")
                .bind::<Integer, _>(KEY_SPACE)
                .bind::<Integer, _>(kind.number());
            let tried: QueryResult<Locked> = postgres.run(|conn| tried.get_result(conn));
            Ok(tried?.locked)
        })?;
    }
    Ok(Held::Connection { db })
}

fn lock_file(database: &Path, kind: RunKind, deadline: Instant) -> Result<Held> {
    let path = lock_file::path(database, kind.name());
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
    let file = lock_file::open(&path, database).map_err(failed)?;
    until_free(kind, deadline, || match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    })?;
    Ok(Held::File { _file: file })
}

fn until_free(
    kind: RunKind,
    deadline: Instant,
    mut try_once: impl FnMut() -> Result<bool>,
) -> Result<()> {
    while !try_once()? {
        if Instant::now() >= deadline {
            let name = kind.name();
            return Err(Error::message(
                Exit::Busy,
                format!("another `usagectl {name}` is running"),
            )
            .with_next("run the same command again with --lock-wait 60s"));
        }
        thread::sleep(POLL);
    }
    Ok(())
}
