//! Columns of the application, read whatever is in them.
//!
//! Whoever writes to a SQLite file may put anything into a column, whatever its type says. A value that is
//! not what it should be is taken for what it can be, as the triggers and Prisma take it, and ends no run.

use chrono::{DateTime, Utc};
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::{BigInt, Binary, Bool, Double, Integer, Nullable, Text, Timestamp};
use diesel::sqlite::{Sqlite, SqliteType, SqliteValue};

use super::time::Ts;

/// A text; in SQLite also bytes that are none, as far as they can be shown.
#[derive(Clone, Debug, FromSqlRow)]
pub struct Words(pub String);

impl FromSql<Text, Pg> for Words {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Words> {
        <String as FromSql<Text, Pg>>::from_sql(value).map(Words)
    }
}

impl FromSql<Text, Sqlite> for Words {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Words> {
        let bytes = <Vec<u8> as FromSql<Binary, Sqlite>>::from_sql(value)?;
        Ok(Words(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// A whole number; in SQLite of any size.
#[derive(Clone, Copy, Debug, FromSqlRow)]
pub struct Whole(pub i64);

impl FromSql<Integer, Pg> for Whole {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Whole> {
        let number = <i32 as FromSql<Integer, Pg>>::from_sql(value)?;
        Ok(Whole(number.into()))
    }
}

impl FromSql<Integer, Sqlite> for Whole {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Whole> {
        // A word is no number: it must not become the zero that SQLite would make of it.
        if is_number(&value) {
            <i64 as FromSql<BigInt, Sqlite>>::from_sql(value).map(Whole)
        } else {
            Ok(Whole(i64::MIN))
        }
    }
}

/// A number with a fraction.
#[derive(Clone, Copy, Debug, FromSqlRow)]
pub struct Amount(pub f64);

impl FromSql<Double, Pg> for Amount {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Amount> {
        <f64 as FromSql<Double, Pg>>::from_sql(value).map(Amount)
    }
}

impl FromSql<Double, Sqlite> for Amount {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Amount> {
        if is_number(&value) {
            <f64 as FromSql<Double, Sqlite>>::from_sql(value).map(Amount)
        } else {
            Ok(Amount(f64::NAN))
        }
    }
}

fn is_number(value: &SqliteValue<'_, '_, '_>) -> bool {
    !matches!(
        value.value_type(),
        None | Some(SqliteType::Text | SqliteType::Binary)
    )
}

/// Yes or no. Databases made by the application may have rows that do not say whether they were cached.
#[derive(Clone, Copy, Debug, FromSqlRow)]
pub struct Flag(pub bool);

impl FromSql<Bool, Pg> for Flag {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Flag> {
        <bool as FromSql<Bool, Pg>>::from_sql(value).map(Flag)
    }

    fn from_nullable_sql(value: Option<PgValue<'_>>) -> deserialize::Result<Flag> {
        value.map_or(Ok(Flag(false)), <Flag as FromSql<Bool, Pg>>::from_sql)
    }
}

impl FromSql<Bool, Sqlite> for Flag {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Flag> {
        if value.value_type() == Some(SqliteType::Text) {
            let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
            return Ok(Flag(text.eq_ignore_ascii_case("true")));
        }
        <bool as FromSql<Bool, Sqlite>>::from_sql(value).map(Flag)
    }

    fn from_nullable_sql(value: Option<SqliteValue<'_, '_, '_>>) -> deserialize::Result<Flag> {
        value.map_or(Ok(Flag(false)), <Flag as FromSql<Bool, Sqlite>>::from_sql)
    }
}

/// A time, if anybody can read it: PostgreSQL also knows `infinity`.
#[derive(Clone, Copy, Debug, FromSqlRow)]
pub struct Moment(pub Option<DateTime<Utc>>);

impl FromSql<Timestamp, Pg> for Moment {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Moment> {
        let ts = <Ts as FromSql<Timestamp, Pg>>::from_sql(value);
        Ok(Moment(ts.ok().map(Ts::utc)))
    }
}

impl FromSql<Timestamp, Sqlite> for Moment {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Moment> {
        let ts = <Ts as FromSql<Timestamp, Sqlite>>::from_sql(value);
        Ok(Moment(ts.ok().map(Ts::utc)))
    }
}

impl FromSql<Nullable<Timestamp>, Pg> for Moment {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Moment> {
        <Moment as FromSql<Timestamp, Pg>>::from_sql(value)
    }

    fn from_nullable_sql(value: Option<PgValue<'_>>) -> deserialize::Result<Moment> {
        let moment = value.map(<Moment as FromSql<Timestamp, Pg>>::from_sql);
        moment.unwrap_or(Ok(Moment(None)))
    }
}

impl FromSql<Nullable<Timestamp>, Sqlite> for Moment {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Moment> {
        <Moment as FromSql<Timestamp, Sqlite>>::from_sql(value)
    }

    fn from_nullable_sql(value: Option<SqliteValue<'_, '_, '_>>) -> deserialize::Result<Moment> {
        let moment = value.map(<Moment as FromSql<Timestamp, Sqlite>>::from_sql);
        moment.unwrap_or(Ok(Moment(None)))
    }
}

impl From<Moment> for Option<Ts> {
    fn from(moment: Moment) -> Option<Ts> {
        moment.0.map(Ts::new)
    }
}

/// For columns that must have one: what nobody can read is the earliest there is.
impl From<Moment> for Ts {
    fn from(moment: Moment) -> Ts {
        Ts::new(moment.0.unwrap_or_default())
    }
}

impl FromSql<Nullable<Double>, Pg> for Amount {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Amount> {
        <Amount as FromSql<Double, Pg>>::from_sql(value)
    }

    fn from_nullable_sql(value: Option<PgValue<'_>>) -> deserialize::Result<Amount> {
        let amount = value.map(<Amount as FromSql<Double, Pg>>::from_sql);
        amount.unwrap_or(Ok(Amount(f64::NAN)))
    }
}

impl FromSql<Nullable<Double>, Sqlite> for Amount {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Amount> {
        <Amount as FromSql<Double, Sqlite>>::from_sql(value)
    }

    fn from_nullable_sql(value: Option<SqliteValue<'_, '_, '_>>) -> deserialize::Result<Amount> {
        let amount = value.map(<Amount as FromSql<Double, Sqlite>>::from_sql);
        amount.unwrap_or(Ok(Amount(f64::NAN)))
    }
}

/// What is no number is unknown.
impl From<Amount> for Option<f64> {
    fn from(amount: Amount) -> Option<f64> {
        amount.0.is_finite().then_some(amount.0)
    }
}
