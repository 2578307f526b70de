//! `usagectl_api_limits`: how many calls, or credits, each API allows in a period.

use diesel::prelude::*;

use crate::domain::named::Named;
use crate::domain::period::Period;
use crate::domain::plans::{ApiLimit, ApiLimitOrigin, Grade, Unit};
use crate::store::db::{Db, on};
use crate::store::schema::usagectl_api_limits;
use crate::store::schema::usagectl_api_limits::dsl;
use crate::store::time::UtcTimestamp;

#[derive(AsChangeset, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = usagectl_api_limits)]
#[diesel(treat_none_as_default_value = false, treat_none_as_null = true)]
struct Row {
    api_name: String,
    period: String,
    unit: String,
    limit_value: f64,
    origin: String,
    source: Option<String>,
    page_date: Option<String>,
    grade: Option<String>,
    catalogue_version: Option<String>,
    updated_at: UtcTimestamp,
}

impl Row {
    fn of(limit: &ApiLimit) -> Row {
        Row {
            api_name: limit.api_name.clone(),
            period: limit.period.as_str().to_owned(),
            unit: limit.unit.as_str().to_owned(),
            limit_value: limit.value,
            origin: limit.origin.as_str().to_owned(),
            source: limit.source.clone(),
            page_date: limit.page_date.map(|date| date.to_string()),
            grade: limit.grade.map(|grade| grade.as_str().to_owned()),
            catalogue_version: limit.catalogue_version.clone(),
            updated_at: limit.updated_at.into(),
        }
    }

    /// The table's own CHECKs keep out what is none of ours.
    fn limit(self) -> ApiLimit {
        ApiLimit {
            period: Period::named(&self.period),
            unit: Unit::named(&self.unit).unwrap_or(Unit::Calls),
            value: self.limit_value,
            origin: ApiLimitOrigin::named(&self.origin).unwrap_or(ApiLimitOrigin::User),
            page_date: self.page_date.and_then(|date| date.parse().ok()),
            grade: self.grade.and_then(|grade| Grade::named(&grade)),
            api_name: self.api_name,
            source: self.source,
            catalogue_version: self.catalogue_version,
            updated_at: self.updated_at.utc(),
        }
    }
}

/// All limits, by API and from the shortest period.
pub fn all(db: &mut Db) -> QueryResult<Vec<ApiLimit>> {
    let rows: Vec<Row> = on!(db, |conn| dsl::usagectl_api_limits
        .select(Row::as_select())
        .load(conn))?;
    let mut limits: Vec<ApiLimit> = rows.into_iter().map(Row::limit).collect();
    limits.sort_by(|a, b| (&a.api_name, &a.period).cmp(&(&b.api_name, &b.period)));
    Ok(limits)
}

/// Writes a limit down, in the place of the one that the API had for this period.
pub fn set(db: &mut Db, limit: &ApiLimit) -> QueryResult<()> {
    let row = Row::of(limit);
    on!(db, |conn| diesel::insert_into(dsl::usagectl_api_limits)
        .values(&row)
        .on_conflict((dsl::api_name, dsl::period))
        .do_update()
        .set(&row)
        .execute(conn))?;
    Ok(())
}

/// Removes the limits of an API: that of one period, or all; how many there were.
pub fn remove(db: &mut Db, api_name: &str, period: Option<&Period>) -> QueryResult<usize> {
    let of_api = dsl::usagectl_api_limits.filter(dsl::api_name.eq(api_name));
    match period {
        Some(period) => {
            let row = of_api.filter(dsl::period.eq(period.as_str()));
            on!(db, |conn| diesel::delete(row).execute(conn))
        }
        None => on!(db, |conn| diesel::delete(of_api).execute(conn)),
    }
}
