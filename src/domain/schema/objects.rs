//! The objects of a database schema, the effect of a migration on them, and drift.
//!
//! Each object is a line: its kind and name, a colon, its definition.
//!
//! ```text
//! column api_usage.method: text default 'GET'::text
//! unique api_alerts (api_name, alert_type, period)
//! ```
//!
//! A migration's effect is the lines it removes and those it adds, kept in `effect.txt` beside its `up.sql`;
//! a test compares it with real databases. From the effects `status` derives the expected objects,
//! `migrate` the objects that must not exist yet, and `rollback` the data loss.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::meaning::{CHOSEN, Index, column_serves, missing_values};

/// The objects of a database: kind and name, and definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaObjects(BTreeMap<String, String>);

/// What a migration does to the schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Dropped objects, and the old definition of changed ones.
    pub removed: Vec<SchemaObject>,
    /// Created objects, and the new definition of changed ones.
    pub added: Vec<SchemaObject>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaObject {
    /// Kind and name: `column api_usage.method`.
    pub what: String,
    /// Definition: `text default 'GET'::text`. Empty for a table.
    pub how: String,
}

/// An object that is missing, differs from its definition in the migrations, or is not in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    #[serde(rename = "object")]
    pub what: String,
    /// Nothing if no migration creates it.
    pub expected: Option<String>,
    /// Nothing if it is missing.
    pub found: Option<String>,
}

impl Difference {
    /// The absence of an object without a definition.
    pub fn missing(what: &str) -> Difference {
        Difference {
            what: what.to_owned(),
            expected: Some(String::new()),
            found: None,
        }
    }

    /// A required column of the application without a default, which refuses every row that this program inserts.
    pub fn unfilled(column: &str, data_type: &str) -> Difference {
        Difference {
            what: format!("column {column}"),
            expected: Some(format!("{data_type} not null default {CHOSEN}")),
            found: Some(format!("{data_type} not null")),
        }
    }

    /// Whether it is an [unfilled](Difference::unfilled) column.
    pub fn is_unfilled(&self) -> bool {
        let default = self.expected.as_deref().and_then(|it| it.rsplit_once(' '));
        default.is_some_and(|(_, default)| default == CHOSEN)
    }

    /// The type of an unfilled column, without its schema.
    pub fn data_type(&self) -> Option<&str> {
        let (data_type, _) = self.found.as_deref()?.rsplit_once(" not null")?;
        let name = data_type
            .rsplit_once('.')
            .map_or(data_type, |(_, name)| name);
        Some(name.trim_matches('"'))
    }

    /// The table and the name of a column.
    pub fn column(&self) -> Option<(&str, &str)> {
        self.what.strip_prefix("column ")?.split_once('.')
    }

    /// Whether `migrate` restores the object: a trigger, a function or an invalid index. A unique index may have
    /// repeated values, which the user must decide about.
    pub fn is_restorable(&self) -> bool {
        match self.what.split_once(' ') {
            Some(("trigger" | "function", _)) => true,
            Some(("index", _)) => self.found.is_some(),
            _ => false,
        }
    }

    /// Whether it is an invalid unique index, which `migrate` rebuilds unless its columns have repeated values.
    pub fn is_invalid_unique(&self) -> bool {
        self.what.starts_with("unique ") && self.found.is_some()
    }

    /// Whether the object is this table or belongs to it.
    pub fn is_of(&self, table: &str) -> bool {
        self.what.strip_prefix("table ") == Some(table) || table_of(&self.what) == Some(table)
    }
}

impl SchemaObject {
    /// The kind and the name: `("column", "api_usage.method")`.
    pub fn parts(&self) -> (&str, &str) {
        self.what.split_once(' ').unwrap_or((&self.what, ""))
    }
}

impl fmt::Display for SchemaObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.how.as_str() {
            "" => f.write_str(&self.what),
            how => write!(f, "{}: {how}", self.what),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        let (Some(expected), Some(found)) = (&self.expected, &self.found) else {
            let state = match self.found {
                None => "is missing",
                Some(_) => "is in no migration",
            };
            return write!(f, "{what} {state}");
        };
        if what.starts_with("enum ") {
            let (missing, further) = (
                missing_values(expected, found),
                missing_values(found, expected),
            );
            return match missing.as_slice() {
                [] => write!(f, "{what} also has {}", further.join(", ")),
                missing => write!(f, "{what} lacks {}", missing.join(", ")),
            };
        }
        // A disabled trigger or an invalid index has the expected definition and one more word.
        match found.strip_prefix(expected.as_str()).map(str::trim) {
            Some(word @ ("disabled" | "invalid")) => write!(f, "{what} is {word}"),
            _ => write!(f, "{what} is `{found}`, expected `{expected}`"),
        }
    }
}

impl FromIterator<(String, String)> for SchemaObjects {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(objects: T) -> SchemaObjects {
        SchemaObjects(objects.into_iter().collect())
    }
}

impl SchemaObjects {
    /// The definition of an object, if it exists.
    pub fn get(&self, what: &str) -> Option<&str> {
        self.0.get(what).map(String::as_str)
    }

    /// Kind and name, and definition.
    pub fn objects(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(what, how)| (what.as_str(), how.as_str()))
    }

    pub fn apply(&mut self, effect: &Effect) {
        for object in &effect.removed {
            self.0.remove(&object.what);
        }
        for object in &effect.added {
            self.0.insert(object.what.clone(), object.how.clone());
        }
    }

    /// Removes the objects of tables that are not in it.
    pub fn remove_parts_without_table(&mut self) {
        let tables: BTreeSet<String> = self.tables().map(str::to_owned).collect();
        self.0
            .retain(|what, _| table_of(what).is_none_or(|table| tables.contains(table)));
    }

    /// The objects of `self` that `found` lacks, and those for which it has an object that does not serve;
    /// see [`super::meaning`]. A missing table stands for everything that belongs to it.
    ///
    /// Further objects in `found` are allowed: they are the application's.
    pub fn differences(&self, found: &SchemaObjects) -> Vec<Difference> {
        let missing_tables: Vec<&str> = self
            .tables()
            .filter(|table| found.get(&format!("table {table}")).is_none())
            .collect();
        let is_in_missing_table =
            |what: &str| table_of(what).is_some_and(|table| missing_tables.contains(&table));
        self.0
            .iter()
            .filter(|(what, _)| !is_in_missing_table(what))
            .filter(|(what, expected)| !found.serves(what, expected))
            .map(|(what, expected)| Difference {
                what: what.clone(),
                expected: Some(expected.clone()),
                found: found.get(what).map(str::to_owned),
            })
            .collect()
    }

    /// The objects of `found` that belong to a table or an enum of `self` and that no migration creates.
    pub fn extras(&self, found: &SchemaObjects) -> Vec<Difference> {
        let is_extra = |what: &str, how: &str| match (self.get(what), table_of(what)) {
            (Some(expected), _) => {
                what.starts_with("enum ") && !missing_values(how, expected).is_empty()
            }
            (None, Some(table)) => self.get(&format!("table {table}")).is_some(),
            (None, None) => false,
        };
        found
            .objects()
            .filter(|(what, how)| is_extra(what, how))
            .map(|(what, how)| Difference {
                what: what.to_owned(),
                expected: self.get(what).map(str::to_owned),
                found: Some(how.to_owned()),
            })
            .collect()
    }

    /// The names of the tables.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.0.keys().filter_map(|what| what.strip_prefix("table "))
    }

    /// Whether an object of `self` serves as the expected one.
    fn serves(&self, what: &str, expected: &str) -> bool {
        if self.get(what) == Some(expected) {
            return true;
        }
        if let Some(index) = Index::parse(what) {
            let valid = self.objects().filter(|(_, how)| *how == expected);
            let mut valid = valid.filter_map(|(what, _)| Index::parse(what));
            return valid.any(|found| found.serves(&index));
        }
        let Some(found) = self.get(what) else {
            return false;
        };
        match what.split_once(' ') {
            Some(("column", name)) => column_serves(name, expected, found),
            Some(("enum", _)) => missing_values(expected, found).is_empty(),
            _ => false,
        }
    }
}

/// The table that a column, index or trigger belongs to.
pub fn table_of(what: &str) -> Option<&str> {
    let (kind, name) = what.split_once(' ')?;
    let end = match kind {
        "column" | "trigger" => name.find('.')?,
        "index" | "unique" => name.find(" (")?,
        _ => return None,
    };
    Some(&name[..end])
}

/// An SQL identifier in quotes.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Effect {
    /// The effect that turns `before` into `after`.
    pub fn between(before: &SchemaObjects, after: &SchemaObjects) -> Effect {
        let only_in = |one: &SchemaObjects, other: &SchemaObjects| {
            one.0
                .iter()
                .filter(|(what, how)| other.get(what) != Some(how))
                .map(|(what, how)| SchemaObject {
                    what: what.clone(),
                    how: how.clone(),
                })
                .collect()
        };
        Effect {
            removed: only_in(before, after),
            added: only_in(after, before),
        }
    }

    /// Parses the output of `Display`; other lines are comments.
    pub fn parse(text: &str) -> Effect {
        let object = |line: &str| {
            let (what, how) = line.split_once(": ").unwrap_or((line, ""));
            SchemaObject {
                what: what.to_owned(),
                how: how.to_owned(),
            }
        };
        let mut effect = Effect::default();
        for line in text.lines() {
            if let Some(line) = line.strip_prefix("- ") {
                effect.removed.push(object(line));
            } else if let Some(line) = line.strip_prefix("+ ") {
                effect.added.push(object(line));
            }
        }
        effect
    }

    pub fn reversed(self) -> Effect {
        Effect {
            removed: self.added,
            added: self.removed,
        }
    }

    /// The names of the tables it creates.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        let kinds_and_names = self.added.iter().map(SchemaObject::parts);
        kinds_and_names
            .filter(|(kind, _)| *kind == "table")
            .map(|(_, name)| name)
    }

    /// The tables it creates, then the added objects that do not belong to them.
    pub fn outline(&self) -> impl Iterator<Item = &SchemaObject> {
        let is_table = |object: &&SchemaObject| object.parts().0 == "table";
        let beside = self.added.iter().filter(|object| {
            let (_, name) = object.parts();
            let table = name.split(['.', ' ']).next().unwrap_or_default();
            !self.tables().any(|created| created == table)
        });
        self.added.iter().filter(is_table).chain(beside)
    }

    /// The objects it would create that exist in `found`, without the columns of existing tables.
    ///
    /// Indexes are left out, since an operator may have created the same one, and so are changed objects.
    pub fn conflicts<'a>(&'a self, found: &'a SchemaObjects) -> impl Iterator<Item = &'a str> {
        self.outline()
            .filter(|object| !matches!(object.parts().0, "index" | "unique"))
            .filter(|object| self.removed.iter().all(|old| old.what != object.what))
            .filter(|object| found.get(&object.what).is_some())
            .map(|object| object.what.as_str())
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for object in &self.removed {
            writeln!(f, "- {object}")?;
        }
        for object in &self.added {
            writeln!(f, "+ {object}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The objects `table a; column a.x: text`.
    fn objects(lines: &str) -> SchemaObjects {
        let added: String = lines
            .split("; ")
            .map(|line| format!("+ {line}\n"))
            .collect();
        let mut objects = SchemaObjects::default();
        objects.apply(&Effect::parse(&added));
        objects
    }

    fn lines(differences: &[Difference]) -> Vec<String> {
        differences.iter().map(Difference::to_string).collect()
    }

    #[test]
    fn effect_applies_and_reverses() {
        let before = objects("table a; column a.x: text; index a (x)");
        let after = objects("table a; column a.x: integer; table b");
        let effect = Effect::between(&before, &after);
        let expected = "- column a.x: text\n- index a (x)\n+ column a.x: integer\n+ table b\n";
        assert_eq!(effect.to_string(), expected);
        assert_eq!(Effect::parse(&effect.to_string()), effect);
        let mut objects = before.clone();
        objects.apply(&effect);
        assert_eq!(objects, after);
        objects.apply(&effect.reversed());
        assert_eq!(objects, before);
    }

    const ADDING: &str = "+ column new.x: text\n+ column old.y: text\n+ index new (x)\n+ index old (y)\n+ table new\n";

    #[test]
    fn outline_omits_parts_of_new_table() {
        let effect = Effect::parse(ADDING);
        let outline: Vec<_> = effect.outline().map(|it| it.what.as_str()).collect();
        assert_eq!(outline, ["table new", "column old.y", "index old (y)"]);
    }

    #[test]
    fn existing_object_is_conflict() {
        let conflicts = |effect: &str, found: &str| -> Vec<String> {
            let (effect, found) = (Effect::parse(effect), objects(found));
            effect.conflicts(&found).map(str::to_owned).collect()
        };
        assert_eq!(conflicts(ADDING, "table old; index old (y)"), [""; 0]);
        let found = conflicts(ADDING, "table new; column new.x; column old.y");
        assert_eq!(found, ["table new", "column old.y"]);
        let changed = "- column t.x: text\n+ column t.x: integer\n";
        assert_eq!(conflicts(changed, "column t.x: text"), [""; 0]);
    }

    #[test]
    fn difference_names_found_and_expected_definition() {
        let expected = objects(
            "column t.x: text not null; column t.y: text; trigger t.mark: AFTER INSERT; unique t (x)",
        );
        let found = objects(
            "column t.x: text; column t.y: text; index t (x); trigger t.mark: AFTER INSERT disabled",
        );
        let differences = [
            "column t.x is `text`, expected `text not null`",
            "trigger t.mark is disabled",
            "unique t (x) is missing",
        ];
        assert_eq!(lines(&expected.differences(&found)), differences);
    }

    #[test]
    fn missing_table_is_one_difference() {
        let expected = objects(
            "column t.x: text; column tt.x: text; index t (x); table t; table tt; trigger t.mark: AFTER",
        );
        let differences = lines(&expected.differences(&objects("table tt")));
        assert_eq!(
            differences,
            ["column tt.x is missing", "table t is missing"]
        );
    }

    #[test]
    fn longer_index_replaces_missing_or_invalid_one() {
        let expected = objects("index t (a); unique t (b)");
        let found = objects("index t (a): invalid; index t (a, b); unique t (b): invalid");
        assert_eq!(
            lines(&expected.differences(&found)),
            ["unique t (b) is invalid"]
        );
    }

    #[test]
    fn further_objects_are_extras_and_no_differences() {
        let expected = objects("column t.a: text; enum e: A, B; index t (a); table t");
        let found = objects(
            "column t.a: text; column t.own: integer; column other.c: text; enum e: A, B, C; enum other: A; \
             index t (a); index t (own); table other; table t; trigger t.audit: AFTER INSERT",
        );
        assert_eq!(expected.differences(&found), []);
        let extras = [
            "column t.own is in no migration",
            "enum e also has C",
            "index t (own) is in no migration",
            "trigger t.audit is in no migration",
        ];
        assert_eq!(lines(&expected.extras(&found)), extras);
        let fewer = expected.differences(&objects("enum e: B, C"));
        assert!(lines(&fewer).contains(&"enum e lacks A".to_owned()));
    }
}
