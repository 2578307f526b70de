//! Reads the objects of the user that depend on what a rollback drops.

use diesel::prelude::*;
use diesel::sql_types::{Array, Bool, Nullable, Text};

use super::export::CAPTURE;
use crate::domain::schema::dependents::{self, CatalogueRow, Dependent, DependentKind, Dropped};
use crate::domain::schema::objects::SchemaObjects;
use crate::store::db::Db;

const POSTGRES: &str = include_str!("dependents_postgres.sql");

/// Granted rights, each with its statement.
pub(super) const GRANTS: &str = include_str!("grants_postgres.sql");

/// The rows of `sqlite_master`; an index that a constraint implies has no SQL and goes with its table.
const SQLITE: &str = "SELECT type AS kind, name, tbl_name AS \"table\", sql FROM sqlite_master
     WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name";

const SQLITE_REFERENCES: &str =
    "SELECT m.name AS name, f.\"table\" AS \"table\", coalesce(f.\"to\", '') AS \"column\"
     FROM sqlite_master m, pragma_foreign_key_list(m.name) f
     WHERE m.type = 'table' ORDER BY 1, f.id, f.seq";

/// The columns of each index, as [`SchemaObjects`] names it.
const SQLITE_INDEXES: &str = "SELECT i.name AS name, '' AS \"table\",
         CASE WHEN i.\"unique\" THEN 'unique ' ELSE 'index ' END || m.name || ' ('
             || (SELECT group_concat(coalesce(k.name, '(expression)') || CASE WHEN k.\"desc\" THEN ' desc' ELSE '' END, ', ')
                 FROM (SELECT * FROM pragma_index_xinfo(i.name) WHERE \"key\" ORDER BY seqno) k)
             || ')' || CASE WHEN i.partial THEN ' where ...' ELSE '' END AS \"column\"
     FROM sqlite_master m, pragma_index_list(m.name) i
     WHERE m.type = 'table'";

/// The dependents of `dropped`. `expected` are the objects of the applied migrations.
pub fn read(
    db: &mut Db,
    dropped: &Dropped,
    expected: &SchemaObjects,
) -> QueryResult<Vec<Dependent>> {
    if dropped.is_empty() {
        return Ok(Vec::new());
    }
    match db {
        Db::Pg(postgres) => postgres.run(|conn| in_postgres(conn, dropped, expected)),
        Db::Sqlite(conn) => sqlite(conn, dropped, expected),
    }
}

fn in_postgres(
    conn: &mut PgConnection,
    dropped: &Dropped,
    expected: &SchemaObjects,
) -> QueryResult<Vec<Dependent>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        kind: String,
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = Text)]
        depends_on: String,
        #[diesel(sql_type = Bool)]
        blocks: bool,
        #[diesel(sql_type = Nullable<Text>)]
        sql: Option<String>,
        #[diesel(sql_type = Nullable<Text>)]
        index: Option<String>,
    }
    let columns = dropped.columns.iter();
    let columns: Vec<String> = columns
        .map(|(table, column)| format!("{table}.{column}"))
        .collect();
    let rows: Vec<Row> = diesel::sql_query(POSTGRES)
        .bind::<Array<Text>, _>(&dropped.tables)
        .bind::<Array<Text>, _>(columns)
        .bind::<Array<Text>, _>(&dropped.types)
        .load(conn)?;
    let is_ours = |row: &Row| {
        let index = row.index.as_deref();
        index.is_some_and(|index| expected.get(index).is_some())
    };
    let rows = rows.into_iter().filter(|row| !is_ours(row));
    let mut found: Vec<Dependent> = rows
        .map(|row| Dependent {
            kind: row.kind.parse().unwrap_or(DependentKind::Other),
            name: row.name,
            depends_on: row.depends_on,
            sql: row.sql.filter(|_| !row.blocks),
            blocks: row.blocks,
        })
        .collect();
    found.extend(grants(conn, dropped)?);
    Ok(found)
}

/// The rights that are dropped with their tables and columns.
fn grants(conn: &mut PgConnection, dropped: &Dropped) -> QueryResult<Vec<Dependent>> {
    #[derive(QueryableByName)]
    struct Grant {
        #[diesel(sql_type = Text)]
        object: String,
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = Text)]
        sql: String,
    }
    let query = format!("SELECT * FROM ({GRANTS}) AS grants ORDER BY name");
    let grants: Vec<Grant> = diesel::sql_query(query).load(conn)?;
    let depends_on = |grant: &Grant| {
        let (table, column) = grant.object.split_once('.').unwrap_or((&grant.object, ""));
        if dropped.tables.iter().any(|it| it == table) {
            return Some(format!("table {table}"));
        }
        let mut columns = dropped.columns.iter();
        let is_dropped = columns.any(|(its_table, it)| its_table == table && it == column);
        is_dropped.then(|| format!("column {}", grant.object))
    };
    let dependent = |grant: Grant| {
        Some(Dependent {
            depends_on: depends_on(&grant)?,
            kind: DependentKind::Grant,
            name: grant.name,
            blocks: false,
            sql: Some(grant.sql),
        })
    };
    Ok(grants.into_iter().filter_map(dependent).collect())
}

fn sqlite(
    conn: &mut SqliteConnection,
    dropped: &Dropped,
    expected: &SchemaObjects,
) -> QueryResult<Vec<Dependent>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        kind: String,
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = Text)]
        table: String,
        #[diesel(sql_type = Text)]
        sql: String,
    }
    #[derive(QueryableByName)]
    struct Part {
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = Text)]
        table: String,
        #[diesel(sql_type = Text)]
        column: String,
    }
    let rows: Vec<Row> = diesel::sql_query(SQLITE).load(conn)?;
    let references: Vec<Part> = diesel::sql_query(SQLITE_REFERENCES).load(conn)?;
    let indexes: Vec<Part> = diesel::sql_query(SQLITE_INDEXES).load(conn)?;
    let catalogue = rows.into_iter().map(|row| CatalogueRow {
        references: match row.kind.as_str() {
            "table" => references
                .iter()
                .filter(|it| it.name == row.name)
                .map(|it| (it.table.clone(), it.column.clone()))
                .collect(),
            _ => Vec::new(),
        },
        kind: row.kind,
        name: row.name,
        table: row.table,
        sql: row.sql,
    });
    let catalogue: Vec<CatalogueRow> = catalogue.collect();
    let is_ours = |row: &CatalogueRow| match row.kind.as_str() {
        "index" => indexes
            .iter()
            .any(|it| it.name == row.name && expected.get(&it.column).is_some()),
        "trigger" => {
            let what = format!("trigger {}.{}", row.table, row.name);
            row.name.starts_with(CAPTURE) || expected.get(&what).is_some()
        }
        // Only our own columns of these tables are dropped, with their checks.
        "table" => row.name.starts_with("usagectl_"),
        _ => false,
    };
    Ok(dependents::in_sqlite(&catalogue, dropped, is_ours))
}
