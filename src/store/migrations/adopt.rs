//! Records migrations whose objects exist: the evidence for each, and its rows in our ledger and log and in
//! Prisma's ledger.

use std::collections::BTreeSet;

use diesel::{QueryResult, sql_query};

use super::ledger::{self, ledger_name};
use super::prisma::{self, PrismaSync, Recording};
use super::run::search_path;
use super::script::{literal, log_statement};
use super::{
    ALL, CONCURRENTLY, Direction, LogContext, Migration, Survey, TriggerSet, conflicts, dependents,
    dialect, owners, partitioned_tables, tables,
};
use crate::domain::format::counted;
use crate::domain::schema::adoption::{Candidate, Evidence, Origin, evidence, lost_tables};
use crate::domain::schema::closing::{Existing, closing_sql, renamed, renamed_column, undecided};
use crate::domain::schema::dependents::{Dependent, Dropped};
use crate::domain::schema::migration::MigrationState;
use crate::domain::schema::objects::{Difference, SchemaObject, SchemaObjects};
use crate::domain::schema::orphaned_triggers::OrphanedTrigger;
use crate::domain::schema::prisma::{PrismaState, names_in_state};
use crate::domain::schema::status::Defect;
use crate::error::Result;
use crate::fault;
use crate::store::db::{Db, OWN_SCHEMA, on, quote_identifier};
use crate::store::schema_objects;
use crate::store::tuples::LoadTuples;
use crate::store::usage::rollups::LIST_ALL_AS_STALE;

/// The evidence for all of this program's migrations.
pub fn gather(
    db: &Db,
    survey: &Survey,
    found: &SchemaObjects,
    prisma: &PrismaSync,
    last: Option<&str>,
) -> Vec<Evidence> {
    let bookkeeping = &survey.bookkeeping;
    let candidate = |migration: &'static Migration| Candidate {
        version: migration.version,
        name: migration.name,
        effect: migration.effect(db),
        is_recorded: bookkeeping
            .applied
            .iter()
            .any(|(version, _)| version == migration.version),
        is_logged: bookkeeping.is_logged(migration.version),
        is_interrupted: survey.is_partial(migration),
        prisma: prisma.find(migration.version).cloned(),
    };
    evidence(ALL.iter().map(candidate).collect(), found, last)
}

/// Marks the pending migrations of which objects exist.
pub fn mark_unadopted(db: &Db, survey: &mut Survey, found: &SchemaObjects) {
    let evidence = gather(db, survey, found, &PrismaSync::default(), None);
    let existing = evidence.iter().filter(|it| !it.is_pending());
    let existing: Vec<&str> = existing.map(|it| it.version).collect();
    for status in &mut survey.statuses {
        if status.state == MigrationState::Pending && existing.contains(&status.version.as_str()) {
            status.state = MigrationState::Unadopted;
        }
    }
}

/// Whether objects exist that our ledger or log should record and does not.
pub fn is_needed(db: &Db, survey: &Survey, found: &SchemaObjects) -> bool {
    let bookkeeping = &survey.bookkeeping;
    if !bookkeeping.exists() && !bookkeeping.applied.is_empty() {
        return true;
    }
    let mut statuses = survey.statuses.iter();
    if statuses.any(|status| status.state == MigrationState::Unlogged) {
        return true;
    }
    !unrecorded(db, survey, found).is_empty()
}

/// The existing objects that a pending migration would create.
pub fn unrecorded(db: &Db, survey: &Survey, found: &SchemaObjects) -> Vec<String> {
    conflicts(db, &survey.pending(), found)
}

/// Who created the tables; nothing if there are none.
pub fn origin(db: &mut Db, survey: &Survey, found: &SchemaObjects) -> QueryResult<Option<Origin>> {
    if let Some(rows) = prisma::read(db)? {
        return Ok(Some(Origin::PrismaMigrate {
            applied: names_in_state(&rows, PrismaState::Applied),
            failed: names_in_state(&rows, PrismaState::Failed),
            rolled_back: names_in_state(&rows, PrismaState::RolledBack),
        }));
    }
    if prisma::has_contract(db)? {
        return Ok(Some(Origin::PrismaContract));
    }
    let is_ours = |what: &str| what.starts_with("table usagectl_");
    if !survey.bookkeeping.applied.is_empty() || found.objects().any(|(what, _)| is_ours(what)) {
        return Ok(Some(Origin::Usagectl));
    }
    let is_found = |table: &str| found.get(&format!("table {table}")).is_some();
    let has_tables = ALL.iter().any(|it| it.effect(db).tables().any(is_found));
    Ok(
        has_tables.then_some(match survey.bookkeeping.others.is_empty() {
            true => Origin::Other,
            false => Origin::Diesel,
        }),
    )
}

/// The names of all indexes and their tables, without those that SQLite makes by itself.
fn indexes(db: &mut Db) -> QueryResult<Vec<(String, String)>> {
    let query = match db {
        Db::Pg(_) => {
            "SELECT c.relname::text, t.relname::text
             FROM pg_index i
             JOIN pg_class c ON c.oid = i.indexrelid
             JOIN pg_class t ON t.oid = i.indrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = ANY (current_schemas(false))"
        }
        Db::Sqlite(_) => {
            "SELECT name, tbl_name FROM sqlite_master
             WHERE type = 'index' AND sql IS NOT NULL"
        }
    };
    on!(db, |conn| sql_query(query).rows(conn))
}

/// The objects of the migrations that exist, at least partly.
fn existing_migrations(db: &Db, evidence: &[Evidence]) -> SchemaObjects {
    let mut expected = SchemaObjects::default();
    for found in evidence.iter().filter(|it| !it.is_pending()) {
        if let Some(migration) = Migration::find(found.version) {
            expected.apply(&migration.effect(db));
        }
    }
    expected
}

/// The SQL that closes the differences of partial migrations, for psql or sqlite3.
pub fn closing_script(
    db: &mut Db,
    evidence: &[Evidence],
    application_schema: &str,
) -> QueryResult<Vec<String>> {
    let expected = existing_migrations(db, evidence);
    let differences = evidence
        .iter()
        .flat_map(|it| it.differences.iter().cloned());
    let differences: Vec<Difference> = differences.collect();
    script_of(db, &differences, &expected, application_schema)
}

/// The SQL that closes differences from `expected`, for psql or sqlite3.
pub fn script_of(
    db: &mut Db,
    differences: &[Difference],
    expected: &SchemaObjects,
    application_schema: &str,
) -> QueryResult<Vec<String>> {
    let mut sql = match db {
        Db::Pg(_) => {
            let schema = quote_identifier(application_schema);
            let path = format!("SET search_path TO {schema}, {OWN_SCHEMA};");
            // A default of the current time is stored in UTC.
            let zone = "SET TIME ZONE 'UTC';".to_owned();
            vec![path, zone]
        }
        Db::Sqlite(_) => {
            // A table cannot be renamed where a trigger names a missing one.
            let drops = schema_objects::orphaned_triggers(db)?;
            let drops = schema_objects::drop_triggers(db, &drops);
            let found = schema_objects::read(db)?;
            let unrenamed = unrenamed(db, &found)?.into_iter();
            let notes = unrenamed.map(|it| format!("-- {} {}", it.object, it.problem));
            drops.lines().map(str::to_owned).chain(notes).collect()
        }
    };
    sql.extend(closing_statements(db, differences, expected)?);
    if is_filled_by_aggregate(differences, expected) {
        sql.push(LIST_ALL_AS_STALE.to_owned());
    }
    sql.extend(owners::of_script(db, &sql)?);
    let partitioned = partitioned_tables(db)?;
    for statement in &mut sql {
        let is_of =
            |table: &String| statement.contains(&format!(" ON {} ", quote_identifier(table)));
        if !partitioned.iter().any(is_of) {
            continue;
        }
        *statement = statement.replace(CONCURRENTLY, " ");
        if statement.starts_with("CREATE UNIQUE INDEX") {
            let problem = "-- not possible where the partition key is another column: ";
            statement.insert_str(0, problem);
        }
    }
    Ok(sql)
}

/// Whether the next `aggregate` has to fill a table or a column that is created again.
fn is_filled_by_aggregate(differences: &[Difference], expected: &SchemaObjects) -> bool {
    let is_part =
        |it: &&Difference| it.what.starts_with("table ") || it.what.starts_with("column ");
    let mut parts = differences.iter().filter(is_part);
    let has_rollups = ["usagectl_rollups", "usagectl_stale_periods"]
        .iter()
        .all(|table| {
            expected.get(&format!("table {table}")).is_some()
                && !differences.iter().any(|it| it.is_of(table))
        });
    has_rollups && parts.any(|it| it.is_of("api_usage_aggregates") && !it.is_unfilled())
}

fn closing_statements(
    db: &mut Db,
    differences: &[Difference],
    expected: &SchemaObjects,
) -> QueryResult<Vec<String>> {
    let scripts: Vec<_> = ALL.iter().map(|it| it.sql(db, Direction::Up)).collect();
    let scripts: Vec<&str> = scripts.iter().map(|it| it.as_ref()).collect();
    let existing = existing(db, differences, expected)?;
    let dialect = dialect(db);
    Ok(closing_sql(
        differences,
        expected,
        &scripts,
        &existing,
        dialect,
    ))
}

/// The statements that create again the lost tables of ours, for one transaction. Triggers wrote to them: each set is
/// created again but for its last trigger, so that the repair of triggers, which follows, marks all existing rows; a
/// script has that too.
pub fn recreation(
    db: &mut Db,
    evidence: &[Evidence],
    found: &SchemaObjects,
    application_schema: &str,
    is_script: bool,
) -> QueryResult<Vec<String>> {
    let expected = existing_migrations(db, evidence);
    let lost = lost(&expected, found);
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let statements = closing_statements(db, &lost, &expected)?;
    let mut sql: Vec<String> = statements
        .iter()
        .map(|it| it.replace(CONCURRENTLY, " ") + "\n")
        .collect();
    if matches!(db, Db::Pg(_)) {
        sql.insert(0, search_path(application_schema) + ";\n");
    }
    let pending = evidence.iter().filter(|it| it.is_pending());
    let pending: Vec<_> = pending
        .filter_map(|it| Some(Migration::find(it.version)?.effect(db)))
        .collect();
    for set in TriggerSet::ALL {
        let of_set = format!("trigger {}.", set.table());
        let mut added = pending.iter().flat_map(|it| &it.added);
        let is_pending = added.any(|it| it.what.starts_with(&of_set));
        if !is_pending && set.is_in_place(db)? {
            let [most, last] = set.repair(db);
            sql.push(most);
            sql.extend(is_script.then_some(last));
        }
    }
    Ok(sql)
}

/// The triggers that a pending migration would create and that exist, because only its tables were dropped.
pub fn stray_triggers(
    db: &Db,
    survey: &Survey,
    evidence: &[Evidence],
    found: &SchemaObjects,
) -> Vec<OrphanedTrigger> {
    let pending = evidence.iter().filter(|it| it.is_pending());
    let pending = pending.filter_map(|it| Migration::find(it.version));
    // An interrupted run has created them.
    let not_begun = pending.filter(|it| !survey.is_partial(it));
    let effects = not_begun.map(|it| it.effect(db));
    let added = effects.flat_map(|it| it.added);
    let existing = added.filter(|it| found.get(&it.what).is_some());
    let trigger = |it: SchemaObject| {
        let (table, name) = it.what.strip_prefix("trigger ")?.split_once('.')?;
        let (name, table) = (name.to_owned(), table.to_owned());
        Some(OrphanedTrigger { name, table })
    };
    existing.filter_map(trigger).collect()
}

/// The missing tables of ours among the expected objects.
pub fn lost(expected: &SchemaObjects, found: &SchemaObjects) -> Vec<Difference> {
    lost_tables(&expected.differences(found)).cloned().collect()
}

/// The missing tables of the application whose rows are in `new_<table>`: on SQLite `prisma db push` replaces a table
/// so, and fails before it renames the new one where a trigger names a missing table.
pub fn unrenamed(db: &mut Db, found: &SchemaObjects) -> QueryResult<Vec<Defect>> {
    let mut unrenamed = Vec::new();
    let migrations = ALL.iter().filter(|it| it.is_application());
    let effects: Vec<_> = migrations.map(|it| it.effect(db)).collect();
    if matches!(db, Db::Pg(_)) {
        return Ok(unrenamed);
    }
    for table in effects.iter().flat_map(|it| it.tables()) {
        let new = format!("new_{table}");
        if found.get(&format!("table {table}")).is_some() || !ledger::has_table(db, &new)? {
            continue;
        }
        let (to, from) = (quote_identifier(table), quote_identifier(&new));
        let count = sql_query(format!("SELECT count(*) FROM {from}"));
        let rows: i64 = on!(db, |conn| count.row(conn))?;
        let rows = counted(rows.unsigned_abs(), "row");
        unrenamed.push(Defect {
            object: format!("table {table}"),
            problem: format!(
                "is missing, and {new} has {rows}: `prisma db push` failed before it renamed {new} to {table}"
            ),
            fix: Some(format!("ALTER TABLE {from} RENAME TO {to};")),
        });
    }
    Ok(unrenamed)
}

fn existing(
    db: &mut Db,
    differences: &[Difference],
    expected: &SchemaObjects,
) -> QueryResult<Existing> {
    let mut existing = Existing {
        index_names: indexes(db)?.into_iter().map(|(name, _)| name).collect(),
        invalid_indexes: super::indexes::invalid(db)?,
        partitioned: partitioned_tables(db)?,
        ..Existing::default()
    };
    if matches!(db, Db::Pg(_)) {
        let tables = sql_query(
            "SELECT c.relname::text FROM pg_class c
             WHERE c.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname = ANY (current_schemas(false)))
               AND c.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = c.oid AND contype = 'p')",
        );
        let tables: Vec<String> = on!(db, |conn| tables.rows(conn))?;
        existing.tables_without_key.extend(tables);
        let unconvertible = sql_query(
            "SELECT 'column ' || c.relname || '.' || a.attname, a.attidentity <> '' FROM pg_attribute a
             JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
             WHERE c.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname = ANY (current_schemas(false)))
               AND (t.typtype IN ('c', 'e', 'm', 'r') OR a.attidentity <> '')",
        );
        let unconvertible: Vec<(String, bool)> = on!(db, |conn| unconvertible.rows(conn))?;
        existing.unconvertible.extend(unconvertible);
        let changed = differences.iter().filter(|it| it.found.is_some());
        let changed = Dropped::new(changed.map(|it| it.what.as_str()));
        let dependents = dependents::read(db, &changed, expected)?.into_iter();
        let of_numbers: BTreeSet<&str> = differences
            .iter()
            .filter(|it| it.is_of_numbers())
            .map(|it| it.what.as_str())
            .collect();
        let prevents = |it: &Dependent| {
            it.kind.prevents_type_change()
                || it.is_expression() && !of_numbers.contains(it.depends_on.as_str())
        };
        for dependent in dependents.filter(prevents) {
            let object = dependent.object();
            let column = existing.dependents.entry(dependent.depends_on);
            column.or_default().push(object);
        }
    }
    let missing = differences.iter().filter(|it| it.found.is_none());
    let missing = missing.filter_map(|it| it.what.strip_prefix("table "));
    let missing: BTreeSet<&str> = missing.collect();
    let views = match db {
        Db::Pg(_) => {
            "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = ANY (current_schemas(false)) AND c.relkind IN ('v', 'm', 'f')"
        }
        Db::Sqlite(_) => "SELECT name FROM sqlite_master WHERE type = 'view'",
    };
    let views: Vec<String> = on!(db, |conn| sql_query(views).rows(conn))?;
    let views = views.into_iter().filter(|it| missing.contains(it.as_str()));
    existing.views = views.collect();
    if !missing.is_empty() {
        let all = schema_objects::read_all(db)?;
        let renamed = missing
            .iter()
            .filter_map(|it| Some(((*it).to_owned(), renamed(it, expected, &all)?)));
        existing.renamed = renamed.collect();
        for it in unrenamed(db, &all)? {
            let table = it.object.trim_start_matches("table ").to_owned();
            existing
                .renamed
                .insert(table.clone(), format!("new_{table}"));
        }
    }
    let is_missing = |it: &&Difference| missing.iter().any(|table| it.is_of(table));
    let mut columns = differences.iter().filter(|it| it.found.is_none());
    if columns.any(|it| it.column().is_some()) {
        let found = schema_objects::read(db)?;
        let renamed = differences.iter().filter_map(|it| {
            let other = renamed_column(it.what.strip_prefix("column ")?, expected, &found)?;
            Some((it.what.clone(), other)).filter(|_| it.found.is_none())
        });
        existing.renamed_columns = renamed.collect();
    }
    for difference in differences.iter().filter(|it| !is_missing(it)) {
        if let Some(query) = undecided(difference, differences, dialect(db)) {
            let count: i64 = on!(db, |conn| sql_query(&query).row(conn))?;
            if count > 0 {
                existing.undecided.insert(difference.what.clone(), count);
            }
        }
        // A table that differs, or one of its columns.
        let whole = difference.what.strip_prefix("table ");
        if let Some(table) = difference.column().map(|(table, _)| table).or(whole)
            && let Some(text) = tables::text(db, table)?
        {
            existing.tables.insert(table.to_owned(), text);
        }
    }
    Ok(existing)
}

/// Writes the missing records of the migrations to be adopted, inside a transaction. Ledger and log exist.
pub fn record(db: &mut Db, evidence: &[Evidence], entry: LogContext<'_>) -> Result<()> {
    for found in evidence.iter().filter(|it| it.is_adopted()) {
        let Some(migration) = Migration::find(found.version) else {
            continue;
        };
        if !found.in_ledger {
            fault::point("ledger");
            ledger::record(db, migration, Direction::Up)?;
        }
        let checksums = migration.checksums(db);
        let detail = found.summary();
        fault::point("log");
        log_row(migration, &checksums, &detail, &entry).insert(db)?;
        entry
            .prisma
            .write(db, migration, Recording::Adopted, entry.at)?;
        fault::point("logged");
    }
    Ok(())
}

/// The statements of [`record`] for psql or sqlite3.
pub fn script(db: &Db, evidence: &[Evidence], entry: LogContext<'_>) -> String {
    let mut text = String::new();
    for found in evidence.iter().filter(|it| it.is_adopted()) {
        let Some(migration) = Migration::find(found.version) else {
            continue;
        };
        if !found.in_ledger {
            let version = literal(migration.version);
            text.push_str(&format!(
                "INSERT INTO {} (version) VALUES ({version});\n",
                ledger_name(db)
            ));
        }
        let checksums = migration.checksums(db);
        let detail = found.summary();
        text.push_str(&log_statement(
            db,
            &log_row(migration, &checksums, &detail, &entry),
        ));
        text.push('\n');
        let now = super::script::now(db);
        text.push_str(&entry.prisma.script(db, migration, Recording::Adopted, now));
    }
    text
}

fn log_row<'a>(
    migration: &'a Migration,
    checksums: &'a [String; 2],
    detail: &'a str,
    entry: &'a LogContext<'_>,
) -> ledger::NewLogRow<'a> {
    ledger::NewLogRow {
        action: "adopt",
        detail: Some(detail),
        ..entry.log_row(migration, Direction::Up, [1, 1], checksums)
    }
}
