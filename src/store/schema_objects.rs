//! Reads the schema objects of a database from the engine's catalogue: tables, columns, indexes, triggers,
//! types and functions.

use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use sha2::{Digest, Sha256};

use super::db::{Db, on};
use crate::domain::schema::objects::SchemaObjects;

/// Covers the connection's search path: the application's schema, then `usagectl`.
const POSTGRES: &str = include_str!("schema_objects_postgres.sql");
const SQLITE: &str = include_str!("schema_objects_sqlite.sql");

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    what: String,
    #[diesel(sql_type = Text)]
    how: String,
    /// The body of a function or trigger; its checksum becomes part of the definition.
    #[diesel(sql_type = Nullable<Text>)]
    body: Option<String>,
}

/// Reads all objects except the migration ledger and log.
pub fn read(db: &mut Db) -> QueryResult<SchemaObjects> {
    let query = match db {
        Db::Pg(_) => POSTGRES,
        Db::Sqlite(_) => SQLITE,
    };
    let mut rows: Vec<Row> = on!(db, |conn| diesel::sql_query(query).load(conn))?;
    // Of two indexes on the same columns the valid one comes last, and so replaces the other: its
    // definition is empty.
    rows.sort_by(|a, b| b.how.cmp(&a.how));
    Ok(rows.into_iter().map(Row::line).collect())
}

impl Row {
    fn line(self) -> (String, String) {
        let how = match &self.body {
            Some(body) => format!("{} {}", self.how, fingerprint(body))
                .trim_start()
                .to_owned(),
            None => self.how,
        };
        (self.what, how)
    }
}

/// The first twelve digits of the text's SHA-256, white space normalised.
fn fingerprint(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let digest = Sha256::digest(words.join(" "));
    digest[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
