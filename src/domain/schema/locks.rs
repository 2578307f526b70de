//! The locks that the steps of a migration take, and their work on existing tables, derived from the statements.
//!
//! A test compares the locks with those that PostgreSQL reports. SQLite has one lock, for writing the database;
//! readers continue.

use serde::Serialize;

use super::dialect::Dialect;
use super::script::{Statement, Token, tokens_of};
use crate::domain::named::named;

named! {
    /// PostgreSQL's modes by their names in its manual, from weak to strong.
    Lock, "lock" {
        None = "none",
        AccessShare = "ACCESS SHARE",
        RowExclusive = "ROW EXCLUSIVE",
        ShareUpdateExclusive = "SHARE UPDATE EXCLUSIVE",
        Share = "SHARE",
        ShareRowExclusive = "SHARE ROW EXCLUSIVE",
        AccessExclusive = "ACCESS EXCLUSIVE",
        /// SQLite's.
        DatabaseWrite = "database write",
    }
}

named! {
    Work, "work" {
        /// Changes the catalogue only.
        Metadata = "metadata",
        /// Adds rows; existing ones are neither read nor changed.
        Insert = "insert",
        /// Reads the table, to check, mark or update some rows.
        Scan = "scan",
        /// Reads the table and sorts an index.
        IndexBuild = "index build",
        /// Writes all rows again.
        Rewrite = "rewrite",
    }
}

/// The use of a table by a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub table: String,
    pub lock: Lock,
    pub work: Work,
}

/// The estimated size of a table; unknown parts are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableSize {
    pub rows: Option<i64>,
    pub bytes: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepEstimate {
    /// From 1.
    pub number: usize,
    /// Empty for the only step of a migration.
    pub title: String,
    /// The strongest lock on an existing table.
    pub lock: Lock,
    /// Rows of each transaction, if the step is divided into several.
    pub transaction_rows: Option<u64>,
    /// Nothing if the rows of a table are unknown.
    pub duration_ms: Option<i64>,
    /// The existing tables that it uses.
    pub tables: Vec<TableEstimate>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableEstimate {
    pub table: String,
    pub lock: Lock,
    pub work: Work,
    pub rows: Option<i64>,
    pub bytes: Option<i64>,
    pub duration_ms: Option<i64>,
}

impl StepEstimate {
    /// A step that uses no table yet.
    pub fn new(
        number: usize,
        title: &str,
        transaction_rows: Option<u64>,
        dialect: Dialect,
    ) -> StepEstimate {
        StepEstimate {
            number,
            title: title.to_owned(),
            // The step writes its log row.
            lock: dialect.lock(Lock::None),
            transaction_rows,
            duration_ms: Some(0),
            tables: Vec::new(),
        }
    }

    /// Adds the use of an existing table. Of several uses the strongest lock and the heaviest work count.
    pub fn add(&mut self, access: Access, size: TableSize, dialect: Dialect) {
        let Access { table, lock, work } = access;
        self.lock = self.lock.max(lock);
        match self.tables.iter_mut().find(|it| it.table == table) {
            Some(known) => {
                known.lock = known.lock.max(lock);
                known.work = known.work.max(work);
            }
            None => self.tables.push(TableEstimate {
                table,
                lock,
                work,
                rows: size.rows,
                bytes: size.bytes,
                duration_ms: None,
            }),
        }
        for it in &mut self.tables {
            it.duration_ms = dialect.duration_ms(it.work, it.rows);
        }
        self.duration_ms = self.tables.iter().map(|it| it.duration_ms).sum();
    }
}

impl Dialect {
    fn lock(self, postgres: Lock) -> Lock {
        match self {
            Dialect::Postgres => postgres,
            Dialect::Sqlite => Lock::DatabaseWrite,
        }
    }

    /// The CPU time of the work, by the measurements in `docs/json.md`: on a table of 500,000 rows with three indexes.
    fn duration_ms(self, work: Work, rows: Option<i64>) -> Option<i64> {
        let ns_per_row = match (work, self) {
            (Work::Metadata | Work::Insert, _) => return Some(0),
            (Work::Scan, Dialect::Postgres) => 600,
            (Work::Scan, Dialect::Sqlite) => 1_000,
            (Work::IndexBuild, Dialect::Postgres) => 4_500,
            (Work::IndexBuild, Dialect::Sqlite) => 1_500,
            (Work::Rewrite, Dialect::Postgres) => 7_000,
            (Work::Rewrite, Dialect::Sqlite) => 18_000,
        };
        Some(rows?.saturating_mul(ns_per_row) / 1_000_000)
    }
}

/// The tables that a statement uses; also names that are no tables, and tables that it creates. Statements that only
/// create a table, type or function use none. `ALTER INDEX` locks the index only.
pub fn accesses(statement: &Statement<'_>, dialect: Dialect) -> Vec<Access> {
    let tokens: Vec<Token<'_>> = tokens_of(statement.sql).collect();
    let words: Vec<String> = tokens.iter().map(|it| it.text.to_uppercase()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let at = |index: usize| match words.get(index + 1) {
        Some(&".") => tokens.get(index + 2),
        _ => tokens.get(index),
    };
    let has = |word: &str| words.contains(&word);
    let after = |word: &str| at(words.iter().position(|it| *it == word)? + 1).map(Token::name);
    let concurrent = |lock: Lock| match has("CONCURRENTLY") {
        true => Lock::ShareUpdateExclusive,
        false => lock,
    };
    let sqlite = dialect == Dialect::Sqlite;
    let (table, lock, work) = match words[..] {
        ["CREATE", "TRIGGER", ..] => (after("ON"), Lock::ShareRowExclusive, Work::Metadata),
        ["CREATE", "INDEX", ..] | ["CREATE", "UNIQUE", "INDEX", ..] => {
            (after("ON"), concurrent(Lock::Share), Work::IndexBuild)
        }
        ["DROP", "INDEX", ..] => {
            let table = statement.index.as_ref().and_then(|it| it.table());
            let table = table.map(str::to_owned);
            (table, concurrent(Lock::AccessExclusive), Work::Metadata)
        }
        ["DROP", "TRIGGER", ..] => (after("ON"), Lock::AccessExclusive, Work::Metadata),
        // SQLite frees each page.
        ["DROP", "TABLE", ..] if sqlite => (after("TABLE"), Lock::AccessExclusive, Work::Scan),
        ["DROP", "TABLE", ..] => (after("TABLE"), Lock::AccessExclusive, Work::Metadata),
        ["ALTER", "TABLE", ..] => {
            let work = alter_work(&words, dialect);
            (after("TABLE"), Lock::AccessExclusive, work)
        }
        ["UPDATE", ..] => (after("UPDATE"), Lock::RowExclusive, Work::Scan),
        ["DELETE", "FROM", ..] => (after("FROM"), Lock::RowExclusive, Work::Scan),
        ["INSERT", "INTO", ..] => (after("INTO"), Lock::RowExclusive, Work::Insert),
        ["SELECT", ..] => (None, Lock::None, Work::Metadata),
        _ => return Vec::new(),
    };
    let mut used: Vec<_> = table.map(|table| (table, lock, work)).into_iter().collect();
    if matches!(words[0], "UPDATE" | "DELETE" | "INSERT" | "SELECT") {
        // `{columns of ...}` copies a table that SQLite cannot change in place.
        let work = match sqlite && statement.sql.contains("{columns of ") {
            true => Work::Rewrite,
            false => Work::Scan,
        };
        for index in
            (1..words.len()).filter(|index| matches!(words[index - 1], "FROM" | "JOIN" | ","))
        {
            used.extend(at(index).map(|table| (table.name(), Lock::AccessShare, work)));
        }
    }
    let access = |(table, lock, work)| Access {
        table,
        lock: dialect.lock(lock),
        work,
    };
    used.into_iter().map(access).collect()
}

/// The work of `ALTER TABLE`; of a form that no migration has, the heaviest.
fn alter_work(words: &[&str], dialect: Dialect) -> Work {
    let calls_function = words
        .windows(3)
        .any(|it| it[0] == "DEFAULT" && it[2] == "(");
    let action = words
        .iter()
        .find(|it| matches!(**it, "ADD" | "DROP" | "RENAME"));
    match (action, dialect) {
        (None, _) if words.contains(&"REPLICA") => Work::Metadata,
        (Some(&"RENAME"), _) | (Some(&"DROP"), Dialect::Postgres) => Work::Metadata,
        (Some(&"ADD"), _) if calls_function => Work::Rewrite,
        // Checked for the existing rows.
        (Some(&"ADD"), _) if words.contains(&"CHECK") => Work::Scan,
        (Some(&"ADD"), _) if words.contains(&"COLUMN") => Work::Metadata,
        _ => Work::Rewrite,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::named::Named;
    use crate::domain::schema::script;

    /// A statement; table, lock and work on PostgreSQL; the work on SQLite.
    const STATEMENTS: &str = "
        CREATE TABLE t (x TEXT) | |
        CREATE TYPE e AS ENUM ('A') | |
        ALTER TYPE e ADD VALUE 'B' | |
        CREATE OR REPLACE FUNCTION f() AS $$ UPDATE t $$ | |
        ALTER INDEX i RENAME TO j | |
        CREATE INDEX i ON s.\"t\" (a) | t: SHARE, index build | index build
        CREATE UNIQUE INDEX CONCURRENTLY i ON t (a) | t: SHARE UPDATE EXCLUSIVE, index build | index build
        CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM u; END | t: SHARE ROW EXCLUSIVE, metadata | metadata
        DROP TRIGGER r ON t | t: ACCESS EXCLUSIVE, metadata | metadata
        DROP TABLE s.t | t: ACCESS EXCLUSIVE, metadata | scan
        ALTER TABLE t ADD COLUMN a TEXT DEFAULT 'GET', ADD COLUMN b TEXT | t: ACCESS EXCLUSIVE, metadata | metadata
        ALTER TABLE t ADD COLUMN a TEXT CHECK (a > '') | t: ACCESS EXCLUSIVE, scan | scan
        ALTER TABLE t ADD COLUMN a TEXT DEFAULT f() | t: ACCESS EXCLUSIVE, rewrite | rewrite
        ALTER TABLE t DROP COLUMN a | t: ACCESS EXCLUSIVE, metadata | rewrite
        ALTER TABLE t RENAME TO u | t: ACCESS EXCLUSIVE, metadata | metadata
        ALTER TABLE t REPLICA IDENTITY FULL | t: ACCESS EXCLUSIVE, metadata | metadata
        ALTER TABLE t ALTER COLUMN a TYPE BIGINT | t: ACCESS EXCLUSIVE, rewrite | rewrite
        UPDATE s.t SET a = 1 | t: ROW EXCLUSIVE, scan | scan
        INSERT INTO t SELECT a FROM u | t: ROW EXCLUSIVE, insert; u: ACCESS SHARE, scan | insert; scan
        INSERT INTO n SELECT {columns of t without a} FROM t | n: ROW EXCLUSIVE, insert; t: ACCESS SHARE, scan | insert; rewrite";

    fn uses(sql: &str, dialect: Dialect) -> Vec<Access> {
        accesses(&script::parse(sql)[0].statements[0], dialect)
    }

    #[test]
    fn lock_and_work_follow_from_the_statement() {
        for line in STATEMENTS.trim().lines() {
            let [sql, postgres, sqlite] = line.split('|').map(str::trim).collect::<Vec<_>>()[..]
            else {
                panic!("{line}");
            };
            let found = uses(sql, Dialect::Postgres);
            let found = found
                .iter()
                .map(|it| format!("{}: {}, {}", it.table, it.lock, it.work));
            assert_eq!(found.collect::<Vec<_>>().join("; "), postgres, "{sql}");
            let found = uses(sql, Dialect::Sqlite);
            assert!(
                found.iter().all(|it| it.lock == Lock::DatabaseWrite),
                "{sql}"
            );
            let works: Vec<&str> = found.iter().map(|it| it.work.as_str()).collect();
            assert_eq!(works.join("; "), sqlite, "{sql}");
        }
        for (sql, lock) in [
            ("-- index: t (a)\nDROP INDEX i", Lock::AccessExclusive),
            (
                "-- index: t (a)\nDROP INDEX CONCURRENTLY i",
                Lock::ShareUpdateExclusive,
            ),
        ] {
            let [index] = &uses(sql, Dialect::Postgres)[..] else {
                panic!("{sql}");
            };
            let Access {
                table,
                lock: found,
                work,
            } = index;
            assert_eq!((table.as_str(), *found, *work), ("t", lock, Work::Metadata));
        }
    }

    #[test]
    fn step_has_strongest_lock_and_heaviest_work_of_each_table() {
        let access = |table: &str, lock, work| Access {
            table: table.to_owned(),
            lock,
            work,
        };
        let size = TableSize {
            rows: Some(1_000_000),
            bytes: None,
        };
        let dialect = Dialect::Postgres;
        let mut step = StepEstimate::new(1, "", None, dialect);
        assert_eq!((step.lock, step.duration_ms), (Lock::None, Some(0)));
        step.add(access("t", Lock::AccessShare, Work::Scan), size, dialect);
        let exclusive = access("t", Lock::AccessExclusive, Work::Metadata);
        step.add(exclusive, size, dialect);
        assert_eq!(step.tables.len(), 1);
        assert_eq!(
            (step.tables[0].lock, step.tables[0].work),
            (Lock::AccessExclusive, Work::Scan)
        );
        assert_eq!(step.duration_ms, Some(600));
        let unknown = TableSize::default();
        step.add(
            access("u", Lock::AccessShare, Work::Metadata),
            unknown,
            dialect,
        );
        assert_eq!(step.duration_ms, Some(600));
        step.add(access("v", Lock::AccessShare, Work::Scan), unknown, dialect);
        assert_eq!(step.duration_ms, None);
        assert_eq!(step.lock, Lock::AccessExclusive);
        assert_eq!(
            StepEstimate::new(1, "", None, Dialect::Sqlite).lock,
            Lock::DatabaseWrite
        );
    }
}
