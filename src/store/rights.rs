//! The rights of the connected role, from PostgreSQL's catalogue, which every role may read.

use diesel::sql_types::Text;
use diesel::{QueryResult, sql_query};

use super::db::{Db, OWN_SCHEMA, on};
use super::tuples::LoadTuples;
use crate::domain::named::Named;
use crate::domain::schema::rights::{Held, HeldOnSchema, HeldOnTable, Verb};

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
         FROM pg_namespace WHERE nspname IN ($1, $2) ORDER BY nspname",
    )
    .bind::<Text, _>(application_schema)
    .bind::<Text, _>(OWN_SCHEMA);
    let schemas: Vec<(String, bool, bool)> = on!(db, |conn| schemas.rows(conn))?;
    let schema = |(name, usage, create)| HeldOnSchema {
        name,
        usage,
        create,
    };
    let tables = sql_query(
        "SELECT n.nspname::text, c.relname::text, owner.rolname::text,
                pg_has_role(owner.oid, 'USAGE'),
                NOT owner.rolsuper AND NOT pg_has_role(owner.oid, 'MEMBER'),
                ARRAY(SELECT verb FROM unnest('{SELECT,INSERT,UPDATE,DELETE,TRIGGER}'::text[]) AS verb
                    WHERE has_table_privilege(c.oid, verb))::text
         FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_roles owner ON owner.oid = c.relowner
         WHERE n.nspname IN ($1, $2) AND c.relkind IN ('r', 'p')
         ORDER BY n.nspname, c.relname",
    )
    .bind::<Text, _>(application_schema)
    .bind::<Text, _>(OWN_SCHEMA);
    let tables: Vec<(String, String, String, bool, bool, String)> =
        on!(db, |conn| tables.rows(conn))?;
    let table =
        |(schema, name, owner, is_owner, owner_can_be_granted, verbs): (_, _, _, _, _, String)| {
            let verbs = verbs.split(['{', ',', '}']);
            HeldOnTable {
                schema,
                name,
                verbs: verbs.filter_map(Verb::named).collect(),
                is_owner,
                owner,
                owner_can_be_granted,
            }
        };
    Ok(Held {
        role,
        database,
        application_schema: application_schema.to_owned(),
        creates_schemas,
        creates_temporary_tables,
        schemas: schemas.into_iter().map(schema).collect(),
        tables: tables.into_iter().map(table).collect(),
    })
}
