//! On PostgreSQL, the owner of the application's tables: a table that a migration creates belongs to the owner of
//! `api_usage`, as far as the role that migrates can arrange it, so that the application can use and alter it.

use diesel::{OptionalExtension, QueryResult, sql_query};

use crate::domain::schema::objects::quoted;
use crate::domain::schema::script::Step;
use crate::domain::schema::status::Defect;
use crate::store::db::{Db, on};
use crate::store::tuples::LoadTuples;

/// The owner of `api_usage`, who is another role than the connected one.
#[derive(Clone, Debug)]
pub struct OtherOwner {
    pub name: String,
    pub connected: String,
    /// Whether the connected role can give it tables, and use them afterwards.
    pub can_be_given: bool,
}

/// Nothing if the connected role owns `api_usage` or the table does not exist.
pub fn other_owner(db: &mut Db) -> QueryResult<Option<OtherOwner>> {
    if matches!(db, Db::Sqlite(_)) {
        return Ok(None);
    }
    // PostgreSQL 16 separates the right to SET ROLE from membership.
    let query = "SELECT o.rolname::text, current_user::text,
             pg_has_role(o.oid, 'USAGE') AND has_schema_privilege(o.oid, c.relnamespace, 'CREATE')
                 AND pg_has_role(o.oid, CASE WHEN current_setting('server_version_num')::integer < 160000
                     THEN 'MEMBER' ELSE 'SET' END)
         FROM pg_class c
         JOIN pg_roles o ON o.oid = c.relowner
         WHERE c.oid = to_regclass('api_usage') AND o.rolname <> current_user";
    let found: Option<(String, String, bool)> =
        on!(db, |conn| sql_query(query).row(conn).optional())?;
    Ok(found.map(|(name, connected, can_be_given)| OtherOwner {
        name,
        connected,
        can_be_given,
    }))
}

/// The statements after a step that give its new tables and types to the owner of `api_usage`.
pub(super) fn statements(db: &mut Db, step: &Step<'_>) -> QueryResult<Vec<String>> {
    let created = step.statements.iter().filter_map(|it| it.created());
    let created: Vec<(&str, String)> = created.collect();
    if created.is_empty() {
        return Ok(Vec::new());
    }
    let Some(owner) = other_owner(db)?.filter(|owner| owner.can_be_given) else {
        return Ok(Vec::new());
    };
    let owner = quoted(&owner.name);
    let given = created.into_iter().map(|(kind, name)| {
        let name = quoted(&name);
        format!("ALTER {kind} {name} OWNER TO {owner}")
    });
    Ok(given.collect())
}

/// The application's tables that belong to another role than `api_usage`, whose owner lacks rights on them.
pub fn defects(db: &mut Db) -> QueryResult<Vec<Defect>> {
    if matches!(db, Db::Sqlite(_)) {
        return Ok(Vec::new());
    }
    let query = "SELECT 'table ' || t.relname,
             format('is owned by %s, and %s, the owner of api_usage, lacks rights on it',
                 pg_get_userbyid(t.relowner), pg_get_userbyid(c.relowner)),
             format('ALTER TABLE %I.%I OWNER TO %I;', n.nspname, t.relname, pg_get_userbyid(c.relowner))
         FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_class t ON t.relnamespace = n.oid AND t.relowner <> c.relowner AND t.relkind IN ('r', 'p')
             AND t.relname IN ('api_usage_aggregates', 'api_alerts', 'InfrastructureLimit', 'InfrastructureMetric',
                 'UpgradeRecommendation')
         WHERE c.oid = to_regclass('api_usage')
           AND NOT (SELECT bool_and(has_table_privilege(c.relowner, t.oid, verb))
                    FROM unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS verb)
         ORDER BY t.relname";
    let found: Vec<(String, String, String)> = on!(db, |conn| sql_query(query).rows(conn))?;
    let defect = |(object, problem, fix)| Defect {
        object,
        problem,
        fix: Some(fix),
    };
    Ok(found.into_iter().map(defect).collect())
}
