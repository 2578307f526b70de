//! The place of a database, as plans and prompts name it.

use std::fmt;

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// PostgreSQL: `HOST:PORT`, several separated by commas.
    pub host: Option<String>,
    /// The name of the database, or the path of the SQLite file.
    pub name: String,
    /// PostgreSQL: the schema of the application's tables.
    pub schema: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database {}", self.name)?;
        if let (Some(host), Some(schema)) = (&self.host, &self.schema) {
            write!(f, " at {host}, schema {schema}")?;
        }
        Ok(())
    }
}

impl Place {
    /// Whether `given` confirms it: the name of the database, or of the file.
    pub fn is_named(&self, given: &str) -> bool {
        given == self.name || self.name.rsplit('/').next() == Some(given)
    }

    /// The name to confirm it by where `other` may be meant: with the schema if both are in one database.
    pub fn confirmation(&self, other: Option<&Place>) -> String {
        match other {
            Some(other) if self.name == other.name => self.qualified(),
            _ => self.name.clone(),
        }
    }

    fn qualified(&self) -> String {
        let schema = self.schema.iter().map(|schema| format!(".{schema}"));
        self.name.clone() + &schema.collect::<String>()
    }

    /// Whether `given` confirms it where `other` may be meant.
    pub fn is_confirmed(&self, given: &str, other: Option<&Place>) -> bool {
        let is_others = other.is_some_and(|other| other.is_named(given));
        given == self.qualified() || self.is_named(given) && !is_others
    }

    /// Whether both may be one database: a pooler has another host, but the same database and schema.
    pub fn may_be(&self, other: &Place) -> bool {
        self.host.is_some() == other.host.is_some()
            && self.name == other.name
            && self.schema == other.schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: Option<&str>, name: &str) -> Place {
        Place {
            host: host.map(str::to_owned),
            name: name.to_owned(),
            schema: host.map(|_| "public".to_owned()),
        }
    }

    #[test]
    fn file_is_named_by_its_last_part() {
        let file = place(None, "/var/lib/usage.db");
        assert_eq!(file.to_string(), "database /var/lib/usage.db");
        assert!(file.is_named("usage.db") && file.is_named("/var/lib/usage.db"));
        assert!(!file.is_named("lib") && !file.is_named(""));
    }

    #[test]
    fn schema_confirms_where_the_database_is_the_same() {
        let public = place(Some("db:5432"), "shop");
        let other = Place {
            schema: Some("other".to_owned()),
            ..public.clone()
        };
        assert_eq!(public.confirmation(Some(&other)), "shop.public");
        assert!(public.is_confirmed("shop.public", Some(&other)));
        assert!(!public.is_confirmed("shop", Some(&other)));
        assert!(public.is_confirmed("shop", Some(&place(Some("db:5432"), "stage"))));
        assert!(public.is_confirmed("shop", None));
        let (a, b) = (place(None, "/a/usage.db"), place(None, "/b/usage.db"));
        assert!(a.is_confirmed("/a/usage.db", Some(&b)));
        assert!(!a.is_confirmed("usage.db", Some(&b)));
    }

    #[test]
    fn pooler_may_be_the_same_database() {
        let direct = place(Some("db:5432"), "shop");
        assert_eq!(
            direct.to_string(),
            "database shop at db:5432, schema public"
        );
        assert!(direct.may_be(&place(Some("pooler:6543"), "shop")));
        assert!(!direct.may_be(&place(Some("db:5432"), "stage")));
        assert!(!direct.may_be(&place(None, "shop")));
    }
}
