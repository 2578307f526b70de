//! `InfrastructureMetric`: measurements by any writer.
//!
//! On SQLite a timestamp may be in any form that Prisma writes, and a column may hold a value of another type.
//! Unreadable rows are left out and never read as zero.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{Datelike, Days, NaiveDate, NaiveTime};
use diesel::dsl::sql;
use diesel::expression::AsExpression;
use diesel::pg::Pg;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{BigInt, Bool, Timestamp};
use diesel::sqlite::Sqlite;

use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{NewPoint, Point, PointMetadata, Saved, Series};
use crate::domain::metrics::stored_bill::{BillChange, NewBill, StoredBill, StoredSum};
use crate::store::prelude::*;
use crate::store::schema::infrastructure_metric;
use crate::store::types::{EnumColumn, Json, LenientFloat, MaybeTimestamp};

#[derive(Insertable)]
#[diesel(table_name = infrastructure_metric, treat_none_as_default_value = false)]
struct NewRow {
    id: String,
    service: EnumColumn<Service>,
    metric: EnumColumn<Metric>,
    value: f64,
    timestamp: UtcTimestamp,
    metadata: Option<Json>,
}

impl NewRow {
    fn new(point: &NewPoint) -> NewRow {
        let json = || Json(serde_json::Value::Object(point.metadata.clone()).to_string());
        let metadata = (!point.metadata.is_empty()).then(json);
        NewRow {
            id: point.id(),
            service: EnumColumn(point.series.service),
            metric: EnumColumn(point.series.metric),
            value: point.value,
            timestamp: UtcTimestamp::new(point.at),
            metadata,
        }
    }
}

/// What to do with a point whose id is stored with another value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Keep the stored value: a measurement does not change.
    Keep,
    /// Replace it: bills are revised.
    Replace,
}

/// Rows per statement; a SQLite statement takes 32,766 values.
const ROWS: usize = 1_000;

/// Saves points in one transaction. Of several points with one id, the last one counts.
pub fn save(db: &mut Db, points: &[NewPoint], on_conflict: OnConflict) -> QueryResult<Saved> {
    db.write_tx(|db| save_in(db, points, on_conflict))
}

/// As [`save`], within a transaction.
pub fn save_in(db: &mut Db, points: &[NewPoint], on_conflict: OnConflict) -> QueryResult<Saved> {
    // In the order of ids, so that two concurrent runs cannot deadlock.
    let rows = points.iter().map(NewRow::new);
    let rows: BTreeMap<String, NewRow> = rows.map(|row| (row.id.clone(), row)).collect();
    let rows: Vec<NewRow> = rows.into_values().collect();
    let mut saved = Saved {
        unchanged: (points.len() - rows.len()) as u64,
        ..Saved::default()
    };
    for rows in rows.chunks(ROWS) {
        let found = stored(db, rows)?;
        let (old, new): (Vec<&NewRow>, Vec<&NewRow>) =
            rows.iter().partition(|row| found.contains_key(&row.id));
        // For a statement without rows SQLite reports the count of the one before.
        let inserted = if new.is_empty() {
            0
        } else {
            // A concurrent run may have saved the same points.
            on!(db, |conn| diesel::insert_into(infrastructure_metric::table)
                .values(new.clone())
                .on_conflict_do_nothing()
                .execute(conn))?
        };
        saved.inserted += inserted as u64;
        saved.unchanged += (new.len() - inserted) as u64;
        for row in old {
            let is_same = found.get(&row.id).is_some_and(|found| is_equal(found, row));
            if is_same || on_conflict == OnConflict::Keep {
                saved.unchanged += 1;
            } else {
                replace(db, row)?;
                saved.updated += 1;
            }
        }
    }
    Ok(saved)
}

/// Saves the points of a bill and removes the sums that they replace, in one transaction. Saves nothing if a stored
/// bill is in conflict with it.
pub fn save_bill(
    db: &mut Db,
    points: &[NewPoint],
    bill: &NewBill<'_>,
    metrics: &BTreeSet<(Service, Metric)>,
) -> QueryResult<Result<(Saved, BillChange), StoredBill>> {
    use infrastructure_metric::dsl;
    let Some(from) = bill.compared_from() else {
        return Ok(Ok(Default::default()));
    };
    db.write_tx(|db| {
        let mut stored: Vec<StoredSum> = Vec::new();
        for (service, metric) in metrics {
            let found: Vec<(String, Row)> = on!(db, |conn| dsl::infrastructure_metric
                .filter(dsl::service.eq(EnumColumn(*service)))
                .filter(dsl::metric.eq(EnumColumn(*metric)))
                .filter(dsl::timestamp.ge(DayBoundary(from)))
                .select((dsl::id, (dsl::timestamp, dsl::value, dsl::metadata)))
                .load(conn))?;
            stored.extend(found.into_iter().map(stored_sum));
        }
        let change = match bill.compared_with(stored) {
            Ok(change) => change,
            Err(conflict) => return Ok(Err(conflict)),
        };
        for ids in change.ids.chunks(ROWS) {
            on!(db, |conn| diesel::delete(
                dsl::infrastructure_metric.filter(dsl::id.eq_any(ids))
            )
            .execute(conn))?;
        }
        let mut saved = save_in(db, points, OnConflict::Replace)?;
        saved.updated += change.ids.len() as u64;
        Ok(Ok((saved, change)))
    })
}

fn stored_sum((id, row): (String, Row)) -> StoredSum {
    let (MaybeTimestamp(at), LenientFloat(value), metadata) = row;
    let text = metadata.as_ref().map(|Json(text)| text.as_str());
    StoredSum {
        id,
        at,
        value,
        metadata: PointMetadata::parse(text),
    }
}

type Row = (MaybeTimestamp, LenientFloat, Option<Json>);

fn stored(db: &mut Db, rows: &[NewRow]) -> QueryResult<HashMap<String, Row>> {
    use infrastructure_metric::dsl;
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let found: Vec<(String, Row)> = on!(db, |conn| dsl::infrastructure_metric
        .filter(dsl::id.eq_any(ids))
        .select((dsl::id, (dsl::timestamp, dsl::value, dsl::metadata)))
        .load(conn))?;
    Ok(found.into_iter().collect())
}

/// Whether a stored row equals a new one of the same id.
fn is_equal((MaybeTimestamp(at), LenientFloat(value), metadata): &Row, new: &NewRow) -> bool {
    // PostgreSQL normalizes JSON.
    let json = |json: &Option<Json>| {
        let text = json.as_ref().map(|Json(text)| text.as_str());
        text.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok())
    };
    *value == new.value && *at == Some(new.timestamp.utc()) && json(metadata) == json(&new.metadata)
}

fn replace(db: &mut Db, row: &NewRow) -> QueryResult<()> {
    use infrastructure_metric::dsl;
    let to = (
        dsl::service.eq(row.service),
        dsl::metric.eq(row.metric),
        dsl::value.eq(row.value),
        dsl::timestamp.eq(row.timestamp),
        dsl::metadata.eq(row.metadata.clone()),
    );
    on!(db, |conn| diesel::update(dsl::infrastructure_metric)
        .filter(dsl::id.eq(&row.id))
        .set(to)
        .execute(conn))?;
    Ok(())
}

/// The start of a UTC day, to compare timestamps with.
///
/// In SQLite it is the date alone, which sorts before every form of a time on that day.
#[derive(AsExpression, Clone, Copy, Debug)]
#[diesel(sql_type = Timestamp)]
struct DayBoundary(NaiveDate);

impl ToSql<Timestamp, Pg> for DayBoundary {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let at = UtcTimestamp::new(self.0.and_time(NaiveTime::MIN).and_utc());
        <UtcTimestamp as ToSql<Timestamp, Pg>>::to_sql(&at, &mut out.reborrow())
    }
}

impl ToSql<Timestamp, Sqlite> for DayBoundary {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(match self.0.year() {
            0..=9999 => self.0.to_string(),
            // Sorts after every digit.
            10_000.. => ":".to_owned(),
            _ => String::new(),
        });
        Ok(IsNull::No)
    }
}

/// The readable points of all resources of a metric on the UTC days `from` to `to`, both included.
pub fn points(
    db: &mut Db,
    service: Service,
    metric: Metric,
    from: NaiveDate,
    to: NaiveDate,
) -> QueryResult<Vec<(Series, Point)>> {
    use infrastructure_metric::dsl;
    // A timestamp with another offset sorts up to a day before or after its instant.
    let early = from.checked_sub_days(Days::new(1)).unwrap_or(from);
    let late = to.checked_add_days(Days::new(2)).unwrap_or(NaiveDate::MAX);
    let of_metric = dsl::infrastructure_metric
        .filter(dsl::service.eq(EnumColumn(service)))
        .filter(dsl::metric.eq(EnumColumn(metric)))
        .select((dsl::timestamp, dsl::value, dsl::metadata));
    let mut rows: Vec<Row> = on!(db, |conn| of_metric
        .filter(dsl::timestamp.ge(DayBoundary(early)))
        .filter(dsl::timestamp.lt(DayBoundary(late)))
        .load(conn))?;
    if let Db::Sqlite(conn) = db {
        // Milliseconds since 1970: numbers sort before all texts.
        let epoch_ms = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc().timestamp_millis();
        let with_numbers: Vec<Row> = of_metric
            .filter(sql::<Bool>("timestamp >= ").bind::<BigInt, _>(epoch_ms(early)))
            .filter(sql::<Bool>("timestamp < ").bind::<BigInt, _>(epoch_ms(late)))
            .load(conn)?;
        rows.extend(with_numbers);
    }
    let read = |(MaybeTimestamp(at), LenientFloat(value), metadata): Row| {
        let at = at?;
        let parsed = PointMetadata::parse(metadata.as_ref().map(|Json(text)| text.as_str()));
        let point = Point::from_row(metric, at, value, &parsed)?;
        let series = Series::new(service, metric, parsed.resource);
        let is_within = (from..=to).contains(&at.date_naive());
        is_within.then_some((series, point))
    };
    Ok(rows.into_iter().filter_map(read).collect())
}
