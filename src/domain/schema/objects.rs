//! What is in a database's catalogue, what a migration does to it, and where the two disagree.
//!
//! A catalogue is a list of objects, each a line: what it is, a colon, how it is made.
//!
//! ```text
//! column api_usage.method: text default 'GET'::text
//! unique api_alerts (api_name, alert_type, period)
//! ```
//!
//! A migration's effect is the lines it removes and those it adds. Beside each `up.sql` stands an
//! `effect.txt` with just that; a test derives it from real databases. From these `status` knows what
//! must be there, `migrate` what must not be there yet, and `rollback` what would be lost.

use std::collections::BTreeMap;
use std::fmt;

/// The objects of a database: what each is, and how it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue(BTreeMap<String, String>);

/// What a migration does to a catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Objects that were there before and are not after, or are made otherwise.
    pub removed: Vec<Object>,
    /// Objects that are there after and were not before, or were made otherwise.
    pub added: Vec<Object>,
}

/// One line of a catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it is: `column api_usage.method`.
    pub what: String,
    /// How it is made: `text default 'GET'::text`. Empty where there is nothing to say.
    pub how: String,
}

/// An object that is not as the migrations made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub what: String,
    /// How the migrations made it.
    pub expected: String,
    /// How it is, or `None` if it is missing.
    pub found: Option<String>,
}

impl Object {
    /// The kind and the name: `("column", "api_usage.method")`.
    pub fn parts(&self) -> (&str, &str) {
        self.what.split_once(' ').unwrap_or((&self.what, ""))
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.how.as_str() {
            "" => f.write_str(&self.what),
            how => write!(f, "{}: {how}", self.what),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference {
            what,
            expected,
            found,
        } = self;
        let Some(found) = found else {
            return write!(f, "{what} is missing");
        };
        // A disabled trigger, an invalid index: as it was made, and a word more.
        match found.strip_prefix(expected.as_str()).map(str::trim) {
            Some(word @ ("disabled" | "invalid")) => write!(f, "{what} is {word}"),
            _ => write!(f, "{what} is `{found}`, the migrations made `{expected}`"),
        }
    }
}

impl FromIterator<(String, String)> for Catalogue {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(objects: T) -> Catalogue {
        Catalogue(objects.into_iter().collect())
    }
}

impl Catalogue {
    /// How an object is made, if it is there.
    pub fn get(&self, what: &str) -> Option<&str> {
        self.0.get(what).map(String::as_str)
    }

    /// Every object, as what it is and how it is made.
    pub fn objects(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(what, how)| (what.as_str(), how.as_str()))
    }

    /// The catalogue after a migration.
    pub fn apply(&mut self, effect: &Effect) {
        for object in &effect.removed {
            self.0.remove(&object.what);
        }
        for object in &effect.added {
            self.0.insert(object.what.clone(), object.how.clone());
        }
    }

    /// Where `found` is not what `self` says. What `found` has beside that is no difference: an
    /// operator's own index or view is theirs.
    pub fn differences(&self, found: &Catalogue) -> Vec<Difference> {
        let differs = |what: &str, expected: &str| match found.get(what) {
            Some(found) => essence(what, found) != essence(what, expected),
            None => true,
        };
        self.0
            .iter()
            .filter(|(what, expected)| differs(what, expected))
            .map(|(what, expected)| Difference {
                what: what.clone(),
                expected: expected.clone(),
                found: found.get(what).map(str::to_owned),
            })
            .collect()
    }
}

/// What matters of how an object is made. Applications' databases differ in two harmless ways: `cached`
/// may be nullable, and `updated_at` may have a default.
fn essence(what: &str, how: &str) -> String {
    let how = how.replace("now()", "CURRENT_TIMESTAMP");
    if what == "column api_usage.cached" {
        how.replace(" not null", "")
    } else if what.ends_with(".updated_at") {
        how.split(" default ").next().unwrap_or_default().to_owned()
    } else {
        how
    }
}

impl Effect {
    /// What has to be done to `before` to make it `after`.
    pub fn between(before: &Catalogue, after: &Catalogue) -> Effect {
        let only_in = |one: &Catalogue, other: &Catalogue| {
            one.0
                .iter()
                .filter(|(what, how)| other.get(what) != Some(how))
                .map(|(what, how)| Object {
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

    /// Reads what [`Effect`]'s `Display` wrote; a line that is neither added nor removed is a remark.
    pub fn parse(text: &str) -> Effect {
        let object = |line: &str| {
            let (what, how) = line.split_once(": ").unwrap_or((line, ""));
            Object {
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

    /// The same in the other direction.
    pub fn reversed(self) -> Effect {
        Effect {
            removed: self.added,
            added: self.removed,
        }
    }

    /// The tables it makes.
    fn tables(&self) -> impl Iterator<Item = &str> {
        let kinds_and_names = self.added.iter().map(Object::parts);
        kinds_and_names
            .filter(|(kind, _)| *kind == "table")
            .map(|(_, name)| name)
    }

    /// What it adds, in short: the tables it makes, then what does not belong to one of them.
    pub fn outline(&self) -> impl Iterator<Item = &Object> {
        let is_table = |object: &&Object| object.parts().0 == "table";
        let beside = self.added.iter().filter(|object| {
            let (_, name) = object.parts();
            let table = name.split(['.', ' ']).next().unwrap_or_default();
            !self.tables().any(|made| made == table)
        });
        self.added.iter().filter(is_table).chain(beside)
    }

    /// What it would make and `found` has already; the columns of a table that is there are not named one
    /// by one.
    ///
    /// Indexes do not count: under whatever name, an operator may have one that a migration is
    /// going to make. Nor does what is only made otherwise.
    pub fn already_in<'a>(&'a self, found: &'a Catalogue) -> impl Iterator<Item = &'a str> {
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

    fn catalogue(lines: &[(&str, &str)]) -> Catalogue {
        lines
            .iter()
            .map(|(what, how)| ((*what).to_owned(), (*how).to_owned()))
            .collect()
    }

    #[test]
    fn an_effect_leads_from_one_catalogue_to_the_other_and_back() {
        let before = catalogue(&[("table a", ""), ("column a.x", "text"), ("index a (x)", "")]);
        let after = catalogue(&[("table a", ""), ("column a.x", "integer"), ("table b", "")]);
        let effect = Effect::between(&before, &after);
        assert_eq!(
            effect.to_string(),
            "- column a.x: text\n- index a (x)\n+ column a.x: integer\n+ table b\n"
        );
        assert_eq!(Effect::parse(&effect.to_string()), effect);
        let mut there = before.clone();
        there.apply(&effect);
        assert_eq!(there, after);
        there.apply(&effect.reversed());
        assert_eq!(there, before);
    }

    const ADDING: &str = "+ column new.x: text\n+ column old.y: text\n+ index new (x)\n+ index old (y)\n+ table new\n";

    #[test]
    fn the_outline_of_an_effect_leaves_out_what_belongs_to_a_new_table() {
        let effect = Effect::parse(ADDING);
        let outline: Vec<_> = effect
            .outline()
            .map(|object| object.what.as_str())
            .collect();
        assert_eq!(outline, ["table new", "column old.y", "index old (y)"]);
    }

    #[test]
    fn what_an_effect_would_make_is_found_where_it_is_already() {
        let effect = Effect::parse(ADDING);
        let already = |lines| -> Vec<String> {
            let found = catalogue(lines);
            effect.already_in(&found).map(str::to_owned).collect()
        };
        assert_eq!(
            already(&[("table old", ""), ("index old (y)", "")]),
            [""; 0]
        );
        assert_eq!(
            already(&[
                ("table new", ""),
                ("column new.x", ""),
                ("column old.y", "")
            ]),
            ["table new", "column old.y"]
        );
        let changed = Effect::parse("- column t.x: text\n+ column t.x: integer\n");
        assert_eq!(
            changed
                .already_in(&catalogue(&[("column t.x", "text")]))
                .next(),
            None
        );
    }

    #[test]
    fn each_object_that_differs_is_named_once() {
        let expected = catalogue(&[
            ("column t.x", "text not null"),
            ("column t.y", "text"),
            ("trigger t.mark", "AFTER INSERT"),
            ("unique t (x)", ""),
        ]);
        let found = catalogue(&[
            ("column t.x", "text"),
            ("column t.y", "text"),
            ("index t (x)", ""),
            ("trigger t.mark", "AFTER INSERT disabled"),
        ]);
        let differences: Vec<_> = expected
            .differences(&found)
            .iter()
            .map(Difference::to_string)
            .collect();
        assert_eq!(
            differences,
            [
                "column t.x is `text`, the migrations made `text not null`",
                "trigger t.mark is disabled",
                "unique t (x) is missing",
            ]
        );
    }

    #[test]
    fn the_two_harmless_ways_in_which_applications_differ_are_no_difference() {
        let expected = catalogue(&[
            ("column api_usage.cached", "boolean not null default false"),
            ("column api_alerts.updated_at", "timestamp(3) not null"),
            (
                "column api_alerts.created_at",
                "timestamp(3) default CURRENT_TIMESTAMP",
            ),
        ]);
        let found = catalogue(&[
            ("column api_usage.cached", "boolean default false"),
            (
                "column api_alerts.updated_at",
                "timestamp(3) not null default now()",
            ),
            ("column api_alerts.created_at", "timestamp(3) default now()"),
        ]);
        assert_eq!(expected.differences(&found), []);
    }
}
