//! The checks of `status --verify`: defects that are not differences from the migrations.

use diesel::prelude::*;
use diesel::sql_types::{Array, Nullable, Text};

use super::db::Db;
use crate::domain::schema::objects::SchemaObjects;
use crate::domain::schema::status::Defect;

/// A sequence behind its column, as a restore of rows without sequences leaves it.
const LOG_SEQUENCE: &str = "SELECT 'table usagectl_migration_log' AS object,
         format('has row %s, but its sequence is at %s', newest, coalesce(at, 0)) AS problem,
         format('SELECT setval(%L, %s);', name, newest) AS fix
     FROM (SELECT pg_get_serial_sequence('usagectl.usagectl_migration_log', 'id') AS name,
               (SELECT max(id) FROM usagectl.usagectl_migration_log) AS newest) AS log,
         LATERAL (SELECT pg_sequence_last_value(name::regclass) AS at) AS sequence
     WHERE has_sequence_privilege(name, 'USAGE') AND newest > coalesce(at, 0)";

/// The defects of the tables of `expected` and of our own. Only reads the catalogue on PostgreSQL; reads the
/// whole file on SQLite.
pub fn defects(db: &mut Db, expected: &SchemaObjects, has_log: bool) -> QueryResult<Vec<Defect>> {
    match db {
        Db::Pg(postgres) => {
            #[derive(QueryableByName)]
            struct Row {
                #[diesel(sql_type = Text)]
                object: String,
                #[diesel(sql_type = Text)]
                problem: String,
                #[diesel(sql_type = Nullable<Text>)]
                fix: Option<String>,
            }
            let tables: Vec<&str> = expected.tables().collect();
            let mut rows: Vec<Row> = postgres.run(|conn| {
                diesel::sql_query(include_str!("verification_postgres.sql"))
                    .bind::<Array<Text>, _>(tables)
                    .load(conn)
            })?;
            if has_log {
                let of_log = postgres.run(|conn| diesel::sql_query(LOG_SEQUENCE).load(conn))?;
                rows.extend::<Vec<Row>>(of_log);
            }
            let defect = |row: Row| Defect {
                object: row.object,
                problem: row.problem,
                fix: row.fix,
            };
            Ok(rows.into_iter().map(defect).collect())
        }
        Db::Sqlite(conn) => {
            #[derive(QueryableByName)]
            struct Row {
                #[diesel(sql_type = Text)]
                quick_check: String,
            }
            // The length of the list.
            let rows: Vec<Row> = diesel::sql_query("PRAGMA quick_check(20)").load(conn)?;
            let damages = rows.into_iter().filter(|row| row.quick_check != "ok");
            let defect = |row: Row| Defect {
                object: "file".to_owned(),
                problem: format!("is damaged: {}", row.quick_check),
                fix: None,
            };
            Ok(damages.map(defect).collect())
        }
    }
}
