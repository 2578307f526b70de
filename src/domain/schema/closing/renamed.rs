//! Tables that exist under another name.

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
