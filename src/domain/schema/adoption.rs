//! Adoption of a database whose migrations are not in our ledger, because another tool created its tables or
//! because the ledger was lost.
//!
//! The evidence for each migration is the objects of its effect: found, missing or different. Its verdict
//! follows from them alone; Prisma's ledger and our log are shown beside it. Triggers and functions are not
//! evidence, since a dump of one schema and `prisma migrate reset` lose them: adoption creates them again.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::meaning::{
    CHOSEN, Column, Index, can_be_added, column_fit, column_serves, missing_values, value_for_rows,
};
use super::objects::{Difference, Effect, SchemaObject, SchemaObjects, quoted, table_of};
use super::prisma::PrismaMigration;
use super::rebuild::TableText;
use crate::domain::format::counted_as;
use crate::domain::named::named;

/// A migration of this program, as the database records it.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub version: &'static str,
    pub name: &'static str,
    pub effect: Effect,
    /// Whether it is in our ledger.
    pub is_recorded: bool,
    /// Whether the last entry of our log for it applied it.
    pub is_logged: bool,
    /// Whether a run of it was interrupted: the next run continues it.
    pub is_interrupted: bool,
    /// Its state in Prisma's ledger, if there is one.
    pub prisma: Option<PrismaMigration>,
}

named! {
    AdoptionVerdict, "adoption verdict" {
        /// Its ledger row and its log entry exist.
        Recorded = "recorded",
        /// All its objects exist: it will be recorded.
        Adopt = "adopt",
        /// None of its objects exists: it will be applied.
        Pending = "pending",
        /// Only some of its objects exist, or with other definitions.
        Partial = "partial",
    }
}

/// The evidence that a migration was applied.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    pub version: &'static str,
    pub name: &'static str,
    pub verdict: AdoptionVerdict,
    /// The number of objects that it created and that no later migration removed.
    pub expected: usize,
    /// How many of them exist with the same definition.
    pub found: usize,
    pub differences: Vec<Difference>,
    /// Its triggers and functions that are missing or different, and our own tables that are missing; they will be
    /// created again.
    pub restored: Vec<String>,
    /// Whether it is in our ledger.
    pub in_ledger: bool,
    pub in_log: bool,
    pub prisma: Option<PrismaMigration>,
}

impl Evidence {
    /// Its folder's name: version and name.
    pub fn full_name(&self) -> String {
        format!("{}_{}", self.version, self.name)
    }

    pub fn is_adopted(&self) -> bool {
        self.verdict == AdoptionVerdict::Adopt
    }

    pub fn is_pending(&self) -> bool {
        self.verdict == AdoptionVerdict::Pending
    }

    /// The text for the log: `54 of 54 objects`, `Prisma: 20260101000000_init applied`.
    pub fn summary(&self) -> String {
        let mut text = format!("{} of {} objects", self.found, self.expected);
        if let Some(prisma) = &self.prisma {
            text.push_str(&format!("; Prisma: {prisma}"));
        }
        text
    }
}

/// The evidence for each migration, in the order given, which is that of their versions.
///
/// Our own tables are no evidence where others of a recorded or partly existing migration are missing: adoption creates
/// them again.
///
/// `last` is the version of the last migration that will be applied; all if none.
pub fn evidence(
    candidates: Vec<Candidate>,
    found: &SchemaObjects,
    last: Option<&str>,
) -> Vec<Evidence> {
    // From the last to the first, because a later migration removes objects of an earlier one.
    let mut removed_by_applied: BTreeSet<String> = BTreeSet::new();
    let mut removed_by_pending: BTreeSet<String> = BTreeSet::new();
    // Tables that existing migrations add columns or indexes to.
    let mut used_tables: BTreeSet<String> = BTreeSet::new();
    let mut result: Vec<Evidence> = Vec::with_capacity(candidates.len());
    for candidate in candidates.into_iter().rev() {
        let is_required = |object: &&SchemaObject| {
            // The runner of a pending migration removes an index whether it exists or not.
            let is_index = object.parts().0 == "index";
            let is_removed = removed_by_applied.contains(&object.what)
                || is_index && removed_by_pending.contains(&object.what);
            !is_removed
        };
        let required: Vec<&SchemaObject> =
            candidate.effect.added.iter().filter(is_required).collect();
        let own_tables = candidate.effect.tables();
        let mut own_tables = own_tables.filter(|table| table.starts_with(OWN_PREFIX));
        let has_own = candidate.is_recorded || own_tables.any(|it| has_table(found, it));
        let (restorable, required): (Vec<_>, Vec<_>) = required.into_iter().partition(|object| {
            is_restorable(object) || has_own && is_of_lost_table(object, found)
        });
        let is_lost = |it: &&&SchemaObject| !is_restorable(it);
        let lost = restorable.iter().filter(is_lost).count();
        let compare = |objects: &[&SchemaObject]| {
            let expected = objects.iter().map(|it| (it.what.clone(), it.how.clone()));
            expected.collect::<SchemaObjects>().differences(found)
        };
        let differences = compare(&required);
        let removed = candidate.effect.removed.iter();
        let changed: BTreeSet<&str> = removed.map(|it| it.what.as_str()).collect();
        let is_present = required.iter().any(|object| {
            let is_evidence = matches!(object.parts().0, "table" | "column" | "enum");
            is_evidence
                && !changed.contains(object.what.as_str())
                && found.get(&object.what).is_some()
        });
        let has_objects = required.iter().any(|object| object.parts().0 != "index");
        let verdict = match (candidate.is_recorded, candidate.is_logged) {
            (true, true) => AdoptionVerdict::Recorded,
            (false, _) if candidate.is_interrupted => AdoptionVerdict::Pending,
            // A migration of data leaves no objects. Our log is evidence; without it the migration is applied
            // again, which such a migration must allow.
            (is_recorded, is_logged) if !has_objects => match is_recorded || is_logged {
                true => AdoptionVerdict::Adopt,
                false => AdoptionVerdict::Pending,
            },
            _ if differences.is_empty() => AdoptionVerdict::Adopt,
            // A later migration exists: applying this one would create its table as it was before.
            (false, _) if candidate.effect.tables().any(|it| used_tables.contains(it)) => {
                AdoptionVerdict::Partial
            }
            (false, _) if !is_present => AdoptionVerdict::Pending,
            _ => AdoptionVerdict::Partial,
        };
        if verdict != AdoptionVerdict::Pending {
            let tables = required.iter().filter_map(|it| table_of(&it.what));
            used_tables.extend(tables.map(str::to_owned));
        }
        let removed = candidate.effect.removed.iter().map(|it| it.what.clone());
        match verdict {
            AdoptionVerdict::Pending if last.is_some_and(|last| candidate.version > last) => {}
            AdoptionVerdict::Pending => removed_by_pending.extend(removed),
            _ => removed_by_applied.extend(removed),
        }
        let restored = match verdict {
            AdoptionVerdict::Pending => Vec::new(),
            _ => {
                let restored = compare(&restorable).into_iter().map(|it| it.what);
                // A lost table brings its columns and indexes.
                restored
                    .filter(|it| table_of(it).is_none_or(|_| it.starts_with("trigger ")))
                    .collect()
            }
        };
        // Objects of several lines, such as a missing table with its columns, count as one difference.
        let missing = required.iter().filter(|it| !compare(&[**it]).is_empty());
        result.push(Evidence {
            version: candidate.version,
            name: candidate.name,
            verdict,
            expected: required.len() + lost,
            found: required.len() - missing.count(),
            differences: match verdict {
                AdoptionVerdict::Partial => differences,
                _ => Vec::new(),
            },
            restored,
            in_ledger: candidate.is_recorded,
            in_log: candidate.is_logged,
            prisma: candidate.prisma,
        });
    }
    result.reverse();
    // A migration of data is applied again after one whose tables are created again.
    for index in 1..result.len() {
        let is_pending = result[index - 1].is_pending();
        let data = &mut result[index];
        if is_pending && data.expected == 0 && data.is_adopted() && !data.in_ledger {
            data.verdict = AdoptionVerdict::Pending;
        }
    }
    result
}

fn is_restorable(object: &SchemaObject) -> bool {
    matches!(object.parts().0, "trigger" | "function")
}

/// The names of our own tables begin with it.
const OWN_PREFIX: &str = "usagectl_";

fn has_table(found: &SchemaObjects, table: &str) -> bool {
    found.get(&format!("table {table}")).is_some()
}

/// Whether it is one of our own tables that is missing, or belongs to one.
fn is_of_lost_table(object: &SchemaObject, found: &SchemaObjects) -> bool {
    let table = object.what.strip_prefix("table ");
    let table = table.or_else(|| table_of(&object.what));
    table.is_some_and(|it| it.starts_with(OWN_PREFIX) && !has_table(found, it))
}

/// The missing tables of ours among the differences.
pub fn lost_tables(differences: &[Difference]) -> impl Iterator<Item = &Difference> {
    let lost = differences.iter().filter(|it| it.found.is_none());
    lost.filter(|it| {
        let table = it.what.strip_prefix("table ");
        table.is_some_and(|it| it.starts_with(OWN_PREFIX))
    })
}

/// Who created the tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "created_by", rename_all = "snake_case")]
pub enum Origin {
    /// `prisma migrate`, by its ledger.
    PrismaMigrate {
        /// Applied migrations, the last one last.
        applied: Vec<String>,
        /// Failed or unfinished migrations.
        failed: Vec<String>,
        /// Migrations that were rolled back and not applied again.
        rolled_back: Vec<String>,
    },
    /// Prisma 8 or newer, by its schema `prisma_contract`.
    PrismaContract,
    /// usagectl, whose ledger or log is incomplete.
    Usagectl,
    /// Another program that uses Diesel, by its rows in the ledger.
    Diesel,
    /// No ledger, as after `prisma db push`.
    Other,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::PrismaMigrate {
                applied,
                failed,
                rolled_back,
            } => {
                f.write_str("prisma migrate (")?;
                match applied.last() {
                    Some(last) => write!(f, "{} applied, last {last}", applied.len())?,
                    None => f.write_str("none applied")?,
                }
                if !failed.is_empty() {
                    write!(f, "; failed: {}", failed.join(", "))?;
                }
                if !rolled_back.is_empty() {
                    write!(f, "; rolled back: {}", rolled_back.join(", "))?;
                }
                f.write_str(")")
            }
            Origin::PrismaContract => f.write_str("Prisma 8 or newer (schema prisma_contract)"),
            Origin::Usagectl => f.write_str("usagectl, whose ledger is incomplete"),
            Origin::Diesel => {
                f.write_str("another Diesel program (its migrations are in the ledger)")
            }
            Origin::Other => f.write_str("prisma db push, by hand or by another tool (no ledger)"),
        }
    }
}

/// The SQL dialect of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Postgres,
    Sqlite,
}

/// What the statements that close differences depend on, beside the differences.
#[derive(Clone, Debug, Default)]
pub struct Existing {
    /// The names of all indexes.
    pub index_names: BTreeSet<String>,
    /// The names of the invalid ones, by object.
    pub invalid_indexes: BTreeMap<String, String>,
    /// On PostgreSQL, the partitioned tables.
    pub partitioned: BTreeSet<String>,
    /// The results of [`undecided`] that are not zero, by object.
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

/// The query that counts what the user must decide before the difference can be closed: rows without a value for a
/// required column, values that another type cannot hold, or repeated values of a unique index.
pub fn undecided(
    difference: &Difference,
    differences: &[Difference],
    dialect: Dialect,
) -> Option<String> {
    let Difference { what, found, .. } = difference;
    let is_missing = |column: &str| {
        let mut differences = differences.iter();
        differences.any(|it| it.found.is_none() && it.what == format!("column {column}"))
    };
    if let Some(index) = Index::parse(what) {
        let is_plain = |column: &&str| {
            !column.contains('(') && !is_missing(&format!("{}.{column}", index.table))
        };
        let is_known =
            index.is_unique && index.rest.is_empty() && index.columns.iter().all(is_plain);
        return is_known.then(|| {
            let repeated = repeated_values(&index, "1 AS one");
            format!("SELECT count(*) FROM ({repeated}) AS repeated")
        });
    }
    let (table, _) = what.strip_prefix("column ")?.split_once('.')?;
    let condition = match (found, unusable(difference, dialect)?) {
        (None, _) => String::new(),
        (Some(_), (condition, _)) => format!(" WHERE {condition}"),
    };
    Some(format!("SELECT count(*) FROM {}{condition}", quoted(table)))
}

/// The condition for rows whose value in a column is not one that the column should have, and their description.
fn unusable(difference: &Difference, dialect: Dialect) -> Option<(String, String)> {
    let name = difference.what.strip_prefix("column ")?;
    let (_, column) = name.split_once('.')?;
    let column = quoted(column);
    let wanted = Column::parse(difference.expected.as_deref()?);
    let found = difference.found.as_deref().map(Column::parse);
    let has_value = value_for_rows(name, &wanted, dialect).is_some();
    let is_nullable = found.as_ref().is_none_or(|found| !found.not_null);
    if wanted.not_null && !has_value && is_nullable {
        let text = format!("no value of the required column {name}; set one");
        return Some((format!("{column} IS NULL"), text));
    }
    let found = found.filter(|found| !column_fit(name, &wanted, found).data_type)?;
    let condition = inconvertible(&column, found.data_type, wanted.data_type, dialect)?;
    let text = format!(
        "a value of the column {name} that is no {}; change it",
        wanted.data_type
    );
    Some((condition, text))
}

/// The condition for values that have no equal in the other type; nothing if there are none or this is unknown.
fn inconvertible(column: &str, found: &str, wanted: &str, dialect: Dialect) -> Option<String> {
    if dialect == Dialect::Sqlite {
        return match wanted {
            "INTEGER" | "REAL" => Some(format!("CAST({column} AS {wanted}) <> {column}")),
            "BOOLEAN" => Some(format!("{column} NOT IN (0, 1)")),
            _ => None,
        };
    }
    let pattern = match wanted {
        _ if !found.starts_with("text") && !found.starts_with("character") => return None,
        "integer" => r"^\s*[+-]?\d+\s*$",
        "double precision" => r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$",
        "boolean" => r"^\s*(t|true|y|yes|on|1|f|false|n|no|off|0)\s*$",
        _ => return None,
    };
    Some(format!("{column} !~* '{pattern}'"))
}

/// The query for the values that several rows have in the columns of a unique index.
fn repeated_values(index: &Index<'_>, selected: &str) -> String {
    let columns: Vec<String> = index.columns.iter().map(|it| quoted(it)).collect();
    let known: Vec<String> = columns
        .iter()
        .map(|it| format!("{it} IS NOT NULL"))
        .collect();
    format!(
        "SELECT {selected} FROM {} WHERE {} GROUP BY {} HAVING count(*) > 1",
        quoted(index.table),
        known.join(" AND "),
        columns.join(", "),
    )
}

/// The comment in place of a statement that the rows refuse.
fn decision(difference: &Difference, count: i64, dialect: Dialect) -> String {
    let what = difference.what.as_str();
    let (kind, name) = what.split_once(' ').unwrap_or((what, ""));
    let count = count.unsigned_abs();
    if let Some(index) = Index::parse(what) {
        let columns: Vec<String> = index.columns.iter().map(|it| quoted(it)).collect();
        let selected = format!("{}, count(*)", columns.join(", "));
        return format!(
            "-- to be decided: {kind} {name} has {}; keep one row of each:\n-- {}",
            counted_as(count, "value of several rows", "values of several rows"),
            repeated_values(&index, &selected),
        );
    }
    let (table, _) = name.split_once('.').unwrap_or((name, ""));
    let (condition, text) = unusable(difference, dialect).unwrap_or_default();
    format!(
        "-- to be decided: {} {text} or delete such rows:\n-- SELECT * FROM {} WHERE {condition}",
        counted_as(count, "row has", "rows have"),
        quoted(table),
    )
}

/// The comment with the statements that give columns of a table a default, which the user must choose.
fn default_decision(
    table: &str,
    columns: &[&str],
    text: Option<&TableText>,
    dialect: Dialect,
) -> String {
    let names: Vec<String> = columns.iter().map(|it| format!("{table}.{it}")).collect();
    let statements = match dialect {
        Dialect::Postgres => columns.iter().map(|it| set_default(table, it)).collect(),
        Dialect::Sqlite => replacement(table, text, |text| {
            for column in columns {
                text.change(column, true, Some(Some(CHOSEN)), None);
            }
        }),
    };
    let title = format!(
        "to be decided: a default for {}, which usagectl does not write; replace {CHOSEN} and run:",
        names.join(" and ")
    );
    commented(title, statements)
}

/// The comment with the statement that makes a generated column an ordinary one. The application then has to write it.
fn storage_decision(name: &str, text: Option<&TableText>, dialect: Dialect) -> String {
    let (table, column) = name.split_once('.').unwrap_or((name, ""));
    let statements = match dialect {
        Dialect::Postgres => {
            let (table, column) = (quoted(table), quoted(column));
            vec![format!(
                "ALTER TABLE {table} ALTER COLUMN {column} DROP EXPRESSION;"
            )]
        }
        Dialect::Sqlite => replacement(table, text, |text| text.store(column)),
    };
    let title = format!(
        "to be decided: the column {name} is generated, and usagectl writes it; make it an ordinary column, which the \
         application then has to write too, and print this SQL again:"
    );
    commented(title, statements)
}

/// The statements that replace a table of SQLite by a changed one.
fn replacement(
    table: &str,
    text: Option<&TableText>,
    change: impl FnOnce(&mut TableText),
) -> Vec<String> {
    let mut text = text.cloned().unwrap_or_default();
    change(&mut text);
    let stop = std::iter::once(".bail on".to_owned());
    stop.chain(text.statements(table)).collect()
}

fn commented(title: String, statements: Vec<String>) -> String {
    let lines = std::iter::once(title).chain(statements);
    let lines = lines.collect::<Vec<_>>().join("\n");
    let lines: Vec<String> = lines.lines().map(|line| format!("-- {line}")).collect();
    lines.join("\n")
}

/// The statement of PostgreSQL that gives a column a default, which the user must choose.
pub fn set_default(table: &str, column: &str) -> String {
    let (table, column) = (quoted(table), quoted(column));
    format!("ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {CHOSEN};")
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
    let missing_tables: BTreeSet<&str> = differences
        .iter()
        .filter(|it| it.found.is_none())
        .filter_map(|it| it.what.strip_prefix("table "))
        .collect();
    let of_missing_table =
        |what: &str| table_of(what).is_some_and(|table| missing_tables.contains(table));
    let mut groups: [Vec<String>; 5] = Default::default();
    let mut taken = existing.index_names.clone();
    let mut tables = existing.tables.clone();
    let mut unfilled: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut generated = Vec::new();
    for difference in differences {
        let Difference {
            what,
            expected,
            found,
        } = difference;
        let (kind, name) = what.split_once(' ').unwrap_or((what, ""));
        let expected = expected.as_deref().unwrap_or_default();
        let (group, statements) = match kind {
            "table" if existing.views.contains(name) => {
                let comment = format!(
                    "-- to be decided: {name} is a view; rename or drop it, then print this SQL again"
                );
                (1, vec![Some(comment)])
            }
            "table" if existing.renamed.contains_key(name) => {
                let from = existing.renamed.get(name).map(|it| quoted(it));
                let rename = |from| format!("ALTER TABLE {from} RENAME TO {};", quoted(name));
                (1, vec![from.map(rename)])
            }
            "table" if found.is_some() => {
                if let Some(text) = tables.get_mut(name) {
                    text.give_rowids();
                }
                continue;
            }
            "table" => {
                let statement = created_in(scripts, &format!("CREATE TABLE {name}"));
                let text = statement.as_deref().unwrap_or_default();
                let mut statements = released_names(text, &mut taken);
                statements.push(statement);
                (1, statements)
            }
            _ if of_missing_table(what) => continue,
            "enum" => (0, enum_values(name, expected, found.as_deref(), scripts)),
            "column" if difference.is_unfilled() => {
                if let Some((table, column)) = difference.column() {
                    unfilled.entry(table).or_default().push(column);
                }
                continue;
            }
            "column" if is_generated(found.as_deref()) => {
                generated.push(name);
                continue;
            }
            "column" if existing.is_unconvertible(what, expected) => (2, vec![None]),
            "column" => {
                let (table, _) = name.split_once('.').unwrap_or((name, ""));
                let undecided = existing.undecided.get(what);
                let text = tables.get_mut(table);
                let mut statements = column(
                    name,
                    expected,
                    found.as_deref(),
                    dialect,
                    text,
                    undecided.is_some(),
                );
                if let Some(dependents) = existing.dependents.get(what)
                    && changes_type(&statements)
                {
                    let comment = format!(
                        "-- to be decided: the type of the column {name} can only be changed without {0}; drop it, print \
                         this SQL again, and create it again afterwards",
                        dependents.join(", ")
                    );
                    statements = vec![Some(comment)];
                }
                if let Some(other) = existing.renamed_columns.get(what) {
                    let (table, other) = (quoted(table), quoted(other));
                    let (_, column) = name.split_once('.').unwrap_or_default();
                    statements.insert(0, Some(format!(
                        "-- if it is the column {other}, which has the same type, run this instead and print this SQL \
                         again: ALTER TABLE {table} RENAME COLUMN {other} TO {};", quoted(column)
                    )));
                }
                statements
                    .extend(undecided.map(|count| Some(decision(difference, *count, dialect))));
                (2, statements)
            }
            "unique" if is_in_replacement(what, &tables) => continue,
            "unique" | "index" if existing.undecided.contains_key(what) => (
                3,
                vec![
                    existing
                        .undecided
                        .get(what)
                        .map(|count| decision(difference, *count, dialect)),
                ],
            ),
            "unique" | "index" => {
                let group = if kind == "unique" { 3 } else { 4 };
                let statements = match found {
                    None => primary_key(what, scripts, existing, &mut taken)
                        .unwrap_or_else(|| vec![index(what, &mut taken, dialect)]),
                    // REINDEX leaves it invalid. An index of a constraint has no statement.
                    Some(_) if existing.partitioned.iter().any(|it| difference.is_of(it)) => {
                        let name = existing.invalid_indexes.get(what);
                        let name = name.filter(|it| kind == "index" && taken.remove(it.as_str()));
                        let drop = name.map(|it| format!("DROP INDEX {};", quoted(it)));
                        let create = drop.as_ref().and_then(|_| index(what, &mut taken, dialect));
                        match create {
                            Some(_) => vec![drop, create],
                            None => vec![None],
                        }
                    }
                    // PostgreSQL leaves an invalid index out of REINDEX TABLE CONCURRENTLY.
                    Some(_) => vec![existing.invalid_indexes.get(what).map(|name| {
                        let name = quoted(name);
                        format!("REINDEX INDEX CONCURRENTLY {name};")
                    })],
                };
                (group, statements)
            }
            _ => (4, vec![None]),
        };
        let no_statement = || format!("-- no statement can be derived: {difference}");
        let statements = statements.into_iter();
        groups[group].extend(statements.map(|it| it.unwrap_or_else(no_statement)));
    }
    // A missing table brings its primary key and first columns; its other columns and indexes are statements of their
    // own.
    for (what, how) in expected
        .objects()
        .filter(|(what, _)| of_missing_table(what))
        .filter(|(what, _)| {
            // `prisma db push` creates the indexes after it renames the table.
            let is_whole = |table: &str, from: &str| {
                what.starts_with("column ") || from != format!("new_{table}")
            };
            !table_of(what).is_some_and(|it| {
                let from = existing.renamed.get(it);
                existing.views.contains(it) || from.is_some_and(|from| is_whole(it, from))
            })
        })
    {
        let group = match what.split_once(' ') {
            Some(("unique", _)) if !has_constraint(what, scripts) => 3,
            Some(("index", _)) => 4,
            Some(("column", name)) => {
                groups[2].extend(later_column(name, how, scripts, dialect));
                continue;
            }
            _ => continue,
        };
        groups[group].extend(index(what, &mut taken, dialect));
    }
    let replaced = tables.iter();
    let replaced: Vec<String> = replaced
        .flat_map(|(name, text)| text.statements(name))
        .collect();
    // A shell that continues after an error would drop the table whose copy failed.
    let stop = (!replaced.is_empty()).then(|| ".bail on".to_owned());
    groups[2].extend(replaced);
    // These replace the table as it is by then.
    for name in generated {
        let text = name
            .split_once('.')
            .and_then(|(table, _)| tables.get(table));
        groups[4].push(storage_decision(name, text, dialect));
    }
    for (table, columns) in unfilled {
        groups[4].push(default_decision(
            table,
            &columns,
            tables.get(table),
            dialect,
        ));
    }
    stop.into_iter()
        .chain(groups.into_iter().flatten())
        .collect()
}

/// The statements that rename the existing indexes with names of constraints in the statement that creates a table. On
/// SQLite such a constraint needs no name of an index.
fn released_names(statement: &str, taken: &mut BTreeSet<String>) -> Vec<Option<String>> {
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

/// Whether a column has a value that only the database writes.
fn is_generated(definition: Option<&str>) -> bool {
    let head = definition.and_then(|it| it.split(" default ").next());
    head.is_some_and(|it| it.contains(" generated"))
}

/// Whether the table that replaces one on SQLite has the unique columns in its definition.
fn is_in_replacement(what: &str, tables: &BTreeMap<String, TableText>) -> bool {
    Index::parse(what).is_some_and(|index| {
        let text = tables.get(index.table);
        text.is_some_and(|text| index.rest.is_empty() && text.will_be_unique(&index.columns))
    })
}

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

/// Whether the statement that creates the table has the unique columns as a constraint.
fn has_constraint(what: &str, scripts: &[&str]) -> bool {
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
fn primary_key(
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
fn created_in(scripts: &[&str], beginning: &str) -> Option<String> {
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
fn later_column(name: &str, how: &str, scripts: &[&str], dialect: Dialect) -> Option<String> {
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

fn enum_values(
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
        ([value], [other]) => Some(Some(format!(
            "-- if it is the value {other}, run this instead and print this SQL again: ALTER TYPE {} RENAME VALUE \
             '{other}' TO '{value}';",
            quoted(name)
        ))),
        _ => None,
    };
    let added = missing
        .iter()
        .map(|value| Some(format!("ALTER TYPE {} ADD VALUE '{value}';", quoted(name))));
    hint.into_iter().chain(added).collect()
}

/// The statements for a column. Those for SQLite without ALTER TABLE change `text` instead. An undecided column stays
/// nullable.
fn column(
    name: &str,
    expected: &str,
    found: Option<&str>,
    dialect: Dialect,
    text: Option<&mut TableText>,
    is_undecided: bool,
) -> Vec<Option<String>> {
    let Some((table, column)) = name.split_once('.') else {
        return vec![None];
    };
    let (bare, table, column) = (column, quoted(table), quoted(column));
    let wanted = Column::parse(expected);
    let data_type = wanted.data_type;
    let added_type = text
        .as_ref()
        .map_or(data_type, |it| it.type_to_add(data_type));
    let add = |rest: &str| {
        Some(format!(
            "ALTER TABLE {table} ADD COLUMN {column} {added_type}{rest};"
        ))
    };
    let value = value_for_rows(name, &wanted, dialect);
    let fill = value.filter(|_| wanted.not_null).map(|value| {
        Some(format!(
            "UPDATE {table} SET {column} = {value} WHERE {column} IS NULL;"
        ))
    });
    let Some(found) = found else {
        let not_null = if wanted.not_null { " NOT NULL" } else { "" };
        let default = wanted.default.map(|it| format!(" DEFAULT {it}"));
        let constraints = match is_undecided {
            true => String::new(),
            false => format!("{not_null}{}", default.unwrap_or_default()),
        };
        let Some(text) = text else {
            return vec![add(&constraints)];
        };
        if is_undecided || can_be_added(&wanted) {
            text.add(bare, &format!("{data_type}{constraints}"));
            return vec![add(&constraints)];
        }
        text.add(bare, data_type);
        text.change(bare, wanted.not_null, Some(wanted.default), None);
        return [add("")].into_iter().chain(fill).collect();
    };
    if is_undecided {
        return Vec::new();
    }
    let found = Column::parse(found);
    let fit = column_fit(name, &wanted, &found);
    let fill = fill.filter(|_| !found.not_null);
    if dialect == Dialect::Sqlite {
        let not_null = wanted.not_null || found.not_null && fit.null;
        let mut default = (!fit.default).then_some(wanted.default);
        let is_integer = found.data_type.eq_ignore_ascii_case("INTEGER");
        // Inserts of the application without a value go on.
        if !fit.data_type && is_integer && text.as_ref().is_some_and(|it| it.is_row_number(bare)) {
            default = Some(Some(ANY_TEXT));
        }
        let data_type = (!fit.data_type).then_some(data_type);
        let is_changed = text.is_some_and(|text| text.change(bare, not_null, default, data_type));
        return match is_changed {
            true => fill.into_iter().collect(),
            false => vec![None],
        };
    }
    let mut changes = Vec::new();
    let mut default_fits = fit.default;
    let mut default = wanted.default.map(str::to_owned);
    if !fit.data_type {
        let Some(value) = conversion(&column, found.data_type, data_type) else {
            return vec![None];
        };
        // The old default may have no cast to the new type by itself. The application's inserts rely on it.
        if let Some(old) = found.default {
            changes.push("DROP DEFAULT".to_owned());
            default_fits = false;
            default =
                default.or_else(|| conversion(&format!("({old})"), found.data_type, data_type));
        }
        changes.push(format!("{CHANGE_TYPE}{data_type} USING {value}"));
    }
    // Before the rows are changed, so that new ones have it.
    if !default_fits {
        changes.push(match default {
            Some(default) => format!("SET DEFAULT {default}"),
            None => "DROP DEFAULT".to_owned(),
        });
    }
    let is_filled = wanted.not_null && !found.not_null;
    if !is_filled && !fit.null {
        changes.push("DROP NOT NULL".to_owned());
    }
    // One statement: an insert of the application must not meet the column without its default.
    let alter = |changes: &[String]| {
        let changes = changes.iter();
        let changes: Vec<String> = changes
            .map(|change| format!("ALTER COLUMN {column} {change}"))
            .collect();
        Some(format!("ALTER TABLE {table} {};", changes.join(", ")))
    };
    let mut statements = Vec::new();
    if !changes.is_empty() {
        statements.push(alter(&changes));
    }
    if is_filled {
        statements.extend(fill);
        statements.push(alter(&["SET NOT NULL".to_owned()]));
    }
    statements
}

/// A default in place of the number of a row on SQLite.
const ANY_TEXT: &str = "(lower(hex(randomblob(16))))";

/// The part of a statement that changes the type of a column.
const CHANGE_TYPE: &str = "TYPE ";

fn changes_type(statements: &[Option<String>]) -> bool {
    let change = format!("\" {CHANGE_TYPE}");
    let mut statements = statements.iter().flatten();
    statements.any(|it| it.starts_with("ALTER TABLE") && it.contains(&change))
}

/// Whether a type of PostgreSQL is one of numbers.
fn is_number(data_type: &str) -> bool {
    let mut numbers = ["bigint", "double", "integer", "numeric", "real", "smallint"].iter();
    numbers.any(|it| data_type.starts_with(it))
}

impl Difference {
    /// Whether a column of numbers has another type of them.
    pub fn is_of_numbers(&self) -> bool {
        let types = [&self.expected, &self.found];
        let mut types = types
            .iter()
            .map(|it| it.as_deref().map(|it| Column::parse(it).data_type));
        self.what.starts_with("column ") && types.all(|it| it.is_some_and(is_number))
    }
}

/// The values of a column in another type of PostgreSQL; nothing if their meaning is unknown.
fn conversion(column: &str, found: &str, wanted: &str) -> Option<String> {
    let is_time = wanted.starts_with("timestamp");
    let is_number = is_number(found);
    match wanted {
        // A cast would convert to the time zone of the session.
        _ if is_time && found.ends_with(" with time zone") => {
            Some(format!("{column} AT TIME ZONE 'UTC'"))
        }
        // Seconds or milliseconds.
        _ if is_time && is_number => None,
        "integer" if is_number => Some(format!("round({column})::{wanted}")),
        _ => Some(format!("{column}::text::{wanted}")),
    }
}

/// The name, or with the first number after it, that no index has. PostgreSQL shortens names to 63 bytes.
fn free_name(name: &str, taken: &BTreeSet<String>) -> Option<String> {
    let numbered = (1..).map(|number| format!("_{number}"));
    let mut endings = std::iter::once(String::new()).chain(numbered);
    endings.find_map(|ending| {
        let length = name.floor_char_boundary(63 - ending.len());
        let free = format!("{}{ending}", &name[..length]);
        (!taken.contains(&free)).then_some(free)
    })
}

/// The statement that creates a missing index.
fn index(what: &str, taken: &mut BTreeSet<String>, dialect: Dialect) -> Option<String> {
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
    use crate::domain::testing::cases;

    const CREATE: &str = "+ table usage\n+ column usage.id: text not null\n+ column usage.at: timestamp(3)\n\
                          + unique usage (id)\n+ index usage (at)\n";
    const ENHANCE: &str = "- index usage (at)\n+ column usage.cost: double precision\n+ index usage (at desc)\n\
                           + table alerts\n+ column alerts.id: text not null\n+ unique alerts (id)\n";
    const OWN: &str = "+ table usagectl_marks\n+ trigger usage.mark: AFTER INSERT\n";
    const DATA: &str = "";

    fn candidates(recorded: &[&str], logged: &[&str]) -> Vec<Candidate> {
        let all = [
            ("1", "create", CREATE),
            ("2", "enhance", ENHANCE),
            ("3", "own", OWN),
            ("4", "data", DATA),
        ];
        all.iter()
            .map(|(version, name, effect)| Candidate {
                version,
                name,
                effect: Effect::parse(effect),
                is_recorded: recorded.contains(version),
                is_logged: logged.contains(version),
                is_interrupted: false,
                prisma: None,
            })
            .collect()
    }

    /// The objects after these migrations, without those of `lost`.
    fn database(effects: &[&str], lost: &[&str]) -> SchemaObjects {
        let mut objects = SchemaObjects::default();
        for effect in effects {
            objects.apply(&Effect::parse(effect));
        }
        let lost: String = lost.iter().map(|what| format!("- {what}\n")).collect();
        objects.apply(&Effect::parse(&lost));
        objects
    }

    /// The verdicts without any record.
    fn verdicts(found: &SchemaObjects) -> Vec<String> {
        let evidence = evidence(candidates(&[], &[]), found, None);
        let line = |it: &Evidence| format!("{} {}/{}", it.verdict, it.found, it.expected);
        evidence.iter().map(line).collect()
    }

    #[test]
    fn empty_database_has_only_pending_migrations() {
        let expected = ["pending 0/4", "pending 0/5", "pending 0/1", "pending 0/0"];
        assert_eq!(verdicts(&SchemaObjects::default()), expected);
    }

    #[test]
    fn migration_with_all_objects_is_adopted() {
        let expected = ["adopt 4/4", "pending 0/5", "pending 0/1", "pending 0/0"];
        assert_eq!(verdicts(&database(&[CREATE], &[])), expected);
        // The index that `enhance` replaced is not expected any more.
        let expected = ["adopt 4/4", "adopt 5/5", "pending 0/1", "pending 0/0"];
        assert_eq!(verdicts(&database(&[CREATE, ENHANCE], &[])), expected);
    }

    #[test]
    fn index_that_a_pending_migration_removes_may_be_missing() {
        let found = database(&[CREATE], &["index usage (at)"]);
        assert_eq!(verdicts(&found)[0], "adopt 4/4");
        let until_create = evidence(candidates(&[], &[]), &found, Some("1"));
        assert_eq!(until_create[0].verdict, AdoptionVerdict::Partial);
        assert_eq!(until_create[0].differences[0].what, "index usage (at)");
    }

    #[test]
    fn missing_or_different_object_makes_a_migration_partial() {
        for lost in ["column usage.cost", "table alerts", "index usage (at desc)"] {
            let found = database(&[CREATE, ENHANCE], &[lost]);
            assert!(verdicts(&found)[1].starts_with("partial 4/5"), "{lost}");
        }
        let found = database(&[CREATE, "+ column usage.cost: text\n"], &[]);
        assert_eq!(verdicts(&found)[1], "partial 0/5");
    }

    #[test]
    fn index_alone_is_no_evidence() {
        let found = database(&[CREATE, "+ index usage (at desc)\n"], &[]);
        assert_eq!(verdicts(&found)[1], "pending 1/5");
    }

    #[test]
    fn missing_table_with_later_columns_makes_its_migration_partial() {
        let of_usage = [
            "table usage",
            "column usage.id",
            "column usage.at",
            "column usage.cost",
        ];
        let found = database(&[CREATE, ENHANCE], &of_usage);
        assert_eq!(verdicts(&found)[..2], ["partial 1/4", "partial 4/5"]);
        // Nothing of it exists.
        let found = database(&["+ table other\n"], &[]);
        assert_eq!(verdicts(&found)[0], "pending 0/4");
    }

    #[test]
    fn missing_trigger_is_created_again() {
        let found = database(&[CREATE, ENHANCE, OWN], &["trigger usage.mark"]);
        let evidence = evidence(candidates(&[], &[]), &found, None);
        assert_eq!(evidence[2].verdict, AdoptionVerdict::Adopt);
        assert_eq!(evidence[2].restored, ["trigger usage.mark"]);
    }

    #[test]
    fn lost_table_of_ours_is_created_again() {
        const MORE: &str = "+ table usagectl_days\n+ column usagectl_days.at: text\n";
        let candidates = |recorded: &[&str], logged: &[&str]| {
            let mut all = candidates(recorded, logged);
            all[2].effect = Effect::parse(&format!("{OWN}{MORE}"));
            all
        };
        let lines = |recorded: &[&str], lost: &[&str]| {
            let found = database(&[CREATE, ENHANCE, OWN, MORE], lost);
            let found = evidence(candidates(recorded, recorded), &found, None);
            let restored = found[2].restored.join(", ");
            let (verdict, found, expected) = (found[2].verdict, found[2].found, found[2].expected);
            format!("{verdict} {found}/{expected} {restored}")
        };
        let all = ["1", "2", "3", "4"];
        let days = ["table usagectl_days", "column usagectl_days.at"];
        let both = [
            "table usagectl_days",
            "column usagectl_days.at",
            "table usagectl_marks",
        ];
        assert_eq!(lines(&all, &[]), "recorded 3/3 ");
        assert_eq!(lines(&all, &days), "recorded 1/3 table usagectl_days");
        assert_eq!(lines(&[], &days), "adopt 1/3 table usagectl_days");
        let restored = "recorded 0/3 table usagectl_days, table usagectl_marks";
        assert_eq!(lines(&all, &both), restored);
        assert_eq!(lines(&[], &both), "pending 0/3 ");
    }

    #[test]
    fn lost_records_are_adopted_and_complete_ones_are_not_judged() {
        let found = database(&[CREATE, ENHANCE, OWN], &["column usage.cost"]);
        let verdicts = |recorded: &[&str], logged: &[&str]| -> Vec<String> {
            let evidence = evidence(candidates(recorded, logged), &found, None);
            evidence.iter().map(|it| it.verdict.to_string()).collect()
        };
        let all = ["1", "2", "3", "4"];
        assert_eq!(verdicts(&all, &all), ["recorded"; 4]);
        // Without the log, and without the ledger.
        assert_eq!(verdicts(&all, &[]), ["adopt", "partial", "adopt", "adopt"]);
        let expected = ["adopt", "partial", "adopt", "adopt"];
        assert_eq!(verdicts(&[], &all), expected);
        assert_eq!(verdicts(&["1", "2", "4"], &all)[2], "adopt");
    }

    #[test]
    fn interrupted_migration_is_continued() {
        let mut candidates = candidates(&["1"], &["1"]);
        candidates[1].is_interrupted = true;
        let found = database(&[CREATE, "+ column usage.cost: double precision\n"], &[]);
        let evidence = evidence(candidates, &found, None);
        assert_eq!(evidence[1].verdict, AdoptionVerdict::Pending);
    }

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

    #[test]
    fn part_of_a_column_that_serves_is_kept() {
        let column = |expected: &str, found: &str| {
            column("t.c", expected, Some(found), Dialect::Postgres, None, false)
                .into_iter()
                .map(|it| {
                    it.unwrap_or_default()
                        .replace("ALTER TABLE \"t\" ALTER COLUMN \"c\" ", "")
                })
                .collect::<Vec<_>>()
        };
        // The application's inserts may rely on the default.
        let statements = column("timestamp(3) not null", "timestamp(3) default now()");
        assert_eq!(statements, ["SET NOT NULL;"]);
        let statements = column("integer not null default 0", "bigint default 1");
        let fill = "UPDATE \"t\" SET \"c\" = 0 WHERE \"c\" IS NULL;";
        assert_eq!(statements, ["SET DEFAULT 0;", fill, "SET NOT NULL;"]);
        assert_eq!(column("text", "text not null"), ["DROP NOT NULL;"]);
    }

    #[test]
    fn conversion_keeps_the_meaning_of_values() {
        let conversions = "\
            timestamp(6) with time zone | timestamp(3) | c AT TIME ZONE 'UTC'
            timestamp without time zone | timestamp(3) | c::text::timestamp(3)
            bigint | timestamp(3) | unknown
            double precision | integer | round(c)::integer
            integer | boolean | c::text::boolean";
        for [found, wanted, expected] in cases(conversions) {
            let converted = conversion("c", found, wanted);
            assert_eq!(
                converted.as_deref().unwrap_or("unknown"),
                expected,
                "{found}"
            );
        }
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
            "-- if it is the value BLUE, run this instead and print this SQL again: ALTER TYPE \"Color\" RENAME VALUE 'BLUE' TO 'GREEN';",
            "ALTER TYPE \"Color\" ADD VALUE 'GREEN';",
            "REINDEX INDEX CONCURRENTLY \"Theirs\";",
        ];
        assert_eq!(sql, expected);
    }
}
