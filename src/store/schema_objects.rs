//! Reading the engine's own catalogue: the tables, columns, indexes, triggers, types and functions
//! that are really there.

use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use sha2::{Digest, Sha256};

use super::db::{Db, on};
use crate::domain::schema::objects::Catalogue;

/// The schemas looked into are the connection's search path: the application's, then ours.
const POSTGRES: &str = include_str!("schema_objects_postgres.sql");
const SQLITE: &str = include_str!("schema_objects_sqlite.sql");

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Text)]
    what: String,
    #[diesel(sql_type = Text)]
    how: String,
    /// A program text that is too long to show: its checksum stands for it.
    #[diesel(sql_type = Nullable<Text>)]
    body: Option<String>,
}

/// Reads the catalogue. The migrations' own ledger and log are left out.
pub fn read(db: &mut Db) -> QueryResult<Catalogue> {
    let query = match db {
        Db::Pg(_) => POSTGRES,
        Db::Sqlite(_) => SQLITE,
    };
    let mut found: Vec<Found> = on!(db, |conn| diesel::sql_query(query).load(conn))?;
    // Of two indexes on the same columns a valid one, which has no more to say, comes last and so counts.
    found.sort_by(|a, b| b.how.cmp(&a.how));
    Ok(found.into_iter().map(Found::line).collect())
}

impl Found {
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

/// Twelve digits that tell one program text from another, however its lines are broken.
fn fingerprint(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let digest = Sha256::digest(words.join(" "));
    digest[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
