//! The checks of `status --verify`: defects that are not differences from the migrations.

use diesel::sql_types::{Array, Text};
use diesel::{QueryResult, sql_query};

use super::db::Db;
use super::tuples::LoadTuples;
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
            let tables: Vec<&str> = expected.tables().collect();
            let query = sql_query(include_str!("verification_postgres.sql"));
            let query = query.bind::<Array<Text>, _>(tables);
            let mut found: Vec<(String, String, Option<String>)> =
                postgres.run(|conn| query.rows(conn))?;
            if has_log {
                found.extend(postgres.run(|conn| sql_query(LOG_SEQUENCE).rows(conn))?);
            }
            let defect = |(object, problem, fix)| Defect {
                object,
                problem,
                fix,
            };
            Ok(found.into_iter().map(defect).collect())
        }
        Db::Sqlite(conn) => {
            // The length of the list.
            let results: Vec<String> = sql_query("PRAGMA quick_check(20)").rows(conn)?;
            let damages = results.into_iter().filter(|result| result != "ok");
            let defect = |damage: String| Defect {
                object: "file".to_owned(),
                problem: format!("is damaged: {damage}"),
                fix: None,
            };
            Ok(damages.map(defect).collect())
        }
    }
}
