//! One run at a time: the lock that `migrate`, `rollback` and `aggregate` hold while they work.
//!
//! It survives nothing: whoever dies lets go of it, so there is no stale lock to clear by hand.
//!
//! * PostgreSQL: an advisory lock of an open transaction on a connection of its own. A transaction
//!   keeps its server connection even behind a pooler, where a session's lock could be left behind; an
//!   idle READ COMMITTED transaction holds no snapshot, so nothing else waits for it. The lock is
//!   tried again and again and never waited for: a blocking waiter deadlocks with
//!   `CREATE INDEX CONCURRENTLY`.
//! * SQLite: an exclusive lock on a file beside the database, `<database>-migrate-lock` or `-aggregate-lock`. Not on the database
//!   itself: SQLite's own locks are dropped when anybody in the process closes the file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use diesel::sql_types::{Bool, Integer};

use super::db;
use super::db::{Access, Db};
use super::url::{DatabaseTarget, DatabaseUrl};
use crate::error::{Error, Exit, Result};

/// What is being locked: two different kinds of run do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// `migrate` and `rollback`.
    Migrate,
    /// `aggregate`.
    Aggregate,
    /// `alerts check` and `alerts deliver`: nothing is told twice.
    Alerts,
    /// `recommend run`: no question is answered twice.
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

/// The first half of the PostgreSQL keys: "USGC" in ASCII, so that no other program's lock is ours.
pub(super) const KEY_SPACE: i32 = 0x5553_4743;

/// How often a held lock is tried again.
const POLL: Duration = Duration::from_millis(50);

/// Held while a run works; dropping it, or dying, lets go.
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
        // A server notices that a client has gone some time after it went; the next run may be faster.
        if let Held::Connection { db: Db::Pg(conn) } = &mut self.held {
            let _ = AnsiTransactionManager::rollback_transaction(conn);
        }
    }
}

impl RunLock {
    /// Takes the lock, trying for as long as `wait`.
    ///
    /// # Errors
    ///
    /// [`Exit::Busy`] when another run holds it to the end of `wait`; otherwise as opening the database.
    pub fn acquire(url: &DatabaseUrl, kind: RunKind, wait: Duration) -> Result<RunLock> {
        let deadline = Instant::now() + wait;
        let held = match &url.target {
            DatabaseTarget::Postgres(_) => lock_connection(url, kind, deadline)?,
            DatabaseTarget::Sqlite(path) => {
                let mut name = path.clone().into_os_string();
                name.push(format!("-{}-lock", kind.name()));
                lock_file(PathBuf::from(name), kind, deadline)?
            }
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
    if let Db::Pg(conn) = &mut db {
        // Servers that end idle transactions would take the lock away in the middle of the work.
        conn.batch_execute("SET idle_in_transaction_session_timeout = 0")?;
        AnsiTransactionManager::begin_transaction_sql(
            conn,
            "BEGIN ISOLATION LEVEL READ COMMITTED",
        )?;
        until_free(kind, deadline, || {
            let tried = diesel::sql_query("SELECT pg_try_advisory_xact_lock($1, $2) AS locked")
                .bind::<Integer, _>(KEY_SPACE)
                .bind::<Integer, _>(kind.number())
                .get_result::<Locked>(conn)?;
            Ok(tried.locked)
        })?;
    }
    Ok(Held::Connection { db })
}

fn lock_file(path: PathBuf, kind: RunKind, deadline: Instant) -> Result<Held> {
    let failed = |error: io::Error| {
        Error::new(Exit::Failed, error)
            .context(format!("cannot use the lock file {}", path.display()))
            .with_next("check who may write to the directory of the database")
    };
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path);
    let file = opened.map_err(failed)?;
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
                format!("another `usagectl {name}` is at work"),
            )
            .with_next("run the same command again, or let it wait with --lock-wait 60s"));
        }
        thread::sleep(POLL);
    }
    Ok(())
}
