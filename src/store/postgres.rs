//! A PostgreSQL connection that may be a pooler's.
//!
//! A transaction pooler (PgBouncer, as Neon, Supabase and Vercel offer it) gives each transaction whatever server
//! session is free, and the application gets the same session next. So nothing is left on a session:
//!
//! * every statement runs in a transaction, which begins with `SET LOCAL` of the search path and the lock timeout;
//! * statements are unnamed: with its cache disabled, Diesel sends parse, bind and execute as one message;
//! * temporary tables are `ON COMMIT DROP`, locks belong to a transaction.
//!
//! The one exception is Diesel's: `SET TIME ZONE` and `SET CLIENT_ENCODING` when it connects. PgBouncer tracks both
//! for each of its clients.

use diesel::connection::{
    AnsiTransactionManager as Tx, CacheSize, SimpleConnection, TransactionManager,
};
use diesel::pg::PgConnection;
use diesel::result::{ConnectionError, Error as DieselError};
use diesel::{Connection, QueryResult};

use super::db::{LOCK_TIMEOUT_MS, OWN_SCHEMA, quote_identifier};
use super::url::PostgresTarget;

pub struct Postgres {
    conn: PgConnection,
    /// The settings of every transaction.
    settings: String,
}

/// The transactions that are not savepoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Write,
    /// Read-only, with one snapshot.
    Snapshot,
}

impl Postgres {
    pub fn connect(target: &PostgresTarget) -> Result<Postgres, ConnectionError> {
        let mut conn = PgConnection::establish(target.connection_string())?;
        conn.set_prepared_statement_cache_size(CacheSize::Disabled);
        let schema = quote_identifier(&target.application_schema);
        Ok(Postgres {
            conn,
            settings: format!(
                "SET LOCAL search_path TO {schema}, {OWN_SCHEMA}; SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"
            ),
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

    fn in_transaction(&mut self) -> QueryResult<bool> {
        let status = Tx::transaction_manager_status_mut(&mut self.conn);
        Ok(status.transaction_depth()?.is_some())
    }

    /// Begins a transaction, in one round trip.
    pub fn begin(&mut self, kind: Kind) -> QueryResult<()> {
        let begin = match kind {
            Kind::Write => "BEGIN ISOLATION LEVEL READ COMMITTED",
            Kind::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        let sql = format!("{begin}; {}", self.settings);
        Tx::begin_transaction_sql(&mut self.conn, &sql)
    }

    pub fn begin_savepoint(&mut self) -> QueryResult<()> {
        Tx::begin_transaction(&mut self.conn)
    }

    /// Ends the innermost transaction or savepoint without its changes. A lost connection rolls back by itself.
    pub fn roll_back(&mut self) {
        let _ = Tx::rollback_transaction(&mut self.conn);
    }

    /// Ends the innermost transaction or savepoint: commits it if `done` is a success, else rolls it back.
    pub fn end<T, E: From<DieselError>>(&mut self, done: Result<T, E>) -> Result<T, E> {
        super::db::end_transaction(&mut self.conn, done)
    }
}
