//! Whether an object found in a database serves as the one that a migration would have created.
//!
//! Databases that the application or a person made differ from the migrations in spelling (`now()` and
//! `CURRENT_TIMESTAMP`) and in what they have beyond them: more enum values, wider types, longer indexes.
//! Such an object serves. One that holds less, or that answers an insert differently, does not.

use super::dialect::Dialect;

/// Required columns that may be nullable: NULL is read as their default.
const MAY_BE_NULL: &[&str] = &["api_usage.cached"];

/// Columns of lists: JSON in the migrations, an array of text in the application's first version.
const LISTS: &[&str] = &[
    "UpgradeRecommendation.benefits",
    "UpgradeRecommendation.risks",
];

/// The times of events, whose default is for an insert at that time.
const EVENT_TIMES: &[&str] = &["api_usage.timestamp", "InfrastructureMetric.timestamp"];

/// In the format of stored times, which that of CURRENT_TIMESTAMP is not.
pub const NOW_IN_SQLITE: &str = "strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')";

/// The default that only the user can choose, for a column of the application that no insert of ours gives a value.
pub const CHOSEN: &str = "<value>";

/// Types of PostgreSQL and wider ones, each of which holds every value of the former.
const WIDER: &[(&str, &[&str])] = &[
    ("integer", &["bigint"]),
    ("smallint", &["integer", "bigint"]),
    ("text", &["character varying"]),
];

/// Types of SQLite and others that store the same values. Lengths are left out; SQLite ignores them.
const SAME_STORAGE: &[(&str, &[&str])] = &[
    ("BOOLEAN", &["BOOL"]),
    ("DATETIME", &["TIMESTAMP"]),
    ("INTEGER", &["INT", "BIGINT"]),
    ("JSONB", &["JSON", "TEXT"]),
    ("REAL", &["DOUBLE", "DOUBLE PRECISION", "FLOAT"]),
    ("TEXT", &["VARCHAR", "CHARACTER VARYING"]),
];

/// The definition of a column: `text not null default 'GET'::text`.
pub(super) struct Column<'a> {
    pub(super) data_type: &'a str,
    pub(super) not_null: bool,
    pub(super) default: Option<&'a str>,
}

impl<'a> Column<'a> {
    pub(super) fn parse(definition: &'a str) -> Column<'a> {
        let (head, default) = match definition.split_once(" default ") {
            Some((head, default)) => (head, Some(default)),
            None => (definition, None),
        };
        let data_type = head.strip_suffix(" not null");
        Column {
            data_type: data_type.unwrap_or(head),
            not_null: data_type.is_some(),
            default,
        }
    }
}

/// The parts of a column's definition that serve.
pub(super) struct Fit {
    pub(super) data_type: bool,
    pub(super) null: bool,
    pub(super) default: bool,
}

/// Whether the column `name` (`api_usage.method`) may have the definition `found`.
pub(super) fn column_serves(name: &str, expected: &str, found: &str) -> bool {
    let fit = column_fit(name, &Column::parse(expected), &Column::parse(found));
    fit.data_type && fit.null && fit.default
}

pub(super) fn column_fit(name: &str, expected: &Column<'_>, found: &Column<'_>) -> Fit {
    let is_list = LISTS.contains(&name);
    Fit {
        data_type: is_list && found.data_type == "text[]"
            || type_holds(expected.data_type, found.data_type),
        null: match (expected.not_null, found.not_null) {
            (true, false) => MAY_BE_NULL.contains(&name),
            (false, true) => is_list,
            _ => true,
        },
        default: match (expected.default, found.default) {
            (None, None) => true,
            // Every insert gives a required column a value, so that its default is never used.
            (None, Some(_)) => expected.not_null || is_list,
            (Some(_), None) => false,
            (Some(expected), Some(found)) => same_default(expected, found),
        },
    }
}

/// Whether the column with this definition has a default that means the same as `default`.
pub fn has_default(definition: &str, default: &str) -> bool {
    let expected = Column::parse(definition).default;
    expected.is_some_and(|expected| same_default(expected, default))
}

/// The value for the rows of a column that becomes required: its default. Nothing without one, or where the default is
/// the time of an insert and the column that of an event. Whether a call succeeded follows from its status, if known.
pub(super) fn value_for_rows(
    name: &str,
    expected: &Column<'_>,
    dialect: Dialect,
) -> Option<String> {
    let default = expected.default.filter(|_| !EVENT_TIMES.contains(&name))?;
    Some(match dialect {
        Dialect::Sqlite if is_current_time(default) => NOW_IN_SQLITE.to_owned(),
        _ if name == "api_usage.success" => format!("coalesce(status_code < 400, {default})"),
        _ => default.to_owned(),
    })
}

/// Whether SQLite can add the column to a table with rows.
pub(super) fn can_be_added(column: &Column<'_>) -> bool {
    match column.default {
        None => !column.not_null,
        Some(default) => !is_current_time(default),
    }
}

fn type_holds(expected: &str, found: &str) -> bool {
    let is_listed = |types: &[(&str, &[&str])], found: &str| {
        types
            .iter()
            .any(|(narrow, others)| *narrow == expected && others.contains(&found))
    };
    // The migrations spell types of SQLite in upper case.
    if expected.starts_with(|first: char| first.is_ascii_uppercase()) {
        let found = found.split('(').next().unwrap_or_default().trim();
        let found = found.to_ascii_uppercase();
        return found == expected || is_listed(SAME_STORAGE, &found);
    }
    found == expected || is_listed(WIDER, found)
}

fn same_default(expected: &str, found: &str) -> bool {
    let (expected, found) = (value_of(expected), value_of(found));
    expected == found
        || match expected.as_str() {
            "true" => ["1", "t"].contains(&found.as_str()),
            "false" => ["0", "f"].contains(&found.as_str()),
            _ => false,
        }
}

/// The value of a default without casts, quotes and parentheses; `now()` for any expression of the current
/// time in UTC.
fn value_of(default: &str) -> String {
    let bare = bare(default);
    if is_current_time(bare) {
        return "now()".to_owned();
    }
    let text = quoted(bare).unwrap_or(bare);
    match text.parse::<f64>() {
        Ok(number) => number.to_string(),
        Err(_) if quoted(bare).is_some() => text.to_owned(),
        Err(_) => text.to_ascii_lowercase(),
    }
}

/// An expression without the parentheses around it and without casts at its end.
fn bare(expression: &str) -> &str {
    let mut bare = expression.trim();
    loop {
        let parenthesised = bare.strip_prefix('(').and_then(|it| it.strip_suffix(')'));
        let cast = bare.rsplit_once("::").filter(|(_, name)| is_type(name));
        let inner = parenthesised.filter(|inner| is_balanced(inner)).or(cast
            .map(|(value, _)| value)
            .filter(|value| is_balanced(value)));
        match inner {
            Some(inner) => bare = inner.trim(),
            None => return bare,
        }
    }
}

fn is_type(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_alphanumeric() || " ()[]\"._,".contains(c))
}

/// Whether parentheses and quotes are closed, and none is closed that was not opened.
fn is_balanced(expression: &str) -> bool {
    let mut depth = 0_usize;
    let mut is_quoted = false;
    for c in expression.chars() {
        match c {
            '\'' => is_quoted = !is_quoted,
            '(' if !is_quoted => depth += 1,
            ')' if !is_quoted => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            _ => {}
        }
    }
    depth == 0 && !is_quoted
}

fn quoted(expression: &str) -> Option<&str> {
    expression.strip_prefix('\'')?.strip_suffix('\'')
}

fn is_current_time(expression: &str) -> bool {
    const FUNCTIONS: &[&str] = &[
        "clock_timestamp()",
        "current_timestamp",
        "localtimestamp",
        "now()",
        "statement_timestamp()",
        "transaction_timestamp()",
        // SQLite.
        "datetime('now')",
        "datetime('now','subsec')",
    ];
    let lower = bare(expression).to_ascii_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    let lower = words.join(" ").replace(", ", ",");
    if let Some((time, zone)) = lower.rsplit_once(" at time zone ") {
        return is_utc(zone) && is_current_time(time);
    }
    if let Some((name, arguments)) = lower.strip_suffix(')').and_then(|it| it.split_once('(')) {
        match (name, arguments.split_once(',')) {
            ("timezone", Some((zone, time))) => return is_utc(zone) && is_current_time(time),
            ("strftime", Some((format, "'now'"))) => return format.starts_with("'%y-%m-%d"),
            // The precision.
            ("current_timestamp" | "localtimestamp", None) => {
                return arguments.parse::<u8>().is_ok();
            }
            _ => {}
        }
    }
    FUNCTIONS.contains(&lower.as_str())
}

fn is_utc(zone: &str) -> bool {
    let zone = bare(zone);
    ["utc", "etc/utc", "gmt", "z"].contains(&quoted(zone).unwrap_or(zone))
}

/// An index as its definition: `unique api_alerts (api_name, period)`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Index<'a> {
    pub(super) is_unique: bool,
    pub(super) table: &'a str,
    /// With their directions: `timestamp desc`.
    pub(super) columns: Vec<&'a str>,
    /// The rest of its definition: a condition, an access method.
    pub(super) rest: &'a str,
}

impl<'a> Index<'a> {
    /// Nothing for an object of another kind.
    pub(super) fn parse(what: &'a str) -> Option<Index<'a>> {
        let (kind, name) = what.split_once(' ')?;
        let is_unique = match kind {
            "unique" => true,
            "index" => false,
            _ => return None,
        };
        let (table, mut rest) = name.split_once(" (")?;
        let mut columns = Vec::new();
        loop {
            let end = column_end(rest)?;
            columns.push(rest[..end].trim());
            let is_last = rest[end..].starts_with(')');
            rest = &rest[end + 1..];
            if is_last {
                break;
            }
        }
        Some(Index {
            is_unique,
            table,
            columns,
            rest: rest.trim(),
        })
    }

    /// Whether this index of a database, if it is valid, does the work of `expected`: it begins with the same
    /// columns in the same directions. Uniqueness requires exactly the same columns, in any order and direction.
    pub(super) fn serves(&self, expected: &Index<'_>) -> bool {
        let columns_serve = if expected.is_unique {
            self.is_unique && self.sorted_columns() == expected.sorted_columns()
        } else {
            self.columns.starts_with(&expected.columns)
        };
        self.table == expected.table && self.rest == expected.rest && columns_serve
    }

    /// The columns without their directions, in the order of names.
    fn sorted_columns(&self) -> Vec<&str> {
        let columns = self.columns.iter();
        let mut columns: Vec<&str> = columns
            .map(|it| it.strip_suffix(" desc").unwrap_or(it))
            .collect();
        columns.sort_unstable();
        columns
    }
}

/// The position of the comma or parenthesis that ends the first column of an index.
fn column_end(columns: &str) -> Option<usize> {
    let end = |(position, c): (usize, char)| {
        let is_end = matches!(c, ',' | ')') && is_balanced(&columns[..position]);
        is_end.then_some(position)
    };
    columns.char_indices().find_map(end)
}

/// The values of `expected` that the enum `found` lacks. Further values and their order are the application's.
pub(super) fn missing_values<'a>(expected: &'a str, found: &str) -> Vec<&'a str> {
    let found: Vec<&str> = found.split(", ").collect();
    let mut missing: Vec<&str> = expected.split(", ").collect();
    missing.retain(|value| !found.contains(value));
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::cases;

    /// A column, its expected definition, and one that serves; after the empty line, definitions that do not serve.
    const COLUMNS: &str = r#"
t.c | text not null | text not null
t.id | text not null | text not null default gen_random_uuid()
t.updatedAt | timestamp(3) not null | timestamp(3) not null default now()
t.n | integer | bigint
t.n | integer not null default 0 | bigint not null default '0'::bigint
t.n | double precision default 75 | double precision default '75.0'::double precision
t.s | text default 'GET'::text | character varying default 'GET'::character varying
t.b | boolean default false | boolean default 'f'
api_usage.cached | boolean not null default false | boolean default false
UpgradeRecommendation.risks | jsonb | text[]
UpgradeRecommendation.benefits | jsonb | text[] not null default '{}'::text[]
t.e | "E" not null default 'A'::"E" | "E" not null default 'A'::"E"
t.c | TEXT not null | varchar(50) not null
t.at | DATETIME | timestamp
t.n | INTEGER default 0 | bigint default (0)
t.f | REAL not null | double precision not null
t.b | BOOLEAN not null default true | boolean not null default 1

t.c | text | character varying(50)
t.c | text | text default ''::text
t.c | text | text not null
t.c | text not null | text
t.c | text not null | uuid not null
t.n | bigint | integer
t.n | integer | numeric
t.n | integer not null | integer not null generated
t.n | integer default 0 | integer default 1
t.f | double precision | real
t.at | timestamp(3) without time zone | timestamp(3) with time zone
t.s | text default 'GET'::text | text default 'get'::text
t.s | text default 'GET'::text | text
t.j | jsonb | text[]
t.b | boolean default false | boolean default true
t.e | "E" default 'A'::"E" | text default 'A'::text
t.n | INTEGER | TEXT
"#;

    #[test]
    fn column_serves_with_same_meaning_or_more_room() {
        let (serving, others) = COLUMNS.split_once("\n\n").unwrap();
        for (lines, serves) in [(serving, true), (others, false)] {
            for [name, expected, found] in cases(lines) {
                let found_serves = column_serves(name, expected, found);
                assert_eq!(found_serves, serves, "{name} {expected}: {found}");
            }
        }
    }

    #[test]
    fn defaults_of_current_time_are_equal() {
        for found in [
            "CURRENT_TIMESTAMP",
            "CURRENT_TIMESTAMP(3)",
            "now()",
            "LOCALTIMESTAMP(3)",
            "(now() AT TIME ZONE 'utc'::text)",
            "(CURRENT_TIMESTAMP AT TIME ZONE 'UTC'::text)",
            "timezone('utc'::text, now())",
            "((now() AT TIME ZONE 'UTC'::text))::timestamp(3) without time zone",
            "statement_timestamp()",
            "(datetime('now'))",
            "(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
        ] {
            assert!(same_default("CURRENT_TIMESTAMP", found), "{found}");
        }
        for found in [
            "(now() AT TIME ZONE 'Asia/Seoul'::text)",
            "timezone('Asia/Seoul'::text, now())",
            "'2026-01-01 00:00:00'::timestamp without time zone",
            "(now() + '01:00:00'::interval)",
            "(datetime('now', 'localtime'))",
            "(strftime('%s', 'now'))",
            "'now()'::text || ''",
            "(now())::text || (now())::text",
        ] {
            assert!(!same_default("CURRENT_TIMESTAMP", found), "{found}");
        }
    }

    #[test]
    fn index_serves_with_same_leading_columns() {
        let serving = "\
            index t (a, b desc) | index t (a, b desc)
            index t (a) | index t (a, b)
            index t (a) | unique t (a)
            index t (lower(a), b) | index t (lower(a), b, coalesce(c, d))
            unique t (a, b) | unique t (a, b)
            unique t (a, b) | unique t (b desc, a)";
        let others = "\
            index t (a desc) | index t (a)
            index t (a, b) | index t (b, a)
            index t (a, b) | index t (a)
            index t (a) | index t (a) where (b > 1)
            index t (a) | index t (a) using brin
            index t (a) | index u (a)
            unique t (a, b) | index t (a, b)
            unique t (a, b) | unique t (a, b, c)
            unique t (a, b) | unique t (a)
            unique t (a) | unique t (a) deferrable";
        for (lines, serves) in [(serving, true), (others, false)] {
            for pair in cases::<2>(lines) {
                let [expected, found] = pair.map(|it| Index::parse(it).unwrap());
                assert_eq!(found.serves(&expected), serves, "{pair:?}");
            }
        }
        assert_eq!(Index::parse("column t.c"), None);
    }

    #[test]
    fn further_enum_values_in_any_order_are_allowed() {
        assert_eq!(missing_values("A, B", "C, B, A"), [""; 0]);
        assert_eq!(missing_values("A, B", "AB, A"), ["B"]);
    }
}
