//! The rights of the connected role, from PostgreSQL's catalogue, which every role may read.

use diesel::sql_types::{Array, Text};
use diesel::{QueryResult, sql_query};

use super::db::{Db, OWN_SCHEMA};
use super::postgres::Postgres;
use super::tuples::LoadTuples;
use crate::domain::named::Named;
use crate::domain::schema::rights::{
    ForeignObject, Held, HeldOnSchema, HeldOnTable, Owner, Verb, application_tables,
};

/// Reads the rights that the role that `db`, a PostgreSQL database, is connected as has itself and as a member of
/// `granted`, which it may not be yet.
pub fn held(db: &mut Db, application_schema: &str, granted: &[String]) -> QueryResult<Held> {
    let Db::Pg(db) = db else {
        return Ok(Held::default());
    };
    let role = sql_query(
        "SELECT current_user::text, current_database()::text,
                bool_or(has_database_privilege(r, current_database(), 'CREATE')),
                bool_or(has_database_privilege(r, current_database(), 'TEMPORARY')),
                (SELECT rolinherit FROM pg_roles WHERE rolname = current_user),
                current_setting('server_version_num')::integer >= 160000
         FROM unnest(current_user::text || $1) AS r",
    )
    .bind::<Array<Text>, _>(granted);
    let (role, database, creates_schemas, creates_temporary_tables, inherits, grants_inheritance) =
        db.run(|conn| role.row(conn))?;
    let schemas = sql_query(
        "SELECT nspname::text,
             (SELECT bool_or(has_schema_privilege(r, oid, 'USAGE')) FROM unnest(current_user::text || $3) AS r),
             (SELECT bool_or(has_schema_privilege(r, oid, 'CREATE')) FROM unnest(current_user::text || $3) AS r)
         FROM pg_namespace
         WHERE nspname IN ($1, $2) OR oid IN (
             SELECT p.relnamespace FROM pg_class p JOIN pg_class root ON root.oid = pg_partition_root(p.oid)
             JOIN pg_namespace n ON n.oid = root.relnamespace AND n.nspname = $1 WHERE p.relispartition
         )
         ORDER BY nspname",
    )
    .bind::<Text, _>(application_schema)
    .bind::<Text, _>(OWN_SCHEMA)
    .bind::<Array<Text>, _>(granted);
    let schemas: Vec<(String, bool, bool)> = db.run(|conn| schemas.rows(conn))?;
    let schema = |(name, usage, create)| HeldOnSchema {
        name,
        usage,
        create,
    };
    Ok(Held {
        role,
        database,
        application_schema: application_schema.to_owned(),
        creates_schemas,
        creates_temporary_tables,
        inherits,
        grants_inheritance,
        schemas: schemas.into_iter().map(schema).collect(),
        tables: tables(db, application_schema, granted)?,
        fixed_sequences: fixed_sequences(db, application_schema)?,
        foreign: foreign_objects(db, application_schema, granted)?,
    })
}

/// The tables of both schemas, and the partitions of theirs.
fn tables(
    db: &mut Postgres,
    application_schema: &str,
    granted: &[String],
) -> QueryResult<Vec<HeldOnTable>> {
    let tables = sql_query(
        "SELECT n.nspname::text, c.relname::text, owner.rolname::text,
                (SELECT bool_or(pg_has_role(r, owner.oid, 'USAGE')) FROM unnest(current_user::text || $3) AS r),
                NOT owner.rolsuper AND NOT pg_has_role(owner.oid, current_user, 'MEMBER'),
                pg_has_role(owner.oid, 'MEMBER'),
                ARRAY(SELECT DISTINCT verb FROM unnest('{SELECT,INSERT,UPDATE,DELETE,TRIGGER}'::text[]) AS verb,
                          unnest(current_user::text || $3) AS r
                    WHERE has_table_privilege(r, c.oid, verb))::text,
                CASE WHEN c.relispartition THEN root.relname::text END
         FROM pg_class c
         JOIN pg_class root ON root.oid = CASE WHEN c.relispartition THEN pg_partition_root(c.oid) ELSE c.oid END
         JOIN pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_namespace s ON s.oid = root.relnamespace
         JOIN pg_roles owner ON owner.oid = c.relowner
         WHERE s.nspname IN ($1, $2) AND c.relkind IN ('r', 'p')
         ORDER BY n.nspname, c.relname",
    )
    .bind::<Text, _>(application_schema)
    .bind::<Text, _>(OWN_SCHEMA)
    .bind::<Array<Text>, _>(granted);
    type Table = (
        String,
        String,
        String,
        bool,
        bool,
        bool,
        String,
        Option<String>,
    );
    let tables: Vec<Table> = db.run(|conn| tables.rows(conn))?;
    let table =
        |(schema, name, owner, is_owner, can_be_granted, has_member, verbs, root): Table| {
            let verbs = verbs.split(['{', ',', '}']);
            HeldOnTable {
                schema,
                name,
                partition_of: root,
                verbs: verbs.filter_map(Verb::named).collect(),
                is_owner,
                owner: Owner {
                    name: owner,
                    can_be_granted,
                    has_member,
                },
            }
        };
    Ok(tables.into_iter().map(table).collect())
}

/// The sequences that numbered columns use and the role cannot read and set.
fn fixed_sequences(db: &mut Postgres, application_schema: &str) -> QueryResult<Vec<String>> {
    let sequences = sql_query(
        "SELECT format('%I.%I', n.nspname, q.relname)
         FROM pg_class q JOIN pg_depend d ON d.objid = q.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
         JOIN pg_class c ON c.oid = d.refobjid AND d.refclassid = 'pg_class'::regclass
         JOIN pg_namespace n ON n.oid = q.relnamespace
         WHERE q.relkind = 'S' AND n.nspname IN ($1, $2)
           AND c.relname <> 'usagectl_migration_log'
           AND NOT (has_sequence_privilege(q.oid, 'SELECT') AND has_sequence_privilege(q.oid, 'UPDATE'))
         ORDER BY 1",
    )
    .bind::<Text, _>(application_schema)
    .bind::<Text, _>(OWN_SCHEMA);
    db.run(|conn| sequences.rows(conn))
}

/// Our functions and the application's enums that belong to another role.
fn foreign_objects(
    db: &mut Postgres,
    application_schema: &str,
    granted: &[String],
) -> QueryResult<Vec<ForeignObject>> {
    let foreign = sql_query(
        "SELECT o.object, owner.rolname::text,
                NOT owner.rolsuper AND NOT pg_has_role(owner.oid, current_user, 'MEMBER'),
                pg_has_role(owner.oid, 'MEMBER')
         FROM (
             SELECT format('FUNCTION %I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS object, p.proowner AS owner
             FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $2
             UNION
             SELECT 'TYPE ' || format('%I.%I', n.nspname, t.typname), t.typowner
             FROM pg_type t
             JOIN pg_namespace n ON n.oid = t.typnamespace AND n.nspname = $1
             JOIN pg_attribute a ON a.atttypid = t.oid AND NOT a.attisdropped
             JOIN pg_class c ON c.oid = a.attrelid AND c.relnamespace = n.oid AND c.relname = ANY ($3)
             WHERE t.typtype = 'e'
         ) o
         JOIN pg_roles owner ON owner.oid = o.owner
         WHERE NOT EXISTS (SELECT FROM unnest(current_user::text || $4) AS r WHERE pg_has_role(r, owner.oid, 'USAGE'))
         ORDER BY o.object",
    )
    .bind::<Text, _>(application_schema)
    .bind::<Text, _>(OWN_SCHEMA)
    .bind::<Array<Text>, _>(application_tables("migrate --restore").iter().map(|(name, _)| *name).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(granted);
    let foreign: Vec<(String, String, bool, bool)> = db.run(|conn| foreign.rows(conn))?;
    let foreign = foreign
        .into_iter()
        .map(|(object, name, can_be_granted, has_member)| ForeignObject {
            object,
            owner: Owner {
                name,
                can_be_granted,
                has_member,
            },
        });
    Ok(foreign.collect())
}
