//! Reads the schema objects of a database from the engine's catalogue: tables, columns, indexes, triggers,
//! types and functions.

use std::collections::HashMap;

use diesel::{QueryResult, sql_query};
use sha2::{Digest, Sha256};

use super::db::{Db, on, quote_identifier};
use super::tuples::LoadTuples;
use crate::domain::format::hex;
use crate::domain::schema::objects::{Difference, SchemaObjects};
use crate::domain::schema::orphaned_triggers::{OrphanedTrigger, TriggerText, orphaned};

/// Covers the connection's search path: the application's schema, then `usagectl`.
const POSTGRES: &str = include_str!("schema_objects_postgres.sql");
const PARTITIONED: &str = include_str!("schema_objects_partitioned.sql");
const SQLITE: &str = concat!(
    include_str!("sqlite_tables.sql"),
    include_str!("schema_objects_sqlite.sql")
);

const SQLITE_DEFINITIONS: &str = concat!(
    include_str!("sqlite_tables.sql"),
    "SELECT group_concat(sql, char(10)) FROM (
         SELECT sql FROM sqlite_master
         WHERE sql IS NOT NULL AND (type = 'trigger' OR tbl_name IN tables)
         ORDER BY type, name
     )"
);

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

/// The SHA-256 of the definitions of our tables, the application's and all triggers in SQLite.
pub fn definitions_sha256(db: &mut Db) -> QueryResult<Option<String>> {
    let Db::Sqlite(conn) = db else {
        return Ok(None);
    };
    let query = SQLITE_DEFINITIONS.replace("{all}", "false");
    let definitions: Option<String> = sql_query(query).row(conn)?;
    Ok(definitions.map(|it| hex(&Sha256::digest(it))))
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

/// The required columns without a default that no migration creates, on the application's tables among the expected
/// ones: every insert of ours would fail. Not where a trigger may give them a value, which on SQLite it cannot.
pub fn unfilled_columns(
    db: &mut Db,
    expected: &SchemaObjects,
    found: &SchemaObjects,
) -> QueryResult<Vec<Difference>> {
    let extras = expected.extras(found);
    if !extras.iter().any(|it| it.what.starts_with("column ")) {
        return Ok(Vec::new());
    }
    let query = match db {
        Db::Pg(_) => {
            r"SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod)
             FROM pg_class c
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             JOIN pg_type y ON y.oid = a.atttypid
             WHERE c.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname = ANY (current_schemas(false)))
               AND c.relkind IN ('r', 'p') AND c.relname NOT LIKE 'usagectl\_%'
               AND (a.attnotnull OR y.typnotnull)
               AND NOT a.atthasdef AND a.attidentity = '' AND y.typdefault IS NULL
               -- BEFORE INSERT FOR EACH ROW, enabled.
               AND NOT EXISTS (
                   SELECT FROM pg_trigger g
                   WHERE g.tgrelid = c.oid AND g.tgtype & 7 = 7 AND g.tgenabled IN ('O', 'A')
               )
             ORDER BY c.relname, a.attnum"
        }
        // The key of type INTEGER is the number of the row.
        Db::Sqlite(_) => {
            r#"SELECT t.name, c.name, c.type FROM sqlite_master t, pragma_table_xinfo(t.name) c
             WHERE t.type = 'table' AND t.name NOT LIKE 'usagectl\_%' ESCAPE '\'
               AND c."notnull" AND coalesce(upper(c.dflt_value), 'NULL') = 'NULL' AND c.hidden = 0
               AND NOT (c.pk = 1 AND upper(c.type) = 'INTEGER')
             ORDER BY t.name, c.cid"#
        }
    };
    let columns: Vec<(String, String, String)> = on!(db, |conn| sql_query(query).rows(conn))?;
    let columns = columns
        .into_iter()
        .filter_map(|(table, column, data_type)| {
            let difference = Difference::unfilled(&format!("{table}.{column}"), &data_type);
            let is_extra = extras.iter().any(|it| it.what == difference.what);
            is_extra.then_some(difference)
        });
    Ok(columns.collect())
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
