//! Reads the ordinary indexes of a database, and writes the statements about them.

use std::collections::BTreeMap;

use diesel::{QueryResult, sql_query};

use super::run::Retry;
use super::{dialect, expected, partitioned_tables};
use crate::domain::schema::closing::undecided;
use crate::domain::schema::index::FoundIndex;
use crate::domain::schema::migration::MigrationStatus;
use crate::domain::schema::objects::{Difference, table_of};
use crate::domain::schema::script::{IndexChange, IndexChangeKind};
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
        WHERE p.datname = current_database() AND p.index_relid = i.indexrelid),
    EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid)
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_am m ON m.oid = x.relam AND m.amname = 'btree'
JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace s ON s.oid = t.relnamespace
WHERE s.nspname = ANY (current_schemas(false)) AND i.indpred IS NULL AND i.indexprs IS NULL
    AND i.indnatts = i.indnkeyatts
ORDER BY x.relname";

const SQLITE: &str = r#"
SELECT i.name,
    CASE WHEN i."unique" THEN 'unique ' ELSE 'index ' END || t.name || ' ('
        || (SELECT group_concat(k.name || CASE WHEN k."desc" THEN ' desc' ELSE '' END, ', ')
            FROM (SELECT * FROM pragma_index_xinfo(i.name) WHERE "key" ORDER BY seqno) k)
        || ')',
    true,
    false,
    false
FROM sqlite_master t, pragma_index_list(t.name) i
WHERE t.type = 'table' AND i.origin = 'c' AND NOT i.partial
    AND NOT EXISTS (SELECT 1 FROM pragma_index_xinfo(i.name) k WHERE k."key" AND k.name IS NULL)
ORDER BY i.name"#;

pub(super) fn read(db: &mut Db) -> QueryResult<Vec<FoundIndex>> {
    let all = read_all(db)?.into_iter();
    let ordinary = all.filter(|(_, is_constraint)| !is_constraint);
    Ok(ordinary.map(|(index, _)| index).collect())
}

/// The indexes, each with whether it belongs to a constraint.
pub(super) fn read_all(db: &mut Db) -> QueryResult<Vec<(FoundIndex, bool)>> {
    let query = match db {
        Db::Pg(_) => POSTGRES,
        Db::Sqlite(_) => SQLITE,
    };
    let rows: Vec<(String, String, bool, bool, bool)> =
        on!(db, |conn| sql_query(query).rows(conn))?;
    let index = |(name, object, is_valid, is_building, is_constraint)| {
        let index = FoundIndex {
            name,
            object,
            is_valid,
            is_building,
        };
        (index, is_constraint)
    };
    Ok(rows.into_iter().map(index).collect())
}

/// The invalid indexes that no server process is building.
fn all_invalid(db: &mut Db) -> QueryResult<Vec<FoundIndex>> {
    let all = read_all(db)?.into_iter().map(|(index, _)| index);
    Ok(all.filter(|it| !it.is_valid && !it.is_building).collect())
}

/// The names of the invalid indexes that no server process is building, by object.
pub(super) fn invalid(db: &mut Db) -> QueryResult<BTreeMap<String, String>> {
    let invalid = all_invalid(db)?.into_iter().rev();
    // Of several the first by name: a failed REINDEX leaves copies whose names are longer.
    Ok(invalid.map(|it| (it.object, it.name)).collect())
}

/// The invalid indexes among those that the applied migrations created: table and name. A unique index whose columns
/// have repeated values is left out, since the user must decide about them.
pub fn broken_indexes(
    db: &mut Db,
    statuses: &[MigrationStatus],
) -> QueryResult<Vec<(String, String)>> {
    let mut invalid = invalid(db)?;
    if invalid.is_empty() {
        return Ok(Vec::new());
    }
    let mut broken = Vec::new();
    for difference in expected(db, statuses).differences(&schema_objects::read(db)?) {
        if let Some(name) = invalid.remove(&difference.what)
            && let Some(table) = table_of(&difference.what)
            && is_restorable(db, &difference)?
        {
            broken.push((table.to_owned(), name));
        }
    }
    Ok(broken)
}

/// Whether `migrate` ends the difference. An index of a partitioned table is not built while the table is written to.
pub fn is_restorable(db: &mut Db, difference: &Difference) -> QueryResult<bool> {
    let is_index = ["index ", "unique "]
        .iter()
        .any(|kind| difference.what.starts_with(kind));
    if is_index
        && partitioned_tables(db)?
            .iter()
            .any(|it| difference.is_of(it))
    {
        return Ok(false);
    }
    if !difference.is_invalid_unique() {
        return Ok(difference.is_restorable());
    }
    match undecided(difference, &[], dialect(db)) {
        None => Ok(false),
        Some(query) => {
            let repeated: i64 = on!(db, |conn| sql_query(query).row(conn))?;
            Ok(repeated == 0)
        }
    }
}

/// Builds an invalid index again, while the table can be written to.
pub fn rebuild_index(
    db: &mut Db,
    application_schema: &str,
    (table, name): (&str, &str),
    retry: &mut Retry<'_>,
) -> Result<()> {
    for sql in rebuild_statements(db, application_schema, table, name)? {
        fault::point("statement");
        retry.change_index(db, name, &sql)?;
        fault::point("statement done");
    }
    Ok(())
}

/// The statements that build an invalid index again, after those that drop what an interrupted rebuild left.
pub(super) fn rebuild_statements(
    db: &mut Db,
    application_schema: &str,
    table: &str,
    name: &str,
) -> QueryResult<Vec<String>> {
    let schema = match table.starts_with("usagectl_") {
        true => OWN_SCHEMA,
        false => application_schema,
    };
    let schema = quote_identifier(schema);
    let invalid = all_invalid(db)?.into_iter();
    let leftovers = invalid.filter(|it| {
        let copy = it.name.strip_prefix(name).unwrap_or_default();
        table_of(&it.object) == Some(table)
            && (copy.starts_with("_ccnew") || copy.starts_with("_ccold"))
    });
    let drops = leftovers.map(|it| {
        let name = quote_identifier(&it.name);
        format!("DROP INDEX CONCURRENTLY {schema}.{name}")
    });
    let name = quote_identifier(name);
    let rebuild = format!("REINDEX INDEX CONCURRENTLY {schema}.{name}");
    Ok(drops.chain([rebuild]).collect())
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
