//! The two engines, and everything in which they differ.
//!
//! [`Db`] is one connection to either. An ordinary query is written once, inside `on!`, as ordinary
//! Diesel; it is compiled for both. What truly differs stands in this file as explicit arms: opening
//! with its pragmas and session settings, and the transaction that is going to write. (The bulk load
//! and streaming reads are in `store::usage`, the run lock in `store::lock`.)
//!
//! Not `diesel::MultiConnection`: it refuses batch inserts, every `ON CONFLICT`, COPY and immediate
//! transactions, and a failed PostgreSQL connection is silently tried as a SQLite file name.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::pg::PgConnection;
use diesel::result::{ConnectionError, DatabaseErrorKind, Error as DieselError};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, QueryResult};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::url::{DatabaseTarget, DatabaseUrl, PostgresTarget, UrlSource};
use crate::error::{Error, Exit, shell_word};

/// The PostgreSQL schema of everything that is ours.
pub const OWN_SCHEMA: &str = "usagectl";

/// How long a statement waits for a table that another session locks, or for another writer of a
/// SQLite file, before the command ends as busy.
///
/// Longer than the transactions of `record` and `aggregate`, which are cut to about a second.
pub const LOCK_TIMEOUT_MS: u32 = 15_000;

/// One open connection.
pub enum Db {
    /// PostgreSQL, its search path set to the application's schema and then ours.
    Pg(PgConnection),
    Sqlite(SqliteConnection),
}

/// Runs one body on whichever engine `$db` (a `&mut Db`) is connected to; `$conn` is the connection.
///
/// The body is compiled twice, so it must be valid for both: ordinary Diesel is.
macro_rules! on {
    ($db:expr, |$conn:ident| $body:expr) => {
        match $db {
            $crate::store::db::Db::Pg($conn) => $body,
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
    /// The engine's name, as JSON and messages spell it.
    pub fn engine(&self) -> &'static str {
        match self {
            Db::Pg(_) => "postgresql",
            Db::Sqlite(_) => "sqlite",
        }
    }

    /// Runs statements that take no values.
    pub fn batch_execute(&mut self, sql: &str) -> QueryResult<()> {
        on!(self, |conn| conn.batch_execute(sql))
    }

    /// Runs `work` in one transaction: committed if it succeeds, rolled back if it fails.
    ///
    /// On SQLite the transaction begins IMMEDIATE. A deferred one that reads first and writes later
    /// fails at once, without any waiting, when another writer came between.
    pub fn write_tx<T, E: From<DieselError>>(
        &mut self,
        work: impl FnOnce(&mut Db) -> Result<T, E>,
    ) -> Result<T, E> {
        match self {
            Db::Pg(conn) => AnsiTransactionManager::begin_transaction(conn)?,
            Db::Sqlite(conn) => {
                AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN IMMEDIATE")?
            }
        }
        self.finish_tx(work)
    }

    /// Runs `work` in one transaction whose reads all see the same instant of the database.
    pub fn read_tx<T, E: From<DieselError>>(
        &mut self,
        work: impl FnOnce(&mut Db) -> Result<T, E>,
    ) -> Result<T, E> {
        match self {
            Db::Pg(conn) => AnsiTransactionManager::begin_transaction_sql(
                conn,
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            )?,
            Db::Sqlite(conn) => {
                AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN DEFERRED")?
            }
        }
        self.finish_tx(work)
    }

    /// Runs `work` so that it can fail without taking the transaction around it along.
    pub fn savepoint<T, E: From<DieselError>>(
        &mut self,
        work: impl FnOnce(&mut Db) -> Result<T, E>,
    ) -> Result<T, E> {
        on!(self, |conn| AnsiTransactionManager::begin_transaction(conn))?;
        self.finish_tx(work)
    }

    fn finish_tx<T, E: From<DieselError>>(
        &mut self,
        work: impl FnOnce(&mut Db) -> Result<T, E>,
    ) -> Result<T, E> {
        match work(self) {
            Ok(value) => {
                on!(self, |conn| AnsiTransactionManager::commit_transaction(
                    conn
                ))?;
                Ok(value)
            }
            Err(error) => {
                // The first error is the one to report; a connection that is gone rolls back by itself.
                let _ = on!(self, |conn| AnsiTransactionManager::rollback_transaction(
                    conn
                ));
                Err(error)
            }
        }
    }
}

/// What a command is going to do with the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Make the SQLite file if it is missing: `migrate` only.
    Create,
    /// Read and write what is there.
    Write,
    /// Read only; a SQLite file is opened so that nothing can be written.
    Read,
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such SQLite file.
    #[error("there is no database at {}", .0.display())]
    Missing(PathBuf),
    /// The path is a directory.
    #[error("{} is a directory, not a SQLite file", .0.display())]
    Directory(PathBuf),
    /// The file is not a SQLite database.
    #[error("{} is not a SQLite database", .0.display())]
    NotSqlite(PathBuf),
    /// There is no directory to make the file in.
    #[error("there is no directory {}", .0.display())]
    NoDirectory(PathBuf),
    /// The file system says no.
    #[error("cannot open {}", path.display())]
    File {
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// SQLite says no.
    #[error("cannot open {}: {reason}", path.display())]
    Sqlite { path: PathBuf, reason: String },
    /// PostgreSQL cannot be reached or does not let us in.
    #[error("cannot connect to {target}: {reason}")]
    Postgres {
        /// The URL, its password masked.
        target: String,
        /// libpq's message, on one line.
        reason: String,
    },
}

impl OpenError {
    /// What to do about it.
    fn cure(&self) -> String {
        let cure = match self {
            OpenError::Missing(_) => "usagectl migrate",
            OpenError::Directory(_) | OpenError::NotSqlite(_) => {
                "name another file: usagectl --database-url sqlite:PATH"
            }
            OpenError::NoDirectory(path) => {
                return format!("mkdir -p {}", shell_word(&path.display().to_string()));
            }
            OpenError::Sqlite { path, reason } if reason.contains("malformed") => {
                let path = shell_word(&path.display().to_string());
                return format!(
                    "restore a backup, or save what can be read: sqlite3 {path} .recover"
                );
            }
            OpenError::File { .. } | OpenError::Sqlite { .. } => {
                "check the path and who may read and write it"
            }
            OpenError::Postgres { reason, .. } => postgres_cure(reason),
        };
        cure.to_owned()
    }
}

fn postgres_cure(reason: &str) -> &'static str {
    // libpq gives no code before there is a connection; these are its words and the server's.
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if says(&["password", "authentication", "pg_hba.conf"]) {
        "check user and password in the URL, or set PGPASSWORD"
    } else if says(&["does not exist"]) {
        "create the database and its role, or correct the URL"
    } else if says(&["query parameter", "invalid sslmode value"]) {
        "correct or remove that parameter of the URL"
    } else if says(&["SSL", "certificate"]) {
        "check sslmode and sslrootcert in the URL"
    } else {
        "check host and port, and that the server accepts connections"
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Error {
        let cure = error.cure();
        Error::new(Exit::Unreachable, error).with_next(cure)
    }
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
        DatabaseTarget::Postgres(target) => open_postgres(target).map(Db::Pg),
    }
}

/// An empty SQLite database in memory: what `migrate` would start from where there is no file yet.
pub fn open_nothing() -> Result<Db, OpenError> {
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
    made.map_err(|source| OpenError::File {
        path: parent.to_owned(),
        source,
    })
}

fn open_sqlite(path: &Path, access: Access) -> Result<SqliteConnection, OpenError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(OpenError::Directory(path.to_owned())),
        // A pipe would keep us waiting for ever.
        Ok(found) if !found.is_file() => return Err(OpenError::NotSqlite(path.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => match access {
            Access::Create => create_sqlite_file(path)?,
            Access::Write | Access::Read => return Err(OpenError::Missing(path.to_owned())),
        },
        Err(source) => {
            return Err(OpenError::File {
                path: path.to_owned(),
                source,
            });
        }
    }
    let connect = |parameters: &str| -> Result<SqliteConnection, String> {
        let mut conn = SqliteConnection::establish(&sqlite_uri(path, parameters))
            .map_err(|error| error.to_string())?;
        // The last statement is the first that touches the file: it tells whether it is one of SQLite's.
        let settings = format!(
            "PRAGMA busy_timeout = {LOCK_TIMEOUT_MS};
             PRAGMA foreign_keys = ON;
             PRAGMA synchronous = FULL;
             PRAGMA cache_size = -12288;
             PRAGMA schema_version;"
        );
        let set = conn.batch_execute(&settings);
        set.map(|()| conn).map_err(|error| error.to_string())
    };
    let opened = if access == Access::Read {
        connect("mode=ro").or_else(|reason| {
            // Reading a file in WAL mode means writing beside it, unless a writer is there already.
            // Where we may not and nobody is, the file does not change, and reads as it stands.
            let mut wal = path.as_os_str().to_owned();
            wal.push("-wal");
            let may_not = reason.contains("readonly") || reason.contains("unable to open");
            match may_not && !Path::new(&wal).exists() {
                true => connect("mode=ro&immutable=1").map_err(|_| reason),
                false => Err(reason),
            }
        })
    } else {
        connect("mode=rw")
    };
    opened.map_err(|reason| match reason.contains("not a database") {
        true => OpenError::NotSqlite(path.to_owned()),
        false => OpenError::Sqlite {
            path: path.to_owned(),
            reason,
        },
    })
}

/// Makes an empty file that only its owner may read, unless another run was quicker.
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
        Err(source) => Err(OpenError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

/// SQLite's own URI for a file: `mode=rw` opens and never creates, whatever happens in between.
fn sqlite_uri(path: &Path, parameters: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'.')
        .remove(b'-')
        .remove(b'_');
    let path = percent_encode(path.as_os_str().as_encoded_bytes(), KEPT);
    format!("file:{path}?{parameters}")
}

fn open_postgres(target: &PostgresTarget) -> Result<PgConnection, OpenError> {
    let failed = |reason: String| OpenError::Postgres {
        target: DatabaseTarget::Postgres(target.clone()).to_string(),
        reason: one_line(&target.without_secrets(&reason)),
    };
    // Diesel sets the session's time zone to UTC and its encoding to UTF-8.
    let mut conn =
        PgConnection::establish(target.connection_string()).map_err(|error| match error {
            ConnectionError::BadConnection(reason) => failed(reason),
            other => failed(other.to_string()),
        })?;
    let settings = format!(
        "SET search_path TO {}, {OWN_SCHEMA}; SET lock_timeout = {LOCK_TIMEOUT_MS}",
        quote_identifier(&target.application_schema)
    );
    conn.batch_execute(&settings)
        .map_err(|error| failed(error.to_string()))?;
    Ok(conn)
}

/// Quotes a name for SQL, on either engine.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// libpq says each attempt on a line of its own, and explains it on the next.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Error {
        let exit = match &error {
            DieselError::DatabaseError(DatabaseErrorKind::ClosedConnection, _) => Exit::Unreachable,
            DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => Exit::Busy,
            DieselError::DatabaseError(_, information)
                if is_lock_message(information.message()) =>
            {
                Exit::Busy
            }
            _ => Exit::Failed,
        };
        let next = match exit {
            Exit::Unreachable => "check that the server is up, then run the same command again",
            Exit::Busy => "run the same command again",
            _ if error.to_string().contains("permission denied") => {
                "let the owner GRANT USAGE ON SCHEMA usagectl, and SELECT or more on its tables, to this role"
            }
            _ => "usagectl status",
        };
        Error::new(exit, error).with_next(next)
    }
}

/// Diesel hands on neither SQLSTATE nor SQLite's result code, only the text.
pub(super) fn is_lock_message(message: &str) -> bool {
    message.contains("database is locked")
        || message.contains("lock timeout")
        || message.contains("deadlock detected")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_special_characters_stays_one_path_in_sqlites_uri() {
        assert_eq!(
            sqlite_uri(Path::new("/tmp/a b?c#d%.db"), "mode=rw"),
            "file:/tmp/a%20b%3Fc%23d%25.db?mode=rw"
        );
    }

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(quote_identifier(r#"we"ird"#), r#""we""ird""#);
    }
}
