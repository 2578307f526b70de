//! Text of SQLite that is not UTF-8: SQLite stores any bytes in any column, and copies them with the triggers.

use diesel::sql_types::{BigInt, Text};

use super::db::quote_identifier;
use super::prelude::*;

/// The most rows that are named at once, and those that are read at a time.
const NAMED: usize = 20;
const PAGE: i64 = 10_000;

/// The rows of a table that have such text in a column.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unreadable {
    pub table: String,
    /// `rowid = 5`.
    pub condition: String,
    /// The statement after which the rows can be read: their text becomes its hexadecimal form. Marks of ours, which
    /// that statement writes again, are deleted.
    pub fix: String,
}

/// The first such rows of each table that has the column.
pub fn find(db: &mut Db, column: &str) -> QueryResult<Vec<Unreadable>> {
    let Db::Sqlite(conn) = db else {
        return Ok(Vec::new());
    };
    let tables = diesel::sql_query(
        "SELECT m.name, m.sql NOT LIKE '%WITHOUT ROWID%', m.name LIKE 'usagectl\\_%' ESCAPE '\\' AS is_ours
         FROM sqlite_master m, pragma_table_info(m.name) c
         WHERE m.type = 'table' AND c.name = ?1 ORDER BY is_ours, m.name",
    );
    let tables: Vec<(String, bool, bool)> = tables.bind::<Text, _>(column).rows(conn)?;
    let mut found = Vec::new();
    for (table, has_rowid, is_ours) in tables {
        let (name, text) = (quote_identifier(&table), quote_identifier(column));
        let key = if has_rowid { "rowid" } else { "0" };
        let query = format!(
            "SELECT {key}, CAST({text} AS BLOB) FROM {name}
             WHERE typeof({text}) = 'text' AND (NOT {has_rowid} OR {key} > ?1) ORDER BY 1 LIMIT ?2"
        );
        let (mut after, mut values) = (i64::MIN, Vec::new());
        let most = if has_rowid { PAGE } else { -1 };
        loop {
            let page = diesel::sql_query(&query)
                .bind::<BigInt, _>(after)
                .bind::<BigInt, _>(most);
            let page: Vec<(i64, Vec<u8>)> = page.rows(conn)?;
            let invalid = page
                .iter()
                .filter(|(_, bytes)| str::from_utf8(bytes).is_err());
            values.extend(invalid.map(|(rowid, bytes)| match has_rowid {
                true => rowid.to_string(),
                false => {
                    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
                    format!("CAST(x'{}' AS TEXT)", digits.collect::<String>())
                }
            }));
            match page.last() {
                Some((last, _)) if has_rowid && values.len() < NAMED => after = *last,
                _ => break,
            }
        }
        values.dedup();
        values.truncate(NAMED);
        let key = if has_rowid { "rowid" } else { &text };
        let condition = match values.as_slice() {
            [] => continue,
            [value] => format!("{key} = {value}"),
            values => format!("{key} IN ({})", values.join(", ")),
        };
        let fix = match is_ours {
            true => format!("DELETE FROM {name} WHERE {condition}"),
            false => format!("UPDATE {name} SET {text} = hex({text}) WHERE {condition}"),
        };
        found.push(Unreadable {
            table,
            condition,
            fix,
        });
    }
    Ok(found)
}
