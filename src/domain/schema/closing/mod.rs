//! The SQL that closes the differences between the objects that a database should have and those it has.

mod column;
mod create;
mod renamed;
mod undecided;

pub use renamed::{renamed, renamed_column};
pub use undecided::{set_default, undecided};

use std::collections::{BTreeMap, BTreeSet};

use super::dialect::Dialect;
use super::meaning::{Column, Index};
use super::objects::{Difference, SchemaObjects, quoted, table_of};
use super::rebuild::TableText;
use column::{changes_type, column, is_generated};
use create::{
    created_in, enum_values, has_constraint, index, later_column, primary_key, released_names,
};
use undecided::{commented, decision, default_decision, storage_decision};

/// What the statements that close differences depend on, beside the differences.
#[derive(Clone, Debug, Default)]
pub struct Existing {
    /// The names of all indexes.
    pub index_names: BTreeSet<String>,
    /// The names of the invalid ones, by object.
    pub invalid_indexes: BTreeMap<String, String>,
    /// On PostgreSQL, the partitioned tables.
    pub partitioned: BTreeSet<String>,
    /// The results of [`undecided()`] that are not zero, by object.
    pub undecided: BTreeMap<String, i64>,
    /// On PostgreSQL, the tables without a primary key.
    pub tables_without_key: BTreeSet<String>,
    /// On PostgreSQL, the views and other objects of the user because of which the type of a column cannot be changed,
    /// by column.
    pub dependents: BTreeMap<String, Vec<String>>,
    /// On PostgreSQL, columns whose values have no meaning in most other types, as of a range, and whether also the
    /// text of the values has none: the database numbers the rows.
    pub unconvertible: BTreeMap<String, bool>,
    /// On SQLite, the tables of different columns.
    pub tables: BTreeMap<String, TableText>,
    /// Views with the names of missing tables.
    pub views: BTreeSet<String>,
    /// The columns that may be a missing one under another name, by its object.
    pub renamed_columns: BTreeMap<String, String>,
    /// The tables of other names that have exactly the columns and unique columns of a missing one, by its name.
    pub renamed: BTreeMap<String, String>,
}

impl Existing {
    /// Whether the column cannot have the expected type. Text can be converted to text and to enums.
    fn is_unconvertible(&self, what: &str, expected: &str) -> bool {
        let data_type = Column::parse(expected).data_type;
        let takes_text = data_type == "text" || data_type.starts_with('"');
        let found = self.unconvertible.get(what);
        found.is_some_and(|is_numbered| *is_numbered || !takes_text)
    }
}

/// The statements that close the differences between expected and found objects: types, tables, columns,
/// unique indexes, indexes. A difference without a statement becomes a comment, and so does one whose rows the user
/// must change first.
///
/// `expected` holds all objects that the database should have, and `scripts` the `up.sql` that create them. On
/// PostgreSQL indexes are built concurrently, and the statements must be run outside a transaction. On SQLite a table
/// whose columns differ is replaced.
pub fn closing_sql(
    differences: &[Difference],
    expected: &SchemaObjects,
    scripts: &[&str],
    existing: &Existing,
    dialect: Dialect,
) -> Vec<String> {
    let missing_tables = differences
        .iter()
        .filter(|it| it.found.is_none())
        .filter_map(|it| it.what.strip_prefix("table "))
        .collect();
    let mut closing = Closing {
        missing_tables,
        scripts,
        existing,
        dialect,
        taken: existing.index_names.clone(),
        tables: existing.tables.clone(),
        unfilled: BTreeMap::new(),
        generated: Vec::new(),
        groups: Default::default(),
    };
    for difference in differences {
        closing.close(difference);
    }
    closing.complete_missing_tables(expected);
    closing.statements()
}

/// The order of the statements.
#[derive(Clone, Copy)]
enum Group {
    Types,
    Tables,
    Columns,
    UniqueIndexes,
    Rest,
}

/// The statements so far, and the database after them.
struct Closing<'a> {
    missing_tables: BTreeSet<&'a str>,
    scripts: &'a [&'a str],
    existing: &'a Existing,
    dialect: Dialect,
    /// The names of indexes.
    taken: BTreeSet<String>,
    /// On SQLite, the tables to replace.
    tables: BTreeMap<String, TableText>,
    /// Required columns unknown to us, by table.
    unfilled: BTreeMap<&'a str, Vec<&'a str>>,
    /// Columns whose values only the database writes.
    generated: Vec<&'a str>,
    groups: [Vec<String>; 5],
}

impl<'a> Closing<'a> {
    /// Adds what closes one difference. None among the statements stands for one that cannot be derived.
    fn close(&mut self, difference: &'a Difference) {
        let what = difference.what.as_str();
        let (kind, name) = what.split_once(' ').unwrap_or((what, ""));
        let expected = difference.expected.as_deref().unwrap_or_default();
        let found = difference.found.as_deref();
        let undecided = self.existing.undecided.get(what);
        let (group, statements) = match kind {
            "table" => (Group::Tables, self.table(name, found.is_some())),
            _ if self.is_of_missing_table(what) => return,
            "enum" => {
                let values = enum_values(name, expected, found, self.scripts);
                (Group::Types, values)
            }
            "column" => (Group::Columns, self.column(difference, name, expected)),
            "unique" if is_in_replacement(what, &self.tables) => return,
            "unique" | "index" => {
                let group = match kind {
                    "unique" => Group::UniqueIndexes,
                    _ => Group::Rest,
                };
                match undecided {
                    Some(count) => {
                        let comment = decision(difference, *count, self.dialect);
                        (Group::UniqueIndexes, vec![Some(comment)])
                    }
                    None => (group, self.index(difference)),
                }
            }
            _ => (Group::Rest, vec![None]),
        };
        let no_statement = || {
            commented(
                format!("no statement can be derived: {difference}"),
                Vec::new(),
            )
        };
        let statements = statements.into_iter();
        self.add(group, statements.map(|it| it.unwrap_or_else(no_statement)));
    }

    fn add(&mut self, group: Group, statements: impl IntoIterator<Item = String>) {
        self.groups[group as usize].extend(statements);
    }

    fn is_of_missing_table(&self, what: &str) -> bool {
        table_of(what).is_some_and(|table| self.missing_tables.contains(table))
    }

    fn table(&mut self, name: &str, is_found: bool) -> Vec<Option<String>> {
        if self.existing.views.contains(name) {
            let comment = format!(
                "-- to be decided: {name} is a view; rename or drop it, then print this SQL again"
            );
            return vec![Some(comment)];
        }
        if let Some(from) = self.existing.renamed.get(name) {
            let rename = format!("ALTER TABLE {} RENAME TO {};", quoted(from), quoted(name));
            // `prisma db push` was interrupted before it renamed the table.
            let is_unfinished = *from == format!("new_{name}");
            let title = format!("the application must then use {name} in place of {from}:");
            let title = (!is_unfinished).then(|| commented(title, Vec::new()));
            return title.into_iter().chain([rename]).map(Some).collect();
        }
        if is_found {
            if let Some(text) = self.tables.get_mut(name) {
                text.give_rowids();
            }
            return Vec::new();
        }
        let statement = created_in(self.scripts, &format!("CREATE TABLE {name}"));
        let text = statement.as_deref().unwrap_or_default();
        let mut statements = released_names(text, &mut self.taken);
        statements.push(statement);
        statements
    }

    fn column(
        &mut self,
        difference: &'a Difference,
        name: &'a str,
        expected: &str,
    ) -> Vec<Option<String>> {
        let what = difference.what.as_str();
        let found = difference.found.as_deref();
        if difference.is_unfilled() {
            if let Some((table, column)) = difference.column() {
                self.unfilled.entry(table).or_default().push(column);
            }
            return Vec::new();
        }
        if is_generated(found) {
            self.generated.push(name);
            return Vec::new();
        }
        if self.existing.is_unconvertible(what, expected) {
            return vec![None];
        }
        let (table, _) = name.split_once('.').unwrap_or((name, ""));
        let undecided = self.existing.undecided.get(what);
        let text = self.tables.get_mut(table);
        let is_undecided = undecided.is_some();
        let mut statements = column(name, expected, found, self.dialect, text, is_undecided);
        if let Some(dependents) = self.existing.dependents.get(what)
            && changes_type(&statements)
        {
            let comment = format!(
                "to be decided: the type of the column {name} can only be changed without {0}; drop it, print \
                 this SQL again, and create it again afterwards",
                dependents.join(", ")
            );
            statements = vec![Some(commented(comment, Vec::new()))];
        }
        if let Some(other) = self.existing.renamed_columns.get(what) {
            let (table, other) = (quoted(table), quoted(other));
            let (_, column) = name.split_once('.').unwrap_or_default();
            let column = quoted(column);
            let title = format!(
                "if it is the column {other}, which has the same type, run this instead and print this SQL again; \
                 the application must then use {column}:"
            );
            let rename = format!("ALTER TABLE {table} RENAME COLUMN {other} TO {column};");
            statements.insert(0, Some(commented(title, vec![rename])));
        }
        statements.extend(undecided.map(|count| Some(decision(difference, *count, self.dialect))));
        statements
    }

    fn index(&mut self, difference: &Difference) -> Vec<Option<String>> {
        let what = difference.what.as_str();
        let (scripts, existing, dialect) = (self.scripts, self.existing, self.dialect);
        if difference.found.is_none() {
            return primary_key(what, scripts, existing, &mut self.taken)
                .unwrap_or_else(|| vec![index(what, &mut self.taken, dialect)]);
        }
        let name = existing.invalid_indexes.get(what);
        if !existing.partitioned.iter().any(|it| difference.is_of(it)) {
            // PostgreSQL leaves an invalid index out of REINDEX TABLE CONCURRENTLY.
            let name = name.map(|it| quoted(it));
            return vec![name.map(|name| format!("REINDEX INDEX CONCURRENTLY {name};"))];
        }
        // REINDEX leaves it invalid. An index of a constraint has no statement.
        let is_index = what.starts_with("index ");
        let name = name.filter(|it| is_index && self.taken.remove(it.as_str()));
        let drop = name.map(|it| format!("DROP INDEX {};", quoted(it)));
        let create = drop
            .as_ref()
            .and_then(|_| index(what, &mut self.taken, dialect));
        match create {
            Some(_) => vec![drop, create],
            None => vec![None],
        }
    }

    /// A missing table brings its primary key and first columns; its other columns and indexes are statements of
    /// their own.
    fn complete_missing_tables(&mut self, expected: &SchemaObjects) {
        for (what, how) in expected.objects() {
            if !self.is_of_missing_table(what) || self.comes_with_its_table(what) {
                continue;
            }
            let group = match what.split_once(' ') {
                Some(("unique", _)) if !has_constraint(what, self.scripts) => Group::UniqueIndexes,
                Some(("index", _)) => Group::Rest,
                Some(("column", name)) => {
                    let added = later_column(name, how, self.scripts, self.dialect);
                    self.add(Group::Columns, added);
                    continue;
                }
                _ => continue,
            };
            let created = index(what, &mut self.taken, self.dialect);
            self.add(group, created);
        }
    }

    /// Whether an object of a missing table exists as soon as the view in its place, or the table of another name, is
    /// dealt with.
    fn comes_with_its_table(&self, what: &str) -> bool {
        // `prisma db push` creates the indexes after it renames the table.
        let is_whole =
            |table: &str, from: &str| what.starts_with("column ") || from != format!("new_{table}");
        table_of(what).is_some_and(|table| {
            let from = self.existing.renamed.get(table);
            self.existing.views.contains(table) || from.is_some_and(|from| is_whole(table, from))
        })
    }

    /// All statements, in order.
    fn statements(mut self) -> Vec<String> {
        let replaced = self.tables.iter();
        let replaced: Vec<String> = replaced
            .flat_map(|(name, text)| text.statements(name))
            .collect();
        // A shell that continues after an error would drop the table whose copy failed.
        let stop = (!replaced.is_empty()).then(|| ".bail on".to_owned());
        self.add(Group::Columns, replaced);
        // These replace the table as it is by then.
        for name in std::mem::take(&mut self.generated) {
            let table = name.split_once('.');
            let text = table.and_then(|(table, _)| self.tables.get(table));
            let decision = storage_decision(name, text, self.dialect);
            self.add(Group::Rest, [decision]);
        }
        for (table, columns) in std::mem::take(&mut self.unfilled) {
            let text = self.tables.get(table);
            let decision = default_decision(table, &columns, text, self.dialect);
            self.add(Group::Rest, [decision]);
        }
        stop.into_iter()
            .chain(self.groups.into_iter().flatten())
            .collect()
    }
}

/// Whether the table that replaces one on SQLite has the unique columns in its definition.
fn is_in_replacement(what: &str, tables: &BTreeMap<String, TableText>) -> bool {
    Index::parse(what).is_some_and(|index| {
        let text = tables.get(index.table);
        text.is_some_and(|text| index.rest.is_empty() && text.will_be_unique(&index.columns))
    })
}

#[cfg(test)]
mod tests {
    use super::super::sample::{CREATE, ENHANCE, database};
    use super::*;

    /// The statements that make `found` the database of CREATE and ENHANCE.
    fn closing(found: &SchemaObjects, taken: &[&str], dialect: Dialect) -> Vec<String> {
        let expected = database(&[CREATE, ENHANCE], &[]);
        let existing = Existing {
            index_names: taken.iter().map(|name| (*name).to_owned()).collect(),
            ..Existing::default()
        };
        let script = "CREATE TABLE \"alerts\" (\n    \"id\" TEXT NOT NULL PRIMARY KEY\n);\n";
        closing_sql(
            &expected.differences(found),
            &expected,
            &[script],
            &existing,
            dialect,
        )
    }

    #[test]
    fn default_of_an_unknown_required_column_is_left_to_the_user() {
        let differences = ["usage.tenant", "usage.plan"].map(|it| Difference::unfilled(it, "TEXT"));
        let expected = SchemaObjects::default();
        let table = "(id TEXT, tenant TEXT NOT NULL, plan TEXT NOT NULL CHECK (plan <> ''))";
        let text = TableText::new(table.to_owned(), vec!["id".to_owned()], Vec::new());
        let existing = Existing {
            tables: BTreeMap::from([("usage".to_owned(), text)]),
            ..Existing::default()
        };
        let sql =
            |dialect| closing_sql(&differences, &expected, &[], &existing, dialect).join("\n");
        let title = "-- to be decided: a default for usage.tenant and usage.plan, which usagectl does not write; \
                     replace <value> and run:\n";
        let postgres = "-- ALTER TABLE \"usage\" ALTER COLUMN \"tenant\" SET DEFAULT <value>;\n\
                        -- ALTER TABLE \"usage\" ALTER COLUMN \"plan\" SET DEFAULT <value>;";
        assert_eq!(sql(Dialect::Postgres), format!("{title}{postgres}"));
        let sqlite = sql(Dialect::Sqlite);
        let created = "-- CREATE TABLE \"usagectl_new_usage\" (id TEXT, tenant TEXT NOT NULL DEFAULT <value>, \
                       plan TEXT CHECK (plan <> '') NOT NULL DEFAULT <value>);\n";
        assert!(sqlite.contains(created), "{sqlite}");
        assert!(
            sqlite.lines().all(|line| line.starts_with("-- ")),
            "{sqlite}"
        );
    }

    #[test]
    fn name_with_a_line_end_stays_in_its_comment() {
        let name = "c\nDROP TABLE usage; --";
        let differences = [Difference {
            what: "column usage.cost".to_owned(),
            expected: Some("double precision".to_owned()),
            found: None,
        }];
        let existing = Existing {
            renamed_columns: BTreeMap::from([(differences[0].what.clone(), name.to_owned())]),
            ..Existing::default()
        };
        let objects = SchemaObjects::default();
        let sql = closing_sql(&differences, &objects, &[], &existing, Dialect::Postgres);
        let (added, hint) = sql.split_last().unwrap();
        assert_eq!(
            added,
            "ALTER TABLE \"usage\" ADD COLUMN \"cost\" double precision;"
        );
        let hint = hint.join("\n");
        assert!(hint.contains("DROP TABLE usage"), "{hint}");
        assert!(hint.lines().all(|line| line.starts_with("-- ")), "{hint}");
    }

    #[test]
    fn missing_objects_are_created() {
        let found = database(&[CREATE], &[]);
        let expected = [
            "CREATE TABLE \"alerts\" (\n    \"id\" TEXT NOT NULL PRIMARY KEY\n);",
            "ALTER TABLE \"usage\" ADD COLUMN \"cost\" double precision;",
            "CREATE INDEX CONCURRENTLY \"usage_at_idx\" ON \"usage\" (\"at\" DESC);",
        ];
        assert_eq!(closing(&found, &[], Dialect::Postgres), expected);
        let index = "CREATE INDEX \"usage_at_idx_1\" ON \"usage\" (\"at\" DESC);";
        assert_eq!(
            closing(&found, &["usage_at_idx"], Dialect::Sqlite)[2],
            index
        );
    }

    #[test]
    fn missing_table_has_the_columns_of_later_migrations() {
        let expected = database(&[CREATE, ENHANCE], &[]);
        let found = database(&[CREATE, ENHANCE], &["table usage"]);
        let scripts = [
            "CREATE TABLE \"usage\" (\n    \"id\" TEXT NOT NULL PRIMARY KEY,\n    \"at\" TEXT\n);\n",
            "ALTER TABLE \"usage\"\n    ADD COLUMN \"cost\" REAL CHECK (\"cost\" > 0);\n",
        ];
        let differences = expected.differences(&found);
        let existing = Existing::default();
        let sql = |scripts: &[&str]| {
            closing_sql(&differences, &expected, scripts, &existing, Dialect::Sqlite)
        };
        assert_eq!(sql(&scripts)[1], scripts[1].trim_end());
        let derived = "ALTER TABLE \"usage\" ADD COLUMN \"cost\" double precision;";
        assert_eq!(sql(&scripts[..1])[1], derived);
        let index = "CREATE INDEX \"usage_at_idx\" ON \"usage\" (\"at\" DESC);";
        assert_eq!(sql(&scripts)[2..], [index]);
    }

    #[test]
    fn different_column_is_altered_where_the_engine_can() {
        let found = database(
            &[CREATE, ENHANCE, "+ column usage.id: integer default 0\n"],
            &[],
        );
        let expected = [
            "ALTER TABLE \"usage\" ALTER COLUMN \"id\" DROP DEFAULT, \
             ALTER COLUMN \"id\" TYPE text USING \"id\"::text::text, \
             ALTER COLUMN \"id\" SET DEFAULT (0)::text::text;",
            "ALTER TABLE \"usage\" ALTER COLUMN \"id\" SET NOT NULL;",
        ];
        assert_eq!(closing(&found, &[], Dialect::Postgres), expected);
        let comment = &closing(&found, &[], Dialect::Sqlite)[0];
        assert!(
            comment.starts_with("-- no statement can be derived: column usage.id is"),
            "{comment}"
        );
    }

    #[test]
    fn missing_enum_value_is_added_and_invalid_index_rebuilt() {
        let differences = [
            ("enum Color", "RED, GREEN", Some("RED, BLUE")),
            ("index usage (at)", "", Some("invalid")),
        ]
        .map(|(what, expected, found)| Difference {
            what: what.to_owned(),
            expected: Some(expected.to_owned()),
            found: found.map(str::to_owned),
        });
        let name = ("index usage (at)".to_owned(), "Theirs".to_owned());
        let existing = Existing {
            invalid_indexes: BTreeMap::from([name]),
            ..Existing::default()
        };
        let objects = SchemaObjects::default();
        let sql = closing_sql(&differences, &objects, &[], &existing, Dialect::Postgres);
        let expected = [
            "-- if it is the value BLUE, run this instead and print this SQL again:\n\
             -- ALTER TYPE \"Color\" RENAME VALUE 'BLUE' TO 'GREEN';",
            "ALTER TYPE \"Color\" ADD VALUE 'GREEN';",
            "REINDEX INDEX CONCURRENTLY \"Theirs\";",
        ];
        assert_eq!(sql, expected);
    }
}
