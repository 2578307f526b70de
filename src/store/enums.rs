//! The application's closed sets as columns: native enums in PostgreSQL, text with a CHECK in SQLite.

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::Text;
use diesel::sqlite::{Sqlite, SqliteValue};

use super::schema::sql_types;
use crate::domain::metrics::names::{Metric, Priority, Service, Status};
use crate::domain::named::Named;

/// A member of a closed set, as a value of its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = sql_types::InfrastructureService)]
#[diesel(sql_type = sql_types::MetricType)]
#[diesel(sql_type = sql_types::RecommendationPriority)]
#[diesel(sql_type = sql_types::RecommendationStatus)]
pub struct Column<T: std::fmt::Debug>(pub T);

macro_rules! column {
    ($type:ty, $sql_type:ty) => {
        impl ToSql<$sql_type, Pg> for Column<$type> {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
                std::io::Write::write_all(out, self.0.as_str().as_bytes())?;
                Ok(IsNull::No)
            }
        }

        impl ToSql<$sql_type, Sqlite> for Column<$type> {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
                out.set_value(self.0.as_str());
                Ok(IsNull::No)
            }
        }

        impl FromSql<$sql_type, Pg> for Column<$type> {
            fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
                Ok(Column(
                    std::str::from_utf8(value.as_bytes())?.parse::<$type>()?,
                ))
            }
        }

        impl FromSql<$sql_type, Sqlite> for Column<$type> {
            fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
                let name = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
                Ok(Column(name.parse::<$type>()?))
            }
        }
    };
}

column!(Service, sql_types::InfrastructureService);
column!(Metric, sql_types::MetricType);
column!(Priority, sql_types::RecommendationPriority);
column!(Status, sql_types::RecommendationStatus);
