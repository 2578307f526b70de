//! The rights of the connected role, from PostgreSQL's catalogue, which every role may read.

use diesel::sql_types::{Array, Text};
use diesel::{QueryResult, sql_query};

use super::db::{Db, OWN_SCHEMA, on};
use super::tuples::LoadTuples;
use crate::domain::named::Named;
use crate::domain::schema::rights::{
    ForeignObject, Held, HeldOnSchema, HeldOnTable, Owner, Verb, application_tables,
};

/// Reads the rights of the role that `db`, a PostgreSQL database, is connected as.
pub fn held(db: &mut Db, application_schema: &str) -> QueryResult<Held> {
    let role = sql_query(
        "SELECT current_user::text, current_database()::text,
                has_database_privilege(current_database(), 'CREATE'),
                has_database_privilege(current_database(), 'TEMPORARY')",
    );
    let (role, database, creates_schemas, creates_temporary_tables) =
        on!(db, |conn| role.row(conn))?;
    let schemas = sql_query(
        "SELECT nspname::text, has_schema_privilege(oid, 'USAGE'), has_schema_privilege(oid, 'CREATE')
         FROM pg_namespace
         WHERE nspname IN ($1, $2) OR oid IN (
             SELECT p.relnamespace FROM pg_class p JOIN pg_class root ON root.oid = pg_partition_root(p.oid)
             JOIN pg_namespace n ON n.oid = root.relnamespace AND n.nspname = $1 WHERE p.relispartition
         )
         ORDER BY nspname",
    )
    .bind::<Text, _>(application_schema)
    .bind::<Text, _>(OWN_SCHEMA);
    let schemas: Vec<(String, bool, bool)> = on!(db, |conn| schemas.rows(conn))?;
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
        schemas: schemas.into_iter().map(schema).collect(),
        tables: tables(db, application_schema)?,
        fixed_sequences: fixed_sequences(db, application_schema)?,
        foreign: foreign_objects(db, application_schema)?,
    })
}

/// The tables of both schemas, and the partitions of theirs.
fn tables(db: &mut Db, application_schema: &str) -> QueryResult<Vec<HeldOnTable>> {
    let tables = sql_query(
        "SELECT n.nspname::text, c.relname::text, owner.rolname::text,
                pg_has_role(owner.oid, 'USAGE'),
                NOT owner.rolsuper AND NOT pg_has_role(owner.oid, 'MEMBER')
                    AND NOT pg_has_role(owner.oid, current_user, 'MEMBER'),
                ARRAY(SELECT verb FROM unnest('{SELECT,INSERT,UPDATE,DELETE,TRIGGER}'::text[]) AS verb
                    WHERE has_table_privilege(c.oid, verb))::text,
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
    .bind::<Text, _>(OWN_SCHEMA);
    type Table = (String, String, String, bool, bool, String, Option<String>);
    let tables: Vec<Table> = on!(db, |conn| tables.rows(conn))?;
    let table = |(schema, name, owner, is_owner, owner_can_be_granted, verbs, root): Table| {
        let verbs = verbs.split(['{', ',', '}']);
        HeldOnTable {
            schema,
            name,
            partition_of: root,
            verbs: verbs.filter_map(Verb::named).collect(),
            is_owner,
            owner: Owner {
                name: owner,
                can_be_granted: owner_can_be_granted,
            },
        }
    };
    Ok(tables.into_iter().map(table).collect())
}

/// The sequences that numbered columns use and the role cannot read and set.
fn fixed_sequences(db: &mut Db, application_schema: &str) -> QueryResult<Vec<String>> {
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
    match db {
        Db::Pg(postgres) => postgres.run(|conn| sequences.rows(conn)),
        Db::Sqlite(_) => Ok(Vec::new()),
    }
}

/// Our functions and the application's enums that belong to another role.
fn foreign_objects(db: &mut Db, application_schema: &str) -> QueryResult<Vec<ForeignObject>> {
    let foreign = sql_query(
        "SELECT o.object, owner.rolname::text, NOT owner.rolsuper AND NOT pg_has_role(owner.oid, 'MEMBER')
                    AND NOT pg_has_role(owner.oid, current_user, 'MEMBER')
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
         WHERE NOT pg_has_role(owner.oid, 'USAGE')
         ORDER BY o.object",
    )
    .bind::<Text, _>(application_schema)
    .bind::<Text, _>(OWN_SCHEMA)
    .bind::<Array<Text>, _>(application_tables("migrate --restore").iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let foreign: Vec<(String, String, bool)> = match db {
        Db::Pg(postgres) => postgres.run(|conn| foreign.rows(conn))?,
        Db::Sqlite(_) => Vec::new(),
    };
    let foreign = foreign
        .into_iter()
        .map(|(object, name, can_be_granted)| ForeignObject {
            object,
            owner: Owner {
                name,
                can_be_granted,
            },
        });
    Ok(foreign.collect())
}
