//! On SQLite, the parts of a script that depend on the table it replaces: `{definition of TABLE}`,
//! `{columns of TABLE without A, B}`, and the indexes and triggers on the table.

use std::borrow::Cow;

use diesel::OptionalExtension;
use diesel::result::Error as DieselError;
use diesel::sql_types::Text;
use diesel::{QueryResult, SqliteConnection, sql_query};

use crate::domain::schema::rebuild::TableText;
use crate::store::db::{Db, quote_identifier};
use crate::store::tuples::LoadTuples;

/// Inserts the definition and the columns of existing tables.
pub(super) fn expand<'a>(db: &mut Db, sql: &'a str) -> QueryResult<Cow<'a, str>> {
    let Db::Sqlite(conn) = db else {
        return Ok(sql.into());
    };
    let mut text = String::new();
    let mut rest = sql;
    while let Some((before, after)) = rest.split_once('{')
        && let Some((inside, after)) = after.split_once('}')
    {
        let columns_of =
            |inside: &'a str| inside.strip_prefix("columns of ")?.split_once(" without ");
        text.push_str(before);
        if let Some(table) = inside.strip_prefix("definition of ") {
            let definition = definition(conn, table)?;
            text.push_str(&definition.ok_or(DieselError::NotFound)?);
        } else if let Some((table, without)) = columns_of(inside) {
            text.push_str(&columns(conn, table, without)?);
        } else {
            let message = format!("unknown placeholder {{{inside}}}");
            return Err(DieselError::QueryBuilderError(message.into()));
        }
        rest = after;
    }
    Ok(match text.is_empty() {
        true => sql.into(),
        false => (text + rest).into(),
    })
}

/// The part of `CREATE TABLE` after the name; nothing if the table does not exist.
fn definition(conn: &mut SqliteConnection, table: &str) -> QueryResult<Option<String>> {
    let query =
        "SELECT substr(sql, instr(sql, '(')) FROM sqlite_master WHERE type = 'table' AND name = $1";
    sql_query(query).bind::<Text, _>(table).row(conn).optional()
}

/// A table as it is; nothing on PostgreSQL and if it does not exist.
pub(super) fn text(db: &mut Db, table: &str) -> QueryResult<Option<TableText>> {
    let objects = others_objects(db, table, "")?;
    let Db::Sqlite(conn) = db else {
        return Ok(None);
    };
    let Some(definition) = definition(conn, table)? else {
        return Ok(None);
    };
    let columns = column_names(conn, table)?;
    Ok(Some(TableText::new(definition, columns, objects)))
}

fn column_names(conn: &mut SqliteConnection, table: &str) -> QueryResult<Vec<String>> {
    let query = "SELECT name FROM pragma_table_info($1) ORDER BY cid";
    sql_query(query).bind::<Text, _>(table).rows(conn)
}

fn columns(conn: &mut SqliteConnection, table: &str, without: &str) -> QueryResult<String> {
    let found = column_names(conn, table)?;
    let table = quote_identifier(table);
    let columns = found
        .iter()
        .filter(|column| without.split(", ").all(|name| name != *column))
        .map(|column| format!("{table}.{}", quote_identifier(column)));
    Ok(columns.collect::<Vec<_>>().join(", "))
}

/// The statements that create the indexes and triggers on a table, without those that `script` names.
pub(super) fn others_objects(db: &mut Db, table: &str, script: &str) -> QueryResult<Vec<String>> {
    let Db::Sqlite(conn) = db else {
        return Ok(Vec::new());
    };
    let query = "SELECT name, sql FROM sqlite_master
                 WHERE type IN ('index', 'trigger') AND tbl_name = $1 AND sql IS NOT NULL
                 ORDER BY name";
    let mut found: Vec<(String, String)> = sql_query(query).bind::<Text, _>(table).rows(conn)?;
    found.retain(|(name, _)| !script.contains(&quote_identifier(name)));
    Ok(found.into_iter().map(|(_, sql)| sql).collect())
}
