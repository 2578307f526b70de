//! What the user must decide before a difference can be closed: rows that a statement would refuse, a default, a
//! generated column.

use super::super::dialect::Dialect;
use super::super::meaning::{CHOSEN, Column, Index, column_fit, value_for_rows};
use super::super::objects::{Difference, quoted};
use super::super::rebuild::TableText;
use crate::domain::format::counted_as;

/// The query that counts what the user must decide before the difference can be closed: rows without a value for a
/// required column, values that another type cannot hold, or repeated values of a unique index.
pub fn undecided(
    difference: &Difference,
    differences: &[Difference],
    dialect: Dialect,
) -> Option<String> {
    let Difference { what, found, .. } = difference;
    let is_missing = |column: &str| {
        let mut differences = differences.iter();
        differences.any(|it| it.found.is_none() && it.what == format!("column {column}"))
    };
    if let Some(index) = Index::parse(what) {
        let is_plain = |column: &&str| {
            !column.contains('(') && !is_missing(&format!("{}.{column}", index.table))
        };
        let is_known =
            index.is_unique && index.rest.is_empty() && index.columns.iter().all(is_plain);
        return is_known.then(|| {
            let repeated = repeated_values(&index, "1 AS one");
            format!("SELECT count(*) FROM ({repeated}) AS repeated")
        });
    }
    let (table, _) = what.strip_prefix("column ")?.split_once('.')?;
    let condition = match (found, unusable(difference, dialect)?) {
        (None, _) => String::new(),
        (Some(_), (condition, _)) => format!(" WHERE {condition}"),
    };
    Some(format!("SELECT count(*) FROM {}{condition}", quoted(table)))
}

/// The condition for rows whose value in a column is not one that the column should have, and their description.
fn unusable(difference: &Difference, dialect: Dialect) -> Option<(String, String)> {
    let name = difference.what.strip_prefix("column ")?;
    let (_, column) = name.split_once('.')?;
    let column = quoted(column);
    let wanted = Column::parse(difference.expected.as_deref()?);
    let found = difference.found.as_deref().map(Column::parse);
    let has_value = value_for_rows(name, &wanted, dialect).is_some();
    let is_nullable = found.as_ref().is_none_or(|found| !found.not_null);
    if wanted.not_null && !has_value && is_nullable {
        let text = format!("no value of the required column {name}; set one");
        return Some((format!("{column} IS NULL"), text));
    }
    let found = found.filter(|found| !column_fit(name, &wanted, found).data_type)?;
    let condition = inconvertible(&column, found.data_type, wanted.data_type, dialect)?;
    let text = format!(
        "a value of the column {name} that is no {}; change it",
        wanted.data_type
    );
    Some((condition, text))
}

/// The condition for values that have no equal in the other type; nothing if there are none or this is unknown.
fn inconvertible(column: &str, found: &str, wanted: &str, dialect: Dialect) -> Option<String> {
    if dialect == Dialect::Sqlite {
        return match wanted {
            "INTEGER" | "REAL" => Some(format!("CAST({column} AS {wanted}) <> {column}")),
            "BOOLEAN" => Some(format!("{column} NOT IN (0, 1)")),
            _ => None,
        };
    }
    let pattern = match wanted {
        _ if !found.starts_with("text") && !found.starts_with("character") => return None,
        "integer" => r"^\s*[+-]?\d+\s*$",
        "double precision" => r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$",
        "boolean" => r"^\s*(t|true|y|yes|on|1|f|false|n|no|off|0)\s*$",
        _ => return None,
    };
    Some(format!("{column} !~* '{pattern}'"))
}

/// The query for the values that several rows have in the columns of a unique index.
fn repeated_values(index: &Index<'_>, selected: &str) -> String {
    let columns: Vec<String> = index.columns.iter().map(|it| quoted(it)).collect();
    let known: Vec<String> = columns
        .iter()
        .map(|it| format!("{it} IS NOT NULL"))
        .collect();
    format!(
        "SELECT {selected} FROM {} WHERE {} GROUP BY {} HAVING count(*) > 1",
        quoted(index.table),
        known.join(" AND "),
        columns.join(", "),
    )
}

/// The comment in place of a statement that the rows refuse.
pub(super) fn decision(difference: &Difference, count: i64, dialect: Dialect) -> String {
    let what = difference.what.as_str();
    let (kind, name) = what.split_once(' ').unwrap_or((what, ""));
    let count = count.unsigned_abs();
    if let Some(index) = Index::parse(what) {
        let columns: Vec<String> = index.columns.iter().map(|it| quoted(it)).collect();
        let selected = format!("{}, count(*)", columns.join(", "));
        return format!(
            "-- to be decided: {kind} {name} has {}; keep one row of each:\n-- {}",
            counted_as(count, "value of several rows", "values of several rows"),
            repeated_values(&index, &selected),
        );
    }
    let (table, _) = name.split_once('.').unwrap_or((name, ""));
    let (condition, text) = unusable(difference, dialect).unwrap_or_default();
    format!(
        "-- to be decided: {} {text} or delete such rows:\n-- SELECT * FROM {} WHERE {condition}",
        counted_as(count, "row has", "rows have"),
        quoted(table),
    )
}

/// The comment with the statements that give columns of a table a default, which the user must choose.
pub(super) fn default_decision(
    table: &str,
    columns: &[&str],
    text: Option<&TableText>,
    dialect: Dialect,
) -> String {
    let names: Vec<String> = columns.iter().map(|it| format!("{table}.{it}")).collect();
    let statements = match dialect {
        Dialect::Postgres => columns.iter().map(|it| set_default(table, it)).collect(),
        Dialect::Sqlite => replacement(table, text, |text| {
            for column in columns {
                text.change(column, true, Some(Some(CHOSEN)), None);
            }
        }),
    };
    let title = format!(
        "to be decided: a default for {}, which usagectl does not write; replace {CHOSEN} and run:",
        names.join(" and ")
    );
    commented(title, statements)
}

/// The comment with the statement that makes a generated column an ordinary one. The application then has to write it.
pub(super) fn storage_decision(name: &str, text: Option<&TableText>, dialect: Dialect) -> String {
    let (table, column) = name.split_once('.').unwrap_or((name, ""));
    let statements = match dialect {
        Dialect::Postgres => {
            let (table, column) = (quoted(table), quoted(column));
            vec![format!(
                "ALTER TABLE {table} ALTER COLUMN {column} DROP EXPRESSION;"
            )]
        }
        Dialect::Sqlite => replacement(table, text, |text| text.store(column)),
    };
    let title = format!(
        "to be decided: the column {name} is generated, and usagectl writes it; make it an ordinary column, which the \
         application then has to write too, and print this SQL again:"
    );
    commented(title, statements)
}

/// The statements that replace a table of SQLite by a changed one.
fn replacement(
    table: &str,
    text: Option<&TableText>,
    change: impl FnOnce(&mut TableText),
) -> Vec<String> {
    let mut text = text.cloned().unwrap_or_default();
    change(&mut text);
    let stop = std::iter::once(".bail on".to_owned());
    stop.chain(text.statements(table)).collect()
}

/// A comment. Names of the database may hold line ends, so each line begins with `--`.
pub(super) fn commented(title: String, statements: Vec<String>) -> String {
    let lines = std::iter::once(title).chain(statements);
    let lines = lines.collect::<Vec<_>>().join("\n");
    let lines: Vec<String> = lines.lines().map(|line| format!("-- {line}")).collect();
    lines.join("\n")
}

/// The statement of PostgreSQL that gives a column a default, which the user must choose.
pub fn set_default(table: &str, column: &str) -> String {
    let (table, column) = (quoted(table), quoted(column));
    format!("ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {CHOSEN};")
}
