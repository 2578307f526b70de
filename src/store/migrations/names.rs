//! Finds the objects of the user that have the name of an object that a migration creates.

use diesel::{QueryResult, sql_query};

use super::indexes;
use super::{Direction, Migration, Survey};
use crate::domain::schema::index::{self, IndexAction};
use crate::domain::schema::script::{self, IndexChangeKind, NameKind, renamed_in};
use crate::store::db::{Db, on, quote_identifier};
use crate::store::tuples::LoadTuples;

/// An object with the name of one that a pending migration creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenName {
    /// Of the object: `materialized view`.
    pub kind: String,
    pub name: String,
    /// The kind of the object to be created.
    pub created: NameKind,
    /// The statements that give it another name.
    pub rename: String,
}

impl TakenName {
    pub fn object(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    /// How its name or columns conflict with the migration.
    pub fn problem(&self) -> String {
        match self.kind == "index" && self.created == NameKind::Index {
            true => {
                "has other columns than the one that a pending migration creates under this name"
                    .to_owned()
            }
            false => format!(
                "has the name of {} that a pending migration creates",
                self.created.described()
            ),
        }
    }
}

/// A relation or type of the application's schema or ours.
struct Named {
    is_own_schema: bool,
    name: String,
    kind: String,
    is_relation: bool,
    /// PostgreSQL: `ALTER VIEW "public"."name"`; SQLite: the statement that created it.
    sql: String,
}

/// A table's row type and its arrays are left out: they are renamed with it.
const POSTGRES: &str = r#"
SELECT o.nspname = 'usagectl', o.name, o.kind, o.is_relation,
    format('ALTER %s "%s"."%s"', upper(o.kind), replace(o.nspname, '"', '""'), replace(o.name, '"', '""'))
FROM (
    SELECT n.nspname, c.relname::text AS name, true AS is_relation,
        CASE c.relkind WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence'
            WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'type' ELSE 'table' END AS kind
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    UNION ALL
    SELECT n.nspname, y.typname::text, false, CASE y.typtype WHEN 'd' THEN 'domain' ELSE 'type' END
    FROM pg_type y
    JOIN pg_namespace n ON n.oid = y.typnamespace
    WHERE y.typrelid = 0 AND y.typelem = 0
) AS o
WHERE o.nspname IN ('usagectl', current_schema())
ORDER BY o.name, o.is_relation DESC"#;

const SQLITE: &str = "SELECT false, name, type, true, coalesce(sql, '') FROM sqlite_master
     WHERE type IN ('table', 'view', 'index') ORDER BY name";

fn read(db: &mut Db) -> QueryResult<Vec<Named>> {
    let query = match db {
        Db::Pg(_) => POSTGRES,
        Db::Sqlite(_) => SQLITE,
    };
    let rows: Vec<(bool, String, String, bool, String)> =
        on!(db, |conn| sql_query(query).rows(conn))?;
    let named = |(is_own_schema, name, kind, is_relation, sql)| Named {
        is_own_schema,
        name,
        kind,
        is_relation,
        sql,
    };
    Ok(rows.into_iter().map(named).collect())
}

/// The first object with the name of one that `plan` would create.
pub fn taken_name(
    db: &mut Db,
    survey: &Survey,
    plan: &[&Migration],
) -> QueryResult<Option<TakenName>> {
    if plan.is_empty() {
        return Ok(None);
    }
    let (mut found, mut named) = (indexes::read(db)?, read(db)?);
    for migration in plan {
        let sql = migration.runnable_sql(db, Direction::Up)?;
        let steps = script::parse(&sql);
        let steps = steps.iter().skip(survey.steps_done(migration));
        for statement in steps.flat_map(|step| &step.statements) {
            let mut created = statement.created_names();
            if let Some(change) = &statement.index {
                if let IndexAction::Run { name } = index::action(change, &found) {
                    match &change.kind {
                        IndexChangeKind::Create { .. } => {
                            created.push((NameKind::Index, false, name));
                        }
                        IndexChangeKind::Drop { .. } => named.retain(|it| it.name != name),
                        IndexChangeKind::Rename { to } => {
                            named.retain(|it| it.name != name);
                            created.push((NameKind::Index, false, to.clone()));
                        }
                    }
                }
                index::apply(change, &mut found);
            }
            for (kind, is_own_schema, name) in created {
                let taken = named.iter().find(|it| {
                    it.name.eq(&name)
                        && it.is_own_schema == is_own_schema
                        && (it.is_relation || kind != NameKind::Index)
                });
                if let Some(taken) = taken {
                    return Ok(Some(TakenName {
                        kind: taken.kind.clone(),
                        name,
                        created: kind,
                        rename: rename(db, taken, &named),
                    }));
                }
            }
        }
    }
    Ok(None)
}

/// The statements that give an object a name that is free.
fn rename(db: &Db, taken: &Named, named: &[Named]) -> String {
    let mut to = format!("own_{}", taken.name);
    while named.iter().any(|it| it.name == to) {
        to.insert_str(0, "own_");
    }
    let (from, to) = (quote_identifier(&taken.name), quote_identifier(&to));
    match (db, taken.kind.as_str()) {
        (Db::Pg(_), _) => format!("{} RENAME TO {to};", taken.sql),
        (Db::Sqlite(_), "table") => format!("ALTER TABLE {from} RENAME TO {to};"),
        (Db::Sqlite(_), kind) => {
            let drop = format!("DROP {} {from};", kind.to_uppercase());
            match renamed_in(&taken.sql, &to) {
                Some(create) => format!("{drop} {create};"),
                None => format!("{drop} and create it under another name,"),
            }
        }
    }
}
