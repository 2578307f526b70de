//! `InfrastructureMetric`: measurements by any writer.
//!
//! On SQLite a timestamp may be in any form that Prisma writes, and a column may hold a value of another type.
//! Unreadable rows are left out and never read as zero.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{Datelike, Days, Months, NaiveDate, NaiveTime};
use diesel::dsl::sql;
use diesel::expression::AsExpression;
use diesel::pg::Pg;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{BigInt, Bool, Timestamp};
use diesel::sqlite::Sqlite;

use crate::domain::metrics::focus_bill::{BillPart, amounts_of, item_of};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{NewPoint, Point, PointMetadata, Saved, Series};
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

/// The source of bills that are read from stdin, which has no name that could tell whether it is the same bill again.
pub const STDIN: &str = "focus:-";

/// The outcome of saving a bill.
#[derive(Clone, Debug, Default)]
pub struct SavedBill {
    pub saved: Saved,
    /// Days with charges in the earlier file, which were removed since the new one has none.
    pub removed_days: BTreeSet<NaiveDate>,
    /// Sums of the earlier bill that were replaced, if it had no charge of the new one.
    pub overwritten: u64,
    /// The sources of its other files, which were removed.
    pub removed_sources: BTreeSet<String>,
}

/// A stored bill that keeps another one from being saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBill {
    pub source: String,
    pub conflict: BillConflict,
    /// Whether the new one cannot take its name: it has charges that the new one lacks, is not the only one in conflict, or
    /// the new one's own name is stored, too.
    pub is_other_cut: bool,
}

/// What a bill and a stored one have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BillConflict {
    /// Charges; the sources differ.
    Charges,
    /// Most resources and SKUs, with other amounts; the sources differ.
    Items,
    /// Source, account and billing period, and no resource or SKU.
    Name,
    /// Source, account and billing period, without resources and SKUs; no charge is in both, and the new one lacks services,
    /// regions or charge periods.
    Unclear,
}

/// A stored bill of another source.
#[derive(Default)]
struct OtherBill<'a> {
    /// Those of the same bill: their ids, and the days that the new bill lacks.
    rows: Vec<(String, Option<NaiveDate>)>,
    /// The items of the new bill that it has.
    items: HashSet<&'a str>,
    /// Whether a charge is in both.
    has_charge: bool,
    /// Whether it has items that the new one lacks.
    is_larger: bool,
}

/// Saves the points of a bill and removes those that an earlier import of the same source stored for the same providers,
/// accounts and billing periods, in one transaction; if it `replaces` the bill, also those of other sources that are in
/// conflict with it or have only its resources and SKUs. Saves nothing if another stored bill is in conflict with it.
pub fn save_bill(
    db: &mut Db,
    points: &[NewPoint],
    source: &str,
    metrics: &BTreeSet<(Service, Metric)>,
    replaces: bool,
) -> QueryResult<Result<SavedBill, StoredBill>> {
    use infrastructure_metric::dsl;
    let mut parts: BTreeSet<BillPart> = BTreeSet::new();
    let mut charges: HashSet<String> = HashSet::new();
    for point in points {
        let metadata = PointMetadata::of(&point.metadata);
        parts.extend(metadata.bill);
        charges.extend(metadata.charges);
    }
    let days: BTreeSet<NaiveDate> = points.iter().map(|it| it.at.date_naive()).collect();
    let periods = parts.iter().map(|part| part.billed_from);
    let Some(first) = periods.chain(days.first().copied()).min() else {
        return Ok(Ok(SavedBill::default()));
    };
    // A bill may have late charges of the month before.
    let first = first.checked_sub_months(Months::new(1)).unwrap_or(first);
    let amounts: HashSet<&str> = charges.iter().map(|it| amounts_of(it)).collect();
    let items: HashSet<&str> = charges.iter().filter_map(|it| item_of(it)).collect();
    // The hashes of charges differ between resources.
    let resources: HashSet<&str> = points
        .iter()
        .map(|it| it.series.resource.as_str())
        .collect();
    let kept: HashSet<String> = points.iter().map(NewPoint::id).collect();
    db.write_tx(|db| {
        let mut gone: Vec<String> = Vec::new();
        let mut removed_days = BTreeSet::new();
        let mut others: BTreeMap<String, OtherBill<'_>> = BTreeMap::new();
        let mut replaced: Vec<String> = Vec::new();
        let (mut is_revision, mut lost, mut overwritten) = (false, 0, 0);
        for (service, metric) in metrics {
            let found: Vec<(String, Row)> = on!(db, |conn| dsl::infrastructure_metric
                .filter(dsl::service.eq(EnumColumn(*service)))
                .filter(dsl::metric.eq(EnumColumn(*metric)))
                .filter(dsl::timestamp.ge(DayBoundary(first)))
                .select((dsl::id, (dsl::timestamp, dsl::value, dsl::metadata)))
                .load(conn))?;
            for (id, (MaybeTimestamp(at), LenientFloat(value), metadata)) in found {
                let text = metadata.as_ref().map(|Json(text)| text.as_str());
                let stored = PointMetadata::parse(text);
                let Some(other) = stored.source else { continue };
                let is_of_bill = stored.bill.is_some_and(|part| parts.contains(&part));
                let day = at.filter(|_| value != 0.0).map(|at| at.date_naive());
                let lost_day = day.filter(|day| !days.contains(day));
                if other != source {
                    let bill = others.entry(other).or_default();
                    if is_of_bill {
                        bill.rows.push((id, lost_day));
                    }
                    let is_absent = |it: &String| {
                        let is_item = item_of(it).is_some_and(|it| items.contains(it));
                        !is_item && !charges.contains(it)
                    };
                    let stored = stored.charges.iter();
                    bill.is_larger |= stored.clone().any(is_absent);
                    bill.has_charge |= stored.clone().any(|it| charges.contains(it));
                    let found = stored.filter_map(|it| items.get(item_of(it)?));
                    bill.items.extend(found);
                    continue;
                }
                let is_kept = kept.contains(&id);
                let is_replaced = is_of_bill && source != STDIN;
                if !is_kept && !is_replaced {
                    continue;
                }
                let is_charged = !stored.charges.is_empty();
                let mut all = stored.charges.iter();
                let is_same = match resources.contains(stored.resource.as_str()) {
                    true => all.any(|it| charges.contains(it)),
                    false => all.any(|it| amounts.contains(amounts_of(it))),
                };
                is_revision |= is_same;
                overwritten += u64::from(is_charged && is_kept);
                lost += u64::from(is_charged && !is_kept);
                replaced.extend(stored.charges);
                if !is_kept {
                    removed_days.extend(lost_day);
                    gone.push(id);
                }
            }
        }
        // A few items in two files are a bill in parts.
        let is_revised = |it: &OtherBill<'_>| it.items.len() * 2 > items.len();
        // Files of the same bill that share charges with the new one, or have only items that it has, too.
        let is_removed = |it: &OtherBill<'_>| {
            replaces && !it.rows.is_empty() && (it.has_charge || is_revised(it) || !it.is_larger)
        };
        let all = others.into_iter();
        let (removed, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.partition(|(_, it)| is_removed(it));
        for (id, lost_day) in removed.values().flat_map(|it| &it.rows) {
            gone.push(id.clone());
            removed_days.extend(*lost_day);
        }
        let mut replaced_items = replaced.iter().filter_map(|it| item_of(it)).peekable();
        let is_named = !items.is_empty() && replaced_items.peek().is_some();
        let is_unrelated = !is_revision && replaced_items.all(|it| !items.contains(it));
        let is_unclear = is_unrelated && !replaces && source != STDIN;
        let first = |is: &dyn Fn(&OtherBill<'_>) -> bool| {
            let found = others.iter().find(|(_, it)| is(it));
            found.map(|(source, _)| source.clone())
        };
        let conflict = if let Some(source) = first(&|it| it.has_charge) {
            Some((source, BillConflict::Charges))
        } else if let Some(source) = first(&is_revised) {
            Some((source, BillConflict::Items))
        } else if is_unclear && is_named {
            Some((source.to_owned(), BillConflict::Name))
        } else {
            let is_unclear = is_unclear && lost > 0;
            is_unclear.then(|| (source.to_owned(), BillConflict::Unclear))
        };
        if let Some((source, conflict)) = conflict {
            let mut in_conflict = others
                .iter()
                .filter(|(_, it)| it.has_charge || is_revised(it));
            return Ok(Err(StoredBill {
                is_other_cut: others.get(&source).is_some_and(|it| it.is_larger)
                    || in_conflict.any(|(name, _)| *name != source)
                    || !replaced.is_empty(),
                source,
                conflict,
            }));
        }
        for ids in gone.chunks(ROWS) {
            on!(db, |conn| diesel::delete(
                dsl::infrastructure_metric.filter(dsl::id.eq_any(ids))
            )
            .execute(conn))?;
        }
        let mut saved = save_in(db, points, OnConflict::Replace)?;
        saved.updated += gone.len() as u64;
        Ok(Ok(SavedBill {
            saved,
            removed_days,
            overwritten: if is_unrelated { overwritten } else { 0 },
            removed_sources: removed.into_keys().collect(),
        }))
    })
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
