//! Reads the ordinary indexes of a database, and writes the statements about them.

use std::collections::{BTreeMap, BTreeSet};

use diesel::{QueryResult, sql_query};

use super::run::outside_transaction;
use super::{Direction, Migration, Survey, expected, is_partitioned};
use crate::domain::schema::index::{self, FoundIndex, IndexAction};
use crate::domain::schema::migration::MigrationStatus;
use crate::domain::schema::objects::{Difference, table_of};
use crate::domain::schema::script::{self, IndexChange, IndexChangeKind};
use crate::error::Result;
use crate::fault;
use crate::store::db::{Db, OWN_SCHEMA, on, quote_identifier};
use crate::store::schema_objects;
use crate::store::tuples::LoadTuples;

/// Of the tables in the search path. Every role may read the catalogue.
const POSTGRES: &str = "
SELECT x.relname::text,
    CASE WHEN i.indisunique THEN 'unique ' ELSE 'index ' END || t.relname || ' ('
        || (SELECT string_agg(a.attname || CASE i.indoption[k.n - 1] & 1 WHEN 1 THEN ' desc' ELSE '' END, ', '
                ORDER BY k.n)
            FROM generate_series(1, i.indnkeyatts) AS k (n)
            JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.n - 1])
        || ')',
    i.indisvalid,
    EXISTS (SELECT 1 FROM pg_stat_progress_create_index p
        WHERE p.datname = current_database() AND p.index_relid = i.indexrelid)
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_am m ON m.oid = x.relam AND m.amname = 'btree'
JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace s ON s.oid = t.relnamespace
WHERE s.nspname = ANY (current_schemas(false)) AND i.indpred IS NULL AND i.indexprs IS NULL
    AND i.indnatts = i.indnkeyatts
    AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid)
ORDER BY x.relname";

const SQLITE: &str = r#"
SELECT i.name,
    CASE WHEN i."unique" THEN 'unique ' ELSE 'index ' END || t.name || ' ('
        || (SELECT group_concat(k.name || CASE WHEN k."desc" THEN ' desc' ELSE '' END, ', ')
            FROM (SELECT * FROM pragma_index_xinfo(i.name) WHERE "key" ORDER BY seqno) k)
        || ')',
    true,
    false
FROM sqlite_master t, pragma_index_list(t.name) i
WHERE t.type = 'table' AND i.origin = 'c' AND NOT i.partial
    AND NOT EXISTS (SELECT 1 FROM pragma_index_xinfo(i.name) k WHERE k."key" AND k.name IS NULL)
ORDER BY i.name"#;

pub(super) fn read(db: &mut Db) -> QueryResult<Vec<FoundIndex>> {
    let query = match db {
        Db::Pg(_) => POSTGRES,
        Db::Sqlite(_) => SQLITE,
    };
    let rows: Vec<(String, String, bool, bool)> = on!(db, |conn| sql_query(query).rows(conn))?;
    let index = |(name, object, is_valid, is_building)| FoundIndex {
        name,
        object,
        is_valid,
        is_building,
    };
    Ok(rows.into_iter().map(index).collect())
}

/// The names of the invalid indexes that no server process is building, by object.
pub(super) fn invalid(db: &mut Db) -> QueryResult<BTreeMap<String, String>> {
    let invalid = read(db)?.into_iter().rev();
    let invalid = invalid.filter(|it| !it.is_valid && !it.is_building);
    // Of several the first by name: a failed REINDEX leaves copies whose names are longer.
    Ok(invalid.map(|it| (it.object, it.name)).collect())
}

/// The invalid indexes among those that the applied migrations created: table and name.
///
/// That of a partitioned table is left out: it becomes valid with those of its partitions.
pub fn broken_indexes(
    db: &mut Db,
    statuses: &[MigrationStatus],
) -> QueryResult<Vec<(String, String)>> {
    let mut invalid = invalid(db)?;
    if invalid.is_empty() || is_partitioned(db)? {
        return Ok(Vec::new());
    }
    let differences = expected(db, statuses).differences(&schema_objects::read(db)?);
    let broken = differences.into_iter().filter(Difference::is_restorable);
    let broken = broken.filter_map(|it| {
        let name = invalid.remove(&it.what)?;
        Some((table_of(&it.what)?.to_owned(), name))
    });
    Ok(broken.collect())
}

/// Builds an invalid index again, while the table can be written to.
pub fn rebuild_index(
    db: &mut Db,
    application_schema: &str,
    (table, name): (&str, &str),
) -> Result<()> {
    fault::point("statement");
    outside_transaction(db, &rebuild_statement(application_schema, table, name))?;
    fault::point("statement done");
    Ok(())
}

pub(super) fn rebuild_statement(application_schema: &str, table: &str, name: &str) -> String {
    let schema = match table.starts_with("usagectl_") {
        true => OWN_SCHEMA,
        false => application_schema,
    };
    let (schema, name) = (quote_identifier(schema), quote_identifier(name));
    format!("REINDEX INDEX CONCURRENTLY {schema}.{name}")
}

/// The names of all indexes of any kind.
fn names(db: &mut Db) -> QueryResult<BTreeSet<String>> {
    let query = match db {
        Db::Pg(_) => {
            "SELECT relname::text FROM pg_class
             WHERE relkind IN ('i', 'I') AND relnamespace = to_regnamespace(quote_ident(current_schema()))"
        }
        Db::Sqlite(_) => "SELECT name FROM sqlite_master WHERE type = 'index'",
    };
    let names: Vec<String> = on!(db, |conn| sql_query(query).rows(conn))?;
    Ok(names.into_iter().collect())
}

/// The first name under which `plan` would create an index and that another index has.
pub fn taken_name(
    db: &mut Db,
    survey: &Survey,
    plan: &[&Migration],
) -> QueryResult<Option<String>> {
    let (mut found, mut names) = (read(db)?, names(db)?);
    for migration in plan {
        let sql = migration.runnable_sql(db, Direction::Up)?;
        let steps = script::parse(&sql);
        let steps = steps.iter().skip(survey.steps_done(migration));
        let statements = steps.flat_map(|step| &step.statements);
        for change in statements.filter_map(|statement| statement.index.as_ref()) {
            if let IndexAction::Run { name } = index::action(change, &found) {
                match &change.kind {
                    IndexChangeKind::Create { .. } if !names.insert(name.clone()) => {
                        return Ok(Some(name));
                    }
                    IndexChangeKind::Create { .. } => {}
                    IndexChangeKind::Drop { .. } => {
                        names.remove(&name);
                    }
                    IndexChangeKind::Rename { to } => {
                        names.remove(&name);
                        names.insert(to.clone());
                    }
                }
            }
            index::apply(change, &mut found);
        }
    }
    Ok(None)
}

/// The statement of a script, for the index of this name. On PostgreSQL names are qualified with
/// `schema`, since a statement outside a transaction has no search path.
pub(super) fn statement(
    sql: &str,
    change: &IndexChange,
    name: &str,
    schema: Option<&str>,
) -> String {
    let schema = schema.map_or(String::new(), |schema| quote_identifier(schema) + ".");
    let name = quote_identifier(name);
    match &change.kind {
        IndexChangeKind::Create { table, .. } => {
            let (before, after) = sql.split_at(table.start);
            format!("{before}{schema}{after}")
        }
        IndexChangeKind::Drop { .. } if change.is_concurrent => {
            format!("DROP INDEX CONCURRENTLY {schema}{name}")
        }
        IndexChangeKind::Drop { .. } => format!("DROP INDEX {schema}{name}"),
        IndexChangeKind::Rename { to } => {
            let to = quote_identifier(to);
            format!("ALTER INDEX {schema}{name} RENAME TO {to}")
        }
    }
}

/// Drops the invalid index that an interrupted run left.
pub(super) fn drop_leftover(change: &IndexChange, schema: Option<&str>) -> String {
    let drop = IndexChange {
        kind: IndexChangeKind::Drop {
            object: String::new(),
        },
        ..change.clone()
    };
    statement("", &drop, &change.name, schema)
}
