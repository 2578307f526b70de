//! On PostgreSQL, the owner of the application's tables: a table that a migration creates belongs to the owner of
//! `api_usage`, as far as the role that migrates can arrange it, so that the application can use and alter it.

use diesel::sql_types::{Array, Text};
use diesel::{OptionalExtension, QueryResult, sql_query};

use crate::domain::schema::objects::quoted;
use crate::domain::schema::script::{self, Step};
use crate::domain::schema::status::Defect;
use crate::store::db::{Db, on};
use crate::store::tuples::LoadTuples;

/// The application's.
const TABLES: [&str; 6] = [
    "api_usage",
    "api_usage_aggregates",
    "api_alerts",
    "InfrastructureLimit",
    "InfrastructureMetric",
    "UpgradeRecommendation",
];
const TYPES: [&str; 4] = [
    "InfrastructureService",
    "MetricType",
    "RecommendationPriority",
    "RecommendationStatus",
];

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
    // PostgreSQL 16 separates the right to SET ROLE from membership. A superuser needs neither right.
    let query = "SELECT o.rolname::text, current_user::text,
             (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) OR pg_has_role(o.oid, 'USAGE') AND has_schema_privilege(o.oid, c.relnamespace, 'CREATE')
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
    let owner = other_owner(db)?.filter(|owner| owner.can_be_given);
    Ok(owner.map_or(Vec::new(), |owner| given(created, &owner.name)))
}

/// The statements that give the tables and types that `sql` creates to the owner of `api_usage`, for a script that
/// another role may run.
pub(super) fn of_script(db: &mut Db, sql: &[String]) -> QueryResult<Vec<String>> {
    let steps = sql.iter().flat_map(|sql| script::parse(sql));
    let statements = steps.flat_map(|step| step.statements);
    let created: Vec<(&str, String)> = statements.filter_map(|it| it.created()).collect();
    if created.is_empty() {
        return Ok(Vec::new());
    }
    let given = other_owner(db)?.map_or(Vec::new(), |owner| given(created, &owner.name));
    Ok(given.into_iter().map(|sql| sql + ";").collect())
}

fn given(created: Vec<(&str, String)>, owner: &str) -> Vec<String> {
    let owner = quoted(owner);
    let given = created.into_iter().map(|(kind, name)| {
        let name = quoted(&name);
        format!("ALTER {kind} {name} OWNER TO {owner}")
    });
    given.collect()
}

/// The owner of `api_usage`.
pub(super) fn owner(db: &mut Db) -> QueryResult<Option<String>> {
    if matches!(db, Db::Sqlite(_)) {
        return Ok(None);
    }
    let query =
        "SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE oid = to_regclass('api_usage')";
    on!(db, |conn| sql_query(query).row(conn).optional())
}

/// The statements that give the application's tables and types to `owner`, whose they were before a rollback dropped
/// `api_usage` too; nothing if they are its own or there is no such role.
pub fn returned(db: &mut Db, owner: &str) -> QueryResult<Vec<String>> {
    let Db::Pg(postgres) = db else {
        return Ok(Vec::new());
    };
    let query = "SELECT format('ALTER %s %I.%I OWNER TO %I', o.kind, n.nspname, o.name, r.rolname)
         FROM pg_class u
         JOIN pg_namespace n ON n.oid = u.relnamespace
         JOIN pg_roles r ON r.rolname = $1 AND r.oid <> u.relowner
         JOIN LATERAL (
             SELECT 'TABLE' AS kind, c.relname AS name, c.relowner AS owner FROM pg_class c
             WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p') AND c.relname = ANY ($2)
             UNION ALL
             SELECT 'TYPE', y.typname, y.typowner FROM pg_type y
             WHERE y.typnamespace = n.oid AND y.typtype = 'e' AND y.typname = ANY ($3)
         ) AS o ON o.owner = u.relowner
         WHERE u.oid = to_regclass('api_usage')
         ORDER BY o.kind, o.name";
    postgres.run(|conn| {
        sql_query(query)
            .bind::<Text, _>(owner)
            .bind::<Array<Text>, _>(&TABLES[..])
            .bind::<Array<Text>, _>(&TYPES[..])
            .rows(conn)
    })
}

/// The application's tables and types that belong to another role than `api_usage`, whose owner lacks rights on the
/// tables.
pub fn defects(db: &mut Db) -> QueryResult<Vec<Defect>> {
    let query = "WITH lacking AS (
             SELECT t.relname, t.relowner, c.relowner AS owner, n.oid AS space, n.nspname
             FROM pg_class c
             JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_class t ON t.relnamespace = n.oid AND t.relowner <> c.relowner AND t.relkind IN ('r', 'p')
                 AND t.relname = ANY ($1)
             WHERE c.oid = to_regclass('api_usage')
               AND NOT (SELECT bool_and(has_table_privilege(c.relowner, t.oid, verb))
                        FROM unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS verb)
         )
         SELECT 'table ' || relname,
             format('is owned by %s, and %s, the owner of api_usage, lacks rights on it',
                 pg_get_userbyid(relowner), pg_get_userbyid(owner)),
             format('ALTER TABLE %I.%I OWNER TO %I;', nspname, relname, pg_get_userbyid(owner))
         FROM lacking
         UNION ALL
         SELECT DISTINCT 'enum ' || y.typname,
             format('is owned by %s, and %s, the owner of api_usage, may not alter it',
                 pg_get_userbyid(y.typowner), pg_get_userbyid(owner)),
             format('ALTER TYPE %I.%I OWNER TO %I;', nspname, y.typname, pg_get_userbyid(owner))
         FROM lacking
         JOIN pg_type y ON y.typnamespace = space AND y.typtype = 'e' AND y.typowner = relowner AND y.typname = ANY ($2)
         ORDER BY 1";
    let Db::Pg(postgres) = db else {
        return Ok(Vec::new());
    };
    let found: Vec<(String, String, String)> = postgres.run(|conn| {
        sql_query(query)
            .bind::<Array<Text>, _>(&TABLES[..])
            .bind::<Array<Text>, _>(&TYPES[..])
            .rows(conn)
    })?;
    let defect = |(object, problem, fix)| Defect {
        object,
        problem,
        fix: Some(fix),
    };
    Ok(found.into_iter().map(defect).collect())
}
