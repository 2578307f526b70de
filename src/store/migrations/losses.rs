//! What goes when a migration is undone: the rows of its tables, the values of its columns.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::domain::schema::objects::Catalogue;
use crate::domain::schema::plan::{Loss, Step};
use crate::store::db::{Db, on, quote_identifier};

/// Tables of ours whose content the next `migrate` makes again from `api_usage`.
const MADE_AGAIN: [&str; 3] = [
    "usagectl_dirty_hours",
    "usagectl_odd_timestamps",
    "usagectl_stale_periods",
];

/// Columns whose values `down.sql` writes into a column that stays.
const WRITTEN_BACK: [&str; 1] = ["column usagectl_notices.drop_reason"];

/// Counts, in a step that undoes a migration, what is lost with each table and column that is there.
pub fn count_losses(db: &mut Db, step: &mut Step, found: &Catalogue) -> QueryResult<()> {
    for table in tables(step, found) {
        // The columns that go from this table; none if it goes itself.
        let columns: Vec<String> = dropped(step, "column")
            .filter_map(|name| name.split_once('.'))
            .filter(|(its_table, _)| *its_table == table)
            .map(|(_, column)| column.to_owned())
            .filter(|column| found.get(&format!("column {table}.{column}")).is_some())
            .collect();
        let counts = count(db, &table, &columns, found)?;
        let mut counts = counts.into_iter();
        let of = counts.next().unwrap_or_default();
        let losses = std::iter::once((format!("table {table}"), of)).chain(
            columns
                .iter()
                .map(|column| format!("column {table}.{column}"))
                .zip(counts),
        );
        for (what, lost) in losses {
            let change = step
                .changes
                .iter_mut()
                .find(|change| change.drops && change.what == what);
            if let Some(change) = change {
                let made_again = MADE_AGAIN.contains(&table.as_str())
                    || WRITTEN_BACK.contains(&change.what.as_str());
                change.loss = Some(Loss {
                    lost,
                    of,
                    made_again,
                });
            }
        }
    }
    Ok(())
}

/// Keeps everyone else from the tables from which something goes, until the transaction ends; so that
/// what is counted is what is dropped. On SQLite the transaction itself does that.
pub fn lock_tables(db: &mut Db, steps: &[Step], found: &Catalogue) -> QueryResult<()> {
    let tables: BTreeSet<String> = steps
        .iter()
        .flat_map(|step| tables(step, found))
        .map(|table| quote_identifier(&table))
        .collect();
    if matches!(db, Db::Sqlite(_)) || tables.is_empty() {
        return Ok(());
    }
    let tables: Vec<String> = tables.into_iter().collect();
    db.batch_execute(&format!(
        "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
        tables.join(", ")
    ))
}

/// The tables from which something goes and that are there, each once.
fn tables(step: &Step, found: &Catalogue) -> BTreeSet<String> {
    let of_columns =
        dropped(step, "column").filter_map(|name| name.split_once('.').map(|(table, _)| table));
    dropped(step, "table")
        .chain(of_columns)
        .filter(|table| found.get(&format!("table {table}")).is_some())
        .map(str::to_owned)
        .collect()
}

fn dropped<'a>(step: &'a Step, kind: &'a str) -> impl Iterator<Item = &'a str> {
    step.changes
        .iter()
        .filter(|change| change.drops)
        .filter_map(|change| change.what.split_once(' '))
        .filter(move |(its_kind, _)| *its_kind == kind)
        .map(|(_, name)| name)
}

/// The number of rows, then for each column the number of values that are neither null nor its
/// default; in one pass over the table.
fn count(db: &mut Db, table: &str, columns: &[String], found: &Catalogue) -> QueryResult<Vec<i64>> {
    #[derive(QueryableByName)]
    struct Counts {
        #[diesel(sql_type = Text)]
        counts: String,
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
    let counts: Vec<String> = std::iter::once("count(*)".to_owned())
        .chain(values)
        .collect();
    let query = format!(
        "SELECT '' || {} AS counts FROM {}",
        counts.join(" || ' ' || "),
        quote_identifier(table)
    );
    let row: Counts = on!(db, |conn| diesel::sql_query(query).get_result(conn))?;
    Ok(row
        .counts
        .split(' ')
        .map(|count| count.parse().unwrap_or_default())
        .collect())
}

/// The default of a column, as SQL, if it is the same for every row.
fn constant_default(how: &str) -> Option<&str> {
    let (_, default) = how.split_once(" default ")?;
    let varies = default.contains('(') || default.to_uppercase().starts_with("CURRENT_");
    (!varies).then_some(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_that_differs_from_row_to_row_is_no_default_to_compare_with() {
        assert_eq!(
            constant_default("text default 'GET'::text"),
            Some("'GET'::text")
        );
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
