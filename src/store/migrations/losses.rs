//! The data lost when a migration is reverted: the rows of its tables, the values of its columns.

use std::collections::BTreeSet;
use std::num::ParseIntError;
use std::time::Instant;

use diesel::result::Error as DieselError;
use diesel::sql_types::Text;
use diesel::{QueryResult, sql_query};

use super::triggers::DROP_OF_PARTITIONS;
use super::{Direction, Migration};
use crate::domain::format::{at_least, counted};
use crate::domain::schema::dependents::DependentKind;
use crate::domain::schema::objects::SchemaObjects;
use crate::domain::schema::plan::{Action, DataLoss, PlanStep};
use crate::store::db::{Db, on, quote_identifier};
use crate::store::schema_objects;
use crate::store::tuples::LoadTuples;

/// Tables whose content is not lost: the next `migrate` computes it again from the application's, or it describes runs.
pub(super) const REBUILT: [&str; 7] = [
    "usagectl_dirty_hours",
    "usagectl_dirty_metric_days",
    "usagectl_fingerprints",
    "usagectl_late_hours",
    "usagectl_odd_timestamps",
    "usagectl_run_locks",
    "usagectl_stale_periods",
];

/// Columns whose values `down.sql` writes into a column that stays.
pub(super) const WRITTEN_BACK: [&str; 1] = ["column usagectl_notices.drop_reason"];

/// Counts the data lost with each existing table and column that a step drops, until `deadline`.
pub fn count_losses(
    db: &mut Db,
    step: &mut PlanStep,
    found: &SchemaObjects,
    deadline: Instant,
) -> QueryResult<()> {
    for table in tables(step, found) {
        // The dropped columns of this table; none if the table itself is dropped.
        let columns: Vec<String> = dropped(step, "column")
            .filter_map(|name| name.split_once('.'))
            .filter(|(its_table, _)| *its_table == table)
            .map(|(_, column)| column.to_owned())
            .filter(|column| found.get(&format!("column {table}.{column}")).is_some())
            .collect();
        let counts = count(db, &table, &columns, found, deadline)?;
        let columns = columns
            .iter()
            .map(|column| format!("column {table}.{column}"));
        let objects = std::iter::once(format!("table {table}")).chain(columns);
        for (place, what) in objects.enumerate() {
            let change = step
                .changes
                .iter_mut()
                .find(|change| change.action == Action::Drop && change.object == what);
            if let Some(change) = change {
                let rebuilt = REBUILT.contains(&table.as_str())
                    || WRITTEN_BACK.contains(&change.object.as_str());
                // A count of zero that is not exact is no count.
                let count = |place: usize| {
                    let count = counts.counts.get(place).copied();
                    count.filter(|count| counts.exact || *count > 0)
                };
                change.loss = Some(DataLoss {
                    lost: count(place),
                    of: count(0),
                    exact: counts.exact,
                    rebuilt,
                });
            }
        }
    }
    Ok(())
}

/// The rows and values in the tables and columns of these migrations, as far as they are counted until `deadline`.
pub fn held_data(
    db: &mut Db,
    migrations: &[&'static Migration],
    deadline: Instant,
) -> QueryResult<String> {
    let found = schema_objects::read(db)?;
    let mut held = Vec::new();
    for migration in migrations {
        let mut step = migration.step(db, Direction::Down);
        count_losses(db, &mut step, &found, deadline)?;
        let losses = step.losses().filter(|(_, loss)| !loss.rebuilt);
        held.extend(losses.filter_map(|(object, loss)| {
            let count = loss.lost.filter(|count| *count > 0)?;
            let (kind, name) = object.split_once(' ')?;
            let unit = if kind == "table" { "row" } else { "value" };
            let count = counted(count.try_into().unwrap_or_default(), unit);
            Some(format!("{name} {}", at_least(count, !loss.exact)))
        }));
    }
    Ok(match held.as_slice() {
        [] => "their tables and columns are empty".to_owned(),
        held => held.join(", "),
    })
}

/// Locks the tables from which `step` drops data until the transaction ends, so that no row is added. On SQLite the
/// transaction itself does that.
pub fn lock_tables(db: &mut Db, step: &PlanStep, found: &SchemaObjects) -> QueryResult<()> {
    let tables = locked_tables(step, found);
    let mut tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    // Ours last: a writer of the application holds its table when a trigger writes ours. Of the application's,
    // those that stay last, so that they are not locked while the others are waited for.
    tables.sort_by_key(|table| {
        let is_dropped = dropped(step, "table").any(|name| name == *table);
        (table.starts_with("usagectl_"), !is_dropped)
    });
    lock(db, tables.into_iter())
}

/// The tables that [`lock_tables`] locks.
pub fn locked_tables(step: &PlanStep, found: &SchemaObjects) -> BTreeSet<String> {
    let mut tables = tables(step, found);
    // Dropping a trigger locks its table too.
    let of_triggers = dropped(step, "trigger").filter_map(|name| name.split_once('.'));
    tables.extend(of_triggers.map(|(table, _)| table.to_owned()));
    tables
}

/// Whether `step` drops functions or types.
pub fn drops_types(step: &PlanStep) -> bool {
    ["function", "enum"]
        .iter()
        .any(|kind| dropped(step, kind).next().is_some())
}

/// The statements that drop the indexes of the user that SQLite would not drop with their column, as PostgreSQL does, and
/// there our triggers on partitions.
pub fn further_drops(db: &Db, step: &PlanStep) -> Vec<String> {
    if matches!(db, Db::Pg(_)) {
        let mut changes = step.changes.iter();
        let drops_functions = changes.any(|it| it.object == "function usagectl_mark_new_rows");
        return match drops_functions {
            true => vec![DROP_OF_PARTITIONS.to_owned()],
            false => Vec::new(),
        };
    }
    let indexes = step.dependents.iter().filter(|it| {
        it.kind == DependentKind::Index && !it.blocks && it.depends_on.starts_with("column ")
    });
    indexes
        .map(|index| format!("DROP INDEX {};\n", quote_identifier(&index.name)))
        .collect()
}

fn lock<'a>(db: &mut Db, tables: impl Iterator<Item = &'a str>) -> QueryResult<()> {
    let tables: Vec<String> = tables.map(quote_identifier).collect();
    if matches!(db, Db::Sqlite(_)) || tables.is_empty() {
        return Ok(());
    }
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

/// The first object with which a row or value would be lost, although none was counted. The tables must be locked.
pub fn first_loss(
    db: &mut Db,
    step: &PlanStep,
    found: &SchemaObjects,
) -> QueryResult<Option<String>> {
    let counted = step.losses().filter(|(_, loss)| !loss.rebuilt);
    for (object, _) in counted.filter(|(object, _)| found.get(object).is_some()) {
        let Some((kind, name)) = object.split_once(' ') else {
            continue;
        };
        let (table, condition) = match name.split_once('.') {
            Some((table, column)) if kind == "column" => {
                let default = found.get(object).and_then(constant_default);
                (table, is_value(column, default))
            }
            _ => (name, "true".to_owned()),
        };
        let query = format!(
            "SELECT count(*) FROM (SELECT 1 FROM {} WHERE {condition} LIMIT 1) AS found",
            quote_identifier(table)
        );
        if super::rows::number(db, query)? > 0 {
            return Ok(Some(object.to_owned()));
        }
    }
    Ok(None)
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

struct Counts {
    /// The number of rows, then of each column the number of values that are neither null nor its default.
    counts: Vec<i64>,
    /// False if the deadline came first.
    exact: bool,
}

/// Counts a table in pieces, so that counting can stop at `deadline`.
fn count(
    db: &mut Db,
    table: &str,
    columns: &[String],
    found: &SchemaObjects,
    deadline: Instant,
) -> QueryResult<Counts> {
    let values = columns.iter().map(|column| {
        let default = found.get(&format!("column {table}.{column}"));
        let default = default.and_then(constant_default);
        format!("count(CASE WHEN {} THEN 1 END)", is_value(column, default))
    });
    let counts: Vec<String> = std::iter::once("count(*)".to_owned())
        .chain(values)
        .collect();
    let counts = counts.join(" || ' ' || ");
    let quoted = quote_identifier(table);
    let mut sums = vec![0; columns.len() + 1];
    let pieces = pieces(db, table)?;
    for piece in &pieces {
        if Instant::now() >= deadline {
            return Ok(Counts {
                counts: sums,
                exact: false,
            });
        }
        let query = format!("SELECT '' || {counts} FROM {quoted}{piece}");
        let counts: String = on!(db, |conn| sql_query(query).row(conn))?;
        let numbers = counts.split(' ').map(str::parse);
        let numbers: Result<Vec<i64>, ParseIntError> = numbers.collect();
        let numbers =
            numbers.map_err(|error| DieselError::DeserializationError(Box::new(error)))?;
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum += number;
        }
    }
    Ok(Counts {
        counts: sums,
        exact: true,
    })
}

/// Conditions that divide a table into pieces of a fraction of a second each; the last has no upper bound.
fn pieces(db: &mut Db, table: &str) -> QueryResult<Vec<String>> {
    let quoted = quote_identifier(table);
    let (query, piece) = match db {
        // In pages of usually 8 KiB.
        Db::Pg(_) => (
            "SELECT 0::bigint, pg_relation_size(to_regclass($1)) / 8192".to_owned(),
            8_192,
        ),
        Db::Sqlite(_) => (
            format!("SELECT coalesce(min(rowid), 0), coalesce(max(rowid), 0) FROM {quoted}"),
            100_000,
        ),
    };
    let (first, last): (i64, i64) = match db {
        Db::Pg(postgres) => {
            let query = sql_query(query).bind::<Text, _>(&quoted);
            postgres.run(|conn| query.row(conn))?
        }
        Db::Sqlite(conn) => match sql_query(query).row(conn) {
            // A table without rowids is one piece.
            Err(DieselError::DatabaseError(_, _)) => (0, 0),
            extent => extent?,
        },
    };
    let bound = |at: i64| match db {
        Db::Pg(_) => format!("ctid {{}} '({at},0)'::tid"),
        Db::Sqlite(_) => format!("rowid {{}} {at}"),
    };
    let count = last.saturating_sub(first) / piece + 1;
    // Rowids may have gaps of any size.
    let piece = piece * (count / 10_000 + 1);
    let count = count.min(10_000);
    let bounds = (1..count).map(|number| first.saturating_add(number * piece));
    let bounds: Vec<String> = bounds.map(bound).collect();
    let mut pieces = Vec::with_capacity(bounds.len() + 1);
    for place in 0..=bounds.len() {
        let from = place.checked_sub(1).and_then(|place| bounds.get(place));
        let from = from.map(|bound| bound.replace("{}", ">="));
        let to = bounds.get(place).map(|bound| bound.replace("{}", "<"));
        let conditions: Vec<String> = from.into_iter().chain(to).collect();
        pieces.push(match conditions.as_slice() {
            [] => String::new(),
            conditions => format!(" WHERE {}", conditions.join(" AND ")),
        });
    }
    Ok(pieces)
}

/// The condition that a column has a value that is neither null nor its default.
pub(super) fn is_value(column: &str, default: Option<&str>) -> String {
    let name = quote_identifier(column);
    match default {
        Some(default) => format!("{name} IS NOT NULL AND {name} IS DISTINCT FROM {default}"),
        None => format!("{name} IS NOT NULL"),
    }
}

/// The default of a column, as SQL, if it is a constant.
pub(super) fn constant_default(how: &str) -> Option<&str> {
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
