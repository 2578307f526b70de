//! A PostgreSQL connection that may be a pooler's.
//!
//! A transaction pooler (PgBouncer, as Neon, Supabase and Vercel offer it) gives each transaction any free
//! server session, and the application gets the same session next. So nothing is left on a session:
//!
//! * every statement runs in a transaction, which begins with `SET LOCAL` of the search path and the lock timeout;
//! * statements are unnamed: with its cache disabled, Diesel sends parse, bind and execute as one message;
//! * temporary tables are `ON COMMIT DROP`, locks belong to a transaction.
//!
//! The one exception is Diesel's: `SET TIME ZONE` and `SET CLIENT_ENCODING` when it connects. PgBouncer tracks both
//! for each of its clients.

use std::fmt;
use std::fmt::Write;

use diesel::connection::{
    AnsiTransactionManager as Tx, CacheSize, SimpleConnection, TransactionManager,
};
use diesel::pg::PgConnection;
use diesel::result::{ConnectionError, Error as DieselError};
use diesel::sql_types::Integer;
use diesel::{Connection, OptionalExtension, QueryResult, RunQueryDsl, sql_query};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::db::{LOCK_TIMEOUT_MS, OWN_SCHEMA, quote_identifier};
use super::run_locks::Lease;
use super::tuples::LoadTuples;
use super::url::PostgresTarget;

pub struct Postgres {
    conn: PgConnection,
    application_schema: Box<str>,
    /// The settings of every transaction.
    settings: String,
    /// The run lock, which every transaction of the run checks.
    lease: Option<Lease>,
    /// The connection string.
    url: Box<str>,
    /// Whether no transaction has begun yet.
    is_unproven: bool,
    /// Whether to look for a time limit of transactions and lift it.
    has_transaction_limit: bool,
}

/// The URL with an option more. libpq reads `options` of the environment only if the URL has none.
fn without_time_limit(url: &str, environment: &str) -> String {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let (options, others): (Vec<&str>, Vec<&str>) =
        query.split('&').partition(|it| it.starts_with("options="));
    let given = match options.last() {
        Some(last) => (*last).to_owned(),
        None => format!(
            "options={}",
            utf8_percent_encode(environment, NON_ALPHANUMERIC)
        ),
    };
    format!(
        "{address}?{}&{given}%20-c%20statement_timeout%3D0",
        others.join("&")
    )
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Fails in a transaction, after a panic: the next run finds that the process has ended.
        let _ = self.release_lease();
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

/// The transactions that are not savepoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Write,
    /// Read-only, with one snapshot.
    Snapshot,
}

impl Postgres {
    /// The server shows `application` for the session, unless the URL or `PGAPPNAME` gives a name.
    pub fn connect(
        target: &PostgresTarget,
        application: &str,
    ) -> Result<Postgres, ConnectionError> {
        let url = format!(
            "{}&fallback_application_name={}",
            target.connection_string(),
            utf8_percent_encode(application, NON_ALPHANUMERIC)
        );
        let mut conn = PgConnection::establish(&url)?;
        conn.set_prepared_statement_cache_size(CacheSize::Disabled);
        let schema = quote_identifier(&target.application_schema);
        Ok(Postgres {
            conn,
            application_schema: target.application_schema.as_str().into(),
            // Compiling a catalogue query takes seconds, running it milliseconds.
            settings: format!(
                "SET LOCAL search_path TO {schema}, {OWN_SCHEMA}; SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; \
                 SET LOCAL jit = off; SET LOCAL standard_conforming_strings = on; \
                 SET LOCAL quote_all_identifiers = off"
            ),
            lease: None,
            url: url.into(),
            is_unproven: true,
            has_transaction_limit: false,
        })
    }

    /// Runs `work` in the current transaction, or else in one of its own.
    pub fn run<T, E: From<DieselError>>(
        &mut self,
        work: impl FnOnce(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.in_transaction()? {
            return work(&mut self.conn);
        }
        self.begin(Kind::Write)?;
        let done = work(&mut self.conn);
        self.end(done)
    }

    pub fn batch_execute(&mut self, sql: &str) -> QueryResult<()> {
        self.run(|conn| conn.batch_execute(sql))
    }

    /// Lifts the time limits of the role and the database for every transaction from now on.
    pub fn lift_time_limits(&mut self) {
        // Sent with BEGIN: a query of its own may exceed the limit.
        self.settings.push_str(
            "; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0",
        );
        self.has_transaction_limit = true;
    }

    /// Lifts the limit of the transaction, which is new in PostgreSQL 17, in this transaction and the later ones.
    fn lift_transaction_limit(&mut self) -> QueryResult<()> {
        // Unlike a query this takes no snapshot, after which the isolation level could not be set.
        let version: String = sql_query("SHOW server_version_num").row(&mut self.conn)?;
        if version.parse().is_ok_and(|version: u32| version >= 170_000) {
            let limit = "SET LOCAL transaction_timeout = 0";
            self.conn.batch_execute(limit)?;
            self.settings.push_str("; ");
            self.settings.push_str(limit);
        }
        Ok(())
    }

    pub(super) fn application_schema(&self) -> &str {
        &self.application_schema
    }

    /// The connection string, with its password.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The server's process of this session; behind a pooler, of this transaction.
    pub fn server_process(&mut self) -> QueryResult<i32> {
        self.run(|conn| sql_query("SELECT pg_backend_pid()").row(conn))
    }

    /// Cancels the statement that another process of the server runs; false if it runs none.
    pub fn cancel(&mut self, pid: i32) -> QueryResult<bool> {
        let was_active = self.run(|conn| {
            sql_query(
                "SELECT state = 'active' AND pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = $1",
            )
            .bind::<Integer, _>(pid)
            .row(conn)
            .optional()
        })?;
        Ok(was_active.unwrap_or(false))
    }

    /// Another connection, without the role's time limit of statements, which nothing else lifts outside a transaction
    /// without a trace in the session. A pooler may refuse it.
    pub fn connect_without_time_limit(&self) -> Result<PgConnection, ConnectionError> {
        let options = std::env::var("PGOPTIONS").unwrap_or_default();
        PgConnection::establish(&without_time_limit(&self.url, &options))
    }

    /// Runs `work` without a transaction: it saves two round trips, and `CREATE INDEX CONCURRENTLY` requires it.
    /// Names must be qualified, and behind a pooler each statement may get another session.
    pub fn outside_transaction<T, E: From<DieselError>>(
        &mut self,
        work: impl FnOnce(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.in_transaction()? {
            return Err(DieselError::AlreadyInTransaction.into());
        }
        work(&mut self.conn)
    }

    /// Makes every transaction from now on check this lease.
    pub fn set_lease(&mut self, lease: Lease) {
        self.lease = Some(lease);
    }

    /// Releases the lease; transactions no longer check it.
    pub fn release_lease(&mut self) -> QueryResult<()> {
        match self.lease.take() {
            Some(lease) => lease.release(&mut self.conn),
            None => Ok(()),
        }
    }

    fn in_transaction(&mut self) -> QueryResult<bool> {
        let status = Tx::transaction_manager_status_mut(&mut self.conn);
        let depth = status.transaction_depth();
        Ok(depth.map_err(|error| self.explained(error))?.is_some())
    }

    /// The error of the first transaction as the server or the pooler gives it. A pooler in statement pooling mode closes
    /// the connection when a transaction begins, and of a batch of statements libpq keeps only the last error.
    fn explained(&self, error: DieselError) -> DieselError {
        if !self.is_unproven {
            return error;
        }
        let Ok(mut again) = PgConnection::establish(&self.url) else {
            return error;
        };
        sql_query("BEGIN")
            .execute(&mut again)
            .err()
            .unwrap_or(error)
    }

    /// Begins a transaction, in one round trip, and checks the lease.
    pub fn begin(&mut self, kind: Kind) -> QueryResult<()> {
        let begin = match kind {
            Kind::Write => "BEGIN ISOLATION LEVEL READ COMMITTED",
            // It may renew the lease.
            Kind::Snapshot if self.lease.is_some() => "BEGIN ISOLATION LEVEL REPEATABLE READ",
            Kind::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        let mut sql = format!("{begin}; {}", self.settings);
        if let Some(lease) = &self.lease {
            let _ = write!(sql, "; {}", lease.lock_statement());
        }
        let begun = Tx::begin_transaction_sql(&mut self.conn, &sql);
        begun.map_err(|error| self.explained(error))?;
        self.is_unproven = false;
        if std::mem::take(&mut self.has_transaction_limit)
            && let Err(error) = self.lift_transaction_limit()
        {
            self.roll_back();
            return Err(error);
        }
        let Some(lease) = &mut self.lease else {
            return Ok(());
        };
        let checked = lease.check(&mut self.conn);
        if checked.is_err() {
            self.roll_back();
        }
        checked
    }

    /// Begins a savepoint, or a transaction if there is none.
    pub fn begin_savepoint(&mut self) -> QueryResult<()> {
        if self.in_transaction()? {
            Tx::begin_transaction(&mut self.conn)
        } else {
            self.begin(Kind::Write)
        }
    }

    /// Ends the innermost transaction or savepoint without its changes. A lost connection rolls back by itself.
    pub fn roll_back(&mut self) {
        let _ = Tx::rollback_transaction(&mut self.conn);
    }

    /// Ends the innermost transaction or savepoint: commits it if `done` is a success, else rolls it back.
    pub fn end<T, E: From<DieselError>>(&mut self, done: Result<T, E>) -> Result<T, E> {
        let renewed = match &mut self.lease {
            Some(lease) if done.is_ok() => lease.renew_if_due(&mut self.conn),
            _ => Ok(()),
        };
        let done = done.and_then(|value| Ok(renewed.map(|()| value)?));
        super::db::end_transaction(&mut self.conn, done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_url_or_the_environment_are_kept() {
        let limit = "%20-c%20statement_timeout%3D0";
        let of = without_time_limit;
        assert_eq!(
            of("postgresql://h/d?a=b&options=%2Dc%20role%3Dx&c=d", "-c y=z"),
            format!("postgresql://h/d?a=b&c=d&options=%2Dc%20role%3Dx{limit}")
        );
        assert_eq!(
            of("postgresql://h/d?a=b", "-c y=z"),
            format!("postgresql://h/d?a=b&options=%2Dc%20y%3Dz{limit}")
        );
    }
}
