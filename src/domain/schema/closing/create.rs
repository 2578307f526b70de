//! The statements that create missing objects: tables, with their later columns, types, keys and indexes.

use std::collections::BTreeSet;

use super::super::dialect::Dialect;
use super::super::meaning::{Index, missing_values};
use super::super::objects::quoted;
use super::Existing;
use super::column::column;
use super::undecided::commented;

/// The statements that rename the existing indexes with names of constraints in the statement that creates a table. On
/// SQLite such a constraint needs no name of an index.
pub(super) fn released_names(statement: &str, taken: &mut BTreeSet<String>) -> Vec<Option<String>> {
    let parts = statement.split("CONSTRAINT ").skip(1);
    let names = parts.filter_map(|rest| rest.split_whitespace().next());
    let mut statements = Vec::new();
    for name in names.map(|it| it.trim_matches('"')) {
        if taken.contains(name) {
            let Some(other) = free_name(name, taken) else {
                continue;
            };
            let (from, to) = (quoted(name), quoted(&other));
            statements.push(Some(format!("ALTER INDEX {from} RENAME TO {to};")));
            taken.insert(other);
        }
        taken.insert(name.to_owned());
    }
    statements
}

/// Whether the statement that creates the table has the unique columns as a constraint.
pub(super) fn has_constraint(what: &str, scripts: &[&str]) -> bool {
    let Some(Index { table, columns, .. }) = Index::parse(what) else {
        return false;
    };
    let Some(statement) = created_in(scripts, &format!("CREATE TABLE {table}")) else {
        return false;
    };
    let statement = statement.replace('"', "");
    let columns = columns.join(", ");
    let on_table = [format!("KEY ({columns})"), format!("UNIQUE ({columns})")];
    let on_column = |line: &str| {
        let is_unique = line.contains("PRIMARY KEY") || line.contains(" UNIQUE");
        line.split_whitespace().next() == Some(&columns) && is_unique
    };
    on_table.iter().any(|text| statement.contains(text)) || statement.lines().any(on_column)
}

/// The statements that add the primary key of a table without one; nothing if the unique columns are not its key.
pub(super) fn primary_key(
    what: &str,
    scripts: &[&str],
    existing: &Existing,
    taken: &mut BTreeSet<String>,
) -> Option<Vec<Option<String>>> {
    let Index { table, columns, .. } = Index::parse(what)?;
    let name = format!("{table}_pkey");
    if !existing.tables_without_key.contains(table) || taken.contains(&name) {
        return None;
    }
    let created = created_in(scripts, &format!("CREATE TABLE {table}"))?;
    let key = format!("PRIMARY KEY ({})", columns.join(", "));
    if !created.replace('"', "").contains(&key) {
        return None;
    }
    let columns: Vec<String> = columns.iter().map(|it| quoted(it)).collect();
    let (columns, table) = (columns.join(", "), quoted(table));
    let quoted_name = quoted(&name);
    taken.insert(name);
    Some(vec![
        Some(format!(
            "CREATE UNIQUE INDEX CONCURRENTLY {quoted_name} ON {table} ({columns});"
        )),
        Some(format!(
            "ALTER TABLE {table} ADD CONSTRAINT {quoted_name} PRIMARY KEY USING INDEX {quoted_name};"
        )),
    ])
}

/// The statement of a script that begins with this text, quotes and our schema aside.
pub(super) fn created_in(scripts: &[&str], beginning: &str) -> Option<String> {
    scripts.iter().find_map(|script| {
        let mut lines = script.lines().skip_while(|line| {
            let line = line.replace('"', "").replace(" usagectl.", " ");
            let rest = line.strip_prefix(beginning);
            !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '(']))
        });
        let mut statement = lines.next()?.to_owned();
        while !statement.trim_end().ends_with(';') {
            statement.push('\n');
            statement.push_str(lines.next()?);
        }
        Some(statement)
    })
}

/// The statement that adds the column to its table; nothing if the statement that creates the table has it.
pub(super) fn later_column(
    name: &str,
    how: &str,
    scripts: &[&str],
    dialect: Dialect,
) -> Option<String> {
    let (table, bare) = name.split_once('.')?;
    let created = created_in(scripts, &format!("CREATE TABLE {table}"))?;
    let mut lines = created.lines().map(|line| line.replace('"', ""));
    if lines.any(|line| line.split_whitespace().next() == Some(bare)) {
        return None;
    }
    // With its check, where a script has the statement.
    let is_its = |sql: &String| {
        let added = sql.matches("ADD COLUMN ").count();
        added == 1 && sql.contains(&format!("ADD COLUMN {}", quoted(bare)))
    };
    let altered = |script: &&str| created_in(&[*script], &format!("ALTER TABLE {table}"));
    let added = scripts.iter().filter_map(altered).find(is_its);
    added.or_else(|| {
        let mut derived = column(name, how, None, dialect, None, false).into_iter();
        derived.next().flatten()
    })
}

pub(super) fn enum_values(
    name: &str,
    expected: &str,
    found: Option<&str>,
    scripts: &[&str],
) -> Vec<Option<String>> {
    let Some(found) = found else {
        return vec![created_in(scripts, &format!("CREATE TYPE {name}"))];
    };
    let missing = missing_values(expected, found);
    let hint = match (
        missing.as_slice(),
        missing_values(found, expected).as_slice(),
    ) {
        ([value], [other]) => {
            let title =
                format!("if it is the value {other}, run this instead and print this SQL again:");
            let (name, label) = (quoted(name), other.replace('\'', "''"));
            let rename = format!("ALTER TYPE {name} RENAME VALUE '{label}' TO '{value}';");
            Some(Some(commented(title, vec![rename])))
        }
        _ => None,
    };
    let added = missing
        .iter()
        .map(|value| Some(format!("ALTER TYPE {} ADD VALUE '{value}';", quoted(name))));
    hint.into_iter().chain(added).collect()
}

/// The name, or with the first number after it, that no index has. PostgreSQL shortens names to 63 bytes.
pub(super) fn free_name(name: &str, taken: &BTreeSet<String>) -> Option<String> {
    let numbered = (1..).map(|number| format!("_{number}"));
    let mut endings = std::iter::once(String::new()).chain(numbered);
    endings.find_map(|ending| {
        let length = name.floor_char_boundary(63 - ending.len());
        let free = format!("{}{ending}", &name[..length]);
        (!taken.contains(&free)).then_some(free)
    })
}

/// The statement that creates a missing index.
pub(super) fn index(what: &str, taken: &mut BTreeSet<String>, dialect: Dialect) -> Option<String> {
    let Index {
        is_unique,
        table,
        columns,
        rest,
    } = Index::parse(what)?;
    let quoted_table = quoted(table);
    let condition = match (rest.strip_prefix("where "), dialect) {
        (None, _) if rest.is_empty() => String::new(),
        (Some(condition), Dialect::Postgres) => format!(" WHERE {condition}"),
        _ => return None,
    };
    if columns.iter().any(|column| column.contains('(')) {
        return None;
    }
    // Prisma's name, which its own comparison expects.
    let ending = if is_unique { "key" } else { "idx" };
    let bare = columns.iter().map(|it| it.trim_end_matches(" desc"));
    let bare: Vec<&str> = bare.collect();
    let prisma_name = format!("{table}_{}_{ending}", bare.join("_"));
    let name = free_name(&prisma_name, taken)?;
    let columns = columns
        .iter()
        .map(|column| match column.strip_suffix(" desc") {
            Some(bare) => format!("{} DESC", quoted(bare)),
            None => quoted(column),
        });
    let columns: Vec<String> = columns.collect();
    let columns = columns.join(", ");
    let unique = if is_unique { "UNIQUE " } else { "" };
    let concurrently = match dialect {
        Dialect::Postgres => "CONCURRENTLY ",
        Dialect::Sqlite => "",
    };
    let quoted_name = quoted(&name);
    taken.insert(name);
    Some(format!(
        "CREATE {unique}INDEX {concurrently}{quoted_name} ON {quoted_table} ({columns}){condition};"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_an_index_of_another_table_is_released() {
        let mut taken = BTreeSet::from(["a_pkey".to_owned(), "a_pkey_1".to_owned()]);
        let sql = "CREATE TABLE a (\n    CONSTRAINT \"a_pkey\" PRIMARY KEY (\"id\")\n);";
        let rename = "ALTER INDEX \"a_pkey\" RENAME TO \"a_pkey_2\";";
        assert_eq!(released_names(sql, &mut taken), [Some(rename.to_owned())]);
        assert_eq!(released_names(sql, &mut BTreeSet::new()), []);
        let long = "a".repeat(63);
        let taken = BTreeSet::from([long.clone()]);
        let free = free_name(&long, &taken);
        assert_eq!(free, Some("a".repeat(61) + "_1"));
    }
}
