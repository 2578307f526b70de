//! `api_usage_aggregates`: the roll-ups as the application reads them. The table belongs to the application and
//! may hold rows that its own aggregation wrote.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::sql_types::{BigInt, Bool, Double, Nullable, Text, Timestamp};

use crate::domain::id;
use crate::domain::period::{Calendar, Granularity, Window};
use crate::domain::usage::aggregate_row::{AggregateRow, FoundRow, Surplus};
use crate::domain::usage::credits::Credits;
use crate::domain::usage::rollup::{ApiPeriod, ErrorClasses, Rollup};
use crate::store::prelude::*;
use crate::store::schema::api_usage_aggregates;
use crate::store::time::{StoredTimestamp, TimeBoundary};
use crate::store::types::LenientInt;

/// Declares the columns of an [`AggregateRow`] once, and the conversions, whose fields have the same names.
macro_rules! numbers {
    ($($(#[$attribute:meta])? $field:ident: $type:ty,)+) => {
        #[derive(AsChangeset, Clone, Debug, Insertable, Queryable, Selectable)]
        #[diesel(table_name = api_usage_aggregates)]
        #[diesel(treat_none_as_null = true, treat_none_as_default_value = false)]
        struct Numbers {
            $($(#[$attribute])? $field: $type,)+
        }

        impl From<AggregateRow> for Numbers {
            fn from(row: AggregateRow) -> Numbers {
                Numbers { $($field: row.$field,)+ }
            }
        }

        impl From<Numbers> for AggregateRow {
            fn from(row: Numbers) -> AggregateRow {
                AggregateRow { $($field: row.$field,)+ }
            }
        }
    };
}

numbers! {
    #[diesel(deserialize_as = LenientInt)]
    total_requests: i32,
    #[diesel(deserialize_as = LenientInt)]
    success_count: i32,
    #[diesel(deserialize_as = LenientInt)]
    error_count: i32,
    #[diesel(deserialize_as = LenientInt)]
    cached_count: i32,
    avg_response_time: Option<f64>,
    #[diesel(deserialize_as = LenientInt)]
    max_response_time: Option<i32>,
    #[diesel(deserialize_as = LenientInt)]
    min_response_time: Option<i32>,
    #[diesel(deserialize_as = LenientInt)]
    rate_limit_errors: i32,
    #[diesel(deserialize_as = LenientInt)]
    timeout_errors: i32,
    #[diesel(deserialize_as = LenientInt)]
    server_errors: i32,
    total_cost: Option<f64>,
}

#[derive(Insertable)]
#[diesel(table_name = api_usage_aggregates, treat_none_as_default_value = false)]
struct NewRow {
    id: String,
    api_name: String,
    endpoint: Option<String>,
    aggregation_type: &'static str,
    period_start: UtcTimestamp,
    period_end: UtcTimestamp,
    #[diesel(embed)]
    numbers: Numbers,
    created_at: UtcTimestamp,
    updated_at: UtcTimestamp,
}

/// The rows of some APIs whose periods start in `window`, by any program.
///
/// On SQLite another program may have written the period start in another form; of two rows of one period,
/// the canonical one counts.
pub fn find(
    db: &mut Db,
    granularity: Granularity,
    apis: &BTreeSet<&str>,
    window: Window,
) -> QueryResult<HashMap<ApiPeriod, FoundRow>> {
    use api_usage_aggregates::dsl;
    type Read = (String, String, StoredTimestamp, Numbers);
    macro_rules! rows {
        () => {
            dsl::api_usage_aggregates
                .select((
                    dsl::id,
                    dsl::api_name,
                    dsl::period_start,
                    Numbers::as_select(),
                ))
                .filter(dsl::api_name.eq_any(apis.iter().copied()))
                .filter(dsl::aggregation_type.eq(granularity.as_str()))
        };
    }
    let ranged = |window: Window| {
        dsl::period_start
            .ge(TimeBoundary(window.from))
            .and(dsl::period_start.lt(TimeBoundary(window.to)))
    };
    let rows: Vec<Read> = match db {
        Db::Pg(postgres) => postgres.run(|conn| rows!().filter(ranged(window)).load(conn))?,
        Db::Sqlite(conn) => {
            // As text another offset is up to a day away; milliseconds since 1970 are compared as numbers.
            let nearby = Window::new(
                (window.from - TimeDelta::days(1)).max(Window::ALL.from),
                (window.to + TimeDelta::days(1)).min(Window::ALL.to),
            );
            let in_ms = diesel::dsl::sql::<Bool>("period_start >= ")
                .bind::<BigInt, _>(window.from.timestamp_millis())
                .sql(" AND period_start < ")
                .bind::<BigInt, _>(window.to.timestamp_millis());
            let mut rows: Vec<Read> = rows!().filter(ranged(nearby)).load(conn)?;
            rows.extend(rows!().filter(in_ms).load::<Read>(conn)?);
            rows
        }
    };
    let mut found = HashMap::new();
    for (id, api_name, start, numbers) in rows {
        let (start, is_canonical) = match start {
            StoredTimestamp::Canonical(start) => (start, true),
            StoredTimestamp::NonCanonical(Some(start)) => (start, false),
            StoredTimestamp::NonCanonical(None) => continue,
        };
        let row = FoundRow {
            id,
            row: numbers.into(),
            is_canonical,
        };
        let period = ApiPeriod { start, api_name };
        if window.contains(start) && (is_canonical || !found.contains_key(&period)) {
            found.insert(period, row);
        }
    }
    Ok(found)
}

pub fn exist_for(db: &mut Db, api: &str) -> QueryResult<bool> {
    use api_usage_aggregates::dsl;
    let rows = dsl::api_usage_aggregates.filter(dsl::api_name.eq(api));
    on!(db, |conn| diesel::select(diesel::dsl::exists(rows))
        .get_result(conn))
}

/// A row of another program beside the roll-up of its period.
#[derive(QueryableByName)]
struct Compared {
    #[diesel(sql_type = Text)]
    api_name: String,
    #[diesel(sql_type = Timestamp)]
    period_start: StoredTimestamp,
    #[diesel(sql_type = Bool)]
    rolled_up: bool,
    #[diesel(sql_type = BigInt)]
    total_requests: i64,
    #[diesel(sql_type = BigInt)]
    success_count: i64,
    #[diesel(sql_type = BigInt)]
    error_count: i64,
    #[diesel(sql_type = BigInt)]
    cached_count: i64,
    #[diesel(sql_type = BigInt)]
    rate_limit_errors: i64,
    #[diesel(sql_type = BigInt)]
    timeout_errors: i64,
    #[diesel(sql_type = BigInt)]
    server_errors: i64,
    #[diesel(sql_type = Nullable<Double>)]
    published_cost: Option<f64>,
    #[diesel(sql_type = Nullable<Text>)]
    rolled_up_cost: Option<String>,
}

impl Compared {
    /// What the row counts beyond the roll-up; `None` if its period does not begin at one of our boundaries.
    fn surplus(self, granularity: Granularity, calendar: Calendar) -> Option<Surplus> {
        // A class of errors may count less than the roll-up: that is no surplus.
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        let StoredTimestamp::Canonical(start) = self.period_start else {
            return None;
        };
        // The application's days begin at its own midnight. Such a day overlaps two of ours, whose rows count
        // already: counting it too would count calls twice.
        if calendar.start_of(granularity, start) != start {
            return None;
        }
        // A row without a cost, or a period without a roll-up, adds none.
        let published = self.published_cost.and_then(Credits::from_f64);
        let rolled_up = self.rolled_up_cost.and_then(|cost| cost.parse().ok());
        let rolled_up = rolled_up.unwrap_or(Credits::ZERO);
        Some(Surplus {
            granularity,
            period: ApiPeriod {
                start,
                api_name: self.api_name,
            },
            is_rolled_up: self.rolled_up,
            rollup: Rollup {
                total_requests: count(self.total_requests),
                success_count: count(self.success_count),
                error_count: count(self.error_count),
                cached_count: count(self.cached_count),
                errors: ErrorClasses {
                    rate_limit: count(self.rate_limit_errors),
                    timeout: count(self.timeout_errors),
                    server: count(self.server_errors),
                    ..ErrorClasses::default()
                },
                total_cost: published
                    .map_or(Credits::ZERO, |cost| cost.minus(rolled_up))
                    .max(Credits::ZERO),
                ..Rollup::default()
            },
        })
    }
}

/// The rows with a [`Surplus`] whose periods start in `window`.
pub fn surplus(
    db: &mut Db,
    granularity: Granularity,
    calendar: Calendar,
    window: Window,
) -> QueryResult<Vec<Surplus>> {
    // Also starts that are milliseconds since 1970, which older Prisma engines write to SQLite.
    let (start, is_within) = match db {
        Db::Pg(_) => (
            "published.period_start",
            "published.period_start >= $2 AND published.period_start < $3",
        ),
        Db::Sqlite(_) => (
            "CASE typeof(published.period_start) WHEN 'text' THEN published.period_start
             ELSE strftime('%Y-%m-%dT%H:%M:%S.000+00:00', published.period_start / 1000.0, 'unixepoch') END",
            "(published.period_start >= $2 AND published.period_start < $3
              OR published.period_start >= $4 AND published.period_start < $5)",
        ),
    };
    let more = |column: &str| {
        format!(
            "coalesce(CAST(published.{column} AS BIGINT), 0) - coalesce(rollup.{column}, 0) AS {column}"
        )
    };
    let counts = "total_requests success_count error_count cached_count \
                  rate_limit_errors timeout_errors server_errors";
    let counts: Vec<String> = counts.split(' ').map(more).collect();
    let query = format!(
        "SELECT published.api_name, {start} AS period_start, rollup.api_name IS NOT NULL AS rolled_up, {},
             published.total_cost AS published_cost, rollup.total_cost AS rolled_up_cost
         FROM api_usage_aggregates AS published
         LEFT JOIN usagectl_rollups AS rollup
             ON rollup.aggregation_type = published.aggregation_type AND rollup.scope = 'API'
             AND rollup.api_name = published.api_name AND rollup.period_start = {start}
         WHERE published.aggregation_type = $1 AND {is_within}
             AND published.total_requests > coalesce(rollup.total_requests, 0)
         ORDER BY published.api_name, published.period_start",
        counts.join(", ")
    );
    let bound = |query: String| {
        diesel::sql_query(query)
            .bind::<Text, _>(granularity.as_str())
            .bind::<Timestamp, _>(TimeBoundary(window.from))
            .bind::<Timestamp, _>(TimeBoundary(window.to))
    };
    let rows: Vec<Compared> = match db {
        Db::Pg(postgres) => postgres.run(|conn| bound(query).load(conn))?,
        Db::Sqlite(conn) => bound(query)
            .bind::<BigInt, _>(window.from.timestamp_millis())
            .bind::<BigInt, _>(window.to.timestamp_millis())
            .load(conn)?,
    };
    let surplus = |row: Compared| row.surplus(granularity, calendar);
    Ok(rows.into_iter().filter_map(surplus).collect())
}

/// Inserts rows of periods that have none; a unique violation means that another program inserted one meanwhile.
pub fn insert(
    db: &mut Db,
    granularity: Granularity,
    calendar: Calendar,
    rows: Vec<(&ApiPeriod, AggregateRow)>,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let row = |(period, row): (&ApiPeriod, AggregateRow)| {
        let (start, api_name) = (period.start, &period.api_name);
        let facts = format!("aggregate\0{granularity}\0{api_name}");
        NewRow {
            id: id::derived(start, facts.as_bytes()).to_string(),
            api_name: api_name.clone(),
            endpoint: None,
            aggregation_type: granularity.as_str(),
            period_start: start.into(),
            period_end: calendar.end_of(granularity, start).into(),
            numbers: row.into(),
            created_at: now.into(),
            updated_at: now.into(),
        }
    };
    let rows: Vec<NewRow> = rows.into_iter().map(row).collect();
    match db {
        Db::Pg(postgres) => {
            postgres.run(|conn| {
                diesel::insert_into(api_usage_aggregates::table)
                    .values(&rows)
                    .execute(conn)
            })?;
        }
        Db::Sqlite(conn) => {
            for row in &rows {
                diesel::insert_into(api_usage_aggregates::table)
                    .values(row)
                    .execute(conn)?;
            }
        }
    }
    Ok(())
}

/// Replaces the numbers of a row, which keeps its id and becomes the row of all endpoints.
pub fn replace(
    db: &mut Db,
    id: &str,
    period: Window,
    row: AggregateRow,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    use api_usage_aggregates::dsl;
    on!(db, |conn| {
        diesel::update(dsl::api_usage_aggregates.find(id))
            .set((
                dsl::endpoint.eq(None::<String>),
                dsl::period_start.eq(UtcTimestamp::new(period.from)),
                dsl::period_end.eq(UtcTimestamp::new(period.to)),
                Numbers::from(row),
                dsl::updated_at.eq(UtcTimestamp::new(now)),
            ))
            .execute(conn)
    })?;
    Ok(())
}

pub fn delete(db: &mut Db, id: &str) -> QueryResult<()> {
    use api_usage_aggregates::dsl;
    on!(db, |conn| diesel::delete(
        dsl::api_usage_aggregates.find(id)
    )
    .execute(conn))?;
    Ok(())
}
