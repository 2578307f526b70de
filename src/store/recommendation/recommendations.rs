//! `UpgradeRecommendation`, and beside it `usagectl_recommendations`: what the application has no column for.
//!
//! The two are read and written together. That one question never has two open answers is not left to whoever
//! writes here: `open_question` is unique, and null once a recommendation is closed.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};

use crate::domain::metrics::names::{Metric, Priority, Service, Status};
use crate::domain::named::Named;
use crate::domain::recommendation::{Kind, Numbers, Own, Recommendation, StoredFacts, is_open};
use crate::store::db::{Db, on};
use crate::store::schema::{upgrade_recommendation, usagectl_recommendations};
use crate::store::time::UtcTimestamp;
use crate::store::types::{EnumColumn, Json, LenientFloat, MaybeTimestamp};

/// A row of the application's table, read whatever the application wrote.
#[derive(AsChangeset, Clone, Debug, Identifiable, Insertable, PartialEq, Queryable, Selectable)]
#[diesel(table_name = upgrade_recommendation, treat_none_as_null = true)]
struct Row {
    id: String,
    service: EnumColumn<Service>,
    metric: Option<EnumColumn<Metric>>,
    current_plan: String,
    recommended_plan: String,
    priority: EnumColumn<Priority>,
    status: EnumColumn<Status>,
    #[diesel(deserialize_as = LenientFloat)]
    current_usage: Option<f64>,
    #[diesel(deserialize_as = LenientFloat)]
    limit_value: Option<f64>,
    #[diesel(deserialize_as = LenientFloat)]
    usage_percent: Option<f64>,
    days_to_limit: Option<i32>,
    #[diesel(deserialize_as = LenientFloat)]
    current_cost: Option<f64>,
    #[diesel(deserialize_as = LenientFloat)]
    projected_cost: Option<f64>,
    #[diesel(deserialize_as = LenientFloat)]
    upgrade_cost: Option<f64>,
    #[diesel(deserialize_as = LenientFloat)]
    revenue_impact: Option<f64>,
    #[diesel(deserialize_as = LenientFloat)]
    profit_impact: Option<f64>,
    #[diesel(deserialize_as = LenientFloat)]
    roi: Option<f64>,
    reason: String,
    benefits: Option<Json>,
    risks: Option<Json>,
    reviewed_by: Option<String>,
    review_notes: Option<String>,
    #[diesel(deserialize_as = MaybeTimestamp)]
    reviewed_at: Option<UtcTimestamp>,
    #[diesel(deserialize_as = MaybeTimestamp)]
    implemented_at: Option<UtcTimestamp>,
    #[diesel(deserialize_as = MaybeTimestamp)]
    expires_at: Option<UtcTimestamp>,
    #[diesel(deserialize_as = MaybeTimestamp, skip_update)]
    created_at: UtcTimestamp,
    #[diesel(deserialize_as = MaybeTimestamp)]
    updated_at: UtcTimestamp,
}

/// A row of ours.
#[derive(AsChangeset, Clone, Debug, Identifiable, Insertable, PartialEq, Queryable, Selectable)]
#[diesel(table_name = usagectl_recommendations, primary_key(recommendation_id), treat_none_as_null = true)]
struct OwnRow {
    recommendation_id: String,
    question: String,
    open_question: Option<String>,
    resource: String,
    kind: String,
    version: i32,
    status: String,
    facts: String,
    facts_hash: String,
    catalogue_version: String,
    last_seen_at: UtcTimestamp,
    seen_count: i32,
    unseen_count: i32,
    cleared_count: i32,
    unseen_since: Option<UtcTimestamp>,
    dismissed_priority: Option<String>,
    snoozed_until: Option<UtcTimestamp>,
    reopened_count: i32,
    predecessor_id: Option<String>,
    outcome: Option<String>,
}

/// All recommendations, in no order that means anything.
pub fn all(db: &mut Db) -> QueryResult<Vec<Recommendation>> {
    let (rows, own) = on!(db, |conn| (
        upgrade_recommendation::table
            .select(Row::as_select())
            .load::<Row>(conn)?,
        usagectl_recommendations::table
            .select(OwnRow::as_select())
            .load::<OwnRow>(conn)?,
    ));
    let mut own: HashMap<String, OwnRow> = own
        .into_iter()
        .map(|row| (row.recommendation_id.clone(), row))
        .collect();
    let joined = rows.into_iter().map(|row| {
        let own = own.remove(&row.id);
        joined(row, own)
    });
    Ok(joined.collect())
}

/// The recommendations whose id begins with `prefix`; with one of that very id, it alone.
pub fn find(db: &mut Db, prefix: &str) -> QueryResult<Vec<Recommendation>> {
    // Ids need not be ours, so no sign in them may mean anything to a pattern.
    let begins = diesel::dsl::sql::<Bool>("substr(id, 1, length(")
        .bind::<Text, _>(prefix)
        .sql(")) = ")
        .bind::<Text, _>(prefix);
    let rows = on!(db, |conn| upgrade_recommendation::table
        .filter(begins)
        .select(Row::as_select())
        .order(upgrade_recommendation::id)
        .load::<Row>(conn))?;
    let exact = rows.iter().position(|row| row.id == prefix);
    let mut rows = rows;
    if let Some(index) = exact {
        rows = vec![rows.swap_remove(index)];
    }
    rows.into_iter()
        .map(|row| {
            let own = own_row(db, &row.id)?;
            Ok(joined(row, own))
        })
        .collect()
}

fn own_row(db: &mut Db, id: &str) -> QueryResult<Option<OwnRow>> {
    on!(db, |conn| usagectl_recommendations::table
        .find(id)
        .select(OwnRow::as_select())
        .first::<OwnRow>(conn)
        .optional())
}

/// Writes a new recommendation, to be called inside a transaction.
///
/// # Errors
///
/// Whatever the engine reports; a unique violation if its question has an open answer already.
pub fn insert(db: &mut Db, new: &Recommendation) -> QueryResult<()> {
    let (row, own) = split(new);
    on!(db, |conn| {
        diesel::insert_into(upgrade_recommendation::table)
            .values(&row)
            .execute(conn)?;
        if let Some(own) = &own {
            diesel::insert_into(usagectl_recommendations::table)
                .values(own)
                .execute(conn)?;
        }
        Ok(())
    })
}

/// Writes `after` over `before`, to be called inside a transaction. A row in which nothing differs is not touched.
///
/// Returns whether `before` was still how things stood; if not, the caller must roll back.
///
/// # Errors
///
/// Whatever the engine reports; a unique violation if it opens and its question has an open answer already.
pub fn update(db: &mut Db, before: &Recommendation, after: &Recommendation) -> QueryResult<bool> {
    let (old_row, old_own) = split(before);
    let (row, own) = split(after);
    let mut as_expected = true;
    match (&old_own, &own) {
        (Some(old), Some(new)) if old != new => {
            let changed = on!(db, |conn| diesel::update(
                usagectl_recommendations::table
                    .find(&new.recommendation_id)
                    .filter(usagectl_recommendations::version.eq(old.version))
            )
            .set(new)
            .execute(conn))?;
            as_expected &= changed == 1;
        }
        (None, Some(new)) => {
            on!(db, |conn| diesel::insert_into(
                usagectl_recommendations::table
            )
            .values(new)
            .execute(conn))?;
        }
        _ => {}
    }
    if old_row != row {
        // The application may have moved it since it was read.
        let changed = on!(db, |conn| diesel::update(
            upgrade_recommendation::table
                .find(&row.id)
                .filter(upgrade_recommendation::status.eq(old_row.status))
        )
        .set(&row)
        .execute(conn))?;
        as_expected &= changed == 1;
    }
    Ok(as_expected)
}

/// Lets go of the questions of recommendations that another program deleted, and returns how many there were.
pub fn release_deleted(db: &mut Db) -> QueryResult<usize> {
    let released = "UPDATE usagectl_recommendations SET open_question = NULL
        WHERE open_question IS NOT NULL
            AND recommendation_id NOT IN (SELECT id FROM \"UpgradeRecommendation\")";
    on!(db, |conn| diesel::sql_query(released).execute(conn))
}

fn joined(row: Row, own: Option<OwnRow>) -> Recommendation {
    Recommendation {
        id: row.id,
        service: row.service.0,
        metric: row.metric.map(|metric| metric.0),
        current_plan: row.current_plan,
        recommended_plan: row.recommended_plan,
        priority: row.priority.0,
        status: row.status.0,
        numbers: Numbers {
            current_usage: row.current_usage,
            limit_value: row.limit_value,
            usage_percent: row.usage_percent,
            days_to_limit: row.days_to_limit,
            current_cost: row.current_cost,
            projected_cost: row.projected_cost,
            upgrade_cost: row.upgrade_cost,
            revenue_impact: row.revenue_impact,
            profit_impact: row.profit_impact,
            roi: row.roi,
        },
        reason: row.reason,
        benefits: row.benefits.map(sentences).unwrap_or_default(),
        risks: row.risks.map(sentences).unwrap_or_default(),
        reviewed_by: row.reviewed_by,
        review_notes: row.review_notes,
        reviewed_at: row.reviewed_at.map(UtcTimestamp::utc),
        implemented_at: row.implemented_at.map(UtcTimestamp::utc),
        expires_at: row.expires_at.map(UtcTimestamp::utc),
        created_at: row.created_at.utc(),
        updated_at: row.updated_at.utc(),
        own: own.map(|own| Own {
            facts: StoredFacts::found(own.facts, own.facts_hash),
            question: own.question,
            resource: own.resource,
            // The column has a CHECK.
            kind: Kind::named(&own.kind).unwrap_or(Kind::Upgrade),
            version: own.version,
            status: Status::named(&own.status).unwrap_or(row.status.0),
            catalogue_version: own.catalogue_version,
            last_seen_at: own.last_seen_at.utc(),
            seen_count: own.seen_count,
            unseen_count: own.unseen_count,
            cleared_count: own.cleared_count,
            unseen_since: own.unseen_since.map(UtcTimestamp::utc),
            dismissed_priority: own
                .dismissed_priority
                .and_then(|name| Priority::named(&name)),
            snoozed_until: own.snoozed_until.map(UtcTimestamp::utc),
            reopened_count: own.reopened_count,
            predecessor_id: own.predecessor_id,
            outcome: own.outcome,
        }),
    }
}

fn split(recommendation: &Recommendation) -> (Row, Option<OwnRow>) {
    let it = recommendation.clone();
    let own = it.own.map(|own| OwnRow {
        recommendation_id: it.id.clone(),
        open_question: is_open(it.status).then(|| own.question.clone()),
        question: own.question,
        resource: own.resource,
        kind: own.kind.as_str().to_owned(),
        version: own.version,
        status: own.status.as_str().to_owned(),
        facts: own.facts.json,
        facts_hash: own.facts.hash,
        catalogue_version: own.catalogue_version,
        last_seen_at: own.last_seen_at.into(),
        seen_count: own.seen_count,
        unseen_count: own.unseen_count,
        cleared_count: own.cleared_count,
        unseen_since: own.unseen_since.map(UtcTimestamp::new),
        dismissed_priority: own.dismissed_priority.map(|p| p.as_str().to_owned()),
        snoozed_until: own.snoozed_until.map(UtcTimestamp::new),
        reopened_count: own.reopened_count,
        predecessor_id: own.predecessor_id,
        outcome: own.outcome,
    });
    let row = Row {
        id: it.id,
        service: EnumColumn(it.service),
        metric: it.metric.map(EnumColumn),
        current_plan: it.current_plan,
        recommended_plan: it.recommended_plan,
        priority: EnumColumn(it.priority),
        status: EnumColumn(it.status),
        current_usage: it.numbers.current_usage,
        limit_value: it.numbers.limit_value,
        usage_percent: it.numbers.usage_percent,
        days_to_limit: it.numbers.days_to_limit,
        current_cost: it.numbers.current_cost,
        projected_cost: it.numbers.projected_cost,
        upgrade_cost: it.numbers.upgrade_cost,
        revenue_impact: it.numbers.revenue_impact,
        profit_impact: it.numbers.profit_impact,
        roi: it.numbers.roi,
        reason: it.reason,
        benefits: list(&it.benefits),
        risks: list(&it.risks),
        reviewed_by: it.reviewed_by,
        review_notes: it.review_notes,
        reviewed_at: it.reviewed_at.map(UtcTimestamp::new),
        implemented_at: it.implemented_at.map(UtcTimestamp::new),
        expires_at: it.expires_at.map(UtcTimestamp::new),
        created_at: it.created_at.into(),
        updated_at: it.updated_at.into(),
    };
    (row, own)
}

/// A list of sentences as JSON; none is null.
fn list(sentences: &[String]) -> Option<Json> {
    let values = sentences.iter().cloned().map(serde_json::Value::String);
    let array = serde_json::Value::Array(values.collect());
    (!sentences.is_empty()).then(|| Json(array.to_string()))
}

/// The sentences of a list; whatever else another program put there is shown as it is.
fn sentences(json: Json) -> Vec<String> {
    serde_json::from_str(&json.0).unwrap_or_else(|_| vec![json.0])
}
