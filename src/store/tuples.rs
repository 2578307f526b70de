//! The rows of a query in SQL text as tuples, whose types follow from those of Rust.
//!
//! Columns are read by their places: a row of a few columns needs no struct of its own.

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::deserialize::{self, FromStaticSqlRow, QueryableByName};
use diesel::query_dsl::methods::LoadQuery;
use diesel::row::NamedRow;
use diesel::sql_types::{
    BigInt, Binary, Bool, Double, Integer, Nullable, SqlType, Text, Timestamp, Timestamptz,
};

use super::time::{StoredTimestamp, UtcTimestamp};

/// A type of Rust, or a tuple of them, that stands for one of SQL.
pub trait Typed {
    type Sql;
}

macro_rules! typed {
    ($($rust:ty => $sql:ty,)+) => {
        $(impl Typed for $rust { type Sql = $sql; })+
    };
}

typed! {
    String => Text,
    Vec<u8> => Binary,
    bool => Bool,
    i32 => Integer,
    i64 => BigInt,
    f64 => Double,
    UtcTimestamp => Timestamp,
    StoredTimestamp => Timestamp,
    chrono::DateTime<chrono::Utc> => Timestamptz,
}

impl<T: Typed<Sql: SqlType>> Typed for Option<T> {
    type Sql = Nullable<T::Sql>;
}

macro_rules! typed_tuples {
    ($(($($member:ident)+))+) => {
        $(impl<$($member: Typed),+> Typed for ($($member,)+) {
            type Sql = ($($member::Sql,)+);
        })+
    };
}

typed_tuples! {
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E F)
    (A B C D E F G)
    (A B C D E F G H)
}

/// A row, from its columns in order.
pub struct ByPlace<T>(T);

impl<T, DB> QueryableByName<DB> for ByPlace<T>
where
    DB: Backend,
    T: Typed + FromStaticSqlRow<T::Sql, DB>,
{
    fn build<'a>(row: &impl NamedRow<'a, DB>) -> deserialize::Result<ByPlace<T>> {
        T::build_from_row(row).map(ByPlace)
    }
}

/// Runs queries whose rows are tuples, or single values.
pub trait LoadTuples<Conn>: diesel::RunQueryDsl<Conn> + Sized {
    fn rows<'query, T>(self, conn: &mut Conn) -> QueryResult<Vec<T>>
    where
        Self: LoadQuery<'query, Conn, ByPlace<T>>,
    {
        let rows: Vec<ByPlace<T>> = self.load(conn)?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    fn row<'query, T>(self, conn: &mut Conn) -> QueryResult<T>
    where
        Self: LoadQuery<'query, Conn, ByPlace<T>>,
    {
        self.get_result(conn).map(|row: ByPlace<T>| row.0)
    }
}

impl<Query: diesel::RunQueryDsl<Conn>, Conn> LoadTuples<Conn> for Query {}
