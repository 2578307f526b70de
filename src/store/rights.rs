//! The rights of the connected role, from PostgreSQL's catalogue, which every role may read.

use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};

use super::db::{Db, OWN_SCHEMA, on};
use crate::domain::schema::rights::{Held, HeldOnSchema, HeldOnTable, Verb};

#[derive(QueryableByName)]
struct RoleRow {
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Text)]
    database: String,
    #[diesel(sql_type = Bool)]
    creates_schemas: bool,
    #[diesel(sql_type = Bool)]
    creates_temporary_tables: bool,
}

#[derive(QueryableByName)]
struct SchemaRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Bool)]
    usage: bool,
    #[diesel(sql_type = Bool)]
    create: bool,
}

#[derive(QueryableByName)]
struct TableRow {
    #[diesel(sql_type = Text)]
    schema: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    owner: String,
    #[diesel(sql_type = Bool)]
    is_owner: bool,
    #[diesel(sql_type = Bool)]
    owner_can_be_granted: bool,
    #[diesel(sql_type = Bool)]
    select: bool,
    #[diesel(sql_type = Bool)]
    insert: bool,
    #[diesel(sql_type = Bool)]
    update: bool,
    #[diesel(sql_type = Bool)]
    delete: bool,
    #[diesel(sql_type = Bool)]
    trigger: bool,
}

/// Reads the rights of the role that `db`, a PostgreSQL database, is connected as.
pub fn held(db: &mut Db, application_schema: &str) -> QueryResult<Held> {
    let role = diesel::sql_query(
        "SELECT current_user::text AS role, current_database()::text AS database,
                has_database_privilege(current_database(), 'CREATE') AS creates_schemas,
                has_database_privilege(current_database(), 'TEMPORARY') AS creates_temporary_tables",
    );
    let role: RoleRow = on!(db, |conn| role.get_result(conn))?;
    let schemas = diesel::sql_query(
        "SELECT nspname::text AS name, has_schema_privilege(oid, 'USAGE') AS usage,
                has_schema_privilege(oid, 'CREATE') AS create
         FROM pg_namespace WHERE nspname IN ($1, $2) ORDER BY nspname",
    )
    .bind::<Text, _>(application_schema)
    .bind::<Text, _>(OWN_SCHEMA);
    let schemas: Vec<SchemaRow> = on!(db, |conn| schemas.load(conn))?;
    let tables = diesel::sql_query(
        "SELECT n.nspname::text AS schema, c.relname::text AS name, owner.rolname::text AS owner,
                pg_has_role(owner.oid, 'USAGE') AS is_owner,
                NOT owner.rolsuper AND NOT pg_has_role(owner.oid, 'MEMBER') AS owner_can_be_granted,
                has_table_privilege(c.oid, 'SELECT') AS select,
                has_table_privilege(c.oid, 'INSERT') AS insert,
                has_table_privilege(c.oid, 'UPDATE') AS update,
                has_table_privilege(c.oid, 'DELETE') AS delete,
                has_table_privilege(c.oid, 'TRIGGER') AS trigger
         FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_roles owner ON owner.oid = c.relowner
         WHERE n.nspname IN ($1, $2) AND c.relkind IN ('r', 'p')
         ORDER BY n.nspname, c.relname",
    )
    .bind::<Text, _>(application_schema)
    .bind::<Text, _>(OWN_SCHEMA);
    let tables: Vec<TableRow> = on!(db, |conn| tables.load(conn))?;
    Ok(Held {
        role: role.role,
        database: role.database,
        application_schema: application_schema.to_owned(),
        creates_schemas: role.creates_schemas,
        creates_temporary_tables: role.creates_temporary_tables,
        schemas: schemas.into_iter().map(SchemaRow::held).collect(),
        tables: tables.into_iter().map(TableRow::held).collect(),
    })
}

impl SchemaRow {
    fn held(self) -> HeldOnSchema {
        HeldOnSchema {
            name: self.name,
            usage: self.usage,
            create: self.create,
        }
    }
}

impl TableRow {
    fn held(self) -> HeldOnTable {
        let verbs = [
            (self.select, Verb::Select),
            (self.insert, Verb::Insert),
            (self.update, Verb::Update),
            (self.delete, Verb::Delete),
            (self.trigger, Verb::Trigger),
        ];
        let verbs = verbs.into_iter().filter(|(held, _)| *held);
        HeldOnTable {
            schema: self.schema,
            name: self.name,
            verbs: verbs.map(|(_, verb)| verb).collect(),
            is_owner: self.is_owner,
            owner: self.owner,
            owner_can_be_granted: self.owner_can_be_granted,
        }
    }
}
