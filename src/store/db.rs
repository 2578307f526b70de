//! The two engines and their differences.
//!
//! [`Db`] is a connection to either. A query is written once, inside `on!`, as ordinary Diesel, and compiled
//! for both. Differences are explicit `match` arms in this file: opening, settings, transactions, errors.
//! (Transactions of PostgreSQL are in `store::postgres`, bulk load and streaming reads in `store::usage`, the
//! run lock in `store::lock`.)
//!
//! Not `diesel::MultiConnection`: it refuses batch inserts, every `ON CONFLICT`, COPY and immediate
//! transactions, and a failed PostgreSQL connection is silently tried as a SQLite file name.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use diesel::connection::{AnsiTransactionManager as Tx, SimpleConnection, TransactionManager};
use diesel::result::{ConnectionError, DatabaseErrorKind, Error as DieselError};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, QueryResult, sql_query};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use rustix::fs::{AtFlags, CWD, accessat};

use super::postgres::{Kind, Postgres};
use super::run_locks::LeaseLost;
use super::tuples::LoadTuples;
use super::url::{DatabaseTarget, DatabaseUrl, PostgresTarget, UrlSource};
use crate::domain::format::shell_word;
pub use crate::domain::schema::objects::quoted as quote_identifier;
use crate::error::{Error, Exit};

/// The PostgreSQL schema of usagectl's own tables.
pub const OWN_SCHEMA: &str = "usagectl";

/// How long a statement waits for a locked table or for another writer of a SQLite file before it fails with
/// [`Exit::Busy`]. Longer than the transactions of `record` and `aggregate`, which take about a second.
pub const LOCK_TIMEOUT_MS: u32 = 15_000;

pub enum Db {
    /// PostgreSQL; its search path is the application's schema and then ours.
    Pg(Postgres),
    Sqlite(SqliteConnection),
}

/// Runs one body on the connection `$conn` of `$db` (a `&mut Db`). The body is compiled for both engines; on
/// PostgreSQL outside a transaction it is one.
macro_rules! on {
    ($db:expr, |$conn:ident| $body:expr) => {
        match $db {
            $crate::store::db::Db::Pg(postgres) => postgres.run(|$conn| $body),
            $crate::store::db::Db::Sqlite($conn) => $body,
        }
    };
}
pub(crate) use on;

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.engine())
    }
}

impl Db {
    pub fn engine(&self) -> &'static str {
        match self {
            Db::Pg(_) => "postgresql",
            Db::Sqlite(_) => "sqlite",
        }
    }

    /// Whether the connection still has a server that takes writes: not after a restart or a failover.
    pub fn is_connected(&mut self) -> bool {
        let Db::Pg(postgres) = self else {
            return true;
        };
        let is_replica = postgres.run(|conn| sql_query("SELECT pg_is_in_recovery()").row(conn));
        is_replica.is_ok_and(|is_replica: bool| !is_replica)
    }

    /// Sets a connection up to insert many rows.
    ///
    /// In SQLite a statement of many rows keeps the pages that it changes in memory and not in a file, and a page that
    /// several batches change is copied to the database file once.
    pub fn prepare_to_load(&mut self) -> QueryResult<()> {
        match self {
            Db::Pg(_) => Ok(()),
            Db::Sqlite(conn) => conn.batch_execute(
                "PRAGMA temp_store = MEMORY;
                 PRAGMA cache_size = -16384;
                 PRAGMA wal_autocheckpoint = 8000;",
            ),
        }
    }

    pub fn batch_execute(&mut self, sql: &str) -> QueryResult<()> {
        on!(self, |conn| conn.batch_execute(sql))
    }

    /// Runs `work` in one transaction: committed if it succeeds, rolled back if it fails.
    ///
    /// On SQLite it begins IMMEDIATE: a deferred transaction that reads first fails without waiting if
    /// another connection writes before it does.
    pub fn write_tx<T, E: From<DieselError>>(
        &mut self,
        work: impl FnOnce(&mut Db) -> Result<T, E>,
    ) -> Result<T, E> {
        match self {
            Db::Pg(postgres) => postgres.begin(Kind::Write)?,
            Db::Sqlite(conn) => Tx::begin_transaction_sql(conn, "BEGIN IMMEDIATE")?,
        }
        self.finish_tx(work)
    }

    /// Runs `work` in one read-only transaction with a consistent snapshot.
    pub fn read_tx<T, E: From<DieselError>>(
        &mut self,
        work: impl FnOnce(&mut Db) -> Result<T, E>,
    ) -> Result<T, E> {
        match self {
            Db::Pg(postgres) => postgres.begin(Kind::Snapshot)?,
            Db::Sqlite(conn) => Tx::begin_transaction_sql(conn, "BEGIN DEFERRED")?,
        }
        self.finish_tx(work)
    }

    /// Runs `work` so that it can fail without ending the surrounding transaction.
    pub fn savepoint<T, E: From<DieselError>>(
        &mut self,
        work: impl FnOnce(&mut Db) -> Result<T, E>,
    ) -> Result<T, E> {
        match self {
            Db::Pg(postgres) => postgres.begin_savepoint()?,
            Db::Sqlite(conn) => Tx::begin_transaction(conn)?,
        }
        self.finish_tx(work)
    }

    fn finish_tx<T, E: From<DieselError>>(
        &mut self,
        work: impl FnOnce(&mut Db) -> Result<T, E>,
    ) -> Result<T, E> {
        let done = work(self);
        match self {
            Db::Pg(postgres) => postgres.end(done),
            Db::Sqlite(conn) => end_transaction(conn, done),
        }
    }
}

/// Ends the innermost transaction or savepoint: commits it if `done` is a success, else rolls it back.
pub(super) fn end_transaction<C, T, E>(conn: &mut C, done: Result<T, E>) -> Result<T, E>
where
    C: Connection<TransactionManager = Tx>,
    E: From<DieselError>,
{
    match done {
        Ok(value) => {
            Tx::commit_transaction(conn)?;
            Ok(value)
        }
        Err(error) => {
            // The first error is reported; a lost connection rolls back by itself.
            let _ = Tx::rollback_transaction(conn);
            Err(error)
        }
    }
}

/// The access that a command requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Creates a missing SQLite file: `migrate` only.
    Create,
    Write,
    /// Opens a SQLite file read-only.
    Read,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("there is no database at {}", .0.display())]
    Missing(PathBuf),
    #[error("{} is a directory, not a SQLite file", .0.display())]
    Directory(PathBuf),
    #[error("{} is not a SQLite database", .0.display())]
    NotSqlite(PathBuf),
    /// The directory for a new file.
    #[error("no directory {}", .0.display())]
    NoDirectory(PathBuf),
    #[error("cannot open {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot open {}: {reason}", path.display())]
    Sqlite { path: PathBuf, reason: String },
    #[error("cannot connect to {target}: {reason}")]
    Postgres {
        /// The URL, its password masked.
        target: String,
        /// libpq's message, on one line.
        reason: String,
    },
}

impl OpenError {
    /// Whether the database can become reachable without a change of the URL: a server that starts, a file or a role
    /// that is created.
    fn may_pass(&self) -> bool {
        match self {
            OpenError::Directory(_) | OpenError::NotSqlite(_) => false,
            OpenError::Sqlite { reason, .. } => !reason.contains(MALFORMED),
            OpenError::Postgres { reason, .. } => {
                !reason.contains(NO_TLS) && !is_about_a_parameter(reason)
            }
            OpenError::File { source, .. } => source.kind() != io::ErrorKind::NotADirectory,
            OpenError::Missing(_) | OpenError::NoDirectory(_) => true,
        }
    }

    fn next_step(&self) -> String {
        let word = |path: &Path| shell_word(&path.display().to_string());
        let next = match self {
            OpenError::Missing(_) => "usagectl migrate",
            OpenError::Directory(_) | OpenError::NotSqlite(_) => {
                "use another file: usagectl --database-url sqlite:PATH"
            }
            OpenError::NoDirectory(path) => return format!("mkdir -p {}", word(path)),
            OpenError::Sqlite { path, reason } if reason.contains(MALFORMED) => {
                let path = word(path);
                return format!(
                    "restore a backup, or recover the data with sqlite3 {path} .recover"
                );
            }
            OpenError::File { .. } | OpenError::Sqlite { .. } => {
                "check the path and its permissions"
            }
            OpenError::Postgres { reason, target } => {
                if let Some(grant) = grant_to_connect(reason, target) {
                    return grant;
                }
                next_step_to_connect(reason)
            }
        };
        next.to_owned()
    }
}

/// The statement that lets the role of the URL connect, if the server refused for want of this right.
fn grant_to_connect(reason: &str, target: &str) -> Option<String> {
    let (_, database) = reason.split_once("permission denied for database \"")?;
    let (database, _) = database.split_once('"')?;
    let (_, address) = target.split_once("://")?;
    let (user, _) = address.rsplit_once('@')?;
    let user = user.split(':').next()?;
    let role = percent_decode_str(user).decode_utf8().ok()?;
    let (database, role) = (quote_identifier(database), quote_identifier(&role));
    Some(format!(
        "as a superuser, GRANT CONNECT ON DATABASE {database} TO {role}"
    ))
}

/// Whether libpq, the server or a pooler refuses a parameter of the URL.
fn is_about_a_parameter(reason: &str) -> bool {
    [
        "query parameter",
        "startup parameter",
        "configuration parameter",
        "command-line argument",
        "connection option",
        "invalid sslmode value",
    ]
    .iter()
    .any(|words| reason.contains(words))
}

/// libpq has no error codes for a failed connection, so the advice depends on English text; the exit code
/// does not.
fn next_step_to_connect(reason: &str) -> &'static str {
    let mentions = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if mentions(&[NO_TLS]) {
        "use a usagectl that is built with TLS, or sslmode=disable in a trusted network"
    } else if mentions(&["too many", "connection slots", "no more connections"]) {
        "run the same command again when fewer sessions are open, or raise the limit"
    } else if mentions(&["password", "authentication", "pg_hba.conf", "log in"]) {
        "check user and password in the URL, or set PGPASSWORD"
    } else if mentions(&["query_wait_timeout"]) {
        "run the same command again when the pool has a free session, or enlarge the pool"
    } else if mentions(&["channel binding"]) {
        "connect with TLS (sslmode=require), or remove channel_binding from the URL"
    } else if is_about_a_parameter(reason) {
        "correct or remove that parameter of the URL"
    } else if mentions(&["SSL", "certificate"]) {
        "check sslmode and sslrootcert in the URL"
    } else if mentions(&["does not exist", "no such database"]) {
        "create the database and its role, or correct the URL"
    } else {
        "check host and port, and that the server accepts connections"
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Error {
        let next = error.next_step();
        Error::new(Exit::Unreachable, error).with_next(next)
    }
}

/// Whether the command may succeed later without a change by the user: the database is unreachable or busy.
pub fn may_pass(error: &Error) -> bool {
    error.exit().is_retryable() && error.find::<OpenError>().is_none_or(OpenError::may_pass)
}

/// Opens the database that `url` names.
pub fn open(url: &DatabaseUrl, access: Access) -> Result<Db, OpenError> {
    match &url.target {
        DatabaseTarget::Sqlite(path) => {
            if access == Access::Create && url.source == UrlSource::Default {
                create_parent(path)?;
            }
            open_sqlite(path, access).map(Db::Sqlite)
        }
        DatabaseTarget::Postgres(target) => {
            let mut postgres = open_postgres(url, target)?;
            // Waiting for locks has limits of its own.
            postgres.lift_time_limits();
            Ok(Db::Pg(postgres))
        }
    }
}

/// An empty SQLite database in memory, for a preview of `migrate` before the file exists.
pub fn open_in_memory() -> Result<Db, OpenError> {
    let opened = SqliteConnection::establish(":memory:");
    opened.map(Db::Sqlite).map_err(|error| OpenError::Sqlite {
        path: PathBuf::from(":memory:"),
        reason: error.to_string(),
    })
}

fn create_parent(path: &Path) -> Result<(), OpenError> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
    made.map_err(|source| cannot_open(parent, source))
}

fn cannot_open(path: &Path, source: io::Error) -> OpenError {
    let path = path.to_owned();
    OpenError::File { path, source }
}

pub(super) fn open_sqlite(path: &Path, access: Access) -> Result<SqliteConnection, OpenError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(OpenError::Directory(path.to_owned())),
        // Opening a named pipe would block.
        Ok(found) if !found.is_file() => return Err(OpenError::NotSqlite(path.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => match access {
            Access::Create => create_sqlite_file(path)?,
            Access::Write | Access::Read => return Err(OpenError::Missing(path.to_owned())),
        },
        Err(source) => return Err(cannot_open(path, source)),
    }
    let connect = |parameters: &str| -> Result<SqliteConnection, String> {
        let mut conn = SqliteConnection::establish(&sqlite_uri(path, parameters))
            .map_err(|error| error.to_string())?;
        let query_only = u8::from(access == Access::Read);
        // The last statement is the first that reads the file, and fails if it is not a SQLite database.
        let settings = format!(
            "PRAGMA busy_timeout = {LOCK_TIMEOUT_MS};
             PRAGMA query_only = {query_only};
             PRAGMA foreign_keys = ON;
             PRAGMA synchronous = FULL;
             PRAGMA cache_size = -12288;
             PRAGMA schema_version;"
        );
        let set = conn.batch_execute(&settings);
        set.map(|()| conn).map_err(|error| error.to_string())
    };
    let opened = match access {
        Access::Create | Access::Write => connect("mode=rw"),
        // A reader of a file in WAL mode creates files beside it. SQLite deletes them when the last connection is
        // closed, but only if that one may write. Otherwise they would stay, and shut out the application.
        Access::Read if may_write(path) => {
            connect("mode=rw").or_else(|_| connect_without_files(path, connect))
        }
        Access::Read => connect_without_files(path, connect),
    };
    let path = path.to_owned();
    opened.map_err(|reason| match reason.as_str() {
        NOT_A_DATABASE => OpenError::NotSqlite(path),
        _ => OpenError::Sqlite { path, reason },
    })
}

/// Opens a file that this user may not write, and creates no other.
fn connect_without_files<T>(
    path: &Path,
    connect: impl Fn(&str) -> Result<T, String>,
) -> Result<T, String> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    if Path::new(&wal).exists() {
        connect("mode=ro&readonly_shm=1")
    } else if is_in_wal_mode(path) {
        // No other process writes the file now, so it can be read as immutable.
        connect("mode=ro&immutable=1")
    } else {
        connect("mode=ro")
    }
}

/// Whether the header of the file requires a WAL.
fn is_in_wal_mode(path: &Path) -> bool {
    const READ_VERSION: usize = 19;
    let mut header = [0; READ_VERSION + 1];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut header));
    read.is_ok() && header[READ_VERSION] == 2
}

/// Whether this user may write the file and create others beside it.
fn may_write(path: &Path) -> bool {
    let file = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = file.parent().unwrap_or(&file);
    let check = |path: &Path, access| accessat(CWD, path, access, AtFlags::EACCESS).is_ok();
    check(&file, rustix::fs::Access::WRITE_OK)
        && check(
            directory,
            rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
        )
}

/// Creates an empty file that only its owner can read, unless it exists by now.
fn create_sqlite_file(path: &Path) -> Result<(), OpenError> {
    let made = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or(path);
            Err(OpenError::NoDirectory(directory.to_owned()))
        }
        Err(source) => Err(cannot_open(path, source)),
    }
}

/// SQLite's URI for a file; `mode=rw` never creates it.
fn sqlite_uri(path: &Path, parameters: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'.')
        .remove(b'-')
        .remove(b'_');
    // A path that begins with two slashes would be taken for the name of a host.
    let host = if path.is_absolute() { "//" } else { "" };
    let path = percent_encode(path.as_os_str().as_encoded_bytes(), KEPT);
    format!("file:{host}{path}?{parameters}")
}

fn open_postgres(url: &DatabaseUrl, target: &PostgresTarget) -> Result<Postgres, OpenError> {
    Postgres::connect(target, &url.application).map_err(|error| {
        let mut reason = match error {
            ConnectionError::BadConnection(reason) => reason,
            other => other.to_string(),
        };
        // libpq names the values that it was given, not those of the URL.
        if reason.to_lowercase().contains("ssl") || reason.contains("certificate") {
            let notes = url.notes.iter().filter(|it| it.contains("` as `ssl"));
            reason.extend(notes.map(|note| format!("\nusagectl {note}")));
        }
        OpenError::Postgres {
            target: url.target.to_string(),
            reason: one_line(&target.without_secrets(&reason)),
        }
    })
}

/// Joins the lines of libpq's message, which has a line for each address tried.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Error {
        let error = match error {
            DieselError::QueryBuilderError(cause) if cause.is::<LeaseLost>() => {
                return Error::message(Exit::Busy, cause).with_next("run the same command again");
            }
            error => error,
        };
        if error.to_string().contains(STATEMENT_POOLING) {
            let message = "a pooler in statement pooling mode is between this program and the server, and refuses \
                           transactions; nothing was changed";
            return Error::message(Exit::Refused, message).with_next(
                "set pool_mode = transaction in the pooler, or set DATABASE_URL and DIRECT_URL to the URL of the server itself",
            );
        }
        if let DieselError::DatabaseError(kind, information) = &error
            && (matches!(kind, DatabaseErrorKind::ReadOnlyTransaction)
                || information.message() == READ_ONLY_FILE)
        {
            let (message, next) = match information.message() {
                READ_ONLY_FILE => (
                    "the file or its directory is read-only",
                    "give this user the right to write both, then run the same command again",
                ),
                _ => (
                    "the server is read-only",
                    "use the URL of the primary server; if this is it, set its default_transaction_read_only to off",
                ),
            };
            return Error::new(Exit::Refused, error)
                .context(message)
                .with_next(next);
        }
        let exit = match &error {
            DieselError::DatabaseError(DatabaseErrorKind::ClosedConnection, _) => Exit::Unreachable,
            error if is_busy(error) => Exit::Busy,
            // Of SQLite, which stores any value in any column.
            DieselError::DeserializationError(_) => Exit::Untrustworthy,
            _ => Exit::Failed,
        };
        let next = match &error {
            DieselError::DeserializationError(_) => {
                "correct the value in that column, then run the same command again"
            }
            _ if exit == Exit::Unreachable => {
                "check that the server is running, then run the same command again"
            }
            _ if exit == Exit::Busy => "run the same command again",
            DieselError::DatabaseError(_, information) if is_full(information.message()) => {
                "free space on the disk of the database, then run the same command again"
            }
            _ => "usagectl status",
        };
        Error::new(exit, error).with_next(next)
    }
}

// Diesel passes on neither SQLSTATE nor SQLite's result code, and for these errors no `DatabaseErrorKind`,
// so the texts below are compared. SQLite's are never translated. A PostgreSQL server whose `lc_messages` is not
// English reports a lock timeout as a failure (exit 1, not 6), and a full disk with the general next step; only
// LOCK TABLE (`migrations::lock_tables`) is reported by code everywhere.

const NOT_A_DATABASE: &str = "file is not a database";
const MALFORMED: &str = "malformed";
const READ_ONLY_FILE: &str = "attempt to write a readonly database";
/// Followed by table and column.
const NOT_NULL: &str = "NOT NULL constraint failed: ";
/// libpq's, for a URL that requires TLS.
const NO_TLS: &str = "not compiled in";
/// PgBouncer's, for BEGIN.
const STATEMENT_POOLING: &str = "statement pooling mode";

/// Whether another session's lock or transaction caused the error.
pub(super) fn is_busy(error: &DieselError) -> bool {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => true,
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, information) => {
            ["database is locked", "lock timeout", "deadlock detected"]
                .iter()
                .any(|text| information.message().contains(text))
        }
        _ => false,
    }
}

/// Whether the server canceled the statement: by a time limit, or as a user requested.
pub(super) fn is_canceled(error: &DieselError) -> bool {
    matches!(error, DieselError::DatabaseError(DatabaseErrorKind::Unknown, information)
        if information.message().contains("canceling statement"))
}

/// The table and the required column that a row has no value for. On PostgreSQL the table may be a partition.
pub fn unfilled_column(error: &DieselError) -> Option<(&str, &str)> {
    let DieselError::DatabaseError(DatabaseErrorKind::NotNullViolation, information) = error else {
        return None;
    };
    let named = information.table_name().zip(information.column_name());
    named.or_else(|| {
        let name = information.message().strip_prefix(NOT_NULL)?;
        name.split_once('.')
    })
}

/// Whether a message is about a full disk.
pub fn is_full(message: &str) -> bool {
    message.contains("disk is full") || message.contains("No space left on device")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::cases;

    #[test]
    fn next_step_is_about_the_cause() {
        let reasons = "\
            sslmode value \"require\" invalid when SSL support is not compiled in | built with TLS
            root certificate file \"/x\" does not exist | sslrootcert
            FATAL:  database \"x\" does not exist | create the database
            FATAL:  too many connections for role \"x\" | raise the limit
            FATAL:  unsupported startup parameter: options | remove that parameter
            FATAL:  no more connections allowed (max_client_conn) | raise the limit
            FATAL:  no such database: x | create the database
            FATAL:  role \"x\" is not permitted to log in | check user
            Connection refused | check host and port";
        for [reason, expected] in cases(reasons) {
            assert!(next_step_to_connect(reason).contains(expected), "{reason}");
        }
    }

    #[test]
    fn missing_right_to_connect_has_a_statement() {
        let reason = "connection to server failed: FATAL:  permission denied for database \"Shop\"; DETAIL:  x";
        let grant = |target: &str| grant_to_connect(reason, target);
        assert_eq!(
            grant("postgresql://my%20role:***@host/Shop").as_deref(),
            Some("as a superuser, GRANT CONNECT ON DATABASE \"Shop\" TO \"my role\"")
        );
        assert_eq!(grant("postgresql://host/Shop"), None);
    }

    #[test]
    fn only_a_change_of_the_url_ends_some_failures() {
        let postgres = |reason: &str| OpenError::Postgres {
            target: String::new(),
            reason: reason.to_owned(),
        };
        let path = || PathBuf::from("x");
        let malformed = OpenError::Sqlite {
            path: path(),
            reason: "database disk image is malformed".to_owned(),
        };
        for error in [
            OpenError::Directory(path()),
            OpenError::NotSqlite(path()),
            malformed,
            postgres("sslmode value \"require\" invalid when SSL support is not compiled in"),
            postgres("invalid integer value \"x\" for connection option \"port\""),
        ] {
            assert!(!may_pass(&error.into()));
        }
        for error in [
            OpenError::Missing(path()),
            OpenError::NoDirectory(path()),
            postgres("Connection refused"),
            postgres("FATAL:  the database system is starting up"),
            postgres("could not translate host name \"db\" to address"),
            postgres("FATAL:  password authentication failed for user \"x\""),
            postgres("FATAL:  database \"x\" does not exist"),
        ] {
            assert!(may_pass(&error.into()));
        }
        assert!(may_pass(&Error::message(Exit::Busy, "database is locked")));
        assert!(!may_pass(&Error::message(Exit::Failed, "syntax error")));
    }

    #[test]
    fn database_that_cannot_be_written_is_refused() {
        for (kind, message, problem) in [
            (
                DatabaseErrorKind::Unknown,
                READ_ONLY_FILE,
                "the file or its directory",
            ),
            (
                DatabaseErrorKind::ReadOnlyTransaction,
                "en lecture seule",
                "the server",
            ),
        ] {
            let error = DieselError::DatabaseError(kind, Box::new(message.to_owned()));
            let error = Error::from(error);
            assert_eq!(error.exit(), Exit::Refused);
            let message = format!("{problem} is read-only: {message}");
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn special_characters_are_encoded_in_sqlite_uri() {
        assert_eq!(
            sqlite_uri(Path::new("/tmp/a b?c#d%.db"), "mode=rw"),
            "file:///tmp/a%20b%3Fc%23d%25.db?mode=rw"
        );
        let of = |path: &str| sqlite_uri(Path::new(path), "mode=ro");
        assert_eq!(of("//tmp/a.db"), "file:////tmp/a.db?mode=ro");
        assert_eq!(of("a.db"), "file:a.db?mode=ro");
    }
}
