//! Column types of the application's tables: closed sets, JSON, and values read leniently.
//!
//! A SQLite file accepts any value in any column. A value of another type than the column's is converted
//! as the triggers and Prisma convert it, so that one odd row stops no command.

use chrono::{DateTime, Utc};
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{Array, BigInt, Binary, Bool, Double, Integer, Nullable, Text, Timestamp};
use diesel::sqlite::{Sqlite, SqliteType, SqliteValue};

use super::schema::sql_types;
use super::time::UtcTimestamp;
use crate::domain::metrics::names::{Metric, Priority, Service, Status};
use crate::domain::named::Named;

/// A member of a closed set: a native enum in PostgreSQL, text in SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = sql_types::InfrastructureService)]
#[diesel(sql_type = sql_types::MetricType)]
#[diesel(sql_type = sql_types::RecommendationPriority)]
#[diesel(sql_type = sql_types::RecommendationStatus)]
pub struct EnumColumn<T: std::fmt::Debug>(pub T);

macro_rules! enum_column {
    ($type:ty, $sql_type:ty) => {
        impl ToSql<$sql_type, Pg> for EnumColumn<$type> {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
                std::io::Write::write_all(out, self.0.as_str().as_bytes())?;
                Ok(IsNull::No)
            }
        }

        impl ToSql<$sql_type, Sqlite> for EnumColumn<$type> {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
                out.set_value(self.0.as_str());
                Ok(IsNull::No)
            }
        }

        impl FromSql<$sql_type, Pg> for EnumColumn<$type> {
            fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
                Ok(EnumColumn(
                    std::str::from_utf8(value.as_bytes())?.parse::<$type>()?,
                ))
            }
        }

        impl FromSql<$sql_type, Sqlite> for EnumColumn<$type> {
            fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
                let name = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
                Ok(EnumColumn(name.parse::<$type>()?))
            }
        }
    };
}

enum_column!(Service, sql_types::InfrastructureService);
enum_column!(Metric, sql_types::MetricType);
enum_column!(Priority, sql_types::RecommendationPriority);
enum_column!(Status, sql_types::RecommendationStatus);

/// A JSON document as text: `jsonb` in PostgreSQL, in SQLite the compact text that Prisma writes. Of a `text[]`,
/// which some applications have for a list, the JSON array.
#[derive(AsExpression, Clone, Debug, Eq, FromSqlRow, PartialEq)]
#[diesel(sql_type = sql_types::JsonText)]
pub struct Json(pub String);

/// The first byte of a `jsonb` value on the wire.
const JSONB_VERSION: u8 = 1;

/// PostgreSQL's number of the type `text[]`.
const TEXT_ARRAY: u32 = 1009;

impl ToSql<sql_types::JsonText, Pg> for Json {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        std::io::Write::write_all(out, &[JSONB_VERSION])?;
        std::io::Write::write_all(out, self.0.as_bytes())?;
        Ok(IsNull::No)
    }
}

impl FromSql<sql_types::JsonText, Pg> for Json {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Json> {
        if value.get_oid().get() == TEXT_ARRAY {
            let texts =
                <Vec<Option<String>> as FromSql<Array<Nullable<Text>>, Pg>>::from_sql(value)?;
            return Ok(Json(serde_json::Value::from(texts).to_string()));
        }
        match value.as_bytes() {
            [JSONB_VERSION, text @ ..] => Ok(Json(std::str::from_utf8(text)?.to_owned())),
            _ => Err("unknown jsonb version".into()),
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
        // A value of any other type is not JSON.
        match value.value_type() {
            Some(SqliteType::Text) => <String as FromSql<Text, Sqlite>>::from_sql(value).map(Json),
            _ => Ok(Json(String::new())),
        }
    }
}

/// A text. In SQLite also a blob; bytes that are not UTF-8 are replaced by U+FFFD.
#[derive(Clone, Debug, FromSqlRow)]
pub struct LenientText(pub String);

impl FromSql<Text, Pg> for LenientText {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<LenientText> {
        <String as FromSql<Text, Pg>>::from_sql(value).map(LenientText)
    }
}

impl FromSql<Text, Sqlite> for LenientText {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<LenientText> {
        let bytes = <Vec<u8> as FromSql<Binary, Sqlite>>::from_sql(value)?;
        Ok(LenientText(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// A whole number, also in a column that was widened to 64 bits. NULL, and SQLite's text and blobs, are read as
/// `i64::MIN`, which no check accepts.
#[derive(Clone, Copy, Debug, FromSqlRow)]
pub struct LenientInt(pub i64);

impl FromSql<Integer, Pg> for LenientInt {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<LenientInt> {
        if value.as_bytes().len() == size_of::<i64>() {
            return <i64 as FromSql<BigInt, Pg>>::from_sql(value).map(LenientInt);
        }
        let number = <i32 as FromSql<Integer, Pg>>::from_sql(value)?;
        Ok(LenientInt(number.into()))
    }

    fn from_nullable_sql(value: Option<PgValue<'_>>) -> deserialize::Result<LenientInt> {
        value.map_or(
            Ok(LenientInt(i64::MIN)),
            <LenientInt as FromSql<Integer, Pg>>::from_sql,
        )
    }
}

impl FromSql<Integer, Sqlite> for LenientInt {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<LenientInt> {
        // SQLite would convert text to 0.
        if is_number(&value) {
            <i64 as FromSql<BigInt, Sqlite>>::from_sql(value).map(LenientInt)
        } else {
            Ok(LenientInt(i64::MIN))
        }
    }

    fn from_nullable_sql(
        value: Option<SqliteValue<'_, '_, '_>>,
    ) -> deserialize::Result<LenientInt> {
        value.map_or(
            Ok(LenientInt(i64::MIN)),
            <LenientInt as FromSql<Integer, Sqlite>>::from_sql,
        )
    }
}

/// A floating-point number; NULL, text and blobs are read as NaN.
#[derive(Clone, Copy, Debug, FromSqlRow)]
pub struct LenientFloat(pub f64);

impl FromSql<Double, Pg> for LenientFloat {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<LenientFloat> {
        <f64 as FromSql<Double, Pg>>::from_sql(value).map(LenientFloat)
    }
}

impl FromSql<Double, Sqlite> for LenientFloat {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<LenientFloat> {
        if is_number(&value) {
            <f64 as FromSql<Double, Sqlite>>::from_sql(value).map(LenientFloat)
        } else {
            Ok(LenientFloat(f64::NAN))
        }
    }
}

fn is_number(value: &SqliteValue<'_, '_, '_>) -> bool {
    !matches!(
        value.value_type(),
        None | Some(SqliteType::Text | SqliteType::Binary)
    )
}

/// A boolean; NULL is false, since databases made by the application may have a nullable `cached`.
#[derive(Clone, Copy, Debug, FromSqlRow)]
pub struct LenientBool(pub bool);

impl FromSql<Bool, Pg> for LenientBool {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<LenientBool> {
        <bool as FromSql<Bool, Pg>>::from_sql(value).map(LenientBool)
    }

    fn from_nullable_sql(value: Option<PgValue<'_>>) -> deserialize::Result<LenientBool> {
        value.map_or(
            Ok(LenientBool(false)),
            <LenientBool as FromSql<Bool, Pg>>::from_sql,
        )
    }
}

impl FromSql<Bool, Sqlite> for LenientBool {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<LenientBool> {
        if value.value_type() == Some(SqliteType::Text) {
            let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
            return Ok(LenientBool(text.eq_ignore_ascii_case("true")));
        }
        <bool as FromSql<Bool, Sqlite>>::from_sql(value).map(LenientBool)
    }

    fn from_nullable_sql(
        value: Option<SqliteValue<'_, '_, '_>>,
    ) -> deserialize::Result<LenientBool> {
        value.map_or(
            Ok(LenientBool(false)),
            <LenientBool as FromSql<Bool, Sqlite>>::from_sql,
        )
    }
}

/// A timestamp, or nothing for NULL and for unreadable values such as PostgreSQL's `infinity`.
#[derive(Clone, Copy, Debug, FromSqlRow)]
pub struct MaybeTimestamp(pub Option<DateTime<Utc>>);

impl FromSql<Timestamp, Pg> for MaybeTimestamp {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<MaybeTimestamp> {
        let ts = <UtcTimestamp as FromSql<Timestamp, Pg>>::from_sql(value);
        Ok(MaybeTimestamp(ts.ok().map(UtcTimestamp::utc)))
    }
}

impl FromSql<Timestamp, Sqlite> for MaybeTimestamp {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<MaybeTimestamp> {
        let ts = <UtcTimestamp as FromSql<Timestamp, Sqlite>>::from_sql(value);
        Ok(MaybeTimestamp(ts.ok().map(UtcTimestamp::utc)))
    }
}

impl From<MaybeTimestamp> for Option<UtcTimestamp> {
    fn from(timestamp: MaybeTimestamp) -> Option<UtcTimestamp> {
        timestamp.0.map(UtcTimestamp::new)
    }
}

impl From<LenientInt> for i32 {
    fn from(number: LenientInt) -> i32 {
        i32::try_from(number.0).unwrap_or(if number.0 < 0 { i32::MIN } else { i32::MAX })
    }
}

impl From<LenientInt> for Option<i32> {
    fn from(number: LenientInt) -> Option<i32> {
        i32::try_from(number.0).ok()
    }
}

impl From<LenientFloat> for Option<f64> {
    fn from(number: LenientFloat) -> Option<f64> {
        number.0.is_finite().then_some(number.0)
    }
}

/// Reads a nullable column as a lenient type; NULL becomes `$null`.
macro_rules! nullable {
    ($type:ty, $sql_type:ty, $null:expr) => {
        impl FromSql<Nullable<$sql_type>, Pg> for $type {
            fn from_sql(value: PgValue<'_>) -> deserialize::Result<$type> {
                <$type as FromSql<$sql_type, Pg>>::from_sql(value)
            }

            fn from_nullable_sql(value: Option<PgValue<'_>>) -> deserialize::Result<$type> {
                value.map_or(Ok($null), <$type as FromSql<$sql_type, Pg>>::from_sql)
            }
        }

        impl FromSql<Nullable<$sql_type>, Sqlite> for $type {
            fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<$type> {
                <$type as FromSql<$sql_type, Sqlite>>::from_sql(value)
            }

            fn from_nullable_sql(
                value: Option<SqliteValue<'_, '_, '_>>,
            ) -> deserialize::Result<$type> {
                value.map_or(Ok($null), <$type as FromSql<$sql_type, Sqlite>>::from_sql)
            }
        }
    };
}

nullable!(LenientInt, Integer, LenientInt(i64::MIN));
nullable!(LenientFloat, Double, LenientFloat(f64::NAN));
nullable!(MaybeTimestamp, Timestamp, MaybeTimestamp(None));
