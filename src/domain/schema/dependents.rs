//! Objects of the user that depend on tables and columns that a rollback drops.
//!
//! PostgreSQL's catalogue knows them. SQLite has only their SQL, so there an object depends on what its SQL
//! mentions.

use std::collections::BTreeSet;

use serde::Serialize;

use super::meaning::missing_values;
use super::objects::quoted;
use super::script::{Token, tokens_of};
use crate::domain::named::named;

named! {
    DependentKind, "kind of object" {
        Index = "index",
        Constraint = "constraint",
        ForeignKey = "foreign key",
        /// A generated column, or one whose type is dropped.
        Column = "column",
        Trigger = "trigger",
        Rule = "rule",
        View = "view",
        Policy = "policy",
        Publication = "publication",
        /// Rights of a role on a table or column.
        Grant = "grant",
        /// Such as a storage parameter, or the state of a trigger.
        Setting = "setting",
        Comment = "comment",
        /// Owned by a column.
        Sequence = "sequence",
        Statistics = "statistics",
        /// A value of an enum that the application added.
        EnumValue = "enum value",
        Function = "function",
        Table = "table",
        Domain = "domain",
        /// A composite or range type.
        Type = "type",
        Other = "object",
    }
}

impl DependentKind {
    /// Whether PostgreSQL refuses to change the type of a column that such an object uses.
    pub fn prevents_type_change(self) -> bool {
        use DependentKind::{
            Column, ForeignKey, Function, Policy, Publication, Rule, Trigger, View,
        };
        matches!(
            self,
            Column | ForeignKey | Function | Policy | Publication | Rule | Trigger | View
        )
    }
}

/// An object that no migration created.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Dependent {
    pub kind: DependentKind,
    pub name: String,
    /// The dropped object that it depends on: `column api_usage.method`.
    pub depends_on: String,
    /// Whether it prevents the drop; otherwise it would be dropped too.
    pub blocks: bool,
    /// The statement that creates it, if the engine gives one.
    #[serde(skip)]
    pub sql: Option<String>,
    #[serde(skip)]
    pub removal: Removal,
}

/// How the user removes an object that prevents a rollback.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Removal {
    /// Objects that others use have a lower number than these, which are removed first.
    pub depth: i32,
    /// Without a semicolon; nothing if no single statement does it.
    pub sql: Option<String>,
}

/// The objects that prevent a rollback, and what removes them all: statements, and objects that no statement removes.
pub fn blockers<'a>(
    dependents: impl IntoIterator<Item = &'a Dependent>,
) -> Option<(String, String)> {
    let blockers = dependents.into_iter().filter(|it| it.blocks);
    let mut blockers: Vec<&Dependent> = blockers.collect();
    let mut named = BTreeSet::new();
    let uses = blockers.iter().filter(|it| named.insert(it.object()));
    let uses: Vec<String> = uses
        .map(|it| format!("{} uses {}", it.object(), it.depends_on))
        .collect();
    // Stable: of one depth as they are listed.
    blockers.sort_by_key(|it| -it.removal.depth);
    // The type and the default of a column are two. A table is replaced once at a time.
    let mut known = BTreeSet::new();
    blockers.retain(|it| {
        let sql = it.removal.sql.as_ref();
        let sql = sql.filter(|_| it.kind != DependentKind::ForeignKey);
        known.insert((it.object(), sql))
    });
    let statements = blockers.iter().filter_map(|it| it.removal.sql.as_ref());
    let mut steps: Vec<String> = statements.map(|sql| format!("{sql};")).collect();
    let others = blockers.iter().filter(|it| it.removal.sql.is_none());
    let others: Vec<String> = others.map(|it| it.object()).collect();
    if !others.is_empty() {
        if !steps.is_empty() {
            steps.push("then".to_owned());
        }
        steps.push(format!("change {},", others.join(", ")));
    }
    (!uses.is_empty()).then(|| (uses.join(", "), steps.join(" ")))
}

impl Dependent {
    /// Kind and name.
    pub fn object(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    /// Whether it is a check or an index whose functions and operators may be of another type than that of the column
    /// after a change.
    pub fn is_expression(&self) -> bool {
        let sql = self.sql.as_deref().unwrap_or_default();
        match self.kind {
            DependentKind::Constraint => sql.contains(" CHECK ("),
            DependentKind::Index => sql.replace(" INCLUDE (", " ").matches('(').count() > 1,
            _ => false,
        }
    }

    /// The table of the object that it depends on.
    pub fn table(&self) -> &str {
        let (_, name) = self.depends_on.split_once(' ').unwrap_or_default();
        name.split_once('.').map_or(name, |(table, _)| table)
    }
}

/// The values that the application added to a dropped enum, with the statements that add them again in their order.
/// `expected` and `found` are its values.
pub fn added_enum_values(name: &str, expected: &str, found: &str) -> Vec<Dependent> {
    let added = missing_values(found, expected);
    let all: Vec<&str> = found.split(", ").collect();
    let first_known = all.iter().find(|it| !added.contains(it));
    let literal = |value: &str| format!("'{}'", value.replace('\'', "''"));
    let dependent = |(index, value): (usize, &&str)| {
        let before = all[..index].iter().any(|it| !added.contains(it));
        let place = match (before, first_known) {
            (true, _) => format!("AFTER {}", literal(all[index - 1])),
            (false, Some(known)) => format!("BEFORE {}", literal(known)),
            (false, None) => return None,
        };
        let (quoted, value_literal) = (quoted(name), literal(value));
        Some(Dependent {
            kind: DependentKind::EnumValue,
            name: format!("{name}.{value}"),
            depends_on: format!("enum {name}"),
            blocks: false,
            sql: Some(format!(
                "ALTER TYPE {quoted} ADD VALUE IF NOT EXISTS {value_literal} {place}"
            )),
            removal: Removal::default(),
        })
    };
    let values = all.iter().enumerate();
    let values = values.filter(|(_, value)| added.contains(value));
    values.filter_map(dependent).collect()
}

/// The objects that a step drops.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    pub tables: Vec<String>,
    /// Table and column, of tables that stay.
    pub columns: Vec<(String, String)>,
    pub types: Vec<String>,
}

impl Dropped {
    /// The existing objects among those named.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Dropped {
        let mut dropped = Dropped::default();
        for name in names {
            let (kind, name) = name.split_once(' ').unwrap_or_default();
            match (kind, name.split_once('.')) {
                ("table", _) => dropped.tables.push(name.to_owned()),
                ("enum", _) => dropped.types.push(name.to_owned()),
                ("column", Some((table, column))) => {
                    dropped.columns.push((table.to_owned(), column.to_owned()));
                }
                _ => {}
            }
        }
        dropped
    }

    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.columns.is_empty() && self.types.is_empty()
    }

    fn has_table(&self, name: &str) -> bool {
        let mut tables = self.tables.iter();
        tables.any(|table| table.eq_ignore_ascii_case(name))
    }

    /// The dropped object that a foreign key refers to.
    fn referenced(&self, (table, column): &(String, String)) -> Option<String> {
        if self.has_table(table) {
            return Some(format!("table {table}"));
        }
        let mut columns = self.columns.iter();
        let same = |(t, c): &&(String, String)| {
            t.eq_ignore_ascii_case(table) && c.eq_ignore_ascii_case(column)
        };
        let (table, column) = columns.find(same)?;
        Some(format!("column {table}.{column}"))
    }

    /// The first dropped object that `sql` mentions, named as in a plan.
    fn mentioned_in(&self, sql: &str) -> Option<String> {
        let words = identifiers(sql);
        let has = |name: &str| words.iter().any(|word| word.eq_ignore_ascii_case(name));
        if let Some(table) = self.tables.iter().find(|table| has(table)) {
            return Some(format!("table {table}"));
        }
        let column = self
            .columns
            .iter()
            .find(|(table, column)| has(table) && has(column));
        column.map(|(table, column)| format!("column {table}.{column}"))
    }
}

/// A row of SQLite's catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogueRow {
    /// `table`, `index`, `view` or `trigger`.
    pub kind: String,
    pub name: String,
    pub table: String,
    pub sql: String,
    /// The tables and columns that the foreign keys of a table refer to; an empty column is the primary key.
    pub references: Vec<(String, String)>,
}

/// The dependents in a SQLite database. `is_ours` recognises objects of the migrations.
pub fn in_sqlite(
    catalogue: &[CatalogueRow],
    dropped: &Dropped,
    is_ours: impl Fn(&CatalogueRow) -> bool,
) -> Vec<Dependent> {
    let is_dropped = |table: &str| dropped.has_table(table);
    let found = |row: &CatalogueRow, kind, name: String, depends_on, blocks| Dependent {
        kind,
        name,
        depends_on,
        blocks,
        sql: (!blocks && !row.sql.is_empty()).then(|| row.sql.clone()),
        removal: Removal {
            depth: 0,
            // A constraint goes only with its table.
            sql: (row.kind != "table")
                .then(|| format!("DROP {} {}", row.kind.to_uppercase(), quoted(&row.name))),
        },
    };
    let mut dependents = Vec::new();
    for row in catalogue.iter().filter(|row| !is_ours(row)) {
        let kind = match row.kind.as_str() {
            "table" if is_dropped(&row.table) => continue,
            "table" => {
                let reference = row.references.iter().find_map(|it| dropped.referenced(it));
                dependents.extend(reference.map(|reference| {
                    let name = format!("of table {}", row.name);
                    found(row, DependentKind::ForeignKey, name, reference, true)
                }));
                // Its definition mentions the column where it is declared, and in each expression that uses it.
                let words = identifiers(&row.sql);
                for (table, column) in &dropped.columns {
                    let uses = words
                        .iter()
                        .filter(|word| word.eq_ignore_ascii_case(column));
                    if table.eq_ignore_ascii_case(&row.table) && uses.count() > 1 {
                        let name = format!("or generated column of table {}", row.name);
                        let depends_on = format!("column {table}.{column}");
                        let kind = DependentKind::Constraint;
                        dependents.push(found(row, kind, name, depends_on, true));
                    }
                }
                continue;
            }
            "index" => DependentKind::Index,
            "view" => DependentKind::View,
            _ => DependentKind::Trigger,
        };
        // An index and a trigger go with their table, an index also with its columns.
        let goes = kind != DependentKind::View && is_dropped(&row.table);
        let depends_on = match goes {
            true => Some(format!("table {}", row.table)),
            false => dropped.mentioned_in(&row.sql),
        };
        let blocks = !goes && kind != DependentKind::Index;
        let name = || row.name.clone();
        dependents.extend(depends_on.map(|it| found(row, kind, name(), it, blocks)));
    }
    // SQLite refuses to alter a table while a view uses a missing one.
    let mut depth = 0;
    let mut reached = dependents.len();
    let mut from = 0;
    while from < reached {
        depth += 1;
        let views = dependents[from..]
            .iter()
            .filter(|it| it.kind == DependentKind::View);
        let used = Dropped {
            tables: views.map(|it| it.name.clone()).collect(),
            ..Dropped::default()
        };
        from = reached;
        for row in catalogue.iter().filter(|row| !is_ours(row)) {
            let kind = match row.kind.as_str() {
                "view" => DependentKind::View,
                "trigger" => DependentKind::Trigger,
                _ => continue,
            };
            // A trigger goes with its view.
            let is_known = dependents
                .iter()
                .any(|it| it.kind == kind && it.name == row.name);
            if is_known || used.has_table(&row.table) {
                continue;
            }
            if let Some(table) = used.mentioned_in(&row.sql) {
                let view = table.replacen("table", "view", 1);
                let mut dependent = found(row, kind, row.name.clone(), view, true);
                dependent.removal.depth = depth;
                dependents.push(dependent);
            }
        }
        reached = dependents.len();
    }
    dependents
}

/// The words and quoted identifiers of an SQL text, without comments and strings. A string in double quotes counts
/// as an identifier, as SQLite may read it as either.
fn identifiers(sql: &str) -> Vec<String> {
    let names = tokens_of(sql).filter(Token::is_name);
    names.map(|token| token.name()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::cases;

    #[test]
    fn identifiers_are_found_in_any_quotes() {
        let sql =
            "SELECT \"a\"\"b\", [c d], `e`, f_1 -- no\n, 'it''s not' /* nor\nthis */ FROM x.Y";
        let expected = ["SELECT", "a\"b", "c d", "e", "f_1", "FROM", "x", "Y"];
        assert_eq!(identifiers(sql), expected);
        assert_eq!(identifiers("'open"), [""; 0]);
        assert_eq!(identifiers("\"open"), ["open"]);
    }

    #[test]
    fn added_enum_values_return_to_their_places() {
        let found = added_enum_values("Color", "RED, BLUE", "ASH, RED, BLUE, SKY, IT'S");
        let lines = found.iter().map(|it| {
            let sql = it.sql.as_deref().unwrap_or_default();
            format!(
                "{}: {}",
                it.object(),
                sql.split("EXISTS ").last().unwrap_or_default()
            )
        });
        let lines: Vec<String> = lines.collect();
        let expected = [
            "enum value Color.ASH: 'ASH' BEFORE 'RED'",
            "enum value Color.SKY: 'SKY' AFTER 'BLUE'",
            "enum value Color.IT'S: 'IT''S' AFTER 'SKY'",
        ];
        assert_eq!(lines, expected);
        assert_eq!(added_enum_values("Color", "RED, BLUE", "BLUE, RED"), []);
    }

    /// Rows of the catalogue: kind, name, table and SQL.
    fn catalogue(table: &str) -> Vec<CatalogueRow> {
        let row = |cells: [&str; 4]| {
            let [kind, name, table, sql] = cells.map(str::to_owned);
            CatalogueRow {
                kind,
                name,
                table,
                sql,
                references: Vec::new(),
            }
        };
        cases(table).map(row).collect()
    }

    fn dependents(catalogue: &[CatalogueRow], dropped: &[&str]) -> Vec<String> {
        let dropped = Dropped::new(dropped.iter().copied());
        let found = in_sqlite(catalogue, &dropped, |row| row.name == "ours");
        let found = found.iter().map(|it| {
            let how = if it.blocks { "blocks" } else { "goes with" };
            format!("{} {how} {}", it.object(), it.depends_on)
        });
        found.collect()
    }

    #[test]
    fn view_and_trigger_that_mention_a_dropped_column_block() {
        let catalogue = catalogue(
            "
            view | v | v | CREATE VIEW v AS SELECT Method FROM api_usage
            view | other | other | CREATE VIEW other AS SELECT method FROM calls
            view | all | all | CREATE VIEW all AS SELECT * FROM api_usage
            trigger | t | calls | ... SELECT method FROM api_usage
            index | i | api_usage | CREATE INDEX i ON api_usage (lower(method))
            index | ours | api_usage | CREATE INDEX ours ON api_usage (method)",
        );
        let found = dependents(&catalogue, &["column api_usage.method", "index x (y)"]);
        let column = "column api_usage.method";
        let expected = [
            format!("view v blocks {column}"),
            format!("trigger t blocks {column}"),
            format!("index i goes with {column}"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn index_and_trigger_go_with_their_table_and_a_reference_blocks() {
        let mut catalogue = catalogue(
            "
            table | child | child | CREATE TABLE child (alert REFERENCES api_alerts)
            table | api_alerts | api_alerts | CREATE TABLE api_alerts (id)
            index | i | api_alerts | CREATE INDEX i ON api_alerts (threshold)
            trigger | t | api_alerts | CREATE TRIGGER t ...
            view | v | v | CREATE VIEW v AS SELECT * FROM \"api_alerts\"",
        );
        catalogue[0].references = vec![("api_alerts".to_owned(), String::new())];
        let table = "table api_alerts";
        let expected = [
            format!("foreign key of table child blocks {table}"),
            format!("index i goes with {table}"),
            format!("trigger t goes with {table}"),
            format!("view v blocks {table}"),
        ];
        assert_eq!(dependents(&catalogue, &[table]), expected);
    }

    #[test]
    fn generated_column_blocks() {
        let sql = "CREATE TABLE api_usage (id, method TEXT, short AS (substr(method, 1, 1)))";
        let table = catalogue(&format!("table | api_usage | api_usage | {sql}"));
        let found = dependents(&table, &["column api_usage.method", "column api_usage.id"]);
        let expected =
            ["constraint or generated column of table api_usage blocks column api_usage.method"];
        assert_eq!(found, expected);
    }

    #[test]
    fn table_of_a_dependent_is_that_of_the_dropped_object() {
        let mut dependent = Dependent {
            kind: DependentKind::Index,
            name: "i".to_owned(),
            depends_on: "column api_usage.method".to_owned(),
            blocks: false,
            sql: None,
            removal: Removal::default(),
        };
        assert_eq!(dependent.table(), "api_usage");
        dependent.depends_on = "table api_alerts".to_owned();
        assert_eq!(dependent.table(), "api_alerts");
    }
}
