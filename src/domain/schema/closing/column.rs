//! The statements that close the difference of a column.

use super::super::dialect::Dialect;
use super::super::meaning::{Column, Fit, can_be_added, column_fit, value_for_rows};
use super::super::objects::{Difference, quoted};
use super::super::rebuild::TableText;

/// The statements for a column. Those for SQLite without ALTER TABLE change `text` instead. An undecided column stays
/// nullable.
pub(super) fn column(
    name: &str,
    expected: &str,
    found: Option<&str>,
    dialect: Dialect,
    text: Option<&mut TableText>,
    is_undecided: bool,
) -> Vec<Option<String>> {
    let Some((table, column)) = name.split_once('.') else {
        return vec![None];
    };
    let wanted = Column::parse(expected);
    let value = value_for_rows(name, &wanted, dialect);
    let fill = value.filter(|_| wanted.not_null).map(|value| {
        let (table, column) = (quoted(table), quoted(column));
        format!("UPDATE {table} SET {column} = {value} WHERE {column} IS NULL;")
    });
    let Some(found) = found else {
        let added = add(table, column, &wanted, fill, text, is_undecided);
        return added.into_iter().map(Some).collect();
    };
    if is_undecided {
        return Vec::new();
    }
    let found = Column::parse(found);
    let fit = column_fit(name, &wanted, &found);
    let fill = fill.filter(|_| !found.not_null);
    let statements = match dialect {
        Dialect::Postgres => alter(table, column, [&wanted, &found], &fit, fill),
        Dialect::Sqlite => {
            let is_changed = text.is_some_and(|it| replace(it, column, [&wanted, &found], &fit));
            is_changed.then(|| fill.into_iter().collect())
        }
    };
    match statements {
        Some(statements) => statements.into_iter().map(Some).collect(),
        None => vec![None],
    }
}

/// The statements that add a missing column.
fn add(
    table: &str,
    column: &str,
    wanted: &Column<'_>,
    fill: Option<String>,
    text: Option<&mut TableText>,
    is_undecided: bool,
) -> Vec<String> {
    let data_type = wanted.data_type;
    let text_type = text.as_ref().map(|it| it.type_to_add(data_type));
    let added_type = text_type.unwrap_or(data_type);
    let add = |rest: &str| {
        let (table, column) = (quoted(table), quoted(column));
        format!("ALTER TABLE {table} ADD COLUMN {column} {added_type}{rest};")
    };
    let not_null = if wanted.not_null { " NOT NULL" } else { "" };
    let default = wanted.default.map(|it| format!(" DEFAULT {it}"));
    let constraints = match is_undecided {
        true => String::new(),
        false => format!("{not_null}{}", default.unwrap_or_default()),
    };
    let Some(text) = text else {
        return vec![add(&constraints)];
    };
    if is_undecided || can_be_added(wanted) {
        text.add(column, &format!("{data_type}{constraints}"));
        return vec![add(&constraints)];
    }
    text.add(column, data_type);
    text.change(column, wanted.not_null, Some(wanted.default), None);
    std::iter::once(add("")).chain(fill).collect()
}

/// Changes a column in the text of its table, which replaces the table on SQLite; false if it cannot be changed.
fn replace(
    text: &mut TableText,
    column: &str,
    [wanted, found]: [&Column<'_>; 2],
    fit: &Fit,
) -> bool {
    let not_null = wanted.not_null || found.not_null && fit.null;
    let mut default = (!fit.default).then_some(wanted.default);
    let is_integer = found.data_type.eq_ignore_ascii_case("INTEGER");
    // Inserts of the application without a value go on.
    if !fit.data_type && is_integer && text.is_row_number(column) {
        default = Some(Some(ANY_TEXT));
    }
    let data_type = (!fit.data_type).then_some(wanted.data_type);
    text.change(column, not_null, default, data_type)
}

/// The statements of PostgreSQL that change a column; nothing if the meaning of its values is unknown.
fn alter(
    table: &str,
    column: &str,
    [wanted, found]: [&Column<'_>; 2],
    fit: &Fit,
    fill: Option<String>,
) -> Option<Vec<String>> {
    let (table, column) = (quoted(table), quoted(column));
    let data_type = wanted.data_type;
    let mut changes = Vec::new();
    let mut default_fits = fit.default;
    let mut default = wanted.default.map(str::to_owned);
    if !fit.data_type {
        let value = conversion(&column, found.data_type, data_type)?;
        // The old default may have no cast to the new type by itself. The application's inserts rely on it.
        if let Some(old) = found.default {
            changes.push("DROP DEFAULT".to_owned());
            default_fits = false;
            default =
                default.or_else(|| conversion(&format!("({old})"), found.data_type, data_type));
        }
        changes.push(format!("{CHANGE_TYPE}{data_type} USING {value}"));
    }
    // Before the rows are changed, so that new ones have it.
    if !default_fits {
        changes.push(match default {
            Some(default) => format!("SET DEFAULT {default}"),
            None => "DROP DEFAULT".to_owned(),
        });
    }
    let is_filled = wanted.not_null && !found.not_null;
    if !is_filled && !fit.null {
        changes.push("DROP NOT NULL".to_owned());
    }
    // One statement: an insert of the application must not meet the column without its default.
    let alter = |changes: &[String]| {
        let changes = changes.iter();
        let changes: Vec<String> = changes
            .map(|change| format!("ALTER COLUMN {column} {change}"))
            .collect();
        format!("ALTER TABLE {table} {};", changes.join(", "))
    };
    let mut statements = Vec::new();
    if !changes.is_empty() {
        statements.push(alter(&changes));
    }
    if is_filled {
        statements.extend(fill);
        statements.push(alter(&["SET NOT NULL".to_owned()]));
    }
    Some(statements)
}

/// A default in place of the number of a row on SQLite.
const ANY_TEXT: &str = "(lower(hex(randomblob(16))))";

/// The part of a statement that changes the type of a column.
const CHANGE_TYPE: &str = "TYPE ";

pub(super) fn changes_type(statements: &[Option<String>]) -> bool {
    let change = format!("\" {CHANGE_TYPE}");
    let mut statements = statements.iter().flatten();
    statements.any(|it| it.starts_with("ALTER TABLE") && it.contains(&change))
}

/// Whether a type of PostgreSQL is one of numbers.
fn is_number(data_type: &str) -> bool {
    let mut numbers = ["bigint", "double", "integer", "numeric", "real", "smallint"].iter();
    numbers.any(|it| data_type.starts_with(it))
}

impl Difference {
    /// Whether a column of numbers has another type of them.
    pub fn is_of_numbers(&self) -> bool {
        let types = [&self.expected, &self.found];
        let mut types = types
            .iter()
            .map(|it| it.as_deref().map(|it| Column::parse(it).data_type));
        self.what.starts_with("column ") && types.all(|it| it.is_some_and(is_number))
    }
}

/// The values of a column in another type of PostgreSQL; nothing if their meaning is unknown.
fn conversion(column: &str, found: &str, wanted: &str) -> Option<String> {
    let is_time = wanted.starts_with("timestamp");
    let is_number = is_number(found);
    match wanted {
        // A cast would convert to the time zone of the session.
        _ if is_time && found.ends_with(" with time zone") => {
            Some(format!("{column} AT TIME ZONE 'UTC'"))
        }
        // Seconds or milliseconds.
        _ if is_time && is_number => None,
        "integer" if is_number => Some(format!("round({column})::{wanted}")),
        _ => Some(format!("{column}::text::{wanted}")),
    }
}

/// Whether a column has a value that only the database writes.
pub(super) fn is_generated(definition: Option<&str>) -> bool {
    let head = definition.and_then(|it| it.split(" default ").next());
    head.is_some_and(|it| it.contains(" generated"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::cases;

    #[test]
    fn part_of_a_column_that_serves_is_kept() {
        let column = |expected: &str, found: &str| {
            column("t.c", expected, Some(found), Dialect::Postgres, None, false)
                .into_iter()
                .map(|it| {
                    it.unwrap_or_default()
                        .replace("ALTER TABLE \"t\" ALTER COLUMN \"c\" ", "")
                })
                .collect::<Vec<_>>()
        };
        // The application's inserts may rely on the default.
        let statements = column("timestamp(3) not null", "timestamp(3) default now()");
        assert_eq!(statements, ["SET NOT NULL;"]);
        let statements = column("integer not null default 0", "bigint default 1");
        let fill = "UPDATE \"t\" SET \"c\" = 0 WHERE \"c\" IS NULL;";
        assert_eq!(statements, ["SET DEFAULT 0;", fill, "SET NOT NULL;"]);
        assert_eq!(column("text", "text not null"), ["DROP NOT NULL;"]);
    }

    #[test]
    fn conversion_keeps_the_meaning_of_values() {
        let conversions = "\
            timestamp(6) with time zone | timestamp(3) | c AT TIME ZONE 'UTC'
            timestamp without time zone | timestamp(3) | c::text::timestamp(3)
            bigint | timestamp(3) | unknown
            double precision | integer | round(c)::integer
            integer | boolean | c::text::boolean";
        for [found, wanted, expected] in cases(conversions) {
            let converted = conversion("c", found, wanted);
            assert_eq!(
                converted.as_deref().unwrap_or("unknown"),
                expected,
                "{found}"
            );
        }
    }
}
