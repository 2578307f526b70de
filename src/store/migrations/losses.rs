//! The data lost when a migration is reverted: the rows of its tables, the values of its columns.

use std::collections::BTreeSet;
use std::num::ParseIntError;

use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{BigInt, Text};

use crate::domain::schema::objects::SchemaObjects;
use crate::domain::schema::plan::{Action, DataLoss, PlanStep};

use crate::store::db::{Db, on, quote_identifier};

/// Tables whose content is not lost: the next `migrate` computes it again from `api_usage`, or it describes runs.
const REBUILT: [&str; 4] = [
    "usagectl_dirty_hours",
    "usagectl_odd_timestamps",
    "usagectl_run_locks",
    "usagectl_stale_periods",
];

/// Columns whose values `down.sql` writes into a column that stays.
const WRITTEN_BACK: [&str; 1] = ["column usagectl_notices.drop_reason"];

/// Counts the data lost with each existing table and column that a step drops.
pub fn count_losses(db: &mut Db, step: &mut PlanStep, found: &SchemaObjects) -> QueryResult<()> {
    for table in tables(step, found) {
        // The dropped columns of this table; none if the table itself is dropped.
        let columns: Vec<String> = dropped(step, "column")
            .filter_map(|name| name.split_once('.'))
            .filter(|(its_table, _)| *its_table == table)
            .map(|(_, column)| column.to_owned())
            .filter(|column| found.get(&format!("column {table}.{column}")).is_some())
            .collect();
        let (of, values) = count(db, &table, &columns, found)?;
        let columns = columns
            .iter()
            .map(|column| format!("column {table}.{column}"));
        let losses = std::iter::once((format!("table {table}"), of)).chain(columns.zip(values));
        for (what, lost) in losses {
            let change = step
                .changes
                .iter_mut()
                .find(|change| change.action == Action::Drop && change.object == what);
            if let Some(change) = change {
                let rebuilt = REBUILT.contains(&table.as_str())
                    || WRITTEN_BACK.contains(&change.object.as_str());
                change.loss = Some(DataLoss { lost, of, rebuilt });
            }
        }
    }
    Ok(())
}

/// Locks the tables from which data is dropped until the transaction ends, so that no row is added after
/// counting. On SQLite the transaction itself does that.
pub fn lock_tables(db: &mut Db, steps: &[PlanStep], found: &SchemaObjects) -> QueryResult<()> {
    let tables: BTreeSet<String> = steps
        .iter()
        .flat_map(|step| tables(step, found))
        .map(|table| quote_identifier(&table))
        .collect();
    if matches!(db, Db::Sqlite(_)) || tables.is_empty() {
        return Ok(());
    }
    let tables: Vec<String> = tables.into_iter().collect();
    // A lock timeout has no `DatabaseErrorKind`; a serialization failure has, in every language of the server.
    db.batch_execute(&format!(
        "DO $usagectl$ BEGIN
             LOCK TABLE {} IN ACCESS EXCLUSIVE MODE;
         EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
             RAISE EXCEPTION '%', SQLERRM USING ERRCODE = 'serialization_failure';
         END $usagectl$",
        tables.join(", ")
    ))
}

/// The existing tables that the step drops, or of which it drops a column.
fn tables(step: &PlanStep, found: &SchemaObjects) -> BTreeSet<String> {
    let of_columns =
        dropped(step, "column").filter_map(|name| name.split_once('.').map(|(table, _)| table));
    dropped(step, "table")
        .chain(of_columns)
        .filter(|table| found.get(&format!("table {table}")).is_some())
        .map(str::to_owned)
        .collect()
}

fn dropped<'a>(step: &'a PlanStep, kind: &'a str) -> impl Iterator<Item = &'a str> {
    step.changes
        .iter()
        .filter(|change| change.action == Action::Drop)
        .filter_map(|change| change.object.split_once(' '))
        .filter(move |(its_kind, _)| *its_kind == kind)
        .map(|(_, name)| name)
}

/// The number of rows, then of each column the number of values that are neither null nor its default, in
/// one pass over the table.
fn count(
    db: &mut Db,
    table: &str,
    columns: &[String],
    found: &SchemaObjects,
) -> QueryResult<(i64, Vec<i64>)> {
    #[derive(QueryableByName)]
    struct Counts {
        #[diesel(sql_type = BigInt)]
        row_count: i64,
        /// One for each column, separated by spaces.
        #[diesel(sql_type = Text)]
        value_counts: String,
    }
    let values = columns.iter().map(|column| {
        let name = quote_identifier(column);
        let how = found.get(&format!("column {table}.{column}"));
        match how.and_then(constant_default) {
            Some(default) => format!(
                "count(*) FILTER (WHERE {name} IS NOT NULL AND {name} IS DISTINCT FROM {default})"
            ),
            None => format!("count({name})"),
        }
    });
    let values: Vec<String> = values.collect();
    let values = match values.as_slice() {
        [] => "''".to_owned(),
        values => format!("'' || {}", values.join(" || ' ' || ")),
    };
    let table = quote_identifier(table);
    let query = format!("SELECT count(*) AS row_count, {values} AS value_counts FROM {table}");
    let counts: Counts = on!(db, |conn| diesel::sql_query(query).get_result(conn))?;
    let values = counts.value_counts.split_whitespace().map(str::parse);
    let values: Result<_, ParseIntError> = values.collect();
    let values = values.map_err(|error| DieselError::DeserializationError(Box::new(error)))?;
    Ok((counts.row_count, values))
}

/// The default of a column, as SQL, if it is a constant.
fn constant_default(how: &str) -> Option<&str> {
    let (_, default) = how.split_once(" default ")?;
    let varies = default.contains('(') || default.to_uppercase().starts_with("CURRENT_");
    (!varies).then_some(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_is_constant_unless_it_calls_a_function() {
        let expected = Some("'GET'::text");
        assert_eq!(constant_default("text default 'GET'::text"), expected);
        assert_eq!(
            constant_default("boolean not null default false"),
            Some("false")
        );
        assert_eq!(
            constant_default("timestamp default CURRENT_TIMESTAMP"),
            None
        );
        assert_eq!(constant_default("text default gen_random_uuid()"), None);
        assert_eq!(constant_default("text not null"), None);
    }
}
