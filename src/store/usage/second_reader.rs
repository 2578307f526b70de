//! A second connection to a SQLite file, which reads half of a large scan at the same time.

use std::fmt;
use std::path::Path;
use std::thread;

use diesel::connection::AnsiTransactionManager as Tx;
use diesel::sql_query;

use crate::store::db::{self, Access};
use crate::store::prelude::*;

pub struct SecondReader {
    conn: SqliteConnection,
    /// SQLite's number for the state of the file as this connection last saw it.
    state: i64,
}

impl fmt::Debug for SecondReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecondReader").field(&self.state).finish()
    }
}

impl SecondReader {
    /// `None` where it cannot help: on PostgreSQL, for a database in memory, with one processor, and without a WAL, where
    /// a waiting writer keeps a second reader out.
    pub fn open(db: &mut Db) -> Option<SecondReader> {
        let Db::Sqlite(conn) = db else { return None };
        let journal: String = sql_query("PRAGMA journal_mode").row(conn).ok()?;
        Some(journal).filter(|journal| journal == "wal")?;
        thread::available_parallelism()
            .ok()
            .filter(|it| it.get() > 1)?;
        let file = sql_query("SELECT file FROM pragma_database_list WHERE name = 'main'");
        let file: String = file.row(conn).ok()?;
        let path = Some(Path::new(&file)).filter(|path| path.is_absolute())?;
        let conn = db::open_sqlite(path, Access::Read).ok()?;
        Some(SecondReader { conn, state: 0 })
    }

    /// Notes the state of the file, before the transaction begins whose snapshot it is to share.
    pub fn note_state(&mut self) -> QueryResult<()> {
        self.state = self.current_state()?;
        Ok(())
    }

    /// Runs `work` in a transaction with the snapshot of those that began since [`Self::note_state`]. `None` if
    /// something was committed since, so that the snapshots may differ.
    pub(super) fn shared<T>(
        &mut self,
        work: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
    ) -> QueryResult<Option<T>> {
        Tx::begin_transaction_sql(&mut self.conn, "BEGIN DEFERRED")?;
        let done = self.current_state().and_then(|state| {
            let is_same = state == self.state;
            is_same.then(|| work(&mut self.conn)).transpose()
        });
        db::end_transaction(&mut self.conn, done)
    }

    fn current_state(&mut self) -> QueryResult<i64> {
        sql_query("PRAGMA data_version").row(&mut self.conn)
    }
}
