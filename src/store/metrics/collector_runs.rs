//! `usagectl_collector_runs`: one row for each run of a collector.

use uuid::Uuid;

use crate::domain::id;
use crate::domain::metrics::collector::{CollectorRun, RunResult};
use crate::store::prelude::*;
use crate::store::schema::usagectl_collector_runs as runs;

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = runs, treat_none_as_default_value = false)]
struct Row {
    id: String,
    collector: String,
    started_at: UtcTimestamp,
    duration_ms: i64,
    result: String,
    written: i32,
    error: Option<String>,
}

/// In the transaction of the run. Of runs at one instant the ids ascend, so that the last one is known.
pub fn insert(db: &mut Db, run: &CollectorRun) -> QueryResult<()> {
    let started_at = UtcTimestamp::new(run.started_at);
    let before: Option<String> = on!(db, |conn| runs::table
        .select(runs::id)
        .filter(runs::collector.eq(&run.collector))
        .filter(runs::started_at.eq(started_at))
        .order(runs::id.desc())
        .first(conn)
        .optional())?;
    let before = before.and_then(|id| Uuid::parse_str(&id).ok());
    let id = before.map_or_else(
        || id::unique(run.started_at),
        |before| Uuid::from_u128(before.as_u128().wrapping_add(1)),
    );
    let row = Row {
        id: id.to_string(),
        collector: run.collector.clone(),
        started_at,
        duration_ms: run.duration_ms,
        result: run.result.as_str().to_owned(),
        written: run.written,
        error: run.error.clone(),
    };
    on!(db, |conn| diesel::insert_into(runs::table)
        .values(&row)
        .execute(conn))?;
    Ok(())
}

/// The last run of every collector, in the order of their names; with `result`, the last run with that result.
pub fn last(db: &mut Db, result: Option<RunResult>) -> QueryResult<Vec<CollectorRun>> {
    let names: Vec<String> = on!(db, |conn| runs::table
        .select(runs::collector)
        .distinct()
        .order(runs::collector)
        .load(conn))?;
    let mut found = Vec::new();
    for name in names {
        let row: Option<Row> = on!(db, |conn| {
            let mut query = runs::table
                .select(Row::as_select())
                .filter(runs::collector.eq(&name))
                .order((runs::started_at.desc(), runs::id.desc()))
                .into_boxed();
            if let Some(result) = result {
                query = query.filter(runs::result.eq(result.as_str()));
            }
            query.first(conn).optional()
        })?;
        found.extend(row.and_then(into_run));
    }
    Ok(found)
}

/// `None` for a result that is unknown to this version.
fn into_run(row: Row) -> Option<CollectorRun> {
    Some(CollectorRun {
        collector: row.collector,
        started_at: row.started_at.utc(),
        duration_ms: row.duration_ms,
        result: RunResult::named(&row.result)?,
        written: row.written,
        error: row.error,
    })
}
