//! `InfrastructureLimit`, the application's table of limits, and `usagectl_limit_origins`, its details that have no
//! columns there.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::connection::DefaultLoadingMode;

use super::{catalogues, selections};
use crate::domain::id;
use crate::domain::metrics::names::{Metric, MetricKind, Service};
use crate::domain::plans::limit::{
    self, LimitDetails, LimitInForce, LimitRow, ListedLimit, Origin,
};
use crate::domain::plans::{AtLimit, Citation, Grade, LimitPeriod};
use crate::error::Result;
use crate::store::prelude::*;
use crate::store::schema::{infrastructure_limit, usagectl_limit_origins};
use crate::store::types::{EnumColumn, LenientFloat};
use crate::store::unknown_values::known_rows;

#[derive(AsChangeset, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = usagectl_limit_origins)]
#[diesel(treat_none_as_default_value = false, treat_none_as_null = true)]
struct OriginRow {
    service: String,
    metric: String,
    plan: String,
    origin: String,
    kind: String,
    period: Option<String>,
    at_limit: String,
    limit_value: f64,
    source: Option<String>,
    page_date: Option<String>,
    grade: Option<String>,
    catalogue_version: Option<String>,
    note: Option<String>,
    updated_by: String,
    updated_at: UtcTimestamp,
}

impl OriginRow {
    fn new(row: &LimitRow, details: &LimitDetails) -> OriginRow {
        let citation = &details.citation;
        OriginRow {
            service: row.service.to_string(),
            metric: row.metric.to_string(),
            plan: row.plan.clone(),
            origin: details.origin.to_string(),
            kind: details.kind.to_string(),
            period: details.period.map(|period| period.to_string()),
            at_limit: details.at_limit.to_string(),
            limit_value: details.value,
            source: citation.source.clone(),
            page_date: citation.page_date.map(|date| date.to_string()),
            grade: citation.grade.map(|grade| grade.to_string()),
            catalogue_version: citation.catalogue_version.clone(),
            note: details.note.clone(),
            updated_by: details.updated_by.clone(),
            updated_at: details.updated_at.into(),
        }
    }

    /// None for names that the table's CHECKs do not allow.
    fn details(self) -> Option<LimitDetails> {
        Some(LimitDetails {
            origin: Origin::named(&self.origin)?,
            kind: MetricKind::named(&self.kind)?,
            period: self.period.as_deref().and_then(LimitPeriod::named),
            at_limit: AtLimit::named(&self.at_limit)?,
            value: self.limit_value,
            citation: Citation {
                source: self.source,
                page_date: self.page_date.and_then(|date| date.parse().ok()),
                grade: self.grade.as_deref().and_then(Grade::named),
                catalogue_version: self.catalogue_version,
            },
            note: self.note,
            updated_by: self.updated_by,
            updated_at: self.updated_at.utc(),
        })
    }
}

/// Every row of a known service and metric, by service, metric and plan.
///
/// The timestamps are not read: Prisma writes them in several forms, and nothing depends on them.
pub fn rows(db: &mut Db) -> QueryResult<Vec<LimitRow>> {
    use infrastructure_limit::dsl;
    type Found = (
        EnumColumn<Service>,
        EnumColumn<Metric>,
        String,
        LenientFloat,
        LenientFloat,
        LenientFloat,
    );
    let found = on!(db, |conn| dsl::infrastructure_limit
        .select((
            dsl::service,
            dsl::metric,
            dsl::current_plan,
            dsl::limit_value,
            dsl::warning_percent,
            dsl::critical_percent,
        ))
        .load_iter::<Found, DefaultLoadingMode>(conn)
        .and_then(known_rows))?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let origins: Vec<OriginRow> = on!(db, |conn| usagectl_limit_origins::table
        .select(OriginRow::as_select())
        .load(conn))?;
    let key = |row: &OriginRow| (row.service.clone(), row.metric.clone(), row.plan.clone());
    let origins = origins.into_iter().map(|row| (key(&row), row));
    let mut origins: HashMap<_, _> = origins.collect();
    let row = |(service, metric, plan, value, warning, critical): Found| {
        let key = (service.0.to_string(), metric.0.to_string(), plan.clone());
        LimitRow {
            service: service.0,
            metric: metric.0,
            details: origins.remove(&key).and_then(OriginRow::details),
            plan,
            value: value.0,
            warning_percent: warning.0,
            critical_percent: critical.0,
        }
    };
    let mut rows: Vec<LimitRow> = found.into_iter().map(row).collect();
    rows.sort_by(|a, b| (a.service, a.metric, &a.plan).cmp(&(b.service, b.metric, &b.plan)));
    Ok(rows)
}

/// Inserts or replaces the row of its service, metric and plan, with its details.
pub fn write(db: &mut Db, row: &LimitRow, now: DateTime<Utc>) -> QueryResult<()> {
    use infrastructure_limit::dsl;
    let now_ts = UtcTimestamp::new(now);
    let values = (
        dsl::limit_value.eq(row.value),
        dsl::warning_percent.eq(row.warning_percent),
        dsl::critical_percent.eq(row.critical_percent),
        dsl::updated_at.eq(now_ts),
    );
    let of_key = dsl::infrastructure_limit
        .filter(dsl::service.eq(EnumColumn(row.service)))
        .filter(dsl::metric.eq(EnumColumn(row.metric)))
        .filter(dsl::current_plan.eq(&row.plan));
    let updated = on!(db, |conn| diesel::update(of_key).set(values).execute(conn))?;
    if updated == 0 {
        let new = (
            dsl::id.eq(id::unique(now).to_string()),
            dsl::service.eq(EnumColumn(row.service)),
            dsl::metric.eq(EnumColumn(row.metric)),
            dsl::current_plan.eq(&row.plan),
            values,
            dsl::created_at.eq(now_ts),
        );
        on!(db, |conn| diesel::insert_into(dsl::infrastructure_limit)
            .values(new)
            .execute(conn))?;
    }
    if let Some(details) = &row.details {
        use usagectl_limit_origins::dsl;
        let origin = OriginRow::new(row, details);
        on!(db, |conn| diesel::insert_into(dsl::usagectl_limit_origins)
            .values(&origin)
            .on_conflict((dsl::service, dsl::metric, dsl::plan))
            .do_update()
            .set(&origin)
            .execute(conn))?;
    }
    Ok(())
}

/// Removes a row and its details.
pub fn remove(db: &mut Db, service: Service, metric: Metric, plan: &str) -> QueryResult<()> {
    use infrastructure_limit::dsl;
    let of_key = dsl::infrastructure_limit
        .filter(dsl::service.eq(EnumColumn(service)))
        .filter(dsl::metric.eq(EnumColumn(metric)))
        .filter(dsl::current_plan.eq(plan));
    on!(db, |conn| diesel::delete(of_key).execute(conn))?;
    use usagectl_limit_origins::dsl as origins;
    let of_key = origins::usagectl_limit_origins
        .filter(origins::service.eq(service.as_str()))
        .filter(origins::metric.eq(metric.as_str()))
        .filter(origins::plan.eq(plan));
    on!(db, |conn| diesel::delete(of_key).execute(conn))?;
    Ok(())
}

/// All limits, with those in force marked.
pub fn listed(db: &mut Db, now: DateTime<Utc>) -> Result<Vec<ListedLimit>> {
    let catalogue = catalogues::active(db)?;
    let (rows, selections) = (rows(db)?, selections::all(db)?);
    Ok(limit::listed(rows, &selections, &catalogue, now))
}

/// The limits in force: those of the plans in use, and the budgets.
pub fn limits_in_force(db: &mut Db, now: DateTime<Utc>) -> Result<Vec<LimitInForce>> {
    let rows = rows(db)?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let (catalogue, selections) = (catalogues::active(db)?, selections::all(db)?);
    Ok(limit::in_force(&rows, &selections, &catalogue, now))
}
