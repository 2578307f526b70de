//! Reads the objects of the user that depend on what a rollback drops.

use std::collections::BTreeSet;

use diesel::sql_types::{Array, Text};
use diesel::{PgConnection, QueryResult, SqliteConnection, sql_query};

use super::rows::TableColumns;
use super::{ALL, Direction, indexes, tables};
use crate::domain::schema::dependents::{
    self, CatalogueRow, Dependent, DependentKind, Dropped, Removal,
};
use crate::domain::schema::index::{self, FoundIndex};
use crate::domain::schema::meaning::has_default;
use crate::domain::schema::objects::{SchemaObjects, table_of};
use crate::domain::schema::plan::{Action, PlanStep};
use crate::domain::schema::script;
use crate::store::db::{Db, quote_identifier};
use crate::store::tuples::LoadTuples;

const POSTGRES: &str = include_str!("dependents_postgres.sql");

/// What a table or column has beside its definition: granted rights, settings, comments; each with its statement.
pub(super) const ATTACHED: &str = concat!(
    include_str!("grants_postgres.sql"),
    "UNION ALL\n",
    include_str!("settings_postgres.sql")
);

/// The values of each of some enums, as [`SchemaObjects`] has them.
const ENUMS: &str = "SELECT t.typname::text, string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
     FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
     WHERE t.typname = ANY ($1) AND pg_type_is_visible(t.oid) GROUP BY 1";

/// The rows of `sqlite_master`; an index that a constraint implies has no SQL and goes with its table.
const SQLITE: &str = "SELECT type, name, tbl_name, sql FROM sqlite_master
     WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name";

const SQLITE_REFERENCES: &str = "SELECT m.name, f.\"table\", coalesce(f.\"to\", '')
     FROM sqlite_master m, pragma_foreign_key_list(m.name) f
     WHERE m.type = 'table' ORDER BY 1, f.id, f.seq";

/// The columns of each index, as [`SchemaObjects`] names it.
const SQLITE_INDEXES: &str = "SELECT i.name,
         CASE WHEN i.\"unique\" THEN 'unique ' ELSE 'index ' END || m.name || ' ('
             || (SELECT group_concat(coalesce(k.name, '(expression)') || CASE WHEN k.\"desc\" THEN ' desc' ELSE '' END, ', ')
                 FROM (SELECT * FROM pragma_index_xinfo(i.name) WHERE \"key\" ORDER BY seqno) k)
             || ')' || CASE WHEN i.partial THEN ' where ...' ELSE '' END
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
    let mut found = match db {
        Db::Pg(postgres) => postgres.run(|conn| in_postgres(conn, dropped, expected))?,
        Db::Sqlite(conn) => sqlite(conn, dropped, expected)?,
    };
    if matches!(db, Db::Sqlite(_)) {
        add_removals(db, dropped, &mut found)?;
    }
    for table in &dropped.tables {
        found.extend(added_columns(db, table, expected)?);
    }
    Ok(found)
}

/// The functions whose text has the name of a dropped table ($1) or type ($3), or of a column ($2, as table.column) and of
/// its table; a trigger's function need not name the table.
const MENTIONS: &str = r"
SELECT format('function %s mentions %s', p.oid::regprocedure, string_agg(g.what, ', ' ORDER BY g.what))
FROM pg_proc p
JOIN pg_language l ON l.oid = p.prolang AND l.lanname NOT IN ('internal', 'c')
CROSS JOIN LATERAL (
    SELECT 'table ' || name AS what FROM unnest($1) AS name WHERE p.prosrc ~* ('\m' || name || '\M')
    UNION ALL
    SELECT 'column ' || name FROM unnest($2) AS name
    WHERE p.prosrc ~* ('\m' || split_part(name, '.', 2) || '\M')
      AND (p.prosrc ~* ('\m' || split_part(name, '.', 1) || '\M')
           OR EXISTS (SELECT FROM pg_trigger t
                      WHERE t.tgfoid = p.oid AND t.tgrelid = to_regclass(quote_ident(split_part(name, '.', 1)))))
    UNION ALL
    SELECT 'enum ' || name FROM unnest($3) AS name WHERE p.prosrc ~* ('\m' || name || '\M')
) g
WHERE p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
  AND p.pronamespace IS DISTINCT FROM to_regnamespace('usagectl')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
GROUP BY p.oid
ORDER BY 1";

/// The functions that mention something of `dropped`, on PostgreSQL; a trigger of SQLite is a dependent.
pub fn mentions(db: &mut Db, dropped: &Dropped) -> QueryResult<Vec<String>> {
    let Db::Pg(postgres) = db else {
        return Ok(Vec::new());
    };
    postgres.run(|conn| {
        sql_query(MENTIONS)
            .bind::<Array<Text>, _>(&dropped.tables)
            .bind::<Array<Text>, _>(qualified(&dropped.columns))
            .bind::<Array<Text>, _>(&dropped.types)
            .rows(conn)
    })
}

/// As `table.column`.
fn qualified(columns: &[(String, String)]) -> Vec<String> {
    let columns = columns.iter();
    columns
        .map(|(table, column)| format!("{table}.{column}"))
        .collect()
}

/// The indexes of all migrations, with their names.
pub fn own_indexes(db: &Db) -> Vec<FoundIndex> {
    let mut own = Vec::new();
    for migration in ALL {
        let sql = migration.sql(db, Direction::Up);
        let steps = script::parse(&sql);
        let statements = steps.iter().flat_map(|it| &it.statements);
        let changes = statements.filter_map(|it| it.index.as_ref());
        changes.for_each(|change| index::apply(change, &mut own));
    }
    own
}

/// The names of dropped indexes that a migration creates under another name, by its `own`: a restore renames them on
/// PostgreSQL.
pub fn renamed_indexes(
    db: &mut Db,
    own: &[FoundIndex],
    step: &PlanStep,
    dropped: &Dropped,
    expected: &SchemaObjects,
) -> QueryResult<Vec<Dependent>> {
    let is_postgres = matches!(db, Db::Pg(_));
    let all = indexes::read_all(db)?;
    let names: BTreeSet<String> = all.iter().map(|(it, _)| it.name.clone()).collect();
    let renamed = all
        .into_iter()
        .filter_map(|(FoundIndex { name, object, .. }, is_constraint)| {
            let table = table_of(&object)?;
            expected.get(&object)?;
            let mut changes = step.changes.iter();
            let is_dropped = dropped.tables.iter().any(|it| it == table)
                || changes.any(|it| it.action == Action::Drop && it.object == object);
            let key = || is_constraint.then(|| format!("{table}_pkey"));
            let known = own.iter().find(|it| it.object == object);
            let known = known.map(|it| it.name.clone()).or_else(key)?;
            // Beside the migration's own, an index of the same columns is the user's.
            (is_dropped && !names.contains(&known)).then(|| Dependent {
                kind: DependentKind::Setting,
                sql: is_postgres.then(|| {
                    let (from, to) = (quote_identifier(&known), quote_identifier(&name));
                    format!("ALTER INDEX {from} RENAME TO {to}")
                }),
                name: format!("name {name} of {object}"),
                depends_on: object,
                blocks: false,
                removal: Removal::default(),
            })
        });
    Ok(renamed.collect())
}

/// Adds the statements that replace the tables whose foreign keys prevent the drop.
fn add_removals(db: &mut Db, dropped: &Dropped, found: &mut [Dependent]) -> QueryResult<()> {
    let keys = found.iter_mut();
    for key in keys.filter(|it| it.kind == DependentKind::ForeignKey && it.blocks) {
        let table = key.name.strip_prefix("of table ").unwrap_or_default();
        let Some(mut text) = tables::text(db, table)? else {
            continue;
        };
        let of_columns = dropped.columns.iter().map(|(table, _)| table);
        for referenced in dropped.tables.iter().chain(of_columns) {
            text.drop_references(referenced);
        }
        let statements = text.statements(table).join(" ");
        key.removal.sql = statements.strip_suffix(';').map(str::to_owned);
    }
    Ok(())
}

/// The columns of a dropped table that no migration created.
fn added_columns(
    db: &mut Db,
    table: &str,
    expected: &SchemaObjects,
) -> QueryResult<Vec<Dependent>> {
    let found = TableColumns::read(db, table)?;
    let columns = found.into_iter().flat_map(|it| {
        let written = it.columns.into_iter().map(|column| column.name);
        written.chain(it.generated)
    });
    let names = columns.map(|name| format!("{table}.{name}"));
    let added = names.filter(|name| expected.get(&format!("column {name}")).is_none());
    Ok(added
        .map(|name| Dependent {
            kind: DependentKind::Column,
            name,
            depends_on: format!("table {table}"),
            blocks: false,
            sql: None,
            removal: Removal::default(),
        })
        .collect())
}

fn in_postgres(
    conn: &mut PgConnection,
    dropped: &Dropped,
    expected: &SchemaObjects,
) -> QueryResult<Vec<Dependent>> {
    // Kind, name, the dropped object, whether it blocks, its statement, an index as `SchemaObjects` names it, and its
    // removal.
    type Row = (
        String,
        String,
        String,
        bool,
        Option<String>,
        Option<String>,
        Option<String>,
        i32,
    );
    let rows: Vec<Row> = sql_query(POSTGRES)
        .bind::<Array<Text>, _>(&dropped.tables)
        .bind::<Array<Text>, _>(qualified(&dropped.columns))
        .bind::<Array<Text>, _>(&dropped.types)
        .rows(conn)?;
    let dependent = |(kind, name, depends_on, blocks, sql, index, removal, depth): Row| {
        let kind = kind.parse().unwrap_or(DependentKind::Other);
        let is_ours = index.is_some_and(|index| expected.get(&index).is_some());
        // The definition of a serial column creates its sequence.
        let is_of_definition =
            kind == DependentKind::Sequence && expected.get(&depends_on).is_none();
        (!is_ours && !is_of_definition).then(|| Dependent {
            kind,
            name,
            depends_on,
            sql: sql.filter(|_| !blocks),
            blocks,
            removal: Removal {
                depth,
                sql: removal,
            },
        })
    };
    let mut found: Vec<Dependent> = rows.into_iter().filter_map(dependent).collect();
    found.extend(attached(conn, dropped, expected)?);
    let enums: Vec<(String, String)> = sql_query(ENUMS)
        .bind::<Array<Text>, _>(&dropped.types)
        .rows(conn)?;
    for (name, values) in &enums {
        if let Some(expected) = expected.get(&format!("enum {name}")) {
            found.extend(dependents::added_enum_values(name, expected, values));
        }
    }
    Ok(found)
}

/// The rights, settings and comments that are dropped with their tables, columns and types.
fn attached(
    conn: &mut PgConnection,
    dropped: &Dropped,
    expected: &SchemaObjects,
) -> QueryResult<Vec<Dependent>> {
    // An index has a row for each of its columns. Comments last: they may be of a policy.
    let query = format!(
        "SELECT kind, object, name, sql FROM ({ATTACHED}) AS found ORDER BY kind DESC, name, object"
    );
    type Row = (String, String, String, String);
    let found: Vec<Row> = sql_query(query).rows(conn)?;
    let mut known = BTreeSet::new();
    let mut dependent = |(kind, object, name, sql): Row| {
        if name.starts_with("default of column ")
            && let Some((_, default)) = sql.split_once(" SET DEFAULT ")
        {
            // The definition of a column that no migration created has its default.
            let column = expected.get(&format!("column {object}"));
            if column.is_none_or(|it| has_default(it, default)) {
                return None;
            }
        }
        let (table, column) = object.split_once('.').unwrap_or((&object, ""));
        let mut columns = dropped.columns.iter();
        let depends_on = if dropped.tables.iter().any(|it| it == table) {
            format!("table {table}")
        } else if columns.any(|(its_table, it)| its_table == table && it == column) {
            format!("column {object}")
        } else if dropped
            .types
            .iter()
            .any(|it| object.strip_prefix("enum ") == Some(it))
        {
            object
        } else {
            return None;
        };
        known.insert(sql.clone()).then(|| Dependent {
            depends_on,
            kind: kind.parse().unwrap_or(DependentKind::Other),
            name,
            blocks: false,
            sql: Some(sql),
            removal: Removal::default(),
        })
    };
    Ok(found.into_iter().filter_map(&mut dependent).collect())
}

fn sqlite(
    conn: &mut SqliteConnection,
    dropped: &Dropped,
    expected: &SchemaObjects,
) -> QueryResult<Vec<Dependent>> {
    let rows: Vec<(String, String, String, String)> = sql_query(SQLITE).rows(conn)?;
    let references: Vec<(String, String, String)> = sql_query(SQLITE_REFERENCES).rows(conn)?;
    let indexes: Vec<(String, String)> = sql_query(SQLITE_INDEXES).rows(conn)?;
    let catalogue = rows.into_iter().map(|(kind, name, table, sql)| {
        let references = references
            .iter()
            .filter(|it| kind == "table" && it.0 == name);
        CatalogueRow {
            references: references
                .map(|(_, table, column)| (table.clone(), column.clone()))
                .collect(),
            kind,
            name,
            table,
            sql,
        }
    });
    let catalogue: Vec<CatalogueRow> = catalogue.collect();
    let is_ours = |row: &CatalogueRow| match row.kind.as_str() {
        "index" => indexes
            .iter()
            .any(|(name, object)| *name == row.name && expected.get(object).is_some()),
        // Triggers of migrations, of an export and of an interrupted copy. Of the tables only our own columns are
        // dropped, with their checks.
        "trigger" | "table" => row.name.starts_with("usagectl_"),
        _ => false,
    };
    Ok(dependents::in_sqlite(&catalogue, dropped, is_ours))
}
