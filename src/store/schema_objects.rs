//! Reads the schema objects of a database from the engine's catalogue: tables, columns, indexes, triggers,
//! types and functions.

use std::collections::HashMap;

use diesel::{QueryResult, sql_query};
use sha2::{Digest, Sha256};

use super::db::{Db, on, quote_identifier};
use super::tuples::LoadTuples;
use crate::domain::format::hex;
use crate::domain::schema::objects::SchemaObjects;
use crate::domain::schema::orphaned_triggers::{OrphanedTrigger, TriggerText, orphaned};

/// Covers the connection's search path: the application's schema, then `usagectl`.
const POSTGRES: &str = include_str!("schema_objects_postgres.sql");
const PARTITIONED: &str = include_str!("schema_objects_partitioned.sql");
const SQLITE: &str = include_str!("schema_objects_sqlite.sql");

/// Kind, table, name and definition. Then the body of a function or trigger, whose checksum becomes part of the
/// definition, or what follows the columns of an index. Then on PostgreSQL the number of a column, or those of the
/// columns of an index, and their options; an odd one is descending.
type Row = (
    String,
    String,
    String,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
);

/// The names of columns by table and number.
type Columns<'a> = HashMap<(&'a str, &'a str), &'a str>;

/// Reads all objects of our tables and the application's, except the migration ledger and log.
pub fn read(db: &mut Db) -> QueryResult<SchemaObjects> {
    read_where(db, "false")
}

/// Reads those of all tables.
pub fn read_all(db: &mut Db) -> QueryResult<SchemaObjects> {
    read_where(db, "true")
}

fn read_where(db: &mut Db, all: &str) -> QueryResult<SchemaObjects> {
    let query = match db {
        Db::Pg(_) => POSTGRES,
        Db::Sqlite(_) => SQLITE,
    };
    let query = query.replace("{all}", all);
    let mut rows: Vec<Row> = on!(db, |conn| sql_query(query).rows(conn))?;
    let is_partitioned = |(kind, _, _, _, body, ..): &Row| kind == "table" && body.is_some();
    if rows.iter().any(is_partitioned) {
        let further: Vec<Row> = on!(db, |conn| sql_query(PARTITIONED).rows(conn))?;
        rows.extend(further);
    }
    let columns = rows
        .iter()
        .filter_map(|(kind, table, name, .., number, _)| {
            let number = number.as_ref().filter(|_| kind == "column")?;
            Some(((table.as_str(), number.as_str()), name.as_str()))
        });
    let columns: Columns<'_> = columns.collect();
    let mut lines: Vec<(String, String)> = rows.iter().map(|row| line(row, &columns)).collect();
    // Of two indexes on the same columns the valid one comes last, and so replaces the other: its
    // definition is empty.
    lines.sort_by(|a, b| b.1.cmp(&a.1));
    Ok(lines.into_iter().collect())
}

fn line(row: &Row, columns: &Columns<'_>) -> (String, String) {
    let (kind, table, name, how, body, numbers, options) = row;
    let body = body.as_deref().unwrap_or_default();
    let what = match kind.as_str() {
        "column" | "trigger" => format!("{kind} {table}.{name}"),
        "index" | "unique" => {
            // PostgreSQL gives the columns by their numbers, unless one is an expression.
            let numbers = numbers.as_deref().filter(|_| name.is_empty());
            let numbers = numbers.unwrap_or_default().split(' ');
            let options = options.as_deref().unwrap_or_default().split(' ');
            let column = |(number, option): (&str, &str)| {
                let name = columns.get(&(table.as_str(), number))?;
                let is_descending = option.parse::<u16>().is_ok_and(|option| option & 1 == 1);
                Some(name.to_string() + if is_descending { " desc" } else { "" })
            };
            let names: Vec<String> = numbers.zip(options).filter_map(column).collect();
            format!("{kind} {table} ({name}{}){body}", names.join(", "))
        }
        _ => format!("{kind} {name}"),
    };
    let how = match kind.as_str() {
        "function" | "trigger" if !body.is_empty() => format!("{how} {}", fingerprint(body)),
        _ => how.clone(),
    };
    (what, how.trim_start().to_owned())
}

/// The triggers of ours that make every write to the application's tables fail. On PostgreSQL there are none: their
/// functions and tables are in a schema of their own.
pub fn orphaned_triggers(db: &mut Db) -> QueryResult<Vec<OrphanedTrigger>> {
    let Db::Sqlite(conn) = db else {
        return Ok(Vec::new());
    };
    let triggers = "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'";
    let triggers: Vec<(String, String, String)> = sql_query(triggers).rows(conn)?;
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table'";
    let tables: Vec<String> = sql_query(tables).rows(conn)?;
    let triggers = triggers
        .into_iter()
        .map(|(name, table, sql)| TriggerText { name, table, sql });
    let tables = tables.into_iter().collect();
    Ok(orphaned(triggers, &tables))
}

/// The statements that drop these triggers.
pub fn drop_triggers(db: &Db, triggers: &[OrphanedTrigger]) -> String {
    let statement = |trigger: &OrphanedTrigger| {
        let name = quote_identifier(&trigger.name);
        let on_table = match db {
            Db::Pg(_) => format!(" ON {}", quote_identifier(&trigger.table)),
            Db::Sqlite(_) => String::new(),
        };
        format!("DROP TRIGGER IF EXISTS {name}{on_table};\n")
    };
    triggers.iter().map(statement).collect()
}

/// The first twelve digits of the text's SHA-256, white space normalised.
fn fingerprint(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    hex(&Sha256::digest(words.join(" "))[..6])
}
