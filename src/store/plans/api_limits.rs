//! `usagectl_api_limits`: the limits of each API, one for each period.

use crate::domain::period::Period;
use crate::domain::plans::{ApiLimit, ApiLimitOrigin, Citation, Grade, Unit};
use crate::store::prelude::*;
use crate::store::schema::usagectl_api_limits::{self, dsl};

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
    fn new(limit: &ApiLimit) -> Row {
        let citation = &limit.citation;
        Row {
            api_name: limit.api_name.clone(),
            period: limit.period.to_string(),
            unit: limit.unit.to_string(),
            limit_value: limit.value,
            origin: limit.origin.to_string(),
            source: citation.source.clone(),
            page_date: citation.page_date.map(|date| date.to_string()),
            grade: citation.grade.map(|grade| grade.to_string()),
            catalogue_version: citation.catalogue_version.clone(),
            updated_at: limit.updated_at.into(),
        }
    }

    /// None for names that the table's CHECKs do not allow.
    fn limit(self) -> Option<ApiLimit> {
        Some(ApiLimit {
            api_name: self.api_name,
            period: Period::named(&self.period),
            unit: Unit::named(&self.unit)?,
            value: self.limit_value,
            origin: ApiLimitOrigin::named(&self.origin)?,
            citation: Citation {
                source: self.source,
                page_date: self.page_date.and_then(|date| date.parse().ok()),
                grade: self.grade.as_deref().and_then(Grade::named),
                catalogue_version: self.catalogue_version,
            },
            updated_at: self.updated_at.utc(),
        })
    }
}

/// All limits by API, from the shortest period.
pub fn all(db: &mut Db) -> QueryResult<Vec<ApiLimit>> {
    let rows: Vec<Row> = on!(db, |conn| dsl::usagectl_api_limits
        .select(Row::as_select())
        .load(conn))?;
    let mut limits: Vec<ApiLimit> = rows.into_iter().filter_map(Row::limit).collect();
    limits.sort_by(|a, b| (&a.api_name, &a.period).cmp(&(&b.api_name, &b.period)));
    Ok(limits)
}

/// Inserts or replaces the API's limit for its period.
pub fn set(db: &mut Db, limit: &ApiLimit) -> QueryResult<()> {
    let row = Row::new(limit);
    on!(db, |conn| diesel::insert_into(dsl::usagectl_api_limits)
        .values(&row)
        .on_conflict((dsl::api_name, dsl::period))
        .do_update()
        .set(&row)
        .execute(conn))?;
    Ok(())
}

/// Removes the limits of an API, or the one of a period; returns their number.
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
