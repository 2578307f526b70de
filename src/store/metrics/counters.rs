//! `usagectl_counters`: counters of servers as they were last read.

use crate::domain::metrics::counter::Counter;
use crate::store::prelude::*;
use crate::store::schema::usagectl_counters as counters;

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = counters)]
struct Row {
    name: String,
    epoch: String,
    value: f64,
    read_at: UtcTimestamp,
}

pub fn all(db: &mut Db) -> QueryResult<Vec<Counter>> {
    let rows: Vec<Row> = on!(db, |conn| counters::table
        .select(Row::as_select())
        .order(counters::name)
        .load(conn))?;
    let counter = |row: Row| Counter {
        name: row.name,
        epoch: row.epoch,
        value: row.value,
        read_at: row.read_at.utc(),
    };
    Ok(rows.into_iter().map(counter).collect())
}

/// Saves readings, except those that are older than the stored ones.
pub fn save(db: &mut Db, readings: &[Counter]) -> QueryResult<()> {
    for counter in readings {
        let read_at = UtcTimestamp::new(counter.read_at);
        let row = Row {
            name: counter.name.clone(),
            epoch: counter.epoch.clone(),
            value: counter.value,
            read_at,
        };
        on!(db, |conn| {
            diesel::delete(counters::table)
                .filter(counters::name.eq(&counter.name))
                .filter(counters::read_at.le(read_at))
                .execute(conn)?;
            diesel::insert_into(counters::table)
                .values(&row)
                .on_conflict_do_nothing()
                .execute(conn)?;
            QueryResult::Ok(())
        })?;
    }
    Ok(())
}
