//! `UpgradeRecommendation`, and beside it `usagectl_recommendations`, for what the application has no column for.
//!
//! The two rows are read and written together. A question never has two open answers: `open_question` is unique,
//! and null once a recommendation is closed.

use std::str::FromStr;

use diesel::backend::Backend;
use diesel::connection::DefaultLoadingMode;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::dsl::{AsExprOf, sql};
use diesel::expression::{AsExpression, ValidGrouping};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::Error::DeserializationError;
use diesel::sql_types::{Bool, Integer, Nullable, Text};
use diesel::sqlite::Sqlite;

use crate::domain::metrics::names::{Metric, Priority, Service, Status};
use crate::domain::named::{Named, UnknownName};
use crate::domain::recommendation::{
    Numbers, Recommendation, StoredFacts, Topic, Tracking, is_open,
};
use crate::store::prelude::*;
use crate::store::schema::sql_types::JsonText;
use crate::store::schema::{upgrade_recommendation, usagectl_recommendations};
use crate::store::types::{EnumColumn, Json, LenientFloat, LenientInt, MaybeTimestamp};
use crate::store::unknown_values::{is_known, known_rows};

/// A row of the application's table; unreadable numbers and timestamps are read as missing.
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
    #[diesel(deserialize_as = LenientInt)]
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
    benefits: Sentences,
    risks: Sentences,
    reviewed_by: Option<String>,
    review_notes: Option<String>,
    #[diesel(deserialize_as = MaybeTimestamp)]
    reviewed_at: Option<UtcTimestamp>,
    #[diesel(deserialize_as = MaybeTimestamp)]
    implemented_at: Option<UtcTimestamp>,
    #[diesel(deserialize_as = MaybeTimestamp)]
    expires_at: Option<UtcTimestamp>,
    #[diesel(deserialize_as = MaybeTimestamp, skip_update)]
    created_at: Option<UtcTimestamp>,
    #[diesel(deserialize_as = MaybeTimestamp, treat_none_as_null = false)]
    updated_at: Option<UtcTimestamp>,
}

/// Our row beside it.
#[derive(AsChangeset, Clone, Debug, Identifiable, Insertable, PartialEq, Queryable, Selectable)]
#[diesel(table_name = usagectl_recommendations, primary_key(recommendation_id), treat_none_as_null = true)]
struct TrackingRow {
    recommendation_id: String,
    question: String,
    /// The question while the recommendation is open: unique.
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

type Joined = (Row, Option<TrackingRow>);

diesel::define_sql_function! {
    /// The first characters of a text.
    fn substr(text: Text, from: Integer, length: Integer) -> Text;
}

/// Both tables, joined.
macro_rules! joined {
    () => {
        upgrade_recommendation::table
            .left_join(
                usagectl_recommendations::table
                    .on(usagectl_recommendations::recommendation_id.eq(upgrade_recommendation::id)),
            )
            .select((Row::as_select(), Option::<TrackingRow>::as_select()))
    };
}

/// The rows of a query of [`joined`] without unknown values.
macro_rules! load {
    ($conn:ident, $query:expr) => {
        $query
            .load_iter::<Joined, DefaultLoadingMode>($conn)
            .and_then(known_rows)
    };
}

/// All recommendations, in any order.
pub fn all(db: &mut Db) -> QueryResult<Vec<Recommendation>> {
    let rows = on!(db, |conn| load!(conn, joined!()))?;
    rows.into_iter().map(recommendation).collect()
}

/// The recommendations that answer the question, open or not.
pub fn find_by_topic(db: &mut Db, topic: &Topic) -> QueryResult<Vec<Recommendation>> {
    let rows = on!(db, |conn| load!(
        conn,
        joined!().filter(usagectl_recommendations::question.eq(topic.key()))
    ))?;
    rows.into_iter().map(recommendation).collect()
}

/// The recommendations whose id starts with `prefix`; only one if its id equals it.
pub fn find_by_prefix(db: &mut Db, prefix: &str) -> QueryResult<Vec<Recommendation>> {
    // Another program's ids may contain wildcards of LIKE.
    let length = i32::try_from(prefix.chars().count()).unwrap_or(i32::MAX);
    let mut rows = on!(db, |conn| load!(
        conn,
        joined!()
            .filter(substr(upgrade_recommendation::id, 1, length).eq(prefix))
            .order(upgrade_recommendation::id)
    ))?;
    if let Some(exact) = rows.iter().position(|(row, _)| row.id == prefix) {
        rows = vec![rows.swap_remove(exact)];
    }
    rows.into_iter().map(recommendation).collect()
}

/// Inserts a new recommendation, inside a transaction. A unique violation means that its question has an open
/// answer.
pub fn insert(db: &mut Db, new: &Recommendation) -> QueryResult<()> {
    let (row, tracking) = split(new);
    on!(db, |conn| {
        diesel::insert_into(upgrade_recommendation::table)
            .values(&row)
            .execute(conn)?;
        if let Some(tracking) = &tracking {
            diesel::insert_into(usagectl_recommendations::table)
                .values(tracking)
                .execute(conn)?;
        }
        Ok(())
    })
}

/// Writes `after` over `before`, inside a transaction; rows without a difference are not touched. A unique
/// violation means that its question has another open answer.
///
/// Returns whether `before` was still the stored state; if not, the caller must roll back.
pub fn update(db: &mut Db, before: &Recommendation, after: &Recommendation) -> QueryResult<bool> {
    let (old_row, old_tracking) = split(before);
    let (row, tracking) = split(after);
    let mut as_expected = true;
    if let (Some(old), Some(new)) = (&old_tracking, &tracking)
        && old != new
    {
        let changed = on!(db, |conn| diesel::update(
            usagectl_recommendations::table
                .find(&new.recommendation_id)
                .filter(usagectl_recommendations::version.eq(old.version))
        )
        .set(new)
        .execute(conn))?;
        as_expected &= changed == 1;
    }
    if old_row != row {
        // The application may have changed the status since it was read.
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

/// Closes the questions of recommendations that another program deleted or gave an unknown value, and returns
/// their number.
pub fn release_deleted(db: &mut Db) -> QueryResult<usize> {
    let is_known = [
        is_known::<Service>("service"),
        format!("(metric IS NULL OR {})", is_known::<Metric>("metric")),
        is_known::<Priority>("priority"),
        is_known::<Status>("status"),
    ];
    let existing = upgrade_recommendation::table
        .filter(sql::<Bool>(&is_known.join(" AND ")))
        .select(upgrade_recommendation::id);
    on!(db, |conn| diesel::update(
        usagectl_recommendations::table
            .filter(usagectl_recommendations::open_question.is_not_null())
            .filter(usagectl_recommendations::recommendation_id.ne_all(existing))
    )
    .set(usagectl_recommendations::open_question.eq(None::<String>))
    .execute(conn))
}

/// A name of a closed set, as the column holds it. A name that is not in the set is an error, never a default.
pub(super) fn parse<T: FromStr<Err = UnknownName>>(name: &str) -> QueryResult<T> {
    name.parse()
        .map_err(|error: UnknownName| DeserializationError(error.into()))
}

fn recommendation((row, tracking): Joined) -> QueryResult<Recommendation> {
    Ok(Recommendation {
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
        benefits: sentences(row.benefits),
        risks: sentences(row.risks),
        reviewed_by: row.reviewed_by,
        review_notes: row.review_notes,
        reviewed_at: row.reviewed_at.map(UtcTimestamp::utc),
        implemented_at: row.implemented_at.map(UtcTimestamp::utc),
        expires_at: row.expires_at.map(UtcTimestamp::utc),
        created_at: row.created_at.map(UtcTimestamp::utc),
        updated_at: row.updated_at.map(UtcTimestamp::utc),
        tracking: tracking.map(tracked).transpose()?,
    })
}

fn tracked(row: TrackingRow) -> QueryResult<Tracking> {
    let dismissed_priority = row.dismissed_priority.as_deref();
    Ok(Tracking {
        facts: StoredFacts::parse(row.facts, row.facts_hash),
        question: row.question,
        resource: row.resource,
        kind: parse(&row.kind)?,
        version: row.version,
        status: parse(&row.status)?,
        catalogue_version: row.catalogue_version,
        last_seen_at: row.last_seen_at.utc(),
        seen_count: row.seen_count,
        unseen_count: row.unseen_count,
        cleared_count: row.cleared_count,
        unseen_since: row.unseen_since.map(UtcTimestamp::utc),
        dismissed_priority: dismissed_priority.map(parse).transpose()?,
        snoozed_until: row.snoozed_until.map(UtcTimestamp::utc),
        reopened_count: row.reopened_count,
        predecessor_id: row.predecessor_id,
        outcome: row.outcome,
    })
}

fn split(recommendation: &Recommendation) -> (Row, Option<TrackingRow>) {
    let it = recommendation.clone();
    let tracking = it.tracking.map(|tracking| TrackingRow {
        recommendation_id: it.id.clone(),
        open_question: is_open(it.status).then(|| tracking.question.clone()),
        question: tracking.question,
        resource: tracking.resource,
        kind: tracking.kind.as_str().to_owned(),
        version: tracking.version,
        status: tracking.status.as_str().to_owned(),
        facts: tracking.facts.json,
        facts_hash: tracking.facts.hash,
        catalogue_version: tracking.catalogue_version,
        last_seen_at: tracking.last_seen_at.into(),
        seen_count: tracking.seen_count,
        unseen_count: tracking.unseen_count,
        cleared_count: tracking.cleared_count,
        unseen_since: tracking.unseen_since.map(UtcTimestamp::new),
        dismissed_priority: tracking.dismissed_priority.map(|p| p.as_str().to_owned()),
        snoozed_until: tracking.snoozed_until.map(UtcTimestamp::new),
        reopened_count: tracking.reopened_count,
        predecessor_id: tracking.predecessor_id,
        outcome: tracking.outcome,
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
        created_at: it.created_at.map(UtcTimestamp::new),
        updated_at: it.updated_at.map(UtcTimestamp::new),
    };
    (row, tracking)
}

/// A list of sentences as JSON; null if empty.
fn list(sentences: &[String]) -> Sentences {
    let array = serde_json::Value::from(sentences);
    Sentences((!sentences.is_empty()).then(|| Json(array.to_string())))
}

/// The sentences of a list. Anything else that another program wrote is one sentence.
fn sentences(list: Sentences) -> Vec<String> {
    let Sentences(Some(Json(text))) = list else {
        return Vec::new();
    };
    serde_json::from_str(&text).unwrap_or_else(|_| vec![text])
}

/// The value of `benefits` or `risks`: JSON, in some applications a PostgreSQL `text[]`.
#[derive(Clone, Debug, FromSqlRow, PartialEq)]
struct Sentences(Option<Json>);

impl<DB: Backend> FromSql<Nullable<JsonText>, DB> for Sentences
where
    Json: FromSql<JsonText, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Sentences> {
        Sentences::from_nullable_sql(Some(value))
    }

    fn from_nullable_sql(value: Option<DB::RawValue<'_>>) -> deserialize::Result<Sentences> {
        let json = value.map(<Json as FromSql<JsonText, DB>>::from_sql);
        json.transpose().map(Sentences)
    }
}

/// Writes [`Sentences`]. On PostgreSQL a record of the table converts the JSON to the column's type.
#[derive(Debug, QueryId, ValidGrouping)]
struct ListExpression<E>(E);

type Bound<T> = AsExprOf<T, Nullable<JsonText>>;

impl AsExpression<Nullable<JsonText>> for Sentences {
    type Expression = ListExpression<Bound<Option<Json>>>;

    fn as_expression(self) -> Self::Expression {
        ListExpression(self.0.into_sql::<Nullable<JsonText>>())
    }
}

impl<'a> AsExpression<Nullable<JsonText>> for &'a Sentences {
    type Expression = ListExpression<Bound<&'a Option<Json>>>;

    fn as_expression(self) -> Self::Expression {
        ListExpression((&self.0).into_sql::<Nullable<JsonText>>())
    }
}

impl<E: Expression> Expression for ListExpression<E> {
    type SqlType = E::SqlType;
}

impl<E: AppearsOnTable<QS>, QS> AppearsOnTable<QS> for ListExpression<E> {}

impl<E: QueryFragment<Pg>> QueryFragment<Pg> for ListExpression<E> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        pass.push_sql(
            r#"(jsonb_populate_record(NULL::"UpgradeRecommendation", jsonb_build_object('benefits', "#,
        );
        self.0.walk_ast(pass.reborrow())?;
        // Both columns have one type.
        pass.push_sql("))).benefits");
        Ok(())
    }
}

impl<E: QueryFragment<Sqlite>> QueryFragment<Sqlite> for ListExpression<E> {
    fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.0.walk_ast(pass)
    }
}
