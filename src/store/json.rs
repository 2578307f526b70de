//! Columns of JSON: `jsonb` in PostgreSQL, in SQLite the compact text that Prisma writes.

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::Text;
use diesel::sqlite::{Sqlite, SqliteType, SqliteValue};

use super::schema::sql_types;

/// A JSON document, as its text.
#[derive(AsExpression, Clone, Debug, Eq, FromSqlRow, PartialEq)]
#[diesel(sql_type = sql_types::JsonText)]
pub struct Json(pub String);

/// The first byte of a `jsonb` value on the wire.
const JSONB_VERSION: u8 = 1;

impl ToSql<sql_types::JsonText, Pg> for Json {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        std::io::Write::write_all(out, &[JSONB_VERSION])?;
        std::io::Write::write_all(out, self.0.as_bytes())?;
        Ok(IsNull::No)
    }
}

impl FromSql<sql_types::JsonText, Pg> for Json {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Json> {
        match value.as_bytes() {
            [JSONB_VERSION, text @ ..] => Ok(Json(std::str::from_utf8(text)?.to_owned())),
            _ => Err("a jsonb value of a version that is not known".into()),
        }
    }
}

impl ToSql<sql_types::JsonText, Sqlite> for Json {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.as_str());
        Ok(IsNull::No)
    }
}

impl FromSql<sql_types::JsonText, Sqlite> for Json {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Json> {
        // The column may hold anything; what is no text is no JSON either.
        match value.value_type() {
            Some(SqliteType::Text) => <String as FromSql<Text, Sqlite>>::from_sql(value).map(Json),
            _ => Ok(Json(String::new())),
        }
    }
}
