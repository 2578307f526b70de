//! The replacement of a SQLite table by one whose columns have other constraints, which SQLite's ALTER TABLE cannot
//! change.
//!
//! The text of the table is kept but for the changed columns, with the application's own columns, checks and foreign
//! keys; so are its rows, indexes and triggers.

use std::ops::Range;

use super::objects::quoted;
use super::script::{Token, tokens_of};

/// A table as SQLite stores it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableText {
    /// The part of `CREATE TABLE` after the name.
    definition: String,
    /// The columns that are not generated.
    columns: Vec<String>,
    /// The statements that create its indexes and triggers.
    objects: Vec<String>,
    /// Whether the table has to be replaced.
    is_changed: bool,
    /// Whether it is STRICT before it is replaced.
    is_strict: bool,
}

/// The words that begin a constraint of a table.
const TABLE_CONSTRAINTS: &[&str] = &["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"];

/// Those of the types of our columns that a STRICT table may have.
const STRICT_TYPES: &[&str] = &["INTEGER", "REAL", "TEXT"];

/// The words after the type of a column.
const COLUMN_CONSTRAINTS: &[&str] = &[
    "AS",
    "CHECK",
    "COLLATE",
    "CONSTRAINT",
    "DEFAULT",
    "GENERATED",
    "NOT",
    "NULL",
    "PRIMARY",
    "REFERENCES",
    "UNIQUE",
];

impl TableText {
    pub fn new(definition: String, columns: Vec<String>, objects: Vec<String>) -> TableText {
        let mut text = TableText {
            definition,
            columns,
            objects,
            ..TableText::default()
        };
        text.is_strict = text.option(&["STRICT"]).is_some();
        text
    }

    /// Makes a column required or nullable, and gives it another default and another type if there are such. False if it
    /// cannot be found or is generated.
    pub(super) fn change(
        &mut self,
        column: &str,
        not_null: bool,
        default: Option<Option<&str>>,
        data_type: Option<&str>,
    ) -> bool {
        let tokens: Vec<Token<'_>> = tokens_of(&self.definition).collect();
        let Some(item) = item_of(&tokens, column) else {
            return false;
        };
        let tokens = &tokens[item];
        let is = |token: Option<&Token<'_>>, word: &str| {
            token.is_some_and(|token| token.text.eq_ignore_ascii_case(word))
        };
        let mut removed: Vec<Range<usize>> = Vec::new();
        let mut at = 1;
        while at < tokens.len() {
            let start = at;
            if is(tokens.get(at), "AS") {
                return false;
            }
            // A constraint may have a name.
            if is(tokens.get(at), "CONSTRAINT") {
                at += 2;
            }
            let is_not = is(tokens.get(at), "NOT");
            let is_removed = if is(tokens.get(at + usize::from(is_not)), "NULL") {
                at += 1 + usize::from(is_not);
                if is(tokens.get(at), "ON") {
                    at += 3;
                }
                true
            } else if is(tokens.get(at), "DEFAULT") {
                at = end_of_value(tokens, at + 1);
                default.is_some()
            } else if is(tokens.get(at), "AUTOINCREMENT") {
                at += 1;
                data_type.is_some()
            } else if is(tokens.get(at), "(") {
                at = end_of_group(tokens, at);
                false
            } else {
                at += 1;
                false
            };
            let last = tokens[..at.min(tokens.len())].last();
            if let Some(last) = last.filter(|_| is_removed) {
                removed.push(tokens[start].range.start..last.range.end);
            }
        }
        let name_end = tokens[0].range.end;
        let mut constraint = tokens.iter().skip(1);
        let constraint = constraint.find(|token| {
            let mut words = COLUMN_CONSTRAINTS.iter();
            words.any(|word| is(Some(*token), word))
        });
        let last = tokens.last().map_or(name_end, |last| last.range.end);
        // Before white space or a comment.
        let of_type = tokens.iter().skip(1).take_while(|token| {
            constraint.is_none_or(|constraint| token.range.start < constraint.range.start)
        });
        let type_end = of_type.last().map_or(name_end, |last| last.range.end);
        let mut constraints = String::new();
        if not_null {
            constraints.push_str(" NOT NULL");
        }
        if let Some(default) = default.flatten() {
            constraints.push_str(&format!(" DEFAULT {default}"));
        }
        self.definition.insert_str(last, &constraints);
        for range in removed.into_iter().rev() {
            let start = self.definition[..range.start].trim_end().len();
            self.definition.replace_range(start..range.end, "");
        }
        // All else stands behind it. The rows are converted as they are inserted.
        if let Some(data_type) = data_type {
            let text = format!(" {data_type}");
            self.definition.replace_range(name_end..type_end, &text);
            self.allow_type(data_type);
        }
        self.is_changed = true;
        true
    }

    /// A column as it is declared, with its name; nothing if it has a comment, which would hide the rest of a line.
    pub fn declaration(&self, column: &str) -> Option<String> {
        let tokens: Vec<Token<'_>> = tokens_of(&self.definition).collect();
        let item = item_of(&tokens, column)?;
        let (first, last) = (tokens[item.clone()].first()?, tokens[item].last()?);
        let text = &self.definition[first.range.start..last.range.end];
        let has_comment = text.contains("--") || text.contains("/*");
        (!has_comment).then(|| text.to_owned())
    }

    /// Adds a column, as ALTER TABLE does: this replaces only a STRICT table that cannot have its type.
    pub(super) fn add(&mut self, column: &str, definition: &str) {
        let tokens: Vec<Token<'_>> = tokens_of(&self.definition).collect();
        let items = items(&tokens).into_iter();
        let columns = items.take_while(|item| !is_table_constraint(&tokens[item.start]));
        let Some(last) = columns.last().and_then(|item| tokens[item].last()) else {
            return;
        };
        let end = last.range.end;
        self.definition
            .insert_str(end, &format!(", {} {definition}", quoted(column)));
        self.columns.push(column.to_owned());
        self.allow_type(definition);
    }

    /// Makes a generated column an ordinary one with the values that it has.
    pub(super) fn store(&mut self, column: &str) {
        let tokens: Vec<Token<'_>> = tokens_of(&self.definition).collect();
        let Some(item) = item_of(&tokens, column) else {
            return;
        };
        let tokens = &tokens[item];
        let is = |at: usize, word: &str| {
            let token = tokens.get(at);
            token.is_some_and(|token| token.text.eq_ignore_ascii_case(word))
        };
        let Some(at) = (1..tokens.len()).find(|at| is(*at, "AS")) else {
            return;
        };
        let is_long = at > 2 && is(at - 2, "GENERATED") && is(at - 1, "ALWAYS");
        let start = if is_long { at - 2 } else { at };
        let mut end = end_of_group(tokens, at + 1);
        end += usize::from(is(end, "STORED") || is(end, "VIRTUAL"));
        let range = tokens[start - 1].range.end..tokens[end - 1].range.end;
        self.definition.replace_range(range, "");
        self.columns.push(column.to_owned());
        self.is_changed = true;
    }

    /// The columns of its keys and unique constraints.
    fn keys(&self) -> Vec<(&'static str, Vec<String>)> {
        let tokens: Vec<Token<'_>> = tokens_of(&self.definition).collect();
        let mut keys = Vec::new();
        for item in items(&tokens) {
            let tokens = &tokens[item];
            let words = ["PRIMARY", "UNIQUE"].into_iter();
            let found = words.filter_map(|word| {
                let mut places = tokens.iter();
                Some((
                    word,
                    places.position(|it| it.text.eq_ignore_ascii_case(word))?,
                ))
            });
            for (word, at) in found {
                let names = match is_table_constraint(&tokens[0]) {
                    false => &tokens[..1],
                    true => {
                        let open = tokens[at..].iter().position(|it| it.text == "(");
                        let open = open.map_or(tokens.len(), |open| at + open);
                        &tokens[open..end_of_group(tokens, open)]
                    }
                };
                let names = names.iter().filter(|it| it.is_name());
                keys.push((word, names.map(Token::name).collect()));
            }
        }
        keys
    }

    /// Whether the database numbers the rows in this column, if its type is INTEGER.
    pub(super) fn is_row_number(&self, column: &str) -> bool {
        let is_its = |(word, names): &(&str, Vec<String>)| *word == "PRIMARY" && names == &[column];
        self.keys().iter().any(is_its)
    }

    /// Whether the table that replaces it has an index of its own for these unique columns.
    pub(super) fn will_be_unique(&self, columns: &[&str]) -> bool {
        self.is_changed && self.keys().iter().any(|(_, names)| names == columns)
    }

    /// Makes it a table with rowids.
    pub(super) fn give_rowids(&mut self) {
        self.remove_option(&["WITHOUT", "ROWID"]);
    }

    /// Removes an option after the columns and constraints, if it is there. Without it the key would be nullable.
    fn remove_option(&mut self, words: &[&str]) {
        if self.option(words).is_none() {
            return;
        }
        let keys = self
            .keys()
            .into_iter()
            .filter(|(word, _)| *word == "PRIMARY");
        for column in keys.flat_map(|(_, names)| names) {
            self.change(&column, true, None, None);
        }
        let Some(range) = self.option(words) else {
            return;
        };
        // With the comma of `STRICT, WITHOUT ROWID` or `WITHOUT ROWID, STRICT`.
        let (before, after) = self.definition.split_at(range.end);
        let before = before[..range.start].trim_end();
        let after = after.trim_start();
        let after = after.strip_prefix(',').unwrap_or(after).trim_start();
        let before = before.strip_suffix(',').unwrap_or(before).trim_end();
        self.definition = format!("{before} {after}").trim_end().to_owned();
        self.is_changed = true;
    }

    fn option(&self, words: &[&str]) -> Option<Range<usize>> {
        let tokens: Vec<Token<'_>> = tokens_of(&self.definition).collect();
        let options = tokens.get(end_of_group(&tokens, 0)..)?;
        let is_option = |found: &&[Token<'_>]| {
            let mut pairs = found.iter().zip(words);
            pairs.all(|(token, word)| token.text.eq_ignore_ascii_case(word))
        };
        let found = options.windows(words.len()).find(is_option)?;
        Some(found.first()?.range.start..found.last()?.range.end)
    }

    /// The type with which ALTER TABLE adds a column: a STRICT table has few types, and is replaced by one with all.
    pub(super) fn type_to_add<'a>(&self, data_type: &'a str) -> &'a str {
        match self.is_strict && !STRICT_TYPES.contains(&data_type) {
            true => "ANY",
            false => data_type,
        }
    }

    /// Makes a STRICT table an ordinary one if it gets a column of this type, which a STRICT one cannot have.
    fn allow_type(&mut self, definition: &str) {
        let data_type = definition.split(' ').next().unwrap_or_default();
        if !STRICT_TYPES.contains(&data_type) {
            self.remove_option(&["STRICT"]);
        }
    }

    /// Removes the foreign keys that refer to `table`.
    pub fn drop_references(&mut self, table: &str) {
        let tokens: Vec<Token<'_>> = tokens_of(&self.definition).collect();
        let mut removed: Vec<Range<usize>> = Vec::new();
        let mut before = None;
        for item in items(&tokens) {
            let tokens = &tokens[item];
            let start = before.unwrap_or_default();
            before = tokens.last().map(|last| last.range.end);
            let references = references(tokens, table);
            let is_of_table = tokens.first().is_some_and(is_table_constraint);
            if is_of_table && !references.is_empty() {
                // With the comma before it.
                removed.extend(before.map(|end| start..end));
            } else {
                removed.extend(references);
            }
        }
        self.is_changed |= !removed.is_empty();
        for range in removed.into_iter().rev() {
            let start = self.definition[..range.start].trim_end().len();
            self.definition.replace_range(start..range.end, "");
        }
    }

    /// The statements that replace the table if it changed, for a shell that stops at the first error.
    pub fn statements(&self, table: &str) -> Vec<String> {
        if !self.is_changed {
            return Vec::new();
        }
        let new = quoted(&format!("usagectl_new_{table}"));
        let table = quoted(table);
        let columns: Vec<String> = self.columns.iter().map(|it| quoted(it)).collect();
        let columns = columns.join(", ");
        let mut statements = vec![
            // Else dropping the table would delete the rows that refer to it, and renaming the new one would fail
            // where a view reads it.
            "PRAGMA foreign_keys = OFF;".to_owned(),
            "PRAGMA legacy_alter_table = ON;".to_owned(),
            "BEGIN IMMEDIATE;".to_owned(),
            format!("CREATE TABLE {new} {};", self.definition),
            format!("INSERT INTO {new} ({columns}) SELECT {columns} FROM {table};"),
            format!("DROP TABLE {table};"),
            format!("ALTER TABLE {new} RENAME TO {table};"),
        ];
        statements.extend(self.objects.iter().map(|sql| format!("{sql};")));
        statements.push("COMMIT;".to_owned());
        statements.push("PRAGMA legacy_alter_table = OFF;".to_owned());
        statements
    }
}

/// The parts of a column or constraint that refer to `table`, in the text.
fn references(tokens: &[Token<'_>], table: &str) -> Vec<Range<usize>> {
    let is = |at: usize, word: &str| {
        let token = tokens.get(at);
        token.is_some_and(|token| token.text.eq_ignore_ascii_case(word))
    };
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let target = tokens.get(at + 1);
        let refers = target.is_some_and(|target| target.name().eq_ignore_ascii_case(table));
        if is(at, "(") {
            at = end_of_group(tokens, at);
            continue;
        }
        if !is(at, "REFERENCES") || !refers {
            at += 1;
            continue;
        }
        let mut end = at + 2;
        if is(end, "(") {
            end = end_of_group(tokens, end);
        }
        loop {
            let action = usize::from(is(end + 2, "SET") || is(end + 2, "NO"));
            if is(end, "ON") {
                end += 3 + action;
            } else if is(end, "MATCH") || is(end, "INITIALLY") {
                end += 2;
            } else if is(end, "DEFERRABLE") || is(end + 1, "DEFERRABLE") {
                end += 1 + usize::from(is(end, "NOT"));
            } else {
                break;
            }
        }
        // A constraint may have a name.
        let start = match at.checked_sub(2) {
            Some(start) if is(start, "CONSTRAINT") => start,
            _ => at,
        };
        let last = &tokens[end.min(tokens.len()) - 1];
        found.push(tokens[start].range.start..last.range.end);
        at = end;
    }
    found
}

/// The tokens of a column.
fn item_of(tokens: &[Token<'_>], column: &str) -> Option<Range<usize>> {
    items(tokens).into_iter().find(|item| {
        let first = &tokens[item.start];
        !is_table_constraint(first) && first.name().eq_ignore_ascii_case(column)
    })
}

fn is_table_constraint(token: &Token<'_>) -> bool {
    let mut words = TABLE_CONSTRAINTS.iter();
    words.any(|word| token.text.eq_ignore_ascii_case(word))
}

/// The tokens of each column and constraint between the parentheses of a table.
fn items(tokens: &[Token<'_>]) -> Vec<Range<usize>> {
    let mut items = Vec::new();
    let mut start = 1;
    let mut at = 1;
    while at < tokens.len() {
        match tokens[at].text {
            "(" => at = end_of_group(tokens, at),
            text @ ("," | ")") => {
                items.push(start..at);
                at += 1;
                start = at;
                if text == ")" {
                    break;
                }
            }
            _ => at += 1,
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

/// The position after the parenthesis that closes the one at `open`.
fn end_of_group(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// The position after a default: an expression in parentheses, or a literal such as `'GET'` or `-0.5`.
fn end_of_value(tokens: &[Token<'_>], start: usize) -> usize {
    if tokens.get(start).is_some_and(|token| token.text == "(") {
        return end_of_group(tokens, start);
    }
    let touches = |pair: &&[Token<'_>]| pair[0].range.end == pair[1].range.start;
    let rest = tokens.get(start..).unwrap_or_default();
    start + 1 + rest.windows(2).take_while(touches).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::cases;

    fn table(definition: &str) -> TableText {
        let index = "CREATE INDEX i ON t (id)".to_owned();
        TableText::new(definition.to_owned(), vec!["id".to_owned()], vec![index])
    }

    #[test]
    fn column_is_required_and_keeps_its_other_constraints() {
        let table_texts = "\
            (id TEXT, c BOOLEAN) | (id TEXT, c BOOLEAN NOT NULL DEFAULT false)
            (\"C\" BOOL NULL DEFAULT (1 + (2)) CHECK (c IN (0, 1)) , d TEXT) | (\"C\" BOOL CHECK (c IN (0, 1)) NOT NULL DEFAULT false , d TEXT)
            ([c] VARCHAR(5) DEFAULT -0.5 UNIQUE, id) | ([c] VARCHAR(5) UNIQUE NOT NULL DEFAULT false, id)
            (id TEXT, `c` CONSTRAINT n NOT NULL ON CONFLICT FAIL COLLATE NOCASE) STRICT | (id TEXT, `c` COLLATE NOCASE NOT NULL DEFAULT false) STRICT
            (id TEXT, c TEXT DEFAULT ',', PRIMARY KEY (c, id)) | (id TEXT, c TEXT NOT NULL DEFAULT false, PRIMARY KEY (c, id))";
        for [before, after] in cases(table_texts) {
            let mut table = table(before);
            let default = Some(Some("false"));
            assert!(table.change("c", true, default, None), "{before}");
            assert_eq!(table.definition, after);
        }
        for text in ["(id TEXT, c TEXT AS (id))", "(id TEXT, CHECK (c))", "(id"] {
            assert!(!table(text).change("c", true, None, None), "{text}");
        }
    }

    #[test]
    fn table_gets_rowids_and_keeps_its_other_options() {
        let table_texts = "\
            (id TEXT) WITHOUT ROWID | (id TEXT)
            (id TEXT) without rowid, STRICT | (id TEXT) STRICT
            (id TEXT) STRICT , WITHOUT  ROWID | (id TEXT) STRICT
            (without TEXT, rowid TEXT, strict TEXT) WITHOUT ROWID | (without TEXT, rowid TEXT, strict TEXT)";
        for [before, after] in cases(table_texts) {
            let mut table = table(before);
            table.give_rowids();
            assert_eq!((table.definition.as_str(), table.is_changed), (after, true));
        }
    }

    #[test]
    fn strict_table_becomes_an_ordinary_one_for_a_type_that_it_cannot_have() {
        let table_texts = "\
            (c TEXT, strict TEXT) STRICT | DATETIME | (c DATETIME, strict TEXT)
            (c TEXT) STRICT, WITHOUT ROWID | BOOLEAN | (c BOOLEAN) WITHOUT ROWID
            (c TEXT, id TEXT PRIMARY KEY) STRICT | BOOLEAN | (c BOOLEAN, id TEXT PRIMARY KEY NOT NULL)
            (c INTEGER) strict | REAL | (c REAL) strict
            (c TEXT, strict TEXT) | DATETIME | (c DATETIME, strict TEXT)";
        for [before, data_type, after] in cases(table_texts) {
            let mut changed = table(before);
            assert!(changed.change("c", false, None, Some(data_type)));
            assert_eq!(changed.definition, after);
        }
        let mut added = table("(c TEXT) STRICT");
        assert_eq!(added.type_to_add("BOOLEAN"), "ANY");
        assert_eq!(added.type_to_add("TEXT"), "TEXT");
        added.add("d", "TEXT NOT NULL");
        assert!(!added.is_changed);
        added.add("e", "BOOLEAN NOT NULL");
        assert!(added.is_changed);
        assert_eq!(added.type_to_add("BOOLEAN"), "ANY");
        assert_eq!(table("(c TEXT)").type_to_add("BOOLEAN"), "BOOLEAN");
    }

    #[test]
    fn column_becomes_nullable_and_keeps_its_default() {
        let mut table = table("(c TEXT NOT NULL DEFAULT 'a' -- why\n, id TEXT)");
        assert!(table.change("c", false, None, None));
        assert_eq!(table.definition, "(c TEXT DEFAULT 'a' -- why\n, id TEXT)");
    }

    #[test]
    fn column_gets_another_type_and_keeps_its_constraints() {
        let table_texts = "\
            (id TEXT, c TEXT) | (id TEXT, c INTEGER)
            (c VARCHAR (5) CHECK (c <> '') , d TEXT) | (c INTEGER CHECK (c <> '') , d TEXT)
            (\"c\" LONG TEXT NOT NULL COLLATE NOCASE) | (\"c\" INTEGER COLLATE NOCASE)
            (c, d) | (c INTEGER, d)
            (c DEFAULT 1) | (c INTEGER DEFAULT 1)";
        for [before, after] in cases(table_texts) {
            let mut table = table(before);
            assert!(table.change("c", false, None, Some("INTEGER")), "{before}");
            assert_eq!(table.definition, after);
        }
    }

    #[test]
    fn column_is_added_before_the_constraints_of_the_table() {
        for (before, after) in [
            (
                "(id TEXT, UNIQUE (id))",
                "(id TEXT, \"c\" TEXT, UNIQUE (id))",
            ),
            ("(id TEXT -- last\n)", "(id TEXT, \"c\" TEXT -- last\n)"),
        ] {
            let mut table = table(before);
            table.add("c", "TEXT");
            assert_eq!(table.definition, after);
            assert_eq!(table.columns, ["id", "c"]);
        }
    }

    #[test]
    fn references_to_a_table_are_removed() {
        let table_texts = "\
            (id TEXT REFERENCES a) | (id TEXT)
            (id TEXT CONSTRAINT f REFERENCES \"A\" (id) ON DELETE SET NULL ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED NOT NULL, b) | (id TEXT NOT NULL, b)
            (id TEXT NOT NULL REFERENCES a ON DELETE NO ACTION MATCH FULL NOT DEFERRABLE CHECK (id > 0)) | (id TEXT NOT NULL CHECK (id > 0))
            (id, b, FOREIGN KEY (b) REFERENCES [a] (x), UNIQUE (b)) STRICT | (id, b, UNIQUE (b)) STRICT
            (id, CONSTRAINT f FOREIGN KEY (id) REFERENCES a, FOREIGN KEY (id) REFERENCES a(b)) | (id)
            (id REFERENCES b, a TEXT) | (id REFERENCES b, a TEXT)";
        for [before, after] in cases(table_texts) {
            let mut table = table(before);
            table.drop_references("a");
            assert_eq!(table.definition, after);
            assert_eq!(table.is_changed, before != after);
        }
    }

    #[test]
    fn table_is_replaced_in_one_transaction() {
        let mut table = table("(id TEXT)");
        assert_eq!(table.statements("t"), [""; 0]);
        assert!(table.change("id", true, None, None));
        let statements = table.statements("t");
        let expected = "\
            BEGIN IMMEDIATE;
            CREATE TABLE \"usagectl_new_t\" (id TEXT NOT NULL);
            INSERT INTO \"usagectl_new_t\" (\"id\") SELECT \"id\" FROM \"t\";
            DROP TABLE \"t\";
            ALTER TABLE \"usagectl_new_t\" RENAME TO \"t\";
            CREATE INDEX i ON t (id);
            COMMIT;";
        let expected: Vec<&str> = expected.lines().map(str::trim).collect();
        assert_eq!(statements[2..statements.len() - 1], expected);
    }
}
