//! Tables and columns that exist under another name.

use super::super::meaning::column_serves;
use super::super::objects::{SchemaObjects, table_of};

/// The only table of another name that has exactly the columns of a missing table and its unique columns.
pub fn renamed(table: &str, expected: &SchemaObjects, found: &SchemaObjects) -> Option<String> {
    let of = |objects: &SchemaObjects, table: &str| -> SchemaObjects {
        let objects = objects.objects();
        let own = objects.filter(|(what, _)| table_of(what) == Some(table));
        let own =
            own.filter(|(what, _)| what.starts_with("column ") || what.starts_with("unique "));
        own.map(|(what, how)| (what.to_owned(), how.to_owned()))
            .collect()
    };
    let columns = |objects: &SchemaObjects| {
        let objects = objects.objects();
        objects
            .filter(|(what, _)| what.starts_with("column "))
            .count()
    };
    let wanted = of(expected, table);
    let others = found
        .tables()
        .filter(|it| *it != table && expected.get(&format!("table {it}")).is_none());
    let mut same = others.filter(|other| {
        let (from, to) = (format!(" {other}"), format!(" {table}"));
        let objects = of(found, other);
        let objects = objects.objects();
        let named: SchemaObjects = objects
            .map(|(what, how)| (what.replacen(&from, &to, 1), how.to_owned()))
            .collect();
        columns(&named) == columns(&wanted) && wanted.differences(&named).is_empty()
    });
    let found = same.next()?.to_owned();
    same.next().is_none().then_some(found)
}

/// The column of the application that may be a missing one of ours (`api_usage.method`) under another name: the one whose
/// name differs in case and underscores only, or the only one of its type where no other column of it is missing.
pub fn renamed_column(
    column: &str,
    expected: &SchemaObjects,
    found: &SchemaObjects,
) -> Option<String> {
    let (table, name) = column.split_once('.')?;
    let only_in = |one: &SchemaObjects, other: &SchemaObjects| -> Vec<(String, String)> {
        let columns = one.objects().filter_map(|(what, how)| {
            let (of, name) = what.strip_prefix("column ")?.split_once('.')?;
            (of == table && other.get(what).is_none()).then(|| (name.to_owned(), how.to_owned()))
        });
        columns.collect()
    };
    let how = expected.get(&format!("column {column}"))?;
    let mut candidates = only_in(found, expected);
    candidates.retain(|(_, found)| column_serves(column, how, found));
    let mut missing = only_in(expected, found);
    missing.retain(|(_, missing)| column_serves(column, missing, how));
    let bare = |name: &str| name.replace('_', "").to_lowercase();
    let mut same = candidates.iter().filter(|(it, _)| bare(it) == bare(name));
    match (same.next(), candidates.as_slice(), missing.as_slice()) {
        (Some((same, _)), ..) | (None, [(same, _)], [_]) => Some(same.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::cases;

    #[test]
    fn renamed_table_has_exactly_the_columns() {
        let table = |name: &str, columns: &[&str]| -> SchemaObjects {
            let columns = columns.iter().map(|it| format!("column {name}.{it}"));
            let unique = format!("unique {name} (id)");
            let objects = columns.chain([format!("table {name}"), unique]);
            objects.map(|it| (it, "".to_owned())).collect()
        };
        let expected = table("usage", &["id", "at"]);
        let found = |columns: &[&str]| renamed("usage", &expected, &table("old", columns));
        assert_eq!(found(&["id", "at"]).as_deref(), Some("old"));
        assert_eq!(found(&["id"]), None);
        assert_eq!(found(&["id", "at", "more"]), None);
    }

    #[test]
    fn renamed_column_has_the_type_of_the_only_missing_one_or_its_name() {
        let table = |columns: &str| -> SchemaObjects {
            let columns = columns.split(", ").filter_map(|it| it.split_once(' '));
            columns
                .map(|(name, how)| (format!("column t.{name}"), how.to_owned()))
                .collect()
        };
        let columns = "\
            id text, time integer | id text, duration integer | duration
            id text, time integer | id text, duration bigint | duration
            id text, time integer | id text, duration text |
            id text, time integer | id text, duration integer, more integer |
            id text, time integer, size integer | id text, duration integer |
            limitValue real not null, time integer | limit_value real not null, a real | limit_value
            limitValue real not null | limit_value real |";
        for [expected, found, other] in cases(columns) {
            let (expected, found) = (table(expected), table(found));
            let missing = expected.differences(&found).remove(0).what;
            let renamed = renamed_column(missing.trim_start_matches("column "), &expected, &found);
            assert_eq!(renamed.unwrap_or_default(), other, "{missing}");
        }
    }
}
