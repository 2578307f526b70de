//! Reads the schema objects of a database from the engine's catalogue: tables, columns, indexes, triggers,
//! types and functions.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use sha2::{Digest, Sha256};

use super::db::{Db, on, quote_identifier};
use crate::domain::schema::objects::SchemaObjects;
use crate::domain::schema::orphaned_triggers::{OrphanedTrigger, TriggerText, orphaned};

/// Covers the connection's search path: the application's schema, then `usagectl`.
const POSTGRES: &str = include_str!("schema_objects_postgres.sql");
const SQLITE: &str = include_str!("schema_objects_sqlite.sql");

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    kind: String,
    /// The table of a column, an index or a trigger.
    #[diesel(sql_type = Text)]
    table: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    how: String,
    /// Of a function or trigger: its checksum becomes part of the definition. Of an index: what follows the
    /// columns.
    #[diesel(sql_type = Nullable<Text>)]
    body: Option<String>,
    /// The number of a column; those of the columns of an index. PostgreSQL only.
    #[diesel(sql_type = Nullable<Text>)]
    numbers: Option<String>,
    /// Of the columns of an index; an odd one is descending.
    #[diesel(sql_type = Nullable<Text>)]
    options: Option<String>,
}

/// Reads all objects except the migration ledger and log.
pub fn read(db: &mut Db) -> QueryResult<SchemaObjects> {
    let query = match db {
        Db::Pg(_) => POSTGRES,
        Db::Sqlite(_) => SQLITE,
    };
    let mut rows: Vec<Row> = on!(db, |conn| diesel::sql_query(query).load(conn))?;
    name_index_columns(&mut rows);
    // Of two indexes on the same columns the valid one comes last, and so replaces the other: its
    // definition is empty.
    rows.sort_by(|a, b| b.how.cmp(&a.how));
    Ok(rows.into_iter().map(Row::line).collect())
}

/// Writes the columns of an index that is given by their numbers into its name.
fn name_index_columns(rows: &mut [Row]) {
    let mut columns: HashMap<(String, String), String> = HashMap::new();
    for row in rows.iter().filter(|row| row.kind == "column") {
        if let Some(number) = &row.numbers {
            let key = (row.table.clone(), number.clone());
            columns.insert(key, row.name.clone());
        }
    }
    for row in rows.iter_mut().filter(|row| row.kind != "column") {
        let (Some(numbers), Some(options)) = (&row.numbers, &row.options) else {
            continue;
        };
        if !row.name.is_empty() {
            continue;
        }
        let column = |(number, option): (&str, &str)| {
            let name = columns.get(&(row.table.clone(), number.to_owned()))?;
            let is_descending = option.parse::<u16>().is_ok_and(|option| option & 1 == 1);
            Some(format!(
                "{name}{}",
                if is_descending { " desc" } else { "" }
            ))
        };
        let numbers = numbers.split(' ').zip(options.split(' '));
        let names: Vec<String> = numbers.filter_map(column).collect();
        row.name = names.join(", ");
    }
}

/// The triggers of ours that make every write to the application's tables fail. On PostgreSQL there are none: their
/// functions and tables are in a schema of their own.
pub fn orphaned_triggers(db: &mut Db) -> QueryResult<Vec<OrphanedTrigger>> {
    let Db::Sqlite(conn) = db else {
        return Ok(Vec::new());
    };
    #[derive(QueryableByName)]
    struct StoredTrigger {
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = Text)]
        tbl_name: String,
        #[diesel(sql_type = Text)]
        sql: String,
    }
    #[derive(QueryableByName)]
    struct Name {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let triggers = "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'";
    let triggers: Vec<StoredTrigger> = diesel::sql_query(triggers).load(conn)?;
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table'";
    let tables: Vec<Name> = diesel::sql_query(tables).load(conn)?;
    let triggers: Vec<TriggerText> = triggers
        .into_iter()
        .map(|it| TriggerText {
            name: it.name,
            table: it.tbl_name,
            sql: it.sql,
        })
        .collect();
    let tables = tables.into_iter().map(|it| it.name).collect();
    Ok(orphaned(&triggers, &tables))
}

/// The statements that drop these triggers.
pub fn drop_triggers(triggers: &[OrphanedTrigger]) -> String {
    let statement = |trigger: &OrphanedTrigger| {
        let name = quote_identifier(&trigger.name);
        format!("DROP TRIGGER IF EXISTS {name};\n")
    };
    triggers.iter().map(statement).collect()
}

impl Row {
    fn line(self) -> (String, String) {
        let Row {
            kind,
            table,
            name,
            how,
            body,
            ..
        } = self;
        let body = body.unwrap_or_default();
        let how = match kind.as_str() {
            "function" | "trigger" if !body.is_empty() => {
                let how = format!("{how} {}", fingerprint(&body));
                how.trim_start().to_owned()
            }
            _ => how,
        };
        let what = match kind.as_str() {
            "column" | "trigger" => format!("{kind} {table}.{name}"),
            "index" | "unique" => format!("{kind} {table} ({name}){body}"),
            _ => format!("{kind} {name}"),
        };
        (what, how)
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
