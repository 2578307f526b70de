//! The rights on PostgreSQL that a command requires, and the statements that grant those that its role lacks.

use std::collections::{BTreeMap, BTreeSet};

use super::objects::{Effect, SchemaObject, SchemaObjects, quoted, table_of};
use crate::domain::named::{Named, named};

/// The schema of our own tables.
const OWN: &str = "usagectl";

named! {
    Verb, "right" {
        Select = "SELECT",
        Insert = "INSERT",
        Update = "UPDATE",
        Delete = "DELETE",
        Trigger = "TRIGGER",
    }
}

use Verb::{Delete, Insert, Select, Trigger, Update};

/// What may be done with the rows of our own tables by a command that writes.
const CHANGE: &[Verb] = &[Select, Insert, Update, Delete];

/// The rights that a role has.
#[derive(Clone, Debug, Default)]
pub struct Held {
    pub role: String,
    pub database: String,
    pub application_schema: String,
    pub creates_schemas: bool,
    pub creates_temporary_tables: bool,
    /// Whether it has the rights of the roles that it is a member of, unless a grant excludes them.
    pub inherits: bool,
    /// Whether a grant can include them: since PostgreSQL 16.
    pub grants_inheritance: bool,
    /// The application's schema and ours, if they exist, and those of partitions.
    pub schemas: Vec<HeldOnSchema>,
    /// All tables in the first two, and all partitions of these.
    pub tables: Vec<HeldOnTable>,
    /// The sequences of the columns of both that the role may not move.
    pub fixed_sequences: Vec<String>,
    /// Our functions, and the types of the application's tables, that the role does not own.
    pub foreign: Vec<ForeignObject>,
}

#[derive(Clone, Debug)]
pub struct HeldOnSchema {
    pub name: String,
    pub usage: bool,
    pub create: bool,
}

#[derive(Clone, Debug)]
pub struct HeldOnTable {
    pub schema: String,
    pub name: String,
    /// The name of the partitioned table, if it is a partition.
    pub partition_of: Option<String>,
    pub verbs: Vec<Verb>,
    pub is_owner: bool,
    pub owner: Owner,
}

/// The role that an object belongs to.
#[derive(Clone, Debug)]
pub struct Owner {
    pub name: String,
    /// Whether membership in it can be granted: it is no superuser, and not a member of the role itself.
    pub can_be_granted: bool,
    /// Whether the role is a member of it already, without its rights.
    pub has_member: bool,
}

/// An object that belongs to another role.
#[derive(Clone, Debug)]
pub struct ForeignObject {
    /// Kind and qualified name as in SQL: `FUNCTION usagectl.f()`.
    pub object: String,
    pub owner: Owner,
}

impl Owner {
    /// The statement that gives the role an owner's rights on an object.
    fn give(&self, object: &str, held: &Held) -> String {
        let role = quoted(&held.role);
        if !self.can_be_granted {
            return format!("ALTER {object} OWNER TO {role}");
        }
        let grant = format!("GRANT {} TO {role}", quoted(&self.name));
        match held.grants_inheritance {
            true if self.has_member || !held.inherits => grant + " WITH INHERIT TRUE",
            false if !held.inherits => format!("ALTER ROLE {role} INHERIT; {grant}"),
            _ => grant,
        }
    }
}

/// Prisma's ledger in the application's schema.
const PRISMA_LEDGER: &str = "_prisma_migrations";

/// A table and the access that a command requires.
pub type Rights = (&'static str, &'static [Verb]);

/// What a command does.
#[derive(Debug)]
pub enum Work {
    /// Reads our own tables, and these of the application.
    Read(&'static [Rights]),
    /// Writes our own tables, and reads and writes these of the application.
    Write(&'static [Rights]),
    /// Applies migrations.
    Migrate {
        effects: Vec<Effect>,
        /// Objects of applied migrations that are missing or differ.
        lost: Vec<String>,
        found: SchemaObjects,
    },
    /// Reverts migrations.
    Revert,
}

/// The application's tables that a command reads and writes; `command` is its full name.
pub fn application_tables(command: &str) -> &'static [Rights] {
    let subject = command.split(' ').next().unwrap_or_default();
    match (subject, command) {
        (_, "migrate --restore") => &[
            ("api_usage", &[Select, Insert, Update]),
            ("api_usage_aggregates", &[Select, Insert, Update]),
            ("api_alerts", &[Select, Insert, Update]),
            ("InfrastructureLimit", &[Select, Insert, Update]),
            ("InfrastructureMetric", &[Select, Insert, Update]),
            ("UpgradeRecommendation", &[Select, Insert, Update]),
            (PRISMA_LEDGER, &[Select]),
        ],
        ("migrate", _) => &[(PRISMA_LEDGER, &[Select])],
        ("record", _) => &[("api_usage", &[Select, Insert])],
        ("stats", _) => &[
            ("api_usage", &[Select]),
            ("api_usage_aggregates", &[Select]),
            ("api_alerts", &[Select]),
        ],
        ("prune", _) => &[("api_usage", &[Select, Insert, Delete])],
        ("aggregate", _) => &[("api_usage", &[Select]), ("api_usage_aggregates", CHANGE)],
        (_, "alerts add") => &[
            ("api_usage_aggregates", &[Select]),
            ("api_alerts", &[Select, Insert, Update]),
        ],
        (_, "alerts init") => &[("api_alerts", &[Select, Insert, Update])],
        (_, "alerts check") => &[("api_usage", &[Select]), ("api_alerts", &[Select, Update])],
        (_, "alerts set") => &[
            ("api_usage_aggregates", &[Select]),
            ("api_alerts", &[Select, Update]),
        ],
        (_, "alerts enable" | "alerts disable") => &[("api_alerts", &[Select, Update])],
        (_, "alerts remove") => &[("api_alerts", &[Select, Delete])],
        (_, "alerts backtest" | "alerts show") => &[
            ("api_usage", &[Select]),
            ("api_usage_aggregates", &[Select]),
            ("api_alerts", &[Select]),
        ],
        ("alerts", _) => &[("api_usage", &[Select]), ("api_alerts", &[Select])],
        (_, "limits init" | "limits plan") => &[("InfrastructureLimit", CHANGE)],
        (_, "limits set" | "limits import") => {
            &[("InfrastructureLimit", &[Select, Insert, Update])]
        }
        (_, "limits remove") => &[("InfrastructureLimit", &[Select, Delete])],
        ("limits", _) => &[
            ("InfrastructureLimit", &[Select]),
            ("InfrastructureMetric", &[Select]),
        ],
        (_, "collect prune") => &[("InfrastructureMetric", &[Select, Delete])],
        ("collect", _) => &[("InfrastructureMetric", &[Select, Insert, Update])],
        ("recommend", _) => &[
            ("InfrastructureLimit", &[Select]),
            ("InfrastructureMetric", &[Select]),
            ("UpgradeRecommendation", &[Select, Insert, Update]),
        ],
        _ => &[
            (PRISMA_LEDGER, &[Select]),
            ("api_usage", &[Select]),
            ("api_usage_aggregates", &[Select]),
            ("api_alerts", &[Select]),
            ("InfrastructureLimit", &[Select]),
            ("InfrastructureMetric", &[Select]),
            ("UpgradeRecommendation", &[Select]),
        ],
    }
}

/// The statements by which a superuser or the owner grants the missing rights to the role.
pub fn missing(work: &Work, held: &Held) -> Vec<String> {
    match work {
        Work::Read(tables) => missing_for_rows(held, &[Select], tables),
        Work::Write(tables) => {
            let mut statements = missing_for_rows(held, CHANGE, tables);
            // `record` has a staging table.
            let stages = tables.contains(&("api_usage", &[Select, Insert]));
            if stages && !held.creates_temporary_tables {
                let (database, role) = (quoted(&held.database), quoted(&held.role));
                statements.push(format!("GRANT TEMPORARY ON DATABASE {database} TO {role}"));
            }
            // A restore moves them past the restored rows.
            if *tables == application_tables("migrate --restore")
                && !held.fixed_sequences.is_empty()
            {
                let (names, role) = (held.fixed_sequences.join(", "), quoted(&held.role));
                statements.push(format!(
                    "GRANT SELECT, UPDATE ON SEQUENCE {names} TO {role}"
                ));
            }
            statements
        }
        Work::Migrate { effects, lost, .. } if effects.is_empty() && lost.is_empty() => {
            missing_for_rows(held, &[Select], application_tables("migrate"))
        }
        Work::Migrate {
            effects,
            lost,
            found,
        } => {
            // What a later migration replaces may be missing.
            let removed = effects.iter().flat_map(|effect| &effect.removed);
            let removed: BTreeSet<&str> = removed.map(|object| object.what.as_str()).collect();
            let added = effects.iter().flat_map(|effect| &effect.added);
            let new = added.filter(|object| found.get(&object.what).is_none());
            let new = new.filter(|object| !removed.contains(object.what.as_str()));
            let new: Vec<(&str, &str)> = new.map(SchemaObject::parts).collect();
            let repaired = Repaired::new(lost, found);
            let loses_tables = lost.iter().any(|it| it.starts_with("table "));
            let creates = Creates {
                in_application: new.iter().any(|(kind, name)| {
                    ["table", "enum", "index", "unique"].contains(kind) && !name.starts_with(OWN)
                }),
                in_own: !effects.is_empty() || !repaired.functions.is_empty() || loses_tables,
            };
            let mut statements = missing_for_schema(held, creates, |table| {
                let name = table.whole().as_str();
                let least = match name {
                    PRISMA_LEDGER if effects.is_empty() => Change::Rows(&[Select]),
                    PRISMA_LEDGER => Change::Rows(&[Select, Insert, Update]),
                    // The hours of existing rows are marked.
                    "api_usage" if !effects.is_empty() => Change::Rows(&[Select]),
                    _ => Change::None,
                };
                let least = repaired.tables.get(name).copied().unwrap_or(least);
                let is_of_table = |object: &str| object.split(['.', ' ']).next() == Some(name);
                let kinds = new.iter().filter(|(_, object)| is_of_table(object));
                kinds.fold(least, |change, (kind, _)| match (change, *kind) {
                    (Change::Definition, _) => change,
                    // The triggers and the marks of existing rows read the table.
                    (_, "trigger") => Change::Rows(&[Select, Trigger]),
                    _ => Change::Definition,
                })
            });
            let rows = missing_for_rows(held, CHANGE, &[]).into_iter();
            statements.extend(rows.filter(|it| !it.starts_with("GRANT USAGE ")));
            let is_repaired = |it: &str| repaired.functions.iter().any(|end| it.ends_with(end));
            give_foreign(held, is_repaired, &mut statements);
            statements
        }
        Work::Revert => {
            let creates = Creates {
                in_application: true,
                in_own: true,
            };
            let mut statements =
                missing_for_schema(held, creates, |table| match table.whole().as_str() {
                    PRISMA_LEDGER => Change::Rows(&[Select, Update]),
                    _ => Change::Definition,
                });
            give_foreign(held, |_| true, &mut statements);
            statements
        }
    }
}

/// The statements that give the role the objects that it drops or alters: `tables`, and functions and types if
/// `with_types`. Only an owner may.
pub fn missing_ownership(held: &Held, tables: &BTreeSet<String>, with_types: bool) -> Vec<String> {
    let is_altered = |table: &&HeldOnTable| !table.is_owner && tables.contains(table.whole());
    let tables = held.tables.iter().filter(is_altered);
    let tables = tables.map(|it| (format!("TABLE {}", it.qualified()), &it.owner));
    let others = held.foreign.iter().filter(|_| with_types);
    let others = others.map(|it| (it.object.clone(), &it.owner));
    let mut statements = Vec::new();
    for (object, owner) in tables.chain(others) {
        let statement = owner.give(&object, held);
        if !statements.contains(&statement) {
            statements.push(statement);
        }
    }
    statements
}

/// The roles in which `statements`, which are [`missing`], grant membership, each with its statement.
pub fn memberships(held: &Held, statements: &[String]) -> BTreeMap<String, String> {
    let owners = held.tables.iter().map(|it| &it.owner);
    let owners = owners.chain(held.foreign.iter().map(|it| &it.owner));
    let owners = owners.filter(|it| it.can_be_granted);
    let grants = owners.map(|it| (it.name.clone(), it.give("", held)));
    grants.filter(|(_, it)| statements.contains(it)).collect()
}

/// Adds the statements that give the role the functions and types with such names.
fn give_foreign(held: &Held, is_given: impl Fn(&str) -> bool, statements: &mut Vec<String>) {
    for foreign in held.foreign.iter().filter(|it| is_given(&it.object)) {
        let statement = foreign.owner.give(&foreign.object, held);
        if !statements.contains(&statement) {
            statements.push(statement);
        }
    }
}

/// What a migration does to an existing table.
#[derive(Clone, Copy)]
enum Change {
    None,
    /// Its rows or its triggers.
    Rows(&'static [Verb]),
    /// Columns and indexes, which only the owner may change.
    Definition,
}

/// Whether objects are created in the schema of the application's tables, and in ours.
#[derive(Clone, Copy)]
struct Creates {
    in_application: bool,
    in_own: bool,
}

/// What the repair of `lost` objects changes.
struct Repaired<'a> {
    tables: BTreeMap<&'a str, Change>,
    /// How the names of replaced functions end.
    functions: Vec<&'static str>,
}

impl<'a> Repaired<'a> {
    fn new(lost: &'a [String], found: &SchemaObjects) -> Repaired<'a> {
        let mut repaired = Repaired {
            tables: BTreeMap::new(),
            functions: Vec::new(),
        };
        // An invalid index is rebuilt.
        let invalid = lost.iter().filter(|it| found.get(it).is_some());
        let invalid = invalid.filter(|it| it.starts_with("index ") || it.starts_with("unique "));
        let tables = invalid.filter_map(|it| table_of(it));
        repaired
            .tables
            .extend(tables.map(|it| (it, Change::Definition)));
        // A set of triggers is dropped and created again, with its functions.
        for (table, function) in [
            ("api_usage", "_rows()"),
            ("InfrastructureMetric", "_metrics()"),
        ] {
            let end = function.trim_end_matches("()");
            let triggers = format!("trigger {table}.usagectl_");
            let is_of_set = |it: &str| {
                it.starts_with(&triggers)
                    || it.starts_with("function usagectl_mark_") && it.ends_with(end)
            };
            if !lost.iter().any(|it| is_of_set(it)) {
                continue;
            }
            let drops = found.objects().any(|(it, _)| it.starts_with(&triggers));
            let change = match drops {
                true => Change::Definition,
                false => Change::Rows(&[Select, Trigger]),
            };
            repaired.tables.entry(table).or_insert(change);
            repaired.functions.push(function);
        }
        repaired
    }
}

fn missing_for_rows(held: &Held, own: &[Verb], application: &[Rights]) -> Vec<String> {
    let role = quoted(&held.role);
    // Rows are read and written by the name of the partitioned table.
    let is_named = |it: &&HeldOnSchema| it.name == OWN || it.name == held.application_schema;
    let closed = held.schemas.iter().filter(is_named);
    let closed = closed.filter(|schema| !schema.usage);
    let closed: Vec<String> = closed.map(|schema| identifier(&schema.name)).collect();
    let mut statements = Vec::new();
    if !closed.is_empty() {
        let schemas = closed.join(", ");
        statements.push(format!("GRANT USAGE ON SCHEMA {schemas} TO {role}"));
    }
    let mut lacking: BTreeMap<Vec<Verb>, Vec<&HeldOnTable>> = BTreeMap::new();
    for table in &held.tables {
        if table.partition_of.is_some() {
            continue;
        }
        let of_application = application.iter().find(|(name, _)| *name == table.name);
        let required = match of_application {
            _ if table.schema == OWN => own,
            // A command that only reads may have a name that stands for writing, too.
            Some(_) if own == [Select] => own,
            Some((_, verbs)) => verbs,
            None => continue,
        };
        let required = required.iter().copied();
        let lacks: Vec<Verb> = required.filter(|it| !table.verbs.contains(it)).collect();
        if !lacks.is_empty() {
            lacking.entry(lacks).or_default().push(table);
        }
    }
    let own_tables = held.tables.iter().filter(|it| it.schema == OWN).count();
    for (verbs, tables) in lacking {
        let verbs: Vec<&str> = verbs.iter().map(|it| it.as_str()).collect();
        let verbs = verbs.join(", ");
        let (own, others): (Vec<_>, Vec<_>) = tables.into_iter().partition(|it| it.schema == OWN);
        let mut names: Vec<String> = others.into_iter().map(HeldOnTable::qualified).collect();
        if own.len() == own_tables && own_tables > 0 {
            statements.push(format!(
                "GRANT {verbs} ON ALL TABLES IN SCHEMA {OWN} TO {role}"
            ));
        } else {
            names.extend(own.into_iter().map(HeldOnTable::qualified));
        }
        if !names.is_empty() {
            statements.push(format!("GRANT {verbs} ON {} TO {role}", names.join(", ")));
        }
    }
    statements
}

fn missing_for_schema(
    held: &Held,
    creates: Creates,
    change: impl Fn(&HeldOnTable) -> Change,
) -> Vec<String> {
    let role = quoted(&held.role);
    let mut statements = Vec::new();
    let all = [held.application_schema.as_str(), OWN].into_iter();
    let others = held.schemas.iter().map(|it| it.name.as_str());
    let others = others.filter(|it| *it != OWN && *it != held.application_schema);
    for name in all.chain(others) {
        let schema = identifier(name);
        match held.schemas.iter().find(|it| it.name == name) {
            None if !held.creates_schemas => {
                statements.push(format!("CREATE SCHEMA {schema} AUTHORIZATION {role}"));
            }
            Some(found) => {
                let creates = match name {
                    OWN => creates.in_own,
                    _ => creates.in_application,
                };
                let rights = match (creates && !found.create, found.usage) {
                    (true, _) => "USAGE, CREATE",
                    (false, false) => "USAGE",
                    (false, true) => continue,
                };
                statements.push(format!("GRANT {rights} ON SCHEMA {schema} TO {role}"));
            }
            None => {}
        }
    }
    for table in held.tables.iter().filter(|table| !table.is_owner) {
        let statement = match change(table) {
            Change::None => continue,
            Change::Rows(required) => {
                let lacks = required.iter();
                let lacks = lacks.filter(|it| !table.verbs.contains(it));
                let lacks: Vec<&str> = lacks.map(|it| it.as_str()).collect();
                if lacks.is_empty() {
                    continue;
                }
                let (verbs, table) = (lacks.join(", "), table.qualified());
                format!("GRANT {verbs} ON {table} TO {role}")
            }
            Change::Definition => {
                let object = format!("TABLE {}", table.qualified());
                table.owner.give(&object, held)
            }
        };
        if !statements.contains(&statement) {
            statements.push(statement);
        }
    }
    statements
}

impl HeldOnTable {
    /// The table that migrations name.
    fn whole(&self) -> &String {
        self.partition_of.as_ref().unwrap_or(&self.name)
    }

    fn qualified(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(&self.name))
    }
}

/// Names of tables and of the two usual schemas need quotes only for capitals; any other name may be a keyword.
fn identifier(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c == '_';
    if name == OWN || name == "public" || name.contains('_') && name.chars().all(is_plain) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rights of `app`: schemas as `public usage create`, and tables as `public.api_usage SELECT`.
    fn held(schemas: &str, tables: &str) -> Held {
        let schema = |line: &str| HeldOnSchema {
            name: line.split(' ').next().unwrap().to_owned(),
            usage: line.contains(" usage"),
            create: line.contains(" create"),
        };
        let table = |line: &str| {
            let (name, verbs) = line.split_once(' ').unwrap_or((line, ""));
            let (schema, name) = name.split_once('.').unwrap();
            HeldOnTable {
                schema: schema.to_owned(),
                name: name.to_owned(),
                partition_of: None,
                verbs: verbs.split(' ').filter_map(Verb::named).collect(),
                is_owner: false,
                owner: Owner {
                    name: "owner".to_owned(),
                    can_be_granted: true,
                    has_member: false,
                },
            }
        };
        Held {
            inherits: true,
            role: "app".to_owned(),
            database: "shop".to_owned(),
            application_schema: "public".to_owned(),
            creates_schemas: false,
            creates_temporary_tables: true,
            schemas: schemas.split(", ").map(schema).collect(),
            tables: tables.split_terminator(", ").map(table).collect(),
            ..Held::default()
        }
    }

    #[test]
    fn one_statement_for_each_set_of_missing_rights() {
        let held = held(
            "public usage, usagectl",
            "public.api_usage, public.api_alerts, public.InfrastructureLimit SELECT, public.orders, \
             usagectl.usagectl_rollups, usagectl.usagectl_channels",
        );
        let expected = [
            "GRANT USAGE ON SCHEMA usagectl TO \"app\"",
            "GRANT SELECT, INSERT ON public.api_usage TO \"app\"",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA usagectl TO \"app\"",
        ];
        let record = Work::Write(application_tables("record"));
        assert_eq!(missing(&record, &held), expected);
        let expected = [
            "GRANT SELECT ON ALL TABLES IN SCHEMA usagectl TO \"app\"",
            "GRANT SELECT ON public.api_usage, public.api_alerts TO \"app\"",
        ];
        let check = Work::Read(application_tables("alerts check"));
        assert_eq!(missing(&check, &held)[1..], expected);
    }

    #[test]
    fn tables_that_lack_less_are_named() {
        let tables = "usagectl.usagectl_rollups SELECT, usagectl.usagectl_channels";
        let expected = ["GRANT SELECT ON usagectl.usagectl_channels TO \"app\""];
        assert_eq!(
            missing(&Work::Read(&[]), &held("usagectl usage", tables)),
            expected
        );
    }

    #[test]
    fn missing_schema_is_created_for_the_role() {
        let effect = Effect::parse("+ table api_usage\n");
        let work = Work::Migrate {
            effects: vec![effect],
            lost: Vec::new(),
            found: SchemaObjects::default(),
        };
        let expected = [
            "GRANT USAGE, CREATE ON SCHEMA public TO \"app\"",
            "CREATE SCHEMA usagectl AUTHORIZATION \"app\"",
        ];
        assert_eq!(missing(&work, &held("public usage", "")), expected);
    }

    #[test]
    fn changed_tables_require_their_owner_and_triggers_only_a_grant() {
        let mut held = held(
            "public usage create, usagectl usage create",
            "public.api_usage, public.api_alerts, public.InfrastructureMetric, public.orders, \
             public.InfrastructureLimit",
        );
        // Of a superuser.
        held.tables[4].owner.can_be_granted = false;
        let effect = Effect::parse(
            "+ column api_usage.method: text\n+ index api_usage (method)\n+ column api_alerts.id: text\n\
             + trigger InfrastructureMetric.t: x\n+ index InfrastructureLimit (id)\n\
             + index InfrastructureMetric (replaced)\n",
        );
        let later = Effect::parse("- index InfrastructureMetric (replaced)\n");
        let found = [("column api_alerts.id".to_owned(), "text".to_owned())];
        let work = Work::Migrate {
            effects: vec![effect, later],
            lost: Vec::new(),
            found: found.into_iter().collect(),
        };
        let expected = [
            "GRANT \"owner\" TO \"app\"",
            "GRANT SELECT, TRIGGER ON public.\"InfrastructureMetric\" TO \"app\"",
            "ALTER TABLE public.\"InfrastructureLimit\" OWNER TO \"app\"",
        ];
        assert_eq!(missing(&work, &held), expected);
    }

    #[test]
    fn sufficient_rights_need_no_statement() {
        let tables =
            "public.api_usage SELECT, usagectl.usagectl_rollups SELECT INSERT UPDATE DELETE";
        let held = held("public usage, usagectl usage", tables);
        let reads = Work::Read(application_tables("record"));
        assert_eq!(missing(&reads, &held), [""; 0]);
        let nothing = Work::Migrate {
            effects: Vec::new(),
            lost: Vec::new(),
            found: SchemaObjects::default(),
        };
        assert_eq!(missing(&nothing, &held), [""; 0]);
    }
}
