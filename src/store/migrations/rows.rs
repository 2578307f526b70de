//! Rows of any table: its columns from the catalogue, its values as JSON.

use diesel::connection::DefaultLoadingMode;
use diesel::deserialize::{self, FromSql, QueryableByName};
use diesel::pg::{Pg, PgRowByRowLoadingMode};
use diesel::prelude::*;
use diesel::row::{Field, NamedRow, Row as DieselRow};
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Double, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteType};
use serde_json::Value;

use crate::domain::schema::manifest::ColumnExport;
use crate::domain::schema::value::{self, Kind, Stored};
use crate::store::db::{Db, on, quote_identifier};
use crate::store::tuples::LoadTuples;

/// The columns of a table that can be written, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct TableColumns {
    pub(in crate::store) columns: Vec<ColumnExport>,
    /// The primary key, in its order.
    pub(in crate::store) key: Vec<String>,
}

impl TableColumns {
    /// Reads them; nothing if the table does not exist.
    pub(in crate::store) fn read(db: &mut Db, table: &str) -> QueryResult<Option<TableColumns>> {
        // Name, declared type, place in the key from 1, and whether it is generated.
        let found: Vec<(String, String, i64, bool)> = match db {
            // An int2vector counts from 0.
            Db::Pg(postgres) => {
                let query = sql_query(
                    "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod),
                         coalesce(array_position(i.indkey::int2[], a.attnum) + 1, 0)::bigint,
                         a.attgenerated <> ''
                     FROM pg_attribute a
                     LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
                     WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
                     ORDER BY a.attnum",
                );
                let query = query.bind::<Text, _>(quote_identifier(table));
                postgres.run(|conn| query.rows(conn))?
            }
            Db::Sqlite(conn) => {
                let query =
                    "SELECT name, type, pk, hidden <> 0 FROM pragma_table_xinfo(?) ORDER BY cid";
                sql_query(query).bind::<Text, _>(table).rows(conn)?
            }
        };
        if found.is_empty() {
            return Ok(None);
        }
        let mut key: Vec<_> = found.iter().filter(|(_, _, place, _)| *place > 0).collect();
        key.sort_by_key(|(_, _, place, _)| *place);
        let key = key.into_iter().map(|(name, ..)| name.clone()).collect();
        let columns = found.into_iter().filter(|(.., is_generated)| !is_generated);
        let columns = columns.map(|(name, declared, ..)| ColumnExport { name, declared });
        Ok(Some(TableColumns {
            columns: columns.collect(),
            key,
        }))
    }

    pub(in crate::store) fn get(&self, name: &str) -> Option<&ColumnExport> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// Makes PostgreSQL write values as text in one form, until the transaction ends.
pub(in crate::store) fn fix_text_forms(db: &mut Db) -> QueryResult<()> {
    match db {
        Db::Pg(_) => db.batch_execute(
            "SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres';
             SET LOCAL TimeZone = 'UTC'; SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1",
        ),
        Db::Sqlite(_) => Ok(()),
    }
}

/// A column as a value of [`for_each`]: as text on PostgreSQL.
pub(in crate::store) fn selected(db: &Db, expression: &str) -> String {
    match db {
        Db::Pg(_) => format!("{expression}::text"),
        Db::Sqlite(_) => expression.to_owned(),
    }
}

/// The values of a row, as the engine has them.
struct Row(Vec<Stored>);

impl QueryableByName<Sqlite> for Row {
    fn build<'a>(row: &impl NamedRow<'a, Sqlite>) -> deserialize::Result<Row> {
        let read = |place| {
            let field = DieselRow::get(row, place).ok_or("a column is missing")?;
            let Some(value) = field.value() else {
                return Ok(Stored::Null);
            };
            Ok(match value.value_type() {
                Some(SqliteType::Double | SqliteType::Float) => {
                    Stored::Real(<f64 as FromSql<Double, Sqlite>>::from_sql(value)?)
                }
                Some(SqliteType::Text) => {
                    Stored::Text(<String as FromSql<Text, Sqlite>>::from_sql(value)?)
                }
                Some(SqliteType::Binary) => {
                    Stored::Blob(<Vec<u8> as FromSql<Binary, Sqlite>>::from_sql(value)?)
                }
                _ => Stored::Integer(<i64 as FromSql<BigInt, Sqlite>>::from_sql(value)?),
            })
        };
        let values: deserialize::Result<_> = (0..row.field_count()).map(read).collect();
        Ok(Row(values?))
    }
}

impl QueryableByName<Pg> for Row {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Row> {
        let read = |place| {
            let field = DieselRow::get(row, place).ok_or("a column is missing")?;
            let text =
                <Option<String> as FromSql<Nullable<Text>, Pg>>::from_nullable_sql(field.value())?;
            Ok(text.map_or(Stored::Null, Stored::Text))
        };
        let values: deserialize::Result<_> = (0..row.field_count()).map(read).collect();
        Ok(Row(values?))
    }
}

/// Calls `work` with the values of each row of `query`, one at a time. Values beyond `kinds` are text.
pub(in crate::store) fn for_each<E: From<diesel::result::Error>>(
    db: &mut Db,
    query: String,
    kinds: &[Kind],
    mut work: impl FnMut(Vec<Value>) -> Result<(), E>,
) -> Result<(), E> {
    let kind = |place: usize| kinds.get(place).copied().unwrap_or(Kind::Text);
    match db {
        Db::Pg(postgres) => postgres.run(|conn| {
            let rows = sql_query(query).load_iter::<Row, PgRowByRowLoadingMode>(conn)?;
            for row in rows {
                let values = row?.0.into_iter().enumerate();
                let values = values.map(|(place, stored)| match stored {
                    Stored::Text(text) => value::from_postgres(kind(place), Some(&text)),
                    _ => Value::Null,
                });
                work(values.collect())?;
            }
            Ok(())
        }),
        Db::Sqlite(conn) => {
            let rows = sql_query(query).load_iter::<Row, DefaultLoadingMode>(conn)?;
            for row in rows {
                let values = row?.0.into_iter().enumerate();
                let values = values.map(|(place, it)| value::from_sqlite(kind(place), it));
                work(values.collect())?;
            }
            Ok(())
        }
    }
}

/// The only value of a query's only row.
pub(in crate::store) fn number(db: &mut Db, query: String) -> QueryResult<i64> {
    on!(db, |conn| sql_query(query).row(conn))
}
